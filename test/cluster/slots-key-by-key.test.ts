/**
 * redis-cli moves slots between real nodes, key by key, as it does with Redis' own: reshard, rebalance, fix, import, del-node; under load, and with nodes that are killed midway.
 *
 * Leases are long here, so that a machine with much else to do interrupts nobody: redis-cli gives up when a node answers that it has none.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { type NodeLine, agreed, ask, askUntil, nodesOf, redisCli, redisCliTold, until } from "../support/ask-nodes.ts";
import { type BunchProcess, endLeftovers } from "../support/bunch-server.ts";
import {
  ClusterLoad,
  complaintsOf,
  ioredisClient,
  type LoadClient,
  nodeRedisClient,
  slotOf,
} from "../support/cluster-load.ts";
import { busAddresses, runNode } from "../support/node-processes.ts";
import { RawClient } from "../support/raw-client.ts";
import { needsRedisServer, startRedisServer } from "../support/redis-server.ts";
import { SixNodes } from "../support/six-nodes.ts";

/** Nothing here is timed. */
const LIMIT_MS = 600_000;
const FLAGS = ["--failover-lease-ms", "8000", "--raft-election-ms", "2000", "--replication-lag-ms", "5000"];

let clients: LoadClient[] = [];
let load: ClusterLoad | undefined;
const nodes: BunchProcess[] = [];

afterEach(async () => {
  load?.stop();
  load = undefined;
  for (const client of clients.splice(0)) client.close();
  const ended = nodes.splice(0);
  for (const node of ended) node.kill("SIGTERM");
  await Promise.all(ended.map((node) => node.exited));
}, LIMIT_MS);
afterAll(endLeftovers, LIMIT_MS);

const at = (port: number): string => `127.0.0.1:${port}`;

/** Three primaries on ports from this one on. @returns Their processes. */
async function startThree(first: number): Promise<readonly BunchProcess[]> {
  const ports = [first, first + 1, first + 2];
  const founding = ["--join", busAddresses(...ports), "--bootstrap-expect", "3"];
  const started = ports.map((port) => runNode(port, ...founding, ...FLAGS));
  for (const port of ports) await askUntil(port, "cluster info", "cluster_state:ok");
  return started;
}

/** Runs redis-cli --cluster, which must succeed. */
async function cluster(...args: readonly string[]): Promise<string> {
  const { code, said } = await redisCli("--cluster", ...args);
  expect(code, said).toBe(0);
  expect(said).not.toMatch(/\bERR\b|failed/);
  return said;
}

async function isClean(port: number): Promise<void> {
  const said = await cluster("check", at(port));
  expect(said).toContain("[OK] All nodes agree about slots configuration.");
  expect(said).toContain("[OK] All 16384 slots covered.");
  expect(said).not.toMatch(/\[(WARNING|ERR)\]/);
}

async function idOf(port: number): Promise<string> {
  return /[0-9a-f]{40}/.exec(await ask(port, "cluster myid"))?.[0] ?? "none";
}

async function setSlot(port: number, line: string): Promise<void> {
  expect(`${line}: ${await ask(port, `cluster setslot ${line}`)}`).toBe(`${line}: +OK\r\n`);
}

/** A tag of a slot. */
function tagOf(slot: number): string {
  for (let count = 0; ; count += 1) if (slotOf(`t${count}`) === slot) return `{t${count}}`;
}

async function size(port: number): Promise<number> {
  return Number(/:(\d+)/.exec(await ask(port, "dbsize"))?.[1]);
}

/** The names of a slot's keys at a node. */
async function keysIn(port: number, slot: number): Promise<readonly string[]> {
  const reply = await ask(port, `cluster getkeysinslot ${slot} 1000`);
  return [...reply.matchAll(/\$\d+\r\n(.*)\r\n/g)].map(([, name = ""]) => name);
}

