/**
 * Checkers of Raft: what must hold for any group at any time, seen from outside.
 *
 * Each is a small class with a name. They are told what members do, and look into their logs; none of them knows how the machine works.
 */
import type { RaftLog } from "../../src/protocol/raft/log.ts";
import type { Entry, Message, PeerId, Role, Snapshot } from "../../src/protocol/raft/types.ts";

/** What a checker can look at of a member. */
export interface MemberView {
  readonly id: PeerId;
  readonly term: number;
  readonly role: Role;
  readonly log: RaftLog;
}

/** Something that must hold, and does not. */
export class Violation extends Error {
  override readonly name = "Violation";
}

function fail(checker: string, what: string): never {
  throw new Violation(`${checker}: ${what}`);
}

/** A member leaves what cannot be true, since it may be forged. Where nobody forges anything, nobody says such a thing. */
export function nobodyContradicts({
  id,
  contradictions,
}: {
  readonly id: PeerId;
  readonly contradictions: number;
}): void {
  if (contradictions > 0) fail("nobody contradicts what another knows for sure", `${id} was told such a thing`);
}

/** What entries say, in short. An entry never changes: each is read once. */
class EntryDigests {
  readonly #known = new WeakMap<Entry, string>();

  of(entry: Entry): string {
    const known = this.#known.get(entry);
    if (known !== undefined) return known;
    const digest = digestOf(entry);
    this.#known.set(entry, digest);
    return digest;
  }
}

function digestOf(entry: Entry): string {
  if (entry.configuration !== undefined) return JSON.stringify(entry.configuration);
  const { data } = entry;
  if (data === undefined) return "";
  let hash = 0x811c9dc5;
  for (let at = 0; at < data.length; at += 1) hash = Math.imul(hash ^ (data[at] as number), 0x01000193);
  return `${data.length}:${hash >>> 0}`;
}

/** Paper, figure 3: at most one leader in a term. */
export class ElectionSafety {
  readonly #leaders = new Map<number, PeerId>();

  leads(id: PeerId, term: number): void {
    const other = this.#leaders.get(term);
    if (other !== undefined && other !== id) fail("one leader a term", `${other} and ${id} both lead term ${term}`);
    this.#leaders.set(term, id);
  }

  get terms(): number {
    return this.#leaders.size;
  }
}

/** Each identity gives its vote once a term, whatever happens to it in between. */
export class OneVoteATerm {
  readonly #votes = new Map<string, PeerId>();

  sent(from: PeerId, to: PeerId, message: Message): void {
    if (message.type !== "vote-response" || message.isPreVote || !message.isGranted) return;
    const key = `${from} in term ${message.term}`;
    const other = this.#votes.get(key);
    if (other !== undefined && other !== to) fail("one vote a term", `${key} voted for ${other} and for ${to}`);
    this.#votes.set(key, to);
  }
}

/** Paper, figure 3: if two logs hold an entry of the same index and term, they are the same up to there. */
export class LogMatching {
  readonly #seen = new Map<string, string>();
  readonly #digests = new EntryDigests();
  /** The entries of each log as they were at the last look, by index, from the first one that it had. */
  readonly #looked = new WeakMap<RaftLog, { readonly first: number; readonly entries: readonly Entry[] }>();

  look({ id, log }: MemberView): void {
    const { firstIndex, lastIndex } = log;
    const before = this.#looked.get(log);
    const entries: Entry[] = [];
    let isSame = false;
    for (let index = firstIndex; index <= lastIndex; index += 1) {
      const entry = log.entry(index);
      if (entry === undefined) fail("log matching", `${id} has a gap at ${index}`);
      entries.push(entry);
      const wasSame = isSame;
      isSame = before?.entries[index - before.first] === entry;
      // It was compared, after the same one.
      if (isSame && wasSame) continue;
      // By induction over the entry before, the whole log before it.
      const key = `${index}/${entry.term}`;
      const what = `${this.#digests.of(entry)} after term ${log.term(index - 1)}`;
      const other = this.#seen.get(key);
      if (other !== undefined && other !== what)
        fail("log matching", `${id} has ${what} at ${key}, another has ${other}`);
      this.#seen.set(key, what);
    }
    this.#looked.set(log, { first: firstIndex, entries });
  }
}

