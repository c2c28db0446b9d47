/** Plans of moves: whatever the map and the loads, what a plan promises holds. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { SLOT_COUNT } from "../../src/codec/slot.ts";
import type { ClusterMap } from "../../src/contracts/topology.ts";
import { PLAN_MEASURES, type Plan, type PlanMeasure } from "../../src/protocol/plan/plan.ts";
import { type PlanOptions, planDrain, planRebalance } from "../../src/protocol/plan/rebalance.ts";
import { amountsOf, drawnWith, loadsOf, mapAfter, planMap } from "../support/plan-map.ts";

const drawn = drawnWith(6);
/** No slot has much more than another. */
const calm = drawnWith(0);
const measure = fc.constantFrom(...PLAN_MEASURES);
const threshold = fc.constantFrom(0, 0.02, 0.1, 0.5);
const weightList = fc.array(fc.constantFrom(0, 0.5, 1, 1, 1, 2, 3), { minLength: 6, maxLength: 6 });
const options = fc.record({ by: measure, threshold, weightList, allowsFewerCopies: fc.boolean() });

function weightsOf(map: ClusterMap, list: readonly number[]): ReadonlyMap<string, number> {
  return new Map(map.shards.map(({ id }, at) => [id, list[at] ?? 1]));
}

function planOf(outcome: ReturnType<typeof planRebalance>): Plan {
  if ("problem" in outcome) throw new Error(outcome.problem);
  return outcome;
}

function optionsOf(
  map: ClusterMap,
  { weightList, ...rest }: { readonly by: PlanMeasure; readonly weightList: readonly number[] },
): PlanOptions {
  return { ...rest, weights: weightsOf(map, weightList) };
}

const RUNS = { numRuns: 30 };

describe("a rebalance", () => {
  test("moves no slot twice, and a plan of what it leads to is empty; the same plan has the same id", () => {
    fc.assert(
      fc.property(drawn, options, ({ map, loads }, each) => {
        fc.pre(each.weightList.slice(0, map.shards.length).some((weight) => weight > 0));
        const chosen = optionsOf(map, each);
        const plan = planOf(planRebalance(map, loads, chosen));
        const after = mapAfter(map, plan.moves);
        expect(planOf(planRebalance(after, loads, chosen)).moves).toEqual([]);
        expect(planOf(planRebalance(map, loads, chosen)).id).toBe(plan.id);
        expect(amountsOf(after, loads, each.by)).toEqual(plan.after.shares.map((share) => share[each.by]));
        expect(amountsOf(map, loads, each.by)).toEqual(plan.before.shares.map((share) => share[each.by]));
      }),
      RUNS,
    );
  }, 120_000);

  test("by slots, every shard ends within the threshold of its part, by its weight; those of weight 0 with none", () => {
    fc.assert(
      fc.property(drawn, threshold, weightList, ({ map, loads }, limit, list) => {
        const weights = weightsOf(map, list);
        const sum = [...weights.values()].reduce((total, weight) => total + weight, 0);
        fc.pre(sum > 0);
        const after = mapAfter(
          map,
          planOf(planRebalance(map, loads, { threshold: limit, weights, allowsFewerCopies: true })).moves,
        );
        for (const [at, amount] of amountsOf(after, loads, "slots").entries()) {
          const weight = list[at] ?? 1;
          const part = (SLOT_COUNT * weight) / sum;
          expect(amount).toBeGreaterThanOrEqual(Math.floor(part * (1 - limit) + 1e-6));
          expect(amount).toBeLessThanOrEqual(Math.ceil(part * (1 + limit) - 1e-6));
          if (weight === 0) expect(amount).toBe(0);
        }
      }),
      RUNS,
    );
  }, 120_000);

  test("by what is in the slots, no shard ends farther beyond the threshold than the largest slot", () => {
    fc.assert(
      fc.property(calm, fc.constantFrom("keys", "bytes", "load"), threshold, ({ map, loads }, by, limit) => {
        const after = amountsOf(
          mapAfter(map, planOf(planRebalance(map, loads, { by, threshold: limit, allowsFewerCopies: true })).moves),
          loads,
          by,
        );
        const total = after.reduce((sum, amount) => sum + amount, 0);
        const part = total / after.length;
        const largest = Math.max(...loads[by]);
        for (const amount of after) {
          expect(Math.abs(amount - part)).toBeLessThanOrEqual(limit * part + largest + 1e-6 * total);
        }
      }),
      RUNS,
    );
  }, 120_000);

  test("where slots are too large for that, what is beyond the thresholds is not more than before, and who stays beyond is named", () => {
    fc.assert(
      fc.property(drawn, fc.constantFrom("keys", "bytes", "load"), ({ map, loads }, by) => {
        const plan = planOf(planRebalance(map, loads, { by }));
        const after = amountsOf(mapAfter(map, plan.moves), loads, by);
        const total = after.reduce((sum, amount) => sum + amount, 0);
        const part = total / after.length;
        const beyond = (amount: number): number => Math.max(0, Math.abs(amount - part) - 0.02 * part);
        const sumOf = (amounts: readonly number[]): number => amounts.reduce((sum, amount) => sum + beyond(amount), 0);
        expect(sumOf(after)).toBeLessThanOrEqual(sumOf(amountsOf(map, loads, by)) + 1e-6 * total);
        for (const [at, amount] of after.entries()) {
          const says = plan.warnings.some((text) => text.startsWith(`shard ${map.shards[at]?.id} stays`));
          if (beyond(amount) > 1e-6 * total) expect(says).toBe(true);
          if (beyond(amount) === 0) expect(says).toBe(false);
        }
      }),
      RUNS,
    );
  }, 120_000);

  test("moves what the threshold wants and hardly more: beyond the least that any plan must move, two slots for each move", () => {
    fc.assert(
      fc.property(calm, measure, threshold, ({ map, loads }, by, limit) => {
        const plan = planOf(planRebalance(map, loads, { by, threshold: limit, allowsFewerCopies: true }));
        const before = amountsOf(map, loads, by);
        const total = before.reduce((sum, amount) => sum + amount, 0);
        const part = total / before.length;
        const round = (amount: number, how: (value: number) => number): number =>
          by === "slots" ? how(amount) : amount;
        const most = round(part * (1 + limit) - 1e-6, Math.ceil);
        const least = round(part * (1 - limit) + 1e-6, Math.floor);
        const tooMuch = before.reduce((sum, amount) => sum + Math.max(0, amount - most), 0);
        const tooLittle = before.reduce((sum, amount) => sum + Math.max(0, least - amount), 0);
        const bound = Math.max(tooMuch, tooLittle);
        const largest = by === "slots" ? 1 : Math.max(...loads[by]);
        const moved = plan.moves.reduce(
          (sum, { slots }) =>
            sum +
            slots.reduce((all, { first, last }) => {
              let here = 0;
              for (let slot = first; slot <= last; slot += 1) here += by === "slots" ? 1 : (loads[by][slot] ?? 0);
              return all + here;
            }, 0),
          0,
        );
        if (bound === 0) expect(plan.moves).toEqual([]);
        expect(moved).toBeLessThanOrEqual(bound + 2 * largest * (plan.moves.length + 1) + 1e-6 * total);
      }),
      RUNS,
    );
  }, 120_000);

  test("of slots that are worth the same, light ones move: no more bytes than the heaviest choice, and within a tenth of the lightest range", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8000 }), fc.integer({ min: 1, max: 200 }), (from, heavy) => {
        const map = planMap([{ slots: [{ first: 0, last: SLOT_COUNT - 1 }] }, { slots: [] }]);
        const isLight = (slot: number): boolean => slot >= from && slot < from + 8192;
        const loads = loadsOf((slot) => ({ keys: 1, bytes: isLight(slot) ? 10 : 10 + heavy, load: 1 }));
        const plan = planOf(planRebalance(map, loads, { threshold: 0 }));
        expect(plan.slotCount).toBe(8192);
        expect(plan.bytes).toBeLessThanOrEqual(8192 * 10 * 1.11);
        expect(plan.moves.flatMap(({ slots }) => slots)).toHaveLength(1);
      }),
      RUNS,
    );
  }, 120_000);

  test("live copies never become fewer, unless that is allowed; then the plan says where", () => {
    fc.assert(
      fc.property(drawn, options, ({ map, loads }, each) => {
        fc.pre(each.weightList.slice(0, map.shards.length).some((weight) => weight > 0));
        const plan = planOf(planRebalance(map, loads, optionsOf(map, each)));
        const copies = (id: string): number => map.shards.find((shard) => shard.id === id)?.inSync.length ?? 0;
        const fewer = plan.moves.filter(({ source, target }) => copies(target) < copies(source));
        const said = plan.warnings.filter((text) => text.includes("there will be fewer copies"));
        expect(said).toHaveLength(fewer.length);
        if (!each.allowsFewerCopies) expect(fewer).toEqual([]);
      }),
      RUNS,
    );
  }, 120_000);
});

