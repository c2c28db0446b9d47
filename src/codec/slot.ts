/**
 * Hash slots, and the hash that the store's tables use.
 *
 * The key space is cut into 16384 slots. A key's slot is a checksum (CRC16, the XMODEM kind) of its bytes, modulo 16384;
 * if the key has a *hash tag*, a part between `{` and the next `}`, only that part counts, so that a client can put keys
 * that belong together into one slot. Every Redis Cluster client computes the same, so nothing here is ours to choose.
 *
 * Inside a slot, a key is found by a second number: a hash that depends on a secret seed, so that nobody outside can
 * prepare keys that all land in one place of a table. `KeyHasher` computes both in one pass, as every command needs both.
 *
 * The checksum eats eight bytes a step. A CRC is linear: the effect of each byte on the result can be looked up alone and
 * the eight effects xor-ed together. Only two of the eight lookups wait for the step before, which is what makes it fast.
 */

/** Fixed by Redis Cluster: clients compute slots too. */
export const SLOT_COUNT = 16384;

/** x^16 + x^12 + x^5 + 1, the polynomial of XMODEM's CRC16. */
const CRC16_POLYNOMIAL = 0x1021;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** `CRC16_EFFECTS[distance * 256 + byte]`: what `byte` does to the checksum when `distance` more bytes follow it. Never changed. */
const CRC16_EFFECTS = makeCrc16Effects();

function makeCrc16Effects(): Uint16Array {
  const effects = new Uint16Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte << 8;
    for (let bit = 0; bit < 8; bit++) {
      crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ CRC16_POLYNOMIAL;
    }
    effects[byte] = crc;
  }
  for (let index = 256; index < effects.length; index++) {
    const nearer = effects[index - 256] as number;
    effects[index] = (nearer << 8) ^ (effects[nearer >>> 8] as number);
  }
  return effects;
}

/**
 * Computes CRC16/XMODEM.
 *
 * @param bytes Holds the input.
 * @param start Where the input begins.
 * @param end Where it ends, exclusive.
 * @returns The checksum, 0 to 65535; 0 for no bytes.
 * @example
 * ```ts
 * crc16(new TextEncoder().encode("123456789"), 0, 9); // 0x31c3
 * ```
 */
export function crc16(bytes: Uint8Array, start: number, end: number): number {
  const effects = CRC16_EFFECTS;
  let crc = 0;
  let at = start;
  for (; at + 8 <= end; at += 8) {
    crc =
      (effects[0x700 + ((bytes[at] as number) ^ (crc >>> 8))] as number) ^
      (effects[0x600 + ((bytes[at + 1] as number) ^ (crc & 0xff))] as number) ^
      (effects[0x500 + (bytes[at + 2] as number)] as number) ^
      (effects[0x400 + (bytes[at + 3] as number)] as number) ^
      (effects[0x300 + (bytes[at + 4] as number)] as number) ^
      (effects[0x200 + (bytes[at + 5] as number)] as number) ^
      (effects[0x100 + (bytes[at + 6] as number)] as number) ^
      (effects[bytes[at + 7] as number] as number);
  }
  for (; at < end; at++) crc = ((crc << 8) & 0xffff) ^ (effects[(crc >>> 8) ^ (bytes[at] as number)] as number);
  return crc;
}

/**
 * Computes a key's slot, as Redis Cluster does.
 *
 * The first `{` and the first `}` after it enclose the hash tag. With no such pair, or with nothing between, the whole key
 * counts.
 *
 * @param bytes Holds the key.
 * @param start Where the key begins.
 * @param end Where it ends, exclusive.
 * @returns The slot, 0 to 16383.
 * @example
 * ```ts
 * const key = new TextEncoder().encode("{user1000}.following");
 * keySlot(key, 0, key.length); // the slot of "user1000": 3443
 * ```
 */
export function keySlot(bytes: Uint8Array, start: number, end: number): number {
  let open = start;
  while (open < end && bytes[open] !== OPEN_BRACE) open++;
  if (open < end) {
    let close = open + 1;
    while (close < end && bytes[close] !== CLOSE_BRACE) close++;
    if (close < end && close > open + 1) return crc16(bytes, open + 1, close) & (SLOT_COUNT - 1);
  }
  return crc16(bytes, start, end) & (SLOT_COUNT - 1);
}

/**
 * Computes slot and table hash of a key in one pass.
 *
 * The hash runs two lanes over the key's 32-bit words. Each lane multiplies by a secret odd number; the second sees each
 * word rotated by half. One lane alone would let a change in a word's top bit through unchanged, whatever the seed, and a
 * second change could cancel it; in the other lane the same bit sits in the middle, where the product depends on secrets.
 *
 * The answer is left in two fields, so that hashing allocates nothing.
 *
 * @example
 * ```ts
 * const hasher = new KeyHasher(seed);
 * hasher.hash(input, keyStart, keyEnd);
 * const record = tables[hasher.slot].find(hasher.hash);
 * ```
 */
