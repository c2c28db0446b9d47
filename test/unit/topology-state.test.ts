/** The cluster map's state: what must hold of it, the images that readers get, what is kept beside it, and all of it as bytes. */
import { describe, expect, test } from "bun:test";
import { Fault } from "../../src/assert.ts";
import type { ShardRecord } from "../../src/contracts/topology.ts";
import type { TopologyAct } from "../../src/protocol/topology/records.ts";
import {
  EMPTY_STATE,
  Journal,
  type TopologyState,
  applyAct,
  checkChange,
  checkState,
  deltaOf,
  imageOf,
} from "../../src/protocol/topology/state.ts";
import { decodeAct, decodeSnapshot, encodeAct, encodeSnapshot } from "../../src/protocol/topology/topology-json.ts";
import { TopologyModel, idOf, nodeRecord, range } from "../support/topology-model.ts";

const [A, B, C, X] = [idOf("a"), idOf("b"), idOf("c"), idOf("x")];

/** Three nodes: a with slots and replica b, c with slots, one of them on its way to a. */
function sample(): TopologyModel {
  const model = TopologyModel.of("abc");
  model.assign("a", range(0, 9));
  model.assign("c", range(100, 200), range(300));
  model.follow("a", "b");
  model.grant(model.migrate("m", "c", "a", range(100)));
  return model;
}

function act(
  requestId: string,
  outcome: readonly string[] = ["OK"],
  records: TopologyAct["records"] = [],
): TopologyAct {
  return { requestId, cause: `because of ${requestId}`, timeMs: 5, records, outcome };
}

const SETTING = { type: "setting-changed", name: "acks", value: "primary" } as const;

describe("checkState", () => {
  test("finds nothing in what requests lead to", () => {
    expect(() => checkState(sample().state)).not.toThrow();
    expect(() => checkState(EMPTY_STATE)).not.toThrow();
  });

  const { state } = sample();
  const withShard = (letter: string, change: (shard: ShardRecord) => Partial<ShardRecord>): TopologyState => {
    const shard = sample().shard(letter);
    return { ...state, shards: new Map(state.shards).set(shard.id, { ...shard, ...change(shard) }) };
  };
  const [migration] = state.migrations.values();
  for (const [what, broken, message] of [
    ["a member twice", withShard("a", () => ({ replicas: [B, B] })), "has each member once"],
    ["a primary that is its own replica", withShard("a", () => ({ replicas: [A, B] })), "has each member once"],
    ["a member that is no node", withShard("a", () => ({ replicas: [B, X] })), "is a node of the map"],
    ["nobody in sync", withShard("a", () => ({ inSync: [] })), "has somebody in sync"],
    ["a primary that is not in sync", withShard("a", () => ({ inSync: [B] })), "the primary of shard"],
    ["a stranger in sync", withShard("a", () => ({ inSync: [A, C] })), "of the sets of shard"],
    ["a stranger that is eligible", withShard("a", () => ({ eligible: [C] })), "of the sets of shard"],
    ["a member in both sets", withShard("a", () => ({ eligible: [B] })), "is in one set"],
    ["somebody eligible at the minimum", withShard("a", () => ({ inSync: [A], eligible: [B] })), "nobody is eligible"],
    ["a start to come of a primary", withShard("a", () => ({ primaryIncarnation: 99 })), "has been started so often"],
    ["a slot below all", withShard("a", () => ({ slots: [range(-1, 9)] })), "slots are in 0..16383"],
    ["a slot beyond all", withShard("c", () => ({ slots: [range(100, 16_384)] })), "slots are in 0..16383"],
    ["a range that goes back", withShard("a", () => ({ slots: [range(9, 0)] })), "slots are in 0..16383"],
    [
      "one that was emptied and has slots",
      withShard("a", () => ({ wasEmptied: true })),
      "has slots, or it was emptied",
    ],
    ["ranges that touch", withShard("a", () => ({ slots: [range(0, 4), range(5, 9)] })), "are canonical"],
    ["ranges out of order", withShard("a", () => ({ slots: [range(5, 9), range(0, 3)] })), "are canonical"],
    ["a shard from the future", withShard("a", () => ({ version: state.version + 1 })), "is not ahead of the map"],
    ["a node in two shards", withShard("c", () => ({ replicas: [B] })), "a node is a member of one shard at most"],
    ["a slot with two owners", withShard("a", () => ({ slots: [range(0, 100)] })), "slot 100 has one owner at most"],
    [
      "a node that is removed and is not",
      { ...state, tombstones: new Map([[A, { node: A, version: 1, cause: "" }]]) },
      "is removed, or it is not",
    ],
    [
      "a member that was removed",
      { ...state, nodes: new Map([...state.nodes].filter(([id]) => id !== B)) },
      `member ${B} of shard`,
    ],
    ["a migration whose source is gone", withoutShard("c"), "a migration's source is a shard"],
    ["a migration whose target is gone", withoutShard("a"), "a migration's target is a shard"],
    ["a migration from nowhere", change({ source: "x" }), "a migration's source is a shard"],
    ["a migration to nowhere", change({ target: "x" }), "a migration's target is a shard"],
    ["a migration of others' slots", change({ slots: [range(100, 201)] }), "a migration's source owns its slots"],
  ] as const) {
    test(`catches ${what}`, () => {
      expect(() => checkState(broken)).toThrow(Fault);
      expect(() => checkState(broken)).toThrow(message);
      // Whoever looks at what has changed alone sees it too.
      expect(() => checkChange(state, broken, deltaOf(state, broken))).toThrow(Fault);
      expect(() => checkChange(state, broken, deltaOf(state, broken))).toThrow(message);
    });
  }

  function withoutShard(letter: string): TopologyState {
    const { id } = sample().shard(letter);
    return { ...state, shards: new Map([...state.shards].filter(([each]) => each !== id)) };
  }

  function change(changes: Partial<NonNullable<typeof migration>>): TopologyState {
    if (migration === undefined) throw new Error("there is a migration");
    return { ...state, migrations: new Map([["m", { ...migration, ...changes }]]) };
  }
});

