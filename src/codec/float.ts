/**
 * Fractions as INCRBYFLOAT reads, adds and writes them.
 *
 * Redis computes with the 80-bit floating point of x86 processors (a sign, 64 bits of mantissa, 15 of exponent) and prints
 * 17 digits after the point, zeros at the end cut. JavaScript's numbers are shorter: with them 0.1 + 0.2 would not be 0.3.
 * So the 80-bit kind is computed here with bigints: a number is read exactly, rounded to 64 bits, added exactly, rounded
 * again, written exactly. Each rounding goes to the nearest value, of two equally near ones to the even one, as the
 * processor and the C library do. The answers are Redis' on x86-64, byte for byte.
 *
 * One addition takes a few microseconds, more for exponents in the thousands; the lengths of texts and exponents are
 * bounded, and so is the work.
 */
import { Buffer } from "node:buffer";

/** Bits of a mantissa. */
const MANTISSA_BITS = 64;
/** The last bit of the largest number: 2^16384 less one step is the largest. */
const LARGEST_EXPONENT = 16383 - (MANTISSA_BITS - 1);
/** The last bit of the smallest number that is not zero; smaller mantissas there are the denormal ones. */
const SMALLEST_EXPONENT = -16382 - (MANTISSA_BITS - 1);
/** Digits that are written after the point. */
const FRACTION_DIGITS = 17;
const FRACTION_SCALE = 10n ** BigInt(FRACTION_DIGITS);
/** Redis' buffer: it refuses texts that do not fit, with the zero that ends them in C. */
const TEXT_BYTES_MAX = 5 * 1024 - 1;
/** Beyond it in either direction, no text of that length can come back into the range of numbers. */
const EXPONENT_BOUND = 100_000;

/** A finite number: `mantissa` times 2 to the `exponent`. Rounded ones have at most 64 bits in their mantissa. */
interface Finite {
  readonly mantissa: bigint;
  readonly exponent: number;
}

/** A number as it was read. */
type LongDouble = Finite | "infinite";

/** What an addition came to: the sum's text, or why there is none. */
export type FloatSum =
  { readonly ok: Uint8Array; readonly error?: undefined } | { readonly ok?: undefined; readonly error: FloatError };

/** `not-a-float`: "value is not a valid float". `not-finite`: "increment would produce NaN or Infinity". */
export type FloatError = "not-a-float" | "not-finite";

/** A decimal or hexadecimal fraction, as C reads it; with no `nan`, which Redis refuses, and no spaces. */
const FLOAT =
  /^(?<sign>[+-]?)(?:(?<infinite>inf(?:inity)?)|0x(?<hexWhole>[0-9a-f]*)(?:\.(?<hexPart>[0-9a-f]*))?(?:p(?<hexExponent>[+-]?[0-9]+))?|(?<whole>[0-9]*)(?:\.(?<part>[0-9]*))?(?:e(?<exponent>[+-]?[0-9]+))?)$/i;

/**
 * Adds two numbers, each given as its text, as INCRBYFLOAT does.
 *
 * @param left Holds one text.
 * @param leftStart Where it begins.
 * @param leftEnd Where it ends, exclusive.
 * @param right Holds the other text.
 * @param rightStart Where it begins.
 * @param rightEnd Where it ends, exclusive.
 * @returns The sum's text in `ok`, or an `error`.
 * @example
 * ```ts
 * const sum = addFloats(value, 0, value.length, input, start, end);
 * if (sum.error !== undefined) return FLOAT_ERRORS[sum.error];
 * store(sum.ok);
 * ```
 */
export function addFloats(
  left: Uint8Array,
  leftStart: number,
  leftEnd: number,
  right: Uint8Array,
  rightStart: number,
  rightEnd: number,
): FloatSum {
  const one = parse(left, leftStart, leftEnd);
  const other = parse(right, rightStart, rightEnd);
  if (one === undefined || other === undefined) return { error: "not-a-float" };
  if (one === "infinite" || other === "infinite") return { error: "not-finite" };
  const exponent = Math.min(one.exponent, other.exponent);
  const sum = (one.mantissa << BigInt(one.exponent - exponent)) + (other.mantissa << BigInt(other.exponent - exponent));
  const rounded = round(sum, exponent, false);
  return rounded === "infinite" ? { error: "not-finite" } : { ok: format(rounded) };
}

/**
 * Says whether a text is a number to INCRBYFLOAT.
 *
 * @param bytes Holds the text.
 * @param start Where it begins.
 * @param end Where it ends, exclusive.
 * @returns Whether it is one, the infinite ones included.
 */
export function isFloat(bytes: Uint8Array, start: number, end: number): boolean {
  return parse(bytes, start, end) !== undefined;
}

