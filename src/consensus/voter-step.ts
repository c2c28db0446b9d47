/** What a leader does next so that the right members vote. Pure: it is told what is known, and gives the machine's next input. */
import { majorityOf } from "../protocol/raft/quorum.ts";
import type { Raft } from "../protocol/raft/machine.ts";
import type { Input, PeerId } from "../protocol/raft/types.ts";
import { type VoterCandidate, type VoterPolicy, nextVoterChange } from "../protocol/voters.ts";

/** What a leader knows beside its machine. */
export interface VoterView {
  /** Itself. */
  readonly peer: PeerId;
  readonly nodeOf: (id: PeerId) => string;
  /** Whether the replicated state wants a node in the group. */
  readonly admits: (nodeId: string) => boolean;
  /** How long a member has not been heard, in milliseconds. */
  readonly silentMs: (id: PeerId) => number;
}

/** Beside how many vote, how soon one that says nothing is missed. */
export interface VoterStepPolicy extends VoterPolicy {
  /** Who was not heard for so long is not counted on, in milliseconds. */
  readonly electionMs: number;
}

/** Heartbeats come several times in an election timeout. */
const MOMENTS = 3;

type VoterInput = Extract<Input, { readonly type: "change" | "transfer" }>;

/**
 * The next step, in this order:
 * 1. a member that the state does not admit goes. One that votes goes when most of the voters that are left answer: with one of three away the other two
 *    need each other, whether both are wanted or not;
 * 2. a leader that it does not admit hands over to one that may stay: whoever leads next takes it out. Where no such member votes, one is given a vote first;
 * 3. what `nextVoterChange` wants; a vote is taken away when most of the voters that are left answer.
 */
export function voterStep(raft: Raft, view: VoterView, policy: VoterStepPolicy): VoterInput | undefined {
  const { leadership } = raft;
  if (leadership === undefined) return undefined;
  const { peer, nodeOf } = view;
  const { members } = raft.configuration;
  const change = (what: Extract<VoterInput, { readonly type: "change" }>["change"]): VoterInput => ({
    type: "change",
    id: 0,
    change: what,
  });
  // That it was heard of late is not enough: who was never heard since this leader began is silent from the first question on.
  const answers = (id: PeerId, withinMs = policy.electionMs): boolean => {
    const wasHeard = Number.isFinite(leadership.progress.get(id)?.silentTicks);
    return id === peer || (wasHeard && view.silentMs(id) < withinMs);
  };
  const canDoWithout = (id: PeerId): boolean => {
    const rest = raft.voters.filter((voter) => voter !== id);
    const needed = majorityOf(rest.length);
    // Where each of them is needed from then on, one that has just died would be missed for good: it must have been heard a moment ago.
    const withinMs = needed === rest.length ? policy.electionMs / MOMENTS : policy.electionMs;
    return rest.length === raft.voters.length || rest.filter((voter) => answers(voter, withinMs)).length >= needed;
  };
  const unwanted = members.find(({ id }) => id !== peer && !view.admits(nodeOf(id)) && canDoWithout(id));
  if (unwanted !== undefined) return change({ type: "remove", id: unwanted.id });
  if (!view.admits(nodeOf(peer))) {
    const heirs = members.filter(({ id }) => id !== peer && view.admits(nodeOf(id)) && leadership.isCaughtUp(id));
    const heir = heirs.find(({ isVoter }) => isVoter) ?? heirs[0];
    if (heir === undefined) return undefined;
    return heir.isVoter ? { type: "transfer", target: heir.id } : change({ type: "promote", id: heir.id });
  }
  const candidates = members.map((member): VoterCandidate => ({
    member,
    nodeId: nodeOf(member.id),
    silentMs: member.id === peer ? 0 : view.silentMs(member.id),
    isAnswering: answers(member.id),
    isCaughtUp: leadership.isCaughtUp(member.id),
  }));
  const next = nextVoterChange(candidates, peer, policy);
  // The scenario: one of three is away, another one has just died, and the leader does not know it yet. With the change in its log it would need the dead one,
  // whoever comes back.
  if (next === undefined || (next.type === "demote" && !canDoWithout(next.id))) return undefined;
  return change(next);
}
