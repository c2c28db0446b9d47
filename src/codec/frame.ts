/**
 * Frames between nodes: a length of four bytes (the lowest first), a channel of one, and what the channel carries.
 *
 * On channel 0 two nodes prove to each other who they are: see `link-codec.ts`.
 */
import { ByteWriter } from "./byte-writer.ts";

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
    const all = this.#waitingBytes === 0 ? bytes : this.#joined(bytes);
    const view = new DataView(all.buffer, all.byteOffset, all.length);
    let at = 0;
    while (!this.isBroken && all.length - at >= FRAME_HEADER_BYTES) {
      const length = view.getUint32(at, true);
      if (length > this.maxBytes) {
        this.isBroken = true;
        break;
      }
      const end = at + FRAME_HEADER_BYTES + length;
      if (end > all.length) break;
      frame(view.getUint8(at + FRAME_HEADER_BYTES - 1), all.slice(at + FRAME_HEADER_BYTES, end));
      at = end;
    }
    this.#keep(all, this.isBroken ? all.length : at);
  }

  /** What waits, and these bytes after it. */
  #joined(bytes: Uint8Array): Uint8Array {
    const length = this.#waitingBytes + bytes.length;
    if (length > this.#waiting.length) {
      const larger = new Uint8Array(Math.max(length, this.#waiting.length * 2));
      larger.set(this.#waiting.subarray(0, this.#waitingBytes));
      this.#waiting = larger;
    }
    this.#waiting.set(bytes, this.#waitingBytes);
    return this.#waiting.subarray(0, length);
  }

  /** Keeps what is left from `at` on for the next time. */
  #keep(all: Uint8Array, at: number): void {
    this.#waitingBytes = all.length - at;
    if (this.#waitingBytes === 0) this.#waiting = EMPTY;
    else if (at > 0 || all.buffer !== this.#waiting.buffer) this.#waiting = all.slice(at);
  }
}
