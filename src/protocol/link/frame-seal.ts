/**
 * Seals of frames: each frame of a link carries a proof, under the key that the handshake gave, of what it carries and of its place.
 *
 * So what is delivered from a link is always a beginning of what was sent on it: who sits between two nodes can cut a link, and can neither add, change, leave out,
 * repeat nor reorder frames of it.
 */
import { FRAME_HEADER_BYTES, encodeFrame } from "../../codec/frame.ts";
import { SteadyProof, isSameProof } from "../../codec/proof.ts";

/** Half a proof: nobody has more than one try at a link. */
export const SEAL_BYTES = 16;

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
    return encodeFrame(channel, payload, this.#sealOf(channel, payload));
  }

  /** The next frame's payload; `undefined` if it is not what was sent next. */
  open(channel: number, sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < SEAL_BYTES) return undefined;
    const payload = sealed.subarray(0, sealed.length - SEAL_BYTES);
    return isSameProof(sealed.subarray(payload.length), this.#sealOf(channel, payload)) ? payload : undefined;
  }

  #sealOf(channel: number, payload: Uint8Array): Uint8Array {
    this.#view.setUint32(0, Math.floor(this.#number / 2 ** 32));
    this.#view.setUint32(4, this.#number % 2 ** 32);
    this.#view.setUint8(8, channel);
    this.#number += 1;
    return this.#proof.of(payload).subarray(0, SEAL_BYTES);
  }
}
