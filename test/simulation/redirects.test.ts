/** Clusters with a configured map under faults: fixed seeds, seeds that once failed, and the same run on two engines. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { runRedirects } from "./redirect-run.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const DENO = `${ROOT}node_modules/.bin/deno`;

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 240_000;

/** Seeds that found something. Each stays. */
const SEEDS_THAT_FAILED: Readonly<Record<number, string>> = {
  1314: "a stall that outlasts the safety phase by 18 s: the liveness bound counts from its end",
};

describe("a cluster with a configured map", () => {
  test(
    "gives only linearizable answers under faults, and serves all again after them (seeds 1 to 40)",
    async () => {
      let redirected = 0;
      for (let seed = 1; seed <= 40; seed += 1) redirected += (await runRedirects(seed)).redirected;
      // Clients begin at a random node: a run in which nobody was redirected has tested nothing.
      expect(redirected).toBeGreaterThan(1000);
    },
    LIMIT_MS,
  );

  for (const [seed, why] of Object.entries(SEEDS_THAT_FAILED)) {
    test(`holds with seed ${seed}: ${why}`, async () => {
      expect((await runRedirects(Number(seed))).answered).toBeGreaterThan(0);
    });
  }

  test("is seen to fail when nodes serve slots that they do not own", () => {
    expect(runRedirects(1, { disabled: ["hash-slot-router"] })).rejects.toThrow(/which belongs to/);
  });

  test(
    "gives the same trace for the same seed, and another one for another",
    async () => {
      const first = await runRedirects(7);
      expect((await runRedirects(7)).traceHash).toBe(first.traceHash);
      expect((await runRedirects(8)).traceHash).not.toBe(first.traceHash);
    },
    LIMIT_MS,
  );

  test.skipIf(!existsSync(DENO) && process.env["BUNCH_STRICT"] !== "1")(
    "gives the same trace on Deno",
    async () => {
      for (const seed of [7, 2, 1314]) {
        const child = Bun.spawn(
          [
            DENO,
            "run",
            "--allow-all",
            "--no-check",
            "test/simulation/sim.ts",
            "--run",
            "redirects",
            "--seed",
            String(seed),
          ],
          {
            cwd: ROOT,
            stdout: "pipe",
            stderr: "pipe",
          },
        );
        const output = (await new Response(child.stdout).text()) + (await new Response(child.stderr).text());
        expect(output, `seed ${seed}`).toContain(`trace ${(await runRedirects(seed)).traceHash}`);
      }
    },
    LIMIT_MS,
  );
});
