/**
 * How much a node doubts itself (Lifeguard): a node that gets no answers, or stands still now and then, is more likely to be the cause than all those that
 * do not answer it. Its score makes it slower to accuse.
 */
export class LocalHealth {
  readonly #max: number;
  #score = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** 0: nothing speaks against this node. */
  get score(): number {
    return this.#score;
  }

  /** By how much its own times stretch. */
  get factor(): number {
    return 1 + this.#score;
  }

  /** @param by Negative after good news. */
  change(by: number): void {
    this.#score = Math.min(this.#max, Math.max(0, this.#score + by));
  }
}
