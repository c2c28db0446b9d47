/** Whole nodes with leases in a simulated world: a shard with replicas, and after every event the question whether two nodes have a lease for it. */
import { present } from "../../src/assert.ts";
import { type Consensus, consensusService } from "../../src/contracts/consensus.ts";
import { type Failover, failoverService } from "../../src/contracts/failover.ts";
import { type Replication, replicationService } from "../../src/contracts/replication.ts";
import {
  type ShardRecord,
  type Topology,
  type TopologyRequest,
  topologyService,
} from "../../src/contracts/topology.ts";
import { BUS_PORT_OFFSET, type Config } from "../../src/config.ts";
import { type Node, createNode } from "../../src/node.ts";
import { FakeReplication } from "./fake-replication.ts";
import { localClient } from "./local-node.ts";
import { Simulation, type SimulationOptions } from "./sim-world.ts";

const PORT = 6379;

export interface FailoverWorldOptions {
  readonly seed: number;
  /** Nodes; the first three vote. */
  readonly count: number;
  /** The slots of each node; the others have none. */
  readonly slots: Readonly<Record<string, readonly string[]>>;
  readonly simulation: Partial<SimulationOptions>;
  readonly failover: Readonly<Record<string, number>>;
  readonly settingsOf: (name: string) => Config;
  /** Keys are replicated; else a fake says so. */
  readonly isReal: boolean;
}

interface Running {
  readonly node: Node;
  readonly replication: FakeReplication;
}

/** Nodes `a`, `b`, `c` ... */
export class FailoverWorld {
  readonly simulation: Simulation;
  readonly names: readonly string[];
  readonly #isReal: boolean;
  readonly #running = new Map<string, Running>();
  /** Positions that nodes begin with, whenever they start. */
  readonly positions = new Map<string, FakeReplication["position"]>();
  /** Everything that was logged as a warning, by node: its event and fields. */
  readonly log: string[] = [];

