/** Slots that are moved key by key, in the map: which marks are granted, what closes a slot, who may give it away, and what becomes of marks otherwise. */
import { beforeEach, describe, expect, test } from "bun:test";
import type { OpenSlot, TopologyRequest } from "../../src/contracts/topology.ts";
import { readMapFile } from "../../src/cli/map-file.ts";
import { describeRecord } from "../../src/protocol/topology/records.ts";
import { checkState, deltaOf, imageOf, stateFromJson, stateToJson } from "../../src/protocol/topology/state.ts";
import { encodeMapFile } from "../../src/protocol/topology/topology-json.ts";
import { TopologyModel, idOf, nodeRecord, range } from "../support/topology-model.ts";

const SLOT = 7;
const LETTERS = ["a", "b", "c", "d"];
let model: TopologyModel;

/** a owns 0-9, b 10-19, c nothing; d is b's replica. */
beforeEach(() => {
  model = TopologyModel.of("abcd");
  model.assign("a", range(0, 9));
  model.assign("b", range(10, 19));
  model.follow("b", "d");
});

const mark = (node: string, kind: "migrating" | "importing", peer: string, slot = SLOT): TopologyRequest => ({
  type: "mark-slot",
  slot,
  node: idOf(node),
  mark: kind,
  peer: idOf(peer),
});
const unmark = (node: string, keys = 0, isLast = false, slot = SLOT): TopologyRequest => {
  const { id, version } = model.shard(node);
  return { type: "unmark-slot", slot, shard: id, shardVersion: version, keys, isLast };
};
const give = (from: string, to: string, slot = SLOT): TopologyRequest => {
  const { id, version } = model.shard(from);
  return { type: "give-slot", slot, from: { shard: id, shardVersion: version }, to: idOf(to) };
};
/** As CLUSTER NODES would show them: `a>b` of the owner, `b<a` of another. */
const marks = (open: readonly OpenSlot[] = model.state.openSlots): string => {
  const letter = (shard: string): string =>
    LETTERS.find((each) => model.state.nodes.has(idOf(each)) && model.shard(each).id === shard) ?? "?";
  return open
    .map(({ slot, migratingTo, importing }) =>
      [
        `${slot}:`,
        ...(migratingTo === undefined ? [] : [`>${letter(migratingTo)}`]),
        ...importing.map(({ shard, from }) => `${letter(shard)}<${letter(from)}`),
      ].join(" "),
    )
    .join(", ");
};

describe("a mark", () => {
  test("of the owner and one of another shard stand each by itself, and change no shard", () => {
    const versions = LETTERS.slice(0, 3).map((each) => model.shard(each).version);
    model.grant(mark("b", "importing", "a"));
    expect(marks()).toBe("7: b<a");
    model.grant(mark("a", "migrating", "b"));
    expect(marks()).toBe("7: >b b<a");
    model.grant(mark("a", "migrating", "c", 3));
    expect(marks()).toBe("3: >c, 7: >b b<a");
    // Asked for again it is there already.
    const { state } = model;
    for (const again of [mark("b", "importing", "a"), mark("a", "migrating", "b")]) {
      expect(model.grant(again)).toEqual(["OK"]);
    }
    expect(model.state).toMatchObject({ openSlots: state.openSlots });
    expect(LETTERS.slice(0, 3).map((each) => model.shard(each).version)).toEqual(versions);
  });

  test("of the owner may be another one, unless the first target takes keys in", () => {
    model.grant(mark("a", "migrating", "b"));
    model.grant(mark("a", "migrating", "c"));
    expect(marks()).toBe("7: >c");
    model.grant(mark("c", "importing", "a"));
    expect(model.reasonOf(mark("a", "migrating", "b"))).toBe(
      `ERR hash slot 7 is on its way to node ${idOf("c")}, which takes its keys in: end that first (CLUSTER SETSLOT 7 STABLE)`,
    );
  });

  test("may be that of several shards, as in Redis", () => {
    model.grant(mark("b", "importing", "a"));
    model.grant(mark("c", "importing", "a"));
    model.grant(mark("c", "importing", "b"));
    expect(marks()).toBe("7: b<a c<b");
  });

  test("is refused in Redis' words", () => {
    for (const [request, reason] of [
      [mark("d", "importing", "a"), "ERR Please use SETSLOT only with masters."],
      [mark("b", "migrating", "a"), "ERR I'm not the owner of hash slot 7"],
      [mark("c", "migrating", "a", 100), "ERR I'm not the owner of hash slot 100"],
      [mark("a", "importing", "b"), "ERR I'm already the owner of hash slot 7"],
      [mark("a", "migrating", "z"), `ERR I don't know about node ${idOf("z")}`],
      [mark("b", "importing", "z"), `ERR I don't know about node ${idOf("z")}`],
      [mark("a", "migrating", "d"), "ERR Target node is not a master"],
      [mark("c", "importing", "d"), "ERR Target node is not a master"],
      [mark("a", "migrating", "a"), `ERR node ${idOf("a")} is this node: a slot moves from one to another`],
      [mark("a", "migrating", "b", 16_384), "ERR Invalid or out of range slot"],
    ] as const) {
      expect(model.reasonOf(request)).toBe(reason);
    }
  });

  test("and a task never meet on a slot", () => {
    model.grant(model.migrate("m", "a", "b", range(7)));
    for (const request of [mark("a", "migrating", "b"), mark("b", "importing", "a"), give("a", "b")]) {
      expect(model.reasonOf(request)).toBe("ERR slot 7 is being moved by migration m");
    }
    model.grant(mark("a", "migrating", "b", 8));
    expect(model.reasonOf(model.migrate("n", "a", "b", range(8, 9)))).toBe(
      "ERR slot 8 is being moved key by key: end that first (CLUSTER SETSLOT 8 STABLE)",
    );
  });
});

