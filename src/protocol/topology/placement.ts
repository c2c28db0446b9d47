/**
 * Where replicas stand. Pure.
 *
 * A shard survives a host if a member that holds its data is on another one, and a zone likewise. So a primary and its replica share no host while there is
 * another choice; next, shards have as many replicas as each other; next, members of a shard share no zone.
 *
 * Two ask: a node that comes in and is to be some shard's replica (`shardForReplica`), and a leader that looks for a replica which one shard can spare and another one
 * lacks (`replica-moves.ts`).
 */
import type { NodeId, NodeRecord, ShardRecord } from "../../contracts/topology.ts";

/** Where a node stands. */
export type Place = Pick<NodeRecord, "busHost" | "zone">;

/** What placement has of the cluster map. */
export interface PlacementMap {
  readonly nodes: ReadonlyMap<NodeId, Place>;
  readonly shards: ReadonlyMap<string, ShardRecord>;
}

export function isOnHostOf(one: Place | undefined, other: Place | undefined): boolean {
  return one !== undefined && one.busHost === other?.busHost;
}

/** Nodes without a zone are all in the same. */
export function isInZoneOf(one: Place | undefined, other: Place | undefined): boolean {
  return one !== undefined && one.zone === other?.zone;
}

/** Compares lists of numbers of the same length: below 0 if `one` comes first. */
export function compareRanks(one: readonly number[], other: readonly number[]): number {
  for (const [at, value] of one.entries()) {
    const difference = value - (other[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/**
 * The shard whose replica a node is best, of those that own slots and that it is no member of:
 * 1. one whose primary is on another host;
 * 2. the one with the fewest replicas;
 * 3. the one with the fewest replicas on the node's host;
 * 4. one whose primary is in another zone, then the one with the fewest replicas in the node's zone;
 * 5. the one with the first slots.
 *
 * @returns `undefined` if there is none.
 */
export function shardForReplica({ nodes, shards }: PlacementMap, node: NodeId): ShardRecord | undefined {
  const place = nodes.get(node);
  const rankOf = ({ primary, replicas, slots }: ShardRecord): readonly number[] => [
    Number(isOnHostOf(place, nodes.get(primary))),
    replicas.length,
    replicas.filter((id) => isOnHostOf(place, nodes.get(id))).length,
    Number(isInZoneOf(place, nodes.get(primary))),
    replicas.filter((id) => isInZoneOf(place, nodes.get(id))).length,
    slots[0]?.first ?? 0,
  ];
  const [best] = [...shards.values()]
    .filter(({ primary, replicas, slots }) => slots.length > 0 && primary !== node && !replicas.includes(node))
    .map((shard) => ({ shard, rank: rankOf(shard) }))
    .toSorted((one, other) => compareRanks(one.rank, other.rank));
  return best?.shard;
}
