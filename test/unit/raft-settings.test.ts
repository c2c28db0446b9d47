/** Settings of Raft that make no sense stop the start, in a sentence. */
import { expect, test } from "bun:test";
import { type RaftSettings, checkSettings } from "../../src/consensus/raft-settings.ts";
import { StartError } from "../../src/errors.ts";

const GOOD: RaftSettings = { tickMs: 50, heartbeatMs: 100, electionMs: 500, maxVoters: 3 };

test.each([1, 3, 5])("%d members may vote", (maxVoters) => {
  expect(() => checkSettings({ ...GOOD, maxVoters })).not.toThrow();
});

test("times may be as close as they can be", () => {
  expect(() => checkSettings({ ...GOOD, tickMs: 100, electionMs: 200 })).not.toThrow();
});

test.each([
  [{ maxVoters: 2 }, "maxVoters", 2, "1, 3 or 5: 2 voters can spare no more than 1 can"],
  [{ maxVoters: 4 }, "maxVoters", 4, "1, 3 or 5: 4 voters can spare no more than 3 can"],
  [{ heartbeatMs: 251 }, "heartbeatMs", 251, "at most half of electionMs (500): one heartbeat may be lost"],
  [{ tickMs: 101 }, "tickMs", 101, "at most heartbeatMs (100), which is counted in it"],
] as const)("%o is refused", (settings, name, value, wants) => {
  expect(() => checkSettings({ ...GOOD, ...settings })).toThrow(
    new StartError(`Setting "plugins.raft.${name}" is ${value}, but it must be ${wants}.`),
  );
});
