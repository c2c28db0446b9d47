/** Slots that move by themselves: whole nodes on virtual time. When that is decided is in `auto-rebalance-decisions.test.ts`. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { encodeLoadsMessage } from "../../src/codec/loads-codec.ts";
import { keySlot } from "../../src/codec/slot.ts";
import type { Config } from "../../src/config.ts";
import { BusChannel, busService } from "../../src/contracts/bus.ts";
import { migrationService } from "../../src/contracts/migration.ts";
import type { ClusterMap, ShardRecord } from "../../src/contracts/topology.ts";
import { AUTO_CAUSE } from "../../src/protocol/plan/auto-rebalance.ts";
import { SimNodes, hostOf } from "../support/sim-nodes.ts";

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 300_000;
const MOVE_MS = 120_000;
const SOON = { settleMs: 2000, lastsMs: 10_000, slotsPerTask: 1024, pauseMs: 100, measureMs: 1000 };

type Settings = Readonly<Record<string, number | string>>;

interface ClusterOptions {
  readonly founders?: number;
  readonly settings?: Settings;
  readonly more?: Config;
  /** Of each shard that is founded. */
  readonly replicas?: number;
  /** Nodes that join later: the first as a primary, others as its replicas. */
  readonly joiners?: number;
}

/** Three primaries with a third of the slots each, and others that join when they are started; each has a disk. */
class Cluster {
  readonly nodes: SimNodes;

  private constructor({ founders, settings, more, replicas, joiners }: Required<ClusterOptions>) {
    const join = Array.from({ length: founders }, (_, at) => `${hostOf(at)}:16379`).join(",");
    this.nodes = new SimNodes(
      Array.from({ length: founders + joiners }, (_, at): Config => ({
        name: `n${at}`,
        dataDir: "data",
        join,
        ...more,
        ...(at < founders ? { bootstrapExpect: founders, replicas } : {}),
        ...(at > founders ? { replicaOf: `n${founders}` } : {}),
        plugins: { "auto-rebalance": { ...SOON, ...settings }, ...more.plugins },
      })),
    );
    for (let at = founders; at < founders + joiners; at += 1) this.nodes.simulation.crash(hostOf(at));
  }

  static async of(options: ClusterOptions = {}): Promise<Cluster> {
    const { founders = 3, settings = {}, more = {}, replicas = 0, joiners = 1 } = options;
    const cluster = new Cluster({ founders, settings, more, replicas, joiners });
    const all = Array.from({ length: founders }, (_, at) => at);
    await cluster.nodes.up(founders);
    await cluster.nodes.until("one cluster", () => cluster.nodes.isOne(...all), MOVE_MS);
    return cluster;
  }

  get up(): readonly number[] {
    return Array.from({ length: 12 }, (_, at) => at).filter((at) => this.nodes.isUp(at));
  }

  /** The newest map that anybody has. */
  get map(): ClusterMap {
    const maps = this.up.map((at) => this.nodes.topology(at).map);
    return present(maps.toSorted((one, other) => other.version - one.version)[0], "somebody has a map");
  }

  get leader(): number {
    return present(
      this.up.find((at) => this.nodes.consensus(at).leadership !== undefined),
      "somebody leads",
    );
  }

  set(name: string, value: string): Promise<string> {
    return this.nodes.run(this.up[0] ?? 0, `CLUSTER SETTING ${name} ${value}`);
  }

  join(at: number): Promise<void> {
    this.nodes.simulation.restart(hostOf(at));
    return this.nodes.until(
      `node ${at} to be in the map`,
      () => this.nodes.isUp(at) && this.nodes.topology(at).waitingFor === undefined && this.shardOf(at) !== undefined,
      MOVE_MS,
    );
  }

  idOf(at: number): string {
    return present(
      this.map.nodes.find(({ name }) => name === `n${at}`),
      "the node is in the map",
    ).id;
  }

