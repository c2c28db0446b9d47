import { describe, expect, test } from "bun:test";
import { crc16, KeyHasher, keySlot, SLOT_COUNT } from "../../src/codec/slot.ts";

const encoder = new TextEncoder();
const slotOf = (key: string): number => {
  const bytes = encoder.encode(key);
  return keySlot(bytes, 0, bytes.length);
};

describe("crc16", () => {
  test.each([
    ["", 0],
    ["123456789", 0x31c3],
    ["A", 0x58e5],
  ])("of %j is the XMODEM checksum", (text, expected) => {
    const bytes = encoder.encode(text);
    expect(crc16(bytes, 0, bytes.length)).toBe(expected);
  });

  test("of a range ignores what is around it", () => {
    const bytes = encoder.encode("xx123456789yy");
    expect(crc16(bytes, 2, 11)).toBe(0x31c3);
  });

  test("agrees with the definition, bit by bit, at every length to 40", () => {
    for (let length = 0; length <= 40; length++) {
      const bytes = Uint8Array.from({ length }, (_, index) => (index * 167 + length * 31) & 0xff);
      expect(crc16(bytes, 0, length)).toBe(slowCrc16(bytes));
    }
  });
});

describe("keySlot", () => {
  test.each([
    ["foo", 12182],
    ["bar", 5061],
    ["", 0],
    ["123456789", 0x31c3],
  ])("of %j is %d, as Redis says", (key, slot) => {
    expect(slotOf(key)).toBe(slot);
  });

  test.each([
    ["{user1000}.following", "user1000"],
    ["{user1000}.followers", "user1000"],
    ["foo{}{bar}", "foo{}{bar}"],
    ["foo{{bar}}zap", "{bar"],
    ["foo{bar}{zap}", "bar"],
    ["}foo{bar}", "bar"],
    ["foo{bar", "foo{bar"],
    ["foo}bar{", "foo}bar{"],
    ["{}", "{}"],
    ["{a}", "a"],
  ])("of %j counts %j alone", (key, counted) => {
    const bytes = encoder.encode(counted);
    expect(slotOf(key)).toBe(crc16(bytes, 0, bytes.length) % SLOT_COUNT);
  });
});

