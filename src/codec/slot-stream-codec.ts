/**
 * Slot streams as bytes: what the sender of slots (`src/replication/slot-source.ts`) and their receiver (`slot-sink.ts`) say to each other.
 *
 *     offer   these slots have so many keys, and this digest                     to the receiver
 *     wants   of the slots of that offer, send these: mine differ                 to the sender
 *     chunk   steps: a slot begins; a key's record, or that there is no such      to the receiver
 *             key, or a further part of its value; a slot ends
 *     end     nothing more comes                                                  to the receiver
 *
 * A chunk is most of what is sent, so its keys and values are neither copied nor viewed when it is read: a step names their places in the message. All of a
 * message is read before any of it is used: bytes that are no message change nothing, and cost memory in proportion to their number.
 */
import type * as contract from "../contracts/keyspace.ts";
import type { ValueType } from "../contracts/keyspace.ts";
import type { SlotRange } from "../contracts/topology.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { SLOT_COUNT } from "./slot.ts";

/** Slots as their sender has them. */
export interface SlotOffer {
  readonly first: number;
  /** As `first`, unless the slots are empty. */
  readonly last: number;
  /** Keys of the slot. */
  readonly keys: number;
  /** `Keyspace.digestSlot`. `undefined` if the slot is empty, or too large to make one. */
  readonly digest: string | undefined;
}

/** A part of a chunk. Keys and values are places in the message's bytes, from `...Start` to before `...End`. */
export type ChunkStep =
  /** What follows is of this slot, which is empty at the receiver, and takes effects from here on. */
  | { readonly type: "begin"; readonly slot: number }
  /** The slot is what the sender's is. */
  | { readonly type: "end"; readonly slot: number }
  /** A key's state, in place of whatever the receiver has of it. The value's bytes are its first ones; `part`s bring the others, if there are any. */
  | {
      readonly type: "record";
      readonly keyStart: number;
      readonly keyEnd: number;
      readonly valueType: ValueType;
      readonly flags: number;
      /** Wall milliseconds, or 0. */
      readonly expiresAtMs: number;
      /** Of the whole value. */
      readonly valueLength: number;
      readonly valueStart: number;
      readonly valueEnd: number;
    }
  /** There is no such key. */
  | { readonly type: "absent"; readonly keyStart: number; readonly keyEnd: number }
  /** Bytes of a value whose key's record came before. */
  | {
      readonly type: "part";
      readonly keyStart: number;
      readonly keyEnd: number;
      /** Where in the value they belong. */
      readonly place: number;
      /** Of the whole value: the receiver's must have as many. */
      readonly valueLength: number;
      readonly valueStart: number;
      readonly valueEnd: number;
    };

export type SlotStreamMessage =
  | { readonly type: "offer"; readonly offer: number; readonly slots: readonly SlotOffer[] }
  /** The slots ascend. */
  | { readonly type: "wants"; readonly offer: number; readonly slots: readonly SlotRange[] }
  | { readonly type: "chunk"; readonly steps: readonly ChunkStep[] }
  | { readonly type: "end" };

const TYPES = ["offer", "wants", "chunk", "end"] as const satisfies readonly SlotStreamMessage["type"][];
const STEPS = ["begin", "end", "record", "absent", "part"] as const satisfies readonly ChunkStep["type"][];

// A record's type, flags and whether it expires, in a byte.
const TYPE_MASK = 0x7;
const FLAGS_SHIFT = 3;
const FLAGS_MASK = 0xf;
const EXPIRES = 0x80;
// The contract's number, checked by its type: codecs load nothing of the rest.
const LAST_TYPE: typeof contract.ValueType.hash = 4;
/** A handle's length field has 32 bits with a sign. */
const MAX_VALUE_BYTES = 0x7fff_ffff;
const DIGEST_DIGITS = 16;

export function encodeOffer(offer: number, slots: readonly SlotOffer[]): Uint8Array {
  const writer = begun("offer");
  writer.number(offer);
  writer.number(slots.length);
  for (const { first, last, keys, digest } of slots) {
    writer.number(first);
    writer.number(last - first);
    writer.number(keys);
    if (keys === 0) continue;
    writer.flag(digest !== undefined);
    if (digest === undefined) continue;
    writer.fixed32(Number.parseInt(digest.slice(0, DIGEST_DIGITS / 2), 16));
    writer.fixed32(Number.parseInt(digest.slice(DIGEST_DIGITS / 2), 16));
  }
  return writer.finish();
}

/** @param slots Ascending, none twice. */
export function encodeWants(offer: number, slots: readonly SlotRange[]): Uint8Array {
  const writer = begun("wants");
  writer.number(offer);
  writer.number(slots.length);
  for (const { first, last } of slots) {
    writer.number(first);
    writer.number(last - first);
  }
  return writer.finish();
}

export function encodeEnd(): Uint8Array {
  return begun("end").finish();
}

/** Puts a chunk together, step by step. */
export class ChunkWriter {
  /** Steps until now. */
  steps = 0;
  readonly #writer: ByteWriter;

  /** @param capacity Bytes to begin with. */
  constructor(capacity: number) {
    this.#writer = begun("chunk", capacity);
  }

  /** Bytes until now. */
  get length(): number {
    return this.#writer.length;
  }

  begin(slot: number): void {
    this.#step("begin");
    this.#writer.number(slot);
  }

  end(slot: number): void {
    this.#step("end");
    this.#writer.number(slot);
  }

