/**
 * News that is passed on: one claim for each member at most, each a bounded number of times, those first that were sent least. A later claim about a member
 * takes the place of an earlier one.
 */
import { claimBytes } from "../../codec/gossip-codec.ts";
import type { Claim, NodeId } from "./types.ts";

export class GossipQueue {
  // By how often they were sent. Within one, in the order in which they came.
  readonly #claims: Map<NodeId, Claim>[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(claim: Claim): void {
    this.remove(claim.id);
    this.#level(0).set(claim.id, claim);
    this.#size += 1;
  }

  remove(id: NodeId): void {
    for (const level of this.#claims) if (level.delete(id)) this.#size -= 1;
  }

  /**
   * Takes what goes into one message, and counts it as sent.
   *
   * @param room Bytes.
   * @param limit How often a claim is sent.
   */
  take(room: number, limit: number): Claim[] {
    const taken: Claim[] = [];
    if (this.#size === 0) return taken;
    let left = room;
    // From the most sent to the least would meet claims again that were just moved on; so they are moved when all are chosen.
    const moves: (readonly [level: number, claim: Claim])[] = [];
    for (const [level, claims] of this.#claims.entries()) {
      for (const claim of claims.values()) {
        const bytes = claimBytes(claim);
        if (bytes > left) break;
        left -= bytes;
        taken.push(claim);
        moves.push([level, claim]);
      }
    }
    for (const [level, claim] of moves) {
      this.#level(level).delete(claim.id);
      if (level + 1 < limit) this.#level(level + 1).set(claim.id, claim);
      else this.#size -= 1;
    }
    return taken;
  }

  #level(at: number): Map<NodeId, Claim> {
    let level = this.#claims[at];
    while (level === undefined) {
      this.#claims.push(new Map());
      level = this.#claims[at];
    }
    return level;
  }
}
