/**
 * How access to keys is noted, in 24 bits: by time, or by frequency.
 *
 * The frequency is Redis': a counter of 8 bits that is incremented with a probability which falls as it grows, and decays with time, so that 255 stands
 * for millions of accesses and a key that is no longer used is forgotten.
 *
 * Source: Redis, "Key eviction", section on LFU.
 */

const SECONDS_MASK = 0xff_ff_ff;
const MINUTES_MASK = 0xff_ff;
/** What the counter of a new key begins with, so that it is not evicted before it had a chance. */
const INITIAL_COUNTER = 5;
const MAX_COUNTER = 255;

export class AccessClock {
  /** How much slower the counter grows the higher it is (`lfu-log-factor`). */
  logFactor = 10;
  /** Minutes after which the counter falls by one (`lfu-decay-time`); 0: never. */
  decayMinutes = 1;
  #seconds = 0;
  #minutes = 0;
  readonly #random: (bound: number) => number;

  constructor(random: (bound: number) => number) {
    this.#random = random;
  }

  setTime(nowMs: number): void {
    const seconds = Math.floor(nowMs / 1000);
    this.#seconds = seconds & SECONDS_MASK;
    this.#minutes = Math.floor(seconds / 60) & MINUTES_MASK;
  }

  /** Access bits of an access by time. */
  get stamp(): number {
    return this.#seconds;
  }

  /** Access bits of a new key, by frequency. */
  get newFrequency(): number {
    return (this.#minutes << 8) | INITIAL_COUNTER;
  }

  /** Access bits after one more access, by frequency. */
  increment(bits: number): number {
    const counter = this.counter(bits);
    if (counter >= MAX_COUNTER) return (this.#minutes << 8) | MAX_COUNTER;
    const above = Math.max(0, counter - INITIAL_COUNTER);
    const isIncremented = above === 0 || this.#random(above * this.logFactor + 1) === 0;
    return (this.#minutes << 8) | (isIncremented ? counter + 1 : counter);
  }

  /** The counter, decayed to this moment. */
  counter(bits: number): number {
    const counter = bits & 0xff;
    if (this.decayMinutes === 0) return counter;
    const elapsed = (this.#minutes - (bits >>> 8)) & MINUTES_MASK;
    return Math.max(0, counter - Math.floor(elapsed / this.decayMinutes));
  }

  withCounter(counter: number): number {
    return (this.#minutes << 8) | Math.min(MAX_COUNTER, Math.max(0, counter));
  }

  /** Whole seconds since an access by time. */
  idleSeconds(bits: number): number {
    return (this.#seconds - bits) & SECONDS_MASK;
  }

  stampOfIdle(seconds: number): number {
    return (this.#seconds - Math.floor(seconds)) & SECONDS_MASK;
  }
}
