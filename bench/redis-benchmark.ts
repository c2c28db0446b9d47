/**
 * Runs redis-benchmark, the load generator for throughput, latency and processor time.
 *
 * It is written in C and uses little of the processor that it shares with the server, and neither server has an
 * advantage with it. It sends one command over and over on many connections, each waiting for its replies before it
 * sends the next batch, and replaces `__rand_int__` by 12 random digits wherever it stands.
 */

import { assert, present } from "../src/assert.ts";
import { runChild } from "./child.ts";

/** What it is to do. */
export interface Load {
  readonly port: number;
  readonly connections: number;
  /** Commands that a connection sends at once. */
  readonly pipeline: number;
  /** Commands in all; a multiple of `pipeline`, since it would send whole batches anyway. */
  readonly requests: number;
  /** `__rand_int__` is drawn from 0 to this, exclusive. */
  readonly keyspace: number;
  readonly command: readonly string[];
}

/** What it measured. With pipelining, latency is that of a whole batch. */
export interface LoadFigures {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

/**
 * Reads what redis-benchmark prints.
 *
 * @param output Everything it wrote to its standard output, with the carriage returns of its progress line.
 * @returns The figures.
 * @throws {Fault} If a figure is missing, as after an error.
 */
export function parseRedisBenchmark(output: string): LoadFigures {
  const completed = present(/(\d+) requests completed in/.exec(output), "redis-benchmark completed its requests");
  const throughput = present(/throughput summary: ([\d.]+) requests/.exec(output), "redis-benchmark gave a throughput");
  const summary = present(
    /avg\s+min\s+p50\s+p95\s+p99\s+max\s+[\d.]+\s+[\d.]+\s+([\d.]+)\s+[\d.]+\s+([\d.]+)\s+([\d.]+)/.exec(output),
    "redis-benchmark gave a latency summary",
  );
  const distribution = output.slice(
    output.indexOf("Latency by percentile"),
    output.indexOf("Cumulative distribution of latencies"),
  );
  // Its steps halve what is left (50, 75, 87.5 ... 99.805, 99.902), so the first at or above 99.9 overstates a little.
  let p999Ms = Number(summary[3]);
  for (const match of distribution.matchAll(/([\d.]+)% <= ([\d.]+) milliseconds/g)) {
    if (Number(match[1]) < 99.9) continue;
    p999Ms = Number(match[2]);
    break;
  }
  return {
    requests: Number(completed[1]),
    perSecond: Number(throughput[1]),
    p50Ms: Number(summary[1]),
    p99Ms: Number(summary[2]),
    p999Ms,
    maxMs: Number(summary[3]),
  };
}

/**
 * Runs it once.
 *
 * @param load What to send, and where.
 * @returns Its figures, once it has ended.
 * @throws {Error} If it fails, with what it said; an error reply of the server makes it fail.
 */
export async function runRedisBenchmark(load: Load): Promise<LoadFigures> {
  assert(load.requests % load.pipeline === 0, "requests are a multiple of the pipeline");
  const options = {
    "-h": "127.0.0.1",
    "-p": load.port,
    "-c": load.connections,
    "-P": load.pipeline,
    "-n": load.requests,
    "-r": load.keyspace,
    "--precision": 3,
  };
  const flags = Object.entries(options).flat().map(String);
  const { output, errors, code } = await runChild(["redis-benchmark", ...flags, ...load.command]);
  if (code !== 0) {
    throw new Error(`redis-benchmark ended with ${code}: ${errors.trim() || output.slice(-500).trim()}`);
  }
  return parseRedisBenchmark(output);
}
