/**
 * Numbers as Redis reads and writes them: integers of 64 bits, and the floating-point numbers of INCRBYFLOAT.
 *
 * Integers are read strictly, as Redis does: no blanks, no plus sign, no leading zeros. INCRBYFLOAT calculates in C's `long double`, 80 bits with a
 * mantissa of 64, and prints 17 digits after the point; so that results are the same to the last digit, that arithmetic is done here on whole
 * numbers of any size.
 */

const ZERO = 0x30;
const NINE = 0x39;
const MINUS = 0x2d;
const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);
/** Digits that a number of 64 bits can have. */
const MAX_DIGITS = 19;
/** Digits that always make a safe integer. */
const SAFE_DIGITS = 15;

/**
 * Reads a whole number that JavaScript can hold exactly.
 *
 * @returns The number, or NaN if the bytes are none, or one beyond 2^53 (`parseInt64` reads those).
 */
export function parseSafeInteger(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  const isNegative = at < end && bytes[at] === MINUS;
  if (isNegative) at += 1;
  const digits = end - at;
  if (digits === 0 || digits > 16) return Number.NaN;
  if (bytes[at] === ZERO) return digits === 1 && !isNegative ? 0 : Number.NaN;
  let value = 0;
  for (; at < end; at += 1) {
    const byte = bytes[at] as number;
    if (byte < ZERO || byte > NINE) return Number.NaN;
    value = 10 * value + (byte - ZERO);
  }
  if (digits > SAFE_DIGITS && value > Number.MAX_SAFE_INTEGER) return Number.NaN;
  return isNegative ? -value : value;
}

/**
 * Reads a whole number of 64 bits.
 *
 * @returns The number, or `undefined` if the bytes are none, or one that does not fit.
 */
export function parseInt64(bytes: Uint8Array, start: number, end: number): bigint | undefined {
  let at = start;
  const isNegative = at < end && bytes[at] === MINUS;
  if (isNegative) at += 1;
  const digits = end - at;
  if (digits === 0 || digits > MAX_DIGITS) return undefined;
  if (bytes[at] === ZERO) return digits === 1 && !isNegative ? 0n : undefined;
  let text = isNegative ? "-" : "";
  for (; at < end; at += 1) {
    const byte = bytes[at] as number;
    if (byte < ZERO || byte > NINE) return undefined;
    text += String.fromCharCode(byte);
  }
  const value = BigInt(text);
  return value > INT64_MAX || value < INT64_MIN ? undefined : value;
}

/** Whether a sum or any other number fits 64 bits. */
export function isInt64(value: bigint): boolean {
  return value <= INT64_MAX && value >= INT64_MIN;
}

/**
 * Writes a safe integer in digits.
 *
 * @param target Has room for 17 bytes from `at` on.
 * @returns How many bytes were written.
 */
export function writeInteger(target: Uint8Array, at: number, value: number): number {
  let place = at;
  let rest = value;
  if (rest < 0) {
    target[place++] = MINUS;
    rest = -rest;
  }
  let digits = 1;
  for (let bound = 10; bound <= rest; bound *= 10) digits += 1;
  for (let digit = place + digits - 1; digit >= place; digit -= 1) {
    const quotient = rest < 0x7fffffff ? (rest / 10) | 0 : Math.floor(rest / 10);
    target[digit] = ZERO + (rest - 10 * quotient);
    rest = quotient;
  }
  return place + digits - at;
}

/** A finite `long double`: mantissa * 2^exponent, the mantissa of at most 64 bits. */
interface LongDouble {
  readonly mantissa: bigint;
  readonly exponent: number;
}

/** What INCRBYFLOAT's arithmetic has to say instead of a number. */
export type FloatError = "not a float" | "not finite";

const MANTISSA_BITS = 64;
/** Decimal exponents beyond this are infinite, or zero, in 80 bits. */
const MAX_DECIMAL_EXPONENT = 4933;
/** The longest text that is read as a number (Redis: MAX_LONG_DOUBLE_CHARS). */
const MAX_FLOAT_CHARACTERS = 5 * 1024 - 1;
/** Largest binary exponent of the leading bit. */
const MAX_BINARY_EXPONENT = 16383;
const FRACTION_DIGITS = 17;

/**
 * Adds two decimal numbers as Redis' INCRBYFLOAT does.
 *
 * @param left The value, as text.
 * @param right The increment, as text.
 * @returns The sum as Redis writes it, or what is wrong with which of the two.
 */
export function addFloats(
  left: string,
  right: string,
): string | { readonly error: FloatError; readonly isLeft: boolean } {
  const a = parseFloat80(left);
  if (typeof a === "string") return { error: a, isLeft: true };
  const b = parseFloat80(right);
  if (typeof b === "string") return { error: b, isLeft: false };
  const exponent = Math.min(a.exponent, b.exponent);
  const sum = round({
    mantissa: (a.mantissa << BigInt(a.exponent - exponent)) + (b.mantissa << BigInt(b.exponent - exponent)),
    exponent,
  });
  if (sum === undefined) return { error: "not finite", isLeft: false };
  return formatFloat80(sum);
}

