/** The map that a new cluster begins with. Pure, and the same on each of its founders. */
import { SLOT_COUNT } from "../../codec/slot.ts";
import type { NodeId, NodeRecord, ShardId, ShardRecord, SlotRange } from "../../contracts/topology.ts";
import { divideSlots } from "../slot-ranges.ts";
import { EMPTY_STATE, type TopologyState, intersectRanges } from "./state.ts";

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
  const primaries = holders.slice(0, count).map((record, at) => {
    const range = ranges[at];
    return { record, slots: range === undefined ? [] : [range], replicas: [] as NodeRecord[] };
  });
  const rest = replicas === 0 ? [] : holders.slice(count);
  for (const record of rest) {
    // Fewest replicas first; of those, one that shares the least with it.
    const [best] = primaries.toSorted(
      (a, b) => a.replicas.length - b.replicas.length || nearness(a, record) - nearness(b, record),
    );
    best?.replicas.push(record);
  }
  const others = records.filter((record) => !primaries.some((primary) => primary.record.id === record.id));
  return [
    ...primaries.map(({ record, slots, replicas: own }) => ({ record, slots, replicas: own.map(({ id }) => id) })),
    ...others.map((record) => ({ record, slots: [] })),
  ];
}

/** How much the members of a shard would share with one more. */
function nearness(
  { record, replicas }: { record: NodeRecord; replicas: readonly NodeRecord[] },
  other: NodeRecord,
): number {
  return [record, ...replicas].reduce(
    (sum, each) => sum + (each.busHost === other.busHost ? 2 : 0) + (each.zone === other.zone ? 1 : 0),
    0,
  );
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
