/**
 * Which of two claims about a start of a node counts: the one with the higher refutation number, which only the member itself can have given; of two with the
 * same number the worse one, since its state can only have got worse without its word. That is a total order, so whoever has heard the same claims holds
 * the same, in whatever order and how often they came.
 *
 * Beyond SWIM's paper, where down is for good, a higher refutation number brings back members that are down or have left: after a partition both halves
 * hold each other for down and none of them is.
 */
import type { Claim, MemberState, NodeId } from "./types.ts";

const RANKS = { alive: 0, suspect: 1, down: 2, left: 3 } as const satisfies Readonly<Record<MemberState, number>>;

type Held = Pick<Claim, "refutation" | "state">;

/** Whether a claim says more than what is held of the same start. */
export function isLater(claim: Held, held: Held): boolean {
  if (claim.refutation !== held.refutation) return claim.refutation > held.refutation;
  return RANKS[claim.state] > RANKS[held.state];
}

/** A number of 32 bits for what is held of a member: those of all members, put together by XOR, are the digest of a table. */
export function hashOf(id: NodeId, start: number, held: Held): number {
  let hash = Number.parseInt(id.slice(0, 8), 16) | 0;
  for (const value of [Number.parseInt(id.slice(8, 16), 16), start, held.refutation * 4 + RANKS[held.state]]) {
    hash = Math.imul(hash ^ (value >>> 0) ^ Math.floor(value / 4_294_967_296), 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  return hash >>> 0;
}
