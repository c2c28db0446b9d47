/** Leases: their machines, rule by rule; then whole nodes on virtual time. */
import { describe, expect, test } from "bun:test";
import { Fault } from "../../src/assert.ts";
import { LeaseGrants, floorOf, whyNoLease } from "../../src/protocol/failover/lease-grants.ts";
import { LeaseKeeper } from "../../src/protocol/failover/lease-keeper.ts";
import type { Beat, LeaseOptions } from "../../src/protocol/failover/types.ts";
import { FailoverWorld } from "../support/failover-world.ts";
import { makeNode } from "../support/make-map.ts";

const OPTIONS: LeaseOptions = { leaseMs: 1000, renewMs: 200, marginPercent: 2 };
const A = "a".repeat(40);

const beatOf = (changes: Partial<Beat> = {}): Beat => ({
  sequence: 1,
  incarnation: 5,
  mapVersion: 9,
  leaseMs: 1000,
  wantsLease: true,
  answered: 0,
  position: undefined,
  lagMs: 0,
  brokenLinks: [],
  surrender: undefined,
  ...changes,
});

describe("a leader grants a lease", () => {
  test("that counts from the beginning of the last round that a majority answered, not from the moment of the beat", () => {
    const grants = new LeaseGrants(OPTIONS, Number.NEGATIVE_INFINITY);
    expect(grants.grant(A, 5000, 4850)).toBe(850);
    expect(grants.grant(A, 5000, 5000)).toBe(1000);
    // A round that began later than the beat came gives it no more.
    expect(grants.grant(A, 5000, 5100)).toBe(1000);
  });

  test("of no time once its last round was answered a lease ago, and none before any was", () => {
    const grants = new LeaseGrants(OPTIONS, Number.NEGATIVE_INFINITY);
    expect(grants.grant(A, 5000, 4000)).toBe(0);
    expect(grants.grant(A, 5000, 1000)).toBe(0);
    expect(grants.grant(A, 5000, undefined)).toBe(0);
    expect(grants.promisedUntilMs(A)).toBe(Number.NEGATIVE_INFINITY);
  });

  test("and takes it to last longer, by the margin; a shorter one that follows takes nothing back", () => {
    const grants = new LeaseGrants(OPTIONS, Number.NEGATIVE_INFINITY);
    grants.grant(A, 5000, 5000);
    expect(grants.promisedUntilMs(A)).toBeCloseTo(6020, 6);
    grants.grant(A, 5100, 4200);
    expect(grants.promisedUntilMs(A)).toBeCloseTo(6020, 6);
  });

  test("and takes every primary to have one of a leader before it, until it knows better", () => {
    const floorMs = floorOf({ sinceMs: 10_000, predecessorHeardAgoMs: 700 }, OPTIONS);
    expect(floorMs).toBeCloseTo(10_320, 6);
    const grants = new LeaseGrants(OPTIONS, floorMs);
    expect(grants.promisedUntilMs(A)).toBe(floorMs);
    // Its own, shorter lease does not end the one that may be out.
    grants.grant(A, 10_000, 9200);
    expect(grants.promisedUntilMs(A)).toBe(floorMs);
    grants.surrendered(A);
    expect(grants.promisedUntilMs(A)).toBe(Number.NEGATIVE_INFINITY);
    expect(floorOf({ sinceMs: 10_000, predecessorHeardAgoMs: undefined }, OPTIONS)).toBe(Number.NEGATIVE_INFINITY);
  });
});

test("a leader refuses a lease to whoever does not know what was taken from it, and to whoever is no primary", () => {
  const node = makeNode({ id: A, name: "a", host: "h", port: 1, incarnation: 5 });
  const shard = {
    id: "5".repeat(40),
    primary: A,
    primaryIncarnation: 5,
    replicas: [],
    inSync: [A],
    eligible: [],
    slots: [],
    primaryEpoch: 1,
    version: 9,
  };
  expect(whyNoLease(node, shard, beatOf(), OPTIONS)).toBeUndefined();
  expect(whyNoLease(node, shard, beatOf({ mapVersion: 8 }), OPTIONS)).toBe(
    "its map is at version 8, and its shard has changed since, at 9",
  );
  expect(whyNoLease(node, shard, beatOf({ incarnation: 4 }), OPTIONS)).toBe("the map has another start of it");
  expect(whyNoLease(undefined, shard, beatOf(), OPTIONS)).toBe("the map has another start of it");
  expect(whyNoLease(node, undefined, beatOf(), OPTIONS)).toBe("it is not a primary");
  expect(whyNoLease(node, { ...shard, primary: "b".repeat(40) }, beatOf(), OPTIONS)).toBe("it is not a primary");
  expect(whyNoLease(node, { ...shard, primaryIncarnation: 4 }, beatOf(), OPTIONS)).toBe(
    "it has restarted without its shard's data",
  );
  expect(whyNoLease(node, shard, beatOf({ leaseMs: 2000 }), OPTIONS)).toContain("must be the same on all nodes");
});

