/** Failovers that somebody asks for, and losses that somebody accepts: whole nodes on virtual time. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { levelReplica } from "../support/fake-replication.ts";
import { FailoverWorld, type FailoverWorldOptions } from "../support/failover-world.ts";
import { localClient } from "../support/local-node.ts";

/** A shard of `b`, which does not lead, with `a` and `c` in sync. */
async function startShard(options: Partial<FailoverWorldOptions> = {}): Promise<FailoverWorld> {
  const world = new FailoverWorld({ slots: { b: ["0-16383"] }, ...options });
  await world.whole();
  expect(world.leader).toBe("a");
  await world.follow("a", "c");
  await world.until("a lease", () => world.isRunning("b"));
  return world;
}

describe("CLUSTER FAILOVER", () => {
  test("hands over in one record, at once, without the lease running out", async () => {
    const world = await startShard();
    await world.simulation.runFor(500);
    const beganAtMs = world.simulation.nowMs;
    expect(await world.run("c", "cluster failover")).toBe("OK");
    await world.until("c to serve", () => world.isRunning("c"), 50);
    expect(world.simulation.nowMs - beganAtMs).toBeLessThan(50);
    expect(world.replication("b").handOvers).toEqual([world.idOf("c")]);
    expect(world.shard("c").inSync).toEqual([world.idOf("c"), world.idOf("a")]);
    expect(world.shard("c").replicas).toContain(world.idOf("b"));
    expect(world.topology("c").history.at(-1)?.cause).toBe("primary b handed over to c");
    await world.until("b to know", () => world.primary("b") === "c");
    expect(await world.run("b", "get key")).toBe("MOVED 12539 10.0.0.3:6379");
    expect(await world.run("c", "get key")).toBe("nil");
  });

  test("to the node that leads the log: it has its lease in the moment that it knows", async () => {
    const world = await startShard();
    await world.simulation.runFor(500);
    expect(await world.run("a", "cluster failover")).toBe("OK");
    await world.until("a to know", () => world.primary("a") === "a", 50);
    expect(world.isRunning("a")).toBe(true);
  });

  test("gives the new primary its lease in the moment in which it knows", async () => {
    const world = await startShard();
    expect(await world.run("c", "cluster failover")).toBe("OK");
    await world.until("c to know", () => world.primary("c") === "c", 50);
    expect(world.isRunning("c")).toBe(true);
  });

  test("is over at once for writes, too, which wait for another replica in sync: that one hears first who leads, and is not sent away", async () => {
    const world = await startShard({ isReal: true });
    await world.simulation.runFor(500);
    expect(await world.run("c", "cluster failover")).toBe("OK");
    await world.until("c to know", () => world.primary("c") === "c", 50);
    const beganAtMs = world.simulation.nowMs;
    expect(world.shard("c").inSync).toContain(world.idOf("a"));
    expect(await world.run("c", "set key value")).toBe("OK");
    expect(world.simulation.nowMs - beganAtMs).toBeLessThan(20);
  });

  test("has the replica hold what comes before it is the primary: others know already, and it would send clients back", async () => {
    const world = await startShard({ isReal: true });
    expect(await world.run("c", "cluster failover")).toBe("OK");
    await world.until("b to surrender", () => world.failover("b").leaseState === "surrendered");
    await world.until("a to know", () => world.primary("a") === "c", 50);
    expect(world.primary("c")).toBe("b");
    expect(await world.run("c", "set key value")).toBe("OK");
    expect(world.failover("c").leaseState).toBe("held");
  });

  test("sends clients to the replica as soon as that holds them, and holds them itself again before it does no more", async () => {
    const world = await startShard({ isReal: true });
    // Nobody else hears that it has surrendered.
    await world.simulation.runFor(500);
    expect(await world.run("c", "cluster failover")).toBe("OK");
    await world.until("b to hold", () => world.failover("b").leaseState === "surrendered");
    const [beganAtMs, toLeader] = [world.simulation.nowMs, [[world.hostOf("b")], [world.hostOf("a")]] as const];
    const cut = world.simulation.cutOneWay(...toLeader);
    const back = world.simulation.cutOneWay(toLeader[1], [world.hostOf("c")]);
    const moved = "MOVED 12539 10.0.0.3:6379";
    expect(await world.run("b", "set key value")).toBe(moved);
    expect(await world.run("b", "get key")).toBe(moved);
    let toldAtMs: number | undefined;
    const late = world.begin("c", "set key late").finally(() => (toldAtMs = world.simulation.nowMs - beganAtMs));
    await world.until("b to hold again", () => world.simulation.nowMs - beganAtMs > 850);
    let said = "nothing yet";
    void world.begin("b", "get key").then((text) => (said = text));
    await world.simulation.runFor(50);
    expect(said).toBe("nothing yet");
    expect(toldAtMs).toBeUndefined();
    cut.heal();
    back.heal();
    await world.until("c to serve", () => world.isRunning("c"));
    // It is held for a whole lease, whoever leads by then: what was on its way when the network was cut may take longer.
    expect(await late).toBeOneOf(["OK", "MOVED 12539 10.0.0.2:6379"]);
    expect(toldAtMs).toBeGreaterThan(1000);
    await world.until("b to answer", () => said !== "nothing yet");
    expect(said).toBe(moved);
  });

  test("has it hold for no longer than a lease, where nothing comes of it", async () => {
    const world = await startShard({ isReal: true });
    expect(await world.run("c", "cluster failover")).toBe("OK");
    await world.until("b to surrender", () => world.failover("b").leaseState === "surrendered");
    // Its word is on its way to the replica, and not to the leader.
    world.simulation.cutOneWay([world.hostOf("a")], [world.hostOf("c")]);
    await world.simulation.runFor(5);
    for (const name of ["a", "b"]) world.crash(name, "power");
    const beganAtMs = world.simulation.nowMs;
    expect(await world.run("c", "set key value")).toBe("MOVED 12539 10.0.0.2:6379");
    expect(world.simulation.nowMs - beganAtMs).toBeWithin(900, 1300);
  });

  test("holds for no longer than a lease: a new primary that gets none refuses", async () => {
    const world = await startShard();
    expect(await world.run("c", "cluster failover")).toBe("OK");
    await world.until("b to surrender", () => world.failover("b").leaseState === "surrendered");
    // Its lease is over when it hears that it has one, and nobody is left who would grant it another.
    world.simulation.stall(world.hostOf("c"), 1100);
    await world.until("b to know", () => world.primary("b") === "c", 50);
    for (const name of ["a", "b"]) world.crash(name, "power");
    await world.until("c to know", () => world.primary("c") === "c");
    expect(world.failover("c").leaseState).toBe("lapsed");
    // What it was to tell as a replica, and would now as the primary.
    let end = "";
    world.node("c").replyGate.wait(0, { released: () => undefined, broken: (reason) => void (end = reason) });
    const beganAtMs = world.simulation.nowMs;
    expect(await world.run("c", "set key value")).toStartWith(
      "CLUSTERDOWN The cluster is down: this node has no lease",
    );
    expect(world.simulation.nowMs - beganAtMs).toBeWithin(900, 1500);
    await world.until("nobody to wait any more", () => end !== "", 1000);
    expect(end).toStartWith("no lease: ");
  });

  test("asks the right questions first, in Redis' words", async () => {
    const world = await startShard();
    expect(await world.run("b", "cluster failover")).toBe("ERR You should send CLUSTER FAILOVER to a replica");
    expect(await world.run("c", "cluster failover softly")).toBe("ERR syntax error");
    expect(await world.run("c", "cluster failover force now")).toBe(
      "ERR unknown subcommand or wrong number of arguments for 'failover'. Try CLUSTER HELP.",
    );
    // One that is not in sync is not promoted, by no means.
    const { id, version: shardVersion, primary } = world.shard("a");
    await world.change("a", { type: "change-in-sync", shard: id, shardVersion, inSync: [primary], eligible: [] });
    await world.whole();
    for (const line of ["cluster failover", "cluster failover force", "cluster failover takeover"]) {
      expect(await world.run("c", line)).toBe(
        "ERR c is not in sync: it may lack acknowledged writes, and is not promoted",
      );
    }
    expect(world.replication("b").handOvers).toEqual([]);
  });

  test("does nothing if the replica does not get all of the log in time: the primary goes on", async () => {
    const world = await startShard();
    world.replication("b").isLevel = false;
    const { version } = world.shard("b");
    expect(await world.run("c", "cluster failover")).toBe("OK");
    await world.until(
      "the hold to end",
      () => world.replication("b").handOvers.length === 1 && !world.replication("b").isHolding,
    );
    expect(world.isRunning("b")).toBe(true);
    await world.simulation.runFor(3000);
    expect(world.shard("b").version).toBe(version);
    expect(world.isRunning("b")).toBe(true);
  });

  test("ends by a record if the replica is lost when the primary has surrendered: the primary serves again (SAFETY 13)", async () => {
    const world = await startShard();
    const { version } = world.shard("b");
    // The word that it has surrendered comes late.
    const cut = world.simulation.cutOneWay([world.hostOf("b")], [world.hostOf("a")]);
    expect(await world.run("c", "cluster failover")).toBe("OK");
    await world.until("b to surrender", () => world.failover("b").leaseState === "surrendered");
    expect(world.replication("b").isHolding).toBe(true);
    // No reply leaves by what is left of the lease.
    expect(world.failover("b").leaseEndsAtMs).toBe(Number.NEGATIVE_INFINITY);
    // Another change of the map says nothing of the shard. What comes after it tells b, which cannot say what it has, that it is committed.
    for (const value of ["accept", "stop"]) expect(await world.run("a", `cluster setting on-loss ${value}`)).toBe("OK");
    await world.until("b to know", () => world.topology("b").map.settings.get("on-loss") === "accept");
    world.crash("c", "power");
    await world.simulation.runFor(700);
    // Nobody but the map ends that.
    expect(world.failover("b").leaseState).toBe("surrendered");
    expect(world.replication("b").isHolding).toBe(true);
    cut.heal();
    await world.until("b to serve", () => world.isRunning("b"));
    expect(world.replication("b").isHolding).toBe(false);
    expect(world.primary("b")).toBe("b");
    expect(world.shard("b").version).toBeGreaterThan(version);
    expect(world.topology("b").history.at(-1)?.cause).toStartWith("primary b would hand over to c: ");
  });

  test("is finished by the next leader, if the one that began it is lost", async () => {
    const world = await startShard();
    const cut = world.simulation.cutOneWay([world.hostOf("b")], [world.hostOf("a")]);
    expect(await world.run("c", "cluster failover")).toBe("OK");
    await world.until("b to surrender", () => world.failover("b").leaseState === "surrendered");
    world.crash("a", "power");
    cut.heal();
    await world.until("c to serve", () => world.isRunning("c"));
    expect(world.topology("c").history.at(-1)?.cause).toBe("primary b handed over to c");
  });
});

