/** Raft's messages and the frames around them as bytes: what is written is read, and what nobody wrote is refused without a throw. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { ByteReader } from "../../src/codec/byte-reader.ts";
import { ByteWriter } from "../../src/codec/byte-writer.ts";
import { encodeConsensusFrame, readConsensusFrame } from "../../src/codec/consensus-codec.ts";
import {
  readConfiguration,
  readEntry,
  readMessage,
  writeConfiguration,
  writeEntry,
  writeMessage,
} from "../../src/codec/raft-codec.ts";
import type { Message } from "../../src/protocol/raft/types.ts";
import { configuration, entry, frames, messages } from "../support/raft-arbitraries.ts";

const anyMessage = fc.oneof(...Object.values(messages));
const anyFrame = fc.oneof(...Object.values(frames));

function bytesOf(message: Message): Uint8Array {
  const writer = new ByteWriter(1);
  writeMessage(writer, message);
  return writer.finish();
}

/** Read to the last byte, or not at all. */
function readWhole(bytes: Uint8Array): Message | undefined {
  const reader = new ByteReader(bytes);
  const message = readMessage(reader);
  return reader.isWhole ? message : undefined;
}

describe("raft-codec", () => {
  for (const [type, arbitrary] of Object.entries(messages)) {
    test(`a message "${type}" is read as it was written`, () => {
      fc.assert(fc.property(arbitrary, (message) => expect(readWhole(bytesOf(message))).toEqual(message)));
    });
  }

  test("entries and configurations are read as they were written, one after another", () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 5 }), configuration, (entries, members) => {
        const writer = new ByteWriter(1);
        for (const each of entries) writeEntry(writer, each);
        writeConfiguration(writer, members);
        const reader = new ByteReader(writer.finish());
        expect(entries.map(() => readEntry(reader))).toEqual(entries);
        expect(readConfiguration(reader)).toEqual(members);
        expect(reader.isWhole).toBe(true);
      }),
    );
  });

  test("a message that ends early, anywhere, is none", () => {
    fc.assert(
      fc.property(anyMessage, (message) => {
        const bytes = bytesOf(message);
        for (let length = 0; length < bytes.length; length += 1) {
          expect(readMessage(new ByteReader(bytes.subarray(0, length))), `${length} bytes`).toBeUndefined();
        }
      }),
    );
  });

  test("entries of an append that do not follow each other are refused: a machine relies on them", () => {
    const at = (index: number): Message => ({
      type: "append",
      term: 1,
      previousIndex: 7,
      previousTerm: 1,
      commitIndex: 7,
      entries: [8, index].map((each) => ({ index: each, term: 1, data: undefined, configuration: undefined })),
    });
    expect(readWhole(bytesOf(at(9)))).toEqual(at(9));
    for (const index of [7, 8, 10]) expect(readWhole(bytesOf(at(index)))).toBeUndefined();
  });

  test("a kind of entry and a type of message that nobody knows are refused", () => {
    const reader = new ByteReader(Uint8Array.of(1, 1, 3));
    readEntry(reader);
    expect(reader.isBad).toBe(true);
    expect(readMessage(new ByteReader(Uint8Array.of(14, 1, 0, 0, 0, 0, 0, 0)))).toBeUndefined();
  });

  test("types keep their numbers on the wire", () => {
    const numbers = Object.entries(messages).map(([type, arbitrary]) => [
      type,
      fc.sample(arbitrary, { numRuns: 1, seed: 1 }).map((message) => bytesOf(message)[0])[0],
    ]);
    expect(numbers).toEqual([
      ["vote-request", 0],
      ["vote-response", 1],
      ["append", 2],
      ["append-response", 3],
      ["heartbeat", 4],
      ["heartbeat-response", 5],
      ["snapshot", 6],
      ["snapshot-response", 7],
      ["timeout-now", 8],
      ["read-request", 9],
      ["read-response", 10],
      ["fetch", 11],
      ["fetch-response", 12],
      ["fetch-snapshot", 13],
    ]);
  });
});

describe("consensus-codec", () => {
  for (const [type, arbitrary] of Object.entries(frames)) {
    test(`a frame "${type}" is read as it was written`, () => {
      fc.assert(
        fc.property(arbitrary, (frame) => expect(readConsensusFrame(encodeConsensusFrame(frame))).toEqual(frame)),
      );
    });
  }

  test("a frame that ends early, or goes on after its end, is none", () => {
    fc.assert(
      fc.property(anyFrame, (frame) => {
        const bytes = encodeConsensusFrame(frame);
        for (let length = 0; length < bytes.length; length += 1) {
          expect(readConsensusFrame(bytes.subarray(0, length)), `${length} bytes`).toBeUndefined();
        }
        expect(readConsensusFrame(Uint8Array.of(...bytes, 0))).toBeUndefined();
      }),
    );
  });

  test("random bytes, and frames with bytes changed, are read without a throw", () => {
    let refused = 0;
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        if (readConsensusFrame(bytes) === undefined) refused += 1;
      }),
      { numRuns: 3000 },
    );
    expect(refused).toBeGreaterThan(2500);
    const edits = fc.array(fc.tuple(fc.nat(1000), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(anyFrame, edits, (frame, changes) => {
        const bytes = encodeConsensusFrame(frame).slice();
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        const read = readConsensusFrame(bytes);
        // What is taken for a frame is one: it can be written, and is read as the same.
        if (read !== undefined) expect(readConsensusFrame(encodeConsensusFrame(read))).toEqual(read);
      }),
      { numRuns: 2000 },
    );
  });

  test("a count that promises much costs what is there, not what is promised", () => {
    // A configuration of three million members, of which not one is whole.
    const writer = new ByteWriter(16);
    writer.number(3_000_000);
    const head = writer.finish();
    const bytes = new Uint8Array(head.length + 3_000_000).fill(0xff);
    bytes.set(head);
    const reader = new ByteReader(bytes);
    expect(readConfiguration(reader).members.length).toBeLessThanOrEqual(1);
    expect(reader.isBad).toBe(true);
  });
});
