/** Real processes become clusters: by seeds, by number, with a secret; and what must not make or change one does not. */
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { agreed, ask, askUntil, nodesOf, redisCli, until } from "../support/ask-nodes.ts";
import { type BunchProcess, endLeftovers, runBunch } from "../support/bunch-server.ts";
import { busAddresses, busPort, runNode } from "../support/node-processes.ts";
import { needsRedisServer } from "../support/redis-server.ts";
import { type TestRandom, makeRandom } from "../support/test-random.ts";

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 120_000;

const directory = mkdtempSync(join(tmpdir(), "bunch-formation-"));
afterEach(endLeftovers, LIMIT_MS);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function kill(node: BunchProcess | undefined): Promise<void> {
  node?.kill("SIGKILL");
  await node?.exited;
}

/** What a client reads and writes that follows redirects. */
async function client(port: number, ...command: readonly string[]): Promise<string> {
  return (await redisCli("-c", "-p", String(port), ...command)).said.trim();
}

describe("--join", () => {
  test.skipIf(!needsRedisServer())(
    "three nodes in three terminals are one cluster",
    async () => {
      const ports = [23_100, 23_101, 23_102];
      const [first = 0, second = 0, third = 0] = ports;
      const nodes = [
        runNode(first),
        runNode(second, "--join", busAddresses(first)),
        runNode(third, "--join", busAddresses(first)),
      ];
      await Promise.all(nodes.map((node) => node.until("takes part")));
      const map = await agreed(ports, (each) => each.length === 3);
      expect(map.map(({ slots }) => slots).filter((slots) => slots !== "")).toEqual(["0-16383"]);
      expect(map.map(({ flags }) => flags)).toEqual(["master", "master", "master"]);
      expect(await client(second, "set", "foo", "bar")).toBe("OK");
      for (const port of ports) expect(await client(port, "get", "foo")).toBe("bar");
    },
    LIMIT_MS,
  );

  test(
    "a seed list that names the node alone founds nothing; it joins a cluster that it meets, whoever is told",
    async () => {
      const [first, second, third] = [23_105, 23_106, 23_107] as const;
      const alone = [runNode(first, "--join", busAddresses(first)), runNode(second, "--join", busAddresses(second))];
      await alone[0]?.until(`waiting node node-${first} for a cluster at ${busAddresses(first)}`);
      await alone[1]?.until(`waiting node node-${second} for a cluster at ${busAddresses(second)}`);
      for (const port of [first, second]) {
        expect(await nodesOf(port)).toHaveLength(1);
        expect(await ask(port, "set foo bar")).toStartWith("-CLUSTERDOWN");
      }
      // Whoever is told to meet the other: one that waits, or the cluster.
      await runNode(third).until("takes part");
      expect(await ask(first, `cluster meet 127.0.0.1 ${third} ${busPort(third)}`)).toBe("+OK\r\n");
      expect(await ask(third, `cluster meet 127.0.0.1 ${second} ${busPort(second)}`)).toBe("+OK\r\n");
      await Promise.all(alone.map((node) => node.until("takes part")));
      await agreed([first, second, third], (nodes) => nodes.length === 3);
    },
    LIMIT_MS,
  );

  test(
    "seeds that are down, wrong or the node itself do no harm beside a good one",
    async () => {
      const [first, second] = [23_110, 23_111] as const;
      const seed = runNode(first);
      await seed.until("takes part");
      // Nobody listens there; the port is the clients'; its own; the name is nobody's.
      const seeds = `127.0.0.1:23119,127.0.0.1:${first},${busAddresses(second)},nowhere.invalid:23610,${busAddresses(first)}`;
      const node = runNode(second, "--join", seeds);
      await node.until("takes part");
      await agreed([first, second], (nodes) => nodes.length === 2);
      expect(await ask(first, "ping")).toBe("+PONG\r\n");
    },
    LIMIT_MS,
  );
});

describe("--bootstrap-expect", () => {
  test(
    "ten nodes that start at the same moment are one cluster, and one that is killed comes back into it with the same flags",
    async () => {
      const ports = Array.from({ length: 10 }, (_, at) => 23_120 + at);
      const [first = 0, second = 0, third = 0] = ports;
      const flags = ["--join", busAddresses(first, second, third), "--bootstrap-expect", "10", "--replicas", "1"];
      const nodes = ports.map((port) => runNode(port, ...flags));
      await Promise.all(nodes.map((node) => node.until("takes part")));
      const map = await agreed(ports, (each) => each.length === 10);
      const primaries = map.filter((node) => node.flags === "master");
      const sizes = primaries.map(({ slots }) => {
        const [from = 0, to = 0] = slots.split("-").map(Number);
        return to - from + 1;
      });
      expect(sizes.toSorted((a, b) => a - b)).toEqual([3276, 3277, 3277, 3277, 3277]);
      const replicas = map.filter((node) => node.flags === "slave").map(({ primary }) => primary);
      expect(replicas.toSorted()).toEqual(primaries.map(({ id }) => id).toSorted());
      const cluster = clusterOf(nodes[0]);
      expect(new Set(nodes.map(clusterOf))).toEqual(new Set([cluster]));

      // Memory only: it knows of nothing.
      await kill(nodes[5]);
      const again = runNode(ports[5] ?? 0, ...flags);
      await again.until("takes part");
      expect(clusterOf(again)).toBe(cluster);
      const strip = ({ id, primary, slots }: (typeof map)[number]): unknown => ({ id, primary, slots });
      const after = await agreed(ports, (each) => each.length === 10 && each.every((node) => !/fail/.test(node.flags)));
      expect(after.map(strip)).toEqual(map.map(strip));
    },
    LIMIT_MS,
  );
});

