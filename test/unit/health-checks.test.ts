/** Each check at its thresholds: what it is there, what it says, what it advises. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { present } from "../../src/assert.ts";
import type { HealthCheckName, HealthState } from "../../src/contracts/health.ts";
import { CHECKS, CHECK_NAMES, wordsOf, wordsOfBetter } from "../../src/protocol/health/catalog.ts";
import { evaluate } from "../../src/protocol/health/evaluate.ts";
import type {
  Finding,
  HealthFacts,
  HealthThresholds,
  SlotFacts,
  UnservedShard,
} from "../../src/protocol/health/types.ts";

const THRESHOLDS: HealthThresholds = {
  lagWarnMs: 5000,
  lagCriticalMs: 60_000,
  clockWarnMs: 500,
  clockCriticalMs: 5000,
  loopLagWarnMs: 200,
  loopLagCriticalMs: 1000,
  memoryWarnPercent: 80,
  memoryCriticalPercent: 95,
  diskWarnBytes: 1000,
  diskCriticalBytes: 100,
  mapBehindWarnMs: 3000,
  mapBehindCriticalMs: 30_000,
  stuckWarnMs: 60_000,
  stuckCriticalMs: 600_000,
  skewWarnFactor: 2,
};

interface Case {
  readonly what: string;
  readonly facts: HealthFacts;
  readonly state: HealthState;
  readonly summary: string;
  readonly values?: Readonly<Record<string, number | string>>;
}

const MB = 1024 * 1024;
const voters = (...answers: readonly (boolean | undefined)[]): NonNullable<HealthFacts["quorum"]>["voters"] =>
  answers.map((isAnswering, at) => ({ name: "abcde"[at] ?? "?", isAnswering }));
const replica = (name: string, isInSync = true, isThere = true) => ({ name, isInSync, isThere });
const shard = (name: string, replicas: readonly ReturnType<typeof replica>[], inSyncCount = 1 + replicas.length) => ({
  name,
  replicas,
  inSyncCount,
});
const follower = (behindMs: number, state: "absent" | "filling" | "following" = "following") => ({
  name: "b",
  state,
  entries: 7,
  behindMs,
});
const clockOf = (aheadMs: number, errorMs = 5) => ({ nodes: [{ name: "b", aheadMs, errorMs }] });
const task = (more: Partial<NonNullable<HealthFacts["migrations"]>["tasks"][number]> = {}) => ({
  id: "t1",
  what: "0-9 to b",
  isPaused: false,
  isFenced: false,
  waitingFor: undefined,
  stillMs: 0,
  ...more,
});
const loaded = (name: string, busy: number, bytes = 0, hottestPart = 0.1) => ({
  name,
  busy,
  bytes,
  hottestSlot: 42,
  hottestPart,
});
const memory = (more: Partial<NonNullable<HealthFacts["memory"]>> = {}) => ({
  usedBytes: 10,
  limitBytes: 100,
  isEvicting: false,
  residentBytes: 10,
  machineBytes: 1000,
  ...more,
});

const HELPER = { name: "b", host: "10.0.0.2", port: 7002 };

function slotFacts(more: Partial<SlotFacts>): SlotFacts {
  return { free: [], unserved: [], released: [], canChange: true, helper: undefined, ...more };
}

/** The shard of `a`, which is gone, and had no replica. */
function unserved(more: Partial<UnservedShard>): UnservedShard {
  return {
    id: "1".repeat(40),
    slots: [],
    reason: "primary a is down: no answer",
    primary: { id: "a".repeat(40), name: "a" },
    trouble: "gone",
    others: [],
    ...more,
  };
}

function other(name: string, more: Partial<UnservedShard["others"][number]> = {}): UnservedShard["others"][number] {
  return { id: name.repeat(40), name, isHolder: false, isThere: true, ...more };
}

