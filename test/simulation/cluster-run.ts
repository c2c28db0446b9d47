/**
 * A run of the simulation: whole nodes that agree on a cluster map, while everything goes wrong that the seed has drawn.
 *
 * Some nodes have a disk, some have not. Changes of the map are asked for on any of them, all the time. Safety phase: nothing wrong may ever be seen, by checkers
 * that look at every node after every event. Liveness phase: all faults end; within a bound of virtual time there is one leader, every node is admitted
 * and has the same map, and each of them can change it.
 */
import { consensusService } from "../../src/contracts/consensus.ts";
import { type Topology, type TopologyRequest, topologyService } from "../../src/contracts/topology.ts";
import { type Node, createNode } from "../../src/node.ts";
import type { RaftConsensus } from "../../plugins/raft.ts";
import { majorityOf } from "../../src/protocol/raft/quorum.ts";
import { divideSlots, formatSlotRange } from "../../src/protocol/slot-ranges.ts";
import { FaultInjector } from "../support/fault-injector.ts";
import { GroupChecker, MapChecker, type NodeView } from "../support/cluster-checkers.ts";
import { SimRandom } from "../support/sim-random.ts";
import { type SimHost, Simulation } from "../support/sim-world.ts";
import { type SwarmOptions, drawSwarm, swarmSimulation } from "../support/swarm.ts";

export interface ClusterRunOptions {
  /** Nodes that found the cluster; by default 1 to 5, as the seed draws it. */
  readonly nodes: number | undefined;
  /** Between two requests for changes, on average, in virtual milliseconds; by default 20 to 400, as the seed draws it. */
  readonly askEveryMs: number | undefined;
  /** Virtual milliseconds of faults. */
  readonly safetyMs: number;
  readonly swarm: SwarmOptions | undefined;
  /** Gets each line of the trace. */
  readonly sink: ((line: string) => void) | undefined;
}

const DEFAULTS: ClusterRunOptions = {
  nodes: undefined,
  askEveryMs: undefined,
  safetyMs: 12_000,
  swarm: undefined,
  sink: undefined,
};

/** What a run came to. */
export interface ClusterRunResult {
  readonly traceHash: string;
  readonly virtualMs: number;
  readonly events: number;
  /** Requests by what became of them. */
  readonly done: number;
  readonly rejected: number;
  readonly refused: number;
  readonly unknown: number;
  readonly terms: number;
  readonly mapVersion: number;
  readonly reads: number;
  readonly snapshots: number;
  readonly faults: string;
}

const PORT = 6379;
/**
 * A healed world is one cluster again within this: a voter that is gone for good is replaced after 2 s here, each step by an election at worst; and the slowest
 * links that are drawn carry some 10 kB a second.
 */
const LIVENESS_MS = 120_000;

/**
 * Runs one seed.
 *
 * @throws {SimulationError} If something did not hold; the message says what, and how the world stood.
 */
