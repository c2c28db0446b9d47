/**
 * The store: keys, values and their expiry, in slabs.
 *
 * Three parts: `slabs.ts` hands out blocks of memory outside of the JavaScript heap; `slot-tables.ts` says for each slot which blocks are its records;
 * `record.ts` says how a record lies in its block. This file puts them together into what commands want: find, set, resize, expire, remove, scan.
 *
 * The way of a GET: the key's slot and hash were computed with the routing (one pass over its bytes); the slot's table is searched from the hash's
 * home on, usually one or two entries; the key in the record is compared; the value's bytes are where they are, and the reply copies them. Nothing is
 * allocated. The way of a SET of a key that exists: the same, and when the new value fits the record's block, it is written over the old one.
 *
 * A record is referred to by one entry of one table and by nothing else, so that compaction can move it.
 *
 * The contract, `contracts/keyspace.ts`, says what each method promises. `check` walks everything and asserts what must hold.
 */
import { assert } from "../assert.ts";
import { KeyHasher, SLOT_COUNT } from "../codec/slot.ts";
import type { AccessTracking, Handle, Keyspace, ValueType } from "../contracts/keyspace.ts";
import { AccessClock } from "./access-clock.ts";
import { Compaction } from "./compaction.ts";
import { copyBytes, equalBytes } from "./copy.ts";
import { SlotDigest } from "./digest.ts";
import { KeyReference } from "./key-reference.ts";
import {
  EDITED_BIT,
  EXPIRY_BIT,
  EXPIRY_BYTES,
  HEADER_BYTES,
  META_MASK,
  TYPE_MASK,
  readExpiry,
  recordSize,
  writeExpiry,
} from "./record.ts";
import { Slabs } from "./slabs.ts";
import { ENTRY_BYTES, SlotTables } from "./slot-tables.ts";

export interface StoreOptions {
  /** A secret number that the tables' hashes depend on. */
  readonly seed: number;
  /** A whole number, evenly from 0 to `bound - 1`. */
  readonly random: (bound: number) => number;
}

/** For `expiresAtMs`: none, or the one that the key has. As in the contract. */
const NO_EXPIRY = 0;
const KEEP_EXPIRY = -1;
/** Value types above this need a form of their own. */
const STRING = 0;
/** How often a random slot is drawn before the slots are counted through: enough for even keys, and cheap where one slot has them all. */
const RANDOM_TRIES = 32;

export class Store implements Keyspace {
  removesExpired = true;
  accessTracking: AccessTracking = "time";
  size = 0;
  volatileCount = 0;
  changes = 0;
  expiredCount = 0;
  readonly slotWatchers = new Uint32Array(SLOT_COUNT);
  onChange: (key: KeyReference) => void = () => undefined;
  onExpire: (key: KeyReference) => void = () => undefined;
  /** How access is noted: its settings are eviction's. */
  readonly access: AccessClock;

  readonly #slabs = new Slabs();
  readonly #tables = new SlotTables();
  readonly #compaction: Compaction;
  readonly #hasher: KeyHasher;
  readonly #random: (bound: number) => number;
  readonly #slotBytes = new Float64Array(SLOT_COUNT);
  /** A key that the store itself names: one whose expiry is noticed. */
  readonly #ownKey = new KeyReference();
  #nowMs = 0;
  /** Index of the entry that `#search` found, or the place where it would be. */
  #place = 0;
  /** Where the sweep goes on. */
  #sweepSlot = 0;
  #sweepPosition = 0;
  /** No slot has more keys. An upper bound: it is not lowered when keys go. */
  #mostKeys = 0;

