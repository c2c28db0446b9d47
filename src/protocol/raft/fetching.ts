/**
 * Fetching: a member that its leader does not reach, or that does not reach its leader, asks any other one for what is committed. It gets entries, or a snapshot
 * in pieces where the entries are gone. One question at a time, one piece an answer; what is gathered of a snapshot goes on with whoever has the same one.
 */
import { present } from "../../assert.ts";
import { snapshotDigest } from "../../codec/snapshot-digest.ts";
import { IncomingSnapshot } from "./incoming-snapshot.ts";
import type { RaftLog } from "./log.ts";
import { OutgoingSnapshots } from "./outgoing-snapshots.ts";
import type { Entry, Message, PeerId, RaftOptions, Snapshot } from "./types.ts";

type MessageOf<Type extends Message["type"]> = Extract<Message, { readonly type: Type }>;

/** Whoever is being sent a snapshot, and asks for no more of it for so many least election timeouts, is forgotten. */
const PATIENCE_TIMEOUTS = 4;

/** The member whose part this is. */
export interface FetchingHost {
  readonly log: RaftLog;
  readonly options: RaftOptions;
  send(to: PeerId, message: Message, isDurable: boolean): void;
  takeEntries(entries: readonly Entry[]): void;
  commitTo(index: number): void;
  install(snapshot: Snapshot): void;
  /** What was heard contradicts what this member knows for sure. */
  contradicted(): void;
}

export class Fetching {
  /** Entries that came from members which were asked for them. */
  entries = 0;
  /** Pieces of snapshots. */
  pieces = 0;
  /** Snapshots that became whole, and were installed. */
  snapshots = 0;
  readonly #host: FetchingHost;
  readonly #outgoing: OutgoingSnapshots;
  // The member that was asked, and has not answered.
  #asked: PeerId | undefined;
  // What there is of a snapshot. Beside a leader's, and neither holds the other one up.
  #gathered: IncomingSnapshot | undefined;

  constructor(host: FetchingHost) {
    this.#host = host;
    const { electionTicks, snapshotChunkBytes } = host.options;
    this.#outgoing = new OutgoingSnapshots(snapshotChunkBytes, PATIENCE_TIMEOUTS * electionTicks);
  }

  /** Grows with each answer that brought something. */
  get progress(): number {
    return this.entries + this.pieces;
  }

  tick(): void {
    this.#outgoing.tick();
  }

  /** Whether an answer may come from there. It is taken once. */
  isAsked(id: PeerId): boolean {
    return id === this.#asked;
  }

  /** What is committed is had: a snapshot of that, or of less, is of no use. */
  committed(index: number): void {
    if (this.#gathered !== undefined && this.#gathered.index <= index) this.#gathered = undefined;
  }

  ask(from: PeerId, term: number): void {
    const { log } = this.#host;
    const index = log.commitIndex;
    const indexTerm = present(log.term(index), "the last committed entry has a term");
    this.#asked = from;
    this.#host.send(from, { type: "fetch", term, index, indexTerm, part: this.#gathered?.part }, false);
  }

  /**
   * Answers a member with what is committed, and nothing else: entries; or where the log no longer goes back so far, a piece of a snapshot, unless too many are
   * being sent one.
   *
   * What is sent is committed whatever becomes of this disk; but a term that others are told is durable.
   */
  answer(from: PeerId, { index, indexTerm, part }: MessageOf<"fetch">, term: number): void {
    const { log, options } = this.#host;
    const isGone = index < log.snapshot.index && log.term(index) === undefined;
    const piece = isGone ? this.#outgoing.next(from, log.snapshot, part, term) : undefined;
    const hasMore = index < log.commitIndex && log.term(index) === indexTerm;
    const entries = hasMore
      ? log.slice(index + 1, options.maxMessageBytes).filter((entry) => entry.index <= log.commitIndex)
      : [];
    const nothingElse: Message = {
      type: "fetch-response",
      term,
      previousIndex: index,
      previousTerm: indexTerm,
      entries,
    };
    this.#host.send(from, piece ?? nothingElse, true);
  }

  /**
   * Takes committed entries from a member that need not lead. The answer is of this member's term: by the rule of all messages an earlier one was left, and a
   * later one has made this member a follower in that term. Nothing else follows from it for vote, leader and election.
   *
   * Why that is safe, for voters and learners alike:
   * 1. The entries follow this member's last committed one, so none that is committed is replaced. An entry that is replaced contradicts a committed one, so
   *    it is not committed and never will be, whoever has counted this member for it.
   * 2. A member learns from leaders of terms up to its own what is committed. So each entry was committed in a term up to this one, and whoever leads in this
   *    term or a later one has it: leader completeness, or it committed the entry itself. Those are all that this member listens to from here on. That is why
   *    the answer's term counts and not that of its last entry: old entries are committed by leaders of later terms (paper, figure 8), and a member that stayed
   *    in an earlier term would tell the leader of that one that their logs match where they do not.
   * 3. Nobody is told that this member has them: it says so to its leader when that asks, as ever when they are durable.
   * 4. A candidate's log only becomes the better for it, unless an entry was replaced; then a majority has a log that is more up to date than the one that it
   *    stands with, and it is not elected.
   */
  take({ previousIndex, previousTerm, entries }: MessageOf<"fetch-response">): void {
    const { log } = this.#host;
    this.#asked = undefined;
    // It has committed more meanwhile.
    if (previousIndex !== log.commitIndex) return;
    if (log.term(previousIndex) !== previousTerm) {
      this.#host.contradicted();
      return;
    }
    this.#host.takeEntries(entries);
    this.#host.commitTo(previousIndex + entries.length);
    this.entries += entries.length;
  }

  /**
   * Takes a piece of a snapshot from a member that need not lead; the snapshot is installed once it is whole, and is what its digest says. Whose pieces were put
   * together does not matter then: it is the snapshot of the member that sent the last one, in all of its bytes.
   *
   * A snapshot is of what its maker has applied, so what is said of entries (`take`) holds for those that it stands for:
   * 1. It is of more than this member has committed. The log is kept if it has the snapshot's last entry: then it has all of them (log matching). Else whatever
   *    stands after this member's last committed entry contradicts committed ones, or does not reach so far, and goes.
   * 2. The term of the answer that ends it counts, as with entries.
   * 3. Nobody is told that this member has it before the disk does: as with a leader's snapshot, which takes the same way from here.
   * 4. A candidate of this term is not elected: whoever answers hears its leader.
   */
  takePiece(message: MessageOf<"fetch-snapshot">): void {
    const { log } = this.#host;
    const { snapshotIndex, snapshotTerm, offset, digest } = message;
    this.#asked = undefined;
    if (snapshotIndex <= log.commitIndex) return;
    if (snapshotTerm < present(log.term(log.commitIndex), "the last committed entry has a term")) {
      // Terms in a log do not fall.
      this.#host.contradicted();
      return;
    }
    if (log.term(snapshotIndex) === snapshotTerm) {
      this.pieces += 1;
      this.#host.commitTo(snapshotIndex);
      return;
    }
    if (this.#gathered?.isOf(message) !== true) this.#gathered = undefined;
    // What goes on with something that is not here begins anew with the next question.
    if (offset !== (this.#gathered?.received ?? 0)) return;
    this.#gathered ??= new IncomingSnapshot(message);
    const snapshot = this.#gathered.add(message);
    if (snapshot !== undefined) {
      this.#gathered = undefined;
      if (snapshotDigest(snapshot) !== digest) {
        this.#host.contradicted();
        return;
      }
      this.snapshots += 1;
      this.#host.install(snapshot);
    }
    this.pieces += 1;
  }
}
