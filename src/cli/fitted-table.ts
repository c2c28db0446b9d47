/**
 * Tables that fit the terminal: long texts wrap at words, and where that is not enough the columns that people miss least are left out, so that the terminal tears no
 * line of them. What is no terminal gets all of it.
 */
import Table from "cli-table3";
import pc from "picocolors";

export interface TableColumn {
  readonly head: string;
  /** At the right, as numbers are. */
  readonly isNumber?: boolean;
  /** In characters: so narrow its texts may become, and wrap. A word that is longer is cut. Without it they stay in one line. */
  readonly least?: number;
  /** They wrap beyond this, whatever room there is. */
  readonly most?: number;
  /** It may be left out: of several the one with the lowest number first. */
  readonly spare?: number;
}

/** A cell's blanks and the line beside it. */
const FRAME = 3;

/** What a table is drawn with. */
export interface Fit {
  /** Indices of the columns that are there. */
  readonly kept: readonly number[];
  /** Of each of those, in characters. */
  readonly widths: readonly number[];
}

/**
 * Finds the widths with which a table has room.
 *
 * @param naturals How wide each column's longest text is.
 * @param room In characters; 0: without bound.
 */
export function fit(columns: readonly TableColumn[], naturals: readonly number[], room: number): Fit {
  const all = columns.map((column, index) => ({
    index,
    spare: column.spare,
    width: Math.min(naturals[index] ?? 0, column.most ?? Number.POSITIVE_INFINITY),
    least: column.least ?? Number.POSITIVE_INFINITY,
  }));
  const byNeed = all
    .filter(({ spare }) => spare !== undefined)
    .toSorted((one, other) => (one.spare ?? 0) - (other.spare ?? 0));
  let kept = all;
  for (;;) {
    const over = room === 0 ? 0 : 1 + kept.reduce((sum, { width }) => sum + width + FRAME, 0) - room;
    const give = kept.reduce((sum, { width, least }) => sum + Math.max(0, width - least), 0);
    const first = over > give ? byNeed.shift() : undefined;
    if (first === undefined)
      return { kept: kept.map(({ index }) => index), widths: narrowed(kept, Math.min(over, give)) };
    kept = kept.filter((column) => column !== first);
  }
}

/** Takes characters from those that have the most, one by one. */
function narrowed(columns: readonly { readonly width: number; readonly least: number }[], over: number): number[] {
  const widths = columns.map(({ width }) => width);
  for (let taken = 0; taken < over; taken += 1) {
    let widest = -1;
    for (const [at, { least }] of columns.entries()) {
      const width = widths[at] ?? 0;
      if (width > least && width > (widths[widest] ?? 0)) widest = at;
    }
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return widths;
}

/**
 * Draws a table.
 *
 * @param rows A text for each column; it may have colours, and no line of it is a second one.
 * @param room Columns of the terminal; 0: without bound.
 * @param hasRules Between rows; else they stand one below the other.
 */
export function fittedTable(
  columns: readonly TableColumn[],
  rows: readonly (readonly string[])[],
  room: number,
  hasRules = false,
): string {
  const naturals = columns.map(({ head }, at) =>
    Math.max(Bun.stringWidth(head), ...rows.map((row) => Bun.stringWidth(row[at] ?? ""))),
  );
  const { kept, widths } = fit(columns, naturals, room);
  const shown = kept.flatMap((index) => columns[index] ?? []);
  const table = new Table({
    head: shown.map(({ head }) => pc.bold(head)),
    colAligns: shown.map(({ isNumber }) => (isNumber === true ? "right" : "left")),
    colWidths: widths.map((width) => width + FRAME - 1),
    wordWrap: true,
    style: { head: [], border: [] },
    ...(hasRules ? {} : { chars: { mid: "", "left-mid": "", "mid-mid": "", "right-mid": "" } }),
  });
  for (const row of rows) table.push(kept.map((index) => row[index] ?? ""));
  const leftOut = columns.filter((_, index) => !kept.includes(index)).map(({ head }) => head);
  return leftOut.length === 0
    ? table.toString()
    : `${table.toString()}\n${pc.dim(`a wider terminal has also: ${leftOut.join(", ")}`)}`;
}

/** How wide the terminal is that standard output goes to; 0: it is none. */
export function terminalColumns(): number {
  return process.stdout.isTTY ? process.stdout.columns : 0;
}
