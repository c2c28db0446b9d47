/** Probes under way: those of this node, and those that it makes for others. */
import type { Member } from "./members.ts";
import type { NodeId } from "./types.ts";

/**
 * A probe of one member.
 *
 * 1. A ping goes out. A pong ends it well.
 * 2. Nobody answered in `probeTimeoutMs`: some others are asked to try (`askAtMs`).
 * 3. One of them brings a pong: it ends well. Those that got none say so, which shows that they themselves can be reached.
 * 4. At the end of the period (`failAtMs`) it has failed, and the member is suspected.
 */
export interface Probe {
  readonly target: Member;
  readonly sequence: number;
  readonly sentAtMs: number;
  /** `undefined` once others were asked. */
  askAtMs: number | undefined;
  failAtMs: number;
  /** Those that were asked and have not been heard of since. */
  readonly silent: Set<NodeId>;
  /** Its time is over; what has come by then is read first. */
  isOver: boolean;
}

/** A probe that somebody asked for. */
export interface Relay {
  readonly asker: NodeId;
  /** The asker's own number for it. */
  readonly sequence: number;
  readonly target: NodeId;
  /** When the asker is told that there was no answer so far; `undefined` once it was. */
  nackAtMs: number | undefined;
  /** An answer after this moment is of no use. */
  readonly endAtMs: number;
}
