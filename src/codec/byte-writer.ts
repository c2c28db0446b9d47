/** Puts values together as bytes: numbers that take as many bytes as they need, texts and byte strings with their lengths before them. */
import { assert } from "../assert.ts";
import { copyBytes } from "./copy-bytes.ts";

const encoder = new TextEncoder();

/** From this many bytes on a view costs less than a copy: of smaller arrays the engine first moves the bytes to where views can share them. */
const VIEW_FROM_BYTES = 4096;

export class ByteWriter {
  #bytes: Uint8Array;
  #length = 0;

  /** @param capacity Bytes to begin with; it grows as needed. */
  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length] = value;
    this.#length += 1;
  }

  flag(value: boolean): void {
    this.byte(value ? 1 : 0);
  }

  /** A whole number of 0 to 2^53 - 1, seven bits a byte, the lowest first. */
  number(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, "only whole numbers that are not negative are written");
    this.#reserve(8);
    let rest = value;
    while (rest > 0x7f) {
      this.#bytes[this.#length] = (rest % 128) | 0x80;
      this.#length += 1;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#length] = rest;
    this.#length += 1;
  }

  /** A number of 32 bits, the lowest byte first. */
  fixed32(value: number): void {
    this.#reserve(4);
    for (let shift = 0; shift < 32; shift += 8) {
      this.#bytes[this.#length] = (value >>> shift) & 0xff;
      this.#length += 1;
    }
  }

  /** Bytes with their length. */
  bytes(value: Uint8Array): void {
    this.number(value.length);
    this.raw(value);
  }

  /** Bytes as they are. */
  raw(value: Uint8Array): void {
    this.#reserve(value.length);
    copyBytes(value, 0, value.length, this.#bytes, this.#length);
    this.#length += value.length;
  }

  /** A part of an array, with its length: from `start` to before `end`. No view of it is made. */
  part(source: Uint8Array, start: number, end: number): void {
    this.number(end - start);
    this.#reserve(end - start);
    copyBytes(source, start, end, this.#bytes, this.#length);
    this.#length += end - start;
  }

  /** A text as UTF-8, with its length in bytes. */
  text(value: string): void {
    const start = this.#length;
    const { length } = value;
    // Nearly all texts are ASCII, a byte a character, and written without another array.
    this.number(length);
    this.#reserve(length);
    for (let at = 0; at < length; at += 1) {
      const code = value.charCodeAt(at);
      if (code > 0x7f) {
        this.#length = start;
        this.bytes(encoder.encode(value));
        return;
      }
      this.#bytes[this.#length + at] = code;
    }
    this.#length += length;
  }

  /** What was written. The writer is not used after. */
  finish(): Uint8Array {
    const { length } = this.#bytes;
    if (this.#length === length) return this.#bytes;
    // What is kept costs no more than twice what it holds.
    const isView = this.#length >= VIEW_FROM_BYTES && this.#length * 2 >= length;
    return isView ? this.#bytes.subarray(0, this.#length) : this.#bytes.slice(0, this.#length);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
    copyBytes(this.#bytes, 0, this.#length, larger, 0);
    this.#bytes = larger;
  }
}
