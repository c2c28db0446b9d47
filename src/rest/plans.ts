/** The operations of REST about plans of moves of slots: they are made, looked at, and applied if the shards are still the ones that they were made for. */
import { type Static, Type } from "@sinclair/typebox";
import { Elysia } from "elysia";
import type { ShardId } from "../contracts/topology.ts";
import { Problem } from "../http/problem.ts";
import { PLAN_MEASURES, type Plan, findShard, twiceWeighed, whyStale } from "../protocol/plan/plan.ts";
import { type Callers, DECIDED, invalidField, needs, shown } from "./api.ts";
import { causeOf } from "./change.ts";
import { makeDrainPlan, makeRebalancePlan, startMoves } from "./planning.ts";
import { count, noQuery, nodeId, oneOf, orNull, record, shardId, slotRange } from "./schemas.ts";
import type { RestSources } from "./sources.ts";
import { rangesOf } from "./views.ts";

/** Plans that are kept, on the node that has made them: the oldest one goes. */
const MAX_PLANS = 32;

const amount = Type.Number({ minimum: 0 });
const planSchema = record({
  id: Type.String({ description: "The same for the same plan." }),
  kind: oneOf(["rebalance", "drain"], "`rebalance`: each shard has its part. `drain`: one has nothing."),
  by: oneOf(PLAN_MEASURES, "What is to be even."),
  map_version: count,
  moves: Type.Array(
    record({
      source: shardId,
      target: shardId,
      from_node: orNull(nodeId),
      to_node: orNull(nodeId),
      slots: Type.Array(slotRange),
      slot_count: count,
      keys: amount,
      bytes: amount,
    }),
  ),
  slot_count: count,
  keys: amount,
  bytes: amount,
  worst_before: Type.Number({
    description: "How far the shard that is farthest from its part is from it: 0.1 is a tenth.",
  }),
  worst_after: Type.Number(),
  warnings: Type.Array(Type.String()),
  stale: orNull(Type.String({ description: "Why it cannot be applied any more." })),
});
const plansSchema = record({ plans: Type.Array(planSchema), count });
const planPath = record({ plan_id: Type.String({ description: "A plan's id." }) });

