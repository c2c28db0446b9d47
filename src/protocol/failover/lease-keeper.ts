/**
 * A primary's lease: how long it may serve, by its own clock.
 *
 * A lease counts from the moment at which the beat was sent that asked for it: however long beat and answer took, the leader's promise began later. An answer is good
 * for the beat that it names and from whom that was sent to, once. Whoever gives its lease up (`surrender`) takes no answer to a beat of before.
 */

/** Of beats that are not answered the last so many are remembered: what is older would have no lease left. */
const MAX_OPEN = 64;

interface OpenBeat {
  readonly to: string;
  readonly sentAtMs: number;
}

export class LeaseKeeper {
  /** Until then it has a lease. */
  endsAtMs = Number.NEGATIVE_INFINITY;
  readonly #open = new Map<number, OpenBeat>();
  #lastSequence = 0;
  #answered = { by: "", sequence: 0 };

  /** A beat is about to be sent. @returns Its number. */
  sent(to: string, nowMs: number): number {
    this.#lastSequence += 1;
    this.#open.set(this.#lastSequence, { to, sentAtMs: nowMs });
    const [oldest] = this.#open.keys();
    if (oldest !== undefined && this.#open.size > MAX_OPEN) this.#open.delete(oldest);
    return this.#lastSequence;
  }

  /** The last beat that a leader has answered; 0: none. */
  answeredBy(leader: string): number {
    return this.#answered.by === leader ? this.#answered.sequence : 0;
  }

  /** An answer. @returns Whether the lease ends later by it. */
  answered(from: string, sequence: number, grantMs: number): boolean {
    const beat = this.#open.get(sequence);
    if (beat?.to !== from) return false;
    this.#open.delete(sequence);
    if (sequence > this.answeredBy(from)) this.#answered = { by: from, sequence };
    const endsAtMs = beat.sentAtMs + grantMs;
    if (grantMs === 0 || endsAtMs <= this.endsAtMs) return false;
    this.endsAtMs = endsAtMs;
    return true;
  }

  /** Has no lease from here on, whatever was asked for. */
  surrender(): void {
    this.endsAtMs = Number.NEGATIVE_INFINITY;
    this.#open.clear();
  }
}
