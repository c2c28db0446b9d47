/**
 * How long things took, as counts in buckets that double: 1 microsecond or less, 2 or less, 4 or less ... about a second or less, and more. To note one allocates
 * nothing and costs about 20 ns: of quick commands, of which one in sixteen is timed, not much more than 1 ns each.
 */

/** Buckets with an upper bound: 2^0 to 2^20 microseconds. */
const BOUNDED_BUCKETS = 21;

/** The upper bounds of the buckets in microseconds, included; the last bucket has none. */
export const LATENCY_BOUNDS: readonly number[] = Array.from({ length: BOUNDED_BUCKETS }, (_, at) => 2 ** at);

export class LatencyCounts {
  /** How many fell into each bucket, and into none before it. */
  readonly counts = new Float64Array(BOUNDED_BUCKETS + 1);
  /** What all of them took, in microseconds. */
  sumMicroseconds = 0;

  /** @param times How many like it it stands for. */
  note(microseconds: number, times = 1): void {
    const bucket = microseconds <= 1 ? 0 : Math.min(32 - Math.clz32(Math.ceil(microseconds) - 1), BOUNDED_BUCKETS);
    this.counts[bucket] = (this.counts[bucket] as number) + times;
    this.sumMicroseconds += microseconds * times;
  }

  reset(): void {
    this.counts.fill(0);
    this.sumMicroseconds = 0;
  }
}
