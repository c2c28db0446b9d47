/** What is said about leases: any message comes out as it went in, any bytes are a message or nothing. */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { encodeLeaseMessage, readLeaseMessage } from "../../src/codec/lease-codec.ts";
import type { LeaseMessage } from "../../src/protocol/failover/types.ts";

const id = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => bytes.toHex());
const number = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.maxSafeNat());
const optional = <Value>(value: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
  fc.option(value, { nil: undefined });
const text = fc.string({ unit: "grapheme", maxLength: 60 });
const beat = fc.record({
  sequence: number,
  incarnation: number,
  mapVersion: number,
  leaseMs: number,
  wantsLease: fc.boolean(),
  answered: number,
  position: optional(fc.record({ epoch: number, sequence: number })),
  lagMs: number,
  brokenLinks: fc.array(id, { maxLength: 16 }),
  surrender: optional(fc.record({ to: id, shardVersion: number })),
});
const wish = fc.oneof(
  fc.record({ type: fc.constantFrom("hand-over", "force"), shard: id, to: id }),
  fc.record({ type: fc.constant("accept-loss" as const), shard: id }),
);
const message: fc.Arbitrary<LeaseMessage> = fc.oneof(
  fc.record({ type: fc.constant("beat" as const), beat }),
  fc.record({ type: fc.constant("answer" as const), sequence: number, grantMs: number, reason: text }),
  fc.constant({ type: "call" as const }),
  fc.record({ type: fc.constant("wish" as const), id: number, wish, cause: text }),
  fc.record({ type: fc.constant("verdict" as const), id: number, problem: optional(text) }),
  fc.record({ type: fc.constant("hand-over" as const), shard: id, shardVersion: number, to: id }),
  fc.record({ type: fc.constantFrom("heir", "holds"), shard: id, shardVersion: number }),
);

test("a message comes out as it went in", () => {
  fc.assert(
    fc.property(message, (each) => {
      expect(readLeaseMessage(encodeLeaseMessage(each))).toEqual(each);
    }),
  );
});

test("a part of a message is none, nor is one with something behind it", () => {
  fc.assert(
    fc.property(message, fc.nat(), (each, at) => {
      const bytes = encodeLeaseMessage(each);
      expect(readLeaseMessage(bytes.slice(0, at % bytes.length))).toBeUndefined();
      expect(readLeaseMessage(Uint8Array.from([...bytes, 0]))).toBeUndefined();
    }),
  );
});

test("any bytes are a message that can be written, or nothing", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), fc.nat({ max: 8 }), (bytes, type) => {
      const read = readLeaseMessage(Uint8Array.from([type, ...bytes]));
      if (read !== undefined) expect(readLeaseMessage(encodeLeaseMessage(read))).toEqual(read);
    }),
  );
});
