/**
 * Slots move between real nodes under real clients, which see no error, lose nothing and read nothing stale: also while nodes are killed in the midst of it.
 *
 * Six nodes in memory, three shards with a replica each; see `failover.test.ts` for the load, and what is held against it. All slots of one shard move to the next, and back.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { Redis } from "ioredis";
import { nodesOf, until } from "../support/ask-nodes.ts";
import { endLeftovers } from "../support/bunch-server.ts";
import { ClusterLoad, complaintsOf, ioredisClient, type LoadClient, nodeRedisClient } from "../support/cluster-load.ts";
import { type Shard, SixNodes } from "../support/six-nodes.ts";

const FIRST_PORT = 21_950;
/** Keys that nobody writes meanwhile: a migration takes a while. (Names that begin with BUNCH are settings of nodes.) */
const BALLAST_KEYS = Number(process.env["MOVING_KEYS"] ?? 20_000);
const BALLAST_BYTES = Number(process.env["MOVING_BYTES"] ?? 64);
/** How often each of source, target and leader is killed. */
const KILL_ROUNDS = Number(process.env["MOVING_KILLS"] ?? 1);
const LIMIT_MS = 180_000 + BALLAST_KEYS * KILL_ROUNDS;
/** Sent at once. */
const BATCH_KEYS = 1000;

let nodes: SixNodes;
let clients: readonly LoadClient[] = [];
let load: ClusterLoad;
let loads = 0;

async function begin(): Promise<void> {
  clients = [ioredisClient(nodes.ports), await nodeRedisClient(nodes.ports)];
  loads += 1;
  load = new ClusterLoad(clients, { writers: 10, readers: 2, keys: 12, prefix: `moving-${loads}` });
  await load.goesOn();
}

/** Ends the load, and holds it against what is promised. */
async function endLoad(): Promise<void> {
  expect(await complaintsOf(load, nodes.ports)).toEqual([]);
}

/** What a node answers, as ioredis makes values of it. */
async function command(port: number, ...words: readonly string[]): Promise<unknown> {
  const client = new Redis({ port, host: "127.0.0.1", lazyConnect: true });
  try {
    await client.connect();
    const [name = "", ...rest] = words;
    return await client.call(name, ...rest);
  } finally {
    client.disconnect();
  }
}

/** All keys of the cluster that are shown, by its primaries. */
async function keyCount(): Promise<number> {
  const ports = (await nodes.shards(nodes.ports[0] ?? 0)).map(({ primary }) => primary);
  const counts = await Promise.all(ports.map(async (port) => Number(await command(port, "dbsize"))));
  return counts.reduce((sum, count) => sum + count, 0);
}

/** The ranges of a node's slots, as CLUSTER MOVE takes them. */
async function slotsOf(port: number): Promise<readonly string[]> {
  const own = (await nodesOf(port)).find(({ address }) => address.includes(`:${port}@`));
  return (own?.slots ?? "").split(" ").flatMap((range) => {
    const [first, last = first] = range.split("-");
    return first === undefined || first === "" ? [] : [first, last ?? first];
  });
}

/** Moves slots of a shard to another. @returns The task's id. */
async function move(from: Shard, to: Shard, slots: readonly string[]): Promise<string> {
  const id = String(await command(to.primary, "cluster", "myid"));
  return String(await command(from.primary, "cluster", "move", id, "slotsrange", ...slots));
}

/** What a task has come to, by a node. */
async function phaseOf(id: string, asked: number): Promise<string> {
  const tasks = (await command(asked, "cluster", "migrations")) as readonly (readonly string[])[];
  const task = tasks.find((fields) => fields[fields.indexOf("id") + 1] === id) ?? [];
  return task[task.indexOf("phase") + 1] ?? "unknown";
}

async function ended(id: string, asked: number): Promise<void> {
  const phase = await until(
    () => phaseOf(id, asked),
    (seen) => /completed|aborted/.test(seen),
    `task ${id} to end`,
  );
  expect(phase).toBe("completed");
}

function ballastOf(at: number): string {
  return `${at}`.padEnd(BALLAST_BYTES, ".");
}

