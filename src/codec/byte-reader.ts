/**
 * Takes apart what `ByteWriter` put together. Bytes of a peer or a disk can be anything: whatever does not fit sets `isBad`, reads go on with zeros, and
 * the caller looks once at the end.
 */

// A mark of byte order at a text's beginning is part of it.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Numbers have 53 bits, seven in a byte. */
const MAX_NUMBER_BYTES = 8;

export class ByteReader {
  /** Something was missing, or not a number that can be. */
  isBad = false;
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #at: number;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get at(): number {
    return this.#at;
  }

  get remaining(): number {
    return this.#end - this.#at;
  }

  /** Everything was read, and all of it made sense. */
  get isWhole(): boolean {
    return !this.isBad && this.#at === this.#end;
  }

  byte(): number {
    if (this.#at >= this.#end) {
      this.isBad = true;
      return 0;
    }
    const value = this.#bytes[this.#at] as number;
    this.#at += 1;
    return value;
  }

  flag(): boolean {
    const value = this.byte();
    if (value > 1) this.isBad = true;
    return value === 1;
  }

  number(): number {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < MAX_NUMBER_BYTES; count += 1) {
      const byte = this.byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) this.isBad = true;
        return this.isBad ? 0 : value;
      }
      factor *= 128;
    }
    this.isBad = true;
    return 0;
  }

  /** A number that counts things which take at least a byte each: one that promises more than is left is bad. */
  count(): number {
    const value = this.number();
    if (value > this.remaining) {
      this.isBad = true;
      return 0;
    }
    return value;
  }

  /** As many values as are said to follow, as long as they make sense: one that promises a million and has one costs no more than that one. */
  list<Value>(read: () => Value): readonly Value[] {
    const values: Value[] = [];
    for (let left = this.count(); left > 0 && !this.isBad; left -= 1) values.push(read());
    return values;
  }

  fixed32(): number {
    let value = 0;
    for (let shift = 0; shift < 32; shift += 8) value |= this.byte() << shift;
    return value >>> 0;
  }

  /** Bytes with their length, copied: they may be kept. */
  bytes(): Uint8Array {
    return this.raw(this.count());
  }

  /** So many bytes as they are, copied. */
  raw(length: number): Uint8Array {
    if (length > this.remaining) {
      this.isBad = true;
      return new Uint8Array(length);
    }
    const value = this.#bytes.slice(this.#at, this.#at + length);
    this.#at += length;
    return value;
  }

  /** All that is left, as a view: for what is long, and for as long as the array that is read is not written to. */
  rest(): Uint8Array {
    const value = this.#bytes.subarray(this.#at, this.#end);
    this.#at = this.#end;
    return value;
  }

  /**
   * Passes so many bytes without copying them: for what is copied from here to where it belongs.
   *
   * @returns Where they begin in the array that is read.
   */
  skip(length: number): number {
    const start = this.#at;
    if (length > this.remaining) this.isBad = true;
    else this.#at += length;
    return start;
  }

  text(): string {
    const length = this.count();
    // A copy costs less than a view of a small array.
    const value = decoder.decode(this.#bytes.slice(this.#at, this.#at + length));
    this.#at += length;
    return value;
  }
}
