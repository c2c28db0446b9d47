/** What a node tells of its part in consensus. Pure. */
import type { ConsensusCounts, ConsensusStatus, Leadership } from "../contracts/consensus.ts";
import type { Raft } from "../protocol/raft/machine.ts";
import type { Configuration, PeerId } from "../protocol/raft/types.ts";
import { nodeIdOf } from "./formation.ts";
import type { RaftDriver } from "./raft-driver.ts";

/** What a node is beside its machine. */
export interface OwnPart {
  readonly group: string;
  readonly peer: PeerId;
  /** The group has taken it out. */
  readonly isOut: boolean;
  /** In words: what it waits for while it has no group. */
  readonly forming: string;
  /** Why the group has not taken it in; empty: it has, or has not said. */
  readonly refusal: string;
}

/** Members as they are told, made once for each configuration: the status is asked for all the time. */
export class ToldMembers {
  #members: Configuration["members"] = [];
  #told: ConsensusStatus["members"] = [];

  of({ members }: Configuration): ConsensusStatus["members"] {
    if (members !== this.#members) {
      this.#members = members;
      this.#told = members.map(({ id, isVoter, host, port }) => ({
        nodeId: nodeIdOf(id),
        peer: id,
        isVoter,
        address: { host, port },
      }));
    }
    return this.#told;
  }
}

export function statusOf(
  raft: Raft | undefined,
  { group, peer, isOut, forming, refusal }: OwnPart,
  told: ToldMembers,
): ConsensusStatus {
  const leading = raft?.leader;
  return {
    group,
    peer,
    role: raft?.role ?? "forming",
    term: raft?.term ?? 0,
    leader: leading === undefined ? undefined : nodeIdOf(leading),
    hearsLeader: !isOut && raft?.hearsLeader === true,
    commitIndex: raft?.log.commitIndex ?? 0,
    appliedIndex: raft?.log.appliedIndex ?? 0,
    lastIndex: raft?.log.lastIndex ?? 0,
    snapshotIndex: raft?.log.snapshot.index ?? 0,
    members: raft === undefined ? [] : told.of(raft.configuration),
    isOut,
    waitingFor: isOut
      ? "CLUSTER MEET to bring it back: this node was taken out of the cluster"
      : raft === undefined
        ? forming
        : leading === undefined
          ? refusal === ""
            ? "a leader"
            : `the cluster to take it in: ${refusal}`
          : undefined,
  };
}

/** What a machine that has just become leader knows of the one before it. */
export function leadershipOf(driver: RaftDriver | undefined, nowMs: number, tickMs: number): Leadership | undefined {
  if (driver?.machine.leadership === undefined) return undefined;
  const ticksAgo = driver.machine.leadership.predecessorHeardTicksAgo;
  return {
    term: driver.machine.term,
    get confirmedAtMs() {
      return driver.confirmedAtMs;
    },
    sinceMs: nowMs,
    // A tick that came right after the leader's word counts whole, and next to no time had passed.
    predecessorHeardAgoMs: ticksAgo === undefined ? undefined : Math.max(0, ticksAgo - 1) * tickMs,
  };
}

/** For `INFO`. @param part What the node is and has counted beside its machine. */
export function infoOf(
  raft: Raft | undefined,
  counts: ConsensusCounts,
  part: Pick<OwnPart, "group" | "isOut"> & {
    readonly malformedFrames: number;
    readonly foreignFrames: number;
    readonly fetches: number;
  },
): Readonly<Record<string, string | number>> {
  const { group, isOut, malformedFrames, foreignFrames, fetches } = part;
  return {
    raft_group: group,
    raft_role: isOut ? "out" : (raft?.role ?? "forming"),
    raft_term: raft?.term ?? 0,
    raft_leader: raft?.leader === undefined ? "" : nodeIdOf(raft.leader),
    raft_voters: raft?.voters.length ?? 0,
    raft_members: raft?.configuration.members.length ?? 0,
    raft_commit_index: raft?.log.commitIndex ?? 0,
    raft_log_bytes: raft?.log.bytes ?? 0,
    raft_snapshot_index: raft?.log.snapshot.index ?? 0,
    raft_fetched_entries: raft?.fetching.entries ?? 0,
    raft_fetched_snapshots: raft?.fetching.snapshots ?? 0,
    raft_elections: counts.elections,
    raft_elections_won: counts.electionsWon,
    raft_leader_changes: counts.leaderChanges,
    raft_malformed_frames: malformedFrames + (raft?.contradictions ?? 0),
    raft_foreign_frames: foreignFrames,
    raft_fetches: fetches,
  };
}
