/** Many nodes that join a cluster in one moment: 5 voters and 200 learners, one pinned seed. */
import { expect, test } from "bun:test";
import { runStorm } from "./storm-run.ts";

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 240_000;
const VOTERS = 5;
const LEARNERS = 200;
/** So many come one by one, which takes the machine far longer than when they come together. */
const APART = 40;
/** A second to find the cluster, and another one to be members for all. */
const SETTLED_MS = 2000;
/** Each node is told of each other one: of its record in the map, and as a member of the group. With room for snapshots and for what is said twice. */
const BYTES_PER_PAIR = 2000;

test(
  "200 nodes that join in one moment are settled members soon: none is held for down, and the leader has no more to say than if they had come one by one",
  async () => {
    const storm = await runStorm(1, { voters: VOTERS, learners: LEARNERS });
    expect(storm.falseDeaths).toEqual([]);
    expect(storm.suspicions).toBeLessThan(LEARNERS);
    expect(storm.settledMs).toBeLessThan(SETTLED_MS);
    expect(storm.formingBytes).toBeLessThan((VOTERS + LEARNERS) ** 2 * BYTES_PER_PAIR);

    const apart = await runStorm(1, { voters: VOTERS, learners: APART, joinEveryMs: 20 });
    expect(apart.falseDeaths).toEqual([]);
    const stormPerNode = storm.idleBytesPerSecond / (VOTERS + LEARNERS);
    expect(stormPerNode).toBeLessThan((2 * apart.idleBytesPerSecond) / (VOTERS + APART));
  },
  LIMIT_MS,
);
