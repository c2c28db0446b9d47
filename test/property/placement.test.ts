/** Where replicas go: whatever the map is, hosts are kept apart as far as there is a choice, and moves of replicas leave nobody worse off and come to an end. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { present } from "../../src/assert.ts";
import type { NodeId, NodeRecord, ShardRecord } from "../../src/contracts/topology.ts";
import { shardForReplica } from "../../src/protocol/topology/placement.ts";
import {
  type MoveFacts,
  type Presence,
  type ReplicaMove,
  needOf,
  planMove,
} from "../../src/protocol/topology/replica-moves.ts";
import { nodeRecord } from "../support/topology-model.ts";

interface DrawnNode {
  readonly host: number;
  readonly presence: Presence;
  /** Of those that are replicas. */
  readonly isInSync: boolean;
}

interface DrawnShard {
  readonly members: readonly DrawnNode[];
  readonly hasSlots: boolean;
}

interface World {
  readonly nodes: Map<NodeId, NodeRecord>;
  shards: ShardRecord[];
  readonly presence: ReadonlyMap<NodeId, Presence>;
}

const ZONES = 2;

function idAt(at: number): NodeId {
  return at.toString(16).padStart(40, "0");
}

function recordAt(at: number, host: number): NodeRecord {
  return {
    ...nodeRecord("a"),
    id: idAt(at),
    name: `n${at}`,
    busHost: `h${host}`,
    zone: `z${host % ZONES}`,
    incarnation: 1,
  };
}

function worldOf(drawn: readonly DrawnShard[]): World {
  const nodes = new Map<NodeId, NodeRecord>();
  const presence = new Map<NodeId, Presence>();
  const shards = drawn.map(({ members, hasSlots }, at): ShardRecord => {
    const ids = members.map((member) => {
      const record = recordAt(nodes.size, member.host);
      nodes.set(record.id, record);
      presence.set(record.id, member.presence);
      return record.id;
    });
    const [primary = "", ...replicas] = ids;
    return {
      id: `shard ${at}`,
      primary,
      primaryIncarnation: 1,
      replicas,
      inSync: [primary, ...replicas.filter((_, index) => members[index + 1]?.isInSync)],
      eligible: [],
      slots: hasSlots ? [{ first: at * 100, last: at * 100 + 99 }] : [],
      primaryEpoch: 1,
      version: 1,
    };
  });
  return { nodes, shards, presence };
}

const presence = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Presence>("there") },
  { weight: 1, arbitrary: fc.constant<Presence>("doubtful") },
  { weight: 2, arbitrary: fc.constant<Presence>("gone") },
);
const drawnNode = fc.record({
  host: fc.nat(4),
  presence,
  isInSync: fc.integer({ min: 0, max: 5 }).map((chance) => chance > 0),
});
const drawnShard = fc.record({
  members: fc.array(drawnNode, { minLength: 1, maxLength: 5 }),
  hasSlots: fc.integer({ min: 0, max: 5 }).map((chance) => chance > 0),
});
const drawnShards = fc.array(drawnShard, { minLength: 1, maxLength: 6 });

const hostOf = ({ nodes }: World, id: NodeId): string => present(nodes.get(id), "a member is a node").busHost;

