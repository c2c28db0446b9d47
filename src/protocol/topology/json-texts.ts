/**
 * A queue of values as JSON, in one piece: the texts of all of them, with commas between, as they stand within an array.
 *
 * Each value is written once, when it comes in. Whoever wants all of them, as a snapshot does again and again, copies bytes.
 */
import { assert, present } from "../../assert.ts";
import { copyBytes } from "../../codec/copy-bytes.ts";

const encoder = new TextEncoder();
const COMMA = 0x2c;

export class JsonTexts {
  #bytes = new Uint8Array(256);
  // The texts lie in `#bytes` from `#start` to `#end`, each with a comma after it.
  #start = 0;
  #end = 0;
  // Bytes of each with its comma; those before `#first` are of texts that are gone.
  #lengths: number[] = [];
  #first = 0;

  get count(): number {
    return this.#lengths.length - this.#first;
  }

  /** Bytes that `copyTo` writes. */
  get length(): number {
    return Math.max(0, this.#end - this.#start - 1);
  }

  push(value: unknown): void {
    const text = encoder.encode(JSON.stringify(value));
    const length = text.length + 1;
    this.#reserve(length);
    copyBytes(text, 0, text.length, this.#bytes, this.#end);
    this.#bytes[this.#end + text.length] = COMMA;
    this.#end += length;
    this.#lengths.push(length);
  }

  /** Drops the oldest. */
  shift(): void {
    assert(this.count > 0, "there is a text to drop");
    this.#start += present(this.#lengths[this.#first], "each text has a length");
    this.#first += 1;
    if (this.#first * 2 < this.#lengths.length) return;
    this.#lengths = this.#lengths.slice(this.#first);
    this.#first = 0;
  }

  /** Writes all texts, without the last one's comma. */
  copyTo(target: Uint8Array, at: number): void {
    copyBytes(this.#bytes, this.#start, this.#start + this.length, target, at);
  }

  #reserve(length: number): void {
    if (this.#end + length <= this.#bytes.length) return;
    const used = this.#end - this.#start;
    // At least half of it is free after: each byte is moved about once.
    const larger = new Uint8Array(Math.max(this.#bytes.length, (used + length) * 2));
    copyBytes(this.#bytes, this.#start, this.#end, larger, 0);
    this.#bytes = larger;
    this.#start = 0;
    this.#end = used;
  }
}
