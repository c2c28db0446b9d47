/**
 * What a leader does for leases and failovers, in one term: hears the nodes, grants leases, judges the shards, asks for promotions.
 *
 * It is made when the leader has applied all that it has, and dropped with its leading. The order that keeps two primaries of a shard apart:
 *
 * 1. It decides that a primary is replaced, when the lease is over that it promised, and from that moment on grants it none.
 * 2. The promotion names this term: if another leader gets to decide it, which may have granted a lease since, it is rejected.
 * 3. It is settled: the map has another primary, which is granted a lease once it knows; or nothing has happened, and the old one may be granted again. While
 *    nobody knows which of the two it is, nobody is.
 */
import type { RequestOutcome } from "../contracts/consensus.ts";
import type { ClusterMap, NodeId, NodeRecord, ShardId, ShardRecord, TopologyRequest } from "../contracts/topology.ts";
import { type Judgement, type MemberFacts, judgeShard } from "../protocol/failover/judgement.ts";
import { LeaseGrants, type Predecessor, floorOf, whyNoLease } from "../protocol/failover/lease-grants.ts";
import type { Beat, LeaseMessage, LeaseOptions, Wish } from "../protocol/failover/types.ts";
import type { Log } from "../world.ts";

/** A node that was not heard for so many of its beats is not taken for alive. */
const SILENT_BEATS = 3;
/** One that has been silent for so many of its beats is late. */
const CALM_BEATS = 2;
/** A primary that does not hear the answers to its beats, or cannot be granted a lease, is replaced after so many leases' time. */
const DEAF_LEASES = 2;
/** A forced failover that has not come about in so many leases' time is given up. */
const FORCE_LEASES = 5;

/**
 * Where losses are accepted without a word, whoever holds a shard's data is gone when it was not heard for so many leases' time: one that only stood still comes back
 * with everything that was acknowledged.
 */
const GONE_LEASES = 5;

/** What speaks against a node, and since when by this node's clock. */
export interface Suspicion {
  readonly sinceMs: number;
  readonly words: string;
}

/** What the desk has of its node. */
export interface DeskHost {
  readonly map: ClusterMap;
  readonly term: number;
  readonly log: Log;
  nowMs(): number;
  /** See `Leadership`. */
  confirmedAtMs(): number | undefined;
  node(id: NodeId): NodeRecord | undefined;
  /** What is held against a node: by membership, or since its link broke. */
  suspicionOf(id: NodeId): Suspicion | undefined;
  send(to: NodeId, message: LeaseMessage): void;
  /** Asks for a change, until it is known what became of it, or this node does not lead in this term any more. */
  request(request: TopologyRequest, cause: string): Promise<RequestOutcome<readonly string[]>>;
}

interface Report {
  readonly beat: Beat;
  readonly atMs: number;
  /** When it was last sure that it hears this leader. */
  readonly hearsAtMs: number;
  /** Since when it has asked for a lease and got none, for a reason of its own. */
  readonly refusedSinceMs: number | undefined;
  readonly refusal: string;
}

/** A shard, as this leader has seen it. */
interface Watched {
  readonly primary: NodeId;
  readonly epoch: number;
  readonly sinceMs: number;
}

interface Forced {
  readonly to: NodeId;
  readonly epoch: number;
  readonly untilMs: number;
}

