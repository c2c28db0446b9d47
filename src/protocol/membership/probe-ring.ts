/**
 * The order in which a node probes: a shuffled ring, shuffled anew after each round. So every member is probed once in each round, the time between two
 * probes of it by the same node is bounded, and nodes do not follow each other.
 */
export class ProbeRing<Each> {
  #members: Each[] = [];
  #next = 0;
  readonly #random: { below(bound: number): number };

  constructor(random: { below(bound: number): number }) {
    this.#random = random;
  }

  get size(): number {
    return this.#members.length;
  }

  /** Puts one in at a place by chance, so that many nodes do not all probe a new one at the same moment. */
  add(member: Each): void {
    const at = this.#random.below(this.#members.length + 1);
    // The one that was there goes to the end: as good as a shift, and costs nothing.
    const moved = this.#members[at];
    this.#members[at] = member;
    if (moved !== undefined) this.#members.push(moved);
  }

  remove(member: Each): void {
    const at = this.#members.indexOf(member);
    if (at < 0) return;
    this.#members.splice(at, 1);
    if (at < this.#next) this.#next -= 1;
  }

  /** The next one in turn that fits, or `undefined` if none does. */
  next(fits: (member: Each) => boolean): Each | undefined {
    for (let tries = this.#members.length; tries > 0; tries -= 1) {
      if (this.#next >= this.#members.length) this.#shuffle();
      const member = this.#members[this.#next];
      this.#next += 1;
      if (member !== undefined && fits(member)) return member;
    }
    return undefined;
  }

  /** Some that fit, each once, from a place by chance. */
  some(count: number, fits: (member: Each) => boolean): Each[] {
    const chosen: Each[] = [];
    const { length } = this.#members;
    if (length === 0) return chosen;
    const first = this.#random.below(length);
    for (let step = 0; step < length && chosen.length < count; step += 1) {
      const member = this.#members[(first + step) % length];
      if (member !== undefined && fits(member)) chosen.push(member);
    }
    return chosen;
  }

  #shuffle(): void {
    this.#next = 0;
    for (let last = this.#members.length - 1; last > 0; last -= 1) {
      const other = this.#random.below(last + 1);
      const [a, b] = [this.#members[last], this.#members[other]];
      if (a === undefined || b === undefined) continue;
      this.#members[last] = b;
      this.#members[other] = a;
    }
  }
}
