/**
 * Frames between nodes: a length of four bytes (the lowest first), a channel of one, and what the channel carries.
 *
 * On channel 0 two nodes prove to each other who they are: see `link-codec.ts`.
 */
import { ByteWriter } from "./byte-writer.ts";
import { copyBytes } from "./copy-bytes.ts";

export const FRAME_HEADER_BYTES = 5;

const EMPTY = new Uint8Array(0);

/** @param parts What it carries, one after the other. */
export function encodeFrame(channel: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const writer = new ByteWriter(FRAME_HEADER_BYTES + length);
  writer.fixed32(length);
  writer.byte(channel);
  for (const part of parts) writer.raw(part);
  return writer.finish();
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
