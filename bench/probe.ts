/**
 * Measures from outside for how long servers stand still. Every millisecond it sends a PING to the server under load
 * and, at the same moment, to an empty and idle control server; a reply that comes late means that someone stood still.
 * Who, is the question on a shared machine:
 *
 * 1. The probe itself (or the whole machine): then the control's reply to the PING of that moment is late as well.
 * 2. The server, because other programs had the processors: the kernel counts how long its thread could have run and had
 *    to wait (`schedstat`).
 * 3. The server's event loop. That is what is left.
 *
 * `bun bench/probe.ts '<ProbeOptions as JSON>'` prints one line, ProbeReport as JSON. `runProbe` starts it.
 */

import { Buffer } from "node:buffer";
import { openSync, readSync } from "node:fs";
import { present } from "../src/assert.ts";
import { runHelper } from "./child.ts";
import { percentile } from "./figures.ts";
import { parseSchedstat } from "./process-figures.ts";
import { ReplyCounter } from "./wire.ts";

export interface ProbeOptions {
  readonly targetPort: number;
  readonly targetProcessId: number;
  readonly controlPort: number;
  readonly seconds: number;
}

/** Delays in milliseconds. */
export interface ProbeReport {
  readonly pings: number;
  /** From PING to reply, as seen. */
  readonly target: Delays;
  readonly control: Delays;
  /** The target's, less what the probe or a lack of processors accounts for. */
  readonly own: Delays;
  /** The longest of the target's delays, longest first. */
  readonly slowest: readonly SlowPing[];
}

export interface Delays {
  readonly p50Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  /** How many PINGs took longer than 5 and 20 ms. One stop delays all PINGs that were sent in it. */
  readonly over5Ms: number;
  readonly over20Ms: number;
}

export interface SlowPing {
  /** When it was sent, from the beginning. */
  readonly atMs: number;
  readonly targetMs: number;
  readonly controlMs: number;
  /** How long the target's thread waited for a processor meanwhile. */
  readonly waitedMs: number;
  readonly ownMs: number;
}

/** How often it sends. A stop is seen as shorter than it was by up to this. */
const PERIOD_MS = 1;

/** Replies faster than this are not worth a look at how long the server waited for a processor. */
const SLOW_MS = 2;

/** A reply that is not there this long after the end never comes. */
const GRACE_MS = 5000;

/** How many of the longest delays are reported one by one. */
const SLOWEST_REPORTED = 10;

/** What one probe saw, one element a PING, in the order they were sent; milliseconds. */
export interface ProbeSamples {
  readonly sentAtMs: ArrayLike<number>;
  readonly targetMs: ArrayLike<number>;
  readonly controlMs: ArrayLike<number>;
  /** For how long the target waited for a processor between a PING and its reply; 0 if the reply was fast. */
  readonly waitedMs: ArrayLike<number>;
}

/**
 * Sums up what a probe saw.
 *
 * @param samples As many of each kind; at least one.
 * @returns The report. A delay is the server's own as far as it exceeds both the control's delay at the same moment and
 * the time that it waited for a processor. (The larger of the two is taken off, not their sum: they overlap.)
 */
export function summarizeProbe(samples: ProbeSamples): ProbeReport {
  const pings: SlowPing[] = Array.from(samples.sentAtMs, (atMs, index) => {
    const targetMs = samples.targetMs[index] as number;
    const controlMs = samples.controlMs[index] as number;
    const waitedMs = samples.waitedMs[index] as number;
    return { atMs, targetMs, controlMs, waitedMs, ownMs: Math.max(0, targetMs - Math.max(controlMs, waitedMs)) };
  });
  return {
    pings: pings.length,
    target: delays(pings.map((ping) => ping.targetMs)),
    control: delays(pings.map((ping) => ping.controlMs)),
    own: delays(pings.map((ping) => ping.ownMs)),
    slowest: pings.toSorted((one, other) => other.targetMs - one.targetMs).slice(0, SLOWEST_REPORTED),
  };
}

function delays(values: readonly number[]): Delays {
  return {
    p50Ms: percentile(values, 0.5),
    p999Ms: percentile(values, 0.999),
    maxMs: percentile(values, 1),
    over5Ms: values.filter((value) => value > 5).length,
    over20Ms: values.filter((value) => value > 20).length,
  };
}

/**
 * Runs the probe in a process of its own.
 *
 * @param options Whom to watch, for how long.
 * @returns What it saw.
 * @throws {Error} If a server went away or did not answer.
 */
export async function runProbe(options: ProbeOptions): Promise<ProbeReport> {
  return (await runHelper(import.meta.path, options)) as ProbeReport;
}

async function probe(options: ProbeOptions): Promise<ProbeReport> {
  const most = Math.ceil((options.seconds * 1000) / PERIOD_MS);
  const sentAtMs = new Float64Array(most);
  const targetMs = new Float64Array(most);
  const controlMs = new Float64Array(most);
  const waitedMs = new Float64Array(most);
  const waitCounterMs = new Float64Array(most);
  const ping = Buffer.from("*1\r\n$4\r\nPING\r\n");
  const readWaitedMs = waitReader(options.targetProcessId);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let sent = 0;
  let targetReplies = 0;
  let controlReplies = 0;
  let isSending = true;

  const resolveIfDone = () => {
    if (!isSending && targetReplies === sent && controlReplies === sent) resolve();
  };
  const connect = (port: number, replied: () => void) => {
    const replies = new ReplyCounter();
    return Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, bytes) => {
          for (let count = replies.count(bytes); count > 0; count--) replied();
          resolveIfDone();
        },
        close: () => reject(new Error("A server closed the probe's connection")),
        error: (_, error) => reject(error),
      },
    });
  };
  const startedMs = performance.now();
  const target = await connect(options.targetPort, () => {
    const index = targetReplies++;
    const delayMs = performance.now() - startedMs - (sentAtMs[index] as number);
    targetMs[index] = delayMs;
    if (delayMs > SLOW_MS) waitedMs[index] = readWaitedMs() - (waitCounterMs[index] as number);
  });
  const control = await connect(options.controlPort, () => {
    const index = controlReplies++;
    controlMs[index] = performance.now() - startedMs - (sentAtMs[index] as number);
  });

  const timer = setInterval(() => {
    if (sent === most || performance.now() - startedMs >= options.seconds * 1000) {
      clearInterval(timer);
      isSending = false;
      resolveIfDone();
      setTimeout(() => reject(new Error("A server did not answer a PING")), GRACE_MS);
      return;
    }
    waitCounterMs[sent] = readWaitedMs();
    sentAtMs[sent] = performance.now() - startedMs;
    sent++;
    target.write(ping);
    control.write(ping);
  }, PERIOD_MS);
  await promise;
  return summarizeProbe({
    sentAtMs: sentAtMs.subarray(0, sent),
    targetMs,
    controlMs,
    waitedMs,
  });
}

/** Reads for how long a process' main thread, which runs the event loop, has waited for a processor; milliseconds. */
function waitReader(processId: number): () => number {
  const file = openSync(`/proc/${processId}/task/${processId}/schedstat`, "r");
  const buffer = Buffer.alloc(128);
  return () => {
    const length = readSync(file, buffer, 0, buffer.length, 0);
    return parseSchedstat(buffer.toString("latin1", 0, length)).waitNanoseconds / 1e6;
  };
}

if (import.meta.main) {
  const options = JSON.parse(present(process.argv[2], "the options come as JSON")) as ProbeOptions;
  const report = await probe(options);
  process.stdout.write(`${JSON.stringify(report)}\n`);
  process.exit(0);
}
