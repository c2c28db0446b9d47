/** The store's promises one by one. What it does in all combinations is `test/property/store.test.ts`'s to find. */
import { Buffer } from "node:buffer";
import { describe, expect, test } from "bun:test";
import { Fault } from "../../../src/assert.ts";
import { FLAG_EDITED, type Handle, KEEP_EXPIRY, NO_EXPIRY, ValueType } from "../../../src/contracts/keyspace.ts";
import { KeyReference } from "../../../src/store/key-reference.ts";
import { Store } from "../../../src/store/store.ts";
import { seededRandom } from "./seeded-random.ts";

const NOW_MS = 1_800_000_000_000;

/** A store with keys and values as text. */
class Subject {
  readonly store: Store;

  constructor(seed = 1) {
    this.store = new Store({ seed, random: seededRandom(seed) });
    this.store.nowMs = NOW_MS;
  }

  key(name: string): KeyReference {
    const key = new KeyReference();
    const bytes = Buffer.from(name);
    this.store.refer(key, bytes, 0, bytes.length);
    return key;
  }

  set(name: string, value: string, expiresAtMs: number = NO_EXPIRY): Handle {
    const bytes = Buffer.from(value);
    return this.store.setString(this.key(name), bytes, 0, bytes.length, expiresAtMs);
  }

  /** The value, without noting the access. */
  get(name: string): string | undefined {
    const record = this.store.peek(this.key(name));
    return record === 0 ? undefined : this.valueOf(record);
  }

  valueOf(record: Handle): string {
    const start = this.store.valueStart(record);
    return Buffer.from(this.store.bytes(record).slice(start, start + this.store.valueLength(record))).toString(
      "latin1",
    );
  }

  nameOf(record: Handle): string {
    const start = this.store.keyStart(record);
    return Buffer.from(this.store.bytes(record).slice(start, start + this.store.keyLength(record))).toString("latin1");
  }
}

describe("Store values", () => {
  test.each([0, 1, 15, 16, 200, 4000, 16_300, 16_400, 200_000])(
    "a key and a value of %d bytes come back as they were",
    (length) => {
      const subject = new Subject();
      const text = "abcdefg\0\u00ff".repeat(Math.ceil(length / 9)).slice(0, length);
      const bytes = Buffer.from(text, "latin1");
      const key = new KeyReference();
      subject.store.refer(key, bytes, 0, length);
      subject.store.setString(key, bytes, 0, length, NO_EXPIRY);
      const record = subject.store.find(key);
      expect(subject.valueOf(record)).toBe(text);
      expect(subject.nameOf(record)).toBe(text);
      expect(subject.store.type(record)).toBe(ValueType.string);
      expect(subject.store.remove(key)).toBe(true);
      expect(subject.store.find(key)).toBe(0);
      subject.store.check();
    },
  );

  test("a value overwritten with one of nearly the same length stays where it is", () => {
    const subject = new Subject();
    const first = subject.set("key", "x".repeat(60));
    expect(subject.set("key", "y".repeat(64))).toBe(first);
    // With an expiry, its key moves by eight bytes within the record.
    const same = subject.set("key", "z".repeat(50), NOW_MS + 5);
    expect(same).toBe(first);
    expect([subject.nameOf(first), subject.get("key")]).toEqual(["key", "z".repeat(50)]);
    subject.store.check();
  });

  test("store keeps type and flags and leaves the value to be filled", () => {
    const subject = new Subject();
    const record = subject.store.store(subject.key("list"), ValueType.list, FLAG_EDITED, 100_000, NO_EXPIRY);
    subject.store
      .bytes(record)
      .fill(0x71, subject.store.valueStart(record), subject.store.valueStart(record) + 100_000);
    expect(subject.get("list")).toBe("q".repeat(100_000));
    expect([subject.store.type(record), subject.store.flags(record)]).toEqual([ValueType.list, FLAG_EDITED]);
  });

  test("resize keeps what fits and adds zeros, also where an old value lay", () => {
    const subject = new Subject();
    for (const [from, to] of [
      [10, 12],
      [10, 500],
      [500, 10],
      [10, 40_000],
      [40_000, 39_000],
      [40_000, 100],
      [100_000, 120_000],
    ] as const) {
      subject.set("key", "z".repeat(100_000));
      let record = subject.set("key", "a".repeat(from));
      record = subject.store.resize(subject.key("key"), record, to, FLAG_EDITED);
      expect(subject.get("key")).toBe("a".repeat(Math.min(from, to)) + "\0".repeat(Math.max(to - from, 0)));
      expect(subject.store.flags(record)).toBe(FLAG_EDITED);
      subject.store.check();
    }
  });

  test("growing to 4 MB by 100 bytes at a time moves the value a few dozen times, and wastes no quarter", () => {
    const subject = new Subject();
    const key = subject.key("key");
    let record = subject.set("key", "a");
    let moves = 0;
    for (let length = 1; length < 4_000_000; length += 100) {
      const target = subject.store.resize(key, record, length, 0);
      if (target !== record) moves++;
      record = target;
    }
    expect(moves).toBeLessThan(200);
    expect(subject.store.allocatedBytes).toBeLessThan(4_000_000 * 1.26 + (1 << 20));
  });

  test("no memory for a value leaves everything as it was", () => {
    const subject = new Subject();
    subject.set("key", "value");
    expect(() => subject.store.store(subject.key("key"), ValueType.string, 0, 2 ** 40, NO_EXPIRY)).toThrow(RangeError);
    expect(() => subject.store.store(subject.key("other"), ValueType.string, 0, 2 ** 40, NO_EXPIRY)).toThrow(
      RangeError,
    );
    expect([subject.get("key"), subject.store.size]).toEqual(["value", 1]);
    subject.store.check();
  });

  test("a negative expiry is a fault", () => {
    const subject = new Subject();
    expect(() => subject.set("key", "", -2)).toThrow(Fault);
  });
});

