/**
 * A migration as the source's primary does it: sends the slots of a task, and has the map give them to the target.
 *
 * 1. It opens a session with the target's primary. Both must lead in the epochs that the map of each says.
 * 2. A slot stream brings the target what the source has, and each effect on slots that are begun follows on the same channel. The target acknowledges what is
 *    committed in its shard.
 * 3. The target has nearly everything: the map is asked for the *fence*. From the moment that this node has applied it, commands on the slots are held (by the
 *    router, whoever leads the source).
 * 4. Whatever was done before goes out, and `final` behind it. The target says when all of it is committed in its shard.
 * 5. The map is asked to complete, for this fence. With that the slots are the target's, and what was held is told so.
 *
 * A session ends with its primaries, its link, or silence; then another one begins, and costs little for slots that are equal already. A fence whose session is over, or
 * that takes too long, is of no use: the map is asked to take it back, and until it has said so commands are held. No timer ends a fence.
 * A target that has taken no session for long is not coming back: the map is asked to abort the task.
 */
import { Fault, present } from "../assert.ts";
import type { MigrationMessage } from "../codec/migration-codec.ts";
import { ArgumentList } from "../codec/resp-parser.ts";
import type { Command } from "../command-table.ts";
import type { Effect } from "../contracts/commands.ts";
import type { MigrationPhase, MigrationProgress } from "../contracts/migration.ts";
import type { MigrationRecord, NodeId, TopologyRequest } from "../contracts/topology.ts";
import { messageOf } from "../errors.ts";
import { intersectRanges } from "../protocol/slot-ranges.ts";
import { flushOperation, flushedSlots } from "../replication/log-operations.ts";
import { type LogCursor, ShardLog } from "../replication/shard-log.ts";
import type { SlotFill } from "../replication/slot-fill.ts";
import type { Log } from "../world.ts";
import { Absence } from "./absence.ts";

export interface SourceSettings {
  /** Bytes that may be on their way and not committed at the target. */
  readonly windowBytes: number;
  /** Effects that may wait to be sent: above that, commands wait. */
  readonly pendingBytes: number;
  readonly heartbeatMs: number;
  readonly silenceMs: number;
  readonly retryMs: number;
  /** How long the target may take to commit the last effects before the fence is taken back. */
  readonly settleMs: number;
  /** How long the target may take no session before the task is aborted; 0: for ever. */
  readonly abandonMs: number;
}

export interface SourceHost {
  readonly events: Log;
  readonly settings: SourceSettings;
  nowMs(): number;
  /** Whether this node has its lease: else it may be the one that is away. */
  isInTouch(): boolean;
  soon(callback: () => void): void;
  send(to: NodeId, message: MigrationMessage): boolean;
  /** A number that this node has not used for a session. */
  nextSession(): number;
  /** @param isNew The receiver has no key of the slots. */
  startFill(slots: MigrationRecord["slots"], isNew: boolean): SlotFill;
  keysIn(slots: MigrationRecord["slots"]): number;
  /** The version of the map that this node knows. */
  mapVersion(): number;
  /** How many bytes may be sent now, by the rate limit. */
  allowance(): number;
  spend(bytes: number): void;
  /** Asks the map, until it is known what came of it. @returns Why it was refused; `undefined` if it is so. */
  request(request: TopologyRequest, cause: string): Promise<string | undefined>;
  /** More waits to be sent than may: commands on keys are to wait, or need not any more. */
  hold(isHeld: boolean): void;
}

/** Who sends to whom. */
export interface MigrationTerms {
  readonly sourceEpoch: number;
  readonly target: NodeId;
  readonly targetEpoch: number;
}

/** A message that is longer goes in pieces. */
const PIECE_BYTES = 256 * 1024;
/** The target is level when no more than this is on its way. Under a heavy load there is always more: so it doubles, each time that it has waited so long for that. */
const LEVEL_BYTES = 64 * 1024;
const LEVEL_DOUBLING_MS = 100;
const ASK_PAUSE_MS = 100;
const MAX_PATIENCE = 16;

