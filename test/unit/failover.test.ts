/** Promotions: what is judged of a shard, rule by rule; then whole nodes on virtual time. */
import { describe, expect, test } from "bun:test";
import type { Config } from "../../src/config.ts";
import type { ShardRecord } from "../../src/contracts/topology.ts";
import {
  type Judgement,
  type MemberFacts,
  type ShardFacts,
  judgeShard,
} from "../../src/protocol/failover/judgement.ts";
import type { Place } from "../../src/protocol/topology/placement.ts";
import { FailoverWorld } from "../support/failover-world.ts";
import { localClient } from "../support/local-node.ts";

const SHARD: ShardRecord = {
  id: "5".repeat(40),
  primary: "a",
  primaryIncarnation: 1,
  replicas: ["b", "c"],
  inSync: ["a", "b"],
  eligible: [],
  slots: [{ first: 0, last: 16_383 }],
  primaryEpoch: 3,
  version: 9,
};

/** What is known of members, by a letter: alive with a position, expected, or gone. */
type Known = Readonly<Record<string, readonly [epoch: number, sequence: number] | "empty" | "expected" | "gone">>;

/** By default each is on a host of its own, in one zone. */
const apart = (name: string): Place => ({ busHost: name, zone: "" });

function judge(known: Known, facts: Partial<ShardFacts> = {}, placeOf = apart): Judgement {
  const member = (name: string): MemberFacts => {
    const state = known[name] ?? "gone";
    const position = typeof state === "string" ? undefined : { epoch: state[0], sequence: state[1] };
    return {
      name,
      isAlive: state !== "gone" && state !== "expected",
      isExpected: state === "expected",
      position,
      trouble: "not heard for 812 ms",
      place: placeOf(name),
    };
  };
  return judgeShard({
    nowMs: 5000,
    shard: SHARD,
    problem: "not heard for 812 ms",
    hasLostData: false,
    leaseEndsAtMs: 4999,
    surrenderedTo: undefined,
    forcedTo: undefined,
    acceptsLoss: false,
    member,
    ...facts,
  });
}

const reasonOf = (judgement: Judgement): string =>
  judgement.type === "wait" ? judgement.reason : judgement.type === "fine" ? "fine" : judgement.cause;