export async function runCluster(seed: number, options: Partial<ClusterRunOptions> = {}): Promise<ClusterRunResult> {
  const { nodes: given, askEveryMs, safetyMs, swarm: givenSwarm, sink } = { ...DEFAULTS, ...options };
  const swarm = givenSwarm ?? drawSwarm(seed);
  const simulation = new Simulation(seed, { ...swarmSimulation(swarm), sink });
  const random = new SimRandom(`cluster ${seed}`);
  const count = given ?? random.pick([1, 2, 3, 3, 3, 3, 4, 5, 5]);
  const members = divideSlots(count).map((range, index) => ({
    name: `node-${index + 1}`,
    host: `10.0.0.${index + 1}`,
    port: PORT,
    slots: [formatSlotRange(range)],
  }));
  const diskChance = random.pick([0, 0.5, 1]);
  const hasDisk = new Map(members.map(({ host }) => [host, random.fraction() < diskChance]));
  const snapshotBytes = random.pick([1024, 8000, 1024 * 1024]);
  const maxVoters = random.pick([3, 3, 5]);
  const running = new Map<string, NodeView>();
  const group = new GroupChecker();
  const maps = new MapChecker();
  const hosts: SimHost[] = [];
  for (const { name, host } of members) {
    hosts.push(
      simulation.addHost(host, async (world) => {
        const node = await createNode({
          world,
          config: {
            name,
            host,
            port: PORT,
            insecure: true,
            // The slowest disks that are drawn take seconds for each operation.
            pluginTimeoutMs: 120_000,
            ...(hasDisk.get(host) === true ? { dataDir: "data" } : {}),
            plugins: {
              resp: false,
              topology: { nodes: members },
              raft: { snapshotBytes, maxVoters, replaceAfterMs: 2000, requestMs: 3000 },
            },
          },
          onStopped: (fault) => {
            // Whatever was wrong on it, a node that stops by itself has found a broken invariant.
            throw new Error(`${name} stopped by itself: ${fault?.message ?? "for no reason"}`);
          },
        });
        const view = viewOf(host, node);
        running.set(host, view);
        await node.start();
      }),
    );
  }
  simulation.observe(({ type, host }) => {
    const view = running.get(host.name);
    if (type !== "crashed" || view === undefined) return;
    running.delete(host.name);
    group.stopped(view);
    maps.stopped(view);
  });

  // --- what is asked ---

  const counts = { done: 0, rejected: 0, refused: 0, unknown: 0 };
  let lastRequest = 0;
  let reads = 0;
  const requester = random.fork("requests");
  const request = (view: NodeView): void => {
    lastRequest += 1;
    const cause = `request ${lastRequest}`;
    const knownBefore = maps.newestVersion;
    void view.topology.request(drawRequest(requester, view.topology), cause).then((outcome) => {
      counts[outcome.type] += 1;
      maps.answered(cause, outcome, view, knownBefore);
    });
  };
  const read = (view: NodeView): void => {
    const least = maps.answeredVersion;
    void view.consensus.barrier(2000).then((isFresh) => {
      if (!isFresh) return;
      reads += 1;
      maps.read(view, least);
    });
  };
  const drawnEveryMs = random.pick([20, 100, 400]);
  const everyMs = askEveryMs ?? drawnEveryMs;
  let isAsking = true;
  const askOn = (): void => {
    if (!isAsking) return;
    const views = [...running.values()];
    const view = requester.pick(views);
    if (view !== undefined) {
      if (requester.below(4) === 0) read(view);
      else request(view);
    }
    simulation.after(requester.exponential(everyMs), "operator", askOn);
  };
  simulation.checkHosts("what a group of Raft promises", (host) => {
    const view = running.get(host);
    if (view !== undefined) group.look(view);
  });
  simulation.checkHosts("what the cluster map promises", (host) => {
    const view = running.get(host);
    if (view !== undefined) maps.look(view);
  });
  simulation.explain(() => [...running.values()].map(describe).join("\n"));

  // --- what goes wrong ---

  const injector = new FaultInjector(simulation, swarm, {
    hosts,
    mayCrash: (host) => hasDisk.get(host.name) === true || canForget(host.name, running),
  });
  // A cluster is founded by all of its nodes: faults begin when it is there, in half of the runs.
  if (random.below(2) === 0) {
    await simulation.runUntil("the cluster to be founded", () => isWhole(running, members.length), LIVENESS_MS);
  }
  simulation.after(100, "operator", askOn);
  injector.start();
  await simulation.runFor(safetyMs);
  injector.stopAndHeal();
  const lastStallMs = Math.max(0, ...simulation.hosts.map((host) => host.process.readyAtUs / 1000 - simulation.nowMs));
  await simulation.runFor(lastStallMs);
  // What is asked of a slow network without end is never done: only what was asked already.
  isAsking = false;
  await simulation.runUntil(
    "one leader, and every node admitted with the same map",
    () => isWhole(running, members.length),
    LIVENESS_MS,
  );
  // Whatever was still on its way is settled by its deadline.
  await simulation.runFor(4000);
  for (const view of running.values()) {
    let outcome: string = "nothing";
    const change = async (): Promise<void> => {
      while (outcome !== "done") {
        const cause = `last request on ${view.name}`;
        outcome = (await view.topology.request({ type: "bump-epoch", node: view.node.facts.id }, cause)).type;
        // A refusal may come at once: time has to pass before the next try.
        await new Promise<void>((resolve) => {
          simulation.after(50, "operator", resolve);
        });
      }
    };
    await simulation.settle(`a change on ${view.name}`, change(), LIVENESS_MS);
  }
  await simulation.runUntil("the same map everywhere", () => isWhole(running, members.length), LIVENESS_MS);
  try {
    maps.final([...running.values()]);
  } catch (thrown) {
    throw simulation.error(thrown instanceof Error ? thrown.message : String(thrown));
  }
  return {
    traceHash: simulation.traceHash,
    virtualMs: simulation.nowMs,
    events: simulation.scheduler.executed,
    ...counts,
    terms: group.terms,
    mapVersion: maps.newestVersion,
    reads,
    snapshots: group.snapshots,
    faults: injector.summary(),
  };
}

export function viewOf(name: string, node: Node): NodeView {
  const consensus = node.service(consensusService);
  const topology = node.service(topologyService);
  if (consensus === undefined || topology === undefined) throw new Error("the nodes of this run agree on a map");
  // The provider is the plugin `raft`, whose service has its machine.
  return { name, node, topology, consensus: consensus as RaftConsensus };
}

