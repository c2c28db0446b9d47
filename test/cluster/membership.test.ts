/** Twenty real nodes on one machine: they become a cluster by themselves, and know of those that are killed and of one that stops. */
import { afterAll, expect, test } from "bun:test";
import { agreed, ask, askUntil } from "../support/ask-nodes.ts";
import { type BunchProcess, endLeftovers } from "../support/bunch-server.ts";
import { busAddresses, runNode } from "../support/node-processes.ts";

const COUNT = 20;
const KILLED = 5;
const FIRST_PORT = 21_900;
/** But for how soon the killed are missed nothing here is timed: a machine that is busy takes longer. What it takes on one is in docs/performance.md. */
const LIMIT_MS = 240_000;
/** Twenty processes that start together on a machine with little to spare have been seen to take most of a minute. */
const FORMING_MS = 120_000;
/** What is promised of twenty nodes at the default settings, while none of them stands still. */
const SEEN_BY_ALL_MS = 3000;
/** A node that doubts itself takes so much longer for each point: until it probes the next one, for that probe, and for the last question (`lan`). */
const DOUBT_MS = 500 + 500 + 150;
/** So many must find the same: one that suspects, and two that confirm it. */
const FINDERS = 3;

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

/**
 * How much longer the nodes may take, as they tell themselves: a test that shares its machine with others must not call slow what is starved. Nothing, where
 * three of them doubt nothing and none stands still.
 */
async function allowanceMs(ports: readonly number[]): Promise<number> {
  const infos = await Promise.all(ports.map((port) => ask(port, "info cluster")));
  const fields = (name: string): readonly number[] =>
    infos.map((info) => Number(new RegExp(`^${name}:([0-9]+)\\r$`, "m").exec(info)?.[1]));
  const scores = fields("membership_score").toSorted((a, b) => a - b);
  // What it stood still is given back to a probe, and to a suspicion.
  return (scores[FINDERS - 1] ?? 0) * DOUBT_MS + 2 * Math.max(...fields("membership_loop_lag_ms"));
}

test(
  "twenty nodes become one cluster by themselves; all know of five that are killed at once, in 3 s, and of one that stops",
  async () => {
    const ports = Array.from({ length: COUNT }, (_, at) => FIRST_PORT + at);
    const [first = 0, second = 0, third = 0] = ports;
    const flags = ["--join", busAddresses(first, second, third), "--bootstrap-expect", String(COUNT)];
    const nodes = ports.map((port) => runNode(port, ...flags));
    await Promise.all(nodes.map((node) => node.until("takes part", FORMING_MS)));
    const map = await agreed(ports, (each) => each.length === COUNT && each.every(({ slots }) => slots !== ""));
    await Promise.all(ports.map((port) => askUntil(port, "info cluster", counts(COUNT, 0))));

    const survivors = ports.slice(0, COUNT - KILLED);
    const killed = map.filter(({ address }) => !survivors.some((port) => address.startsWith(`127.0.0.1:${port}@`)));
    expect(killed).toHaveLength(KILLED);
    const before = await allowanceMs(survivors);
    const killedAtMs = Date.now();
    for (const node of nodes.slice(-KILLED)) node.kill("SIGKILL");
    // Nobody is asked meanwhile: that would cost the nodes more than finding the dead does.
    const downs = killed.map(({ id }) => `member down nodeId="${id}"`);
    await Promise.all(nodes.slice(0, -KILLED).flatMap((node) => downs.map((line) => node.until(line))));
    const boundMs = SEEN_BY_ALL_MS + Math.max(before, await allowanceMs(survivors));
    const ids = killed.map(({ id }) => id);
    const seenMs = nodes.slice(0, -KILLED).map((node) => lastDownAtMs(node, ids) - killedAtMs);
    expect(Math.max(...seenMs)).toBeLessThan(boundMs);
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