  /**
   * @param bytes Holds key and value.
   * @param valueLength Of the whole value.
   * @param sentLength Of it, the bytes that are sent now.
   */
  record(
    valueType: ValueType,
    flags: number,
    expiresAtMs: number,
    bytes: Uint8Array,
    keyStart: number,
    keyEnd: number,
    valueStart: number,
    valueLength: number,
    sentLength: number,
  ): void {
    const writer = this.#writer;
    this.#step("record");
    writer.byte(valueType | (flags << FLAGS_SHIFT) | (expiresAtMs === 0 ? 0 : EXPIRES));
    if (expiresAtMs !== 0) writer.number(expiresAtMs);
    writer.part(bytes, keyStart, keyEnd);
    writer.number(valueLength);
    writer.part(bytes, valueStart, valueStart + sentLength);
  }

  absent(key: Uint8Array): void {
    this.#step("absent");
    this.#writer.bytes(key);
  }

  /**
   * @param value Holds the value.
   * @param start Where the part begins in it.
   * @param place Where it begins in the value.
   */
  part(key: Uint8Array, place: number, valueLength: number, value: Uint8Array, start: number, end: number): void {
    this.#step("part");
    this.#writer.bytes(key);
    this.#writer.number(place);
    this.#writer.number(valueLength);
    this.#writer.part(value, start, end);
  }

  finish(): Uint8Array {
    return this.#writer.finish();
  }

  #step(type: ChunkStep["type"]): void {
    this.steps += 1;
    this.#writer.byte(STEPS.indexOf(type));
  }
}

/** @returns `undefined` if the bytes are no message. */
export function readSlotStreamMessage(bytes: Uint8Array): SlotStreamMessage | undefined {
  const reader = new ByteReader(bytes);
  const type = TYPES[reader.byte()];
  const message = type === undefined ? undefined : readBody(reader, type);
  return reader.isWhole ? message : undefined;
}

function begun(type: SlotStreamMessage["type"], capacity?: number): ByteWriter {
  const writer = new ByteWriter(capacity);
  writer.byte(TYPES.indexOf(type));
  return writer;
}

function readBody(reader: ByteReader, type: SlotStreamMessage["type"]): SlotStreamMessage {
  switch (type) {
    case "offer":
      return { type, offer: reader.number(), slots: reader.list(() => readOffer(reader)) };
    case "wants": {
      const offer = reader.number();
      let previous = -1;
      const slots = reader.list(() => {
        const range = readRange(reader);
        if (range.first <= previous) reader.isBad = true;
        previous = range.last;
        return range;
      });
      return { type, offer, slots };
    }
    case "chunk": {
      const steps: ChunkStep[] = [];
      while (reader.remaining > 0 && !reader.isBad) {
        const step = readStep(reader);
        if (step !== undefined) steps.push(step);
      }
      return { type, steps };
    }
    case "end":
      return { type };
    default:
      return type satisfies never;
  }
}

function readSlot(reader: ByteReader): number {
  const slot = reader.number();
  if (slot >= SLOT_COUNT) reader.isBad = true;
  return slot;
}

function readRange(reader: ByteReader): SlotRange {
  const first = readSlot(reader);
  const last = first + reader.number();
  if (last >= SLOT_COUNT) reader.isBad = true;
  return { first, last };
}

function readOffer(reader: ByteReader): SlotOffer {
  const { first, last } = readRange(reader);
  const keys = reader.number();
  // Only empty slots have a range to themselves.
  if (keys !== 0 && first !== last) reader.isBad = true;
  const digest = keys !== 0 && reader.flag() ? readHalf(reader) + readHalf(reader) : undefined;
  return { first, last, keys, digest };
}

/** Half of a digest. */
function readHalf(reader: ByteReader): string {
  return reader
    .fixed32()
    .toString(16)
    .padStart(DIGEST_DIGITS / 2, "0");
}

function readStep(reader: ByteReader): ChunkStep | undefined {
  const type = STEPS[reader.byte()];
  if (type === undefined) {
    reader.isBad = true;
    return undefined;
  }
  if (type === "begin" || type === "end") return { type, slot: readSlot(reader) };
  let meta = 0;
  let expiresAtMs = 0;
  if (type === "record") {
    meta = reader.byte();
    if ((meta & EXPIRES) !== 0) {
      expiresAtMs = reader.number();
      if (expiresAtMs === 0) reader.isBad = true;
    }
  }
  const keyLength = reader.count();
  const keyStart = reader.skip(keyLength);
  const keyEnd = keyStart + keyLength;
  if (type === "absent") return { type, keyStart, keyEnd };
  const place = type === "part" ? reader.number() : 0;
  const valueLength = reader.number();
  const sentLength = reader.count();
  const valueStart = reader.skip(sentLength);
  const valueEnd = valueStart + sentLength;
  if (valueLength > MAX_VALUE_BYTES || place + sentLength > valueLength) reader.isBad = true;
  if (type === "part") return { type, keyStart, keyEnd, place, valueLength, valueStart, valueEnd };
  const valueType = readType(meta);
  if (valueType === undefined) {
    reader.isBad = true;
    return undefined;
  }
  const flags = (meta >>> FLAGS_SHIFT) & FLAGS_MASK;
  return { type, keyStart, keyEnd, valueType, flags, expiresAtMs, valueLength, valueStart, valueEnd };
}

function readType(meta: number): ValueType | undefined {
  const type = meta & TYPE_MASK;
  return type <= LAST_TYPE ? (type as ValueType) : undefined;
}
