/**
 * The log of one member, in memory: a snapshot, and the entries that follow it.
 *
 * Invariants: indexes have no gaps; terms do not fall; `snapshot.index <= appliedIndex <= commitIndex <= lastIndex`. Entries up to `commitIndex` never change.
 */
import { assert, present } from "../../assert.ts";
import type { Configuration, Entry, Snapshot } from "./types.ts";

/** What an entry takes beside its data, roughly: in memory and in messages. */
const ENTRY_OVERHEAD_BYTES = 64;
const MEMBER_BYTES = 160;

/** Bytes that an entry counts for, in every bound. */
export function entryBytes(entry: Entry): number {
  return (
    ENTRY_OVERHEAD_BYTES +
    (entry.data?.length ?? 0) +
    (entry.configuration === undefined ? 0 : entry.configuration.members.length * MEMBER_BYTES)
  );
}

export class RaftLog {
  /** What stands for the log up to its index. */
  snapshot: Snapshot;
  /** The log up to here is on a majority: it never changes. */
  commitIndex: number;
  /** Given to the application up to here. */
  appliedIndex: number;
  /** Bytes of the entries in memory. */
  bytes = 0;
  // Entries `#first`, `#first + 1` ... Some lie before the snapshot's end: those that slower followers may still want.
  #entries: Entry[] = [];
  #first: number;
  // The term of the entry before `#first`.
  #termBefore: number;
  // Of entries in `#entries`, in order.
  #configurations: { readonly index: number; readonly configuration: Configuration }[] = [];

  constructor(snapshot: Snapshot, entries: readonly Entry[]) {
    this.snapshot = snapshot;
    this.commitIndex = snapshot.index;
    this.appliedIndex = snapshot.index;
    this.#first = snapshot.index + 1;
    this.#termBefore = snapshot.term;
    for (const entry of entries) this.#push(entry);
  }

  get lastIndex(): number {
    return this.#first + this.#entries.length - 1;
  }

  get lastTerm(): number {
    return this.#entries.at(-1)?.term ?? this.#termBefore;
  }

  /** The first index whose entry is there. */
  get firstIndex(): number {
    return this.#first;
  }

  /** The term at an index; `undefined` where the log does not reach, or no longer. */
  term(index: number): number | undefined {
    if (index === this.#first - 1) return this.#termBefore;
    return this.#entries[index - this.#first]?.term;
  }

  entry(index: number): Entry | undefined {
    return this.#entries[index - this.#first];
  }

  /** Entries from `from` on, as many as fit into `maxBytes`, at least one if there is any. */
  slice(from: number, maxBytes: number): readonly Entry[] {
    assert(from >= this.#first, "only entries that are there are read");
    const taken: Entry[] = [];
    let bytes = 0;
    for (let at = from - this.#first; at < this.#entries.length; at += 1) {
      const entry = present(this.#entries[at], "the log has no gaps");
      bytes += entryBytes(entry);
      if (taken.length > 0 && bytes > maxBytes) break;
      taken.push(entry);
    }
    return taken;
  }

  /** Entries from `from` to `to`, both included. */
  range(from: number, to: number): readonly Entry[] {
    return this.#entries.slice(from - this.#first, to - this.#first + 1);
  }

  /** The configuration in force: of the last entry that has one, committed or not. */
  get configuration(): Configuration {
    return this.#configurations.at(-1)?.configuration ?? this.snapshot.configuration;
  }

  /** Where it stands; 0 if the snapshot has it. */
  get configurationIndex(): number {
    return this.#configurations.at(-1)?.index ?? 0;
  }

  /** The configuration that was in force at an index, which is not before the snapshot's. */
  configurationAt(index: number): Configuration {
    return this.#configurations.findLast((each) => each.index <= index)?.configuration ?? this.snapshot.configuration;
  }

  /** The configuration that was in force at an index, and all that follow it. */
  configurationsFrom(index: number): readonly Configuration[] {
    return [
      this.configurationAt(index),
      ...this.#configurations.flatMap((each) => (each.index > index ? [each.configuration] : [])),
    ];
  }

  /** Whether a log that ends so is at least as up to date as this one (paper, section 5.4.1). */
  isUpToDate(lastIndex: number, lastTerm: number): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex);
  }

  /** Adds one entry at the end. */
  append(entry: Entry): void {
    assert(entry.index === this.lastIndex + 1, "an entry follows the last one");
    assert(entry.term >= this.lastTerm, "terms in the log do not fall");
    this.#push(entry);
  }

  /** Drops the entries from `index` on. */
  truncate(index: number): void {
    assert(index > this.commitIndex, "what is committed is never dropped");
    for (const entry of this.#entries.splice(index - this.#first)) this.bytes -= entryBytes(entry);
    while ((this.#configurations.at(-1)?.index ?? 0) >= index) this.#configurations.pop();
  }

  /**
   * The last index, at or before `index`, whose term is at most `term`: where two logs may still match. Terms do not fall, so everything
   * between cannot match.
   *
   * @returns That index, and its term; 0 for a term that is no longer known.
   */
  lastIndexOfTermAtMost(index: number, term: number): { readonly index: number; readonly term: number } {
    let at = Math.min(index, this.lastIndex);
    for (; at >= this.#first - 1; at -= 1) {
      const found = this.term(at);
      if (found !== undefined && found <= term) return { index: at, term: found };
    }
    return { index: Math.max(at, 0), term: 0 };
  }

  /**
   * Puts a snapshot of applied state in place of the log before it.
   *
   * @param trailing Entries before its end that stay all the same, as far as they take no more than `trailingBytes`.
   */
  compact(index: number, data: Uint8Array, trailing: number, trailingBytes: number): void {
    assert(
      index <= this.appliedIndex && index >= this.snapshot.index,
      "a snapshot is of applied state, and never goes back",
    );
    const term = present(this.term(index), "the term at a snapshot's index is known");
    this.snapshot = { index, term, configuration: this.configurationAt(index), data };
    // The snapshot holds those up to its index, whether their entries stay or not.
    this.#configurations = this.#configurations.filter((each) => each.index > index);
    let first = index + 1;
    let bytes = 0;
    while (first > this.#first && index + 1 - first < trailing) {
      bytes += entryBytes(present(this.entry(first - 1), "the log has no gaps"));
      if (bytes > trailingBytes) break;
      first -= 1;
    }
    this.#dropBefore(first);
  }

  /** Forgets everything for another member's snapshot. */
  restore(snapshot: Snapshot): void {
    assert(snapshot.index > this.commitIndex, "a snapshot does not replace what is newer");
    this.snapshot = snapshot;
    this.commitIndex = snapshot.index;
    this.appliedIndex = snapshot.index;
    this.#entries = [];
    this.#configurations = [];
    this.bytes = 0;
    this.#first = snapshot.index + 1;
    this.#termBefore = snapshot.term;
  }

  #dropBefore(first: number): void {
    if (first <= this.#first) return;
    this.#termBefore = present(this.term(first - 1), "the term before the log is known");
    for (const entry of this.#entries.splice(0, first - this.#first)) this.bytes -= entryBytes(entry);
    this.#first = first;
  }

  #push(entry: Entry): void {
    this.#entries.push(entry);
    this.bytes += entryBytes(entry);
    if (entry.configuration !== undefined) {
      this.#configurations.push({ index: entry.index, configuration: entry.configuration });
    }
  }
}
