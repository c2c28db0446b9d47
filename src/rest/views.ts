/** What REST tells of the cluster: made of what this node knows, changing nothing. */
import { type ClusterView, countSlots } from "../cluster-view.ts";
import { SLOT_COUNT } from "../codec/slot.ts";
import type { Consensus } from "../contracts/consensus.ts";
import type { HealthCheck } from "../contracts/health.ts";
import type { MembershipService } from "../contracts/membership.ts";
import type { MigrationStatus } from "../contracts/migration.ts";
import type { NodeId, NodeRecord, OpenSlot, ShardRecord, SlotRange, Topology } from "../contracts/topology.ts";
import { reasonInWords } from "../member-words.ts";
import { formatAddress } from "../net-address.ts";
import { majorityOf } from "../protocol/raft/quorum.ts";
import { isGone } from "../shard-serving.ts";
import type { CheckView, Info, MigrationView, NodeDetail, NodeView, ShardView } from "./schemas.ts";

/** Where views are read from. */
export interface ViewSources {
  readonly topology: Topology;
  readonly view: ClusterView;
  readonly consensus: Consensus | undefined;
  readonly membership: MembershipService | undefined;
  /** This node routes by slots. */
  readonly isCluster: boolean;
}

/** `GET /cluster/info`. */
export function infoOf({ topology, view, consensus, membership, isCluster }: ViewSources): Info {
  const { map, self } = topology;
  const { assigned } = view.slotSums();
  const failures = view.failures().map(({ reason }) => reason);
  const degradations = view.degradations();
  const reasons = [...failures, ...degradations];
  // An election takes a second, and nothing else is amiss meanwhile.
  const leaderless = reasons.length === 0 ? undefined : whyNoLeader({ topology, consensus, membership });
  return {
    cluster_enabled: isCluster,
    cluster_id: map.clusterId,
    state: failures.length > 0 ? "fail" : degradations.length > 0 ? "degraded" : "ok",
    reasons: leaderless === undefined ? reasons : [leaderless, ...reasons],
    slot_assignment: assigned === SLOT_COUNT ? "complete" : "incomplete",
    slots: { assigned, total: SLOT_COUNT, coverage: coverageOf(assigned) },
    nodes: { count: map.nodes.length, my_node_id: self.id },
    shards: { count: map.shards.length, with_slots: map.shards.filter(({ slots }) => slots.length > 0).length },
    leader: heardLeader(consensus) ?? null,
    term: consensus?.status.term ?? 0,
    map_version: map.version,
  };
}

/** Who leads the log of the cluster map, as long as this node hears it: of one that is gone nobody says that it leads. */
export function heardLeader(consensus: Consensus | undefined): NodeId | undefined {
  return consensus?.status.hearsLeader === true ? consensus.status.leader : undefined;
}

/** Why nothing about the cluster can change, which most other reasons follow from; `undefined`: a leader is heard, or this node is in no cluster. */
export function whyNoLeader({
  topology,
  consensus,
  membership,
}: Pick<ViewSources, "topology" | "consensus" | "membership">): string | undefined {
  if (consensus === undefined || topology.map.version === 0) return undefined;
  const { isOut, members } = consensus.status;
  const voters = members.filter(({ isVoter }) => isVoter).map(({ nodeId }) => nodeId);
  if (isOut || voters.length === 0 || heardLeader(consensus) !== undefined) return undefined;
  const silent = voters.filter((id) => id !== topology.self.id && isGone(membership?.member(id)));
  const answering = voters.length - silent.length;
  const majority = majorityOf(voters.length);
  if (answering >= majority)
    return "no leader of the cluster map is heard: nothing about the cluster can change until one is";
  const names = silent.map((id) => topology.node(id)?.name || id).join(", ");
  return `the majority is lost: ${answering} of ${voters.length} voters ${answering === 1 ? "answers" : "answer"}, and ${majority} must (${names} ${silent.length === 1 ? "does" : "do"} not); nothing about the cluster can change, and no primary serves without a lease`;
}

/** In percent, with two digits behind the point. Never rounded up: 100 is all. */
function coverageOf(assigned: number): number {
  return Math.floor((assigned * 10_000) / SLOT_COUNT) / 100;
}

export function rangesOf(slots: readonly SlotRange[]): { start: number; end: number; count: number }[] {
  return slots.map(({ first, last }) => ({ start: first, end: last, count: last - first + 1 }));
}

