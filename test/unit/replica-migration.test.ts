/** Replicas that move to where there is none: whole nodes on virtual time. Which one moves is in `test/property/placement.test.ts`. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import type { Config } from "../../src/config.ts";
import { keyspaceService } from "../../src/contracts/keyspace.ts";
import type { ShardRecord } from "../../src/contracts/topology.ts";
import { PORT, SimNodes, hostOf } from "../support/sim-nodes.ts";

const MOVE_MS = 60_000;

/**
 * Shards a, b and c, of nodes a0, a1, b0 ...: the first of each is its primary.
 *
 * @param replicas Of each shard.
 */
class Shards {
  readonly nodes: SimNodes;
  readonly names: readonly string[];

  private constructor(replicas: Readonly<Record<string, number>>, settings: Readonly<Record<string, number>>) {
    this.names = Object.entries(replicas).flatMap(([letter, count]) =>
      Array.from({ length: count + 1 }, (_, at) => `${letter}${at}`),
    );
    const letters = Object.keys(replicas);
    const each = Math.floor(16_384 / letters.length);
    const list = this.names.map((name, at) => {
      const index = letters.indexOf(name.slice(0, 1));
      const last = index === letters.length - 1 ? 16_383 : (index + 1) * each - 1;
      return { name, host: hostOf(at), port: PORT, slots: name.endsWith("0") ? [`${index * each}-${last}`] : [] };
    });
    const configs = this.names.map((name): Config => ({
      name,
      dataDir: "data",
      plugins: { topology: { nodes: list }, "replica-migration": settings },
    }));
    this.nodes = new SimNodes(configs);
  }

  static async of(
    replicas: Readonly<Record<string, number>>,
    settings: Readonly<Record<string, number>> = {},
  ): Promise<Shards> {
    const shards = new Shards(replicas, settings);
    const { nodes, names } = shards;
    await nodes.up(names.length);
    await nodes.until("one cluster", () => nodes.isOne(...names.keys()));
    await shards.set("no");
    for (const name of names.filter((each) => !each.endsWith("0"))) {
      const primary = nodes.topology(shards.at(`${name.slice(0, 1)}0`)).self.id;
      expect(await nodes.run(shards.at(name), `CLUSTER REPLICATE ${primary}`)).toBe("OK");
    }
    await nodes.until("all to be in sync", () => names.every((name) => shards.isInSync(name)));
    await shards.set("yes");
    return shards;
  }

  at(name: string): number {
    return this.names.indexOf(name);
  }

  /** The map of somebody who is up. */
  get shards(): readonly ShardRecord[] {
    const up = this.names.findIndex((_, at) => this.nodes.isUp(at));
    return this.nodes.topology(up).map.shards;
  }

  nameOf(id: string): string {
    const up = this.names.findIndex((_, at) => this.nodes.isUp(at));
    return present(this.nodes.topology(up).node(id), "a member is a node").name;
  }

  /** The shard that a node is in, as names: its primary, then those in sync. */
  membersOf(name: string): readonly string[] {
    const shard = this.shards.find(({ primary, replicas }) =>
      [primary, ...replicas].some((id) => this.nameOf(id) === name),
    );
    return [...(shard?.inSync ?? [])].map((id) => this.nameOf(id));
  }

  isInSync(name: string): boolean {
    return this.membersOf(name).includes(name);
  }

  async set(value: "yes" | "no"): Promise<void> {
    const request = { type: "change-setting", name: "replica-migration", value } as const;
    await this.nodes.simulation.settle("a setting", this.nodes.topology(0).request(request, "a test"), 20_000);
  }

  crash(name: string): void {
    this.nodes.simulation.crash(hostOf(this.at(name)));
  }

  /** Records of moves, with their causes. */
  get moves(): readonly string[] {
    const up = this.names.findIndex((_, at) => this.nodes.isUp(at));
    return this.nodes
      .topology(up)
      .history.map(({ cause }) => cause)
      .filter((cause) => cause.startsWith("replica migration: "));
  }

  /** Waits until one has moved to a's shard. */
  async moved(): Promise<void> {
    await this.nodes.until(
      "a replica of b to move",
      () => this.moves.length === 1 && this.membersOf("a0").length === 2,
      MOVE_MS,
    );
  }

  get leader(): number {
    return present(
      this.names
        .map((_, at) => at)
        .find((at) => this.nodes.isUp(at) && this.nodes.consensus(at).leadership !== undefined),
      "somebody leads",
    );
  }

  /** What the leader says of why it does nothing. */
  async reasons(): Promise<readonly string[]> {
    const info = await this.nodes.run(this.leader, "INFO replica-migration");
    return [...info.matchAll(/^shard_[0-9a-f]{40}:(.*)\r$/gm)].map(([, reason = ""]) => reason);
  }
}

