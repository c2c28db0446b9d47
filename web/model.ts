/** The cluster as the page knows it: what REST has told, put together. */
import { type Amiss, amissOf, withNames } from "../src/rest/amiss.ts";
import type {
  HealthView,
  Info,
  MigrationView,
  NodeDetail,
  NodeStats,
  NodeView,
  ShardView,
} from "../src/rest/schemas.ts";
import { countOf, momentInWords } from "./words.ts";

/** An act on the cluster map. */
export interface Act {
  readonly version: number;
  readonly time: number;
  readonly cause: string;
  readonly changes: readonly string[];
}

export interface Cluster {
  readonly info: Info;
  readonly nodes: readonly NodeView[];
  readonly shards: readonly ShardView[];
  /** `undefined`: nobody judges it. */
  readonly health: HealthView | undefined;
}

/** What the checks say is amiss, the worst first. */
export function amissIn({ health }: Pick<Cluster, "health">, nodes: ReadonlyMap<string, NodeView>): readonly Amiss[] {
  if (health === undefined) return [];
  return amissOf(health, { of: (id) => nameOf(nodes, id), inText: (text) => readable(text, nodes) });
}

/** How something is, from well to bad. */
export type Level = "ok" | "warn" | "critical" | "unknown";

const LEVELS: Readonly<Record<NodeView["state"], Level>> = {
  alive: "ok",
  suspect: "warn",
  down: "critical",
  left: "critical",
  unknown: "unknown",
};

export function nodeLevel({ state }: NodeView): Level {
  return LEVELS[state];
}

/** How a node is, in words: its state, and what the checks on it say. */
export interface NodeWord {
  readonly level: Level;
  readonly word: string;
}

export function nodeWord(node: NodeView, health: HealthView | undefined): NodeWord {
  const level = nodeLevel(node);
  // Of one that is gone nothing else is news.
  if (level !== "ok") return { level, word: node.state };
  const amiss = (health?.checks ?? []).filter(
    ({ scope, state, node_id: id }) => scope === "node" && state !== "ok" && id === node.id,
  );
  if (health?.silent.some(({ node_id: id }) => id === node.id) === true)
    return { level: "warn", word: `${node.state}, and does not tell how it is` };
  if (amiss.length === 0) return { level, word: node.state };
  const isCritical = amiss.some(({ state }) => state === "critical");
  return {
    level: isCritical ? "critical" : "warn",
    word: `${node.state}, amiss: ${amiss.map(({ name }) => name).join(", ")}`,
  };
}

/** By what a node is called. */
export function nameOf(nodes: ReadonlyMap<string, NodeView>, id: string): string {
  return nodes.get(id)?.name || id.slice(0, 8);
}

/** A text of the cluster's, with names in the place of ids, as far as they are known; of others the beginning. */
export function readable(text: string, nodes: ReadonlyMap<string, NodeView>): string {
  return withNames(
    text,
    (id) => (nodes.has(id) ? nameOf(nodes, id) : undefined),
    (shard) => [...nodes.values()].find((node) => node.is_master && node.shard_id === shard)?.id,
    (id) => id.slice(0, 8),
  );
}

/** Since when something is as it is, and why. */
export function sinceInWords(
  told: { readonly since: Act | null; readonly since_wanted: string | null; readonly since_founding: number | null },
  nodes: ReadonlyMap<string, NodeView>,
  nowMs: number,
): string {
  const { since, since_wanted: wanted, since_founding: founding } = told;
  if (since !== null) {
    const how = readable(since.cause, nodes);
    const why = wanted === null ? how : `${readable(wanted, nodes)} (${how})`;
    return `So since ${momentInWords(since.time, nowMs)}: ${why}`;
  }
  return founding === null
    ? "So since before what is remembered."
    : `So since the cluster was founded, version ${founding} of its map.`;
}

