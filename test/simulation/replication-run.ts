/**
 * A run of the simulation in which shards have replicas: whole nodes, clients that read and write, and everything goes wrong that the seed has drawn.
 *
 * Of its kinds one has nodes that fail over by themselves (`hasFailover`), under leases: then a primary that is cut off is left to its clients, and checked is
 * that no two nodes have a lease for a shard. In the other one an operator promotes others where primaries die or are cut off, plans failovers, moves replicas, and changes how many must be in sync (`shard-operator.ts`).
 * A third one is the first, and slots move between shards all the while (`hasMigrations`, `slot-mover.ts`): keys get each other's names, and there is either somebody who
 * removes all keys of nodes (`flush-client.ts`), or counters that are read from replicas as well (`counter-load.ts`).
 * Safety phase: checkers look from outside, now and then (`shard-checkers.ts`), and what clients were told has one order in the end, key by key. Liveness phase: all
 * faults end; within a bound of virtual time every replica is in sync, follows, and holds what its primary holds, and every key is read once more.
 */
import { BUS_PORT_OFFSET } from "../../src/config.ts";
import { AUTO_CAUSE } from "../../src/protocol/plan/auto-rebalance.ts";
import { keySlot } from "../../src/codec/slot.ts";
import type { ShardRecord } from "../../src/contracts/topology.ts";
import { divideSlots, formatSlotRange } from "../../src/protocol/slot-ranges.ts";
import { ClusterWorld, LIVENESS_MS, type ListedNode, isWhole } from "../support/cluster-world.ts";
import { FaultInjector } from "../support/fault-injector.ts";
import { History } from "../support/history.ts";
import { type KeyOutput, type KeysInput, keysModel } from "../support/keys-model.ts";
import { checkHistory, formatReport } from "../support/linearizability.ts";
import {
  CommittedIsHeld,
  EqualAtEqualPositions,
  HeirsAreWhole,
  KeysAreInTheirShard,
  LogsAreBounded,
  type MemberLook,
  PositionsGoForward,
  ReplicasRemoveNothing,
  checkLease,
  describeMember,
  lookAt,
  newestMapOf,
  problemOfShards,
} from "../support/shard-checkers.ts";
import { MINIMUM_CAUSE, ShardOperator } from "../support/shard-operator.ts";
import { SlotMover } from "../support/slot-mover.ts";
import { SimRandom } from "../support/sim-random.ts";
import type { SimHost } from "../support/sim-world.ts";
import { type SwarmOptions, drawSwarm } from "../support/swarm.ts";
import { BulkClient } from "./bulk-client.ts";
import { CounterLoad } from "./counter-load.ts";
import { FlushClient } from "./flush-client.ts";
import { JOURNAL_KEYS, JournalLoad, drawJournals } from "./journal-load.ts";
import { KeysClient, type KeysObject } from "./keys-client.ts";
import { KeyMover } from "./key-mover.ts";

export interface ReplicationRunOptions {
  /** Nodes have leases, and fail over by themselves. */
  readonly hasFailover: boolean;
  /** Slots are moved key by key meanwhile. There are two shards at least, then. */
  readonly isMovingSlots: boolean;
  /** Slots move between shards all the while. */
  readonly hasMigrations: boolean;
  /** As `hasMigrations`, but slots move by themselves, to a shard that has come without any and wherever they are uneven; somebody moves some now and then. */
  readonly isRebalancing: boolean;
  /** Virtual milliseconds of faults. */
  readonly safetyMs: number;
  readonly swarm: SwarmOptions | undefined;
  /** Gets each line of the trace. */
  readonly sink: ((line: string) => void) | undefined;
}

const DEFAULTS: ReplicationRunOptions = {
  hasFailover: false,
  isMovingSlots: false,
  hasMigrations: false,
  isRebalancing: false,
  safetyMs: 10_000,
  swarm: undefined,
  sink: undefined,
};

