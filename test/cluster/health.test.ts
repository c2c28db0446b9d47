/** `bunch health` on real nodes: its exit code, what it prints, and what it does when they die one by one. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ask, askUntil, until } from "../support/ask-nodes.ts";
import { endLeftovers, runBunch } from "../support/bunch-server.ts";
import { busAddresses, runNode } from "../support/node-processes.ts";

const [A, B, C] = [23_210, 23_211, 23_212] as const;
/** It comes later, and owns no slots. */
const D = 23_213;
/** Two more, of a cluster of their own. */
const [E, F] = [23_214, 23_215] as const;
const LIMIT_MS = 120_000;
/** A machine with much else to do is no news here. */
const PATIENT = [
  "--health-loop-lag-warn-ms",
  "60000",
  "--health-loop-lag-critical-ms",
  "60000",
  "--health-clear-ms",
  "1000",
] as const;

afterAll(endLeftovers, LIMIT_MS);

/** Runs `bunch health`. */
async function health(...args: readonly string[]): Promise<{ readonly code: number; readonly said: string }> {
  const child = runBunch(["health", ...args]);
  return { code: await child.exited, said: child.output() };
}
const healthOf = (
  port: number,
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly said: string }> => health("--node", `127.0.0.1:${port}`, ...args);
const untilCode = (code: number, port: number): Promise<{ readonly code: number; readonly said: string }> =>
  until(
    () => healthOf(port),
    (seen) => seen.code === code,
    `bunch health to end with ${code}`,
  );

test(
  "bunch health: 0 while all is well, 1 when a node is lost, 2 when a majority is, 3 when nobody answers",
  async () => {
    const nobody = await healthOf(A);
    expect(nobody.code).toBe(3);
    expect(nobody.said).toStartWith(`error: Cannot ask the node at 127.0.0.1:${A}: `);
    expect((await health("--never")).code).toBe(3);

    const flags = ["--join", busAddresses(A, B, C), "--bootstrap-expect", "3", ...PATIENT];
    const [a, b, c] = [A, B, C].map((port) => runNode(port, ...flags));
    if (a === undefined || b === undefined || c === undefined) throw new Error("three nodes are started");
    for (const port of [A, B, C]) await askUntil(port, "cluster info", "cluster_state:ok");
    const d = runNode(D, "--join", busAddresses(A, B, C), ...PATIENT);
    await askUntil(D, "cluster info", "cluster_state:ok");
    const well = await untilCode(0, B);
    expect(well.said).toStartWith("ok (4 of 4 nodes answered, node-");
    expect(well.said).toMatch(/│ ok +│ quorum +│ node-\d+ and 3 more +│ /);
    expect(well.said).not.toContain("means:");

    // What programs read.
    const told = JSON.parse((await healthOf(A, "--json")).said) as {
      readonly state: string;
      readonly nodes: readonly { readonly nodeName: string; readonly checks: readonly { readonly name: string }[] }[];
      readonly silent: readonly unknown[];
    };
    expect(told.state).toBe("ok");
    expect(told.nodes.map(({ nodeName }) => nodeName).toSorted()).toEqual([A, B, C, D].map((port) => `node-${port}`));
    expect(told.nodes[0]?.checks.map(({ name }) => name)).toContain("members");
    expect(told.silent).toEqual([]);
    const one = JSON.parse((await healthOf(A, "--json", "--one")).said) as { readonly nodes: readonly unknown[] };
    expect(one.nodes).toHaveLength(1);

    // A slot that is nobody's.
    expect(await ask(A, "cluster delslots 5")).toBe("+OK\r\n");
    const uncovered = await untilCode(2, A);
    expect(uncovered.said).toStartWith("critical: 1 of ");
    expect(uncovered.said).toContain("1 slot is nobody's (5).");
    expect(uncovered.said).toMatch(
      /slots \(critical\), as node-\d+(?: and \d more)? sees? it\n {2}means: .+\n {2}do: {4}.+/,
    );
    expect(await ask(A, "cluster addslots 5")).toBe("+OK\r\n");
    await untilCode(0, A);

    // One that owns nothing, and does not vote.
    d.kill("SIGKILL");
    await d.exited;
    const lost = await until(
      () => healthOf(A),
      ({ said }) => /members \(warn\), as node-\d+(?: and \d more)? sees? it/.test(said),
      "nodes to miss it",
    );
    expect(lost.code).toBe(1);
    expect(lost.said).toContain(`1 of 4 nodes: node-${D} is `);
    expect(lost.said).toMatch(new RegExp(`│ warn +│ answer +│ node-${D} +│`));

    // One that owns slots, and votes.
    c.kill("SIGKILL");
    await c.exited;
    const failed = await until(
      () => healthOf(A),
      ({ said }) => said.includes("slots (critical), as ") && said.includes("quorum (warn), as "),
      "nodes to miss a primary and a voter",
    );
    expect(failed.code).toBe(2);

    // A majority.
    b.kill("SIGKILL");
    await b.exited;
    const stopped = await until(
      () => healthOf(A),
      // First it misses the leader, then a second voter.
      ({ said }) => said.includes("No leader is heard") && said.includes("quorum (critical), as "),
      "a to miss the leader, and a majority",
    );
    expect(stopped.code).toBe(2);
    expect(stopped.said).toContain("bunch recover --from DATA-DIR");

    a.kill("SIGKILL");
    await a.exited;
    expect((await healthOf(A)).code).toBe(3);
  },
  LIMIT_MS,
);

