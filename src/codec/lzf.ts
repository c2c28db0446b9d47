/**
 * LZF, the compression of strings in Redis' dumps.
 *
 * Compressed bytes are a row of pieces. A piece whose first byte is below 32 is followed by that many bytes plus one, to be
 * taken as they are. Any other says "again": its top three bits are a length less 2 (7: the next byte is to be added), the
 * rest and one more byte are how far back to look, less 1.
 *
 * The format leaves the choice of pieces to the writer. This one chooses as Redis' does (a table of where each triple of
 * bytes was seen last, one entry for each of 65,536 hashes; after a repeat only its last two positions enter the table),
 * so that a dump has the same bytes as the real server's.
 */

/** A piece of plain bytes has at most this many. */
const PLAIN_MAX = 32;
/** Repeats look back at most this far: 13 bits. */
const DISTANCE_MAX = 8192;
/** A repeat has at most this many bytes: 2 + 7 + 255. */
const REPEAT_MAX = 264;
/** Shorter repeats would not be shorter. */
const REPEAT_MIN = 3;
const TABLE_ENTRIES = 65536;
/** The repeat of most gain: three bytes that stand for 264. */
const GROWTH_MAX = REPEAT_MAX / 3;

/**
 * Compresses.
 *
 * @param bytes Holds the input.
 * @param start Where it begins.
 * @param end Where it ends, exclusive.
 * @param maxLength The most bytes that the result may have.
 * @returns The compressed bytes, or `undefined` if they would be more than `maxLength` (or come close to it).
 */
export function compressLzf(bytes: Uint8Array, start: number, end: number, maxLength: number): Uint8Array | undefined {
  if (start === end || maxLength <= 0) return undefined;
  const output = new Uint8Array(maxLength);
  // Where each triple was seen last, counted from `start`. 0 is "nowhere": the very first position is never looked back to.
  const seenAt = new Int32Array(TABLE_ENTRIES);
  // The first byte of a plain piece is left open until its length is known.
  let written = 1;
  let plain = 0;
  let at = start;
  const lastTriple = end - REPEAT_MIN;
  while (at <= lastTriple) {
    const entry = tableEntry(bytes, at);
    const seen = start + (seenAt[entry] as number);
    seenAt[entry] = at - start;
    const distance = at - seen - 1;
    if (
      seen === start ||
      distance >= DISTANCE_MAX ||
      bytes[seen + 2] !== bytes[at + 2] ||
      bytes[seen + 1] !== bytes[at + 1] ||
      bytes[seen] !== bytes[at]
    ) {
      if (written >= maxLength) return undefined;
      output[written] = bytes[at] as number;
      written++;
      at++;
      plain++;
      if (plain === PLAIN_MAX) {
        output[written - plain - 1] = plain - 1;
        plain = 0;
        written++;
      }
      continue;
    }

    // An empty plain piece gives its byte back.
    if (plain === 0) written--;
    else output[written - plain - 1] = plain - 1;
    if (written + 4 >= maxLength) return undefined;
    const length = repeatLength(bytes, seen, at, end);
    const field = length - 2;
    if (field < 7) {
      output[written] = (distance >> 8) + (field << 5);
      written++;
    } else {
      output[written] = (distance >> 8) + (7 << 5);
      output[written + 1] = field - 7;
      written += 2;
    }
    output[written] = distance & 0xff;
    // This one, and the byte that opens the next plain piece.
    written += 2;
    plain = 0;
    at += length;
    if (at > lastTriple) break;
    seenAt[tableEntry(bytes, at - 2)] = at - 2 - start;
    seenAt[tableEntry(bytes, at - 1)] = at - 1 - start;
  }

  // At most three bytes come: two that are left, and the opening of a second piece.
  if (written + 3 > maxLength) return undefined;
  for (; at < end; at++) {
    output[written] = bytes[at] as number;
    written++;
    plain++;
    if (plain === PLAIN_MAX) {
      output[written - plain - 1] = plain - 1;
      plain = 0;
      written++;
    }
  }
  if (plain === 0) written--;
  else output[written - plain - 1] = plain - 1;
  return output.subarray(0, written);
}

/** Hashes the three bytes at `at`. */
function tableEntry(bytes: Uint8Array, at: number): number {
  const triple = ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
  return ((triple >> 8) - triple * 5) & (TABLE_ENTRIES - 1);
}

/**
 * Counts the bytes that repeat. Redis stops two bytes before the end, but looks at 19 bytes with no such care when at
 * least that many are left; equal dumps need the same.
 */
function repeatLength(bytes: Uint8Array, seen: number, at: number, end: number): number {
  const most = Math.min(end - at - 2, REPEAT_MAX);
  const limit = Math.max(most, most > 16 ? 19 : REPEAT_MIN);
  let length = REPEAT_MIN;
  while (length < limit && bytes[seen + length] === bytes[at + length]) length++;
  return length;
}

/**
 * Decompresses. Safe for any input: nothing is read or written outside, and no more memory is taken than the input can fill.
 *
 * @param bytes Holds the compressed bytes.
 * @param start Where they begin.
 * @param end Where they end, exclusive.
 * @param length How many bytes must come out.
 * @returns Those bytes, or `undefined` if the input is malformed or gives fewer or more.
 */
export function decompressLzf(bytes: Uint8Array, start: number, end: number, length: number): Uint8Array | undefined {
  // Checked before memory is taken: a length may claim anything.
  if (length > (end - start) * GROWTH_MAX) return undefined;
  const output = new Uint8Array(length);
  let written = 0;
  let at = start;
  while (at < end) {
    const control = bytes[at] as number;
    at++;
    if (control < PLAIN_MAX) {
      const count = control + 1;
      if (at + count > end || written + count > length) return undefined;
      for (let index = 0; index < count; index++) output[written + index] = bytes[at + index] as number;
      at += count;
      written += count;
      continue;
    }
    let count = (control >> 5) + 2;
    if (count === 9) {
      if (at >= end) return undefined;
      count += bytes[at] as number;
      at++;
    }
    if (at >= end) return undefined;
    const from = written - ((control & 0x1f) << 8) - (bytes[at] as number) - 1;
    at++;
    if (from < 0 || written + count > length) return undefined;
    // Byte by byte: the piece may reach into what it writes itself.
    for (let index = 0; index < count; index++) output[written + index] = output[from + index] as number;
    written += count;
  }
  return written === length ? output : undefined;
}
