/** What is refused, and what is not, when memory has run out: beside redis-server, to the byte. Which keys go is chance; see the unit tests. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Node } from "../../src/node.ts";
import { startNode } from "../support/bunch-server.ts";
import { type Pair, compare, connectPair } from "../support/compare.ts";
import { type RedisServer, needsRedisServer, startRedisServer } from "../support/redis-server.ts";

const PORT = 21_452;

/** Run in order, over the limit from the fourth one on, with nothing that may go. */
const REFUSED = [
  // It stays: an empty redis-server takes memory as well.
  "set {t}stays 1",
  "set {t}a 1",
  "set {t}b 2 ex 1000",
  "config set maxmemory 1",
  "config get maxmemory",
  "get {t}a",
  "set {t}a 2",
  "mset {t}a 2 {t}b 3",
  "append {t}a x",
  "incr {t}a",
  "setbit {t}a 1 1",
  "setrange {t}a 1 x",
  "bitop not {t}c {t}a",
  "copy {t}a {t}c",
  "restore {t}c 0 x",
  "getset {t}a 1",
  "setex {t}a 10 1",
  "rename {t}a {t}c",
  "expire {t}c 1000",
  "persist {t}c",
  "exists {t}c",
  "dump {t}b",
  "getex {t}b",
  "object encoding {t}b",
  "dbsize",
  "keys nope",
  "set {t}a",
  "foo",
  "multi",
  "get {t}c",
  "exec",
  "multi",
  "get {t}c",
  "set {t}c 2",
  "exec",
  "del {t}c",
  "config set maxmemory-policy volatile-lru",
  "config get maxmemory-policy",
  "getdel {t}b",
  // Nothing has an expiry any more, so nothing may go.
  "set {t}a 1",
  "config set maxmemory 0",
  "set {t}a 1",
  "flushall",
  "config set maxmemory-policy noeviction",
];

const PARAMETERS = [
  ...["maxmemory-samples", "lfu-log-factor", "lfu-decay-time"].flatMap((name) =>
    ["abc", "", "1.5", " 5", "5x", "7"].map((value) => ["config", "set", name, value]),
  ),
  "config get lfu-log-factor",
  "config get lfu-decay-time",
  "config set lfu-log-factor 10 lfu-decay-time 1 maxmemory-samples 5",
  "config get maxmemory-samples",
  "config set lfu-log-factor 0 lfu-decay-time 0",
  "config get lfu-log-factor",
  "config set lfu-log-factor 10 lfu-decay-time 1",
  ...[
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
  ].flatMap((name) => [
    `config set maxmemory-policy ${name.toUpperCase()}`,
    "config get maxmemory-policy",
    "object freq {t}nope",
  ]),
  "config set maxmemory-policy noeviction",
  ...["1", "1k", "1kb", "1MB", "2gb", "100b", "-1", "1.5", "1kk"].flatMap((value) => [
    `config set maxmemory ${value}`,
    "config get maxmemory",
  ]),
  "config set maxmemory 0",
];

describe.skipIf(!needsRedisServer())("a node out of memory, beside redis-server", () => {
  let redis: RedisServer;
  let node: Node;
  let pair: Pair;
  let others: Pair;

  beforeAll(async () => {
    redis = await startRedisServer({ port: PORT, cluster: true });
    const started = await startNode();
    node = started.node;
    pair = await connectPair(redis.port, started.port);
    others = await connectPair(redis.port, started.port);
    await pair.redis.run("cluster addslotsrange 0 16383");
    while (!(await pair.redis.run("cluster info"))?.includes("cluster_state:ok")) await Bun.sleep(20);
  });

  afterAll(async () => {
    for (const each of [pair, others]) {
      each.redis.close();
      each.bunch.close();
    }
    await redis.stop();
    await node.stop();
  });

  test("refuses the same commands, in the same words", () => compare(pair, REFUSED));

  test("takes and refuses the same parameters", () => compare(pair, PARAMETERS));

  test("refuses a transaction whose writes were queued while there was room", async () => {
    await compare(pair, ["set {t}a 1", "multi", "get {t}a", "set {t}a 2"]);
    await compare(others, ["config set maxmemory 1"]);
    await compare(pair, ["exec", "exec", "get {t}a", "multi", "get {t}a"]);
    await compare(pair, ["exec"]);
    await compare(others, ["config set maxmemory 0"]);
  });

  test("tells the limit in INFO as it does", async () => {
    const fields = (info: string | undefined): readonly string[] => info?.match(/^maxmemory[a-z_]*:.*$/gm) ?? [];
    for (const limit of ["0", "1000", "1024", "100mb", "1500mb"]) {
      await compare(pair, [`config set maxmemory ${limit}`]);
      const [expected, actual] = await Promise.all([pair.redis.run("info memory"), pair.bunch.run("info memory")]);
      expect(fields(actual)).toEqual(fields(expected));
      expect(fields(actual)).toHaveLength(3);
    }
    await compare(pair, ["config set maxmemory 0"]);
  });
});
