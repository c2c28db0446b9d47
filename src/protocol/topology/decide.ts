/**
 * What the leader makes of requests for changes of the cluster map: records, or a rejection with its reason. Pure; sees the state that the leader's whole
 * log gives, committed or not, so that two requests cannot both be granted what only one can have.
 *
 * Reasons of commands are in Redis' words, where Redis has words for them: clients and redis-cli read them.
 */
import { NEWEST_VERSION } from "../../codec/link-codec.ts";
import type {
  DecidedOn,
  NodeRecord,
  ShardId,
  ShardRecord,
  SlotRange,
  TopologyRequest,
} from "../../contracts/topology.ts";
import { canonicalRanges, intersectRanges, subtractRanges } from "../slot-ranges.ts";
import { closeSlot, giveSlot, markSlot, swapSlot, takesIn, unmarkSlot } from "./decide-open-slots.ts";
import { STALE, type TopologyDecision, problemOfSlots, records, rejection } from "./decision.ts";
import { changeMigration, problemOfMoving, startMigration } from "./migrations.ts";
import { shardForReplica } from "./placement.ts";
import type { TopologyRecord } from "./records.ts";
import { type TopologyState, applyAct, hasLostData, highestEpoch, minInSyncOf } from "./state.ts";

/** An id for the shard that a node begins with, from a text that begins with the node's id. The same on every node. */
export type ShardIdOf = (text: string) => ShardId;

/** What a setting of the whole cluster takes. */
export interface ClusterSetting {
  readonly pattern: RegExp;
  readonly maxLength: number;
  /** The same in words. */
  readonly wants: string;
}

/** One of some words. */
function words(...some: readonly string[]): ClusterSetting {
  return { pattern: new RegExp(`^(${some.join("|")})$`), maxLength: 64, wants: some.join(" or ") };
}

const WEIGHT = String.raw`[^\s=,]{1,64}=[0-9]{1,3}([.][0-9]{1,3})?`;

/** Settings of the whole cluster, by name. */
export const CLUSTER_SETTINGS: ReadonlyMap<string, ClusterSetting> = new Map([
  ["min-in-sync", { pattern: /^[1-9][0-9]?$/, maxLength: 2, wants: "a whole number from 1 to 99" }],
  ["acks", words("in-sync", "primary")],
  ["on-loss", words("stop", "accept")],
  ["replica-migration", words("yes", "no")],
  ["partition-policy", words("deny", "allow-reads")],
  ["auto-rebalance", words("off", "slots", "keys", "bytes", "load")],
  [
    "auto-rebalance-weights",
    {
      pattern: new RegExp(`^(none|${WEIGHT}(,${WEIGHT})*)$`),
      maxLength: 1000,
      wants: "none, or shards by a name or an id, each with its part, such as a=2,b=0",
    },
  ],
  // What all nodes speak, so that nobody uses what some do not have yet: at most what this program speaks.
  ["feature-level", words(...Array.from({ length: NEWEST_VERSION }, (_, at) => String(at + 1)))],
]);

/** What counts where the map does not say. */
export const SETTING_DEFAULTS: ReadonlyMap<string, string> = new Map([
  ["min-in-sync", "1"],
  ["acks", "in-sync"],
  ["on-loss", "stop"],
  ["replica-migration", "yes"],
  ["partition-policy", "deny"],
  ["auto-rebalance", "off"],
  ["auto-rebalance-weights", "none"],
  ["feature-level", "1"],
]);

/** Why there is no such setting of the whole cluster, or it does not take this value; `undefined`: it does. */
export function problemOfSetting(name: string, value: string): string | undefined {
  const setting = CLUSTER_SETTINGS.get(name);
  if (setting === undefined)
    return `there is no cluster setting "${name.slice(0, 64)}"; there are ${[...CLUSTER_SETTINGS.keys()].join(", ")}`;
  const { pattern, maxLength, wants } = setting;
  return value.length <= maxLength && pattern.test(value) ? undefined : `cluster setting "${name}" wants ${wants}`;
}

/** A name that has two parts in weights, such as `a=2,b=0,a=1`. */
function namedTwice(weights: string): string | undefined {
  const names = weights.split(",").map((part) => part.split("=")[0] ?? "");
  return names.find((name, at) => names.indexOf(name) < at);
}

