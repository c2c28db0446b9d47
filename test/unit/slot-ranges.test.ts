/** Ranges of slots: read, written, in order, divided evenly. */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  canonicalRanges,
  coversRanges,
  divideSlots,
  findRepeatedSlot,
  formatSlotRange,
  parseSlotRange,
  subtractRanges,
} from "../../src/protocol/slot-ranges.ts";

const SLOTS = 16_384;

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

const drawn = fc
  .array(fc.tuple(fc.nat(60), fc.nat(3)), { maxLength: 20 })
  .map((pairs) => pairs.map(([first, more]) => ({ first, last: first + more })));

test("findRepeatedSlot names the first range that has a slot again, and the lowest such slot", () => {
  fc.assert(
    fc.property(drawn, (ranges) => {
      const seen = new Set<number>();
      let wanted: { readonly index: number; readonly slot: number } | undefined;
      for (const [index, { first, last }] of ranges.entries()) {
        const slots = Array.from({ length: last - first + 1 }, (_, at) => first + at);
        const slot = slots.find((each) => seen.has(each));
        if (slot !== undefined) wanted ??= { index, slot };
        for (const each of slots) seen.add(each);
      }
      expect(findRepeatedSlot(ranges)).toEqual(wanted);
    }),
  );
});

test("coversRanges says whether nothing is left of the others", () => {
  fc.assert(
    fc.property(drawn.map(canonicalRanges), drawn.map(canonicalRanges), (ranges, others) => {
      expect(coversRanges(ranges, others)).toBe(subtractRanges(others, ranges).length === 0);
      expect(coversRanges(canonicalRanges([...ranges, ...others]), others)).toBe(true);
    }),
  );
});

test("findRepeatedSlot reads each range once, however many there are", () => {
  let reads = 0;
  const ranges = Array.from({ length: SLOTS }, (_, slot) => ({
    get first() {
      reads += 1;
      return slot;
    },
    last: slot,
  }));
  expect(findRepeatedSlot(ranges)).toBeUndefined();
  expect(reads).toBe(SLOTS);
});
