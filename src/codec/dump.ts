/**
 * The payload of DUMP and RESTORE: Redis' own format, for strings.
 *
 *     type (1 byte: 0, a string), the string, version (2 bytes), CRC64 of all before (8 bytes)
 *
 * A string is a length and its bytes; or a small number in 1, 2 or 4 bytes; or compressed with LZF. Lengths take 1, 2, 5 or 9 bytes. What is written here is
 * never compressed: Redis reads it all the same.
 *
 * Source: Redis' RDB file format, version 10.
 */

/** The version that Redis 7.0 writes, and the latest that it reads. */
const RDB_VERSION = 10;
const FOOTER_BYTES = 10;
const TYPE_STRING = 0;
/** The two highest bits of a length's first byte say its form. */
const FORM_6_BITS = 0x00;
const FORM_14_BITS = 0x40;
const FORM_LONG = 0x80;
const FORM_ENCODED = 0xc0;
const LENGTH_32_BITS = 0x80;
const LENGTH_64_BITS = 0x81;
const ENCODED_INT8 = 0;
const ENCODED_INT16 = 1;
const ENCODED_INT32 = 2;
const ENCODED_LZF = 3;

/** What a payload holds. */
export type Decoded =
  | { readonly kind: "string"; readonly value: Uint8Array }
  /** Whole, but of another type of value. */
  | { readonly kind: "unsupported"; readonly type: number }
  /** Whole, but what it holds makes no sense. */
  | { readonly kind: "malformed" }
  /** Damaged, or of a version that is not known. */
  | { readonly kind: "damaged" };

// CRC64 (Jones), reflected, a byte at a time, in two halves of 32 bits: eight times as fast as with 64-bit integers.
const CRC_LOW = new Int32Array(256);
const CRC_HIGH = new Int32Array(256);
for (let byte = 0; byte < 256; byte += 1) {
  let low = byte;
  let high = 0;
  for (let bit = 0; bit < 8; bit += 1) {
    const isOdd = (low & 1) !== 0;
    low = (low >>> 1) | (high << 31);
    high >>>= 1;
    if (isOdd) {
      low ^= 0xac4bc9b5;
      high ^= 0x95ac9329;
    }
  }
  CRC_LOW[byte] = low;
  CRC_HIGH[byte] = high;
}

/** The CRC64 of some bytes, as its low and its high half. */
export function crc64(bytes: Uint8Array, start: number, end: number): { readonly low: number; readonly high: number } {
  let low = 0;
  let high = 0;
  for (let at = start; at < end; at += 1) {
    const index = (low ^ (bytes[at] as number)) & 0xff;
    const shifted = (low >>> 8) | (high << 24);
    high = (high >>> 8) ^ (CRC_HIGH[index] as number);
    low = shifted ^ (CRC_LOW[index] as number);
  }
  return { low: low >>> 0, high: high >>> 0 };
}

/** Makes the payload of a string. */
export function encodeString(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const length = end - start;
  const number = smallNumber(bytes, start, end);
  const header = number === undefined ? lengthBytes(length) : numberBytes(number);
  const content = number === undefined ? length : 0;
  const payload = new Uint8Array(1 + header.length + content + FOOTER_BYTES);
  payload[0] = TYPE_STRING;
  payload.set(header, 1);
  if (content > 0) payload.set(bytes.subarray(start, end), 1 + header.length);
  const footer = payload.length - FOOTER_BYTES;
  const view = new DataView(payload.buffer);
  view.setUint16(footer, RDB_VERSION, true);
  const { low, high } = crc64(payload, 0, footer + 2);
  view.setUint32(footer + 2, low, true);
  view.setUint32(footer + 6, high, true);
  return payload;
}

/**
 * Reads a payload. Never throws, whatever it is given.
 *
 * @param maxBytes The longest value that is accepted: a compressed one says how long it is before it is read.
 */
export function decode(payload: Uint8Array, start: number, end: number, maxBytes: number): Decoded {
  if (end - start < FOOTER_BYTES + 1) return { kind: "damaged" };
  const footer = end - FOOTER_BYTES;
  const view = new DataView(payload.buffer, payload.byteOffset + start, end - start);
  if (view.getUint16(footer - start, true) > RDB_VERSION) return { kind: "damaged" };
  const { low, high } = crc64(payload, start, footer + 2);
  if (view.getUint32(footer - start + 2, true) !== low || view.getUint32(footer - start + 6, true) !== high)
    return { kind: "damaged" };
  const type = payload[start] as number;
  if (type !== TYPE_STRING) return { kind: "unsupported", type };
  const value = decodeString(payload, start + 1, footer, maxBytes);
  return value === undefined ? { kind: "malformed" } : { kind: "string", value };
}

