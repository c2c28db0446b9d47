/** An operator grows a loaded cluster of three nodes to six, drains the first three and stops them, by the command line: clients see no error, and lose nothing. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { agreed, ask, askUntil } from "../support/ask-nodes.ts";
import { type BunchProcess, endLeftovers, runBunch } from "../support/bunch-server.ts";
import { ClusterLoad, complaintsOf, ioredisClient } from "../support/cluster-load.ts";
import { busAddresses, runNode } from "../support/node-processes.ts";

const LIMIT_MS = 300_000;
const OLD = [21_980, 21_981, 21_982] as const;
const NEW = [21_983, 21_984, 21_985] as const;
const FLAGS = ["--join", busAddresses(...OLD), "--failover-lease-ms", "8000", "--raft-election-ms", "2000"];
const BALLAST = Array.from({ length: 3000 }, (_, at) => `ballast:${at}`);

const directory = mkdtempSync(join(tmpdir(), "bunch-grow-"));
afterAll(async () => {
  await endLeftovers();
  rmSync(directory, { recursive: true });
}, LIMIT_MS);

/** Runs the command line on the cluster, which must succeed. @returns What it said. */
async function bunch(...args: readonly string[]): Promise<string> {
  const child = runBunch([...args, "--node", `127.0.0.1:${OLD[0]}`]);
  const code = await child.exited;
  expect(code, child.output()).toBe(0);
  return child.output();
}

test(
  "three nodes become six, and the first three go",
  async () => {
    const old: readonly BunchProcess[] = OLD.map((port) => runNode(port, ...FLAGS, "--bootstrap-expect", "3"));
    for (const port of OLD) await askUntil(port, "cluster info", "cluster_state:ok");
    const client = ioredisClient(OLD);
    for (const key of BALLAST) await client.set(key, key);
    const load = new ClusterLoad([client], { writers: 6, readers: 2, keys: 20, prefix: "growing" });
    await load.goesOn();

    for (const port of NEW) runNode(port, ...FLAGS);
    await agreed([...OLD, ...NEW], (nodes) => nodes.length === 6);
    const plan = join(directory, "plan.json");
    const weights = OLD.map((port) => `node-${port}=0`).join(",");
    expect(await bunch("plan", "rebalance", "--weights", weights, "--out", plan)).toContain("5 462 -> 0");
    const applied = await bunch("apply", plan, "--yes");
    expect(applied).toContain("done: 9 of 9 moves.");
    expect(applied).toMatch(/\[#{24}\] 100% {2}done in /);
    for (const port of OLD) expect(await ask(port, "dbsize")).toBe(":0\r\n");
    await load.goesOn();

    for (const node of old) {
      node.kill("SIGTERM");
      expect(await node.exited).toBe(0);
      await load.goesOn();
    }
    expect(await complaintsOf(load, NEW)).toEqual([]);
    for (const key of BALLAST) expect(await client.get(key)).toBe(key);
    client.close();
    for (const port of NEW) expect(await ask(port, "cluster info")).toContain("cluster_state:ok");
  },
  LIMIT_MS,
);
