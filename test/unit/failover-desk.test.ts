/** What a leader does for leases and failovers, told by hand. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import type { RequestOutcome } from "../../src/contracts/consensus.ts";
import type { ClusterMap, NodeId, ShardRecord, TopologyRequest } from "../../src/contracts/topology.ts";
import { Desk, type Suspicion } from "../../src/failover/desk.ts";
import { imageOf } from "../../src/protocol/topology/state.ts";
import type { Beat, LeaseMessage } from "../../src/protocol/failover/types.ts";
import { TopologyModel, idOf, range } from "../support/topology-model.ts";

const OPTIONS = { leaseMs: 1000, renewMs: 200, marginPercent: 2 };
const [A, B, C] = ["a", "b", "c"].map(idOf) as [NodeId, NodeId, NodeId];
const SILENT = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

/** A leader of a map in which `a` has slots, and `b` and `c` are in sync with it. */
class World {
  readonly model = TopologyModel.of("abc");
  nowMs = 100_000;
  confirmedAtMs: number | undefined = 100_000;
  map: ClusterMap;
  readonly suspicions = new Map<NodeId, Suspicion>();
  readonly sent: [NodeId, LeaseMessage][] = [];
  readonly asked: { request: TopologyRequest; settle: (outcome: RequestOutcome<readonly string[]>) => void }[] = [];
  readonly desk: Desk;
  #sequence = 0;
  /** The last beat of each node that was answered. */
  readonly #answered = new Map<NodeId, number>();

  constructor(predecessorHeardAgoMs?: number) {
    this.model.assign("a", range(0, 16_383));
    this.model.follow("a", "b");
    this.model.follow("a", "c");
    this.map = imageOf(this.model.state, undefined);
    this.desk = new Desk(this.#host(), OPTIONS, { sinceMs: this.nowMs, predecessorHeardAgoMs });
  }

  #host(): ConstructorParameters<typeof Desk>[0] {
    // oxlint-disable-next-line typescript/no-this-alias -- the getter is called on the host.
    const world = this;
    return {
      get map() {
        return world.map;
      },
      term: 7,
      log: SILENT,
      nowMs: () => world.nowMs,
      confirmedAtMs: () => world.confirmedAtMs,
      node: (id) => world.model.state.nodes.get(id),
      suspicionOf: (id) => world.suspicions.get(id),
      send: (to, message) => void world.sent.push([to, message]),
      request: (request) =>
        new Promise((settle) => {
          world.asked.push({ request, settle });
        }),
    };
  }

  get shard(): ShardRecord {
    return this.model.shard("a");
  }

  beat(id: NodeId, changes: Partial<Beat> = {}): LeaseMessage | undefined {
    this.#sequence += 1;
    const node = present(this.model.state.nodes.get(id), "a node beats");
    return this.desk.hear(id, {
      sequence: this.#sequence,
      incarnation: node.incarnation,
      mapVersion: this.map.version,
      leaseMs: 1000,
      wantsLease: this.shard.primary === id,
      answered: this.#answered.get(id) ?? 0,
      position: { epoch: 1, sequence: 5 },
      lagMs: 0,
      brokenLinks: [],
      surrender: undefined,
      ...changes,
    });
  }

  /** Asks for a lease. @returns For how long it is granted. */
  grant(id: NodeId, changes: Partial<Beat> = {}): number {
    const answer = this.beat(id, changes);
    if (answer?.type !== "answer") return -1;
    if (changes.answered === undefined) this.#answered.set(id, answer.sequence);
    return answer.grantMs;
  }

  /** Time passes, in beats of all nodes but some; the leader is confirmed, and looks. */
  pass(ms: number, ...silent: readonly NodeId[]): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs;) {
      this.nowMs += 50;
      this.confirmedAtMs = this.nowMs;
      if (this.nowMs % 200 === 0) for (const id of [A, B, C]) if (!silent.includes(id)) this.grant(id);
      this.desk.look();
    }
  }

  /** Carries out what was asked for last. */
  async settle(): Promise<void> {
    const { request, settle } = present(this.asked.shift(), "something was asked for");
    const { state } = this.model;
    this.model.grantIn(7, request);
    this.map = imageOf(this.model.state, this.map);
    settle({ type: "done", index: state.version + 1, outcome: ["OK"] });
    await Promise.resolve();
  }
}