/** The cluster that a node says it takes part in. */
function clusterOf(node: BunchProcess | undefined): string {
  return /takes part in cluster ([0-9a-f]+)/.exec(node?.output() ?? "")?.[1] ?? "none";
}

describe("a cluster secret", () => {
  test(
    "is known to all of a cluster: who has another, or none, stays out, and both sides say why without it",
    async () => {
      const [first, second, third, fourth] = [23_140, 23_141, 23_142, 23_143] as const;
      const file = join(directory, "secret.txt");
      writeFileSync(file, "known-to-all-of-them\n");
      const members = [
        runNode(first, "--secret-file", file),
        runNode(second, "--secret-file", file, "--join", busAddresses(first)),
      ];
      await Promise.all(members.map((node) => node.until("takes part")));
      const map = await agreed([first, second], (nodes) => nodes.length === 2);
      const strangers = [
        runNode(third, "--secret", "known-to-nobody-else", "--join", busAddresses(first)),
        runNode(fourth, "--join", busAddresses(first)),
      ];
      for (const stranger of strangers) {
        await stranger.until("bus link refused");
        await stranger.until("for a cluster at");
      }
      await members[0]?.until("has another cluster secret");
      // Met, they stay out as well.
      for (const port of [third, fourth]) await ask(first, `cluster meet 127.0.0.1 ${port} ${busPort(port)}`);
      expect(await agreed([first, second], () => true)).toEqual(map);
      for (const port of [third, fourth]) expect(await nodesOf(port)).toHaveLength(1);
      for (const node of [...members, ...strangers]) {
        expect(node.output()).not.toContain("known-to");
        // Whoever tries again says nothing new.
        expect(node.output().match(/bus link refused/g)?.length ?? 0).toBeLessThanOrEqual(4);
      }
    },
    LIMIT_MS,
  );

  test(
    "keeps strangers out who send anything, of any size, to the bus port",
    async () => {
      const [first, second] = [23_145, 23_146] as const;
      const flags = ["--secret", "known-to-both-of-them"];
      const nodes = [runNode(first, ...flags), runNode(second, ...flags, "--join", busAddresses(first))];
      await Promise.all(nodes.map((node) => node.until("takes part")));
      const map = await agreed([first, second], (each) => each.length === 2);
      const random = makeRandom("strangers");
      await attack(busPort(first), random, 50);
      const before = residentBytes(nodes[0]);
      await attack(busPort(first), random, 500);
      await askUntil(first, "ping", "PONG");
      expect(residentBytes(nodes[0]) - before).toBeLessThan(64 * 1024 * 1024);
      expect(await agreed([first, second], () => true)).toEqual(map);
      await until(
        () => ask(first, "info cluster"),
        (info) => info.includes("members_alive:2\r\n"),
        "both to be alive",
      );
    },
    LIMIT_MS,
  );
});

function residentBytes(node: BunchProcess | undefined): number {
  const status = readFileSync(`/proc/${node?.processId ?? 0}/status`, "utf8");
  return 1024 * Number(/VmRSS:\s+([0-9]+)/.exec(status)?.[1]);
}

/** Sends what no node would to a bus port, as streams and as datagrams, `count` times each. */
async function attack(port: number, random: TestRandom, count: number): Promise<void> {
  const header = (length: number, channel: number): Uint8Array => {
    const bytes = new Uint8Array(5);
    new DataView(bytes.buffer).setUint32(0, length, true);
    bytes[4] = channel;
    return bytes;
  };
  const streams: readonly (() => Uint8Array)[] = [
    () => random.bytes(1 + random.below(4096)),
    () => Buffer.concat([header(0xff_ff_ff_ff, random.below(8)), random.bytes(10_000)]),
    // Whole, and of the channel on which nodes prove who they are; and a beginning of one.
    () => Buffer.concat([header(100, 0), random.bytes(100)]),
    () => Buffer.concat([header(1000, 0), random.bytes(random.below(1000))]),
    () => Buffer.from("GET / HTTP/1.1\r\nHost: nowhere\r\n\r\n"),
    () => new Uint8Array(random.below(2)),
  ];
  const datagrams = await Bun.udpSocket({ hostname: "127.0.0.1" });
  for (let sent = 0; sent < count; sent += 1) {
    datagrams.send(random.bytes(random.pick([0, 1, 30, 200, 1399, 1400, 9000, 60_000])), port, "127.0.0.1");
    const closed = Promise.withResolvers<void>();
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: { data: () => undefined, close: () => closed.resolve(), error: () => closed.resolve() },
    });
    socket.write(random.pick(streams)());
    // Some go, some wait to be thrown out.
    if (random.below(10) > 0) socket.end();
    else if (sent % 100 === 0) await closed.promise;
  }
  datagrams.close();
}

