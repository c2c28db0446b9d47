/** A migration's source against a target that says what the test has it say. */
import { expect, spyOn, test } from "bun:test";
import { present } from "../../src/assert.ts";
import type { MigrationMessage } from "../../src/codec/migration-codec.ts";
import { ArgumentList } from "../../src/codec/resp-parser.ts";
import type { MigrationRecord, TopologyRequest } from "../../src/contracts/topology.ts";
import { MigrationSource, type SourceHost } from "../../src/migration/source.ts";
import { SlotFill } from "../../src/replication/slot-fill.ts";
import { EntryReader, ShardLog } from "../../src/replication/shard-log.ts";
import { SlotSink } from "../../src/replication/slot-sink.ts";
import { KeyReference } from "../../src/store/key-reference.ts";
import { Store } from "../../src/store/store.ts";

const SLOTS = [{ first: 5, last: 6 }];
const RECORD: MigrationRecord = {
  id: "m",
  source: "s",
  target: "t",
  slots: SLOTS,
  isPaused: false,
  cause: "a test",
  startedAtMs: 0,
};
const TERMS = { sourceEpoch: 3, target: "b", targetEpoch: 4 };
const ASKED: TopologyRequest = { type: "fence-migration", id: "m", sourceEpoch: 3, targetEpoch: 4 };
const FENCE = { version: 7, sourceEpoch: 3, targetEpoch: 4 };

/** The source's primary, and a target that takes everything; of its last word it says nothing before the test does. */
class World {
  readonly asked: TopologyRequest[] = [];
  readonly sent: MigrationMessage[] = [];
  /** The numbers of last words. */
  readonly finals: number[] = [];
  nowMs = 0;
  isInTouch = true;
  /** The target says that it has committed what has come. */
  commits = true;
  #bytes = 0;
  readonly source: MigrationSource;
  readonly #sink = new SlotSink(new Store({ seed: 2, random: () => 0 }), { slots: SLOTS });
  #soon: (() => void)[] = [];
  /** The map has done what it was asked last. */
  #agreed = (): void => undefined;

  /** The source's keys. */
  readonly store = new Store({ seed: 1, random: () => 0 });