describe("a drain", () => {
  test("leaves its shard empty, moves nothing of the others', and brings up those first that have least", () => {
    fc.assert(
      fc.property(drawn, measure, fc.nat(5), ({ map, loads }, by, at) => {
        const shard = map.shards[at % map.shards.length];
        const plan = planOf(planDrain(map, loads, [shard?.id ?? ""], { by, allowsFewerCopies: true }));
        expect(plan.moves.every(({ source }) => source === shard?.id)).toBe(true);
        const after = mapAfter(map, plan.moves);
        const index = at % map.shards.length;
        expect(after.shardOfSlot.includes(index)).toBe(false);
        expect(planOf(planDrain(after, loads, [shard?.id ?? ""], { by })).moves).toEqual([]);
        // Who got something has hardly more than who got nothing.
        const own = shard?.inSync.length ?? 0;
        const others = map.shards.filter((each) => each !== shard);
        const enough = others.filter(({ inSync }) => inSync.length >= own);
        const took = new Set(plan.moves.map(({ target }) => target));
        const able = enough.length > 0 ? enough : others;
        expect([...took].every((id) => able.some((each) => each.id === id))).toBe(true);
        const has = new Map(map.shards.map(({ id }, place) => [id, amountsOf(after, loads, by)[place] ?? 0]));
        const largest = by === "slots" ? 1 : Math.max(...loads[by]);
        const total = [...has.values()].reduce((sum, amount) => sum + amount, 0);
        for (const id of took) {
          for (const other of able) {
            expect((has.get(id) ?? 0) - (has.get(other.id) ?? 0)).toBeLessThanOrEqual(2 * largest + 0.002 * total + 1);
          }
        }
      }),
      RUNS,
    );
  }, 120_000);

  test("gives each of the others one range for each that there was, and one more", () => {
    fc.assert(
      fc.property(drawn, fc.nat(5), ({ map, loads }, at) => {
        const shard = map.shards[at % map.shards.length];
        const plan = planOf(planDrain(map, loads, [shard?.id ?? ""]));
        const ranges = plan.moves.flatMap(({ slots }) => slots).length;
        expect(ranges).toBeLessThanOrEqual((shard?.slots.length ?? 0) + map.shards.length - 2);
      }),
      RUNS,
    );
  });
});
