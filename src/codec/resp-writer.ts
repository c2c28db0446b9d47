/**
 * The server's other half of RESP: writes replies, one after another, into one growing buffer.
 *
 * One writer serves all connections of a node: the replies of a turn gather in it and leave in one write. The same call writes whichever
 * version of the protocol the client speaks; what RESP2 does not have (maps, sets, doubles, nulls ...) is written as redis-server writes it
 * to clients of RESP2.
 *
 * A reply costs no object. Commands write straight from where a value lies; text goes in letter by letter unless it is long or beyond ASCII.
 */
import { assert } from "../assert.ts";
import { copyBytes } from "./copy-bytes.ts";
import { writeInteger } from "./number.ts";

/** Holds the replies of an ordinary turn: the `resp` plugin sends what is more at once. */
const INITIAL_BYTES = 64 * 1024;
/** A buffer that grew beyond this, by a large value or a long list, is given back once it was sent. */
const KEPT_BYTES = 1024 * 1024;
/** Text from this length on goes through the encoder, whose call costs more than this many letters one by one. */
const ENCODER_FROM_LENGTH = 64;
/** Bytes that any header fits in: a sign, 17 characters of a safe integer, the line's end; rounded up. */
const HEADER_BYTES = 24;
/** Bytes kept free for the header of an array whose count is not known: a sign, 10 digits (more than memory holds), the line's end. */
const OPEN_ARRAY_BYTES = 13;

const CR = 0x0d;
const LF = 0x0a;
const ZERO = 0x30;
const SPACE = 0x20;
const PLUS = 0x2b;
const MINUS = 0x2d;
const COLON = 0x3a;
const DOLLAR = 0x24;
const ASTERISK = 0x2a;
const PERCENT = 0x25;
const TILDE = 0x7e;
const GREATER = 0x3e;
const COMMA = 0x2c;
const EQUALS = 0x3d;
const PARENTHESIS = 0x28;

const encoder = new TextEncoder();

const OK = encoder.encode("+OK\r\n");
const NULL = encoder.encode("_\r\n");
const NULL_BULK = encoder.encode("$-1\r\n");
const NULL_ARRAY = encoder.encode("*-1\r\n");
const TRUE = encoder.encode("#t\r\n");
const FALSE = encoder.encode("#f\r\n");

/** A reply, together with those that wait with it, is larger than the writer may get. What was written of it must be taken back. */
export class ReplyTooLargeError extends RangeError {
  override readonly name = "ReplyTooLargeError";
}

/**
 * Writes replies.
 *
 * @example
 * ```ts
 * reply.array(2);
 * reply.bulkText("count");
 * reply.integer(3);
 * send(reply.bytes, 0, reply.length);
 * reply.reset();
 * ```
 */
export class ReplyWriter {
  /** The buffer; replies are its first `length` bytes. Another one after it grew: do not keep it. A plain array, so that its `slice` copies. */
  bytes: Uint8Array = new Uint8Array(INITIAL_BYTES);
  /** Bytes written. */
  length = 0;
  /** The version that the client speaks. */
  protocol: 2 | 3 = 2;
  /** The most bytes that it may hold. */
  maxBytes = Number.POSITIVE_INFINITY;

  /** Empties it, and gives back what a large reply needed. */
  reset(): void {
    this.length = 0;
    if (this.bytes.length > KEPT_BYTES) this.bytes = new Uint8Array(INITIAL_BYTES);
  }

  /** @returns Where the next reply begins, for `rewind`. The same as `length`. */
  mark(): number {
    return this.length;
  }

  /** Takes back everything that was written since `mark` gave this. */
  rewind(mark: number): void {
    assert(mark <= this.length, "a reply is taken back to where it began");
    this.length = mark;
  }

  /**
   * Makes room for bytes to come, so that many small replies need not grow the buffer one after another.
   *
   * @param count Bytes.
   * @throws {RangeError} If the machine has no memory for them, or they are more than it may hold.
   */
  reserve(count: number): void {
    if (this.length + count > this.bytes.length) this.#grow(this.length + count);
  }

  /** `+OK`. */
  ok(): void {
    this.#constant(OK);
  }

  /** A simple string. @param text As `error`'s. */
  simple(text: string): void {
    this.#line(PLUS, text);
  }

