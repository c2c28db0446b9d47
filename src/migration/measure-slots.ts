/** What the slots of a cluster hold and cost, gathered from the primaries: what plans of moves are made of. */
import type { ReplyValue } from "../codec/resp-reader.ts";
import { SLOT_COUNT } from "../codec/slot.ts";
import type { ClusterMap, ShardId, ShardRecord } from "../contracts/topology.ts";
import { messageOf } from "../errors.ts";
import type { PlanLoads } from "../protocol/plan/plan.ts";

/** What a primary is asked. */
export const LOADS_COMMAND = ["CLUSTER", "SLOTLOADS"] as const;

export interface Measured {
  readonly loads: PlanLoads;
  /** Shards of which nobody could be asked, and why. */
  readonly silent: ReadonlyMap<ShardId, string>;
}

/**
 * Asks every primary.
 *
 * @param ask Asks a shard's primary `LOADS_COMMAND`. If it throws, that is why the shard is left out.
 */
export async function measureSlots(
  map: ClusterMap,
  ask: (shard: ShardRecord) => Promise<ReplyValue | undefined>,
): Promise<Measured> {
  const numbers = (): Float64Array => new Float64Array(SLOT_COUNT);
  const loads = { keys: numbers(), bytes: numbers(), load: numbers() };
  const operations = numbers();
  const silent = new Map<ShardId, string>();
  await Promise.all(
    map.shards.map(async (shard) => {
      try {
        const told = await ask(shard);
        if (!Array.isArray(told)) throw new Error("its primary does not tell what its slots hold");
        const values = (told as readonly ReplyValue[]).map(Number);
        for (let at = 0; at + 4 < values.length; at += 5) {
          const [slot = 0, keys = 0, bytes = 0, commands = 0, microseconds = 0] = values.slice(at, at + 5);
          loads.keys[slot] = keys;
          loads.bytes[slot] = bytes;
          loads.load[slot] = microseconds;
          operations[slot] = commands;
        }
      } catch (thrown) {
        silent.set(shard.id, messageOf(thrown));
      }
    }),
  );
  // Where nobody measured time, commands say as much.
  return { loads: loads.load.some((each) => each > 0) ? loads : { ...loads, load: operations }, silent };
}