function shardOf(topology: Topology, id: NodeId): ShardRecord | undefined {
  return topology.map.shards.find(({ primary, replicas }) => primary === id || replicas.includes(id));
}

function stateOf({ topology, membership }: ViewSources, id: NodeId): NodeView["state"] {
  if (id === topology.self.id || membership === undefined) return "alive";
  return membership.member(id)?.state ?? "unknown";
}

/** A node as lists have it. */
export function nodeView(sources: ViewSources, listed: NodeRecord): NodeView {
  const { topology, consensus } = sources;
  const node = listed.id === topology.self.id ? topology.self : listed;
  const { id, name, host, port, httpHost, httpPort, role, zone } = node;
  const shard = shardOf(topology, id);
  const isReplica = shard !== undefined && shard.primary !== id;
  return {
    id,
    name,
    address: formatAddress({ host, port }),
    http_address: httpPort === 0 ? null : formatAddress({ host: httpHost, port: httpPort }),
    state: stateOf(sources, id),
    slot_count: isReplica ? 0 : countSlots(shard?.slots ?? []),
    is_master: shard?.primary === id,
    is_replica: isReplica,
    is_myself: id === topology.self.id,
    is_leader: heardLeader(consensus) === id,
    is_voter: consensus?.status.members.some(({ nodeId, isVoter }) => nodeId === id && isVoter) ?? false,
    role,
    zone,
    shard_id: shard?.id ?? null,
    master_id: isReplica ? shard.primary : null,
  };
}

/** A node with all that is known of it. */
export function nodeDetail(sources: ViewSources, listed: NodeRecord): NodeDetail {
  const { topology, view, membership } = sources;
  const node = listed.id === topology.self.id ? topology.self : listed;
  const { id } = node;
  const shard = shardOf(topology, id);
  const isPrimary = shard?.primary === id;
  const health = membership?.member(id);
  const at = (port: number, ...hosts: readonly string[]): string[] =>
    port === 0 ? [] : hosts.map((host) => formatAddress({ host, port }));
  return {
    ...nodeView(sources, node),
    slots: isPrimary ? rangesOf(shard.slots) : [],
    replica_ids: isPrimary ? [...shard.replicas] : [],
    in_sync: shard?.inSync.includes(id) ?? false,
    eligible: shard?.eligible.includes(id) ?? false,
    addresses: {
      clients: at(node.port, node.host, ...(node.otherHosts ?? [])),
      peers: at(node.busPort, node.busHost, ...(node.otherBusHosts ?? [])),
      http: at(node.httpPort, node.httpHost),
    },
    offset: shard === undefined ? 0 : view.offsetOf(shard, id),
    lag: shard === undefined ? null : lagOf(view, shard, id),
    primary_epoch: shard?.primaryEpoch ?? null,
    shard_version: shard?.version ?? null,
    incarnation: node.incarnation,
    health:
      health === undefined || id === topology.self.id
        ? null
        : {
            since: view.wallMsOf(health.sinceMs),
            reason: reasonInWords(health, topology.map.nodes),
            round_trip_ms: health.roundTripMs ?? null,
            loop_lag_ms: health.lagMs,
            heard_at: health.heardAtMs === undefined ? null : view.wallMsOf(health.heardAtMs),
            map_version: health.mapVersion,
            suspected_by: health.suspectedBy.map(({ nodeId }) => nodeId),
          },
  };
}

function lagOf(view: ClusterView, shard: ShardRecord, id: NodeId): number | null {
  if (id === shard.primary) return 0;
  const seen = view.replicaOf(id);
  if (seen !== undefined) return seen.lag;
  const [there, has] = [view.offsetOf(shard, shard.primary), view.offsetOf(shard, id)];
  // Both are as they were when they were heard last, at different moments.
  return has === 0 ? null : Math.max(0, there - has);
}

/** `GET /cluster/slots`: every slot that somebody owns. */
export function slotsOf({ map }: Topology): {
  slots: { slot: number; owner: string }[];
  total: number;
  assigned: number;
  coverage: number;
} {
  const slots: { slot: number; owner: string }[] = [];
  for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
    const shard = map.shards[map.shardOfSlot[slot] ?? -1];
    if (shard !== undefined) slots.push({ slot, owner: shard.primary });
  }
  return { slots, ...sumsOf(slots.length) };
}

