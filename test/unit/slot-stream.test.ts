/** Slot streams, one order of events at a time; what they cost; and what they refuse. */
import { describe, expect, test } from "bun:test";
import { keySlot } from "../../src/codec/slot.ts";
import {
  ChunkWriter,
  encodeEnd,
  encodeOffer,
  encodeWants,
  readSlotStreamMessage,
} from "../../src/codec/slot-stream-codec.ts";
import { SlotSink } from "../../src/replication/slot-sink.ts";
import { SlotSource, type SlotSourceOptions } from "../../src/replication/slot-source.ts";
import { KeyReference } from "../../src/store/key-reference.ts";
import { Store } from "../../src/store/store.ts";
import { ALL_SLOTS, type StreamPair, withPair } from "../support/stream-pair.ts";
import { seededRandom } from "./store/seeded-random.ts";

const encoder = new TextEncoder();
const slotOf = (key: string): number => keySlot(encoder.encode(key), 0, key.length);
/** Of all keys that begin with `{t}`. */
const SLOT = slotOf("{t}");

/** Sends the offer and brings back the answer, so that the next message is the first of a wanted slot. */
async function agree(pair: StreamPair): Promise<void> {
  expect(pair.send()).toBe(true);
  await pair.deliver();
  while (pair.receiver.hasWork) pair.step();
  pair.answer();
}

async function deliverAll(pair: StreamPair): Promise<void> {
  while (pair.queued > 0) await pair.deliver();
}

async function expectEqualAtTheEnd(pair: StreamPair): Promise<void> {
  await pair.finish();
  expect(pair.faults).toEqual([]);
  expect(pair.differences()).toEqual([]);
}

