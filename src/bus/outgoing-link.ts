/**
 * A stream that this node opened: frames go out, after both sides have proved themselves.
 *
 * 1. The stream is open: the hello goes out, and nothing else. What is to be sent waits.
 * 2. The answer came, and proves the other side: this side's proof goes out, and behind it all that waits, each frame sealed.
 * 3. From here on the other side has nothing more to say.
 *
 * A stream that breaks, or is refused, is opened again when there is something to send, after a pause that grows with each failure.
 */
import { Buffer } from "node:buffer";
import { FrameReader, encodeFrame } from "../codec/frame.ts";
import { HANDSHAKE_CHANNEL, type LinkKind, MAX_HANDSHAKE_BYTES } from "../codec/link-codec.ts";
import { BUS_PORT_OFFSET } from "../config.ts";
import type { BusAddress } from "../contracts/bus.ts";
import { FrameSeal, sealedLength } from "../protocol/link/frame-seal.ts";
import { LinkOpener, type LinkRefused } from "../protocol/link/handshake.ts";
import { isAmong } from "../protocol/link/secrets.ts";
import type { Stream, Timer } from "../world.ts";
import { type LinkHost, PROOF_LIMITS, STUCK_MS } from "./link-host.ts";

/** Frames that wait are written together up to so many bytes: about what a socket takes at once. */
const PIECE_BYTES = 64 * 1024;

/** It took the stream, and proved nothing. People who look for a cluster give the port for clients easily. */
const NOT_A_NODE = `what listens there did not answer as a node does; the port for nodes is the one for clients + ${BUS_PORT_OFFSET}, unless --bus-port says another`;

interface Waiting {
  readonly channel: number;
  readonly bytes: Uint8Array;
}

export class OutgoingLink {
  readonly kind: LinkKind;
  /** The node that has proved itself; empty while none has. */
  nodeId = "";
  /** Of the secret by which both sides have proved themselves; `undefined` while they have not. */
  key: Uint8Array | undefined;
  queuedBytes = 0;
  createdAtMs = 0;
  readonly #host: LinkHost;
  readonly #address: BusAddress;
  #stream: Stream | undefined;
  #isOpen = false;
  #isClosing = false;
  #isToSelf = false;
  #opener: LinkOpener | undefined;
  #answers = new FrameReader(MAX_HANDSHAKE_BYTES);
  #seal: FrameSeal | undefined;
  #refusal: LinkRefused | undefined;
  #limit: Timer | undefined;
  // Frames that wait for the other side's proof, and those that are sealed.
  #waiting: Waiting[] = [];
  #queue: Uint8Array[] = [];
  // What is being written: one frame or several, how many, and the bytes of it that the machine has taken.
  #piece: Uint8Array | undefined;
  #framesOfPiece = 0;
  #sentOfPiece = 0;
  #isFlushDue = false;
  #failures = 0;
  #retryAtMs = 0;
  #takenAtMs = 0;
  #usedAtMs = 0;
  #isResting = false;
  // The last try ended at somebody who proved nothing.
  #wasNoNode = false;
  // As whom this node has greeted: see `NodeFacts.id`.
  #greetedAs = "";
  #openedAtMs = 0;

  constructor(host: LinkHost, address: BusAddress, kind: LinkKind) {
    this.#host = host;
    this.#address = address;
    this.kind = kind;
  }

  /** The address is this node's own: what this link sent came in here. */
  get isToSelf(): boolean {
    return this.#isToSelf;
  }

