/**
 * A shard's log: what its primary did to its keys, in order, as bytes in memory.
 *
 * Entries are numbered through all epochs, from 1 on. An entry is what one command came to, or one transaction, or several small ones that followed each
 * other: whatever must not be parted is in one. An epoch begins with an entry that says so and does nothing else; its number tells the histories of two
 * members apart.
 *
 * The bytes lie in segments, whole entries in each, so that what is old is dropped a segment at a time, and what is sent is a run of bytes as it lies there. An
 * entry that is longer than a segment has one of its own length.
 *
 * An entry: its length in four bytes (without these), a kind, and what the kind says:
 * - effects: for each a slot in two bytes (65535: all), the number of arguments in four, and each argument's length in four and bytes;
 * - epoch: eight bytes of a float.
 */
import { assert, present } from "../assert.ts";
import { copyBytes } from "../codec/copy-bytes.ts";
import { ArgumentList } from "../codec/resp-parser.ts";
import type { LogPosition } from "../contracts/replication.ts";

export const EntryKind = { effects: 0, epoch: 1 } as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

/** When an epoch began. */
export interface EpochStart {
  readonly epoch: number;
  /** The number of its first entry. */
  readonly first: number;
}

const SEGMENT_BYTES = 1024 * 1024;
const HEADER_BYTES = 5;
/** An open entry that has grown to this much takes nothing more that may be parted from it. */
const ENTRY_BYTES = 16 * 1024;
const ALL_SLOTS = 0xffff;
/** An entry that says that it is longer is no entry. */
export const MAX_ENTRY_BYTES = 2 ** 31 - 1;

interface Segment {
  bytes: Uint8Array;
  /** Bytes of whole entries. */
  length: number;
  /** Number of its first entry. */
  readonly first: number;
  next: Segment | undefined;
}

/** Where a reader is. */
export interface LogCursor {
  segment: Segment;
  offset: number;
}

export class ShardLog {
  /** Of the newest entry; 0 before the first. */
  epoch = 0;
  /** The number of the newest whole entry. */
  last = 0;
  #history: EpochStart[] = [];
  #oldest: Segment;
  #newest: Segment;
  #allocatedBytes = 0;
  /**
   * The bytes of a segment that was dropped, for the next one: a log that is full goes on without new memory, whose first use costs the system more than all
   * that is written to it. Nobody reads them any more: views of the log end with the next write, and a cursor in a dropped segment is not here.
   */
  #spare: Uint8Array | undefined;
  /** Where the entry begins that is being written, in the newest segment; -1 if there is none. */
  #openAt = -1;
  #at = 0;

  constructor() {
    this.#oldest = this.#segment(1, SEGMENT_BYTES);
    this.#newest = this.#oldest;
  }

  /** The last entry's place. */
  get position(): LogPosition {
    return { epoch: this.epoch, sequence: this.last };
  }

  /** The number of the first entry that is still here, or would be. */
  get first(): number {
    return this.#oldest.first;
  }

  /** Memory that the entries take up. */
  get allocatedBytes(): number {
    return this.#allocatedBytes;
  }

  /** The number of the entry that is being written, or would be. */
  get openSequence(): number {
    return this.last + 1;
  }

  /** When epochs began, oldest first, as far as entries of them are here. */
  get history(): readonly EpochStart[] {
    return this.#history;
  }

