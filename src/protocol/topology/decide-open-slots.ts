/** What the leader makes of requests on slots that are moved key by key: records, or a rejection with its reason, in Redis' words where it has some. */
import { SLOT_COUNT } from "../../codec/slot.ts";
import type { ShardId, ShardRecord, TopologyRequest } from "../../contracts/topology.ts";
import { type TopologyDecision, records, rejection } from "./decision.ts";
import { openSlot, ownerOf } from "./open-slots.ts";
import type { TopologyRecord } from "./records.ts";
import { type TopologyState, highestEpoch } from "./state.ts";

type Request<Type extends TopologyRequest["type"]> = Extract<TopologyRequest, { type: Type }>;
/** A slot that a shard takes in. */
export function takesIn({ openSlots }: TopologyState, id: ShardId): number | undefined {
  return openSlots.find(({ importing }) => importing.some(({ shard }) => shard === id))?.slot;
}

export function markSlot(state: TopologyState, { slot, node, mark, peer }: Request<"mark-slot">): TopologyDecision {
  const shard = ofPrimary(state, node);
  if (shard === undefined) return rejection("ERR Please use SETSLOT only with masters.");
  if (!isSlot(slot)) return rejection("ERR Invalid or out of range slot");
  const owner = ownerOf(state.shards.values(), slot);
  const isOwner = owner?.id === shard.id;
  if (mark === "migrating" && !isOwner) return rejection(`ERR I'm not the owner of hash slot ${slot}`);
  if (mark === "importing" && isOwner) return rejection(`ERR I'm already the owner of hash slot ${slot}`);
  if (!state.nodes.has(peer)) return rejection(`ERR I don't know about node ${peer}`);
  const other = ofPrimary(state, peer);
  if (other === undefined) return rejection("ERR Target node is not a master");
  if (other === shard) return rejection(`ERR node ${peer} is this node: a slot moves from one to another`);
  const task = movingTask(state, slot);
  if (task !== undefined) return task;
  const { migratingTo, importing } = openSlot(state.openSlots, slot);
  if (mark === "importing") {
    const isMarked = importing.some((each) => each.shard === shard.id && each.from === other.id);
    return isMarked ? records() : records({ type: "slot-importing", slot, shard: shard.id, from: other.id });
  }
  if (migratingTo === other.id) return records();
  // Nobody would find the keys any more that have gone there.
  if (migratingTo !== undefined && importing.some((each) => each.shard === migratingTo)) {
    const { primary } = state.shards.get(migratingTo) ?? shard;
    return rejection(
      `ERR hash slot ${slot} is on its way to node ${primary}, which takes its keys in: end that first (CLUSTER SETSLOT ${slot} STABLE)`,
    );
  }
  return records({ type: "slot-migrating", slot, shard: shard.id, to: other.id });
}

/** @param shard At the version that the request names: whoever was its primary then has asked, and still is. */
export function unmarkSlot(
  state: TopologyState,
  shard: ShardRecord,
  { slot, keys, isLast }: Request<"unmark-slot">,
): TopologyDecision {
  const owner = ownerOf(state.shards.values(), slot);
  const { migratingTo, importing } = openSlot(state.openSlots, slot);
  const others = importing.filter((each) => each.shard !== shard.id);
  if (owner?.id === shard.id) {
    if (migratingTo === undefined) return records();
    const [taker] = importing;
    // Keys that it has taken in would be there, and nobody would be sent to it.
    return taker === undefined
      ? records({ type: "slot-stable", slot, shard: shard.id })
      : rejection(`ERR hash slot ${slot} is still taken in by node ${state.shards.get(taker.shard)?.primary ?? "?"}`);
  }
  if (others.length === importing.length) return records();
  // Without an owner nobody else has keys of it that anybody sees.
  if (keys > 0 && owner !== undefined) {
    return rejection(`ERR ${keysLeftText(slot, shard.primary, keys)}`);
  }
  const closed: TopologyRecord = { type: "slot-stable", slot, shard: shard.id };
  const isAll = isLast && others.length === 0 && owner !== undefined && migratingTo !== undefined;
  return isAll ? records(closed, { type: "slot-stable", slot, shard: owner.id }) : records(closed);
}

