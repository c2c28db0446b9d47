/**
 * A large cluster, simulated: 5 voters and 200 learners by default, whole nodes with their real plugins.
 *
 * 1. It forms: the voters found it from one list, the learners join by way of them. One leader, every node admitted, all with the same map.
 * 2. Changes are asked for on any of the nodes, all the time from here on.
 * 3. The leader is killed, and comes back a little later, with its disk.
 * 4. A third of the learners is cut off from all others. The rest goes on; logs are cut into snapshots meanwhile.
 * 5. The cut heals: all are one cluster with one map again, and whoever asks for a change gets it.
 *
 * The checkers of `cluster-world.ts` look at the node whose event it was after every event, and at all of them after every 64. What a leader sends while nothing
 * is asked is measured, and is in proportion to the number of nodes.
 */
import { BUS_PORT_OFFSET, type Config } from "../../src/config.ts";
import { createNode } from "../../src/node.ts";
import { divideSlots, formatSlotRange } from "../../src/protocol/slot-ranges.ts";
import {
  GroupChecker,
  HolderChecker,
  MapChecker,
  type NodeView,
  PredecessorChecker,
} from "../support/cluster-checkers.ts";
import { describe, isWhole, viewOf } from "../support/cluster-world.ts";
import { drawRequest } from "../support/map-asker.ts";
import { SimRandom } from "../support/sim-random.ts";
import { type Program, Simulation } from "../support/sim-world.ts";

export interface ScaleRunOptions {
  readonly voters: number;
  readonly learners: number;
  /** Between two requests for changes, on average, in virtual milliseconds. */
  readonly askEveryMs: number;
  /** Gets each line of the trace. */
  readonly sink: ((line: string) => void) | undefined;
  /** Gets a sentence at the end of each step. */
  readonly tell: ((sentence: string) => void) | undefined;
}

const DEFAULTS: ScaleRunOptions = { voters: 5, learners: 200, askEveryMs: 50, sink: undefined, tell: undefined };

/** What a run came to. */
export interface ScaleRunResult {
  readonly traceHash: string;
  readonly virtualMs: number;
  readonly events: number;
  /** From the start until all nodes had the same map, in virtual milliseconds. */
  readonly formedMs: number;
  /** From the kill of the leader until another one led. */
  readonly leaderlessMs: number;
  /** From the heal of the partition until all nodes had the same map. */
  readonly healedMs: number;
  readonly done: number;
  readonly terms: number;
  readonly snapshots: number;
  /** What the leader sends in a virtual second in which nobody asks for anything. */
  readonly idleBytesPerSecond: number;
}

const PORT = 6379;
/** It takes some election timeouts at most, and a snapshot for those that were away. */
const LIMIT_MS = 30_000;
/** How often is looked whether something has come true: to ask all nodes after every event would take most of the time. */
const STEP_MS = 20;
/** Nodes that look for a cluster at the same time talk to each other as well: few do at a time here. */
const JOIN_EVERY_MS = 20;
const CHANGES_MS = 1000;
const KILLED_MS = 1500;
const CUT_MS = 3000;
const IDLE_MS = 1000;
/** Small, so that those that were cut off get one. */
const SNAPSHOT_BYTES = 64 * 1024;

/**
 * Runs one seed.
 *
 * @throws {SimulationError} If something did not hold; the message says what, and how the world stood.
 */