/** Paper, figure 3: nobody applies another entry at an index; and what was committed once is in the log of every later leader. */
export class CommittedEntries {
  readonly #committed = new Map<number, { readonly term: number; readonly digest: string }>();
  /** Configurations by their indexes: those of entries that were applied, and those of snapshots whose entries nobody has looked at. */
  readonly #configurations = new Map<number, string>();
  readonly #learned = new Map<number, string>();
  readonly #digests = new EntryDigests();
  lastIndex = 0;

  applied(id: PeerId, entries: readonly Entry[]): void {
    for (const entry of entries) {
      const found = this.#committed.get(entry.index);
      const what = this.#digests.of(entry);
      if (found === undefined) {
        this.#committed.set(entry.index, { term: entry.term, digest: what });
        if (entry.configuration !== undefined) this.#configurations.set(entry.index, what);
      } else if (found.term !== entry.term || found.digest !== what) {
        fail(
          "state machine safety",
          `${id} applied term ${entry.term} at ${entry.index}, where term ${found.term} was applied before`,
        );
      }
      this.lastIndex = Math.max(this.lastIndex, entry.index);
    }
  }

  /** A leader begins: leader completeness. */
  leads({ id, term, log }: MemberView): void {
    // One that wins late, after another of a later term has committed something, need not have that: nobody listens to it any more.
    if ((this.#committed.get(this.lastIndex)?.term ?? 0) > term) return;
    this.#holdsAll(log, this.lastIndex, (index, wanted, got) =>
      fail(
        "leader completeness",
        `${id} leads term ${term} with term ${got} at ${index}, where ${wanted} is committed`,
      ),
    );
  }

  /** Nothing that was committed is missing up to an index. */
  has({ id, log }: MemberView, upTo: number): void {
    this.#holdsAll(log, upTo, (index, wanted, got) =>
      fail("nothing committed is lost", `${id} has term ${got} at ${index}, where ${wanted} is committed`),
    );
  }

  #holdsAll(log: RaftLog, upTo: number, say: (index: number, wanted: number, got: number | undefined) => void): void {
    // What the snapshot stands for is checked when it is restored.
    for (let index = Math.max(log.firstIndex, log.snapshot.index + 1); index <= upTo; index += 1) {
      const wanted = this.#committed.get(index);
      const got = log.term(index);
      if (wanted !== undefined && wanted.term !== got) say(index, wanted.term, got);
    }
    if (log.snapshot.index < upTo && log.lastIndex < upTo) say(upTo, this.#committed.get(upTo)?.term ?? 0, undefined);
  }

  /** A snapshot is of committed state. */
  restored(id: PeerId, snapshot: Snapshot): void {
    const committed = this.#committed.get(snapshot.index);
    if (committed !== undefined && committed.term !== snapshot.term) {
      fail("state machine safety", `${id} restored a snapshot of term ${snapshot.term} at ${snapshot.index}`);
    }
    this.#hasItsMembers(id, snapshot);
  }

