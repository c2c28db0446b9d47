/** CLUSTER MEET, in the orders of events that go wrong: on the simulated world, with whole nodes. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { keySlot } from "../../src/codec/slot.ts";
import { BUS_PORT_OFFSET, type Config } from "../../src/config.ts";
import { meetingsService } from "../../src/contracts/meetings.ts";
import { PORT, SETTLE_MS, SimNodes as Nodes, hostOf } from "../support/sim-nodes.ts";

/** A cluster by itself with some slots. */
function alone(at: number, slots: string, more: Config = {}): Config {
  const name = `node-${at + 1}`;
  return { name, ...more, plugins: { topology: { nodes: [{ name, host: hostOf(at), port: PORT, slots: [slots] }] } } };
}
/** All slots, as a node has that is started without any flags. */
const ALL: Config = {};

describe("of two clusters with the same slots", () => {
  // Which of the two joins depends on their ids: seeds of both kinds.
  for (const [asked, seed] of [0, 1].flatMap((asked) => [1, 2, 3, 4].map((seed) => [asked, seed] as const))) {
    test(`the one with keys keeps them, whichever is asked: node ${asked}, seed ${seed}`, async () => {
      const nodes = new Nodes([{ name: "a" }, { name: "b" }], seed);
      await nodes.up(2);
      expect(await nodes.run(0, "SET k v")).toBe("OK");
      await nodes.meet(asked, 1 - asked);
      await nodes.until("one cluster", () => nodes.isOne(0, 1));
      expect(await nodes.run(0, "GET k")).toBe("v");
      expect([nodes.slotsOf(0), nodes.slotsOf(1)]).toEqual([16_384, 0]);
    });

    test(`both stay what they are if both have keys, and the one that was asked says why: node ${asked}, seed ${seed}`, async () => {
      const nodes = new Nodes([{ name: "a" }, { name: "b" }], seed);
      await nodes.up(2);
      for (const at of [0, 1]) expect(await nodes.run(at, "SET k v")).toBe("OK");
      await nodes.meet(asked, 1 - asked);
      await nodes.simulation.runFor(10_000);
      for (const at of [0, 1]) {
        expect(nodes.topology(at).map).toMatchObject({ seal: undefined, nodes: [{ name: at === 0 ? "a" : "b" }] });
        expect(await nodes.run(at, "GET k")).toBe("v");
        expect(nodes.slotsOf(at)).toBe(16_384);
      }
      expect(await nodes.info(asked, "meet_last_error")).toStartWith("slot 0 is owned by node ");
      expect(await nodes.info(asked, "meet_waiting")).toBe("0");
    });
  }
});

describe("a node that is refused for something else than its slots", () => {
  for (const seed of [1, 2, 3, 4]) {
    test(`keeps them, though it holds no keys: seed ${seed}`, async () => {
      // It says that clients reach it where they reach another one.
      const nodes = new Nodes(
        [
          alone(0, "0-99"),
          alone(1, "100-199"),
          { ...ALL, name: "c", announceHost: hostOf(1), announceBusHost: hostOf(2) },
        ],
        seed,
      );
      await nodes.up(3);
      await nodes.meet(0, 1);
      await nodes.until("two of them", () => nodes.isOne(0, 1));
      await nodes.meet(0, 2);
      await nodes.simulation.runFor(10_000);
      expect(nodes.topology(2).map).toMatchObject({ seal: undefined, nodes: [{ name: "c" }] });
      expect(nodes.slotsOf(2)).toBe(16_384);
      expect(await nodes.info(0, "meet_last_error")).toBe(`node node-2 has the address ${hostOf(1)}:${PORT} already`);
      expect(await nodes.info(0, "meet_waiting")).toBe("0");
    });
  }
});

describe("a member without a data directory that stops in order", () => {
  test("is taken in again when it comes back with its old flags", async () => {
    const nodes = new Nodes([alone(0, "0-8191"), { name: "b", empty: true }, { name: "c", empty: true }]);
    await nodes.up(3);
    for (const other of [1, 2]) await nodes.meet(0, other);
    await nodes.until("one cluster", () => nodes.isOne(0, 1, 2));
    await nodes.simulation.runFor(5000);
    await nodes.simulation.settle("the end", nodes.node(1).stop(), SETTLE_MS);
    nodes.simulation.crash(hostOf(1));
    await nodes.simulation.runFor(5000);
    nodes.simulation.restart(hostOf(1));
    await nodes.up(3);
    await nodes.until("one cluster again", () => nodes.isOne(0, 1, 2));
  });
});

