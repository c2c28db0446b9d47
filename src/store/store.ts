/**
 * The store: all keys and values of a node.
 *
 * Everything lies in the slabs (`slabs.ts`), big arrays that the garbage collector does not look into: each key with its value is one *record* there
 * (`record.ts`), each of the 16384 slots has one *table* there that leads from a key's hash to its record (`slot-table.ts`). A *handle* is the number of a
 * place in the slabs. So finding a key goes
 *
 *     key -> (slot, hash) -> the slot's table -> entry with that hash -> handle -> record -> is it the same key?
 *
 * and every step is a read from a typed array. No object is made on the way, neither here nor in what is called from here: what a caller gets is a handle, and
 * with it the array and the places in it where the key and the value lie.
 *
 * Exactly one table entry refers to a record. That is what lets compaction (`compaction.ts`) move records: their key tells the entry to correct.
 *
 * The life of a record: `#place` makes it, or writes over the old one where that is of the same size class (the most frequent SET of all); `#removeAt` ends it, whoever
 * asked: a command, expiry, eviction, the dropping of a slot. A record past its expiry is as good as gone: whoever meets it first
 * removes it, unless this node waits for its primary to say so (`removesExpired`), then it is only hidden.
 *
 * The hooks `onChange` and `onExpire` are called in the middle of an operation. They must not call anything here that changes keys.
 */
import { assert } from "../assert.ts";
import { copyBytes } from "../codec/copy-bytes.ts";
import { KeyHasher } from "../codec/slot.ts";
import type { AccessTracking, Handle, Keyspace, ValueType } from "../contracts/keyspace.ts";
import { AccessClock } from "./access-clock.ts";
import { Compaction } from "./compaction.ts";
import { equalBytes } from "./equal-bytes.ts";
import { Digest } from "./digest.ts";
import { KeyReference } from "./key-reference.ts";
import { RecordReader } from "./record-reader.ts";
import {
  ACCESS_SHIFT,
  EXPIRY_BYTES,
  FLAGS_MASK,
  FLAGS_SHIFT,
  HAS_EXPIRY,
  HEADER_BYTES,
  KEEP_EXPIRY,
  KEY_LENGTH,
  META,
  META_MASK,
  NO_EXPIRY,
  STRING_TYPE,
  VALUE_LENGTH,
  byteOf,
  readExpiry,
  wordOf,
  writeExpiry,
} from "./record.ts";
import { sample } from "./sample.ts";
import { Slabs } from "./slabs.ts";
import { GROUP_SLOTS, SLOTS, SlotTables, hashOf, hashWord, isVolatileWord } from "./slot-table.ts";

/** What `#locate` answers when there is no such key. */
const NOWHERE = -1;
/** Entries that a sweep may pass for each key with an expiry that it was asked to look at: bounds a call when few keys have one. */
const SWEEP_ENTRIES_PER_KEY = 32;

export interface StoreOptions {
  /** Seeds the tables' hash. A secret, else somebody could prepare keys that all land in one place. */
  readonly seed: number;
  /** Gives a whole number, evenly from 0 to `bound - 1`. For `random` and the access counters. */
  readonly random: (bound: number) => number;
}

/**
 * A keyspace in memory.
 *
 * @example
 * ```ts
 * const store = new Store({ seed: 1, random: (bound) => world.random.below(bound) });
 * const key = new KeyReference();
 * store.refer(key, input, 0, 3);
 * store.setString(key, input, 4, 10, NO_EXPIRY);
 * const record = store.find(key);
 * const value = store.bytes(record).slice(store.valueStart(record), store.valueStart(record) + store.valueLength(record));
 * ```
 */
export class Store extends RecordReader implements Keyspace {
  removesExpired = true;
  changes = 0;
  expiredCount = 0;
  readonly slotWatchers = new Uint32Array(SLOTS);
  onChange: (key: KeyReference) => void = ignore;
  onExpire: (key: KeyReference) => void = ignore;

