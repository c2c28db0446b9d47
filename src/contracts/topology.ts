/**
 * The cluster map: nodes, shards, slot owners, migrations, settings. Readers get an immutable image; whoever provides `topology` switches to the next one
 * in a single step and tells it by the hook `mapChanged`. Changes are asked for with `request`, and decided by the one who leads.
 */
import type { NetAddress } from "../net-address.ts";
import { service } from "../service.ts";
import type { RequestOutcome } from "./consensus.ts";

/** 40 hexadecimal digits in lower case. Stable for a node's life; never an address. */
export type NodeId = string;
/** 40 hexadecimal digits in lower case. */
export type ShardId = string;

/** A node, and where each audience reaches it. */
export interface NodeRecord {
  readonly id: NodeId;
  readonly name: string;
  /** What clients are told to connect to: an IP address or a host name. */
  readonly host: string;
  /** More of those, at the same port: names beside an address, addresses in other networks. */
  readonly otherHosts?: readonly string[];
  /** RESP port. */
  readonly port: number;
  /** Where other nodes reach it. */
  readonly busHost: string;
  /** More of those, at the same port: tried in turn when one fails. */
  readonly otherBusHosts?: readonly string[];
  readonly busPort: number;
  /** Where operators reach it; port 0: nowhere. */
  readonly httpHost: string;
  readonly httpPort: number;
  /** Copies of a shard are spread over zones. */
  readonly zone: string;
  /** A witness votes and holds no data. */
  readonly role: "data" | "witness";
  /** The feature levels that its program has, from and to. Without it: the first. */
  readonly features?: { readonly oldest: number; readonly newest: number };
  /** This start of the node: 40 hexadecimal digits that it drew. */
  readonly start: string;
  /** The map version that admitted this start: one number for each start, whatever else about the node changes. 0 before the first. */
  readonly incarnation: number;
}

/** Slots `first` to `last`, both included. */
export interface SlotRange {
  readonly first: number;
  readonly last: number;
}

export interface ShardRecord {
  readonly id: ShardId;
  readonly primary: NodeId;
  /**
   * The incarnation of the primary that holds the shard's data. A later start of it has lost them: it serves nothing under this name, and holds nothing,
   * until another member is promoted.
   */
  readonly primaryIncarnation: number;
  readonly replicas: readonly NodeId[];
  /**
   * Members that hold every acknowledged write; the primary among them, as the start of `primaryIncarnation`. A replica is in the sets as the start that
   * the map has admitted: another start of it is in none.
   */
  readonly inSync: readonly NodeId[];
  /** Members that left that set when it fell below its minimum, and still do. Nobody while the set has its minimum. */
  readonly eligible: readonly NodeId[];
  /** Ascending, apart from each other, as few as possible. */
  readonly slots: readonly SlotRange[];
  /** It had slots, and has none since somebody took the last: it gets none by itself. One that never had any has just come. */
  readonly wasEmptied?: true;
  /** Grows with every change of primary. Shown where Redis shows its configuration epoch. */
  readonly primaryEpoch: number;
  /** Grows with every record on the shard: a request names the one that it was decided on. */
  readonly version: number;
}

/** Slots that are being moved from one shard to another. */
export interface MigrationRecord {
  readonly id: string;
  readonly source: ShardId;
  readonly target: ShardId;
  /** Canonical, all of them the source's. */
  readonly slots: readonly SlotRange[];
  /** Nothing is sent meanwhile. */
  readonly isPaused: boolean;
  /** It is not fenced before somebody lets it be completed (`allow-completion`): until then the target is kept level. */
  readonly awaitsWord?: true;
  /** Who wanted it and why, in words. */
  readonly cause: string;
  /** Wall time in milliseconds at the node that decided. */
  readonly startedAtMs: number;
  /** While it is fenced: nobody serves its slots, whoever leads the source. */
  readonly fence?: MigrationFence;
}

/** The end of a migration rests on what two primaries have said to each other: it is of no use to others. */
export interface MigrationFence {
  /** Of the map that began it: one number for each fence. */
  readonly version: number;
  /** The primary epochs of the two shards. */
  readonly sourceEpoch: number;
  readonly targetEpoch: number;
}

