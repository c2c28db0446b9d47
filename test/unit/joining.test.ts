/** Nodes that look for a cluster by seeds, in the orders of events that go wrong: on the simulated world, with whole nodes. */
import { describe, expect, test } from "bun:test";
import { BUS_PORT_OFFSET } from "../../src/config.ts";
import { PORT, SimNodes, hostOf } from "../support/sim-nodes.ts";

const bus = (...which: readonly number[]): string =>
  which.map((at) => `${hostOf(at)}:${PORT + BUS_PORT_OFFSET}`).join(",");

describe("a node that expects nobody else (--bootstrap-expect 1)", () => {
  test("founds alone when its seeds are its own address, or there are none", async () => {
    const nodes = new SimNodes([{ join: bus(0), bootstrapExpect: 1 }, { bootstrapExpect: 1 }]);
    await nodes.up(2);
    for (const at of [0, 1]) {
      await nodes.until("a cluster of one node", () => nodes.isOne(at));
      expect(nodes.slotsOf(at)).toBe(16_384);
    }
  });

  test("joins the cluster that a seed is in", async () => {
    const nodes = new SimNodes([{ name: "a" }, { name: "b", join: bus(0, 1), bootstrapExpect: 1 }]);
    await nodes.until("one cluster", () => nodes.count === 2 && nodes.isOne(0, 1));
    expect(nodes.slotsOf(1)).toBe(0);
  });

  test("waits for a seed that cannot be reached, says so, and joins the cluster that is there when it can", async () => {
    const nodes = new SimNodes([{ name: "a" }, { name: "b", join: bus(0), bootstrapExpect: 1 }]);
    const cut = nodes.simulation.isolate([hostOf(0)]);
    await nodes.up(2);
    await nodes.simulation.runFor(60_000);
    expect(nodes.waitsFor(1)).toStartWith(`word from ${bus(0)} that there is no cluster yet`);
    cut.heal();
    await nodes.until("one cluster", () => nodes.isOne(0, 1));
  });

  test("founds when all its seeds say that they know of none, and they join it", async () => {
    const nodes = new SimNodes([
      { name: "a", join: bus(0, 1, 2), bootstrapExpect: 1 },
      { name: "b", join: bus(0, 1, 2) },
      { name: "c", join: bus(0, 1, 2) },
    ]);
    await nodes.up(3);
    await nodes.until("one cluster", () => nodes.isOne(0, 1, 2));
    expect(nodes.slotsOf(0)).toBe(16_384);
  });

  test("does not found beside another that would", async () => {
    const nodes = new SimNodes([
      { name: "a", join: bus(0, 1), bootstrapExpect: 1 },
      { name: "b", join: bus(0, 1), bootstrapExpect: 1 },
    ]);
    await nodes.up(2);
    await nodes.simulation.runFor(30_000);
    for (const at of [0, 1]) expect(nodes.waitsFor(at)).toStartWith("fewer nodes: 2 would found a cluster of 1");
  });

  test("that starts again with its old flags finds the cluster that it has founded", async () => {
    const nodes = new SimNodes([
      { name: "a", join: bus(0, 1, 2), bootstrapExpect: 1 },
      { name: "b", join: bus(0) },
      { name: "c", join: bus(0) },
    ]);
    await nodes.up(3);
    await nodes.until("one cluster", () => nodes.isOne(0, 1, 2));
    const { clusterId } = nodes.topology(1).map;
    await nodes.simulation.runFor(10_000);
    nodes.simulation.crash(hostOf(0));
    nodes.simulation.restart(hostOf(0));
    await nodes.until("one cluster again", () => nodes.count === 3 && nodes.isOne(0, 1, 2));
    expect(nodes.topology(0).map.clusterId).toBe(clusterId);
  });
});
