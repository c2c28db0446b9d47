/**
 * Sealed datagrams: who sent one, in which cluster, from which start of the sender to which start of the receiver, and that it comes once. Pure.
 *
 * ```
 * format 1 | group 4 | sender 20 | number 8 | payload | seal 16
 * ```
 *
 * The seal is a proof over everything before it, under a key that is made of the cluster's secret, the cluster's id, and both nodes' present starts as the cluster
 * map has them. So a datagram of another cluster, or of an earlier start of either side, is refused without any clock: the key is another. What was recorded
 * since is refused by its number: a start counts all that it sends, and a window over the sender's numbers takes each once.
 *
 * `group` tells which secret in which cluster is meant, so that the rest of the world is refused without any arithmetic.
 *
 * What is remembered is bounded by the map: keys for its nodes, and a window for each that has sent something which was in order.
 */
import { Buffer } from "node:buffer";
import { isSameProof, proofOf } from "../../codec/proof.ts";
import type { BusAddress, BusCluster } from "../../contracts/bus.ts";
import { ReplayWindow } from "./replay-window.ts";

/** Those under 1400 bytes travel whole on every network that there is. */
const MAX_SEALED_BYTES = 1399;
const FORMAT = 1;
const GROUP_BYTES = 4;
const SENDER_BYTES = 20;
const SEAL_BYTES = 16;
const SENDER_AT = 1 + GROUP_BYTES;
const NUMBER_AT = SENDER_AT + SENDER_BYTES;
const PAYLOAD_AT = NUMBER_AT + 8;
export const MAX_DATAGRAM_BYTES = MAX_SEALED_BYTES - PAYLOAD_AT - SEAL_BYTES;
/** Peers that may be remembered beyond twice the nodes of the map before those that are gone are forgotten. */
const SLACK = 64;

/** Why a datagram was refused. */
export const DATAGRAM_REFUSALS = [
  /** It is none, or one that is too long. */
  "malformed",
  /** Of another cluster, or sealed with a secret that this node does not know. */
  "foreign",
  /** The map has no such node, or no start of it; or this node is not admitted itself. */
  "stranger",
  /** Not sealed as the sender's present start seals for this node's: changed on the way, made up, or of an earlier start. */
  "forged",
  /** It has come before. */
  "replayed",
  /** So far behind the newest that nobody knows whether it has come before. */
  "old",
] as const;
export type DatagramRefusal = (typeof DATAGRAM_REFUSALS)[number];

export interface SealedDatagram {
  readonly address: BusAddress;
  readonly bytes: Uint8Array;
}

/** What this node keeps of another, as long as its start is the same. */
interface Peer {
  readonly clusterId: string;
  readonly start: string;
  /** For what this node sends to it. */
  sealKey: Uint8Array | undefined;
  /** For what it sends, one for each secret. */
  openKeys: readonly Uint8Array[] | undefined;
  window: ReplayWindow | undefined;
}

const encoder = new TextEncoder();

export class Datagrams {
  readonly #self: { readonly id: string };
  readonly #start: string;
  #keys: readonly Uint8Array[];
  #cluster: BusCluster | undefined;
  /** For each key, what datagrams of this cluster begin with. */
  #groups: readonly Uint8Array[] = [];
  readonly #peers = new Map<string, Peer>();
  #peersAfterForgetting = 0;
  // Counts on whatever happens: a number is never used twice with one key, also when a cluster is left and met again.
  #number = 0;

  /**
   * @param self This node; its id may change.
   * @param start This start of it.
   * @param keys Of the secrets that it knows, the one that it seals with first.
   */
  constructor(self: { readonly id: string }, start: string, keys: readonly Uint8Array[]) {
    this.#self = self;
    this.#start = start;
    this.#keys = keys;
  }

  /** How many nodes it remembers something of. */
  get peerCount(): number {
    return this.#peers.size;
  }

  setCluster(cluster: BusCluster | undefined): void {
    this.#cluster = cluster;
    this.#deriveGroups();
  }

  setKeys(keys: readonly Uint8Array[]): void {
    this.#keys = keys;
    this.#deriveGroups();
    for (const peer of this.#peers.values()) {
      peer.sealKey = undefined;
      peer.openKeys = undefined;
    }
  }

