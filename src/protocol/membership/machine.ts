/**
 * Membership: which members of the cluster are there, as one node sees it. SWIM with Lifeguard's self-doubt, as a pure machine.
 *
 * The idea: each node probes one other member in each period, whatever the cluster's size, and asks some others to try before it suspects one that did not
 * answer. Suspicions, and all other news, travel with these messages, and in a few of their own while there is some. A suspect that hears of it
 * disproves it with a higher refutation number; one that does not in time is down for all.
 *
 * Who is a member is not decided here: the cluster map says it (`introduce`, `forget`). `step` takes what happens and gives back what must happen outside. It
 * has no clock: the caller says what time it is, and calls again at `wakeAtMs` at the latest. States of a member change in `#change` alone:
 *
 *     alive           -> suspect   a probe of it failed, here or elsewhere
 *     alive, suspect  -> down      a suspicion was not disproved in time, here or elsewhere
 *     any             -> left      it said that it goes
 *     any             -> alive     it said that it is there, with a higher refutation number than what was held; or it has started anew
 *
 * Doubt of itself: a node that fails probes, misses word of those that it asked to help, is suspected by others, or stands still, takes more time for its own
 * probes. Beyond Lifeguard, a node that wakes up later than it wanted gives everybody that it was judging the time back that it was away: it could not have
 * heard them.
 */
import { assert } from "../../assert.ts";
import { DATAGRAM_HEAD_BYTES, claimBytes } from "../../codec/gossip-codec.ts";
import { isLater } from "./claims.ts";
import { GossipQueue } from "./gossip-queue.ts";
import { LocalHealth } from "./local-health.ts";
import { Member, Members } from "./members.ts";
import { type MembershipOptions, digits, leastSuspicionMs, retransmitLimit } from "./options.ts";
import { ProbeRing } from "./probe-ring.ts";
import { type Claimless, Probes } from "./probes.ts";
import { Suspicion } from "./suspicion.ts";
import type {
  Claim,
  Counters,
  Datagram,
  Effect,
  Exchange,
  Input,
  MachineOptions,
  MemberState,
  NodeId,
  Sender,
} from "./types.ts";

/** To how many members a node that has come says so: one of them is there, and not as new as itself. */
const MEET_COUNT = 3;
/** So many times as many members as are needed look at a suspect when they hear of it: chance decides which, and in few of a thousand suspicions too few do. */
const CHECKS_PER_CONFIRMATION = 4;
/** Claims in one piece of a table: 64 KiB at the most. */
const MAX_TABLE_CLAIMS = 1000;
/** That somebody has a newer map is said again after so long. */
const NEWER_MAP_MS = 1000;
export class Membership {
  readonly id: NodeId;
  readonly members = new Members();
  readonly health: LocalHealth;
  readonly counters: Counters = {
    unknownSenders: 0,
    unknownClaims: 0,
    refusedRequests: 0,
    probes: 0,
    failedProbes: 0,
    refutations: 0,
    sentDatagrams: 0,
    receivedDatagrams: 0,
  };

  readonly #options: MembershipOptions;
  readonly #random: { below(bound: number): number };
  /** Bytes that claims may take in a datagram. */
  readonly #room: number;
  readonly #ring: ProbeRing<Member>;
  readonly #gossip = new GossipQueue();
  readonly #suspects = new Set<Member>();
  readonly #probes: Probes;
  #effects: Effect[] = [];
  #self: Member;
  #nowMs: number;
  // No deadline is before this moment. It may be too early, never too late.
  #wakeAtMs: number;
  #probeAtMs: number;
  #pushPullAtMs: number;
  #retryDownAtMs: number;
  // While there is news; and when it was passed on last.
  #gossipAtMs = Number.POSITIVE_INFINITY;
  #gossipedAtMs = Number.NEGATIVE_INFINITY;
  // Until somebody has compared what it holds with this node.
  #meetAtMs = Number.POSITIVE_INFINITY;
  #hasMet = false;
  // How often it is still to be told that there is a new version of the map: messages name the one that their sender has.
  #versionSends = 0;
  #newestVersion = 0;
  #newerMapSaidAtMs = Number.NEGATIVE_INFINITY;

