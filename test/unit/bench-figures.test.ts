/** The arithmetic of the benches: medians, percentiles, ratios, and how figures are written. */

import { describe, expect, test } from "bun:test";
import {
  formatFigure,
  formatMebibytes,
  formatRatio,
  isHeld,
  median,
  percentile,
  ratioOverRounds,
} from "../../bench/figures.ts";

describe("percentile", () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);

  test.each([
    [0, 1],
    [0.005, 1],
    [0.5, 50],
    [0.99, 99],
    [0.991, 100],
    [1, 100],
  ])("of 1 to 100 at %p is %p", (fraction, expected) => {
    expect(percentile(hundred, fraction)).toBe(expected);
  });

  test("sorts as numbers, and leaves its input alone", () => {
    const values = [10, 9, 100];
    expect(percentile(values, 1)).toBe(100);
    expect(values).toEqual([10, 9, 100]);
  });

  test("refuses no values and fractions out of range", () => {
    expect(() => percentile([], 0.5)).toThrow("at least one value");
    expect(() => percentile([1], 1.5)).toThrow("0..1");
    expect(() => percentile([1], Number.NaN)).toThrow("0..1");
  });
});

test.each([
  [[5], 5],
  [[3, 1, 2], 2],
  [[4, 1, 3, 2], 2.5],
  [[100, 2, 9, 1], 5.5],
])("median of %p is %p", (values, expected) => {
  expect(median(values)).toBe(expected);
});

describe("ratioOverRounds", () => {
  test("compares round by round, so that a slow round of both does not count", () => {
    // The third round was slow for both. Medians of the servers would compare 2 with 4; the rounds all say a half.
    expect(ratioOverRounds([1, 2, 50], [2, 4, 100])).toEqual({ median: 0.5, lowest: 0.5, highest: 0.5 });
  });

  test("gives the range of the rounds", () => {
    expect(ratioOverRounds([1, 2, 3], [2, 2, 2])).toEqual({ median: 1, lowest: 0.5, highest: 1.5 });
  });

  test("refuses rounds that only one server ran", () => {
    expect(() => ratioOverRounds([1, 2], [1])).toThrow("the same rounds");
  });
});

test.each([
  [0.8, true],
  [0.79, true],
  [0.81, false],
  [Number.NaN, false],
])("isHeld with %p measured and 0.8 allowed: %p", (measured, expected) => {
  expect(isHeld({ what: "memory", measured, limit: 0.8, unit: "of Redis" })).toBe(expected);
});

test.each([
  [0, "0.000"],
  [0.12345, "0.123"],
  [0.9999, "1.00"],
  [9.994, "9.99"],
  [9.996, "10.0"],
  [99.96, "100"],
  [1234567.8, "1,234,568"],
  [-12.34, "-12.3"],
  [Number.NaN, "-"],
  [Number.POSITIVE_INFINITY, "-"],
])("formatFigure(%p) is %p", (value, expected) => {
  expect(formatFigure(value)).toBe(expected);
});

test("formatMebibytes counts in 1024s", () => {
  expect(formatMebibytes(3 * 1024 * 1024)).toBe("3.00 MiB");
});

test("formatRatio shows the range of the rounds", () => {
  expect(formatRatio({ median: 0.874, lowest: 0.85, highest: 0.911 })).toBe("0.87 (0.85-0.91)");
});
