/** The bus: frames between nodes, over streams. Provided by the plugin `bus`. */
import { service } from "../service.ts";

/** Where a node listens for other nodes. */
export interface BusAddress {
  readonly host: string;
  readonly port: number;
}

/** Who sends on a channel. Never used again for another. */
export const BusChannel = { consensus: 1, meeting: 4 } as const;
export type BusChannel = (typeof BusChannel)[keyof typeof BusChannel];

/** What is known of a sender. */
export interface BusSender {
  /** 40 hexadecimal digits. */
  readonly nodeId: string;
  /** Where it says that it can be reached. */
  readonly address: BusAddress;
}

export interface Bus {
  /** Where other nodes reach this one. */
  readonly address: BusAddress;
  /** Hears a channel. One receiver for each. @param receive Gets frames in the order in which a sender sent them. The bytes may be kept. */
  receive(channel: BusChannel, receive: (from: BusSender, bytes: Uint8Array) => void): void;
  /**
   * Sends a frame: it arrives once, in order, or never, and nothing tells which.
   *
   * @returns False if it was dropped here: the link is down, or too much waits for it.
   */
  send(to: BusAddress, channel: BusChannel, bytes: Uint8Array): boolean;
  /** Bytes that wait to be sent to an address. */
  queuedBytes(to: BusAddress): number;
  /** Links to other nodes, for `CLUSTER LINKS`. */
  links(): readonly BusLink[];
}

export interface BusLink {
  readonly direction: "to" | "from";
  /** The other node; empty while it has not said who it is. */
  readonly nodeId: string;
  readonly createdAtMs: number;
  /** Bytes that wait to be sent. */
  readonly queuedBytes: number;
}

export const busService = service<Bus>("bus");