describe("a slot is closed", () => {
  beforeEach(() => {
    model.grant(mark("b", "importing", "a"));
    model.grant(mark("a", "migrating", "b"));
  });

  test("for a shard that has taken nothing in; its owner's mark goes with the last one, if that was asked for", () => {
    const { state } = model;
    model.grant(unmark("b"));
    expect(marks()).toBe("7: >b");
    model.grant(unmark("a"));
    expect(marks()).toBe("");
    model.state = state;
    model.grant(unmark("b", 0, true));
    expect(marks()).toBe("");
    model.state = state;
    model.grant(mark("c", "importing", "a"));
    model.grant(unmark("b", 0, true));
    expect(marks()).toBe("7: >b c<a");
    model.grant(unmark("c", 0, true));
    expect(marks()).toBe("");
  });

  test("never while somebody has keys of it that only marks lead to", () => {
    expect(model.reasonOf(unmark("b", 3))).toBe(
      `ERR Can't close hash slot 7: node ${idOf("b")} has taken in 3 of its keys; move the others there as well (MIGRATE), and give it the slot`,
    );
    expect(model.reasonOf(unmark("a"))).toBe(`ERR hash slot 7 is still taken in by node ${idOf("b")}`);
    // Of a slot that is nobody's, whoever has keys may be the next owner.
    model.grant({ type: "release-slots", slots: [range(7)] });
    model.grant(unmark("b", 3));
    expect(marks()).toBe("");
  });

  test("on the word of the primary that there is: what was said at another version of the shard is stale", () => {
    const stale = unmark("b");
    const { id, version } = model.shard("b");
    model.grant({ type: "promote", shard: id, shardVersion: version, node: idOf("d") });
    expect(model.reasonOf(stale)).toStartWith("ERR stale: ");
    expect(marks()).toBe("7: >b b<a");
  });

  test("by force, whatever becomes of keys", () => {
    model.grant({ type: "close-slot", slot: SLOT });
    expect(marks()).toBe("");
    expect(model.grant({ type: "close-slot", slot: SLOT })).toEqual(["OK"]);
  });

  test("again with nothing to do", () => {
    model.grant({ type: "close-slot", slot: SLOT });
    for (const node of "abc") expect(model.decide(unmark(node))).toEqual({ records: [], outcome: ["OK"] });
  });
});

