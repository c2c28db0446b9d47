/**
 * A shard's replica: follows its primary's log.
 *
 * 1. It says hello to the primary of its map, with the place where its own copy of the log ends. A hello that is not answered is said again, in another session.
 * 2. The primary's entries follow on from there; or it is filled: its slots are emptied and take what the primary has, and what happens meanwhile. It is filled
 *    only if it counts for nothing: it is in neither of the shard's sets by its own map.
 * 3. It applies entries in order and says how far it is, once a turn. What it applies never looks at its own clock, and deletes nothing by itself.
 * A frame that is missing ends the session, and so does silence.
 */
import { Buffer } from "node:buffer";
import type { ReplicationMessage } from "../codec/replication-codec.ts";
import type { ArgumentList } from "../codec/resp-parser.ts";
import type { NodeId, ShardRecord } from "../contracts/topology.ts";
import type { ReplyGate } from "../reply-gate.ts";
import type { Log } from "../world.ts";
import { isOfMissingKeys } from "./effect-runner.ts";
import type { SlotSink } from "./slot-sink.ts";
import { EntryAssembler, EntryReader, type EntryVisitor, type ShardLog } from "./shard-log.ts";

export interface ReplicaHost {
  readonly self: NodeId;
  /** This start of this node, as the map has it. */
  readonly start: string;
  readonly gate: ReplyGate;
  readonly log: ShardLog;
  readonly events: Log;
  readonly silenceMs: number;
  readonly retryMs: number;
  readonly ringBytes: number;
  nowMs(): number;
  /** Of the map that this node knows. */
  mapVersion(): number;
  soon(callback: () => void): void;
  send(to: NodeId, message: ReplicationMessage): boolean;
  startSink(): SlotSink;
  /**
   * Applies an effect to this node's keys.
   *
   * @param isFill This node is being filled. Else one that fails ends the node.
   * @returns Why it failed.
   */
  apply(slot: number, args: ArgumentList, isFill: boolean): string | undefined;
  /** A number that this node has not used for a session. */
  nextSession(): number;
}

const MAX_PATIENCE = 32;
const MAX_HELLO_PATIENCE = 16;
/** A replica that has followed nobody for so many times the silence that it suffers is stranded: longer than any failover takes. */
const STRANDED_SILENCES = 5;

export class ShardReplica {
  readonly #host: ReplicaHost;
  readonly #reader = new EntryReader();
  #shard: ShardRecord;
  #session = 0;
  #saidHelloAtMs = Number.NEGATIVE_INFINITY;
  #heardAtMs = 0;
  #isOpen = false;
  /** Of the next frame. */
  #number = 0;
  /** The map that the primary knows, by what it said last. */
  mapVersion = 0;
  /** The latest map of which it is known that all keys are here that had come to the shard by that. */
  #levelMapVersion = 0;
  /** The map by which this node has known the shard's slots to be the shard's. */
  #slotsVersion: number;
  #receivedBytes = 0;
  /**
   * A way that takes longer for a frame than silence is suffered would have the session begun again and again, each with all that was sent before: from one to the
   * next there is twice the patience, until the primary has nothing more to send.
   */
  #patience = 1;
  /** Likewise for hellos: one that is said before the answer to the last one is there makes that answer worthless. */
  #helloPatience = 1;
  #assembler = new EntryAssembler();
  #sink: SlotSink | undefined;
  #isSinkDue = false;
  /** Pieces of a message that is not whole yet. */
  #pieces: Uint8Array[] = [];
  #pieceType: "effects" | "stream" = "stream";
  #hasConfirmed = false;
  #isAckDue = false;
  #isClosed = false;
  #followedAtMs: number;
  /** When it heard last that more was committed, or all of it was. */
  #settledAtMs: number;
  /**
   * It has followed nobody for long: nobody will tell it what is committed of what it holds, unless somebody leads the shard again. Or it follows one who cannot commit
   * what it has written: too few are in sync, or another one leads that it does not hear of.
   */
  isStranded = false;
  /** Why it does not follow, in words; `undefined` while it does. */
  #refusal: string | undefined = "it has not been answered yet";
  /** The log is whole: this node holds what the primary held at the log's end. */
  #isWhole: boolean;
  #committed: number;

