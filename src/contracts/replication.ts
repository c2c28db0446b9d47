/** Replication: a shard's log, from its primary to its replicas. Provided by the plugin `replication`. */
import { service } from "../service.ts";
import type { NodeId } from "./topology.ts";

/** A place in a shard's log. Ordered by epoch, then sequence. */
export interface LogPosition {
  /** The primary epoch of the last entry. */
  readonly epoch: number;
  /** The last entry's number; 0 before the first. */
  readonly sequence: number;
}

/** What a node does for the shard that the map has it in. */
export type ReplicationRole =
  /** It writes the log. */
  | "primary"
  /** It follows the primary's log. */
  | "replica"
  /** None: it is in no shard, or its map does not say yet. */
  | "none";

/** A replica, as its primary sees it. */
export interface ReplicaHealth {
  readonly nodeId: NodeId;
  /** Absent: it has not asked for the log. Filling: it gets the slots' keys. Following: it gets the log. */
  readonly state: "absent" | "filling" | "following";
  readonly isInSync: boolean;
  /** What it has said that it holds. */
  readonly acknowledged: number;
  /** Entries that it lacks. */
  readonly lag: number;
  /** Monotonic milliseconds since it was heard; `undefined`: never. */
  readonly silentMs: number | undefined;
  /** While it is filled. */
  readonly fill: FillProgress | undefined;
}

/** How far the filling of a replica is. */
export interface FillProgress {
  readonly slotsDone: number;
  readonly slotsTotal: number;
  readonly keys: number;
  readonly bytes: number;
  /** Milliseconds until it is done, by how fast it went until now; `undefined` while that says nothing. */
  readonly etaMs: number | undefined;
}

export interface WaitForReplicas {
  /** How many have it, once they are as many as were wanted, or when the wait is over. */
  readonly reached: Promise<number>;
  /** Ends the wait: whoever asked is gone. */
  readonly end: () => void;
}

export interface Replication {
  readonly role: ReplicationRole;
  /** Where this node's copy of the log ends; `undefined` while it has none that is whole (a replica that is being filled, or was never). */
  readonly position: LogPosition | undefined;
  /**
   * A replica's log is of a later map than this node knows: what is not there may have gone to another shard, so nothing is read of it until it knows. False
   * for others.
   */
  readonly isAheadOfMap: boolean;
  /**
   * A replica's log may lack keys of slots that have come to its shard by the map that this node knows: nothing is read of it until they are here. False for
   * others.
   */
  readonly isBehindMap: boolean;
  /** Sequence up to which the log is known here to be committed. */
  readonly committed: number;
  /** Why a replica does not follow its primary at this moment, in words; `undefined` if it does, and for others. */
  readonly waitingFor: string | undefined;
  /** Memory that this node's copy of the log takes up. */
  readonly logBytes: number;
  /** A primary hands its shard over: it writes nothing that could be written by the next one. */
  readonly isHandingOver: boolean;
  /** Calls each time that begins. */
  onHandOver(callback: () => void): void;
  /** A primary has asked the map for other sets, and does not know yet what came of it. */
  readonly isChangingSets: boolean;
  /** A primary's replicas; nobody otherwise. */
  readonly replicas: readonly ReplicaHealth[];
  /** The newest entry of the log, one that is still being written included. */
  readonly last: number;
  /** How many replicas have an entry of the log. */
  acknowledgedBy(sequence: number): number;
  /**
   * Waits until so many replicas have everything that this node has done until now.
   *
   * @param limitMs 0: without an end.
   */
  whenAcknowledged(count: number, limitMs: number): WaitForReplicas;
  /** How many wait for replicas at this moment. */
  readonly waitingCount: number;
  /**
   * For a planned failover: a primary takes no more commands on keys (they are held, not refused), and waits until a replica has all of its log.
   *
   * @returns Whether it has, within the time. The hold goes on in any case: until `resume`, or until this node is not the primary any more.
   */
  handOver(to: NodeId, limitMs: number): Promise<boolean>;
  /** While `handOver` holds: whether commands that name keys are let go, since somebody has an answer for them. They do not reach the keys of this node. */
  letKeysGo(areFree: boolean): void;
  /** Lets go of all that `handOver` holds, since all of it is refused by now: nobody has taken over, and nobody knows when. This node hands over all the same. */
  letAllGo(): void;
  /** Ends the hold of `handOver`. */
  resume(): void;
  /**
   * A primary has a lease again, or has none. Without one it writes nothing that it could keep to itself: no key is removed since it has expired, it is only not
   * shown; and nothing is held until the log has room, since writes are refused.
   */
  setLeased(isLeased: boolean): void;
}

export const replicationService = service<Replication>("replication");