describe("a node with a data directory", () => {
  test.skipIf(!needsRedisServer())(
    "that comes back on other ports is the same node for all, and serves its slots there",
    async () => {
      const ports = [23_150, 23_151, 23_152];
      const [first = 0, second = 0, third = 0] = ports;
      const moved = 23_153;
      const flags = (port: number): readonly string[] => ["--data-dir", join(directory, `node-${port}`)];
      const founding = ["--join", busAddresses(...ports), "--bootstrap-expect", "3"];
      const nodes = ports.map((port) => runNode(port, ...flags(port), ...founding));
      await Promise.all(nodes.map((node) => node.until("takes part")));
      const map = await agreed(ports, (each) => each.length === 3);
      const before = map.find(({ address }) => address.startsWith(`127.0.0.1:${third}@`));
      await kill(nodes[2]);
      const args = ["node", "--port", String(moved), "--bus-port", String(busPort(moved)), ...flags(third)];
      // It remembers where the others are: nobody has to tell it.
      const highest = Math.max(...(await nodesOf(first)).map(({ epoch }) => Number(epoch)));
      const again = runBunch(args);
      await again.until("takes part");
      const after = await agreed([first, second, moved], (each) =>
        each.some(({ address }) => address === `127.0.0.1:${moved}@${busPort(moved)}`),
      );
      expect(after).toHaveLength(3);
      expect(after.find(({ id }) => id === before?.id)).toEqual({
        ...before,
        address: `127.0.0.1:${moved}@${busPort(moved)}`,
        id: before?.id ?? "",
        // Its keys are gone, and so is its log: what it writes from here on is of another epoch.
        epoch: String(highest + 1),
        flags: "master",
        primary: "-",
        slots: before?.slots ?? "",
      });
      for (const key of ["foo", "bar", "hello"]) {
        expect(await client(first, "set", key, "value")).toBe("OK");
        for (const port of [first, second, moved]) expect(await client(port, "get", key)).toBe("value");
      }
      expect(await ask(moved, "dbsize")).not.toBe(":0\r\n");
    },
    LIMIT_MS,
  );

  test(
    "that starts where another cluster had a node is refused by that one, and nothing merges",
    async () => {
      const [x, formerX, y, contested] = [23_160, 23_161, 23_162, 23_163] as const;
      const start = (name: string, port: number, ...more: readonly string[]): BunchProcess =>
        runBunch([
          "node",
          "--name",
          name,
          "--port",
          String(port),
          "--bus-port",
          String(busPort(port)),
          "--data-dir",
          join(directory, name),
          ...more,
        ]);
      const nodesOfX = [start("x-1", x), start("x-2", formerX, "--join", busAddresses(x))];
      const nodesOfY = [start("y-1", y), start("y-2", contested, "--join", busAddresses(y))];
      await Promise.all([...nodesOfX, ...nodesOfY].map((node) => node.until("takes part")));
      const mapOfX = await agreed([x, formerX], (nodes) => nodes.length === 2);
      const mapOfY = await agreed([y, contested], (nodes) => nodes.length === 2);
      const [clusterOfX, clusterOfY] = await Promise.all([fullClusterId(x), fullClusterId(y)]);
      expect(clusterOfX).not.toBe(clusterOfY);

      await Promise.all([kill(nodesOfX[1]), kill(nodesOfY[1])]);
      const stray = start("x-2", contested);
      await stray.until("takes part in cluster");
      for (const node of [nodesOfY[0], stray]) {
        await node?.until("bus link refused");
        const line = node
          ?.output()
          .split("\n")
          .find((each) => each.includes("bus link refused"));
        expect(line).toContain(clusterOfX);
        expect(line).toContain(clusterOfY);
      }
      const ids = (nodes: readonly { readonly id: string }[]): readonly string[] => nodes.map(({ id }) => id);
      const after = await agreed([x, contested], (nodes) =>
        nodes.some(({ address }) => address.startsWith(`127.0.0.1:${contested}@`)),
      );
      expect(ids(after)).toEqual(ids(mapOfX));
      expect(ids(await nodesOf(y))).toEqual(ids(mapOfY));
      // The one whose place was taken comes back elsewhere.
      const back = start("y-2", 23_164);
      await back.until("takes part");
      expect(ids(await agreed([y, 23_164], (nodes) => nodes.length === 2))).toEqual(ids(mapOfY));
      expect(ids(await nodesOf(x))).toEqual(ids(mapOfX));
    },
    LIMIT_MS,
  );
});

async function fullClusterId(port: number): Promise<string> {
  return /raft_group:([0-9a-f]{40})/.exec(await ask(port, "info cluster"))?.[1] ?? "none";
}
