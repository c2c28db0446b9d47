/** Tables of results, and what is read from the output of other programs. */

import { describe, expect, test } from "bun:test";
import { parseRedisBenchmark } from "../../bench/redis-benchmark.ts";
import { boundsSection, renderMarkdown, renderTerminal } from "../../bench/report.ts";
import { parseInfoNumber } from "../../bench/servers.ts";

const SECTION = {
  title: "Memory",
  columns: ["moment", "bunch", "redis"],
  rows: [
    ["fresh", "120", "164"],
    ["a | b", "1", "2"],
  ],
  notes: ["Bytes per key."],
};

describe("renderMarkdown", () => {
  test("writes heading, table with numbers to the right, and notes", () => {
    expect(renderMarkdown(SECTION)).toBe(
      [
        "### Memory",
        "",
        "| moment | bunch | redis |",
        "| --- | ---: | ---: |",
        "| fresh | 120 | 164 |",
        "| a \\| b | 1 | 2 |",
        "",
        "- Bytes per key.",
        "",
      ].join("\n"),
    );
  });

  test("leaves out notes when there are none", () => {
    expect(renderMarkdown({ ...SECTION, notes: [] }).endsWith("| a \\| b | 1 | 2 |\n")).toBe(true);
  });
});

test("renderTerminal draws title, cells and notes without colours", () => {
  const text = renderTerminal(SECTION);
  expect(text).toContain("│ fresh  │   120 │   164 │");
  expect(text.startsWith("Memory\n")).toBe(true);
  expect(text).toContain("\nBytes per key.\n");
  expect(text).not.toContain("\u001b");
});

test("boundsSection says which bounds were held and which were missed", () => {
  const section = boundsSection([
    { what: "start", measured: 120, limit: 300, unit: "ms" },
    { what: "memory", measured: 0.9, limit: 0.8, unit: "of Redis" },
  ]);
  expect(section.rows).toEqual([
    ["start", "120 ms", "300 ms", "held"],
    ["memory", "0.900 of Redis", "0.800 of Redis", "MISSED"],
  ]);
});

describe("parseRedisBenchmark", () => {
  const output = [
    "SET key: rps=0.0 (overall: nan)\rSET key: rps=1.0\r====== SET key:__rand_int__ 7 requests completed xx ======",
    "  100000 requests completed in 0.90 seconds",
    "  50 parallel clients",
    "",
    "Latency by percentile distribution:",
    "50.000% <= 0.247 milliseconds (cumulative count 52265)",
    "99.805% <= 1.167 milliseconds (cumulative count 99805)",
    "99.902% <= 2.135 milliseconds (cumulative count 99906)",
    "100.000% <= 3.383 milliseconds (cumulative count 100000)",
    "",
    "Cumulative distribution of latencies:",
    "99.976% <= 3.103 milliseconds (cumulative count 99976)",
    "",
    "Summary:",
    "  throughput summary: 110741.97 requests per second",
    "  latency summary (msec):",
    "          avg       min       p50       p95       p99       max",
    "        0.271     0.056     0.247     0.447     0.639     3.383",
  ].join("\n");

  test("finds requests, throughput and latencies", () => {
    expect(parseRedisBenchmark(output)).toEqual({
      requests: 100000,
      perSecond: 110741.97,
      p50Ms: 0.247,
      p99Ms: 0.639,
      p999Ms: 2.135,
      maxMs: 3.383,
    });
  });

  test("takes the longest for p99.9 where the distribution has no such step", () => {
    expect(parseRedisBenchmark(output.replace(/99\.902%.*\n/, "").replace(/100\.000%.*\n/, "")).p999Ms).toBe(3.383);
  });

  test("refuses what is no result", () => {
    expect(() => parseRedisBenchmark("Error from server: ERR")).toThrow("completed its requests");
  });
});

describe("parseInfoNumber", () => {
  const info = "# Memory\r\nused_memory:1234\r\nused_memory_human:1.2K\r\nloop_lag_max_ms:3.5\r\n";

  test.each([
    ["used_memory", 1234],
    ["loop_lag_max_ms", 3.5],
    ["used_memory_human", undefined],
    ["memory", undefined],
  ])("finds %p: %p", (field, expected) => {
    expect(parseInfoNumber(info, field)).toBe(expected);
  });
});
