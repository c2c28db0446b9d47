/**
 * Raft: a log that a majority agrees on, as a pure machine.
 *
 * One member of a group. `step` takes what happens to it (a tick, a message, a proposal, word that something is durable) and gives back what must
 * happen outside, in order. It has no clock, does no I/O, and draws randomness from the generator that it was given; the plugin around it
 * (`plugins/raft.ts`) carries the effects out.
 *
 * Roles change in `#become` alone:
 *
 *     follower      -> pre-candidate   no leader was heard for an election timeout (voters only)
 *     pre-candidate -> candidate       a majority would vote for it
 *     follower      -> candidate       the leader told it to stand (leader transfer)
 *     candidate     -> leader          a majority voted for it, itself durably included
 *     candidates    -> pre-candidate   nobody won in time: it asks again
 *     any           -> follower        it met a higher term, or the leader of its own
 *     leader        -> follower        no majority has answered for an election timeout (check-quorum)
 *
 * Beyond the paper: pre-vote (dissertation 9.6), check-quorum and leader stickiness (6.2, 9.6), one change of members at a time, in force once it is
 * in the log (4.1), leader transfer (3.10), read index (6.4), pipelining and flow control, snapshots in pieces; and members that the leader does not reach ask
 * others for what is committed: for entries, or for a snapshot where those are gone.
 */
import { assert } from "../../assert.ts";
import { Durability } from "./durability.ts";
import { Fetching } from "./fetching.ts";
import { IncomingSnapshot } from "./incoming-snapshot.ts";
import { Leader, type LeaderHost } from "./leader.ts";
import { RaftLog } from "./log.ts";
import { majorityOf } from "./quorum.ts";
import { ForwardedReads } from "./reads.ts";
import type { Configuration, Effect, Entry, Input, Message, PeerId, RaftOptions, Role, Snapshot } from "./types.ts";

type MessageOf<Type extends Message["type"]> = Extract<Message, { readonly type: Type }>;

export class Raft {
  readonly id: PeerId;
  readonly log: RaftLog;
  role: Role = "follower";
  term: number;
  votedFor: PeerId | undefined;
  leader: PeerId | undefined;

  readonly #options: RaftOptions;
  readonly #host: LeaderHost;
  // Effects of the present step. `persist` is put together at its end, and goes before everything that depends on it.
  #effects: Effect[] = [];
  readonly #durability: Durability;
  // Ticks since the leader was heard, or the last election began.
  #electionElapsed = 0;
  #electionTimeout = 0;
  // Ticks since a leader was heard; undefined: no leader ever was. A member that has just started may have heard one just before it stopped.
  #leaderHeardTicksAgo: number | undefined;
  // What it counts from was told by another: how much of the present tick had passed by then, nobody knows.
  #isTickBegun = false;
  /** How often it has heard a leader, for whoever watches it. */
  leadersHeard = 0;
  // Answers of the present election.
  #votes = new Map<PeerId, boolean>();
  // What there is of a leader, while this member is one.
  #leadership: Leader | undefined;
  // Follower: the snapshot that is coming in.
  #incoming: IncomingSnapshot | undefined;
  // Follower: reads that were sent to the leader.
  readonly #forwardedReads = new ForwardedReads();
  /** Messages that contradicted what this member knows for sure: from a member that is broken, or is none. They were left. */
  contradictions = 0;
  /** What members that need not lead are asked for, and answer. */
  readonly fetching: Fetching;

