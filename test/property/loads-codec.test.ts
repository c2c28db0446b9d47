/** What primaries tell of their slots, as bytes: what goes in comes out, and anything else is no message. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  type LoadsMessage,
  MAX_LOADS_BYTES,
  encodeLoadsMessage,
  readLoadsMessage,
} from "../../src/codec/loads-codec.ts";
import { SLOT_COUNT } from "../../src/codec/slot.ts";
import type { SlotLoad } from "../../src/contracts/slot-loads.ts";
import { MAX_FRAME_BYTES } from "../../src/bus/incoming-link.ts";

const count = fc.maxSafeNat();
const load = fc.record({
  slot: fc.nat(SLOT_COUNT - 1),
  keys: count,
  bytes: count,
  operations: count,
  microseconds: count,
});
const message: fc.Arbitrary<LoadsMessage> = fc.oneof(
  fc.record({ type: fc.constant("ask" as const), id: count }),
  fc.record({
    type: fc.constant("tell" as const),
    id: count,
    shard: fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => bytes.toHex()),
    shardVersion: count,
    takesSlots: fc.boolean(),
    loads: fc
      .uniqueArray(load, { selector: ({ slot }) => slot, maxLength: 40 })
      .map((loads) => loads.toSorted((a, b) => a.slot - b.slot)),
  }),
);

describe("messages about loads", () => {
  test("come out as they went in", () => {
    fc.assert(
      fc.property(message, (told) => {
        expect(readLoadsMessage(encodeLoadsMessage(told))).toEqual(told);
      }),
    );
  });

  test("are none with a byte less or more, and bytes of any kind are none or one that is written the same", () => {
    fc.assert(
      fc.property(message, fc.uint8Array({ maxLength: 60 }), (told, bytes) => {
        const whole = encodeLoadsMessage(told);
        expect(readLoadsMessage(whole.subarray(0, -1))).toBeUndefined();
        expect(readLoadsMessage(new Uint8Array([...whole, 0]))).toBeUndefined();
        for (const some of [bytes, new Uint8Array([...whole.subarray(0, 30), ...bytes])]) {
          const read = readLoadsMessage(some);
          if (read?.type === "tell") expect(read.loads.every(({ slot }) => slot < SLOT_COUNT)).toBe(true);
          if (read !== undefined) expect(readLoadsMessage(encodeLoadsMessage(read))).toEqual(read);
        }
      }),
    );
  });

  test("of all slots, with the largest numbers, are within what is read and what the bus carries; longer ones are none", () => {
    const most = Number.MAX_SAFE_INTEGER;
    const loads = Array.from({ length: SLOT_COUNT }, (_, slot): SlotLoad => ({
      slot,
      keys: most,
      bytes: most,
      operations: most,
      microseconds: most,
    }));
    const bytes = encodeLoadsMessage({
      type: "tell",
      id: most,
      shard: "ab".repeat(20),
      shardVersion: most,
      takesSlots: true,
      loads,
    });
    expect(bytes.length).toBeLessThan(MAX_LOADS_BYTES);
    expect(MAX_LOADS_BYTES).toBeLessThan(MAX_FRAME_BYTES);
    const read = readLoadsMessage(bytes);
    expect(read?.type === "tell" ? read.loads.length : 0).toBe(SLOT_COUNT);
    expect(readLoadsMessage(new Uint8Array(MAX_LOADS_BYTES + 1))).toBeUndefined();
  });

  test("of another form, of another kind, and of slots that there are not are none", () => {
    const ask = encodeLoadsMessage({ type: "ask", id: 7 });
    for (const at of [0, 1]) {
      const other = ask.slice();
      other[at] = 9;
      expect(readLoadsMessage(other)).toBeUndefined();
    }
    const beyond: SlotLoad = { slot: SLOT_COUNT, keys: 1, bytes: 1, operations: 1, microseconds: 1 };
    expect(
      readLoadsMessage(
        encodeLoadsMessage({
          type: "tell",
          id: 1,
          shard: "00".repeat(20),
          shardVersion: 1,
          takesSlots: true,
          loads: [beyond],
        }),
      ),
    ).toBeUndefined();
  });
});
