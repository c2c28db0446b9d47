import { describe, expect, test } from "bun:test";
import { ArgumentList, ParseStatus, RequestParser, type RequestLimits } from "../../src/codec/resp-parser.ts";

const LIMITS: RequestLimits = { maxBulkBytes: 536_870_912 };

function makeParser(limits: RequestLimits = LIMITS): RequestParser {
  const parser = new RequestParser(limits);
  parser.isAuthenticated = true;
  return parser;
}

/** One character a byte. */
function bytesOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "latin1"));
}

function textsOf(args: ArgumentList): string[] {
  return Array.from({ length: args.count }, (_, index) =>
    Buffer.from(args.bytes.subarray(args.start(index), args.end(index))).toString("latin1"),
  );
}

/** Everything that is whole in the parser, and the error at its end. */
function drain(parser: RequestParser, args = new ArgumentList()): { commands: string[][]; error: string } {
  const commands: string[][] = [];
  while (parser.next(args) === ParseStatus.command) commands.push(textsOf(args));
  return { commands, error: parser.error };
}

function parse(text: string): { commands: string[][]; error: string } {
  const parser = makeParser();
  parser.feed(bytesOf(text));
  return drain(parser);
}

/** The same bytes one by one. */
function parseByteByByte(text: string): { commands: string[][]; error: string } {
  const parser = makeParser();
  const args = new ArgumentList();
  const commands: string[][] = [];
  for (const byte of bytesOf(text)) {
    parser.feed(Uint8Array.of(byte));
    commands.push(...drain(parser, args).commands);
  }
  return { commands, error: parser.error };
}

const ECHO = "*2\r\n$4\r\nECHO\r\n";

