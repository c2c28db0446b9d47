/** Whether a shard's slots are served, as far as a node knows: what CLUSTER INFO and health tell alike. */
import type { Failover } from "./contracts/failover.ts";
import type { MemberHealth, MembershipService } from "./contracts/membership.ts";
import type { ShardRecord, Topology } from "./contracts/topology.ts";
import { reasonInWords, withMemberNames } from "./member-words.ts";

/** What a node knows it from. Without membership every node counts as there, without failover every one as serving. */
export interface ServingFacts {
  readonly topology: Topology;
  readonly membership: MembershipService | undefined;
  readonly failover: Failover | undefined;
}

/** Whether a node counts as failed, in Redis' sense. */
export function isGone(health: MemberHealth | undefined): boolean {
  return health?.state === "down" || health?.state === "left";
}

/** Whether this node's lease, if it needs one, lets it write. */
export function hasLease(failover: Failover | undefined): boolean {
  return failover?.leaseState !== "lapsed" && failover?.leaseState !== "stale-reads";
}

/**
 * Why nobody serves a shard's slots, in words.
 *
 * @param nowMs By the monotonic clock.
 * @returns `undefined`: its primary does.
 */
export function whyNotServed(
  { id, primary, primaryIncarnation }: ShardRecord,
  { topology, membership, failover }: ServingFacts,
  nowMs: number,
): string | undefined {
  const node = topology.node(primary);
  const words = `primary ${node?.name || primary}`;
  const health = membership?.member(primary);
  const { nodes } = topology.map;
  if (health !== undefined && isGone(health)) return `${words} is ${health.state}: ${reasonInWords(health, nodes)}`;
  if (node?.incarnation === 0) return `${words} has not started yet`;
  if (node?.incarnation !== primaryIncarnation) return `${words} has restarted and lost what the shard held`;
  if (primary === topology.self.id) return hasLease(failover) ? undefined : `${words}, this node, has no lease`;
  // Who leads hears of it before anybody counts as gone: what is wrong is nobody's loss while the lease may run.
  const leaseEndsAtMs = failover?.promisedUntilMs(primary) ?? Number.POSITIVE_INFINITY;
  const reason = leaseEndsAtMs > nowMs ? undefined : failover?.reasons.get(id);
  return reason === undefined ? undefined : withMemberNames(reason, nodes);
}
