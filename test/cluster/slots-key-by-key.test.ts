/**
 * redis-cli moves slots between real nodes, key by key, as it does with Redis' own: reshard, rebalance, fix, import, del-node; under load, and with nodes that are killed midway.
 *
 * Leases are long here, so that a machine with much else to do interrupts nobody: redis-cli gives up when a node answers that it has none.
 */
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { type NodeLine, agreed, ask, askUntil, nodesOf, redisCli, redisCliTold, until } from "../support/ask-nodes.ts";
import { type BunchProcess, endLeftovers } from "../support/bunch-server.ts";
import { ClusterLoad, ioredisClient, type LoadClient, nodeRedisClient, slotOf } from "../support/cluster-load.ts";
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

/** Three primaries on ports from this one on. */
async function startThree(first: number): Promise<readonly [number, number, number]> {
  const ports = [first, first + 1, first + 2] as const;
  const founding = ["--join", busAddresses(...ports), "--bootstrap-expect", "3"];
  nodes.push(...ports.map((port) => runNode(port, ...founding, ...FLAGS)));
  for (const port of ports) await askUntil(port, "cluster info", "cluster_state:ok");
  return ports;
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
      return slot >= from && slot <= to;
    }),
  );
}

describe.skipIf(!needsRedisServer())("redis-cli --cluster", () => {
  test(
    "reshard: 200 slots with 5000 keys go over under load, and no client sees an error or an older value",
    async () => {
      const [first, second] = await startThree(21_100);
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
    "add-node, rebalance onto it, rebalance away from it, del-node: keys go there and back",
    async () => {
      const [first, second, third] = await startThree(21_110);
      const added = 21_113;
      nodes.push(runNode(added, "--empty", ...FLAGS));
      await askUntil(added, "ping", "PONG");
      clients = [ioredisClient([first])];
      const [client] = clients;
      const names = Array.from({ length: 500 }, (_, index) => `key:${index}`);
      for (const name of names) await client?.set(name, name);
      await cluster("add-node", at(added), at(first));
      const id = await idOf(added);
      await agreed([first, second, third, added], (known) => known.length === 4);
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
      const owned = ownerOf(await nodesOf(first), 0)?.id;
      expect(owned).toBe(id);
      const counts = await Promise.all([first, second, third, added].map(size));
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(names.length);
      for (const name of names) expect(await client?.get(name)).toBe(name);

      await cluster("rebalance", at(first), "--cluster-weight", `${id}=0`);
      await isClean(third);
      expect(await size(added)).toBe(0);
      expect(await cluster("del-node", at(first), id)).toContain("Sending CLUSTER RESET SOFT to the deleted node");
      await isClean(first);
      for (const name of names) expect(await client?.get(name)).toBe(name);
    },
    LIMIT_MS,
  );

  test(
    "fix: a slot that was left open is closed, and no key is lost, in each of the ways in which that can be",
    async () => {
      const [first, second, third] = await startThree(21_120);
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
        [1, "a"],
        [6, "ab"],
        [7, ""],
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
      const two = await fill(2, first);
      expect(await ask(first, `del ${two}b`)).toBe(":1\r\n");
      await setSlot(second, `2 importing ${id(first)}`);
      expect(await runAll(second, [["asking"], ["set", `${two}b`, "b"]])).toEqual(["+OK\r\n", "+OK\r\n"]);
      // 3. Two take in, and have nothing.
      const three = await fill(3, first);
      await setSlot(second, `3 importing ${id(first)}`);
      await setSlot(first, `3 migrating ${id(second)}`);
      await setSlot(third, `3 importing ${id(first)}`);
      // 4. One sends, and nobody takes in.
      const four = await fill(4, first);
      await setSlot(first, `4 migrating ${id(third)}`);

      const { code, said } = await redisCli("--cluster", "fix", at(third));
      expect(code, said).toBe(0);
      for (const which of [1, 2, 3, 4]) expect(said).toContain(`Case ${which}:`);
      await isClean(second);
      await holds(one, 1, first);
      await holds(six, 6, second);
      await holds(seven, 7, second);
      await holds(two, 2, first);
      await holds(three, 3, second);
      await holds(four, 4, first);

      // Nobody owns it: who has keys of it gets it.
      await setSlot(second, `5 importing ${id(first)}`);
      const tag = tagOf(5);
      for (const name of ["a", "b", "c"]) {
        expect(await runAll(second, [["asking"], ["set", `${tag}${name}`, name]])).toEqual(["+OK\r\n", "+OK\r\n"]);
      }
      expect(await ask(first, "cluster delslots 5")).toBe("+OK\r\n");
      const unowned = await redisCliTold("yes\n", "--cluster", "fix", at(first));
      expect(unowned.code, unowned.said).toBe(0);
      await isClean(first);
      await holds(tag, 5, second);
    },
    LIMIT_MS,
  );

  test(
    "import: the keys of a redis-server come in",
    async () => {
      const [first, second, third] = await startThree(21_130);
      const redis = await startRedisServer({ port: 21_139 });
      try {
        const names = Array.from({ length: 200 }, (_, index) => `key:${index}`);
        await runAll(
          redis.port,
          names.map((name) => ["set", name, `value of ${name}`]),
        );
        await cluster("import", at(second), "--cluster-from", at(redis.port));
        const counts = await Promise.all([first, second, third].map(size));
        expect(counts.reduce((sum, count) => sum + count, 0)).toBe(names.length);
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
    "fix after kill -9 of the one who sends, and of the one who takes in, midway: their replicas go on",
    async () => {
      // The usual leases: somebody takes over.
      const six = await SixNodes.start(21_140, ["--raft-max-voters", "5", "--replication-lag-ms", "5000"]);
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
