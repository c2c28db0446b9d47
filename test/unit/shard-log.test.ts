/** The log of a shard: what is read of it, and what memory it takes. */
import { describe, expect, test } from "bun:test";
import { ArgumentList } from "../../src/codec/resp-parser.ts";
import { EntryAssembler, EntryReader, ShardLog } from "../../src/replication/shard-log.ts";

const MEBIBYTE = 1024 * 1024;

describe("a log that is full", () => {
  test("goes on in the memory of what it drops, and a reader at its end sees each entry once, as it was written", () => {
    const log = new ShardLog();
    log.startEpoch(1);
    const cursor = log.cursorAt(log.openSequence);
    if (cursor === undefined) throw new Error("the log has a place for its next entry");
    const memory = new Set<ArrayBufferLike>();
    const reader = new EntryReader();
    const assembler = new EntryAssembler();
    const seen: number[] = [];
    const written: number[] = [];
    for (let count = 0; count < 2000; count += 1) {
      const bytes = new Uint8Array(10_000 + (count % 7) * 1000).fill(count % 251);
      log.append(count, ArgumentList.of([bytes]), false);
      written.push(count);
      log.seal();
      for (let run = log.read(cursor, 4096); run !== undefined; run = log.read(cursor, 4096)) {
        memory.add(run.buffer);
        assembler.push(run, (all, start) => {
          reader.visit(all, start, {
            effect(slot, args) {
              const value = args.bytes.subarray(args.start(0), args.end(0));
              expect(value.length).toBe(10_000 + (slot % 7) * 1000);
              expect(value.every((byte) => byte === slot % 251)).toBe(true);
              seen.push(slot);
            },
            epoch() {},
          });
        });
      }
      log.trim(2 * MEBIBYTE, log.openSequence);
      expect(log.allocatedBytes).toBeLessThanOrEqual(3 * MEBIBYTE);
    }
    expect(seen).toEqual(written);
    // 26 MB went through it.
    expect(memory.size).toBeLessThanOrEqual(4);
  });

  test("has nothing any more where a reader was that it has overtaken", () => {
    const log = new ShardLog();
    log.startEpoch(1);
    const behind = log.cursorAt(1);
    if (behind === undefined) throw new Error("the log has its first entry");
    const bytes = new Uint8Array(100_000);
    for (let count = 0; count < 100; count += 1) {
      log.append(0, ArgumentList.of([bytes]), false);
      log.seal();
      log.trim(2 * MEBIBYTE, log.openSequence);
    }
    expect(log.isHere(behind)).toBe(false);
    expect(log.cursorAt(1)).toBeUndefined();
  });
});
