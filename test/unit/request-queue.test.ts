/** What requests that wait come to: done, rejected, refused, or unknown where nobody can tell. */
import { describe, expect, test } from "bun:test";
import { Fault, present } from "../../src/assert.ts";
import { type PendingRequest, RequestQueue } from "../../src/consensus/request-queue.ts";
import type { RequestOutcome } from "../../src/contracts/consensus.ts";

const BYTES = Uint8Array.of(1);
const DEADLINE_MS = 5000;

function setup(): {
  queue: RequestQueue;
  outcomes: RequestOutcome[];
  readonly add: (id: string, nowMs?: number) => PendingRequest;
} {
  const queue = new RequestQueue();
  const outcomes: RequestOutcome[] = [];
  return {
    queue,
    outcomes,
    add: (id, nowMs = 0) =>
      present(
        queue.add(id, BYTES, nowMs, DEADLINE_MS, (outcome) => void outcomes.push(outcome)),
        "there is room",
      ),
  };
}

const UNKNOWN = { type: "unknown" };

describe("RequestQueue", () => {
  test("a request is settled once, whatever it is told after", () => {
    const { queue, outcomes, add } = setup();
    const pending = add("r");
    queue.given(pending, 0);
    const done = { type: "done", index: 4, outcome: ["OK"] } as const;
    queue.settle("r", done);
    queue.settle("r", { type: "rejected", reason: "no" });
    queue.refused("r", "late", 1, true);
    expect(queue.due(DEADLINE_MS)).toEqual([]);
    expect(outcomes).toEqual([done]);
    expect(queue.size).toBe(0);
  });

  test("a leader's word against it ends it", () => {
    const { queue, outcomes, add } = setup();
    queue.given(add("r"), 0);
    queue.settle("r", { type: "rejected", reason: "ERR no" });
    expect(outcomes).toEqual([{ type: "rejected", reason: "ERR no" }]);
  });

  test("a leader's word against one copy ends it only when no other copy is out", () => {
    const { queue, outcomes, add } = setup();
    const pending = add("r");
    queue.given(pending, 0);
    queue.given(pending, 500);
    queue.rejected("r", "ERR no");
    expect(outcomes).toEqual([]);
    queue.rejected("r", "ERR no");
    expect(outcomes).toEqual([{ type: "rejected", reason: "ERR no" }]);
  });

  test("it is asked at once, again after half a second, soon after a leader did not take it, and when another leads", () => {
    const { queue, add } = setup();
    const pending = add("r", 100);
    expect(queue.due(100)).toEqual([pending]);
    queue.given(pending, 100);
    expect(queue.due(599)).toEqual([]);
    expect(queue.due(600)).toEqual([pending]);
    queue.given(pending, 600);
    queue.refused("r", "not now", 610);
    expect(queue.due(629)).toEqual([]);
    expect(queue.due(630)).toEqual([pending]);
    queue.given(pending, 630);
    queue.leaderChanged(640);
    expect(queue.due(640)).toEqual([pending]);
  });

  for (const [what, script, outcome] of [
    ["no leader was known", [], { type: "refused", reason: "no leader is known" }],
    ["the leader did not take it", ["given", "refused"], { type: "refused", reason: "why" }],
    ["no word came from the leader", ["given"], UNKNOWN],
    ["the second leader did not take it, and no word came from the first", ["given", "given", "refused"], UNKNOWN],
    ["word came from both", ["given", "given", "refused", "refused"], { type: "refused", reason: "why" }],
    ["a leader that refused was asked again without a word", ["given", "refused", "given"], UNKNOWN],
  ] as const) {
    test(`at its deadline it is ${outcome.type} if ${what}`, () => {
      const { queue, outcomes, add } = setup();
      const pending = add("r");
      for (const each of script) {
        if (each === "given") queue.given(pending, 10);
        else queue.refused("r", "why", 20);
      }
      queue.due(DEADLINE_MS - 1);
      expect(outcomes).toEqual([]);
      expect(queue.due(DEADLINE_MS)).toEqual([]);
      expect(outcomes).toHaveLength(1);
      expect(outcomes[0]).toMatchObject(outcome);
      expect(queue.size).toBe(0);
    });
  }

  test("a refusal for good ends it at once, as refused only if nobody else may have taken it", () => {
    const { queue, outcomes, add } = setup();
    queue.given(add("one"), 0);
    queue.refused("one", "overloaded", 1, true);
    const two = add("two");
    queue.given(two, 0);
    queue.given(two, 500);
    queue.refused("two", "overloaded", 501, true);
    expect(outcomes.map(({ type }) => type)).toEqual(["refused", "unknown"]);
    expect(queue.size).toBe(0);
  });

  test("closing ends all, each as what is known of it", () => {
    const { queue, outcomes, add } = setup();
    add("asked by nobody");
    queue.given(add("given"), 0);
    expect([...queue].map(({ id }) => id)).toEqual(["asked by nobody", "given"]);
    queue.close();
    expect(outcomes.map(({ type }) => type)).toEqual(["refused", "unknown"]);
    expect(queue.size).toBe(0);
  });

  test("is bounded: what would be too much is not taken, until there is room", () => {
    const { queue, add } = setup();
    for (let at = 0; at < 10_000; at += 1) add(`r${at}`);
    const more = (): PendingRequest | undefined => queue.add("more", BYTES, 0, DEADLINE_MS, () => undefined);
    expect(more()).toBeUndefined();
    queue.settle("r17", { type: "rejected", reason: "" });
    expect(more()?.id).toBe("more");
    expect(queue.size).toBe(10_000);
  });

  test("an id that is used twice is a fault", () => {
    const { add } = setup();
    add("r");
    expect(() => add("r")).toThrow(Fault);
  });
});