describe("a node that was forgotten", () => {
  for (const kind of ["memory", "disk"] as const) {
    test(`while it was joining, stays out, and can be met again on purpose: ${kind}`, async () => {
      const more = kind === "disk" ? { dataDir: "data" } : {};
      const nodes = new Nodes([alone(0, "0-8191"), alone(1, "8192-16383"), { name: "c", empty: true, ...more }]);
      await nodes.up(3);
      await nodes.meet(0, 1);
      await nodes.until("two of them", () => nodes.isOne(0, 1));
      await nodes.meet(0, 2);
      // The cluster has it, and it does not know yet.
      const isIn = (): boolean => nodes.topology(0).map.nodes.length === 3;
      await nodes.until("it to be admitted", isIn);
      const cut = nodes.simulation.isolate([hostOf(2)]);
      expect(nodes.topology(2).map.seal).toBeDefined();
      expect(await nodes.run(0, `CLUSTER FORGET ${nodes.topology(2).self.id}`)).toBe("OK");
      cut.heal();
      await nodes.until("it to be out", () => nodes.isOut(2));
      await nodes.simulation.runFor(10_000);
      expect(nodes.isOut(2)).toBe(true);
      await nodes.meet(0, 2);
      await nodes.until("one cluster", () => nodes.isOne(0, 1, 2));
    });
  }

  test("is not taken in again because it is where a lost member was", async () => {
    const nodes = new Nodes([alone(0, "0-8191"), alone(1, "8192-16383"), { name: "c", empty: true }]);
    await nodes.up(3);
    for (const other of [1, 2]) await nodes.meet(0, other);
    await nodes.until("one cluster", () => nodes.isOne(0, 1, 2));
    expect(await nodes.run(0, `CLUSTER FORGET ${nodes.topology(2).self.id}`)).toBe("OK");
    await nodes.until("it to be out", () => nodes.isOut(2));
    // A member that never came has its address.
    const { introduction } = nodes.topology(2);
    const lost = { ...introduction, id: "f".repeat(40), name: "lost", start: "e".repeat(40) };
    const asked = nodes.topology(0).request({ type: "register-node", node: lost }, "a test");
    expect(await nodes.simulation.settle("a member", asked, SETTLE_MS)).toMatchObject({ type: "done" });
    await nodes.simulation.runFor(15_000);
    expect(nodes.isOut(2)).toBe(true);
  });
});

describe("a node that is being moved to another cluster", () => {
  test("is not reset meanwhile: one of the two happens", async () => {
    const nodes = new Nodes([alone(0, "0-8191"), alone(1, "8192-16383", { dataDir: "data" })]);
    await nodes.up(2);
    const topology = nodes.topology(1);
    const both = Promise.all([
      topology.moveTo("f".repeat(40), [{ host: hostOf(0), port: PORT + BUS_PORT_OFFSET }]),
      topology.beginAlone(topology.self.id, 0),
    ]);
    const problems = await nodes.simulation.settle("both", both, SETTLE_MS);
    expect(problems.filter((problem) => problem === undefined)).toHaveLength(1);
  });
});

