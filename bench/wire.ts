/**
 * The little of the Redis protocol that the benches' own load generator needs: commands written straight into a buffer
 * that is used again and again, and replies counted without being looked at. It sends only commands whose reply is one
 * line (SET, DEL, PING), so counting replies is counting lines.
 */

import { Buffer } from "node:buffer";
import { assert } from "../src/assert.ts";

/** Every key is a prefix and this many digits: what redis-benchmark makes of `__rand_int__`. */
const KEY_DIGITS = 12;

const LINE_FEED = 10;
const MINUS = 45;
const DIGIT_ZERO = 48;

/** Writes commands one behind the other into one buffer. */
export class CommandWriter {
  readonly buffer: Buffer;
  /** Bytes written so far. */
  length = 0;
  readonly #keyHeader: Buffer;
  readonly #filler: Buffer;

  /**
   * @param keyPrefix What every key begins with; ASCII.
   * @param capacityBytes Room for all commands between two calls of `clear`.
   * @param largestValueBytes No value will be longer.
   */
  constructor(keyPrefix: string, capacityBytes: number, largestValueBytes: number) {
    this.buffer = Buffer.alloc(capacityBytes);
    this.#keyHeader = Buffer.from(`$${keyPrefix.length + KEY_DIGITS}\r\n${keyPrefix}`);
    this.#filler = Buffer.alloc(largestValueBytes, "x");
  }

  /** Forgets what was written. */
  clear(): void {
    this.length = 0;
  }

  /**
   * Adds `SET key value`, the value being as many letters x as asked for.
   *
   * @param keyNumber Which key; its digits follow the prefix.
   * @param valueBytes How long the value is.
   */
  set(keyNumber: number, valueBytes: number): void {
    assert(this.length + valueBytes + this.#keyHeader.length + 64 <= this.buffer.length, "the command fits");
    assert(valueBytes <= this.#filler.length, "the value is no longer than was said");
    this.#ascii("*3\r\n$3\r\nSET\r\n");
    this.#key(keyNumber);
    this.#ascii(`$${valueBytes}\r\n`);
    this.length += this.#filler.copy(this.buffer, this.length, 0, valueBytes);
    this.#ascii("\r\n");
  }

  /** Adds `DEL key`. */
  delete(keyNumber: number): void {
    assert(this.length + this.#keyHeader.length + 64 <= this.buffer.length, "the command fits");
    this.#ascii("*2\r\n$3\r\nDEL\r\n");
    this.#key(keyNumber);
  }

  #key(keyNumber: number): void {
    this.length += this.#keyHeader.copy(this.buffer, this.length);
    let rest = keyNumber;
    for (let place = this.length + KEY_DIGITS - 1; place >= this.length; place--) {
      this.buffer[place] = DIGIT_ZERO + (rest % 10);
      rest = Math.floor(rest / 10);
    }
    this.length += KEY_DIGITS;
    this.#ascii("\r\n");
  }

  #ascii(text: string): void {
    this.length += this.buffer.write(text, this.length, "latin1");
  }
}

/** Counts one-line replies in a stream that may be cut anywhere. */
export class ReplyCounter {
  #atLineStart = true;

  /**
   * Takes the next piece of the stream.
   *
   * @param bytes What came.
   * @returns How many replies ended in it.
   * @throws {Error} At an error reply, with as much of it as came.
   */
  count(bytes: Uint8Array): number {
    let replies = 0;
    for (let place = 0; place < bytes.length; place++) {
      const byte = bytes[place] as number;
      if (this.#atLineStart && byte === MINUS) {
        throw new Error(
          `The server answered: ${Buffer.from(bytes.subarray(place, place + 200))
            .toString()
            .trim()}`,
        );
      }
      this.#atLineStart = byte === LINE_FEED;
      if (this.#atLineStart) replies++;
    }
    return replies;
  }
}

/** A small seeded generator (xorshift), so that both servers get the very same commands. */
export class Draws {
  #state: number;

  /** @param seed Any whole number but 0. */
  constructor(seed: number) {
    assert((seed | 0) !== 0, "a seed is a whole number but 0");
    this.#state = seed | 0;
  }

  /** Draws a whole number from `lowest` to `highest`, both inclusive. */
  between(lowest: number, highest: number): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    return lowest + ((state >>> 0) % (highest - lowest + 1));
  }
}

/**
 * Gives a number's place in a fixed scattered order of 0 to `count - 1`, in which neighbours are far apart.
 *
 * @param index 0 to `count - 1`.
 * @param count How many there are; not a multiple of 1,000,003.
 * @returns A number in the same range, a different one for every index.
 */
export function scattered(index: number, count: number): number {
  // A prime that does not divide the count visits every number once; the product stays exact below 2^53.
  return (index * 1_000_003) % count;
}
