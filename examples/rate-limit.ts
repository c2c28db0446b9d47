/**
 * rate-limit: an example of a plugin of one's own, in one file: a command, a setting, a service, a hook listener, an effect.
 *
 * `RATELIMIT key limit window-ms` counts a call against a key, and answers whether it is within the limit: `[allowed, remaining, reset in ms]`. The
 * count is a string key like any other, which expires with its window: so it moves, fails over and is evicted with the rest.
 *
 *     bun run node --plugin ./examples/rate-limit.ts
 *     redis-cli ratelimit user:1 100 60000
 */
import { Type } from "@sinclair/typebox";
import { integerArgument } from "../src/arguments.ts";
import { parseInteger, writeInteger } from "../src/codec/number.ts";
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { definePlugin } from "../src/plugin.ts";
import { NOT_AN_INTEGER } from "../src/replies.ts";

export default definePlugin({
  name: "rate-limit",
  summary: "RATELIMIT: counts calls against a key, within a window of time.",
  requires: { keyspace: keyspaceService },
  settings: Type.Object({
    maxWindowMs: Type.Integer({ description: "The longest window, in milliseconds.", default: 86_400_000, minimum: 1 }),
  }),
  setup(context) {
    const { keyspace } = context.requires;
    const { maxWindowMs } = context.settings;
    const digits = new Uint8Array(20);
    let refusedCount = 0;

    context.command({
      name: "ratelimit",
      syntax: "key limit:integer window-ms:integer",
      arity: 4,
      flags: ["write", "denyoom", "fast"],
      keys: [{ first: 1, last: 1, step: 1, flags: ["RW", "ACCESS", "UPDATE"] }],
      group: "module",
      categories: ["string"],
      summary: "Counts a call against a key, and tells whether it is within the limit.",
      complexity: "O(1)",
      since: "bunch 0.1.0",
      run(call) {
        const limit = integerArgument(call, 2);
        const windowMs = integerArgument(call, 3);
        if (Number.isNaN(limit) || Number.isNaN(windowMs)) {
          call.reply.error(NOT_AN_INTEGER);
          return;
        }
        if (limit < 1 || windowMs < 1 || windowMs > maxWindowMs) {
          call.reply.error(`ERR limit must be at least 1, and window-ms from 1 to ${maxWindowMs}`);
          return;
        }
        const record = call.find(keyspace);
        const start = record === 0 ? 0 : keyspace.valueStart(record);
        const used =
          record === 0 ? 0 : parseInteger(keyspace.bytes(record), start, start + keyspace.valueLength(record));
        if (!Number.isSafeInteger(used)) {
          call.reply.error("ERR the key does not hold a count");
          return;
        }
        const expiresAtMs = record === 0 ? keyspace.nowMs + windowMs : keyspace.expiresAtMs(record);
        const isAllowed = used < limit;
        if (isAllowed) {
          const end = writeInteger(digits, 0, used + 1);
          keyspace.setString(call.key, digits, 0, end, expiresAtMs);
          // The window ends at a moment, and not so long after whoever applies this has applied it.
          if (context.hooks.effect.isHeard)
            call.effectIs("SET", call.copy(1), String(used + 1), "PXAT", String(expiresAtMs));
        } else {
          refusedCount += 1;
        }
        call.reply.array(3);
        call.reply.integer(isAllowed ? 1 : 0);
        call.reply.integer(Math.max(0, limit - used - (isAllowed ? 1 : 0)));
        call.reply.integer(Math.max(0, expiresAtMs - keyspace.nowMs));
      },
    });

    context.on(context.hooks.info, () => ({ section: "ratelimit", fields: { ratelimit_refused: refusedCount } }));
  },
});
