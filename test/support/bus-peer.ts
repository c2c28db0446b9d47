/** A machine that speaks to a node's bus without being a node: what it proves and says is the test's. */
import { FrameReader, encodeFrame } from "../../src/codec/frame.ts";
import { HANDSHAKE_CHANNEL, type LinkKind, MAX_HANDSHAKE_BYTES, NONCE_BYTES } from "../../src/codec/link-codec.ts";
import type { BusAddress } from "../../src/contracts/bus.ts";
import { FrameSeal } from "../../src/protocol/link/frame-seal.ts";
import { LinkOpener, LinkTaker } from "../../src/protocol/link/handshake.ts";
import { ClusterSecrets } from "../../src/protocol/link/secrets.ts";
import type { Stream, StreamHandler, World } from "../../src/world.ts";

export interface BusPeerOptions {
  readonly nodeId: string;
  readonly address: BusAddress;
  readonly clusterId?: string;
  /** The one to use, and maybe one more. */
  readonly secrets?: readonly string[];
  readonly kind?: LinkKind;
}

/** A stream that says what it is told. */
export class RawStream {
  isOpen = false;
  isClosed = false;
  readonly received: number[] = [];
  readonly #stream: Stream;
  readonly #queue: Uint8Array[] = [];

  constructor(
    world: World,
    to: BusAddress,
    heard: (bytes: Uint8Array) => void = () => undefined,
    closed: () => void = () => undefined,
  ) {
    this.#stream = world.network.connect({
      ...to,
      handler: {
        opened: () => {
          this.isOpen = true;
          this.#flush();
        },
        data: (_stream, bytes) => {
          this.received.push(...bytes);
          heard(bytes);
        },
        writable: () => this.#flush(),
        closed: () => {
          this.isClosed = true;
          closed();
        },
      },
    });
  }

  write(bytes: Uint8Array): void {
    this.#queue.push(bytes);
    this.#flush();
  }

  close(): void {
    this.#stream.destroy();
  }

  #flush(): void {
    for (let first = this.#queue[0]; this.isOpen && first !== undefined; first = this.#queue[0]) {
      const taken = this.#stream.write(first, 0, first.length);
      this.#queue.shift();
      if (taken < first.length) {
        this.#queue.unshift(first.subarray(taken));
        return;
      }
    }
  }
}

/** Proves itself as a node does, and then sends frames. */
export class BusPeer {
  readonly stream: RawStream;
  /** The other side has proved itself. */
  seal: FrameSeal | undefined;
  /** Why there is no link, if the other side was refused or has refused. */
  refusal: string | undefined;
  readonly #waiting: { readonly channel: number; readonly bytes: Uint8Array }[] = [];

  constructor(world: World, to: BusAddress, options: BusPeerOptions) {
    const { nodeId, address, clusterId, secrets = [], kind = "member" } = options;
    const self = { nodeId, ...address, clusterId, keys: new ClusterSecrets(secrets).keys };
    const opener = new LinkOpener(self, kind, world.random.bytes(NONCE_BYTES));
    const reader = new FrameReader(MAX_HANDSHAKE_BYTES);
    this.stream = new RawStream(world, to, (bytes) => {
      reader.push(bytes, (_channel, payload) => {
        const verdict = opener.answered(payload);
        if (verdict.type === "refused") {
          this.refusal = verdict.reason;
          return;
        }
        this.seal = new FrameSeal(verdict.linkKey);
        this.stream.write(encodeFrame(HANDSHAKE_CHANNEL, verdict.proof));
        for (const { channel, bytes: waiting } of this.#waiting.splice(0)) this.send(channel, waiting);
      });
    });
    this.stream.write(encodeFrame(HANDSHAKE_CHANNEL, opener.hello));
  }

  send(channel: number, bytes: Uint8Array): void {
    if (this.seal === undefined) this.#waiting.push({ channel, bytes });
    else this.stream.write(this.seal.seal(channel, bytes));
  }
}

/** Takes a stream of a node's as a node does: proves itself, and tells when the other side has. */
export class BusTaker implements StreamHandler {
  readonly #options: BusPeerOptions;
  readonly #world: World;
  readonly #proved: (stream: Stream) => void;
  readonly #reader = new FrameReader(MAX_HANDSHAKE_BYTES);
  #taker: LinkTaker | undefined;

  constructor(world: World, options: BusPeerOptions, proved: (stream: Stream) => void) {
    this.#world = world;
    this.#options = options;
    this.#proved = proved;
  }

  data(stream: Stream, bytes: Uint8Array): void {
    this.#reader.push(bytes, (_channel, payload) => {
      const { nodeId, address, clusterId, secrets = [] } = this.#options;
      if (this.#taker !== undefined) {
        if (this.#taker.proved(payload).type === "proved") this.#proved(stream);
        this.#reader.isBroken = true;
        return;
      }
      const self = { nodeId, ...address, clusterId, keys: new ClusterSecrets(secrets).keys };
      this.#taker = new LinkTaker(self, this.#world.random.bytes(NONCE_BYTES));
      const verdict = this.#taker.greeted(payload);
      const message = verdict.type === "answer" ? verdict.answer : verdict.refusal;
      const frame = encodeFrame(HANDSHAKE_CHANNEL, message ?? new Uint8Array(0));
      stream.write(frame, 0, frame.length);
    });
  }

  writable(): void {
    // What is said here is short.
  }

  closed(): void {
    // Nobody waits for it.
  }
}
