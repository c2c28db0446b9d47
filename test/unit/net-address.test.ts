/** Host and port as text. */
import { describe, expect, test } from "bun:test";
import { ADDRESS_PATTERN, formatAddress, isHost, parseAddress } from "../../src/net-address.ts";

const GOOD = [
  ["10.0.0.1:17001", "10.0.0.1", 17_001],
  ["node-1.example_x:1", "node-1.example_x", 1],
  ["localhost:65535", "localhost", 65_535],
  ["[::1]:17001", "::1", 17_001],
  ["[fe80::A:b]:80", "fe80::A:b", 80],
  ["[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1", 80],
] as const;

describe("parseAddress", () => {
  for (const [text, host, port] of GOOD) {
    test(`reads ${text}, and it is written the same`, () => {
      expect(parseAddress(text)).toEqual({ host, port });
      expect(formatAddress({ host, port })).toBe(text);
    });
  }

  for (const text of [
    "",
    "host",
    "host:",
    ":1",
    "host:0",
    "host:65536",
    "host:123456",
    "host:-1",
    "host:1.5",
    "host: 1",
    "host:1 ",
    " host:1",
    "host:1\n",
    "ho st:1",
    "ho/st:1",
    "::1:80",
    "[::1]80",
    "[::1:80",
    "[host]:80",
    "[:]:80",
    "host:1,host:2",
    `${"x".repeat(254)}:1`,
    `[${"1:".repeat(23)}]:1`,
  ]) {
    test(`takes ${JSON.stringify(text.slice(0, 40))} for none`, () => expect(parseAddress(text)).toBeUndefined());
  }

  test("takes what the pattern of settings takes, but for ports that there are none of", () => {
    const pattern = new RegExp(`^${ADDRESS_PATTERN}$`);
    for (const [text] of GOOD) expect(text).toMatch(pattern);
    for (const text of ["host", "ho st:1", "::1:80", "[host]:80", `${"x".repeat(254)}:1`]) {
      expect(text).not.toMatch(pattern);
    }
    expect("host:65536").toMatch(pattern);
  });
});

describe("isHost", () => {
  test.each([
    "127.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "::",
    "::1",
    "1::",
    "fe80::A:b",
    "1:2:3:4:5:6:7:8",
    "::ffff:10.0.0.1",
    "1:2:3:4:5:6:10.0.0.1",
    "localhost",
    "node-1.example_x",
    "3com",
    "a.b.c1",
  ])("%s may be one", (text) => {
    expect(isHost(text)).toBe(true);
  });

  test.each([
    "",
    ".",
    "a..b",
    ".a",
    "ho st",
    "ho/st",
    "a\n",
    "a".repeat(254),
    "999.1.1.1",
    "1.2.3",
    "1.2.3.4.5",
    "01.2.3.4",
    "127.1",
    "2130706433",
    "host.7",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7::8",
    ":1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:",
    "::12345",
    "::g",
    "::1.2.3.999",
    "1.2.3.4::",
    "1.2.3.4::1",
    "[::1]",
    "fe80::1%lo",
    "host:1",
  ])("%s is none", (text) => {
    expect(isHost(text)).toBe(false);
  });
});
