/** What the slots of this node hold, and what they cost: what plans of moves are made of. Provided by the plugin `slot-stats`. */
import { service } from "../service.ts";

/** One slot. Rates are those of about the last minute, estimated from a sample of the commands. */
export interface SlotLoad {
  readonly slot: number;
  readonly keys: number;
  readonly bytes: number;
  /** Commands in a minute. */
  readonly operations: number;
  /** Time that commands took, in microseconds a minute. */
  readonly microseconds: number;
}

export interface SlotLoads {
  /** Slots of this node's shard that hold keys or had commands of late, in order. */
  readonly all: readonly SlotLoad[];
}

export const slotLoadsService = service<SlotLoads>("slot-loads");