describe("a primary is replaced", () => {
  test("when something is wrong with it and its lease is over, by the member in sync with the best position", () => {
    const shard = { ...SHARD, replicas: ["b", "c", "d"], inSync: ["a", "b", "c", "d"] };
    expect(judge({ b: [3, 7], c: [3, 9], d: [2, 50] }, { shard })).toEqual({
      type: "promote",
      node: "c",
      cause: "primary a: not heard for 812 ms; its lease is over; c has the best position (3, 9)",
    });
    // Of equals the first.
    expect(judge({ b: [3, 9], c: [3, 9], d: [3, 9] }, { shard })).toMatchObject({ type: "promote", node: "b" });
    expect(judge({ b: [3, 9], d: [4, 1] }, { shard })).toMatchObject({ type: "promote", node: "d" });
  });

  test("of equals by one on another host, then in another zone: by the best position all the same", () => {
    const shard = { ...SHARD, replicas: ["b", "c", "d"], inSync: ["a", "b", "c", "d"] };
    const places: Readonly<Record<string, Place>> = {
      a: { busHost: "h1", zone: "x" },
      b: { busHost: "h1", zone: "x" },
      c: { busHost: "h2", zone: "x" },
      d: { busHost: "h3", zone: "y" },
    };
    const promoted = (known: Known): unknown => {
      const judgement = judge(known, { shard }, (name) => places[name] ?? apart(name));
      return judgement.type === "promote" ? judgement.node : judgement.type;
    };
    expect(promoted({ b: [3, 9], c: [3, 9], d: [3, 9] })).toBe("d");
    expect(promoted({ b: [3, 9], c: [3, 9], d: [3, 8] })).toBe("c");
    expect(promoted({ b: [3, 9], c: [3, 8], d: [3, 8] })).toBe("b");
  });

  test("not while nothing is wrong with it, whatever became of its lease", () => {
    expect(judge({ b: [3, 9] }, { problem: undefined })).toEqual({ type: "fine" });
  });

  test("not while its lease may run", () => {
    const judgement = judge({ b: [3, 9] }, { leaseEndsAtMs: 5319.5 });
    expect(reasonOf(judgement)).toBe("primary a: not heard for 812 ms; its lease may run for another 320 ms");
    // The same is waited for as time passes.
    const later = judge({ b: [3, 9] }, { leaseEndsAtMs: 5100 });
    expect(later.type === "wait" && judgement.type === "wait" && later.kind === judgement.kind).toBe(true);
    expect(judge({ b: [3, 9] }, { leaseEndsAtMs: 5000 })).toMatchObject({ type: "promote" });
  });

  test("not by a member that is neither in sync nor eligible, however far it has got", () => {
    expect(reasonOf(judge({ c: [9, 99] }))).toBe(
      `primary a: not heard for 812 ms; no member in sync or eligible is alive: b (in sync) not heard for 812 ms; CLUSTER ACCEPT-LOSS ${SHARD.id} goes on without`,
    );
  });

  test("by an eligible member, if nobody in sync is alive (SAFETY 4: it holds every acknowledged write)", () => {
    const shard = { ...SHARD, eligible: ["c"] };
    expect(judge({ c: [3, 2] }, { shard })).toMatchObject({ type: "promote", node: "c" });
    expect(judge({ b: [3, 1], c: [3, 2] }, { shard })).toMatchObject({ type: "promote", node: "b" });
    expect(reasonOf(judge({}, { shard }))).toContain(
      "b (in sync) not heard for 812 ms, c (eligible) not heard for 812 ms; CLUSTER ACCEPT-LOSS",
    );
  });

  test("after a new leader has waited for members that it may hear yet", () => {
    const shard = { ...SHARD, inSync: ["a", "b", "c"] };
    expect(reasonOf(judge({ b: [3, 1], c: "expected" }, { shard }))).toBe(
      "primary a: not heard for 812 ms; waits to hear of c",
    );
    expect(judge({ b: [3, 1], c: "gone" }, { shard })).toMatchObject({ type: "promote", node: "b" });
  });

  test("not by a member that contradicts itself: in sync, without a whole copy", () => {
    expect(reasonOf(judge({ b: "empty" }))).toEndWith("; b says that its copy is not whole");
    expect(judge({ b: "empty" }, { acceptsLoss: true }).type).toBe("wait");
  });

  test("by nobody, where it has no replica, and one says so; a shard without slots is nobody's loss", () => {
    const alone = { ...SHARD, replicas: [], inSync: ["a"] };
    expect(reasonOf(judge({}, { shard: alone }))).toBe("primary a: not heard for 812 ms; the shard has no replica");
    expect(judge({}, { shard: { ...alone, slots: [] } })).toEqual({ type: "fine" });
  });
});

describe("a primary that surrendered its lease (SAFETY 13)", () => {
  test("is followed by the replica that it handed over to, at once, whatever its lease was", () => {
    expect(judge({ a: [3, 9], b: [3, 9] }, { surrenderedTo: "b", leaseEndsAtMs: 9999, problem: undefined })).toEqual({
      type: "promote",
      node: "b",
      cause: "primary a handed over to b",
    });
  });

  test("is kept, by a record, if that one cannot take over", () => {
    expect(judge({ a: [3, 9] }, { surrenderedTo: "b" })).toEqual({
      type: "keep",
      cause: "primary a would hand over to b: not heard for 812 ms",
    });
    expect(judge({ a: [3, 9], c: [3, 9] }, { surrenderedTo: "c" })).toEqual({
      type: "keep",
      cause: "primary a would hand over to c, which is not in sync",
    });
    expect(judge({ a: [3, 9], b: "expected" }, { surrenderedTo: "b" })).toMatchObject({ type: "wait" });
  });
});

