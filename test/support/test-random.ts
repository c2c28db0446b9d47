/**
 * Chance for tests that compare with other programs: seeded, and a failure can say how to repeat it.
 *
 * The seed is fresh in every run, so that runs add up; `BUNCH_TEST_SEED` fixes it.
 */

export interface TestRandom {
  /** How to repeat this run, for the message of an expectation. */
  readonly repeat: string;
  /** A whole number, evenly from 0 to `bound - 1`. */
  below(bound: number): number;
  /** One of the values, evenly. */
  pick<T>(values: readonly T[]): T;
  /** `length` random bytes. */
  bytes(length: number): Uint8Array;
}

/**
 * Makes a generator (SplitMix32, the seed drawn from the clock).
 *
 * @param name What is tested: two tests of one seed draw different numbers.
 */
export function makeRandom(name: string): TestRandom {
  const given = process.env["BUNCH_TEST_SEED"];
  const seed = given === undefined ? Date.now() % 2 ** 31 : Number(given);
  let state = seed | 0;
  for (const letter of name) state = Math.imul(state ^ letter.charCodeAt(0), 0x01000193);
  const next = (): number => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
  const below = (bound: number): number => Math.floor((next() / 2 ** 32) * bound);
  return {
    repeat: `repeat with BUNCH_TEST_SEED=${seed}`,
    below,
    pick: <T>(values: readonly T[]): T => values[below(values.length)] as T,
    bytes: (length) => Uint8Array.from({ length }, () => next() & 0xff),
  };
}