/** What a run came to. */
export interface ReplicationRunResult {
  readonly traceHash: string;
  readonly virtualMs: number;
  readonly events: number;
  readonly nodes: number;
  readonly shards: number;
  readonly answered: number;
  readonly redirected: number;
  readonly refused: number;
  readonly unknown: number;
  /** By the operator. */
  readonly promoted: number;
  readonly killed: number;
  /** Records that made another member a shard's primary, as the map remembers them. */
  readonly primaries: number;
  readonly cutOff: number;
  readonly planned: number;
  readonly moved: number;
  /** Shards whose every holder died at once. */
  readonly lost: number;
  /** Digests that were compared with another member's at the same place. */
  readonly compared: number;
  /** The clients' history was too much to find an order for, or that there is none. */
  readonly isUndecided: boolean;
  /** Migrations that were asked for, and those that came to an end, by the map's history. */
  readonly migrations: number;
  readonly completed: number;
  readonly aborted: number;
  /** Those of them that nobody asked for. */
  readonly automatic: number;
  /** Writes that a primary alone acknowledged, and that were lost with it. */
  readonly lostWrites: number;
  /** Reads that a replica may have answered. */
  readonly replicaReads: number;
  /** Where slots move: how often all keys of a node were removed, and reads of counters by any node. */
  readonly flushed: number;
  readonly counterReads: number;
  readonly oldReads: number;
  /** Slots that were moved key by key, and keys. */
  readonly slotsGiven: number;
  readonly keysMoved: number;
  readonly faults: string;
}

/** Keys that clients fight for. Those of one tag are written together. */
const OBJECTS: readonly [KeysObject, ...KeysObject[]] = [
  { name: "a", keys: ["a"] },
  { name: "b", keys: ["b"] },
  { name: "{t}", keys: ["{t}1", "{t}2"] },
  { name: "{u}", keys: ["{u}1", "{u}2"] },
];
/** Rebalancing that is worth looking at within a run. */
const SOON = {
  thresholdPercent: 20,
  lastsMs: 1500,
  settleMs: 500,
  tasksAtOnce: 2,
  slotsPerTask: 700,
  pauseMs: 50,
  measureMs: 300,
};
/** How often the checkers look, on average, in virtual milliseconds. */
const LOOK_EVERY_MS = 15;
/** Longer than it takes to drop a member, and to add it again. */
const QUIET_MS = 2000;
const MEBIBYTE = 1024 * 1024;
const SMALLEST_BUFFER_BYTES = 4096;
const STEADY_SPIKE_MS = 100;
/** Between two times that all keys of a node are removed, at most. */
const FLUSH_MS = 3000;

/**
 * Runs one seed.
 *
 * @throws {SimulationError} If something did not hold; the message says what, and how the world stood.
 */
