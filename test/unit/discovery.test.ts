/** discovery: what a node tells of the others, with real nodes on the simulated world. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { type MemberChange, type MembershipService, membershipService } from "../../src/contracts/membership.ts";
import { topologyService } from "../../src/contracts/topology.ts";
import { idOfName } from "../../src/identity.ts";
import { type Node, createNode } from "../../src/node.ts";
import { divideSlots, formatSlotRange } from "../../src/protocol/slot-ranges.ts";
import { localClient, startLocalNode } from "../support/local-node.ts";
import { Simulation } from "../support/sim-world.ts";

const PORT = 6379;
const FORGET_AFTER_MS = 20_000;
const NAMES = ["a", "b", "c", "empty"] as const;
type Name = (typeof NAMES)[number];
const HOSTS: Readonly<Record<Name, string>> = { a: "10.0.0.1", b: "10.0.0.2", c: "10.0.0.3", empty: "10.0.0.4" };

/** Four nodes, of which one owns no slots. */
class Cluster {
  readonly simulation = new Simulation(5);
  readonly changes: { readonly at: Name; readonly change: MemberChange }[] = [];
  readonly #nodes = new Map<Name, Node>();

  constructor() {
    const slots = divideSlots(3);
    const nodes = NAMES.map((name, at) => {
      const range = slots[at];
      return { name, host: HOSTS[name], port: PORT, slots: range === undefined ? [] : [formatSlotRange(range)] };
    });
    for (const name of NAMES) {
      this.simulation.addHost(HOSTS[name], async (world) => {
        const node = await createNode({
          world,
          config: {
            name,
            host: HOSTS[name],
            port: PORT,
            insecure: true,
            plugins: { resp: false, topology: { nodes }, discovery: { forgetAfterMs: FORGET_AFTER_MS } },
          },
        });
        node.hooks.memberChanged.add("test", (change) => void this.changes.push({ at: name, change }));
        this.#nodes.set(name, node);
        await node.start();
      });
    }
  }

