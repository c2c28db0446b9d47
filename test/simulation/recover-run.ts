/**
 * A run of the simulation in which a majority of the voters is lost for good, and an operator makes a new cluster of what one survivor has on its disk (`bunch
 * recover`), while everything goes wrong that the seed has drawn; often just in the middle of it.
 *
 * Until then the survivors of the old cluster serve on. The new cluster has another id, and all that its first node had written down and applied; the others come
 * to it without what they remember of the old one.
 */
import { finishReplacement, readDataDirectory } from "../../src/cli/data-directory.ts";
import { recoverCluster, survivorOf } from "../../src/cli/recovery.ts";
import { majorityOf } from "../../src/protocol/raft/quorum.ts";
import type { NodeView } from "../support/cluster-checkers.ts";
import { ClusterWorld, LIVENESS_MS, isWhole } from "../support/cluster-world.ts";
import { FaultInjector } from "../support/fault-injector.ts";
import { MapAsker } from "../support/map-asker.ts";
import { Operator } from "../support/operator.ts";
import { Violation } from "../support/raft-checkers.ts";
import { SimDirectories } from "../support/sim-directories.ts";
import { SimRandom } from "../support/sim-random.ts";
import type { SimHost } from "../support/sim-world.ts";
import { type SwarmOptions, drawSwarm } from "../support/swarm.ts";

export interface RecoverRunOptions {
  /** Virtual milliseconds of faults: half of them before the loss. */
  readonly safetyMs: number;
  readonly swarm: SwarmOptions | undefined;
  /** Gets each line of the trace. */
  readonly sink: ((line: string) => void) | undefined;
}

const DEFAULTS: RecoverRunOptions = { safetyMs: 12_000, swarm: undefined, sink: undefined };

/** What a run came to. */
export interface RecoverRunResult {
  readonly traceHash: string;
  readonly virtualMs: number;
  readonly events: number;
  /** Nodes whose disks were lost. */
  readonly lost: number;
  /** How often recovering was begun until it was done, and how often it only had to be ended. */
  readonly attempts: number;
  readonly finished: number;
  /** Acts on the map that the survivor had to keep. */
  readonly kept: number;
  readonly changes: number;
  readonly terms: number;
  readonly faults: string;
}

const DIRECTORY = "data";
/** So many times the list of a survivor's files changes while a new cluster is made of them, or a few less. */
const STEPS = 14;

/**
 * Runs one seed.
 *
 * @throws {SimulationError} If something did not hold; the message says what, and how the world stood.
 */