  /**
   * An error.
   *
   * @param text Its code, then words, such as `ERR syntax error`. Line ends in it become blanks, at its end nothing. One character a byte (as `Call.text` gives a
   * client's own words back) if none is beyond U+00FF, else UTF-8.
   */
  error(text: string): void {
    this.#line(MINUS, text.replace(/[\r\n]+$/, ""));
  }

  /** An integer. @param value A safe one. */
  integer(value: number): void {
    assert(Number.isSafeInteger(value), "an integer reply is a safe integer");
    this.#header(COLON, value);
  }

  /** An integer of up to 64 bits. */
  bigInteger(value: bigint): void {
    this.#line(COLON, value.toString());
  }

  /** An integer of any size. In RESP2 a bulk, as in Redis. */
  bigNumber(value: bigint): void {
    if (this.protocol === 3) this.#line(PARENTHESIS, value.toString());
    else this.bulkText(value.toString());
  }

  /**
   * A bulk.
   *
   * @param source Where its bytes lie. Copied.
   * @param start First of them.
   * @param end One past the last.
   */
  bulk(source: Uint8Array, start: number, end: number): void {
    const length = end - start;
    this.reserve(length + HEADER_BYTES);
    this.#header(DOLLAR, length);
    const at = this.length;
    copyBytes(source, start, end, this.bytes, at);
    this.#endLine(at + length);
  }

  /** A bulk of text, as UTF-8. */
  bulkText(text: string): void {
    this.#text(DOLLAR, text);
  }

  /** No value, where there could be a bulk. */
  nullBulk(): void {
    this.#constant(this.protocol === 3 ? NULL : NULL_BULK);
  }

  /** No value, where there could be an array. */
  nullArray(): void {
    this.#constant(this.protocol === 3 ? NULL : NULL_ARRAY);
  }

  /** Begins an array: `count` replies follow. */
  array(count: number): void {
    this.#header(ASTERISK, count);
  }

  /** Begins a map: `pairs` keys and values follow, in turn. In RESP2 an array of twice as many. */
  map(pairs: number): void {
    if (this.protocol === 3) this.#header(PERCENT, pairs);
    else this.#header(ASTERISK, 2 * pairs);
  }

  /** Begins a set: `count` replies follow. In RESP2 an array. */
  set(count: number): void {
    this.#header(this.protocol === 3 ? TILDE : ASTERISK, count);
  }

  /** Begins a message that answers no command: `count` replies follow, the first of which says what it is. In RESP2 an array. */
  push(count: number): void {
    this.#header(this.protocol === 3 ? GREATER : ASTERISK, count);
  }

  /** A floating-point number, with 17 digits as Redis 7.0 has them. In RESP2 a bulk. */
  double(value: number): void {
    const text = formatDouble(value);
    if (this.protocol === 3) this.#line(COMMA, text);
    else this.bulkText(text);
  }

  /** Yes or no. In RESP2 the integers 1 and 0. */
  boolean(value: boolean): void {
    if (this.protocol === 3) this.#constant(value ? TRUE : FALSE);
    else this.#header(COLON, value ? 1 : 0);
  }

  /** Text for people to read. In RESP2 a bulk. @param format Plain text or Markdown. */
  verbatim(format: "txt" | "mkd", text: string): void {
    if (this.protocol === 3) this.#text(EQUALS, `${format}:${text}`);
    else this.bulkText(text);
  }

  /** Bytes that are replies already. */
  raw(source: Uint8Array, start: number, end: number): void {
    this.reserve(end - start);
    copyBytes(source, start, end, this.bytes, this.length);
    this.length += end - start;
  }

  /**
   * Begins an array whose count is not known yet. Within it there may be others.
   *
   * @returns What `endArray` wants.
   */
  beginArray(): number {
    const position = this.length;
    this.reserve(OPEN_ARRAY_BYTES);
    this.length += OPEN_ARRAY_BYTES;
    return position;
  }

  /**
   * Ends it: writes its header, and moves what it holds up to there. That is once for an array, not once for each of its elements.
   *
   * @param position What `beginArray` gave.
   * @param count How many replies were written since.
   */
  endArray(position: number, count: number): void {
    const start = position + OPEN_ARRAY_BYTES;
    const end = this.length;
    assert(start <= end, "an array ends after it began");
    this.length = position;
    this.array(count);
    this.bytes.copyWithin(this.length, start, end);
    this.length += end - start;
  }