/** Runs commands on one connection. @returns The replies. */
async function runAll(port: number, lines: readonly (readonly string[])[]): Promise<readonly (string | undefined)[]> {
  const client = await RawClient.connect(port);
  const replies: (string | undefined)[] = [];
  for (const line of lines) replies.push(await client.run(line));
  client.close();
  return replies;
}

function ownerOf(lines: readonly NodeLine[], slot: number): NodeLine | undefined {
  return lines.find(({ slots }) =>
    slots.split(" ").some((range) => {
      const [from = Number.NaN, to = from] = range.split("-").map(Number);
      return range !== "" && slot >= from && slot <= to;
    }),
  );
}

describe.skipIf(!needsRedisServer())("redis-cli --cluster on three nodes", () => {
  const [first, second, third] = [22_320, 22_321, 22_322];

  beforeAll(() => startThree(first), LIMIT_MS);

  test(
    "reshard: 200 slots with 5000 keys go over under load, and no client sees an error or an older value",
    async () => {
      const keys: { readonly name: string; readonly value: string; readonly isExpiring: boolean }[] = [];
      const tags = new Map<number, string>();
      for (let count = 0; tags.size < 200; count += 1) {
        const tag = `{t${count}}`;
        const slot = slotOf(tag.slice(1, -1));
        if (slot < 200 && !tags.has(slot)) tags.set(slot, tag);
      }
      for (const [slot, tag] of tags) {
        for (let count = 0; count < 25; count += 1) {
          keys.push({ name: `${tag}:${count}`, value: `${slot}/${count}`, isExpiring: count % 5 === 0 });
        }
      }
      const large = "x".repeat(2 * 1024 * 1024);
      const lines = keys.map(({ name, value, isExpiring }) => [
        "set",
        name,
        value,
        ...(isExpiring ? ["ex", "100000"] : []),
      ]);
      lines.push(["set", `${tags.get(100)}:large`, large]);
      expect(new Set(await runAll(first, lines))).toEqual(new Set(["+OK\r\n"]));

      clients = [ioredisClient([first, second]), await nodeRedisClient([first, second])];
      // Half of its keys are in what moves.
      load = new ClusterLoad(clients, {
        writers: 2,
        readers: 1,
        keys: 6,
        prefix: "load",
        isMeant: (slot) => slot < 200 || (slot > 400 && slot % 2 === 0),
      });
      await load.goesOn();
      const source = await idOf(first);
      const target = await idOf(second);
      await cluster(
        "reshard",
        at(first),
        "--cluster-from",
        source,
        "--cluster-to",
        target,
        "--cluster-slots",
        "200",
        "--cluster-yes",
      );
      await load.goesOn();
      const witness = ioredisClient([second]);
      clients.push(witness);
      await load.end(witness);
      expect(load.breaches).toEqual([]);
      expect([...load.errors]).toEqual([]);

      await isClean(first);
      expect(ownerOf(await nodesOf(first), 199)?.id).toBe(target);
      const found = await runAll(
        second,
        keys.map(({ name }) => ["get", name]),
      );
      expect(found).toEqual(keys.map(({ value }) => `$${value.length}\r\n${value}\r\n`));
      const expiring = keys.filter(({ isExpiring }) => isExpiring);
      for (const reply of await runAll(
        second,
        expiring.map(({ name }) => ["ttl", name]),
      )) {
        expect(Number(reply?.slice(1))).toBeWithin(90_000, 100_001);
      }
      expect(await ask(second, `strlen ${tags.get(100)}:large`)).toBe(`:${large.length}\r\n`);
      for (const slot of [0, 100, 199]) expect(await ask(first, `cluster countkeysinslot ${slot}`)).toBe(":0\r\n");
    },
    LIMIT_MS,
  );

  test(
    "import: the keys of a redis-server come in",
    async () => {
      const countAll = async (): Promise<number> => {
        return (await Promise.all([first, second, third].map(size))).reduce((sum, count) => sum + count, 0);
      };
      const before = await countAll();
      const redis = await startRedisServer({ port: 22_329 });
      try {
        const names = Array.from({ length: 200 }, (_, index) => `key:${index}`);
        await runAll(
          redis.port,
          names.map((name) => ["set", name, `value of ${name}`]),
        );
        await cluster("import", at(second), "--cluster-from", at(redis.port));
        expect(await countAll()).toBe(before + names.length);
        expect(await size(redis.port)).toBe(0);
        clients = [ioredisClient([first])];
        for (const name of names) expect(await clients[0]?.get(name)).toBe(`value of ${name}`);
      } finally {
        await redis.stop();
      }
    },
    LIMIT_MS,
  );

  test(
    "fix: a slot that was left open is closed, and no key is lost, in each of the ways in which that can be",
    async () => {
      const ids = new Map(
        await Promise.all([first, second, third].map(async (port) => [port, await idOf(port)] as const)),
      );
      const id = (port: number): string => ids.get(port) ?? "";
      const portOf = async (slot: number): Promise<number> => {
        const owner = ownerOf(await nodesOf(third), slot)?.id;
        return [first, second, third].find((port) => id(port) === owner) ?? 0;
      };
      const fill = async (slot: number, port: number): Promise<string> => {
        const tag = tagOf(slot);
        const lines = ["a", "b", "c"].map((name) => ["set", `${tag}${name}`, name]);
        expect(await runAll(port, lines)).toEqual(["+OK\r\n", "+OK\r\n", "+OK\r\n"]);
        return tag;
      };
      const holds = async (tag: string, slot: number, port: number): Promise<void> => {
        expect(await portOf(slot)).toBe(port);
        expect(await ask(port, `mget ${tag}a ${tag}b ${tag}c`)).toBe("*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
        for (const other of [first, second, third]) {
          if (other !== port) expect(await ask(other, `cluster countkeysinslot ${slot}`)).toBe(":0\r\n");
        }
      };

      // 1. Both marks. Where keys have gone, redis-cli gathers them where most of them are; else it goes on.
      const tags: string[] = [];
      for (const [slot, gone] of [
        [301, "a"],
        [306, "ab"],
        [307, ""],
      ] as const) {
        const own = await fill(slot, first);
        tags.push(own);
        await setSlot(second, `${slot} importing ${id(first)}`);
        await setSlot(first, `${slot} migrating ${id(second)}`);
        for (const name of gone) {
          expect(await ask(first, `migrate 127.0.0.1 ${second} ${own}${name} 0 1000`)).toBe("+OK\r\n");
        }
      }
      const [one = "", six = "", seven = ""] = tags;
      // 2. One takes in, and nobody sends; a key has come there.
      const two = await fill(302, first);
      expect(await ask(first, `del ${two}b`)).toBe(":1\r\n");
      await setSlot(second, `302 importing ${id(first)}`);
      expect(await runAll(second, [["asking"], ["set", `${two}b`, "b"]])).toEqual(["+OK\r\n", "+OK\r\n"]);
      // 3. Two take in, and have nothing.
      const three = await fill(303, first);
      await setSlot(second, `303 importing ${id(first)}`);
      await setSlot(first, `303 migrating ${id(second)}`);
      await setSlot(third, `303 importing ${id(first)}`);
      // 4. One sends, and nobody takes in.
      const four = await fill(304, first);
      await setSlot(first, `304 migrating ${id(third)}`);

      const { code, said } = await redisCli("--cluster", "fix", at(third));
      expect(code, said).toBe(0);
      for (const which of [1, 2, 3, 4]) expect(said).toContain(`Case ${which}:`);
      await isClean(second);
      await holds(one, 301, first);
      await holds(six, 306, second);
      await holds(seven, 307, second);
      await holds(two, 302, first);
      await holds(three, 303, second);
      await holds(four, 304, first);

      // Nobody owns it: who has keys of it gets it.
      await setSlot(second, `305 importing ${id(first)}`);
      const tag = tagOf(305);
      for (const name of ["a", "b", "c"]) {
        expect(await runAll(second, [["asking"], ["set", `${tag}${name}`, name]])).toEqual(["+OK\r\n", "+OK\r\n"]);
      }
      expect(await ask(first, "cluster delslots 305")).toBe("+OK\r\n");
      const unowned = await redisCliTold("yes\n", "--cluster", "fix", at(first));
      expect(unowned.code, unowned.said).toBe(0);
      await isClean(first);
      await holds(tag, 305, second);
    },
    LIMIT_MS,
  );

  test(
    "fix: slots that were left open are closed while clients write to them, and no client sees an older value",
    async () => {
      // Where keys are at both sides, redis-cli takes the slot from its owner and gives it back: for a moment it is nobody's (CLUSTERDOWN). node-redis leaves that to
      // whoever called it, ioredis asks again.
      const [source, target] = [await idOf(first), await idOf(second)];
      // Both marks, with keys at both sides; one takes in, and nobody sends; one sends, and nobody takes in.
      const [both, takenIn, sent] = [310, 311, 312];
      clients = [ioredisClient([first, second]), ioredisClient([first, second])];
      const loads = [both, takenIn, sent].map(
        (slot) => new ClusterLoad(clients, { writers: 1, readers: 1, keys: 10, prefix: `${tagOf(slot)}fix` }),
      );
      try {
        for (const each of loads) await each.goesOn();
        await setSlot(second, `${both} importing ${source}`);
        await setSlot(first, `${both} migrating ${target}`);
        const names = await keysIn(first, both);
        expect(names.length).toBe(20);
        const half = names.slice(0, 10);
        expect(
          await runAll(first, [["migrate", "127.0.0.1", String(second), "", "0", "5000", "keys", ...half]]),
        ).toEqual(["+OK\r\n"]);
        expect(await keysIn(second, both)).toHaveLength(10);
        await setSlot(second, `${takenIn} importing ${source}`);
        await setSlot(first, `${sent} migrating ${await idOf(third)}`);
        // All keys are written, those on the other side by way of ASK.
        for (const each of loads) await each.goesOn();
        await cluster("fix", at(third));
        for (const each of loads) await each.goesOn();
        await isClean(third);
        const witness = ioredisClient([third]);
        clients.push(witness);
        for (const each of loads) {
          await each.end(witness);
          expect(each.breaches).toEqual([]);
          expect([...each.errors]).toEqual([]);
        }
        for (const slot of [both, takenIn, sent]) {
          const sides = await Promise.all([first, second, third].map((port) => keysIn(port, slot)));
          expect(sides.map(({ length }) => length).toSorted((one, other) => one - other)).toEqual([0, 0, 20]);
        }
        expect(await ask(third, "cluster map")).not.toContain("openSlots");
      } finally {
        for (const each of loads) each.stop();
      }
    },
    LIMIT_MS,
  );
});

describe.skipIf(!needsRedisServer())("redis-cli --cluster under load", () => {
  test(
    "add-node beside a replica that was just killed, rebalance onto the node, rebalance away from it, del-node: keys go there and back, and no client sees an error",
    async () => {
      const [first, second, third, replica, added] = [22_330, 22_331, 22_332, 22_333, 22_334];
      const [one, two, three] = await startThree(first);
      if (one === undefined || two === undefined || three === undefined) throw new Error("three nodes are started");
      nodes.push(one, two, three);
      const seeds = ["--join", busAddresses(first, second, third)];
      const dying = runNode(replica, ...seeds, "--replica-of", `node-${third}`, ...FLAGS);
      nodes.push(dying, runNode(added, "--empty", ...FLAGS));
      await askUntil(added, "ping", "PONG");
      await askUntil(third, "info replication", /slave0:.*state=online.*in_sync=1/);
      clients = [ioredisClient([first]), await nodeRedisClient([first])];
      const [client] = clients;
      if (client === undefined) throw new Error("two clients are there");
      const names = Array.from({ length: 500 }, (_, index) => `key:${index}`);
      await Promise.all(names.map((name) => client.set(name, name)));
      // All keys that it writes are in the slots that go to the new node and come back: the first ones of each shard.
      load = new ClusterLoad(clients, {
        writers: 2,
        readers: 1,
        keys: 6,
        prefix: "load",
        isMeant: (slot) => [0, 5461, 10_923].some((from) => slot >= from && slot < from + 10),
      });
      await load.goesOn();

      dying.kill("SIGKILL");
      await dying.exited;
      await cluster("add-node", at(added), at(first));
      const id = await idOf(added);
      await agreed([first, second, third, added], (known) => known.length === 5);
      await load.goesOn();
      // A small weight, since a slot takes a dozen commands.
      const moved = await cluster(
        "rebalance",
        at(first),
        "--cluster-weight",
        `${id}=0.01`,
        "--cluster-use-empty-masters",
      );
      expect(moved).toContain("Rebalancing across 4 nodes");
      await isClean(second);
      for (const slot of [0, 5461, 10_923]) expect(ownerOf(await nodesOf(first), slot)?.id).toBe(id);
      await load.goesOn();

      await cluster("rebalance", at(first), "--cluster-weight", `${id}=0`);
      await isClean(third);
      expect(await size(added)).toBe(0);
      await load.goesOn();
      expect(await cluster("del-node", at(first), id)).toContain("Sending CLUSTER RESET SOFT to the deleted node");
      await isClean(first);
      expect(await complaintsOf(load, [first])).toEqual([]);
      expect(await Promise.all(names.map((name) => client.get(name)))).toEqual(names);
      const counts = await Promise.all([first, second, third].map(size));
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(names.length + 2 * 2 * 6);
    },
    LIMIT_MS,
  );

  test(
    "fix after kill -9 of the one who sends, and of the one who takes in, midway: their replicas go on",
    async () => {
      // The usual leases: somebody takes over.
      const six = await SixNodes.start(22_340, ["--raft-max-voters", "5", "--replication-lag-ms", "5000"]);
      const witness = six.ports[5] ?? 0;
      for (const victim of ["source", "target"] as const) {
        const shards = await six.whole();
        const [source, target] = shards;
        if (source === undefined || target === undefined) throw new Error("three shards");
        const asked = six.ports.find((port) => ![source.primary, target.primary].includes(port)) ?? witness;
        const { slot } = source;
        const tag = tagOf(slot);
        const names = Array.from({ length: 20 }, (_, index) => `${tag}${victim}${index}`);
        expect(
          new Set(
            await runAll(
              source.primary,
              names.map((name) => ["set", name, name]),
            ),
          ),
        ).toEqual(new Set(["+OK\r\n"]));
        await setSlot(target.primary, `${slot} importing ${await idOf(source.primary)}`);
        await setSlot(source.primary, `${slot} migrating ${await idOf(target.primary)}`);
        const half = names.slice(0, 10);
        expect(
          await runAll(source.primary, [
            ["migrate", "127.0.0.1", String(target.primary), "", "0", "5000", "keys", ...half],
          ]),
        ).toEqual(["+OK\r\n"]);
        const dead = victim === "source" ? source : target;
        // Whatever is under way then.
        void runAll(source.primary, [
          ["migrate", "127.0.0.1", String(target.primary), "", "0", "5000", "keys", ...names.slice(10, 15)],
        ]).catch(() => undefined);
        expect(await six.end(dead.primary, "SIGKILL")).not.toBe(0);
        await six.successor(dead, asked);
        six.start(dead.primary);
        await six.whole();
        await until(
          () => redisCli("--cluster", "fix", at(asked)),
          ({ code }) => code === 0,
          "fix to succeed",
        );
        await isClean(asked);
        const client = ioredisClient([asked]);
        clients.push(client);
        for (const name of names) expect(await client.get(name)).toBe(name);
        expect(await ask(asked, "cluster map")).not.toContain("openSlots");
      }
    },
    LIMIT_MS,
  );
});
