/** Why a slot is where it is: which act of the history made it so. */
import { expect, test } from "bun:test";
import type { HistoryEntry } from "../../src/contracts/topology.ts";
import { describeRecord } from "../../src/protocol/topology/records.ts";
import { sinceOf } from "../../src/rest/explain.ts";

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