  readonly #hasher: KeyHasher;
  readonly #random: (bound: number) => number;
  readonly #tables: SlotTables;
  readonly #compaction: Compaction;
  #nowMs = 0;
  /** Of each slot: bytes of its records' blocks. */
  readonly #slotBytes = new Float64Array(SLOTS);
  /** For keys that are met here, and not brought by a caller. */
  readonly #ownKey = new KeyReference();
  /** Where the sweep goes on: a slot, and a hash in it. */
  #sweepSlot = 0;
  #sweepHash = 0;
  /** The slot that `dropSlot` was last called for, and how many entries of its table may still be taken: those after are empty, or newer. */
  #dropSlot = NOWHERE;
  #dropEntries = 0;

  constructor(options: StoreOptions) {
    const slabs = new Slabs();
    super(slabs, new AccessClock(options.random));
    this.#hasher = new KeyHasher(options.seed);
    this.#random = options.random;
    this.#tables = new SlotTables(slabs);
    this.#compaction = new Compaction(this.slabs, (from, to) => this.#moved(from, to));
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  set nowMs(nowMs: number) {
    this.#nowMs = nowMs;
    this.clock.set(nowMs);
  }

  get accessTracking(): AccessTracking {
    return this.clock.countsAccesses ? "frequency" : "time";
  }

  set accessTracking(tracking: AccessTracking) {
    this.clock.countsAccesses = tracking === "frequency";
  }

  /** Redis' `lfu-log-factor`: how fast the access counter slows down. */
  get frequencyLogFactor(): number {
    return this.clock.logFactor;
  }

  set frequencyLogFactor(factor: number) {
    this.clock.logFactor = factor;
  }

  /** Redis' `lfu-decay-time`: minutes after which the counter of an unused key falls by one. 0: never. */
  get frequencyDecayMinutes(): number {
    return this.clock.decayMinutes;
  }

  set frequencyDecayMinutes(minutes: number) {
    this.clock.decayMinutes = minutes;
  }

  get size(): number {
    return this.#tables.count;
  }

  get volatileCount(): number {
    return this.#tables.volatileCount;
  }

  get usedBytes(): number {
    return this.slabs.usedBytes;
  }

  get allocatedBytes(): number {
    return this.slabs.allocatedBytes;
  }

  refer(key: KeyReference, bytes: Uint8Array, start: number, end: number): void {
    const hasher = this.#hasher;
    hasher.hash(bytes, start, end);
    key.bytes = bytes;
    key.start = start;
    key.end = end;
    key.slot = hasher.slot;
    key.hash = hasher.hashed;
  }

  referRecord(key: KeyReference, record: Handle): void {
    const start = this.keyStart(record);
    this.refer(key, this.bytes(record), start, start + this.keyLength(record));
  }

  // Finding.

  find(key: KeyReference): Handle {
    const at = this.#locate(key);
    if (at === NOWHERE) return 0;
    const record = this.#tables.ints(key.slot)[at + 1] as number;
    const ints = this.slabs.intsOf(record);
    const word = wordOf(record);
    const meta = ints[word + META] as number;
    if ((meta & HAS_EXPIRY) !== 0 && readExpiry(ints, word) <= this.#nowMs) {
      this.#meetExpired(key, at);
      return 0;
    }
    const noted = (meta & META_MASK) | (this.clock.noted(meta >>> ACCESS_SHIFT) << ACCESS_SHIFT);
    // Most keys that are read are read again within the second: a line of memory that stays clean need not be written back.
    if (noted !== meta) ints[word + META] = noted;
    return record;
  }

  peek(key: KeyReference): Handle {
    const at = this.#locate(key);
    if (at === NOWHERE) return 0;
    const record = this.#tables.ints(key.slot)[at + 1] as number;
    if (!this.#isExpired(record)) return record;
    this.#meetExpired(key, at);
    return 0;
  }

  // Changing.

  setString(key: KeyReference, source: Uint8Array, start: number, end: number, expiresAtMs: number): Handle {
    const record = this.#place(key, STRING_TYPE, end - start, expiresAtMs);
    copyBytes(source, start, end, this.slabs.bytesOf(record), this.valueStart(record));
    return record;
  }

  store(key: KeyReference, type: ValueType, flags: number, valueLength: number, expiresAtMs: number): Handle {
    assert(flags >= 0 && flags <= FLAGS_MASK, "A record has four bits for flags.");
    return this.#place(key, type | (flags << FLAGS_SHIFT), valueLength, expiresAtMs);
  }

  resize(key: KeyReference, record: Handle, valueLength: number, flags: number): Handle {
    assert(
      valueLength >= 0 && flags >= 0 && flags <= FLAGS_MASK,
      "A value's length is not negative, and a record has four bits for flags.",
    );
    const slabs = this.slabs;
    const oldLength = this.valueLength(record);
    const bytes = this.valueStart(record) - byteOf(record) + valueLength;
    let target = record;
    if (!slabs.suits(record, bytes)) {
      target = valueLength > oldLength ? slabs.allocateGrowing(bytes) : slabs.allocate(bytes);
      const start = byteOf(record);
      const kept = bytes - Math.max(valueLength - oldLength, 0);
      copyBytes(slabs.bytesOf(record), start, start + kept, slabs.bytesOf(target), byteOf(target));
    }
    const ints = slabs.intsOf(target);
    const word = wordOf(target);
    ints[word + VALUE_LENGTH] = valueLength;
    ints[word + META] = ((ints[word + META] as number) & ~(FLAGS_MASK << FLAGS_SHIFT)) | (flags << FLAGS_SHIFT);
    if (valueLength > oldLength) {
      const valueStart = this.valueStart(target);
      slabs.bytesOf(target).fill(0, valueStart + oldLength, valueStart + valueLength);
    }
    if (target !== record) this.#replace(key, record, target);
    this.#noteChange(key);
    if (target !== record) slabs.free(record);
    return target;
  }

  setFlags(record: Handle, flags: number): void {
    assert(flags >= 0 && flags <= FLAGS_MASK, "A record has four bits for flags.");
    const ints = this.slabs.intsOf(record);
    const at = wordOf(record) + META;
    ints[at] = ((ints[at] as number) & ~(FLAGS_MASK << FLAGS_SHIFT)) | (flags << FLAGS_SHIFT);
  }

  changed(key: KeyReference, record: Handle, flags: number): void {
    this.setFlags(record, flags);
    this.#noteChange(key);
  }

  setExpiry(key: KeyReference, record: Handle, expiresAtMs: number): Handle {
    assert(expiresAtMs >= 0, "An expiry is a time in milliseconds, or NO_EXPIRY.");
    const slabs = this.slabs;
    const hadExpiry = (this.read(record, META) & HAS_EXPIRY) !== 0;
    const hasExpiry = expiresAtMs !== NO_EXPIRY;
    let target = record;
    if (hasExpiry !== hadExpiry) {
      // Key and value move by the eight bytes of the expiry, in this block or to another.
      const from = this.keyStart(record);
      const length = this.keyLength(record) + this.valueLength(record);
      const to = HEADER_BYTES + (hasExpiry ? EXPIRY_BYTES : 0);
      if (slabs.suits(record, to + length)) {
        slabs.bytesOf(record).copyWithin(byteOf(record) + to, from, from + length);
      } else {
        target = slabs.allocate(to + length);
        copyBytes(
          slabs.bytesOf(record),
          byteOf(record),
          byteOf(record) + HEADER_BYTES,
          slabs.bytesOf(target),
          byteOf(target),
        );
        copyBytes(slabs.bytesOf(record), from, from + length, slabs.bytesOf(target), byteOf(target) + to);
      }
      const at = wordOf(target) + META;
      const ints = slabs.intsOf(target);
      ints[at] = (ints[at] as number) ^ HAS_EXPIRY;
      this.#tables.setVolatile(key.slot, this.#tables.entryOf(key.slot, key.hash, record), hasExpiry);
    }
    if (hasExpiry) writeExpiry(slabs.intsOf(target), wordOf(target), expiresAtMs);
    if (target !== record) this.#replace(key, record, target);
    this.#noteChange(key);
    if (target !== record) slabs.free(record);
    return target;
  }

  remove(key: KeyReference): boolean {
    const at = this.#locate(key);
    if (at === NOWHERE) return false;
    const isExpired = this.#isExpired(this.#tables.ints(key.slot)[at + 1] as number);
    if (isExpired && this.removesExpired) {
      this.#expireAt(key, at);
    } else {
      this.#removeAt(key, at);
    }
    this.#tables.trim(key.slot);
    return !isExpired;
  }

  clear(): void {
    this.changes += this.#tables.counts.reduce((sum, count) => sum + count, 0);
    const visit = (record: Handle): void => {
      this.referRecord(this.#ownKey, record);
      this.onChange(this.#ownKey);
    };
    for (let slot = 0; slot < SLOTS; slot++) {
      if (this.slotWatchers[slot] !== 0) this.scanSlot(slot, 0, Number.POSITIVE_INFINITY, visit);
    }
    this.slabs.reset();
    this.#tables.reset();
    this.#compaction.reset();
    this.#slotBytes.fill(0);
    this.#dropSlot = NOWHERE;
  }

  // By slot.

  slotSize(slot: number): number {
    return this.#tables.counts[slot] as number;
  }

  slotVolatileSize(slot: number): number {
    return this.#tables.volatileCounts[slot] as number;
  }

  slotBytes(slot: number): number {
    return this.#slotBytes[slot] as number;
  }

  scanSlot(slot: number, position: number, limit: number, visit: (record: Handle) => void): number {
    const ints = this.#tables.ints(slot);
    const end = this.#tables.end(slot);
    let visited = 0;
    let lastHash = -1;
    for (let at = this.#tables.home(slot, position); at < end; at += 2) {
      const word = ints[at] as number;
      if (word === 0) continue;
      const hash = hashOf(word);
      if (hash < position) continue;
      if (visited >= limit && hash !== lastHash) return Math.max(hash, 1);
      visit(ints[at + 1] as number);
      visited++;
      lastHash = hash;
    }
    return 0;
  }

  setHidden(slot: number, isHidden: boolean): void {
    this.#tables.setHidden(slot, isHidden);
  }

  get hiddenCount(): number {
    return this.#tables.hiddenCount;
  }

  isHidden(slot: number): boolean {
    return this.#tables.hidden[slot] === 1;
  }

  dropSlot(slot: number, limit: number): number {
    const tables = this.#tables;
    if (this.#dropSlot !== slot) this.#dropEntries = Number.POSITIVE_INFINITY;
    this.#dropSlot = slot;
    // From the end on, where nothing moves into the gap that a removal leaves.
    for (let left = Math.min(limit, this.slotSize(slot)); left > 0; left--) {
      const ints = tables.ints(slot);
      const first = tables.first(slot);
      let entry = Math.min(this.#dropEntries, tables.entries(slot)) - 1;
      while (entry >= 0 && ints[first + 2 * entry] === 0) entry--;
      if (entry < 0) {
        // What was added since the first call lies behind: once more from the end.
        this.#dropEntries = Number.POSITIVE_INFINITY;
        left++;
        continue;
      }
      this.#dropEntries = entry + 1;
      this.referRecord(this.#ownKey, ints[first + 2 * entry + 1] as number);
      this.#removeAt(this.#ownKey, first + 2 * entry);
    }
    tables.trim(slot);
    if (this.slotSize(slot) === 0) this.#dropSlot = NOWHERE;
    return this.slotSize(slot);
  }

  digestSlot(slot: number): string {
    const digest = new Digest();
    this.scanSlot(slot, 0, Number.POSITIVE_INFINITY, (record) => {
      digest.add(
        this.type(record),
        this.expiresAtMs(record),
        this.bytes(record),
        this.keyStart(record),
        this.keyLength(record),
        this.valueStart(record),
        this.valueLength(record),
      );
    });
    return digest.toString();
  }

  // Housekeeping.

  random(volatileOnly: boolean): Handle {
    return sample(this.#tables, this.#random, volatileOnly);
  }

  sweepExpired(limit: number): number {
    const tables = this.#tables;
    if (!this.removesExpired || tables.volatileCount === 0) return 0;
    let keysLeft = Math.min(limit, tables.volatileCount);
    let entriesLeft = limit * SWEEP_ENTRIES_PER_KEY;
    let expired = 0;
    while (keysLeft > 0 && entriesLeft > 0 && tables.volatileCount > 0) {
      const slot = this.#nextVolatileSlot();
      let at = tables.home(slot, this.#sweepHash);
      const ints = tables.ints(slot);
      const end = tables.end(slot);
      while (at < end && keysLeft > 0 && entriesLeft > 0) {
        entriesLeft--;
        const word = ints[at] as number;
        if (word === 0 || !isVolatileWord(word) || hashOf(word) < this.#sweepHash) {
          at += 2;
          continue;
        }
        keysLeft--;
        const record = ints[at + 1] as number;
        if (this.#isExpired(record)) {
          expired++;
          this.referRecord(this.#ownKey, record);
          // The next entry moves here.
          this.#expireAt(this.#ownKey, at);
        } else {
          at += 2;
        }
      }
      // What was looked at is before `at`; an entry of the same hash may be looked at twice.
      while (at < end && ints[at] === 0) at += 2;
      this.#sweepHash = at < end ? hashOf(ints[at] as number) : 0;
      tables.trim(slot);
      if (at >= end) this.#sweepSlot = (slot + 1) % SLOTS;
    }
    return expired;
  }

  maintain(limitBytes: number): boolean {
    return this.#compaction.run(limitBytes);
  }

  get needsMaintenance(): boolean {
    return this.#compaction.isNeeded;
  }

  /**
   * Walks everything and asserts every invariant. Slow (a second for a million keys): for tests and simulation.
   *
   * @throws {Fault} Naming what does not hold.
   */
  check(): void {
    const reached = new Set<number>();
    const slotBytes = new Float64Array(SLOTS);
    const key = new KeyReference();
    this.#tables.check((slot, hash, isVolatile, record) => {
      assert(!reached.has(record), "One entry refers to a record.");
      reached.add(record);
      this.referRecord(key, record);
      assert(key.slot === slot && key.hash === hash, "A record is in the table, and at the hash, of its key.");
      assert(
        (this.expiresAtMs(record) !== NO_EXPIRY) === isVolatile,
        "An entry says whether its record has an expiry.",
      );
      const end = this.valueStart(record) + this.valueLength(record);
      assert(end - byteOf(record) <= this.slabs.blockBytes(record), "A record fits its block.");
      slotBytes[slot] = (slotBytes[slot] as number) + this.slabs.blockBytes(record);
    });
    for (let slot = 0; slot < SLOTS; slot++) {
      assert(slotBytes[slot] === this.#slotBytes[slot], "A slot knows how many bytes its records take up.");
      if (this.#tables.counts[slot] !== 0) reached.add(this.#tables.handles[slot] as number);
    }
    let usedBytes = 0;
    for (const handle of reached) usedBytes += this.slabs.blockBytes(handle);
    assert(usedBytes === this.slabs.usedBytes, "Every block is a record or a table.");
    this.slabs.check((handle) => assert(reached.has(handle), "Every live block is referred to."));
  }

  // Inside.

  #isExpired(record: Handle): boolean {
    const ints = this.slabs.intsOf(record);
    const word = wordOf(record);
    return ((ints[word + META] as number) & HAS_EXPIRY) !== 0 && readExpiry(ints, word) <= this.#nowMs;
  }

  /** Finds where the entry of a key lies in its slot's table, or answers `NOWHERE`. The hottest loop of all. */
  #locate(key: KeyReference): number {
    const tables = this.#tables;
    const slabs = this.slabs;
    const slot = key.slot;
    const lowest = hashWord(key.hash, false);
    const ints = tables.ints(slot);
    let at = tables.home(slot, key.hash);
    while ((ints[at] as number) < lowest) at += 2;
    for (; (ints[at] as number) <= lowest + 1; at += 2) {
      const record = ints[at + 1] as number;
      const recordInts = slabs.intsOf(record);
      const word = wordOf(record);
      const length = key.end - key.start;
      if (recordInts[word + KEY_LENGTH] !== length) continue;
      const keyStart = (word << 2) + HEADER_BYTES + ((recordInts[word + META] as number) & HAS_EXPIRY);
      if (equalBytes(key.bytes, key.start, slabs.bytesOf(record), keyStart, length)) return at;
    }
    return NOWHERE;
  }

  /** An expired key was asked for: removes it, or leaves it hidden. */
  #meetExpired(key: KeyReference, at: number): void {
    if (!this.removesExpired) return;
    this.#expireAt(key, at);
    this.#tables.trim(key.slot);
  }

  /** Removes the record of the entry at `at` because it has expired. The table is not trimmed. */
  #expireAt(key: KeyReference, at: number): void {
    this.onExpire(key);
    this.expiredCount++;
    this.#removeAt(key, at);
  }

  /** Removes the record of the entry at `at`, which is `key`'s. The table is not trimmed. */
  #removeAt(key: KeyReference, at: number): void {
    const slot = key.slot;
    const record = this.#tables.ints(slot)[at + 1] as number;
    this.#slotBytes[slot] = (this.#slotBytes[slot] as number) - this.slabs.blockBytes(record);
    this.#tables.removeAt(slot, at);
    // Told before the record's memory goes: the key may be the record's own.
    this.#noteChange(key);
    this.slabs.free(record);
  }

  #noteChange(key: KeyReference): void {
    this.changes++;
    if (this.slotWatchers[key.slot] !== 0) this.onChange(key);
  }

  /** Lets a key's entry refer to another record, and counts the bytes. Neither is freed. */
  #replace(key: KeyReference, from: Handle, to: Handle): void {
    const slot = key.slot;
    this.#tables.ints(slot)[this.#tables.entryOf(slot, key.hash, from) + 1] = to;
    this.#slotBytes[slot] = (this.#slotBytes[slot] as number) + this.slabs.blockBytes(to) - this.slabs.blockBytes(from);
  }

  /**
   * Makes the record of a key, in place of what the key held, with its value left to be filled.
   *
   * @param meta Type and flags, as they stand in the header.
   */
  #place(key: KeyReference, meta: number, valueLength: number, expiresAtMs: number): Handle {
    assert(expiresAtMs >= KEEP_EXPIRY && valueLength >= 0, "A record's expiry and length are not negative.");
    const at = this.#locate(key);
    if (at === NOWHERE) return this.#insert(key, meta, valueLength, expiresAtMs);

    const slabs = this.slabs;
    const tables = this.#tables;
    const slot = key.slot;
    const record = tables.ints(slot)[at + 1] as number;
    const ints = slabs.intsOf(record);
    const word = wordOf(record);
    const oldMeta = ints[word + META] as number;
    let expiryMs = expiresAtMs;
    if ((oldMeta & HAS_EXPIRY) !== 0) {
      const oldExpiryMs = readExpiry(ints, word);
      if (oldExpiryMs <= this.#nowMs) {
        if (this.removesExpired) {
          this.#expireAt(key, at);
          return this.#insert(key, meta, valueLength, expiresAtMs);
        }
        // Hidden: as if it were not there.
        if (expiryMs === KEEP_EXPIRY) expiryMs = NO_EXPIRY;
      } else if (expiryMs === KEEP_EXPIRY) {
        expiryMs = oldExpiryMs;
      }
    } else if (expiryMs === KEEP_EXPIRY) {
      expiryMs = NO_EXPIRY;
    }

    const hasExpiry = expiryMs === NO_EXPIRY ? 0 : HAS_EXPIRY;
    const access = this.clock.noted(oldMeta >>> ACCESS_SHIFT);
    const keyLength = key.end - key.start;
    const bytes = HEADER_BYTES + hasExpiry + keyLength + valueLength;
    if (slabs.suits(record, bytes)) {
      if ((oldMeta & HAS_EXPIRY) !== hasExpiry) {
        const from = (word << 2) + HEADER_BYTES + (oldMeta & HAS_EXPIRY);
        slabs.bytesOf(record).copyWithin((word << 2) + HEADER_BYTES + hasExpiry, from, from + keyLength);
        tables.setVolatile(slot, at, hasExpiry !== 0);
      }
      ints[word + VALUE_LENGTH] = valueLength;
      ints[word + META] = meta | hasExpiry | (access << ACCESS_SHIFT);
      if (hasExpiry !== 0) writeExpiry(ints, word, expiryMs);
      this.#noteChange(key);
      return record;
    }
    const target = this.#write(key, bytes, meta | hasExpiry | (access << ACCESS_SHIFT), valueLength, expiryMs);
    tables.ints(slot)[at + 1] = target;
    tables.setVolatile(slot, at, hasExpiry !== 0);
    this.#slotBytes[slot] = (this.#slotBytes[slot] as number) + slabs.blockBytes(target) - slabs.blockBytes(record);
    this.#noteChange(key);
    slabs.free(record);
    return target;
  }

  /** `#place` for a key that is not there. */
  #insert(key: KeyReference, meta: number, valueLength: number, expiresAtMs: number): Handle {
    const expiryMs = expiresAtMs === KEEP_EXPIRY ? NO_EXPIRY : expiresAtMs;
    const hasExpiry = expiryMs === NO_EXPIRY ? 0 : HAS_EXPIRY;
    const bytes = HEADER_BYTES + hasExpiry + (key.end - key.start) + valueLength;
    const record = this.#write(
      key,
      bytes,
      meta | hasExpiry | (this.clock.first() << ACCESS_SHIFT),
      valueLength,
      expiryMs,
    );
    try {
      this.#tables.insert(key.slot, key.hash, hasExpiry !== 0, record);
    } catch (error) {
      // No memory for a larger table: as if nothing had happened.
      this.slabs.free(record);
      throw error;
    }
    this.#slotBytes[key.slot] = (this.#slotBytes[key.slot] as number) + this.slabs.blockBytes(record);
    this.#noteChange(key);
    return record;
  }

