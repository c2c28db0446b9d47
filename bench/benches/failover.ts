/**
 * How long a shard takes no writes when its primary is lost, and what is lost with it: six nodes of bunch, and six of Redis, under the same client and load.
 *
 * Writers go on all the time (`WriteLoad`). At a kill the replica is asked to write, again and again, until it does: that is how long the shard took no writes.
 * A write that ioredis was given at the same moment says how long a client waited. Then every acknowledged write is looked for, the dead node is started again, and
 * all is waited for. A planned failover has no kill: what counts is how long any command took meanwhile, beside the second before.
 */

import type { Bench, BenchContext } from "../bench.ts";
import { Connection, until } from "../cluster.ts";
import { type Bound, formatFigure, median } from "../figures.ts";
import type { BenchResult, Section } from "../report.ts";
import { bunchShards, redisShards, type Shard, Shards, type ShardsSubject, WriteLoad } from "../shards.ts";

const KILL_LIMIT_MS = 1500;
const PLANNED_LIMIT_MS = 50;
/** How often the replica is asked to write: also how exact the figure is. */
const PROBE_MS = 2;
const PROBE_TIMEOUT_MS = 120_000;
/** How long the load runs before and after something is done. */
const LEAD_MS = 1000;
/** How long a node stands still that is stopped and goes on. */
const STOP_MS = 10_000;

export const failoverBench: Bench = {
  name: "failover",
  summary: "how long a shard takes no writes when its primary is lost, and what is lost with it",
  run,
};

type Case = "killed" | "killed with the leader" | "two primaries killed" | "stopped for 10 s" | "planned";

interface Figures {
  readonly subject: string;
  readonly what: Case;
  /** Until the shard took writes; for a planned failover, the longest that a command took. */
  readonly outageMs: number;
  /** Until a write was acknowledged that a client had begun then; for a planned failover, the longest of the second before. */
  readonly clientMs: number;
  readonly lost: number;
  /** Reads that told something old. */
  readonly stale: number;
  readonly errors: number;
}

async function run(context: BenchContext): Promise<BenchResult> {
  const { isQuick, overrides } = context;
  const kills = overrides.rounds ?? (isQuick ? 4 : 20);
  const few = Math.max(1, Math.round(kills / 4));
  const figures: Figures[] = [];
  const plan: (readonly [ShardsSubject, readonly (readonly [Case, number])[]])[] = [
    [
      bunchShards([]),
      [
        ["killed", kills],
        ["stopped for 10 s", few],
        ["planned", kills],
      ],
    ],
    // Of three nodes that vote and keep nothing on disk, two that are killed at once are a majority that is lost for good.
    [
      bunchShards(["--raft-max-voters", "5"]),
      [
        ["killed with the leader", few],
        ["two primaries killed", few],
      ],
    ],
    [
      redisShards(2000),
      [
        ["killed", isQuick ? 2 : Math.ceil(kills / 2)],
        ["stopped for 10 s", isQuick ? 1 : 2],
        ["planned", isQuick ? few : Math.ceil(kills / 2)],
      ],
    ],
  ];
  if (!isQuick) plan.push([redisShards(15_000), [["killed", Math.min(4, few)]]]);
  for (const [subject, all] of plan) {
    const cases = all.filter(([what]) => overrides.filter?.test(`${subject.name}, ${what}`) ?? true);
    if (cases.length === 0) continue;
    const shards = await Shards.start(context.servers, subject, context.port);
    const load = await WriteLoad.start(shards.ports);
    for (const [what, count] of cases) {
      for (let round = 0; round < count; round += 1) {
        const one = await measure(shards, load, what, round, round === count - 1);
        const client = what === "planned" ? "" : `, a client waited ${formatFigure(one.clientMs)} ms`;
        context.progress(
          `${subject.name}, ${what}, ${round + 1} of ${count}: ${formatFigure(one.outageMs)} ms${client}, ${one.lost} lost`,
        );
        figures.push(one);
      }
    }
    await load.end();
    await shards.stop();
  }
  return { sections: [section(figures)], bounds: boundsOf(figures), raw: figures };
}

async function measure(shards: Shards, load: WriteLoad, what: Case, round: number, isLast: boolean): Promise<Figures> {
  const all = await shards.whole();
  // A moment by chance: heartbeats come at fixed ones.
  await Bun.sleep(LEAD_MS + Math.random() * 500);
  const errorsBefore = load.errorCount;
  const staleBefore = load.staleCount;
  const leader = what === "killed with the leader" ? await shards.leader() : 0;
  const able = all.filter(({ primary, replica }) => primary !== leader && replica !== leader);
  const shard = able[round % able.length];
  const next = able[(round + 1) % able.length];
  if (shard === undefined || next === undefined) throw new Error("there are three shards");
  // Who dies with it.
  const others = what === "killed with the leader" ? [leader] : what === "two primaries killed" ? [next.primary] : [];
  const { outageMs, clientMs } =
    what === "planned" ? await handOver(shards, load, shard) : await lose(shards, load, shard, what, others);
  await Bun.sleep(LEAD_MS);
  const lost = await load.countLost(isLast);
  const [stale, errors] = [load.staleCount - staleBefore, load.errorCount - errorsBefore];
  return { subject: shards.subject.name, what, outageMs, clientMs, lost, stale, errors };
}

