/** When slots move by themselves: what must last, what stands in the way, what others' acts do to it, and what a leader finds that another one began. */
import { describe, expect, test } from "bun:test";
import { SLOT_COUNT } from "../../src/codec/slot.ts";
import type { ClusterMap, HistoryEntry, MigrationRecord } from "../../src/contracts/topology.ts";
import {
  AUTO_CAUSE,
  AutoRebalancer,
  type AutoRebalanceOptions,
  type Sight,
  type Verdict,
  lastBegun,
  obstacleIn,
  readWeights,
} from "../../src/protocol/plan/auto-rebalance.ts";
import type { PlannedMove } from "../../src/protocol/plan/plan.ts";
import { type PlanShard, loadsOf, mapAfter, planMap, shardIdAt } from "../support/plan-map.ts";

const OPTIONS: AutoRebalanceOptions = {
  threshold: 0.2,
  lastsMs: 60_000,
  settleMs: 10_000,
  tasksAtOnce: 1,
  slotsPerTask: 1000,
  bytesPerTask: 1e9,
  bytesPerSecond: 0,
  pauseMs: 500,
  leastBytes: 1000,
  leastOperations: 10,
};
const HALF = SLOT_COUNT / 2;
const LOWER: PlanShard = { slots: [{ first: 0, last: HALF - 1 }] };
const UPPER: PlanShard = { slots: [{ first: HALF, last: SLOT_COUNT - 1 }] };
const NONE: PlanShard = { slots: [] };
/** The first has three quarters of the slots. */
const UNEVEN = [{ slots: [{ first: 0, last: 12_287 }] }, { slots: [{ first: 12_288, last: SLOT_COUNT - 1 }] }];
const EVEN_LOADS = loadsOf(() => ({ keys: 1, bytes: 100, load: 60 }));

/** A leader that looks once a second, and does what it decides at once. */
class Watch {
  nowMs = 0;
  map: ClusterMap;
  rebalancer: AutoRebalancer;
  sight: Partial<Sight> = {};
  readonly moved: { readonly atMs: number; readonly moves: readonly PlannedMove[]; readonly cause: string }[] = [];
  verdict: Verdict = { type: "rest", reason: "" };

  constructor(shards: readonly PlanShard[], options: Partial<AutoRebalanceOptions> = {}) {
    this.map = planMap(shards);
    this.rebalancer = new AutoRebalancer({ ...OPTIONS, ...options });
  }

  look(): void {
    this.verdict = this.rebalancer.look(
      {
        map: this.map,
        measured: { loads: EVEN_LOADS, operations: EVEN_LOADS.load },
        by: "slots",
        weights: new Map(),
        takesSlots: () => true,
        obstacle: undefined,
        ...this.sight,
      },
      this.nowMs,
    );
    if (this.verdict.type !== "move") return;
    const { moves, cause } = this.verdict;
    this.moved.push({ atMs: this.nowMs, moves, cause });
    this.map = mapAfter(this.map, moves);
    this.rebalancer.began(moves, this.nowMs);
    this.rebalancer.ended(false, this.nowMs);
  }

  run(ms: number): this {
    for (const untilMs = this.nowMs + ms; this.nowMs < untilMs;) {
      this.nowMs += 1000;
      this.look();
    }
    return this;
  }

  get slots(): readonly number[] {
    return this.map.shards.map(({ slots }) => slots.reduce((sum, { first, last }) => sum + last - first + 1, 0));
  }

  get reason(): string {
    return this.verdict.type === "move" ? this.verdict.cause : this.verdict.reason;
  }
}

/** Shards that were emptied. */
function emptied(map: ClusterMap, ...which: readonly number[]): ClusterMap {
  return {
    ...map,
    shards: map.shards.map((shard, at) => (which.includes(at) ? { ...shard, wasEmptied: true as const } : shard)),
  };
}

