/** The store against a plain map: random operations, all sizes, expiry on a moving clock, compaction, cursors; invariants checked on the way. */
import { expect, test } from "bun:test";
import { KEEP_EXPIRY, NO_EXPIRY } from "../../src/contracts/keyspace.ts";
import { SLOT_COUNT } from "../../src/codec/slot.ts";
import { KeyReference } from "../../src/store/key-reference.ts";
import { Store } from "../../src/store/store.ts";

/** Steps of the model test; BUNCH_STEPS raises it. */
const STEPS = Number(process.env["BUNCH_STEPS"] ?? 1_000_000);
const SEED = Number(process.env["BUNCH_SEED"] ?? 20_261);

interface Entry {
  value: Uint8Array;
  expiresAtMs: number;
}

/** A small generator of its own: the same seed, the same run. */
function generator(seed: number): (bound: number) => number {
  let state = seed | 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}

function valueOf(length: number, random: (bound: number) => number): Uint8Array {
  const value = new Uint8Array(length);
  const step = random(255) + 1;
  for (let at = 0; at < length; at += 1 + (at >> 6)) value[at] = (at * step) & 0xff;
  return value;
}

function lengthOf(random: (bound: number) => number): number {
  const kind = random(100);
  if (kind < 70) return random(120);
  if (kind < 95) return random(5000);
  return random(kind < 99 ? 40_000 : 200_000);
}

