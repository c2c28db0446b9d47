/** Why a slot is where it is: which act of the history made it so. */
import { expect, test } from "bun:test";
import type { HistoryEntry, Topology } from "../../src/contracts/topology.ts";
import { HISTORY_LENGTH } from "../../src/protocol/topology/state.ts";
import { describeRecord } from "../../src/protocol/topology/records.ts";
import { foundingVersion, historyOf, sinceFounding, sinceOf, wantedBy } from "../../src/rest/explain.ts";
import { makeMap, makeNode } from "../support/make-map.ts";

test("the act that decided is the one that moved it, and not the word that it might be moved", () => {
  const entry = (version: number, ...changes: readonly string[]): HistoryEntry => ({
    version,
    timeMs: 0,
    cause: "",
    changes,
  });
  const allowed = entry(3, describeRecord({ type: "completion-allowed", id: "m" }));
  const completed = entry(2, describeRecord({ type: "migration-completed", id: "l", sourceEpoch: 1, targetEpoch: 1 }));
  expect(sinceOf([allowed, completed], "slot")).toBe(completed);
  // That it is all there is why it was completed, and not why it was moved.
  const begun = {
    ...entry(1, "migration l of slots 0-9 started from shard s to t, in epochs 1 and 1"),
    cause: "a plan",
  };
  const other = { ...entry(1, "migration ll of slots 0-9 started from shard s to t"), cause: "another one" };
  expect(wantedBy(completed, [completed, other, begun])).toBe("a plan");
  expect([wantedBy(completed, [completed]), wantedBy(begun, [begun])]).toEqual([undefined, undefined]);
  expect(sinceOf([allowed], "slot")).toBeUndefined();
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
  expect(sinceFounding(whole, [], "slot", true)).toBe(2);
  // A word of it that changed nothing of who has it.
  expect(sinceFounding(whole, [entry(4, "migration m of slots 0-9 aborted")], "slot", true)).toBe(2);
  expect(sinceFounding(whole, [entry(4, "slots 0-9 assigned to shard s")], "slot", true)).toBeUndefined();
  // Nobody has it since somebody let it go; or nobody ever had it.
  expect(sinceFounding(whole, [entry(4, "slots 0-9 released")], "slot", false)).toBeUndefined();
  expect(sinceFounding(whole, [], "slot", false)).toBe(2);
  const long = Array.from({ length: HISTORY_LENGTH }, (_, at) => entry(at + 3));
  expect(sinceFounding({ map, history: long }, [], "slot", true)).toBeUndefined();
});

test("a node is what it is since somebody came to lead its shard, and not only since it has come", () => {
  const [node, other] = ["a", "b"].map((name) => makeNode({ id: name.repeat(40), name, host: "10.0.0.1", port: 1 }));
  const [shard, before] = ["c".repeat(40), "d".repeat(40)];
  if (node === undefined || other === undefined) throw new Error("there are two");
  const [own] = makeMap(9, [{ node: other, shardId: shard, slots: [] }]).shards;
  if (own === undefined) throw new Error("there is a shard");
  const map = { ...makeMap(9, []), nodes: [node, other], shards: [{ ...own, replicas: [node.id] }] };
  const entry = (version: number, record: Parameters<typeof describeRecord>[0]): HistoryEntry => ({
    version,
    timeMs: 0,
    cause: "",
    changes: [describeRecord(record)],
  });
  const promoted = (version: number, shardId: string, { id }: { readonly id: string }): HistoryEntry =>
    entry(version, { type: "primary-promoted", shard: shardId, node: id, epoch: version });
  const admitted = entry(3, { type: "node-admitted", node });
  const added = entry(5, { type: "replica-added", shard, node: node.id });
  const about = (...history: readonly HistoryEntry[]): readonly HistoryEntry[] =>
    historyOf({ topology: { map, history } as unknown as Topology }, { type: "node", node });
  // Its name is in no sentence of the act that made it a replica.
  const lost = promoted(7, shard, other);
  expect(about(admitted, lost)).toEqual([lost, admitted]);
  expect(sinceOf(about(admitted, lost), "node")).toBe(lost);
  // Who led its shard before it was in it does not matter, nor who leads another one.
  const others = [promoted(2, shard, other), promoted(8, before, other)];
  expect(about(...others.slice(0, 1), admitted, added, ...others.slice(1))).toEqual([added, admitted]);
  // What it led once is over.
  const led = promoted(4, before, node);
  expect(sinceOf(about(admitted, led, added), "node")).toBe(added);
  expect(sinceOf(about(admitted), "node")).toBe(admitted);
});
