/** Migrations, on whole nodes in a simulated world: what moves, what clients see of it, and what becomes of it when somebody fails. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { keySlot } from "../../src/codec/slot.ts";
import type { Config } from "../../src/config.ts";
import { type Keyspace, keyspaceService } from "../../src/contracts/keyspace.ts";
import { type MigrationStatus, type Migrations, migrationService } from "../../src/contracts/migration.ts";
import { replicationService } from "../../src/contracts/replication.ts";
import type { ShardRecord, SlotRange } from "../../src/contracts/topology.ts";
import { localClient } from "../support/local-node.ts";
import { SimNodes, hostOf } from "../support/sim-nodes.ts";

const encoder = new TextEncoder();
/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 300_000;

/** Two shards, `a` with the lower half of the slots, each with so many replicas; or three, with a third of the slots each. */
class TwoShards {
  readonly nodes: SimNodes;
  readonly #count: number;

  private constructor(replicas: number, more: Config, seed: number, shards: number) {
    this.#count = shards * (replicas + 1);
    const join = this.all.map((at) => `${hostOf(at)}:16379`).join(",");
    const config = { join, bootstrapExpect: this.#count, replicas, ...more };
    this.nodes = new SimNodes(
      this.all.map((at) => ({ ...config, name: `node-${at}` })),
      seed,
    );
  }

  static async of(replicas: number, more: Config = {}, seed = 1, count = 2): Promise<TwoShards> {
    const shards = new TwoShards(replicas, more, seed, count);
    await shards.nodes.up(shards.#count);
    await shards.nodes.until("one cluster", () => shards.nodes.isOne(...shards.all));
    await shards.level();
    return shards;
  }

  get all(): readonly number[] {
    return Array.from({ length: this.#count }, (_, at) => at);
  }

  /** Who leads the log. */
  get leader(): number {
    return present(
      this.all.find((at) => this.nodes.consensus(at).status.role === "leader"),
      "somebody leads",
    );
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

  async start(slots: readonly SlotRange[], target = this.b, at = 0, awaitsWord = false): Promise<string> {
    const begun = await this.nodes.simulation.settle(
      "a start",
      this.migrations(at).start([{ slots, target: target.id }], "a test", { awaitsWord }),
      20_000,
    );
    if (begun.type === "refused") throw new Error(begun.reason);
    return present(begun.ids[0], "there is a task");
  }

  /** Waits until the source's primary says that a task is in a phase. */
  async reaches(id: string, phase: MigrationStatus["phase"]): Promise<void> {
    await this.nodes.until(`phase ${phase}`, () => this.task(id, this.at(this.a.primary))?.phase === phase);
  }

  /** Lets all that waits for the rate go. */
  async unlimited(): Promise<void> {
    for (const at of this.up) await this.nodes.run(at, "CONFIG SET migration-bytes-per-second 0");
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
    const isClean = (at: number): boolean => {
      // Replicas go on hiding what is their shard's no more, and empty.
      const role = this.nodes.node(at).service(replicationService)?.role;
      return holds(at).length === 0 && (role === "replica" || this.keyspace(at).hiddenCount === 0);
    };
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

/** Three shards without replicas, two of which do not lead the log; and a key of the first of these two. */
async function besideTheLeader(): Promise<{
  readonly shards: TwoShards;
  readonly source: ShardRecord;
  readonly target: ShardRecord;
  readonly leader: number;
  readonly key: string;
}> {
  const shards = await TwoShards.of(0, {}, 1, 3);
  const { leader } = shards;
  const [source, target] = shards.map.shards.filter(({ primary }) => shards.at(primary) !== leader);
  if (source === undefined || target === undefined) throw new Error("there are three shards");
  const isInSource = (name: string): boolean => {
    const bytes = encoder.encode(name);
    const slot = keySlot(bytes, 0, bytes.length);
    return source.slots.some(({ first, last }) => first <= slot && slot <= last);
  };
  const names = Array.from({ length: 100 }, (_, number) => `key:${number}`);
  return { shards, source, target, leader, key: present(names.find(isInSource), "a key is in the source") };
}

/** Two keys of the upper half, in the order of their slots. */
const UPPER = [
  { key: "own:1", slot: 9019 },
  { key: "foo", slot: 12_182 },
] as const;
/** A few keys a second: there is time to look. */
/** As slow, and nobody is waited for as long as in life. */
const SOON_ABANDONED = { bytesPerSecond: "100b", abandonMs: 8000 };
const SLOW: Config = { plugins: { migrator: { bytesPerSecond: "100b" } } };
const KEYS = keysOf(60);
const LOWER: readonly SlotRange[] = [{ first: 0, last: 8191 }];
/** Where not all of them move. */
const LAST_MOVING = 8000;

describe("a migration", () => {
  test(
    "moves what there is, with expiry, and leaves nothing behind",
    async () => {
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
    },
    LIMIT_MS,
  );

  test(
    "takes along what clients write meanwhile, whatever it is",
    async () => {
      const shards = await TwoShards.of(1, SLOW);
      const keys = KEYS;
      const model = new Map<string, string>();
      for (const { key } of keys) {
        await shards.run(shards.a, `SET ${key} 1`);
        model.set(key, "1");
      }
      const id = await shards.start(LOWER);
      await shards.reaches(id, "streaming");
      for (const [at, { key }] of keys.entries()) {
        if (shards.task(id, shards.at(shards.a.primary))?.phase !== "streaming") break;
        if (at % 4 === 0) model.set(key, String(Number(await shards.run(shards.a, `INCR ${key}`))));
        else if (at % 4 === 1) {
          await shards.run(shards.a, `DEL ${key}`);
          model.delete(key);
        } else if (at % 4 === 2) {
          await shards.run(shards.a, `APPEND ${key} x`);
          model.set(key, `${model.get(key)}x`);
        } else {
          await shards.run(shards.a, `SET new:${key} y`);
          const bytes = encoder.encode(`new:${key}`);
          if (keySlot(bytes, 0, bytes.length) < 8192) model.set(`new:${key}`, "y");
        }
      }
      await shards.unlimited();
      expect((await shards.ended(id)).phase).toBe("completed");
      for (const [key, value] of model) expect(await shards.run(shards.b, `GET ${key}`)).toBe(value);
      expect(await shards.run(shards.b, "DBSIZE")).toBe(String(model.size));
      await shards.expectClean();
    },
    LIMIT_MS,
  );

  test(
    "begins with its first session, whoever hears of the task first",
    async () => {
      const shards = await TwoShards.of(0, {}, 1, 3);
      // One of them is led by who leads the log, and hears of it before the target does.
      for (const source of shards.map.shards) {
        const target = present(
          shards.map.shards.find(({ id }) => id !== source.id),
          "there are others",
        );
        const first = source.slots[0]?.first ?? 0;
        const id = await shards.start([{ first, last: first }], target);
        await shards.ended(id);
        expect(shards.task(id, shards.at(source.primary))?.progress?.restarts).toBe(0);
      }
    },
    LIMIT_MS,
  );

  test(
    "brings values that are longer than a message",
    async () => {
      const shards = await TwoShards.of(1);
      const [{ key } = { key: "" }] = keysOf(1);
      await shards.run(shards.a, `SETRANGE ${key} 3000000 end`);
      expect((await shards.ended(await shards.start(LOWER))).phase).toBe("completed");
      expect(await shards.run(shards.b, `STRLEN ${key}`)).toBe("3000003");
      expect(await shards.run(shards.b, `GETRANGE ${key} 3000000 -1`)).toBe("end");
      await shards.expectClean();
    },
    LIMIT_MS,
  );

  test(
    "is seen by nobody while it goes on, on either side of the target, and leaves nothing there when it is given up",
    async () => {
      const shards = await TwoShards.of(1, SLOW);
      for (const { key } of KEYS) await shards.run(shards.a, `SET ${key} 1`);
      await shards.run(shards.b, "SET other 1");
      const id = await shards.start(LOWER);
      const [target, replica] = [shards.at(shards.b.primary), shards.at(shards.b.replicas[0] ?? "")];
      const holds = (at: number): boolean => KEYS.some(({ slot }) => shards.keyspace(at).slotSize(slot) > 0);
      await shards.nodes.until("keys to come", () => holds(target) && holds(replica));
      for (const at of [target, replica]) {
        expect(await shards.nodes.run(at, "DBSIZE")).toBe("1");
        expect(await shards.nodes.run(at, "KEYS *")).toBe("[other]");
        expect(await shards.nodes.run(at, "SCAN 0 COUNT 1000")).toBe("[0 [other]]");
        expect(await shards.nodes.run(at, "RANDOMKEY")).toBe("other");
        const come = KEYS.find(({ slot }) => shards.keyspace(at).slotSize(slot) > 0);
        expect(await shards.nodes.run(at, `CLUSTER COUNTKEYSINSLOT ${come?.slot ?? 0}`)).toBe("0");
        expect(await shards.nodes.run(at, `CLUSTER GETKEYSINSLOT ${come?.slot ?? 0} 10`)).toBe("[]");
      }
      expect(await shards.run(shards.b, `GET ${keysOf(1)[0]?.key}`)).toStartWith("MOVED ");
      await shards.nodes.simulation.settle("the end", shards.migrations(0).cancel(id, "a test"), 20_000);
      const task = await shards.ended(id);
      expect([task.phase, task.cause]).toEqual(["aborted", "a test"]);
      await shards.expectClean();
      expect(await shards.run(shards.a, "DBSIZE")).toBe("60");
      expect(await shards.run(shards.b, "DBSIZE")).toBe("1");
    },
    LIMIT_MS,
  );

  test(
    "waits while it is paused, and goes on",
    async () => {
      const shards = await TwoShards.of(0, SLOW);
      for (const { key } of KEYS) await shards.run(shards.a, `SET ${key} 1`);
      const id = await shards.start(LOWER);
      await shards.reaches(id, "streaming");
      const { simulation } = shards.nodes;
      await simulation.settle("a pause", shards.migrations(0).pause(id, "a test"), 20_000);
      await shards.reaches(id, "waiting");
      await shards.unlimited();
      await simulation.runFor(5000);
      expect(shards.task(id)?.endedAtMs).toBeUndefined();
      expect(shards.task(id, shards.at(shards.a.primary))?.waitingFor).toBe("it is paused");
      await simulation.settle("its end", shards.migrations(0).resume(id, "a test"), 20_000);
      expect((await shards.ended(id)).phase).toBe("completed");
      await shards.expectClean();
    },
    LIMIT_MS,
  );

  test(
    "is kept level until it may be completed, if that is wanted",
    async () => {
      const shards = await TwoShards.of(1);
      for (const { key } of KEYS) await shards.run(shards.a, `SET ${key} 1`);
      const id = await shards.start(LOWER, shards.b, 0, true);
      await shards.reaches(id, "level");
      const { simulation } = shards.nodes;
      await simulation.runFor(5000);
      const task = shards.task(id, shards.at(shards.a.primary));
      expect([task?.phase, task?.awaitsWord, task?.waitingFor]).toEqual(["level", true, "the word to be completed"]);
      // It serves them meanwhile, and what is written goes on with them.
      const [{ key } = { key: "" }] = KEYS;
      expect(await shards.run(shards.a, `SET ${key} 2`)).toBe("OK");
      await simulation.settle("the word", shards.migrations(1).allowCompletion(id, "a test"), 20_000);
      expect((await shards.ended(id)).phase).toBe("completed");
      expect(await shards.run(shards.b, `GET ${key}`)).toBe("2");
      await shards.expectClean();
    },
    LIMIT_MS,
  );

  test(
    "is told of keys that are all removed at once, and only of those that move",
    async () => {
      const shards = await TwoShards.of(1, SLOW);
      for (const { key } of KEYS) await shards.run(shards.a, `SET ${key} 1`);
      await shards.run(shards.b, "SET other 1");
      const id = await shards.start(LOWER);
      await shards.nodes.until("keys to come", () =>
        KEYS.some(({ slot }) => shards.keyspace(shards.at(shards.b.primary)).slotSize(slot) > 0),
      );
      // At the target it removes what is the target's, and nothing that is on its way.
      expect(await shards.run(shards.b, "FLUSHALL")).toBe("OK");
      expect(KEYS.some(({ slot }) => shards.keyspace(shards.at(shards.b.primary)).slotSize(slot) > 0)).toBe(true);
      await shards.run(shards.b, "SET other 2");
      expect(await shards.run(shards.a, "FLUSHALL")).toBe("OK");
      await shards.unlimited();
      expect((await shards.ended(id)).phase).toBe("completed");
      expect(await shards.run(shards.b, "KEYS *")).toBe("[other]");
      await shards.expectClean();
    },
    LIMIT_MS,
  );

  test(
    "evicts what the target shows, where its policy lets that go, and nothing that comes",
    async () => {
      const shards = await TwoShards.of(1);
      const moved = keysOf(200);
      for (const { key } of moved) await shards.run(shards.a, `SET ${key} ${"x".repeat(1000)} EX 1000`);
      const own = Array.from({ length: 400 }, (_, number) => `own:${number}`).filter(
        (key) => keySlot(encoder.encode(key), 0, key.length) >= 8192,
      );
      for (const key of own) await shards.run(shards.b, `SET ${key} ${"x".repeat(2000)} EX 100`);
      const target = shards.keyspace(shards.at(shards.b.primary));
      await shards.run(shards.b, "CONFIG SET maxmemory-policy allkeys-lru");
      // There is too much before the first key has come.
      const limit = target.usedBytes - 10_000;
      await shards.run(shards.b, `CONFIG SET maxmemory ${limit}`);
      let hidden = 0;
      const id = await shards.start(LOWER);
      await shards.nodes.until("the last of it", () => {
        if (moved.every(({ slot }) => target.isHidden(slot))) {
          const came = moved.filter(({ slot }) => target.slotSize(slot) > 0).length;
          // What is on its way does not go.
          expect(came).toBeGreaterThanOrEqual(hidden);
          hidden = came;
        }
        return shards.task(id)?.endedAtMs !== undefined;
      });
      const task = await shards.ended(id);
      expect([task.phase, task.cause]).toEqual(["completed", "the target has committed everything"]);
      const evicted = Number(/evicted_keys:([0-9]+)/.exec(await shards.run(shards.b, "INFO stats"))?.[1]);
      expect(hidden).toBe(moved.length);
      expect(evicted).toBeGreaterThan(80);
      expect(evicted).toBeLessThan(own.length);
      expect(await shards.run(shards.b, "DBSIZE")).toBe(String(moved.length + own.length - evicted));
      expect(target.usedBytes).toBeLessThan(limit * 1.05);
      await shards.expectClean();
    },
    LIMIT_MS,
  );

  for (const [policy, reason] of [
    ["volatile-lru", "has run out, and volatile-lru finds nothing more that may go"],
    ["noeviction", "has run out"],
  ] as const) {
    test(
      `ends where there is nothing that may go: ${policy}`,
      async () => {
        const shards = await TwoShards.of(0);
        for (const { key } of keysOf(200)) await shards.run(shards.a, `SET ${key} ${"x".repeat(1000)} EX 1000`);
        await shards.run(shards.b, `CONFIG SET maxmemory-policy ${policy}`);
        await shards.run(shards.b, `CONFIG SET maxmemory 100000`);
        const task = await shards.ended(await shards.start(LOWER));
        expect([task.phase, task.cause]).toEqual([
          "aborted",
          `the target cannot take it: its memory (maxmemory 100000) ${reason}`,
        ]);
        await shards.expectClean();
        expect(await shards.run(shards.a, "DBSIZE")).toBe("200");
      },
      LIMIT_MS,
    );
  }

  test(
    "ends where the target's machine has no memory for a value, with that as its cause",
    async () => {
      const shards = await TwoShards.of(0);
      for (const { key } of KEYS) await shards.run(shards.a, `SET ${key} ${"x".repeat(1000)}`);
      shards.keyspace(shards.at(shards.b.primary)).store = () => {
        throw new RangeError("Out of memory");
      };
      const task = await shards.ended(await shards.start(LOWER));
      expect([task.phase, task.cause]).toEqual([
        "aborted",
        "the target cannot take it: there is no memory for a value of 1000 bytes",
      ]);
      await shards.expectClean();
      expect(await shards.run(shards.a, "DBSIZE")).toBe(String(KEYS.length));
    },
    LIMIT_MS,
  );

  test(
    "loses no write to a key that expired behind a fence which was taken back: the target hears that it expired",
    async () => {
      const { shards, source, target, leader, key } = await besideTheLeader();
      const { nodes } = shards;
      const [from, to] = [shards.at(source.primary), shards.at(target.primary)];
      await nodes.run(from, `SET ${key} 41 PX 400`);
      const id = await shards.start(source.slots, target, leader);
      await nodes.until("the fence", () => shards.task(id, from)?.phase === "fenced");
      // For so long the target does not say that it has everything; the session goes on.
      nodes.simulation.stall(hostOf(to), 700);
      await nodes.until("the fence to be taken back", () => shards.task(id, from)?.phase !== "fenced");
      expect(shards.keyspace(from).size).toBe(0);
      expect(await nodes.run(from, `INCR ${key}`)).toBe("1");
      const task = await shards.ended(id);
      expect([task.phase, task.cause]).toEqual(["completed", "the target has committed everything"]);
      expect(await nodes.run(to, `GET ${key}`)).toBe("1");
    },
    LIMIT_MS,
  );

  test(
    "meets a MIGRATE that takes a key out of the cluster: the key stays, and MIGRATE does not say that it was moved",
    async () => {
      const shards = await TwoShards.of(0);
      const { simulation } = shards.nodes;
      const [{ key } = { key: "" }] = keysOf(1);
      // A server that takes its time to say OK.
      let hasHeard = false;
      let answer = (): void => undefined;
      simulation.addHost("10.0.9.9", async ({ network }) => {
        await network.listen({
          host: "10.0.9.9",
          port: 7000,
          accept: () => ({
            data: (stream) => {
              hasHeard = true;
              answer = () => void stream.write(encoder.encode("+OK\r\n+OK\r\n"), 0, 10);
            },
            writable: () => undefined,
            closed: () => undefined,
          }),
        });
      });
      await shards.run(shards.a, `SET ${key} 41`);
      const client = localClient(shards.nodes.node(shards.at(shards.a.primary)));
      const migrating = client.run(`MIGRATE 10.0.9.9 7000 ${key} 0 10000`);
      await shards.nodes.until("the key to be on its way", () => hasHeard);
      expect((await shards.ended(await shards.start(LOWER))).phase).toBe("completed");
      answer();
      expect(await simulation.settle("MIGRATE", migrating, 20_000)).toBe(
        "IOERR the slot is being given to another shard: the keys stay in this cluster",
      );
      expect(await shards.run(shards.b, `GET ${key}`)).toBe("41");
      await shards.expectClean();
    },
    LIMIT_MS,
  );

  test(
    "sends no client to and fro where the target hears late of the fence: it is not completed before",
    async () => {
      const { shards, source, target, leader, key } = await besideTheLeader();
      const { nodes } = shards;
      const { simulation } = nodes;
      const [from, to] = [shards.at(source.primary), shards.at(target.primary)];
      await nodes.run(from, `SET ${key} 41`);
      simulation.clog([hostOf(leader)], [hostOf(to)], 60);
      const id = await shards.start(source.slots, target, leader);
      const clients = [from, to].map((at) => localClient(nodes.node(at)));
      let most = 0;
      while (shards.task(id, to)?.endedAtMs === undefined) {
        let asked = 0;
        let reply = "MOVED";
        for (; reply.startsWith("MOVED"); asked += 1) {
          const client = present(clients[asked % 2], "there are two");
          reply = await simulation.settle("a GET", client.run(`GET ${key}`), 20_000);
          await simulation.runFor(0.5);
        }
        expect(reply).toBe("41");
        most = Math.max(most, asked);
      }
      expect(shards.task(id, to)?.phase).toBe("completed");
      expect(most).toBe(2);
    },
    LIMIT_MS,
  );

  test(
    "is not told of as keys that are gone by a replica of the source which hears of it late",
    async () => {
      const shards = await TwoShards.of(1);
      const { nodes } = shards;
      const { simulation } = nodes;
      const keys = keysOf(20);
      for (const { key } of keys) await shards.run(shards.a, `SET ${key} 41`);
      const { leader } = shards;
      const [primary, replica] = [shards.at(shards.a.primary), shards.at(shards.a.replicas[0] ?? "")];
      expect([primary, replica]).not.toContain(leader);
      const client = localClient(nodes.node(replica));
      await simulation.settle("READONLY", client.run("READONLY"), 1000);
      simulation.clog([hostOf(leader)], [hostOf(replica)], 60);
      const id = await shards.start(LOWER, shards.b, leader);
      const told = new Set<string>();
      while (shards.task(id, replica)?.endedAtMs === undefined) {
        for (const { key } of keys) {
          const reply = await simulation.settle(`GET ${key}`, client.run(`GET ${key}`), 20_000);
          told.add(reply.replace(/ .*/, ""));
        }
        await simulation.runFor(1);
      }
      expect([...told].toSorted()).toEqual(["41", "MOVED"]);
    },
    LIMIT_MS,
  );

  test(
    "takes what clients make of keys that have come, whatever limits the target has for clients of its own",
    async () => {
      const shards = await TwoShards.of(0, { plugins: { resp: {}, migrator: { bytesPerSecond: "1mb" } } });
      const names = Array.from({ length: 8 }, (_, at) => `{${KEYS[0]?.key ?? ""}}${at}`);
      const slot = KEYS[0]?.slot ?? 0;
      for (const name of names) await shards.run(shards.a, `SETRANGE ${name} 899999 x`);
      expect(await shards.run(shards.b, "CONFIG SET proto-max-bulk-len 1mb")).toBe("OK");
      const id = await shards.start(LOWER);
      const keyspace = shards.keyspace(shards.at(shards.b.primary));
      await shards.nodes.until("some to have come", () => keyspace.slotSize(slot) >= 3);
      for (const name of names) expect(await shards.run(shards.a, `SETRANGE ${name} 1199999 y`)).toBe("1200000");
      await shards.unlimited();
      expect((await shards.ended(id)).phase).toBe("completed");
      for (const name of names) expect(await shards.run(shards.b, `STRLEN ${name}`)).toBe("1200000");
      expect(await shards.run(shards.b, `SETRANGE ${names[0] ?? ""} 1299999 z`)).toContain("exceeds maximum");
    },
    LIMIT_MS,
  );

  for (const [side, ofTarget] of [
    ["target", true],
    ["source, of which it has left keys behind,", false],
  ] as const) {
    test(
      `makes nobody wait longer when the primary of its ${side} hands its shard over`,
      async () => {
        const shards = await TwoShards.of(1);
        const { nodes } = shards;
        const { simulation } = nodes;
        const keys = keysOf(ofTarget ? 400 : 20_000);
        const client = localClient(nodes.node(shards.at(shards.a.primary)));
        const lines = keys.map(({ key }) => (ofTarget ? `SETRANGE ${key} 99999 x` : `SET ${key} 1`));
        await simulation.settle("sets", Promise.all(lines.map((line) => client.run(line))), 60_000);
        const latencyMs = ofTarget ? 1 : 5;
        simulation.network.settings.latencyMinMs = latencyMs;
        const id = await shards.start([{ first: 0, last: LAST_MOVING }]);
        const isMidway = (): boolean =>
          ofTarget
            ? (shards.task(id, shards.at(shards.a.primary))?.progress?.keysMoved ?? 0) > 100
            : shards.task(id)?.endedAtMs !== undefined;
        await nodes.until("it to be under way", isMidway);
        const shard = (): ShardRecord => (ofTarget ? shards.b : shards.a);
        const { primary: former } = shard();
        const at = shards.at(former);
        const key = ofTarget ? "foo" : keys.find(({ slot }) => slot > LAST_MOVING)?.key;
        const left = keys.filter(({ slot }) => slot <= LAST_MOVING && shards.keyspace(at).slotSize(slot) > 0);
        expect(ofTarget || left.length > 10_000).toBe(true);
        void nodes.run(shards.at(shard().replicas[0] ?? ""), "CLUSTER FAILOVER");
        // By then commands wait.
        await simulation.runFor(3 * latencyMs + 2);
        const askedAtMs = simulation.nowMs;
        const reply = await simulation.settle("an answer", localClient(nodes.node(at)).run(`SET ${key ?? ""} 2`), 5000);
        // Some ten messages one after the other, and a lease that is asked for with the next beat.
        expect(simulation.nowMs - askedAtMs).toBeLessThan(50 * latencyMs);
        expect(reply).toMatch(/^(OK|MOVED .*)$/);
        await nodes.until("another primary", () => shard().primary !== former);
        expect((await shards.ended(id)).phase).toBe("completed");
        await shards.expectClean();
      },
      LIMIT_MS,
    );
  }

  test(
    "that is fenced sends nobody away while the source's primary hands its shard over",
    async () => {
      const shards = await TwoShards.of(1);
      const { nodes } = shards;
      const { simulation } = nodes;
      const [{ key } = { key: "" }] = KEYS;
      await shards.run(shards.a, `SET ${key} 1`);
      const id = await shards.start(LOWER);
      await shards.reaches(id, "fenced");
      simulation.stall(hostOf(shards.at(shards.b.replicas[0] ?? "")), 400);
      const at = shards.at(shards.a.primary);
      const { primary: former } = shards.a;
      const told = new Set<string>();
      const failover = localClient(nodes.node(shards.at(shards.a.replicas[0] ?? ""))).run("CLUSTER FAILOVER");
      for (let count = 0; count < 3000 && shards.a.primary === former; count += 1) {
        void localClient(nodes.node(at))
          .run(`GET ${key}`)
          .then((reply) => told.add(reply.replace(/ .*/, "")));
        await simulation.runFor(0.1);
      }
      expect(await failover).toBe("OK");
      await shards.ended(id);
      await simulation.runFor(3000);
      expect([...told]).toEqual(["MOVED"]);
    },
    LIMIT_MS,
  );

  test(
    "is not told of as keys that there are not by a replica of the target which is not in sync, and gets them late",
    async () => {
      const shards = await TwoShards.of(1, { plugins: { replication: { lagMs: 100 } } });
      const { nodes } = shards;
      const { simulation } = nodes;
      const { a: target, b: source } = shards;
      const [primary, replica] = [shards.at(target.primary), shards.at(target.replicas[0] ?? "")];
      const client = localClient(nodes.node(replica));
      await simulation.settle("READONLY", client.run("READONLY"), 1000);
      simulation.clog([hostOf(primary)], [hostOf(replica)], 600);
      await shards.run(target, `SET ${KEYS[0]?.key ?? ""} 1`);
      await nodes.until("the replica to be out of the set", () => shards.a.inSync.length === 1);
      for (const { key } of UPPER) await shards.run(source, `SET ${key} 41`);
      const { leader } = shards;
      expect([primary, replica]).not.toContain(leader);
      await shards.start(source.slots, target, leader);
      const keyspace = shards.keyspace(replica);
      const isOwn = (): boolean =>
        nodes.topology(replica).selfShard?.slots.some(({ last }) => last === 16_383) === true;
      await nodes.until("the replica to know that the slots are its shard's", isOwn);
      expect(keyspace.slotSize(UPPER[0].slot)).toBe(0);
      const told = new Set<string>();
      const look = async (): Promise<void> => {
        for (const { key } of UPPER) {
          const reply = await simulation.settle(`GET ${key}`, client.run(`GET ${key}`), 20_000);
          told.add(reply.replace(/ .*/, ""));
        }
      };
      await look();
      expect([...told]).toEqual(["MOVED"]);
      for (let tries = 0; tries < 100 && told.size === 1; tries += 1) {
        await simulation.runFor(20);
        await look();
      }
      expect([...told]).toEqual(["MOVED", "41"]);
    },
    LIMIT_MS,
  );

  test(
    "is shown to nobody by a replica of the target which hears of it late, though all that has come is what clients write meanwhile",
    async () => {
      const shards = await TwoShards.of(1, SLOW);
      const { nodes } = shards;
      const { simulation } = nodes;
      const { leader } = shards;
      const { a: target, b: source } = shards;
      const [primary, replica] = [shards.at(target.primary), shards.at(target.replicas[0] ?? "")];
      expect([primary, replica]).not.toContain(leader);
      // An empty slot, and one behind it that takes its time.
      const [{ slot, key }, other] = UPPER;
      await shards.run(source, `SET ${other.key} ${"x".repeat(1000)}`);
      const keyspace = shards.keyspace(replica);
      simulation.clog([hostOf(leader)], [hostOf(replica)], 500);
      const slots = [slot, other.slot].map((each) => ({ first: each, last: each }));
      const id = await shards.start(slots, target, leader);
      const client = localClient(nodes.node(shards.at(source.primary)));
      let hasCome = false;
      const look = (): void => {
        const { map, selfShard } = nodes.topology(replica);
        const isOwn = selfShard?.slots.some(({ first, last }) => first <= slot && slot <= last) === true;
        const isKnown = isOwn || map.migrations.length > 0;
        if (keyspace.slotSize(slot) > 0 && !isKnown) hasCome = true;
        if (!isOwn) expect(keyspace.size).toBe(0);
      };
      while (shards.task(id, replica) === undefined) {
        void client.run(`SET ${key} 1`);
        await simulation.runFor(1);
        look();
      }
      expect(hasCome).toBe(true);
      await shards.unlimited();
      await nodes.until("it to be shown", () => keyspace.size === 2);
      await shards.expectClean();
    },
    LIMIT_MS,
  );

  test.each(["deny", "allow-reads"])(
    "has commands that wait answered when their primary has lost its lease meanwhile, since nobody knows how long that may be (partition-policy %s)",
    async (policy) => {
      const shards = await TwoShards.of(1);
      const { nodes } = shards;
      const { simulation } = nodes;
      await shards.run(shards.a, `CLUSTER SETTING partition-policy ${policy}`);
      const [{ key } = { key: "" }] = KEYS;
      await shards.run(shards.a, `SET ${key} 1`);
      await shards.reaches(await shards.start(LOWER), "fenced");
      simulation.stall(hostOf(shards.at(shards.b.replicas[0] ?? "")), 400);
      const at = shards.at(shards.a.primary);
      const replies = [`GET ${key}`, "FLUSHALL"].map((line) => localClient(nodes.node(at)).run(line));
      simulation.isolate([hostOf(at)]);
      const down =
        "CLUSTERDOWN The cluster is down: the slot is about to be another node's, and this node has no lease";
      expect(await simulation.settle("replies", Promise.all(replies), 2000)).toEqual([down, down]);
    },
    LIMIT_MS,
  );

  for (const phase of ["streaming", "fenced"] as const) {
    test(
      `is given up when its target has gone for good while ${phase}, and blocks nothing any more`,
      async () => {
        const shards = await TwoShards.of(0, { plugins: { migrator: SOON_ABANDONED } }, 1, 3);
        const { nodes } = shards;
        const [{ key } = { key: "" }] = KEYS;
        await shards.run(shards.a, `SET ${key} 1`);
        const slots = shards.a.slots;
        const id = await shards.start(slots);
        if (phase === "fenced") await shards.unlimited();
        await shards.reaches(id, phase);
        nodes.simulation.crash(hostOf(shards.at(shards.b.primary)), "power");
        const task = await shards.ended(id);
        expect([task.phase, task.cause.replace(/:.*/, "")]).toEqual([
          "aborted",
          "the target's primary has not taken part for 8 s",
        ]);
        expect(await shards.run(shards.a, `GET ${key}`)).toBe("1");
        expect(await shards.run(shards.a, `CLUSTER DELSLOTS ${slots[0]?.first ?? ""}`)).toBe("OK");
      },
      LIMIT_MS,
    );

    test(
      `is given up when its source has gone for good while ${phase}: the target holds nothing for long`,
      async () => {
        const shards = await TwoShards.of(0, { plugins: { migrator: SOON_ABANDONED } }, 1, 3);
        const { nodes } = shards;
        for (const { key } of KEYS) await shards.run(shards.a, `SET ${key} 1`);
        const id = await shards.start(shards.a.slots);
        if (phase === "fenced") await shards.unlimited();
        await shards.reaches(id, phase);
        nodes.simulation.crash(hostOf(shards.at(shards.a.primary)), "power");
        const flushed = localClient(nodes.node(shards.at(shards.b.primary))).run("FLUSHALL");
        expect(await nodes.simulation.settle("FLUSHALL", flushed, 10_000)).toBe("OK");
        const task = await shards.ended(id);
        expect([task.phase, task.cause]).toEqual(["aborted", "the source's primary has sent nothing for 8 s"]);
        const target = shards.keyspace(shards.at(shards.b.primary));
        await nodes.until("leftovers to be gone", () => target.hiddenCount === 0);
        expect(KEYS.filter(({ slot }) => target.slotSize(slot) > 0)).toEqual([]);
      },
      LIMIT_MS,
    );
  }

  test(
    "brings a string of 100 MiB",
    async () => {
      const shards = await TwoShards.of(1);
      const [{ key } = { key: "" }] = keysOf(1);
      await shards.run(shards.a, `SETRANGE ${key} 104857600 end`);
      expect((await shards.ended(await shards.start(LOWER))).phase).toBe("completed");
      expect(await shards.run(shards.b, `STRLEN ${key}`)).toBe("104857603");
      expect(await shards.run(shards.b, `GETRANGE ${key} 104857598 -1`)).toBe("\0\0end");
    },
    LIMIT_MS,
  );

  for (const [what, victim] of [
    ["the source's primary", "a"],
    ["the target's primary", "b"],
  ] as const) {
    test(
      `goes on under whoever is promoted when ${what} dies`,
      async () => {
        const shards = await TwoShards.of(1, SLOW);
        for (const { key } of KEYS) await shards.run(shards.a, `SET ${key} 1`);
        const id = await shards.start(LOWER);
        await shards.nodes.until("keys to come", () =>
          KEYS.some(({ slot }) => shards.keyspace(shards.at(shards.b.primary)).slotSize(slot) > 0),
        );
        const at = shards.at(shards[victim].primary);
        const before = shards[victim].primary;
        shards.nodes.simulation.crash(hostOf(at), "power");
        await shards.nodes.until("another primary", () => shards[victim].primary !== before);
        await shards.unlimited();
        await shards.nodes.until("the task to end", () =>
          shards.up.every((each) => shards.task(id, each)?.endedAtMs !== undefined),
        );
        expect(shards.task(id, shards.up[0])?.phase).toBe("completed");
        shards.nodes.simulation.restart(hostOf(at));
        await shards.nodes.up(4);
        for (const { key } of KEYS) expect(await shards.run(shards.b, `GET ${key}`)).toBe("1");
        await shards.expectClean();
      },
      LIMIT_MS,
    );
  }
});