describe("a leader that has just begun", () => {
  test("waits one lease from when the one before it was heard last, and no longer", () => {
    const world = new World(700);
    const floorMs = 100_000 - 700 + 1020;
    world.suspicions.set(A, { sinceMs: 100_000, words: "its link broke" });
    for (; world.nowMs < floorMs; world.nowMs += 5) {
      world.beat(B);
      world.beat(C);
      world.desk.look();
      expect(world.asked).toEqual([]);
      expect(world.desk.reasons.get(world.shard.id)).toEndWith(`for another ${Math.ceil(floorMs - world.nowMs)} ms`);
    }
    world.desk.look();
    expect(world.asked.map(({ request }) => request)).toEqual([
      { type: "promote", shard: world.shard.id, shardVersion: world.shard.version, node: B, leaderTerm: 7 },
    ]);
  });

  test("waits for nothing where nobody led before it", () => {
    const world = new World();
    world.suspicions.set(A, { sinceMs: 100_000, words: "its link broke" });
    world.beat(B);
    world.beat(C);
    world.desk.look();
    expect(world.asked).toHaveLength(1);
  });

  test("gives a primary that nothing speaks against the time to find it", () => {
    const world = new World(5000);
    world.pass(550, A);
    expect(world.asked).toEqual([]);
    world.pass(100, A);
    expect(world.asked).toHaveLength(1);
  });
});

describe("a primary", () => {
  test("that renews its lease is not replaced, whatever others say", () => {
    const world = new World();
    expect(world.grant(A)).toBe(1000);
    for (let step = 0; step < 50; step += 1) {
      world.suspicions.set(A, { sinceMs: world.nowMs, words: "down: nobody hears it" });
      world.pass(200);
      expect(world.asked).toEqual([]);
    }
  });

  test("that misses a beat, or is suspected, or is being replaced, is looked at more often", () => {
    const world = new World();
    world.grant(A);
    expect(world.desk.isCalm).toBe(true);
    world.pass(350, A);
    expect(world.desk.isCalm).toBe(true);
    world.pass(50, A);
    expect(world.desk.isCalm).toBe(false);
    world.pass(200);
    expect(world.desk.isCalm).toBe(true);
    world.suspicions.set(A, { sinceMs: world.nowMs, words: "down: nobody hears it" });
    world.desk.look();
    expect(world.desk.isCalm).toBe(false);
    world.suspicions.clear();
    world.desk.look();
    expect(world.desk.isCalm).toBe(true);
    expect(world.desk.wish({ type: "force", shard: world.shard.id, to: B }, "a test")).toBeUndefined();
    expect(world.desk.isCalm).toBe(false);
  });

  test("that was suspected and is heard again is not replaced, even if its lease has run out meanwhile", () => {
    const world = new World();
    world.grant(A);
    // The leader was not confirmed for longer than a lease: it granted none.
    world.suspicions.set(A, { sinceMs: 100_100, words: "suspect" });
    for (world.nowMs = 100_200; world.nowMs < 102_000; world.nowMs += 200) {
      expect(world.grant(A)).toBe(Math.max(0, 101_000 - world.nowMs));
      world.beat(B);
      world.beat(C);
      world.desk.look();
    }
    expect(world.desk.promisedUntilMs(A)).toBeLessThan(world.nowMs);
    expect(world.asked).toEqual([]);
  });

  test("is granted nothing from the moment on at which another is being chosen, until that is settled", async () => {
    const world = new World();
    world.grant(A);
    world.pass(1100, A);
    expect(world.asked).toHaveLength(1);
    expect(world.grant(A)).toBe(0);
    world.pass(1000);
    expect(world.grant(A)).toBe(0);
    expect(world.asked).toHaveLength(1);
    // It did not happen: whatever the reason was, the primary is there.
    present(world.asked.shift(), "it was asked").settle({ type: "rejected", reason: "ERR stale" });
    await Promise.resolve();
    await Promise.resolve();
    expect(world.grant(A)).toBe(1000);
  });

  test("that nobody knows whether it was replaced is granted nothing any more by this leader", async () => {
    const world = new World();
    world.grant(A);
    world.pass(1100, A);
    present(world.asked.shift(), "it was asked").settle({ type: "unknown", reason: "it leads no more" });
    await Promise.resolve();
    await Promise.resolve();
    expect(world.grant(A)).toBe(0);
    world.pass(2000);
    expect(world.asked).toEqual([]);
  });

  test("that took over is granted a lease once it knows that it did", async () => {
    const world = new World();
    world.grant(A);
    // As a replica it asked for no lease, and no answer came for long.
    world.pass(5000);
    world.pass(1100, A);
    await world.settle();
    expect(world.shard.primary).toBe(B);
    expect(world.map.releases).toEqual([]);
    expect(world.grant(B)).toBe(1000);
    expect(world.grant(B, { mapVersion: world.map.version - 1 })).toBe(0);
    // The one before it asks as it did.
    expect(world.grant(A, { wantsLease: true, mapVersion: world.map.version - 1 })).toBe(0);
  });

  test("that is promoted has its lease together with the word of it, which counts from its last beat", async () => {
    const world = new World();
    world.grant(A);
    world.beat(A, { wantsLease: false, surrender: { to: B, shardVersion: world.shard.version } });
    world.beat(B, { sequence: 1000 });
    world.beat(A, { sequence: 1001, wantsLease: false, surrender: { to: B, shardVersion: world.shard.version } });
    world.nowMs += 150;
    world.sent.length = 0;
    await world.settle();
    await Promise.resolve();
    expect(world.sent).toEqual([[B, { type: "answer", sequence: 1000, grantMs: 1000, reason: "" }]]);
    // By its own clock it ends 1000 ms after the beat left; this leader takes it to last longer, by the margin.
    expect(world.desk.promisedUntilMs(B)).toBeCloseTo(world.nowMs - 150 + 1020, 6);
  });

  test("that is promoted, and has had something taken from it since, must know that before it has a lease", async () => {
    const world = new World();
    world.grant(A);
    world.beat(B);
    world.beat(A, { wantsLease: false, surrender: { to: B, shardVersion: world.shard.version } });
    const { request, settle } = present(world.asked.shift(), "it was asked");
    world.model.grantIn(7, request);
    const { version } = world.model.state;
    world.model.grant({ type: "release-slots", slots: [range(0, 99)] });
    world.map = imageOf(world.model.state, world.map);
    settle({ type: "done", index: version, outcome: ["OK"] });
    for (let turn = 0; turn < 4; turn += 1) await Promise.resolve();
    expect(world.sent.filter(([, { type }]) => type === "answer")).toEqual([]);
    expect(world.grant(B, { mapVersion: version })).toBe(0);
    expect(world.grant(B)).toBe(1000);
  });

  test("that does not hear the answers to its beats is given up after two leases' time", () => {
    const world = new World();
    expect(world.grant(A)).toBe(1000);
    let lastGrantAtMs = 0;
    for (; world.asked.length === 0 && world.nowMs < 110_000; world.nowMs += 50) {
      world.confirmedAtMs = world.nowMs;
      if (world.nowMs % 200 === 0) {
        if (world.grant(A, { answered: 0 }) > 0) lastGrantAtMs = world.nowMs;
        world.beat(B);
        world.beat(C);
      }
      world.desk.look();
    }
    expect(lastGrantAtMs).toBe(102_000);
    // It stays heard, and is told so: two leases after the first refusal it is replaced.
    expect(world.nowMs).toBeLessThan(104_500);
    expect(world.asked[0]?.request).toMatchObject({ type: "promote" });
  });
});

