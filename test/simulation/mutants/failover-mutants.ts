/**
 * Mutants of leases and failover: whole nodes that fail over by themselves must find them (`replication-run.ts`). What is breached in the milliseconds of a commit
 * only (a lease that is granted while a promotion is being decided) is for the tests of the desk.
 */
import type { Mutant } from "./mutant.ts";

export const FAILOVER_MUTANTS: readonly Mutant[] = [
  {
    name: "promotes-under-a-lease",
    breaks: "A primary is replaced when its lease is over.",
    file: "src/protocol/failover/judgement.ts",
    find: "if (leaseEndsAtMs > nowMs) {",
    replace: "if (leaseEndsAtMs > nowMs + 100_000) {",
    run: "failover",
    seed: 7,
    withinSeeds: 10,
  },
  {
    name: "grants-without-a-majority",
    breaks: "A lease counts from the beginning of a round that a majority answered (SAFETY 11).",
    file: "src/protocol/failover/lease-grants.ts",
    find: "const endsAtMs = Math.min(nowMs, confirmedAtMs) + this.#options.leaseMs;",
    replace: "const endsAtMs = nowMs + this.#options.leaseMs;",
    run: "failover",
    seed: 7,
    withinSeeds: 40,
  },
  {
    name: "serves-without-a-lease",
    breaks: "A primary without a lease serves nothing, and lets no reply out.",
    file: "plugins/failover.ts",
    find: 'const isOpen = leaseState === "none" || leaseState === "stale-reads";',
    replace: "const isOpen = true;",
    run: "failover",
    seed: 38,
    withinSeeds: 40,
  },
];
