/** The hunts as tests, in groups: each group is a file of tests (`mutants-GROUP.test.ts`), so that two are hunted side by side. */
import { describe, expect, test } from "bun:test";
import { hunt, isApplicable } from "./breed.ts";
import type { Mutant } from "./mutant.ts";
import { MUTANTS } from "./mutants.ts";

/** Each kind of run is in one group. */
export const GROUP_OF = {
  raft: "machines",
  swim: "machines",
  cluster: "clusters",
  forget: "departures",
  "forget-without-leases": "departures",
  reset: "departures",
  recover: "departures",
  formation: "departures",
  sole: "departures",
  meeting: "departures",
  replication: "replication",
  failover: "failover",
  migration: "migration",
} as const satisfies Record<Mutant["run"], string>;

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 600_000;

export function describeHunts(group: (typeof GROUP_OF)[Mutant["run"]]): void {
  describe(`mutants: ${group}`, () => {
    for (const mutant of MUTANTS.filter(({ run }) => GROUP_OF[run] === group)) {
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
}
