/** Why a slot is where it is: which act of the history made it so. */
import { expect, test } from "bun:test";
import type { HistoryEntry } from "../../src/contracts/topology.ts";
import { HISTORY_LENGTH } from "../../src/protocol/topology/state.ts";
import { describeRecord } from "../../src/protocol/topology/records.ts";
import { foundingVersion, sinceFounding, sinceOf } from "../../src/rest/explain.ts";
import { makeMap } from "../support/make-map.ts";

test("the act that decided is the one that moved it, and not the word that it might be moved", () => {
  const entry = (version: number, ...changes: readonly string[]): HistoryEntry => ({
    version,
    timeMs: 0,
    cause: "",
    changes,
  });
  const allowed = entry(3, describeRecord({ type: "completion-allowed", id: "m" }));
  const completed = entry(2, describeRecord({ type: "migration-completed", id: "l", sourceEpoch: 1, targetEpoch: 1 }));
  expect(sinceOf([allowed, completed])).toBe(completed);
  expect(sinceOf([allowed])).toBeUndefined();
});

test("what no act has made so is since the founding, as long as all acts since then are remembered", () => {
  const entry = (version: number, ...changes: readonly string[]): HistoryEntry => ({
    version,
    timeMs: 0,
    cause: "",
    changes,
  });
  const map = makeMap(5, []);
  const started = entry(3, "node a admitted");
  expect(foundingVersion({ map, history: [started, entry(5)] })).toBe(2);
  expect(foundingVersion({ map, history: [] })).toBe(5);
  expect(foundingVersion({ map: makeMap(0, []), history: [] })).toBeUndefined();
  const whole = { map, history: [started] };
  expect(sinceFounding(whole, [], true)).toBe(2);
  // A word of it that changed nothing of who has it.
  expect(sinceFounding(whole, [entry(4, "migration m of slots 0-9 aborted")], true)).toBe(2);
  expect(sinceFounding(whole, [entry(4, "slots 0-9 assigned to shard s")], true)).toBeUndefined();
  // Nobody has it since somebody let it go; or nobody ever had it.
  expect(sinceFounding(whole, [entry(4, "slots 0-9 released")], false)).toBeUndefined();
  expect(sinceFounding(whole, [], false)).toBe(2);
  const long = Array.from({ length: HISTORY_LENGTH }, (_, at) => entry(at + 3));
  expect(sinceFounding({ map, history: long }, [], true)).toBeUndefined();
});
