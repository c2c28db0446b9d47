/** Chance from a seed: the numbers are fixed for good, streams are independent, and distributions are what they say. */

import { describe, expect, test } from "bun:test";
import { SimRandom } from "../support/sim-random.ts";

describe("SimRandom", () => {
  test("gives the same numbers for a seed, in every version and on every engine", () => {
    const random = new SimRandom(42);
    const words = [random.word(), random.word(), random.word()];
    expect(words).toEqual([1_047_100_367, 841_928_400, 3_962_140_578]);
    expect(random.fork("network").fraction()).toBe(0.05198303068286292);
    expect(random.fork("disk").exponential(10)).toBe(5.262941170219342);
  });

  test("gives other numbers for another seed", () => {
    const first = new Set(Array.from({ length: 1000 }, (_, seed) => new SimRandom(seed).word()));
    expect(first.size).toBe(1000);
  });

  test("fork depends on seed and label alone, not on what was drawn", () => {
    const random = new SimRandom("seed");
    const before = random.fork("a").word();
    random.word();
    expect(random.fork("a").word()).toBe(before);
    expect(random.fork("b").word()).not.toBe(before);
    expect(new SimRandom("other").fork("a").word()).not.toBe(before);
  });

  test("below covers its whole range evenly", () => {
    const random = new SimRandom(1);
    for (const bound of [1, 2, 7, 10]) {
      const counts = Array.from({ length: bound }, () => 0);
      for (let i = 0; i < bound * 2000; i++) {
        const value = random.below(bound);
        counts[value] = (counts[value] ?? 0) + 1;
      }
      expect(counts).toHaveLength(bound);
      for (const count of counts) expect(Math.abs(count - 2000)).toBeLessThan(250);
    }
    for (let i = 0; i < 100; i++) expect(random.below(2 ** 31)).toBeLessThan(2 ** 31);
  });

  test("fraction is from 0 to below 1, with a mean of a half", () => {
    const random = new SimRandom(2);
    let sum = 0;
    for (let i = 0; i < 10_000; i++) {
      const fraction = random.fraction();
      expect(fraction >= 0 && fraction < 1).toBe(true);
      sum += fraction;
    }
    expect(sum / 10_000).toBeCloseTo(0.5, 1);
  });

  test("exponential has its mean, and e^-1 of it lies above", () => {
    const random = new SimRandom(3);
    const values = Array.from({ length: 20_000 }, () => random.exponential(8));
    expect(Math.abs(values.reduce((sum, value) => sum + value, 0) / 20_000 - 8)).toBeLessThan(0.3);
    const above = values.filter((value) => value > 8).length / 20_000;
    expect(Math.abs(above - 1 / Math.E)).toBeLessThan(0.02);
  });

  test("chance of 0 is never, of 1 always, and neither draws", () => {
    const random = new SimRandom(4);
    const twin = new SimRandom(4);
    for (let i = 0; i < 100; i++) {
      expect(random.chance(0)).toBe(false);
      expect(random.chance(1)).toBe(true);
    }
    expect(random.word()).toBe(twin.word());
    let hits = 0;
    for (let i = 0; i < 10_000; i++) if (random.chance(0.2)) hits++;
    expect(Math.abs(hits - 2000)).toBeLessThan(200);
  });

  test("weighted never picks what weighs nothing, and others by their weight", () => {
    const random = new SimRandom(5);
    const counts = { a: 0, b: 0, c: 0 };
    for (let i = 0; i < 4000; i++)
      counts[
        random.weighted<"a" | "b" | "c">([
          [0, "a"],
          [1, "b"],
          [3, "c"],
        ])
      ]++;
    expect(counts.a).toBe(0);
    expect(Math.abs(counts.b - 1000)).toBeLessThan(150);
  });

  test("shuffle keeps the items and reaches each order", () => {
    const random = new SimRandom(6);
    const orders = new Set<string>();
    for (let i = 0; i < 200; i++) orders.add(random.shuffle(["a", "b", "c"]).join(""));
    expect([...orders].toSorted()).toEqual(["abc", "acb", "bac", "bca", "cab", "cba"]);
  });

  test("bytes has the length that was asked for, and no pattern", () => {
    const random = new SimRandom(7);
    for (const length of [0, 1, 3, 4, 5, 17]) expect(random.bytes(length)).toHaveLength(length);
    expect(new Set(random.bytes(4096)).size).toBe(256);
  });
});