describe("a shard that joins without slots", () => {
  test("gets its part, some slots at a time, once it has been there for a while; the cause names it", () => {
    const watch = new Watch([LOWER, UPPER, NONE]).run(10_000);
    expect(watch.moved).toEqual([]);
    expect(watch.reason).toStartWith(`shard ${shardIdAt(2)} (primary n2) joined without slots; it begins in `);
    watch.run(60_000);
    expect(watch.moved[0]?.atMs).toBe(11_000);
    expect(watch.moved[0]?.cause).toBe(`${AUTO_CAUSE}shard ${shardIdAt(2)} (primary n2) joined without slots`);
    expect(watch.moved.every(({ moves }) => moves.length === 1 && (moves[0]?.slotCount ?? 0) <= 1000)).toBe(true);
    expect(Math.max(...watch.slots) - Math.min(...watch.slots)).toBeLessThan(700);
    const steps = watch.moved.length;
    expect(steps).toBeGreaterThan(4);
    watch.run(600_000);
    expect(watch.moved).toHaveLength(steps);
  });

  test("waits for another one that comes meanwhile, so that both are seen", () => {
    const watch = new Watch([LOWER, UPPER, NONE]).run(9000);
    watch.map = planMap([LOWER, UPPER, NONE, NONE]);
    watch.run(10_000);
    expect(watch.moved).toEqual([]);
    watch.run(60_000);
    expect(watch.moved[0]?.atMs).toBe(20_000);
    expect(watch.moved[0]?.cause).toContain(`shard ${shardIdAt(2)} (primary n2), shard ${shardIdAt(3)} (primary n3)`);
    expect(Math.min(...watch.slots)).toBeGreaterThan(3600);
  });

  test("gets nothing while it has fewer members in sync than those that would give; the reason says so", () => {
    const withReplica = { ...LOWER, inSync: 2 };
    const watch = new Watch([withReplica, { ...UPPER, inSync: 2 }, NONE]).run(120_000);
    expect(watch.moved).toEqual([]);
    expect(watch.verdict.type).not.toBe("move");
    expect(watch.reason).toContain("no move makes it more even and leaves as many copies");
    watch.map = planMap([withReplica, { ...UPPER, inSync: 2 }, { ...NONE, inSync: 2 }]);
    expect(Math.min(...watch.run(60_000).slots)).toBeGreaterThan(5000);
  });

  test("gets no more of what was planned once it has lost a member for good, while those of the others are away", () => {
    const withReplicas = [LOWER, UPPER, NONE].map(({ slots }) => ({ slots, inSync: 2 }));
    const watch = new Watch(withReplicas).run(13_000);
    const before = watch.moved.length;
    expect(before).toBeGreaterThan(0);
    // All are alone at the moment; of this one that is all there is.
    const { map } = watch;
    watch.map = {
      ...map,
      shards: map.shards.map((shard, at) => ({
        ...shard,
        inSync: [shard.primary],
        replicas: at === 2 ? [] : shard.replicas,
      })),
    };
    watch.run(60_000);
    const later = watch.moved.slice(before).flatMap(({ moves }) => moves);
    expect(later.filter(({ target }) => target === shardIdAt(2))).toEqual([]);
  });

  test("gets nothing either while the others' replicas are away for a moment, nor while its own is", () => {
    const withReplicas = [LOWER, UPPER, NONE].map(({ slots }) => ({ slots, inSync: 2 }));
    const without = (
      map: ClusterMap,
      isAway: (at: number) => boolean,
      isBare: (at: number) => boolean,
    ): ClusterMap => ({
      ...map,
      shards: map.shards.map((shard, at) => ({
        ...shard,
        replicas: isBare(at) ? [] : shard.replicas,
        inSync: isAway(at) || isBare(at) ? [shard.primary] : shard.inSync,
      })),
    });
    for (const [isAway, isBare] of [
      [(at: number) => at < 2, (at: number) => at === 2],
      [(at: number) => at === 2, () => false],
    ] as const) {
      const watch = new Watch(withReplicas);
      watch.map = without(watch.map, isAway, isBare);
      expect(watch.run(120_000).moved).toEqual([]);
      watch.map = planMap(withReplicas);
      expect(watch.run(60_000).moved.length).toBeGreaterThan(0);
    }
  });

  test("gets nothing while its primary is not there", () => {
    const watch = new Watch([LOWER, UPPER, NONE]);
    const gone = watch.map.shards[2]?.primary;
    watch.sight = { takesSlots: (id) => id !== gone };
    expect(watch.run(120_000).moved).toEqual([]);
  });

  test("gets slots where there are too few bytes or commands to divide; bytes else", () => {
    const heavy = loadsOf((slot) => ({ keys: 1, bytes: slot < 1000 ? 1e6 : 100, load: 0 }));
    for (const [loads, least] of [
      [heavy, 0],
      [loadsOf(() => ({ keys: 0, bytes: 0, load: 0 })), 1e9],
    ] as const) {
      const watch = new Watch([LOWER, UPPER, NONE], { leastBytes: least });
      watch.sight = { by: "bytes", measured: { loads, operations: loads.load } };
      const { slots } = watch.run(100_000);
      const isBySlots = Math.max(...slots) - Math.min(...slots) < 700;
      expect(isBySlots).toBe(loads !== heavy);
      expect(watch.moved.length).toBeGreaterThan(0);
    }
  });
});