  /** The members of its index, and not those of the log that it was made from. */
  #hasItsMembers(id: PeerId, { index, term, configuration }: Snapshot): void {
    const latest = (of: ReadonlyMap<number, string>): number =>
      Math.max(0, ...[...of.keys()].filter((at) => at <= index));
    const [changed, learned] = [latest(this.#configurations), latest(this.#learned)];
    const told = JSON.stringify(configuration);
    let isKnown = false;
    // What an entry has set counts from there on; what a snapshot has told as long as no entry is known to have changed it.
    for (const [at, members] of [
      [changed, this.#configurations.get(changed)],
      [learned, learned >= changed ? this.#learned.get(learned) : undefined],
    ] as const) {
      if (members === undefined || !this.#isWhole(at, index)) continue;
      isKnown = true;
      if (members !== told) {
        fail("a snapshot has the members of its index", `${id} has others at ${index} than were in force at ${at}`);
      }
    }
    // Whoever applied what came before had cut it off before anybody looked: what the first snapshot says, all others have to say. A founding is of no term, and
    // groups that never come to life begin at the same index as others.
    if (!isKnown && term > 0) this.#learned.set(index, told);
  }

  /** Whether somebody was seen to apply each entry after one index and up to another. */
  #isWhole(after: number, upTo: number): boolean {
    for (let index = after + 1; index <= upTo; index += 1) if (!this.#committed.has(index)) return false;
    return true;
  }
}

/** Terms and snapshots of an identity never go back, restarts included; neither does what it has applied while it runs. */
export class NothingGoesBack {
  readonly #seen = new Map<PeerId, { term: number; snapshot: number; commit: number }>();

  look({ id, term, log }: MemberView): void {
    const before = this.#seen.get(id) ?? { term: 0, snapshot: 0, commit: 0 };
    const now = { term, snapshot: log.snapshot.index, commit: log.commitIndex };
    for (const what of ["term", "snapshot", "commit"] as const) {
      if (now[what] < before[what])
        fail("nothing goes back", `${what} of ${id} went from ${before[what]} to ${now[what]}`);
    }
    this.#seen.set(id, now);
  }

  /** It stopped: what was not durable may be gone. What was is not. */
  stopped(id: PeerId, durable: { readonly term: number; readonly snapshotIndex: number }): void {
    this.#seen.set(id, { term: durable.term, snapshot: durable.snapshotIndex, commit: durable.snapshotIndex });
  }
}

/** A read is told an index that is no older than anything that was answered before the read was asked. */
export class FreshReads {
  readonly #asked = new Map<string, number>();
  /** The highest index of which anybody outside knows. */
  #answered = 0;
  reads = 0;

  answered(index: number): void {
    this.#answered = Math.max(this.#answered, index);
  }

  asks(read: string): void {
    this.#asked.set(read, this.#answered);
  }

  ready(read: string, index: number): void {
    const least = this.#asked.get(read) ?? 0;
    this.reads += 1;
    if (index < least)
      fail("reads are fresh", `read ${read} was told ${index}, and ${least} was answered before it was asked`);
  }
}

/** One change of members at a time: configurations that follow each other differ in one member, or in one member's vote. */
export class OneChangeAtATime {
  /** A leader has made a change. Before it the last one was committed, and so was an entry of the leader's term. */
  made(
    id: PeerId,
    at: {
      readonly before: number;
      readonly commitIndex: number;
      readonly committedTerm: number | undefined;
      readonly term: number;
    },
  ): void {
    if (at.before > at.commitIndex) {
      fail("one change at a time", `${id} changes members while ${at.before} is not committed`);
    }
    if (at.committedTerm !== at.term) {
      fail("one change at a time", `${id} changes members before it has committed anything in term ${at.term}`);
    }
  }

  look({ id, log }: MemberView): void {
    let before = log.snapshot.configuration.members;
    for (let index = log.snapshot.index + 1; index <= log.lastIndex; index += 1) {
      const members = log.entry(index)?.configuration?.members;
      if (members === undefined) continue;
      const voters = (of: typeof members): Set<string> =>
        new Set(of.filter((member) => member.isVoter).map((member) => member.id));
      const old = voters(before);
      const now = voters(members);
      const difference =
        [...old].filter((each) => !now.has(each)).length + [...now].filter((each) => !old.has(each)).length;
      if (difference > 1) fail("one change at a time", `${id} changes ${difference} voters at ${index}`);
      before = members;
    }
  }
}

/** What is kept in memory is bounded, whatever is asked of it. */
export class BoundedQueues {
  readonly #maxLogBytes: number;

  constructor(maxLogBytes: number) {
    this.#maxLogBytes = maxLogBytes;
  }

  look({ id, log }: MemberView): void {
    if (log.bytes > this.#maxLogBytes) fail("queues are bounded", `${id} holds ${log.bytes} bytes of log`);
  }
}