const CASES: Readonly<Record<HealthCheckName, readonly Case[]>> = {
  node: [
    {
      what: "serves",
      facts: { node: { waitingFor: undefined, leaseProblem: undefined } },
      state: "ok",
      summary: "It takes part.",
    },
    {
      what: "waits for something",
      facts: { node: { waitingFor: "a leader", leaseProblem: undefined } },
      state: "critical",
      summary: "This node waits for a leader.",
      values: { "waiting-for": "a leader" },
    },
    {
      what: "has no lease",
      facts: { node: { waitingFor: undefined, leaseProblem: "This primary has no lease." } },
      state: "critical",
      summary: "This primary has no lease.",
    },
  ],
  quorum: [
    {
      what: "all of three answer",
      facts: { quorum: { leader: "a", voters: voters(true, true, true), nodeCount: 6 } },
      state: "ok",
      summary: "a leads, 3 of 3 voters answer: 2 more failures of voters would stop it.",
      values: { leader: "a", voters: 3, answering: 3, majority: 2, "failures-to-loss": 2 },
    },
    {
      what: "one of three does not answer",
      facts: { quorum: { leader: "a", voters: voters(true, true, false), nodeCount: 6 } },
      state: "warn",
      summary: "a leads, 2 of 3 voters answer; c does not answer: 1 more failure of voters would stop it.",
      values: { leader: "a", voters: 3, answering: 2, majority: 2, "failures-to-loss": 1 },
    },
    {
      what: "one of five does not answer",
      facts: { quorum: { leader: "a", voters: voters(true, true, true, true, false), nodeCount: 6 } },
      state: "ok",
      summary: "a leads, 4 of 5 voters answer; e does not answer: 2 more failures of voters would stop it.",
    },
    {
      what: "two of five do not answer",
      facts: { quorum: { leader: "a", voters: voters(true, true, true, false, false), nodeCount: 6 } },
      state: "warn",
      summary: "a leads, 3 of 5 voters answer; d, e do not answer: 1 more failure of voters would stop it.",
    },
    {
      what: "nobody can tell who answers",
      facts: { quorum: { leader: "a", voters: voters(true, undefined, undefined), nodeCount: 3 } },
      state: "ok",
      summary: "a leads, 3 of 3 voters answer: 2 more failures of voters would stop it.",
    },
    {
      what: "no leader is heard",
      facts: { quorum: { leader: undefined, voters: voters(true, false, false), nodeCount: 3 } },
      state: "critical",
      summary: "No leader is heard; as far as this node knows 1 of 3 voters answers; b, c do not answer, and 2 must.",
      values: { leader: "", voters: 3, answering: 1, majority: 2, "failures-to-loss": 0 },
    },
    {
      what: "no cluster is known",
      facts: { quorum: { leader: undefined, voters: [], nodeCount: 1 } },
      state: "critical",
      summary: "No leader is heard.",
    },
    {
      what: "fewer than a majority answer, though a leader was heard",
      facts: { quorum: { leader: "a", voters: voters(true, false, false), nodeCount: 3 } },
      state: "critical",
      summary: "a led last; as far as this node knows 1 of 3 voters answers; b, c do not answer, and 2 must.",
    },
    {
      what: "one node is all",
      facts: { quorum: { leader: "a", voters: voters(true), nodeCount: 1 } },
      state: "ok",
      summary: "a leads, 1 of 1 voter answers: if it fails, nothing can change until it is back.",
    },
    {
      what: "one votes of three nodes",
      facts: { quorum: { leader: "a", voters: voters(true), nodeCount: 3 } },
      state: "warn",
      summary:
        "a leads, 1 of 1 voter answers: if it fails, nothing can change until it is back; 3 nodes could have three voters.",
    },
  ],
  slots: [
    {
      what: "all are served",
      facts: { slots: slotFacts({}) },
      state: "ok",
      summary: "All slots are served.",
      values: { unassigned: 0, unserved: 0, waiting: 0 },
    },
    {
      what: "one is nobody's",
      facts: { slots: slotFacts({ free: [{ first: 7, last: 7 }] }) },
      state: "critical",
      summary: "1 slot is nobody's (7).",
      values: { unassigned: 1, unserved: 0, waiting: 0 },
    },
    {
      what: "a primary is down, and slots wait for a word",
      facts: {
        slots: slotFacts({
          unserved: [unserved({ slots: [{ first: 0, last: 99 }] })],
          released: [{ slots: [{ first: 100, last: 101 }], node: "b", id: "b".repeat(40) }],
        }),
      },
      state: "critical",
      summary: "0-99: primary a is down: no answer; 100-101 wait until b has said that it lost them.",
      values: { unassigned: 0, unserved: 100, waiting: 2 },
    },
    {
      what: "many ranges are nobody's",
      facts: {
        slots: slotFacts({ free: Array.from({ length: 9 }, (_, at) => ({ first: 2 * at, last: 2 * at })) }),
      },
      state: "critical",
      summary: "9 slots are nobody's (0, 2, 4, 6, 8, 10 and 3 more).",
    },
  ],
  replicas: [
    {
      what: "there are none, and none are wanted",
      facts: { replicas: { wanted: 0, minInSync: 1, shards: [shard("a", [])] } },
      state: "ok",
      summary: "1 shard without replicas, as it is meant to be.",
    },
    {
      what: "all are in sync",
      facts: {
        replicas: { wanted: 1, minInSync: 2, shards: [shard("a", [replica("b")]), shard("c", [replica("d")])] },
      },
      state: "ok",
      summary: "2 shards, 2 replicas, all in sync.",
    },
    {
      what: "one is gone",
      facts: {
        replicas: {
          wanted: 1,
          minInSync: 1,
          shards: [shard("a", [replica("b", false, false)], 1), shard("c", [replica("d")])],
        },
      },
      state: "warn",
      summary: "1 shard is short of replicas: a has 0 of 1 (b is gone).",
      values: {
        shards: 2,
        "shards-below": 1,
        "shards-refusing-writes": 0,
        "replicas-missing": 1,
        "replicas-wanted": 1,
      },
    },
    {
      what: "one of two is not in sync, and one is wanted: the map lists two",
      facts: { replicas: { wanted: 1, minInSync: 1, shards: [shard("a", [replica("b"), replica("c", false)], 2)] } },
      state: "warn",
      summary: "1 shard is short of replicas: a has 1 of 2 (c is not in sync).",
    },
    {
      what: "a shard has none, and one is wanted",
      facts: { replicas: { wanted: 1, minInSync: 1, shards: [shard("a", []), shard("c", [replica("d")])] } },
      state: "warn",
      summary: "1 shard is short of replicas: a has 0 of 1.",
    },
    {
      what: "fewer are in sync than writes want",
      facts: { replicas: { wanted: 1, minInSync: 2, shards: [shard("a", [replica("b", false)], 1)] } },
      state: "critical",
      summary: "1 shard has fewer than 2 members in sync: a (b is not in sync).",
    },
  ],
  members: [
    {
      what: "all are there",
      facts: { members: { total: 3, missing: [] } },
      state: "ok",
      summary: "3 nodes are there.",
    },
    {
      what: "one is suspected",
      facts: { members: { total: 3, missing: [{ name: "b", state: "suspect", reason: "no answer" }] } },
      state: "warn",
      summary: "1 of 3 nodes: b is suspected: no answer.",
      values: { nodes: 3, suspect: 1, down: 0, left: 0, unknown: 0 },
    },
    {
      what: "one is down of three",
      facts: { members: { total: 3, missing: [{ name: "b", state: "down", reason: "" }] } },
      state: "warn",
      summary: "1 of 3 nodes: b is down.",
    },
    {
      what: "one has left, and one was never heard, of five",
      facts: {
        members: {
          total: 5,
          missing: [
            { name: "b", state: "left", reason: "it said so" },
            { name: "c", state: "unknown", reason: "" },
          ],
        },
      },
      state: "warn",
      summary: "2 of 5 nodes: b has stopped in order: it said so; c was never heard.",
    },
    {
      what: "half are down",
      facts: {
        members: {
          total: 4,
          missing: [
            { name: "b", state: "down", reason: "" },
            { name: "c", state: "down", reason: "" },
          ],
        },
      },
      state: "critical",
      summary: "2 of 4 nodes: b is down; c is down.",
    },
    {
      what: "half are suspected",
      facts: { members: { total: 2, missing: [{ name: "b", state: "suspect", reason: "" }] } },
      state: "warn",
      summary: "1 of 2 nodes: b is suspected.",
    },
  ],
  lag: [
    {
      what: "there are no replicas",
      facts: { lag: { waitingFor: undefined, replicas: [] } },
      state: "ok",
      summary: "There is no replica of this node to wait for.",
    },
    {
      what: "just below",
      facts: { lag: { waitingFor: undefined, replicas: [follower(4999)] } },
      state: "ok",
      summary: "Replicas are at most 5.0 s behind.",
    },
    {
      what: "at the first threshold",
      facts: { lag: { waitingFor: undefined, replicas: [follower(5000, "absent")] } },
      state: "warn",
      summary: "b lacks 7 entries, the oldest 5.0 s old, and has not asked for it.",
      values: { replicas: 1, behind: 1, "behind-ms": 5000, "behind-entries": 7 },
    },
    {
      what: "at the second threshold",
      facts: { lag: { waitingFor: undefined, replicas: [follower(60_000)] } },
      state: "critical",
      summary: "b lacks 7 entries, the oldest 60.0 s old.",
    },
    {
      what: "at the second threshold, while it is filled",
      facts: { lag: { waitingFor: undefined, replicas: [follower(60_000, "filling")] } },
      state: "warn",
      summary: "b lacks 7 entries, the oldest 60.0 s old, and is being filled.",
    },
    {
      what: "a replica does not follow",
      facts: { lag: { waitingFor: "the primary does not answer", replicas: [] } },
      state: "warn",
      summary: "This replica does not follow its primary: the primary does not answer.",
    },
  ],
  clocks: [
    { what: "none was compared", facts: { clocks: { nodes: [] } }, state: "ok", summary: "No clock was compared yet." },
    {
      what: "just below, but for the error",
      facts: { clocks: clockOf(504, 5) },
      state: "ok",
      summary: "1 clock was compared with the leader's, at most 499 ms apart.",
    },
    {
      what: "ahead by the first threshold",
      facts: { clocks: clockOf(505, 5) },
      state: "warn",
      summary: "Compared with the leader's clock: b is 505 ms ahead.",
      values: { nodes: 1, "apart-ms": 500 },
    },
    {
      what: "behind by the second",
      facts: { clocks: clockOf(-5005, 5) },
      state: "critical",
      summary: "Compared with the leader's clock: b is 5.0 s behind.",
    },
    {
      what: "measured too badly to tell",
      facts: { clocks: clockOf(5000, 6000) },
      state: "ok",
      summary: "1 clock was compared with the leader's, at most 0 ms apart.",
    },
  ],
  "map-version": [
    {
      what: "it is the newest",
      facts: { "map-version": { version: 9, newestVersion: 9, behindMs: 0 } },
      state: "ok",
      summary: "Version 9.",
      values: { version: 9, "newest-version": 9, "behind-ms": 0 },
    },
    {
      what: "just below",
      facts: { "map-version": { version: 8, newestVersion: 9, behindMs: 2999 } },
      state: "ok",
      summary: "This node has version 8, and has known for 3.0 s that there is 9.",
    },
    {
      what: "at the first threshold",
      facts: { "map-version": { version: 8, newestVersion: 9, behindMs: 3000 } },
      state: "warn",
      summary: "This node has version 8, and has known for 3.0 s that there is 9.",
      values: { version: 8, "newest-version": 9, "behind-ms": 3000 },
    },
    {
      what: "at the second",
      facts: { "map-version": { version: 8, newestVersion: 9, behindMs: 30_000 } },
      state: "critical",
      summary: "This node has version 8, and has known for 30.0 s that there is 9.",
    },
  ],
  migrations: [
    {
      what: "there are none",
      facts: { migrations: { tasks: [], openSlots: [] } },
      state: "ok",
      summary: "No slots are being moved.",
    },
    {
      what: "one gets on",
      facts: { migrations: { tasks: [task({ stillMs: 59_999 })], openSlots: [{ slot: 3, stillMs: 0 }] } },
      state: "ok",
      summary: "1 move of slots under way, 1 slot open.",
    },
    {
      what: "at the first threshold",
      facts: { migrations: { tasks: [task({ stillMs: 60_000, waitingFor: "its primary" })], openSlots: [] } },
      state: "warn",
      summary: "task t1 (0-9 to b) has not changed for 60.0 s: it waits for its primary.",
      values: { tasks: 1, stuck: 1, "open-slots": 0, "stuck-slots": 0 },
    },
    {
      what: "at the second",
      facts: { migrations: { tasks: [task({ stillMs: 600_000 })], openSlots: [] } },
      state: "critical",
      summary: "task t1 (0-9 to b) has not changed for 10 min.",
    },
    {
      what: "paused at the second",
      facts: { migrations: { tasks: [task({ stillMs: 600_000, isPaused: true })], openSlots: [] } },
      state: "warn",
      summary: "task t1 (0-9 to b) has been paused for 10 min.",
    },
    {
      what: "fenced at the first",
      facts: { migrations: { tasks: [task({ stillMs: 60_000, isFenced: true })], openSlots: [] } },
      state: "critical",
      summary: "task t1 (0-9 to b) has held commands for 60.0 s.",
    },
    {
      what: "slots are left open",
      facts: {
        migrations: {
          tasks: [],
          openSlots: [
            { slot: 3, stillMs: 60_000 },
            { slot: 4, stillMs: 0 },
          ],
        },
      },
      state: "warn",
      summary: "1 slot is open for keys that move one by one, and nothing has changed for 60.0 s (3).",
      values: { tasks: 0, stuck: 0, "open-slots": 2, "stuck-slots": 1 },
    },
  ],
  balance: [
    {
      what: "one shard",
      facts: { balance: { shards: [loaded("a", 1)] } },
      state: "ok",
      summary: "There are no two shards to compare.",
    },
    {
      what: "just below the factor",
      facts: { balance: { shards: [loaded("a", 0.59), loaded("b", 0.2), loaded("c", 0.11)] } },
      state: "ok",
      summary: "3 shards; the busiest has 2 times its part of the load, the largest 1 times its part of the bytes.",
    },
    {
      what: "at the factor",
      facts: { balance: { shards: [loaded("a", 0.6), loaded("b", 0.2), loaded("c", 0.1)] } },
      state: "warn",
      summary: "a has 2.0 times its part of the load (60 % busy).",
      values: { shards: 3, "load-factor": 2, "bytes-factor": 1, "busiest-percent": 60 },
    },
    {
      what: "at the factor, with one hot slot",
      facts: { balance: { shards: [loaded("a", 0.6, 0, 0.5), loaded("b", 0.2), loaded("c", 0.1)] } },
      state: "warn",
      summary: "a has 2.0 times its part of the load (60 % busy, 50 % of it in slot 42).",
    },
    {
      what: "at the factor, with little to do",
      facts: { balance: { shards: [loaded("a", 0.19), loaded("b", 0), loaded("c", 0)] } },
      state: "ok",
      summary: "3 shards; the busiest has 3 times its part of the load, the largest 1 times its part of the bytes.",
    },
    {
      what: "of the bytes",
      facts: { balance: { shards: [loaded("a", 0, 400 * MB), loaded("b", 0), loaded("c", 0)] } },
      state: "warn",
      summary: "a has 3.0 times its part of the bytes (400.0 MiB).",
    },
  ],
  "loop-lag": [
    {
      what: "just below",
      facts: { "loop-lag": { lagMs: 199 } },
      state: "ok",
      summary: "The event loop stood still for 199 ms at the worst.",
      values: { "lag-ms": 199 },
    },
    {
      what: "at the first threshold",
      facts: { "loop-lag": { lagMs: 200 } },
      state: "warn",
      summary: "The event loop stood still for 200 ms at the worst.",
    },
    {
      what: "at the second",
      facts: { "loop-lag": { lagMs: 1000 } },
      state: "critical",
      summary: "The event loop stood still for 1.0 s at the worst.",
    },
  ],
  memory: [
    {
      what: "without a limit, on a machine of which nothing is known",
      facts: { memory: memory({ limitBytes: 0, machineBytes: 0 }) },
      state: "ok",
      summary: "10 B of keys and values.",
    },
    {
      what: "just below of maxmemory",
      facts: { memory: memory({ usedBytes: 79.9 }) },
      state: "ok",
      summary: "79.9 B of keys and values, 80 % of maxmemory; the process has 10 B, 1 % of the machine's memory.",
    },
    {
      what: "at the first threshold of maxmemory",
      facts: { memory: memory({ usedBytes: 80 }) },
      state: "warn",
      summary: "80 B of keys and values, 80 % of maxmemory; the process has 10 B, 1 % of the machine's memory.",
      values: {
        "used-bytes": 80,
        "limit-bytes": 100,
        "limit-percent": 80,
        "resident-bytes": 10,
        "machine-bytes": 1000,
        "machine-percent": 1,
      },
    },
    {
      what: "at the second threshold of maxmemory",
      facts: { memory: memory({ usedBytes: 95 }) },
      state: "critical",
      summary: "95 B of keys and values, 95 % of maxmemory; the process has 10 B, 1 % of the machine's memory.",
    },
    {
      what: "full, and evicting",
      facts: { memory: memory({ usedBytes: 100, isEvicting: true }) },
      state: "ok",
      summary:
        "100 B of keys and values, 100 % of maxmemory (keys are evicted); the process has 10 B, 1 % of the machine's memory.",
    },
    {
      what: "the machine's, while evicting",
      facts: { memory: memory({ isEvicting: true, residentBytes: 950 }) },
      state: "critical",
      summary:
        "10 B of keys and values, 10 % of maxmemory (keys are evicted); the process has 950 B, 95 % of the machine's memory.",
    },
  ],
  disk: [
    {
      what: "enough",
      facts: { disk: { freeBytes: 1000, totalBytes: 2048 } },
      state: "ok",
      summary: "1000 B of 2.0 KiB are free.",
      values: { "free-bytes": 1000, "total-bytes": 2048 },
    },
    {
      what: "below the first threshold",
      facts: { disk: { freeBytes: 999, totalBytes: 2048 } },
      state: "warn",
      summary: "999 B of 2.0 KiB are free.",
    },
    {
      what: "below the second",
      facts: { disk: { freeBytes: 99, totalBytes: 2048 } },
      state: "critical",
      summary: "99 B of 2.0 KiB are free.",
    },
  ],
};

