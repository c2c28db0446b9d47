import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { integerLength, parseInteger, parseInteger64, writeInteger, writeInteger64 } from "../../src/codec/number.ts";

const integer64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

test("what writeInteger writes, parseInteger reads", () => {
  fc.assert(
    fc.property(fc.oneof(fc.maxSafeInteger(), fc.integer()), fc.nat(5), (value, at) => {
      const target = new Uint8Array(30);
      const end = writeInteger(target, at, value);
      expect(end - at).toBe(integerLength(value));
      expect(Buffer.from(target.subarray(at, end)).toString()).toBe(String(value));
      expect(parseInteger(target, at, end)).toBe(value);
    }),
    { numRuns: 5000 },
  );
});

test("parseInteger and parseInteger64 read every integer of 64 bits, or point to each other", () => {
  fc.assert(
    fc.property(integer64, (value) => {
      const target = new Uint8Array(20);
      const end = writeInteger64(target, 0, value);
      expect(parseInteger64(target, 0, end)).toBe(value);
      const small = Number(value);
      const expected = Number.isSafeInteger(small) ? small : Math.sign(small) * Infinity;
      expect(parseInteger(target, 0, end)).toBe(expected);
    }),
    { numRuns: 5000 },
  );
});

test("parseInteger takes exactly the texts that are an integer's own", () => {
  const text = fc.string({ unit: fc.constantFrom("0", "1", "9", "-", "+", " ", "."), maxLength: 21 });
  fc.assert(
    fc.property(text, (input) => {
      const bytes = Buffer.from(input);
      const isInteger = /^(?:0|-?[1-9][0-9]*)$/.test(input) && BigInt.asIntN(64, BigInt(input)) === BigInt(input);
      expect(parseInteger64(bytes, 0, bytes.length) !== undefined).toBe(isInteger);
      expect(Number.isNaN(parseInteger(bytes, 0, bytes.length))).toBe(!isInteger);
    }),
    { numRuns: 10_000 },
  );
});
