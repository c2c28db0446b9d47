/**
 * Chance from a seed.
 *
 * A small generator (sfc32: four 32-bit words, additions, shifts and one rotation) that gives the same numbers on every
 * JavaScript engine, because it uses whole-number arithmetic alone: no `Math.log`, `Math.exp` or `Math.sin`, whose last
 * digit an engine may choose.
 *
 * `fork(label)` makes a stream of its own for each part of the simulation. It depends on the seed and the label, never on
 * how much was drawn before, so that one more draw in one part leaves the faults that all other parts meet as they were.
 */

import type { Random } from "../../src/world.ts";

/** Words thrown away after seeding, so that similar seeds have stopped looking similar. */
const WARM_UP_DRAWS = 15;

const TWO_TO_32 = 4_294_967_296;
const TWO_TO_26 = 67_108_864;
const TWO_TO_53 = 9_007_199_254_740_992;

/** A weighted alternative, for `SimRandom.weighted`. */
export type Weighted<T> = readonly [weight: number, value: T];

/**
 * A seeded generator.
 *
 * @example
 * ```ts
 * const random = new SimRandom(42);
 * const delayMs = random.fork("network").exponential(5);
 * ```
 */
export class SimRandom implements Random {
  readonly #seed: string;
  #a: number;
  #b: number;
  #c: number;
  #d = 1;

  /**
   * @param seed Anything; equal texts give equal streams.
   */
  constructor(seed: number | string) {
    this.#seed = String(seed);
    this.#a = hashText(this.#seed, 0x9e3779b9);
    this.#b = hashText(this.#seed, 0x243f6a88);
    this.#c = hashText(this.#seed, 0xb7e15162);
    for (let i = 0; i < WARM_UP_DRAWS; i++) this.word();
  }

  /**
   * A stream of its own, which depends on this one's seed and on `label` alone.
   *
   * @param label What it is for. The same label gives the same stream again.
   */
  fork(label: string): SimRandom {
    return new SimRandom(`${this.#seed}/${label}`);
  }

  /** 32 random bits, as a number from 0 to 2^32 - 1. */
  word(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#d) | 0;
    this.#d = (this.#d + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  below(bound: number): number {
    // Words from the last, incomplete run of `bound` values would favour the small ones: draw again.
    const limit = TWO_TO_32 - (TWO_TO_32 % bound);
    let word = this.word();
    while (word >= limit) word = this.word();
    return word % bound;
  }

  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  fraction(): number {
    return ((this.word() >>> 5) * TWO_TO_26 + (this.word() >>> 6)) / TWO_TO_53;
  }

  bytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    for (let i = 0; i < count; i += 4) {
      const word = this.word();
      for (let j = i; j < count && j < i + 4; j++) bytes[j] = (word >>> ((j - i) * 8)) & 0xff;
    }
    return bytes;
  }

  /** `true` with the given probability. 0 and 1 draw nothing, so that a fault that is off costs no time. */
  chance(probability: number): boolean {
    if (probability <= 0) return false;
    if (probability >= 1) return true;
    return this.word() < probability * TWO_TO_32;
  }

  /** One of the items, each as likely as another. There must be one at least. */
  pick<T>(items: readonly [T, ...T[]]): T;
  pick<T>(items: readonly T[]): T | undefined;
  pick<T>(items: readonly T[]): T | undefined {
    return items.length === 0 ? undefined : items[this.below(items.length)];
  }

  /** One of the values, as likely as its weight says. There must be one at least, with a weight above 0. */
  weighted<T>(alternatives: readonly [Weighted<T>, ...Weighted<T>[]]): T {
    let total = 0;
    for (const [weight] of alternatives) total += weight;
    let left = this.fraction() * total;
    let chosen = alternatives[0][1];
    for (const [weight, value] of alternatives) {
      if (weight <= 0) continue;
      chosen = value;
      left -= weight;
      if (left < 0) break;
    }
    return chosen;
  }

  /** A copy of the items in a random order. */
  shuffle<T>(items: readonly T[]): T[] {
    const left = items.slice();
    const shuffled: T[] = [];
    while (left.length > 0) shuffled.push(...left.splice(this.below(left.length), 1));
    return shuffled;
  }

  /**
   * A waiting time for something that happens at random, `mean` apart on average (an exponential distribution).
   *
   * Von Neumann's way, which needs no logarithm: draw fractions while they fall. A falling run of odd length gives its
   * first fraction as the digits behind the point; each run of even length adds a whole 1.
   */
  exponential(mean: number): number {
    for (let whole = 0; ; whole++) {
      const first = this.fraction();
      let last = first;
      let length = 1;
      for (let next = this.fraction(); next < last; next = this.fraction()) {
        last = next;
        length++;
      }
      if (length % 2 === 1) return (whole + first) * mean;
    }
  }
}

/**
 * A 32-bit hash of a text (FNV-1a, with a final mix).
 *
 * @param text Any text.
 * @param start Another start gives an independent hash.
 */
export function hashText(text: string, start: number): number {
  let hash = start | 0;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
  hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b);
  return hash ^ (hash >>> 16);
}
