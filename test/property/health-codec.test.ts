/** What nodes tell of themselves for health: any message comes out as it went in, any bytes are a message or nothing. */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { type HealthMessage, encodeHealthMessage, readHealthMessage } from "../../src/codec/health-codec.ts";

const number = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.maxSafeNat());
const optional = <Value>(value: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
  fc.option(value, { nil: undefined });
const message: fc.Arbitrary<HealthMessage> = fc.oneof(
  fc.record({ type: fc.constant("time" as const), sequence: number, wallMs: number }),
  fc.record({
    type: fc.constant("report" as const),
    report: fc.record({
      sequence: number,
      clock: optional(fc.record({ aheadMs: fc.maxSafeInteger().map((value) => value || 0), errorMs: number })),
      load: optional(
        fc.record({ microseconds: number, bytes: number, hottestSlot: number, hottestMicroseconds: number }),
      ),
    }),
  }),
);

test("a message comes out as it went in", () => {
  fc.assert(
    fc.property(message, (each) => {
      expect(readHealthMessage(encodeHealthMessage(each))).toEqual(each);
    }),
  );
});

test("a part of a message is none, nor is one with something behind it", () => {
  fc.assert(
    fc.property(message, fc.nat(), (each, at) => {
      const bytes = encodeHealthMessage(each);
      expect(readHealthMessage(bytes.slice(0, at % bytes.length))).toBeUndefined();
      expect(readHealthMessage(Uint8Array.from([...bytes, 0]))).toBeUndefined();
    }),
  );
});

test("any bytes are a message that can be written, or nothing", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat({ max: 3 }), (bytes, type) => {
      const read = readHealthMessage(Uint8Array.from([type, ...bytes]));
      if (read !== undefined) expect(readHealthMessage(encodeHealthMessage(read))).toEqual(read);
      else expect(read).toBeUndefined();
    }),
  );
});
