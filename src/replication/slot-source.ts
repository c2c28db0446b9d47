/**
 * The sender of slot streams: brings another keyspace to hold what this one holds of some slots, while commands go on here.
 *
 * It knows of no network. Its owner has an ordered channel to the receiver, on which the effects of commands go too, and keeps three rules:
 *
 * 1. In the turn in which it calls `next`, it has first sent the effects of all that was done until now (`isBegun` says of which slots), and the message goes
 *    right behind them. Never between a command and its effect, nor between the commands of an EXEC. So a record is its key's newest state at its place in
 *    the channel, and what happens to the key later follows it.
 * 2. It tells each effect of a slot that `isMidway` to `noteEffect`, when it happens.
 * 3. While `isInRow`, it calls `next` again in the same turn.
 *
 * First come *offers*: slots with their number of keys and a digest of them. From then on a slot is begun: its effects go over. The receiver compares with
 * what it has, and of slots that differ it *wants* the keys; it has emptied them when it says so. Slots that are equal cost their digest. So a
 * replica that was away for a moment gets little, and a fill that broke off starts again cheaply. There are several offers on their way, a bounded number of slots in all.
 *
 * Why the receiver ends equal. Of a slot that is streamed, each key is, at any time, in one of two states:
 *
 * - *settled*: the receiver has it exactly as it is here (or neither has it). An effect that looks at no other key leaves it so.
 * - *open*: a record, or the word that there is none, is still to come, and it replaces whatever the receiver has made of the key until then: so it does not
 *   matter that effects meet a wrong value there, and may even fail.
 *
 * A slot begins empty at the receiver, with all keys open that are here; it ends when none is open. Between, three things could open a key that
 * nobody would send any more:
 *
 * - *An effect reads another key* (RENAME, COPY, BITOP, MSETNX), which may be open: the receiver gets another outcome. All its keys are open from then on, and are
 *   sent *again*, soon. They are not sent in the log in place of the effect: there they would be as long as their values are, and go to
 *   replicas too that have everything and do right with the effect as it is.
 * - *A key appears behind the scan*. It was in neither keyspace (one that is not here and is not open, is not there): an effect that makes it makes the same of it.
 * - *A key is too long to be sent at once*, and is cut.
 *
 * Cut values. The record brings the value's first bytes and its whole length, which the receiver makes at once; parts follow, each read when it is sent. At any time the
 * receiver's key is there if and only if ours is, of the same type, flags, expiry and length, and its bytes before the *place* that was reached are the same; those behind
 * are anything. What keeps that true, and thus needs nothing:
 *
 * - SET and its like, MSET, GETDEL, DEL, UNLINK, FLUSHALL, and expiry, which is a DEL: all of the value is replaced or gone, in both. If the value is shorter than the place
 *   now, there is nothing to send. What came to be after a DEL is the same in both.
 * - APPEND, SETRANGE, SETBIT: where they write, and how long the value becomes, depends on nothing but its length. Byte for byte they write
 *   what their arguments say, or change one bit of a byte: which is right before the place, and sent later behind it.
 * - EXPIRE and its like, PERSIST: key and expiry are the same in both.
 *
 * All others may carry what is wrong behind the place to before it: BITFIELD INCRBY on a number that lies half here, half there, or with OVERFLOW FAIL; BITOP, RENAME
 * or COPY onto the key; commands of plugins that nobody here knows. Then the cut is broken: the value is open from its beginning, and is sent again when the scan is through, so that
 * a key that is written so all the time keeps no other waiting. (INCR cannot meet a value of such length, but one that was SET in between; starting again is right whatever
 * it meets.)
 *
 * The end. What is open when the scan is through is sent, and then the slot ends; but commands may open keys as fast as they are sent. So after `PATIENCE` disappointments all
 * that is left is sent in a row, in one turn, with no effect in between. It is at most `MAX_AGAIN` keys, and those long values that were opened again and again. That stops
 * the event loop for as long as it takes to copy them (a millisecond for a MiB or so), and the channel must hold them: the price of somebody
 * who goes on replacing values of many MiB, which costs him as much each time.
 *
 * Keys that have expired and were not removed yet are sent as they are: their DEL will follow.
 */
import { assert } from "../assert.ts";
import { SLOT_COUNT } from "../codec/slot.ts";
import {
  ChunkWriter,
  type SlotOffer,
  encodeEnd,
  encodeOffer,
  readSlotStreamMessage,
} from "../codec/slot-stream-codec.ts";
import { type Handle, type Keyspace, ValueType } from "../contracts/keyspace.ts";
import type { SlotRange } from "../contracts/topology.ts";
import { canonicalRanges } from "../protocol/slot-ranges.ts";
import { KeyReference } from "../store/key-reference.ts";
import { peekAny } from "./peek-any.ts";

