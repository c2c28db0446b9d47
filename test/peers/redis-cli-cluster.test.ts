/** redis-cli --cluster builds clusters out of empty nodes, adds nodes to them and takes some out, as it does with Redis' own. */
import { afterAll, describe, expect, test } from "bun:test";
import { agreed, ask, askUntil, nodesOf, redisCli, until } from "../support/ask-nodes.ts";
import { type BunchProcess, endLeftovers } from "../support/bunch-server.ts";
import { busPort, runNode } from "../support/node-processes.ts";
import { RawClient } from "../support/raw-client.ts";
import { needsRedisServer } from "../support/redis-server.ts";

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 120_000;

afterAll(endLeftovers, LIMIT_MS);

async function startAllEmpty(ports: readonly number[]): Promise<readonly BunchProcess[]> {
  const nodes = ports.map((port) => runNode(port, "--empty"));
  await Promise.all(nodes.map((node) => node.until("serving node")));
  return nodes;
}

const at = (port: number): string => `127.0.0.1:${port}`;

/** Runs redis-cli --cluster, which must succeed. */
async function cluster(subcommand: string, ...args: readonly string[]): Promise<string> {
  const { code, said } = await redisCli("--cluster", subcommand, ...args);
  expect(code, said).toBe(0);
  expect(said).not.toContain("ERR");
  return said;
}

/** That a check finds nothing amiss, whichever node it begins with. */
async function isClean(ports: readonly number[]): Promise<void> {
  for (const port of ports) {
    const said = await cluster("check", at(port));
    expect(said).toContain("[OK] All nodes agree about slots configuration.");
    expect(said).toContain("[OK] All 16384 slots covered.");
    expect(said).not.toMatch(/\[(WARNING|ERR)\]/);
  }
}

async function idOf(port: number): Promise<string> {
  return /[0-9a-f]{40}/.exec(await ask(port, "cluster myid"))?.[0] ?? "none";
}

const KEYS = Array.from({ length: 60 }, (_, at) => `key-${at}`);

/** What a node itself has of the keys, as a client sees it that reads from replicas: `key=value`, in order. */
async function readsOf(port: number): Promise<readonly string[]> {
  const client = await RawClient.connect(port);
  const found: string[] = [];
  expect(await client.run("readonly")).toBe("+OK\r\n");
  for (const key of KEYS) {
    const [, value] = /^\$[0-9]+\r\n(.*)\r\n$/.exec((await client.run(`get ${key}`)) ?? "") ?? [];
    if (value !== undefined) found.push(`${key}=${value}`);
  }
  client.close();
  return found;
}

/** Writes all keys by way of one of the nodes. */
async function writeAll(port: number, value: string): Promise<void> {
  for (const key of KEYS) expect((await redisCli("-c", "-p", String(port), "set", key, value)).said).toBe("OK\n");
}

/** Waits until a node is that one's replica, and reads the same as it. */
async function reads(port: number, primary: number, value: string): Promise<void> {
  const wanted = await readsOf(primary);
  expect(wanted.length).toBeGreaterThan(0);
  expect(wanted.every((each) => each.endsWith(`=${value}`))).toBe(true);
  await until(
    () => readsOf(port),
    (found) => JSON.stringify(found) === JSON.stringify(wanted),
    `${port} to read as ${primary} does`,
  );
}

