/** Slot tables against a plain list, with hashes that nobody would wish for. */
import { describe, expect, test } from "bun:test";
import { Slabs } from "../../../src/store/slabs.ts";
import { SlotTables } from "../../../src/store/slot-table.ts";
import { seededRandom } from "./seeded-random.ts";

const GREATEST_HASH = 2 ** 30 - 1;
const SLOT = 5;

interface Entry {
  hash: number;
  handle: number;
}

/** Tables whose records are blocks of 16 bytes, and what should be in them. */
class Case {
  readonly slabs = new Slabs();
  readonly tables = new SlotTables(this.slabs);
  readonly entries: Entry[] = [];

  insert(hash: number, isVolatile: boolean): void {
    const handle = this.slabs.allocate(16);
    this.slabs.intsOf(handle)[(handle & 0xffff) << 2] = 0;
    this.tables.insert(SLOT, hash, isVolatile, handle);
    this.entries.push({ hash, handle });
  }

  remove(index: number): void {
    const [entry] = this.entries.splice(index, 1);
    if (entry === undefined) throw new Error("no such entry");
    this.tables.removeAt(SLOT, this.tables.entryOf(SLOT, entry.hash, entry.handle));
    this.tables.trim(SLOT);
    this.slabs.free(entry.handle);
  }

  check(): void {
    const found: Entry[] = [];
    this.tables.check((slot, hash, _isVolatile, handle) => {
      expect(slot).toBe(SLOT);
      found.push({ hash, handle });
    });
    const order = (a: Entry, b: Entry): number => a.hash - b.hash || a.handle - b.handle;
    expect(found.toSorted(order)).toEqual(this.entries.toSorted(order));
  }
}

describe("SlotTables", () => {
  const hashes: Record<string, (random: (bound: number) => number) => number> = {
    "that are spread evenly": (random) => random(2 ** 30),
    "that are all 0": () => 0,
    "that are all the greatest": () => GREATEST_HASH,
    "from the lower end": (random) => random(50),
    "from the upper end": (random) => GREATEST_HASH - random(50),
    "from the middle": (random) => 2 ** 29 + random(3),
    "from both ends": (random) => (random(2) === 0 ? random(4) : GREATEST_HASH - random(4)),
  };
  for (const [kind, draw] of Object.entries(hashes)) {
    test(`hold what was put in, for hashes ${kind}`, () => {
      const random = seededRandom(31);
      const subject = new Case();
      // Up and down, so that tables grow, shrink and vanish.
      for (const target of [40, 0, 2000, 100, 700, 0]) {
        for (let step = 0; subject.entries.length !== target; step++) {
          const isGrowing = subject.entries.length < target ? random(4) > 0 : random(4) === 0;
          if (isGrowing) subject.insert(draw(random), random(3) === 0);
          else if (subject.entries.length > 0) subject.remove(random(subject.entries.length));
          if (step % 97 === 0) subject.check();
        }
        subject.check();
      }
      expect(subject.slabs.usedBytes).toBe(0);
    });
  }

  test("take at most 11 bytes an entry in the mean, from 100 entries on", () => {
    const random = seededRandom(32);
    const subject = new Case();
    let sum = 0;
    for (let count = 1; count <= 1000; count++) {
      subject.insert(random(2 ** 30), false);
      if (count > 100) sum += subject.slabs.blockBytes(subject.tables.handles[SLOT] as number) / count;
    }
    expect(sum / 900).toBeLessThan(11);
  });

  test("take memory in proportion to their entries, even when all hashes are equal", () => {
    const subject = new Case();
    for (let count = 1; count <= 3000; count++) {
      subject.insert(GREATEST_HASH, false);
      if (count < 100) continue;
      expect(subject.slabs.blockBytes(subject.tables.handles[SLOT] as number) / count).toBeLessThan(60);
    }
  });
});
