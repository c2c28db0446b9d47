/** cluster-commands: the formats that clients and redis-cli parse, from a map of three nodes; and hash-slot-router's answers on it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ReplyError, type ReplyValue } from "../../src/codec/resp-reader.ts";
import { readMapFile } from "../../src/cli/map-file.ts";
import { idOfName } from "../../src/identity.ts";
import { type Node, createNode } from "../../src/node.ts";
import { canonicalRanges, divideSlots, parseSlotRange } from "../../src/protocol/slot-ranges.ts";
import { createBunWorld } from "../../src/world-bun.ts";

const NODES = [
  { name: "a", host: "127.0.0.1", port: 7001, slots: ["0-5", "7", "100-5460"] },
  { name: "b", host: "127.0.0.1", port: 7002, slots: ["5461-10922"] },
  { name: "c", host: "c.example", port: 7003, busPort: 9000, slots: ["10923-16000"] },
];

function text(value: ReplyValue): string {
  return value instanceof Uint8Array
    ? new TextDecoder().decode(value)
    : value instanceof ReplyError
      ? value.message
      : JSON.stringify(value);
}

describe("node a of three", () => {
  let node: Node;
  beforeAll(async () => {
    node = await createNode({
      world: createBunWorld({ logLevel: "silent" }),
      config: { name: "a", plugins: { resp: false, raft: false, bus: false, topology: { nodes: NODES } } },
    });
    await node.start();
  });
  afterAll(() => node.stop());
  const run = async (...parts: readonly string[]): Promise<ReplyValue> => {
    const connection = node.connect();
    await connection.execute("hello", "2");
    return connection.execute(...parts);
  };

  test("CLUSTER NODES has a line for each, ranges canonical", async () => {
    const [a, b, c] = ["a", "b", "c"].map(idOfName);
    expect(
      text(await run("cluster", "nodes"))
        .split("\n")
        .toSorted(),
    ).toEqual(
      [
        "",
        `${a} 127.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-5 7 100-5460`,
        `${b} 127.0.0.1:7002@17002 master - 0 0 2 connected 5461-10922`,
        `${c} c.example:7003@9000,c.example master - 0 0 3 connected 10923-16000`,
      ].toSorted(),
    );
  });

  test("CLUSTER MAP tells the whole map, in the form that bunch import reads", async () => {
    const map = readMapFile(text(await run("cluster", "map")), "what it said");
    const [a, b] = ["a", "b"].map(idOfName);
    expect([...map.nodes.values()].map(({ name, port }) => [name, port])).toEqual([
      ["a", 7001],
      ["b", 7002],
      ["c", 7003],
    ]);
    expect([...map.shards.values()].map(({ primary }) => primary).slice(0, 2)).toEqual([a, b] as string[]);
    expect([...map.shards.values()][1]?.slots).toEqual([{ first: 5461, last: 10_922 }]);
  });

  test("CLUSTER SLOTS has an entry for each range, in order", async () => {
    const slots = (await run("cluster", "slots")) as readonly (readonly ReplyValue[])[];
    expect(slots.map(([first, last]) => [first, last])).toEqual([
      [0, 5],
      [7, 7],
      [100, 5460],
      [5461, 10_922],
      [10_923, 16_000],
    ]);
    const owner = slots[0]?.[2] as readonly ReplyValue[];
    expect([text(owner[0] ?? null), owner[1], text(owner[2] ?? null), owner[3]]).toEqual([
      "127.0.0.1",
      7001,
      idOfName("a"),
      [],
    ]);
  });

  test("CLUSTER SHARDS, INFO, MYID and MYSHARDID agree with it", async () => {
    const shards = (await run("cluster", "shards")) as readonly (readonly ReplyValue[])[];
    expect(shards).toHaveLength(3);
    expect(shards[0]?.[1]).toEqual([0, 5, 7, 7, 100, 5460]);
    const info = text(await run("cluster", "info"));
    // Not every slot is assigned.
    expect(info).toContain("cluster_state:fail\r\ncluster_slots_assigned:15908\r\n");
    expect(info).toContain("cluster_known_nodes:3\r\ncluster_size:3\r\n");
    expect(text(await run("cluster", "myid"))).toBe(idOfName("a"));
    expect(text(await run("cluster", "myshardid"))).toMatch(/^[0-9a-f]{40}$/);
    expect(text(await run("cluster", "replicas", idOfName("b")))).toBe("[]");
    expect(text(await run("cluster", "replicas", "nobody"))).toBe("ERR Unknown node nobody");
  });

  test("CLUSTER SLOT-STATS counts the keys and bytes of own slots", async () => {
    // A tag in slot 101, found by trying.
    let tag = 0;
    while (text(await run("cluster", "keyslot", `{${tag}}`)) !== "101") tag += 1;
    await run("set", `{${tag}}1`, "x");
    await run("set", `{${tag}}2`, "x");
    const [stats] = (await run(
      "cluster",
      "slot-stats",
      "slotsrange",
      "101",
      "101",
    )) as readonly (readonly ReplyValue[])[];
    expect(stats?.[0]).toBe(101);
    const counts = stats?.[1] as readonly ReplyValue[];
    expect([text(counts[0] ?? null), counts[1], text(counts[2] ?? null)]).toEqual(["key-count", 2, "memory-bytes"]);
    const ordered = (await run(
      "cluster",
      "slot-stats",
      "orderby",
      "key-count",
      "limit",
      "1",
    )) as readonly (readonly ReplyValue[])[];
    expect(ordered[0]?.[0]).toBe(101);
    expect((await run("cluster", "slot-stats", "slotsrange", "6000", "6001")) as unknown).toEqual([]);
    expect(text(await run("cluster", "slot-stats", "slotsrange", "5", "1"))).toContain("greater than end slot");
  });

  test("the router answers MOVED, CROSSSLOT and CLUSTERDOWN in Redis' words, and serves what is its own", async () => {
    expect(text(await run("get", "foo"))).toBe("MOVED 12182 c.example:7003");
    // Slot 866 is its own.
    expect(await run("get", "hello")).toBeNull();
    expect(text(await run("mget", "a", "b"))).toBe("CROSSSLOT Keys in request don't hash to the same slot");
    let key = 0;
    while (Number(text(await run("cluster", "keyslot", String(key)))) <= 16_000) key += 1;
    expect(text(await run("set", String(key), "x"))).toBe("CLUSTERDOWN Hash slot not served");
    expect(text(await run("ping"))).toBe('"PONG"');
    expect(text(await run("bitop", "and", "{foo}1", "{foo}2", "b"))).toStartWith("CROSSSLOT");
  });
});

test("divideSlots covers all slots, each once, as evenly as can be", () => {
  for (const count of [1, 2, 3, 5, 6, 7, 100, 16_384]) {
    const ranges = divideSlots(count);
    expect(ranges).toHaveLength(count);
    expect(ranges[0]?.first).toBe(0);
    expect(ranges.at(-1)?.last).toBe(16_383);
    for (const [index, { first, last }] of ranges.entries()) {
      if (index > 0) expect(first).toBe((ranges[index - 1]?.last ?? 0) + 1);
      expect(Math.abs(last - first + 1 - 16_384 / count)).toBeLessThan(1.01);
    }
  }
  expect(divideSlots(3)).toEqual([
    { first: 0, last: 5460 },
    { first: 5461, last: 10_922 },
    { first: 10_923, last: 16_383 },
  ]);
});

test("canonicalRanges joins what touches, and parseSlotRange refuses what is none", () => {
  expect(
    canonicalRanges([
      { first: 5, last: 9 },
      { first: 0, last: 3 },
      { first: 4, last: 4 },
      { first: 20, last: 21 },
    ]),
  ).toEqual([
    { first: 0, last: 9 },
    { first: 20, last: 21 },
  ]);
  expect(["5", "0-16383", " 1-2 "].map(parseSlotRange)).toEqual([
    { first: 5, last: 5 },
    { first: 0, last: 16_383 },
    { first: 1, last: 2 },
  ]);
  expect(["", "a", "2-1", "16384", "0-16384", "-1", "1-2-3"].map(parseSlotRange)).toEqual(
    Array.from({ length: 7 }, () => undefined),
  );
});