  constructor(options: RaftOptions) {
    const { state } = options;
    this.id = options.id;
    this.#options = options;
    this.log = new RaftLog(state.snapshot, state.entries);
    this.term = Math.max(state.term, this.log.lastTerm);
    this.votedFor = state.term === this.term ? state.votedFor : undefined;
    // Whoever hears a leader writes its term down. Terms begin with 1: without one there was no leader yet, as far as this member's vote counts.
    this.#leaderHeardTicksAgo = this.term === 0 ? undefined : 0;
    this.#durability = new Durability(this.log.lastIndex);
    this.#host = {
      id: this.id,
      log: this.log,
      durability: this.#durability,
      options,
      effect: (effect) => void this.#effects.push(effect),
      send: (to, message, isDurable) => this.#send(to, message, isDurable),
      commitTo: (index) => this.#commitTo(index),
    };
    this.fetching = new Fetching({
      log: this.log,
      options,
      send: (to, message, isDurable) => this.#send(to, message, isDurable),
      takeEntries: (entries) => this.#takeEntries(entries),
      commitTo: (index) => this.#commitTo(index),
      install: (snapshot) => this.#install(snapshot),
      contradicted: () => void (this.contradictions += 1),
    });
    this.#resetElection();
  }

  /** Who belongs to the group, as far as this member's log knows. */
  get configuration(): Configuration {
    return this.log.configuration;
  }

  get voters(): readonly PeerId[] {
    return this.configuration.members.filter((member) => member.isVoter).map((member) => member.id);
  }

  /** Whether this member votes, by the configuration in force here. */
  get isVoter(): boolean {
    return this.configuration.members.some((member) => member.id === this.id && member.isVoter);
  }

  get isMember(): boolean {
    return this.configuration.members.some((member) => member.id === this.id);
  }

  /** What there is of a leader, while this member is one. */
  get leadership(): Leader | undefined {
    return this.#leadership;
  }

  /** Term and vote as they are durable, since this start: what others may rely on. */
  get durableVote(): { readonly term: number; readonly votedFor: PeerId | undefined } | undefined {
    return this.#durability.vote;
  }

  /** The log is durable here up to this index. */
  get persistedIndex(): number {
    return this.#durability.index;
  }

  /**
   * Ticks since a leader was heard, as far back as this member has run, or at most so many: a candidate takes over what others tell it. `undefined`:
   * never, since the group began.
   */
  get leaderHeardTicksAgo(): number | undefined {
    return this.role === "leader" ? 0 : this.#leaderHeardTicksAgo;
  }

  /** Takes one input. @returns What must happen outside, in order. */
  step(input: Input): readonly Effect[] {
    assert(this.#effects.length === 0, "a step begins when the one before has ended");
    switch (input.type) {
      case "tick":
        this.#tick();
        break;
      case "message":
        this.#receive(input.from, input.message);
        break;
      case "propose":
        if (this.#leadership === undefined) this.#refuse(input.id);
        else this.#leadership.propose(input.id, input.data);
        break;
      case "change":
        if (this.#leadership === undefined) this.#refuse(input.id);
        else this.#leadership.change(input.id, input.change);
        break;
      case "transfer":
        this.#leadership?.transfer(input.target);
        break;
      case "read":
        this.#read(input.id);
        break;
      case "fetch":
        // A leader has everything.
        if (this.role !== "leader" && input.from !== this.id) this.fetching.ask(input.from, this.term);
        break;
      case "campaign":
        if (this.role === "follower" && this.#mayStand()) this.#campaign("pre-candidate", false);
        break;
      case "persisted":
        this.#persisted(input.ticket);
        break;
      case "compact":
        if (input.index > this.log.snapshot.index) {
          this.log.compact(input.index, input.data, this.#options.trailingEntries, this.#options.trailingBytes);
          this.#durability.snapshotTaken(this.log.snapshot);
        }
        break;
      default:
        input satisfies never;
    }
    this.#resignIfOut();
    return this.#finish();
  }

  // --- time ---

  #tick(): void {
    for (const id of this.#forwardedReads.tick(2 * this.#options.electionTicks)) {
      this.#effects.push({ type: "read-failed", id });
    }
    // Each count may be a tick too large. So that the sum of another's and its own is no more than that, the tick in which it was told does not count.
    if (this.#leaderHeardTicksAgo !== undefined && !this.#isTickBegun) this.#leaderHeardTicksAgo += 1;
    this.#isTickBegun = false;
    this.#electionElapsed += 1;
    this.fetching.tick();
    if (this.#leadership !== undefined) {
      if (!this.#leadership.tick()) this.#become("follower", this.term, undefined);
      return;
    }
    if (this.#electionElapsed >= this.#electionTimeout && this.#mayStand()) this.#campaign("pre-candidate", false);
  }

  /**
   * Whether it may stand for election: as a voter of its configuration, and also of one before it that may still count (dissertation, section
   * 4.2.2). The scenario: voters 1 and 4; leader 1 sends "4 votes no more" and loses it in a crash; 4 has it, so its log is the longer one and it
   * refuses 1, and only 4 can be elected, by 1's vote.
   */
  #mayStand(): boolean {
    return this.log
      .configurationsFrom(this.log.commitIndex)
      .some(({ members }) => members.some(({ id, isVoter }) => id === this.id && isVoter));
  }

  /** The randomized timeout of the paper, section 5.2: split votes are rare, and resolve themselves. */
  #resetElection(): void {
    this.#electionElapsed = 0;
    this.#electionTimeout = this.#options.electionTicks + this.#options.random.below(this.#options.electionTicks + 1);
  }

  /** It leads, or has heard the leader of its term within the least election timeout. */
  get hearsLeader(): boolean {
    return this.role === "leader" || (this.leader !== undefined && this.#electionElapsed < this.#options.electionTicks);
  }

  // --- roles ---

  #become(role: Role, term: number, leader: PeerId | undefined): void {
    assert(term >= this.term, "terms do not fall");
    if (role === "leader") assert(this.role === "candidate", "only a candidate becomes leader");
    if (term > this.term) {
      this.term = term;
      this.votedFor = undefined;
      this.#durability.hardStateChanged();
      // Pieces of two leaders are not mixed; and one that leads again may have started anew, with other bytes for the same state.
      this.#incoming = undefined;
    }
    // Who led until this moment has heard a leader: itself. Its vote tells how old the leases can be that it gave.
    if (this.role === "leader") this.#leaderHeardTicksAgo = 0;
    const isChange = role !== this.role || leader !== this.leader;
    for (const id of this.#leadership?.end() ?? []) this.#effects.push({ type: "read-failed", id });
    this.#leadership = undefined;
    if (leader !== this.leader) {
      for (const id of this.#forwardedReads.clear()) this.#effects.push({ type: "read-failed", id });
    }
    this.role = role;
    this.leader = leader;
    this.#votes.clear();
    this.#resetElection();
    if (isChange) this.#effects.push({ type: "role", role, term, leader });
  }

  /** Stands for election, or asks whether it would be worth it. */
  #campaign(role: "pre-candidate" | "candidate", isTransfer: boolean): void {
    const isPreVote = role === "pre-candidate";
    this.#become(role, isPreVote ? this.term : this.term + 1, undefined);
    if (isPreVote) {
      this.#votes.set(this.id, true);
    } else {
      // Its own vote counts once it is durable: see `#persisted`.
      this.votedFor = this.id;
      this.#durability.hardStateChanged();
    }
    const message: Message = {
      type: "vote-request",
      term: isPreVote ? this.term + 1 : this.term,
      isPreVote,
      isTransfer,
      lastIndex: this.log.lastIndex,
      lastTerm: this.log.lastTerm,
    };
    for (const id of this.voters) if (id !== this.id) this.#send(id, message, !isPreVote);
    this.#countVotes();
  }

  #countVotes(): void {
    const { voters } = this;
    const granted = voters.filter((id) => this.#votes.get(id) === true).length;
    const refused = voters.filter((id) => this.#votes.get(id) === false).length;
    const majority = majorityOf(voters.length);
    if (granted >= majority) {
      if (this.role === "pre-candidate") this.#campaign("candidate", false);
      else if (this.role === "candidate") this.#lead();
    } else if (refused > voters.length - majority) {
      this.#become("follower", this.term, undefined);
    }
  }

  #lead(): void {
    this.#become("leader", this.term, this.id);
    this.#leadership = new Leader(this.#host, this.term, this.#leaderHeardTicksAgo);
    this.#leadership.open();
  }

  /** A leader that is no voter any more leads until that is committed (dissertation, section 4.2.2). */
  #resignIfOut(): void {
    if (this.role !== "leader" || this.isVoter || this.log.configurationIndex > this.log.commitIndex) return;
    this.#become("follower", this.term, undefined);
  }

  // --- messages ---

  #receive(from: PeerId, message: Message): void {
    if (message.type === "vote-request") {
      this.#voteRequest(from, message);
      return;
    }
    // Whoever is behind may be in any term, and disturbs nobody by that it asks. Only who hears a leader answers: its term is then one that a majority is in,
    // and an asker that follows it into that term deposes nobody. A candidate's term would get by way of the asker to a leader that the candidate cannot reach.
    if (message.type === "fetch") {
      const isMember = this.configuration.members.some(({ id }) => id === from);
      if (this.hearsLeader && isMember) this.fetching.answer(from, message, this.term);
      return;
    }
    const isFetched = message.type === "fetch-response" || message.type === "fetch-snapshot";
    if (isFetched && !this.fetching.isAsked(from)) return;
    const isFromLeader = message.type === "append" || message.type === "heartbeat" || message.type === "snapshot";
    // A granted pre-vote names the term that would begin; it has not.
    const isPreVoteGrant = message.type === "vote-response" && message.isPreVote && message.isGranted;
    if (message.term > this.term && !isPreVoteGrant) {
      this.#become("follower", message.term, isFromLeader ? from : undefined);
    } else if (message.term < this.term) {
      // A leader of the past learns the term from any answer, and steps down. Others' old messages mean nothing.
      if (isFromLeader) {
        this.#send(from, { type: "heartbeat-response", term: this.term, round: 0 }, true);
      }
      return;
    }
    if (isFromLeader && this.role === "leader") {
      // A term has one leader at most, and in this one it is this member.
      this.contradictions += 1;
      return;
    }
    switch (message.type) {
      case "vote-response":
        this.#voteResponse(from, message);
        break;
      case "append":
        this.#heardLeader(from);
        this.#appendRequest(from, message);
        break;
      case "heartbeat":
        this.#heardLeader(from);
        this.#commitTo(Math.min(message.commitIndex, this.log.lastIndex));
        this.#send(from, { type: "heartbeat-response", term: this.term, round: message.round }, true);
        break;
      case "snapshot":
        this.#heardLeader(from);
        this.#snapshotPiece(from, message);
        break;
      case "append-response":
        if (this.#leadership?.appendResponse(from, message) === false) this.contradictions += 1;
        break;
      case "heartbeat-response":
        if (this.#leadership?.heartbeatResponse(from, message) === false) this.contradictions += 1;
        break;
      case "snapshot-response":
        this.#leadership?.snapshotResponse(from, message);
        break;
      case "timeout-now":
        // The leader says that this log has everything: no pre-vote, and no waiting (dissertation, section 3.10).
        if (this.role === "follower" && this.isVoter) this.#campaign("candidate", true);
        break;
      case "read-request":
        if (this.#leadership !== undefined) this.#leadership.read(message.id, from);
        else this.#send(from, { type: "read-response", term: this.term, id: message.id, index: 0 }, true);
        break;
      case "read-response":
        if (!this.#forwardedReads.answered(message.id)) break;
        this.#effects.push(
          message.index > 0
            ? { type: "read-ready", id: message.id, index: message.index }
            : { type: "read-failed", id: message.id },
        );
        break;
      case "fetch-response":
        // Whoever leads counts by itself.
        if (this.role !== "leader") this.fetching.take(message);
        break;
      case "fetch-snapshot":
        if (this.role !== "leader") this.fetching.takePiece(message);
        break;
      default:
        message satisfies never;
    }
  }

  /** A message came from the leader of this term. */
  #heardLeader(from: PeerId): void {
    assert(this.role !== "leader", "a term has one leader at most");
    this.#leaderHeardTicksAgo = 0;
    this.#isTickBegun = false;
    this.leadersHeard += 1;
    if (this.role !== "follower" || this.leader !== from) this.#become("follower", this.term, from);
    this.#electionElapsed = 0;
  }

  /**
   * Votes if
   * 1. no leader was heard within an election timeout, unless that leader itself told the candidate to stand: a member that was cut off, or removed,
   *    disturbs nobody;
   * 2. the candidate's term is not behind;
   * 3. this member has not voted for another in that term;
   * 4. the candidate's log is at least as up to date (paper, sections 5.2 and 5.4.1).
   */
  #voteRequest(from: PeerId, message: MessageOf<"vote-request">): void {
    if (this.hearsLeader && !message.isTransfer) return;
    if (!message.isPreVote && message.term > this.term) this.#become("follower", message.term, undefined);
    const isFree = message.isPreVote
      ? message.term > this.term
      : message.term === this.term &&
        (this.votedFor === from || (this.votedFor === undefined && this.leader === undefined));
    const isGranted = isFree && this.log.isUpToDate(message.lastIndex, message.lastTerm);
    if (isGranted && !message.isPreVote) {
      this.votedFor = from;
      this.#durability.hardStateChanged();
      this.#resetElection();
    }
    const { isPreVote } = message;
    this.#send(
      from,
      {
        type: "vote-response",
        // A pre-vote that is granted answers for the term that would begin; a refusal tells the term that is.
        term: isGranted ? message.term : this.term,
        isPreVote,
        isGranted,
        leaderHeardTicksAgo: this.leaderHeardTicksAgo,
      },
      true,
    );
  }

  #voteResponse(from: PeerId, message: MessageOf<"vote-response">): void {
    const wanted = message.isPreVote ? "pre-candidate" : "candidate";
    if (this.role !== wanted || (message.isGranted && message.isPreVote && message.term !== this.term + 1)) return;
    // Only those who were asked: anybody may send an answer.
    if (!this.voters.includes(from)) return;
    this.#votes.set(from, message.isGranted);
    // How long ago the old leader was heard by anybody who votes for the new one.
    const { leaderHeardTicksAgo: heard } = message;
    if (heard !== undefined && heard < (this.#leaderHeardTicksAgo ?? Number.POSITIVE_INFINITY)) {
      this.#leaderHeardTicksAgo = heard;
      this.#isTickBegun = true;
    }
    this.#countVotes();
  }

  // --- follower ---

  /** Paper, section 5.3, the receiver's rules. */
  #appendRequest(from: PeerId, message: MessageOf<"append">): void {
    const { log } = this;
    if (message.previousIndex < log.commitIndex) {
      // An old message: all of that is committed here already.
      this.#accept(from, log.commitIndex);
      return;
    }
    if (log.term(message.previousIndex) !== message.previousTerm) {
      const hint = log.lastIndexOfTermAtMost(Math.min(message.previousIndex, log.lastIndex), message.previousTerm);
      this.#send(
        from,
        {
          type: "append-response",
          term: this.term,
          isRejected: true,
          index: message.previousIndex,
          hintIndex: hint.index,
          hintTerm: hint.term,
        },
        true,
      );
      return;
    }
    this.#takeEntries(message.entries);
    const last = message.previousIndex + message.entries.length;
    // Beyond `last` this log may hold what the leader has not: only what was compared is committed.
    this.#commitTo(Math.min(message.commitIndex, last));
    this.#accept(from, last);
  }

  /** Entries that follow what this log has; those that contradict it take the places of its own, and of all that came after these. */
  #takeEntries(entries: readonly Entry[]): void {
    const { log } = this;
    for (const entry of entries) {
      const term = log.term(entry.index);
      // What matches stays: the message may be older than what followed it.
      if (term === entry.term) continue;
      if (term !== undefined) {
        assert(entry.index > log.commitIndex, "a committed entry is never replaced");
        log.truncate(entry.index);
        this.#durability.truncated(entry.index);
      }
      log.append(entry);
      this.#durability.appended(entry.index);
    }
  }

  /** Tells the leader that this log matches its own up to `index`: durably, as the answer leaves only then. */
  #accept(leader: PeerId, index: number): void {
    this.#send(
      leader,
      { type: "append-response", term: this.term, isRejected: false, index, hintIndex: 0, hintTerm: 0 },
      true,
    );
  }

  #snapshotPiece(from: PeerId, message: MessageOf<"snapshot">): void {
    const { log } = this;
    if (message.snapshotIndex <= log.commitIndex) {
      this.#incoming = undefined;
      this.#accept(from, log.commitIndex);
      return;
    }
    if (log.term(message.snapshotIndex) === message.snapshotTerm) {
      // The log has it all (paper, figure 13, step 6): only that it is committed is news.
      this.#incoming = undefined;
      this.#commitTo(message.snapshotIndex);
      this.#accept(from, message.snapshotIndex);
      return;
    }
    if (this.#incoming?.isOf(message) !== true) this.#incoming = new IncomingSnapshot(message);
    const snapshot = this.#incoming.add(message);
    if (snapshot === undefined) {
      const { snapshotIndex } = message;
      const nextOffset = this.#incoming.received;
      this.#send(from, { type: "snapshot-response", term: this.term, snapshotIndex, nextOffset }, true);
      return;
    }
    this.#install(snapshot);
    this.#accept(from, snapshot.index);
  }

  /** A snapshot of another member takes the place of the whole log, which does not have its last entry. */
  #install(snapshot: Snapshot): void {
    if (this.#incoming !== undefined && this.#incoming.index <= snapshot.index) this.#incoming = undefined;
    this.fetching.committed(snapshot.index);
    this.#durability.restored(snapshot, this.log.commitIndex);
    this.log.restore(snapshot);
    this.#effects.push({ type: "restore", snapshot });
  }

  #commitTo(index: number): void {
    const { log } = this;
    if (index <= log.commitIndex) return;
    assert(index <= log.lastIndex, "only what is in the log is committed");
    const entries = log.range(log.commitIndex + 1, index);
    log.commitIndex = index;
    log.appliedIndex = index;
    this.fetching.committed(index);
    this.#effects.push({ type: "apply", entries });
  }

  // --- reads ---

  #read(id: number): void {
    if (this.#leadership !== undefined) this.#leadership.read(id, undefined);
    else if (this.leader === undefined || this.#forwardedReads.isFull) {
      this.#effects.push({ type: "read-failed", id });
    } else {
      this.#forwardedReads.add(id);
      this.#send(this.leader, { type: "read-request", term: this.term, id }, true);
    }
  }

  // --- durability ---

  /**
   * Something is durable.
   * 1. The log up to an index: a leader counts itself for it.
   * 2. A term and a vote: a candidate counts its own vote, if it is of the term in which it stands.
   */
  #persisted(ticket: number): void {
    const durable = this.#durability.done(ticket);
    if (this.role === "candidate" && durable?.term === this.term && durable.votedFor === this.id) {
      this.#votes.set(this.id, true);
      this.#countVotes();
    }
    this.#leadership?.advanceCommit();
  }

  #refuse(id: number): void {
    this.#effects.push({ type: "refused", id, reason: "not-leader" });
  }

  #send(to: PeerId, message: Message, isDurable: boolean): void {
    this.#effects.push({ type: "send", to, message, isDurable });
  }

  /** Ends a step: what has to be durable comes first. */
  #finish(): readonly Effect[] {
    const effects = this.#effects;
    this.#effects = [];
    const persist = this.#durability.take(this.log, this.term, this.votedFor);
    return persist === undefined ? effects : [persist, ...effects];
  }
}
