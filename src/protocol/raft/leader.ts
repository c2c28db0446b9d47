/**
 * The leader's part of Raft: what exists only while a member leads, made when it begins and dropped when it ends.
 *
 * It sends the log to the others, counts who has it, commits, answers reads, changes members, hands over.
 */
import { present } from "../../assert.ts";
import type { Durability } from "./durability.ts";
import { type RaftLog, entryBytes } from "./log.ts";
import { changeMembers } from "./membership.ts";
import { Progress } from "./progress.ts";
import { majorityOf, majorityValue } from "./quorum.ts";
import { type PendingRead, ReadQueue } from "./reads.ts";
import type { Configuration, ConfigurationChange, Effect, Message, PeerId, RaftOptions, Refusal } from "./types.ts";

type MessageOf<Type extends Message["type"]> = Extract<Message, { readonly type: Type }>;

/** What a leader has of the machine. */
export interface LeaderHost {
  readonly id: PeerId;
  readonly log: RaftLog;
  readonly durability: Durability;
  readonly options: RaftOptions;
  effect(effect: Effect): void;
  send(to: PeerId, message: Message, isDurable: boolean): void;
  /** Commits, and gives what is new to the application. */
  commitTo(index: number): void;
}

export class Leader {
  /** Data of entries that are not committed. */
  uncommittedBytes: number;
  /** Whom it hands over to. */
  transferTarget: PeerId | undefined;
  /**
   * When it began: ticks since a leader before it was heard by anybody whose vote made it one, itself included, at most. `undefined`: by none of them,
   * ever. A majority of the voters at any time shares a voter with those, so nothing rests on an earlier leader's word that a majority confirmed.
   */
  readonly predecessorHeardTicksAgo: number | undefined;
  /** What it knows of the others, learners included. */
  readonly progress = new Map<PeerId, Progress>();

  readonly #host: LeaderHost;
  readonly #term: number;
  // The index of the entry that opened the term.
  readonly #termStart: number;
  // Heartbeat rounds so far.
  #round = 0;
  #heartbeatElapsed = 0;
  #quorumElapsed = 0;
  readonly #reads = new ReadQueue();

  /** Begins: with an entry of its own term, since only such entries are counted (paper, sections 5.4.2 and 8). */
  constructor(host: LeaderHost, term: number, predecessorHeardTicksAgo: number | undefined) {
    const { log } = host;
    this.#host = host;
    this.#term = term;
    this.predecessorHeardTicksAgo = predecessorHeardTicksAgo;
    for (const { id } of log.configuration.members) {
      if (id !== host.id) this.progress.set(id, new Progress(log.lastIndex + 1));
    }
    this.uncommittedBytes = log
      .range(log.commitIndex + 1, log.lastIndex)
      .reduce((sum, entry) => sum + entryBytes(entry), 0);
    this.#termStart = log.lastIndex + 1;
  }

  /** Opens the term. Apart from the constructor, since committing may lead back here. */
  open(): void {
    this.#append(undefined, undefined);
    this.#sendToAll();
  }

  get voters(): readonly PeerId[] {
    return this.#host.log.configuration.members.filter((member) => member.isVoter).map((member) => member.id);
  }

  /** Heartbeat rounds that it has begun. */
  get round(): number {
    return this.#round;
  }

