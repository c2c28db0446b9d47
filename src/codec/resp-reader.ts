/**
 * The client's side of RESP: turns replies of either version into values, and commands into bytes.
 *
 * For connections within the process, simulated clients, tools and tests, so it is made to be right and easy to use first. Pieces of any
 * size may come. Lists that are not whole wait on a stack with what is known of them, so nothing of a long list is read twice; the bytes of
 * a bulk that is not whole gather in a buffer that doubles, so none are copied over and over.
 *
 * What a server can make the reader hold is bounded: depth, lines, bulks, lists. Nothing is set aside for what was only announced.
 */
import { copyBytes } from "./copy-bytes.ts";
import { parseInteger, parseInteger64 } from "./number.ts";

/** An error reply. A value, not something that the reader throws; a caller may. */
export class ReplyError extends Error {
  override readonly name = "ReplyError";

  /** Its first word: `ERR`, `MOVED` ... */
  get code(): string {
    return this.message.split(" ", 1)[0] ?? "";
  }
}

/** A message that is no reply to a command. */
export class Push {
  readonly items: readonly ReplyValue[];

  constructor(items: readonly ReplyValue[]) {
    this.items = items;
  }
}

/**
 * A reply. Simple and verbatim strings are strings; bulks are bytes, the caller's own; integers are numbers, or bigints where a number is
 * not exact; doubles are numbers; big numbers are bigints; sets are arrays; nulls of every kind are `null`. Keys of maps that came as bulks
 * are strings, since bytes could only be found by identity. Attributes are left out.
 */
export type ReplyValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | Uint8Array
  | ReplyError
  | Push
  | readonly ReplyValue[]
  | ReadonlyMap<ReplyValue, ReplyValue>;

/** What comes is not RESP, or more than the reader takes. The stream is of no more use. */
export class ReplyFormatError extends Error {
  override readonly name = "ReplyFormatError";
}

/** What a reader takes. */
export interface ReplyReaderLimits {
  /** Lists within lists. 32 by default: nothing that a server sends comes near. */
  readonly maxDepth?: number;
  /** Bytes of a bulk. 1 GiB by default: twice the largest value. */
  readonly maxBulkBytes?: number;
  /** Values in one list. 2^28 by default. */
  readonly maxItems?: number;
}

const DEFAULT_MAX_DEPTH = 32;
const DEFAULT_MAX_BULK_BYTES = 1024 ** 3;
const DEFAULT_MAX_ITEMS = 2 ** 28;
/** The longest line. Redis' own limit for what it reads. */
const MAX_LINE_BYTES = 64 * 1024;
/** Least that the buffer of an unfinished reply has. */
const MIN_BUFFER_BYTES = 1024;
/** Bytes before a verbatim string's text: three letters of its format, and a colon. */
const VERBATIM_PREFIX_BYTES = 4;

const CR = 0x0d;
const LF = 0x0a;

const EMPTY = new Uint8Array(0);

/** A list that is being read. */
interface Frame {
  readonly kind: "array" | "map" | "push" | "attribute";
  readonly items: ReplyValue[];
  /** Values that it still lacks (of a map, keys and values both count). */
  missing: number;
}

/** What stands for an attribute: nothing that a caller sees. */
const NOTHING = Symbol("nothing");

/**
 * Reads the replies that one server sends.
 *
 * @example
 * ```ts
 * reader.feed(bytes);
 * for (let reply = reader.next(); reply !== undefined; reply = reader.next()) handle(reply);
 * ```
 */
export class ReplyReader {
  readonly #maxDepth: number;
  readonly #maxBulkBytes: number;
  readonly #maxItems: number;
  /** What has come: the last piece itself, or the reader's own buffer of what was left over. */
  #bytes: Uint8Array = EMPTY;
  #isOwn = false;
  #position = 0;
  #end = 0;
  #stack: Frame[] = [];
  #failure: ReplyFormatError | undefined;

  constructor(limits: ReplyReaderLimits = {}) {
    this.#maxDepth = limits.maxDepth ?? DEFAULT_MAX_DEPTH;
    this.#maxBulkBytes = limits.maxBulkBytes ?? DEFAULT_MAX_BULK_BYTES;
    this.#maxItems = limits.maxItems ?? DEFAULT_MAX_ITEMS;
  }

