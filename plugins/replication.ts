/**
 * replication: keeps a shard's replicas like its primary, and lets no reply leave that a failover could take back.
 *
 * Promises: while one member of the in-sync set lives, no write is lost that a client was told of, and no value was read that comes back no more; members are
 * equal at equal places in the log; a replica deletes nothing by itself; whatever a replica does, its primary's memory is bounded.
 *
 * How: the node's role comes from the map.
 * - A primary with replicas writes a log of what its commands did (`src/replication/shard-log.ts`), and sends it to them (`primary.ts`). Replies on keys wait at
 *   the gate (`src/reply-gate.ts`) until the in-sync set has what they depend on. Writes are refused (`NOREPLICAS`) while that set is below its minimum, also where
 *   there is no replica, and held while the log is full of what an in-sync member lacks.
 * - A replica follows the log, or is filled by slot streams when that does not reach back to where it is (`replica.ts`).
 * - A replica of a shard that nobody leads any more refuses reads of what may not be committed (CLUSTERDOWN), and closes the connections whose replies wait for that.
 *   A primary that has had too few members in sync for long does the same (NOREPLICAS): a key that expired then, or a write that had been logged, is not committed.
 * - One that led the shard and does not any more closes the connections of clients whose last writes nobody knows of: they were logged, and may be lost.
 *
 * A command that was logged is never answered with an error that says it was not.
 *
 * Talks to the rest through the map (`topology`), the channel `replication` of the bus, the hooks `effect` and `commandBefore`, and the service `replication`.
 */
import { Type } from "@sinclair/typebox";
import { Fault } from "../src/assert.ts";
import type { Call } from "../src/call.ts";
import { decodeReplication, encodeReplication, type ReplicationMessage } from "../src/codec/replication-codec.ts";
import { SLOT_COUNT } from "../src/codec/slot.ts";
import type { ArgumentList } from "../src/codec/resp-parser.ts";
import { CommandBits } from "../src/command-table.ts";
import { byteSize, parseByteSize } from "../src/config.ts";
import { BusChannel, busService } from "../src/contracts/bus.ts";
import { type Effect, Verdict } from "../src/contracts/commands.ts";
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { type ReplicaHealth, replicationService, type Replication } from "../src/contracts/replication.ts";
import {
  type ClusterMap,
  type MapChange,
  type NodeId,
  type ShardRecord,
  type SlotRange,
  topologyService,
} from "../src/contracts/topology.ts";
import { KeyHold } from "../src/key-hold.ts";
import { Paced } from "../src/paced.ts";
import { definePlugin } from "../src/plugin.ts";
import { canonicalRanges } from "../src/protocol/slot-ranges.ts";
import { slotsTakenIn } from "../src/protocol/topology/open-slots.ts";
import { EffectRunner } from "../src/replication/effect-runner.ts";
import { SlotFill } from "../src/replication/slot-fill.ts";
import { type PrimaryHost, type PrimaryTerms, ShardPrimary } from "../src/replication/primary.ts";
import { type ReplicaHost, ShardReplica } from "../src/replication/replica.ts";
import { ShardLog } from "../src/replication/shard-log.ts";
import { SlotSink } from "../src/replication/slot-sink.ts";

const TICK_MS = 50;
/** A primary with too few in sync for so many times the silence that a replica suffers has nobody wait any more: longer than any failover takes. */
const STARVED_SILENCES = 5;

const settingsSchema = Type.Object({
  ringBytes: byteSize({
    description:
      "How much of the shard log is kept in memory, for replicas that were away: one whose place is not in it any more is filled anew. More takes memory on each member.",
    default: "64mb",
  }),
  windowBytes: byteSize({
    description:
      "How much may be on its way to a replica that has not acknowledged it. More bridges longer ways; it is held in memory on both sides.",
    default: "8mb",
  }),
  lagMs: Type.Integer({
    description:
      "A replica that has not had all of the log for so long leaves the in-sync set, in milliseconds. Shorter: writes wait less for a slow one. Longer: a pause of it costs less redundancy.",
    default: 1000,
    minimum: 100,
  }),
  lostMs: Type.Integer({
    description:
      "A replica whose link broke, and which has not come back for so long, leaves the in-sync set, in milliseconds. Until then writes wait for it.",
    default: 200,
    minimum: 10,
  }),
  heartbeatMs: Type.Integer({
    description: "How often a primary that has nothing to send says that it is there, in milliseconds.",
    default: 100,
    minimum: 10,
  }),
  silenceMs: Type.Integer({
    description: "A replica that has heard nothing of its primary for so long asks anew, in milliseconds.",
    default: 1000,
    minimum: 50,
  }),
});

