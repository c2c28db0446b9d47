/**
 * eviction: keeps memory within `maxmemory`, by Redis' policies.
 *
 * Promises: a command that takes memory runs only while there is some, or is refused in Redis' words; what is evicted is an effect (DEL) like any other.
 * While `maxmemory` is 0, nothing of this is on the path of commands.
 *
 * How: as Redis. No order of all keys is kept; a few are drawn at random, and the best candidates of this and earlier draws are kept in a small pool, of
 * which the best one goes. A command evicts first, for a bounded time only: then it runs, though there may be too much yet, and a timer
 * goes on in small steps until memory is within the limit. A replica evicts nothing: it takes what its primary keeps, and loses what its primary evicts.
 * Slots that come from another shard make room for themselves by the service `memory`; keys that are hidden are never drawn, theirs neither.
 */
import { Type } from "@sinclair/typebox";
import type { Call } from "../src/call.ts";
import { byteSize, parseByteSize } from "../src/config.ts";
import { CommandBits } from "../src/command-table.ts";
import { RUN_WITHIN_MULTI, Verdict } from "../src/contracts/commands.ts";
import { type Handle, type Keyspace, NO_EXPIRY, keyspaceService } from "../src/contracts/keyspace.ts";
import { memoryService } from "../src/contracts/memory.ts";
import { StartError } from "../src/errors.ts";
import { ArgumentList } from "../src/codec/resp-parser.ts";
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

/** More would hardly come nearer to the true order. */
const MAX_SAMPLES = 64;
/** Beyond it the chance of a counter to rise would be less than one in 2^31, which is what can be drawn. */
const MAX_LOG_FACTOR = 8_000_000;
/** Minutes are kept in 16 bits: a counter cannot tell more of them. */
const MAX_DECAY_MINUTES = 65_535;

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
    maximum: MAX_SAMPLES,
  }),
  frequencyLogFactor: Type.Integer({
    description:
      "How fast the counter of a key's uses slows down: at 10 a million uses are told apart, at 1 some thousands, more finely (lfu-log-factor in Redis).",
    default: 10,
    minimum: 0,
    maximum: MAX_LOG_FACTOR,
  }),
  frequencyDecayMinutes: Type.Integer({
    description:
      "Minutes after which the counter of an unused key falls by one; 0: never. Smaller forgets sooner what was popular once (lfu-decay-time in Redis).",
    default: 1,
    minimum: 0,
    maximum: MAX_DECAY_MINUTES,
  }),
});

/** Candidates that are kept between evictions. Redis' number. */
const POOL_SIZE = 16;
/** How long one command evicts. Redis' default (at `maxmemory-eviction-tenacity` 10). An eviction takes 1 to 6 microseconds, by policy. */
const COMMAND_MS = 0.5;
/** A command that has not freed as much as it brings by then goes on for so long: nobody waits more than 2 ms for another. */
const COMMAND_MAX_MS = 2;
/** The timer takes half of the node's time, and no more, while memory is over the limit. */
const STEP_MS = 1;
const STEP_PERIOD_MS = 2;
/** Evictions between two looks at the clock, which cost as much as a hundredth of them. */
const EVICTIONS_PER_LOOK = 16;
/** Ends what the clock does not: in simulation it stands still while code runs. */
const EVICTIONS_PER_RUN = 2048;
const OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'.";

/** What stores whose access counter can be tuned have more than the contract asks for. */
interface TunableCounter {
  /** How fast the counter slows down. */
  frequencyLogFactor: number;
  /** Minutes after which the counter of an unused key falls by one. */
  frequencyDecayMinutes: number;
}

