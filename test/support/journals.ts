/**
 * What clients were told of keys to which tokens are appended and nothing else is done: each value is the list of what was written to it, in order. So what became of a
 * write can be seen from any later value, and what `docs/consistency.md` says of each kind of acknowledgement can be checked without a search.
 *
 * - Nobody sees a token that was not written by then, or one twice, or one whose writer was told that nothing was done; keys that are written together are together.
 * - While one primary leads, whoever asks it sees all that it has acknowledged to anybody, in one order.
 * - At a change of primary the shard goes back to one place of a log: values begin as they did under any primary before, up to a place, and have nothing in common with
 *   them from there on; and if a write is lost, so is every write to the shard that the same primary took after it had acknowledged that one.
 * - What connections with `acks in-sync` were told, by a primary or by a replica, is never lost.
 * - What they see on one node never goes back.
 */
import { Violation } from "./raft-checkers.ts";

/** Each token ends with this: what begins with another value begins with its tokens. */
const END = ";";

/** What a reply waits for. */
export type Acks = "in-sync" | "primary";

/** What was seen of a key. */
interface Sight {
  readonly key: string;
  readonly value: string;
  readonly by: string;
  readonly acks: Acks;
  readonly node: string;
  /** The epoch of the primary that told it; `undefined` if it may have been a replica. */
  readonly epoch: number | undefined;
  readonly invokedAt: number;
  readonly returnedAt: number;
}

/** A token that somebody appended. */
interface Write {
  readonly keys: readonly string[];
  readonly acks: Acks;
  readonly invokedAt: number;
  returnedAt: number;
  /** Of the primary that acknowledged it. */
  epoch: number | undefined;
  isRefused: boolean;
}

/** What was told, once: an operation that was not told its outcome ends never. */
export interface JournalOperation {
  /** @param epoch `undefined` if it may have been a replica that answered. */
  told(values: readonly string[], node: string, epoch: number | undefined): void;
  /** Certainly nothing was done. */
  refused(): void;
}

/** The shards' journals of a run. */
export class Journals {
  /** Writes that were acknowledged by a primary, and that a later one had not. */
  lost = 0;
  /** Sights that may have been a replica's. */
  sightsElsewhere = 0;
  readonly #sights: Sight[] = [];
  readonly #writes = new Map<string, Write>();
  #moments = 0;

