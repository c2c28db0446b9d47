/** How one group comes of one list, or of nodes that find each other: what a node does with what others have said. */
import { describe, expect, test } from "bun:test";
import type { Founder } from "../../src/contracts/consensus.ts";
import {
  type Candidate,
  type Expectation,
  type FoundingSelf,
  type FoundingStep,
  type Proposal,
  type Report,
  expectationDigest,
  foundingMembers,
  foundingStep,
  groupOf,
  listDigest,
} from "../../src/consensus/founding.ts";

const NOW_MS = 100_000;
const founder = (nodeId: string, isWitness = false): Founder => ({
  nodeId,
  address: { host: nodeId, port: 17_000 },
  zone: "",
  isWitness,
  card: "",
});
const candidate = (nodeId: string, start = 1): Candidate => ({ ...founder(nodeId), peer: `${nodeId}/${start}` });
const FOUNDERS: readonly Founder[] = ["a", "b", "c"].map((nodeId) => founder(nodeId));
const LIST = listDigest(FOUNDERS, 3);
const LISTED: Expectation = { list: LIST, count: 3, nodes: FOUNDERS, seeds: "" };
const EXPECT = expectationDigest(3, "");
const FINDING: Expectation = { list: EXPECT, count: 3, nodes: undefined, seeds: "a:17000" };
const JOINING: Expectation = { list: "", count: 0, nodes: undefined, seeds: "a:17000, b:17000" };

function proposal(list: string, ...candidates: readonly Candidate[]): Proposal {
  const peers = candidates.map(({ peer }) => peer);
  return { group: groupOf(list, peers), candidates };
}

/** What nodes have said; by default each is fresh, has said so at this moment, and would found with the same ones. */
function step(
  expectation: Expectation,
  reports: Readonly<Record<string, Partial<Report>>>,
  promise?: Proposal,
  seeds: FoundingSelf["seeds"] = [],
): FoundingStep {
  const heard = new Map<string, Report>(
    Object.entries(reports).map(([nodeId, changes]) => [
      nodeId,
      {
        candidate: candidate(nodeId),
        list: expectation.list,
        promise: "",
        group: "",
        founders: [],
        isEstablished: false,
        atMs: NOW_MS,
        ...changes,
      },
    ]),
  );
  return foundingStep({ candidate: candidate("a"), promise, seeds }, expectation, heard, NOW_MS);
}

for (const [what, expectation] of [
  ["of a list", LISTED],
  ["that finds the others", FINDING],
] as const) {
  describe(`a founder ${what}`, () => {
    const all = proposal(expectation.list, candidate("a"), candidate("b"), candidate("c"));
    const promised = { promise: all.group };

    test("waits for those that have not answered", () => {
      expect(step(expectation, {}).type).toBe("wait");
      expect(step(expectation, { c: {} }).type).toBe("wait");
      expect(step(expectation, { b: {}, c: { atMs: NOW_MS - 2001 } }).type).toBe("wait");
    });

    test("promises when all have answered that they are fresh, and the same as each of them", () => {
      expect(step(expectation, { c: {}, b: { atMs: NOW_MS - 2000 } })).toEqual({ type: "promise", proposal: all });
      const theirs = foundingStep(
        { candidate: candidate("c"), promise: undefined, seeds: [] },
        expectation,
        new Map(
          ["b", "a"].map((nodeId) => [
            nodeId,
            {
              candidate: candidate(nodeId),
              list: expectation.list,
              promise: "",
              group: "",
              founders: [],
              isEstablished: false,
              atMs: NOW_MS,
            },
          ]),
        ),
        NOW_MS,
      );
      expect(theirs).toEqual({ type: "promise", proposal: all });
    });

    test("promises nothing while somebody has promised something else", () => {
      expect(step(expectation, { b: {}, c: { promise: "another" } }).type).toBe("wait");
      expect(step(expectation, { b: promised, c: {} })).toEqual({ type: "promise", proposal: all });
    });

    test("founds when all have promised the same, and not before", () => {
      expect(step(expectation, { b: promised, c: {} }, all).type).toBe("wait");
      expect(step(expectation, { b: promised, c: promised }, all)).toEqual({ type: "found", proposal: all });
      expect(step(expectation, { b: promised }, all).type).toBe("renounce");
    });

    test("takes a promise back when its founding cannot come to be", () => {
      const cases: readonly (readonly [string, Partial<Report>])[] = [
        ["somebody has started again", { candidate: candidate("c", 2) }],
        ["somebody has promised something else", { promise: "another" }],
        ["somebody has gone", { atMs: NOW_MS - 10_001, ...promised }],
      ];
      for (const [, report] of cases) expect(step(expectation, { b: promised, c: report }, all).type).toBe("renounce");
      expect(step(expectation, { b: promised, c: { atMs: NOW_MS - 9000, ...promised } }, all).type).toBe("wait");
    });

    test("goes along with a founding that it has promised, whoever else has not answered", () => {
      const theirs = { group: all.group, founders: ["a/1", "b/1", "c/1"] };
      expect(step(expectation, { b: theirs }, all)).toEqual({ type: "found", proposal: all });
      expect(step(expectation, { b: { ...theirs, isEstablished: true } }, all)).toEqual({
        type: "found",
        proposal: all,
      });
    });

    test("joins a group that was founded without this identity once it has had a leader, and founds none beside it", () => {
      const alive = { group: "other", founders: ["a/0", "b/1", "c/1"], isEstablished: true };
      expect(step(expectation, { b: alive })).toEqual({ type: "join", group: "other" });
      expect(step(expectation, { b: alive, c: {} })).toEqual({ type: "join", group: "other" });
      expect(step(expectation, { b: alive, c: promised }, all)).toEqual({ type: "join", group: "other" });
    });

    test("waits for one that has not had a leader: it may never have one, and then its members leave it", () => {
      expect(step(expectation, { b: { group: "other", founders: ["b/1"] }, c: {} }).type).toBe("wait");
    });

    test("joins the one that has had a leader, if there are two", () => {
      const other = { group: "other", founders: ["a/0", "b/1", "c/1"] };
      const alive = { group: "alive", founders: ["a/2", "b/2", "c/1"], isEstablished: true };
      expect(step(expectation, { b: other, c: alive })).toEqual({ type: "join", group: "alive" });
      expect(step(expectation, { b: alive, c: other })).toEqual({ type: "join", group: "alive" });
      const mine = { group: all.group, founders: ["a/1", "b/1", "c/1"] };
      expect(step(expectation, { b: mine, c: alive }, all)).toEqual({ type: "join", group: "alive" });
    });
  });
}

