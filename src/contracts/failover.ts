/** Leases and failover, as others may see them. Provided by the plugin `failover`. */
import type { Call } from "../call.ts";
import { service } from "../service.ts";
import type { Verdict } from "./commands.ts";
import type { NodeId, ShardId } from "./topology.ts";

/** By what right a node serves. */
export type LeaseState =
  /** It needs no lease: it is not a primary, or all of its cluster. */
  | "none"
  | "held"
  /** It has none, and serves nothing. */
  | "lapsed"
  /** It has none, and serves reads, which may be stale: the cluster setting `partition-policy` is `allow-reads`. */
  | "stale-reads"
  /** It has given it up, and hands its shard over. */
  | "surrendered";

export interface Failover {
  readonly leaseState: LeaseState;
  /** The primary has surrendered to this node, its replica: who asks for the shard's keys is not sent back there, but held until it is known who leads. */
  readonly isHeir: boolean;
  /** Holds a client's command until then, or writes why it may not wait. */
  holdForHeir(call: Call): Verdict | undefined;
  /** When the lease ends, in monotonic milliseconds; `Infinity` where none is needed. */
  readonly leaseEndsAtMs: number;
  /** Leader: of shards whose primary is gone, why nothing is done about it, or what is waited for, in words. */
  readonly reasons: ReadonlyMap<ShardId, string>;
  /**
   * Has a replica take over from its primary: the leader is asked, and begins it or does not.
   *
   * @param isForced Also from a primary that does not answer; without its word, so not before its lease is over.
   * @returns Why it is not begun, as CLUSTER FAILOVER would say; `undefined` if it is: the map says when it is done.
   */
  handOver(shard: ShardId, to: NodeId, isForced: boolean, cause: string): Promise<string | undefined>;
  /** Has a shard go on without acknowledged writes that nobody holds any more. @returns As `handOver`. */
  acceptLoss(shard: ShardId, cause: string): Promise<string | undefined>;
  /** Leader: until when a node may have a lease, in monotonic milliseconds; `undefined` where this node does not lead, or does not yet. */
  promisedUntilMs(node: NodeId): number | undefined;
}

export const failoverService = service<Failover>("failover");
