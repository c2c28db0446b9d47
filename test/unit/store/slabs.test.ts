/** The allocator by itself: blocks do not overlap, and memory comes back. */
import { describe, expect, test } from "bun:test";
import { Fault } from "../../../src/assert.ts";
import { CLASS_BYTES, CLASS_COUNT, PAGE_BYTES, SMALL_LIMIT_BYTES } from "../../../src/store/size-classes.ts";
import { Slabs } from "../../../src/store/slabs.ts";
import { byteOf, wordOf } from "../../../src/store/record.ts";
import { seededRandom } from "./seeded-random.ts";

describe("size classes", () => {
  test("lose at most an eighth up to 4 KiB, and a quarter above", () => {
    const slabs = new Slabs();
    for (let bytes = 129; bytes <= SMALL_LIMIT_BYTES; bytes++) {
      const lost = slabs.roundUp(bytes) - bytes;
      expect(lost).toBeGreaterThanOrEqual(0);
      expect(lost / bytes).toBeLessThan(bytes <= 4096 ? 0.125 : 0.251);
    }
  });

  test("ascend, are whole granules, and leave less than a block of a page unused", () => {
    for (let sizeClass = 0; sizeClass < CLASS_COUNT; sizeClass++) {
      const bytes = CLASS_BYTES[sizeClass] as number;
      expect(bytes % 16).toBe(0);
      expect(bytes).toBeGreaterThan(sizeClass === 0 ? 0 : (CLASS_BYTES[sizeClass - 1] as number));
      expect((PAGE_BYTES % bytes) / PAGE_BYTES).toBeLessThan(1 / 16);
    }
    expect(CLASS_BYTES.at(-1)).toBe(SMALL_LIMIT_BYTES);
  });
});

describe("Slabs", () => {
  test("blocks of all sizes keep their content while others come and go", () => {
    const random = seededRandom(21);
    const slabs = new Slabs();
    const blocks: { handle: number; bytes: number; mark: number }[] = [];
    for (let step = 1; step <= 60_000; step++) {
      const isGrowing = Math.floor(step / 10_000) % 2 === 0;
      if (blocks.length === 0 || random(10) < (isGrowing ? 7 : 3)) {
        const bytes = 1 + random(random(50) === 0 ? 60_000 : 1 << (4 + random(10)));
        const handle = slabs.allocate(bytes);
        expect(handle).not.toBe(0);
        expect(slabs.blockBytes(handle)).toBeGreaterThanOrEqual(bytes);
        slabs.intsOf(handle).fill(step, wordOf(handle), wordOf(handle) + (slabs.blockBytes(handle) >>> 2));
        blocks.push({ handle, bytes, mark: step });
      } else {
        const index = random(blocks.length);
        const block = blocks[index];
        if (block === undefined) throw new Error("no such block");
        const words = slabs.intsOf(block.handle);
        const end = wordOf(block.handle) + (slabs.blockBytes(block.handle) >>> 2);
        for (let word = wordOf(block.handle); word < end; word++) {
          if (words[word] !== block.mark)
            throw new Error(`block ${block.mark} of ${block.bytes} bytes was written over`);
        }
        slabs.free(block.handle);
        blocks[index] = blocks.at(-1) ?? block;
        blocks.pop();
      }
    }
    const live = new Set(blocks.map((block) => block.handle));
    slabs.check((handle) => expect(live.has(handle)).toBe(true));
    for (const block of blocks) slabs.free(block.handle);
    expect(slabs.usedBytes).toBe(0);
    slabs.check(() => expect.unreachable());
    expect(slabs.allocatedBytes).toBeLessThanOrEqual(1 << 20);
  });

  test("a large block's memory is given back at once", () => {
    const slabs = new Slabs();
    const handle = slabs.allocate(50_000_000);
    const bytes = slabs.bytesOf(handle);
    expect(byteOf(handle)).toBe(0);
    expect(slabs.allocatedBytes).toBe(50_000_000);
    slabs.free(handle);
    expect(bytes.length).toBe(0);
    expect(slabs.allocatedBytes).toBe(0);
  });

  test("freeing a block twice is a fault", () => {
    const slabs = new Slabs();
    for (const bytes of [100, 100_000]) {
      // A neighbour keeps the page in use.
      for (const handle of [slabs.allocate(bytes)]) slabs.intsOf(handle)[wordOf(handle)] = 0;
      const handle = slabs.allocate(bytes);
      slabs.intsOf(handle)[wordOf(handle)] = 0;
      slabs.free(handle);
      expect(() => slabs.free(handle)).toThrow(Fault);
    }
  });
});
