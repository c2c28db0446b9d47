/** Checkers of a whole cluster: of its Raft group, with the small checkers of `raft-checkers.ts`, and of the map that it agrees on. */
import { makeRoutes } from "../../plugins/hash-slot-router.ts";
import { slotHoldsService } from "../../src/contracts/slot-holds.ts";
import type { RaftConsensus } from "../../plugins/raft.ts";
import { failoverService } from "../../src/contracts/failover.ts";
import type { RequestOutcome } from "../../src/contracts/consensus.ts";
import type { ClusterMap, ShardRecord, Topology } from "../../src/contracts/topology.ts";
import { SLOT_COUNT } from "../../src/codec/slot.ts";
import type { Node } from "../../src/node.ts";
import { majorityValue } from "../../src/protocol/raft/quorum.ts";
import type { Raft } from "../../src/protocol/raft/machine.ts";
import type { PeerId } from "../../src/protocol/raft/types.ts";
import {
  BoundedQueues,
  CommittedEntries,
  ElectionSafety,
  LogMatching,
  type MemberView,
  NothingGoesBack,
  OneChangeAtATime,
  Violation,
  nobodyContradicts,
} from "./raft-checkers.ts";

/** A node that runs. */
export interface NodeView {
  readonly name: string;
  readonly node: Node;
  readonly topology: Topology;
  readonly consensus: RaftConsensus;
}

/** A log may hold what is not committed (8 MiB), what a snapshot waits for, and what trails it. */
const MAX_LOG_BYTES = 16 * 1024 * 1024;
/** Comparing whole logs is dear: each is looked at when it has grown so often. */
const MATCHING_EVERY = 16;

interface Seen {
  role: string;
  term: number;
  commitIndex: number;
  lastIndex: number;
  snapshotIndex: number;
  fetchedSnapshots: number;
  looks: number;
}

/** What must hold for the members of a group. Looks at a machine as it is after each event of its own. */
export class GroupChecker {
  /** Snapshots that were taken or installed. */
  snapshots = 0;
  /** Those among them that came from members which were asked for them. */
  fetchedSnapshots = 0;
  readonly #election = new ElectionSafety();
  readonly #committed = new CommittedEntries();
  readonly #matching = new LogMatching();
  readonly #back = new NothingGoesBack();
  readonly #oneChange = new OneChangeAtATime();
  readonly #bounded = new BoundedQueues(MAX_LOG_BYTES);
  readonly #seen = new Map<PeerId, Seen>();
  readonly #votes = new Map<string, PeerId>();
  /** The group that has come to life. */
  #group = "";

  get terms(): number {
    return this.#election.terms;
  }

  look({ consensus }: NodeView): void {
    const { machine } = consensus;
    if (machine === undefined) return;
    const { id, term, role, log } = machine;
    nobodyContradicts(machine);
    let seen = this.#seen.get(id);
    if (seen === undefined) {
      const commitIndex = log.snapshot.index;
      seen = { role: "", term: -1, commitIndex, lastIndex: 0, snapshotIndex: 0, fetchedSnapshots: 0, looks: 0 };
      this.#seen.set(id, seen);
    }
    if (
      seen.role === role &&
      seen.term === term &&
      seen.commitIndex === log.commitIndex &&
      seen.lastIndex === log.lastIndex &&
      seen.snapshotIndex === log.snapshot.index
    )
      return;
    const view: MemberView = { id, term, role, log };
    // A vote that is not durable was told to nobody, and may be forgotten.
    const { durableVote } = machine;
    if (durableVote?.votedFor !== undefined) {
      const key = `${id} in term ${durableVote.term}`;
      const other = this.#votes.get(key);
      if (other !== undefined && other !== durableVote.votedFor) {
        throw new Violation(`one vote a term: ${key} voted for ${other} and for ${durableVote.votedFor}`);
      }
      this.#votes.set(key, durableVote.votedFor);
    }
    const from = Math.max(seen.commitIndex + 1, log.firstIndex);
    if (log.commitIndex >= from) this.#committed.applied(id, log.range(from, log.commitIndex));
    if (log.snapshot.index > seen.snapshotIndex) {
      this.snapshots += 1;
      this.#committed.restored(id, log.snapshot);
    }
    if (role === "leader" && (seen.role !== "leader" || seen.term !== term)) {
      const { group } = consensus.status;
      if (this.#group !== "" && this.#group !== group) {
        throw new Violation(`one cluster is founded: ${this.#group} and ${group} both have a leader`);
      }
      this.#group = group;
      this.#election.leads(id, term);
      this.#committed.leads(view);
    }
    this.#back.look(view);
    this.#bounded.look(view);
    seen.looks += 1;
    if (seen.looks % MATCHING_EVERY === 0) {
      this.#matching.look(view);
      this.#oneChange.look(view);
    }
    seen.role = role;
    seen.term = term;
    seen.commitIndex = log.commitIndex;
    seen.lastIndex = log.lastIndex;
    seen.snapshotIndex = log.snapshot.index;
    this.fetchedSnapshots += machine.fetching.snapshots - seen.fetchedSnapshots;
    seen.fetchedSnapshots = machine.fetching.snapshots;
  }

