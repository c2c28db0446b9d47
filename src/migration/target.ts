/**
 * A migration as the target's primary does it: takes the slots of one session, hidden, and writes all of it to its own shard's log.
 *
 * What is acknowledged is committed: the target's replicas have it. So the source knows, at the end, that no failover of the target takes anything back; and a
 * target whose replicas are slow is sent no more than the window.
 *
 * Whatever it holds already costs little: slots that are equal are not sent again. So a session keeps nothing for the next one.
 *
 * Where memory has run out another session would end as this one, again and again, and each takes what clients need: the source is told so, and has the task aborted.
 */
import { Buffer } from "node:buffer";
import type { MigrationMessage } from "../codec/migration-codec.ts";
import type { ArgumentList } from "../codec/resp-parser.ts";
import type { MigrationRecord, NodeId, SlotRange } from "../contracts/topology.ts";
import { messageOf } from "../errors.ts";
import { isOfMissingKeys } from "../replication/effect-runner.ts";
import { flushedSlots } from "../replication/log-operations.ts";
import { EntryReader, type EntryVisitor } from "../replication/shard-log.ts";
import type { SlotSink } from "../replication/slot-sink.ts";
import type { ReplyGate } from "../reply-gate.ts";
import type { Log } from "../world.ts";
import type { MigrationTerms } from "./source.ts";

export interface TargetHost {
  readonly events: Log;
  readonly gate: ReplyGate;
  soon(callback: () => void): void;
  send(to: NodeId, message: MigrationMessage): boolean;
  startSink(slots: readonly SlotRange[]): SlotSink;
  keysIn(slots: readonly SlotRange[]): number;
  /** Applies an effect to this node's keys, and to its log. @returns Why it failed: of a key that has not come yet it may. */
  run(args: ArgumentList): string | undefined;
  /** Removes all keys of slots, here and in the log. */
  flush(slots: readonly SlotRange[]): void;
  /** The version of the map that this node knows. */
  mapVersion(): number;
  /** Makes room for so many bytes. @returns Why nothing more can be taken, in words: memory has run out, and nothing may go for it. */
  memoryProblem(bytes: number): string | undefined;
}

export class MigrationTarget {
  readonly #host: TargetHost;
  readonly #session: number;
  readonly #record: MigrationRecord;
  readonly #terms: Omit<MigrationTerms, "target">;
  readonly #sink: SlotSink;
  readonly #reader = new EntryReader();
  /** The source's primary. */
  readonly from: NodeId;
  /** Of the next frame. */
  #number = 0;
  #receivedBytes = 0;
  #committedBytes = 0;
  /** Pieces of a message that is not whole yet. */
  #pieces: Uint8Array[] = [];
  #pieceType: "effects" | "stream" = "stream";
  #hasConfirmed = false;
  /** The source's last word, until this node knows of the fence. */
  #final: { readonly number: number; readonly fence: number } | undefined;
  #isSinkDue = false;
  #isAckDue = false;
  #isWaiting = false;
  #isOver = false;
  #hasHeard = true;