describe("a founder of a list", () => {
  test("names those that have not answered", () => {
    expect(step(LISTED, {})).toEqual({ type: "wait", why: "word from b:17000, c:17000" });
    expect(step(LISTED, { c: {} })).toEqual({ type: "wait", why: "word from b:17000" });
  });

  test("does not listen to who is not on the list, has another list, or is itself", () => {
    const living = { group: "other", founders: ["x/1"], isEstablished: true };
    expect(step(LISTED, { x: living, a: living, b: { ...living, list: "another" } }).type).toBe("wait");
  });

  test("that is alone on it founds at once", () => {
    const alone = FOUNDERS.slice(0, 1);
    const list = listDigest(alone, 3);
    expect(step({ list, count: 1, nodes: alone, seeds: "" }, {})).toEqual({
      type: "found",
      proposal: proposal(list, candidate("a")),
    });
  });
});

describe("a founder that finds the others", () => {
  test("says how many it has found, and where it looks", () => {
    const { type, why } = step(FINDING, { b: {} }) as { type: string; why: string };
    expect(type).toBe("wait");
    expect(why).toMatch(/1 more of the 3 .*found a:17000, b:17000; looking at a:17000/);
  });

  test("does not count those that expect something else", () => {
    expect(step(FINDING, { b: {}, c: { list: expectationDigest(4, "") } }).type).toBe("wait");
    expect(step(FINDING, { b: {}, c: { list: "" } }).type).toBe("wait");
  });

  test("founds nothing while there are more than are expected", () => {
    const { type, why } = step(FINDING, { b: {}, c: {}, d: {} }) as { type: string; why: string };
    expect(type).toBe("wait");
    expect(why).toMatch(/4 would found a cluster of 3/);
  });
});

