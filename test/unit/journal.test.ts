/** Records on disk: a torn end is cut wherever it is torn, and damage of what was durable is told with its offset. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { crc32 } from "../../src/codec/crc32.ts";
import { encodeRecord, readJournal } from "../../src/codec/journal.ts";

const encoder = new TextEncoder();

describe("crc32", () => {
  for (const [text, crc] of [
    ["", 0],
    ["a", 0xe8b7be43],
    ["123456789", 0xcbf43926],
    ["The quick brown fox jumps over the lazy dog", 0x414fa339],
  ] as const) {
    test(`of "${text}" is ${crc.toString(16)}`, () => {
      const bytes = encoder.encode(text);
      expect(crc32(bytes, 0, bytes.length)).toBe(crc);
    });
  }

  test("is what zlib computes, of any part of an array", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), fc.nat(300), (bytes, one, other) => {
        const start = Math.min(one, other, bytes.length);
        const end = Math.min(Math.max(one, other), bytes.length);
        expect(crc32(bytes, start, end)).toBe(Bun.hash.crc32(bytes.slice(start, end)));
      }),
    );
  });
});

/** A file of records, each of which was made durable before the next, or not. */
function fileOf(payloads: readonly Uint8Array[], isSynced: boolean): { bytes: Uint8Array; starts: readonly number[] } {
  const starts: number[] = [];
  const parts: number[] = [];
  for (const payload of payloads) {
    starts.push(parts.length);
    parts.push(...encodeRecord(payload, isSynced ? parts.length : 0));
  }
  return { bytes: Uint8Array.from(parts), starts };
}

const PAYLOADS = ["first", "", "the third, which is a little longer", "4"].map((text) => encoder.encode(text));

describe("a journal", () => {
  test("gives the records that were written", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 6 }), fc.boolean(), (payloads, isSynced) => {
        const { bytes } = fileOf(payloads, isSynced);
        expect(readJournal(bytes)).toEqual({ records: payloads, goodBytes: bytes.length, damagedAt: undefined });
      }),
    );
  });

  test("reads bytes that stand in the middle of another buffer", () => {
    const { bytes } = fileOf(PAYLOADS, true);
    const shifted = new Uint8Array(bytes.length + 5).fill(1);
    shifted.set(bytes, 3);
    expect(readJournal(shifted.subarray(3, 3 + bytes.length)).records).toEqual(PAYLOADS);
  });

  test("is cut after its last whole record, wherever it ends", () => {
    const { bytes, starts } = fileOf(PAYLOADS, true);
    const ends = [...starts.slice(1), bytes.length];
    for (let length = 0; length <= bytes.length; length += 1) {
      const whole = ends.filter((end) => end <= length).length;
      expect(readJournal(bytes.subarray(0, length)), `${length} bytes`).toEqual({
        records: PAYLOADS.slice(0, whole),
        goodBytes: ends[whole - 1] ?? 0,
        damagedAt: undefined,
      });
    }
  });

  test("tells damage before a record that counted on it, with the offset of what is bad", () => {
    const { bytes, starts } = fileOf(PAYLOADS, true);
    const last = starts.at(-1) ?? 0;
    for (let at = 0; at < last; at += 1) {
      const damaged = bytes.slice();
      damaged[at] = (damaged[at] ?? 0) ^ 0x10;
      const start = starts.findLast((each) => each <= at);
      const { damagedAt, goodBytes } = readJournal(damaged);
      expect([damagedAt, goodBytes], `byte ${at} changed`).toEqual([start, start]);
    }
  });

  test("cuts damage off where no record says that it had been durable", () => {
    const { bytes, starts } = fileOf(PAYLOADS, false);
    for (let at = 0; at < bytes.length; at += 1) {
      const torn = bytes.slice();
      torn[at] = (torn[at] ?? 0) ^ 0x10;
      const start = starts.findLast((each) => each <= at);
      const { damagedAt, goodBytes, records } = readJournal(torn);
      expect([damagedAt, goodBytes], `byte ${at} changed`).toEqual([undefined, start]);
      expect(records).toEqual(PAYLOADS.slice(0, records.length));
    }
  });

  test("cuts a hole before good records of the same, lost, write", () => {
    // Two records were durable, two more were written together after that; the power tore the first of them.
    const head = fileOf(PAYLOADS.slice(0, 2), true).bytes;
    const third = encodeRecord(PAYLOADS[2] ?? new Uint8Array(0), head.length).fill(0, 20);
    const fourth = encodeRecord(PAYLOADS[3] ?? new Uint8Array(0), head.length);
    const content = readJournal(Uint8Array.of(...head, ...third, ...fourth));
    expect(content).toEqual({ records: PAYLOADS.slice(0, 2), goodBytes: head.length, damagedAt: undefined });
  });

  test("a record whose length was changed swallows nothing", () => {
    const { bytes, starts } = fileOf(PAYLOADS, true);
    for (const length of [0, 4, 6, 1000, 0xffff_ffff]) {
      const damaged = bytes.slice();
      new DataView(damaged.buffer).setUint32((starts[1] ?? 0) + 4, length, true);
      const { records, damagedAt } = readJournal(damaged);
      if (length === 0) expect(records).toEqual(PAYLOADS);
      else expect([records.length, damagedAt]).toEqual([1, starts[1]]);
    }
  });

  test("any bytes are read without a throw, and zeros are no record", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const { goodBytes, records } = readJournal(bytes);
        if (records.length === 0) expect(goodBytes).toBe(0);
        expect(goodBytes).toBeLessThanOrEqual(bytes.length);
      }),
    );
    expect(readJournal(new Uint8Array(64))).toEqual({ records: [], goodBytes: 0, damagedAt: undefined });
  });
});
