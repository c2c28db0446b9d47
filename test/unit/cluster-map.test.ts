/** Making cluster maps: ranges in order, slots divided evenly, a sentence for what makes none. */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  type MapEntry,
  canonicalRanges,
  divideSlots,
  formatSlotRange,
  makeClusterMap,
  parseSlotRange,
} from "../../src/protocol/cluster-map.ts";

const SLOTS = 16_384;
const entry = (letter: string, port: number, ...slots: string[]): MapEntry => ({
  node: { id: letter.repeat(40), name: letter, host: "127.0.0.1", port, busPort: port + 10_000 },
  shardId: letter.repeat(40),
  slots: slots.flatMap((text) => parseSlotRange(text) ?? []),
});

test("parseSlotRange reads what formatSlotRange writes, and refuses the rest", () => {
  expect(["5", "0-16383", " 7-7 "].map(parseSlotRange)).toEqual([
    { first: 5, last: 5 },
    { first: 0, last: 16_383 },
    { first: 7, last: 7 },
  ]);
  for (const text of ["", "-1", "5-", "9-8", "16384", "0-16384", "a", "1,2", "1-2-3", "1.5"])
    expect(parseSlotRange(text), text).toBeUndefined();
  expect([formatSlotRange({ first: 3, last: 3 }), formatSlotRange({ first: 3, last: 4 })]).toEqual(["3", "3-4"]);
});

test("divideSlots covers every slot once, evenly, for any number of shards", () => {
  for (const count of [1, 2, 3, 5, 7, 100, 1000, SLOTS]) {
    const ranges = divideSlots(count);
    const sizes = ranges.map(({ first, last }) => last - first + 1);
    expect(sizes.reduce((a, b) => a + b, 0)).toBe(SLOTS);
    expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
    expect(ranges.every(({ first }, index) => first === (ranges[index - 1]?.last ?? -1) + 1)).toBe(true);
  }
  // As redis-cli divides them.
  expect(divideSlots(3).map(formatSlotRange)).toEqual(["0-5460", "5461-10922", "10923-16383"]);
});

test("canonicalRanges keeps the slots, in order, apart from each other", () => {
  const range = fc.tuple(fc.nat(60), fc.nat(10)).map(([first, more]) => ({ first, last: first + more }));
  fc.assert(
    fc.property(fc.array(range, { maxLength: 8 }), (ranges) => {
      const slotsOf = (list: readonly { first: number; last: number }[]): readonly number[] =>
        [
          ...new Set(list.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, i) => first + i))),
        ].toSorted((a, b) => a - b);
      const canonical = canonicalRanges(ranges);
      expect(slotsOf(canonical)).toEqual([...slotsOf(ranges)]);
      for (const [index, { first }] of canonical.entries())
        if (index > 0) expect(first).toBeGreaterThan((canonical[index - 1]?.last ?? 0) + 1);
    }),
  );
});

test("makeClusterMap puts shards in the order of their slots, and says whose each slot is", () => {
  const map = makeClusterMap(7, [entry("c", 3), entry("b", 2, "100-199", "0-5"), entry("a", 1, "6-99")]);
  if (typeof map === "string") throw new Error(map);
  expect(map.version).toBe(7);
  expect(map.nodes.map(({ name }) => name)).toEqual(["a", "b", "c"]);
  expect(map.shards.map(({ id }) => id[0])).toEqual(["b", "a", "c"]);
  expect([0, 5, 6, 99, 100, 199, 200].map((slot) => map.shardOfSlot[slot])).toEqual([0, 0, 1, 1, 0, 0, -1]);
});

test("makeClusterMap refuses ids, addresses and slots that two nodes have", () => {
  expect(makeClusterMap(1, [entry("a", 1), entry("a", 2)])).toBe(
    `two nodes have the id ${"a".repeat(40)} (names "a", "a")`,
  );
  expect(makeClusterMap(1, [entry("a", 1), entry("b", 1)])).toBe("two nodes have the address 127.0.0.1:1");
  expect(makeClusterMap(1, [entry("a", 1, "0-10"), entry("b", 2, "10")])).toBe("two nodes have slot 10");
});
