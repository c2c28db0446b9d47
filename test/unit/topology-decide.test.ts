/** What the leader grants and refuses, request by request, each refusal with its reason. */
import { describe, expect, test } from "bun:test";
import { NEWEST_VERSION } from "../../src/codec/link-codec.ts";
import type { TopologyRequest } from "../../src/contracts/topology.ts";
import { TopologyModel, idOf, nodeRecord, range, shardIdOf } from "../support/topology-model.ts";

describe("register-node", () => {
  test("admits a node with a shard of its own, which has no slots", () => {
    const model = TopologyModel.of("a");
    expect(model.state.nodes.get(idOf("a"))).toEqual({ ...nodeRecord("a"), incarnation: 1 });
    expect(model.shard("a")).toEqual({
      id: shardIdOf(idOf("a")),
      primary: idOf("a"),
      primaryIncarnation: 1,
      replicas: [],
      inSync: [idOf("a")],
      eligible: [],
      slots: [],
      primaryEpoch: 0,
      version: 1,
    });
  });

  test("of the same start changes nothing, wherever it is; of another start is another incarnation", () => {
    const model = TopologyModel.of("ab");
    expect(model.decide({ type: "register-node", node: nodeRecord("a") })).toEqual({ records: [], outcome: ["OK"] });
    model.grant({ type: "register-node", node: nodeRecord("a", { start: "a-start-2" }) });
    expect(model.state.nodes.get(idOf("a"))?.incarnation).toBe(3);
    model.grant({ type: "register-node", node: nodeRecord("a", { start: "a-start-2", port: 9000 }) });
    expect(model.state.nodes.get(idOf("a"))).toMatchObject({ incarnation: 3, port: 9000 });
    expect(model.state.shards.size).toBe(2);
  });

  test("gives a witness no shard, and refuses a witness that holds data", () => {
    const model = TopologyModel.of("a");
    model.grant({ type: "register-node", node: nodeRecord("w", { role: "witness" }) });
    expect(model.state.shards.size).toBe(1);
    expect(model.reasonOf({ type: "register-node", node: nodeRecord("a", { role: "witness", start: "2" }) })).toBe(
      "ERR node a holds data here, and a witness holds none; CLUSTER RESET makes it a new one",
    );
    // The other way it gets the shard that it lacks.
    model.grant({ type: "register-node", node: nodeRecord("w", { start: "w-start-2" }) });
    expect(model.shard("w").primary).toBe(idOf("w"));
  });

  test("refuses an address that another node has, and a node that was removed", () => {
    const model = TopologyModel.of("ab");
    const { port } = nodeRecord("a");
    expect(model.reasonOf({ type: "register-node", node: nodeRecord("c", { port }) })).toBe(
      `ERR node a has the address 127.0.0.1:${port} already`,
    );
    model.grant({ type: "remove-node", node: idOf("b"), by: idOf("a") });
    const again = { type: "register-node", node: nodeRecord("b") } as const;
    expect(model.reasonOf(again)).toBe(
      `ERR node ${idOf("b")} was removed from the cluster; CLUSTER RESET makes it a new one`,
    );
    model.grant({ type: "lift-tombstone", node: idOf("b") });
    model.grant(again);
    expect(model.state.tombstones.size).toBe(0);
  });

  test("never gives a shard an id under which another lives on", () => {
    // a's shard goes to b; a is taken out, forgotten, and comes back.
    const model = TopologyModel.of("ab");
    model.assign("a", range(0, 9));
    model.follow("a", "b");
    const { id, version } = model.shard("a");
    model.grant({ type: "promote", shard: id, shardVersion: version, node: idOf("b") });
    model.grant({ type: "remove-node", node: idOf("a"), by: idOf("c") });
    model.grant({ type: "lift-tombstone", node: idOf("a") });
    model.grant({ type: "register-node", node: nodeRecord("a") });
    expect(model.shard("b")).toMatchObject({ id, slots: [range(0, 9)] });
    expect(model.shard("a").id).not.toBe(id);
  });
});

describe("a feature level", () => {
  const levels = (oldest: number, newest: number): { features: { oldest: number; newest: number } } => ({
    features: { oldest, newest },
  });

  test("that a node's program does not have keeps the node out, however it comes in", () => {
    const model = TopologyModel.of("a");
    for (const type of ["register-node", "merge-node"] as const) {
      for (const [oldest, newest] of [
        [2, 3],
        [2, 2],
      ] as const) {
        const node = nodeRecord("b", levels(oldest, newest));
        expect(model.reasonOf(type === "merge-node" ? { type, node, slots: [] } : { type, node })).toBe(
          `ERR node b has feature levels ${oldest} to ${newest}, and not the cluster's, 1: give it a version of bunch that has that, or take it out`,
        );
      }
    }
    model.grant({ type: "register-node", node: nodeRecord("b", levels(1, 3)) });
  });

  test("is the first where nobody has set one, and of a node that says nothing", () => {
    const model = TopologyModel.of("a");
    model.grant({ type: "change-setting", name: "feature-level", value: "1" });
    model.grant({ type: "register-node", node: nodeRecord("b") });
    // A later start of a member is a node as any other: one of an older program than the cluster's level stays out.
    model.state = { ...model.state, settings: new Map([["feature-level", "2"]]) };
    expect(model.reasonOf({ type: "register-node", node: nodeRecord("b", { start: "b-start-2" }) })).toContain(
      "node b has feature levels 1 to 1, and not the cluster's, 2",
    );
  });

  test("is not set while a member's program does not have it", () => {
    const model = TopologyModel.of("a");
    model.state = { ...model.state, settings: new Map([["feature-level", "2"]]) };
    model.grant({ type: "register-node", node: nodeRecord("b", levels(2, 2)) });
    expect(model.reasonOf({ type: "change-setting", name: "feature-level", value: "1" })).toBe(
      "ERR node b has feature levels 2 to 2, and not the cluster's, 1: give it a version of bunch that has that, or take it out",
    );
    model.grant({ type: "remove-node", node: idOf("b"), by: idOf("a") });
    model.grant({ type: "change-setting", name: "feature-level", value: "1" });
  });
});

