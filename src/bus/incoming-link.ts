/**
 * A stream that another node opened: frames come in, after both sides have proved themselves.
 *
 * Before that a stranger gets no more than a message's memory and a bounded time, and at most one answer.
 */
import { FrameReader, encodeFrame } from "../codec/frame.ts";
import { HANDSHAKE_CHANNEL, type LinkKind, MAX_HANDSHAKE_BYTES } from "../codec/link-codec.ts";
import type { BusSender } from "../contracts/bus.ts";
import { FrameSeal, SEAL_BYTES } from "../protocol/link/frame-seal.ts";
import { LinkTaker } from "../protocol/link/handshake.ts";
import type { Stream, StreamHandler } from "../world.ts";
import { type LinkHost, type LinkReason, PROOF_LIMITS } from "./link-host.ts";

/** The longest payload of a frame: an entry of the map's log with what goes around it. */
export const MAX_FRAME_BYTES = 4 * 1024 * 1024;

export interface IncomingEvents {
  /** A frame of somebody who has proved to be `sender`. */
  deliver(kind: LinkKind, sender: BusSender, channel: number, payload: Uint8Array): void;
  /** @returns Whether that tells of the node. */
  closed(link: IncomingLink): boolean;
}

export class IncomingLink implements StreamHandler {
  /** Who has proved to be on the other side. */
  sender: BusSender | undefined;
  readonly createdAtMs: number;
  readonly #host: LinkHost;
  readonly #events: IncomingEvents;
  readonly #stream: Stream;
  readonly #reader = new FrameReader(MAX_HANDSHAKE_BYTES);
  readonly #silence;
  #taker: LinkTaker | undefined;
  #seal: FrameSeal | undefined;
  #answeredAs = "";
  // What is still to be written of an answer or a refusal.
  #out: Uint8Array | undefined;
  /** Nothing more is read. */
  #isOver = false;

  constructor(host: LinkHost, stream: Stream, events: IncomingEvents) {
    this.#host = host;
    this.#events = events;
    this.#stream = stream;
    this.createdAtMs = host.clock.monotonicMs();
    this.#silence = host.clock.after(host.settings.connectTimeoutMs * PROOF_LIMITS, () => {
      if (this.sender === undefined) stream.destroy();
    });
  }

  /** What the other side has asked for; `undefined` while it has not. */
  get kind(): LinkKind | undefined {
    return this.#taker?.kind;
  }

  /** Of the secret by which it proves itself; `undefined` while that is not agreed. */
  get key(): Uint8Array | undefined {
    return this.#taker?.key;
  }

  data(_stream: Stream, bytes: Uint8Array): void {
    const { traffic } = this.#host;
    traffic.receivedBytes += bytes.length;
    this.#reader.push(bytes, (channel, payload) => {
      traffic.receivedFrames += 1;
      this.#received(channel, payload);
    });
    if (!this.#reader.isBroken || this.#isOver) return;
    if (this.sender === undefined) this.refuse("protocol", "it speaks another protocol");
    else this.refuse("frame", `a frame of more than ${MAX_FRAME_BYTES} bytes`);
  }

  writable(): void {
    this.#flush();
  }

  closed(): void {
    this.#silence.cancel();
    const tells = this.#events.closed(this);
    if (this.sender !== undefined && !this.#isOver && tells) this.#host.lost(this.sender.address, this.sender.nodeId);
    this.#isOver = true;
  }

  /** Ends it: nobody is told. */
  close(): void {
    this.#end();
    this.#stream.destroy();
  }

  /** @param message What is said to the other side before the stream ends. */
  refuse(reason: LinkReason, text: string, message?: Uint8Array): void {
    if (this.#isOver) return;
    this.#end();
    if (message === undefined) this.#stream.destroy();
    else this.#write(message);
    this.#host.refused("from", reason, text, this.#stream.remoteAddress);
  }

  #received(channel: number, payload: Uint8Array): void {
    const { sender, kind } = this;
    if (this.#seal !== undefined && sender !== undefined && kind !== undefined) {
      // This node has become another one meanwhile.
      if (this.#answeredAs !== this.#host.nodeId) return this.close();
      const opened = this.#seal.open(channel, payload);
      if (opened === undefined) this.refuse("frame", `a frame that node ${sender.nodeId} did not send there`);
      else this.#events.deliver(kind, sender, channel, opened);
    } else if (channel !== HANDSHAKE_CHANNEL) this.refuse("protocol", "it speaks another protocol");
    else if (this.#taker === undefined) this.#greeted(payload);
    else this.#proved(this.#taker, payload);
  }

  #greeted(payload: Uint8Array): void {
    const self = this.#host.self();
    this.#answeredAs = self.nodeId;
    this.#taker = new LinkTaker(self, this.#host.nonce());
    const verdict = this.#taker.greeted(payload);
    if (verdict.type === "refused" && verdict.reason === "self") this.#host.cameBack(payload);
    if (verdict.type === "refused") this.refuse(verdict.reason, verdict.text, verdict.refusal);
    else this.#write(verdict.answer);
  }

  #proved(taker: LinkTaker, payload: Uint8Array): void {
    const verdict = taker.proved(payload);
    if (verdict.type === "refused") {
      this.refuse(verdict.reason, verdict.text, verdict.refusal);
      return;
    }
    const { nodeId, host, port } = verdict.peer;
    this.#seal = new FrameSeal(verdict.linkKey);
    this.sender = { nodeId, address: { host, port } };
    this.#reader.maxBytes = MAX_FRAME_BYTES + SEAL_BYTES;
  }

  #end(): void {
    this.#isOver = true;
    this.#reader.isBroken = true;
  }

  #write(message: Uint8Array): void {
    this.#out = encodeFrame(HANDSHAKE_CHANNEL, message);
    this.#host.traffic.sentFrames += 1;
    this.#flush();
  }

  #flush(): void {
    if (this.#out === undefined) return;
    const taken = this.#stream.write(this.#out, 0, this.#out.length);
    this.#host.traffic.sentBytes += taken;
    this.#out = taken < this.#out.length ? this.#out.subarray(taken) : undefined;
    if (this.#out === undefined && this.#isOver) this.#stream.end();
  }
}
