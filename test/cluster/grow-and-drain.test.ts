/**
 * An operator grows a loaded cluster of three nodes to six, drains the first three and stops them, by the command line, with the settings that nodes have by default:
 * clients of both kinds are answered with no error, and lose nothing. (What node-redis itself gives up when a node has no slots any more is told in `complaintsOf`.)
 *
 * The first of the old and the first of the new nodes have a replica, so that slots with two copies have somewhere to go, and others have not. What has been drained
 * is stopped while slots of the others are on their way. A member that is silent for a while leaves the in-sync set in a second, as it should: then the plan's
 * moves wait for it, and so does this.
 */
import { afterAll, afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { agreed, ask, askUntil, nodesOf } from "../support/ask-nodes.ts";
import { type BunchProcess, endLeftovers, runBunch } from "../support/bunch-server.ts";
import { ClusterLoad, complaintsOf, ioredisClient, type LoadClient, nodeRedisClient } from "../support/cluster-load.ts";
import { busAddresses, runNode } from "../support/node-processes.ts";

const LIMIT_MS = 300_000;
const OLD = [22_300, 22_301, 22_302] as const;
const NEW = [22_303, 22_304, 22_305] as const;
const [OLD_REPLICA, NEW_REPLICA] = [22_306, 22_307] as const;
const SEEDS = ["--join", busAddresses(...OLD, ...NEW)];
const BALLAST = Array.from({ length: 20_000 }, (_, at) => `ballast:${at}`);
/** Holds what moves up for as long as it takes to look, and to stop nodes meanwhile. */
const SLOW_BYTES_PER_SECOND = 2000;

const directory = mkdtempSync(join(tmpdir(), "bunch-grow-"));
const running = new Map<number, BunchProcess>();
let clients: readonly LoadClient[] = [];
let load: ClusterLoad | undefined;

afterEach(() => {
  load?.stop();
  for (const client of clients) client.close();
});
afterAll(async () => {
  await endLeftovers();
  rmSync(directory, { recursive: true });
}, LIMIT_MS);

function start(port: number, ...flags: readonly string[]): void {
  running.set(port, runNode(port, ...SEEDS, ...flags));
}

/** Stops a node in order, and waits until it is gone. */
async function stop(port: number): Promise<void> {
  const node = running.get(port);
  node?.kill("SIGTERM");
  expect(await node?.exited, node?.output()).toBe(0);
}

/** Runs the command line on the cluster, by a node that stays, which must succeed. @returns What it said. */
async function bunch(...args: readonly string[]): Promise<string> {
  return succeeded(runBunch([...args, "--node", `127.0.0.1:${NEW[0]}`]));
}

async function succeeded(child: BunchProcess): Promise<string> {
  const code = await child.exited;
  expect(code, child.output()).toBe(0);
  return child.output();
}

/** How many slots a node owns, as another one has it. */
async function slotsAt(port: number): Promise<number> {
  const ranges = (await nodesOf(NEW[0])).find(({ address }) => address.includes(`:${port}@`))?.slots ?? "";
  return ranges.split(" ").reduce((sum, range) => {
    const [first = Number.NaN, last = first] = range.split("-").map(Number);
    return range === "" ? sum : sum + last - first + 1;
  }, 0);
}

/** Holds the bars that `bunch apply` has shown against each other and against the plan. */
function expectSense(said: string, moves: number): void {
  const bars = said.matchAll(/^([0-9a-f]{8}) {2}\[(#*)(-*)\] +(?:(\d+)%)? {2}(node-\d+ -> node-\d+) {2}(.*)$/gm);
  const tasks = new Map<string, { way: string; percent: number; words: string }>();
  for (const [line, id = "", full = "", empty = "", shown = "0", way = "", words = ""] of bars) {
    const percent = Number(shown);
    expect(full.length + empty.length, line).toBe(24);
    expect(full.length, line).toBeWithin(Math.floor((percent / 100) * 24), Math.floor(((percent + 1) / 100) * 24) + 1);
    const before = tasks.get(id);
    expect(before?.way ?? way, line).toBe(way);
    if (!words.includes("begun again")) expect(percent, said).toBeGreaterThanOrEqual(before?.percent ?? 0);
    // Nobody says that it is done before it is.
    expect(percent === 100, line).toBe(/ done in \d/.test(line));
    tasks.set(id, { way, percent, words });
  }
  expect(tasks.size, said).toBe(moves);
  for (const { percent, words } of tasks.values()) {
    expect(percent, said).toBe(100);
    expect(words, said).toMatch(/ done in \d.* s, commands held for \d+ ms$/);
  }
  expect(said).toMatch(new RegExp(`^done: ${moves} of ${moves} moves? in \\d`, "m"));
}

/** How many moves a plan has that was shown: the rows between the head of its second table and the sum. */
function movesIn(said: string): number {
  return [...said.matchAll(/^│ node-\d+ +│ node-\d+ +│/gm)].length;
}

test(
  "three nodes become six, and the first three go",
  async () => {
    for (const port of OLD) start(port, "--bootstrap-expect", "3");
    start(OLD_REPLICA, "--replica-of", `node-${OLD[0]}`);
    for (const port of OLD) await askUntil(port, "cluster info", "cluster_state:ok");
    await askUntil(OLD[0], "info replication", /slave0:.*state=online.*in_sync=1/);
    const writer = ioredisClient(OLD);
    clients = [writer, await nodeRedisClient(OLD)];
    await Promise.all(BALLAST.map((key) => writer.set(key, key)));
    load = new ClusterLoad(clients, { writers: 4, readers: 1, keys: 15, prefix: "growing" });
    await load.goesOn();

    for (const port of NEW) start(port);
    start(NEW_REPLICA);
    const joined = await agreed([...OLD, ...NEW, NEW_REPLICA], (nodes) => nodes.length === 8);
    // Before it has slots: it gets none from shards with more copies.
    const ready = joined.find(({ address }) => address.includes(`:${NEW[0]}@`))?.id;
    expect(await ask(NEW_REPLICA, `cluster replicate ${ready}`)).toBe("+OK\r\n");
    await askUntil(NEW[0], "info replication", /slave0:.*state=online.*in_sync=1/);

    // Grow.
    const plan = join(directory, "plan.json");
    const planned = await bunch("plan", "rebalance", "--out", plan);
    for (const port of NEW) expect(planned).toMatch(new RegExp(`│ node-${port} │ +0 -> 2 [67]\\d\\d │`));
    const grown = await bunch("apply", plan, "--yes");
    expectSense(grown, movesIn(planned));
    for (const port of [...OLD, ...NEW]) expect(await slotsAt(port)).toBeWithin(2600, 2850);
    await load.goesOn();

    // Drain the first, whose slots go where there are two copies.
    const drain = await bunch("plan", "drain", `node-${OLD[0]}`, "--out", plan);
    expect(drain).toMatch(new RegExp(`│ node-${OLD[0]} +│ node-${NEW[0]} +│`));
    expect(movesIn(drain)).toBe(1);
    const drained = await bunch("apply", plan, "--yes");
    expectSense(drained, 1);
    expect(drained).toContain(
      `node-${OLD[0]} has no slots any more: it and its replicas (node-${OLD_REPLICA}) can be stopped`,
    );

    // Drain the others, and stop the first and its replica while that goes on.
    const rest = [OLD[1], OLD[2]] as const;
    for (const port of rest) {
      expect(await ask(port, `config set migration-bytes-per-second ${SLOW_BYTES_PER_SECOND}`)).toBe("+OK\r\n");
    }
    const others = await bunch("plan", "drain", ...rest.map((port) => `node-${port}`), "--out", plan);
    expect(others).toContain(`shard node-${OLD[0]} was emptied, and stays so`);
    // Asks one that will be stopped.
    const applying = runBunch(["apply", plan, "--yes", "--node", `127.0.0.1:${OLD[0]}`]);
    await applying.until("-> node-");
    await stop(OLD[0]);
    await load.goesOn();
    await stop(OLD_REPLICA);
    await load.goesOn();
    // They were on their way all the time.
    for (const port of rest) expect(await slotsAt(port)).toBeGreaterThan(0);
    for (const port of rest) {
      expect(await ask(port, "config set migration-bytes-per-second 0")).toBe("+OK\r\n");
    }
    const applied = await succeeded(applying);
    expectSense(applied, movesIn(others));
    expect(applied).toContain(`Cannot ask the node at 127.0.0.1:${OLD[0]}: `);
    for (const port of rest) expect(await ask(port, "dbsize")).toBe(":0\r\n");
    for (const port of rest) {
      await stop(port);
      await load.goesOn();
    }

    expect(await complaintsOf(load, NEW)).toEqual([]);
    const reader = ioredisClient(NEW);
    const found = await Promise.all(BALLAST.map((key) => reader.get(key)));
    reader.close();
    expect(found).toEqual(BALLAST);
    // What the last lines of each drain have said.
    for (const { id, address } of await nodesOf(NEW[0])) {
      const isOld = [...OLD, OLD_REPLICA].some((port) => address.includes(`:${port}@`));
      if (isOld) expect(await ask(NEW[0], `cluster forget ${id}`)).toBe("+OK\r\n");
    }
    await agreed([...NEW, NEW_REPLICA], (nodes) => nodes.length === 4);
    for (const port of NEW) expect(await ask(port, "cluster info")).toContain("cluster_state:ok");
  },
  LIMIT_MS,
);
