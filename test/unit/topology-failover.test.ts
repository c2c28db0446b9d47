/** Records that end a primary's role by the leader's word about leases: what is decided, and what it makes of the map. */
import { describe, expect, test } from "bun:test";
import { TopologyModel, idOf, nodeRecord, range } from "../support/topology-model.ts";

const TERM = 7;

/** `a` leads a shard with slots; `b` is in sync, `c` is not. */
function shardOfThree(): TopologyModel {
  const model = TopologyModel.of("abc");
  model.assign("a", range(0, 99));
  model.follow("a", "b");
  model.follow("a", "c", false);
  return model;
}

describe("a promotion by the leader, which knows that the lease is over", () => {
  const promotion = (model: TopologyModel, leaderTerm?: number) => {
    const { id: shard, version: shardVersion } = model.shard("a");
    const request = { type: "promote", shard, shardVersion, node: idOf("b") } as const;
    return leaderTerm === undefined ? request : { ...request, leaderTerm };
  };

  test("has nobody wait for the former primary's word, of the slots that it lost before neither", () => {
    const model = shardOfThree();
    model.grant({ type: "release-slots", slots: [range(50, 99)] });
    expect(model.state.releases).toHaveLength(1);
    model.grantIn(TERM, promotion(model, TERM));
    expect(model.state.releases).toEqual([]);
    expect(model.shard("b")).toMatchObject({ primary: idOf("b"), inSync: [idOf("b")], slots: [range(0, 49)] });
  });

  test("leaves what others have lost", () => {
    const model = shardOfThree();
    model.grant({ type: "register-node", node: nodeRecord("d") });
    model.assign("d", range(100, 199));
    model.grant({ type: "release-slots", slots: [range(100, 199)] });
    model.grantIn(TERM, promotion(model, TERM));
    expect(model.state.releases.map(({ node }) => node)).toEqual([idOf("d")]);
  });

  test("is rejected by the leader of another term, which may have granted a lease since", () => {
    const model = shardOfThree();
    for (const term of [TERM - 1, TERM + 1, undefined]) {
      const decision = model.decide(promotion(model, TERM), term);
      expect("rejection" in decision ? decision.rejection : "").toBe(
        `ERR stale: the leader of term ${TERM} decided it, and leases may have been granted since`,
      );
      // Within others, too.
      expect("rejection" in model.decide({ type: "all", requests: [promotion(model, TERM)] }, term)).toBe(true);
    }
    expect("rejection" in model.decide({ type: "all", requests: [promotion(model, TERM)] }, TERM)).toBe(false);
  });

  test("by anybody else waits for the former primary's word, in any term", () => {
    const model = shardOfThree();
    model.grantIn(TERM + 1, promotion(model));
    expect(model.state.releases).toMatchObject([{ node: idOf("a"), slots: [range(0, 99)] }]);
  });
});

test("a primary that is kept has another version of its shard, so that no promotion of before happens (SAFETY 13)", () => {
  const model = shardOfThree();
  const before = model.shard("a");
  const promotion = { type: "promote", shard: before.id, shardVersion: before.version, node: idOf("b") } as const;
  model.grant({ type: "keep-primary", shard: before.id, shardVersion: before.version });
  const { version, ...same } = model.shard("a");
  expect(version).toBeGreaterThan(before.version);
  expect(same).toEqual(
    Object.fromEntries(Object.entries(before).filter(([name]) => name !== "version")) as typeof same,
  );
  expect(model.reasonOf(promotion)).toStartWith("ERR stale: ");
  expect(model.reasonOf({ type: "keep-primary", shard: before.id, shardVersion: before.version })).toStartWith(
    "ERR stale: ",
  );
});

describe("a loss that is accepted", () => {
  const acceptance = (model: TopologyModel, letter: string) => {
    const { id: shard, version: shardVersion } = model.shard("a");
    return { type: "accept-loss", shard, shardVersion, node: idOf(letter), leaderTerm: TERM } as const;
  };

  test("makes a member the primary that was in no set, alone in sync, in another epoch", () => {
    const model = shardOfThree();
    const { primaryEpoch } = model.shard("a");
    model.grantIn(TERM, acceptance(model, "c"));
    expect(model.shard("c")).toMatchObject({
      primary: idOf("c"),
      primaryEpoch: primaryEpoch + 1,
      inSync: [idOf("c")],
      eligible: [],
      replicas: [idOf("b"), idOf("a")],
    });
    expect(model.state.releases).toEqual([]);
  });

  test("lets a primary begin again that has restarted with nothing, and not one that holds the data", () => {
    const model = shardOfThree();
    const holds = model.decide(acceptance(model, "a"), TERM);
    expect("rejection" in holds ? holds.rejection : "").toContain("and holds its data");
    model.grant({ type: "register-node", node: nodeRecord("a", { start: "a-start-2" }) });
    model.grantIn(TERM, acceptance(model, "a"));
    const { incarnation } = model.state.nodes.get(idOf("a")) ?? { incarnation: 0 };
    expect(model.shard("a")).toMatchObject({
      primary: idOf("a"),
      primaryIncarnation: incarnation,
      inSync: [idOf("a")],
    });
    expect(model.shard("a").replicas).toEqual([idOf("b"), idOf("c")]);
  });

  test("is rejected for strangers, and by the leader of another term", () => {
    const model = TopologyModel.of("abcd");
    model.follow("a", "b");
    const stranger = model.decide({ ...acceptance(model, "d") }, TERM);
    expect("rejection" in stranger ? stranger.rejection : "").toContain("is no member of shard");
    expect("rejection" in model.decide(acceptance(model, "b"), TERM + 1)).toBe(true);
    expect("rejection" in model.decide(acceptance(model, "b"), TERM)).toBe(false);
  });
});
