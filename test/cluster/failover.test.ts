/**
 * Real processes are killed, stopped, cut off and restarted under real clients: no acknowledged write is lost, no reader sees an older value after a newer one.
 *
 * Six nodes in memory, three shards with a replica each; ioredis and node-redis write and read (`test/support/cluster-load.ts`). Nothing is timed: what has to come
 * about is waited for. A node that stands still is in sync for five seconds here and not for one, and leases run for three, so that a machine with much else to do
 * does not decide which replica may be promoted, or that nobody serves for a while; five nodes vote, so that two may die at once.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { encodeCommand } from "../../src/codec/resp-reader.ts";
import { ask, askUntil, until } from "../support/ask-nodes.ts";
import { endLeftovers } from "../support/bunch-server.ts";
import {
  ClusterLoad,
  complaintsOf,
  ioredisClient,
  type LoadClient,
  nodeRedisClient,
  slotOf,
} from "../support/cluster-load.ts";
import { RawClient } from "../support/raw-client.ts";
import { type Shard, SixNodes } from "../support/six-nodes.ts";

const FIRST_PORT = 21_930;
const LIMIT_MS = 180_000;

let nodes: SixNodes;
let clients: readonly LoadClient[] = [];
let load: ClusterLoad;
let loads = 0;

/** Clients of both kinds that write and read, and have all keys written. */
async function begin(): Promise<void> {
  clients = [ioredisClient(nodes.ports), await nodeRedisClient(nodes.ports)];
  loads += 1;
  load = new ClusterLoad(clients, { writers: 3, readers: 1, keys: 12, prefix: `load-${loads}` });
  await load.goesOn();
}

/** Ends the load, and holds it against what is promised. */
async function endLoad(): Promise<void> {
  expect(await complaintsOf(load, nodes.ports)).toEqual([]);
}

function other(...not: readonly number[]): number {
  return nodes.ports.find((port) => !not.includes(port)) ?? 0;
}

/** A key of a shard that no load writes. */
function keyOf({ has }: Shard): string {
  for (let count = 0; ; count += 1) {
    const key = `by-hand-${count}`;
    if (has(slotOf(key))) return key;
  }
}

/** The number of the newest entry of a node's log. */
async function lastEntry(port: number): Promise<number> {
  return Number(/master_repl_offset:(\d+)/.exec(await ask(port, "info replication"))?.[1] ?? Number.NaN);
}

beforeAll(async () => {
  const flags = ["--replication-lag-ms", "5000", "--failover-lease-ms", "3000", "--raft-max-voters", "5"];
  nodes = await SixNodes.start(FIRST_PORT, flags);
}, LIMIT_MS);

afterEach(() => {
  load.stop();
  for (const client of clients) client.close();
});

afterAll(async () => {
  for (const port of nodes.ports) nodes.signal(port, "SIGCONT");
  await endLeftovers();
}, LIMIT_MS);

describe("a primary that is killed", () => {
  test(
    "is followed by its replica, on one shard after the other, and comes back as the replica",
    async () => {
      await begin();
      for (const shard of await nodes.whole()) {
        const { primary, replica, has } = shard;
        await nodes.end(primary, "SIGKILL");
        await load.goesOn(has);
        expect(await nodes.successor(shard, other(primary))).toBe(replica);
        nodes.start(primary);
        await nodes.whole();
        expect((await nodes.shardOf(primary, replica)).primary).toBe(replica);
      }
      await endLoad();
    },
    LIMIT_MS,
  );

  test(
    "together with another shard's: both have another one",
    async () => {
      await begin();
      const [one, two] = await nodes.whole();
      if (one === undefined || two === undefined) throw new Error("there are three shards");
      await Promise.all([one, two].map(({ primary }) => nodes.end(primary, "SIGKILL")));
      await load.goesOn();
      const asked = other(one.primary, two.primary);
      expect(await nodes.successor(one, asked)).toBe(one.replica);
      expect(await nodes.successor(two, asked)).toBe(two.replica);
      for (const { primary } of [one, two]) nodes.start(primary);
      await nodes.whole();
      await endLoad();
    },
    LIMIT_MS,
  );

  test(
    "together with the node that leads the log",
    async () => {
      await begin();
      const shards = await nodes.whole();
      const leader = await nodes.leader();
      const shard = shards.find(({ primary, replica }) => primary !== leader && replica !== leader);
      if (shard === undefined) throw new Error("the leader is a member of one shard");
      await Promise.all([leader, shard.primary].map((port) => nodes.end(port, "SIGKILL")));
      await load.goesOn();
      expect(await nodes.successor(shard, other(leader, shard.primary))).toBe(shard.replica);
      for (const port of [leader, shard.primary]) nodes.start(port);
      await nodes.whole();
      await endLoad();
    },
    LIMIT_MS,
  );

  test(
    "while its replica stands still: what it had sent is there, and nothing else was acknowledged",
    async () => {
      await begin();
      const [shard] = await nodes.whole();
      if (shard === undefined) throw new Error("there are three shards");
      const { primary, replica, has } = shard;
      nodes.signal(replica, "SIGSTOP");
      // Writes are logged, and not acknowledged.
      const before = await lastEntry(primary);
      const writer = await RawClient.connect(primary);
      const key = keyOf(shard);
      const reply = writer.run(["set", key, "logged"]);
      await until(
        () => lastEntry(primary),
        (last) => last > before,
        "writes to be logged",
      );
      await nodes.end(primary, "SIGKILL");
      expect(await reply).toBeUndefined();
      nodes.signal(replica, "SIGCONT");
      await load.goesOn(has);
      expect(await nodes.successor(shard, other(primary))).toBe(replica);
      nodes.start(primary);
      await nodes.whole();
      await endLoad();
    },
    LIMIT_MS,
  );
});

