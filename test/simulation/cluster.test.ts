/** Clusters that agree on their map under faults: fixed seeds, seeds that once failed, and the same run on two engines. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { runCluster } from "./cluster-run.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const DENO = `${ROOT}node_modules/.bin/deno`;

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 240_000;

/** Seeds that found something. Each stays. */
const SEEDS_THAT_FAILED: Readonly<Record<number, string>> = {
  4: "the target of a completed migration served before the source knew",
  12: "a request that was refused had a copy on its way, which was taken later",
  25: "the leader decided on versions that its log did not give, and slots stayed released for ever",
  1251: "a link that was opened again after a while was taken for stuck before it was open, and a node could not join",
  20104: "a segment of the log was followed by another before it was durable, and its torn end was taken for damage",
  30242: "a group that was founded by one node alone was joined by the others, and never came to life",
  40104:
    "late word of an earlier identity took the place of the present one, whose node was out of the cluster for ever",
  60025: "the checker counted a vote that was never durable, and told to nobody",
  80026: "a node whose log named it a learner by an entry that was lost waited for ever to be sent the log",
  80170:
    "a node without a disk was given a vote when it had just died, which no majority survives: who votes has just been heard",
  41: "a request that was rejected had a copy on its way, which was taken later",
};

describe("a cluster that agrees on its map", () => {
  test(
    "never shows anything wrong under faults, and is one cluster again after them (seeds 1 to 30)",
    async () => {
      const sum = { done: 0, rejected: 0, unknown: 0, terms: 0, reads: 0, snapshots: 0 };
      for (let seed = 1; seed <= 30; seed += 1) {
        const result = await runCluster(seed);
        for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += result[key];
      }
      // The runs are worth something: changes were made, refused and lost sight of, leaders came and went, logs were cut.
      expect(sum.done).toBeGreaterThan(1000);
      expect(sum.rejected).toBeGreaterThan(300);
      expect(sum.unknown).toBeGreaterThan(100);
      expect(sum.terms).toBeGreaterThan(40);
      expect(sum.reads).toBeGreaterThan(300);
      expect(sum.snapshots).toBeGreaterThan(300);
    },
    LIMIT_MS,
  );

  for (const [seed, why] of Object.entries(SEEDS_THAT_FAILED)) {
    test(
      `holds with seed ${seed}: ${why}`,
      async () => {
        const { done, rejected, refused } = await runCluster(Number(seed));
        expect(done + rejected + refused).toBeGreaterThan(0);
      },
      LIMIT_MS,
    );
  }

  test(
    "gives the same trace for the same seed, and another one for another",
    async () => {
      const first = await runCluster(5);
      expect((await runCluster(5)).traceHash).toBe(first.traceHash);
      expect((await runCluster(6)).traceHash).not.toBe(first.traceHash);
    },
    LIMIT_MS,
  );

  test.skipIf(!existsSync(DENO) && process.env["BUNCH_STRICT"] !== "1")(
    "gives the same trace on Deno",
    async () => {
      for (const seed of [5, 12]) {
        const child = Bun.spawn(
          [
            DENO,
            "run",
            "--allow-all",
            "--no-check",
            "test/simulation/sim.ts",
            "--run",
            "cluster",
            "--seed",
            String(seed),
          ],
          { cwd: ROOT, stdout: "pipe", stderr: "pipe" },
        );
        const output = (await new Response(child.stdout).text()) + (await new Response(child.stderr).text());
        expect(output, `seed ${seed}`).toContain(`trace ${(await runCluster(seed)).traceHash}`);
      }
    },
    LIMIT_MS,
  );
});