for (const removesExpired of [true, false]) {
  test(`Store does what a map does over ${STEPS} random steps (${removesExpired ? "removes" : "hides"} expired keys)`, () => {
    const random = generator(SEED + (removesExpired ? 0 : 1));
    const store = new Store({ seed: random(2 ** 31), random });
    store.removesExpired = removesExpired;
    store.nowMs = 1_700_000_000_000;
    const model = new Map<string, Entry>();
    const key = new KeyReference();
    const encoder = new TextEncoder();
    const use = (name: string): KeyReference => {
      const bytes = encoder.encode(name);
      store.refer(key, bytes, 0, bytes.length);
      return key;
    };
    const live = (name: string): Entry | undefined => {
      const entry = model.get(name);
      if (entry === undefined || (entry.expiresAtMs !== 0 && entry.expiresAtMs <= store.nowMs)) {
        if (removesExpired) model.delete(name);
        return undefined;
      }
      return entry;
    };
    const nameOf = (): string => {
      const number = random(3000);
      return number === 0
        ? ""
        : number % 3 === 0
          ? `{tag}${number}`
          : `key:${number}${number % 50 === 0 ? "x".repeat(300) : ""}`;
    };
    let scan: { slot: number; position: number; expected: Set<string>; seen: Map<string, number> } | undefined;
    const tagged = (): number => {
      use("{tag}3");
      return key.slot;
    };
    for (let step = 0; step < STEPS; step += 1) {
      const name = nameOf();
      const entry = live(name);
      const where = `step ${step}, key ${JSON.stringify(name.slice(0, 20))}, BUNCH_SEED=${SEED}`;
      const choice = random(100);
      if (choice < 35) {
        const record = store.find(use(name));
        expect(record !== 0, where).toBe(entry !== undefined);
        if (entry !== undefined) {
          const start = store.valueStart(record);
          expect(
            Buffer.compare(store.bytes(record).subarray(start, start + store.valueLength(record)), entry.value),
            where,
          ).toBe(0);
          expect(store.expiresAtMs(record), where).toBe(entry.expiresAtMs);
        }
      } else if (choice < 65) {
        const value = valueOf(lengthOf(random), random);
        const kind = random(4);
        const expiresAtMs = kind === 0 ? store.nowMs + 1 + random(20_000) : kind === 1 ? KEEP_EXPIRY : NO_EXPIRY;
        store.setString(use(name), value, 0, value.length, expiresAtMs);
        model.set(name, { value, expiresAtMs: expiresAtMs === KEEP_EXPIRY ? (entry?.expiresAtMs ?? 0) : expiresAtMs });
        if (model.get(name)?.expiresAtMs !== 0) scan?.expected.delete(name);
      } else if (choice < 80) {
        expect(store.remove(use(name)), where).toBe(entry !== undefined);
        model.delete(name);
        scan?.expected.delete(name);
      } else if (choice < 86 && entry !== undefined) {
        const expiresAtMs = random(2) === 0 ? NO_EXPIRY : store.nowMs + 1 + random(20_000);
        store.setExpiry(use(name), store.peek(use(name)), expiresAtMs);
        entry.expiresAtMs = expiresAtMs;
        if (expiresAtMs !== NO_EXPIRY) scan?.expected.delete(name);
      } else if (choice < 92 && entry !== undefined) {
        const length = random(3) === 0 ? random(300) : entry.value.length + random(200);
        const record = store.resize(use(name), store.peek(use(name)), length, 1);
        const value = new Uint8Array(length);
        value.set(entry.value.subarray(0, length));
        entry.value = value;
        expect(store.flags(record), where).toBe(1);
      } else if (choice < 94) {
        store.nowMs += random(200);
        store.maintain(64 * 1024);
      } else if (choice < 95) {
        store.sweepExpired(50);
      } else if (choice < 97) {
        const slot = tagged();
        if (scan === undefined) {
          const expected = new Set(
            [...model.keys()].filter((each) => each.startsWith("{tag}") && live(each)?.expiresAtMs === 0),
          );
          scan = { slot, position: 0, expected, seen: new Map() };
        }
        const { seen } = scan;
        scan.position = store.scanSlot(slot, scan.position, 1 + random(40), (record) => {
          const start = store.keyStart(record);
          const found = Buffer.from(store.bytes(record).subarray(start, start + store.keyLength(record))).toString();
          seen.set(found, (seen.get(found) ?? 0) + 1);
        });
        if (scan.position === 0) {
          for (const each of scan.expected) expect(seen.get(each), `${where}: ${each} was there all along`).toBe(1);
          scan = undefined;
        }
      } else if (choice < 98 && random(40) === 0) {
        const slot = tagged();
        if (random(2) === 0) {
          store.dropSlot(slot, 1_000_000);
          for (const each of model.keys()) if (each.startsWith("{tag}")) model.delete(each);
          expect(store.slotSize(slot), where).toBe(0);
        } else if (random(8) === 0) {
          store.clear();
          model.clear();
        }
        scan = undefined;
      } else {
        const record = store.random(random(2) === 0);
        if (record !== 0) {
          const start = store.keyStart(record);
          const found = Buffer.from(store.bytes(record).subarray(start, start + store.keyLength(record))).toString();
          expect(model.has(found) || removesExpired, `${where}: random gave ${found}`).toBe(true);
        }
      }
      if (step % 20_000 === 0) store.check();
    }
    store.check();
    for (const name of model.keys()) {
      const isLive = live(name) !== undefined;
      expect(store.peek(use(name)) !== 0, `at the end, key ${name}, BUNCH_SEED=${SEED}`).toBe(isLive);
    }
    if (removesExpired) {
      while (store.sweepExpired(1000) > 0);
      let count = 0;
      for (let slot = 0; slot < SLOT_COUNT; slot += 1) count += store.slotSize(slot);
      expect(count).toBe(store.size);
      expect(store.size).toBe([...model.keys()].filter((each) => live(each) !== undefined).length);
    }
    // An equal content, put in in another order by another store, has the same digests.
    const other = new Store({ seed: 7, random });
    other.nowMs = store.nowMs;
    const otherKey = new KeyReference();
    if (removesExpired) {
      for (const [name, { value, expiresAtMs }] of [...model].reverse()) {
        const bytes = encoder.encode(name);
        other.refer(otherKey, bytes, 0, bytes.length);
        other.setString(otherKey, value, 0, value.length, expiresAtMs);
      }
      for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
        if (store.digestSlot(slot) !== other.digestSlot(slot)) throw new Error(`slot ${slot} has another digest`);
      }
    }
  }, 120_000);
}
