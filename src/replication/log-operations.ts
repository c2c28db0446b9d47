/**
 * Effects that are no commands: what a log says of records as they are, and not of what a client wanted.
 *
 * Their names begin with a byte that no command's name begins with, so that no client can send one. Whoever applies a log applies them like its commands.
 *
 * - `record KEY META VALUE` stores a key's record in place of what there is. META is text: type, flags, expiry and the value's whole length, which may be more than
 *   the bytes that are here: those that are not, hold anything until parts bring them.
 * - `part KEY PLACE BYTES` writes bytes of a value whose record came before.
 * - `flush RANGES` removes all keys of slots, such as `0-5460 7000`.
 */
import { copyBytes } from "../codec/copy-bytes.ts";
import { ArgumentList } from "../codec/resp-parser.ts";
import type { Keyspace, ValueType } from "../contracts/keyspace.ts";
import type { SlotRange } from "../contracts/topology.ts";
import { formatSlotRange, parseSlotRange } from "../protocol/slot-ranges.ts";
import { KeyReference } from "../store/key-reference.ts";
import { peekAny } from "./peek-any.ts";

const RECORD = Uint8Array.of(0, 1);
const PART = Uint8Array.of(0, 2);
const FLUSH = Uint8Array.of(0, 3);

const encoder = new TextEncoder();
const DEL = encoder.encode("DEL");
const decoder = new TextDecoder();

/** What a record says, but for its key and value. */
export interface RecordMeta {
  readonly valueType: ValueType;
  readonly flags: number;
  /** Wall milliseconds, or 0. */
  readonly expiresAtMs: number;
  /** Of the whole value. */
  readonly valueLength: number;
}

export function recordOperation(key: Uint8Array, meta: RecordMeta, value: Uint8Array): ArgumentList {
  const { valueType, flags, expiresAtMs, valueLength } = meta;
  return ArgumentList.of([RECORD, key, encoder.encode(`${valueType} ${flags} ${expiresAtMs} ${valueLength}`), value]);
}

/** What brings a key to the state that it has here, whatever it was before: its record, or DEL. */
export function stateOperation(keyspace: Keyspace, key: KeyReference): ArgumentList {
  const name = key.bytes.subarray(key.start, key.end);
  const record = peekAny(keyspace, key);
  if (record === 0) return ArgumentList.of([DEL, name]);
  const valueLength = keyspace.valueLength(record);
  const start = keyspace.valueStart(record);
  const meta: RecordMeta = {
    valueType: keyspace.type(record),
    flags: keyspace.flags(record),
    expiresAtMs: keyspace.expiresAtMs(record),
    valueLength,
  };
  return recordOperation(name, meta, keyspace.bytes(record).subarray(start, start + valueLength));
}

export function partOperation(key: Uint8Array, place: number, bytes: Uint8Array): ArgumentList {
  return ArgumentList.of([PART, key, encoder.encode(String(place)), bytes]);
}

export function flushOperation(slots: readonly SlotRange[]): readonly [Uint8Array, Uint8Array] {
  return [FLUSH, encoder.encode(slots.map(formatSlotRange).join(" "))];
}

/** Whether an effect is one of these. */
export function isLogOperation(args: ArgumentList): boolean {
  return args.bytes[args.start(0)] === 0 && args.end(0) > args.start(0);
}

/** The slots of a `flush`; `undefined` if the effect is none. */
export function flushedSlots(args: ArgumentList): readonly SlotRange[] | undefined {
  if (args.count !== 2 || args.bytes[args.start(0)] !== 0 || args.bytes[args.start(0) + 1] !== FLUSH[1])
    return undefined;
  return rangesOf(args, 1);
}

/** Applies them to a keyspace. One for each keyspace: it holds a reference that it fills. */
export class LogOperations {
  readonly #keyspace: Keyspace;
  readonly #key = new KeyReference();

  constructor(keyspace: Keyspace) {
    this.#keyspace = keyspace;
  }

  /** @returns What is wrong with it, in words; `undefined` if it was applied. */
  apply(args: ArgumentList): string | undefined {
    switch (args.end(0) - args.start(0) === 2 ? args.bytes[args.start(0) + 1] : 0) {
      case RECORD[1]:
        return args.count === 4 ? this.#record(args) : "a record of other than three parts";
      case PART[1]:
        return args.count === 4 ? this.#part(args) : "a part of other than three parts";
      case FLUSH[1]: {
        const slots = args.count === 2 ? rangesOf(args, 1) : undefined;
        if (slots === undefined) return "a flush of what are no slots";
        for (const { first, last } of slots) {
          for (let slot = first; slot <= last; slot += 1) this.#keyspace.dropSlot(slot, Number.POSITIVE_INFINITY);
        }
        return undefined;
      }
      default:
        return "an operation that this version does not know";
    }
  }

  #record(args: ArgumentList): string | undefined {
    const [valueType, flags, expiresAtMs, valueLength] = decoder
      .decode(args.bytes.subarray(args.start(2), args.end(2)))
      .split(" ")
      .map(Number);
    const here = args.end(3) - args.start(3);
    const isWhole =
      valueType !== undefined &&
      flags !== undefined &&
      Number.isInteger(valueType) &&
      valueType >= 0 &&
      valueType <= LAST_TYPE &&
      Number.isInteger(flags) &&
      Number.isSafeInteger(expiresAtMs) &&
      Number.isSafeInteger(valueLength) &&
      (valueLength ?? 0) >= here;
    if (!isWhole) return "a record that makes no sense";
    const keyspace = this.#keyspace;
    keyspace.refer(this.#key, args.bytes, args.start(1), args.end(1));
    const record = keyspace.store(this.#key, valueType as ValueType, flags, valueLength ?? 0, expiresAtMs ?? 0);
    copyBytes(args.bytes, args.start(3), args.end(3), keyspace.bytes(record), keyspace.valueStart(record));
    return undefined;
  }

  #part(args: ArgumentList): string | undefined {
    const keyspace = this.#keyspace;
    const place = Number(decoder.decode(args.bytes.subarray(args.start(2), args.end(2))));
    keyspace.refer(this.#key, args.bytes, args.start(1), args.end(1));
    const record = peekAny(keyspace, this.#key);
    if (!Number.isSafeInteger(place) || place < 0) return "a part that makes no sense";
    const end = place + args.end(3) - args.start(3);
    if (record === 0 || end > keyspace.valueLength(record)) return PART_OF_NOTHING;
    copyBytes(args.bytes, args.start(3), args.end(3), keyspace.bytes(record), keyspace.valueStart(record) + place);
    keyspace.changed(this.#key, record, keyspace.flags(record));
    return undefined;
  }
}

/** The value's key has not come yet, where keys are coming. */
export const PART_OF_NOTHING = "a part of a value that is not there";

const LAST_TYPE = 4;

function rangesOf(args: ArgumentList, index: number): readonly SlotRange[] | undefined {
  const text = decoder.decode(args.bytes.subarray(args.start(index), args.end(index)));
  const ranges = text === "" ? [] : text.split(" ").map(parseSlotRange);
  return ranges.every((range) => range !== undefined) ? ranges : undefined;
}
