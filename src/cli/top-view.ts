/** What `bunch top` shows: rates and times of each node, from two readings of its metrics. */
import pc from "picocolors";
import type { Info, NodeView } from "../rest/schemas.ts";
import { type MetricSample, type MetricsText, readMetrics } from "./prometheus-text.ts";
import { type RestAccess, RestError } from "./rest-access.ts";
import { CLUSTER_PAINT, nameIn, newBareTable, paintState, roleWords, withNodeNames } from "./rest-tables.ts";
import { formatBytes, formatCount } from "./units.ts";

/** One node's metrics at a moment, or why there are none. */
export interface Reading {
  readonly atMs: number;
  readonly metrics: MetricsText | undefined;
  readonly reason: string;
}

/** What all nodes tell at a moment. */
export interface Snapshot {
  readonly info: Info;
  readonly nodes: readonly NodeView[];
  /** By the nodes' ids. */
  readonly readings: ReadonlyMap<string, Reading>;
}

/** A node's line. Rates are per second; `null`: nobody knows. */
export interface TopLine {
  readonly id: string;
  readonly name: string;
  readonly state: NodeView["state"];
  readonly role: string;
  readonly commands: number | null;
  readonly errors: number | null;
  /** Seconds that half of the commands ran for at most, and 99 of 100. */
  readonly p50_seconds: number | null;
  readonly p99_seconds: number | null;
  readonly received_bytes: number | null;
  readonly sent_bytes: number | null;
  readonly clients: number | null;
  readonly keys: number | null;
  readonly memory_bytes: number | null;
  /** Of one processor. */
  readonly cpu: number | null;
  readonly loop_lag_seconds: number | null;
  /** Entries that the replica of this node lacks which lacks the most. */
  readonly replica_lag: number | null;
  /** Why nothing is known of it. */
  readonly reason: string;
}

/**
 * Asks all nodes.
 *
 * @param patienceMs How long each but the first may take.
 * @throws {RestError} If the node that was named does not tell.
 */
export async function takeSnapshot(access: RestAccess, patienceMs: number): Promise<Snapshot> {
  const [info, { nodes }] = await Promise.all([
    access.get<Info>("/cluster/info"),
    access.get<{ readonly nodes: readonly NodeView[] }>("/cluster/nodes"),
  ]);
  const read = async (node: NodeView): Promise<Reading> => {
    const none = (reason: string): Reading => ({ atMs: performance.now(), metrics: undefined, reason });
    if (node.state === "down" || node.state === "left") return none(`it is ${node.state}`);
    if (!node.is_myself && node.http_address === null) return none("it does not listen for operators");
    const there = node.is_myself || node.http_address === null ? access : access.at(node.http_address);
    try {
      const metrics = readMetrics(await there.text("/metrics", patienceMs));
      return metrics === undefined
        ? none("what it tells cannot be read")
        : { atMs: performance.now(), metrics, reason: "" };
    } catch (thrown) {
      if (!(thrown instanceof RestError)) throw thrown;
      if (thrown.status === 404) return none("its plugin metrics is off");
      if (thrown.status === 401 || thrown.status === 403) return none("it wants a token");
      return none("it does not answer");
    }
  };
  const readings = await Promise.all(nodes.map(async (node) => [node.id, await read(node)] as const));
  return { info, nodes, readings: new Map(readings) };
}

type Labels = Readonly<Record<string, string>>;

/** @returns The sum of all series that fit; `undefined`: there is none. */
function sumOf({ samples }: MetricsText, name: string, labels: Labels = {}): number | undefined {
  const fitting = samples.filter((sample) => sample.name === name && fits(sample, labels));
  return fitting.length === 0 ? undefined : fitting.reduce((sum, { value }) => sum + value, 0);
}

function fits(sample: MetricSample, labels: Labels): boolean {
  return Object.entries(labels).every(([label, value]) => sample.labels[label] === value);
}

/** A counter that was set to zero in between begins anew. */
function growth(before: number | undefined, after: number | undefined): number | undefined {
  if (after === undefined) return undefined;
  return after >= (before ?? 0) ? after - (before ?? 0) : after;
}

/** A quantile of what fell into the buckets of all commands in between, in seconds: the upper bound of the bucket that it is in. */
export function quantileOf(before: MetricsText, after: MetricsText, part: number): number | undefined {
  const sums = ({ samples }: MetricsText): Map<number, number> => {
    const byBound = new Map<number, number>();
    for (const { name, labels, value } of samples) {
      if (name !== "bunch_command_duration_seconds_bucket") continue;
      const bound = labels["le"] === "+Inf" ? Number.POSITIVE_INFINITY : Number(labels["le"]);
      byBound.set(bound, (byBound.get(bound) ?? 0) + value);
    }
    return byBound;
  };
  const was = sums(before);
  const counts = [...sums(after)]
    .toSorted(([one], [other]) => one - other)
    .map(([bound, count]) => [bound, growth(was.get(bound), count) ?? 0] as const);
  const total = counts.at(-1)?.[1] ?? 0;
  if (total === 0) return undefined;
  const found = counts.find(([, count]) => count >= part * total)?.[0];
  // What is slower than the last bound is at least that.
  return found === Number.POSITIVE_INFINITY ? counts.at(-2)?.[0] : found;
}