describe("CLUSTER FAILOVER FORCE", () => {
  for (const word of ["force", "takeover"]) {
    test(`takes over from a primary that does not answer clients, when its lease is over (${word.toUpperCase()})`, async () => {
      const world = await startShard();
      const beganAtMs = world.simulation.nowMs;
      expect(await world.run("c", `cluster failover ${word}`)).toBe("OK");
      await world.until("c to serve", () => world.isRunning("c"), 1500);
      // The old lease was not taken back, it ran out.
      expect(world.simulation.nowMs - beganAtMs).toBeGreaterThan(600);
      expect(world.replication("b").handOvers).toEqual([]);
      expect(world.topology("c").history.at(-1)?.cause).toStartWith("primary b: CLUSTER FAILOVER FORCE to c; ");
    });
  }

  test("is refused without a majority, TAKEOVER too, with the way out (SAFETY 25)", async () => {
    const world = await startShard();
    world.crash("a", "power");
    world.crash("b", "power");
    await world.until("no leader", () => world.consensus("c").status.leader === undefined);
    for (const line of ["cluster failover takeover", "cluster failover force", "cluster failover"]) {
      const reply = await world.run("c", line);
      if (line === "cluster failover" && reply.includes("Master is down")) continue;
      expect(reply).toStartWith(
        "CLUSTERDOWN no majority of the voters agrees on a leader, and nobody is promoted without one",
      );
      expect(reply).toContain("bunch recover --from DATA-DIR");
    }
    expect(world.primary("c")).toBe("b");
  });
});

