/**
 * What the leader makes of requests about migrations.
 *
 *     start -> started -- fence --> fenced -- complete --> (gone: the slots are the target's)
 *                 ^                   |
 *                 +----- unfence -----+       abort, from either: gone, the slots are the source's
 *
 * One that awaits a word is not fenced before it has come.
 *
 * A completion rests on what two primaries have said to each other, so it counts only for the fence that it names, and while both still lead: another primary
 * of the source may lack what the target has, and another one of the target the other way round.
 */
import type { MigrationRecord, SlotRange, TopologyRequest } from "../../contracts/topology.ts";
import { canonicalRanges, intersectRanges, subtractRanges } from "../slot-ranges.ts";
import { STALE, type TopologyDecision, problemOfSlots, records, rejection } from "./decision.ts";
import { type TopologyState, hasLostData } from "./state.ts";

/** Tasks that there may be at once. Each is in every map. */
const MAX_MIGRATIONS = 1000;

type MigrationChange = Extract<
  TopologyRequest,
  {
    readonly type:
      | "fence-migration"
      | "unfence-migration"
      | "complete-migration"
      | "allow-completion"
      | "abort-migration"
      | "pause-migration";
  }
>;

export function startMigration(
  state: TopologyState,
  request: Extract<TopologyRequest, { type: "start-migration" }>,
): TopologyDecision {
  const source = state.shards.get(request.source);
  const target = state.shards.get(request.target);
  if (source === undefined || target === undefined) return rejection("ERR there is no such shard");
  if (source.id === target.id) return rejection("ERR slots move from one shard to another");
  if (source.version !== request.sourceVersion || target.version !== request.targetVersion) {
    return rejection(
      `${STALE}the shards are at versions ${source.version} and ${target.version}, and this was decided on ${request.sourceVersion} and ${request.targetVersion}`,
    );
  }
  if (state.migrations.has(request.id)) return rejection(`ERR there is a migration ${request.id} already`);
  if (state.migrations.size >= MAX_MIGRATIONS) {
    return rejection(
      `ERR there are ${MAX_MIGRATIONS} migrations already: wait until some have ended, or move more slots in one`,
    );
  }
  const problem = problemOfSlots(request.slots);
  if (problem !== undefined) return rejection(problem);
  const slots = canonicalRanges(request.slots);
  const [foreign] = subtractRanges(slots, source.slots);
  if (foreign !== undefined) return rejection(`ERR slot ${foreign.first} is not one of the source's`);
  const moving = problemOfMoving(state, slots);
  if (moving !== undefined) return rejection(moving);
  const open = state.openSlots.find(({ slot }) => slots.some(({ first, last }) => slot >= first && slot <= last));
  if (open !== undefined) {
    return rejection(
      `ERR slot ${open.slot} is being moved key by key: end that first (CLUSTER SETSLOT ${open.slot} STABLE)`,
    );
  }
  return records({
    type: "migration-started",
    migration: {
      id: request.id,
      source: source.id,
      target: target.id,
      slots,
      ...(request.awaitsWord === true ? { awaitsWord: true } : {}),
    },
    sourceEpoch: source.primaryEpoch,
    targetEpoch: target.primaryEpoch,
  });
}

export function changeMigration(state: TopologyState, request: MigrationChange): TopologyDecision {
  const { id } = request;
  const migration = state.migrations.get(id);
  if (migration === undefined) return rejection(`ERR there is no migration ${id}`);
  const { fence } = migration;
  switch (request.type) {
    case "fence-migration": {
      const { sourceEpoch, targetEpoch } = request;
      if (fence !== undefined) return rejection(`ERR migration ${id} is fenced already`);
      if (migration.isPaused) return rejection(`ERR migration ${id} is paused`);
      if (migration.awaitsWord === true) return rejection(`ERR migration ${id} waits for the word to be completed`);
      return (
        ofOthers(state, migration, { sourceEpoch, targetEpoch }) ??
        records({ type: "migration-fenced", id, sourceEpoch, targetEpoch })
      );
    }
    case "unfence-migration":
      return fence?.version === request.fence
        ? records({ type: "migration-unfenced", id })
        : rejection(`${STALE}migration ${id} does not have that fence`);
    case "complete-migration": {
      if (fence === undefined) return rejection(`ERR migration ${id} is not fenced yet`);
      if (fence.version !== request.fence) return rejection(`${STALE}migration ${id} does not have that fence`);
      const { sourceEpoch, targetEpoch } = fence;
      return (
        ofOthers(state, migration, fence) ?? records({ type: "migration-completed", id, sourceEpoch, targetEpoch })
      );
    }
    case "allow-completion":
      return migration.awaitsWord === true ? records({ type: "completion-allowed", id }) : records();
    case "abort-migration":
      return records({ type: "migration-aborted", id, ...epochsOf(state, migration) });
    case "pause-migration": {
      const { isPaused } = request;
      if (migration.isPaused === isPaused) return records();
      const paused = { type: "migration-paused", id, isPaused } as const;
      return fence === undefined ? records(paused) : records({ type: "migration-unfenced", id }, paused);
    }
    default:
      return request satisfies never;
  }
}

/** Why slots may not be given to anybody else: they are being moved. */
export function problemOfMoving(state: TopologyState, slots: readonly SlotRange[]): string | undefined {
  for (const migration of state.migrations.values()) {
    const [moving] = intersectRanges(slots, migration.slots);
    if (moving !== undefined) return `ERR slot ${moving.first} is being moved by migration ${migration.id}`;
  }
  return undefined;
}

/** The rejection of what rests on primaries that lead no more. */
function ofOthers(
  state: TopologyState,
  migration: MigrationRecord,
  { sourceEpoch, targetEpoch }: { readonly sourceEpoch: number; readonly targetEpoch: number },
): TopologyDecision | undefined {
  const now = epochsOf(state, migration);
  // Another start of a primary leads on in its epoch until somebody takes over, and holds nothing of what its predecessor had taken in, or had to give.
  for (const id of [migration.source, migration.target]) {
    const shard = state.shards.get(id);
    if (shard !== undefined && hasLostData(state, shard))
      return rejection(`${STALE}the primary of shard ${id} has restarted without its data`);
  }
  if (now.sourceEpoch === sourceEpoch && now.targetEpoch === targetEpoch) return undefined;
  return rejection(
    `${STALE}the shards' primaries are in epochs ${now.sourceEpoch} and ${now.targetEpoch}, and this rests on those of ${sourceEpoch} and ${targetEpoch}`,
  );
}

/** Of both shards, which are there as long as the migration is. */
function epochsOf(
  { shards }: TopologyState,
  { source, target }: MigrationRecord,
): { readonly sourceEpoch: number; readonly targetEpoch: number } {
  return {
    sourceEpoch: shards.get(source)?.primaryEpoch ?? 0,
    targetEpoch: shards.get(target)?.primaryEpoch ?? 0,
  };
}
