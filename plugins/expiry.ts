/**
 * expiry: the commands that say when keys expire: EXPIRE and its kin, TTL and its kin, PERSIST.
 *
 * Promises: a moment that has passed removes the key at once; the effect of all of them is the absolute moment (PEXPIREAT), or DEL, so that it is the
 * same wherever and whenever it is applied.
 */
import {
  ABSOLUTE_MS,
  ABSOLUTE_SECONDS,
  type ExpiryUnit,
  RELATIVE_MS,
  RELATIVE_SECONDS,
  expiryArgument,
} from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import { splitUsage } from "../src/command-syntax.ts";
import type { CommandSpecification, KeySpecification } from "../src/contracts/commands.ts";
import { NO_EXPIRY, keyspaceService } from "../src/contracts/keyspace.ts";
import { definePlugin } from "../src/plugin.ts";
import { NOT_AN_INTEGER } from "../src/replies.ts";

const UPDATE: readonly KeySpecification[] = [{ first: 1, last: 1, step: 1, flags: ["RW", "UPDATE"] }];
const READ: readonly KeySpecification[] = [{ first: 1, last: 1, step: 1, flags: ["RO", "ACCESS"] }];

/** Of EXPIRE and its kin. */
const CONDITION = "[condition:(NX | XX | GT | LT)@7.0.0]";

/** When an expiry is to be set, given the one that the key has. */
interface Conditions {
  readonly isNx: boolean;
  readonly isXx: boolean;
  readonly isGt: boolean;
  readonly isLt: boolean;
}

/** Reads NX, XX, GT, LT. @returns The conditions, or the error. */
function readConditions(call: Call): Conditions | string {
  let isNx = false;
  let isXx = false;
  let isGt = false;
  let isLt = false;
  for (let index = 3; index < call.count; index += 1) {
    if (call.is(index, "NX")) isNx = true;
    else if (call.is(index, "XX")) isXx = true;
    else if (call.is(index, "GT")) isGt = true;
    else if (call.is(index, "LT")) isLt = true;
    else return `ERR Unsupported option ${call.shown(index)}`;
  }
  if (isNx && (isXx || isGt || isLt)) return "ERR NX and XX, GT or LT options at the same time are not compatible";
  if (isGt && isLt) return "ERR GT and LT options at the same time are not compatible";
  return { isNx, isXx, isGt, isLt };
}

const ALWAYS: Conditions = { isNx: false, isXx: false, isGt: false, isLt: false };

/** A key without an expiry counts as one that expires at the end of time. */
function isMet({ isNx, isXx, isGt, isLt }: Conditions, currentMs: number, nextMs: number): boolean {
  const isVolatile = currentMs !== NO_EXPIRY;
  if (isNx && isVolatile) return false;
  if (isXx && !isVolatile) return false;
  if (isGt && (!isVolatile || nextMs <= currentMs)) return false;
  return !(isLt && isVolatile && nextMs >= currentMs);
}

export default definePlugin({
  name: "expiry",
  summary: "Commands on when keys expire: EXPIRE, TTL, PERSIST ...",
  requires: { keyspace: keyspaceService },
  setup(context) {
    const { keyspace } = context.requires;
    const { effect } = context.hooks;

    const expire = (unit: ExpiryUnit) => (call: Call) => {
      const conditions = call.count === 3 ? ALWAYS : readConditions(call);
      if (typeof conditions === "string") {
        call.reply.error(conditions);
        return;
      }
      const atMs = expiryArgument(call, 2, unit, keyspace.nowMs);
      if (atMs === undefined) {
        call.reply.error(`ERR invalid expire time in '${call.command.fullName}' command`);
        return;
      }
      if (Number.isNaN(atMs)) {
        call.reply.error(NOT_AN_INTEGER);
        return;
      }
      // As in Redis, it counts as a use of the key; asking for its expiry does not.
      const record = call.find(keyspace);
      if (record === 0 || !isMet(conditions, keyspace.expiresAtMs(record), atMs)) {
        call.reply.integer(0);
        return;
      }
      if (atMs <= keyspace.nowMs) {
        keyspace.remove(call.key);
        if (effect.isHeard) call.effectIs("DEL", call.copy(1));
      } else {
        keyspace.setExpiry(call.key, record, atMs);
        if (effect.isHeard) call.effectIs("PEXPIREAT", call.copy(1), String(atMs));
      }
      call.reply.integer(1);
    };
    /** Replies something about an expiry; -2 without a key, -1 without an expiry. */
    const tell = (tellExpiry: (expiresAtMs: number) => number) => (call: Call) => {
      const record = keyspace.peek(call.key);
      const expiresAtMs = record === 0 ? NO_EXPIRY : keyspace.expiresAtMs(record);
      call.reply.integer(record === 0 ? -2 : expiresAtMs === NO_EXPIRY ? -1 : tellExpiry(expiresAtMs));
    };
    const roundToSeconds = (ms: number): number => Math.floor((ms + 500) / 1000);

    const add = (
      usage: string,
      arity: number,
      since: string,
      summary: string,
      run: CommandSpecification["run"],
      isWrite: boolean,
      tips?: readonly string[],
    ): void => {
      context.command({
        ...splitUsage(usage),
        arity,
        flags: isWrite ? ["write", "fast"] : ["readonly", "fast"],
        keys: isWrite ? UPDATE : READ,
        group: "generic",
        categories: ["keyspace"],
        summary,
        complexity: "O(1)",
        since,
        run,
        ...(tips === undefined ? {} : { tips }),
      });
    };
    const undetermined = ["nondeterministic_output"];
    add(
      `expire key seconds:integer ${CONDITION}`,
      -3,
      "1.0.0",
      "Sets after how many seconds a key expires.",
      expire(RELATIVE_SECONDS),
      true,
    );
    add(
      `pexpire key milliseconds:integer ${CONDITION}`,
      -3,
      "2.6.0",
      "Sets after how many milliseconds a key expires.",
      expire(RELATIVE_MS),
      true,
    );
    add(
      `expireat key unix-time-seconds:unix-time ${CONDITION}`,
      -3,
      "1.2.0",
      "Sets when a key expires, in seconds since 1970.",
      expire(ABSOLUTE_SECONDS),
      true,
    );
    add(
      `pexpireat key unix-time-milliseconds:unix-time ${CONDITION}`,
      -3,
      "2.6.0",
      "Sets when a key expires, in milliseconds since 1970.",
      expire(ABSOLUTE_MS),
      true,
    );
    add(
      "ttl key",
      2,
      "1.0.0",
      "Tells after how many seconds a key expires.",
      tell((atMs) => roundToSeconds(atMs - keyspace.nowMs)),
      false,
      undetermined,
    );
    add(
      "pttl key",
      2,
      "2.6.0",
      "Tells after how many milliseconds a key expires.",
      tell((atMs) => atMs - keyspace.nowMs),
      false,
      undetermined,
    );
    add("expiretime key", 2, "7.0.0", "Tells when a key expires, in seconds since 1970.", tell(roundToSeconds), false);
    add(
      "pexpiretime key",
      2,
      "7.0.0",
      "Tells when a key expires, in milliseconds since 1970.",
      tell((atMs) => atMs),
      false,
    );
    add(
      "persist key",
      2,
      "2.2.0",
      "Lets a key live without an end.",
      (call) => {
        const record = call.find(keyspace);
        if (record === 0 || keyspace.expiresAtMs(record) === NO_EXPIRY) {
          call.reply.integer(0);
          return;
        }
        keyspace.setExpiry(call.key, record, NO_EXPIRY);
        call.reply.integer(1);
      },
      true,
    );
  },
});
