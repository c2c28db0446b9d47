/** Membership: which nodes of the cluster map are there, as this node sees it. Provided by the plugin `discovery`. */
import type { MemberState, NodeId } from "../protocol/membership/types.ts";
import { service } from "../service.ts";

/** What this node holds of a member. Times are of its own monotonic clock, in milliseconds. */
export interface MemberHealth {
  readonly nodeId: NodeId;
  /** The map version that admitted the start which all of this is about. */
  readonly incarnation: number;
  /** Alive: nothing speaks against it. Suspect: a probe of it failed. Down: nobody could disprove that in time. Left: it said that it goes. */
  readonly state: MemberState;
  /** Since when it is in that state, and why, in words. */
  readonly sinceMs: number;
  readonly reason: string;
  /** Suspect or down: who found that it does not answer, and when. Bounded: those that mattered. */
  readonly suspectedBy: readonly { readonly nodeId: NodeId; readonly sinceMs: number }[];
  /** When this node heard anything of it last. In large clusters that is not often: each talks to some others in a minute. */
  readonly heardAtMs: number | undefined;
  /** When the ping was sent that it has not answered yet. */
  readonly pingSentAtMs: number | undefined;
  readonly pongReceivedAtMs: number | undefined;
  /** Smoothed, in milliseconds. */
  readonly roundTripMs: number | undefined;
  /** How long its event loop stood still not long ago, at the worst, in milliseconds, as it said itself when it was heard last. */
  readonly lagMs: number;
  /** How far its copy of its shard's log had got when it was heard last; 0: it has none that is whole. */
  readonly offset: number;
  /** Of the cluster map that it had when it was heard last. */
  readonly mapVersion: number;
}

/** What the hook `memberChanged` tells. */
export interface MemberChange {
  readonly nodeId: NodeId;
  readonly incarnation: number;
  readonly state: MemberState;
  readonly previous: MemberState;
  /** In words. */
  readonly reason: string;
}

export interface MembershipStatus {
  /** This node takes part: the map has admitted its start. */
  readonly isTakingPart: boolean;
  /** How much this node doubts itself; 0: not at all. */
  readonly score: number;
  /** The newest version of the cluster map that any member is known to have. */
  readonly newestMapVersion: number;
  /** Messages, since this node takes part. */
  readonly sentMessages: number;
  readonly receivedMessages: number;
}

export interface MembershipService {
  readonly status: MembershipStatus;
  /** All members, this node among them; none while it does not take part. */
  members(): readonly MemberHealth[];
  /** One of them; `undefined` if nothing is known of it, such as of a node of the map that never started. */
  member(nodeId: NodeId): MemberHealth | undefined;
}

export const membershipService = service<MembershipService>("membership");
