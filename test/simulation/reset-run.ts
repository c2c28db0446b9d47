/**
 * A run of the simulation in which nodes are taken out of their cluster by CLUSTER RESET, SOFT and HARD, while everything goes wrong that the seed has drawn; often
 * just while they leave.
 *
 * A crash in the middle leaves a node in its old cluster (from which it may be out by then) or as a new one, and always able to start. One with a disk that
 * has become a cluster by itself is that one for good. The old cluster goes on, and has it as removed.
 */
import { idOfName } from "../../src/identity.ts";
import type { NodeView } from "../support/cluster-checkers.ts";
import { ClusterWorld, LIVENESS_MS, NOTICE_MS, isWhole } from "../support/cluster-world.ts";
import { DepartedChecker } from "../support/departed-checker.ts";
import { FaultInjector } from "../support/fault-injector.ts";
import { MapAsker, drawSmallRequest } from "../support/map-asker.ts";
import { Operator } from "../support/operator.ts";
import { Violation } from "../support/raft-checkers.ts";
import { SimRandom } from "../support/sim-random.ts";
import type { SimHost } from "../support/sim-world.ts";
import { type SwarmOptions, drawSwarm } from "../support/swarm.ts";

export interface ResetRunOptions {
  /** Virtual milliseconds of faults. */
  readonly safetyMs: number;
  readonly swarm: SwarmOptions | undefined;
  /** Gets each line of the trace. */
  readonly sink: ((line: string) => void) | undefined;
}

const DEFAULTS: ResetRunOptions = { safetyMs: 12_000, swarm: undefined, sink: undefined };

/** What a run came to. */
export interface ResetRunResult {
  readonly traceHash: string;
  readonly virtualMs: number;
  readonly events: number;
  /** Nodes by how they were reset. */
  readonly kinds: readonly string[];
  /** Commands that were given until all were. */
  readonly commands: number;
  /** Crashes just while a node left. */
  readonly crashesMidway: number;
  readonly terms: number;
  readonly faults: string;
}

/** How often the list of its files changes while a node becomes a cluster by itself. It has noted that it left at the third change. */
const STEPS = [1, 2, 3, 3, 3, 4, 4, 5, 6, 7, 8] as const;

/** A node that is to be reset. */
interface Leaver {
  readonly host: SimHost;
  /** As it began. */
  readonly id: string;
  readonly kind: "SOFT" | "HARD";
  readonly hasDisk: boolean;
  /** The cluster that it has become. */
  cluster: string;
  /** After it has left its group it crashes when the list of its files has changed so often; once. */
  crashesIn: number;
  files: string;
}

/**
 * Runs one seed.
 *
 * @throws {SimulationError} If something did not hold; the message says what, and how the world stood.
 */
