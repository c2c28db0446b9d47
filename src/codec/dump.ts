/**
 * Values as DUMP gives them and RESTORE takes them: Redis' own format, so that keys move between Redis and a bunch.
 *
 * A payload is one type byte, the value as in Redis' snapshot files, the format's version (two bytes), and a checksum of
 * all before it (eight bytes), both lowest byte first. Strings are type 0, and are written as the first of these that fits:
 * - an integer of 8, 16 or 32 bits, if the string is how such a number is written;
 * - compressed with LZF, from 21 bytes on, if that saves more than four bytes;
 * - length and bytes.
 *
 * Payloads come from clients, so `decode` trusts nothing: it never throws, and never takes more memory than the
 * payload can fill and the caller allows. (Redis lets a value that is cut off reach into version and checksum; here it is
 * malformed.)
 */
import { writeCrc64 } from "./crc64.ts";
import { compressLzf, decompressLzf } from "./lzf.ts";
import { parseInteger, writeInteger } from "./number.ts";

/** What Redis 7.0 writes, and the newest that it reads. */
export const DUMP_VERSION = 10;

const TYPE_STRING = 0;
const VERSION_BYTES = 2;
const CHECKSUM_BYTES = 8;
const FOOTER_BYTES = VERSION_BYTES + CHECKSUM_BYTES;

// The two top bits of a length's first byte say how it goes on.
const LENGTH_14_BITS = 0x40;
const LENGTH_32_BITS = 0x80;
const LENGTH_64_BITS = 0x81;
/** No length follows but a special kind of string, named by the other bits. */
const SPECIAL = 0xc0;
const SPECIAL_INTEGER_8 = 0;
const SPECIAL_INTEGER_16 = 1;
const SPECIAL_INTEGER_32 = 2;
const SPECIAL_LZF = 3;

/** A longer string is no integer of 32 bits ("-2147483648" has eleven). */
const INTEGER_TEXT_MAX = 11;
/** Redis does not try to compress shorter strings. */
const COMPRESSED_FROM_BYTES = 21;
/** What compression must save to be worth it, by Redis' count. */
const COMPRESSION_GAIN_BYTES = 4;
/** No header is longer: type, special kind, two lengths of five bytes. */
const HEADER_BYTES_MAX = 12;

/** What a payload holds. */
export type Decoded =
  /** `value` is a copy. */
  | { readonly kind: "string"; readonly value: Uint8Array }
  /** Sound, but no string: a type that Redis calls by this number. */
  | { readonly kind: "unsupported"; readonly type: number }
  /** "DUMP payload version or checksum are wrong": cut, damaged, or of a version that is not known. */
  | { readonly kind: "damaged" }
  /** "Bad data format": the checksum is right, and yet this is no value. */
  | { readonly kind: "malformed" }
  /** The value would have more bytes than the caller allows. */
  | { readonly kind: "too-large" };

/**
 * Writes a string's payload, with the same bytes as Redis 7.0 gives by default.
 *
 * @param bytes Holds the string.
 * @param start Where it begins.
 * @param end Where it ends, exclusive.
 * @returns The payload.
 * @example
 * ```ts
 * const payload = encodeString(value, 0, value.length);
 * ```
 */
export function encodeString(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const length = end - start;
  if (length <= INTEGER_TEXT_MAX) {
    const integer = parseInteger(bytes, start, end);
    if (integer === (integer | 0)) return encodeInteger(integer);
  }
  const compressed =
    length < COMPRESSED_FROM_BYTES ? undefined : compressLzf(bytes, start, end, length - COMPRESSION_GAIN_BYTES);
  const body = new Uint8Array(HEADER_BYTES_MAX + (compressed?.length ?? length) + FOOTER_BYTES);
  body[0] = TYPE_STRING;
  let at = 1;
  if (compressed === undefined) {
    at = writeLength(body, at, length);
    body.set(bytes.subarray(start, end), at);
    at += length;
  } else {
    body[at] = SPECIAL | SPECIAL_LZF;
    at = writeLength(body, at + 1, compressed.length);
    at = writeLength(body, at, length);
    body.set(compressed, at);
    at += compressed.length;
  }
  return seal(body, at);
}

/**
 * Writes a payload with nothing in it, not even a type: what FUNCTION DUMP gives where there are no functions.
 *
 * @returns The payload.
 */
export function encodeNothing(): Uint8Array {
  return seal(new Uint8Array(FOOTER_BYTES), 0);
}

/**
 * Reads a payload.
 *
 * @param payload Holds it.
 * @param start Where it begins.
 * @param end Where it ends, exclusive.
 * @param maxBytes The longest value to accept.
 * @returns The value, or what is wrong.
 * @example
 * ```ts
 * const decoded = decode(input, start, end, maxValueBytes);
 * if (decoded.kind === "string") store(decoded.value);
 * ```
 */
export function decode(payload: Uint8Array, start: number, end: number, maxBytes: number): Decoded {
  const footer = bodyEnd(payload, start, end);
  if (footer < start) return { kind: "damaged" };
  if (footer === start) return { kind: "malformed" };
  const type = payload[start] as number;
  if (type !== TYPE_STRING) return { kind: "unsupported", type };
  return new StringReader(payload, start + 1, footer).read(maxBytes);
}

/**
 * Checks a payload's version and checksum, whatever it holds.
 *
 * @param payload Holds it.
 * @param start Where it begins.
 * @param end Where it ends, exclusive.
 * @returns Where what it holds ends, exclusive: at `start` if it holds nothing; -1 if it is damaged.
 */
