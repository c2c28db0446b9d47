import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Redis } from "ioredis";
import { addFloats } from "../../src/codec/float.ts";
import { needsRedisServer, type RedisServer, startRedisServer } from "../support/redis-server.ts";
import { makeRandom, type TestRandom } from "../support/test-random.ts";

const PORT = 21102;

// Redis' `long double` has 80 bits on x86 alone; elsewhere its answers differ from its own.
describe.skipIf(!needsRedisServer() || process.arch !== "x64")("INCRBYFLOAT, beside redis-server", () => {
  let server: RedisServer;
  let client: Redis;
  beforeAll(async () => {
    server = await startRedisServer({ port: PORT });
    client = new Redis({ port: PORT });
  });
  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  /** Asks the server for all pairs, and holds each answer, text or error, against ours. */
  async function compare(pairs: readonly (readonly [string, string])[], repeat: string): Promise<void> {
    const pipeline = client.pipeline();
    for (const [one, other] of pairs) pipeline.set("k", one).incrbyfloat("k", other);
    const answers = (await pipeline.exec()) ?? [];
    pairs.forEach(([one, other], index) => {
      const [failure, text] = answers[index * 2 + 1] ?? [];
      const left = Buffer.from(one);
      const right = Buffer.from(other);
      const sum = addFloats(left, 0, left.length, right, 0, right.length);
      const ours = sum.error === undefined ? Buffer.from(sum.ok).toString() : WORDS[sum.error];
      expect(ours, `${one} + ${other}, ${repeat}`).toBe(failure?.message ?? String(text));
    });
  }

  test("addFloats answers as the server over random pairs of all sizes", async () => {
    const random = makeRandom("float");
    for (let round = 0; round < 20; round++) {
      const pairs = Array.from({ length: 500 }, () => [drawFloat(random), drawFloat(random)] as const);
      await compare(pairs, random.repeat);
    }
  });

  test("addFloats answers as the server at the ends of the range and on ties", async () => {
    const texts = [
      "1e-10",
      "3.0e3",
      "5.0e20",
      "0.1",
      "0.2",
      "-0.1",
      "1e17",
      "1e18",
      "9007199254740993",
      "18446744073709551617",
      "1.1e4932",
      "1.18973149535723176502e4932",
      "1.2e4932",
      "-1.18973149535723176502e4932",
      "1e4933",
      "0x1p16319",
      "0x1p16383",
      "0x1.fffffffffffffffep16383",
      "0x1.ffffffffffffffffp16383",
      "0x1p-16445",
      "0x1p-16446",
      "0x1p-16447",
      "0x1.8p-16446",
      "1e-4950",
      "3.6e-4951",
      "1.9e-4951",
      "1.8e-4951",
      "1e-4951",
      "inf",
      "-inf",
      "nan",
      "0x1p-18",
      "0x3p-18",
      "0x1p-58",
      "-0x1p-60",
      "5e-18",
      "15e-18",
      "4.9999999999999999999e-18",
      "0",
      "-0",
      "1e",
      "0x",
      "1.",
      ".1",
      `1${"0".repeat(4932)}`,
      `0.${"0".repeat(4949)}1`,
      `0.${"3".repeat(5117)}`,
      `0.${"3".repeat(5118)}`,
      "1 ",
      " 1",
      "",
      "0x10000000000000000.8",
      "0x1ffffffffffffffff",
      "1e0000000000000000000001",
      "1e-0000000000000000000000000001",
      `${"1".repeat(5000)}e-5000`,
      `0.${"0".repeat(5000)}1e5001`,
      `${"9".repeat(40)}e-4970`,
      "1e100001",
      "1e-100001",
    ];
    const pairs = texts.flatMap((one) => texts.map((other) => [one, other] as const));
    for (let at = 0; at < pairs.length; at += 500) await compare(pairs.slice(at, at + 500), "always the same");
  });

  test("a value that grows step by step stays the same as the server's", async () => {
    const random = makeRandom("float steps");
    let ours: Uint8Array = Buffer.from("0");
    await client.set("steps", "0");
    for (let step = 0; step < 500; step++) {
      const increment = Buffer.from(`${random.below(2) === 0 ? "-" : ""}${random.below(1000)}.${random.below(1e9)}`);
      const sum = addFloats(ours, 0, ours.length, increment, 0, increment.length);
      ours = sum.ok ?? Buffer.from(sum.error);
      const theirs = await client.callBuffer("INCRBYFLOAT", "steps", increment);
      expect(Buffer.from(ours).toString(), random.repeat).toBe(String(theirs));
    }
  });
});

const WORDS = {
  "not-a-float": "ERR value is not a valid float",
  "not-finite": "ERR increment would produce NaN or Infinity",
} as const;

const NONSENSE = "0123456789.eExp+-inf ";

/** Money, measurements, whole numbers, long fractions, any exponent, hexadecimal, and now and then nonsense. */
function drawFloat(random: TestRandom): string {
  const sign = random.pick(["", "", "-", "+"]);
  const digits = (most: number): string => {
    const length = 1 + random.below(most);
    return Array.from({ length }, () => String(random.below(10))).join("");
  };
  switch (random.below(8)) {
    case 0:
      return `${sign}${digits(4)}.${digits(2)}`;
    case 1:
      return `${sign}${digits(21)}`;
    case 2:
      return `${sign}${digits(5)}.${digits(30)}`;
    case 3:
      return `${sign}0.${"0".repeat(random.below(20))}${digits(8)}`;
    case 4:
      return `${sign}${digits(3)}.${digits(3)}e${random.pick(["", "+", "-"])}${random.below(40)}`;
    case 5:
      return `${sign}${digits(20)}e${random.pick(["", "-"])}${random.below(5000)}`;
    case 6:
      return `${sign}0x${random.below(2 ** 31).toString(16)}.${random.below(2 ** 31).toString(16)}p${random.below(140) - 70}`;
    default:
      return Array.from({ length: 1 + random.below(7) }, () => NONSENSE.charAt(random.below(NONSENSE.length))).join("");
  }
}
