/** A callback that comes again and again, more often while there is more to look at. */
import type { NodeContext } from "./plugin.ts";
import type { Timer } from "./world.ts";

export class Paced {
  readonly #context: Pick<NodeContext, "every">;
  readonly #callback: () => void;
  #periodMs = 0;
  #timer: Timer | undefined;

  constructor(context: Pick<NodeContext, "every">, callback: () => void) {
    this.#context = context;
    this.#callback = callback;
  }

  /** Begins, or goes on with another period. The next call comes after one at least. @param periodMs In milliseconds; 0: it stops. */
  set periodMs(periodMs: number) {
    if (periodMs === this.#periodMs) return;
    this.#periodMs = periodMs;
    this.#timer?.cancel();
    this.#timer = periodMs === 0 ? undefined : this.#context.every(periodMs, this.#callback);
  }
}
