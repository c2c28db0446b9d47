/**
 * A shard's primary: writes its log, sends it to the replicas, and knows what of it is committed.
 *
 * What happens to a write:
 * 1. The command runs, and its effect goes into the log. Its reply waits at the gate.
 * 2. At the end of the turn each replica that follows gets what is new, in one frame.
 * 3. A replica applies it and says so. When all that count have it, it is committed, and the reply leaves.
 *
 * Who counts: the members of the map's in-sync set, and those that are about to be in it. A member is added so:
 * 1. It follows, and lags hardly. From this moment on it counts: nothing newer is committed without it.
 * 2. It has all that was there at that moment: it holds everything that was ever acknowledged. The map is asked for the change.
 * 3. The map has it in the set; or has refused, or it took too long: it does not count any more, unless the request may still be under way.
 * It is dropped so: it lags for too long, or its link broke and did not come back. The map is asked. It counts until the map has said that it is out.
 */
import { present } from "../assert.ts";
import type { ReplicationMessage } from "../codec/replication-codec.ts";
import type { Effect } from "../contracts/commands.ts";
import type { ReplicaHealth } from "../contracts/replication.ts";
import type { NodeId, ShardRecord } from "../contracts/topology.ts";
import { committedOf } from "../protocol/replication/commit.ts";
import type { ReplyGate } from "../reply-gate.ts";
import type { Log } from "../world.ts";
import { type Link, type Member, whyOut } from "./primary-links.ts";
import type { ShardLog } from "./shard-log.ts";
import type { SlotFill } from "./slot-fill.ts";
import { Waits } from "./waits.ts";

export interface PrimarySettings {
  readonly lagMs: number;
  readonly lostMs: number;
  readonly joinMs: number;
  readonly ringBytes: number;
  readonly windowBytes: number;
  readonly heartbeatMs: number;
  /** With too few in sync for longer than this nobody waits any more. */
  readonly starvedMs: number;
}

/** What the settings of the cluster say. */
export interface PrimaryTerms {
  /** In-sync members that there must be. */
  readonly minimum: number;
  /** What replies wait for: the in-sync set, or nothing but the primary. */
  readonly acks: "in-sync" | "primary";
}

export interface PrimaryHost {
  readonly self: NodeId;
  readonly gate: ReplyGate;
  readonly log: ShardLog;
  readonly events: Log;
  readonly settings: PrimarySettings;
  nowMs(): number;
  /** Of the map that this node knows. */
  mapVersion(): number;
  /** The start of a node that the map has admitted. */
  startOf(node: NodeId): string | undefined;
  /** Calls later in this turn of the event loop, or in the next one. */
  soon(callback: () => void): void;
  after(delayMs: number, callback: () => void): void;
  send(to: NodeId, message: ReplicationMessage): boolean;
  startFill(): SlotFill;
  fillEnded(fill: SlotFill): void;
  /**
   * Asks the map for other sets, until it is known what came of it.
   *
   * @returns Once it is known: why it was refused, or `undefined` if it is so.
   */
  changeSets(
    shard: ShardRecord,
    sets: { readonly inSync: readonly NodeId[]; readonly eligible: readonly NodeId[] },
    cause: string,
  ): Promise<string | undefined>;
  /** Commands that were held may be tried again. */
  release(): void;
}

/** The most bytes of entries in a frame: applied without a pause. */
const FRAME_BYTES = 64 * 1024;
/** The same while a replica is filled. A message that is longer comes in pieces. */
const PIECE_BYTES = 256 * 1024;
/** Bytes of the log that are read for one replica in a turn, about, however far it is behind: with more, clients would wait for longer than a millisecond or two. */
const TURN_BYTES = 512 * 1024;
/** After how long without entries what is committed is told in a frame of its own. */
const TELL_MS = 5;
/** A change of the sets that was refused is asked for again after so long. */
const ASK_PAUSE_MS = 100;
/** A member that lags by no more than this can be level in a moment. */
const JOIN_LAG_ENTRIES = 1000;

