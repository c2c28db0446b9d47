/** Links and datagrams in the hands of a stranger: whatever is done to bytes on their way, what arrives is what was sent, or nothing; and nothing grows. */
import { describe, expect, test } from "bun:test";
import { Buffer } from "node:buffer";
import { createDecipheriv } from "node:crypto";
import * as fc from "fast-check";
import { FrameReader } from "../../src/codec/frame.ts";
import { type HandshakeMessage, encodeAnswerBody, encodeHandshake, readHandshake } from "../../src/codec/link-codec.ts";
import { NumberedProof } from "../../src/codec/proof.ts";
import { Datagrams, MAX_DATAGRAM_BYTES } from "../../src/protocol/link/datagrams.ts";
import { FrameSeal, SEAL_BYTES } from "../../src/protocol/link/frame-seal.ts";
import { LinkOpener, LinkTaker } from "../../src/protocol/link/handshake.ts";
import { ReplayWindow, WINDOW } from "../../src/protocol/link/replay-window.ts";
import { ClusterSecrets } from "../../src/protocol/link/secrets.ts";

const KEY = new Uint8Array(32).fill(3);
const SECRETS = new ClusterSecrets(["known-to-all"]);

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Cuts bytes into pieces, as a stream may. */
function pieces(bytes: Uint8Array, cuts: readonly number[]): readonly Uint8Array[] {
  const borders = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  return borders.slice(1).map((end, at) => bytes.slice(borders[at] ?? 0, end));
}

interface Frame {
  readonly channel: number;
  readonly payload: Uint8Array;
}

/** What a receiver gets out of a stream of sealed frames, until something is wrong. */
function receive(
  stream: Uint8Array,
  cuts: readonly number[],
  maxBytes = 200,
): { readonly frames: readonly Frame[]; readonly waiting: number } {
  const seal = new FrameSeal(KEY);
  const reader = new FrameReader(maxBytes + SEAL_BYTES);
  const frames: Frame[] = [];
  for (const piece of pieces(stream, cuts)) {
    reader.push(piece, (channel, sealed) => {
      const payload = seal.open(channel, sealed);
      if (payload === undefined) reader.isBroken = true;
      else frames.push({ channel, payload: payload.slice() });
    });
    expect(reader.waitingBytes).toBeLessThanOrEqual(maxBytes + SEAL_BYTES + 5);
  }
  return { frames, waiting: reader.waitingBytes };
}

const frame = fc.record({ channel: fc.nat(255), payload: fc.uint8Array({ maxLength: 60 }) });
const frames = fc.array(frame, { maxLength: 8 });
const cuts = fc.array(fc.nat(1000), { maxLength: 12 });

function sealAll(sent: readonly Frame[]): readonly Uint8Array[] {
  const seal = new FrameSeal(KEY);
  return sent.map(({ channel, payload }) => seal.seal(channel, payload));
}

describe("NumberedProof", () => {
  const messages = fc.array(fc.tuple(fc.maxSafeNat(), fc.nat(255), fc.uint8Array({ maxLength: 3000 })), {
    maxLength: 5,
  });

  test("is the tag of AES-256-GCM over the message, with the number and the purpose for a nonce", () => {
    fc.assert(
      fc.property(messages, (all) => {
        const proof = new NumberedProof(KEY);
        for (const [number, purpose, message] of all) {
          const nonce = Buffer.alloc(12);
          nonce.writeBigUInt64BE(BigInt(number));
          nonce.writeUInt32BE(purpose, 8);
          const decipher = createDecipheriv("aes-256-gcm", KEY, nonce);
          decipher.setAAD(message);
          decipher.setAuthTag(proof.of(number, purpose, message));
          expect(() => decipher.final()).not.toThrow();
        }
      }),
    );
  });

  test("is another one for another number, purpose, message or key", () => {
    const of = (key: Uint8Array, number: number, purpose: number, message: number): string =>
      new NumberedProof(key).of(number, purpose, Uint8Array.of(message)).toString();
    const other = new Uint8Array(32);
    const all = [of(KEY, 1, 1, 1), of(KEY, 2, 1, 1), of(KEY, 2 ** 32 + 1, 1, 1), of(KEY, 1, 2, 1), of(KEY, 1, 1, 2)];
    expect(new Set([...all, of(other, 1, 1, 1)]).size).toBe(6);
  });
});

describe("frames without a key", () => {
  test("are as they are", () => {
    const [sender, receiver] = [new FrameSeal(undefined), new FrameSeal(undefined)];
    const reader = new FrameReader(200);
    const arrived: unknown[] = [];
    for (const payload of [Uint8Array.of(1, 2, 3), new Uint8Array(0)]) {
      reader.push(sender.seal(9, payload), (channel, bytes) => arrived.push([channel, receiver.open(channel, bytes)]));
    }
    expect(arrived).toEqual([
      [9, Uint8Array.of(1, 2, 3)],
      [9, new Uint8Array(0)],
    ]);
  });
});

