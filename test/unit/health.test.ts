/** health: what whole nodes say of themselves and of each other while things go wrong and right again, on virtual time. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { present } from "../../src/assert.ts";
import type { ReplyValue } from "../../src/codec/resp-reader.ts";
import type { Config } from "../../src/config.ts";
import { type HealthCheckName, healthService } from "../../src/contracts/health.ts";
import { type SlotLoad, slotLoadsService } from "../../src/contracts/slot-loads.ts";
import { createNode } from "../../src/node.ts";
import { type Plugin, definePlugin } from "../../src/plugin.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { HealthWorld, startShard } from "../support/health-world.ts";
import { startLocalNode } from "../support/local-node.ts";

describe("a shard of three", () => {
  test("that loses a replica says so: short of replicas, a member down, one more voter to lose; and is well again when it is back", async () => {
    const world = await startShard();
    const { leader } = world;
    const victim = ["b", "c"].find((name) => name !== leader) ?? "b";
    world.crash(victim);
    expect(await world.says("a", "members", "warn")).toContain(`1 of 3 nodes: ${victim} is `);
    expect(await world.says("a", "replicas", "warn")).toContain(`a has 1 of 2 (${victim} is `);
    expect(await world.says(leader, "quorum", "warn")).toContain(
      `2 of 3 voters answer; ${victim} does not answer: 1 more failure`,
    );
    expect(world.check("a", "slots").state).toBe("ok");
    expect(world.health("a").state).toBe("warn");
    world.simulation.restart(world.hostOf(victim));
    await world.whole();
    await world.well();
    expect(world.logged("a", "replicas")).toEqual(["ok to warn", "warn to ok"]);
    expect(world.logged("a", "members")).toEqual(["ok to warn", "warn to ok"]);
  });

  test("that loses its majority says that it has no leader and no lease, whom it misses, and that no slot is served; and is well again", async () => {
    const world = await startShard();
    for (const name of ["b", "c"]) world.crash(name);
    expect(await world.says("a", "quorum", "critical")).toStartWith("No leader is heard; as far as this node knows ");
    expect(world.check("a", "quorum").advice).toContain("bunch recover");
    expect(world.check("a", "quorum").values["failures-to-loss"]).toBe(0);
    expect(await world.says("a", "node", "critical")).toBe(
      "This primary has no lease from the leader, and serves nothing.",
    );
    expect(await world.says("a", "slots", "critical")).toBe("0-16383: primary a, this node, has no lease.");
    expect(await world.says("a", "members", "critical")).toContain("2 of 3 nodes: ");
    // What the rest follows from is told first, here and by REST.
    const worst = world.health("a").checks.filter(({ state }) => state === "critical");
    expect(worst.map(({ name }) => name)).toEqual(["quorum", "node", "slots", "members"]);
    expect(world.info("a").state).toBe("fail");
    const [first, second, ...others] = world.info("a").reasons;
    expect(first).toMatch(
      /^the majority is lost: 1 of 3 voters answers, and 2 must \((b, c|c, b) do not\); nothing about the cluster can change, and no primary serves without a lease$/,
    );
    expect(second).toBe("primary a, this node, has no lease");
    // Who led is not said to lead, and nothing of what is needed next can be decided.
    expect(world.info("a").leader).toBeNull();
    expect(await world.obstacles("a", "a")).toEqual([
      first ?? "",
      "primary a, this node, has no lease",
      "it owns slots: it cannot be taken out before they are moved",
    ]);
    expect(others.map((each) => each.slice(0, 15)).toSorted()).toEqual(["node b is down:", "node c is down:"]);
    for (const name of ["b", "c"]) world.simulation.restart(world.hostOf(name));
    await world.whole();
    // What is over is told for some seconds more, and as over.
    await world.until("a to see its slots served", () => "well-ms" in world.check("a", "slots").values);
    expect(world.check("a", "slots")).toMatchObject({
      state: "critical",
      summary: "All slots are served. A moment ago: 0-16383: primary a, this node, has no lease.",
      advice: "Wait a few seconds: if it stays so, there is nothing to do.",
    });
    await world.well();
    expect(world.check("a", "slots").values).not.toHaveProperty("well-ms");
    for (const check of ["quorum", "node", "slots"] as const) {
      expect(world.logged("a", check)).toEqual(["ok to critical", "critical to ok"]);
    }
  });

  test("tells once, and by names, why slots are not served whose primary is gone", async () => {
    const world = new HealthWorld({ slots: { a: ["0-8191"], b: ["8192-16383"] } });
    await world.whole();
    await world.well();
    world.crash("b");
    expect(await world.says("a", "slots", "critical")).toContain("8192-16383: primary b is down: ");
    expect(world.info("a").reasons).toEqual([
      expect.stringMatching(/^primary b is down: .*does? not answer|did not answer/),
    ]);
    expect(world.check("a", "slots").advice).toContain("CLUSTER DELSLOTSRANGE 8192 16383");
    expect(await world.obstacles("a", "b")).toEqual([
      "primary b: its link broke; the shard has no replica",
      world.info("a").reasons[0] ?? "",
      "it owns slots: it cannot be taken out before they are moved",
    ]);
  });

  test("suspects a member that is cut off for a while, and that one sees that it is alone", async () => {
    const world = await startShard();
    const victim = ["b", "c"].find((name) => name !== world.leader) ?? "b";
    const cut = world.simulation.isolate([world.hostOf(victim)]);
    expect(await world.says("a", "members", "warn")).toContain(`${victim} is `);
    expect(await world.says(victim, "quorum", "critical")).toContain("No leader is heard");
    expect(await world.says(victim, "members", "critical")).toContain("2 of 3 nodes");
    expect(await world.says(victim, "lag", "warn")).toStartWith("This replica does not follow its primary: ");
    cut.heal();
    await world.well();
    expect(world.logged(victim, "quorum")).toEqual(["ok to critical", "critical to ok"]);
  });

  test("says nothing of what mends itself sooner: a planned failover, and a primary that is replaced, are no news of slots or quorum", async () => {
    const world = await startShard();
    const heir = "b";
    await world.run(heir, "cluster failover");
    await world.until("b to be the primary", () => world.primary("b") === "b");
    await world.simulation.runFor(20_000);
    for (const name of world.names) {
      for (const check of ["slots", "quorum", "node", "members"] as const)
        expect(world.logged(name, check)).toEqual([]);
    }
    world.crash("b");
    await world.until("another primary", () => world.primary("a") !== "b");
    await world.simulation.runFor(20_000);
    for (const name of ["a", "c"]) {
      for (const check of ["slots", "node"] as const) expect(world.logged(name, check)).toEqual([]);
      expect(world.logged(name, "members")).toEqual(["ok to warn"]);
    }
  });

  test("knows of clocks that are apart: the node of its own, the leader of all", async () => {
    const world = await startShard({ simulation: { wallErrorMs: 0 } });
    const { leader } = world;
    const late = present(
      world.names.find((name) => name !== leader),
      "three are more than one",
    );
    const { clock } = world.simulation.host(world.hostOf(late));
    clock.jumpWall(-1500);
    expect(await world.says(late, "clocks", "warn", 40_000)).toBe(
      `Compared with the leader's clock: ${late} is 1.5 s behind.`,
    );
    expect(await world.says(leader, "clocks", "warn", 40_000)).toBe(
      `Compared with the leader's clock: ${late} is 1.5 s behind.`,
    );
    clock.jumpWall(1500);
    await world.well();
  });

  test("says of a node that stood still for how long", async () => {
    const world = await startShard();
    world.simulation.stall(world.hostOf("b"), 700);
    expect(await world.says("b", "loop-lag", "warn")).toMatch(/stood still for [4-7]\d\d ms at the worst/);
    expect(world.check("a", "loop-lag").state).toBe("ok");
    await world.says("b", "loop-lag", "ok", 70_000);
  });
});

describe("slots", () => {
  test("that are nobody's are critical until they are somebody's", async () => {
    const world = new HealthWorld();
    await world.whole();
    await world.well();
    expect(await world.run("a", "cluster delslotsrange 0 99")).toBe("OK");
    for (const name of world.names)
      expect(await world.says(name, "slots", "critical")).toBe("100 slots are nobody's (0-99).");
    expect(await world.run("a", "cluster addslotsrange 0 99")).toBe("OK");
    await world.well();
    expect(world.logged("b", "slots")).toEqual(["ok to critical", "critical to ok"]);
  });
});

describe("a move of slots", () => {
  test("that does not get on is worth a warning at its source, and no more once it does", async () => {
    const slots = { a: ["0-5460"], b: ["5461-10922"], c: ["10923-16383"] };
    const world = new HealthWorld({ slots });
    await world.whole();
    await world.well();
    const [source = "a", target = "b"] = world.names.filter((name) => name !== world.leader);
    const first = world.topology(source).selfShard?.slots[0]?.first ?? 0;
    const cut = world.simulation.partition([world.hostOf(source)], [world.hostOf(target)]);
    const id = await world.run(source, `cluster move ${target} slotsrange ${first} ${first + 9}`);
    expect(id).toMatch(/^\[[0-9a-f]{8}\]$/);
    const told = await world.says(source, "migrations", "warn", 120_000);
    expect(told).toStartWith(
      `task ${id.slice(1, -1)} (${first}-${first + 9} to ${target}) has not changed for 60.0 s: it waits for `,
    );
    expect(world.check(world.leader, "migrations").state).toBe("ok");
    cut.heal();
    expect(await world.says(source, "migrations", "ok")).toBe("No slots are being moved.");
    await world.well();
    expect(world.logged(source, "migrations")).toEqual(["ok to warn", "warn to ok"]);
  });

  test("key by key that was left half-way is worth a warning at the slot's owner", async () => {
    const world = new HealthWorld({ slots: { a: ["0-8191"], b: ["8192-16383"] } });
    await world.whole();
    await world.well();
    expect(await world.run("b", `cluster setslot 7 importing ${world.idOf("a")}`)).toBe("OK");
    expect(await world.run("a", `cluster setslot 7 migrating ${world.idOf("b")}`)).toBe("OK");
    expect(await world.says("a", "migrations", "warn", 120_000)).toBe(
      "1 slot is open for keys that move one by one, and nothing has changed for 60.0 s (7).",
    );
    expect(world.check("b", "migrations").state).toBe("ok");
    expect(await world.run("a", "cluster setslot 7 stable")).toBe("OK");
    expect(await world.run("b", "cluster setslot 7 stable")).toBe("OK");
    await world.well();
  });
});

/** Slots whose loads are what a test says. */
function loadsPlugin(all: readonly SlotLoad[]): Plugin {
  return definePlugin({
    name: "given-loads",
    summary: "Loads that a test says.",
    provides: { loads: slotLoadsService },
    setup: () => ({ loads: { all } }),
  });
}

