import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { ArgumentList, ParseStatus, RequestParser } from "../../src/codec/resp-parser.ts";
import {
  Push,
  ReplyError,
  ReplyFormatError,
  ReplyReader,
  type ReplyValue,
  encodeCommand,
} from "../../src/codec/resp-reader.ts";
import { ReplyWriter } from "../../src/codec/resp-writer.ts";

/** A way to write a reply, and what a client of either version is to read. */
interface Case {
  readonly write: (reply: ReplyWriter) => void;
  readonly resp2: ReplyValue;
  readonly resp3: ReplyValue;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

function same(value: ReplyValue, write: (reply: ReplyWriter) => void): Case {
  return { write, resp2: value, resp3: value };
}

/** Text that is UTF-8, and has no line end. */
const line = fc
  .string({ unit: "binary", maxLength: 20 })
  .map((text) => decoder.decode(encoder.encode(text)).replaceAll(/[\r\n\u0080-\u00ff]/g, "_"));
const text = fc
  .oneof(fc.string({ maxLength: 20 }), fc.string({ unit: "binary", maxLength: 100, size: "max" }))
  .map((any) => decoder.decode(encoder.encode(any)));

const leaf: fc.Arbitrary<Case> = fc.oneof(
  line.map((one) => same(one, (reply) => reply.simple(one))),
  line.map((one) => same(new ReplyError(one), (reply) => reply.error(one))),
  fc.constant(same("OK", (reply) => reply.ok())),
  fc.constant(same(null, (reply) => reply.nullBulk())),
  fc.constant(same(null, (reply) => reply.nullArray())),
  fc.oneof(fc.integer(), fc.maxSafeInteger()).map((value) => same(value, (reply) => reply.integer(value))),
  fc
    .bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
    .map((value) =>
      same(Number.isSafeInteger(Number(value)) ? Number(value) : value, (reply) => reply.bigInteger(value)),
    ),
  fc.bigInt().map((value) => ({
    write: (reply: ReplyWriter) => reply.bigNumber(value),
    resp2: encoder.encode(String(value)),
    resp3: value,
  })),
  fc
    .uint8Array({ maxLength: 200, size: "max" })
    .chain((bytes) =>
      fc
        .nat({ max: bytes.length })
        .map((start) => same(bytes.slice(start), (reply) => reply.bulk(bytes, start, bytes.length))),
    ),
  text.map((one) => same(encoder.encode(one), (reply) => reply.bulkText(one))),
  text.map((one) => ({
    write: (reply: ReplyWriter) => reply.verbatim("txt", one),
    resp2: encoder.encode(one),
    resp3: one,
  })),
  fc
    .boolean()
    .map((value) => ({ write: (reply: ReplyWriter) => reply.boolean(value), resp2: value ? 1 : 0, resp3: value })),
);

const { reply: anyReply } = fc.letrec<{ reply: Case; list: Case; map: Case }>((tie) => ({
  reply: fc.oneof({ depthSize: "small", withCrossShrink: true }, leaf, tie("list"), tie("map")),
  list: fc
    .tuple(fc.constantFrom("array", "set", "push", "open"), fc.array(tie("reply"), { maxLength: 12 }))
    .map(([kind, items]) => {
      const resp3 = items.map((item) => item.resp3);
      return {
        write(reply: ReplyWriter): void {
          const position = kind === "open" ? reply.beginArray() : 0;
          if (kind === "array") reply.array(items.length);
          else if (kind === "set") reply.set(items.length);
          else if (kind === "push") reply.push(items.length);
          for (const item of items) item.write(reply);
          if (kind === "open") reply.endArray(position, items.length);
        },
        resp2: items.map((item) => item.resp2),
        resp3: kind === "push" ? new Push(resp3) : resp3,
      };
    }),
  map: fc.uniqueArray(fc.tuple(line, tie("reply")), { maxLength: 6, selector: ([key]) => key }).map((pairs) => ({
    write(reply: ReplyWriter): void {
      reply.map(pairs.length);
      for (const [key, value] of pairs) {
        reply.bulkText(key);
        value.write(reply);
      }
    },
    resp2: pairs.flatMap(([key, value]) => [encoder.encode(key), value.resp2]),
    resp3: new Map(pairs.map(([key, value]) => [key, value.resp3])),
  })),
}));

/** Sizes of the pieces, used in turn. */
const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 3000 })), {
  minLength: 1,
  maxLength: 10,
});

