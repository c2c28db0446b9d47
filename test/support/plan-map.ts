/** Maps and loads for plans: shards with slots and members in sync, and nothing else that plans look at. */
import { SLOT_COUNT } from "../../src/codec/slot.ts";
import type { ClusterMap, MigrationRecord, SlotRange } from "../../src/contracts/topology.ts";
import type { PlanLoads } from "../../src/protocol/plan/plan.ts";
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
