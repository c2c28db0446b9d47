/**
 * auto-rebalance: slots move by themselves when a shard joins, or when shards have been uneven for long.
 *
 * Promises: nothing moves unless the cluster setting `auto-rebalance` says what is to be even (`slots`, `keys`, `bytes`, `load`; default `off`). With it, a shard
 * that comes without slots gets its part `settleMs` later, and what is `thresholdPercent` or more from its part for `lastsMs` is brought within a fourth of that,
 * in steps: so many tasks at a time, each of so many slots and bytes at most, and so many bytes a second on average. Each step lessens the unevenness, no slot
 * goes to a shard with fewer members in sync, and slots do not go back and forth. Each task has its cause in the map (`CLUSTER MIGRATIONS`, the log).
 *
 * It keeps out of the way: nothing is begun while a shard lacks its primary or members in sync (`min-in-sync`), slots are nobody's, or others move slots, as tasks
 * or key by key. When others have moved slots, everything must last anew; when one of its tasks is cancelled, nothing is begun for `lastsMs`. A shard that had slots
 * and lost the last (`bunch plan drain`) stays empty until somebody gives it some. The cluster setting `auto-rebalance-weights` (`a=2,b=0`) gives shards other parts;
 * who has 0 is emptied, and stays so. Why nothing moves is in `INFO auto-rebalance` at the leader of the map's log.
 *
 * How: the leader asks every primary what its slots hold and cost (the channel `loads` of the bus), and decides by that and the map alone
 * (`src/protocol/plan/auto-rebalance.ts`). It keeps nothing that a leader after it would miss: what has been begun is in the map, and in its history.
 */
import { Type } from "@sinclair/typebox";
import { encodeLoadsMessage, readLoadsMessage } from "../src/codec/loads-codec.ts";
import { SLOT_COUNT } from "../src/codec/slot.ts";
import { byteSize, parseByteSize } from "../src/config.ts";
import { BusChannel, busService } from "../src/contracts/bus.ts";
import { consensusService } from "../src/contracts/consensus.ts";
import { failoverService } from "../src/contracts/failover.ts";
import { membershipService } from "../src/contracts/membership.ts";
import { migrationService } from "../src/contracts/migration.ts";
import { type SlotLoad, slotLoadsService } from "../src/contracts/slot-loads.ts";
import {
  type ClusterMap,
  type MapChange,
  type MigrationRecord,
  type NodeId,
  type ShardId,
  type ShardRecord,
  topologyService,
} from "../src/contracts/topology.ts";
import { definePlugin } from "../src/plugin.ts";
import {
  AUTO_CAUSE,
  AutoRebalancer,
  type AutoRebalanceOptions,
  type MeasuredSlots,
  type Verdict,
  lastBegun,
  obstacleIn,
  readWeights,
} from "../src/protocol/plan/auto-rebalance.ts";
import { PLAN_MEASURES, type PlanMeasure } from "../src/protocol/plan/plan.ts";
import type { Timer } from "../src/world.ts";

const settingsSchema = Type.Object({
  thresholdPercent: Type.Integer({
    description:
      "How far a shard may be from its part for as long as it likes, in percent of it. What is farther for lastsMs is brought within a fourth of this. Lower: more even, and slots move more often.",
    default: 20,
    minimum: 1,
    maximum: 1000,
  }),
  lastsMs: Type.Integer({
    description:
      "How long shards must have been uneven, all the time, before anything moves, in milliseconds. Longer than loads that come and go. Also for how long nothing is begun after one of its tasks was cancelled.",
    default: 300_000,
    minimum: 0,
  }),
  settleMs: Type.Integer({
    description:
      "How long after the last shard has joined its slots begin to move, in milliseconds: so that several that join are seen together, and a node that is to be a replica has become one.",
    default: 15_000,
    minimum: 0,
  }),
  tasksAtOnce: Type.Integer({
    description: "How many tasks run at a time, each between two other shards.",
    default: 1,
    minimum: 1,
    maximum: 100,
  }),
  slotsPerTask: Type.Integer({
    description:
      "How many slots a task moves at most. Commands on them are held together for some milliseconds at its end. Where it is not slots that are to be even, empty ones do not count.",
    default: 256,
    minimum: 1,
    maximum: SLOT_COUNT,
  }),
  bytesPerTask: byteSize({
    description: "How many bytes a task moves at most; a slot that has more is moved alone.",
    default: "64mb",
  }),
  bytesPerSecond: byteSize({
    description:
      "How many bytes are moved in a second, on average over the steps: the next one waits for that; 0: as many as there are. Within a task the migrator's own limit holds (migration-bytes-per-second).",
    default: "16mb",
  }),
  pauseMs: Type.Integer({
    description: "How long after a step the next one begins at the soonest, in milliseconds.",
    default: 500,
    minimum: 0,
  }),
  leastBytes: byteSize({
    description: "A cluster with fewer bytes counts as even by keys and bytes; shards that join get slots.",
    default: "64mb",
  }),
  leastOperations: Type.Integer({
    description: "A cluster with fewer commands a second counts as even by load; shards that join get slots.",
    default: 1000,
    minimum: 0,
  }),
  measureMs: Type.Integer({
    description:
      "How often the leader asks what slots hold and cost while no step is under way, in milliseconds. Each time every primary looks at its slots, a millisecond, and tells of those that hold something, about 12 bytes each.",
    default: 5000,
    minimum: 100,
  }),
});

