import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { longestCommonSubsequence } from "../../src/codec/lcs.ts";

const text = fc.array(fc.constantFrom(0, 1, 2, 255), { maxLength: 24 }).map((bytes) => Uint8Array.from(bytes));

test("longestCommonSubsequence is as long as the definition says, lies in both strings, and its matches make it up", () => {
  fc.assert(
    fc.property(text, text, (first, second) => {
      const result = longestCommonSubsequence(first, second, 1_000_000);
      if (result === undefined) throw new Error("the table is small");
      expect(result.length).toBe(definition(first, second));
      expect(result.subsequence.length).toBe(result.length);
      const parts = [...result.matches].reverse();
      const ofFirst = parts.flatMap((match) => [...first.subarray(match.firstStart, match.firstEnd + 1)]);
      const ofSecond = parts.flatMap((match) => [...second.subarray(match.secondStart, match.secondEnd + 1)]);
      expect(ofFirst).toEqual([...result.subsequence]);
      expect(ofSecond).toEqual([...result.subsequence]);
      for (const [index, match] of parts.entries()) {
        const before = parts[index - 1];
        if (before === undefined) continue;
        expect(before.firstEnd < match.firstStart && before.secondEnd < match.secondStart).toBe(true);
      }
    }),
    { numRuns: 2000 },
  );
});

/** By the definition: with the last byte of both, or without that of one. */
function definition(first: Uint8Array, second: Uint8Array): number {
  const known = new Map<number, number>();
  const length = (one: number, other: number): number => {
    if (one === 0 || other === 0) return 0;
    const name = one * 1000 + other;
    const found = known.get(name);
    if (found !== undefined) return found;
    const result =
      first[one - 1] === second[other - 1]
        ? length(one - 1, other - 1) + 1
        : Math.max(length(one - 1, other), length(one, other - 1));
    known.set(name, result);
    return result;
  };
  return length(first.length, second.length);
}