describe("Store expiry", () => {
  test("a key is gone from the millisecond that it expires at on, and onExpire is told once, before", () => {
    const subject = new Subject();
    const told: string[] = [];
    subject.store.onExpire = (key) => told.push(`${key.toString()} of ${subject.store.size}`);
    subject.set("key", "value", NOW_MS + 100);
    subject.store.nowMs = NOW_MS + 99;
    expect(subject.get("key")).toBe("value");
    subject.store.nowMs = NOW_MS + 100;
    expect([subject.store.find(subject.key("key")), subject.store.find(subject.key("key"))]).toEqual([0, 0]);
    expect(told).toEqual(["key of 1"]);
    expect([subject.store.size, subject.store.volatileCount, subject.store.expiredCount]).toEqual([0, 0, 1]);
  });

  test("an expired key is hidden, counted and kept while removesExpired is off; remove takes it and says there was none", () => {
    const subject = new Subject();
    subject.store.removesExpired = false;
    subject.store.onExpire = () => expect.unreachable();
    subject.set("key", "value", NOW_MS + 100);
    subject.store.nowMs = NOW_MS + 200;
    expect([subject.get("key"), subject.store.size, subject.store.sweepExpired(10)]).toEqual([undefined, 1, 0]);
    expect(subject.store.remove(subject.key("key"))).toBe(false);
    expect([subject.store.size, subject.store.expiredCount]).toEqual([0, 0]);
  });

  test("KEEP_EXPIRY keeps an expiry in force, and none of an expired key", () => {
    for (const removesExpired of [true, false]) {
      const subject = new Subject();
      subject.store.removesExpired = removesExpired;
      subject.set("key", "1", NOW_MS + 100);
      expect(subject.store.expiresAtMs(subject.set("key", "2", KEEP_EXPIRY))).toBe(NOW_MS + 100);
      subject.store.nowMs = NOW_MS + 100;
      expect(subject.store.expiresAtMs(subject.set("key", "3", KEEP_EXPIRY))).toBe(NO_EXPIRY);
      expect([subject.get("key"), subject.store.volatileCount]).toEqual(["3", 0]);
    }
  });

  test.each([1, 4_294_967_295, 4_294_967_296, NOW_MS, Number.MAX_SAFE_INTEGER])(
    "an expiry of %d ms comes back exactly",
    (expiresAtMs) => {
      const subject = new Subject();
      subject.store.nowMs = 0;
      expect(subject.store.expiresAtMs(subject.set("key", "value", expiresAtMs))).toBe(expiresAtMs);
    },
  );

  test("sweepExpired finds every expired key, looks at no more than it was asked to, and keeps the others", () => {
    const subject = new Subject();
    for (let number = 0; number < 3000; number++) {
      subject.set(
        `${number % 3 === 0 ? "{one}" : ""}${number}`,
        "",
        [NO_EXPIRY, NOW_MS + 10, NOW_MS + 9000][number % 3],
      );
      subject.set(`{one}v${number}`, "", number % 2 === 0 ? NOW_MS + 10 : NOW_MS + 9000);
    }
    expect(subject.store.sweepExpired(100)).toBe(0);
    subject.store.nowMs = NOW_MS + 10;
    let expired = 0;
    for (let call = 0; expired < 2500; call++) {
      const found = subject.store.sweepExpired(100);
      expect(found).toBeLessThanOrEqual(100);
      expired += found;
      if (call > 1000) expect.unreachable();
    }
    expect([subject.store.size, subject.store.volatileCount, subject.store.expiredCount]).toEqual([3500, 2500, 2500]);
    subject.store.check();
  });
});

