/**
 * What nodes and the leader tell each other about leases and failovers.
 *
 * A node is named by its id and its incarnation (the map version that admitted this start of it). Durations are in milliseconds; moments are of the monotonic
 * clock of whoever holds them, and never sent.
 */
import type { LogPosition } from "../../contracts/replication.ts";
import type { NodeId, ShardId } from "../../contracts/topology.ts";

/** The same on all nodes: a leader of one length would not know how long those of another last. */
export interface LeaseOptions {
  /** How long a lease is good, at most. */
  readonly leaseMs: number;
  /** How often nodes tell the leader of themselves, and primaries ask for a lease. */
  readonly renewMs: number;
  /** By how much a clock may run faster than another one, in percent of a lease: the leader takes a lease to last so much longer. */
  readonly marginPercent: number;
}

/** A primary's word that it hands its shard to a replica, which has all of its log. It serves nothing and asks for no lease until the shard has another version. */
export interface Surrender {
  readonly to: NodeId;
  /** Of the shard, when it said so. */
  readonly shardVersion: number;
}

/** What a node tells the leader of itself, again and again. */
export interface Beat {
  /** Grows with each beat of this start, whoever gets it. */
  readonly sequence: number;
  readonly incarnation: number;
  /** Of the map that it has applied. */
  readonly mapVersion: number;
  /** Its own. */
  readonly leaseMs: number;
  readonly wantsLease: boolean;
  /** The last of its beats that this leader has answered, as far as it has heard; 0: none. */
  readonly answered: number;
  /** Where its copy of its shard's log ends; `undefined`: it has none that is whole. */
  readonly position: LogPosition | undefined;
  /** How long its event loop stood still not long ago, at the worst. */
  readonly lagMs: number;
  /** Nodes whose links to it broke not long ago. */
  readonly brokenLinks: readonly NodeId[];
  readonly surrender: Surrender | undefined;
}

/** What somebody wants of the leader. */
export type Wish =
  /** A planned failover: the primary hands over. */
  | { readonly type: "hand-over"; readonly shard: ShardId; readonly to: NodeId }
  /** Without the primary's word, once its lease has run out. */
  | { readonly type: "force"; readonly shard: ShardId; readonly to: NodeId }
  /** Go on with what is left, though acknowledged writes are lost. */
  | { readonly type: "accept-loss"; readonly shard: ShardId };

export type LeaseMessage =
  | { readonly type: "beat"; readonly beat: Beat }
  /** Leader: the answer to a beat that wants a lease, or to the last one of a node that it has just promoted. It is good for so long from the moment on at which the beat was sent; 0: there is none, and why. */
  | { readonly type: "answer"; readonly sequence: number; readonly grantMs: number; readonly reason: string }
  /** Leader: it has begun to lead, and wants to hear of everybody. */
  | { readonly type: "call" }
  /** Somebody wants something of the leader. */
  | { readonly type: "wish"; readonly id: number; readonly wish: Wish; readonly cause: string }
  /** Leader: it has begun, or why not. */
  | { readonly type: "verdict"; readonly id: number; readonly problem: string | undefined }
  /** Leader: the primary of a shard is asked to hand it over. */
  | { readonly type: "hand-over"; readonly shard: ShardId; readonly shardVersion: number; readonly to: NodeId }
  /** Primary: it has surrendered to whoever gets this, who will be the primary in a moment, or hear that it will not. */
  | { readonly type: "heir"; readonly shard: ShardId; readonly shardVersion: number }
  /** The answer to that: from here on, and for a lease's time, it holds commands on the shard's keys. Clients may be sent to it. */
  | { readonly type: "holds"; readonly shard: ShardId; readonly shardVersion: number };
