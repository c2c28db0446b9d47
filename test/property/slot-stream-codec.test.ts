/** The messages of slot streams: what is written is read again, and whatever else a peer sends is no message, or one whose places lie in its bytes. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  type ChunkStep,
  ChunkWriter,
  type SlotOffer,
  encodeEnd,
  encodeOffer,
  encodeWants,
  readSlotStreamMessage,
} from "../../src/codec/slot-stream-codec.ts";
import { canonicalRanges } from "../../src/protocol/slot-ranges.ts";
import type { ValueType } from "../../src/contracts/keyspace.ts";

const slot = fc.nat(16_383);
const range = fc.tuple(slot, slot).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));
const digest = fc
  .tuple(fc.nat(0xffff_ffff), fc.nat(0xffff_ffff))
  .map((halves) => halves.map((half) => half.toString(16).padStart(8, "0")).join(""));
const offer: fc.Arbitrary<SlotOffer> = fc.oneof(
  range.map((empty) => ({ ...empty, keys: 0, digest: undefined })),
  fc
    .tuple(slot, fc.integer({ min: 1, max: 2 ** 40 }), fc.option(digest, { nil: undefined }))
    .map(([first, keys, itsDigest]) => ({ first, last: first, keys, digest: itsDigest })),
);

/** A step by its contents. */
type Step =
  | { readonly type: "begin" | "end"; readonly slot: number }
  | { readonly type: "absent"; readonly key: Uint8Array }
  | {
      readonly type: "record";
      readonly key: Uint8Array;
      readonly valueType: ValueType;
      readonly flags: number;
      readonly expiresAtMs: number;
      readonly value: Uint8Array;
      readonly more: number;
    }
  | {
      readonly type: "part";
      readonly key: Uint8Array;
      readonly place: number;
      readonly value: Uint8Array;
      readonly more: number;
    };

const key = fc.uint8Array({ maxLength: 40 });
const value = fc.uint8Array({ maxLength: 300 });
const more = fc.oneof(fc.constant(0), fc.nat(1_000_000_000));
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ type: fc.constantFrom("begin", "end"), slot }),
  fc.record({ type: fc.constant("absent"), key }),
  fc.record({
    type: fc.constant("record"),
    key,
    valueType: fc.constantFrom<ValueType[]>(0, 1, 2, 3, 4),
    flags: fc.nat(15),
    expiresAtMs: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 2 ** 48 })),
    value,
    more,
  }),
  fc.record({ type: fc.constant("part"), key, place: fc.nat(1_000_000_000), value, more }),
);

/** Writes a step, its value from the middle of a larger array as it lies in the store. */
function write(writer: ChunkWriter, each: Step): void {
  switch (each.type) {
    case "begin":
      writer.begin(each.slot);
      break;
    case "end":
      writer.end(each.slot);
      break;
    case "absent":
      writer.absent(each.key);
      break;
    case "record": {
      const bytes = Uint8Array.of(7, 7, ...each.key, ...each.value, 7, 7);
      const valueStart = 2 + each.key.length;
      const length = each.value.length;
      const { valueType, flags, expiresAtMs } = each;
      writer.record(valueType, flags, expiresAtMs, bytes, 2, valueStart, valueStart, length + each.more, length);
      break;
    }
    case "part": {
      const bytes = Uint8Array.of(7, ...each.value, 7);
      const end = 1 + each.value.length;
      writer.part(each.key, each.place, each.place + each.value.length + each.more, bytes, 1, end);
      break;
    }
    default:
      each satisfies never;
  }
}

/** A step that was read, by its contents. */
function show(bytes: Uint8Array, read: ChunkStep): Step {
  switch (read.type) {
    case "begin":
    case "end":
      return read;
    case "absent":
      return { type: "absent", key: bytes.slice(read.keyStart, read.keyEnd) };
    case "record": {
      const { type, valueType, flags, expiresAtMs } = read;
      const itsValue = bytes.slice(read.valueStart, read.valueEnd);
      const itsKey = bytes.slice(read.keyStart, read.keyEnd);
      const left = read.valueLength - itsValue.length;
      return { type, key: itsKey, valueType, flags, expiresAtMs, value: itsValue, more: left };
    }
    case "part": {
      const itsValue = bytes.slice(read.valueStart, read.valueEnd);
      const { type, place } = read;
      const left = read.valueLength - place - itsValue.length;
      return { type, key: bytes.slice(read.keyStart, read.keyEnd), place, value: itsValue, more: left };
    }
    default:
      return read satisfies never;
  }
}

