/**
 * A digest of a slot: equal for equal content, whatever the order and the node.
 *
 * Each record is hashed by itself in two lanes of 32 bits; the slot's digest is the sum of its records', which knows no order. It tells nodes
 * apart that have drifted; it is no defence against somebody who makes up keys to match.
 */

const FIRST_FACTOR = 0x85ebca6b;
const SECOND_FACTOR = 0xc2b2ae35;

export class SlotDigest {
  #first = 0;
  #second = 0;

  /**
   * Adds a record.
   *
   * @param start First byte of the key.
   * @param keyEnd One past its last byte, where the value begins.
   * @param valueEnd One past the value's last byte.
   */
  add(bytes: Uint8Array, start: number, keyEnd: number, valueEnd: number, type: number, expiresAtMs: number): void {
    // Lengths go in, so that "ab" with "c" differs from "a" with "bc".
    let first = Math.imul((keyEnd - start) ^ 0x9e3779b9, FIRST_FACTOR) ^ type;
    let second = Math.imul((valueEnd - keyEnd) ^ 0x7f4a7c15, SECOND_FACTOR) ^ ((expiresAtMs % 2 ** 32) | 0);
    first = Math.imul(first ^ (Math.floor(expiresAtMs / 2 ** 32) | 0), FIRST_FACTOR);
    for (let at = start; at < valueEnd; at += 1) {
      const byte = bytes[at] as number;
      first = Math.imul(first ^ byte, FIRST_FACTOR);
      first ^= first >>> 13;
      second = Math.imul((second ^ (second >>> 15)) + byte, SECOND_FACTOR);
    }
    this.#first = (this.#first + finish(first ^ (second >>> 7))) | 0;
    this.#second = (this.#second + finish(second ^ Math.imul(first, SECOND_FACTOR))) | 0;
  }

  /** 16 hexadecimal digits. */
  toString(): string {
    return hex(this.#first) + hex(this.#second);
  }
}

/** Spreads each bit over all (the last step of a well-known hash, MurmurHash3). */
function finish(word: number): number {
  let mixed = word;
  mixed = Math.imul(mixed ^ (mixed >>> 16), FIRST_FACTOR);
  mixed = Math.imul(mixed ^ (mixed >>> 13), SECOND_FACTOR);
  return mixed ^ (mixed >>> 16);
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, "0");
}
