/**
 * When, or how often, a record was used: 24 bits in its header that eviction goes by.
 *
 * By time, they are the second of the last access. They run over after 194 days, so that a key idle for longer looks younger than it is, as in Redis.
 *
 * By frequency, they are a minute (16 bits) and a counter (8 bits). The counter is Morris': each access raises it by one with a chance that
 * falls as it grows, so that eight bits reach a million accesses; and it falls by one for each `decayMinutes` that have passed, so that yesterday's
 * favourites make room. A new key starts at 5, else it would be evicted before it could prove itself. All as Redis does it.
 *
 * Both share their bits: after a change of policy old records say nonsense until they are used again, which eviction survives.
 */
const SECONDS_MASK = 0xffffff;
const MINUTES_MASK = 0xffff;
const COUNTER_BITS = 8;
const COUNTER_MASK = 0xff;
const COUNTER_START = 5;

export class AccessClock {
  /** Whether accesses are counted, or their time is kept. */
  countsAccesses = false;
  /** How fast the counter slows down: at 10 a million accesses saturate it. 0 counts every access. */
  logFactor = 10;
  /** Minutes after which an unused counter falls by one. 0: never. */
  decayMinutes = 1;
  /** Seconds since 1970, the low 24 bits. */
  #seconds = 0;
  /** Minutes since 1970, the low 16 bits. */
  #minutes = 0;
  readonly #random: (bound: number) => number;

  /** @param random Gives a whole number from 0 to `bound - 1`. */
  constructor(random: (bound: number) => number) {
    this.#random = random;
  }

  /** Sets the wall time. */
  set(nowMs: number): void {
    this.#seconds = Math.floor(nowMs / 1000) & SECONDS_MASK;
    this.#minutes = Math.floor(nowMs / 60_000) & MINUTES_MASK;
  }

  /** What a new record's bits are. */
  first(): number {
    return this.countsAccesses ? (this.#minutes << COUNTER_BITS) | COUNTER_START : this.#seconds;
  }

  /** What a record's bits become by an access. */
  noted(access: number): number {
    if (!this.countsAccesses) return this.#seconds;
    let counter = this.frequency(access);
    if (counter < COUNTER_MASK) {
      const bound = Math.max(counter - COUNTER_START, 0) * this.logFactor + 1;
      if (bound === 1 || this.#random(bound) === 0) counter++;
    }
    return this.withFrequency(counter);
  }

  /** Seconds since the last access. */
  idleSeconds(access: number): number {
    return (this.#seconds - access) & SECONDS_MASK;
  }

  /** Bits that say that the last access was so many seconds ago. */
  withIdleSeconds(seconds: number): number {
    return (this.#seconds - Math.min(seconds, SECONDS_MASK)) & SECONDS_MASK;
  }

  /** The counter, decayed to this moment. */
  frequency(access: number): number {
    const counter = access & COUNTER_MASK;
    if (this.decayMinutes === 0) return counter;
    const minutes = (this.#minutes - (access >>> COUNTER_BITS)) & MINUTES_MASK;
    return Math.max(counter - Math.floor(minutes / this.decayMinutes), 0);
  }

  /** Bits that say that the counter is this, 0 to 255, at this moment. */
  withFrequency(counter: number): number {
    return (this.#minutes << COUNTER_BITS) | Math.min(Math.max(counter, 0), COUNTER_MASK);
  }
}
