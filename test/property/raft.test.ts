/** Groups of Raft machines under every fault that a seed draws: nothing that was agreed on is ever otherwise, and a healed group comes to rest. */
import { describe, expect, test } from "bun:test";
import { RaftWorld } from "../support/raft-world.ts";
import { makeRandom } from "../support/test-random.ts";

const STEPS = 5000;

/** Each found a bug once, among members that ask nobody but their leader. */
const KEPT: readonly (readonly [seed: number, steps: number, what: string])[] = [
  [10_014, 60_000, "a member whose restart forgot what is committed stands for election as a voter of its log's past"],
  [10_042, 60_000, "a member that is no voter by an entry which only it has must be elected all the same"],
  [10_023, 60_000, "the log stays within its bound"],
];

describe("Raft", () => {
  test("keeps its promises under faults, and comes to rest when they end", () => {
    let committed = 0;
    let snapshots = 0;
    let changes = 0;
    let fetched = 0;
    let fetchedSnapshots = 0;
    const random = makeRandom("raft");
    const first = random.below(1_000_000_000);
    for (let seed = first; seed < first + 150; seed += 1) {
      try {
        const result = new RaftWorld(seed).run(STEPS);
        committed += result.committed;
        snapshots += result.snapshots;
        changes += result.changes;
        fetched += result.fetched;
        fetchedSnapshots += result.fetchedSnapshots;
      } catch (thrown) {
        throw new Error(`seed ${seed}, ${STEPS} steps; ${random.repeat}`, { cause: thrown });
      }
    }
    // The runs are worth something: they did things.
    expect(committed).toBeGreaterThan(2000);
    expect(snapshots).toBeGreaterThan(20);
    expect(changes).toBeGreaterThan(50);
    expect(fetched).toBeGreaterThan(200);
    expect(fetchedSnapshots).toBeGreaterThan(5);
  });

  test.each(KEPT)("seed %d, %d steps: %s", (seed, steps) => {
    expect(new RaftWorld(seed, false).run(steps).committed).toBeGreaterThan(0);
  });
});
