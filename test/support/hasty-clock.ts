/** Time that goes by faster, so that nobody waits for what takes seconds. */
import type { Clock } from "../../src/world.ts";

/** A clock by which a second is twenty milliseconds. */
export function hasty(clock: Clock): Clock {
  return {
    monotonicMs: () => clock.monotonicMs() * 50,
    wallMs: () => clock.wallMs(),
    after: (delayMs, callback) => clock.after(delayMs / 50, callback),
    every: (periodMs, callback) => clock.every(periodMs, callback),
    soon: (callback) => clock.soon(callback),
  };
}
