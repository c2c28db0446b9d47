/**
 * dump: DUMP and RESTORE: a value as bytes that another node, or a Redis server, can take in.
 *
 * The format is Redis' own (`src/codec/dump.ts`). Only strings exist here; a payload of another type is refused with a sentence that says so.
 */
import { ABSOLUTE_MS, RELATIVE_MS, expiryArgument, integerArgument } from "../src/arguments.ts";
import { decode, encodeString } from "../src/codec/dump.ts";
import type { CommandSpecification } from "../src/contracts/commands.ts";
import { NO_EXPIRY, ValueType, keyspaceService } from "../src/contracts/keyspace.ts";
import { definePlugin } from "../src/plugin.ts";
import { NOT_AN_INTEGER, SYNTAX_ERROR } from "../src/replies.ts";
import { maxValueBytes } from "../src/value-limit.ts";

/** A value may be longer than that by a field of BITFIELD: only the field's first bit must lie within. */
const FIELD_BYTES_MAX = 8;

export default definePlugin({
  name: "dump",
  summary: "DUMP and RESTORE, in Redis' own format.",
  requires: { keyspace: keyspaceService },
  setup(context) {
    const { keyspace } = context.requires;
    const { effect } = context.hooks;

    context.command({
      name: "dump",
      syntax: "key",
      arity: 2,
      flags: ["readonly"],
      keys: [{ first: 1, last: 1, step: 1, flags: ["RO", "ACCESS"] }],
      group: "generic",
      categories: ["keyspace"],
      summary: "Tells a value as bytes that RESTORE takes.",
      complexity: "O(N), N being the value's length",
      since: "2.6.0",
      tips: ["nondeterministic_output"],
      run(call) {
        const record = call.find(keyspace);
        if (record === 0) {
          call.reply.nullBulk();
          return;
        }
        if (keyspace.type(record) !== ValueType.string) {
          call.reply.error("ERR only strings can be dumped");
          return;
        }
        const start = keyspace.valueStart(record);
        const payload = encodeString(keyspace.bytes(record), start, start + keyspace.valueLength(record));
        call.reply.bulk(payload, 0, payload.length);
      },
    });

    const restore: Omit<CommandSpecification, "name" | "group"> = {
      syntax:
        "key ttl:integer serialized-value [REPLACE@3.0.0] [ABSTTL@5.0.0] [IDLETIME seconds:integer@5.0.0] [FREQ frequency:integer@5.0.0]",
      arity: -4,
      flags: ["write", "denyoom"],
      keys: [{ first: 1, last: 1, step: 1, flags: ["OW", "UPDATE"] }],
      categories: ["keyspace", "dangerous"],
      summary: "Sets a value from what DUMP told.",
      complexity: "O(N), N being the value's length",
      since: "2.6.0",
      run(call) {
        const { reply } = call;
        let isReplace = false;
        let isAbsolute = false;
        let idleSeconds: number | undefined;
        let frequency: number | undefined;
        for (let index = 4; index < call.count; index += 1) {
          const hasMore = index + 1 < call.count;
          if (call.is(index, "REPLACE")) isReplace = true;
          else if (call.is(index, "ABSTTL")) isAbsolute = true;
          else if (call.is(index, "IDLETIME") && hasMore && frequency === undefined) {
            idleSeconds = integerArgument(call, index + 1);
            if (Number.isNaN(idleSeconds)) {
              reply.error(NOT_AN_INTEGER);
              return;
            }
            if (idleSeconds < 0) {
              reply.error("ERR Invalid IDLETIME value, must be >= 0");
              return;
            }
            index += 1;
          } else if (call.is(index, "FREQ") && hasMore && idleSeconds === undefined) {
            frequency = integerArgument(call, index + 1);
            if (Number.isNaN(frequency)) {
              reply.error(NOT_AN_INTEGER);
              return;
            }
            if (frequency < 0 || frequency > 255) {
              reply.error("ERR Invalid FREQ value, must be >= 0 and <= 255");
              return;
            }
            index += 1;
          } else {
            reply.error(SYNTAX_ERROR);
            return;
          }
        }
        if (!isReplace && keyspace.peek(call.key) !== 0) {
          reply.error("BUSYKEY Target key name already exists.");
          return;
        }
        const ttl = integerArgument(call, 2);
        if (Number.isNaN(ttl)) {
          reply.error(NOT_AN_INTEGER);
          return;
        }
        if (ttl < 0) {
          reply.error("ERR Invalid TTL value, must be >= 0");
          return;
        }
        const maxBytes = maxValueBytes(context, call.client);
        const decoded = decode(call.bytes, call.start(3), call.end(3), maxBytes + FIELD_BYTES_MAX);
        if (decoded.kind !== "string") {
          reply.error(
            decoded.kind === "damaged"
              ? "ERR DUMP payload version or checksum are wrong"
              : decoded.kind === "unsupported"
                ? `ERR Bad data format: the payload holds a value of type ${decoded.type}, and only strings (type 0) can be restored`
                : "ERR Bad data format",
          );
          return;
        }
        const expiresAtMs =
          ttl === 0
            ? NO_EXPIRY
            : (expiryArgument(call, 2, isAbsolute ? ABSOLUTE_MS : RELATIVE_MS, keyspace.nowMs) ??
              Number.MAX_SAFE_INTEGER);
        if (expiresAtMs !== NO_EXPIRY && expiresAtMs <= keyspace.nowMs) {
          // It has expired on its way: what is replaced goes, and nothing comes.
          if (keyspace.remove(call.key) && effect.isHeard) call.effectIs("DEL", call.copy(1));
          reply.ok();
          return;
        }
        const record = keyspace.setString(call.key, decoded.value, 0, decoded.value.length, expiresAtMs);
        if (idleSeconds !== undefined && keyspace.accessTracking === "time")
          keyspace.setIdleSeconds(record, idleSeconds);
        if (frequency !== undefined && keyspace.accessTracking === "frequency")
          keyspace.setFrequency(record, frequency);
        if (effect.isHeard) {
          const expiry = expiresAtMs === NO_EXPIRY ? [] : ["PXAT", String(expiresAtMs)];
          call.effectIs("SET", call.copy(1), decoded.value, ...expiry);
        }
        reply.ok();
      },
    };
    context.command({ ...restore, name: "restore", group: "generic" });
    context.command({
      ...restore,
      name: "restore-asking",
      flags: ["write", "denyoom", "asking"],
      group: "server",
      since: "3.0.0",
      isSystemCommand: true,
      summary: "RESTORE, for keys of a slot that is being imported: what MIGRATE sends.",
    });
  },
});