/** A chunk: what is copied, sent and stored within half a millisecond or so. */
const DEFAULT_CHUNK_BYTES = 65_536;
/** Room of a chunk for what its last step adds, so that it seldom need be made larger. */
const CHUNK_MARGIN_BYTES = 1024;
/** Keys of a chunk, for small ones, which cost more than their bytes. */
const DEFAULT_CHUNK_KEYS = 512;
/** Slots that are offered and not done. Enough that the channel is not idle for the time of an answer; few, since their effects go over and may be of no use. */
const DEFAULT_OFFER_SLOTS = 256;
/** Of a slot; and of all slots of an offer: digests are made at about 300 MB a second. */
export const DEFAULT_DIGEST_BYTES = 262_144;
/** What making a digest costs for each key, in bytes that take as long. */
const DIGEST_BYTES_PER_KEY = 128;
/** Values are cut from this length on. Copying one of it takes less than half a millisecond. */
const DEFAULT_CUT_BYTES = 1_048_576;
/** Below this a value may be a number, which INCR reads whole. */
const MIN_CUT_BYTES = 64;
/** How often, with the scan through, a cut may be broken, or a chunk leave keys that are to be sent again, before all that is left is sent in a row. */
const PATIENCE = 8;
/** Keys to be sent again that may wait for their turn; those above go at once. Bounds the memory. */
const MAX_AGAIN = 4096;

/** Of more than one key, and yet each key's outcome depends on no other: nothing need be sent again. */
const EACH_KEY_ALONE: ReadonlySet<string> = new Set(["MSET", "DEL", "UNLINK"]);
/** Keep what is said above of cut values. */
const GOOD_FOR_CUT: ReadonlySet<string> = new Set(
  "SET SETNX SETEX PSETEX GETSET MSET GETDEL DEL UNLINK APPEND SETRANGE SETBIT EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST".split(
    " ",
  ),
);

/** What becomes of a slot, in this order. */
const SlotState = { foreign: 0, waiting: 1, offered: 2, wanted: 3, midway: 4, level: 5 } as const;

export interface SlotSourceOptions {
  /** Bytes of a chunk, about: at most so many, and one record more. */
  readonly chunkBytes?: number;
  /** Keys of a chunk. */
  readonly chunkKeys?: number;
  /** Slots with keys that may be offered and not yet level. */
  readonly offerSlots?: number;
  /** Slots of more bytes are sent without a comparison; and so much is compared in one offer. */
  readonly maxDigestBytes?: number;
  /** Values of more bytes are cut. */
  readonly cutBytes?: number;
}

/** How far a source is. */
export interface SlotSourceProgress {
  /** Slots in which the receiver has everything. */
  readonly slotsDone: number;
  readonly slotsTotal: number;
  /** Records sent. */
  readonly keys: number;
  /** Bytes of all messages. */
  readonly bytes: number;
}

/** A key whose value is sent in parts. */
interface Cut {
  readonly key: Uint8Array;
  readonly name: string;
  /** Bytes of the value that were sent. 0: not even the record. */
  place: number;
}

/** An offer that was not answered. */
interface OpenOffer {
  readonly offer: number;
  readonly first: number;
  readonly last: number;
  /** How many of the slots have keys. */
  readonly full: number;
}

export class SlotSource {
  /** All was sent. */
  isDone = false;
  /** Why the receiver's answers made no sense. Nothing is sent any more then: the whole thing must start again. */
  refusal: string | undefined;

  readonly #keyspace: Keyspace;
  readonly #chunkBytes: number;
  readonly #chunkKeys: number;
  readonly #offerSlots: number;
  readonly #maxDigestBytes: number;
  readonly #cutBytes: number;
  readonly #reference = new KeyReference();
  /** The slots that are sent, ascending. */
  readonly #slots: readonly number[];
  readonly #states = new Uint8Array(SLOT_COUNT);
  /** Of `#slots`: how many were offered, and how many were looked at for streaming. Both only grow, since answers come in the order of offers. */
  #offeredCount = 0;
  #streamedCount = 0;
  /** Slots that are wanted or midway, or offered with keys: the empty ones, of which there may be many, cost nothing until they are wanted. */
  #openSlots = 0;
  #offers = 0;
  readonly #openOffers: OpenOffer[] = [];

