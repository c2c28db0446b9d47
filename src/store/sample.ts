/**
 * Drawing a key at random, each as likely as any other, from tables of very different sizes.
 *
 * First the slot: a number below the count of all keys is drawn, and the groups of slots, then the slots of a group, are counted off until it is reached. Then the key: places
 * of the slot's table are drawn until one is taken. At least four in ten are, so that this ends soon; only when few keys of a slot have an
 * expiry and one of those is wanted, the draws may fail, and the table is counted off as well.
 */
import { GROUP_SLOTS, type SlotTables, isVolatileWord } from "./slot-table.ts";

/** Draws before counting. By then a search for one in ten has failed once in a thousand times. */
const DRAW_LIMIT = 64;
/** Entries that are counted off for an exact choice (some microseconds). In a larger table the next one from a random place on is taken. */
const COUNT_LIMIT = 4096;

/**
 * Draws a record.
 *
 * @param random Gives a whole number from 0 to `bound - 1`.
 * @param volatileOnly Whether only those with an expiry count.
 * @returns Its handle, or 0 if there is none.
 */
export function sample(tables: SlotTables, random: (bound: number) => number, volatileOnly: boolean): number {
  const total = volatileOnly ? tables.volatileCount : tables.count;
  if (total === 0) return 0;
  const groupCounts = volatileOnly ? tables.groupVolatileCounts : tables.groupCounts;
  const counts = volatileOnly ? tables.volatileCounts : tables.counts;
  const countOf = (slot: number): number => (tables.hidden[slot] === 1 ? 0 : (counts[slot] as number));
  let rest = random(total);
  let group = 0;
  for (; rest >= (groupCounts[group] as number); group++) rest -= groupCounts[group] as number;
  let slot = group * GROUP_SLOTS;
  for (; rest >= countOf(slot); slot++) rest -= countOf(slot);

  const ints = tables.ints(slot);
  const first = tables.first(slot);
  const entries = tables.entries(slot);
  for (let draw = 0; draw < DRAW_LIMIT; draw++) {
    const at = first + 2 * random(entries);
    if (isCandidate(ints[at] as number, volatileOnly)) return ints[at + 1] as number;
  }
  // `rest` is below the slot's count, evenly: what is left of the first draw chooses.
  let at = first;
  if (entries > COUNT_LIMIT) {
    rest = 0;
    at = first + 2 * random(entries);
  }
  const end = first + 2 * entries;
  for (; ; at = at + 2 === end ? first : at + 2) {
    if (!isCandidate(ints[at] as number, volatileOnly)) continue;
    if (rest === 0) return ints[at + 1] as number;
    rest--;
  }
}

/** Whether an entry is one of those that are drawn from. */
function isCandidate(word: number, volatileOnly: boolean): boolean {
  return word !== 0 && (!volatileOnly || isVolatileWord(word));
}