describe("SlotSource and SlotSink", () => {
  test("send nothing of slots that are equal, and all of one that is not", async () => {
    await withPair(1, async (pair) => {
      for (let index = 0; index < 2000; index += 1) await pair.run("set", `key${index % 500}`, String(index));
      pair.begin();
      await expectEqualAtTheEnd(pair);
      expect(pair.sender.progress).toMatchObject({ slotsDone: 16_384, slotsTotal: 16_384, keys: 500 });

      pair.begin();
      await expectEqualAtTheEnd(pair);
      expect(pair.sender.progress.keys).toBe(0);
      // A slot costs its number, its count and its digest.
      expect(pair.sender.progress.bytes).toBeLessThan(500 * 20);

      await pair.run("append", "key7", "more");
      pair.begin();
      await expectEqualAtTheEnd(pair);
      expect(pair.sender.progress.keys).toBe(pair.source.slotSize(slotOf("key7")));
    });
  });

  test("empty what the sender has not: slots that it offers as empty, and those that it does not own", async () => {
    await withPair(2, async (pair) => {
      for (let index = 0; index < 300; index += 1) await pair.applier.execute("set", `key${index}`, "old");
      for (let index = 0; index < 50; index += 1) await pair.applier.execute("set", `{t}${index}`, "old");
      await pair.run("set", "{t}new", "1");
      pair.begin({}, { dropKeys: 20 }, [
        { first: 0, last: 5000 },
        { first: SLOT, last: SLOT },
      ]);
      await expectEqualAtTheEnd(pair);
      expect(pair.target.size).toBe(1);
      expect(pair.sender.progress.slotsTotal).toBe(5002);
    });
  });

  test("empty a slot in steps, and want it only then", () => {
    const [source, target] = [makeStore(1), makeStore(2)];
    put(source, "{t}new", "1");
    for (let index = 0; index < 1000; index += 1) put(target, `{t}${index}`, "old");
    const sender = new SlotSource(source, ALL_SLOTS);
    const begun: number[] = [];
    const receiver = new SlotSink(target, { dropKeys: 100, onBegin: (slot) => void begun.push(slot) });
    let answer = receiver.receive(sender.next() ?? new Uint8Array(0));
    let steps = 1;
    for (; answer === undefined; steps += 1) {
      expect(target.slotSize(SLOT)).toBe(1000 - 100 * steps);
      expect(receiver.takes(SLOT)).toBe(false);
      answer = receiver.step();
    }
    expect(steps).toBe(10);
    expect(target.slotSize(SLOT)).toBe(0);
    expect(sender.next()).toBeUndefined();
    sender.answered(answer);
    expect(begun).toEqual([]);
    receiver.receive(sender.next() ?? new Uint8Array(0));
    expect(receiver.takes(SLOT)).toBe(true);
    expect(begun).toEqual([SLOT]);
    receiver.receive(sender.next() ?? new Uint8Array(0));
    expect([sender.isDone, receiver.isDone, receiver.refusal]).toEqual([true, true, undefined]);
    expect(target.digestSlot(SLOT)).toBe(source.digestSlot(SLOT));
  });

  test("apply effects that come between an offer and its answer, if the slot is equal", async () => {
    await withPair(3, async (pair) => {
      await pair.run("set", "{t}a", "1");
      await pair.applier.execute("set", "{t}a", "1");
      pair.begin();
      pair.send();
      await pair.run("append", "{t}a", "2");
      await deliverAll(pair);
      expect(pair.sentEffects).toBe(1);
      await expectEqualAtTheEnd(pair);
      expect(pair.sender.progress.keys).toBe(0);
    });
  });

  test("ignore effects of a slot that differs until it begins", async () => {
    await withPair(4, async (pair) => {
      await pair.run("set", "{t}a", "1");
      await pair.applier.execute("set", "{t}a", "another");
      pair.begin();
      pair.send();
      await pair.run("append", "{t}a", "2");
      await deliverAll(pair);
      expect(pair.target.size).toBe(0);
      await expectEqualAtTheEnd(pair);
    });
  });

  test("keep chunks small with one slot of many keys, and tell how far they are", async () => {
    await withPair(5, async (pair) => {
      for (let index = 0; index < 5000; index += 1) await pair.run("set", `{t}${index}`, "x".repeat(index % 300));
      for (let index = 0; index < 3000; index += 1) await pair.applier.execute("set", `{t}${index}`, "old");
      pair.begin({ chunkBytes: 4096, chunkKeys: 50 });
      await agree(pair);
      pair.messageBytes.length = 0;
      let written = 0;
      while (!pair.sender.isDone) {
        pair.send();
        expect(pair.sender.isMidway(SLOT)).toBe(
          !pair.sender.progress.slotsDone || pair.sender.progress.slotsDone < 16_384,
        );
        await pair.run("set", `{t}new${(written += 1)}`, "1");
        await pair.run("del", `{t}${written * 7}`);
        await pair.run("rename", `{t}${written * 11 + 1}`, `{t}renamed${written}`);
        await deliverAll(pair);
      }
      await expectEqualAtTheEnd(pair);
      expect(Math.max(...pair.messageBytes)).toBeLessThan(4096 + 400);
      expect(written).toBeGreaterThan(90);
    });
  });

  test("cut a value of several MiB, which is written meanwhile", async () => {
    await withPair(6, async (pair, random) => {
      const mib = 1_048_576;
      await pair.run("set", "{t}long", random.bytes(5 * mib));
      await pair.run("set", "{t}short", random.bytes(mib));
      pair.begin();
      await agree(pair);
      pair.messageBytes.length = 0;
      for (let count = 0; !pair.sender.isDone && count < 500; count += 1) {
        pair.send();
        await pair.run("setrange", "{t}long", String(random.below(6 * mib)), random.bytes(50));
        await pair.run("setbit", "{t}long", String(random.below(48 * mib)), "1");
        await pair.run("append", "{t}long", random.bytes(10));
        await pair.run("expireat", "{t}long", String(99_999_999_999 + count));
        await deliverAll(pair);
      }
      await expectEqualAtTheEnd(pair);
      const sizes = pair.messageBytes.toSorted((a, b) => b - a);
      expect(sizes[0]).toBeLessThan(mib + 70_000);
      expect(sizes[1]).toBeLessThan(70_000);
      expect(pair.sender.progress.bytes).toBeLessThan(8 * mib);
    });
  });

  const SMALL: SlotSourceOptions = { chunkKeys: 1, chunkBytes: 100, cutBytes: 64 };

  for (const [what, replacement] of [
    ["a shorter value", ["set", "{t}long", "short"]],
    ["a longer one", ["set", "{t}long", "y".repeat(3000)]],
    ["nothing", ["del", "{t}long"]],
    ["everything's end", ["flushall"]],
    ["another key", ["rename", "{t}other", "{t}long"]],
    ["itself with an expiry", ["pexpireat", "{t}long", "99999999999999"]],
  ] as const) {
    test(`a cut value is replaced by ${what}, before, between and after its parts`, async () => {
      for (const place of [1, 2, 3, 7, 11, 12]) {
        await withPair(`7/${place}`, async (pair) => {
          await pair.run("set", "{t}long", "x".repeat(1000));
          await pair.run("set", "{t}other", "z".repeat(500));
          pair.begin(SMALL);
          await agree(pair);
          for (let count = 0; count < place; count += 1) pair.send();
          await pair.run(...replacement);
          pair.send();
          await pair.run("append", "{t}long", "after");
          await expectEqualAtTheEnd(pair);
        });
      }
    });
  }

  test("a number that lies across the place of a cut is sent again", async () => {
    await withPair(8, async (pair) => {
      await pair.run("set", "{t}long", "\u007f".repeat(1000));
      pair.begin(SMALL);
      await agree(pair);
      for (let count = 0; count < 6; count += 1) {
        pair.send();
        // Its low byte is sent later: whether it carries is known here alone.
        for (let byte = 99; byte < 1000; byte += 100)
          await pair.run("bitfield", "{t}long", "incrby", "u16", String(8 * byte), "200");
      }
      await expectEqualAtTheEnd(pair);
    });
  });

  test("a long value that is replaced again and again is sent in a row at last", async () => {
    await withPair(9, async (pair) => {
      await pair.run("set", "{t}long", "x".repeat(5000));
      pair.begin(SMALL);
      await agree(pair);
      let rows = 0;
      for (let count = 0; !pair.sender.isDone && count < 200; count += 1) {
        const before = pair.messageBytes.length;
        pair.send();
        if (pair.messageBytes.length > before + 1) rows += 1;
        expect(pair.sender.isInRow).toBe(false);
        await pair.run("bitop", "not", "{t}long", "{t}long");
        await deliverAll(pair);
      }
      expect(pair.sender.isDone).toBe(true);
      expect(rows).toBe(1);
      await expectEqualAtTheEnd(pair);
      expect(Math.max(...pair.messageBytes)).toBeLessThan(300);
    });
  });

  test("what an effect makes of keys that have not come is put right, also by the word that a key is not there", async () => {
    await withPair(10, async (pair) => {
      await pair.run("set", "{t}empty", "");
      await pair.run("set", "{t}e", "value");
      pair.begin(SMALL);
      await agree(pair);
      // The beginning of the slot, and no key of it.
      pair.send();
      await deliverAll(pair);
      expect(pair.target.size).toBe(0);
      // 1. The receiver makes "z" of {t}e. 2. It has no {t}empty that it could rename, so {t}e keeps that. 3. So {t}d stays there, and there only.
      // 4. So neither is set there.
      await pair.run("append", "{t}e", "z");
      await pair.run("rename", "{t}empty", "{t}e");
      await pair.run("set", "{t}d", "d");
      await pair.run("bitop", "or", "{t}d", "{t}e");
      await deliverAll(pair);
      expect(pair.failedEffects).toBe(1);
      expect([pair.source.size, pair.target.size]).toEqual([1, 2]);
      // {t}d waits for its turn; the scan is through, so nobody comes by {t}n any more.
      pair.send();
      pair.send();
      await pair.run("msetnx", "{t}d", "1", "{t}n", "2");
      await deliverAll(pair);
      expect([pair.source.size, pair.target.size]).toEqual([3, 2]);
      await pair.run("set", "{t}d", "d");
      await pair.run("bitop", "or", "{t}d", "{t}e");
      await expectEqualAtTheEnd(pair);
    });
  });

  test("a key that an effect has made at the receiver alone is taken from it", async () => {
    await withPair(10, async (pair) => {
      await pair.run("set", "{t}empty", "");
      await pair.run("set", "{t}e", "value");
      pair.begin(SMALL);
      await agree(pair);
      pair.send();
      await deliverAll(pair);
      // The receiver has no {t}empty that it could rename: its {t}e is not empty, and so is what is made of that.
      await pair.run("append", "{t}e", "z");
      await pair.run("rename", "{t}empty", "{t}e");
      await pair.run("set", "{t}d", "d");
      await pair.run("bitop", "or", "{t}d", "{t}e");
      await deliverAll(pair);
      expect([pair.source.size, pair.target.size]).toEqual([1, 2]);
      await expectEqualAtTheEnd(pair);
    });
  });

  test("a long value that goes away before it was sent again, and only here, is taken from the receiver", async () => {
    let provoked = 0;
    for (let seed = 0; seed < 8; seed += 1) {
      await withPair(`11/${seed}`, async (pair) => {
        await pair.run("set", "{t}empty", "");
        await pair.run("set", "{t}e", "value");
        await pair.run("set", "{t}d", "d".repeat(500));
        pair.begin(SMALL);
        await agree(pair);
        pair.send();
        // As above: what is "" here is "z" there.
        await pair.run("append", "{t}e", "z");
        await pair.run("rename", "{t}empty", "{t}e");
        pair.send();
        pair.send();
        await pair.run("bitop", "or", "{t}d", "{t}e");
        await deliverAll(pair);
        if (pair.target.size > pair.source.size) provoked += 1;
        await expectEqualAtTheEnd(pair);
      });
    }
    expect(provoked).toBeGreaterThan(0);
  });

  test("bound what is compared at once, and how many slots are under way", () => {
    const [source, target] = [makeStore(1), makeStore(2)];
    for (const store of [source, target])
      for (let index = 0; index < 300; index += 1) put(store, `key${index}`, "x".repeat(1000));
    const sender = new SlotSource(source, ALL_SLOTS, { offerSlots: 20, maxDigestBytes: 10_000 });
    const receiver = new SlotSink(target, { compareBytes: 3000 });
    const fullSlots = (message: Uint8Array | undefined): number => {
      const offer = readSlotStreamMessage(message ?? new Uint8Array(0));
      return offer?.type === "offer" ? offer.slots.filter((each) => each.keys > 0).length : 0;
    };
    // A record takes up more than 1000 bytes, so an offer has 9 slots at most, and the receiver compares 2 of them at most.
    const first = sender.next();
    const inFirst = fullSlots(first);
    expect(inFirst).toBeGreaterThan(4);
    expect(inFirst).toBeLessThan(10);
    let underWay = inFirst;
    for (let message = sender.next(); message !== undefined; message = sender.next()) underWay += fullSlots(message);
    expect(underWay).toBe(20);
    const answer = readSlotStreamMessage(receiver.receive(first ?? new Uint8Array(0)) ?? new Uint8Array(0));
    let wanted = 0;
    if (answer?.type === "wants") for (const { first: from, last } of answer.slots) wanted += last - from + 1;
    expect(wanted).toBeGreaterThanOrEqual(inFirst - 2);
    expect(wanted).toBeLessThan(inFirst);
  });

  test("keys that are to be sent again are bounded: those above go at once", () => {
    const source = makeStore(1);
    put(source, "{t}a", "1");
    const sender = new SlotSource(source, ALL_SLOTS, { chunkKeys: 1 });
    sender.next();
    sender.answered(encodeWants(0, [{ first: SLOT, last: SLOT }]));
    sender.next();
    for (let index = 0; index < 10_000; index += 2)
      sender.noteEffect("rename", [encoder.encode(`{t}${index}`), encoder.encode(`{t}${index + 1}`)]);
    const message = readSlotStreamMessage(sender.next() ?? new Uint8Array(0));
    // And one key that is new.
    expect(message?.type === "chunk" && message.steps.length).toBe(10_000 - 4096 + 1);
  });

  test("a key that has expired is sent as it is, and not removed for that", () => {
    const [source, target] = [makeStore(1), makeStore(2)];
    put(source, "{t}a", "1", 5000);
    put(source, "{t}b", "1", 5000);
    source.nowMs = 6000;
    target.nowMs = 6000;
    let expired = 0;
    source.onExpire = () => (expired += 1);
    target.onExpire = () => (expired += 1);
    const sender = new SlotSource(source, ALL_SLOTS, { chunkKeys: 1 });
    const receiver = new SlotSink(target);
    for (let count = 0; count < 20 && !sender.isDone; count += 1) {
      const message = sender.next();
      const answer = message === undefined ? undefined : receiver.receive(message);
      if (answer !== undefined) sender.answered(answer);
      sender.noteEffect("copy", [encoder.encode("{t}a"), encoder.encode("{t}b")].slice(0, count < 8 ? 2 : 0));
    }
    expect([sender.isDone, receiver.isDone, receiver.refusal, expired]).toEqual([true, true, undefined, 0]);
    expect([source.size, target.size]).toEqual([2, 2]);
    expect(target.digestSlot(SLOT)).toBe(source.digestSlot(SLOT));
  });

  test("end at once where the shard owns nothing", () => {
    const target = makeStore(1);
    put(target, "{t}a", "1");
    const sender = new SlotSource(makeStore(2), []);
    const receiver = new SlotSink(target);
    receiver.receive(sender.next() ?? new Uint8Array(0));
    expect([sender.isDone, receiver.isDone, target.size]).toEqual([true, true, 0]);
  });
});

