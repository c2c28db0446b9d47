/**
 * The client's side of RESP: replies of either version to values, and commands to bytes.
 *
 * For connections within the process, simulated clients, tools and tests. Pieces of any size may come; what is not whole yet is kept, and what was
 * read of a long list is not read again.
 *
 * Source: the RESP specification of Redis.
 */

/** An error reply. A value, not something thrown. */
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

/** A reply. Simple strings and verbatim strings are strings, bulks are bytes, sets are arrays. */
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

/** What comes is no RESP. The stream is of no more use. */
export class ReplyFormatError extends Error {
  override readonly name = "ReplyFormatError";
}

/** Lists within lists, at most: nothing that a server sends is near it. */
const MAX_DEPTH = 32;
/** The longest line that is no bulk. */
const MAX_LINE_BYTES = 64 * 1024;
const MAX_BULK_BYTES = 1024 ** 3;
const MAX_ITEMS = 2 ** 28;

const EMPTY = new Uint8Array(0);

/** A list that is being read. */
interface Frame {
  readonly kind: "array" | "map" | "push" | "attribute";
  readonly items: ReplyValue[];
  /** Values that it still lacks (of a map: keys and values both count). */
  missing: number;
}

export class ReplyReader {
  #bytes: Uint8Array = EMPTY;
  #position = 0;
  #stack: Frame[] = [];

  /** Takes a piece. @param bytes The reader's from here on. */
  feed(bytes: Uint8Array): void {
    if (this.#position === this.#bytes.length) {
      this.#bytes = bytes;
    } else {
      const left = this.#bytes.length - this.#position;
      const joined = new Uint8Array(left + bytes.length);
      joined.set(this.#bytes.subarray(this.#position));
      joined.set(bytes, left);
      this.#bytes = joined;
    }
    this.#position = 0;
  }

  /**
   * Reads the next reply.
   *
   * @returns The reply, or `undefined` when more input is needed. Bulks are copies.
   * @throws {ReplyFormatError} If what came is no RESP.
   */
  next(): ReplyValue | undefined {
    for (;;) {
      const value = this.#one();
      if (value === undefined) return undefined;
      let done: ReplyValue | typeof NOTHING = value;
      while (done !== NOTHING) {
        const frame = this.#stack.at(-1);
        if (frame === undefined) return done;
        frame.items.push(done);
        frame.missing -= 1;
        done = frame.missing === 0 ? this.#finish(frame) : NOTHING;
      }
    }
  }

  /** Takes a list that is whole off the stack. Attributes are told to nobody. */
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
          const key = frame.items[index];
          // Bulks as keys would only be found by identity.
          if (key !== undefined) map.set(key instanceof Uint8Array ? textOf(key) : key, frame.items[index + 1] ?? null);
        }
        return map;
      }
    }
    return frame.kind satisfies never;
  }

  /** Reads one value that is no list, or an empty list; begins lists. */
  #one(): ReplyValue | undefined {
    for (;;) {
      const lineEnd = this.#bytes.indexOf(0x0d, this.#position);
      if (lineEnd < 0 || lineEnd + 1 >= this.#bytes.length) {
        if (this.#bytes.length - this.#position > MAX_LINE_BYTES)
          throw new ReplyFormatError("A reply's line has no end");
        return undefined;
      }
      const sign = String.fromCharCode(this.#bytes[this.#position] as number);
      const line = textOf(this.#bytes.subarray(this.#position + 1, lineEnd));
      const after = lineEnd + 2;
      switch (sign) {
        case "+":
          this.#position = after;
          return line;
        case "-":
          this.#position = after;
          return new ReplyError(line);
        case ":": {
          this.#position = after;
          const value = Number(line);
          return Number.isSafeInteger(value) ? value : BigInt(line);
        }
        case "(":
          this.#position = after;
          return BigInt(line);
        case ",":
          this.#position = after;
          return line === "inf" ? Number.POSITIVE_INFINITY : line === "-inf" ? Number.NEGATIVE_INFINITY : Number(line);
        case "#":
          this.#position = after;
          return line === "t";
        case "_":
          this.#position = after;
          return null;
        case "$":
        case "=":
        case "!": {
          const length = this.#count(line, MAX_BULK_BYTES);
          if (length < 0) {
            this.#position = after;
            return null;
          }
          if (after + length + 2 > this.#bytes.length) return undefined;
          this.#position = after + length + 2;
          const bulk = this.#bytes.slice(after, after + length);
          if (sign === "$") return bulk;
          return sign === "!" ? new ReplyError(textOf(bulk)) : textOf(bulk.subarray(4));
        }
        case "*":
        case "~":
        case ">":
        case "%":
        case "|": {
          const count = this.#count(line, MAX_ITEMS);
          this.#position = after;
          if (count < 0) return null;
          if (count === 0) {
            if (sign === "|") continue;
            return sign === "%" ? new Map() : sign === ">" ? new Push([]) : [];
          }
          if (this.#stack.length >= MAX_DEPTH)
            throw new ReplyFormatError(`A reply has more than ${MAX_DEPTH} lists within lists`);
          const kind = sign === "%" ? "map" : sign === "|" ? "attribute" : sign === ">" ? "push" : "array";
          this.#stack.push({ kind, items: [], missing: sign === "%" || sign === "|" ? 2 * count : count });
          continue;
        }
        default:
          throw new ReplyFormatError(`A reply begins with ${JSON.stringify(sign)}, which is no type of RESP`);
      }
    }
  }

  #count(line: string, most: number): number {
    const count = Number(line);
    if (!/^-?[0-9]+$/.test(line) || count > most || count < -1)
      throw new ReplyFormatError(`A reply announces ${JSON.stringify(line)} bytes or values`);
    return count;
  }
}

const NOTHING = Symbol("nothing");
const decoder = new TextDecoder();
const encoder = new TextEncoder();

function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/**
 * Makes a command's bytes.
 *
 * @param parts Its name and arguments; text becomes UTF-8.
 * @returns RESP, an array of bulks.
 */
export function encodeCommand(parts: readonly (string | Uint8Array)[]): Uint8Array {
  const pieces: Uint8Array[] = [encoder.encode(`*${parts.length}\r\n`)];
  for (const part of parts) {
    const bytes = typeof part === "string" ? encoder.encode(part) : part;
    pieces.push(encoder.encode(`$${bytes.length}\r\n`), bytes, LINE_END);
  }
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

const LINE_END = encoder.encode("\r\n");