test(
  "bunch status tells of a disk that fills up at another node, by that one's name, and of a node that is silent",
  async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "bunch-health-"));
    const founding = ["--join", busAddresses(E, F), "--bootstrap-expect", "2", ...PATIENT];
    const full = ["--data-dir", dataDir, "--health-disk-warn-bytes", "4000000gb", "--health-disk-critical-bytes"];
    runNode(E, ...founding);
    const f = runNode(F, ...founding, ...full, "4000000gb");
    for (const port of [E, F]) await askUntil(port, "cluster info", "cluster_state:ok");
    const status = async (): Promise<{ readonly code: number; readonly said: string }> => {
      const child = runBunch(["status", "--node", `127.0.0.1:${E}`]);
      return { code: await child.exited, said: child.output() };
    };
    const seen = await until(status, ({ said }) => said.includes("disk (critical)"), "the disk of the other node");
    expect(seen.code).toBe(2);
    expect(seen.said).toStartWith("ok: every slot is served, but checks are critical, see below\n");
    expect(seen.said).toMatch(new RegExp(`^disk \\(critical\\) {2}node-${F}: .+\n {2}means: .+\n {2}do: {4}.+`, "m"));
    expect(seen.said).toContain(" (2 of 2 nodes told)");
    expect((await healthOf(E)).code).toBe(2);
    // By the port for operators it is the same.
    const door = ["--http", `127.0.0.1:${E + 9121}`];
    const byRest = await until(
      () => health(...door),
      // What was told while they began is told for some seconds.
      ({ said }) => said.startsWith("critical: 1 of "),
      "nothing but the disk to be amiss",
    );
    expect(byRest.code).toBe(2);
    expect(byRest.said).toMatch(new RegExp(`│ critical │ disk +│ node-${F} +│ `));
    expect((await health(...door, "--one")).code).toBe(0);
    expect(JSON.parse((await health(...door, "--json")).said)).toMatchObject({ state: "critical", asked: 2 });
    const mistaken = await health("--token", "reading-0123456789");
    expect([mistaken.code, mistaken.said]).toEqual([
      3,
      "error: --token is for the port for operators, which --http names; without that, --password is wanted.\n",
    ]);

    // It hangs: what it said last is not told on and on.
    f.kill("SIGSTOP");
    const silent = await until(status, ({ said }) => said.includes("answer (warn)"), "the other node to be silent");
    expect(silent.said).toMatch(new RegExp(`^answer \\(warn\\) {2}node node-${F} (does not answer|is down)`, "m"));
    expect(silent.said).toContain(" (1 of 2 nodes told)");
    expect(silent.said).not.toContain("disk (critical)");
    expect((await healthOf(E)).said.replaceAll(/[│\s]+/g, " ")).toContain("it has not answered within 3 s");
    f.kill("SIGKILL");
    await f.exited;
    rmSync(dataDir, { recursive: true });
  },
  LIMIT_MS,
);
