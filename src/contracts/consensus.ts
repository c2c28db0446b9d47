/** Consensus: a log that a majority of the cluster's voters agrees on, and the state that follows from it. Provided by the plugin `raft`. */
import type { LatencyCounts } from "../latency-counts.ts";
import { service } from "../service.ts";
import type { BusAddress } from "./bus.ts";

/** What became of a request. */
export type RequestOutcome<Outcome = unknown> =
  /** It was decided, committed, and applied on this node. */
  | { readonly type: "done"; readonly index: number; readonly outcome: Outcome }
  /** The leader decided against it. Nothing has happened. */
  | { readonly type: "rejected"; readonly reason: string }
  /** Nobody decided. Nothing has happened. */
  | { readonly type: "refused"; readonly reason: string }
  /** It was on its way when word was lost: it may have happened, or may yet. Asked again with the same id it happens once. */
  | { readonly type: "unknown"; readonly reason: string };

/** What the leader makes of a request. */
export type Decision =
  /** It happens, as this record. */
  | { readonly type: "record"; readonly record: Uint8Array }
  /** A request of this id is in the log already. */
  | { readonly type: "settled" }
  /** It does not happen. `record` says so in the log, for where that must be remembered. */
  | { readonly type: "rejected"; readonly reason: string; readonly record: Uint8Array };

/** What a record did when it was applied. */
export interface Applied {
  /** The id of the request that it came from. */
  readonly requestId: string;
  readonly outcome: unknown;
  /** It only says that the request was decided against, and why. */
  readonly rejection: string | undefined;
}

/** What is replicated. Every method is called by the provider of `consensus`. */
export interface ReplicatedState {
  /** The state at the founding of a group: the same on every founder. @param founders In the same order on each; their cards are ones. */
  founding(founders: readonly Founder[]): Uint8Array;
  /** Whether what another node says of itself makes sense. */
  isCard(nodeId: string, card: string): boolean;
  /** Whether a node may be in the group: whoever is no member of the state is taken out. */
  standingOf(nodeId: string): NodeStanding;
  /**
   * Leader: a node that is unknown to the state asks to be taken in.
   *
   * @param card As in `Founder`, of a node that may say anything.
   * @returns Why it is not, or `undefined` once it is a member.
   */
  introduce(nodeId: string, card: string): Promise<string | undefined>;
  /** This node, as it is reached once it listens. */
  self(): Founder;
  /** What the state says of a node: its present start, and where other nodes reach it. `undefined`: it does not have that node. */
  member(nodeId: string): { readonly start: string; readonly address: BusAddress } | undefined;
  /** Where else the node is reached that is at an address. */
  otherPlaces(address: BusAddress): readonly BusAddress[];
  /** This node leads from here on, and has applied everything that it has; or it does not any more. */
  lead(isLeading: boolean): void;
  /** Leader: decides, on the state that the whole of its log gives. Changes nothing. */
  decide(requestId: string, request: Uint8Array): Decision;
  /** Leader: a record of `decide` is in its log, at this index. */
  accepted(index: number, record: Uint8Array): void;
  /** A committed record. Never fails, decides nothing. */
  apply(index: number, record: Uint8Array): Applied;
  /** The state as bytes. */
  snapshot(): Uint8Array;
  /** What a request did, if it was applied not long ago. */
  outcomeOf(requestId: string): Applied | undefined;
  /** The group has taken this node out. The log may not have told it so, and will not any more: `ConsensusStatus.isOut`. */
  takenOut(): void;
  /** Replaces the state. */
  restore(snapshot: Uint8Array): void;
}

/** A node that founds a group. */
export interface Founder {
  readonly nodeId: string;
  readonly address: BusAddress;
  readonly zone: string;
  /** It votes and holds no data. */
  readonly isWitness: boolean;
  /** What the replicated state knows the node by: its own form, the same on every node. */
  readonly card: string;
}

/** How a node without a group comes to belong to one. */
export type FormationPlan =
  /** It is founded by these nodes, the same list on each of them; this node is one of them, or the only one. */
  | { readonly type: "list"; readonly founders: readonly Founder[] }
  /** This node looks for a group at these addresses, and founds one with whoever it finds when they are as many as are expected. */
  | {
      readonly type: "seeds";
      readonly seeds: readonly BusAddress[];
      /** How many nodes found a group, this one among them; 0: this one founds none. */
      readonly expect: number;
      /** What all of them must have been told alike. */
      readonly terms: string;
    };

/** How the replicated state stands to a node. */
export type NodeStanding = "member" | "unknown" | "removed";

/** A member of the group, as this node knows it. */
export interface ConsensusMember {
  readonly nodeId: string;
  /** Its identity in Raft: a node that lost its log comes back under another. */
  readonly peer: string;
  readonly isVoter: boolean;
  readonly address: BusAddress;
}

