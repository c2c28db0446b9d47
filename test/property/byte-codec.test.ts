/** Bytes written and read: numbers, texts and byte strings of any size, and whatever else a peer may send. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { Fault } from "../../src/assert.ts";
import { ByteReader } from "../../src/codec/byte-reader.ts";
import { ByteWriter } from "../../src/codec/byte-writer.ts";

type Value =
  | { readonly kind: "byte"; readonly value: number }
  | { readonly kind: "number"; readonly value: number }
  | { readonly kind: "fixed32"; readonly value: number }
  | { readonly kind: "flag"; readonly value: boolean }
  | { readonly kind: "text"; readonly value: string }
  | { readonly kind: "bytes"; readonly value: Uint8Array };

const of = <Kind extends string, T>(kind: Kind, value: fc.Arbitrary<T>): fc.Arbitrary<{ kind: Kind; value: T }> =>
  fc.record({ kind: fc.constant(kind), value });

const value: fc.Arbitrary<Value> = fc.oneof(
  of("byte", fc.nat(255)),
  of("number", fc.oneof(fc.nat(200), fc.maxSafeNat(), fc.constantFrom(127, 128, 16_383, 16_384, 2 ** 53 - 1))),
  of("fixed32", fc.oneof(fc.nat(0x7fff_ffff), fc.constantFrom(0x8000_0000, 0xffff_ffff))),
  of("flag", fc.boolean()),
  of("text", fc.string({ unit: "binary", maxLength: 80 })),
  of("bytes", fc.uint8Array({ maxLength: 400 })),
);

function write(writer: ByteWriter, { kind, value: what }: Value): void {
  if (kind === "byte") writer.byte(what);
  else if (kind === "number") writer.number(what);
  else if (kind === "fixed32") writer.fixed32(what);
  else if (kind === "flag") writer.flag(what);
  else if (kind === "text") writer.text(what);
  else writer.bytes(what);
}

function read(reader: ByteReader, kind: Value["kind"]): Value["value"] {
  return reader[kind]();
}

function bytesOf(values: readonly Value[], capacity = 1): Uint8Array {
  const writer = new ByteWriter(capacity);
  for (const each of values) write(writer, each);
  expect(writer.length).toBe(writer.finish().length);
  return writer.finish();
}

describe("ByteReader", () => {
  test("gives what ByteWriter was given, whatever the capacity it began with", () => {
    fc.assert(
      fc.property(fc.array(value, { maxLength: 20 }), fc.integer({ min: 0, max: 300 }), (values, capacity) => {
        const reader = new ByteReader(bytesOf(values, capacity));
        for (const each of values) expect(read(reader, each.kind)).toEqual(each.value);
        expect(reader.isWhole).toBe(true);
        expect(reader.remaining).toBe(0);
      }),
    );
  });

  test("keeps a mark of byte order that begins a text", () => {
    for (const text of ["\uFEFF", "\uFEFFkey"]) {
      expect(new ByteReader(bytesOf([{ kind: "text", value: text }])).text()).toBe(text);
    }
  });

  test("reads a part of an array, and does not look beyond it", () => {
    const bytes = bytesOf([
      { kind: "text", value: "before" },
      { kind: "text", value: "inside" },
      { kind: "byte", value: 1 },
    ]);
    const reader = new ByteReader(bytes, 7, 14);
    expect(reader.text()).toBe("inside");
    expect([reader.isWhole, reader.at]).toEqual([true, 14]);
    expect([reader.byte(), reader.isBad]).toEqual([0, true]);
  });

  test("what was cut off, anywhere, is bad and reads as zeros", () => {
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 6 }), (values) => {
        const bytes = bytesOf(values);
        for (let length = 0; length < bytes.length; length += 1) {
          const reader = new ByteReader(bytes.subarray(0, length));
          for (const each of values) read(reader, each.kind);
          expect(reader.isBad, `${length} of ${bytes.length} bytes`).toBe(true);
          expect([reader.number(), reader.bytes().length, reader.text()]).toEqual([0, 0, ""]);
        }
      }),
    );
  });

  test("any bytes read as anything without a throw, and never as more than they are", () => {
    const kinds = fc.array(fc.constantFrom("byte", "number", "fixed32", "flag", "text", "bytes"), { maxLength: 30 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), kinds, (bytes, wanted) => {
        const reader = new ByteReader(bytes);
        let taken = 0;
        for (const kind of wanted) {
          const got = read(reader, kind);
          if (got instanceof Uint8Array) taken += got.length;
          expect(reader.at).toBeLessThanOrEqual(bytes.length);
        }
        expect(taken).toBeLessThanOrEqual(bytes.length);
      }),
      { numRuns: 1000 },
    );
  });

  test("bytes that were read are a copy", () => {
    const source = bytesOf([{ kind: "bytes", value: Uint8Array.of(1, 2, 3) }]);
    const got = new ByteReader(source).bytes();
    source.fill(9);
    expect([...got]).toEqual([1, 2, 3]);
  });

  for (const [what, bytes] of [
    ["2^53, one more than there may be", [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]],
    ["a number without an end", [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]],
    ["a number that is cut off", [0x80]],
  ] as const) {
    test(`${what} is bad`, () => {
      const reader = new ByteReader(Uint8Array.from(bytes));
      expect([reader.number(), reader.isBad]).toEqual([0, true]);
    });
  }

  test("a flag is 0 or 1", () => {
    const reader = new ByteReader(Uint8Array.of(2));
    reader.flag();
    expect(reader.isBad).toBe(true);
  });

  test("a count is bounded by the bytes that are left", () => {
    expect(new ByteReader(Uint8Array.of(3, 0, 0, 0)).count()).toBe(3);
    const reader = new ByteReader(Uint8Array.of(4, 0, 0, 0));
    expect([reader.count(), reader.isBad]).toEqual([0, true]);
  });

  test("a list ends with the first value that is bad", () => {
    let calls = 0;
    const reader = new ByteReader(new Uint8Array(1000).fill(0xff).fill(100, 0, 1));
    reader.list(() => {
      calls += 1;
      return reader.text();
    });
    expect([calls, reader.isBad]).toEqual([1, true]);
    const whole = new ByteReader(Uint8Array.of(3, 7, 8, 9));
    expect([whole.list(() => whole.byte()), whole.isWhole]).toEqual([[7, 8, 9], true]);
  });
});

describe("ByteWriter", () => {
  test("writes no number that ByteReader would not read", () => {
    for (const number of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => new ByteWriter().number(number), String(number)).toThrow(Fault);
    }
  });

  test("raw bytes have no length before them", () => {
    const writer = new ByteWriter(0);
    writer.raw(Uint8Array.of(1, 2));
    writer.raw(new Uint8Array(100).fill(3));
    expect([...writer.finish()]).toEqual([1, 2, ...Array.from({ length: 100 }, () => 3)]);
  });

  test("what was written is all there, and keeps at most twice as much, however much room there was", () => {
    for (const capacity of [0, 100, 5000, 10_000, 1_000_000]) {
      for (const length of [0, 1, 4095, 4096, 5000, 9999]) {
        const writer = new ByteWriter(capacity);
        writer.raw(new Uint8Array(length).map((_, at) => at % 251));
        const finished = writer.finish();
        expect(finished.every((byte, at) => byte === at % 251)).toBe(true);
        expect(finished).toHaveLength(length);
        expect(finished.buffer.byteLength).toBeLessThanOrEqual(2 * length);
      }
    }
  });
});
