/**
 * How fast slots move from one shard to another, and what clients notice: bunch's CLUSTER MOVE beside Redis' `redis-cli --cluster reshard`.
 *
 * Two nodes of a kind; the first has all slots and keys, and half of the slots move to the second, under writers that go on all the time (`WriteLoad`). What counts is the time
 * from the command until the second node has the slots; every write that was acknowledged is looked for afterwards.
 */

import type { Bench, BenchContext } from "../bench.ts";
import { runChild } from "../child.ts";
import { until } from "../cluster.ts";
import { type Bound, formatFigure, formatRatio, median, ratioOverRounds } from "../figures.ts";
import { runLoad } from "../load.ts";
import type { BenchResult } from "../report.ts";
import { ask, bunchSubject, redisSubject, type Server, type Servers } from "../servers.ts";
import { WriteLoad } from "../shards.ts";

/** Keys and the bytes of their values. */
const CASES = [
  { keys: 1_000_000, valueBytes: 64 },
  { keys: 10_000, valueBytes: 16_384 },
];
const HALF = 8192;
/** Half of the slots move in one task, as a plan has it, and in so many, one after the other: each has a fence. */
const TASKS = 8;
const LOOK_MS = 10;
/** How long the load runs before and after. */
const LEAD_MS = 2000;
const PATIENCE_MS = 600_000;
/** In one task, by redis-cli's rate. */
const LIMIT = 5;
const FENCE_MEDIAN_LIMIT_MS = 5;
const FENCE_LIMIT_MS = 50;

export const migrationBench: Bench = {
  name: "migration",
  summary: "how fast half of a node's slots move to another, under load, and what clients notice",
  run,
};

interface Figures {
  readonly seconds: number;
  readonly keys: number;
  /** Commands of clients: of those that ended while slots moved, and of those of the seconds before. */
  readonly p99Ms: number;
  readonly longestMs: number;
  readonly p99BeforeMs: number;
  readonly errors: number;
  readonly lost: number;
  /** How long commands were held, by each task; none where there is no such thing. */
  readonly fencesMs: readonly number[];
}

interface Row {
  readonly name: string;
  /** In one task. */
  readonly ours: readonly Figures[];
  /** In several. */
  readonly inTasks: readonly Figures[];
  readonly theirs: readonly Figures[];
}

async function run(context: BenchContext): Promise<BenchResult> {
  const { isQuick, overrides, port, servers } = context;
  const rounds = overrides.rounds ?? (isQuick ? 1 : 3);
  const rows: Row[] = [];
  for (const { keys: most, valueBytes } of CASES) {
    const keys = valueBytes === 64 ? (overrides.keys ?? (isQuick ? most / 10 : most)) : isQuick ? most / 5 : most;
    const name = `${keys.toLocaleString("en")} keys of ${valueBytes} bytes`;
    const ours: Figures[] = [];
    const inTasks: Figures[] = [];
    const theirs: Figures[] = [];
    for (let round = 0; round < rounds; round += 1) {
      context.progress(`${name}, round ${round + 1} of ${rounds}`);
      for (const [figures, tasks] of [
        [ours, 1],
        [inTasks, TASKS],
      ] as const)
        figures.push(await measure(servers, await startBunch(servers, port), keys, valueBytes, moveInBunch(tasks)));
      theirs.push(await measure(servers, await startRedis(servers, port + 2), keys, valueBytes, moveInRedis));
    }
    rows.push({ name, ours, inTasks, theirs });
  }
  return summarize(rows, rounds);
}

type Pair = readonly [Server, Server];

async function startBunch(servers: Servers, port: number): Promise<Pair> {
  const flags = (name: string, join: readonly string[]): readonly string[] => [
    "--name",
    name,
    "--log-level",
    "warn",
    ...join,
  ];
  const source = await servers.start(bunchSubject(flags("source", [])), port);
  const { server: target } = await servers.launch(
    bunchSubject(flags("target", ["--join", `127.0.0.1:${port + 10_000}`])),
    port + 1,
  );
  await both([source, target]);
  return [source, target];
}

async function startRedis(servers: Servers, port: number): Promise<Pair> {
  const subject = redisSubject("redis");
  const source = await servers.start(subject, port);
  const { server: target } = await servers.launch(subject, port + 1);
  await ask(target, ["CLUSTER", "MEET", "127.0.0.1", String(port)]);
  await both([source, target]);
  return [source, target];
}

/** Waits until both know each other, and say that all is well. */
async function both(pair: Pair): Promise<void> {
  for (const server of pair) {
    await until("two nodes to be one cluster", LOOK_MS, async () => {
      const info = await ask(server, ["CLUSTER", "INFO"]);
      return info.includes("cluster_known_nodes:2") && info.includes("cluster_state:ok") ? true : undefined;
    });
  }
}

/** @returns How long commands were held, in milliseconds, by each task that is one. */
type Move = (pair: Pair) => Promise<readonly number[]>;

const moveInBunch =
  (tasks: number): Move =>
  async ([source, target]) => {
    const to = (await ask(target, ["CLUSTER", "MYID"])).trim();
    const fences: number[] = [];
    for (let first = 0; first < HALF; first += HALF / tasks) {
      const last = first + HALF / tasks - 1;
      const id = (await ask(source, ["CLUSTER", "MOVE", to, "SLOTSRANGE", String(first), String(last)])).trim();
      const fencedMs = await until(
        `slots ${first} to ${last} to have moved`,
        LOOK_MS,
        async () => {
          const fields = (await ask(source, ["CLUSTER", "MIGRATIONS", "ID", id]))
            .split(/\r?\n/)
            .map((line) => line.trim());
          if (fields.includes("aborted")) throw new Error(`the move was aborted: ${fields.join(" ")}`);
          return fields.includes("completed") ? Number(fields[fields.indexOf("fenced-ms") + 1]) : undefined;
        },
        PATIENCE_MS,
      );
      fences.push(fencedMs);
    }
    return fences;
  };

