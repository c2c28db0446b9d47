/**
 * Notes what clients do, for the linearizability checker.
 *
 * A client says when it calls, and later how that ended: with an answer; with the certainty that nothing was done (a
 * redirect, an error that promises so); or never, which leaves the outcome unknown. Moments are counted, not measured: what
 * a client does after its answer comes after it, even in the same microsecond.
 */

import type { Operation } from "./linearizability.ts";

/** An operation that was called. Ends at most once; without an end its outcome is unknown. */
export interface PendingOperation<Output> {
  /** The answer came. */
  returned(output: Output): void;
  /** Certainly nothing was done. */
  failed(): void;
}

interface Entry<Input, Output> {
  readonly client: string;
  readonly key: string | undefined;
  readonly concerns: (key: string) => boolean;
  readonly input: Input;
  readonly invokedAt: number;
  readonly invokedMs: number;
  output: Output | undefined;
  returnedAt: number;
  returnedMs: number;
  hasFailed: boolean;
}

/**
 * The operations of a run.
 *
 * @example
 * ```ts
 * const history = new History<RegisterInput, RegisterOutput>(() => simulation.nowMs);
 * const pending = history.invoke("client 1", "a", { command: "SET", value: "1" });
 * pending.returned("OK");
 * ```
 */
export class History<Input, Output> {
  readonly #nowMs: () => number;
  readonly #entries: Entry<Input, Output>[] = [];
  #moments = 0;

  /** @param nowMs The time that is shown to people. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Operations that were called so far, failed ones included. */
  get count(): number {
    return this.#entries.length;
  }

  /** A client calls an operation on a key. */
  invoke(client: string, key: string, input: Input): PendingOperation<Output> {
    return this.#add(client, key, (other) => other === key, input);
  }

  /**
   * Something happens to many keys: to all keys of this history, those of later operations included, that `concerns` says
   * yes to. E.g. a node that keeps its keys in memory crashes: all of its keys are lost, between its crash and the first
   * moment at which it can answer again.
   */
  invokeOnMany(client: string, concerns: (key: string) => boolean, input: Input): PendingOperation<Output> {
    return this.#add(client, undefined, concerns, input);
  }

  /** All that may have had an effect or has an answer, for `checkHistory`. */
  operations(): Operation<Input, Output>[] {
    const keys = new Set<string>();
    for (const { key } of this.#entries) if (key !== undefined) keys.add(key);
    const operations: Operation<Input, Output>[] = [];
    for (const entry of this.#entries) {
      if (entry.hasFailed) continue;
      const { client, input, output, invokedAt, invokedMs, returnedAt, returnedMs } = entry;
      const concerned = entry.key === undefined ? [...keys].filter((key) => entry.concerns(key)) : [entry.key];
      for (const key of concerned) {
        operations.push({ client, key, input, output, invokedAt, invokedMs, returnedAt, returnedMs });
      }
    }
    return operations;
  }

  #add(
    client: string,
    key: string | undefined,
    concerns: (key: string) => boolean,
    input: Input,
  ): PendingOperation<Output> {
    const entry: Entry<Input, Output> = {
      client,
      key,
      concerns,
      input,
      invokedAt: ++this.#moments,
      invokedMs: this.#nowMs(),
      output: undefined,
      returnedAt: Infinity,
      returnedMs: Infinity,
      hasFailed: false,
    };
    this.#entries.push(entry);
    return {
      returned: (output) => {
        if (entry.returnedAt !== Infinity || entry.hasFailed) throw new Error("Cannot end an operation twice");
        entry.output = output;
        entry.returnedAt = ++this.#moments;
        entry.returnedMs = this.#nowMs();
      },
      failed: () => {
        if (entry.returnedAt !== Infinity) throw new Error("Cannot end an operation twice");
        entry.hasFailed = true;
      },
    };
  }
}
