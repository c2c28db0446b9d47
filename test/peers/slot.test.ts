import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Redis } from "ioredis";
import { KeyHasher, keySlot } from "../../src/codec/slot.ts";
import { needsRedisServer, type RedisServer, startRedisServer } from "../support/redis-server.ts";
import { makeRandom } from "../support/test-random.ts";

const PORT = 21100;

describe.skipIf(!needsRedisServer())("slots, beside redis-server", () => {
  let server: RedisServer;
  let client: Redis;
  beforeAll(async () => {
    server = await startRedisServer({ port: PORT, cluster: true });
    client = new Redis({ port: PORT });
  });
  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  test("keySlot answers as CLUSTER KEYSLOT over random keys", async () => {
    const random = makeRandom("slot");
    const hasher = new KeyHasher(random.below(2 ** 31));
    for (let round = 0; round < 20; round++) {
      const keys = Array.from({ length: 500 }, () => {
        const length = random.below(30);
        return Buffer.from(
          Array.from({ length }, () => (random.below(3) === 0 ? random.pick([0x7b, 0x7d]) : random.below(256))),
        );
      });
      const pipeline = client.pipeline();
      for (const key of keys) pipeline.call("CLUSTER", "KEYSLOT", key);
      const answers = (await pipeline.exec()) ?? [];
      keys.forEach((key, index) => {
        expect([null, keySlot(key, 0, key.length)], random.repeat).toEqual(answers[index] as [null, number]);
        hasher.hash(key, 0, key.length);
        expect(hasher.slot).toBe(keySlot(key, 0, key.length));
      });
    }
  });
});
