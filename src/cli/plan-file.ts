/** A plan in a file, which people may have changed by hand: everything is checked, and its id says whether it is still the plan that was made. */
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { SLOT_COUNT } from "../codec/slot.ts";
import { StartError, messageOf } from "../errors.ts";
import { PLAN_MEASURES, type Plan, planId } from "../protocol/plan/plan.ts";

/** What the file says that it is. */
const PLAN_FILE_FORMAT = "bunch-plan-1";

const strict = { additionalProperties: false } as const;
const id = Type.String({ pattern: "^[0-9a-f]{40}$" });
const count = Type.Number({ minimum: 0 });
const version = Type.Integer({ minimum: 0 });
const slot = Type.Integer({ minimum: 0, maximum: SLOT_COUNT - 1 });
const evenness = Type.Object(
  {
    shares: Type.Array(
      Type.Object({ shard: id, weight: count, slots: count, keys: count, bytes: count, load: count }, strict),
    ),
    worst: count,
  },
  strict,
);
const planSchema = Type.Object(
  {
    format: Type.Literal(PLAN_FILE_FORMAT),
    id,
    kind: Type.Union([Type.Literal("rebalance"), Type.Literal("drain")]),
    clusterId: Type.String({ pattern: "^([0-9a-f]{40})?$" }),
    mapVersion: version,
    by: Type.Union(PLAN_MEASURES.map((measure) => Type.Literal(measure))),
    threshold: count,
    moves: Type.Array(
      Type.Object(
        {
          source: id,
          target: id,
          sourceVersion: version,
          targetVersion: version,
          slots: Type.Array(Type.Object({ first: slot, last: slot }, strict), { minItems: 1 }),
          slotCount: count,
          keys: count,
          bytes: count,
        },
        strict,
      ),
    ),
    slotCount: count,
    keys: count,
    bytes: count,
    before: evenness,
    after: evenness,
    warnings: Type.Array(Type.String()),
  },
  strict,
);

export function encodePlanFile(plan: Plan): string {
  return `${JSON.stringify({ format: PLAN_FILE_FORMAT, ...plan }, undefined, 2)}\n`;
}

/**
 * Reads a plan.
 *
 * @param file Its name, for messages.
 * @throws {StartError} If it is none, or was changed.
 */
export function readPlanFile(text: string, file: string): Plan {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (thrown) {
    throw new StartError(`Plan "${file}" is not JSON: ${messageOf(thrown)}.`);
  }
  if (!Value.Check(planSchema, json)) {
    const error = Value.Errors(planSchema, json).First();
    const field = (error?.path ?? "").slice(1).replaceAll("/", ".") || "the whole";
    throw new StartError(`Plan "${file}" cannot be read: ${field}: ${(error?.message ?? "it is bad").toLowerCase()}.`);
  }
  const { format: _, ...plan } = json satisfies Static<typeof planSchema>;
  if (planId(plan) !== plan.id) {
    throw new StartError(
      `Plan "${file}" was changed after it was made: what it says is not what its id stands for. Make a new one with bunch plan.`,
    );
  }
  return plan;
}
