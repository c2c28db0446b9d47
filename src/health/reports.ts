/**
 * What each node tells the leader of itself, for checks that compare nodes: how far its clock is from the leader's, and what its shard has to do.
 *
 * 1. Now and then a node sends a report, with a number.
 * 2. The leader keeps it, and answers with what its wall clock shows.
 * 3. The node takes that for the time in the middle between the two: that is wrong by half of the round trip at most. It tells it with its next report.
 *
 * While nobody leads nothing is told. When another one does, nothing counts that was told to the one before.
 */
import type { HealthMessage, HealthReport, ShardLoad } from "../codec/health-codec.ts";
import type { NodeId } from "../contracts/topology.ts";

/** What it has of its node. Times in milliseconds. */
export interface ReportHost {
  /** By the monotonic clock. */
  nowMs(): number;
  wallMs(): number;
  /** Who leads, if one is known. */
  leader(): NodeId | undefined;
  readonly nodeId: NodeId;
  /** Of this node's shard, if it is the primary of one with slots. */
  load(): ShardLoad | undefined;
  send(to: NodeId, message: HealthMessage): void;
}

/** What a node has told. */
export interface KnownReport {
  readonly clock: HealthReport["clock"];
  readonly load: ShardLoad | undefined;
  readonly atMs: number;
}

/** Wall clocks tell whole milliseconds: each of two may be wrong by one. */
const CLOCK_GRAIN_MS = 2;
/** A report that so many others should have followed is out of date. */
const FRESH_PERIODS = 3;

export class HealthReports {
  readonly #host: ReportHost;
  readonly #freshMs: number;
  /** Of others, while this node leads. */
  readonly #known = new Map<NodeId, KnownReport>();
  #leader: NodeId | undefined;
  #sequence = 0;
  #sentAtMs = 0;
  /** This node's, by the present leader's clock. */
  #clock: HealthReport["clock"];

  /** @param periodMs How often `tell` is called. */
  constructor(host: ReportHost, periodMs: number) {
    this.#host = host;
    this.#freshMs = FRESH_PERIODS * periodMs;
  }

  /** This node's own clock, compared with the leader's, if it was and is another. */
  get clock(): HealthReport["clock"] {
    this.#follow();
    return this.#clock;
  }

  /** What others have told lately, while this node leads. */
  get known(): ReadonlyMap<NodeId, KnownReport> {
    this.#follow();
    const nowMs = this.#host.nowMs();
    for (const [id, { atMs }] of this.#known) if (nowMs - atMs > this.#freshMs) this.#known.delete(id);
    return this.#known;
  }

  /** Tells the leader of this node. */
  tell(): void {
    this.#follow();
    const to = this.#host.leader();
    if (to === undefined || to === this.#host.nodeId) return;
    this.#sequence += 1;
    this.#sentAtMs = this.#host.nowMs();
    this.#host.send(to, {
      type: "report",
      report: { sequence: this.#sequence, clock: this.#clock, load: this.#host.load() },
    });
  }

  received(from: NodeId, message: HealthMessage): void {
    this.#follow();
    const { nodeId } = this.#host;
    if (message.type === "report") {
      if (this.#leader !== nodeId) return;
      const { sequence, clock, load } = message.report;
      this.#known.set(from, { clock, load, atMs: this.#host.nowMs() });
      this.#host.send(from, { type: "time", sequence, wallMs: this.#host.wallMs() });
      return;
    }
    if (from !== this.#leader || message.sequence !== this.#sequence) return;
    const halfMs = (this.#host.nowMs() - this.#sentAtMs) / 2;
    this.#clock = {
      aheadMs: Math.round(this.#host.wallMs() - halfMs - message.wallMs),
      errorMs: Math.ceil(halfMs) + CLOCK_GRAIN_MS,
    };
  }

  /** Nothing of an earlier leader counts. One that is lost for a moment, and found again, is the same. */
  #follow(): void {
    const leader = this.#host.leader() ?? this.#leader;
    if (leader === this.#leader) return;
    this.#leader = leader;
    this.#clock = undefined;
    this.#known.clear();
    // An answer that is on its way is to nobody's question.
    this.#sequence += 1;
  }
}