/** Why a slot is not closed. */
export function keysLeftText(slot: number, node: string, keys: number): string {
  return `Can't close hash slot ${slot}: node ${node} has taken in ${keys} of its keys; move the others there as well (MIGRATE), and give it the slot`;
}

export function closeSlot({ openSlots }: TopologyState, slot: number): TopologyDecision {
  return openSlots.some((each) => each.slot === slot) ? records({ type: "slot-closed", slot }) : records();
}

/** @param from The shard that gives it, at the version that the request names. */
export function giveSlot(
  state: TopologyState,
  from: ShardRecord | undefined,
  { slot, to }: Request<"give-slot">,
): TopologyDecision {
  if (!isSlot(slot)) return rejection("ERR Invalid or out of range slot");
  if (!state.nodes.has(to)) return rejection(`ERR Unknown node ${to}`);
  const gainer = ofPrimary(state, to);
  if (gainer === undefined) return rejection("ERR Target node is not a master");
  const owner = ownerOf(state.shards.values(), slot);
  if (owner?.id === gainer.id) return records();
  if (owner?.id !== from?.id) return rejection(`ERR hash slot ${slot} is not that shard's to give`);
  const task = movingTask(state, slot);
  if (task !== undefined) return task;
  const taker = openSlot(state.openSlots, slot).importing.find(({ shard }) => shard !== gainer.id);
  if (taker !== undefined) {
    return rejection(
      `ERR hash slot ${slot} is taken in by node ${state.shards.get(taker.shard)?.primary ?? "?"}: end that first (CLUSTER SETSLOT ${slot} STABLE)`,
    );
  }
  const given: TopologyRecord = { type: "slot-given", slot, shard: gainer.id };
  // A primary that begins to own slots has an epoch of its own.
  return gainer.primaryEpoch > 0
    ? records(given)
    : records(given, { type: "epoch-changed", shard: gainer.id, epoch: highestEpoch(state) + 1 });
}

/** @param shard The owner, at the version that the request names. */
export function swapSlot(
  state: TopologyState,
  shard: ShardRecord,
  { slot, with: other }: Request<"swap-slot">,
): TopologyDecision {
  const { migratingTo, importing } = openSlot(state.openSlots, slot);
  const isMoving = migratingTo === other && importing.some((each) => each.shard === other);
  const { primary } = state.shards.get(other) ?? shard;
  if (ownerOf(state.shards.values(), slot)?.id !== shard.id || !isMoving) {
    return rejection(`ERR hash slot ${slot} is not moved from that shard to node ${primary}`);
  }
  const given = giveSlot(state, shard, { type: "give-slot", slot, to: primary });
  if ("rejection" in given) return given;
  return records(
    ...given.records,
    { type: "slot-migrating", slot, shard: other, to: shard.id },
    { type: "slot-importing", slot, shard: shard.id, from: other },
  );
}

function isSlot(slot: number): boolean {
  return Number.isInteger(slot) && slot >= 0 && slot < SLOT_COUNT;
}

/** The shard whose primary a node is. */
function ofPrimary(state: TopologyState, node: string): ShardRecord | undefined {
  for (const shard of state.shards.values()) if (shard.primary === node) return shard;
  return undefined;
}

/** The rejection of what a task is at work on. */
function movingTask({ migrations }: TopologyState, slot: number): TopologyDecision | undefined {
  for (const { id, slots } of migrations.values()) {
    if (slots.some(({ first, last }) => slot >= first && slot <= last)) {
      return rejection(`ERR slot ${slot} is being moved by migration ${id}`);
    }
  }
  return undefined;
}
