/**
 * A run of the simulation in which nodes that are clusters by themselves become one, by CLUSTER MEET, while everything goes wrong that the seed has drawn and
 * clients write.
 *
 * Never is a slot served by two, or a node in two clusters; what a client was told is written is there as long as its node lives. After the faults all are
 * one cluster, with the slots that they brought.
 */
import { BUS_PORT_OFFSET } from "../../src/config.ts";
import { keySlot } from "../../src/codec/slot.ts";
import { parseSlotRange } from "../../src/protocol/slot-ranges.ts";
import type { NodeView } from "../support/cluster-checkers.ts";
import { ClusterWorld, LIVENESS_MS, type ListedNode, isWhole } from "../support/cluster-world.ts";
import { FaultInjector } from "../support/fault-injector.ts";
import { NO_ANSWER, Operator } from "../support/operator.ts";
import { SimRandom } from "../support/sim-random.ts";
import { type SwarmOptions, drawSwarm } from "../support/swarm.ts";

export interface MeetingRunOptions {
  /** Virtual milliseconds of faults. */
  readonly safetyMs: number;
  readonly swarm: SwarmOptions | undefined;
  /** Gets each line of the trace. */
  readonly sink: ((line: string) => void) | undefined;
}

const DEFAULTS: MeetingRunOptions = { safetyMs: 10_000, swarm: undefined, sink: undefined };

/** So long the operator has nodes meet in quick succession. */
const AT_ONCE_MS = 1000;

/** What a run came to. */
export interface MeetingRunResult {
  readonly traceHash: string;
  readonly virtualMs: number;
  readonly events: number;
  readonly nodes: number;
  /** MEET commands until all had met. */
  readonly commands: number;
  readonly writes: number;
  readonly faults: string;
}

/** How long a node is waited for that has no lease: some seconds. */
const LEASE_TRIES = 100;
const LEASE_PAUSE_MS = 100;

/**
 * Runs one seed.
 *
 * @throws {SimulationError} If something did not hold; the message says what, and how the world stood.
 */
