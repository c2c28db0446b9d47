/** Who is at an address that may belong to another cluster. Provided by the plugin `meet`. */
import { service } from "../service.ts";
import type { BusAddress } from "./bus.ts";
import type { NodeId } from "./topology.ts";

export interface Meetings {
  /**
   * Asks over the bus, where both sides prove the cluster's secret and neither tells it: a stranger at the address learns nothing of this cluster.
   *
   * @returns `undefined`: nobody who has the secret answers within the time.
   */
  identify(address: BusAddress, limitMs: number): Promise<NodeId | undefined>;
}

export const meetingsService = service<Meetings>("meetings");
