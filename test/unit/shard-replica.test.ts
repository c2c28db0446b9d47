/** A shard's replica against a primary that says what the test has it say. */
import { beforeEach, describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { keySlot } from "../../src/codec/slot.ts";
import type { ReplicationMessage } from "../../src/codec/replication-codec.ts";
import { ArgumentList } from "../../src/codec/resp-parser.ts";
import type { ShardRecord } from "../../src/contracts/topology.ts";
import { ReplyGate } from "../../src/reply-gate.ts";
import { type ReplicaHost, ShardReplica } from "../../src/replication/replica.ts";
import { NO_EXPIRY } from "../../src/contracts/keyspace.ts";
import { LogOperations, partOperation } from "../../src/replication/log-operations.ts";
import { ShardLog } from "../../src/replication/shard-log.ts";
import { SlotSink } from "../../src/replication/slot-sink.ts";
import { SlotSource } from "../../src/replication/slot-source.ts";
import { KeyReference } from "../../src/store/key-reference.ts";
import { Store } from "../../src/store/store.ts";
import { createBunWorld } from "../../src/world-bun.ts";

class World implements ReplicaHost {
  readonly self = "b";
  readonly start = "start";
  readonly gate = new ReplyGate(createBunWorld().clock);
  readonly log = new ShardLog();
  readonly events = { debug() {}, info() {}, warn() {}, error() {} };
  readonly silenceMs = 1000;
  readonly retryMs = 200;
  readonly ringBytes = 1_048_576;
  readonly keyspace = new Store({ seed: 1, random: () => 0 });
  readonly sent: ReplicationMessage[] = [];
  readonly applied: string[] = [];
  sinks = 0;
  now = 0;
  version = 1;
  #sessions = 0;
  #soon: (() => void)[] = [];

  nowMs(): number {
    return this.now;
  }

  mapVersion(): number {
    return this.version;
  }

  soon(callback: () => void): void {
    this.#soon.push(callback);
  }

  send(_to: string, message: ReplicationMessage): boolean {
    this.sent.push(message);
    return true;
  }

  startSink(): SlotSink {
    this.sinks += 1;
    return new SlotSink(this.keyspace);
  }

  /** Why what comes next cannot be done. */
  problem: string | undefined;

  /** What is done to keys, where that is more than to note them. */
  run: ((args: ArgumentList) => string | undefined) | undefined;

  apply(_slot: number, args: ArgumentList): string | undefined {
    this.applied.push(new TextDecoder().decode(args.copy(1)));
    return this.run === undefined ? this.problem : this.run(args);
  }

  nextSession(): number {
    this.#sessions += 1;
    return this.#sessions;
  }

  /** Runs what is due. */
  turn(): void {
    const due = this.#soon;
    this.#soon = [];
    for (const callback of due) callback();
  }
}

const SHARD: ShardRecord = {
  id: "s",
  primary: "a",
  primaryIncarnation: 1,
  replicas: ["b"],
  inSync: ["a"],
  eligible: [],
  slots: [{ first: 0, last: 16_383 }],
  primaryEpoch: 1,
  version: 5,
};
const NO_BYTES = new Uint8Array(0);

let world: World;
beforeEach(() => {
  world = new World();
});

/** The primary's log, as bytes that follow its first entry. */
function entriesOf(...keys: readonly string[]): Uint8Array {
  const log = new ShardLog();
  log.startEpoch(1);
  for (const key of keys) {
    log.append(3, ArgumentList.of(["SET", key, "v"].map((text) => new TextEncoder().encode(text))), false);
    log.seal();
  }
  const cursor = log.cursorAt(2);
  return (cursor === undefined ? undefined : log.read(cursor, 10_000))?.slice() ?? NO_BYTES;
}

/** A replica that has the entry which opened the epoch, and follows. */
function follower(): ShardReplica {
  world.log.startEpoch(1);
  const replica = new ShardReplica(world, { ...SHARD, inSync: ["a", "b"] }, true, 1);
  replica.received("a", { type: "begin", session: 1, number: 0, epoch: 1, isFill: false, mapVersion: 1 });
  return replica;
}

describe("a shard's replica", () => {
  test("applies entries in order, and says how far it is", () => {
    const replica = follower();
    replica.received("a", {
      type: "entries",
      session: 1,
      number: 1,
      committed: 2,
      mapVersion: 1,
      isEnd: true,
      bytes: entriesOf("k", "l"),
    });
    world.turn();
    expect(world.applied).toStrictEqual(["k", "l"]);
    expect(world.sent.at(-1)).toMatchObject({ type: "ack", sequence: 3 });
    expect([replica.committed, world.gate.committed]).toStrictEqual([2, 2]);
  });

  for (const [set, sets] of [
    ["in sync", { inSync: ["a", "b"], eligible: [] }],
    ["eligible", { inSync: ["a"], eligible: ["b"] }],
  ] as const) {
    test(`is not filled while it is ${set} by its own map: it gives nothing up that counts (SAFETY 6)`, () => {
      world.log.startEpoch(1);
      const replica = new ShardReplica(world, { ...SHARD, ...sets }, true, 1);
      replica.received("a", { type: "begin", session: 1, number: 0, epoch: 1, isFill: true, mapVersion: 1 });
      expect([world.sinks, replica.isWhole, replica.isFilling]).toStrictEqual([0, true, false]);
      expect(replica.refusal).toContain("in sync or eligible");
      // Once it is in neither set it is.
      replica.shardChanged({ ...SHARD, version: 6 });
      replica.received("a", { type: "begin", session: 2, number: 0, epoch: 1, isFill: true, mapVersion: 1 });
      expect([world.sinks, replica.isWhole, replica.isFilling]).toStrictEqual([1, false, true]);
    });
  }

  test("takes nothing of another epoch than its map's, of another session, or from who is not its primary (SAFETY 1)", () => {
    world.log.startEpoch(1);
    const replica = new ShardReplica(world, { ...SHARD, inSync: ["a", "b"] }, true, 1);
    replica.received("a", { type: "begin", session: 1, number: 0, epoch: 2, isFill: false, mapVersion: 1 });
    expect(replica.isFollowing).toBe(false);
    replica.shardChanged({ ...SHARD, inSync: ["a", "b"], version: 6 });
    replica.received("c", { type: "begin", session: 2, number: 0, epoch: 1, isFill: false, mapVersion: 1 });
    replica.received("a", { type: "begin", session: 1, number: 0, epoch: 1, isFill: false, mapVersion: 1 });
    expect(replica.isFollowing).toBe(false);
    replica.received("a", { type: "begin", session: 2, number: 0, epoch: 1, isFill: false, mapVersion: 1 });
    expect(replica.isFollowing).toBe(true);
  });

  test("that is filled takes nothing of the new log for committed because as much of the one before was", () => {
    world.log.startEpoch(1);
    // The shard goes on with less than this node has seen committed: it was given up.
    const replica = new ShardReplica(world, { ...SHARD, primaryEpoch: 2 }, true, 1000);
    replica.received("a", { type: "begin", session: 1, number: 0, epoch: 2, isFill: true, mapVersion: 1 });
    const level = { position: { epoch: 2, sequence: 5 }, history: [{ epoch: 2, first: 1 }] };
    replica.received("a", { type: "level", session: 1, number: 1, ...level });
    expect([replica.isFollowing, replica.committed, world.gate.mayLeave(world.gate.positionOf(3))]).toStrictEqual([
      true,
      0,
      false,
    ]);
    replica.received("a", {
      type: "entries",
      session: 1,
      number: 2,
      committed: 5,
      mapVersion: 1,
      isEnd: true,
      bytes: NO_BYTES,
    });
    expect([replica.committed, world.gate.mayLeave(world.gate.positionOf(3))]).toStrictEqual([5, true]);
  });

  test("is behind its map from when slots come until it has all of a log by that map, and its end (SAFETY 22)", () => {
    const replica = follower();
    const told = (number: number, mapVersion: number, isEnd: boolean): boolean => {
      const rest = { session: 1, number, committed: 1, mapVersion, isEnd, bytes: NO_BYTES };
      replica.received("a", { type: "entries", ...rest });
      return replica.isBehindMap;
    };
    expect([told(1, 1, false), told(2, 1, true)]).toStrictEqual([true, false]);
    world.version = 4;
    const more = { ...SHARD, inSync: ["a", "b"], slots: [{ first: 0, last: 16_000 }], version: 6 };
    replica.shardChanged(more);
    // Another change of the shard is none of its slots.
    world.version = 5;
    replica.shardChanged({ ...more, version: 7 });
    expect([told(3, 3, true), told(4, 4, false), told(5, 4, true)]).toStrictEqual([true, true, false]);
  });

  test("that is filled gives up where something cannot be done that was done at its primary, and is not taken for level without it", () => {
    world.log.startEpoch(1);
    const store = new Store({ seed: 2, random: () => 0 });
    const source = new SlotSource(store, [{ first: 0, last: 16_383 }]);
    const replica = new ShardReplica(world, SHARD, false, 0);
    replica.received("a", { type: "begin", session: 1, number: 0, epoch: 1, isFill: true, mapVersion: 1 });
    const rest = { session: 1, isLast: true };
    replica.received("a", { type: "stream", number: 1, bytes: source.next() ?? NO_BYTES, ...rest });
    replica.received("a", { type: "effects", number: 2, bytes: entriesOf("k"), ...rest });
    expect(replica.isFilling).toBe(true);
    // The slot is level: nothing is missing that could be the reason.
    world.problem = "ERR no such key";
    replica.received("a", { type: "effects", number: 3, bytes: entriesOf("l"), ...rest });
    expect(world.applied).toEqual(["k", "l"]);
    expect([replica.isFilling, replica.isWhole]).toEqual([false, false]);
    expect(replica.refusal).toBe("what its primary has done cannot be done here: ERR no such key");
  });

  test("that is filled goes on where a part comes of a value whose key has not come: its primary takes it from another shard", () => {
    world.log.startEpoch(1);
    const store = new Store({ seed: 2, random: () => 0 });
    for (const name of ["{s}1", "{s}2"]) {
      const bytes = new TextEncoder().encode(name);
      const key = new KeyReference();
      store.refer(key, bytes, 0, bytes.length);
      store.setString(key, bytes, 0, bytes.length, NO_EXPIRY);
    }
    const source = new SlotSource(store, [{ first: 0, last: 16_383 }], { chunkKeys: 2 });
    const operations = new LogOperations(world.keyspace);
    world.run = (args) => operations.apply(args);
    const replica = new ShardReplica(world, SHARD, false, 0);
    let number = 0;
    replica.received("a", { type: "begin", session: 1, number, epoch: 1, isFill: true, mapVersion: 1 });
    const send = (type: "stream" | "effects", bytes: Uint8Array): void =>
      replica.received("a", { type, session: 1, number: (number += 1), isLast: true, bytes });
    for (let bytes = source.next(); bytes !== undefined; bytes = source.next()) {
      send("stream", bytes);
      for (const message of world.sent.splice(0)) if (message.type === "answer") source.answered(message.bytes);
      // One of the two is there.
      if (world.keyspace.size === 1) break;
    }
    const missing = ["{s}1", "{s}2"].map((name) => new TextEncoder().encode(name));
    const log = new ShardLog();
    log.startEpoch(1);
    for (const name of missing) log.append(keySlot(name, 0, name.length), partOperation(name, 0, name), false);
    log.seal();
    const cursor = present(log.cursorAt(2), "the entry is there");
    send("effects", present(log.readEntry(cursor), "it is whole"));
    expect(replica.refusal).toBe("it is being filled");
    expect(replica.isFilling).toBe(true);
  });

  test("that is filled is behind its map until it has what the primary has done meanwhile", () => {
    world.log.startEpoch(1);
    const replica = new ShardReplica(world, SHARD, true, 1);
    replica.received("a", { type: "begin", session: 1, number: 0, epoch: 1, isFill: false, mapVersion: 1 });
    const rest = { session: 1, committed: 1, mapVersion: 1, isEnd: true, bytes: NO_BYTES };
    replica.received("a", { type: "entries", number: 1, ...rest });
    expect(replica.isBehindMap).toBe(false);
    replica.linkLost();
    replica.shardChanged({ ...SHARD, version: 6 });
    replica.received("a", { type: "begin", session: 2, number: 0, epoch: 1, isFill: true, mapVersion: 1 });
    expect(replica.isBehindMap).toBe(true);
    const level = { position: { epoch: 1, sequence: 5 }, history: [{ epoch: 1, first: 1 }] };
    replica.received("a", { type: "level", session: 2, number: 1, ...level });
    expect(replica.isBehindMap).toBe(true);
    replica.received("a", { type: "entries", number: 2, ...rest, session: 2 });
    expect(replica.isBehindMap).toBe(false);
  });

  test("ends the session where a frame is missing, and applies nothing that comes behind it", () => {
    const replica = follower();
    replica.received("a", {
      type: "entries",
      session: 1,
      number: 2,
      committed: 1,
      mapVersion: 1,
      isEnd: true,
      bytes: entriesOf("k"),
    });
    replica.received("a", {
      type: "entries",
      session: 1,
      number: 3,
      committed: 1,
      mapVersion: 1,
      isEnd: true,
      bytes: entriesOf("l"),
    });
    expect(world.applied).toStrictEqual([]);
    expect([replica.isFollowing, world.log.last]).toStrictEqual([false, 1]);
  });
});
