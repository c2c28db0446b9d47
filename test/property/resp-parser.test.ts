import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { ArgumentList, ParseStatus, RequestParser } from "../../src/codec/resp-parser.ts";

/** Small, so that random input meets it. */
const LIMITS = { maxBulkBytes: 100_000 };

/** A command's arguments, one character a byte, and one way to send them. */
interface Sent {
  readonly parts: readonly string[];
  readonly text: string;
}

const argument = fc.oneof(
  { weight: 6, arbitrary: fc.uint8Array({ maxLength: 12 }) },
  { weight: 1, arbitrary: fc.uint8Array({ minLength: 90, maxLength: 3000, size: "max" }) },
  // Bytes that mean something in the protocol.
  { weight: 3, arbitrary: fc.array(fc.constantFrom(0x0d, 0x0a, 0x24, 0x2a, 0x31, 0x22, 0x5c), { maxLength: 8 }) },
);
const parts = fc
  .array(argument, { minLength: 1, maxLength: 20 })
  .map((all) => all.map((bytes) => Buffer.from(bytes).toString("latin1")));
const asArray: fc.Arbitrary<Sent> = parts.map((all) => ({
  parts: all,
  text: `*${all.length}\r\n${all.map((part) => `$${part.length}\r\n${part}\r\n`).join("")}`,
}));
/** The same as a person would type it, all in quotes. */
const asLine: fc.Arbitrary<Sent> = fc
  .tuple(parts, fc.constantFrom("\r\n", "\n"), fc.boolean())
  .map(([all, end, isHex]) => ({
    parts: all,
    text: `${all.map((part) => (isHex ? hexQuoted(part) : quoted(part))).join(" ")}${end}`,
  }));
/** What carries no command. */
const asNothing: fc.Arbitrary<Sent> = fc
  .constantFrom("\r\n", "\n", "*0\r\n", "*-1\r\n", " \t\r\n")
  .map((text) => ({ parts: [], text }));
const stream = fc.array(
  fc.oneof({ weight: 5, arbitrary: asArray }, { weight: 2, arbitrary: asLine }, { weight: 1, arbitrary: asNothing }),
  { maxLength: 30 },
);
/** Sizes of the pieces, used in turn; and after which of them commands are asked for (a connection may be held back). */
const cuts = fc.array(
  fc.record({
    size: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5000 })),
    isRead: fc.boolean(),
  }),
  { minLength: 1, maxLength: 20 },
);

function quoted(part: string): string {
  return `"${part.replaceAll(/["\\\n\r]/g, (mark) => (mark === "\n" ? "\\n" : mark === "\r" ? "\\r" : `\\${mark}`))}"`;
}

function hexQuoted(part: string): string {
  const bytes = Buffer.from(part, "latin1").toString("hex");
  return `"${bytes.replaceAll(/../g, (digits) => `\\x${digits}`)}"`;
}

function textsOf(args: ArgumentList): string[] {
  return Array.from({ length: args.count }, (_, index) =>
    Buffer.from(args.bytes.subarray(args.start(index), args.end(index))).toString("latin1"),
  );
}

/** Feeds a text in pieces; one parser, one list. */
function parseIn(
  text: string,
  pieces: readonly { readonly size: number; readonly isRead: boolean }[],
  isAuthenticated = true,
): { commands: readonly (readonly string[])[]; error: string; mostBuffered: number } {
  const parser = new RequestParser(LIMITS);
  parser.isAuthenticated = isAuthenticated;
  const args = new ArgumentList();
  const commands: string[][] = [];
  const read = (): void => {
    let status = parser.next(args);
    for (; status === ParseStatus.command; status = parser.next(args)) commands.push(textsOf(args));
    expect(parser.error === "").toBe(status === ParseStatus.incomplete);
  };
  const input = Buffer.from(text, "latin1");
  let mostBuffered = 0;
  for (let at = 0, turn = 0; at < input.length; turn += 1) {
    const piece = pieces[turn % pieces.length] ?? { size: input.length, isRead: true };
    parser.feed(new Uint8Array(input.subarray(at, at + piece.size)));
    at += piece.size;
    if (piece.isRead) read();
    mostBuffered = Math.max(mostBuffered, parser.bufferedBytes - Math.min(at, input.length));
  }
  read();
  return { commands, error: parser.error, mostBuffered };
}

test("RequestParser reads the same commands however they are cut", () => {
  fc.assert(
    fc.property(stream, cuts, (sent, pieces) => {
      const text = sent.map((one) => one.text).join("");
      const expected = sent.filter((one) => one.parts.length > 0).map((one) => one.parts);
      const whole = parseIn(text, []);
      expect(whole.error).toBe("");
      expect(whole.commands).toEqual(expected);
      expect(parseIn(text, pieces).commands).toEqual(expected);
    }),
    { numRuns: 1000 },
  );
});

test("RequestParser finds the same error at the same place however the input is cut", () => {
  const garbage = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
    fc.string({
      unit: fc.constantFrom("*", "$", "\r\n", "\r", "\n", "1", "2", "0", "-", "9", "a", '"', "'", "\\", "x", " ", "\0"),
      maxLength: 60,
    }),
    // What is right but for a few bytes.
    fc
      .tuple(stream, fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 }))
      .map(([sent, changes]) => {
        const bytes = Buffer.from(sent.map((one) => one.text).join(""), "latin1");
        for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
        return bytes.toString("latin1");
      }),
  );
  fc.assert(
    fc.property(garbage, cuts, fc.boolean(), (text, pieces, isAuthenticated) => {
      const whole = parseIn(text, [], isAuthenticated);
      const cut = parseIn(text, pieces, isAuthenticated);
      expect(cut.commands).toEqual(whole.commands);
      expect(cut.error).toBe(whole.error);
      // What is remembered of a half-read command: at most eight bytes an argument, with room to grow.
      expect(cut.mostBuffered).toBeLessThanOrEqual(text.length * 4 + 64);
    }),
    { numRuns: 3000 },
  );
});
