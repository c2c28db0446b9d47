/**
 * The layout of a record: how a key, its value and what is known about them lie in a block of memory.
 *
 *     word 0   length of the key in bytes (0 or more; a negative number would be a free block, or a table)
 *     word 1   length of the value in bytes
 *     word 2   bits 0-2 type, bit 3 set if there is an expiry, bits 4-7 flags, bits 8-31 last access (`access-clock.ts`)
 *     word 3-4 expiry in wall milliseconds, low word first, only if bit 3 of word 2 is set
 *     then     the key, then the value
 *
 * Twelve bytes of header for a key that never expires; a key of 16 bytes with a value of 64 fits a block of 96.
 */
import type * as contract from "../contracts/keyspace.ts";

export const HEADER_BYTES = 12;
export const EXPIRY_BYTES = 8;

/** Words of the header, from the block's first. */
export const KEY_LENGTH = 0;
export const VALUE_LENGTH = 1;
export const META = 2;
export const EXPIRY = 3;

export const TYPE_MASK = 0x7;
/** Its value is also what an expiry adds to the header: `HEADER_BYTES + (meta & HAS_EXPIRY)` is where the key starts. */
export const HAS_EXPIRY = EXPIRY_BYTES;
export const FLAGS_SHIFT = 4;
export const FLAGS_MASK = 0xf;
export const ACCESS_SHIFT = 8;
/** All of `META` but the access. */
export const META_MASK = 0xff;

// The contract's numbers, checked by their types: this directory loads nothing but itself.
export const STRING_TYPE: typeof contract.ValueType.string = 0;
export const NO_EXPIRY: typeof contract.NO_EXPIRY = 0;
export const KEEP_EXPIRY: typeof contract.KEEP_EXPIRY = -1;

const WORD_RANGE = 4294967296;

/** Where a block begins, in words of the array that it lies in. */
export function wordOf(handle: number): number {
  return handle > 0 ? (handle & 0xffff) << 2 : 0;
}

/** Where a block begins, in bytes of the array that it lies in. */
export function byteOf(handle: number): number {
  return handle > 0 ? (handle & 0xffff) << 4 : 0;
}

/** Reads a record's expiry in wall milliseconds. The record has one. */
export function readExpiry(ints: Int32Array, word: number): number {
  return (ints[word + EXPIRY + 1] as number) * WORD_RANGE + ((ints[word + EXPIRY] as number) >>> 0);
}

/** Writes a record's expiry, in whole milliseconds. The record has room for one. */
export function writeExpiry(ints: Int32Array, word: number, expiresAtMs: number): void {
  ints[word + EXPIRY] = expiresAtMs | 0;
  ints[word + EXPIRY + 1] = Math.floor(expiresAtMs / WORD_RANGE);
}