/**
 * Decides one request.
 *
 * @param shardIdOf Names the shards of nodes that come in.
 * @param term Of the leader that decides; `undefined` where nobody leads.
 */
export function decideRequest(
  state: TopologyState,
  request: TopologyRequest,
  shardIdOf: ShardIdOf,
  term?: number,
): TopologyDecision {
  if (state.seal !== undefined && !isForSealed(state, request)) {
    return rejection(
      `ERR this node is about to be part of cluster ${state.seal.clusterId} (by way of ${state.seal.host}, port ${state.seal.port}): nothing changes until that is settled (if that cluster is gone for good: CLUSTER ABANDONJOIN)`,
    );
  }
  switch (request.type) {
    case "register-node":
      return registerNode(state, request, shardIdOf);
    case "remove-node":
      return removeNode(state, request, shardIdOf);
    case "merge-node":
      return mergeNode(state, request, shardIdOf);
    case "seal":
      return state.nodes.size === 1
        ? records({ type: "sealed", seal: request.seal })
        : rejection("ERR only a cluster of one node becomes part of another");
    case "unseal":
      return state.seal?.joinId === request.joinId
        ? records({ type: "unsealed", joinId: request.joinId })
        : rejection(`ERR this node is not joining as ${request.joinId}`);
    case "lift-tombstone":
      return state.tombstones.has(request.node) ? records({ type: "tombstone-lifted", node: request.node }) : records();
    case "assign-slots":
      return assignSlots(state, request);
    case "release-slots":
      return releaseSlots(state, request.slots, request.decidedOn);
    case "flush-slots": {
      const shard = shardOf(state, request.node);
      if (shard?.primary !== request.node || shard.slots.length === 0) return records();
      return releaseSlots(state, shard.slots);
    }
    case "acknowledge-releases":
      return state.releases.some(({ node, version }) => node === request.node && version <= request.version)
        ? records({ type: "release-acknowledged", node: request.node, version: request.version })
        : records();
    case "bump-epoch":
      return bumpEpoch(state, request.node);
    case "set-epoch": {
      const shard = shardOf(state, request.node);
      if (shard?.primary !== request.node) return rejection("ERR Please use SET-CONFIG-EPOCH only with masters.");
      if (state.nodes.size > 1) {
        return rejection("ERR The user can assign a config epoch only when the node does not know any other node.");
      }
      if (shard.primaryEpoch !== 0) return rejection("ERR Node config epoch is already non-zero");
      return records({ type: "epoch-changed", shard: shard.id, epoch: request.epoch });
    }
    case "add-replica":
      return withShard(state, request, (shard) => addReplica(state, shard, request));
    case "place-replica":
      return placeReplica(state, request);
    case "remove-replica":
      return withShard(state, request, (shard) => {
        if (!shard.replicas.includes(request.node)) return rejection(`ERR node ${request.node} is no replica there`);
        const problem = problemOfLeaving(state, shard, request.node);
        if (problem !== undefined) return rejection(problem);
        return records(
          { type: "replica-removed", shard: shard.id, node: request.node },
          newShard(state, request.node, shardIdOf),
        );
      });
    case "change-in-sync":
      return withShard(state, request, (shard) => changeInSync(state, shard, request));
    case "promote":
      return withShard(state, request, (shard) => {
        if (![...shard.inSync, ...shard.eligible].includes(request.node) || shard.primary === request.node) {
          return rejection(`ERR node ${request.node} is neither in sync nor eligible in that shard`);
        }
        const promoted = { type: "primary-promoted", shard: shard.id, node: request.node } as const;
        const epoch = highestEpoch(state) + 1;
        if (request.leaderTerm === undefined) return records({ ...promoted, epoch });
        return ofAnotherTerm(request.leaderTerm, term) ?? records({ ...promoted, epoch, isLeaseOver: true });
      });
    case "keep-primary":
      return withShard(state, request, (shard) => records({ type: "primary-kept", shard: shard.id }));
    case "accept-loss":
      return withShard(state, request, (shard) => acceptLoss(state, shard, request, term));
    case "start-migration":
      return startMigration(state, request);
    case "fence-migration":
    case "unfence-migration":
    case "complete-migration":
    case "allow-completion":
    case "abort-migration":
    case "pause-migration":
      return changeMigration(state, request);
    case "mark-slot":
      return markSlot(state, request);
    case "unmark-slot":
      return withShard(state, request, (shard) => unmarkSlot(state, shard, request));
    case "close-slot":
      return closeSlot(state, request.slot);
    case "give-slot": {
      const { from } = request;
      if (from === undefined) return giveSlot(state, undefined, request);
      return withShard(state, from, (shard) => giveSlot(state, shard, request));
    }
    case "swap-slot":
      return withShard(state, request, (shard) => swapSlot(state, shard, request));
    case "change-setting": {
      const problem = problemOfSetting(request.name, request.value);
      if (problem !== undefined) return rejection(`ERR ${problem}`);
      const twice = request.name === "auto-rebalance-weights" ? namedTwice(request.value) : undefined;
      if (twice !== undefined) {
        return rejection(`ERR cluster setting "${request.name}" has more than one weight for ${twice}`);
      }
      if (request.name === "feature-level") {
        const lacking = [...state.nodes.values()].find((node) => !hasLevel(node, Number(request.value)));
        if (lacking !== undefined) return rejection(`ERR ${lackText(lacking, Number(request.value))}`);
      }
      return records({ type: "setting-changed", name: request.name, value: request.value });
    }
    case "all":
      return decideAll(state, request.requests, shardIdOf, term);
    default:
      // It came from another node, perhaps of a later version: what nobody knows must not come into the log as whatever it looks like.
      request satisfies never;
      return rejection("ERR this version of bunch knows no such request");
  }
}