interface Session {
  readonly id: number;
  readonly startedAtMs: number;
  /** There from the moment that the target takes the slots. */
  fill: SlotFill | undefined;
  /** Effects that were not sent. */
  readonly log: ShardLog;
  readonly cursor: LogCursor;
  readonly pieces: { readonly type: "effects" | "stream"; readonly bytes: Uint8Array; sent: number }[];
  /** Of the next frame. */
  number: number;
  sentBytes: number;
  committedBytes: number;
  heardAtMs: number;
  sentAtMs: number;
  /** When the target had all of the stream, or a fence had to be taken back; and what it must commit before it is asked for one (again). */
  levelFrom: { readonly atMs: number; readonly bytes: number } | undefined;
  /** It has asked for the fence that there is, or is to be. */
  hasAsked: boolean;
  /** The version of the fence that is its own, and the number of its `final`, once it is sent. */
  fence: number | undefined;
  final: number | undefined;
  /** The target has committed everything up to that. */
  isSettled: boolean;
}

export class MigrationSource {
  readonly #host: SourceHost;
  #record: MigrationRecord;
  #terms: MigrationTerms;
  #session: Session | undefined;
  #openNotBeforeMs = 0;
  #patience = 1;
  #isAsking = false;
  #askNotBeforeMs = 0;
  #isPumpDue = false;
  #isHeld = false;
  #isClosed = false;
  #absence: Absence;
  #waitingFor: string | undefined = "the target's primary has not answered yet";
  #fencedAtMs: number | undefined;
  #fencedMs = 0;
  /** Sessions that the target took part in: one that it refused sent nothing. */
  #fills = 0;
  #bytes = 0;
  /** Of the session that has ended. */
  #lastProgress: MigrationProgress | undefined;

  constructor(host: SourceHost, record: MigrationRecord, terms: MigrationTerms) {
    this.#host = host;
    this.#record = record;
    this.#terms = terms;
    this.#absence = new Absence(host.nowMs());
    this.update(record, terms);
    this.tick();
  }

  get id(): string {
    return this.#record.id;
  }

