/**
 * Making cluster maps: from a list of nodes and their slots to an immutable image. Pure; says no with a sentence.
 */
import { assert } from "../assert.ts";
import { SLOT_COUNT } from "../codec/slot.ts";
import type { ClusterMap, NodeRecord, ShardRecord, SlotRange } from "../contracts/topology.ts";

/** A node that is the primary of a shard of its own. */
export interface MapEntry {
  readonly node: NodeRecord;
  readonly shardId: string;
  readonly slots: readonly SlotRange[];
}

/**
 * Reads a slot range.
 *
 * @param text `5` or `0-5460`.
 * @returns The range, or `undefined` if it is none.
 */
export function parseSlotRange(text: string): SlotRange | undefined {
  const match = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(text.trim());
  if (match === null) return undefined;
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  return first <= last && last < SLOT_COUNT ? { first, last } : undefined;
}

/** `5` or `0-5460`, as `CLUSTER NODES` shows it. */
export function formatSlotRange({ first, last }: SlotRange): string {
  return first === last ? String(first) : `${first}-${last}`;
}

/**
 * Puts ranges in order and joins those that touch, so that the same slots always read the same: redis-cli compares them as text.
 */
export function canonicalRanges(ranges: readonly SlotRange[]): readonly SlotRange[] {
  const joined: { first: number; last: number }[] = [];
  for (const { first, last } of ranges.toSorted((a, b) => a.first - b.first)) {
    const previous = joined.at(-1);
    if (previous !== undefined && first <= previous.last + 1) previous.last = Math.max(previous.last, last);
    else joined.push({ first, last });
  }
  return joined;
}

/**
 * Divides all slots evenly, the first shards getting one more where it does not come out even (as `redis-cli --cluster create` does).
 *
 * @param count Shards, 1 to 16384.
 * @returns One range each, in order.
 */
export function divideSlots(count: number): readonly SlotRange[] {
  assert(count >= 1 && count <= SLOT_COUNT, "slots are divided among 1 to 16384 shards");
  const ranges: SlotRange[] = [];
  let first = 0;
  for (let index = 0; index < count; index += 1) {
    const last = index === count - 1 ? SLOT_COUNT - 1 : Math.round(((index + 1) * SLOT_COUNT) / count) - 1;
    ranges.push({ first, last });
    first = last + 1;
  }
  return ranges;
}

/**
 * Makes a map.
 *
 * @param version Of the map.
 * @returns The map, or a sentence that says what is wrong with the entries.
 */
export function makeClusterMap(version: number, entries: readonly MapEntry[]): ClusterMap | string {
  const ids = new Set<string>();
  const addresses = new Set<string>();
  for (const { node } of entries) {
    if (ids.has(node.id))
      return `two nodes have the id ${node.id} (names "${entries.flatMap((each) => (each.node.id === node.id ? [each.node.name] : [])).join('", "')}")`;
    ids.add(node.id);
    const address = `${node.host}:${node.port}`;
    if (addresses.has(address)) return `two nodes have the address ${address}`;
    addresses.add(address);
  }
  const shards: ShardRecord[] = entries
    .map(({ node, shardId, slots }) => ({
      id: shardId,
      primary: node.id,
      replicas: [],
      slots: canonicalRanges(slots),
      primaryEpoch: 1,
    }))
    .toSorted(
      (a, b) => (a.slots[0]?.first ?? SLOT_COUNT) - (b.slots[0]?.first ?? SLOT_COUNT) || (a.id < b.id ? -1 : 1),
    );
  const shardOfSlot = new Int16Array(SLOT_COUNT).fill(-1);
  for (const [index, shard] of shards.entries()) {
    for (const { first, last } of shard.slots) {
      for (let slot = first; slot <= last; slot += 1) {
        if (shardOfSlot[slot] !== -1) return `two nodes have slot ${slot}`;
        shardOfSlot[slot] = index;
      }
    }
  }
  const nodes = entries.map(({ node }) => node).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  return { version, nodes, shards, shardOfSlot };
}