export class Desk {
  readonly #host: DeskHost;
  readonly #options: LeaseOptions;
  readonly #grants: LeaseGrants;
  readonly #beganAtMs: number;
  readonly #reports = new Map<NodeId, Report>();
  /** Links that others found broken. */
  readonly #broken = new Map<NodeId, Suspicion>();
  readonly #watched = new Map<ShardId, Watched>();
  readonly #forced = new Map<ShardId, Forced>();
  /** Shards about whose primary something is being decided, with the version that this was decided on: it is granted nothing meanwhile. */
  readonly #deciding = new Map<ShardId, number>();
  readonly #waits = new Map<ShardId, { readonly kind: string; readonly reason: string }>();
  #indexed: { readonly map: ClusterMap | undefined; readonly shards: ReadonlyMap<NodeId, ShardRecord> } = {
    map: undefined,
    shards: new Map(),
  };
  /** Promotions that it asked for and that came about. */
  promotions = 0;

  constructor(host: DeskHost, options: LeaseOptions, predecessor: Predecessor) {
    this.#host = host;
    this.#options = options;
    this.#grants = new LeaseGrants(options, floorOf(predecessor, options));
    this.#beganAtMs = host.nowMs();
  }

  /** Of shards that it would do something about: why it does not, or what it waits for. */
  get reasons(): ReadonlyMap<ShardId, string> {
    return new Map([...this.#waits].map(([id, { reason }]) => [id, reason]));
  }

  /** Until when a node may have a lease. */
  promisedUntilMs(id: NodeId): number {
    return this.#grants.promisedUntilMs(id);
  }

  /** A node has told of itself. @returns The answer, if it wants one. */
  hear(from: NodeId, beat: Beat): LeaseMessage | undefined {
    const nowMs = this.#host.nowMs();
    const node = this.#host.node(from);
    const before = this.#report(from);
    if (node?.incarnation !== beat.incarnation) return answerTo(beat, 0, "the map has another start of it");
    // Word of an earlier link, which came late: it may have surrendered since.
    if (before !== undefined && beat.sequence <= before.beat.sequence) return undefined;
    // Beats that want no lease are not answered: a replica has heard nothing, and will.
    const hasHeard = before?.beat.wantsLease !== true || beat.answered > before.beat.answered;
    const hearsAtMs = hasHeard ? nowMs : before.hearsAtMs;
    this.#noteBroken(beat, before?.beat, nowMs);
    const shard = this.#shardOf(from);
    const { surrender } = beat;
    // Of an earlier version of the shard it is word of long ago, which came late: that is over, and leases may have been granted since.
    if (surrender !== undefined && shard !== undefined && surrender.shardVersion >= shard.version)
      this.#grants.surrendered(from);
    let answer: LeaseMessage | undefined;
    let refusal: string | undefined;
    if (beat.wantsLease) {
      refusal = whyNoLease(node, shard, beat, this.#options) ?? this.#whyNotNow(shard, hearsAtMs, nowMs);
      const grantMs = refusal === undefined ? this.#grants.grant(from, nowMs, this.#host.confirmedAtMs()) : 0;
      const isUnconfirmed = refusal === undefined && grantMs === 0;
      const reason = isUnconfirmed ? "no majority has answered the leader lately" : (refusal ?? "");
      answer = answerTo(beat, grantMs, reason);
    }
    const refusedSinceMs = refusal === undefined ? undefined : (before?.refusedSinceMs ?? nowMs);
    this.#reports.set(from, { beat, atMs: nowMs, hearsAtMs, refusedSinceMs, refusal: refusal ?? "" });
    // A planned failover is waited for by clients: what it needs is here.
    if (surrender !== undefined && shard !== undefined) this.#lookAt(shard, nowMs);
    return answer;
  }

  /** Looks at all shards, and does what is to be done. Called several times in a beat. */
  look(): void {
    const nowMs = this.#host.nowMs();
    const { shards } = this.#host.map;
    for (const shard of shards) this.#lookAt(shard, nowMs);
    if (this.#waits.size > 0) {
      const there = new Set(shards.map(({ id }) => id));
      for (const id of this.#waits.keys()) if (!there.has(id)) this.#waits.delete(id);
    }
  }

  /** Each primary tells of itself, and there is nothing to be done. */
  get isCalm(): boolean {
    if (this.#waits.size > 0 || this.#deciding.size > 0 || this.#forced.size > 0) return false;
    const nowMs = this.#host.nowMs();
    const isHeard = (report: Report | undefined): boolean =>
      report !== undefined && nowMs - report.atMs < CALM_BEATS * this.#options.renewMs;
    return this.#host.map.shards.every(({ primary }) => isHeard(this.#report(primary)));
  }

  /** Somebody wants something. @returns Why it is not begun; `undefined` if it is. */
  wish(wish: Wish, cause: string): string | undefined {
    const nowMs = this.#host.nowMs();
    const shard = this.#host.map.shards.find(({ id }) => id === wish.shard);
    if (shard === undefined) return `ERR there is no shard ${wish.shard}`;
    this.#watch(shard, nowMs);
    if (this.#deciding.has(shard.id)) return "ERR a change of this shard's primary is under way already";
    if (wish.type === "accept-loss") return this.#acceptLoss(shard, cause, nowMs);
    const heir = this.#member(wish.to, nowMs);
    if (!shard.replicas.includes(wish.to)) return "ERR You should send CLUSTER FAILOVER to a replica";
    if (![...shard.inSync, ...shard.eligible].includes(wish.to)) {
      return `ERR ${heir.name} is not in sync: it may lack acknowledged writes, and is not promoted`;
    }
    if (!heir.isAlive) return `ERR ${heir.name} is not heard by the leader: ${heir.trouble}`;
    if (wish.type === "hand-over") {
      if (this.#problemOf(shard, nowMs) !== undefined || !this.#member(shard.primary, nowMs).isAlive) {
        return "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE";
      }
      const { id, version, primary } = shard;
      this.#host.send(primary, { type: "hand-over", shard: id, shardVersion: version, to: wish.to });
      return undefined;
    }
    const untilMs = nowMs + FORCE_LEASES * this.#options.leaseMs;
    this.#forced.set(shard.id, { to: wish.to, epoch: shard.primaryEpoch, untilMs });
    this.#host.log.info("failover: forced", { shard: shard.id, to: heir.name, cause });
    this.#lookAt(shard, nowMs);
    return undefined;
  }

  #acceptLoss(shard: ShardRecord, cause: string, nowMs: number): string | undefined {
    const judgement = this.#judge(shard, nowMs, true);
    switch (judgement.type) {
      case "fine":
        return `ERR nothing is lost: the primary of shard ${shard.id} is alive`;
      case "promote":
      case "keep":
        return `ERR nothing is lost: ${judgement.cause}`;
      case "wait":
        return `ERR ${judgement.reason}`;
      case "accept-loss":
        this.#carryOut(shard, { ...judgement, cause: `${cause}: ${judgement.cause}` });
        return undefined;
      default:
        return judgement satisfies never;
    }
  }

  // --- what is known of nodes ---

  /** The shard whose primary a node is. Each primary asks several times a second: the map is searched once for each of its versions. */
  #shardOf(primary: NodeId): ShardRecord | undefined {
    const { map } = this.#host;
    if (this.#indexed.map !== map) {
      this.#indexed = { map, shards: new Map(map.shards.map((shard) => [shard.primary, shard])) };
    }
    return this.#indexed.shards.get(primary);
  }

  get #aliveMs(): number {
    return SILENT_BEATS * this.#options.renewMs;
  }

  /** What the start of a node that the map has told last. */
  #report(id: NodeId): Report | undefined {
    const report = this.#reports.get(id);
    return report?.beat.incarnation === this.#host.node(id)?.incarnation ? report : undefined;
  }

  #noteBroken(beat: Beat, before: Beat | undefined, nowMs: number): void {
    for (const id of beat.brokenLinks) {
      if (before?.brokenLinks.includes(id) !== true)
        this.#broken.set(id, { sinceMs: nowMs, words: "a link to it broke" });
    }
  }

  /** What speaks against a node since it was heard last. */
  #suspicion(id: NodeId, heardAtMs: number): Suspicion | undefined {
    for (const suspicion of [this.#host.suspicionOf(id), this.#broken.get(id)]) {
      if (suspicion !== undefined && suspicion.sinceMs >= heardAtMs) return suspicion;
    }
    return undefined;
  }

  #member(id: NodeId, nowMs: number): MemberFacts {
    const report = this.#report(id);
    const place = this.#host.node(id);
    const name = place?.name || id;
    const suspicion = this.#suspicion(id, report?.atMs ?? this.#beganAtMs);
    const isAlive = suspicion === undefined && report !== undefined && nowMs - report.atMs < this.#aliveMs;
    const isExpected = !isAlive && suspicion === undefined && nowMs - this.#beganAtMs < this.#aliveMs;
    const silentMs = Math.round(nowMs - (report?.atMs ?? this.#beganAtMs));
    const trouble = suspicion === undefined ? `not heard for ${silentMs} ms` : suspicion.words;
    return { name, isAlive, isExpected, position: report?.beat.position, trouble, place };
  }

  /** Why a primary gets no lease that might have one. */
  #whyNotNow(shard: ShardRecord | undefined, hearsAtMs: number, nowMs: number): string | undefined {
    if (shard !== undefined && this.#isDeciding(shard)) return "another primary is being chosen";
    if (shard !== undefined && this.#forcedOf(shard, nowMs) !== undefined)
      return "CLUSTER FAILOVER FORCE was asked for";
    if (nowMs - hearsAtMs > DEAF_LEASES * this.#options.leaseMs) return "it does not hear the leader's answers";
    return undefined;
  }

  #forcedOf(shard: ShardRecord, nowMs: number): NodeId | undefined {
    const forced = this.#forced.get(shard.id);
    if (forced === undefined) return undefined;
    if (forced.epoch === shard.primaryEpoch && nowMs < forced.untilMs) return forced.to;
    this.#forced.delete(shard.id);
    return undefined;
  }

  #watch(shard: ShardRecord, nowMs: number): Watched {
    const before = this.#watched.get(shard.id);
    if (before?.primary === shard.primary && before.epoch === shard.primaryEpoch) return before;
    const watched = { primary: shard.primary, epoch: shard.primaryEpoch, sinceMs: nowMs };
    this.#watched.set(shard.id, watched);
    return watched;
  }

  #hasLostData({ primary, primaryIncarnation }: ShardRecord): boolean {
    return this.#host.node(primary)?.incarnation !== primaryIncarnation;
  }

  /** What is wrong with a shard's primary. */
  #problemOf(shard: ShardRecord, nowMs: number): string | undefined {
    if (this.#hasLostData(shard)) return "it has restarted and lost the shard's data";
    const forcedTo = this.#forcedOf(shard, nowMs);
    if (forcedTo !== undefined) return `CLUSTER FAILOVER FORCE to ${this.#member(forcedTo, nowMs).name}`;
    const { isAlive, trouble } = this.#member(shard.primary, nowMs);
    const report = this.#report(shard.primary);
    if (isAlive) {
      const refusedSinceMs = report?.refusedSinceMs ?? nowMs;
      return nowMs - refusedSinceMs > DEAF_LEASES * this.#options.leaseMs
        ? `it gets no lease: ${report?.refusal ?? ""}`
        : undefined;
    }
    const suspicion = this.#suspicion(shard.primary, report?.atMs ?? this.#beganAtMs);
    if (suspicion !== undefined) return trouble;
    // It may be there, and not have found this leader yet, or not know that it is a primary.
    const { sinceMs } = this.#watch(shard, nowMs);
    return nowMs - Math.max(sinceMs, this.#beganAtMs) < this.#aliveMs ? undefined : trouble;
  }

  #areHoldersGone(shard: ShardRecord, nowMs: number): boolean {
    const holders = [...shard.inSync, ...shard.eligible].filter(
      (id) => id !== shard.primary || !this.#hasLostData(shard),
    );
    const goneMs = GONE_LEASES * this.#options.leaseMs;
    return holders.every((id) => nowMs - (this.#report(id)?.atMs ?? this.#beganAtMs) >= goneMs);
  }

  // --- what is done ---

  #judge(shard: ShardRecord, nowMs: number, acceptsLoss: boolean): Judgement {
    const surrender = this.#report(shard.primary)?.beat.surrender;
    return judgeShard({
      nowMs,
      shard,
      problem: this.#problemOf(shard, nowMs),
      hasLostData: this.#hasLostData(shard),
      leaseEndsAtMs: this.#grants.promisedUntilMs(shard.primary),
      surrenderedTo: surrender?.shardVersion === shard.version ? surrender.to : undefined,
      forcedTo: this.#forcedOf(shard, nowMs),
      acceptsLoss,
      member: (id) => this.#member(id, nowMs),
    });
  }

  #lookAt(shard: ShardRecord, nowMs: number): void {
    this.#watch(shard, nowMs);
    // Nothing more is decided before it is known what became of the last.
    if (this.#deciding.has(shard.id)) return;
    const acceptsLoss = this.#host.map.settings.get("on-loss") === "accept" && this.#areHoldersGone(shard, nowMs);
    const judgement = this.#judge(shard, nowMs, acceptsLoss);
    if (judgement.type === "fine") {
      if (this.#waits.delete(shard.id)) this.#host.log.info("failover: not needed any more", { shard: shard.id });
    } else if (judgement.type === "wait") {
      const { kind, reason } = judgement;
      if (this.#waits.get(shard.id)?.kind !== kind) this.#host.log.warn("failover: waits", { shard: shard.id, reason });
      this.#waits.set(shard.id, { kind, reason });
    } else {
      this.#carryOut(shard, judgement);
    }
  }

  #carryOut(
    { id: shard, version: shardVersion }: ShardRecord,
    judgement: Exclude<Judgement, { type: "fine" | "wait" }>,
  ): void {
    const { log, term } = this.#host;
    const { cause } = judgement;
    const request: TopologyRequest =
      judgement.type === "keep"
        ? { type: "keep-primary", shard, shardVersion }
        : { type: judgement.type, shard, shardVersion, node: judgement.node, leaderTerm: term };
    this.#deciding.set(shard, shardVersion);
    this.#waits.set(shard, { kind: judgement.type, reason: cause });
    log.warn(`failover: ${request.type}`, { shard, cause });
    void this.#settle(shard, shardVersion, request, cause);
  }

  /**
   * Whether a change of a shard's primary is under way that may still come about. Once the map has the shard at another version it has, or will be rejected: who
   * was promoted asks for a lease as soon as it knows, which may be before this node has heard what became of its own request.
   */
  #isDeciding({ id, version }: ShardRecord): boolean {
    return this.#deciding.get(id) === version;
  }

  async #settle(shard: ShardId, shardVersion: number, request: TopologyRequest, cause: string): Promise<void> {
    const outcome = await this.#host.request(request, cause);
    const isDone = outcome.type === "done";
    // Nobody knows, and this node leads no more: the next one reads it in the map.
    if (outcome.type === "unknown") return;
    if (isDone) {
      if (request.type !== "keep-primary") this.promotions += 1;
      this.#waits.delete(shard);
    } else {
      this.#host.log.warn("failover: not done", { shard, reason: outcome.reason });
    }
    if (this.#deciding.get(shard) === shardVersion) this.#deciding.delete(shard);
    if (isDone && request.type === "promote") this.#grantAtOnce(request.node, outcome.index);
  }

  /**
   * Whoever was promoted has its lease together with the word of that, a round trip sooner than if it asked: on its last beat, from whose sending it counts. That
   * beat is of an earlier map; but the promotion takes nothing from it, and before it knows of that it serves nothing. Any other record on the shard since then it
   * must know first, as ever.
   */
  #grantAtOnce(heir: NodeId, version: number): void {
    const nowMs = this.#host.nowMs();
    const shard = this.#shardOf(heir);
    const report = this.#report(heir);
    if (report === undefined) return;
    const beat = { ...report.beat, mapVersion: version };
    if (whyNoLease(this.#host.node(heir), shard, beat, this.#options) !== undefined) return;
    const grantMs = this.#grants.grant(heir, report.atMs, this.#host.confirmedAtMs());
    if (grantMs > nowMs - report.atMs)
      this.#host.send(heir, { type: "answer", sequence: beat.sequence, grantMs, reason: "" });
  }
}

function answerTo({ sequence, wantsLease }: Beat, grantMs: number, reason: string): LeaseMessage | undefined {
  return wantsLease ? { type: "answer", sequence, grantMs, reason } : undefined;
}
