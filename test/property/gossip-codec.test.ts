/** What members say to each other: any message comes out as it went in, any bytes are a message or nothing; and claims, in any order, end in the same. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  DATAGRAM_HEAD_BYTES,
  claimBytes,
  encodeDatagram,
  encodeExchange,
  readDatagram,
  readExchange,
} from "../../src/codec/gossip-codec.ts";
import { isLater } from "../../src/protocol/membership/claims.ts";
import { Membership } from "../../src/protocol/membership/machine.ts";
import { MEMBERSHIP_PRESETS } from "../../src/protocol/membership/options.ts";
import type { Claim, Datagram, Exchange, MemberState, Sender } from "../../src/protocol/membership/types.ts";
import { SimRandom } from "../support/sim-random.ts";

const STATES = ["alive", "suspect", "down", "left"] as const;
const id = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => bytes.toHex());
const number = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.maxSafeNat());
const refutation = fc.oneof(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 2 ** 48 }));
const sender: fc.Arbitrary<Sender> = fc.record({
  start: number,
  refutation,
  mapVersion: number,
  lagMs: number,
  offset: number,
});
const held = { id, start: number, refutation };
const claim: fc.Arbitrary<Claim> = fc.oneof(
  fc.record({ ...held, state: fc.constantFrom("alive", "down", "left"), accuser: fc.constant(undefined) }),
  fc.record({ ...held, state: fc.constant("suspect" as const), accuser: id }),
);
const claims = fc.array(claim, { maxLength: 40 });
const datagram: fc.Arbitrary<Datagram> = fc.oneof(
  fc.record({ type: fc.constantFrom("meet", "ping", "pong"), sender, sequence: number, claims }),
  fc.record({
    type: fc.constantFrom("ping-req", "ping-req-pong", "ping-req-nack"),
    sender,
    sequence: number,
    target: id,
    claims,
  }),
  fc.record({ type: fc.constant("gossip" as const), sender, claims }),
);
const exchange: fc.Arbitrary<Exchange> = fc.oneof(
  fc.record({ type: fc.constant("digest" as const), sender, digest: fc.integer({ min: 0, max: 2 ** 32 - 1 }) }),
  fc.record({ type: fc.constant("table" as const), sender, isAnswerWanted: fc.boolean(), claims }),
);

describe("a message", () => {
  test("comes out as it went in, and takes no more bytes than is counted on", () => {
    fc.assert(
      fc.property(datagram, (message) => {
        const bytes = encodeDatagram(message);
        expect(readDatagram(bytes)).toEqual(message);
        const counted = message.claims.reduce((sum, each) => sum + claimBytes(each), DATAGRAM_HEAD_BYTES);
        expect(bytes.length).toBeLessThanOrEqual(counted);
      }),
    );
    fc.assert(fc.property(exchange, (message) => expect(readExchange(encodeExchange(message))).toEqual(message)));
  });

  test("that is cut short, or has something after it, is none", () => {
    fc.assert(
      fc.property(datagram, fc.nat(), (message, cut) => {
        const bytes = encodeDatagram(message);
        expect(readDatagram(bytes.subarray(0, cut % bytes.length))).toBeUndefined();
        expect(readDatagram(new Uint8Array([...bytes, 0]))).toBeUndefined();
      }),
    );
  });

  test("of any bytes is one that could have been sent, or none", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const message = readDatagram(bytes);
        if (message !== undefined) expect(readDatagram(encodeDatagram(message))).toEqual(message);
        const told = readExchange(bytes);
        if (told !== undefined) expect(readExchange(encodeExchange(told))).toEqual(told);
      }),
    );
  });
});

/** What is held after some claims about one start, one after another. */
function heldAfter(said: readonly Claim[]): { readonly refutation: number; readonly state: MemberState } {
  let held: { refutation: number; state: MemberState } = { refutation: 0, state: "alive" };
  for (const each of said) if (isLater(each, held)) held = each;
  return { refutation: held.refutation, state: held.state };
}

describe("claims about a member", () => {
  const said = fc.array(
    fc.record({
      id: fc.constant("a".repeat(40)),
      start: fc.constant(1),
      refutation: fc.integer({ min: 0, max: 3 }),
      state: fc.constantFrom(...STATES),
      accuser: fc.constant(undefined),
    }),
    { maxLength: 12 },
  );

  test("end in the same in any order and however often they come", () => {
    fc.assert(
      fc.property(said, fc.array(fc.nat(), { minLength: 24, maxLength: 24 }), (list, order) => {
        const shuffled = [...list, ...list]
          .map((each, at) => ({ each, key: order[at] ?? 0 }))
          .sort((a, b) => a.key - b.key)
          .map(({ each }) => each);
        expect(heldAfter(shuffled)).toEqual(heldAfter(list));
      }),
    );
  });
});

test("whatever is said to a machine, it keeps no more than its members, and says nothing that does not fit", () => {
  const known = Array.from({ length: 6 }, (_, index) => index.toString(16).padStart(40, "0"));
  const someId = fc.oneof(fc.constantFrom(...known), id);
  const small = fc.integer({ min: 0, max: 2 });
  const heard = fc.tuple(
    fc.constantFrom(...known),
    datagram,
    fc.array(
      fc.record({ id: someId, start: small, refutation: small, state: fc.constantFrom(...STATES), accuser: someId }),
    ),
    fc.integer({ min: 0, max: 2000 }),
  );
  fc.assert(
    fc.property(fc.array(heard, { maxLength: 60 }), fc.nat(), (all, seed) => {
      const machine = new Membership({
        id: known[0] ?? "",
        start: 1,
        random: new SimRandom(seed),
        options: MEMBERSHIP_PRESETS.local,
        maxDatagramBytes: 400,
        nowMs: 0,
      });
      for (const each of known) machine.step({ type: "introduce", id: each, start: 1 }, 0);
      let nowMs = 0;
      for (const [from, message, more, passesMs] of all) {
        nowMs += passesMs;
        const effects = [
          ...machine.step({ type: "time" }, nowMs),
          ...machine.step(
            {
              type: "datagram",
              from,
              message: { ...message, sender: { ...message.sender, start: 1 }, claims: [...message.claims, ...more] },
            },
            nowMs,
          ),
        ];
        expect(machine.members.size).toBe(known.length);
        expect(machine.newsCount).toBeLessThanOrEqual(known.length);
        for (const effect of effects)
          if (effect.type === "send") expect(encodeDatagram(effect.message).length).toBeLessThanOrEqual(400);
      }
    }),
    { numRuns: 200 },
  );
});