/** A number that Redis writes in 1, 2 or 4 bytes: its digits are just those that it would be shown with. */
function smallNumber(bytes: Uint8Array, start: number, end: number): number | undefined {
  if (end === start || end - start > 11) return undefined;
  let text = "";
  for (let at = start; at < end; at += 1) text += String.fromCharCode(bytes[at] as number);
  if (!/^(0|-?[1-9][0-9]*)$/.test(text)) return undefined;
  const value = Number(text);
  return value >= -(2 ** 31) && value < 2 ** 31 ? value : undefined;
}

function numberBytes(value: number): Uint8Array {
  if (value >= -128 && value < 128) return Uint8Array.of(FORM_ENCODED | ENCODED_INT8, value & 0xff);
  if (value >= -32_768 && value < 32_768)
    return Uint8Array.of(FORM_ENCODED | ENCODED_INT16, value & 0xff, (value >> 8) & 0xff);
  return Uint8Array.of(
    FORM_ENCODED | ENCODED_INT32,
    value & 0xff,
    (value >> 8) & 0xff,
    (value >> 16) & 0xff,
    (value >> 24) & 0xff,
  );
}

function lengthBytes(length: number): Uint8Array {
  if (length < 2 ** 6) return Uint8Array.of(FORM_6_BITS | length);
  if (length < 2 ** 14) return Uint8Array.of(FORM_14_BITS | (length >> 8), length & 0xff);
  return Uint8Array.of(
    LENGTH_32_BITS,
    (length >>> 24) & 0xff,
    (length >>> 16) & 0xff,
    (length >>> 8) & 0xff,
    length & 0xff,
  );
}

interface Length {
  readonly value: number;
  /** Instead of a length: how the string is encoded. */
  readonly isEncoded: boolean;
  readonly after: number;
}

function readLength(bytes: Uint8Array, at: number, end: number): Length | undefined {
  if (at >= end) return undefined;
  const first = bytes[at] as number;
  const form = first & 0xc0;
  if (form === FORM_6_BITS) return { value: first & 0x3f, isEncoded: false, after: at + 1 };
  if (form === FORM_ENCODED) return { value: first & 0x3f, isEncoded: true, after: at + 1 };
  if (form === FORM_14_BITS) {
    return at + 2 > end
      ? undefined
      : { value: ((first & 0x3f) << 8) | (bytes[at + 1] as number), isEncoded: false, after: at + 2 };
  }
  const size = form === FORM_LONG && first === LENGTH_32_BITS ? 4 : first === LENGTH_64_BITS ? 8 : 0;
  if (size === 0 || at + 1 + size > end) return undefined;
  let value = 0;
  for (let index = 1; index <= size; index += 1) value = 256 * value + (bytes[at + index] as number);
  return { value, isEncoded: false, after: at + 1 + size };
}

function decodeString(bytes: Uint8Array, start: number, end: number, maxBytes: number): Uint8Array | undefined {
  const length = readLength(bytes, start, end);
  if (length === undefined) return undefined;
  const { value, isEncoded, after } = length;
  if (!isEncoded) return value > maxBytes || after + value !== end ? undefined : bytes.slice(after, end);
  if (value === ENCODED_LZF) {
    const packed = readLength(bytes, after, end);
    if (packed === undefined || packed.isEncoded) return undefined;
    const plain = readLength(bytes, packed.after, end);
    if (plain === undefined || plain.isEncoded || plain.value > maxBytes) return undefined;
    if (plain.after + packed.value !== end) return undefined;
    return decompress(bytes, plain.after, end, plain.value);
  }
  const size = value === ENCODED_INT8 ? 1 : value === ENCODED_INT16 ? 2 : value === ENCODED_INT32 ? 4 : 0;
  if (size === 0 || after + size !== end) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + after, size);
  const number = size === 1 ? view.getInt8(0) : size === 2 ? view.getInt16(0, true) : view.getInt32(0, true);
  return new TextEncoder().encode(String(number));
}

/**
 * Undoes LZF: runs of plain bytes, and references to bytes that were written before.
 *
 * @param length What must come out. A reference says at most 264 bytes in 3, so no more than 88 times the input is ever made.
 */
function decompress(bytes: Uint8Array, start: number, end: number, length: number): Uint8Array | undefined {
  if (length > (end - start) * 88) return undefined;
  const plain = new Uint8Array(length);
  let at = start;
  let written = 0;
  while (at < end) {
    const control = bytes[at++] as number;
    if (control < 32) {
      const run = control + 1;
      if (at + run > end || written + run > length) return undefined;
      plain.set(bytes.subarray(at, at + run), written);
      at += run;
      written += run;
      continue;
    }
    let run = control >> 5;
    if (run === 7) {
      if (at >= end) return undefined;
      run += bytes[at++] as number;
    }
    run += 2;
    if (at >= end) return undefined;
    let from = written - ((control & 0x1f) << 8) - (bytes[at++] as number) - 1;
    if (from < 0 || written + run > length) return undefined;
    // Byte by byte: a reference may reach into what it writes itself.
    for (let count = 0; count < run; count += 1) plain[written++] = plain[from++] as number;
  }
  return written === length ? plain : undefined;
}
