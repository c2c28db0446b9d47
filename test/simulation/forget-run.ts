/**
 * A run of the simulation in which an operator has nodes forgotten (CLUSTER FORGET), on any node, while everything goes wrong that the seed has drawn.
 *
 * A node that is to go runs, or is cut off, or is dead, or comes back later. Its slots are taken from it and given to another one, then it is forgotten. It is
 * never admitted again and disturbs nobody; once it knows it serves nothing, and says why; the rest is one cluster, with a full set of voters.
 */
import type { Config } from "../../src/config.ts";
import { idOfName } from "../../src/identity.ts";
import { foundingVoters } from "../../src/protocol/voters.ts";
import type { NodeView } from "../support/cluster-checkers.ts";
import {
  ClusterWorld,
  LIVENESS_MS,
  livenessMs,
  NOTICE_MS,
  isWhole,
  type ListedNode,
} from "../support/cluster-world.ts";
import { DepartedChecker } from "../support/departed-checker.ts";
import { FaultInjector } from "../support/fault-injector.ts";
import { MapAsker, drawSmallRequest } from "../support/map-asker.ts";
import { Operator } from "../support/operator.ts";
import { Violation } from "../support/raft-checkers.ts";
import { SimRandom } from "../support/sim-random.ts";
import type { SimHost } from "../support/sim-world.ts";
import { type SwarmOptions, drawSwarm } from "../support/swarm.ts";

export interface ForgetRunOptions {
  /** Virtual milliseconds of faults. */
  readonly safetyMs: number;
  readonly swarm: SwarmOptions | undefined;
  /** Gets each line of the trace. */
  readonly sink: ((line: string) => void) | undefined;
  /** Nodes serve by leases. Without them nothing but the map keeps a node from serving. */
  readonly hasLeases: boolean;
}

const DEFAULTS: ForgetRunOptions = { safetyMs: 12_000, swarm: undefined, sink: undefined, hasLeases: true };

/** What a run came to. */
export interface ForgetRunResult {
  readonly traceHash: string;
  readonly virtualMs: number;
  readonly events: number;
  /** Nodes by what they were when they were forgotten. */
  readonly fates: readonly string[];
  /** Commands that forgotten nodes were asked, and refused. */
  readonly refused: number;
  readonly terms: number;
  readonly faults: string;
}

/** What becomes of a node that is to be forgotten. */
type Fate = "runs" | "is cut off" | "is dead" | "comes back";

/** How long the operator lets a node find out what it has lost. */
const RELEASE_MS = 3000;
/** In so long a node that disturbs a cluster would have done it several times. */
const REST_MS = 5000;

/** A node that is to be forgotten. */
interface Victim {
  readonly host: SimHost;
  readonly id: string;
  /** As it was drawn; one that the others cannot do without runs on. */
  fate: Fate;
  isForgotten: boolean;
}

function withoutLeases(_: ListedNode, members: readonly ListedNode[]): Config {
  return { plugins: { topology: { nodes: members }, failover: false } };
}

/**
 * Runs one seed.
 *
 * @throws {SimulationError} If something did not hold; the message says what, and how the world stood.
 */
