/** Which entries of a shard's log are committed: arithmetic over what its members have said that they hold. Pure. */

/** What counts for a primary. */
export interface CommitInputs {
  /** The primary's own id. It holds all entries. */
  readonly self: string;
  /** The number of the newest entry. */
  readonly last: number;
  /** The in-sync set of the map. */
  readonly inSync: readonly string[];
  /** Who counts besides: members that a change in flight adds, or that are to be added as soon as they have what others have. */
  readonly joining: readonly string[];
  /** In-sync members that there must be. */
  readonly minimum: number;
  /** The newest entry that a member has said to hold; `undefined`: none in this epoch. */
  readonly acknowledged: (member: string) => number | undefined;
}

/**
 * The newest entry that is committed: every member of the in-sync set holds it, while that set has its minimum. While a change of the set is in flight both
 * sets count: nobody knows yet which of them decides who may be the next primary.
 *
 * @returns 0 if none is known to be. An entry that was committed once stays so: the caller takes the larger number.
 */
export function committedOf({ self, last, inSync, joining, minimum, acknowledged }: CommitInputs): number {
  if (inSync.length < minimum) return 0;
  let committed = last;
  for (const members of [inSync, joining]) {
    for (const member of members) {
      if (member !== self) committed = Math.min(committed, acknowledged(member) ?? 0);
    }
  }
  return committed;
}
