/** What can happen to the cluster map: the records of its log. A record says what is, not what was wanted; whoever applies it decides nothing. */
import type { MigrationRecord, NodeId, NodeRecord, SealRecord, ShardId, SlotRange } from "../../contracts/topology.ts";

export type TopologyRecord =
  /** Its incarnation is the version of the act that holds this record. */
  | { readonly type: "node-admitted"; readonly node: Omit<NodeRecord, "incarnation"> }
  | { readonly type: "node-removed"; readonly node: NodeId }
  | { readonly type: "tombstone-lifted"; readonly node: NodeId }
  | {
      readonly type: "shard-created";
      readonly shard: ShardId;
      readonly primary: NodeId;
      readonly epoch: number;
      /** Its primary was a replica of a shard that was emptied. */
      readonly wasEmptied?: true;
    }
  | { readonly type: "shard-removed"; readonly shard: ShardId }
  | { readonly type: "slots-assigned"; readonly shard: ShardId; readonly slots: readonly SlotRange[] }
  | { readonly type: "slots-released"; readonly slots: readonly SlotRange[] }
  | { readonly type: "release-acknowledged"; readonly node: NodeId; readonly version: number }
  | { readonly type: "epoch-changed"; readonly shard: ShardId; readonly epoch: number }
  | { readonly type: "replica-added"; readonly shard: ShardId; readonly node: NodeId }
  | { readonly type: "replica-removed"; readonly shard: ShardId; readonly node: NodeId }
  | {
      readonly type: "in-sync-changed";
      readonly shard: ShardId;
      readonly inSync: readonly NodeId[];
      readonly eligible: readonly NodeId[];
    }
  | {
      readonly type: "primary-promoted";
      readonly shard: ShardId;
      readonly node: NodeId;
      readonly epoch: number;
      /** The former primary serves no more: nobody waits for its word. */
      readonly isLeaseOver?: true;
    }
  | { readonly type: "primary-kept"; readonly shard: ShardId }
  | { readonly type: "loss-accepted"; readonly shard: ShardId; readonly node: NodeId; readonly epoch: number }
  /** Its cause and time are those of the act. */
  | {
      readonly type: "migration-started";
      readonly migration: Pick<MigrationRecord, "id" | "source" | "target" | "slots" | "awaitsWord">;
      readonly sourceEpoch: number;
      readonly targetEpoch: number;
    }
  | {
      readonly type: "migration-fenced";
      readonly id: string;
      readonly sourceEpoch: number;
      readonly targetEpoch: number;
    }
  | { readonly type: "migration-unfenced"; readonly id: string }
  | {
      readonly type: "migration-completed";
      readonly id: string;
      readonly sourceEpoch: number;
      readonly targetEpoch: number;
    }
  | { readonly type: "completion-allowed"; readonly id: string }
  | {
      readonly type: "migration-aborted";
      readonly id: string;
      readonly sourceEpoch: number;
      readonly targetEpoch: number;
    }
  | { readonly type: "slot-migrating"; readonly slot: number; readonly shard: ShardId; readonly to: ShardId }
  | { readonly type: "slot-importing"; readonly slot: number; readonly shard: ShardId; readonly from: ShardId }
  /** The shard's marks are gone. */
  | { readonly type: "slot-stable"; readonly slot: number; readonly shard: ShardId }
  /** All marks are. */
  | { readonly type: "slot-closed"; readonly slot: number }
  /** Its owner serves it no more: nobody waits for its word. */
  | { readonly type: "slot-given"; readonly slot: number; readonly shard: ShardId }
  | { readonly type: "migration-paused"; readonly id: string; readonly isPaused: boolean }
  | { readonly type: "setting-changed"; readonly name: string; readonly value: string }
  | { readonly type: "sealed"; readonly seal: SealRecord }
  | { readonly type: "unsealed"; readonly joinId: string };