describe("Store access", () => {
  test("idle time counts from the last find, not from peek", () => {
    const subject = new Subject();
    const record = subject.set("key", "value");
    subject.store.nowMs = NOW_MS + 60_000;
    subject.store.peek(subject.key("key"));
    expect(subject.store.idleSeconds(record)).toBe(60);
    subject.store.find(subject.key("key"));
    expect(subject.store.idleSeconds(record)).toBe(0);
    subject.store.setIdleSeconds(record, 1000);
    subject.store.nowMs = NOW_MS + 61_000;
    expect(subject.store.idleSeconds(record)).toBe(1001);
    expect([subject.get("key"), subject.store.type(record), subject.store.flags(record)]).toEqual([
      "value",
      ValueType.string,
      0,
    ]);
  });

  test("the access counter starts at 5, grows ever more slowly, and falls by one a minute", () => {
    const subject = new Subject();
    subject.store.accessTracking = "frequency";
    const record = subject.set("key", "value");
    expect(subject.store.frequency(record)).toBe(5);
    const reached = [100, 1000, 100_000].map((accesses) => {
      for (let access = 0; access < accesses; access++) subject.store.find(subject.key("key"));
      return subject.store.frequency(record);
    });
    // What Redis' own table of its counter says for a factor of 10, give or take chance: 10, 18, 142.
    expect(reached[0]).toBeWithin(7, 14);
    expect(reached[1]).toBeWithin(15, 24);
    expect(reached[2]).toBeWithin(125, 160);
    subject.store.nowMs += 60_000 * 10;
    expect(subject.store.frequency(record)).toBe((reached[2] as number) - 10);
    subject.store.setFrequency(record, 200);
    expect(subject.store.frequency(record)).toBe(200);
  });

  test("random gives each key about as often, however slots differ", () => {
    const subject = new Subject();
    const names = new Map<string, number>();
    for (let number = 0; number < 40; number++) names.set(number < 30 ? `{big}${number}` : `${number}`, 0);
    for (const name of names.keys()) subject.set(name, "", name.endsWith("5") ? NOW_MS + 1 : NO_EXPIRY);
    const draws = 40_000;
    for (let draw = 0; draw < draws; draw++) {
      const name = subject.nameOf(subject.store.random(false));
      names.set(name, (names.get(name) ?? 0) + 1);
    }
    for (const count of names.values()) expect(count).toBeWithin(850, 1150);
    const volatileNames = new Set<string>();
    for (let draw = 0; draw < 1000; draw++) volatileNames.add(subject.nameOf(subject.store.random(true)));
    expect([...volatileNames].toSorted()).toEqual(["35", "{big}15", "{big}25", "{big}5"]);
    expect(new Subject().store.random(false)).toBe(0);
  });

  test("random finds the one key with an expiry among very many", () => {
    const subject = new Subject();
    for (let number = 0; number < 20_000; number++) subject.set(`{one}${number}`, "");
    subject.set("{one}777", "", NOW_MS + 1);
    expect(subject.nameOf(subject.store.random(true))).toBe("{one}777");
  });
});