  /**
   * Adds an effect to the entry that is being written, or begins another.
   *
   * @param slot -1: all.
   * @param isContinued It is never parted from the effect before.
   * @returns The entry's number.
   */
  append(slot: number, args: ArgumentList, isContinued: boolean): number {
    if (!isContinued && this.#at - this.#openAt > ENTRY_BYTES) this.seal();
    let length = 6;
    for (let index = 0; index < args.count; index += 1) length += 4 + args.end(index) - args.start(index);
    this.#open(EntryKind.effects, length);
    const { bytes } = this.#newest;
    let at = this.#at;
    const slotCode = slot < 0 ? ALL_SLOTS : slot;
    bytes[at] = slotCode & 0xff;
    bytes[at + 1] = slotCode >>> 8;
    at = write32(bytes, at + 2, args.count);
    for (let index = 0; index < args.count; index += 1) {
      const start = args.start(index);
      const end = args.end(index);
      at = write32(bytes, at, end - start);
      copyBytes(args.bytes, start, end, bytes, at);
      at += end - start;
    }
    this.#at = at;
    return this.last + 1;
  }

  /** Ends the entry that is being written, if there is one: it may be sent. */
  seal(): void {
    if (this.#openAt < 0) return;
    write32(this.#newest.bytes, this.#openAt, this.#at - this.#openAt - 4);
    this.#openAt = -1;
    this.#newest.length = this.#at;
    this.last += 1;
  }

  /** Opens an epoch, with the entry that says so. @returns The entry's number. */
  startEpoch(epoch: number): number {
    assert(epoch >= this.epoch, "epochs of a log never go back");
    this.seal();
    this.#open(EntryKind.epoch, 8);
    const { bytes } = this.#newest;
    new DataView(bytes.buffer, bytes.byteOffset).setFloat64(this.#at, epoch, true);
    this.#at += 8;
    this.seal();
    this.#began(epoch, this.last);
    return this.last;
  }

  /** Adds a whole entry, as another member's log has it. @param start Where its length stands. */
  appendEntry(bytes: Uint8Array, start: number, end: number): void {
    assert(this.#openAt < 0, "a log is written or followed, not both");
    this.#room(end - start);
    copyBytes(bytes, start, end, this.#newest.bytes, this.#at);
    this.#at += end - start;
    this.#newest.length = this.#at;
    this.last += 1;
    const epoch = epochOf(bytes, start);
    if (epoch !== undefined) this.#began(epoch, this.last);
  }

  /** Forgets all entries: the log goes on after a position. */
  reset(position: LogPosition, history: readonly EpochStart[]): void {
    this.#openAt = -1;
    this.#allocatedBytes = 0;
    this.epoch = position.epoch;
    this.last = position.sequence;
    this.#history = [...history];
    this.#oldest = this.#segment(this.last + 1, SEGMENT_BYTES);
    this.#newest = this.#oldest;
    this.#at = 0;
  }

  /** Whether a member that is at a position has what this log had there: it may go on from there. */
  isOnHistory({ epoch, sequence }: LogPosition): boolean {
    const place = this.#history.findIndex((each) => each.epoch === epoch);
    const start = this.#history[place];
    if (start === undefined || sequence < start.first) return false;
    const end = this.#history[place + 1]?.first ?? this.openSequence;
    return sequence < end;
  }

  /** Where an entry begins; `undefined` if it is not here any more, or not yet. The one after the last is where the next will begin. */
  cursorAt(sequence: number): LogCursor | undefined {
    if (sequence < this.first || sequence > this.openSequence) return undefined;
    let segment = this.#oldest;
    while (segment.next !== undefined && segment.next.first <= sequence) segment = segment.next;
    let offset = 0;
    for (let number = segment.first; number < sequence && offset < segment.length; number += 1) {
      offset += 4 + read32(segment.bytes, offset);
    }
    return { segment, offset };
  }

  /** Whether what a cursor points at is still here. */
  isHere({ segment }: LogCursor): boolean {
    return segment.first >= this.first;
  }

  /**
   * Takes bytes of whole entries, as many as there are at one place, up to a number of them; entries may be cut. Moves the cursor.
   *
   * @returns A view of the log's own bytes, good until the log is written to; `undefined` at its end.
   */
  read(cursor: LogCursor, maxBytes: number): Uint8Array | undefined {
    this.#toData(cursor);
    const { segment, offset } = cursor;
    const end = Math.min(segment.length, offset + maxBytes);
    if (end === offset) return undefined;
    cursor.offset = end;
    return segment.bytes.subarray(offset, end);
  }

  /** Takes one whole entry, its length included. Moves the cursor, which must be where one begins. */
  readEntry(cursor: LogCursor): Uint8Array | undefined {
    this.#toData(cursor);
    const { segment, offset } = cursor;
    if (offset === segment.length) return undefined;
    return this.read(cursor, 4 + read32(segment.bytes, offset));
  }

  /** Whether a cursor is behind the last whole entry. */
  isAtEnd(cursor: LogCursor): boolean {
    this.#toData(cursor);
    return cursor.offset === cursor.segment.length;
  }

  /**
   * Drops what is old until the log takes up no more than so much.
   *
   * @param keepFrom Entries from this number on stay, whatever they take up.
   */
  trim(maxBytes: number, keepFrom: number): void {
    while (this.#allocatedBytes > maxBytes) {
      const { next } = this.#oldest;
      if (next === undefined || next.first > keepFrom) break;
      this.#allocatedBytes -= this.#oldest.bytes.length;
      if (this.#oldest.bytes.length === SEGMENT_BYTES) this.#spare = this.#oldest.bytes;
      this.#oldest = next;
    }
    while ((this.#history[1]?.first ?? Number.POSITIVE_INFINITY) < this.first) this.#history.shift();
  }

  #toData(cursor: LogCursor): void {
    while (cursor.offset === cursor.segment.length && cursor.segment.next !== undefined) {
      cursor.segment = cursor.segment.next;
      cursor.offset = 0;
    }
  }

  #began(epoch: number, first: number): void {
    this.epoch = epoch;
    this.#history.push({ epoch, first });
  }

  /** Makes room for so much more of the entry that is being written; begins one if there is none. */
  #open(kind: EntryKind, length: number): void {
    if (this.#openAt >= 0) {
      this.#room(length);
      return;
    }
    this.#room(HEADER_BYTES + length);
    this.#openAt = this.#at;
    this.#newest.bytes[this.#at + 4] = kind;
    this.#at += HEADER_BYTES;
  }

  #room(length: number): void {
    const { bytes } = this.#newest;
    if (this.#at + length <= bytes.length) return;
    // What is written of the open entry moves with it.
    const openBytes = this.#openAt < 0 ? 0 : this.#at - this.#openAt;
    const needed = openBytes + length;
    assert(needed <= MAX_ENTRY_BYTES, "an entry of the log is shorter than 2 GiB");
    // One that has outgrown a segment grows by doubling, so that its beginning is not copied for each of its effects.
    const segment = this.#segment(this.last + 1, needed <= SEGMENT_BYTES ? SEGMENT_BYTES : needed + openBytes);
    if (openBytes > 0) copyBytes(bytes, this.#openAt, this.#at, segment.bytes, 0);
    if (this.#newest.length === 0) {
      // Nothing whole is in it: it is replaced.
      this.#allocatedBytes -= bytes.length;
      this.#newest.bytes = segment.bytes;
    } else {
      this.#newest.next = segment;
      this.#newest = segment;
    }
    if (this.#openAt >= 0) this.#openAt = 0;
    this.#at = openBytes;
  }

  #segment(first: number, length: number): Segment {
    this.#allocatedBytes += length;
    const spare = length === SEGMENT_BYTES ? this.#spare : undefined;
    if (spare !== undefined) this.#spare = undefined;
    return { bytes: spare ?? new Uint8Array(length), length: 0, first, next: undefined };
  }
}

/** The epoch that an entry opens; `undefined` if it is of another kind. @param start Where its length stands. */
function epochOf(bytes: Uint8Array, start: number): number | undefined {
  if (bytes[start + 4] !== EntryKind.epoch) return undefined;
  return new DataView(bytes.buffer, bytes.byteOffset).getFloat64(start + HEADER_BYTES, true);
}

/** What an entry holds, one after the other. */
export interface EntryVisitor {
  /** @param args The same list for each: nothing of it is kept. @param start Where the effect's bytes begin. @param end One past its last byte. */
  effect(slot: number, args: ArgumentList, start: number, end: number): void;
  epoch(epoch: number): void;
}

/** Reads entries. One for each reader: it holds the list that it fills. */
export class EntryReader {
  readonly #args = new ArgumentList();

  /**
   * Reads one whole entry.
   *
   * @param start Where its length stands.
   * @returns False if it is damaged; what came before the damage was visited.
   */
  visit(bytes: Uint8Array, start: number, visitor: EntryVisitor): boolean {
    const end = start + 4 + read32(bytes, start);
    const body = start + HEADER_BYTES;
    if (body > end || end > bytes.length) return false;
    switch (bytes[start + 4]) {
      case EntryKind.epoch: {
        const epoch = present(epochOf(bytes, start), "an entry is of its kind");
        if (end - body !== 8 || !Number.isSafeInteger(epoch) || epoch < 0) return false;
        visitor.epoch(epoch);
        return true;
      }
      case EntryKind.effects:
        return this.#effects(bytes, body, end, visitor);
      default:
        return false;
    }
  }

  #effects(bytes: Uint8Array, start: number, end: number, visitor: EntryVisitor): boolean {
    const args = this.#args;
    let at = start;
    while (at < end) {
      const effectStart = at;
      if (end - at < 6) return false;
      const slotCode = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
      const count = read32(bytes, at + 2);
      at += 6;
      // Each argument has a length at least.
      if (count === 0 || count > (end - at) / 4) return false;
      if (args.offsets.length < count * 2) args.offsets = new Int32Array(count * 2);
      for (let index = 0; index < count; index += 1) {
        if (end - at < 4) return false;
        const length = read32(bytes, at);
        at += 4;
        if (length > end - at) return false;
        args.offsets[index * 2] = at;
        at += length;
        args.offsets[index * 2 + 1] = at;
      }
      args.bytes = bytes;
      args.count = count;
      visitor.effect(slotCode === ALL_SLOTS ? -1 : slotCode, args, effectStart, at);
    }
    return true;
  }
}

/** The part of an entry that is about some slots, as an entry; `undefined` if there is none. @param entry A whole one, of this node's own log. */
export function entryOfSlots(
  reader: EntryReader,
  entry: Uint8Array,
  isWanted: (slot: number) => boolean,
): Uint8Array | undefined {
  const ranges: { readonly start: number; readonly end: number }[] = [];
  let length = HEADER_BYTES;
  reader.visit(entry, 0, {
    effect(slot, _args, start, end) {
      if (slot >= 0 && !isWanted(slot)) return;
      ranges.push({ start, end });
      length += end - start;
    },
    epoch() {},
  });
  if (ranges.length === 0) return undefined;
  const part = new Uint8Array(length);
  write32(part, 0, length - 4);
  part[4] = EntryKind.effects;
  let at = HEADER_BYTES;
  for (const { start, end } of ranges) {
    copyBytes(entry, start, end, part, at);
    at += end - start;
  }
  return part;
}

/** Puts entries together out of runs of bytes that cut them anywhere. */
export class EntryAssembler {
  #waiting = new Uint8Array(0);
  #waitingBytes = 0;
  readonly #maxBytes: number;
  /** An entry was longer than may be: nothing more is taken. */
  isBroken = false;

  constructor(maxBytes = MAX_ENTRY_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes of an entry that is not whole yet. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Takes bytes, and calls back for each entry that is whole, its length included. */
  push(run: Uint8Array, entry: (bytes: Uint8Array, start: number, end: number) => void): void {
    let bytes = run;
    let length = run.length;
    if (this.#waitingBytes > 0) {
      length += this.#waitingBytes;
      if (length > this.#waiting.length) {
        const larger = new Uint8Array(Math.max(length, this.#waiting.length * 2));
        larger.set(this.#waiting.subarray(0, this.#waitingBytes));
        this.#waiting = larger;
      }
      this.#waiting.set(run, this.#waitingBytes);
      bytes = this.#waiting;
    }
    let at = 0;
    while (length - at >= 4) {
      const end = at + 4 + read32(bytes, at);
      if (end - at > this.#maxBytes) {
        this.isBroken = true;
        return;
      }
      if (end > length) break;
      entry(bytes, at, end);
      at = end;
    }
    this.#waitingBytes = length - at;
    if (this.#waitingBytes === 0) this.#waiting = new Uint8Array(0);
    // A long entry that comes in many runs is not copied at each.
    else if (at > 0 || bytes === run) this.#waiting = bytes.slice(at, length);
  }
}

function write32(bytes: Uint8Array, at: number, value: number): number {
  bytes[at] = value & 0xff;
  bytes[at + 1] = (value >>> 8) & 0xff;
  bytes[at + 2] = (value >>> 16) & 0xff;
  bytes[at + 3] = (value >>> 24) & 0xff;
  return at + 4;
}

function read32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  );
}
