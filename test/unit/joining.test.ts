/** Nodes that look for a cluster by seeds, in the orders of events that go wrong: on the simulated world, with whole nodes. */
import { describe, expect, test } from "bun:test";
import { BUS_PORT_OFFSET, type Config } from "../../src/config.ts";
import { present } from "../../src/assert.ts";
import { busService } from "../../src/contracts/bus.ts";
import { consensusService } from "../../src/contracts/consensus.ts";
import { startLocalNode } from "../support/local-node.ts";
import { PORT, SETTLE_MS, SimNodes, hostOf } from "../support/sim-nodes.ts";

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

describe("a second node that goes by the name of a member", () => {
  const incarnationOf = (nodes: SimNodes, at: number): number => nodes.topology(at).self.incarnation;

  test("is not taken in while that one lives, is told where it is, and takes its place when it is gone", async () => {
    const nodes = new SimNodes([{ name: "a" }, { name: "b", join: bus(0) }, { name: "b", join: bus(0) }]);
    const cut = nodes.simulation.isolate([hostOf(2)]);
    await nodes.up(3);
    await nodes.until("one cluster", () => nodes.isOne(0, 1));
    const admitted = incarnationOf(nodes, 1);
    cut.heal();
    await nodes.simulation.runFor(60_000);
    expect(nodes.isOne(0, 1)).toBe(true);
    expect(incarnationOf(nodes, 1)).toBe(admitted);
    expect(nodes.waitsFor(2)).toStartWith(
      `the cluster to take it in: node ${nodes.topology(1).self.id} is a member already, at ${bus(1)}, and alive`,
    );
    // It says so once.
    expect(nodes.logged(2, "the cluster does not take this node in")).toHaveLength(1);
    nodes.simulation.crash(hostOf(1));
    await nodes.until("the other in its place", () => nodes.isOne(0, 2));
  });

  test("takes its place alone, if there are two of them", async () => {
    const nodes = new SimNodes([{ name: "a" }, ...[1, 2, 3].map(() => ({ name: "b", join: bus(0) }))]);
    const cut = nodes.simulation.isolate([hostOf(2), hostOf(3)]);
    await nodes.up(4);
    await nodes.until("one cluster", () => nodes.isOne(0, 1));
    nodes.simulation.crash(hostOf(1));
    await nodes.simulation.runFor(5000);
    cut.heal();
    const inPlace = (): number | undefined => [2, 3].find((at) => nodes.isOne(0, at));
    await nodes.until("one in its place", () => inPlace() !== undefined);
    const at = present(inPlace(), "one is in its place");
    const admitted = incarnationOf(nodes, at);
    await nodes.simulation.runFor(30_000);
    expect([inPlace(), incarnationOf(nodes, at)]).toEqual([at, admitted]);
    expect(nodes.waitsFor(5 - at)).toContain(`is a member already, at ${bus(at)}, and alive`);
  });

  test("is not taken in either when it is the leader's name, or when the cluster is told to meet it", async () => {
    const nodes = new SimNodes([
      { name: "a" },
      { name: "b", join: bus(0) },
      { name: "a", join: bus(1) },
      { name: "b" },
    ]);
    const cut = nodes.simulation.isolate([hostOf(2), hostOf(3)]);
    await nodes.up(4);
    await nodes.until("one cluster", () => nodes.isOne(0, 1));
    const admitted = [0, 1].map((at) => incarnationOf(nodes, at));
    cut.heal();
    await nodes.meet(0, 3);
    await nodes.simulation.runFor(60_000);
    expect(nodes.isOne(0, 1)).toBe(true);
    expect([0, 1].map((at) => incarnationOf(nodes, at))).toEqual(admitted);
    expect(nodes.waitsFor(2)).toContain(`is a member already, at ${bus(0)}, and alive`);
    expect(nodes.isOne(3)).toBe(true);
    expect(await nodes.info(3, "meet_last_error")).toContain(`is a member already, at ${bus(1)}, and alive`);
    expect(nodes.slotsOf(3)).toBe(16_384);
  });

  test("is that node when it is where it was: it is back at once", async () => {
    const nodes = new SimNodes([{ name: "a" }, { name: "b", join: bus(0) }]);
    await nodes.up(2);
    await nodes.until("one cluster", () => nodes.isOne(0, 1));
    nodes.simulation.crash(hostOf(1));
    nodes.simulation.restart(hostOf(1));
    await nodes.until("it to be back", () => nodes.count === 2 && nodes.isOne(0, 1), 2000);
  });
});

