/** Sessions that are opened by a newer map than their target's: kept for as long as they may be wanted, and bounded. */
import { expect, test } from "bun:test";
import { EarlyOpens, type OpenMessage } from "../../src/migration/early-opens.ts";

const open = (session: number, mapVersion: number, id = "a"): OpenMessage => ({
  type: "open",
  session,
  id,
  sourceEpoch: 1,
  targetEpoch: 1,
  mapVersion,
});
const dueOf = (early: EarlyOpens, version: number): readonly string[] =>
  early.due(version).map(({ from, message }) => `${from} ${message.session}`);

test("what is opened early is due once the map is as new, and only once", () => {
  const early = new EarlyOpens();
  expect(early.keep("one", open(1, 7))).toBe(true);
  expect(early.keep("two", open(2, 8, "b"))).toBe(true);
  expect(dueOf(early, 6)).toEqual([]);
  expect(dueOf(early, 7)).toEqual(["one 1"]);
  expect(dueOf(early, 9)).toEqual(["two 2"]);
  expect(dueOf(early, 9)).toEqual([]);
});

test("a node that asks again for a task has asked once", () => {
  const early = new EarlyOpens();
  early.keep("one", open(1, 7));
  early.keep("one", open(2, 7));
  early.keep("two", open(3, 7));
  expect(dueOf(early, 7)).toEqual(["one 2", "two 3"]);
});

test("what its source has ended, or whose link is lost, is never due", () => {
  const early = new EarlyOpens();
  early.keep("one", open(1, 7));
  early.keep("one", open(2, 7, "b"));
  early.keep("two", open(1, 7));
  early.closed("one", 1);
  expect(dueOf(early, 7)).toEqual(["one 2", "two 1"]);
  early.keep("one", open(4, 8));
  early.keep("two", open(5, 8));
  early.linkLost("one");
  expect(dueOf(early, 8)).toEqual(["two 5"]);
});

test("versions and names that make no sense cost a bounded amount", () => {
  const early = new EarlyOpens();
  expect(early.keep("one", open(1, 7, "x".repeat(65)))).toBe(false);
  for (let at = 0; at < 1024; at += 1) expect(early.keep("one", open(at, 1e9, `id ${at}`))).toBe(true);
  expect(early.keep("one", open(1024, 1e9, "another"))).toBe(false);
  expect(early.keep("one", open(1025, 1e9, "id 7"))).toBe(true);
  expect(dueOf(early, 1e9)).toHaveLength(1024);
});