  /**
   * An operation begins.
   *
   * @param token What is appended to each key; none: they are read.
   */
  begin(by: string, acks: Acks, keys: readonly string[], token: string | undefined): JournalOperation {
    const invokedAt = (this.#moments += 1);
    const write: Write = { keys, acks, invokedAt, returnedAt: Infinity, epoch: undefined, isRefused: false };
    if (token !== undefined) this.#writes.set(token, write);
    return {
      told: (values, node, epoch) => {
        const returnedAt = (this.#moments += 1);
        write.returnedAt = returnedAt;
        write.epoch = epoch;
        if (epoch === undefined) this.sightsElsewhere += 1;
        for (const [at, key] of keys.entries()) {
          const value = values[at] ?? "";
          if (token !== undefined && !value.endsWith(token + END))
            throw new Violation(`${by} has appended ${token} to ${key}, and is told that it is ${tail(value)}`);
          this.#sights.push({ key, value, by, acks, node, epoch, invokedAt, returnedAt });
        }
      },
      refused: () => {
        write.isRefused = true;
      },
    };
  }

  /**
   * Looks at all of it. Call it at the end, once each key was read after everything else.
   *
   * @param shardOf The shard of a key; `undefined` if it lost all of its data, so that nothing is promised of it.
   */
  check(shardOf: (key: string) => string | undefined): void {
    const shards = new Map<string, Sight[]>();
    for (const sight of this.#sights) {
      const shard = shardOf(sight.key);
      if (shard === undefined) continue;
      const same = shards.get(shard);
      if (same === undefined) shards.set(shard, [sight]);
      else same.push(sight);
    }
    for (const sights of shards.values()) this.#checkShard(sights);
  }

  #checkShard(sights: readonly Sight[]): void {
    checkOrder(
      sights.filter(({ epoch }) => epoch !== undefined),
      ({ epoch }) => epoch ?? 0,
      "is led by a primary of epoch",
    );
    const epochs = [...new Set(sights.flatMap(({ epoch }) => epoch ?? []))].toSorted((one, other) => one - other);
    const keys = [...new Set(sights.map(({ key }) => key))];
    const longest = new Map<string, string>();
    for (const key of keys) {
      const own = sights.filter((sight) => sight.key === key);
      this.#checkKey(own);
      for (const epoch of epochs) {
        const value = longestOf(own.filter((sight) => sight.epoch === epoch));
        if (value !== undefined) longest.set(`${epoch} ${key}`, value);
      }
    }
    const seenIn = (epoch: number, key: string): string | undefined => longest.get(`${epoch} ${key}`);
    for (const [at, earlier] of epochs.entries()) {
      for (const later of epochs.slice(at + 1)) this.#checkChange(keys, earlier, later, seenIn);
    }
    this.#checkTogether(sights);
  }

  /** Of one key: one order while one primary leads; nothing made up; nothing lost that was not to be lost. */
  #checkKey(sights: readonly Sight[]): void {
    const byEpoch = Map.groupBy(sights, ({ epoch }) => epoch);
    const last = sights.findLast(({ acks }) => acks === "in-sync");
    for (const [epoch, own] of byEpoch) {
      if (epoch === undefined) continue;
      const whole = longestOf(own) ?? "";
      for (const sight of own) {
        if (!whole.startsWith(sight.value)) throw differ(sight, `of epoch ${epoch}, in which it was`, whole);
      }
      checkOrder(own, ({ value }) => value.length, "has a length of");
    }
    for (const sight of sights) this.#checkTokens(sight);
    const inSync = sights.filter(({ acks }) => acks === "in-sync");
    for (const sight of inSync) {
      if (last?.value.startsWith(sight.value) !== true) throw differ(sight, "and in the end it is", last?.value ?? "");
    }
    for (const own of Map.groupBy(inSync, ({ node }) => node).values())
      checkOrder(own, ({ value }) => value.length, "has on one node a length of");
    // Whoever asks a later primary, with whatever acknowledgements, sees what was promised.
    for (const [epoch, own] of byEpoch) {
      if (epoch === undefined) continue;
      const promised = longestOf(inSync.filter((sight) => sight.epoch !== undefined && sight.epoch < epoch)) ?? "";
      for (const sight of own) if (!sight.value.startsWith(promised)) throw differ(sight, "after it was", promised);
    }
  }

