import { describe, expect, test } from "bun:test";
import {
  Push,
  ReplyError,
  ReplyFormatError,
  ReplyReader,
  type ReplyValue,
  encodeCommand,
} from "../../src/codec/resp-reader.ts";

/** One character a byte. */
function bytesOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "latin1"));
}

function drain(reader: ReplyReader): ReplyValue[] {
  const values: ReplyValue[] = [];
  for (let value = reader.next(); value !== undefined; value = reader.next()) values.push(value);
  return values;
}

describe("ReplyReader", () => {
  const replies: readonly (readonly [input: string, value: ReplyValue])[] = [
    ["+OK\r\n", "OK"],
    ["+\r\n", ""],
    ["-ERR no\r\n", new ReplyError("ERR no")],
    [":0\r\n", 0],
    [":-12\r\n", -12],
    [":9007199254740991\r\n", Number.MAX_SAFE_INTEGER],
    [":9007199254740993\r\n", 9007199254740993n],
    [":-9223372036854775808\r\n", -(2n ** 63n)],
    ["$5\r\na\r\n\0b\r\n", bytesOf("a\r\n\0b")],
    ["$0\r\n\r\n", bytesOf("")],
    ["$-1\r\n", null],
    ["*-1\r\n", null],
    ["_\r\n", null],
    ["*0\r\n", []],
    ["*3\r\n:1\r\n*1\r\n+a\r\n$-1\r\n", [1, ["a"], null]],
    ["#t\r\n", true],
    ["#f\r\n", false],
    [",3.25\r\n", 3.25],
    [",1e+17\r\n", 1e17],
    [",-4.5E-05\r\n", -4.5e-5],
    [",inf\r\n", Number.POSITIVE_INFINITY],
    [",-inf\r\n", Number.NEGATIVE_INFINITY],
    [",nan\r\n", Number.NaN],
    ["(3492890328409238509324850943850943825024385\r\n", 3492890328409238509324850943850943825024385n],
    ["(-5\r\n", -5n],
    ["!11\r\nSYNTAX a\r\nb\r\n", new ReplyError("SYNTAX a\r\nb")],
    ["=8\r\ntxt:a\r\nb\r\n", "a\r\nb"],
    ["~2\r\n+a\r\n:1\r\n", ["a", 1]],
    ["~0\r\n", []],
    ["%0\r\n", new Map()],
    [
      "%2\r\n+a\r\n:1\r\n$1\r\nb\r\n*1\r\n:2\r\n",
      new Map<ReplyValue, ReplyValue>([
        ["a", 1],
        ["b", [2]],
      ]),
    ],
    [">2\r\n+message\r\n:1\r\n", new Push(["message", 1])],
    ["|1\r\n+ttl\r\n:100\r\n+value\r\n", "value"],
    ["|0\r\n:1\r\n", 1],
    ["*2\r\n|1\r\n+a\r\n*2\r\n:1\r\n:2\r\n:3\r\n:4\r\n", [3, 4]],
    ["+\xef\xbb\xbfx\r\n", "\ufeffx"],
  ];
  test.each(replies.map(([input, value]) => [JSON.stringify(input), input, value] as const))(
    "reads %s",
    (_title, input, value) => {
      const whole = new ReplyReader();
      whole.feed(bytesOf(input + input));
      expect(drain(whole)).toEqual([value, value]);
      const cut = new ReplyReader();
      const values: ReplyValue[] = [];
      for (const byte of bytesOf(input + input)) {
        cut.feed(Uint8Array.of(byte));
        values.push(...drain(cut));
      }
      expect(values).toEqual([value, value]);
    },
  );

  test.each([
    ["hello\r\n", 'A reply begins with "h", which is no type of RESP'],
    ["\r\n", "A line is not one of RESP"],
    ["+a\rb\r\n", "A line is not one of RESP"],
    ["$1\r\nab\r\n", "A bulk does not end where it was announced to"],
    ["$-2\r\n", 'A reply announces "-2" bytes or values, and at most 1073741824 are taken'],
    ["$x\r\n", 'A reply announces "x" bytes or values, and at most 1073741824 are taken'],
    ["$1073741825\r\n", 'A reply announces "1073741825" bytes or values, and at most 1073741824 are taken'],
    [
      "*99999999999999999999\r\n",
      'A reply announces "99999999999999999999" bytes or values, and at most 268435456 are taken',
    ],
    [":1.5\r\n", 'An integer is "1.5"'],
    [":9223372036854775808\r\n", 'An integer is "9223372036854775808"'],
    ["(1e5\r\n", 'A big number is "1e5"'],
    [",1,5\r\n", 'A double is "1,5"'],
    [",\r\n", 'A double is ""'],
    ["#yes\r\n", 'A boolean is "yes"'],
    ["_x\r\n", 'A null is "x"'],
    ["*1\r\n".repeat(33), "A reply has more than 32 lists within lists"],
    [`+${"x".repeat(70_000)}`, "A line is too long"],
  ])("refuses %j", (input, message) => {
    const reader = new ReplyReader();
    reader.feed(bytesOf(input));
    expect(() => reader.next()).toThrow(new ReplyFormatError(message));
    reader.feed(bytesOf("+OK\r\n"));
    expect(() => reader.next()).toThrow(ReplyFormatError);
  });

  test("heeds the limits it was given", () => {
    const attempt = (input: string): (() => unknown) => {
      const reader = new ReplyReader({ maxDepth: 2, maxBulkBytes: 10, maxItems: 3 });
      reader.feed(bytesOf(input));
      return () => reader.next();
    };
    expect(attempt("*1\r\n*3\r\n$10\r\n")).not.toThrow();
    expect(attempt("*1\r\n*1\r\n*1\r\n")).toThrow(ReplyFormatError);
    expect(attempt("$11\r\n")).toThrow(ReplyFormatError);
    expect(attempt("*4\r\n")).toThrow(ReplyFormatError);
  });

  test("gives bulks that stay when the array that was fed is used again", () => {
    const reader = new ReplyReader();
    const input = Buffer.from("$5\r\nhello\r\n");
    reader.feed(input);
    const value = reader.next();
    input.fill(0);
    expect(value).toEqual(bytesOf("hello"));
  });

  test("copies no byte over and over: a large bulk and a long list come in small pieces in little time", () => {
    const reader = new ReplyReader();
    const startedAtMs = performance.now();
    const size = 32 * 1024 * 1024;
    reader.feed(bytesOf(`$${size}\r\n`));
    const piece = new Uint8Array(1024);
    for (let fed = 0; fed < size; fed += piece.length) {
      reader.feed(piece);
      expect(reader.next() === undefined).toBe(true);
    }
    reader.feed(bytesOf("\r\n"));
    expect(reader.next()).toHaveLength(size);
    const count = 300_000;
    reader.feed(bytesOf(`*${count}\r\n`));
    let list: ReplyValue | undefined;
    for (let sent = 0; sent < count; sent += 10) {
      reader.feed(bytesOf(":1\r\n".repeat(10)));
      list = reader.next();
    }
    expect(list).toHaveLength(count);
    // Work that grows with the square would take minutes.
    expect(performance.now() - startedAtMs).toBeLessThan(10_000);
  });
});

test("ReplyError.code is the first word", () => {
  expect(new ReplyError("MOVED 1 a:1").code).toBe("MOVED");
  expect(new ReplyError("").code).toBe("");
});

test("encodeCommand makes an array of bulks, text as UTF-8", () => {
  const encoded = encodeCommand(["SET", "\u00e9", Uint8Array.of(0, 13, 10), ""]);
  expect(Buffer.from(encoded).toString("latin1")).toBe(
    "*4\r\n$3\r\nSET\r\n$2\r\n\xc3\xa9\r\n$3\r\n\0\r\n\r\n$0\r\n\r\n",
  );
  expect(encodeCommand([])).toEqual(bytesOf("*0\r\n"));
});
