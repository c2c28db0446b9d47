/** What changes of the cluster map come to, counted as they happen. */
import type { MapChange, NodeId } from "../contracts/topology.ts";

export class MapCounts {
  /** Maps that were switched to. */
  changes = 0;
  /** Members that came into the in-sync set of the shard that this node led afterwards, or left it. */
  joined = 0;
  left = 0;
  /** How often this node took a shard over. */
  promotions = 0;

  /** @param self This node. */
  note({ map, previous, delta }: MapChange, self: NodeId): void {
    // What there is at the start has not changed.
    if (previous === undefined) return;
    this.changes += 1;
    if (previous.clusterId !== map.clusterId || delta?.shards.length === 0) return;
    const now = map.shards.find(({ primary }) => primary === self);
    if (now === undefined) return;
    const before = previous.shards.find(({ id }) => id === now.id);
    if (before === undefined) return;
    this.joined += now.inSync.filter((id) => !before.inSync.includes(id)).length;
    this.left += before.inSync.filter((id) => !now.inSync.includes(id)).length;
    if (before.primary !== self) this.promotions += 1;
  }
}
