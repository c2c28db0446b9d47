/**
 * migrator: slots that move from one shard to another, atomically, while clients go on.
 *
 * Promises: at every moment one shard owns a slot, and nobody else serves it; no key is lost, doubled or stale by a move, whoever fails in the midst of it; clients see nothing
 * of it but that a command waits for some milliseconds and then is told where the slot is (MOVED). Keys that have come and are not the target's yet are shown to nobody,
 * and neither are those that have gone and are still to be removed. No timer ends a fence: see `src/migration/source.ts`.
 *
 * How: a task is a record of the cluster map (started, fenced, completed, aborted, each with its cause). The primaries of its two shards find it there, whoever they are at the
 * moment: the source's sends (`src/migration/source.ts`), the target's takes (`target.ts`) and writes what it takes to its own log, so that its replicas have it. When either
 * shard gets another primary they begin again, and what is there already is not sent again.
 *
 * Tasks run side by side, each at the speed that the target's commits allow, and together at no more than `bytesPerSecond`.
 *
 * Where all of the other shard is gone, nobody waits for ever: the target asks for an end of a fence that nobody takes back, and after `abandonMs` either side has the task
 * aborted. Both are records of the map, as everything that ends a fence or a task.
 *
 * What comes takes memory at the target: as a command would, it first makes room by evicting (the service `memory`) what the target shows, and never what is on its way. Where nothing
 * may go, as under `noeviction`, the task is aborted.
 *
 * Talks to the rest through the map (`topology`), the channel `migration` of the bus, the hook `effect`, and the service `migration`; the router holds commands on slots
 * that are fenced.
 */
import { Type } from "@sinclair/typebox";
import { decodeMigration, encodeMigration, type MigrationMessage } from "../src/codec/migration-codec.ts";
import type { ArgumentList } from "../src/codec/resp-parser.ts";
import { parseByteSize, byteSize } from "../src/config.ts";
import { BusChannel, busService } from "../src/contracts/bus.ts";
import type { Effect } from "../src/contracts/commands.ts";
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { memoryService } from "../src/contracts/memory.ts";
import {
  type MigrationOutcome,
  type MigrationStatus,
  type Migrations,
  type MoveOptions,
  type SlotMove,
  migrationService,
} from "../src/contracts/migration.ts";
import { replicationService } from "../src/contracts/replication.ts";
import {
  type ClusterMap,
  type MapChange,
  type MigrationRecord,
  type NodeId,
  type ShardRecord,
  type SlotRange,
  type TopologyRequest,
  topologyService,
} from "../src/contracts/topology.ts";
import { KeyHold } from "../src/key-hold.ts";
import { EarlyOpens, type OpenMessage } from "../src/migration/early-opens.ts";
import { Leftovers } from "../src/migration/leftovers.ts";
import { LoggedWriter } from "../src/migration/logged-writer.ts";
import { Orphans } from "../src/migration/orphans.ts";
import { MigrationSource, type MigrationTerms, type SourceHost } from "../src/migration/source.ts";
import { MigrationTarget, type TargetHost } from "../src/migration/target.ts";
import { Paced } from "../src/paced.ts";
import { definePlugin } from "../src/plugin.ts";
import { STALE } from "../src/protocol/topology/decision.ts";
import { EffectRunner } from "../src/replication/effect-runner.ts";
import { SlotFill } from "../src/replication/slot-fill.ts";
import { SlotSink } from "../src/replication/slot-sink.ts";

const TICK_MS = 50;
const HANDS_OVER = "this node hands its shard over to another one";
/** The same while nothing moves, for keys that a replica was shown late. */
const IDLE_TICK_MS = 500;
/** Between two steps of removing leftovers, which take half a millisecond each. */
const LEFTOVER_PAUSE_MS = 5;
/** Tasks that have ended and are still shown. */
const ENDED_SHOWN = 100;
/** How often a request is made anew for a shard that has changed meanwhile. */
const START_TRIES = 5;
/** What the rate limit lets through at once, of what it lets through in a second. */
const BURST_PART = 0.1;
/** A fence that stands for so many times what the source gives a target: nobody leads the source. */
const FENCE_PATIENCE = 10;