describe("Store slots", () => {
  test("a scan visits each key that stays exactly once while others come and go and the table grows and shrinks", () => {
    const subject = new Subject();
    const random = seededRandom(5);
    const { slot } = subject.key("{s}");
    for (let number = 0; number < 1000; number++) subject.set(`{s}stays${number}`, "");
    const seen = new Map<string, number>();
    let position = 0;
    do {
      position = subject.store.scanSlot(slot, position, 7, (record) => {
        const name = subject.nameOf(record);
        seen.set(name, (seen.get(name) ?? 0) + 1);
      });
      expect(position).toBeWithin(0, 2 ** 30);
      for (let change = 0; change < 60; change++) {
        const name = `{s}passes${random(4000)}`;
        if (random(2) === 0) subject.set(name, "x".repeat(random(100)));
        else subject.store.remove(subject.key(name));
      }
      if (random(20) === 0) {
        for (let number = 0; number < 4000; number++) subject.store.remove(subject.key(`{s}passes${number}`));
      }
    } while (position !== 0);
    for (let number = 0; number < 1000; number++) expect(seen.get(`{s}stays${number}`)).toBe(1);
  });

  test("dropSlot takes no more than it is told, and nothing of other slots", () => {
    const subject = new Subject();
    for (let number = 0; number < 500; number++) {
      subject.set(`{a}${number}`, "x");
      subject.set(`{b}${number}`, "x");
    }
    const { slot } = subject.key("{a}");
    const left: number[] = [];
    do {
      left.push(subject.store.dropSlot(slot, 120));
      if (left.length === 2) subject.set("{a}late", "x");
    } while (left.at(-1) !== 0);
    expect(left).toEqual([380, 260, 141, 21, 0]);
    expect([subject.store.size, subject.store.slotSize(slot), subject.store.slotBytes(slot)]).toEqual([500, 0, 0]);
    subject.store.check();
  });

  test("a digest tells contents apart by any of key, value, type and expiry, and nothing else", () => {
    const digest = (fill: (subject: Subject) => void, seed = 1): string => {
      const subject = new Subject(seed);
      fill(subject);
      return subject.store.digestSlot(subject.key("{a}").slot);
    };
    const base = (subject: Subject): void => {
      subject.set("{a}1", "one");
      subject.set("{a}2", "two", NOW_MS + 5);
    };
    const variants: ((subject: Subject) => void)[] = [
      () => undefined,
      base,
      (subject) => subject.set("{a}1", "one"),
      (subject) => (base(subject), subject.set("{a}1", "onf")),
      (subject) => (base(subject), subject.set("{a}2", "two", NOW_MS + 6)),
      (subject) => (base(subject), subject.set("{a}2", "two")),
      (subject) => (base(subject), subject.set("{a}3", "")),
      (subject) => {
        base(subject);
        subject.store.remove(subject.key("{a}1"));
        subject.set("{a}1o", "ne");
      },
      (subject) => {
        base(subject);
        const record = subject.store.store(subject.key("{a}1"), ValueType.hash, 0, 3, NO_EXPIRY);
        Buffer.from("one").copy(subject.store.bytes(record), subject.store.valueStart(record));
      },
    ];
    const digests = variants.map((variant) => digest(variant));
    expect(new Set(digests).size).toBe(variants.length);
    expect(digests[0]).toBe("0000000000000000");
    for (const each of digests) expect(each).toMatch(/^[0-9a-f]{16}$/);
    const otherWay = (subject: Subject): void => {
      subject.set("{a}2", "2", NOW_MS + 999);
      subject.set("{b}2", "2");
      subject.set("{a}1", "one");
      subject.set("{a}2", "two", NOW_MS + 5);
      subject.store.find(subject.key("{a}2"));
    };
    expect(digest(otherWay, 99)).toBe(digests[1] as string);
  });

  test("onChange is told every change of a watched slot's keys, and of no other", () => {
    const subject = new Subject();
    const told: string[] = [];
    const { store } = subject;
    store.onChange = (key) => told.push(key.toString());
    store.slotWatchers[subject.key("{w}").slot] = 1;
    const expectTold = (names: string[], act: () => void): void => {
      const before = store.changes;
      told.length = 0;
      act();
      expect(told).toEqual(names);
      expect(store.changes - before).toBe(names.length);
    };
    const key = subject.key("{w}1");
    expectTold(["{w}1"], () => subject.set("{w}1", "a"));
    expectTold(["{w}1"], () => subject.set("{w}1", "b"));
    expectTold(["{w}1"], () => subject.set("{w}1", "b".repeat(30_000)));
    expectTold(["{w}1"], () => store.resize(key, store.peek(key), 10, 0));
    expectTold(["{w}1"], () => store.changed(key, store.peek(key), 0));
    expectTold(["{w}1"], () => store.setExpiry(key, store.peek(key), NOW_MS + 10));
    expectTold([], () => store.find(key));
    expectTold(["{w}1"], () => {
      store.nowMs = NOW_MS + 10;
      store.find(key);
    });
    expectTold([], () => store.remove(key));
    expectTold(["{w}1"], () => subject.set("{w}1", "a"));
    expectTold(["{w}1"], () => store.clear());
    expectTold(["{w}1"], () => subject.set("{w}1", "a"));
    expectTold(["{w}1"], () => store.dropSlot(key.slot, 10));
    expectTold(["{w}1"], () => subject.set("{w}1", "a".repeat(100_000)));
    // The key is the record's own: it is told before its memory goes.
    expectTold(["{w}1"], () => {
      const own = new KeyReference();
      store.referRecord(own, store.random(false));
      store.remove(own);
    });
    told.length = 0;
    subject.set("other", "a");
    expect(told).toEqual([]);
  });
});

