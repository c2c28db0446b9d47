/**
 * hash-slot-router: decides, before a command touches the store, whether this node serves it.
 *
 * Promises: this node never runs a command on a key whose slot another node owns; the answers are Redis' own words, since clients parse them.
 * Commands without keys are served anywhere, but for writes, which replicas refuse. With this plugin off, a node is a plain single-node store.
 *
 * 1. No key: serve. A write (FLUSHALL) is a primary's to run: on a replica READONLY.
 * 2. Keys in more than one slot: CROSSSLOT.
 * 3. The slot is nobody's: CLUSTERDOWN.
 * 4. It is at the end of its way to another shard (fenced), and this node leads the one or the other: the command waits until the map says whose the slot is. So do
 *    transactions on it, and writes without keys. Without a lease, which may be for long: CLUSTERDOWN. More than may wait at a time, or in bytes: TRYAGAIN.
 * 5. It is this node's: serve, unless the map has not admitted this start of the node yet, or knows that an earlier start of it held what is lost now, or
 *    the cluster has taken the node out, or the slot's last owner may not know that it lost it.
 * 6. It is a shard's whose replica this node is, the command only reads, and the client has said READONLY: serve, if this node has the shard's data, and knows the
 *    map that its primary knew: else keys may be gone that have moved to another shard.
 * 7. Its own primary's, which is handing the shard over to this node: held, until it is known who leads.
 * 8. Else MOVED, with the address that the owner announces.
 *
 * A slot that is moved key by key (CLUSTER SETSLOT) is as in Redis:
 *
 * - The owner's primary serves what it has all keys of, answers ASK if it has none of them, and TRYAGAIN if it has some.
 * - The primary of the shard that takes it in serves after ASKING, and answers TRYAGAIN if it is asked for several keys and lacks some. Without ASKING: MOVED.
 * - The owner's replica serves who has said READONLY what it has all keys of; else MOVED. (In Redis it answers that there is no such key, which need not be so.)
 *
 * MIGRATE is served wherever the slot has a mark. A transaction counts the keys of all its commands. ASK and TRYAGAIN tell of keys, and so wait for
 * commit as replies do.
 *
 * Talks to the rest through `commandBefore`, and reads the map from `topology`. On the path of every command: one look into a table with an
 * entry for each slot, made anew when the map changes.
 */
import { Type } from "@sinclair/typebox";
import type { Call } from "../src/call.ts";
import { ALL_SLOTS, type Client, NO_SLOT } from "../src/client.ts";
import { SLOT_COUNT, keySlot } from "../src/codec/slot.ts";
import { type Command, CommandBits } from "../src/command-table.ts";
import type { ArgumentList } from "../src/codec/resp-parser.ts";
import { byteSize, parseByteSize } from "../src/config.ts";
import { Verdict } from "../src/contracts/commands.ts";
import { failoverService } from "../src/contracts/failover.ts";
import { keyspaceService } from "../src/contracts/keyspace.ts";
import { replicationService } from "../src/contracts/replication.ts";
import { routerService } from "../src/contracts/routing.ts";
import { type ClusterMap, type MapChange, type OpenSlot, topologyService } from "../src/contracts/topology.ts";
import { HeldCommands } from "../src/held-commands.ts";
import { definePlugin } from "../src/plugin.ts";
import { KeyReference } from "../src/store/key-reference.ts";

/** What is done with commands on a slot; indexes above `MOVED` are places in the list of errors. */
const SERVE = 0;
const UNASSIGNED = 1;
/** It is this node's, and not served yet: see `makeRoutes`. */
const WAITING = 2;
/** It is this node's, and an earlier start of the node had the data. */
const LOST = 3;
/** It is on its way to or from this node's shard, and nobody serves it at this moment. */
const FENCED = 4;
/** It is moved key by key, and this node has a part in that: see `Routes.open`. */
const OPEN = 5;
export const MOVED = 6;

/** Moves keys of such a slot, so that it is served wherever there is a mark. */
const MIGRATE = "migrate";

const CROSS_SLOT_ERROR = "CROSSSLOT Keys in request don't hash to the same slot";

/** Redis' words. */
const READ_ONLY_ERROR = "READONLY You can't write against a read only replica.";