  constructor() {
    const { store } = this;
    const host: SourceHost = {
      events: { debug() {}, info() {}, warn() {}, error() {} },
      settings: {
        windowBytes: 1e6,
        pendingBytes: 1e7,
        heartbeatMs: 100,
        silenceMs: 1000,
        retryMs: 200,
        settleMs: 500,
        abandonMs: 60_000,
      },
      nowMs: () => this.nowMs,
      isInTouch: () => this.isInTouch,
      soon: (callback) => void this.#soon.push(callback),
      send: (_, message) => {
        this.sent.push(message);
        return true;
      },
      nextSession: () => 1,
      startFill: (slots, isNew) => new SlotFill(store, slots, () => this.nowMs, isNew),
      mapVersion: () => 1,
      keysIn: () => 0,
      allowance: () => Number.POSITIVE_INFINITY,
      spend() {},
      request: (request) => {
        this.asked.push(request);
        return new Promise((resolve) => (this.#agreed = () => resolve(undefined)));
      },
      hold() {},
    };
    this.source = new MigrationSource(host, RECORD, TERMS);
  }

  say(message: MigrationMessage): void {
    this.source.received("b", message);
  }

  /** The target takes what comes, until nothing does. */
  async turn(): Promise<void> {
    for (let at = 0; at < 20; at += 1) {
      const due = this.#soon;
      this.#soon = [];
      for (const callback of due) callback();
      for (const message of this.sent.splice(0)) {
        if ("bytes" in message && typeof message.bytes !== "number") this.#bytes += message.bytes.length;
        if (message.type === "final") this.finals.push(message.number);
        if (message.type === "effects") this.#note(message.bytes);
        if (message.type !== "stream") continue;
        const bytes = this.#sink.receive(message.bytes);
        if (bytes !== undefined) this.say({ type: "answer", session: 1, bytes });
        if (this.#sink.isDone) this.say({ type: "answer", session: 1, bytes: new Uint8Array(0) });
      }
      if (this.commits) this.say({ type: "ack", session: 1, bytes: this.#bytes });
      await Promise.resolve();
    }
  }

  /** Effects as the target has them. */
  readonly effects: string[] = [];

  #note(bytes: Uint8Array): void {
    new EntryReader().visit(bytes, 0, {
      effect: (_, args) => {
        const words = Array.from({ length: args.count }, (_word, at) => new TextDecoder().decode(args.copy(at)));
        this.effects.push(words.join(" "));
      },
      epoch: () => undefined,
    });
  }

  /** The target has what there is, and the fence is asked for. */
  async level(holdsKeys = false): Promise<void> {
    this.say({ type: "accepted", session: 1, holdsKeys });
    await this.turn();
    expect(this.asked.splice(0)).toEqual([ASKED]);
  }

  /** The map has answered. */
  async agree(): Promise<void> {
    this.#agreed();
    await this.turn();
  }

  async fenced(): Promise<number> {
    await this.level();
    this.source.update({ ...RECORD, fence: FENCE }, TERMS);
    await this.agree();
    return present(this.finals[0], "the last word went out");
  }
}

test("slots are compared by their digests where the target has keys of them, and not where it has none", async () => {
  for (const holdsKeys of [false, true]) {
    const world = new World();
    const { store } = world;
    const key = new KeyReference();
    // A key of slot 5.
    for (let number = 0; key.slot !== 5; number += 1) {
      const name = new TextEncoder().encode(String(number));
      store.refer(key, name, 0, name.length);
    }
    store.setString(key, key.bytes, key.start, key.end, 0);
    const digested: number[] = [];
    const digest = store.digestSlot.bind(store);
    store.digestSlot = (slot) => {
      digested.push(slot);
      return digest(slot);
    };
    await world.level(holdsKeys);
    expect(digested).toEqual(holdsKeys ? [5] : []);
  }
});

test("a source asks for the completion when the target has committed its last word, and not before", async () => {
  const world = new World();
  const number = await world.fenced();
  world.source.tick();
  world.say({ type: "settled", session: 1, number: number + 1 });
  await world.turn();
  expect(world.asked).toEqual([]);
  world.say({ type: "settled", session: 1, number });
  await world.turn();
  expect(world.asked).toEqual([{ type: "complete-migration", id: "m", fence: 7 }]);
});

test("a session ends with an effect that could not be noted, or sent: the target would never have it, and the next one compares", async () => {
  for (const broken of ["append", "readEntry"] as const) {
    const world = new World();
    await world.level();
    const lost = spyOn(ShardLog.prototype, broken).mockImplementationOnce(() => {
      throw new RangeError("Out of memory");
    });
    const args = ArgumentList.of(["SET", "k", "v"].map((word) => new TextEncoder().encode(word)));
    world.source.effect({ slot: 5, args, isContinued: false }, undefined);
    await world.turn();
    lost.mockRestore();
    expect(world.source.waitingFor).toBe("this node could not go on: Out of memory");
    // What was known to be level is not any more.
    world.source.update({ ...RECORD, fence: FENCE }, TERMS);
    await world.agree();
    expect(world.finals).toEqual([]);
  }
});

test("a fence that the target does not settle in time, or that another primary's session is needed for, is taken back by the map", async () => {
  for (const isOther of [false, true]) {
    const world = new World();
    await world.fenced();
    if (isOther) world.source.update({ ...RECORD, fence: FENCE }, { ...TERMS, targetEpoch: 5 });
    else {
      world.nowMs = 501;
      world.source.tick();
    }
    expect(world.asked).toEqual([{ type: "unfence-migration", id: "m", fence: 7 }]);
    // Until the map has said so, nothing is asked again, and nothing completed.
    world.source.tick();
    expect(world.asked).toHaveLength(1);
  }
});

/** Looks every 100 ms, for so long. */
function pass(world: World, ms: number): void {
  for (const endsAtMs = world.nowMs + ms; world.nowMs < endsAtMs;) {
    world.nowMs += 100;
    world.source.tick();
  }
}
const ABORTED: TopologyRequest = { type: "abort-migration", id: "m" };

test("a target that does not come for long is given up, and no sooner: what this node has not lived through, or was away for itself, does not count", async () => {
  const world = new World();
  pass(world, 30_000);
  // A machine that was suspended.
  world.nowMs += 3_600_000;
  pass(world, 20_000);
  expect(world.asked).toEqual([]);
  // It has heard of the source's primary, and goes on not coming.
  world.say({ type: "refused", session: 1, isFinal: false, reason: "not yet" });
  pass(world, 10_000);
  expect(world.asked.splice(0)).toEqual([ABORTED]);
  await world.agree();
  world.isInTouch = false;
  pass(world, 120_000);
  expect(world.asked).toEqual([]);
  world.isInTouch = true;
  pass(world, 59_000);
  expect(world.asked).toEqual([]);
  world.say({ type: "accepted", session: 1, holdsKeys: false });
  pass(world, 500);
  world.source.update({ ...RECORD, isPaused: true }, TERMS);
  pass(world, 120_000);
  expect(world.asked).toEqual([]);
  world.source.update(RECORD, TERMS);
  pass(world, 61_000);
  expect(world.asked).toEqual([ABORTED]);
});

test("a target that goes for good behind a fence is given up when the map has taken the fence back", async () => {
  const world = new World();
  await world.fenced();
  world.source.linkLost("b");
  pass(world, 120_000);
  expect(world.asked.splice(0)).toEqual([{ type: "unfence-migration", id: "m", fence: 7 }]);
  world.source.update(RECORD, TERMS);
  await world.agree();
  pass(world, 100);
  expect(world.asked).toEqual([ABORTED]);
});

test("what happens to keys while they are fenced, and is no command (expiry, eviction), goes over too: the fence may be taken back", async () => {
  const world = new World();
  await world.fenced();
  world.source.effect(
    { slot: 5, args: ArgumentList.of(["DEL", "k"].map((word) => new TextEncoder().encode(word))), isContinued: false },
    undefined,
  );
  world.source.update(RECORD, TERMS);
  await world.turn();
  expect(world.effects).toEqual(["DEL k"]);
});

test("a fence is asked for though clients write so much that the target never has nearly everything: what may be on its way grows", async () => {
  const world = new World();
  await world.level();
  world.commits = false;
  const value = new Uint8Array(200_000);
  const args = ArgumentList.of([new TextEncoder().encode("SET"), new TextEncoder().encode("k"), value]);
  world.source.effect({ slot: 5, args, isContinued: false }, undefined);
  await world.agree();
  expect(world.asked).toEqual([]);
  world.nowMs = 199;
  world.source.tick();
  expect(world.asked).toEqual([]);
  world.nowMs = 200;
  world.source.tick();
  expect(world.asked).toEqual([ASKED]);
});

test("a fence is not asked for, or not again, before the target has committed what it has: commands would wait for nothing", async () => {
  const world = new World();
  world.commits = false;
  world.say({ type: "accepted", session: 1, holdsKeys: false });
  await world.turn();
  expect(world.asked).toEqual([]);
  world.commits = true;
  await world.turn();
  expect(world.asked.splice(0)).toEqual([ASKED]);
  world.source.update({ ...RECORD, fence: FENCE }, TERMS);
  await world.agree();
  world.commits = false;
  const args = ArgumentList.of(["DEL", "k"].map((word) => new TextEncoder().encode(word)));
  world.source.effect({ slot: 5, args, isContinued: false }, undefined);
  world.nowMs = 501;
  world.source.tick();
  expect(world.asked.splice(0)).toEqual([{ type: "unfence-migration", id: "m", fence: 7 }]);
  world.source.update(RECORD, TERMS);
  await world.agree();
  expect(world.asked).toEqual([]);
  world.commits = true;
  await world.turn();
  expect(world.asked).toEqual([ASKED]);
});

test("how long commands were held is told though the target hears of the completion first, and ends the session", async () => {
  const world = new World();
  await world.fenced();
  world.nowMs = 7;
  world.say({ type: "refused", session: 1, isFinal: false, reason: "the task is over" });
  expect(world.source.progress).toMatchObject({ slotsDone: 2, fencedMs: 7 });
});

test("what the target refused before it took part in it was no beginning: only what had begun is told as begun again", async () => {
  const world = new World();
  const refuse = (): void =>
    world.say({ type: "refused", session: 1, isFinal: false, reason: "another session comes first" });
  const again = (): void => {
    world.nowMs += 1000;
    world.source.tick();
    world.say({ type: "accepted", session: 1, holdsKeys: false });
  };
  refuse();
  again();
  expect(world.source.progress).toMatchObject({ restarts: 0 });
  refuse();
  again();
  expect(world.source.progress).toMatchObject({ restarts: 1 });
});
