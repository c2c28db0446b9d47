/** A shard's primary against replicas that say what the test has them say. */
import { beforeEach, describe, expect, test } from "bun:test";
import { MAX_FRAME_BYTES } from "../../src/bus/incoming-link.ts";
import { ArgumentList } from "../../src/codec/resp-parser.ts";
import type { ReplicationMessage } from "../../src/codec/replication-codec.ts";
import type { ShardRecord } from "../../src/contracts/topology.ts";
import { ReplyGate } from "../../src/reply-gate.ts";
import { type PrimaryHost, ShardPrimary } from "../../src/replication/primary.ts";
import { ShardLog } from "../../src/replication/shard-log.ts";
import { SlotFill } from "../../src/replication/slot-fill.ts";
import { Store } from "../../src/store/store.ts";
import { createBunWorld } from "../../src/world-bun.ts";

const MEBIBYTE = 1024 * 1024;
const LOST_MS = 200;

class World implements PrimaryHost {
  readonly self = "a";
  readonly gate = new ReplyGate(createBunWorld().clock);
  readonly log = new ShardLog();
  readonly events = { debug() {}, info() {}, warn() {}, error() {} };
  readonly settings = {
    lagMs: 1000,
    lostMs: LOST_MS,
    joinMs: LOST_MS,
    heartbeatMs: 100,
    starvedMs: 5000,
    ringBytes: MEBIBYTE,
    windowBytes: 8 * MEBIBYTE,
  };
  readonly keyspace = new Store({ seed: 1, random: () => 0 });
  readonly sent: { readonly to: string; readonly message: ReplicationMessage }[] = [];
  readonly asked: { readonly inSync: readonly string[]; readonly eligible: readonly string[] }[] = [];
  releases = 0;
  now = 0;
  #soon: (() => void)[] = [];

  /** Of all replicas. */
  start = "first";

  nowMs(): number {
    return this.now;
  }

  /** Of the map. */
  version = 1;

  mapVersion(): number {
    return this.version;
  }

  startOf(): string {
    return this.start;
  }

  soon(callback: () => void): void {
    this.#soon.push(callback);
  }

  after(): void {}

  send(to: string, message: ReplicationMessage): boolean {
    this.sent.push({ to, message });
    return true;
  }

  startFill(): SlotFill {
    return new SlotFill(this.keyspace, [{ first: 0, last: 16_383 }], () => this.now);
  }

  fillEnded(): void {}

  changeSets(
    _shard: ShardRecord,
    sets: { readonly inSync: readonly string[]; readonly eligible: readonly string[] },
  ): Promise<string | undefined> {
    this.asked.push(sets);
    // Never known.
    return new Promise(() => undefined);
  }

  release(): void {
    this.releases += 1;
  }

  /** Runs what is due, until nothing is. */
  turn(): void {
    for (let due = this.#soon; due.length > 0; due = this.#soon) {
      this.#soon = [];
      for (const callback of due) callback();
    }
  }

  /** Bytes of entries, effects and streams. */
  sentBytes(to: string): number {
    let sum = 0;
    for (const each of this.sent) {
      if (each.to === to && "bytes" in each.message && typeof each.message.bytes !== "number")
        sum += each.message.bytes.length;
    }
    return sum;
  }

  /** What was said to a replica, by kinds. */
  saidTo(to: string): readonly string[] {
    return this.sent.filter((each) => each.to === to).map(({ message }) => message.type);
  }
}

const SHARD: ShardRecord = {
  id: "s",
  primary: "a",
  primaryIncarnation: 1,
  replicas: ["b"],
  inSync: ["a", "b"],
  eligible: [],
  slots: [{ first: 0, last: 16_383 }],
  primaryEpoch: 1,
  version: 5,
};

let world: World;
beforeEach(() => {
  world = new World();
});

const write = (primary: ShardPrimary, bytes: number): void => {
  primary.effect({ slot: 3, args: ArgumentList.of(["SET", "k", "x".repeat(bytes)].map(encode)), isContinued: false });
  world.turn();
};

const hello = (
  session: number,
  position?: { epoch: number; sequence: number },
): Parameters<ShardPrimary["hello"]>[1] => ({
  type: "hello",
  session,
  shard: "s",
  epoch: 1,
  start: "first",
  position,
});

