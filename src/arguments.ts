/** Reading arguments that many commands share: whole numbers, and times of expiry. */
import type { Call } from "./call.ts";
import { INTEGER_64_MAX, INTEGER_64_MIN, parseInteger, parseInteger64 } from "./codec/number.ts";
import { NOT_AN_INTEGER } from "./replies.ts";

/** The latest moment that is told apart from the next one: beyond it numbers are no longer exact. Some 285,000 years from here. */
export const MAX_TIME_MS = Number.MAX_SAFE_INTEGER;

/**
 * Reads a whole number of 64 bits.
 *
 * @returns The number, or NaN if the argument is none. Beyond 2^53 the nearest number there is: good for comparing, not for counting.
 */
export function integerArgument(call: Call, index: number): number {
  const start = call.start(index);
  const end = call.end(index);
  const value = parseInteger(call.bytes, start, end);
  if (Number.isSafeInteger(value) || Number.isNaN(value)) return value;
  const large = parseInteger64(call.bytes, start, end);
  return large === undefined ? Number.NaN : Number(large);
}

/** Whether one whole number is greater than another, to the last digit: `integerArgument` rounds beyond 2^53. */
export function isGreaterArgument(call: Call, index: number, otherIndex: number): boolean {
  const value = integerArgument(call, index);
  const other = integerArgument(call, otherIndex);
  if (value !== other || Number.isSafeInteger(value)) return value > other;
  const exact = parseInteger64(call.bytes, call.start(index), call.end(index));
  const exactOther = parseInteger64(call.bytes, call.start(otherIndex), call.end(otherIndex));
  return exact !== undefined && exactOther !== undefined && exact > exactOther;
}

const INTEGER_32_MIN = -(2 ** 31);
const INTEGER_32_MAX = 2 ** 31 - 1;

/**
 * Tells why a number that was read by `integerArgument` is none of 32 bits, as that of a database must be.
 *
 * @returns The error; `undefined` if it is one.
 */
export function integer32Error(value: number): string | undefined {
  if (Number.isNaN(value)) return NOT_AN_INTEGER;
  if (value >= INTEGER_32_MIN && value <= INTEGER_32_MAX) return undefined;
  return `ERR value is out of range, value must between ${INTEGER_32_MIN} and ${INTEGER_32_MAX}`;
}

/** What an argument that says when a key expires means. */
export interface ExpiryUnit {
  /** 1000 for seconds, 1 for milliseconds. */
  readonly factor: 1 | 1000;
  /** Whether it counts from this moment, and not from 1970. */
  readonly isRelative: boolean;
}

export const RELATIVE_SECONDS: ExpiryUnit = { factor: 1000, isRelative: true };
export const RELATIVE_MS: ExpiryUnit = { factor: 1, isRelative: true };
export const ABSOLUTE_SECONDS: ExpiryUnit = { factor: 1000, isRelative: false };
export const ABSOLUTE_MS: ExpiryUnit = { factor: 1, isRelative: false };

/** The unit that an option of SET or GETEX names (EX PX EXAT PXAT), or `undefined`. */
export function expiryOption(call: Call, index: number): ExpiryUnit | undefined {
  const length = call.length(index);
  if (length === 2) {
    if (call.is(index, "EX")) return RELATIVE_SECONDS;
    if (call.is(index, "PX")) return RELATIVE_MS;
  } else if (length === 4) {
    if (call.is(index, "EXAT")) return ABSOLUTE_SECONDS;
    if (call.is(index, "PXAT")) return ABSOLUTE_MS;
  }
  return undefined;
}

/**
 * Reads a time of expiry.
 *
 * @param nowMs Wall milliseconds.
 * @returns Wall milliseconds (for times before 1970 negative ones), `NaN` if the argument is no whole number, `undefined` if the time is out of range in 64 bits.
 */
export function expiryArgument(call: Call, index: number, unit: ExpiryUnit, nowMs: number): number | undefined {
  const value = parseInteger(call.bytes, call.start(index), call.end(index));
  if (Math.abs(value) < 2 ** 43) return value * unit.factor + (unit.isRelative ? nowMs : 0);
  const large = parseInteger64(call.bytes, call.start(index), call.end(index));
  if (large === undefined) return Number.NaN;
  const factor = BigInt(unit.factor);
  // As in C: the product must fit 64 bits, and so must the sum. Division rounds towards zero in both.
  if (large > INTEGER_64_MAX / factor || large < INTEGER_64_MIN / factor) return undefined;
  const atMs = large * factor + (unit.isRelative ? BigInt(nowMs) : 0n);
  if (atMs > INTEGER_64_MAX) return undefined;
  return Math.max(-MAX_TIME_MS, Math.min(MAX_TIME_MS, Number(atMs)));
}
