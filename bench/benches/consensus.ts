/**
 * What it costs that nodes agree: three nodes, each a process of its own, on one machine.
 *
 * Changes: `BENCHCHANGE` (see `changes.config.ts`) over connections that each have one command under way, spread over all nodes, so that two in three
 * changes go to the leader first. Elections: the leader is killed, and the others are asked every few milliseconds whether they lead. Idle: what three
 * nodes use and say to each other while nobody asks anything.
 */

import { readProcessor, processorUse } from "../process-figures.ts";
import type { Bench, BenchContext } from "../bench.ts";
import { Cluster, Connection, type Member, NODE_COUNT, until, viewOf } from "../cluster.ts";
import { type Bound, formatFigure, median, percentile } from "../figures.ts";
import type { BenchResult, Section } from "../report.ts";

/** Of one core, in percent: what a node that does nothing may use. */
const IDLE_LIMIT_PERCENT = 1;
/** A leader that dies is replaced within this, at the worst: a timeout of 500 to 1000 ms, a vote, and one that was split. */
const ELECTION_LIMIT_MS = 3000;
/** Of connections that ask for changes at the same time. */
const CONNECTION_COUNTS: readonly number[] = [1, 16, 128];
/** Changes before those that count: engines compile what is hot. */
const WARM_UP_MS = 1500;
/** Idle nodes settle: the engine goes on compiling what it has seen run for more than a minute, and that is no idle cost. */
const SETTLE_MS = 120_000;
const QUICK_SETTLE_MS = 10_000;
/** How often survivors are asked whether they lead: also how exact the figure is. */
const POLL_MS = 2;

export const consensusBench: Bench = {
  name: "consensus",
  summary: "changes of the cluster map a second, elections after a kill, and what idle nodes use",
  run,
};

interface ChangeFigures {
  readonly hasDisk: boolean;
  readonly connections: number;
  readonly changes: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Processor time of the leader for each change, in microseconds. */
  readonly leaderMicroseconds: number;
  /** The same of the other nodes, on average. */
  readonly followerMicroseconds: number;
}

interface ElectionFigures {
  /** From the kill until another node leads and has committed. */
  readonly leadMs: number;
  /** From the kill until a change that a survivor was asked for at that moment is answered. */
  readonly changeMs: number;
}

interface IdleFigures {
  readonly role: string;
  readonly percentOfCore: number;
  readonly bytesPerSecond: number;
  readonly framesPerSecond: number;
}

async function run(context: BenchContext): Promise<BenchResult> {
  const { isQuick, overrides } = context;
  const seconds = overrides.seconds ?? (isQuick ? 2 : 5);
  const kills = overrides.rounds ?? (isQuick ? 5 : 30);
  const idleSeconds = overrides.seconds ?? (isQuick ? 5 : 20);
  const changes: ChangeFigures[] = [];
  for (const hasDisk of [false, true]) {
    await withCluster(context, hasDisk, async (cluster) => {
      for (const connections of CONNECTION_COUNTS) {
        context.progress(`${connections} changes at a time, ${hasDisk ? "with" : "without"} data directories`);
        changes.push({ hasDisk, ...(await measureChanges(cluster, connections, seconds)) });
      }
    });
  }
  const elections: ElectionFigures[] = [];
  const idle: IdleFigures[] = [];
  await withCluster(context, true, async (cluster) => {
    context.progress(`idle for ${idleSeconds} s`);
    idle.push(...(await measureIdle(cluster, idleSeconds, isQuick ? QUICK_SETTLE_MS : SETTLE_MS)));
    for (let kill = 0; kill < kills; kill += 1) {
      context.progress(`kill ${kill + 1} of ${kills}`);
      elections.push(await measureElection(cluster));
    }
  });
  return {
    sections: [changesSection(changes, seconds), electionsSection(elections), idleSection(idle, idleSeconds)],
    bounds: boundsOf(elections, idle),
    raw: { changes, elections, idle },
  };
}

async function withCluster(
  context: BenchContext,
  hasDisk: boolean,
  measure: (cluster: Cluster) => Promise<void>,
): Promise<void> {
  const cluster = await Cluster.start(context.servers, context.port, hasDisk, []);
  await measure(cluster);
  await cluster.stop();
}

async function measureChanges(
  cluster: Cluster,
  count: number,
  seconds: number,
): Promise<Omit<ChangeFigures, "hasDisk">> {
  // One at a time goes to the leader, so that it is the way of a change and not a mixture of two ways.
  const leader = await cluster.settled();
  const ports = count === 1 ? [leader.server.port] : cluster.members.map(({ server }) => server.port);
  const connections = await Promise.all(
    Array.from({ length: count }, (_, index) => Connection.open(ports[index % ports.length] ?? leader.server.port)),
  );
  const beginMs = performance.now() + WARM_UP_MS;
  const endMs = beginMs + seconds * 1000;
  const tookMs: number[] = [];
  const look = () => cluster.members.map(({ server }) => readProcessor(server.processId));
  let before = look();
  setTimeout(() => (before = look()), WARM_UP_MS);
  await Promise.all(
    connections.map(async (connection) => {
      for (let askedMs = performance.now(); askedMs < endMs;) {
        await connection.run("BENCHCHANGE");
        const answeredMs = performance.now();
        if (askedMs >= beginMs && answeredMs < endMs) tookMs.push(answeredMs - askedMs);
        askedMs = answeredMs;
      }
    }),
  );
  const after = look();
  for (const connection of connections) connection.close();
  const microseconds = cluster.members.map((_, index) => {
    const [begin, end] = [before[index], after[index]];
    return begin === undefined || end === undefined ? 0 : processorUse(begin, end).nanoseconds / 1000 / tookMs.length;
  });
  const leaderMicroseconds = microseconds[leader.index] ?? 0;
  return {
    connections: count,
    changes: tookMs.length,
    seconds,
    p50Ms: percentile(tookMs, 0.5),
    p99Ms: percentile(tookMs, 0.99),
    maxMs: percentile(tookMs, 1),
    leaderMicroseconds,
    followerMicroseconds: (microseconds.reduce((sum, each) => sum + each, 0) - leaderMicroseconds) / (NODE_COUNT - 1),
  };
}