describe("a shard that was emptied", () => {
  test("stays so, until it has a weight", () => {
    const watch = new Watch([LOWER, UPPER, NONE]);
    watch.map = emptied(watch.map, 2);
    expect(watch.run(600_000).moved).toEqual([]);
    expect(watch.reason).toStartWith("even: slots of shard ");
    watch.sight = { weights: new Map([[shardIdAt(2), 1]]) };
    watch.run(60_000);
    expect(watch.moved[0]?.cause).toContain(`shard ${shardIdAt(2)} (primary n2) is to have slots, by its weight`);
    expect(Math.min(...watch.slots)).toBeGreaterThan(5000);
  });

  test("one that has the weight 0 is emptied, and gets nothing", () => {
    const watch = new Watch([LOWER, UPPER, NONE]);
    watch.sight = {
      weights: new Map([
        [shardIdAt(0), 0],
        [shardIdAt(2), 3],
      ]),
    };
    watch.run(120_000);
    expect(watch.moved[0]?.cause).toContain(`shard ${shardIdAt(0)} (primary n0) is to have none, by its weight`);
    expect(watch.slots[0]).toBe(0);
    expect((watch.slots[2] ?? 0) / (watch.slots[1] ?? 1)).toBeGreaterThan(2.5);
  });
});

describe("shards that are uneven", () => {
  test("are made even when that has lasted, and the cause says how far and how long", () => {
    const watch = new Watch(UNEVEN).run(60_000);
    expect(watch.moved).toEqual([]);
    expect(watch.reason).toBe(`slots of shard ${shardIdAt(0)} (primary n0) 50 % above its part for 59 s, of 60 s`);
    watch.run(60_000);
    expect(watch.moved[0]?.cause).toBe(
      `${AUTO_CAUSE}slots of shard ${shardIdAt(0)} (primary n0) 50 % above its part for 60 s`,
    );
    const [most = 0] = watch.slots;
    expect(most / HALF).toBeLessThan(1.06);
  });

  test("are left alone if they are even again in between, or within the threshold", () => {
    const watch = new Watch(UNEVEN);
    for (let round = 0; round < 5; round += 1) {
      watch.map = planMap(UNEVEN);
      watch.run(50_000);
      watch.map = planMap([LOWER, UPPER]);
      watch.run(2000);
    }
    expect(watch.moved).toEqual([]);
    const nearly = [{ slots: [{ first: 0, last: 9500 }] }, { slots: [{ first: 9501, last: SLOT_COUNT - 1 }] }];
    expect(new Watch(nearly).run(600_000).moved).toEqual([]);
  });

  test("go on to a fourth of the threshold once it has begun, and no farther", () => {
    const watch = new Watch(UNEVEN, { slotsPerTask: 200 }).run(200_000);
    const [most = 0] = watch.slots;
    expect(most / HALF).toBeGreaterThan(1.03);
    expect(most / HALF).toBeLessThan(1.052);
  });

  test("count for nothing where there is too little to divide", () => {
    const loads = loadsOf((slot) => ({
      keys: slot < 100 ? 1 : 0,
      bytes: slot < 100 ? 9 : 0,
      load: slot < 100 ? 5 : 0,
    }));
    for (const by of ["keys", "bytes", "load"] as const) {
      const watch = new Watch([LOWER, UPPER]);
      watch.sight = { by, measured: { loads, operations: loads.load } };
      expect(watch.run(300_000).moved).toEqual([]);
      expect(watch.reason).toMatch(/^there are fewer than \d+ (bytes|commands a second)$/);
    }
  });

  test("by load are judged by what was measured before anything moved, and again when the averages are whole", () => {
    const loads = loadsOf((slot) => ({ keys: 1, bytes: 10, load: slot < HALF ? 3000 : 1000 }));
    const watch = new Watch([LOWER, UPPER]);
    // What has moved is not told where it went.
    const told = (): Sight["measured"] => {
      const now = loadsOf((slot) => {
        const hasMoved = watch.map.shardOfSlot[slot] !== (slot < HALF ? 0 : 1);
        return { keys: 1, bytes: 10, load: hasMoved ? 0 : (loads.load[slot] ?? 0) };
      });
      return { loads: now, operations: now.load };
    };
    for (let at = 0; at < 120; at += 1) {
      watch.sight = { by: "load", measured: told() };
      watch.run(1000);
    }
    const { length } = watch.moved;
    expect(length).toBeGreaterThan(1);
    const shareOf = (index: number): number =>
      loads.load.reduce((sum, load, slot) => sum + (watch.map.shardOfSlot[slot] === index ? load : 0), 0);
    expect(shareOf(0) / shareOf(1)).toBeLessThan(1.12);
    expect(shareOf(0) / shareOf(1)).toBeGreaterThan(0.89);
    // Until then what is told looks uneven, the other way round.
    for (let at = 0; at < 150; at += 1) {
      watch.sight = { by: "load", measured: told() };
      watch.run(1000);
    }
    watch.sight = { by: "load", measured: { loads, operations: loads.load } };
    expect(watch.run(600_000).moved).toHaveLength(length);
  });

  test("stay so where one slot is all of it; the reason names it", () => {
    const loads = loadsOf((slot) => ({ keys: slot === 5 ? 1e6 : 1, bytes: slot === 5 ? 1e8 : 100, load: 0 }));
    const watch = new Watch([LOWER, UPPER]);
    watch.sight = { by: "bytes", measured: { loads, operations: loads.load } };
    watch.run(300_000);
    expect(watch.moved.length).toBeLessThan(20);
    const { length } = watch.moved;
    watch.run(600_000);
    expect(watch.moved).toHaveLength(length);
  });
});

