/** A callback that comes again and again, more often while there is more to look at. */
import type { Timer } from "./world.ts";

export class Paced {
  readonly #every: (periodMs: number, callback: () => void) => Timer;
  readonly #callback: () => void;
  #periodMs = 0;
  #timer: Timer | undefined;

  /** @param every Such as `context.every`. */
  constructor(every: (periodMs: number, callback: () => void) => Timer, callback: () => void) {
    this.#every = every;
    this.#callback = callback;
  }

  /** Begins, or goes on with another period. The next call comes after one at least. @param periodMs In milliseconds; 0: it stops. */
  set periodMs(periodMs: number) {
    if (periodMs === this.#periodMs) return;
    this.#periodMs = periodMs;
    this.#timer?.cancel();
    this.#timer = periodMs === 0 ? undefined : this.#every(periodMs, this.#callback);
  }
}
