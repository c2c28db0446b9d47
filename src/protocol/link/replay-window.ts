/**
 * Which numbers of one sender have come: each is taken once, in any order, and none that is far behind the newest. Costs the same however many come.
 */

/** How far behind the newest a datagram may be. The network changes the order within milliseconds, in which a node sends a few dozen to all others together. */
export const WINDOW = 1024;

export class ReplayWindow {
  // One bit for each of the last `WINDOW` numbers, at the number modulo `WINDOW`.
  readonly #bits = new Uint32Array(WINDOW / 32);
  #newest = -1;

  /** What a number is, as it stands. Changes nothing: what is forged must not count as come. */
  look(number: number): "fresh" | "replayed" | "old" {
    if (number > this.#newest) return "fresh";
    if (number <= this.#newest - WINDOW) return "old";
    return this.#has(number) ? "replayed" : "fresh";
  }

  /** A number has come that `look` called fresh. */
  take(number: number): void {
    if (number > this.#newest) {
      // Those that were skipped have not come; their bits are left from an earlier round.
      if (number - this.#newest >= WINDOW) this.#bits.fill(0);
      else for (let each = this.#newest + 1; each < number; each += 1) this.#set(each, false);
      this.#newest = number;
    }
    this.#set(number, true);
  }

  #has(number: number): boolean {
    const at = number % WINDOW;
    return ((this.#bits[Math.floor(at / 32)] ?? 0) & (1 << (at % 32))) !== 0;
  }

  #set(number: number, value: boolean): void {
    const at = number % WINDOW;
    const word = Math.floor(at / 32);
    const bit = 1 << (at % 32);
    this.#bits[word] = value ? (this.#bits[word] ?? 0) | bit : (this.#bits[word] ?? 0) & ~bit;
  }
}
