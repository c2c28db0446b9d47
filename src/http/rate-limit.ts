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
   * @param cost In requests: what is worse than others may count as several.
   * @returns 0 if it may, else after how many milliseconds it may.
   */
  take(caller: string, nowMs: number, cost = 1): number {
    const { perSecond } = this;
    if (perSecond === 0) return 0;
    const bucket = this.#buckets.get(caller) ?? { level: perSecond, atMs: nowMs };
    bucket.level = Math.min(perSecond, bucket.level + ((nowMs - bucket.atMs) / 1000) * perSecond);
    bucket.atMs = nowMs;
    this.#buckets.delete(caller);
    this.#buckets.set(caller, bucket);
    if (this.#buckets.size > MAX_CALLERS) {
      const [oldest = ""] = this.#buckets.keys();
      this.#buckets.delete(oldest);
    }
    // What costs more than a full bucket has empties it.
    const price = Math.min(cost, perSecond);
    if (bucket.level < price) return Math.ceil(((price - bucket.level) / perSecond) * 1000);
    bucket.level -= price;
    return 0;
  }
}