describe("a check", () => {
  for (const [name, cases] of Object.entries(CASES)) {
    for (const { what, facts, state, summary, values } of cases) {
      test(`${name}: ${what} is ${state}`, () => {
        const found = evaluate(facts, THRESHOLDS);
        expect(found.map((each) => ({ name: each.name as string, state: each.state, summary: each.summary }))).toEqual([
          { name, state, summary },
        ]);
        if (values !== undefined) expect(present(found[0], "one check").values).toEqual(values);
      });
    }
  }

  test("of which nobody tells anything is not there", () => {
    expect(evaluate({}, THRESHOLDS)).toEqual([]);
  });

  test("is in the catalog, and has cases above", () => {
    const all = Object.assign({}, ...Object.values(CASES).map(([first]) => first?.facts)) as HealthFacts;
    const names = evaluate(all, THRESHOLDS).map(({ name }) => name);
    expect(new Set(names)).toEqual(new Set(CHECK_NAMES));
    expect(new Set(Object.keys(CASES))).toEqual(new Set<string>(CHECK_NAMES));
  });
});

describe("what to do about slots that nobody serves", () => {
  const slots = [
    { first: 10_923, last: 16_383 },
    { first: 7, last: 7 },
  ];
  const advice = (more: Partial<SlotFacts>): string =>
    present(evaluate({ slots: slotFacts({ helper: HELPER, ...more }) }, THRESHOLDS)[0]?.advice, "there is advice");
  const of = (more: Partial<UnservedShard>): string => advice({ unserved: [unserved({ slots, ...more })] });
  const ask = "redis-cli -h 10.0.0.2 -p 7002";
  const giveUp = `give its slots up, ${ask} CLUSTER DELSLOTSRANGE 10923 16383 7 7, then CLUSTER FORGET ${"a".repeat(40)}, then CLUSTER ADDSLOTSRANGE 10923 16383 7 7: b has them, empty.`;

  test("whose primary is gone and had no replica: what is lost, and both ways on, as they are typed", () => {
    expect(of({})).toBe(
      `10923-16383, 7: a alone holds all of these keys. If the process still runs, and only hangs or is cut off, get it back: nothing is lost. If it has ended, they are lost, for they were in memory alone; then either start it again as it was (the same --data-dir or --name, --join and secret; nodes of bun start cannot be started one by one): it has its slots again, empty; or ${giveUp}`,
    );
    // What does not help in this case is not named.
    expect(of({})).not.toMatch(/ACCEPT-LOSS|--cluster fix/);
  });

  test("with a replica in sync: who takes over, and where it is told what keeps it", () => {
    const heir = of({ others: [other("c", { isHolder: true })] });
    expect(heir).toContain("c holds every acknowledged write, and takes over by itself within seconds");
    expect(heir).toContain(`bunch explain shard ${"1".repeat(40)} says what stands in the way`);
    expect(heir).not.toMatch(/ACCEPT-LOSS|DELSLOTS/);
  });

  test("with a replica that lacks some: whose return loses nothing, and how to go on without", () => {
    const behind = of({ others: [other("c"), other("d", { isHolder: true, isThere: false })] });
    expect(behind).toContain("a and d alone hold all of these keys.");
    expect(behind).toContain(`CLUSTER ACCEPT-LOSS ${"1".repeat(40)}, at any node, has c go on: what it lacks is lost.`);
    expect(behind).not.toContain("DELSLOTS");
  });

  test("with nobody left: a start, and then the word that the loss is accepted; or all are forgotten", () => {
    const nobody = of({ others: [other("d", { isHolder: true, isThere: false })] });
    expect(nobody).toContain(`then CLUSTER ACCEPT-LOSS ${"1".repeat(40)}, at any node, has it begin with nothing; or`);
    expect(nobody).toContain(`then CLUSTER FORGET ${"a".repeat(40)}, then CLUSTER FORGET ${"d".repeat(40)}, then`);
  });

  test("whose primary has come back with nothing, has no lease, or was never there", () => {
    expect(of({ trouble: "empty" })).toBe(
      `10923-16383, 7: nobody holds all of what a held any more: CLUSTER ACCEPT-LOSS ${"1".repeat(40)}, at any node, has a begin with nothing.`,
    );
    expect(of({ trouble: "lease" })).toContain("see the checks quorum and members");
    expect(of({ trouble: "new" })).toBe(`10923-16383, 7: start a, which has not been there yet; or ${giveUp}`);
  });

  test("that nobody owns, or that wait for who had them", () => {
    expect(advice({ free: [{ first: 1, last: 2 }] })).toBe(
      `Slots that are nobody's hold nothing: ${ask} CLUSTER ADDSLOTSRANGE 1 2 gives them to b.`,
    );
    expect(advice({ released: [{ slots, node: "c", id: "c".repeat(40) }] })).toBe(
      `Get c back: it may still serve what it had. If it has ended: CLUSTER FORGET ${"c".repeat(40)}.`,
    );
    const many = Array.from({ length: 9 }, (_, at) => ({ first: 2 * at, last: 2 * at }));
    expect(advice({ free: many, helper: undefined })).toBe(
      "Slots that are nobody's hold nothing: at a primary that is there: CLUSTER ADDSLOTSRANGE with all of them (bunch slots lists them) gives them to it.",
    );
  });

  test("begins with the quorum where nothing can be changed without it", () => {
    expect(advice({ canChange: false, unserved: [unserved({ slots })] })).toMatch(/^First see the check quorum: /);
  });
});

