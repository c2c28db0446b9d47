/**
 * eviction: keeps memory within `maxmemory`, by Redis' policies.
 *
 * Promises: a command that takes memory runs only while there is some, or is refused in Redis' words; what is evicted is an effect (DEL) like any other.
 * While `maxmemory` is 0, nothing of this is on the path of commands.
 *
 * How: as Redis. No order of all keys is kept; a few are drawn at random, and the best candidates of this and earlier draws are kept in a small pool, of
 * which the best one goes. One command evicts for a bounded time only; what is left is done by a timer.
 */
import { Type } from "@sinclair/typebox";
import { byteSize, parseByteSize } from "../src/config.ts";
import { CommandBits } from "../src/command-table.ts";
import { Verdict } from "../src/contracts/commands.ts";
import { type Handle, type Keyspace, keyspaceService } from "../src/contracts/keyspace.ts";
import { StartError } from "../src/errors.ts";
import { definePlugin } from "../src/plugin.ts";
import type { Timer } from "../src/world.ts";
import { KeyReference } from "../src/store/key-reference.ts";

/** The policies, and what they look at. */
const POLICIES = {
  "volatile-lru": { volatileOnly: true, by: "idle" },
  "volatile-lfu": { volatileOnly: true, by: "frequency" },
  "volatile-random": { volatileOnly: true, by: "random" },
  "volatile-ttl": { volatileOnly: true, by: "expiry" },
  "allkeys-lru": { volatileOnly: false, by: "idle" },
  "allkeys-lfu": { volatileOnly: false, by: "frequency" },
  "allkeys-random": { volatileOnly: false, by: "random" },
  noeviction: { volatileOnly: false, by: "nothing" },
} as const;

type PolicyName = keyof typeof POLICIES;

function isPolicy(name: string): name is PolicyName {
  return Object.hasOwn(POLICIES, name);
}

const settingsSchema = Type.Object({
  maxMemory: byteSize({
    description: "Bytes that keys and values may take; 0: no limit (maxmemory in Redis).",
    default: 0,
  }),
  policy: Type.Union(
    (Object.keys(POLICIES) as PolicyName[]).map((name) => Type.Literal(name)),
    { description: "What goes when memory runs out (maxmemory-policy in Redis).", default: "noeviction" },
  ),
  samples: Type.Integer({
    description:
      "Keys that are drawn for one eviction: more is nearer to the true order, and slower (maxmemory-samples in Redis).",
    default: 5,
    minimum: 1,
    maximum: 64,
  }),
});

/** Candidates that are kept between evictions. Redis' number. */
const POOL_SIZE = 16;
/** Evictions that one command does at most: about 0.1 ms. */
const EVICTIONS_PER_COMMAND = 64;
/** What the timer does at a time, while memory is over the limit. */
const EVICTIONS_PER_TICK = 1000;
const TICK_MS = 10;

const OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'.";

/** A key that may go. The higher its score, the sooner. */
interface Candidate {
  readonly key: Uint8Array;
  readonly score: number;
}

/** How much a record deserves to go. */
function scoreOf(keyspace: Keyspace, record: Handle, by: (typeof POLICIES)[PolicyName]["by"]): number {
  switch (by) {
    case "idle":
      return keyspace.idleSeconds(record);
    case "frequency":
      return 255 - keyspace.frequency(record);
    case "expiry":
      return -keyspace.expiresAtMs(record);
    case "random":
    case "nothing":
      return 0;
  }
  return by satisfies never;
}