export function bodyEnd(payload: Uint8Array, start: number, end: number): number {
  const footer = end - FOOTER_BYTES;
  if (footer < start) return -1;
  const version = (payload[footer] as number) | ((payload[footer + 1] as number) << 8);
  if (version > DUMP_VERSION) return -1;
  const checksum = new Uint8Array(CHECKSUM_BYTES);
  const checksumAt = footer + VERSION_BYTES;
  writeCrc64(payload, start, checksumAt, checksum, 0);
  return checksum.every((byte, index) => byte === payload[checksumAt + index]) ? footer : -1;
}

/** Reads the string between two positions. What follows it is ignored, as Redis does. */
class StringReader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #at: number;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  read(maxBytes: number): Decoded {
    if (this.#at >= this.#end) return { kind: "malformed" };
    const first = this.#bytes[this.#at] as number;
    if (first >= SPECIAL) {
      this.#at++;
      return this.#readSpecial(first - SPECIAL, maxBytes);
    }
    const length = this.#readLength();
    if (length > this.#end - this.#at) return { kind: "malformed" };
    if (length > maxBytes) return { kind: "too-large" };
    return { kind: "string", value: this.#bytes.slice(this.#at, this.#at + length) };
  }

  #readSpecial(special: number, maxBytes: number): Decoded {
    switch (special) {
      case SPECIAL_INTEGER_8:
        return this.#readInteger(1);
      case SPECIAL_INTEGER_16:
        return this.#readInteger(2);
      case SPECIAL_INTEGER_32:
        return this.#readInteger(4);
      case SPECIAL_LZF:
        return this.#readCompressed(maxBytes);
      default:
        return { kind: "malformed" };
    }
  }

  #readInteger(width: number): Decoded {
    if (this.#at + width > this.#end) return { kind: "malformed" };
    let value = 0;
    for (let index = 0; index < width; index++) value |= (this.#bytes[this.#at + index] as number) << (index * 8);
    const unused = 32 - width * 8;
    const text = new Uint8Array(INTEGER_TEXT_MAX);
    return { kind: "string", value: text.subarray(0, writeInteger(text, 0, (value << unused) >> unused)) };
  }

  #readCompressed(maxBytes: number): Decoded {
    const compressedLength = this.#readLength();
    const length = this.#readLength();
    if (compressedLength > this.#end - this.#at || length === Infinity) return { kind: "malformed" };
    if (length > maxBytes) return { kind: "too-large" };
    const value = decompressLzf(this.#bytes, this.#at, this.#at + compressedLength, length);
    return value === undefined ? { kind: "malformed" } : { kind: "string", value };
  }

  /** Reads a length and steps over it; `Infinity`, which no payload has room for, if there is none. */
  #readLength(): number {
    const bytes = this.#bytes;
    const at = this.#at;
    if (at >= this.#end) return Infinity;
    const first = bytes[at] as number;
    // Where only a length can be, the server takes a special kind's low bits for one.
    if (first >= SPECIAL) {
      this.#at = at + 1;
      return first - SPECIAL;
    }
    if (first < LENGTH_14_BITS) {
      this.#at = at + 1;
      return first;
    }
    if (first < LENGTH_32_BITS) {
      this.#at = at + 2;
      return this.#at > this.#end ? Infinity : ((first & 0x3f) << 8) | (bytes[at + 1] as number);
    }
    if (first !== LENGTH_32_BITS && first !== LENGTH_64_BITS) return Infinity;
    this.#at = at + (first === LENGTH_32_BITS ? 5 : 9);
    if (this.#at > this.#end) return Infinity;
    // Highest byte first. Beyond 2^53 digits get lost, far above any length that could be right.
    let length = 0;
    for (let index = at + 1; index < this.#at; index++) length = length * 256 + (bytes[index] as number);
    return length;
  }
}

function encodeInteger(value: number): Uint8Array {
  const body = new Uint8Array(HEADER_BYTES_MAX + FOOTER_BYTES);
  body[0] = TYPE_STRING;
  let width = 4;
  let special = SPECIAL_INTEGER_32;
  if (value === (value << 24) >> 24) {
    width = 1;
    special = SPECIAL_INTEGER_8;
  } else if (value === (value << 16) >> 16) {
    width = 2;
    special = SPECIAL_INTEGER_16;
  }
  body[1] = SPECIAL | special;
  for (let index = 0; index < width; index++) body[2 + index] = value >> (index * 8);
  return seal(body, 2 + width);
}

/** @returns Where the length ends. */
function writeLength(target: Uint8Array, at: number, length: number): number {
  if (length < 64) {
    target[at] = length;
    return at + 1;
  }
  if (length < 16384) {
    target[at] = LENGTH_14_BITS | (length >> 8);
    target[at + 1] = length & 0xff;
    return at + 2;
  }
  // No string has more than 512 MiB, so the form of 64 bits is never written.
  target[at] = LENGTH_32_BITS;
  for (let index = 0; index < 4; index++) target[at + 1 + index] = length >>> (24 - index * 8);
  return at + 5;
}

/** Adds version and checksum behind the first `length` bytes. */
function seal(body: Uint8Array, length: number): Uint8Array {
  body[length] = DUMP_VERSION & 0xff;
  body[length + 1] = DUMP_VERSION >> 8;
  writeCrc64(body, 0, length + VERSION_BYTES, body, length + VERSION_BYTES);
  return body.subarray(0, length + FOOTER_BYTES);
}