const TOO_MANY_HELD_ERROR = "TRYAGAIN Too many commands wait until it is agreed whose the slot is";

const TRY_AGAIN_ERROR = "TRYAGAIN Multiple keys request during rehashing of slot";

/** What is done with commands on a slot that is moved key by key. */
interface OpenRoute {
  /** Whose primary this node is, or whose replica. */
  readonly part: "owner" | "taker" | "replica";
  /** What would be done if the slot were not open. */
  readonly action: number;
  /** Where the owner sends for keys that it has not got: `host:port`. */
  readonly askAt: string;
}

/** How many of the keys that a command names, or a transaction, are here. */
interface Presence {
  existing: number;
  missing: number;
  first: string | undefined;
  /** Not all of them are one key. */
  isSeveral: boolean;
}

function newPresence(): Presence {
  return { existing: 0, missing: 0, first: undefined, isSeveral: false };
}

/** For each slot what to do, and the address of each owner. */
interface Routes {
  readonly actionOfSlot: Uint8Array | Uint16Array;
  /** All slots are this node's: nothing to look up. */
  readonly servesAll: boolean;
  /** `host:port` of owners; the entry for action `MOVED + n` is at n. */
  readonly addresses: readonly string[];
  /** There are slots that are fenced. */
  readonly hasFences: boolean;
  /** What stands for slots of the shard whose replica this node is; -1 if it is none. */
  readonly followed: number;
  /** This node is a replica: what it holds changes by its primary's word alone. */
  readonly isReplica: boolean;
  /** Of slots with action `OPEN`. */
  readonly open: ReadonlyMap<number, OpenRoute>;
}

/**
 * Makes the table for a map, as one node sees it.
 *
 * @param self The node as it is: it serves the slots of the shard whose primary it is, if the map has admitted this start of it and takes it for the one
 *   that holds the data, and nobody may still serve them who has lost them. Its start is `undefined` if it is out of the cluster: no start of it is
 *   admitted.
 */
export function makeRoutes(map: ClusterMap, self: { readonly id: string; readonly start: string | undefined }): Routes {
  const addressOf = new Map(map.nodes.map((node) => [node.id, `${node.host}:${node.port}`]));
  const own = map.nodes.find((node) => node.id === self.id && node.start === self.start);
  const addresses: string[] = [];
  let followed = -1;
  let isReplica = false;
  // The smaller table stays in the processor's nearest cache: in all but very large clusters.
  const actionOfSlot = (map.shards.length < 250 ? new Uint8Array(SLOT_COUNT) : new Uint16Array(SLOT_COUNT)).fill(
    UNASSIGNED,
  );
  for (const shard of map.shards) {
    if (shard.primary === self.id) {
      const isHolder = shard.primaryIncarnation === own?.incarnation;
      const action = own === undefined ? WAITING : isHolder ? SERVE : LOST;
      for (const { first, last } of shard.slots) actionOfSlot.fill(action, first, last + 1);
      continue;
    }
    addresses.push(addressOf.get(shard.primary) ?? "");
    const action = MOVED + addresses.length - 1;
    if (shard.replicas.includes(self.id)) {
      isReplica = true;
      if (own !== undefined) followed = action;
    }
    for (const { first, last } of shard.slots) actionOfSlot.fill(action, first, last + 1);
  }
  for (const release of map.releases) {
    if (release.node === self.id) continue;
    for (const { first, last } of release.slots) {
      for (let slot = first; slot <= last; slot += 1) if (actionOfSlot[slot] === SERVE) actionOfSlot[slot] = WAITING;
    }
  }
  let hasFences = false;
  const led = map.shards.find(({ primary }) => primary === self.id);
  // Who has restarted without the data waits for another to take over: that may be for long.
  const holds = led !== undefined && led.primaryIncarnation === own?.incarnation ? led.id : undefined;
  for (const { source, target, slots, fence } of holds === undefined ? [] : map.migrations) {
    if (fence === undefined || (holds !== source && holds !== target)) continue;
    hasFences = true;
    for (const { first, last } of slots) actionOfSlot.fill(FENCED, first, last + 1);
  }
  const open = new Map<number, OpenRoute>();
  for (const each of map.openSlots) {
    const route = openRoute(map, each, actionOfSlot[each.slot] as number, self.id, own?.incarnation, followed);
    if (route === undefined) continue;
    actionOfSlot[each.slot] = OPEN;
    open.set(each.slot, route);
  }
  let served = 0;
  while (served < SLOT_COUNT && actionOfSlot[served] === SERVE) served += 1;
  return { actionOfSlot, addresses, servesAll: served === SLOT_COUNT, hasFences, followed, isReplica, open };
}

