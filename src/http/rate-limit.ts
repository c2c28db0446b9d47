/**
 * How often each caller may ask: a bucket of tokens for each, which fills evenly.
 *
 * The number of callers that are remembered is bounded: the one that was heard longest ago is forgotten, and begins with a full bucket if it comes back. So strangers in
 * any number cost bounded memory.
 */

/** Callers that are remembered. At about a hundred bytes each that is a megabyte. */
const MAX_CALLERS = 10_000;

interface Bucket {
  /** Requests that may be made at `atMs`. */
  level: number;
  atMs: number;
}

export class RateLimit {
  /** In the order in which they were heard last. */
  readonly #buckets = new Map<string, Bucket>();
  /** Requests a second; 0: without limit. */
  perSecond: number;

  constructor(perSecond: number) {
    this.perSecond = perSecond;
  }

  /** Callers that are remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  /**
   * A caller asks. A second's worth may come at once.
   *
   * @param nowMs Of a monotonic clock.
   * @returns 0 if it may, else after how many milliseconds it may.
   */
  take(caller: string, nowMs: number): number {
    const { perSecond } = this;
    if (perSecond === 0) return 0;
    const bucket = this.#bucket(caller, nowMs);
    if (bucket.level < 1) return Math.ceil(((1 - bucket.level) / perSecond) * 1000);
    bucket.level -= 1;
    return 0;
  }

  /**
   * A caller has done what is worse than to ask: it asks that much less often from here on.
   *
   * @param nowMs Of a monotonic clock.
   * @param cost In requests.
   */
  charge(caller: string, nowMs: number, cost: number): void {
    if (this.perSecond > 0) this.#bucket(caller, nowMs).level -= Math.min(cost, this.perSecond);
  }

  #bucket(caller: string, nowMs: number): Bucket {
    const { perSecond } = this;
    const bucket = this.#buckets.get(caller) ?? { level: perSecond, atMs: nowMs };
    bucket.level = Math.min(perSecond, bucket.level + ((nowMs - bucket.atMs) / 1000) * perSecond);
    bucket.atMs = nowMs;
    this.#buckets.delete(caller);
    this.#buckets.set(caller, bucket);
    if (this.#buckets.size > MAX_CALLERS) {
      const [oldest = ""] = this.#buckets.keys();
      this.#buckets.delete(oldest);
    }
    return bucket;
  }
}
