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
  const all = [encoder.encode(`bunch ${label}`), ...parts];
  // In one piece: each call of the engine's HMAC costs more than most parts.
  const bytes = new Uint8Array(all.reduce((sum, part) => sum + 4 + part.length, 0));
  let at = 0;
  for (const part of all) {
    for (let shift = 24; shift >= 0; shift -= 8, at += 1) bytes[at] = part.length >>> shift;
    bytes.set(part, at);
    at += part.length;
  }
  return new Uint8Array(createHmac("sha256", key).update(bytes).digest());
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

/** Whether the bytes from `start` on are what a proof begins with, in a time that tells nothing of where they differ. No view of them is made. */
export function isProofAt(bytes: Uint8Array, start: number, proof: Uint8Array, length: number): boolean {
  if (bytes.length - start < length || proof.length < length) return false;
  let differs = 0;
  for (let at = 0; at < length; at += 1) differs |= (bytes[start + at] as number) ^ (proof[at] as number);
  return differs === 0;
}

/** Whether two proofs are the same, in a time that tells nothing of where they differ. */
export function isSameProof(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