describe("a slot is given", () => {
  test("by its owner, with all marks on it, and nobody waits for its word", () => {
    model.grant(mark("b", "importing", "a"));
    model.grant(mark("a", "migrating", "b"));
    const before = model.state;
    model.grant(give("a", "b"));
    expect(marks()).toBe("");
    expect(model.shard("a").slots).toEqual([range(0, 6), range(8, 9)]);
    expect(model.shard("b").slots).toEqual([range(7), range(10, 19)]);
    expect(model.state.releases).toEqual(before.releases);
    expect(deltaOf(before, model.state).changesSlots).toBe(true);
    expect(model.shard("a").version).toBe(model.state.version);
    expect(model.shard("b").version).toBe(model.state.version);
    // Word of it may have been lost: it is so already.
    expect(model.decide(give("a", "b"))).toEqual({ records: [], outcome: ["OK"] });
  });

  test("without marks as well; one that gets its first gets an epoch", () => {
    expect(model.shard("c").primaryEpoch).toBe(0);
    const highest = Math.max(model.shard("a").primaryEpoch, model.shard("b").primaryEpoch);
    model.grant(give("a", "c"));
    expect(model.shard("c")).toMatchObject({ slots: [range(7)], primaryEpoch: highest + 1 });
  });

  test("by anybody, if it is nobody's", () => {
    model.grant({ type: "give-slot", slot: 100, to: idOf("c") });
    expect(model.shard("c").slots).toEqual([range(100)]);
  });

  test("only by who owns it, at the version that it knows, and to a primary", () => {
    const stale = give("a", "b");
    model.assign("a", range(30));
    expect(model.reasonOf(stale)).toStartWith("ERR stale: ");
    for (const [request, reason] of [
      [{ type: "give-slot", slot: SLOT, to: idOf("b") }, "ERR hash slot 7 is not that shard's to give"],
      [give("c", "b"), "ERR hash slot 7 is not that shard's to give"],
      [give("a", "d"), "ERR Target node is not a master"],
      [give("a", "z"), `ERR Unknown node ${idOf("z")}`],
      [give("a", "b", -1), "ERR Invalid or out of range slot"],
    ] as const) {
      expect(model.reasonOf(request)).toBe(reason);
    }
  });

  test("not while a third one takes its keys in", () => {
    model.grant(mark("c", "importing", "a"));
    expect(model.reasonOf(give("a", "b"))).toBe(
      `ERR hash slot 7 is taken in by node ${idOf("c")}: end that first (CLUSTER SETSLOT 7 STABLE)`,
    );
    model.grant(unmark("c"));
    model.grant(give("a", "b"));
  });
});

describe("a slot's owner and the one that takes it in", () => {
  const swap = (from: string, other: string): TopologyRequest => {
    const { id, version } = model.shard(from);
    return { type: "swap-slot", slot: SLOT, shard: id, shardVersion: version, with: model.shard(other).id };
  };

  test("change places, marks and all", () => {
    model.grant(mark("c", "importing", "a"));
    model.grant(mark("a", "migrating", "c"));
    const stale = swap("a", "c");
    model.grant(swap("a", "c"));
    expect(marks()).toBe("7: >a a<c");
    expect(model.shard("c")).toMatchObject({ slots: [range(7)] });
    expect(model.shard("c").primaryEpoch).toBeGreaterThan(0);
    expect(model.state.releases).toEqual([]);
    expect(model.reasonOf(stale)).toStartWith("ERR stale: ");
    model.grant(swap("c", "a"));
    expect(marks()).toBe("7: >c c<a");
  });

  test("do not without both marks, or beside a third", () => {
    const refusal = `ERR hash slot 7 is not moved from that shard to node ${idOf("b")}`;
    expect(model.reasonOf(swap("a", "b"))).toBe(refusal);
    model.grant(mark("a", "migrating", "b"));
    expect(model.reasonOf(swap("a", "b"))).toBe(refusal);
    model.grant(mark("b", "importing", "a"));
    model.grant(mark("c", "importing", "a"));
    expect(model.reasonOf(swap("a", "b"))).toStartWith(`ERR hash slot 7 is taken in by node ${idOf("c")}`);
    expect(model.reasonOf(swap("b", "a"))).toBe(`ERR hash slot 7 is not moved from that shard to node ${idOf("a")}`);
  });
});