  constructor(options: StoreOptions) {
    this.#hasher = new KeyHasher(options.seed);
    this.#random = options.random;
    this.access = new AccessClock(options.random);
    this.#compaction = new Compaction(this.#slabs, (from, to) => this.#moved(from, to));
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  set nowMs(value: number) {
    if (value === this.#nowMs) return;
    this.#nowMs = value;
    this.access.setTime(value);
  }

  get usedBytes(): number {
    return this.#slabs.usedBytes + this.#tables.tableBytes;
  }

  get allocatedBytes(): number {
    return this.#slabs.allocatedBytes + this.#tables.tableBytes;
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

  find(key: KeyReference): Handle {
    const record = this.peek(key);
    if (record !== 0) {
      const ints = this.#slabs.intsOf(record);
      const word = wordOf(record) + 2;
      const meta = ints[word] as number;
      const bits = this.accessTracking === "time" ? this.access.stamp : this.access.increment(meta >>> 8);
      ints[word] = (bits << 8) | (meta & META_MASK);
    }
    return record;
  }

  peek(key: KeyReference): Handle {
    const record = this.#search(key);
    if (record === 0) return 0;
    if (((this.#tables.tables[key.slot] as Int32Array)[this.#place] as number) & 1) {
      if (this.expiresAtMs(record) <= this.#nowMs) {
        if (this.removesExpired) this.#expire(key, record);
        return 0;
      }
    }
    return record;
  }

  bytes(record: Handle): Uint8Array {
    return this.#slabs.bytesOf(record);
  }

  keyStart(record: Handle): number {
    const word = wordOf(record);
    const hasExpiry = (this.#slabs.intsOf(record)[word + 2] as number) & EXPIRY_BIT;
    return 4 * word + HEADER_BYTES + (hasExpiry ? EXPIRY_BYTES : 0);
  }

  keyLength(record: Handle): number {
    return this.#slabs.intsOf(record)[wordOf(record)] as number;
  }

  valueStart(record: Handle): number {
    const ints = this.#slabs.intsOf(record);
    const word = wordOf(record);
    const hasExpiry = (ints[word + 2] as number) & EXPIRY_BIT;
    return 4 * word + HEADER_BYTES + (hasExpiry ? EXPIRY_BYTES : 0) + (ints[word] as number);
  }

  valueLength(record: Handle): number {
    return this.#slabs.intsOf(record)[wordOf(record) + 1] as number;
  }

  type(record: Handle): ValueType {
    // Written by `#writeHeader` from a ValueType, and never otherwise.
    return ((this.#slabs.intsOf(record)[wordOf(record) + 2] as number) & TYPE_MASK) as ValueType;
  }

  flags(record: Handle): number {
    return (this.#slabs.intsOf(record)[wordOf(record) + 2] as number) & EDITED_BIT ? 1 : 0;
  }

  expiresAtMs(record: Handle): number {
    const ints = this.#slabs.intsOf(record);
    const word = wordOf(record);
    return (ints[word + 2] as number) & EXPIRY_BIT ? readExpiry(ints, word) : NO_EXPIRY;
  }

  recordBytes(record: Handle): number {
    return this.#slabs.blockBytes(record) + ENTRY_BYTES;
  }

  idleSeconds(record: Handle): number {
    return this.access.idleSeconds(this.#accessBits(record));
  }

  frequency(record: Handle): number {
    return this.access.counter(this.#accessBits(record));
  }

  setIdleSeconds(record: Handle, seconds: number): void {
    this.#setAccessBits(record, this.access.stampOfIdle(seconds));
  }

  setFrequency(record: Handle, counter: number): void {
    this.#setAccessBits(record, this.access.withCounter(counter));
  }

  setString(key: KeyReference, source: Uint8Array, start: number, end: number, expiresAtMs: number): Handle {
    const record = this.#makeRoom(key, STRING, 0, end - start, expiresAtMs);
    const bytes = this.#slabs.bytesOf(record);
    copyBytes(source, start, end, bytes, this.valueStart(record));
    this.#noteChange(key);
    return record;
  }

  store(key: KeyReference, type: ValueType, flags: number, valueLength: number, expiresAtMs: number): Handle {
    const record = this.#makeRoom(key, type, flags, valueLength, expiresAtMs);
    this.#noteChange(key);
    return record;
  }

  resize(key: KeyReference, record: Handle, valueLength: number, flags: number): Handle {
    const at = this.#entryOf(key, record);
    const slabs = this.#slabs;
    const word = wordOf(record);
    const ints = slabs.intsOf(record);
    const oldLength = ints[word + 1] as number;
    const valueOffset = this.valueStart(record) - 4 * word;
    const needed = valueOffset + valueLength;
    let target = record;
    if (!slabs.suits(record, needed)) {
      target = valueLength > oldLength ? slabs.allocateGrowing(needed) : slabs.allocate(needed);
      const kept = valueOffset + Math.min(oldLength, valueLength);
      copyBytes(slabs.bytesOf(record), 4 * word, 4 * word + kept, slabs.bytesOf(target), 4 * wordOf(target));
      this.#replaceBlock(key.slot, at, record, target);
    }
    const targetInts = slabs.intsOf(target);
    const targetWord = wordOf(target);
    targetInts[targetWord + 1] = valueLength;
    this.#setFlags(targetInts, targetWord, flags);
    if (valueLength > oldLength) {
      const valueStart = 4 * targetWord + valueOffset;
      slabs.bytesOf(target).fill(0, valueStart + oldLength, valueStart + valueLength);
    }
    this.#noteChange(key);
    return target;
  }

  changed(key: KeyReference, record: Handle, flags: number): void {
    this.#setFlags(this.#slabs.intsOf(record), wordOf(record), flags);
    this.#noteChange(key);
  }

  setExpiry(key: KeyReference, record: Handle, expiresAtMs: number): Handle {
    const at = this.#entryOf(key, record);
    const slabs = this.#slabs;
    const word = wordOf(record);
    const ints = slabs.intsOf(record);
    const hasExpiry = expiresAtMs !== NO_EXPIRY;
    const hadExpiry = ((ints[word + 2] as number) & EXPIRY_BIT) !== 0;
    let target = record;
    if (hasExpiry !== hadExpiry) {
      const oldStart = 4 * word + HEADER_BYTES + (hadExpiry ? EXPIRY_BYTES : 0);
      const contentLength = (ints[word] as number) + (ints[word + 1] as number);
      const size = recordSize(hasExpiry, 0, contentLength);
      if (slabs.suits(record, size)) {
        slabs.bytesOf(record).copyWithin(4 * word + size - contentLength, oldStart, oldStart + contentLength);
      } else {
        target = slabs.allocate(size);
        const targetStart = 4 * wordOf(target);
        copyBytes(slabs.bytesOf(record), 4 * word, 4 * word + HEADER_BYTES, slabs.bytesOf(target), targetStart);
        copyBytes(
          slabs.bytesOf(record),
          oldStart,
          oldStart + contentLength,
          slabs.bytesOf(target),
          targetStart + size - contentLength,
        );
        this.#replaceBlock(key.slot, at, record, target);
      }
      const targetInts = slabs.intsOf(target);
      const metaWord = wordOf(target) + 2;
      targetInts[metaWord] = (targetInts[metaWord] as number) ^ EXPIRY_BIT;
      this.#tables.setVolatile(key.slot, at, hasExpiry);
      this.volatileCount += hasExpiry ? 1 : -1;
    }
    if (hasExpiry) writeExpiry(slabs.intsOf(target), wordOf(target), expiresAtMs);
    this.#noteChange(key);
    return target;
  }

  remove(key: KeyReference): boolean {
    const record = this.#search(key);
    if (record === 0) return false;
    const expiresAtMs = this.expiresAtMs(record);
    if (expiresAtMs !== NO_EXPIRY && expiresAtMs <= this.#nowMs && this.removesExpired) {
      this.#expire(key, record);
      return false;
    }
    this.#take(key.slot, this.#place, record);
    this.#noteChange(key);
    return true;
  }

  clear(): void {
    this.changes += this.size;
    this.#slabs.reset();
    this.#tables.clear();
    this.#compaction.reset();
    this.#slotBytes.fill(0);
    this.size = 0;
    this.volatileCount = 0;
    this.#mostKeys = 0;
  }

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
    const table = this.#tables.tables[slot] as Int32Array;
    let visited = 0;
    let hash = -1;
    for (let at = this.#tables.firstFrom(slot, position); at < table.length; at += 2) {
      const record = table[at + 1] as number;
      if (record === 0) continue;
      const next = (table[at] as number) >>> 1;
      // Keys of one hash stay together: the position that is returned could not tell them apart.
      if (visited >= limit && next !== hash) return next;
      hash = next;
      visited += 1;
      visit(record);
    }
    return 0;
  }

  dropSlot(slot: number, limit: number): number {
    const table = this.#tables.tables[slot] as Int32Array;
    let dropped = 0;
    // From the end, where an entry can be taken out without moving another.
    for (let at = table.length - 2; at >= 0 && dropped < limit; at -= 2) {
      const record = table[at + 1] as number;
      if (record === 0) continue;
      const isWatched = (this.slotWatchers[slot] as number) > 0;
      if (isWatched) {
        this.referRecord(this.#ownKey, record);
        this.#noteChange(this.#ownKey);
      } else {
        this.changes += 1;
      }
      this.#releaseRecord(slot, record);
      if (((table[at] as number) & 1) !== 0) this.volatileCount -= 1;
      this.#tables.removeAt(slot, at);
      dropped += 1;
      if (this.#tables.tables[slot] !== table)
        return dropped < limit ? this.dropSlot(slot, limit - dropped) : this.slotSize(slot);
    }
    return this.slotSize(slot);
  }

  digestSlot(slot: number): string {
    const digest = new SlotDigest();
    const table = this.#tables.tables[slot] as Int32Array;
    for (let at = 0; at < table.length; at += 2) {
      const record = table[at + 1] as number;
      if (record === 0) continue;
      const start = this.keyStart(record);
      const keyEnd = start + this.keyLength(record);
      digest.add(
        this.bytes(record),
        start,
        keyEnd,
        keyEnd + this.valueLength(record),
        this.type(record),
        this.expiresAtMs(record),
      );
    }
    return digest.toString();
  }

  random(volatileOnly: boolean): Handle {
    const total = volatileOnly ? this.volatileCount : this.size;
    if (total === 0) return 0;
    const counts = volatileOnly ? this.#tables.volatileCounts : this.#tables.counts;
    // A slot is taken as likely as it has keys, measured against the fullest: fair, and quick while keys are spread evenly.
    for (let tries = 0; tries < RANDOM_TRIES; tries += 1) {
      const slot = this.#random(SLOT_COUNT);
      if (this.#random(this.#mostKeys) < (counts[slot] as number)) return this.#randomOf(slot, volatileOnly);
    }
    let rank = this.#random(total);
    for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
      rank -= counts[slot] as number;
      if (rank < 0) return this.#randomOf(slot, volatileOnly);
    }
    return assertNever();
  }

  referRecord(key: KeyReference, record: Handle): void {
    const start = this.keyStart(record);
    this.refer(key, this.bytes(record), start, start + this.keyLength(record));
  }

  sweepExpired(limit: number): number {
    let looked = 0;
    let expired = 0;
    for (let slots = 0; slots <= SLOT_COUNT && looked < limit && this.volatileCount > 0; slots += 1) {
      const slot = this.#sweepSlot;
      if (this.slotVolatileSize(slot) > 0) {
        const table = this.#tables.tables[slot] as Int32Array;
        let at = this.#tables.firstFrom(slot, this.#sweepPosition);
        while (at < table.length && looked < limit) {
          const word = table[at] as number;
          const record = table[at + 1] as number;
          this.#sweepPosition = (word >>> 1) + 1;
          if (record !== 0 && (word & 1) !== 0) {
            looked += 1;
            if (this.expiresAtMs(record) <= this.#nowMs) {
              expired += 1;
              if (this.removesExpired) {
                this.referRecord(this.#ownKey, record);
                this.#place = at;
                this.#expire(this.#ownKey, record);
                // Another entry stands here now, or another table: look at the same place again.
                if (this.#tables.tables[slot] !== table) break;
                continue;
              }
            }
          }
          at += 2;
        }
        if (at < table.length) {
          if (looked >= limit) break;
          // The table was made anew: go on in it from the hash that was reached.
          this.#sweepPosition = Math.max(0, this.#sweepPosition - 1);
          continue;
        }
      }
      this.#sweepSlot = (slot + 1) % SLOT_COUNT;
      this.#sweepPosition = 0;
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
   * Walks everything and asserts that it fits together. Slow: for tests and simulation.
   *
   * @throws {Fault} Naming what does not hold.
   */
  check(): void {
    let size = 0;
    let volatileCount = 0;
    let smallBlocks = 0;
    const key = new KeyReference();
    for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
      let bytes = 0;
      this.#tables.check(slot, (word, record) => {
        const hasExpiry = this.expiresAtMs(record) !== NO_EXPIRY;
        this.referRecord(key, record);
        assert(key.slot === slot && key.hash === word >>> 1, "a record is in the table that its key says");
        assert(hasExpiry === ((word & 1) !== 0), "an entry knows whether its record has an expiry");
        const needed = recordSize(hasExpiry, this.keyLength(record), this.valueLength(record));
        assert(needed <= this.#slabs.blockBytes(record), "a record fits its block");
        bytes += this.#slabs.blockBytes(record);
        size += 1;
        if (hasExpiry) volatileCount += 1;
        if (record > 0) smallBlocks += 1;
      });
      assert(bytes === this.#slotBytes[slot], "a slot knows how many bytes its records take");
      assert((this.#tables.counts[slot] as number) <= this.#mostKeys, "no slot has more keys than the bound says");
    }
    assert(size === this.size && volatileCount === this.volatileCount, "the store knows how many keys it has");
    let liveBlocks = 0;
    this.#slabs.check(() => {
      liveBlocks += 1;
    });
    assert(liveBlocks === smallBlocks, "every block that is in use belongs to a record");
  }

  /** Finds the key's record, expired or not, or 0; `#place` is its entry's index, or where it would be. */
  #search(key: KeyReference): Handle {
    const table = this.#tables.tables[key.slot] as Int32Array;
    const target = (key.hash << 1) | 1;
    let at = 2 * (key.hash >>> (this.#tables.shifts[key.slot] as number));
    for (;;) {
      const record = table[at + 1] as number;
      if (record === 0) break;
      const word = (table[at] as number) | 1;
      if (word > target) break;
      if (word === target && this.#isKeyOf(record, key)) {
        this.#place = at;
        return record;
      }
      at += 2;
    }
    this.#place = at;
    return 0;
  }

  #isKeyOf(record: Handle, key: KeyReference): boolean {
    const slabs = this.#slabs;
    const ints = slabs.intsOf(record);
    const word = wordOf(record);
    const length = key.end - key.start;
    if (ints[word] !== length) return false;
    const start = 4 * word + HEADER_BYTES + ((ints[word + 2] as number) & EXPIRY_BIT ? EXPIRY_BYTES : 0);
    return equalBytes(slabs.bytesOf(record), start, key.bytes, key.start, length);
  }

  /** Makes the key's record with room for a value; header and key are written, the value is not. */
  #makeRoom(key: KeyReference, type: ValueType, flags: number, valueLength: number, expiresAtMs: number): Handle {
    const slabs = this.#slabs;
    let old = this.#search(key);
    let oldExpiresAtMs = NO_EXPIRY;
    if (old !== 0) {
      oldExpiresAtMs = this.expiresAtMs(old);
      if (oldExpiresAtMs !== NO_EXPIRY && oldExpiresAtMs <= this.#nowMs) {
        oldExpiresAtMs = NO_EXPIRY;
        if (this.removesExpired) {
          this.#expire(key, old);
          old = this.#search(key);
        }
      }
    }
    const newExpiresAtMs = expiresAtMs === KEEP_EXPIRY ? oldExpiresAtMs : expiresAtMs;
    const hasExpiry = newExpiresAtMs !== NO_EXPIRY;
    const keyLength = key.end - key.start;
    const size = recordSize(hasExpiry, keyLength, valueLength);
    const meta = type | (flags === 0 ? 0 : EDITED_BIT) | (hasExpiry ? EXPIRY_BIT : 0);
    const at = this.#place;
    let record = old;
    let isKeyInPlace = false;
    let access = this.accessTracking === "time" ? this.access.stamp : this.access.newFrequency;
    if (old === 0) {
      record = slabs.allocate(size);
      this.#tables.insert(key.slot, at, (key.hash << 1) | (hasExpiry ? 1 : 0), record);
      this.#slotBytes[key.slot] = (this.#slotBytes[key.slot] as number) + slabs.blockBytes(record);
      this.size += 1;
      if (hasExpiry) this.volatileCount += 1;
      const count = this.#tables.counts[key.slot] as number;
      if (count > this.#mostKeys) this.#mostKeys = count;
    } else {
      const oldMeta = slabs.intsOf(old)[wordOf(old) + 2] as number;
      const hadExpiry = (oldMeta & EXPIRY_BIT) !== 0;
      if (this.accessTracking === "frequency") access = this.access.increment(oldMeta >>> 8);
      if (slabs.suits(old, size)) {
        isKeyInPlace = hadExpiry === hasExpiry;
      } else {
        record = slabs.allocate(size);
      }
      // The key's bytes may be the old record's own: they are written before the old block is freed, and moved with care within one.
      if (record === old && !isKeyInPlace) {
        const from = this.keyStart(old);
        slabs.bytesOf(old).copyWithin(from + (hasExpiry ? EXPIRY_BYTES : -EXPIRY_BYTES), from, from + keyLength);
        isKeyInPlace = true;
      }
      if (hadExpiry !== hasExpiry) {
        this.#tables.setVolatile(key.slot, at, hasExpiry);
        this.volatileCount += hasExpiry ? 1 : -1;
      }
    }
    const ints = slabs.intsOf(record);
    const word = wordOf(record);
    ints[word] = keyLength;
    ints[word + 1] = valueLength;
    ints[word + 2] = (access << 8) | meta;
    if (hasExpiry) writeExpiry(ints, word, newExpiresAtMs);
    if (!isKeyInPlace) {
      copyBytes(
        key.bytes,
        key.start,
        key.end,
        slabs.bytesOf(record),
        4 * word + HEADER_BYTES + (hasExpiry ? EXPIRY_BYTES : 0),
      );
    }
    if (old !== 0 && record !== old) this.#replaceBlock(key.slot, at, old, record);
    return record;
  }

  /** Puts a new block in the place of an old one, which is freed. */
  #replaceBlock(slot: number, at: number, from: Handle, to: Handle): void {
    this.#slotBytes[slot] =
      (this.#slotBytes[slot] as number) + this.#slabs.blockBytes(to) - this.#slabs.blockBytes(from);
    (this.#tables.tables[slot] as Int32Array)[at + 1] = to;
    this.#slabs.free(from);
  }

  /** Index of a record's entry. */
  #entryOf(key: KeyReference, record: Handle): number {
    // Nearly always the key that was searched for last.
    const table = this.#tables.tables[key.slot] as Int32Array;
    if (table[this.#place + 1] === record) return this.#place;
    const found = this.#search(key);
    assert(found === record, "a handle is that of its key's record");
    return this.#place;
  }

  /** Removes an expired key. `#place` is its entry. */
  #expire(key: KeyReference, record: Handle): void {
    const at = this.#place;
    this.onExpire(key);
    this.expiredCount += 1;
    // The key's bytes may be the record's own: whoever watches is told before they are gone.
    this.#noteChange(key);
    this.#take(key.slot, at, record);
  }

  /** Takes a record out of its table and frees its block. */
  #take(slot: number, at: number, record: Handle): void {
    const isVolatile = (((this.#tables.tables[slot] as Int32Array)[at] as number) & 1) !== 0;
    this.#releaseRecord(slot, record);
    this.#tables.removeAt(slot, at);
    if (isVolatile) this.volatileCount -= 1;
  }

  #releaseRecord(slot: number, record: Handle): void {
    this.#slotBytes[slot] = (this.#slotBytes[slot] as number) - this.#slabs.blockBytes(record);
    this.#slabs.free(record);
    this.size -= 1;
  }

  /** Compaction has moved a record. */
  #moved(from: Handle, to: Handle): void {
    const start = this.keyStart(to);
    const hasher = this.#hasher;
    hasher.hash(this.bytes(to), start, start + this.keyLength(to));
    const { slot, hashed } = hasher;
    const table = this.#tables.tables[slot] as Int32Array;
    let at = 2 * (hashed >>> (this.#tables.shifts[slot] as number));
    while (table[at + 1] !== from) {
      assert(table[at + 1] !== 0, "a record that is moved is in its table");
      at += 2;
    }
    table[at + 1] = to;
  }

  /** A random record of a slot that has one. */
  #randomOf(slot: number, volatileOnly: boolean): Handle {
    const table = this.#tables.tables[slot] as Int32Array;
    const entries = table.length >> 1;
    const isWanted = (at: number): boolean =>
      table[at + 1] !== 0 && (!volatileOnly || ((table[at] as number) & 1) !== 0);
    // Tables are at least a fifth full, so a few draws do; where few keys are volatile, the next one from a random place on.
    let at = 0;
    for (let tries = 0; tries < RANDOM_TRIES; tries += 1) {
      at = 2 * this.#random(entries);
      if (isWanted(at)) return table[at + 1] as number;
    }
    for (let steps = 0; steps < entries; steps += 1) {
      if (isWanted(at)) return table[at + 1] as number;
      at = (at + 2) % table.length;
    }
    return assertNever();
  }

  #noteChange(key: KeyReference): void {
    this.changes += 1;
    if ((this.slotWatchers[key.slot] as number) !== 0) this.onChange(key);
  }

  #setFlags(ints: Int32Array, word: number, flags: number): void {
    const meta = (ints[word + 2] as number) & ~EDITED_BIT;
    ints[word + 2] = flags === 0 ? meta : meta | EDITED_BIT;
  }

  #accessBits(record: Handle): number {
    return (this.#slabs.intsOf(record)[wordOf(record) + 2] as number) >>> 8;
  }

  #setAccessBits(record: Handle, bits: number): void {
    const ints = this.#slabs.intsOf(record);
    const word = wordOf(record) + 2;
    ints[word] = (bits << 8) | ((ints[word] as number) & META_MASK);
  }
}

/** Index of a record's first word in its words. */
function wordOf(record: Handle): number {
  return record > 0 ? (record & 0xffff) << 2 : 0;
}

function assertNever(): never {
  assert(false, "counts of keys are what the tables hold");
}
