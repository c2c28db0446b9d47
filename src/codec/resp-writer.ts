/**
 * The server's side of writing RESP: replies, one after another, into one growing buffer.
 *
 * One writer serves all connections of a node: replies of a turn gather in it and leave in one write. What RESP2 does not have (maps, sets,
 * doubles, nulls ...) is written as Redis writes it to clients of RESP2.
 *
 * Source: the RESP specification of Redis.
 */
import { Buffer } from "node:buffer";

const INITIAL_BYTES = 64 * 1024;
/** A buffer that grew beyond this (by a large value, or a long list) is given back once it was sent. */
const KEPT_BYTES = 1024 * 1024;
/** Copies shorter than this go byte by byte: the call of `Buffer.copy` costs more than the loop (measured: they meet near 48). */
const LOOP_COPY_BYTES = 48;

const CR = 0x0d;
const LF = 0x0a;
const ZERO = 0x30;
const MINUS = 0x2d;
const DOLLAR = 0x24;
const COLON = 0x3a;

const encoder = new TextEncoder();

export class ReplyWriter {
  /** The buffer; replies are its first `length` bytes. Another one after it grew: do not keep it. */
  bytes: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  length = 0;
  /** The version that the client speaks. */
  protocol: 2 | 3 = 2;

  /** Empties it. */
  reset(): void {
    this.length = 0;
    if (this.bytes.length > KEPT_BYTES) this.bytes = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  }

  /** Takes back everything that was written since `length` was `mark`. */
  rewind(mark: number): void {
    this.length = mark;
  }

  /** `+text`. @param text Without line ends. */
  simple(text: string): void {
    this.#line(0x2b, text);
  }

  /** `+OK`. */
  ok(): void {
    this.#room(5);
    const { bytes } = this;
    const at = this.length;
    bytes[at] = 0x2b;
    bytes[at + 1] = 0x4f;
    bytes[at + 2] = 0x4b;
    bytes[at + 3] = CR;
    bytes[at + 4] = LF;
    this.length = at + 5;
  }

  /**
   * `-text`.
   *
   * @param text The error's code, then words: `ERR syntax error`. Line ends in it (from a client's own words) become blanks.
   */
  error(text: string): void {
    this.#line(MINUS, text.replaceAll(/[\r\n]/g, " "));
  }

  /** `:value`. @param value A safe integer. */
  integer(value: number): void {
    this.#header(COLON, value);
  }

  /** `:value`, for 64 bits. */
  bigInteger(value: bigint): void {
    this.#line(COLON, String(value));
  }

  /** `$length`, and the bytes. */
  bulk(source: Uint8Array, start: number, end: number): void {
    const length = end - start;
    this.#header(DOLLAR, length);
    this.#room(length + 2);
    const { bytes } = this;
    let at = this.length;
    if (length < LOOP_COPY_BYTES) {
      for (let from = start; from < end; from += 1) bytes[at++] = source[from] as number;
    } else {
      copyBytes(source, bytes, at, start, end);
      at += length;
    }
    bytes[at] = CR;
    bytes[at + 1] = LF;
    this.length = at + 2;
  }

  /** A bulk of text, as UTF-8. */
  bulkText(text: string): void {
    if (text.length < LOOP_COPY_BYTES && isAscii(text)) {
      this.#header(DOLLAR, text.length);
      this.#room(text.length + 2);
      this.#ascii(text);
      this.#lineEnd();
      return;
    }
    const encoded = encoder.encode(text);
    this.bulk(encoded, 0, encoded.length);
  }

  /** No value, where there could be a bulk. */
  nullBulk(): void {
    this.#constant(this.protocol === 3 ? "_\r\n" : "$-1\r\n");
  }

  /** No value, where there could be an array. */
  nullArray(): void {
    this.#constant(this.protocol === 3 ? "_\r\n" : "*-1\r\n");
  }

  /** Begins an array: `count` replies follow. */
  array(count: number): void {
    this.#header(0x2a, count);
  }

  /** Begins a map: `pairs` keys and values follow, in turn. */
  map(pairs: number): void {
    if (this.protocol === 3) this.#header(0x25, pairs);
    else this.#header(0x2a, 2 * pairs);
  }

  /** Begins a set. */
  set(count: number): void {
    this.#header(this.protocol === 3 ? 0x7e : 0x2a, count);
  }

  /** Begins a message that is no reply. */
  push(count: number): void {
    this.#header(this.protocol === 3 ? 0x3e : 0x2a, count);
  }

  /** A floating-point number. */
  double(value: number): void {
    const text = formatDouble(value);
    if (this.protocol === 3) this.#line(0x2c, text);
    else this.bulkText(text);
  }

  boolean(value: boolean): void {
    if (this.protocol === 3) this.#constant(value ? "#t\r\n" : "#f\r\n");
    else this.integer(value ? 1 : 0);
  }

