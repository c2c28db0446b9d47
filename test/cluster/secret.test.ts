/** Real nodes with a secret in a file: those that know it are one cluster; one that knows another waits, and both sides say why. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { endLeftovers, runBunch } from "../support/bunch-server.ts";
import { RawClient } from "../support/raw-client.ts";

const directory = mkdtempSync(join(tmpdir(), "bunch-secret-"));
const PORTS = [21_880, 21_881];
const NODES = PORTS.map((port, at) => ({
  name: `node-${at + 1}`,
  host: "127.0.0.1",
  port,
  slots: [at === 0 ? "0-8191" : "8192-16383"],
}));
/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 60_000;

afterAll(async () => {
  await endLeftovers();
  rmSync(directory, { recursive: true });
});

function start(at: number, ...flags: readonly string[]) {
  const { name = "", port = 0 } = NODES[at] ?? {};
  const list = ["--topology-nodes", JSON.stringify(NODES)];
  return runBunch(["node", "--name", name, "--port", String(port), ...list, ...flags]);
}

test(
  "a cluster is of those who know its secret",
  async () => {
    const file = join(directory, "secret.txt");
    writeFileSync(file, "known-to-all\nthe-one-before-it\n");
    const first = start(0, "--secret-file", file);
    const stranger = start(1, "--secret", "known-to-others");
    await first.until("has another cluster secret");
    await stranger.until("has another cluster secret");
    await first.until("waiting node node-1 for word from 127.0.0.1:31881");
    stranger.kill("SIGTERM");
    await stranger.exited;
    // The secret before it is accepted too.
    const second = start(1, "--secret", "the-one-before-it");
    await first.until("takes part");
    await second.until("takes part");
    const client = await RawClient.connect(PORTS[0] ?? 0);
    expect(await client.run("cluster info")).toContain("cluster_known_nodes:2");
    expect(await client.run("config get cluster-secret")).toContain("a secret, and another is accepted");
    client.close();
    for (const node of [first, stranger, second]) {
      for (const secret of ["known-to-all", "the-one-before-it", "known-to-others"]) {
        expect(node.output()).not.toContain(secret);
      }
    }
  },
  LIMIT_MS,
);
