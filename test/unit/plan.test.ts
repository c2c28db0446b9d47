/** Plans: what they leave alone, how shards are called, when a plan is stale, and the file that keeps one. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import type { ClusterMap } from "../../src/contracts/topology.ts";
import { encodePlanFile, readPlanFile } from "../../src/cli/plan-file.ts";
import { pickSlots } from "../../src/protocol/plan/pick.ts";
import { type Plan, findShard, whyStale } from "../../src/protocol/plan/plan.ts";
import { type PlanOutcome, planDrain, planRebalance } from "../../src/protocol/plan/rebalance.ts";
import { formatSlotRange } from "../../src/protocol/slot-ranges.ts";
import { loadsOf, planMap, shardIdAt } from "../support/plan-map.ts";

const EVEN = loadsOf(() => ({ keys: 1, bytes: 100, load: 1 }));
const HALVES = [{ slots: [{ first: 0, last: 8191 }] }, { slots: [{ first: 8192, last: 16_383 }] }];

function planOf(outcome: PlanOutcome): Plan {
  if ("problem" in outcome) throw new Error(outcome.problem);
  return outcome;
}

/** The map after somebody has emptied shards. */
function emptied(map: ClusterMap, ...which: readonly number[]): ClusterMap {
  const shards = map.shards.map((shard, at) => (which.includes(at) ? { ...shard, wasEmptied: true as const } : shard));
  return { ...map, shards };
}

/** Moves as text: `0>2: 0-99`. */
function movesOf(outcome: PlanOutcome): readonly string[] {
  const at = (id: string): string => id.slice(1, 2);
  return planOf(outcome).moves.map(
    ({ source, target, slots }) => `${at(source)}>${at(target)}: ${slots.map(formatSlotRange).join(" ")}`,
  );
}