  /** Allocates a block and writes header and key to it. */
  #write(key: KeyReference, bytes: number, meta: number, valueLength: number, expiryMs: number): Handle {
    const slabs = this.slabs;
    const record = slabs.allocate(bytes);
    const ints = slabs.intsOf(record);
    const word = wordOf(record);
    ints[word + KEY_LENGTH] = key.end - key.start;
    ints[word + VALUE_LENGTH] = valueLength;
    ints[word + META] = meta;
    if ((meta & HAS_EXPIRY) !== 0) writeExpiry(ints, word, expiryMs);
    copyBytes(key.bytes, key.start, key.end, slabs.bytesOf(record), (word << 2) + HEADER_BYTES + (meta & HAS_EXPIRY));
    return record;
  }

  /** Compaction copied a block: corrects what refers to it. */
  #moved(from: number, to: number): void {
    const firstWord = this.slabs.intsOf(to)[wordOf(to)] as number;
    if (firstWord < 0) {
      // A table: -2 - slot.
      this.#tables.handles[-2 - firstWord] = to;
      return;
    }
    const key = this.#ownKey;
    this.referRecord(key, to);
    this.#tables.ints(key.slot)[this.#tables.entryOf(key.slot, key.hash, from) + 1] = to;
  }

  /** The slot that the sweep is at, or the next one that has keys with an expiry. There are some. */
  #nextVolatileSlot(): number {
    const tables = this.#tables;
    let slot = this.#sweepSlot;
    while (tables.volatileCounts[slot] === 0 || tables.hidden[slot] === 1) {
      const isGroupStart = slot % GROUP_SLOTS === 0;
      const isGroupEmpty = tables.groupVolatileCounts[Math.floor(slot / GROUP_SLOTS)] === 0;
      slot = (slot + (isGroupStart && isGroupEmpty ? GROUP_SLOTS : 1)) % SLOTS;
    }
    if (slot !== this.#sweepSlot) this.#sweepHash = 0;
    this.#sweepSlot = slot;
    return slot;
  }
}

function ignore(): void {
  // Nobody asked to be told.
}
