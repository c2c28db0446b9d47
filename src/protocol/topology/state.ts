/**
 * The cluster map's state, and what a record makes of it.
 *
 * A state is never changed: `applyAct` gives the next one. Applying decides nothing and never fails: an act that breaks an invariant is a fault, since whoever
 * decided it should have refused.
 */
import { assert, present } from "../../assert.ts";
import { SLOT_COUNT } from "../../codec/slot.ts";
import type {
  ClusterMap,
  HistoryEntry,
  MapDelta,
  MigrationRecord,
  NodeId,
  NodeRecord,
  OpenSlot,
  ReleaseRecord,
  SealRecord,
  ShardId,
  ShardRecord,
  SlotRange,
  Tombstone,
} from "../../contracts/topology.ts";
import { canonicalRanges, coversRanges, intersectRanges, subtractRanges } from "../slot-ranges.ts";
import { JsonTexts } from "./json-texts.ts";
import {
  assignedTo,
  checkOpenSlots,
  closeSlot,
  markImporting,
  markMigrating,
  ownerOf,
  releasedFrom,
  unmark,
  withoutShard,
  slotsTakenIn,
} from "./open-slots.ts";
import { type TopologyAct, type TopologyRecord, describeRecord } from "./records.ts";

/** Acts that `explain` can tell of at least. */
export const HISTORY_LENGTH = 10_000;
/** Requests whose outcome is remembered, so that one that is asked again gets it. */
const OUTCOMES_LENGTH = 10_000;
/** Nodes that were taken out, and are kept out. Some 85 bytes of a snapshot each. */
const MAX_TOMBSTONES = 1000;

export interface TopologyState {
  readonly clusterId: string;
  /** Of the last act. */
  readonly version: number;
  readonly nodes: ReadonlyMap<NodeId, NodeRecord>;
  readonly shards: ReadonlyMap<ShardId, ShardRecord>;
  readonly migrations: ReadonlyMap<string, MigrationRecord>;
  readonly openSlots: readonly OpenSlot[];
  readonly releases: readonly ReleaseRecord[];
  readonly tombstones: ReadonlyMap<NodeId, Tombstone>;
  readonly settings: ReadonlyMap<string, string>;
  readonly seal: SealRecord | undefined;
}

export const EMPTY_STATE: TopologyState = {
  clusterId: "",
  version: 0,
  nodes: new Map(),
  shards: new Map(),
  migrations: new Map(),
  openSlots: [],
  releases: [],
  tombstones: new Map(),
  settings: new Map(),
  seal: undefined,
};

/** What became of a request. */
export interface Outcome {
  readonly outcome: readonly string[];
  readonly rejection?: string;
}

/** What is kept beside the state: the same on every node, and of no weight for decisions but for requests that come twice. */
export class Journal {
  #history: HistoryEntry[] = [];
  #outcomes = new Map<string, Outcome>();
  /** The same as JSON, for snapshots. */
  readonly historyTexts = new JsonTexts();
  #outcomeTexts = new JsonTexts();

  get history(): readonly HistoryEntry[] {
    return this.#history;
  }

  get outcomeTexts(): JsonTexts {
    return this.#outcomeTexts;
  }

  /** What a request was answered with. */
  outcomeOf(requestId: string): Outcome | undefined {
    return this.#outcomes.get(requestId);
  }

  add(version: number, { requestId, timeMs, cause, records, outcome, rejection }: TopologyAct): void {
    // Acts without records change nothing that anybody could ask about.
    if (records.length > 0) this.note({ version, timeMs, cause, changes: records.map(describeRecord) });
    this.#settled(requestId, rejection === undefined ? { outcome } : { outcome, rejection });
  }

