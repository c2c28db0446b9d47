/**
 * The facts that health is judged by, from what a node's plugins tell. What no plugin tells is left out.
 *
 * Called once a second on nodes that have nothing else to do: what follows from the cluster map is made once for each map.
 */
import type { Consensus } from "../contracts/consensus.ts";
import type { Failover } from "../contracts/failover.ts";
import type { Keyspace } from "../contracts/keyspace.ts";
import type { MembershipService } from "../contracts/membership.ts";
import type { Migrations } from "../contracts/migration.ts";
import type { Replication } from "../contracts/replication.ts";
import type { ClusterMap, NodeId, ShardId, ShardRecord, SlotRange, Topology } from "../contracts/topology.ts";
import { reasonInWords } from "../member-words.ts";
import { LagClock, Standstills } from "../protocol/health/trackers.ts";
import type {
  BalanceFacts,
  ClockFacts,
  DiskFacts,
  HealthFacts,
  LagFacts,
  MapFacts,
  MemberFacts,
  MemoryFacts,
  MigrationFacts,
  NodeFacts,
  QuorumFacts,
  ReplicaFacts,
  SlotFacts,
  UnservedShard,
} from "../protocol/health/types.ts";
import { rangesOf } from "../protocol/health/words.ts";
import { hasLease, isGone, whyNotServed } from "../shard-serving.ts";
import type { ShardLoad } from "../codec/health-codec.ts";
import type { HealthReports } from "./reports.ts";

/** A voter that the leader has not heard for so long does not answer: several heartbeats, and less than two elections. */
const SILENT_MS = 2000;
const MICROSECONDS_A_MINUTE = 60_000_000;

/** Where facts come from. */
export interface FactSources {
  readonly topology: Topology | undefined;
  readonly consensus: Consensus | undefined;
  readonly membership: MembershipService | undefined;
  readonly replication: Replication | undefined;
  readonly failover: Failover | undefined;
  readonly migrations: Migrations | undefined;
  readonly keyspace: Keyspace | undefined;
  /** `undefined`: nodes tell each other nothing. */
  readonly reports: HealthReports | undefined;
  /** How many replicas each shard is to have; `undefined`: one, if any shard has some. */
  readonly wantedReplicas: number | undefined;
  /** This node's shard, if it is the primary of one with slots. */
  load(): ShardLoad | undefined;
  /** A parameter of the node, as CONFIG GET tells it. */
  parameter(name: string): string | undefined;
  machine(): { readonly residentBytes: number; readonly totalBytes: number };
  /** The room in the data directory, as it was looked up last. */
  disk(): DiskFacts | undefined;
  /** The longest stop of the event loop since the last time. */
  takeLagMs(): number;
}

export class FactGatherer {
  readonly #from: FactSources;
  readonly #tasks = new Standstills();
  readonly #openSlots = new Standstills();
  #logClock = new LagClock();
  #logOf: ShardId | undefined;
  #free: { readonly map: ClusterMap; readonly slots: readonly SlotRange[] } | undefined;
  /** The version that this node had when it learned that it is behind, and when that was. */
  #behind: { readonly version: number; readonly sinceMs: number } | undefined;

  constructor(from: FactSources) {
    this.#from = from;
  }

  /** @param nowMs By the monotonic clock. */
  gather(nowMs: number): HealthFacts {
    const { topology } = this.#from;
    const own: HealthFacts = {
      memory: this.#memory(),
      disk: this.#from.disk(),
      "loop-lag": { lagMs: this.#from.takeLagMs() },
    };
    if (topology === undefined) return own;
    // A node that was taken out, or has no map yet, knows nothing of the others.
    const isIn = topology.isMember && topology.map.version > 0;
    if (!isIn) return { ...own, node: this.#node(topology), quorum: this.#quorum(topology) };
    return {
      ...own,
      node: this.#node(topology),
      quorum: this.#quorum(topology),
      slots: this.#slots(topology, nowMs),
      replicas: this.#replicas(topology),
      members: this.#members(topology),
      lag: this.#lag(topology, nowMs),
      clocks: this.#clocks(topology),
      "map-version": this.#mapVersion(topology, nowMs),
      migrations: this.#migrations(topology, nowMs),
      balance: this.#balance(topology),
    };
  }

  #node({ waitingFor, selfShard, self }: Topology): NodeFacts {
    const { failover } = this.#from;
    const isServing = selfShard?.primary === self.id && selfShard.slots.length > 0;
    const reads = failover?.leaseState === "stale-reads" ? "reads, which may be stale, and no writes" : "nothing";
    const leaseProblem =
      isServing && !hasLease(failover) ? `This primary has no lease from the leader, and serves ${reads}.` : undefined;
    return { waitingFor, leaseProblem };
  }

  #quorum(topology: Topology): QuorumFacts | undefined {
    const { consensus, membership } = this.#from;
    if (consensus === undefined) return undefined;
    const { status, leadership } = consensus;
    if (status.isOut) return undefined;
    const isAnswering = (id: NodeId): boolean | undefined => {
      if (id === topology.self.id) return true;
      if (leadership !== undefined) return consensus.silentMs(id) < SILENT_MS;
      const health = membership?.member(id);
      return health === undefined ? undefined : !isGone(health);
    };
    return {
      leader: status.leader !== undefined && status.hearsLeader ? nameOf(topology, status.leader) : undefined,
      voters: status.members
        .filter(({ isVoter }) => isVoter)
        .map(({ nodeId }) => ({ name: nameOf(topology, nodeId), isAnswering: isAnswering(nodeId) })),
      nodeCount: topology.map.nodes.length,
    };
  }

