/**
 * What a server process has used, as Linux counts it: processor time and memory, read from /proc.
 *
 * Processor time comes from `schedstat` of every thread, in nanoseconds: `stat` counts in ticks of 10 ms, too coarse for
 * a short round. A thread that ends takes its `schedstat` with it, though, so if one that was there at the beginning of a
 * round is missing at its end, the ticks of the whole process (which keep what ended threads used) are taken instead.
 */

import { readdirSync, readFileSync } from "node:fs";
import { assert, present } from "../src/assert.ts";

/** Linux reports `stat` in ticks of USER_HZ, which is 100 a second for programs on every architecture that Bun runs on. */
const TICK_NANOSECONDS = 10_000_000;

/** One thread's line of `schedstat`. */
export interface ThreadTime {
  /** Nanoseconds on a processor. */
  readonly runNanoseconds: number;
  /** Nanoseconds that it could have run but had to wait for a processor. */
  readonly waitNanoseconds: number;
}

/** A process at one moment. */
export interface ProcessorSnapshot {
  /** Nanoseconds on a processor, by thread id. */
  readonly threads: ReadonlyMap<number, number>;
  /** Ticks in programs of the process, ended threads included. */
  readonly userTicks: number;
  /** Ticks in the kernel on behalf of the process, ended threads included. */
  readonly systemTicks: number;
}

/** Processor time between two snapshots. */
export interface ProcessorUse {
  readonly nanoseconds: number;
  /** Part of it (by ticks, so roughly) spent in the kernel; 0 to 1. */
  readonly systemFraction: number;
}

/**
 * Reads `/proc/<pid>/schedstat` or `/proc/<pid>/task/<tid>/schedstat`.
 *
 * @param text Three numbers: time run, time waited (both ns), and how often it was put on a processor.
 * @returns The first two.
 * @throws {Fault} If it is not that.
 */
export function parseSchedstat(text: string): ThreadTime {
  const match = present(/^(\d+) (\d+) \d+\s*$/.exec(text), "schedstat holds three numbers");
  return { runNanoseconds: Number(match[1]), waitNanoseconds: Number(match[2]) };
}

/**
 * Reads `/proc/<pid>/stat`. Its second field, the program's name in parentheses, may hold spaces and parentheses.
 *
 * @param text The one line.
 * @returns Ticks in programs and in the kernel.
 * @throws {Fault} If it is cut.
 */
export function parseStat(text: string): { readonly userTicks: number; readonly systemTicks: number } {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  // The fields are numbered from 1 in the manual, and what follows the name begins with the third.
  const userTicks = Number(fields[14 - 3]);
  const systemTicks = Number(fields[15 - 3]);
  assert(Number.isInteger(userTicks) && Number.isInteger(systemTicks), "stat holds utime and stime");
  return { userTicks, systemTicks };
}

/**
 * Reads the resident set from `/proc/<pid>/status`.
 *
 * @param text The file.
 * @returns Bytes in memory: the process' own and those of files that it maps.
 * @throws {Fault} If there is no such line, as in a process that has ended.
 */
export function parseResidentBytes(text: string): number {
  const match = present(/^VmRSS:\s+(\d+) kB$/m.exec(text), "status of a live process has VmRSS");
  return Number(match[1]) * 1024;
}

/**
 * Says how much processor time lies between two snapshots of a process.
 *
 * @param before The earlier one.
 * @param after The later one.
 * @returns All threads together, those that began in between included.
 */
export function processorUse(before: ProcessorSnapshot, after: ProcessorSnapshot): ProcessorUse {
  const userTicks = after.userTicks - before.userTicks;
  const systemTicks = after.systemTicks - before.systemTicks;
  const ticks = userTicks + systemTicks;
  const systemFraction = ticks === 0 ? 0 : systemTicks / ticks;
  let nanoseconds = 0;
  for (const [thread, used] of after.threads) nanoseconds += used - (before.threads.get(thread) ?? 0);
  for (const thread of before.threads.keys()) {
    if (!after.threads.has(thread)) return { nanoseconds: ticks * TICK_NANOSECONDS, systemFraction };
  }
  return { nanoseconds, systemFraction };
}

/** Takes a snapshot of a live process' processor time. */
export function readProcessor(processId: number): ProcessorSnapshot {
  const threads = new Map<number, number>();
  for (const thread of readdirSync(`/proc/${processId}/task`)) {
    const text = readUnlessEnded(`/proc/${processId}/task/${thread}/schedstat`);
    if (text !== undefined) threads.set(Number(thread), parseSchedstat(text).runNanoseconds);
  }
  return { threads, ...parseStat(readFileSync(`/proc/${processId}/stat`, "utf8")) };
}

/** Reads how many bytes of a live process are in memory. */
export function readResidentBytes(processId: number): number {
  return parseResidentBytes(readFileSync(`/proc/${processId}/status`, "utf8"));
}

function readUnlessEnded(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // A thread may end after its directory was listed.
  }
}