describe("a check that is better than its state", () => {
  const found = (name: HealthCheckName, state: HealthState, summary: string): Finding => ({
    name,
    state,
    summary,
    values: { count: 1 },
  });
  const was = found("quorum", "critical", "No leader is heard.");

  test("and is well says so, and that there is nothing to do", () => {
    expect(wordsOfBetter("quorum", was, found("quorum", "ok", "a leads."), 700)).toEqual({
      summary: "a leads. A moment ago: No leader is heard.",
      meaning: "This is well again, and is told as it was until that has lasted for a while.",
      advice: "Wait a few seconds: if it stays so, there is nothing to do.",
      values: { count: 1, "well-ms": 700 },
    });
  });

  test("and is not well has the words for what it is", () => {
    expect(wordsOfBetter("quorum", was, found("quorum", "warn", "a leads, b is gone."), 700)).toEqual({
      summary: "a leads, b is gone. A moment ago: No leader is heard.",
      ...wordsOf("quorum", "warn"),
      values: { count: 1 },
    });
  });

  test("and comes in single moments is still worth a look", () => {
    const stop = found("loop-lag", "warn", "It stood still for 300 ms.");
    expect(wordsOfBetter("loop-lag", stop, found("loop-lag", "ok", "It stood still for 2 ms."), 700)).toMatchObject({
      summary: "It stood still for 2 ms. A moment ago: It stood still for 300 ms.",
      ...wordsOf("loop-lag", "warn"),
      values: stop.values,
    });
  });
});

