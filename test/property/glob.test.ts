import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { globMatch } from "../../src/codec/glob.ts";

/** A part of a pattern, beside the same as a regular expression. */
const part = fc.oneof(
  fc.constant(["*", "[^]*"] as const),
  fc.constant(["?", "[^]"] as const),
  fc.constantFrom("a", "b", "c").map((letter) => [letter, letter] as const),
  fc.constantFrom("*", "?", "[", "\\").map((mark) => [`\\${mark}`, `\\${mark}`] as const),
  fc.constantFrom("[ab]", "[a-b]", "[^a]", "[^b-c]", "[\\*]").map((set) => [set, set] as const),
);
const text = fc.string({ unit: fc.constantFrom("a", "b", "c", "*", "?", "[", "\\"), minLength: 1, maxLength: 12 });

test("globMatch agrees with the regular expression that says the same", () => {
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), text, fc.boolean(), (parts, input, ignoreCase) => {
      const pattern = Buffer.from(parts.map(([glob]) => glob).join(""));
      const expression = new RegExp(`^${parts.map(([, regular]) => regular).join("")}$`, ignoreCase ? "i" : "");
      const subject = Buffer.from(ignoreCase ? input.toUpperCase() : input);
      const answer = globMatch(pattern, 0, pattern.length, subject, 0, subject.length, ignoreCase);
      expect(answer).toBe(expression.test(subject.toString()));
    }),
    { numRuns: 5000 },
  );
});