/** What the map has this node do. */
interface Assignment {
  readonly role: Replication["role"];
  readonly shard: ShardRecord | undefined;
}

export default definePlugin({
  name: "replication",
  summary: "Keeps replicas like their primary, and replies waiting until they are.",
  requires: { topology: topologyService, keyspace: keyspaceService },
  uses: { bus: busService },
  provides: { replication: replicationService },
  settings: settingsSchema,
  setup(context) {
    const { settings, hooks, dispatcher, node, replyGate, world } = context;
    const { topology, keyspace } = context.requires;
    const { bus } = context.uses;
    const { clock, log: events } = world;
    const log = new ShardLog();
    // Who hands the shard over gives its lease up, and holds what clients want until it is known who leads.
    const hold = new KeyHold(context, () => (primary?.isHandingOver === true ? "hold" : "refuse"));
    const fills = new Set<SlotFill>();
    let primary: ShardPrimary | undefined;
    let replica: ShardReplica | undefined;
    let assigned: Assignment = { role: "none", shard: undefined };
    /** What a replica must hold: the shard's slots, and those that are on their way to it. */
    let heldSlots: readonly SlotRange[] = [];
    /** The same, by slot. */
    const isHeld = new Uint8Array(SLOT_COUNT);
    /** The log is all of what this node holds of the shard, without a gap. */
    let isWhole = false;
    let committed = 0;
    /**
     * Of members that know sooner than this node that it leads. Nothing is committed without those in sync, and one that is refused would say its hello again only
     * after a while.
     */
    const early = new Map<NodeId, Extract<ReplicationMessage, { type: "hello" }>>();
    // No number of an earlier start's, of which frames may still be on their way.
    let session = world.random.below(2 ** 31);
    let hooksOfPrimary: readonly (() => void)[] = [];
    let unhookStranded: (() => void) | undefined;
    let unhookHalf: (() => void) | undefined;
    /** It may serve, as far as leases are kept: see `setLeased`. */
    let isLeased = true;
    const whenHandingOver: (() => void)[] = [];

    // --- applying, at a replica ---

    const runner = new EffectRunner(context, keyspace, "replication");
    /** What comes of a slot may be ahead of the map that says that the slot is on its way here: nobody is to see its keys before. */
    const hideUnknown = (slot: number): void => {
      if (isHeld[slot] !== 1) keyspace.setHidden(slot, true);
    };
    const apply = (slot: number, args: ArgumentList, isFill: boolean): string | undefined => {
      if (slot >= 0) hideUnknown(slot);
      const problem = runner.run(args);
      if (problem !== undefined && !isFill) throw new Fault(`an effect of the log failed at this replica: ${problem}`);
      return problem;
    };

    // --- sending ---

    const send = (to: string, message: ReplicationMessage): boolean => {
      const record = topology.node(to);
      if (record === undefined) return false;
      const address = { host: record.busHost, port: record.busPort };
      // Entries and what is said of them are sent at the end of a turn as it is.
      const isTurnOver = message.type === "entries" || message.type === "ack";
      return bus?.send(address, BusChannel.replication, encodeReplication(message), isTurnOver) ?? false;
    };
    const shared = {
      gate: replyGate,
      log,
      events,
      nowMs: () => clock.monotonicMs(),
      mapVersion: () => topology.map.version,
      soon: (callback: () => void) => clock.soon(() => guarded(callback)),
      send,
    };
    const guarded = (callback: () => void): void => {
      try {
        callback();
      } catch (thrown) {
        context.fault(thrown);
      }
    };
    const primaryHost = (): PrimaryHost => ({
      ...shared,
      self: node.id,
      startOf: (id) => topology.node(id)?.start,
      settings: {
        lagMs: settings.lagMs,
        lostMs: settings.lostMs,
        joinMs: settings.lagMs,
        heartbeatMs: settings.heartbeatMs,
        starvedMs: settings.silenceMs * STARVED_SILENCES,
        ringBytes: parseByteSize(settings.ringBytes) ?? 0,
        windowBytes: parseByteSize(settings.windowBytes) ?? 0,
      },
      after: (delayMs, callback) => void clock.after(delayMs, () => guarded(callback)),
      startFill: () => {
        const fill = new SlotFill(keyspace, heldSlots, () => clock.monotonicMs());
        fills.add(fill);
        return fill;
      },
      fillEnded: (fill) => void fills.delete(fill),
      changeSets: async (shard, { inSync, eligible }, cause) => {
        const id = `sets ${shard.id} ${shard.version} ${node.runId} ${clock.monotonicMs()}`;
        for (;;) {
          const outcome = await topology.request(
            { type: "change-in-sync", shard: shard.id, shardVersion: shard.version, inSync, eligible },
            cause,
            id,
          );
          if (outcome.type === "done") return undefined;
          if (outcome.type === "rejected" || outcome.type === "refused") return outcome.reason;
          // It may have happened, or may yet: asked again under its id it has one outcome. Nobody needs to know who does not lead any more.
          if (primary === undefined) return "this node does not lead the shard any more";
        }
      },
      release: () => {
        if (hold.isHolding && primary?.isFull !== true && primary?.isHandingOver !== true) hold.release();
      },
    });
    const replicaHost = (): ReplicaHost => ({
      ...shared,
      self: node.id,
      start: node.runId,
      silenceMs: settings.silenceMs,
      retryMs: settings.lostMs,
      ringBytes: parseByteSize(settings.ringBytes) ?? 0,
      startSink: () => new SlotSink(keyspace, { onBegin: hideUnknown }),
      apply,
      nextSession: () => (session += 1),
    });

    // --- roles ---

    const assignmentOf = (map: ClusterMap): Assignment => {
      const own = map.nodes.find(({ id, start }) => id === node.id && start === node.runId);
      const shard = topology.selfShard;
      if (own === undefined || shard === undefined || !topology.isMember) return { role: "none", shard: undefined };
      if (shard.primary !== node.id) return { role: "replica", shard };
      return shard.primaryIncarnation === own.incarnation
        ? { role: "primary", shard }
        : // It has restarted, and lost what it had.
          { role: "none", shard };
    };
    const termsOf = ({ settings: set }: ClusterMap): PrimaryTerms => ({
      minimum: Number(set.get("min-in-sync") ?? 1),
      acks: set.get("acks") === "primary" ? "primary" : "in-sync",
    });

    const effect = (told: Effect): void => {
      try {
        for (const fill of fills) fill.note(told, dispatcher.lookUp(told.args));
        primary?.effect(told);
      } catch (thrown) {
        // What is in no log is in nobody's copy, and can not be answered: there is no place in the log that it would have to wait for.
        replyGate.logged(told.slot, Number.POSITIVE_INFINITY);
        context.fault(thrown);
      }
    };
    const startPrimary = (shard: ShardRecord, map: ClusterMap): void => {
      if (!isWhole) {
        // What this node did without anybody following is in no log: whoever was at some place in it is not there any more.
        log.reset({ epoch: 0, sequence: log.last }, []);
        // Nothing in the log is inherited that could be taken back: nobody need have the entry that opens the epoch either before this node answers.
        committed = log.openSequence;
      }
      isWhole = true;
      primary = new ShardPrimary(primaryHost(), shard, termsOf(map), committed);
      hooksOfPrimary = [
        context.on(hooks.effect, effect),
        context.on(hooks.commandBefore, (call) => {
          if ((call.command.bits & CommandBits.write) === 0 || primary === undefined) return undefined;
          const { refusal, isFull } = primary;
          if (refusal !== undefined) {
            call.reply.error(`NOREPLICAS ${refusal}: nothing was written`);
            return Verdict.rejected;
          }
          if (isFull && isLeased && !hold.isHolding) hold.hold();
          return undefined;
        }),
      ];
    };
    const stopPrimary = (): void => {
      if (primary === undefined) return;
      for (const unhook of hooksOfPrimary) unhook();
      hooksOfPrimary = [];
      log.seal();
      ({ committed } = primary);
      primary.close();
      primary = undefined;
      fills.clear();
      if (hold.isHolding) hold.release();
    };
    /**
     * Half a copy says nothing of what keys there are, and what of it is not committed yet has no place in this node's log. Reads of single keys are the router's to
     * refuse, and EXEC asks for each of its commands.
     */
    const refuseHalf = (call: Call): Verdict | undefined => {
      const { bits, fullName } = call.command;
      if (call.hasKey || (bits & CommandBits.aboutKeys) === 0 || fullName === "exec") return undefined;
      if (replica === undefined || replica.isWhole) return undefined;
      call.reply.error("LOADING this node is being filled with its shard's data, and does not know all keys yet");
      return Verdict.rejected;
    };
    const stopReplica = (): void => {
      if (replica === undefined) return;
      unhookHalf?.();
      ({ isWhole, committed } = replica);
      replica.close();
      replica = undefined;
    };

    /** That a key has expired is the primary's to say, which can say nothing without a lease: nobody would know, and reads of the slot would wait for that. */
    const removeExpiredIfLeading = (): void => {
      keyspace.removesExpired = assigned.role !== "replica" && isLeased;
    };

    // What the log has of a command that failed halfway is half of it, and what a replica has not applied its place hides: neither is told to anybody.
    context.onFault(() => {
      stopPrimary();
      stopReplica();
    });

    /** The map says what this node does from here on. All of it changes in one step. */
    const switchTo = (map: ClusterMap): void => {
      if (context.isFaulty()) return;
      const next = assignmentOf(map);
      const { role, shard } = next;
      const isSameShard = shard !== undefined && shard.id === assigned.shard?.id;
      const wasIn = assigned;
      assigned = next;
      replyGate.acks = termsOf(map).acks;
      const held = slotsHeldBy(map, shard);
      const hasOtherSlots = JSON.stringify(held) !== JSON.stringify(heldSlots);
      heldSlots = held;
      if (hasOtherSlots) {
        isHeld.fill(0);
        for (const { first, last } of held) isHeld.fill(1, first, last + 1);
      }
      // What happens to a slot that a fill does not know of is not sent with it.
      if (hasOtherSlots) primary?.restartFills();
      const keepsLog = role === "primary" && shard !== undefined && mustKeepLog(shard, termsOf(map));
      if (!keepsLog) {
        const wasLeading = primary !== undefined;
        stopPrimary();
        if (wasLeading && role !== "primary")
          replyGate.break(`this node does not lead shard ${wasIn.shard?.id ?? ""} any more`);
        if (wasLeading && role === "primary") isWhole = false;
      }
      if (role !== "replica" || !isSameShard) stopReplica();
      if (!isSameShard) isWhole = false;
      removeExpiredIfLeading();
      // A copy of a shard that the node has left, with the cluster: nobody counts on it. It would be in the way of whatever becomes of the node next.
      if (wasIn.role === "replica" && role === "none" && shard === undefined) keyspace.clear();
      if (role === "primary" && shard !== undefined) {
        // Copies of a shard that it has left: the map has it in neither set of that any more. Or half a copy, of a shard whose data are given up: some keys
        // of one moment beside some of another would be worse than none.
        if (wasIn.role === "replica" && (!isSameShard || !isWhole)) keyspace.clear();
        if (!keepsLog) {
          isWhole = false;
          replyGate.setCommitted(Number.POSITIVE_INFINITY);
        } else if (primary === undefined) {
          startPrimary(shard, map);
        } else {
          primary.shardChanged(shard, termsOf(map));
        }
      } else if (role === "replica" && shard !== undefined) {
        if (replica === undefined) {
          replica = new ShardReplica(replicaHost(), shard, isWhole, isWhole ? committed : 0);
          unhookHalf = context.on(hooks.commandBefore, refuseHalf);
        } else replica.shardChanged(shard);
      } else {
        replyGate.setCommitted(Number.POSITIVE_INFINITY);
      }
      guardStranded();
      pace();
      for (const [from, hello] of early) {
        if (hello.shard === shard?.id && hello.epoch > shard.primaryEpoch) continue;
        early.delete(from);
        if (hello.shard === shard?.id) primary?.hello(from, hello);
      }
    };
    context.on(
      hooks.mapChanged,
      context.vital(({ map }: MapChange) => switchTo(map)),
    );

    // --- words from others ---

    const received = (nodeId: NodeId, bytes: Uint8Array): void => {
      const message = decodeReplication(bytes);
      if (message === undefined) {
        events.warn("replication message refused", { from: nodeId, reason: "it makes no sense" });
        return;
      }
      switch (message.type) {
        case "hello":
          // The former primary is in no set: it comes when the first writes are through, which would wait for it else.
          if (
            message.shard === assigned.shard?.id &&
            message.epoch > assigned.shard.primaryEpoch &&
            nodeId !== assigned.shard.primary
          ) {
            early.set(nodeId, message);
          } else if (primary !== undefined && message.shard === assigned.shard?.id) primary.hello(nodeId, message);
          else
            send(nodeId, {
              type: "refused",
              session: message.session,
              reason: "the node that was asked does not lead the shard, by its own map",
            });
          break;
        case "ack":
          primary?.acknowledged(nodeId, message);
          break;
        case "answer":
          primary?.answered(nodeId, message);
          break;
        default:
          replica?.received(nodeId, message);
      }
    };
    // Where something is thrown in the midst of a frame, what comes next would be taken for what was lost with it: acknowledged, and not there.
    bus?.receive(BusChannel.replication, ({ nodeId }, bytes) => guarded(() => received(nodeId, bytes)));
    bus?.onLinkLost((address, nodeId) => {
      const id =
        nodeId ??
        topology.map.nodes.find(({ busHost, busPort }) => busHost === address.host && busPort === address.port)?.id;
      if (id === undefined) return;
      primary?.linkLost(id);
      if (assigned.shard?.primary === id) replica?.linkLost();
    });
    context.on(hooks.start, () => {
      hasStarted = true;
      pace();
    });
    context.on(hooks.stop, () => {
      stopPrimary();
      stopReplica();
      replyGate.break("the node stops");
    });

    const ticks = new Paced(context, () => {
      primary?.tick();
      replica?.tick();
      guardStranded();
    });
    let hasStarted = false;
    const pace = (): void => {
      if (hasStarted) ticks.periodMs = primary === undefined && replica === undefined ? 0 : TICK_MS;
    };

    /** Nothing is read that a stranded replica, or a primary with too few in sync or without a lease, would wait for ever to tell. */
    const refuseStranded = (call: Call): Verdict | undefined => {
      const { bits } = call.command;
      if (!call.hasKey && (bits & CommandBits.readonly) === 0) return undefined;
      if (replyGate.mayLeave(call.hasKey ? replyGate.positionOf(call.key.slot) : replyGate.positionOfAll))
        return undefined;
      if ((call.client.acks ?? replyGate.acks) === "primary") return undefined;
      if (primary === undefined)
        call.reply.error(
          replica?.isFollowing === true
            ? "CLUSTERDOWN The cluster is down: this replica's primary has not been able to commit for long what this node holds here"
            : "CLUSTERDOWN The cluster is down: nobody leads this replica's shard who would know whether what it holds here is committed",
        );
      else if (primary.isStarved)
        call.reply.error(
          `NOREPLICAS shard ${assigned.shard?.id ?? ""} has too few members in sync for what was last done here to be committed: nothing was done`,
        );
      else
        call.reply.error(
          "CLUSTERDOWN The cluster is down: this node has no lease, and nobody knows whether what was last done here is kept",
        );
      return Verdict.rejected;
    };
    const guardStranded = (): void => {
      const isStarved = primary?.isStarved === true;
      const isStranded = replica?.isStranded === true;
      // Without a lease there are stale reads, if any: else others refuse.
      const mustRefuse = isStranded || isStarved || (primary !== undefined && !isLeased && replyGate.isLeased());
      if (mustRefuse === (unhookStranded !== undefined)) return;
      unhookStranded?.();
      unhookStranded = mustRefuse ? context.on(hooks.commandBefore, refuseStranded) : undefined;
      if (isStarved) events.warn("this primary has had too few members in sync for long", {});
      if (!isStranded) return;
      if (replica?.isFollowing === true) events.warn("what this replica holds has not been committed for long", {});
      else events.warn("this replica has followed nobody for long", { reason: replica?.refusal ?? "" });
    };

    /** What something comes to; `false` if the time is over before, or nobody waits any more (`end`). @param limitMs 0: without an end. */
    const within = (
      limitMs: number,
      begin: (resolve: (isSo: boolean) => void) => () => void,
    ): { readonly isSo: Promise<boolean>; readonly end: () => void } => {
      let settle: (isSo: boolean) => void = () => undefined;
      const settled = new Promise<boolean>((resolve) => {
        settle = resolve;
      });
      const timer = limitMs > 0 ? clock.after(limitMs, () => settle(false)) : undefined;
      const forget = begin(settle);
      const isSo = settled.finally(() => {
        timer?.cancel();
        // Whoever asks again and again for what does not come makes nothing grow.
        forget();
      });
      return { isSo, end: () => settle(false) };
    };
    const replication: Replication = {
      get role() {
        return assigned.role;
      },
      get position() {
        if (replica !== undefined) return replica.isWhole ? log.position : undefined;
        return assigned.role === "primary" ? log.position : undefined;
      },
      get isAheadOfMap() {
        return replica !== undefined && replica.mapVersion > topology.map.version;
      },
      get isBehindMap() {
        return replica?.isBehindMap === true;
      },
      get committed() {
        return primary?.committed ?? replica?.committed ?? committed;
      },
      get isChangingSets() {
        return primary?.isChangingSets === true;
      },
      get logBytes() {
        return log.allocatedBytes;
      },
      get replicas(): readonly ReplicaHealth[] {
        return primary?.replicas ?? [];
      },
      get waitingFor() {
        return replica?.refusal;
      },
      get last() {
        return replyGate.last;
      },
      acknowledgedBy: (sequence) => primary?.acknowledgedBy(sequence) ?? 0,
      whenAcknowledged(count, limitMs) {
        const leading = primary;
        if (leading === undefined) return { reached: Promise.resolve(0), end: () => undefined };
        leading.flush();
        const { last } = log;
        const { isSo, end } = within(limitMs, (resolve) => leading.whenAcknowledged(count, resolve));
        return { reached: isSo.then(() => leading.acknowledgedBy(last)), end };
      },
      get waitingCount() {
        return primary?.waitingCount ?? 0;
      },
      get isHandingOver() {
        return primary?.isHandingOver === true;
      },
      onHandOver: (callback) => void whenHandingOver.push(callback),
      async handOver(to, limitMs) {
        if (primary === undefined) return false;
        const leading = primary;
        leading.isHandingOver = true;
        for (const callback of whenHandingOver) callback();
        if (!hold.isHolding) hold.hold();
        leading.flush();
        return await within(limitMs, (resolve) => leading.whenHasAll(to, resolve)).isSo;
      },
      letKeysGo(areFree) {
        if (primary?.isHandingOver === true) hold.letKeysGo(areFree);
      },
      letAllGo() {
        if (primary?.isHandingOver === true && hold.isHolding) hold.release();
      },
      setLeased(isSo) {
        // The gate may have been opened, or shut, for what is the same otherwise: stale reads.
        if (isSo === isLeased) return guardStranded();
        isLeased = isSo;
        removeExpiredIfLeading();
        guardStranded();
        if (!isLeased && primary?.isHandingOver !== true && hold.isHolding) hold.release();
      },
      resume() {
        if (primary === undefined) return;
        primary.isHandingOver = false;
        if (hold.isHolding && !primary.isFull) hold.release();
      },
    };
    return { replication };
  },
});

/** Whether a primary's writes wait for others: for those that follow it, or for those that there must be before any is taken (SAFETY 4). */
function mustKeepLog({ replicas }: ShardRecord, { minimum }: PrimaryTerms): boolean {
  return replicas.length > 0 || minimum > 1;
}

function slotsHeldBy(map: ClusterMap, shard: ShardRecord | undefined): readonly SlotRange[] {
  if (shard === undefined) return [];
  const arriving = [
    ...map.migrations.flatMap(({ target, slots }) => (target === shard.id ? slots : [])),
    ...slotsTakenIn(map, shard.id),
  ];
  return arriving.length === 0 ? shard.slots : canonicalRanges([...shard.slots, ...arriving]);
}