  /** Takes a piece of what the server sends. @param bytes The reader's from here on. */
  feed(bytes: Uint8Array): void {
    const held = this.#end - this.#position;
    if (held === 0) {
      this.#bytes = bytes;
      this.#isOwn = false;
      this.#position = 0;
      this.#end = bytes.length;
      return;
    }
    const needed = held + bytes.length;
    if (!this.#isOwn || this.#end + bytes.length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(needed, 2 * held, MIN_BUFFER_BYTES));
      copyBytes(this.#bytes, this.#position, this.#end, larger, 0);
      this.#bytes = larger;
      this.#isOwn = true;
      this.#position = 0;
      this.#end = held;
    }
    copyBytes(bytes, 0, bytes.length, this.#bytes, this.#end);
    this.#end += bytes.length;
  }

  /**
   * Reads the next reply.
   *
   * @returns The reply, or `undefined` if it has not come whole.
   * @throws {ReplyFormatError} If what came is not RESP, or too much. So does every call after that.
   */
  next(): ReplyValue | undefined {
    if (this.#failure !== undefined) throw this.#failure;
    for (;;) {
      let done: ReplyValue | typeof NOTHING | undefined = this.#readValue();
      if (done === undefined) return undefined;
      while (done !== NOTHING) {
        const frame = this.#stack.at(-1);
        if (frame === undefined) return done;
        frame.items.push(done);
        frame.missing -= 1;
        done = frame.missing === 0 ? this.#finish(frame) : NOTHING;
      }
    }
  }

  /** Takes a list that is whole off the stack. */
  #finish(frame: Frame): ReplyValue | typeof NOTHING {
    this.#stack.pop();
    switch (frame.kind) {
      case "array":
        return frame.items;
      case "push":
        return new Push(frame.items);
      case "attribute":
        return NOTHING;
      case "map": {
        const map = new Map<ReplyValue, ReplyValue>();
        for (let index = 0; index + 1 < frame.items.length; index += 2) {
          const key = frame.items[index] ?? null;
          map.set(key instanceof Uint8Array ? decoder.decode(key) : key, frame.items[index + 1] ?? null);
        }
        return map;
      }
    }
    return frame.kind satisfies never;
  }

  /** Reads one value that is not a list, or an empty list; begins the others. */
  #readValue(): ReplyValue | undefined {
    for (;;) {
      const lineEnd = this.#findLineEnd();
      if (lineEnd < 0) return undefined;
      const bytes = this.#bytes;
      const start = this.#position + 1;
      const sign = String.fromCharCode(bytes[this.#position] as number);
      switch (sign) {
        case "$":
        case "=":
        case "!": {
          const length = this.#readCount(start, lineEnd, this.#maxBulkBytes);
          const from = lineEnd + 2;
          const to = from + Math.max(0, length);
          if (length >= 0 && to + 2 > this.#end) return undefined;
          this.#position = length < 0 ? from : to + 2;
          if (length < 0) return null;
          if (bytes[to] !== CR || bytes[to + 1] !== LF) this.#fail("A bulk does not end where it was announced to");
          // Not `bytes.slice`: of a Buffer that would be a view.
          const bulk = new Uint8Array(length);
          copyBytes(bytes, from, to, bulk, 0);
          if (sign === "$") return bulk;
          const text = decoder.decode(bulk);
          return sign === "!" ? new ReplyError(text) : text.slice(VERBATIM_PREFIX_BYTES);
        }
        case "*":
        case "~":
        case ">":
        case "%":
        case "|": {
          const count = this.#readCount(start, lineEnd, this.#maxItems);
          this.#position = lineEnd + 2;
          if (count < 0) return null;
          if (count === 0) {
            if (sign === "|") continue;
            return sign === "%" ? new Map() : sign === ">" ? new Push([]) : [];
          }
          if (this.#stack.length >= this.#maxDepth)
            this.#fail(`A reply has more than ${this.#maxDepth} lists within lists`);
          const isMap = sign === "%" || sign === "|";
          const kind = sign === "%" ? "map" : sign === "|" ? "attribute" : sign === ">" ? "push" : "array";
          this.#stack.push({ kind, items: [], missing: isMap ? 2 * count : count });
          continue;
        }
        default: {
          const value = this.#readLine(sign, start, lineEnd);
          this.#position = lineEnd + 2;
          return value;
        }
      }
    }
  }

  /** Reads a value that is one line. */
  #readLine(sign: string, start: number, end: number): ReplyValue {
    const bytes = this.#bytes;
    const line = (): string => decoder.decode(bytes.subarray(start, end));
    switch (sign) {
      case "+":
        return line();
      case "-":
        return new ReplyError(line());
      case ":": {
        const value = parseInteger(bytes, start, end);
        if (Number.isFinite(value)) return value;
        return parseInteger64(bytes, start, end) ?? this.#fail(`An integer is ${shown(line())}`);
      }
      case "(": {
        const text = line();
        return /^[+-]?[0-9]+$/.test(text)
          ? BigInt(text.replace("+", ""))
          : this.#fail(`A big number is ${shown(text)}`);
      }
      case ",":
        return parseDouble(line()) ?? this.#fail(`A double is ${shown(line())}`);
      case "#": {
        const text = line();
        return text === "t" || (text !== "f" && this.#fail(`A boolean is ${shown(text)}`));
      }
      case "_":
        return start === end ? null : this.#fail(`A null is ${shown(line())}`);
      default:
        return this.#fail(`A reply begins with ${shown(sign)}, which is no type of RESP`);
    }
  }

  /** @returns Where CR LF is, or -1 if it has not come. */
  #findLineEnd(): number {
    const bytes = this.#bytes;
    const limit = Math.min(this.#end, this.#position + MAX_LINE_BYTES + 1);
    let at = this.#position;
    while (at < limit && bytes[at] !== CR) at += 1;
    if (at - this.#position > MAX_LINE_BYTES) this.#fail("A line is too long");
    if (at + 1 >= this.#end) return -1;
    if (bytes[at + 1] !== LF || at === this.#position) this.#fail("A line is not one of RESP");
    return at;
  }

  /** @returns What a header announces, or -1 for a null. */
  #readCount(start: number, end: number, most: number): number {
    const count = parseInteger(this.#bytes, start, end);
    if (count >= -1 && count <= most) return count;
    const announced = shown(decoder.decode(this.#bytes.subarray(start, end)));
    return this.#fail(`A reply announces ${announced} bytes or values, and at most ${most} are taken`);
  }

  #fail(message: string): never {
    this.#failure = new ReplyFormatError(message);
    this.#bytes = EMPTY;
    this.#position = 0;
    this.#end = 0;
    this.#stack = [];
    throw this.#failure;
  }
}

/** As it came: a mark at a text's beginning is part of it. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

/** For messages. */
function shown(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}...` : text);
}

/** @returns The number, or `undefined` if it is none that RESP knows. */
function parseDouble(text: string): number | undefined {
  switch (text) {
    case "inf":
      return Number.POSITIVE_INFINITY;
    case "-inf":
      return Number.NEGATIVE_INFINITY;
    case "nan":
    case "-nan":
      return Number.NaN;
    default:
      return /^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$/.test(text) ? Number(text) : undefined;
  }
}

const LINE_END = encoder.encode("\r\n");

/**
 * Makes a command's bytes.
 *
 * @param parts Its name and arguments; text becomes UTF-8.
 * @returns An array of bulks, as servers take it.
 * @example
 * ```ts
 * stream.write(encodeCommand(["SET", "greeting", bytes]));
 * ```
 */
export function encodeCommand(parts: readonly (string | Uint8Array)[]): Uint8Array {
  const pieces: Uint8Array[] = [encoder.encode(`*${parts.length}\r\n`)];
  let length = pieces[0]?.length ?? 0;
  for (const part of parts) {
    const bytes = typeof part === "string" ? encoder.encode(part) : part;
    const header = encoder.encode(`$${bytes.length}\r\n`);
    pieces.push(header, bytes, LINE_END);
    length += header.length + bytes.length + LINE_END.length;
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    copyBytes(piece, 0, piece.length, whole, at);
    at += piece.length;
  }
  return whole;
}