/**
 * Each is decided on what the ones before it came to; one that is rejected takes all with it. Who asks knows the versions of shards before all of them, and
 * no others: these count throughout.
 */
function decideAll(
  state: TopologyState,
  requests: readonly TopologyRequest[],
  shardIdOf: ShardIdOf,
  term?: number,
): TopologyDecision {
  const all: TopologyRecord[] = [];
  const outcome: string[] = [];
  let after = state;
  for (const each of requests) {
    const decision = decideRequest(after, each, shardIdOf, term);
    if ("rejection" in decision) return decision;
    all.push(...decision.records);
    outcome.push(...decision.outcome);
    const act = { requestId: "", cause: "", timeMs: 0, records: decision.records, outcome: [] };
    const next = applyAct(after, state.version + 1, act);
    const shards = new Map<ShardId, ShardRecord>();
    for (const [id, shard] of next.shards) {
      shards.set(id, { ...shard, version: state.shards.get(id)?.version ?? shard.version });
    }
    after = { ...next, version: state.version, shards };
  }
  return { records: all, outcome };
}

function registerNode(
  state: TopologyState,
  { node }: Extract<TopologyRequest, { type: "register-node" }>,
  shardIdOf: ShardIdOf,
): TopologyDecision {
  if (state.tombstones.has(node.id)) {
    return rejection(`ERR node ${node.id} was removed from the cluster; CLUSTER RESET makes it a new one`);
  }
  const known = state.nodes.get(node.id);
  if (known?.start === node.start) {
    const { incarnation: _, ...same } = known;
    if (JSON.stringify(same) === JSON.stringify(node)) return records();
  }
  const level = Number(state.settings.get("feature-level") ?? FIRST_LEVEL);
  if (!hasLevel(node, level)) return rejection(`ERR ${lackText(node, level)}`);
  const predecessor = predecessorAt(state, node, shardIdOf);
  if ("rejection" in predecessor) return predecessor;
  const admitted: readonly TopologyRecord[] = [...predecessor.records, { type: "node-admitted", node }];
  const shard = shardOf(state, node.id);
  if (node.role === "witness") {
    return shard === undefined
      ? records(...admitted)
      : rejection(
          `ERR node ${node.name || node.id} holds data here, and a witness holds none; CLUSTER RESET makes it a new one`,
        );
  }
  return shard === undefined ? records(...admitted, newShard(state, node.id, shardIdOf)) : records(...admitted);
}

/** Of a cluster in which nobody has set one, and of a node that does not say what it has. */
const FIRST_LEVEL = 1;

type Featured = Pick<NodeRecord, "id" | "name" | "features">;

/** Whether a node's program has what a feature level of the cluster stands for. */
function hasLevel({ features }: Featured, level: number): boolean {
  return level >= (features?.oldest ?? FIRST_LEVEL) && level <= (features?.newest ?? FIRST_LEVEL);
}

