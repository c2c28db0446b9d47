/** Requests that are being answered: how many there are, and how many of each caller. Nothing is remembered of a caller that has none. */
export class UnderWay {
  readonly #byCaller = new Map<string, number>();
  #count = 0;

  /** Of all callers. */
  get count(): number {
    return this.#count;
  }

  countOf(caller: string): number {
    return this.#byCaller.get(caller) ?? 0;
  }

  begin(caller: string): void {
    this.#count += 1;
    this.#byCaller.set(caller, this.countOf(caller) + 1);
  }

  /** To be called once for each `begin`. */
  end(caller: string): void {
    this.#count -= 1;
    const left = this.countOf(caller) - 1;
    if (left > 0) this.#byCaller.set(caller, left);
    else this.#byCaller.delete(caller);
  }
}