describe("CLUSTER FAILOVER FORCE", () => {
  const forced = { problem: "CLUSTER FAILOVER FORCE to b", forcedTo: "b" };
  const shard = { ...SHARD, inSync: ["a", "b", "c"] };

  test("waits for the lease, and promotes the replica that was named, not a better one", () => {
    expect(reasonOf(judge({ b: [3, 1], c: [3, 9] }, { ...forced, shard, leaseEndsAtMs: 5400 }))).toEndWith(
      "its lease may run for another 400 ms",
    );
    expect(judge({ b: [3, 1], c: [3, 9] }, { ...forced, shard })).toMatchObject({ type: "promote", node: "b" });
    expect(reasonOf(judge({ c: [3, 9] }, { ...forced, shard }))).toEndWith("; b is not able to take over");
  });
});

describe("a loss is accepted", () => {
  const accepts = { acceptsLoss: true };

  test("by the survivor with the best position", () => {
    const shard = { ...SHARD, replicas: ["b", "c", "d"] };
    expect(judge({ c: [3, 4], d: [3, 5] }, { ...accepts, shard })).toEqual({
      type: "accept-loss",
      node: "d",
      cause:
        "primary a: not heard for 812 ms; nobody is left who holds every acknowledged write, which is accepted; d has got to (3, 5)",
    });
  });

  test("not before a new leader has heard of all survivors that it may hear yet: one of them may have the most", () => {
    const shard = { ...SHARD, replicas: ["b", "c", "d"] };
    for (const known of [{ c: [3, 4] as const }, { a: "empty" as const }]) {
      const judgement = judge({ ...known, d: "expected" }, { ...accepts, shard, hasLostData: true });
      expect(reasonOf(judgement)).toEndWith("; waits to hear of d");
      expect(judgement.type).toBe("wait");
    }
  });

  test("by a primary that restarted with nothing, if nobody has more; by a replica with nothing, if that is not there", () => {
    const lost = { ...accepts, hasLostData: true };
    expect(judge({ a: "empty", c: "empty" }, lost)).toMatchObject({ type: "accept-loss", node: "a" });
    expect(judge({ a: "empty", c: [1, 1] }, lost)).toMatchObject({ type: "accept-loss", node: "c" });
    expect(judge({ c: "empty" }, lost)).toMatchObject({ type: "accept-loss", node: "c" });
  });

  test("not while a member that holds the data is alive, the primary among them", () => {
    expect(judge({ b: [3, 9], c: [3, 9] }, accepts)).toMatchObject({ type: "promote", node: "b" });
    expect(reasonOf(judge({ a: [3, 9], c: [3, 4] }, accepts))).toEndWith(
      "; it is alive, and nobody else has all of its data",
    );
    expect(judge({ a: [3, 9] }, { ...accepts, problem: undefined })).toEqual({ type: "fine" });
  });

  test("not before the lease is over, and not where no member is left", () => {
    expect(reasonOf(judge({ c: [3, 4] }, { ...accepts, leaseEndsAtMs: 5100 }))).toContain("its lease may run");
    expect(reasonOf(judge({}, accepts))).toContain("no member of shard");
    expect(reasonOf(judge({}, { ...accepts, shard: { ...SHARD, replicas: [], inSync: ["a"] } }))).toContain(
      "is alive: start one again",
    );
  });
});

/** A primary that is killed is replaced within this. */
const FAILOVER_MS = 1500;