  constructor({ id, start, random, options, maxDatagramBytes, nowMs }: MachineOptions) {
    assert(maxDatagramBytes >= 2 * DATAGRAM_HEAD_BYTES, "a datagram has room for news");
    this.id = id;
    this.#options = options;
    this.#random = random;
    this.#room = maxDatagramBytes - DATAGRAM_HEAD_BYTES;
    this.#ring = new ProbeRing(random);
    this.health = new LocalHealth(options.maxScore);
    this.#nowMs = nowMs;
    this.#self = new Member(id, start, nowMs, "it is this node");
    this.members.add(this.#self);
    this.#probes = new Probes(
      {
        id,
        members: this.members,
        ring: this.#ring,
        health: this.health,
        options,
        counters: this.counters,
        send: (to, message, about) => this.#sendTo(to, message, about),
        arm: (atMs) => this.#arm(atMs),
        failed: (target) => this.#take({ ...target.claim(id), state: "suspect", accuser: id }, "a probe of it failed"),
      },
      random.below(2 ** 31),
    );
    // By chance, so that nodes which start together do not go on in step.
    this.#probeAtMs = nowMs + random.below(options.probeMs);
    this.#pushPullAtMs = nowMs + random.below(options.pushPullMs);
    this.#retryDownAtMs = nowMs + random.below(options.retryDownMs);
    this.#wakeAtMs = this.#earliest();
  }

  /** When `step` must be called at the latest. */
  get wakeAtMs(): number {
    return this.#wakeAtMs;
  }

  /** What this node holds of itself. */
  get self(): Member {
    return this.#self;
  }

