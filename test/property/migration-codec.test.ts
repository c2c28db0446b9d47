/** What the primaries of two shards say while slots move: any message comes out as it went in, any bytes are a message or nothing. */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { type MigrationMessage, decodeMigration, encodeMigration } from "../../src/codec/migration-codec.ts";

const number = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.maxSafeNat());
const text = fc.string({ unit: "grapheme", maxLength: 60 });
const bytes = fc.uint8Array({ maxLength: 60 });
const session = number;
const message: fc.Arbitrary<MigrationMessage> = fc.oneof(
  fc.record({
    type: fc.constant("open" as const),
    session,
    id: text,
    sourceEpoch: number,
    targetEpoch: number,
    mapVersion: number,
  }),
  fc.record({ type: fc.constant("accepted" as const), session, holdsKeys: fc.boolean() }),
  fc.record({ type: fc.constant("refused" as const), session, isFinal: fc.boolean(), reason: text }),
  fc.record({ type: fc.constantFrom("effects", "stream"), session, number, isLast: fc.boolean(), bytes }),
  fc.record({ type: fc.constant("final" as const), session, number, fence: number }),
  fc.record({ type: fc.constant("settled" as const), session, number }),
  fc.record({ type: fc.constant("closed" as const), session, reason: text }),
  fc.record({ type: fc.constant("ack" as const), session, bytes: number }),
  fc.record({ type: fc.constant("answer" as const), session, bytes }),
);

/** Views of bytes as bytes of their own. */
function plain(each: MigrationMessage | undefined): unknown {
  if (each === undefined || !("bytes" in each) || typeof each.bytes === "number") return each;
  return { ...each, bytes: [...each.bytes] };
}

test("a message comes out as it went in", () => {
  fc.assert(
    fc.property(message, (each) => {
      expect(plain(decodeMigration(encodeMigration(each)))).toEqual(plain(each));
    }),
  );
});

test("any bytes are a message that can be written, or nothing", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), fc.nat({ max: 11 }), (rest, type) => {
      const read = decodeMigration(Uint8Array.from([type, ...rest]));
      if (read !== undefined) expect(plain(decodeMigration(encodeMigration(read)))).toEqual(plain(read));
    }),
  );
});