describe("a node whose other cluster is gone before it has said whether it takes the node in", () => {
  test("waits for ever, and is itself again on the word of a person that it was not taken in", async () => {
    const nodes = new Nodes([alone(0, "0-99"), alone(1, "100-199"), alone(2, "200-299")]);
    await nodes.up(3);
    await nodes.meet(0, 1);
    await nodes.until("two of them", () => nodes.isOne(0, 1));
    const key = keyOf(200, 299);
    expect(await nodes.run(2, `SET ${key} v`)).toBe("OK");
    expect(await nodes.run(2, `CLUSTER ABANDONJOIN ${"0".repeat(40)} ASSUME-REFUSED`)).toBe(
      "ERR this node is not about to be part of another cluster",
    );
    await nodes.meet(0, 2);
    await nodes.until("its map to be sealed", () => nodes.topology(2).map.seal !== undefined);
    const cut = nodes.simulation.isolate([hostOf(2)]);
    await nodes.simulation.runFor(120_000);
    const cluster = nodes.topology(0).map.clusterId;
    expect(nodes.topology(2).map.seal?.clusterId).toBe(cluster);
    expect(await nodes.run(2, "CLUSTER ADDSLOTS 300")).toEndWith(
      "nothing changes until that is settled (if that cluster is gone for good: CLUSTER ABANDONJOIN)",
    );
    expect(await nodes.run(2, `CLUSTER ABANDONJOIN ${"0".repeat(40)} ASSUME-REFUSED`)).toBe(
      `ERR this node is about to be part of cluster ${cluster}, and of no other`,
    );
    const told = await nodes.run(2, `CLUSTER ABANDONJOIN ${cluster}`);
    expect(told).toStartWith(`ERR cluster ${cluster} may have taken this node in, with its slots`);
    expect(nodes.topology(2).map.seal).toBeDefined();
    const [way = ""] = /CLUSTER ABANDONJOIN [0-9a-f]+ ASSUME-REFUSED/.exec(told) ?? [];
    expect(await nodes.run(2, way)).toBe("OK");
    expect(nodes.topology(2).map.seal).toBeUndefined();
    expect(await nodes.run(2, `GET ${key}`)).toBe("v");
    expect(await nodes.run(2, "CLUSTER ADDSLOTS 300")).toBe("OK");
    // It has keys: the other cluster, come back, does not take it in by itself.
    cut.heal();
    await nodes.simulation.runFor(30_000);
    expect(nodes.topology(2).map).toMatchObject({ seal: undefined, nodes: [{ name: "node-3" }] });
    expect(await nodes.run(2, `GET ${key}`)).toBe("v");
  });
});

describe("the leader of a cluster in which many members are silent", () => {
  test("dials each of them in turn: one that came back knowing nothing is found behind a hundred others", async () => {
    const nodes = new Nodes([ALL, { empty: true }]);
    await nodes.up(2);
    const { introduction } = nodes.topology(1);
    const members = Array.from({ length: 150 }, (_, at) => ({
      ...introduction,
      id: at.toString(16).padStart(40, "0"),
      name: `lost-${at}`,
      host: `10.0.1.${at + 1}`,
      busHost: `10.0.1.${at + 1}`,
      start: at.toString(16).padStart(40, "e"),
    }));
    // The last of them is where the node is that knows nothing.
    const last = { ...introduction, id: "f".repeat(40), name: "", start: "e".repeat(40) };
    const requests = [...members, last].map((node) => ({ type: "register-node", node }) as const);
    const asked = nodes.topology(0).request({ type: "all", requests }, "a test");
    expect(await nodes.simulation.settle("members", asked, SETTLE_MS)).toMatchObject({ type: "done" });
    const isFound = (): boolean => nodes.topology(0).node(introduction.id) !== undefined;
    await nodes.until("it to be found", isFound);
  });
});

/** A key whose slot is one of these. */
function keyOf(first: number, last: number): string {
  const encoder = new TextEncoder();
  for (let at = 0; ; at += 1) {
    const bytes = encoder.encode(`key-${at}`);
    const slot = keySlot(bytes, 0, bytes.length);
    if (slot >= first && slot <= last) return `key-${at}`;
  }
}

describe("a node that is asked who it is", () => {
  test("says so, and stays what it is, whatever it is: nobody hears of a cluster by that", async () => {
    const nodes = new Nodes([alone(0, "0-8191"), alone(1, "8192-16383"), { name: "c", empty: true }]);
    await nodes.up(3);
    const who = (at: number, limitMs = 5000): Promise<string | undefined> => {
      const meetings = present(nodes.node(0).service(meetingsService), "nodes are met");
      const asked = meetings.identify({ host: hostOf(at), port: PORT + BUS_PORT_OFFSET }, limitMs);
      return nodes.simulation.settle("who it is", asked, SETTLE_MS);
    };
    const { group } = nodes.consensus(2).status;
    for (const at of [1, 2]) expect(await who(at)).toBe(nodes.node(at).facts.id);
    expect(await who(7)).toBeUndefined();
    await nodes.simulation.runFor(10_000);
    for (const at of [0, 1]) expect(nodes.topology(at).map.nodes).toHaveLength(1);
    expect(nodes.consensus(2).status.group).toBe(group);
  });
});