/** What is known of a node itself, a sentence each. */
export function nodeSentences(
  node: Pick<NodeDetail, "id" | "state" | "address" | "http_address" | "zone" | "health">,
  nodes: ReadonlyMap<string, NodeView>,
  nowMs: number,
): readonly string[] {
  const { state, address, http_address: operators, zone, health } = node;
  const why = health === null ? "" : ` since ${momentInWords(health.since, nowMs)}: ${readable(health.reason, nodes)}`;
  const accusers = (health?.suspected_by ?? []).map((id) => nameOf(nodes, id));
  return [
    `It is ${state}${why}.`,
    `Clients reach it at ${address}${operators === null ? "" : `, operators at ${operators}`}${zone === "" ? "" : `; it is in zone ${zone}`}.`,
    ...(accusers.length === 0 ? [] : [`Found not to answer by ${accusers.join(", ")}.`]),
  ];
}

/** Whether word of how the cluster is says something else than what was told before: each stream begins with it. */
export function isNewState(
  told: Pick<Info, "state" | "reasons">,
  before: Pick<Info, "state" | "reasons"> | undefined,
): boolean {
  return (
    before !== undefined &&
    JSON.stringify([told.state, told.reasons]) !== JSON.stringify([before.state, before.reasons])
  );
}

export interface ReplicaRow {
  readonly id: string;
  readonly name: string;
  readonly level: Level;
  /** In sync, filling and so on, with how far it is behind. */
  readonly word: string;
}

export interface ShardRow {
  readonly shard: ShardView;
  readonly name: string;
  readonly level: Level;
  readonly word: string;
  readonly lease: string;
  readonly replicas: readonly ReplicaRow[];
}

/** A shard as it is listed. */
export function shardRow(
  shard: ShardView,
  nodes: ReadonlyMap<string, NodeView>,
  stats: ReadonlyMap<string, NodeStats>,
): ShardRow {
  const primary = stats.get(shard.primary);
  const replicas = shard.replicas.map((id): ReplicaRow => {
    const node = nodes.get(id);
    const isInSync = shard.in_sync.includes(id);
    const told = primary?.replicas.find((each) => each.node_id === id);
    const isThere = node === undefined || nodeLevel(node) === "ok";
    const lag = told === undefined || told.state !== "following" || told.lag === 0 ? "" : `, ${told.lag} behind`;
    const word = !isThere
      ? (node?.state ?? "unknown")
      : isInSync
        ? `in sync${lag}`
        : told?.state === "filling"
          ? "being filled"
          : shard.eligible.includes(id)
            ? `eligible${lag}`
            : `not in sync${lag}`;
    return { id, name: nameOf(nodes, id), level: !isThere ? nodeLevel(node) : isInSync ? "ok" : "warn", word };
  });
  const isBad = shard.slot_count > 0 && !shard.is_served;
  const isThin = replicas.some(({ level }) => level !== "ok");
  return {
    shard,
    name: nameOf(nodes, shard.primary),
    level: isBad ? "critical" : isThin ? "warn" : "ok",
    word: isBad
      ? (shard.reason ?? "not served")
      : shard.slot_count === 0
        ? "no slots"
        : isThin
          ? "a copy is missing"
          : "served",
    lease: leaseWord(primary),
    replicas,
  };
}

function leaseWord(stats: NodeStats | undefined): string {
  if (stats === undefined) return "not known";
  if (stats.lease === "held") return `held, ${stats.lease_left_ms} ms left`;
  return stats.lease === "none" ? "needs none" : stats.lease.replace("-", " ");
}

/** Bad ones first, then as they were. */
export function worstFirst<Item>(items: readonly Item[], levelOf: (item: Item) => Level): readonly Item[] {
  const ranks: Readonly<Record<Level, number>> = { critical: 0, warn: 1, unknown: 2, ok: 3 };
  return items.toSorted((one, other) => ranks[levelOf(one)] - ranks[levelOf(other)]);
}

export function isUnderWay({ state }: MigrationView): boolean {
  return state !== "completed" && state !== "aborted";
}