/** Reads all that is in the bytes, in pieces. */
function readIn(bytes: Uint8Array, pieces: readonly number[]): { values: ReplyValue[]; error: string } {
  const reader = new ReplyReader();
  const values: ReplyValue[] = [];
  try {
    for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
      const size = pieces[turn % pieces.length] ?? bytes.length;
      reader.feed(bytes.slice(at, at + size));
      at += size;
      for (let value = reader.next(); value !== undefined; value = reader.next()) values.push(value);
    }
  } catch (error) {
    if (!(error instanceof ReplyFormatError)) throw error;
    return { values, error: error.message };
  }
  return { values, error: "" };
}

test.each([2, 3] as const)("ReplyReader reads what ReplyWriter wrote in RESP%d, however it is cut", (protocol) => {
  fc.assert(
    fc.property(fc.array(anyReply, { maxLength: 10 }), sizes, (cases, pieces) => {
      const reply = new ReplyWriter();
      reply.protocol = protocol;
      for (const one of cases) one.write(reply);
      const { values, error } = readIn(reply.bytes.slice(0, reply.length), pieces);
      expect(error).toBe("");
      expect(values).toEqual(cases.map((one) => (protocol === 2 ? one.resp2 : one.resp3)));
    }),
    { numRuns: 200 },
  );
});

test("ReplyWriter.double writes what reads back as the same number", () => {
  fc.assert(
    fc.property(fc.oneof(fc.double(), fc.float(), fc.integer(), fc.constantFrom(1e16, 1e17, 1e-4, 1e-5)), (value) => {
      const reply = new ReplyWriter();
      reply.protocol = 3;
      reply.double(value);
      expect(readIn(reply.bytes.slice(0, reply.length), []).values).toEqual([value]);
    }),
    { numRuns: 5000 },
  );
});

test("ReplyReader reads garbage without an accident, and the same however it is cut", () => {
  const garbage = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc
      .string({
        unit: fc.constantFrom(
          "*",
          "$",
          "%",
          "~",
          "|",
          ">",
          "=",
          "!",
          "+",
          "-",
          ":",
          ",",
          "(",
          "#",
          "_",
          "\r\n",
          "\r",
          "1",
          "2",
          "0",
          "t",
        ),
        maxLength: 60,
      })
      .map((any) => encoder.encode(any)),
    fc
      .tuple(fc.array(anyReply, { minLength: 1, maxLength: 5 }), fc.nat(), fc.nat({ max: 255 }))
      .map(([cases, at, byte]) => {
        const reply = new ReplyWriter();
        reply.protocol = 3;
        for (const one of cases) one.write(reply);
        const bytes = reply.bytes.slice(0, reply.length);
        bytes[at % bytes.length] = byte;
        return bytes;
      }),
  );
  fc.assert(
    fc.property(garbage, sizes, (bytes, pieces) => {
      expect(readIn(bytes, pieces)).toEqual(readIn(bytes, []));
    }),
    { numRuns: 3000 },
  );
});

test("RequestParser reads what encodeCommand made", () => {
  const limits = { maxBulkBytes: 1000 };
  fc.assert(
    fc.property(
      fc.array(fc.oneof(text, fc.uint8Array({ maxLength: 100 })), { minLength: 1, maxLength: 20 }),
      (parts) => {
        const parser = new RequestParser(limits);
        parser.isAuthenticated = true;
        const args = new ArgumentList();
        parser.feed(encodeCommand(parts));
        expect(parser.next(args)).toBe(ParseStatus.command);
        const read = Array.from({ length: args.count }, (_, index) =>
          args.bytes.slice(args.start(index), args.end(index)),
        );
        expect(read).toEqual(parts.map((part) => (typeof part === "string" ? encoder.encode(part) : part)));
        expect(parser.next(args)).toBe(ParseStatus.incomplete);
      },
    ),
  );
});
