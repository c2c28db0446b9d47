/** Migrations, on whole nodes in a simulated world: what moves, what clients see of it, and what becomes of it when somebody fails. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { keySlot } from "../../src/codec/slot.ts";
import type { Config } from "../../src/config.ts";
import { type Keyspace, keyspaceService } from "../../src/contracts/keyspace.ts";
import { type MigrationStatus, type Migrations, migrationService } from "../../src/contracts/migration.ts";
import { replicationService } from "../../src/contracts/replication.ts";
import type { ShardRecord, SlotRange } from "../../src/contracts/topology.ts";
import { SimNodes, hostOf } from "../support/sim-nodes.ts";

const encoder = new TextEncoder();

/** Two shards, `a` with the lower half of the slots, each with so many replicas. */
class TwoShards {
  readonly nodes: SimNodes;
  readonly #count: number;

  private constructor(replicas: number, more: Config, seed: number) {
    this.#count = 2 * (replicas + 1);
    const join = this.all.map((at) => `${hostOf(at)}:16379`).join(",");
    const config = { join, bootstrapExpect: this.#count, replicas, ...more };
    this.nodes = new SimNodes(
      this.all.map((at) => ({ ...config, name: `node-${at}` })),
      seed,
    );
  }

  static async of(replicas: number, more: Config = {}, seed = 1): Promise<TwoShards> {
    const shards = new TwoShards(replicas, more, seed);
    await shards.nodes.up(shards.#count);
    await shards.nodes.until("one cluster", () => shards.nodes.isOne(...shards.all));
    await shards.level();
    return shards;
  }

  get all(): readonly number[] {
    return Array.from({ length: this.#count }, (_, at) => at);
  }

  get up(): readonly number[] {
    return this.all.filter((at) => this.nodes.isUp(at));
  }

  /** All members are in sync. */
  async level(): Promise<void> {
    await this.nodes.until("all in sync", () =>
      [this.a, this.b].every(({ inSync, replicas }) => inSync.length === replicas.length + 1),
    );
  }

  /** The newest map that anybody has. */
  get map(): ReturnType<SimNodes["topology"]>["map"] {
    const maps = this.up.map((at) => this.nodes.topology(at).map);
    return present(maps.toSorted((one, other) => other.version - one.version)[0], "somebody has a map");
  }

  shard(id: string): ShardRecord {
    return present(
      this.map.shards.find((each) => each.id === id),
      "there is the shard",
    );
  }

  readonly #ids: string[] = [];

  /** The shard that began with the lower half, and the other. */
  get a(): ShardRecord {
    return this.#began(0);
  }

  get b(): ShardRecord {
    return this.#began(1);
  }

  #began(at: number): ShardRecord {
    if (this.#ids.length === 0) this.#ids.push(...this.map.shards.slice(0, 2).map(({ id }) => id));
    return this.shard(this.#ids[at] ?? "");
  }

  at(nodeId: string): number {
    return present(
      this.up.find((at) => this.nodes.node(at).facts.id === nodeId),
      "the node is up",
    );
  }

  migrations(at: number): Migrations {
    return present(this.nodes.node(at).service(migrationService), "there is a migrator");
  }

  keyspace(at: number): Keyspace {
    return present(this.nodes.node(at).service(keyspaceService), "there is a keyspace");
  }

  /** Asks a shard's primary. */
  run(shard: ShardRecord, line: string): Promise<string> {
    return this.nodes.run(this.at(this.shard(shard.id).primary), line);
  }

  async start(slots: readonly SlotRange[], target = this.b, at = 0): Promise<string> {
    const begun = await this.nodes.simulation.settle(
      "a start",
      this.migrations(at).start(slots, target.id, "a test"),
      20_000,
    );
    if (begun.type === "refused") throw new Error(begun.reason);
    return begun.id;
  }

  task(id: string, at = 0): MigrationStatus | undefined {
    return this.migrations(at).tasks.find((each) => each.id === id);
  }

  async ended(id: string): Promise<MigrationStatus> {
    await this.nodes.until("the task to end everywhere", () =>
      this.up.every((at) => this.task(id, at)?.endedAtMs !== undefined),
    );
    return present(this.task(id, this.up[0]), "it was noted");
  }

  /** Nobody holds keys that are not its shard's, and members are equal. */
  async expectClean(): Promise<void> {
    const holds = (at: number): string[] => {
      const keyspace = this.keyspace(at);
      const slots = this.nodes.topology(at).selfShard?.slots ?? [];
      const isOwn = (slot: number): boolean => slots.some(({ first, last }) => first <= slot && slot <= last);
      return Array.from({ length: 16_384 }, (_, slot) =>
        keyspace.slotSize(slot) > 0 && !isOwn(slot) ? `${slot}` : "",
      ).filter((text) => text !== "");
    };
    const isClean = (at: number): boolean => holds(at).length === 0 && this.keyspace(at).hiddenCount === 0;
    await this.nodes.until("leftovers to be gone", () => this.up.every(isClean));
    await this.level();
    for (const at of this.up) {
      const replication = present(this.nodes.node(at).service(replicationService), "there is replication");
      if (replication.role !== "replica") continue;
      const primary = this.at(this.nodes.topology(at).selfShard?.primary ?? "");
      const isLevel = (): boolean =>
        present(this.nodes.node(primary).service(replicationService), "there is replication").position?.sequence ===
        replication.position?.sequence;
      await this.nodes.until("a replica to be level", isLevel);
      const digests = [at, primary].map((each) =>
        Array.from({ length: 16_384 }, (_, slot) => this.keyspace(each).digestSlot(slot)).join(""),
      );
      expect(digests[0] === digests[1], `node ${at} as its primary`).toBe(true);
    }
  }
}

/** Keys of the lower half, with their slots. */
function keysOf(count: number): readonly { readonly key: string; readonly slot: number }[] {
  const keys: { key: string; slot: number }[] = [];
  for (let number = 0; keys.length < count; number += 1) {
    const key = `key:${number}`;
    const bytes = encoder.encode(key);
    const slot = keySlot(bytes, 0, bytes.length);
    if (slot < 8192) keys.push({ key, slot });
  }
  return keys;
}

const LOWER: readonly SlotRange[] = [{ first: 0, last: 8191 }];

describe("a migration", () => {
  test("moves what there is, with expiry, and leaves nothing behind", async () => {
    for (const replicas of [0, 1]) {
      const shards = await TwoShards.of(replicas);
      const keys = keysOf(300);
      for (const { key } of keys) expect(await shards.run(shards.a, `SET ${key} ${key}`)).toBe("OK");
      await shards.run(shards.a, `PEXPIREAT ${keys[0]?.key} 99999999999999`);
      const id = await shards.start(LOWER);
      const task = await shards.ended(id);
      expect([task.phase, task.cause]).toEqual(["completed", "the target has committed everything"]);
      expect([shards.a.slots, shards.b.slots]).toEqual([[], [{ first: 0, last: 16_383 }]]);
      for (const { key, slot } of keys.slice(0, 20)) {
        expect(await shards.run(shards.b, `GET ${key}`)).toBe(key);
        expect(await shards.run(shards.a, `GET ${key}`)).toStartWith(`MOVED ${slot} `);
      }
      expect(await shards.run(shards.b, `PEXPIRETIME ${keys[0]?.key}`)).toBe("99999999999999");
      expect(await shards.run(shards.b, "DBSIZE")).toBe("300");
      await shards.expectClean();
      expect(await shards.run(shards.a, "DBSIZE")).toBe("0");
    }
  }, 60_000);
});
