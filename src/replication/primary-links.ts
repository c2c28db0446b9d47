/** What a shard's primary knows of those that follow it. */
import type { NodeId } from "../contracts/topology.ts";
import type { LogCursor } from "./shard-log.ts";
import type { SlotFill } from "./slot-fill.ts";

/** A session. */
export interface Link {
  readonly nodeId: NodeId;
  readonly start: string;
  readonly session: number;
  /** The replica has said a word in this session: what is sent before may be for nobody, as another session may have taken its place. */
  isHeard: boolean;
  /** Of the next frame. */
  number: number;
  cursor: LogCursor;
  fill: SlotFill | undefined;
  /** While it is filled: what waits to be sent, in order. */
  readonly pieces: { readonly type: "effects" | "stream"; readonly bytes: Uint8Array; sent: number }[];
  sentBytes: number;
  acknowledgedBytes: number;
  sentAtMs: number;
  toldCommitted: number;
  toldMapVersion: number;
}

/** What is known of a member, with or without a session. */
export interface Member {
  acknowledged: number;
  heardAtMs: number | undefined;
  /** It had at `levelAtMs` all that there was then. */
  levelAtMs: number;
  /** It will have had all that there was at `markAtMs` once it has this. */
  mark: number;
  markAtMs: number;
  /** Its link broke then, and has not come back. */
  lostAtMs: number | undefined;
  /** It counts since then, and is to be added once it has `target`. */
  joining: { readonly sinceMs: number; readonly target: number } | undefined;
  /** It is not tried again before. */
  notBeforeMs: number;
}

/** Why a member does not stay in sync, in words. */
export function whyOut({ lostAtMs, levelAtMs }: Member, nowMs: number): string {
  if (lostAtMs === Number.NEGATIVE_INFINITY)
    return "it has what the primary has not, or too little, and is filled anew";
  if (lostAtMs !== undefined) return `its link broke ${Math.round(nowMs - lostAtMs)} ms ago`;
  return `it has lagged for ${Math.round(nowMs - levelAtMs)} ms`;
}
