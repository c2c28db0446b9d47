/**
 * A large cluster: one pinned seed, with 60 learners, so that it ends within seconds. `bun run sim --run scale` simulates 200.
 */
import { expect, test } from "bun:test";
import { runScale } from "./scale-run.ts";

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 240_000;
const VOTERS = 5;
const LEARNERS = 60;
/** A heartbeat of some 150 bytes every 100 ms, with room for commits that are told. */
const IDLE_BYTES_PER_NODE = 2000;

test(
  "a cluster of 5 voters and 60 learners is one cluster again after its leader was killed and a third of the learners cut off",
  async () => {
    const result = await runScale(1, { voters: VOTERS, learners: LEARNERS });
    expect(result.done).toBeGreaterThan(50);
    expect(result.terms).toBeGreaterThanOrEqual(2);
    // Those that were cut off were sent what they had missed; logs were cut meanwhile.
    expect(result.snapshots).toBeGreaterThan(VOTERS + LEARNERS);
    expect(result.leaderlessMs).toBeLessThan(3000);
    // Those whose leader did not reach them had it from others.
    expect(result.fetchedSnapshots).toBeGreaterThanOrEqual(6);
    // What it costs to lead grows with the nodes, and not faster.
    expect(result.idleBytesPerSecond).toBeLessThan((VOTERS + LEARNERS) * IDLE_BYTES_PER_NODE);
  },
  LIMIT_MS,
);