/** Something that somebody may want of the map, sensible or not. */
export function drawRequest(random: SimRandom, topology: Topology): TopologyRequest {
  const { map } = topology;
  const node = random.pick(map.nodes)?.id ?? "";
  const shard = random.pick(map.shards);
  const first = random.below(16_384);
  const slots = [{ first, last: Math.min(16_383, first + random.below(50)) }];
  switch (random.below(8)) {
    case 0:
      return { type: "release-slots", slots };
    case 1:
      return { type: "assign-slots", node, slots };
    case 2:
      // What redis-cli's fix does: taken from whoever has them, given to another.
      return {
        type: "all",
        requests: [
          { type: "release-slots", slots },
          { type: "assign-slots", node, slots },
        ],
      };
    case 3:
      return { type: "bump-epoch", node };
    case 4:
      return { type: "change-setting", name: "min-in-sync", value: String(1 + random.below(9)) };
    case 5: {
      const target = random.pick(map.shards);
      const range = random.pick(shard?.slots ?? []);
      return {
        type: "start-migration",
        id: `m${random.below(1000)}`,
        source: shard?.id ?? "",
        sourceVersion: shard?.version ?? 0,
        target: target?.id ?? "",
        targetVersion: target?.version ?? 0,
        slots: range === undefined ? [] : [{ first: range.first, last: range.first }],
      };
    }
    case 6: {
      const id = random.pick(map.migrations)?.id ?? "none";
      return { type: random.pick(["fence-migration", "complete-migration", "abort-migration"]), id };
    }
    default:
      return { type: "change-setting", name: "acks", value: random.pick(["in-sync", "primary"]) };
  }
}

/**
 * Whether a node that forgets everything when it stops may stop: the voters that are left must be a majority, wherever anybody stands; a
 * learner may just be given a vote, and counts as a voter that stops.
 */
function canForget(name: string, running: ReadonlyMap<string, NodeView>): boolean {
  const alive = new Set(
    [...running.values()].filter((view) => view.name !== name).map((view) => view.consensus.status.peer),
  );
  for (const view of running.values()) {
    const machine = view.consensus.machine;
    if (machine === undefined) return false;
    for (const { members } of machine.log.configurationsFrom(machine.log.commitIndex)) {
      const voters = members.filter((member) => member.isVoter);
      const isVoter = voters.some(({ id }) => id === running.get(name)?.consensus.status.peer);
      if (
        voters.length > 0 &&
        voters.filter(({ id }) => alive.has(id)).length < majorityOf(voters.length + (isVoter ? 0 : 1))
      )
        return false;
    }
  }
  return true;
}

/** One leader, everybody has everything, nobody has lost anything that another waits for. */
export function isWhole(running: ReadonlyMap<string, NodeView>, count: number): boolean {
  if (running.size !== count) return false;
  const views = [...running.values()];
  // Asked after every event: what costs least comes first.
  const leaders = views.filter((view) => view.consensus.machine?.role === "leader");
  const [leader] = leaders;
  if (leader === undefined || leaders.length > 1) return false;
  const { version } = leader.topology.map;
  if (views.some(({ topology: { map } }) => map.version !== version || map.releases.length > 0)) return false;
  const { commitIndex, lastIndex, members } = leader.consensus.status;
  const peers = new Set(views.map((view) => view.consensus.status.peer));
  return (
    commitIndex === lastIndex &&
    members.length === count &&
    members.every((member) => peers.has(member.peer)) &&
    views.every((view) => view.topology.waitingFor === undefined)
  );
}

export function describe(view: NodeView): string {
  const { status, machine } = view.consensus;
  const members = status.members.map(
    ({ peer, isVoter }) => `${peer.slice(0, 4)}${peer.slice(40)}${isVoter ? "" : "(learner)"}`,
  );
  const progress = [...(machine?.leadership?.progress ?? [])].map(
    ([peer, { state, match, next }]) => `${peer.slice(0, 4)}${peer.slice(40)}:${state}/${match}/${next}`,
  );
  return `${view.name} ${status.peer.slice(0, 4)}${status.peer.slice(40)} ${status.role} term ${status.term} leader ${status.leader?.slice(0, 4) ?? "-"} group ${status.group.slice(0, 4)} log ${status.snapshotIndex}..${status.lastIndex} commit ${status.commitIndex} map ${view.topology.map.version} releases ${view.topology.map.releases.length} waits for ${view.topology.waitingFor ?? "nothing"}; members ${members.join(" ")} ${progress.join(" ")}`;
}