describe("marks", () => {
  beforeEach(() => {
    model.grant(mark("b", "importing", "a"));
    model.grant(mark("c", "importing", "a"));
    model.grant(mark("a", "migrating", "b"));
  });

  test("outlive their shard's primary", () => {
    const { id, version } = model.shard("b");
    model.grant({ type: "promote", shard: id, shardVersion: version, node: idOf("d") });
    expect(marks()).toBe("7: >b b<a c<a");
  });

  test("of the owner go when the slot does, those of others when it comes to them", () => {
    model.grant({ type: "release-slots", slots: [range(5, 8)] });
    expect(marks()).toBe("7: b<a c<a");
    model.assign("c", range(7));
    expect(marks()).toBe("7: b<a");
  });

  test("go with their shard, which is removed by its own word alone, that it holds nothing", () => {
    const remove = (by: string): TopologyRequest => ({ type: "remove-node", node: idOf("c"), by: idOf(by) });
    expect(model.reasonOf(remove("a"))).toBe(
      "ERR node c takes in keys of slot 7: end that first (CLUSTER SETSLOT 7 STABLE, or STABLE FORCE if it is gone)",
    );
    model.grant(remove("c"));
    expect(marks()).toBe("7: >b b<a");
  });

  test("go with a shard whose node becomes a replica, of whatever slot", () => {
    model.grant({ type: "close-slot", slot: SLOT });
    model.grant(mark("a", "migrating", "c"));
    model.grant(mark("c", "importing", "a", 8));
    const { id, version } = model.shard("a");
    model.grant({ type: "add-replica", shard: id, shardVersion: version, node: idOf("c") });
    expect(marks()).toBe("");
  });

  test("are in images, in snapshots, and in maps that people keep", () => {
    expect(marks(imageOf(model.state, undefined).openSlots)).toBe("7: >b b<a c<a");
    expect(
      stateFromJson(JSON.parse(JSON.stringify(stateToJson(model.state))) as Parameters<typeof stateFromJson>[0]),
    ).toEqual(model.state);
    // Names of starts are 40 digits there.
    for (const letter of "abcd") {
      model.grant({ type: "register-node", node: nodeRecord(letter, { start: idOf(letter === "d" ? "e" : letter) }) });
    }
    const { openSlots } = model.state;
    expect(openSlots).toHaveLength(1);
    expect(readMapFile(encodeMapFile(model.state), "map.json").openSlots).toEqual(openSlots);
    model.grant({ type: "close-slot", slot: SLOT });
    expect(stateToJson(model.state)).not.toHaveProperty("openSlots");
  });

  test("are told in words", () => {
    const { id: a } = model.shard("a");
    const { id: b } = model.shard("b");
    expect(
      (
        [
          { type: "slot-migrating", slot: 7, shard: a, to: b },
          { type: "slot-importing", slot: 7, shard: b, from: a },
          { type: "slot-stable", slot: 7, shard: b },
          { type: "slot-closed", slot: 7 },
          { type: "slot-given", slot: 7, shard: b },
        ] as const
      ).map((record) => describeRecord(record)),
    ).toEqual([
      `slot 7 of shard ${a} moves to shard ${b} key by key`,
      `slot 7 is taken in by shard ${b}, from shard ${a}`,
      `slot 7 is not on its way any more for shard ${b}`,
      "slot 7 is not on its way any more",
      `slot 7 given to shard ${b} by its owner`,
    ]);
  });

  test("that make no sense are a fault", () => {
    const { state } = model;
    const [a, b] = [model.shard("a").id, model.shard("b").id];
    const sound: OpenSlot = { slot: 7, migratingTo: b, importing: [{ shard: b, from: a }] };
    for (const [openSlots, reason] of [
      [[{ slot: 7, importing: [] }], "open slot 7 has a mark"],
      [[{ ...sound, migratingTo: a }], "open slot 7 moves from its owner to another shard"],
      [[{ ...sound, slot: 100 }], "open slot 100 moves from its owner to another shard"],
      [[{ ...sound, migratingTo: "f".repeat(40) }], "open slot 7 moves to a shard"],
      [[{ ...sound, importing: [{ shard: a, from: b }] }], "open slot 7 is taken in by a shard that does not own it"],
      [[{ ...sound, importing: [...sound.importing, ...sound.importing] }], "open slot 7 has one mark of a shard"],
      [[sound, sound], "open slots are in order, in 0..16383"],
      [[{ ...sound, slot: 16_384 }], "open slots are in order, in 0..16383"],
    ] as const) {
      expect(() => checkState({ ...state, openSlots })).toThrow(reason);
    }
  });
});
