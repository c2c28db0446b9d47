/** Plans as tables: what would move, what that weighs, and how even it is before and after. */
import pc from "picocolors";
import type { ClusterMap, NodeId, ShardId } from "../contracts/topology.ts";
import type { Plan, PlannedMove, ShardShare } from "../protocol/plan/plan.ts";
import { formatSlotRange } from "../protocol/slot-ranges.ts";
import { type TableColumn, fittedTable } from "./fitted-table.ts";
import { byName } from "./rest-tables.ts";
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
  return nodeName(map, shard?.primary) ?? id.slice(0, 8);
}

/** A node by its name, or where it is reached; `undefined` if it is not in the map. */
export function nodeName({ nodes }: ClusterMap, id: NodeId | undefined): string | undefined {
  const node = nodes.find((each) => each.id === id);
  return node?.name === "" ? `${node.host}:${node.port}` : node?.name;
}

/** Sentences about shards, with their names. */
export function withNames(map: ClusterMap, text: string): string {
  return map.shards.reduce((named, { id }) => named.replaceAll(id, shardName(map, id)), text);
}

/** Ranges of slots; of many the first ones, and how many more there are. */
export function rangesText(
  slots: readonly { readonly first: number; readonly last: number }[],
  most: number = SHOWN_RANGES,
): string {
  const shown = slots.slice(0, most).map(formatSlotRange).join(" ");
  return slots.length > most ? `${shown} and ${slots.length - most} more` : shown;
}

/** Of one amount to another, such as `2.0 -> 1.5 MB`: the unit once, if it is the same. */
function change(before: string, after: string): string {
  if (before === after) return after;
  const [, value = "", unit = ""] = /^(.*?)( [A-Z%]+)$/.exec(before) ?? [];
  return `${unit !== "" && after.endsWith(unit) ? value : before} -> ${after}`;
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

const MOVE_COLUMNS: readonly TableColumn[] = [
  { head: "from" },
  { head: "to" },
  { head: "slots", isNumber: true },
  { head: "ranges", least: 11 },
  { head: "keys", isNumber: true, spare: 2 },
  { head: "bytes", isNumber: true },
  { head: "about", isNumber: true, spare: 1 },
];

/** @param room Columns of the terminal; 0: without bound. */
export function movesTable(map: ClusterMap, moves: readonly PlannedMove[], room: number): string {
  const rows = moves.map((move) => [
    shardName(map, move.source),
    shardName(map, move.target),
    formatCount(move.slotCount),
    rangesText(move.slots),
    formatCount(move.keys),
    formatBytes(move.bytes),
    formatDuration(moveMs(move)),
  ]);
  const sum = (of: (move: PlannedMove) => number): number => moves.reduce((total, move) => total + of(move), 0);
  rows.push([
    "together",
    "",
    formatCount(sum(({ slotCount }) => slotCount)),
    "",
    formatCount(sum(({ keys }) => keys)),
    formatBytes(sum(({ bytes }) => bytes)),
    formatDuration(estimateMs(moves)),
  ]);
  return fittedTable(MOVE_COLUMNS, rows, room);
}

function spreadTable(map: ClusterMap, { before, after, by }: Plan, room: number): string {
  const total = (shares: readonly ShardShare[]): number => shares.reduce((sum, share) => sum + share[by], 0);
  const percent = (amount: number, all: number): string => (all === 0 ? "-" : `${((100 * amount) / all).toFixed(1)} %`);
  // Most often all are worth the same, and there is more room without.
  const hasWeights = before.shares.some(({ weight }) => weight !== 1);
  const numbers = [...(hasWeights ? ["weight"] : []), "slots", "keys", "bytes", `part of ${by}`];
  const columns = [{ head: "shard" }, ...numbers.map((head): TableColumn => ({ head, isNumber: true, least: 8 }))];
  const rows: string[][] = [];
  const shards = before.shares.map((was, at) => ({
    was,
    will: after.shares[at] ?? was,
    name: shardName(map, was.shard),
  }));
  for (const { was, will, name } of shards.toSorted((one, other) => byName.compare(one.name, other.name))) {
    rows.push([
      name,
      ...(hasWeights ? [String(was.weight)] : []),
      change(formatCount(was.slots), formatCount(will.slots)),
      change(formatCount(was.keys), formatCount(will.keys)),
      change(formatBytes(was.bytes), formatBytes(will.bytes)),
      change(percent(was[by], total(before.shares)), percent(will[by], total(after.shares))),
    ]);
  }
  return fittedTable(columns, rows, room);
}

/** All that people need to see of a plan before they say yes. @param room Columns of the terminal; 0: without bound. */
export function describePlan(map: ClusterMap, plan: Plan, room: number): string {
  const percent = (worst: number): string => `${(100 * worst).toFixed(1)} %`;
  const lines = [spreadTable(map, plan, room), ""];
  if (plan.moves.length > 0) lines.push(movesTable(map, plan.moves, room), "");
  lines.push(
    `Plan ${plan.id.slice(0, 12)}, for map version ${plan.mapVersion}. The shard farthest from its part is ${percent(plan.before.worst)} off now, and ${percent(plan.after.worst)} after.`,
    ...plan.warnings.map((warning) => `${pc.yellow("warning:")} ${withNames(map, harmless(warning))}`),
  );
  return lines.join("\n");
}
