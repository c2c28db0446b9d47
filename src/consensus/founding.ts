/**
 * How nodes that know of no cluster come to be one, and only one. Pure: it is told what others say, and says what to do.
 *
 * Who founds is either a list, the same on each node of it, or a number of nodes that find each other through seeds. A group is founded by identities, not
 * by nodes: each start without a disk is a new identity, and a group is named after its founders' identities.
 * 1. A node that belongs to no group asks everybody that it knows, again and again.
 * 2. When all who are to found it have answered that they are fresh, it promises to found the group of just these identities, and says so in all that it
 *    tells. An identity promises once: whoever would take a promise back becomes another identity first.
 * 3. When all of them have promised the same, it founds that group. Others that hear the same promises found the same one.
 * 4. If one of them belongs to a group that was founded with this node's identity, that is the group which it has promised: it founds it as well.
 * 5. If anybody belongs to another group, one that has had a leader, this node founds none any more: it asks to join that one. One that never had a leader
 *    it leaves alone: it may never get one.
 * 6. A promise is taken back when the founding that it was for cannot come to be: one of those in it is somebody else by now, has promised something else, or
 *    has been away for long.
 * 7. A member of a group that never had a leader leaves it when too many of its founders have come back as somebody else (`formation.ts`).
 *
 * A node that expects nobody beside itself founds without anybody's promise, once all seeds that it was given have told that they know of no group.
 *
 * Never two that live: a group is founded only with the promise of each of its identities, an identity promises one, and a node is one identity at a time. A
 * group lives through a majority of its identities; with as many nodes as are expected, two majorities share a node.
 */
import { createHash } from "node:crypto";
import { assert, present } from "../assert.ts";
import type { FormationPlan, Founder } from "../contracts/consensus.ts";
import { formatAddress } from "../net-address.ts";
import type { Member, PeerId } from "../protocol/raft/types.ts";
import { foundingVoters } from "../protocol/voters.ts";

/** Two lists that differ found nothing together. @param maxVoters Founders that disagree on who votes would found different groups. */
export function listDigest(founders: readonly Founder[], maxVoters: number): string {
  const text = founders
    .map(({ nodeId, address, zone, isWitness }) => `${nodeId} ${address.host} ${address.port} ${zone} ${isWitness}`)
    .toSorted()
    .join("\n");
  return createHash("sha1").update(`bunch founders ${maxVoters}\n${text}`).digest("hex");
}

/** The same for nodes that find each other: those that expect another number found nothing together. @param terms What else they must agree on. */
export function expectationDigest(count: number, terms: string): string {
  return createHash("sha1").update(`bunch founders expected ${count}\n${terms}`).digest("hex");
}

/** The name of the group that these identities found. */
export function groupOf(list: string, peers: readonly PeerId[]): string {
  return createHash("sha1")
    .update(`bunch group ${list}\n${peers.toSorted().join("\n")}`)
    .digest("hex");
}

/** A founder under the identity that it has at this moment. */
export interface Candidate extends Founder {
  readonly peer: PeerId;
}

/** A group that may be founded. */
export interface Proposal {
  readonly group: string;
  /** In the order of their nodes' ids. */
  readonly candidates: readonly Candidate[];
}

/**
 * The members of a group that is founded. Votes go to the first one that holds data, since a group of one must not stop with a witness; then to witnesses, which
 * are there for that alone; then to the others.
 *
 * @param founders In their order.
 */
export function foundingMembers(
  founders: readonly Founder[],
  candidates: readonly Candidate[],
  maxVoters: number,
): readonly Member[] {
  const peers = new Map(candidates.map(({ nodeId, peer }) => [nodeId, peer]));
  const first = founders.find(({ isWitness }) => !isWitness);
  const rankOf = (founder: Founder): number => (founder === first ? 0 : founder.isWitness ? 1 : 2);
  const inTurn = founders.toSorted((a, b) => rankOf(a) - rankOf(b));
  const voters = new Set(inTurn.slice(0, foundingVoters(founders.length, maxVoters)));
  return founders.map((founder) => {
    const { nodeId, address, zone, isWitness } = founder;
    const id = present(peers.get(nodeId), "every founder has an identity");
    return { id, isVoter: voters.has(founder), host: address.host, port: address.port, zone, isWitness };
  });
}

