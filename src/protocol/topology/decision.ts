/** What the leader makes of a request: records, or why not. */
import { SLOT_COUNT } from "../../codec/slot.ts";
import type { SlotRange } from "../../contracts/topology.ts";
import type { TopologyRecord } from "./records.ts";

/** What a request comes to. */
export type TopologyDecision =
  { readonly records: readonly TopologyRecord[]; readonly outcome: readonly string[] } | { readonly rejection: string };

/** What the reason begins with when a request is rejected because a shard has changed since it was decided on. */
export const STALE = "ERR stale: ";

const OK: readonly string[] = ["OK"];

export function records(...all: readonly TopologyRecord[]): TopologyDecision {
  return { records: all, outcome: OK };
}

export function rejection(reason: string): TopologyDecision {
  return { rejection: reason };
}

/** Why slots are none, in Redis' words. */
export function problemOfSlots(slots: readonly SlotRange[]): string | undefined {
  const isRange = ({ first, last }: SlotRange): boolean =>
    Number.isInteger(first) && Number.isInteger(last) && first >= 0 && first <= last && last < SLOT_COUNT;
  return slots.length > 0 && slots.every(isRange) ? undefined : "ERR Invalid or out of range slot";
}