describe("a loss", () => {
  /** The primary is gone, and `c`, which has caught up to there, is in no set. */
  async function lose(options: Partial<FailoverWorldOptions> = {}): Promise<FailoverWorld> {
    const world = await startShard(options);
    world.replication("c").position = { epoch: 1, sequence: 5 };
    world.replication("a").position = { epoch: 1, sequence: 4 };
    const { id, version: shardVersion, primary } = world.shard("a");
    await world.change("a", { type: "change-in-sync", shard: id, shardVersion, inSync: [primary], eligible: [] });
    await world.whole();
    await world.simulation.runFor(300);
    return world;
  }

  test("stops the shard, which says so, and goes on by CLUSTER ACCEPT-LOSS with the survivor that has the most", async () => {
    const world = await lose();
    const { id } = world.shard("a");
    expect(await world.run("c", `cluster accept-loss ${id}`)).toBe(
      `ERR nothing is lost: the primary of shard ${id} is alive`,
    );
    expect(await world.run("c", `cluster accept-loss ${"0".repeat(40)}`)).toBe(
      `ERR there is no shard ${"0".repeat(40)}`,
    );
    world.crash("b");
    await world.until("a reason", () => (world.failover("a").reasons.get(id) ?? "").includes("lease may run"));
    expect(await world.run("c", `cluster accept-loss ${id}`)).toMatch(
      /^ERR primary b: .*; its lease may run for another \d+ ms$/,
    );
    await world.simulation.runFor(3000);
    expect(world.primary("c")).toBe("b");
    const reason = present(world.failover("a").reasons.get(id), "the leader says why");
    expect(reason).toMatch(
      /^primary b: .*; no member in sync or eligible is alive: there is none beside it; CLUSTER ACCEPT-LOSS/,
    );
    expect(await world.run("a", "info failover")).toContain(`shard_${id}:${reason.slice(0, 12)}`);
    expect(world.log.filter((line) => line.includes("failover: waits")).length).toBeLessThanOrEqual(2);
    expect(await world.run("c", `cluster accept-loss ${id}`)).toBe("OK");
    await world.until("c to serve", () => world.isRunning("c"), 500);
    expect(world.shard("c").inSync).toEqual([world.idOf("c")]);
    expect(world.topology("c").history.at(-1)?.changes[0]).toContain("without what is lost");
    await world.until("nothing to say", () => world.failover("a").reasons.size === 0);
  });

  test("is not accepted while a member in sync is alive, which takes over by itself", async () => {
    const world = await startShard();
    const { id } = world.shard("a");
    world.crash("b");
    await world.until("c or a to serve", () => world.isRunning("c") || world.isRunning("a"));
    expect(await world.run("c", `cluster accept-loss ${id}`)).toBe(
      `ERR nothing is lost: the primary of shard ${id} is alive`,
    );
  });

  test("is accepted by a primary that restarted with nothing", async () => {
    const world = await lose();
    const { id, version: shardVersion } = world.shard("a");
    // Its data were in sync elsewhere, by the map, and that is gone too: the shard waits for an operator.
    await world.change("a", {
      type: "change-in-sync",
      shard: id,
      shardVersion,
      inSync: [world.idOf("b"), world.idOf("c")],
      eligible: [],
    });
    world.positions.set("b", undefined);
    world.replication("a").position = undefined;
    world.crash("c", "power");
    world.crash("b");
    world.simulation.restart(world.hostOf("b"));
    await world.until(
      "b to be back",
      () => world.isUp("b") && world.topology("b").waitingFor?.startsWith("a replica") === true,
    );
    await world.until("a reason", () => (world.failover("a").reasons.get(id) ?? "").includes("CLUSTER ACCEPT-LOSS"));
    expect(world.failover("a").reasons.get(id)).toStartWith("primary b: it has restarted and lost the shard's data; ");
    expect(await world.run("b", "get key")).toStartWith("CLUSTERDOWN");
    expect(await world.run("b", `cluster accept-loss ${id}`)).toBe("OK");
    await world.until("b to serve", () => world.isRunning("b"));
    expect(await world.run("b", "get key")).toBe("nil");
  });

  test("that nobody can make good is told to clients by the primary that restarted, with the way out", async () => {
    const world = await lose();
    const { id } = world.shard("a");
    world.positions.set("b", undefined);
    world.crash("b");
    world.simulation.restart(world.hostOf("b"));
    await world.until("b to be back", () => world.isUp("b"));
    await world.until("b to know", () => world.topology("b").waitingFor?.startsWith("a replica") === true);
    expect(world.shard("b").inSync).toEqual([world.idOf("b")]);
    expect(await world.run("b", "get key")).toBe(
      `CLUSTERDOWN The cluster is down: this node has restarted without the slot's data, and nobody else holds them: CLUSTER ACCEPT-LOSS ${id} goes on without`,
    );
  });

  test("is accepted without a word where the cluster setting on-loss says so", async () => {
    const world = await lose();
    await world.change("a", { type: "change-setting", name: "on-loss", value: "accept" });
    world.crash("b");
    await world.until("c to serve", () => world.isRunning("c"), 6000);
    expect(world.shard("c").inSync).toEqual([world.idOf("c")]);
  });

  test("is not accepted without a word while whoever has the data may only stand still", async () => {
    const world = await lose();
    await world.change("a", { type: "change-setting", name: "on-loss", value: "accept" });
    const { id } = world.shard("a");
    world.simulation.stall(world.hostOf("b"), 4000);
    await world.until("its lease to be over", () =>
      (world.failover("a").reasons.get(id) ?? "").includes("ACCEPT-LOSS"),
    );
    await world.until("it to go on", () => world.isRunning("b"), 5000);
    expect(world.primary("a")).toBe("b");
    expect(world.shard("a").primaryEpoch).toBe(world.shard("b").primaryEpoch);
    expect(world.topology("a").history.some(({ changes }) => changes.some((each) => each.includes("lost")))).toBe(
      false,
    );
  });

  test("of a shard without replicas has nobody to go on with", async () => {
    const world = new FailoverWorld();
    await world.whole();
    await world.until("a lease", () => world.isRunning("b"));
    const { id } = present(
      world.topology("a").map.shards.find(({ primary }) => primary === world.idOf("a")),
      "there is one",
    );
    world.crash("a");
    await world.until("another leader", () => world.maybeLeader !== undefined);
    await world.until("a reason", () =>
      (world.failover(world.leader).reasons.get(id) ?? "").endsWith("; the shard has no replica"),
    );
    expect(await world.run("b", `cluster accept-loss ${id}`)).toContain("is alive: start one again");
  });
});