export class KeyHasher {
  /** The slot of the key that was hashed last, 0 to 16383. */
  slot = 0;
  /** The table hash of the key that was hashed last: 30 bits, so that it is a small integer on every engine. */
  hashed = 0;
  readonly #firstStart: number;
  readonly #secondStart: number;
  readonly #firstFactor: number;
  readonly #secondFactor: number;

  /** @param seed A secret whole number; its low 32 bits count. Nodes need not share it. */
  constructor(seed: number) {
    let state = seed | 0;
    const next = (): number => {
      state = (state + 0x9e3779b9) | 0;
      return mix(state);
    };
    this.#firstStart = next();
    this.#secondStart = next();
    this.#firstFactor = makeFactor(next);
    this.#secondFactor = makeFactor(next);
  }

  /**
   * Computes `slot` and `hashed`.
   *
   * @param bytes Holds the key.
   * @param start Where the key begins.
   * @param end Where it ends, exclusive.
   */
  hash(bytes: Uint8Array, start: number, end: number): void {
    const effects = CRC16_EFFECTS;
    const firstFactor = this.#firstFactor;
    const secondFactor = this.#secondFactor;
    // The length goes in first: a short last word is filled up with zeros, and "a" must not meet "a\0".
    let first = this.#firstStart ^ (end - start);
    let second = this.#secondStart;
    let crc = 0;
    let braces = 0;
    let at = start;
    for (; at + 8 <= end; at += 8) {
      const byte0 = bytes[at] as number;
      const byte1 = bytes[at + 1] as number;
      const byte2 = bytes[at + 2] as number;
      const byte3 = bytes[at + 3] as number;
      const byte4 = bytes[at + 4] as number;
      const byte5 = bytes[at + 5] as number;
      const byte6 = bytes[at + 6] as number;
      const byte7 = bytes[at + 7] as number;
      crc =
        (effects[0x700 + (byte0 ^ (crc >>> 8))] as number) ^
        (effects[0x600 + (byte1 ^ (crc & 0xff))] as number) ^
        (effects[0x500 + byte2] as number) ^
        (effects[0x400 + byte3] as number) ^
        (effects[0x300 + byte4] as number) ^
        (effects[0x200 + byte5] as number) ^
        (effects[0x100 + byte6] as number) ^
        (effects[byte7] as number);
      const low = byte0 | (byte1 << 8) | (byte2 << 16) | (byte3 << 24);
      const high = byte4 | (byte5 << 8) | (byte6 << 16) | (byte7 << 24);
      braces |= bracesIn(low) | bracesIn(high);
      first = Math.imul(first ^ low, firstFactor);
      second = Math.imul(second + ((low << 16) | (low >>> 16)), secondFactor);
      first = Math.imul(first ^ (first >>> 15) ^ high, firstFactor);
      second = Math.imul((second ^ (second >>> 17)) + ((high << 16) | (high >>> 16)), secondFactor);
      first ^= first >>> 15;
      second ^= second >>> 17;
    }
    // What is left, four bytes a word, the last word filled up with zeros.
    while (at < end) {
      let word = 0;
      const wordEnd = Math.min(at + 4, end);
      for (let shift = 0; at < wordEnd; at++, shift += 8) {
        const byte = bytes[at] as number;
        crc = ((crc << 8) & 0xffff) ^ (effects[(crc >>> 8) ^ byte] as number);
        word |= byte << shift;
      }
      braces |= bracesIn(word);
      first = Math.imul(first ^ word, firstFactor);
      second = Math.imul(second + ((word << 16) | (word >>> 16)), secondFactor);
      first ^= first >>> 15;
      second ^= second >>> 17;
    }
    this.hashed = mix(first + Math.imul(second, 0x9e3779b1)) >>> 2;
    // Few keys hold a brace; those are looked at again, for the tag.
    this.slot = (braces & 0x80808080) === 0 ? crc & (SLOT_COUNT - 1) : keySlot(bytes, start, end);
  }
}

/**
 * Looks at four bytes at once for a `{`.
 *
 * A byte that is one becomes zero by the xor, and only a zero byte, or one above it, borrows so that its top bit is set
 * here and was not set before. A false alarm costs a second look, a missed brace cannot be.
 *
 * @returns A word that has one of the bits of 0x80808080 set if there is one.
 */
function bracesIn(word: number): number {
  const differences = word ^ 0x7b7b7b7b;
  return (differences - 0x01010101) & ~differences;
}

/** Spreads each bit of a word over all of its bits (an invertible mix: two xor-shift-multiply rounds). */
function mix(word: number): number {
  // The multipliers are those of a published search for low bias (Chris Wellons' "lowbias32").
  let mixed = word;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return mixed ^ (mixed >>> 15);
}

/** Draws an odd number with no long runs of equal bits to speak of: 12 to 20 ones. A sparse factor would mix badly. */
function makeFactor(next: () => number): number {
  for (;;) {
    const factor = next() | 1;
    let ones = 0;
    for (let rest = factor; rest !== 0; rest &= rest - 1) ones++;
    if (ones >= 12 && ones <= 20) return factor;
  }
}
