/** What sees whether a snapshot has the members of its index: also where nobody has seen all entries before it. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import type { Configuration } from "../../src/protocol/raft/types.ts";
import { CommittedEntries } from "../support/raft-checkers.ts";
import { member } from "../support/raft-script.ts";

const [ONE, TWO] = [1, 2].map((count): Configuration => ({
  members: ["n1", "n2"].slice(0, count).map((id) => member(id)),
}));

type Step = (checker: CommittedEntries) => void;

function entry(index: number, configuration?: Configuration): Step {
  return (checker) => checker.applied("n1", [{ index, term: 1, data: undefined, configuration }]);
}

function snapshot(index: number, configuration: Configuration | undefined, term = 1): Step {
  const data = new Uint8Array(0);
  return (checker) =>
    checker.restored("n1", { index, term, configuration: present(configuration, "it is given"), data });
}

/** What is said at the last step; empty: nothing. */
function sees(...steps: readonly Step[]): string {
  const checker = new CommittedEntries();
  for (const step of steps.slice(0, -1)) step(checker);
  try {
    steps.at(-1)?.(checker);
    return "";
  } catch (thrown) {
    return String(thrown);
  }
}

describe("a snapshot", () => {
  const wrong = "a snapshot has the members of its index";
  test("has the members that an entry has set", () => {
    expect(sees(entry(2, TWO), entry(3), snapshot(3, TWO))).toBe("");
    expect(sees(entry(2, TWO), entry(3), snapshot(3, ONE))).toContain(wrong);
  });

  test("has the members that the first one said whose entries nobody had seen", () => {
    expect(sees(entry(2, ONE), snapshot(9, TWO))).toBe("");
    expect(sees(snapshot(9, TWO), snapshot(9, ONE))).toContain(wrong);
    expect(sees(snapshot(9, TWO), entry(10), snapshot(10, TWO))).toBe("");
    expect(sees(snapshot(9, TWO), entry(10), snapshot(10, ONE))).toContain(wrong);
    expect(sees(snapshot(9, TWO), entry(10, ONE), snapshot(10, ONE))).toBe("");
    expect(sees(snapshot(9, TWO), snapshot(11, ONE))).toBe("");
  });

  test("is held against entries that are seen later, too, whatever the first one said", () => {
    const filled = [entry(2, ONE), snapshot(4, TWO), entry(3), entry(4)];
    expect(sees(...filled, snapshot(4, TWO))).toContain(wrong);
    expect(sees(...filled, entry(5), snapshot(5, TWO))).toContain(wrong);
  });

  test("of a founding says nothing of other groups that begin at its index", () => {
    expect(sees(snapshot(1, ONE, 0), snapshot(1, TWO, 0))).toBe("");
  });
});
