/** Rebalancing by itself: whatever the map and the loads, it makes things more even step by step, and comes to rest. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import type { ClusterMap } from "../../src/contracts/topology.ts";
import {
  AutoRebalancer,
  type AutoRebalanceOptions,
  type Sight,
  unevennessOf,
} from "../../src/protocol/plan/auto-rebalance.ts";
import { PLAN_MEASURES, type PlanLoads, type PlanMeasure } from "../../src/protocol/plan/plan.ts";
import { amountsOf, drawnWith, mapAfter } from "../support/plan-map.ts";

const BASE: AutoRebalanceOptions = {
  threshold: 0.2,
  lastsMs: 60_000,
  settleMs: 10_000,
  tasksAtOnce: 1,
  slotsPerTask: 400,
  bytesPerTask: 1e9,
  bytesPerSecond: 0,
  pauseMs: 100,
  leastBytes: 0,
  leastOperations: 0,
};
const LOOK_MS = 5000;
/** More steps than any of these needs. */
const MOST_STEPS = 1000;

const limits = fc.record({
  threshold: fc.constantFrom(0.05, 0.2, 0.5),
  tasksAtOnce: fc.integer({ min: 1, max: 3 }),
  slotsPerTask: fc.constantFrom(150, 400, 3000, 16_384),
  bytesPerTask: fc.constantFrom(500_000, 1e9),
});
const measure = fc.constantFrom(...PLAN_MEASURES);
const weightList = fc.array(fc.constantFrom(0, 1, 1, 1, 1, 2), { minLength: 6, maxLength: 6 });

/** How far all are from their parts: what each step must lessen. */
function spreadOf(map: ClusterMap, loads: PlanLoads, by: PlanMeasure, weights: Sight["weights"]): number {
  const has = amountsOf(map, loads, by);
  const total = has.reduce((sum, amount) => sum + amount, 0);
  const weightOf = (at: number): number => weights.get(map.shards[at]?.id ?? "") ?? 1;
  const all = has.reduce((sum, _, at) => sum + weightOf(at), 0);
  return has.reduce((sum, amount, at) => {
    const part = (total * weightOf(at)) / all;
    return part === 0 ? sum : sum + (amount - part) ** 2 / part;
  }, 0);
}

function slotsAt(map: ClusterMap, isChosen: (id: string) => boolean): number {
  return amountsOf(map, NO_LOADS, "slots").reduce(
    (sum, count, at) => sum + (isChosen(map.shards[at]?.id ?? "") ? count : 0),
    0,
  );
}
const NO_LOADS: PlanLoads = { keys: new Float64Array(0), bytes: new Float64Array(0), load: new Float64Array(0) };

interface Watched {
  readonly map: ClusterMap;
  readonly steps: number;
}

/** Looks until nothing has moved for so long that everything has had its time again. Checks each step. */
function watch(
  start: ClusterMap,
  loads: PlanLoads,
  by: PlanMeasure,
  options: AutoRebalanceOptions,
  weights: Sight["weights"] = new Map(),
): Watched {
  const rebalancer = new AutoRebalancer(options);
  let map = start;
  let steps = 0;
  let nowMs = 0;
  let quietSinceMs = 0;
  while (nowMs - quietSinceMs < 4 * (options.lastsMs + options.settleMs)) {
    nowMs += LOOK_MS;
    const verdict = rebalancer.look(
      { map, by, weights, measured: { loads, operations: loads.load }, takesSlots: () => true, obstacle: undefined },
      nowMs,
    );
    if (verdict.type !== "move") continue;
    expect(verdict.moves.length).toBeGreaterThan(0);
    expect(verdict.moves.length).toBeLessThanOrEqual(options.tasksAtOnce);
    expect(new Set(verdict.moves.map(({ source, target }) => `${source} ${target}`)).size).toBe(verdict.moves.length);
    const copies = (id: string): number => map.shards.find((shard) => shard.id === id)?.inSync.length ?? 0;
    for (const move of verdict.moves) {
      expect(copies(move.target)).toBeGreaterThanOrEqual(copies(move.source));
      expect(move.slotCount === 1 || move.bytes <= options.bytesPerTask || move.bytes === 0).toBe(true);
      if (by === "slots") expect(move.slotCount).toBeLessThanOrEqual(options.slotsPerTask);
    }
    const isLeaving = (id: string): boolean => weights.get(id) === 0;
    const before = { spread: spreadOf(map, loads, by, weights), leaving: slotsAt(map, isLeaving) };
    map = mapAfter(map, verdict.moves);
    const leaving = slotsAt(map, isLeaving);
    expect(leaving).toBeLessThanOrEqual(before.leaving);
    if (leaving === before.leaving) expect(spreadOf(map, loads, by, weights)).toBeLessThan(before.spread);
    rebalancer.began(verdict.moves, nowMs);
    rebalancer.ended(false, nowMs);
    quietSinceMs = nowMs;
    steps += 1;
    expect(steps).toBeLessThan(MOST_STEPS);
  }
  return { map, steps };
}

/** Maps and loads are long, and tell nobody anything: the seed does. */
const RUNS: fc.Parameters<unknown> = {
  numRuns: 15,
  endOnFailure: true,
  reporter({ failed, seed, counterexamplePath, errorInstance }) {
    if (failed) throw new Error(`Seed ${seed}, path "${counterexamplePath}": ${String(errorInstance)}`);
  },
};

describe("rebalancing by itself", () => {
  test("lessens the unevenness with each step, within its limits, and comes to rest for good", () => {
    fc.assert(
      fc.property(drawnWith(6), measure, limits, ({ map, loads }, by, drawn) => {
        watch(map, loads, by, { ...BASE, ...drawn });
      }),
      RUNS,
    );
  }, 300_000);

  test("empties who has the weight 0, brings others to their parts, and comes to rest", () => {
    fc.assert(
      fc.property(drawnWith(2), measure, limits, weightList, ({ map, loads }, by, drawn, list) => {
        fc.pre(list.slice(0, map.shards.length).some((weight) => weight > 0));
        const alike = {
          ...map,
          shards: map.shards.map((shard) => ({ ...shard, replicas: [], inSync: [shard.primary] })),
        };
        const weights = new Map(map.shards.map(({ id }, at) => [id, list[at] ?? 1]));
        const after = watch(alike, loads, by, { ...BASE, ...drawn }, weights);
        expect(slotsAt(after.map, (id) => weights.get(id) === 0)).toBe(0);
      }),
      RUNS,
    );
  }, 300_000);

  test("leaves slots within the threshold, where all shards have as many members in sync", () => {
    fc.assert(
      fc.property(drawnWith(0), limits, ({ map, loads }, drawn) => {
        const alike = {
          ...map,
          shards: map.shards.map((shard) => ({ ...shard, replicas: [], inSync: [shard.primary] })),
        };
        const { map: after } = watch(alike, loads, "slots", { ...BASE, ...drawn });
        const measured = { loads, operations: loads.load };
        const { off } = unevennessOf({ map: after, measured, by: "slots", weights: new Map() }) ?? { off: 1 };
        expect(Math.abs(off)).toBeLessThanOrEqual(drawn.threshold + 0.01);
        expect(slotsAt(after, () => true)).toBe(slotsAt(alike, () => true));
        for (const { slots } of after.shards) expect(slots.length).toBeGreaterThan(0);
      }),
      RUNS,
    );
  }, 300_000);
});
