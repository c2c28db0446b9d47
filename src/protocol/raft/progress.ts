/**
 * What a leader knows of one follower's log, and how it sends to it.
 *
 * - *probe*: where the follower's log matches is not known. One message at a time; the answer tells.
 * - *replicate*: it is known. Messages follow each other without waiting, up to a bound.
 * - *snapshot*: the follower needs entries that are gone. Pieces of a snapshot, one at a time; then probe.
 */
import type { Snapshot } from "./types.ts";

export type ProgressState = "probe" | "replicate" | "snapshot";

interface Inflight {
  /** The last index of the message. */
  readonly index: number;
  readonly bytes: number;
}

/** What may be unanswered at once. */
export interface InflightLimit {
  readonly maxInflight: number;
  readonly maxInflightBytes: number;
}

export class Progress {
  state: ProgressState = "probe";
  /** The follower's log is known to match up to here, and to be durable. */
  match = 0;
  /** What is sent next. Above `match`. */
  next: number;
  /** It has answered since the leader last counted who does. */
  isActive = false;
  /** Ticks since it answered; one that never has is silent for ever. */
  silentTicks = Number.POSITIVE_INFINITY;
  /** The last heartbeat round that it has answered. */
  round = 0;
  /** The commit index that it was told, as far as its log reaches. */
  toldCommit = 0;
  /** Probe: the one message is on its way. */
  isWaiting = false;
  /** Snapshot: what is being sent, and from where. */
  snapshot: Snapshot | undefined;
  snapshotOffset = 0;
  /** Snapshot: a piece is on its way. */
  isPieceOut = false;
  #inflights: Inflight[] = [];
  #inflightBytes = 0;

  constructor(next: number) {
    this.next = next;
  }

  /** Messages that are not answered. */
  get inflightCount(): number {
    return this.#inflights.length;
  }

  /** Bytes of their entries. */
  get inflightBytes(): number {
    return this.#inflightBytes;
  }

  /** It has answered. */
  heard(): void {
    this.isActive = true;
    this.silentTicks = 0;
  }

  /** Whether nothing more may be sent before an answer. */
  isPaused(limit: InflightLimit): boolean {
    if (this.state === "probe") return this.isWaiting;
    if (this.state === "replicate") {
      return this.inflightCount >= limit.maxInflight || this.inflightBytes >= limit.maxInflightBytes;
    }
    return true;
  }

  becomeProbe(): void {
    this.state = "probe";
    this.isWaiting = false;
    this.#clearInflights();
    this.next = this.match + 1;
  }

  becomeReplicate(): void {
    this.state = "replicate";
    this.isWaiting = false;
    this.#clearInflights();
    this.snapshot = undefined;
    this.next = this.match + 1;
  }

  becomeSnapshot(snapshot: Snapshot): void {
    this.state = "snapshot";
    this.#clearInflights();
    this.snapshot = snapshot;
    this.snapshotOffset = 0;
    this.isPieceOut = false;
  }

  /** Entries up to `lastIndex` were sent, `bytes` of them. */
  sent(lastIndex: number, bytes: number): void {
    if (this.state === "probe") this.isWaiting = true;
    else {
      this.next = lastIndex + 1;
      this.#inflights.push({ index: lastIndex, bytes });
      this.#inflightBytes += bytes;
    }
  }

  /** Forgets one message that is on its way: it may be lost, and waiting for it for ever would stop everything. */
  freeOldest(): void {
    this.#inflightBytes -= this.#inflights.shift()?.bytes ?? 0;
  }

  /** The follower has the log up to `index`. @returns Whether that is news. */
  accepted(index: number): boolean {
    while ((this.#inflights[0]?.index ?? Number.POSITIVE_INFINITY) <= index) this.freeOldest();
    if (index >= this.next) this.next = index + 1;
    if (index <= this.match) return false;
    this.match = index;
    return true;
  }

  /**
   * The follower's log did not match at `index`.
   *
   * @param hint Where it may.
   * @returns Whether that is news: an old answer says nothing.
   */
  rejected(index: number, hint: number): boolean {
    if (this.state === "replicate") {
      if (index <= this.match) return false;
      this.becomeProbe();
      return true;
    }
    if (this.state !== "probe" || this.next - 1 !== index) return false;
    this.next = Math.max(Math.min(index, hint + 1), this.match + 1, 1);
    this.isWaiting = false;
    return true;
  }

  #clearInflights(): void {
    this.#inflights = [];
    this.#inflightBytes = 0;
  }
}