/** What a node founds that is alone on its list. */
export function soleProposal(plan: FormationPlan, peer: PeerId, maxVoters: number): Proposal {
  const { founders } = plan.type === "list" ? plan : { founders: [] };
  const [founder, ...others] = founders;
  assert(founder !== undefined && others.length === 0, "this node founds alone");
  return { group: groupOf(listDigest(founders, maxVoters), [peer]), candidates: [{ ...founder, peer }] };
}

/** What another node has said of itself. */
export interface Report {
  readonly candidate: Candidate;
  /** Whom it would found a group with; empty: nobody. */
  readonly list: string;
  /** The group that it has promised to found; empty: none. */
  readonly promise: string;
  /** Empty: it belongs to none. */
  readonly group: string;
  readonly founders: readonly PeerId[];
  /** The group has had a leader. */
  readonly isEstablished: boolean;
  readonly atMs: number;
}

/** Who is to found a group. */
export interface Expectation {
  readonly list: string;
  /** How many, this node among them; 0: this node founds nothing. */
  readonly count: number;
  /** Just these nodes; `undefined`: whoever expects the same. */
  readonly nodes: readonly Founder[] | undefined;
  /** Where a cluster is looked for, in words: named when there is nothing else to wait for. */
  readonly seeds: string;
}

/** A node that belongs to no group, with what it has promised. */
export interface FoundingSelf {
  readonly candidate: Candidate;
  readonly promise: Proposal | undefined;
  /** Where it was told to look, but for its own address: each with the node that is known to be there. */
  readonly seeds: readonly { readonly address: string; readonly nodeId: string | undefined }[];
}

export type FoundingStep =
  /** Ask on. Says in words what is waited for. */
  | { readonly type: "wait"; readonly why: string }
  | { readonly type: "promise"; readonly proposal: Proposal }
  /** Be somebody else, without a promise. */
  | { readonly type: "renounce"; readonly why: string }
  | { readonly type: "found"; readonly proposal: Proposal }
  | { readonly type: "join"; readonly group: string };

/** An answer older than this says nothing about who is there. */
const RECENT_MS = 2000;
/** Somebody who has been silent for so long is not coming, and a group of which nobody has told for so long may have ended. */
const GONE_MS = 10_000;

/**
 * What a node that belongs to no group does.
 *
 * @param reports What others said, by node id.
 */
export function foundingStep(
  self: FoundingSelf,
  { list, count, nodes, seeds }: Expectation,
  reports: ReadonlyMap<string, Report>,
  nowMs: number,
): FoundingStep {
  const { nodeId, peer } = self.candidate;
  const isListed = (report: Report): boolean =>
    nodes === undefined || (report.list === list && nodes.some((each) => each.nodeId === report.candidate.nodeId));
  const others = [...reports.values()].filter((report) => report.candidate.nodeId !== nodeId && isListed(report));
  const living = others.find((report) => report.group !== "" && report.isEstablished && nowMs - report.atMs <= GONE_MS);
  const promised = self.promise;
  const isOurs = (report: Report): boolean => report.group === promised?.group && report.founders.includes(peer);
  if (promised !== undefined && (living === undefined || isOurs(living)) && others.some(isOurs)) {
    return { type: "found", proposal: promised };
  }
  if (living !== undefined) return { type: "join", group: living.group };
  if (count === 0) return { type: "wait", why: `a cluster at ${seeds}` };

  const recent = others.filter((report) => report.list === list && nowMs - report.atMs <= RECENT_MS);
  if (promised !== undefined) return keepPromise(promised, nodeId, recent, reports, nowMs);

  const member = recent.find((report) => report.group !== "");
  if (member !== undefined) return { type: "wait", why: `a leader of the group of ${nameOf(member.candidate)}` };
  const candidates = [self.candidate, ...recent.map((report) => report.candidate)].toSorted((a, b) =>
    a.nodeId < b.nodeId ? -1 : 1,
  );
  if (candidates.length < count) return { type: "wait", why: missing(candidates, count, nodes, seeds) };
  if (candidates.length > count) {
    return {
      type: "wait",
      why: `fewer nodes: ${candidates.length} would found a cluster of ${count}; start all with the same --bootstrap-expect, and further ones with --join alone`,
    };
  }
  const peers = candidates.map((each) => each.peer);
  const proposal = { group: groupOf(list, peers), candidates };
  const other = recent.find((report) => report.promise !== "" && report.promise !== proposal.group);
  if (other !== undefined) return { type: "wait", why: `${nameOf(other.candidate)} to give up an earlier founding` };
  if (count > 1) return { type: "promise", proposal };
  const why = nodes === undefined ? reasonToWait(self, list, reports, nowMs) : undefined;
  return why === undefined ? { type: "found", proposal } : { type: "wait", why };
}