export async function runReplication(
  seed: number,
  options: Partial<ReplicationRunOptions> = {},
): Promise<ReplicationRunResult> {
  const { hasFailover, isRebalancing, isMovingSlots, safetyMs, swarm: givenSwarm, sink } = { ...DEFAULTS, ...options };
  const hasMigrations = isRebalancing || options.hasMigrations === true;
  const drawnSwarm = givenSwarm ?? drawSwarm(seed);
  // A machine that is suspended does not know for how long: reads by its lease are a stated limit.
  const withoutSleep = hasFailover ? { ...drawnSwarm, suspendEveryMs: 0 } : drawnSwarm;
  // What a slow network cannot carry says nothing: nodes are heard on the links that slots move on.
  const swarm = hasMigrations
    ? { ...withoutSleep, sendBufferBytes: Math.max(withoutSleep.sendBufferBytes, SMALLEST_BUFFER_BYTES) }
    : withoutSleep;
  const random = new SimRandom(`replication ${seed}`);
  const drawn = random.fork("settings");
  // Two shards at least, where slots move from one to the other.
  const nodes = drawn.pick(
    isMovingSlots ? [4, 4, 5, 6, 6, 7] : hasMigrations ? [4, 4, 5, 6, 7] : [3, 3, 4, 4, 5, 6, 7],
  );
  const replicas = isMovingSlots && nodes < 6 ? 1 : drawn.pick(hasMigrations ? [0, 1, 1, 1] : [1, 1, 2]);
  const isFoundByNumber = !isRebalancing && nodes >= 4 && drawn.chance(0.3);
  const ringMib = drawn.pick([1, 2, 64]);
  const shards = Math.max(1, Math.floor(nodes / (replicas + 1)));
  // What a slow network cannot carry says nothing.
  const isBulky = swarm.sendBufferBytes >= 65_536 && swarm.streamSplitChance < 0.5 && drawn.chance(0.4);
  // The last primary comes without slots.
  const owners = isRebalancing ? Math.max(1, shards - 1) : shards;
  const ranges = divideSlots(owners);
  const slotsOf = (at: number): readonly string[] => ranges.slice(at, at + 1).map(formatSlotRange);
  const replication = {
    ringBytes: `${ringMib}mb`,
    windowBytes: drawn.pick(["64kb", "8mb"]),
    lagMs: drawn.pick([300, 1000]),
    lostMs: drawn.pick([50, 200]),
  };
  // What health says is nobody's business here, and each frame of it would draw another history, which the checkers may not decide.
  const plugins = {
    replication,
    failover: hasFailover ? {} : (false as const),
    health: false as const,
    ...(isRebalancing ? { "auto-rebalance": SOON } : {}),
  };
  const world = new ClusterWorld(seed, random, {
    swarm,
    sink,
    counts: [nodes],
    diskChances: [0, 0.5, 1],
    hasClients: true,
    settingsOf: (_, members) => {
      if (!isFoundByNumber) {
        return {
          plugins: { topology: { nodes: members.map((each, at) => ({ ...each, slots: slotsOf(at) })) }, ...plugins },
        };
      }
      const [seedNode] = members;
      const join = seedNode === undefined ? "" : `${seedNode.host}:${seedNode.port + BUS_PORT_OFFSET}`;
      return { join, bootstrapExpect: nodes, replicas, plugins };
    },
  });
  const { simulation } = world;
  const history = new History<KeysInput, readonly KeyOutput[]>(() => simulation.nowMs);

  // --- what looks on ---

  const bulkKeys = isBulky ? Array.from({ length: 8 }, (_, at) => `bulk:${at}`) : [];
  const slots = [
    ...new Set([...OBJECTS.flatMap(({ keys }) => keys), ...bulkKeys, ...JOURNAL_KEYS].map(slotOf)),
  ].toSorted((a, b) => a - b);
  const equal = new EqualAtEqualPositions(slots);
  const checkers = [
    equal,
    new PositionsGoForward(),
    new CommittedIsHeld(),
    new HeirsAreWhole(),
    new ReplicasRemoveNothing(),
    // Of a slot that moves, members hear at different moments: that is looked at in the end.
    ...(isMovingSlots ? [] : [new KeysAreInTheirShard(slots)]),
    // The log is full when it is over its size by a quarter, goes by segments, and one entry may be longer than one of these.
    new LogsAreBounded((ringMib * 1.25 + 4) * MEBIBYTE),
  ];
  const looker = random.fork("looks");
  let broken: Error | undefined;
  const look = (): void => {
    const seen = lookAt(world.views);
    try {
      if (seen !== undefined) for (const checker of checkers) checker.look(seen);
    } catch (thrown) {
      broken ??= thrown instanceof Error ? thrown : new Error(String(thrown));
    }
  };
  const lookOn = (): void => {
    look();
    simulation.after(looker.exponential(LOOK_EVERY_MS), "checkers look", lookOn);
  };
  simulation.check("what shards promise", () => {
    if (broken !== undefined) throw broken;
  });
  if (hasFailover) {
    simulation.checkHosts("at most one primary of a shard has a lease", (host) => checkLease(world, host));
  }
  simulation.explain(() => lookAt(world.views)?.members.map(describeMember).join("\n"));
  if (isRebalancing) simulation.explain(() => lookAt(world.views)?.newest.shards.map(describeSlots).join("\n"));

  // --- who acts ---

  const clientHosts: SimHost[] = [];
  const clients: KeysClient[] = [];
  const bulkClients: BulkClient[] = [];
  const keyMovers: KeyMover[] = [];
  const operator = new ShardOperator(world, random.fork("operator"), {
    isPromoting: !hasFailover,
    clients: () => clientHosts,
  });
  const mover = new SlotMover(world, random.fork("mover"), slots);
  // Their checker follows a key in one shard's epochs.
  const plan = hasMigrations ? undefined : drawJournals(random.fork("journals"));
  const journals = new JournalLoad();
  // Counters go back where somebody removes them.
  const isFlushing = hasMigrations && random.fork("flushes").chance(0.5);
  const flushClients: FlushClient[] = [];
  const counters = new CounterLoad();
  const clientCount = drawn.pick([2, 4, 6]);
  const pauseMs = drawn.pick([15, 40]);
  const injector = new FaultInjector(simulation, swarm, {
    hosts: world.hosts,
    bystanders: addClients(),
    mayCrash: (host) => world.mayCrash(host) && operator.mayCrash(host.name),
  });

  // --- what happens ---

  await simulation.runUntil("the cluster to be founded", () => isWhole(world.views, nodes), LIVENESS_MS);
  if (!isFoundByNumber) await simulation.settle("replicas", addReplicas(world, shards), LIVENESS_MS);
  if (plan?.setting === "primary") {
    await simulation.settle("the setting", setSetting(world, "acks", "primary"), LIVENESS_MS);
  }
  // In some runs the first fill, too, happens under faults.
  if (drawn.chance(0.7)) await simulation.runUntil("replicas in sync", areShardsWhole, LIVENESS_MS);
  operator.start({
    killMs: drawn.pick([0, 1000, 3000]),
    cutOffMs: drawn.pick([0, 0, 3000]),
    plannedMs: drawn.pick([0, 0, 2000]),
    moveMs: drawn.pick([0, 0, 3000]),
    settingMs: drawn.pick([0, 0, 2500]),
  });
  if (isRebalancing) {
    await simulation.settle("the setting", setSetting(world, "auto-rebalance", "slots"), LIVENESS_MS);
    if (drawn.chance(0.5)) mover.start(drawn.pick([2000, 5000]));
  } else if (hasMigrations) mover.start(drawn.pick([300, 800, 2000]));
  lookOn();
  injector.start();
  if (isMovingSlots) addMover();
  await simulation.runFor(safetyMs);
  operator.stop();
  for (const each of keyMovers) each.stop();
  mover.stop();
  injector.stopAndHeal();
  operator.cutAgain();
  await world.heal(injector);
  operator.cutAgain();
  await simulation.runUntil("the operator to be done", () => operator.isIdle, LIVENESS_MS);
  // A shard that has fewer members than there must be in sync takes nothing in.
  if (hasMigrations) await lowerMinimum();
  await simulation.runUntil("slots to have moved", () => isSettled(), LIVENESS_MS);
  const seemedLost = operator.lostShards();
  for (const client of [...clients, ...bulkClients, ...flushClients, journals, counters]) client.stop();
  await simulation.runUntil(
    "clients to be done",
    () => [...clients, ...flushClients, journals, counters].every(({ isDone }) => isDone),
    LIVENESS_MS,
  );
  await simulation.runUntil(
    "one leader, and every node admitted with the same map",
    () => isWhole(world.views, nodes),
    LIVENESS_MS,
  );
  // One that had all of a shard by itself may have come back, and been admitted, only now; and of one that seemed to, others may have been in the set by what was agreed last.
  const lost = new Set([...operator.stillLost(seemedLost), ...operator.lostShards()].map(({ id }) => id));
  simulation.explain(() => problemOf(lost));
  // Three members in sync are there for a shard of three only.
  await lowerMinimum();
  await simulation.runUntil("all replicas in sync", () => problemOf(lost) === undefined, LIVENESS_MS);
  if (isRebalancing) {
    const isDone = (): boolean => lost.size > 0 || areSlotsEven();
    // Word of another minimum that the operator asked for may come only now: nothing moves to shards that are below it.
    const isRaised = (): boolean => newestMapOf(world.views)?.settings.get("min-in-sync") !== "1";
    await simulation.runUntil("slots to be even, or another minimum", () => isDone() || isRaised(), LIVENESS_MS);
    if (!isDone()) await lowerMinimum();
    await simulation.runUntil("slots to be even", isDone, LIVENESS_MS);
    await simulation.settle("no more rebalancing", setSetting(world, "auto-rebalance", "off"), LIVENESS_MS);
    await simulation.runUntil("its last tasks to end", () => isSettled(), LIVENESS_MS);
  }
  for (const each of keyMovers) {
    await simulation.runUntil("slots to be moved", () => each.isDone, LIVENESS_MS);
    await simulation.settle("open slots", each.close(lost), LIVENESS_MS);
  }
  const isOpen = (slot: number): boolean =>
    newestMapOf(world.views)?.openSlots.some((each) => each.slot === slot) === true;
  const reader = clients[0];
  if (reader !== undefined) {
    for (const object of OBJECTS) {
      if (shardOf(object.keys[0]) === undefined || isOpen(slotOf(object.keys[0]))) continue;
      await simulation.settle(`key ${object.name} to be read`, reader.read(object), LIVENESS_MS);
    }
  }
  const readAll = journals.readAll((key) => shardOf(key) === undefined);
  await simulation.settle("journals to be read", readAll, LIVENESS_MS);
  await simulation.settle(
    "counters to be told",
    counters.finish((key) => shardOf(key) === undefined),
    LIVENESS_MS,
  );
  await simulation.runUntil("all replicas level", () => problemOf(lost) === undefined, LIVENESS_MS);
  look();
  if (isMovingSlots && lost.size === 0) {
    const seen = lookAt(world.views);
    if (seen !== undefined) new KeysAreInTheirShard(slots).look(seen);
  }
  const isSpread = (): boolean => {
    const whole = newestMapOf(world.views)?.shards.filter(({ id }) => !lost.has(id)) ?? [];
    const isBare = whole.some(({ slots, replicas }) => slots.length > 0 && replicas.length === 0);
    // A primary, one that stays, and one to spare.
    return !isBare || whole.every(({ inSync }) => inSync.length < 3);
  };
  await simulation.runUntil("a replica for each shard, as far as there are any to spare", isSpread, LIVENESS_MS);
  await simulation.runUntil("those that moved to be in sync", () => problemOf(lost) === undefined, LIVENESS_MS);
  await simulation.runUntil("slots to have moved to where they stay", () => isSettled(), LIVENESS_MS);
  // It stays so: nobody goes in and out of a set without a reason.
  const quietVersion = newestMapOf(world.views)?.version;
  await simulation.runFor(QUIET_MS);
  // Keys may expire meanwhile.
  await simulation.runUntil("all replicas level again", () => problemOf(lost) === undefined, LIVENESS_MS);
  if (hasMigrations) await simulation.runUntil("nothing to be hidden", () => nothingIsHidden(), LIVENESS_MS);
  // Word of what the operator wanted may have been lost, and come about only now.
  const surprise = world.views
    .flatMap(({ topology }) => topology.history)
    .find(({ version, cause }) => version > (quietVersion ?? 0) && cause !== MINIMUM_CAUSE);
  // Where messages take longer than a lease now and then, nobody needs another reason.
  const isSteady = swarm.spikeChance === 0 || swarm.spikeMeanMs <= STEADY_SPIKE_MS;
  if (surprise !== undefined && isSteady) {
    throw simulation.error(
      `Nothing goes wrong any more, and yet the map changes: ${surprise.changes.join("; ")} (${surprise.cause})`,
    );
  }
  for (const { node, name, topology } of world.views) {
    // What a replica has of a shard that nobody leads any more may never have been committed: it is not told.
    if (lost.has(topology.selfShard?.id ?? "")) continue;
    if (node.replyGate.waitingCount > 0) throw simulation.error(`${name} holds ${node.replyGate.waitingCount} replies`);
  }

  const report = checkHistory(history.operations(), keysModel);
  // The search for an order has a bound: a history with very many commands of unknown outcome may be beyond it.
  if (report.verdict === "violation") throw simulation.error(`The clients' history is wrong. ${formatReport(report)}`);
  try {
    journals.check(shardOf);
  } catch (thrown) {
    throw simulation.error(thrown instanceof Error ? thrown.message : String(thrown));
  }
  if (counters.problem !== undefined && lost.size === 0) throw simulation.error(counters.problem);
  const sum = (of: (client: KeysClient["counts"]) => number): number =>
    clients.reduce((total, { counts }) => total + of(counts), 0);
  return {
    traceHash: simulation.traceHash,
    virtualMs: simulation.nowMs,
    events: simulation.scheduler.executed,
    nodes,
    shards,
    answered: sum(({ answered }) => answered),
    redirected: sum(({ redirected }) => redirected),
    refused: sum(({ refused }) => refused),
    unknown: sum(({ unknown }) => unknown),
    ...operator.counts,
    primaries: changesLike(/ promoted to primary of /),
    migrations: changesLike(/^migration .* started /),
    completed: changesLike(/^migration .* completed/),
    aborted: changesLike(/^migration .* aborted/),
    automatic: (world.views[0]?.topology.history ?? []).filter(
      ({ cause, changes: [first = ""] }) => cause.startsWith(AUTO_CAUSE) && first.includes(" started "),
    ).length,
    lost: lost.size,
    compared: equal.compared,
    isUndecided: report.verdict === "undecided",
    lostWrites: journals.lost,
    replicaReads: journals.reads,
    flushed: flushClients.reduce((total, { flushed }) => total + flushed, 0),
    counterReads: counters.reads,
    oldReads: counters.oldReads,
    slotsGiven: keyMovers.reduce((total, { counts }) => total + counts.given, 0),
    keysMoved: keyMovers.reduce((total, { counts }) => total + counts.keysMoved, 0),
    faults: injector.summary(),
  };

  function changesLike(pattern: RegExp): number {
    const changes = (world.views[0]?.topology.history ?? []).flatMap((entry) => entry.changes);
    return changes.filter((change) => pattern.test(change)).length;
  }

  /** Every task has come to its end: those of shards that are lost wait for an operator's word. */
  function isSettled(): boolean {
    if (!hasMigrations || mover.isIdle) return true;
    const waiting = new Set(operator.lostShards().map(({ id }) => id));
    return (
      newestMapOf(world.views)?.migrations.every(({ source, target }) => waiting.has(source) || waiting.has(target)) ===
      true
    );
  }

  async function lowerMinimum(): Promise<void> {
    const request = { type: "change-setting", name: "min-in-sync", value: "1" } as const;
    const untilMs = simulation.nowMs + LIVENESS_MS;
    for (let isDone = false; !isDone && simulation.nowMs < untilMs;) {
      const [view] = world.views;
      const asked = view?.topology.request(request, "all is well");
      if (asked !== undefined) isDone = (await simulation.settle("the minimum", asked, LIVENESS_MS)).type === "done";
      if (!isDone) await simulation.runFor(100);
    }
  }

  /** As far as shards have as many copies as each other: who has fewer gets nothing from those. */
  function areSlotsEven(): boolean {
    const map = newestMapOf(world.views);
    if (map === undefined || map.migrations.length > 0) return false;
    // One that was given some, and lost them again, stays empty.
    const able = map.shards.filter(
      ({ slots: own, primary, wasEmptied }) => own.length > 0 || (wasEmptied !== true && isNewcomer(primary)),
    );
    const [one] = able;
    if (!able.every(({ inSync }) => inSync.length === one?.inSync.length)) return true;
    const part = 16_384 / able.length;
    return able.every(({ slots: own }) => {
      const count = own.reduce((sum, { first, last }) => sum + last - first + 1, 0);
      return Math.abs(count / part - 1) < 0.21;
    });
  }

  /** Whether a node is the primary that came without slots. */
  function isNewcomer(id: string): boolean {
    const name = newestMapOf(world.views)?.nodes.find((node) => node.id === id)?.name;
    return owners < shards && name === world.members[owners]?.name;
  }

  function nothingIsHidden(): boolean {
    const seen = lookAt(world.views);
    const isMoving = seen?.newest.migrations.length !== 0;
    // Replicas go on hiding what is their shard's no more, and empty.
    const holdsNothing = ({ keyspace, replication, shard }: MemberLook): boolean =>
      lost.has(shard?.id ?? "") ||
      (replication.role === "primary" && keyspace.hiddenCount === 0) ||
      slots.every((slot) => !keyspace.isHidden(slot) || keyspace.slotSize(slot) === 0);
    return isMoving || seen.members.every(holdsNothing);
  }

  function addClients(): readonly SimHost[] {
    const addresses = world.members.map(({ host, port }) => `${host}:${port}`);
    for (let at = 1; at <= clientCount; at += 1) {
      const host = simulation.addHost(`10.0.1.${at}`, async (own) => {
        const client = new KeysClient({
          name: `c${at}`,
          world: own,
          addresses,
          objects: OBJECTS,
          history,
          pauseMs,
          isRenaming: hasMigrations,
          // All that has one order waits for all in sync.
          greeting: plan?.setting === "primary" ? JournalLoad.inSyncGreeting : [],
        });
        clients.push(client);
        await client.run();
      });
      clientHosts.push(host);
    }
    if (isBulky) {
      const host = simulation.addHost("10.0.1.200", async (own) => {
        const client = new BulkClient({ world: own, addresses, keys: bulkKeys });
        bulkClients.push(client);
        await client.run();
      });
      clientHosts.push(host);
    }
    if (isFlushing) {
      const host = simulation.addHost("10.0.1.150", async (own) => {
        const client = new FlushClient({
          name: "f1",
          world: own,
          addresses,
          objects: OBJECTS,
          slotOf,
          history,
          viewAt: (address) => world.views.find(({ name }) => address.startsWith(`${name}:`)),
          pauseMs: FLUSH_MS,
        });
        flushClients.push(client);
        await client.run();
      });
      clientHosts.push(host);
    } else if (hasMigrations) {
      clientHosts.push(
        simulation.addHost("10.0.1.151", (own) => counters.write(own, addresses, pauseMs)),
        ...["10.0.1.152", "10.0.1.153"].map((ip) =>
          simulation.addHost(ip, (own) => counters.read(own, addresses, pauseMs)),
        ),
      );
    }
    for (const [at, client] of (plan?.clients ?? []).entries()) {
      const name = `j${at + 1}`;
      clientHosts.push(simulation.addHost(`10.0.1.${101 + at}`, (own) => journals.run(own, name, addresses, client)));
    }
    return clientHosts;
  }

  /** The shard that a key is in; `undefined` if that has lost everything. */
  function shardOf(key: string): string | undefined {
    const slot = slotOf(key);
    const shard = newestMapOf(world.views)?.shards.find(({ slots: owned }) =>
      owned.some(({ first, last }) => slot >= first && slot <= last),
    );
    return shard === undefined || lost.has(shard.id) ? undefined : shard.id;
  }

  function addMover(): void {
    simulation.addHost("10.0.1.250", async (own) => {
      const keys = new KeyMover({
        world: own,
        slots: [...new Set(OBJECTS.map(({ keys }) => slotOf(keys[0])))],
        map: () => newestMapOf(world.views),
      });
      keyMovers.push(keys);
      await keys.run();
    });
  }

  function problemOf(besides: ReadonlySet<string>): string | undefined {
    const seen = lookAt(world.views);
    if (seen === undefined) return "nobody runs";
    const kept = seen.newest.shards.filter(({ id }) => !besides.has(id));
    return problemOfShards({ ...seen, newest: { ...seen.newest, shards: kept } });
  }

  function areShardsWhole(): boolean {
    const seen = lookAt(world.views);
    return (
      seen !== undefined && seen.newest.shards.every(({ inSync, replicas: own }) => inSync.length === own.length + 1)
    );
  }
}

