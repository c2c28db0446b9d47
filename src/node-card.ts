/** What a node tells of itself to a cluster that is to take it in: its record, as JSON. It may say anything. */
import { Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { HOST_PATTERN } from "./config.ts";
import type { NodeRecord } from "./contracts/topology.ts";

const hostsSchema = Type.Optional(Type.Array(Type.String({ pattern: HOST_PATTERN }), { maxItems: 7 }));

const cardSchema = Type.Object(
  {
    id: Type.String({ pattern: "^[0-9a-f]{40}$" }),
    name: Type.String({ pattern: "^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$" }),
    host: Type.String({ pattern: HOST_PATTERN }),
    otherHosts: hostsSchema,
    port: Type.Integer({ minimum: 0, maximum: 65535 }),
    busHost: Type.String({ pattern: HOST_PATTERN }),
    otherBusHosts: hostsSchema,
    busPort: Type.Integer({ minimum: 0, maximum: 65535 }),
    httpHost: Type.String({ pattern: HOST_PATTERN }),
    httpPort: Type.Integer({ minimum: 0, maximum: 65535 }),
    zone: Type.String({ maxLength: 64 }),
    role: Type.Union([Type.Literal("data"), Type.Literal("witness")]),
    features: Type.Optional(
      Type.Object(
        { oldest: Type.Integer({ minimum: 1 }), newest: Type.Integer({ minimum: 1 }) },
        { additionalProperties: false },
      ),
    ),
    // Of those on a list of nodes it is not known yet.
    start: Type.String({ pattern: "^([0-9a-f]{40})?$" }),
  },
  { additionalProperties: false },
);

/** @returns `undefined` if it is none. */
export function readNodeCard(card: string): Omit<NodeRecord, "incarnation"> | undefined {
  try {
    const value: unknown = JSON.parse(card);
    return Value.Check(cardSchema, value) ? value : undefined;
  } catch {
    return undefined;
  }
}