describe("SlotSink refuses", () => {
  const key = encoder.encode("{t}a");
  const chunk = (write: (writer: ChunkWriter) => void): Uint8Array => {
    const writer = new ChunkWriter(100);
    write(writer);
    return writer.finish();
  };
  const record = (writer: ChunkWriter, name = "{t}a", length = 1): void => {
    const bytes = encoder.encode(`${name}v`);
    writer.record(0, 0, 0, bytes, 0, bytes.length - 1, bytes.length - 1, length, 1);
  };
  const offer = encodeOffer(0, [{ first: SLOT, last: SLOT, keys: 1, digest: undefined }]);
  const begin = chunk((writer) => writer.begin(SLOT));
  for (const [what, messages, reason] of [
    ["what is no message", [Uint8Array.of(9, 9)], "what is no message"],
    ["an answer", [encodeWants(0, [])], "what only a receiver says"],
    ["the second offer first", [encodeOffer(1, [])], "offer 1 where 0 should be"],
    [
      "a slot that was offered before",
      [offer, encodeOffer(1, [{ first: SLOT, last: SLOT, keys: 0, digest: undefined }])],
      `slot ${SLOT} again`,
    ],
    [
      "a slot twice in an offer",
      [
        encodeOffer(
          0,
          [0, 1].map(() => ({ first: 5, last: 5, keys: 0, digest: undefined })),
        ),
      ],
      "slot 5 again",
    ],
    ["records of a slot that was never offered", [begin], `slot ${SLOT}, which was not wanted`],
    ["a record of no slot", [offer, chunk((writer) => record(writer))], "a key of no slot"],
    [
      "a key of another slot",
      [offer, begin, chunk((writer) => record(writer, "{u}a"))],
      `a key of slot ${slotOf("{u}")} within slot ${SLOT}`,
    ],
    [
      "a slot within a slot",
      [offer, begin, chunk((writer) => writer.begin(5))],
      `the beginning of slot 5 within slot ${SLOT}`,
    ],
    [
      "the end of what has not begun",
      [offer, chunk((writer) => writer.end(SLOT))],
      `the end of slot ${SLOT}, which has not begun`,
    ],
    [
      "a slot that has ended",
      [offer, begin, chunk((writer) => writer.end(SLOT)), begin],
      `slot ${SLOT}, which was not wanted`,
    ],
    [
      "the second part first",
      [offer, begin, chunk((writer) => writer.part(key, 1, 2, key, 0, 1))],
      "a part of another value",
    ],
    [
      "a part of a value of another length",
      [
        offer,
        begin,
        chunk((writer) => {
          record(writer, "{t}a", 2);
          writer.part(key, 1, 3, key, 0, 1);
        }),
      ],
      "a part of another value",
    ],
    ["an end before slots are filled", [offer, encodeEnd()], "an end before slots were filled that it had offered"],
    ["an end within a slot", [offer, begin, encodeEnd()], "an end before slots were filled that it had offered"],
    ["something after the end", [encodeEnd(), offer], "something after the end"],
  ] as const) {
    test(what, () => {
      const store = makeStore(1);
      const sink = new SlotSink(store);
      const [last = new Uint8Array(0), ...before] = [...messages].reverse();
      for (const each of before.reverse()) sink.receive(each);
      expect(sink.refusal).toBeUndefined();
      expect(sink.receive(last)).toBeUndefined();
      expect(sink.refusal).toBe(`The sender of slots has sent ${reason}`);
      // Nothing is taken any more.
      const { changes } = store;
      expect([sink.receive(offer), sink.step(), sink.hasWork]).toEqual([undefined, undefined, false]);
      sink.receive(begin);
      sink.receive(chunk((writer) => record(writer)));
      expect(store.changes).toBe(changes);
    });
  }
});