test("word of a link that broke before, which comes after newer word, counts for nothing", () => {
  const world = new World();
  world.beat(A, { sequence: 10, wantsLease: false, surrender: { to: B, shardVersion: world.shard.version } });
  expect(world.desk.promisedUntilMs(A)).toBe(Number.NEGATIVE_INFINITY);
  expect(world.beat(A, { sequence: 9, wantsLease: true })).toBeUndefined();
  expect(world.desk.promisedUntilMs(A)).toBe(Number.NEGATIVE_INFINITY);
});

test("a surrender of an earlier version of the shard, of which word comes late, ends no lease that another leader may have granted since", () => {
  const world = new World(0);
  const { id: shard, version: shardVersion } = world.shard;
  // The one that it was: it was kept, serves again, and has a lease of the leader before this one.
  world.model.grant({ type: "keep-primary", shard, shardVersion });
  world.map = imageOf(world.model.state, world.map);
  world.beat(A, { wantsLease: false, surrender: { to: B, shardVersion } });
  expect(world.desk.promisedUntilMs(A)).toBe(100_000 + 1020);
});

describe("slots that were taken from a node", () => {
  test("are waited for though its lease is over: a machine that was suspended takes it to run on, and a shard without replicas writes by itself (SAFETY 11)", () => {
    const world = new World();
    expect(world.grant(A)).toBe(1000);
    const before = world.map.version;
    world.model.grant({ type: "release-slots", slots: [range(0, 99)] });
    world.map = imageOf(world.model.state, world.map);
    for (; world.nowMs < 104_000; world.nowMs += 50) {
      world.confirmedAtMs = world.nowMs;
      // It gets no other before it knows.
      expect(world.grant(A, { mapVersion: before })).toBe(0);
      world.desk.look();
    }
    expect(world.asked.filter(({ request }) => request.type === "acknowledge-releases")).toEqual([]);
  });

  test("are acknowledged by the node itself, if it is there", () => {
    const world = new World();
    world.grant(A);
    world.model.grant({ type: "release-slots", slots: [range(0, 99)] });
    world.map = imageOf(world.model.state, world.map);
    world.pass(3000);
    expect(world.asked).toEqual([]);
  });
});
