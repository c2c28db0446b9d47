/** Runs seeds until one fails: `bun hunt.ts KIND FIRST COUNT`. Prints the seed and what it found; exits with 1 if none did. */
import process from "node:process";
import { RaftWorld } from "../../support/raft-world.ts";
import { runCluster } from "../cluster-run.ts";
import { runForget } from "../forget-run.ts";
import { runRecover } from "../recover-run.ts";
import { runReplication } from "../replication-run.ts";
import { runReset } from "../reset-run.ts";
import { runFormation } from "../formation-run.ts";
import { runMeeting } from "../meeting-run.ts";
import { runSwim } from "../swim-run.ts";
import type { Mutant } from "./mutant.ts";

/** Steps of a run of machines alone. */
const STEPS = 5000;

const RUNS: Readonly<Record<Mutant["run"], (seed: number) => unknown>> = {
  raft: (seed) => new RaftWorld(seed).run(STEPS),
  cluster: runCluster,
  forget: (seed) => runForget(seed),
  "forget-without-leases": (seed) => runForget(seed, { hasLeases: false }),
  reset: runReset,
  recover: runRecover,
  formation: runFormation,
  sole: (seed) => runFormation(seed, { isSole: true }),
  meeting: runMeeting,
  replication: (seed) => runReplication(seed),
  failover: (seed) => runReplication(seed, { hasFailover: true }),
  migration: (seed) => runReplication(seed, { hasFailover: true, hasMigrations: true }),
  swim: runSwim,
};

const [kind, first, count] = process.argv.slice(2);
for (let seed = Number(first); seed < Number(first) + Number(count); seed += 1) {
  try {
    await RUNS[kind as Mutant["run"]](seed);
  } catch (thrown) {
    const [line] = String(thrown instanceof Error ? thrown.message : thrown).split("\n");
    process.stdout.write(`${seed} ${line ?? ""}\n`);
    process.exit(0);
  }
}
process.exit(1);
