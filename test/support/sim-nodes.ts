/** Whole nodes on a simulated world, each started with settings of its own. */
import { expect } from "bun:test";
import { present } from "../../src/assert.ts";
import type { Config } from "../../src/config.ts";
import { type Consensus, consensusService } from "../../src/contracts/consensus.ts";
import { type Topology, topologyService } from "../../src/contracts/topology.ts";
import { type Node, createNode } from "../../src/node.ts";
import { localClient } from "./local-node.ts";
import { Simulation } from "./sim-world.ts";

export const PORT = 6379;
export const SETTLE_MS = 20_000;

/** Nodes on hosts 10.0.0.1, 10.0.0.2 ..., each started with settings of its own. */
export class SimNodes {
  /** The trace. */
  readonly lines: string[] = [];
  readonly simulation: Simulation;
  readonly #nodes = new Map<string, Node>();

  constructor(configs: readonly Config[], seed = 1) {
    this.simulation = new Simulation(seed, { sink: (line) => void this.lines.push(line) });
    for (const [at, config] of configs.entries()) {
      this.simulation.addHost(hostOf(at), async (world) => {
        const node = await createNode({
          world,
          config: {
            host: hostOf(at),
            port: PORT,
            insecure: true,
            ...config,
            plugins: { resp: false, ...config.plugins },
          },
        });
        await node.start();
        this.#nodes.set(hostOf(at), node);
      });
    }
    this.simulation.observe(({ type, host }) => {
      if (type === "crashed") this.#nodes.delete(host.name);
    });
  }

  /** How many are up. */
  get count(): number {
    return this.#nodes.size;
  }

  node(at: number): Node {
    return present(this.#nodes.get(hostOf(at)), `node ${at} is up`);
  }

  isUp(at: number): boolean {
    return this.#nodes.has(hostOf(at));
  }

  topology(at: number): Topology {
    return present(this.node(at).service(topologyService), "there is a topology");
  }

  consensus(at: number): Consensus {
    return present(this.node(at).service(consensusService), "there is consensus");
  }

  isOut(at: number): boolean {
    return this.consensus(at).status.isOut;
  }

  async run(at: number, line: string): Promise<string> {
    const client = localClient(this.node(at));
    const reply = await this.simulation.settle(line, client.run(line), SETTLE_MS);
    client.close();
    return reply;
  }

  async meet(at: number, other: number): Promise<void> {
    expect(await this.run(at, `CLUSTER MEET ${hostOf(other)} ${PORT}`)).toBe("OK");
  }

  /** What `INFO` says of meetings. */
  async info(at: number, field: string): Promise<string> {
    return new RegExp(`${field}:(.*)\r`).exec(await this.run(at, "INFO cluster"))?.[1] ?? "";
  }

  /** All are up and alone. */
  async up(count: number): Promise<void> {
    await this.until("all to be up", () => this.#nodes.size === count);
  }

  /** What a node waits for, in words. */
  waitsFor(at: number): string {
    return this.topology(at).waitingFor ?? "nothing";
  }

  /** Lines of the trace that a node has logged. */
  logged(at: number, text: string): readonly string[] {
    return this.lines.filter((line) => line.includes(hostOf(at)) && line.includes(text));
  }

  async until(what: string, condition: () => boolean, withinMs = SETTLE_MS): Promise<void> {
    await this.simulation.runUntil(what, condition, withinMs);
  }

  /** All of them are in one cluster, each admitted to it. */
  isOne(...which: readonly number[]): boolean {
    return which.every((at) => {
      const { map, waitingFor } = this.topology(at);
      return (
        map.nodes.length === which.length &&
        map.clusterId === this.topology(which[0] ?? 0).map.clusterId &&
        map.seal === undefined &&
        waitingFor === undefined
      );
    });
  }

  slotsOf(at: number): number {
    const slots = this.topology(at).selfShard?.slots ?? [];
    return slots.reduce((sum, { first, last }) => sum + last - first + 1, 0);
  }
}

/** Where a node is. */
export function hostOf(at: number): string {
  return `10.0.0.${at + 1}`;
}
