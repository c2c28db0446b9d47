/**
 * What replication costs: one shard with 0, 1 and 2 replicas, of bunch and of Redis, under SET.
 *
 * Processor time is that of all servers of the shard together. bunch answers when its replicas in sync have the write, Redis before: so a round ends when all
 * replicas have everything (WAIT), and what they use until then counts. Rounds are run in turns, as in `cpu`.
 */

import type { Bench, BenchContext } from "../bench.ts";
import { Connection, until } from "../cluster.ts";
import { type Bound, formatFigure, formatRatio, median, ratioOverRounds } from "../figures.ts";
import { processorUse, readProcessor } from "../process-figures.ts";
import { type LoadFigures, runRedisBenchmark } from "../redis-benchmark.ts";
import type { BenchResult } from "../report.ts";
import { ask, bunchSubject, redisSubject, type Server, type Servers } from "../servers.ts";

const REPLICA_COUNTS = [0, 1, 2];
const PIPELINES = [1, 16];
const CONNECTIONS = 50;
const KEYSPACE = 100_000;
const VALUE = "x".repeat(64);
/** Compilers warm up in the first of these runs, and the second says how many requests a round takes. In shorter ones the compilers are what is measured. */
const WARM_UP_SECONDS = 3;
const FIRST_REQUESTS = 16_000;
const LOOK_MS = 20;
/** What a write with one replica may cost, by Redis' that does not wait for it. */
const LIMIT = 1.3;

export const replicationBench: Bench = {
  name: "replication",
  summary: "processor time of all servers for a replicated SET, throughput and latency, with 0, 1 and 2 replicas",
  run,
};

/** A shard that runs: its primary first. */
type Group = readonly [Server, ...Server[]];

interface Sample extends LoadFigures {
  /** Of each server, the primary first. */
  readonly cpuMicroseconds: readonly number[];
}

interface Row {
  readonly name: string;
  readonly ours: readonly Sample[];
  readonly theirs: readonly Sample[];
}

async function run(context: BenchContext): Promise<BenchResult> {
  const { servers, overrides, port } = context;
  const rounds = overrides.rounds ?? (context.isQuick ? 3 : 7);
  const seconds = overrides.seconds ?? (context.isQuick ? 0.5 : 3);
  const rows: Row[] = [];
  for (const count of REPLICA_COUNTS) {
    const cells = PIPELINES.map((pipeline) => ({ pipeline, name: nameOf(count, pipeline) })).filter(
      ({ name }) => overrides.filter?.test(name) ?? true,
    );
    if (cells.length === 0) continue;
    const ours = await startBunch(servers, port, count);
    const theirs = await startRedis(servers, port + 1 + count, count);
    for (const { pipeline, name } of cells) {
      context.progress(name);
      rows.push({ name, ...(await runCell(ours, theirs, pipeline, rounds, seconds)) });
    }
    for (const server of [...ours, ...theirs]) await servers.stop(server);
  }
  return summarize(rows, rounds, seconds);
}

function nameOf(replicas: number, pipeline: number): string {
  return `SET, ${replicas} ${replicas === 1 ? "replica" : "replicas"}, pipeline ${pipeline}`;
}

async function startBunch(servers: Servers, port: number, replicas: number): Promise<Group> {
  const ports = Array.from({ length: replicas + 1 }, (_, index) => port + index);
  const join = ports.map((each) => `127.0.0.1:${each + 10_000}`).join(",");
  const founding = ["--join", join, "--bootstrap-expect", String(ports.length), "--replicas", String(replicas)];
  const flags = (each: number): readonly string[] => [
    "--log-level",
    "warn",
    "--name",
    `node-${each}`,
    ...(replicas === 0 ? [] : founding),
  ];
  const all = await Promise.all(
    ports.map(async (each) => (await servers.launch(bunchSubject(flags(each)), each)).server),
  );
  const primary = await until("bunch to have its replicas in sync", LOOK_MS, async () => {
    const infos = await Promise.all(all.map((server) => ask(server, ["INFO", "replication"])));
    const at = infos.findIndex((info) => info.split("in_sync=1").length - 1 === replicas && /role:master/.test(info));
    return at < 0 ? undefined : all[at];
  });
  return [primary, ...all.filter((server) => server !== primary)];
}

async function startRedis(servers: Servers, port: number, replicas: number): Promise<Group> {
  const subject = redisSubject("redis");
  const primary = await servers.start(subject, port);
  const id = (await ask(primary, ["CLUSTER", "MYID"])).trim();
  const others: Server[] = [];
  for (let count = 1; count <= replicas; count += 1) {
    const { server } = await servers.launch(subject, port + count);
    await ask(server, ["CLUSTER", "MEET", "127.0.0.1", String(port)]);
    await until("Redis to know its primary", LOOK_MS, async () =>
      (await ask(server, ["CLUSTER", "NODES"])).includes(id) ? true : undefined,
    );
    await ask(server, ["CLUSTER", "REPLICATE", id]);
    others.push(server);
  }
  await until("Redis to have its replicas", LOOK_MS, async () => {
    const info = await ask(primary, ["INFO", "replication"]);
    return info.split("state=online").length - 1 === replicas ? true : undefined;
  });
  return [primary, ...others];
}

