/**
 * Bits of strings, as the bitmap commands see them: bit 0 is the highest bit of the first byte.
 *
 * Long stretches are worked on 32 bits at a time. Values lie in the store at any address, and words can only be read at
 * multiples of four: counting and searching begin with single bytes up to the first such address; combining goes through
 * an aligned copy, piece by piece.
 */

/** How many bits are set in each byte. */
const ONES = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0;
  for (let rest = byte; rest !== 0; rest &= rest - 1) count += 1;
  return count;
});

/** Below it, making a view of words costs more than it saves. */
const WORDS_FROM_BYTES = 64;
/** What `combineBits` copies at a time: small enough for the processor's nearest cache. */
const PIECE_BYTES = 16_384;

/**
 * Counts the bits that are set.
 *
 * @param bytes Holds the string.
 * @param start Where the string begins.
 * @param firstBit First bit to look at, counted from byte `start`.
 * @param lastBit Last bit to look at, which is counted too. Not before the first one.
 * @returns How many are set.
 */
export function countBits(bytes: Uint8Array, start: number, firstBit: number, lastBit: number): number {
  const firstByte = start + Math.floor(firstBit / 8);
  const lastByte = start + Math.floor(lastBit / 8);
  let count = countOnes(bytes, firstByte, lastByte + 1);
  // The bits of the outer bytes that were not asked for.
  count -= ONES[(bytes[firstByte] as number) & ~(0xff >> (firstBit % 8)) & 0xff] as number;
  count -= ONES[(bytes[lastByte] as number) & (0xff >> ((lastBit % 8) + 1))] as number;
  return count;
}

function countOnes(bytes: Uint8Array, start: number, end: number): number {
  let count = 0;
  let at = start;
  if (end - start >= WORDS_FROM_BYTES) {
    const words = wordsWithin(bytes, start, end);
    const wordsStart = words.byteOffset - bytes.byteOffset;
    for (; at < wordsStart; at += 1) count += ONES[bytes[at] as number] as number;
    for (let index = 0; index < words.length; index += 1) {
      // Sums of neighbouring bits, then of pairs, then of fours; the product adds up the four bytes in the top one.
      let word = words[index] as number;
      word -= (word >>> 1) & 0x55555555;
      word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
      count += Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
    }
    at += words.length * 4;
  }
  for (; at < end; at += 1) count += ONES[bytes[at] as number] as number;
  return count;
}

/** Views all whole words within a range of bytes that begin at a multiple of four in memory. */
function wordsWithin(bytes: Uint8Array, start: number, end: number): Int32Array {
  // Addresses may be beyond 2^31, where bit operators would go wrong.
  const wordsStart = Math.ceil((bytes.byteOffset + start) / 4) * 4;
  return new Int32Array(bytes.buffer, wordsStart, Math.floor((bytes.byteOffset + end - wordsStart) / 4));
}

/**
 * Finds the first bit of a value.
 *
 * @param bytes Holds the string.
 * @param start Where the string begins.
 * @param firstBit First bit to look at, counted from byte `start`.
 * @param lastBit Last bit to look at. Not before the first one.
 * @param value What to look for.
 * @returns Its place, counted from byte `start`, or -1.
 */
export function findBit(bytes: Uint8Array, start: number, firstBit: number, lastBit: number, value: 0 | 1): number {
  // With all bits turned around if a zero is looked for, it is always a one.
  const flip = value === 1 ? 0x00 : 0xff;
  const firstByte = start + Math.floor(firstBit / 8);
  const end = start + Math.floor(lastBit / 8) + 1;
  let at = firstByte;
  let byte = ((bytes[at] as number) ^ flip) & (0xff >> (firstBit % 8));
  if (byte === 0) {
    at = skipBytes(bytes, firstByte + 1, end, flip);
    if (at === end) return -1;
    byte = (bytes[at] as number) ^ flip;
  }
  const bit = (at - start) * 8 + Math.clz32(byte) - 24;
  return bit <= lastBit ? bit : -1;
}

/** Steps over bytes that are all `skipped` (0x00 or 0xff). Returns where another one is, or `end`. */
function skipBytes(bytes: Uint8Array, start: number, end: number, skipped: number): number {
  let at = start;
  if (end - start >= WORDS_FROM_BYTES) {
    const words = wordsWithin(bytes, start, end);
    const wordsStart = words.byteOffset - bytes.byteOffset;
    for (; at < wordsStart; at += 1) if (bytes[at] !== skipped) return at;
    const skippedWord = (skipped << 24) >> 31;
    let index = 0;
    while (index < words.length && words[index] === skippedWord) index += 1;
    at += index * 4;
  }
  while (at < end && bytes[at] === skipped) at += 1;
  return at;
}

export type BitOperation = "and" | "or" | "xor" | "not";

/**
 * Combines strings bit by bit; shorter ones count as if zeros followed.
 *
 * @param operation What to do. `not` turns the first source around.
 * @param sources At least one; of `not`, just one.
 * @returns As long as the longest.
 */
export function combineBits(operation: BitOperation, sources: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const source of sources) length = Math.max(length, source.length);
  // A whole number of words; what is too much is cut off at the end.
  const words = new Int32Array((length + 3) >>> 2);
  const result = new Uint8Array(words.buffer, 0, length);
  const [first, ...rest] = sources;
  if (first === undefined) return result;
  result.set(first);
  if (operation === "not") {
    for (let index = 0; index < words.length; index += 1) words[index] = ~(words[index] as number);
    return result;
  }
  const piece = new Int32Array(Math.min(words.length, PIECE_BYTES / 4));
  const pieceBytes = new Uint8Array(piece.buffer);
  for (const source of rest) {
    for (let at = 0; at < length; at += PIECE_BYTES) {
      const part = source.subarray(at, at + PIECE_BYTES);
      pieceBytes.set(part);
      pieceBytes.fill(0, part.length);
      combineWords(operation, words, at / 4, piece);
    }
  }
  return result;
}

