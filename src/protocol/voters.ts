/**
 * Who votes: the leader's standing question which member's vote should change next. Pure.
 *
 * Wanted: an odd number of voters, at most so many, on members that answer, spread over zones. One change at a time, since Raft makes no more.
 */
import type { ConfigurationChange, Member, PeerId } from "./raft/types.ts";

/** What the leader knows of a member. */
export interface VoterCandidate {
  readonly member: Member;
  readonly nodeId: string;
  /** How long it has not answered, in milliseconds; 0 for the leader itself. */
  readonly silentMs: number;
  /** It has nearly all of the log. */
  readonly isCaughtUp: boolean;
}

export interface VoterPolicy {
  /** Odd. */
  readonly maxVoters: number;
  /** A voter that has been silent for so long is replaced, if somebody else can vote. */
  readonly replaceAfterMs: number;
}

/**
 * The next change, in this order of need:
 * 1. a member whose node has come back under another identity will never answer again: it goes;
 * 2. too few voters: the best learner gets a vote;
 * 3. too many: the worst voter loses its vote;
 * 4. a voter is away for long, and a learner is there: the learner gets a vote, and by 3 the other one loses it.
 *
 * @param leader Keeps its vote: it would have to hand over first.
 */
export function nextVoterChange(
  candidates: readonly VoterCandidate[],
  leader: PeerId,
  policy: VoterPolicy,
): ConfigurationChange | undefined {
  const superseded = candidates.find(
    ({ member, nodeId }, at) =>
      member.id !== leader && candidates.some((other, later) => later > at && other.nodeId === nodeId),
  );
  if (superseded !== undefined) return { type: "remove", id: superseded.member.id };

  const isAway = ({ silentMs }: VoterCandidate): boolean => silentMs >= policy.replaceAfterMs;
  const voters = candidates.filter(({ member }) => member.isVoter);
  const ready = candidates.filter((each) => !each.member.isVoter && each.isCaughtUp && !isAway(each));
  // An even number of voters is no safer than one less, and stops sooner.
  const possible = voters.length + ready.length;
  const wanted = Math.min(policy.maxVoters, possible % 2 === 0 ? possible - 1 : possible);
  const away = voters.filter(isAway);
  const votersIn = (zone: string): number => voters.filter(({ member }) => member.zone === zone).length;
  const [best] = ready.toSorted(
    (a, b) => votersIn(a.member.zone) - votersIn(b.member.zone) || (a.member.id < b.member.id ? -1 : 1),
  );
  if (best !== undefined && (voters.length < wanted || (away.length > 0 && voters.length <= wanted))) {
    return { type: "promote", id: best.member.id };
  }
  if (voters.length > wanted) {
    const [worst] = voters
      .filter(({ member }) => member.id !== leader)
      .toSorted(
        (a, b) =>
          Number(isAway(b)) - Number(isAway(a)) ||
          votersIn(b.member.zone) - votersIn(a.member.zone) ||
          (a.member.id < b.member.id ? 1 : -1),
      );
    if (worst !== undefined) return { type: "demote", id: worst.member.id };
  }
  return undefined;
}

/** How many of `count` founders vote: the largest odd number that is at most `maxVoters`. */
export function foundingVoters(count: number, maxVoters: number): number {
  return Math.min(maxVoters, count % 2 === 0 ? count - 1 : count);
}
