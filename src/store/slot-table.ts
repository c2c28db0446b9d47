/**
 * Slot tables: for each of the 16384 slots, a table from a key's hash to its record.
 *
 * A table is a row of entries (hash word, handle) with gaps. An entry's *home* is where its hash would lie if all hashes were spread evenly over the row;
 * when somebody is there already it goes further right. Two rules make this more than the usual hash table:
 *
 * 1. Entries stand in ascending order of hash, all over the table (homes ascend with the hash, so that costs nothing), and there is no wrapping around: a few
 *    places at the end, the *pad*, take what overflows.
 * 2. There is no gap between an entry's home and its place.
 *
 * So a search starts at the home and ends at the first larger hash; growing is one pass from left to right; removal closes the gap by
 * moving what follows back, and leaves no tombstones; and the position of a scan is simply the hash to go on from, which stays right whatever is
 * added, removed or moved, and in a table of any size.
 *
 * A hash word is the 30 bits of the hash, then a bit for "has an expiry" (so that the sweep need not look at records), with the sign bit set: read as
 * numbers the words ascend with the hash, and the empty word, 0, is greater than all of them, so a search ends there by itself. The last entry of a table is always empty.
 *
 * Tables are blocks of the slabs like records: what grows and shrinks all the time does not bother the garbage collector, and the memory is
 * counted and compacted with the rest. Their first word is -2 - slot, their second the number of entries.
 */
import { assert } from "../assert.ts";
import { wordOf } from "./record.ts";
import { SMALL_LIMIT_BYTES } from "./size-classes.ts";
import { ROOT_BLOCK, type Slabs } from "./slabs.ts";

export const SLOTS = 16384;
/** Slots are counted in groups too, so that one among all of them is found in 256 steps and not in 16384. */
export const GROUP_SLOTS = 128;
const GROUPS = SLOTS / GROUP_SLOTS;

/** Bytes of an entry. */
export const ENTRY_BYTES = 8;
const TABLE_HEADER_BYTES = 8;
const TABLE_HEADER_WORDS = 2;
/** Set in every hash word: makes them negative, below the empty word. */
const SIGN_BIT = -2147483648;
const HASH_RANGE = 1073741824;
/** How full a table may be. At this load a search looks at about four entries, half a cache line; fuller saves little memory and costs much. */
const LOAD_LIMIT = 0.86;
/** Below this a table is made smaller, */
const LOAD_MINIMUM = 0.4;
/** to this, in the middle between the two, so that it is some time before it changes again. */
const LOAD_AFTER_SHRINKING = 0.65;
/** Growth beyond the next size class, for tables in buffers of their own. */
const LARGE_GROWTH_FACTOR = 1.25;
/** The pad of a new table: 12 entries are enough for 19 of 20 tables; the rest get twice as many. Small tables need less: an eighth. */
const PAD_LIMIT = 12;
const PAD_PART = 8;
/** Entries up to which moving them in a loop beats the native call. */
const LOOP_MOVE_LIMIT = 16;

/** The table that all empty slots share: one entry, empty. */
const EMPTY_TABLE = ROOT_BLOCK;

export class SlotTables {
  /** Of each slot: its table's block. Empty slots share one. */
  readonly handles = new Int32Array(SLOTS);
  /** Of each slot: homes per hash. `hash * scale`, rounded down, is the hash's home. 0 for the shared empty table. */
  // In 32 bits, which is exact up to 16 million homes, and takes half of the cache: it is read with every search.
  readonly scales = new Float32Array(SLOTS);
  /** Of each slot: its entries, and those with the volatile bit. */
  readonly counts = new Int32Array(SLOTS);
  readonly volatileCounts = new Int32Array(SLOTS);
  /** Slots that are hidden: 1. Their entries count in no sum. */
  readonly hidden = new Uint8Array(SLOTS);
  hiddenCount = 0;
  /** Sums: of each group of slots, and of all. */
  readonly groupCounts = new Int32Array(GROUPS);
  readonly groupVolatileCounts = new Int32Array(GROUPS);
  count = 0;
  volatileCount = 0;

  readonly #slabs: Slabs;

  constructor(slabs: Slabs) {
    this.#slabs = slabs;
    this.reset();
  }

