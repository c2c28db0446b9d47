/** cluster-changes: what one node answers, beside redis-server in cluster mode. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Node } from "../../src/node.ts";
import { startNode } from "../support/bunch-server.ts";
import { type Pair, compare, connectPair } from "../support/compare.ts";
import { type RedisServer, needsRedisServer, startRedisServer } from "../support/redis-server.ts";

const everySlot = (step: number): readonly string[] =>
  Array.from({ length: 16_384 }, (_, at) => String((at * step) % 16_384));

describe.skipIf(!needsRedisServer())("CLUSTER's changes, beside redis-server", () => {
  let redis: RedisServer;
  let node: Node;
  let pair: Pair;
  beforeAll(async () => {
    redis = await startRedisServer({
      port: 22_001,
      cluster: true,
      args: ["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "500"],
    });
    const started = await startNode();
    ({ node } = started);
    pair = await connectPair(redis.port, started.port);
    // A node that is alone begins with every slot here, and with none there.
    await pair.redis.run("cluster addslotsrange 0 16383");
    // It serves none of them in the first seconds of its life.
    while (!(await pair.redis.run("cluster info"))?.includes("cluster_state:ok")) await Bun.sleep(20);
  });
  afterAll(async () => {
    pair.redis.close();
    pair.bunch.close();
    await redis.stop();
    await node.stop();
  });

  test("arguments that are no slots, twice the same, or too few, are refused in Redis' words and order", () =>
    compare(pair, [
      "cluster delslots 10-20",
      "cluster delslotsrange 10 20 30 40",
      ...["addslots", "delslots"].flatMap((name) => [
        `cluster ${name}`,
        `cluster ${name} x`,
        `cluster ${name} -1`,
        `cluster ${name} 16384`,
        `cluster ${name} 9223372036854775808`,
        `cluster ${name} 1.5`,
        `cluster ${name} 5 5`,
        `cluster ${name} 15 15`,
        `cluster ${name} 15 5 15`,
        `cluster ${name} 5 15 5`,
        `cluster ${name} 15 15 x`,
        `cluster ${name} 5 x 5`,
        `cluster ${name} 15 16 7 5 6`,
        `cluster ${name} 7 15 6`,
      ]),
      ...["addslotsrange", "delslotsrange"].flatMap((name) => [
        `cluster ${name}`,
        `cluster ${name} 1`,
        `cluster ${name} 1 2 3`,
        `cluster ${name} x 1`,
        `cluster ${name} 1 x`,
        `cluster ${name} 20000 1`,
        `cluster ${name} 7 6`,
        `cluster ${name} 12 13 13 14`,
        `cluster ${name} 2 3 3 4`,
        `cluster ${name} 12 13 7 6`,
        `cluster ${name} 2 3 7 6`,
        `cluster ${name} 12 13 x 6`,
        `cluster ${name} 2 3 x 6`,
        `cluster ${name} 5 15`,
        `cluster ${name} 15 25`,
        `cluster ${name} 40 45 30 35`,
      ]),
      "cluster slots x",
      "cluster reset x",
      "cluster reset soft x",
      "cluster ReSet soft hard x",
      "cluster forget",
      "cluster forget x",
      `cluster forget ${"x".repeat(200)}`,
      `cluster forget ${"0".repeat(40)}`,
      "cluster flushslots x",
      "cluster bumpepoch x",
      "cluster saveconfig x",
      "cluster set-config-epoch",
      "cluster set-config-epoch x",
      "cluster set-config-epoch -1",
      "cluster set-config-epoch 9223372036854775808",
      "cluster count-failure-reports",
      "cluster count-failure-reports x",
    ]));

  test("a node does not forget itself", async () => {
    const replies = await Promise.all(
      [pair.redis, pair.bunch].map(async (client) => {
        const id = /[0-9a-f]{40}/.exec((await client.run("cluster myid")) ?? "")?.[0] ?? "none";
        return client.run(`cluster forget ${id}`);
      }),
    );
    expect(replies[1]).toBe(replies[0] ?? "none");
    expect(replies[1]).toStartWith("-ERR I tried hard");
  });

  test("a slot that was given away is not served; with keys not all are given away", () =>
    compare(pair, [
      "set key value",
      "cluster flushslots",
      "cluster reset",
      "cluster reset soft",
      "cluster reset hard",
      "cluster reset harder",
      "cluster keyslot key",
      "cluster delslots 12539",
      "get key",
      "cluster addslots 12539",
      "get key",
      "del key",
    ]));

  test("slots go and come, one by one, in ranges, and all in one command", () =>
    compare(pair, [
      "cluster addslotsrange 10 20 30 40",
      ["cluster", "delslots", ...everySlot(1)],
      "cluster delslots 0",
      ["cluster", "addslots", ...everySlot(5)],
      "cluster addslots 16383",
      "cluster delslots 3 2 1",
      "cluster addslots 3 1",
      "cluster addslots 4 2",
      "cluster delslots 2",
      "cluster addslots 2",
      "cluster flushslots",
      "get key",
      "cluster flushslots",
      "cluster slots",
      "cluster delslots 1",
      "cluster addslotsrange 0 16383",
      "cluster saveconfig",
    ]));

  test("a node that was reset has no slots; HARD, no epoch either, until it is given one", () =>
    compare(pair, [
      "cluster reset",
      "cluster slots",
      "get key",
      "cluster reset HARD",
      "cluster slots",
      "cluster set-config-epoch 5",
      "cluster set-config-epoch 6",
      "cluster bumpepoch",
      "cluster addslotsrange 5 10",
      "cluster bumpepoch",
      "cluster reset soft",
      "cluster set-config-epoch 6",
      "cluster delslots 5",
      "cluster bumpepoch",
      "cluster reset hard",
      "cluster bumpepoch",
      "cluster bumpepoch",
      "cluster set-config-epoch 6",
    ]));

  test("within EXEC each is answered in its place", () =>
    compare(pair, [
      "cluster reset hard",
      "multi",
      "cluster delslots 7",
      "cluster addslots 7",
      "cluster addslots 7",
      "cluster addslotsrange 8 x",
      "ping",
      "cluster forget x",
      "cluster reset",
      "exec",
      "cluster slots",
      "multi",
      "cluster addslots",
      "cluster addslots 7",
      "exec",
    ]));

  test("MEET's arguments are refused in Redis' words and order", () =>
    compare(pair, [
      "cluster meet",
      "cluster meet 127.0.0.1",
      "cluster meet 127.0.0.1 1 2 3",
      "cluster meet 127.0.0.1 x 2 3",
      "cluster meet 127.0.0.1 x",
      "cluster meet 127.0.0.1 1.5",
      "cluster meet 127.0.0.1 +1",
      "cluster meet 127.0.0.1 9223372036854775808",
      ["cluster", "meet", "127.0.0.1", ""],
      ["cluster", "meet", "127.0.0.1", " 1"],
      "cluster meet 127.0.0.1 x x",
      "cluster meet 127.0.0.1 1 x",
      "cluster meet 127.0.0.1 0 x",
      "cluster meet 127.0.0.1 1 9223372036854775808",
      "cluster meet 127.0.0.1 0",
      "cluster meet 127.0.0.1 -1",
      "cluster meet 127.0.0.1 65536",
      "cluster meet 127.0.0.1 9223372036854775807",
      "cluster meet 127.0.0.1 0 1",
      "cluster meet 127.0.0.1 65536 1",
      "cluster meet 127.0.0.1 1 0",
      "cluster meet 127.0.0.1 1 -1",
      "cluster meet 127.0.0.1 1 65536",
      // The port of the bus would be beyond all.
      "cluster meet 127.0.0.1 55536",
      "cluster meet 127.0.0.1 65535",
      ["cluster", "meet", "", "1"],
      ["cluster", "meet", "not an address", "1"],
      ["cluster", "meet", "127.0.0.1\r\n", "1"],
      "cluster meet host/x 1",
      // What looks like an address is none.
      "cluster meet 999.1.1.1 7000",
      "cluster meet 256.1.1.1 7000",
      "cluster meet 1.2.3 7000",
      "cluster meet 1.2.3.4.5 7000",
      "cluster meet 01.2.3.4 7000",
      "cluster meet 127.1 7000",
      "cluster meet 2130706433 7000",
      "cluster meet [::1] 7000",
      "cluster meet 1::2::3 7000",
      "cluster meet 1:2:3:4:5:6:7 7000",
      "cluster meet 1:2:3:4:5:6:7:8:9 7000",
      "cluster meet ::12345 7000",
      "cluster meet ::1.2.3.999 7000",
      "cluster meet 1.2.3.4::1 7000",
      "cluster meet fe80::1%lo 7000",
      "cluster meet : 7000",
      "cluster meet ::: 7000",
    ]));

  test("MEET takes what may be an address, of whichever kind, and where its bus is", () =>
    compare(pair, [
      "cluster meet 127.0.0.1 22003",
      "cluster meet 127.0.0.1 22003 1",
      "cluster meet 127.0.0.1 55535",
      "cluster meet 127.0.0.1 65535 65535",
      "cluster MEET ::1 22003",
      "cluster meet ::ffff:127.0.0.1 22003",
      "cluster meet 1:2:3:4:5:6:7:8 22003",
      "cluster meet 1:2:3:4:5:6:127.0.0.1 22003",
      "cluster meet 1:2:3:4:5:6:7:: 22003",
    ]));
});
