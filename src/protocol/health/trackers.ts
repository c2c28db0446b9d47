/** What is judged by how long it has been so, and not by what it is at a moment. Pure: the time is given, in milliseconds that never go back. */

/** How long each of some things has stayed as it is. */
export class Standstills {
  readonly #known = new Map<string, { readonly mark: string; readonly sinceMs: number }>();

  /**
   * Looks at all of them.
   *
   * @param marks Of each by its id: what it is like. Those that are not among them are forgotten.
   * @returns For how long each has been like that, by its id.
   */
  look(marks: ReadonlyMap<string, string>, nowMs: number): ReadonlyMap<string, number> {
    for (const id of this.#known.keys()) if (!marks.has(id)) this.#known.delete(id);
    const still = new Map<string, number>();
    for (const [id, mark] of marks) {
      const before = this.#known.get(id);
      const sinceMs = before?.mark === mark ? before.sinceMs : nowMs;
      if (before?.mark !== mark) this.#known.set(id, { mark, sinceMs });
      still.set(id, nowMs - sinceMs);
    }
    return still;
  }
}

/** Of a log that grows: moments at which it had got so far. More of them would tell nothing more. */
const MOST_SAMPLES = 256;

/**
 * How old what a follower of a log lacks is at least: the age of the first moment at which the log was seen to be longer than what the follower has.
 * Right to one look.
 */
export class LagClock {
  #samples: { readonly sequence: number; readonly atMs: number }[] = [];

  /** Notes how far the log is. */
  note(last: number, nowMs: number): void {
    const newest = this.#samples.at(-1);
    // Another log, which begins anew.
    if (newest !== undefined && newest.sequence > last) this.#samples = [];
    if (newest?.sequence === last) return;
    this.#samples.push({ sequence: last, atMs: nowMs });
    // Every other one of the older half goes: ages are the less exact the greater they are.
    if (this.#samples.length > MOST_SAMPLES)
      this.#samples = this.#samples.filter((_, at) => at % 2 === 1 || at > MOST_SAMPLES / 2);
  }

  /** @param acknowledged What the follower has. */
  behindMs(acknowledged: number, nowMs: number): number {
    const first = this.#samples.find(({ sequence }) => sequence > acknowledged);
    return first === undefined ? 0 : nowMs - first.atMs;
  }
}