function isTunable(keyspace: object): keyspace is TunableCounter {
  return "frequencyLogFactor" in keyspace && "frequencyDecayMinutes" in keyspace;
}

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
  provides: { memory: memoryService },
  settings: settingsSchema,
  setup(context) {
    const { keyspace } = context.requires;
    const { hooks, settings } = context;
    const { clock } = context.world;
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
    // While a node only hides what has expired, it is a replica: its keys are its primary's to remove.
    const isOver = (): boolean => keyspace.usedBytes > maxMemory && keyspace.removesExpired;
    /** Whether there is a key that may go. */
    const canEvict = (): boolean => {
      const policy = POLICIES[policyName];
      return policy.by !== "nothing" && (policy.volatileOnly ? keyspace.volatileCount : keyspace.size) > 0;
    };

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
      if (hooks.effect.isHeard) context.dispatcher.tellEffect(key.slot, ArgumentList.of([DEL, bytes]));
      return true;
    };

    /** Evicts one key, or finds that it had expired. @returns False if there is none that may go. */
    const evictOne = (): boolean => {
      const policy = POLICIES[policyName];
      while (canEvict()) {
        if (policy.by === "random") {
          const record = keyspace.random(policy.volatileOnly);
          const start = keyspace.keyStart(record);
          remove(keyspace.bytes(record).slice(start, start + keyspace.keyLength(record)));
          return true;
        }
        for (let count = 0; count < samples; count += 1) consider(keyspace.random(policy.volatileOnly));
        for (let best = pool.pop(); best !== undefined; best = pool.pop()) {
          keyspace.refer(key, best.key, 0, best.key.length);
          // It is another shard's by now, or on its way from there: not even looked up, which might remove it.
          if (keyspace.isHidden(key.slot)) continue;
          const changesBefore = keyspace.changes;
          const record = keyspace.peek(key);
          // It had expired: looking it up has removed it. That is room as well, and there may be a million of them.
          if (keyspace.changes !== changesBefore) return true;
          // Gone meanwhile, or no longer volatile: the next one.
          if (record === 0 || (policy.volatileOnly && keyspace.expiresAtMs(record) === NO_EXPIRY)) continue;
          remove(best.key);
          return true;
        }
      }
      return false;
    };
    /**
     * Evicts until memory is within the limit, or time is up.
     *
     * @param bytes What has to be freed before `usualMs` count.
     * @returns False if memory is over the limit, and nothing may go.
     */
    const makeRoom = (bytes: number, usualMs: number, maxMs: number): boolean => {
      const beganAtMs = clock.monotonicMs();
      const goal = keyspace.usedBytes - bytes;
      for (let count = 1; isOver(); count += 1) {
        if (!evictOne()) return false;
        if (count % EVICTIONS_PER_LOOK !== 0) continue;
        const elapsedMs = clock.monotonicMs() - beganAtMs;
        if (elapsedMs >= maxMs || (elapsedMs >= usualMs && keyspace.usedBytes <= goal) || count >= EVICTIONS_PER_RUN)
          break;
      }
      return true;
    };
    /** Lets the timer run until memory is within the limit, or nothing is left that may go. */
    const goOn = (): void => {
      timer ??= context.every(STEP_PERIOD_MS, () => {
        if (makeRoom(0, STEP_MS, STEP_MS) && isOver()) return;
        timer?.cancel();
        timer = undefined;
      });
    };
    /** The handler of `commandBefore`. */
    const beforeCommand = (call: Call): Verdict | undefined => {
      if (!isOver()) return undefined;
      if (canEvict()) {
        // Within EXEC nothing goes any more: what the client watched is as it was when EXEC looked.
        const hasRoom = call.isNested || makeRoom(call.end(call.count - 1) - call.start(0), COMMAND_MS, COMMAND_MAX_MS);
        if (hasRoom) {
          if (isOver()) goOn();
          return undefined;
        }
      }
      // What is queued after MULTI is refused whatever it is, as in Redis: the queue takes memory too.
      const isQueued = call.client.intercept !== undefined && !RUN_WITHIN_MULTI.has(call.command.fullName);
      if (!isQueued && (call.command.bits & CommandBits.denyOom) === 0) return undefined;
      call.reply.error(call.isNested ? `EXECABORT Transaction discarded because of: ${OUT_OF_MEMORY}` : OUT_OF_MEMORY);
      return Verdict.rejected;
    };

    const setMaxMemory = (bytes: number): void => {
      maxMemory = bytes;
      unhook?.();
      unhook = undefined;
      timer?.cancel();
      timer = undefined;
      if (bytes === 0) return;
      unhook = context.on(hooks.commandBefore, beforeCommand);
      if (isOver() && canEvict()) goOn();
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
        maxmemory_human: human(maxMemory),
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
    const integerParameter = (
      name: string,
      minimum: number,
      maximum: number,
      get: () => number,
      set: (value: number) => void,
    ): void => {
      context.parameter({
        name,
        get: () => String(get()),
        set: (text) => {
          if (!/^-?[0-9]+$/.test(text)) return "argument couldn't be parsed into an integer";
          const value = Number(text);
          if (value < minimum || value > maximum) return `argument must be between ${minimum} and ${maximum} inclusive`;
          set(value);
          return undefined;
        },
      });
    };
    integerParameter(
      "maxmemory-samples",
      1,
      MAX_SAMPLES,
      () => samples,
      (value) => {
        samples = value;
      },
    );
    if (isTunable(keyspace)) {
      const counter = keyspace;
      counter.frequencyLogFactor = settings.frequencyLogFactor;
      counter.frequencyDecayMinutes = settings.frequencyDecayMinutes;
      integerParameter(
        "lfu-log-factor",
        0,
        MAX_LOG_FACTOR,
        () => counter.frequencyLogFactor,
        (value) => {
          counter.frequencyLogFactor = value;
        },
      );
      integerParameter(
        "lfu-decay-time",
        0,
        MAX_DECAY_MINUTES,
        () => counter.frequencyDecayMinutes,
        (value) => {
          counter.frequencyDecayMinutes = value;
        },
      );
    }
    return {
      memory: {
        makeRoom(bytes) {
          if (maxMemory === 0 || !isOver()) return undefined;
          if (!canEvict() || !makeRoom(bytes, COMMAND_MS, COMMAND_MAX_MS)) {
            const policy = policyName === "noeviction" ? "" : `, and ${policyName} finds nothing more that may go`;
            return `its memory (maxmemory ${maxMemory}) has run out${policy}`;
          }
          if (isOver()) goOn();
          return undefined;
        },
      },
    };
  },
});

const DEL = new TextEncoder().encode("DEL");

function isSame(one: Uint8Array, another: Uint8Array): boolean {
  return one.length === another.length && one.every((byte, at) => byte === another[at]);
}

/** Bytes as INFO shows them: 100.00M. */
function human(bytes: number): string {
  const units = ["B", "K", "M", "G", "T", "P"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return unit === 0 ? `${value}B` : `${value.toFixed(2)}${units[unit] ?? ""}`;
}
