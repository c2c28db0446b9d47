/**
 * The words of Raft: entries, configurations, messages, what goes into the machine and what comes out.
 *
 * Names follow the paper (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", extended version) and Ongaro's
 * dissertation, whose sections the machine's comments name.
 */

/** One voter or learner, as one identity of a node: a node that lost its log comes back under another one. Opaque here. */
export type PeerId = string;

/** A member of the group. */
export interface Member {
  readonly id: PeerId;
  /** Votes and counts for commitment. A learner only receives the log. */
  readonly isVoter: boolean;
  /** Where other members reach it. */
  readonly host: string;
  readonly port: number;
  /** Voters are spread over zones. */
  readonly zone: string;
  /** It votes and holds no data. */
  readonly isWitness: boolean;
}

/** Who belongs to the group. In force from the moment that its entry is in the log, committed or not (dissertation, section 4.1). */
export interface Configuration {
  /** In the order in which they joined. */
  readonly members: readonly Member[];
}

/** A place in the log. `configuration` is set in entries that change it, `data` in those of the application; the entry that opens a term has neither. */
export interface Entry {
  /** Counts from 1. */
  readonly index: number;
  readonly term: number;
  readonly data: Uint8Array | undefined;
  readonly configuration: Configuration | undefined;
}

/** The state of the application at an index, in place of the log up to there. */
export interface Snapshot {
  readonly index: number;
  readonly term: number;
  readonly configuration: Configuration;
  readonly data: Uint8Array;
}

/** What a member has got of a snapshot so far: which one it is, and how many of its bytes are there, from the start. */
export interface SnapshotPart {
  readonly index: number;
  readonly term: number;
  /** Of the whole (`snapshotDigest`). */
  readonly digest: string;
  readonly offset: number;
}

export type Role = "follower" | "pre-candidate" | "candidate" | "leader";

/** What members send to each other. `term` is the sender's, except in a pre-vote, which asks about the term that it would begin. */
export type Message =
  | {
      readonly type: "vote-request";
      readonly term: number;
      /** Only asks whether it would get the vote; nobody's state changes (dissertation, section 9.6). */
      readonly isPreVote: boolean;
      /** The leader told the candidate to stand: voters do not hold on to that leader. */
      readonly isTransfer: boolean;
      readonly lastIndex: number;
      readonly lastTerm: number;
    }
  | {
      readonly type: "vote-response";
      readonly term: number;
      readonly isPreVote: boolean;
      readonly isGranted: boolean;
      /**
       * Ticks since the voter last heard a leader, at most: a new leader must know how old the leases of the old one can be. 0 if the voter cannot tell,
       * having restarted. `undefined`: it never has, since the group began.
       */
      readonly leaderHeardTicksAgo: number | undefined;
    }
  | {
      readonly type: "append";
      readonly term: number;
      readonly previousIndex: number;
      readonly previousTerm: number;
      readonly commitIndex: number;
      readonly entries: readonly Entry[];
    }
  | {
      readonly type: "append-response";
      readonly term: number;
      readonly isRejected: boolean;
      /** Accepted: the log matches the leader's up to here. Rejected: the `previousIndex` that did not fit. */
      readonly index: number;
      /** Rejected: where the follower's log may still match, and its term there, so that whole terms are skipped. */
      readonly hintIndex: number;
      readonly hintTerm: number;
    }
  | { readonly type: "heartbeat"; readonly term: number; readonly commitIndex: number; readonly round: number }
  | { readonly type: "heartbeat-response"; readonly term: number; readonly round: number }
  | {
      /** A piece of a snapshot. */
      readonly type: "snapshot";
      readonly term: number;
      readonly snapshotIndex: number;
      readonly snapshotTerm: number;
      readonly configuration: Configuration;
      readonly totalBytes: number;
      readonly offset: number;
      readonly bytes: Uint8Array;
    }
  | {
      readonly type: "snapshot-response";
      readonly term: number;
      readonly snapshotIndex: number;
      /** Where the follower wants the next piece from. */
      readonly nextOffset: number;
    }
  | { readonly type: "timeout-now"; readonly term: number }
  | { readonly type: "read-request"; readonly term: number; readonly id: number }
  | {
      readonly type: "read-response";
      readonly term: number;
      readonly id: number;
      /** 0: this node cannot tell. */
      readonly index: number;
    }
  | {
      /** A member that has heard that it is behind asks another, which need not lead, for what is committed after its own last committed entry. */
      readonly type: "fetch";
      readonly term: number;
      readonly index: number;
      readonly indexTerm: number;
      /** Of a snapshot that it was sent, by this member or another. */
      readonly part: SnapshotPart | undefined;
    }
  | {
      /** Entries that are committed, all of them, and follow the one that was named. None: the member has no more, or that part no longer. */
      readonly type: "fetch-response";
      readonly term: number;
      readonly previousIndex: number;
      readonly previousTerm: number;
      readonly entries: readonly Entry[];
    }
  | {
      /** A piece of a snapshot, for who asked for entries that are gone. The next one is asked for. */
      readonly type: "fetch-snapshot";
      readonly term: number;
      readonly snapshotIndex: number;
      readonly snapshotTerm: number;
      /** In the first piece, and in no other. */
      readonly configuration: Configuration | undefined;
      readonly totalBytes: number;
      /** Of the whole, its configuration included (`snapshotDigest`). */
      readonly digest: string;
      readonly offset: number;
      readonly bytes: Uint8Array;
    };