export interface ConsensusStatus {
  /** Hexadecimal digits; empty while no group is known. */
  readonly group: string;
  readonly peer: string;
  readonly role: "follower" | "pre-candidate" | "candidate" | "leader" | "forming";
  readonly term: number;
  /** The leader's node id, if one is known. */
  readonly leader: string | undefined;
  /** It leads, or has heard the leader within the least time after which a voter stands for election. One that does not vote goes on naming a leader that is gone. */
  readonly hearsLeader: boolean;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly lastIndex: number;
  readonly snapshotIndex: number;
  readonly members: readonly ConsensusMember[];
  /** The group has taken this node out. */
  readonly isOut: boolean;
  /** In words: what it waits for, if it does not take part yet, or no more. */
  readonly waitingFor: string | undefined;
}

/** What a leader must know of the one before it. */
export interface Leadership {
  readonly term: number;
  /** Monotonic time of this node's clock at which it became leader, in milliseconds. */
  readonly sinceMs: number;
  /**
   * How long before `sinceMs` any voter that made it leader, itself included, had last heard another leader (or led itself), in milliseconds and at most:
   * what a leader before it has granted may be as young. 0 where one of them cannot tell, having restarted. `undefined`: none of them ever has, so nobody
   * led this group before.
   */
  readonly predecessorHeardAgoMs: number | undefined;
  /**
   * When the last round of heartbeats began that a majority of the voters has answered, by this node's monotonic clock: at that moment nobody else led. What
   * rests on this node's leading may be granted from that moment on. `undefined`: no round has been answered yet.
   */
  readonly confirmedAtMs: number | undefined;
}

/** What was counted since the node started. */
export interface ConsensusCounts {
  /** Elections that this node has stood in, and those that it has won. */
  readonly elections: number;
  readonly electionsWon: number;
  /** How often it came to know of another leader, itself included. */
  readonly leaderChanges: number;
  /** What became of the changes that it asked for. */
  readonly requests: Readonly<Record<RequestOutcome["type"], number>>;
  /** How long those took that were done: from when they were asked for until they were applied here. */
  readonly requestLatency: LatencyCounts;
}

export interface Consensus {
  readonly status: ConsensusStatus;
  readonly counts: ConsensusCounts;
  /** While this node leads; it may not have applied all that is committed yet. */
  readonly leadership: Leadership | undefined;
  /** Calls soon after this node has begun to lead, each time. */
  onLead(callback: () => void): void;
  /**
   * Says what is replicated, and how this node comes to a group if it has none. Once, while plugins are set up.
   */
  attach(state: ReplicatedState, plan: FormationPlan): void;
  /**
   * Asks for a change. Goes to the leader, wherever it is, and is asked again until it is settled or the time is over.
   *
   * @param id Never used for another request by anybody: see `nextRequestId`.
   * @param isShared Others may ask the same, or this node did before: a rejection is remembered, too.
   */
  request(id: string, request: Uint8Array, isShared?: boolean): Promise<RequestOutcome>;
  /** A node that belongs to no group looks for one at these addresses, too. */
  lookAt(addresses: readonly BusAddress[]): void;
  /**
   * This node has been without news for a while, and that one has more of the log than it: the leader may not reach this one. It is asked for what is
   * committed, whether it leads or not, unless somebody is being asked already. Nothing is promised: call it again while it is so.
   */
  catchUp(nodeId: string): void;
  /** How long the leader's node has heard nothing of a node, in milliseconds; 0 where it is not known. */
  silentMs(nodeId: string): number;
  /** An id for a request. */
  nextRequestId(): string;
  /**
   * Waits until this node has applied everything that was committed when it was asked.
   *
   * @returns False if that could not be had in time.
   */
  barrier(deadlineMs?: number): Promise<boolean>;
  /**
   * Leaves the group, which the state must not admit this node to any more, or of which it must be all. The group is left able to go on: it is first made to
   * count on this node no more. From then on this node belongs to none, until `foundAlone`.
   *
   * @returns Why the group has not let it go in time; then nothing has changed. `undefined` if it has.
   */
  leave(): Promise<string | undefined>;
  /** Founds a group of this node, which belongs to none. @param founding The state that it begins with. */
  foundAlone(founding: Uint8Array): Promise<void>;
  /**
   * Leaves the group, if this node belongs to one, which is of it alone or has taken it out; and joins another, which knows it already.
   *
   * @param members Where some of its members are.
   * @param note Notes for good that this node has moved: called when nothing can keep it from that any more, and before anything of the old group goes. A node that
   *   stops before that is in the old group; after it, on its way to the new one.
   * @returns Why it could not be done at this moment; then nothing has changed. `undefined` if it was: the state is restored once the group has sent it.
   */
  moveTo(group: string, members: readonly BusAddress[], note: () => Promise<void>): Promise<string | undefined>;
}

export const consensusService = service<Consensus>("consensus");
