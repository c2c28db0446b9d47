import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Redis } from "ioredis";
import {
  addToField,
  combineBits,
  countBits,
  findBit,
  type Overflow,
  parseFieldType,
  readField,
  writeField,
} from "../../src/codec/bits.ts";
import { needsRedisServer, type RedisServer, startRedisServer } from "../support/redis-server.ts";
import { makeRandom } from "../support/test-random.ts";

const PORT = 21104;

describe.skipIf(!needsRedisServer())("bits, beside redis-server", () => {
  let server: RedisServer;
  let client: Redis;
  beforeAll(async () => {
    server = await startRedisServer({ port: PORT });
    // Numbers of 64 bits would be rounded otherwise.
    client = new Redis({ port: PORT, stringNumbers: true });
  });
  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  test("countBits and findBit answer as BITCOUNT and BITPOS over ranges of bits", async () => {
    const random = makeRandom("bits");
    for (let round = 0; round < 300; round++) {
      const fill = random.pick([0, 255, -1]);
      const value = random
        .bytes(1 + random.below(200))
        .map((byte) => (fill < 0 || random.below(100) === 0 ? byte : fill));
      const first = random.below(value.length * 8);
      const last = first + random.below(value.length * 8 - first);
      await client.set("k", Buffer.from(value));
      const hint = `${Buffer.from(value).toString("hex")} ${first} ${last}, ${random.repeat}`;
      const range = [String(first), String(last), "BIT"];
      expect(countBits(value, 0, first, last), hint).toBe(Number(await client.call("BITCOUNT", "k", ...range)));
      expect(findBit(value, 0, first, last, 0), hint).toBe(Number(await client.call("BITPOS", "k", "0", ...range)));
      expect(findBit(value, 0, first, last, 1), hint).toBe(Number(await client.call("BITPOS", "k", "1", ...range)));
    }
  });

  test("combineBits answers as BITOP", async () => {
    const random = makeRandom("combined bits");
    for (let round = 0; round < 200; round++) {
      const operation = random.pick(["and", "or", "xor", "not"] as const);
      const count = operation === "not" ? 1 : 1 + random.below(5);
      const sources = Array.from({ length: count }, () =>
        random.bytes(1 + random.below(random.pick([9, 100, 40_000]))),
      );
      for (const [index, source] of sources.entries()) await client.set(`s${index}`, Buffer.from(source));
      await client.call("BITOP", operation, "target", ...sources.map((_, index) => `s${index}`));
      const expected = await client.getBuffer("target");
      expect(expected?.equals(combineBits(operation, sources)), `${operation}, ${random.repeat}`).toBe(true);
    }
  });

  test("fields answer as BITFIELD, whatever overflows", async () => {
    const random = makeRandom("fields");
    const ours = new Uint8Array(40);
    await client.set("fields", Buffer.from(ours));
    for (let round = 0; round < 3000; round++) {
      const isSigned = random.below(2) === 0;
      const bits = 1 + random.below(isSigned ? 64 : 63);
      const name = `${isSigned ? "i" : "u"}${bits}`;
      const type = parseFieldType(name) ?? { isSigned: true, bits: 0 };
      const offset = random.below(40 * 8 - bits + 1);
      const operation = random.pick(["SET", "INCRBY"]);
      const overflow = random.pick<Overflow>(["wrap", "sat", "fail"]);
      const wide = new DataView(random.bytes(8).buffer).getBigInt64(0) >> BigInt(random.below(64));
      // Next to the lowest of 64 bits the server's own subtraction goes round (see addToField).
      const given = operation === "SET" && wide < -(2n ** 62n) ? wide / 2n : wide;

      const before = readField(ours, offset, type);
      const start = operation === "SET" ? given : before;
      const after = addToField(type, start, operation === "SET" ? 0n : given, overflow);
      if (after !== undefined) writeField(ours, offset, type, after);
      const answer = after === undefined ? null : operation === "SET" ? before : after;

      const steps = ["OVERFLOW", overflow, operation, name, String(offset), String(given), "GET", name, String(offset)];
      const pipeline = client.pipeline();
      pipeline.call("BITFIELD", "fields", ...steps).getBuffer("fields");
      const [[, theirs], [, value]] = (await pipeline.exec()) as [[null, (string | null)[]], [null, Buffer]];
      const hint = `${steps.join(" ")}, ${random.repeat}`;
      expect(answer?.toString(), hint).toBe(theirs[0] ?? undefined);
      expect(readField(ours, offset, type).toString(), hint).toBe(theirs[1] ?? "nothing");
      expect(value.equals(ours), hint).toBe(true);
    }
  });
});