/** Combines words with `piece`, from the word at `at` on, as far as there are any. */
function combineWords(operation: "and" | "or" | "xor", words: Int32Array, at: number, piece: Int32Array): void {
  const count = Math.min(piece.length, words.length - at);
  switch (operation) {
    case "and":
      for (let index = 0; index < count; index += 1)
        words[at + index] = (words[at + index] as number) & (piece[index] as number);
      break;
    case "or":
      for (let index = 0; index < count; index += 1)
        words[at + index] = (words[at + index] as number) | (piece[index] as number);
      break;
    case "xor":
      for (let index = 0; index < count; index += 1)
        words[at + index] = (words[at + index] as number) ^ (piece[index] as number);
      break;
    default:
      operation satisfies never;
  }
}

/** A kind of number in a bit field. */
export interface FieldType {
  readonly isSigned: boolean;
  /** 1 to 64, of unsigned ones 63. */
  readonly bits: number;
}

/** What happens to a number that does not fit: it goes round, it stops at the limit, or it is not written. */
export type Overflow = "wrap" | "sat" | "fail";

/**
 * Reads a type such as `i16` or `u8`.
 *
 * @param text The type's name.
 * @returns The type, or `undefined` if there is none of that name.
 */
export function parseFieldType(text: string): FieldType | undefined {
  const match = /^([iu])([1-9][0-9]?)$/.exec(text);
  if (match === null) return undefined;
  const isSigned = match[1] === "i";
  const bits = Number(match[2]);
  return bits <= (isSigned ? 64 : 63) ? { isSigned, bits } : undefined;
}

/**
 * Reads a field. Bits beyond the string are zero.
 *
 * @param bytes The string.
 * @param offset The field's first bit, which is its highest.
 * @param type The field's kind.
 * @returns Its value.
 */
export function readField(bytes: Uint8Array, offset: number, { isSigned, bits }: FieldType): bigint {
  let value: bigint;
  if (bits <= 32) {
    value = BigInt(readBits(bytes, offset, bits));
  } else {
    const high = BigInt(readBits(bytes, offset, bits - 32));
    value = (high << 32n) | BigInt(readBits(bytes, offset + bits - 32, 32));
  }
  return isSigned ? BigInt.asIntN(bits, value) : value;
}

/** Reads up to 32 bits. */
function readBits(bytes: Uint8Array, offset: number, count: number): number {
  let at = Math.floor(offset / 8);
  const skipped = offset % 8;
  let value = (at < bytes.length ? (bytes[at] as number) : 0) & (0xff >> skipped);
  let left = count - (8 - skipped);
  if (left <= 0) return value >> -left;
  for (; left > 0; left -= 8) {
    at += 1;
    const byte = at < bytes.length ? (bytes[at] as number) : 0;
    value = left >= 8 ? value * 256 + byte : value * 2 ** left + (byte >> (8 - left));
  }
  return value;
}

/**
 * Writes a field.
 *
 * @param bytes The string, which the field lies within.
 * @param offset The field's first bit, which is its highest.
 * @param type The field's kind.
 * @param value What to write; of one that does not fit, the lower bits.
 */
export function writeField(bytes: Uint8Array, offset: number, { bits }: FieldType, value: bigint): void {
  if (bits > 32) writeBits(bytes, offset, bits - 32, Number(BigInt.asUintN(bits - 32, value >> 32n)));
  const low = Math.min(bits, 32);
  writeBits(bytes, offset + bits - low, low, Number(BigInt.asUintN(low, value)));
}

/** Writes up to 32 bits, the lowest ones first. */
function writeBits(bytes: Uint8Array, offset: number, count: number, value: number): void {
  let rest = value;
  let left = count;
  while (left > 0) {
    const lastBit = offset + left - 1;
    const at = Math.floor(lastBit / 8);
    // In this byte: how many bits lie behind the field, and how many belong to it.
    const behind = 7 - (lastBit % 8);
    const taken = Math.min(8 - behind, left);
    const mask = (0xff >> (8 - taken)) << behind;
    bytes[at] = ((bytes[at] as number) & ~mask) | ((rest << behind) & mask);
    rest = Math.floor(rest / 2 ** taken);
    left -= taken;
  }
}

/**
 * Adds to a field's value, within the field's range.
 *
 * (Redis saturates at the upper limit when a number of 64 bits next to the lowest one is set in a narrower signed field: its
 * subtraction goes round. Here it is the lower limit.)
 *
 * @param type The field's kind.
 * @param value The field's value, or one that is to be written (which may be out of range already).
 * @param increment What to add.
 * @param overflow What to do with a sum that does not fit.
 * @returns The value to write, or `undefined` if it does not fit and `overflow` is `fail`.
 */
export function addToField(type: FieldType, value: bigint, increment: bigint, overflow: Overflow): bigint | undefined {
  const { isSigned, bits } = type;
  const size = BigInt(bits);
  const most = isSigned ? 2n ** (size - 1n) - 1n : 2n ** size - 1n;
  const least = isSigned ? -(2n ** (size - 1n)) : 0n;
  // A negative number that is to be written to an unsigned field is a very large one, to C.
  const start = isSigned ? value : BigInt.asUintN(64, value);
  const sum = start + increment;
  if (start <= most && start >= least && sum <= most && sum >= least) return sum;
  if (overflow === "fail") return undefined;
  if (overflow === "wrap") return isSigned ? BigInt.asIntN(bits, sum) : BigInt.asUintN(bits, sum);
  return sum > most || start > most ? most : least;
}
