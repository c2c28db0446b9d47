/** The arithmetic of majorities. */
import { assert } from "../../assert.ts";

/** How many of `count` voters are a majority: any two majorities share a voter. */
export function majorityOf(count: number): number {
  return Math.floor(count / 2) + 1;
}

/**
 * The largest value that a majority has reached.
 *
 * @param values One for each voter, such as the index up to which its log matches.
 * @returns 0 if there are no voters.
 * @example
 * ```ts
 * majorityValue([5, 3, 9]); // 5: two of three have reached it
 * ```
 */
export function majorityValue(values: readonly number[]): number {
  if (values.length === 0) return 0;
  const descending = values.toSorted((a, b) => b - a);
  const value = descending[majorityOf(values.length) - 1];
  assert(value !== undefined, "a majority is not larger than the whole");
  return value;
}