async function lose(
  shards: Shards,
  load: WriteLoad,
  { primary, replica, key }: Shard,
  what: Case,
  others: readonly number[],
): Promise<{ readonly outageMs: number; readonly clientMs: number }> {
  const probe = await Connection.open(replica);
  const isStop = what === "stopped for 10 s";
  const lostMs = performance.now();
  const sinceThen = (): number => performance.now() - lostMs;
  for (const port of [...others, primary]) shards.signal(port, isStop ? "SIGSTOP" : "SIGKILL");
  const written = load.client.set(key, "by a client").then(sinceThen);
  const outageMs = await until(
    "the replica to take writes",
    PROBE_MS,
    async () => {
      try {
        await probe.run("SET", key, "by the probe");
        return sinceThen();
      } catch {
        return undefined;
      }
    },
    PROBE_TIMEOUT_MS,
  );
  probe.close();
  if (isStop) {
    await Bun.sleep(STOP_MS - sinceThen());
    shards.signal(primary, "SIGCONT");
  }
  const clientMs = await written;
  if (!isStop) for (const port of [...others, primary]) await shards.launch(port);
  return { outageMs, clientMs };
}

async function handOver(
  shards: Shards,
  load: WriteLoad,
  { replica }: Shard,
): Promise<{ readonly outageMs: number; readonly clientMs: number }> {
  const asked = await Connection.open(replica);
  load.takeLongestMs();
  await Bun.sleep(LEAD_MS);
  const clientMs = load.takeLongestMs();
  await asked.run("CLUSTER", "FAILOVER");
  // Nobody looks meanwhile: questions to six nodes and their answers take as long as what is measured.
  await Bun.sleep(LEAD_MS);
  const outageMs = load.takeLongestMs();
  await until("the replica to lead", PROBE_MS, async () =>
    (await asked.run("INFO", "replication")).includes("role:master") ? true : undefined,
  );
  asked.close();
  await shards.whole();
  return { outageMs, clientMs };
}

function groups(figures: readonly Figures[]): readonly (readonly [string, readonly Figures[]])[] {
  const byName = new Map<string, Figures[]>();
  for (const one of figures) {
    const name = `${one.subject}, ${one.what}`;
    byName.set(name, [...(byName.get(name) ?? []), one]);
  }
  return [...byName];
}

function section(figures: readonly Figures[]): Section {
  const rows = groups(figures).map(([name, all]) => {
    const outages = all.map(({ outageMs }) => outageMs);
    const clients = all.map(({ clientMs }) => clientMs);
    const sum = (of: (one: Figures) => number): string => String(all.reduce((total, one) => total + of(one), 0));
    return [
      name,
      String(all.length),
      formatFigure(median(outages)),
      formatFigure(Math.max(...outages)),
      formatFigure(median(clients)),
      formatFigure(Math.max(...clients)),
      sum(({ lost }) => lost),
      sum(({ stale }) => stale),
      sum(({ errors }) => errors),
    ];
  });
  return {
    title: "A primary is lost (ms)",
    columns: [
      "",
      "times",
      "no writes, median",
      "worst",
      "client, median",
      "worst",
      "writes lost",
      "old reads",
      "errors",
    ],
    rows,
    notes: [
      "No writes: from the signal until the shard's replica takes one. Client: until a write is acknowledged that ioredis was given at the same moment.",
      "Planned: the longest that any command took within a second, and beside it the longest in the second before.",
      "A stopped primary keeps its connections, and ioredis waits for its answers: a client waits until it goes on.",
      "In brackets: cluster-node-timeout. 25 clients of ioredis and 25 of node-redis, which write, read what others wrote, and wait 20 ms; keys whose acknowledged value was gone count as lost, reads of less than was acknowledged before they were asked as old. Errors are answers; a command whose connection ended is none. Times are those of ioredis.",
    ],
  };
}

function boundsOf(figures: readonly Figures[]): readonly Bound[] {
  const ours = figures.filter(({ subject }) => subject === "bunch");
  const worst = (wanted: Case): number =>
    Math.max(...ours.filter(({ what }) => what === wanted).map(({ outageMs }) => outageMs));
  const sum = (of: (one: Figures) => number): number => ours.reduce((total, one) => total + of(one), 0);
  const times: readonly (readonly [string, Case, number])[] = [
    ["No writes after a kill, worst", "killed", KILL_LIMIT_MS],
    ["The same, of the leader as well, worst", "killed with the leader", KILL_LIMIT_MS],
    ["The same, of another shard's primary as well, worst", "two primaries killed", KILL_LIMIT_MS],
    ["Longest command in a planned failover, worst", "planned", PLANNED_LIMIT_MS],
  ];
  return [
    ...times
      .filter(([, wanted]) => ours.some(({ what }) => what === wanted))
      .map(([what, wanted, limit]) => ({ what, measured: worst(wanted), limit, unit: "ms" })),
    { what: "Acknowledged writes lost", measured: sum(({ lost }) => lost), limit: 0, unit: "" },
    { what: "Reads that told something old", measured: sum(({ stale }) => stale), limit: 0, unit: "" },
    { what: "Commands answered with an error", measured: sum(({ errors }) => errors), limit: 0, unit: "" },
  ];
}