  /** Empties all tables, without freeing their blocks: for after the slabs were reset. */
  reset(): void {
    this.#slabs.intsOf(EMPTY_TABLE)[1] = 1;
    this.handles.fill(EMPTY_TABLE);
    for (const numbers of [this.scales, this.counts, this.volatileCounts, this.groupCounts, this.groupVolatileCounts])
      numbers.fill(0);
    this.count = 0;
    this.volatileCount = 0;
  }

  /** Takes a slot's entries out of the sums, or in again. */
  setHidden(slot: number, isHidden: boolean): void {
    if ((this.hidden[slot] === 1) === isHidden) return;
    const sign = isHidden ? -1 : 1;
    this.hiddenCount -= sign;
    if (!isHidden) this.hidden[slot] = 0;
    this.#sum(slot, sign * (this.counts[slot] as number), sign * (this.volatileCounts[slot] as number));
    if (isHidden) this.hidden[slot] = 1;
  }

  /** The words that a slot's table lies in. */
  ints(slot: number): Int32Array {
    return this.#slabs.intsOf(this.handles[slot] as number);
  }

  /** Where a slot's first entry lies. */
  first(slot: number): number {
    return wordOf(this.handles[slot] as number) + TABLE_HEADER_WORDS;
  }

  /** How many entries a slot's table has room for, the always empty last one included. */
  entries(slot: number): number {
    return this.ints(slot)[wordOf(this.handles[slot] as number) + 1] as number;
  }

  /** One past a slot's last entry. */
  end(slot: number): number {
    return this.first(slot) + 2 * this.entries(slot);
  }

  /** Where the search for a hash starts: nothing of this hash, or greater, lies before. */
  home(slot: number, hash: number): number {
    // `| 0` rounds down too, and is a single instruction where `Math.floor` has to mind minus zero: a tenth of a whole search.
    return this.first(slot) + 2 * ((hash * (this.scales[slot] as number)) | 0);
  }

  /**
   * Adds an entry. It goes before others of the same hash.
   *
   * @throws {RangeError} If the table must grow and there is no memory; nothing has changed then.
   */
  insert(slot: number, hash: number, isVolatile: boolean, handle: number): void {
    const count = this.counts[slot] as number;
    if (count + 1 > this.entries(slot) * LOAD_LIMIT) this.#grow(slot);
    const word = hashWord(hash, isVolatile);
    const lowest = hashWord(hash, false);
    for (;;) {
      const ints = this.ints(slot);
      let at = this.home(slot, hash);
      while ((ints[at] as number) < lowest) at += 2;
      let gap = at;
      while (ints[gap] !== 0) gap += 2;
      if (gap === this.end(slot) - 2) {
        // The gap is the one that must stay.
        this.#widenPad(slot);
        continue;
      }
      if (gap - at > 2 * LOOP_MOVE_LIMIT) {
        ints.copyWithin(at + 2, at, gap);
      } else {
        for (let to = gap; to > at; to -= 2) {
          ints[to] = ints[to - 2] as number;
          ints[to + 1] = ints[to - 1] as number;
        }
      }
      ints[at] = word;
      ints[at + 1] = handle;
      break;
    }
    this.counts[slot] = count + 1;
    this.#sum(slot, 1, 0);
    if (isVolatile) this.#countVolatile(slot, 1);
  }

  /**
   * Removes the entry at `at`. What follows moves back into the gap, so that the next entry, if there is one in its run, is at `at`. The table keeps its size:
   * call `trim` when done.
   */
  removeAt(slot: number, at: number): void {
    const ints = this.ints(slot);
    const first = this.first(slot);
    const scale = this.scales[slot] as number;
    if (isVolatileWord(ints[at] as number)) this.#countVolatile(slot, -1);
    let gap = at;
    for (let next = at + 2; ; next += 2) {
      const word = ints[next] as number;
      // An empty place, or an entry that is at home and may not go further left: rule 2 holds for all that follows.
      if (word === 0 || first + 2 * Math.floor(hashOf(word) * scale) === next) break;
      ints[gap] = word;
      ints[gap + 1] = ints[next + 1] as number;
      gap = next;
    }
    ints[gap] = 0;
    ints[gap + 1] = 0;
    this.counts[slot] = (this.counts[slot] as number) - 1;
    this.#sum(slot, -1, 0);
  }

