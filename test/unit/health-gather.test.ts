/** The facts that health is judged by, as they follow from what other plugins tell. */
import { describe, expect, test } from "bun:test";
import { RaftCounts } from "../../src/consensus/raft-counts.ts";
import { present } from "../../src/assert.ts";
import type { Consensus, ConsensusMember, ConsensusStatus } from "../../src/contracts/consensus.ts";
import type { Failover } from "../../src/contracts/failover.ts";
import type { MemberHealth, MembershipService } from "../../src/contracts/membership.ts";
import type { ReplicaHealth, Replication } from "../../src/contracts/replication.ts";
import type { ClusterMap, Topology } from "../../src/contracts/topology.ts";
import { FactGatherer, type FactSources } from "../../src/health/gather.ts";
import type { HealthFacts } from "../../src/protocol/health/types.ts";
import { makeMap, makeNode } from "../support/make-map.ts";

const ids = { a: "a".repeat(40), b: "b".repeat(40), c: "c".repeat(40) };
const nodeOf = (name: keyof typeof ids) =>
  makeNode({ id: ids[name], name, host: "127.0.0.1", port: 7001, start: "1".repeat(40) });

/** Two shards, `a` and `b`; what a test adds is laid over them. */
function mapOf(more: Partial<ClusterMap> = {}): ClusterMap {
  const map = makeMap(5, [
    { node: nodeOf("a"), shardId: "1".repeat(40), slots: [{ first: 0, last: 8191 }] },
    { node: nodeOf("b"), shardId: "2".repeat(40), slots: [{ first: 8192, last: 16_383 }] },
    { node: nodeOf("c"), shardId: "3".repeat(40), slots: [] },
  ]);
  return { ...map, ...more };
}

function member(nodeId: string, more: Partial<MemberHealth> = {}): MemberHealth {
  return {
    nodeId,
    incarnation: 1,
    state: "alive",
    sinceMs: 0,
    reason: "",
    suspectedBy: [],
    heardAtMs: 0,
    pingSentAtMs: undefined,
    pongReceivedAtMs: undefined,
    roundTripMs: undefined,
    lagMs: 0,
    offset: 0,
    mapVersion: 5,
    ...more,
  };
}

/** Node `a`, and what its plugins tell: a test changes it between two looks. */
class Told {
  map = mapOf();
  waitingFor: string | undefined;
  isMember = true;
  members = new Map(Object.values(ids).map((id) => [id, member(id)]));
  newestMapVersion = 5;
  isTakingPart = true;
  replicas: ReplicaHealth[] = [];
  role: Replication["role"] = "primary";
  last = 0;
  leaseState: Failover["leaseState"] = "held";
  leadership: Consensus["leadership"];
  hearsLeader = true;
  isOut = false;
  silentMs: Record<string, number> = {};
  nowMs = 0;
  readonly gatherer: FactGatherer;

  constructor(more: Partial<FactSources> = {}) {
    this.gatherer = new FactGatherer({
      topology: this.#topology(),
      consensus: this.#consensus(),
      membership: this.#membership(),
      replication: this.#replication(),
      failover: this.#failover(),
      migrations: undefined,
      keyspace: undefined,
      reports: undefined,
      wantedReplicas: undefined,
      load: () => undefined,
      parameter: () => undefined,
      machine: () => ({ residentBytes: 0, totalBytes: 0 }),
      disk: () => undefined,
      takeLagMs: () => 0,
      ...more,
    });
  }

  look(afterMs = 1000): HealthFacts {
    this.nowMs += afterMs;
    return this.gatherer.gather(this.nowMs);
  }

