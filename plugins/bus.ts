/**
 * bus: frames between nodes.
 *
 * Promises: frames of one sender on one stream arrive in order, each once or never; what waits for a node that does not read is bounded, and dropped beyond
 * that; a stream that speaks another protocol is closed, and costs no more than its first bytes.
 *
 * How: each node opens a stream of its own to every node that it sends to, and only reads from those that others open. A stream begins with a greeting.
 * One that breaks is opened again when there is something to send, after a pause that grows with each failure.
 *
 * Talks to the rest through the service `bus`: channels, on which protocols send bytes.
 */
import { Type } from "@sinclair/typebox";
import { Fault } from "../src/assert.ts";
import {
  FrameReader,
  GREETING_CHANNEL,
  type Greeting,
  NEWEST_VERSION,
  OLDEST_VERSION,
  encodeFrame,
  encodeGreeting,
  readGreeting,
} from "../src/codec/frame.ts";
import { BUS_PORT_OFFSET } from "../src/config.ts";
import { type Bus, type BusAddress, type BusChannel, type BusSender, busService } from "../src/contracts/bus.ts";
import { StartError, messageOf } from "../src/errors.ts";
import { definePlugin } from "../src/plugin.ts";
import { NetworkError, type Listener, type Stream, type StreamHandler } from "../src/world.ts";

/** The longest frame: an entry of the map's log with what goes around it. */
const MAX_FRAME_BYTES = 4 * 1024 * 1024;
/** A greeting is short: a stranger gets no more memory than this before it has said who it is. */
const MAX_GREETING_BYTES = 1024;
/** Frames that wait are written together up to so many bytes: about what a socket takes at once. */
const PIECE_BYTES = 64 * 1024;
/** A peer that takes nothing for so long has gone, whatever its machine says. */
const STUCK_MS = 5000;
/** Strangers that come again and again are told of once in so long. */
const REFUSAL_LOG_MS = 10_000;

const settingsSchema = Type.Object({
  maxQueuedBytes: Type.Integer({
    description: "Bytes that may wait for one other node; frames beyond are dropped, and their protocols send anew.",
    default: 16 * 1024 * 1024,
    minimum: MAX_FRAME_BYTES,
  }),
  maxLinks: Type.Integer({
    description:
      "Streams that other nodes may have open to this one, and nodes that this one may send to. More are closed at once.",
    default: 2000,
    minimum: 1,
  }),
  connectTimeoutMs: Type.Integer({
    description: "How long opening a stream to another node may take, in milliseconds.",
    default: 1000,
    minimum: 10,
  }),
  retryMinMs: Type.Integer({
    description: "The pause after the first failure to reach a node, in milliseconds; it doubles with each one more.",
    default: 50,
    minimum: 1,
  }),
  retryMaxMs: Type.Integer({
    description: "The longest pause between attempts to reach a node, in milliseconds.",
    default: 1000,
    minimum: 1,
  }),
});

