/** slot-stats: what CLUSTER SLOT-STATS and SLOTLOADS tell, on virtual time. */
import { beforeAll, describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { keySlot } from "../../src/codec/slot.ts";
import { slotLoadsService } from "../../src/contracts/slot-loads.ts";
import type { Node } from "../../src/node.ts";
import { SimNodes } from "../support/sim-nodes.ts";

const slotOf = (key: string): number => keySlot(new TextEncoder().encode(key), 0, key.length);
const [HOT, WARM] = [slotOf("hot"), slotOf("warm")];
const OPERATIONS = 3200;

/** One command after another on one connection. */
async function work(nodes: SimNodes, node: Node, lines: readonly (readonly string[])[]): Promise<void> {
  const connection = node.connect();
  const done = (async () => {
    for (const line of lines) await connection.execute(...line);
  })();
  await nodes.simulation.settle("work", done, 60_000);
  connection.close();
}

describe("one node with all slots, which has had commands on two", () => {
  let nodes: SimNodes;
  beforeAll(async () => {
    nodes = new SimNodes([{ name: "a" }]);
    await nodes.up(1);
    await nodes.until("it to serve", () => nodes.topology(0).waitingFor === undefined);
    await work(nodes, nodes.node(0), [
      ["set", "hot", "x".repeat(100)],
      ["set", "warm", "1"],
      // In turn, two and one: a sample that took each sixteenth would still see both, one that goes by an even number of pairs would not.
      ...Array.from({ length: OPERATIONS }, (_, at) => ["get", at % 4 === 3 ? "warm" : "hot"]),
    ]);
  });
  const stat = async (slot: number, name: string): Promise<number> => {
    const told = await nodes.run(0, `cluster slot-stats slotsrange ${slot} ${slot}`);
    const value = new RegExp(`"${name}" => (\\d+)`).exec(told.replaceAll(/"([a-z-]+)": /g, '"$1" => '))?.[1];
    return Number(present(value, `${name} in ${told}`));
  };

  test("keys and bytes are exact", async () => {
    expect(await stat(HOT, "key-count")).toBe(1);
    expect(await stat(HOT, "memory-bytes")).toBeGreaterThan(100);
    expect(await stat(HOT + 1, "key-count")).toBe(0);
  });

  test("traffic is estimated: from one command in sixteen, near what it was, and nothing where nothing was", async () => {
    const sent = "*2\r\n$3\r\nget\r\n$3\r\nhot\r\n".length;
    const share = (await stat(HOT, "network-bytes-in")) / (OPERATIONS * 0.75 * sent);
    expect(share).toBeGreaterThan(0.8);
    expect(share).toBeLessThan(1.2);
    const received = "$100\r\n".length + 100 + 2;
    const replied = (await stat(HOT, "network-bytes-out")) / (OPERATIONS * 0.75 * received);
    expect(replied).toBeGreaterThan(0.8);
    expect(replied).toBeLessThan(1.2);
    expect(await stat(WARM, "network-bytes-in")).toBeGreaterThan(0);
    expect(await stat(HOT + 1, "network-bytes-in")).toBe(0);
  });

  test("ORDERBY orders, by the slot where the numbers are equal; LIMIT and ASC count, and wrong words are refused as in Redis", async () => {
    const order = async (words: string): Promise<readonly number[]> => {
      const told = await nodes.run(0, `cluster slot-stats orderby ${words}`);
      return [...told.matchAll(/\[(\d+) /g)].map(([, slot]) => Number(slot));
    };
    expect(await order("network-bytes-out limit 3")).toEqual([HOT, WARM, 0]);
    expect(new Set(await order("key-count limit 2"))).toEqual(new Set([HOT, WARM]));
    expect(await order("memory-bytes asc limit 2")).toEqual([0, 1]);
    const refused = async (line: string): Promise<string> => nodes.run(0, `cluster slot-stats ${line}`);
    expect(await refused("orderby beauty")).toBe("ERR Unrecognized sort metric for ORDERBY.");
    expect(await refused("orderby key-count limit 0")).toBe(
      "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).",
    );
    expect(await refused("orderby key-count asc desc")).toBe("ERR Multiple filters of the same type are disallowed.");
    expect(await refused("orderby key-count sideways")).toBe("ERR syntax error");
    expect(await refused("slotsrange 5 1")).toBe("ERR Start slot number 5 is greater than end slot number 1");
    expect(await refused("slotsrange 5 16384")).toBe("ERR Invalid or out of range slot");
    expect(await refused("somewhere 1 2")).toContain("unknown subcommand or wrong number of arguments");
  });

  test("loads are of the last minute or so: they fade, and the service tells what SLOTLOADS does", async () => {
    await nodes.simulation.runFor(6000);
    const told = async (): Promise<ReadonlyMap<number, readonly number[]>> => {
      const numbers = (await nodes.run(0, "cluster slotloads")).replaceAll(/[[\]]/g, "").split(" ").map(Number);
      return new Map(
        Array.from({ length: numbers.length / 5 }, (_, at) => [
          numbers[5 * at] ?? -1,
          numbers.slice(5 * at + 1, 5 * at + 5),
        ]),
      );
    };
    const loads = await told();
    expect(new Set(loads.keys())).toEqual(new Set([HOT, WARM]));
    const [keys, bytes, hot = 0] = loads.get(HOT) ?? [];
    const [, , warm = 0] = loads.get(WARM) ?? [];
    expect([keys, (bytes ?? 0) > 100]).toEqual([1, true]);
    expect(hot).toBeGreaterThan(2 * warm);
    const service = present(nodes.node(0).service(slotLoadsService), "there is a service");
    expect(service.all.map(({ slot, operations }) => [slot, operations])).toEqual(
      [...loads].map(([slot, [, , operations]]) => [slot, operations ?? -1]),
    );
    await nodes.simulation.runFor(300_000);
    expect((await told()).get(HOT)?.[2] ?? 0).toBeLessThan(hot / 10);
  });

  test("CONFIG RESETSTAT forgets what was counted, and not what is there", async () => {
    await nodes.run(0, "config resetstat");
    expect([await stat(HOT, "network-bytes-in"), await stat(HOT, "key-count")]).toEqual([0, 1]);
  });

  test("a slot that is taken away and comes back begins at zero", async () => {
    await work(
      nodes,
      nodes.node(0),
      Array.from({ length: 64 }, () => ["get", "hot"]),
    );
    expect(await stat(HOT, "network-bytes-in")).toBeGreaterThan(0);
    await nodes.run(0, `cluster delslots ${HOT}`);
    expect(await nodes.run(0, `cluster slot-stats slotsrange ${HOT} ${HOT}`)).toBe("[]");
    await nodes.run(0, `cluster addslots ${HOT}`);
    expect(await stat(HOT, "network-bytes-in")).toBe(0);
  });
});
