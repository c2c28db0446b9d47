/** The bus: frames between nodes, over streams, and datagrams. Provided by the plugin `bus`. */
import { service } from "../service.ts";

/** Where a node listens for other nodes. */
export interface BusAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * Who sends on a channel. Never used again for another.
 *
 * Channels of members travel on links that have proved the cluster's secret and its id. `formation` and `meeting` travel on links of a kind of its own (*meeting* links),
 * which prove the secret alone, for nodes that belong to no cluster, or to another one: nothing else is ever delivered from them.
 */
export const BusChannel = {
  consensus: 1,
  formation: 2,
  membership: 3,
  meeting: 4,
  replication: 5,
  lease: 6,
  migration: 7,
  slots: 8,
  health: 9,
  loads: 10,
} as const;
export type BusChannel = (typeof BusChannel)[keyof typeof BusChannel];

/** What is known of a sender. */
export interface BusSender {
  /** 40 hexadecimal digits. That it is this one is the word of somebody who knows the cluster's secret. */
  readonly nodeId: string;
  /** Where it says that it can be reached. */
  readonly address: BusAddress;
}

/** The cluster that a node is in. */
export interface BusCluster {
  /** The group's name. */
  readonly id: string;
  /** What the map says of a node: its present start (40 hexadecimal digits), and where it is reached. `undefined`: it is no node of the map. */
  member(nodeId: string): { readonly start: string; readonly address: BusAddress } | undefined;
  /** Where else the node is reached that is at an address. */
  otherPlaces?(address: BusAddress): readonly BusAddress[];
}

export interface Bus {
  /** Where other nodes reach this one. */
  readonly address: BusAddress;
  /** Hears a channel. One receiver for each. @param receive Gets frames in the order in which a sender sent them. The bytes may be kept. */
  receive(channel: BusChannel, receive: (from: BusSender, bytes: Uint8Array) => void): void;
  /**
   * Sends a frame: it arrives once, in order, or never, and nothing tells which.
   * @param isTurnOver It goes out at once: whoever sends has waited for the end of the turn already. Else it waits for what else the turn has to say.
   * @returns False if it was dropped here: the link is down, or too much waits for it, or this node is in no cluster and the channel is one of members.
   */
  send(to: BusAddress, channel: BusChannel, bytes: Uint8Array, isTurnOver?: boolean): boolean;
  /**
   * The node that has proved to be at an address, while a link of meetings to it is open; this node, where a link to the address has come back to it.
   * `undefined`: nobody knows.
   */
  nodeAt(address: BusAddress): string | undefined;
  /** Bytes that wait to be sent to an address on channels of members. */
  queuedBytes(to: BusAddress): number;
  /** Links to other nodes, for `CLUSTER LINKS`. */
  links(): readonly BusLink[];
  /** Which cluster this node is in; `undefined`: none. Links of members that another one had are closed, and made anew when there is something to send. */
  setCluster(cluster: BusCluster | undefined): void;
  /** Hears datagrams of nodes of the map. One receiver. @param from The sender's node id. The bytes may be kept. */
  receiveDatagrams(receive: (from: string, bytes: Uint8Array) => void): void;
  /**
   * Sends a datagram to a node of the map: it arrives once, at any time, or never.
   *
   * @param to Its node id.
   * @param bytes At most `maxDatagramBytes`.
   * @returns False if it was dropped here: the map has no start of that node, or not this start of this one.
   */
  sendDatagram(to: string, bytes: Uint8Array): boolean;
  /** The most bytes that a datagram carries. */
  readonly maxDatagramBytes: number;
  /** Tells of links of members: of open ones that broke, and of those that could not be made, or were refused. @param listener Gets the node's id where the link had proved it. */
  onLinkLost(listener: (address: BusAddress, nodeId: string | undefined) => void): void;
}

export interface BusLink {
  readonly direction: "to" | "from";
  /** `meeting`: it carries `formation` and nothing else. `undefined` while it has not said which. */
  readonly kind: "member" | "meeting" | undefined;
  /** The other node; empty while it has not proved who it is. */
  readonly nodeId: string;
  readonly createdAtMs: number;
  /** Bytes that wait to be sent. */
  readonly queuedBytes: number;
}

export const busService = service<Bus>("bus");
