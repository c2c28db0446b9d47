/**
 * Many nodes join a cluster, simulated: whole nodes with their real plugins, that start one after the other or all in one moment.
 *
 * 1. The voters found the cluster from one list; the learners join by way of them.
 * 2. It is formed: one leader, every node admitted, all with the same map and the whole log.
 * 3. It is settled: each holds each of the others for alive.
 * 4. What the leader sends while nothing is asked is measured.
 */
import type { NodeView } from "../support/cluster-checkers.ts";
import { ScaleWorld, sentBytes } from "../support/scale-world.ts";
import { membershipService } from "../../src/contracts/membership.ts";

export interface StormRunOptions {
  readonly voters: number;
  readonly learners: number;
  /** A learner starts so long after the one before it, in virtual milliseconds. 0: all in one moment, with the voters. */
  readonly joinEveryMs: number;
  /** Gets each line of the trace. */
  readonly sink: ((line: string) => void) | undefined;
  /** Gets a sentence at the end of each step. */
  readonly tell: ((sentence: string) => void) | undefined;
}

const DEFAULTS: StormRunOptions = { voters: 5, learners: 200, joinEveryMs: 0, sink: undefined, tell: undefined };

const SNAPSHOT_BYTES = 64 * 1024;

/** What a run came to. */
export interface StormRunResult {
  readonly traceHash: string;
  readonly virtualMs: number;
  readonly events: number;
  /** From the start until all nodes had the same map and log, in virtual milliseconds. */
  readonly formedMs: number;
  /** From the start until each node held each of the others for alive. */
  readonly settledMs: number;
  /** What the leader sent until then. */
  readonly formingBytes: number;
  /** How often one node suspected another. */
  readonly suspicions: number;
  /** Who held another one for down; all of them ran. */
  readonly falseDeaths: readonly string[];
  /** What the leader sends in a virtual second in which nobody asks for anything. */
  readonly idleBytesPerSecond: number;
}

const IDLE_MS = 1000;

/**
 * Runs one seed.
 *
 * @throws {SimulationError} If something did not hold; the message says what, and how the world stood.
 */
export async function runStorm(seed: number, options: Partial<StormRunOptions> = {}): Promise<StormRunResult> {
  const { voters, learners, ...rest } = { ...DEFAULTS, ...options };
  const world = new ScaleWorld(seed, { voters, learners, snapshotBytes: SNAPSHOT_BYTES, ...rest });
  const { simulation } = world;
  const count = voters + learners;
  const hasLog = (): boolean => {
    const lastIndex = world.leader?.consensus.status.lastIndex;
    return [...world.running.values()].every(({ consensus }) => consensus.status.commitIndex === lastIndex);
  };
  await world.until("every node to be admitted with the same map and log", () => world.isOne && hasLog());
  const formedMs = simulation.nowMs;
  world.say(`formed, the leader has sent ${sentBytes(world.leader)} bytes`);
  await world.until("each to hold all for alive", () =>
    [...world.running.values()].every((view) => holdsAlive(view, count)),
  );
  const settledMs = simulation.nowMs;
  const formingBytes = sentBytes(world.leader);
  world.say(`settled, after ${world.suspicions} suspicions and ${world.falseDeaths.length} false deaths`);
  const idleBytesPerSecond = await world.leaderBytesPerSecond(IDLE_MS);
  world.say(`its leader sends ${idleBytesPerSecond} bytes a second while nothing is asked`);
  world.maps.final([...world.running.values()]);
  return {
    traceHash: simulation.traceHash,
    virtualMs: simulation.nowMs,
    events: simulation.scheduler.executed,
    formedMs,
    settledMs,
    formingBytes,
    suspicions: world.suspicions,
    falseDeaths: world.falseDeaths,
    idleBytesPerSecond,
  };
}

/** Whether a node holds so many for alive, itself included. */
function holdsAlive({ node }: NodeView, count: number): boolean {
  const members = node.service(membershipService)?.members() ?? [];
  return members.length === count && members.every(({ state }) => state === "alive");
}
