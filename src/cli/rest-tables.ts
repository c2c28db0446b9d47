/** What REST tells, as tables and words for people. */
import Table from "cli-table3";
import pc from "picocolors";
import type { HealthState } from "../contracts/health.ts";
import { withNames } from "../rest/amiss.ts";
import { type TableColumn, fittedTable } from "./fitted-table.ts";
import type { Info, MigrationView, NodeView, ShardView } from "../rest/schemas.ts";

export const HEALTH_PAINT: Readonly<Record<HealthState, (text: string) => string>> = {
  ok: pc.green,
  warn: pc.yellow,
  critical: pc.red,
};

export const CLUSTER_PAINT: Readonly<Record<Info["state"], (text: string) => string>> = {
  ok: pc.green,
  degraded: pc.yellow,
  fail: pc.red,
};

const NODE_PAINT: Readonly<Record<NodeView["state"], (text: string) => string>> = {
  alive: pc.green,
  suspect: pc.yellow,
  down: pc.red,
  left: pc.dim,
  unknown: pc.yellow,
};

/** Ranges that are shown of a shard; of more it tells how many there are. */
const SHOWN_RANGES = 6;

type Range = { readonly start: number; readonly end: number };

/** A table without lines, for where there is little room. */
export function newBareTable(head: readonly string[], right: readonly string[] = []): Table.Table {
  const places = ["top", "bottom", "left", "right"];
  const corners = ["mid", "left", "right"].flatMap((end) => [`top-${end}`, `bottom-${end}`]);
  const chars = [...places, ...corners, "mid", "left-mid", "mid-mid", "right-mid", "middle"].map((place) => [
    place,
    "",
  ]);
  return new Table({
    head: head.map((title) => pc.bold(title)),
    colAligns: head.map((column) => (right.includes(column) ? "right" : "left")),
    style: { head: [], border: [], "padding-left": 0, "padding-right": 2 },
    chars: Object.fromEntries(chars) as Record<string, string>,
  });
}

/** What people call a node: its name, or where it is reached. */
export function nameIn(nodes: readonly NodeView[], id: string | null): string {
  if (id === null) return "nobody";
  const node = nodes.find((each) => each.id === id);
  return node === undefined ? id.slice(0, 8) : node.name === "" ? node.address : node.name;
}

/** Sentences about nodes and shards, with names. */
export function withNodeNames(nodes: readonly NodeView[], text: string): string {
  return withNames(
    text,
    (id) => (nodes.some((node) => node.id === id) ? nameIn(nodes, id) : undefined),
    (shard) => nodes.find((node) => node.is_master && node.shard_id === shard)?.id,
    (id) => id,
  );
}

export function rangesWords(ranges: readonly Range[]): string {
  const shown = ranges
    .slice(0, SHOWN_RANGES)
    .map(({ start, end }) => (start === end ? String(start) : `${start}-${end}`))
    .join(" ");
  return ranges.length > SHOWN_RANGES ? `${shown} and ${ranges.length - SHOWN_RANGES} more` : shown;
}

export function paintState(state: NodeView["state"]): string {
  return NODE_PAINT[state](state);
}

/** What a node is for, in words. */
export function roleWords(nodes: readonly NodeView[], node: NodeView): string {
  if (node.role === "witness") return "witness";
  if (node.is_replica) return `replica of ${nameIn(nodes, node.master_id)}`;
  if (node.is_master) return node.slot_count === 0 ? "primary, no slots" : "primary";
  return "none";
}

/** As people look for names: node-2 before node-10. */
export const byName = new Intl.Collator("en", { numeric: true });

const NODE_COLUMNS: readonly TableColumn[] = [
  { head: "node" },
  { head: "state" },
  { head: "role", least: 10 },
  { head: "slots", isNumber: true },
  { head: "clients at" },
  { head: "operators at", spare: 2 },
  { head: "zone", spare: 1 },
  { head: "map" },
  // Its beginning is enough to name one.
  { head: "id", least: 9, spare: 3 },
];

/** @param room Columns of the terminal; 0: without bound. */
export function nodesTable(listed: readonly NodeView[], room = 0): string {
  const nodes = listed.toSorted((one, other) => byName.compare(nameIn(listed, one.id), nameIn(listed, other.id)));
  const rows = nodes.map((node) => [
    `${nameIn(nodes, node.id)}${node.is_myself ? " *" : ""}`,
    paintState(node.state),
    roleWords(nodes, node),
    node.is_replica ? "" : String(node.slot_count),
    node.address,
    node.http_address ?? "",
    node.zone,
    node.is_leader ? "leads" : node.is_voter ? "votes" : "",
    node.id,
  ]);
  return fittedTable(NODE_COLUMNS, rows, room);
}

const SHARD_COLUMNS: readonly TableColumn[] = [
  { head: "primary" },
  { head: "slots", isNumber: true },
  { head: "ranges", least: 11 },
  { head: "replicas", least: 12 },
  { head: "served", least: 16 },
];

/** @param room Columns of the terminal; 0: without bound. */
export function shardsTable(nodes: readonly NodeView[], shards: readonly ShardView[], room = 0): string {
  const rows: string[][] = [];
  for (const { primary, replicas, in_sync: inSync, slots, slot_count: count, is_served: isServed, reason } of shards) {
    if (count === 0 && replicas.length === 0) continue;
    const members = replicas.map((id) => {
      const name = nameIn(nodes, id);
      return inSync.includes(id) ? name : pc.yellow(`${name} (not in sync)`);
    });
    const served = count === 0 ? "" : isServed ? pc.green("yes") : pc.red(`no: ${withNodeNames(nodes, reason ?? "")}`);
    rows.push([nameIn(nodes, primary), String(count), rangesWords(slots), members.join(", ") || "none", served]);
  }
  return fittedTable(SHARD_COLUMNS, rows, room);
}

/** One line for a task that moves slots. */
export function moveWords(nodes: readonly NodeView[], move: MigrationView): string {
  const keys =
    move.keys_migrated === null || move.total_keys === null ? "" : `, ${move.keys_migrated} of ${move.total_keys} keys`;
  const waits = move.waiting_for === null ? "" : `, waits: ${withNodeNames(nodes, move.waiting_for)}`;
  const state = `${move.state}${move.is_paused ? ", paused" : ""}${keys}${waits}`;
  return `${rangesWords(move.slots)} from ${nameIn(nodes, move.from_node)} to ${nameIn(nodes, move.to_node)}: ${state}`;
}