/**
 * What a node has to do with a slot's marks; `undefined`: nothing.
 *
 * @param action What is done with the slot otherwise.
 * @param incarnation Of this start of the node, if the map has admitted it.
 */
function openRoute(
  { nodes, shards }: ClusterMap,
  { migratingTo, importing }: OpenSlot,
  action: number,
  self: string,
  incarnation: number | undefined,
  followed: number,
): OpenRoute | undefined {
  const target = shards.find(({ id }) => id === migratingTo);
  const address = nodes.find(({ id }) => id === target?.primary);
  const askAt = address === undefined ? "" : `${address.host}:${address.port}`;
  if (target !== undefined && action === SERVE) return { part: "owner", action, askAt };
  if (target !== undefined && action === followed) return { part: "replica", action, askAt };
  if (action < MOVED) return undefined;
  const own = shards.find(({ primary }) => primary === self);
  const isHolder = own !== undefined && own.primaryIncarnation === incarnation;
  return isHolder && importing.some(({ shard }) => shard === own.id) ? { part: "taker", action, askAt } : undefined;
}

const settingsSchema = Type.Object({
  maxHeldCommands: Type.Integer({
    description:
      "How many commands may wait at a time at this node: for a slot that is at the end of its way to another shard, for a key that MIGRATE moves, for a planned failover; one for each connection, with what it has sent behind it. What comes beyond that is answered with TRYAGAIN: nothing was done, and clients may ask again.",
    default: 10_000,
    minimum: 1,
  }),
  maxHeldBytes: byteSize({
    description:
      "How many bytes these commands may have, with what was read behind them on their connections. One command may wait whatever its length.",
    default: "64mb",
  }),
});

