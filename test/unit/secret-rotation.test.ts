/** The cluster's secret is changed while a cluster of three runs, restarts and all: no link and no datagram is refused on the way. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { busService } from "../../src/contracts/bus.ts";
import { consensusService } from "../../src/contracts/consensus.ts";
import { topologyService } from "../../src/contracts/topology.ts";
import { type Node, createNode } from "../../src/node.ts";
import { divideSlots, formatSlotRange } from "../../src/protocol/slot-ranges.ts";
import { showReply } from "../support/local-node.ts";
import { Simulation } from "../support/sim-world.ts";

const OLD = "the-old-secret";
const NEW = "the-new-secret";
const PORT = 6379;
const SETTLE_MS = 10_000;

/** Three nodes with a map that they agree on, each with the secrets that the test says at its start. */
class Cluster {
  readonly lines: string[] = [];
  readonly simulation: Simulation;
  readonly nodes = new Map<string, Node>();
  readonly hosts: readonly string[];
  /** What a node that starts is given. */
  readonly #secret: string | undefined;

  constructor(seed: number, secret: string | undefined) {
    this.#secret = secret;
    this.simulation = new Simulation(seed, { sink: (line) => void this.lines.push(line) });
    const nodes = divideSlots(3).map((slots, at) => ({
      name: `node-${at + 1}`,
      host: `10.0.0.${at + 1}`,
      port: PORT,
      slots: [formatSlotRange(slots)],
    }));
    this.hosts = nodes.map(({ host }) => host);
    for (const { name, host } of nodes) {
      this.simulation.addHost(host, async (world) => {
        const node = await createNode({
          world,
          config: {
            name,
            host,
            port: PORT,
            insecure: true,
            dataDir: "data",
            ...(this.#secret === undefined ? {} : { secret: this.#secret }),
            plugins: { resp: false, discovery: false, topology: { nodes } },
          },
        });
        await node.start();
        this.nodes.set(host, node);
      });
    }
    this.simulation.observe(({ type, host }) => {
      if (type === "crashed") this.nodes.delete(host.name);
    });
  }

  async whole(): Promise<void> {
    await this.simulation.runUntil(
      "a cluster that is whole",
      () => {
        const nodes = [...this.nodes.values()];
        const statuses = nodes.map((node) => present(node.service(consensusService), "there is consensus").status);
        return (
          nodes.length === 3 &&
          new Set(statuses.map(({ leader }) => leader)).size === 1 &&
          statuses.every(
            ({ leader, commitIndex }) => leader !== undefined && commitIndex === statuses[0]?.commitIndex,
          ) &&
          nodes.every((node) => node.service(topologyService)?.waitingFor === undefined)
        );
      },
      SETTLE_MS,
    );
  }

  async tell(host: string, ...words: readonly string[]): Promise<string> {
    const connection = present(this.nodes.get(host), "it is up").connect();
    const reply = await this.simulation.settle(words.join(" "), connection.execute(...words), 1000);
    connection.close();
    return showReply(reply);
  }

  /** Everybody says something to everybody by datagram, and how many arrive. */
  async datagrams(): Promise<number> {
    let heard = 0;
    for (const node of this.nodes.values())
      present(node.service(busService), "a bus").receiveDatagrams(() => (heard += 1));
    for (const node of this.nodes.values()) {
      for (const other of this.nodes.values()) {
        if (other !== node) node.service(busService)?.sendDatagram(other.facts.id, new Uint8Array(8));
      }
    }
    await this.simulation.runFor(50);
    return heard;
  }

  /** When the newest link that each node has to another was made. */
  newest(): readonly number[] {
    return this.hosts.map((host) => {
      const links = this.nodes.get(host)?.service(busService)?.links() ?? [];
      const own = links.filter(({ direction, nodeId }) => direction === "to" && nodeId !== "");
      return Math.max(0, ...own.map(({ createdAtMs }) => createdAtMs));
    });
  }
}

describe("the secret of a running cluster", () => {
  for (const [what, from, to] of [
    ["is changed", OLD, NEW],
    ["is introduced", undefined, NEW],
  ] as const) {
    test(`${what}, and nobody is refused on the way`, async () => {
      const cluster = new Cluster(1, from);
      await cluster.whole();
      const old = from ?? "-";
      for (const parameter of [`${old} ${to}`, `${to} ${old}`, to]) {
        for (const host of cluster.hosts) {
          expect(await cluster.tell(host, "CONFIG", "SET", "cluster-secret", parameter)).toBe("OK");
          expect(await cluster.datagrams()).toBe(6);
          // Some have taken the step and some have not: links are made anew between all that speak to each other.
          const before = cluster.newest();
          for (const stream of cluster.simulation.network.openStreams()) stream.breakOff();
          await cluster.simulation.runUntil(
            "new links",
            () => cluster.newest().every((each, which) => each > (before[which] ?? 0)),
            3000,
          );
          await cluster.whole();
        }
      }
      const change = cluster.nodes.get(cluster.hosts[0] ?? "")?.service(topologyService);
      const request = { type: "change-setting", name: "min-in-sync", value: "2" } as const;
      const asked = present(change, "there is a map").request(request, "a test");
      expect(await cluster.simulation.settle("a change", asked, 5000)).toMatchObject({ type: "done" });
      for (const host of cluster.hosts) {
        const info = await cluster.tell(host, "INFO", "cluster");
        expect(info).toMatch(/^bus_refused_links:0\r?$/m);
        for (const reason of ["foreign", "forged", "replayed", "old"]) {
          expect(info).toMatch(new RegExp(`^bus_refused_datagrams_${reason}:0\\r?$`, "m"));
        }
      }
      expect(cluster.lines.filter((line) => line.includes("bus link refused"))).toEqual([]);
      // The old one is of no use any more.
      const [last = ""] = cluster.hosts;
      cluster.simulation.crash(last);
      cluster.simulation.restart(last);
      await cluster.simulation.runFor(3000);
      expect(
        cluster.lines.some((line) => line.includes("bus link refused") && line.includes("another cluster secret")),
      ).toBe(true);
    });
  }
});