  /** Gives a table's memory back if it has become too large. */
  trim(slot: number): void {
    const count = this.counts[slot] as number;
    const handle = this.handles[slot] as number;
    if (count === 0) {
      if (handle === EMPTY_TABLE) return;
      this.#slabs.free(handle);
      this.handles[slot] = EMPTY_TABLE;
      this.scales[slot] = 0;
    } else if (count < this.entries(slot) * LOAD_MINIMUM) {
      const bytes = this.#slabs.roundUp(
        TABLE_HEADER_BYTES + ENTRY_BYTES * (Math.ceil(count / LOAD_AFTER_SHRINKING) + 1),
      );
      if (bytes < this.#slabs.blockBytes(handle)) this.#resize(slot, bytes);
    }
  }

  /** Says whether the record of the entry at `at` has an expiry. */
  setVolatile(slot: number, at: number, isVolatile: boolean): void {
    const ints = this.ints(slot);
    const word = ints[at] as number;
    if (isVolatileWord(word) === isVolatile) return;
    ints[at] = word ^ 1;
    this.#countVolatile(slot, isVolatile ? 1 : -1);
  }

  /** Where the entry of a record lies whose hash is known. It is there. */
  entryOf(slot: number, hash: number, handle: number): number {
    const ints = this.ints(slot);
    const lowest = hashWord(hash, false);
    let at = this.home(slot, hash);
    while ((ints[at] as number) < lowest) at += 2;
    while (ints[at + 1] !== handle) {
      assert((ints[at] as number) <= lowest + 1, "A record has an entry in its slot's table.");
      at += 2;
    }
    return at;
  }

