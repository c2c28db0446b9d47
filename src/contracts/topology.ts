/**
 * The cluster map: nodes, shards, slot owners. Readers get an immutable image; whoever provides `topology` switches to the next one in a
 * single step and tells it by the hook `mapChanged`.
 */
import { service } from "../service.ts";

/** 40 hexadecimal digits in lower case. Stable for a node's life; never an address. */
export type NodeId = string;
/** 40 hexadecimal digits in lower case. */
export type ShardId = string;

export interface NodeRecord {
  readonly id: NodeId;
  readonly name: string;
  /** What clients are told to connect to: an IP address or a host name. */
  readonly host: string;
  /** RESP port. */
  readonly port: number;
  /** Node-to-node port. */
  readonly busPort: number;
}

/** Slots `first` to `last`, both included. */
export interface SlotRange {
  readonly first: number;
  readonly last: number;
}

export interface ShardRecord {
  readonly id: ShardId;
  readonly primary: NodeId;
  readonly replicas: readonly NodeId[];
  /** Ascending, apart from each other, as few as possible. */
  readonly slots: readonly SlotRange[];
  /** Grows with every change of primary. Shown where Redis shows its configuration epoch. */
  readonly primaryEpoch: number;
}

/** An image of the cluster at a version. Never changed once it is made. */
export interface ClusterMap {
  /** Grows with every change. */
  readonly version: number;
  /** In the order of their ids. */
  readonly nodes: readonly NodeRecord[];
  /** In the order of their first slots; those without slots last, by id. */
  readonly shards: readonly ShardRecord[];
  /** For each slot the index of its shard in `shards`, or -1: nobody's. */
  readonly shardOfSlot: Int16Array;
}

/** What `mapChanged` tells. */
export interface MapChange {
  readonly map: ClusterMap;
  /** The map before; `undefined` at the start. */
  readonly previous: ClusterMap | undefined;
}

export interface Topology {
  /** The present map. */
  readonly map: ClusterMap;
  /** This node's record in the present map. */
  readonly self: NodeRecord;
  /** This node's shard, if it has a role in one. */
  readonly selfShard: ShardRecord | undefined;
  /** A node by its id. */
  node(id: NodeId): NodeRecord | undefined;
}

export const topologyService = service<Topology>("topology");
