/**
 * Frames between nodes: a length of four bytes (the lowest first), a channel of one, and what the channel carries.
 *
 * A stream is opened by a greeting, on channel 0: who speaks, and which versions of this protocol it speaks.
 */
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";

export const FRAME_HEADER_BYTES = 5;
export const GREETING_CHANNEL = 0;
/** The versions of the protocol that this node speaks. */
export const OLDEST_VERSION = 1;
export const NEWEST_VERSION = 1;

const MAGIC = "bunch bus";

/** The first frame of a stream. */
export interface Greeting {
  readonly nodeId: string;
  readonly host: string;
  readonly port: number;
  readonly oldestVersion: number;
  readonly newestVersion: number;
}

export function encodeFrame(channel: number, payload: Uint8Array): Uint8Array {
  const writer = new ByteWriter(FRAME_HEADER_BYTES + payload.length);
  writer.fixed32(payload.length);
  writer.byte(channel);
  writer.raw(payload);
  return writer.finish();
}

export function encodeGreeting(greeting: Greeting): Uint8Array {
  const writer = new ByteWriter();
  writer.text(MAGIC);
  writer.number(greeting.oldestVersion);
  writer.number(greeting.newestVersion);
  writer.text(greeting.nodeId);
  writer.text(greeting.host);
  writer.number(greeting.port);
  return encodeFrame(GREETING_CHANNEL, writer.finish());
}

/** @returns `undefined` if it is none. Later versions may add to a greeting: what follows is not looked at. */
export function readGreeting(payload: Uint8Array): Greeting | undefined {
  const reader = new ByteReader(payload);
  if (reader.text() !== MAGIC) return undefined;
  const oldestVersion = reader.number();
  const newestVersion = reader.number();
  const nodeId = reader.text();
  const host = reader.text();
  const port = reader.number();
  if (reader.isBad || !/^[0-9a-f]{40}$/.test(nodeId) || port > 65535) return undefined;
  return { nodeId, host, port, oldestVersion, newestVersion };
}

/** Takes frames out of a stream of bytes, cut wherever. */
export class FrameReader {
  /** The longest payload that is taken, from the next frame on. */
  maxBytes: number;
  #waiting: Uint8Array = new Uint8Array(0);
  /** A frame was longer than may be, or whoever reads has had enough: nothing more is read. */
  isBroken = false;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** Takes bytes, and calls back for each frame that is whole. @param frame Gets bytes that are its own. */
  push(bytes: Uint8Array, frame: (channel: number, payload: Uint8Array) => void): void {
    if (this.isBroken) return;
    let all = bytes;
    if (this.#waiting.length > 0) {
      all = new Uint8Array(this.#waiting.length + bytes.length);
      all.set(this.#waiting);
      all.set(bytes, this.#waiting.length);
    }
    const view = new DataView(all.buffer, all.byteOffset, all.length);
    let at = 0;
    while (!this.isBroken && all.length - at >= FRAME_HEADER_BYTES) {
      const length = view.getUint32(at, true);
      if (length > this.maxBytes) {
        this.isBroken = true;
        this.#waiting = new Uint8Array(0);
        return;
      }
      const end = at + FRAME_HEADER_BYTES + length;
      if (end > all.length) break;
      frame(view.getUint8(at + FRAME_HEADER_BYTES - 1), all.slice(at + FRAME_HEADER_BYTES, end));
      at = end;
    }
    this.#waiting = at === all.length ? new Uint8Array(0) : all.slice(at);
  }
}
