/** How one group comes of one list: what a node does with what others have said. */
import { describe, expect, test } from "bun:test";
import type { Founder } from "../../src/contracts/consensus.ts";
import { type Report, foundingStep, groupOf, listDigest } from "../../src/consensus/founding.ts";

const NOW_MS = 10_000;
const FOUNDERS: readonly Founder[] = ["a", "b", "c"].map((nodeId, at) => ({
  nodeId,
  address: { host: `10.0.0.${at + 1}`, port: 17_000 },
  zone: "",
  isWitness: false,
}));
const SELF = { nodeId: "a", peer: "a/1" };
const LIST = listDigest(FOUNDERS, 3);

function report(nodeId: string, changes: Partial<Report> = {}): readonly [string, Report] {
  return [
    nodeId,
    { nodeId, peer: `${nodeId}/1`, group: "", founders: [], isEstablished: false, atMs: NOW_MS, ...changes },
  ];
}

function step(...reports: readonly (readonly [string, Report])[]): ReturnType<typeof foundingStep> {
  return foundingStep(SELF, LIST, FOUNDERS, new Map(reports), NOW_MS);
}

describe("foundingStep", () => {
  const peers = ["a/1", "b/1", "c/1"];
  const founded = { type: "found", peers, group: groupOf(LIST, peers) } as const;
  const other = { group: "other", founders: ["a/0", "b/1", "c/1"] };

  test("waits for those that have not answered, and names them", () => {
    expect(step()).toEqual({ type: "wait", missing: ["10.0.0.2:17000", "10.0.0.3:17000"] });
    expect(step(report("c"))).toEqual({ type: "wait", missing: ["10.0.0.2:17000"] });
  });

  test("founds when all have answered that they are fresh", () => {
    expect(step(report("c"), report("b"))).toEqual(founded);
  });

  test("takes an answer of a second ago for the present, and an older one not", () => {
    expect(step(report("b"), report("c", { atMs: NOW_MS - 1000 }))).toEqual(founded);
    expect(step(report("b"), report("c", { atMs: NOW_MS - 1001 }))).toEqual({
      type: "wait",
      missing: ["10.0.0.3:17000"],
    });
  });

  test("a node alone on its list founds at once", () => {
    const list = listDigest(FOUNDERS.slice(0, 1), 3);
    expect(foundingStep(SELF, list, FOUNDERS.slice(0, 1), new Map(), NOW_MS)).toEqual({
      type: "found",
      peers: ["a/1"],
      group: groupOf(list, ["a/1"]),
    });
  });

  test("goes along with a founding that had this node's identity, whoever else has not answered", () => {
    const theirs = { group: founded.group, founders: peers };
    expect(step(report("b", theirs))).toEqual(founded);
    expect(step(report("b", { ...theirs, atMs: 0 }))).toEqual(founded);
  });

  test("joins a group that was founded without this identity once it has had a leader, and founds none beside it", () => {
    const alive = { ...other, isEstablished: true };
    expect(step(report("b", alive))).toEqual({ type: "join", group: "other" });
    expect(step(report("b", alive), report("c"))).toEqual({ type: "join", group: "other" });
  });

  test("waits for one that has not had a leader: it may never have one, and then its members leave it", () => {
    expect(step(report("b", other), report("c"))).toEqual({ type: "wait", missing: ["10.0.0.2:17000"] });
  });

  test("joins the one that has had a leader, if there are two", () => {
    const alive = { group: "alive", founders: ["a/2", "b/2", "c/1"], isEstablished: true };
    expect(step(report("b", other), report("c", alive))).toEqual({ type: "join", group: "alive" });
    expect(step(report("b", alive), report("c", other))).toEqual({ type: "join", group: "alive" });
    const mine = { group: founded.group, founders: peers };
    expect(step(report("b", mine), report("c", alive))).toEqual({ type: "join", group: "alive" });
  });

  test("does not listen to who is not on the list, nor to itself", () => {
    const stranger = report("x", { group: "other", founders: ["x/1"], isEstablished: true });
    const self = report("a", { group: "other", founders: ["x/1"], isEstablished: true });
    expect(step(stranger, self)).toEqual({ type: "wait", missing: ["10.0.0.2:17000", "10.0.0.3:17000"] });
    expect(step(stranger, self, report("b"), report("c"))).toEqual(founded);
  });

  test("is the same on each of them", () => {
    const groups = FOUNDERS.map(({ nodeId }) => {
      const others = FOUNDERS.filter((founder) => founder.nodeId !== nodeId).map((founder) => report(founder.nodeId));
      return foundingStep({ nodeId, peer: `${nodeId}/1` }, LIST, FOUNDERS.toReversed(), new Map(others), NOW_MS);
    });
    expect(groups).toEqual([founded, founded, founded]);
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
    ];
    expect(new Set([LIST, ...others]).size).toBe(7);
  });

  test("a group is that of its identities and its list", () => {
    expect(groupOf(LIST, ["b/1", "a/1"])).toBe(groupOf(LIST, ["a/1", "b/1"]));
    expect(groupOf(LIST, ["a/2", "b/1"])).not.toBe(groupOf(LIST, ["a/1", "b/1"]));
    expect(groupOf("x", ["a/1", "b/1"])).not.toBe(groupOf(LIST, ["a/1", "b/1"]));
  });
});
