/** What links need of the bus that they belong to. */
import type { BusAddress } from "../contracts/bus.ts";
import type { LinkRefused, LinkSelf } from "../protocol/link/handshake.ts";
import type { Clock, Log, Network } from "../world.ts";

/** A peer that takes nothing for so long has gone, whatever its machine says. */
export const STUCK_MS = 5000;
/** How often the time limit for opening a stream whoever opened it, or took it, may use to prove itself. */
export const PROOF_LIMITS = 5;

/** Why a link was refused, here or there. */
export type LinkReason = LinkRefused["reason"] | "full" | "frame";

/** Since the start, messages of handshakes included. Bytes that were dropped count as never sent. */
export interface LinkTraffic {
  sentFrames: number;
  sentBytes: number;
  receivedFrames: number;
  receivedBytes: number;
}

export interface LinkHost {
  readonly clock: Clock;
  readonly network: Network;
  readonly log: Log;
  readonly settings: {
    readonly maxQueuedBytes: number;
    readonly connectTimeoutMs: number;
    readonly retryMinMs: number;
    readonly retryMaxMs: number;
  };
  readonly traffic: LinkTraffic;
  /** This node's id at the moment. */
  readonly nodeId: string;
  /** What this node says of itself at the moment. */
  self(): LinkSelf;
  /** Where else the node is reached that is at an address. */
  otherPlaces(address: BusAddress): readonly BusAddress[];
  /** Bytes for one handshake, never drawn before. */
  nonce(): Uint8Array;
  /** A hello with this node's id has come in: its own, or a second node's of that id. */
  cameBack(hello: Uint8Array): void;
  /** There will be no link: to be counted, and told now and then. @param peer The other side's address, as it is known. */
  refused(direction: "to" | "from", reason: LinkReason, text: string, peer: string): void;
  /** An open link has broken, or one could not be made. */
  lost(address: BusAddress, nodeId: string | undefined): void;
}
