/**
 * The cluster as this node sees it: whether each shard is served and why not, and which members hold what. What `CLUSTER` tells Redis' clients and what REST tells
 * operators is read from here, so that the two never differ.
 *
 * Everything comes from services. Who does not know membership, failover or replication takes every node as there, as serving and as whole.
 */
import { SLOT_COUNT } from "./codec/slot.ts";
import type { Failover } from "./contracts/failover.ts";
import type { MemberHealth, MembershipService } from "./contracts/membership.ts";
import type { ReplicaHealth, Replication } from "./contracts/replication.ts";
import type { NodeId, ShardId, ShardRecord, SlotRange, Topology } from "./contracts/topology.ts";
import { reasonInWords } from "./member-words.ts";
import { isGone, whyNotServed } from "./shard-serving.ts";
import type { Clock } from "./world.ts";

/** Shards whose reasons are told; of more it is told how many there are. */
const MAX_REASONS = 20;

/** What keeps the cluster from being well. */
export interface ClusterFailure {
  /** `node`: this node. `slots`: they are nobody's. `shard_ID`: it is not served. `more`: so are others. */
  readonly about: string;
  /** In words. */
  readonly reason: string;
}

/** How the slots stand. */
export interface SlotSums {
  readonly assigned: number;
  /** Of primaries that are suspected, and not found to be gone. */
  readonly suspected: number;
  /** Of shards that nobody serves. */
  readonly failed: number;
}

