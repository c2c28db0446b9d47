/**
 * Server processor time per operation, throughput and latency, over commands, pipelines and value sizes.
 *
 * Both servers run all the time, filled with the same keys; redis-benchmark drives one after the other, in turns. Each
 * round counts the processor time that the server's process used (all of its threads, so garbage collection and
 * compilation in the background count as well) and divides it by the operations done. This is the figure to look at:
 * throughput depends on how the generator and the server share the machine's processors, processor time hardly does.
 */

import type { Bench, BenchContext } from "../bench.ts";
import { type Bound, formatFigure, formatRatio, median, ratioOverRounds } from "../figures.ts";
import { runLoad } from "../load.ts";
import { processorUse, readProcessor } from "../process-figures.ts";
import { type LoadFigures, runRedisBenchmark } from "../redis-benchmark.ts";
import type { BenchResult } from "../report.ts";
import type { Server } from "../servers.ts";

/** What redis-benchmark repeats, once per combination of pipeline and value size. */
interface Operation {
  readonly name: string;
  readonly keyspace: number;
  /** False if the value's size makes no difference. */
  readonly hasValue: boolean;
  readonly command: (value: string) => readonly string[];
}

interface Cell {
  readonly operation: Operation;
  readonly pipeline: number;
  readonly valueBytes: number;
}

/** One server in one round. */
interface Sample extends LoadFigures {
  readonly cpuMicrosecondsPerOperation: number;
  readonly systemFraction: number;
}

interface CellFigures {
  readonly cell: string;
  readonly ours: readonly Sample[];
  readonly theirs: readonly Sample[];
}

const CONNECTIONS = 50;
const PIPELINES = [1, 16, 64];
const VALUE_SIZES_BYTES = [64, 4096];

/** Large enough that neither server finds its data in the processor's nearest caches, small enough to fill in a second. */
const KEYSPACE = 100_000;

/** Keys that share a hash tag are all in one slot, and no real slot has a hundred thousand. */
const TAGGED_KEYSPACE = 10_000;

const KEY_PREFIX = "key:";
const TAGGED_PREFIX = "{tag}:";

const COUNTER_COMMAND = ["INCR", "counter:__rand_int__"];

/** Compilers warm up in the first of these runs, and the second says how many requests a round takes. */
const WARM_UP_SECONDS = 0.5;

/** What is fast enough to make the first estimate short. */
const FIRST_REQUESTS = 6400;

const OPERATIONS: readonly Operation[] = [
  { name: "GET", keyspace: KEYSPACE, hasValue: true, command: () => ["GET", `${KEY_PREFIX}__rand_int__`] },
  { name: "SET", keyspace: KEYSPACE, hasValue: true, command: (value) => ["SET", `${KEY_PREFIX}__rand_int__`, value] },
  {
    name: "MGET 10",
    keyspace: TAGGED_KEYSPACE,
    hasValue: true,
    command: () => ["MGET", ...Array.from({ length: 10 }, () => `${TAGGED_PREFIX}__rand_int__`)],
  },
  { name: "INCR", keyspace: KEYSPACE, hasValue: false, command: () => COUNTER_COMMAND },
];

export const cpuBench: Bench = {
  name: "cpu",
  summary: "server processor time per operation, throughput and latency: commands x pipelines x value sizes",
  run,
};

async function run(context: BenchContext): Promise<BenchResult> {
  const { servers, overrides } = context;
  const rounds = overrides.rounds ?? (context.isQuick ? 3 : 7);
  const seconds = overrides.seconds ?? (context.isQuick ? 0.4 : 1);
  const ours = await servers.start(context.ours, context.port);
  const theirs = await servers.start(context.theirs, context.port + 1);
  const figures: CellFigures[] = [];
  for (const valueBytes of VALUE_SIZES_BYTES) {
    const cells = cellsOf(valueBytes).filter((cell) => overrides.filter?.test(cellName(cell)) ?? true);
    if (cells.length === 0) continue;
    for (const server of [ours, theirs]) {
      context.progress(`filling ${server.name} with values of ${valueBytes} bytes`);
      await fill(server, KEY_PREFIX, KEYSPACE, valueBytes);
      await fill(server, TAGGED_PREFIX, TAGGED_KEYSPACE, valueBytes);
      await fillCounters(server);
    }
    for (const cell of cells) {
      context.progress(cellName(cell));
      figures.push(await runCell(cell, ours, theirs, rounds, seconds));
    }
  }
  await servers.stop(ours);
  await servers.stop(theirs);
  return summarize(context, figures, rounds, seconds);
}

/** How a combination is called in tables, and by `--filter`. */
function cellName(cell: Cell): string {
  const size = cell.operation.hasValue ? `, ${cell.valueBytes} B` : "";
  return `${cell.operation.name}, pipeline ${cell.pipeline}${size}`;
}

function cellsOf(valueBytes: number): readonly Cell[] {
  // What has no value runs with the first size only.
  const operations = OPERATIONS.filter((each) => each.hasValue || valueBytes === VALUE_SIZES_BYTES[0]);
  return operations.flatMap((operation) => PIPELINES.map((pipeline) => ({ operation, pipeline, valueBytes })));
}

function fill(server: Server, keyPrefix: string, keys: number, valueBytes: number) {
  return runLoad({
    kind: "fill",
    port: server.port,
    keyPrefix,
    keys,
    lowestValueBytes: valueBytes,
    highestValueBytes: valueBytes,
    seed: 1,
    order: "ascending",
  });
}

