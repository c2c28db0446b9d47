/**
 * What a node has noticed of other identities: where they are, and when it heard them.
 *
 * Others make identities up, or come and go under new ones: what is remembered is bounded, and forgotten all at once when one more comes than that. Those that
 * are still there are heard again soon.
 */
import type { BusAddress } from "../contracts/bus.ts";
import type { PeerId } from "../protocol/raft/types.ts";

/** Many times the members of the largest cluster: who is one must not be forgotten because others are, or nobody would ever be silent for long. */
export const MAX_IDENTITIES = 20_000;

export class KnownPeers {
  readonly #addresses = new Map<PeerId, BusAddress>();
  readonly #heardAtMs = new Map<PeerId, number>();

  /** How many are remembered. */
  get size(): number {
    return Math.max(this.#addresses.size, this.#heardAtMs.size);
  }

  address(id: PeerId): BusAddress | undefined {
    return this.#addresses.get(id);
  }

  /** It says where it is. */
  isAt(id: PeerId, address: BusAddress): void {
    if (this.#addresses.size >= MAX_IDENTITIES && !this.#addresses.has(id)) this.#addresses.clear();
    this.#addresses.set(id, address);
  }

  heard(id: PeerId, nowMs: number): void {
    if (this.#heardAtMs.size >= MAX_IDENTITIES && !this.#heardAtMs.has(id)) this.#heardAtMs.clear();
    this.#heardAtMs.set(id, nowMs);
  }

  /** How long it has said nothing; one that was never heard begins to be silent with this question. */
  silentMs(id: PeerId, nowMs: number): number {
    const heardAtMs = this.#heardAtMs.get(id);
    if (heardAtMs === undefined) this.heard(id, nowMs);
    return nowMs - (heardAtMs ?? nowMs);
  }

  /** Nobody is silent yet: silence counts from here on. */
  listenAnew(): void {
    this.#heardAtMs.clear();
  }

  /** Forgets all: this node is in another group from here on. */
  clear(): void {
    this.#addresses.clear();
    this.#heardAtMs.clear();
  }
}