const moveInRedis: Move = async ([source, target]) => {
  const [from, to] = [await ask(source, ["CLUSTER", "MYID"]), await ask(target, ["CLUSTER", "MYID"])];
  const { code, output, errors } = await runChild([
    "redis-cli",
    "--cluster",
    "reshard",
    `127.0.0.1:${source.port}`,
    "--cluster-from",
    from.trim(),
    "--cluster-to",
    to.trim(),
    "--cluster-slots",
    String(HALF),
    "--cluster-yes",
  ]);
  if (code !== 0) throw new Error(`redis-cli --cluster reshard ended with ${code}: ${output.slice(-500)}${errors}`);
  return [];
};

async function measure(servers: Servers, pair: Pair, keys: number, valueBytes: number, move: Move): Promise<Figures> {
  const [source, target] = pair;
  const range = { lowestValueBytes: valueBytes, highestValueBytes: valueBytes, seed: 1 };
  await runLoad({ kind: "fill", port: source.port, keyPrefix: "key:", keys, order: "scattered", ...range });
  const load = await WriteLoad.start(pair.map(({ port }) => port));
  await Bun.sleep(LEAD_MS);
  const before = load.takeLatencies();
  const errorsBefore = load.errorCount;
  const beganMs = performance.now();
  const fencesMs = await move(pair);
  // The target shows them from the moment that it knows of it.
  const moved = await until(
    "keys to be shown",
    LOOK_MS,
    async () => Number(await ask(target, ["DBSIZE"])) || undefined,
  );
  const seconds = (performance.now() - beganMs) / 1000;
  const during = load.takeLatencies();
  await Bun.sleep(LEAD_MS);
  const lost = (await load.countLost(true)) + load.staleCount;
  const errors = load.errorCount - errorsBefore;
  await load.end();
  for (const server of pair) await servers.stop(server);
  return {
    seconds,
    keys: moved,
    p99Ms: percentile(during, 0.99),
    longestMs: percentile(during, 1),
    p99BeforeMs: percentile(before, 0.99),
    errors,
    lost,
    fencesMs,
  };
}

function percentile(latencies: readonly number[], part: number): number {
  const sorted = latencies.toSorted((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}

function summarize(rows: readonly Row[], rounds: number): BenchResult {
  const rateOf = ({ keys, seconds }: Figures): number => keys / seconds;
  const bounds: Bound[] = [];
  const table: string[][] = [];
  for (const { name, ours, inTasks, theirs } of rows) {
    const ratio = ratioOverRounds(ours.map(rateOf), theirs.map(rateOf));
    const all = [...ours, ...inTasks];
    const fences = all.flatMap(({ fencesMs }) => fencesMs);
    const worstFence = Math.max(0, ...fences);
    // The bound says at least.
    bounds.push({ what: `${name}: Redis' rate`, measured: 1 / ratio.median, limit: 1 / LIMIT, unit: "of bunch's" });
    bounds.push({ what: `${name}: median fence`, measured: median(fences), limit: FENCE_MEDIAN_LIMIT_MS, unit: "ms" });
    bounds.push({ what: `${name}: longest fence`, measured: worstFence, limit: FENCE_LIMIT_MS, unit: "ms" });
    bounds.push({
      what: `${name}: errors and lost writes`,
      measured: all.reduce((sum, { errors, lost }) => sum + errors + lost, 0),
      limit: 0,
      unit: "",
    });
    for (const [subject, figures] of [
      ["bunch", ours],
      [`bunch, ${TASKS} tasks`, inTasks],
      ["redis", theirs],
    ] as const) {
      const of = (value: (one: Figures) => number): number => median(figures.map(value));
      const isBunch = subject !== "redis";
      const held = figures.flatMap(({ fencesMs }) => fencesMs);
      table.push([
        `${name}, ${subject}`,
        formatFigure(of(rateOf)),
        isBunch ? formatRatio(ratioOverRounds(figures.map(rateOf), theirs.map(rateOf))) : "",
        `${formatFigure(of(({ p99BeforeMs }) => p99BeforeMs))} -> ${formatFigure(of(({ p99Ms }) => p99Ms))}`,
        formatFigure(Math.max(...figures.map(({ longestMs }) => longestMs))),
        isBunch ? `${formatFigure(median(held))} / ${formatFigure(Math.max(0, ...held))}` : "-",
        String(figures.reduce((sum, { errors }) => sum + errors, 0)),
        String(figures.reduce((sum, { lost }) => sum + lost, 0)),
      ]);
    }
  }
  return {
    sections: [
      {
        title: "Half of a node's slots to another node, under load",
        columns: [
          "",
          "keys a second",
          "ratio (range)",
          "p99 ms before -> during",
          "longest ms",
          "fence ms (median / worst)",
          "errors",
          "lost",
        ],
        rows: table,
        notes: [
          `Medians of ${rounds} rounds; the longest of all. bunch moves them in one task, or in ${TASKS} one after the other, each with a fence; Redis' slots are moved by redis-cli --cluster reshard with its default of 10 keys at a time.`,
          "Servers, clients and redis-cli share the machine. Clients are ioredis and node-redis, which follow redirects and read what others wrote; errors are answers that they gave their callers, lost are also reads that told something old. Times are those of ioredis.",
        ],
      },
    ],
    bounds,
    raw: { rounds, rows },
  };
}