/**
 * Why a node does not found a group by itself yet, though it expects nobody else. Nobody's promise is needed for that, so nobody may be overlooked who could tell of
 * a group: it was told where to look, and looks there first. One that cannot be reached may be in a cluster, or be about to found one.
 */
function reasonToWait(
  { candidate: { nodeId }, seeds }: FoundingSelf,
  list: string,
  reports: ReadonlyMap<string, Report>,
  nowMs: number,
): string | undefined {
  const recent = (id: string | undefined): Report | undefined => {
    const report = id === undefined ? undefined : reports.get(id);
    return report !== undefined && nowMs - report.atMs <= RECENT_MS ? report : undefined;
  };
  const silent = seeds.filter((seed) => seed.nodeId !== nodeId && recent(seed.nodeId) === undefined);
  if (silent.length > 0) {
    return `word from ${silent.map(({ address }) => address).join(", ")} that there is no cluster yet: with --bootstrap-expect 1 all of --join are asked before this node founds one alone`;
  }
  for (const id of reports.keys()) {
    const report = id === nodeId ? undefined : recent(id);
    if (report === undefined) continue;
    const name = nameOf(report.candidate);
    if (report.group !== "") return `a leader of the group of ${name}`;
    if (report.list !== "" && report.list !== list) {
      return `${name}, which was started with another --bootstrap-expect: one node, or all with the same number, found a cluster`;
    }
  }
  return undefined;
}

function keepPromise(
  promised: Proposal,
  self: string,
  recent: readonly Report[],
  reports: ReadonlyMap<string, Report>,
  nowMs: number,
): FoundingStep {
  const waiting: Candidate[] = [];
  for (const candidate of promised.candidates) {
    if (candidate.nodeId === self) continue;
    const report = recent.find((each) => each.candidate.nodeId === candidate.nodeId);
    if (report === undefined) {
      const heardAtMs = reports.get(candidate.nodeId)?.atMs ?? Number.NEGATIVE_INFINITY;
      if (nowMs - heardAtMs > GONE_MS) return { type: "renounce", why: `${nameOf(candidate)} has gone` };
      waiting.push(candidate);
    } else if (report.candidate.peer !== candidate.peer) {
      return { type: "renounce", why: `${nameOf(candidate)} has started again` };
    } else if (report.promise !== "" && report.promise !== promised.group) {
      return { type: "renounce", why: `${nameOf(candidate)} would found another one` };
    } else if (report.promise === "") {
      waiting.push(candidate);
    }
  }
  if (waiting.length === 0) return { type: "found", proposal: promised };
  return { type: "wait", why: `the word of ${waiting.map(nameOf).join(", ")} to found a cluster together` };
}

function nameOf({ address }: Candidate): string {
  return formatAddress(address);
}

function missing(
  candidates: readonly Candidate[],
  count: number,
  nodes: readonly Founder[] | undefined,
  seeds: string,
): string {
  if (nodes === undefined) {
    return `${count - candidates.length} more of the ${count} nodes that --bootstrap-expect says (found ${candidates.map(nameOf).join(", ")}; looking at ${seeds})`;
  }
  const absent = nodes.filter((each) => !candidates.some(({ nodeId }) => nodeId === each.nodeId));
  return `word from ${absent.map(({ address }) => formatAddress(address)).join(", ")}`;
}