describe("a shard whose only replica is gone", () => {
  test("gets the spare one of another shard, with all of its data, and the record says why", async () => {
    const shards = await Shards.of({ a: 1, b: 2, c: 1 });
    const { nodes } = shards;
    // Keys of all three: {1}, {2}, {0} ... whichever node has them.
    for (let key = 0; key < 30; key += 1) {
      const replies = await Promise.all(
        ["a0", "b0", "c0"].map((name) => nodes.run(shards.at(name), `SET k${key} ${key}`)),
      );
      expect(replies.filter((reply) => reply === "OK")).toHaveLength(1);
    }
    const keys = (name: string): number =>
      present(nodes.node(shards.at(name)).service(keyspaceService), "there is a keyspace").size;
    shards.crash("a1");
    await shards.moved();
    const moved = shards.membersOf("a0").find((name) => name !== "a0") ?? "";
    expect(["b1", "b2"]).toContain(moved);
    expect(keys(moved)).toBe(keys("a0"));
    expect(keys("a0")).toBeGreaterThan(0);
    expect(shards.membersOf("b0")).toHaveLength(2);
    expect(shards.membersOf("c0")).toEqual(["c0", "c1"]);
    expect(shards.moves).toHaveLength(1);
    expect(shards.moves[0]).toMatch(
      new RegExp(
        `^replica migration: shard [0-9a-f]{40} \\(primary a0\\) has no replica that is there, for [0-9.]+ s; shard [0-9a-f]{40} has 2 in sync, and ${moved} moves$`,
      ),
    );
    // It comes back, and its shard has two: nobody moves for that.
    nodes.simulation.restart(hostOf(shards.at("a1")));
    await nodes.until("all to be in sync", () => nodes.count === 7 && shards.isInSync("a1"), MOVE_MS);
    await nodes.simulation.runFor(20_000);
    expect(shards.moves).toHaveLength(1);
  }, 60_000);

  test("waits for as long as it is told, and for nothing if it comes back before", async () => {
    const shards = await Shards.of({ a: 1, b: 2 }, { afterMs: 15_000 });
    const { nodes } = shards;
    shards.crash("a1");
    await nodes.simulation.runFor(14_000);
    nodes.simulation.restart(hostOf(shards.at("a1")));
    await nodes.until("it to be in sync again", () => nodes.count === 5 && shards.isInSync("a1"), MOVE_MS);
    await nodes.simulation.runFor(30_000);
    expect(shards.moves).toEqual([]);
    shards.crash("a1");
    const fromMs = nodes.simulation.nowMs;
    await shards.moved();
    expect(nodes.simulation.nowMs - fromMs).toBeGreaterThan(15_000);
  }, 60_000);

  test("gets none from a shard that has one itself, or while the setting says no; the leader says why", async () => {
    const shards = await Shards.of({ a: 1, b: 1, c: 1 });
    const { nodes } = shards;
    shards.crash("a1");
    await nodes.simulation.runFor(30_000);
    expect(shards.moves).toEqual([]);
    expect(await shards.reasons()).toEqual([
      "no other shard has a replica in sync to spare: each keeps one, and what min-in-sync wants",
    ]);
    const withSpare = await Shards.of({ a: 1, b: 2 });
    await withSpare.set("no");
    withSpare.crash("a1");
    await withSpare.nodes.simulation.runFor(30_000);
    expect(withSpare.moves).toEqual([]);
    expect(await withSpare.reasons()).toEqual(['the cluster setting "replica-migration" is "no"']);
    await withSpare.set("yes");
    await withSpare.moved();
  }, 60_000);

  test("gets none that its shard needs for writes", async () => {
    const shards = await Shards.of({ a: 2, b: 2 });
    const { nodes } = shards;
    const request = { type: "change-setting", name: "min-in-sync", value: "3" } as const;
    await nodes.simulation.settle("a setting", nodes.topology(0).request(request, "a test"), 20_000);
    shards.crash("a1");
    shards.crash("a2");
    await nodes.simulation.runFor(30_000);
    expect(shards.moves).toEqual([]);
    expect(shards.membersOf("b0")).toHaveLength(3);
  }, 60_000);
});

describe("two shards without a replica", () => {
  test("get one each, one after the other", async () => {
    const shards = await Shards.of({ a: 1, b: 3, c: 1 });
    const { nodes } = shards;
    shards.crash("a1");
    shards.crash("c1");
    let isMoving = false;
    let atOnce = 0;
    nodes.simulation.check("one replica moves at a time", () => {
      if (nodes.count < 5) return;
      const outOfSync = ["b1", "b2", "b3"].filter((name) => !shards.isInSync(name)).length;
      isMoving ||= outOfSync > 0;
      atOnce = Math.max(atOnce, outOfSync);
    });
    await nodes.until(
      "a replica for each",
      () => shards.moves.length === 2 && ["a0", "c0"].every((name) => shards.membersOf(name).length === 2),
      MOVE_MS,
    );
    expect([isMoving, atOnce]).toEqual([true, 1]);
    expect(shards.membersOf("b0")).toHaveLength(2);
    expect(shards.moves).toHaveLength(2);
  }, 60_000);
});
