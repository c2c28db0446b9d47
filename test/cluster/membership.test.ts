/** Twenty real nodes on one machine: they find each other, and know of those that are killed and of one that stops. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { divideSlots, formatSlotRange } from "../../src/protocol/slot-ranges.ts";
import { type BunchProcess, endLeftovers, runBunch } from "../support/bunch-server.ts";
import { RawClient } from "../support/raw-client.ts";

const DEFINE_CONFIG = fileURLToPath(new URL("../../src/define-config.ts", import.meta.url));
const COUNT = 20;
const KILLED = 5;
const FIRST_PORT = 21_900;
/** Nothing here is timed: a machine that is busy takes longer. What it takes on one is in docs/performance.md. */
const LIMIT_MS = 120_000;

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "bunch-membership-"));
  const nodes = divideSlots(COUNT).map((slots, at) => ({
    name: `node-${at}`,
    host: "127.0.0.1",
    port: FIRST_PORT + at,
    slots: [formatSlotRange(slots)],
  }));
  writeFileSync(
    join(directory, "bunch.config.ts"),
    `import { defineConfig } from ${JSON.stringify(DEFINE_CONFIG)};\nexport default defineConfig(${JSON.stringify({ plugins: { topology: { nodes } } })});\n`,
  );
});

afterAll(async () => {
  await endLeftovers();
  rmSync(directory, { recursive: true, force: true });
});

/** Asks a node again until it counts its members so. */
async function sees(at: number, counts: string): Promise<void> {
  const client = await RawClient.connect(FIRST_PORT + at);
  while ((await client.run("info cluster"))?.includes(counts) !== true) await Bun.sleep(20);
  client.close();
}

test(
  "twenty nodes find each other, and all know of five that are killed at once, and of one that stops",
  async () => {
    const nodes: BunchProcess[] = Array.from({ length: COUNT }, (_, at) =>
      runBunch([
        "node",
        "--config",
        join(directory, "bunch.config.ts"),
        "--name",
        `node-${at}`,
        "--port",
        String(FIRST_PORT + at),
      ]),
    );
    const all = nodes.map((_, at) => at);
    await Promise.all(nodes.map((node) => node.until("listens on")));
    await Promise.all(all.map((at) => sees(at, "members_alive:20\r\nmembers_suspect:0\r\n")));

    const survivors = all.slice(0, COUNT - KILLED);
    for (const node of nodes.slice(COUNT - KILLED)) node.kill("SIGKILL");
    await Promise.all(survivors.map((at) => sees(at, "members_alive:15\r\nmembers_suspect:0\r\nmembers_down:5\r\n")));
    const client = await RawClient.connect(FIRST_PORT);
    expect((await client.run("cluster nodes"))?.match(/ master,fail /g)).toHaveLength(KILLED);
    client.close();

    nodes[COUNT - KILLED - 1]?.kill("SIGTERM");
    await nodes[COUNT - KILLED - 1]?.exited;
    await Promise.all(survivors.slice(0, -1).map((at) => sees(at, "members_down:5\r\nmembers_left:1\r\n")));
  },
  LIMIT_MS,
);