/** Makes nearly all counters, so that INCR finds them and does not measure how keys are added. */
function fillCounters(server: Server) {
  return runRedisBenchmark({
    port: server.port,
    connections: CONNECTIONS,
    pipeline: 64,
    requests: wholeBatches(KEYSPACE * 7, 64), // Drawn 7 times each on average, 1 in 1000 is never drawn.
    keyspace: KEYSPACE,
    command: COUNTER_COMMAND,
  });
}

async function runCell(
  cell: Cell,
  ours: Server,
  theirs: Server,
  rounds: number,
  seconds: number,
): Promise<CellFigures> {
  const perSecond = Math.min(await warmUp(cell, ours), await warmUp(cell, theirs));
  const requests = wholeBatches(perSecond * seconds, cell.pipeline);
  const samples: { readonly ours: Sample[]; readonly theirs: Sample[] } = { ours: [], theirs: [] };
  for (let round = 0; round < rounds; round++) {
    // Turns change so that whatever follows a rhythm of its own does not always meet the same server.
    if (round % 2 === 0) samples.ours.push(await sample(cell, ours, requests));
    samples.theirs.push(await sample(cell, theirs, requests));
    if (round % 2 === 1) samples.ours.push(await sample(cell, ours, requests));
  }
  return { cell: cellName(cell), ...samples };
}

/** @returns Requests a second. */
async function warmUp(cell: Cell, server: Server): Promise<number> {
  const first = await sample(cell, server, wholeBatches(FIRST_REQUESTS, cell.pipeline));
  return (await sample(cell, server, wholeBatches(first.perSecond * WARM_UP_SECONDS, cell.pipeline))).perSecond;
}

function wholeBatches(requests: number, pipeline: number): number {
  return Math.max(1, Math.round(requests / (pipeline * CONNECTIONS))) * pipeline * CONNECTIONS;
}

async function sample(cell: Cell, server: Server, requests: number): Promise<Sample> {
  const before = readProcessor(server.processId);
  const figures = await runRedisBenchmark({
    port: server.port,
    connections: CONNECTIONS,
    pipeline: cell.pipeline,
    requests,
    keyspace: cell.operation.keyspace,
    command: cell.operation.command("x".repeat(cell.valueBytes)),
  });
  const use = processorUse(before, readProcessor(server.processId));
  return {
    ...figures,
    cpuMicrosecondsPerOperation: use.nanoseconds / 1000 / figures.requests,
    systemFraction: use.systemFraction,
  };
}

/** @returns The most that a combination may take of Redis' processor time; undefined if nothing is promised. */
function limitOf(name: string): number | undefined {
  if (/^(GET|SET), pipeline 1, 64 B$/.test(name)) return 1;
  if (/^(GET|SET), pipeline 16, 64 B$/.test(name)) return 0.8;
  return undefined;
}

function summarize(
  context: BenchContext,
  figures: readonly CellFigures[],
  rounds: number,
  seconds: number,
): BenchResult {
  const us = context.ours.name;
  const them = context.theirs.name;
  const cpu = (each: Sample) => each.cpuMicrosecondsPerOperation;
  const medianOf = (samples: readonly Sample[], value: (each: Sample) => number) => median(samples.map(value));
  const bounds: Bound[] = [];
  const cpuRows: string[][] = [];
  const speedRows: string[][] = [];
  for (const { cell, ours, theirs } of figures) {
    const ratio = ratioOverRounds(ours.map(cpu), theirs.map(cpu));
    const limit = limitOf(cell);
    if (limit !== undefined) {
      bounds.push({ what: `CPU per operation, ${cell}`, measured: ratio.median, limit, unit: "of Redis" });
    }
    cpuRows.push([
      cell,
      formatFigure(medianOf(ours, cpu)),
      formatFigure(medianOf(theirs, cpu)),
      formatRatio(ratio),
      limit === undefined ? "-" : limit.toFixed(2),
      limit === undefined ? "" : ratio.median <= limit ? "held" : "MISSED",
    ]);
    const latency = (samples: readonly Sample[]) =>
      [
        medianOf(samples, (each) => each.p50Ms),
        medianOf(samples, (each) => each.p99Ms),
        medianOf(samples, (each) => each.p999Ms),
      ]
        .map((value) => value.toFixed(2))
        .join(" / ");
    const perSecond = (each: Sample) => each.perSecond;
    speedRows.push([
      cell,
      formatFigure(medianOf(ours, perSecond)),
      formatFigure(medianOf(theirs, perSecond)),
      formatRatio(ratioOverRounds(ours.map(perSecond), theirs.map(perSecond))),
      latency(ours),
      latency(theirs),
    ]);
  }
  return {
    sections: [
      {
        title: "Server CPU per operation (µs)",
        columns: [`${CONNECTIONS} connections`, us, them, "ratio (range)", "bound", ""],
        rows: cpuRows,
        notes: [
          `Medians of ${rounds} rounds of about ${seconds} s, run in turns; the ratio is the median of the rounds' ratios, with the lowest and highest.`,
        ],
      },
      {
        title: "Throughput (operations a second) and latency (ms, p50 / p99 / p99.9)",
        columns: [`${CONNECTIONS} connections`, us, them, "ratio (range)", `${us} ms`, `${them} ms`],
        rows: speedRows,
        notes: [
          "The load is as heavy as the server takes; server and load generator share the machine. With pipelining, latency is that of a whole batch.",
        ],
      },
    ],
    bounds,
    raw: { rounds, seconds, connections: CONNECTIONS, figures },
  };
}
