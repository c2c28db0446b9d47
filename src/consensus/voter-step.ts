/** What a leader does next so that the right members vote. Pure: it is told what is known, and gives the machine's next input. */
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

type VoterInput = Extract<Input, { readonly type: "change" | "transfer" }>;

/**
 * The next step, in this order:
 * 1. a member that the state does not admit goes;
 * 2. a leader that it does not admit hands over: whoever leads next takes it out. Where nobody else votes, somebody is given a vote first;
 * 3. what `nextVoterChange` wants.
 */
export function voterStep(raft: Raft, view: VoterView, policy: VoterPolicy): VoterInput | undefined {
  const { leadership } = raft;
  if (leadership === undefined) return undefined;
  const { peer, nodeOf } = view;
  const { members } = raft.configuration;
  const change = (what: Extract<VoterInput, { readonly type: "change" }>["change"]): VoterInput => ({
    type: "change",
    id: 0,
    change: what,
  });
  const unwanted = members.find(({ id }) => id !== peer && !view.admits(nodeOf(id)));
  if (unwanted !== undefined) return change({ type: "remove", id: unwanted.id });
  if (!view.admits(nodeOf(peer))) {
    const heir = raft.voters.find((id) => id !== peer);
    if (heir !== undefined) return { type: "transfer", target: heir };
    const learner = members.find(({ id }) => id !== peer && leadership.isCaughtUp(id));
    return learner === undefined ? undefined : change({ type: "promote", id: learner.id });
  }
  const candidates = members.map((member): VoterCandidate => ({
    member,
    nodeId: nodeOf(member.id),
    silentMs: member.id === peer ? 0 : view.silentMs(member.id),
    isCaughtUp: leadership.isCaughtUp(member.id),
  }));
  const next = nextVoterChange(candidates, peer, policy);
  return next === undefined ? undefined : change(next);
}