describe("sealed frames", () => {
  test("arrive as they were sent, however they are cut", () => {
    fc.assert(
      fc.property(frames, cuts, (sent, at) => {
        expect(receive(concat(sealAll(sent)), at)).toEqual({ frames: sent, waiting: 0 });
      }),
      { numRuns: 200 },
    );
  });

  /** What can be done to frames on their way, as whole frames or as bytes. */
  type Tampering = (sealed: readonly Uint8Array[]) => Uint8Array;
  const pick = (from: readonly Uint8Array[], at: number): Uint8Array =>
    from[at % Math.max(1, from.length)] ?? new Uint8Array(0);
  const tampering: fc.Arbitrary<Tampering> = fc.oneof(
    // A bit is flipped, a byte is lost, one is added, the rest is lost.
    fc.nat().map((at): Tampering => (sealed) => {
      const bytes = concat(sealed);
      return bytes.map((byte, index) => (index === at % Math.max(1, bytes.length) ? byte ^ (1 << (at & 7)) : byte));
    }),
    fc.nat().map(
      (at): Tampering =>
        (sealed) =>
          concat(sealed).filter((_, index, all) => index !== at % all.length),
    ),
    fc.tuple(fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 80 })).map(([at, more]): Tampering => (sealed) => {
      const bytes = concat(sealed);
      const place = at % (bytes.length + 1);
      return concat([bytes.subarray(0, place), more, bytes.subarray(place)]);
    }),
    fc.nat().map(
      (at): Tampering =>
        (sealed) =>
          concat(sealed).subarray(0, at % (concat(sealed).length + 1)),
    ),
    // A frame comes twice, in another place, not at all, or from another link.
    fc.tuple(fc.nat(), fc.nat()).map(
      ([at, to]): Tampering =>
        (sealed) =>
          concat(sealed.toSpliced(to % (sealed.length + 1), 0, pick(sealed, at))),
    ),
    fc.nat().map(
      (at): Tampering =>
        (sealed) =>
          concat(sealed.toSpliced(at % Math.max(1, sealed.length), 1)),
    ),
    fc.constant<Tampering>((sealed) => concat(sealed.toReversed())),
    frame.map(
      ({ channel, payload }): Tampering =>
        (sealed) =>
          concat([...sealed, new FrameSeal(new Uint8Array(32)).seal(channel, payload)]),
    ),
    fc.uint8Array({ maxLength: 400 }).map(
      (bytes): Tampering =>
        () =>
          bytes,
    ),
  );

  test("that somebody has tampered with are a beginning of what was sent, and what waits is bounded", () => {
    fc.assert(
      fc.property(frames, fc.array(tampering, { minLength: 1, maxLength: 2 }), cuts, (sent, [first, second], at) => {
        const sealed = sealAll(sent);
        const bytes = first?.(sealed) ?? concat(sealed);
        const { frames: arrived } = receive(second === undefined ? bytes : second([bytes]), at);
        expect(arrived).toEqual(sent.slice(0, arrived.length));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("messages of a handshake", () => {
  const text = (pattern: RegExp): fc.Arbitrary<string> => fc.stringMatching(pattern);
  const bytes = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });
  const versions = fc.record({ oldest: fc.nat(), newest: fc.nat() });
  const nodeId = text(/^[0-9a-f]{40}$/);
  const clusterId = text(/^[A-Za-z0-9._-]{0,64}$/);
  const message: fc.Arbitrary<HandshakeMessage> = fc.oneof(
    fc.record({
      type: fc.constant("hello" as const),
      versions,
      kind: fc.constantFrom("member" as const, "meeting" as const),
      nodeId,
      host: text(/^[A-Za-z0-9._:-]{1,253}$/),
      port: fc.nat(65_535),
      clusterId,
      nonce: bytes(32),
      hints: fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 4 }),
    }),
    fc
      .record({
        type: fc.constant("answer" as const),
        versions,
        nodeId,
        clusterId,
        nonce: bytes(32),
        hint: fc.nat(255),
        proof: bytes(32),
      })
      .map((each) => Object.assign(each, { body: encodeAnswerBody(each) })),
    fc.record({
      type: fc.constant("refusal" as const),
      reason: fc.constantFrom("versions" as const, "secret" as const, "cluster" as const),
      versions,
      clusterId,
    }),
    fc.record({ type: fc.constant("proof" as const), proof: bytes(32) }),
  );

  test("are read as they were written, also with more behind them", () => {
    fc.assert(
      fc.property(message, fc.uint8Array({ maxLength: 9 }), (said, more) => {
        expect(readHandshake(encodeHandshake(said))).toEqual(said);
        expect(readHandshake(concat([encodeHandshake(said), more]))).toEqual(said);
      }),
    );
  });

  test("that end early are none", () => {
    fc.assert(
      fc.property(message, fc.nat(), (said, cut) => {
        const whole = encodeHandshake(said);
        expect(readHandshake(whole.subarray(0, cut % whole.length))).toBeUndefined();
      }),
    );
  });

  const self = (id: string) => ({ nodeId: id.repeat(40), host: "h", port: 1, clusterId: "c", keys: SECRETS.keys });
  test("of any bytes, or of others' making, prove nothing to either side, and nobody throws", () => {
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      message.map((each) => encodeHandshake(each)),
    );
    fc.assert(
      fc.property(anything, anything, bytes(32), (first, second, nonce) => {
        const taker = new LinkTaker(self("b"), nonce);
        expect(taker.greeted(first).type).toBe("refused");
        expect(taker.proved(second).type).toBe("refused");
        expect(new LinkOpener(self("a"), "member", nonce).answered(first).type).toBe("refused");
        // And with a good hello before it.
        const other = new LinkTaker(self("b"), nonce);
        expect(other.greeted(new LinkOpener(self("a"), "member", nonce).hello).type).toBe("answer");
        expect(other.proved(second).type).toBe("refused");
      }),
    );
  });
});

