/** Each mutant that no simulation is asked to find is found by the test that sets its scene. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { MutatedCopy } from "./mutants/by-tests.ts";
import { FAILOVER_MUTANTS } from "./mutants/failover-mutants.ts";
import { MUTANTS } from "./mutants/mutants.ts";
import { REPLICATION_MUTANTS } from "./mutants/replication-mutants.ts";
import { TESTED_MUTANTS } from "./mutants/tested-mutants.ts";

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 300_000;
/** Rules of `SAFETY` that have to do with replicas, failover and slots that move, and with what these rest on. */
const RULES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 18, 19, 20, 21, 22, 23, 24, 25];

let copy: MutatedCopy;
beforeAll(async () => {
  copy = await MutatedCopy.make();
});
afterAll(() => copy.remove());

describe("mutants that a test finds", () => {
  test("leave no rule of safety without one, each with a name of its own", () => {
    const all = [...MUTANTS, ...TESTED_MUTANTS];
    expect(new Set(all.map(({ name }) => name)).size).toBe(all.length);
    const broken = new Set(
      all.flatMap(({ breaks }) => /\(SAFETY ([0-9, ]+)/.exec(breaks)?.[1]?.split(",").map(Number) ?? []),
    );
    expect(RULES.filter((rule) => !broken.has(rule))).toEqual([]);
    expect(REPLICATION_MUTANTS.length + FAILOVER_MUTANTS.length).toBeGreaterThanOrEqual(20);
  });

  test(
    "are found because of what they change: without them all of these tests pass",
    async () => expect(await copy.problemWithout(TESTED_MUTANTS)).toBeUndefined(),
    LIMIT_MS,
  );

  for (const mutant of TESTED_MUTANTS) {
    test(`${mutant.name} is found`, async () => expect(await copy.hunt(mutant)).toBeString(), LIMIT_MS);
  }
});