export async function runForget(seed: number, options: Partial<ForgetRunOptions> = {}): Promise<ForgetRunResult> {
  const { safetyMs, swarm: givenSwarm, sink, hasLeases } = { ...DEFAULTS, ...options };
  const swarm = givenSwarm ?? drawSwarm(seed);
  const random = new SimRandom(`forget ${seed}`);
  const world = new ClusterWorld(seed, random, {
    swarm,
    sink,
    counts: [2, 3, 3, 3, 4, 5, 5],
    diskChances: [0, 0.5, 1],
    ...(hasLeases ? {} : { settingsOf: withoutLeases }),
  });
  const { simulation, maps } = world;
  const count = world.members.length;
  const asker = new MapAsker(world, random.fork("requests"), random.pick([50, 400]), drawSmallRequest);
  const operator = new Operator(world, random.fork("operator"));
  const injector = new FaultInjector(simulation, swarm, {
    hosts: world.hosts,
    mayCrash: (host) => world.mayCrash(host),
  });
  await simulation.runUntil("the cluster to be founded", () => isWhole(world.views, count), LIVENESS_MS);

  const wanted = Math.min(count - 1, random.pick([1, 1, 2]));
  const victims = random
    .shuffle(world.members)
    .slice(0, wanted)
    .map(({ name, host }): Victim => ({
      host: simulation.host(host),
      id: idOfName(name),
      fate: random.pick(["runs", "is cut off", "is dead", "comes back"]),
      isForgotten: false,
    }));
  const victimHosts = victims.map(({ host }) => host.name);
  const staying = (): readonly NodeView[] => world.views.filter(({ name }) => !victimHosts.includes(name));
  const departed = new DepartedChecker();
  let problem: string | undefined;
  simulation.check("what forgotten nodes may do", () => {
    for (const view of world.views) departed.look(view);
    if (problem !== undefined) throw new Violation(problem);
  });

  // --- what those that are forgotten are asked ---

  const prober = random.fork("probes");
  let refused = 0;
  const probe = async ({ host }: Victim): Promise<void> => {
    for (;;) {
      await operator.pause(prober.between(50, 300));
      const view = operator.nodeOn(host.name);
      if (view === undefined || view.topology.isMember) continue;
      const key = `key-${prober.below(1_000_000)}`;
      const reply = await operator.ask(view, `GET ${key}`);
      if (/^(MOVED|CLUSTERDOWN|\(no answer)/.test(reply)) refused += 1;
      else problem = `whoever knows that it is out serves nothing: ${view.name} answered "${reply}" to GET ${key}`;
    }
  };

  // --- how they are forgotten ---

  /** Takes its slots, gives them to another node, has it forgotten. Asks somebody else each time that it does not work. */
  const haveForgotten = async (victim: Victim): Promise<void> => {
    const { host, id } = victim;
    await operator.pause(NOTICE_MS);
    while (!victim.isForgotten) {
      await operator.pause(20);
      const asked = await operator.anyOther([host.name]);
      const [range] = asked.topology.map.shards.find(({ primary }) => primary === id)?.slots ?? [];
      if (range !== undefined) {
        await operator.ask(asked, `CLUSTER DELSLOTSRANGE ${range.first} ${range.last}`);
        const heir = await operator.anyOther(victimHosts);
        await operator.ask(heir, `CLUSTER ADDSLOTSRANGE ${range.first} ${range.last}`);
        continue;
      }
      const knows = (): boolean => !asked.topology.map.releases.some(({ node }) => node === id);
      for (let waitedMs = 0; !knows() && waitedMs < RELEASE_MS; waitedMs += 100) await operator.pause(100);
      if (!knows()) maps.givenUp.add(id);
      victim.isForgotten = (await operator.ask(asked, `CLUSTER FORGET ${id}`)) === "OK";
    }
  };
  const meetFate = (victim: Victim): void => {
    const { host, id } = victim;
    world.leaving.add(id);
    const isDying = victim.fate === "is dead" || victim.fate === "comes back";
    if (isDying && !world.mayLose(host)) victim.fate = "runs";
    const { fate } = victim;
    const awayMs = random.between(500, safetyMs);
    if (fate === "is cut off") {
      const cut = simulation.isolate([host]);
      simulation.after(awayMs, "fault heals", () => cut.heal());
    } else if (fate !== "runs") {
      const { program } = host;
      // Whatever starts the machine, no node runs there.
      host.program = undefined;
      simulation.crash(host, "power");
      if (fate === "comes back") {
        simulation.after(awayMs, "a dead node comes back", () => {
          host.program = program;
          simulation.crash(host, "process");
          simulation.restart(host);
        });
      }
    }
    void haveForgotten(victim);
    void probe(victim);
  };
  for (const victim of victims) {
    simulation.after(random.between(0, safetyMs / 2), "an operator gives a node up", () => meetFate(victim));
  }

  asker.start();
  injector.start();
  await simulation.runFor(safetyMs);
  await world.heal(injector);
  asker.stop();

  // --- what must come of it ---

  const left = count - wanted;
  const isOne = (): boolean => isWhole(staying(), left) && victims.every(({ isForgotten }) => isForgotten);
  await simulation.runUntil("the others to be one cluster without those that were forgotten", isOne, livenessMs(swarm));
  const knowsWhy = ({ host, fate }: Victim): boolean => {
    const view = world.running.get(host.name);
    // One that is dead says nothing.
    if (view === undefined) return fate === "is dead";
    return !view.topology.isMember && /taken out|was removed/.test(view.topology.waitingFor ?? "");
  };
  await simulation.runUntil("those that were forgotten to know it", () => victims.every(knowsWhy), LIVENESS_MS);
  const voters = foundingVoters(left, world.maxVoters);
  const hasVoters = (): boolean =>
    staying().every(({ consensus: { status } }) => status.members.filter(({ isVoter }) => isVoter).length === voters);
  await simulation.runUntil(`the others to have ${voters} voters`, hasVoters, LIVENESS_MS);
  // Whatever was still on its way is settled by its deadline.
  await simulation.runFor(4000);
  await simulation.runUntil("the others to be one cluster", isOne, LIVENESS_MS);
  const ruler = (): string =>
    staying()
      .map(({ consensus: { status } }) => `${status.leader} ${status.term}`)
      .join();
  const before = ruler();
  await simulation.runFor(REST_MS);
  if (ruler() !== before)
    throw simulation.error(`Broken: whoever was forgotten disturbs nobody: ${before} became ${ruler()}`);
  await world.changeOnEach(staying());
  await simulation.runUntil("the same map everywhere", isOne, LIVENESS_MS);
  world.checkFinal(staying());
  return {
    traceHash: simulation.traceHash,
    virtualMs: simulation.nowMs,
    events: simulation.scheduler.executed,
    fates: victims.map(({ fate }) => fate),
    refused,
    terms: world.terms,
    faults: injector.summary(),
  };
}