export async function runReset(seed: number, options: Partial<ResetRunOptions> = {}): Promise<ResetRunResult> {
  const { safetyMs, swarm: givenSwarm, sink } = { ...DEFAULTS, ...options };
  const swarm = givenSwarm ?? drawSwarm(seed);
  const random = new SimRandom(`reset ${seed}`);
  const world = new ClusterWorld(seed, random, {
    swarm,
    sink,
    counts: [2, 3, 3, 3, 4, 5],
    diskChances: [0, 0.5, 1, 1],
    hasManyGroups: true,
  });
  const { simulation } = world;
  const count = world.members.length;
  const wanted = Math.min(count - 1, random.pick([1, 1, 2]));
  const leavers = random
    .shuffle(world.members)
    .slice(0, wanted)
    .map(({ name, host }): Leaver => ({
      host: simulation.host(host),
      id: idOfName(name),
      kind: random.pick(["SOFT", "HARD"]),
      hasDisk: world.hasDisk(host),
      cluster: "",
      crashesIn: random.chance(0.8) ? random.pick(STEPS) : Infinity,
      files: "",
    }));
  const isLeaver = ({ name }: NodeView): boolean => leavers.some(({ host }) => host.name === name);
  const staying = (): readonly NodeView[] => world.views.filter((view) => !isLeaver(view));
  const asker = new MapAsker(world, random.fork("requests"), random.pick([50, 400]), drawSmallRequest, staying);
  const operator = new Operator(world, random.fork("operator"));
  const injector = new FaultInjector(simulation, swarm, {
    hosts: world.hosts,
    mayCrash: (host) => world.mayCrash(host),
  });
  await simulation.runUntil("the cluster to be founded", () => isWhole(world.views, count), LIVENESS_MS);
  const oldCluster = world.views[0]?.topology.map.clusterId ?? "";

  // --- what must hold ---

  const isAlone = ({ topology, consensus }: NodeView): boolean =>
    topology.map.clusterId !== "" && topology.map.clusterId !== oldCluster && consensus.status.role === "leader";
  const lookAtLeaver = (leaver: Leaver): void => {
    const view = world.running.get(leaver.host.name);
    if (view === undefined) return;
    const { map } = view.topology;
    if (view.node.facts.isReset && view.consensus.status.group === oldCluster) {
      throw new Violation(
        `a node is in one cluster: ${view.name} has noted that it left, and is a member all the same`,
      );
    }
    if (map.clusterId === "" || map.version === 0) return;
    if (map.clusterId !== oldCluster && leaver.cluster === "") {
      leaver.cluster = map.clusterId;
      const { id } = view.node.facts;
      const isNew = id !== leaver.id;
      if (isNew !== (leaver.kind === "HARD"))
        throw new Violation(`SOFT keeps the id, HARD does not: ${view.name} is ${id}`);
      if (map.tombstones.length > 0 || map.nodes.length !== 1 || map.shards.some(({ slots }) => slots.length > 0)) {
        throw new Violation(`a node that was reset is alone, and has no slots: ${view.name} is not`);
      }
    } else if (leaver.hasDisk && leaver.cluster !== "" && map.clusterId !== leaver.cluster) {
      throw new Violation(
        `a node is in one cluster: ${view.name} has left ${leaver.cluster}, and is in ${map.clusterId}`,
      );
    }
  };
  const departed = new DepartedChecker();
  let crashesMidway = 0;
  const crashMidway = (leaver: Leaver): void => {
    const view = world.running.get(leaver.host.name);
    if (view === undefined || view.consensus.machine !== undefined) return;
    const files = leaver.host.disk.paths().join(" ");
    if (files === leaver.files) return;
    leaver.files = files;
    leaver.crashesIn -= 1;
    if (leaver.crashesIn !== 0) return;
    simulation.after(0, "a crash midway", () => {
      if (!world.mayCrash(leaver.host)) return;
      crashesMidway += 1;
      simulation.crash(leaver.host, operator.random.pick(["power", "process"]));
      simulation.after(operator.random.exponential(500), "fault heals", () => {
        if (!leaver.host.isUp) simulation.restart(leaver.host);
      });
    });
  };
  simulation.check("what nodes that are reset may be", () => {
    for (const view of world.views) departed.look(view);
    for (const leaver of leavers) {
      lookAtLeaver(leaver);
      crashMidway(leaver);
    }
  });

  // --- how they are reset, and what the others make of it ---

  let commands = 0;
  const asking = { isOver: false };
  const haveReset = async ({ host, id, kind }: Leaver): Promise<void> => {
    world.leaving.add(id);
    await operator.pause(NOTICE_MS);
    while (!asking.isOver) {
      await operator.pause(50);
      const view = operator.nodeOn(host.name);
      if (view === undefined || isAlone(view)) continue;
      commands += 1;
      await operator.ask(view, `CLUSTER RESET ${kind}`);
    }
  };
  /** What they served is served by others. */
  const coverSlots = async (): Promise<void> => {
    while (!asking.isOver) {
      await operator.pause(100);
      const asked = await operator.anyOther(leavers.map(({ host }) => host.name));
      const lost = world.members
        .filter(({ host }) => leavers.some((leaver) => leaver.host.name === host))
        .flatMap(({ slots }) => slots)
        .map((range) => range.split("-"));
      for (const [first = "", last = ""] of lost) {
        await operator.ask(asked, `CLUSTER ADDSLOTSRANGE ${first} ${last}`);
      }
    }
  };
  void coverSlots();
  for (const leaver of leavers) {
    simulation.after(random.between(0, safetyMs / 2), "an operator resets a node", () => void haveReset(leaver));
  }
  asker.start();
  injector.start();
  await simulation.runFor(safetyMs);
  await world.heal(injector);
  asker.stop();

  // --- what must come of it ---

  const areAlone = (): boolean =>
    leavers.every(({ host }) => {
      const view = world.running.get(host.name);
      return view !== undefined && isAlone(view) && view.topology.waitingFor === undefined;
    });
  await simulation.runUntil("all that are reset to be alone", areAlone, LIVENESS_MS);
  const isOne = (): boolean => {
    const views = staying();
    return isWhole(views, count - wanted) && views.every(({ topology }) => topology.map.shardOfSlot.indexOf(-1) === -1);
  };
  await simulation.runUntil("the others to be one cluster, with all slots", isOne, LIVENESS_MS);
  asking.isOver = true;
  // Whatever was still on its way is settled by its deadline.
  await simulation.runFor(4000);
  for (const { host, hasDisk } of leavers) {
    if (!hasDisk) continue;
    simulation.crash(host, "power");
    simulation.restart(host);
  }
  await simulation.runUntil("all with a disk to be what they were, after a restart", areAlone, LIVENESS_MS);
  await world.changeOnEach(world.views);
  await simulation.runUntil("the same map everywhere", isOne, LIVENESS_MS);
  for (const { id, host } of leavers) {
    if (staying().every(({ topology }) => topology.map.tombstones.some(({ node }) => node === id))) continue;
    throw simulation.error(`Broken: who has left is known to have left: ${host.name} is not`);
  }
  world.checkFinal(staying());
  return {
    traceHash: simulation.traceHash,
    virtualMs: simulation.nowMs,
    events: simulation.scheduler.executed,
    kinds: leavers.map(({ kind }) => kind),
    commands,
    crashesMidway,
    terms: world.terms,
    faults: injector.summary(),
  };
}
