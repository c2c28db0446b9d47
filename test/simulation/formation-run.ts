/**
 * A run of the simulation in which nodes find each other through seeds, and found a cluster: some with `--bootstrap-expect`, the others with `--join` alone,
 * started in any order, while everything goes wrong that the seed has drawn; they start again with the same flags.
 *
 * Never two clusters. After the faults there is one, of all nodes, with the slots divided evenly among its primaries.
 */
import { BUS_PORT_OFFSET } from "../../src/config.ts";
import { ClusterWorld, LIVENESS_MS, isWhole } from "../support/cluster-world.ts";
import { FaultInjector } from "../support/fault-injector.ts";
import { SimRandom } from "../support/sim-random.ts";
import { type SwarmOptions, drawSwarm } from "../support/swarm.ts";

export interface FormationRunOptions {
  /** Virtual milliseconds of faults. */
  readonly safetyMs: number;
  readonly swarm: SwarmOptions | undefined;
  /** One node founds alone (`--bootstrap-expect 1`), with all others as its seeds; they join. */
  readonly isSole: boolean;
  /** Gets each line of the trace. */
  readonly sink: ((line: string) => void) | undefined;
}

const DEFAULTS: FormationRunOptions = { safetyMs: 10_000, swarm: undefined, isSole: false, sink: undefined };

/** What a run came to. */
export interface FormationRunResult {
  readonly traceHash: string;
  readonly virtualMs: number;
  readonly events: number;
  readonly founders: number;
  readonly joiners: number;
  readonly replicas: number;
  /** The cluster was there before the faults ended. */
  readonly isFormedUnderFaults: boolean;
  readonly terms: number;
  readonly faults: string;
}

/**
 * Runs one seed.
 *
 * @throws {SimulationError} If something did not hold; the message says what, and how the world stood.
 */
export async function runFormation(
  seed: number,
  options: Partial<FormationRunOptions> = {},
): Promise<FormationRunResult> {
  const { safetyMs, swarm: givenSwarm, isSole, sink } = { ...DEFAULTS, ...options };
  const swarm = givenSwarm ?? drawSwarm(seed);
  const random = new SimRandom(`formation ${seed}`);
  const drawn = random.fork("settings");
  const joiners = drawn.pick(isSole ? [1, 2, 2, 3] : [0, 0, 1, 2]);
  const founders = drawn.pick(isSole ? [1] : [2, 3, 3, 4, 5]);
  const replicas = founders >= 4 ? drawn.pick([0, 1]) : 0;
  // Everybody can be found by way of the first: others are named as well, some of them by some.
  const seedsOf = new Map<string, string>();
  const world = new ClusterWorld(seed, random, {
    swarm,
    sink,
    counts: [founders + joiners],
    diskChances: [0, 0.5, 1],
    settingsOf: ({ host }, members) => {
      const isFounder = members.findIndex((member) => member.host === host) < founders;
      const join = seedsOf.get(host) ?? "";
      return isFounder ? { join, bootstrapExpect: founders, replicas } : { join };
    },
  });
  const { simulation } = world;
  for (const { host } of world.members) {
    const isAsking = isSole && host === world.members[0]?.host;
    const others = world.members.slice(1).filter(() => drawn.chance(0.3) || isAsking);
    const seeds = [world.members[0] ?? { host, port: 0 }, ...others];
    seedsOf.set(host, seeds.map((each) => `${each.host}:${each.port + BUS_PORT_OFFSET}`).join(","));
  }
  const count = world.members.length;
  // Until somebody has voted nothing rests on anybody's memory.
  const isUnborn = (): boolean => world.views.every((view) => (view.consensus.machine?.term ?? 0) === 0);
  const injector = new FaultInjector(simulation, swarm, {
    hosts: world.hosts,
    mayCrash: (host) => world.mayCrash(host) || isUnborn(),
  });
  const isFormed = (): boolean => isWhole(world.views, count);
  injector.start();
  await simulation.runFor(safetyMs);
  const isFormedUnderFaults = isFormed();
  await world.heal(injector);
  await simulation.runUntil("one cluster of all nodes", isFormed, LIVENESS_MS);
  await world.changeOnEach(world.views);
  await simulation.runUntil("the same map everywhere", isFormed, LIVENESS_MS);
  world.checkFinal(world.views);
  const { shards } = world.views[0]?.topology.map ?? { shards: [] };
  const sizes = shards
    .map(({ slots }) => slots.reduce((sum, { first, last }) => sum + last - first + 1, 0))
    .filter((size) => size > 0);
  const primaries = Math.floor(founders / (replicas + 1));
  const even = 16_384 / primaries;
  if (sizes.length !== primaries || sizes.some((size) => Math.abs(size - even) > 1)) {
    throw simulation.error(`The slots are not divided evenly among ${primaries} primaries: ${sizes.join(", ")}`);
  }
  const placed = shards.reduce((sum, shard) => sum + shard.replicas.length, 0);
  if (placed !== (replicas === 0 ? 0 : founders - primaries)) throw simulation.error(`There are ${placed} replicas`);
  return {
    traceHash: simulation.traceHash,
    virtualMs: simulation.nowMs,
    events: simulation.scheduler.executed,
    founders,
    joiners,
    replicas,
    isFormedUnderFaults,
    terms: world.terms,
    faults: injector.summary(),
  };
}