  /** A hello has come in here that names this node: if it is this link's, the link leads here. */
  cameBack(hello: Uint8Array): void {
    if (this.#opener !== undefined && Buffer.compare(this.#opener.hello, hello) === 0) this.#isToSelf = true;
  }

  /** There is a stream, open or on its way. */
  get hasStream(): boolean {
    return this.#stream !== undefined;
  }

  /** There is nothing to remember of it: neither a stream nor a failure that is not over. */
  isIdle(nowMs: number): boolean {
    return this.#stream === undefined && nowMs >= this.#retryAtMs;
  }

  /** Both sides have proved themselves. */
  get isOpen(): boolean {
    return this.#seal !== undefined;
  }

  /** @param isTurnOver See `Bus.send`. @returns False if it is dropped. */
  send(channel: number, bytes: Uint8Array, isTurnOver: boolean): boolean {
    const { clock, settings } = this.#host;
    const nowMs = clock.monotonicMs();
    if (this.#stream !== undefined && this.queuedBytes > 0 && nowMs - this.#takenAtMs > STUCK_MS) {
      this.#stream.destroy();
      return false;
    }
    if (this.#stream !== undefined && this.#greetedAs !== this.#host.nodeId) {
      this.#stream.destroy();
      return false;
    }
    // What goes into a stream that ends may not arrive.
    if (this.#isResting) return false;
    if (this.#stream === undefined) {
      if (nowMs < this.#retryAtMs) return false;
      this.#open(nowMs);
    }
    const length = sealedLength(bytes.length);
    if (this.queuedBytes + length > settings.maxQueuedBytes) return false;
    this.#usedAtMs = nowMs;
    if (this.queuedBytes === 0) this.#takenAtMs = nowMs;
    if (this.#seal === undefined) {
      this.queuedBytes += length;
      this.#waiting.push({ channel, bytes: bytes.slice() });
    } else {
      this.#enqueue(this.#seal.seal(channel, bytes));
      if (isTurnOver) this.#flush();
      else this.#flushSoon();
    }
    return true;
  }

  /** Ends the stream if nothing has been sent for so long, and nothing waits: nothing is lost, and the next frame opens another. */
  rest(nowMs: number, idleMs: number): void {
    if (!this.isOpen || this.queuedBytes > 0 || nowMs - this.#usedAtMs < idleMs) return;
    if (this.#isResting) this.#stream?.destroy();
    else this.#stream?.end();
    this.#isResting = true;
  }

  /** Breaks the stream: the next frame opens another. */
  breakOff(): void {
    this.#stream?.destroy();
  }

  /** Ends it for good: nobody is told. */
  close(): void {
    this.#isClosing = true;
    this.#stream?.destroy();
  }

  #open(nowMs: number): void {
    const { clock, network, settings, traffic } = this.#host;
    const self = this.#host.self();
    this.createdAtMs = nowMs;
    this.#takenAtMs = nowMs;
    this.#greetedAs = self.nodeId;
    this.#refusal = undefined;
    this.#answers = new FrameReader(MAX_HANDSHAKE_BYTES);
    this.#opener = new LinkOpener(self, this.kind, this.#host.nonce());
    this.#enqueue(encodeFrame(HANDSHAKE_CHANNEL, this.#opener.hello));
    this.#limit = clock.after(settings.connectTimeoutMs, () => this.#stream?.destroy());
    // One that fails is followed by the next.
    const places = [this.#address, ...this.#host.otherPlaces(this.#address)];
    const { host, port } = places[this.#failures % places.length] ?? this.#address;
    this.#stream = network.connect({
      host,
      port,
      handler: {
        opened: (stream) => {
          this.#limit?.cancel();
          this.#limit = clock.after(settings.connectTimeoutMs * PROOF_LIMITS, () => stream.destroy());
          this.#isOpen = true;
          this.#openedAtMs = clock.monotonicMs();
          this.#takenAtMs = this.#openedAtMs;
          this.#flush();
        },
        data: (stream, bytes) => {
          traffic.receivedBytes += bytes.length;
          this.#answers.push(bytes, (channel, payload) => {
            traffic.receivedFrames += 1;
            this.#answered(stream, channel, payload);
          });
          // It has said too much at once, or goes on after it has said all.
          if (this.#answers.isBroken) stream.destroy();
        },
        writable: () => this.#flush(),
        closed: (_stream, reason) => this.#closed(reason),
      },
    });
  }

  #answered(stream: Stream, channel: number, payload: Uint8Array): void {
    const opener = this.#opener;
    if (channel !== HANDSHAKE_CHANNEL || opener === undefined || this.#isClosing) {
      this.#answers.isBroken = true;
      return;
    }
    this.#opener = undefined;
    const verdict = opener.answered(payload);
    if (verdict.type === "proved" || verdict.reason !== "self") this.#isToSelf = false;
    if (verdict.type === "refused") {
      this.#refusal = verdict;
      this.#answers.isBroken = true;
      stream.destroy();
      this.#host.refused("to", verdict.reason, verdict.text, `${this.#address.host}:${this.#address.port}`);
      return;
    }
    // The secret was changed meanwhile.
    if (!isAmong(this.#host.self().keys, verdict.key)) {
      this.#answers.isBroken = true;
      stream.destroy();
      return;
    }
    this.#limit?.cancel();
    this.nodeId = verdict.nodeId;
    this.key = verdict.key;
    const seal = new FrameSeal(verdict.linkKey);
    this.#seal = seal;
    this.#enqueue(encodeFrame(HANDSHAKE_CHANNEL, verdict.proof));
    for (const frame of this.#waiting) {
      this.queuedBytes -= sealedLength(frame.bytes.length);
      this.#enqueue(seal.seal(frame.channel, frame.bytes));
    }
    this.#waiting = [];
    this.#takenAtMs = this.#host.clock.monotonicMs();
    this.#flush();
  }

  #enqueue(frame: Uint8Array): void {
    this.#queue.push(frame);
    this.queuedBytes += frame.length;
  }

  /** What a turn of the event loop has to say goes out in one write: each costs more than most frames. */
  #flushSoon(): void {
    if (!this.#isOpen || this.#isFlushDue || this.#piece !== undefined) return;
    this.#isFlushDue = true;
    this.#host.clock.soon(() => {
      this.#isFlushDue = false;
      this.#flush();
    });
  }

