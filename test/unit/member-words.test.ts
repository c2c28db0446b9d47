/** Why a member is held for gone, as people read it: by names, and never by the beginning of an id. */
import { describe, expect, test } from "bun:test";
import type { MemberHealth } from "../../src/contracts/membership.ts";
import { reasonInWords, withMemberNames } from "../../src/member-words.ts";

const [one, two, nameless] = ["1", "2", "3"].map((digit) => digit.repeat(40)) as [string, string, string];
const NODES = [
  { id: one, name: "node-1" },
  { id: two, name: "node-2" },
  { id: nameless, name: "" },
];

describe("the reason of a member's state", () => {
  const reason = (state: MemberHealth["state"], text: string, ...by: readonly string[]): string =>
    reasonInWords({ state, reason: text, suspectedBy: by.map((nodeId) => ({ nodeId, sinceMs: 1 })) }, NODES);
  test.each([
    [
      "names who found it, not who told of it",
      "down",
      "22222222 told so",
      [one],
      "node-1 found that it does not answer",
    ],
    [
      "names all who did",
      "suspect",
      "22222222 holds so",
      [one, two],
      "node-1 and node-2 found that it does not answer",
    ],
    [
      "names who told of it where nobody else is known",
      "down",
      "22222222 told so",
      [],
      "node-2 found that it does not answer",
    ],
    ["tells a stop in order as one", "left", "22222222 told so", [one], "node-2 says that it has stopped in order"],
    ["tells a return as one", "alive", "22222222 told so", [], "node-2 says that it answers"],
    [
      "has the beginning of an id where there is no name",
      "down",
      "33333333 told so",
      [nameless],
      "33333333 found that it does not answer",
    ],
    [
      "says for how long this node has waited itself",
      "down",
      "it did not answer for 0.8 s; suspected by 11111111, 22222222",
      [one, two],
      "it did not answer for 0.8 s; suspected by node-1 and node-2",
    ],
    ["stays as it is where it names nobody", "suspect", "a probe of it failed", [one], "a probe of it failed"],
  ] as const)("%s", (_, state, text, by, words) => {
    expect(reason(state, text, ...by)).toBe(words);
  });
});

test("causes that have such a reason in them name nodes too", () => {
  expect(withMemberNames("promoted: down: 11111111 told so, and its lease is over", NODES)).toBe(
    "promoted: down: node-1 found that it does not answer, and its lease is over",
  );
  expect(withMemberNames("it has been down for 60 s, longer than 50: 22222222 told so", NODES)).toBe(
    "it has been down for 60 s, longer than 50: node-2 says so",
  );
  expect(withMemberNames("44b40a9f told so", NODES)).toBe("44b40a9f says so");
});
