/** Parts of the schemas of REST that several operations share. Objects take no fields that they do not name. */
import { type Static, type TObject, type TProperties, type TSchema, Type } from "@sinclair/typebox";
import { SLOT_COUNT } from "../codec/slot.ts";

/** An object with these fields and no others. */
export function record<Properties extends TProperties>(
  properties: Properties,
  options: { readonly description?: string } = {},
): TObject<Properties> {
  return Type.Object(properties, { additionalProperties: false, ...options });
}

/** Something, or nothing. */
export function orNull<Schema extends TSchema>(
  schema: Schema,
): ReturnType<typeof Type.Union<[Schema, ReturnType<typeof Type.Null>]>> {
  return Type.Union([schema, Type.Null()]);
}

export const noQuery = record({});

export const nodeId = Type.String({
  pattern: "^[0-9a-f]{40}$",
  description: "A node's id: 40 hexadecimal digits.",
  wants: "a node's id, 40 hexadecimal digits in lower case",
});

export const shardId = Type.String({
  pattern: "^[0-9a-f]{40}$",
  description: "A shard's id: 40 hexadecimal digits.",
  wants: "a shard's id, 40 hexadecimal digits in lower case",
});

export const slot = Type.Integer({
  minimum: 0,
  maximum: SLOT_COUNT - 1,
  description: "A hash slot.",
  wants: `a slot, a whole number from 0 to ${SLOT_COUNT - 1}`,
});

export const count = Type.Integer({ minimum: 0 });

export const slotRange = record(
  { start: slot, end: slot, count },
  { description: "Slots from start to end, both included." },
);

export const infoSchema = record({
  cluster_enabled: Type.Boolean({ description: "This node routes by slots; else it is a store by itself." }),
  cluster_id: Type.String({ description: "Which cluster this is; empty before there is one." }),
  state: Type.Union([Type.Literal("ok"), Type.Literal("degraded"), Type.Literal("fail")], {
    description:
      "`ok`: every slot is served, by as many copies as there could be. `degraded`: every slot is served, and something is amiss. `fail`: some slots are not served, or this node takes no part.",
  }),
  reasons: Type.Array(Type.String(), { description: "Why the state is not ok, in words." }),
  slot_assignment: Type.Union([Type.Literal("complete"), Type.Literal("incomplete")]),
  slots: record({
    assigned: count,
    total: count,
    coverage: Type.Number({ minimum: 0, maximum: 100, description: "Percent of the slots that somebody owns." }),
  }),
  nodes: record({ count, my_node_id: nodeId }),
  shards: record({ count, with_slots: count }),
  leader: orNull(Type.String({ description: "The node that leads the log of the cluster map, as this node knows." })),
  term: Type.Integer({ minimum: 0, description: "Of that log." }),
  map_version: Type.Integer({ minimum: 0, description: "Of the cluster map that this node has." }),
});
export type Info = Static<typeof infoSchema>;
