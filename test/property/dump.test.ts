import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { writeCrc64 } from "../../src/codec/crc64.ts";
import { decode, encodeString } from "../../src/codec/dump.ts";
import { compressLzf, decompressLzf } from "../../src/codec/lzf.ts";

const compressible = fc
  .tuple(fc.array(fc.uint8Array({ minLength: 1, maxLength: 9 }), { minLength: 1, maxLength: 4 }), fc.array(fc.nat(3)))
  .map(([words, order]) => Buffer.concat(order.map((index) => words[index % words.length] ?? new Uint8Array(0))));
const value = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  compressible,
  fc.integer().map((number) => Buffer.from(String(number))),
  fc.tuple(fc.nat(2000), fc.nat(255)).map(([length, byte]) => Buffer.alloc(length, byte)),
);

test("decode gives what encodeString was given", () => {
  fc.assert(
    fc.property(value, fc.nat(9), (bytes, before) => {
      const input = Buffer.concat([Buffer.alloc(before, 1), bytes, Buffer.alloc(3, 2)]);
      const payload = encodeString(input, before, before + bytes.length);
      const decoded = decode(payload, 0, payload.length, bytes.length);
      expect(decoded.kind === "string" && Buffer.from(bytes).equals(decoded.value)).toBe(true);
    }),
    { numRuns: 2000 },
  );
});

test("decompressLzf gives what compressLzf was given, which keeps to its bound", () => {
  fc.assert(
    fc.property(value, fc.nat(400), (bytes, maxLength) => {
      const compressed = compressLzf(bytes, 0, bytes.length, maxLength);
      if (compressed === undefined) return;
      expect(compressed.length).toBeLessThanOrEqual(maxLength);
      const plain = decompressLzf(compressed, 0, compressed.length, bytes.length);
      expect(plain !== undefined && Buffer.from(bytes).equals(plain)).toBe(true);
    }),
    { numRuns: 2000 },
  );
});

test("decode never throws and never gives more than allowed, whatever a sound checksum is put on", () => {
  // Bytes that mean something in a header, more often than not.
  const byte = fc.oneof(fc.constantFrom(0, 1, 2, 0x20, 0x40, 0x80, 0x81, 0xc0, 0xc3, 0xc3, 0xe0, 0xff), fc.nat(255));
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 40 }), fc.boolean(), fc.nat(100), (body, isString, maxBytes) => {
      const payload = Buffer.concat([
        Buffer.from(isString ? [0, ...body] : body),
        Uint8Array.of(10, 0, 0, 0, 0, 0, 0, 0, 0, 0),
      ]);
      writeCrc64(payload, 0, payload.length - 8, payload, payload.length - 8);
      const decoded = decode(payload, 0, payload.length, maxBytes);
      expect(decoded.kind).not.toBe("damaged");
      if (decoded.kind === "string") {
        // Integers are written out, in at most eleven bytes; all else is bounded.
        expect(decoded.value.length).toBeLessThanOrEqual(Math.max(maxBytes, 11));
        expect(decoded.value.length).toBeLessThanOrEqual(payload.length * 88);
      }
    }),
    { numRuns: 10_000 },
  );
});

test("decode calls noise damaged", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (noise) => {
      expect(decode(noise, 0, noise.length, 1000)).toEqual({ kind: "damaged" });
    }),
    // A checksum that is right by chance, one in 2^64.
    { numRuns: 2000 },
  );
});
