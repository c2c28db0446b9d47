/** What is asked about slots: any message comes out as it went in, any bytes are a message or nothing. */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  type SlotMessage,
  type SlotQuestion,
  encodeSlotMessage,
  readSlotMessage,
} from "../../src/codec/slot-word-codec.ts";

const id = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => bytes.toHex());
const number = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.maxSafeNat());
const text = fc.string({ unit: "grapheme", maxLength: 60 });
const question: fc.Arbitrary<SlotQuestion> = fc.oneof(
  fc.record({ type: fc.constantFrom("give", "send"), slot: number, to: id }),
  fc.record({ type: fc.constant("close" as const), slot: number, isLast: fc.boolean() }),
  fc.record({ type: fc.constant("reach" as const), version: number }),
);
const message: fc.Arbitrary<SlotMessage> = fc.oneof(
  fc.record({ type: fc.constant("question" as const), id: number, cause: text, question }),
  fc.record({
    type: fc.constant("word" as const),
    id: number,
    word: fc.record({ result: fc.constantFrom("done", "refused", "elsewhere", "keys"), error: text, version: number }),
  }),
);

test("a message comes out as it went in", () => {
  fc.assert(
    fc.property(message, (each) => {
      expect(readSlotMessage(encodeSlotMessage(each))).toEqual(each);
    }),
  );
});

test("a part of a message is none, nor is one with something behind it", () => {
  fc.assert(
    fc.property(message, fc.nat(), (each, at) => {
      const bytes = encodeSlotMessage(each);
      expect(readSlotMessage(bytes.slice(0, at % bytes.length))).toBeUndefined();
      expect(readSlotMessage(Uint8Array.from([...bytes, 0]))).toBeUndefined();
    }),
  );
});

test("any bytes are a message that can be written, or nothing", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat({ max: 3 }), (bytes, type) => {
      const read = readSlotMessage(Uint8Array.from([type, ...bytes]));
      if (read !== undefined) expect(readSlotMessage(encodeSlotMessage(read))).toEqual(read);
    }),
  );
});