  /** A larger buffer, at least twice as large, so that all growing together copies each byte about once. */
  #grow(needed: number): void {
    if (needed > this.maxBytes) throw new ReplyTooLargeError(`the reply is larger than ${this.maxBytes} bytes`);
    const larger = new Uint8Array(Math.min(Math.max(needed, 2 * this.bytes.length), this.maxBytes));
    copyBytes(this.bytes, 0, this.length, larger, 0);
    this.bytes = larger;
  }

  #constant(source: Uint8Array): void {
    this.reserve(source.length);
    const { bytes } = this;
    const at = this.length;
    for (let index = 0; index < source.length; index += 1) bytes[at + index] = source[index] as number;
    this.length = at + source.length;
  }

  /** A type's sign, a whole number, a line's end. */
  #header(sign: number, value: number): void {
    this.reserve(HEADER_BYTES);
    const { bytes } = this;
    let at = this.length;
    bytes[at] = sign;
    if (value >= 0 && value < 10) {
      bytes[at + 1] = ZERO + value;
      at += 2;
    } else if (value >= 0 && value < 100) {
      // Nearly all lengths have two digits.
      const tens = (value / 10) | 0;
      bytes[at + 1] = ZERO + tens;
      bytes[at + 2] = ZERO + value - 10 * tens;
      at += 3;
    } else {
      at = writeInteger(bytes, at + 1, value);
    }
    this.#endLine(at);
  }

  /** A type's sign, and text up to the line's end, none of which is a line end. */
  #line(sign: number, text: string): void {
    // One byte a character suffices unless one of them is beyond U+00FF; then it is done over.
    const start = this.length;
    const { length } = text;
    this.reserve(length + 3);
    const { bytes } = this;
    bytes[start] = sign;
    let at = start + 1;
    for (let index = 0; index < length; index += 1, at += 1) {
      const code = text.charCodeAt(index);
      if (code > 0xff) {
        this.#encodedLine(start, text);
        return;
      }
      bytes[at] = code === CR || code === LF ? SPACE : code;
    }
    this.#endLine(at);
  }

  /** The rest of `#line` for text that one byte a character cannot hold. */
  #encodedLine(start: number, text: string): void {
    const encoded = encoder.encode(text.replaceAll(/[\r\n]/g, " "));
    this.reserve(encoded.length + 3);
    copyBytes(encoded, 0, encoded.length, this.bytes, start + 1);
    this.#endLine(start + 1 + encoded.length);
  }

  /** A type's sign, a length, that much text in UTF-8. */
  #text(sign: number, text: string): void {
    const start = this.length;
    const { length } = text;
    if (length < ENCODER_FROM_LENGTH) {
      this.reserve(length + HEADER_BYTES);
      this.#header(sign, length);
      const { bytes } = this;
      let at = this.length;
      let index = 0;
      for (; index < length; index += 1, at += 1) {
        const code = text.charCodeAt(index);
        if (code > 0x7f) break;
        bytes[at] = code;
      }
      if (index === length) {
        this.#endLine(at);
        return;
      }
      // Not ASCII: the length is another.
      this.length = start;
    }
    const encoded = encoder.encode(text);
    this.reserve(encoded.length + HEADER_BYTES);
    this.#header(sign, encoded.length);
    const at = this.length;
    copyBytes(encoded, 0, encoded.length, this.bytes, at);
    this.#endLine(at + encoded.length);
  }

  #endLine(at: number): void {
    this.bytes[at] = CR;
    this.bytes[at + 1] = LF;
    this.length = at + 2;
  }
}

/**
 * Formats a double as Redis 7.0 does: C's `%.17g`, so 17 digits, zeros at the end cut, and an exponent where it is below -4 or above 16.
 */
function formatDouble(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  const [mantissa = "", power = ""] = value.toExponential(16).split("e");
  const exponent = Number(power);
  const sign = value < 0 ? "-" : "";
  const digits = mantissa.replace("-", "").replace(".", "").replace(/0+$/, "");
  if (exponent < -4 || exponent > 16) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : "";
    const size = String(Math.abs(exponent)).padStart(2, "0");
    return `${sign}${digits.slice(0, 1)}${fraction}e${exponent < 0 ? "-" : "+"}${size}`;
  }
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  const fraction = digits.slice(exponent + 1);
  return fraction === "" ? sign + whole : `${sign}${whole}.${fraction}`;
}
