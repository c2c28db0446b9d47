/**
 * A suspicion of one member: who has it and since when, and until when it may be disproved. The time for that begins long, and gets shorter with everybody
 * who finds the same by itself: a node that is wrong is mostly alone.
 */
import type { NodeId } from "./types.ts";

export class Suspicion {
  readonly sinceMs: number;
  /** Who suspects, since when. At most one more than confirmations are needed. */
  readonly accusers = new Map<NodeId, number>();
  /** The suspect's time was over, and it was asked once more. */
  isLastAsked = false;
  readonly #needed: number;
  readonly #leastMs: number;
  readonly #mostMs: number;
  // What was added because this node itself stood still, and could not have heard the answer.
  #extraMs = 0;

  /** @param needed Confirmations after which the suspect has the least time; 0: from the start. */
  constructor(nowMs: number, accuser: NodeId, needed: number, leastMs: number, mostMs: number) {
    this.sinceMs = nowMs;
    this.accusers.set(accuser, nowMs);
    this.#needed = needed;
    this.#leastMs = leastMs;
    this.#mostMs = mostMs;
  }

  get deadlineMs(): number {
    const confirmations = this.accusers.size - 1;
    const aboveMs = confirmations >= this.#needed ? 0 : (this.#mostMs - this.#leastMs) / 2 ** confirmations;
    return this.sinceMs + this.#leastMs + aboveMs + this.#extraMs;
  }

  /** @returns Whether that is news: another accuser, and not more of them than matter. */
  confirm(accuser: NodeId, nowMs: number): boolean {
    if (this.accusers.has(accuser) || this.accusers.size > this.#needed) return false;
    this.accusers.set(accuser, nowMs);
    return true;
  }

  extend(byMs: number): void {
    this.#extraMs += byMs;
  }
}
