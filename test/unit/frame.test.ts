/** Frames between nodes: whole whatever the stream cuts, bounded. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { FRAME_HEADER_BYTES, FrameReader, encodeFrame } from "../../src/codec/frame.ts";

interface Frame {
  readonly channel: number;
  readonly payload: Uint8Array;
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Feeds bytes in pieces, and gives the frames that came out. */
function readAll(reader: FrameReader, bytes: Uint8Array, cuts: readonly number[]): readonly Frame[] {
  const frames: Frame[] = [];
  const borders = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  for (const [at, start] of borders.entries()) {
    // A copy: what a stream hands over is not there for ever.
    const piece = bytes.slice(start, borders[at + 1] ?? bytes.length);
    reader.push(piece, (channel, payload) => frames.push({ channel, payload }));
    piece.fill(0xee);
  }
  return frames;
}

describe("FrameReader", () => {
  const frame = fc.record({ channel: fc.nat(255), payload: fc.uint8Array({ maxLength: 60 }) });

  test("gives the frames that were written, however they are cut", () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 6 }), fc.array(fc.nat(400), { maxLength: 12 }), (frames, cuts) => {
        const bytes = join(frames.map(({ channel, payload }) => encodeFrame(channel, payload)));
        const reader = new FrameReader(60);
        expect(readAll(reader, bytes, cuts)).toEqual(frames);
        expect([reader.isBroken, reader.waitingBytes]).toEqual([false, 0]);
      }),
      { numRuns: 500 },
    );
  });

  test("takes them a byte at a time, and tells each with its last byte", () => {
    const bytes = join([encodeFrame(1, Uint8Array.of(7)), encodeFrame(2, new Uint8Array(0))]);
    const reader = new FrameReader(10);
    const toldAt: number[] = [];
    for (let at = 0; at < bytes.length; at += 1) reader.push(bytes.slice(at, at + 1), () => toldAt.push(at));
    expect(toldAt).toEqual([FRAME_HEADER_BYTES, bytes.length - 1]);
  });

  test("takes a frame of the longest length, and reads nothing after a longer one", () => {
    const reader = new FrameReader(8);
    const bytes = join([
      encodeFrame(1, new Uint8Array(8)),
      encodeFrame(1, new Uint8Array(9)),
      encodeFrame(1, new Uint8Array(1)),
    ]);
    expect(readAll(reader, bytes, [])).toHaveLength(1);
    expect([reader.isBroken, reader.waitingBytes]).toEqual([true, 0]);
    expect(readAll(reader, encodeFrame(1, new Uint8Array(1)), [])).toEqual([]);
  });

  test("refuses a long frame by its header, before it has come", () => {
    const reader = new FrameReader(1024);
    expect(readAll(reader, Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0), [])).toEqual([]);
    expect([reader.isBroken, reader.waitingBytes]).toEqual([true, 0]);
  });

  test("holds no more than the beginning of one frame", () => {
    const reader = new FrameReader(1000);
    const bytes = encodeFrame(1, new Uint8Array(1000));
    for (let round = 0; round < 50; round += 1) {
      expect(readAll(reader, bytes.subarray(0, 600), [17])).toEqual([]);
      expect(reader.waitingBytes).toBe(600);
      expect(readAll(reader, bytes.subarray(600), [1])).toHaveLength(1);
      expect(reader.waitingBytes).toBe(0);
    }
  });

  test("a bound that is raised in the middle counts for the frame after it", () => {
    const reader = new FrameReader(4);
    const lengths: number[] = [];
    reader.push(join([encodeFrame(0, new Uint8Array(4)), encodeFrame(1, new Uint8Array(100))]), (_channel, payload) => {
      lengths.push(payload.length);
      reader.maxBytes = 100;
    });
    expect(lengths).toEqual([4, 100]);
  });

  test("whoever reads may have had enough in the middle of a piece", () => {
    const reader = new FrameReader(4);
    let frames = 0;
    reader.push(join([encodeFrame(1, new Uint8Array(1)), encodeFrame(1, new Uint8Array(1))]), () => {
      frames += 1;
      reader.isBroken = true;
    });
    expect([frames, reader.waitingBytes]).toEqual([1, 0]);
  });

  test("a long frame that comes a byte at a time costs its bytes, not their square", () => {
    const payload = new Uint8Array(1024 * 1024).fill(5);
    const bytes = encodeFrame(9, payload);
    const reader = new FrameReader(payload.length);
    let got: Uint8Array | undefined;
    for (let at = 0; at < bytes.length; at += 1) reader.push(bytes.subarray(at, at + 1), (_, whole) => (got = whole));
    expect(got).toEqual(payload);
  });

  test("any bytes are read without a throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.array(fc.nat(100), { maxLength: 5 }), (bytes, cuts) => {
        const reader = new FrameReader(50);
        const taken = readAll(reader, bytes, cuts).reduce((sum, each) => sum + each.payload.length, 0);
        expect(taken + reader.waitingBytes).toBeLessThanOrEqual(bytes.length);
      }),
    );
  });
});
