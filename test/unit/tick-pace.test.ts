/** Ticks of Raft that are fed together while all is well. */
import { describe, expect, test } from "bun:test";
import { TickPace } from "../../src/consensus/tick-pace.ts";

describe("ticks", () => {
  test("come one by one until all is well, and then several with a beat; of those that were missed none, or no more than that", () => {
    const pace = new TickPace(50, 1010);
    expect([pace.periodMs, pace.beat(1050), pace.beat(1099.5), pace.beat(1100)]).toEqual([50, 1, 1, 0]);
    expect(pace.beat(2000)).toBe(1);
    pace.ticksAtOnce = 2;
    expect([pace.periodMs, pace.beat(2100), pace.beat(2200), pace.beat(9000)]).toEqual([100, 2, 2, 2]);
  });

  test("that are due come before a message, while a beat feeds several: whoever counts them is wrong by one at most", () => {
    const pace = new TickPace(50, 1000);
    expect([pace.message(1049), pace.message(1060), pace.beat(1075), pace.beat(1099)]).toEqual([0, 1, 0, 1]);
    pace.ticksAtOnce = 2;
    expect([pace.message(1149), pace.message(1151), pace.message(1199), pace.beat(1200)]).toEqual([0, 1, 0, 1]);
    // Beats may come early, and messages do not make it more.
    expect([pace.beat(1299), pace.message(1301)]).toEqual([2, 0]);
  });
});
