/** Each mutant is caught: the simulations find the bugs that the rules are there against. */
import { describe, expect, test } from "bun:test";
import { hunt, isApplicable } from "./mutants/breed.ts";
import { MUTANTS } from "./mutants/mutants.ts";

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 600_000;

describe("mutants", () => {
  test("are at least fifteen, each with a name of its own", () => {
    expect(MUTANTS.length).toBeGreaterThanOrEqual(15);
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
  });

  for (const mutant of MUTANTS) {
    test(
      `${mutant.name} is found within ${mutant.withinSeeds} seeds`,
      async () => {
        // Else the sources have changed, and the mutant has to follow them.
        expect(await isApplicable(mutant)).toBe(true);
        expect((await hunt(mutant))?.what).toBeString();
      },
      LIMIT_MS,
    );
  }
});
