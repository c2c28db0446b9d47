/**
 * How nodes that are started with the same list of addresses come to be one group, and only one. Pure: it is told what others say, and says what to do.
 *
 * A group is founded by identities, not by nodes: each start without a disk is a new identity, and a group is named after the founders' identities.
 * 1. A node that belongs to no group asks those on the list, again and again: everybody, or, on a long list, whoever may know the group (`formation.ts`).
 * 2. If *all* of them answer that they are fresh, it founds the group of just these identities. Others that hear the same answers found the same one.
 * 3. If one of them belongs to a group that was founded with this node's identity, it is the same founding: this node has only not heard everybody.
 * 4. If one of them belongs to another group that has had a leader, this node does not found any more: it asks to join that one. One that never had a
 *    leader it leaves alone: it may never get one.
 * 5. A member of a group that never had a leader leaves it when too many of its founders have come back as somebody else: it cannot come to life.
 *
 * Never two that live: an identity is in one group only, and a group needs a majority of its identities. Say A founds {a, b, c} while B restarts, and C,
 * having heard an older answer of A's, founds {a, b2, c}. C's group has nobody but C: A is in the other, and B joins A's, since A says so. C finds
 * out (`here` of an established group), and, as its own never had a leader, leaves it and joins as a new identity.
 */
import { createHash } from "node:crypto";
import type { Founder } from "../contracts/consensus.ts";
import type { PeerId } from "../protocol/raft/types.ts";

/** Two lists that differ found nothing together. @param maxVoters Founders that disagree on who votes would found different groups. */
export function listDigest(founders: readonly Founder[], maxVoters: number): string {
  const text = founders
    .map(({ nodeId, address, zone, isWitness }) => `${nodeId} ${address.host} ${address.port} ${zone} ${isWitness}`)
    .toSorted()
    .join("\n");
  return createHash("sha1").update(`bunch founders ${maxVoters}\n${text}`).digest("hex");
}

/** The name of the group that these identities found. */
export function groupOf(list: string, peers: readonly PeerId[]): string {
  return createHash("sha1")
    .update(`bunch group ${list}\n${peers.toSorted().join("\n")}`)
    .digest("hex");
}

/** What another node on the list has said of itself. */
export interface Report {
  readonly nodeId: string;
  readonly peer: PeerId;
  /** Empty: it belongs to none. */
  readonly group: string;
  readonly founders: readonly PeerId[];
  readonly isEstablished: boolean;
  readonly atMs: number;
}

export type FoundingStep =
  /** Ask on. Names those that have not answered. */
  | { readonly type: "wait"; readonly missing: readonly string[] }
  | { readonly type: "found"; readonly peers: readonly PeerId[]; readonly group: string }
  | { readonly type: "join"; readonly group: string };

/** An answer older than this says nothing about the present. */
const FRESH_FOR_MS = 1000;

/**
 * What a node that belongs to no group does.
 *
 * @param self This node.
 * @param reports What others said, by node id.
 */
export function foundingStep(
  self: { readonly nodeId: string; readonly peer: PeerId },
  list: string,
  founders: readonly Founder[],
  reports: ReadonlyMap<string, Report>,
  nowMs: number,
): FoundingStep {
  const others = founders.filter((founder) => founder.nodeId !== self.nodeId);
  const heard = others.flatMap(({ nodeId }) => reports.get(nodeId) ?? []);
  const members = heard.filter((report) => report.group !== "");
  const [elsewhere] = members.toSorted((a, b) => Number(b.isEstablished) - Number(a.isEstablished));
  if (elsewhere?.founders.includes(self.peer) === true) {
    return { type: "found", peers: elsewhere.founders, group: elsewhere.group };
  }
  if (elsewhere?.isEstablished === true) return { type: "join", group: elsewhere.group };
  const isRecent = (nodeId: string): boolean =>
    nowMs - (reports.get(nodeId)?.atMs ?? Number.NEGATIVE_INFINITY) <= FRESH_FOR_MS;
  const missing = others.filter(({ nodeId }) => !isRecent(nodeId) || reports.get(nodeId)?.group !== "");
  if (missing.length > 0)
    return { type: "wait", missing: missing.map(({ address }) => `${address.host}:${address.port}`) };
  const peers = [self.peer, ...heard.map((report) => report.peer)].toSorted();
  return { type: "found", peers, group: groupOf(list, peers) };
}
