/** The leader's part of requests: it decides, and puts what it has decided into the log. */
import type { ReplicatedState } from "../contracts/consensus.ts";
import type { Clock } from "../world.ts";
import type { RaftDriver } from "./raft-driver.ts";

/** Word to whoever asked: decided against it, or decided nothing. */
export type Answer = (isRejected: boolean, reason: string) => void;

interface Proposal {
  readonly record: Uint8Array;
  readonly answer: Answer;
}

/** A request as it comes to a leader. */
export interface LedRequest {
  readonly id: string;
  readonly request: Uint8Array;
  /** It was given to a leader before, and nobody knows what became of that: see `request-queue.ts`. */
  readonly isRetry: boolean;
}

export class Proposals {
  readonly #clock: Clock;
  /** The machine, if this node leads and has applied all that it has. */
  readonly #leading: () => RaftDriver | undefined;
  readonly #state: () => ReplicatedState;
  /** Those that the machine has not answered yet, by its number for them. */
  readonly #waiting = new Map<number, Proposal>();
  #last = 0;

  constructor(clock: Clock, leading: () => RaftDriver | undefined, state: () => ReplicatedState) {
    this.#clock = clock;
    this.#leading = leading;
    this.#state = state;
  }

  lead(asked: LedRequest, answer: Answer): void {
    const driver = this.#leading();
    if (driver === undefined) {
      answer(false, "the node that was asked does not lead");
      return;
    }
    if (driver.isBusy) {
      // What is being carried out may change what the decision rests on.
      this.#clock.soon(() => this.lead(asked, answer));
      return;
    }
    const decision = this.#state().decide(asked.id, asked.request);
    if (decision.type === "settled") return;
    if (decision.type === "rejected" && !asked.isRetry) {
      answer(true, decision.reason);
      return;
    }
    this.#last += 1;
    this.#waiting.set(this.#last, { record: decision.record, answer });
    driver.input({ type: "propose", id: this.#last, data: decision.record });
  }

  /** It is in the log. */
  proposed(id: number, index: number): void {
    const proposal = this.#take(id);
    if (proposal !== undefined) this.#state().accepted(index, proposal.record);
  }

  /** The log has not taken it. */
  refused(id: number, reason: string): void {
    this.#take(id)?.answer(false, reason);
  }

  clear(): void {
    this.#waiting.clear();
  }

  #take(id: number): Proposal | undefined {
    const proposal = this.#waiting.get(id);
    this.#waiting.delete(id);
    return proposal;
  }
}