export class ShardPrimary {
  readonly #host: PrimaryHost;
  readonly #links = new Map<NodeId, Link>();
  readonly #members = new Map<NodeId, Member>();
  #shard: ShardRecord;
  #terms: PrimaryTerms;
  #committed: number;
  /** Nobody else counted until now: what was written was committed with that. */
  #wasAlone = false;
  /** The map by which the shard has the slots that it has, or a later one. */
  #slotsVersion: number;
  /** The map was asked for another in-sync set: who was added counts until it is known what came of it. */
  #asked: readonly NodeId[] | undefined;
  #askNotBeforeMs = 0;
  readonly #waits = new Waits();
  #isFlushDue = false;
  #isTellDue = false;
  #isClosed = false;
  #tickedAtMs: number;
  #isFull = false;
  /** Since when the in-sync set is below its minimum. */
  #fewSinceMs: number | undefined;
  /** It has been for long: what is not committed by now may never be, and whoever waits for that would wait for ever. */
  isStarved = false;
  /** Commands on keys wait: a planned failover is under way. */
  isHandingOver = false;

  /**
   * Takes a shard over: opens the map's epoch in the log.
   *
   * @param committed Up to where the log is known to be committed.
   */
  constructor(host: PrimaryHost, shard: ShardRecord, terms: PrimaryTerms, committed: number) {
    this.#host = host;
    this.#shard = shard;
    this.#terms = terms;
    this.#committed = committed;
    this.#tickedAtMs = host.nowMs();
    this.#slotsVersion = host.mapVersion();
    host.gate.setCommitted(committed);
    this.#openEpoch();
    this.#advance();
    this.#flushSoon();
  }

  get committed(): number {
    return this.#committed;
  }

  /** Why no write is taken, in words; `undefined` if writes are. */
  get refusal(): string | undefined {
    const { inSync, id } = this.#shard;
    const { acks, minimum } = this.#terms;
    if (acks === "primary" || inSync.length >= minimum) return undefined;
    return `shard ${id} has ${inSync.length} of at least ${minimum} members in sync`;
  }

  /** Whether commands must wait: the ring holds what an in-sync member still lacks. Nothing is lost: they go on when it has caught up. */
  get isFull(): boolean {
    return this.#isFull;
  }

  get isChangingSets(): boolean {
    return this.#asked !== undefined;
  }

