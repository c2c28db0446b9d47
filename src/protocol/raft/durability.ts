/**
 * What of a member's state is durable, and what is on its way there.
 *
 * Persist effects are numbered by tickets and become durable in order. One that holds entries which were dropped meanwhile does not stand for
 * those that took their places.
 */
import type { RaftLog } from "./log.ts";
import type { Effect, PeerId, Snapshot } from "./types.ts";

/** A persist effect on its way. */
interface Pending {
  readonly ticket: number;
  /** When it is durable, the log is, up to here. */
  index: number;
  readonly term: number;
  readonly votedFor: PeerId | undefined;
}

export class Durability {
  /** The log is durable up to here. */
  index: number;
  /** Term and vote as they are durable, since this start. */
  vote: { readonly term: number; readonly votedFor: PeerId | undefined } | undefined;
  #isHardStateDirty = false;
  #dirtyFrom = Number.POSITIVE_INFINITY;
  #snapshot: Snapshot | undefined;
  #lastTicket = 0;
  #pending: Pending[] = [];

  constructor(index: number) {
    this.index = index;
  }

  /** Term or vote have changed. */
  hardStateChanged(): void {
    this.#isHardStateDirty = true;
  }

  /** An entry was added. */
  appended(index: number): void {
    this.#dirtyFrom = Math.min(this.#dirtyFrom, index);
  }

  /** Entries from `index` on were dropped. */
  truncated(index: number): void {
    this.index = Math.min(this.index, index - 1);
    for (const pending of this.#pending) pending.index = Math.min(pending.index, index - 1);
  }

  /** A snapshot took the place of the log before it. */
  snapshotTaken(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
  }

  /** The log was replaced by a snapshot whole. */
  restored(snapshot: Snapshot, commitIndexBefore: number): void {
    this.truncated(commitIndexBefore + 1);
    this.#dirtyFrom = Number.POSITIVE_INFINITY;
    this.#snapshot = snapshot;
  }

  /** What has to be made durable since the last time; `undefined` if nothing has. */
  take(log: RaftLog, term: number, votedFor: PeerId | undefined): Effect | undefined {
    if (!this.#isHardStateDirty && this.#dirtyFrom > log.lastIndex && this.#snapshot === undefined) return undefined;
    this.#lastTicket += 1;
    const ticket = this.#lastTicket;
    const entries = this.#dirtyFrom <= log.lastIndex ? log.range(this.#dirtyFrom, log.lastIndex) : [];
    const snapshot = this.#snapshot;
    this.#pending.push({ ticket, index: log.lastIndex, term, votedFor });
    this.#isHardStateDirty = false;
    this.#dirtyFrom = Number.POSITIVE_INFINITY;
    this.#snapshot = undefined;
    return { type: "persist", ticket, term, votedFor, entries, snapshot };
  }

  /** Everything up to a ticket is durable. @returns The last term and vote among it. */
  done(ticket: number): { readonly term: number; readonly votedFor: PeerId | undefined } | undefined {
    let last: Pending | undefined;
    for (let first = this.#pending[0]; first !== undefined && first.ticket <= ticket; first = this.#pending[0]) {
      this.#pending.shift();
      this.index = Math.max(this.index, first.index);
      last = first;
    }
    this.vote = last ?? this.vote;
    return last;
  }
}
