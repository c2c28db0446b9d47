/**
 * Simulated streams, as two pipes, one a direction.
 *
 * A stream here behaves like a TCP connection seen from a program:
 * - bytes arrive in order, cut and merged in any way;
 * - a write takes what there is room for: bytes count until the other side's program has read them and the news of that
 *   can come back;
 * - while the path is cut nothing is lost: the sender's kernel holds the bytes and sends them again after the cut;
 * - a reset overtakes what is on its way, and is not sent again if it meets a cut: the other side stays with half a stream
 *   until it writes to it and is told so by the kernel that has forgotten the stream;
 * - when the power of a machine goes, nobody tells the others anything.
 *
 * A kernel outlives its process. Hence `isGone`: the kernel of that side has forgotten the stream, although what it still
 * has to send may be on its way.
 */

import { present } from "../../src/assert.ts";
import { copyBytes } from "../../src/codec/copy-bytes.ts";
import type { Stream, StreamHandler } from "../../src/world.ts";
import type { Path } from "./sim-path.ts";
import { formatMs, type Trace } from "./sim-log.ts";
import type { ScheduledEvent, Scheduler, SimProcess } from "./sim-scheduler.ts";

/** At most so many bytes are handed to a program at once: the size of a usual read buffer. */
const LARGEST_READ_BYTES = 65_536;

/** How long the kernel waits for the other side's end after it sent its own, in microseconds: Linux' 60 s. */
const LINGER_US = 60_000_000;

/** What a machine has to do with its streams. */
export interface StreamMachine {
  readonly name: string;
  readonly isPowered: boolean;
  readonly streams: Set<SimStream>;
}

/** What all streams of a simulation share. */
export interface StreamContext {
  readonly scheduler: Scheduler;
  readonly trace: Trace;
}

type SegmentKind = "open" | "data" | "end" | "reset";

interface Segment {
  readonly kind: SegmentKind;
  readonly bytes: Uint8Array | undefined;
  /** `Infinity`: held until the path is whole, or the machine there has power. */
  arrivalUs: number;
}

/** One direction of a stream. */
export class Pipe {
  readonly sender: SimStream;
  readonly receiver: SimStream;
  readonly forward: Path;
  readonly backward: Path;
  readonly #context: StreamContext;
  /** On the way, in order of arrival. */
  #flight: Segment[] = [];
  /** Taken from the sender, and not known to be read by the other side. */
  #unackedBytes = 0;
  /** Read by the other side, which cannot tell because the way back is cut. */
  #heldAckBytes = 0;
  #lastArrivalUs = 0;
  #isHeld = false;
  #heldSinceUs = 0;
  #arrival: ScheduledEvent | undefined = undefined;
  #roomNews: ScheduledEvent | undefined = undefined;
  // What has arrived, and was not handed over.
  #unread: Uint8Array[] = [];
  #takenOfFirst = 0;
  #unreadBytes = 0;
  #hasOpened = false;
  #hasEnded = false;
  #delivery: ScheduledEvent | undefined = undefined;

  constructor(context: StreamContext, sender: SimStream, receiver: SimStream, forward: Path, backward: Path) {
    this.#context = context;
    this.sender = sender;
    this.receiver = receiver;
    this.forward = forward;
    this.backward = backward;
    forward.pipes.add(this);
  }

  get unackedBytes(): number {
    return this.#unackedBytes;
  }