  get replicas(): readonly ReplicaHealth[] {
    const nowMs = this.#host.nowMs();
    return this.#shard.replicas.map((nodeId) => {
      const link = this.#links.get(nodeId);
      const member = this.#members.get(nodeId);
      const acknowledged = member?.acknowledged ?? 0;
      return {
        nodeId,
        state: link === undefined ? "absent" : link.fill === undefined ? "following" : "filling",
        isInSync: this.#shard.inSync.includes(nodeId),
        acknowledged,
        lag: Math.max(0, this.#host.log.last - acknowledged),
        silentMs: member?.heardAtMs === undefined ? undefined : nowMs - member.heardAtMs,
        fill: link?.fill?.progress,
      };
    });
  }

  /** The map says something else of the shard, which this node still leads. */
  shardChanged(shard: ShardRecord, terms: PrimaryTerms): void {
    const isNewEpoch = shard.primaryEpoch > this.#host.log.epoch;
    if (shard.slots !== this.#shard.slots) this.#slotsVersion = this.#host.mapVersion();
    this.#shard = shard;
    this.#terms = terms;
    for (const id of this.#members.keys()) if (!shard.replicas.includes(id)) this.#members.delete(id);
    for (const [id, link] of this.#links) {
      if (!shard.replicas.includes(id)) this.#forget(link);
      else if (this.#host.startOf(id) !== link.start) {
        // What an earlier start of it acknowledged is gone with that. The scenario: the map has admitted another start of it, which holds nothing, and its link has
        // not been missed yet: it seems to follow, and to have everything, and would be asked into the set.
        this.#drop(link, "it has started anew");
        this.#members.delete(id);
      }
    }
    if (isNewEpoch) this.#openEpoch();
    this.#advance();
    this.#flushSoon();
    this.#host.release();
  }

  /** The shard has other slots: who is being filled begins again. */
  restartFills(): void {
    for (const link of this.#links.values()) if (link.fill !== undefined) this.#drop(link, "the shard has other slots");
  }

  /** Ends it: this node does not lead the shard any more, or there is nobody who follows. */
  close(): void {
    this.#isClosed = true;
    this.#links.clear();
    this.#waits.close();
  }

  // --- what the node does ---

  /** An effect of a command. */
  effect({ slot, args, isContinued }: Effect): void {
    const { log, gate } = this.#host;
    gate.logged(slot, log.append(slot, args, isContinued));
    this.#flushSoon();
  }

  /** Sends what is new to all that follow. */
  flush(): void {
    this.#isFlushDue = false;
    if (this.#isClosed) return;
    const { log, settings } = this.#host;
    log.seal();
    this.#advance();
    for (const link of this.#links.values()) this.#pump(link);
    const needed = this.#neededFrom();
    log.trim(settings.ringBytes, needed);
    // One entry may be larger than the ring: once all have it, nothing waits.
    this.#setFull(log.allocatedBytes > settings.ringBytes * 1.25 && needed <= log.last);
  }

  /** Looks after links and sets. Called every 50 ms or so. */
  tick(): void {
    const { settings } = this.#host;
    const nowMs = this.#host.nowMs();
    const stalledMs = nowMs - this.#tickedAtMs - 100;
    this.#tickedAtMs = nowMs;
    for (const link of this.#links.values()) {
      if (link.isHeard && link.fill === undefined && nowMs - link.sentAtMs >= settings.heartbeatMs)
        this.#sendEntries(link, NOTHING);
    }
    // While this node stood still nobody could be heard.
    for (const id of stalledMs > 0 ? this.#shard.replicas : []) {
      const member = this.#member(id);
      member.levelAtMs += stalledMs;
      member.markAtMs += stalledMs;
      if (member.lostAtMs !== undefined) member.lostAtMs += stalledMs;
    }
    this.#considerSets(nowMs);
    const hasFew = this.#shard.inSync.length < this.#terms.minimum;
    this.#fewSinceMs = hasFew ? (this.#fewSinceMs ?? nowMs) : undefined;
    this.isStarved = this.#fewSinceMs !== undefined && nowMs - this.#fewSinceMs > settings.starvedMs;
    if (this.isStarved && this.#host.gate.waitingCount > 0) this.#host.gate.break("too few members are in sync");
  }

  // --- what replicas say ---

  hello(from: NodeId, message: Extract<ReplicationMessage, { type: "hello" }>): void {
    const { log } = this.#host;
    const { session, position } = message;
    const refuse = (reason: string): void => void this.#host.send(from, { type: "refused", session, reason });
    if (!this.#shard.replicas.includes(from))
      return refuse("this node is no replica of the shard by its primary's map");
    if (message.epoch !== this.#shard.primaryEpoch) {
      return refuse(`the primary is in epoch ${this.#shard.primaryEpoch}, and this node asked for ${message.epoch}`);
    }
    const earlier = this.#links.get(from);
    // By a connection that broke later than the one of the present session was opened: the replica waits for nothing of it any more.
    if (earlier?.start === message.start && session < earlier.session) return;
    // Of an earlier start, seconds late: the session of the one that runs would end, and be missed only when it has been silent for long.
    if (earlier !== undefined && earlier.start !== message.start && earlier.start === this.#host.startOf(from))
      return refuse("by the primary's map it is another start of this node that follows");
    this.flush();
    if (earlier !== undefined) this.#forget(earlier);
    const member = this.#member(from);
    const nowMs = this.#host.nowMs();
    member.heardAtMs = nowMs;
    const canFollow = position !== undefined && log.isOnHistory(position);
    const cursor = canFollow ? log.cursorAt(position.sequence + 1) : log.cursorAt(log.openSequence);
    const isFill = !canFollow || cursor === undefined;
    if (isFill && this.#holds(from)) {
      // It leaves the sets first: what it has is overwritten.
      member.acknowledged = 0;
      // Also if its link broke before: below the minimum it would stay eligible, and never be filled.
      member.lostAtMs = Number.NEGATIVE_INFINITY;
      this.#considerSets(nowMs);
      return refuse("this node leaves the in-sync and eligible sets first, since it is filled anew");
    }
    const start = present(cursor ?? log.cursorAt(log.openSequence), "a log has a place for its next entry");
    member.lostAtMs = undefined;
    // An earlier start of it may have acknowledged more: that is gone.
    member.acknowledged = isFill ? 0 : (position?.sequence ?? 0);
    const link: Link = {
      nodeId: from,
      start: message.start,
      session,
      isHeard: false,
      number: 0,
      cursor: start,
      fill: isFill ? this.#host.startFill() : undefined,
      pieces: [],
      sentBytes: 0,
      acknowledgedBytes: 0,
      sentAtMs: nowMs,
      toldCommitted: 0,
      toldMapVersion: 0,
    };
    this.#links.set(from, link);
    this.#host.events.info(isFill ? "replica is being filled" : "replica follows", {
      replica: from,
      epoch: log.epoch,
      sequence: position?.sequence ?? 0,
    });
    const mapVersion = this.#host.mapVersion();
    this.#send(link, { type: "begin", session, number: link.number, epoch: message.epoch, isFill, mapVersion });
  }

  acknowledged(from: NodeId, message: Extract<ReplicationMessage, { type: "ack" }>): void {
    const { log } = this.#host;
    const link = this.#links.get(from);
    if (link?.session !== message.session) return;
    if (message.sequence > log.last || message.bytes > link.sentBytes) {
      this.#drop(link, `it acknowledged entry ${message.sequence}, of which there is none`);
      return;
    }
    const member = this.#member(from);
    const nowMs = this.#host.nowMs();
    member.heardAtMs = nowMs;
    // With its first word in a session it says again what its hello said: the acknowledgement of that may have been lost with the link before.
    const isFirst = !link.isHeard;
    link.isHeard = true;
    // Some link broke that the session does not rest on: it goes on.
    if (member.lostAtMs !== Number.NEGATIVE_INFINITY) member.lostAtMs = undefined;
    link.acknowledgedBytes = Math.max(link.acknowledgedBytes, message.bytes);
    if (link.fill === undefined && (isFirst || message.sequence > member.acknowledged)) {
      member.acknowledged = Math.max(member.acknowledged, message.sequence);
      this.#mark(member, nowMs);
      this.#advance();
      if (this.#isFull) this.#flushSoon();
    }
    const { joining } = member;
    if (joining !== undefined && member.acknowledged >= joining.target && this.#asked === undefined)
      this.#considerSets(nowMs);
    this.#pump(link);
  }

  answered(from: NodeId, message: Extract<ReplicationMessage, { type: "answer" }>): void {
    const link = this.#links.get(from);
    if (link?.session !== message.session || link.fill === undefined) return;
    this.#member(from).heardAtMs = this.#host.nowMs();
    link.fill.answered(message.bytes);
    if (link.fill.refusal === undefined) this.#pump(link);
    else this.#drop(link, `it answered what makes no sense: ${link.fill.refusal}`);
  }

  /** A member's link broke. What was on its way is lost, and if nothing was, nobody would say hello again. */
  linkLost(nodeId: NodeId): void {
    const link = this.#links.get(nodeId);
    if (link !== undefined) return this.#drop(link, "the link to it broke");
    const member = this.#members.get(nodeId);
    if (member !== undefined) member.lostAtMs ??= this.#host.nowMs();
  }

  /** Calls once a member has all of the log, and all of it is committed; with `false` if this ends before. @returns Ends the wait. */
  whenHasAll(nodeId: NodeId, callback: (hasAll: boolean) => void): () => void {
    return this.#waits.until(() => {
      const { last } = this.#host.log;
      return this.#committed >= last && (this.#members.get(nodeId)?.acknowledged ?? 0) >= last;
    }, callback);
  }

  /** How many replicas have an entry: of those that follow, and have said so in this session. Nobody knows whether one that is away still has what it acknowledged. */
  acknowledgedBy(sequence: number): number {
    const has = ({ nodeId, isHeard }: Link): boolean => isHeard && this.#member(nodeId).acknowledged >= sequence;
    return [...this.#links.values()].filter(has).length;
  }

  /** Calls once so many replicas have all that there is now; with `false` if this ends before. @returns Ends the wait. */
  whenAcknowledged(count: number, callback: (isSo: boolean) => void): () => void {
    this.flush();
    const { last } = this.#host.log;
    return this.#waits.until(() => this.acknowledgedBy(last) >= count, callback);
  }

  /** How many wait for replicas. */
  get waitingCount(): number {
    return this.#waits.size;
  }

  // --- sending ---

  #flushSoon(): void {
    if (this.#isFlushDue || this.#isClosed) return;
    this.#isFlushDue = true;
    this.#host.soon(() => this.flush());
  }

  #pump(link: Link): void {
    if (!link.isHeard) return;
    const { log, settings } = this.#host;
    if (!log.isHere(link.cursor)) {
      this.#drop(link, "the log does not reach back to what it lacks");
      return;
    }
    if (link.fill !== undefined) this.#pumpFill(link, link.fill);
    const before = link.sentBytes;
    while (link.fill === undefined && link.sentBytes - link.acknowledgedBytes < settings.windowBytes) {
      if (link.sentBytes - before >= TURN_BYTES) return this.#flushSoon();
      const bytes = log.read(link.cursor, FRAME_BYTES);
      if (bytes === undefined) {
        // Replicas read nothing of slots that have come before they know that they have their keys.
        if (link.toldMapVersion < this.#slotsVersion) this.#sendEntries(link, NOTHING);
        return;
      }
      if (!this.#sendEntries(link, bytes)) return;
    }
  }

  /**
   * Goes on with filling. A message of the stream may only follow everything that is in the log, and is itself followed by whatever else there is to do in this
   * turn. What is long goes in pieces, as the window allows; whatever comes after it waits.
   */
  #pumpFill(link: Link, fill: SlotFill): void {
    const { log } = this.#host;
    const { session } = link;
    log.seal();
    let readBytes = 0;
    while (this.#sendPieces(link)) {
      if (readBytes >= TURN_BYTES) return this.#flushSoon();
      const entry = log.readEntry(link.cursor);
      if (entry !== undefined) {
        readBytes += entry.length;
        const bytes = fill.effectsOf(entry);
        if (bytes !== undefined) link.pieces.push({ type: "effects", bytes, sent: 0 });
        continue;
      }
      if (fill.isDone) {
        link.fill = undefined;
        this.#host.fillEnded(fill);
        const { position, history } = log;
        this.#send(link, { type: "level", session, number: link.number, position, history });
        this.#host.events.info("replica is filled", { replica: link.nodeId, ...fill.progress });
        return;
      }
      let hasMore = false;
      do {
        const bytes = fill.next();
        hasMore = bytes !== undefined;
        if (bytes !== undefined) link.pieces.push({ type: "stream", bytes, sent: 0 });
      } while (hasMore && fill.isInRow);
      if (!this.#sendPieces(link) || !hasMore) return;
      // One message a turn: what clients want comes in between.
      this.#flushSoon();
      return;
    }
  }

  /** Sends what waits to be sent while a replica is filled. @returns Whether nothing does any more. */
  #sendPieces(link: Link): boolean {
    const { windowBytes } = this.#host.settings;
    for (let next = link.pieces[0]; next !== undefined; next = link.pieces[0]) {
      if (link.sentBytes - link.acknowledgedBytes >= windowBytes) return false;
      const end = Math.min(next.bytes.length, next.sent + PIECE_BYTES);
      const bytes = next.bytes.subarray(next.sent, end);
      next.sent = end;
      const isLast = end === next.bytes.length;
      if (isLast) link.pieces.shift();
      const { session, number } = link;
      if (!this.#send(link, { type: next.type, session, number, isLast, bytes })) return false;
    }
    return true;
  }

  #sendEntries(link: Link, bytes: Uint8Array): boolean {
    const { session, number } = link;
    const { log } = this.#host;
    link.toldCommitted = this.#committed;
    link.toldMapVersion = this.#host.mapVersion();
    return this.#send(link, {
      type: "entries",
      session,
      number,
      committed: this.#committed,
      mapVersion: link.toldMapVersion,
      isEnd: log.isAtEnd(link.cursor),
      bytes,
    });
  }

  #send(link: Link, message: ReplicationMessage): boolean {
    link.number += 1;
    link.sentAtMs = this.#host.nowMs();
    if ("bytes" in message && typeof message.bytes !== "number") link.sentBytes += message.bytes.length;
    if (this.#host.send(link.nodeId, message)) return true;
    // The bus dropped it: the replica would find the gap, and this side knows already.
    this.#drop(link, "the link to it is down, or too much waits for it");
    return false;
  }

  #drop(link: Link, reason: string): void {
    if (this.#links.get(link.nodeId) !== link) return;
    this.#forget(link);
    this.#member(link.nodeId).lostAtMs ??= this.#host.nowMs();
    this.#host.events.info("replica lost", { replica: link.nodeId, reason });
    this.#host.send(link.nodeId, { type: "refused", session: link.session, reason });
  }

  #forget(link: Link): void {
    this.#links.delete(link.nodeId);
    if (link.fill !== undefined) this.#host.fillEnded(link.fill);
  }

  // --- commit ---

  #openEpoch(): void {
    const { log, gate } = this.#host;
    const sequence = log.startEpoch(this.#shard.primaryEpoch);
    // Nothing is answered before it is committed: until then others may have what this one has not, or the other way round.
    gate.logged(-1, sequence);
  }

  #advance(): void {
    const { log, gate, self } = this.#host;
    const { inSync } = this.#shard;
    const joining = this.#joining();
    const isAlone = joining.length === 0 && inSync.every((id) => id === self);
    if (isAlone && inSync.length >= this.#terms.minimum) {
      // Whatever is written is committed with that.
      this.#wasAlone = true;
      this.#committed = log.last;
      gate.setCommitted(Number.POSITIVE_INFINITY);
      if (this.#waits.size > 0) this.#waits.look();
      return;
    }
    if (this.#wasAlone) {
      // What was committed by this node alone stays so when others begin to count.
      this.#wasAlone = false;
      log.seal();
      this.#committed = log.last;
    }
    const committed = committedOf({
      self,
      last: log.last,
      inSync,
      joining,
      minimum: this.#terms.minimum,
      acknowledged: (id) => this.#members.get(id)?.acknowledged,
    });
    const isMore = committed > this.#committed;
    if (isMore) this.#committed = committed;
    if (gate.committed !== this.#committed) gate.setCommitted(this.#committed);
    if (isMore) this.#tellSoon();
    if (this.#waits.size > 0) this.#waits.look();
  }

  /** Replicas hold reads until they know that what they read is committed: the next entries tell it, or a frame of its own if none come. */
  #tellSoon(): void {
    if (this.#isTellDue || this.#isClosed) return;
    this.#isTellDue = true;
    this.#host.after(TELL_MS, () => {
      this.#isTellDue = false;
      for (const link of this.#links.values()) {
        if (link.isHeard && link.fill === undefined && link.toldCommitted < this.#committed)
          this.#sendEntries(link, NOTHING);
      }
    });
  }

  /** Who counts besides the map's set. */
  #joining(): readonly NodeId[] {
    const ids = [...(this.#asked ?? [])];
    for (const [id, { joining }] of this.#members) if (joining !== undefined && !ids.includes(id)) ids.push(id);
    return ids;
  }

  #neededFrom(): number {
    const { log, self } = this.#host;
    let needed = log.openSequence;
    for (const id of this.#shard.inSync) {
      if (id !== self) needed = Math.min(needed, (this.#members.get(id)?.acknowledged ?? 0) + 1);
    }
    return needed;
  }

  #setFull(isFull: boolean): void {
    if (this.#isFull === isFull) return;
    this.#isFull = isFull;
    if (!isFull) this.#host.release();
  }

  // --- sets ---

  #member(id: NodeId): Member {
    let member = this.#members.get(id);
    if (member === undefined) {
      const nowMs = this.#host.nowMs();
      member = {
        acknowledged: 0,
        heardAtMs: undefined,
        levelAtMs: nowMs,
        mark: this.#host.log.last,
        markAtMs: nowMs,
        lostAtMs: undefined,
        joining: undefined,
        notBeforeMs: 0,
      };
      this.#members.set(id, member);
    }
    return member;
  }

  #mark(member: Member, nowMs: number): void {
    if (member.acknowledged < member.mark) return;
    const { last } = this.#host.log;
    // With nothing that it lacks it is level now, however long it was away: else the map would be asked to and fro until the next beat.
    member.levelAtMs = member.acknowledged >= last ? nowMs : member.markAtMs;
    member.mark = last;
    member.markAtMs = nowMs;
  }

  #holds(id: NodeId): boolean {
    return this.#shard.inSync.includes(id) || this.#shard.eligible.includes(id) || this.#asked?.includes(id) === true;
  }

  /** Asks for another in-sync set, if there should be one, and none was asked for. */
  #considerSets(nowMs: number): void {
    const { settings, log, self } = this.#host;
    const { inSync, eligible, replicas } = this.#shard;
    for (const id of replicas) {
      const member = this.#member(id);
      this.#mark(member, nowMs);
      const link = this.#links.get(id);
      // A hello of an earlier start may come late, when the map has the next one, which holds nothing. And one of an earlier session: what it says the replica may not
      // hold any more, since it has been filled from then on; or it hears nothing of what is sent to it, and nothing would be committed while it is waited for.
      const isHeard = link?.isHeard === true && this.#host.startOf(id) === link.start;
      const isFollowing = isHeard && link.fill === undefined;
      if (member.joining !== undefined) {
        const isLate = nowMs - member.joining.sinceMs > settings.joinMs;
        if ((!isFollowing || isLate || inSync.includes(id)) && this.#asked?.includes(id) !== true) {
          member.joining = undefined;
          if (isLate) member.notBeforeMs = nowMs + settings.joinMs * 5;
          this.#advance();
        }
      } else if (isFollowing && !inSync.includes(id) && nowMs >= member.notBeforeMs) {
        // From here on it counts.
        if (log.openSequence - member.acknowledged > JOIN_LAG_ENTRIES) continue;
        log.seal();
        member.joining = { sinceMs: nowMs, target: log.last };
        this.#advance();
      }
    }
    if (this.#asked !== undefined || nowMs < this.#askNotBeforeMs) return;
    const lost = inSync.filter((id) => {
      if (id === self) return false;
      const { lostAtMs, levelAtMs } = this.#member(id);
      return (lostAtMs !== undefined && nowMs - lostAtMs >= settings.lostMs) || nowMs - levelAtMs >= settings.lagMs;
    });
    const level = replicas.filter((id) => {
      const member = this.#member(id);
      return member.joining !== undefined && member.acknowledged >= member.joining.target && !lost.includes(id);
    });
    // An eligible member that must be filled leaves that set, too.
    const gone = eligible.filter((id) => this.#member(id).lostAtMs === Number.NEGATIVE_INFINITY);
    if (lost.length === 0 && level.length === 0 && gone.length === 0) return;
    const nextInSync = [...inSync.filter((id) => !lost.includes(id)), ...level.filter((id) => !inSync.includes(id))];
    const isBelow = nextInSync.length < this.#terms.minimum;
    const mustGo = (id: NodeId): boolean => this.#member(id).lostAtMs === Number.NEGATIVE_INFINITY;
    const nextEligible = isBelow ? [...eligible, ...lost].filter((id) => !nextInSync.includes(id) && !mustGo(id)) : [];
    const cause = [
      ...lost.map((id) => `${id} is out: ${whyOut(this.#member(id), nowMs)}`),
      ...level.map((id) => `${id} has caught up`),
      ...gone.map((id) => `${id} is filled anew`),
    ].join("; ");
    this.#ask(nextInSync, nextEligible, cause);
  }

  #ask(inSync: readonly NodeId[], eligible: readonly NodeId[], cause: string): void {
    const shard = this.#shard;
    this.#asked = inSync;
    this.#advance();
    void this.#host.changeSets(shard, { inSync, eligible }, cause).then((problem) => {
      this.#asked = undefined;
      if (this.#isClosed) return;
      if (problem !== undefined) {
        this.#host.events.info("in-sync set not changed", { reason: problem, cause });
        this.#askNotBeforeMs = this.#host.nowMs() + ASK_PAUSE_MS;
      }
      for (const id of inSync) {
        const member = this.#members.get(id);
        if (member !== undefined && (problem === undefined || this.#shard.version !== shard.version))
          member.joining = undefined;
      }
      this.#advance();
      this.#considerSets(this.#host.nowMs());
    });
  }
}

const NOTHING = new Uint8Array(0);
