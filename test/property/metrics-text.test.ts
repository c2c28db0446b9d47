/** Metrics as text: whatever labels say and however often what was counted, who reads the text gets just that. */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { readMetrics } from "../../src/cli/prometheus-text.ts";
import { LATENCY_BOUNDS, LatencyCounts } from "../../src/latency-counts.ts";
import { expose } from "../../src/metrics/exposition.ts";
import { Samples } from "../../src/metrics/samples.ts";
import { lintMetrics } from "../support/metrics-lint.ts";

test("labels and values come back as they were", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.tuple(fc.string({ unit: "binary" }), fc.double({ noNaN: true, noDefaultInfinity: true })), {
        selector: ([label]) => label,
        minLength: 1,
        maxLength: 5,
      }),
      async (told) => {
        const samples = new Samples();
        for (const [replica, value] of told) samples.add("bunch_replica_lag_entries", value, { replica });
        const text = await expose(samples);
        const read = readMetrics(text)?.samples.map(({ labels, value }) => [labels["replica"], value + 0]);
        // There is one zero for those who read.
        expect(read).toEqual(told.map(([replica, value]) => [replica, value + 0]));
      },
    ),
  );
});

test("every time falls into the first bucket that takes it in, as often as it stands for", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.tuple(
          fc.oneof(
            fc.double({ min: 0, max: 4e6, noNaN: true }),
            fc.constantFrom(...LATENCY_BOUNDS),
            fc.double({ min: 0, max: 1e12, noNaN: true }),
          ),
          fc.constantFrom(1, 16),
        ),
        { minLength: 1, maxLength: 50 },
      ),
      async (runs) => {
        const latency = new LatencyCounts();
        for (const [microseconds, times] of runs) latency.note(microseconds, times);
        const below = (bound: number): number =>
          runs.reduce((sum, [microseconds, times]) => sum + (microseconds <= bound ? times : 0), 0);
        const samples = new Samples();
        samples.addHistogram("bunch_command_duration_seconds", latency, { command: "get" });
        const text = await expose(samples);
        expect(lintMetrics(text)).toEqual([]);
        const buckets = (readMetrics(text)?.samples ?? []).filter(({ name }) => name.endsWith("_bucket"));
        const bounds = [...LATENCY_BOUNDS, Number.POSITIVE_INFINITY];
        expect(buckets.map(({ value }) => value)).toEqual(bounds.map(below));
      },
    ),
  );
});
