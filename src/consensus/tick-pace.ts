/**
 * When Raft's machine is told that time passes.
 *
 * Most of what an idle node costs is being woken. While all is well, ticks are not worth a wake-up each: a beat feeds several, and before a message is taken those
 * are fed that were due until then, so that the machine has counted as many as if it had been woken for each. As soon as something is amiss each has its own beat.
 */

/** Timers may come so early, in milliseconds. */
const GRAIN_MS = 1;

export class TickPace {
  readonly #tickMs: number;
  /** How many ticks a beat feeds. */
  #atOnce = 1;
  /** Ticks until now, counted from the clock's zero. */
  #fed: number;

  /**
   * @param tickMs What a tick stands for, in milliseconds.
   * @param nowMs By the monotonic clock.
   */
  constructor(tickMs: number, nowMs: number) {
    this.#tickMs = tickMs;
    this.#fed = Math.floor(nowMs / tickMs);
  }

  /** Between two beats, in milliseconds. */
  get periodMs(): number {
    return this.#tickMs * this.#atOnce;
  }

  /** How many ticks a beat is to feed: one, unless all is well. */
  set ticksAtOnce(count: number) {
    this.#atOnce = count;
  }

  /**
   * A beat has come.
   *
   * @returns How many ticks to feed: of those that were missed because the process stood still none, as nothing could be heard meanwhile.
   */
  beat(nowMs: number): number {
    return this.#due(nowMs + GRAIN_MS);
  }

  /**
   * A message has come.
   *
   * @returns How many ticks to feed before it: those that ended before it came must not count as time since then. A new leader waits for leases by that.
   */
  message(nowMs: number): number {
    return this.#due(nowMs);
  }

  #due(nowMs: number): number {
    const present = Math.floor(nowMs / this.#tickMs);
    const passed = Math.max(0, present - this.#fed);
    this.#fed += passed;
    return Math.min(passed, this.#atOnce);
  }
}
