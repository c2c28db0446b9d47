/** Runs seeds until one fails: `bun hunt.ts raft|cluster|swim FIRST COUNT`. Prints the seed and what it found; exits with 1 if none did. */
import process from "node:process";
import { RaftWorld } from "../../support/raft-world.ts";
import { runCluster } from "../cluster-run.ts";
import { runSwim } from "../swim-run.ts";

/** Steps of a run of machines alone. */
const STEPS = 5000;

const [kind, first, count] = process.argv.slice(2);
for (let seed = Number(first); seed < Number(first) + Number(count); seed += 1) {
  try {
    if (kind === "raft") new RaftWorld(seed).run(STEPS);
    else if (kind === "swim") runSwim(seed);
    else await runCluster(seed);
  } catch (thrown) {
    const [line] = String(thrown instanceof Error ? thrown.message : thrown).split("\n");
    process.stdout.write(`${seed} ${line ?? ""}\n`);
    process.exit(0);
  }
}
process.exit(1);
