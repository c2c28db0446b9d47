/**
 * The server's half of RESP: turns the bytes that a client sends into commands.
 *
 * A command is not taken apart into strings. Its arguments stay where they came in, and an `ArgumentList` says where each begins and ends;
 * one list serves all connections, since a node runs one command at a time. So a command costs no object at all.
 *
 * Commands come in any pieces. A piece that holds whole commands is read in place. Of a command that is cut, the parser keeps what has
 * come (in a buffer that is no larger than it must be) together with how far it got, so that no byte is looked at twice; when the next
 * piece comes, only as much of it is copied as that one command needs, and the rest is read in place again. Between two pieces a parser
 * holds nothing but the bytes of one unfinished command: an idle connection holds none.
 *
 * What is refused, when, and in which words is what redis-server 7.0 does, with two differences, both for lines that Redis cannot read:
 * a NUL byte is a byte like any other, and does not hide the line's end (Redis waits for 64 KiB more), and a line is too long by its own length, however it was
 * cut on its way.
 *
 * The `resp` plugin has one parser per connection; it feeds it, and runs `next` until nothing whole is left.
 */
import { copyBytes } from "./copy-bytes.ts";
import { parseInteger } from "./number.ts";

/** What `RequestParser.next` found. Numbers, for speed. */
export const ParseStatus = {
  /** No whole command is left. */
  incomplete: 0,
  /** A command is in the argument list. */
  command: 1,
  /** The client does not speak RESP, or asks for too much: see `error`. Answer with it, and close. */
  error: 2,
} as const;
export type ParseStatus = (typeof ParseStatus)[keyof typeof ParseStatus];

/** Limits that all parsers of a server share. Read at each use: changing one applies at once. */
export interface RequestLimits {
  /** Most bytes that an argument may have (Redis' `proto-max-bulk-len`; 536,870,912 there unless set). */
  maxBulkBytes: number;
}

/** Most bytes of a line without its end: an inline command, or a count. Redis' number. */
const MAX_LINE_BYTES = 65_536;
/** Most arguments that a command may announce. Redis' number since 7.0; memory is bounded by the limit on buffered bytes long before. */
const MAX_ARGUMENTS = 2_147_483_647;
/** What a client may send before it has given the password: enough for AUTH and HELLO, too little to fill memory. Redis' numbers. */
const UNAUTHENTICATED_MAX_ARGUMENTS = 10;
const UNAUTHENTICATED_MAX_BULK_BYTES = 16_384;
/** Offsets are 32-bit, so a command is smaller than this. */
const MAX_COMMAND_BYTES = 2_147_483_647;
/** A command that is known to need at most this much gets its buffer at once; beyond, the buffer grows only with what really comes. */
const TRUSTED_BYTES = 16_384;
/** Least that is copied from a new piece to complete a cut command: about a small command, so that most are whole after one copy. */
const MIN_GATHER_BYTES = 64;
/** Offsets of an argument list at the start: 64 arguments. */
const INITIAL_OFFSETS = 128;
/** An offset array that has grown beyond this (4096 arguments) is given back when the input is used up. */
const RETAINED_OFFSETS = 8192;
/** Digits of a count that the fast path reads; longer ones are as good as always wrong. */
const FAST_DIGITS = 9;

const CR = 0x0d;
const LF = 0x0a;
const ASTERISK = 0x2a;
const DOLLAR = 0x24;
const BACKSLASH = 0x5c;
const DOUBLE_QUOTE = 0x22;
const SINGLE_QUOTE = 0x27;

const EMPTY = new Uint8Array(0);

/**
 * The arguments of a command, as ranges of the bytes they came in.
 *
 * Valid until the parser that filled it is asked for the next command, or fed; `clone` keeps them longer.
 */
export class ArgumentList {
  /** The bytes that the arguments lie in. */
  bytes: Uint8Array = EMPTY;
  /** First byte and one past the last byte of each argument in turn. Only the first `2 * count` mean something. Replaced when it grows. */
  offsets: Int32Array;
  /** Arguments, the command's name included. */
  count = 0;