describe("datagrams", () => {
  const A = "a".repeat(40);
  const B = "b".repeat(40);
  const cluster = {
    id: "c",
    member: (id: string) =>
      id === A || id === B ? { start: id.slice(1) + id.slice(0, 1), address: { host: id, port: 1 } } : undefined,
  };
  const nodeOf = (id: string): Datagrams => {
    const datagrams = new Datagrams({ id }, cluster.member(id)?.start ?? "", SECRETS.keys);
    datagrams.setCluster(cluster);
    return datagrams;
  };

  test("that are lost, doubled, reordered, changed, cut and made up arrive once each, as they were sent", () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ type: fc.constant("bring" as const), at: fc.nat() }) },
      fc.record({
        type: fc.constant("change" as const),
        at: fc.nat(),
        byte: fc.nat(),
        by: fc.integer({ min: 1, max: 255 }),
      }),
      fc.record({ type: fc.constant("cut" as const), at: fc.nat(), byte: fc.nat() }),
      fc.record({
        type: fc.constant("lengthen" as const),
        at: fc.nat(),
        more: fc.uint8Array({ minLength: 1, maxLength: 1400 }),
      }),
      fc.record({ type: fc.constant("make up" as const), bytes: fc.uint8Array({ maxLength: 1500 }) }),
      fc.record({ type: fc.constant("reflect" as const), at: fc.nat() }),
    );
    const payloads = fc.array(fc.uint8Array({ maxLength: MAX_DATAGRAM_BYTES }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(payloads, fc.array(step, { maxLength: 60 }), (sent, steps) => {
        const [one, other] = [nodeOf(A), nodeOf(B)];
        const sealed = sent.map((payload) => one.seal(B, payload)?.bytes ?? new Uint8Array(0));
        const arrived = new Set<number>();
        for (const each of steps) {
          const at = "at" in each ? each.at % sealed.length : 0;
          const bytes = (sealed[at] ?? new Uint8Array(0)).slice();
          switch (each.type) {
            case "bring": {
              const result = other.open(bytes);
              if (arrived.has(at)) expect(result).toBe("replayed");
              else expect(result).toEqual({ from: A, payload: sent[at] ?? new Uint8Array(0) });
              arrived.add(at);
              break;
            }
            case "change":
              bytes[each.byte % bytes.length] = (bytes[each.byte % bytes.length] ?? 0) ^ each.by;
              expect(other.open(bytes)).toBeString();
              break;
            case "cut":
              expect(other.open(bytes.subarray(0, each.byte % bytes.length))).toBeString();
              break;
            case "lengthen":
              expect(other.open(concat([bytes, each.more]))).toBeString();
              break;
            case "make up":
              expect(other.open(each.bytes)).toBeString();
              break;
            case "reflect":
              expect(one.open(bytes)).toBe("stranger");
              break;
            default:
              each satisfies never;
          }
          expect(other.peerCount).toBeLessThanOrEqual(2);
        }
      }),
      { numRuns: 300 },
    );
  });
});

test("a replay window does what a set of all numbers does, within its width", () => {
  const jump = fc.oneof(
    fc.integer({ min: -20, max: 20 }),
    fc.integer({ min: WINDOW - 3, max: WINDOW + 3 }),
    fc.integer({ min: -2 * WINDOW, max: 2 * WINDOW }),
    fc.nat(2 ** 40),
  );
  fc.assert(
    fc.property(fc.array(jump, { maxLength: 200 }), (jumps) => {
      const window = new ReplayWindow();
      const taken = new Set<number>();
      let newest = -1;
      for (const by of jumps) {
        const number = Math.max(0, newest + by);
        const wanted = number <= newest - WINDOW ? "old" : taken.has(number) ? "replayed" : "fresh";
        expect(window.look(number)).toBe(wanted);
        if (wanted !== "fresh") continue;
        window.take(number);
        taken.add(number);
        newest = Math.max(newest, number);
      }
    }),
    { numRuns: 300 },
  );
});
