/**
 * keyspace: the store itself.
 *
 * Provides the keys, values and expiry times that all commands work on, kept outside of the JavaScript heap (how: `src/store/`). Promises: an
 * expired key is never found; memory is given back; no single step stops the node for long.
 *
 * Talks to the rest through the service `keyspace`, and tells the removal of an expired key by the hook `effect`, since it is a change that
 * replicas and journals must make too. Two things run beside the commands, in small steps: the sweep, which finds expired keys that nobody asks
 * for, and maintenance, which moves records together so that memory can be given back.
 */
import { Type } from "@sinclair/typebox";
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { ArgumentList } from "../src/codec/resp-parser.ts";
import { definePlugin } from "../src/plugin.ts";
import { Store } from "../src/store/store.ts";
import type { Timer } from "../src/world.ts";

const settingsSchema = Type.Object({
  sweepPeriodMs: Type.Integer({
    description:
      "How often expired keys that nobody asks for are looked for, in milliseconds. Smaller: memory comes back sooner, for a little more work when nothing expires.",
    default: 25,
    minimum: 1,
  }),
});

/** Keys with an expiry that one step of the sweep looks at: about 0.1 ms when all are in memory that the processor has not at hand. */
const SWEEP_KEYS = 1000;
/** A sweep goes on while more than a tenth of what it saw had expired (as Redis does), but no longer than this: others are waiting. */
const SWEEP_MAX_MS = 2;
/** A store without anything to do is looked at this much less often. Keys are never found expired in any case: only their memory waits. */
const IDLE_PERIODS = 10;
/** Bytes that one step of maintenance moves, with each step of the sweep: about a millisecond, and 40 MiB a second. */
const MAINTENANCE_BYTES = 1024 * 1024;

export default definePlugin({
  name: "keyspace",
  summary: "Holds keys and values in memory, outside of the JavaScript heap.",
  provides: { keyspace: keyspaceService },
  settings: settingsSchema,
  setup(context) {
    const { world, hooks, settings } = context;
    const store = new Store({
      seed: world.random.below(2 ** 31),
      random: (bound) => world.random.below(bound),
    });
    store.nowMs = world.clock.wallMs();
    store.onExpire = (key) => {
      if (!hooks.effect.isHeard) return;
      context.dispatcher.tellEffect(key.slot, ArgumentList.of([DEL, key.bytes.slice(key.start, key.end)]));
    };

    let isSweepOn = true;
    context.parameter({
      name: "active-expire",
      get: () => (isSweepOn ? "yes" : "no"),
      set: (value) => {
        if (value !== "yes" && value !== "no") return "argument must be 'yes' or 'no'";
        isSweepOn = value === "yes";
        return undefined;
      },
    });
    context.on(hooks.start, () => {
      // One timer for both: each time that a process is woken up costs more than an empty step. While there is nothing to do, a slow timer looks whether
      // there is; it starts the fast one, which ends when it finds nothing.
      let steps: Timer | undefined;
      const isIdle = (): boolean =>
        (!isSweepOn || !store.removesExpired || store.volatileCount === 0) && !store.needsMaintenance;
      const step = (): void => {
        if (isIdle()) {
          steps?.cancel();
          steps = undefined;
          return;
        }
        if (isSweepOn && store.removesExpired && store.volatileCount > 0) {
          store.nowMs = world.clock.wallMs();
          const startedAtMs = world.clock.monotonicMs();
          while (
            store.sweepExpired(SWEEP_KEYS) * 10 > SWEEP_KEYS &&
            world.clock.monotonicMs() - startedAtMs < SWEEP_MAX_MS
          );
        }
        if (store.needsMaintenance) store.maintain(MAINTENANCE_BYTES);
      };
      context.every(settings.sweepPeriodMs * IDLE_PERIODS, () => {
        if (!isIdle()) steps ??= context.every(settings.sweepPeriodMs, step);
      });
    });

    context.on(hooks.info, () => ({
      section: "memory",
      fields: {
        used_memory: store.usedBytes,
        used_memory_human: human(store.usedBytes),
        used_memory_rss: world.machine.residentBytes(),
        used_memory_rss_human: human(world.machine.residentBytes()),
        used_memory_dataset: store.usedBytes,
        allocator_allocated: store.usedBytes,
        allocator_active: store.allocatedBytes,
        allocator_frag_ratio: (store.allocatedBytes / Math.max(1, store.usedBytes)).toFixed(2),
        total_system_memory: world.machine.totalMemoryBytes(),
        total_system_memory_human: human(world.machine.totalMemoryBytes()),
      },
    }));
    context.on(hooks.info, () => ({ section: "stats", fields: { expired_keys: store.expiredCount } }));
    context.on(hooks.info, () => ({
      section: "keyspace",
      fields: store.size === 0 ? {} : { db0: `keys=${store.size},expires=${store.volatileCount},avg_ttl=0` },
    }));
    return { keyspace: store };
  },
});

const DEL = new TextEncoder().encode("DEL");

/** Bytes as INFO shows them: 1.50M. */
function human(bytes: number): string {
  const units = ["B", "K", "M", "G", "T"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return unit === 0 ? `${value}B` : `${value.toFixed(2)}${units[unit] ?? ""}`;
}