describe("a rebalance", () => {
  test("gives a shard without slots its part, of each of the others one range, where they lie together", () => {
    const map = planMap([...HALVES, { slots: [] }]);
    expect(movesOf(planRebalance(map, EVEN, { threshold: 0 }))).toEqual(["0>2: 5462-8191", "1>2: 8192-10922"]);
    expect(movesOf(planRebalance(map, EVEN, { leavesEmpty: true }))).toEqual([]);
    // One that is given a weight is meant.
    const weights = new Map([[shardIdAt(2), 1]]);
    expect(movesOf(planRebalance(map, EVEN, { leavesEmpty: true, threshold: 0, weights }))).toHaveLength(2);
  });

  test("from three shards to six is three moves: none has a rest of one slot that comes from elsewhere", () => {
    const map = planMap([
      { slots: [{ first: 0, last: 5460 }] },
      { slots: [{ first: 5461, last: 10_922 }] },
      { slots: [{ first: 10_923, last: 16_383 }] },
      { slots: [] },
      { slots: [] },
      { slots: [] },
    ]);
    const { moves, slotCount } = planOf(planRebalance(map, EVEN));
    // No more than the threshold wants: 2 % below their part of 2730.7.
    expect([moves.length, slotCount]).toEqual([3, 3 * 2676]);
  });

  test("within the threshold moves nothing, and beyond it what the threshold wants", () => {
    const map = planMap([{ slots: [{ first: 0, last: 8291 }] }, { slots: [{ first: 8292, last: 16_383 }] }]);
    expect(movesOf(planRebalance(map, EVEN))).toEqual([]);
    expect(movesOf(planRebalance(map, EVEN, { threshold: 0 }))).toEqual(["0>1: 8192-8291"]);
    expect(movesOf(planRebalance(map, EVEN, { threshold: 0.01 }))).toEqual(["0>1: 8274-8291"]);
  });

  test("lets alone what is being moved already, and counts it where it goes", () => {
    const migration = {
      id: "m",
      source: shardIdAt(0),
      target: shardIdAt(2),
      slots: [{ first: 0, last: 4999 }],
      state: "started",
      isPaused: false,
      cause: "",
      startedAtMs: 0,
    } as const;
    const map = planMap([...HALVES, { slots: [] }], [migration]);
    const moves = planOf(planRebalance(map, EVEN, { threshold: 0 })).moves;
    expect(moves.flatMap(({ slots }) => slots).every(({ first }) => first > 4999)).toBe(true);
    expect(moves.reduce((sum, { slotCount }) => sum + slotCount, 0)).toBe(8192 - 5462);
  });

  test("leaves shards out, and says why there is no plan where nobody is left", () => {
    const map = planMap([...HALVES, { slots: [] }]);
    expect(movesOf(planRebalance(map, EVEN, { threshold: 0, leftOut: new Set([shardIdAt(0)]) }))).toEqual([
      "1>2: 8192-12287",
    ]);
    const weights = new Map([0, 1, 2].map((at) => [shardIdAt(at), 0] as const));
    expect(planRebalance(map, EVEN, { weights })).toEqual({ problem: "there is no shard that slots could go to" });
  });

  test("moves slots to shards with as many members in sync; to others only if that is allowed, and says so", () => {
    const map = planMap([
      { slots: [{ first: 0, last: 16_383 }], inSync: 2 },
      { slots: [], inSync: 2 },
      { slots: [], inSync: 1 },
    ]);
    const plan = planOf(planRebalance(map, EVEN, { threshold: 0, allowsFewerCopies: true }));
    expect(plan.moves).toHaveLength(2);
    expect(plan.warnings).toHaveLength(1);
    expect(plan.warnings[0]).toContain(
      `from shard ${shardIdAt(0)}, which has 2 members in sync, to shard ${shardIdAt(2)}, which has 1: there will be fewer copies of them`,
    );
    const keeping = planRebalance(map, EVEN, { threshold: 0 });
    expect(movesOf(keeping)).toEqual(["0>1: 0-8191"]);
    expect(planOf(keeping).warnings).toContain(
      `shard ${shardIdAt(2)} stays 100.0 % below its part: it has fewer members in sync than those that could give it any`,
    );
    // Emptied, all of it goes where it has as many copies.
    expect(movesOf(planDrain(map, EVEN, [shardIdAt(0)]))).toEqual(["0>1: 0-16383"]);
    // Where nobody has as many, it keeps them.
    const alone = planMap([
      { slots: [{ first: 0, last: 16_383 }], inSync: 2 },
      { slots: [], inSync: 1 },
    ]);
    const kept = planOf(planDrain(alone, EVEN, [shardIdAt(0)]));
    expect(kept.moves).toEqual([]);
    expect(kept.warnings).toEqual([
      `shard ${shardIdAt(0)} keeps its slots: no other has as many members in sync; give others replicas, or allow fewer copies`,
    ]);
    expect(movesOf(planDrain(alone, EVEN, [shardIdAt(0)], { allowsFewerCopies: true }))).toEqual(["0>1: 0-16383"]);
  });

  test("names the slot that is too large to be moved", () => {
    const loads = loadsOf((slot) => {
      const keys = slot === 7 ? 1_000_000 : 1;
      return { keys, bytes: keys * 10, load: keys };
    });
    const plan = planOf(planRebalance(planMap(HALVES), loads, { by: "keys" }));
    expect(plan.warnings[0]).toMatch(
      new RegExp(`^shard ${shardIdAt(0)} stays [0-9.]+ % above its part: slots are moved whole, and slot 7 alone has`),
    );
  });
});

