import { describe, expect, test } from "bun:test";
import { longestCommonSubsequence } from "../../src/codec/lcs.ts";

const compare = (first: string, second: string, maxBytes = 1_000_000): ReturnType<typeof longestCommonSubsequence> =>
  longestCommonSubsequence(Buffer.from(first), Buffer.from(second), maxBytes);

describe("longestCommonSubsequence", () => {
  test("tells length, bytes and matches, the last match first", () => {
    expect(compare("ohmytext", "mynewtext")).toEqual({
      length: 6,
      subsequence: Uint8Array.from(Buffer.from("mytext")),
      matches: [
        { firstStart: 4, firstEnd: 7, secondStart: 5, secondEnd: 8 },
        { firstStart: 2, firstEnd: 3, secondStart: 0, secondEnd: 1 },
      ],
    });
  });

  test.each([
    ["", ""],
    ["", "abc"],
    ["abc", ""],
    ["abc", "xyz"],
  ])("of %j and %j is nothing", (first, second) => {
    expect(compare(first, second)).toEqual({ length: 0, subsequence: new Uint8Array(0), matches: [] });
  });

  test("of a string and itself is one match", () => {
    expect(compare("abcabc", "abcabc")?.matches).toEqual([
      { firstStart: 0, firstEnd: 5, secondStart: 0, secondEnd: 5 },
    ]);
  });

  test("refuses a table that is larger than allowed, and takes one that is just as large", () => {
    // 4 x 5 cells of 4 bytes.
    expect(compare("abc", "abcd", 80)?.length).toBe(3);
    expect(compare("abc", "abcd", 79)).toBeUndefined();
    expect(longestCommonSubsequence(new Uint8Array(100_000), new Uint8Array(100_000), 2 ** 29)).toBeUndefined();
  });
});