describe("a primary's lease", () => {
  test("counts from the moment at which it asked, however late the answer comes", () => {
    const keeper = new LeaseKeeper();
    const sequence = keeper.sent("leader", 1000);
    expect(keeper.answered("leader", sequence, 900)).toBe(true);
    expect(keeper.endsAtMs).toBe(1900);
    // An answer that took longer than the lease gives nothing that is not over already.
    const slow = keeper.sent("leader", 1100);
    const later = keeper.sent("leader", 1500);
    expect(keeper.answered("leader", later, 900)).toBe(true);
    expect(keeper.answered("leader", slow, 900)).toBe(false);
    expect(keeper.endsAtMs).toBe(2400);
  });

  test("comes from whoever was asked, once for each time", () => {
    const keeper = new LeaseKeeper();
    const sequence = keeper.sent("leader", 1000);
    expect(keeper.answered("other", sequence, 900)).toBe(false);
    expect(keeper.answered("leader", sequence + 1, 900)).toBe(false);
    expect(keeper.answered("leader", sequence, 900)).toBe(true);
    expect(keeper.answered("leader", sequence, 5000)).toBe(false);
    expect(keeper.endsAtMs).toBe(1900);
    expect(keeper.answeredBy("leader")).toBe(sequence);
    expect(keeper.answeredBy("other")).toBe(0);
  });

  test("that was given up does not come back by an answer that was on its way", () => {
    const keeper = new LeaseKeeper();
    const before = keeper.sent("leader", 1000);
    keeper.surrender();
    expect(keeper.answered("leader", before, 1000)).toBe(false);
    expect(keeper.endsAtMs).toBe(Number.NEGATIVE_INFINITY);
    const after = keeper.sent("leader", 1100);
    expect(after).toBe(before + 1);
    expect(keeper.answered("leader", after, 1000)).toBe(true);
  });

  test("forgets beats that would give nothing any more", () => {
    const keeper = new LeaseKeeper();
    const first = keeper.sent("leader", 0);
    for (let at = 1; at <= 64; at += 1) keeper.sent("leader", at);
    expect(keeper.answered("leader", first, 1000)).toBe(false);
    expect(keeper.answered("leader", first + 1, 1000)).toBe(true);
  });
});

describe("nodes", () => {
  test("alone need no lease, and have one from the moment at which they are not alone", async () => {
    const world = new FailoverWorld({ count: 1 });
    await world.whole();
    expect(world.failover("a")).toMatchObject({ leaseState: "none", leaseEndsAtMs: Number.POSITIVE_INFINITY });
    expect(await world.run("a", "set key 1")).toBe("OK");
    // Another one joins: it serves on, under a lease that it grants itself.
    let isServed = true;
    world.simulation.check("it serves all the time", () => {
      isServed &&= !world.isUp("a") || world.node("a").replyGate.isLeased();
    });
    await world.join("j", "a");
    await world.until("a lease", () => world.failover("a").leaseState === "held");
    await world.simulation.runFor(3000);
    expect(isServed).toBe(true);
    expect(await world.run("a", "set key 2")).toBe("OK");
  });

  test("that are primaries have a lease all the time, and serve; that they had none before the first one worries nobody", async () => {
    const world = new FailoverWorld();
    await world.whole();
    await world.until("a lease", () => world.names.every((name) => world.isHeld(name)));
    const said = world.log.filter((line) => line.includes("failover: "));
    expect(said.join()).toContain("failover: no first lease yet");
    expect(said.filter((line) => line.includes(" warn "))).toEqual([]);
    world.simulation.check("leases are renewed", () => {
      for (const name of world.names) expect(world.isRunning(name)).toBe(true);
    });
    await world.simulation.runFor(10_000);
    expect(await world.run("a", "set key 1")).toBe("OK");
    expect(await world.run("a", "info failover")).toContain("lease_state:held");
  });
});

