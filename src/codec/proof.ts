/**
 * Proofs of knowing a key: HMAC-SHA256 over what both sides have seen, with a label that says what the proof is for.
 *
 * Each part goes in with its length before it, so that no two lists of parts are the same bytes; a proof for one purpose is none for another.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

export const PROOF_BYTES = 32;

const encoder = new TextEncoder();

/** @returns 32 bytes: a proof, or a key for another purpose. */
export function proofOf(key: Uint8Array, label: string, ...parts: readonly Uint8Array[]): Uint8Array {
  const hmac = createHmac("sha256", key);
  const length = new Uint8Array(4);
  const view = new DataView(length.buffer);
  for (const part of [encoder.encode(`bunch ${label}`), ...parts]) {
    view.setUint32(0, part.length);
    hmac.update(length);
    hmac.update(part);
  }
  return new Uint8Array(hmac.digest());
}

/** `proofOf` of two parts, the first one of a length that stays, again and again: its beginning is put together once. */
export class SteadyProof {
  /** The first part: it is written here before each proof. */
  readonly place: Uint8Array;
  readonly #key: Uint8Array;
  /** The label and the first part with their lengths, and the length of the second. */
  readonly #head: Uint8Array;
  readonly #view: DataView;

  constructor(key: Uint8Array, label: string, placeBytes: number) {
    const text = encoder.encode(`bunch ${label}`);
    this.#key = key;
    this.#head = new Uint8Array(4 + text.length + 4 + placeBytes + 4);
    this.#view = new DataView(this.#head.buffer);
    this.#view.setUint32(0, text.length);
    this.#head.set(text, 4);
    this.#view.setUint32(4 + text.length, placeBytes);
    this.place = this.#head.subarray(8 + text.length, 8 + text.length + placeBytes);
  }

  /** @param part The second one. @returns 32 bytes. */
  of(part: Uint8Array): Uint8Array {
    this.#view.setUint32(this.#head.length - 4, part.length);
    return createHmac("sha256", this.#key).update(this.#head).update(part).digest();
  }
}

/** Whether two proofs are the same, in a time that tells nothing of where they differ. */
export function isSameProof(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