async function measureElection(cluster: Cluster): Promise<ElectionFigures> {
  const leader = await cluster.settled();
  const survivors = cluster.members.filter((member) => member !== leader);
  const before = await viewOf(leader.connection);
  const asker = await Connection.open(survivors[0]?.server.port ?? 0);
  // A kill at a fixed moment after the last heartbeat would give the same figure again and again.
  await Bun.sleep(Math.random() * 200);
  const killedMs = performance.now();
  cluster.kill(leader);
  const changed = asker.run("BENCHCHANGE").then(() => performance.now() - killedMs);
  const leads = async (member: Member): Promise<boolean> => {
    const { role, commitIndex } = await viewOf(member.connection);
    return role === "leader" && commitIndex > before.commitIndex;
  };
  const leadMs = await until("another leader", POLL_MS, async () => {
    const answers = await Promise.all(survivors.map(leads));
    return answers.includes(true) ? performance.now() - killedMs : undefined;
  });
  const changeMs = await changed;
  asker.close();
  await cluster.restart(leader);
  return { leadMs, changeMs };
}

async function measureIdle(cluster: Cluster, seconds: number, settleMs: number): Promise<readonly IdleFigures[]> {
  await cluster.settled();
  await Bun.sleep(settleMs);
  const look = () =>
    Promise.all(
      cluster.members.map(async ({ connection, server }) => ({
        view: await viewOf(connection),
        processor: readProcessor(server.processId),
        atMs: performance.now(),
      })),
    );
  const before = await look();
  await Bun.sleep(seconds * 1000);
  const after = await look();
  return after.flatMap((end, index) => {
    const begin = before[index];
    if (begin === undefined) return [];
    const passedSeconds = (end.atMs - begin.atMs) / 1000;
    return [
      {
        role: end.view.role,
        percentOfCore: processorUse(begin.processor, end.processor).nanoseconds / 1e7 / passedSeconds,
        bytesPerSecond: (end.view.sentBytes - begin.view.sentBytes) / passedSeconds,
        framesPerSecond: (end.view.sentFrames - begin.view.sentFrames) / passedSeconds,
      },
    ];
  });
}

function changesSection(changes: readonly ChangeFigures[], seconds: number): Section {
  return {
    title: "Changes of the cluster map",
    columns: ["asked for at a time", "changes a second", "p50 ms", "p99 ms", "longest ms", "CPU µs leader", "follower"],
    rows: changes.map((each) => [
      `${each.connections}, ${each.hasDisk ? "on disk" : "in memory"}`,
      formatFigure(each.changes / each.seconds),
      formatFigure(each.p50Ms),
      formatFigure(each.p99Ms),
      formatFigure(each.maxMs),
      formatFigure(each.leaderMicroseconds),
      formatFigure(each.followerMicroseconds),
    ]),
    notes: [
      `${NODE_COUNT} voters, each a process of its own, over ${seconds} s. Answered means committed, and applied by the node that was asked.`,
      "One at a time is asked of the leader; more are spread over the nodes. On disk: each voter has synced before it says yes.",
    ],
  };
}

function electionsSection(elections: readonly ElectionFigures[]): Section {
  const row = (what: string, values: readonly number[]): readonly string[] => [
    what,
    formatFigure(median(values)),
    formatFigure(Math.min(...values)),
    formatFigure(Math.max(...values)),
  ];
  return {
    title: "After a kill of the leader (ms)",
    columns: ["from SIGKILL until", "median", "fastest", "worst"],
    rows: [
      row(
        "another leads and has committed",
        elections.map(({ leadMs }) => leadMs),
      ),
      row(
        "a change asked for at the kill is done",
        elections.map(({ changeMs }) => changeMs),
      ),
    ],
    notes: [`${elections.length} kills, at moments by chance, with data directories.`],
  };
}

function idleSection(idle: readonly IdleFigures[], seconds: number): Section {
  return {
    title: "Idle",
    columns: ["node", "% of a core", "bytes a second sent", "frames a second sent"],
    rows: idle.map(({ role, percentOfCore, bytesPerSecond, framesPerSecond }) => [
      role,
      formatFigure(percentOfCore),
      formatFigure(bytesPerSecond),
      formatFigure(framesPerSecond),
    ]),
    notes: [`Over ${seconds} s, all threads of each process. Bytes on the bus between nodes, without what TCP adds.`],
  };
}

function boundsOf(elections: readonly ElectionFigures[], idle: readonly IdleFigures[]): readonly Bound[] {
  return [
    {
      what: "Idle node of three, the busiest",
      measured: Math.max(...idle.map(({ percentOfCore }) => percentOfCore)),
      limit: IDLE_LIMIT_PERCENT,
      unit: "% of a core",
    },
    {
      what: "Another leader after a kill, worst",
      measured: Math.max(...elections.map(({ leadMs }) => leadMs)),
      limit: ELECTION_LIMIT_MS,
      unit: "ms",
    },
  ];
}