  /** The last round that a majority of the voters has answered: at its beginning nobody else led. 0: none has been yet. */
  get confirmedRound(): number {
    const { id: self } = this.#host;
    return majorityValue(this.voters.map((id) => (id === self ? this.#round : (this.progress.get(id)?.round ?? 0))));
  }

  /** It has committed an entry of its own term, so it knows what is committed (paper, section 8). */
  get hasCommittedInTerm(): boolean {
    return this.#host.log.commitIndex >= this.#termStart;
  }

  /** @returns Whether it goes on: check-quorum ends a leader that no majority has answered for an election timeout. */
  tick(): boolean {
    const { electionTicks, heartbeatTicks } = this.#host.options;
    this.#heartbeatElapsed += 1;
    this.#quorumElapsed += 1;
    if (this.#quorumElapsed >= electionTicks) {
      this.#quorumElapsed = 0;
      // A handover that has not come about by then will not: proposals are taken again.
      this.transferTarget = undefined;
      const { voters } = this;
      const active = voters.filter((id) => id === this.#host.id || this.progress.get(id)?.isActive === true);
      if (active.length < majorityOf(voters.length)) return false;
      for (const progress of this.progress.values()) progress.isActive = false;
    }
    for (const progress of this.progress.values()) progress.silentTicks += 1;
    if (this.#heartbeatElapsed >= heartbeatTicks) this.#sendHeartbeats();
    return true;
  }

  /** Ends. @returns Reads of its own node that nobody will answer. */
  end(): readonly number[] {
    return this.#reads.clear().flatMap(({ id, from }) => (from === undefined ? [id] : []));
  }

  /** Takes one entry of the application, or says why not. */
  propose(id: number, data: Uint8Array): void {
    const { maxEntryBytes, maxUncommittedBytes } = this.#host.options;
    if (this.transferTarget !== undefined) this.#refuse(id, "transferring");
    else if (data.length > maxEntryBytes) this.#refuse(id, "too-large");
    else if (this.uncommittedBytes + data.length > maxUncommittedBytes) this.#refuse(id, "overloaded");
    else this.#proposed(id, data, undefined);
  }

  /**
   * Changes one member, or adds learners, if
   * 1. it is not handing over;
   * 2. it has committed an entry of its own term: else two leaders' changes could each be made on a configuration that the other does not know of (the
   *    hole that was found in the dissertation's algorithm in 2015);
   * 3. the last change is committed: configurations that differ by one member share a voter in any two majorities, others need not.
   */
  change(id: number, change: ConfigurationChange): void {
    const { log } = this.#host;
    if (this.transferTarget !== undefined) this.#refuse(id, "transferring");
    else if (!this.hasCommittedInTerm || log.configurationIndex > log.commitIndex) this.#refuse(id, "change-pending");
    else {
      const members = changeMembers(log.configuration, change, this.#host.id, (peer) => this.isCaughtUp(peer));
      if (typeof members === "string") {
        this.#refuse(id, members);
        return;
      }
      for (const member of members) {
        if (member.id !== this.#host.id && !this.progress.has(member.id)) {
          this.progress.set(member.id, new Progress(log.lastIndex + 1));
        }
      }
      for (const peer of this.progress.keys()) {
        if (!members.some((member) => member.id === peer)) this.progress.delete(peer);
      }
      this.#proposed(id, undefined, { members });
    }
  }

  /** Hands over: to a voter, once it has the whole log. */
  transfer(target: PeerId): void {
    const progress = this.progress.get(target);
    if (progress === undefined || !this.voters.includes(target)) return;
    this.transferTarget = target;
    this.#quorumElapsed = 0;
    if (progress.match === this.#host.log.lastIndex) this.#sendTimeoutNow(target);
    else this.#sendAppend(target, progress);
  }

  /**
   * Read index (dissertation, section 6.4): the commit index of this moment, once a majority has confirmed that nobody else led at this moment.
   * Before the first commit of its term a leader does not know what is committed: such reads wait for it.
   *
   * @param from Who asks; `undefined`: this node.
   */
  read(id: number, from: PeerId | undefined): void {
    if (this.#reads.isFull) {
      this.#answerRead({ id, from, index: 0, round: 0 });
    } else if (this.hasCommittedInTerm) {
      this.#reads.add({ id, from, index: this.#host.log.commitIndex, round: this.#round + 1 });
      this.#sendHeartbeats();
    } else {
      this.#reads.add({ id, from, index: 0, round: Number.POSITIVE_INFINITY });
    }
  }

  /** Commits what a majority has, if it is of this term: older entries are committed with it, never by counting (paper, section 5.4.2). */
  advanceCommit(): void {
    const { log, durability, id: self } = this.#host;
    const index = majorityValue(
      this.voters.map((id) => (id === self ? durability.index : (this.progress.get(id)?.match ?? 0))),
    );
    if (index <= log.commitIndex || log.term(index) !== this.#term) return;
    const wasCommittedInTerm = this.hasCommittedInTerm;
    this.uncommittedBytes -= log.range(log.commitIndex + 1, index).reduce((sum, entry) => sum + entryBytes(entry), 0);
    this.#host.commitTo(index);
    if (!wasCommittedInTerm && !this.#reads.isEmpty) {
      // Reads that came too early begin.
      this.#reads.restart(log.commitIndex, this.#round + 1);
      this.#sendHeartbeats();
    }
    for (const [id, progress] of this.progress) this.#tellCommit(id, progress);
  }

  /** @returns False for one that cannot be true. */
  appendResponse(from: PeerId, message: MessageOf<"append-response">): boolean {
    const progress = this.progress.get(from);
    if (progress === undefined) return true;
    const { log, options } = this.#host;
    // No follower has more of the leader's log than the leader.
    if (!message.isRejected && message.index > log.lastIndex) return false;
    progress.heard();
    if (message.isRejected) {
      // Both sides skip whole terms: at most one message for each term in which the logs differ.
      const { hintIndex, hintTerm } = message;
      const hint = hintTerm > 0 ? log.lastIndexOfTermAtMost(hintIndex, hintTerm).index : hintIndex;
      if (progress.rejected(message.index, hint)) this.#sendAppend(from, progress);
      return true;
    }
    const wasPaused = progress.isPaused(options);
    const isNews = progress.accepted(message.index);
    if (progress.state === "probe" && (isNews || progress.match === progress.next - 1)) progress.becomeReplicate();
    else if (progress.state === "snapshot" && progress.match >= (progress.snapshot?.index ?? 0)) {
      // If the log has been cut again meanwhile, the next message begins another snapshot.
      progress.becomeReplicate();
    }
    if (isNews) this.advanceCommit();
    this.#tellCommit(from, progress);
    if (isNews || wasPaused) {
      while (!progress.isPaused(options) && progress.next <= log.lastIndex) {
        this.#sendAppend(from, progress);
      }
    }
    if (from === this.transferTarget && progress.match === log.lastIndex) this.#sendTimeoutNow(from);
    return true;
  }

  /** @returns False for one that cannot be true. */
  heartbeatResponse(from: PeerId, message: MessageOf<"heartbeat-response">): boolean {
    const progress = this.progress.get(from);
    if (progress === undefined) return true;
    const { log, options } = this.#host;
    if (message.round > this.#round) return false;
    progress.heard();
    progress.round = Math.max(progress.round, message.round);
    // What was on its way may be lost. Asking costs little; waiting for ever would stop the follower.
    progress.isWaiting = false;
    progress.isPieceOut = false;
    if (progress.state === "replicate" && progress.isPaused(options)) progress.freeOldest();
    if (progress.match < log.lastIndex || progress.state !== "replicate") this.#sendAppend(from, progress);
    this.#confirmReads();
    return true;
  }

  snapshotResponse(from: PeerId, message: MessageOf<"snapshot-response">): void {
    const progress = this.progress.get(from);
    if (progress === undefined) return;
    progress.heard();
    if (progress.state !== "snapshot" || progress.snapshot?.index !== message.snapshotIndex) return;
    // An answer that says nothing new is the answer to a piece that was sent twice: one chain of pieces is enough. One that goes back is of a
    // follower that has begun anew.
    if (message.nextOffset === progress.snapshotOffset) return;
    progress.snapshotOffset = Math.min(message.nextOffset, progress.snapshot.data.length);
    progress.isPieceOut = false;
    this.#sendSnapshotPiece(from, progress);
  }

  #append(data: Uint8Array | undefined, configuration: Configuration | undefined): number {
    const { log, durability } = this.#host;
    const entry = { index: log.lastIndex + 1, term: this.#term, data, configuration };
    log.append(entry);
    durability.appended(entry.index);
    this.uncommittedBytes += entryBytes(entry);
    return entry.index;
  }

  #proposed(id: number, data: Uint8Array | undefined, configuration: Configuration | undefined): void {
    const index = this.#append(data, configuration);
    this.#host.effect({ type: "proposed", id, index, term: this.#term });
    this.#sendToAll();
  }

  #refuse(id: number, reason: Refusal): void {
    this.#host.effect({ type: "refused", id, reason });
  }

  /**
   * Whether a learner has nearly all of the log, and has answered one of the last two heartbeats: a group of one that makes a voter of a learner which has
   * just died is left without a majority.
   */
  isCaughtUp(id: PeerId): boolean {
    const progress = this.progress.get(id);
    const { log, options } = this.#host;
    return (
      progress?.state === "replicate" &&
      progress.silentTicks <= 2 * options.heartbeatTicks &&
      progress.match + options.promotionLagEntries >= log.lastIndex
    );
  }

  #sendTimeoutNow(target: PeerId): void {
    this.#host.send(target, { type: "timeout-now", term: this.#term }, false);
  }

  #sendHeartbeats(): void {
    const { log } = this.#host;
    this.#heartbeatElapsed = 0;
    this.#round += 1;
    for (const [id, progress] of this.progress) {
      // Not beyond what the follower is known to have: its log may differ after that.
      const commitIndex = Math.min(log.commitIndex, progress.match);
      this.#host.send(id, { type: "heartbeat", term: this.#term, commitIndex, round: this.#round }, false);
    }
    this.#confirmReads();
  }

  /** Sends to everybody what they lack, as far as they may be sent something. */
  #sendToAll(): void {
    for (const [id, progress] of this.progress) this.#sendAppend(id, progress);
    // A group of one commits by itself.
    this.advanceCommit();
  }

  /** Sends one message with what comes next (perhaps nothing but the question whether the logs match), or a piece of a snapshot. */
  #sendAppend(id: PeerId, progress: Progress): void {
    const { log, options } = this.#host;
    if (progress.state === "snapshot") {
      this.#sendSnapshotPiece(id, progress);
      return;
    }
    if (progress.isPaused(options)) return;
    const previousIndex = progress.next - 1;
    const previousTerm = log.term(previousIndex);
    if (previousTerm === undefined) {
      progress.becomeSnapshot(log.snapshot);
      this.#sendSnapshotPiece(id, progress);
      return;
    }
    const entries = progress.next > log.lastIndex ? [] : log.slice(progress.next, options.maxMessageBytes);
    const { commitIndex } = log;
    this.#host.send(id, { type: "append", term: this.#term, previousIndex, previousTerm, commitIndex, entries }, false);
    const bytes = entries.reduce((sum, entry) => sum + entryBytes(entry), 0);
    if (entries.length > 0) progress.sent(previousIndex + entries.length, bytes);
    else if (progress.state === "probe") progress.isWaiting = true;
  }

  #sendSnapshotPiece(id: PeerId, progress: Progress): void {
    if (progress.isPieceOut) return;
    const snapshot = present(progress.snapshot, "a follower in state snapshot is sent one");
    const offset = progress.snapshotOffset;
    this.#host.send(
      id,
      {
        type: "snapshot",
        term: this.#term,
        snapshotIndex: snapshot.index,
        snapshotTerm: snapshot.term,
        configuration: snapshot.configuration,
        totalBytes: snapshot.data.length,
        offset,
        bytes: snapshot.data.subarray(offset, offset + this.#host.options.snapshotChunkBytes),
      },
      false,
    );
    progress.isPieceOut = true;
  }

  /**
   * Tells a follower how far what it has is committed, unless it was told; also of what is on its way to it, which comes before this does: one that is slow to
   * answer is not slow to know. If that got lost, this is rejected, and what it lacks is sent anew.
   */
  #tellCommit(id: PeerId, progress: Progress): void {
    const { log } = this.#host;
    const previousIndex = progress.next - 1;
    const commitIndex = Math.min(log.commitIndex, previousIndex);
    if (progress.state !== "replicate" || commitIndex <= progress.toldCommit) return;
    progress.toldCommit = commitIndex;
    const previousTerm = log.term(previousIndex);
    // Cut off meanwhile: the next heartbeat tells.
    if (previousTerm === undefined) return;
    this.#host.send(
      id,
      { type: "append", term: this.#term, previousIndex, previousTerm, commitIndex, entries: [] },
      false,
    );
  }

  /** Answers the reads whose round a majority has answered. */
  #confirmReads(): void {
    if (this.#reads.isEmpty) return;
    for (const read of this.#reads.confirm(this.confirmedRound)) this.#answerRead(read);
  }

  #answerRead({ id, from, index }: PendingRead): void {
    if (from !== undefined) this.#host.send(from, { type: "read-response", term: this.#term, id, index }, true);
    else this.#host.effect(index > 0 ? { type: "read-ready", id, index } : { type: "read-failed", id });
  }
}