describe("a primary that is lost", () => {
  for (const [what, owner, kind] of [
    ["killed, and does not lead", "b", "process"],
    ["killed together with the leader, which it is", "a", "process"],
    ["switched off, and does not lead", "b", "power"],
  ] as const) {
    test(`is replaced within 1.5 s: ${what}`, async () => {
      for (let seed = 1; seed <= 8; seed += 1) {
        const world = new FailoverWorld({ seed, slots: { [owner]: ["0-16383"] } });
        await world.whole();
        expect(world.leader).toBe("a");
        const others = world.names.filter((name) => name !== owner);
        await world.follow(...others);
        const [first, best] = others as [string, string];
        world.replication(first).position = { epoch: 1, sequence: 4 };
        world.replication(best).position = { epoch: 1, sequence: 5 };
        await world.simulation.runFor(1000 + seed * 37);
        world.crash(owner, kind);
        await world.until(
          "the other to serve",
          () => world.primary(best) === best && world.isRunning(best),
          FAILOVER_MS,
        );
        expect(await world.run(best, "set key 1")).toBe("OK");
        expect(world.shard(best).replicas).toHaveLength(2);
        // One record, with its cause; nobody waits for the dead one's word.
        expect(world.topology(best).map.releases).toEqual([]);
        const promotions = world
          .topology(best)
          .history.filter(({ changes }) => changes.some((each) => each.includes("promoted")));
        expect(promotions).toHaveLength(1);
        expect(promotions[0]?.cause).toMatch(/^primary . ?: .*; its lease is over; . has the best position \(1, 5\)$/);
      }
    });
  }

  test("out of sight, but not of its clients': what it cannot answer any more ends in closed connections, and not in silence", async () => {
    const world = new FailoverWorld({ slots: { b: ["0-16383"] }, isReal: true });
    await world.whole();
    await world.follow("a", "c");
    const { simulation } = world;
    await simulation.runFor(500);
    const writer = localClient(world.node("b"));
    const idle = localClient(world.node("b"));
    expect(await simulation.settle("a write", writer.run("set key old"), 1000)).toBe("OK");
    simulation.isolate([world.hostOf("b")]);
    const beganAtMs = simulation.nowMs;
    const end = writer.run("set key new").catch(() => "closed");
    expect(await simulation.settle("its end", end, 10_000)).toBe("closed");
    expect(simulation.nowMs - beganAtMs).toBeWithin(1200, 1800);
    expect(await simulation.settle("a refusal", idle.run("get key"), 1000)).toStartWith("CLUSTERDOWN");
    // By then the others have somebody to turn to.
    const successor = world.primary("c");
    expect(successor).not.toBe("b");
    expect(world.isRunning(successor)).toBe(true);
    expect(await world.run(successor, "get key")).toBe("old");
  });

  test("out of sight when it has just given its lease up refuses what it held, before long: nobody tells it that it may serve, or who does", async () => {
    const world = new FailoverWorld({ slots: { b: ["0-16383"] }, isReal: true });
    await world.whole();
    await world.follow("a", "c");
    const { simulation } = world;
    await simulation.runFor(500);
    const client = localClient(world.node("b"));
    const transaction = localClient(world.node("b"));
    for (const line of ["multi", "set key new"]) await simulation.settle(line, transaction.run(line), 1000);
    // The word that it has surrendered is lost.
    simulation.cutOneWay([world.hostOf("b")], [world.hostOf("a")]);
    expect(await world.run("c", "cluster failover")).toBe("OK");
    await world.until("b to surrender", () => world.failover("b").leaseState === "surrendered");
    simulation.isolate([world.hostOf("b")]);
    const beganAtMs = simulation.nowMs;
    const end = transaction.run("exec").catch(() => "closed");
    // Nor does the heir hold any more.
    await simulation.runFor(900);
    const read = client.run("get key");
    await simulation.runFor(300);
    expect(world.replicationOf("b").isHandingOver).toBe(true);
    expect(await simulation.settle("a refusal", read, 10_000)).toStartWith("CLUSTERDOWN");
    expect(await simulation.settle("its end", end, 1000)).toBe("closed");
    expect(simulation.nowMs - beganAtMs).toBeWithin(1400, 1900);
    expect(world.failover("b").leaseState).toBe("surrendered");
    // It hands over all the same, and serves nothing in the meantime.
    simulation.heal();
    await world.until("another to serve", () => world.primary("b") !== "b" && world.isRunning(world.primary("b")));
    expect(await world.run("b", "get key")).toStartWith("MOVED");
  });

  test("out of sight with a log that is full refuses as any other: nothing waits for room that nobody can make", async () => {
    const settingsOf = (): Config => ({ plugins: { replication: { ringBytes: "1mb" } } });
    const world = new FailoverWorld({ slots: { b: ["0-16383"] }, isReal: true, settingsOf });
    await world.whole();
    await world.follow("a", "c");
    const { simulation } = world;
    await simulation.runFor(500);
    simulation.isolate([world.hostOf("b")]);
    const write = async (value: string): Promise<string> =>
      await localClient(world.node("b"))
        .run(`set key ${value}`)
        .catch(() => "closed");
    const ends = [write("x".repeat(2 * 1024 * 1024))];
    await simulation.runFor(100);
    // This one is taken still.
    ends.push(write("y"));
    const refused = ["set key z", "get key"].map((line) => localClient(world.node("b")).run(line));
    await simulation.runFor(300);
    expect(world.isRunning("b")).toBe(true);
    for (const each of refused) {
      expect(await simulation.settle("a refusal", each, 10_000)).toStartWith("CLUSTERDOWN");
    }
    expect(await simulation.settle("their ends", Promise.all(ends), 1000)).toEqual(["closed", "closed"]);
  });

  test("out of sight, but not of its clients', whom it tells what it has: of what is kept whoever leads now, and of nothing else", async () => {
    const world = new FailoverWorld({ slots: { b: ["0-16383"] }, isReal: true });
    await world.whole();
    await world.follow("a", "c");
    await world.change("a", { type: "change-setting", name: "partition-policy", value: "allow-reads" });
    const { simulation } = world;
    const client = localClient(world.node("b"));
    const run = (line: string): Promise<string> => simulation.settle(line, client.run(line), 5000);
    expect(await run("set {k}1 kept")).toBe("OK");
    expect(await run("set {k}2 volatile px 3000")).toBe("OK");
    expect(await run("set other kept")).toBe("OK");
    simulation.isolate([world.hostOf("b")]);
    const write = localClient(world.node("b"))
      .run("set {w}1 new")
      .catch(() => "closed");
    // In the first moment there may be a lease again: it is held, and then refused.
    await world.until("the lease to be over", () => !world.isHeld("b"), 3000);
    const read = localClient(world.node("b"))
      .run("get {w}1")
      .catch(() => "closed");
    expect(await simulation.settle("its end", write, 10_000)).toBe("closed");
    expect(await simulation.settle("a refusal", read, 1000)).toStartWith("CLUSTERDOWN");
    await simulation.runFor(3000);
    expect(world.failover("b").leaseState).toBe("stale-reads");
    // That a key has expired since is told by its clock, and is nothing that others of its slot would wait for.
    expect(await run("get {k}2")).toBe("nil");
    expect(await run("get {k}1")).toBe("kept");
    expect(await run("get other")).toBe("kept");
    for (const line of ["get {w}1", "exists {w}2", "dbsize"]) expect(await run(line)).toStartWith("CLUSTERDOWN");
    expect(await run("set {k}1 new")).toStartWith("CLUSTERDOWN");
    simulation.heal();
    await world.until("b to follow", () => world.replicationOf("b").role === "replica");
    await world.until("all in sync", () => world.shard("b").inSync.length === 3);
    expect(await run("get {k}1")).toStartWith("MOVED");
  });

  test.each(["deny", "allow-reads"])(
    "and is in sight again in a moment sends clients on: what comes just after its lease is held, and not refused (%s)",
    async (policy) => {
      const world = new FailoverWorld({ slots: { b: ["0-16383"] }, isReal: true });
      await world.whole();
      await world.follow("a", "c");
      await world.change("a", { type: "change-setting", name: "partition-policy", value: policy });
      const { simulation } = world;
      await simulation.runFor(500);
      const client = localClient(world.node("b"));
      expect(await simulation.settle("a write", client.run("set key old"), 1000)).toBe("OK");
      simulation.isolate([world.hostOf("b")]);
      await world.until("the lease to be over", () => !world.isHeld("b"), 3000);
      const waiting = [client.run("get key"), localClient(world.node("b")).run("set key new")];
      await simulation.runFor(50);
      simulation.heal();
      for (const answer of waiting) {
        expect(await simulation.settle("an answer", answer, 1000)).toMatch(/^MOVED \d+ 10\.0\.0\.[13]:6379$/);
      }
    },
  );
});