describe("load", () => {
  test("that one shard has most of is told by the leader, with the slot that takes it", async () => {
    const slots = { a: ["0-5460"], b: ["5461-10922"], c: ["10923-16383"] };
    const busy = (slot: number, microseconds: number): SlotLoad => ({
      slot,
      keys: 1,
      bytes: 100,
      operations: 10,
      microseconds,
    });
    const loads: Readonly<Record<string, readonly SlotLoad[]>> = {
      a: [busy(5, 1_000_000)],
      b: [busy(6000, 5_000_000), busy(6001, 31_000_000)],
      c: [busy(11_000, 2_000_000)],
    };
    const settingsOf = (name: string): Config => ({
      plugins: { "slot-stats": false },
      use: [loadsPlugin(loads[name] ?? [])],
    });
    const world = new HealthWorld({ slots, settingsOf });
    await world.whole();
    const { leader } = world;
    expect(await world.says(leader, "balance", "warn", 120_000)).toBe(
      "b has 2.8 times its part of the load (60 % busy, 86 % of it in slot 6001).",
    );
    const other = present(
      world.names.find((name) => name !== leader),
      "three are more than one",
    );
    expect(world.health(other).checks.map(({ name }) => name)).not.toContain("balance");
  });
});

describe("a webhook", () => {
  interface Post {
    readonly nodeName: string;
    readonly isLeader: boolean;
    readonly state: string;
    readonly changes: readonly { readonly name: string; readonly state: string; readonly previous: string }[];
    readonly problems: readonly { readonly name: string }[];
  }
  const settingsOf = (): Config => ({
    plugins: { health: { webhook: "https://hooks.example/bunch", webhookAuthorization: "Bearer abc" } },
  });

  async function start(): Promise<{ readonly world: HealthWorld; readonly posts: Post[] }> {
    const world = new HealthWorld({ settingsOf });
    const posts: Post[] = [];
    world.simulation.httpServers.set("https://hooks.example", ({ body, authorization }) => {
      expect(authorization).toBe("Bearer abc");
      posts.push(JSON.parse(body) as Post);
      return { status: 200, afterMs: 5 };
    });
    await world.whole();
    await world.follow("b", "c");
    await world.well();
    await world.simulation.runFor(10_000);
    return { world, posts };
  }
  const changesOf = (posts: readonly Post[], check: HealthCheckName): readonly string[] =>
    posts.flatMap(({ nodeName, changes }) =>
      changes.filter(({ name }) => name === check).map(({ state, previous }) => `${nodeName}: ${previous} to ${state}`),
    );

  test("gets what happens to the cluster once, from the leader, and what happens to a node from that node", async () => {
    const { world, posts } = await start();
    const { leader } = world;
    const victim = ["b", "c"].find((name) => name !== leader) ?? "b";
    posts.length = 0;
    world.simulation.stall(world.hostOf(victim), 700);
    await world.says(victim, "loop-lag", "warn");
    await world.simulation.runFor(1000);
    expect(changesOf(posts, "loop-lag")).toEqual([`${victim}: ok to warn`]);
    world.crash(victim);
    for (const name of world.names) if (name !== victim) await world.says(name, "members", "warn");
    await world.simulation.runFor(1000);
    expect(changesOf(posts, "members")).toEqual([`${leader}: ok to warn`]);
    expect(posts.at(-1)).toMatchObject({ state: "warn", isLeader: true });
    world.simulation.restart(world.hostOf(victim));
    await world.whole();
    await world.well();
    await world.simulation.runFor(1000);
    expect(changesOf(posts, "members")).toEqual([`${leader}: ok to warn`, `${leader}: warn to ok`]);
    expect(posts.at(-1)?.problems).toEqual([]);
  });

  test("gets it from each node that hears no leader, and from the next leader what is so when it begins", async () => {
    const { world, posts } = await start();
    const { leader } = world;
    const victims = world.names.filter((name) => name !== leader);
    posts.length = 0;
    for (const name of victims) world.crash(name);
    await world.says(leader, "quorum", "critical");
    await world.simulation.runFor(1000);
    expect(changesOf(posts, "quorum")).toEqual([`${leader}: ok to critical`]);
    expect(posts.at(-1)?.isLeader).toBe(false);
    posts.length = 0;
    world.simulation.restart(world.hostOf(victims[0] ?? ""));
    await world.until("a leader", () => world.maybeLeader !== undefined);
    await world.until("its word", () => posts.some(({ isLeader, problems }) => isLeader && problems.length > 0));
  });
});