  /** @param capacity How many offsets to have room for. */
  constructor(capacity = INITIAL_OFFSETS) {
    this.offsets = new Int32Array(capacity);
  }

  /** @returns A list of these arguments, copied. */
  static of(parts: readonly Uint8Array[]): ArgumentList {
    const list = new ArgumentList(parts.length * 2);
    list.bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    list.count = parts.length;
    let filled = 0;
    for (const [index, part] of parts.entries()) {
      list.offsets[index * 2] = filled;
      list.bytes.set(part, filled);
      filled += part.length;
      list.offsets[index * 2 + 1] = filled;
    }
    return list;
  }

  /** @returns Where an argument begins in `bytes`. */
  start(index: number): number {
    return this.offsets[index * 2] as number;
  }

  /** @returns One past the last byte of an argument in `bytes`. */
  end(index: number): number {
    return this.offsets[index * 2 + 1] as number;
  }

  /** @returns An argument's bytes, copied. */
  copy(index: number): Uint8Array {
    return this.bytes.slice(this.start(index), this.end(index));
  }

  /** @returns All arguments' bytes, copied. */
  copies(): Uint8Array[] {
    return Array.from({ length: this.count }, (_, index) => this.copy(index));
  }

  /** @returns A list of its own with copies of the arguments, valid for good. */
  clone(): ArgumentList {
    const used = this.count * 2;
    const copy = new ArgumentList(used);
    let bytes = 0;
    for (let at = 0; at < used; at += 2) bytes += (this.offsets[at + 1] as number) - (this.offsets[at] as number);
    copy.bytes = new Uint8Array(bytes);
    copy.count = this.count;
    let filled = 0;
    for (let at = 0; at < used; at += 2) {
      const start = this.offsets[at] as number;
      const end = this.offsets[at + 1] as number;
      copyBytes(this.bytes, start, end, copy.bytes, filled);
      copy.offsets[at] = filled;
      filled += end - start;
      copy.offsets[at + 1] = filled;
    }
    return copy;
  }

  /** Holds no arguments, and no memory that somebody's large command needed. The parser's. */
  clear(): void {
    this.bytes = EMPTY;
    this.count = 0;
    if (this.offsets.length > RETAINED_OFFSETS) this.offsets = new Int32Array(INITIAL_OFFSETS);
  }
}

/**
 * Parses what one client sends.
 *
 * @example
 * ```ts
 * parser.feed(bytes);
 * while (parser.next(args) === ParseStatus.command) run(args);
 * ```
 */
export class RequestParser {
  /** What is wrong with the input, in Redis' words, such as `Protocol error: invalid bulk length`; `""` while nothing is. */
  error = "";
  /** Whether the client may send commands of any size. Looked at for each command: set it as soon as the client has given the password. */
  isAuthenticated = false;
  readonly #limits: RequestLimits;

  /** What is being parsed: the piece that came last (`#isOwn` false), or the parser's own buffer of bytes that were left over. */
  #bytes: Uint8Array = EMPTY;
  #isOwn = false;
  /** Next byte to parse. */
  #position = 0;
  /** One past the last byte that has come. */
  #end = 0;
  /** Where the unfinished command begins. 0 whenever some of its arguments are known and `next` is not running. */
  #commandStart = 0;
  /** The piece that came last, while the own buffer is parsed, and how much of it was copied there. */
  #piece: Uint8Array = EMPTY;
  #pieceTaken = 0;

  /** Arguments that the unfinished command still needs; 0 while its header is not read. */
  #argumentsLeft = 0;
  /** Bytes of the argument that comes next, -1 while that is not known. */
  #bulkBytes = -1;
  /** The unfinished command's offsets, from `#commandStart` on. Only there while `next` has to wait for more: else they are in the list. */
  #partial: Int32Array | undefined;
  #partialUsed = 0;
  /** No end of the line that is being read comes before this. */
  #scanFrom = 0;
  /** Where the line ends that `#readLength` has read. */
  #afterLine = 0;