/** A slot that is moved key by key (CLUSTER SETSLOT): keys of it are at its owner, or at shards that take them in. */
export interface OpenSlot {
  readonly slot: number;
  /** The owner's mark: where keys are that it has not got. */
  readonly migratingTo?: ShardId;
  /** The marks of other shards: each takes keys of the slot, from a shard that may have lost it since, or be gone. */
  readonly importing: readonly { readonly shard: ShardId; readonly from: ShardId }[];
}

/** Slots that were taken from a node which has not said yet that it knows: nobody else serves them until it has (or has gone). */
export interface ReleaseRecord {
  readonly node: NodeId;
  readonly incarnation: number;
  readonly version: number;
  readonly slots: readonly SlotRange[];
}

/** A node that was taken out. It does not come back by itself. */
export interface Tombstone {
  readonly node: NodeId;
  readonly version: number;
  readonly cause: string;
}

/** A cluster of one node is about to be part of another: nothing of its map changes until that is settled. */
export interface SealRecord {
  /** Of the request that it makes there: asked again, it has one outcome. */
  readonly joinId: string;
  /** The other cluster. */
  readonly clusterId: string;
  /** Where a member of it is. */
  readonly host: string;
  readonly port: number;
}

/** An image of the cluster at a version. Never changed once it is made. */
export interface ClusterMap {
  /** Which cluster's: versions of different clusters are not comparable. Empty before there is one. */
  readonly clusterId: string;
  /** Grows with every change. */
  readonly version: number;
  /** In the order of their ids. */
  readonly nodes: readonly NodeRecord[];
  /** In the order of their first slots; those without slots last, by id. */
  readonly shards: readonly ShardRecord[];
  /** For each slot the index of its shard in `shards`, or -1: nobody's. */
  readonly shardOfSlot: Int16Array;
  readonly migrations: readonly MigrationRecord[];
  /** In order. None of them is a migration's. */
  readonly openSlots: readonly OpenSlot[];
  readonly releases: readonly ReleaseRecord[];
  readonly tombstones: readonly Tombstone[];
  /** Settings of the whole cluster, by name. */
  readonly settings: ReadonlyMap<string, string>;
  readonly seal: SealRecord | undefined;
}

/** What `mapChanged` tells. */
export interface MapChange {
  readonly map: ClusterMap;
  /** The map before; `undefined` at the start. */
  readonly previous: ClusterMap | undefined;
  /** What has changed; `undefined` where more than one record may have (a snapshot, the start). */
  readonly delta: MapDelta | undefined;
}

/** What one version changed. */
export interface MapDelta {
  readonly nodes: readonly NodeId[];
  readonly shards: readonly ShardId[];
  /** Slots changed their owner or their marks, or may be served that could not be, or the other way round. */
  readonly changesSlots: boolean;
}

/**
 * The shards that a request on slots gives to or takes from, by id, at the versions that it was decided on: if one has another version by now, the request is
 * rejected as stale. Left out where a request decides on nothing but what it says itself, as one does whose shard comes to be in the same act.
 */
export type DecidedOn = Readonly<Record<ShardId, number>>;

/**
 * The leader of this term says that the primary's lease is over, and that it gets no other before it knows of this: nobody waits for its word. Another leader
 * may have granted one since, so it rejects what names another term than its own.
 */
export type LeaderTerm = number;