describe("a shard that was emptied", () => {
  const THIRD = { slots: [] };
  const EMPTIED = `shard ${shardIdAt(2)} was emptied, and stays so`;

  test("gets nothing by a rebalance, which says so, unless it is given a weight", () => {
    const map = emptied(planMap([...HALVES, THIRD]), 2);
    const plan = planOf(planRebalance(map, EVEN, { threshold: 0 }));
    expect([plan.moves, plan.warnings]).toEqual([[], [`${EMPTIED}; it gets its part if it is given a weight`]]);
    const weights = new Map([[shardIdAt(2), 1]]);
    const meant = planOf(planRebalance(map, EVEN, { threshold: 0, weights }));
    expect([movesOf(meant), meant.warnings]).toEqual([["0>2: 5462-8191", "1>2: 8192-10922"], []]);
    expect(planOf(planRebalance(map, EVEN, { leavesEmpty: true })).warnings).toEqual([]);
    const leaving = new Map([0, 1].map((at) => [shardIdAt(at), 0] as const));
    expect(planRebalance(map, EVEN, { weights: leaving })).toEqual({
      problem: "there is no shard that slots could go to: those that were emptied get some if they are given a weight",
    });
  });

  test("gets nothing when the next one is drained, also while its own slots are still on their way", () => {
    const map = emptied(planMap([...HALVES, THIRD, { slots: [] }]), 2);
    const plan = planOf(planDrain(map, EVEN, [shardIdAt(0)]));
    expect([movesOf(plan), plan.warnings]).toEqual([["0>3: 0-8191"], [EMPTIED]]);
    const migration = {
      id: "m",
      source: shardIdAt(0),
      target: shardIdAt(2),
      slots: [{ first: 0, last: 8191 }],
      state: "started",
      isPaused: false,
      cause: "",
      startedAtMs: 0,
    } as const;
    expect(movesOf(planDrain(planMap([...HALVES, THIRD], [migration]), EVEN, [shardIdAt(1)]))).toEqual([
      "1>2: 8192-16383",
    ]);
  });

  test("is filled again by a drain of the only one that has slots, which says so", () => {
    const map = emptied(planMap([{ slots: [{ first: 0, last: 16_383 }] }, { slots: [] }]), 1);
    const plan = planOf(planDrain(map, EVEN, [shardIdAt(0)]));
    expect([movesOf(plan), plan.warnings]).toEqual([
      ["0>1: 0-16383"],
      [`shard ${shardIdAt(1)} was emptied, and gets slots again: there is no other that could take them`],
    ]);
    // One that is there, and may not take what has more copies, is no other.
    const shards = [{ slots: [{ first: 0, last: 16_383 }], inSync: 2 }, { slots: [], inSync: 2 }, { slots: [] }];
    expect(movesOf(planDrain(emptied(planMap(shards), 1), EVEN, [shardIdAt(0)]))).toEqual(["0>1: 0-16383"]);
  });
});

describe("a drain", () => {
  test("empties several shards at once, and gives nothing from one of them to another", () => {
    const map = planMap([...HALVES, { slots: [] }, { slots: [] }]);
    const plan = planOf(planDrain(map, EVEN, [shardIdAt(0), shardIdAt(1)]));
    expect(movesOf(plan)).toEqual(["0>2: 0-4095", "0>3: 4096-8191", "1>2: 8192-12287", "1>3: 12288-16383"]);
    expect(planDrain(map, EVEN, [0, 1, 2, 3].map(shardIdAt))).toEqual({
      problem: "there is no other shard that slots could go to",
    });
  });

  test("divides slots that hold nothing too, and an empty shard is empty already", () => {
    const map = planMap([...HALVES, { slots: [] }]);
    const empty = loadsOf(() => ({ keys: 0, bytes: 0, load: 0 }));
    expect(movesOf(planDrain(map, empty, [shardIdAt(0)], { by: "keys" }))).toEqual(["0>1: 0-4095", "0>2: 4096-8191"]);
    const thirds = planMap([...HALVES, { slots: [] }, { slots: [] }]);
    expect(movesOf(planDrain(thirds, empty, [shardIdAt(0)], { by: "bytes" }))).toEqual([
      "0>1: 0-2730",
      "0>2: 2731-5460",
      "0>3: 5461-8191",
    ]);
    expect(movesOf(planDrain(map, EVEN, [shardIdAt(2)]))).toEqual([]);
    expect(planDrain(planMap([HALVES[0] ?? { slots: [] }]), EVEN, [shardIdAt(0)])).toEqual({
      problem: "there is no other shard that slots could go to",
    });
  });
});

