/** Slots that a node owns and does not serve at this moment, since it is about to give them away. Provided by the plugin `setslot`. */
import { service } from "../service.ts";

export interface SlotHolds {
  /** Another list whenever others are held. */
  readonly held: readonly number[];
}

export const slotHoldsService = service<SlotHolds>("slot-holds");
