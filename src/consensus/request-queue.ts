/**
 * Requests of this node that wait to be settled: asked of the leader, asked again when there is word of another one or none came, ended by what is applied here,
 * by a verdict, or by their deadline.
 *
 * An answer that says "nothing has happened" must stay true. The scenario:
 * 1. a request is given to a leader, and is late on its way;
 * 2. it is given again, and this time the leader decides against it;
 * 3. its first copy arrives, and by then nothing speaks against it.
 * So a verdict counts only while a single copy is out. The leader's verdict on a copy that is marked as a retry goes into the log, under the request's id, which
 * settles every other copy.
 */
import { assert } from "../assert.ts";
import type { RequestOutcome } from "../contracts/consensus.ts";

/** A request that waits. */
export interface PendingRequest {
  readonly id: string;
  readonly request: Uint8Array;
  readonly deadlineAtMs: number;
  readonly settle: (outcome: RequestOutcome) => void;
  /** When it is asked again, if nothing was heard. */
  retryAtMs: number;
  /** How often it was given to a leader, and nothing that was heard since says that it did not come into the log. */
  copies: number;
  /** Why it was not taken, the last time. */
  lastReason: string;
}

/** Requests that one node may have waiting. */
const MAX_REQUESTS = 10_000;
/** A request or its verdict may be lost: it is asked again after this. */
const RETRY_MS = 500;
/** A leader that was not ready may be soon. */
const SOON_MS = 20;

export class RequestQueue {
  readonly #requests = new Map<string, PendingRequest>();
  readonly #prefix: string;
  #lastId = 0;

  /** @param prefix Of the ids that it gives: another one at each start of each node. */
  constructor(prefix = "") {
    this.#prefix = prefix;
  }

  /** An id that no other request has. */
  nextId(): string {
    this.#lastId += 1;
    return `${this.#prefix}-${this.#lastId}`;
  }

  get size(): number {
    return this.#requests.size;
  }

  /**
   * @param copies How many may be out already: of other nodes, or of this one in an earlier life.
   * @returns The request, or `undefined` if there are too many.
   */
  add(
    id: string,
    request: Uint8Array,
    nowMs: number,
    deadlineMs: number,
    settle: (outcome: RequestOutcome) => void,
    copies = 0,
  ): PendingRequest | undefined {
    assert(!this.#requests.has(id), "an id is of one request");
    if (this.#requests.size >= MAX_REQUESTS) return undefined;
    const pending: PendingRequest = {
      id,
      request,
      deadlineAtMs: nowMs + deadlineMs,
      settle,
      retryAtMs: nowMs,
      copies,
      lastReason: "no leader is known",
    };
    this.#requests.set(id, pending);
    return pending;
  }

  /** It was given to a leader. */
  given(pending: PendingRequest, nowMs: number): void {
    pending.copies += 1;
    pending.retryAtMs = nowMs + RETRY_MS;
  }

  /** A leader has not taken one copy, and decided nothing. @param isFinal Asking again would make it worse. */
  refused(id: string, reason: string, nowMs: number, isFinal = false): void {
    const pending = this.#requests.get(id);
    if (pending === undefined) return;
    pending.copies = Math.max(pending.copies - 1, 0);
    pending.lastReason = reason;
    pending.retryAtMs = nowMs + SOON_MS;
    if (isFinal) this.#expire(pending);
  }

  /** A leader has decided against one copy, and the log does not say so. */
  rejected(id: string, reason: string): void {
    const pending = this.#requests.get(id);
    if (pending === undefined) return;
    pending.copies = Math.max(pending.copies - 1, 0);
    if (pending.copies === 0) this.settle(id, { type: "rejected", reason });
  }

  /** Ends it. */
  settle(id: string, outcome: RequestOutcome): void {
    const pending = this.#requests.get(id);
    if (pending === undefined) return;
    this.#requests.delete(id);
    pending.settle(outcome);
  }

  /** Those whose turn to be asked (again) has come; those whose time is over are ended. */
  due(nowMs: number): readonly PendingRequest[] {
    const due: PendingRequest[] = [];
    for (const pending of this.#requests.values()) {
      if (nowMs >= pending.deadlineAtMs) this.#expire(pending);
      else if (nowMs >= pending.retryAtMs) due.push(pending);
    }
    return due;
  }

  /** Another leader is known: all are asked again. */
  leaderChanged(nowMs: number): void {
    for (const pending of this.#requests.values()) pending.retryAtMs = nowMs;
  }

  /** Ends all. */
  close(): void {
    for (const pending of this.#requests.values()) this.#expire(pending);
  }

  *[Symbol.iterator](): Iterator<PendingRequest> {
    yield* this.#requests.values();
  }

  #expire(pending: PendingRequest): void {
    this.#requests.delete(pending.id);
    pending.settle(
      pending.copies > 0
        ? {
            type: "unknown",
            reason: `it was given to a leader, and no word of what became of it has come (${pending.lastReason})`,
          }
        : { type: "refused", reason: pending.lastReason },
    );
  }
}
