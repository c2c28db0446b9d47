/**
 * Slots that are moved key by key, as the map keeps them: the marks of shards on a slot, and what becomes of them.
 *
 * The owner's mark says where keys are that it has not got; the mark of another shard, that it takes keys of the slot. Each stands by itself, as in Redis. A slot without a mark is not
 * in the list. A mark on a slot is nothing on a shard: it does not make what was decided on the shard stale.
 */
import { assert } from "../../assert.ts";
import { SLOT_COUNT } from "../../codec/slot.ts";
import type { MigrationRecord, OpenSlot, ShardId, ShardRecord, SlotRange } from "../../contracts/topology.ts";

type OpenSlots = readonly OpenSlot[];

/** The marks on a slot; without any, if it is not open. */
export function openSlot(open: OpenSlots, slot: number): OpenSlot {
  return open.find((each) => each.slot === slot) ?? { slot, importing: [] };
}

function put(open: OpenSlots, next: OpenSlot): OpenSlots {
  const others = open.filter(({ slot }) => slot !== next.slot);
  if (next.migratingTo === undefined && next.importing.length === 0)
    return others.length === open.length ? open : others;
  return [...others, next].toSorted((one, other) => one.slot - other.slot);
}

export function markMigrating(open: OpenSlots, slot: number, to: ShardId): OpenSlots {
  return put(open, { ...openSlot(open, slot), migratingTo: to });
}

export function markImporting(open: OpenSlots, slot: number, shard: ShardId, from: ShardId): OpenSlots {
  const { importing, ...marks } = openSlot(open, slot);
  return put(open, { ...marks, importing: [...importing.filter((each) => each.shard !== shard), { shard, from }] });
}

/** Takes a shard's marks from a slot. @param isOwner Whether the slot is the shard's own. */
export function unmark(open: OpenSlots, slot: number, shard: ShardId, isOwner: boolean): OpenSlots {
  const { migratingTo, importing } = openSlot(open, slot);
  const others = importing.filter((each) => each.shard !== shard);
  return put(open, { slot, ...(isOwner || migratingTo === undefined ? {} : { migratingTo }), importing: others });
}

/** Takes all marks from a slot. */
export function closeSlot(open: OpenSlots, slot: number): OpenSlots {
  return put(open, { slot, importing: [] });
}

/** A shard has come to own slots: what it marked as another's is its own. */
export function assignedTo(open: OpenSlots, slots: readonly SlotRange[], shard: ShardId): OpenSlots {
  return inRanges(open, slots).reduce((rest, { slot }) => unmark(rest, slot, shard, false), open);
}

/** Slots are nobody's: nobody says where keys of them are. */
export function releasedFrom(open: OpenSlots, slots: readonly SlotRange[]): OpenSlots {
  return inRanges(open, slots).reduce((rest, { slot, importing }) => put(rest, { slot, importing }), open);
}

/** A shard is gone, with what it had. */
export function withoutShard(open: OpenSlots, shard: ShardId): OpenSlots {
  return open.reduce((rest, { slot, migratingTo }) => unmark(rest, slot, shard, migratingTo === shard), open);
}

function inRanges(open: OpenSlots, slots: readonly SlotRange[]): OpenSlots {
  return open.filter(({ slot }) => slots.some(({ first, last }) => slot >= first && slot <= last));
}

/**
 * What must hold for the marks of every state.
 *
 * @throws {Fault} Naming what does not.
 */
export function checkOpenSlots({
  openSlots,
  shards,
  migrations,
}: {
  readonly openSlots: OpenSlots;
  readonly shards: ReadonlyMap<ShardId, ShardRecord>;
  readonly migrations: ReadonlyMap<string, MigrationRecord>;
}): void {
  let before = -1;
  for (const { slot, migratingTo, importing } of openSlots) {
    assert(slot > before && slot < SLOT_COUNT, "open slots are in order, in 0..16383");
    before = slot;
    const owner = ownerOf(shards.values(), slot);
    assert(migratingTo !== undefined || importing.length > 0, `open slot ${slot} has a mark`);
    if (migratingTo !== undefined) {
      assert(
        owner !== undefined && owner.id !== migratingTo,
        `open slot ${slot} moves from its owner to another shard`,
      );
      assert(shards.has(migratingTo), `open slot ${slot} moves to a shard`);
    }
    const takers = importing.map(({ shard }) => shard);
    assert(new Set(takers).size === takers.length, `open slot ${slot} has one mark of a shard`);
    for (const shard of takers) {
      assert(shards.has(shard) && shard !== owner?.id, `open slot ${slot} is taken in by a shard that does not own it`);
    }
    for (const { id, slots } of migrations.values()) {
      const isMoving = slots.some(({ first, last }) => slot >= first && slot <= last);
      assert(!isMoving, `open slot ${slot} is not one of migration ${id}`);
    }
  }
}

/** The slots that a shard takes in of others', key by key: it holds keys of them as it does of its own. */
export function slotsTakenIn({ openSlots }: { readonly openSlots: OpenSlots }, id: ShardId): readonly SlotRange[] {
  return openSlots.flatMap(({ slot, importing }) =>
    importing.some(({ shard }) => shard === id) ? [{ first: slot, last: slot }] : [],
  );
}

/** The shard that owns a slot. */
export function ownerOf(shards: Iterable<ShardRecord>, slot: number): ShardRecord | undefined {
  for (const shard of shards) {
    if (shard.slots.some(({ first, last }) => slot >= first && slot <= last)) return shard;
  }
  return undefined;
}
