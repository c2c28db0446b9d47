/**
 * keys: commands that work on keys whatever their values are: DEL, EXISTS, SCAN, RENAME, COPY, OBJECT, FLUSHALL ...
 *
 * Promises: SCAN returns every key that is there from its start to its end; no command shows an expired key. KEYS and FLUSHALL stop everybody else
 * while they run, as in Redis; SCAN and UNLINK are there for those who mind.
 */
import { integer32Error, integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import { commandAdder, oneKey } from "../src/command-adder.ts";
import { globMatch } from "../src/codec/glob.ts";
import { parseInteger64 } from "../src/codec/number.ts";
import { SLOT_COUNT } from "../src/codec/slot.ts";
import type { CommandSpecification, KeySpecification } from "../src/contracts/commands.ts";
import {
  FLAG_EDITED,
  type Handle,
  type Keyspace,
  NO_EXPIRY,
  ValueType,
  keyspaceService,
} from "../src/contracts/keyspace.ts";
import type { SlotRange } from "../src/contracts/topology.ts";
import { definePlugin } from "../src/plugin.ts";
import { canonicalRanges } from "../src/protocol/slot-ranges.ts";
import { flushOperation } from "../src/replication/log-operations.ts";
import { NOT_AN_INTEGER, NO_SUCH_KEY, SYNTAX_ERROR } from "../src/replies.ts";
import { KeyReference } from "../src/store/key-reference.ts";
import { copyBytes } from "../src/codec/copy-bytes.ts";
import { helpSubcommand, wantsSubcommand } from "../src/subcommand-help.ts";

/** A cursor is slot * 2^30 + position in the slot: see `Keyspace.scanSlot`. */
const POSITIONS = 2 ** 30;
/** The largest cursor that Redis takes, and bytes that one is read up to. */
const UNSIGNED_64_MAX = 2n ** 64n - 1n;
const CURSOR_BYTES = 64;
/** How often RANDOMKEY draws before it gives up on finding a key that has not expired: about a millisecond. */
const RANDOM_TRIES = 1000;
/** Redis reads the number of a database as one of 32 bits. */
/** Up to this length a value that was set whole lies in one block with its header, in Redis: it is called `embstr`. */
const EMBSTR_BYTES = 44;
/** Numbers below are shared by all keys that have them, in Redis; and what it says their references count. */
const SHARED_INTEGERS = 10_000;
const SHARED_REFERENCES = 2 ** 31 - 1;
/** Of FLUSHALL and FLUSHDB. */
const FLUSH_MODE = "[async:(ASYNC@4.0.0 | SYNC@6.2.0)]";
/** Digits of a number that Redis would keep as one. */
const INTEGER_DIGITS = 20;

const TYPE_NAMES: Readonly<Record<ValueType, string>> = {
  [ValueType.string]: "string",
  [ValueType.list]: "list",
  [ValueType.set]: "set",
  [ValueType.sortedSet]: "zset",
  [ValueType.hash]: "hash",
};

const ALL = (...flags: readonly string[]): readonly KeySpecification[] => [{ first: 1, last: -1, step: 1, flags }];
const FROM_TO = (from: readonly string[], to: readonly string[]): readonly KeySpecification[] => [
  { first: 1, last: 1, step: 1, flags: from },
  { first: 2, last: 2, step: 1, flags: to },
];

/**
 * Copies a record to another key.
 *
 * @param target The other key. What it held is gone.
 */
function copyRecord(keyspace: Keyspace, source: Handle, target: KeyReference, expiresAtMs: number): void {
  const length = keyspace.valueLength(source);
  const copy = keyspace.store(target, keyspace.type(source), keyspace.flags(source), length, expiresAtMs);
  const start = keyspace.valueStart(source);
  copyBytes(keyspace.bytes(source), start, start + length, keyspace.bytes(copy), keyspace.valueStart(copy));
}

/** What Redis would call the form that a string is kept in. */
export function encodingOf(keyspace: Keyspace, record: Handle): string {
  const length = keyspace.valueLength(record);
  if ((keyspace.flags(record) & FLAG_EDITED) !== 0) return "raw";
  if (integerOf(keyspace, record) !== undefined) return "int";
  return length <= EMBSTR_BYTES ? "embstr" : "raw";
}

/** The number that Redis would keep a value as, if it would. */
function integerOf(keyspace: Keyspace, record: Handle): bigint | number | undefined {
  const length = keyspace.valueLength(record);
  if (keyspace.flags(record) !== 0 || length > INTEGER_DIGITS) return undefined;
  const start = keyspace.valueStart(record);
  return parseInteger64(keyspace.bytes(record), start, start + length);
}

export default definePlugin({
  name: "keys",
  summary: "Commands on keys of any type: DEL, EXISTS, SCAN, RENAME ...",
  requires: { keyspace: keyspaceService },
  setup(context) {
    const { keyspace } = context.requires;
    const other = new KeyReference();

    const isExpired = (record: Handle): boolean => {
      const expiresAtMs = keyspace.expiresAtMs(record);
      return expiresAtMs !== NO_EXPIRY && expiresAtMs <= keyspace.nowMs;
    };
    const replyKey = (call: Call, record: Handle): void => {
      const start = keyspace.keyStart(record);
      call.reply.bulk(keyspace.bytes(record), start, start + keyspace.keyLength(record));
    };

    const add = commandAdder(context, { group: "generic", categories: ["keyspace"] });
    const sum = { tips: ["request_policy:multi_shard", "response_policy:agg_sum"] };

    const removeAll = (call: Call): void => {
      let removed = 0;
      for (let index = 1; index < call.count; index += 1) {
        if (keyspace.remove(call.keyAt(keyspace, index, other))) removed += 1;
      }
      call.reply.integer(removed);
    };
    add(
      "del key...",
      -2,
      ["write"],
      ALL("RM", "DELETE"),
      "1.0.0",
      "O(N), N being the keys",
      "Removes keys.",
      removeAll,
      sum,
    );
    add(
      "unlink key...",
      -2,
      ["write", "fast"],
      ALL("RM", "DELETE"),
      "4.0.0",
      "O(N), N being the keys",
      "Removes keys.",
      removeAll,
      sum,
    );
    const countThere = (isTouch: boolean) => (call: Call) => {
      let there = 0;
      for (let index = 1; index < call.count; index += 1) {
        const key = call.keyAt(keyspace, index, other);
        if ((isTouch ? call.findKey(keyspace, key) : keyspace.peek(key)) !== 0) there += 1;
      }
      call.reply.integer(there);
    };
    add(
      "exists key...",
      -2,
      ["readonly", "fast"],
      ALL("RO"),
      "1.0.0",
      "O(N), N being the keys",
      "Counts which of some keys there are.",
      countThere(false),
      sum,
    );
    add(
      "touch key...",
      -2,
      ["readonly", "fast"],
      ALL("RO"),
      "3.2.1",
      "O(N), N being the keys",
      "Notes an access to keys.",
      countThere(true),
      sum,
    );
    add(
      "type key",
      2,
      ["readonly", "fast"],
      oneKey("RO"),
      "1.0.0",
      "O(1)",
      "Tells the type of a key's value.",
      (call) => {
        const record = keyspace.peek(call.key);
        call.reply.simple(record === 0 ? "none" : TYPE_NAMES[keyspace.type(record)]);
      },
    );

    add(
      "keys pattern",
      2,
      ["readonly"],
      [],
      "1.0.0",
      "O(N), N being all keys of the node",
      "Lists all keys that match a pattern.",
      (call) => {
        const { bytes, reply } = call;
        const start = call.start(1);
        const end = call.end(1);
        const array = reply.beginArray();
        let count = 0;
        const visit = (record: Handle): void => {
          const keyStart = keyspace.keyStart(record);
          const keyEnd = keyStart + keyspace.keyLength(record);
          if (isExpired(record) || !globMatch(bytes, start, end, keyspace.bytes(record), keyStart, keyEnd)) return;
          replyKey(call, record);
          count += 1;
        };
        for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
          if (keyspace.slotSize(slot) > 0 && !keyspace.isHidden(slot)) {
            keyspace.scanSlot(slot, 0, Number.MAX_SAFE_INTEGER, visit);
          }
        }
        reply.endArray(array, count);
      },
      { categories: ["keyspace", "dangerous"], tips: ["request_policy:all_shards", "nondeterministic_output_order"] },
    );
    add(
      "scan cursor:integer [MATCH pattern] [COUNT count:integer] [TYPE type@6.0.0]",
      -2,
      ["readonly"],
      [],
      "2.8.0",
      "O(1) for a call, O(N) for all keys",
      "Lists keys, some at a time.",
      (call) => scan(call, keyspace, isExpired, replyKey),
      { tips: ["nondeterministic_output", "request_policy:special"] },
    );
    add(
      "randomkey",
      1,
      ["readonly"],
      [],
      "1.0.0",
      "O(1)",
      "Tells one key, at random.",
      (call) => {
        for (let tries = 0; tries < RANDOM_TRIES; tries += 1) {
          const record = keyspace.random(false);
          if (record === 0) break;
          if (!isExpired(record)) {
            replyKey(call, record);
            return;
          }
          // Looking it up removes it (but on a replica), so that what is left has more of those that live.
          keyspace.referRecord(other, record);
          keyspace.peek(other);
        }
        call.reply.nullBulk();
      },
      { tips: ["request_policy:all_shards", "nondeterministic_output"] },
    );

    const rename = (isNx: boolean) => (call: Call) => {
      const source = call.find(keyspace);
      if (source === 0) {
        call.reply.error(NO_SUCH_KEY);
        return;
      }
      const target = call.keyAt(keyspace, 2, other);
      const found = call.findKey(keyspace, target);
      if (isNx && found !== 0) {
        call.reply.integer(0);
        return;
      }
      if (found !== source) {
        copyRecord(keyspace, source, target, keyspace.expiresAtMs(source));
        keyspace.remove(call.key);
      }
      if (isNx) call.reply.integer(1);
      else call.reply.ok();
    };
    const renameKeys = FROM_TO(["RW", "ACCESS", "DELETE"], ["OW", "UPDATE"]);
    add(
      "rename key newkey:key",
      3,
      ["write"],
      renameKeys,
      "1.0.0",
      "O(1)",
      "Gives a value another key.",
      rename(false),
    );
    add(
      "renamenx key newkey:key",
      3,
      ["write", "fast"],
      FROM_TO(["RW", "ACCESS", "DELETE"], ["OW", "INSERT"]),
      "1.0.0",
      "O(1)",
      "Gives a value another key if there is none of that name.",
      rename(true),
    );
    add(
      "copy source:key destination:key [DB destination-db:integer] [REPLACE]",
      -3,
      ["write", "denyoom"],
      FROM_TO(["RO", "ACCESS"], ["OW", "UPDATE"]),
      "6.2.0",
      "O(N), N being the value's length",
      "Copies a value to another key.",
      (call) => {
        let isReplace = false;
        for (let index = 3; index < call.count; index += 1) {
          if (call.is(index, "REPLACE")) isReplace = true;
          else if (call.is(index, "DB") && index + 1 < call.count) {
            const database = integerArgument(call, index + 1);
            const error = integer32Error(database);
            if (error !== undefined) {
              call.reply.error(error);
              return;
            }
            if (database !== 0) {
              call.reply.error("ERR DB index is out of range");
              return;
            }
            index += 1;
          } else {
            call.reply.error(SYNTAX_ERROR);
            return;
          }
        }
        const target = call.keyAt(keyspace, 2, other);
        const source = call.find(keyspace);
        if (isSameKey(call.key, target)) {
          call.reply.error("ERR source and destination objects are the same");
          return;
        }
        if (source === 0 || (!isReplace && keyspace.peek(target) !== 0)) {
          call.reply.integer(0);
          return;
        }
        copyRecord(keyspace, source, target, keyspace.expiresAtMs(source));
        call.reply.integer(1);
      },
    );

    add(
      "dbsize",
      1,
      ["readonly", "fast"],
      [],
      "1.0.0",
      "O(1)",
      "Counts the keys of the node.",
      (call) => call.reply.integer(keyspace.size),
      {
        group: "server",
        tips: ["request_policy:all_shards", "response_policy:agg_sum"],
      },
    );
    const flush = (call: Call): void => {
      if (call.count > 2 || (call.count === 2 && !call.is(1, "ASYNC") && !call.is(1, "SYNC"))) {
        call.reply.error(SYNTAX_ERROR);
        return;
      }
      // What a primary hides is not the node's to remove: another shard's primary sends it, or has got it. A replica does as its primary said, whatever it hides
      // itself at this moment.
      if (keyspace.hiddenCount === 0 || !keyspace.removesExpired) keyspace.clear();
      else call.effectIs(...flushShown(keyspace));
      call.reply.ok();
    };
    for (const name of ["flushdb", "flushall"]) {
      add(`${name} ${FLUSH_MODE}`, -1, ["write"], [], "1.0.0", "O(1)", "Removes all keys of the node.", flush, {
        group: "server",
        categories: ["keyspace", "dangerous"],
        tips: ["request_policy:all_shards", "response_policy:all_succeeded"],
      });
    }

    const objectCommand = (
      name: string,
      since: string,
      summary: string,
      reply: (call: Call, record: Handle) => void,
    ): CommandSpecification => ({
      name,
      syntax: "key",
      arity: 3,
      flags: ["readonly"],
      keys: [{ first: 2, last: 2, step: 1, flags: ["RO"] }],
      categories: ["keyspace"],
      group: "generic",
      summary,
      complexity: "O(1)",
      since,
      tips: ["nondeterministic_output"],
      run(call) {
        const record = keyspace.peek(call.key);
        if (record === 0) call.reply.nullBulk();
        else reply(call, record);
      },
    });
    const parameter = (name: string): string => context.parameters.get(name)?.get() ?? "";
    const isAccessKept = (): boolean =>
      /lru$|lfu$/.test(parameter("maxmemory-policy")) && parameter("maxmemory") !== "0";
    const isByFrequency = (): boolean => keyspace.accessTracking === "frequency";
    const switching =
      "Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";
    const object = [
      objectCommand("encoding", "2.2.3", "Tells the form that a value is kept in.", (call, record) =>
        call.reply.bulkText(encodingOf(keyspace, record)),
      ),
      objectCommand("refcount", "2.2.3", "Tells how many references a value has in Redis.", (call, record) => {
        const number = integerOf(keyspace, record);
        // There small numbers are shared, unless each has to remember when it was used.
        const isShared = number !== undefined && number >= 0 && number < SHARED_INTEGERS && !isAccessKept();
        call.reply.integer(isShared ? SHARED_REFERENCES : 1);
      }),
      objectCommand("idletime", "2.2.3", "Tells how many seconds ago a key was used.", (call, record) => {
        if (isByFrequency())
          call.reply.error(`ERR An LFU maxmemory policy is selected, idle time not tracked. ${switching}`);
        else call.reply.integer(keyspace.idleSeconds(record));
      }),
      objectCommand("freq", "4.0.0", "Tells how often a key is used, on a scale to 255.", (call, record) => {
        if (isByFrequency()) call.reply.integer(keyspace.frequency(record));
        else
          call.reply.error(`ERR An LFU maxmemory policy is not selected, access frequency not tracked. ${switching}`);
      }),
    ];
    add(
      "object",
      -2,
      [],
      [],
      "2.2.3",
      "Depends on the subcommand.",
      "Commands about how values are kept.",
      wantsSubcommand,
      {
        categories: [],
        subcommands: [...object, helpSubcommand("OBJECT", "generic", "6.2.0", object)],
      },
    );
  },
});

