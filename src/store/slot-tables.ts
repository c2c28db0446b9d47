/**
 * Slot tables: where the records of each slot are.
 *
 * Each of the 16384 slots has a small hash table of its own, one Int32Array of entries (hash word, handle). So growth never moves more than one
 * slot's entries, and a slot can be counted, listed or dropped without a look at the others.
 *
 * Open addressing with linear probing, with a twist: an entry's home is the top bits of its hash, and entries are kept in ascending order of hash
 * over the whole table. That buys three things:
 * - a search stops at the first entry with a larger hash, found or not;
 * - removal closes the gap by shifting entries back to (at most) their homes; there are no tombstones;
 * - a scan goes by hash, not by place: "the next hash to visit" stays right whatever is added, removed or grown meanwhile, and each key that stays
 *   is visited exactly once.
 * There is no wrap-around: runs at the end go on into a few spare entries, of which the last one is always empty and ends every search.
 *
 * A hash word is `hash << 1 | isVolatile`: keys with an expiry can be found without a look at their records.
 */
import { assert } from "../assert.ts";
import { SLOT_COUNT } from "../codec/slot.ts";

/** Bits of a table hash (`KeyHasher.hashed`). */
const HASH_BITS = 30;
/** Entries of the smallest table that holds anything. */
const LEAST_BITS = 2;
/** Spare entries at the end, at least: runs there are short, as everywhere. */
const SPARE_ENTRIES = 4;
/** A table grows when more than this part of it would be used. Runs get long beyond; less wastes memory. */
const MAX_LOAD = 0.8;
/** A table shrinks when less than this part of it is used: far enough from growing that none does both in turn. */
const MIN_LOAD = 0.2;

/** The table of a slot without keys: one empty entry, shared, never written. */
const EMPTY_TABLE = new Int32Array(2);
/** Bytes of an entry. */
export const ENTRY_BYTES = 8;

export class SlotTables {
  /** Each slot's entries: hash word and handle (0: empty), in turn. */
  readonly tables: Int32Array[] = Array.from({ length: SLOT_COUNT }, () => EMPTY_TABLE);
  /** `hash >>> shifts[slot]` is the home of a hash. 30 for a table of one entry. */
  readonly shifts = new Uint8Array(SLOT_COUNT).fill(HASH_BITS);
  /** Keys in each slot. */
  readonly counts = new Int32Array(SLOT_COUNT);
  /** Those of them that have an expiry. */
  readonly volatileCounts = new Int32Array(SLOT_COUNT);
  /** Bytes of all tables. */
  tableBytes = 0;

  /**
   * Puts an entry in.
   *
   * @param at Index of the entry's place: the first empty one, or the first with a larger hash word, from the hash's home on (what a search that found nothing stopped at).
   */
  insert(slot: number, at: number, word: number, handle: number): void {
    let table = this.tables[slot] as Int32Array;
    let place = at;
    const count = (this.counts[slot] as number) + 1;
    const capacity = 1 << (HASH_BITS - (this.shifts[slot] as number));
    if (count > capacity * MAX_LOAD || table === EMPTY_TABLE) {
      this.#rebuild(slot, Math.max(LEAST_BITS, HASH_BITS - (this.shifts[slot] as number) + 1), 0);
      table = this.tables[slot] as Int32Array;
      place = this.#placeOf(slot, word);
    }
    let gap = place;
    while (table[gap + 1] !== 0) gap += 2;
    if (gap + 2 >= table.length) {
      // The run reaches the last entry, which must stay empty.
      this.#rebuild(slot, HASH_BITS - (this.shifts[slot] as number), (table.length >> 1) - capacity);
      table = this.tables[slot] as Int32Array;
      place = this.#placeOf(slot, word);
      gap = place;
      while (table[gap + 1] !== 0) gap += 2;
    }
    if (gap > place) table.copyWithin(place + 2, place, gap);
    table[place] = word;
    table[place + 1] = handle;
    this.counts[slot] = count;
    if ((word & 1) !== 0) this.volatileCounts[slot] = (this.volatileCounts[slot] as number) + 1;
  }

  /** Takes the entry at an index out. */
  removeAt(slot: number, at: number): void {
    const table = this.tables[slot] as Int32Array;
    const shift = this.shifts[slot] as number;
    if (((table[at] as number) & 1) !== 0) this.volatileCounts[slot] = (this.volatileCounts[slot] as number) - 1;
    let next = at + 2;
    // Entries behind it move up, until one that is at home, or none.
    while (table[next + 1] !== 0 && 2 * (((table[next] as number) >>> 1) >>> shift) < next) next += 2;
    table.copyWithin(at, at + 2, next);
    table[next - 2] = 0;
    table[next - 1] = 0;
    const count = (this.counts[slot] as number) - 1;
    this.counts[slot] = count;
    if (count === 0) this.#replace(slot, EMPTY_TABLE, HASH_BITS);
    else {
      const bits = HASH_BITS - shift;
      if (bits > LEAST_BITS && count < (1 << bits) * MIN_LOAD) this.#rebuild(slot, bits - 1, 0);
    }
  }