  #checkTokens(sight: Sight): void {
    const seen = new Set<string>();
    for (const token of tokensOf(sight.value)) {
      const write = this.#writes.get(token);
      if (write === undefined || !write.keys.includes(sight.key) || write.invokedAt > sight.returnedAt)
        throw new Violation(`${sight.by} has read ${token} in ${sight.key}, which nobody had written to it`);
      if (write.isRefused) throw new Violation(`${sight.by} has read ${token}, whose writer was told that it was not`);
      if (seen.has(token)) throw new Violation(`${sight.by} has read ${token} twice in ${sight.key}`);
      seen.add(token);
    }
  }

  /** From one primary to a later one, with whoever led between. */
  #checkChange(
    keys: readonly string[],
    earlier: number,
    later: number,
    seenIn: (epoch: number, key: string) => string | undefined,
  ): void {
    let firstLost: { readonly token: string; readonly returnedAt: number } | undefined;
    let lastKept: { readonly token: string; readonly invokedAt: number } | undefined;
    for (const key of keys) {
      const before = seenIn(earlier, key);
      const after = seenIn(later, key);
      if (before === undefined || after === undefined) continue;
      const had = tokensOf(before);
      const has = tokensOf(after);
      let common = 0;
      while (common < had.length && had[common] === has[common]) common += 1;
      const left = new Set(has.slice(common));
      for (const [at, token] of had.entries()) {
        const write = this.#writes.get(token);
        if (write === undefined) continue;
        if (at < common) {
          if (lastKept === undefined || write.invokedAt > lastKept.invokedAt)
            lastKept = { token, invokedAt: write.invokedAt };
          continue;
        }
        if (left.has(token))
          throw new Violation(
            `${key} was ${tail(before)} in epoch ${earlier} and is ${tail(after)} in ${later}: ${token} is another's successor`,
          );
        if (write.epoch !== earlier) continue;
        this.lost += 1;
        if (write.acks === "in-sync")
          throw new Violation(
            `${token} was acknowledged in epoch ${earlier} by all in sync, and is not in ${key} in ${later}`,
          );
        if (firstLost === undefined || write.returnedAt < firstLost.returnedAt)
          firstLost = { token, returnedAt: write.returnedAt };
      }
    }
    if (firstLost !== undefined && lastKept !== undefined && firstLost.returnedAt < lastKept.invokedAt) {
      throw new Violation(
        `${firstLost.token}, acknowledged in epoch ${earlier}, is lost in epoch ${later}, and ${lastKept.token}, which was written after it, is not`,
      );
    }
  }

  /** What was written to several keys in one step is in all of them or in none. */
  #checkTogether(sights: readonly Sight[]): void {
    const moments = Map.groupBy(sights, ({ by, returnedAt }) => `${by} ${returnedAt}`);
    for (const own of moments.values()) {
      if (own.length < 2) continue;
      const lists = new Map(own.map(({ key, value }) => [key, new Set(tokensOf(value))]));
      for (const { by, key, value } of own) {
        for (const token of tokensOf(value)) {
          const missing = this.#writes.get(token)?.keys.find((other) => lists.get(other)?.has(token) === false);
          if (missing !== undefined)
            throw new Violation(`${by} has read ${token} in ${key} and not in ${missing}: it was written to both`);
        }
      }
    }
  }
}

/** Something that only grows: an answer that was called after another one had come shows no less. */
function checkOrder(sights: readonly Sight[], of: (sight: Sight) => number, what: string): void {
  const byReturn = sights.toSorted((one, other) => one.returnedAt - other.returnedAt);
  let most: Sight | undefined;
  let next = 0;
  for (const sight of sights.toSorted((one, other) => one.invokedAt - other.invokedAt)) {
    for (let done = byReturn[next]; done !== undefined && done.returnedAt < sight.invokedAt; done = byReturn[next]) {
      if (most === undefined || of(done) > of(most)) most = done;
      next += 1;
    }
    if (most !== undefined && of(most) > of(sight)) {
      throw new Violation(
        `${sight.key}, as ${sight.by} was told by ${sight.node}, ${what} ${of(sight)}, and had ${of(most)} before, as ${most.by} was told by ${most.node}: ${tail(most.value)}, then ${tail(sight.value)}`,
      );
    }
  }
}

function longestOf(sights: readonly Sight[]): string | undefined {
  let longest: string | undefined;
  for (const { value } of sights) if (longest === undefined || value.length > longest.length) longest = value;
  return longest;
}

function tokensOf(value: string): readonly string[] {
  return value === "" ? [] : value.slice(0, -1).split(END);
}

function differ({ key, by, acks, node, epoch, value }: Sight, relation: string, other: string): Violation {
  return new Violation(
    `${key} was ${tail(value)}, as ${by} (acks ${acks}) was told by ${node} in epoch ${epoch ?? "?"}, ${relation} ${tail(other)}`,
  );
}

/** The end of a value, for people. */
function tail(value: string): string {
  return value.length <= 120 ? `"${value}"` : `${value.length} bytes up to "${value.slice(-120)}"`;
}
