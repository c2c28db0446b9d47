/**
 * Seals of frames: each frame of a link carries a proof, under the key that the handshake gave, of what it carries and of its place.
 *
 * So what is delivered from a link is always a beginning of what was sent on it: who sits between two nodes can cut a link, and can neither add, change, leave out,
 * repeat nor reorder frames of it.
 */
import { FRAME_HEADER_BYTES, encodeFrame } from "../../codec/frame.ts";
import { SteadyProof, isProofAt } from "../../codec/proof.ts";

/** Half a proof: nobody has more than one try at a link. */
export const SEAL_BYTES = 16;

/** Shorter payloads are copied out of their frames. */
const COPIED_BYTES = 512;

/** How long a frame is on the wire. @param payloadBytes What it carries. */
export function sealedLength(payloadBytes: number): number {
  return FRAME_HEADER_BYTES + payloadBytes + SEAL_BYTES;
}

/** The sender's side, or the receiver's, of one direction of a link. */
export class FrameSeal {
  // Its place is eight bytes of the number of the next frame, and one of its channel.
  readonly #proof: SteadyProof;
  readonly #view: DataView;
  #number = 0;

  constructor(key: Uint8Array) {
    this.#proof = new SteadyProof(key, "frame", 9);
    const { buffer, byteOffset } = this.#proof.place;
    this.#view = new DataView(buffer, byteOffset);
  }

  /** The next frame, as it goes out. The payload is copied. */
  seal(channel: number, payload: Uint8Array): Uint8Array {
    return encodeFrame(channel, payload, this.#sealOf(channel, payload).subarray(0, SEAL_BYTES));
  }

  /** The next frame's payload; `undefined` if it is not what was sent next. */
  open(channel: number, sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < SEAL_BYTES) return undefined;
    const end = sealed.length - SEAL_BYTES;
    // A copy of a few bytes costs less than a view of them.
    const payload = end < COPIED_BYTES ? sealed.slice(0, end) : sealed.subarray(0, end);
    return isProofAt(sealed, end, this.#sealOf(channel, payload), SEAL_BYTES) ? payload : undefined;
  }

  /** The whole proof, of which the first half is the seal. */
  #sealOf(channel: number, payload: Uint8Array): Uint8Array {
    this.#view.setUint32(0, Math.floor(this.#number / 2 ** 32));
    this.#view.setUint32(4, this.#number % 2 ** 32);
    this.#view.setUint8(8, channel);
    this.#number += 1;
    return this.#proof.of(payload);
  }
}