  // Of the slot that is midway.
  #slot = -1;
  /** Where the scan goes on. */
  #position = 0;
  #isScanned = false;
  /** The long value that is being sent. */
  #cut: Cut | undefined;
  /** Keys that are open again, by their names; none of them is `#cut`'s, or one of `#long`. */
  readonly #again = new Map<string, Uint8Array>();
  /** Those that were found to be long: they come last. */
  readonly #long = new Map<string, Uint8Array>();
  /** Disappointments that are left. */
  #patience = PATIENCE;
  /** Whether keys that are sent again come first in this chunk. They take turns with what is new: neither keeps the other waiting. */
  #isAgainFirst = false;

  #slotsDone = 0;
  #keys = 0;
  #bytes = 0;

  /**
   * @param slots All that the receiver shall have keys in: it empties the others at the end. They do not change; if the shard gains or loses slots, another source is
   *   made, which costs little for slots that are level.
   */
  constructor(keyspace: Keyspace, slots: readonly SlotRange[], options: SlotSourceOptions = {}) {
    this.#keyspace = keyspace;
    this.#chunkBytes = options.chunkBytes ?? DEFAULT_CHUNK_BYTES;
    this.#chunkKeys = options.chunkKeys ?? DEFAULT_CHUNK_KEYS;
    this.#offerSlots = options.offerSlots ?? DEFAULT_OFFER_SLOTS;
    this.#maxDigestBytes = options.maxDigestBytes ?? DEFAULT_DIGEST_BYTES;
    this.#cutBytes = options.cutBytes ?? DEFAULT_CUT_BYTES;
    assert(
      this.#chunkBytes >= 1 && this.#chunkKeys >= 1 && this.#offerSlots >= 1 && this.#cutBytes >= MIN_CUT_BYTES,
      "A slot stream's chunks hold something, and numbers are not cut.",
    );
    const all: number[] = [];
    for (const { first, last } of canonicalRanges(slots))
      for (let slot = first; slot <= last; slot += 1) all.push(slot);
    this.#slots = all;
    for (const slot of all) this.#states[slot] = SlotState.waiting;
  }

