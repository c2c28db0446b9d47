/**
 * Tables of results: for the terminal, and as Markdown for the documentation. Pure; `main.ts` prints and writes them.
 */

import Table from "cli-table3";
import { type Bound, formatFigure, isHeld } from "./figures.ts";

/** One table. */
export interface Section {
  readonly title: string;
  /** Columns after the first are numbers, and aligned to the right. */
  readonly columns: readonly string[];
  /** Each row has a cell for every column. */
  readonly rows: readonly (readonly string[])[];
  /** Sentences under the table. */
  readonly notes: readonly string[];
}

/** What a bench found. */
export interface BenchResult {
  readonly sections: readonly Section[];
  readonly bounds: readonly Bound[];
  /** Every single measurement, for the file of raw figures. */
  readonly raw: unknown;
}

/** Puts all bounds into one table, which ends a run. */
export function boundsSection(bounds: readonly Bound[]): Section {
  return {
    title: "Bounds",
    columns: ["what", "measured", "bound", ""],
    rows: bounds.map((bound) => [
      bound.what,
      `${formatFigure(bound.measured)} ${bound.unit}`,
      `${formatFigure(bound.limit)} ${bound.unit}`,
      isHeld(bound) ? "held" : "MISSED",
    ]),
    notes: [],
  };
}

/** Draws a table with lines, for a terminal. */
export function renderTerminal(section: Section): string {
  const table = new Table({
    head: [...section.columns],
    colAligns: section.columns.map((_, index) => (index === 0 ? "left" : "right")),
    // Colours and blank lines between rows make long tables harder to read and to paste.
    style: { head: [], border: [], compact: true },
  });
  for (const row of section.rows) table.push([...row]);
  return [section.title, table.toString(), ...section.notes, ""].join("\n");
}

/** Writes a table as Markdown, under a heading of the third level. */
export function renderMarkdown(section: Section): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
  const rule = `| ${section.columns.map((_, index) => (index === 0 ? "---" : "---:")).join(" | ")} |`;
  const table = [line(section.columns), rule, ...section.rows.map(line)].join("\n");
  const notes = section.notes.length === 0 ? "" : `\n${section.notes.map((note) => `- ${note}`).join("\n")}\n`;
  return `### ${section.title}\n\n${table}\n${notes}`;
}
