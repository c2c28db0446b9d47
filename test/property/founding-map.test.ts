/** The map that a cluster begins with: whatever the nodes are, every slot has one owner, and replicas stand apart from their primaries as far as they can. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { present } from "../../src/assert.ts";
import { SLOT_COUNT } from "../../src/codec/slot.ts";
import type { NodeRecord } from "../../src/contracts/topology.ts";
import {
  type FoundingNode,
  divideAmong,
  foundingState,
  problemOfFounders,
} from "../../src/protocol/topology/founding-map.ts";
import { checkState } from "../../src/protocol/topology/state.ts";
import { nodeRecord, shardIdOf } from "../support/topology-model.ts";

interface Drawn {
  readonly host: number;
  readonly zone: number;
  readonly isWitness: boolean;
}

function recordOf({ host, zone, isWitness }: Drawn, at: number): NodeRecord {
  return {
    ...nodeRecord("a"),
    id: at.toString(16).padStart(40, "0"),
    name: `node-${at}`,
    port: 7000 + at,
    host: `10.0.0.${host}`,
    busHost: `10.0.0.${host}`,
    zone: `zone ${zone}`,
    role: isWitness ? "witness" : "data",
    start: "",
    incarnation: 0,
  };
}

/** Nodes on some hosts, each host in one zone. */
function nodes(most: number, withWitnesses: boolean): fc.Arbitrary<readonly NodeRecord[]> {
  const isWitness = withWitnesses ? fc.integer({ min: 0, max: 9 }).map((number) => number === 0) : fc.constant(false);
  return fc
    .tuple(
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.tuple(fc.nat(), isWitness), { minLength: 1, maxLength: most }),
    )
    .map(([hosts, zones, drawn]) =>
      drawn.map(([number, witness], at) => {
        const host = number % hosts;
        return recordOf({ host, zone: host % zones, isWitness: witness }, at);
      }),
    );
}

const replicaCount = fc.integer({ min: 0, max: 3 });

function slotsOf({ slots }: FoundingNode): number {
  return slots.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

/** Primaries, each with the records of its replicas. */
function shardsOf(founders: readonly FoundingNode[]): readonly (readonly [NodeRecord, readonly NodeRecord[]])[] {
  const recordById = new Map(founders.map(({ record }) => [record.id, record]));
  return founders
    .filter(({ slots }) => slots.length > 0)
    .map(({ record, replicas = [] }) => [
      record,
      replicas.map((id) => present(recordById.get(id), "a replica is one of the nodes")),
    ]);
}

describe("divideAmong", () => {
  test("gives every slot one owner, none more than one slot more than another, and is a map that holds", () => {
    fc.assert(
      fc.property(nodes(40, true), replicaCount, (records, replicas) => {
        const founders = divideAmong(records, replicas);
        expect(founders.map(({ record }) => record.id).toSorted()).toEqual(records.map(({ id }) => id).toSorted());
        expect(problemOfFounders(founders)).toBeUndefined();
        const holders = records.filter(({ role }) => role === "data").length;
        if (holders === 0) return;
        checkState(foundingState(founders, shardIdOf));
        const counts = founders.map(slotsOf).filter((count) => count > 0);
        expect(counts).toHaveLength(Math.max(1, Math.floor(holders / (replicas + 1))));
        expect(counts.reduce((sum, count) => sum + count, 0)).toBe(SLOT_COUNT);
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      }),
    );
  });

  test("makes a replica of every data node that is no primary, and gives no primary two more than another", () => {
    fc.assert(
      fc.property(nodes(40, true), fc.integer({ min: 1, max: 3 }), (records, replicas) => {
        const shards = shardsOf(divideAmong(records, replicas));
        const members = shards.flatMap(([primary, own]) => [primary, ...own]).map(({ id }) => id);
        expect(members.toSorted()).toEqual(records.flatMap(({ id, role }) => (role === "data" ? id : [])).toSorted());
        const counts = shards.map(([, own]) => own.length);
        if (counts.length === 0) return;
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
        if (members.length > replicas) expect(Math.min(...counts)).toBeGreaterThanOrEqual(replicas);
      }),
    );
  });

  test("puts no replica on its primary's host, or in its zone, unless more than half of the nodes are there", () => {
    fc.assert(
      fc.property(nodes(24, false), (records) => {
        const isCrowded = (placeOf: (record: NodeRecord) => string): boolean =>
          records.some(
            (record) => 2 * records.filter((each) => placeOf(each) === placeOf(record)).length > records.length,
          );
        const places = [({ busHost }: NodeRecord) => busHost];
        // Where one primary has two replicas, apart from each other's hosts may be in the same zone.
        if (records.length % 2 === 0) places.push(({ zone }) => zone);
        for (const placeOf of places) {
          if (isCrowded(placeOf)) continue;
          for (const [primary, own] of shardsOf(divideAmong(records, 1))) {
            for (const replica of own) expect(placeOf(replica)).not.toBe(placeOf(primary));
          }
        }
      }),
      { numRuns: 1000 },
    );
  });

  test("has as few replicas on their primaries' hosts as there can be with these primaries, if each gets one", () => {
    fc.assert(
      fc.property(nodes(10, false), (drawn) => {
        // Each primary gets one.
        const records = drawn.slice(drawn.length % 2);
        const shards = shardsOf(divideAmong(records, 1));
        if (shards.length === 0) return;
        const replicas = shards.flatMap(([, own]) => own);
        const primaries = shards.map(([primary]) => primary);
        const sharing = shards.reduce(
          (sum, [primary, own]) => sum + own.filter(({ busHost }) => busHost === primary.busHost).length,
          0,
        );
        expect(sharing).toBe(fewestSharing(primaries, replicas));
      }),
      { numRuns: 300 },
    );
  });

  test("is the same whenever it is asked, and takes nodes in the order that it is told", () => {
    const records = Array.from({ length: 6 }, (_, at) => recordOf({ host: at, zone: 0, isWitness: false }, at));
    const names = (founders: readonly FoundingNode[]): readonly string[] => founders.map(({ record }) => record.name);
    expect(names(divideAmong(records, 0))).toEqual(records.map(({ name }) => name));
    expect(divideAmong(records, 1)).toEqual(divideAmong(records, 1));
  });
});

/** Of all ways to give each primary as many replicas as any other, or one more: in how many cases one shares its primary's host, at the least. */
function fewestSharing(primaries: readonly NodeRecord[], replicas: readonly NodeRecord[]): number {
  const most = Math.ceil(replicas.length / primaries.length);
  const least = Math.floor(replicas.length / primaries.length);
  const given = primaries.map(() => 0);
  const place = (at: number): number => {
    const replica = replicas[at];
    if (replica === undefined) return given.every((count) => count >= least) ? 0 : Number.POSITIVE_INFINITY;
    let best = Number.POSITIVE_INFINITY;
    for (const [index, primary] of primaries.entries()) {
      const count = given[index] ?? 0;
      if (count >= most) continue;
      given[index] = count + 1;
      best = Math.min(best, place(at + 1) + (primary.busHost === replica.busHost ? 1 : 0));
      given[index] = count;
    }
    return best;
  };
  return place(0);
}
