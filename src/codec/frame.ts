/**
 * Frames between nodes: a length of four bytes (the lowest first), a channel of one, and what the channel carries.
 *
 * A stream is opened by a greeting, on channel 0: who speaks, and which versions of this protocol it speaks.
 */
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { copyBytes } from "./copy-bytes.ts";

export const FRAME_HEADER_BYTES = 5;
export const GREETING_CHANNEL = 0;
/** The versions of the protocol that this node speaks. */
export const OLDEST_VERSION = 1;
export const NEWEST_VERSION = 1;

const MAGIC = "bunch bus";
const EMPTY = new Uint8Array(0);

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
  // The beginning of a frame that is not whole yet, in a buffer that doubles: a frame that comes a byte at a time is not copied at each.
  #waiting: Uint8Array = EMPTY;
  #waitingBytes = 0;
  /** A frame was longer than may be, or whoever reads has had enough: nothing more is read. */
  isBroken = false;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** Bytes of a frame that is not whole yet. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Takes bytes, and calls back for each frame that is whole. @param frame Gets bytes that are its own. */
  push(bytes: Uint8Array, frame: (channel: number, payload: Uint8Array) => void): void {
    if (this.isBroken) return;
    const isWaiting = this.#waitingBytes > 0;
    const length = this.#waitingBytes + bytes.length;
    const all = isWaiting ? this.#joined(bytes, length) : bytes;
    let at = 0;
    while (!this.isBroken && length - at >= FRAME_HEADER_BYTES) {
      const payloadBytes = lengthAt(all, at);
      if (payloadBytes > this.maxBytes) {
        this.isBroken = true;
        break;
      }
      const end = at + FRAME_HEADER_BYTES + payloadBytes;
      if (end > length) break;
      frame(all[at + FRAME_HEADER_BYTES - 1] as number, all.slice(at + FRAME_HEADER_BYTES, end));
      at = end;
    }
    if (this.isBroken) at = length;
    this.#waitingBytes = length - at;
    if (this.#waitingBytes === 0) this.#waiting = EMPTY;
    else if (at > 0 || !isWaiting) this.#waiting = all.slice(at, length);
  }

  /** What waits, and these bytes after it. */
  #joined(bytes: Uint8Array, length: number): Uint8Array {
    if (length > this.#waiting.length) {
      const larger = new Uint8Array(Math.max(length, this.#waiting.length * 2));
      copyBytes(this.#waiting, 0, this.#waitingBytes, larger, 0);
      this.#waiting = larger;
    }
    copyBytes(bytes, 0, bytes.length, this.#waiting, this.#waitingBytes);
    return this.#waiting;
  }
}

/** Without a `DataView`, which costs more than it reads. */
function lengthAt(bytes: Uint8Array, at: number): number {
  let length = 0;
  for (let place = 3; place >= 0; place -= 1) length = length * 256 + (bytes[at + place] as number);
  return length;
}