async function runCell(
  ours: Group,
  theirs: Group,
  pipeline: number,
  rounds: number,
  seconds: number,
): Promise<Omit<Row, "name">> {
  const perSecond = Math.min(await warmUp(ours, pipeline), await warmUp(theirs, pipeline));
  const requests = wholeBatches(perSecond * seconds, pipeline);
  const samples: { readonly ours: Sample[]; readonly theirs: Sample[] } = { ours: [], theirs: [] };
  for (let round = 0; round < rounds; round += 1) {
    if (round % 2 === 0) samples.ours.push(await sample(ours, pipeline, requests));
    samples.theirs.push(await sample(theirs, pipeline, requests));
    if (round % 2 === 1) samples.ours.push(await sample(ours, pipeline, requests));
  }
  return samples;
}

/** @returns Requests a second. */
async function warmUp(group: Group, pipeline: number): Promise<number> {
  const first = await sample(group, pipeline, wholeBatches(FIRST_REQUESTS, pipeline));
  return (await sample(group, pipeline, wholeBatches(first.perSecond * WARM_UP_SECONDS, pipeline))).perSecond;
}

function wholeBatches(requests: number, pipeline: number): number {
  return Math.max(1, Math.round(requests / (pipeline * CONNECTIONS))) * pipeline * CONNECTIONS;
}

async function sample(group: Group, pipeline: number, requests: number): Promise<Sample> {
  const [primary, ...replicas] = group;
  const before = group.map(({ processId }) => readProcessor(processId));
  const figures = await runRedisBenchmark({
    port: primary.port,
    connections: CONNECTIONS,
    pipeline,
    requests,
    keyspace: KEYSPACE,
    command: ["SET", "key:__rand_int__", VALUE],
  });
  if (replicas.length > 0) {
    const waiting = await Connection.open(primary.port);
    // The write makes Redis ask its replicas how far they are.
    await waiting.run("SET", "key:last", VALUE);
    await waiting.run("WAIT", String(replicas.length), "10000");
    waiting.close();
  }
  const cpuMicroseconds = group.map(({ processId }, index) => {
    const begin = before[index];
    return begin === undefined ? 0 : processorUse(begin, readProcessor(processId)).nanoseconds / 1000 / requests;
  });
  return { ...figures, cpuMicroseconds };
}

function summarize(rows: readonly Row[], rounds: number, seconds: number): BenchResult {
  const cpu = ({ cpuMicroseconds }: Sample): number => cpuMicroseconds.reduce((sum, each) => sum + each, 0);
  const medianOf = (samples: readonly Sample[], value: (each: Sample) => number): number => median(samples.map(value));
  const parts = (samples: readonly Sample[]): string =>
    (samples[0]?.cpuMicroseconds ?? [])
      .map((_, index) => formatFigure(medianOf(samples, (each) => each.cpuMicroseconds[index] ?? 0)))
      .join(" + ");
  const bounds: Bound[] = [];
  const cpuRows: string[][] = [];
  const speedRows: string[][] = [];
  for (const { name, ours, theirs } of rows) {
    const ratio = ratioOverRounds(ours.map(cpu), theirs.map(cpu));
    const isBound = name.includes(" 1 replica,");
    if (isBound)
      bounds.push({ what: `CPU of all servers, ${name}`, measured: ratio.median, limit: LIMIT, unit: "of Redis" });
    cpuRows.push([
      name,
      parts(ours),
      parts(theirs),
      formatRatio(ratio),
      isBound ? LIMIT.toFixed(2) : "-",
      isBound ? (ratio.median <= LIMIT ? "held" : "MISSED") : "",
    ]);
    const latency = (samples: readonly Sample[]): string =>
      [
        medianOf(samples, (each) => each.p50Ms),
        medianOf(samples, (each) => each.p99Ms),
        medianOf(samples, (each) => each.p999Ms),
      ]
        .map((value) => value.toFixed(2))
        .join(" / ");
    const perSecond = (each: Sample): number => each.perSecond;
    speedRows.push([
      name,
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
        title: "CPU of all servers per replicated SET (µs)",
        columns: [`${CONNECTIONS} connections, 64 B`, "bunch", "redis", "ratio (range)", "bound", ""],
        rows: cpuRows,
        notes: [
          `Primary + replicas. Medians of ${rounds} rounds of about ${seconds} s, run in turns; a round ends when all replicas have everything.`,
          "bunch answers when the replicas have a write, Redis before.",
        ],
      },
      {
        title: "Throughput (SET a second) and latency (ms, p50 / p99 / p99.9)",
        columns: [`${CONNECTIONS} connections, 64 B`, "bunch", "redis", "ratio (range)", "bunch ms", "redis ms"],
        rows: speedRows,
        notes: ["All servers and the load generator share the machine. With pipelining, latency is that of a batch."],
      },
    ],
    bounds,
    raw: { rounds, seconds, connections: CONNECTIONS, rows },
  };
}