export function planOperations(sources: RestSources, callers: Callers) {
  const { topology } = sources;
  const plans = new Map<string, Plan>();
  const viewOf = (plan: Plan): Static<typeof planSchema> => {
    const primaryOf = (id: string): string | null =>
      topology.map.shards.find((shard) => shard.id === id)?.primary ?? null;
    return {
      id: plan.id,
      kind: plan.kind,
      by: plan.by,
      map_version: plan.mapVersion,
      moves: plan.moves.map((move) => ({
        source: move.source,
        target: move.target,
        from_node: primaryOf(move.source),
        to_node: primaryOf(move.target),
        slots: rangesOf(move.slots),
        slot_count: move.slotCount,
        keys: move.keys,
        bytes: move.bytes,
      })),
      slot_count: plan.slotCount,
      keys: plan.keys,
      bytes: plan.bytes,
      worst_before: plan.before.worst,
      worst_after: plan.after.worst,
      warnings: [...plan.warnings],
      stale: whyStale(plan, topology.map) ?? null,
    };
  };
  /** @throws {Problem} If there is none. */
  const planCalled = (id: string): Plan => {
    const plan = plans.get(id);
    if (plan === undefined) throw new Problem("not-found", `This node has no plan ${shown(id)}.`);
    return plan;
  };
  /** @throws {Problem} If there is none. */
  const shardCalled = (text: string, field: string): string => {
    const shard = findShard(topology.map, text);
    if ("problem" in shard) throw invalidField("body", field, shard.problem);
    return shard.id;
  };
  return new Elysia({ prefix: "/cluster", normalize: false })
    .get(
      "/plans",
      () => {
        const all = [...plans.values()].map(viewOf);
        return { plans: all, count: all.length };
      },
      {
        ...needs(callers, "read", "The plans that were made at this node"),
        query: noQuery,
        response: { 200: plansSchema },
      },
    )
    .post(
      "/plans",
      async ({ body, status }) => {
        const { kind, drains, by = "slots", threshold_percent = 2 } = body;
        const weights: Readonly<Record<string, number>> = body.weights ?? {};
        if ((kind === "drain") !== (drains !== undefined)) {
          throw invalidField("body", "/drains", "must be there for a drain, and for nothing else");
        }
        const ofShards = new Map<ShardId, number>();
        for (const [name, weight] of Object.entries(weights)) {
          const field = `/weights/${shown(name)}`;
          const shard = shardCalled(name, field);
          // By a name in one place, and an id in another.
          if (ofShards.has(shard)) throw invalidField("body", field, twiceWeighed(name));
          ofShards.set(shard, weight);
        }
        const options = {
          by,
          threshold: threshold_percent / 100,
          allowsFewerCopies: body.allows_fewer_copies === true,
          leavesEmpty: body.leaves_empty === true,
          weights: ofShards,
        };
        const plan =
          drains === undefined
            ? await makeRebalancePlan(sources, options)
            : await makeDrainPlan(sources, shardCalled(drains, "/drains"), options);
        plans.delete(plan.id);
        plans.set(plan.id, plan);
        if (plans.size > MAX_PLANS) {
          const [oldest = ""] = plans.keys();
          plans.delete(oldest);
        }
        return status(201, viewOf(plan));
      },
      {
        ...needs(
          callers,
          "operate",
          "Makes a plan of moves: what would move, and what that weighs. Nothing moves yet",
          {
            description: "It is kept at this node, which has to be the one that is asked to apply it.",
            cost: 50,
            problems: ["conflict"],
          },
        ),
        query: noQuery,
        body: record({
          kind: oneOf(["rebalance", "drain"], "What it is for."),
          drains: Type.Optional(
            Type.String({
              minLength: 1,
              maxLength: 64,
              description: "Of a drain: the shard, or a node of it, by id or name.",
            }),
          ),
          by: Type.Optional(oneOf(PLAN_MEASURES, "What is to be even. Default: slots.")),
          threshold_percent: Type.Optional(
            Type.Number({ minimum: 0, maximum: 99, description: "How far from its part a shard may be. Default: 2." }),
          ),
          weights: Type.Optional(
            Type.Record(Type.String({ pattern: "^.{1,64}$" }), Type.Number({ minimum: 0, maximum: 1_000_000 }), {
              additionalProperties: false,
              maxProperties: 1000,
              description:
                "Parts of shards beside each other, by a name or an id of the shard or a node of it. Default: 1 each, and nothing for those that were emptied.",
            }),
          ),
          leaves_empty: Type.Optional(Type.Boolean({ description: "Gives nothing to shards that have no slots." })),
          allows_fewer_copies: Type.Optional(
            Type.Boolean({
              description:
                "Moves slots to shards with fewer members in sync, too, where no others lack any. Default: they stay where they are.",
            }),
          ),
        }),
        response: { 201: planSchema },
      },
    )
    .get("/plans/:plan_id", ({ params }) => viewOf(planCalled(params.plan_id)), {
      ...needs(callers, "read", "A plan", { problems: ["not-found"] }),
      params: planPath,
      query: noQuery,
      response: { 200: planSchema },
    })
    .post(
      "/plans/:plan_id/apply",
      async ({ params, request, status }) => {
        const cause = causeOf(request, callers.allow(request, "operate"));
        const plan = planCalled(params.plan_id);
        return status(202, { plan_id: plan.id, migrations: await startMoves(sources, plan, cause) });
      },
      {
        ...needs(callers, "operate", "Applies a plan, if the shards are still the ones that it was made for", {
          problems: ["not-found", ...DECIDED],
        }),
        params: planPath,
        query: noQuery,
        response: {
          202: record({
            plan_id: Type.String(),
            migrations: Type.Array(Type.String(), { description: "The tasks, in the order of the moves." }),
          }),
        },
      },
    );
}
