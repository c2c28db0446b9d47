/** The commands that ask by REST, on real nodes: what they print, their exit codes, and what they say when they cannot. */
import { afterAll, expect, test } from "bun:test";
import { ask, askUntil, until } from "../support/ask-nodes.ts";
import { endLeftovers, runBunch } from "../support/bunch-server.ts";
import { busAddresses, runNode } from "../support/node-processes.ts";
import { TOKENS } from "../support/http-door.ts";

const PORTS = [23_250, 23_251, 23_252] as const;
const [A, B] = PORTS;
const httpPort = (port: number): number => port + 20;
const LIMIT_MS = 120_000;

afterAll(endLeftovers, LIMIT_MS);

interface Ran {
  readonly code: number;
  readonly said: string;
}

async function bunch(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Ran> {
  const child = runBunch(args, environment);
  return { code: await child.exited, said: child.output() };
}
const at = (port: number): readonly string[] => ["--http", `127.0.0.1:${httpPort(port)}`];
const startNode = (port: number) =>
  runNode(
    port,
    "--join",
    busAddresses(...PORTS),
    "--bootstrap-expect",
    "3",
    "--http-port",
    String(httpPort(port)),
    "--http-read-token",
    TOKENS.readToken,
    // A machine with much else to do is no news here.
    "--health-loop-lag-warn-ms",
    "60000",
    "--health-loop-lag-critical-ms",
    "60000",
  );

test(
  "bunch status, nodes, slots, explain, top and events",
  async () => {
    for (const command of ["status", "nodes", "slots", "events", "top"]) {
      const nobody = await bunch([command, ...at(A)]);
      expect(nobody.code, command).toBe(3);
      expect(nobody.said).toStartWith(
        `error: Cannot ask the node at http://127.0.0.1:${httpPort(A)}: nobody listens there. If it is somewhere else: --node names it`,
      );
      expect(nobody.said).toContain("it may be down: ask another one.");
    }

    const [, asked] = PORTS.map(startNode);
    if (asked === undefined) throw new Error("three nodes are started");
    for (const port of PORTS) await askUntil(port, "cluster info", "cluster_state:ok");
    const well = await until(
      () => bunch(["status", ...at(A)]),
      ({ code }) => code === 0,
      "bunch status to end with 0",
    );
    expect(well.said).toStartWith("ok: every slot is served\n");
    expect(well.said).toContain("slots    16384 of 16384 are assigned, to 3 shards");
    expect(well.said).toContain("nodes    3, all alive");

    // What is at that port is none, or wants to know who asks.
    const other = await bunch(["status", "--http", `127.0.0.1:${A}`]);
    expect(other.code).toBe(3);
    expect(other.said).toMatch(/^error: (What answers at|Cannot ask the node at) http:\/\/127\.0\.0\.1:23250/);
    const wrong = await bunch(["nodes", ...at(A), "--token", "wrong-0123456789abcdef"]);
    expect(wrong.code).toBe(3);
    expect(wrong.said).toContain("The token that was shown is none of this node's. Look at --token");
    expect((await bunch(["status", "--never"])).code).toBe(3);
    expect((await bunch(["explain", "colour", "blue"])).code).toBe(2);

    // With a token, by the environment, and for programs.
    const listed = await bunch(["nodes", ...at(B), "--json"], { BUNCH_TOKEN: TOKENS.readToken });
    const { nodes } = JSON.parse(listed.said) as {
      readonly nodes: readonly { readonly name: string; readonly id: string }[];
    };
    expect(nodes.map(({ name }) => name).toSorted()).toEqual(PORTS.map((port) => `node-${port}`));
    const table = await bunch(["nodes", ...at(B)]);
    for (const { name, id } of nodes) expect(table.said).toMatch(new RegExp(`│ ${name}( \\*)? +│ alive .*${id}`));
    const slots = await bunch(["slots", ...at(B)]);
    expect(slots.said).toMatch(/│ 0-5460 +│ +5461 │ node-\d+/);
    expect(slots.said).toContain("16384 of 16384 slots are assigned");

    const named = await bunch(["explain", "node", `node-${A}`, ...at(B)]);
    expect(named.said).toStartWith(`node-${A} is alive: primary, id `);
    const key = await bunch(["explain", "key", "foo", "--json", ...at(B)]);
    expect(JSON.parse(key.said)).toMatchObject({ slot: 12_182, obstacles: [] });
    const none = await bunch(["explain", "node", "nobody", ...at(B)]);
    expect([none.code, none.said]).toEqual([2, "error: There is no node nobody; bunch nodes lists them.\n"]);
    const far = await bunch(["explain", "slot", "16384", ...at(B)]);
    expect(far.said).toContain("must be a whole number from 0 to 16383");
    expect(far.code).toBe(2);

    // Rates of all nodes, each asked by its own address.
    const top = await bunch(["top", "--json", "--count", "1", "--interval", "0.5", ...at(A)]);
    const told = JSON.parse(top.said) as {
      readonly state: string;
      readonly nodes: readonly { readonly name: string; readonly commands: number; readonly reason: string }[];
    };
    expect(told.state).toBe("ok");
    expect(told.nodes.map(({ name, reason }) => [name, reason])).toEqual(PORTS.map((port) => [`node-${port}`, ""]));
    for (const { commands } of told.nodes) expect(commands).toBeGreaterThanOrEqual(0);

    // What happens, as it happens, until somebody interrupts.
    const events = runBunch(["events", ...at(B)]);
    await events.until("state   ok");
    expect(await ask(A, "cluster delslots 5")).toBe("+OK\r\n");
    await events.until("state   fail");
    await events.until("health  slots is critical and was ok: 1 slot is nobody's (5).");
    expect(events.output()).toMatch(/change {2}version \d+: /);
    const uncovered = await bunch(["status", ...at(B)]);
    expect(uncovered.code).toBe(2);
    expect(uncovered.said).toStartWith("fail:\n");
    expect(uncovered.said).toMatch(/slots \(critical\) {2}1 slot is nobody's \(5\)\.\n {2}means: .+\n {2}do: {4}.+/);
    expect((await bunch(["slots", ...at(B)])).said).toContain("nobody has 5");
    expect((await bunch(["explain", "slot", "5", ...at(B)])).said).toStartWith("slot 5 is nobody's\n");

    // The node goes, and comes back: what has happened meanwhile is told.
    asked.kill("SIGTERM");
    expect(await asked.exited).toBe(0);
    await events.until("waits: ");
    expect(await ask(A, "cluster addslots 5")).toBe("+OK\r\n");
    startNode(B);
    await until(
      () => Promise.resolve(events.output()),
      (said) => said.lastIndexOf("  state   ok") > said.indexOf("waits: "),
      "the events to go on",
    );
    expect(events.output().slice(events.output().indexOf("waits: "))).toMatch(
      / {2}(change {2}version|start {3}cluster) /,
    );
    events.kill("SIGINT");
    expect(await events.exited).toBe(0);
  },
  LIMIT_MS,
);