  get phase(): MigrationPhase {
    if (this.#record.fence !== undefined) return "fenced";
    const { fill } = this.#session ?? {};
    if (fill === undefined) return "waiting";
    return fill.isDone ? "level" : "streaming";
  }

  /** What keeps it, in words. */
  get waitingFor(): string | undefined {
    if (this.#record.isPaused) return "it is paused";
    if (this.#record.awaitsWord === true && this.phase === "level") return "the word to be completed";
    return this.#waitingFor;
  }

  get progress(): MigrationProgress | undefined {
    const session = this.#session;
    // The target may hear of the completion first, and end the session.
    if (session?.fill === undefined) return this.#record.fence === undefined ? undefined : this.#lastProgress;
    const { slotsDone, slotsTotal, keys, etaMs } = session.fill.progress;
    const nowMs = this.#host.nowMs();
    const tookMs = nowMs - session.startedAtMs;
    return {
      slotsDone,
      slotsTotal,
      keysMoved: keys,
      keysTotal: this.#host.keysIn(this.#record.slots),
      bytesMoved: this.#bytes,
      bytesPerSecond: tookMs > 0 ? (session.sentBytes * 1000) / tookMs : 0,
      etaMs: session.fill.isDone ? 0 : etaMs,
      fencedMs: this.#fencedMs + (this.#fencedAtMs === undefined ? 0 : nowMs - this.#fencedAtMs),
      restarts: Math.max(0, this.#fills - 1),
    };
  }

  /** The map says something else of the task, or of who leads the two shards. This node still leads the source. */
  update(record: MigrationRecord, terms: MigrationTerms): void {
    const { sourceEpoch, target, targetEpoch } = this.#terms;
    const isOther = terms.sourceEpoch !== sourceEpoch || terms.target !== target || terms.targetEpoch !== targetEpoch;
    this.#record = record;
    this.#terms = terms;
    if (isOther) {
      this.#end("a shard has another primary");
      this.#openNotBeforeMs = 0;
      this.#patience = 1;
      this.#absence = new Absence(this.#host.nowMs());
    }
    if (record.isPaused) this.#end("it is paused");
    const nowMs = this.#host.nowMs();
    if (record.fence !== undefined && this.#fencedAtMs === undefined) this.#fencedAtMs = nowMs;
    if (record.fence === undefined && this.#fencedAtMs !== undefined) {
      this.#fencedMs += nowMs - this.#fencedAtMs;
      this.#fencedAtMs = undefined;
    }
    const session = this.#session;
    if (session !== undefined) {
      const isOwn =
        session.hasAsked &&
        record.fence?.sourceEpoch === terms.sourceEpoch &&
        record.fence.targetEpoch === terms.targetEpoch;
      if (record.fence?.version !== session.fence) {
        session.final = undefined;
        session.isSettled = false;
        session.levelFrom = undefined;
      }
      session.fence = isOwn ? record.fence?.version : undefined;
      if (isOwn) this.#pump();
    }
    this.#considerUnfencing(nowMs);
  }

  /** Ends it: the task is over, or this node does not lead the source any more. */
  close(reason: string): void {
    this.#end(reason);
    this.#isClosed = true;
    this.#setHeld(false);
  }

  /**
   * Does a part of a session. One that throws ends it: where the effect is that got lost with that nobody knows any more, but the next session, which compares. The
   * scenario: the machine has no memory for an effect; who told it goes on, and so would the session, to its end: the target's clients would miss a write.
   */
  #inSession(run: () => void): void {
    try {
      run();
    } catch (thrown) {
      if (thrown instanceof Fault) throw thrown;
      this.#end(`this node could not go on: ${messageOf(thrown)}`);
    }
  }

  /** An effect of a command, as it happens. @param command What it is of. */
  effect(told: Effect, command: Command | undefined): void {
    this.#inSession(() => this.#note(told, command));
  }

  #note(told: Effect, command: Command | undefined): void {
    const session = this.#session;
    // Keys expire and are evicted behind a fence, too, and it may be taken back: what is told then goes out behind the last word.
    if (session?.fill === undefined) return;
    const { slot, args, isContinued } = told;
    if (slot < 0) {
      const isAll = command?.fullName === "flushall" || command?.fullName === "flushdb";
      // Whatever else is about no slot is no key.
      const flushed = isAll ? this.#record.slots : intersectRanges(this.#record.slots, flushedSlots(args) ?? []);
      if (flushed.length === 0) return;
      session.log.append(-1, ArgumentList.of(flushOperation(flushed)), false);
    } else if (session.fill.isBegun(slot)) {
      session.fill.note(told, command);
      session.log.append(slot, args, isContinued);
    } else return;
    if (session.log.allocatedBytes > this.#host.settings.pendingBytes) this.#setHeld(true);
    this.#pumpSoon();
  }

  /** Looks after the session. Called every 50 ms or so. */
  tick(): void {
    if (this.#isClosed) return;
    const { settings } = this.#host;
    const nowMs = this.#host.nowMs();
    const session = this.#session;
    if (session === undefined) {
      if (!this.#record.isPaused && nowMs >= this.#openNotBeforeMs) this.#open(nowMs);
    } else if (session.fill === undefined) {
      // Another `open` makes a late answer to this one worthless: each is given twice the time.
      if (nowMs - session.sentAtMs >= settings.retryMs * this.#patience) {
        this.#patience = Math.min(this.#patience * 2, MAX_PATIENCE);
        this.#open(nowMs);
      }
    } else if (nowMs - session.heardAtMs > settings.silenceMs) {
      this.#end("the target's primary is silent");
    } else {
      if (nowMs - session.sentAtMs >= settings.heartbeatMs) this.#sendFrame(session, "effects", true, NOTHING);
      this.#pump();
    }
    this.#considerUnfencing(nowMs);
    this.#considerAbandoning(nowMs);
  }

  /** A link to a node broke: what was on its way is lost. */
  linkLost(nodeId: NodeId): void {
    if (nodeId === this.#terms.target) this.#end("the link to the target's primary broke");
  }

  received(from: NodeId, message: MigrationMessage): void {
    this.#inSession(() => this.#took(from, message));
  }

  #took(from: NodeId, message: MigrationMessage): void {
    const session = this.#session;
    if (session?.id !== message.session || from !== this.#terms.target) return;
    session.heardAtMs = this.#host.nowMs();
    switch (message.type) {
      case "accepted":
        if (session.fill !== undefined) return;
        this.#patience = 1;
        this.#waitingFor = undefined;
        session.fill = this.#host.startFill(this.#record.slots, !message.holdsKeys);
        this.#fills += 1;
        this.#pumpSoon();
        return;
      case "refused":
        this.#end(message.reason);
        if (message.isFinal) this.#giveUp(message.reason);
        return;
      case "ack":
        if (message.bytes > session.sentBytes)
          return this.#end(`it acknowledged ${message.bytes} bytes, and there were ${session.sentBytes}`);
        session.committedBytes = Math.max(session.committedBytes, message.bytes);
        this.#pump();
        return;
      case "answer":
        session.fill?.answered(message.bytes);
        if (session.fill?.refusal !== undefined) this.#end(session.fill.refusal);
        else this.#pump();
        return;
      case "settled":
        if (message.number === session.final) session.isSettled = true;
        this.#considerCompleting();
        return;
      default:
        this.#end(`the target's primary said ${message.type}`);
    }
  }

  // --- sending ---

  #open(nowMs: number): void {
    const { sourceEpoch, target, targetEpoch } = this.#terms;
    const log = new ShardLog();
    const session: Session = {
      id: this.#host.nextSession(),
      startedAtMs: nowMs,
      fill: undefined,
      log,
      cursor: present(log.cursorAt(log.openSequence), "a log has a place for its next entry"),
      pieces: [],
      number: 0,
      sentBytes: 0,
      committedBytes: 0,
      heardAtMs: nowMs,
      sentAtMs: nowMs,
      levelFrom: undefined,
      hasAsked: false,
      fence: undefined,
      final: undefined,
      isSettled: false,
    };
    this.#session = session;
    const mapVersion = this.#host.mapVersion();
    const { id } = this.#record;
    this.#host.send(target, { type: "open", session: session.id, id, sourceEpoch, targetEpoch, mapVersion });
  }

  #pumpSoon(): void {
    if (this.#isPumpDue || this.#isClosed) return;
    this.#isPumpDue = true;
    this.#host.soon(() => {
      this.#isPumpDue = false;
      this.#pump();
    });
  }

  /** Sends what there is: effects first, since what the stream says of a key holds for the moment at which it is said. */
  #pump(): void {
    this.#inSession(() => this.#sendAll());
  }

  #sendAll(): void {
    const session = this.#session;
    if (session?.fill === undefined) return;
    const { fill, log, cursor } = session;
    log.seal();
    while (this.#sendPieces(session)) {
      const entry = log.readEntry(cursor);
      if (entry !== undefined) {
        // A view of the log's own bytes, and pieces may wait.
        session.pieces.push({ type: "effects", bytes: entry.slice(), sent: 0 });
        continue;
      }
      log.trim(0, log.openSequence);
      this.#setHeld(false);
      if (session.fence !== undefined) {
        if (session.final === undefined) this.#sendFinal(session, session.fence);
        return;
      }
      if (fill.isDone) return this.#considerFence(session);
      if (this.#host.allowance() <= 0) return;
      let hasMore = false;
      do {
        const bytes = fill.next();
        hasMore = bytes !== undefined;
        if (bytes !== undefined) session.pieces.push({ type: "stream", bytes, sent: 0 });
      } while (hasMore && fill.isInRow);
      if (!this.#sendPieces(session) || !hasMore) return;
      // One message a turn: what clients want comes in between.
      this.#pumpSoon();
      return;
    }
    if (log.allocatedBytes <= this.#host.settings.pendingBytes / 2) this.#setHeld(false);
  }

  /** @returns Whether nothing waits any more. */
  #sendPieces(session: Session): boolean {
    const { windowBytes } = this.#host.settings;
    for (let next = session.pieces[0]; next !== undefined; next = session.pieces[0]) {
      if (session.sentBytes - session.committedBytes >= windowBytes) return false;
      const end = Math.min(next.bytes.length, next.sent + PIECE_BYTES);
      const bytes = next.bytes.subarray(next.sent, end);
      next.sent = end;
      const isLast = end === next.bytes.length;
      if (isLast) session.pieces.shift();
      if (!this.#sendFrame(session, next.type, isLast, bytes)) return false;
      if (next.type === "stream") this.#host.spend(bytes.length);
    }
    return true;
  }

  #sendFrame(session: Session, type: "effects" | "stream", isLast: boolean, bytes: Uint8Array): boolean {
    const { number } = session;
    session.sentBytes += bytes.length;
    this.#bytes += bytes.length;
    return this.#send(session, { type, session: session.id, number, isLast, bytes });
  }

  #sendFinal(session: Session, fence: number): void {
    session.final = session.number;
    this.#send(session, { type: "final", session: session.id, number: session.number, fence });
  }

  #send(
    session: Session,
    message: Extract<MigrationMessage, { readonly type: "effects" | "stream" | "final" }>,
  ): boolean {
    session.number += 1;
    session.sentAtMs = this.#host.nowMs();
    if (this.#host.send(this.#terms.target, message)) return true;
    this.#end("the link to the target's primary is down, or too much waits for it");
    return false;
  }

  #end(reason: string): void {
    const session = this.#session;
    if (session === undefined) return;
    this.#lastProgress = this.progress;
    this.#session = undefined;
    this.#openNotBeforeMs = this.#host.nowMs() + this.#host.settings.retryMs;
    this.#setHeld(false);
    if (this.#waitingFor !== reason) this.#host.events.info("migration session ended", { migration: this.id, reason });
    this.#waitingFor = reason;
    this.#host.send(this.#terms.target, { type: "closed", session: session.id, reason });
  }

  #setHeld(isHeld: boolean): void {
    if (this.#isHeld === isHeld) return;
    this.#isHeld = isHeld;
    this.#host.hold(isHeld);
  }

  // --- asking the map ---

  #considerFence(session: Session): void {
    const { fence, isPaused, awaitsWord = false } = this.#record;
    if (fence !== undefined || isPaused || awaitsWord || this.#isAsking) return;
    const nowMs = this.#host.nowMs();
    session.levelFrom ??= { atMs: nowMs, bytes: session.sentBytes };
    const { atMs, bytes } = session.levelFrom;
    // Commands would wait for a target that commits nothing, again and again.
    if (session.committedBytes < bytes) return;
    const levelBytes = LEVEL_BYTES * 2 ** Math.floor((nowMs - atMs) / LEVEL_DOUBLING_MS);
    if (session.sentBytes - session.committedBytes > levelBytes) return;
    if (nowMs < this.#askNotBeforeMs) return;
    session.hasAsked = true;
    const { sourceEpoch, targetEpoch } = this.#terms;
    this.#ask({ type: "fence-migration", id: this.id, sourceEpoch, targetEpoch }, "the target has nearly everything");
  }

  #considerCompleting(): void {
    const { fence, isSettled = false } = this.#session ?? {};
    if (fence === undefined || !isSettled || this.#isAsking || this.#host.nowMs() < this.#askNotBeforeMs) return;
    this.#ask({ type: "complete-migration", id: this.id, fence }, "the target has committed everything");
  }

  #giveUp(reason: string): void {
    if (this.#isAsking) return;
    this.#ask({ type: "abort-migration", id: this.id }, `the target cannot take it: ${reason}`);
  }

  /** Takes a fence back that is not this session's, or that the target does not settle. */
  #considerUnfencing(nowMs: number): void {
    const { fence } = this.#record;
    if (fence === undefined || this.#isAsking || this.#isClosed || nowMs < this.#askNotBeforeMs) return;
    const isOwn = this.#session?.fence === fence.version;
    const tookMs = nowMs - (this.#fencedAtMs ?? nowMs);
    if (isOwn && tookMs <= this.#host.settings.settleMs) return;
    const cause = isOwn
      ? `the target has not committed the last effects within ${this.#host.settings.settleMs} ms`
      : `what it was for is over: ${this.#waitingFor ?? "another session"}`;
    this.#ask({ type: "unfence-migration", id: this.id, fence: fence.version }, cause);
  }

  /** Gives up a target that does not come. A fence that it has left behind is taken back first. */
  #considerAbandoning(nowMs: number): void {
    const { abandonMs } = this.#host.settings;
    const isAway = this.#session?.fill === undefined && !this.#record.isPaused && this.#host.isInTouch();
    const awayMs = this.#absence.look(nowMs, isAway);
    if (abandonMs === 0 || awayMs < abandonMs || this.#record.fence !== undefined) return;
    if (this.#isAsking || this.#isClosed || nowMs < this.#askNotBeforeMs) return;
    const cause = `the target's primary has not taken part for ${abandonMs / 1000} s: ${this.#waitingFor ?? "it has not answered"}`;
    this.#ask({ type: "abort-migration", id: this.id }, cause);
  }

  #ask(request: TopologyRequest, cause: string): void {
    this.#isAsking = true;
    void this.#host.request(request, cause).then((problem) => {
      this.#isAsking = false;
      if (this.#isClosed) return;
      const nowMs = this.#host.nowMs();
      if (problem !== undefined) {
        this.#host.events.info("migration not changed", { migration: this.id, asked: request.type, reason: problem });
        this.#askNotBeforeMs = nowMs + ASK_PAUSE_MS;
      }
      // A session that asked in vain may have another's fence: it asks again.
      if (request.type === "fence-migration" && problem !== undefined && this.#session !== undefined) {
        this.#session.hasAsked = false;
      }
      this.#considerCompleting();
      this.#pump();
    });
  }
}

const NOTHING = new Uint8Array(0);
