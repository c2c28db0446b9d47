/** Those who wait until this node has applied everything that was committed when they asked: a read index for each, or its deadline. */
import type { Clock, Timer } from "../world.ts";

interface Waiting {
  readonly settle: (isFresh: boolean) => void;
  readonly timer: Timer;
}

export class Barriers {
  readonly #clock: Clock;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Adds one.
   *
   * @param ask Asks for its read index, which `settle` brings.
   * @returns Whether it was had in time.
   */
  add(deadlineMs: number, ask: (id: number) => void): Promise<boolean> {
    return new Promise((resolve) => {
      this.#lastId += 1;
      const id = this.#lastId;
      const timer = this.#clock.after(deadlineMs, () => this.settle(id, false));
      this.#waiting.set(id, { settle: resolve, timer });
      ask(id);
    });
  }

  settle(id: number, isFresh: boolean): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    waiting.timer.cancel();
    waiting.settle(isFresh);
  }

  /** Ends all: they were not had. */
  close(): void {
    for (const id of this.#waiting.keys()) this.settle(id, false);
  }
}
