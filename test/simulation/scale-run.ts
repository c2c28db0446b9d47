/**
 * A large cluster, simulated: 5 voters and 200 learners by default, whole nodes with their real plugins.
 *
 * 1. It forms: the voters found it from one list, the learners join by way of them. One leader, every node admitted, all with the same map.
 * 2. Changes are asked for on any of the nodes, all the time from here on.
 * 3. The leader is killed, and comes back a little later, with its disk.
 * 4. A third of the learners is cut off from all others. The rest goes on; logs are cut into snapshots meanwhile.
 * 5. The cut heals, but a few of them and the leader do not reach each other: they get a snapshot from others, and what followed it.
 * 6. That heals, too: all are one cluster with one map again, and whoever asks for a change gets it.
 *
 * What a leader sends while nothing is asked is measured, and is in proportion to the number of nodes. `storm-run.ts` has the learners join in one moment.
 */
import type { NodeView } from "../support/cluster-checkers.ts";
import { drawRequest } from "../support/map-asker.ts";
import { SCALE_LIMIT_MS, ScaleWorld } from "../support/scale-world.ts";
import { SimRandom } from "../support/sim-random.ts";

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
  /** Those among them that came from members which were asked for them. */
  readonly fetchedSnapshots: number;
  /** What the leader sends in a virtual second in which nobody asks for anything. */
  readonly idleBytesPerSecond: number;
}

/** Nodes that look for a cluster at the same time talk to each other as well: few do at a time here. */
const JOIN_EVERY_MS = 20;
const CHANGES_MS = 1000;
const KILLED_MS = 1500;
const CUT_MS = 3000;
const IDLE_MS = 1000;
/** Small, so that those that were cut off get a snapshot. */
const SNAPSHOT_BYTES = 4 * 1024;
/** Learners that do not reach the leader for longer than others. More than are sent a snapshot by one member at once. */
const LEADERLESS = 6;

/**
 * Runs one seed.
 *
 * @throws {SimulationError} If something did not hold; the message says what, and how the world stood.
 */
export async function runScale(seed: number, options: Partial<ScaleRunOptions> = {}): Promise<ScaleRunResult> {
  const { voters, learners, askEveryMs, sink, tell } = { ...DEFAULTS, ...options };
  const world = new ScaleWorld(seed, {
    voters,
    learners,
    joinEveryMs: JOIN_EVERY_MS,
    snapshotBytes: SNAPSHOT_BYTES,
    sink,
    tell,
  });
  const { simulation, members, running, group, maps } = world;
  const random = new SimRandom(`scale ${seed}`);

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

  const formedMs = await world.until("every node to be admitted with the same map", () => world.isOne);
  world.say("formed");
  const idleBytesPerSecond = await world.leaderBytesPerSecond(IDLE_MS);
  world.say(`its leader sends ${idleBytesPerSecond} bytes a second while nothing is asked`);

  simulation.after(0, "operator", askOn);
  await simulation.runFor(CHANGES_MS);
  const killed = world.leader;
  if (killed === undefined) throw simulation.error("Nobody leads, and nothing has happened");
  simulation.crash(killed.name);
  simulation.after(KILLED_MS, "restart", () => simulation.restart(killed.name));
  const leaderlessMs = await world.until("another leader", () => world.leader !== undefined);
  world.say(`another leader ${Math.round(leaderlessMs)} ms after the first one was killed`);
  await simulation.runFor(KILLED_MS);

  const cutOff = random.shuffle(members.slice(voters).map(({ host }) => host)).slice(0, Math.floor(learners / 3));
  const cut = simulation.isolate(cutOff);
  const doneBefore = done;
  await simulation.runFor(CUT_MS);
  if (done === doneBefore) throw simulation.error("Nothing was agreed on while a third of the learners was cut off");
  isAsking = false;
  const leading = world.leader;
  if (leading === undefined) throw simulation.error("Nobody leads while learners are cut off");
  const leaderless = cutOff.slice(0, LEADERLESS);
  const cuts = [simulation.cutOneWay([leading.name], leaderless), simulation.cutOneWay(leaderless, [leading.name])];
  const { version } = leading.topology.map;
  const fetchedBefore = group.fetchedSnapshots;
  cut.heal();
  const fetchedMs = await world.until("the map to be had from others than the leader", () =>
    leaderless.every((host) => (running.get(host)?.topology.map.version ?? 0) >= version),
  );
  const fetched = group.fetchedSnapshots - fetchedBefore;
  if (fetched < leaderless.length) throw simulation.error(`${fetched} learners got a snapshot from others`);
  world.say(`${leaderless.length} learners had the map from others ${Math.round(fetchedMs)} ms after the cut`);
  for (const each of cuts) each.heal();
  const healedMs = fetchedMs + (await world.until("one cluster after the cut", () => world.isOne));
  world.say(`one cluster ${Math.round(healedMs)} ms after the cut of ${cutOff.length} learners`);

  // Whatever was still on its way is settled by its deadline.
  await simulation.runFor(5000);
  for (const host of random.shuffle(members.map((each) => each.host)).slice(0, 5)) {
    const view = running.get(host);
    if (view === undefined) throw simulation.error(`${host} does not run`);
    const outcome = await simulation.settle(
      `a change on ${host}`,
      view.topology.request({ type: "bump-epoch", node: view.node.facts.id }, `last request on ${host}`),
      SCALE_LIMIT_MS,
    );
    if (outcome.type !== "done") throw simulation.error(`A change on ${host} was ${outcome.type}`);
    done += 1;
  }
  await world.until("the same map everywhere", () => world.isOne);
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
    fetchedSnapshots: group.fetchedSnapshots,
    idleBytesPerSecond,
  };
}