describe("shardForReplica", () => {
  test("gives a shard with slots whose primary is on another host, if there is one, and of these one with the fewest replicas", () => {
    fc.assert(
      fc.property(drawnShards, fc.nat(4), (drawn, host) => {
        const world = worldOf(drawn);
        const joiner = recordAt(world.nodes.size, host);
        world.nodes.set(joiner.id, joiner);
        const owners = world.shards.filter(({ slots }) => slots.length > 0);
        const shards = new Map(world.shards.map((shard) => [shard.id, shard]));
        const found = shardForReplica({ nodes: world.nodes, shards }, joiner.id);
        if (found === undefined) {
          expect(owners).toEqual([]);
          return;
        }
        expect(owners).toContain(found);
        const apart = owners.filter(({ primary }) => hostOf(world, primary) !== joiner.busHost);
        const choice = apart.length > 0 ? apart : owners;
        expect(choice).toContain(found);
        expect(found.replicas.length).toBe(Math.min(...choice.map(({ replicas }) => replicas.length)));
        // The order in which anybody stands in the map is no matter.
        const reversed = new Map([...shards].toReversed());
        const turned = new Map([...world.nodes].toReversed());
        expect(shardForReplica({ nodes: turned, shards: reversed }, joiner.id)?.id).toBe(found.id);
      }),
      { numRuns: 1000 },
    );
  });

  test("spreads nodes that come in one after another: with a host for each, no shard has two replicas more than another", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.nat(20), (count, joiners) => {
        const world = worldOf(
          Array.from({ length: count }, (_, at) => ({
            members: [{ host: at, presence: "there" as const, isInSync: true }],
            hasSlots: true,
          })),
        );
        const shards = new Map(world.shards.map((shard) => [shard.id, shard]));
        for (let joined = 0; joined < joiners; joined += 1) {
          const joiner = recordAt(world.nodes.size, count + joined);
          world.nodes.set(joiner.id, joiner);
          const shard = present(shardForReplica({ nodes: world.nodes, shards }, joiner.id), "a shard has slots");
          shards.set(shard.id, { ...shard, replicas: [...shard.replicas, joiner.id] });
        }
        const counts = [...shards.values()].map(({ replicas }) => replicas.length);
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      }),
    );
  });

  test("prefers the primary in another zone, where hosts and numbers are equal; nobody is placed where it is already", () => {
    const world = worldOf([
      { members: [{ host: 2, presence: "there", isInSync: true }], hasSlots: true },
      { members: [{ host: 1, presence: "there", isInSync: true }], hasSlots: true },
    ]);
    const joiner = recordAt(9, 4);
    world.nodes.set(joiner.id, joiner);
    const shards = new Map(world.shards.map((shard) => [shard.id, shard]));
    expect(shardForReplica({ nodes: world.nodes, shards }, joiner.id)?.id).toBe("shard 1");
    const [first, second] = world.shards;
    expect(shardForReplica({ nodes: world.nodes, shards }, first?.primary ?? "")).toBe(second);
  });
});

/** What a move makes of the shards: the replica is in no set of its new shard, and then caught up. */
function carryOut(world: World, { node, source, target }: ReplicaMove): void {
  const without = (ids: readonly NodeId[]): readonly NodeId[] => ids.filter((id) => id !== node);
  world.shards = world.shards.map((shard) => {
    if (shard.id === source.id) return { ...shard, replicas: without(shard.replicas), inSync: without(shard.inSync) };
    if (shard.id !== target.id) return shard;
    return { ...shard, replicas: [...shard.replicas, node], inSync: [...shard.inSync, node] };
  });
}

function factsOf(world: World, minInSync: number, barrier: number, busy: ReadonlySet<string> = new Set()): MoveFacts {
  return {
    nodes: world.nodes,
    shards: world.shards,
    minInSync,
    barrier,
    presenceOf: (id) => world.presence.get(id) ?? "gone",
    isBusy: (shard) => busy.has(shard),
  };
}

const always = (): boolean => true;

