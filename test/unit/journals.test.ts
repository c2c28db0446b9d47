/** Journals: what each kind of acknowledgement promises is held against what clients were told, and each breach is seen. */
import { describe, expect, test } from "bun:test";
import { type Acks, Journals } from "../support/journals.ts";

/** A step: who appends what to which keys (or reads), and what is told, by which epoch's primary (none: it may be a replica). */
interface Step {
  readonly acks?: Acks;
  readonly keys?: string;
  readonly token?: string;
  /** Nothing: its outcome is unknown; `refused`: nothing was done. */
  readonly told?: readonly string[] | "refused";
  readonly epoch?: number;
  readonly node?: string;
}

/** Does steps one after the other. @returns What is wrong; nothing, if nothing is. */
function problemOf(...steps: readonly Step[]): string {
  const journals = new Journals();
  try {
    for (const { acks = "in-sync", keys = "k", token, told, epoch, node = "n" } of steps) {
      const operation = journals.begin("c", acks, keys.split(" "), token);
      if (told === "refused") operation.refused();
      else if (told !== undefined) operation.told(told, node, epoch);
    }
    journals.check((key) => (key === "lost" ? undefined : "shard"));
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
  return "";
}

const primary = { acks: "primary" } as const;

describe("journals allow", () => {
  for (const [what, ...steps] of [
    ["values that grow", { token: "a", told: ["a;"], epoch: 1 }, { token: "b", told: ["a;b;"], epoch: 2 }],
    ["that what is unknown came about", { token: "a" }, { told: ["a;"], epoch: 1 }],
    ["that it did not", { token: "a" }, { told: [""], epoch: 1 }],
    [
      "that a change of primary loses the end of what a primary alone acknowledged",
      { token: "a", told: ["a;"], epoch: 1 },
      { ...primary, token: "b", told: ["a;b;"], epoch: 1 },
      { ...primary, token: "c", told: ["a;b;c;"], epoch: 1 },
      { token: "d", told: ["a;b;d;"], epoch: 2 },
    ],
    [
      "that a member which did not follow the last primary brings back what it had of the one before",
      { ...primary, token: "a", told: ["a;"], epoch: 1 },
      { ...primary, token: "b", told: ["b;"], epoch: 2 },
      { token: "c", told: ["a;c;"], epoch: 3 },
    ],
    [
      "that a replica is behind",
      { token: "a", told: ["a;"], epoch: 1 },
      { told: [""], node: "r" },
      { told: ["a;"], epoch: 1 },
    ],
    [
      "anything of a shard whose data are gone",
      { keys: "lost", token: "a", told: ["a;"], epoch: 1 },
      { keys: "lost", told: [""], epoch: 1 },
    ],
  ] as readonly (readonly [string, ...Step[]])[]) {
    test(what, () => expect(problemOf(...steps)).toBe(""));
  }
});

describe("journals catch", () => {
  for (const [what, problem, ...steps] of [
    ["what nobody wrote", "which nobody had written to it", { told: ["a;"], epoch: 1 }],
    [
      "what is written later",
      "which nobody had written to it",
      { told: ["a;"], epoch: 1 },
      { token: "a", told: ["a;"], epoch: 1 },
    ],
    [
      "another key's",
      "which nobody had written to it",
      { token: "a", told: ["a;"], epoch: 1 },
      { keys: "l", told: ["a;"], epoch: 1 },
    ],
    ["what was refused", "was told that it was not", { token: "a", told: "refused" }, { told: ["a;"], epoch: 1 }],
    ["what is there twice", "twice", { token: "a", told: ["a;a;"], epoch: 1 }],
    ["an append that did nothing", "has appended b to k", { token: "b", told: ["a;"], epoch: 1 }],
    ["half of a step", "written to both", { keys: "k l", token: "a" }, { keys: "k l", told: ["a;", ""], epoch: 1 }],
    [
      "a loss without a change of primary",
      "has a length of",
      { ...primary, token: "a", told: ["a;"], epoch: 1 },
      { ...primary, told: [""], epoch: 1 },
    ],
    [
      "two orders under one primary",
      "in which it was",
      { ...primary, token: "a", told: ["a;"], epoch: 1 },
      { ...primary, token: "b", told: ["b;"], epoch: 1 },
    ],
    [
      "a primary that was deposed and answers",
      "is led by a primary of epoch",
      { ...primary, token: "a", told: ["a;"], epoch: 2 },
      { ...primary, told: ["a;"], epoch: 1 },
    ],
    [
      "the loss of what all in sync had",
      "and in the end it is",
      { token: "a", told: ["a;"], epoch: 1 },
      { token: "b", told: ["b;"], epoch: 2 },
    ],
    [
      "its loss for whoever asks with other acknowledgements",
      "after it was",
      { token: "a", told: ["a;"], epoch: 1 },
      { ...primary, told: [""], epoch: 2 },
      { told: ["a;"], epoch: 3 },
    ],
    [
      "the loss of what was read, by whomever it was written",
      "and in the end it is",
      { ...primary, token: "a", told: ["a;"], epoch: 1 },
      { told: ["a;"], epoch: 1 },
      { told: [""], epoch: 2 },
    ],
    [
      "a replica that tells what is lost",
      "and in the end it is",
      { ...primary, token: "a", told: ["a;"], epoch: 1 },
      { told: ["a;"] },
      { told: [""], epoch: 2 },
    ],
    [
      "a node that goes back",
      "has on one node a length of",
      { token: "a", told: ["a;"], epoch: 1, node: "p" },
      { told: ["a;"], node: "r" },
      { told: [""], node: "r" },
      { told: ["a;"], epoch: 1, node: "p" },
    ],
    [
      "a hole in a key",
      "is another's successor",
      { ...primary, token: "a", told: ["a;"], epoch: 1 },
      { ...primary, token: "b", told: ["a;b;"], epoch: 1 },
      { token: "c", told: ["b;c;"], epoch: 2 },
    ],
    [
      "a write that outlives an earlier one of another key",
      "which was written after it, is not",
      { ...primary, token: "a", told: ["a;"], epoch: 1 },
      { ...primary, keys: "l", token: "b", told: ["b;"], epoch: 1 },
      { told: [""], epoch: 2 },
      { keys: "l", told: ["b;"], epoch: 2 },
    ],
  ] as readonly (readonly [string, string, ...Step[]])[]) {
    test(what, () => expect(problemOf(...steps)).toContain(problem));
  }
});
