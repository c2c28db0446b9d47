/**
 * Keys that a node holds and that are nobody's to see: of slots that have moved to another shard, or that were on their way here when that was given up.
 *
 * They are hidden at once, and removed in small steps: by the shard's primary, key by key through its log, so that all members hold the same at the same place of it. A
 * slot that is assigned to the shard again before it is empty is emptied in one step first.
 */
import { ArgumentList } from "../codec/resp-parser.ts";
import { SLOT_COUNT } from "../codec/slot.ts";
import type { Keyspace } from "../contracts/keyspace.ts";
import type { ClusterMap, ShardId, SlotRange } from "../contracts/topology.ts";
import { canonicalRanges } from "../protocol/slot-ranges.ts";
import { slotsTakenIn } from "../protocol/topology/open-slots.ts";
import { flushOperation } from "../replication/log-operations.ts";
import { LoggedWriter } from "./logged-writer.ts";

/** Keys that a step removes: about half a millisecond. */
const STEP_KEYS = 200;

export class Leftovers {
  readonly #keyspace: Keyspace;
  readonly #writer: LoggedWriter;
  readonly #tell: (slot: number, args: ArgumentList) => void;
  readonly #slots = new Set<number>();
  #wasLeading = false;
  /** Slots whose keys are shown, and those that are on their way here: the slot stream looks after what is in these. */
  #owned: readonly SlotRange[] = [];
  #imported: readonly SlotRange[] = [];
  /** The latter, by slot. */
  #importing = flagsOf([]);

  /** @param tell Tells an effect. */
  constructor(keyspace: Keyspace, tell: (slot: number, args: ArgumentList) => void) {
    this.#keyspace = keyspace;
    this.#writer = new LoggedWriter(keyspace, tell);
    this.#tell = tell;
  }

  get hasWork(): boolean {
    return this.#slots.size > 0;
  }

  /**
   * The map says something else.
   *
   * @param shard The node's; another one than before forgets everything: what the node holds is replaced.
   * @param previous The map before; `undefined` at the start.
   * @param isLeading Whether this node is the shard's primary.
   * @param hasSeenAll Between the two there was no other map.
   */
  mapChanged(
    map: ClusterMap,
    previous: ClusterMap | undefined,
    shard: ShardId,
    isLeading: boolean,
    hasSeenAll: boolean,
  ): void {
    const ownedRanges = shownSlots(map, shard);
    const importedRanges = importedSlots(map, shard);
    const isSame =
      previous !== undefined &&
      isLeading === this.#wasLeading &&
      areEqual(ownedRanges, this.#owned) &&
      areEqual(importedRanges, this.#imported);
    // A fence begins or ends: commands wait meanwhile, and for nothing that is said here.
    if (isSame) return;
    this.#owned = ownedRanges;
    this.#imported = importedRanges;
    const owned = flagsOf(ownedRanges);
    const importing = flagsOf(importedRanges);
    if (previous !== undefined) {
      for (const { first, last } of [...shownSlots(previous, shard), ...importedSlots(previous, shard)]) {
        for (let slot = first; slot <= last; slot += 1) {
          if (owned[slot] === 1 || importing[slot] === 1) continue;
          // At a replica keys may come that its primary wrote before: its log is behind its map.
          if (isLeading && this.#keyspace.slotSize(slot) === 0) continue;
          // Slots that were taken and given to nobody keep their keys, as in Redis: whoever repairs a cluster looks for them there.
          const isTaken = map.shardOfSlot[slot] !== -1;
          if (isTaken) this.#slots.add(slot);
        }
      }
    }
    const returned: SlotRange[] = [];
    for (const slot of this.#slots) {
      // Whatever is in one that is on its way here again is the slot stream's to remove.
      if (importing[slot] === 1) this.#slots.delete(slot);
      if (owned[slot] !== 1) continue;
      this.#slots.delete(slot);
      if (this.#keyspace.slotSize(slot) > 0) returned.push({ first: slot, last: slot });
    }
    // Who has not led all the while, or has not seen all maps, may hold what came back by a migration meanwhile.
    if (isLeading && this.#wasLeading && hasSeenAll) this.flush(canonicalRanges(returned));
    this.#wasLeading = isLeading;
    for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
      if (importing[slot] === 1 || this.#slots.has(slot)) this.#keyspace.setHidden(slot, true);
      else if (owned[slot] === 1 || this.#importing[slot] === 1) this.#keyspace.setHidden(slot, false);
    }
    this.#importing = importing;
  }

  /** The node is in another shard, or in none: what it holds is replaced, or removed as a whole. */
  reset(): void {
    for (const slot of this.#slots) this.#keyspace.setHidden(slot, false);
    for (const [slot, isImporting] of this.#importing.entries())
      if (isImporting === 1) this.#keyspace.setHidden(slot, false);
    this.#slots.clear();
    this.#owned = [];
    this.#imported = [];
    this.#importing = flagsOf([]);
    this.#wasLeading = false;
  }

  /** Removes all keys of slots, in one step, here and in the log. */
  flush(slots: readonly SlotRange[]): void {
    if (slots.length === 0) return;
    for (const { first, last } of slots) {
      for (let slot = first; slot <= last; slot += 1) this.#keyspace.dropSlot(slot, Number.POSITIVE_INFINITY);
    }
    this.#tell(-1, ArgumentList.of(flushOperation(slots)));
  }

  /** Shows slots that were hidden before the map said why, and are empty by now. */
  tidy(): void {
    const keyspace = this.#keyspace;
    // What is on its way here is no leftover.
    const known = this.#imported.reduce((sum, { first, last }) => sum + last - first + 1, this.#slots.size);
    if (keyspace.hiddenCount === known) return;
    for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
      const isKnown = this.#slots.has(slot) || this.#importing[slot] === 1;
      if (!isKnown && keyspace.isHidden(slot) && keyspace.slotSize(slot) === 0) keyspace.setHidden(slot, false);
    }
  }

  /** Removes some keys, and forgets slots that are empty. The shard's primary does; what it writes to its log empties the slots of the others. */
  step(): void {
    let left = STEP_KEYS;
    for (const slot of this.#slots) {
      const size = this.#keyspace.slotSize(slot);
      if (size > 0 && left > 0) left -= size - this.#writer.drop(slot, left);
      if (this.#keyspace.slotSize(slot) === 0) {
        this.#slots.delete(slot);
        this.#keyspace.setHidden(slot, false);
      }
      if (left <= 0) return;
    }
  }
}

/** Slots whose keys a shard shows: its own, and those that it takes in key by key. */
function shownSlots(map: ClusterMap, shard: ShardId): readonly SlotRange[] {
  return [...(map.shards.find(({ id }) => id === shard)?.slots ?? []), ...slotsTakenIn(map, shard)];
}

function importedSlots(map: ClusterMap, shard: ShardId): readonly SlotRange[] {
  return map.migrations.flatMap(({ target, slots }) => (target === shard ? slots : []));
}

/** A table and no set of slots: half of them may move, and thousands of entries are milliseconds in which commands wait. */
function flagsOf(ranges: readonly SlotRange[]): Uint8Array {
  const flags = new Uint8Array(SLOT_COUNT);
  for (const { first, last } of ranges) flags.fill(1, first, last + 1);
  return flags;
}

function areEqual(one: readonly SlotRange[], other: readonly SlotRange[]): boolean {
  return (
    one.length === other.length &&
    one.every(({ first, last }, at) => first === other[at]?.first && last === other[at]?.last)
  );
}
