/**
 * bitmaps: strings as rows of bits, and of small numbers: SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP, BITFIELD.
 *
 * Talks to the rest through the service `keyspace`. What is done to bits is in `src/codec/bits.ts`.
 */
import { integerArgument, isGreaterArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import { commandAdder, oneKey } from "../src/command-adder.ts";
import {
  type BitOperation,
  type FieldType,
  type Overflow,
  addToField,
  combineBits,
  countBits,
  findBit,
  parseFieldType,
  readField,
  writeField,
} from "../src/codec/bits.ts";
import { parseInteger64 } from "../src/codec/number.ts";
import { FLAG_EDITED, type Handle, NO_EXPIRY, ValueType, keyspaceService } from "../src/contracts/keyspace.ts";
import { definePlugin } from "../src/plugin.ts";
import { NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE } from "../src/replies.ts";
import { KeyReference } from "../src/store/key-reference.ts";
import { maxValueBytes } from "../src/value-limit.ts";

const BAD_OFFSET = "ERR bit offset is not an integer or out of range";

/** Instead of a record: it holds something other than a string. Handles are 32 bits wide. */
const WRONG = Number.MIN_SAFE_INTEGER;

/** One step of BITFIELD. */
interface FieldStep {
  readonly kind: "get" | "set" | "incrby";
  readonly type: FieldType;
  readonly offset: number;
  readonly value: bigint;
  readonly overflow: Overflow;
}

export default definePlugin({
  name: "bitmaps",
  summary: "Strings as bits: SETBIT, BITCOUNT, BITOP, BITFIELD ...",
  requires: { keyspace: keyspaceService },
  setup(context) {
    const { keyspace } = context.requires;
    const other = new KeyReference();

    /** The record if it is a string, 0 if there is none, WRONG (and the error is written) if it is something else. */
    const stringRecord = (call: Call): Handle => {
      const record = call.find(keyspace);
      if (record === 0 || keyspace.type(record) === ValueType.string) return record;
      call.reply.error(WRONG_TYPE);
      return WRONG;
    };
    const isWrong = (record: Handle): boolean => record === WRONG;
    /** A record's value; a view that is good until the next change. */
    const valueOf = (record: Handle): Uint8Array => {
      if (record === 0) return new Uint8Array(0);
      const start = keyspace.valueStart(record);
      return keyspace.bytes(record).subarray(start, start + keyspace.valueLength(record));
    };
    /** Makes a value at least so long, zeros added. */
    const grown = (call: Call, record: Handle, bytes: number): Handle => {
      if (record === 0) {
        const made = keyspace.store(call.key, ValueType.string, FLAG_EDITED, bytes, NO_EXPIRY);
        valueOf(made).fill(0);
        return made;
      }
      return keyspace.valueLength(record) >= bytes ? record : keyspace.resize(call.key, record, bytes, FLAG_EDITED);
    };
    const offsetArgument = (call: Call, index: number, bitsPerUnit: number): number => {
      const isScaled = bitsPerUnit > 0 && call.text(index).startsWith("#");
      const value = isScaled
        ? Number(/^#(0|[1-9][0-9]{0,14})$/.exec(call.text(index))?.[1] ?? Number.NaN) * bitsPerUnit
        : integerArgument(call, index);
      return value >= 0 && value < 8 * maxValueBytes(context, call.client) ? value : Number.NaN;
    };

    const add = commandAdder(context, { group: "bitmap", categories: ["bitmap"] });

    add(
      "setbit key offset:integer value:integer",
      4,
      ["write", "denyoom"],
      oneKey("RW", "ACCESS", "UPDATE"),
      "2.2.0",
      "O(1)",
      "Sets one bit, and tells what it was.",
      (call) => {
        const offset = offsetArgument(call, 2, 0);
        if (Number.isNaN(offset)) {
          call.reply.error(BAD_OFFSET);
          return;
        }
        const isOne = call.is(3, "1");
        if (!isOne && !call.is(3, "0")) {
          call.reply.error("ERR bit is not an integer or out of range");
          return;
        }
        const found = stringRecord(call);
        if (isWrong(found)) return;
        const byteOffset = Math.floor(offset / 8);
        const record = grown(call, found, byteOffset + 1);
        const at = keyspace.valueStart(record) + byteOffset;
        const bytes = keyspace.bytes(record);
        const mask = 0x80 >> (offset % 8);
        const before = bytes[at] as number;
        // A bit that is as it was is no change: nobody who watches is told (growing the value was one).
        if (((before & mask) !== 0) !== isOne) {
          bytes[at] = isOne ? before | mask : before & ~mask;
          keyspace.changed(call.key, record, FLAG_EDITED);
        } else keyspace.setFlags(record, FLAG_EDITED);
        call.reply.integer((before & mask) === 0 ? 0 : 1);
      },
    );
    add(
      "getbit key offset:integer",
      3,
      ["readonly", "fast"],
      oneKey("RO", "ACCESS"),
      "2.2.0",
      "O(1)",
      "Tells one bit.",
      (call) => {
        const offset = offsetArgument(call, 2, 0);
        if (Number.isNaN(offset)) {
          call.reply.error(BAD_OFFSET);
          return;
        }
        const record = stringRecord(call);
        if (isWrong(record)) return;
        const byteOffset = Math.floor(offset / 8);
        const isThere = record !== 0 && byteOffset < keyspace.valueLength(record);
        const byte = isThere ? (keyspace.bytes(record)[keyspace.valueStart(record) + byteOffset] as number) : 0;
        call.reply.integer((byte >> (7 - (offset % 8))) & 1);
      },
    );

    /**
     * Reads start, end and unit of a range.
     *
     * @param isCount For BITCOUNT, not BITPOS.
     * @returns First and last bit; `empty`; or `undefined` with the error written.
     */
    const readRange = (
      call: Call,
      from: number,
      length: number,
      isCount: boolean,
    ): { first: number; last: number } | "empty" | undefined => {
      let first = call.count > from ? integerArgument(call, from) : 0;
      let last = call.count > from + 1 ? integerArgument(call, from + 1) : -1;
      const isBit = call.count > from + 2 && call.is(from + 2, "BIT");
      const isBadUnit = call.count > from + 2 && !isBit && !call.is(from + 2, "BYTE");
      // BITCOUNT looks at the end before the unit, and then whether both places are counted from behind in the wrong order. BITPOS looks at
      // the unit first, and cuts places before the string to its beginning whatever their order.
      if (Number.isNaN(first) || (Number.isNaN(last) && (isCount || !isBadUnit))) {
        call.reply.error(NOT_AN_INTEGER);
        return undefined;
      }
      if (isCount && first < 0 && last < 0 && isGreaterArgument(call, from, from + 1)) return "empty";
      if (isBadUnit) {
        call.reply.error(SYNTAX_ERROR);
        return undefined;
      }
      const total = isBit ? 8 * length : length;
      first = Math.max(0, first < 0 ? total + first : first);
      last = Math.min(total - 1, Math.max(0, last < 0 ? total + last : last));
      if (first > last || length === 0) return "empty";
      return isBit ? { first, last } : { first: 8 * first, last: 8 * last + 7 };
    };
    add(
      "bitcount key [index:(start:integer end:integer [index_unit:(BYTE | BIT)@7.0.0])]",
      -2,
      ["readonly"],
      oneKey("RO", "ACCESS"),
      "2.6.0",
      "O(N), N being the bytes looked at",
      "Counts the bits that are set.",
      (call) => {
        const record = stringRecord(call);
        if (isWrong(record)) return;
        if (record === 0) {
          call.reply.integer(0);
          return;
        }
        if (call.count === 3 || call.count > 5) {
          call.reply.error(SYNTAX_ERROR);
          return;
        }
        const range = readRange(call, 2, keyspace.valueLength(record), true);
        if (range === undefined) return;
        call.reply.integer(
          range === "empty"
            ? 0
            : countBits(keyspace.bytes(record), keyspace.valueStart(record), range.first, range.last),
        );
      },
    );
    add(
      "bitpos key bit:integer [index:(start:integer [end_index:(end:integer [index_unit:(BYTE | BIT)@7.0.0])])]",
      -3,
      ["readonly"],
      oneKey("RO", "ACCESS"),
      "2.8.7",
      "O(N), N being the bytes looked at",
      "Finds the first bit that is set, or clear.",
      (call) => {
        const value = integerArgument(call, 2);
        if (Number.isNaN(value)) {
          call.reply.error(NOT_AN_INTEGER);
          return;
        }
        if (value !== 0 && value !== 1) {
          call.reply.error("ERR The bit argument must be 1 or 0.");
          return;
        }
        const record = stringRecord(call);
        if (isWrong(record)) return;
        if (record === 0) {
          call.reply.integer(value === 1 ? -1 : 0);
          return;
        }
        if (call.count > 6) {
          call.reply.error(SYNTAX_ERROR);
          return;
        }
        const length = keyspace.valueLength(record);
        const range = readRange(call, 3, length, false);
        if (range === undefined) return;
        if (range === "empty") {
          call.reply.integer(-1);
          return;
        }
        const found = findBit(keyspace.bytes(record), keyspace.valueStart(record), range.first, range.last, value);
        // Without an end the string counts as if zeros followed it.
        call.reply.integer(found < 0 && value === 0 && call.count < 5 ? 8 * length : found);
      },
    );
    add(
      "bitop operation destkey:key key...",
      -4,
      ["write", "denyoom"],
      [
        { first: 2, last: 2, step: 1, flags: ["OW", "UPDATE"] },
        { first: 3, last: -1, step: 1, flags: ["RO", "ACCESS"] },
      ],
      "2.6.0",
      "O(N), N being the bytes of the longest",
      "Combines strings bit by bit: AND, OR, XOR, NOT.",
      (call) => {
        const operation = (["and", "or", "xor", "not"] as const).find((name): name is BitOperation =>
          call.is(1, name.toUpperCase()),
        );
        if (operation === undefined) {
          call.reply.error(SYNTAX_ERROR);
          return;
        }
        if (operation === "not" && call.count !== 4) {
          call.reply.error("ERR BITOP NOT must be called with a single source key.");
          return;
        }
        const sources: Uint8Array[] = [];
        for (let index = 3; index < call.count; index += 1) {
          const record = call.findKey(keyspace, call.keyAt(keyspace, index, other));
          if (record !== 0 && keyspace.type(record) !== ValueType.string) {
            call.reply.error(WRONG_TYPE);
            return;
          }
          sources.push(valueOf(record));
        }
        const result = combineBits(operation, sources);
        if (result.length === 0) keyspace.remove(call.key);
        else valueOf(keyspace.store(call.key, ValueType.string, FLAG_EDITED, result.length, NO_EXPIRY)).set(result);
        call.reply.integer(result.length);
      },
    );

    const readSteps = (call: Call, isReadOnly: boolean): readonly FieldStep[] | undefined => {
      const steps: FieldStep[] = [];
      let overflow: Overflow = "wrap";
      let index = 2;
      while (index < call.count) {
        const left = call.count - 1 - index;
        const kind =
          call.is(index, "GET") && left >= 2
            ? "get"
            : call.is(index, "SET") && left >= 3
              ? "set"
              : call.is(index, "INCRBY") && left >= 3
                ? "incrby"
                : undefined;
        if (kind === undefined) {
          if (!call.is(index, "OVERFLOW") || left < 1) {
            call.reply.error(SYNTAX_ERROR);
            return undefined;
          }
          const found = (["wrap", "sat", "fail"] as const).find((name) => call.is(index + 1, name.toUpperCase()));
          if (found === undefined) {
            call.reply.error("ERR Invalid OVERFLOW type specified");
            return undefined;
          }
          overflow = found;
          index += 2;
          continue;
        }
        const type = parseFieldType(call.text(index + 1));
        if (type === undefined) {
          call.reply.error(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
          );
          return undefined;
        }
        const offset = offsetArgument(call, index + 2, type.bits);
        if (Number.isNaN(offset)) {
          call.reply.error(BAD_OFFSET);
          return undefined;
        }
        let value = 0n;
        if (kind !== "get") {
          const parsed = parseInteger64(call.bytes, call.start(index + 3), call.end(index + 3));
          if (parsed === undefined) {
            call.reply.error(NOT_AN_INTEGER);
            return undefined;
          }
          value = parsed;
        }
        steps.push({ kind, type, offset, value, overflow });
        index += kind === "get" ? 3 : 4;
      }
      if (isReadOnly && steps.some((step) => step.kind !== "get")) {
        call.reply.error("ERR BITFIELD_RO only supports the GET subcommand");
        return undefined;
      }
      return steps;
    };
    const bitfield = (isReadOnly: boolean) => (call: Call) => {
      const steps = readSteps(call, isReadOnly);
      if (steps === undefined) return;
      let record = stringRecord(call);
      if (isWrong(record)) return;
      const writes = steps.filter((step) => step.kind !== "get");
      if (writes.length > 0) {
        const lastBit = Math.max(...writes.map((step) => step.offset + step.type.bits - 1));
        record = grown(call, record, Math.floor(lastBit / 8) + 1);
      }
      const bytes = valueOf(record);
      let hasChanged = false;
      call.reply.array(steps.length);
      for (const { kind, type, offset, value, overflow } of steps) {
        const before = readField(bytes, offset, type);
        if (kind === "get") {
          call.reply.bigInteger(before);
          continue;
        }
        const after =
          kind === "set" ? addToField(type, value, 0n, overflow) : addToField(type, before, value, overflow);
        if (after === undefined) {
          call.reply.nullBulk();
          continue;
        }
        writeField(bytes, offset, type, after);
        // As with SETBIT, what was there already is no change.
        hasChanged ||= after !== before;
        call.reply.bigInteger(kind === "set" ? before : after);
      }
      if (hasChanged) keyspace.changed(call.key, record, FLAG_EDITED);
      else if (writes.length > 0) keyspace.setFlags(record, FLAG_EDITED);
    };
    add(
      "bitfield key [operation:(GET (encoding offset:integer) | write:([OVERFLOW (WRAP | SAT | FAIL)] " +
        "write_operation:(SET (encoding offset:integer value:integer) | INCRBY (encoding offset:integer increment:integer))))]...",
      -2,
      ["write", "denyoom"],
      [{ first: 1, last: 1, step: 1, flags: ["RW", "ACCESS", "UPDATE", "VARIABLE_FLAGS"], flagsOf: bitfieldKeyFlags }],
      "3.2.0",
      "O(1) for each step",
      "Reads and writes numbers of any width.",
      bitfield(false),
    );
    add(
      "bitfield_ro key [GET (encoding offset:integer)]...",
      -2,
      ["readonly", "fast"],
      oneKey("RO", "ACCESS"),
      "6.0.0",
      "O(1) for each step",
      "Reads numbers of any width.",
      bitfield(true),
    );
  },
});

/** What BITFIELD does to its key: it only reads if all its steps are GET. What Redis cannot read counts as a write. */
function bitfieldKeyFlags(words: readonly string[]): readonly string[] {
  for (let index = 2; index < words.length;) {
    const left = words.length - 1 - index;
    if (words[index] === "GET" && left >= 2) index += 3;
    else if (words[index] === "OVERFLOW" && left >= 1) index += 2;
    else return ["RW", "ACCESS", "UPDATE"];
  }
  return ["RO", "ACCESS"];
}
