/** Plans as tables: what would move, what that weighs, and how even it is before and after. */
import Table from "cli-table3";
import pc from "picocolors";
import type { ClusterMap, ShardId } from "../contracts/topology.ts";
import type { Plan, PlannedMove } from "../protocol/plan/plan.ts";
import { formatSlotRange } from "../protocol/slot-ranges.ts";
import { harmless } from "./terminal.ts";
import { formatBytes, formatCount, formatDuration } from "./units.ts";

/**
 * What a primary is taken to send in a second, for estimates before there is anything to measure: bytes, and keys, which cost as much by their number as by their
 * size. Half of what a machine of two cores does with nothing else to do.
 */
const BYTES_PER_SECOND = 25_000_000;
const KEYS_PER_SECOND = 150_000;
/** Agreeing on the start, the fence and the end. */
const TASK_MS = 300;

/** Ranges that are shown of a move; of more it tells how many there are. */
const SHOWN_RANGES = 6;

/** A shard by the name of its primary, which people know. */
export function shardName(map: ClusterMap, id: ShardId): string {
  const shard = map.shards.find((each) => each.id === id);
  const node = map.nodes.find((each) => each.id === shard?.primary);
  if (node === undefined) return id.slice(0, 8);
  return node.name === "" ? `${node.host}:${node.port}` : node.name;
}

/** Sentences about shards, with their names. */
export function withNames(map: ClusterMap, text: string): string {
  return map.shards.reduce((named, { id }) => named.replaceAll(id, shardName(map, id)), text);
}

export function rangesText(slots: readonly { readonly first: number; readonly last: number }[]): string {
  const shown = slots.slice(0, SHOWN_RANGES).map(formatSlotRange).join(" ");
  return slots.length > SHOWN_RANGES ? `${shown} and ${slots.length - SHOWN_RANGES} more` : shown;
}

function moveMs({ keys, bytes }: Pick<PlannedMove, "keys" | "bytes">): number {
  return TASK_MS + (1000 * bytes) / BYTES_PER_SECOND + (1000 * keys) / KEYS_PER_SECOND;
}

/** How long moves take that run side by side: as long as the shard that has most of them to send or to take. */
function estimateMs(moves: readonly PlannedMove[]): number {
  const busy = new Map<string, number>();
  for (const move of moves) {
    for (const shard of [`from ${move.source}`, `to ${move.target}`]) {
      busy.set(shard, (busy.get(shard) ?? 0) + moveMs(move));
    }
  }
  return Math.max(0, ...busy.values());
}

export function movesTable(map: ClusterMap, moves: readonly PlannedMove[]): string {
  const table = new Table({
    head: ["from", "to", "slots", "ranges", "keys", "bytes", "about"],
    colAligns: ["left", "left", "right", "left", "right", "right", "right"],
    style: { head: [], border: [] },
  });
  for (const move of moves) {
    table.push([
      shardName(map, move.source),
      shardName(map, move.target),
      formatCount(move.slotCount),
      rangesText(move.slots),
      formatCount(move.keys),
      formatBytes(move.bytes),
      formatDuration(moveMs(move)),
    ]);
  }
  const sum = (of: (move: PlannedMove) => number): number => moves.reduce((total, move) => total + of(move), 0);
  table.push([
    "together",
    "",
    formatCount(sum(({ slotCount }) => slotCount)),
    "",
    formatCount(sum(({ keys }) => keys)),
    formatBytes(sum(({ bytes }) => bytes)),
    formatDuration(estimateMs(moves)),
  ]);
  return table.toString();
}

function spreadTable(map: ClusterMap, { before, after, by }: Plan): string {
  const table = new Table({
    head: ["shard", "weight", "slots", "keys", "bytes", `part of ${by}`],
    colAligns: ["left", "right", "right", "right", "right", "right"],
    style: { head: [], border: [] },
  });
  const part = (amount: number, all: readonly number[]): string => {
    const total = all.reduce((sum, each) => sum + each, 0);
    return total === 0 ? "-" : `${((100 * amount) / total).toFixed(1)} %`;
  };
  for (const [at, was] of before.shares.entries()) {
    const will = after.shares[at] ?? was;
    const change = (of: "slots" | "keys" | "bytes", format: (value: number) => string): string =>
      was[of] === will[of] ? format(was[of]) : `${format(was[of])} -> ${format(will[of])}`;
    const parts = [before, after].map(({ shares }, side) =>
      part(
        (side === 0 ? was : will)[by],
        shares.map((share) => share[by]),
      ),
    );
    table.push([
      shardName(map, was.shard),
      String(was.weight),
      change("slots", formatCount),
      change("keys", formatCount),
      change("bytes", formatBytes),
      parts[0] === parts[1] ? (parts[0] ?? "") : parts.join(" -> "),
    ]);
  }
  return table.toString();
}

/** All that people need to see of a plan before they say yes. */
export function describePlan(map: ClusterMap, plan: Plan): string {
  const percent = (worst: number): string => `${(100 * worst).toFixed(1)} %`;
  const lines = [spreadTable(map, plan), ""];
  if (plan.moves.length > 0) lines.push(movesTable(map, plan.moves), "");
  lines.push(
    `Plan ${plan.id.slice(0, 12)}, for map version ${plan.mapVersion}. The shard farthest from its part is ${percent(plan.before.worst)} off now, and ${percent(plan.after.worst)} after.`,
    ...plan.warnings.map((warning) => `${pc.yellow("warning:")} ${withNames(map, harmless(warning))}`),
  );
  return lines.join("\n");
}
