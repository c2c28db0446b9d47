/**
 * Which slots of a shard to move, when so much of what is to be even must go: in few ranges, and with few bytes.
 */
import type { SlotRange } from "../../contracts/topology.ts";

/** Slots that may be chosen, and what they are worth. */
export interface Choice {
  /** Ranges that lie together in the source: apart from each other, ascending. */
  readonly runs: readonly SlotRange[];
  /** What is to be even, by slot. Never negative. */
  readonly amount: ArrayLike<number>;
  readonly bytes: ArrayLike<number>;
  /** Whether a slot is the target's already: next to it no new range comes to be. */
  isTargets(slot: number): boolean;
}

/** A range that was looked at. */
interface Stretch extends SlotRange {
  readonly sum: number;
  /** Its bytes, and a little more where it would leave more ranges behind than there were: a tenth for a hole in the source's range, a fiftieth in the target. */
  readonly cost: number;
  readonly holes: number;
}

const HOLE_COST = 0.1;
const APART_COST = 0.02;

/**
 * Chooses slots that are worth `least` together, or a little more, but never more than `most`. If there are none, as much as there is below.
 *
 * @returns Ranges, apart from each other; none if each slot is worth more than `most`.
 */
export function pickSlots(choice: Choice, least: number, most: number): readonly SlotRange[] {
  const picked: SlotRange[] = [];
  let { runs } = choice;
  let sum = 0;
  while (sum < least) {
    const left = { ...choice, runs };
    const stretch = cheapestStretch(left, least - sum, most - sum) ?? largestStretch(left, most - sum);
    if (stretch === undefined) break;
    picked.push({ first: stretch.first, last: stretch.last });
    sum += stretch.sum;
    runs = runs.flatMap((run) => cut(run, stretch));
  }
  return picked;
}

/** What is left of a run without a stretch in it. */
function cut(run: SlotRange, stretch: SlotRange): readonly SlotRange[] {
  if (stretch.last < run.first || stretch.first > run.last) return [run];
  return [
    { first: run.first, last: stretch.first - 1 },
    { first: stretch.last + 1, last: run.last },
  ].filter(({ first, last }) => first <= last);
}

/** Of all ranges that are worth so much, and would not be without their first or their last slot, the one with the lowest cost. */
function cheapestStretch(choice: Choice, least: number, most: number): Stretch | undefined {
  const { runs, amount, bytes } = choice;
  let best: Stretch | undefined;
  for (const run of runs) {
    let first = run.first;
    let sum = 0;
    let weight = 0;
    for (let last = run.first; last <= run.last; last += 1) {
      sum += amount[last] ?? 0;
      weight += bytes[last] ?? 0;
      while (first < last && sum - (amount[first] ?? 0) >= least) {
        sum -= amount[first] ?? 0;
        weight -= bytes[first] ?? 0;
        first += 1;
      }
      if (sum < least || sum > most || (amount[last] ?? 0) === 0) continue;
      const stretch = stretchOf(choice, run, first, last, sum, weight);
      if (best === undefined || isCheaper(stretch, best)) best = stretch;
    }
  }
  return best;
}

/** Of all ranges that are worth no more than this, the one that is worth most. */
function largestStretch({ runs, amount }: Choice, most: number): (SlotRange & { readonly sum: number }) | undefined {
  let best: (SlotRange & { readonly sum: number }) | undefined;
  for (const run of runs) {
    let first = run.first;
    let sum = 0;
    for (let last = run.first; last <= run.last; last += 1) {
      sum += amount[last] ?? 0;
      while (first <= last && (sum > most || (amount[first] ?? 0) === 0)) {
        sum -= amount[first] ?? 0;
        first += 1;
      }
      // Emptied, it is exactly nothing: what floating-point sums leave over must not count as something.
      if (first > last) sum = 0;
      if (first <= last && sum > (best?.sum ?? 0)) best = { first, last, sum };
    }
  }
  return best;
}

function stretchOf(choice: Choice, run: SlotRange, first: number, last: number, sum: number, bytes: number): Stretch {
  const isHole = first > run.first && last < run.last;
  const isApart = !choice.isTargets(first - 1) && !choice.isTargets(last + 1);
  const cost = bytes * (1 + (isHole ? HOLE_COST : 0) + (isApart ? APART_COST : 0));
  return { first, last, sum, cost, holes: (isHole ? 2 : 0) + (isApart ? 1 : 0) };
}

function isCheaper(one: Stretch, other: Stretch): boolean {
  if (one.cost !== other.cost) return one.cost < other.cost;
  return one.holes < other.holes || (one.holes === other.holes && one.sum < other.sum);
}