  #countVolatile(slot: number, change: number): void {
    this.volatileCounts[slot] = (this.volatileCounts[slot] as number) + change;
    this.#sum(slot, 0, change);
  }

  /** Adds to the sums, unless the slot is hidden. */
  #sum(slot: number, entries: number, volatileEntries: number): void {
    if (this.hidden[slot] === 1) return;
    const group = Math.floor(slot / GROUP_SLOTS);
    this.groupCounts[group] = (this.groupCounts[group] as number) + entries;
    this.count += entries;
    if (volatileEntries === 0) return;
    this.groupVolatileCounts[group] = (this.groupVolatileCounts[group] as number) + volatileEntries;
    this.volatileCount += volatileEntries;
  }

  /** Moves a table to the next larger block. */
  #grow(slot: number): void {
    const bytes = this.#slabs.blockBytes(this.handles[slot] as number);
    const wanted = bytes >= SMALL_LIMIT_BYTES ? Math.ceil(bytes * LARGE_GROWTH_FACTOR) : bytes + ENTRY_BYTES;
    this.#resize(slot, this.#slabs.roundUp(wanted));
  }

  /** Moves a table to a block of another size, with a pad as small as its entries allow. */
  #resize(slot: number, bytes: number): void {
    const entries = entriesIn(bytes);
    let pad = Math.min(PAD_LIMIT, Math.ceil(entries / PAD_PART));
    const homes = entries - pad;
    // More than once only if there are too many hashes near the upper end, or equal ones.
    while (!this.#rebuild(slot, homes, pad)) pad *= 2;
  }

  /** Makes room for more hashes near the upper end. Doubling, and leaving the homes alone, keeps the size in proportion to the entries whatever the hashes are. */
  #widenPad(slot: number): void {
    const homes = Math.round((this.scales[slot] as number) * HASH_RANGE);
    this.#rebuild(slot, homes, 2 * (this.entries(slot) - homes));
  }

  /** Moves a table to another block. False, with nothing changed, if the pad is too small. */
  #rebuild(slot: number, homes: number, pad: number): boolean {
    const slabs = this.#slabs;
    const old = this.handles[slot] as number;
    const oldInts = slabs.intsOf(old);
    const oldFirst = this.first(slot);
    const oldEnd = this.end(slot);
    const bytes = slabs.roundUp(TABLE_HEADER_BYTES + ENTRY_BYTES * (homes + pad));
    // What rounding up leaves over goes to the pad.
    const entries = entriesIn(bytes);
    const handle = slabs.allocate(bytes);
    const ints = slabs.intsOf(handle);
    const word = wordOf(handle);
    ints[word] = -2 - slot;
    ints[word + 1] = entries;
    const scale = Math.fround(homes / HASH_RANGE);
    if (!placeAll(oldInts, oldFirst, oldEnd, ints, word + TABLE_HEADER_WORDS, entries, scale)) {
      slabs.free(handle);
      return false;
    }
    this.handles[slot] = handle;
    this.scales[slot] = scale;
    if (old !== EMPTY_TABLE) slabs.free(old);
    return true;
  }

  /**
   * Walks all tables and asserts that they are as they should be. Slow: for tests and simulation.
   *
   * @param visit Called with each entry.
   * @throws {Fault} Naming what does not hold.
   */
  check(visit: (slot: number, hash: number, isVolatile: boolean, handle: number) => void): void {
    let total = 0;
    let totalVolatile = 0;
    const groupCounts = new Int32Array(GROUPS);
    const groupVolatileCounts = new Int32Array(GROUPS);
    for (let slot = 0; slot < SLOTS; slot++) {
      const ints = this.ints(slot);
      const end = this.end(slot);
      const isShared = this.handles[slot] === EMPTY_TABLE;
      assert(isShared || ints[wordOf(this.handles[slot] as number)] === -2 - slot, "A table says whose it is.");
      assert(ints[end - 2] === 0, "A table's last entry is empty.");
      let count = 0;
      let volatileCount = 0;
      let greatest = -1;
      let gap = this.first(slot) - 2;
      for (let at = this.first(slot); at < end; at += 2) {
        const word = ints[at] as number;
        if (word === 0) {
          assert(ints[at + 1] === 0, "An empty entry has no record.");
          gap = at;
          continue;
        }
        const hash = hashOf(word);
        assert(hash >= greatest, "A table's hashes ascend.");
        assert(
          this.home(slot, hash) <= at && this.home(slot, hash) > gap,
          "There is no gap between an entry and its home.",
        );
        greatest = hash;
        count++;
        if (isVolatileWord(word)) volatileCount++;
        visit(slot, hash, isVolatileWord(word), ints[at + 1] as number);
      }
      assert(
        count === this.counts[slot] && volatileCount === this.volatileCounts[slot],
        "A slot knows how many keys it has.",
      );
      assert(isShared === (count === 0), "Empty slots share a table.");
      if (this.hidden[slot] === 1) continue;
      total += count;
      totalVolatile += volatileCount;
      const group = Math.floor(slot / GROUP_SLOTS);
      groupCounts[group] = (groupCounts[group] as number) + count;
      groupVolatileCounts[group] = (groupVolatileCounts[group] as number) + volatileCount;
    }
    assert(
      total === this.count && totalVolatile === this.volatileCount,
      "The keys of all slots that are shown are counted.",
    );
    for (let group = 0; group < GROUPS; group++) {
      assert(groupCounts[group] === this.groupCounts[group], "A group of slots knows how many keys it has.");
      assert(
        groupVolatileCounts[group] === this.groupVolatileCounts[group],
        "A group knows how many keys with an expiry it has.",
      );
    }
  }
}

/** How many entries a table has in a block of so many bytes. */
function entriesIn(bytes: number): number {
  return (bytes - TABLE_HEADER_BYTES) >>> 3;
}

/** The hash word of a hash. Those of one hash are this one, without the volatile bit, and the next. */
export function hashWord(hash: number, isVolatile: boolean): number {
  return (hash << 1) | SIGN_BIT | (isVolatile ? 1 : 0);
}

/** The hash of a hash word. */
export function hashOf(word: number): number {
  return (word & ~SIGN_BIT) >>> 1;
}

/** Whether a hash word's record has an expiry. */
export function isVolatileWord(word: number): boolean {
  return (word & 1) !== 0;
}

/** Copies entries in order to a cleared table, each to its home or to the first free place after. False if they do not fit. */
function placeAll(
  from: Int32Array,
  fromFirst: number,
  fromEnd: number,
  to: Int32Array,
  toFirst: number,
  entries: number,
  scale: number,
): boolean {
  const last = toFirst + 2 * (entries - 1);
  to.fill(0, toFirst, last + 2);
  let next = toFirst;
  for (let at = fromFirst; at < fromEnd; at += 2) {
    const word = from[at] as number;
    if (word === 0) continue;
    next = Math.max(next, toFirst + 2 * Math.floor(hashOf(word) * scale));
    if (next >= last) return false;
    to[next] = word;
    to[next + 1] = from[at + 1] as number;
    next += 2;
  }
  return true;
}