describe("remove-node", () => {
  test("keeps so many out, the newest ones: the map does not grow with each node that was ever there", () => {
    const model = TopologyModel.of("a");
    for (let count = 0; count < 1003; count += 1) {
      model.grant({ type: "register-node", node: nodeRecord(`guest-${count}`) });
      model.grant({ type: "remove-node", node: idOf(`guest-${count}`), by: idOf("a") });
    }
    const kept = [...model.state.tombstones.keys()];
    expect([kept.length, kept[0], kept.at(-1)]).toEqual([1000, idOf("guest-3"), idOf("guest-1002")]);
    expect(model.ask({ type: "register-node", node: nodeRecord("guest-3") })).toHaveProperty("rejection");
  });

  test("removes a primary without slots with its shard, a replica from its shard, and a witness", () => {
    const model = TopologyModel.of("abc");
    model.follow("a", "b");
    model.grant({ type: "register-node", node: nodeRecord("w", { role: "witness" }) });
    for (const letter of ["b", "c", "w"]) model.grant({ type: "remove-node", node: idOf(letter), by: idOf("a") });
    expect([...model.state.nodes.keys()]).toEqual([idOf("a")]);
    expect(model.shard("a")).toMatchObject({ replicas: [], inSync: [idOf("a")] });
    expect(model.state.shards.size).toBe(1);
    expect([...model.state.tombstones.keys()]).toEqual([idOf("b"), idOf("c"), idOf("w")]);
  });

  test("leaves the replicas of a primary without slots as primaries without slots", () => {
    const model = TopologyModel.of("abc");
    model.follow("a", "b");
    model.follow("a", "c");
    // On an operator's word, wherever it was said.
    model.grant({ type: "remove-node", node: idOf("a") });
    for (const letter of ["b", "c"]) {
      expect(model.shard(letter)).toMatchObject({ primary: idOf(letter), replicas: [], slots: [], primaryEpoch: 0 });
    }
    expect(model.state.shards.size).toBe(2);
  });

  test("leaves the replicas of a primary that was emptied as emptied ones: slots come to them by nobody's mere presence", () => {
    const model = TopologyModel.of("abc");
    model.assign("a", range(1));
    model.follow("a", "b");
    model.grant({ type: "release-slots", slots: [range(1)] });
    for (const { node, version } of model.state.releases) model.grant({ type: "acknowledge-releases", node, version });
    model.grant({ type: "remove-node", node: idOf("a"), by: idOf("c") });
    expect([model.shard("b").wasEmptied, model.shard("c").wasEmptied]).toEqual([true, undefined]);
    model.assign("b", range(1));
    expect(model.shard("b").wasEmptied).toBeUndefined();
  });

  test("is refused for whom nobody knows, one's own primary, and a primary with slots or a migration to it", () => {
    const model = TopologyModel.of("abc");
    const remove = (node: string, by: string): string | undefined =>
      model.reasonOf({ type: "remove-node", node: idOf(node), by: idOf(by) });
    expect(remove("x", "a")).toBe(`ERR Unknown node ${idOf("x")}`);
    model.follow("a", "b");
    expect(remove("a", "b")).toBe("ERR Can't forget my master!");
    model.assign("a", range(1, 2), range(7));
    expect(remove("a", "c")).toBe("ERR node a owns slots 1-2 7-7: move them to another node first");
    model.grant(model.migrate("m", "a", "c", range(1)));
    expect(remove("c", "a")).toBe("ERR migration m moves slots to node c: abort it first");
    model.grant({ type: "abort-migration", id: "m" });
    expect(remove("c", "a")).toBeUndefined();
  });
});

describe("lift-tombstone", () => {
  test("of a node that has none changes nothing", () => {
    expect(TopologyModel.of("a").decide({ type: "lift-tombstone", node: idOf("a") })).toEqual({
      records: [],
      outcome: ["OK"],
    });
  });
});

describe("slots", () => {
  test("are assigned to a primary, which gets an epoch of its own with its first ones", () => {
    const model = TopologyModel.of("ab");
    model.assign("a", range(5, 9), range(0, 4));
    expect(model.shard("a")).toMatchObject({ slots: [range(0, 9)], primaryEpoch: 1 });
    model.assign("b", range(10));
    expect(model.shard("b")).toMatchObject({ slots: [range(10)], primaryEpoch: 2 });
    model.assign("b", range(12));
    expect(model.shard("b")).toMatchObject({ slots: [range(10), range(12)], primaryEpoch: 2 });
  });

  test("are not assigned twice, to replicas, to nobody", () => {
    const model = TopologyModel.of("abc");
    model.assign("a", range(3, 5));
    model.follow("a", "b");
    const assign = (node: string, ...slots: readonly { first: number; last: number }[]): string | undefined =>
      model.reasonOf({ type: "assign-slots", node: idOf(node), slots });
    expect(assign("c", range(0, 3))).toBe("ERR Slot 3 is already busy");
    expect(assign("a", range(4))).toBe("ERR Slot 4 is already busy");
    expect(assign("b", range(8))).toBe("ERR Please use SETSLOT only with masters.");
    expect(assign("x", range(8))).toBe(`ERR Unknown node ${idOf("x")}`);
  });

  test("that there are not are refused, whatever is to become of them", () => {
    const model = TopologyModel.of("ab");
    model.assign("a", range(0, 9));
    for (const slots of [
      [],
      [range(16_384)],
      [range(16_000, 20_000)],
      [range(-1, 3)],
      [range(5, 3)],
      [range(1.5)],
      [range(Number.NaN)],
      [range(20), range(3, 1)],
    ]) {
      for (const request of [
        { type: "assign-slots", node: idOf("b"), slots },
        { type: "release-slots", slots },
        model.migrate("m", "a", "b", ...slots),
      ] as const satisfies readonly TopologyRequest[]) {
        expect(model.reasonOf(request), `${request.type} ${JSON.stringify(slots)}`).toBe(
          "ERR Invalid or out of range slot",
        );
      }
    }
  });

  test("are released by whoever owns them, with a note that each owner must acknowledge", () => {
    const model = TopologyModel.of("ab");
    model.assign("a", range(0, 9));
    model.assign("b", range(10, 19));
    model.grant({ type: "release-slots", slots: [range(8, 12)] });
    const { version, releases } = model.state;
    expect([model.shard("a").slots, model.shard("b").slots]).toEqual([[range(0, 7)], [range(13, 19)]]);
    expect(releases).toEqual([
      { node: idOf("a"), incarnation: 1, version, slots: [range(8, 9)] },
      { node: idOf("b"), incarnation: 2, version, slots: [range(10, 12)] },
    ]);
    // One that knows less than all does not speak for the rest.
    const early = { type: "acknowledge-releases", node: idOf("a"), version: version - 1 } as const;
    expect(model.decide(early)).toEqual({ records: [], outcome: ["OK"] });
    model.grant({ type: "acknowledge-releases", node: idOf("a"), version });
    expect(model.state.releases.map(({ node }) => node)).toEqual([idOf("b")]);
    // Another start of a node serves nothing of what the one before did.
    model.grant({ type: "register-node", node: nodeRecord("b", { start: "b-start-2" }) });
    expect(model.state.releases).toEqual([]);
  });

  test("are neither given nor taken when a shard has changed since that was decided", () => {
    const model = TopologyModel.of("ab");
    model.assign("a", range(0, 9));
    const [a, b] = [model.shard("a"), model.shard("b")];
    model.assign("b", range(10, 19));
    const seen = { [a.id]: a.version, [b.id]: b.version };
    const stale = `ERR stale: shard ${b.id} is at version ${model.shard("b").version}, and this was decided `;
    const give = { type: "assign-slots", node: idOf("b"), slots: [range(30)] } as const;
    const take = { type: "release-slots", slots: [range(8, 12)] } as const;
    expect(model.reasonOf({ ...give, decidedOn: seen })).toBe(`${stale}on ${b.version}`);
    expect(model.reasonOf({ ...take, decidedOn: seen })).toBe(`${stale}on ${b.version}`);
    // Slots that were somebody else's when it was decided to take them.
    expect(model.reasonOf({ ...take, decidedOn: { [a.id]: a.version } })).toBe(`${stale}without it`);
    // Of shards that it does not concern any version will do.
    model.grant({ ...take, slots: [range(8)], decidedOn: seen });
    const now = { [b.id]: model.shard("b").version };
    model.grant({ ...give, decidedOn: now });
    expect(model.reasonOf({ ...take, slots: [range(10)], decidedOn: now })).toStartWith(stale.slice(0, 40));
  });

  test("are not released where nobody owns them, or while they are being moved", () => {
    const model = TopologyModel.of("ab");
    model.assign("a", range(0, 9));
    expect(model.reasonOf({ type: "release-slots", slots: [range(8, 10)] })).toBe("ERR Slot 10 is already unassigned");
    model.grant(model.migrate("m", "a", "b", range(4, 5)));
    for (const request of [
      { type: "release-slots", slots: [range(0, 4)] },
      { type: "flush-slots", node: idOf("a") },
    ] as const) {
      expect(model.reasonOf(request)).toBe("ERR slot 4 is being moved by migration m");
    }
  });

  test("of a primary are flushed together; a node without any has nothing to flush", () => {
    const model = TopologyModel.of("ab");
    model.assign("a", range(0, 9), range(20));
    model.follow("a", "b");
    for (const letter of ["b", "x"]) {
      expect(model.decide({ type: "flush-slots", node: idOf(letter) })).toEqual({ records: [], outcome: ["OK"] });
    }
    model.grant({ type: "flush-slots", node: idOf("a") });
    expect(model.shard("a").slots).toEqual([]);
  });
});