  shardOf(at: number): ShardRecord | undefined {
    const id = this.map.nodes.find(({ name }) => name === `n${at}`)?.id;
    return this.map.shards.find(
      ({ primary, replicas }) => primary === id || (id !== undefined && replicas.includes(id)),
    );
  }

  slotsOf(at: number): number {
    return (this.shardOf(at)?.slots ?? []).reduce((sum, { first, last }) => sum + last - first + 1, 0);
  }

  /** Causes of tasks that were started. */
  get causes(): readonly string[] {
    const at = this.up.toSorted((a, b) => this.nodes.topology(b).map.version - this.nodes.topology(a).map.version)[0];
    return this.nodes
      .topology(at ?? 0)
      .history.filter(({ changes }) => changes.some((change) => /^migration .* started/.test(change)))
      .map(({ cause }) => cause);
  }

  /** Some field of INFO at the leader. */
  async info(field: string): Promise<string> {
    return (
      new RegExp(`^${field}:(.*)\r$`, "m").exec(await this.nodes.run(this.leader, "INFO auto-rebalance"))?.[1] ?? ""
    );
  }

  /** No task goes on, and all have their part, but for so many slots. */
  isEven(which: readonly number[], within: number): boolean {
    const part = 16_384 / which.length;
    return this.map.migrations.length === 0 && which.every((at) => Math.abs(this.slotsOf(at) - part) <= within);
  }
}

