/**
 * Patterns as `KEYS`, `SCAN MATCH` and `PSUBSCRIBE` take them: `*`, `?`, `[abc]`, `[^a]`, `[a-z]` and `\x`, over bytes.
 *
 * All parts of a pattern but `*` take exactly one byte of the text. So when a part does not fit, only the last star met
 * can help, by taking one byte more: an earlier star could only push the rest to the right, where the last one already
 * looks. That is why one remembered star is enough, and why no pattern costs more than its length times the text's,
 * where trying every star again would double the work with each of them.
 *
 * The answers are Redis' (7.0), in its corner cases as well: an open bracket is closed by the pattern's end, a range
 * compares signed bytes, an escaped byte in brackets keeps its case.
 */

const STAR = 0x2a;
const DASH = 0x2d;
const QUESTION_MARK = 0x3f;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const CARET = 0x5e;

/**
 * Says whether a text fits a pattern as a whole.
 *
 * @param pattern Holds the pattern.
 * @param patternStart Where it begins.
 * @param patternEnd Where it ends, exclusive.
 * @param text Holds the text.
 * @param textStart Where it begins.
 * @param textEnd Where it ends, exclusive.
 * @param ignoreCase Takes ASCII letters as equal in both cases. Off by default.
 * @returns Whether it fits.
 * @example
 * ```ts
 * const pattern = encoder.encode("user:[0-9]*");
 * globMatch(pattern, 0, pattern.length, key, keyStart, keyEnd);
 * ```
 */
export function globMatch(
  pattern: Uint8Array,
  patternStart: number,
  patternEnd: number,
  text: Uint8Array,
  textStart: number,
  textEnd: number,
  ignoreCase = false,
): boolean {
  if (textStart === textEnd) {
    // Redis never looks at a pattern with an empty text, but knows the lone star by sight. So `**` does not fit "".
    if (patternStart === patternEnd) return true;
    return patternEnd - patternStart === 1 && pattern[patternStart] === STAR;
  }
  let patternAt = patternStart;
  let textAt = textStart;
  // After the last star met, and the first byte that it does not take. -1: none met.
  let afterStar = -1;
  let starTakesTo = 0;
  while (textAt < textEnd) {
    if (patternAt < patternEnd) {
      if (pattern[patternAt] === STAR) {
        do patternAt++;
        while (patternAt < patternEnd && pattern[patternAt] === STAR);
        if (patternAt === patternEnd) return true;
        afterStar = patternAt;
        starTakesTo = textAt;
        continue;
      }
      const next = matchOne(pattern, patternAt, patternEnd, text[textAt] as number, ignoreCase);
      if (next !== 0) {
        patternAt += next;
        textAt++;
        continue;
      }
    }
    if (afterStar === -1) return false;
    starTakesTo++;
    textAt = starTakesTo;
    patternAt = afterStar;
  }
  while (patternAt < patternEnd && pattern[patternAt] === STAR) patternAt++;
  return patternAt === patternEnd;
}

/**
 * Holds one part of a pattern (not a star) against one byte.
 *
 * @returns How many bytes of the pattern the part has if the byte fits, else 0.
 */
function matchOne(pattern: Uint8Array, at: number, end: number, byte: number, ignoreCase: boolean): number {
  const first = pattern[at] as number;
  if (first === QUESTION_MARK) return 1;
  if (first === OPEN_BRACKET) return matchBrackets(pattern, at, end, byte, ignoreCase);
  // A backslash at the very end stands for itself.
  const length = first === BACKSLASH && at + 1 < end ? 2 : 1;
  return isSame(pattern[at + length - 1] as number, byte, ignoreCase) ? length : 0;
}

/** As `matchOne`, for a part that begins with `[`. */
function matchBrackets(pattern: Uint8Array, start: number, end: number, byte: number, ignoreCase: boolean): number {
  let at = start + 1;
  const isNegated = at < end && pattern[at] === CARET;
  if (isNegated) at++;
  let fits = false;
  while (at < end) {
    const member = pattern[at] as number;
    if (member === BACKSLASH && at + 1 < end) {
      if (pattern[at + 1] === byte) fits = true;
      at += 2;
    } else if (member === CLOSE_BRACKET) {
      at++;
      break;
    } else if (at + 2 < end && pattern[at + 1] === DASH) {
      if (isBetween(member, pattern[at + 2] as number, byte, ignoreCase)) fits = true;
      at += 3;
    } else {
      if (isSame(member, byte, ignoreCase)) fits = true;
      at++;
    }
  }
  return fits === isNegated ? 0 : at - start;
}

/** A range may be written in either order. It is put in order before cases are made equal, so `[a-Z]` is `[Z-a]`, then `[z-a]`: nothing. */
function isBetween(one: number, other: number, byte: number, ignoreCase: boolean): boolean {
  // Bytes from 128 on are negative numbers here, as C's `char` is on most machines: they come before the letters.
  let low = Math.min((one << 24) >> 24, (other << 24) >> 24);
  let high = Math.max((one << 24) >> 24, (other << 24) >> 24);
  let value = (byte << 24) >> 24;
  if (ignoreCase) {
    low = toLower(low);
    high = toLower(high);
    value = toLower(value);
  }
  return value >= low && value <= high;
}

function isSame(one: number, other: number, ignoreCase: boolean): boolean {
  return one === other || (ignoreCase && toLower(one) === toLower(other));
}

/** Lowers A to Z; other bytes stay, since no locale is asked. */
function toLower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}