/** A change that somebody asks for. Where it is about a shard, `shardVersion` is the one that it was decided on. */
export type TopologyRequest =
  | { readonly type: "register-node"; readonly node: Omit<NodeRecord, "incarnation"> }
  /** `by`: the node whose own word it is: a replica does not forget its primary. Missing: an operator's, at whichever node. */
  | { readonly type: "remove-node"; readonly node: NodeId; readonly by?: NodeId }
  /** A node that was a cluster by itself, or belonged to none, comes in with its slots: on purpose, so that a tombstone does not keep it out. */
  | {
      readonly type: "merge-node";
      readonly node: Omit<NodeRecord, "incarnation">;
      readonly slots: readonly SlotRange[];
    }
  /** The other side of that: the node's own map. */
  | { readonly type: "seal"; readonly seal: SealRecord }
  | { readonly type: "unseal"; readonly joinId: string }
  | { readonly type: "lift-tombstone"; readonly node: NodeId }
  | {
      readonly type: "assign-slots";
      readonly node: NodeId;
      readonly slots: readonly SlotRange[];
      readonly decidedOn?: DecidedOn;
    }
  | { readonly type: "release-slots"; readonly slots: readonly SlotRange[]; readonly decidedOn?: DecidedOn }
  | { readonly type: "flush-slots"; readonly node: NodeId }
  | { readonly type: "acknowledge-releases"; readonly node: NodeId; readonly version: number }
  | { readonly type: "bump-epoch"; readonly node: NodeId }
  | { readonly type: "set-epoch"; readonly node: NodeId; readonly epoch: number }
  | {
      readonly type: "add-replica";
      readonly shard: ShardId;
      readonly shardVersion: number;
      readonly node: NodeId;
      /** With the version of the shard whose replica it was until then, if it was decided on that as well. */
      readonly decidedOn?: DecidedOn;
    }
  /** A node that holds nothing is to be a replica: of the shard with this id, or that a node with this id or name is in, or of any (`auto`). */
  | { readonly type: "place-replica"; readonly node: NodeId; readonly of: string }
  | { readonly type: "remove-replica"; readonly shard: ShardId; readonly shardVersion: number; readonly node: NodeId }
  | {
      readonly type: "change-in-sync";
      readonly shard: ShardId;
      readonly shardVersion: number;
      readonly inSync: readonly NodeId[];
      readonly eligible: readonly NodeId[];
    }
  | {
      readonly type: "promote";
      readonly shard: ShardId;
      readonly shardVersion: number;
      readonly node: NodeId;
      readonly leaderTerm?: LeaderTerm;
    }
  /** A primary that surrendered its lease stays: the shard gets another version, and no promotion that was decided on this one can happen any more. */
  | { readonly type: "keep-primary"; readonly shard: ShardId; readonly shardVersion: number }
  /** Whoever held the shard's data is gone: it goes on with a member that may lack acknowledged writes, or has nothing. */
  | {
      readonly type: "accept-loss";
      readonly shard: ShardId;
      readonly shardVersion: number;
      readonly node: NodeId;
      readonly leaderTerm: LeaderTerm;
    }
  | {
      readonly type: "start-migration";
      readonly id: string;
      readonly source: ShardId;
      readonly sourceVersion: number;
      readonly target: ShardId;
      readonly targetVersion: number;
      readonly slots: readonly SlotRange[];
      /** It is not completed before `allow-completion`. */
      readonly awaitsWord?: true;
    }
  /** The source's primary: the target's, in this epoch, has nearly everything. From here on commands on the slots are held. */
  | {
      readonly type: "fence-migration";
      readonly id: string;
      readonly sourceEpoch: number;
      readonly targetEpoch: number;
    }
  /** What that fence was for cannot be: the source serves the slots again. @param fence Its version. */
  | { readonly type: "unfence-migration"; readonly id: string; readonly fence: number }
  /**
   * The source's primary, which has applied that fence: the target's has committed everything.
   *
   * @param fence Its version. A later one is for others to complete, and so is one of primaries that lead no more.
   */
  | { readonly type: "complete-migration"; readonly id: string; readonly fence: number }
  | { readonly type: "allow-completion"; readonly id: string }
  | { readonly type: "abort-migration"; readonly id: string }
  /** The node's shard marks a slot: its own as on its way to the peer's shard, or another's as coming from there. */
  | {
      readonly type: "mark-slot";
      readonly slot: number;
      readonly node: NodeId;
      readonly mark: "migrating" | "importing";
      readonly peer: NodeId;
    }
  /**
   * A shard's primary takes its marks from a slot. It holds commands on the slot until this is settled, and has nothing of it that is not committed.
   */
  | {
      readonly type: "unmark-slot";
      readonly slot: number;
      readonly shard: ShardId;
      readonly shardVersion: number;
      /** Keys of the slot that it has. */
      readonly keys: number;
      /** If no other shard takes the slot in after this, its owner's mark goes with this one. */
      readonly isLast: boolean;
    }
  /** Takes all marks from a slot, whatever becomes of keys that are not at its owner: somebody said so who knows. */
  | { readonly type: "close-slot"; readonly slot: number }
  /**
   * A slot's owner gives it to another node's shard: it is asked for by the owner's primary, which holds commands on the slot until this is settled, and has no key
   * of it. Without an owner, by anybody.
   */
  | {
      readonly type: "give-slot";
      readonly slot: number;
      readonly from?: { readonly shard: ShardId; readonly shardVersion: number };
      readonly to: NodeId;
    }
  /**
   * The owner and the shard that a slot is moved to change places: the slot is the other one's, and on its way here. Asked for as `give-slot` is, with whatever
   * keys the owner has, and none of them at both sides.
   */
  | {
      readonly type: "swap-slot";
      readonly slot: number;
      readonly shard: ShardId;
      readonly shardVersion: number;
      readonly with: ShardId;
    }
  | { readonly type: "pause-migration"; readonly id: string; readonly isPaused: boolean }
  | { readonly type: "change-setting"; readonly name: string; readonly value: string }
  /** All of these, or none. The versions of shards that they name are those before all of them. */
  | { readonly type: "all"; readonly requests: readonly TopologyRequest[] };

