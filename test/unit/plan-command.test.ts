/** The command line on a cluster that runs: bunch plan, apply, move, migrations, cancel, each as a process of its own, against a node whose map and tasks a test makes. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readPlanFile } from "../../src/cli/plan-file.ts";
import { defaultPlugins } from "../../src/default-plugins.ts";
import { type Node, createNode } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { endLeftovers, runBunch, runBunchInTerminal } from "../support/bunch-server.ts";
import { FakeMigrations, FixedTopology, fakeTask } from "../support/fake-migrations.ts";
import { makeNode } from "../support/make-map.ts";
import { planMap, shardIdAt } from "../support/plan-map.ts";

const MAP = planMap([{ slots: [{ first: 0, last: 16_383 }] }, { slots: [] }]);
const WITHOUT = new Set(["topology", "raft", "bus", "hash-slot-router", "migrator"]);

describe("a cluster of two, of which one has everything", () => {
  const topology = new FixedTopology(MAP);
  const fake = new FakeMigrations();
  const directory = mkdtempSync(join(tmpdir(), "bunch-plan-"));
  const file = join(directory, "plan.json");
  let node: Node;
  let address = "";
  beforeAll(async () => {
    node = await createNode({
      world: createBunWorld({ logLevel: "silent" }),
      config: {
        port: 0,
        password: "secret",
        plugins: Object.fromEntries(
          defaultPlugins
            .map(({ name }): string => name)
            .filter((name) => WITHOUT.has(name))
            .map((name) => [name, false]),
        ),
      },
      plugins: [topology.plugin, fake.plugin],
    });
    await node.start();
    const port = Number(node.parameters.get("port")?.get());
    address = `127.0.0.1:${port}`;
    const connection = node.connect();
    await connection.execute("auth", "secret");
    for (let key = 0; key < 50; key += 1) await connection.execute("set", `key ${key}`, "x".repeat(100));
    connection.close();
    // Both shards' primaries are this one node, as far as addresses go: nobody looks whether the second one owns what it tells of.
    topology.map = { ...MAP, nodes: MAP.nodes.map(({ id, name }) => makeNode({ id, name, host: "127.0.0.1", port })) };
  });
  afterAll(async () => {
    await endLeftovers();
    await node.stop();
    rmSync(directory, { recursive: true });
  });
  beforeEach(() => {
    fake.tasks = [];
    fake.asked.length = 0;
    fake.outcomes.length = 0;
  });
  const bunch = async (...args: readonly string[]): Promise<{ readonly output: string; readonly code: number }> => {
    const child = runBunch([...args, "--node", address], { BUNCH_PASSWORD: "secret" });
    const code = await child.exited;
    return { output: child.output(), code };
  };
  const present = (): typeof MAP => topology.map;

  test("plan shows what would move, changes nothing, and keeps it", async () => {
    const { output, code } = await bunch("plan", "rebalance", "--threshold", "0", "--out", file);
    expect([code, fake.asked]).toEqual([0, []]);
    expect(output).toMatch(/│ n0 +│ n1 +│ +8 192 │ 0-8191/);
    expect(output).toContain("16 384 -> 8 192");
    expect(output).toContain("The shard farthest from its part is 100.0 % off now, and 0.0 % after.");
    const plan = readPlanFile(readFileSync(file, "utf8"), file);
    expect([plan.moves.length, plan.slotCount, plan.by]).toEqual([1, 8192, "slots"]);
    expect(plan.before.shares[0]?.keys).toBe(50);
    expect(plan.keys).toBeLessThan(50);
  });

  test("plan says what is wrong with what it was told", async () => {
    const refused = async (...args: readonly string[]): Promise<string> => {
      const { output, code } = await bunch("plan", ...args);
      expect(code).toBe(2);
      return output;
    };
    expect(await refused("rebalance", "--weights", "n0:2")).toContain(
      'Flag --weights has "n0:2", but each part must be',
    );
    expect(await refused("rebalance", "--weights", "x=2")).toContain(
      "In this cluster there is no shard or node x; the shards' primaries are n0, n1.",
    );
    expect(await refused("rebalance", "--weights", "n0=1,n0=2")).toContain(
      'Flag --weights is "n0=1,n0=2", but the shard of n0 has more than one weight: give each shard one.',
    );
    expect(await refused("rebalance", "--threshold", "much")).toContain('Flag --threshold is "much"');
    expect(await refused("rebalance", "--by", "beauty")).toContain("Allowed choices are slots, keys, bytes, load");
    expect(await refused("rebalance", "--weights", "n0=0,n1=0")).toContain("There is no such plan");
  }, 60_000);

  test("plan drain empties a shard; one that is empty needs none", async () => {
    const drained = await bunch("plan", "drain", "n0", "--out", file);
    expect(drained.output).toMatch(/│ n0 +│ n1 +│ +16 384 │ 0-16383/);
    // Whoever copies the command asks the same cluster.
    expect(drained.output).toContain(`bunch apply ${file} --node ${address} does it.`);
    expect((await bunch("plan", "drain", "n1")).output).toContain("There is nothing to move.");
    expect((await bunch("plan", "drain", "n0", "n1")).output).toContain(
      "There is no such plan: there is no other shard that slots could go to.",
    );
  }, 60_000);

  test("apply asks before, refuses what is stale, and starts and watches what is not", async () => {
    expect((await bunch("plan", "drain", "n0", "--out", file)).code).toBe(0);
    const unsaid = await bunch("apply", file);
    expect([unsaid.code, unsaid.output.includes("say --yes")]).toEqual([2, true]);
    const child = runBunch(["apply", file, "--yes", "--node", address], { BUNCH_PASSWORD: "secret" });
    fake.onAsked = () => {
      const id = `id-${fake.started}`;
      const [from, to] = [shardIdAt(0), shardIdAt(1)];
      fake.tasks = [fakeTask({ id, source: from, target: to, slots: [{ first: 0, last: 16_383 }] })];
    };
    await child.until("30 of 100 keys");
    const before = present();
    topology.map = planMap([{ slots: [] }, { slots: [{ first: 0, last: 16_383 }] }]);
    expect(fake.asked[0]).toMatch(/^start 0-16383 to 51 at 7: plan [0-9a-f]{12} \(CLUSTER MOVE from /);
    fake.completeAll();
    expect(await child.exited).toBe(0);
    expect(child.output()).toContain("done in 2.0 s");
    expect(child.output()).toContain("done: 1 of 1 move in 2.0 s.");
    expect(child.output()).toEndWith(
      `n0 has no slots any more: it can be stopped, and then taken out: CLUSTER FORGET ${"a0".padEnd(40, "0")}.\n`,
    );
    topology.map = { ...before, version: 99, shards: before.shards.map((shard) => ({ ...shard, version: 99 })) };
    const stale = await bunch("apply", file, "--yes");
    topology.map = before;
    expect(stale.code).toBe(2);
    expect(stale.output).toContain(
      "has changed since (it is at version 99, and the plan was made on 1). Nothing was done",
    );
  }, 60_000);

  test("apply looks again once it was told to: somebody may have thought about it for long, and a shard have changed", async () => {
    expect((await bunch("plan", "drain", "n0", "--out", file)).code).toBe(0);
    const begin = async (): Promise<ReturnType<typeof runBunchInTerminal>> => {
      const child = runBunchInTerminal(["apply", file, "--node", address], { BUNCH_PASSWORD: "secret" });
      await child.until("Do this? Type yes:");
      return child;
    };
    const late = await begin();
    const before = present();
    topology.map = { ...before, version: 99, shards: before.shards.map((shard) => ({ ...shard, version: 99 })) };
    late.type("yes\r");
    expect(await late.exited).toBe(2);
    topology.map = before;
    expect(late.output()).toContain(
      "has changed since (it is at version 99, and the plan was made on 1). Nothing was done",
    );
    const other = await begin();
    other.type("no\r");
    expect(await other.exited).toBe(2);
    expect(other.output()).toContain("Nothing was done.");
    expect(fake.asked).toEqual([]);
    fake.onAsked = () => {
      const [source, target] = [shardIdAt(0), shardIdAt(1)];
      fake.tasks = [fakeTask({ id: `id-${fake.started}`, source, target, slots: [{ first: 0, last: 16_383 }] })];
    };
    const good = await begin();
    good.type("yes\r");
    await good.until("30 of 100 keys");
    fake.completeAll();
    expect(await good.exited).toBe(0);
    expect(fake.asked).toHaveLength(1);
  }, 60_000);

  test("move tells what was not done, and exits with 1; Ctrl-C ends watching, and says how to end the task", async () => {
    fake.onAsked = () => {
      const id = `id-${fake.started}`;
      fake.tasks = [
        fakeTask({
          id,
          source: shardIdAt(0),
          target: shardIdAt(1),
          slots: [{ first: 5, last: 7 }],
          phase: "aborted",
          cause: "no memory left",
          endedAtMs: 1_800_000_001_000,
        }),
      ];
    };
    const failed = await bunch("move", "5-6,7", "--to", "n1", "--yes");
    expect(failed.code).toBe(1);
    expect(failed.output).toContain("not done: slots 5-7 from n0 to n1: no memory left");
    expect(failed.output).toContain("bunch plan makes a new plan");
    fake.onAsked = () => {
      fake.tasks = [fakeTask({ id: `id-${fake.started}`, source: shardIdAt(0), target: shardIdAt(1) })];
    };
    const child = runBunch(["move", "8", "--to", "n1", "--yes", "--node", address], { BUNCH_PASSWORD: "secret" });
    await child.until("30 of 100 keys");
    child.kill("SIGINT");
    expect(await child.exited).toBe(130);
    expect(child.output()).toContain("Watching has ended; the cluster goes on.");
    expect(child.output()).toContain(`bunch cancel id-${fake.started} --node ${address}`);
    expect((await bunch("move", "8", "--to", "n0")).output).toContain("n0 has these slots already.");
    expect((await bunch("move", "eight", "--to", "n1")).output).toContain('"eight" is no slot and no range of slots');
  }, 60_000);

  test("migrations lists tasks; cancel, pause and resume take the beginning of an id", async () => {
    expect((await bunch("migrations")).output).toBe("No slots are being moved.\n");
    fake.tasks = [
      fakeTask({ id: "abcd1", source: shardIdAt(0), target: shardIdAt(1), startedAtMs: Date.now() - 5000 }),
      fakeTask({ id: "abcd2", source: shardIdAt(0), target: shardIdAt(1), isPaused: true }),
    ];
    const listed = await bunch("migrations");
    // Since then, and however long the command took to start.
    const [, seconds] = /│ abcd1 +│ n0 +│ n1 +│ 0-9 +│ streaming +│ 30 \/ 100 │ +([\d.]+) s/.exec(listed.output) ?? [];
    expect(Number(seconds)).toBeWithin(5, 60);
    expect(listed.output).toContain("streaming, paused");
    expect((await bunch("cancel", "abcd")).output).toContain("Several tasks have ids that begin with abcd.");
    expect((await bunch("cancel", "x")).output).toContain("There is no task x that goes on");
    expect((await bunch("cancel", "abcd1")).output).toBe("Task abcd1 is ended: slots 0-9 from n0 to n1.\n");
    expect((await bunch("pause", "abcd1")).code).toBe(0);
    expect((await bunch("resume", "abcd2")).code).toBe(0);
    expect(fake.asked.map((line) => line.split(":")[0])).toEqual(["cancel abcd1", "pause abcd1", "resume abcd2"]);
    const watched = runBunch(["migrations", "--watch", "--node", address], { BUNCH_PASSWORD: "secret" });
    await watched.until("30 of 100 keys");
    fake.completeAll();
    expect(await watched.exited).toBe(0);
    expect((await bunch("cancel", "abcd1")).output).toContain("Task abcd1 has ended already: it is completed.");
  }, 60_000);

  test("migrations shows causes as they are, and has no terminal act on them", async () => {
    const cause = "\u001B[2Jdrain\r\nNo slots are being moved.\u009B";
    fake.tasks = [
      fakeTask({ id: "abcd1", source: shardIdAt(0), target: shardIdAt(1), phase: "aborted", cause, endedAtMs: 1 }),
    ];
    const { output } = await bunch("migrations");
    expect(output).toContain(String.raw`\x1b[2Jdrain\x0d\x0aNo slots are being moved.\x9b`);
    expect(output).not.toContain("\u001B[2J");
  }, 60_000);
});
