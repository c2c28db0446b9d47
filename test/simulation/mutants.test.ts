/** Each mutant is caught: the simulations find the bugs that the rules are there against. The hunts are in files of their own, beside this one. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "bun:test";
import { GROUP_OF } from "./mutants/hunts.ts";
import { MUTANTS } from "./mutants/mutants.ts";
import { TESTED_MUTANTS } from "./mutants/tested-mutants.ts";

/** Rows of tables: a mutant, the rule that it breaks, what finds it, and at which seed, where seeds are hunted. */
const ROW = /^\| `([a-z0-9-]+)` +\| (.*?) +\| (.*?) +\|(?: +(\d+) \|)?$/gm;

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

  test("are in the tables that people read: each with its rule, and with the seed or the test that finds it", () => {
    const page = readFileSync(fileURLToPath(new URL("../../docs/simulation.md", import.meta.url)), "utf8");
    const rows = [...page.matchAll(ROW)].map(([, name, rule, by, seed]) =>
      seed === undefined ? [name, rule, by] : [name, rule, Number(seed)],
    );
    const wanted = [
      ...MUTANTS.map(({ name, breaks, seed = 1 }) => [name, breaks, seed]),
      ...TESTED_MUTANTS.map(({ name, breaks, by }) => [name, breaks, `\`${by.replace("test/", "")}\``]),
    ];
    const inOrder = (table: readonly (readonly unknown[])[]): readonly string[] => table.map(String).toSorted();
    expect(inOrder(rows)).toEqual(inOrder(wanted));
  });
});
