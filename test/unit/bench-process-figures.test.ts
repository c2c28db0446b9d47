/** What the benches read from /proc. The samples are what Linux 6 writes. */

import { describe, expect, test } from "bun:test";
import {
  parseResidentBytes,
  parseSchedstat,
  parseStat,
  type ProcessorSnapshot,
  processorUse,
  readProcessor,
  readResidentBytes,
} from "../../bench/process-figures.ts";

const STAT_END = " S 1 5123 2705 0 -1 4194560 3520 0 1 0 22 55 0 0 20 0 5 0 81229 75915264 5200 184467440737";

describe("parseStat", () => {
  test.each(["redis-server", "a b", "odd) R 1 2 (name"])("finds utime and stime behind the name %p", (name) => {
    expect(parseStat(`5135 (${name})${STAT_END}`)).toEqual({ userTicks: 22, systemTicks: 55 });
  });

  test("refuses a line that is cut", () => {
    expect(() => parseStat("5135 (redis-server) S 1 5123")).toThrow("utime and stime");
  });
});

describe("parseSchedstat", () => {
  test("reads time run and time waited", () => {
    expect(parseSchedstat("781354776 9737128 4230\n")).toEqual({
      runNanoseconds: 781354776,
      waitNanoseconds: 9737128,
    });
  });

  test("refuses anything else", () => {
    expect(() => parseSchedstat("")).toThrow("three numbers");
    expect(() => parseSchedstat("1 2")).toThrow("three numbers");
  });
});

describe("parseResidentBytes", () => {
  test("reads VmRSS, not its high-water mark", () => {
    expect(parseResidentBytes("Name:\tbun\nVmHWM:\t   99 kB\nVmRSS:\t    1616 kB\nRssAnon:\t 112 kB\n")).toBe(
      1616 * 1024,
    );
  });

  test("refuses a process that has ended", () => {
    expect(() => parseResidentBytes("Name:\tbun\nState:\tZ (zombie)\n")).toThrow("VmRSS");
  });
});

describe("processorUse", () => {
  const snapshot = (threads: Record<number, number>, userTicks: number, systemTicks: number): ProcessorSnapshot => ({
    threads: new Map(Object.entries(threads).map(([thread, used]) => [Number(thread), used])),
    userTicks,
    systemTicks,
  });

  test("adds up all threads, those that began in between with all they used", () => {
    const use = processorUse(snapshot({ 1: 100, 2: 50 }, 0, 0), snapshot({ 1: 130, 2: 50, 3: 7 }, 3, 1));
    expect(use).toEqual({ nanoseconds: 37, systemFraction: 0.25 });
  });

  test("falls back to ticks when a thread has ended and taken its count with it", () => {
    const use = processorUse(snapshot({ 1: 100, 2: 50 }, 10, 10), snapshot({ 1: 130 }, 13, 11));
    expect(use).toEqual({ nanoseconds: 40_000_000, systemFraction: 0.25 });
  });

  test("no time at all is no division by zero", () => {
    const same = snapshot({ 1: 100 }, 5, 5);
    expect(processorUse(same, same)).toEqual({ nanoseconds: 0, systemFraction: 0 });
  });
});

test("readProcessor and readResidentBytes understand the machine that the test runs on", () => {
  if (process.platform !== "linux") return; // There is no /proc elsewhere, and the benches run on Linux alone.
  const before = readProcessor(process.pid);
  const deadlineMs = performance.now() + 30;
  let spins = 0;
  while (performance.now() < deadlineMs) spins++;
  const { nanoseconds } = processorUse(before, readProcessor(process.pid));
  expect(spins).toBeGreaterThan(0);
  expect(nanoseconds).toBeGreaterThan(0);
  expect(readResidentBytes(process.pid)).toBeGreaterThan(1024 * 1024);
});