const settingsSchema = Type.Object({
  bytesPerSecond: byteSize({
    description:
      "How much of slots this node sends in a second for all migrations together, without what clients write to them meanwhile; 0: as much as the targets take. Less leaves more of the network and the processors to clients, and takes longer. CONFIG SET migration-bytes-per-second changes it.",
    default: "0",
  }),
  windowBytes: byteSize({
    description:
      "How much of a migration may be on its way and not committed at the target. More bridges longer ways; it is held in memory on both sides.",
    default: "8mb",
  }),
  pendingBytes: byteSize({
    description:
      "How much of what clients write to moving slots may wait to be sent. Above that, commands wait until the target has caught up.",
    default: "32mb",
  }),
  silenceMs: Type.Integer({
    description: "A target that has said nothing for so long is asked anew, in milliseconds.",
    default: 1000,
    minimum: 50,
  }),
  settleMs: Type.Integer({
    description:
      "A target that has not committed the last effects for so long is given up for now, in milliseconds: the slots are served again, and the task goes on. Shorter: clients wait less. Longer: a slow target is tried less often.",
    default: 500,
    minimum: 10,
  }),
  abandonMs: Type.Integer({
    description:
      "A migration of which the other side's primary has taken no part for so long is aborted, in milliseconds: that shard has lost all its members, or cannot be reached. Nothing moves then, and nothing is lost. Longer than any failover, and than restarts that are meant to be waited for; 0: it waits until it is cancelled.",
    default: 300_000,
    minimum: 0,
  }),
});