describe("checkChange", () => {
  /** b is eligible: the set went below its minimum when it left. */
  function withEligible(): TopologyState {
    const model = TopologyModel.of("ab");
    model.follow("a", "b");
    model.grant({ type: "change-setting", name: "min-in-sync", value: "2" });
    const { id, version: shardVersion } = model.shard("a");
    model.grant({ type: "change-in-sync", shard: id, shardVersion, inSync: [A], eligible: [B] });
    return model.state;
  }
  const sees = (before: TopologyState, after: TopologyState): string => {
    expect(() => checkState(after)).toThrow(Fault);
    try {
      checkChange(before, after, deltaOf(before, after));
    } catch (thrown) {
      return thrown instanceof Fault ? thrown.message : "no fault";
    }
    return "nothing";
  };

  test("sees what a lower minimum alone makes of those that are eligible", () => {
    const state = withEligible();
    const settings = new Map(state.settings).set("min-in-sync", "1");
    expect(sees(state, { ...state, settings })).toContain("nobody is eligible while shard");
    const raised = { ...state, settings: new Map(state.settings).set("min-in-sync", "3") };
    expect(() => checkChange(state, raised, deltaOf(state, raised))).not.toThrow();
  });

  test("sees a primary alone that has not been started as often as its shard says", () => {
    const { state } = sample();
    const a = state.nodes.get(A);
    if (a === undefined) throw new Error("there is a node a");
    const nodes = new Map(state.nodes).set(A, { ...a, incarnation: 0 });
    expect(sees(state, { ...state, nodes })).toContain("has been started so often");
    const later = { ...state, nodes: new Map(state.nodes).set(A, { ...a, incarnation: a.incarnation + 1 }) };
    expect(() => checkChange(state, later, deltaOf(state, later))).not.toThrow();
  });

  test("sees a seal alone on a cluster of several nodes, and a second node in one that is sealed", () => {
    const seal = { joinId: "1", clusterId: "2", host: "h", port: 1 };
    const { state } = sample();
    expect(sees(state, { ...state, seal })).toContain("only a cluster of one node becomes part of another");
    const alone = TopologyModel.of("a");
    alone.grant({ type: "seal", seal });
    const nodes = new Map(alone.state.nodes).set(B, { ...nodeRecord("b"), incarnation: 1 });
    expect(sees(alone.state, { ...alone.state, nodes })).toContain("only a cluster of one node");
  });
});