describe("the rate", () => {
  test("is so many bytes a second on average, and a pause at least", () => {
    const slow = new Watch(UNEVEN, { bytesPerSecond: 10_000, slotsPerTask: 1000 }).run(150_000);
    const times = slow.moved.map(({ atMs }) => atMs);
    // 100,000 bytes a step.
    expect(times.slice(1).map((atMs, at) => atMs - (times[at] ?? 0))).toEqual(times.slice(1).map(() => 10_000));
    expect(times.length).toBeGreaterThan(2);
    const paused = new Watch(UNEVEN, { pauseMs: 7000 }).run(90_000);
    expect((paused.moved[1]?.atMs ?? 0) - (paused.moved[0]?.atMs ?? 0)).toBe(7000);
  });

  test("several tasks at once are between other pairs of shards, and a slot that is too large goes alone", () => {
    const watch = new Watch([LOWER, UPPER, NONE, NONE], { tasksAtOnce: 3 }).run(12_000);
    const pairs = watch.moved[0]?.moves.map(({ source, target }) => `${source} ${target}`) ?? [];
    expect(pairs.length).toBeGreaterThan(1);
    expect(new Set(pairs).size).toBe(pairs.length);
    const large = new Watch([LOWER, NONE, UPPER], { bytesPerTask: 10 }).run(12_000);
    expect(large.moved[0]?.moves).toMatchObject([{ slotCount: 1, bytes: 100 }]);
  });
});