export default definePlugin({
  name: "eviction",
  summary: "Keeps memory within a limit, by Redis' policies.",
  requires: { keyspace: keyspaceService },
  settings: settingsSchema,
  setup(context) {
    const { keyspace } = context.requires;
    const { hooks, settings } = context;
    const key = new KeyReference();
    let maxMemory = 0;
    let samples = settings.samples;
    let policyName: PolicyName = "noeviction";
    let pool: Candidate[] = [];
    let evictedCount = 0;
    let unhook: (() => void) | undefined;
    let timer: Timer | undefined;

    const setPolicy = (name: PolicyName): void => {
      policyName = name;
      pool = [];
      keyspace.accessTracking = POLICIES[name].by === "frequency" ? "frequency" : "time";
    };
    const isOver = (): boolean => keyspace.usedBytes > maxMemory;

    /** Puts a drawn record among the candidates, if it is one of the best. Lowest score first. */
    const consider = (record: Handle): void => {
      const score = scoreOf(keyspace, record, POLICIES[policyName].by);
      const worst = pool[0];
      if (pool.length >= POOL_SIZE && worst !== undefined && score <= worst.score) return;
      const start = keyspace.keyStart(record);
      const bytes = keyspace.bytes(record).slice(start, start + keyspace.keyLength(record));
      if (pool.some((candidate) => isSame(candidate.key, bytes))) return;
      const place = pool.findIndex((candidate) => candidate.score > score);
      pool.splice(place < 0 ? pool.length : place, 0, { key: bytes, score });
      if (pool.length > POOL_SIZE) pool.shift();
    };

    const remove = (bytes: Uint8Array): boolean => {
      keyspace.refer(key, bytes, 0, bytes.length);
      if (!keyspace.remove(key)) return false;
      evictedCount += 1;
      if (hooks.effect.isHeard) hooks.effect.notify({ slot: key.slot, parts: [DEL, bytes] });
      return true;
    };

    /** Evicts one key. @returns False if there is none that may go. */
    const evictOne = (): boolean => {
      const policy = POLICIES[policyName];
      if (policy.by === "nothing") return false;
      if ((policy.volatileOnly ? keyspace.volatileCount : keyspace.size) === 0) return false;
      if (policy.by === "random") {
        const record = keyspace.random(policy.volatileOnly);
        const start = keyspace.keyStart(record);
        // Whether it was removed or had expired, it is gone.
        remove(keyspace.bytes(record).slice(start, start + keyspace.keyLength(record)));
        return true;
      }
      for (;;) {
        for (let count = 0; count < samples; count += 1) consider(keyspace.random(policy.volatileOnly));
        for (let best = pool.pop(); best !== undefined; best = pool.pop()) {
          keyspace.refer(key, best.key, 0, best.key.length);
          const record = keyspace.peek(key);
          // Gone meanwhile, or no longer volatile: the next one.
          if (record === 0 || (policy.volatileOnly && keyspace.expiresAtMs(record) === 0)) continue;
          if (remove(best.key)) return true;
        }
        if ((policy.volatileOnly ? keyspace.volatileCount : keyspace.size) === 0) return false;
      }
    };
    /** @returns Whether memory is within the limit, or on its way there: something could be evicted. */
    const makeRoom = (limit: number): boolean => {
      for (let count = 0; count < limit && isOver(); count += 1) if (!evictOne()) return false;
      return true;
    };

    const setMaxMemory = (bytes: number): void => {
      maxMemory = bytes;
      unhook?.();
      unhook = undefined;
      timer?.cancel();
      timer = undefined;
      if (bytes === 0) return;
      timer = context.every(TICK_MS, () => {
        if (isOver()) makeRoom(EVICTIONS_PER_TICK);
      });
      unhook = context.on(hooks.commandBefore, (call) => {
        if (!isOver() || makeRoom(EVICTIONS_PER_COMMAND)) return undefined;
        if ((call.command.bits & CommandBits.denyOom) === 0) return undefined;
        call.reply.error(OUT_OF_MEMORY);
        return Verdict.rejected;
      });
    };
    setPolicy(settings.policy);
    const initial = parseByteSize(settings.maxMemory);
    if (initial === undefined)
      throw new StartError(`Setting "plugins.eviction.maxMemory" is "${settings.maxMemory}", which is too large`);
    context.on(hooks.start, () => setMaxMemory(initial));
    context.on(hooks.info, () => ({
      section: "memory",
      fields: {
        maxmemory: maxMemory,
        maxmemory_human: `${(maxMemory / 1024 ** 2).toFixed(2)}M`,
        maxmemory_policy: policyName,
      },
    }));
    context.on(hooks.info, () => ({ section: "stats", fields: { evicted_keys: evictedCount } }));
    context.on(hooks.statisticsReset, () => {
      evictedCount = 0;
    });
    context.parameter({
      name: "maxmemory",
      get: () => String(maxMemory),
      set: (text) => {
        const bytes = parseByteSize(text);
        if (bytes === undefined) return "argument must be a memory value";
        setMaxMemory(bytes);
        return undefined;
      },
    });
    context.parameter({
      name: "maxmemory-policy",
      get: () => policyName,
      set: (text) => {
        const name = text.toLowerCase();
        if (!isPolicy(name)) return `argument(s) must be one of the following: ${Object.keys(POLICIES).join(", ")}`;
        setPolicy(name);
        return undefined;
      },
    });
    context.parameter({
      name: "maxmemory-samples",
      get: () => String(samples),
      set: (text) => {
        const value = Number(text);
        if (!/^[0-9]+$/.test(text) || value < 1 || value > 64) return "argument must be between 1 and 64 inclusive";
        samples = value;
        return undefined;
      },
    });
  },
});

const DEL = new TextEncoder().encode("DEL");

function isSame(one: Uint8Array, another: Uint8Array): boolean {
  return one.length === another.length && one.every((byte, at) => byte === another[at]);
}