/**
 * Checks a text as Redis checks the numbers of INCRBYFLOAT.
 *
 * @returns What is wrong, or `undefined`.
 */
export function checkFloat(text: string): FloatError | undefined {
  const value = parseFloat80(text);
  return typeof value === "string" ? value : undefined;
}

function parseFloat80(text: string): LongDouble | FloatError {
  if (text.length > MAX_FLOAT_CHARACTERS) return "not a float";
  if (/^[+-]?inf(inity)?$/i.test(text)) return "not finite";
  const match = /^([+-]?)(?:([0-9]+)\.?([0-9]*)|\.([0-9]+))(?:e([+-]?[0-9]+))?$/i.exec(text);
  if (match === null) return parseHexFloat(text);
  const [, sign, whole = "", fraction = match[4] ?? "", , power = "0"] = match;
  const digits = (whole + (match[4] ?? fraction)).replace(/^0+/, "");
  if (digits === "") return { mantissa: 0n, exponent: 0 };
  const decimalExponent = Number(power) - (match[4] ?? fraction).length;
  const leading = decimalExponent + digits.length;
  if (leading > MAX_DECIMAL_EXPONENT + 1 || leading < -MAX_DECIMAL_EXPONENT - 20) return "not a float";
  const magnitude = BigInt(digits);
  const value =
    decimalExponent >= 0
      ? round({ mantissa: magnitude * 10n ** BigInt(decimalExponent), exponent: 0 })
      : divide(magnitude, 10n ** BigInt(-decimalExponent));
  // Out of range is what strtold reports as an error.
  if (value === undefined) return "not a float";
  return sign === "-" ? { mantissa: -value.mantissa, exponent: value.exponent } : value;
}

/** C reads hexadecimal numbers too: 0x1.8p3. */
function parseHexFloat(text: string): LongDouble | FloatError {
  const match = /^([+-]?)0x([0-9a-f]*)\.?([0-9a-f]*)(?:p([+-]?[0-9]{1,6}))?$/i.exec(text);
  if (match === null) return "not a float";
  const [, sign, whole = "", fraction = "", power = "0"] = match;
  if (whole + fraction === "") return "not a float";
  const magnitude = BigInt(`0x${whole}${fraction}`);
  const value = round({ mantissa: magnitude, exponent: Number(power) - 4 * fraction.length });
  if (value === undefined) return "not a float";
  return sign === "-" ? { mantissa: -value.mantissa, exponent: value.exponent } : value;
}

function bitLength(value: bigint): number {
  return value === 0n ? 0 : value.toString(2).length;
}

/** Rounds to a mantissa of 64 bits, halves to even. `undefined`: too large for 80 bits. */
function round(value: LongDouble): LongDouble | undefined {
  const isNegative = value.mantissa < 0n;
  let mantissa = isNegative ? -value.mantissa : value.mantissa;
  let { exponent } = value;
  const excess = bitLength(mantissa) - MANTISSA_BITS;
  if (excess > 0) {
    const shift = BigInt(excess);
    const rest = mantissa & ((1n << shift) - 1n);
    const half = 1n << (shift - 1n);
    mantissa >>= shift;
    if (rest > half || (rest === half && (mantissa & 1n) === 1n)) mantissa += 1n;
    exponent += excess;
  }
  if (mantissa !== 0n && bitLength(mantissa) - 1 + exponent > MAX_BINARY_EXPONENT) return undefined;
  return { mantissa: isNegative ? -mantissa : mantissa, exponent };
}

/** A quotient, rounded to 64 bits. */
function divide(numerator: bigint, denominator: bigint): LongDouble | undefined {
  // Two bits more than the mantissa has, and one that says whether anything is left: enough to round rightly.
  const shift = Math.max(0, MANTISSA_BITS + 2 - (bitLength(numerator) - bitLength(denominator)));
  const scaled = numerator << BigInt(shift);
  const quotient = scaled / denominator;
  const isExact = quotient * denominator === scaled;
  return round({ mantissa: (quotient << 1n) | (isExact ? 0n : 1n), exponent: -shift - 1 });
}

/** `%.17Lf`, without zeros at the end. */
function formatFloat80({ mantissa, exponent }: LongDouble): string {
  const isNegative = mantissa < 0n;
  const magnitude = isNegative ? -mantissa : mantissa;
  const scale = 10n ** BigInt(FRACTION_DIGITS);
  let units: bigint;
  if (exponent >= 0) units = (magnitude << BigInt(exponent)) * scale;
  else {
    const shift = BigInt(-exponent);
    const product = magnitude * scale;
    units = product >> shift;
    const rest = product & ((1n << shift) - 1n);
    const half = 1n << (shift - 1n);
    if (rest > half || (rest === half && (units & 1n) === 1n)) units += 1n;
  }
  const whole = String(units / scale);
  const fraction = String(units % scale)
    .padStart(FRACTION_DIGITS, "0")
    .replace(/0+$/, "");
  const text = fraction === "" ? whole : `${whole}.${fraction}`;
  return isNegative && text !== "0" ? `-${text}` : text;
}
