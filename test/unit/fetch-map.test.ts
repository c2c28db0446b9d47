/** A node that its leader does not reach, or that does not reach its leader, has new maps from others within seconds. On the simulated world. */
import { expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { type Consensus, consensusService } from "../../src/contracts/consensus.ts";
import { type Topology, topologyService } from "../../src/contracts/topology.ts";
import { type Node, createNode } from "../../src/node.ts";
import { divideSlots, formatSlotRange } from "../../src/protocol/slot-ranges.ts";
import { localClient } from "../support/local-node.ts";
import { Simulation } from "../support/sim-world.ts";

const PORT = 6379;
/** Gossip has to tell it twice, a second apart. */
const FETCH_MS = 6000;

/** Four nodes, of whom three vote. */
class Cluster {
  readonly simulation = new Simulation(7);
  readonly #nodes = new Map<string, Node>();

  /** @param snapshotBytes Bytes of log after which a snapshot takes its place. */
  constructor(snapshotBytes = 1024 * 1024) {
    const nodes = divideSlots(4).map((slots, at) => ({
      name: `node-${at + 1}`,
      host: `10.0.0.${at + 1}`,
      port: PORT,
      slots: [formatSlotRange(slots)],
    }));
    for (const { name, host } of nodes) {
      this.simulation.addHost(host, async (world) => {
        const config = {
          name,
          host,
          port: PORT,
          insecure: true,
          plugins: { resp: false, raft: { snapshotBytes }, topology: { nodes } },
        } as const;
        const node = await createNode({ world, config });
        await node.start();
        this.#nodes.set(host, node);
      });
    }
  }

  consensus(host: string): Consensus {
    return present(this.#nodes.get(host)?.service(consensusService), "there is consensus");
  }

  topology(host: string): Topology {
    return present(this.#nodes.get(host)?.service(topologyService), "there is a topology");
  }

  version(host: string): number {
    return this.topology(host).map.version;
  }

  /** Who leads, the learner, and a voter that follows; once all know one another and have one map. */
  async whole(): Promise<{ readonly leader: string; readonly learner: string; readonly follower: string }> {
    const found = (role: string, isVoter: boolean): string | undefined =>
      [...this.#nodes.keys()].find((host) => {
        const { status } = this.consensus(host);
        return status.role === role && status.members.find(({ peer }) => peer === status.peer)?.isVoter === isVoter;
      });
    await this.simulation.runUntil(
      "a whole cluster",
      () => this.#nodes.size === 4 && found("leader", true) !== undefined && found("follower", false) !== undefined,
      20_000,
    );
    // Everybody has heard everybody, and all is applied.
    await this.simulation.runFor(10_000);
    return {
      leader: present(found("leader", true), "somebody leads"),
      learner: present(found("follower", false), "somebody learns"),
      follower: present(found("follower", true), "somebody follows"),
    };
  }

  /** Another map. @returns Its version. */
  async change(host: string, value: string): Promise<number> {
    const request = { type: "change-setting", name: "min-in-sync", value } as const;
    const outcome = await this.simulation.settle("a change", this.topology(host).request(request, "a test"), 6000);
    expect(outcome.type).toBe("done");
    return this.version(host);
  }

  /** A field of INFO. */
  async counter(host: string, name: string): Promise<number> {
    const client = localClient(present(this.#nodes.get(host), "it runs"));
    const text = await this.simulation.settle("a reply", client.run("info cluster"), 5000);
    return Number(new RegExp(`${name}:(\\d+)`).exec(text)?.[1]);
  }
}

test.each([
  { what: "that hears nothing of the leader", isHeard: false, isReached: true },
  { what: "of which the leader hears nothing", isHeard: true, isReached: false },
  { what: "that is cut off from the leader both ways", isHeard: false, isReached: false },
])("a learner $what gets new maps from another member", async ({ isHeard, isReached }) => {
  const cluster = new Cluster();
  const { leader, learner, follower } = await cluster.whole();
  // Whoever is reached by its leader asks nobody.
  expect(await cluster.counter(learner, "raft_fetches")).toBe(0);
  const cuts = [
    ...(isHeard ? [] : [cluster.simulation.cutOneWay([leader], [learner])]),
    ...(isReached ? [] : [cluster.simulation.cutOneWay([learner], [leader])]),
  ];
  await cluster.simulation.runFor(2000);
  for (const value of ["2", "3", "1"]) {
    const version = await cluster.change(follower, value);
    await cluster.simulation.runUntil("the learner to know", () => cluster.version(learner) >= version, FETCH_MS);
    expect(cluster.topology(learner).map.settings.get("min-in-sync")).toBe(value);
  }
  expect(cluster.consensus(learner).status.role).toBe("follower");
  if (!isHeard) expect(await cluster.counter(learner, "raft_fetched_entries")).toBeGreaterThan(0);
  for (const cut of cuts) cut.heal();
  // The leader goes on where the learner is.
  await cluster.simulation.runFor(10_000);
  const fetches = await cluster.counter(learner, "raft_fetches");
  const version = await cluster.change(follower, "2");
  await cluster.simulation.runUntil("the learner to know", () => cluster.version(learner) >= version, 1000);
  expect(await cluster.counter(learner, "raft_fetches")).toBe(fetches);
});

test("a learner that its leader does not reach gets a snapshot from another member where the entries are gone, and what follows", async () => {
  const cluster = new Cluster(1024);
  const { leader, learner, follower } = await cluster.whole();
  const away = cluster.simulation.isolate([learner]);
  let version = 0;
  for (let round = 0; round < 30; round += 1) version = await cluster.change(follower, String(1 + (round % 3)));
  const cut = cluster.simulation.partition([leader], [learner]);
  away.heal();
  expect(cluster.consensus(follower).status.snapshotIndex).toBeGreaterThan(
    cluster.consensus(learner).status.commitIndex,
  );
  await cluster.simulation.runUntil("the learner to know", () => cluster.version(learner) >= version, FETCH_MS);
  expect(await cluster.counter(learner, "raft_fetched_snapshots")).toBe(1);
  expect(cluster.topology(learner).map.settings.get("min-in-sync")).toBe("3");
  cut.heal();
  await cluster.simulation.runFor(10_000);
  version = await cluster.change(learner, "2");
  await cluster.simulation.runUntil("all to know", () => cluster.version(follower) >= version, 1000);
});
