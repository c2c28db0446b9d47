/** Each mutant is caught: the simulations find the bugs that the rules are there against. The hunts are in files of their own, beside this one. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "bun:test";
import { GROUP_OF } from "./mutants/hunts.ts";
import { MUTANTS } from "./mutants/mutants.ts";

describe("mutants", () => {
  test("are at least fifteen, each with a name of its own", () => {
    expect(MUTANTS.length).toBeGreaterThanOrEqual(15);
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
  });

  test("are all hunted: each group has its file", () => {
    for (const group of new Set(Object.values(GROUP_OF))) {
      expect(existsSync(fileURLToPath(new URL(`mutants-${group}.test.ts`, import.meta.url)))).toBe(true);
    }
  });
});
