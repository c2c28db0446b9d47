/** Keys on their way from one node to another, one by one. Provided by the plugin `migrate`. */
import { service } from "../service.ts";
import type { NodeRecord } from "./topology.ts";

export interface KeyMover {
  /**
   * Moves all keys of a slot to the node that the map has it moved to, a few at a time: what is there already of them is replaced.
   *
   * @returns Why it was not done, as MIGRATE would answer; `undefined` if it was.
   */
  moveAll(slot: number, to: NodeRecord): Promise<string | undefined>;
  /** Until it is known of each key of a slot at which side it is. */
  settled(slot: number): Promise<void>;
}

export const keyMoverService = service<KeyMover>("key-mover");
