import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Redis } from "ioredis";
import { globMatch } from "../../src/codec/glob.ts";
import { needsRedisServer, type RedisServer, startRedisServer } from "../support/redis-server.ts";
import { makeRandom } from "../support/test-random.ts";

const PORT = 21101;

describe.skipIf(!needsRedisServer())("glob, beside redis-server", () => {
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

  test("globMatch picks the keys that KEYS picks, for random patterns", async () => {
    const random = makeRandom("glob");
    // Few letters, so that patterns fit now and then; marks, signed bytes and zero among them.
    const alphabet = [0x61, 0x62, 0x63, 0x41, 0x5b, 0x5d, 0x5c, 0x2d, 0x5e, 0x2a, 0x3f, 0x00, 0x80, 0xff];
    const draw = (maxLength: number): Buffer =>
      Buffer.from(Array.from({ length: random.below(maxLength + 1) }, () => random.pick(alphabet)));
    const keys = new Map<string, Buffer>();
    for (let index = 0; index < 400; index++) {
      const key = draw(6);
      keys.set(key.toString("latin1"), key);
    }
    await client.mset([...keys.values()].flatMap((key) => [key, "1"]));
    for (let round = 0; round < 10; round++) {
      const patterns = Array.from({ length: 400 }, () => draw(9));
      const answers = await Promise.all(patterns.map((pattern) => client.callBuffer("KEYS", pattern)));
      patterns.forEach((pattern, index) => {
        const expected = (answers[index] as Buffer[]).map((key) => key.toString("latin1")).toSorted();
        const picked = [...keys]
          .filter(([, key]) => globMatch(pattern, 0, pattern.length, key, 0, key.length))
          .map(([name]) => name)
          .toSorted();
        expect(picked, `${pattern.toString("hex")}, ${random.repeat}`).toEqual(expected);
      });
    }
  });

  test("globMatch picks the settings that CONFIG GET picks, cases being equal", async () => {
    const random = makeRandom("glob without case");
    const all = await client.config("GET", "*");
    const names = all.filter((_, index) => index % 2 === 0);
    const pieces = ["*", "*", "?", "M", "max", "-", "[a-C]", "[A-z]", "[^S]", "[\\M]", "[m-A]", "\\E", "re", "L", "[x"];
    for (let round = 0; round < 1000; round++) {
      // A star among them, always: a name that is none is looked up as it is, and does not reach the matcher.
      const pattern = `${Array.from({ length: random.below(6) }, () => random.pick(pieces)).join("")}*`;
      const answer = await client.config("GET", pattern);
      const expected = answer.filter((_, index) => index % 2 === 0).toSorted();
      const patternBytes = Buffer.from(pattern);
      const picked = names.filter((name) => {
        const bytes = Buffer.from(name);
        return globMatch(patternBytes, 0, patternBytes.length, bytes, 0, bytes.length, true);
      });
      expect(picked.toSorted(), `${pattern}, ${random.repeat}`).toEqual(expected);
    }
  });
});