function sumsOf(assigned: number): { total: number; assigned: number; coverage: number } {
  return { total: SLOT_COUNT, assigned, coverage: coverageOf(assigned) };
}

/** The same as ranges, with who serves them. */
export function slotRangesOf({ map }: Topology): {
  ranges: { start: number; end: number; count: number; shard_id: string; primary: string; replicas: string[] }[];
  total: number;
  assigned: number;
  coverage: number;
} {
  const ranges = map.shards
    .flatMap(({ id, primary, replicas, slots }) =>
      rangesOf(slots).map(({ start, end, count }) => ({
        start,
        end,
        count,
        shard_id: id,
        primary,
        replicas: [...replicas],
      })),
    )
    .toSorted((a, b) => a.start - b.start);
  return { ranges, ...sumsOf(ranges.reduce((sum, range) => sum + range.count, 0)) };
}

export function shardView(view: ClusterView, shard: ShardRecord): ShardView {
  const reason = view.whyNotServed(shard);
  return {
    id: shard.id,
    primary: shard.primary,
    replicas: [...shard.replicas],
    in_sync: [...shard.inSync],
    eligible: [...shard.eligible],
    slots: rangesOf(shard.slots),
    slot_count: countSlots(shard.slots),
    primary_epoch: shard.primaryEpoch,
    version: shard.version,
    is_served: reason === undefined,
    reason: reason ?? null,
  };
}

export function migrationView(task: MigrationStatus): MigrationView {
  const { progress } = task;
  const whole = (value: number | undefined): number | null => (value === undefined ? null : Math.round(value));
  return {
    id: task.id,
    slots: rangesOf(task.slots),
    from_node: task.sourceNode ?? null,
    to_node: task.targetNode ?? null,
    state: task.phase,
    is_paused: task.isPaused,
    auto_complete: task.endedAtMs === undefined ? task.awaitsWord !== true : null,
    cause: task.phase === "completed" ? task.startedFor : task.cause,
    started_for: task.startedFor,
    ended_because: task.endedAtMs === undefined ? null : task.cause,
    waiting_for: task.waitingFor ?? null,
    keys_migrated: whole(progress?.keysMoved),
    total_keys: whole(progress?.keysTotal),
    bytes: whole(progress?.bytesMoved),
    rate: whole(progress?.bytesPerSecond),
    eta_ms: whole(progress?.etaMs),
    fenced_ms: whole(progress?.fencedMs),
    restarts: whole(progress?.restarts),
    started_at: task.startedAtMs,
    completed_at: task.endedAtMs ?? null,
  };
}

/** A slot that is moved key by key: nobody counts what was moved. */
export function openSlotView({ map }: Topology, open: OpenSlot): MigrationView {
  const primaryOf = (id: string | undefined): string | null =>
    map.shards.find((shard) => shard.id === id)?.primary ?? null;
  const owner = map.shards[map.shardOfSlot[open.slot] ?? -1];
  const [taking] = open.importing;
  return {
    id: null,
    slots: rangesOf([{ first: open.slot, last: open.slot }]),
    from_node: owner?.primary ?? null,
    to_node: primaryOf(open.migratingTo ?? taking?.shard),
    state: "key-by-key",
    is_paused: false,
    auto_complete: false,
    cause: "CLUSTER SETSLOT",
    started_for: "CLUSTER SETSLOT",
    ended_because: null,
    waiting_for: null,
    keys_migrated: null,
    total_keys: null,
    bytes: null,
    rate: null,
    eta_ms: null,
    fenced_ms: null,
    restarts: null,
    started_at: null,
    completed_at: null,
  };
}

/** The task that moves a slot, or moved it last; of those that have ended, as far as they are remembered. */
export function migrationOfSlot(tasks: readonly MigrationStatus[], slot: number): MigrationStatus | undefined {
  const about = tasks.filter(({ slots }) => slots.some(({ first, last }) => slot >= first && slot <= last));
  return about.find(({ endedAtMs }) => endedAtMs === undefined) ?? about.at(-1);
}

export function checkView({ name, scope, state, sinceMs, summary, meaning, advice, values }: HealthCheck): CheckView {
  return { name, scope, state, since: sinceMs, summary, meaning, advice, values: { ...values } };
}
