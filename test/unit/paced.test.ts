/** A callback that comes more often while there is more to look at. */
import { expect, test } from "bun:test";
import { Paced } from "../../src/paced.ts";

test("it comes as often as was said last, by one timer, which stays if nothing changes", () => {
  const timers: { periodMs: number; isCancelled: boolean; callback: () => void }[] = [];
  let calls = 0;
  const paced = new Paced(
    {
      every(periodMs, callback) {
        const timer = { periodMs, isCancelled: false, callback };
        timers.push(timer);
        return { cancel: () => void (timer.isCancelled = true) };
      },
    },
    () => void (calls += 1),
  );
  expect(timers).toHaveLength(0);
  for (const periodMs of [50, 50, 100, 0, 0, 50]) paced.periodMs = periodMs;
  expect(timers.map(({ periodMs, isCancelled }) => [periodMs, isCancelled])).toEqual([
    [50, true],
    [100, true],
    [50, false],
  ]);
  timers.at(-1)?.callback();
  expect(calls).toBe(1);
});