describe("epochs", () => {
  test("bump-epoch gives the highest one, and says so if it is had already", () => {
    const model = TopologyModel.of("ab");
    const bump = (letter: string): readonly string[] => model.grant({ type: "bump-epoch", node: idOf(letter) });
    expect([bump("a"), bump("a"), bump("b"), bump("a")]).toEqual([
      ["BUMPED 1"],
      ["STILL 1"],
      ["BUMPED 2"],
      ["BUMPED 3"],
    ]);
    expect(model.reasonOf({ type: "bump-epoch", node: idOf("x") })).toBe(`ERR Unknown node ${idOf("x")}`);
  });

  test("set-epoch is for a primary that is alone and has none", () => {
    const model = TopologyModel.of("a");
    const set = { type: "set-epoch", node: idOf("a"), epoch: 7 } as const;
    expect(model.reasonOf({ ...set, node: idOf("x") })).toBe("ERR Please use SET-CONFIG-EPOCH only with masters.");
    model.grant(set);
    expect(model.shard("a").primaryEpoch).toBe(7);
    expect(model.reasonOf(set)).toBe("ERR Node config epoch is already non-zero");
    expect(TopologyModel.of("ab").reasonOf(set)).toBe(
      "ERR The user can assign a config epoch only when the node does not know any other node.",
    );
  });
});

test("a request that nobody knows is rejected: it may come from a node of a later version", () => {
  const model = TopologyModel.of("a");
  const unknown = { type: "of-a-later-version" } as unknown as TopologyRequest;
  const reason = "ERR this version of bunch knows no such request";
  expect(model.reasonOf(unknown)).toBe(reason);
  expect(model.reasonOf({ type: "all", requests: [{ type: "bump-epoch", node: idOf("a") }, unknown] })).toBe(reason);
});

