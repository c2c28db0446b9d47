/**
 * The server's side of reading RESP: from bytes, in whatever pieces they come, to commands.
 *
 * A piece of input is parsed where it lies; only what a piece leaves unfinished is copied, to the front of a buffer of the parser's own, which
 * grows by what really came and not by what was announced. What was parsed of an unfinished command is kept, so that a command in a
 * thousand pieces is not read a thousand times.
 *
 * Limits and the words of errors are those of Redis. After an error the stream cannot be trusted any more: the connection has to be closed.
 *
 * Source: the RESP specification of Redis; behaviour on bad input compared with redis-server 7.0.
 */
import { ArgumentList } from "./argument-list.ts";

/** What `RequestParser.next` found. */
export const ParseStatus = { incomplete: 0, command: 1, error: 2 } as const;
export type ParseStatus = (typeof ParseStatus)[keyof typeof ParseStatus];

/** Limits that all parsers of a node share; they may change while it runs. */
export interface RequestLimits {
  /** The longest argument, in bytes. */
  maxBulkBytes: number;
}

/** The longest line: inline commands, and the line that announces a count or a length (Redis: PROTO_INLINE_MAX_SIZE). */
const MAX_LINE_BYTES = 64 * 1024;
/** The most arguments that a command may announce (Redis: INT_MAX). Memory is taken only as they come. */
const MAX_ARGUMENTS = 2 ** 31 - 1;
/** What a client that has not given the password may send: enough for HELLO with AUTH and SETNAME. */
const MAX_UNAUTHENTICATED_ARGUMENTS = 10;
const MAX_UNAUTHENTICATED_BULK_BYTES = 16_384;
/** The parser's own buffer begins with this, so that a few small pieces do not each make it grow. */
const LEAST_BUFFER_BYTES = 1024;

const CR = 0x0d;
const LF = 0x0a;
const STAR = 0x2a;
const DOLLAR = 0x24;
const ZERO = 0x30;

const EMPTY = new Uint8Array(0);

export class RequestParser {
  readonly #limits: RequestLimits;
  /** Whether the client has given the password: before, little is taken from it. */
  isAuthenticated = true;
  /** After `ParseStatus.error`: what was wrong, in Redis' words. */
  error = "";

  /** What is being parsed: the array that was fed, or the parser's own buffer. */
  #bytes: Uint8Array = EMPTY;
  #isOwn = false;
  /** First byte of the present command. What lies before it is done with. */
  #begin = 0;
  /** Next byte to read. */
  #position = 0;
  /** One past the last byte that came. */
  #end = 0;
  /** Arguments that the present command still lacks; 0 before its first line was read. */
  #missing = 0;
  /** Length of the argument that is being read, or -1 before its line was read. */
  #bulkLength = -1;
  /** Arguments of a command that was left unfinished. */
  #partial: ArgumentList | undefined;

  /** @param limits Shared, and read anew for each command. */
  constructor(limits: RequestLimits) {
    this.#limits = limits;
  }

  /** Bytes that came and do not belong to a command that was given out. */
  get bufferedBytes(): number {
    return this.#end - this.#begin;
  }

