/** transactions: WATCH, as two clients see it, beside redis-server. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Node } from "../../src/node.ts";
import { startNode } from "../support/bunch-server.ts";
import { RawClient } from "../support/raw-client.ts";
import { type RedisServer, needsRedisServer, startRedisServer } from "../support/redis-server.ts";

/** Steps of clients a and b, in order. */
const SCENARIOS: Readonly<Record<string, readonly string[]>> = {
  "a change by another aborts": ["a watch k", "b set k 1", "a multi", "a get k", "a exec", "a get k"],
  "no change lets it run": ["a watch k", "b get k", "a multi", "a set k 2", "a exec", "b get k"],
  "a change between MULTI and EXEC aborts": [
    "a set k 1",
    "a watch k",
    "a multi",
    "a set k 2",
    "b append k x",
    "a exec",
    "a get k",
  ],
  "one's own change aborts too": ["a watch k", "a set k 1", "a multi", "a get k", "a exec"],
  "UNWATCH forgets": ["a watch k", "b set k 1", "a unwatch", "a multi", "a get k", "a exec"],
  "DISCARD forgets": ["a watch k", "b set k 1", "a multi", "a discard", "a multi", "a get k", "a exec"],
  "a removed key aborts": ["b set k 1", "a watch k", "b del k", "a multi", "a get k", "a exec"],
  "a removal of nothing does not": ["a watch k", "b del k", "a multi", "a get k", "a exec"],
  "a failed SETNX does not abort": ["b set k 1", "a watch k", "b setnx k 2", "a multi", "a get k", "a exec"],
  "FLUSHALL of a watched key aborts": ["b set k 1", "a watch k", "b flushall", "a multi", "a get k", "a exec"],
  "FLUSHALL of nothing does not": ["a watch k", "b flushall", "a multi", "a get k", "a exec"],
  "a new expiry aborts": ["b set k 1", "a watch k", "b pexpire k 100000", "a multi", "a get k", "a exec"],
  "RENAME onto it aborts": ["b set {k}2 1", "a watch {k}1", "b rename {k}2 {k}1", "a multi", "a get {k}1", "a exec"],
  "a bit that is set aborts": ["b set k a", "a watch k", "b setbit k 0 0", "a multi", "a get k", "a exec"],
  "a field that stays as it was does not": [
    "b set k abc",
    "a watch k",
    "b bitfield k incrby u8 0 256",
    "b bitfield k set u8 0 97",
    "a multi",
    "a get k",
    "a exec",
  ],
  "an EXEC that cannot run ends the watch": ["a watch k", "b set k 1", "a exec extra", "a multi", "a get k", "a exec"],
  "one of many keys is enough": ["a watch {k}1 {k}2 {k}3", "b set {k}3 1", "a multi", "a ping", "a exec"],
  "RESET forgets all": ["a watch k", "a multi", "a set k 1", "a reset", "b set k 2", "a multi", "a get k", "a exec"],
  "a second EXEC is without a watch": [
    "a watch k",
    "b set k 1",
    "a multi",
    "a get k",
    "a exec",
    "b set k 2",
    "a multi",
    "a get k",
    "a exec",
  ],
};

describe.skipIf(!needsRedisServer())("WATCH, beside redis-server", () => {
  let redis: RedisServer;
  let node: Node;
  let port: number;
  beforeAll(async () => {
    redis = await startRedisServer({ port: 21_461 });
    ({ node, port } = await startNode());
  });
  afterAll(async () => {
    await redis.stop();
    await node.stop();
  });

  for (const [name, steps] of Object.entries(SCENARIOS)) {
    test(name, async () => {
      const runOn = async (server: number): Promise<readonly string[]> => {
        const clients = { a: await RawClient.connect(server), b: await RawClient.connect(server) };
        await clients.a.run("flushall");
        const replies: string[] = [];
        for (const step of steps) {
          const client = step.startsWith("a ") ? clients.a : clients.b;
          replies.push(`${step} -> ${JSON.stringify(await client.run(step.slice(2)))}`);
        }
        clients.a.close();
        clients.b.close();
        return replies;
      };
      expect(await runOn(port)).toEqual([...(await runOn(redis.port))]);
    });
  }
});