  #slots(topology: Topology, nowMs: number): SlotFacts {
    const { map } = topology;
    const { membership, failover } = this.#from;
    if (this.#free?.map !== map) this.#free = { map, slots: freeSlots(map) };
    const owning = map.shards.filter(({ slots }) => slots.length > 0);
    const unserved = owning.flatMap((shard) => {
      const reason = whyNotServed(shard, { topology, membership, failover }, nowMs);
      return reason === undefined ? [] : [this.#unserved(topology, shard, reason)];
    });
    const released = map.releases.map(({ slots, node }) => ({ slots, node: nameOf(topology, node), id: node }));
    const { status } = this.#from.consensus ?? {};
    return {
      free: this.#free.slots,
      unserved,
      released,
      canChange: status === undefined || (status.leader !== undefined && status.hearsLeader),
      helper: this.#helper(topology, new Set(unserved.map(({ primary }) => primary.id))),
    };
  }

  #unserved(topology: Topology, shard: ShardRecord, reason: string): UnservedShard {
    const { membership } = this.#from;
    const { id, slots, primary, primaryIncarnation, replicas, inSync, eligible } = shard;
    const incarnation = topology.node(primary)?.incarnation;
    const trouble = isGone(membership?.member(primary))
      ? "gone"
      : incarnation === 0
        ? "new"
        : incarnation === primaryIncarnation
          ? "lease"
          : "empty";
    const others = replicas.map((replica) => ({
      id: replica,
      name: nameOf(topology, replica),
      isHolder: inSync.includes(replica) || eligible.includes(replica),
      isThere: !isGone(membership?.member(replica)),
    }));
    return { id, slots, reason, primary: { id: primary, name: nameOf(topology, primary) }, trouble, others };
  }

  /** This node, if it is one that serves, since it can be reached; else the first that does. */
  #helper(topology: Topology, unserved: ReadonlySet<NodeId>): SlotFacts["helper"] {
    const { map, self } = topology;
    const serving = map.shards
      .map(({ primary }) => primary)
      .filter(
        (id) => !unserved.has(id) && !isGone(this.#from.membership?.member(id)) && topology.node(id)?.incarnation !== 0,
      );
    const id = serving.find((each) => each === self.id) ?? serving[0];
    const found = id === undefined ? undefined : topology.node(id);
    return found === undefined ? undefined : { name: found.name || found.id, host: found.host, port: found.port };
  }