export default definePlugin({
  name: "migrator",
  summary: "Moves slots between shards while clients go on.",
  requires: { topology: topologyService, keyspace: keyspaceService },
  uses: { bus: busService, memory: memoryService, replication: replicationService },
  provides: { migration: migrationService },
  settings: settingsSchema,
  setup(context) {
    const { hooks, node, settings, world, dispatcher, replyGate } = context;
    const { topology, keyspace } = context.requires;
    const { bus, memory, replication } = context.uses;
    const { clock, log: events } = world;
    const sources = new Map<string, MigrationSource>();
    const targets = new Map<string, MigrationTarget>();
    const ended: MigrationStatus[] = [];
    const hold = new KeyHold(context, () => (replication?.isHandingOver === true ? "pass" : "refuse"));
    const runner = new EffectRunner(context, keyspace, "migration");
    const tell = (slot: number, args: ArgumentList): void => {
      if (hooks.effect.isHeard) dispatcher.tellEffect(slot, args);
    };
    const early = new EarlyOpens();
    const leftovers = new Leftovers(keyspace, tell);
    const writer = new LoggedWriter(keyspace, tell);
    // No number of an earlier start's, of which frames may still be on their way.
    let session = world.random.below(2 ** 31);
    let unhookEffects: (() => void) | undefined;

    const guarded = (callback: () => void): void => {
      try {
        callback();
      } catch (thrown) {
        context.fault(thrown);
      }
    };
    const soon = (callback: () => void): void => clock.soon(() => guarded(callback));
    const send = (to: NodeId, message: MigrationMessage): boolean => {
      const record = topology.node(to);
      if (record === undefined) return false;
      const address = { host: record.busHost, port: record.busPort };
      // What a turn has to say is gathered by whoever says it.
      const isTurnOver = message.type === "ack" || message.type === "final" || message.type === "settled";
      return bus?.send(address, BusChannel.migration, encodeMigration(message), isTurnOver) ?? false;
    };

    // --- the rate ---

    let bytesPerSecond = parseByteSize(settings.bytesPerSecond) ?? 0;
    let allowance = 0;
    let allowedAtMs = clock.monotonicMs();
    const allow = (): number => {
      if (bytesPerSecond === 0) return Number.POSITIVE_INFINITY;
      const nowMs = clock.monotonicMs();
      allowance = Math.min(
        allowance + ((nowMs - allowedAtMs) * bytesPerSecond) / 1000,
        Math.max(1, bytesPerSecond * BURST_PART),
      );
      allowedAtMs = nowMs;
      return allowance;
    };

    // --- the map ---

    const shardOf = (map: ClusterMap, id: string): ShardRecord | undefined =>
      map.shards.find((shard) => shard.id === id);
    /** The shard that this node leads, as the start of it that holds the data. */
    const ledShard = (map: ClusterMap): ShardRecord | undefined => {
      const own = map.nodes.find(({ id, start }) => id === node.id && start === node.runId);
      const shard = topology.selfShard;
      const isLeading = shard?.primary === node.id && shard.primaryIncarnation === own?.incarnation;
      return isLeading && topology.isMember ? shard : undefined;
    };
    const termsOf = (map: ClusterMap, { source, target }: MigrationRecord): MigrationTerms => {
      const to = shardOf(map, target);
      return {
        sourceEpoch: shardOf(map, source)?.primaryEpoch ?? 0,
        target: to?.primary ?? "",
        targetEpoch: to?.primaryEpoch ?? 0,
      };
    };

    const effect = (told: Effect): void => {
      const command = dispatcher.lookUp(told.args);
      for (const source of sources.values()) source.effect(told, command);
    };
    const sourceHost: SourceHost = {
      events,
      settings: {
        windowBytes: parseByteSize(settings.windowBytes) ?? 0,
        pendingBytes: parseByteSize(settings.pendingBytes) ?? 0,
        heartbeatMs: 100,
        silenceMs: settings.silenceMs,
        retryMs: 200,
        settleMs: settings.settleMs,
        abandonMs: settings.abandonMs,
      },
      nowMs: () => clock.monotonicMs(),
      isInTouch: () => !replyGate.hasLapsed(),
      soon,
      send,
      nextSession: () => (session += 1),
      startFill: (slots, isNew) => new SlotFill(keyspace, slots, () => clock.monotonicMs(), isNew),
      keysIn: (slots) => countKeys(slots),
      mapVersion: () => topology.map.version,
      allowance: allow,
      spend: (bytes) => void (allowance -= bytes),
      async request(request, cause) {
        const id = `migration ${world.random.below(2 ** 31)} ${node.runId} ${clock.monotonicMs()}`;
        for (;;) {
          const outcome = await topology.request(request, cause, id);
          if (outcome.type === "done") return undefined;
          if (outcome.type === "rejected" || outcome.type === "refused") return outcome.reason;
          // It may have happened, or may yet: asked again under its id it has one outcome. Nobody needs to know who does not lead any more.
          if ("id" in request && !sources.has(request.id)) return "this node does not lead the source any more";
        }
      },
      hold: (isHeld) => {
        if (isHeld) hold.hold();
        else hold.release();
      },
    };
    const countKeys = (slots: readonly SlotRange[]): number => {
      let keys = 0;
      for (const { first, last } of slots)
        for (let slot = first; slot <= last; slot += 1) keys += keyspace.slotSize(slot);
      return keys;
    };
    const targetHost: TargetHost = {
      events,
      gate: replyGate,
      soon,
      send,
      startSink: (slots) => new SlotSink(keyspace, { slots, writer }),
      keysIn: (slots) => countKeys(slots),
      run: (args) => runner.run(args),
      flush: (slots) => leftovers.flush(slots),
      mapVersion: () => topology.map.version,
      memoryProblem: (bytes) => memory?.makeRoom(bytes),
    };

    const follow = ({ map, previous, delta }: MapChange): void => {
      const shard = topology.selfShard;
      const led = ledShard(map);
      // There may be a thousand, and each of them changes the map three times.
      const records = new Map(map.migrations.map((record) => [record.id, record]));
      for (const record of map.migrations) {
        if (record.source !== led?.id) continue;
        const terms = termsOf(map, record);
        const source = sources.get(record.id);
        if (source === undefined) sources.set(record.id, new MigrationSource(sourceHost, record, terms));
        else source.update(record, terms);
      }
      if (previous !== undefined) noteEnded(map, previous, records);
      for (const [id, source] of sources) {
        const record = records.get(id);
        if (record !== undefined && record.source === led?.id) continue;
        sources.delete(id);
        source.close("the task is over, or another node leads the source");
      }
      for (const [id, target] of targets) {
        const record = records.get(id);
        const isLed = record !== undefined && record.target === led?.id;
        if (isLed && !target.isOver && target.isOf(target.session, termsOf(map, record))) {
          target.mapChanged();
          continue;
        }
        targets.delete(id);
        target.end(isLed ? "a shard has another primary" : "the task is over, or another node leads the target");
      }
      for (const { from, message } of early.due(map.version)) opened(from, message);
      if (sources.size > 0) unhookEffects ??= context.on(hooks.effect, effect);
      else {
        unhookEffects?.();
        unhookEffects = undefined;
      }
      const isElsewhere = shard?.id !== ownShard;
      const isLeading = led !== undefined;
      if (shard === undefined || isElsewhere) leftovers.reset();
      // Most changes are about something else, and to look at all slots takes a millisecond.
      const concernsSlots = delta === undefined || delta.changesSlots || isElsewhere || isLeading !== wasLeading;
      wasLeading = isLeading;
      if (shard !== undefined && concernsSlots) {
        const before = shard.id === ownShard ? previous : undefined;
        leftovers.mapChanged(map, before, shard.id, isLeading, delta !== undefined);
      }
      ownShard = shard?.id;
      if (leftovers.hasWork) clearLeftovers();
      pace();
    };
    let ownShard = topology.selfShard?.id;
    let wasLeading = false;
    context.on(hooks.mapChanged, context.vital(follow), { order: "post" });

    const counts = { completed: 0, aborted: 0, keys: 0, bytes: 0, fencedMs: 0 };
    const noteEnded = (map: ClusterMap, previous: ClusterMap, records: ReadonlyMap<string, MigrationRecord>): void => {
      for (const record of previous.migrations) {
        if (records.has(record.id)) continue;
        const isCompleted = record.slots.every(
          ({ first }) => map.shards[map.shardOfSlot[first] ?? -1]?.id === record.target,
        );
        const entry = topology.history.findLast(({ version }) => version === map.version);
        const { progress } = sources.get(record.id) ?? {};
        if (progress !== undefined) {
          counts[isCompleted ? "completed" : "aborted"] += 1;
          counts.keys += progress.keysMoved;
          counts.bytes += progress.bytesMoved;
          counts.fencedMs += progress.fencedMs;
        }
        ended.push({
          ...statusOf(map, record),
          phase: isCompleted ? "completed" : "aborted",
          cause: entry?.cause ?? record.cause,
          endedAtMs: entry?.timeMs ?? clock.wallMs(),
          waitingFor: undefined,
        });
        if (ended.length > ENDED_SHOWN) ended.shift();
        const told =
          progress === undefined
            ? {}
            : { keys: progress.keysMoved, bytes: progress.bytesMoved, fencedMs: progress.fencedMs };
        events.info("migration ended", {
          migration: record.id,
          completed: isCompleted,
          cause: entry?.cause ?? "",
          ...told,
        });
      }
    };

    // --- leftovers ---

    let isClearing = false;
    const clearLeftovers = (): void => {
      if (isClearing) return;
      isClearing = true;
      clock.after(LEFTOVER_PAUSE_MS, () => {
        isClearing = false;
        if (ledShard(topology.map) === undefined) return;
        if (replication?.isHandingOver !== true) guarded(() => leftovers.step());
        if (leftovers.hasWork) clearLeftovers();
      });
    };

    // --- words from others ---

    const opened = (from: NodeId, message: OpenMessage): void => {
      const { map } = topology;
      if (map.version < message.mapVersion && early.keep(from, message)) return;
      const refuse = (reason: string): void =>
        void send(from, { type: "refused", session: message.session, isFinal: false, reason });
      const record = map.migrations.find(({ id }) => id === message.id);
      if (record === undefined) return refuse("there is no such task by its map");
      if (record.target !== ledShard(map)?.id)
        return refuse("the node that was asked does not lead the target, by its own map");
      if (replication?.isHandingOver === true) return refuse(HANDS_OVER);
      const terms = termsOf(map, record);
      if (terms.sourceEpoch !== message.sourceEpoch || terms.targetEpoch !== message.targetEpoch) {
        return refuse(
          `by its map the shards are in epochs ${terms.sourceEpoch} and ${terms.targetEpoch}, and not in ${message.sourceEpoch} and ${message.targetEpoch}`,
        );
      }
      if (shardOf(map, record.source)?.primary !== from) return refuse("by its map another node leads the source");
      const problem = targetHost.memoryProblem(0);
      if (problem !== undefined)
        return void send(from, { type: "refused", session: message.session, isFinal: true, reason: problem });
      targets.get(record.id)?.end("the source's primary has opened another session");
      targets.set(record.id, new MigrationTarget(targetHost, from, message.session, record, terms));
    };
    // Clients wait until a replica has all of the log: it must come to an end. The next primary is sent the rest.
    replication?.onHandOver(() => {
      for (const target of targets.values()) target.end(HANDS_OVER);
    });
    bus?.receive(BusChannel.migration, ({ nodeId }, bytes) => {
      const message = decodeMigration(bytes);
      if (message === undefined) {
        events.warn("migration message refused", { from: nodeId, reason: "it makes no sense" });
        return;
      }
      switch (message.type) {
        case "open":
          opened(nodeId, message);
          break;
        case "effects":
        case "stream":
        case "final":
        case "closed":
          if (message.type === "closed") early.closed(nodeId, message.session);
          for (const target of targets.values()) if (target.from === nodeId) target.received(message);
          break;
        default:
          for (const source of sources.values()) source.received(nodeId, message);
      }
    });
    bus?.onLinkLost((address, nodeId) => {
      const id =
        nodeId ??
        topology.map.nodes.find(({ busHost, busPort }) => busHost === address.host && busPort === address.port)?.id;
      if (id === undefined) return;
      early.linkLost(id);
      for (const source of sources.values()) source.linkLost(id);
    });
    context.on(hooks.start, () => {
      hasStarted = true;
      pace();
    });
    const ticks = new Paced(context, () => {
      for (const source of sources.values()) source.tick();
      const led = replyGate.hasLapsed() ? undefined : ledShard(topology.map);
      orphans.look(
        topology.map.migrations.filter(({ target }) => target === led?.id),
        (id) => targets.get(id)?.takeHeard() === true,
      );
      leftovers.tidy();
      if (leftovers.hasWork) clearLeftovers();
    });
    let hasStarted = false;
    const pace = (): void => {
      if (hasStarted) ticks.periodMs = topology.map.migrations.length > 0 ? TICK_MS : IDLE_TICK_MS;
    };
    context.on(hooks.stop, () => {
      for (const source of sources.values()) source.close("the node stops");
      sources.clear();
      for (const target of targets.values()) target.end("the node stops");
      targets.clear();
    });
    context.parameter({
      name: "migration-bytes-per-second",
      get: () => String(bytesPerSecond),
      set: (text) => {
        const bytes = parseByteSize(text);
        if (bytes === undefined) return "argument must be a memory value";
        bytesPerSecond = bytes;
        return undefined;
      },
    });

    // --- for others ---

    const statusOf = (map: ClusterMap, record: MigrationRecord): MigrationStatus => {
      const { id, source, target, slots, isPaused, cause, startedAtMs, fence } = record;
      const own = sources.get(id);
      return {
        id,
        source,
        target,
        sourceNode: shardOf(map, source)?.primary,
        targetNode: shardOf(map, target)?.primary,
        slots,
        phase: own?.phase ?? (fence === undefined ? "streaming" : "fenced"),
        isPaused,
        ...(record.awaitsWord === true ? { awaitsWord: true } : {}),
        cause,
        startedFor: cause,
        startedAtMs,
        endedAtMs: undefined,
        waitingFor: own?.waitingFor ?? (isPaused ? "it is paused" : undefined),
        progress: own?.progress,
      };
    };
    /** @returns Why it was not done. */
    const ask = async (request: TopologyRequest, cause: string): Promise<string | undefined> => {
      const requestId = `migration ${world.random.below(2 ** 31)} ${node.runId} ${clock.monotonicMs()}`;
      const outcome = await topology.request(request, cause, requestId);
      if (outcome.type === "done") return undefined;
      return outcome.type === "unknown"
        ? `nobody knows what came of it: look at the tasks, and ask again (${outcome.reason})`
        : outcome.reason;
    };
    const change = async (
      request: TopologyRequest & { readonly id: string },
      cause: string,
    ): Promise<MigrationOutcome> => {
      const reason = await ask(request, cause);
      return reason === undefined ? { type: "done", id: request.id } : { type: "refused", reason };
    };
    /** What the map is to be asked for. @returns Why a move makes no sense on this map, if one does. */
    const requestFor = (
      map: ClusterMap,
      { slots, target }: SlotMove,
      id: string,
      { mapVersion, awaitsWord = false }: MoveOptions,
    ): TopologyRequest | { readonly reason: string } => {
      const to = shardOf(map, target);
      const owners = new Set<string | undefined>();
      for (const { first, last } of slots) {
        for (let slot = first; slot <= last; slot += 1) owners.add(map.shards[map.shardOfSlot[slot] ?? -1]?.id);
      }
      const [owner] = owners;
      const from = owner === undefined ? undefined : shardOf(map, owner);
      if (to === undefined) return { reason: `ERR there is no shard ${target.slice(0, 64)}` };
      if (slots.length === 0) return { reason: "ERR no slots were given" };
      if (owners.has(undefined)) return { reason: "ERR some of the slots are nobody's" };
      if (from === undefined || owners.size > 1) {
        return { reason: "ERR the slots are of more than one shard: a move for each" };
      }
      const changed = [from, to].find(({ version }) => mapVersion !== undefined && version > mapVersion);
      if (changed !== undefined) {
        return { reason: `${STALE}shard ${changed.id} has changed since map version ${mapVersion ?? 0}` };
      }
      return {
        type: "start-migration",
        id,
        source: from.id,
        sourceVersion: from.version,
        target: to.id,
        targetVersion: to.version,
        slots,
        ...(awaitsWord ? { awaitsWord: true } : {}),
      };
    };
    const orphans = new Orphans({
      fenceMs: settings.settleMs * FENCE_PATIENCE,
      abandonMs: settings.abandonMs,
      nowMs: () => clock.monotonicMs(),
      ask: change,
    });
    const migration: Migrations = {
      counts,
      get tasks() {
        const { map } = topology;
        return [...ended, ...map.migrations.map((record) => statusOf(map, record))];
      },
      async start(moves, cause, options = {}) {
        if (moves.length === 0) return { type: "refused", reason: "ERR no slots were given" };
        const ids = moves.map(() =>
          world.random
            .below(2 ** 31)
            .toString(16)
            .padStart(8, "0"),
        );
        for (let tries = 0; ; tries += 1) {
          const requests: TopologyRequest[] = [];
          for (const [at, move] of moves.entries()) {
            const request = requestFor(topology.map, move, ids[at] ?? "", options);
            if ("reason" in request) return { type: "refused", reason: request.reason };
            requests.push(request);
          }
          const [only, ...others] = requests;
          const isOne = only !== undefined && others.length === 0;
          const reason = await ask(isOne ? only : { type: "all", requests }, cause);
          if (reason === undefined) return { type: "done", ids };
          const mayBeLater = reason.startsWith(STALE) && options.mapVersion === undefined && tries < START_TRIES;
          if (!mayBeLater) return { type: "refused", reason };
        }
      },
      allowCompletion: (id, cause) => change({ type: "allow-completion", id }, cause),
      cancel: (id, cause) => change({ type: "abort-migration", id }, cause),
      pause: (id, cause) => change({ type: "pause-migration", id, isPaused: true }, cause),
      resume: (id, cause) => change({ type: "pause-migration", id, isPaused: false }, cause),
    };
    return { migration };
  },
});