  /** The newest version of the cluster map that anybody is known to have. */
  get newestVersion(): number {
    return Math.max(this.#newestVersion, this.#self.mapVersion);
  }

  /** How many pieces of news are being passed on. */
  get newsCount(): number {
    return this.#gossip.size;
  }

  /** Takes one input. @returns What must happen outside, in order. */
  step(input: Input, nowMs: number): readonly Effect[] {
    // Clocks of machines that are suspended have been seen to go back a little.
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    if (this.#self.state === "left") return [];
    this.#forgiveLateness();
    switch (input.type) {
      case "time":
        if (this.#nowMs >= this.#wakeAtMs) this.#runDue();
        break;
      case "datagram":
        this.counters.receivedDatagrams += 1;
        this.#receive(input.from, input.message);
        break;
      case "exchange":
        this.#receiveExchange(input.from, input.message);
        break;
      case "introduce":
        this.#introduce(input.id, input.start);
        break;
      case "forget":
        if (input.id !== this.id) this.#drop(input.id);
        break;
      case "map":
        if (input.version > this.#self.mapVersion) {
          this.#self.mapVersion = input.version;
          this.#versionSends = this.#limit;
          this.#armGossip();
        }
        break;
      case "link-lost": {
        const member = this.members.get(input.id);
        if (member?.isPresent === true && member !== this.#self) this.#probes.begin(member, this.#nowMs);
        break;
      }
      case "lag":
        this.#self.lagMs = Math.ceil(input.lagMs);
        if (input.lagMs >= this.#options.probeTimeoutMs) this.health.change(1);
        break;
      case "offset":
        this.#self.offset = input.offset;
        break;
      case "leave":
        this.#leave();
        break;
      default:
        input satisfies never;
    }
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  // --- time ---

  /**
   * A node that stood still gives back the time that it was away. The order of events:
   *
   * 1. This node probes another, or suspects it, and stands still until after the deadline.
   * 2. The answer lies in its socket all the while.
   * 3. It goes on, and its timer comes before the answer.
   */
  #forgiveLateness(): void {
    const lateMs = this.#nowMs - this.#wakeAtMs;
    const { probeTimeoutMs } = this.#options;
    if (lateMs < probeTimeoutMs) return;
    this.health.change(1);
    const byMs = lateMs + probeTimeoutMs;
    this.#probes.extend(byMs);
    for (const { suspicion } of this.#suspects) suspicion?.extend(byMs);
    this.#wakeAtMs = this.#nowMs;
  }

  #arm(atMs: number): void {
    if (atMs < this.#wakeAtMs) this.#wakeAtMs = atMs;
  }

  #runDue(): void {
    const nowMs = this.#nowMs;
    this.#probes.runDue(nowMs);
    for (const member of this.#suspects) this.#judge(member);
    if (this.#probeAtMs <= nowMs) {
      this.#probeAtMs = nowMs + this.#options.probeMs * this.health.factor;
      const target = this.#ring.next((member) => member.isPresent && !this.#probes.has(member.id));
      if (target !== undefined) this.#probes.begin(target, this.#nowMs);
    }
    if (this.#meetAtMs <= nowMs) this.#meet();
    if (this.#gossipAtMs <= nowMs) this.#passOn();
    if (this.#pushPullAtMs <= nowMs) {
      this.#pushPullAtMs = nowMs + this.#options.pushPullMs;
      for (const member of this.#ring.some(1, (each) => each.state === "alive")) this.#compare(member.id);
    }
    if (this.#retryDownAtMs <= nowMs) {
      this.#retryDownAtMs = nowMs + this.#options.retryDownMs;
      for (const { id } of this.#ring.some(1, (each) => each.state === "down"))
        this.#sendTo(id, { type: "ping", sequence: this.#probes.nextSequence() });
    }
    this.#wakeAtMs = this.#earliest();
  }

  /**
   * A suspect's time is over: it is asked once more, and is down if it does not answer that. For word of the suspicion may never have reached it:
   *
   * 1. A node that is cut off suspects others, and tells those that it reaches. They pass it on, and then no more.
   * 2. The cut ends. Nobody tells the suspects any more.
   */
  #judge(member: Member): void {
    const { suspicion } = member;
    if (suspicion === undefined || suspicion.deadlineMs > this.#nowMs) return;
    if (!suspicion.isLastAsked) {
      suspicion.isLastAsked = true;
      suspicion.extend(this.#options.probeTimeoutMs * this.health.factor);
      const sequence = this.#probes.nextSequence();
      this.#sendTo(member.id, { type: "ping", sequence });
      // Whoever has found it itself may be the only one who does not reach it.
      if (suspicion.accusers.has(this.id)) this.#probes.askOthers(member, sequence);
      return;
    }
    const by = [...suspicion.accusers.keys()].map((id) => id.slice(0, 8)).join(", ");
    const seconds = ((this.#nowMs - suspicion.sinceMs) / 1000).toFixed(1);
    this.#change(member, "down", member.refutation, `it did not answer for ${seconds} s; suspected by ${by}`);
  }

  #earliest(): number {
    let atMs = Math.min(
      this.#probeAtMs,
      this.#pushPullAtMs,
      this.#retryDownAtMs,
      this.#gossipAtMs,
      this.#meetAtMs,
      this.#probes.earliest(),
    );
    for (const { suspicion } of this.#suspects)
      if (suspicion !== undefined) atMs = Math.min(atMs, suspicion.deadlineMs);
    return atMs;
  }

  // --- who is a member ---

  #introduce(id: NodeId, start: number): void {
    const known = this.members.get(id);
    if (known?.start === start) return;
    const reason = known === undefined ? "the cluster map names it" : "it has started anew";
    this.#drop(id);
    const member = new Member(id, start, this.#nowMs, reason);
    this.members.add(member);
    if (id === this.id) {
      member.mapVersion = this.#self.mapVersion;
      member.lagMs = this.#self.lagMs;
      member.offset = this.#self.offset;
      this.#self = member;
      return;
    }
    this.#ring.add(member);
    if (known !== undefined && known.state !== "alive") this.#tell(member, known.state);
    if (this.#hasMet || Number.isFinite(this.#meetAtMs)) return;
    this.#meetAtMs = this.#nowMs;
    this.#arm(this.#meetAtMs);
  }

  #drop(id: NodeId): void {
    const member = this.members.remove(id);
    if (member === undefined) return;
    this.#ring.remove(member);
    this.#suspects.delete(member);
    this.#gossip.remove(id);
    this.#probes.drop(id);
  }

  /** Says "here I am", until somebody who knows this start of the node has compared what it holds with it. */
  #meet(): void {
    this.#meetAtMs = this.#hasMet ? Number.POSITIVE_INFINITY : this.#nowMs + this.#options.probeMs;
    if (this.#hasMet) return;
    for (const { id } of this.#ring.some(MEET_COUNT, () => true))
      this.#sendTo(id, { type: "meet", sequence: this.#probes.nextSequence() });
  }

  #leave(): void {
    this.members.set(this.#self, "left", this.#self.refutation);
    // More than news gets elsewhere at first: nobody sees whether it has arrived.
    const count = this.#options.gossipFanout * digits(this.members.size);
    for (const { id } of this.#ring.some(count, (member) => member.isPresent)) {
      this.#effects.push({
        type: "send",
        to: id,
        message: { type: "gossip", sender: this.#sender(), claims: [this.#self.claim()] },
      });
    }
    this.#wakeAtMs = Number.POSITIVE_INFINITY;
  }

  // --- messages ---

  #receive(from: NodeId, message: Datagram): void {
    const member = this.#hear(from, message.sender);
    // What came along is taken first: if it is word against this node, the answer disproves it.
    if (member !== undefined) this.#takeNews(from, message.claims);
    // A ping is answered whoever sends it: it may know a newer map than this node, by which it is a member.
    if (message.type === "ping" || message.type === "meet")
      this.#sendTo(from, { type: "pong", sequence: message.sequence });
    if (member === undefined) return;
    switch (message.type) {
      case "meet":
        this.#compare(from);
        break;
      case "ping":
      case "gossip":
        break;
      case "pong":
        this.#probes.pong(member, message.sequence, this.#nowMs);
        break;
      case "ping-req":
        this.#probes.relay(from, message.sequence, message.target, this.#nowMs);
        break;
      case "ping-req-pong":
      case "ping-req-nack": {
        const hasAnswer = message.type === "ping-req-pong";
        this.#probes.helped(from, message.target, message.sequence, hasAnswer, this.#nowMs);
        break;
      }
      default:
        message satisfies never;
    }
  }

  /**
   * What a message tells by having come.
   *
   * @returns The sender, if the map names that start of it.
   */
  #hear(from: NodeId, sender: Sender): Member | undefined {
    if (sender.mapVersion > this.#self.mapVersion) this.#newerMap(sender.mapVersion, from);
    const member = this.members.get(from);
    if (member === undefined || member.start !== sender.start || from === this.id) {
      this.counters.unknownSenders += 1;
      return undefined;
    }
    member.heardAtMs = this.#nowMs;
    member.mapVersion = Math.max(member.mapVersion, sender.mapVersion);
    member.lagMs = sender.lagMs;
    member.offset = sender.offset;
    const wasPresent = member.isPresent;
    this.#take(
      { id: from, start: sender.start, refutation: sender.refutation, state: "alive", accuser: undefined },
      "it answers",
    );
    // Back from the other side of a partition: there, others hold other things for true.
    if (!wasPresent && member.isPresent) this.#compare(from);
    return member;
  }

  #newerMap(version: number, from: NodeId): void {
    if (version <= this.#newestVersion && this.#nowMs - this.#newerMapSaidAtMs < NEWER_MAP_MS) return;
    this.#newestVersion = Math.max(this.#newestVersion, version);
    this.#newerMapSaidAtMs = this.#nowMs;
    this.#effects.push({ type: "newer-map", version, from });
  }

  #sender(): Sender {
    const { start, refutation, mapVersion, lagMs, offset } = this.#self;
    return { start, refutation, mapVersion, lagMs, offset };
  }

  /**
   * Sends a message, with as much news as it has room for. What is held against the receiver goes first, so that it can answer.
   *
   * @param about What is held of this one goes along as well, if that is news to anybody.
   */
  #sendTo(to: NodeId, message: Claimless<Datagram>, about?: Member): void {
    const claims: Claim[] = [];
    let room = this.#room;
    for (const member of [this.members.get(to), about]) {
      if (member === undefined) continue;
      const isNews = member.state !== "alive" || (member === about && member.refutation > 0);
      if (!isNews) continue;
      const claim = member.claim();
      claims.push(claim);
      room -= claimBytes(claim);
    }
    claims.push(...this.#gossip.take(room, this.#limit));
    this.counters.sentDatagrams += 1;
    this.#effects.push({ type: "send", to, message: { ...message, sender: this.#sender(), claims } });
  }

  // --- news ---

  get #limit(): number {
    return retransmitLimit(this.#options, this.members.size);
  }

  #armGossip(): void {
    if (Number.isFinite(this.#gossipAtMs)) return;
    this.#gossipAtMs = Math.max(this.#nowMs, this.#gossipedAtMs + this.#options.gossipMs);
    this.#arm(this.#gossipAtMs);
  }

  /** Passes news on to some members. */
  #passOn(): void {
    this.#gossipedAtMs = this.#nowMs;
    for (const { id } of this.#ring.some(this.#options.gossipFanout, (member) => member.isPresent)) {
      if (this.#gossip.size === 0 && this.#versionSends <= 0) break;
      this.#versionSends -= 1;
      this.#sendTo(id, { type: "gossip" });
    }
    this.#gossipAtMs = Number.POSITIVE_INFINITY;
    if (this.#gossip.size > 0 || this.#versionSends > 0) this.#armGossip();
  }

  #takeNews(from: NodeId, claims: readonly Claim[]): void {
    let settled: Member | undefined;
    for (const claim of claims) {
      const held = this.members.get(claim.id);
      // Whoever hears of a death has heard of the suspicion before, mostly. Where not, the death may be one of beyond a partition that has just ended.
      const isSurprise = claim.state === "down" && held?.state !== "suspect";
      // Somebody suspects a member that has disproved it, or has left: the news of that has missed it.
      const isOver = held?.start === claim.start && (held.state === "alive" || held.state === "left");
      if (claim.state === "suspect" && isOver && isLater(held, claim)) settled = held;
      this.#take(isSurprise ? asSuspicion(claim, from) : claim, `${from.slice(0, 8)} told so`);
    }
    if (settled !== undefined) this.#sendTo(from, { type: "gossip" }, settled);
  }

  /** Takes a claim for true if it says more than what is held. @param reason How it became known, in words. */
  #take(claim: Claim, reason: string): void {
    const member = this.members.get(claim.id);
    if (member?.start !== claim.start) {
      this.counters.unknownClaims += 1;
      return;
    }
    if (member === this.#self) {
      this.#takeOfSelf(claim);
      return;
    }
    const { suspicion } = member;
    if (
      claim.state === "suspect" &&
      member.state === "suspect" &&
      suspicion !== undefined &&
      claim.refutation === member.refutation
    ) {
      const accuser = claim.accuser ?? this.id;
      if (suspicion.confirm(accuser, this.#nowMs)) {
        this.#spread(member.claim(accuser));
        this.#arm(suspicion.deadlineMs);
      }
      return;
    }
    if (!isLater(claim, member)) return;
    this.#change(member, claim.state, claim.refutation, reason, claim.accuser);
  }

  #takeOfSelf(claim: Claim): void {
    const self = this.#self;
    if (claim.refutation < self.refutation || (claim.refutation === self.refutation && claim.state === "alive")) return;
    // Its own number from before it forgot it; or word against it, which it disproves by a number that only it can give.
    const isAccused = claim.state !== "alive";
    this.members.set(self, "alive", claim.refutation + (isAccused ? 1 : 0));
    if (!isAccused) return;
    this.counters.refutations += 1;
    this.health.change(1);
    this.#spread(self.claim());
  }

  #change(member: Member, state: MemberState, refutation: number, reason: string, accuser?: NodeId): void {
    const { state: previous } = member;
    this.members.set(member, state, refutation);
    this.#suspects.delete(member);
    // Of a member that is down it stays, for those who ask why.
    if (state !== "down") member.suspicion = undefined;
    if (state === "suspect") this.#suspect(member, accuser ?? this.id);
    if (!member.isPresent) this.#probes.drop(member.id);
    this.#spread(member.claim());
    if (state === previous) return;
    member.sinceMs = this.#nowMs;
    member.reason = reason;
    this.#tell(member, previous);
  }

  #suspect(member: Member, accuser: NodeId): void {
    const { confirmations, suspicionMaxMultiplier } = this.#options;
    const { size } = this.members;
    const leastMs = leastSuspicionMs(this.#options, size);
    // Of small clusters, those that could confirm it: all but the suspect and its accuser.
    const needed = Math.min(confirmations, Math.max(0, size - 2));
    member.suspicion = new Suspicion(this.#nowMs, accuser, needed, leastMs, leastMs * suspicionMaxMultiplier);
    this.#suspects.add(member);
    this.#arm(member.suspicion.deadlineMs);
    // Some of those that hear of it look for themselves: to confirm it, or to tell the suspect.
    if (accuser !== this.id && this.#random.below(size) < CHECKS_PER_CONFIRMATION * confirmations)
      this.#probes.begin(member, this.#nowMs);
  }

  #spread(claim: Claim): void {
    this.#gossip.add(claim);
    this.#armGossip();
  }

  #tell({ id, start, state, reason }: Member, previous: MemberState): void {
    this.#effects.push({ type: "member", id, start, state, previous, reason });
  }

  // --- comparing all ---

  #compare(to: NodeId): void {
    this.#effects.push({
      type: "exchange",
      to,
      message: { type: "digest", sender: this.#sender(), digest: this.members.digest },
    });
  }

  #sendTable(to: NodeId, isAnswerWanted: boolean): void {
    const all = [...this.members.all()].map((member) => member.claim());
    for (let at = 0; at < all.length; at += MAX_TABLE_CLAIMS) {
      const claims = all.slice(at, at + MAX_TABLE_CLAIMS);
      const isLast = at + MAX_TABLE_CLAIMS >= all.length;
      this.#effects.push({
        type: "exchange",
        to,
        message: { type: "table", sender: this.#sender(), isAnswerWanted: isAnswerWanted && isLast, claims },
      });
    }
  }

  #receiveExchange(from: NodeId, message: Exchange): void {
    if (this.#hear(from, message.sender) === undefined) return;
    this.#hasMet = true;
    if (message.type === "digest") {
      if (message.digest !== this.members.digest) this.#sendTable(from, true);
      return;
    }
    // Who was on the other side of a partition holds half of the cluster for down.
    for (const claim of message.claims)
      this.#take(claim.state === "down" ? asSuspicion(claim, from) : claim, `${from.slice(0, 8)} holds so`);
    if (message.isAnswerWanted) this.#sendTable(from, false);
  }
}

/** A death that somebody else has found, as a suspicion, which can be disproved. */
function asSuspicion(claim: Claim, accuser: NodeId): Claim {
  return { ...claim, state: "suspect", accuser };
}