describe("hidden slots", () => {
  test("count in no sum, are drawn by nobody and swept by nobody, and are there all the same", () => {
    const subject = new Subject();
    const { store } = subject;
    for (let count = 0; count < 50; count += 1) subject.set(`{hidden}${count}`, "value", NOW_MS + 1);
    for (let count = 0; count < 10; count += 1) subject.set(`{shown}${count}`, "value");
    const { slot } = subject.key("{hidden}0");
    store.setHidden(slot, true);
    expect([store.isHidden(slot), store.hiddenCount]).toEqual([true, 1]);
    expect([store.size, store.volatileCount, store.slotSize(slot)]).toEqual([10, 0, 50]);
    for (let draw = 0; draw < 200; draw += 1) {
      const key = new KeyReference();
      store.referRecord(key, store.random(false));
      expect(key.slot).not.toBe(slot);
    }
    expect(store.random(true)).toBe(0);
    store.nowMs = NOW_MS + 2;
    expect(store.sweepExpired(1000)).toBe(0);
    store.nowMs = NOW_MS;
    subject.set("{hidden}more", "value");
    store.remove(subject.key("{hidden}0"));
    expect([store.size, store.slotSize(slot)]).toEqual([10, 50]);
    expect(subject.get("{hidden}1")).toBe("value");
    store.check();
    store.setHidden(slot, false);
    expect([store.hiddenCount, store.size, store.volatileCount]).toEqual([0, 60, 49]);
    store.check();
  });

  test("stay hidden when all is removed, and what comes then counts again once they are shown", () => {
    const subject = new Subject();
    const { store } = subject;
    subject.set("{hidden}1", "value");
    const { slot } = subject.key("{hidden}1");
    store.setHidden(slot, true);
    store.setHidden(slot, true);
    store.clear();
    expect([store.isHidden(slot), store.hiddenCount, store.slotSize(slot)]).toEqual([true, 1, 0]);
    subject.set("{hidden}2", "value");
    expect(store.size).toBe(0);
    store.setHidden(slot, false);
    expect(store.size).toBe(1);
    store.check();
  });
});