  /** @returns What goes out, and where to; `undefined` if it cannot. */
  seal(to: string, payload: Uint8Array): SealedDatagram | undefined {
    const cluster = this.#cluster;
    const member = this.#member(to);
    const [key] = this.#keys;
    const [group] = this.#groups;
    if (cluster === undefined || member === undefined || key === undefined || group === undefined) return undefined;
    if (payload.length > MAX_DATAGRAM_BYTES || !this.#isAdmitted()) return undefined;
    const peer = this.#peer(to, cluster.id, member.start);
    peer.sealKey ??= datagramKey(key, cluster.id, this.#start, member.start);
    const bytes = new Uint8Array(PAYLOAD_AT + payload.length + SEAL_BYTES);
    bytes[0] = FORMAT;
    bytes.set(group, 1);
    bytes.set(Buffer.from(this.#self.id, "hex"), SENDER_AT);
    const view = new DataView(bytes.buffer);
    view.setUint32(NUMBER_AT, Math.floor(this.#number / 2 ** 32));
    view.setUint32(NUMBER_AT + 4, this.#number % 2 ** 32);
    this.#number += 1;
    bytes.set(payload, PAYLOAD_AT);
    bytes.set(sealOf(peer.sealKey, bytes), bytes.length - SEAL_BYTES);
    return { address: member.address, bytes };
  }

  /** @returns Who sent it, and what; or why it is refused. The payload is a view of `bytes`. */
  open(bytes: Uint8Array): { readonly from: string; readonly payload: Uint8Array } | DatagramRefusal {
    if (bytes.length < PAYLOAD_AT + SEAL_BYTES || bytes.length > MAX_SEALED_BYTES || bytes[0] !== FORMAT) {
      return "malformed";
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const number = view.getUint32(NUMBER_AT) * 2 ** 32 + view.getUint32(NUMBER_AT + 4);
    if (!Number.isSafeInteger(number)) return "malformed";
    const secret = this.#groups.findIndex((group) => group.every((byte, at) => byte === bytes[1 + at]));
    const cluster = this.#cluster;
    if (cluster === undefined || secret < 0) return "foreign";
    const from = Buffer.from(bytes.buffer, bytes.byteOffset + SENDER_AT, SENDER_BYTES).toString("hex");
    const member = this.#member(from);
    if (member === undefined || from === this.#self.id || !this.#isAdmitted()) return "stranger";
    const peer = this.#peer(from, cluster.id, member.start);
    const look = peer.window?.look(number) ?? "fresh";
    if (look !== "fresh") return look;
    peer.openKeys ??= this.#keys.map((key) => datagramKey(key, cluster.id, member.start, this.#start));
    const key = peer.openKeys[secret];
    if (key === undefined || !isSameProof(bytes.subarray(bytes.length - SEAL_BYTES), sealOf(key, bytes))) {
      return "forged";
    }
    peer.window ??= new ReplayWindow();
    peer.window.take(number);
    return { from, payload: bytes.subarray(PAYLOAD_AT, bytes.length - SEAL_BYTES) };
  }

  /** A node of the map that has a start. */
  #member(id: string): ReturnType<BusCluster["member"]> {
    const member = this.#cluster?.member(id);
    return member === undefined || member.start === "" ? undefined : member;
  }

  /** Whether the map has this start of this node: nobody could open what another one seals. */
  #isAdmitted(): boolean {
    return this.#member(this.#self.id)?.start === this.#start;
  }

  /** What there is of a node of the map, in this cluster and at this start. */
  #peer(id: string, clusterId: string, start: string): Peer {
    const known = this.#peers.get(id);
    if (known?.start === start && known.clusterId === clusterId) return known;
    if (known === undefined && this.#peers.size >= 2 * this.#peersAfterForgetting + SLACK) this.#forget();
    const peer: Peer = { clusterId, start, sealKey: undefined, openKeys: undefined, window: undefined };
    this.#peers.set(id, peer);
    return peer;
  }

  #forget(): void {
    for (const [id, peer] of this.#peers) if (this.#member(id)?.start !== peer.start) this.#peers.delete(id);
    this.#peersAfterForgetting = this.#peers.size;
  }

  #deriveGroups(): void {
    const cluster = this.#cluster;
    this.#groups =
      cluster === undefined
        ? []
        : this.#keys.map((key) => proofOf(key, "datagram group", encoder.encode(cluster.id)).subarray(0, GROUP_BYTES));
  }
}

function datagramKey(key: Uint8Array, clusterId: string, sender: string, receiver: string): Uint8Array {
  return proofOf(key, "datagram key", encoder.encode(clusterId), encoder.encode(sender), encoder.encode(receiver));
}

/** The seal of a datagram, over all of it but the place where the seal goes. */
function sealOf(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  return proofOf(key, "datagram", bytes.subarray(0, bytes.length - SEAL_BYTES)).subarray(0, SEAL_BYTES);
}
