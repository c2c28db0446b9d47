/** Nodes that are forgotten, reset and recovered under faults: fixed seeds, and seeds that once failed. */
import { describe, expect, test } from "bun:test";
import { runForget } from "./forget-run.ts";
import { runRecover } from "./recover-run.ts";
import { runReset } from "./reset-run.ts";

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 240_000;

describe("nodes that are forgotten", () => {
  test(
    "stay out, serve nothing once they know, and leave one cluster behind (seeds 1 to 20)",
    async () => {
      const runs = await inTurn(runForget, 20);
      expect(new Set(runs.flatMap(({ fates }) => fates)).size).toBeGreaterThanOrEqual(4);
      expect(sum(runs.map(({ refused }) => refused))).toBeGreaterThan(500);
    },
    LIMIT_MS,
  );

  for (const [seed, why] of [
    [1, "a start that was never admitted was taken for one that was, and a node that was out served on by an old map"],
    [12, "a voter was taken out while another one was dead, and the one that was left had no majority"],
    [25, "a leader that was taken out handed over to a member that was dead, again and again"],
  ] as const) {
    test(`hold with seed ${seed}: ${why}`, async () => void (await runForget(seed)), LIMIT_MS);
  }
});

describe("nodes that are reset", () => {
  test(
    "are out of their cluster or one by themselves, wherever they stop (seeds 1 to 12)",
    async () => {
      const runs = await inTurn(runReset, 12);
      expect(new Set(runs.flatMap(({ kinds }) => kinds)).size).toBe(2);
      expect(sum(runs.map(({ crashesMidway }) => crashesMidway))).toBeGreaterThan(3);
    },
    LIMIT_MS,
  );

  for (const [seed, why] of [
    [2, "what a node lost was served by another before it knew, since it was removed in the same act"],
    [1, "a node that stopped when it had just noted that it left was a member of its old group again"],
    [27, "a voter that asked to leave was let go while another one was dead, and the rest had no majority"],
  ] as const) {
    test(`hold with seed ${seed}: ${why}`, async () => void (await runReset(seed)), LIMIT_MS);
  }
});

describe("a cluster that lost its majority", () => {
  test(
    "is recovered from a survivor, with all that it had, wherever that is cut off (seeds 1 to 12)",
    async () => {
      const runs = await inTurn(runRecover, 12);
      expect(sum(runs.map(({ attempts }) => attempts))).toBeGreaterThan(runs.length);
      expect(sum(runs.map(({ finished }) => finished))).toBeGreaterThan(0);
      expect(sum(runs.map(({ kept }) => kept))).toBeGreaterThan(100);
    },
    LIMIT_MS,
  );

  test(
    "holds with seed 2: cut off between its last two steps, recovering left no directory where one had been",
    async () => {
      expect((await runRecover(2)).finished).toBe(1);
    },
    LIMIT_MS,
  );
});

test(
  "a node that is asked while it reads its disk does not say that it is fresh (recover, seed 20047)",
  async () => void (await runRecover(20_047)),
  LIMIT_MS,
);

test(
  "the same seed gives the same trace",
  async () => {
    for (const run of [runForget, runReset, runRecover])
      expect((await run(3)).traceHash).toBe((await run(3)).traceHash);
  },
  LIMIT_MS,
);

async function inTurn<Result>(run: (seed: number) => Promise<Result>, seeds: number): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (let seed = 1; seed <= seeds; seed += 1) results.push(await run(seed));
  return results;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