  readonly #visitor: EntryVisitor = {
    effect: (slot, args) => {
      if (slot < 0) this.#flushed(args);
      if (slot < 0 || !this.#sink.takes(slot)) return;
      const problem = this.#host.run(args);
      if (problem === undefined || (this.#sink.isFilling(slot) && isOfMissingKeys(problem))) return;
      // Something else is here than there, which the next session finds out; or it cannot be done here, and the task is given up: nothing is lost with that.
      this.end(`what was done at the source cannot be done here: ${problem}`, !isOfMissingKeys(problem));
    },
    epoch: () => undefined,
  };

  constructor(
    host: TargetHost,
    from: NodeId,
    session: number,
    record: MigrationRecord,
    terms: Omit<MigrationTerms, "target">,
  ) {
    this.#host = host;
    this.from = from;
    this.#session = session;
    this.#record = record;
    this.#terms = terms;
    this.#sink = host.startSink(record.slots);
    host.send(from, { type: "accepted", session, holdsKeys: host.keysIn(record.slots) > 0 });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Whether the session is of a task in these epochs. */
  isOf(session: number, { sourceEpoch, targetEpoch }: Omit<MigrationTerms, "target">): boolean {
    return (
      session === this.#session && sourceEpoch === this.#terms.sourceEpoch && targetEpoch === this.#terms.targetEpoch
    );
  }

  get session(): number {
    return this.#session;
  }

  get terms(): Omit<MigrationTerms, "target"> {
    return this.#terms;
  }

  /** Whether the source's primary has said anything since this was asked last: while a session goes on it does, several times a second. */
  takeHeard(): boolean {
    const hasHeard = this.#hasHeard && !this.#isOver;
    this.#hasHeard = false;
    return hasHeard;
  }

  received(message: MigrationMessage): void {
    if (this.#isOver || message.session !== this.#session) return;
    this.#hasHeard = true;
    switch (message.type) {
      case "effects":
      case "stream":
      case "final":
        if (message.number !== this.#number) return this.end("a frame of the source's primary was lost");
        this.#number += 1;
        if (message.type !== "final") this.#guarded(() => this.#took(message));
        else if (this.#hasConfirmed) {
          this.#final = message;
          this.mapChanged();
        } else this.end("the source's primary ended before its slots were through");
        return;
      case "closed":
        this.#isOver = true;
        return;
      default:
        this.end(`the source's primary said ${message.type}`);
    }
  }

  /** The map says something else; and the task goes on, with the same primaries. */
  mapChanged(): void {
    const final = this.#final;
    // Before it knows, it does not hold who asks for the slots, but sends them back: clients would go to and fro between the two.
    if (final === undefined || this.#host.mapVersion() < final.fence) return;
    this.#final = undefined;
    this.#whenCommitted(
      () => void this.#host.send(this.from, { type: "settled", session: this.#session, number: final.number }),
    );
  }

  /** Ends the session, and says so. @param isFinal There is no use in another one. */
  end(reason: string, isFinal = false): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#pieces = [];
    this.#host.events.info("migration session ended", { migration: this.#record.id, reason });
    this.#host.send(this.from, { type: "refused", session: this.#session, isFinal, reason });
  }

  #took({ type, bytes, isLast }: Extract<MigrationMessage, { readonly isLast: boolean }>): void {
    this.#receivedBytes += bytes.length;
    this.#ackSoon();
    if (bytes.length === 0 && this.#pieces.length === 0) return;
    if (this.#pieces.length > 0 && this.#pieceType !== type) return this.end("the source's primary mixed two messages");
    this.#pieceType = type;
    this.#pieces.push(bytes);
    if (!isLast) return;
    const whole = this.#pieces.length === 1 ? bytes : Buffer.concat(this.#pieces);
    this.#pieces = [];
    const problem = this.#host.memoryProblem(whole.length);
    if (problem !== undefined) return this.end(problem, true);
    if (type === "stream") this.#answer(this.#sink.receive(whole));
    else if (!this.#reader.visit(whole, 0, this.#visitor)) this.end("the source's primary sent damaged effects");
  }

  /** All keys of the task's slots are gone at the source. */
  #flushed(args: ArgumentList): void {
    const slots = flushedSlots(args) ?? [];
    const taken: SlotRange[] = [];
    for (const range of this.#record.slots) {
      for (let slot = range.first; slot <= range.last; slot += 1) {
        const isNamed = slots.some(({ first, last }) => first <= slot && slot <= last);
        if (isNamed && this.#sink.takes(slot)) taken.push({ first: slot, last: slot });
      }
    }
    this.#host.flush(taken);
  }

  /** Says what the stream's end answers, and has it go on with what it has to do: a slot with many keys is not emptied in one turn. */
  #answer(bytes: Uint8Array | undefined): void {
    const sink = this.#sink;
    if (this.#isOver) return;
    if (sink.refusal !== undefined) return this.end(sink.refusal, sink.lacksMemory);
    if (bytes !== undefined) this.#host.send(this.from, { type: "answer", session: this.#session, bytes });
    if (sink.isDone && !this.#hasConfirmed) {
      this.#hasConfirmed = true;
      this.#host.send(this.from, { type: "answer", session: this.#session, bytes: NOTHING });
    }
    if (!sink.hasWork || this.#isSinkDue) return;
    this.#isSinkDue = true;
    this.#host.soon(() => {
      this.#isSinkDue = false;
      if (!this.#isOver) this.#guarded(() => this.#answer(sink.step()));
    });
  }

  /** Takes something, or ends the session: of what was taken by half nothing may be acknowledged, and nothing may follow. */
  #guarded(take: () => void): void {
    try {
      take();
    } catch (thrown) {
      // What the machine has no memory for is refused by a RangeError, wherever it was wanted.
      const lacksMemory = thrown instanceof RangeError;
      const what = lacksMemory ? "there is no memory for what has come" : "what has come was not taken";
      this.end(`${what}: ${messageOf(thrown)}`, lacksMemory);
      if (!lacksMemory) throw thrown;
    }
  }

  // --- what is committed ---

  #ackSoon(): void {
    if (this.#isAckDue || this.#isWaiting || this.#isOver) return;
    this.#isAckDue = true;
    this.#host.soon(() => {
      this.#isAckDue = false;
      this.#isWaiting = true;
      const bytes = this.#receivedBytes;
      this.#whenCommitted(() => {
        this.#isWaiting = false;
        this.#committedBytes = bytes;
        this.#host.send(this.from, { type: "ack", session: this.#session, bytes });
        if (this.#receivedBytes > this.#committedBytes) this.#ackSoon();
      });
    });
  }

  /** Calls once everything that was done until now is committed in this shard. */
  #whenCommitted(callback: () => void): void {
    const { gate } = this.#host;
    const position = gate.positionOfAll;
    const released = (): void => {
      if (!this.#isOver) callback();
    };
    if (gate.mayLeave(position)) released();
    else gate.wait(position, { released, broken: (reason) => this.end(reason) });
  }
}

const NOTHING = new Uint8Array(0);