function lackText({ id, name, features }: Featured, level: number): string {
  const { oldest, newest } = features ?? { oldest: FIRST_LEVEL, newest: FIRST_LEVEL };
  return `node ${name || id} has feature levels ${oldest} to ${newest}, and not the cluster's, ${level}: give it a version of bunch that has that, or take it out`;
}

/**
 * What becomes of another node at a node's address: it is not there any more, so it goes, if nothing is lost with it. That is how a node without a name or a
 * data directory, which is another one after each start, leaves nothing of the one that it was but a tombstone.
 */
function predecessorAt(
  state: TopologyState,
  node: Omit<NodeRecord, "incarnation">,
  shardIdOf: ShardIdOf,
): TopologyDecision {
  const { host, port, id } = node;
  const other = [...state.nodes.values()].find((each) => each.id !== id && each.host === host && each.port === port);
  // A port of 0 is one that is not known yet.
  if (other === undefined || port === 0) return records();
  const isSamePlace = other.busHost === node.busHost && other.busPort === node.busPort && other.name === "";
  const removal = removeNode(state, { type: "remove-node", node: other.id, by: id }, shardIdOf);
  if (isSamePlace && !("rejection" in removal)) return removal;
  const lost = shardOf(state, other.id);
  if (isSamePlace && lost?.primary === other.id && lost.slots.length > 0) {
    // To give them to the new one would say that they are empty: that is for a person to say.
    const ranges = lost.slots.map(({ first, last }) => `${first} ${last}`).join(" ");
    return rejection(
      `ERR node ${other.id}, which was at ${host}:${port} before, owns slots, and has no name by which it could come back: unless it has a data directory, what it held is lost. CLUSTER DELSLOTSRANGE ${ranges} on another node gives that up; then this node takes its place, without slots, and CLUSTER ADDSLOTSRANGE gives it some. A node with a --name comes back as itself`,
    );
  }
  return rejection(`ERR node ${other.name || other.id} has the address ${host}:${port} already`);
}

/** What happens to a sealed map: its node starts again, and the join is settled. */
function isForSealed(state: TopologyState, request: TopologyRequest): boolean {
  switch (request.type) {
    case "register-node":
      return state.nodes.has(request.node.id);
    case "acknowledge-releases":
    case "unseal":
    case "all":
      return true;
    default:
      return false;
  }
}

/** A node comes in from a cluster of its own, with the slots that it had there: all of them, or not at all. */
function mergeNode(
  state: TopologyState,
  { node, slots }: Extract<TopologyRequest, { type: "merge-node" }>,
  shardIdOf: ShardIdOf,
): TopologyDecision {
  const name = node.name || node.id;
  if (slots.length > 0) {
    const problem = problemOfSlots(slots);
    if (problem !== undefined) return rejection(problem);
    if (state.nodes.has(node.id) && subtractRanges(slots, shardOf(state, node.id)?.slots ?? []).length > 0) {
      return rejection(`ERR node ${name} is in this cluster already, with other slots than it brings`);
    }
    for (const shard of state.shards.values()) {
      const [busy] = shard.primary === node.id ? [] : intersectRanges(slots, shard.slots);
      if (busy === undefined) continue;
      const owner = state.nodes.get(shard.primary)?.name || shard.primary;
      return rejection(
        `ERR slot ${busy.first} is owned by node ${owner} here, and by node ${name}, which would bring it`,
      );
    }
  }
  const lifted: readonly TopologyRecord[] = state.tombstones.has(node.id)
    ? [{ type: "tombstone-lifted", node: node.id }]
    : [];
  const requests: TopologyRequest[] = [{ type: "register-node", node }];
  if (slots.length > 0 && !state.nodes.has(node.id)) requests.push({ type: "assign-slots", node: node.id, slots });
  const act = { requestId: "", cause: "", timeMs: 0, records: lifted, outcome: [] };
  const decision = decideAll(applyAct(state, state.version + 1, act), requests, shardIdOf);
  return "rejection" in decision ? decision : records(...lifted, ...decision.records);
}

/**
 * A shard for a node that is in none. The shard that it began with may live on without it, under another primary: an id that is taken is not given
 * again.
 */
function newShard(state: TopologyState, node: string, shardIdOf: ShardIdOf, wasEmptied?: true): TopologyRecord {
  let shard = shardIdOf(node);
  for (let attempt = 2; state.shards.has(shard); attempt += 1) shard = shardIdOf(`${node} ${attempt}`);
  return { type: "shard-created", shard, primary: node, epoch: 0, ...(wasEmptied === true ? { wasEmptied } : {}) };
}

