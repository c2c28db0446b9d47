/** What clusters say to each other before they are one: any frame comes out as it went in, any bytes are a frame or nothing. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { type MeetingFrame, encodeMeetingFrame, readMeetingFrame } from "../../src/codec/meeting-codec.ts";
import type { ClusterStanding } from "../../src/protocol/meeting.ts";

const number = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.maxSafeNat());
const text = fc.string({ unit: "grapheme", maxLength: 60 });
const standing: fc.Arbitrary<ClusterStanding> = fc.record({
  clusterId: text,
  nodeCount: number,
  isKeyless: fc.boolean(),
  isSealed: fc.boolean(),
  isOut: fc.boolean(),
});
const frame: fc.Arbitrary<MeetingFrame> = fc.oneof(
  fc.record({ type: fc.constantFrom("hello", "standing"), question: number, standing }),
  fc.record({ type: fc.constant("invite" as const), clusterId: text, isKeyless: fc.boolean() }),
  fc.record({
    type: fc.constant("join" as const),
    joinId: text,
    clusterId: text,
    card: text,
    slots: fc.array(fc.record({ first: number, last: number }), { maxLength: 20 }),
  }),
  fc.record({
    type: fc.constant("verdict" as const),
    joinId: text,
    isAdmitted: fc.boolean(),
    reason: text,
    clusterId: text,
    members: fc.array(fc.record({ host: text, port: number }), { maxLength: 20 }),
  }),
);

describe("a frame of a meeting", () => {
  test("comes out as it went in", () => {
    fc.assert(fc.property(frame, (each) => expect(readMeetingFrame(encodeMeetingFrame(each))).toEqual(each)));
  });

  test("that is cut short, or has something after it, is none", () => {
    fc.assert(
      fc.property(frame, fc.nat(), (each, cut) => {
        const bytes = encodeMeetingFrame(each);
        expect(readMeetingFrame(bytes.subarray(0, cut % bytes.length))).toBeUndefined();
        expect(readMeetingFrame(new Uint8Array([...bytes, 0]))).toBeUndefined();
      }),
    );
  });

  test("of any bytes is one that could have been sent, or none", () => {
    const told = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      // Nearly one: a byte of it is another.
      fc.tuple(frame, fc.nat(), fc.integer({ min: 0, max: 255 })).map(([each, at, byte]) => {
        const bytes = encodeMeetingFrame(each);
        bytes[at % bytes.length] = byte;
        return bytes;
      }),
    );
    fc.assert(
      fc.property(told, (bytes) => {
        const each = readMeetingFrame(bytes);
        if (each !== undefined) expect(readMeetingFrame(encodeMeetingFrame(each))).toEqual(each);
      }),
      { numRuns: 500 },
    );
  });

  test("that claims to have more of something than it has bytes is none", () => {
    const bytes = encodeMeetingFrame({ type: "join", joinId: "", clusterId: "", card: "", slots: [] });
    // The count of slots is the last byte.
    bytes[bytes.length - 1] = 127;
    expect(readMeetingFrame(bytes)).toBeUndefined();
  });
});