describe("a node that joins", () => {
  test(
    "gets its part by itself, in steps with their causes, and then nothing moves any more",
    async () => {
      const cluster = await Cluster.of();
      const { nodes } = cluster;
      expect(await cluster.set("auto-rebalance", "slots")).toBe("OK");
      await cluster.join(3);
      await nodes.until("a task", () => cluster.map.migrations.length > 0, MOVE_MS);
      const shown = present(nodes.node(1).service(migrationService), "there is a migrator").tasks.map(
        ({ cause }) => cause,
      );
      await nodes.until("an even cluster", () => cluster.isEven([0, 1, 2, 3], 250), MOVE_MS);
      const cause = `${AUTO_CAUSE}shard ${cluster.shardOf(3)?.id} (primary n3) joined without slots`;
      expect(shown).toEqual([cause]);
      expect(cluster.causes.length).toBeGreaterThanOrEqual(4);
      expect(new Set(cluster.causes)).toEqual(new Set([cause]));
      // Its last steps.
      await nodes.simulation.runFor(10_000);
      const { length } = cluster.causes;
      expect(nodes.logged(cluster.leader, "auto-rebalance: moves").length).toBe(cluster.causes.length);
      const { tasks } = present(nodes.node(2).service(migrationService), "there is a migrator");
      expect(tasks.map(({ phase, startedFor }) => [phase, startedFor])).toEqual(tasks.map(() => ["completed", cause]));
      await nodes.simulation.runFor(60_000);
      expect(cluster.causes).toHaveLength(length);
      expect(await cluster.info("auto_rebalance_state")).toBe("rest");
      expect(await cluster.info("auto_rebalance_reason")).toStartWith("even: slots of shard ");
    },
    LIMIT_MS,
  );

  test(
    "gets nothing while it is off; INFO says so",
    async () => {
      const cluster = await Cluster.of();
      await cluster.join(3);
      await cluster.nodes.simulation.runFor(60_000);
      expect([cluster.slotsOf(3), cluster.causes]).toEqual([0, []]);
      expect(await cluster.info("auto_rebalance_reason")).toBe('the cluster setting "auto-rebalance" is "off"');
      expect(cluster.nodes.lines.filter((line) => line.includes("auto-rebalance"))).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "and is drained later stays empty, until somebody gives it slots",
    async () => {
      const cluster = await Cluster.of();
      const { nodes } = cluster;
      await cluster.set("auto-rebalance", "slots");
      await cluster.join(3);
      await nodes.until("an even cluster", () => cluster.isEven([0, 1, 2, 3], 250), MOVE_MS);
      const before = cluster.causes.length;
      const drained = present(cluster.shardOf(3), "it has a shard");
      const target = present(cluster.shardOf(0), "it has a shard").id;
      const words = drained.slots.map(({ first, last }) => `${first} ${last}`).join(" ");
      expect(await nodes.run(1, `CLUSTER MOVE ${target} SLOTSRANGE ${words} CAUSE drain`)).toMatch(/^\[[0-9a-f]{8}\]$/);
      await nodes.until("it to be empty", () => cluster.slotsOf(3) === 0, MOVE_MS);
      expect(cluster.shardOf(3)?.wasEmptied).toBe(true);
      // The others even out what they got, and it gets nothing of that.
      await nodes.until("the others to be even", () => cluster.isEven([0, 1, 2], 300), MOVE_MS);
      await nodes.simulation.runFor(60_000);
      expect(cluster.slotsOf(3)).toBe(0);
      const own = cluster.causes.slice(before + 1);
      expect(own.length).toBeGreaterThan(0);
      expect(own.every((cause) => cause.startsWith(`${AUTO_CAUSE}slots of shard ${target} (primary n0) `))).toBe(true);
      await cluster.set("auto-rebalance-weights", "n3=1");
      await nodes.until("an even cluster", () => cluster.isEven([0, 1, 2, 3], 250), MOVE_MS);
      expect(cluster.shardOf(3)?.wasEmptied).toBeUndefined();
      await cluster.set("auto-rebalance-weights", "n3=0,nobody=2");
      await nodes.until("it to be empty", () => cluster.isEven([0, 1, 2], 300), MOVE_MS);
      expect(await cluster.info("auto_rebalance_unknown_weights")).toBe("nobody");
      expect(cluster.causes.at(-1)).toBe(
        `${AUTO_CAUSE}shard ${drained.id} (primary n3) is to have none, by its weight`,
      );
    },
    LIMIT_MS,
  );

  test(
    "gets its part from another leader when the one that began is gone",
    async () => {
      const cluster = await Cluster.of({ settings: { slotsPerTask: 128 } });
      const { nodes } = cluster;
      await cluster.set("auto-rebalance", "slots");
      await cluster.join(3);
      await nodes.until("it to have begun", () => cluster.slotsOf(3) > 0, MOVE_MS);
      const cause = present(cluster.causes[0], "it has a cause");
      const first = cluster.leader;
      nodes.simulation.crash(hostOf(first));
      await nodes.until(
        "another leader",
        () => cluster.up.some((at) => nodes.consensus(at).leadership !== undefined),
        MOVE_MS,
      );
      expect(cluster.leader).not.toBe(first);
      nodes.simulation.restart(hostOf(first));
      await nodes.until("an even cluster", () => cluster.isEven([0, 1, 2, 3], 250), MOVE_MS);
      expect(cluster.causes.length).toBeGreaterThan(20);
      expect(new Set(cluster.causes)).toEqual(new Set([cause]));
    },
    LIMIT_MS,
  );

  test(
    "gets nothing before it has as many copies as those that give",
    async () => {
      const cluster = await Cluster.of({ founders: 6, replicas: 1, joiners: 2 });
      const { nodes } = cluster;
      await cluster.set("auto-rebalance", "slots");
      await cluster.join(6);
      await nodes.simulation.runFor(20_000);
      expect(cluster.slotsOf(6)).toBe(0);
      expect(await cluster.info("auto_rebalance_state")).toBe("stuck");
      expect(await cluster.info("auto_rebalance_reason")).toContain("leaves as many copies");
      await cluster.join(7);
      await nodes.until("a replica", () => cluster.shardOf(6)?.inSync.length === 2, MOVE_MS);
      const primaries = new Set(cluster.map.shards.map(({ primary }) => primary));
      const which = cluster.up.filter((at) => primaries.has(cluster.idOf(at)));
      expect(which).toHaveLength(4);
      await nodes.until("an even cluster", () => cluster.isEven(which, 250), MOVE_MS);
    },
    LIMIT_MS,
  );
});

describe("a node that joins to be a replica", () => {
  test(
    "and waits, for it finds nobody whose it could be, gets no slots",
    async () => {
      const cluster = await Cluster.of({ joiners: 2 });
      const { nodes } = cluster;
      await cluster.set("auto-rebalance", "slots");
      await cluster.join(4);
      await nodes.simulation.runFor(30_000);
      expect([cluster.slotsOf(4), cluster.causes]).toEqual([0, []]);
      expect(await cluster.info("auto_rebalance_state")).toBe("rest");
      // Whose it is to be comes, gets it, and then slots.
      await cluster.join(3);
      await nodes.until("a replica", () => cluster.shardOf(3)?.inSync.length === 2, MOVE_MS);
      await nodes.until("an even cluster", () => cluster.isEven([0, 1, 2, 3], 250), MOVE_MS);
    },
    LIMIT_MS,
  );
});

describe("a cluster that is not whole", () => {
  test(
    "gives a node that joins nothing: a primary is gone, too few are in sync, others move slots, slots are open; INFO says what",
    async () => {
      const cluster = await Cluster.of();
      const { nodes } = cluster;
      await cluster.set("auto-rebalance", "slots");
      await cluster.set("min-in-sync", "2");
      await cluster.join(3);
      await nodes.simulation.runFor(20_000);
      expect(await cluster.info("auto_rebalance_reason")).toContain("has 1 members in sync, and min-in-sync is 2");
      await cluster.set("min-in-sync", "1");
      // Before it has looked again.
      const [source, target] = [present(cluster.shardOf(0), "a"), present(cluster.shardOf(1), "b")];
      const slot = source.slots[0]?.first ?? 0;
      expect(await nodes.run(1, `CLUSTER SETSLOT ${slot} IMPORTING ${source.primary}`)).toBe("OK");
      await nodes.simulation.runFor(20_000);
      expect(await cluster.info("auto_rebalance_reason")).toBe(`slot ${slot} is being moved key by key`);
      expect(await nodes.run(1, `CLUSTER SETSLOT ${slot} STABLE`)).toBe("OK");
      const tasks = present(nodes.node(0).service(migrationService), "there is a migrator");
      const begun = await nodes.simulation.settle(
        "a task",
        tasks.start([{ slots: [{ first: slot, last: slot }], target: target.id }], "somebody"),
        MOVE_MS,
      );
      expect(begun.type).toBe("done");
      const id = begun.type === "done" ? (begun.ids[0] ?? "") : "";
      await nodes.simulation.settle("a pause", tasks.pause(id, "somebody"), MOVE_MS);
      if (cluster.map.migrations.length > 0) {
        await nodes.simulation.runFor(20_000);
        expect(await cluster.info("auto_rebalance_reason")).toBe(`a task of somebody else is paused: ${id}`);
        await nodes.simulation.settle("a cancel", tasks.cancel(id, "somebody"), MOVE_MS);
      }
      const lost = cluster.up.find((at) => at !== cluster.leader && at < 3) ?? 0;
      nodes.simulation.crash(hostOf(lost));
      await nodes.simulation.runFor(30_000);
      expect(await cluster.info("auto_rebalance_state")).toBe("stuck");
      expect(await cluster.info("auto_rebalance_reason")).toContain(`(primary n${lost})`);
      expect([cluster.slotsOf(3), cluster.causes.filter((cause) => cause.startsWith(AUTO_CAUSE))]).toEqual([0, []]);
      nodes.simulation.restart(hostOf(lost));
      await nodes.until("an even cluster", () => cluster.isEven([0, 1, 2, 3], 250), MOVE_MS);
    },
    LIMIT_MS,
  );
});

describe("a task of its own that somebody cancels", () => {
  test(
    "is not started again at once",
    async () => {
      const cluster = await Cluster.of({
        settings: { lastsMs: 30_000 },
        more: { plugins: { migrator: { bytesPerSecond: "10b" } } },
      });
      const { nodes } = cluster;
      for (let key = 0; key < 60; key += 1) {
        await Promise.all([0, 1, 2].map((at) => nodes.run(at, `SET k${key} ${key}`)));
      }
      await cluster.set("auto-rebalance", "slots");
      await cluster.join(3);
      await nodes.until("a task", () => cluster.map.migrations.length > 0, MOVE_MS);
      const [task] = cluster.map.migrations;
      expect(await nodes.run(1, `CLUSTER CANCELMIGRATION ${task?.id}`)).toBe("OK");
      await nodes.simulation.runFor(25_000);
      expect(cluster.causes).toHaveLength(1);
      expect(await cluster.info("auto_rebalance_reason")).toContain("a task of its own was ended before its time");
      await nodes.until("another task", () => cluster.causes.length > 1, MOVE_MS);
    },
    LIMIT_MS,
  );
});

describe("loads that are uneven", () => {
  test(
    "are made even: keys of one shard's slots go to the others, in the measure that was asked for",
    async () => {
      const cluster = await Cluster.of({ settings: { leastBytes: 0, leastOperations: 0 }, joiners: 0 });
      const { nodes } = cluster;
      const own = present(cluster.shardOf(0), "a shard").slots;
      const encoder = new TextEncoder();
      const keys: string[] = [];
      for (let number = 0; keys.length < 200; number += 1) {
        const bytes = encoder.encode(`k${number}`);
        const slot = keySlot(bytes, 0, bytes.length);
        if (own.some(({ first, last }) => slot >= first && slot <= last)) keys.push(`k${number}`);
      }
      const connection = nodes.node(0).connect();
      const written = (async () => {
        for (const key of keys) await connection.execute("set", key, "x".repeat(200));
      })();
      await nodes.simulation.settle("keys", written, MOVE_MS);
      await cluster.set("auto-rebalance", "keys");
      await nodes.simulation.runFor(9000);
      expect(cluster.causes).toEqual([]);
      expect(Number(await cluster.info("auto_rebalance_uneven_percent"))).toBe(200);
      const held = (): readonly number[] =>
        [0, 1, 2].map((at) => Number(/db0:keys=(\d+)/.exec(infos[at] ?? "")?.[1] ?? 0));
      const infos: string[] = [];
      await nodes.until(
        "tasks to have ended",
        () => cluster.causes.length > 0 && cluster.map.migrations.length === 0,
        MOVE_MS,
      );
      await nodes.simulation.runFor(60_000);
      for (const at of [0, 1, 2]) infos[at] = await nodes.run(at, "INFO keyspace");
      expect(held().reduce((sum, count) => sum + count, 0)).toBe(200);
      for (const count of held()) expect(Math.abs(count / (200 / 3) - 1)).toBeLessThan(0.1);
      const shard = present(cluster.shardOf(0), "a shard").id;
      expect(cluster.causes[0]).toStartWith(
        `${AUTO_CAUSE}keys of shard ${shard} (primary n0) 200 % above its part for 1`,
      );
    },
    LIMIT_MS,
  );
});

describe("load that is uneven", () => {
  test(
    "is made even: slots of one shard that all commands are on go to the others",
    async () => {
      const cluster = await Cluster.of({ settings: { leastOperations: 10 }, joiners: 0 });
      const { nodes } = cluster;
      const encoder = new TextEncoder();
      const own = present(cluster.shardOf(0), "a shard").slots;
      const keys: { readonly key: string; readonly slot: number }[] = [];
      for (let number = 0; keys.length < 30; number += 1) {
        const bytes = encoder.encode(`k${number}`);
        const slot = keySlot(bytes, 0, bytes.length);
        if (own.some(({ first, last }) => slot >= first && slot <= last)) keys.push({ key: `k${number}`, slot });
      }
      const connections = [0, 1, 2].map((at) => nodes.node(at).connect());
      const ownerOf = (slot: number): number => {
        const id = cluster.map.shards[cluster.map.shardOfSlot[slot] ?? -1]?.primary;
        return [0, 1, 2].find((at) => cluster.idOf(at) === id) ?? 0;
      };
      const work = async (): Promise<void> => {
        for (const { key, slot } of keys) {
          for (let time = 0; time < 10; time += 1) await connections[ownerOf(slot)]?.execute("get", key);
        }
      };
      const workFor = async (ms: number): Promise<void> => {
        for (let spent = 0; spent < ms; spent += 500) {
          await nodes.simulation.settle("work", work(), MOVE_MS);
          await nodes.simulation.runFor(500);
        }
      };
      await cluster.set("auto-rebalance", "load");
      await workFor(9000);
      expect(cluster.causes).toEqual([]);
      await workFor(40_000);
      const [cause] = cluster.causes;
      expect(cause).toMatch(
        /^auto-rebalance: load of shard [0-9a-f]{40} \(primary n0\) \d+ % above its part for 1\d s$/,
      );
      const counts = [0, 0, 0];
      for (const { slot } of keys) counts[ownerOf(slot)] = (counts[ownerOf(slot)] ?? 0) + 1;
      for (const count of counts) expect(count).toBeGreaterThanOrEqual(6);
      const { length } = cluster.causes;
      await workFor(60_000);
      expect(cluster.causes).toHaveLength(length);
      for (const connection of connections) connection.close();
    },
    LIMIT_MS,
  );
});

describe("messages about loads", () => {
  test(
    "that make no sense, that nobody waits for, or that come from who does not lead are counted, and change nothing",
    async () => {
      const cluster = await Cluster.of({ joiners: 0 });
      const { nodes } = cluster;
      await cluster.set("auto-rebalance", "bytes");
      await nodes.simulation.runFor(5000);
      const { leader } = cluster;
      const other = cluster.up.find((at) => at !== leader) ?? 0;
      const record = present(nodes.topology(leader).node(cluster.idOf(leader)), "a node");
      const bus = present(nodes.node(other).service(busService), "there is a bus");
      const shard = present(cluster.shardOf(other), "a shard");
      const load = { slot: shard.slots[0]?.first ?? 0, keys: 1e6, bytes: 1e12, operations: 1e9, microseconds: 1e12 };
      for (const bytes of [
        new Uint8Array([1, 2, 3]),
        encodeLoadsMessage({ type: "ask", id: 1 }),
        encodeLoadsMessage({
          type: "tell",
          id: 1,
          shard: shard.id,
          shardVersion: shard.version,
          takesSlots: true,
          loads: [load],
        }),
      ]) {
        expect(bus.send({ host: record.busHost, port: record.busPort }, BusChannel.loads, bytes)).toBe(true);
      }
      await nodes.simulation.runFor(20_000);
      expect(await cluster.info("auto_rebalance_messages_refused")).toBe("3");
      expect(await cluster.info("auto_rebalance_reason")).toBe("there are fewer than 67108864 bytes");
      expect(cluster.causes).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "that do not come are why nothing moves",
    async () => {
      const cluster = await Cluster.of({ more: { plugins: { "slot-stats": false } } });
      await cluster.set("auto-rebalance", "slots");
      await cluster.join(3);
      await cluster.nodes.simulation.runFor(20_000);
      expect(await cluster.info("auto_rebalance_reason")).toEndWith("has not told what its slots hold");
      expect(cluster.causes).toEqual([]);
    },
    LIMIT_MS,
  );
});
