/** What a node holds of the members of its cluster, itself included, with a digest of it all. */
import { hashOf } from "./claims.ts";
import type { Suspicion } from "./suspicion.ts";
import type { Claim, MemberState, NodeId } from "./types.ts";

export class Member {
  readonly id: NodeId;
  readonly start: number;
  refutation = 0;
  state: MemberState = "alive";
  /** Since when it is in that state, and why, in words. */
  sinceMs: number;
  reason: string;
  /** While it is a suspect, or is down for that. */
  suspicion: Suspicion | undefined;
  /** When this start of it was heard last, by itself. */
  heardAtMs: number | undefined;
  /** When the last ping to it left that no pong has answered yet. */
  pingedAtMs: number | undefined;
  pongedAtMs: number | undefined;
  /** Smoothed, in milliseconds. */
  roundTripMs: number | undefined;
  /** What it last said of itself. */
  lagMs = 0;
  offset = 0;
  mapVersion = 0;

  constructor(id: NodeId, start: number, nowMs: number, reason: string) {
    this.id = id;
    this.start = start;
    this.sinceMs = nowMs;
    this.reason = reason;
  }

  /** Nothing is final against it: it is probed, and told news. */
  get isPresent(): boolean {
    return this.state === "alive" || this.state === "suspect";
  }

  /** @param accuser Of a suspect: who shall be named. */
  claim(accuser?: NodeId): Claim {
    const [first] = this.suspicion?.accusers.keys() ?? [];
    return {
      id: this.id,
      start: this.start,
      refutation: this.refutation,
      state: this.state,
      accuser: this.state === "suspect" ? (accuser ?? first ?? this.id) : undefined,
    };
  }
}

export class Members {
  /** Of all that is held. Equal in two nodes that hold the same, whatever the order in which they learned it. */
  digest = 0;
  readonly #members = new Map<NodeId, Member>();

  get size(): number {
    return this.#members.size;
  }

  get(id: NodeId): Member | undefined {
    return this.#members.get(id);
  }

  all(): IterableIterator<Member> {
    return this.#members.values();
  }

  add(member: Member): void {
    this.remove(member.id);
    this.#members.set(member.id, member);
    this.#toggle(member);
  }

  remove(id: NodeId): Member | undefined {
    const member = this.#members.get(id);
    if (member === undefined) return undefined;
    this.#toggle(member);
    this.#members.delete(id);
    return member;
  }

  /** The one place in which what is held of a member changes. */
  set(member: Member, state: MemberState, refutation: number): void {
    this.#toggle(member);
    member.state = state;
    member.refutation = refutation;
    this.#toggle(member);
  }

  #toggle(member: Member): void {
    this.digest = (this.digest ^ hashOf(member.id, member.start, member)) >>> 0;
  }
}
