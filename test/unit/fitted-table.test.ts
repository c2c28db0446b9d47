/** Tables of the command line in terminals of any width. */
import { describe, expect, test } from "bun:test";
import { stripVTControlCharacters } from "node:util";
import * as fc from "fast-check";
import { type TableColumn, fit, fittedTable } from "../../src/cli/fitted-table.ts";

const COLUMNS: readonly TableColumn[] = [
  { head: "node" },
  { head: "count", isNumber: true },
  { head: "why", least: 10, most: 40 },
  { head: "zone", spare: 1 },
  { head: "id", least: 9, spare: 2 },
];
const ID = "0123456789abcdef0123456789abcdef01234567";
const WHY = "primary node-1 is down: node-2, node-3 and node-4 found that it does not answer";
const rows = [
  ["node-1", "5461", `\u001B[31m${WHY}\u001B[39m`, "eu-1", ID],
  ["node-22", "10", "", "eu-2", ID],
];
const drawn = (room: number): string => stripVTControlCharacters(fittedTable(COLUMNS, rows, room));
const widest = (text: string): number =>
  Math.max(
    ...text
      .split("\n")
      .filter((line) => /[─│]/.test(line))
      .map((line) => line.length),
  );

describe("a table", () => {
  test("that goes to no terminal has all of it, and wraps only what is to wrap", () => {
    const text = drawn(0);
    expect(text).toContain(ID);
    expect(text).toContain("│ node    │ count │ why ");
    expect(widest(text)).toBe(1 + [7, 5, 40, 4, 40].reduce((sum, width) => sum + width + 3, 0));
    expect(text).not.toContain("a wider terminal");
    expect(drawn(1000)).toBe(text);
  });

  test("wraps where there is less room, and then leaves out what is missed least, and says so", () => {
    const tight = drawn(80);
    expect(widest(tight)).toBe(80);
    expect(tight).toContain("0123456");
    expect(tight).not.toContain("a wider terminal");
    const narrow = drawn(50);
    expect(widest(narrow)).toBe(50);
    expect(narrow).toEndWith("\na wider terminal has also: zone");
    const narrower = drawn(38);
    expect(widest(narrower)).toBeLessThanOrEqual(38);
    expect(narrower).toEndWith("\na wider terminal has also: zone, id");
    // Not one word of what remains is lost.
    const words = [...narrower.matchAll(/│ [^│]* │ [^│]* │ ([^│]*) │/g)].map(([, why = ""]) => why.trim());
    expect(words.join(" ").replace(/^why /, "").trim()).toBe(WHY);
  });

  test("fits if that can be, whatever is in it; else nothing more can be given", () => {
    const column = fc.record({
      head: fc.constant("head"),
      least: fc.option(fc.integer({ min: 1, max: 30 }), { nil: 1000 }),
      spare: fc.nat(5),
    });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(column, fc.nat(60)), { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 1, max: 200 }),
        (pairs, room) => {
          const columns = pairs.map(([each]) => each);
          const naturals = pairs.map(([, width]) => width);
          const { kept, widths } = fit(columns, naturals, room);
          const total = 1 + widths.reduce((sum, width) => sum + width + 3, 0);
          // All may be left out here.
          expect(total).toBeLessThanOrEqual(Math.max(1, room));
          for (const [at, index] of kept.entries()) {
            const natural = naturals[index] ?? 0;
            expect(widths[at]).toBeLessThanOrEqual(natural);
            expect(widths[at]).toBeGreaterThanOrEqual(Math.min(natural, columns[index]?.least ?? 0));
          }
          // Nothing is given that need not be.
          if (total < room && kept.length === columns.length) expect(widths).toEqual(naturals);
        },
      ),
    );
  });
});