  /** Notes what no request was the cause of. */
  note(entry: HistoryEntry): void {
    this.#history.push(entry);
    // Shortened now and then: to move thousands of entries at each act would cost more than the act.
    if (this.#history.length > 2 * HISTORY_LENGTH) this.#history = this.#history.slice(-HISTORY_LENGTH);
    this.historyTexts.push(entry);
    if (this.historyTexts.count > HISTORY_LENGTH) this.historyTexts.shift();
  }

  #settled(requestId: string, outcome: Outcome): void {
    const isKnown = this.#outcomes.has(requestId);
    this.#outcomes.set(requestId, outcome);
    if (isKnown) {
      // It keeps its place, with another text.
      this.#outcomeTexts = new JsonTexts();
      for (const each of this.#outcomes) this.#outcomeTexts.push(each);
      return;
    }
    this.#outcomeTexts.push([requestId, outcome]);
    if (this.#outcomes.size <= OUTCOMES_LENGTH) return;
    const [oldest] = this.#outcomes.keys();
    if (oldest !== undefined) this.#outcomes.delete(oldest);
    this.#outcomeTexts.shift();
  }

  static fromJson(json: { history: HistoryEntry[]; outcomes: [string, Outcome][] }): Journal {
    const journal = new Journal();
    for (const entry of json.history) journal.note(entry);
    for (const [requestId, outcome] of json.outcomes) journal.#settled(requestId, outcome);
    return journal;
  }
}

/** The state after an act. */
export function applyAct(state: TopologyState, version: number, act: TopologyAct): TopologyState {
  assert(version > state.version, "versions of the map do not go back");
  let next: TopologyState = { ...state, version };
  for (const record of act.records) next = applyRecord(next, record, act);
  return next;
}

function applyRecord(
  state: TopologyState,
  record: TopologyRecord,
  { cause, timeMs }: Pick<TopologyAct, "cause" | "timeMs">,
): TopologyState {
  const { version } = state;
  switch (record.type) {
    case "node-admitted": {
      const { node } = record;
      const earlier = state.nodes.get(node.id);
      if (earlier?.incarnation !== undefined && earlier.incarnation > 0 && earlier.start === node.start) {
        // The same start is somewhere else: what it holds and serves is the same.
        return { ...state, nodes: put(state.nodes, node.id, { ...node, incarnation: earlier.incarnation }) };
      }
      const admitted = {
        ...state,
        nodes: put(state.nodes, node.id, { ...node, incarnation: version }),
        // What an earlier start of it served, it serves no more.
        releases: keptReleases(state, (release) => release.node !== node.id),
      };
      return restarted(admitted, node.id, (earlier?.incarnation ?? 0) > 0);
    }
    case "node-removed":
      return {
        ...state,
        nodes: without(state.nodes, record.node),
        releases: keptReleases(state, (release) => release.node !== record.node),
        tombstones: withTombstone(state.tombstones, { node: record.node, version, cause }),
      };
    case "tombstone-lifted":
      return { ...state, tombstones: without(state.tombstones, record.node) };
    case "shard-created": {
      const { shard: id, primary, epoch, wasEmptied } = record;
      const primaryIncarnation = incarnationOf(state, primary);
      const members = { primary, primaryIncarnation, replicas: [], inSync: [primary], eligible: [] };
      const emptied = wasEmptied === true ? { wasEmptied } : {};
      const shard = { id, ...members, slots: [], ...emptied, primaryEpoch: epoch, version };
      return { ...state, shards: put(state.shards, id, shard) };
    }
    case "shard-removed":
      return {
        ...state,
        shards: without(state.shards, record.shard),
        openSlots: withoutShard(state.openSlots, record.shard),
      };
    case "slots-assigned":
      return changeShard(
        { ...state, openSlots: assignedTo(state.openSlots, record.slots, record.shard) },
        record.shard,
        (shard) => ({ slots: canonicalRanges([...shard.slots, ...record.slots]) }),
      );
    case "slots-released":
      return releaseSlots({ ...state, openSlots: releasedFrom(state.openSlots, record.slots) }, record.slots);
    case "release-acknowledged":
      return {
        ...state,
        releases: keptReleases(state, ({ node, version: at }) => node !== record.node || at > record.version),
      };
    case "epoch-changed":
      return changeShard(state, record.shard, () => ({ primaryEpoch: record.epoch }));
    case "replica-added":
      return changeShard(state, record.shard, ({ replicas }) => ({ replicas: [...replicas, record.node] }));
    case "replica-removed":
      return changeShard(state, record.shard, ({ replicas, inSync, eligible }) => ({
        replicas: replicas.filter((id) => id !== record.node),
        inSync: inSync.filter((id) => id !== record.node),
        eligible: eligible.filter((id) => id !== record.node),
      }));
    case "in-sync-changed":
      return changeShard(state, record.shard, () => ({ inSync: record.inSync, eligible: record.eligible }));
    case "primary-promoted":
      return changeShard(
        record.isLeaseOver === true ? silenced(state, record.shard) : released(state, record.shard),
        record.shard,
        ({ primary, replicas, inSync, eligible }) => ({
          primary: record.node,
          primaryIncarnation: incarnationOf(state, record.node),
          primaryEpoch: record.epoch,
          replicas: [...replicas.filter((id) => id !== record.node), primary],
          // The old primary is dropped: what it acknowledged alone is not known.
          inSync: [record.node, ...inSync.filter((id) => id !== record.node && id !== primary)],
          eligible: eligible.filter((id) => id !== record.node && id !== primary),
        }),
      );
    case "primary-kept":
      return changeShard(state, record.shard, () => ({}));
    case "loss-accepted":
      return changeShard(silenced(state, record.shard), record.shard, ({ primary, replicas }) => ({
        primary: record.node,
        primaryIncarnation: incarnationOf(state, record.node),
        primaryEpoch: record.epoch,
        replicas: primary === record.node ? replicas : [...replicas.filter((id) => id !== record.node), primary],
        // Whoever else has data has other data.
        inSync: [record.node],
        eligible: [],
      }));
    case "migration-started": {
      const migration = { ...record.migration, isPaused: false, cause, startedAtMs: timeMs };
      return { ...state, migrations: put(state.migrations, migration.id, migration) };
    }
    case "migration-fenced": {
      const { id, sourceEpoch, targetEpoch } = record;
      return changeMigration(state, id, { fence: { version, sourceEpoch, targetEpoch } });
    }
    case "migration-unfenced": {
      const { fence: _, ...unfenced } = migrationOf(state, record.id);
      return { ...state, migrations: put(state.migrations, record.id, unfenced) };
    }
    case "migration-completed": {
      // Nobody waits for the source's primary: it was it that asked, and it has served none of the slots since it applied the fence; nor has anybody who was
      // promoted since, who applied the fence before.
      const { source, target, slots } = migrationOf(state, record.id);
      const moved = changeShard(state, source, (shard) => ({ slots: subtractRanges(shard.slots, slots) }));
      const arrived = changeShard(moved, target, (shard) => ({ slots: canonicalRanges([...shard.slots, ...slots]) }));
      return { ...arrived, migrations: without(arrived.migrations, record.id) };
    }
    case "completion-allowed": {
      const { awaitsWord: _, ...allowed } = migrationOf(state, record.id);
      return { ...state, migrations: put(state.migrations, record.id, allowed) };
    }
    case "migration-aborted":
      return { ...state, migrations: without(state.migrations, record.id) };
    case "slot-migrating":
      return { ...state, openSlots: markMigrating(state.openSlots, record.slot, record.to) };
    case "slot-importing":
      return { ...state, openSlots: markImporting(state.openSlots, record.slot, record.shard, record.from) };
    case "slot-stable": {
      const isOwner = ownerOf(state.shards.values(), record.slot)?.id === record.shard;
      return { ...state, openSlots: unmark(state.openSlots, record.slot, record.shard, isOwner) };
    }
    case "slot-closed":
      return { ...state, openSlots: closeSlot(state.openSlots, record.slot) };
    case "slot-given": {
      const slots = [{ first: record.slot, last: record.slot }];
      const owner = ownerOf(state.shards.values(), record.slot);
      const rest = (shard: ShardRecord): Partial<ShardRecord> => ({ slots: subtractRanges(shard.slots, slots) });
      const given = owner === undefined ? state : changeShard(state, owner.id, rest);
      return changeShard({ ...given, openSlots: closeSlot(given.openSlots, record.slot) }, record.shard, (shard) => ({
        slots: canonicalRanges([...shard.slots, ...slots]),
      }));
    }
    case "migration-paused":
      return changeMigration(state, record.id, { isPaused: record.isPaused });
    case "setting-changed": {
      let next: TopologyState = { ...state, settings: put(state.settings, record.name, record.value) };
      // A lowered minimum may be reached by what is there.
      for (const shard of state.shards.values()) {
        if (shard.eligible.length > 0 && hasMinimum(next, shard)) next = changeShard(next, shard.id, () => ({}));
      }
      return next;
    }
    case "sealed":
      return { ...state, seal: record.seal };
    case "unsealed":
      return { ...state, seal: undefined };
    default:
      return record satisfies never;
  }
}

/** In-sync members that a shard must have to take writes. */
export function minInSyncOf(state: TopologyState): number {
  return Number(state.settings.get("min-in-sync") ?? 1);
}

/**
 * Whether a shard takes writes, as far as its in-sync set goes.
 *
 * A primary that has lost its data counts for nothing. The scenario: it was alone in the set, restarts empty, and is admitted; the minimum is lowered to one before
 * somebody who is eligible is promoted. With the lost one the minimum would be reached, nobody eligible any more, and the shard gone for good.
 */
function hasMinimum(state: TopologyState, shard: ShardRecord): boolean {
  const holders = shard.inSync.length - (hasLostData(state, shard) ? 1 : 0);
  return holders >= minInSyncOf(state);
}

function incarnationOf(state: TopologyState, node: NodeId): number {
  return state.nodes.get(node)?.incarnation ?? 0;
}

/** Whether the primary has started again since it held the shard's data: it has lost them, and other members may hold them. */
export function hasLostData(state: TopologyState, { primary, primaryIncarnation }: ShardRecord): boolean {
  return incarnationOf(state, primary) !== primaryIncarnation;
}

/**
 * Another start of a node is admitted, which holds nothing of what an earlier one held. The scenario: a primary is killed and comes back within its lease,
 * reads in the map that it is primary, and serves nothing as everything.
 *
 * The shard gets another version even if it is the same otherwise: what was decided with the earlier start in mind (it had caught up) is stale.
 *
 * @param hasEarlier It had started before. The first start of a node of the founding list has lost nothing.
 */
function restarted(state: TopologyState, id: NodeId, hasEarlier: boolean): TopologyState {
  for (const shard of state.shards.values()) {
    if (shard.primary === id) {
      // Where there is nobody else it begins with what it has; and so it does where there was nothing: it had no slots, and took in no keys. With replicas somebody
      // decides, if none of them is in a set: one may have nearly everything.
      const isEmpty = shard.slots.length === 0 && slotsTakenIn(state, shard.id).length === 0;
      const isHolder = !hasEarlier || shard.replicas.length === 0 || isEmpty;
      const isAnew = isEmpty && hasEarlier && shard.replicas.length > 0;
      return changeShard(state, shard.id, ({ primaryIncarnation, primaryEpoch }) => ({
        ...(isAnew ? { inSync: [id], eligible: [] } : {}),
        primaryIncarnation: isHolder ? state.version : primaryIncarnation,
        // Its log begins anew, too: a place in the one before must not be taken for one in this.
        primaryEpoch: isHolder && hasEarlier ? highestEpoch(state) + 1 : primaryEpoch,
      }));
    }
    if (shard.replicas.includes(id)) {
      return changeShard(state, shard.id, ({ inSync, eligible }) =>
        hasEarlier
          ? { inSync: inSync.filter((each) => each !== id), eligible: eligible.filter((each) => each !== id) }
          : {},
      );
    }
  }
  return state;
}

/** The releases that stay: the same list, if all do, so that nobody takes it for a change. */
function keptReleases(state: TopologyState, stays: (release: ReleaseRecord) => boolean): readonly ReleaseRecord[] {
  return state.releases.every(stays) ? state.releases : state.releases.filter(stays);
}

function migrationOf(state: TopologyState, id: string): MigrationRecord {
  return present(state.migrations.get(id), "a migration that changes is there");
}

function changeMigration(state: TopologyState, id: string, change: Partial<MigrationRecord>): TopologyState {
  return { ...state, migrations: put(state.migrations, id, { ...migrationOf(state, id), ...change }) };
}

/** Takes slots from whoever owns them. */
function releaseSlots(state: TopologyState, slots: readonly SlotRange[]): TopologyState {
  let next = state;
  for (const shard of state.shards.values()) {
    const lost = intersectRanges(shard.slots, slots);
    if (lost.length === 0) continue;
    next = changeShard(released(next, shard.id, lost), shard.id, () => ({
      slots: subtractRanges(shard.slots, slots),
    }));
  }
  return next;
}

/** Notes that a shard's primary loses slots: nobody else serves them before it knows. */
function released(state: TopologyState, id: ShardId, slots?: readonly SlotRange[]): TopologyState {
  const shard = present(state.shards.get(id), "a shard that loses slots is there");
  const owner = present(state.nodes.get(shard.primary), "a shard's primary is a node");
  const lost = slots ?? shard.slots;
  // One that holds no slots has nothing that another could serve meanwhile; one that was never admitted has never served.
  if (lost.length === 0 || owner.incarnation === 0) return state;
  const release = { node: owner.id, incarnation: owner.incarnation, version: state.version, slots: lost };
  return { ...state, releases: [...state.releases, release] };
}

/** A shard's primary serves no more: nobody waits for it to say so, whatever it has lost. */
function silenced(state: TopologyState, id: ShardId): TopologyState {
  const { primary } = present(state.shards.get(id), "a shard that gets another primary is there");
  return { ...state, releases: keptReleases(state, (release) => release.node !== primary) };
}

function changeShard(
  state: TopologyState,
  id: ShardId,
  change: (shard: ShardRecord) => Partial<ShardRecord>,
): TopologyState {
  const shard = present(state.shards.get(id), "a shard that is changed is there");
  const { wasEmptied, ...changed } = { ...shard, ...change(shard), version: state.version };
  const isEmptied = changed.slots.length === 0 && (shard.slots.length > 0 || wasEmptied === true);
  // With its minimum the set takes writes again, which those who left it before do not have.
  const eligible = changed.eligible.length > 0 && hasMinimum(state, changed) ? [] : changed.eligible;
  const next: ShardRecord = { ...changed, eligible, ...(isEmptied ? { wasEmptied: true } : {}) };
  return { ...state, shards: put(state.shards, id, next) };
}

function put<Key, Value>(map: ReadonlyMap<Key, Value>, key: Key, value: Value): ReadonlyMap<Key, Value> {
  return new Map(map).set(key, value);
}

function without<Key, Value>(map: ReadonlyMap<Key, Value>, key: Key): ReadonlyMap<Key, Value> {
  const copy = new Map(map);
  copy.delete(key);
  return copy;
}

/** The newest come last, and of too many the oldest goes: a node without a name or a directory is another one at each start, and so leaves one at each. */
function withTombstone(tombstones: ReadonlyMap<NodeId, Tombstone>, added: Tombstone): ReadonlyMap<NodeId, Tombstone> {
  const [oldest] = tombstones.keys();
  const kept = tombstones.size < MAX_TOMBSTONES || oldest === undefined ? tombstones : without(tombstones, oldest);
  return put(kept, added.node, added);
}

/**
 * What must hold for every state.
 *
 * @throws {Fault} Naming what does not.
 */
export function checkState(state: TopologyState): void {
  for (const shard of state.shards.values()) checkShard(state, shard);
  const roles = [...state.shards.values()].flatMap((shard) => shard.replicas.concat(shard.primary));
  assert(new Set(roles).size === roles.length, ONE_SHARD);
  const ranges = [...state.shards.values()].flatMap((shard) => shard.slots).toSorted((a, b) => a.first - b.first);
  for (const [at, range] of ranges.entries()) {
    if (range.first <= (ranges[at - 1]?.last ?? -1)) assert(false, `slot ${range.first} has one owner at most`);
  }
  checkSeal(state);
  for (const id of state.tombstones.keys()) assert(!state.nodes.has(id), `node ${id} is removed, or it is not`);
  for (const migration of state.migrations.values()) checkMigration(state, migration);
  checkOpenSlots(state);
}

/**
 * The same for a state that followed one for which it holds: only what has changed, and what rests on it, is looked at.
 *
 * @param delta What `deltaOf` says of the two.
 * @throws {Fault} Naming what does not hold.
 */
export function checkChange(before: TopologyState, after: TopologyState, delta: MapDelta): void {
  for (const id of delta.shards) {
    const shard = after.shards.get(id);
    if (shard !== undefined) checkChangedShard(before.shards.get(id), shard, after);
  }
  // Who is a holder depends on how often a primary has started, and on the minimum.
  if (after.settings !== before.settings) for (const shard of after.shards.values()) checkHolders(after, shard);
  for (const id of delta.nodes) {
    const isNode = after.nodes.has(id);
    for (const shard of after.shards.values()) {
      if (!isNode) assert(!isMember(shard, id), `member ${id} of shard ${shard.id} is a node of the map`);
      else if (shard.primary === id) checkHolders(after, shard);
    }
  }
  checkSeal(after);
  if (after.tombstones !== before.tombstones || delta.nodes.length > 0) {
    for (const id of after.tombstones.keys()) assert(!after.nodes.has(id), `node ${id} is removed, or it is not`);
  }
  for (const migration of after.migrations.values()) {
    const { id, source, target } = migration;
    const isChanged =
      before.migrations.get(id) !== migration ||
      before.shards.get(source)?.slots !== after.shards.get(source)?.slots ||
      !after.shards.has(target);
    if (isChanged) checkMigration(after, migration);
  }
  checkOpenSlots(after);
}

const ONE_SHARD = "a node is a member of one shard at most";

function isMember(shard: ShardRecord, id: NodeId): boolean {
  return shard.primary === id || shard.replicas.includes(id);
}

/** A shard by itself, and with the nodes. */
function checkShard(state: TopologyState, shard: ShardRecord): void {
  const members = [shard.primary, ...shard.replicas];
  assert(new Set(members).size === members.length, `shard ${shard.id} has each member once`);
  for (const id of members) assert(state.nodes.has(id), `member ${id} of shard ${shard.id} is a node of the map`);
  assert(shard.inSync[0] !== undefined, `shard ${shard.id} has somebody in sync`);
  assert(shard.inSync.includes(shard.primary), `the primary of shard ${shard.id} is in sync`);
  for (const id of [...shard.inSync, ...shard.eligible]) {
    assert(members.includes(id), `${id} of the sets of shard ${shard.id} is a member`);
  }
  for (const id of shard.eligible) assert(!shard.inSync.includes(id), `${id} is in one set of shard ${shard.id}`);
  checkHolders(state, shard);
  let lastBefore = -2;
  for (const { first, last } of shard.slots) {
    assert(first >= 0 && first <= last && last < SLOT_COUNT, "slots are in 0..16383");
    if (lastBefore + 1 >= first) assert(false, `slots of shard ${shard.id} are canonical`);
    lastBefore = last;
  }
  if (shard.wasEmptied === true) assert(lastBefore < 0, `shard ${shard.id} has slots, or it was emptied`);
  assert(shard.version <= state.version, `shard ${shard.id} is not ahead of the map`);
}

/** A shard that has changed, with all others. */
function checkChangedShard(old: ShardRecord | undefined, shard: ShardRecord, state: TopologyState): void {
  checkShard(state, shard);
  const hasOtherMembers = shard.primary !== old?.primary || shard.replicas !== old.replicas;
  const hasOtherSlots = shard.slots !== old?.slots;
  if (!hasOtherMembers && !hasOtherSlots) return;
  for (const other of state.shards.values()) {
    if (other === shard) continue;
    if (hasOtherMembers) {
      assert(!isMember(other, shard.primary), ONE_SHARD);
      for (const id of shard.replicas) assert(!isMember(other, id), ONE_SHARD);
    }
    if (!hasOtherSlots) continue;
    const twice = firstCommonSlot(shard.slots, other.slots);
    if (twice !== undefined) assert(false, `slot ${twice} has one owner at most`);
  }
}

function checkSeal({ seal, nodes }: TopologyState): void {
  assert(seal === undefined || nodes.size === 1, "only a cluster of one node becomes part of another");
}

function checkMigration(state: TopologyState, migration: MigrationRecord): void {
  const source = present(state.shards.get(migration.source), "a migration's source is a shard");
  assert(state.shards.has(migration.target), "a migration's target is a shard");
  assert(coversRanges(source.slots, migration.slots), "a migration's source owns its slots");
}

/** The first slot that is in both. Both in order. */
function firstCommonSlot(one: readonly SlotRange[], other: readonly SlotRange[]): number | undefined {
  let at = 0;
  for (const { first, last } of one) {
    for (let range = other[at]; range !== undefined && range.first <= last; range = other[at]) {
      if (range.last >= first) return Math.max(first, range.first);
      at += 1;
    }
  }
  return undefined;
}

/** Who may be taken for a holder of a shard's data. */
function checkHolders(state: TopologyState, shard: ShardRecord): void {
  const { id, primary, primaryIncarnation, eligible } = shard;
  assert(
    eligible.length === 0 || !hasMinimum(state, shard),
    `nobody is eligible while shard ${id} has its minimum in sync`,
  );
  assert(primaryIncarnation <= incarnationOf(state, primary), `the primary of shard ${id} has been started so often`);
}

/** The image that readers get. @param previous Parts of it that are the same are kept. */
export function imageOf(state: TopologyState, previous: ClusterMap | undefined): ClusterMap {
  // As long as no shard has other slots they stand in the same order.
  const isSame =
    previous !== undefined &&
    previous.shards.length === state.shards.size &&
    previous.shards.every(({ id, slots }) => state.shards.get(id)?.slots === slots);
  const shards = isSame
    ? previous.shards.map(({ id }) => present(state.shards.get(id), "a shard with the same slots is there"))
    : [...state.shards.values()].toSorted(
        (a, b) => (a.slots[0]?.first ?? SLOT_COUNT) - (b.slots[0]?.first ?? SLOT_COUNT) || (a.id < b.id ? -1 : 1),
      );
  const hasSameNodes =
    previous !== undefined &&
    previous.nodes.length === state.nodes.size &&
    previous.nodes.every((node) => state.nodes.get(node.id) === node);
  const shardOfSlot = isSame ? previous.shardOfSlot : new Int16Array(SLOT_COUNT).fill(-1);
  if (!isSame) {
    for (const [index, shard] of shards.entries()) {
      for (const { first, last } of shard.slots) shardOfSlot.fill(index, first, last + 1);
    }
  }
  return {
    clusterId: state.clusterId,
    version: state.version,
    nodes: hasSameNodes ? previous.nodes : [...state.nodes.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1)),
    shards,
    shardOfSlot,
    migrations: [...state.migrations.values()],
    openSlots: state.openSlots,
    releases: state.releases,
    tombstones: [...state.tombstones.values()],
    settings: state.settings,
    seal: state.seal,
  };
}

/** What differs between two states that follow each other. */
export function deltaOf(before: TopologyState, after: TopologyState): MapDelta {
  const changed = <Key, Value>(one: ReadonlyMap<Key, Value>, other: ReadonlyMap<Key, Value>): readonly Key[] => {
    if (one === other) return [];
    const keys: Key[] = [];
    for (const key of one.keys()) if (one.get(key) !== other.get(key)) keys.push(key);
    for (const key of other.keys()) if (!one.has(key)) keys.push(key);
    return keys;
  };
  const shards = changed(before.shards, after.shards);
  return {
    nodes: changed(before.nodes, after.nodes),
    shards,
    changesSlots:
      before.releases !== after.releases ||
      before.openSlots !== after.openSlots ||
      before.migrations !== after.migrations ||
      shards.some((id) => {
        const [old, now] = [before.shards.get(id), after.shards.get(id)];
        return (
          old?.slots !== now?.slots ||
          old?.primary !== now?.primary ||
          old?.primaryIncarnation !== now?.primaryIncarnation
        );
      }),
  };
}

/** A state as plain JSON. */
export function stateToJson(state: TopologyState): Record<string, unknown> {
  return {
    clusterId: state.clusterId,
    version: state.version,
    nodes: [...state.nodes.values()],
    shards: [...state.shards.values()],
    migrations: [...state.migrations.values()],
    ...(state.openSlots.length === 0 ? {} : { openSlots: state.openSlots }),
    releases: state.releases,
    tombstones: [...state.tombstones.values()],
    settings: [...state.settings],
    ...(state.seal === undefined ? {} : { seal: state.seal }),
  };
}

/** The other way. The JSON is this program's own, checked where it came in. */
export function stateFromJson(json: {
  readonly clusterId: string;
  readonly version: number;
  readonly nodes: readonly NodeRecord[];
  readonly shards: readonly ShardRecord[];
  readonly migrations: readonly MigrationRecord[];
  readonly openSlots?: readonly OpenSlot[];
  readonly releases: readonly ReleaseRecord[];
  readonly tombstones: readonly Tombstone[];
  readonly settings: readonly (readonly [string, string])[];
  readonly seal?: SealRecord;
}): TopologyState {
  return {
    clusterId: json.clusterId,
    version: json.version,
    nodes: new Map(json.nodes.map((node) => [node.id, node])),
    shards: new Map(json.shards.map((shard) => [shard.id, shard])),
    migrations: new Map(json.migrations.map((migration) => [migration.id, migration])),
    openSlots: json.openSlots ?? [],
    releases: json.releases,
    tombstones: new Map(json.tombstones.map((tombstone) => [tombstone.node, tombstone])),
    settings: new Map(json.settings),
    seal: json.seal,
  };
}

/** Of all shards. */
export function highestEpoch(state: TopologyState): number {
  return Math.max(0, ...[...state.shards.values()].map((shard) => shard.primaryEpoch));
}