export default definePlugin({
  name: "bus",
  summary: "Carries what nodes say to each other.",
  provides: { bus: busService },
  settings: settingsSchema,
  setup(context) {
    const { core, node, settings, world } = context;
    const { clock, network, log } = world;
    const announcedHost = core.announceHost ?? core.host;
    let port = core.busPort ?? (core.port === 0 ? 0 : Math.min(core.port + BUS_PORT_OFFSET, 65535));
    const receivers = new Map<number, (from: BusSender, bytes: Uint8Array) => void>();
    const outgoing = new Map<string, OutgoingLink>();
    const incoming = new Set<IncomingLink>();
    let listener: Listener | undefined;
    let isStopped = false;
    let refusedLinks = 0;
    let droppedFrames = 0;
    let refusalLoggedAtMs = Number.NEGATIVE_INFINITY;
    /** Since the start, greetings included. Bytes that were dropped count as never sent. */
    const traffic = { sentFrames: 0, sentBytes: 0, receivedFrames: 0, receivedBytes: 0 };

    /** A stream that this node opened: frames go out. */
    class OutgoingLink {
      readonly #address: BusAddress;
      #stream: Stream | undefined;
      #isOpen = false;
      #queue: Uint8Array[] = [];
      // What is being written: one frame or several, how many, and the bytes of it that the machine has taken.
      #piece: Uint8Array | undefined;
      #framesOfPiece = 0;
      #sentOfPiece = 0;
      #isFlushDue = false;
      queuedBytes = 0;
      createdAtMs = 0;
      #failures = 0;
      #retryAtMs = 0;
      #takenAtMs = 0;
      // As whom this node has greeted: see `NodeFacts.id`.
      #greetedAs = "";
      #openedAtMs = 0;

      constructor(address: BusAddress) {
        this.#address = address;
      }

      /** There is a stream, open or on its way. */
      get hasStream(): boolean {
        return this.#stream !== undefined;
      }

      /** There is nothing to remember of it: neither a stream nor a failure that is not over. */
      isIdle(nowMs: number): boolean {
        return this.#stream === undefined && nowMs >= this.#retryAtMs;
      }

      get isOpen(): boolean {
        return this.#isOpen;
      }

      send(frame: Uint8Array): boolean {
        const nowMs = clock.monotonicMs();
        if (this.#stream !== undefined && this.queuedBytes > 0 && nowMs - this.#takenAtMs > STUCK_MS) {
          this.#stream.destroy();
          return false;
        }
        if (this.#stream !== undefined && this.#greetedAs !== node.id) {
          this.#stream.destroy();
          return false;
        }
        if (this.#stream === undefined) {
          if (nowMs < this.#retryAtMs) return false;
          this.#open(nowMs);
        }
        if (this.queuedBytes + frame.length > settings.maxQueuedBytes) return false;
        if (this.queuedBytes === 0) this.#takenAtMs = nowMs;
        this.#queue.push(frame);
        this.queuedBytes += frame.length;
        this.#flushSoon();
        return true;
      }

      close(): void {
        this.#stream?.destroy();
      }

      #open(nowMs: number): void {
        this.createdAtMs = nowMs;
        this.#takenAtMs = nowMs;
        this.#greetedAs = node.id;
        const greeting = encodeGreeting({
          nodeId: node.id,
          host: announcedHost,
          port,
          oldestVersion: OLDEST_VERSION,
          newestVersion: NEWEST_VERSION,
        });
        this.#queue = [greeting];
        this.queuedBytes = greeting.length;
        const late = clock.after(settings.connectTimeoutMs, () => {
          if (!this.#isOpen) this.#stream?.destroy();
        });
        this.#stream = network.connect({
          host: this.#address.host,
          port: this.#address.port,
          handler: {
            opened: () => {
              late.cancel();
              this.#isOpen = true;
              this.#openedAtMs = clock.monotonicMs();
              this.#takenAtMs = this.#openedAtMs;
              this.#flush();
            },
            // The other side has nothing to say here.
            data: (stream) => stream.destroy(),
            writable: () => this.#flush(),
            closed: (_stream, reason) => {
              late.cancel();
              this.#closed(reason);
            },
          },
        });
      }

      /** What a turn of the event loop has to say goes out in one write: each costs more than most frames. */
      #flushSoon(): void {
        if (!this.#isOpen || this.#isFlushDue || this.#piece !== undefined) return;
        this.#isFlushDue = true;
        clock.soon(() => {
          this.#isFlushDue = false;
          this.#flush();
        });
      }

      #flush(): void {
        const stream = this.#stream;
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
        this.#piece = count === 1 ? frames[0] : concat(frames, bytes);
        return this.#piece;
      }

      #closed(reason: string | undefined): void {
        const nowMs = clock.monotonicMs();
        const wasOpen = this.#isOpen;
        // A stream that is closed as soon as it is open has failed as well: the other side takes nothing from this node.
        if (wasOpen && nowMs - this.#openedAtMs >= settings.retryMaxMs) this.#failures = 0;
        this.#stream = undefined;
        this.#isOpen = false;
        this.#queue = [];
        this.#piece = undefined;
        this.queuedBytes = 0;
        this.#failures += 1;
        const pauseMs = Math.min(settings.retryMinMs * 2 ** Math.min(this.#failures - 1, 20), settings.retryMaxMs);
        this.#retryAtMs = nowMs + pauseMs;
        if (isStopped || this.#failures > 1) return;
        const fields = { to: `${this.#address.host}:${this.#address.port}`, reason: reason ?? "closed" };
        if (wasOpen) log.info("bus link lost", fields);
        else log.debug("bus link not made", fields);
      }
    }

    /** A stream that another node opened: frames come in. */
    class IncomingLink implements StreamHandler {
      sender: BusSender | undefined;
      readonly createdAtMs = clock.monotonicMs();
      readonly #stream: Stream;
      #isRefused = false;
      readonly #reader = new FrameReader(MAX_GREETING_BYTES);
      readonly #silence = clock.after(settings.connectTimeoutMs * 5, () => {
        if (this.sender === undefined) this.#stream.destroy();
      });

      constructor(stream: Stream) {
        this.#stream = stream;
      }

      data(_stream: Stream, bytes: Uint8Array): void {
        traffic.receivedBytes += bytes.length;
        this.#reader.push(bytes, (channel, payload) => {
          if (isStopped) return;
          traffic.receivedFrames += 1;
          if (this.sender !== undefined) this.#deliver(this.sender, channel, payload);
          else this.#greet(channel === GREETING_CHANNEL ? readGreeting(payload) : undefined);
        });
        if (this.#reader.isBroken) {
          this.refuse(
            this.sender === undefined ? "it speaks another protocol" : `a frame of more than ${MAX_FRAME_BYTES} bytes`,
          );
        }
      }

      writable(): void {
        // Nothing is ever sent here.
      }

      closed(): void {
        this.#silence.cancel();
        incoming.delete(this);
      }

      close(): void {
        this.#stream.destroy();
      }

      #deliver(sender: BusSender, channel: number, payload: Uint8Array): void {
        try {
          receivers.get(channel)?.(sender, payload);
        } catch (thrown) {
          if (thrown instanceof Fault) context.fault(thrown);
          else log.error("bus frame failed", { from: sender.nodeId, channel, reason: messageOf(thrown) });
        }
      }

      #greet(greeting: Greeting | undefined): void {
        if (greeting === undefined) {
          this.refuse("it speaks another protocol");
          return;
        }
        if (greeting.oldestVersion > NEWEST_VERSION || greeting.newestVersion < OLDEST_VERSION) {
          this.refuse(
            `node ${greeting.nodeId} speaks versions ${greeting.oldestVersion} to ${greeting.newestVersion} of the protocol, and this one ${OLDEST_VERSION} to ${NEWEST_VERSION}`,
          );
          return;
        }
        this.sender = { nodeId: greeting.nodeId, address: { host: greeting.host, port: greeting.port } };
        this.#reader.maxBytes = MAX_FRAME_BYTES;
      }

      refuse(why: string): void {
        if (this.#isRefused) return;
        this.#isRefused = true;
        this.#reader.isBroken = true;
        this.#stream.destroy();
        refusedLinks += 1;
        const nowMs = clock.monotonicMs();
        if (nowMs - refusalLoggedAtMs < REFUSAL_LOG_MS) return;
        refusalLoggedAtMs = nowMs;
        log.warn("bus link refused", { from: this.#stream.remoteAddress, reason: why, refused: refusedLinks });
      }
    }

    /** @returns `undefined` if there are too many: addresses come from other nodes, and whoever makes them up makes nothing grow. */
    const linkTo = (address: BusAddress): OutgoingLink | undefined => {
      const key = `${address.host}:${address.port}`;
      const known = outgoing.get(key);
      if (known !== undefined) return known;
      if (outgoing.size >= settings.maxLinks) {
        const nowMs = clock.monotonicMs();
        for (const [each, link] of outgoing) if (link.isIdle(nowMs)) outgoing.delete(each);
        if (outgoing.size >= settings.maxLinks) return undefined;
      }
      const link = new OutgoingLink(address);
      outgoing.set(key, link);
      return link;
    };

    const bus: Bus = {
      get address() {
        return { host: announcedHost, port };
      },
      receive: (channel, receive) => void receivers.set(channel, receive),
      send: (to: BusAddress, channel: BusChannel, bytes: Uint8Array) => {
        const isTaken =
          !isStopped && bytes.length <= MAX_FRAME_BYTES && linkTo(to)?.send(encodeFrame(channel, bytes)) === true;
        if (!isTaken) droppedFrames += 1;
        return isTaken;
      },
      queuedBytes: ({ host, port: at }) => outgoing.get(`${host}:${at}`)?.queuedBytes ?? 0,
      links: () => [
        ...[...outgoing.values()]
          .filter((link) => link.hasStream)
          .map((link) => ({
            direction: "to" as const,
            nodeId: "",
            createdAtMs: link.createdAtMs,
            queuedBytes: link.queuedBytes,
          })),
        ...[...incoming].map((link) => ({
          direction: "from" as const,
          nodeId: link.sender?.nodeId ?? "",
          createdAtMs: link.createdAtMs,
          queuedBytes: 0,
        })),
      ],
    };

    context.on(context.hooks.info, () => ({
      section: "cluster",
      fields: {
        bus_links_out: [...outgoing.values()].filter((link) => link.isOpen).length,
        bus_links_in: incoming.size,
        bus_sent_frames: traffic.sentFrames,
        bus_sent_bytes: traffic.sentBytes,
        bus_received_frames: traffic.receivedFrames,
        bus_received_bytes: traffic.receivedBytes,
        bus_refused_links: refusedLinks,
        bus_dropped_frames: droppedFrames,
      },
    }));
    context.on(
      context.hooks.start,
      async () => {
        try {
          listener = await network.listen({
            host: core.host,
            port,
            accept: (stream) => {
              const link = new IncomingLink(stream);
              incoming.add(link);
              if (incoming.size > settings.maxLinks) link.refuse(`${settings.maxLinks} links are open already`);
              return link;
            },
          });
        } catch (thrown) {
          if (!(thrown instanceof NetworkError)) throw thrown;
          const derived = core.busPort === undefined ? `: the client port ${core.port} + ${BUS_PORT_OFFSET}` : "";
          throw new StartError(`${thrown.message} (the port is for other nodes${derived}; --bus-port names another)`);
        }
        port = listener.port;
      },
      { order: "pre" },
    );
    context.on(
      context.hooks.stop,
      () => {
        isStopped = true;
        listener?.close();
        for (const link of outgoing.values()) link.close();
        for (const link of incoming) link.close();
      },
      { order: "pre" },
    );
    return { bus };
  },
});

function concat(frames: readonly Uint8Array[], length: number): Uint8Array {
  const piece = new Uint8Array(length);
  let at = 0;
  for (const frame of frames) {
    piece.set(frame, at);
    at += frame.length;
  }
  return piece;
}