/** One act on the map, for those who ask how it came to be as it is. */
export interface HistoryEntry {
  readonly version: number;
  /** Wall time in milliseconds at the node that decided. */
  readonly timeMs: number;
  /** Who wanted it and why, in words. */
  readonly cause: string;
  /** What it changed, one sentence each. */
  readonly changes: readonly string[];
}

export interface Topology {
  /** The present map. */
  readonly map: ClusterMap;
  /** This node's record: in the present map, or as it would be there. */
  readonly self: NodeRecord;
  /** This node's shard, if it has a role in one. */
  readonly selfShard: ShardRecord | undefined;
  /** A node by its id. */
  node(id: NodeId): NodeRecord | undefined;
  /**
   * Asks for a change.
   *
   * @param cause Who wants it and why, in words. Kept with the record.
   * @returns Once this node has applied it, or it is known that it will not happen, or nobody knows in time. Outcomes are words for each
   *   request, such as `BUMPED 5`, else `OK`.
   * @param id Of a request that others may ask as well, or that was asked before: it has one outcome. By default it is a new one.
   */
  request(request: TopologyRequest, cause: string, id?: string): Promise<RequestOutcome<readonly string[]>>;
  /** Whether this node is in the cluster that the map is of, as far as it knows. */
  readonly isMember: boolean;
  /**
   * Drops the cluster, which has taken this node out (`remove-node`) or is of it alone, and begins another one: this node, no slots.
   *
   * @param id This node's from here on: the one that it has, or another.
   * @param epoch Its shard's, in the new map.
   * @returns Why it could not be done, or `undefined` if it was.
   */
  beginAlone(id: NodeId, epoch: number): Promise<string | undefined>;
  /**
   * Drops the cluster, which is of this node alone or has taken it out, for another one, which knows this node already. Until that one has sent its map, the
   * present one counts.
   *
   * @param members Where some of its members are.
   * @returns Why it could not be done, or `undefined` if it was.
   */
  moveTo(clusterId: string, members: readonly NetAddress[]): Promise<string | undefined>;
  /** What this node tells of itself to a cluster that is to take it in. */
  readonly introduction: Omit<NodeRecord, "incarnation">;
  /** The last acts on the map, oldest first. */
  readonly history: readonly HistoryEntry[];
  /** What keeps this node from serving, in words; `undefined` if nothing does. */
  readonly waitingFor: string | undefined;
  /** The whole state as JSON, for backups: the file that `bunch import` makes a new cluster of. */
  exportState(): string;
}

export const topologyService = service<Topology>("topology");
