/** A migration's target, to which the test says what a source would. */
import { expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import type { MigrationMessage } from "../../src/codec/migration-codec.ts";
import { ArgumentList } from "../../src/codec/resp-parser.ts";
import type { MigrationRecord } from "../../src/contracts/topology.ts";
import { MigrationTarget, type TargetHost } from "../../src/migration/target.ts";
import { ReplyGate } from "../../src/reply-gate.ts";
import { ShardLog } from "../../src/replication/shard-log.ts";
import { SlotSink } from "../../src/replication/slot-sink.ts";
import { SlotSource } from "../../src/replication/slot-source.ts";
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

test("an effect that fails where all keys have come ends the session: what the source has done is not here", () => {
  const said: MigrationMessage[] = [];
  /** Why effects fail from here on. */
  const failing: { reason?: string } = {};
  const host: TargetHost = {
    events: { debug() {}, info() {}, warn() {}, error() {} },
    gate: new ReplyGate(createBunWorld().clock),
    soon() {},
    send: (_, message) => {
      said.push(message);
      return true;
    },
    keysIn: () => 0,
    startSink: (slots) => new SlotSink(new Store({ seed: 1, random: () => 0 }), { slots }),
    run: () => failing.reason,
    flush() {},
    mapVersion: () => 1,
    memoryProblem: () => undefined,
  };
  const target = new MigrationTarget(host, "a", 1, RECORD, { sourceEpoch: 3, targetEpoch: 4 });
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