describe("applyAct", () => {
  test("never goes back, and gives a shard that it changes its own version", () => {
    const { state } = sample();
    expect(() => applyAct(state, state.version, act("r"))).toThrow("versions of the map do not go back");
    const model = sample();
    const next = applyAct(
      state,
      1000,
      act("r", ["OK"], [{ type: "epoch-changed", shard: model.shard("a").id, epoch: 9 }]),
    );
    expect(next.shards.get(model.shard("a").id)).toMatchObject({ version: 1000, primaryEpoch: 9 });
    expect(next.shards.get(model.shard("c").id)).toEqual(model.shard("c"));
  });

  test("of a record on something that is not there is a fault: whoever decided it should have refused", () => {
    for (const record of [
      { type: "epoch-changed", shard: "x", epoch: 1 },
      { type: "migration-fenced", id: "x", sourceEpoch: 1, targetEpoch: 1 },
      { type: "migration-completed", id: "x", sourceEpoch: 1, targetEpoch: 1 },
      { type: "primary-promoted", shard: "x", node: A, epoch: 1 },
    ] as const) {
      expect(() => applyAct(sample().state, 1000, act("r", [], [record])), record.type).toThrow(Fault);
    }
  });

  test("notes no release of what was never served: a founder that was not admitted yet", () => {
    const model = sample();
    const founder = { ...nodeRecord("a"), incarnation: 0 };
    const state = { ...model.state, nodes: new Map(model.state.nodes).set(A, founder) };
    const records = [{ type: "slots-released", slots: [range(0, 100)] }] as const;
    expect(applyAct(state, 1000, act("r", [], records)).releases.map(({ node }) => node)).toEqual([C]);
  });

  test("remembers of a shard that it was emptied, whoever took the last slot, until it has some again", () => {
    const model = TopologyModel.of("abc");
    expect(model.shard("c").wasEmptied).toBeUndefined();
    model.assign("a", range(0, 9));
    model.assign("b", range(10, 19));
    // By a task, slot by slot, and by an operator who takes them.
    model.grant(model.migrate("m", "a", "c", range(0, 9)));
    const { primaryEpoch: sourceEpoch } = model.shard("a");
    const { primaryEpoch: targetEpoch } = model.shard("c");
    expect(model.shard("a").wasEmptied).toBeUndefined();
    model.grant({ type: "fence-migration", id: "m", sourceEpoch, targetEpoch });
    const fence = model.state.migrations.get("m")?.fence?.version ?? 0;
    model.grant({ type: "complete-migration", id: "m", fence });
    model.grant({ type: "release-slots", slots: [range(10, 18)] });
    expect([model.shard("a").wasEmptied, model.shard("b").wasEmptied]).toEqual([true, undefined]);
    model.grant({ type: "release-slots", slots: [range(19)] });
    expect([model.shard("b").wasEmptied, model.shard("c").wasEmptied]).toEqual([true, undefined]);
    // It stays so, whatever else becomes of the shard, and in a snapshot.
    model.grant({ type: "bump-epoch", node: A });
    expect(decodeSnapshot(encodeSnapshot(model.state, new Journal())).state.shards).toEqual(model.state.shards);
    expect(model.shard("a").wasEmptied).toBe(true);
    model.grant({ type: "release-slots", slots: [range(0)] });
    for (const release of model.state.releases) {
      model.grant({ type: "acknowledge-releases", node: release.node, version: release.version });
    }
    model.assign("a", range(0));
    expect("wasEmptied" in model.shard("a")).toBe(false);
  });

  test("keeps the cause with a tombstone", () => {
    const state = applyAct(TopologyModel.of("ab").state, 7, act("r", [], [{ type: "node-removed", node: B }]));
    expect(state.tombstones.get(B)).toEqual({ node: B, version: 7, cause: "because of r" });
  });
});

