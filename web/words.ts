/** Numbers and times, for people. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** Such as `1.5 MiB`. */
export function bytesInWords(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit] ?? ""}`;
}

/** Such as `12,345`, or `1.2 M`. */
export function countInWords(count: number): string {
  if (count >= 10_000_000) return `${(count / 1_000_000).toFixed(1)} M`;
  return Math.round(count).toLocaleString("en");
}

/** How long something takes, such as `350 ms`, `12 s` or `3 min`. */
export function durationInWords(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 120) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = seconds / 60;
  return minutes < 120 ? `${Math.round(minutes)} min` : `${Math.round(minutes / 60)} h`;
}

/** The time of day, and the day where it is another one. */
export function momentInWords(milliseconds: number, nowMs: number): string {
  const [moment, now] = [new Date(milliseconds), new Date(nowMs)];
  const time = moment.toLocaleTimeString("en-GB");
  return moment.toDateString() === now.toDateString() ? time : `${moment.toISOString().slice(0, 10)} ${time}`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${countInWords(count)} ${count === 1 ? one : many}`;
}

export interface Range {
  readonly start: number;
  readonly end: number;
}

/** Such as `0-99 120`; of many the first ones. */
export function rangesInWords(ranges: readonly Range[], most = 4): string {
  const shown = ranges.slice(0, most).map(({ start, end }) => (start === end ? String(start) : `${start}-${end}`));
  return ranges.length > most ? `${shown.join(" ")} and ${ranges.length - most} more` : shown.join(" ");
}

/**
 * Reads slots as people write them, such as `0-99, 120`.
 *
 * @returns Why it is none, in words, if so.
 */
export function readRanges(text: string): readonly Range[] | string {
  const ranges: Range[] = [];
  for (const part of text.split(/[\s,]+/).filter((each) => each !== "")) {
    const [, first, last] = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(part) ?? [];
    if (first === undefined) return `"${part}" is no slot and no range of slots, such as 0-99`;
    const [start, end] = [Number(first), Number(last ?? first)];
    if (end > 16_383) return `${end} is more than 16383, the last slot`;
    if (start > end) return `${part} ends before it begins`;
    ranges.push({ start, end });
  }
  return ranges.length === 0 ? "no slot is named" : ranges;
}

export function countOf(ranges: readonly Range[]): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start + 1, 0);
}