  readonly #follow: EntryVisitor = {
    effect: (slot, args) => {
      this.#host.gate.logged(slot, this.#host.log.openSequence);
      this.#host.apply(slot, args, false);
    },
    epoch: () => undefined,
  };
  readonly #fill: EntryVisitor = {
    effect: (slot, args) => {
      if (this.#sink === undefined || (slot >= 0 && !this.#sink.takes(slot))) return;
      const problem = this.#host.apply(slot, args, true);
      const isExplained = this.#sink.isFilling(slot) && isOfMissingKeys(problem ?? "");
      // It must not be taken for level without it.
      if (problem !== undefined && !isExplained) this.#end(`what its primary has done cannot be done here: ${problem}`);
    },
    epoch: () => undefined,
  };

  /**
   * @param isWhole Whether the log goes on from an earlier role: this node led the shard, or followed another primary.
   * @param committed Up to where it is known to be committed.
   */
  constructor(host: ReplicaHost, shard: ShardRecord, isWhole: boolean, committed: number) {
    this.#host = host;
    this.#shard = shard;
    this.#isWhole = isWhole;
    this.#committed = committed;
    this.#slotsVersion = host.mapVersion();
    this.#followedAtMs = host.nowMs();
    this.#settledAtMs = this.#followedAtMs;
    host.gate.setCommitted(committed);
    this.tick();
  }

  get isWhole(): boolean {
    return this.#isWhole;
  }

  get committed(): number {
    return this.#committed;
  }

  /** Whether it follows its primary at this moment. */
  get isFollowing(): boolean {
    return this.#isOpen && this.#sink === undefined;
  }

  get isFilling(): boolean {
    return this.#sink !== undefined;
  }

  /** Why it does not follow, in words. */
  get refusal(): string | undefined {
    return this.isFollowing ? undefined : this.#refusal;
  }

  /**
   * Whether the log may still lack keys of slots that have come to the shard. The scenario: this node is not in sync, and slow; slots have moved here, for the
   * shard's other members have their keys; it hears so before it has them, and says of each that there is none.
   */
  get isBehindMap(): boolean {
    return this.#levelMapVersion < this.#slotsVersion;
  }

  shardChanged(shard: ShardRecord): void {
    if (shard.slots !== this.#shard.slots) this.#slotsVersion = this.#host.mapVersion();
    const isOther =
      shard.primary !== this.#shard.primary || shard.primaryIncarnation !== this.#shard.primaryIncarnation;
    const mayGoOn = shard.version !== this.#shard.version && !this.#isOpen;
    this.#shard = shard;
    if (isOther) this.#end("the shard has another primary");
    // What kept it from following may have changed.
    if (isOther || mayGoOn) this.#hello();
  }

  close(): void {
    this.#isClosed = true;
    this.#end("this node is no replica of the shard any more");
  }

  /** Says hello again if it was not answered, or nothing has come for a while. Called every 50 ms or so. */
  tick(): void {
    const { silenceMs, retryMs } = this.#host;
    const nowMs = this.#host.nowMs();
    if (this.#isOpen && nowMs - this.#heardAtMs > silenceMs * this.#patience) {
      this.#patience = Math.min(this.#patience * 2, MAX_PATIENCE);
      this.#end("its primary is silent");
    }
    if (!this.#isOpen && nowMs - this.#saidHelloAtMs >= retryMs * this.#helloPatience) this.#hello();
    if (this.#isOpen) this.#followedAtMs = nowMs;
    if (!this.#isWhole || this.#committed >= this.#host.log.last) this.#settledAtMs = nowMs;
    const sinceMs = Math.min(this.#followedAtMs, this.#settledAtMs);
    this.isStranded = nowMs - sinceMs > silenceMs * STRANDED_SILENCES;
    // Reads that changed nothing; but a reply that is written already can become no other one.
    if (this.isStranded && this.#host.gate.waitingCount > 0)
      this.#host.gate.break("nobody knows what of it is committed");
  }

  /** The link to the primary broke. */
  linkLost(): void {
    if (this.#isOpen) this.#end("the link to its primary broke");
  }

  received(from: NodeId, message: ReplicationMessage): void {
    if (this.#isClosed || from !== this.#shard.primary || message.session !== this.#session) return;
    this.#heardAtMs = this.#host.nowMs();
    this.#helloPatience = 1;
    switch (message.type) {
      case "refused":
        this.#end(message.reason);
        return;
      case "begin":
      case "entries":
      case "effects":
      case "stream":
      case "level":
        if (message.number !== this.#number) {
          this.#end("a frame from its primary was lost");
          return;
        }
        this.#number += 1;
        this.#took(message);
        return;
      default:
        // A replica says these.
        this.#end(`its primary said ${message.type}`);
    }
  }

  #took(message: Extract<ReplicationMessage, { readonly number: number }>): void {
    if ((message.type === "begin") === this.#isOpen) {
      this.#end(`its primary said ${message.type} at a wrong time`);
      return;
    }
    switch (message.type) {
      case "begin":
        this.#begin(message);
        return;
      case "entries":
        this.#receivedBytes += message.bytes.length;
        this.mapVersion = message.mapVersion;
        this.#entries(message.bytes, message.committed);
        if (message.isEnd && this.isFollowing) this.#levelMapVersion = message.mapVersion;
        return;
      case "effects":
      case "stream":
        this.#receivedBytes += message.bytes.length;
        this.#ackSoon();
        this.#filled(message);
        return;
      case "level":
        if (this.#sink === undefined) return this.#end("its primary sent a level that was not asked for");
        this.#sink = undefined;
        // What was answered meanwhile depends on places of the log that it had before.
        this.#host.gate.break("this node was being filled");
        this.#host.log.reset(message.position, message.history);
        this.#isWhole = true;
        // Whatever it holds by now was read at the primary before it was committed there: reads wait until it is. What was committed of the log that it had
        // says nothing of this one, which may be shorter, where data were given up.
        this.#committed = 0;
        this.#host.gate.setCommitted(0);
        this.#host.gate.logged(-1, message.position.sequence);
        this.#host.events.info("replica is filled", { sequence: message.position.sequence });
        this.#ackSoon();
        return;
      default:
        message satisfies never;
    }
  }

  /** What comes while it is filled: the pieces of a message together. */
  #filled({ type, bytes, isLast }: Extract<ReplicationMessage, { readonly isLast: boolean }>): void {
    const sink = this.#sink;
    if (sink === undefined) return this.#end(`its primary sent ${type} while it does not fill`);
    if (this.#pieces.length > 0 && this.#pieceType !== type) return this.#end("its primary mixed two messages");
    this.#pieceType = type;
    this.#pieces.push(bytes);
    if (!isLast) return;
    const pieces = this.#pieces;
    this.#pieces = [];
    const whole = pieces.length === 1 ? bytes : Buffer.concat(pieces);
    if (type === "stream") this.#answer(sink.receive(whole));
    else if (!this.#reader.visit(whole, 0, this.#fill)) this.#end("its primary sent damaged effects");
  }

  /** Says what the stream's end answers, and has it go on with what it has to do: a slot with many keys is not emptied in one turn. */
  #answer(bytes: Uint8Array | undefined): void {
    const sink = this.#sink;
    if (sink === undefined) return;
    if (sink.refusal !== undefined) return this.#end(`its primary sent a stream that makes no sense: ${sink.refusal}`);
    const { primary } = this.#shard;
    const session = this.#session;
    if (bytes !== undefined) this.#host.send(primary, { type: "answer", session, bytes });
    if (sink.isDone && !this.#hasConfirmed) {
      this.#hasConfirmed = true;
      this.#host.send(primary, { type: "answer", session, bytes: NOTHING });
    }
    if (!sink.hasWork || this.#isSinkDue) return;
    this.#isSinkDue = true;
    this.#host.soon(() => {
      this.#isSinkDue = false;
      // Another session may have begun another stream meanwhile.
      if (this.#sink !== undefined) this.#answer(this.#sink.step());
    });
  }

  #begin({ epoch, isFill, mapVersion }: Extract<ReplicationMessage, { readonly type: "begin" }>): void {
    const { self, events, log } = this.#host;
    const { inSync, eligible, primaryEpoch } = this.#shard;
    if (epoch !== primaryEpoch) return this.#end(`its primary is in epoch ${epoch}, and its map in ${primaryEpoch}`);
    if (isFill && (inSync.includes(self) || eligible.includes(self))) {
      return this.#end("it would be filled, and is in sync or eligible by its map");
    }
    if (!isFill && !this.#isWhole) return this.#end("it has nothing that could be gone on from");
    this.#isOpen = true;
    this.mapVersion = mapVersion;
    this.#refusal = undefined;
    this.#assembler = new EntryAssembler();
    if (isFill) {
      // From here on this node holds nothing that counts. What waits to be told was read of what is now overwritten, and its place in the log may get another entry.
      this.#host.gate.break("this node is filled anew: what it held is not the shard's");
      this.#isWhole = false;
      this.#levelMapVersion = 0;
      this.#refusal = "it is being filled";
      this.#sink = this.#host.startSink();
      this.#hasConfirmed = false;
      this.#pieces = [];
    }
    events.info(isFill ? "this node is being filled" : "this node follows", {
      primary: this.#shard.primary,
      epoch,
      sequence: log.last,
    });
    this.#ackSoon();
  }

  #entries(bytes: Uint8Array, committed: number): void {
    if (bytes.length === 0) this.#patience = 1;
    const { log } = this.#host;
    let isDamaged = !this.isFollowing;
    if (!isDamaged) {
      this.#assembler.push(bytes, (all, start, end) => {
        if (isDamaged || !this.#reader.visit(all, start, this.#follow)) isDamaged = true;
        else log.appendEntry(all, start, end);
      });
    }
    if (isDamaged || this.#assembler.isBroken) {
      // Half an entry may have been applied.
      this.#isWhole = false;
      this.#end("its primary sent a damaged entry");
      return;
    }
    const known = Math.min(committed, log.last);
    if (known > this.#committed) {
      this.#committed = known;
      this.#settledAtMs = this.#host.nowMs();
      this.#host.gate.setCommitted(known);
    }
    this.#ackSoon();
  }

  #ackSoon(): void {
    if (this.#isAckDue) return;
    this.#isAckDue = true;
    this.#host.soon(() => {
      this.#isAckDue = false;
      const { log, ringBytes } = this.#host;
      log.trim(ringBytes, log.openSequence);
      if (!this.#isOpen) return;
      const sequence = this.#sink === undefined ? this.#host.log.last : 0;
      this.#host.send(this.#shard.primary, {
        type: "ack",
        session: this.#session,
        sequence,
        bytes: this.#receivedBytes,
      });
    });
  }

  #hello(): void {
    if (this.#isClosed) return;
    const { log, start } = this.#host;
    const { id, primary, primaryEpoch } = this.#shard;
    this.#saidHelloAtMs = this.#host.nowMs();
    // Its map is older than its log: it waits for the map. (A log that is not whole may be another shard's.)
    if (this.#isWhole && log.epoch > primaryEpoch) return;
    this.#session = this.#host.nextSession();
    this.#number = 0;
    this.#receivedBytes = 0;
    const isSent = this.#host.send(primary, {
      type: "hello",
      session: this.#session,
      shard: id,
      epoch: primaryEpoch,
      start,
      position: this.#isWhole ? log.position : undefined,
    });
    this.#helloPatience = isSent ? Math.min(this.#helloPatience * 2, MAX_HELLO_PATIENCE) : 1;
  }

  #end(reason: string): void {
    if (this.#refusal !== reason && !this.#isClosed)
      this.#host.events.info("this node does not follow", { primary: this.#shard.primary, reason });
    this.#refusal = reason;
    this.#isOpen = false;
    this.#sink = undefined;
    this.#pieces = [];
    this.#session = 0;
  }
}

const NOTHING = new Uint8Array(0);