  #topology(): Topology {
    // oxlint-disable-next-line typescript/no-this-alias -- the getters of the service are called on it.
    const told = this;
    const refused = () => Promise.resolve({ type: "refused" as const, reason: "" });
    return {
      get map() {
        return told.map;
      },
      self: nodeOf("a"),
      get selfShard() {
        return told.map.shards.find(({ primary, replicas }) => primary === ids.a || replicas.includes(ids.a));
      },
      node: (id) => told.map.nodes.find((each) => each.id === id),
      request: refused,
      get isMember() {
        return told.isMember;
      },
      beginAlone: () => Promise.resolve(undefined),
      moveTo: () => Promise.resolve(undefined),
      introduction: nodeOf("a"),
      history: [],
      get waitingFor() {
        return told.waitingFor;
      },
      exportState: () => "",
    };
  }

  #consensus(): Consensus {
    // oxlint-disable-next-line typescript/no-this-alias -- the getters of the service are called on it.
    const told = this;
    const members: readonly ConsensusMember[] = Object.values(ids).map((nodeId) => ({
      nodeId,
      peer: nodeId,
      isVoter: nodeId !== ids.c,
      address: { host: "", port: 0 },
    }));
    const nothing = (): Promise<undefined> => Promise.resolve(undefined);
    return {
      get status(): ConsensusStatus {
        const { hearsLeader, isOut } = told;
        const role = told.leadership === undefined ? "follower" : "leader";
        const indexes = { commitIndex: 0, appliedIndex: 0, lastIndex: 0, snapshotIndex: 0 };
        return {
          group: "g",
          peer: "",
          role,
          term: 1,
          leader: ids.b,
          hearsLeader,
          ...indexes,
          members,
          isOut,
          waitingFor: undefined,
        };
      },
      counts: new RaftCounts(() => 0),
      get leadership() {
        return told.leadership;
      },
      onLead: () => undefined,
      attach: () => undefined,
      request: () => Promise.resolve({ type: "refused", reason: "" }),
      lookAt: () => undefined,
      catchUp: () => undefined,
      silentMs: (id) => told.silentMs[id] ?? 0,
      nextRequestId: () => "",
      barrier: () => Promise.resolve(false),
      leave: nothing,
      foundAlone: nothing,
      moveTo: nothing,
    };
  }

  #membership(): MembershipService {
    // oxlint-disable-next-line typescript/no-this-alias -- the getters of the service are called on it.
    const told = this;
    return {
      get status() {
        const { isTakingPart, newestMapVersion } = told;
        return { isTakingPart, score: 0, newestMapVersion, sentMessages: 0, receivedMessages: 0 };
      },
      members: () => [...told.members.values()],
      member: (id) => told.members.get(id),
    };
  }

  #replication(): Replication {
    // oxlint-disable-next-line typescript/no-this-alias -- the getters of the service are called on it.
    const told = this;
    return {
      get role() {
        return told.role;
      },
      position: undefined,
      isAheadOfMap: false,
      isBehindMap: false,
      isHandingOver: false,
      onHandOver: () => undefined,
      committed: 0,
      waitingFor: "the primary's answer",
      logBytes: 0,
      isChangingSets: false,
      get replicas() {
        return told.replicas;
      },
      get last() {
        return told.last;
      },
      acknowledgedBy: () => 0,
      whenAcknowledged: () => ({ reached: Promise.resolve(0), end: () => undefined }),
      waitingCount: 0,
      handOver: () => Promise.resolve(false),
      letKeysGo: () => undefined,
      letAllGo: () => undefined,
      setLeased: () => undefined,
      resume: () => undefined,
    };
  }

  #failover(): Failover {
    // oxlint-disable-next-line typescript/no-this-alias -- the getters of the service are called on it.
    const told = this;
    return {
      get leaseState() {
        return told.leaseState;
      },
      isHeir: false,
      holdForHeir: () => undefined,
      leaseEndsAtMs: 0,
      reasons: new Map(),
      promisedUntilMs: () => undefined,
      handOver: () => Promise.resolve(undefined),
      acceptLoss: () => Promise.resolve(undefined),
    };
  }
}

function replicaOf(nodeId: string, acknowledged: number, state: ReplicaHealth["state"] = "following"): ReplicaHealth {
  return { nodeId, state, isInSync: true, acknowledged, lag: 3, silentMs: 10, fill: undefined };
}

