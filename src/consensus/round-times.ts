/**
 * When a leader's heartbeat rounds began. The machine counts rounds and has no clock; what rests on "nobody else led at that moment" (a lease) needs the
 * moment.
 */
import type { Leader } from "../protocol/raft/leader.ts";

export class RoundTimes {
  #leader: Leader | undefined;
  // For each round from `#first` on when it began, at the latest.
  #beganAtMs: number[] = [];
  #first = 1;

  /**
   * A step of the machine is over.
   *
   * @param beganAtMs A moment before the step: whatever a round of it led to came later.
   */
  stepped(leader: Leader | undefined, beganAtMs: number): void {
    if (leader !== this.#leader) {
      this.#leader = leader;
      this.#beganAtMs = [];
      this.#first = 1;
    }
    if (leader === undefined) return;
    while (this.#first + this.#beganAtMs.length <= leader.round) this.#beganAtMs.push(beganAtMs);
  }

  /** When the last round began that a majority of the voters has answered, in the milliseconds of `stepped`; `undefined`: none has been. */
  get confirmedAtMs(): number | undefined {
    const confirmed = this.#leader?.confirmedRound ?? 0;
    const passed = confirmed - this.#first;
    // What is older is never asked for: voters come and go, and a round may be confirmed no more; the last one that was counts then.
    if (passed > 0) {
      this.#beganAtMs = this.#beganAtMs.slice(passed);
      this.#first = confirmed;
    }
    return confirmed === 0 ? undefined : this.#beganAtMs[0];
  }
}
