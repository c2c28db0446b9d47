/**
 * Memory per key, fresh and after churn, and what is given back.
 *
 * Each server in turn: filled with keys of 16 bytes and values of 64, then overwritten with values of changing sizes for
 * several times the data set, then with values of 64 bytes again, then emptied key by key. Both get the same commands.
 * The figures are what the kernel says is in memory (fragmentation, garbage and the server's own program included), and
 * beside it what the server itself believes it uses.
 */

import type { Bench, BenchContext } from "../bench.ts";
import { type Bound, formatFigure, formatMebibytes, isHeld } from "../figures.ts";
import { type FillOptions, runLoad } from "../load.ts";
import { readResidentBytes } from "../process-figures.ts";
import type { BenchResult } from "../report.ts";
import { infoNumber, type Server, type Subject } from "../servers.ts";

/** A moment in a server's life. */
interface Moment {
  readonly name: string;
  readonly residentBytes: number;
  /** What INFO says; undefined if it does not. */
  readonly usedBytes: number | undefined;
}

interface Life {
  readonly subject: string;
  readonly moments: readonly Moment[];
}

const KEY_PREFIX = "key:";
const KEY_BYTES = 16;
const VALUE_BYTES = 64;

const KEYS = 3_000_000;
const QUICK_KEYS = 300_000;

const LIMIT = 0.8;

/** The smallest and largest value of each time that all keys are overwritten, in an order that scatters them. */
const CHURN_BYTES: readonly (readonly [number, number])[] = [
  [16, 128],
  [64, 256],
  [1, 48],
  [32, 512],
  [16, 128],
];

/** Memory is read when it has been the same, give or take, for so long ... */
const SETTLED_FOR_MS = 3000;
/** ... or at the latest after this: jemalloc gives free pages back after 10 s. */
const SETTLE_AT_MOST_MS = 25_000;
/** Give or take this much. */
const SETTLED_WITHIN_BYTES = 1024 * 1024;

export const memoryBench: Bench = {
  name: "memory",
  summary: "memory per key: fresh, after churn with changing sizes, and after deleting all",
  run,
};

async function run(context: BenchContext): Promise<BenchResult> {
  const keys = context.overrides.keys ?? (context.isQuick ? QUICK_KEYS : KEYS);
  const ours = await live(context, context.ours, context.port, keys);
  const theirs = await live(context, context.theirs, context.port + 1, keys);
  return summarize(ours, theirs, keys);
}

async function live(context: BenchContext, subject: Subject, port: number, keys: number): Promise<Life> {
  const server = await context.servers.start(subject, port);
  const moments: Moment[] = [];
  const note = async (name: string) => {
    const residentBytes = await settledBytes(server);
    moments.push({ name, residentBytes, usedBytes: await infoNumber(server, "used_memory") });
    context.progress(`${subject.name}, ${name}: ${formatMebibytes(residentBytes)}`);
  };
  const pass: FillOptions = {
    kind: "fill",
    port,
    keyPrefix: KEY_PREFIX,
    keys,
    lowestValueBytes: VALUE_BYTES,
    highestValueBytes: VALUE_BYTES,
    seed: 1,
    order: "scattered",
  };
  await note("empty");
  await runLoad({ ...pass, order: "ascending" });
  await note("fresh");
  for (const [index, [lowestValueBytes, highestValueBytes]] of CHURN_BYTES.entries()) {
    await runLoad({ ...pass, lowestValueBytes, highestValueBytes, seed: index + 2 });
  }
  await note("churned, mixed sizes");
  await runLoad(pass);
  await note("churned, back to one size");
  await runLoad({ ...pass, kind: "delete" });
  await note("all deleted");
  await context.servers.stop(server);
  return { subject: subject.name, moments };
}

/** Waits until a server's memory no longer changes, then reads it. */
async function settledBytes(server: Server): Promise<number> {
  const startedMs = performance.now();
  let steadySinceMs = startedMs;
  let steadyBytes = readResidentBytes(server.processId);
  for (;;) {
    await Bun.sleep(200);
    const nowMs = performance.now();
    const bytes = readResidentBytes(server.processId);
    if (Math.abs(bytes - steadyBytes) > SETTLED_WITHIN_BYTES) {
      steadyBytes = bytes;
      steadySinceMs = nowMs;
    }
    if (nowMs - steadySinceMs >= SETTLED_FOR_MS || nowMs - startedMs >= SETTLE_AT_MOST_MS) return bytes;
  }
}

function summarize(ours: Life, theirs: Life, keys: number): BenchResult {
  const [emptyOurs, ...restOurs] = ours.moments;
  const [emptyTheirs, ...restTheirs] = theirs.moments;
  const baseOurs = emptyOurs?.residentBytes ?? 0;
  const baseTheirs = emptyTheirs?.residentBytes ?? 0;
  const used = (moment: Moment | undefined) =>
    moment?.usedBytes === undefined ? "-" : formatFigure(moment.usedBytes / keys);
  const bounds: Bound[] = [];
  const rows: string[][] = [];
  for (const [index, mine] of restOurs.entries()) {
    const other = restTheirs[index];
    if (other === undefined) continue;
    const growthOurs = (mine.residentBytes - baseOurs) / keys;
    const growthTheirs = (other.residentBytes - baseTheirs) / keys;
    const ratio = growthOurs / growthTheirs;
    const isBounded = mine.name !== "all deleted";
    const bound = { what: `Memory per key, ${mine.name}`, measured: ratio, limit: LIMIT, unit: "of Redis" };
    if (isBounded) bounds.push(bound);
    rows.push([
      mine.name,
      formatFigure(growthOurs),
      formatFigure(growthTheirs),
      isBounded ? ratio.toFixed(2) : "-",
      isBounded ? (isHeld(bound) ? "held" : "MISSED") : "",
      formatFigure(mine.residentBytes / keys),
      formatFigure(other.residentBytes / keys),
      used(mine),
      used(other),
    ]);
  }
  const perKey = (name: string, unit: string) => `${name} ${unit}`;
  return {
    sections: [
      {
        title: `Memory (bytes per key; ${keys.toLocaleString("en-US")} keys of ${KEY_BYTES} bytes, values of ${VALUE_BYTES})`,
        columns: [
          "moment",
          perKey(ours.subject, "growth"),
          perKey(theirs.subject, "growth"),
          "ratio",
          `bound ${LIMIT.toFixed(2)}`,
          perKey(ours.subject, "total"),
          perKey(theirs.subject, "total"),
          perKey(ours.subject, "INFO"),
          perKey(theirs.subject, "INFO"),
        ],
        rows,
        notes: [
          `Growth: resident memory less that of the empty server (${ours.subject} ${formatMebibytes(baseOurs)}, ${theirs.subject} ${formatMebibytes(baseTheirs)}). Total: all of it. INFO: used_memory, as the server counts.`,
          `Churn: all keys overwritten ${CHURN_BYTES.length} times with values of changing sizes (${CHURN_BYTES.map(([lowest, highest]) => `${lowest}-${highest}`).join(", ")} bytes), then once with ${VALUE_BYTES} bytes. The data of "mixed sizes" are ${KEY_BYTES} bytes of key and 72 of value on average.`,
        ],
      },
    ],
    bounds,
    raw: { keys, ours, theirs },
  };
}