describe("a primary that is told to stop", () => {
  for (const owner of ["b", "a"]) {
    test(`hands over first${owner === "a" ? ", and its leading of the log" : ""}`, async () => {
      const world = new FailoverWorld({ slots: { [owner]: ["0-16383"] } });
      await world.whole();
      const others = world.names.filter((name) => name !== owner);
      await world.follow(...others);
      await world.until("a lease", () => world.isRunning(owner));
      await world.simulation.runFor(500);
      world.replication(owner).replicas = others.map((name) => levelReplica(world.idOf(name)));
      const beganAtMs = world.simulation.nowMs;
      const node = world.node(owner);
      await world.simulation.settle("the end", node.stop(), 5000);
      const heir = present(
        others.find((name) => world.primary(name) === name),
        "somebody has taken over",
      );
      expect(
        world.topology(heir).history.some(({ cause }) => cause === `primary ${owner} handed over to ${heir}`),
      ).toBe(true);
      expect(world.simulation.nowMs - beganAtMs).toBeLessThan(1000);
    });
  }

  test("and is the only one that has the data waits until a replica, which was started anew, has them too", async () => {
    const world = new FailoverWorld({ slots: { b: ["0-16383"] }, isReal: true });
    await world.whole();
    await world.follow("c");
    const { simulation } = world;
    expect(await world.run("b", "set key value")).toBe("OK");
    world.crash("c");
    await world.until("it to be missed", () => world.shard("b").inSync.length === 1);
    simulation.restart(world.hostOf("c"));
    const isThere = (): boolean =>
      world.isUp("c") && world.topology("c").waitingFor === undefined && world.shard("c").primaryEpoch > 0;
    await world.until("c to be there", isThere);
    expect(world.shard("b").inSync).toEqual([world.idOf("b")]);
    const stopping = world.node("b").stop();
    await simulation.settle("the end", stopping, 10_000);
    await world.until("c to serve", () => world.primary("c") === "c" && world.isRunning("c"));
    expect(await world.run("c", "get key")).toBe("value");
  });

  test("waits no longer than it may, and says for what", async () => {
    const world = await startShard({ failover: { retireMs: 500 } });
    world.replication("b").replicas = [{ ...levelReplica(world.idOf("c")), isInSync: false, state: "filling" }];
    const beganAtMs = world.simulation.nowMs;
    await world.simulation.settle("the end", world.node("b").stop(), 5000);
    expect(world.simulation.nowMs - beganAtMs).toBeWithin(450, 700);
    const said = world.log.filter((line) => line.includes("no replica is in sync"));
    expect(said).toHaveLength(2);
    expect(said[0]).toContain("waits for a replica before it stops");
    expect(said[1]).toContain("stops without handing its shard over");
  });

  test("and cannot hand over stops all the same, and says why", async () => {
    const world = await startShard();
    await world.simulation.settle("the end", world.node("b").stop(), 5000);
    expect(world.log.join("\n")).toContain("stops without handing its shard over");
  });
});

