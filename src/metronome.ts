/**
 * Periodic callbacks that share their wake-ups.
 *
 * What a process pays for being woken is most of what an idle node costs, and a node has half a dozen plugins that look at something a few times a
 * second. Each of their periods beats on a grid of its own multiples, counted from the clock's zero, and so a callback every 250 ms falls on a beat of
 * one every 50 ms. One timer runs whatever is due together.
 */
import { assert } from "./assert.ts";
import type { Timer } from "./world.ts";

/** Timers are as fine as a millisecond: a callback that would be due within it is not worth a wake-up of its own. */
const GRAIN_MS = 1;

interface Beat {
  readonly periodMs: number;
  readonly callback: () => void;
  dueMs: number;
}

export class Metronome {
  readonly #nowMs: () => number;
  readonly #after: (delayMs: number, callback: () => void) => Timer;
  readonly #beats = new Set<Beat>();
  #timer: Timer | undefined;
  #wakeAtMs = Number.POSITIVE_INFINITY;

  /**
   * @param nowMs Tells the time, in milliseconds, never going back.
   * @param after Calls once, after so many milliseconds.
   */
  constructor(nowMs: () => number, after: (delayMs: number, callback: () => void) => Timer) {
    this.#nowMs = nowMs;
    this.#after = after;
  }

  /**
   * Calls again and again. The first call comes after one period at least and two at most; from then on once a period. Of beats that were missed, because
   * the process stood still, one comes late.
   *
   * @param periodMs More than 0, in milliseconds.
   */
  every(periodMs: number, callback: () => void): Timer {
    assert(periodMs > 0, "a period is longer than nothing");
    const beat: Beat = { periodMs, callback, dueMs: onGrid(this.#nowMs() + periodMs, periodMs) };
    this.#beats.add(beat);
    this.#schedule();
    return {
      cancel: () => {
        this.#beats.delete(beat);
        if (this.#beats.size > 0) return;
        this.#timer?.cancel();
        this.#timer = undefined;
        this.#wakeAtMs = Number.POSITIVE_INFINITY;
      },
    };
  }

  #schedule(): void {
    let earliestMs = Number.POSITIVE_INFINITY;
    for (const { dueMs } of this.#beats) earliestMs = Math.min(earliestMs, dueMs);
    if (earliestMs >= this.#wakeAtMs) return;
    this.#timer?.cancel();
    this.#wakeAtMs = earliestMs;
    this.#timer = this.#after(Math.max(0, earliestMs - this.#nowMs()), () => this.#wake());
  }

  #wake(): void {
    const nowMs = this.#nowMs() + GRAIN_MS;
    const due = [...this.#beats].filter(({ dueMs }) => dueMs <= nowMs);
    for (const beat of due) beat.dueMs = onGrid(nowMs, beat.periodMs);
    // The next wake-up is set before anything runs: a callback that throws does not end the others.
    this.#wakeAtMs = Number.POSITIVE_INFINITY;
    this.#schedule();
    for (const beat of due) if (this.#beats.has(beat)) beat.callback();
  }
}

/** The first multiple of a period that is later than a moment. */
function onGrid(momentMs: number, periodMs: number): number {
  return (Math.floor(momentMs / periodMs) + 1) * periodMs;
}
