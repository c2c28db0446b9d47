/** Consensus: a log that a majority of the cluster's voters agrees on, and the state that follows from it. Provided by the plugin `raft`. */
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
  /** The state at the founding of a group: the same on every founder. */
  readonly founding: Uint8Array;
  /** Whether a node may be in the group: those that may not are taken out. */
  admits(nodeId: string): boolean;
  /** What the state says of a node: its present start, and where other nodes reach it. `undefined`: it does not have that node. */
  member(nodeId: string): { readonly start: string; readonly address: BusAddress } | undefined;
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
  /** Replaces the state. */
  restore(index: number, snapshot: Uint8Array): void;
}

/** A node that founds a group. */
export interface Founder {
  readonly nodeId: string;
  readonly address: BusAddress;
  readonly zone: string;
  /** It votes and holds no data. */
  readonly isWitness: boolean;
}

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
  readonly commitIndex: number;
  readonly lastIndex: number;
  readonly snapshotIndex: number;
  readonly members: readonly ConsensusMember[];
  /** The group has taken this node out. */
  readonly isOut: boolean;
  /** In words: what it waits for, if it does not take part yet, or no more. */
  readonly waitingFor: string | undefined;
}

export interface Consensus {
  readonly status: ConsensusStatus;
  /**
   * Says what is replicated, and who founds the group if there is none. Once, while plugins are set up.
   *
   * @param founders The same list on each of them; this node among them.
   */
  attach(state: ReplicatedState, founders: readonly Founder[]): void;
  /**
   * Asks for a change. Goes to the leader, wherever it is, and is asked again until it is settled or the time is over.
   *
   * @param id Never used for another request by anybody: see `nextRequestId`.
   */
  request(id: string, request: Uint8Array, deadlineMs?: number): Promise<RequestOutcome>;
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
  foundAlone(founder: Founder, founding: Uint8Array): Promise<void>;
}

export const consensusService = service<Consensus>("consensus");