/** Counts at a node, until it is told to stop or sent away. @returns What it was answered. */
async function count(world: FailoverWorld, name: string): Promise<readonly string[]> {
  const client = localClient(world.node(name));
  const replies: string[] = [];
  for (let isOver = false; !isOver;) {
    const reply = await client.run("incr key");
    replies.push(reply);
    isOver = reply.includes(" ");
    // Replies may come in the same moment: time has to pass.
    await new Promise<void>((resolve) => void world.simulation.after(1, "a client", resolve));
  }
  return replies;
}

describe("with keys that are replicated", () => {
  test("a primary that is told to stop hands over, and no client sees an error but MOVED", async () => {
    const world = await startShard({ isReal: true });
    await world.simulation.runFor(500);
    const counting = count(world, "b");
    await world.simulation.runFor(50);
    const stopping = world.node("b").stop();
    const replies = await world.simulation.settle("the last reply", counting, 2000);
    expect(replies.at(-1)).toStartWith("MOVED ");
    await world.simulation.settle("the end", stopping, 5000);
    const heir = world.primary("a");
    expect(heir).not.toBe("b");
    await world.until("it to serve", () => world.isRunning(heir));
    expect(await world.run(heir, "get key")).toBe(present(replies.at(-2), "it was written"));
  });

  test("a primary that is killed is replaced, with every write that was acknowledged", async () => {
    const world = await startShard({ isReal: true });
    const counting = count(world, "b");
    await world.simulation.runFor(200);
    world.crash("b");
    // The client's process was the node's: what it was answered last is not known to it any more.
    void counting;
    await world.until(
      "another to serve",
      () => world.primary("a") !== "b" && world.isRunning(world.primary("a")),
      1500,
    );
    expect(Number(await world.run(world.primary("a"), "get key"))).toBeGreaterThan(100);
  });

  test("a planned failover loses nothing, and no client sees an error but MOVED", async () => {
    const world = await startShard({ isReal: true });
    await world.until("all in sync", () => world.shard("a").inSync.length === 3);
    expect(await world.run("b", "set key 1")).toBe("OK");
    const counting = count(world, "b");
    await world.simulation.runFor(50);
    expect(await world.run("c", "cluster failover")).toBe("OK");
    const replies = await world.simulation.settle("the last reply", counting, 2000);
    expect(replies.at(-1)).toStartWith("MOVED ");
    expect(replies.length).toBeGreaterThan(5);
    await world.until("c to serve", () => world.isRunning("c"));
    expect(await world.run("c", "get key")).toBe(present(replies.at(-2), "it was written"));
  });
});
