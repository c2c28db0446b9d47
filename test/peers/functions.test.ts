/** functions: FUNCTION of a server that has none, beside redis-server 7.0, which has none either, on RESP2 and RESP3. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Node } from "../../src/node.ts";
import { startNode } from "../support/bunch-server.ts";
import { type Pair, compare, connectPair } from "../support/compare.ts";
import { sealed } from "../support/dump-payload.ts";
import type { CommandLine, RawClient } from "../support/raw-client.ts";
import { type RedisServer, needsRedisServer, startRedisServer } from "../support/redis-server.ts";

const NOTHING = sealed(new Uint8Array(0));
const LIBRARY = "#!lua name=mylib\nredis.register_function('f', function() return 1 end)";

const SEQUENCES: Readonly<Record<string, readonly CommandLine[]>> = {
  LIST: [
    "function list",
    "FUNCTION LIST WITHCODE",
    "function list LibraryName * WithCode",
    "function list withcode libraryname my*",
    "function list libraryname withcode",
    "function list libraryname",
    "function list withcode libraryname",
    "function list withcode withcode",
    "function list libraryname a libraryname b",
    "function list libraryname a withcode libraryname b",
    "function list nope withcode",
    'function list ""',
    ["function", "list", "two\r\nlines\u0000and more"],
  ],
  "DUMP STATS KILL DELETE": [
    "function dump",
    "function stats",
    "function kill",
    "function delete mylib",
    'function delete ""',
    "function dump x",
    "function stats x",
    "function kill x",
    "function delete",
    "function delete a b",
  ],
  FLUSH: [
    "function flush",
    "function flush async",
    "function flush SYNC",
    "function flush nope",
    "function flush async sync",
    "Function FLUSH async nope x",
  ],
  RESTORE: [
    ...["flush", "append", "REPLACE", "nope", ""].flatMap((policy): readonly CommandLine[] => [
      ["function", "restore", NOTHING, policy],
      // The policy is looked at first.
      ["function", "restore", "no payload", policy],
      ["function", "restore", sealed(Uint8Array.of(0, 1, 65)), policy],
      ["function", "Restore", NOTHING, policy, "append"],
    ]),
    ...[0, 9, 10, 11, 256].map((version) => ["function", "restore", sealed(new Uint8Array(0), version)]),
    // Cut at every place, and longer by a byte.
    ...NOTHING.keys().map((end) => ["function", "restore", NOTHING.subarray(0, end)]),
    ["function", "restore", Buffer.concat([NOTHING, Uint8Array.of(0)])],
    // Every bit of it changed.
    ...Array.from({ length: 8 * NOTHING.length }, (_, bit) => {
      const changed = Buffer.from(NOTHING);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      return ["function", "restore", changed];
    }),
    // Every type that is not a library's.
    ...Array.from({ length: 256 }, (_, type) => type)
      .filter((type) => type !== 245 && type !== 246)
      .map((type) => ["function", "restore", sealed(Uint8Array.of(type))]),
    "function restore",
  ],
  "LOAD, as far as it is refused in any case": [
    "function load",
    "function load nope code",
    "function load replace nope code",
    "function load nope replace code",
    ["function", "load", "two\r\nlines\u0000and more", "code"],
  ],
  "within MULTI": ["multi", "function list", "function stats", "function kill", "function flush", "exec"],
  "the container": ["function", "function nope", "function help x"],
};

describe.skipIf(!needsRedisServer())("FUNCTION, beside redis-server", () => {
  let redis: RedisServer;
  let node: Node;
  let port: number;
  beforeAll(async () => {
    // It has no slots, as a node that is about to join has none.
    redis = await startRedisServer({ port: 21_462, cluster: true });
    ({ node, port } = await startNode());
  });
  afterAll(async () => {
    await redis.stop();
    await node.stop();
  });

  const withPair = async (protocol: string, run: (pair: Pair) => Promise<void>): Promise<void> => {
    const pair = await connectPair(redis.port, port);
    for (const client of [pair.redis, pair.bunch]) await client.run(["hello", protocol]);
    await run(pair);
    pair.redis.close();
    pair.bunch.close();
  };

  for (const protocol of ["2", "3"]) {
    for (const [name, lines] of Object.entries(SEQUENCES)) {
      test(`${name} (RESP${protocol})`, () => withPair(protocol, (pair) => compare(pair, lines)));
    }

    test(`COMMAND INFO tells every flag, category and tip as Redis does (RESP${protocol})`, () =>
      withPair(protocol, (pair) =>
        compare(
          pair,
          ["list", "dump", "restore", "flush", "stats", "delete", "kill", "load", "help"].map(
            (name) => `command info function|${name}`,
          ),
        ),
      ));
  }

  /** What `redis-cli --cluster add-node` does before the new node is met. @returns What the new one says. */
  const copyFunctions = async (source: RawClient, target: RawClient): Promise<readonly (string | undefined)[]> => {
    const dumped = (await source.run("function dump")) ?? "";
    const payload = Buffer.from(dumped.slice(dumped.indexOf("\n") + 1, -2), "latin1");
    return [await target.run("function list"), await target.run(["function", "restore", payload])];
  };

  test("functions are copied both ways as long as there are none, and else are refused", () =>
    withPair("2", async (pair) => {
      expect(await copyFunctions(pair.bunch, pair.redis)).toEqual(["*0\r\n", "+OK\r\n"]);
      expect(await copyFunctions(pair.redis, pair.bunch)).toEqual(["*0\r\n", "+OK\r\n"]);
      expect(await pair.redis.run(["function", "load", LIBRARY])).toBe("$5\r\nmylib\r\n");
      expect(await copyFunctions(pair.redis, pair.bunch)).toEqual([
        "*0\r\n",
        "-ERR the payload holds functions, which are not supported here\r\n",
      ]);
      await pair.redis.run("function flush");
    }));
});
