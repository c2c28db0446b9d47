/**
 * A digest of a set of records: the same for the same keys, types, values and expiry times, in whatever order they come.
 *
 * Each record is hashed by itself, in two lanes of 32 bits; the lanes are summed over all records. A sum does not care for order. (Exclusive or would not
 * either, but two equal mistakes would cancel.) There is no secret in it: members of a shard must agree. It finds faults, not forgers.
 */
const FIRST_START = 0x243f6a88;
const SECOND_START = 0x85a308d3;
/** Odd, and with about as many ones as zeros. */
const FIRST_FACTOR = 0x9e3779b1;
const SECOND_FACTOR = 0x85ebca77;
const WORD_RANGE = 4294967296;

export class Digest {
  #firstSum = 0;
  #secondSum = 0;
  // Of the record that is being hashed.
  #first = 0;
  #second = 0;

  /** Adds a record, by its parts. */
  add(
    type: number,
    expiresAtMs: number,
    bytes: Uint8Array,
    keyStart: number,
    keyLength: number,
    valueStart: number,
    valueLength: number,
  ): void {
    this.#first = FIRST_START | 0;
    this.#second = SECOND_START | 0;
    // The lengths go in first, so that no byte may wander from key to value.
    this.#addWord(type);
    this.#addWord(keyLength);
    this.#addWord(valueLength);
    this.#addWord(expiresAtMs | 0);
    this.#addWord(Math.floor(expiresAtMs / WORD_RANGE));
    this.#addBytes(bytes, keyStart, keyStart + keyLength);
    this.#addBytes(bytes, valueStart, valueStart + valueLength);
    this.#firstSum = (this.#firstSum + spread(this.#first ^ this.#second)) | 0;
    this.#secondSum = (this.#secondSum + spread(this.#second + Math.imul(this.#first, SECOND_FACTOR))) | 0;
  }

  /** The digest as 16 hexadecimal digits; zeros for no records. */
  toString(): string {
    return hexadecimal(this.#firstSum) + hexadecimal(this.#secondSum);
  }

  #addWord(word: number): void {
    const first = Math.imul(this.#first ^ word, FIRST_FACTOR);
    this.#first = first ^ (first >>> 15);
    // Turned by half, so that bits that stand high in one lane, where a product keeps little of them, stand low in the other.
    const second = Math.imul((this.#second + ((word << 16) | (word >>> 16))) | 0, SECOND_FACTOR);
    this.#second = second ^ (second >>> 17);
  }

  /** As `#addWord` of each four bytes, with the lanes in variables meanwhile: values may be long. */
  #addBytes(bytes: Uint8Array, start: number, end: number): void {
    let first = this.#first;
    let second = this.#second;
    let at = start;
    for (; at + 4 <= end; at += 4) {
      const low = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
      const word = low | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24);
      first = Math.imul(first ^ word, FIRST_FACTOR);
      first ^= first >>> 15;
      second = Math.imul((second + ((word << 16) | (word >>> 16))) | 0, SECOND_FACTOR);
      second ^= second >>> 17;
    }
    this.#first = first;
    this.#second = second;
    let rest = 0;
    for (let shift = 0; at < end; at++, shift += 8) rest |= (bytes[at] as number) << shift;
    this.#addWord(rest);
  }
}

/** Spreads each bit over all of a word. */
function spread(word: number): number {
  let mixed = Math.imul(word ^ (word >>> 16), FIRST_FACTOR);
  mixed = Math.imul(mixed ^ (mixed >>> 15), SECOND_FACTOR);
  return mixed ^ (mixed >>> 16);
}

function hexadecimal(word: number): string {
  return (word >>> 0).toString(16).padStart(8, "0");
}
