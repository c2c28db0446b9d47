/** Memory is given back: what the store holds stays close to what its keys need, whatever was done to it. */
import { describe, expect, test } from "bun:test";
import { NO_EXPIRY } from "../../../src/contracts/keyspace.ts";
import { KeyReference } from "../../../src/store/key-reference.ts";
import { Store } from "../../../src/store/store.ts";
import { seededRandom } from "./seeded-random.ts";

/** What the contract promises of used over allocated bytes. */
const USED_PART = 0.7;
/** What a key needs beyond its bytes: a record's header, and a table entry at the load that tables have in the mean. */
const OVERHEAD_BYTES = 12 + 10;
const KEY_BYTES = 8;
const SOURCE = new Uint8Array(300_000).fill(0x61);

/** A store with the bytes that its live keys and values need, counted from outside. */
class Filling {
  readonly random: (bound: number) => number;
  readonly store: Store;
  liveBytes = 0;
  readonly #key = new KeyReference();
  readonly #name = new Uint8Array(KEY_BYTES);
  readonly #lengths = new Map<number, number>();

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.store = new Store({ seed, random: this.random });
  }

  set(number: number, length: number): void {
    this.remove(number);
    this.#lengths.set(number, length);
    this.liveBytes += KEY_BYTES + length + OVERHEAD_BYTES;
    this.store.setString(this.#refer(number), SOURCE, 0, length, NO_EXPIRY);
    this.#maintain();
  }

  /** Counts only: `set` overwrites in place. */
  private remove(number: number): void {
    const length = this.#lengths.get(number);
    if (length !== undefined) this.liveBytes -= KEY_BYTES + length + OVERHEAD_BYTES;
  }

  delete(number: number): void {
    this.remove(number);
    this.#lengths.delete(number);
    this.store.remove(this.#refer(number));
    this.#maintain();
  }

  /** What runs between commands, until there is nothing left to do. */
  settle(): void {
    while (this.store.needsMaintenance) {
      const before = this.store.allocatedBytes;
      this.store.maintain(1 << 20);
      expect(this.store.allocatedBytes).toBeLessThanOrEqual(before + (1 << 20));
    }
  }

  get usedPart(): number {
    return this.store.usedBytes / this.store.allocatedBytes;
  }

  /** Bytes that somebody asked for over bytes that are held. */
  get livePart(): number {
    return this.liveBytes / this.store.allocatedBytes;
  }

  #maintain(): void {
    if (this.store.needsMaintenance) this.store.maintain(4096);
  }

  #refer(number: number): KeyReference {
    for (let at = 0, rest = number; at < KEY_BYTES; at++, rest = Math.floor(rest / 10))
      this.#name[at] = 48 + (rest % 10);
    this.store.refer(this.#key, this.#name, 0, KEY_BYTES);
    return this.#key;
  }
}

describe("Store", () => {
  test("keeps used over allocated bytes above 0.7 through months of overwriting with changing sizes", () => {
    const filling = new Filling(11);
    const keys = 60_000;
    let lowest = 1;
    // Each month the application writes other sizes, over keys chosen at random: pages of last month's sizes run thin, never empty.
    for (let month = 0; month < 12; month++) {
      const center = 40 + filling.random(700);
      for (let write = 0; write < keys; write++) {
        filling.set(filling.random(keys), Math.floor(center / 2) + filling.random(center));
        if (month > 0 && write % 1000 === 0) lowest = Math.min(lowest, filling.usedPart);
      }
      filling.store.check();
      filling.settle();
      expect(filling.usedPart).toBeGreaterThan(USED_PART);
      expect(filling.livePart).toBeGreaterThan(USED_PART);
    }
    expect(lowest).toBeGreaterThan(USED_PART);
  });

  test("keeps used over allocated bytes above 0.7 with values from 1 byte to 300 KB that grow and shrink", () => {
    const filling = new Filling(12);
    const keys = 2000;
    for (let round = 0; round < 6; round++) {
      for (let write = 0; write < keys; write++) {
        filling.set(filling.random(keys), 1 << filling.random(18));
        filling.set(filling.random(keys), filling.random(1 << (4 + filling.random(15))));
      }
      filling.store.check();
      filling.settle();
      expect(filling.livePart).toBeGreaterThan(USED_PART);
    }
  });

  test.each([16, 64, 300, 3000, 12_000])(
    "gives memory back when 90 %% of keys with values of %d bytes are deleted at random",
    (length) => {
      const filling = new Filling(13);
      const keys = Math.floor(100_000_000 / (length + 100));
      for (let number = 0; number < keys; number++) filling.set(number, length);
      const before = filling.store.allocatedBytes;
      for (let number = 0; number < keys; number++) if (filling.random(10) > 0) filling.delete(number);
      filling.settle();
      filling.store.check();
      expect(filling.usedPart).toBeGreaterThan(USED_PART);
      expect(filling.store.allocatedBytes).toBeLessThan(before / 5);
    },
  );

  test("keeps at most one chunk when everything was deleted", () => {
    const filling = new Filling(14);
    for (let number = 0; number < 50_000; number++) filling.set(number, filling.random(2000));
    for (let number = 0; number < 100; number++) filling.set(number, filling.random(300_000));
    for (let number = 0; number < 50_000; number++) filling.delete(number);
    expect(filling.store.size).toBe(0);
    expect(filling.store.usedBytes).toBe(0);
    expect(filling.store.allocatedBytes).toBeLessThanOrEqual(1 << 20);
    filling.store.check();
  });

  test("holds nothing after clear, and can be filled again", () => {
    const filling = new Filling(15);
    for (let number = 0; number < 20_000; number++) filling.set(number, filling.random(20_000));
    filling.store.clear();
    expect([filling.store.size, filling.store.usedBytes, filling.store.allocatedBytes]).toEqual([0, 0, 0]);
    filling.store.check();
    for (let number = 0; number < 20_000; number++) filling.set(number, 10);
    filling.store.check();
    expect(filling.store.size).toBe(20_000);
  });

  test("takes at most 115 bytes for a key of 16 bytes with a value of 64", () => {
    const random = seededRandom(16);
    const store = new Store({ seed: 16, random });
    const key = new KeyReference();
    const name = new Uint8Array(16);
    // 300,000 keys in a tenth of the slots: tables as full as those of three million in all of them.
    let count = 0;
    for (let number = 0; count < 300_000; number++) {
      for (let at = 0, rest = number; at < 16; at++, rest = Math.floor(rest / 10)) name[at] = 48 + (rest % 10);
      store.refer(key, name, 0, 16);
      if (key.slot >= 1638) continue;
      store.setString(key, SOURCE, 0, 64, NO_EXPIRY);
      count++;
    }
    expect(store.allocatedBytes / count).toBeLessThan(115);
  });

  test("maintain stops after the bytes that it was given", () => {
    const filling = new Filling(17);
    for (let number = 0; number < 100_000; number++) filling.set(number, 100);
    const key = new KeyReference();
    for (let number = 0; number < 100_000; number++) {
      if (filling.random(10) === 0) continue;
      const name = Uint8Array.from(String(number).padStart(KEY_BYTES, "0").split("").reverse(), (digit) =>
        digit.charCodeAt(0),
      );
      filling.store.refer(key, name, 0, KEY_BYTES);
      filling.store.remove(key);
    }
    let calls = 0;
    while (filling.store.maintain(16_384)) calls++;
    // About 10,000 records of 128 bytes have to move, at about 90 a call.
    expect(calls).toBeGreaterThan(20);
    expect(filling.store.needsMaintenance).toBe(false);
    filling.store.check();
  });
});
