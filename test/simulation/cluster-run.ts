/**
 * A run of the simulation: whole nodes that agree on a cluster map, while everything goes wrong that the seed has drawn.
 *
 * Some nodes have a disk, some have not. Changes of the map are asked for on any of them, all the time. Safety phase: nothing wrong may ever be seen, by checkers
 * that look at every node after every event of its own. Liveness phase: all faults end; within a bound of virtual time there is one leader, every node is admitted
 * and has the same map, and each of them can change it.
 */
import { FaultInjector } from "../support/fault-injector.ts";
import { ClusterWorld, LIVENESS_MS, isWhole } from "../support/cluster-world.ts";
import { MapAsker } from "../support/map-asker.ts";
import { SimRandom } from "../support/sim-random.ts";
import { type SwarmOptions, drawSwarm } from "../support/swarm.ts";

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
  /** Those among them that came from members which were asked for them. */
  readonly fetchedSnapshots: number;
  readonly faults: string;
}

/**
 * Runs one seed.
 *
 * @throws {SimulationError} If something did not hold; the message says what, and how the world stood.
 */
export async function runCluster(seed: number, options: Partial<ClusterRunOptions> = {}): Promise<ClusterRunResult> {
  const { nodes, askEveryMs, safetyMs, swarm: givenSwarm, sink } = { ...DEFAULTS, ...options };
  const swarm = givenSwarm ?? drawSwarm(seed);
  const random = new SimRandom(`cluster ${seed}`);
  const world = new ClusterWorld(seed, random, {
    swarm,
    sink,
    counts: nodes === undefined ? [1, 2, 3, 3, 3, 3, 4, 5, 5] : [nodes],
    diskChances: [0, 0.5, 1],
  });
  const { simulation, maps } = world;
  const count = world.members.length;
  const isOne = (): boolean => isWhole(world.views, count);
  const requester = random.fork("requests");
  const drawnEveryMs = random.pick([20, 100, 400]);
  const asker = new MapAsker(world, requester, askEveryMs ?? drawnEveryMs);
  const injector = new FaultInjector(simulation, swarm, {
    hosts: world.hosts,
    mayCrash: (host) => world.mayCrash(host),
  });
  // A cluster is founded by all of its nodes: faults begin when it is there, in half of the runs.
  if (random.below(2) === 0) await simulation.runUntil("the cluster to be founded", isOne, LIVENESS_MS);
  asker.start();
  injector.start();
  await simulation.runFor(safetyMs);
  await world.heal(injector);
  // What is asked of a slow network without end is never done: only what was asked already.
  asker.stop();
  await simulation.runUntil("one leader, and every node admitted with the same map", isOne, LIVENESS_MS);
  // Whatever was still on its way is settled by its deadline.
  await simulation.runFor(4000);
  await world.changeOnEach(world.views);
  await simulation.runUntil("the same map everywhere", isOne, LIVENESS_MS);
  world.checkFinal(world.views);
  return {
    traceHash: simulation.traceHash,
    virtualMs: simulation.nowMs,
    events: simulation.scheduler.executed,
    ...asker.counts,
    terms: world.terms,
    mapVersion: maps.newestVersion,
    reads: asker.reads,
    snapshots: world.snapshots,
    fetchedSnapshots: world.fetchedSnapshots,
    faults: injector.summary(),
  };
}