/** Reads a number; `undefined` if it is none, or if it is finite and rounds to zero or infinity though it is neither. */
function parse(bytes: Uint8Array, start: number, end: number): LongDouble | undefined {
  if (start === end || end - start > TEXT_BYTES_MAX) return undefined;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("latin1");
  const groups = FLOAT.exec(text)?.groups;
  if (groups === undefined) return undefined;
  const { sign, infinite, hexWhole, hexPart = "", hexExponent, whole, part = "", exponent } = groups;
  if (infinite !== undefined) return "infinite";
  const isHex = hexWhole !== undefined;
  const digits = isHex ? hexWhole + hexPart : (whole ?? "") + part;
  if (digits === "") return undefined;
  const magnitude = BigInt(isHex ? `0x${digits}` : digits);
  if (magnitude === 0n) return { mantissa: 0n, exponent: 0 };

  const given = Number((isHex ? hexExponent : exponent) ?? "0");
  const bounded = Math.max(-EXPONENT_BOUND, Math.min(EXPONENT_BOUND, given));
  const rounded = isHex
    ? round(magnitude, bounded - 4 * hexPart.length, false)
    : roundDecimal(magnitude, bounded - part.length, digits.length);
  if (rounded === "infinite" || rounded.mantissa === 0n) return undefined;
  return sign === "-" ? { mantissa: -rounded.mantissa, exponent: rounded.exponent } : rounded;
}

/** Rounds `digits` times 10 to the `exponent`; `length` is how many digits there are at most. */
function roundDecimal(digits: bigint, exponent: number, length: number): LongDouble {
  // 10^4933 is beyond the largest number and 10^-4951 below half of the smallest one: no need for such powers.
  if (exponent > 4933) return "infinite";
  if (length + exponent < -4951) return { mantissa: 0n, exponent: 0 };
  if (exponent >= 0) return round(digits * 10n ** BigInt(exponent), 0, false);
  const divisor = 10n ** BigInt(-exponent);
  // The quotient gets two bits more than a mantissa has, so that a remainder only ever decides between "half" and "above".
  const shift = Math.max(0, MANTISSA_BITS + 2 - (bitLength(digits) - bitLength(divisor)));
  const scaled = digits << BigInt(shift);
  const quotient = scaled / divisor;
  return round(quotient, -shift, quotient * divisor !== scaled);
}

/**
 * Rounds to the nearest number of the 80-bit kind, of two equally near ones to the even one.
 *
 * @param value What to round, in steps of 2 to the `exponent`.
 * @param exponent May be any.
 * @param hasMore Whether the exact value lies a little beyond `value`, by less than one step (away from zero).
 * `value` then has more bits than a mantissa.
 */
function round(value: bigint, exponent: number, hasMore: boolean): LongDouble {
  if (value === 0n) return { mantissa: 0n, exponent: 0 };
  const isNegative = value < 0n;
  let mantissa = isNegative ? -value : value;
  const excess = Math.max(bitLength(mantissa) - MANTISSA_BITS, SMALLEST_EXPONENT - exponent);
  let roundedExponent = exponent;
  if (excess > 0) {
    const cut = BigInt(excess);
    const rest = BigInt.asUintN(excess, mantissa);
    const half = 1n << (cut - 1n);
    mantissa >>= cut;
    roundedExponent += excess;
    if (rest > half || (rest === half && (hasMore || (mantissa & 1n) === 1n))) mantissa += 1n;
  }
  // The top bit counts: a number of few bits may have its last bit beyond the largest one's.
  if (bitLength(mantissa) + roundedExponent > LARGEST_EXPONENT + MANTISSA_BITS) return "infinite";
  return { mantissa: isNegative ? -mantissa : mantissa, exponent: roundedExponent };
}

/** Writes a number with 17 digits after the point, then cuts zeros at the end; negative zero loses its sign. */
function format({ mantissa, exponent }: Finite): Uint8Array {
  const magnitude = mantissa < 0n ? -mantissa : mantissa;
  const sign = mantissa < 0n ? "-" : "";
  if (exponent >= 0) return Buffer.from(sign + (magnitude << BigInt(exponent)).toString());
  const cut = BigInt(-exponent);
  const scaled = magnitude * FRACTION_SCALE;
  const rest = BigInt.asUintN(-exponent, scaled);
  const half = 1n << (cut - 1n);
  let digits = scaled >> cut;
  if (rest > half || (rest === half && (digits & 1n) === 1n)) digits += 1n;
  if (digits === 0n) return Buffer.from("0");
  const text = digits.toString().padStart(FRACTION_DIGITS + 1, "0");
  const point = text.length - FRACTION_DIGITS;
  const part = text.slice(point).replace(/0+$/, "");
  return Buffer.from(sign + text.slice(0, point) + (part === "" ? "" : `.${part}`));
}

/** How many bits a number that is not negative has; 0 for zero. */
function bitLength(value: bigint): number {
  if (value === 0n) return 0;
  const text = value.toString(16);
  return (text.length - 1) * 4 + (32 - Math.clz32(Number.parseInt(text.slice(0, 1), 16)));
}