/** Calls for each key of the ballast, a batch at a time. */
async function forBallast(each: (at: number) => Promise<unknown>): Promise<void> {
  for (let first = 0; first < BALLAST_KEYS; first += BATCH_KEYS) {
    const count = Math.min(BATCH_KEYS, BALLAST_KEYS - first);
    await Promise.all(Array.from({ length: count }, (_, at) => each(first + at)));
  }
}

async function writeBallast(): Promise<void> {
  const client = ioredisClient(nodes.ports);
  await forBallast((at) => client.set(`ballast-${at}`, ballastOf(at)));
  client.close();
}

/** How many keys of the ballast are not what they were. */
async function wrongBallast(): Promise<number> {
  const client = ioredisClient(nodes.ports);
  let wrong = 0;
  await forBallast(async (at) => {
    if ((await client.get(`ballast-${at}`)) !== ballastOf(at)) wrong += 1;
  });
  client.close();
  return wrong;
}

beforeAll(async () => {
  const flags = ["--replication-lag-ms", "5000", "--failover-lease-ms", "3000", "--raft-max-voters", "5"];
  nodes = await SixNodes.start(FIRST_PORT, flags);
}, LIMIT_MS);

afterEach(() => {
  load.stop();
  for (const client of clients) client.close();
});

afterAll(() => endLeftovers(), LIMIT_MS);

describe("slots that move", () => {
  test(
    "take their keys along, and no client sees an error",
    async () => {
      await begin();
      await writeBallast();
      const before = await keyCount();
      const [one, two] = await nodes.whole();
      if (one === undefined || two === undefined) throw new Error("there are three shards");
      // One slot stays: from a node that has none any more node-redis hangs up in the midst of what is under way, with Redis as well.
      const [first = "", ...rest] = await slotsOf(one.primary);
      const moving = [String(Number(first) + 1), ...rest];
      await ended(await move(one, two, moving), two.primary);
      await load.goesOn();
      expect(await slotsOf(one.primary)).toEqual([first, first]);
      await ended(await move(two, one, moving), one.primary);
      await endLoad();
      expect([await keyCount(), await wrongBallast()]).toEqual([before, 0]);
    },
    LIMIT_MS,
  );

  test(
    "leave a shard with none, which its clients hear of",
    async () => {
      await begin();
      const [one, two] = await nodes.whole();
      if (one === undefined || two === undefined) throw new Error("there are three shards");
      const all = await slotsOf(one.primary);
      await ended(await move(one, two, all), two.primary);
      await load.goesOn();
      expect(await slotsOf(one.primary)).toEqual([]);
      expect(await command(one.primary, "dbsize")).toBe(0);
      await ended(await move(two, one, all), one.primary);
      await endLoad();
    },
    LIMIT_MS,
  );

  test(
    "go on under whoever is promoted, when the source, the target or the leader is killed in the midst of it",
    async () => {
      await begin();
      const before = await keyCount();
      const kills = Array.from({ length: KILL_ROUNDS }, () => ["source", "target", "leader"] as const).flat();
      for (const killed of kills) {
        const [one, two] = await nodes.whole();
        if (one === undefined || two === undefined) throw new Error("there are three shards");
        const slots = await slotsOf(one.primary);
        const port = killed === "source" ? one.primary : killed === "target" ? two.primary : await nodes.leader();
        const asked = nodes.ports.find((each) => each !== port && each !== one.primary) ?? 0;
        const id = await move(one, two, slots);
        await nodes.end(port, "SIGKILL");
        await ended(id, asked);
        await load.goesOn();
        nodes.start(port);
        // Back again, so that there are three shards.
        const heirs = await nodes.shards(asked);
        const target = heirs.find(({ primary, replica }) =>
          [two.primary, two.replica].some((each) => each === primary || each === replica),
        );
        if (target === undefined) throw new Error("the target is a shard");
        const back = (await nodesOf(asked)).find(
          ({ address, flags }) =>
            flags.includes("master") && [one.primary, one.replica].some((each) => address.includes(`:${each}@`)),
        );
        if (back === undefined) throw new Error("the source is a shard");
        const to = Number(/:(\d+)@/.exec(back.address)?.[1]);
        await ended(await move(target, { ...one, primary: to }, slots), asked);
        await load.goesOn();
      }
      await endLoad();
      expect([await keyCount(), await wrongBallast()]).toEqual([before, 0]);
    },
    LIMIT_MS,
  );
});
