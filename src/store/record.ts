/**
 * A record: one key with its value, in one block of memory.
 *
 *     word 0   length of the key
 *     word 1   length of the value
 *     word 2   bits 0-2 type, bit 3 FLAG_EDITED, bit 4 has an expiry, bits 8-31 access
 *     (words 3 and 4, if it has an expiry: wall milliseconds, low and high half)
 *     the key's bytes, the value's bytes
 *
 * Access is either the second of the last one (24 bits of a clock that starts again every 194 days), or, as in Redis, a frequency: the minute of
 * the last decay (16 bits) and a counter that grows ever more slowly (8 bits).
 */

/** Bytes of a header without an expiry. */
export const HEADER_BYTES = 12;
/** Bytes that an expiry adds. */
export const EXPIRY_BYTES = 8;
export const TYPE_MASK = 0x07;
export const EDITED_BIT = 0x08;
export const EXPIRY_BIT = 0x10;
export const META_MASK = 0xff;
const HALF = 2 ** 32;

/** Bytes of a whole record. */
export function recordSize(hasExpiry: boolean, keyLength: number, valueLength: number): number {
  return HEADER_BYTES + (hasExpiry ? EXPIRY_BYTES : 0) + keyLength + valueLength;
}

/** Reads an expiry. @param word Index of the record's first word. */
export function readExpiry(ints: Int32Array, word: number): number {
  return ((ints[word + 4] as number) >>> 0) * HALF + ((ints[word + 3] as number) >>> 0);
}

/** Writes an expiry. @param atMs Whole, not negative, below 2^53. */
export function writeExpiry(ints: Int32Array, word: number, atMs: number): void {
  ints[word + 3] = (atMs % HALF) | 0;
  ints[word + 4] = Math.floor(atMs / HALF) | 0;
}
