import { expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  addToField,
  type BitOperation,
  combineBits,
  countBits,
  findBit,
  type FieldType,
  type Overflow,
  parseFieldType,
  readField,
  writeField,
} from "../../src/codec/bits.ts";

/** Random bytes, or long runs of one byte with a few others among them; sometimes longer than what is done by words. */
const bytes = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 40 }),
  fc
    .tuple(
      fc.integer({ min: 1, max: 400 }),
      fc.constantFrom(0, 255),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }),
    )
    .map(([length, fill, changes]) => {
      const run = new Uint8Array(length).fill(fill);
      for (const [at, byte] of changes) run[at % length] = byte;
      return run;
    }),
);
const bitOf = (source: Uint8Array, bit: number): number => ((source[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1;
const fieldType: fc.Arbitrary<FieldType> = fc
  .tuple(fc.boolean(), fc.integer({ min: 1, max: 64 }))
  .map(([isSigned, bits]) => ({ isSigned, bits: isSigned ? bits : Math.min(bits, 63) }));
const integer64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

test("countBits and findBit agree with looking at each bit, wherever the string lies in memory", () => {
  fc.assert(
    fc.property(bytes, fc.nat(7), fc.nat(), fc.nat(), fc.nat(5), (source, before, one, other, shift) => {
      const memory = new Uint8Array(shift + before + source.length + 9).fill(0xa5);
      memory.set(source, shift + before);
      const view = memory.subarray(shift);
      const total = source.length * 8;
      const first = Math.min(one % total, other % total);
      const last = Math.max(one % total, other % total);
      let count = 0;
      const found: [number, number] = [-1, -1];
      for (let bit = last; bit >= first; bit--) {
        const value = bitOf(source, bit);
        count += value;
        found[value] = bit;
      }
      expect(countBits(view, before, first, last)).toBe(count);
      expect(findBit(view, before, first, last, 0)).toBe(found[0]);
      expect(findBit(view, before, first, last, 1)).toBe(found[1]);
    }),
    { numRuns: 3000 },
  );
});

test("combineBits agrees with going through the bytes, and leaves its sources", () => {
  const operations: Record<Exclude<BitOperation, "not">, (one: number, other: number) => number> = {
    and: (one, other) => one & other,
    or: (one, other) => one | other,
    xor: (one, other) => one ^ other,
  };
  const sources = fc.array(fc.oneof(bytes, fc.constant(new Uint8Array(0))), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(fc.constantFrom("and", "or", "xor"), sources, (operation, given) => {
      const copies = given.map((source) => source.slice());
      const length = Math.max(...given.map((source) => source.length));
      const expected = Array.from({ length }, (_, at) =>
        given.map((source) => source[at] ?? 0).reduce((one, other) => operations[operation](one, other)),
      );
      expect([...combineBits(operation, given)]).toEqual(expected);
      expect(given).toEqual(copies);
      const first = given[0] ?? new Uint8Array(0);
      expect([...combineBits("not", [first])]).toEqual([...first].map((byte) => 255 - byte));
    }),
    { numRuns: 1000 },
  );
});

test("combineBits joins its pieces without a seam", () => {
  const long = Uint8Array.from({ length: 50_001 }, (_, at) => (at * 7 + (at >> 8)) & 255);
  const other = Uint8Array.from({ length: 33_333 }, (_, at) => (at * 13 + 5) & 255);
  const result = combineBits("xor", [other, long.subarray(1)]);
  expect(result.length).toBe(50_000);
  expect(result.every((byte, at) => byte === ((long[at + 1] ?? 0) ^ (other[at] ?? 0)))).toBe(true);
});

test("readField gives what writeField was given, and no bit beside it changes", () => {
  fc.assert(
    fc.property(bytes, fieldType, fc.nat(), integer64, (source, type, place, value) => {
      fc.pre(source.length * 8 >= type.bits);
      const offset = place % (source.length * 8 - type.bits + 1);
      const written = source.slice();
      writeField(written, offset, type, value);
      const expected = type.isSigned ? BigInt.asIntN(type.bits, value) : BigInt.asUintN(type.bits, value);
      expect(readField(written, offset, type)).toBe(expected);
      for (let bit = 0; bit < source.length * 8; bit++) {
        const isWithin = bit >= offset && bit < offset + type.bits;
        const want = isWithin
          ? Number((BigInt.asUintN(64, value) >> BigInt(offset + type.bits - 1 - bit)) & 1n)
          : bitOf(source, bit);
        if (bitOf(written, bit) !== want) expect(`bit ${bit}: ${bitOf(written, bit)}`).toBe(`bit ${bit}: ${want}`);
      }
    }),
    { numRuns: 2000 },
  );
});

test("readField reads zeros beyond the end", () => {
  fc.assert(
    fc.property(bytes, fieldType, fc.nat(), (source, type, place) => {
      const offset = place % (source.length * 8 + 70);
      let value = 0n;
      for (let bit = offset; bit < offset + type.bits; bit++) value = value * 2n + BigInt(bitOf(source, bit));
      expect(readField(source, offset, type)).toBe(type.isSigned ? BigInt.asIntN(type.bits, value) : value);
    }),
    { numRuns: 2000 },
  );
});

test("addToField stays within the range, and leaves sums that fit", () => {
  fc.assert(
    fc.property(
      fieldType,
      integer64,
      integer64,
      fc.constantFrom<Overflow>("wrap", "sat", "fail"),
      (type, given, increment, overflow) => {
        const bits = BigInt(type.bits);
        const least = type.isSigned ? -(2n ** (bits - 1n)) : 0n;
        const most = least + 2n ** bits - 1n;
        const value = type.isSigned ? BigInt.asIntN(type.bits, given) : BigInt.asUintN(type.bits, given);
        const sum = value + increment;
        const result = addToField(type, value, increment, overflow);
        if (sum >= least && sum <= most) expect(result).toBe(sum);
        else if (overflow === "fail") expect(result).toBeUndefined();
        else if (overflow === "sat") expect(result).toBe(sum > most ? most : least);
        else expect(result).toBe(least + ((((sum - least) % 2n ** bits) + 2n ** bits) % 2n ** bits));
      },
    ),
    { numRuns: 3000 },
  );
});

test("parseFieldType takes i1 to i64 and u1 to u63, and nothing else", () => {
  for (let bits = -1; bits <= 101; bits++) {
    expect(parseFieldType(`i${bits}`) !== undefined).toBe(bits >= 1 && bits <= 64);
    expect(parseFieldType(`u${bits}`) !== undefined).toBe(bits >= 1 && bits <= 63);
  }
  for (const text of ["", "i", "u", "8", "I8", "x8", "i08", "i+8", "i8 ", " i8", "u1e1"]) {
    expect(parseFieldType(text)).toBeUndefined();
  }
});