/**
 * A change of one member at a time (dissertation, section 4.1), but for learners that come: configurations that differ in learners alone have the same majorities,
 * so any number of them comes in one entry. Each entry names all members and goes to all of them: n learners that came one by one would cost n * n * n.
 */
export type ConfigurationChange =
  | { readonly type: "add-learners"; readonly members: readonly Member[] }
  | { readonly type: "promote"; readonly id: PeerId }
  | { readonly type: "demote"; readonly id: PeerId }
  | { readonly type: "remove"; readonly id: PeerId }
  | { readonly type: "update"; readonly member: Member };

/** What happens to the machine. */
export type Input =
  | { readonly type: "tick" }
  | { readonly type: "message"; readonly from: PeerId; readonly message: Message }
  | { readonly type: "propose"; readonly id: number; readonly data: Uint8Array }
  | { readonly type: "change"; readonly id: number; readonly change: ConfigurationChange }
  | { readonly type: "transfer"; readonly target: PeerId }
  | { readonly type: "read"; readonly id: number }
  /** Ask another member for what is committed and missing here. Only the answer of the last one that was asked is taken, and once. */
  | { readonly type: "fetch"; readonly from: PeerId }
  /** Stand for election without waiting: the group is new, or of one. */
  | { readonly type: "campaign" }
  /** Everything up to this ticket is durable. */
  | { readonly type: "persisted"; readonly ticket: number }
  /** The application's state at an applied index: the log before it may go. */
  | { readonly type: "compact"; readonly index: number; readonly data: Uint8Array };

/** Why something was refused. Nothing has happened then. */
export type Refusal =
  | "not-leader"
  /** The leader is handing over to another. */
  | "transferring"
  /** Too much waits to be committed. */
  | "overloaded"
  | "too-large"
  /** Another change of members is not committed, or the leader has not committed an entry of its own term. */
  | "change-pending"
  | "unknown-member"
  | "not-caught-up"
  /** The leader takes itself out only by handing over first; the last voter stays. */
  | "is-leader"
  | "no-change";

/** What must happen outside, in this order. */
export type Effect =
  | {
      /** Make durable; then tell `persisted`. Entries replace what was there at their indexes and after; a snapshot replaces the log before it. */
      readonly type: "persist";
      readonly ticket: number;
      readonly term: number;
      readonly votedFor: PeerId | undefined;
      readonly entries: readonly Entry[];
      readonly snapshot: Snapshot | undefined;
    }
  | {
      readonly type: "send";
      readonly to: PeerId;
      readonly message: Message;
      /** It may leave only when every `persist` before it is durable. */
      readonly isDurable: boolean;
    }
  /** Committed entries, each once and in order. */
  | { readonly type: "apply"; readonly entries: readonly Entry[] }
  /** The application's state is replaced by the snapshot's. */
  | { readonly type: "restore"; readonly snapshot: Snapshot }
  | { readonly type: "role"; readonly role: Role; readonly term: number; readonly leader: PeerId | undefined }
  | { readonly type: "proposed"; readonly id: number; readonly index: number; readonly term: number }
  | { readonly type: "refused"; readonly id: number; readonly reason: Refusal }
  /** A state that has applied `index` is no older than the moment of the request. */
  | { readonly type: "read-ready"; readonly id: number; readonly index: number }
  | { readonly type: "read-failed"; readonly id: number };

/** What a machine must have kept. */
export interface DurableState {
  readonly term: number;
  readonly votedFor: PeerId | undefined;
  readonly snapshot: Snapshot;
  /** What follows the snapshot, without gaps. */
  readonly entries: readonly Entry[];
}

export interface RaftOptions {
  readonly id: PeerId;
  readonly state: DurableState;
  readonly random: { below(bound: number): number };
  /** Ticks between heartbeats of a leader. */
  readonly heartbeatTicks: number;
  /** Least ticks without a leader before a node stands for election; drawn anew each time, up to twice as many. */
  readonly electionTicks: number;
  /** Entries in one message take at most so many bytes, unless it is one alone. */
  readonly maxMessageBytes: number;
  /** Data of one entry. */
  readonly maxEntryBytes: number;
  /** Messages with entries to one follower that may be unanswered. */
  readonly maxInflight: number;
  /** Bytes of entries in them; one message may go beyond. */
  readonly maxInflightBytes: number;
  /** Data of entries that are proposed and not yet committed; more is refused. */
  readonly maxUncommittedBytes: number;
  /** Bytes of one piece of a snapshot. */
  readonly snapshotChunkBytes: number;
  /** Entries that stay in the log behind a snapshot, for followers that are a little behind. */
  readonly trailingEntries: number;
  /** Bytes that these may take. */
  readonly trailingBytes: number;
  /** A learner may lack so many entries when it is promoted. */
  readonly promotionLagEntries: number;
}

export const RAFT_DEFAULTS = {
  heartbeatTicks: 2,
  electionTicks: 10,
  maxMessageBytes: 64 * 1024,
  maxEntryBytes: 1024 * 1024,
  maxInflight: 64,
  maxInflightBytes: 512 * 1024,
  maxUncommittedBytes: 8 * 1024 * 1024,
  snapshotChunkBytes: 32 * 1024,
  trailingEntries: 1000,
  trailingBytes: 1024 * 1024,
  promotionLagEntries: 64,
} as const;
