/** What the leader makes of nodes that come from clusters of their own, of a map that is sealed for that, and of another node at a node's address. */
import { describe, expect, test } from "bun:test";
import type { SealRecord, SlotRange, TopologyRequest } from "../../src/contracts/topology.ts";
import { TopologyModel, idOf, nodeRecord, range, shardIdOf } from "../support/topology-model.ts";

const [A, B, X] = [idOf("a"), idOf("b"), idOf("x")];

function merge(letter: string, ...slots: readonly SlotRange[]): TopologyRequest {
  return { type: "merge-node", node: nodeRecord(letter), slots };
}

describe("merge-node", () => {
  test("takes a node in with its slots, in a shard of its own with an epoch of its own", () => {
    const model = TopologyModel.of("ab");
    model.assign("a", range(0, 99));
    model.grant(merge("x", range(100, 199), range(300)));
    expect(model.shard("x")).toMatchObject({
      id: shardIdOf(X),
      primary: X,
      slots: [range(100, 199), range(300)],
      primaryEpoch: model.shard("a").primaryEpoch + 1,
    });
    expect(model.state.nodes.get(X)).toMatchObject({ name: "x", incarnation: model.state.version });
  });

  test("takes a node in without slots, and a witness without a shard", () => {
    const model = TopologyModel.of("a");
    model.grant(merge("x"));
    expect(model.shard("x")).toMatchObject({ slots: [], primaryEpoch: 0 });
    model.grant({ type: "merge-node", node: nodeRecord("w", { role: "witness" }), slots: [] });
    expect(model.state.nodes.has(idOf("w"))).toBe(true);
    expect(model.state.shards.size).toBe(2);
  });

  test("refuses all if one slot is another's, and says whose it is", () => {
    const model = TopologyModel.of("ab");
    model.assign("b", range(150, 160));
    const { state } = model;
    expect(model.reasonOf(merge("x", range(100, 150)))).toBe(
      "ERR slot 150 is owned by node b here, and by node x, which would bring it",
    );
    expect(model.ask(merge("x", range(100, 150)))).toHaveProperty("rejection");
    expect(model.state).toBe(state);
  });

  test("refuses slots that are none", () => {
    const model = TopologyModel.of("a");
    for (const bad of [range(-1, 5), range(5, 4), range(0, 16_384), range(0.5, 1)]) {
      expect(model.reasonOf(merge("x", bad))).toBe("ERR Invalid or out of range slot");
    }
  });

  test("of a node that came already changes nothing; with more than it has here it is refused", () => {
    const model = TopologyModel.of("a");
    model.grant(merge("x", range(1, 9)));
    expect(model.decide(merge("x", range(1, 9)))).toEqual({ records: [], outcome: ["OK"] });
    expect(model.decide(merge("x", range(2, 3)))).toEqual({ records: [], outcome: ["OK"] });
    expect(model.reasonOf(merge("x", range(1, 10)))).toBe(
      "ERR node x is in this cluster already, with other slots than it brings",
    );
  });

  test("brings back a node that was taken out: somebody has said that it shall meet this cluster", () => {
    const model = TopologyModel.of("ax");
    model.grant({ type: "remove-node", node: X, by: A });
    expect(model.reasonOf({ type: "register-node", node: nodeRecord("x") })).toContain("was removed from the cluster");
    model.grant(merge("x", range(7)));
    expect(model.state.tombstones.size).toBe(0);
    expect(model.shard("x").slots).toEqual([range(7)]);
  });

  test("leaves the tombstone of a node that it refuses", () => {
    const model = TopologyModel.of("ax");
    model.assign("a", range(7));
    model.grant({ type: "remove-node", node: X, by: A });
    expect(model.ask(merge("x", range(7)))).toHaveProperty("rejection");
    expect([...model.state.tombstones.keys()]).toEqual([X]);
  });

  test("does not take the address of a node that is there", () => {
    const model = TopologyModel.of("a");
    const { port } = nodeRecord("a");
    expect(model.reasonOf({ type: "merge-node", node: nodeRecord("x", { port }), slots: [] })).toBe(
      `ERR node a has the address 127.0.0.1:${port} already`,
    );
  });
});

const SEAL: SealRecord = { joinId: "1".repeat(40), clusterId: "2".repeat(40), host: "10.0.0.9", port: 17_000 };
const SEALED = `ERR this node is about to be part of cluster ${SEAL.clusterId} (by way of 10.0.0.9, port 17000): nothing changes until that is settled (if that cluster is gone for good: CLUSTER ABANDONJOIN)`;

/** A cluster of one node with slots, sealed. */
function sealed(): TopologyModel {
  const model = TopologyModel.of("a");
  model.assign("a", range(0, 99));
  model.grant({ type: "seal", seal: SEAL });
  return model;
}

