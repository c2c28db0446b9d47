/**
 * strings: the commands of Redis' strings: GET, SET and all that follows from them.
 *
 * Promises: replies, errors and limits are those of Redis 7.0; a command allocates nothing but what its result needs. Commands whose outcome depends on
 * the clock or on how floating-point numbers are written state their effect with absolute times and final values.
 *
 * Talks to the rest through the service `keyspace`.
 */
import {
  type ExpiryUnit,
  RELATIVE_MS,
  RELATIVE_SECONDS,
  expiryArgument,
  expiryOption,
  integerArgument,
  isGreaterArgument,
} from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import { commandAdder, oneKey } from "../src/command-adder.ts";
import { addFloats } from "../src/codec/float.ts";
import {
  INTEGER_64_MAX,
  INTEGER_64_MIN,
  parseInteger,
  parseInteger64,
  writeInteger,
  writeInteger64,
} from "../src/codec/number.ts";
import type { CommandFlag, CommandSpecification, KeySpecification } from "../src/contracts/commands.ts";
import {
  FLAG_EDITED,
  FLAG_TEXT,
  type Handle,
  KEEP_EXPIRY,
  type Keyspace,
  NO_EXPIRY,
  ValueType,
  keyspaceService,
} from "../src/contracts/keyspace.ts";
import { definePlugin } from "../src/plugin.ts";
import { NOT_AN_INTEGER, SYNTAX_ERROR, TOO_LONG, WRONG_TYPE } from "../src/replies.ts";
import { KeyReference } from "../src/store/key-reference.ts";
import { maxValueBytes } from "../src/value-limit.ts";

const READ = oneKey("RO", "ACCESS");
const READ_ALL: readonly KeySpecification[] = [{ first: 1, last: -1, step: 1, flags: ["RO", "ACCESS"] }];
const UPDATE = oneKey("RW", "UPDATE");
const UPDATE_ACCESS = oneKey("RW", "ACCESS", "UPDATE");
const OVERWRITE = oneKey("OW", "UPDATE");

const READ_FAST: readonly CommandFlag[] = ["readonly", "fast"];
const WRITE: readonly CommandFlag[] = ["write", "denyoom"];
const WRITE_FAST: readonly CommandFlag[] = ["write", "denyoom", "fast"];

