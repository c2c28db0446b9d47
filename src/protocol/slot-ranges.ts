/**
 * Ranges of slots: reading, writing, putting in order, dividing.
 */
import { assert } from "../assert.ts";
import { SLOT_COUNT } from "../codec/slot.ts";
import type { SlotRange } from "../contracts/topology.ts";

/**
 * Reads a slot range.
 *
 * @param text `5` or `0-5460`.
 * @returns The range, or `undefined` if it is none.
 */
export function parseSlotRange(text: string): SlotRange | undefined {
  const match = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(text.trim());
  if (match === null) return undefined;
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  return first <= last && last < SLOT_COUNT ? { first, last } : undefined;
}

/** `5` or `0-5460`, as `CLUSTER NODES` shows it. */
export function formatSlotRange({ first, last }: SlotRange): string {
  return first === last ? String(first) : `${first}-${last}`;
}

/**
 * Puts ranges in order and joins those that touch, so that the same slots always read the same: redis-cli compares them as text.
 */
export function canonicalRanges(ranges: readonly SlotRange[]): readonly SlotRange[] {
  const joined: { first: number; last: number }[] = [];
  for (const { first, last } of ranges.toSorted((a, b) => a.first - b.first)) {
    const previous = joined.at(-1);
    if (previous !== undefined && first <= previous.last + 1) previous.last = Math.max(previous.last, last);
    else joined.push({ first, last });
  }
  return joined;
}

/**
 * Finds a slot that is in two ranges. Each slot is looked at once, however many ranges there are.
 *
 * @param ranges In any order, each with `first` not above `last`.
 * @returns The place of the first range that has a slot of those before it, and the lowest of these slots.
 */
export function findRepeatedSlot(
  ranges: Iterable<SlotRange>,
): { readonly index: number; readonly slot: number } | undefined {
  const isNamed = new Uint8Array(SLOT_COUNT);
  let index = 0;
  for (const { first, last } of ranges) {
    for (let slot = first; slot <= last; slot += 1) {
      if (isNamed[slot] === 1) return { index, slot };
      isNamed[slot] = 1;
    }
    index += 1;
  }
  return undefined;
}

/**
 * Divides all slots evenly, the first shards getting one more where it does not come out even (as `redis-cli --cluster create` does).
 *
 * @param count Shards, 1 to 16384.
 * @returns One range each, in order.
 */
export function divideSlots(count: number): readonly SlotRange[] {
  assert(count >= 1 && count <= SLOT_COUNT, "slots are divided among 1 to 16384 shards");
  const ranges: SlotRange[] = [];
  let first = 0;
  for (let index = 0; index < count; index += 1) {
    const last = index === count - 1 ? SLOT_COUNT - 1 : Math.round(((index + 1) * SLOT_COUNT) / count) - 1;
    ranges.push({ first, last });
    first = last + 1;
  }
  return ranges;
}

/** What of `ranges` lies in `others`. Both canonical. */
export function intersectRanges(ranges: readonly SlotRange[], others: readonly SlotRange[]): readonly SlotRange[] {
  const common: SlotRange[] = [];
  for (const { first, last } of ranges) {
    for (const other of others) {
      const from = Math.max(first, other.first);
      const to = Math.min(last, other.last);
      if (from <= to) common.push({ first: from, last: to });
    }
  }
  return common;
}

/** Whether all of `others` lies in `ranges`, which are canonical. */
export function coversRanges(ranges: readonly SlotRange[], others: readonly SlotRange[]): boolean {
  return others.every(({ first, last }) => {
    // The last range that begins no later.
    let low = 0;
    let high = ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((ranges[middle]?.first ?? 0) <= first) low = middle + 1;
      else high = middle;
    }
    return last <= (ranges[low - 1]?.last ?? -1);
  });
}

/** What of `ranges` does not lie in `others`. */
export function subtractRanges(ranges: readonly SlotRange[], others: readonly SlotRange[]): readonly SlotRange[] {
  let rest = ranges;
  for (const other of others) {
    const left: SlotRange[] = [];
    for (const range of rest) {
      const isApart = other.last < range.first || other.first > range.last;
      if (isApart) left.push(range);
      else {
        if (range.first < other.first) left.push({ first: range.first, last: other.first - 1 });
        if (range.last > other.last) left.push({ first: other.last + 1, last: range.last });
      }
    }
    rest = left;
  }
  return rest;
}
