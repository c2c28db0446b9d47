/** A migration's target, to which the test says what a source would. */
import { expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import type { MigrationMessage } from "../../src/codec/migration-codec.ts";
import { ArgumentList } from "../../src/codec/resp-parser.ts";
import { keySlot } from "../../src/codec/slot.ts";
import { NO_EXPIRY, ValueType } from "../../src/contracts/keyspace.ts";
import type { MigrationRecord } from "../../src/contracts/topology.ts";
import { MigrationTarget, type TargetHost } from "../../src/migration/target.ts";
import { ReplyGate } from "../../src/reply-gate.ts";
import { ShardLog } from "../../src/replication/shard-log.ts";
import { SlotSink } from "../../src/replication/slot-sink.ts";
import { SlotSource } from "../../src/replication/slot-source.ts";
import { KeyReference } from "../../src/store/key-reference.ts";
import { Store } from "../../src/store/store.ts";
import { createBunWorld } from "../../src/world-bun.ts";

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

/** An effect as a source sends it. */
function effectOn(slot: number): Uint8Array {
  const log = new ShardLog();
  const cursor = present(log.cursorAt(log.openSequence), "a log has a place for its next entry");
  log.append(slot, ArgumentList.of(["INCR", "k"].map((word) => new TextEncoder().encode(word))), false);
  log.seal();
  return present(log.readEntry(cursor), "the effect is an entry").slice();
}

/** A target that says what it says to `said`. */
function targetOf(said: MigrationMessage[], store: Store, run: () => string | undefined): MigrationTarget {
  const host: TargetHost = {
    events: { debug() {}, info() {}, warn() {}, error() {} },
    gate: new ReplyGate(createBunWorld().clock),
    soon() {},
    send: (_, message) => {
      said.push(message);
      return true;
    },
    keysIn: () => 0,
    startSink: (slots) => new SlotSink(store, { slots }),
    run,
    flush() {},
    mapVersion: () => 1,
    memoryProblem: () => undefined,
  };
  return new MigrationTarget(host, "a", 1, RECORD, { sourceEpoch: 3, targetEpoch: 4 });
}

/** Store and stream of a source with one key of slot 5. */
function sourceWithKey(): SlotSource {
  const store = new Store({ seed: 2, random: () => 0 });
  const key = new KeyReference();
  for (let number = 0; store.size === 0; number += 1) {
    const bytes = new TextEncoder().encode(`key:${number}`);
    if (keySlot(bytes, 0, bytes.length) === 5) {
      store.refer(key, bytes, 0, bytes.length);
      store.store(key, ValueType.string, 0, 100, NO_EXPIRY);
    }
  }
  return new SlotSource(store, SLOTS);
}

test("an effect that fails where all keys have come ends the session: what the source has done is not here", () => {
  const said: MigrationMessage[] = [];
  /** Why effects fail from here on. */
  const failing: { reason?: string } = {};
  const target = targetOf(said, new Store({ seed: 1, random: () => 0 }), () => failing.reason);
  const offer = present(new SlotSource(new Store({ seed: 2, random: () => 0 }), SLOTS).next(), "it offers its slots");
  target.received({ type: "stream", session: 1, number: 0, isLast: true, bytes: offer });
  target.received({ type: "effects", session: 1, number: 1, isLast: true, bytes: effectOn(5) });
  expect(target.isOver).toBe(false);
  failing.reason = "OOM";
  // Of another task's slot: it is none of its business.
  target.received({ type: "effects", session: 1, number: 2, isLast: true, bytes: effectOn(7) });
  expect(target.isOver).toBe(false);
  target.received({ type: "effects", session: 1, number: 3, isLast: true, bytes: effectOn(5) });
  expect(target.isOver).toBe(true);
  expect(said.at(-1)).toEqual({
    type: "refused",
    session: 1,
    isFinal: true,
    reason: "what was done at the source cannot be done here: OOM",
  });
});

const NO_MEMORY = "Out of memory";
const lacking = (): never => {
  throw new RangeError(NO_MEMORY);
};

test("a value that the machine has no memory for ends the task: another session would end as this one", () => {
  const said: MigrationMessage[] = [];
  const store = new Store({ seed: 1, random: () => 0 });
  const source = sourceWithKey();
  const target = targetOf(said, store, () => undefined);
  let number = 0;
  const give = (): void => {
    for (let bytes = source.next(); bytes !== undefined; bytes = source.next()) {
      target.received({ type: "stream", session: 1, number, isLast: true, bytes });
      number += 1;
    }
  };
  give();
  const wants = present(
    said.find((message) => message.type === "answer"),
    "the target wants the slot",
  );
  source.answered(wants.bytes);
  store.store = lacking;
  give();
  expect(target.isOver).toBe(true);
  expect(said.at(-1)).toEqual({
    type: "refused",
    session: 1,
    isFinal: true,
    reason: "there is no memory for a value of 100 bytes",
  });
});

test("what comes and is not taken for want of memory, whatever it is, ends the task; nothing of it counts as taken", () => {
  const said: MigrationMessage[] = [];
  const target = targetOf(said, new Store({ seed: 1, random: () => 0 }), lacking);
  const offer = present(new SlotSource(new Store({ seed: 2, random: () => 0 }), SLOTS).next(), "it offers its slots");
  target.received({ type: "stream", session: 1, number: 0, isLast: true, bytes: offer });
  target.received({ type: "effects", session: 1, number: 1, isLast: true, bytes: effectOn(5) });
  expect(target.isOver).toBe(true);
  expect(said.at(-1)).toEqual({
    type: "refused",
    session: 1,
    isFinal: true,
    reason: `there is no memory for what has come: ${NO_MEMORY}`,
  });
});

test("a mistake in what is done with what comes ends the session, and is not kept quiet", () => {
  const said: MigrationMessage[] = [];
  const target = targetOf(said, new Store({ seed: 1, random: () => 0 }), () => {
    throw new Error("a mistake");
  });
  const offer = present(new SlotSource(new Store({ seed: 2, random: () => 0 }), SLOTS).next(), "it offers its slots");
  target.received({ type: "stream", session: 1, number: 0, isLast: true, bytes: offer });
  const taken = (): void =>
    target.received({ type: "effects", session: 1, number: 1, isLast: true, bytes: effectOn(5) });
  expect(taken).toThrow("a mistake");
  expect(said.at(-1)).toEqual({
    type: "refused",
    session: 1,
    isFinal: false,
    reason: "what has come was not taken: a mistake",
  });
});
