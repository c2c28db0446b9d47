/**
 * Reads that wait: at the leader for a majority's word that it still leads (dissertation, section 6.4), at a follower for the leader's answer.
 */
import type { PeerId } from "./types.ts";

/** A read at the leader. */
export interface PendingRead {
  readonly id: number;
  /** Who asked; `undefined`: the leader's own node. */
  readonly from: PeerId | undefined;
  /** The commit index when it was asked. */
  readonly index: number;
  /** A majority that has answered this heartbeat round, or a later one, says that nobody else led when it was asked. */
  readonly round: number;
}

/** Reads that may wait at once: more fail, and are asked again by whoever needs them. */
export const MAX_PENDING_READS = 10_000;

/** The reads of a leader. */
export class ReadQueue {
  #reads: PendingRead[] = [];

  get isFull(): boolean {
    return this.#reads.length >= MAX_PENDING_READS;
  }

  get isEmpty(): boolean {
    return this.#reads.length === 0;
  }

  add(read: PendingRead): void {
    this.#reads.push(read);
  }

  /** Gives all of them another index and round: those that came before the leader knew what is committed. */
  restart(index: number, round: number): void {
    this.#reads = this.#reads.map((read) => ({ ...read, index, round }));
  }

  /** Takes those that are confirmed by a round. */
  confirm(round: number): readonly PendingRead[] {
    const confirmed = this.#reads.filter((read) => read.round <= round);
    if (confirmed.length > 0) this.#reads = this.#reads.filter((read) => read.round > round);
    return confirmed;
  }

  /** Takes all. */
  clear(): readonly PendingRead[] {
    const all = this.#reads;
    this.#reads = [];
    return all;
  }
}

/** The reads that a follower has asked its leader for, with the ticks that they have waited. */
export class ForwardedReads {
  readonly #ages = new Map<number, number>();

  get isFull(): boolean {
    return this.#ages.size >= MAX_PENDING_READS;
  }

  add(id: number): void {
    this.#ages.set(id, 0);
  }

  /** @returns Whether it was waited for. */
  answered(id: number): boolean {
    return this.#ages.delete(id);
  }

  /** A tick has passed. @returns Those that have waited for `limit` ticks: the question or the answer is lost. */
  tick(limit: number): readonly number[] {
    const lost: number[] = [];
    for (const [id, age] of this.#ages) {
      if (age + 1 >= limit) lost.push(id);
      else this.#ages.set(id, age + 1);
    }
    for (const id of lost) this.#ages.delete(id);
    return lost;
  }

  /** Takes all. */
  clear(): readonly number[] {
    const all = [...this.#ages.keys()];
    this.#ages.clear();
    return all;
  }
}
