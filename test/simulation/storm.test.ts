/** Many nodes that join a cluster in one moment: 5 voters and 200 learners, one pinned seed. */
import { expect, test } from "bun:test";
import { runStorm } from "./storm-run.ts";

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 240_000;

test(
  "200 nodes that join in one moment are settled members soon: nobody alive is held for down, and the leader has no more to say than if they had come one by one",
  async () => {
    const storm = await runStorm(1);
    const apart = await runStorm(1, { joinEveryMs: 20 });
    expect(storm.falseDeaths).toEqual([]);
    expect(apart.falseDeaths).toEqual([]);
    expect(storm.settledMs).toBeLessThan(6000);
    expect(storm.idleBytesPerSecond).toBeLessThan(2 * apart.idleBytesPerSecond);
  },
  LIMIT_MS,
);
