/**
 * What members of a cluster say to each other about each other, and what goes into and comes out of the machine that says it (`machine.ts`).
 *
 * A member is named by its node id and its *start* (its incarnation: the map version that admitted this start of the node; greater is later). Of one start
 * more is known by its *refutation number*, which it alone raises, to say "I am there after all".
 */
import type { MembershipOptions } from "./options.ts";

/** 40 hexadecimal digits. */
export type NodeId = string;

/** Alive: nothing speaks against it. Suspect: a probe of it failed. Down: nobody could disprove that in time. Left: it said that it goes. */
export type MemberState = "alive" | "suspect" | "down" | "left";

/** What somebody holds of a member. Of two claims the later one counts: see `isLater` in `claims.ts`. */
export interface Claim {
  readonly id: NodeId;
  readonly start: number;
  readonly refutation: number;
  readonly state: MemberState;
  /** Suspect: who says so. */
  readonly accuser: NodeId | undefined;
}

/** What every message tells of its sender. Who that is the bus has proved. */
export interface Sender {
  readonly start: number;
  readonly refutation: number;
  /** Of the cluster map that it has. */
  readonly mapVersion: number;
  /** How long its event loop stood still not long ago, at the worst, in whole milliseconds. */
  readonly lagMs: number;
  /** Of the last entry that its copy of its shard's log has; 0: it has none. For people and clients to look at: nothing is decided on it. */
  readonly offset: number;
}

interface Common {
  readonly sender: Sender;
  /** Gossip that travels along. */
  readonly claims: readonly Claim[];
}

/**
 * Messages that may vanish.
 *
 * - meet: "here I am": answered with a pong, and with an exchange.
 * - ping, pong: whether somebody answers.
 * - ping-req: "ask that one for me"; ping-req-pong: it has answered; ping-req-nack: it has not, so far, but I am here.
 * - gossip: nothing but what travels along.
 */
export type Datagram =
  | (Common & { readonly type: "meet" | "ping" | "pong"; readonly sequence: number })
  | (Common & {
      readonly type: "ping-req" | "ping-req-pong" | "ping-req-nack";
      readonly sequence: number;
      readonly target: NodeId;
    })
  | (Common & { readonly type: "gossip" });

/**
 * Messages over streams, by which two members come to hold the same.
 *
 * 1. One sends a digest of all that it holds.
 * 2. Who holds something else answers with a table, in pieces that each stand for themselves, and wants the other's.
 * 3. The first one answers the last piece with its own table.
 */
export type Exchange =
  | { readonly type: "digest"; readonly sender: Sender; readonly digest: number }
  | {
      readonly type: "table";
      readonly sender: Sender;
      readonly isAnswerWanted: boolean;
      readonly claims: readonly Claim[];
    };

export type Input =
  /** The moment that `wakeAtMs` named has come, or any other. */
  | { readonly type: "time" }
  | { readonly type: "datagram"; readonly from: NodeId; readonly message: Datagram }
  | { readonly type: "exchange"; readonly from: NodeId; readonly message: Exchange }
  /** The cluster map names this start of a node. Of this node too. */
  | { readonly type: "introduce"; readonly id: NodeId; readonly start: number }
  /** The cluster map names the node no more. */
  | { readonly type: "forget"; readonly id: NodeId }
  /** This node has this version of the cluster map. */
  | { readonly type: "map"; readonly version: number }
  /** A stream to the member broke, or could not be opened. */
  | { readonly type: "link-lost"; readonly id: NodeId }
  /** The longest stop of this node's event loop since it was told last. */
  | { readonly type: "lag"; readonly lagMs: number }
  | { readonly type: "offset"; readonly offset: number }
  /** This node goes on purpose. Nothing more comes out of the machine. */
  | { readonly type: "leave" };

export type Effect =
  | { readonly type: "send"; readonly to: NodeId; readonly message: Datagram }
  | { readonly type: "exchange"; readonly to: NodeId; readonly message: Exchange }
  /** What is held of a member has changed. */
  | {
      readonly type: "member";
      readonly id: NodeId;
      readonly start: number;
      readonly state: MemberState;
      readonly previous: MemberState;
      /** In words. */
      readonly reason: string;
    }
  /** Somebody has a newer cluster map than this node. Said again now and then for as long as that is so. */
  | { readonly type: "newer-map"; readonly version: number; readonly from: NodeId };

export interface MachineOptions {
  readonly id: NodeId;
  readonly start: number;
  readonly random: { below(bound: number): number };
  readonly options: MembershipOptions;
  /** Bytes that a datagram may have. */
  readonly maxDatagramBytes: number;
  readonly nowMs: number;
}

/** Inputs that changed nothing, and why. */
export interface Counters {
  /** Messages of senders that the cluster map does not name. */
  unknownSenders: number;
  /** Claims about nodes, or starts of nodes, that the cluster map does not name. */
  unknownClaims: number;
  /** Requests to ask another one that were too many at a time. */
  refusedRequests: number;
  probes: number;
  failedProbes: number;
  /** How often this node had to say that it is there after all. */
  refutations: number;
  sentDatagrams: number;
  receivedDatagrams: number;
}