describe("a founder that expects nobody else", () => {
  const alone = expectationDigest(1, "");
  const ALONE: Expectation = { list: alone, count: 1, nodes: undefined, seeds: "a:17000, b:17000" };
  const found: FoundingStep = { type: "found", proposal: proposal(alone, candidate("a")) };
  const b = { address: "b:17000", nodeId: "b" };
  const FRESH = { list: "" };

  test("founds at once without seeds, or where those are its own address", () => {
    expect(step(ALONE, {})).toEqual(found);
    expect(step(ALONE, {}, undefined, [{ address: "localhost:17000", nodeId: "a" }])).toEqual(found);
  });

  test("waits for the word of each seed, and names those that have not given it lately", () => {
    const cases: readonly (readonly [FoundingSelf["seeds"], Readonly<Record<string, Partial<Report>>>])[] = [
      [[b], {}],
      [[b], { b: { ...FRESH, atMs: NOW_MS - 2001 } }],
      // Somebody has answered, and nobody knows whether it was the one there.
      [[{ address: "b:17000", nodeId: undefined }], { b: FRESH }],
      [[b, { address: "c:17000", nodeId: "c" }], { c: FRESH }],
    ];
    for (const [seeds, reports] of cases) {
      const { type, why } = step(ALONE, reports, undefined, seeds) as { type: string; why: string };
      expect(type).toBe("wait");
      expect(why).toStartWith("word from b:17000 that there is no cluster yet");
    }
    expect(step(ALONE, { b: FRESH }, undefined, [b])).toEqual(found);
  });

  test("founds nothing beside a group that may live, or others that may found one", () => {
    const cases: readonly Partial<Report>[] = [
      { ...FRESH, group: "other" },
      { list: expectationDigest(3, "") },
      { list: alone },
    ];
    for (const report of cases) expect(step(ALONE, { b: report }, undefined, [b]).type).toBe("wait");
    const living = { ...FRESH, group: "other", isEstablished: true };
    expect(step(ALONE, { b: living }, undefined, [b])).toEqual({ type: "join", group: "other" });
  });
});

describe("a node that only joins", () => {
  test("founds nothing, whoever answers, and says where it looks", () => {
    expect(step(JOINING, { b: {}, c: {} })).toEqual({ type: "wait", why: "a cluster at a:17000, b:17000" });
  });

  test("joins the group that has had a leader, whatever its list", () => {
    const alive = { group: "alive", founders: ["b/1"], isEstablished: true, list: LIST };
    expect(step(JOINING, { b: alive })).toEqual({ type: "join", group: "alive" });
  });

  test("does not join one of which nobody has told for long", () => {
    const alive = { group: "alive", founders: ["b/1"], isEstablished: true, atMs: NOW_MS - 10_001 };
    expect(step(JOINING, { b: alive }).type).toBe("wait");
  });
});

describe("the name of", () => {
  test("a list does not depend on its order, and on everything else", () => {
    expect(listDigest(FOUNDERS.toReversed(), 3)).toBe(LIST);
    const [first, ...rest] = FOUNDERS;
    if (first === undefined) throw new Error("there is one");
    const others = [
      listDigest(FOUNDERS, 5),
      listDigest(rest, 3),
      listDigest([{ ...first, zone: "x" }, ...rest], 3),
      listDigest([{ ...first, isWitness: true }, ...rest], 3),
      listDigest([{ ...first, nodeId: "d" }, ...rest], 3),
      listDigest([{ ...first, address: { ...first.address, port: 1 } }, ...rest], 3),
      expectationDigest(3, ""),
      expectationDigest(3, "replicas 1"),
      expectationDigest(4, ""),
    ];
    expect(new Set([LIST, ...others]).size).toBe(10);
  });

  test("a group is that of its identities and its list", () => {
    expect(groupOf(LIST, ["b/1", "a/1"])).toBe(groupOf(LIST, ["a/1", "b/1"]));
    expect(groupOf(LIST, ["a/2", "b/1"])).not.toBe(groupOf(LIST, ["a/1", "b/1"]));
    expect(groupOf("x", ["a/1", "b/1"])).not.toBe(groupOf(LIST, ["a/1", "b/1"]));
  });
});

describe("the members of a founding", () => {
  /** Who votes of these, each a letter, followed by `*` if it is a witness. */
  const votersOf = (text: string, maxVoters = 3): string => {
    const founders = text.split(" ").map((word) => founder(word.slice(0, 1), word.endsWith("*")));
    const members = foundingMembers(
      founders,
      founders.map(({ nodeId }) => candidate(nodeId)),
      maxVoters,
    );
    expect(members.map(({ id, isWitness }) => `${id.slice(0, 1)}${isWitness ? "*" : ""}`).join(" ")).toBe(text);
    return members.flatMap(({ id, isVoter }) => (isVoter ? [id.slice(0, 1)] : [])).join(" ");
  };

  test.each([
    ["a", "a"],
    ["a b", "a"],
    ["a b c d", "a b c"],
    ["a b c w*", "a b w"],
    ["v* w* a b", "v w a"],
    ["v* w* x* a", "v w a"],
    ["w* a", "a"],
    ["v* w* x*", "v w x"],
  ])("%s: %s vote, witnesses first, but for one that holds data", (founders, voters) => {
    expect(votersOf(founders)).toBe(voters);
  });
});
