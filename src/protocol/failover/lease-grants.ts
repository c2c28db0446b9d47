/**
 * The leases that a leader has promised, in one term.
 *
 * A lease ends no later than `leaseMs` after the beginning of a heartbeat round that a majority of the voters has answered (SAFETY 11). The scenario: a leader is cut
 * off together with a primary, and renews its lease again and again until it notices; another leader, elected meanwhile, knows when its voters heard the first one
 * for the last time, and nothing of what that one granted since.
 *
 * A promise lasts longer than the lease, by the margin for clocks: the primary measures the lease from the moment it sent its beat, the leader the promise from the
 * moment it got it.
 */
import type { NodeRecord, ShardRecord } from "../../contracts/topology.ts";
import type { Beat, LeaseOptions } from "./types.ts";

/** What a leader must know of the one before it: see `Leadership`. */
export interface Predecessor {
  readonly sinceMs: number;
  readonly predecessorHeardAgoMs: number | undefined;
}

/** The moment up to which any primary may have a lease of an earlier leader. */
export function floorOf({ sinceMs, predecessorHeardAgoMs }: Predecessor, options: LeaseOptions): number {
  return predecessorHeardAgoMs === undefined
    ? Number.NEGATIVE_INFINITY
    : sinceMs - predecessorHeardAgoMs + withMargin(options.leaseMs, options);
}

/** How long something of another clock may take by this one. */
export function withMargin(durationMs: number, { marginPercent }: LeaseOptions): number {
  return durationMs * (1 + marginPercent / 100);
}

export class LeaseGrants {
  readonly #options: LeaseOptions;
  readonly #floorMs: number;
  readonly #promises = new Map<string, number>();

  /** @param floorMs See `floorOf`. */
  constructor(options: LeaseOptions, floorMs: number) {
    this.#options = options;
    this.#floorMs = floorMs;
  }

  /** From then on a node has no lease, unless it is granted another. */
  promisedUntilMs(node: string): number {
    return this.#promises.get(node) ?? this.#floorMs;
  }

  /**
   * Grants a lease, and remembers it.
   *
   * @param nowMs When the beat came that asks for it.
   * @param confirmedAtMs When the last round began that a majority has answered; `undefined`: none yet.
   * @returns How long it is good, from the moment on at which the beat was sent. 0: not at all.
   */
  grant(node: string, nowMs: number, confirmedAtMs: number | undefined): number {
    if (confirmedAtMs === undefined) return 0;
    const endsAtMs = Math.min(nowMs, confirmedAtMs) + this.#options.leaseMs;
    const grantMs = Math.max(0, Math.floor(endsAtMs - nowMs));
    if (grantMs > 0) {
      const untilMs = nowMs + withMargin(grantMs, this.#options);
      this.#promises.set(node, Math.max(this.promisedUntilMs(node), untilMs));
    }
    return grantMs;
  }

  /** A node has given up the lease that it had, whoever granted it. */
  surrendered(node: string): void {
    this.#promises.set(node, Number.NEGATIVE_INFINITY);
  }
}

/**
 * Why a node gets no lease; `undefined` if it may have one:
 * 1. the map has admitted the start that asks;
 * 2. it is the primary of a shard, and holds its data;
 * 3. it has applied the last record on its shard: whatever was taken from it, it knows. Who gained that may serve as soon as the leases are over that were granted
 *    before (SAFETY 12).
 *
 * @param node What the map says of it.
 * @param shard Whose primary it is.
 */
export function whyNoLease(
  node: NodeRecord | undefined,
  shard: ShardRecord | undefined,
  beat: Beat,
  { leaseMs }: LeaseOptions,
): string | undefined {
  if (node?.incarnation !== beat.incarnation) return "the map has another start of it";
  if (shard?.primary !== node.id) return "it is not a primary";
  if (shard.primaryIncarnation !== beat.incarnation) return "it has restarted without its shard's data";
  if (beat.mapVersion < shard.version) {
    return `its map is at version ${beat.mapVersion}, and its shard has changed since, at ${shard.version}`;
  }
  if (beat.leaseMs !== leaseMs) {
    return `its setting plugins.failover.leaseMs is ${beat.leaseMs}, and the leader's is ${leaseMs}: it must be the same on all nodes`;
  }
  return undefined;
}