  /** Text for people, `format` being `txt` or `mkd`. */
  verbatim(format: "txt" | "mkd", text: string): void {
    if (this.protocol === 2) {
      this.bulkText(text);
      return;
    }
    const encoded = encoder.encode(`${format}:${text}`);
    this.#header(0x3d, encoded.length);
    this.raw(encoded, 0, encoded.length);
    this.#room(2);
    this.#lineEnd();
  }

  /** Bytes that are RESP already. */
  raw(source: Uint8Array, start: number, end: number): void {
    this.#room(end - start);
    copyBytes(source, this.bytes, this.length, start, end);
    this.length += end - start;
  }

  /**
   * Begins an array whose count is not known yet.
   *
   * @returns What `endArray` wants.
   */
  beginArray(): number {
    const position = this.length;
    // Room for the largest count. What is too much is taken out at the end, by moving what follows: once for a reply, not once for an element.
    this.#room(COUNT_DIGITS + 3);
    this.length += COUNT_DIGITS + 3;
    return position;
  }

  /** Ends it: `count` replies were written since. */
  endArray(position: number, count: number): void {
    const contentStart = position + COUNT_DIGITS + 3;
    const contentEnd = this.length;
    this.length = position;
    this.array(count);
    this.bytes.copyWithin(this.length, contentStart, contentEnd);
    this.length += contentEnd - contentStart;
  }

  /** Makes room for `count` more bytes. */
  #room(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.bytes.length));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }

  /** A type's sign, a whole number, a line's end. */
  #header(sign: number, value: number): void {
    this.#room(24);
    const { bytes } = this;
    let at = this.length;
    bytes[at++] = sign;
    if (value >= 0 && value < 10) {
      bytes[at++] = ZERO + value;
    } else if (value >= 0 && value < 100) {
      // Lengths are nearly all of two digits.
      const tens = (value / 10) | 0;
      bytes[at++] = ZERO + tens;
      bytes[at++] = ZERO + (value - 10 * tens);
    } else {
      at = writeDigits(bytes, at, value);
    }
    bytes[at] = CR;
    bytes[at + 1] = LF;
    this.length = at + 2;
  }

  #line(sign: number, text: string): void {
    if (isAscii(text)) {
      this.#room(text.length + 3);
      this.bytes[this.length++] = sign;
      this.#ascii(text);
      this.#lineEnd();
      return;
    }
    // One character a byte, as `Call.text` gives a client's own words back.
    const encoded = isLatin1(text) ? Buffer.from(text, "latin1") : encoder.encode(text);
    this.#room(encoded.length + 3);
    this.bytes[this.length++] = sign;
    this.raw(encoded, 0, encoded.length);
    this.#lineEnd();
  }

  #constant(text: string): void {
    this.#room(text.length);
    this.#ascii(text);
  }

  #ascii(text: string): void {
    const { bytes } = this;
    let at = this.length;
    for (let index = 0; index < text.length; index += 1) bytes[at++] = text.charCodeAt(index);
    this.length = at;
  }

  #lineEnd(): void {
    this.bytes[this.length] = CR;
    this.bytes[this.length + 1] = LF;
    this.length += 2;
  }
}

/** Digits of the largest count that an array can have. */
const COUNT_DIGITS = 10;

/** Copies without making a view of either side where the source is a Buffer, which what comes from sockets and from the store is. */
function copyBytes(source: Uint8Array, target: Buffer, at: number, start: number, end: number): void {
  if (source instanceof Buffer) source.copy(target, at, start, end);
  else target.set(source.subarray(start, end), at);
}

/** Writes a safe integer in digits. @returns The place after it. */
function writeDigits(bytes: Uint8Array, from: number, value: number): number {
  let at = from;
  let rest = value;
  if (rest < 0) {
    bytes[at++] = MINUS;
    rest = -rest;
  }
  let digits = 1;
  for (let bound = 10; bound <= rest; bound *= 10) digits += 1;
  const end = at + digits;
  for (let place = end - 1; place >= at; place -= 1) {
    // Whole numbers below 2^31 divide faster; the others are rare.
    const quotient = rest < 0x7fffffff ? (rest / 10) | 0 : Math.floor(rest / 10);
    bytes[place] = ZERO + (rest - 10 * quotient);
    rest = quotient;
  }
  return end;
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index += 1) if (text.charCodeAt(index) > 0x7f) return false;
  return true;
}

function isLatin1(text: string): boolean {
  for (let index = 0; index < text.length; index += 1) if (text.charCodeAt(index) > 0xff) return false;
  return true;
}

/** As Redis shows a double: the shortest digits that read back the same, `inf`, `-inf`, `nan`. */
function formatDouble(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (value === Number.POSITIVE_INFINITY) return "inf";
  if (value === Number.NEGATIVE_INFINITY) return "-inf";
  return Object.is(value, -0) ? "-0" : String(value);
}