/** How often the leader looks whether there is something to do. */
const LOOK_MS = 250;
/** Who has not told by then has not told: it is asked again in the next round. */
const ANSWER_MS = 2000;

/** All primaries are asked once. */
interface Round {
  readonly id: number;
  readonly map: ClusterMap;
  readonly beganAtMs: number;
  /** Shards that have not told, by the node that is asked. */
  readonly waiting: Map<NodeId, ShardRecord>;
  /** Nodes without slots that take some. */
  readonly takers: Set<NodeId>;
  readonly measured: MeasuredSlots;
}

export default definePlugin({
  name: "auto-rebalance",
  summary: "Moves slots by itself when a shard joins or load is uneven for long, if it is turned on.",
  requires: { topology: topologyService },
  uses: {
    bus: busService,
    consensus: consensusService,
    failover: failoverService,
    loads: slotLoadsService,
    membership: membershipService,
    migrations: migrationService,
  },
  settings: settingsSchema,
  setup(context) {
    const { core, hooks, node, settings, world } = context;
    const { clock, log } = world;
    const { topology } = context.requires;
    const { bus, consensus, failover, loads, membership, migrations } = context.uses;
    const options: AutoRebalanceOptions = {
      threshold: settings.thresholdPercent / 100,
      lastsMs: settings.lastsMs,
      settleMs: settings.settleMs,
      tasksAtOnce: settings.tasksAtOnce,
      slotsPerTask: settings.slotsPerTask,
      bytesPerTask: parseByteSize(settings.bytesPerTask) ?? 0,
      bytesPerSecond: parseByteSize(settings.bytesPerSecond) ?? 0,
      pauseMs: settings.pauseMs,
      leastBytes: parseByteSize(settings.leastBytes) ?? 0,
      leastOperations: settings.leastOperations,
    };
    /** What everything below is about: the leader's term, and the settings. Another one begins anew. */
    let begunFor = "";
    let rebalancer: AutoRebalancer | undefined;
    let round: Round | undefined;
    let roundEndedAtMs = Number.NEGATIVE_INFINITY;
    // No number of an earlier start's, of which answers may still be on their way. Drawn when it is needed: most nodes never do.
    let lastRound: number | undefined;
    let verdict: Verdict = { type: "rest", reason: "" };
    /** A step is under way: its tasks are being started, or go on. */
    let step: { isStarting: boolean; isCutShort: boolean } | undefined;
    const counts = { started: 0, refused: 0, messages: 0 };

    // --- what there is to see ---

    const measureOf = (map: ClusterMap): PlanMeasure | undefined =>
      PLAN_MEASURES.find((each) => each === map.settings.get("auto-rebalance"));
    const weightsText = (map: ClusterMap): string => map.settings.get("auto-rebalance-weights") ?? "none";
    const isThere = (id: NodeId): boolean => {
      if (id === node.id) return true;
      const health = membership?.member(id);
      return health?.state === "alive" && health.incarnation === topology.node(id)?.incarnation;
    };
    const obstacle = (): string | undefined => {
      if (migrations === undefined) return "no plugin of this node moves slots";
      if (membership?.status.isTakingPart !== true) return "this node does not know yet who is there";
      return obstacleIn(topology.map, { isThere, failing: failover?.reasons ?? new Map<ShardId, string>() });
    };
    /** Those of this plugin, whoever led when they were started. */
    const ownTasks = ({ migrations: tasks }: ClusterMap): readonly MigrationRecord[] =>
      tasks.filter(({ cause }) => cause.startsWith(AUTO_CAUSE));

    let lastStuck = "";
    const tell = (found: Verdict): void => {
      if (found.type === "stuck" && found.reason !== lastStuck) {
        lastStuck = found.reason;
        log.warn("auto-rebalance: does nothing", { reason: found.reason });
      } else if (found.type !== "stuck") lastStuck = "";
      verdict = found;
    };

    // --- what slots hold and cost ---

    /** Who joins to be a replica, and is none yet, waits as a primary without slots: it must get none. */
    const takesSlots = core.replicaOf === undefined;
    const noteTold = (by: Round, from: NodeId, isTaker: boolean, told: readonly SlotLoad[]): void => {
      const { map, measured, takers, waiting } = by;
      const shard = waiting.get(from);
      waiting.delete(from);
      if (isTaker) takers.add(from);
      for (const { slot, keys, bytes, operations, microseconds } of told) {
        // Whoever tells of others' slots is not asked about those.
        if (map.shards[map.shardOfSlot[slot] ?? -1]?.id !== shard?.id) continue;
        measured.loads.keys[slot] = keys;
        measured.loads.bytes[slot] = bytes;
        measured.loads.load[slot] = microseconds;
        measured.operations[slot] = operations;
      }
    };
    const send = (to: NodeId, bytes: Uint8Array): void => {
      const record = topology.node(to);
      if (record !== undefined) void bus?.send({ host: record.busHost, port: record.busPort }, BusChannel.loads, bytes);
    };
    const ask = (): void => {
      const id = (lastRound ?? world.random.below(2 ** 31)) + 1;
      lastRound = id;
      const { map } = topology;
      const numbers = (): Float64Array => new Float64Array(SLOT_COUNT);
      const measured = { loads: { keys: numbers(), bytes: numbers(), load: numbers() }, operations: numbers() };
      const asked = map.shards.filter(({ slots, primary }) => slots.length > 0 || isThere(primary));
      const waiting = new Map(asked.map((shard) => [shard.primary, shard]));
      round = { id, map, beganAtMs: clock.monotonicMs(), waiting, takers: new Set(), measured };
      for (const primary of waiting.keys()) {
        if (primary !== node.id) send(primary, encodeLoadsMessage({ type: "ask", id }));
        else if (loads !== undefined) noteTold(round, primary, takesSlots, loads.all);
      }
    };
    const refuse = (from: NodeId, reason: string): void => {
      counts.messages += 1;
      log.debug("message about loads refused", { from, reason });
    };
    bus?.receive(BusChannel.loads, ({ nodeId }, bytes) => {
      const message = readLoadsMessage(bytes);
      if (message === undefined) return refuse(nodeId, "it makes no sense");
      if (message.type === "ask") {
        // Each answer is a look at all slots: only who leads gets one.
        if (consensus?.status.leader !== nodeId) return refuse(nodeId, "it does not lead, as far as this node knows");
        const shard = topology.selfShard;
        if (shard?.primary !== node.id || loads === undefined) return undefined;
        const { id, version } = shard;
        return send(
          nodeId,
          encodeLoadsMessage({
            type: "tell",
            id: message.id,
            shard: id,
            shardVersion: version,
            takesSlots,
            loads: loads.all,
          }),
        );
      }
      const shard = round?.waiting.get(nodeId);
      if (round === undefined || shard === undefined || message.id !== round.id) {
        return refuse(nodeId, "nobody waits for it");
      }
      // By another version of it the slots may be others: it is asked again.
      if (message.shard !== shard.id || message.shardVersion !== shard.version) return undefined;
      return noteTold(round, nodeId, message.takesSlots, message.loads);
    });

    // --- steps ---

    /** Another term, or another setting: what this node knows counts no more. */
    const begin = async (isFor: string): Promise<void> => {
      begunFor = isFor;
      [rebalancer, round, step] = [undefined, undefined, undefined];
      roundEndedAtMs = Number.NEGATIVE_INFINITY;
      if (isFor === "") return;
      verdict = { type: "wait", reason: "this node has just begun to lead, or to look" };
      // The history must be whole: another leader may have been in the midst of it.
      const isWhole = (await consensus?.barrier()) === true;
      if (begunFor !== isFor) return;
      if (!isWhole) {
        begunFor = "";
        return;
      }
      rebalancer = new AutoRebalancer(options);
      const begun = lastBegun(topology.history);
      const nowMs = clock.monotonicMs();
      if (begun === undefined) return;
      const leftMs = settings.lastsMs - Math.max(0, clock.wallMs() - begun.atMs);
      if (leftMs <= 0) return;
      if (begun.isCutShort) rebalancer.hold(nowMs, nowMs + leftMs);
      else rebalancer.goOn(begun.why, nowMs);
    };

    const move = async (planned: Extract<Verdict, { readonly type: "move" }>): Promise<void> => {
      const isFor = begunFor;
      const { version } = topology.map;
      const isStill = (): boolean => begunFor === isFor && isForNow() === isFor;
      // Whoever does not lead any more, or lacks what is agreed by now, does nothing.
      const isCurrent = (await consensus?.barrier()) === true && isStill() && obstacle() === undefined;
      const outcome = isCurrent
        ? await migrations?.start(planned.moves, planned.cause, { mapVersion: version })
        : undefined;
      if (outcome?.type === "refused") {
        counts.refused += planned.moves.length;
        log.warn("auto-rebalance: not begun", { reason: outcome.reason });
      }
      const ids = outcome?.type === "done" ? outcome.ids : [];
      for (const [at, { target, source, slotCount, keys, bytes }] of ids.length > 0 ? planned.moves.entries() : []) {
        counts.started += 1;
        const what = { migration: ids[at], source, target, slots: slotCount, keys, bytes };
        log.info("auto-rebalance: moves", { ...what, cause: planned.cause });
      }
      if (begunFor !== isFor) return;
      if (ids.length > 0 && step !== undefined) step.isStarting = false;
      else {
        step = undefined;
        rebalancer?.ended(false, clock.monotonicMs());
      }
    };

    /** What it does is about this; empty: nothing. */
    const isForNow = (): string => {
      const term = consensus?.leadership?.term;
      const by = measureOf(topology.map);
      return term === undefined || by === undefined ? "" : `${term} ${by} ${weightsText(topology.map)}`;
    };
    const look = (): void => {
      const isFor = isForNow();
      if (isFor !== begunFor) {
        begin(isFor).catch((thrown: unknown) => context.fault(thrown));
        return;
      }
      const { map } = topology;
      if (rebalancer === undefined || step?.isStarting === true) return;
      const nowMs = clock.monotonicMs();
      const tasks = ownTasks(map);
      if (tasks.length > 0) {
        // Another leader may have started them.
        step ??= { isStarting: false, isCutShort: false };
        const paused = tasks.find(({ isPaused }) => isPaused);
        if (paused !== undefined) tell({ type: "stuck", reason: `its task ${paused.id} is paused` });
        else if (verdict.type !== "move") tell({ type: "wait", reason: "its tasks go on" });
        return;
      }
      if (step !== undefined) {
        rebalancer.ended(step.isCutShort, nowMs);
        [step, round, roundEndedAtMs] = [undefined, undefined, Number.NEGATIVE_INFINITY];
      }
      // After a step it asks at once: what is told is to be what there is when the next one begins.
      if (rebalancer.why !== undefined && nowMs < rebalancer.nextStepAtMs) return;
      if (round === undefined && nowMs - roundEndedAtMs >= settings.measureMs) ask();
      if (round === undefined) return;
      if (round.waiting.size > 0 && nowMs - round.beganAtMs < ANSWER_MS) return;
      const silent = [...round.waiting.values()].find(({ slots }) => slots.length > 0);
      if (silent === undefined) decide(rebalancer, round, nowMs);
      else {
        const name = topology.node(silent.primary)?.name || silent.primary;
        const reason = obstacle() ?? `shard ${silent.id} (primary ${name}) has not told what its slots hold`;
        tell({ type: "stuck", reason });
      }
      round = undefined;
      roundEndedAtMs = nowMs;
    };
    const decide = (by: AutoRebalancer, { map, measured, takers }: Round, nowMs: number): void => {
      const measure = measureOf(map);
      // What was told is about slots that were somebody else's.
      if (measure === undefined || hasOtherSlots(map, topology.map)) return;
      // Where nobody measured time, commands say as much.
      const hasTimes = measured.loads.load.some((each) => each > 0);
      const sight = {
        map: topology.map,
        measured: hasTimes ? measured : { ...measured, loads: { ...measured.loads, load: measured.operations } },
        by: measure,
        weights: readWeights(topology.map, weightsText(topology.map)).weights,
        takesSlots: (id: NodeId) => isThere(id) && takers.has(id),
        obstacle: obstacle(),
      };
      const found = by.look(sight, nowMs);
      tell(found);
      if (found.type !== "move") return;
      step = { isStarting: true, isCutShort: false };
      by.began(found.moves, nowMs);
      move(found).catch((thrown: unknown) => context.fault(thrown));
    };

    // --- the map ---

    let looks: Timer | undefined;
    let hasStarted = false;
    /** Turns it on or off, by the map: while it is off it costs nothing. */
    const turn = (): void => {
      if (consensus === undefined || !hasStarted) return;
      if (measureOf(topology.map) !== undefined) looks ??= context.every(LOOK_MS, look);
      else if (looks !== undefined) {
        looks.cancel();
        looks = undefined;
        look();
      }
    };
    context.on(hooks.mapChanged, ({ map, previous, delta }: MapChange) => {
      if (previous?.settings !== map.settings) turn();
      if (rebalancer === undefined || previous === undefined || delta?.changesSlots === false) return;
      const isGone = (record: MigrationRecord): boolean => !map.migrations.some(({ id }) => id === record.id);
      const endedTasks = ownTasks(previous).filter(isGone);
      for (const { target, slots } of endedTasks) {
        const isDone = slots.every(({ first }) => map.shards[map.shardOfSlot[first] ?? -1]?.id === target);
        if (!isDone && step !== undefined) step.isCutShort = true;
      }
      const isForeign = map.migrations.length > ownTasks(map).length || map.openSlots.length > 0;
      if (isForeign || (endedTasks.length === 0 && hasOtherSlots(previous, map))) {
        rebalancer.disturbed(clock.monotonicMs());
      }
    });

    context.on(hooks.start, () => {
      hasStarted = true;
      turn();
    });
    context.on(hooks.info, () => {
      const { map } = topology;
      const by = measureOf(map);
      const isLeading = consensus?.leadership !== undefined;
      const { shard, off } = rebalancer?.unevenness ?? {};
      const state = by === undefined ? "off" : isLeading ? verdict.type : "follows";
      const { unknown } = readWeights(map, weightsText(map));
      return {
        section: "auto-rebalance",
        fields: {
          auto_rebalance: by ?? "off",
          auto_rebalance_state: state,
          auto_rebalance_reason:
            by === undefined
              ? 'the cluster setting "auto-rebalance" is "off"'
              : isLeading
                ? verdict.type === "move"
                  ? verdict.cause
                  : verdict.reason
                : "the leader of the map's log decides",
          auto_rebalance_under_way: rebalancer?.why ?? "",
          auto_rebalance_uneven_shard: shard?.id ?? "",
          auto_rebalance_uneven_percent: off === undefined ? "" : (off * 100).toFixed(1),
          auto_rebalance_uneven_ms: Math.round(rebalancer?.unevenMs(clock.monotonicMs()) ?? 0),
          auto_rebalance_tasks: ownTasks(map).length,
          auto_rebalance_tasks_started: counts.started,
          auto_rebalance_tasks_refused: counts.refused,
          auto_rebalance_messages_refused: counts.messages,
          auto_rebalance_unknown_weights: unknown.join(","),
        },
      };
    });
  },
});

/** Whether slots have changed hands from one map to another. Shards that came without any do not count. */
function hasOtherSlots(before: ClusterMap, after: ClusterMap): boolean {
  if (before.shardOfSlot === after.shardOfSlot) return false;
  const slotsOf = ({ shards }: ClusterMap): Map<ShardId, ShardRecord["slots"]> =>
    new Map(shards.filter(({ slots }) => slots.length > 0).map(({ id, slots }) => [id, slots]));
  const [old, now] = [slotsOf(before), slotsOf(after)];
  return old.size !== now.size || [...now].some(([id, slots]) => old.get(id) !== slots);
}
