/**
 * Figures: what a list of measurements comes to.
 *
 * The machine that benches run on is shared and noisy, so nothing here averages: a median forgets the round in which
 * something else ran. Two servers are compared round by round (what ran beside one ran beside the other, more or less),
 * and the median of those ratios is the answer; how far the ratios of single rounds lie apart says how much to trust it.
 */

import { assert } from "../src/assert.ts";

/** A ratio over several rounds. */
export interface Ratio {
  /** The median of the rounds' ratios. */
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
}

/** A promise in figures, and what was measured. */
export interface Bound {
  /** What is bounded, in words. */
  readonly what: string;
  /** What was measured, in `unit`. */
  readonly measured: number;
  /** The most it may be, in `unit`. */
  readonly limit: number;
  /** For example "of Redis" or "ms". */
  readonly unit: string;
}

/**
 * Finds a percentile by nearest rank: the smallest measurement that at least the given part of all does not exceed.
 *
 * @param values Measurements in any order; at least one. Not changed.
 * @param fraction 0 to 1; 0.5 is near the median, 1 the largest.
 * @returns One of the measurements.
 * @throws {Fault} If there are no values, or the fraction is out of range.
 * @example
 * ```ts
 * percentile([3, 1, 2, 4], 0.75); // 3
 * ```
 */
export function percentile(values: ArrayLike<number>, fraction: number): number {
  assert(values.length > 0, "a percentile needs at least one value");
  assert(fraction >= 0 && fraction <= 1, "a percentile's fraction is in 0..1");
  const sorted = Float64Array.from(values).sort();
  const rank = Math.max(1, Math.ceil(fraction * sorted.length));
  return sorted[rank - 1] as number;
}

/**
 * Finds the median: the middle measurement, or halfway between the middle two.
 *
 * @param values Measurements in any order; at least one. Not changed.
 * @returns The median.
 * @throws {Fault} If there are no values.
 */
export function median(values: ArrayLike<number>): number {
  assert(values.length > 0, "a median needs at least one value");
  const sorted = Float64Array.from(values).sort();
  const upper = sorted[sorted.length >> 1] as number;
  const lower = sorted[(sorted.length - 1) >> 1] as number;
  return (lower + upper) / 2;
}

/**
 * Compares two servers over rounds that were run in turns.
 *
 * @param ours One measurement a round.
 * @param theirs As many measurements, of the same rounds; none is 0.
 * @returns Ours divided by theirs.
 * @throws {Fault} If the lists are empty or not equally long.
 */
export function ratioOverRounds(ours: readonly number[], theirs: readonly number[]): Ratio {
  assert(ours.length === theirs.length, "both servers ran the same rounds");
  const ratios = ours.map((value, round) => value / (theirs[round] as number));
  return { median: median(ratios), lowest: Math.min(...ratios), highest: Math.max(...ratios) };
}

/** Says whether a bound held: at the limit is within it. */
export function isHeld(bound: Bound): boolean {
  return bound.measured <= bound.limit;
}

/**
 * Writes a number with about three digits that mean something, and with separators for thousands.
 *
 * @param value Any number.
 * @returns For example "0.873", "12.4", "123", "1,234,567"; "-" if it is not a number.
 */
export function formatFigure(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const size = Math.abs(value);
  const digits = size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3;
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** Writes bytes as mebibytes. */
export function formatMebibytes(bytes: number): string {
  return `${formatFigure(bytes / 1024 / 1024)} MiB`;
}

/** Writes a ratio with the range of its rounds: "0.87 (0.85-0.91)". */
export function formatRatio(ratio: Ratio): string {
  return `${ratio.median.toFixed(2)} (${ratio.lowest.toFixed(2)}-${ratio.highest.toFixed(2)})`;
}