describe("a shard's primary", () => {
  test("has nobody in its set for what an earlier start of it acknowledged", () => {
    const primary = new ShardPrimary(world, { ...SHARD, inSync: ["a"] }, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 1, bytes: 0 });
    // The map has admitted another start of it, and its link has not been missed yet.
    world.start = "second";
    primary.shardChanged({ ...SHARD, inSync: ["a"], version: 6 }, { minimum: 1, acks: "in-sync" });
    world.asked.length = 0;
    for (let tick = 0; tick < 10; tick += 1) {
      world.now += 50;
      primary.acknowledged("b", { type: "ack", session: 1, sequence: 1, bytes: 0 });
      primary.tick();
      world.turn();
    }
    expect(world.asked).toEqual([]);
    expect(primary.replicas[0]).toMatchObject({ state: "absent", acknowledged: 0 });
  });

  test("has nobody in its set for the hello of an earlier start of it, which came when the map had the next one", () => {
    const primary = new ShardPrimary(world, { ...SHARD, inSync: ["a"] }, { minimum: 1, acks: "in-sync" }, 0);
    world.start = "second";
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 1, bytes: 0 });
    for (; world.now < 500; world.now += 50) primary.tick();
    expect(world.asked).toEqual([]);
    world.start = "first";
    primary.tick();
    expect(world.asked).toEqual([{ inSync: ["a", "b"], eligible: [] }]);
  });

  test("goes on with the start that the map has when a hello of an earlier one comes seconds late", () => {
    world.start = "second";
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", { ...hello(7, { epoch: 1, sequence: 1 }), start: "second" });
    primary.acknowledged("b", { type: "ack", session: 7, sequence: 1, bytes: 0 });
    world.sent.length = 0;
    primary.hello("b", hello(9, { epoch: 1, sequence: 1 }));
    expect(world.sent.map(({ message }) => message)).toEqual([
      {
        type: "refused",
        session: 9,
        reason: "by the primary's map it is another start of this node that follows",
      },
    ]);
    // The session is heard as before.
    write(primary, 10);
    primary.acknowledged("b", { type: "ack", session: 7, sequence: 2, bytes: 10 });
    expect(primary.replicas[0]).toMatchObject({ state: "following", acknowledged: 2 });
    // When the map has another one, the one that follows is gone.
    world.start = "first";
    primary.hello("b", { ...hello(3, { epoch: 1, sequence: 1 }), start: "third" });
    expect(world.sent.at(-1)?.message).toMatchObject({ type: "begin", session: 3 });
  });

  test("has nobody in its set for a hello alone, which may be of a session that is over: the replica is filled since, or hears nothing", () => {
    const primary = new ShardPrimary(world, { ...SHARD, inSync: ["a"] }, { minimum: 1, acks: "in-sync" }, 0);
    const ticks = (untilMs: number): void => {
      for (; world.now < untilMs; world.now += 50) primary.tick();
    };
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    ticks(2 * LOST_MS);
    expect(world.asked).toEqual([]);
    // Nor does anything wait for it.
    write(primary, 10);
    expect(world.gate.mayLeave(2)).toBe(true);
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 1, bytes: 0 });
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 2, bytes: 10 });
    ticks(3 * LOST_MS);
    expect(world.asked).toEqual([{ inSync: ["a", "b"], eligible: [] }]);
  });

  test("commits what all in sync have acknowledged, and no more", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    write(primary, 10);
    // Nothing but the answer, before the replica is heard: it may have begun another session meanwhile.
    expect(world.saidTo("b")).toStrictEqual(["begin"]);
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 1, bytes: 0 });
    expect(world.saidTo("b")).toStrictEqual(["begin", "entries"]);
    expect(world.gate.committed).toBe(1);
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 2, bytes: 10 });
    expect(world.gate.committed).toBe(2);
  });

  test("is full while a member in sync lacks what is above the ring, however long one entry is, and not after", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    write(primary, 3 * MEBIBYTE);
    expect(primary.isFull).toBe(true);
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 2, bytes: 0 });
    world.turn();
    expect([primary.isFull, world.releases]).toStrictEqual([false, 1]);
  });

  test("commits nothing below the minimum, of what was logged before either (SAFETY 4)", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 2, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 1, bytes: 0 });
    write(primary, 10);
    primary.shardChanged({ ...SHARD, inSync: ["a"], eligible: ["b"], version: 6 }, { minimum: 2, acks: "in-sync" });
    expect([primary.committed, world.gate.committed, primary.refusal]).toStrictEqual([
      1,
      1,
      "shard s has 1 of at least 2 members in sync",
    ]);
    // By the cluster's other setting writes are taken, and those who wait for all in sync wait all the same.
    primary.shardChanged({ ...SHARD, inSync: ["a"], eligible: ["b"], version: 7 }, { minimum: 2, acks: "primary" });
    expect([primary.committed, world.gate.committed, primary.refusal]).toStrictEqual([1, 1, undefined]);
  });

  test("keeps what a member in sync lacks, however much that is, and drops it once that has left the set (SAFETY 10)", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 1, bytes: 0 });
    primary.linkLost("b");
    for (let count = 0; count < 8; count += 1) write(primary, MEBIBYTE / 2);
    expect([primary.isFull, world.log.first]).toStrictEqual([true, 1]);
    primary.hello("b", hello(2, { epoch: 1, sequence: 1 }));
    expect(world.sent.at(-1)?.message).toMatchObject({ type: "begin", isFill: false });
    primary.shardChanged({ ...SHARD, inSync: ["a"], version: 6 }, { minimum: 1, acks: "in-sync" });
    world.turn();
    expect(primary.isFull).toBe(false);
    expect(world.log.first).toBeGreaterThan(2);
  });

  test("ends the session of a member whose link broke, so that it says hello again, and does not drop it then", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    primary.linkLost("b");
    expect(world.saidTo("b").at(-1)).toBe("refused");
    primary.hello("b", hello(2, { epoch: 1, sequence: 1 }));
    for (world.now = 0; world.now < 5 * LOST_MS; world.now += 50) primary.tick();
    expect(world.asked).toStrictEqual([]);
  });

  test("takes no hello that comes late for another session: by a link that broke, when the present one goes on by another", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(7, { epoch: 1, sequence: 1 }));
    primary.acknowledged("b", { type: "ack", session: 7, sequence: 1, bytes: 0 });
    const said = world.sent.length;
    primary.hello("b", hello(6, { epoch: 1, sequence: 0 }));
    expect(world.sent).toHaveLength(said);
    write(primary, 10);
    expect(world.sent.at(-1)?.message).toMatchObject({ type: "entries", session: 7 });
    // One of another start, whose numbers are others, is taken once the map has that.
    world.start = "second";
    primary.hello("b", { ...hello(3, { epoch: 1, sequence: 1 }), start: "second" });
    expect(world.sent.at(-1)?.message).toMatchObject({ type: "begin", session: 3 });
  });

  test("says that its replicas have all that there is, and by which map, at once when its slots change", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 1, bytes: 0 });
    const told = (): unknown[] =>
      world.sent.flatMap(({ message }) => (message.type === "entries" ? [[message.mapVersion, message.isEnd]] : []));
    world.version = 7;
    primary.shardChanged({ ...SHARD, slots: [{ first: 0, last: 9 }] }, { minimum: 1, acks: "in-sync" });
    world.turn();
    // And when it begins to follow.
    expect(told()).toEqual([
      [1, true],
      [7, true],
    ]);
    // More than one frame: only the last one says so.
    write(primary, 400_000);
    expect(told().slice(2).length).toBeGreaterThan(1);
    expect(told().slice(2, -1)).not.toContainEqual([7, true]);
    expect(told().at(-1)).toEqual([7, true]);
  });

  test("does not drop a member that lacks nothing any more, however long it did", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 1, bytes: 0 });
    write(primary, 10);
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 2, bytes: 10 });
    primary.tick();
    primary.hello("b", hello(2, { epoch: 1, sequence: 1 }));
    for (world.now = 50; world.now <= 950; world.now += 50) primary.tick();
    world.now = 990;
    primary.hello("b", hello(3, { epoch: 1, sequence: 2 }));
    world.now = 1040;
    primary.tick();
    expect(world.asked).toStrictEqual([]);
  });

  test("asks for a set without a member whose link does not come back", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    primary.linkLost("b");
    for (world.now = 0; world.now <= LOST_MS; world.now += 50) primary.tick();
    expect(world.asked).toStrictEqual([{ inSync: ["a"], eligible: [] }]);
    // It counts until it is agreed that it is out.
    write(primary, 10);
    expect(world.gate.committed).toBe(1);
    primary.shardChanged({ ...SHARD, inSync: ["a"], version: 6 }, { minimum: 1, acks: "in-sync" });
    expect(world.gate.committed).toBe(2);
  });

  test("has a member that must be filled leave both sets, also below the minimum and if its link broke before", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 2, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    primary.linkLost("b");
    // It has something of an epoch that this log does not know.
    primary.hello("b", hello(2, { epoch: 0, sequence: 7 }));
    expect(world.saidTo("b").at(-1)).toBe("refused");
    expect(world.asked).toStrictEqual([{ inSync: ["a"], eligible: [] }]);
  });

  test("forgets who waited for replicas once that has ended", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    for (let count = 0; count < 100; count += 1) {
      const ends = [primary.whenAcknowledged(5, () => undefined), primary.whenHasAll("b", () => undefined)];
      expect(primary.waitingCount).toBe(2);
      for (const end of ends) end();
    }
    expect(primary.waitingCount).toBe(0);
  });

  test("counts nothing that an earlier start of a member has acknowledged", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 1, bytes: 0 });
    write(primary, 10);
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 2, bytes: 10 });
    primary.shardChanged({ ...SHARD, inSync: ["a"], version: 6 }, { minimum: 1, acks: "in-sync" });
    primary.hello("b", hello(2));
    expect(primary.replicas.map(({ state, acknowledged }) => [state, acknowledged])).toStrictEqual([["filling", 0]]);
  });

  test("commits what a member says that it has when it comes back, of which the acknowledgement was lost with its link", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 1, bytes: 0 });
    write(primary, 10);
    expect(world.gate.committed).toBe(1);
    primary.linkLost("b");
    primary.hello("b", hello(2, { epoch: 1, sequence: 2 }));
    primary.acknowledged("b", { type: "ack", session: 2, sequence: 2, bytes: 0 });
    expect(world.gate.committed).toBe(2);
  });

  test("counts no replica that is away among those that have an entry, whatever it acknowledged before", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 1, bytes: 0 });
    expect(primary.acknowledgedBy(1)).toBe(1);
    primary.linkLost("b");
    expect(primary.acknowledgedBy(1)).toBe(0);
    // A hello may be of a session that is over: what it says the replica may hold no more.
    primary.hello("b", hello(2, { epoch: 1, sequence: 1 }));
    expect(primary.acknowledgedBy(1)).toBe(0);
    primary.acknowledged("b", { type: "ack", session: 2, sequence: 1, bytes: 0 });
    expect(primary.acknowledgedBy(1)).toBe(1);
  });

  test("sends a replica that is far behind a part in each turn: what clients want comes in between", () => {
    const primary = new ShardPrimary(world, SHARD, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1, { epoch: 1, sequence: 1 }));
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 1, bytes: 0 });
    primary.linkLost("b");
    for (let count = 0; count < 300; count += 1) write(primary, 16 * 1024);
    primary.hello("b", hello(2, { epoch: 1, sequence: 1 }));
    world.sent.length = 0;
    primary.acknowledged("b", { type: "ack", session: 2, sequence: 1, bytes: 0 });
    expect(world.sentBytes("b")).toBeWithin(1, MEBIBYTE);
    world.turn();
    expect(world.sentBytes("b")).toBeGreaterThan(300 * 16 * 1024);
  });

  test("reads a part of the log in each turn for a replica that it fills, too", () => {
    Object.assign(world.settings, { ringBytes: 64 * MEBIBYTE });
    const alone = { ...SHARD, inSync: ["a"] };
    const primary = new ShardPrimary(world, alone, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1));
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 0, bytes: 0 });
    // It has said nothing for so long that no more is sent to it.
    for (let count = 0; count < 1000; count += 1) write(primary, 16 * 1024);
    const sent = world.sentBytes("b");
    expect(sent).toBeWithin(8 * MEBIBYTE, 9 * MEBIBYTE);
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 0, bytes: sent });
    expect(world.sentBytes("b") - sent).toBeWithin(1, MEBIBYTE);
    world.turn();
    expect(world.sentBytes("b")).toBeGreaterThan(15 * MEBIBYTE);
  });

  test("sends a replica that it fills effects of any length, in pieces that the bus takes", () => {
    const primary = new ShardPrimary(world, { ...SHARD, inSync: ["a"] }, { minimum: 1, acks: "in-sync" }, 0);
    primary.hello("b", hello(1));
    primary.acknowledged("b", { type: "ack", session: 1, sequence: 0, bytes: 0 });
    // The slots were offered: their effects go over.
    world.turn();
    write(primary, 6 * MEBIBYTE);
    const lengths = world.sent.flatMap(({ message }) => (message.type === "effects" ? [message.bytes.length] : []));
    expect(Math.max(...lengths)).toBeLessThan(MAX_FRAME_BYTES);
    expect(lengths.reduce((sum, length) => sum + length, 0)).toBeGreaterThan(6 * MEBIBYTE);
    expect(world.saidTo("b")).not.toContain("level");
  });
});

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
