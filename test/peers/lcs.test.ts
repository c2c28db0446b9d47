import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Redis } from "ioredis";
import { longestCommonSubsequence } from "../../src/codec/lcs.ts";
import { needsRedisServer, type RedisServer, startRedisServer } from "../support/redis-server.ts";
import { makeRandom } from "../support/test-random.ts";

const PORT = 21105;
/** The least that the server lets one set. */
const MAX_BYTES = 1024 * 1024;

describe.skipIf(!needsRedisServer())("LCS, beside redis-server", () => {
  let server: RedisServer;
  let client: Redis;
  beforeAll(async () => {
    server = await startRedisServer({ port: PORT, args: ["--proto-max-bulk-len", String(MAX_BYTES)] });
    client = new Redis({ port: PORT });
  });
  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  test("tells the same bytes, length and matches, in the same order", async () => {
    const random = makeRandom("lcs");
    for (let round = 0; round < 500; round++) {
      const letters = 1 + random.below(random.pick([2, 4, 30]));
      const draw = (): Buffer => Buffer.from(random.bytes(random.below(60)).map((byte) => 97 + (byte % letters)));
      const [first, second] = [draw(), draw()];
      await client.mset("first", first, "second", second);
      const hint = `${first.toString()} ${second.toString()}, ${random.repeat}`;
      const result = longestCommonSubsequence(first, second, MAX_BYTES);
      expect(Buffer.from(result?.subsequence ?? []).toString(), hint).toBe(
        String(await client.call("LCS", "first", "second")),
      );
      const index = await client.call("LCS", "first", "second", "IDX", "WITHMATCHLEN");
      const matches = result?.matches.map(({ firstStart, firstEnd, secondStart, secondEnd }) => [
        [firstStart, firstEnd],
        [secondStart, secondEnd],
        firstEnd - firstStart + 1,
      ]);
      const told: unknown = ["matches", matches, "len", result?.length];
      expect(told, hint).toEqual(index);
    }
  });

  test("refuses the same sizes", async () => {
    // 512 x 512 cells of 4 bytes are just 1 MiB.
    for (const [one, other] of [
      [511, 511],
      [511, 512],
      [1023, 255],
      [1023, 256],
    ] as const) {
      const first = Buffer.alloc(one, "a");
      const second = Buffer.alloc(other, "a");
      await client.mset("first", first, "second", second);
      const answer = await client.call("LCS", "first", "second", "LEN").catch((error: unknown) => String(error));
      const ours = longestCommonSubsequence(first, second, MAX_BYTES)?.length;
      if (ours === undefined) expect(String(answer)).toContain("exceeds proto-max-bulk-len");
      else expect(Number(answer)).toBe(ours);
    }
  });
});