describe("seal", () => {
  test("is of a cluster of one node alone", () => {
    expect(sealed().state.seal).toEqual(SEAL);
    expect(TopologyModel.of("ab").reasonOf({ type: "seal", seal: SEAL })).toBe(
      "ERR only a cluster of one node becomes part of another",
    );
  });

  test("keeps everything from changing, another seal included", () => {
    const model = sealed();
    const { id, version: shardVersion } = model.shard("a");
    const requests: readonly TopologyRequest[] = [
      { type: "register-node", node: nodeRecord("b") },
      merge("b"),
      { type: "remove-node", node: A, by: B },
      { type: "seal", seal: SEAL },
      { type: "seal", seal: { ...SEAL, joinId: "3".repeat(40) } },
      { type: "assign-slots", node: A, slots: [range(200)] },
      { type: "release-slots", slots: [range(5)] },
      { type: "flush-slots", node: A },
      { type: "bump-epoch", node: A },
      { type: "set-epoch", node: A, epoch: 9 },
      { type: "lift-tombstone", node: B },
      { type: "add-replica", shard: id, shardVersion, node: B },
      { type: "change-in-sync", shard: id, shardVersion, inSync: [A], eligible: [] },
      { type: "change-setting", name: "acks", value: "primary" },
      { type: "all", requests: [{ type: "bump-epoch", node: A }] },
    ];
    for (const request of requests) expect(model.reasonOf(request), request.type).toBe(SEALED);
  });

  test("lets its node start again, and say what it knows to have lost", () => {
    const model = TopologyModel.of("a");
    model.assign("a", range(0, 99));
    model.grant({ type: "release-slots", slots: [range(5)] });
    const { version } = model.state;
    model.grant({ type: "seal", seal: SEAL });
    model.grant({ type: "acknowledge-releases", node: A, version });
    expect(model.state.releases).toEqual([]);
    model.grant({ type: "register-node", node: nodeRecord("a", { start: "a-start-2" }) });
    expect(model.state.nodes.get(A)?.start).toBe("a-start-2");
    expect(model.state.seal).toEqual(SEAL);
  });
});

describe("unseal", () => {
  test("is by the join that it was sealed for, and by no other", () => {
    const model = sealed();
    const other = "4".repeat(40);
    expect(model.reasonOf({ type: "unseal", joinId: other })).toBe(`ERR this node is not joining as ${other}`);
    model.grant({ type: "unseal", joinId: SEAL.joinId });
    expect(model.state.seal).toBeUndefined();
    expect(model.reasonOf({ type: "unseal", joinId: SEAL.joinId })).toBe(
      `ERR this node is not joining as ${SEAL.joinId}`,
    );
    model.grant({ type: "release-slots", slots: [range(5)] });
  });

  test("comes first in what is done together with it, and all is undone if the rest is refused", () => {
    const model = sealed();
    const again = { ...SEAL, joinId: "5".repeat(40) };
    const requests: readonly TopologyRequest[] = [
      { type: "unseal", joinId: SEAL.joinId },
      { type: "flush-slots", node: A },
      { type: "seal", seal: again },
    ];
    expect(model.ask({ type: "all", requests: [...requests, { type: "bump-epoch", node: A }] })).toHaveProperty(
      "rejection",
    );
    expect(model.state.seal).toEqual(SEAL);
    model.grant({ type: "all", requests });
    expect(model.state.seal).toEqual(again);
    expect(model.shard("a").slots).toEqual([]);
  });
});

describe("another node at a node's address", () => {
  const nameless = (letter: string, at = "a"): ReturnType<typeof nodeRecord> => {
    const { port, busPort } = nodeRecord(at);
    return nodeRecord(letter, { name: "", port, busPort });
  };
  const register = (node: ReturnType<typeof nodeRecord>): TopologyRequest => ({ type: "register-node", node });

  test("takes the place of one without a name and without slots, which is gone then", () => {
    const model = TopologyModel.of("b");
    model.grant(register(nameless("a")));
    model.grant(register(nameless("x")));
    expect([...model.state.nodes.keys()].toSorted()).toEqual([B, X]);
    expect([...model.state.tombstones.keys()]).toEqual([A]);
    expect(model.state.shards.size).toBe(2);
  });

  test("is refused where that one has a name, another bus port, or slots", () => {
    const named = TopologyModel.of("a");
    const { port } = nodeRecord("a");
    expect(named.reasonOf(register(nameless("x")))).toBe(`ERR node a has the address 127.0.0.1:${port} already`);

    const elsewhere = new TopologyModel();
    elsewhere.grant(register(nameless("a")));
    expect(elsewhere.reasonOf(register({ ...nameless("x"), busPort: 9 }))).toBe(
      `ERR node ${A} has the address 127.0.0.1:${port} already`,
    );
    expect(elsewhere.reasonOf(register({ ...nameless("x"), busHost: "elsewhere" }))).toBe(
      `ERR node ${A} has the address 127.0.0.1:${port} already`,
    );

    const owner = new TopologyModel();
    owner.grant(register(nameless("a")));
    owner.assign("a", range(0, 9));
    expect(owner.reasonOf(register(nameless("x")))).toStartWith(
      `ERR node ${A}, which was at 127.0.0.1:${port} before, owns slots, and has no name by which it could come back`,
    );
  });

  test("is none where a port is not known yet, or the host is another", () => {
    const model = TopologyModel.of("a");
    model.grant(register(nodeRecord("b", { port: 0 })));
    model.grant(register(nodeRecord("c", { port: 0 })));
    model.grant(register(nodeRecord("d", { port: nodeRecord("a").port, host: "elsewhere" })));
    expect(model.state.nodes.size).toBe(4);
  });
});