export default definePlugin({
  name: "strings",
  summary: "The commands of strings: GET, SET, INCR, APPEND ...",
  requires: { keyspace: keyspaceService },
  setup(context) {
    const { keyspace } = context.requires;
    const { effect } = context.hooks;
    const other = new KeyReference();
    /** Digits of a counter on their way into the store. */
    const digits = new Uint8Array(32);

    /** Replies a record's value, or nil; false if it is no string (the error is written). */
    const replyValue = (call: Call, record: Handle): boolean => {
      if (record === 0) call.reply.nullBulk();
      else if (keyspace.type(record) !== ValueType.string) {
        call.reply.error(WRONG_TYPE);
        return false;
      } else {
        const start = keyspace.valueStart(record);
        call.reply.bulk(keyspace.bytes(record), start, start + keyspace.valueLength(record));
      }
      return true;
    };
    /** Whether a record is something other than a string; the error is written then. */
    const isWrongType = (call: Call, record: Handle): boolean => {
      if (record === 0 || keyspace.type(record) === ValueType.string) return false;
      call.reply.error(WRONG_TYPE);
      return true;
    };
    /** States SET with an absolute expiry as the effect. */
    const setEffect = (call: Call, valueIndex: number, expiresAtMs: number): void => {
      if (!effect.isHeard) return;
      const parts: (Uint8Array | string)[] = ["SET", call.copy(1), call.copy(valueIndex)];
      if (expiresAtMs === KEEP_EXPIRY) parts.push("KEEPTTL");
      else if (expiresAtMs !== NO_EXPIRY) parts.push("PXAT", String(expiresAtMs));
      call.effectIs(...parts);
    };
    /** Reads an expiry that must lie after 1970, or writes the error. */
    const readExpiry = (call: Call, index: number, unit: ExpiryUnit): number | undefined => {
      const amount = integerArgument(call, index);
      const atMs = expiryArgument(call, index, unit, keyspace.nowMs);
      if (Number.isNaN(amount)) call.reply.error(NOT_AN_INTEGER);
      else if (amount <= 0 || atMs === undefined)
        call.reply.error(`ERR invalid expire time in '${call.command.fullName}' command`);
      else return atMs;
      return undefined;
    };

    const add = commandAdder(context, { group: "string", categories: ["string"] });

    add("get key", 2, READ_FAST, READ, "1.0.0", "O(1)", "Answers a key's value.", (call) => {
      replyValue(call, call.find(keyspace));
    });
    add(
      "set key value [condition:(NX | XX)@2.6.12] [GET@6.2.0] " +
        "[expiration:(EX seconds:integer@2.6.12 | PX milliseconds:integer@2.6.12 | EXAT unix-time-seconds:unix-time@6.2.0 | " +
        "PXAT unix-time-milliseconds:unix-time@6.2.0 | KEEPTTL@6.0.0)]",
      -3,
      WRITE,
      [{ first: 1, last: 1, step: 1, flags: ["RW", "ACCESS", "UPDATE", "VARIABLE_FLAGS"], flagsOf: setKeyFlags }],
      "1.0.0",
      "O(1)",
      "Sets a key's value, whatever it was.",
      (call) => {
        if (call.count === 3) {
          keyspace.setString(call.key, call.bytes, call.start(2), call.end(2), NO_EXPIRY);
          call.reply.ok();
        } else setWithOptions(call);
      },
      { isQuick: true },
    );

    const setWithOptions = (call: Call): void => {
      let isNx = false;
      let isXx = false;
      let isGet = false;
      let isKeep = false;
      let unit: ExpiryUnit | undefined;
      let expiryIndex = 0;
      for (let index = 3; index < call.count; index += 1) {
        const found = expiryOption(call, index);
        if (call.is(index, "NX") && !isXx) isNx = true;
        else if (call.is(index, "XX") && !isNx) isXx = true;
        else if (call.is(index, "GET")) isGet = true;
        else if (call.is(index, "KEEPTTL") && unit === undefined) isKeep = true;
        else if (found !== undefined && (unit ?? found) === found && !isKeep && index + 1 < call.count) {
          // An option that is said again counts as it is said last.
          unit = found;
          expiryIndex = index + 1;
          index += 1;
        } else {
          call.reply.error(SYNTAX_ERROR);
          return;
        }
      }
      let expiresAtMs = isKeep ? KEEP_EXPIRY : NO_EXPIRY;
      if (unit !== undefined) {
        const atMs = readExpiry(call, expiryIndex, unit);
        if (atMs === undefined) return;
        expiresAtMs = atMs;
      }
      const record = isGet || isNx || isXx ? call.find(keyspace) : 0;
      if (isGet && !replyValue(call, record)) return;
      if ((isNx && record !== 0) || (isXx && record === 0)) {
        if (!isGet) call.reply.nullBulk();
        return;
      }
      keyspace.setString(call.key, call.bytes, call.start(2), call.end(2), expiresAtMs);
      setEffect(call, 2, expiresAtMs);
      if (!isGet) call.reply.ok();
    };

    add(
      "setnx key value",
      3,
      WRITE_FAST,
      oneKey("OW", "INSERT"),
      "1.0.0",
      "O(1)",
      "Sets a key's value if there is no such key.",
      (call) => {
        if (call.find(keyspace) === 0) {
          keyspace.setString(call.key, call.bytes, call.start(2), call.end(2), NO_EXPIRY);
          call.reply.integer(1);
        } else call.reply.integer(0);
      },
    );
    const setWithExpiry = (unit: ExpiryUnit) => (call: Call) => {
      const expiresAtMs = readExpiry(call, 2, unit);
      if (expiresAtMs === undefined) return;
      keyspace.setString(call.key, call.bytes, call.start(3), call.end(3), expiresAtMs);
      setEffect(call, 3, expiresAtMs);
      call.reply.ok();
    };
    add(
      "setex key seconds:integer value",
      4,
      WRITE,
      OVERWRITE,
      "2.0.0",
      "O(1)",
      "Sets a value that expires after some seconds.",
      setWithExpiry(RELATIVE_SECONDS),
    );
    add(
      "psetex key milliseconds:integer value",
      4,
      WRITE,
      OVERWRITE,
      "2.6.0",
      "O(1)",
      "Sets a value that expires after some milliseconds.",
      setWithExpiry(RELATIVE_MS),
    );
    add(
      "getset key value",
      3,
      WRITE_FAST,
      UPDATE_ACCESS,
      "1.0.0",
      "O(1)",
      "Sets a value and answers the one before.",
      (call) => {
        if (!replyValue(call, call.find(keyspace))) return;
        keyspace.setString(call.key, call.bytes, call.start(2), call.end(2), NO_EXPIRY);
      },
      { deprecated: { since: "6.2.0", replacedBy: "`SET` with the `GET` argument" } },
    );
    add(
      "getdel key",
      2,
      ["write", "fast"],
      oneKey("RW", "ACCESS", "DELETE"),
      "6.2.0",
      "O(1)",
      "Answers a value and removes its key.",
      (call) => {
        const record = call.find(keyspace);
        if (!replyValue(call, record) || record === 0) return;
        keyspace.remove(call.key);
      },
    );
    add(
      "getex key [expiration:(EX seconds:integer | PX milliseconds:integer | EXAT unix-time-seconds:unix-time | " +
        "PXAT unix-time-milliseconds:unix-time | PERSIST)]",
      -2,
      ["write", "fast"],
      oneKey("RW", "ACCESS", "UPDATE"),
      "6.2.0",
      "O(1)",
      "Answers a value and sets when its key expires.",
      (call) => {
        let unit: ExpiryUnit | undefined;
        let expiryIndex = 0;
        let isPersist = false;
        for (let index = 2; index < call.count; index += 1) {
          const found = expiryOption(call, index);
          if (call.is(index, "PERSIST") && unit === undefined) isPersist = true;
          else if (found !== undefined && (unit ?? found) === found && !isPersist && index + 1 < call.count) {
            unit = found;
            expiryIndex = index + 1;
            index += 1;
          } else {
            call.reply.error(SYNTAX_ERROR);
            return;
          }
        }
        const record = call.find(keyspace);
        if (record === 0) {
          call.reply.nullBulk();
          return;
        }
        if (isWrongType(call, record)) return;
        let expiresAtMs = NO_EXPIRY;
        if (unit !== undefined) {
          const atMs = readExpiry(call, expiryIndex, unit);
          if (atMs === undefined) return;
          expiresAtMs = atMs;
        }
        replyValue(call, record);
        if (unit !== undefined) {
          if (expiresAtMs <= keyspace.nowMs) {
            keyspace.remove(call.key);
            if (effect.isHeard) call.effectIs("DEL", call.copy(1));
          } else {
            keyspace.setExpiry(call.key, record, expiresAtMs);
            if (effect.isHeard) call.effectIs("PEXPIREAT", call.copy(1), String(expiresAtMs));
          }
        } else if (isPersist && keyspace.expiresAtMs(record) !== NO_EXPIRY) {
          keyspace.setExpiry(call.key, record, NO_EXPIRY);
          if (effect.isHeard) call.effectIs("PERSIST", call.copy(1));
        }
      },
    );
    add(
      "mget key...",
      -2,
      READ_FAST,
      READ_ALL,
      "1.0.0",
      "O(N), N being the keys",
      "Answers the values of several keys.",
      (call) => {
        call.reply.array(call.count - 1);
        for (let index = 1; index < call.count; index += 1) {
          const record = call.findKey(keyspace, call.keyAt(keyspace, index, other));
          if (record === 0 || keyspace.type(record) !== ValueType.string) call.reply.nullBulk();
          else replyValue(call, record);
        }
      },
      { tips: ["request_policy:multi_shard"] },
    );
    const PAIRS = (flags: readonly string[]): readonly KeySpecification[] => [{ first: 1, last: -1, step: 2, flags }];
    const setPairs = (call: Call): void => {
      for (let index = 1; index < call.count; index += 2) {
        keyspace.setString(
          call.keyAt(keyspace, index, other),
          call.bytes,
          call.start(index + 1),
          call.end(index + 1),
          NO_EXPIRY,
        );
      }
    };
    add(
      "mset (key value)...",
      -3,
      WRITE,
      PAIRS(["OW", "UPDATE"]),
      "1.0.1",
      "O(N), N being the keys",
      "Sets the values of several keys.",
      (call) => {
        if (call.count % 2 === 0) call.reply.error("ERR wrong number of arguments for 'mset' command");
        else {
          setPairs(call);
          call.reply.ok();
        }
      },
      { tips: ["request_policy:multi_shard", "response_policy:all_succeeded"] },
    );
    add(
      "msetnx (key value)...",
      -3,
      WRITE,
      PAIRS(["OW", "INSERT"]),
      "1.0.1",
      "O(N), N being the keys",
      "Sets the values of several keys if there is none of them.",
      (call) => {
        if (call.count % 2 === 0) {
          call.reply.error("ERR wrong number of arguments for 'msetnx' command");
          return;
        }
        for (let index = 1; index < call.count; index += 2) {
          if (call.findKey(keyspace, call.keyAt(keyspace, index, other)) !== 0) {
            call.reply.integer(0);
            return;
          }
        }
        setPairs(call);
        call.reply.integer(1);
      },
      { tips: ["request_policy:multi_shard", "response_policy:agg_min"] },
    );

    add("strlen key", 2, READ_FAST, oneKey("RO"), "2.2.0", "O(1)", "Answers how long a value is.", (call) => {
      const record = call.find(keyspace);
      if (!isWrongType(call, record)) call.reply.integer(record === 0 ? 0 : keyspace.valueLength(record));
    });
    add(
      "append key value",
      3,
      WRITE_FAST,
      oneKey("RW", "INSERT"),
      "2.0.0",
      "O(1), amortized",
      "Adds to the end of a value.",
      (call) => {
        const record = call.find(keyspace);
        if (isWrongType(call, record)) return;
        const added = call.length(2);
        if (record === 0) {
          keyspace.setString(call.key, call.bytes, call.start(2), call.end(2), NO_EXPIRY);
          call.reply.integer(added);
          return;
        }
        const length = keyspace.valueLength(record);
        if (length + added > maxValueBytes(context, call.client)) {
          call.reply.error(TOO_LONG);
          return;
        }
        const target = keyspace.resize(call.key, record, length + added, FLAG_EDITED);
        writeValue(keyspace, target, length, call.bytes, call.start(2), call.end(2));
        call.reply.integer(length + added);
      },
    );
    const getRange: CommandSpecification["run"] = (call) => {
      const first = integerArgument(call, 2);
      const last = integerArgument(call, 3);
      if (Number.isNaN(first) || Number.isNaN(last)) {
        call.reply.error(NOT_AN_INTEGER);
        return;
      }
      const record = call.find(keyspace);
      if (isWrongType(call, record)) return;
      const length = record === 0 ? 0 : keyspace.valueLength(record);
      // Both before the string, and in the wrong order: Redis answers nothing before it cuts them to the string.
      const isEmpty = first < 0 && last < 0 && isGreaterArgument(call, 2, 3);
      const from = Math.max(0, first < 0 ? length + first : first);
      const to = Math.min(length - 1, Math.max(0, last < 0 ? length + last : last));
      if (isEmpty || from > to || length === 0) {
        call.reply.bulk(call.bytes, 0, 0);
        return;
      }
      const start = keyspace.valueStart(record);
      call.reply.bulk(keyspace.bytes(record), start + from, start + to + 1);
    };
    add(
      "getrange key start:integer end:integer",
      4,
      ["readonly"],
      READ,
      "2.4.0",
      "O(N), N being the bytes answered",
      "Answers a part of a value.",
      getRange,
    );
    add(
      "substr key start:integer end:integer",
      4,
      ["readonly"],
      READ,
      "1.0.0",
      "O(N), N being the bytes answered",
      "Answers a part of a value (the old name of GETRANGE).",
      getRange,
      { deprecated: { since: "2.0.0", replacedBy: "`GETRANGE`" } },
    );
    add(
      "setrange key offset:integer value",
      4,
      WRITE,
      UPDATE,
      "2.2.0",
      "O(N), N being the bytes written",
      "Writes over a part of a value.",
      (call) => {
        const offset = integerArgument(call, 2);
        if (Number.isNaN(offset)) {
          call.reply.error(NOT_AN_INTEGER);
          return;
        }
        if (offset < 0) {
          call.reply.error("ERR offset is out of range");
          return;
        }
        const written = call.length(3);
        const record = call.find(keyspace);
        if (isWrongType(call, record)) return;
        const length = record === 0 ? 0 : keyspace.valueLength(record);
        if (written === 0) {
          call.reply.integer(length);
          return;
        }
        if (offset + written > maxValueBytes(context, call.client)) {
          call.reply.error(TOO_LONG);
          return;
        }
        const target =
          record === 0
            ? zeroed(keyspace, keyspace.store(call.key, ValueType.string, FLAG_EDITED, offset + written, NO_EXPIRY))
            : keyspace.resize(call.key, record, Math.max(length, offset + written), FLAG_EDITED);
        writeValue(keyspace, target, offset, call.bytes, call.start(3), call.end(3));
        call.reply.integer(Math.max(length, offset + written));
      },
    );

    /** Adds to a counter. @param small What to add, if it is a safe integer. @param large What to add, if it is not. */
    const increment = (call: Call, small: number, large?: bigint): void => {
      const record = call.find(keyspace);
      if (isWrongType(call, record)) return;
      const start = record === 0 ? 0 : keyspace.valueStart(record);
      const length = record === 0 ? 0 : keyspace.valueLength(record);
      const value = record === 0 ? 0 : parseInteger(keyspace.bytes(record), start, start + length);
      const sum = value + small;
      let written: number;
      if (Number.isSafeInteger(sum)) {
        written = writeInteger(digits, 0, sum);
        call.reply.integer(sum);
      } else {
        // Beyond what JavaScript's numbers hold exactly.
        const counter = record === 0 ? 0n : parseInteger64(keyspace.bytes(record), start, start + length);
        if (counter === undefined) {
          call.reply.error(NOT_AN_INTEGER);
          return;
        }
        const largeSum = counter + (large ?? BigInt(small));
        if (!isInteger64(largeSum)) {
          call.reply.error("ERR increment or decrement would overflow");
          return;
        }
        written = writeInteger64(digits, 0, largeSum);
        call.reply.bigInteger(largeSum);
      }
      if (record !== 0 && written === length) {
        const bytes = keyspace.bytes(record);
        for (let index = 0; index < written; index += 1) bytes[start + index] = digits[index] as number;
        keyspace.changed(call.key, record, 0);
      } else keyspace.setString(call.key, digits, 0, written, KEEP_EXPIRY);
    };
    add("incr key", 2, WRITE_FAST, UPDATE_ACCESS, "1.0.0", "O(1)", "Adds one to a number.", (call) =>
      increment(call, 1),
    );
    add("decr key", 2, WRITE_FAST, UPDATE_ACCESS, "1.0.0", "O(1)", "Takes one from a number.", (call) =>
      increment(call, -1),
    );
    const incrementBy = (sign: 1 | -1) => (call: Call) => {
      const small = parseInteger(call.bytes, call.start(2), call.end(2));
      if (Number.isSafeInteger(small)) {
        increment(call, sign * small);
        return;
      }
      const large = parseInteger64(call.bytes, call.start(2), call.end(2));
      if (large === undefined) call.reply.error(NOT_AN_INTEGER);
      else if (sign < 0 && !isInteger64(-large)) call.reply.error("ERR decrement would overflow");
      else increment(call, Number.NaN, sign < 0 ? -large : large);
    };
    add(
      "incrby key increment:integer",
      3,
      WRITE_FAST,
      UPDATE_ACCESS,
      "1.0.0",
      "O(1)",
      "Adds to a number.",
      incrementBy(1),
    );
    add(
      "decrby key decrement:integer",
      3,
      WRITE_FAST,
      UPDATE_ACCESS,
      "1.0.0",
      "O(1)",
      "Takes from a number.",
      incrementBy(-1),
    );
    add(
      "incrbyfloat key increment:double",
      3,
      WRITE_FAST,
      UPDATE_ACCESS,
      "2.6.0",
      "O(1)",
      "Adds to a floating-point number.",
      (call) => {
        const record = call.find(keyspace);
        if (isWrongType(call, record)) return;
        const start = record === 0 ? 0 : keyspace.valueStart(record);
        const value = record === 0 ? NOTHING_YET : keyspace.bytes(record);
        const end = record === 0 ? NOTHING_YET.length : start + keyspace.valueLength(record);
        const sum = addFloats(value, start, end, call.bytes, call.start(2), call.end(2));
        if (sum.error !== undefined) {
          call.reply.error(
            sum.error === "not-a-float"
              ? "ERR value is not a valid float"
              : "ERR increment would produce NaN or Infinity",
          );
          return;
        }
        const bytes = sum.ok;
        const made = keyspace.store(call.key, ValueType.string, FLAG_TEXT, bytes.length, KEEP_EXPIRY);
        writeValue(keyspace, made, 0, bytes, 0, bytes.length);
        if (effect.isHeard) call.effectIs("SET", call.copy(1), bytes, "KEEPTTL");
        call.reply.bulk(bytes, 0, bytes.length);
      },
    );
  },
});

/** What INCRBYFLOAT adds to where there is no key. */
const NOTHING_YET = new Uint8Array([0x30]);

/** What SET does to its key. Like Redis, it takes a GET for the option wherever it stands. */
function setKeyFlags(words: readonly string[]): readonly string[] {
  return words.includes("GET", 3) ? ["RW", "ACCESS", "UPDATE"] : ["OW", "UPDATE"];
}

/** Writes bytes into a record's value. */
function writeValue(
  keyspace: Keyspace,
  record: Handle,
  offset: number,
  source: Uint8Array,
  start: number,
  end: number,
): void {
  keyspace.bytes(record).set(source.subarray(start, end), keyspace.valueStart(record) + offset);
}

/** Fills a value that was just stored with zeros. */
function zeroed(keyspace: Keyspace, record: Handle): Handle {
  const start = keyspace.valueStart(record);
  keyspace.bytes(record).fill(0, start, start + keyspace.valueLength(record));
  return record;
}

function isInteger64(value: bigint): boolean {
  return value <= INTEGER_64_MAX && value >= INTEGER_64_MIN;
}