describe("SlotSource refuses", () => {
  const offered = (): SlotSource => {
    const store = makeStore(1);
    put(store, "{t}a", "1");
    const source = new SlotSource(store, [
      { first: SLOT - 1, last: SLOT },
      { first: SLOT + 2, last: SLOT + 2 },
    ]);
    source.next();
    return source;
  };
  const wants = (slot: number, offer = 0): Uint8Array => encodeWants(offer, [{ first: slot, last: slot }]);
  const unnamed = (slot: number): string => `The receiver of slots wants slot ${slot}, which that offer does not name`;
  for (const [what, answers, reason] of [
    ["what is no message", [Uint8Array.of(9)], "The receiver of slots has sent what is no answer"],
    ["what only a sender says", [encodeEnd()], "The receiver of slots has sent what is no answer"],
    [
      "an answer to an offer that was not made",
      [wants(SLOT, 1)],
      "The receiver of slots has answered offer 1, and 0 is to be answered",
    ],
    [
      "a second answer",
      [wants(SLOT), wants(SLOT)],
      "The receiver of slots has answered offer 0, and none is to be answered",
    ],
    ["a slot that is not sent", [wants(SLOT + 1)], unnamed(SLOT + 1)],
    ["a slot before those of the offer", [wants(5)], unnamed(5)],
    ["a slot behind those of the offer", [wants(SLOT + 3)], unnamed(SLOT + 3)],
    ["all slots", [encodeWants(0, ALL_SLOTS)], unnamed(0)],
  ] as const) {
    test(what, () => {
      const source = offered();
      for (const answer of answers) source.answered(answer);
      expect(source.refusal).toBe(reason);
      expect([source.next(), source.isDone]).toEqual([undefined, false]);
    });
  }

  test("nothing that makes sense", () => {
    const source = offered();
    source.answered(wants(SLOT));
    expect(source.refusal).toBeUndefined();
    expect(source.next()).toBeDefined();
  });
});

function makeStore(seed: number): Store {
  const store = new Store({ seed, random: seededRandom(seed) });
  store.nowMs = 1000;
  return store;
}

function put(store: Store, key: string, value: string, expiresAtMs = 0): void {
  const reference = new KeyReference();
  const bytes = encoder.encode(key + value);
  store.refer(reference, bytes, 0, encoder.encode(key).length);
  store.setString(reference, bytes, encoder.encode(key).length, bytes.length, expiresAtMs);
}