describe("RequestParser", () => {
  const readable: readonly (readonly [title: string, input: string, commands: readonly (readonly string[])[]])[] = [
    ["an array of bulks", "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", [["GET", "a"]]],
    ["several commands", "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n", [["PING"], ["QUIT"]]],
    ["an empty argument", `${ECHO}$0\r\n\r\n`, [["ECHO", ""]]],
    ["line ends within an argument", `${ECHO}$4\r\n\r\n\r\n\r\n`, [["ECHO", "\r\n\r\n"]]],
    ["any two bytes after an argument", "*1\r\n$4\r\nPINGXYPING\r\n", [["PING"], ["PING"]]],
    ["any byte after CR in a count", "*1\rX$4\rYPING\r\n", [["PING"]]],
    ["nothing of empty arrays", "*0\r\n*-1\r\n*-9223372036854775808\r\nPING\r\n", [["PING"]]],
    ["an inline command", "SET  a\tb \r\n", [["SET", "a", "b"]]],
    ["an inline command that ends with LF alone", "PING\n", [["PING"]]],
    ["nothing of empty lines", "\r\n\n  \r\nPING\n\r\n", [["PING"]]],
    ["inline commands between arrays", `PING\r\n${ECHO}$1\r\na\r\nPING\r\n`, [["PING"], ["ECHO", "a"], ["PING"]]],
    ["escapes in double quotes", 'ECHO "a\\x41\\n\\r\\t\\b\\a\\q\\\\\\""\r\n', [["ECHO", 'aA\n\r\t\b\x07q\\"']]],
    ["hexadecimal escapes of both cases", 'ECHO "\\xfF\\x00"\r\n', [["ECHO", "\xff\0"]]],
    ["cut hexadecimal escapes as letters", 'ECHO "\\x4" "\\x" "\\xg1"\r\n', [["ECHO", "x4", "x", "xg1"]]],
    ["an escaped quote alone in single quotes", "ECHO 'a\\n\\'b'\r\n", [["ECHO", "a\\n'b"]]],
    ["quotes that begin within a word", "ECHO foo\"bar\" a'b c'\r\n", [["ECHO", "foobar", "ab c"]]],
    ["empty quotes", "ECHO \"\" ''\r\n", [["ECHO", "", ""]]],
    ["backslashes outside of quotes as they are", "ECHO a\\nb\r\n", [["ECHO", "a\\nb"]]],
    ["vertical tabs between words, but not as their end", "ECHO \v\fa a\vb\r\n", [["ECHO", "a", "a\vb"]]],
    ["a vertical tab after a closing quote", 'ECHO "a"\vx\r\n', [["ECHO", "a", "x"]]],
    ["NUL as part of a word", "\0\nECHO a\0b \0\r\n", [["\0"], ["ECHO", "a\0b", "\0"]]],
    ["a second CR as a blank", "PING\r\r\n", [["PING"]]],
    [
      "lines of browsers as commands",
      "POST / HTTP/1.1\r\nHost: x\r\n",
      [
        ["POST", "/", "HTTP/1.1"],
        ["Host:", "x"],
      ],
    ],
  ];
  test.each(readable)("reads %s", (_title, input, commands) => {
    const expected = { commands, error: "" };
    expect(parse(input)).toEqual(expected as ReturnType<typeof parse>);
    expect(parseByteByByte(input)).toEqual(expected as ReturnType<typeof parse>);
  });

  // Each was compared with redis-server 7.0.15; test/peers does so again.
  const wrong: readonly (readonly [input: string, error: string])[] = [
    ["*2147483648\r\n", "invalid multibulk length"],
    ["*abc\r\n", "invalid multibulk length"],
    ["*\r\n", "invalid multibulk length"],
    ["*01\r\n", "invalid multibulk length"],
    ["*+1\r\n", "invalid multibulk length"],
    ["*-0\r\n", "invalid multibulk length"],
    ["*-1x\r\n", "invalid multibulk length"],
    ["* 1\r\n", "invalid multibulk length"],
    ["*-9223372036854775809\r\n", "invalid multibulk length"],
    [`*${"1".repeat(20)}\r\n`, "invalid multibulk length"],
    [`*${"1".repeat(65_536)}`, "too big mbulk count string"],
    [`${ECHO}$-1\r\n`, "invalid bulk length"],
    [`${ECHO}$536870913\r\n`, "invalid bulk length"],
    [`${ECHO}$abc\r\n`, "invalid bulk length"],
    [`${ECHO}$\r\n`, "invalid bulk length"],
    [`${ECHO}$01\r\na\r\n`, "invalid bulk length"],
    [`${ECHO}$1a\r\na\r\n`, "invalid bulk length"],
    [`${ECHO}$${"1".repeat(65_536)}`, "too big bulk count string"],
    [`${ECHO}:1\r\n`, "expected '$', got ':'"],
    [`${ECHO}x1\r\n`, "expected '$', got 'x'"],
    ["A".repeat(65_537), "too big inline request"],
    [`${"A".repeat(65_537)}\n`, "too big inline request"],
    ['ECHO "foo\r\n', "unbalanced quotes in request"],
    ["ECHO 'foo\r\n", "unbalanced quotes in request"],
    ['ECHO "foo"bar\r\n', "unbalanced quotes in request"],
    ["ECHO 'foo''bar'\r\n", "unbalanced quotes in request"],
    ['ECHO "a\\\r\n', "unbalanced quotes in request"],
    ['ECHO "a\\"\r\n', "unbalanced quotes in request"],
  ];
  test.each(wrong.map(([input, error]) => [JSON.stringify(input.slice(0, 60)), input, error] as const))(
    "refuses %s",
    (_title, input, error) => {
      const expected = { commands: [], error: `Protocol error: ${error}` };
      expect(parse(input)).toEqual(expected);
      expect(parseByteByByte(input)).toEqual(expected);
    },
  );

  test.each([
    ["*2147483647\r\n"],
    ["A".repeat(65_536)],
    [`*${"1".repeat(65_535)}`],
    [`${ECHO}$536870912\r\n`],
    [`${ECHO}$${"1".repeat(65_535)}`],
    [`${ECHO}x`],
    ["*1\r"],
  ])("waits for more after what may still be right", (input) => {
    expect(parse(input)).toEqual({ commands: [], error: "" });
  });

  test("gives the commands before an error, then the error for good", () => {
    const parser = makeParser();
    parser.feed(bytesOf("PING\r\n*x\r\nPING\r\n"));
    const error = "Protocol error: invalid multibulk length";
    expect(drain(parser)).toEqual({ commands: [["PING"]], error });
    parser.feed(bytesOf("PING\r\n"));
    expect(drain(parser)).toEqual({ commands: [], error });
    expect(parser.bufferedBytes).toBe(0);
  });

  test("lets a client without the password send 10 arguments of 16384 bytes, and no more", () => {
    const attempt = (input: string): string => {
      const parser = new RequestParser(LIMITS);
      parser.feed(bytesOf(input));
      return drain(parser).error;
    };
    expect(attempt("*10\r\n")).toBe("");
    expect(attempt("*11\r\n")).toBe("Protocol error: unauthenticated multibulk length");
    expect(attempt("*3000000000\r\n")).toBe("Protocol error: invalid multibulk length");
    expect(attempt(`${ECHO}$16384\r\n`)).toBe("");
    expect(attempt(`${ECHO}$16385\r\n`)).toBe("Protocol error: unauthenticated bulk length");
    expect(attempt(`${ECHO}$536870913\r\n`)).toBe("Protocol error: invalid bulk length");
  });

  test("heeds the password from the next command on, within one piece too", () => {
    const parser = new RequestParser(LIMITS);
    const args = new ArgumentList();
    parser.feed(bytesOf(`AUTH x\r\n*11\r\n${"$1\r\na\r\n".repeat(11)}`));
    expect(parser.next(args)).toBe(ParseStatus.command);
    parser.isAuthenticated = true;
    expect(parser.next(args)).toBe(ParseStatus.command);
    expect(args.count).toBe(11);
  });

  test("heeds a limit that changed while a connection is open", () => {
    const limits = { maxBulkBytes: 10 };
    const parser = makeParser(limits);
    parser.feed(bytesOf(`${ECHO}$10\r\n0123456789\r\n`));
    expect(drain(parser).commands).toHaveLength(1);
    limits.maxBulkBytes = 9;
    parser.feed(bytesOf(`${ECHO}$10\r\n0123456789\r\n`));
    expect(drain(parser).error).toBe("Protocol error: invalid bulk length");
  });

  test("reads whole commands in the array that was fed, without a copy", () => {
    const parser = makeParser();
    const args = new ArgumentList();
    const piece = bytesOf("*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI");
    parser.feed(piece);
    expect(parser.next(args)).toBe(ParseStatus.command);
    expect(args.bytes).toBe(piece);
    expect(parser.next(args)).toBe(ParseStatus.incomplete);
    // What a cut command needs is copied; what follows it is read in place again.
    const rest = bytesOf(`NG\r\n${"*1\r\n$4\r\nPING\r\n".repeat(20)}`);
    parser.feed(rest);
    expect(parser.next(args)).toBe(ParseStatus.command);
    expect(textsOf(args)).toEqual(["PING"]);
    expect(args.bytes).not.toBe(rest);
    expect(parser.next(args)).toBe(ParseStatus.command);
    expect(args.bytes).toBe(rest);
    expect(drain(parser).commands).toHaveLength(19);
  });

  test("holds nothing once everything is run, and lets go of the arguments", () => {
    const parser = makeParser();
    const args = new ArgumentList();
    parser.feed(bytesOf(`${ECHO}$3\r\nabc\r\n`));
    expect(parser.bufferedBytes).toBeGreaterThan(0);
    drain(parser, args);
    expect(parser.bufferedBytes).toBe(0);
    expect(args.count).toBe(0);
    expect(args.bytes).toHaveLength(0);
  });

  test("does not believe a length that was only announced", () => {
    const parser = makeParser();
    parser.feed(bytesOf(`*1000000\r\n$536870912\r\n${"x".repeat(1000)}`));
    expect(drain(parser).error).toBe("");
    expect(parser.bufferedBytes).toBeLessThan(2000);
  });

  test("shares an argument list with other parsers, though each is in the midst of a command", () => {
    const args = new ArgumentList();
    const parsers = Array.from({ length: 5 }, () => makeParser());
    const seen: string[][][] = parsers.map(() => []);
    const inputs = parsers.map((_, index) =>
      bytesOf(`*3\r\n$3\r\nSET\r\n$2\r\nk${index}\r\n$2\r\nv${index}\r\n`.repeat(3)),
    );
    for (let at = 0; at < 200; at += 1) {
      parsers.forEach((parser, index) => {
        const piece = inputs[index]?.slice(at * (index + 1), (at + 1) * (index + 1));
        if (piece !== undefined) parser.feed(piece);
        seen[index]?.push(...drain(parser, args).commands);
      });
    }
    expect(seen).toEqual(parsers.map((_, index) => Array.from({ length: 3 }, () => ["SET", `k${index}`, `v${index}`])));
  });

  test("keeps what is fed while nobody asks for commands", () => {
    const parser = makeParser();
    const whole = "*1\r\n$4\r\nPING\r\n".repeat(100);
    for (let at = 0; at < whole.length; at += 7) parser.feed(bytesOf(whole.slice(at, at + 7)));
    expect(parser.bufferedBytes).toBe(whole.length);
    expect(drain(parser).commands).toHaveLength(100);
    expect(parser.bufferedBytes).toBe(0);
  });

  test("looks at no byte twice: a million arguments and 64 MiB come in small pieces in little time", () => {
    const parser = makeParser();
    const args = new ArgumentList();
    const startedAtMs = performance.now();
    const count = 1_000_000;
    const many = bytesOf(`*${count}\r\n${"$1\r\na\r\n".repeat(count)}`);
    for (let at = 0; at < many.length; at += 100) {
      parser.feed(many.slice(at, at + 100));
      if (parser.next(args) === ParseStatus.command) break;
    }
    expect(args.count).toBe(count);
    expect(args.end(count - 1) - args.start(count - 1)).toBe(1);
    expect(parser.next(args)).toBe(ParseStatus.incomplete);
    expect(args.offsets.length).toBeLessThan(10_000);

    const size = 64 * 1024 * 1024;
    parser.feed(bytesOf(`${ECHO}$${size}\r\n`));
    const piece = new Uint8Array(1024);
    let fed = 0;
    while (parser.next(args) === ParseStatus.incomplete && fed <= size + 2) {
      parser.feed(piece.slice());
      fed += piece.length;
    }
    expect(args.end(1) - args.start(1)).toBe(size);
    // Work that grows with the square would take minutes.
    expect(performance.now() - startedAtMs).toBeLessThan(10_000);
  });

  test("looks at no byte of an endless line twice", () => {
    const parser = makeParser();
    const args = new ArgumentList();
    for (let fed = 0; fed < 65_536; fed += 1) {
      parser.feed(Uint8Array.of(0x41));
      expect(parser.next(args)).toBe(ParseStatus.incomplete);
    }
    parser.feed(Uint8Array.of(0x41));
    expect(parser.next(args)).toBe(ParseStatus.error);
  });
});

test("ArgumentList.clone keeps the arguments when the parser goes on", () => {
  const parser = makeParser();
  const args = new ArgumentList();
  parser.feed(bytesOf(`SET a '${"x".repeat(100)}'\r\nGET b\r\n`));
  parser.next(args);
  const kept = args.clone();
  parser.next(args);
  expect(textsOf(kept)).toEqual(["SET", "a", "x".repeat(100)]);
  expect(textsOf(args)).toEqual(["GET", "b"]);
  expect(kept.bytes).toHaveLength(104);
});