describe("what others do", () => {
  test("moving slots ends its steps, and all must last anew", () => {
    const watch = new Watch(UNEVEN).run(62_000);
    expect(watch.moved).toHaveLength(2);
    watch.rebalancer.disturbed(watch.nowMs);
    expect(watch.rebalancer.why).toBeUndefined();
    watch.run(59_000);
    expect(watch.moved).toHaveLength(2);
    watch.run(60_000);
    expect(watch.moved.length).toBeGreaterThan(2);
  });

  test("cancelling a task of it holds it for as long as unevenness must last, shards that join too", () => {
    const watch = new Watch([LOWER, UPPER, NONE]).run(11_000);
    expect(watch.moved).toHaveLength(1);
    watch.rebalancer.ended(true, watch.nowMs);
    watch.map = planMap([LOWER, UPPER, NONE]);
    watch.run(59_000);
    expect(watch.moved).toHaveLength(1);
    expect(watch.reason).toBe("a task of its own was ended before its time; it begins nothing for another 1 s");
    watch.run(10_000);
    expect(watch.moved.length).toBeGreaterThan(1);
  });

  test("an obstacle keeps it from acting, and is the reason; it goes on when that is gone", () => {
    const watch = new Watch(UNEVEN);
    watch.sight = { obstacle: "slot 5 is nobody's" };
    watch.run(100_000);
    expect([watch.moved, watch.verdict]).toEqual([[], { type: "stuck", reason: "slot 5 is nobody's" }]);
    watch.sight = {};
    expect(watch.run(1000).moved).toHaveLength(1);
    watch.sight = { obstacle: "slot 5 is nobody's" };
    expect(watch.run(10_000).moved).toHaveLength(1);
    watch.sight = {};
    expect(watch.run(5000).moved.length).toBeGreaterThan(2);
  });
});

describe("obstacleIn", () => {
  const healthy = { isThere: () => true, failing: new Map<string, string>() };
  const map = planMap([LOWER, UPPER, NONE]);
  const task = (more: Partial<MigrationRecord>): MigrationRecord => ({
    id: "m1",
    source: shardIdAt(0),
    target: shardIdAt(1),
    slots: [{ first: 0, last: 1 }],
    isPaused: false,
    cause: "somebody",
    startedAtMs: 1,
    ...more,
  });
  const [a, b, c] = map.shards.map(({ primary }) => primary);

  test("is nothing in a cluster that is whole, whatever becomes of shards without slots", () => {
    expect(obstacleIn(map, healthy)).toBeUndefined();
    expect(obstacleIn(map, { ...healthy, isThere: (id) => id !== c })).toBeUndefined();
  });

  const cases: readonly (readonly [string, ClusterMap, typeof healthy, string])[] = [
    ["a primary that is gone", map, { ...healthy, isThere: (id = "") => id !== b }, "(primary n1) is not there"],
    [
      "a primary that is being replaced",
      map,
      { ...healthy, failing: new Map([[shardIdAt(1), "no heir"]]) },
      "(primary n1) is being replaced: no heir",
    ],
    [
      "a primary without its data",
      { ...map, nodes: map.nodes.map((node) => (node.id === a ? { ...node, incarnation: 9 } : node)) },
      healthy,
      "(primary n0) has lost its data",
    ],
    [
      "too few in sync",
      { ...map, settings: new Map([["min-in-sync", "2"]]) },
      healthy,
      "has 1 members in sync, and min-in-sync is 2",
    ],
    ["slots of nobody", planMap([LOWER, NONE]), healthy, `slot ${HALF} is nobody's`],
    [
      "slots that are moved key by key",
      { ...map, openSlots: [{ slot: 3, importing: [] }] },
      healthy,
      "slot 3 is being moved key by key",
    ],
    [
      "a loser who does not know",
      { ...map, releases: [{ node: "x", incarnation: 1, version: 1, slots: [] }] },
      healthy,
      "node x has not said yet that it knows what it lost",
    ],
    ["others' tasks", { ...map, migrations: [task({})] }, healthy, "a task of somebody else moves slots: m1"],
    [
      "others' tasks beside its own",
      { ...map, migrations: [task({ id: "m0", cause: `${AUTO_CAUSE}x` }), task({ isPaused: true })] },
      healthy,
      "a task of somebody else is paused: m1",
    ],
    [
      "its own tasks",
      { ...map, migrations: [task({ cause: `${AUTO_CAUSE}x` })] },
      healthy,
      "a task of its own moves slots: m1",
    ],
    [
      "a cluster on its way",
      { ...map, seal: { joinId: "j", clusterId: "c", host: "h", port: 1 } },
      healthy,
      "this cluster is about to be part of another one",
    ],
  ];
  for (const [name, seen, health, reason] of cases) {
    test(name, () => expect(obstacleIn(seen, health)).toContain(reason));
  }
});