  stopped(machine: Raft): void {
    this.#seen.delete(machine.id);
    // What was not durable may be gone: term and snapshot of the past are checked by votes and committed entries.
    this.#back.stopped(machine.id, { term: 0, snapshotIndex: 0 });
  }
}

/** Clocks drift in a simulation, by less than this part. */
const MOST_DRIFT = 0.01;

/**
 * A new leader is never told that the one before it was heard longer ago than it was: any majority of its voters, so all that a lease can rest on, had heard
 * none of an earlier term since then. Looks at a node after each of its own events: what it hears is heard in one of these.
 */
export class PredecessorChecker {
  /** For each identity: when it last heard a leader of a term, or led in it itself. */
  readonly #heard = new Map<PeerId, Map<number, number>>();
  readonly #led = new Map<PeerId, number>();
  /** How often each had heard a leader. */
  readonly #words = new Map<PeerId, number>();

  look({ name, consensus }: NodeView, nowMs: number): void {
    const { machine, leadership } = consensus;
    if (machine === undefined) return;
    const { id, role, term } = machine;
    if (leadership !== undefined && this.#led.get(id) !== term) {
      this.#led.set(id, term);
      const latestMs = machine.voters.map((voter) => {
        const before = [...(this.#heard.get(voter) ?? [])].filter(([earlier]) => earlier < term);
        return Math.max(0, ...before.map(([, atMs]) => atMs));
      });
      const heardMs = majorityValue(latestMs);
      const agoMs = nowMs - heardMs;
      const toldMs = leadership.predecessorHeardAgoMs ?? Number.POSITIVE_INFINITY;
      if (heardMs > 0 && toldMs > agoMs * (1 + MOST_DRIFT) + 1) {
        throw new Violation(
          `a new leader knows how old leases can be: ${name} is told ${toldMs} ms in term ${term}, and a majority heard one ${agoMs} ms ago`,
        );
      }
    }
    const { leadersHeard } = machine;
    if (role !== "leader" && this.#words.get(id) === leadersHeard) return;
    this.#words.set(id, leadersHeard);
    if (role !== "leader" && leadersHeard === 0) return;
    let terms = this.#heard.get(id);
    if (terms === undefined) {
      terms = new Map();
      this.#heard.set(id, terms);
    }
    terms.set(term, nowMs);
  }
}

/**
 * A primary that has started again serves nothing of a shard of which another member may hold what it lost: until it is promoted anew. Looks at a node
 * after each of its own events.
 */
export class HolderChecker {
  readonly #maps = new Map<NodeView, ClusterMap>();
  /** The shard whose data a process has lost, as its admission says. */
  readonly #lost = new Map<NodeView, string>();

  look(view: NodeView): void {
    const { map } = view.topology;
    const before = this.#maps.get(view);
    if (before === map) return;
    this.#maps.set(view, map);
    const { id, runId: start } = view.node.facts;
    const own = map.nodes.find((node) => node.id === id && node.start === start);
    const earlier = before?.nodes.find((node) => node.id === id)?.incarnation ?? 0;
    const shard = map.shards.find(
      ({ primary, inSync, eligible }) => primary === id && [...inSync, ...eligible].some((each) => each !== id),
    );
    // Its first start has lost nothing, whoever followed it before that.
    if (own?.incarnation === map.version && earlier > 0 && shard !== undefined) this.#lost.set(view, shard.id);
    const lost = this.#lost.get(view);
    if (lost === undefined) return;
    const at = map.shards.findIndex((shard) => shard.id === lost && shard.primary === id);
    if (at < 0) {
      this.#lost.delete(view);
      return;
    }
    const { actionOfSlot } = makeRoutes(map, { id, start });
    const served = map.shardOfSlot.findIndex((shard, slot) => shard === at && actionOfSlot[slot] === 0);
    if (served >= 0) {
      throw new Violation(`who serves holds the data: ${view.name} has started again, and serves ${served} as before`);
    }
  }
}

interface Answer {
  readonly type: RequestOutcome["type"];
  readonly version: number;
}

/** The newest version of a cluster that anybody outside was told of. */
export interface KnownVersion {
  readonly clusterId: string;
  readonly version: number;
}

const NOTHING_HELD: readonly number[] = [];

/** What must hold for the map, on every node that has one. */
export class MapChecker {
  /** The newest version that any node has had. */
  newestVersion = 0;
  /** Machines are suspended: one that was takes its lease to run on. */
  hasSuspensions = false;
  /** By cluster: the newest version that anybody outside was told of. */
  readonly #answeredVersions = new Map<string, number>();
  /** Nodes that an operator takes for gone: until they hear of it they serve on, and others serve in their place. */
  readonly givenUp = new Set<string>();
  /** By cluster and version: versions of different clusters are not comparable. */
  readonly #digests = new Map<string, string>();
  readonly #versions = new Map<NodeView, ClusterMap>();
  readonly #parts = new Parts();
  /** Slots that each holds. */
  readonly #held = new Map<NodeView, readonly number[]>();
  /** The slots that each serves, a bit each. */
  readonly #serving = new Map<NodeView, Uint32Array>();
  /** Who serves each slot; if one that is given up and another do, the other. */
  readonly #servedBy: (NodeView | undefined)[] = Array.from({ length: SLOT_COUNT }, () => undefined);
  readonly #answers = new Map<string, Answer>();

  look(view: NodeView): void {
    const { map } = view.topology;
    const before = this.#versions.get(view);
    const held = view.node.service(slotHoldsService)?.held ?? NOTHING_HELD;
    const isHeldAsBefore = (this.#held.get(view) ?? NOTHING_HELD) === held || map.version === 0;
    if (!isHeldAsBefore) {
      this.#held.set(view, held);
      this.#oneServes(view, map);
    }
    if (before === map) return;
    this.#versions.set(view, map);
    if (before?.clusterId === map.clusterId && map.version < before.version) {
      throw new Violation(`versions do not go back: ${view.name} went from ${before.version} to ${map.version}`);
    }
    if (map.version === 0) return;
    this.newestVersion = Math.max(this.newestVersion, map.version);
    const digest = this.#parts.digestOf(map);
    const key = `${map.clusterId} ${map.version}`;
    const other = this.#digests.get(key);
    if (other !== undefined && other !== digest) {
      throw new Violation(`a version is one map: ${view.name} has another map at version ${map.version}`);
    }
    this.#digests.set(key, digest);
    const isSame =
      before?.shardOfSlot === map.shardOfSlot &&
      before.releases === map.releases &&
      before.openSlots === map.openSlots &&
      before.migrations.every(({ fence }) => fence === undefined) &&
      map.migrations.every(({ fence }) => fence === undefined) &&
      before.shards.every((shard, at) => hasSamePrimary(shard, map.shards[at])) &&
      startOf(before, view) === startOf(map, view);
    if (!isSame || !view.topology.isMember) this.#oneServes(view, map);
  }

  /** Nobody serves a slot that another node may still serve, since it does not know yet that it lost it. */
  #oneServes(view: NodeView, map: ClusterMap): void {
    const { facts } = view.node;
    if (this.givenUp.has(facts.id)) return;
    if (!view.topology.isMember) return this.#servesNothing(view);
    const { actionOfSlot, open } = makeRoutes(map, { id: facts.id, start: facts.runId });
    const serves = new Uint32Array(SLOT_COUNT / 32);
    // The owner of a slot that is moved key by key serves what it has of it; who holds a slot serves nothing of it.
    for (const [slot, { part }] of open) if (part === "owner") actionOfSlot[slot] = 0;
    for (const slot of this.#held.get(view) ?? NOTHING_HELD) actionOfSlot[slot] = 1;
    // Most slots are others': what is served is found by a search.
    for (let slot = actionOfSlot.indexOf(0); slot >= 0; slot = actionOfSlot.indexOf(0, slot)) {
      for (; actionOfSlot[slot] === 0; slot += 1) {
        serves[slot >>> 5] = (serves[slot >>> 5] as number) | (1 << (slot & 31));
      }
    }
    const served = this.#serving.get(view);
    for (let word = 0; word < serves.length; word += 1) {
      const [before, after] = [served?.[word] ?? 0, serves[word] as number];
      if (before !== after) this.#pass(view, word * 32, before, after);
    }
    this.#serving.set(view, serves);
  }

  /** Of 32 slots from `first` on, one node serves others than before. */
  #pass(view: NodeView, first: number, before: number, after: number): void {
    for (let bit = 0; bit < 32; bit += 1) {
      const slot = first + bit;
      const other = this.#servedBy[slot];
      if (((after >>> bit) & 1) === 0) {
        if (((before >>> bit) & 1) === 1 && other === view) this.#servedBy[slot] = undefined;
        continue;
      }
      // One that hears of its promotion when another has been promoted in its place already serves nothing: it has no lease, and gets none.
      const isOver = this.hasSuspensions || isWithoutLease(view);
      if (other !== undefined && other !== view && isOver && isDeposed(view, other, slot)) continue;
      // One whose lease is over serves nothing, whatever it takes for its own.
      const isLapsed = other !== undefined && isWithoutLease(other);
      if (
        other !== undefined &&
        other !== view &&
        !isLapsed &&
        !isDeposed(other, view, slot) &&
        !this.givenUp.has(other.node.facts.id)
      ) {
        throw new Violation(`one node serves a slot: ${view.name} and ${other.name} both serve ${slot}`);
      }
      this.#servedBy[slot] = view;
    }
  }

  stopped(view: NodeView): void {
    this.#servesNothing(view);
    this.#versions.delete(view);
  }

  #servesNothing(view: NodeView): void {
    for (const [word, bits] of this.#serving.get(view)?.entries() ?? []) this.#pass(view, word * 32, bits, 0);
    this.#serving.delete(view);
  }

  /** Somebody was told what became of a request. */
  answered(cause: string, outcome: RequestOutcome, view: NodeView, newestBefore: number): void {
    const version = outcome.type === "done" ? outcome.index : 0;
    if (outcome.type === "done") {
      if (view.topology.map.version < version && !isOlder(view, version)) {
        throw new Violation(`an answer is given when the node has applied it: ${view.name} at ${version}`);
      }
      if (version <= 0) throw new Violation(`an answer names its version: ${cause} got ${version}`);
      const { clusterId, version: now } = view.topology.map;
      this.#answeredVersions.set(clusterId, Math.max(this.#answeredVersions.get(clusterId) ?? 0, now));
    }
    this.#answers.set(cause, { type: outcome.type, version: Math.max(version, newestBefore > 0 ? version : 0) });
  }

  /** What is known of a node's cluster at this moment, for `read`. */
  known({ topology: { map } }: NodeView): KnownVersion {
    return { clusterId: map.clusterId, version: this.#answeredVersions.get(map.clusterId) ?? 0 };
  }

  /** A node was told that it knows everything that was known when it asked. */
  read(view: NodeView, { clusterId, version: least }: KnownVersion): void {
    const { version } = view.topology.map;
    // Versions of different clusters are not comparable.
    if (view.topology.map.clusterId === clusterId && version < least) {
      throw new Violation(
        `reads are fresh: ${view.name} read version ${version}, and ${least} was known before it asked`,
      );
    }
  }

  /** In the end: what was answered as done is in every map's history, once; what was refused is in none. */
  final(views: readonly NodeView[]): void {
    for (const view of views) {
      const times = new Map<string, number>();
      for (const { cause } of view.topology.history) times.set(cause, (times.get(cause) ?? 0) + 1);
      for (const [cause, count] of times) {
        const answer = this.#answers.get(cause);
        if (!cause.startsWith("request ")) continue;
        if (count > 1) throw new Violation(`a request happens once: ${cause} happened ${count} times on ${view.name}`);
        if (answer !== undefined && (answer.type === "rejected" || answer.type === "refused")) {
          throw new Violation(`what was ${answer.type} did not happen: ${cause} did on ${view.name}`);
        }
      }
      for (const [cause, { type }] of this.#answers) {
        if (type === "done" && !times.has(cause) && this.#changed.has(cause)) {
          throw new Violation(`what was answered is there: ${cause} is missing on ${view.name}`);
        }
      }
      const [first] = views;
      if (first !== undefined && this.#parts.digestOf(first.topology.map) !== this.#parts.digestOf(view.topology.map)) {
        throw new Violation(`maps are equal in the end: ${view.name} and ${first.name} differ`);
      }
      for (const { cause } of view.topology.history) this.#changed.add(cause);
    }
  }

  // Causes that changed something: acts without records leave no history.
  readonly #changed = new Set<string>();
}

/** An act without records makes no new map: its version is passed all the same. */
function isOlder(view: NodeView, version: number): boolean {
  return (view.consensus.machine?.log.appliedIndex ?? 0) >= version;
}

/**
 * Maps as short texts that are equal if and only if the maps are. A part of a map (a node, a shard ...) never changes, and most live on from version to
 * version: each is written out once, and has a number by what it says.
 */
class Parts {
  readonly #numbers = new Map<string, number>();
  readonly #known = new WeakMap<object, number>();

  digestOf({
    clusterId,
    nodes,
    shards,
    migrations,
    openSlots,
    releases,
    tombstones,
    settings,
    seal,
  }: ClusterMap): string {
    const lists = [
      nodes,
      shards,
      migrations,
      openSlots,
      releases,
      tombstones,
      [settings],
      seal === undefined ? [] : [seal],
    ];
    return `${clusterId} ${lists.map((list) => this.#listOf(list)).join("/")}`;
  }

  #listOf(list: readonly object[]): string {
    let text = "";
    for (const part of list) {
      let number = this.#known.get(part);
      if (number === undefined) {
        const says = JSON.stringify(part instanceof Map ? [...part] : part);
        number = this.#numbers.get(says) ?? this.#numbers.size;
        this.#numbers.set(says, number);
        this.#known.set(part, number);
      }
      text += `${number},`;
    }
    return text;
  }
}

function hasSamePrimary(one: ShardRecord, other: ShardRecord | undefined): boolean {
  return one.primary === other?.primary && one.primaryIncarnation === other.primaryIncarnation;
}

/** The start of a node that a map admits. */
function startOf(map: ClusterMap, { node }: NodeView): string | undefined {
  return map.nodes.find(({ id }) => id === node.facts.id)?.start;
}

function isWithoutLease({ node }: NodeView): boolean {
  return node.service(failoverService) !== undefined && !node.replyGate.isLeased();
}

/**
 * Whether another node was promoted in the place of one that serves a slot, in the shard that it serves it for: the slot may have gone on to another shard since. Its writes need the in-sync set, which knows of that; its reads are its lease's
 * matter, which is looked at where no machine is suspended: one that was takes its lease to run on.
 */
function isDeposed(old: NodeView, next: NodeView, slot: number): boolean {
  const { map } = old.topology;
  const before = map.shards[map.shardOfSlot[slot] ?? -1];
  const after = next.topology.map.shards.find(({ id }) => id === before?.id);
  return (
    before !== undefined &&
    after !== undefined &&
    before.primaryEpoch < after.primaryEpoch &&
    after.primary !== before.primary
  );
}