function describeSlots({ id, slots, wasEmptied }: ShardRecord): string {
  return `shard ${id.slice(0, 4)} ${slots.map(formatSlotRange).join(" ") || "no slots"}${wasEmptied === true ? ", emptied" : ""}`;
}

/** Makes the nodes without slots replicas, each in turn of another shard. */
async function addReplicas(world: ClusterWorld, shards: number): Promise<void> {
  for (const [at, member] of world.members.entries()) {
    if (at >= shards) await addReplica(world, member, at % shards);
  }
}

async function addReplica(world: ClusterWorld, { host }: ListedNode, at: number): Promise<void> {
  for (;;) {
    const [view] = world.ready;
    // A primary without slots is behind those that have some.
    const { map } = view?.topology ?? {};
    const last = map?.nodes.find(({ name }) => name === world.members[at]?.name)?.id;
    const shard =
      map?.shards.filter(({ slots }) => slots.length > 0)[at] ?? map?.shards.find(({ primary }) => primary === last);
    const node = world.views.find(({ name }) => name === host)?.node.facts.id;
    if (view !== undefined && shard !== undefined && node !== undefined) {
      const request = { type: "add-replica", shard: shard.id, shardVersion: shard.version, node } as const;
      if ((await view.topology.request(request, "a replica")).type === "done") return;
    }
    await new Promise<void>((resolve) => void world.simulation.after(50, "operator", resolve));
  }
}

/** Changes a setting of the cluster. */
async function setSetting(world: ClusterWorld, name: string, value: string): Promise<void> {
  for (;;) {
    const request = { type: "change-setting", name, value } as const;
    if ((await world.ready[0]?.topology.request(request, `${name} ${value}`))?.type === "done") return;
    await new Promise<void>((resolve) => void world.simulation.after(50, "operator", resolve));
  }
}

function slotOf(key: string): number {
  const bytes = new TextEncoder().encode(key);
  return keySlot(bytes, 0, bytes.length);
}
