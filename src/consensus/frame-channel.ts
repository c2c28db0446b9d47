/** Which channel of the bus a frame of consensus travels on. */
import type { ConsensusFrame } from "../codec/consensus-codec.ts";
import { BusChannel } from "../contracts/bus.ts";

/** Whoever speaks of forming a group may be in none, or in another: that goes over meeting links. */
export function channelOf({ type }: ConsensusFrame): BusChannel {
  return type === "who" || type === "here" || type === "join" || type === "removed"
    ? BusChannel.formation
    : BusChannel.consensus;
}