/** A migration that moves slots to a shard. */
function migrationTo(state: TopologyState, shard: ShardId): string | undefined {
  for (const { id, target } of state.migrations.values()) if (target === shard) return id;
  return undefined;
}

function removeNode(
  state: TopologyState,
  { node: id, by }: Extract<TopologyRequest, { type: "remove-node" }>,
  shardIdOf: ShardIdOf,
): TopologyDecision {
  const node = state.nodes.get(id);
  // Somebody else has taken it out already: redis-cli asks every node to forget it.
  if (node === undefined && state.tombstones.has(id)) return records();
  if (node === undefined) return rejection(`ERR Unknown node ${id}`);
  const shard = shardOf(state, id);
  if (shard === undefined) return records({ type: "node-removed", node: id });
  if (shard.primary !== id) {
    const problem = problemOfLeaving(state, shard, id);
    if (problem !== undefined) return rejection(problem);
    return records({ type: "replica-removed", shard: shard.id, node: id }, { type: "node-removed", node: id });
  }
  if (by !== undefined && shard.replicas.includes(by)) return rejection("ERR Can't forget my master!");
  if (shard.slots.length > 0) {
    return rejection(
      `ERR node ${node.name || id} owns slots ${shard.slots.map(({ first, last }) => `${first}-${last}`).join(" ")}: move them to another node first`,
    );
  }
  const gains = migrationTo(state, shard.id);
  if (gains !== undefined)
    return rejection(`ERR migration ${gains} moves slots to node ${node.name || id}: abort it first`);
  const taken = takesIn(state, shard.id);
  // The one itself says that it holds nothing.
  if (taken !== undefined && by !== id) {
    return rejection(
      `ERR node ${node.name || id} takes in keys of slot ${taken}: end that first (CLUSTER SETSLOT ${taken} STABLE, or STABLE FORCE if it is gone)`,
    );
  }
  // A shard without slots holds nothing: its replicas are primaries without slots from here on. redis-cli has some nodes forget a primary before it gives the
  // replicas to others. Those of one that was emptied have not just come: they get no slots by themselves either.
  return records(
    ...shard.replicas.map((replica) => ({ type: "replica-removed", shard: shard.id, node: replica }) as const),
    { type: "shard-removed", shard: shard.id },
    ...shard.replicas.map((replica) => newShard(state, replica, shardIdOf, shard.wasEmptied)),
    { type: "node-removed", node: id },
  );
}

function assignSlots(
  state: TopologyState,
  { node: id, slots, decidedOn }: Extract<TopologyRequest, { type: "assign-slots" }>,
): TopologyDecision {
  const shard = shardOf(state, id);
  if (shard === undefined) return rejection(`ERR Unknown node ${id}`);
  const stale = staleness(shard, decidedOn);
  if (stale !== undefined) return stale;
  if (shard.primary !== id) return rejection("ERR Please use SETSLOT only with masters.");
  const problem = problemOfSlots(slots);
  if (problem !== undefined) return rejection(problem);
  const owned = ownedSlots(state);
  // The first one in the order in which they were asked for, as in Redis.
  const [busy] = slots.flatMap((range) => intersectRanges([range], owned));
  if (busy !== undefined) return rejection(`ERR Slot ${busy.first} is already busy`);
  const assigned: TopologyRecord = { type: "slots-assigned", shard: shard.id, slots: canonicalRanges(slots) };
  // A primary that begins to own slots has an epoch of its own.
  return shard.primaryEpoch > 0
    ? records(assigned)
    : records(assigned, { type: "epoch-changed", shard: shard.id, epoch: highestEpoch(state) + 1 });
}

function releaseSlots(state: TopologyState, slots: readonly SlotRange[], decidedOn?: DecidedOn): TopologyDecision {
  const problem = problemOfSlots(slots);
  if (problem !== undefined) return rejection(problem);
  const ranges = canonicalRanges(slots);
  for (const shard of state.shards.values()) {
    const stale = intersectRanges(ranges, shard.slots).length > 0 ? staleness(shard, decidedOn) : undefined;
    if (stale !== undefined) return stale;
  }
  const [free] = subtractRanges(slots, ownedSlots(state));
  if (free !== undefined) return rejection(`ERR Slot ${free.first} is already unassigned`);
  const moving = problemOfMoving(state, ranges);
  if (moving !== undefined) return rejection(moving);
  return records({ type: "slots-released", slots: ranges });
}