  /** Says whether the key of an entry has an expiry. */
  setVolatile(slot: number, at: number, isVolatile: boolean): void {
    const table = this.tables[slot] as Int32Array;
    const word = table[at] as number;
    if (((word & 1) !== 0) === isVolatile) return;
    table[at] = word ^ 1;
    this.volatileCounts[slot] = (this.volatileCounts[slot] as number) + (isVolatile ? 1 : -1);
  }

  /** Index of the first entry whose hash is at least `hash`, or of the last, empty one. */
  firstFrom(slot: number, hash: number): number {
    const table = this.tables[slot] as Int32Array;
    let at = 2 * (hash >>> (this.shifts[slot] as number));
    while (at + 2 < table.length && (table[at + 1] === 0 || (table[at] as number) >>> 1 < hash)) at += 2;
    return at;
  }

  /** Empties a slot, whatever its entries are. */
  clearSlot(slot: number): void {
    this.counts[slot] = 0;
    this.volatileCounts[slot] = 0;
    this.#replace(slot, EMPTY_TABLE, HASH_BITS);
  }

  /** Empties all. */
  clear(): void {
    this.tables.fill(EMPTY_TABLE);
    this.shifts.fill(HASH_BITS);
    this.counts.fill(0);
    this.volatileCounts.fill(0);
    this.tableBytes = 0;
  }

  /** Where a search for a hash word that is not in the table stops. */
  #placeOf(slot: number, word: number): number {
    const table = this.tables[slot] as Int32Array;
    let at = 2 * ((word >>> 1) >>> (this.shifts[slot] as number));
    while (table[at + 1] !== 0 && ((table[at] as number) | 1) <= (word | 1)) at += 2;
    return at;
  }

  /** Makes a slot's table anew. @param spare Entries at the end that it had: twice as many are made, if it says so. */
  #rebuild(slot: number, bits: number, spare: number): void {
    const old = this.tables[slot] as Int32Array;
    const shift = HASH_BITS - bits;
    // Where the last entry will be: each at home, or right behind the one before.
    let last = -1;
    for (let at = 0; at < old.length; at += 2) {
      if (old[at + 1] !== 0) last = Math.max(((old[at] as number) >>> 1) >>> shift, last + 1);
    }
    const entries = Math.max((1 << bits) + Math.max(SPARE_ENTRIES, 2 * spare), last + 1 + SPARE_ENTRIES);
    const table = new Int32Array(2 * entries);
    last = -1;
    for (let at = 0; at < old.length; at += 2) {
      if (old[at + 1] === 0) continue;
      last = Math.max(((old[at] as number) >>> 1) >>> shift, last + 1);
      table[2 * last] = old[at] as number;
      table[2 * last + 1] = old[at + 1] as number;
    }
    this.#replace(slot, table, shift);
  }

  #replace(slot: number, table: Int32Array, shift: number): void {
    const old = this.tables[slot] as Int32Array;
    if (old !== EMPTY_TABLE) this.tableBytes -= old.byteLength;
    if (table !== EMPTY_TABLE) this.tableBytes += table.byteLength;
    this.tables[slot] = table;
    this.shifts[slot] = shift;
  }

  /**
   * Asserts that a slot's table is as it must be. Slow: for tests and simulation.
   *
   * @param visit Called with each entry.
   * @throws {Fault} Naming what does not hold.
   */
  check(slot: number, visit: (word: number, handle: number) => void): void {
    const table = this.tables[slot] as Int32Array;
    const shift = this.shifts[slot] as number;
    let count = 0;
    let volatileCount = 0;
    let previous = -1;
    assert(table[table.length - 1] === 0, "the last entry of a table is empty");
    assert(EMPTY_TABLE[0] === 0 && EMPTY_TABLE[1] === 0, "the shared empty table is empty");
    let gapBefore = -1;
    for (let at = 0; at < table.length; at += 2) {
      const word = table[at] as number;
      const handle = table[at + 1] as number;
      if (handle === 0) {
        gapBefore = at;
        continue;
      }
      const hash = word >>> 1;
      const home = 2 * (hash >>> shift);
      assert(hash >= previous, "entries are in ascending order of hash");
      assert(home <= at && home > gapBefore, "an entry is at home, or in the run that begins there");
      previous = hash;
      count += 1;
      if ((word & 1) !== 0) volatileCount += 1;
      visit(word, handle);
    }
    assert(count === this.counts[slot], "a slot knows how many keys it has");
    assert(volatileCount === this.volatileCounts[slot], "a slot knows how many keys with an expiry it has");
  }
}