export async function runScale(seed: number, options: Partial<ScaleRunOptions> = {}): Promise<ScaleRunResult> {
  const { voters, learners, askEveryMs, sink, tell } = { ...DEFAULTS, ...options };
  const simulation = new Simulation(seed, { driftPpm: 200, wallErrorMs: 1000, timerSlackMs: 1, sink });
  const random = new SimRandom(`scale ${seed}`);
  const count = voters + learners;
  const members = Array.from({ length: count }, (_, at) => ({
    name: `node-${at + 1}`,
    host: `10.0.${Math.floor(at / 250)}.${(at % 250) + 1}`,
    port: PORT,
  }));
  const ranges = divideSlots(voters);
  const listed = members.slice(0, voters);
  const nodes = listed.map((member, at) => ({ ...member, slots: ranges.slice(at, at + 1).map(formatSlotRange) }));
  const join = listed.map(({ host }) => `${host}:${PORT + BUS_PORT_OFFSET}`).join(",");
  const running = new Map<string, NodeView>();
  const group = new GroupChecker();
  const maps = new MapChecker();
  const predecessors = new PredecessorChecker();
  const holders = new HolderChecker();
  for (const [at, { name, host }] of members.entries()) {
    const raft = { maxVoters: voters, snapshotBytes: SNAPSHOT_BYTES };
    const settings: Config =
      at < voters
        ? // They come back as who they were.
          { dataDir: "data", plugins: { resp: false, raft, topology: { nodes } } }
        : { join, plugins: { resp: false, raft } };
    const program: Program = async (world) => {
      const node = await createNode({
        world,
        config: { name, host, port: PORT, insecure: true, ...settings },
        onStopped: (fault) => {
          throw new Error(`${name} stopped by itself: ${fault?.message ?? "for no reason"}`);
        },
      });
      running.set(host, viewOf(host, node));
      await node.start();
    };
    if (at < voters) simulation.addHost(host, program);
    else simulation.after((at - voters) * JOIN_EVERY_MS, "a learner starts", () => simulation.addHost(host, program));
  }
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

  const say = (sentence: string): void =>
    tell?.(`${Math.round(simulation.nowMs)} ms, ${simulation.scheduler.executed} events: ${sentence}`);
  const until = async (what: string, isSo: () => boolean): Promise<number> => {
    const beganMs = simulation.nowMs;
    while (!isSo()) {
      if (simulation.nowMs - beganMs > LIMIT_MS) throw simulation.error(`Waited ${LIMIT_MS} ms for ${what}, in vain`);
      await simulation.runFor(STEP_MS);
    }
    return simulation.nowMs - beganMs;
  };
  const leader = (): NodeView | undefined =>
    [...running.values()].find((view) => view.consensus.machine?.leadership?.hasCommittedInTerm === true);
  const isOne = (): boolean => isWhole([...running.values()], count);

  // --- what is asked ---

  let done = 0;
  let lastRequest = 0;
  let isAsking = true;
  const requester = random.fork("requests");
  const ask = (view: NodeView): void => {
    lastRequest += 1;
    const cause = `request ${lastRequest}`;
    const knownBefore = maps.newestVersion;
    void view.topology.request(drawRequest(requester, view.topology), cause).then((outcome) => {
      if (outcome.type === "done") done += 1;
      maps.answered(cause, outcome, view, knownBefore);
    });
  };
  const askOn = (): void => {
    if (!isAsking) return;
    const view = requester.pick([...running.values()]);
    if (view !== undefined) ask(view);
    simulation.after(requester.exponential(askEveryMs), "operator", askOn);
  };

  // --- what happens ---

  const formedMs = await until("every node to be admitted with the same map", isOne);
  say("formed");
  const sentBefore = sentBytes(leader());
  await simulation.runFor(IDLE_MS);
  const idleBytesPerSecond = Math.round(((sentBytes(leader()) - sentBefore) * 1000) / IDLE_MS);
  say(`its leader sends ${idleBytesPerSecond} bytes a second while nothing is asked`);

  simulation.after(0, "operator", askOn);
  await simulation.runFor(CHANGES_MS);
  const killed = leader();
  if (killed === undefined) throw simulation.error("Nobody leads, and nothing has happened");
  simulation.crash(killed.name);
  simulation.after(KILLED_MS, "restart", () => simulation.restart(killed.name));
  const leaderlessMs = await until("another leader", () => leader() !== undefined);
  say(`another leader ${Math.round(leaderlessMs)} ms after the first one was killed`);
  await simulation.runFor(KILLED_MS);

  const cutOff = random.shuffle(members.slice(voters).map(({ host }) => host)).slice(0, Math.floor(learners / 3));
  const cut = simulation.isolate(cutOff);
  const doneBefore = done;
  await simulation.runFor(CUT_MS);
  if (done === doneBefore) throw simulation.error("Nothing was agreed on while a third of the learners was cut off");
  cut.heal();
  isAsking = false;
  const healedMs = await until("one cluster after the cut", isOne);
  say(`one cluster ${Math.round(healedMs)} ms after the cut of ${cutOff.length} learners`);

  // Whatever was still on its way is settled by its deadline.
  await simulation.runFor(5000);
  for (const host of random.shuffle(members.map((each) => each.host)).slice(0, 5)) {
    const view = running.get(host);
    if (view === undefined) throw simulation.error(`${host} does not run`);
    const outcome = await simulation.settle(
      `a change on ${host}`,
      view.topology.request({ type: "bump-epoch", node: view.node.facts.id }, `last request on ${host}`),
      LIMIT_MS,
    );
    if (outcome.type !== "done") throw simulation.error(`A change on ${host} was ${outcome.type}`);
    done += 1;
  }
  await until("the same map everywhere", isOne);
  try {
    maps.final([...running.values()]);
  } catch (thrown) {
    throw simulation.error(thrown instanceof Error ? thrown.message : String(thrown));
  }
  return {
    traceHash: simulation.traceHash,
    virtualMs: simulation.nowMs,
    events: simulation.scheduler.executed,
    formedMs,
    leaderlessMs,
    healedMs,
    done,
    terms: group.terms,
    snapshots: group.snapshots,
    idleBytesPerSecond,
  };
}

/** What a node has sent on its bus since it started. */
function sentBytes(view: NodeView | undefined): number {
  for (const { fields } of view?.node.hooks.info.collect() ?? []) {
    const bytes = fields["bus_sent_bytes"];
    if (typeof bytes === "number") return bytes;
  }
  return 0;
}