describe("imageOf", () => {
  test("has nodes by their ids, shards by their slots, and the owner of each slot", () => {
    const model = TopologyModel.of("cab");
    model.assign("c", range(5, 9));
    model.assign("b", range(0, 4), range(16_383));
    const image = imageOf(model.state, undefined);
    expect(image.nodes.map((node) => node.name)).toEqual(["a", "b", "c"]);
    expect(image.shards.map((shard) => shard.primary)).toEqual([B, C, A]);
    const owners = [...image.shardOfSlot];
    expect(owners.slice(0, 11)).toEqual([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, -1]);
    expect([owners.length, owners[16_383], owners[16_382]]).toEqual([16_384, 0, -1]);
    expect(image.version).toBe(model.state.version);
  });

  test("keeps the table of slots while no slot moves, and makes another when one does", () => {
    const model = sample();
    const before = imageOf(model.state, undefined);
    model.grant({ type: "bump-epoch", node: A });
    const same = imageOf(model.state, before);
    expect(same.shardOfSlot).toBe(before.shardOfSlot);
    expect(same.shards).not.toEqual(before.shards);
    model.grant({ type: "release-slots", slots: [range(9)] });
    const moved = imageOf(model.state, same);
    expect(moved.shardOfSlot).not.toBe(before.shardOfSlot);
    expect([before.shardOfSlot[9], moved.shardOfSlot[9]]).toEqual([0, -1]);
  });

  test("a shard without slots that comes or goes does not leave a table that points at another", () => {
    const model = TopologyModel.of("ab");
    model.assign("a", range(0));
    const before = imageOf(model.state, undefined);
    model.assign("b", range(1));
    model.grant({ type: "release-slots", slots: [range(0)] });
    const after = imageOf(model.state, before);
    expect(after.shards[after.shardOfSlot[1] ?? -1]?.primary).toBe(B);
    expect(after.shardOfSlot[0]).toBe(-1);
  });
});

describe("deltaOf", () => {
  const deltaAfter = (request: Parameters<TopologyModel["grant"]>[0]): ReturnType<typeof deltaOf> => {
    const model = sample();
    const before = model.state;
    model.grant(request);
    return deltaOf(before, model.state);
  };
  const a = sample().shard("a");
  const c = sample().shard("c");

  for (const [what, request, delta] of [
    ["a setting", { type: "change-setting", name: "acks", value: "primary" }, { nodes: [], shards: [], slots: false }],
    ["an epoch", { type: "bump-epoch", node: A }, { nodes: [], shards: [a.id], slots: false }],
    ["slots", { type: "assign-slots", node: A, slots: [range(50)] }, { nodes: [], shards: [a.id], slots: true }],
    ["a release", { type: "release-slots", slots: [range(300)] }, { nodes: [], shards: [c.id], slots: true }],
    [
      "a promotion",
      { type: "promote", shard: a.id, shardVersion: a.version, node: B },
      { nodes: [], shards: [a.id], slots: true },
    ],
    [
      "another start of a node",
      { type: "register-node", node: nodeRecord("a", { start: "2" }) },
      { nodes: [A], shards: [a.id], slots: false },
    ],
    [
      "another start of a primary without replicas, which begins again",
      { type: "register-node", node: nodeRecord("c", { start: "2" }) },
      { nodes: [C], shards: [c.id], slots: true },
    ],
  ] as const) {
    test(`of ${what} names what changed`, () => {
      expect(deltaAfter(request)).toEqual({ nodes: delta.nodes, shards: delta.shards, changesSlots: delta.slots });
    });
  }

  test("of what comes and what goes names both", () => {
    const model = sample();
    const before = model.state;
    model.grant({ type: "register-node", node: nodeRecord("d") });
    expect(deltaOf(before, model.state)).toMatchObject({ nodes: [idOf("d")], shards: [model.shard("d").id] });
    expect(deltaOf(model.state, before)).toMatchObject({ nodes: [idOf("d")], shards: [model.shard("d").id] });
  });

  test("tells that slots may be served again when the last release is acknowledged", () => {
    const model = sample();
    model.grant({ type: "release-slots", slots: [range(0)] });
    const before = model.state;
    model.grant({ type: "acknowledge-releases", node: A, version: before.version });
    expect(deltaOf(before, model.state)).toEqual({ nodes: [], shards: [], changesSlots: true });
  });
});