describe("a node that listens on every address, and does not say where it is reached", () => {
  const everywhere = { host: "0.0.0.0", insecure: true } as const;
  const listed = ["a", "b"].map((name, at) => ({ name, host: hostOf(at), port: PORT, slots: [] }));
  const cases: readonly (readonly [string, Config])[] = [
    ["to join", { join: bus(0) }],
    ["to join, over IPv6", { host: "::", join: bus(0) }],
    ["to found with others", { join: bus(0), bootstrapExpect: 3 }],
    ["of a list", { name: "a", plugins: { topology: { nodes: listed } } }],
    ["that clients are not told either", { join: bus(0), announceBusHost: hostOf(1) }],
  ];
  for (const [what, config] of cases) {
    test(`does not start: ${what}`, () => {
      expect(startLocalNode({ ...everywhere, ...config })).rejects.toThrow(
        /^A node that listens on every address \((0.0.0.0|::)\) does not say where .* give that with --announce-host\.$/,
      );
    });
  }

  test.each([
    ["announceHost", { announceHost: "0.0.0.0" }, "0.0.0.0"],
    ["announceHost", { announceHost: "::", host: "127.0.0.1" }, "::"],
    ["announceHost", { announceHost: "10.0.0.1,0.0.0.0", join: bus(0) }, "0.0.0.0"],
    ["announceBusHost", { announceBusHost: "0.0.0.0" }, "0.0.0.0"],
  ] as const)("does not start if that is what it tells, even alone: %s", (name, config, told) => {
    expect(startLocalNode({ ...everywhere, ...config })).rejects.toThrow(
      `Setting "${name}" names every address (${told}), to which nobody can connect: it must be where this node is reached.`,
    );
  });

  test("is a cluster by itself, and meets nobody; with an address to tell it does", async () => {
    const nodes = new SimNodes([{ ...everywhere }, { name: "b" }, { ...everywhere, announceHost: hostOf(2) }]);
    await nodes.up(3);
    expect(nodes.isOne(0)).toBe(true);
    expect(await nodes.run(0, "SET k v")).toBe("OK");
    expect(await nodes.run(0, `CLUSTER MEET ${hostOf(1)} ${PORT}`)).toStartWith(
      "ERR this node listens on every address, and does not say where other nodes and clients reach it",
    );
    await nodes.meet(1, 0);
    await nodes.simulation.runFor(70_000);
    expect(nodes.isOne(0) && nodes.isOne(1)).toBe(true);
    expect(nodes.logged(0, "this node cannot talk to others")).toHaveLength(1);
    await nodes.meet(1, 2);
    await nodes.until("one cluster", () => nodes.isOne(1, 2));
    expect(nodes.topology(1).node(nodes.topology(2).self.id)).toMatchObject({ host: hostOf(2), busHost: hostOf(2) });
  });
});

describe("a node that cannot move to another cluster at this moment", () => {
  test("stays where it is, also when it starts again", async () => {
    const founding: Config = { join: bus(0, 1), bootstrapExpect: 2, dataDir: "data" };
    const nodes = new SimNodes([
      { name: "a", ...founding },
      { name: "b", ...founding },
    ]);
    await nodes.up(2);
    const isFounding = (): boolean => {
      const { group, role } = nodes.consensus(0).status;
      return group !== "" && role === "forming";
    };
    await nodes.until("its group to be founded", isFounding);
    const moved = nodes.topology(0).moveTo("f".repeat(40), [{ host: "10.0.0.9", port: PORT + BUS_PORT_OFFSET }]);
    expect(await nodes.simulation.settle("a refusal", moved, SETTLE_MS)).toBe("the group is being founded");
    expect(nodes.node(0).facts).toMatchObject({ joining: undefined, isReset: false });
    await nodes.until("one cluster", () => nodes.isOne(0, 1));
    const { clusterId } = nodes.topology(1).map;
    nodes.simulation.crash(hostOf(0));
    nodes.simulation.restart(hostOf(0));
    await nodes.until("one cluster again", () => nodes.count === 2 && nodes.isOne(0, 1));
    expect(nodes.topology(0).map.clusterId).toBe(clusterId);
  });
});

describe("a node that founds alone", () => {
  test("is in its group under the port that it listens on, also if the machine chose that", async () => {
    const node = await startLocalNode({ port: 0 });
    const { port } = present(node.service(busService), "a bus").address;
    expect(port).not.toBe(BUS_PORT_OFFSET);
    const members = present(node.service(consensusService), "consensus").status.members;
    expect(members.map(({ address }) => address)).toEqual([{ host: "127.0.0.1", port }]);
    await node.stop();
  });
});

describe("a node without a name that starts again where it was", () => {
  test("is not given the slots that it has lost, is told what to do, and takes its place once they are given up", async () => {
    const nodes = new SimNodes([{ name: "a", empty: true }, { join: bus(0) }]);
    await nodes.up(2);
    await nodes.until("one cluster", () => nodes.isOne(0, 1));
    expect(await nodes.run(1, "CLUSTER ADDSLOTSRANGE 0 9 20 29")).toBe("OK");
    const former = nodes.topology(1).self.id;
    nodes.simulation.crash(hostOf(1));
    nodes.simulation.restart(hostOf(1));
    await nodes.until("a refusal", () => nodes.count === 2 && nodes.waitsFor(1).includes("take it in"));
    await nodes.simulation.runFor(20_000);
    expect(nodes.waitsFor(1)).toContain(
      `node ${former}, which was at ${hostOf(1)}:${PORT} before, owns slots, and has no name by which it could come back`,
    );
    const [way = ""] = /CLUSTER DELSLOTSRANGE [0-9 ]+[0-9]/.exec(nodes.waitsFor(1)) ?? [];
    expect(await nodes.run(0, way)).toBe("OK");
    await nodes.until("it to be in its place", () => nodes.isOne(0, 1));
    expect(nodes.topology(0).node(former)).toBeUndefined();
  });
});
