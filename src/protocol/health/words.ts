/** Parts of sentences about health. Pure. */
import type { SlotRange } from "../../contracts/topology.ts";
import { formatSlotRange } from "../slot-ranges.ts";
import { SHOWN } from "./limits.ts";

/** A list for people: some of them, and how many more there are. */
export function listed(items: readonly string[], separator = ", "): string {
  const shown = items.slice(0, SHOWN).join(separator);
  return items.length > SHOWN ? `${shown} and ${items.length - SHOWN} more` : shown;
}

/** Such as `1 slot`, `2 slots`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** Such as `0-99, 7`. */
export function rangesOf(slots: readonly SlotRange[]): string {
  return listed(slots.map(formatSlotRange));
}

export function countSlots(slots: readonly SlotRange[]): number {
  return slots.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

/** Such as `350 ms`, `4.2 s`, `3 min`, `2 h`. */
export function time(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 100_000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}

/** Such as `1.5 GiB`. */
export function size(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let [value, unit] = [bytes, 0];
  while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? ""}`;
}