describe("planMove", () => {
  const replicasThere = (world: World, shard: ShardRecord): readonly NodeId[] =>
    shard.inSync.filter((id) => id !== shard.primary && world.presence.get(id) === "there");
  const needs = (facts: MoveFacts): readonly [bare: number, crowded: number] => {
    const found = facts.shards.map((shard) => needOf(facts, shard));
    return [found.filter((need) => need === "bare").length, found.filter((need) => need === "crowded").length];
  };

  test("takes what can be spared alone, gives it to a shard in need, and comes to an end", () => {
    fc.assert(
      fc.property(
        drawnShards,
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 2 }),
        fc.uniqueArray(fc.nat(5), { maxLength: 1 }),
        (drawn, minInSync, barrier, busyAt) => {
          const world = worldOf(drawn);
          const busy = new Set(busyAt.map((at) => `shard ${at}`));
          for (let step = 0; ; step += 1) {
            const facts = factsOf(world, minInSync, barrier, busy);
            const [bare, crowded] = needs(facts);
            const { move } = planMove(facts, always);
            if (move === undefined) break;
            const { source, target, node, need } = move;
            expect(needOf(facts, target)).toBe(need);
            expect([...busy]).not.toContain(source.id);
            expect([...busy]).not.toContain(target.id);
            expect(replicasThere(world, source)).toContain(node);
            if (need === "crowded") expect(hostOf(world, node)).not.toBe(hostOf(world, target.primary));
            carryOut(world, move);
            const left = present(
              world.shards.find(({ id }) => id === source.id),
              "its shard is there",
            );
            expect(replicasThere(world, left).length).toBeGreaterThanOrEqual(barrier);
            expect(replicasThere(world, left).length + 1).toBeGreaterThanOrEqual(minInSync);
            const [bareAfter, crowdedAfter] = needs(factsOf(world, minInSync, barrier, busy));
            if (need === "bare") expect(bareAfter).toBe(bare - 1);
            else expect([bareAfter, crowdedAfter]).toEqual([bare, crowded - 1]);
            expect(step).toBeLessThan(100);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("leaves no shard bare while another has two more in sync than it keeps, and says which go without", () => {
    fc.assert(
      fc.property(drawnShards, (drawn) => {
        const world = worldOf(drawn);
        for (;;) {
          const { move } = planMove(factsOf(world, 1, 1), always);
          if (move === undefined) break;
          carryOut(world, move);
        }
        const facts = factsOf(world, 1, 1);
        const { stuck } = planMove(facts, always);
        const inNeed = world.shards.filter((shard) => needOf(facts, shard) !== undefined);
        expect(stuck.map(({ shard }) => shard.id).toSorted()).toEqual(inNeed.map(({ id }) => id).toSorted());
        if (!inNeed.some((shard) => needOf(facts, shard) === "bare")) return;
        for (const shard of world.shards) {
          const isLed = world.presence.get(shard.primary) === "there";
          if (isLed) expect(replicasThere(world, shard).length).toBeLessThanOrEqual(1);
        }
      }),
      { numRuns: 1000 },
    );
  });

  const there = (host: number): DrawnNode => ({ host, presence: "there", isInSync: true });
  const gone = (host: number): DrawnNode => ({ host, presence: "gone", isInSync: false });
  const shard = (...members: readonly DrawnNode[]): DrawnShard => ({ members, hasSlots: true });
  /** Who moves, by the number of the node, and to which shard. */
  const movesIn = (drawn: readonly DrawnShard[], minInSync = 1): string => {
    const { move } = planMove(factsOf(worldOf(drawn), minInSync, 1), always);
    return move === undefined ? "nobody" : `${Number.parseInt(move.node, 16)} to ${move.target.id}`;
  };

  test("a shard whose replica is gone gets one that another has two of, and is on another host, best in another zone", () => {
    expect(movesIn([shard(there(0), gone(1)), shard(there(2), there(0), there(3))])).toBe("4 to shard 0");
    // Hosts 2 and 4 are in the zone of host 0; host 1 is not.
    expect(movesIn([shard(there(0)), shard(there(3), there(4), there(1))])).toBe("3 to shard 0");
    // Rather one on the same host than none.
    expect(movesIn([shard(there(0)), shard(there(2), there(0), there(0))])).toBe("2 to shard 0");
  });

  test("nobody moves from a shard with one replica in sync, or that needs it for writes, or to one whose primary is gone", () => {
    expect(movesIn([shard(there(0)), shard(there(1), there(2), gone(3))])).toBe("nobody");
    expect(movesIn([shard(there(0)), shard(there(1), there(2), { ...there(3), isInSync: false })])).toBe("nobody");
    expect(movesIn([shard(there(0)), shard(there(1), there(2), there(3))], 3)).toBe("nobody");
    expect(movesIn([shard(there(0)), shard(there(1), there(2), there(3))], 2)).not.toBe("nobody");
    expect(movesIn([shard(gone(0), gone(1)), shard(there(1), there(2), there(3))])).toBe("nobody");
    // Its own heirs are wanted there.
    expect(movesIn([shard(there(0)), shard(gone(1), there(2), there(3))])).toBe("nobody");
  });

  test("a shard whose replicas are all on its primary's host gets one that is elsewhere, after those that have none", () => {
    expect(movesIn([shard(there(0), there(0)), shard(there(1), there(2), there(3))])).toBe("4 to shard 0");
    expect(movesIn([shard(there(0), there(0)), shard(there(1), there(0), there(0))])).toBe("nobody");
    // The giver would be left with a replica on its own host alone.
    expect(movesIn([shard(there(0), there(0)), shard(there(0), there(0), there(1))])).toBe("nobody");
    expect(movesIn([shard(there(0), there(0)), shard(there(1), there(1), there(2))])).toBe("3 to shard 0");
    expect(movesIn([shard(there(0), there(0)), shard(there(4)), shard(there(1), there(2), there(3))])).toEndWith(
      "to shard 1",
    );
  });
});