describe.skipIf(!needsRedisServer())("redis-cli --cluster", () => {
  test(
    "create, add-node and del-node of replicas: they hold the data, take over, and move on when they are told",
    async () => {
      const ports = [22_620, 22_621, 22_622, 22_623, 22_624, 22_625];
      const [first = 0, second = 0, third = 0] = ports;
      const added = 22_626;
      await startAllEmpty([...ports, added]);
      await cluster("create", ...ports.map(at), "--cluster-replicas", "1", "--cluster-yes");
      const portOf = new Map<string, number>();
      for (const port of [...ports, added]) portOf.set(await idOf(port), port);
      const map = await agreed(ports, (nodes) => nodes.length === 6);
      const replicas = map.flatMap(({ id, primary }) =>
        primary === "-" ? [] : [{ port: portOf.get(id) ?? 0, id, primary: portOf.get(primary) ?? 0 }],
      );
      expect(replicas.map(({ primary }) => primary).toSorted((one, other) => one - other)).toEqual([
        first,
        second,
        third,
      ]);
      await writeAll(first, "one");
      for (const { port, primary } of replicas) await reads(port, primary, "one");
      // A key has one primary, and is nowhere else but at its replica.
      const counts = await Promise.all(ports.map(readsOf));
      expect(counts.reduce((sum, { length }) => sum + length, 0)).toBe(2 * KEYS.length);
      await writeAll(second, "two");
      for (const { port, primary } of replicas) await reads(port, primary, "two");
      await isClean(ports);

      // A replica that was empty gets what there is.
      const secondId = await idOf(second);
      expect(
        await cluster("add-node", at(added), at(first), "--cluster-slave", "--cluster-master-id", secondId),
      ).toContain("[OK] New node added correctly.");
      await reads(added, second, "two");
      await isClean([first, added]);
      expect(await ask(first, "cluster shards")).not.toContain("loading");
      const info = await ask(second, "info replication");
      expect(info).toContain("connected_slaves:2\r\n");

      // It moves to another shard when it is told, and drops what it had.
      expect(await ask(added, `cluster replicate ${await idOf(third)}`)).toBe("+OK\r\n");
      await reads(added, third, "two");
      expect(await ask(second, `cluster replicate ${await idOf(third)}`)).toStartWith(
        "-ERR To set a master the node must be empty and without assigned slots.",
      );
      await isClean([added]);

      // With its copy in memory it is taken out: it is empty then, and alone.
      const addedId = await idOf(added);
      expect(await cluster("del-node", at(first), addedId)).toContain("Sending CLUSTER RESET SOFT to the deleted node");
      await agreed(ports, (nodes) => nodes.length === 6 && nodes.every(({ id }) => id !== addedId));
      await agreed([added], (nodes) => nodes.length === 1 && nodes[0]?.slots === "");
      expect(await ask(added, "dbsize")).toBe(":0\r\n");
      await isClean(ports);

      // A replica takes over without a word lost, and redis-cli finds nothing amiss.
      const heir = replicas.find(({ primary }) => primary === first);
      expect(await ask(heir?.port ?? 0, "cluster failover")).toBe("+OK\r\n");
      await agreed(ports, (nodes) => nodes.some(({ id, flags }) => id === heir?.id && flags === "master"));
      await isClean(ports);
      await reads(first, heir?.port ?? 0, "two");
      await writeAll(third, "three");
      await reads(first, heir?.port ?? 0, "three");
    },
    LIMIT_MS,
  );

  test(
    "create makes one cluster of six empty nodes, with a replica for each primary; nodes are added, taken out, and met again",
    async () => {
      const ports = [22_600, 22_601, 22_602, 22_603, 22_604, 22_605];
      const [first = 0, second = 0, third = 0] = ports;
      const [added, replica] = [22_606, 22_607];
      await startAllEmpty([...ports, added]);
      const returning = runNode(replica, "--empty");
      await returning.until("serving node");

      const created = await cluster("create", ...ports.map(at), "--cluster-replicas", "1", "--cluster-yes");
      expect(created).toContain("[OK] All 16384 slots covered.");
      const map = await agreed(ports, (nodes) => nodes.length === 6);
      const owned = map.filter(({ flags }) => flags === "master").map(({ slots }) => slots);
      for (const slots of ["0-5460", "5461-10922", "10923-16383"]) expect(owned).toContain(slots);
      const primaries = map.filter(({ flags }) => flags === "slave").map(({ primary }) => primary);
      expect(new Set(primaries).size).toBe(3);
      await isClean(ports);

      for (const [key, value] of [
        ["foo", "one"],
        ["bar", "two"],
        ["hello", "three"],
      ] as const) {
        expect((await redisCli("-c", "-p", String(second), "set", key, value)).said).toBe("OK\n");
        for (const port of ports)
          expect((await redisCli("-c", "-p", String(port), "get", key)).said).toBe(`${value}\n`);
      }
      const info = await cluster("info", at(third));
      expect(info).toContain("[OK] 3 keys in 3 masters.");
      expect(info).toContain("5462 slots | 1 slaves.");
      const call = await cluster("call", at(first), "ping");
      for (const port of ports) expect(call).toContain(`${at(port)}: PONG`);

      expect(await cluster("add-node", at(added), at(first))).toContain("[OK] New node added correctly.");
      await agreed([...ports, added], (nodes) => nodes.length === 7);
      await isClean([first, added]);
      expect(await cluster("add-node", at(replica), at(first), "--cluster-slave")).toContain(
        "[OK] New node added correctly.",
      );
      const id = await idOf(replica);
      await agreed([...ports, added, replica], (nodes) =>
        nodes.some((each) => each.id === id && each.flags === "slave" && each.primary !== "-"),
      );
      await isClean([third, replica]);

      const addedId = await idOf(added);
      expect(await cluster("del-node", at(first), addedId)).toContain("Sending CLUSTER RESET SOFT to the deleted node");
      await agreed([...ports, replica], (nodes) => nodes.length === 7 && nodes.every((each) => each.id !== addedId));
      await agreed([added], (nodes) => nodes.length === 1 && nodes[0]?.slots === "");
      await isClean([second, replica]);
      // It is nobody's any more, and can be added again.
      await cluster("add-node", at(added), at(second));
      await agreed([...ports, added, replica], (nodes) => nodes.length === 8);
      await isClean([added]);

      // Once, on one node; redis-cli says it to all the others as well.
      expect(await ask(first, `cluster forget ${id}`)).toBe("+OK\r\n");
      await agreed([...ports, added], (nodes) => nodes.length === 7);
      for (const port of [first, second, third]) expect(await ask(port, `cluster forget ${id}`)).toBe("+OK\r\n");
      await returning.until("this node was taken out of the cluster");
      expect(await ask(replica, "cluster info")).toContain("cluster_state:fail");
      returning.kill("SIGKILL");
      await returning.exited;
      // Told where the cluster is, it stays out all the same, and says why.
      const again = runNode(replica, "--join", at(busPort(first)));
      await again.until("CLUSTER MEET to bring it back: this node was taken out of the cluster");
      expect((await nodesOf(first)).some((each) => each.id === id)).toBe(false);
      expect(await ask(first, `cluster meet 127.0.0.1 ${replica} ${busPort(replica)}`)).toBe("+OK\r\n");
      await agreed([...ports, added, replica], (nodes) => nodes.some((each) => each.id === id));
      await isClean([first, replica]);
    },
    LIMIT_MS,
  );

  test(
    "create makes one cluster of three empty nodes without replicas; one that is forgotten starts as a cluster by itself, and is met again",
    async () => {
      const ports = [22_610, 22_611, 22_612];
      const [first = 0, , third = 0] = ports;
      const nodes = await startAllEmpty(ports);
      await cluster("create", ...ports.map(at), "--cluster-replicas", "0", "--cluster-yes");
      await agreed(ports, (each) => each.length === 3 && each.every(({ slots }) => slots !== ""));
      await isClean(ports);

      const id = await idOf(third);
      const refused = await redisCli("--cluster", "del-node", at(first), id);
      expect(refused.code).toBe(1);
      expect(refused.said).toContain("is not empty! Reshard data away and try again.");
      expect(await ask(first, `cluster forget ${id}`)).toContain("owns slots");
      expect(await ask(third, "cluster flushslots")).toBe("+OK\r\n");
      expect(await ask(first, `cluster forget ${id}`)).toBe("+OK\r\n");
      await agreed(ports.slice(0, 2), (each) => each.length === 2);
      expect(await ask(first, "cluster addslotsrange 10923 16383")).toBe("+OK\r\n");
      nodes[2]?.kill("SIGKILL");
      await nodes[2]?.exited;
      const again = runNode(third, "--empty");
      await again.until("takes part");
      await askUntil(third, "cluster info", "cluster_known_nodes:1\r\n");
      // As the cluster looks for members that it has lost, it would have found this one.
      await until(
        () => ask(first, "cluster info"),
        (info) => info.includes("cluster_known_nodes:2\r\n") && info.includes("cluster_state:ok"),
        "the cluster to be of two nodes",
      );
      expect(await ask(third, `cluster meet 127.0.0.1 ${first} ${busPort(first)}`)).toBe("+OK\r\n");
      await agreed(ports, (each) => each.length === 3);
      await isClean(ports);
    },
    LIMIT_MS,
  );
});
