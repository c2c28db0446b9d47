/**
 * Whole numbers as commands write them: bytes in, numbers out, and back.
 *
 * Redis' integers have 64 bits; JavaScript's numbers hold 53 without loss. Nearly all that ever come are small, so there is
 * a way for these that allocates nothing (`parseInteger`, `writeInteger`), which also tells when the other one, with
 * bigints, is needed. `float.ts` does the same for fractions.
 */

const ZERO = 0x30;
const NINE = 0x39;
const MINUS = 0x2d;
/** Numbers of up to this many digits are below 2^53: the sum is exact at each step. */
const SAFE_DIGITS = 15;
/** 2^63 - 1 has 19. */
const INTEGER_64_DIGITS = 19;

/** The largest integer of a command or value. */
export const INTEGER_64_MAX = 2n ** 63n - 1n;
/** The smallest integer of a command or value. */
export const INTEGER_64_MIN = -(2n ** 63n);

/**
 * Reads a decimal integer, as strictly as Redis: an optional minus and digits, with no plus, no zeros in front, no spaces
 * and no `-0`; within 64 bits.
 *
 * @param bytes Holds the digits.
 * @param start Where they begin.
 * @param end Where they end, exclusive.
 * @returns The number if it is a safe integer; `Infinity` or `-Infinity` if it is an integer of 64 bits beyond that, which
 * `parseInteger64` reads; `NaN` if it is no such integer.
 * @example
 * ```ts
 * const count = parseInteger(input, start, end);
 * if (Number.isNaN(count)) return "value is not an integer or out of range";
 * ```
 */
export function parseInteger(bytes: Uint8Array, start: number, end: number): number {
  const isNegative = start < end && bytes[start] === MINUS;
  let at = isNegative ? start + 1 : start;
  const digits = end - at;
  if (digits <= 0) return Number.NaN;
  if (digits > SAFE_DIGITS) return parseLong(bytes, start, end);
  if (bytes[at] === ZERO) return digits === 1 && !isNegative ? 0 : Number.NaN;
  let value = 0;
  for (; at < end; at++) {
    const digit = (bytes[at] as number) - ZERO;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return isNegative ? -value : value;
}

/** As `parseInteger`, for what is too long for its loop. */
function parseLong(bytes: Uint8Array, start: number, end: number): number {
  const value = parseInteger64(bytes, start, end);
  if (value === undefined) return Number.NaN;
  const asNumber = Number(value);
  if (Number.isSafeInteger(asNumber)) return asNumber;
  return value < 0n ? -Infinity : Infinity;
}

/**
 * Reads what `parseInteger` reads, up to 64 bits.
 *
 * @param bytes Holds the digits.
 * @param start Where they begin.
 * @param end Where they end, exclusive.
 * @returns The number, or `undefined` if it is no such integer.
 */
export function parseInteger64(bytes: Uint8Array, start: number, end: number): bigint | undefined {
  const isNegative = start < end && bytes[start] === MINUS;
  const first = isNegative ? start + 1 : start;
  const digits = end - first;
  if (digits <= 0 || digits > INTEGER_64_DIGITS) return undefined;
  if (bytes[first] === ZERO) return digits === 1 && !isNegative ? 0n : undefined;
  let text = "";
  for (let at = first; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte < ZERO || byte > NINE) return undefined;
    text += String.fromCharCode(byte);
  }
  const value = isNegative ? -BigInt(text) : BigInt(text);
  return value > INTEGER_64_MAX || value < INTEGER_64_MIN ? undefined : value;
}

/**
 * Says how many bytes `writeInteger` will write.
 *
 * @param value A safe integer.
 * @returns 1 to 17.
 */
export function integerLength(value: number): number {
  let rest = value < 0 ? -value : value;
  let length = value < 0 ? 2 : 1;
  while (rest >= 1e7) {
    // Few numbers come here; the quotient's fraction does no harm to the comparisons.
    rest /= 1e7;
    length += 7;
  }
  for (let power = 10; rest >= power; power *= 10) length++;
  return length;
}

/**
 * Writes a decimal integer.
 *
 * @param target Takes the digits; must have room for them.
 * @param at Where to begin.
 * @param value A safe integer.
 * @returns Where the digits end.
 * @example
 * ```ts
 * end = writeInteger(reply, end, -42); // "-42"
 * ```
 */
export function writeInteger(target: Uint8Array, at: number, value: number): number {
  const end = at + integerLength(value);
  let rest = value;
  if (value < 0) {
    target[at] = MINUS;
    rest = -value;
  }
  let position = end;
  // Below 2^31 the engine divides whole numbers; the rare larger ones go there in steps of seven digits.
  while (rest >= 0x7fffffff) {
    const upper = Math.floor(rest / 1e7);
    let lower = (rest - upper * 1e7) | 0;
    for (let digit = 0; digit < 7; digit++) {
      const quotient = (lower / 10) | 0;
      position--;
      target[position] = ZERO + lower - quotient * 10;
      lower = quotient;
    }
    rest = upper;
  }
  let small = rest | 0;
  do {
    const quotient = (small / 10) | 0;
    position--;
    target[position] = ZERO + small - quotient * 10;
    small = quotient;
  } while (small !== 0);
  return end;
}

/**
 * Writes a decimal integer of any size.
 *
 * @param target Takes the digits; must have room for them (20 bytes hold any of 64 bits).
 * @param at Where to begin.
 * @param value The number.
 * @returns Where the digits end.
 */
export function writeInteger64(target: Uint8Array, at: number, value: bigint): number {
  const text = value.toString();
  for (let index = 0; index < text.length; index++) target[at + index] = text.charCodeAt(index);
  return at + text.length;
}
