/** The map that a new cluster begins with. Pure, and the same on each of its founders. */
import { SLOT_COUNT } from "../../codec/slot.ts";
import type { NodeId, NodeRecord, ShardId, ShardRecord, SlotRange } from "../../contracts/topology.ts";
import { divideSlots, intersectRanges } from "../slot-ranges.ts";
import { EMPTY_STATE, type TopologyState } from "./state.ts";

/** A node, with the slots that it begins with. */
export interface FoundingNode {
  readonly record: NodeRecord;
  readonly slots: readonly SlotRange[];
  /** Nodes that begin as its replicas. */
  readonly replicas?: readonly NodeId[];
}

export const ALL_SLOTS: readonly SlotRange[] = [{ first: 0, last: SLOT_COUNT - 1 }];

/** What is wrong with a list of nodes, as a sentence's end; `undefined` if nothing is. */
export function problemOfFounders(nodes: readonly FoundingNode[]): string | undefined {
  const ids = new Map<string, string>();
  const addresses = new Set<string>();
  const seen: SlotRange[] = [];
  for (const { record, slots } of nodes) {
    const other = ids.get(record.id);
    if (other !== undefined) return `two nodes have the id ${record.id} (names "${other}", "${record.name}")`;
    ids.set(record.id, record.name);
    const address = `${record.host}:${record.port}`;
    if (addresses.has(address)) return `two nodes have the address ${address}`;
    if (record.role === "witness" && slots.length > 0) return `node "${record.name}" is a witness, and has slots`;
    addresses.add(address);
    const [twice] = intersectRanges(slots, seen);
    if (twice !== undefined) return `two nodes have slot ${twice.first}`;
    seen.push(...slots);
  }
  return undefined;
}

/** The map of these nodes. @param emptyEpoch Of shards without slots. */
export function foundingState(
  founders: readonly FoundingNode[],
  shardIdOf: (text: string) => ShardId,
  emptyEpoch = 0,
): TopologyState {
  const replicas = new Set(founders.flatMap((founder) => founder.replicas ?? []));
  const holders = founders.filter(({ record }) => record.role === "data" && !replicas.has(record.id));
  const shards = holders.map(({ record, slots, replicas: own = [] }, at): ShardRecord => ({
    id: shardIdOf(record.id),
    primary: record.id,
    primaryIncarnation: record.incarnation,
    replicas: own,
    inSync: [record.id],
    eligible: [],
    slots,
    primaryEpoch: slots.length > 0 ? at + 1 : emptyEpoch,
    version: 1,
  }));
  return {
    ...EMPTY_STATE,
    version: 1,
    nodes: new Map(founders.map(({ record }) => [record.id, record])),
    shards: new Map(shards.map((shard) => [shard.id, shard])),
  };
}

/** A primary of a cluster to be, with the replicas that it gets: `undefined` for one that it would have if all came out even. */
interface Place {
  readonly record: NodeRecord;
  readonly replicas: (NodeRecord | undefined)[];
}

/** More than all zones that members of a shard share can come to. */
const SHARED_HOST = 10_000;

/**
 * Divides the slots evenly among nodes that found a cluster together, and gives each primary its replicas: on other hosts, and in other zones, as far as there
 * are any.
 *
 * @param records In an order that is the same on each of them.
 * @param replicas For each primary. What does not come out even are replicas too.
 */
export function divideAmong(records: readonly NodeRecord[], replicas: number): readonly FoundingNode[] {
  const holders = takeTurns(records.filter(({ role }) => role === "data"));
  const count = Math.max(1, Math.floor(holders.length / (replicas + 1)));
  const ranges = divideSlots(count);
  const rest = replicas === 0 ? [] : holders.slice(count);
  const places: readonly Place[] = holders.slice(0, count).map((record, at) => ({
    record,
    replicas: Array.from({ length: Math.ceil(rest.length / count) }, (_, turn) => rest[turn * count + at]),
  }));
  spread(places);
  const primaries = places.map((place, at) => {
    const range = ranges[at];
    const own = place.replicas.flatMap((replica) => replica?.id ?? []);
    return { record: place.record, slots: range === undefined ? [] : [range], replicas: own };
  });
  const others = records.filter((record) => !primaries.some((primary) => primary.record.id === record.id));
  return [...primaries, ...others.map((record) => ({ record, slots: [] }))];
}

/**
 * Has two replicas change places, or one move to where one is missing, for as long as that makes the members of the two shards share less. Each step makes the
 * sum less, so it ends.
 *
 * With one replica each it finds a way for no replica to be on its primary's host, if there is one. Say that one is, on host H. If the replica of another shard
 * that has nobody on H took its place, none of the two would be. So each other shard has somebody on H, and this one two: more than half of all nodes are there.
 */
function spread(places: readonly Place[]): void {
  let isSpread = false;
  while (!isSpread) {
    isSpread = true;
    for (const [at, one] of places.entries()) {
      for (const other of places.slice(at + 1)) if (changePlaces(one, other)) isSpread = false;
    }
  }
}

/** @returns Whether anybody changed places. */
function changePlaces(one: Place, other: Place): boolean {
  const sharedBefore = shared(one) + shared(other);
  if (sharedBefore === 0) return false;
  for (const [mine, a] of one.replicas.entries()) {
    for (const [theirs, b] of other.replicas.entries()) {
      // Nobody misses more than one.
      if ((a === undefined && lacks(other)) || (b === undefined && lacks(one))) continue;
      one.replicas[mine] = b;
      other.replicas[theirs] = a;
      if (shared(one) + shared(other) < sharedBefore) return true;
      one.replicas[mine] = a;
      other.replicas[theirs] = b;
    }
  }
  return false;
}

function lacks({ replicas }: Place): boolean {
  return replicas.includes(undefined);
}

/** How much the members of a shard share: what a replica shares with the primary counts twice. */
function shared({ record, replicas }: Place): number {
  let sum = 0;
  for (const [at, replica] of replicas.entries()) {
    if (replica === undefined) continue;
    sum += 2 * sharedBy(record, replica);
    for (const other of replicas.slice(at + 1)) if (other !== undefined) sum += sharedBy(replica, other);
  }
  return sum;
}

function sharedBy(one: NodeRecord, other: NodeRecord): number {
  return (one.busHost === other.busHost ? SHARED_HOST : 0) + (one.zone === other.zone ? 1 : 0);
}

/** One of each host after another, hosts of other zones next to each other, so that the first ones stand apart. */
function takeTurns(records: readonly NodeRecord[]): readonly NodeRecord[] {
  const turnsIn = new Map<string, number>();
  const turnOf = (key: string): number => {
    const turn = turnsIn.get(key) ?? 0;
    turnsIn.set(key, turn + 1);
    return turn;
  };
  return records
    .map((record, at) => ({
      record,
      at,
      turn: turnOf(`host ${record.busHost}`),
      zoneTurn: turnOf(`zone ${record.zone}`),
    }))
    .toSorted((a, b) => a.turn - b.turn || a.zoneTurn - b.zoneTurn || a.at - b.at)
    .map(({ record }) => record);
}