  #replicas(topology: Topology): ReplicaFacts {
    const { map } = topology;
    const { wantedReplicas, membership } = this.#from;
    const served = map.shards.filter(({ slots }) => slots.length > 0);
    // Nobody who has none wants any.
    const usual = served.some(({ replicas }) => replicas.length > 0) ? 1 : 0;
    return {
      wanted: wantedReplicas ?? usual,
      minInSync: Number(map.settings.get("min-in-sync") ?? 1),
      shards: served.map(({ primary, replicas, inSync }) => ({
        name: nameOf(topology, primary),
        replicas: replicas.map((id) => ({
          name: nameOf(topology, id),
          isInSync: inSync.includes(id),
          isThere: !isGone(membership?.member(id)),
        })),
        inSyncCount: inSync.length,
      })),
    };
  }

  #members(topology: Topology): MemberFacts | undefined {
    const { membership } = this.#from;
    if (membership?.status.isTakingPart !== true) return undefined;
    const { nodes } = topology.map;
    const missing = nodes.flatMap(({ id, name }): MemberFacts["missing"] => {
      if (id === topology.self.id) return [];
      const health = membership.member(id);
      if (health === undefined) return [{ name: name || id, state: "unknown", reason: "" }];
      if (health.state === "alive") return [];
      return [{ name: name || id, state: health.state, reason: reasonInWords(health, nodes) }];
    });
    return { total: nodes.length, missing };
  }

  #lag(topology: Topology, nowMs: number): LagFacts | undefined {
    const { replication, membership } = this.#from;
    if (replication === undefined) return undefined;
    const { role, waitingFor } = replication;
    if (role !== "primary") return { waitingFor: role === "replica" ? waitingFor : undefined, replicas: [] };
    const shard = topology.selfShard?.id;
    if (shard !== this.#logOf) [this.#logOf, this.#logClock] = [shard, new LagClock()];
    this.#logClock.note(replication.last, nowMs);
    // Of one that is gone there is nothing to be waited for: that it is gone is said elsewhere.
    const there = replication.replicas.filter(({ nodeId }) => !isGone(membership?.member(nodeId)));
    return {
      waitingFor: undefined,
      replicas: there.map(({ nodeId, state, lag, acknowledged }) => ({
        name: nameOf(topology, nodeId),
        state,
        entries: lag,
        behindMs: this.#logClock.behindMs(acknowledged, nowMs),
      })),
    };
  }

  #clocks(topology: Topology): ClockFacts | undefined {
    const { reports, consensus } = this.#from;
    if (reports === undefined) return undefined;
    const own = reports.clock;
    const all =
      consensus?.leadership === undefined
        ? own === undefined
          ? []
          : [{ id: topology.self.id, ...own }]
        : [...reports.known].flatMap(([id, { clock }]) => (clock === undefined ? [] : [{ id, ...clock }]));
    return { nodes: all.map(({ id, aheadMs, errorMs }) => ({ name: nameOf(topology, id), aheadMs, errorMs })) };
  }

  #mapVersion({ map }: Topology, nowMs: number): MapFacts | undefined {
    const { membership } = this.#from;
    if (membership?.status.isTakingPart !== true) return undefined;
    const newestVersion = membership.status.newestMapVersion;
    if (newestVersion <= map.version) this.#behind = undefined;
    else if (this.#behind?.version !== map.version) this.#behind = { version: map.version, sinceMs: nowMs };
    const behindMs = this.#behind === undefined ? 0 : nowMs - this.#behind.sinceMs;
    return { version: map.version, newestVersion, behindMs };
  }

  /** Of each task its source's primary knows how far it is. */
  #migrations(topology: Topology, nowMs: number): MigrationFacts | undefined {
    const { map, self } = topology;
    const { migrations } = this.#from;
    const tasks = (migrations?.tasks ?? []).filter(
      ({ endedAtMs, sourceNode }) => endedAtMs === undefined && sourceNode === self.id,
    );
    const marks = tasks.map(({ id, phase, isPaused, progress }): readonly [string, string] => [
      id,
      [phase, isPaused, progress?.slotsDone, progress?.keysMoved, progress?.bytesMoved].join(" "),
    ]);
    const still = this.#tasks.look(new Map(marks), nowMs);
    const ownerOf = (slot: number): ShardRecord | undefined => map.shards[map.shardOfSlot[slot] ?? -1];
    const open = map.openSlots.filter(({ slot }) => {
      const primary = ownerOf(slot)?.primary;
      return primary === self.id || primary === undefined;
    });
    const openStill = this.#openSlots.look(
      new Map(
        open.map(({ slot, migratingTo, importing }) => [
          String(slot),
          // Keys go one by one, which the map does not tell.
          [migratingTo, ...importing.map(({ shard }) => shard), this.#from.keyspace?.slotSize(slot)].join(" "),
        ]),
      ),
      nowMs,
    );
    return {
      tasks: tasks.map(({ id, slots, phase, isPaused, waitingFor, target }) => ({
        id,
        what: `${rangesOf(slots)} to ${nameOf(topology, map.shards.find((shard) => shard.id === target)?.primary ?? target)}`,
        isPaused,
        isFenced: phase === "fenced",
        waitingFor,
        stillMs: still.get(id) ?? 0,
      })),
      openSlots: open.map(({ slot }) => ({ slot, stillMs: openStill.get(String(slot)) ?? 0 })),
    };
  }

  /** What the leader has been told. */
  #balance(topology: Topology): BalanceFacts | undefined {
    const { reports, consensus } = this.#from;
    if (reports === undefined || consensus?.leadership === undefined) return undefined;
    const own = this.#from.load();
    const loads = [
      ...(own === undefined ? [] : [[topology.self.id, own] as const]),
      ...[...reports.known].flatMap(([id, { load }]) => (load === undefined ? [] : [[id, load] as const])),
    ];
    return {
      shards: loads.map(([id, { microseconds, bytes, hottestSlot, hottestMicroseconds }]) => ({
        name: nameOf(topology, id),
        busy: microseconds / MICROSECONDS_A_MINUTE,
        bytes,
        hottestSlot,
        hottestPart: microseconds === 0 ? 0 : hottestMicroseconds / microseconds,
      })),
    };
  }

  #memory(): MemoryFacts {
    const { keyspace } = this.#from;
    const { residentBytes, totalBytes } = this.#from.machine();
    return {
      usedBytes: keyspace?.usedBytes ?? 0,
      limitBytes: Number(this.#from.parameter("maxmemory") ?? 0),
      isEvicting: (this.#from.parameter("maxmemory-policy") ?? "noeviction") !== "noeviction",
      residentBytes,
      machineBytes: totalBytes,
    };
  }
}

/** A node by its name, which people know. */
export function nameOf(topology: Topology, id: NodeId): string {
  return topology.node(id)?.name || id;
}

function freeSlots({ shardOfSlot }: ClusterMap): readonly SlotRange[] {
  const free: SlotRange[] = [];
  let first = -1;
  for (let slot = 0; slot <= shardOfSlot.length; slot += 1) {
    const isFree = slot < shardOfSlot.length && (shardOfSlot[slot] ?? -1) < 0;
    if (isFree && first < 0) first = slot;
    if (isFree || first < 0) continue;
    free.push({ first, last: slot - 1 });
    first = -1;
  }
  return free;
}
