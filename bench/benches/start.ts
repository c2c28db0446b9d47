/** Time from the start of a server's process until it has answered a PING. */

import type { Bench, BenchContext } from "../bench.ts";
import { formatFigure, median } from "../figures.ts";
import type { BenchResult } from "../report.ts";

/** A person who waits for a prompt does not notice less than this. */
const LIMIT_MS = 300;

export const startBench: Bench = {
  name: "start",
  summary: "time from starting the process until it answers PING",
  run,
};

async function run(context: BenchContext): Promise<BenchResult> {
  const rounds = context.overrides.rounds ?? (context.isQuick ? 5 : 10);
  const times: { readonly name: string; readonly startMs: number[] }[] = [];
  const subjects = [context.ours, context.theirs];
  for (const { name } of subjects) times.push({ name, startMs: [] });
  for (let round = 0; round < rounds; round++) {
    context.progress(`start ${round + 1} of ${rounds}`);
    for (const [index, subject] of subjects.entries()) {
      const { server, startMs } = await context.servers.launch(subject, context.port + index);
      times[index]?.startMs.push(startMs);
      await context.servers.stop(server);
    }
  }
  return {
    sections: [
      {
        title: "Start (ms)",
        columns: ["from the start of the process to the reply to PING", "median", "fastest", "slowest"],
        rows: times.map(({ name, startMs }) => [
          name,
          formatFigure(median(startMs)),
          formatFigure(Math.min(...startMs)),
          formatFigure(Math.max(...startMs)),
        ]),
        notes: [`${rounds} starts each, in turns. A try to connect is made every millisecond or two.`],
      },
    ],
    bounds: [
      {
        what: `Start of ${context.ours.name}, median`,
        measured: median(times[0]?.startMs ?? []),
        limit: LIMIT_MS,
        unit: "ms",
      },
    ],
    raw: { rounds, times },
  };
}