function isSameKey(one: KeyReference, another: KeyReference): boolean {
  return (
    one === another || (one.slot === another.slot && one.hash === another.hash && one.toString() === another.toString())
  );
}

/**
 * Reads a cursor as laxly as C reads an unsigned number of 64 bits, which is what Redis does.
 *
 * @returns The cursor, or `undefined` if the argument is none. One that no SCAN has given begins anew: 0.
 */
function cursorArgument(call: Call, index: number): number | undefined {
  if (call.length(index) === 0) return 0;
  // Longer ones are zeros and little else: not worth reading.
  if (call.length(index) > CURSOR_BYTES) return undefined;
  const match = /^([+-]?)0*([0-9]{1,20})$/.exec(call.text(index));
  if (match === null) return undefined;
  const number = BigInt(match[2] ?? "0");
  if (number > UNSIGNED_64_MAX) return undefined;
  return match[1] === "-" || number >= BigInt(SLOT_COUNT * POSITIONS) ? 0 : Number(number);
}

/** SCAN cursor [MATCH pattern] [COUNT count] [TYPE type] */
function scan(
  call: Call,
  keyspace: Keyspace,
  isExpired: (record: Handle) => boolean,
  replyKey: (call: Call, record: Handle) => void,
): void {
  const { reply, bytes } = call;
  const cursor = cursorArgument(call, 1);
  if (cursor === undefined) {
    reply.error("ERR invalid cursor");
    return;
  }
  let pattern = 0;
  let count = 10;
  let type: string | undefined;
  for (let index = 2; index < call.count; index += 2) {
    if (index + 1 >= call.count) {
      reply.error(SYNTAX_ERROR);
      return;
    }
    if (call.is(index, "MATCH")) pattern = index + 1;
    else if (call.is(index, "TYPE")) type = call.text(index + 1).toLowerCase();
    else if (call.is(index, "COUNT")) {
      count = integerArgument(call, index + 1);
      if (Number.isNaN(count)) {
        reply.error(NOT_AN_INTEGER);
        return;
      }
      if (count < 1) {
        reply.error(SYNTAX_ERROR);
        return;
      }
    } else {
      reply.error(SYNTAX_ERROR);
      return;
    }
  }
  let slot = Math.floor(cursor / POSITIONS);
  let position = cursor % POSITIONS;
  // The cursor is only known at the end, and written first: what is found is gathered here, no more than was asked for (and a few).
  const found: Handle[] = [];
  const expired: Handle[] = [];
  // The loop's own count is in an object: it grows in a callback, where no reader (nor linter) would look for it.
  const progress = { visited: 0 };
  const visit = (record: Handle): void => {
    progress.visited += 1;
    if (pattern !== 0) {
      const start = keyspace.keyStart(record);
      const end = start + keyspace.keyLength(record);
      if (!globMatch(bytes, call.start(pattern), call.end(pattern), keyspace.bytes(record), start, end)) return;
    }
    if (isExpired(record)) expired.push(record);
    else if (type === undefined || TYPE_NAMES[keyspace.type(record)] === type) found.push(record);
  };
  // Empty slots are not counted: a look at the counter of each of the 16384 is all that they can cost, some microseconds.
  while (slot < SLOT_COUNT && progress.visited < count) {
    const isPassed = keyspace.slotSize(slot) === 0 || keyspace.isHidden(slot);
    position = isPassed ? 0 : keyspace.scanSlot(slot, position, count - progress.visited, visit);
    if (position === 0) slot += 1;
  }
  reply.array(2);
  reply.bulkText(slot >= SLOT_COUNT ? "0" : String(slot * POSITIONS + position));
  reply.array(found.length);
  for (const record of found) replyKey(call, record);
  // Looking them up removes them (but on a replica), as in Redis.
  const key = new KeyReference();
  for (const record of expired) {
    keyspace.referRecord(key, record);
    keyspace.peek(key);
  }
}

/** Removes all keys of slots that are shown. @returns The effect. */
function flushShown(keyspace: Keyspace): readonly Uint8Array[] {
  const shown: SlotRange[] = [];
  for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
    if (keyspace.isHidden(slot)) continue;
    keyspace.dropSlot(slot, Number.POSITIVE_INFINITY);
    shown.push({ first: slot, last: slot });
  }
  return flushOperation(canonicalRanges(shown));
}
