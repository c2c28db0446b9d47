/** migration-commands: what is asked of whoever does migrations, and what is told, by three vocabularies. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { defaultPlugins } from "../../src/default-plugins.ts";
import type { Node } from "../../src/node.ts";
import { FakeMigrations, FixedTopology, fakeTask } from "../support/fake-migrations.ts";
import { localClient, startLocalNode } from "../support/local-node.ts";
import { makeNode } from "../support/make-map.ts";
import { planMap, shardIdAt } from "../support/plan-map.ts";

const MAP = planMap([
  { slots: [{ first: 0, last: 5000 }] },
  { slots: [{ first: 5001, last: 10_000 }] },
  { slots: [{ first: 10_001, last: 16_000 }] },
]);
const [A = "", B = "", C = ""] = MAP.nodes.map(({ id }) => id);
/** What would move slots really, or stand in the way of a map that the test makes. */
const WITHOUT = Object.fromEntries(
  defaultPlugins
    .map(({ name }): string => name)
    .filter((name) => ["topology", "raft", "bus", "hash-slot-router", "migrator"].includes(name))
    .map((name) => [name, false]),
);

describe("node n0 of three", () => {
  const topology = new FixedTopology(MAP);
  const fake = new FakeMigrations();
  let node: Node;
  beforeAll(async () => {
    node = await startLocalNode({ plugins: WITHOUT }, { plugins: [topology.plugin, fake.plugin] });
  });
  afterAll(() => node.stop());
  beforeEach(() => {
    fake.tasks = [];
    fake.asked.length = 0;
    fake.outcomes.length = 0;
    topology.map = MAP;
  });
  const run = async (line: string): Promise<string> => {
    const client = localClient(node);
    await client.run("hello 2");
    const reply = await client.run(line);
    client.close();
    return reply;
  };
  /** What was asked, without who asked. */
  const asked = (): readonly string[] => fake.asked.map((line) => line.replace(/ from .*$/, ""));

  describe("CLUSTER MOVE", () => {
    test("starts a task for each shard that slots come from, leaves out the target's own, and tells the ids", async () => {
      expect(await run("cluster move n1 slotsrange 4990 5010 10001 10001 0 0")).toMatch(/^\[id-[0-9]+ id-[0-9]+\]$/);
      expect(asked()).toEqual(["start 0,4990-5000 to 51 and 10001 to 51: CLUSTER MOVE"]);
    });

    test("moves slots to several shards at once: all of it, on one map, or nothing", async () => {
      const line = "cluster move n1 slotsrange 7 8 and 5200 slotsrange 9 9 6000 6000 mapversion 42";
      expect(await run(line)).toMatch(/^\[id-[0-9]+ id-[0-9]+ id-[0-9]+\]$/);
      expect(asked()).toEqual(["start 7-8 to 51 and 9 to 52 and 6000 to 52 at 42: CLUSTER MOVE"]);
    });

    test("takes nodes and shards, by names, ids and beginnings of ids", async () => {
      for (const name of ["n1", B, shardIdAt(1), "5100", B.slice(0, 6)]) {
        fake.asked.length = 0;
        await run(`cluster move ${name} slotsrange 7 7`);
        expect(asked()).toEqual(["start 7 to 51: CLUSTER MOVE"]);
      }
      expect(await run("cluster move nobody slotsrange 7 7")).toBe("ERR there is no shard or node nobody");
      expect(await run("cluster move 5 slotsrange 7 7")).toBe("ERR there is no shard or node 5");
      topology.map = {
        ...MAP,
        nodes: [...MAP.nodes, makeNode({ id: "d", name: "w", host: "h", port: 1 })],
      };
      expect(await run("cluster move w slotsrange 7 7")).toBe("ERR node w is in no shard: it holds no data");
    });

    test("hands on the map that it was decided on, and the cause", async () => {
      await run("cluster move n1 slotsrange 7 7 mapversion 42 cause plan-1234");
      expect(fake.asked[0]).toMatch(/^start 7 to 51 at 42: plan-1234 \(CLUSTER MOVE from .*\)$/);
    });

    test.each([
      ["cluster move n1 slotsrange 7", "ERR wrong number of arguments for 'cluster|move' command"],
      ["cluster move n1 slotsrange 7 8 9", "ERR wrong number of arguments for 'cluster|move' command"],
      ["cluster move n1 slots 7 8", "ERR syntax error"],
      ["cluster move n1 slotsrange 7 8 because x", "ERR syntax error"],
      ["cluster move n1 slotsrange 7 8 cause", "ERR syntax error"],
      ["cluster move n1 slotsrange 7 8 mapversion x", "ERR value is not an integer or out of range"],
      ["cluster move n1 slotsrange 7 8 and n2 slotsrange", "ERR wrong number of arguments for 'cluster|move' command"],
      ["cluster move n1 slotsrange 7 8 and n2 slots 9 9", "ERR syntax error"],
      ["cluster move n1 slotsrange 7 8 and nobody slotsrange 9 9", "ERR there is no shard or node nobody"],
      ["cluster move n1 slotsrange 8 7", "ERR start slot number 8 is greater than end slot number 7"],
      ["cluster move n1 slotsrange 8 16384", "ERR Invalid or out of range slot"],
      ["cluster move n1 slotsrange 1 5 5 9", "ERR Slot 5 specified multiple times"],
      ["cluster move n1 slotsrange 16000 16001", "ERR slot has no owner: 16001"],
      ["cluster move n1 slotsrange 6000 6001", `ERR shard ${shardIdAt(1)} has these slots already`],
    ])("%s: %s", async (line, error) => {
      expect(await run(line)).toBe(error);
      expect(fake.asked).toEqual([]);
    });

    test("tells why nothing was started", async () => {
      fake.outcomes.push({ type: "refused", reason: "no leader is known" });
      expect(await run("cluster move n1 slotsrange 7 7")).toBe("ERR no leader is known");
    });
  });

  test("CLUSTER MIGRATIONS tells all of each, and null of what this node does not know", async () => {
    fake.tasks = [
      fakeTask({
        id: "one",
        source: shardIdAt(0),
        sourceNode: A,
        target: shardIdAt(1),
        targetNode: B,
        waitingFor: "word",
      }),
      fakeTask({ id: "two", progress: undefined, phase: "waiting", isPaused: true, slots: [{ first: 7, last: 7 }] }),
    ];
    const first = `[id one phase streaming paused 0 slots 0-9 source ${shardIdAt(0)} source-node ${A} target ${shardIdAt(1)} target-node ${B} cause a test started-for a test started-at 1800000000000 ended-at nil waiting-for word slots-done 3 slots-total 10 keys-moved 30 keys-total 100 bytes-moved 3000 bytes-per-second 1500 eta-ms 4700 fenced-ms 0 restarts 0]`;
    expect(await run("cluster migrations id one")).toBe(`[${first}]`);
    expect(await run("cluster migrations")).toStartWith(`[${first} [id two phase waiting paused 1 slots 7 `);
    expect(await run("cluster migrations id two")).toEndWith(
      "keys-moved nil keys-total nil bytes-moved nil bytes-per-second nil eta-ms nil fenced-ms nil restarts nil]]",
    );
    expect(await run("cluster migrations id three")).toBe("[]");
    expect(await run("cluster migrations all")).toBe("ERR syntax error");
  });

  test.each(["cancel", "pause", "resume"])("CLUSTER %sMIGRATION asks for it, and tells why not", async (word) => {
    expect(await run(`cluster ${word}migration one`)).toBe("OK");
    expect(asked()).toEqual([`${word} one: CLUSTER ${word.toUpperCase()}MIGRATION`]);
    fake.outcomes.push({ type: "refused", reason: "there is no migration one" });
    expect(await run(`cluster ${word}migration one`)).toBe("ERR there is no migration one");
  });

  describe("by the words of Redis 8.4", () => {
    test("IMPORT moves one shard's slots here, and refuses what Redis does", async () => {
      expect(await run("cluster migration import 5001 5002 6000 6000")).toMatch(/^id-[0-9]+$/);
      expect(asked()).toEqual(["start 5001-5002,6000 to 50: CLUSTER MIGRATION"]);
      expect(await run("cluster migration import 5001")).toContain("wrong number of arguments");
      expect(await run("cluster migration import 5001 5002 6000")).toContain("wrong number of arguments");
      expect(await run("cluster migration import 1 2")).toBe("ERR this node is already the owner of the slot range");
      expect(await run("cluster migration import 9999 10001")).toBe("ERR slots belong to different source nodes");
      expect(await run("cluster migration import 5000 5001")).toBe("ERR slots belong to different source nodes");
      expect(await run("cluster migration import 16001 16002")).toBe("ERR slot has no owner: 16001");
      expect(await run("cluster migration export 1 2")).toBe("ERR unknown argument");
      expect(fake.asked).toHaveLength(1);
      topology.map = {
        ...MAP,
        shards: MAP.shards.map((each, at) => (at === 0 ? { ...each, primary: C, replicas: [A] } : each)),
      };
      expect(await run("cluster migration import 5001 5002")).toBe("ERR slot migration not allowed on replica.");
    });

    test("STATUS has Redis' fields, and its words for both ends", async () => {
      fake.tasks = [
        fakeTask({
          id: "in",
          source: shardIdAt(1),
          sourceNode: B,
          target: shardIdAt(0),
          targetNode: A,
          phase: "fenced",
        }),
        fakeTask({
          id: "out",
          source: shardIdAt(0),
          target: shardIdAt(1),
          phase: "aborted",
          endedAtMs: 1_800_000_005_000,
          cause: "enough",
        }),
      ];
      expect(await run("cluster migration status id in")).toBe(
        `[[id in slots 0-9 source ${B} dest ${A} operation import state takeover last_error  retries 0 create_time 1800000000000 start_time 1800000000000 end_time -1 write_pause_ms 0]]`,
      );
      expect(await run("cluster migration status id out")).toContain(
        "operation migrate state canceled last_error enough retries 0 create_time 1800000000000 start_time 1800000000000 end_time 1800000005000",
      );
      expect((await run("cluster migration status all")).match(/\[id/g)).toHaveLength(2);
      expect(await run("cluster migration status id nobody")).toBe("[]");
      expect(await run("cluster migration status some")).toBe("ERR unknown argument");
      expect(await run("cluster migration status all all")).toContain("wrong number of arguments");
    });

    test("CANCEL tells how many were, and leaves alone what has ended", async () => {
      fake.tasks = [fakeTask({ id: "one" }), fakeTask({ id: "two" }), fakeTask({ id: "over", phase: "completed" })];
      expect(await run("cluster migration cancel id two")).toBe("1");
      expect(await run("cluster migration cancel id over")).toBe("0");
      fake.outcomes.push({ type: "refused", reason: "it has just been completed" });
      expect(await run("cluster migration cancel all")).toBe("1");
      expect(asked().map((line) => line.split(":")[0])).toEqual(["cancel two", "cancel one", "cancel two"]);
    });
  });

  describe("by the words of Valkey 9", () => {
    test("MIGRATESLOTS starts all of its blocks, or none", async () => {
      const line = `cluster migrateslots slotsrange 0 1 5 5 node ${B} slotsrange 5001 5001 node ${C}`;
      expect(await run(line)).toBe("OK");
      expect(asked()).toEqual(["start 0-1,5 to 51 and 5001 to 52: CLUSTER MIGRATESLOTS"]);
      fake.outcomes.push({ type: "refused", reason: "ERR slot 5001 is being moved" });
      expect(await run(line)).toBe("ERR slot 5001 is being moved");
    });

    test.each([
      [`cluster migrateslots slotsrange 0 1 node ${"e".repeat(40)}`, `ERR Unknown node ${"e".repeat(40)}`],
      [`cluster migrateslots slotsrange 5001 5002 node ${B}`, `ERR node ${B} has these slots already`],
      [`cluster migrateslots slotsrange 0 node ${B} x`, "ERR syntax error"],
      [`cluster migrateslots slotsrange 0 1 node ${B} slotsrange 5 5`, "ERR syntax error"],
      [`cluster migrateslots slots 0 1 node ${B}`, "ERR syntax error"],
      [`cluster migrateslots slotsrange 16001 16001 node ${B}`, "ERR slot has no owner: 16001"],
    ])("%s: %s", async (line, error) => {
      expect(await run(line)).toBe(error);
      expect(fake.asked).toEqual([]);
    });

    test("GETSLOTMIGRATIONS has Valkey's fields, the newest first; CANCELSLOTMIGRATIONS cancels what goes from here", async () => {
      fake.tasks = [
        fakeTask({ id: "out", source: shardIdAt(0), sourceNode: A, target: shardIdAt(1), targetNode: B }),
        fakeTask({
          id: "in",
          source: shardIdAt(1),
          target: shardIdAt(0),
          phase: "completed",
          endedAtMs: 1_800_000_005_500,
          cause: "done",
        }),
      ];
      const told = await run("cluster getslotmigrations");
      expect(told).toStartWith(
        "[[name in operation IMPORT slot_ranges 0-9 target_node  source_node  create_time 1800000000 last_update_time 1800000005 last_ack_time 1800000005 state success message done cow_size 0] ",
      );
      expect(told).toContain(
        `[name out operation EXPORT slot_ranges 0-9 target_node ${B} source_node ${A} create_time 1800000000`,
      );
      expect(told).toContain("state streaming message  cow_size 0]");
      expect(await run("cluster cancelslotmigrations")).toBe("OK");
      expect(asked()).toEqual(["cancel out: CLUSTER CANCELSLOTMIGRATIONS"]);
      fake.tasks = [];
      expect(await run("cluster cancelslotmigrations")).toBe("ERR No migrations ongoing");
    });
  });
});

test("where nobody moves slots, each of them says so", async () => {
  const topology = new FixedTopology(MAP);
  const node = await startLocalNode({ plugins: WITHOUT }, { plugins: [topology.plugin] });
  const client = localClient(node);
  for (const line of [
    "move n1 slotsrange 7 7",
    "migrations",
    "cancelmigration x",
    "migration status all",
    "getslotmigrations",
  ]) {
    expect(await client.run(`cluster ${line}`)).toBe("ERR no plugin of this node moves slots");
  }
  client.close();
  await node.stop();
});
