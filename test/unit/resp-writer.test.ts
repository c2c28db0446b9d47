import { describe, expect, test } from "bun:test";
import { Fault } from "../../src/assert.ts";
import { ReplyWriter } from "../../src/codec/resp-writer.ts";

/** What is written, one character a byte. */
function written(protocol: 2 | 3, write: (reply: ReplyWriter) => void): string {
  const reply = new ReplyWriter();
  reply.protocol = protocol;
  write(reply);
  return textOf(reply);
}

function textOf(reply: ReplyWriter): string {
  return Buffer.from(reply.bytes.subarray(0, reply.length)).toString("latin1");
}

const VALUE = new Uint8Array(Buffer.from("0123456789".repeat(20)));

describe("ReplyWriter", () => {
  const replies: readonly (readonly [
    title: string,
    write: (reply: ReplyWriter) => void,
    resp2: string,
    resp3?: string,
  ])[] = [
    ["ok", (reply) => reply.ok(), "+OK\r\n"],
    ["simple", (reply) => reply.simple("PONG"), "+PONG\r\n"],
    ["simple, with line ends", (reply) => reply.simple("a\r\nb"), "+a  b\r\n"],
    ["error", (reply) => reply.error("ERR no"), "-ERR no\r\n"],
    ["error, with line ends", (reply) => reply.error("ERR a\r\n+OK\r\n"), "-ERR a  +OK\r\n"],
    ["error, with a client's bytes", (reply) => reply.error("ERR '\xff\x80'"), "-ERR '\xff\x80'\r\n"],
    ["error, with letters beyond bytes", (reply) => reply.error("ERR \u20ac\n"), "-ERR \xe2\x82\xac\r\n"],
    ["error, very long", (reply) => reply.error(`ERR ${"x".repeat(100_000)}`), `-ERR ${"x".repeat(100_000)}\r\n`],
    ["integer", (reply) => reply.integer(1234), ":1234\r\n"],
    ["bigInteger", (reply) => reply.bigInteger(-(2n ** 63n)), ":-9223372036854775808\r\n"],
    [
      "bigNumber",
      (reply) => reply.bigNumber(2n ** 64n),
      "$20\r\n18446744073709551616\r\n",
      "(18446744073709551616\r\n",
    ],
    ["bulk", (reply) => reply.bulk(VALUE, 3, 7), "$4\r\n3456\r\n"],
    ["bulk, empty", (reply) => reply.bulk(VALUE, 3, 3), "$0\r\n\r\n"],
    ["bulk, longer", (reply) => reply.bulk(VALUE, 10, 150), `$140\r\n${"0123456789".repeat(14)}\r\n`],
    ["bulkText", (reply) => reply.bulkText("hello"), "$5\r\nhello\r\n"],
    ["bulkText, empty", (reply) => reply.bulkText(""), "$0\r\n\r\n"],
    ["bulkText, beyond ASCII", (reply) => reply.bulkText("a\u00e9\u20ac"), "$6\r\na\xc3\xa9\xe2\x82\xac\r\n"],
    ["bulkText, half a pair", (reply) => reply.bulkText("\ud83d"), "$3\r\n\xef\xbf\xbd\r\n"],
    ["bulkText, long", (reply) => reply.bulkText("x".repeat(1000)), `$1000\r\n${"x".repeat(1000)}\r\n`],
    ["nullBulk", (reply) => reply.nullBulk(), "$-1\r\n", "_\r\n"],
    ["nullArray", (reply) => reply.nullArray(), "*-1\r\n", "_\r\n"],
    ["array", (reply) => reply.array(12), "*12\r\n"],
    ["map", (reply) => reply.map(6), "*12\r\n", "%6\r\n"],
    ["set", (reply) => reply.set(0), "*0\r\n", "~0\r\n"],
    ["push", (reply) => reply.push(3), "*3\r\n", ">3\r\n"],
    ["boolean, true", (reply) => reply.boolean(true), ":1\r\n", "#t\r\n"],
    ["boolean, false", (reply) => reply.boolean(false), ":0\r\n", "#f\r\n"],
    ["double", (reply) => reply.double(3.25), "$4\r\n3.25\r\n", ",3.25\r\n"],
    ["verbatim", (reply) => reply.verbatim("txt", "a\nb"), "$3\r\na\nb\r\n", "=7\r\ntxt:a\nb\r\n"],
    [
      "verbatim, beyond ASCII",
      (reply) => reply.verbatim("mkd", "\u00e9"),
      "$2\r\n\xc3\xa9\r\n",
      "=6\r\nmkd:\xc3\xa9\r\n",
    ],
    ["raw", (reply) => reply.raw(VALUE, 1, 4), "123"],
  ];
  test.each(replies.map(([title, write, resp2, resp3 = resp2]) => [title, write, resp2, resp3] as const))(
    "%s",
    (_title, write, resp2, resp3) => {
      expect(written(2, write)).toBe(resp2);
      expect(written(3, write)).toBe(resp3);
    },
  );

  test.each([
    0,
    9,
    10,
    99,
    100,
    101,
    999,
    1000,
    65_535,
    99_999_999,
    100_000_000,
    2_147_483_646,
    2_147_483_647,
    2_147_483_648,
    9_999_999_999,
    1e15,
    Number.MAX_SAFE_INTEGER,
  ])("integer writes %d, and less than nothing, in digits", (value) => {
    expect(written(2, (reply) => reply.integer(value))).toBe(`:${value}\r\n`);
    if (value !== 0) expect(written(2, (reply) => reply.integer(-value))).toBe(`:-${value}\r\n`);
  });

  test("integer takes no number that is not exact", () => {
    const reply = new ReplyWriter();
    expect(() => reply.integer(0.5)).toThrow(Fault);
    expect(() => reply.integer(2 ** 53)).toThrow(Fault);
    expect(() => reply.integer(Number.NaN)).toThrow(Fault);
    expect(reply.length).toBe(0);
  });

  // As redis-server 7.0.15 answers ZSCORE.
  test.each([
    [0.1, "0.10000000000000001"],
    [1, "1"],
    [-3, "-3"],
    [3.25, "3.25"],
    [1e17, "1e+17"],
    [1e16, "10000000000000000"],
    [2 ** 60 + 2 ** 8, "1.1529215046068472e+18"],
    [1e-5, "1.0000000000000001e-05"],
    [0.0001, "0.0001"],
    [-0.0001, "-0.0001"],
    [1.5e300, "1.5000000000000001e+300"],
    [5e-324, "4.9406564584124654e-324"],
    [1e21, "1e+21"],
    [0.30000000000000004, "0.30000000000000004"],
    [123456.789, "123456.789"],
    [100, "100"],
    [0, "0"],
    [-0, "-0"],
    [Number.POSITIVE_INFINITY, "inf"],
    [Number.NEGATIVE_INFINITY, "-inf"],
    [Number.NaN, "nan"],
  ])("double writes %d as Redis does", (value, text) => {
    expect(written(3, (reply) => reply.double(value))).toBe(`,${text}\r\n`);
  });

  test("beginArray and endArray count what is written between, arrays within arrays too", () => {
    const text = written(2, (reply) => {
      reply.ok();
      const outer = reply.beginArray();
      reply.integer(1);
      const inner = reply.beginArray();
      for (let index = 0; index < 12; index += 1) reply.integer(index);
      reply.endArray(inner, 12);
      const empty = reply.beginArray();
      reply.endArray(empty, 0);
      reply.endArray(outer, 3);
      reply.ok();
    });
    const twelve = Array.from({ length: 12 }, (_, index) => `:${index}\r\n`).join("");
    expect(text).toBe(`+OK\r\n*3\r\n:1\r\n*12\r\n${twelve}*0\r\n+OK\r\n`);
  });

  test("rewind takes back what was written since the mark, and nothing else", () => {
    const reply = new ReplyWriter();
    reply.ok();
    const mark = reply.mark();
    reply.array(2);
    reply.bulkText("x".repeat(100_000));
    reply.rewind(mark);
    reply.error("ERR no");
    expect(textOf(reply)).toBe("+OK\r\n-ERR no\r\n");
    expect(() => reply.rewind(1000)).toThrow(Fault);
  });

  test("grows at any reply, and keeps what was written before", () => {
    const reply = new ReplyWriter();
    let expected = "";
    for (let round = 0; expected.length < 400_000; round += 1) {
      reply.integer(round);
      reply.bulk(VALUE, 0, round % 200);
      reply.bulkText("t".repeat(round % 70));
      reply.ok();
      reply.simple("s".repeat(round % 30));
      const size = round % 200;
      expected += `:${round}\r\n$${size}\r\n${"0123456789".repeat(20).slice(0, size)}\r\n`;
      expected += `$${round % 70}\r\n${"t".repeat(round % 70)}\r\n+OK\r\n+${"s".repeat(round % 30)}\r\n`;
    }
    expect(textOf(reply)).toBe(expected);
  });

  test("reset empties it, and gives back a buffer of more than 1 MiB", () => {
    const reply = new ReplyWriter();
    const large = new Uint8Array(3 * 1024 * 1024);
    reply.bulk(large, 0, large.length);
    expect(reply.bytes.length).toBeGreaterThan(large.length);
    reply.reset();
    expect(reply.length).toBe(0);
    expect(reply.bytes.length).toBeLessThanOrEqual(1024 * 1024);
    reply.reserve(500_000);
    const kept = reply.bytes;
    reply.reset();
    expect(reply.bytes).toBe(kept);
  });

  test("holds replies of more than 512 MB", () => {
    const reply = new ReplyWriter();
    const value = new Uint8Array(60_000_000);
    value.fill(7, value.length - 10);
    reply.reserve(600_000_000);
    for (let count = 0; count < 9; count += 1) reply.bulk(value, 0, value.length);
    expect(reply.length).toBe(9 * (value.length + "$60000000\r\n\r\n".length));
    expect(reply.bytes[reply.length - 3]).toBe(7);
    reply.reset();
    expect(reply.bytes.length).toBeLessThanOrEqual(1024 * 1024);
  });

  test("gives slices of its buffer that stay when it is used again", () => {
    const reply = new ReplyWriter();
    reply.simple("first");
    const sent = reply.bytes.slice(0, reply.length);
    reply.reset();
    reply.simple("OTHER");
    expect(Buffer.from(sent).toString()).toBe("+first\r\n");
  });
});
