/**
 * Slot streams: whatever commands run meanwhile, and however they fall between the messages, the receiver ends with what the sender has. And what they cost.
 */
import { describe, expect, test } from "bun:test";
import { keySlot } from "../../src/codec/slot.ts";
import type { SlotSourceOptions } from "../../src/replication/slot-source.ts";
import type { SlotSinkOptions } from "../../src/replication/slot-sink.ts";
import type { SimRandom } from "../support/sim-random.ts";
import { type StreamPair, withPair } from "../support/stream-pair.ts";

const FIRST_SEED = Number(process.env["BUNCH_SEED"] ?? 1);
const SEEDS = Number(process.env["BUNCH_RUNS"] ?? 12);
const STEPS = 2500;
/** Values of more are cut: as short as there may be, so that random commands hit parts. */
const CUT_BYTES = 64;

const VALUES = ["", "1", "-7", "3.5", "hello", "9223372036854775807", "x".repeat(50), "\u0000\u00ff"];
const TAGS = ["{t}", "{u}"];

/**
 * A command at random: on keys of two slots, short values and long ones, and on keys everywhere.
 *
 * @param spread How often one of those.
 */
function draw(random: SimRandom, spread: number): readonly string[] {
  const elsewhere = () => `key${random.below(40)}`;
  if (random.chance(spread)) {
    const number = String(random.below(1000));
    return (
      random.pick([
        ["set", elsewhere(), number],
        ["append", elsewhere(), number],
        ["incr", elsewhere()],
        ["getdel", elsewhere()],
        ["expireat", elsewhere(), "99999999999"],
        ["persist", elsewhere()],
      ]) ?? []
    );
  }
  const tag = TAGS[random.below(TAGS.length)] ?? "";
  const short = () => `${tag}${random.below(12)}`;
  const long = () => `${tag}long${random.below(4)}`;
  const key = () => (random.chance(0.5) ? long() : short());
  const value = () => VALUES[random.below(VALUES.length)] ?? "";
  const longValue = () => String.fromCharCode(97 + random.below(26)).repeat(random.below(900));
  const milliseconds = () => String(random.below(3000));
  const all: readonly (() => readonly string[])[] = [
    () => ["set", key(), value()],
    () => ["set", long(), longValue()],
    () => ["set", long(), longValue(), "px", milliseconds()],
    () => ["set", key(), value(), "nx"],
    () => ["set", key(), value(), "xx"],
    () => ["set", key(), value(), "keepttl"],
    () => ["setnx", key(), value()],
    () => ["mset", key(), value(), long(), longValue()],
    () => ["msetnx", key(), value(), key(), value()],
    () => ["getset", key(), value()],
    () => ["getdel", key()],
    () => ["getex", key(), "px", milliseconds()],
    () => ["append", key(), value()],
    () => ["append", long(), longValue()],
    () => ["setrange", key(), String(random.below(700)), value()],
    () => ["incr", key()],
    () => ["incrbyfloat", key(), "0.1"],
    () => ["setbit", key(), String(random.below(4000)), String(random.below(2))],
    () => ["bitop", "xor", key(), key(), key()],
    () => ["bitop", "or", short(), short()],
    () => ["bitfield", long(), "incrby", "u63", String(random.below(5000)), String(random.below(2 ** 31))],
    () => ["bitfield", long(), "overflow", "fail", "incrby", "i9", String(random.below(5000)), "200"],
    () => ["del", key()],
    () => ["del", key(), key()],
    () => ["rename", key(), key()],
    () => ["renamenx", key(), key()],
    () => ["copy", key(), key(), "replace"],
    () => ["expire", key(), String(random.below(4) - 1)],
    () => ["pexpire", key(), milliseconds(), "gt"],
    () => ["persist", key()],
    () => ["unlink", key()],
    () => ["flushall"],
  ];
  // Everything is gone now and then only.
  return all[random.below(random.chance(0.02) ? all.length : all.length - 1)]?.() ?? ["ping"];
}

async function fillAtRandom(pair: StreamPair, random: SimRandom): Promise<void> {
  for (let step = 0; step < 400; step += 1) {
    const command = draw(random, 0.4);
    if (command[0] === "flushall") continue;
    // Most of it is the same on both sides, so that many slots are equal.
    const where = random.chance(0.9) ? 3 : random.below(3);
    if (where !== 0) await pair.run(...command);
    if (where !== 1) await pair.applier.execute(...command);
  }
}

describe("a slot stream brings the receiver to what the sender has", () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
    test(`under random commands (BUNCH_SEED=${seed} BUNCH_RUNS=1)`, async () => {
      await withPair(seed, async (pair, random, pause) => {
        await fillAtRandom(pair, random);
        const many = random.chance(0.5) ? 0 : 1 + random.below(1500);
        for (let index = 0; index < many; index += 1) {
          await pair.run("set", `{t}many${index}`, String(index));
          if (random.chance(0.3)) await pair.applier.execute("set", `{t}old${index}`, String(index));
        }
        const options: SlotSourceOptions = {
          cutBytes: CUT_BYTES,
          chunkBytes: 1 + random.below(400),
          chunkKeys: 1 + random.below(6),
          offerSlots: 1 + random.below(10),
          maxDigestBytes: random.below(8000),
        };
        const sinkOptions: SlotSinkOptions = { dropKeys: 1 + random.below(30) };
        pair.begin(options, sinkOptions);
        const sendChance = random.fraction() * 0.3;
        const spread = random.fraction();
        const deliverChance = 0.2 + random.fraction() * 0.6;
        for (let step = 0; step < STEPS && pair.faults.length === 0; step += 1) {
          if (random.chance(0.6)) await pair.run(...draw(random, spread));
          if (random.chance(sendChance)) pair.send();
          if (random.chance(deliverChance)) for (let left = random.below(6); left > 0; left -= 1) await pair.deliver();
          if (random.chance(0.3)) pair.step();
          if (random.chance(0.3)) pair.answer();
          if (random.chance(0.02)) await pause(random.below(400));
        }
        await pair.finish();
        expect(pair.faults).toEqual([]);
        expect(pair.differences()).toEqual([]);
        // What came after is applied as well.
        for (let step = 0; step < 100; step += 1) await pair.run(...draw(random, spread));
        while (pair.queued > 0) await pair.deliver();
        expect(pair.faults).toEqual([]);
        expect(pair.differences()).toEqual([]);
      });
    });
  }
});

test("the random commands' keys are in the slots that they are meant for", () => {
  const slots = TAGS.map((tag) => keySlot(new TextEncoder().encode(tag), 0, tag.length));
  expect(new Set(slots).size).toBe(TAGS.length);
});
