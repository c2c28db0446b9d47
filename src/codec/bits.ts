/**
 * Bits of strings, as the bitmap commands see them: bit 0 is the highest bit of the first byte.
 */

/** How many bits are set in each byte. */
const ONES = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0;
  for (let rest = byte; rest !== 0; rest &= rest - 1) count += 1;
  return count;
});

/**
 * Counts the bits that are set.
 *
 * @param firstBit First bit to look at, counted from byte `start`.
 * @param lastBit Last bit to look at. Not before the first one.
 */
export function countBits(bytes: Uint8Array, start: number, firstBit: number, lastBit: number): number {
  const firstByte = start + Math.floor(firstBit / 8);
  const lastByte = start + Math.floor(lastBit / 8);
  let count = 0;
  for (let at = firstByte; at <= lastByte; at += 1) count += ONES[bytes[at] as number] as number;
  // The bits of the outer bytes that were not asked for.
  count -= ONES[(bytes[firstByte] as number) & ~(0xff >> (firstBit % 8)) & 0xff] as number;
  count -= ONES[(bytes[lastByte] as number) & (0xff >> ((lastBit % 8) + 1))] as number;
  return count;
}

/**
 * Finds the first bit of a value.
 *
 * @returns Its place, counted from byte `start`, or -1.
 */
export function findBit(bytes: Uint8Array, start: number, firstBit: number, lastBit: number, value: 0 | 1): number {
  const skipped = value === 1 ? 0x00 : 0xff;
  let bit = firstBit;
  while (bit <= lastBit) {
    const byte = bytes[start + Math.floor(bit / 8)] as number;
    if (bit % 8 === 0 && byte === skipped) bit += 8;
    else if (((byte >> (7 - (bit % 8))) & 1) === value) return bit;
    else bit += 1;
  }
  return -1;
}

export type BitOperation = "and" | "or" | "xor" | "not";

/**
 * Combines strings bit by bit; shorter ones count as if zeros followed.
 *
 * @param sources At least one; of `not`, just one.
 * @returns As long as the longest.
 */
export function combineBits(operation: BitOperation, sources: readonly Uint8Array[]): Uint8Array {
  const length = Math.max(0, ...sources.map((source) => source.length));
  const result = new Uint8Array(length);
  const [first, ...rest] = sources;
  if (first === undefined) return result;
  result.set(first);
  if (operation === "not") {
    for (let at = 0; at < length; at += 1) result[at] = ~(result[at] as number) & 0xff;
    return result;
  }
  for (const source of rest) {
    for (let at = 0; at < length; at += 1) {
      const byte = source[at] ?? 0;
      const before = result[at] as number;
      result[at] = operation === "and" ? before & byte : operation === "or" ? before | byte : before ^ byte;
    }
  }
  return result;
}

/** A kind of number in a bit field. */
export interface FieldType {
  readonly isSigned: boolean;
  /** 1 to 64, of unsigned ones 63. */
  readonly bits: number;
}

export type Overflow = "wrap" | "sat" | "fail";

/** Reads a type such as `i16` or `u8`. */
export function parseFieldType(text: string): FieldType | undefined {
  const match = /^([iu])([1-9][0-9]?)$/.exec(text);
  if (match === null) return undefined;
  const isSigned = match[1] === "i";
  const bits = Number(match[2]);
  return bits <= (isSigned ? 64 : 63) ? { isSigned, bits } : undefined;
}

/** Reads a field. Bits beyond the string are zero. @param bytes The string. */
export function readField(bytes: Uint8Array, offset: number, { isSigned, bits }: FieldType): bigint {
  let value = 0n;
  for (let bit = offset; bit < offset + bits; bit += 1) {
    const byte = bytes[Math.floor(bit / 8)] ?? 0;
    value = (value << 1n) | BigInt((byte >> (7 - (bit % 8))) & 1);
  }
  return isSigned ? BigInt.asIntN(bits, value) : value;
}

/** Writes a field, which lies within the string. */
export function writeField(bytes: Uint8Array, offset: number, { bits }: FieldType, value: bigint): void {
  let rest = BigInt.asUintN(bits, value);
  for (let bit = offset + bits - 1; bit >= offset; bit -= 1) {
    const at = Math.floor(bit / 8);
    const mask = 0x80 >> (bit % 8);
    const byte = bytes[at] as number;
    bytes[at] = (rest & 1n) === 1n ? byte | mask : byte & ~mask;
    rest >>= 1n;
  }
}

/**
 * Adds to a field's value, within the field's range.
 *
 * @param value The field's value, or one that is to be written (which may be out of range already).
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