test.each(["process", "power"] as const)(
  "a primary whose leader is lost by %s is granted leases by the next one",
  async (kind) => {
    const world = new FailoverWorld();
    await world.whole();
    await world.simulation.runFor(1000);
    const old = world.leader;
    world.crash(old, kind);
    await world.until("another leader", () => world.maybeLeader !== undefined);
    await world.until(
      "leases",
      () => world.names.filter((name) => name !== old).every((name) => world.isRunning(name)),
      3000,
    );
  },
);

describe("a primary that is cut off", () => {
  for (const policy of ["deny", "allow-reads"]) {
    test(`serves ${policy === "deny" ? "nothing" : "reads alone"} when its lease is over, and says why (${policy})`, async () => {
      const world = new FailoverWorld();
      await world.whole();
      await world.change("a", { type: "change-setting", name: "partition-policy", value: policy });
      await world.until("a lease", () => world.isHeld("a"));
      expect(await world.run("a", "set key 1")).toBe("OK");
      expect(await world.run("a", "cluster info")).toContain("cluster_state:ok");
      const cut = world.simulation.isolate([world.hostOf("a")]);
      await world.until("no lease", () => !world.isHeld("a"), 1010);
      const refusal = await world.run("a", "set key 2");
      expect(refusal).toStartWith(
        "CLUSTERDOWN The cluster is down: this node has no lease, so another one may serve its slots (",
      );
      expect(await world.run("a", "get key")).toBe(policy === "deny" ? refusal : "1");
      expect(await world.run("a", "dbsize")).toBe(policy === "deny" ? refusal : "1");
      expect(await world.run("a", "flushall")).toBe(refusal);
      expect(await world.run("a", "ping")).toBe("PONG");
      // Long before the others, who own no slots, count as gone.
      expect(await world.run("a", "cluster info")).toContain("cluster_state:fail");
      expect(world.failover("a").leaseState).toBe(policy === "deny" ? "lapsed" : "stale-reads");
      expect(world.node("a").replyGate.isLeased()).toBe(policy !== "deny");
      cut.heal();
      await world.until("a lease", () => world.isHeld("a"));
      expect(await world.run("a", "get key")).toBe("1");
      expect(await world.run("a", "set key 3")).toBe("OK");
      expect(await world.run("a", "cluster info")).toContain("cluster_state:ok");
    });
  }
});

test("a primary at fault asks for no more leases, however long it takes to stop", async () => {
  const world = new FailoverWorld({ slots: { b: ["0-16383"] } });
  await world.whole();
  await world.until("a lease", () => world.isHeld("b"));
  const node = world.node("b");
  // It is asked to stop before failover is.
  node.hooks.stop.add("slow", () => new Promise(() => undefined), "post");
  node.hooks.statisticsReset.add("bad", () => {
    throw new Fault("two and two make five");
  });
  void node
    .connect()
    .execute("config", "resetstat")
    .catch(() => "closed");
  await world.until("no lease", () => !world.isHeld("b"), 1010);
  expect(node.state).toBe("stopping");
});

test("a primary that does not hear its leader, which hears it, has no lease, and is replaced", async () => {
  const world = new FailoverWorld({ slots: { b: ["0-16383"] } });
  await world.whole();
  expect(world.leader).toBe("a");
  await world.follow("a", "c");
  await world.until("a lease", () => world.isHeld("b"));
  world.simulation.cutOneWay([world.hostOf("a")], [world.hostOf("b")]);
  await world.until("no lease", () => !world.isHeld("b"), 1010);
  await world.until("another to serve", () => world.primary("a") !== "b" && world.isRunning(world.primary("a")), 8000);
});

test("a primary whose leaseMs is another than the leader's gets no lease, and says why", async () => {
  const settingsOf = (name: string) => ({ plugins: { failover: name === "b" ? { leaseMs: 2000 } : {} } });
  const world = new FailoverWorld({ settingsOf });
  await world.until("a lease", () => world.isHeld("c"));
  await world.simulation.runFor(3000);
  expect(world.failover("b").leaseState).toBe("lapsed");
  const warnings = world.log.filter((line) => line.includes("warn  failover: no lease: keys are not served"));
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toContain(world.hostOf("b"));
  expect(await world.run("b", "info failover")).toContain(
    "lease_refusal:its setting plugins.failover.leaseMs is 2000, and the leader's is 1000: it must be the same on all nodes",
  );
});
