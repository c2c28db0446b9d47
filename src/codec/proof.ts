/**
 * Proofs of knowing a key: HMAC-SHA256 over what both sides have seen, with a label that says what the proof is for.
 *
 * Each part goes in with its length before it, so that no two lists of parts are the same bytes; a proof for one purpose is none for another.
 */
import { createCipheriv, createHmac, timingSafeEqual } from "node:crypto";

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

/**
 * Authenticators of messages that have a number each: AES-256-GCM with nothing to encrypt (GMAC, NIST SP 800-38D). Over some kilobytes it takes a fourth of what an
 * HMAC does.
 *
 * No number may be used twice with one key: whoever saw two messages of one number could make up others.
 */
export class NumberedProof {
  readonly #key: Uint8Array;
  /** The number in eight bytes, and four for the purpose. */
  readonly #nonce = new Uint8Array(12);
  readonly #view = new DataView(this.#nonce.buffer);

  /** @param key 32 bytes, for nothing else. */
  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /** @param number A whole number from 0 to 2^53 - 1. @param purpose Of 32 bits: what is proved for one is not for another. @returns 16 bytes. */
  of(number: number, purpose: number, message: Uint8Array): Uint8Array {
    this.#view.setUint32(0, Math.floor(number / 2 ** 32));
    this.#view.setUint32(4, number % 2 ** 32);
    this.#view.setUint32(8, purpose);
    const cipher = createCipheriv("aes-256-gcm", this.#key, this.#nonce);
    cipher.setAAD(message);
    cipher.final();
    return cipher.getAuthTag();
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