/** How much of a move is done, from 0 to 1. */
export function doneOf({ state, keys_migrated: done, total_keys: total }: MigrationView): number {
  if (state === "completed" || state === "level" || state === "fenced") return 1;
  return done === null || total === null || total === 0 ? 0 : Math.min(1, done / total);
}

/** The slots of a move, such as `100 slots`. */
export function slotsIn({ slots }: MigrationView): number {
  return countOf(slots);
}

/** How all of it is, in a word: how the cluster is, and where that is well, what the checks say. */
export function badgeOf({ info, health }: Pick<Cluster, "info" | "health">): {
  readonly level: Level;
  readonly word: string;
} {
  const checked = health?.state ?? "ok";
  if (info.state === "ok") return { level: checked, word: checked };
  const level = info.state === "fail" || checked === "critical" ? "critical" : "warn";
  return { level, word: info.state };
}

/** What is to be looked at first, in one sentence. @param worst Of what is amiss. */
export function verdictOf({ info, nodes }: Pick<Cluster, "info" | "nodes">, worst: Amiss | undefined): string {
  const away = nodes.filter((node) => nodeLevel(node) === "critical").length;
  if (info.state === "ok" && worst === undefined)
    return "All is well: every slot is served, by as many copies as there should be.";
  const state = {
    ok: "Every slot is served.",
    degraded: "Every slot is served, and something is amiss.",
    fail: "Something is not served.",
  }[info.state];
  const gone = away === 0 ? "" : away === 1 ? " One node is gone." : ` ${away} nodes are gone.`;
  return worst === undefined || worst.advice === ""
    ? `${state}${gone}`
    : `${state}${gone} What to do first (${worst.name}): ${worst.advice}`;
}

/** A measure of all nodes at a moment. `null`: nobody has told. */
export interface Sample {
  readonly atMs: number;
  /** Commands a second. */
  readonly commands: number | null;
  /** Microseconds that a command took since the sample before. */
  readonly commandUs: number | null;
  readonly memoryBytes: number | null;
  readonly loopLagMs: number | null;
}

/** What a node has done between two moments that it told of. */
function workOf(
  before: NodeStats | undefined,
  after: NodeStats,
): { calls: number; us: number; commands: number; ms: number } | undefined {
  if (before === undefined || after.uptime_s < before.uptime_s || after.commands < before.commands) return undefined;
  const ms = after.asked_at - before.asked_at;
  if (ms <= 0) return undefined;
  return {
    calls: Math.max(0, after.command_calls - before.command_calls),
    us: Math.max(0, after.command_us - before.command_us),
    commands: after.commands - before.commands,
    ms,
  };
}

/**
 * Puts together what some nodes told at two moments: commands and memory are sums, the time of a command is the mean of all of them, loop lag the worst.
 *
 * @param only A node's id; without one, all.
 */
export function sampleOf(
  before: ReadonlyMap<string, NodeStats>,
  after: ReadonlyMap<string, NodeStats>,
  atMs: number,
  only?: string,
): Sample {
  const wanted = [...after].filter(([id]) => only === undefined || id === only);
  const works = wanted.flatMap(([id, stats]) => workOf(before.get(id), stats) ?? []);
  const calls = works.reduce((sum, work) => sum + work.calls, 0);
  const microseconds = works.reduce((sum, work) => sum + work.us, 0);
  return {
    atMs,
    commands: works.length === 0 ? null : works.reduce((sum, { commands, ms }) => sum + (commands * 1000) / ms, 0),
    commandUs: calls === 0 ? null : microseconds / calls,
    memoryBytes: wanted.length === 0 ? null : wanted.reduce((sum, [, { memory_bytes }]) => sum + memory_bytes, 0),
    loopLagMs: wanted.length === 0 ? null : Math.max(...wanted.map(([, { loop_lag_ms }]) => loop_lag_ms)),
  };
}