describe("Journal", () => {
  test("tells what a request was answered with, of the last ten thousand", () => {
    const journal = new Journal();
    for (let at = 1; at <= 10_050; at += 1) journal.add(at, act(`r${at}`, [`outcome ${at}`]));
    expect(journal.outcomeOf("r51")).toEqual({ outcome: ["outcome 51"] });
    expect(journal.outcomeOf("r10050")).toEqual({ outcome: ["outcome 10050"] });
    expect(journal.outcomeOf("r50")).toBeUndefined();
    expect(journal.outcomeOf("r10051")).toBeUndefined();
    expect(encodeSnapshot(EMPTY_STATE, journal).length).toBeLessThan(600_000);
  });

  test("keeps acts that changed something, in words, and a bounded number of them", () => {
    const journal = new Journal();
    journal.add(1, act("nothing"));
    expect(journal.history).toEqual([]);
    journal.add(2, act("r2", ["OK"], [SETTING]));
    expect(journal.history).toEqual([
      { version: 2, timeMs: 5, cause: "because of r2", changes: ['setting acks is "primary"'] },
    ]);
    for (let at = 3; at <= 45_000; at += 1) {
      journal.add(at, act(`r${at}`, ["OK"], [SETTING]));
      if (journal.history.length > 20_000) throw new Error(`${journal.history.length} acts are kept`);
    }
    expect(journal.history.length).toBeGreaterThanOrEqual(10_000);
    expect(journal.history.at(-1)?.version).toBe(45_000);
  });
});

describe("as bytes", () => {
  test("a state and what is kept beside it come back whole", () => {
    const model = sample();
    model.grant({ type: "release-slots", slots: [range(0)] });
    model.grant({ type: "change-setting", name: "acks", value: "primary" });
    model.grant({ type: "register-node", node: nodeRecord("d", { name: "d\u2028é" }) });
    model.grant({ type: "remove-node", node: idOf("d"), by: A });
    const journal = new Journal();
    journal.add(1, act("r1", ["BUMPED 1"], [SETTING]));
    journal.add(2, act("r2"));
    const decoded = decodeSnapshot(encodeSnapshot(model.state, journal));
    expect(decoded.state).toEqual(model.state);
    expect(decoded.journal.history).toEqual(journal.history);
    expect([decoded.journal.outcomeOf("r1"), decoded.journal.outcomeOf("r2")]).toEqual([
      { outcome: ["BUMPED 1"] },
      { outcome: ["OK"] },
    ]);
    // What one node has, another gets the same.
    expect(encodeSnapshot(decoded.state, decoded.journal)).toEqual(encodeSnapshot(model.state, journal));
  });

  test("a snapshot is not changed by what is added after it", () => {
    const journal = new Journal();
    journal.add(1, act("r1", ["OK"], [SETTING]));
    const bytes = encodeSnapshot(EMPTY_STATE, journal);
    const one = decodeSnapshot(bytes);
    one.journal.add(2, act("r2", ["OK"], [SETTING]));
    expect(decodeSnapshot(bytes).journal.history).toHaveLength(1);
    expect(journal.history).toHaveLength(1);
  });

  test("a snapshot of another format is a fault", () => {
    const text = new TextDecoder().decode(encodeSnapshot(EMPTY_STATE, new Journal()));
    const other = new TextEncoder().encode(text.replace('"format":1', '"format":2'));
    expect(() => decodeSnapshot(other)).toThrow("the snapshot has a format that this version reads");
  });

  test("an act is read as it was written", () => {
    const written = act("r1", ["OK", "STILL 3"], [SETTING, { type: "slots-released", slots: [range(1, 2)] }]);
    expect(decodeAct(encodeAct(written))).toEqual(written);
  });
});
