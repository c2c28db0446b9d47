/**
 * The arguments of one command, as ranges of the buffer that they came in.
 *
 * One list serves all connections of a node, one command after another: the offsets are kept in an array that is reused, so that a command
 * of three arguments costs no allocation at all.
 */

/** Offsets that a list begins with, and is cut back to after a command of more arguments than `KEPT_ARGUMENTS`. */
const INITIAL_ARGUMENTS = 32;
/** A list that grew beyond this is given back after its command: 128 KiB, where one of a million arguments takes 8 MiB. */
const KEPT_ARGUMENTS = 16_384;

export class ArgumentList {
  /** The buffer that the arguments lie in. */
  bytes: Uint8Array = new Uint8Array(0);
  count = 0;
  /** Start and end of each argument, one after another. Longer than `2 * count`. */
  offsets = new Int32Array(2 * INITIAL_ARGUMENTS);

  /** First byte of an argument. */
  start(index: number): number {
    return this.offsets[2 * index] as number;
  }

  /** One past the last byte of an argument. */
  end(index: number): number {
    return this.offsets[2 * index + 1] as number;
  }

  /** Empties it, for the next command. */
  clear(): void {
    this.count = 0;
    if (this.offsets.length > 2 * KEPT_ARGUMENTS) this.offsets = new Int32Array(2 * INITIAL_ARGUMENTS);
  }

  add(start: number, end: number): void {
    const at = 2 * this.count;
    if (at === this.offsets.length) {
      const larger = new Int32Array(2 * this.offsets.length);
      larger.set(this.offsets);
      this.offsets = larger;
    }
    this.offsets[at] = start;
    this.offsets[at + 1] = end;
    this.count += 1;
  }

  /** Moves all arguments: their buffer begins elsewhere. */
  shift(distance: number): void {
    const length = 2 * this.count;
    for (let at = 0; at < length; at += 1) this.offsets[at] = (this.offsets[at] as number) + distance;
  }

  /** Trades arguments (not the buffer) with another list, without copying. */
  swap(other: ArgumentList): void {
    [this.offsets, other.offsets] = [other.offsets, this.offsets];
    [this.count, other.count] = [other.count, this.count];
  }

  /** @returns A list of its own, with a copy of the bytes: good for as long as one likes. */
  clone(): ArgumentList {
    const copy = new ArgumentList();
    const first = this.count === 0 ? 0 : this.start(0);
    const end = this.count === 0 ? 0 : this.end(this.count - 1);
    copy.bytes = this.bytes.slice(first, end);
    copy.offsets = this.offsets.slice(0, Math.max(2 * this.count, 2));
    copy.count = this.count;
    copy.shift(-first);
    return copy;
  }
}