function bumpEpoch(state: TopologyState, node: string): TopologyDecision {
  const shard = shardOf(state, node);
  if (shard === undefined) return rejection(`ERR Unknown node ${node}`);
  const highest = highestEpoch(state);
  const isAlone = [...state.shards.values()].filter((each) => each.primaryEpoch === highest).length === 1;
  if (shard.primaryEpoch === highest && highest > 0 && isAlone) {
    return { records: [], outcome: [`STILL ${highest}`] };
  }
  const epoch = highest + 1;
  return { records: [{ type: "epoch-changed", shard: shard.id, epoch }], outcome: [`BUMPED ${epoch}`] };
}

/** A node that holds nothing becomes a replica, or a replica one of another shard. */
function addReplica(
  state: TopologyState,
  shard: ShardRecord,
  { node: id, decidedOn }: Pick<Extract<TopologyRequest, { type: "add-replica" }>, "node" | "decidedOn">,
): TopologyDecision {
  const node = state.nodes.get(id);
  if (node === undefined) return rejection(`ERR Unknown node ${id}`);
  if (node.role === "witness") return rejection(`ERR node ${node.name} is a witness: it holds no data`);
  const former = shardOf(state, id);
  if (former?.id === shard.id) return rejection(`ERR node ${node.name} is in that shard already`);
  const stale = former === undefined ? undefined : staleness(former, decidedOn);
  if (stale !== undefined) return stale;
  const leave: TopologyRecord[] = [];
  if (former?.primary === id) {
    if (former.slots.length > 0 || former.replicas.length > 0) {
      return rejection("ERR To set a master the node must be empty and without assigned slots.");
    }
    const gains = migrationTo(state, former.id);
    if (gains !== undefined) return rejection(`ERR migration ${gains} moves slots to node ${node.name}`);
    leave.push({ type: "shard-removed", shard: former.id });
  } else if (former !== undefined) {
    const problem = problemOfLeaving(state, former, id);
    if (problem !== undefined) return rejection(problem);
    leave.push({ type: "replica-removed", shard: former.id, node: id });
  }
  return records(...leave, { type: "replica-added", shard: shard.id, node: id });
}

/** Decided here, on the leader's whole log: two nodes that come in at once are each placed with regard to the other. */
function placeReplica(
  state: TopologyState,
  { node, of }: Extract<TopologyRequest, { type: "place-replica" }>,
): TopologyDecision {
  if (!state.nodes.has(node)) return rejection(`ERR Unknown node ${node}`);
  // Word of it may not have come back: it is not moved on, to where there are fewer by now.
  if (shardOf(state, node)?.replicas.includes(node) === true) return records();
  if (of === "auto") {
    const best = shardForReplica(state, node);
    return best === undefined
      ? rejection("ERR there is no shard with slots that it could be a replica of")
      : addReplica(state, best, { node });
  }
  const named = [...state.nodes.values()].find(({ id, name }) => id === of || name === of);
  const shard = state.shards.get(of) ?? (named === undefined ? undefined : shardOf(state, named.id));
  if (shard === undefined) {
    return rejection(
      named === undefined
        ? `ERR no shard has the id "${of.slice(0, 64)}", and no node that id or name`
        : `ERR node ${named.name || named.id} is in no shard`,
    );
  }
  if (shard.primary === node) return rejection(`ERR node ${of.slice(0, 64)} is in this node's own shard`);
  const decision = addReplica(state, shard, { node });
  // Its primary may be about to be a replica itself, and could not any more once it has one. But where shards that join get slots by themselves, they get none before
  // they have as many copies as those that give.
  const isToHaveSlots = (state.settings.get("auto-rebalance") ?? "off") !== "off" && shard.wasEmptied !== true;
  return "rejection" in decision || shard.slots.length > 0 || isToHaveSlots
    ? decision
    : rejection(`ERR the shard of ${of.slice(0, 64)} has no slots yet`);
}

/** The primary has lost the shard's data: whoever holds them stays. */
function problemOfLeaving(state: TopologyState, shard: ShardRecord, replica: string): string | undefined {
  const isHolder = shard.inSync.includes(replica) || shard.eligible.includes(replica);
  return isHolder && hasLostData(state, shard)
    ? `ERR node ${replica} holds the data of shard ${shard.id}, which its primary has lost: promote it first`
    : undefined;
}