  constructor(options: Partial<FailoverWorldOptions> = {}) {
    const { seed = 1, count = 3, slots = { a: ["0-16383"] }, failover = {}, isReal = false } = options;
    const settingsOf = options.settingsOf ?? ((): Config => ({}));
    this.#isReal = isReal;
    this.simulation = new Simulation(seed, {
      driftPpm: 2000,
      ...options.simulation,
      sink: (line) => this.log.push(line),
    });
    this.names = Array.from({ length: count }, (_, at) => String.fromCharCode(97 + at));
    const nodes = this.names.map((name) => ({ name, host: this.hostOf(name), port: PORT, slots: slots[name] ?? [] }));
    for (const { name, host } of nodes) {
      this.simulation.addHost(host, async (world) => {
        const replication = new FakeReplication();
        if (this.positions.has(name)) replication.position = this.positions.get(name);
        const { plugins, ...settings } = settingsOf(name);
        const node = await createNode({
          world,
          plugins: isReal ? [] : [replication.plugin],
          config: {
            name,
            host,
            port: PORT,
            insecure: true,
            dataDir: "data",
            ...settings,
            plugins: {
              resp: false,
              topology: { nodes },
              failover,
              ...(isReal ? {} : { replication: false }),
              ...plugins,
            },
          },
          onStopped: (fault) => {
            throw new Error(`${name} stopped by itself: ${fault?.message ?? "for no reason"}`);
          },
        });
        this.#running.set(name, { node, replication });
        await node.start();
      });
    }
    this.simulation.observe(({ type, host }) => {
      if (type === "crashed") this.#running.delete(this.names.find((name) => this.hostOf(name) === host.name) ?? "");
    });
    this.simulation.check("at most one primary of a shard has a lease", () => this.#checkLeases());
    this.simulation.explain(() => this.names.map((name) => this.describe(name)).join("\n"));
  }

  hostOf(name: string): string {
    return `10.0.0.${name.charCodeAt(0) - 96}`;
  }

  isUp(name: string): boolean {
    return this.#running.has(name);
  }

  node(name: string): Node {
    return this.#there(name).node;
  }

  replication(name: string): FakeReplication {
    return this.#there(name).replication;
  }

  /** What the node itself has, a fake or not. */
  replicationOf(name: string): Replication {
    return present(this.node(name).service(replicationService), "there is replication");
  }

  topology(name: string): Topology {
    return present(this.node(name).service(topologyService), "there is a topology");
  }

  consensus(name: string): Consensus {
    return present(this.node(name).service(consensusService), "there is consensus");
  }

  failover(name: string): Failover {
    return present(this.node(name).service(failoverService), "there is failover");
  }

  idOf(name: string): string {
    return this.node(name).facts.id;
  }

  /** The node that leads, as it believes; the newest if there are two. */
  get leader(): string {
    return present(this.maybeLeader, "somebody leads");
  }

  get maybeLeader(): string | undefined {
    return [...this.#running.keys()]
      .filter((name) => this.consensus(name).leadership !== undefined)
      .toSorted((one, other) => this.consensus(other).status.term - this.consensus(one).status.term)[0];
  }

  /** The shard that all slots of node `a` are in, as a node has it. */
  shard(name: string): ShardRecord {
    return present(this.topology(name).map.shards[0], "there is a shard");
  }

  /** Whose the first shard is, by the map of a node. */
  primary(name: string): string {
    const { primary } = this.shard(name);
    return present(this.topology(name).node(primary)?.name, "a primary is a node");
  }

  isHeld(name: string): boolean {
    return this.isUp(name) && this.failover(name).leaseState === "held";
  }

  /** Whether a lease runs at this moment, by the clock of the machine. */
  isRunning(name: string): boolean {
    const { leaseState, leaseEndsAtMs } = this.failover(name);
    return leaseState === "held" && this.localMs(name) < leaseEndsAtMs;
  }

  /** What a machine's monotonic clock shows. */
  localMs(name: string): number {
    const { clock } = this.simulation.host(this.hostOf(name));
    return clock.localUs(Math.round(this.simulation.nowMs * 1000)) / 1000;
  }

  run(name: string, line: string): Promise<string> {
    return this.simulation.settle(`a reply of ${name}`, this.begin(name, line), 20_000);
  }

  /** Sends a command, whose reply comes while something else is waited for. */
  begin(name: string, line: string): Promise<string> {
    return localClient(this.node(name)).run(line);
  }

  async change(name: string, request: TopologyRequest): Promise<void> {
    const outcome = await this.simulation.settle("a change", this.topology(name).request(request, "a test"), 20_000);
    if (outcome.type !== "done") throw this.simulation.error(`not changed: ${outcome.reason}`);
  }

  async until(what: string, condition: () => boolean, limitMs = 20_000): Promise<void> {
    await this.simulation.runUntil(what, condition, limitMs);
  }

  /** Waits until everybody is there and has the same map, and whoever must has a lease. */
  async whole(): Promise<void> {
    await this.until("a whole cluster", () => {
      if (this.#running.size < this.names.length || this.maybeLeader === undefined) return false;
      const { version } = this.topology(this.leader).map;
      return this.names.every(
        (name) =>
          this.topology(name).map.version === version &&
          this.topology(name).self.incarnation > 0 &&
          this.topology(name).waitingFor === undefined &&
          this.failover(name).leaseState !== "lapsed",
      );
    });
  }

  /** Makes nodes replicas of the first shard, in sync with it. */
  async follow(...replicas: readonly string[]): Promise<void> {
    for (const name of replicas) {
      const { id, version: shardVersion } = this.shard("a");
      await this.change("a", { type: "add-replica", shard: id, shardVersion, node: this.idOf(name) });
      // Its primary sees by itself that it has everything.
      if (this.#isReal) {
        await this.until(`${name} to be in sync`, () => this.shard("a").inSync.includes(this.idOf(name)));
        continue;
      }
      const { inSync, eligible, version } = this.shard("a");
      const next = [...inSync, this.idOf(name)];
      await this.change("a", { type: "change-in-sync", shard: id, shardVersion: version, inSync: next, eligible });
    }
    await this.whole();
  }

  /** Another node comes, and joins by way of one that is there. */
  async join(name: string, by: string): Promise<void> {
    const host = this.hostOf(name);
    let isThere = false;
    this.simulation.addHost(host, async (world) => {
      const config = { name, host, port: PORT, insecure: true, join: `${this.hostOf(by)}:${PORT + BUS_PORT_OFFSET}` };
      const node = await createNode({ world, config: { ...config, plugins: { resp: false, failover: {} } } });
      await node.start();
      isThere = true;
    });
    await this.until(`${name} to join`, () => isThere && this.topology(by).map.nodes.length === this.names.length + 1);
  }

  crash(name: string, kind: "process" | "power" = "process"): void {
    this.simulation.crash(this.hostOf(name), kind);
  }

  describe(name: string): string {
    if (!this.isUp(name)) return `${name} is down`;
    const { leaseState, leaseEndsAtMs, reasons } = this.failover(name);
    const { role, term } = this.consensus(name).status;
    const { version, shards } = this.topology(name).map;
    const left = (leaseEndsAtMs - this.localMs(name)).toFixed(0);
    return `${name} ${role} term ${term} map ${version} shards ${shards.length} lease ${leaseState} for ${left} ms; ${[...reasons.values()].join("; ")}`;
  }

  #there(name: string): Running {
    return present(this.#running.get(name), `node ${name} runs`);
  }

  /** Of all shards that any node has a map of. */
  #checkLeases(): void {
    const holders = new Map<string, string>();
    for (const [name, { node }] of this.#running) {
      const shard = node.service(topologyService)?.selfShard;
      if (shard?.primary !== node.facts.id || node.service(failoverService) === undefined) continue;
      if (!this.isRunning(name)) continue;
      const other = holders.get(shard.id);
      if (other !== undefined) throw new Error(`both ${other} and ${name} have a lease for shard ${shard.id}`);
      holders.set(shard.id, name);
    }
  }
}