describe("members of shards", () => {
  const add = (
    model: TopologyModel,
    primary: string,
    node: string,
  ): Extract<TopologyRequest, { type: "add-replica" }> => {
    const { id, version } = model.shard(primary);
    return { type: "add-replica", shard: id, shardVersion: version, node: idOf(node) };
  };

  test("add-replica takes a node from the shard where it was", () => {
    const model = TopologyModel.of("abc");
    model.grant(add(model, "a", "c"));
    expect(model.shard("a")).toMatchObject({ replicas: [idOf("c")], inSync: [idOf("a")] });
    expect(model.state.shards.size).toBe(2);
    model.grant(add(model, "b", "c"));
    expect(model.shard("a").replicas).toEqual([]);
    expect(model.shard("b").replicas).toEqual([idOf("c")]);
  });

  test("add-replica is refused for strangers, witnesses, members, and primaries that have something", () => {
    const model = TopologyModel.of("abc");
    model.grant({ type: "register-node", node: nodeRecord("w", { role: "witness" }) });
    const reason = (node: string): string | undefined => model.reasonOf(add(model, "a", node));
    expect(reason("x")).toBe(`ERR Unknown node ${idOf("x")}`);
    expect(reason("w")).toBe("ERR node w is a witness: it holds no data");
    expect(reason("a")).toBe("ERR node a is in that shard already");
    model.assign("b", range(1));
    expect(reason("b")).toBe("ERR To set a master the node must be empty and without assigned slots.");
    model.grant(model.migrate("m", "b", "c", range(1)));
    expect(reason("c")).toBe("ERR migration m moves slots to node c");
    model.grant({ type: "abort-migration", id: "m" });
    model.grant({ type: "release-slots", slots: [range(1)] });
    model.grant(add(model, "b", "c"));
    expect(reason("b")).toBe("ERR To set a master the node must be empty and without assigned slots.");
  });

  test("add-replica that was decided on the shard which gives the node up is refused if that has changed since", () => {
    const model = TopologyModel.of("abcd");
    for (const replica of "cd") model.follow("a", replica);
    const { id, version } = model.shard("a");
    const move = { ...add(model, "b", "c"), decidedOn: { [id]: version } };
    model.grant({ type: "remove-replica", shard: id, shardVersion: version, node: idOf("d") });
    expect(model.reasonOf(move)).toStartWith("ERR stale: shard ");
    model.grant({ ...move, decidedOn: { [id]: model.shard("a").version } });
    expect(model.shard("b").replicas).toEqual([idOf("c")]);
  });

  test("place-replica makes a node that holds nothing a replica: of the shard that needs it most, or of one that is named", () => {
    const model = TopologyModel.of("abcdefg");
    model.assign("a", range(0, 9));
    model.assign("b", range(10, 19));
    const place = (node: string, of: string): TopologyRequest => ({ type: "place-replica", node: idOf(node), of });
    model.grant(place("c", "auto"));
    model.grant(place("d", "auto"));
    expect([model.shard("a").replicas, model.shard("b").replicas]).toEqual([[idOf("c")], [idOf("d")]]);
    // Asked again it has happened: it does not go on to another one.
    model.grant(place("e", "auto"));
    expect(model.decide(place("e", "auto"))).toEqual({ records: [], outcome: ["OK"] });
    expect(model.shard("a").replicas).toEqual([idOf("c"), idOf("e")]);
    // By the shard's id, by the id of a node of it, by the name of one: who is its primary may change.
    model.grant(place("f", model.shard("b").id));
    model.grant(place("g", "d"));
    expect(model.shard("b").replicas).toEqual([idOf("d"), idOf("f"), idOf("g")]);
  });

  test("place-replica is refused where there is no such shard, and for nodes that have something", () => {
    const model = TopologyModel.of("ab");
    const place = (node: string, of: string): TopologyRequest => ({ type: "place-replica", node: idOf(node), of });
    expect(model.reasonOf(place("b", "auto"))).toBe("ERR there is no shard with slots that it could be a replica of");
    model.assign("a", range(0, 9));
    expect(model.reasonOf(place("b", "x"))).toBe('ERR no shard has the id "x", and no node that id or name');
    expect(model.reasonOf(place("c", "auto"))).toBe(`ERR Unknown node ${idOf("c")}`);
    expect(model.reasonOf(place("b", "b"))).toBe("ERR node b is in this node's own shard");
    expect(model.reasonOf(place("a", "b"))).toBe(
      "ERR To set a master the node must be empty and without assigned slots.",
    );
    model.grant({ type: "register-node", node: nodeRecord("c") });
    expect(model.reasonOf(place("c", "b"))).toBe("ERR the shard of b has no slots yet");
    model.grant({ type: "register-node", node: nodeRecord("w", { role: "witness" }) });
    expect(model.reasonOf(place("w", "auto"))).toBe("ERR node w is a witness: it holds no data");
    expect(model.reasonOf(place("b", "w"))).toBe("ERR node w is in no shard");
  });

  test("place-replica by name is granted for a shard without slots where those get some by themselves, but not if it was emptied", () => {
    const model = TopologyModel.of("abcd");
    const place = (node: string, of: string): TopologyRequest => ({ type: "place-replica", node: idOf(node), of });
    model.assign("a", range(0, 9));
    model.assign("b", range(10));
    model.grant({ type: "release-slots", slots: [range(10)] });
    model.grant({ type: "change-setting", name: "auto-rebalance", value: "keys" });
    expect(model.reasonOf(place("d", "b"))).toBe("ERR the shard of b has no slots yet");
    model.grant(place("d", "c"));
    expect(model.shard("c").replicas).toEqual([idOf("d")]);
    expect(model.reasonOf(place("c", "auto"))).not.toBe("");
  });

  test("remove-replica leaves the node with a shard of its own", () => {
    const model = TopologyModel.of("ab");
    model.follow("a", "b");
    const { id, version } = model.shard("a");
    const request = { type: "remove-replica", shard: id, shardVersion: version, node: idOf("b") } as const;
    expect(model.reasonOf({ ...request, node: idOf("a") })).toBe(`ERR node ${idOf("a")} is no replica there`);
    model.grant(request);
    expect(model.shard("a")).toMatchObject({ replicas: [], inSync: [idOf("a")] });
    expect(model.shard("b")).toMatchObject({ primary: idOf("b"), slots: [] });
  });

  test("a node that leaves the shard it began does not take that shard's place", () => {
    const model = TopologyModel.of("ab");
    model.assign("a", range(0, 9));
    model.follow("a", "b");
    const { id } = model.shard("a");
    model.grant({ type: "promote", shard: id, shardVersion: model.shard("a").version, node: idOf("b") });
    model.grant({ type: "remove-replica", shard: id, shardVersion: model.shard("b").version, node: idOf("a") });
    expect(model.shard("b")).toMatchObject({ id, primary: idOf("b"), slots: [range(0, 9)] });
    expect(model.shard("a")).toMatchObject({ primary: idOf("a"), slots: [] });
  });

  test("change-in-sync takes members of the shard, each in one set, the primary in sync", () => {
    const model = TopologyModel.of("abc");
    model.follow("a", "b");
    const [a, b, c] = [idOf("a"), idOf("b"), idOf("c")];
    const { id, version } = model.shard("a");
    const change = (inSync: readonly string[], eligible: readonly string[]): TopologyRequest => ({
      type: "change-in-sync",
      shard: id,
      shardVersion: version,
      inSync,
      eligible,
    });
    for (const [inSync, eligible] of [
      [[b], []],
      [[], []],
      [[a, b], [b]],
      [[a, a], []],
      [[a, c], []],
      [[a], [c]],
    ] as const) {
      expect(model.reasonOf(change(inSync, eligible)), `${inSync.length} ${eligible.length}`).toBe(
        "ERR the sets hold members of the shard, each once, and the primary is in sync",
      );
    }
    model.grant(change([a], []));
    expect(model.shard("a")).toMatchObject({ inSync: [a], eligible: [] });
  });

  /** A shard of a with replicas b, c and d, all in sync. @param minInSync The setting. */
  function shardOfFour(minInSync: number): {
    readonly model: TopologyModel;
    readonly change: (inSync: string, eligible?: string) => TopologyRequest;
  } {
    const model = TopologyModel.of("abcd");
    model.assign("a", range(0, 9));
    for (const replica of "bcd") model.follow("a", replica);
    model.grant({ type: "change-setting", name: "min-in-sync", value: String(minInSync) });
    const change = (inSync: string, eligible = ""): TopologyRequest => {
      const { id, version } = model.shard("a");
      const idsOf = (letters: string): readonly string[] => letters.split("").map(idOf);
      return {
        type: "change-in-sync",
        shard: id,
        shardVersion: version,
        inSync: idsOf(inSync),
        eligible: idsOf(eligible),
      };
    };
    return { model, change };
  }

  test("only who leaves the in-sync set, and so brings it below its minimum, becomes eligible", () => {
    const { model, change } = shardOfFour(2);
    const no = (letter: string): string =>
      `ERR node ${idOf(letter)} does not hold every acknowledged write, or will not for long`;
    // Three are left, which acknowledge without d.
    expect(model.reasonOf(change("abc", "d"))).toBe(no("d"));
    model.grant(change("ab"));
    // c left while two were left.
    expect(model.reasonOf(change("a", "bc"))).toBe(no("c"));
    model.grant(change("a", "b"));
    expect(model.shard("a").eligible).toEqual([idOf("b")]);
    // Whoever is eligible stays so, or not; nobody else comes in.
    expect(model.reasonOf(change("a", "bd"))).toBe(no("d"));
    expect(model.reasonOf(change("a", "b"))).toBeUndefined();
    model.grant(change("a"));
    expect(model.reasonOf(change("a", "b"))).toBe(no("b"));
    // With a minimum of one the set is never below it.
    const alone = shardOfFour(1);
    alone.model.grant(alone.change("ab"));
    expect(alone.model.reasonOf(alone.change("a", "b"))).toBe(no("b"));
  });

  test("who is brought back to its minimum has nobody eligible: what is acknowledged from then on they lack", () => {
    const grown = shardOfFour(2);
    grown.model.grant(grown.change("ab"));
    grown.model.grant(grown.change("a", "b"));
    // c caught up, and acknowledges with a.
    grown.model.grant(grown.change("ac", "b"));
    expect(grown.model.shard("a")).toMatchObject({ inSync: [idOf("a"), idOf("c")], eligible: [] });
    const { id, version } = grown.model.shard("a");
    expect(grown.model.reasonOf({ type: "promote", shard: id, shardVersion: version, node: idOf("b") })).toContain(
      "neither in sync nor eligible",
    );

    const lowered = shardOfFour(3);
    lowered.model.grant(lowered.change("ab", "cd"));
    const { version: before } = lowered.model.shard("a");
    lowered.model.grant({ type: "change-setting", name: "acks", value: "in-sync" });
    expect(lowered.model.shard("a").eligible).toHaveLength(2);
    lowered.model.grant({ type: "change-setting", name: "min-in-sync", value: "2" });
    expect(lowered.model.shard("a")).toMatchObject({ inSync: [idOf("a"), idOf("b")], eligible: [] });
    expect(lowered.model.shard("a").version).toBeGreaterThan(before);

    // A primary that has lost its data brings nothing to its minimum: who is eligible is all that is left.
    const lost = shardOfFour(2);
    lost.model.grant(lost.change("ab"));
    lost.model.grant(lost.change("a", "b"));
    lost.model.grant({ type: "register-node", node: nodeRecord("a", { start: "a-start-2" }) });
    lost.model.grant({ type: "change-setting", name: "min-in-sync", value: "1" });
    expect(lost.model.shard("a")).toMatchObject({ inSync: [idOf("a")], eligible: [idOf("b")] });

    // A set that is smaller still keeps them, and one that grows by too few.
    const small = shardOfFour(4);
    small.model.grant(small.change("a", "bcd"));
    small.model.grant(small.change("ab", "cd"));
    small.model.grant({ type: "change-setting", name: "min-in-sync", value: "3" });
    expect(small.model.shard("a").eligible).toEqual([idOf("c"), idOf("d")]);
  });

  test("another start of a replica is in no set, and what was decided with the earlier one in mind is stale", () => {
    const { model, change } = shardOfFour(4);
    model.grant(change("abc", "d"));
    for (const letter of "cd") {
      model.grant({ type: "register-node", node: nodeRecord(letter, { start: `${letter}-start-2` }) });
    }
    expect(model.shard("a")).toMatchObject({ inSync: [idOf("a"), idOf("b")], eligible: [] });
    // It had caught up; before the word of that is there it starts again, although it was in no set.
    const caughtUp = change("abc");
    model.grant({ type: "register-node", node: nodeRecord("c", { start: "c-start-3" }) });
    expect(model.reasonOf(caughtUp)).toStartWith("ERR stale: ");
    // The same start from elsewhere is what it was.
    model.grant({ type: "register-node", node: nodeRecord("b", { start: "b-start-1", port: 9000 }) });
    expect(model.shard("a").inSync).toEqual([idOf("a"), idOf("b")]);
  });

  test("another start of a primary is not taken for the one that had the data: it waits for a replica to take over", () => {
    const { model, change } = shardOfFour(3);
    model.grant(change("ab", "c"));
    const { primaryIncarnation } = model.shard("a");
    model.grant({ type: "register-node", node: nodeRecord("a", { start: "a-start-2" }) });
    const { incarnation } = model.state.nodes.get(idOf("a")) ?? { incarnation: 0 };
    expect(incarnation).toBeGreaterThan(primaryIncarnation);
    expect(model.shard("a")).toMatchObject({ primary: idOf("a"), primaryIncarnation, inSync: [idOf("a"), idOf("b")] });
    // It knows of nobody who has caught up, and nobody who holds the data goes.
    expect(model.reasonOf(change("abd", "c"))).toBe(
      `ERR the primary of shard ${model.shard("a").id} has restarted and lost its data: promote another member`,
    );
    const { id, version } = model.shard("a");
    const at = { shard: id, shardVersion: version } as const;
    model.grant({ type: "register-node", node: nodeRecord("e") });
    const other = model.shard("e");
    for (const node of ["b", "c"]) {
      for (const request of [
        { type: "remove-replica", ...at, node: idOf(node) },
        { type: "remove-node", node: idOf(node), by: idOf("d") },
        { type: "add-replica", shard: other.id, shardVersion: other.version, node: idOf(node) },
      ] as const) {
        expect(model.reasonOf(request), request.type).toBe(
          `ERR node ${idOf(node)} holds the data of shard ${id}, which its primary has lost: promote it first`,
        );
      }
    }
    expect(model.reasonOf({ type: "remove-replica", ...at, node: idOf("d") })).toBeUndefined();
    model.grant({ type: "promote", ...at, node: idOf("b") });
    expect(model.shard("b")).toMatchObject({
      primary: idOf("b"),
      primaryIncarnation: model.state.nodes.get(idOf("b"))?.incarnation,
      inSync: [idOf("b")],
      eligible: [idOf("c")],
    });
  });

  test("another start of a primary that was in sync alone has lost the data, and the shard waits for a person", () => {
    const { model, change } = shardOfFour(3);
    model.grant(change("a", ""));
    const { primaryEpoch, primaryIncarnation } = model.shard("a");
    model.grant({ type: "register-node", node: nodeRecord("a", { start: "a-start-2" }) });
    expect(model.shard("a")).toMatchObject({ primary: idOf("a"), primaryEpoch, primaryIncarnation });
    expect(model.state.nodes.get(idOf("a"))?.incarnation).not.toBe(primaryIncarnation);
  });

  test("another start of a primary that had neither slots nor keys of others has lost nothing, and begins anew with those that follow it", () => {
    const model = TopologyModel.of("abc");
    model.assign("a", range(0, 9));
    model.follow("b", "c");
    const { primaryEpoch } = model.shard("b");
    model.grant({ type: "register-node", node: nodeRecord("b", { start: "b-start-2" }) });
    const { incarnation } = model.state.nodes.get(idOf("b")) ?? {};
    expect(model.shard("b")).toMatchObject({ primaryIncarnation: incarnation, inSync: [idOf("b")], eligible: [] });
    expect(model.shard("b").primaryEpoch).toBeGreaterThan(primaryEpoch);
    // A move to it goes on, from the beginning.
    model.grant(model.migrate("m", "a", "b", range(0)));
    const [source, target] = [model.shard("a"), model.shard("b")];
    const epochs = { sourceEpoch: source.primaryEpoch, targetEpoch: target.primaryEpoch };
    model.grant({ type: "fence-migration", id: "m", ...epochs });
    // With keys of a slot that is moved key by key it is another matter.
    const taker = TopologyModel.of("abc");
    taker.assign("a", range(0, 9));
    taker.follow("b", "c");
    taker.grant({ type: "mark-slot", slot: 3, node: idOf("b"), mark: "importing", peer: idOf("a") });
    const before = taker.shard("b").primaryIncarnation;
    taker.grant({ type: "register-node", node: nodeRecord("b", { start: "b-start-2" }) });
    expect(taker.shard("b").primaryIncarnation).toBe(before);
    expect(taker.shard("b").inSync).toContain(idOf("c"));
  });

  test("a primary without replicas begins again with what it has, in another epoch, as its log begins anew; and a shard of the founding list has lost nothing", () => {
    const model = TopologyModel.of("a");
    model.assign("a", range(0, 9));
    const { primaryEpoch } = model.shard("a");
    model.grant({ type: "register-node", node: nodeRecord("a", { start: "a-start-2" }) });
    expect(model.shard("a").primaryIncarnation).toBe(model.state.version);
    expect(model.shard("a").primaryEpoch).toBeGreaterThan(primaryEpoch);
    expect(model.state.nodes.get(idOf("a"))?.incarnation).toBe(model.state.version);
    // Nobody was ever admitted: with a replica or not, the first start is the one that begins.
    const listed = shardOfFour(1).model;
    const nodes = [...listed.state.nodes].map(([id, node]) => [id, { ...node, start: "", incarnation: 0 }] as const);
    const shards = [...listed.state.shards].map(([id, shard]) => [id, { ...shard, primaryIncarnation: 0 }] as const);
    listed.state = { ...listed.state, nodes: new Map(nodes), shards: new Map(shards) };
    for (const letter of "ab") listed.grant({ type: "register-node", node: nodeRecord(letter) });
    expect(listed.shard("a")).toMatchObject({
      primaryIncarnation: listed.state.nodes.get(idOf("a"))?.incarnation,
      inSync: ["a", "b", "c", "d"].map(idOf),
    });
  });

  test("promote takes a member that has everything, drops the old primary from the sets, and grows the epoch", () => {
    const model = TopologyModel.of("abcd");
    model.assign("a", range(0, 9));
    model.assign("d", range(10));
    for (const replica of ["b", "c"]) model.follow("a", replica, replica === "b");
    const { id, version } = model.shard("a");
    const promote = (node: string): TopologyRequest => ({
      type: "promote",
      shard: id,
      shardVersion: version,
      node: idOf(node),
    });
    for (const node of ["a", "c", "d", "x"]) {
      expect(model.reasonOf(promote(node)), node).toBe(
        `ERR node ${idOf(node)} is neither in sync nor eligible in that shard`,
      );
    }
    model.grant(promote("b"));
    expect(model.shard("b")).toMatchObject({
      primary: idOf("b"),
      replicas: [idOf("c"), idOf("a")],
      inSync: [idOf("b")],
      eligible: [],
      primaryEpoch: 3,
      slots: [range(0, 9)],
    });
    // Nobody serves the slots before the old primary knows.
    expect(model.state.releases).toEqual([
      { node: idOf("a"), incarnation: 1, version: model.state.version, slots: [range(0, 9)] },
    ]);
  });

  test("an eligible member can be promoted too", () => {
    const model = TopologyModel.of("ab");
    model.follow("a", "b");
    model.grant({ type: "change-setting", name: "min-in-sync", value: "2" });
    const { id, version } = model.shard("a");
    model.grant({
      type: "change-in-sync",
      shard: id,
      shardVersion: version,
      inSync: [idOf("a")],
      eligible: [idOf("b")],
    });
    model.grant({ type: "promote", shard: id, shardVersion: model.shard("a").version, node: idOf("b") });
    expect(model.shard("b")).toMatchObject({ primary: idOf("b"), inSync: [idOf("b")], eligible: [] });
  });

  test("what was decided on another version of the shard is refused as stale", () => {
    const model = TopologyModel.of("abc");
    model.follow("a", "b");
    const { id: shard, version } = model.shard("a");
    const [a, b, c] = [idOf("a"), idOf("b"), idOf("c")];
    for (const shardVersion of [version - 1, version + 1]) {
      for (const request of [
        { type: "add-replica", shard, shardVersion, node: c },
        { type: "remove-replica", shard, shardVersion, node: b },
        { type: "change-in-sync", shard, shardVersion, inSync: [a], eligible: [] },
        { type: "promote", shard, shardVersion, node: b },
      ] as const) {
        expect(model.reasonOf(request), request.type).toBe(
          `ERR stale: shard ${shard} is at version ${version}, and this was decided on ${shardVersion}`,
        );
        expect(model.reasonOf({ ...request, shard: "x" })).toBe("ERR there is no shard x");
        expect(model.reasonOf({ ...request, shardVersion: version }), request.type).toBeUndefined();
      }
    }
  });
});

