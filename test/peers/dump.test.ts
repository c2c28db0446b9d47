import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Redis } from "ioredis";
import { writeCrc64 } from "../../src/codec/crc64.ts";
import { decode, encodeString } from "../../src/codec/dump.ts";
import { sealed } from "../support/dump-payload.ts";
import { needsRedisServer, type RedisServer, startRedisServer } from "../support/redis-server.ts";
import { makeRandom, type TestRandom } from "../support/test-random.ts";

const PORT = 21103;
const LIMIT = 512 * 1024 * 1024;

describe.skipIf(!needsRedisServer())("DUMP and RESTORE, beside redis-server", () => {
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

  /** Each value goes to the server and comes back as its dump; ours goes there and comes back as the value. */
  async function compare(values: readonly Buffer[], repeat: string): Promise<void> {
    const pipeline = client.pipeline();
    for (const value of values) {
      const payload = encodeString(value, 0, value.length);
      pipeline.set("theirs", value).dumpBuffer("theirs");
      pipeline.call("RESTORE", "ours", "0", Buffer.from(payload), "REPLACE");
      pipeline.getBuffer("ours");
    }
    const answers = (await pipeline.exec()) ?? [];
    values.forEach((value, index) => {
      const hint = `${value.length} bytes ${value.subarray(0, 60).toString("hex")}, ${repeat}`;
      const theirs = answers[index * 4 + 1]?.[1] as Buffer;
      const decoded = decode(theirs, 0, theirs.length, LIMIT);
      expect(decoded.kind, hint).toBe("string");
      if (decoded.kind === "string") expect(value.equals(decoded.value), hint).toBe(true);
      expect(answers[index * 4 + 2], hint).toEqual([null, "OK"]);
      expect(value.equals(answers[index * 4 + 3]?.[1] as Buffer), hint).toBe(true);
      expect(theirs.equals(encodeString(value, 0, value.length)), hint).toBe(true);
    });
  }

  test("random strings of all kinds go both ways, and have the same payload", async () => {
    const random = makeRandom("dump");
    for (let round = 0; round < 10; round++) {
      await compare(
        Array.from({ length: 200 }, () => drawValue(random)),
        random.repeat,
      );
    }
  });

  test("every short run of one byte, the limits of integers and of lengths, and 1 MiB", async () => {
    const random = makeRandom("dump limits");
    const limits = [0, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2147483647, 2147483648, 4294967295, 4294967296];
    const texts = [
      "",
      "-",
      "00",
      "01",
      "-0",
      "+1",
      "9223372036854775807",
      "-9223372036854775808",
      "9223372036854775808",
    ];
    for (const limit of limits) texts.push(String(limit), String(-limit), String(-limit - 1));
    const values: Buffer[] = texts.map((text) => Buffer.from(text));
    for (let length = 15; length < 600; length++) values.push(Buffer.alloc(length, 0x61));
    for (const length of [63, 64, 65, 16383, 16384, 16385]) values.push(Buffer.from(random.bytes(length)));
    values.push(Buffer.alloc(1024 * 1024), Buffer.from(random.bytes(1024 * 1024)), drawText(random, 1024 * 1024));
    await compare(values, random.repeat);
  });

  test("decode takes and refuses what the server does, in bodies that were changed at random", async () => {
    const random = makeRandom("dump hostile");
    const payloads = Array.from({ length: 3000 }, () => {
      const value = drawValue(random).subarray(0, 100);
      const sound = encodeString(value, 0, value.length);
      let body: Uint8Array = Buffer.from(sound.subarray(0, sound.length - 10));
      // The type stays: others have values of their own. Bodies may get shorter, or longer.
      for (let change = random.below(3); change > 0 && body.length > 1; change--) {
        body[1 + random.below(Math.min(8, body.length - 1))] = random.below(256);
      }
      if (random.below(4) === 0) body = body.subarray(0, 1 + random.below(body.length));
      if (random.below(4) === 0) body = Buffer.concat([body, random.bytes(random.below(4))]);
      return sealed(body);
    });
    const pipeline = client.pipeline();
    for (const payload of payloads) pipeline.call("RESTORE", "k", "0", payload, "REPLACE").getBuffer("k").del("k");
    const answers = (await pipeline.exec()) ?? [];
    payloads.forEach((payload, index) => {
      const [failure] = answers[index * 3] ?? [];
      const [, theirs] = answers[index * 3 + 1] ?? [];
      let decoded = decode(payload, 0, payload.length, LIMIT);
      // The server lets a value reach into version and checksum; we do not. With those as part of the body we agree.
      if (decoded.kind === "malformed" && failure === null) {
        const longer = sealed(payload);
        decoded = decode(longer, 0, longer.length, LIMIT);
      }
      // The server takes any compressed bytes for an empty string; we want them to be one.
      if (decoded.kind === "malformed" && failure === null && (theirs as Buffer).length === 0) return;
      const ours = decoded.kind === "string" ? Buffer.from(decoded.value).toString("hex") : "ERR Bad data format";
      const expected = failure?.message ?? (theirs as Buffer).toString("hex");
      expect(ours, `${payload.toString("hex")}, ${random.repeat}`).toBe(expected);
    });
  });

  test("decode wants the version and the checksum that the server wants", async () => {
    for (const version of [0, 1, 6, 9, 10, 11, 255, 256, 65535]) {
      for (const isDamaged of [false, true]) {
        const payload = Buffer.from([0, 3, 97, 98, 99, version & 255, version >> 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        writeCrc64(payload, 0, 7, payload, 7);
        if (isDamaged) payload[9] = (payload[9] as number) ^ 1;
        const answer = await client
          .call("RESTORE", "v", "0", payload, "REPLACE")
          .catch((error: unknown) => String(error));
        const decoded = decode(payload, 0, payload.length, LIMIT);
        expect(decoded.kind === "string", `version ${version}, damaged ${isDamaged}`).toBe(answer === "OK");
        if (answer !== "OK") expect(String(answer)).toContain("DUMP payload version or checksum are wrong");
      }
    }
  });
});

/** Numbers, noise, words that repeat, runs, a few letters only: what compresses, and what does not. */
function drawValue(random: TestRandom): Buffer {
  const length = random.below(random.pick([4, 24, 70, 300, 20_000]));
  switch (random.below(5)) {
    case 0:
      return Buffer.from(
        String(Math.trunc((random.below(2 ** 31) - 2 ** 30) / 10 ** random.below(9)) * (1 + random.below(9))),
      );
    case 1:
      return Buffer.from(random.bytes(length));
    case 2:
      return drawText(random, length);
    case 3:
      return Buffer.from(random.bytes(length).map((byte) => byte & 3));
    default: {
      const value = Buffer.alloc(length, random.below(256));
      const changes = length === 0 ? 0 : random.below(6);
      for (let change = 0; change < changes; change++) value[random.below(length)] = random.below(256);
      return value;
    }
  }
}

function drawText(random: TestRandom, length: number): Buffer {
  const words = Array.from({ length: 200 }, () => `${random.below(2 ** 31).toString(36)} `);
  let text = "";
  while (text.length < length) text += random.pick(words);
  return Buffer.from(text.slice(0, length));
}
