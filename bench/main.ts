/**
 * The benches: `bun run bench`. Starts servers, measures them beside redis-server, prints tables, and keeps every single
 * figure in a file. README.md beside this file says how to read them.
 */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import type { Bench } from "./bench.ts";
import { consensusBench } from "./benches/consensus.ts";
import { cpuBench } from "./benches/cpu.ts";
import { failoverBench } from "./benches/failover.ts";
import { migrationBench } from "./benches/migration.ts";
import { membershipBench } from "./benches/membership.ts";
import { memoryBench } from "./benches/memory.ts";
import { pausesBench } from "./benches/pauses.ts";
import { replicationBench } from "./benches/replication.ts";
import { startBench } from "./benches/start.ts";
import { type Bound, isHeld } from "./figures.ts";
import { boundsSection, renderMarkdown, renderTerminal, type Section } from "./report.ts";
import { bunchSubject, describeMachine, redisSubject, Servers } from "./servers.ts";

const BENCHES: readonly Bench[] = [
  startBench,
  cpuBench,
  memoryBench,
  pausesBench,
  consensusBench,
  replicationBench,
  failoverBench,
  migrationBench,
  membershipBench,
];

interface Flags {
  readonly quick: boolean;
  readonly self: boolean;
  readonly strict: boolean;
  readonly json?: string;
  readonly markdown?: string;
  readonly port: number;
  readonly rounds?: number;
  readonly seconds?: number;
  readonly keys?: number;
  readonly filter?: RegExp;
  readonly node: string;
}

const program = new Command("bench")
  .description("Measures bunch beside redis-server, in the same run on the same machine")
  .argument("[names...]", `which benches to run; all if none is named: ${BENCHES.map(({ name }) => name).join(", ")}`)
  .option("--quick", "rough figures in about a minute", false)
  .option("--self", "compare Redis with Redis: shows how far apart equal servers come out on this machine", false)
  .option("--strict", "exit with 1 if a bound was missed", false)
  .option("--json <file>", "write all raw figures of this run to this file too")
  .option("--markdown <file>", "write the tables to this file, as Markdown")
  .option("--port <port>", "the first of ten ports to use; those 10,000 higher are used too", wholeNumber, 21300)
  .option("--rounds <count>", "how often each server is measured, in turns", wholeNumber)
  .option("--seconds <seconds>", "how long a measurement lasts", positiveNumber)
  .option("--keys <count>", "how many keys `memory` and `pauses` use", wholeNumber)
  .option(
    "--filter <pattern>",
    'which rows of `cpu`, `replication`, `failover` to run, as "SET, pipeline 16"',
    (text) => new RegExp(text),
  )
  .option("--node <flags>", "further flags for the bunch node, separated by spaces", "")
  .addHelpText("after", `\nBenches:\n${BENCHES.map((each) => `  ${each.name.padEnd(10)} ${each.summary}`).join("\n")}`)
  .action(run);

await program.parseAsync();

async function run(names: readonly string[], flags: Flags): Promise<void> {
  const unknown = names.find((name) => !BENCHES.some((bench) => bench.name === name));
  if (unknown !== undefined) program.error(`error: no bench is called '${unknown}'`, { exitCode: 2 });
  const servers = new Servers();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => void servers.stopAll().then(() => process.exit(1)));
  }
  try {
    const bounds = await runBenches(names, flags, servers);
    if (flags.strict && !bounds.every(isHeld)) process.exitCode = 1;
  } finally {
    await servers.stopAll();
  }
}

async function runBenches(names: readonly string[], flags: Flags, servers: Servers): Promise<readonly Bound[]> {
  const startedAt = new Date();
  const machine = await describeMachine();
  console.log(`${machine}\n`);
  const context = {
    servers,
    ours: flags.self ? redisSubject("redis (a)") : bunchSubject(flags.node.split(" ").filter(Boolean)),
    theirs: redisSubject(flags.self ? "redis (b)" : "redis"),
    port: flags.port,
    isQuick: flags.quick,
    progress: (message: string) => console.error(`  ${message}`),
    overrides: { rounds: flags.rounds, seconds: flags.seconds, keys: flags.keys, filter: flags.filter },
  };
  const sections: Section[] = [];
  const bounds: Bound[] = [];
  const raw: Record<string, unknown> = {};
  for (const bench of BENCHES) {
    if (names.length > 0 && !names.includes(bench.name)) continue;
    console.error(`${bench.name}: ${bench.summary}`);
    const result = await bench.run(context);
    for (const section of result.sections) console.log(`\n${renderTerminal(section)}`);
    sections.push(...result.sections);
    bounds.push(...result.bounds);
    raw[bench.name] = result.raw;
    await saveRaw(bench.name, startedAt, {
      machine,
      startedAt,
      isQuick: flags.quick,
      bounds: result.bounds,
      raw: result.raw,
    });
  }
  const summary = boundsSection(bounds);
  console.log(renderTerminal(summary));
  if (flags.json !== undefined) {
    await Bun.write(
      flags.json,
      JSON.stringify({ machine, startedAt, isQuick: flags.quick, bounds, raw }, undefined, 2),
    );
  }
  if (flags.markdown !== undefined) {
    const tables = [summary, ...sections].map(renderMarkdown).join("\n");
    await Bun.write(flags.markdown, `Measured on ${startedAt.toISOString().slice(0, 10)}: ${machine}.\n\n${tables}`);
  }
  return bounds;
}

/** Keeps what a bench measured under `bench/results/`, which git ignores. */
async function saveRaw(name: string, startedAt: Date, content: unknown): Promise<void> {
  const directory = join(import.meta.dir, "results");
  await mkdir(directory, { recursive: true });
  const moment = startedAt.toISOString().slice(0, 19).replaceAll(":", "-");
  await Bun.write(join(directory, `${moment}-${name}.json`), JSON.stringify(content, undefined, 2));
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("It must be a whole number above 0.");
  return value;
}

function positiveNumber(text: string): number {
  const value = Number(text);
  if (!(value > 0) || !Number.isFinite(value)) throw new InvalidArgumentError("It must be a number above 0.");
  return value;
}
