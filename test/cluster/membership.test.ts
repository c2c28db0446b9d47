/** Twenty real nodes on one machine: they become a cluster by themselves, and know of those that are killed and of one that stops. */
import { afterAll, expect, test } from "bun:test";
import { agreed, ask, askUntil } from "../support/ask-nodes.ts";
import { type BunchProcess, endLeftovers } from "../support/bunch-server.ts";
import { busAddresses, runNode } from "../support/node-processes.ts";

const COUNT = 20;
const KILLED = 5;
const FIRST_PORT = 21_900;
/** But for how soon the killed are missed nothing here is timed: a machine that is busy takes longer. What it takes on one is in docs/performance.md. */
const LIMIT_MS = 120_000;
/** What is promised of twenty nodes at the default settings, on machines that do not stand still. */
const SEEN_BY_ALL_MS = 3000;

afterAll(endLeftovers, LIMIT_MS);

const counts = (alive: number, down: number): string =>
  `members_alive:${alive}\r\nmembers_suspect:0\r\nmembers_down:${down}\r\n`;

/** When a node found the last of some members down, by its own log, in milliseconds of the machine's clock. */
function lastDownAtMs(node: BunchProcess, ids: readonly string[]): number {
  const found = new Map<string, number>();
  for (const [, time = "", id = ""] of node.output().matchAll(/^(\S+Z) warn +member down nodeId="([0-9a-f]{40})"/gm)) {
    found.set(id, Date.parse(time));
  }
  return Math.max(...ids.map((id) => found.get(id) ?? Number.POSITIVE_INFINITY));
}

/** How much a node doubts itself, and how long its event loop stood still of late. */
async function troublesOf(port: number): Promise<{ readonly score: number; readonly lagMs: number }> {
  const info = await ask(port, "info cluster");
  const field = (name: string): number => Number(new RegExp(`^${name}:([0-9]+)`, "m").exec(info)?.[1]);
  return { score: field("membership_score"), lagMs: field("membership_loop_lag_ms") };
}

test(
  "twenty nodes become one cluster by themselves; all know of five that are killed at once, in 3 s, and of one that stops",
  async () => {
    const ports = Array.from({ length: COUNT }, (_, at) => FIRST_PORT + at);
    const [first = 0, second = 0, third = 0] = ports;
    const flags = ["--join", busAddresses(first, second, third), "--bootstrap-expect", String(COUNT)];
    const nodes = ports.map((port) => runNode(port, ...flags));
    await Promise.all(nodes.map((node) => node.until("takes part")));
    const map = await agreed(ports, (each) => each.length === COUNT && each.every(({ slots }) => slots !== ""));
    await Promise.all(ports.map((port) => askUntil(port, "info cluster", counts(COUNT, 0))));

    const survivors = ports.slice(0, COUNT - KILLED);
    const killed = map.filter(({ address }) => !survivors.some((port) => address.startsWith(`127.0.0.1:${port}@`)));
    expect(killed).toHaveLength(KILLED);
    const before = await Promise.all(survivors.map(troublesOf));
    const killedAtMs = Date.now();
    for (const node of nodes.slice(-KILLED)) node.kill("SIGKILL");
    // Nobody is asked meanwhile: that would cost the nodes more than finding the dead does.
    const downs = killed.map(({ id }) => `member down nodeId="${id}"`);
    await Promise.all(nodes.slice(0, -KILLED).flatMap((node) => downs.map((line) => node.until(line))));
    const after = await Promise.all(survivors.map(troublesOf));
    const seenMs = nodes.slice(0, -KILLED).map(
      (node) =>
        lastDownAtMs(
          node,
          killed.map(({ id }) => id),
        ) - killedAtMs,
    );
    console.log(seenMs.join(" "), JSON.stringify(before), JSON.stringify(after));
    expect(Math.max(...seenMs)).toBeLessThan(SEEN_BY_ALL_MS);
    await Promise.all(survivors.map((port) => askUntil(port, "info cluster", counts(COUNT - KILLED, KILLED))));
    expect((await ask(first, "cluster nodes")).match(/ master,fail /g)).toHaveLength(KILLED);

    const last = nodes.at(-KILLED - 1);
    last?.kill("SIGTERM");
    await last?.exited;
    const left = "members_down:5\r\nmembers_left:1\r\n";
    await Promise.all(survivors.slice(0, -1).map((port) => askUntil(port, "info cluster", left)));
  },
  LIMIT_MS,
);
