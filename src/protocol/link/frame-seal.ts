/**
 * Seals of frames: each frame of a link carries a proof, under the key that the handshake gave, of what it carries and of its place.
 *
 * So what is delivered from a link is always a beginning of what was sent on it: who sits between two nodes can cut a link, and can neither add, change, leave out,
 * repeat nor reorder frames of it.
 *
 * In a cluster without a secret frames are as they are: everybody could seal them.
 */
import { FRAME_HEADER_BYTES, encodeFrame } from "../../codec/frame.ts";
import { NumberedProof, isProofAt } from "../../codec/proof.ts";

export const SEAL_BYTES = 16;

/** Shorter payloads are copied out of their frames. */
const COPIED_BYTES = 512;

/** How long a frame is on the wire, at most. @param payloadBytes What it carries. */
export function sealedLength(payloadBytes: number): number {
  return FRAME_HEADER_BYTES + payloadBytes + SEAL_BYTES;
}

/** The sender's side, or the receiver's, of one direction of a link. */
export class FrameSeal {
  readonly #proof: NumberedProof | undefined;
  #number = 0;

  /** @param key Of this direction of this link; `undefined`: frames are not sealed. */
  constructor(key: Uint8Array | undefined) {
    this.#proof = key === undefined ? undefined : new NumberedProof(key);
  }

  /** The next frame, as it goes out. The payload is copied. */
  seal(channel: number, payload: Uint8Array): Uint8Array {
    if (this.#proof === undefined) return encodeFrame(channel, payload);
    return encodeFrame(channel, payload, this.#proof.of(this.#number++, channel, payload));
  }

  /** The next frame's payload; `undefined` if it is not what was sent next. */
  open(channel: number, sealed: Uint8Array): Uint8Array | undefined {
    if (this.#proof === undefined) return sealed;
    if (sealed.length < SEAL_BYTES) return undefined;
    const end = sealed.length - SEAL_BYTES;
    // A copy of a few bytes costs less than a view of them.
    const payload = end < COPIED_BYTES ? sealed.slice(0, end) : sealed.subarray(0, end);
    return isProofAt(sealed, end, this.#proof.of(this.#number++, channel, payload), SEAL_BYTES) ? payload : undefined;
  }
}
