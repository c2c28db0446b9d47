/**
 * Who votes: the leader's standing question which member's vote should change next. Pure.
 *
 * Wanted: an odd number of voters, at most so many, on members that answer: witnesses first, which are there for that alone, and spread over zones. One change at
 * a time, since Raft makes no more.
 */
import type { ConfigurationChange, Member, PeerId } from "./raft/types.ts";

/** What the leader knows of a member. */
export interface VoterCandidate {
  readonly member: Member;
  readonly nodeId: string;
  /** How long it has not answered, in milliseconds; 0 for the leader itself. */
  readonly silentMs: number;
  /** It is counted on: it was heard within an election timeout. */
  readonly isAnswering: boolean;
  /** It has nearly all of the log, and has just been heard. */
  readonly isCaughtUp: boolean;
}

/** The fewest voters of which one may fail. */
const SMALLEST_SAFE = 3;

export interface VoterPolicy {
  /** An even number counts as one less. */
  readonly maxVoters: number;
  /** A voter that has been silent for so long is replaced, if somebody else can vote. */
  readonly replaceAfterMs: number;
}

/**
 * The next change, in this order of need:
 * 1. a member whose node has come back under another identity will never answer again: it goes;
 * 2. too few voters: the best learner gets a vote, if a second one can follow at once where that makes an even number;
 * 3. too many: the worst voter loses its vote;
 * 4. a voter is away for long, and a learner is ready: the voter loses its vote, and by 2 the learner gets one. Those that answer are then a majority by
 *    themselves while the learner begins to count: it may die at that very moment. The other way round it would be one of the three of four that are needed;
 * 5. a voter holds data and a witness is there that does not vote, or a voter stands where too many do and a better learner of its kind is there: the learner
 *    gets a vote, and by 3 the other one loses it. Only while all voters answer.
 *
 * How many are wanted counts those that answer: five voters of which two are away stop when the next one goes, and three that answer do not. But below
 * three nobody is taken out for being away: that would make nothing safer.
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
  const away = voters.filter(isAway);
  // They will be ready soon: nobody loses its vote because they are not yet.
  const coming = candidates.filter((each) => !each.member.isVoter && !each.isCaughtUp && !isAway(each));
  const learners = ready.length + coming.length;
  const answering = oddUpTo(voters.length - away.length + learners, policy.maxVoters);
  const wanted =
    answering < SMALLEST_SAFE && away.length > 0
      ? oddUpTo(voters.length + learners, Math.min(SMALLEST_SAFE, policy.maxVoters))
      : answering;
  const votersIn = (zone: string): number => voters.filter(({ member }) => member.zone === zone).length;
  const [best] = ready.toSorted(
    (a, b) =>
      Number(b.member.isWitness) - Number(a.member.isWitness) ||
      votersIn(a.member.zone) - votersIn(b.member.zone) ||
      (a.member.id < b.member.id ? -1 : 1),
  );
  const others = voters.filter(({ member }) => member.id !== leader);
  const isBetter = (one: Member, other: Member): boolean =>
    one.isWitness === other.isWitness
      ? // By two, so that the change is worth it and is not made back.
        votersIn(other.zone) >= votersIn(one.zone) + 2
      : one.isWitness;
  const gone = others.find(isAway);
  if (best !== undefined && gone !== undefined && voters.length === wanted)
    return { type: "demote", id: gone.member.id };
  // Until the other one has lost its vote one more has to agree than before, and the newcomer may be lost at that very moment.
  const isReplaced =
    best !== undefined &&
    voters.every((each) => each.isAnswering) &&
    others.some(({ member }) => isBetter(best.member, member));
  // An even number needs one more to agree than the odd one below it, and one of two stops when either goes: nobody makes that step before whoever makes
  // the next one is ready, too.
  const isComplete = voters.length % 2 === 0 || ready.length > 1;
  if (best !== undefined && ((voters.length < wanted && isComplete) || (isReplaced && voters.length === wanted))) {
    return { type: "promote", id: best.member.id };
  }
  if (voters.length > wanted) {
    const [worst] = others.toSorted(
      (a, b) =>
        Number(isAway(b)) - Number(isAway(a)) ||
        Number(a.member.isWitness) - Number(b.member.isWitness) ||
        votersIn(b.member.zone) - votersIn(a.member.zone) ||
        (a.member.id < b.member.id ? 1 : -1),
    );
    if (worst !== undefined) return { type: "demote", id: worst.member.id };
  }
  return undefined;
}

/** How many of `count` founders vote: the largest odd number that is at most `maxVoters`. */
export function foundingVoters(count: number, maxVoters: number): number {
  return oddUpTo(count, maxVoters);
}

/** An even number of voters is no safer than one less, and stops sooner. One is the least. */
function oddUpTo(count: number, most: number): number {
  const number = Math.min(count, most);
  return Math.max(1, number % 2 === 0 ? number - 1 : number);
}