/** The places of a chunk lie in its bytes. */
function expectSound(bytes: Uint8Array): void {
  const message = readSlotStreamMessage(bytes);
  if (message === undefined) return;
  if (message.type === "offer" || message.type === "wants") {
    for (const { first, last } of message.slots) expect(first >= 0 && first <= last && last < 16_384).toBe(true);
    expect(message.slots.length).toBeLessThanOrEqual(bytes.length);
  } else if (message.type === "chunk") {
    expect(message.steps.length).toBeLessThanOrEqual(bytes.length);
    for (const each of message.steps) {
      if (each.type === "begin" || each.type === "end") {
        expect(each.slot < 16_384).toBe(true);
        continue;
      }
      expect(each.keyStart <= each.keyEnd && each.keyEnd <= bytes.length).toBe(true);
      if (each.type === "absent") continue;
      const sent = each.valueEnd - each.valueStart;
      expect(sent >= 0 && each.valueEnd <= bytes.length).toBe(true);
      expect(sent + (each.type === "part" ? each.place : 0)).toBeLessThanOrEqual(each.valueLength);
      expect(each.valueLength).toBeLessThan(2 ** 31);
    }
  }
}

const chunkOf = (steps: readonly Step[]): Uint8Array => {
  const writer = new ChunkWriter(16);
  for (const each of steps) write(writer, each);
  expect(writer.steps).toBe(steps.length);
  const { length } = writer;
  const bytes = writer.finish();
  expect(bytes.length).toBe(length);
  return bytes;
};

describe("messages of slot streams", () => {
  test("chunks are read as they were written", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const bytes = chunkOf(steps);
        const message = readSlotStreamMessage(bytes);
        if (message?.type !== "chunk") throw new Error("a chunk is read as a chunk");
        expect(message.steps.map((each) => show(bytes, each))).toEqual([...steps]);
      }),
    );
  });

  test("offers, answers and ends are read as they were written", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.array(offer, { maxLength: 30 }), fc.array(range), (number, offers, ranges) => {
        expect(readSlotStreamMessage(encodeOffer(number, offers))).toEqual({
          type: "offer",
          offer: number,
          slots: offers,
        });
        const slots = canonicalRanges(ranges);
        expect(readSlotStreamMessage(encodeWants(number, slots))).toEqual({ type: "wants", offer: number, slots });
      }),
    );
    expect(readSlotStreamMessage(encodeEnd())).toEqual({ type: "end" });
  });

  test("a message that is cut off is none; but a chunk, between two steps, a shorter one", () => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 1, maxLength: 5 }),
        fc.array(offer, { minLength: 1 }),
        (steps, offers) => {
          const whole = encodeOffer(1, offers);
          for (let length = 0; length < whole.length; length += 1)
            expect(readSlotStreamMessage(whole.slice(0, length))).toBeUndefined();
          const chunk = chunkOf(steps);
          let count = 0;
          for (let length = 1; length < chunk.length; length += 1) {
            const message = readSlotStreamMessage(chunk.slice(0, length));
            if (message !== undefined) count += 1;
            expectSound(chunk.slice(0, length));
          }
          expect(count).toBeLessThanOrEqual(steps.length);
        },
      ),
      { numRuns: 50 },
    );
  });

  test("other bytes are none, or sound", () => {
    const spoiled = fc
      .tuple(fc.array(step, { maxLength: 6 }), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }))
      .map(([steps, changes]) => {
        const bytes = chunkOf(steps);
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
        return bytes;
      });
    const begun = fc
      .tuple(fc.nat(4), fc.uint8Array({ maxLength: 60 }))
      .map(([type, rest]) => Uint8Array.of(type, ...rest));
    fc.assert(fc.property(fc.oneof(begun, spoiled, fc.uint8Array({ maxLength: 60 })), expectSound), { numRuns: 3000 });
  });

  for (const [what, bytes] of [
    ["nothing", []],
    ["an unknown type", [4]],
    ["something after the end", [3, 0]],
    ["a range of slots that have keys", [0, 0, 1, 5, 1, 3, 0]],
    ["slot 16384", [2, 0, 0x80, 0x80, 0x01]],
    ["a range beyond the last slot", [1, 0, 1, 0xff, 0x7f, 1]],
    ["slots that descend", [1, 0, 2, 5, 0, 4, 0]],
    ["a slot twice", [1, 0, 2, 5, 0, 5, 0]],
    ["an unknown step", [2, 5]],
    ["a value type that is none", [2, 2, 5, 0, 0, 0]],
    ["an expiry at no time", [2, 2, 0x80, 0, 0, 0, 0]],
    ["more bytes than the value has", [2, 2, 0, 0, 1, 2, 65, 66]],
    ["a part that lies behind its value", [2, 4, 0, 3, 3, 1, 65]],
    ["a value of 2^31 bytes", [2, 2, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x08, 0]],
  ] as const) {
    test(`${what} is no message`, () => expect(readSlotStreamMessage(Uint8Array.from(bytes))).toBeUndefined());
  }
});
