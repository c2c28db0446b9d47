/** Maps and loads for plans: shards with slots and members in sync, and nothing else that plans look at. */
import { SLOT_COUNT } from "../../src/codec/slot.ts";
import { expect } from "bun:test";
import * as fc from "fast-check";
import type { ClusterMap, MigrationRecord, ShardRecord, SlotRange } from "../../src/contracts/topology.ts";
import type { PlanLoads, PlanMeasure, PlannedMove } from "../../src/protocol/plan/plan.ts";
import { makeNode } from "./make-map.ts";

/** A shard of node `n0`, `n1` ...: replicas are counted, and have no records. */
export interface PlanShard {
  readonly slots: readonly SlotRange[];
  readonly inSync?: number;
}

/** The id of the shard at a place. */
export function shardIdAt(at: number): string {
  return `5${at}`.padEnd(40, "0");
}

export function planMap(shards: readonly PlanShard[], migrations: readonly MigrationRecord[] = []): ClusterMap {
  const nodes = shards.map((_, at) =>
    makeNode({ id: `a${at}`.padEnd(40, "0"), name: `n${at}`, host: "h", port: 7000 + at }),
  );
  const shardOfSlot = new Int16Array(SLOT_COUNT).fill(-1);
  for (const [at, { slots }] of shards.entries()) {
    for (const { first, last } of slots) shardOfSlot.fill(at, first, last + 1);
  }
  return {
    clusterId: "c".repeat(40),
    version: 7,
    nodes,
    shards: shards.map(({ slots, inSync = 1 }, at) => {
      const primary = nodes[at]?.id ?? "";
      const replicas = Array.from({ length: inSync - 1 }, (_, each) => `b${at}${each}`.padEnd(40, "0"));
      return {
        id: shardIdAt(at),
        primary,
        primaryIncarnation: 1,
        replicas,
        inSync: [primary, ...replicas],
        eligible: [],
        slots,
        primaryEpoch: 1,
        version: at + 1,
      };
    }),
    shardOfSlot,
    migrations,
    openSlots: [],
    releases: [],
    tombstones: [],
    settings: new Map(),
    seal: undefined,
  };
}

/** Loads, slot by slot. */
export function loadsOf(
  of: (slot: number) => { readonly keys: number; readonly bytes: number; readonly load: number },
): PlanLoads {
  const loads = {
    keys: new Float64Array(SLOT_COUNT),
    bytes: new Float64Array(SLOT_COUNT),
    load: new Float64Array(SLOT_COUNT),
  };
  for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
    const { keys, bytes, load } = of(slot);
    loads.keys[slot] = keys;
    loads.bytes[slot] = bytes;
    loads.load[slot] = load;
  }
  return loads;
}

function slotsWhere(holds: (slot: number) => boolean): readonly SlotRange[] {
  const ranges: { first: number; last: number }[] = [];
  for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
    if (!holds(slot)) continue;
    const previous = ranges.at(-1);
    if (previous?.last === slot - 1) previous.last = slot;
    else ranges.push({ first: slot, last: slot });
  }
  return ranges;
}

export interface Drawn {
  readonly map: ClusterMap;
  readonly loads: PlanLoads;
}

/** Shards with ranges of slots, some with none, one to three members in sync; loads that are even, lumpy, or nothing. @param mostHot How many slots may have much more than others. */
export const drawnWith = (mostHot: number): fc.Arbitrary<Drawn> =>
  fc
    .record({
      cuts: fc.array(fc.tuple(fc.nat(SLOT_COUNT - 1), fc.nat(5)), { minLength: 0, maxLength: 12 }),
      shards: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 2, maxLength: 6 }),
      keys: fc.integer({ min: 0, max: 60 }),
      hot: fc.array(fc.tuple(fc.nat(SLOT_COUNT - 1), fc.integer({ min: 1, max: 300_000 })), { maxLength: mostHot }),
      seed: fc.nat(),
    })
    .map(({ cuts, shards, keys, hot, seed }) => {
      const owners = new Int16Array(SLOT_COUNT);
      const ordered = cuts.toSorted(([a], [b]) => a - b);
      for (const [from, owner] of ordered) owners.fill(owner % shards.length, from);
      let state = seed;
      const next = (most: number): number => {
        state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
        return (state >>> 8) % (most + 1);
      };
      return {
        map: planMap(
          shards.map((inSync, at) => ({
            inSync,
            slots: slotsWhere((slot) => owners[slot] === at),
          })),
        ),
        loads: loadsOf((slot) => {
          const many = hot.find(([each]) => each === slot)?.[1] ?? next(keys);
          return { keys: many, bytes: many * (40 + next(60)), load: next(5) * many };
        }),
      };
    });
/** The map once moves are done. Checks on the way that each slot moves once, from its owner. */
export function mapAfter(map: ClusterMap, moves: readonly PlannedMove[]): ClusterMap {
  const owners = map.shardOfSlot.slice();
  const hasMoved = new Uint8Array(SLOT_COUNT);
  let wrong = 0;
  for (const { source, target, slots } of moves) {
    const [from, to] = [source, target].map((id) => map.shards.findIndex((shard) => shard.id === id));
    for (const { first, last } of slots) {
      for (let slot = first; slot <= last; slot += 1) {
        if (map.shardOfSlot[slot] !== from || hasMoved[slot] === 1) wrong += 1;
        hasMoved[slot] = 1;
        owners[slot] = to ?? -2;
      }
    }
  }
  expect(wrong).toBe(0);
  const shards = map.shards.map((shard, at): ShardRecord => ({
    ...shard,
    slots: slotsWhere((slot) => owners[slot] === at),
  }));
  return { ...map, shards, shardOfSlot: owners };
}

/** What each shard has. */
export function amountsOf(map: ClusterMap, loads: PlanLoads, by: PlanMeasure): readonly number[] {
  const amounts = map.shards.map(() => 0);
  for (const [slot, at] of map.shardOfSlot.entries()) {
    if (at >= 0) amounts[at] = (amounts[at] ?? 0) + (by === "slots" ? 1 : (loads[by][slot] ?? 0));
  }
  return amounts;
}
