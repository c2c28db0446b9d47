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

/** Whether two proofs are the same, in a time that tells nothing of where they differ. */
export function isSameProof(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
