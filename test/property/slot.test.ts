import { expect, test } from "bun:test";
import { createRequire } from "node:module";
import * as fc from "fast-check";
import { KeyHasher, keySlot } from "../../src/codec/slot.ts";

// The package has no types.
const calculateSlot = createRequire(import.meta.url)("cluster-key-slot") as (key: Uint8Array) => number;

// Keys with many braces, so that tags of all kinds come up.
const braceKey = fc.string({ unit: fc.constantFrom("{", "}", "a", "b"), maxLength: 12 });
const plainKey = fc.string({ unit: "binary", maxLength: 40 });
const key = fc.oneof(
  braceKey,
  plainKey,
  fc.tuple(plainKey, braceKey).map(([plain, brace]) => plain + brace),
);

test("keySlot and KeyHasher agree with cluster-key-slot on any key, wherever it lies", () => {
  fc.assert(
    fc.property(key, fc.nat(9), fc.integer(), (text, before, seed) => {
      // An empty tag means the whole key to Redis; cluster-key-slot looks for a later end. The server is asked in test/peers.
      fc.pre(!/^[^{]*\{\}/.test(text));
      const bytes = new TextEncoder().encode(text);
      const input = new Uint8Array(before + bytes.length + 5).fill(0x7b);
      input.set(bytes, before);
      const expected = calculateSlot(Buffer.from(bytes));
      expect(keySlot(input, before, before + bytes.length)).toBe(expected);
      const hasher = new KeyHasher(seed);
      hasher.hash(input, before, before + bytes.length);
      expect(hasher.slot).toBe(expected);
    }),
    { numRuns: 3000 },
  );
});

test("KeyHasher gives equal keys equal hashes, wherever they lie", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 50 }), fc.nat(9), fc.integer(), (bytes, before, seed) => {
      const input = new Uint8Array(before + bytes.length + 5).fill(0xa5);
      input.set(bytes, before);
      const hasher = new KeyHasher(seed);
      hasher.hash(bytes, 0, bytes.length);
      const expected = hasher.hashed;
      hasher.hash(input, before, before + bytes.length);
      expect(hasher.hashed).toBe(expected);
      expect(expected >= 0 && expected < 2 ** 30).toBe(true);
    }),
  );
});
