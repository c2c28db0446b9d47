/** Maps for tests: nodes, each the primary of a shard of its own. */
import type { ClusterMap, NodeRecord, SlotRange } from "../../src/contracts/topology.ts";
import { EMPTY_STATE, checkState, imageOf } from "../../src/protocol/topology/state.ts";

/** A node with the slots of its shard. */
export interface MapEntry {
  readonly node: NodeRecord;
  readonly shardId: string;
  readonly slots: readonly SlotRange[];
}

/** A node's record: whatever a test does not care about is filled in. */
export function makeNode(node: Pick<NodeRecord, "id" | "name" | "host" | "port"> & Partial<NodeRecord>): NodeRecord {
  return {
    busHost: node.host,
    busPort: node.port + 10_000,
    httpHost: node.host,
    httpPort: 0,
    zone: "",
    role: "data",
    start: "",
    incarnation: 1,
    ...node,
  };
}

export function makeMap(version: number, entries: readonly MapEntry[]): ClusterMap {
  const shards = entries.map(({ node, shardId, slots }) => ({
    id: shardId,
    primary: node.id,
    primaryIncarnation: node.incarnation,
    replicas: [],
    inSync: [node.id],
    eligible: [],
    slots,
    primaryEpoch: 1,
    version: 1,
  }));
  const state = {
    ...EMPTY_STATE,
    version,
    nodes: new Map(entries.map(({ node }) => [node.id, node])),
    shards: new Map(shards.map((shard) => [shard.id, shard])),
  };
  checkState(state);
  return imageOf(state, undefined);
}
