/**
 * A large cluster, simulated: a few voters that found it from one list, and many learners that join it by way of them. Whole nodes with their real plugins, and
 * the checkers of `cluster-checkers.ts`: they look at the node whose event it was after every event, and at all of them now and then (`checkHosts`).
 */
import { BUS_PORT_OFFSET, type Config } from "../../src/config.ts";
import { createNode } from "../../src/node.ts";
import { divideSlots, formatSlotRange } from "../../src/protocol/slot-ranges.ts";
import { GroupChecker, HolderChecker, MapChecker, type NodeView, PredecessorChecker } from "./cluster-checkers.ts";
import { describe, isWhole, viewOf } from "./cluster-world.ts";
import { type Program, Simulation } from "./sim-world.ts";

export interface ScaleWorldOptions {
  readonly voters: number;
  readonly learners: number;
  /** A learner starts so long after the one before it, in virtual milliseconds. 0: all in one moment, with the voters. */
  readonly joinEveryMs: number;
  /** Bytes of log after which a snapshot takes its place. */
  readonly snapshotBytes: number;
  /** Gets each line of the trace. */
  readonly sink: ((line: string) => void) | undefined;
  /** Gets a sentence at the end of each step. */
  readonly tell: ((sentence: string) => void) | undefined;
}

const PORT = 6379;
/** It takes some election timeouts at most, and a snapshot for those that were away. */
export const SCALE_LIMIT_MS = 30_000;
/** How often is looked whether something has come true: to ask all nodes after every event would take most of the time. */
const STEP_MS = 20;

export class ScaleWorld {
  readonly simulation: Simulation;
  readonly members: readonly { readonly name: string; readonly host: string; readonly port: number }[];
  /** Nodes that run, by their hosts. */
  readonly running = new Map<string, NodeView>();
  readonly group = new GroupChecker();
  readonly maps = new MapChecker();
  /** How often a node that ran was suspected, each time by each node that did. */
  suspicions = 0;
  /** Who held a node that ran for down, and why. */
  readonly falseDeaths: string[] = [];
  readonly #voters: number;
  readonly #snapshotBytes: number;
  readonly #join: string;
  readonly #slots: readonly string[];
  readonly #tell: ScaleWorldOptions["tell"];

  constructor(seed: number, { voters, learners, joinEveryMs, snapshotBytes, sink, tell }: ScaleWorldOptions) {
    const simulation = new Simulation(seed, { driftPpm: 200, wallErrorMs: 1000, timerSlackMs: 1, sink });
    this.simulation = simulation;
    this.#voters = voters;
    this.#snapshotBytes = snapshotBytes;
    this.#tell = tell;
    this.members = Array.from({ length: voters + learners }, (_, at) => ({
      name: `node-${at + 1}`,
      host: `10.0.${Math.floor(at / 250)}.${(at % 250) + 1}`,
      port: PORT,
    }));
    this.#slots = divideSlots(voters).map(formatSlotRange);
    this.#join = this.members
      .slice(0, voters)
      .map(({ host }) => `${host}:${PORT + BUS_PORT_OFFSET}`)
      .join(",");
    for (const [at, { host }] of this.members.entries()) {
      const program = this.#program(at);
      if (at < voters) simulation.addHost(host, program);
      else simulation.after((at - voters) * joinEveryMs, "a learner starts", () => simulation.addHost(host, program));
    }
    this.#watch();
  }

  say(sentence: string): void {
    this.#tell?.(`${Math.round(this.simulation.nowMs)} ms, ${this.simulation.scheduler.executed} events: ${sentence}`);
  }

  /** Runs until something is so. @returns How long that took, in virtual milliseconds. */
  async until(what: string, isSo: () => boolean): Promise<number> {
    const { simulation } = this;
    const beganMs = simulation.nowMs;
    while (!isSo()) {
      if (simulation.nowMs - beganMs > SCALE_LIMIT_MS) {
        throw simulation.error(`Waited ${SCALE_LIMIT_MS} ms for ${what}, in vain`);
      }
      await simulation.runFor(STEP_MS);
    }
    return simulation.nowMs - beganMs;
  }

  get leader(): NodeView | undefined {
    return [...this.running.values()].find((view) => view.consensus.machine?.leadership?.hasCommittedInTerm === true);
  }

  /** All are members of one cluster, with one map. */
  get isOne(): boolean {
    return isWhole([...this.running.values()], this.members.length);
  }

  /** Runs for so long, in virtual milliseconds. @returns What the leader sends in it on its streams, in bytes a second. */
  async leaderBytesPerSecond(durationMs: number): Promise<number> {
    const before = sentBytes(this.leader);
    await this.simulation.runFor(durationMs);
    return Math.round(((sentBytes(this.leader) - before) * 1000) / durationMs);
  }

  #program(at: number): Program {
    const { members, running } = this;
    const { name, host } = members[at] ?? { name: "", host: "" };
    const listed = members.slice(0, this.#voters);
    const nodes = listed.map((member, index) => {
      const slots = this.#slots.slice(index, index + 1);
      return { name: member.name, host: member.host, port: member.port, slots };
    });
    const raft = { maxVoters: this.#voters, snapshotBytes: this.#snapshotBytes };
    const settings: Config =
      at < this.#voters
        ? // They come back as who they were.
          { dataDir: "data", plugins: { resp: false, raft, topology: { nodes } } }
        : { join: this.#join, plugins: { resp: false, raft } };
    return async (world) => {
      const node = await createNode({
        world,
        config: { name, host, port: PORT, insecure: true, ...settings },
        onStopped: (fault) => {
          throw new Error(`${name} stopped by itself: ${fault?.message ?? "for no reason"}`);
        },
      });
      running.set(host, viewOf(host, node));
      node.hooks.memberChanged.add("scale world", ({ nodeId, state, reason }) => {
        const about = [...running.values()].find((view) => view.node.facts.id === nodeId);
        if (about === undefined) return;
        if (state === "suspect") this.suspicions += 1;
        if (state === "down") this.falseDeaths.push(`${name} of ${about.name}: ${reason}`);
      });
      await node.start();
    };
  }

  #watch(): void {
    const { simulation, running, group, maps } = this;
    const predecessors = new PredecessorChecker();
    const holders = new HolderChecker();
    simulation.observe(({ type, host }) => {
      const view = running.get(host.name);
      if (type !== "crashed" || view === undefined) return;
      running.delete(host.name);
      if (view.consensus.machine !== undefined) group.stopped(view.consensus.machine);
      maps.stopped(view);
    });
    simulation.checkHosts("what a group of Raft promises", (host) => {
      const view = running.get(host);
      if (view === undefined) return;
      group.look(view);
      predecessors.look(view, simulation.nowMs);
    });
    simulation.checkHosts("what the cluster map promises", (host) => {
      const view = running.get(host);
      if (view === undefined) return;
      maps.look(view);
      holders.look(view);
    });
    simulation.explain(() => [...running.values()].slice(0, 10).map(describe).join("\n"));
  }
}

/** What a node has sent on its bus since it started. */
export function sentBytes(view: NodeView | undefined): number {
  for (const { fields } of view?.node.hooks.info.collect() ?? []) {
    const bytes = fields["bus_sent_bytes"];
    if (typeof bytes === "number") return bytes;
  }
  return 0;
}