  node(name: Name): Node {
    return present(this.#nodes.get(name), "the node was started");
  }

  membership(name: Name): MembershipService {
    return present(this.node(name).service(membershipService), "there is membership");
  }

  state(at: Name, of: Name): string | undefined {
    return this.membership(at).member(idOfName(of))?.state;
  }

  /** All of these hold that of one. */
  async until(of: Name, state: string, by: readonly Name[], withinMs: number): Promise<void> {
    await this.simulation.runUntil(
      `${of} to be ${state} for ${by.join()}`,
      () => by.every((each) => this.#nodes.has(each) && this.state(each, of) === state),
      withinMs,
    );
  }

  async whole(): Promise<void> {
    for (const name of NAMES) await this.until(name, "alive", NAMES, 20_000);
    // Everybody has heard everybody.
    await this.simulation.runFor(10_000);
  }

  async run(at: Name, line: string): Promise<string> {
    const client = localClient(this.node(at));
    await this.simulation.settle("RESP2", client.run("hello 2"), 5000);
    return await this.simulation.settle("a reply", client.run(line), 5000);
  }
}

const lineOf = (nodes: string, name: Name): readonly string[] =>
  (nodes.split("\n").find((line) => line.startsWith(idOfName(name))) ?? "").split(" ");

describe("a cluster of four", () => {
  test("knows of each member's health, and says so in Redis' words", async () => {
    const cluster = new Cluster();
    await cluster.whole();
    const members = cluster.membership("a").members();
    expect(members).toHaveLength(4);
    for (const member of members.filter(({ nodeId }) => nodeId !== idOfName("a"))) {
      expect(member.state).toBe("alive");
      expect(member.heardAtMs).toBeNumber();
      expect(member.roundTripMs).toBeWithin(0, 1000);
      expect(member.mapVersion).toBe(present(cluster.node("a").service(topologyService), "there is a map").map.version);
      expect(member.suspectedBy).toEqual([]);
    }
    const line = lineOf(await cluster.run("a", "cluster nodes"), "b");
    expect(line[2]).toBe("master");
    expect(Number(line[5])).toBeGreaterThan(1_000_000_000_000);
    expect(line[7]).toBe("connected");
    expect(await cluster.run("a", "cluster info")).toMatch(/cluster_state:ok[^]*cluster_stats_messages_sent:[1-9]/);
    expect(await cluster.run("a", "info cluster")).toMatch(/members_alive:4\r\nmembers_suspect:0\r\nmembers_down:0/);
    expect(await cluster.run("a", "cluster links")).toMatch(
      /direction from node [0-9a-f]{40} create-time [0-9]{13} events r/,
    );
    expect(await cluster.run("a", "cluster links")).toMatch(
      /send-buffer-used \d+ state alive reason .+? heard-at \d{13} round-trip-us [1-9]\d* loop-lag-ms \d+ map-version [1-9]/,
    );
  });

  test("knows within seconds that a node died, tells it, and knows it again as another start", async () => {
    const cluster = new Cluster();
    await cluster.whole();
    const incarnation = cluster.membership("a").member(idOfName("c"))?.incarnation ?? 0;
    cluster.simulation.crash(HOSTS.c);
    cluster.changes.length = 0;
    await cluster.until("c", "down", ["a", "b", "empty"], 10_000);
    expect(cluster.changes.map(({ at, change }) => [at, change.nodeId, change.state])).toContainEqual([
      "a",
      idOfName("c"),
      "down",
    ]);
    const nodes = await cluster.run("a", "cluster nodes");
    expect(lineOf(nodes, "c")[2]).toBe("master,fail");
    expect(lineOf(nodes, "c")[7]).toBe("disconnected");
    expect(await cluster.run("a", "cluster info")).toMatch(/cluster_state:fail[^]*cluster_slots_fail:546[12]/);
    // Some have judged it themselves, others were told: each says who, by names.
    for (const name of ["a", "b", "empty"] as const) {
      const why = /primary c is down: (.*)/.exec(await cluster.run(name, "cluster info"))?.[1];
      expect(why).toMatch(/^(it did not answer for [0-9.]+ s; suspected by \w|\w+ found that it does not answer)/);
      expect(why).not.toMatch(/[0-9a-f]{8}|told so/);
    }
    expect(Number(await cluster.run("a", `cluster count-failure-reports ${idOfName("c")}`))).toBeGreaterThan(0);
    expect(await cluster.run("a", "cluster shards")).toContain("health fail");
    cluster.simulation.restart(HOSTS.c);
    await cluster.until("c", "alive", NAMES, 20_000);
    expect(cluster.membership("a").member(idOfName("c"))?.incarnation).toBeGreaterThan(incarnation);
    expect(lineOf(await cluster.run("a", "cluster nodes"), "c")[2]).toBe("master");
  });

  test("takes a node that stands still for a suspect at most, which doubts itself and not the others", async () => {
    const cluster = new Cluster();
    await cluster.whole();
    cluster.changes.length = 0;
    cluster.simulation.stall(HOSTS.b, 900);
    await cluster.simulation.runFor(8000);
    expect(cluster.changes.filter(({ change }) => change.state === "down")).toEqual([]);
    expect(cluster.changes.filter(({ at }) => at === "b")).toEqual([]);
    expect(cluster.state("a", "b")).toBe("alive");
  });

  test("knows at once that a node stopped on purpose, and does not take it out for that", async () => {
    const cluster = new Cluster();
    await cluster.whole();
    await cluster.simulation.settle("the stop", cluster.node("empty").stop(), 5000);
    await cluster.until("empty", "left", ["a", "b", "c"], 1000);
    expect(lineOf(await cluster.run("a", "cluster nodes"), "empty")[2]).toBe("master,fail");
    await cluster.simulation.runFor(2 * FORGET_AFTER_MS);
    expect(cluster.state("a", "empty")).toBe("left");
  });

  test("takes out a member that was down for longer than forgetAfterMs and owns no slots, with the cause, and no other", async () => {
    const cluster = new Cluster();
    await cluster.whole();
    cluster.simulation.crash(HOSTS.empty);
    await cluster.until("empty", "down", ["a", "b", "c"], 10_000);
    await cluster.simulation.runFor(FORGET_AFTER_MS + 3000);
    const topology = present(cluster.node("b").service(topologyService), "there is a map");
    expect(topology.map.nodes.map(({ name }) => name).toSorted()).toEqual(["a", "b", "c"]);
    expect(topology.history.at(-1)?.cause).toMatch(
      /^it has been down for 2[0-9] s, longer than forgetAfterMs \(20000\): /,
    );
    expect(cluster.state("a", "empty")).toBeUndefined();
    cluster.simulation.crash(HOSTS.c);
    await cluster.until("c", "down", ["a", "b"], 10_000);
    await cluster.simulation.runFor(FORGET_AFTER_MS + 3000);
    expect(topology.map.nodes).toHaveLength(3);
  });
});

describe("a node", () => {
  test("of a cluster by itself is its one member", async () => {
    const node = await startLocalNode({ port: 0 });
    const membership = present(node.service(membershipService), "there is membership");
    expect(membership.status).toMatchObject({ isTakingPart: true, score: 0 });
    const { self } = present(node.service(topologyService), "there is a map");
    expect(membership.members()).toMatchObject([{ nodeId: self.id, state: "alive" }]);
    await node.stop();
    expect(membership.status.isTakingPart).toBe(false);
  });

  test("without raft takes no part, and every node counts as there", async () => {
    const node = await startLocalNode({ port: 0, plugins: { raft: false, bus: false } });
    const membership = present(node.service(membershipService), "there is membership");
    expect(membership.status.isTakingPart).toBe(false);
    expect(membership.members()).toEqual([]);
    const client = localClient(node);
    expect(await client.run("cluster nodes")).toContain("myself,master - 0 0 1 connected");
    expect(await client.run("cluster links")).toBe("[]");
    await node.stop();
  });

  test("refuses a probe that leaves others no time to try", () => {
    expect(startLocalNode({ port: 0, plugins: { discovery: { probeMs: 200, probeTimeoutMs: 150 } } })).rejects.toThrow(
      'Setting "plugins.discovery.probeTimeoutMs" is 150, but it must be at most half of probeMs (200)',
    );
  });
});
