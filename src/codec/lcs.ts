/**
 * The longest common subsequence of two strings, as the command LCS tells it.
 *
 * The textbook table: a cell for each pair of beginnings holds how long their longest common subsequence is, 4 bytes a cell,
 * filled row by row; then a walk back through it from the end. Which of several equally long subsequences is told, and in
 * which order its matches, follows from that walk: where it could go either way, it drops the end of the second string.
 */

/** Bytes of the two strings that match, ends included. */
export interface LcsMatch {
  readonly firstStart: number;
  readonly firstEnd: number;
  readonly secondStart: number;
  readonly secondEnd: number;
}

export interface LcsResult {
  readonly length: number;
  readonly subsequence: Uint8Array;
  /** From the end of the strings to their beginning. */
  readonly matches: readonly LcsMatch[];
}

const CELL_BYTES = 4;

/**
 * Compares two strings.
 *
 * @param first One string.
 * @param second The other.
 * @param maxBytes What the table may take. It takes 4 bytes times (first length + 1) times (second length + 1).
 * @returns The result, or `undefined` if the table would be larger.
 * @example
 * ```ts
 * longestCommonSubsequence(encode("ohmytext"), encode("mynewtext"), 1_000_000)?.length; // 6: "mytext"
 * ```
 */
export function longestCommonSubsequence(
  first: Uint8Array,
  second: Uint8Array,
  maxBytes: number,
): LcsResult | undefined {
  const width = second.length + 1;
  const cells = (first.length + 1) * width;
  if (cells * CELL_BYTES > maxBytes) return undefined;
  const lengths = new Uint32Array(cells);
  fillTable(lengths, first, second);
  return walkBack(lengths, first, second);
}

/** Row `i`, column `j`: the length for the first `i` and the first `j` bytes. Row 0 and column 0 are zero already. */
function fillTable(lengths: Uint32Array, first: Uint8Array, second: Uint8Array): void {
  const width = second.length + 1;
  for (let row = 1; row <= first.length; row++) {
    const byte = first[row - 1] as number;
    // The three neighbours of a cell; all but one were its left neighbour's, too.
    let above = (row - 1) * width;
    let aboveLeft = 0;
    let left = 0;
    for (let column = 0; column < second.length; column++) {
      above++;
      const up = lengths[above] as number;
      if (second[column] === byte) left = aboveLeft + 1;
      else if (up > left) left = up;
      lengths[above + width] = left;
      aboveLeft = up;
    }
  }
}

function walkBack(lengths: Uint32Array, first: Uint8Array, second: Uint8Array): LcsResult {
  const width = second.length + 1;
  const length = lengths[lengths.length - 1] as number;
  const subsequence = new Uint8Array(length);
  const matches: LcsMatch[] = [];
  let left = length;
  let row = first.length;
  let column = second.length;
  while (left > 0) {
    // As long as the last bytes are the same, they belong to one match.
    const rowEnd = row;
    const columnEnd = column;
    while (left > 0 && first[row - 1] === second[column - 1]) {
      row--;
      column--;
      left--;
      subsequence[left] = first[row] as number;
    }
    if (row < rowEnd) {
      matches.push({ firstStart: row, firstEnd: rowEnd - 1, secondStart: column, secondEnd: columnEnd - 1 });
      continue;
    }
    const at = row * width + column;
    if ((lengths[at - width] as number) > (lengths[at - 1] as number)) row--;
    else column--;
  }
  return { length, subsequence, matches };
}