  /**
   * Takes a piece of input. What `next` gave before is no longer good.
   *
   * @param bytes The parser's from here on.
   */
  feed(bytes: Uint8Array): void {
    const left = this.#end - this.#begin;
    if (left === 0) {
      this.#bytes = bytes;
      this.#isOwn = false;
      this.#begin = 0;
      this.#position = 0;
      this.#end = bytes.length;
      return;
    }
    const needed = left + bytes.length;
    const distance = this.#begin;
    if (this.#isOwn && needed <= this.#bytes.length) {
      if (distance > 0) this.#bytes.copyWithin(0, distance, this.#end);
    } else {
      // As much as the argument that is being read was announced to take, but no more than twice what came: promises cost us nothing.
      const announced = this.#bulkLength < 0 ? 0 : this.#position - this.#begin + this.#bulkLength + 2;
      const larger = new Uint8Array(
        Math.max(LEAST_BUFFER_BYTES, needed, Math.min(Math.max(announced, 2 * left), 2 * needed)),
      );
      larger.set(this.#bytes.subarray(distance, this.#end));
      this.#bytes = larger;
      this.#isOwn = true;
    }
    this.#bytes.set(bytes, left);
    this.#begin = 0;
    this.#position -= distance;
    this.#end = needed;
    if (distance > 0) this.#partial?.shift(-distance);
  }

  /**
   * Reads the next command.
   *
   * @param args Filled with its arguments when the answer is `command`; good until the next call of `next` or `feed`.
   * @returns `command`; `incomplete` when more input is needed; `error` when the input is not RESP (see `error`).
   */
  next(args: ArgumentList): ParseStatus {
    // A loop, since empty lines and empty arrays are no commands.
    for (;;) {
      if (this.#missing === 0) {
        this.#begin = this.#position;
        if (this.#begin === this.#end) {
          // Nothing is left: let go of the input.
          this.#bytes = EMPTY;
          this.#isOwn = false;
          this.#begin = 0;
          this.#position = 0;
          this.#end = 0;
          return ParseStatus.incomplete;
        }
        args.clear();
        if (this.#bytes[this.#position] !== STAR) {
          const status = this.#inline(args);
          if (status === ParseStatus.command && args.count === 0) continue;
          return status;
        }
        const status = this.#number(this.#position + 1, "too big mbulk count string");
        if (status !== ParseStatus.command) return status;
        const count = this.#value;
        if (!(count <= MAX_ARGUMENTS)) return this.#fail("invalid multibulk length");
        if (!this.isAuthenticated && count > MAX_UNAUTHENTICATED_ARGUMENTS)
          return this.#fail("unauthenticated multibulk length");
        this.#position = this.#after;
        if (count <= 0) continue;
        this.#missing = count;
        this.#bulkLength = -1;
      } else {
        args.clear();
        if (this.#partial !== undefined) args.swap(this.#partial);
        this.#partial = undefined;
      }
      const status = this.#arguments(args);
      if (status === ParseStatus.incomplete && args.count > 0) {
        this.#partial = new ArgumentList();
        this.#partial.swap(args);
      }
      return status;
    }
  }

  // What `#number` read, and the place after it. Fields, not a returned object: nothing is allocated for a command.
  #value = 0;
  #after = 0;

  /** Reads the arguments that are missing. */
  #arguments(args: ArgumentList): ParseStatus {
    const bytes = this.#bytes;
    const end = this.#end;
    while (this.#missing > 0) {
      if (this.#bulkLength < 0) {
        let position = this.#position;
        if (position >= end) return ParseStatus.incomplete;
        if (bytes[position] !== DOLLAR) {
          return this.#fail(`expected '$', got '${String.fromCharCode(bytes[position] as number)}'`);
        }
        position += 1;
        // Lengths of one or two digits, which is nearly all of them, without a call.
        const first = (bytes[position] as number) - ZERO;
        if (position + 3 < end && first > 0 && first <= 9) {
          const second = (bytes[position + 1] as number) - ZERO;
          if (second === CR - ZERO) {
            this.#bulkLength = first;
            this.#position = position + 3;
          } else if (second >= 0 && second <= 9 && bytes[position + 2] === CR) {
            this.#bulkLength = 10 * first + second;
            this.#position = position + 4;
          }
        }
        if (this.#bulkLength < 0) {
          const status = this.#number(position, "too big bulk count string");
          if (status !== ParseStatus.command) return status;
          const length = this.#value;
          if (!(length >= 0 && length <= this.#limits.maxBulkBytes)) return this.#fail("invalid bulk length");
          if (!this.isAuthenticated && length > MAX_UNAUTHENTICATED_BULK_BYTES)
            return this.#fail("unauthenticated bulk length");
          this.#bulkLength = length;
          this.#position = this.#after;
        }
      }
      const start = this.#position;
      const after = start + this.#bulkLength;
      // The line's end is skipped without a look, as Redis does.
      if (after + 2 > end) return ParseStatus.incomplete;
      args.add(start, after);
      this.#position = after + 2;
      this.#bulkLength = -1;
      this.#missing -= 1;
    }
    args.bytes = bytes;
    this.#begin = this.#position;
    return ParseStatus.command;
  }

  /**
   * Reads a number and the end of its line. NaN for what is no number (as Redis: no leading zeros, no plus sign).
   *
   * @param tooLong The error for a line that has no end.
   */
  #number(from: number, tooLong: string): ParseStatus {
    const bytes = this.#bytes;
    const end = this.#end;
    let at = from;
    while (at < end && bytes[at] !== CR) at += 1;
    if (at >= end) {
      if (end - this.#position > MAX_LINE_BYTES) return this.#fail(tooLong);
      return ParseStatus.incomplete;
    }
    // The line feed has to be there, too.
    if (at + 1 >= end) return ParseStatus.incomplete;
    this.#after = at + 2;
    let digits = from;
    const isNegative = bytes[digits] === 0x2d;
    if (isNegative) digits += 1;
    let value = 0;
    const isOfDigits = at > digits && at - digits <= 15 && (bytes[digits] !== ZERO || at - digits === 1);
    for (let place = digits; isOfDigits && place < at; place += 1) {
      const digit = (bytes[place] as number) - ZERO;
      value = digit >= 0 && digit <= 9 ? 10 * value + digit : Number.NaN;
    }
    this.#value = isOfDigits ? (isNegative ? -value : value) : Number.NaN;
    return ParseStatus.command;
  }

  /** Reads a line of words, as a person types it. No words: no command. */
  #inline(args: ArgumentList): ParseStatus {
    const bytes = this.#bytes;
    const newline = bytes.indexOf(LF, this.#position);
    if (newline < 0 || newline >= this.#end) {
      if (this.#end - this.#position > MAX_LINE_BYTES) return this.#fail("too big inline request");
      return ParseStatus.incomplete;
    }
    let lineEnd = newline;
    if (lineEnd > this.#position && bytes[lineEnd - 1] === CR) lineEnd -= 1;
    // Words are unescaped into a buffer of their own: the input stays as it came.
    const words = new Uint8Array(lineEnd - this.#position);
    const isBalanced = splitWords(bytes, this.#position, lineEnd, words, args);
    if (!isBalanced) return this.#fail("unbalanced quotes in request");
    this.#position = newline + 1;
    this.#begin = this.#position;
    args.bytes = words;
    return ParseStatus.command;
  }

  #fail(reason: string): ParseStatus {
    this.error = `Protocol error: ${reason}`;
    return ParseStatus.error;
  }
}

/** Blanks between words, as C's isspace: space, \t \n \v \f \r; and the zero byte, at which Redis stops reading. */
function isBlank(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

const ESCAPES: ReadonlyMap<number, number> = new Map([
  [0x6e, 0x0a],
  [0x72, 0x0d],
  [0x74, 0x09],
  [0x62, 0x08],
  [0x61, 0x07],
]);

/**
 * Splits a line into words by Redis' rules: blanks separate; "..." knows \n \r \t \b \a \xHH and takes any other escaped byte as it is; '...' knows
 * only \'. A closing quote must be followed by a blank or the end.
 *
 * @param words Where the words are written, one after another; as long as the line is enough.
 * @returns False if a quote is not closed.
 */
function splitWords(bytes: Uint8Array, from: number, to: number, words: Uint8Array, args: ArgumentList): boolean {
  const QUOTE = 0x22;
  const APOSTROPHE = 0x27;
  const BACKSLASH = 0x5c;
  // To C a zero byte ends the line.
  const zero = bytes.subarray(from, to).indexOf(0);
  const end = zero < 0 ? to : from + zero;
  let at = from;
  let written = 0;
  for (;;) {
    while (at < end && isBlank(bytes[at] as number)) at += 1;
    if (at >= end) return true;
    const wordStart = written;
    let quote = 0;
    for (;;) {
      if (at >= end) {
        if (quote !== 0) return false;
        break;
      }
      const byte = bytes[at] as number;
      if (quote === 0) {
        if (isBlank(byte)) break;
        if (byte === QUOTE || byte === APOSTROPHE) quote = byte;
        else words[written++] = byte;
        at += 1;
        continue;
      }
      if (byte === quote) {
        if (at + 1 < end && !isBlank(bytes[at + 1] as number)) return false;
        at += 1;
        break;
      }
      if (byte === BACKSLASH && quote === QUOTE && at + 1 < end) {
        const next = bytes[at + 1] as number;
        const high = at + 3 < end && next === 0x78 ? hexDigit(bytes[at + 2] as number) : -1;
        const low = high < 0 ? -1 : hexDigit(bytes[at + 3] as number);
        if (low >= 0) {
          words[written++] = 16 * high + low;
          at += 4;
        } else {
          words[written++] = ESCAPES.get(next) ?? next;
          at += 2;
        }
        continue;
      }
      if (byte === BACKSLASH && quote === APOSTROPHE && bytes[at + 1] === APOSTROPHE && at + 1 < end) {
        words[written++] = APOSTROPHE;
        at += 2;
        continue;
      }
      words[written++] = byte;
      at += 1;
    }
    args.add(wordStart, written);
  }
}