export async function runMeeting(seed: number, options: Partial<MeetingRunOptions> = {}): Promise<MeetingRunResult> {
  const { safetyMs, swarm: givenSwarm, sink } = { ...DEFAULTS, ...options };
  const swarm = givenSwarm ?? drawSwarm(seed);
  const random = new SimRandom(`meeting ${seed}`);
  const isEmpty = new Map<string, boolean>();
  const world = new ClusterWorld(seed, random, {
    swarm,
    sink,
    counts: [2, 3, 3, 4, 5],
    diskChances: [0, 0.5, 1, 1],
    hasManyGroups: true,
    // Each is a cluster by itself, with slots that no other has, or with none.
    settingsOf: (member) =>
      isEmpty.get(member.host) === true ? { empty: true } : { plugins: { topology: { nodes: [member] } } },
  });
  const { simulation } = world;
  const drawn = random.fork("settings");
  for (const { host } of world.members) isEmpty.set(host, drawn.chance(0.3));
  const count = world.members.length;
  const isOne = (): boolean => isWhole(world.views, count);
  const operator = new Operator(world, random.fork("operator"));
  const injector = new FaultInjector(simulation, swarm, {
    hosts: world.hosts,
    // One that votes beside a single other one, or is just being given that vote, takes the group with it when it forgets everything.
    mayCrash: (host) =>
      world.hasDisk(host.name) ||
      (world.mayLose(host) && world.views.every(({ consensus }) => (consensus.machine?.voters.length ?? 0) >= 3)),
  });
  await simulation.runUntil("all nodes to run", () => world.ready.length === count, LIVENESS_MS);

  // --- what clients write: to the one that brought the slot ---

  const written = new Map<NodeView, Map<string, string>>();
  let writes = 0;
  const write = async (): Promise<void> => {
    const member = operator.random.pick(world.members);
    const view = operator.nodeOn(member?.host ?? "");
    if (member === undefined || view === undefined || isEmpty.get(member.host) === true) return;
    const key = keyOf(member, operator.random);
    const value = `v${operator.random.below(1_000_000)}`;
    if ((await operator.ask(view, `SET ${key} ${value}`)) !== "OK") return;
    writes += 1;
    let of = written.get(view);
    if (of === undefined) {
      of = new Map();
      written.set(view, of);
    }
    of.set(key, value);
  };
  const clients = { areWriting: true };
  const writeOn = async (): Promise<void> => {
    while (clients.areWriting) {
      await write();
      await operator.pause(operator.random.exponential(200));
    }
  };

  // --- the operator has them meet, each with the first, until all are one cluster ---

  let commands = 0;
  const network = { isHealed: false };
  const meetOn = async (): Promise<void> => {
    // A node without a disk that starts again is a cluster by itself once more.
    while (!network.isHealed || !isOne()) {
      // Each with one of the largest cluster, one telling the other: clusters of several nodes each would stay apart.
      const [largest] = world.ready.toSorted((a, b) => b.topology.map.nodes.length - a.topology.map.nodes.length);
      const anchor = world.members.find(({ host }) => host === largest?.name) ?? world.members[0];
      const others = world.members.filter((member) => member !== anchor);
      const pair = operator.random.shuffle([anchor, operator.random.pick(others)]);
      const view = operator.nodeOn(pair[0]?.host ?? "");
      const [, other] = pair;
      if (view !== undefined && other !== undefined) {
        commands += 1;
        await operator.ask(view, `CLUSTER MEET ${other.host} ${other.port} ${other.port + BUS_PORT_OFFSET}`);
      }
      // At first all at once, as redis-cli has them meet.
      await operator.pause(operator.random.exponential(simulation.nowMs < AT_ONCE_MS ? 30 : 1500));
    }
  };
  const meeting = meetOn();
  const writing = writeOn();
  injector.start();
  await simulation.runFor(safetyMs);
  await world.heal(injector);
  network.isHealed = true;
  await simulation.runUntil("one cluster of all nodes", isOne, LIVENESS_MS);
  await simulation.settle("the operator to see it", meeting, LIVENESS_MS);
  clients.areWriting = false;
  await simulation.settle("the last write", writing, LIVENESS_MS);
  await world.changeOnEach(world.views);
  await simulation.runUntil("the same map everywhere", isOne, LIVENESS_MS);
  world.checkFinal(world.views);

  // --- what must be there ---

  const check = async (): Promise<void> => {
    for (const [view, values] of written) {
      if (!world.views.includes(view)) continue;
      for (const [key, value] of values) {
        let answer = await operator.ask(view, `GET ${key}`);
        // One that has no lease at this moment gets one.
        for (let tries = 0; tries < LEASE_TRIES && answer.startsWith("CLUSTERDOWN"); tries += 1) {
          await operator.pause(LEASE_PAUSE_MS);
          answer = await operator.ask(view, `GET ${key}`);
        }
        if (answer !== value && answer !== NO_ANSWER) {
          throw simulation.error(`${view.name} was told to keep "${value}" at ${key}, and has ${answer}`);
        }
      }
    }
  };
  await simulation.settle("what was written", check(), LIVENESS_MS);
  const { map } = world.views[0]?.topology ?? {};
  for (const { name, host, slots } of world.members) {
    const range = parseSlotRange(slots[0] ?? "");
    const shard = map?.shards[map.shardOfSlot[range?.first ?? 0] ?? -1];
    const owner = map?.nodes.find((node) => node.id === shard?.primary)?.name;
    const wanted = isEmpty.get(host) === true ? undefined : name;
    if (owner !== wanted) throw simulation.error(`${name} began with slots ${slots.join()}, which ${owner} owns`);
  }
  return {
    traceHash: simulation.traceHash,
    virtualMs: simulation.nowMs,
    events: simulation.scheduler.executed,
    nodes: count,
    commands,
    writes,
    faults: injector.summary(),
  };
}

/** Some key of a slot that a node begins with. */
function keyOf({ slots }: ListedNode, random: SimRandom): string {
  const range = parseSlotRange(slots[0] ?? "") ?? { first: 0, last: 16_383 };
  const encoder = new TextEncoder();
  for (;;) {
    const key = `key${random.below(100_000)}`;
    const bytes = encoder.encode(key);
    const slot = keySlot(bytes, 0, bytes.length);
    if (slot >= range.first && slot <= range.last) return key;
  }
}
