/** Those who wait until something is so. */
interface Wait {
  readonly isSo: () => boolean;
  readonly callback: (isSo: boolean) => void;
}

export class Waits {
  #waiting: readonly Wait[] = [];

  /** How many wait. */
  get size(): number {
    return this.#waiting.length;
  }

  /**
   * Calls once something is so, which may be at once; with `false` if this ends before.
   *
   * @returns Ends the wait.
   */
  until(isSo: () => boolean, callback: (isSo: boolean) => void): () => void {
    const wait = { isSo, callback };
    this.#waiting = [...this.#waiting, wait];
    this.look();
    return () => {
      this.#waiting = this.#waiting.filter((each) => each !== wait);
    };
  }

  /** Something has changed. */
  look(): void {
    const ready = this.#waiting.filter(({ isSo }) => isSo());
    if (ready.length === 0) return;
    this.#waiting = this.#waiting.filter((each) => !ready.includes(each));
    for (const { callback } of ready) callback(true);
  }

  /** Nothing will be so any more. */
  close(): void {
    const left = this.#waiting;
    this.#waiting = [];
    for (const { callback } of left) callback(false);
  }
}
