/** What a node counts of its part in Raft. */
import type { ConsensusCounts, RequestOutcome } from "../contracts/consensus.ts";
import { LatencyCounts } from "../latency-counts.ts";
import type { PeerId, Role } from "../protocol/raft/types.ts";

export class RaftCounts implements ConsensusCounts {
  elections = 0;
  electionsWon = 0;
  leaderChanges = 0;
  readonly requests = { done: 0, rejected: 0, refused: 0, unknown: 0 };
  readonly requestLatency = new LatencyCounts();
  readonly #nowMs: () => number;
  #role: Role = "follower";
  #leader: PeerId | undefined;

  /** @param nowMs By the monotonic clock. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** The machine has another role, or knows of another leader. */
  role(role: Role, leader: PeerId | undefined): void {
    // A vote for which it asks others first, and may never hold, is no election yet.
    if (role === "candidate" && this.#role !== "candidate") this.elections += 1;
    if (role === "leader" && this.#role !== "leader") this.electionsWon += 1;
    this.#role = role;
    if (leader === undefined || leader === this.#leader) return;
    this.#leader = leader;
    this.leaderChanges += 1;
  }

  /** Counts what becomes of a request that is made now. @param settle Is told it. */
  request(settle: (outcome: RequestOutcome) => void): (outcome: RequestOutcome) => void {
    const begunAtMs = this.#nowMs();
    return (outcome) => {
      this.requests[outcome.type] += 1;
      // How long nobody knew is a setting, and says nothing of how long it takes.
      if (outcome.type === "done") this.requestLatency.note((this.#nowMs() - begunAtMs) * 1000);
      settle(outcome);
    };
  }
}