describe("a primary that stands still", () => {
  test(
    "and goes on after another has taken over tells nothing old, and closes what it has no answer to",
    async () => {
      await begin();
      const shard = (await nodes.whole()).find(({ primary, replica }) => primary !== 0 && replica !== 0);
      if (shard === undefined) throw new Error("there are three shards");
      const { primary, replica } = shard;
      const key = keyOf(shard);
      const [writer, idle] = await Promise.all([RawClient.connect(primary), RawClient.connect(primary)]);
      expect(await writer.run(["set", key, "old"])).toBe("+OK\r\n");

      // 1. A write is in the primary's log, and its replica, which stands still, has not said that it has it.
      nodes.signal(replica, "SIGSTOP");
      const before = await lastEntry(primary);
      const unknown = writer.run(["set", key, "unknown"]);
      await until(
        () => lastEntry(primary),
        (last) => last > before,
        "the write to be logged",
      );
      // 2. The primary stands still; the replica goes on and takes over.
      nodes.signal(primary, "SIGSTOP");
      nodes.signal(replica, "SIGCONT");
      expect(await nodes.successor(shard, other(primary))).toBe(replica);
      const successor = await RawClient.connect(replica);
      const set = async (): Promise<string> => (await successor.run(["set", key, "new"])) ?? "closed";
      await until(set, (said) => said === "+OK\r\n", "the new primary to take writes");
      // 3. Questions wait at the old one, on a connection that it has and on one that it will find.
      const late = await RawClient.connect(primary);
      const questions = [
        ["get", key],
        ["set", key, "older"],
        ["get", key],
      ];
      for (const client of [idle, late]) for (const parts of questions) client.write(encodeCommand(parts));
      // 4. It goes on.
      nodes.signal(primary, "SIGCONT");
      expect(await unknown).toBeUndefined();
      for (const client of [idle, late]) {
        for (const parts of questions) {
          expect(`${parts.join(" ")}: ${(await client.reply()) ?? "closed"}`).toMatch(/: (-MOVED|-CLUSTERDOWN|closed)/);
        }
      }
      expect(await successor.run(["get", key])).toBe("$3\r\nnew\r\n");
      for (const client of [writer, idle, late, successor]) client.close();
      await nodes.whole();
      expect((await nodes.shardOf(primary, replica)).primary).toBe(replica);
      await endLoad();
    },
    LIMIT_MS,
  );
});

describe("nodes that are told to stop", () => {
  test(
    "one after the other hand over and come back, and no client sees an error",
    async () => {
      await begin();
      await nodes.whole();
      for (const port of nodes.ports) {
        const shard = await nodes.shardOf(port, port);
        const heir = port === shard.primary ? shard.replica : shard.primary;
        expect(await nodes.end(port, "SIGTERM")).toBe(0);
        expect(nodes.output(port)).not.toContain("without handing its shard over");
        // It was the replica already, or has become one before it went.
        expect((await nodes.shardOf(port, heir)).primary).toBe(heir);
        await load.goesOn();
        nodes.start(port);
        await nodes.whole();
      }
      await endLoad();
    },
    LIMIT_MS,
  );

  test(
    "CLUSTER FAILOVER changes the roles of two nodes, there and back, and no client sees an error",
    async () => {
      await begin();
      const [shard] = await nodes.whole();
      if (shard === undefined) throw new Error("there are three shards");
      const { primary, replica } = shard;
      for (const to of [replica, primary, replica]) {
        await askUntil(to, "cluster failover", "+OK");
        await askUntil(to, "role", "master");
        await nodes.whole();
        await load.goesOn();
      }
      await endLoad();
    },
    LIMIT_MS,
  );
});