describe("KeyHasher", () => {
  test("gives a 30-bit hash and the slot", () => {
    const hasher = new KeyHasher(1);
    for (let index = 0; index < 10_000; index++) {
      const bytes = encoder.encode(`key:${index}`);
      hasher.hash(bytes, 0, bytes.length);
      expect(Number.isInteger(hasher.hashed) && hasher.hashed >= 0 && hasher.hashed < 2 ** 30).toBe(true);
      expect(hasher.slot).toBe(keySlot(bytes, 0, bytes.length));
    }
  });

  test("tells zeros at the end of a key apart", () => {
    const hashes = new Set<number>();
    const hasher = new KeyHasher(5);
    for (let length = 0; length <= 64; length++) {
      hasher.hash(new Uint8Array(64), 0, length);
      hashes.add(hasher.hashed);
    }
    expect(hashes.size).toBe(65);
  });

  test("depends on its seed", () => {
    const bytes = encoder.encode("session:4711");
    const hashes = new Set<number>();
    for (let seed = 0; seed < 1000; seed++) {
      const hasher = new KeyHasher(seed);
      hasher.hash(bytes, 0, bytes.length);
      hashes.add(hasher.hashed);
    }
    expect(hashes.size).toBeGreaterThan(998);
  });

  // The keys that people use: counters, padded numbers, one letter changed in the middle, raw little-endian numbers.
  const families: readonly [string, (index: number) => Uint8Array][] = [
    ["counted keys", (index) => encoder.encode(`key:${index}`)],
    ["padded keys", (index) => encoder.encode(`memtier-${String(index).padStart(12, "0")}`)],
    ["keys that differ in the middle", (index) => encoder.encode(`user:${index}:profile:picture`)],
    ["raw 32-bit numbers", (index) => new Uint8Array(Uint32Array.of(index).buffer)],
    ["raw 64-bit numbers, high word", (index) => new Uint8Array(Uint32Array.of(0, index).buffer)],
    ["sparse numbers", (index) => new Uint8Array(Uint32Array.of(7, index << 16, 9).buffer)],
  ];

  test.each(families)("spreads %s evenly over a table, by its low and by its high bits", (_name, makeKey) => {
    const buckets = 1024;
    const keys = 65_536;
    for (const seed of [1, 42, 0x7fffffff]) {
      const low = new Float64Array(buckets);
      const high = new Float64Array(buckets);
      const distinct = new Set<number>();
      const hasher = new KeyHasher(seed);
      for (let index = 0; index < keys; index++) {
        const bytes = makeKey(index);
        hasher.hash(bytes, 0, bytes.length);
        low[hasher.hashed & (buckets - 1)] = (low[hasher.hashed & (buckets - 1)] as number) + 1;
        high[hasher.hashed >>> 20] = (high[hasher.hashed >>> 20] as number) + 1;
        distinct.add(hasher.hashed);
      }
      // Chi squared with 1023 degrees of freedom: mean 1023, deviation 45. Six deviations never come by chance.
      expect(chiSquared(low, keys / buckets)).toBeLessThan(1023 + 6 * 45);
      expect(chiSquared(high, keys / buckets)).toBeLessThan(1023 + 6 * 45);
      // 65,536 keys in 2^30 values: two collide by chance on average.
      expect(keys - distinct.size).toBeLessThan(16);
    }
  });

  test.each([1, 4, 7, 8, 12, 16, 33])("flips each bit of its answer half of the time, keys of %d bytes", (length) => {
    const trials = 2000;
    for (let bit = 0; bit < length * 8; bit += length > 8 ? 3 : 1) {
      const flips = new Float64Array(30);
      for (let trial = 0; trial < trials; trial++) {
        // One seed a trial: what is tested is the difference, for whoever does not know the seed.
        const hasher = new KeyHasher(trial * 7919);
        const bytes = Uint8Array.from({ length }, (_, index) => Math.imul(trial + 1, index * 2 + 0x9e3779b1) >>> 24);
        hasher.hash(bytes, 0, length);
        const before = hasher.hashed;
        bytes[bit >>> 3] = (bytes[bit >>> 3] as number) ^ (1 << (bit & 7));
        hasher.hash(bytes, 0, length);
        for (let out = 0; out < 30; out++)
          flips[out] = (flips[out] as number) + (((before ^ hasher.hashed) >>> out) & 1);
      }
      // 1000 of 2000 on average, deviation 22.
      expect(Math.max(...flips)).toBeLessThan(1000 + 6.5 * 22.4);
      expect(Math.min(...flips)).toBeGreaterThan(1000 - 6.5 * 22.4);
    }
  });

  test("has no pair of keys that collides under every seed, in the differences that fool multiply-xor hashes", () => {
    // 1. A top bit passes a product unchanged, whatever the factor. 2. The shift after it copies it to a place that is
    // known. 3. The next word undoes both, if nothing else is there to stop it.
    const differences = [0x80000000, 0x80010000, 0x00008000, 0x80008000, 0x00010000, 0x80004000, 0x00000001];
    const seeds = 400;
    for (const firstDifference of differences) {
      for (const secondDifference of [...differences, 0]) {
        let collisions = 0;
        for (let seed = 0; seed < seeds; seed++) {
          const hasher = new KeyHasher(seed);
          hasher.hash(wordsToBytes(0x61626364, 0x65666768, 0x30313233), 0, 12);
          const before = hasher.hashed;
          hasher.hash(wordsToBytes(0x61626364 ^ firstDifference, 0x65666768 ^ secondDifference, 0x30313233), 0, 12);
          if (hasher.hashed === before) collisions++;
        }
        expect(collisions).toBeLessThan(3);
      }
    }
  });
});

function wordsToBytes(...words: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(words, (word) => word >>> 0).buffer);
}

function chiSquared(counts: Float64Array, expected: number): number {
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

/** The definition of CRC16/XMODEM, a bit at a time. */
function slowCrc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = ((crc << 1) ^ ((crc & 0x8000) === 0 ? 0 : 0x1021)) & 0xffff;
  }
  return crc;
}