/** A reply in RESP3 as a plain value. */
function plain(value: ReplyValue): unknown {
  if (value instanceof Uint8Array) return new TextDecoder().decode(value);
  if (value instanceof Map) {
    const pairs = [...(value as ReadonlyMap<ReplyValue, ReplyValue>)];
    return Object.fromEntries(pairs.map(([name, each]) => [plain(name), plain(each)]));
  }
  return Array.isArray(value) ? value.map(plain) : value;
}

describe("what a node answers", () => {
  test("CLUSTER HEALTH has all of it as a structure, INFO the states and why", async () => {
    const world = new HealthWorld();
    await world.whole();
    await world.run("a", "cluster delslots 5");
    await world.says("a", "slots", "critical");
    const connection = world.node("a").connect();
    const reply = await world.simulation.settle("a reply", connection.execute("cluster", "health"), 1000);
    connection.close();
    const [health, slots] = [world.health("a"), world.check("a", "slots")];
    expect(plain(reply)).toEqual({
      state: "critical",
      "node-id": world.idOf("a"),
      "node-name": "a",
      "is-leader": world.leader === "a" ? 1 : 0,
      "leader-id": world.idOf(world.leader),
      "map-version": world.topology("a").map.version,
      "checked-at": health.checkedAtMs,
      checks: health.checks.map(({ sinceMs: since, name, scope, state, summary, meaning, advice, values }) => ({
        name,
        scope,
        state,
        since,
        summary,
        meaning,
        advice,
        values,
      })),
    });
    expect(slots).toMatchObject({
      summary: "1 slot is nobody's (5).",
      values: { unassigned: 1, unserved: 0, waiting: 0 },
    });
    const info = await world.run("a", "info health");
    expect(info).toContain("health_state:critical\r\n");
    expect(info).toContain(
      `health_slots:critical\r\nhealth_slots_since_ms:${slots.sinceMs}\r\nhealth_slots_why:${slots.summary}\r\n`,
    );
    expect(info).toContain("health_quorum:ok\r\nhealth_node:ok\r\nhealth_slots:critical\r\n");
  });

  test("is without the checks of plugins that are off", async () => {
    const names = async (...off: readonly string[]): Promise<readonly string[]> => {
      const plugins = Object.fromEntries(off.map((name) => [name, false]));
      const node = await startLocalNode({ plugins });
      const checks = present(node.service(healthService), "there is health").checks.map(({ name }) => name);
      await node.stop();
      return checks;
    };
    const all = await names();
    expect(all).toEqual([
      "quorum",
      "node",
      "slots",
      "replicas",
      "members",
      "lag",
      "clocks",
      "map-version",
      "migrations",
      "balance",
      "loop-lag",
      "memory",
    ]);
    const without = async (...off: readonly string[]): Promise<readonly string[]> => {
      const left = await names(...off);
      return all.filter((name) => !left.includes(name));
    };
    expect(await without("discovery")).toEqual(["members", "map-version"]);
    expect(await without("replication")).toEqual(["lag"]);
    expect(await without("raft", "bus")).toEqual(["quorum", "members", "clocks", "map-version", "balance"]);
    expect(await without("migrator", "failover", "slot-stats", "eviction")).toEqual([]);
  });

  test("before it has started is not that all is well", async () => {
    const node = await createNode({ world: createBunWorld({ logLevel: "silent" }) });
    const health = present(node.service(healthService), "there is health");
    expect(health.state).toBe("critical");
    expect(health.checks.find(({ name }) => name === "quorum")?.summary).toBe("No leader is heard.");
  });

  test("refuses thresholds that are the wrong way round, by name", async () => {
    const start = (health: Readonly<Record<string, unknown>>): Promise<unknown> =>
      startLocalNode({ plugins: { health } });
    expect(start({ lagWarnMs: 70_000 })).rejects.toThrow(
      'Setting "plugins.health.lagCriticalMs" is 60000, but it must be at least lagWarnMs (70000): what is critical is worth a warning.',
    );
    expect(start({ diskWarnBytes: "1mb" })).rejects.toThrow(
      'Setting "plugins.health.diskCriticalBytes" is 200mb, but it must be at most diskWarnBytes (1mb): what is critical is worth a warning.',
    );
    expect(start({ webhook: "nowhere" })).rejects.toThrow("not shown");
  });

  test("knows the room on its disk", async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "bunch-health-"));
    const node = await startLocalNode(
      { dataDir, plugins: { health: { diskWarnBytes: "900000gb", diskCriticalBytes: 0 } } },
      { world: createBunWorld({ logLevel: "silent", dataDirectory: dataDir }) },
    );
    const { checks } = present(node.service(healthService), "there is health");
    expect(checks.find(({ name }) => name === "disk")).toMatchObject({ state: "warn" });
    await node.stop();
    rmSync(dataDir, { recursive: true });
  });

  test("knows the memory that its keys may take", async () => {
    const world = new HealthWorld({ count: 1, settingsOf: () => ({ plugins: { eviction: { maxMemory: 10_000 } } }) });
    await world.whole();
    expect(await world.run("a", `set key ${"x".repeat(8500)}`)).toBe("OK");
    expect(await world.says("a", "memory", "warn")).toMatch(/ 9\d % of maxmemory\.$/);
    expect(await world.run("a", "config set maxmemory-policy allkeys-lru")).toBe("OK");
    expect(await world.says("a", "memory", "ok")).toContain("(keys are evicted)");
  });
});