describe("words", () => {
  const page = readFileSync(fileURLToPath(new URL("../../docs/health.md", import.meta.url)), "utf8").replaceAll(
    "\\|",
    "|",
  );
  const row = (...cells: readonly string[]): RegExp =>
    new RegExp(`\\| +${cells.map((cell) => RegExp.escape(cell)).join(" +\\| +")} +\\|`);

  for (const name of CHECK_NAMES) {
    const { warn, critical, warnWhen, criticalWhen, ok } = CHECKS[name];
    test(`of ${name} say what it means and what to do, here and in docs/health.md`, () => {
      expect(wordsOf(name, "ok")).toEqual({ meaning: ok, advice: "" });
      const section = present(
        page.split("\n## ").find((each) => each.startsWith(`${name}\n`)),
        `a section on ${name}`,
      );
      const { raiseMs, clearMs } = CHECKS[name];
      expect(section).toContain(raiseMs === 0 ? "Told at once." : `Told after ${raiseMs / 1000} s.`);
      expect(section.includes("Over after")).toBe(clearMs !== undefined);
      if (clearMs !== undefined) expect(section).toContain(`Over after ${clearMs / 1000} s.`);
      expect(page).toContain(ok);
      for (const [state, words, when] of [
        ["warn", warn, warnWhen],
        ["critical", critical, criticalWhen],
      ] as const) {
        expect(words === undefined).toBe(when === "");
        if (words === undefined) continue;
        expect(wordsOf(name, state)).toEqual(words);
        for (const sentence of [words.meaning, words.advice]) expect(sentence).toMatch(/^[A-Za-z].*\.$/s);
        expect(page).toMatch(row(state, when, words.meaning, words.advice));
      }
    });

    test(`of ${name} are for states that some case above brings about`, () => {
      const states = new Set(CASES[name].map(({ state }) => state));
      expect([states.has("ok"), states.has("warn"), states.has("critical")]).toEqual([
        true,
        warn !== undefined,
        critical !== undefined,
      ]);
    });
  }
});
