/**
 * The longest common subsequence of two strings, as the command LCS tells it.
 *
 * The textbook table of lengths, row by row, 4 bytes a cell; then back through it from the end. Which of several equally long subsequences
 * is told, and in which order its matches, follows from that walk.
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

/**
 * Compares two strings.
 *
 * @param maxBytes What the table may take.
 * @returns The result, or `undefined` if the table would be larger.
 */
export function longestCommonSubsequence(
  first: Uint8Array,
  second: Uint8Array,
  maxBytes: number,
): LcsResult | undefined {
  const width = second.length + 1;
  const cells = (first.length + 1) * width;
  if (cells * 4 > maxBytes) return undefined;
  const lengths = new Uint32Array(cells);
  for (let i = 1; i <= first.length; i += 1) {
    const byte = first[i - 1];
    for (let j = 1; j <= second.length; j += 1) {
      const at = i * width + j;
      if (byte === second[j - 1]) lengths[at] = (lengths[at - width - 1] as number) + 1;
      else lengths[at] = Math.max(lengths[at - width] as number, lengths[at - 1] as number);
    }
  }
  const length = lengths[cells - 1] as number;
  const subsequence = new Uint8Array(length);
  const matches: LcsMatch[] = [];
  let left = length;
  let i = first.length;
  let j = second.length;
  // The match that is being followed, in bytes of each string; `start` moves towards the beginning.
  let open: { firstStart: number; firstEnd: number; secondStart: number; secondEnd: number } | undefined;
  while (left > 0) {
    const at = i * width + j;
    let isClosed = open !== undefined;
    if (first[i - 1] === second[j - 1]) {
      left -= 1;
      subsequence[left] = first[i - 1] as number;
      if (open !== undefined && open.firstStart === i && open.secondStart === j) {
        open.firstStart -= 1;
        open.secondStart -= 1;
        isClosed = false;
      } else {
        if (open !== undefined) matches.push(open);
        open = { firstStart: i - 1, firstEnd: i - 1, secondStart: j - 1, secondEnd: j - 1 };
        isClosed = false;
      }
      i -= 1;
      j -= 1;
    } else if ((lengths[at - width] as number) > (lengths[at - 1] as number)) {
      i -= 1;
    } else {
      j -= 1;
    }
    if (isClosed && open !== undefined) {
      matches.push(open);
      open = undefined;
    }
  }
  if (open !== undefined) matches.push(open);
  return { length, subsequence, matches };
}
