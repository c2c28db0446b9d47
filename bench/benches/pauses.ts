/**
 * The longest stop of the event loop, with many keys and writes of changing sizes.
 *
 * Both servers hold the same keys. In turns, one is written to at a moderate rate (so that no queue builds up and what
 * is late is late because the loop stood still) while `probe.ts` watches it from outside, with an empty Redis as control.
 */

import type { Bench, BenchContext } from "../bench.ts";
import { formatFigure } from "../figures.ts";
import { type LoadReport, runLoad } from "../load.ts";
import { type ProbeReport, runProbe } from "../probe.ts";
import type { BenchResult } from "../report.ts";
import { infoNumber, redisSubject, type Server } from "../servers.ts";

interface Window {
  readonly probe: ProbeReport;
  readonly load: LoadReport;
  /** What the server itself saw, if INFO says. */
  readonly loopLagMaxMs: number | undefined;
}

const KEYS = 5_000_000;
const QUICK_KEYS = 500_000;

const LIMIT_MS = 20;

/** About a tenth to a fifth of what a server takes with this machine's load generator beside it. */
const WRITES_PER_SECOND = 20_000;

const LOWEST_VALUE_BYTES = 16;
const HIGHEST_VALUE_BYTES = 256;

/** The field of INFO in which a server tells the longest stop that it saw itself. */
const LOOP_LAG_FIELD = "loop_lag_max_ms";

export const pausesBench: Bench = {
  name: "pauses",
  summary: "longest stop of the event loop with millions of keys and writes of changing sizes",
  run,
};

async function run(context: BenchContext): Promise<BenchResult> {
  const keys = context.overrides.keys ?? (context.isQuick ? QUICK_KEYS : KEYS);
  const rounds = context.overrides.rounds ?? (context.isQuick ? 1 : 3);
  const seconds = context.overrides.seconds ?? (context.isQuick ? 6 : 20);
  const control = await context.servers.start(redisSubject("control"), context.port + 2);
  const watched: { readonly server: Server; readonly windows: Window[] }[] = [];
  for (const [index, subject] of [context.ours, context.theirs].entries()) {
    const server = await context.servers.start(subject, context.port + index);
    context.progress(`filling ${server.name} with ${keys.toLocaleString("en-US")} keys`);
    await runLoad({ ...valuesFor(server, keys, 1), kind: "fill", order: "ascending" });
    watched.push({ server, windows: [] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const { server, windows } of watched) {
      context.progress(`watching ${server.name} for ${seconds} s, ${round + 1} of ${rounds}`);
      const [load, probe] = await Promise.all([
        // The load lasts a little longer than the probe, which so sees nothing but load.
        runLoad({
          ...valuesFor(server, keys, round + 2),
          kind: "paced",
          perSecond: WRITES_PER_SECOND,
          seconds: seconds + 1,
        }),
        runProbe({
          targetPort: server.port,
          targetProcessId: server.processId,
          controlPort: control.port,
          seconds,
        }),
      ]);
      windows.push({ probe, load, loopLagMaxMs: await infoNumber(server, LOOP_LAG_FIELD) });
    }
  }
  await context.servers.stopAll();
  const longest = (windows: readonly Window[], value: (window: Window) => number) => Math.max(...windows.map(value));
  return {
    sections: [
      {
        title: `Stops of the event loop (ms; ${keys.toLocaleString("en-US")} keys, ${WRITES_PER_SECOND.toLocaleString("en-US")} SET a second, values of ${LOWEST_VALUE_BYTES} to ${HIGHEST_VALUE_BYTES} bytes)`,
        columns: ["server", "longest", "as seen", "control", "p99.9", "over 5 ms", "over 20 ms", "INFO"],
        rows: watched.map(({ server, windows }) => [
          server.name,
          formatFigure(longest(windows, (each) => each.probe.own.maxMs)),
          formatFigure(longest(windows, (each) => each.probe.target.maxMs)),
          formatFigure(longest(windows, (each) => each.probe.control.maxMs)),
          formatFigure(longest(windows, (each) => each.probe.target.p999Ms)),
          String(windows.reduce((sum, each) => sum + each.probe.target.over5Ms, 0)),
          String(windows.reduce((sum, each) => sum + each.probe.target.over20Ms, 0)),
          formatFigure(longest(windows, (each) => each.loopLagMaxMs ?? NaN)),
        ]),
        notes: [
          `A PING every millisecond for ${rounds} x ${seconds} s beside the writes. As seen: the longest time to a reply. Longest: less the time that the server waited for a processor or the control (an empty, idle Redis) was late as well. The other columns: as seen.`,
          `INFO: the longest lag that the server saw itself (${LOOP_LAG_FIELD}), if it says.`,
        ],
      },
    ],
    bounds: [
      {
        what: `Longest stop of ${context.ours.name}`,
        measured: longest(watched[0]?.windows ?? [], (each) => each.probe.own.maxMs),
        limit: LIMIT_MS,
        unit: "ms",
      },
    ],
    raw: { keys, rounds, seconds, writesPerSecond: WRITES_PER_SECOND, watched },
  };
}

function valuesFor(server: Server, keys: number, seed: number) {
  return {
    port: server.port,
    keyPrefix: "key:",
    keys,
    lowestValueBytes: LOWEST_VALUE_BYTES,
    highestValueBytes: HIGHEST_VALUE_BYTES,
    seed,
  };
}