test("a range in the middle is taken only where that saves a tenth of the bytes", () => {
  const amount = new Float64Array(100).fill(1);
  const run = [{ first: 10, last: 59 }];
  const pick = (bytesOfMiddle: number): readonly string[] => {
    const bytes = new Float64Array(100).fill(100);
    bytes.fill(bytesOfMiddle, 30, 40);
    return pickSlots({ runs: run, amount, bytes, isTargets: () => false }, 10, 10).map(formatSlotRange);
  };
  expect(pick(95)).toEqual(["10-19"]);
  expect(pick(80)).toEqual(["30-39"]);
  // Beside what the target has already.
  const bytes = new Float64Array(100).fill(100);
  const beside = pickSlots({ runs: run, amount, bytes, isTargets: (slot) => slot === 60 }, 10, 10);
  expect(beside.map(formatSlotRange)).toEqual(["50-59"]);
  // Of several runs when one is too short; and nothing where every slot is too much.
  const short = [
    { first: 0, last: 3 },
    { first: 10, last: 17 },
  ];
  expect(pickSlots({ runs: short, amount, bytes, isTargets: () => false }, 10, 10).map(formatSlotRange)).toEqual([
    "10-17",
    "0-1",
  ]);
  expect(pickSlots({ runs: short, amount, bytes, isTargets: () => false }, 0.5, 0.7)).toEqual([]);
});

test("a shard is found by its id, a member's id or name, or the beginning of an id; else it is said why not", () => {
  const map = planMap(HALVES);
  const [first] = map.shards;
  const node = present(map.nodes[0], "there is a node");
  for (const text of [shardIdAt(0), node.id, "n0", "5000", "A000"])
    expect(findShard(map, text)).toBe(present(first, "a shard"));
  const problem = (text: string): string => {
    const found = findShard(map, text);
    return "problem" in found ? found.problem : "found";
  };
  expect(problem("500")).toBe("there is no shard or node 500");
  expect(problem("nobody")).toBe("there is no shard or node nobody");
  const twins = { ...map, shards: map.shards.map((shard) => ({ ...shard, id: `5555${shard.id}` })) };
  const found = findShard(twins, "5555");
  expect("problem" in found && found.problem).toBe("several shards or nodes have ids that begin with 5555");
});

describe("a plan that was made", () => {
  const map = planMap([...HALVES, { slots: [] }]);
  const plan = planOf(planRebalance(map, EVEN));

  test("is stale when a shard of it has changed or is gone, or for another cluster; another shard's change is none of its business", () => {
    expect(whyStale(plan, map)).toBeUndefined();
    expect(whyStale(plan, { ...map, version: 99 })).toBeUndefined();
    expect(whyStale(plan, { ...map, clusterId: "d".repeat(40) })).toContain("it was made for cluster cccccccc");
    const changed = map.shards.map((shard, at) => (at === 1 ? { ...shard, version: 50 } : shard));
    expect(whyStale(plan, { ...map, shards: changed })).toBe(
      `shard ${shardIdAt(1)} has changed since (it is at version 50, and the plan was made on 2)`,
    );
    expect(whyStale(plan, { ...map, shards: map.shards.slice(0, 2) })).toBe(
      `there is no shard ${shardIdAt(2)} any more`,
    );
  });

  test("comes back from its file, and is refused when somebody has changed it", () => {
    const text = encodePlanFile(plan);
    expect(readPlanFile(text, "p")).toEqual(plan);
    expect(() => readPlanFile(text.replace('"keys": 2', '"keys": 3'), "p")).toThrow("was changed after it was made");
    expect(() => readPlanFile("{", "p")).toThrow('Plan "p" is not JSON');
    expect(() => readPlanFile(text.replace('"drain"', "").replace('"rebalance"', '"chaos"'), "p")).toThrow(
      "cannot be read: kind",
    );
    expect(() => readPlanFile(text.replace("bunch-plan-1", "bunch-plan-2"), "p")).toThrow("cannot be read: format");
  });
});
