import { describe, expect, test } from "bun:test";
import { addFloats, isFloat } from "../../src/codec/float.ts";

const add = (one: string, other: string): string => {
  const left = Buffer.from(`1${one}1`, "latin1");
  const right = Buffer.from(`2${other}2`, "latin1");
  const sum = addFloats(left, 1, left.length - 1, right, 1, right.length - 1);
  return sum.error ?? Buffer.from(sum.ok).toString();
};

describe("addFloats", () => {
  // Each of these was asked of redis-server 7.0.15 on x86-64.
  test.each([
    ["0.1", "0.2", "0.3"],
    ["10.50", "0.1", "10.6"],
    ["5.0e3", "200", "5200"],
    ["0", "-0", "0"],
    ["0", "-1e-20", "0"],
    ["0", "1e-17", "0.00000000000000001"],
    ["5e20", "1", "500000000000000000000"],
    ["0", "0x1.8p3", "12"],
    ["0", "0x.8", "0.5"],
    ["0", "0X1P-2", "0.25"],
    ["0", "+1", "1"],
    ["0", ".5", "0.5"],
    ["0", "5.", "5"],
    ["0", "1E+05", "100000"],
    ["0", "0e99999999999999999999", "0"],
    ["0", "0x0p99999999999999999999", "0"],
    ["0", "1e-4950", "0"],
    ["9223372036854775807", "1", "9223372036854775808"],
    ["18446744073709551615", "1", "18446744073709551616"],
    ["18446744073709551616", "1", "18446744073709551616"],
    ["18446744073709551618", "1", "18446744073709551620"],
    ["-3", "3", "0"],
    ["3.0", "0.000", "3"],
  ])("of %s and %s is %s", (one, other, sum) => {
    expect(add(one, other)).toBe(sum);
    expect(add(other, one)).toBe(sum);
  });

  test.each([
    "",
    " 1",
    "1 ",
    ".",
    "-",
    "+",
    "e5",
    "1e",
    "1e+",
    "0x",
    "0x.",
    "0x1p",
    "0xg",
    "nan",
    "NaN",
    "nan(1)",
    "infinit",
    "1_0",
    "0b1",
    "1d5",
    "0.5f",
    "1,5",
    "--1",
    "+-1",
    "1\0",
    "1\n",
    "\t1",
    "1.2.3",
    "1e5000",
    "-1e5000",
    "1e-4951",
    "1e-99999999999999999999",
    "1e99999999999999999999",
    "0x1p16384",
    "0x1p-16447",
    "٣",
    "1".repeat(5120),
  ])("refuses %j", (text) => {
    expect(add("1", text)).toBe("not-a-float");
    expect(add(text, "1")).toBe("not-a-float");
    const bytes = Buffer.from(text, "latin1");
    expect(isFloat(bytes, 0, bytes.length)).toBe(false);
  });

  test.each(["inf", "-inf", "Infinity", "+INF"])("refuses a sum with %s", (text) => {
    expect(add("1", text)).toBe("not-finite");
    expect(add(text, "inf")).toBe("not-finite");
  });

  test("refuses a sum beyond the largest number, and gives the largest", () => {
    expect(add("1.1e4932", "1.1e4932")).toBe("not-finite");
    const largest = (2n ** 16384n - 2n ** 16320n).toString();
    expect(add("0", largest)).toBe(largest);
    expect(add("1e4900", largest)).toBe(largest);
    expect(add("0x1p16319", largest)).toBe("not-finite");
  });

  test("rounds halves to even, in numbers and when writing", () => {
    // 2^64 + 1 lies between 2^64 and 2^64 + 2.
    expect(add("18446744073709551617", "0")).toBe("18446744073709551616");
    expect(add("18446744073709551619", "0")).toBe("18446744073709551620");
    // Just above a half, by a digit far behind.
    expect(add(`18446744073709551617.${"0".repeat(400)}1`, "0")).toBe("18446744073709551618");
    // 2^-18 has 18 digits: ...8125 | 5 is a tie in the 18th.
    expect(add("0x1p-18", "0")).toBe("0.00000381469726562");
    expect(add("0x3p-18", "0")).toBe("0.00001144409179688");
  });

  test("takes bounded time for hostile exponents and lengths", () => {
    expect(add("1".repeat(5119), "1")).toBe("not-a-float");
    expect(add(`0.${"1".repeat(5000)}`, `-0.${"1".repeat(5000)}`)).toBe("0");
    expect(add("1e4932", "1e-4950")).toHaveLength(4933);
  });
});
