/**
 * The gate that replies leave through, once what they tell of can no more be taken back.
 *
 * A reply that depends on keys leaves when
 * 1. the shard log is committed up to the position that the reply depends on: a failover loses nothing that it tells of;
 * 2. this node's lease runs at that moment: no other node may have told, or taken, anything newer.
 *
 * A node without replicas and leases leaves the gate open, and nobody pays for it. Positions are sequences of the shard log; a lease's end is a moment of the
 * node's monotonic clock. Whoever leads the log moves the first (`replication`), whoever keeps the lease the second (`failover`).
 */
import { SLOT_COUNT } from "./codec/slot.ts";
import type { Clock } from "./world.ts";

/** Somebody whose replies wait. */
export interface ReplyWaiter {
  /** Replies up to a position may leave. */
  released(position: number): void;
  /** What waits will never be known to be safe: the connection ends, so that the client knows that it does not know. */
  broken(reason: string): void;
}

export class ReplyGate {
  /** What every reply that depends on keys depends on: the entry that opened the log's epoch, or the last one that was about all slots. */
  floor = 1;
  /** The newest entry of the log. */
  last = 0;
  /** What replies wait for by the cluster's setting: the in-sync set, or nothing but the primary and its lease. */
  acks: "in-sync" | "primary" = "in-sync";
  /** How often what waited was ended. A position that somebody noted before the last time may be one of another log: nothing may leave by it. */
  breaks = 0;
  readonly #clock: Clock;
  #isGuarded = false;
  #lastOfSlot: Float64Array | undefined;
  // In the order of their positions, which grow: a reply that comes later waits at least as long. `#first` are gone.
  #waiting: { readonly position: number; readonly waiter: ReplyWaiter }[] = [];
  #first = 0;
  /** Those whose position is committed, and who wait for the lease alone: not for whoever came before them and waits for more. */
  #waitingForLease: { readonly position: number; readonly waiter: ReplyWaiter }[] = [];
  #committed = Number.POSITIVE_INFINITY;
  #leaseEndsAtMs = Number.POSITIVE_INFINITY;
  #isStale = false;
  #isShut = false;
  readonly #whenLapsed: (() => void)[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether replies wait at all. While they do, the dispatcher notes on each client what its replies depend on. */
  get isGuarded(): boolean {
    return this.#isGuarded;
  }

  /** Replies that depend on this position, or an earlier one, tell of nothing that can be lost. */
  get committed(): number {
    return this.#committed;
  }

  /** Monotonic milliseconds. */
  get leaseEndsAtMs(): number {
    return this.#leaseEndsAtMs;
  }

  /** How many wait. */
  get waitingCount(): number {
    return this.#waiting.length - this.#first + this.#waitingForLease.length;
  }

  /**
   * An entry is about a slot, or about all of them (-1): replies on these depend on it. One about all may begin lower than what was there before, where the
   * log was cut, or is another one: nothing depends on what is not in it any more.
   */
  logged(slot: number, position: number): void {
    this.last = position;
    if (slot < 0) {
      this.floor = position;
      this.#lastOfSlot = undefined;
    } else (this.#lastOfSlot ??= new Float64Array(SLOT_COUNT))[slot] = position;
  }

  /** What a reply on keys of a slot depends on. */
  positionOf(slot: number): number {
    return Math.max(this.floor, this.#lastOfSlot?.[slot] ?? 0);
  }

  /** What a reply on keys of any slot depends on. */
  get positionOfAll(): number {
    return Math.max(this.floor, this.last);
  }

  /** Whether a reply may leave at this moment. @param position What it depends on. */
  mayLeave(position: number): boolean {
    return position <= this.#committed && this.isLeased();
  }

  /** Lets nothing out any more that depends on keys, and ends all that wait: what this node holds is broken. */
  shut(reason: string): void {
    this.#isShut = true;
    this.#committed = Number.NEGATIVE_INFINITY;
    this.#isGuarded = true;
    this.break(reason);
  }

  /** Whether this node's lease runs at this moment. */
  isLeased(): boolean {
    return this.#leaseEndsAtMs === Number.POSITIVE_INFINITY || this.#clock.monotonicMs() < this.#leaseEndsAtMs;
  }

  /** Whether this node has no lease that it would need: replies may leave all the same, where stale ones are allowed. */
  hasLapsed(): boolean {
    return this.#isStale || !this.isLeased();
  }

  /** Has a callback told that the lease has lapsed; maybe more than once. */
  onLapse(callback: () => void): void {
    this.#whenLapsed.push(callback);
  }

  /** Tells a waiter once its replies may leave, after those of its own that wait already. @param position What the last of them depends on. */
  wait(position: number, waiter: ReplyWaiter): void {
    if (position <= this.#committed) {
      this.#waitingForLease.push({ position, waiter });
      return;
    }
    const last = this.#waiting.at(-1)?.position ?? 0;
    this.#waiting.push({ position: Math.max(position, last), waiter });
  }

  /** The log is committed up to here. Another shard's log, or another role in it, may begin lower. */
  setCommitted(position: number): void {
    if (this.#isShut) return;
    this.#committed = position;
    this.#changed();
  }

  /** The lease runs until then; what waits for it alone leaves. @param isStale There is none, and replies leave although they may be stale. */
  setLease(endsAtMs: number, isStale = false): void {
    this.#leaseEndsAtMs = endsAtMs;
    this.#isStale = isStale;
    this.#changed();
    if (this.hasLapsed()) for (const callback of this.#whenLapsed) callback();
  }

  /** Ends all that wait: this node does not lead the log any more that they depend on. */
  break(reason: string): void {
    this.breaks += 1;
    const broken = [...this.#waitingForLease, ...this.#waiting.slice(this.#first)];
    this.#waitingForLease = [];
    this.#waiting = [];
    this.#first = 0;
    for (const { waiter } of broken) waiter.broken(reason);
  }

  #changed(): void {
    this.#isGuarded = this.#committed !== Number.POSITIVE_INFINITY || this.#leaseEndsAtMs !== Number.POSITIVE_INFINITY;
    this.#release();
  }

  #release(): void {
    if (this.#waitingForLease.length > 0 && this.isLeased()) {
      const waiting = this.#waitingForLease;
      this.#waitingForLease = [];
      for (const { position, waiter } of waiting) {
        if (this.mayLeave(position)) waiter.released(position);
        else this.wait(position, waiter);
      }
    }
    for (let next = this.#waiting[this.#first]; next !== undefined; next = this.#waiting[this.#first]) {
      if (!this.mayLeave(next.position)) break;
      this.#first += 1;
      next.waiter.released(next.position);
    }
    // What is gone is cut off now and then, not at each.
    if (this.#first === this.#waiting.length) {
      this.#waiting = [];
      this.#first = 0;
    } else if (this.#first > 1024) {
      this.#waiting = this.#waiting.slice(this.#first);
      this.#first = 0;
    }
  }
}