  #flush(): void {
    const stream = this.#stream;
    const { clock, traffic } = this.#host;
    if (stream === undefined || !this.#isOpen) return;
    for (let piece = this.#nextPiece(); piece !== undefined; piece = this.#nextPiece()) {
      const taken = stream.write(piece, this.#sentOfPiece, piece.length);
      if (taken > 0) this.#takenAtMs = clock.monotonicMs();
      this.#sentOfPiece += taken;
      this.queuedBytes -= taken;
      traffic.sentBytes += taken;
      if (this.#sentOfPiece < piece.length) return;
      traffic.sentFrames += this.#framesOfPiece;
      this.#piece = undefined;
    }
  }

  /** What is to be written: the rest of a piece, or as many frames as make a good one. */
  #nextPiece(): Uint8Array | undefined {
    if (this.#piece !== undefined) return this.#piece;
    let bytes = 0;
    let count = 0;
    for (const frame of this.#queue) {
      if (count > 0 && bytes + frame.length > PIECE_BYTES) break;
      bytes += frame.length;
      count += 1;
    }
    if (count === 0) return undefined;
    const frames = this.#queue.splice(0, count);
    this.#framesOfPiece = count;
    this.#sentOfPiece = 0;
    this.#piece = count === 1 ? frames[0] : Buffer.concat(frames, bytes);
    return this.#piece;
  }

  #closed(reason: string | undefined): void {
    const { clock, log, settings } = this.#host;
    const nowMs = clock.monotonicMs();
    const wasOpen = this.#isOpen;
    const wasProved = this.#seal !== undefined;
    const { nodeId } = this;
    this.#limit?.cancel();
    this.#stream = undefined;
    this.#isOpen = false;
    this.#opener = undefined;
    this.#seal = undefined;
    this.#waiting = [];
    this.#queue = [];
    this.#piece = undefined;
    this.queuedBytes = 0;
    this.nodeId = "";
    this.key = undefined;
    if (this.#isClosing) return;
    if (this.#isResting) {
      this.#isResting = false;
      this.#failures = 0;
      return;
    }
    if (this.#refusal?.reason === "no-cluster") {
      // It will be in one soon: nothing has failed.
      this.#retryAtMs = nowMs + settings.retryMinMs;
      return;
    }
    // A stream that is closed as soon as it is open has failed as well: the other side takes nothing from this node.
    if (wasOpen && nowMs - this.#openedAtMs >= settings.retryMaxMs) this.#failures = 0;
    this.#failures += 1;
    const pauseMs = Math.min(settings.retryMinMs * 2 ** Math.min(this.#failures - 1, 20), settings.retryMaxMs);
    this.#retryAtMs = nowMs + pauseMs;
    if (this.#isToSelf) return;
    const isNoNode = wasOpen && !wasProved;
    const isNews = this.#failures === 1 || (isNoNode && !this.#wasNoNode);
    this.#wasNoNode = isNoNode;
    if (isNews && this.#refusal === undefined) {
      const why = isNoNode ? NOT_A_NODE : "closed";
      const fields = { to: `${this.#address.host}:${this.#address.port}`, reason: reason ?? why };
      if (wasOpen) log.info("bus link lost", fields);
      else log.debug("bus link not made", fields);
    }
    // Who waits for a member's frames waits for nothing on a meeting link: both sides keep silent about that one.
    if (this.kind === "member") this.#host.lost(this.#address, nodeId === "" ? undefined : nodeId);
  }
}