describe("a leader that finds what another one began", () => {
  const entry = (version: number, cause: string, ...changes: readonly string[]): HistoryEntry => ({
    version,
    timeMs: version * 1000,
    cause,
    changes,
  });
  const started = entry(
    5,
    `${AUTO_CAUSE}shard x joined`,
    "migration m1 of slots 1-5 started from shard a to b, in epochs 1 and 2",
  );

  test("goes on with it, and rests when all is even", () => {
    const watch = new Watch(UNEVEN);
    watch.rebalancer.goOn("shard x joined", 0);
    expect(watch.rebalancer.why).toBe("shard x joined");
    watch.run(1000);
    expect(watch.moved[0]?.cause).toBe(`${AUTO_CAUSE}shard x joined`);
    watch.run(60_000);
    expect(watch.rebalancer.why).toBeUndefined();
    const even = new Watch([LOWER, UPPER]);
    even.rebalancer.goOn("shard x joined", 0);
    expect(even.run(1000).verdict).toEqual({ type: "rest", reason: "it has become as even as it goes" });
  });

  test("reads it in the history, whether it goes on, has ended or was cut short", () => {
    expect(lastBegun([])).toBeUndefined();
    expect(lastBegun([started])).toEqual({ why: "shard x joined", isCutShort: false, atMs: 5000 });
    const done = entry(6, "the target has committed everything", "migration m1 completed, in epochs 1 and 2");
    expect(lastBegun([started, done])).toEqual({ why: "shard x joined", isCutShort: false, atMs: 6000 });
    const cancelled = entry(7, "CLUSTER CANCELMIGRATION", "migration m1 aborted");
    expect(lastBegun([started, cancelled])).toEqual({ why: "shard x joined", isCutShort: true, atMs: 7000 });
    const other = entry(8, "a plan", "migration m2 of slots 7 started from shard a to b, in epochs 1 and 2");
    expect(lastBegun([started, done, other])).toBeUndefined();
    const given = entry(8, "SETSLOT", "slot 7 given to shard b by its owner");
    expect(lastBegun([started, done, given])).toBeUndefined();
    const setting = entry(9, "somebody", 'setting acks is "primary"');
    expect(lastBegun([started, done, setting])?.why).toBe("shard x joined");
    const weights = entry(9, "somebody", 'setting auto-rebalance-weights is "a=0"');
    expect(lastBegun([started, done, weights])).toBeUndefined();
  });
});

describe("readWeights", () => {
  test("finds shards by name and id, and tells who is nobody's", () => {
    const map = planMap([LOWER, UPPER]);
    const { weights, unknown } = readWeights(map, `n0=0,${shardIdAt(1)}=2.5,nobody=1`);
    expect([...weights]).toEqual([
      [shardIdAt(0), 0],
      [shardIdAt(1), 2.5],
    ]);
    expect(unknown).toEqual(["nobody"]);
    expect(readWeights(map, "none")).toEqual({ weights: new Map(), unknown: [] });
  });
});
