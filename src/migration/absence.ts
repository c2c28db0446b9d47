/**
 * How long somebody has been away, in time that this node has lived through: a machine that was suspended, or whose process stood still, has not waited for anybody meanwhile.
 */

/** Looks come every 50 ms or so. What lies further apart was no waiting. */
const LONGEST_STEP_MS = 1000;

export class Absence {
  #lookedAtMs: number;
  #ms = 0;

  constructor(nowMs: number) {
    this.#lookedAtMs = nowMs;
  }

  /** Looks again. @returns For how long it has been away, in milliseconds; 0 if it is there. */
  look(nowMs: number, isAway: boolean): number {
    this.#ms = isAway ? this.#ms + Math.min(nowMs - this.#lookedAtMs, LONGEST_STEP_MS) : 0;
    this.#lookedAtMs = nowMs;
    return this.#ms;
  }
}