describe("migrations", () => {
  const epochsOf = (model: TopologyModel): { sourceEpoch: number; targetEpoch: number } => ({
    sourceEpoch: model.shard("a").primaryEpoch,
    targetEpoch: model.shard("b").primaryEpoch,
  });
  /** Slots 5 of a's 0 to 9 are on their way to b. @returns The fence's version. */
  const fence = (model: TopologyModel): number => {
    model.grant({ type: "fence-migration", id: "m", ...epochsOf(model) });
    return model.state.version;
  };
  const started = (more: { readonly awaitsWord?: true } = {}): TopologyModel => {
    const model = TopologyModel.of("ab");
    model.assign("a", range(0, 9));
    model.grant({ ...model.migrate("m", "a", "b", range(5, 6), range(4)), ...more });
    return model;
  };

  test("go from started over fenced to completed, which moves the slots", () => {
    const model = started();
    const [source, target] = [model.shard("a").id, model.shard("b").id];
    const record = { id: "m", source, target, slots: [range(4, 6)], isPaused: false, cause: "a test", startedAtMs: 1 };
    expect([...model.state.migrations.values()]).toEqual([record]);
    expect(model.reasonOf({ type: "complete-migration", id: "m", fence: 0 })).toBe("ERR migration m is not fenced yet");
    const version = fence(model);
    expect([...model.state.migrations.values()]).toEqual([{ ...record, fence: { version, ...epochsOf(model) } }]);
    expect(model.reasonOf({ type: "fence-migration", id: "m", ...epochsOf(model) })).toBe(
      "ERR migration m is fenced already",
    );
    const versions = [model.shard("a").version, model.shard("b").version];
    model.grant({ type: "complete-migration", id: "m", fence: version });
    expect([model.shard("a").slots, model.shard("b").slots]).toEqual([[range(0, 3), range(7, 9)], [range(4, 6)]]);
    expect([model.shard("a").version, model.shard("b").version]).toEqual([model.state.version, model.state.version]);
    expect(versions).not.toContain(model.state.version);
    expect(model.state.migrations.size).toBe(0);
    // The source's primary asked for it, and serves the slots no more since the fence.
    expect(model.state.releases).toEqual([]);
  });

  test("are fenced by the primaries of the day alone", () => {
    const model = started();
    const { sourceEpoch, targetEpoch } = epochsOf(model);
    for (const stale of [
      { sourceEpoch: sourceEpoch - 1, targetEpoch },
      { sourceEpoch, targetEpoch: targetEpoch + 1 },
    ]) {
      expect(model.reasonOf({ type: "fence-migration", id: "m", ...stale })).toStartWith(
        "ERR stale: the shards' primaries are in epochs",
      );
    }
  });

  test("are completed for the fence that there is alone, and while the primaries lead that it was made by", () => {
    for (const changed of ["a", "b"]) {
      const model = started();
      // Who has the highest epoch already keeps it.
      model.grant({ type: "bump-epoch", node: idOf(changed === "a" ? "b" : "a") });
      const first = fence(model);
      model.grant({ type: "unfence-migration", id: "m", fence: first });
      expect(model.state.migrations.get("m")?.fence).toBeUndefined();
      const second = fence(model);
      for (const type of ["complete-migration", "unfence-migration"] as const) {
        expect(model.reasonOf({ type, id: "m", fence: first })).toBe("ERR stale: migration m does not have that fence");
      }
      model.grant({ type: "bump-epoch", node: idOf(changed) });
      expect(model.reasonOf({ type: "complete-migration", id: "m", fence: second })).toStartWith(
        "ERR stale: the shards' primaries are in epochs",
      );
      model.grant({ type: "unfence-migration", id: "m", fence: second });
      model.grant({ type: "complete-migration", id: "m", fence: fence(model) });
      expect(model.shard("b").slots).toEqual([range(4, 6)]);
    }
  });

  test("are not completed, nor fenced, for a primary that has started anew: it leads in the same epoch until another takes over", () => {
    for (const letter of ["a", "b"]) {
      const model = started();
      model.grant({ type: "register-node", node: nodeRecord("r") });
      model.assign(letter, range(letter === "a" ? 200 : 300));
      model.follow(letter, "r");
      const version = fence(model);
      const epochs = epochsOf(model);
      model.grant({ type: "register-node", node: nodeRecord(letter, { start: "another" }) });
      expect(epochsOf(model)).toEqual(epochs);
      const why = new RegExp(`the primary of shard ${model.shard(letter).id} has restarted without its data$`);
      expect(model.reasonOf({ type: "complete-migration", id: "m", fence: version })).toMatch(why);
      model.grant({ type: "unfence-migration", id: "m", fence: version });
      expect(model.reasonOf({ type: "fence-migration", id: "m", ...epochs })).toMatch(why);
    }
  });

  test("are fenced anew for a target that has started anew and had no slots: it has lost what had come, and begins in another epoch", () => {
    const model = started();
    model.grant({ type: "register-node", node: nodeRecord("r") });
    model.follow("b", "r");
    const version = fence(model);
    model.grant({ type: "register-node", node: nodeRecord("b", { start: "another" }) });
    expect(model.reasonOf({ type: "complete-migration", id: "m", fence: version })).toStartWith("ERR stale: ");
    model.grant({ type: "unfence-migration", id: "m", fence: version });
    model.grant({ type: "complete-migration", id: "m", fence: fence(model) });
    expect(model.shard("b").slots).toEqual([range(4, 6)]);
  });

  test("are paused and go on; a fence ends with that", () => {
    const model = started();
    const version = fence(model);
    model.grant({ type: "pause-migration", id: "m", isPaused: true });
    expect(model.state.migrations.get("m")).toMatchObject({ isPaused: true });
    expect(model.state.migrations.get("m")?.fence).toBeUndefined();
    expect(model.reasonOf({ type: "fence-migration", id: "m", ...epochsOf(model) })).toBe("ERR migration m is paused");
    expect(model.reasonOf({ type: "complete-migration", id: "m", fence: version })).toBe(
      "ERR migration m is not fenced yet",
    );
    expect(model.ask({ type: "pause-migration", id: "m", isPaused: true })).toEqual({ records: [], outcome: ["OK"] });
    model.grant({ type: "pause-migration", id: "m", isPaused: false });
    expect(fence(model)).toBeGreaterThan(version);
  });

  test("that await a word are not fenced before it has come; it is said once", () => {
    const model = started({ awaitsWord: true });
    expect(model.state.migrations.get("m")?.awaitsWord).toBe(true);
    expect(model.reasonOf({ type: "fence-migration", id: "m", ...epochsOf(model) })).toBe(
      "ERR migration m waits for the word to be completed",
    );
    model.grant({ type: "allow-completion", id: "m" });
    expect(model.state.migrations.get("m")).not.toHaveProperty("awaitsWord");
    expect(model.ask({ type: "allow-completion", id: "m" })).toEqual({ records: [], outcome: ["OK"] });
    model.grant({ type: "complete-migration", id: "m", fence: fence(model) });
    expect(model.shard("b").slots).toEqual([range(4, 6)]);
  });

  test("are aborted, fenced or not, and leave the slots where they were", () => {
    for (const isFenced of [false, true]) {
      const model = started();
      if (isFenced) fence(model);
      expect(model.ask({ type: "abort-migration", id: "m" })).toMatchObject({
        records: [{ type: "migration-aborted", id: "m", ...epochsOf(model) }],
      });
      expect(model.shard("a").slots).toEqual([range(0, 9)]);
      expect(model.state.migrations.size).toBe(0);
    }
  });

  test("that there are not can not go on", () => {
    for (const request of [
      { type: "fence-migration", sourceEpoch: 1, targetEpoch: 1 },
      { type: "unfence-migration", fence: 1 },
      { type: "complete-migration", fence: 1 },
      { type: "abort-migration" },
      { type: "pause-migration", isPaused: true },
    ] as const) {
      expect(TopologyModel.of("a").reasonOf({ ...request, id: "m" })).toBe("ERR there is no migration m");
    }
  });

  test("are refused for slots that are not the source's or moving already, and for shards that are not what they were", () => {
    const model = TopologyModel.of("abc");
    model.assign("a", range(0, 9));
    const start = model.migrate("m", "a", "b", range(8, 9));
    if (start.type !== "start-migration") throw new Error("it starts");
    expect(model.reasonOf({ ...start, source: "x" })).toBe("ERR there is no such shard");
    expect(model.reasonOf({ ...start, target: "x" })).toBe("ERR there is no such shard");
    expect(model.reasonOf({ ...start, target: start.source, targetVersion: start.sourceVersion })).toBe(
      "ERR slots move from one shard to another",
    );
    expect(model.reasonOf({ ...start, slots: [range(9, 10)] })).toBe("ERR slot 10 is not one of the source's");
    for (const stale of [
      { ...start, sourceVersion: start.sourceVersion - 1 },
      { ...start, targetVersion: start.targetVersion + 1 },
    ]) {
      expect(model.reasonOf(stale)).toStartWith("ERR stale: the shards are at versions");
    }
    model.grant(start);
    expect(model.reasonOf(model.migrate("m", "a", "c", range(0)))).toBe("ERR there is a migration m already");
    expect(model.reasonOf(model.migrate("n", "a", "c", range(0, 8)))).toBe("ERR slot 8 is being moved by migration m");
    model.grant(model.migrate("n", "a", "c", range(0, 7)));
  });
});