/** @param before Undefined: there is no earlier reading, and so no rate. */
function lineOf(
  nodes: readonly NodeView[],
  node: NodeView,
  before: Reading | undefined,
  now: Reading | undefined,
): TopLine {
  const metrics = now?.metrics;
  const was = before?.metrics;
  const seconds = Math.max(0.001, ((now?.atMs ?? 0) - (before?.atMs ?? 0)) / 1000);
  const value = (name: string): number | null => (metrics === undefined ? null : (sumOf(metrics, name) ?? null));
  const rate = (name: string, labels?: Labels): number | null => {
    if (metrics === undefined || was === undefined) return null;
    const grown = growth(sumOf(was, name, labels), sumOf(metrics, name, labels));
    return grown === undefined ? null : grown / seconds;
  };
  const commands = (outcome: string): number => rate("bunch_commands_total", { outcome }) ?? 0;
  const quantile = (part: number): number | null =>
    metrics === undefined || was === undefined ? null : (quantileOf(was, metrics, part) ?? null);
  const areKnown = metrics !== undefined && was !== undefined;
  const lags = (metrics?.samples ?? []).filter(({ name }) => name === "bunch_replica_lag_entries");
  return {
    id: node.id,
    name: nameIn(nodes, node.id),
    state: node.state,
    role: roleWords(nodes, node),
    commands: areKnown ? commands("ok") + commands("failed") : null,
    errors: areKnown ? commands("failed") + commands("rejected") : null,
    p50_seconds: quantile(0.5),
    p99_seconds: quantile(0.99),
    received_bytes: rate("bunch_client_received_bytes_total"),
    sent_bytes: rate("bunch_client_sent_bytes_total"),
    clients: value("bunch_connected_clients"),
    keys: value("bunch_keys"),
    memory_bytes: value("process_resident_memory_bytes"),
    cpu: rate("process_cpu_seconds_total"),
    loop_lag_seconds: value("bunch_event_loop_lag_seconds"),
    replica_lag: lags.length === 0 ? null : Math.max(...lags.map((each) => each.value)),
    reason: now === undefined ? "it has just come" : now.reason,
  };
}

/** The lines of all nodes. */
export function topLines(before: Snapshot | undefined, now: Snapshot, order: TopOrder = "name"): readonly TopLine[] {
  const most = ORDERS[order];
  return now.nodes
    .map((node) => lineOf(now.nodes, node, before?.readings.get(node.id), now.readings.get(node.id)))
    .toSorted((one, other) => most(other) - most(one) || (one.name < other.name ? -1 : one.name > other.name ? 1 : 0));
}

function timeWords(seconds: number | null): string {
  if (seconds === null) return "-";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} us`;
  return seconds < 1 ? `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms` : `${seconds.toFixed(1)} s`;
}

/** A column of the table: its head, and what it says of a node. In the order in which people miss them: narrow terminals show the first ones. */
const COLUMNS: readonly (readonly [string, (line: TopLine) => string])[] = [
  ["node", ({ name }) => name],
  ["state", ({ state }) => paintState(state)],
  ["role", ({ role, reason }) => (reason === "" ? role : `${role}; ${pc.yellow(reason)}`)],
  ["cmd/s", ({ commands }) => countWords(commands)],
  ["err/s", ({ errors }) => (errors !== null && errors > 0 ? pc.yellow(countWords(errors)) : countWords(errors))],
  ["p99", (line) => timeWords(line.p99_seconds)],
  ["cpu", ({ cpu }) => (cpu === null ? "-" : `${Math.round(cpu * 100)} %`)],
  ["loop lag", (line) => timeWords(line.loop_lag_seconds)],
  ["lag", (line) => countWords(line.replica_lag)],
  ["memory", (line) => bytesWords(line.memory_bytes)],
  ["keys", ({ keys }) => countWords(keys)],
  ["clients", ({ clients }) => countWords(clients)],
  ["in/s", (line) => bytesWords(line.received_bytes)],
  ["out/s", (line) => bytesWords(line.sent_bytes)],
  ["p50", (line) => timeWords(line.p50_seconds)],
];

function countWords(value: number | null): string {
  return value === null ? "-" : formatCount(value);
}

function bytesWords(value: number | null): string {
  return value === null ? "-" : formatBytes(value);
}

/** What lines can be ordered by, beside names: the most comes first. */
const ORDERS = {
  name: () => 0,
  commands: ({ commands }: TopLine) => commands ?? 0,
  time: (line: TopLine) => line.p99_seconds ?? 0,
  cpu: ({ cpu }: TopLine) => cpu ?? 0,
  memory: (line: TopLine) => line.memory_bytes ?? 0,
  lag: (line: TopLine) => line.replica_lag ?? 0,
} as const;
export type TopOrder = keyof typeof ORDERS;
export const TOP_ORDERS = Object.keys(ORDERS) as readonly TopOrder[];

/** The whole picture, for people. */
export function describeTop({ info, nodes }: Snapshot, lines: readonly TopLine[]): string {
  const heads = COLUMNS.map(([head]) => head);
  const table = newBareTable(heads, heads.slice(3));
  for (const line of lines) table.push(COLUMNS.map(([, words]) => words(line)));
  const sum = (of: (line: TopLine) => number | null): number =>
    lines.reduce((total, line) => total + (of(line) ?? 0), 0);
  const leader = info.leader === null ? "nobody leads" : `${nameIn(nodes, info.leader)} leads`;
  const told = [
    CLUSTER_PAINT[info.state](info.state),
    `${formatCount(sum(({ commands }) => commands))} commands/s`,
    `${formatBytes(sum(({ received_bytes: received }) => received))}/s in`,
    `${formatBytes(sum(({ sent_bytes: sent }) => sent))}/s out`,
    `${formatCount(sum(({ clients }) => clients))} clients`,
    `map version ${info.map_version}`,
    leader,
  ];
  const reasons = info.reasons.map((reason) => pc.yellow(`  ${withNodeNames(nodes, reason)}`));
  return [told.join("   "), ...reasons, table.toString()].join("\n");
}