  get progress(): SlotSourceProgress {
    return { slotsDone: this.#slotsDone, slotsTotal: this.#slots.length, keys: this.#keys, bytes: this.#bytes };
  }

  /** Whether the receiver must get the effects of this slot, from the last message on. */
  isBegun(slot: number): boolean {
    return (this.#states[slot] as number) >= SlotState.offered;
  }

  /** Whether some of the slot's keys were sent and others not: `noteEffect` must be told. Of one slot at a time. */
  isMidway(slot: number): boolean {
    return slot === this.#slot;
  }

  /** Whether `next` must be called again in this turn, before any other command runs. */
  get isInRow(): boolean {
    return this.#slot >= 0 && this.#isScanned && this.#patience <= 0;
  }

  /**
   * Notes an effect on a slot that is midway, after it has happened here.
   *
   * @param name The command, in whatever case.
   * @param keys All keys that it names, written or read. Copied where they are kept.
   */
  noteEffect(name: string, keys: readonly Uint8Array[]): void {
    if (this.#slot < 0 || (keys.length < 2 && this.#cut === undefined)) return;
    const command = name.toUpperCase();
    const readsOthers = keys.length > 1 && !EACH_KEY_ALONE.has(command);
    if (!readsOthers && GOOD_FOR_CUT.has(command)) return;
    for (const key of keys) {
      this.#keyspace.refer(this.#reference, key, 0, key.length);
      if (this.#reference.slot !== this.#slot) continue;
      const text = this.#reference.toString();
      if (this.#cut?.name === text) this.#breakCut();
      else if (readsOthers && !this.#long.has(text) && !this.#again.has(text)) this.#again.set(text, key.slice());
    }
  }

  /**
   * The next message for the receiver. Costs about a millisecond at most, but for `isInRow`.
   *
   * @returns `undefined` if there is nothing to send until the receiver answers, or at all.
   */
  next(): Uint8Array | undefined {
    if (this.isDone || this.refusal !== undefined) return undefined;
    const message = (this.isInRow ? undefined : this.#nextOffer()) ?? this.#nextChunk() ?? this.#nextEnd();
    this.#bytes += message?.length ?? 0;
    return message;
  }

  /** Takes the receiver's answer. Look at `refusal` after. */
  answered(bytes: Uint8Array): void {
    if (this.refusal !== undefined) return;
    const message = readSlotStreamMessage(bytes);
    if (message?.type !== "wants") {
      this.refusal = "The receiver of slots has sent what is no answer";
      return;
    }
    const open = this.#openOffers[0];
    if (open?.offer !== message.offer) {
      this.refusal = `The receiver of slots has answered offer ${message.offer}, and ${open?.offer ?? "none"} is to be answered`;
      return;
    }
    for (const { first, last } of message.slots) {
      for (let slot = first; slot <= last; slot += 1) {
        if (slot < open.first || slot > open.last || this.#states[slot] !== SlotState.offered) {
          this.refusal = `The receiver of slots wants slot ${slot}, which that offer does not name`;
          return;
        }
        this.#states[slot] = SlotState.wanted;
        this.#openSlots += 1;
      }
    }
    this.#openOffers.shift();
    this.#openSlots -= open.full;
    for (let slot = open.first; slot <= open.last; slot += 1) {
      if (this.#states[slot] === SlotState.offered) this.#levelled(slot);
    }
  }

  #nextOffer(): Uint8Array | undefined {
    const keyspace = this.#keyspace;
    const slots: SlotOffer[] = [];
    let digestedBytes = 0;
    let full = 0;
    let empty: { first: number; last: number; keys: 0; digest: undefined } | undefined;
    const from = this.#offeredCount;
    while (this.#offeredCount < this.#slots.length) {
      const slot = this.#slots[this.#offeredCount] as number;
      const keys = keyspace.slotSize(slot);
      if (keys === 0) {
        if (empty?.last === slot - 1) empty.last = slot;
        else {
          empty = { first: slot, last: slot, keys, digest: undefined };
          slots.push(empty);
        }
      } else {
        if (this.#openSlots >= this.#offerSlots) break;
        const bytes = keyspace.slotBytes(slot) + keys * DIGEST_BYTES_PER_KEY;
        const isDigested = bytes <= this.#maxDigestBytes;
        if (isDigested) {
          digestedBytes += bytes;
          if (digestedBytes > this.#maxDigestBytes) break;
        }
        full += 1;
        this.#openSlots += 1;
        slots.push({ first: slot, last: slot, keys, digest: isDigested ? keyspace.digestSlot(slot) : undefined });
      }
      this.#states[slot] = SlotState.offered;
      this.#offeredCount += 1;
    }
    if (slots.length === 0) return undefined;
    const offer = this.#offers;
    this.#offers += 1;
    const first = this.#slots[from] as number;
    this.#openOffers.push({ offer, first, last: this.#slots[this.#offeredCount - 1] as number, full });
    return encodeOffer(offer, slots);
  }

  #nextChunk(): Uint8Array | undefined {
    if (!this.#hasSlot()) return undefined;
    const writer = new ChunkWriter(this.#chunkBytes + CHUNK_MARGIN_BYTES);
    while (this.#hasRoom(writer) && this.#enterSlot(writer)) {
      this.#isAgainFirst = !this.#isAgainFirst;
      if (this.#isAgainFirst) this.#sendAgain(writer);
      this.#sendNew(writer);
      this.#sendAgain(writer);
      this.#leaveSlot(writer);
    }
    return writer.finish();
  }

  #nextEnd(): Uint8Array | undefined {
    if (this.#slotsDone < this.#slots.length) return undefined;
    this.isDone = true;
    return encodeEnd();
  }

  /** Whatever the limits are, a chunk says something. */
  #hasRoom(writer: ChunkWriter): boolean {
    return writer.steps === 0 || (writer.length < this.#chunkBytes && writer.steps < this.#chunkKeys);
  }

  /** Whether a slot is midway, or there is one to begin; `#streamedCount` is at it then. */
  #hasSlot(): boolean {
    if (this.#slot >= 0) return true;
    while (this.#state(this.#streamedCount) === SlotState.level) this.#streamedCount += 1;
    return this.#state(this.#streamedCount) === SlotState.wanted;
  }

  /** Begins the next slot that is wanted, unless one is midway. False if there is none, or it is not known yet. */
  #enterSlot(writer: ChunkWriter): boolean {
    if (this.#slot >= 0) return true;
    if (!this.#hasSlot()) return false;
    const slot = this.#slots[this.#streamedCount] as number;
    this.#states[slot] = SlotState.midway;
    this.#slot = slot;
    this.#position = 0;
    this.#isScanned = false;
    this.#patience = PATIENCE;
    writer.begin(slot);
    return true;
  }

  /** The state of one of `#slots`; `undefined` behind the last. */
  #state(index: number): number | undefined {
    const slot = this.#slots[index];
    return slot === undefined ? undefined : this.#states[slot];
  }

  /** Ends the slot if none of its keys is open. */
  #leaveSlot(writer: ChunkWriter): void {
    if (!this.#isScanned || this.#cut !== undefined || this.#long.size > 0) return;
    if (this.#again.size > 0) {
      this.#patience -= 1;
      return;
    }
    writer.end(this.#slot);
    this.#levelled(this.#slot);
    this.#openSlots -= 1;
    this.#slot = -1;
  }

  #levelled(slot: number): void {
    this.#states[slot] = SlotState.level;
    this.#slotsDone += 1;
  }

  #sendAgain(writer: ChunkWriter): void {
    for (const [text, key] of this.#again) {
      if (!this.#hasRoom(writer) && this.#again.size <= MAX_AGAIN) return;
      this.#again.delete(text);
      const record = this.#peek(key);
      if (record === 0) writer.absent(key);
      else this.#sendRecord(writer, record, false);
    }
  }

  #sendNew(writer: ChunkWriter): void {
    const visit = (record: Handle): void => this.#sendRecord(writer, record, true);
    while (this.#hasRoom(writer)) {
      if (this.#cut !== undefined) {
        this.#sendPart(writer, this.#cut);
      } else if (!this.#isScanned) {
        // One at a time, as their sizes are not known before. (Keys of one hash come together.)
        this.#position = this.#keyspace.scanSlot(this.#slot, this.#position, 1, visit);
        this.#isScanned = this.#position === 0;
      } else if (!this.#cutFirstLong()) return;
    }
  }

  /** Sends a record whole; or has it cut, at once if nothing is, else when the scan is through. */
  #sendRecord(writer: ChunkWriter, record: Handle, isNew: boolean): void {
    if (!this.#isCuttable(record)) {
      this.#writeRecord(writer, record, this.#keyspace.valueLength(record));
      return;
    }
    this.#keyspace.referRecord(this.#reference, record);
    const name = this.#reference.toString();
    if (this.#cut?.name === name || this.#long.has(name)) return;
    const { bytes, start, end } = this.#reference;
    const key = bytes.slice(start, end);
    this.#again.delete(name);
    if (isNew && this.#cut === undefined) this.#cut = { key, name, place: 0 };
    else this.#long.set(name, key);
  }

  #cutFirstLong(): boolean {
    for (const [name, key] of this.#long) {
      this.#long.delete(name);
      this.#cut = { key, name, place: 0 };
      return true;
    }
    return false;
  }

  /** What was sent of the value is of no use. If nothing was, nothing is lost. */
  #breakCut(): void {
    const cut = this.#cut;
    if (cut === undefined || cut.place === 0) return;
    this.#cut = undefined;
    this.#long.set(cut.name, cut.key);
    if (this.#isScanned) this.#patience -= 1;
  }

  /** Sends a part of the value that is cut; or what is left of it to say. */
  #sendPart(writer: ChunkWriter, cut: Cut): void {
    const keyspace = this.#keyspace;
    const { key, place } = cut;
    const record = this.#peek(key);
    if (place === 0 && (record === 0 || !this.#isCuttable(record))) {
      // It has become short, or has gone, before anything of it was sent.
      if (record === 0) writer.absent(key);
      else this.#writeRecord(writer, record, keyspace.valueLength(record));
      this.#cut = undefined;
      return;
    }
    const length = record === 0 ? 0 : keyspace.valueLength(record);
    if (length <= place) {
      // It was replaced, in both keyspaces, by less than what was sent; or removed.
      this.#cut = undefined;
      return;
    }
    const next = Math.min(place + this.#chunkBytes, length);
    if (place === 0) this.#writeRecord(writer, record, next);
    else {
      const start = keyspace.valueStart(record);
      writer.part(key, place, length, keyspace.bytes(record), start + place, start + next);
    }
    cut.place = next;
    if (next === length) this.#cut = undefined;
  }

  #writeRecord(writer: ChunkWriter, record: Handle, sentLength: number): void {
    const keyspace = this.#keyspace;
    const keyStart = keyspace.keyStart(record);
    writer.record(
      keyspace.type(record),
      keyspace.flags(record),
      keyspace.expiresAtMs(record),
      keyspace.bytes(record),
      keyStart,
      keyStart + keyspace.keyLength(record),
      keyspace.valueStart(record),
      keyspace.valueLength(record),
      sentLength,
    );
    this.#keys += 1;
  }

  /** Only strings: their bytes keep their places. */
  #isCuttable(record: Handle): boolean {
    return this.#keyspace.valueLength(record) > this.#cutBytes && this.#keyspace.type(record) === ValueType.string;
  }

  #peek(key: Uint8Array): Handle {
    this.#keyspace.refer(this.#reference, key, 0, key.length);
    return peekAny(this.#keyspace, this.#reference);
  }
}