export default definePlugin({
  name: "hash-slot-router",
  summary: "Sends clients to the node that owns a key's slot.",
  requires: { topology: topologyService },
  uses: { replication: replicationService, failover: failoverService, keyspace: keyspaceService },
  provides: { router: routerService },
  settings: settingsSchema,
  setup(context) {
    const { topology } = context.requires;
    context.holdRoom.maxCommands = context.settings.maxHeldCommands;
    context.holdRoom.maxBytes = parseByteSize(context.settings.maxHeldBytes) ?? 0;
    const { replication, failover, keyspace } = context.uses;
    const { dispatcher } = context;
    const scratch = new KeyReference();
    const { clock } = context.world;
    // One that was taken out may not have been sent the map that says so: its own has it as it was.
    const routesOf = (map: ClusterMap): Routes =>
      makeRoutes(map, { id: topology.self.id, start: topology.isMember ? context.node.runId : undefined });
    let routes = routesOf(topology.map);
    /** The shard that this node is in: a replica that moves to another one changes nobody's slots, and serves others itself. */
    let ownShard = topology.selfShard?.id;
    let movedCount = 0;
    let askedCount = 0;
    const follow = ({ map, delta }: MapChange): void => {
      const shard = topology.selfShard?.id;
      const isElsewhere = shard !== ownShard;
      ownShard = shard;
      // Most changes are about something else, and a table of all slots is not made in no time.
      if (delta === undefined || delta.changesSlots || delta.nodes.length > 0 || isElsewhere) routes = routesOf(map);
      // Whoever else hears of this map has heard of it by then.
      if (held.size > 0) clock.soon(retryHeld);
    };
    // With the table of another map it would serve what is not its own.
    context.on(context.hooks.mapChanged, context.vital(follow));

    // --- what waits for the end of a fence ---

    const held = new HeldCommands(context, {
      tooManyError: TOO_MANY_HELD_ERROR,
      downError: "CLUSTERDOWN The cluster is down: the slot is about to be another node's, and this node has no lease",
      // Whoever hands the shard over holds what clients want, and sends them to the next primary, which knows of the fence.
      withoutLease: () => (replication?.isHandingOver === true ? "pass" : "refuse"),
    });
    let heldCount = 0;
    /** Clients that have waited, and are asked anew: if they wait again it is for the same command. */
    const retried = new Set<Client>();
    const retryHeld = (): void => {
      for (const client of held.clients) retried.add(client);
      held.release();
      // After all of them.
      clock.soon(() => retried.clear());
    };
    const hold = (call: Call): Verdict | undefined => {
      const verdict = held.hold(call);
      if (verdict === Verdict.held && !retried.has(call.client)) heldCount += 1;
      return verdict;
    };

    /** Of a command without keys: a transaction with keys of a fenced slot, or a write to all slots. What is only queued waits with its transaction. */
    const concernsFence = (call: Call): boolean => {
      if (call.command.fullName !== "exec") return (call.command.bits & CommandBits.write) !== 0 && !isQueued(call);
      const { queuedSlot } = call.client;
      return queuedSlot === ALL_SLOTS || (queuedSlot !== NO_SLOT && routes.actionOfSlot[queuedSlot] === FENCED);
    };

    /** Its own primary has given the shard to this node. What is only queued (MULTI) waits for nothing. */
    const isHeld = ({ client, isNested }: Call, action: number): boolean =>
      action === routes.followed && failover?.isHeir === true && !isNested && client.intercept === undefined;

    /** Whether all keys are in a slot, of a command whose keys must be looked for. */
    const isOneSlot = ({ command, args }: Call, slot: number): boolean =>
      command.keysOf(args).every((index) => keySlot(args.bytes, args.start(index), args.end(index)) === slot);
    /** Whether it waits for a replica, or for a person: the map knows who holds the data beside the start of this node that did. */
    const lostError = (): string => {
      const { id = "", primary, inSync = [], eligible = [] } = topology.selfShard ?? {};
      const hasHolder = [...inSync, ...eligible].some((member) => member !== primary);
      const what = hasHolder
        ? "waits for a replica to take over"
        : `nobody else holds them: CLUSTER ACCEPT-LOSS ${id} goes on without`;
      return `CLUSTERDOWN The cluster is down: this node has restarted without the slot's data, and ${what}`;
    };
    const refuse = (call: Call, slot: number, action: number): Verdict => {
      if (action === UNASSIGNED) {
        call.reply.error("CLUSTERDOWN Hash slot not served");
      } else if (action === WAITING) {
        call.reply.error(
          topology.isMember
            ? "CLUSTERDOWN The cluster is down: this node waits to be admitted, or for the slot's last owner"
            : "CLUSTERDOWN This node was taken out of the cluster",
        );
      } else if (action === LOST) {
        call.reply.error(lostError());
      } else {
        movedCount += 1;
        call.reply.error(`MOVED ${slot} ${routes.addresses[action - MOVED] ?? ""}`);
      }
      return Verdict.rejected;
    };

    /** Adds a command's keys to what is known of them. */
    const look = (presence: Presence, command: Command | undefined, args: ArgumentList): void => {
      for (const index of command?.keysOf(args) ?? []) {
        keyspace?.refer(scratch, args.bytes, args.start(index), args.end(index));
        if (keyspace === undefined || keyspace.peek(scratch) === 0) presence.missing += 1;
        else presence.existing += 1;
        const name = scratch.toString();
        presence.first ??= name;
        if (name !== presence.first) presence.isSeveral = true;
      }
    };
    /** The slot of a transaction's keys; -1 if it has none, `undefined` if they are in several. */
    const slotOfAll = (queue: readonly ArgumentList[]): number | undefined => {
      let slot = -1;
      for (const args of queue) {
        for (const index of dispatcher.lookUp(args)?.keysOf(args) ?? []) {
          const own = keySlot(args.bytes, args.start(index), args.end(index));
          if (slot >= 0 && own !== slot) return undefined;
          slot = own;
        }
      }
      return slot;
    };
    /** Decides on keys of a slot that is moved key by key. `undefined`: they are served. */
    const decideOpen = (
      call: Call,
      slot: number,
      { part, action, askAt }: OpenRoute,
      { existing, missing, isSeveral }: Presence,
      isForTaker: boolean,
    ): Verdict | undefined => {
      const { client, reply } = call;
      if (part === "replica") {
        return missing === 0 && mayRead(client, call.command) ? undefined : refuse(call, slot, action);
      }
      if (part === "taker" && !client.isAsking && !isForTaker) return refuse(call, slot, action);
      if (missing === 0 || (part === "taker" && !isSeveral)) return undefined;
      if (part === "owner" && existing === 0) {
        askedCount += 1;
        reply.error(`ASK ${slot} ${askAt}`);
      } else reply.error(TRY_AGAIN_ERROR);
      // Which keys are here may yet be taken back.
      dispatcher.guard(call);
      return Verdict.rejected;
    };
    /** Whether a client reads from this node, a replica. */
    const mayRead = (client: Client, command: Command): boolean =>
      client.isReadOnly &&
      (command.bits & CommandBits.readonly) !== 0 &&
      replication?.position !== undefined &&
      !replication.isAheadOfMap &&
      !replication.isBehindMap;

    context.on(
      context.hooks.commandBefore,
      (call) => {
        const { command } = call;
        if (!call.hasKey) {
          if (routes.isReplica && (command.bits & CommandBits.write) !== 0) {
            call.reply.error(READ_ONLY_ERROR);
            return Verdict.rejected;
          }
          return routes.hasFences && concernsFence(call) ? hold(call) : undefined;
        }
        const { slot } = call.key;
        if (command.firstKey === 0 && !isOneSlot(call, slot)) {
          call.reply.error(CROSS_SLOT_ERROR);
          return Verdict.rejected;
        }
        const last = command.firstKey === 0 ? -1 : command.lastKeyOf(call.count);
        for (let index = command.firstKey + command.keyStep; index <= last; index += command.keyStep) {
          if (keySlot(call.bytes, call.start(index), call.end(index)) !== slot) {
            call.reply.error(CROSS_SLOT_ERROR);
            return Verdict.rejected;
          }
        }
        if (routes.servesAll) return undefined;
        const action = routes.actionOfSlot[slot] as number;
        if (action === SERVE) return undefined;
        if (action === FENCED) return isQueued(call) ? undefined : hold(call);
        if (action === routes.followed && mayRead(call.client, command)) return undefined;
        const open = action === OPEN ? routes.open.get(slot) : undefined;
        if (isHeld(call, open?.action ?? action)) return failover?.holdForHeir(call);
        if (open !== undefined) {
          if (command.fullName === MIGRATE && open.part !== "replica") return undefined;
          const presence = newPresence();
          look(presence, command, call.args);
          return decideOpen(call, slot, open, presence, (command.bits & CommandBits.asking) !== 0);
        }
        return refuse(call, slot, action);
      },
      { order: "pre" },
    );
    context.on(context.hooks.info, () => ({
      section: "stats",
      fields: {
        moved_redirects: movedCount,
        // Now, and since the start.
        fence_waiting_commands: held.size,
        fence_waiting_bytes: held.bytes,
        fence_waited_commands: heldCount,
        fence_refused_commands: held.refusedCount,
      },
    }));
    context.parameter({ name: "cluster-enabled", get: () => "yes" });
    context.on(context.hooks.statisticsReset, () => {
      movedCount = 0;
      heldCount = 0;
      held.refusedCount = 0;
      askedCount = 0;
    });
    return {
      router: {
        refusesTransaction(call, queue) {
          const slot = slotOfAll(queue);
          if (slot === undefined) {
            call.reply.error(CROSS_SLOT_ERROR);
            return true;
          }
          const open = routes.actionOfSlot[slot] === OPEN ? routes.open.get(slot) : undefined;
          // What is refused for a command by itself is not looked at here.
          if (open === undefined || open.part === "replica") return false;
          const presence = newPresence();
          for (const args of queue) look(presence, dispatcher.lookUp(args), args);
          return decideOpen(call, slot, open, presence, false) !== undefined;
        },
        get movedCount() {
          return movedCount;
        },
        get askedCount() {
          return askedCount;
        },
        get heldCount() {
          return heldCount;
        },
      },
    };
  },
});

/** Between MULTI and EXEC commands are only queued. */
function isQueued({ client, command }: Call): boolean {
  return client.intercept !== undefined && command.fullName !== "exec";
}