export function countSlots(ranges: readonly SlotRange[]): number {
  return ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

function slotsOf(shards: readonly ShardRecord[]): number {
  return shards.reduce((sum, { slots }) => sum + countSlots(slots), 0);
}

export interface ClusterSources {
  readonly topology: Topology;
  readonly membership: MembershipService | undefined;
  readonly failover: Failover | undefined;
  readonly replication: Replication | undefined;
  readonly clock: Pick<Clock, "monotonicMs" | "wallMs">;
}

export class ClusterView {
  readonly #sources: ClusterSources;

  constructor(sources: ClusterSources) {
    this.#sources = sources;
  }

  /** What is known of a node; `undefined`: nothing, or nobody finds that out. */
  healthOf(id: NodeId): MemberHealth | undefined {
    return this.#sources.membership?.member(id);
  }

  isThere(id: NodeId): boolean {
    return !isGone(this.healthOf(id));
  }

  /** The wall time of a moment on this node's monotonic clock, in milliseconds. */
  wallMsOf(monotonicMs: number): number {
    const { clock } = this.#sources;
    return Math.round(clock.wallMs() - (clock.monotonicMs() - monotonicMs));
  }

  /** Why nobody serves a shard's slots, as far as this node knows, in words; `undefined`: its primary does. */
  whyNotServed(shard: ShardRecord): string | undefined {
    return whyNotServed(shard, this.#sources, this.#sources.clock.monotonicMs());
  }

  /** Shards that own slots and are not served. */
  #failing(): readonly { readonly shard: ShardRecord; readonly reason: string }[] {
    return this.#sources.topology.map.shards.flatMap((shard) => {
      const reason = shard.slots.length === 0 ? undefined : this.whyNotServed(shard);
      return reason === undefined ? [] : [{ shard, reason }];
    });
  }

  slotSums(): SlotSums {
    const { shards } = this.#sources.topology.map;
    const failing = this.#failing().map(({ shard }) => shard);
    const isFailing = new Set(failing);
    const suspects = shards.filter((shard) => this.healthOf(shard.primary)?.state === "suspect");
    return {
      assigned: slotsOf(shards),
      suspected: slotsOf(suspects.filter((shard) => !isFailing.has(shard))),
      failed: slotsOf(failing),
    };
  }

  /** What keeps the cluster from serving every slot, or this node from taking part; none: it is well. */
  failures(): readonly ClusterFailure[] {
    const { waitingFor, map } = this.#sources.topology;
    const free = SLOT_COUNT - slotsOf(map.shards);
    const failing = this.#failing();
    const shown = failing.slice(0, MAX_REASONS);
    return [
      ...(waitingFor === undefined ? [] : [{ about: "node", reason: `this node waits for ${waitingFor}` }]),
      ...(free === 0 ? [] : [{ about: "slots", reason: `${free} ${free === 1 ? "slot is" : "slots are"} nobody's` }]),
      ...shown.map(({ shard, reason }) => ({ about: `shard_${shard.id}`, reason })),
      ...(failing.length === shown.length
        ? []
        : [{ about: "more", reason: `${failing.length - shown.length} more shards` }]),
    ];
  }

  /** What does not keep the cluster from serving, and should not be so: fewer copies than there could be, nodes that are away. In words. */
  degradations(): readonly string[] {
    const { topology } = this.#sources;
    const nameOf = (id: NodeId): string => topology.node(id)?.name || id;
    // Of a primary whose shard is not served for that it is told there.
    const told = new Set(this.#failing().map(({ shard }) => shard.primary));
    const away = topology.map.nodes.flatMap(({ id }) => {
      const isTold = told.has(id) && !this.isThere(id);
      const health = id === topology.self.id || isTold ? undefined : this.healthOf(id);
      return health === undefined || health.state === "alive"
        ? []
        : [`node ${nameOf(id)} is ${health.state}: ${reasonInWords(health, topology.map.nodes)}`];
    });
    const behind = topology.map.shards.flatMap(({ replicas, inSync, primary }) =>
      replicas
        .filter((id) => !inSync.includes(id))
        .map((id) => `replica ${nameOf(id)} of ${nameOf(primary)} is not in sync`),
    );
    const all = [...away, ...behind];
    return all.length <= MAX_REASONS
      ? all
      : [...all.slice(0, MAX_REASONS), `${all.length - MAX_REASONS} more nodes or replicas`];
  }

  /**
   * Whether a member has all that its shard holds. A replica's own primary knows it best, and of the others the map says who is in sync: one that is not may have all
   * but the last second's, or nothing.
   */
  isWhole({ primary, inSync, eligible }: ShardRecord, id: NodeId): boolean {
    const { topology, replication } = this.#sources;
    if (id === primary || inSync.includes(id) || eligible.includes(id)) return true;
    if (id === topology.self.id) return replication?.position !== undefined;
    return primary === topology.self.id && this.replicaOf(id)?.state === "following";
  }

  /** A replica of this node, as it sees it. */
  replicaOf(id: NodeId): ReplicaHealth | undefined {
    return this.#sources.replication?.replicas.find(({ nodeId }) => nodeId === id);
  }

  /** How far a member's copy of its shard's log has got, as far as this node knows; 0: it has none that is whole, or nobody knows. */
  offsetOf(shard: ShardRecord, id: NodeId): number {
    const { topology, replication, membership } = this.#sources;
    const self = topology.self.id;
    if (replication === undefined) return 0;
    if (id === self) return replication.position?.sequence ?? 0;
    if (shard.primary === self) return this.replicaOf(id)?.acknowledged ?? 0;
    // A replica knows of its primary what that has told it to be committed. Of others it is what they said themselves, some time ago.
    const said = this.isWhole(shard, id) ? (membership?.member(id)?.offset ?? 0) : 0;
    return id === shard.primary && shard.replicas.includes(self) ? Math.max(replication.committed, said) : said;
  }

  /** Whether a member serves, or could: in Redis' words. */
  healthWord(shard: ShardRecord, id: NodeId): "online" | "loading" | "fail" {
    if (!this.isThere(id) || (id === shard.primary && this.whyNotServed(shard) !== undefined)) return "fail";
    return this.isWhole(shard, id) ? "online" : "loading";
  }

  /** A shard by its id. */
  shard(id: ShardId): ShardRecord | undefined {
    return this.#sources.topology.map.shards.find((shard) => shard.id === id);
  }
}
