import { describe, expect, test } from "bun:test";
import { integerLength, parseInteger, parseInteger64, writeInteger, writeInteger64 } from "../../src/codec/number.ts";

const parse = (text: string): number => {
  const bytes = Buffer.from(`9${text}9`, "latin1");
  return parseInteger(bytes, 1, bytes.length - 1);
};
const parse64 = (text: string): bigint | undefined => {
  const bytes = Buffer.from(`9${text}9`, "latin1");
  return parseInteger64(bytes, 1, bytes.length - 1);
};

describe("parseInteger", () => {
  test.each([
    ["0", 0],
    ["7", 7],
    ["-1", -1],
    ["1234567890", 1234567890],
    ["999999999999999", 999999999999999],
    ["9007199254740991", Number.MAX_SAFE_INTEGER],
    ["-9007199254740991", Number.MIN_SAFE_INTEGER],
    ["9007199254740992", Infinity],
    ["-9007199254740992", -Infinity],
    ["9223372036854775807", Infinity],
    ["-9223372036854775808", -Infinity],
  ])("reads %s as %d", (text, expected) => {
    expect(parse(text)).toBe(expected);
  });

  test.each([
    "",
    "-",
    "+1",
    " 1",
    "1 ",
    "01",
    "-0",
    "00",
    "-01",
    "1.0",
    "1e3",
    "0x10",
    "--1",
    "a",
    "1a",
    "/",
    ":",
    "1\0",
    "9223372036854775808",
    "-9223372036854775809",
    "99999999999999999999",
    "0000000000000000001",
    "1".repeat(400),
    "123456789012345a",
    "12345678901234567a",
    "-",
    "١",
  ])("refuses %j", (text) => {
    expect(parse(text)).toBeNaN();
    expect(parse64(text)).toBeUndefined();
  });
});

describe("parseInteger64", () => {
  test.each(["0", "-1", "9007199254740993", "9223372036854775807", "-9223372036854775808"])("reads %s", (text) => {
    expect(parse64(text)).toBe(BigInt(text));
  });
});

describe("writeInteger", () => {
  test.each([
    0,
    1,
    -1,
    9,
    10,
    -10,
    99,
    100,
    12345,
    9999999,
    10000000,
    2147483646,
    2147483647,
    2147483648,
    -2147483648,
    4294967296,
    99999999999999,
    1e14,
    Number.MAX_SAFE_INTEGER,
    Number.MIN_SAFE_INTEGER,
    20000000000001,
  ])("writes %d, and nothing beside it", (value) => {
    const target = new Uint8Array(24).fill(0x2e);
    const end = writeInteger(target, 3, value);
    expect(Buffer.from(target.subarray(3, end)).toString()).toBe(String(value));
    expect(end - 3).toBe(integerLength(value));
    expect(target[2]).toBe(0x2e);
    expect(target[end]).toBe(0x2e);
  });

  test("writes every power of ten and its neighbours", () => {
    const target = new Uint8Array(24);
    for (let exponent = 0; exponent <= 15; exponent++) {
      for (const value of [10 ** exponent - 1, 10 ** exponent, 10 ** exponent + 1, -(10 ** exponent)]) {
        // `-0` has no sign in decimal digits.
        const end = writeInteger(target, 0, value);
        expect(Buffer.from(target.subarray(0, end)).toString()).toBe(String(value));
      }
    }
  });

  test("writes negative zero as zero", () => {
    const target = new Uint8Array(4);
    expect(writeInteger(target, 0, -0)).toBe(1);
    expect(target[0]).toBe(0x30);
  });
});

describe("writeInteger64", () => {
  test("writes the limits", () => {
    const target = new Uint8Array(21);
    expect(writeInteger64(target, 1, -9223372036854775808n)).toBe(21);
    expect(Buffer.from(target.subarray(1)).toString()).toBe("-9223372036854775808");
  });
});