/** One entry of the log: everything that one request came to, applied in one step. */
export interface TopologyAct {
  /** Of the request, never used for another. */
  readonly requestId: string;
  readonly cause: string;
  /** Wall time in milliseconds at the node that decided. */
  readonly timeMs: number;
  readonly records: readonly TopologyRecord[];
  /** What the request is answered with. */
  readonly outcome: readonly string[];
  /** It was decided against, for this reason: there are no records. */
  readonly rejection?: string;
}

/** A record as a sentence. */
export function describeRecord(record: TopologyRecord): string {
  const slots = (ranges: readonly SlotRange[]): string =>
    ranges.map(({ first, last }) => (first === last ? String(first) : `${first}-${last}`)).join(" ");
  switch (record.type) {
    case "node-admitted":
      return `node ${record.node.id} (${record.node.name}) admitted at ${record.node.host}:${record.node.port}`;
    case "node-removed":
      return `node ${record.node} removed`;
    case "tombstone-lifted":
      return `node ${record.node} may come back`;
    case "shard-created":
      return `shard ${record.shard} created with primary ${record.primary}`;
    case "shard-removed":
      return `shard ${record.shard} removed`;
    case "slots-assigned":
      return `slots ${slots(record.slots)} assigned to shard ${record.shard}`;
    case "slots-released":
      return `slots ${slots(record.slots)} released`;
    case "release-acknowledged":
      return `node ${record.node} serves no more what it lost`;
    case "epoch-changed":
      return `shard ${record.shard} has epoch ${record.epoch}`;
    case "replica-added":
      return `node ${record.node} added to shard ${record.shard} as a replica`;
    case "replica-removed":
      return `node ${record.node} removed from shard ${record.shard}`;
    case "in-sync-changed":
      return `shard ${record.shard} has in sync ${record.inSync.join(" ")}, eligible ${record.eligible.join(" ") || "nobody"}`;
    case "primary-promoted":
      return `node ${record.node} promoted to primary of shard ${record.shard} in epoch ${record.epoch}`;
    case "primary-kept":
      return `shard ${record.shard} keeps its primary`;
    case "loss-accepted":
      return `shard ${record.shard} goes on with node ${record.node} as its primary in epoch ${record.epoch}, without what is lost`;
    case "migration-started":
      return `migration ${record.migration.id} of slots ${slots(record.migration.slots)} started from shard ${record.migration.source} to ${record.migration.target}, in epochs ${record.sourceEpoch} and ${record.targetEpoch}`;
    case "migration-fenced":
      return `migration ${record.id} fenced, in epochs ${record.sourceEpoch} and ${record.targetEpoch}`;
    case "migration-unfenced":
      return `migration ${record.id} not fenced any more`;
    case "migration-completed":
      return `migration ${record.id} completed, in epochs ${record.sourceEpoch} and ${record.targetEpoch}`;
    case "completion-allowed":
      return `migration ${record.id} may be completed`;
    case "migration-aborted":
      return `migration ${record.id} aborted, in epochs ${record.sourceEpoch} and ${record.targetEpoch}`;
    case "slot-migrating":
      return `slot ${record.slot} of shard ${record.shard} moves to shard ${record.to} key by key`;
    case "slot-importing":
      return `slot ${record.slot} is taken in by shard ${record.shard}, from shard ${record.from}`;
    case "slot-stable":
      return `slot ${record.slot} is not on its way any more for shard ${record.shard}`;
    case "slot-closed":
      return `slot ${record.slot} is not on its way any more`;
    case "slot-given":
      return `slot ${record.slot} given to shard ${record.shard} by its owner`;
    case "migration-paused":
      return `migration ${record.id} ${record.isPaused ? "paused" : "goes on"}`;
    case "setting-changed":
      return `setting ${record.name} is "${record.value}"`;
    case "sealed":
      return `sealed: about to be part of cluster ${record.seal.clusterId}, as ${record.seal.joinId}`;
    case "unsealed":
      return `not to be part of another cluster, as ${record.joinId}`;
    default:
      return record satisfies never;
  }
}
