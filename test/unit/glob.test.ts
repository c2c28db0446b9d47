import { describe, expect, test } from "bun:test";
import { globMatch } from "../../src/codec/glob.ts";

const fits = (pattern: string, text: string, ignoreCase?: boolean): boolean => {
  const patternBytes = Buffer.from(pattern, "latin1");
  const textBytes = Buffer.from(text, "latin1");
  return globMatch(patternBytes, 0, patternBytes.length, textBytes, 0, textBytes.length, ignoreCase);
};

describe("globMatch", () => {
  test.each([
    ["", "", true],
    ["", "a", false],
    ["*", "", true],
    ["**", "", false],
    ["**", "a", true],
    ["a**", "a", true],
    ["?", "", false],
    ["?", "a", true],
    ["h?llo", "hello", true],
    ["h*llo", "heeeello", true],
    ["h*llo", "heeeell", false],
    ["*a*b*c", "xaxbxc", true],
    ["*a*b*c", "xaxcxb", false],
    ["*ab", "aab", true],
    ["h[ae]llo", "hallo", true],
    ["h[ae]llo", "hillo", false],
    ["h[^e]llo", "hallo", true],
    ["h[^e]llo", "hello", false],
    ["h[a-b]llo", "hbllo", true],
    ["h[b-a]llo", "hallo", true],
    ["[a-]", "^", true],
    ["[a-]x", "x", true],
    ["[]", "a", false],
    ["[]", "]", false],
    ["[^]", "a", true],
    ["[", "a", false],
    ["[", "[", false],
    ["[^", "a", true],
    ["[a", "a", true],
    ["[a-", "-", true],
    ["[\\]]", "]", true],
    ["[\\", "\\", true],
    ["[a\\-z]", "-", true],
    ["[a\\-z]", "b", false],
    ["\\*", "*", true],
    ["\\*", "a", false],
    ["\\", "\\", true],
    ["a\\", "a\\", true],
    ["\\a", "a", true],
    ["[\x80-\x01]", "\x00", true],
    ["[\x01-\x80]", "\xff", true],
    ["[\x01-\x80]", "\x02", false],
    ["A", "a", false],
  ])("of %j with %j is %p", (pattern, text, expected) => {
    expect(fits(pattern, text)).toBe(expected);
  });

  test.each([
    ["Maxmem*", "maxMEMORY", true],
    ["[A-C]", "b", true],
    ["[a-c]", "B", true],
    ["[A]", "a", true],
    ["[\\A]", "a", false],
    ["\\A", "a", true],
    ["\xc4", "\xe4", false],
    ["@", "`", false],
  ])("of %j with %j, cases equal, is %p", (pattern, text, expected) => {
    expect(fits(pattern, text, true)).toBe(expected);
  });

  test("looks at nothing outside of its two ranges", () => {
    const bytes = Buffer.from("**a[b**xaby");
    expect(globMatch(bytes, 2, 5, bytes, 8, 10)).toBe(true);
    expect(globMatch(bytes, 2, 5, bytes, 8, 11)).toBe(false);
    expect(globMatch(bytes, 2, 3, bytes, 8, 9)).toBe(true);
  });

  test("does bounded work for a pattern of a thousand stars", () => {
    // With a step back for each star this would take longer than the universe has.
    const pattern = `${"a*".repeat(1000)}b`;
    expect(fits(pattern, "a".repeat(10_000))).toBe(false);
    expect(fits("*?".repeat(500), "a".repeat(499))).toBe(false);
    expect(fits(`${"*[^b]".repeat(500)}b`, "a".repeat(5000))).toBe(false);
  });
});