  /**
   * @param limits Shared with other parsers; may be changed at any time.
   */
  constructor(limits: RequestLimits) {
    this.#limits = limits;
  }

  /** Bytes of memory that the client makes the node hold: what was fed and not yet run, and what is remembered of a half-read command. */
  get bufferedBytes(): number {
    const remembered = this.#partial === undefined ? 0 : this.#partial.length * 4;
    return this.#end - this.#commandStart + (this.#piece.length - this.#pieceTaken) + remembered;
  }

  /**
   * Takes bytes that came from the client.
   *
   * @param bytes Belongs to the parser from here on; it may write to it.
   */
  feed(bytes: Uint8Array): void {
    if (this.error !== "" || bytes.length === 0) return;
    if (this.#commandStart === this.#end && this.#pieceTaken === this.#piece.length) {
      this.#readFrom(bytes, 0);
      return;
    }
    // What came before is not used up: the client was held back, or its last command was cut.
    if (!this.#isOwn) this.#keepRest();
    this.#gather(this.#piece.length - this.#pieceTaken);
    this.#piece = bytes;
    this.#pieceTaken = 0;
  }

  /**
   * Parses the next command.
   *
   * @param args Filled with the command's arguments, if there is one; emptied if not.
   * @returns One of `ParseStatus`. After `error` it stays at that.
   */
  next(args: ArgumentList): ParseStatus {
    if (this.#isOwn) this.#leaveOwn();
    for (;;) {
      const status = this.error === "" ? this.#parse(args) : ParseStatus.error;
      if (status === ParseStatus.command) return status;
      if (status === ParseStatus.error) {
        args.clear();
        this.#readFrom(EMPTY, 0);
        this.#partial = undefined;
        return status;
      }
      if (this.#pieceTaken === this.#piece.length) {
        const held = this.#end - this.#commandStart;
        if (held === 0) this.#readFrom(EMPTY, 0);
        else if (!this.#isOwn || (this.#bytes.length > TRUSTED_BYTES && this.#bytes.length > 4 * held))
          this.#keepRest();
        this.#piece = EMPTY;
        this.#pieceTaken = 0;
        args.clear();
        return status;
      }
      const missing = this.#bulkBytes < 0 ? 0 : this.#position + this.#bulkBytes + 2 - this.#end;
      // Twice as much each time, so that a command of many small arguments is whole after few rounds.
      const wanted = Math.max(missing, this.#end - this.#commandStart, MIN_GATHER_BYTES);
      this.#gather(Math.min(wanted, this.#piece.length - this.#pieceTaken));
    }
  }

  /** Parses a piece in place from here on. */
  #readFrom(bytes: Uint8Array, position: number): void {
    this.#bytes = bytes;
    this.#isOwn = false;
    this.#position = position;
    this.#commandStart = position;
    this.#end = bytes.length;
    this.#piece = EMPTY;
    this.#pieceTaken = 0;
    this.#scanFrom = 0;
  }

  /** Goes from the own buffer back to the piece, once all that the own buffer still holds is in the piece too. */
  #leaveOwn(): void {
    const unread = this.#end - this.#position;
    if (this.#argumentsLeft === 0 && unread <= this.#pieceTaken) this.#readFrom(this.#piece, this.#pieceTaken - unread);
  }

  /** Copies what is left to a buffer of the parser's own that fits it, and lets go of where it was. */
  #keepRest(): void {
    const held = this.#end - this.#commandStart;
    const own = new Uint8Array(this.#capacityFor(held, held));
    this.#moveTo(own);
    this.#isOwn = true;
  }

  /** Appends `count` bytes of the piece to the own buffer. */
  #gather(count: number): void {
    if (count === 0) return;
    const held = this.#end - this.#commandStart;
    const needed = held + count;
    if (needed > MAX_COMMAND_BYTES) {
      this.error = "Protocol error: too big request";
      return;
    }
    if (this.#end + count > this.#bytes.length) {
      // Moving within the buffer pays only when it frees at least as much as it moves: else a long rest would be moved again and again.
      const canMove = this.#commandStart >= held && needed <= this.#bytes.length;
      this.#moveTo(canMove ? this.#bytes : new Uint8Array(this.#capacityFor(needed, held)));
    }
    copyBytes(this.#piece, this.#pieceTaken, this.#pieceTaken + count, this.#bytes, this.#end);
    this.#end += count;
    this.#pieceTaken += count;
  }

  /** How large a buffer to make for `needed` bytes: twice what is held, so that growing costs little, but no more than the command is known to need. */
  #capacityFor(needed: number, held: number): number {
    if (this.#bulkBytes < 0) return Math.max(needed, held * 2, MIN_GATHER_BYTES);
    const whole = this.#position - this.#commandStart + this.#bulkBytes + 2;
    return Math.max(needed, whole <= TRUSTED_BYTES ? whole : Math.min(held * 2, whole));
  }

  /** Moves the unfinished command to the beginning of a buffer, which may be the one that it is in. */
  #moveTo(target: Uint8Array): void {
    const start = this.#commandStart;
    if (target === this.#bytes) target.copyWithin(0, start, this.#end);
    else copyBytes(this.#bytes, start, this.#end, target, 0);
    this.#bytes = target;
    this.#end -= start;
    this.#position -= start;
    this.#scanFrom = Math.max(0, this.#scanFrom - start);
    this.#commandStart = 0;
  }

  #parse(args: ArgumentList): ParseStatus {
    const bytes = this.#bytes;
    const end = this.#end;
    let position = this.#position;
    let argumentsLeft = this.#argumentsLeft;
    let bulkBytes = this.#bulkBytes;
    let offsets = this.#partial ?? args.offsets;
    let used = this.#partialUsed;

    while (argumentsLeft === 0) {
      this.#commandStart = position;
      this.#position = position;
      if (position >= end) return ParseStatus.incomplete;
      if (bytes[position] !== ASTERISK) {
        const isFound = this.#parseInline(args);
        if (isFound === undefined) return this.error === "" ? ParseStatus.incomplete : ParseStatus.error;
        if (isFound) return ParseStatus.command;
        position = this.#position;
        continue;
      }
      argumentsLeft = this.#readLength(ASTERISK, position);
      if (argumentsLeft < 0) return argumentsLeft === INCOMPLETE ? ParseStatus.incomplete : ParseStatus.error;
      position = this.#afterLine;
    }

    for (;;) {
      if (bulkBytes < 0) {
        // What `#readLength` does, for the one case that is always so: a short number, all of it there.
        let at = position + 1;
        const limit = Math.min(end - 1, at + FAST_DIGITS);
        let digit = at < limit ? (bytes[at] as number) - 0x30 : -1;
        if (digit > 0 && digit <= 9 && bytes[position] === DOLLAR) {
          bulkBytes = digit;
          at += 1;
          while (at < limit && (digit = (bytes[at] as number) - 0x30) >= 0 && digit <= 9) {
            bulkBytes = bulkBytes * 10 + digit;
            at += 1;
          }
        }
        if (bulkBytes >= 0 && at < end - 1 && bytes[at] === CR && this.#isAllowed(bulkBytes)) {
          position = at + 2;
        } else {
          bulkBytes = this.#readLength(DOLLAR, position);
          if (bulkBytes === FAILED) return ParseStatus.error;
          if (bulkBytes === INCOMPLETE) break;
          position = this.#afterLine;
        }
      }
      const stop = position + bulkBytes;
      if (stop + 2 > end) break;
      if (used === offsets.length) offsets = this.#grow(args, offsets);
      offsets[used] = position;
      offsets[used + 1] = stop;
      used += 2;
      // As in Redis, the two bytes after an argument may be any.
      position = stop + 2;
      bulkBytes = -1;
      argumentsLeft -= 1;
      if (argumentsLeft === 0) {
        this.#finish(args, offsets, used, position);
        return ParseStatus.command;
      }
    }

    this.#position = position;
    this.#argumentsLeft = argumentsLeft;
    this.#bulkBytes = bulkBytes;
    if (used > 0 && this.#partial === undefined) {
      this.#partial = offsets.slice(0, Math.max(used * 2, 16));
      // They move with the command, to the beginning of a buffer.
      const start = this.#commandStart;
      if (start > 0) for (let at = 0; at < used; at += 1) this.#partial[at] = (this.#partial[at] as number) - start;
      if (this.#isOwn) this.#moveTo(this.#bytes);
    }
    this.#partialUsed = used;
    return ParseStatus.incomplete;
  }

  /** Hands a whole command over. */
  #finish(args: ArgumentList, offsets: Int32Array, used: number, position: number): void {
    args.bytes = this.#bytes;
    args.count = used >> 1;
    this.#position = position;
    this.#commandStart = position;
    if (this.#argumentsLeft === 0) return;
    this.#argumentsLeft = 0;
    this.#bulkBytes = -1;
    this.#partialUsed = 0;
    if (this.#partial !== undefined) {
      args.offsets = offsets;
      this.#partial = undefined;
    }
  }

  /** Twice as much room for offsets, in the array that is being filled. */
  #grow(args: ArgumentList, offsets: Int32Array): Int32Array {
    const larger = new Int32Array(offsets.length * 2);
    larger.set(offsets);
    if (this.#partial === undefined) args.offsets = larger;
    else this.#partial = larger;
    return larger;
  }

  #isAllowed(bulkBytes: number): boolean {
    return (
      bulkBytes <= this.#limits.maxBulkBytes && (this.isAuthenticated || bulkBytes <= UNAUTHENTICATED_MAX_BULK_BYTES)
    );
  }

  /**
   * Reads `*<count>` or `$<count>`, wherever it ends, with all that can be wrong with it.
   *
   * @returns The count (0 for negative ones, where those are allowed), or `INCOMPLETE` or `FAILED`. `#afterLine` is where the line ends.
   */
  #readLength(marker: number, start: number): number {
    const isBulk = marker === DOLLAR;
    const lineEnd = this.#findInLine(CR, start);
    if (lineEnd === FAILED) return this.#fail(isBulk ? "too big bulk count string" : "too big mbulk count string");
    // As in Redis, the byte after CR may be any, but there must be one.
    if (lineEnd === INCOMPLETE || lineEnd + 1 >= this.#end) return INCOMPLETE;
    const first = this.#bytes[start] as number;
    if (first !== marker) return this.#fail(`expected '$', got '${String.fromCharCode(first)}'`);
    const count = parseInteger(this.#bytes, start + 1, lineEnd);
    this.#afterLine = lineEnd + 2;
    this.#scanFrom = 0;
    if (isBulk) {
      if (!(count >= 0 && count <= this.#limits.maxBulkBytes)) return this.#fail("invalid bulk length");
      if (!this.#isAllowed(count)) return this.#fail("unauthenticated bulk length");
      return count;
    }
    if (!(count <= MAX_ARGUMENTS)) return this.#fail("invalid multibulk length");
    if (count > UNAUTHENTICATED_MAX_ARGUMENTS && !this.isAuthenticated)
      return this.#fail("unauthenticated multibulk length");
    return Math.max(0, count);
  }

  /** @returns Where `byte` is in the line that begins at `start`, `INCOMPLETE` if it has not come yet, `FAILED` if the line is too long. */
  #findInLine(byte: number, start: number): number {
    const bytes = this.#bytes;
    // A loop finds the end of a short line sooner than a native call does; `#scanFrom` keeps a line that comes byte by byte from being read
    // again and again.
    const limit = Math.min(this.#end, start + MAX_LINE_BYTES + 1);
    let at = Math.max(start, this.#scanFrom);
    while (at < limit && bytes[at] !== byte) at += 1;
    if (at < limit) return at;
    this.#scanFrom = at;
    return limit - start > MAX_LINE_BYTES ? FAILED : INCOMPLETE;
  }

  #fail(text: string): typeof FAILED {
    this.error = `Protocol error: ${text}`;
    return FAILED;
  }

  /**
   * Parses a line as people type it.
   *
   * Words stay where they are; those with quotes or escapes are written over themselves, since what is meant is never longer than what was
   * typed.
   *
   * @returns Whether there is a command on the line; `undefined` if the line is not whole, or there is an error.
   */
  #parseInline(args: ArgumentList): boolean | undefined {
    const start = this.#position;
    const newline = this.#findInLine(LF, start);
    if (newline === FAILED) {
      this.#fail("too big inline request");
      return undefined;
    }
    if (newline === INCOMPLETE) return undefined;
    const bytes = this.#bytes;
    const lineEnd = newline > start && bytes[newline - 1] === CR ? newline - 1 : newline;
    this.#scanFrom = 0;
    let offsets = args.offsets;
    let used = 0;
    let at = start;
    for (;;) {
      while (at < lineEnd && isSpace(bytes[at] as number)) at += 1;
      if (at >= lineEnd) break;
      if (used === offsets.length) offsets = this.#grow(args, offsets);
      offsets[used] = at;
      let to = at;
      // The kind of quotes that the byte at `at` is within; 0 for none.
      let quote = 0;
      for (; at < lineEnd; at += 1) {
        const byte = bytes[at] as number;
        if (quote === 0) {
          if (endsWord(byte)) break;
          if (byte === DOUBLE_QUOTE || byte === SINGLE_QUOTE) quote = byte;
          else bytes[to++] = byte;
        } else if (byte === quote) {
          // A word ends with its closing quote, so there must be nothing right after it.
          if (at + 1 < lineEnd && !isSpace(bytes[at + 1] as number)) break;
          quote = 0;
          at += 1;
          break;
        } else if (byte !== BACKSLASH || at + 1 >= lineEnd) {
          bytes[to++] = byte;
        } else if (quote === SINGLE_QUOTE) {
          if (bytes[at + 1] === SINGLE_QUOTE) at += 1;
          bytes[to++] = bytes[at] as number;
        } else {
          const high = at + 3 < lineEnd && bytes[at + 1] === 0x78 ? hexDigit(bytes[at + 2] as number) : -1;
          const low = high < 0 ? -1 : hexDigit(bytes[at + 3] as number);
          bytes[to++] = low < 0 ? unescape(bytes[at + 1] as number) : high * 16 + low;
          at += low < 0 ? 1 : 3;
        }
      }
      if (quote !== 0) {
        this.#fail("unbalanced quotes in request");
        return undefined;
      }
      offsets[used + 1] = to;
      used += 2;
    }
    this.#position = newline + 1;
    this.#commandStart = newline + 1;
    args.bytes = bytes;
    args.count = used >> 1;
    return used > 0;
  }
}

/** What stands for a count, or for the end of a line, that has not come yet. */
const INCOMPLETE = -1;
/** What stands for one that is wrong; `error` says why. */
const FAILED = -2;

/** What separates words, and may follow a closing quote: C's `isspace`. */
function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}

/** What ends a word outside of quotes: fewer bytes than separate words, as in Redis. */
function endsWord(byte: number): boolean {
  return byte === 0x20 || byte === 0x09 || byte === LF || byte === CR;
}

/** What a letter means after a backslash. */
function unescape(byte: number): number {
  switch (byte) {
    case 0x6e:
      return LF;
    case 0x72:
      return CR;
    case 0x74:
      return 0x09;
    case 0x62:
      return 0x08;
    case 0x61:
      return 0x07;
    default:
      return byte;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