describe("facts of", () => {
  test("the quorum: the leader goes by whom it hears, the others by whom membership has", () => {
    const told = new Told();
    const answering = (): unknown => told.look().quorum?.voters.map(({ name, isAnswering }) => [name, isAnswering]);
    expect(told.look().quorum).toMatchObject({ leader: "b", nodeCount: 3 });
    told.members.set(ids.b, member(ids.b, { state: "suspect" }));
    expect(answering()).toEqual([
      ["a", true],
      ["b", true],
    ]);
    told.members.set(ids.b, member(ids.b, { state: "down" }));
    expect(answering()).toEqual([
      ["a", true],
      ["b", false],
    ]);
    told.members.delete(ids.b);
    expect(answering()).toEqual([
      ["a", true],
      ["b", undefined],
    ]);
    told.leadership = { term: 1, sinceMs: 0, predecessorHeardAgoMs: undefined, confirmedAtMs: undefined };
    told.silentMs[ids.b] = 1999;
    expect(answering()).toEqual([
      ["a", true],
      ["b", true],
    ]);
    told.silentMs[ids.b] = 2000;
    expect(answering()).toEqual([
      ["a", true],
      ["b", false],
    ]);
    told.hearsLeader = false;
    expect(told.look().quorum?.leader).toBeUndefined();
  });

  test("slots: ranges that are nobody's, those that are not served and why, those that wait for a word", () => {
    const told = new Told();
    const helper = { name: "a", host: nodeOf("a").host, port: nodeOf("a").port };
    expect(told.look().slots).toEqual({ free: [], unserved: [], released: [], canChange: true, helper });
    const shardOfSlot = told.map.shardOfSlot.slice();
    for (const slot of [0, 1, 2, 7, 16_383]) shardOfSlot[slot] = -1;
    told.map = mapOf({
      shardOfSlot,
      releases: [{ node: ids.c, incarnation: 1, version: 4, slots: [{ first: 9, last: 10 }] }],
    });
    told.members.set(ids.b, member(ids.b, { state: "down", reason: "no answer" }));
    told.leaseState = "lapsed";
    expect(told.look().slots).toEqual({
      free: [
        { first: 0, last: 2 },
        { first: 7, last: 7 },
        { first: 16_383, last: 16_383 },
      ],
      unserved: [
        {
          id: "1".repeat(40),
          slots: [{ first: 0, last: 8191 }],
          reason: "primary a, this node, has no lease",
          primary: { id: ids.a, name: "a" },
          trouble: "lease",
          others: [],
        },
        {
          id: "2".repeat(40),
          slots: [{ first: 8192, last: 16_383 }],
          reason: "primary b is down: no answer",
          primary: { id: ids.b, name: "b" },
          trouble: "gone",
          others: [],
        },
      ],
      released: [{ slots: [{ first: 9, last: 10 }], node: "c", id: ids.c }],
      canChange: true,
      // Those with slots are not served.
      helper: { name: "c", host: nodeOf("c").host, port: nodeOf("c").port },
    });
    told.hearsLeader = false;
    expect(told.look().slots?.canChange).toBe(false);
    const second = present(told.map.shards[1], "the shard of b");
    // It has started again, and a replica holds what it had.
    const restarted = { ...second, replicas: [ids.c], inSync: [ids.b, ids.c], primaryIncarnation: 0 };
    told.map = { ...told.map, shards: [restarted] };
    told.members.set(ids.b, member(ids.b));
    expect(told.look().slots?.unserved).toMatchObject([
      { trouble: "empty", others: [{ id: ids.c, name: "c", isHolder: true, isThere: true }] },
    ]);
  });

  test("replicas: as many as are wanted, else one where any shard has some; of shards with slots", () => {
    const told = new Told();
    const wanting = new Told({ wantedReplicas: 2 });
    expect([told.look().replicas?.wanted, wanting.look().replicas?.wanted]).toEqual([0, 2]);
    const map = mapOf({ settings: new Map([["min-in-sync", "2"]]) });
    const [first, ...others] = map.shards;
    told.map = {
      ...map,
      shards: [{ ...present(first, "a shard"), replicas: [ids.c], inSync: [ids.a] }, ...others],
    };
    told.members.set(ids.c, member(ids.c, { state: "left" }));
    expect(told.look().replicas).toEqual({
      wanted: 1,
      minInSync: 2,
      shards: [
        { name: "a", replicas: [{ name: "c", isInSync: false, isThere: false }], inSyncCount: 1 },
        { name: "b", replicas: [], inSyncCount: 1 },
      ],
    });
  });

  test("members: all but those that are alive, and never this node itself", () => {
    const told = new Told();
    told.members.set(ids.a, member(ids.a, { state: "suspect" }));
    told.members.set(ids.b, member(ids.b, { state: "suspect", reason: "no answer" }));
    told.members.delete(ids.c);
    expect(told.look().members).toEqual({
      total: 3,
      missing: [
        { name: "b", state: "suspect", reason: "no answer" },
        { name: "c", state: "unknown", reason: "" },
      ],
    });
    told.isTakingPart = false;
    expect(told.look().members).toBeUndefined();
  });

  test("lag: how old what a replica lacks is; nothing of one that is gone; and why this node does not follow", () => {
    const told = new Told();
    told.last = 10;
    told.replicas = [replicaOf(ids.b, 10), replicaOf(ids.c, 7)];
    expect(told.look().lag?.replicas.map(({ behindMs }) => behindMs)).toEqual([0, 0]);
    told.last = 12;
    expect(told.look().lag?.replicas).toEqual([
      { name: "b", state: "following", entries: 3, behindMs: 0 },
      { name: "c", state: "following", entries: 3, behindMs: 1000 },
    ]);
    expect(told.look(4000).lag?.replicas.map(({ behindMs }) => behindMs)).toEqual([4000, 5000]);
    told.members.set(ids.c, member(ids.c, { state: "down" }));
    expect(told.look().lag?.replicas.map(({ name }) => name)).toEqual(["b"]);
    told.role = "replica";
    expect(told.look().lag).toEqual({ waitingFor: "the primary's answer", replicas: [] });
    told.role = "none";
    expect(told.look().lag).toEqual({ waitingFor: undefined, replicas: [] });
  });

  test("the map's version: how long a newer one has been known, since this node got one last", () => {
    const told = new Told();
    const behindMs = (afterMs: number): number | undefined => told.look(afterMs)["map-version"]?.behindMs;
    expect(behindMs(1000)).toBe(0);
    told.newestMapVersion = 7;
    expect([behindMs(1000), behindMs(1000), behindMs(1000)]).toEqual([0, 1000, 2000]);
    told.map = mapOf({ version: 6 });
    expect([behindMs(1000), behindMs(1000)]).toEqual([0, 1000]);
    told.map = mapOf({ version: 7 });
    expect(behindMs(1000)).toBe(0);
  });

  test("the cluster: none, on a node that is in none or was taken out", () => {
    const told = new Told();
    told.isMember = false;
    told.waitingFor = "CLUSTER MEET";
    expect(Object.keys(told.look())).toEqual(["memory", "disk", "loop-lag", "node", "quorum"]);
    told.isOut = true;
    expect(told.look().quorum).toBeUndefined();
    expect(told.look().node).toEqual({ waitingFor: "CLUSTER MEET", leaseProblem: undefined });
  });
});