export async function runRecover(seed: number, options: Partial<RecoverRunOptions> = {}): Promise<RecoverRunResult> {
  const { safetyMs, swarm: givenSwarm, sink } = { ...DEFAULTS, ...options };
  const swarm = givenSwarm ?? drawSwarm(seed);
  const random = new SimRandom(`recover ${seed}`);
  const world = new ClusterWorld(seed, random, {
    swarm,
    sink,
    counts: [2, 3, 3, 3, 4, 5],
    diskChances: [1],
    hasManyGroups: true,
    directory: DIRECTORY,
  });
  const { simulation, maps } = world;
  const count = world.members.length;
  const asker = new MapAsker(world, random.fork("requests"), random.pick([50, 400]));
  const operator = new Operator(world, random.fork("operator"));
  const injector = new FaultInjector(simulation, swarm, { hosts: world.hosts });
  await simulation.runUntil("the cluster to be founded", () => isWhole(world.views, count), LIVENESS_MS);
  const oldCluster = world.views[0]?.topology.map.clusterId ?? "";
  asker.start();
  injector.start();
  await simulation.runFor(safetyMs / 2);

  // --- the loss ---

  await simulation.runUntil("a node to take the survivor's part", () => world.ready.length > 0, LIVENESS_MS);
  const survivor = operator.random.pick(world.ready) as NodeView;
  const host = simulation.host(survivor.name);
  const { program } = host;
  const others = world.hosts.filter((each) => each !== host).map((each) => ({ host: each, program: each.program }));
  const staying = new Set<SimHost>();
  for (const { host: each } of operator.random.shuffle(others)) {
    if (world.running.has(each.name) && isLostBut(new Set([...staying, each]), world.views)) staying.add(each);
  }
  const { machine } = survivor.consensus;
  // What was applied and never written down is lost with the others: nobody but them had it.
  const kept = survivor.topology.history.filter(({ version }) => version <= (machine?.persistedIndex ?? 0));
  // It may so have said that it lets slots go, and will not know of it: who has them since must be stopped, as the page on recovery says, and here is not yet.
  const hasForgotten = (machine?.persistedIndex ?? 0) < (machine?.log.appliedIndex ?? 0);
  for (const { name } of hasForgotten ? staying : []) maps.givenUp.add(world.running.get(name)?.node.facts.id ?? "");
  for (const { host: each } of others) {
    if (staying.has(each)) continue;
    each.program = undefined;
    simulation.crash(each, "power");
    each.disk.wipe();
  }

  // --- the recovery ---

  let attempts = 0;
  let finished = 0;
  let isRecovered = false;
  host.program = async (process) => {
    attempts += 1;
    const directories = new SimDirectories(process, host.disk);
    const ended = await finishReplacement(directories, DIRECTORY);
    if (ended === undefined) {
      const stored = await readDataDirectory(directories, DIRECTORY);
      const node = survivorOf(stored, DIRECTORY);
      const surroundings = { copyFrom: DIRECTORY, backup: `before-${attempts}` };
      await recoverCluster(directories, DIRECTORY, stored, node, surroundings, process);
    } else finished += 1;
    isRecovered = true;
  };
  let crashesIn = operator.random.chance(0.7) ? 1 + operator.random.below(STEPS) : Infinity;
  let files = "";
  simulation.check("what a survivor has on its disk", () => {
    if (isRecovered || crashesIn <= 0) return;
    const now = host.disk.paths().join(" ");
    if (now === files) return;
    files = now;
    crashesIn -= 1;
    if (crashesIn > 0) return;
    simulation.after(0, "a crash midway", () => {
      if (isRecovered || !host.isUp) return;
      simulation.crash(host, operator.random.pick(["power", "process"]));
      simulation.restart(host);
    });
  });
  simulation.crash(host, operator.random.pick(["power", "process"]));
  simulation.restart(host);
  await simulation.runUntil("a new cluster to be made", () => isRecovered, LIVENESS_MS);
  host.program = program;
  simulation.crash(host, "process");
  simulation.restart(host);
  let newCluster = "";
  simulation.check("what was recovered", () => {
    const view = operator.nodeOn(host.name);
    if (view !== undefined && view.topology.map.clusterId === oldCluster) {
      throw new Violation(`a cluster that was recovered has another id: ${view.name} is in the old one`);
    }
    if (view !== undefined && newCluster === "") newCluster = view.topology.map.clusterId;
    for (const { name, consensus } of world.views) {
      if (newCluster === "" || consensus.machine?.role !== "leader") continue;
      const { group } = consensus.status;
      if (group === oldCluster || group === newCluster) continue;
      throw new Violation(`nobody founds another cluster beside the one that was recovered: ${name} leads ${group}`);
    }
  });
  await simulation.runFor(safetyMs / 2);
  const isThere = (): boolean => operator.nodeOn(host.name)?.consensus.status.role === "leader";
  if (!isThere()) await simulation.runUntil("the survivor to lead the new cluster", isThere, LIVENESS_MS);
  const acts = new Set(operator.nodeOn(host.name)?.topology.history.map(({ version, cause }) => `${version} ${cause}`));
  const missing = kept.find(({ version, cause }) => !acts.has(`${version} ${cause}`));
  if (missing !== undefined) {
    throw simulation.error(
      `Broken: what the survivor had is kept: version ${missing.version} (${missing.cause}) is gone`,
    );
  }

  // --- the others come to it: all are stopped, then each is started without what it knows of the old cluster ---

  maps.givenUp.clear();
  for (const { host: each } of others) {
    each.program = undefined;
    simulation.crash(each, "process");
    for (const path of each.disk.paths()) if (path.startsWith(`${DIRECTORY}/raft/`)) each.disk.remove(path);
  }
  for (const { host: each, program: node } of others) {
    simulation.after(operator.random.between(0, 1000), "a node is started again", () => {
      each.program = node;
      simulation.crash(each, "process");
      simulation.restart(each);
    });
  }
  await simulation.runFor(1000);
  await world.heal(injector);
  asker.stop();
  const isOne = (): boolean => isWhole(world.views, count);
  await simulation.runUntil("all to be one cluster again", isOne, LIVENESS_MS);
  // Whatever was still on its way is settled by its deadline.
  await simulation.runFor(4000);
  await world.changeOnEach(world.views);
  await simulation.runUntil("the same map everywhere", isOne, LIVENESS_MS);
  world.checkFinal(world.views);
  return {
    traceHash: simulation.traceHash,
    virtualMs: simulation.nowMs,
    events: simulation.scheduler.executed,
    lost: others.length - staying.size,
    attempts,
    finished,
    kept: kept.length,
    changes: asker.counts.done,
    terms: world.terms,
    faults: injector.summary(),
  };
}

/**
 * Whether a group has no majority without all but these hosts and the survivor, which is about to leave it: as any of its members sees the group. Learners count
 * as voters: a leader that is left may just give them a vote, and has its majority back.
 */
function isLostBut(hosts: ReadonlySet<SimHost>, views: readonly NodeView[]): boolean {
  const names = new Set([...hosts].map(({ name }) => name));
  return views.every(({ consensus: { machine } }) =>
    (machine?.log.configurationsFrom(machine.log.commitIndex) ?? []).every(({ members }) => {
      const voters = members.filter((member) => member.isVoter || names.has(member.host));
      return voters.filter((voter) => names.has(voter.host)).length < majorityOf(voters.length);
    }),
  );
}
