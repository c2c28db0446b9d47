/**
 * Plans of moves of slots between shards: what would move, from where to where, what that weighs, and how even it is before and after. A plan is data, made for
 * one version of the map: whoever applies it looks first whether the shards are still the ones that it was made for.
 *
 * Pure, and the same for the same map and loads: a plan's id is a hash of what it says.
 */
import { createHash } from "node:crypto";
import type { ClusterMap, ShardId, ShardRecord, SlotRange } from "../../contracts/topology.ts";

/** What is to be even: how many slots shards have, how many keys or bytes are in them, or what they cost. */
export const PLAN_MEASURES = ["slots", "keys", "bytes", "load"] as const;
export type PlanMeasure = (typeof PLAN_MEASURES)[number];

/** What slots hold and cost, by slot. */
export interface PlanLoads {
  readonly keys: Float64Array;
  readonly bytes: Float64Array;
  /** Processor time, or commands, in whatever unit: only its parts of the whole count. */
  readonly load: Float64Array;
}

/** Slots that go from one shard to another. */
export interface PlannedMove {
  readonly source: ShardId;
  readonly target: ShardId;
  /** The shards' versions that it was decided on. */
  readonly sourceVersion: number;
  readonly targetVersion: number;
  readonly slots: readonly SlotRange[];
  readonly slotCount: number;
  readonly keys: number;
  readonly bytes: number;
}

/** What a shard has, of what the plan is about. */
export interface ShardShare {
  readonly shard: ShardId;
  /** 0: it is to have nothing. */
  readonly weight: number;
  readonly slots: number;
  readonly keys: number;
  readonly bytes: number;
  readonly load: number;
}

/** How slots are spread over the shards that take part. */
export interface Evenness {
  readonly shares: readonly ShardShare[];
  /** How far the one that is farthest from its part is from it: 0.1 is a tenth of it, more or less. Those of weight 0 do not count. */
  readonly worst: number;
}

export interface Plan {
  readonly id: string;
  readonly kind: "rebalance" | "drain";
  readonly clusterId: string;
  /** The map that it was made for. */
  readonly mapVersion: number;
  readonly by: PlanMeasure;
  /** How far from its part a shard may be: 0.02 is two in a hundred. */
  readonly threshold: number;
  readonly moves: readonly PlannedMove[];
  readonly slotCount: number;
  readonly keys: number;
  readonly bytes: number;
  readonly before: Evenness;
  readonly after: Evenness;
  /** What whoever applies it should know, in sentences. */
  readonly warnings: readonly string[];
}

/** What a plan says, as one text, the same on every machine. */
function contentOf(plan: Omit<Plan, "id">): string {
  const { kind, clusterId, mapVersion, by, threshold, moves, slotCount, keys, bytes, before, after, warnings } = plan;
  const spread = ({ shares, worst }: Evenness): unknown => [
    worst,
    shares.map((each) => [each.shard, each.weight, each.slots, each.keys, each.bytes, each.load]),
  ];
  return JSON.stringify([
    [kind, clusterId, mapVersion, by, threshold, slotCount, keys, bytes],
    moves.map((move) => [
      [move.source, move.sourceVersion, move.target, move.targetVersion, move.slotCount, move.keys, move.bytes],
      move.slots.map(({ first, last }) => [first, last]),
    ]),
    [spread(before), spread(after), warnings],
  ]);
}

/** The id of a plan that says this: 40 hexadecimal digits. */
export function planId(plan: Omit<Plan, "id">): string {
  return createHash("sha1").update(contentOf(plan)).digest("hex");
}

/**
 * Why a plan cannot be applied to a map: it is another cluster's, or a shard that it moves slots from or to has changed since.
 *
 * @returns `undefined` if it can.
 */
export function whyStale(plan: Plan, map: ClusterMap): string | undefined {
  if (plan.clusterId !== map.clusterId) {
    return `it was made for cluster ${plan.clusterId.slice(0, 8)}, and this is cluster ${map.clusterId.slice(0, 8)}`;
  }
  for (const { source, sourceVersion, target, targetVersion } of plan.moves) {
    for (const [id, version] of [
      [source, sourceVersion],
      [target, targetVersion],
    ] as const) {
      const shard = map.shards.find((each) => each.id === id);
      if (shard === undefined) return `there is no shard ${id} any more`;
      if (shard.version !== version) {
        return `shard ${id} has changed since (it is at version ${shard.version}, and the plan was made on ${version})`;
      }
    }
  }
  return undefined;
}

/** Least that is taken for the beginning of an id. */
const SHORTEST_PREFIX = 4;

/**
 * Finds a shard by what people call it: its id, the id or the name of a node in it, or the beginning of one of these ids.
 *
 * @returns The shard, or why there is none.
 */
export function findShard(map: ClusterMap, text: string): ShardRecord | { readonly problem: string } {
  const shardOf = (node: string): ShardRecord | undefined =>
    map.shards.find(({ primary, replicas }) => primary === node || replicas.includes(node));
  const named = map.nodes.filter(({ name }) => name !== "" && name === text);
  const exact = map.shards.find(({ id }) => id === text) ?? shardOf(named[0]?.id ?? text);
  if (exact !== undefined) return exact;
  const isKnown = named.length > 0 || map.nodes.some(({ id }) => id === text);
  if (isKnown) return { problem: `node ${text} is in no shard: it holds no data` };
  const prefix = text.toLowerCase();
  const found =
    prefix.length < SHORTEST_PREFIX
      ? []
      : [
          ...map.shards.filter(({ id }) => id.startsWith(prefix)),
          ...map.nodes.filter(({ id }) => id.startsWith(prefix)).flatMap(({ id }) => shardOf(id) ?? []),
        ];
  const [first, ...others] = new Set(found);
  if (first === undefined) return { problem: `there is no shard or node ${text.slice(0, 64)}` };
  return others.length === 0 ? first : { problem: `several shards or nodes have ids that begin with ${text}` };
}

/** Why weights are refused of which two are of one shard, whatever it is called in each. @param name As it is called in the second. */
export function twiceWeighed(name: string): string {
  return `the shard of ${name.slice(0, 64)} has more than one weight: give each shard one`;
}