  get unreadBytes(): number {
    return this.#unreadBytes;
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** How many more bytes it takes. */
  get room(): number {
    return Math.max(0, this.forward.settings.sendBufferBytes - this.#unackedBytes);
  }

  /** Sends something after all that was sent before; a reset overtakes that. */
  send(kind: SegmentKind, bytes?: Uint8Array): void {
    const { scheduler } = this.#context;
    const departureUs = scheduler.nowFor(this.sender.process);
    if (kind === "reset") {
      if (!this.forward.isCut) this.#sendReset(departureUs + this.forward.latencyUs());
      return;
    }
    if (bytes !== undefined) this.#unackedBytes += bytes.length;
    if (this.forward.isCut) this.#hold();
    let arrivalUs = Infinity;
    if (!this.#isHeld) {
      const transmissionUs = ((bytes?.length ?? 0) * this.forward.settings.microsecondsPerKib) / 1024;
      arrivalUs = Math.max(this.#lastArrivalUs, departureUs + this.forward.latencyUs()) + Math.ceil(transmissionUs);
      this.#lastArrivalUs = arrivalUs;
    }
    this.#flight.push({ kind, bytes, arrivalUs });
    this.#awaitArrival();
  }

  /** The path was cut: what is on its way is lost, and held to be sent again. */
  pathCut(): void {
    if (this.#flight.length > 0) this.#hold();
  }

  /** The path is whole again, or the machine at its end has power again. */
  pathOpened(): void {
    if (!this.#isHeld || this.forward.isCut) return;
    this.#isHeld = false;
    const { nowUs } = this.#context.scheduler;
    // The longer the outage, the longer the pauses between two attempts have grown.
    const pauseUs = Math.min(nowUs - this.#heldSinceUs, this.forward.settings.retransmitMaxMs * 1000);
    let arrivalUs = nowUs + this.forward.latencyUs() + Math.floor(this.forward.random.fraction() * pauseUs);
    for (const segment of this.#flight) {
      if (segment.arrivalUs !== Infinity) continue;
      arrivalUs += Math.ceil(((segment.bytes?.length ?? 0) * this.forward.settings.microsecondsPerKib) / 1024);
      segment.arrivalUs = arrivalUs;
    }
    this.#lastArrivalUs = arrivalUs;
    this.#awaitArrival();
  }

  /** The way back is whole again: the sender learns what the other side has read. */
  wayBackOpened(): void {
    const bytes = this.#heldAckBytes;
    this.#heldAckBytes = 0;
    if (bytes > 0) this.#acknowledge(bytes);
  }

  /** The receiving side's kernel has forgotten the stream: whatever still arrives meets the kernel, not a program. */
  receiverGone(): void {
    this.#delivery?.cancel();
    this.#unread = [];
    this.#takenOfFirst = 0;
    this.#unreadBytes = 0;
    this.#arrival?.cancel();
    this.#arrival = undefined;
    if (this.#flight.length === 0 && this.sender.isGone) this.close();
    else this.#awaitArrival();
  }

  /** The sending side's power went: what was not on the wire is lost. */
  senderPowerLost(): void {
    this.#flight = this.#flight.filter((segment) => segment.arrivalUs !== Infinity);
  }

  /** To be called when the receiver may take more than before. */
  awaitDelivery(delayUs: number): void {
    if (this.#delivery?.isPending === true) return;
    const { scheduler } = this.#context;
    this.#delivery = scheduler.at(scheduler.nowUs + delayUs, this.receiver.process, "stream read", () =>
      this.#deliver(),
    );
  }

  /** Nothing is sent here any more. */
  close(): void {
    this.#flight = [];
    this.#arrival?.cancel();
    this.#roomNews?.cancel();
    this.forward.pipes.delete(this);
  }

  #sendReset(arrivalUs: number): void {
    while ((this.#flight.at(-1)?.arrivalUs ?? 0) > arrivalUs) this.#flight.pop();
    this.#flight.push({ kind: "reset", bytes: undefined, arrivalUs });
    this.#arrival?.cancel();
    this.#awaitArrival();
  }

  #hold(): void {
    const { scheduler } = this.#context;
    for (const segment of this.#flight) if (segment.arrivalUs > scheduler.nowUs) segment.arrivalUs = Infinity;
    // A reset is not sent again.
    this.#flight = this.#flight.filter((segment) => segment.kind !== "reset" || segment.arrivalUs !== Infinity);
    if (this.#isHeld) return;
    this.#isHeld = true;
    const sinceUs = scheduler.nowUs;
    this.#heldSinceUs = sinceUs;
    const timeoutUs = this.forward.settings.streamTimeoutMs * 1000;
    scheduler.at(sinceUs + timeoutUs, this.sender.process, "stream times out", () => {
      if (this.#isHeld && this.#heldSinceUs === sinceUs && this.#flight.length > 0) this.sender.finish("timed-out");
    });
  }

  #awaitArrival(): void {
    const first = this.#flight[0];
    if (first === undefined || first.arrivalUs === Infinity || this.#arrival?.isPending === true) return;
    // A dead process' events never run: then it is the kernel's.
    const process = this.receiver.isGone ? undefined : this.receiver.process;
    this.#arrival = this.#context.scheduler.at(first.arrivalUs, process, "stream arrival", () => this.#arrive());
  }

  #arrive(): void {
    if (this.receiver.isGone) {
      this.#arriveAtKernel();
      return;
    }
    const { scheduler, trace } = this.#context;
    let taken = 0;
    for (const segment of this.#flight) {
      if (segment.arrivalUs > scheduler.nowUs) break;
      taken++;
      if (segment.kind === "reset") {
        this.#flight = [];
        this.receiver.finish("reset");
        return;
      }
      if (segment.kind === "open") this.#hasOpened = true;
      if (segment.kind === "end") this.#hasEnded = true;
      if (segment.bytes !== undefined) {
        trace.mixBytes(segment.bytes);
        this.#unread.push(segment.bytes);
        this.#unreadBytes += segment.bytes.length;
      }
    }
    if (taken > 0) this.#flight.splice(0, taken);
    this.#awaitArrival();
    // If a read is under way already, what came is merged with what is there.
    if (this.#delivery?.isPending !== true) this.#deliver();
  }

  #arriveAtKernel(): void {
    if (!this.receiver.machine.isPowered) {
      // Nobody there: the sender's kernel tries again, until the power is back.
      this.#hold();
      this.#flight = this.#flight.filter((segment) => segment.kind !== "reset");
      for (const segment of this.#flight) segment.arrivalUs = Infinity;
      return;
    }
    const isReset = this.#flight[0]?.kind === "reset";
    this.#flight = [];
    if (this.sender.isGone) this.close();
    else if (!isReset) this.receiver.out.send("reset");
  }

  /** Hands one thing over to the receiving program, and comes back for the next. */
  #deliver(): void {
    const receiver = this.receiver;
    if (receiver.isGone) return;
    if (this.#hasOpened) {
      this.#hasOpened = false;
      this.#comeBack(0);
      receiver.open();
    } else if (receiver.isPaused) {
      return;
    } else if (this.#unreadBytes > 0) {
      const random = this.forward.random;
      let size = Math.min(this.#unreadBytes, LARGEST_READ_BYTES);
      let delayUs = 0;
      if (size > 1 && random.chance(this.forward.settings.splitChance)) {
        // Tiny pieces find more than halves do.
        size = 1 + random.below(random.chance(0.3) ? Math.min(size - 1, 8) : size - 1);
        delayUs = random.below(1000);
      }
      const bytes = this.#take(size);
      if (this.backward.isCut) this.#heldAckBytes += size;
      else this.#acknowledge(size);
      this.#comeBack(delayUs);
      receiver.handler?.data(receiver, bytes);
    } else if (this.#hasEnded) {
      receiver.finish(undefined);
    }
  }

  #comeBack(delayUs: number): void {
    if (this.#hasOpened || this.#unreadBytes > 0 || this.#hasEnded) this.awaitDelivery(delayUs);
  }

  #take(size: number): Uint8Array {
    this.#unreadBytes -= size;
    const first = this.#unread[0];
    if (first?.length === size && this.#takenOfFirst === 0) {
      this.#unread.shift();
      return first;
    }
    const bytes = new Uint8Array(size);
    let filled = 0;
    while (filled < size) {
      const piece = present(this.#unread[0], "what is unread is there");
      const count = Math.min(piece.length - this.#takenOfFirst, size - filled);
      copyBytes(piece, this.#takenOfFirst, this.#takenOfFirst + count, bytes, filled);
      filled += count;
      this.#takenOfFirst += count;
      if (this.#takenOfFirst < piece.length) break;
      this.#unread.shift();
      this.#takenOfFirst = 0;
    }
    return bytes;
  }

  #acknowledge(bytes: number): void {
    this.#unackedBytes -= bytes;
    const sender = this.sender;
    if (!sender.wantsRoom || sender.isGone || this.#roomNews?.isPending === true) return;
    const { scheduler } = this.#context;
    this.#roomNews = scheduler.at(
      scheduler.nowUs + this.backward.latencyUs(),
      sender.process,
      "stream writable",
      () => {
        if (!sender.wantsRoom || sender.isGone) return;
        sender.wantsRoom = false;
        sender.handler?.writable(sender);
      },
    );
  }
}

type Phase = "connecting" | "open" | "closed";

/** One side of a stream. */
export class SimStream implements Stream {
  readonly process: SimProcess;
  readonly machine: StreamMachine;
  readonly localAddress: string;
  readonly remoteAddress: string;
  /** `undefined` at the accepting side until the program has taken the stream. */
  handler: StreamHandler | undefined = undefined;
  /** This side's kernel has forgotten it. */
  isGone = false;
  isPaused = false;
  /** The program was told that there is no room, and waits for `writable`. */
  wantsRoom = false;
  readonly #context: StreamContext;
  readonly #openedAtUs: number;
  #phase: Phase = "connecting";
  #hasEnded = false;
  #out: Pipe | undefined = undefined;
  #in: Pipe | undefined = undefined;

  constructor(
    context: StreamContext,
    process: SimProcess,
    machine: StreamMachine,
    localAddress: string,
    remoteAddress: string,
  ) {
    this.#context = context;
    this.process = process;
    this.machine = machine;
    this.localAddress = localAddress;
    this.remoteAddress = remoteAddress;
    this.#openedAtUs = context.scheduler.nowUs;
    machine.streams.add(this);
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** The direction away from here. There is one once the other side's kernel has taken the stream. */
  get out(): Pipe {
    if (this.#out === undefined) throw new Error("Cannot use a stream that nobody has taken yet");
    return this.#out;
  }

  /** Joins two sides. */
  static join(context: StreamContext, client: SimStream, server: SimStream, forward: Path, backward: Path): void {
    const toServer = new Pipe(context, client, server, forward, backward);
    const toClient = new Pipe(context, server, client, backward, forward);
    client.#out = toServer;
    client.#in = toClient;
    server.#out = toClient;
    server.#in = toServer;
    server.#phase = "open";
  }

  write(bytes: Uint8Array, start: number, end: number): number {
    const { scheduler } = this.#context;
    if (!this.process.isAlive) return 0;
    scheduler.called(this.process);
    if (this.#phase !== "open" || this.#hasEnded || this.isGone) return 0;
    const out = this.out;
    const asked = end - start;
    let count = Math.min(asked, out.room);
    const { settings, random } = out.forward;
    if (count > 1 && random.chance(settings.shortWriteChance)) count = 1 + random.below(count);
    if (count < asked) this.wantsRoom = true;
    if (count > 0) out.send("data", bytes.slice(start, start + count));
    return count;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    if (this.process.isAlive && !this.isGone) this.#in?.awaitDelivery(0);
  }

  end(): void {
    if (!this.process.isAlive || this.#phase === "closed" || this.#hasEnded) return;
    if (this.#phase === "connecting") {
      this.destroy();
      return;
    }
    const { scheduler } = this.#context;
    scheduler.called(this.process);
    this.#hasEnded = true;
    this.wantsRoom = false;
    this.out.send("end");
    scheduler.at(scheduler.nowUs + LINGER_US, this.process, "stream lingers", () => this.finish("timed-out"));
  }

  destroy(): void {
    if (!this.process.isAlive || this.#phase === "closed" || this.isGone) return;
    const { scheduler } = this.#context;
    scheduler.called(this.process);
    this.#leave();
    scheduler.at(scheduler.nowUs, this.process, "stream destroyed", () => this.#tellClosed(undefined));
  }

  /** The process was killed: its kernel closes what it left. */
  processKilled(): void {
    if (this.#phase === "closed" || this.isGone) return;
    this.#leave();
    this.#phase = "closed";
  }

  /** The power went: nobody closes anything. */
  powerLost(): void {
    this.isGone = true;
    this.#phase = "closed";
    this.machine.streams.delete(this);
    this.#out?.senderPowerLost();
    this.#in?.receiverGone();
  }

  /** Something between the two sides (a firewall, a router) breaks the stream: both are told, whatever is cut. */
  breakOff(): void {
    const { scheduler } = this.#context;
    const peer = this.#out?.receiver;
    scheduler.at(scheduler.nowUs, this.process, "stream broken off", () => this.finish("reset"));
    if (peer === undefined) return;
    const latencyUs = this.out.forward.latencyUs();
    scheduler.at(scheduler.nowUs + latencyUs, peer.process, "stream broken off", () => peer.finish("reset"));
  }

  /** The connecting side learns that the other one took the stream. */
  open(): void {
    if (this.#phase !== "connecting" || this.isGone) return;
    this.#phase = "open";
    this.handler?.opened?.(this);
  }

  /** The stream is over, and the program is told. In an event of its process. */
  finish(reason: string | undefined): void {
    if (this.#phase === "closed" || this.isGone) return;
    this.isGone = true;
    this.machine.streams.delete(this);
    // What was taken before still goes out after an orderly end; nothing does after another.
    if (reason !== undefined) this.#out?.close();
    else if (!this.#hasEnded) this.#out?.send("end");
    this.#hasEnded = true;
    this.#in?.receiverGone();
    this.#tellClosed(reason);
  }

  /** Why it is not idle, for a run that does not end; `undefined` if it is. */
  explain(): string | undefined {
    const name = `${this.localAddress} -> ${this.remoteAddress}`;
    if (this.#phase === "connecting") return `${name} is being opened since ${formatMs(this.#openedAtUs)} ms`;
    const facts: string[] = [];
    const out = this.#out;
    if (out !== undefined && out.unackedBytes > 0) {
      facts.push(`${out.unackedBytes} bytes not read by the other side${out.isHeld ? ", held by a cut" : ""}`);
    }
    if (this.wantsRoom) facts.push("waits for room");
    if (this.isPaused) facts.push(`paused, ${this.#in?.unreadBytes ?? 0} bytes unread`);
    if (this.#hasEnded) facts.push("waits for the other side's end");
    return facts.length === 0 ? undefined : `${name}: ${facts.join("; ")}`;
  }

  /** This side's kernel closes the stream without asking the other: by a reset, or by an end after what was taken. */
  #leave(): void {
    this.isGone = true;
    this.machine.streams.delete(this);
    this.#in?.receiverGone();
    const out = this.#out;
    if (out === undefined) return;
    if (out.forward.random.chance(0.5)) out.send("reset");
    else if (!this.#hasEnded) out.send("end");
    this.#hasEnded = true;
  }

  #tellClosed(reason: string | undefined): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.#context.trace.event(this.#context.scheduler.nowUs, this.machine.name, "stream closed", reason ?? "orderly");
    this.handler?.closed(this, reason);
  }
}
