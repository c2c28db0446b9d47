/**
 * Replicas that one shard can spare, and another one needs: which of them moves where. Pure.
 *
 * A shard is in need if its primary is there, and
 * - it has no replica that is there (*bare*): the next failure stops it, or loses what it holds;
 * - or all that it has are on the primary's host (*crowded*): the failure of one machine does.
 *
 * A shard can spare a replica in sync if, of those that are there, as many as the barrier says stay with it, and as many members as writes need. Moves come to an
 * end, since each leaves fewer bare shards than before, or as many and fewer crowded ones:
 * - who gives to a bare shard stays with a replica;
 * - who gives to a crowded one stays with a replica on another host than its primary's, and gives one that is on another host there.
 *
 * What is crowded and finds nobody who can spare a replica stays so: replicas do not change places, since each would leave its shard with less meanwhile.
 */
import type { NodeId, NodeRecord, ShardId, ShardRecord } from "../../contracts/topology.ts";
import { compareRanks, isInZoneOf, isOnHostOf } from "./placement.ts";

/** There: heard, as the start that the map has. Doubtful: not certain either way. Gone: given up, or it never started. */
export type Presence = "there" | "doubtful" | "gone";

export interface MoveFacts {
  readonly nodes: ReadonlyMap<NodeId, NodeRecord>;
  readonly shards: readonly ShardRecord[];
  /** Of the cluster's settings. */
  readonly minInSync: number;
  /** Replicas in sync that stay with whoever gives one away. */
  readonly barrier: number;
  readonly presenceOf: (node: NodeId) => Presence;
  /** The shard's slots are being moved, or its primary replaced: nothing is taken from it, or brought to it. */
  readonly isBusy: (shard: ShardId) => boolean;
}

export type Need = "bare" | "crowded";

export interface ReplicaMove {
  readonly node: NodeId;
  readonly source: ShardRecord;
  readonly target: ShardRecord;
}

/** What a shard needs; `undefined`: nothing, or nothing that a replica could help with. */
export function needOf({ nodes, presenceOf }: MoveFacts, shard: ShardRecord): Need | undefined {
  const { primary, replicas, slots } = shard;
  if (slots.length === 0 || !isLed(nodes, presenceOf, shard)) return undefined;
  const left = replicas.filter((id) => presenceOf(id) !== "gone");
  if (left.length === 0) return "bare";
  return left.every((id) => isOnHostOf(nodes.get(id), nodes.get(primary))) ? "crowded" : undefined;
}

/** The primary is there, and has what the shard holds. */
function isLed(
  nodes: MoveFacts["nodes"],
  presenceOf: MoveFacts["presenceOf"],
  { primary, primaryIncarnation }: ShardRecord,
): boolean {
  return presenceOf(primary) === "there" && nodes.get(primary)?.incarnation === primaryIncarnation;
}

/** Replicas in sync that are there. */
function presentInSync({ presenceOf }: MoveFacts, { primary, inSync }: ShardRecord): readonly NodeId[] {
  return inSync.filter((id) => id !== primary && presenceOf(id) === "there");
}

/**
 * The replica that a shard in need gets. Of several:
 * 1. one on another host than the primary's;
 * 2. one that leaves its shard with a replica on another host than its own primary's;
 * 3. of the shard with the most in sync;
 * 4. one in another zone than the primary's;
 * 5. one that shares its own primary's host, or its zone;
 * 6. by id.
 *
 * @returns `undefined` if there is none.
 */
export function moveFor(facts: MoveFacts, target: ShardRecord, need: Need): ReplicaMove | undefined {
  const { nodes, shards, minInSync, barrier, isBusy } = facts;
  const home = nodes.get(target.primary);
  const candidates: { readonly move: ReplicaMove; readonly rank: readonly number[] }[] = [];
  for (const source of shards) {
    if (source.id === target.id || isBusy(source.id) || !isLed(nodes, facts.presenceOf, source)) continue;
    const able = presentInSync(facts, source);
    // The primary counts among the members that writes need.
    if (able.length - 1 < barrier || able.length < minInSync) continue;
    const former = nodes.get(source.primary);
    for (const node of able) {
      const place = nodes.get(node);
      const isOnHost = isOnHostOf(place, home);
      const leavesCrowded = able.every((id) => id === node || isOnHostOf(nodes.get(id), former));
      if (need === "crowded" && (isOnHost || leavesCrowded)) continue;
      candidates.push({
        move: { node, source, target },
        rank: [
          Number(isOnHost),
          Number(leavesCrowded),
          -able.length,
          Number(isInZoneOf(place, home)),
          Number(!isOnHostOf(place, former)),
          Number(!isInZoneOf(place, former)),
        ],
      });
    }
  }
  candidates.sort((one, other) => compareRanks(one.rank, other.rank) || (one.move.node < other.move.node ? -1 : 1));
  return candidates[0]?.move;
}

/** What has come of looking at all shards. */
export interface MovePlan {
  readonly move: (ReplicaMove & { readonly need: Need }) | undefined;
  /** Shards in need that no replica can be moved to. */
  readonly stuck: readonly { readonly shard: ShardRecord; readonly need: Need }[];
}

/**
 * One move, and who goes without: bare shards come before crowded ones.
 *
 * @param isDue Whether a shard has been in need for long enough.
 */
export function planMove(facts: MoveFacts, isDue: (shard: ShardRecord, need: Need) => boolean): MovePlan {
  const due = facts.shards.flatMap((shard) => {
    const need = needOf(facts, shard);
    return need !== undefined && isDue(shard, need) ? { shard, need } : [];
  });
  const inOrder = [...due.filter(({ need }) => need === "bare"), ...due.filter(({ need }) => need === "crowded")];
  const stuck: { readonly shard: ShardRecord; readonly need: Need }[] = [];
  let move: MovePlan["move"];
  for (const each of inOrder) {
    const found = facts.isBusy(each.shard.id) ? undefined : moveFor(facts, each.shard, each.need);
    if (found === undefined) stuck.push(each);
    else move ??= { ...found, need: each.need };
  }
  return { move, stuck };
}
