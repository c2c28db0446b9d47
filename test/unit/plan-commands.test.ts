/** plan-commands: CLUSTER PLAN, on nodes that ask each other: what it tells, and that it changes nothing. */
import { beforeAll, describe, expect, test } from "bun:test";
import { ReplyError, type ReplyValue } from "../../src/codec/resp-reader.ts";
import { keySlot } from "../../src/codec/slot.ts";
import { pairsOf, textOf } from "../../src/codec/reply-fields.ts";
import { SimNodes, hostOf } from "../support/sim-nodes.ts";

const COUNT = 3;

describe("CLUSTER PLAN at one of three nodes", () => {
  const config = { join: `${hostOf(0)}:16379`, bootstrapExpect: COUNT, replicas: 0, plugins: { resp: {} } };
  const nodes = new SimNodes(Array.from({ length: COUNT }, (_, at) => ({ ...config, name: `node-${at}` })));
  const all = Array.from({ length: COUNT }, (_, at) => at);
  beforeAll(async () => {
    await nodes.up(COUNT);
    await nodes.until("one cluster", () => nodes.isOne(...all));
  });
  const shardOf = (at: number): string => nodes.topology(at).selfShard?.id ?? "";
  const ask = async (...words: readonly string[]): Promise<ReplyValue> => {
    const connection = nodes.node(0).connect();
    await nodes.simulation.settle("HELLO", connection.execute("HELLO", "2"), 1000);
    const reply = await nodes.simulation.settle(
      words.join(" "),
      connection.execute("CLUSTER", "PLAN", ...words),
      20_000,
    );
    connection.close();
    return reply;
  };
  const planOf = async (...words: readonly string[]): Promise<ReadonlyMap<string, ReplyValue>> =>
    pairsOf(await ask(...words));
  const itemsOf = (value: ReplyValue | undefined): readonly ReplyValue[] => value as readonly ReplyValue[];
  const movesOf = (plan: ReadonlyMap<string, ReplyValue>): readonly string[] =>
    itemsOf(plan.get("moves")).map((move) => {
      const fields = pairsOf(move);
      return `${textOf(fields.get("source"))} ${textOf(fields.get("target"))} ${textOf(fields.get("slots"))}`;
    });

  test("tells what would move by weights, with what all nodes hold, and moves nothing", async () => {
    for (const at of all) {
      const { first, last } = nodes.topology(at).selfShard?.slots[0] ?? { first: 0, last: 0 };
      const isOwn = (name: string): boolean => {
        const slot = keySlot(new TextEncoder().encode(name), 0, name.length);
        return first <= slot && slot <= last;
      };
      const key = Array.from({ length: 100 }, (_, number) => `key-${number}`).find(isOwn) ?? "";
      expect(await nodes.run(at, `SET ${key} 1`)).toBe("OK");
    }
    const { version, clusterId } = nodes.topology(0).map;
    const plan = await planOf("REBALANCE", "WEIGHTS", "node-2=0", "THRESHOLD", "0");
    expect(Number(plan.get("map-version"))).toBe(version);
    expect([plan.get("kind"), plan.get("by"), plan.get("cluster-id")].map(textOf)).toEqual([
      "rebalance",
      "slots",
      clusterId,
    ]);
    const moves = movesOf(plan);
    expect(moves).toHaveLength(2);
    expect(moves.every((move) => move.startsWith(`${shardOf(2)} `))).toBe(true);
    // The key of the node that gives was counted there.
    expect(Number(plan.get("keys"))).toBe(1);
    expect(Number(plan.get("slots"))).toBe(5461);
    const shares = itemsOf(plan.get("shares")).map(pairsOf);
    expect(shares.map((share) => [Number(share.get("slots-before")), Number(share.get("slots-after"))])).toEqual([
      [5461, 8192],
      [5462, 8192],
      [5461, 0],
    ]);
    expect(shares.map((share) => textOf(share.get("weight")))).toEqual(["1", "1", "0"]);
    expect([plan.get("warnings"), plan.get("left-out")]).toEqual([[], []]);
    expect(nodes.topology(0).map.version).toBe(version);
    // What it says can be done as it says it.
    const [move = ""] = moves;
    const [, target = "", slots = ""] = move.split(" ");
    const [first = "", last = ""] = slots.split("-");
    const begun = await nodes.run(0, `CLUSTER MOVE ${target} SLOTSRANGE ${first} ${last} MAPVERSION ${version}`);
    expect(begun).toMatch(/^\[[0-9a-f]{8}\]$/);
    await nodes.until("it to be moved", () => nodes.topology(0).map.migrations.length === 0);
    expect(await nodes.run(0, `CLUSTER MOVE ${shardOf(1)} SLOTSRANGE 0 0 MAPVERSION ${version}`)).toStartWith(
      "ERR stale: ",
    );
  });

  test("tells what would empty a shard", async () => {
    const plan = await planOf("DRAIN", "node-1", "BY", "keys");
    expect([plan.get("kind"), plan.get("by")].map(textOf)).toEqual(["drain", "keys"]);
    expect(movesOf(plan).every((move) => move.startsWith(`${shardOf(1)} `))).toBe(true);
  });

  test.each([
    [["REBALANCE", "BY", "beauty"], "ERR BY is one of slots, keys, bytes, load"],
    [["REBALANCE", "BY"], "ERR syntax error"],
    [["REBALANCE", "THRESHOLD", "100"], "ERR THRESHOLD is a percentage below 100"],
    [["REBALANCE", "WEIGHTS", "node-1"], "ERR weights are SHARD=NUMBER, with a comma between two: a=2,b=0"],
    [
      ["REBALANCE", "WEIGHTS", "node-1=1,node-0=1,node-1=2"],
      "ERR the shard of node-1 has more than one weight: give each shard one",
    ],
    [["REBALANCE", "WEIGHTS", "x=1"], "ERR there is no shard or node x"],
    [
      ["REBALANCE", "WEIGHTS", "node-0=0,node-1=0,node-2=0"],
      "ERR there is no such plan: there is no shard that slots could go to",
    ],
    [["REBALANCE", "node-1"], "ERR syntax error"],
    [["DRAIN"], "ERR wrong number of arguments for 'cluster|plan' command"],
    [["DRAIN", "x"], "ERR there is no shard or node x"],
    [["DRAIN", "node-1", "SKIPEMPTY"], "ERR syntax error"],
    [["APPLY", "x"], "ERR syntax error"],
  ])("%p is refused: %s", async (words, error) => {
    const reply = await ask(...words);
    expect(reply instanceof ReplyError ? reply.message : reply).toBe(error);
  });

  test("leaves out whoever does not answer, and says so", async () => {
    const lost = shardOf(2);
    nodes.simulation.crash(hostOf(2));
    const plan = await planOf("REBALANCE", "SKIPEMPTY", "ALLOWFEWERCOPIES");
    expect(itemsOf(plan.get("left-out")).map(textOf)).toEqual([lost, "its primary does not answer"]);
    expect(movesOf(plan).some((move) => move.includes(lost))).toBe(false);
  });
});