describe("change-setting", () => {
  test("takes the settings that there are, with values that they take", () => {
    const model = TopologyModel.of("a");
    for (const [name, good, bad] of [
      ["min-in-sync", "2", "0"],
      ["acks", "primary", "all"],
      ["on-loss", "accept", "yes"],
      ["replica-migration", "no", ""],
      ["partition-policy", "allow-reads", "deny "],
      ["auto-rebalance", "load", "yes"],
      ["auto-rebalance-weights", "a=2,node-b=0.5,c=0", "a=2,"],
      ["auto-rebalance-weights", "none", ""],
      ["feature-level", String(NEWEST_VERSION), String(NEWEST_VERSION + 1)],
      ["feature-level", "1", "0"],
    ] as const) {
      model.grant({ type: "change-setting", name, value: good });
      expect(model.state.settings.get(name)).toBe(good);
      expect(model.reasonOf({ type: "change-setting", name, value: bad })).toStartWith(
        `ERR cluster setting "${name}" wants `,
      );
    }
    expect(model.reasonOf({ type: "change-setting", name: "auto-rebalance-weights", value: "a=1,b=0,a=2" })).toBe(
      'ERR cluster setting "auto-rebalance-weights" has more than one weight for a',
    );
    expect(model.reasonOf({ type: "change-setting", name: "x".repeat(1000), value: "1" })).toBe(
      `ERR there is no cluster setting "${"x".repeat(64)}"; there are min-in-sync, acks, on-loss, replica-migration, partition-policy, auto-rebalance, auto-rebalance-weights, feature-level`,
    );
  });
});

