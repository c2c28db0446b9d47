/** What REST tells of the cluster: made of what this node knows, changing nothing. */
import type { ClusterView } from "../cluster-view.ts";
import { SLOT_COUNT } from "../codec/slot.ts";
import type { Consensus } from "../contracts/consensus.ts";
import type { Topology } from "../contracts/topology.ts";
import type { Info } from "./schemas.ts";

/** Where the operations of REST read from and ask. */
export interface RestSources {
  readonly topology: Topology;
  readonly view: ClusterView;
  readonly consensus: Consensus | undefined;
  /** This node routes by slots. */
  readonly isCluster: boolean;
}

/** `GET /cluster/info`. */
export function infoOf({ topology, view, consensus, isCluster }: RestSources): Info {
  const { map, self } = topology;
  const { assigned } = view.slotSums();
  const failures = view.failures().map(({ reason }) => reason);
  const degradations = view.degradations();
  return {
    cluster_enabled: isCluster,
    cluster_id: map.clusterId,
    state: failures.length > 0 ? "fail" : degradations.length > 0 ? "degraded" : "ok",
    reasons: [...failures, ...degradations],
    slot_assignment: assigned === SLOT_COUNT ? "complete" : "incomplete",
    slots: { assigned, total: SLOT_COUNT, coverage: coverageOf(assigned) },
    nodes: { count: map.nodes.length, my_node_id: self.id },
    shards: { count: map.shards.length, with_slots: map.shards.filter(({ slots }) => slots.length > 0).length },
    leader: consensus?.status.leader ?? null,
    term: consensus?.status.term ?? 0,
    map_version: map.version,
  };
}

/** In percent, with two digits behind the point. Never rounded up: 100 is all. */
function coverageOf(assigned: number): number {
  return Math.floor((assigned * 10_000) / SLOT_COUNT) / 100;
}