/**
 * The sets change if
 * 1. they hold members of the shard, each once, and the primary is in sync;
 * 2. the primary holds the shard's data: one that has lost them knows of nobody who has caught up;
 * 3. who becomes eligible leaves the in-sync set and so brings it below its minimum: from then on nothing is acknowledged that it lacks.
 *
 * That a member is in them as the start that caught up needs no look: another start of it would have given the shard another version.
 */
function changeInSync(
  state: TopologyState,
  shard: ShardRecord,
  { inSync, eligible }: Extract<TopologyRequest, { type: "change-in-sync" }>,
): TopologyDecision {
  const members = new Set([shard.primary, ...shard.replicas]);
  const isMembers = [...inSync, ...eligible].every((id) => members.has(id));
  const isApart = new Set([...inSync, ...eligible]).size === inSync.length + eligible.length;
  if (!isMembers || !isApart || !inSync.includes(shard.primary)) {
    return rejection("ERR the sets hold members of the shard, each once, and the primary is in sync");
  }
  if (hasLostData(state, shard)) {
    return rejection(`ERR the primary of shard ${shard.id} has restarted and lost its data: promote another member`);
  }
  const isBelow = inSync.length < minInSyncOf(state);
  const stranger = eligible.find((id) => !shard.eligible.includes(id) && !(shard.inSync.includes(id) && isBelow));
  if (stranger !== undefined) {
    return rejection(`ERR node ${stranger} does not hold every acknowledged write, or will not for long`);
  }
  return records({ type: "in-sync-changed", shard: shard.id, inSync, eligible });
}

/**
 * Any member may go on with what it has, and a primary that restarted with nothing. That no holder of the data is there is for the leader to know, which hears of
 * the nodes; the map knows only that a primary which holds the data is one.
 */
function acceptLoss(
  state: TopologyState,
  shard: ShardRecord,
  { node, leaderTerm }: Extract<TopologyRequest, { type: "accept-loss" }>,
  term: number | undefined,
): TopologyDecision {
  if (shard.primary !== node && !shard.replicas.includes(node)) {
    return rejection(`ERR node ${node} is no member of shard ${shard.id}`);
  }
  if (shard.primary === node && !hasLostData(state, shard)) {
    return rejection(`ERR node ${node} is the primary of shard ${shard.id}, and holds its data`);
  }
  const epoch = highestEpoch(state) + 1;
  return ofAnotherTerm(leaderTerm, term) ?? records({ type: "loss-accepted", shard: shard.id, node, epoch });
}

/** The rejection of what another leader has decided on the leases that it knew of: see `LeaderTerm`. */
function ofAnotherTerm(leaderTerm: number, term: number | undefined): TopologyDecision | undefined {
  if (leaderTerm === term) return undefined;
  return rejection(`${STALE}the leader of term ${leaderTerm} decided it, and leases may have been granted since`);
}

/** Decides on a shard, if the request was made on its present version: else what it was made on is no more. */
function withShard(
  state: TopologyState,
  request: { readonly shard: ShardId; readonly shardVersion: number },
  decide: (shard: ShardRecord) => TopologyDecision,
): TopologyDecision {
  const shard = state.shards.get(request.shard);
  if (shard === undefined) return rejection(`ERR there is no shard ${request.shard}`);
  return staleness(shard, { [shard.id]: request.shardVersion }) ?? decide(shard);
}

/** The rejection of what was decided on another version of a shard than there is. */
function staleness(shard: ShardRecord, decidedOn: DecidedOn | undefined): TopologyDecision | undefined {
  if (decidedOn === undefined || decidedOn[shard.id] === shard.version) return undefined;
  const seen = decidedOn[shard.id];
  return rejection(
    `${STALE}shard ${shard.id} is at version ${shard.version}, and this was decided ${seen === undefined ? "without it" : `on ${seen}`}`,
  );
}

function shardOf(state: TopologyState, node: string): ShardRecord | undefined {
  for (const shard of state.shards.values()) {
    if (shard.primary === node || shard.replicas.includes(node)) return shard;
  }
  return undefined;
}

/** In order. */
function ownedSlots(state: TopologyState): readonly SlotRange[] {
  return canonicalRanges([...state.shards.values()].flatMap((shard) => shard.slots));
}