describe("all", () => {
  test("decides each on what the ones before came to, and answers for each", () => {
    const model = TopologyModel.of("ab");
    const outcome = model.grant({
      type: "all",
      requests: [
        { type: "assign-slots", node: idOf("a"), slots: [range(0, 9)] },
        { type: "assign-slots", node: idOf("b"), slots: [range(10)] },
        { type: "bump-epoch", node: idOf("a") },
        { type: "all", requests: [{ type: "release-slots", slots: [range(9, 10)] }] },
      ],
    });
    expect(outcome).toEqual(["OK", "OK", "BUMPED 3", "OK"]);
    expect([model.shard("a").slots, model.shard("b").slots]).toEqual([[range(0, 8)], []]);
    // One act is one version.
    expect(model.state.version).toBe(3);
  });

  test("does nothing if one of them is rejected, and says why", () => {
    const model = TopologyModel.of("ab");
    const { state } = model;
    expect(
      model.ask({
        type: "all",
        requests: [
          { type: "assign-slots", node: idOf("a"), slots: [range(0, 9)] },
          { type: "assign-slots", node: idOf("b"), slots: [range(9)] },
        ],
      }),
    ).toEqual({ rejection: "ERR Slot 9 is already busy" });
    expect(model.state).toBe(state);
  });

  test("takes the versions of shards from before it: several requests may be about one shard", () => {
    const model = TopologyModel.of("ab");
    const { id: shard, version: shardVersion } = model.shard("a");
    const requests = [
      { type: "add-replica", shard, shardVersion, node: idOf("b") },
      { type: "change-in-sync", shard, shardVersion, inSync: [idOf("a"), idOf("b")], eligible: [] },
      { type: "promote", shard, shardVersion, node: idOf("b") },
    ] as const;
    model.grant({ type: "all", requests });
    expect(model.shard("b")).toMatchObject({ primary: idOf("b"), replicas: [idOf("a")], version: 3 });
    expect(model.reasonOf({ type: "all", requests })).toStartWith("ERR stale");
  });

  test("of nothing is granted", () => {
    expect(TopologyModel.of("a").decide({ type: "all", requests: [] })).toEqual({ records: [], outcome: [] });
  });
});
