/**
 * Checkers of shards with replicas. Each looks at whole nodes from outside, at moments that the run draws, between two events; small, and of one promise.
 *
 * "The newest map" is the one of the highest version that any node that runs has applied: it is committed.
 */
import { type Keyspace, keyspaceService } from "../../src/contracts/keyspace.ts";
import { failoverService } from "../../src/contracts/failover.ts";
import { type LogPosition, type Replication, replicationService } from "../../src/contracts/replication.ts";
import type { ClusterMap, ShardRecord } from "../../src/contracts/topology.ts";
import type { NodeView } from "./cluster-checkers.ts";
import type { ClusterWorld } from "./cluster-world.ts";
import { Violation } from "./raft-checkers.ts";

/** A node that runs, as these checkers see it. */
export interface MemberLook {
  readonly view: NodeView;
  readonly replication: Replication;
  readonly keyspace: Keyspace;
  /** The shard that it has a role in, by its own map. */
  readonly shard: ShardRecord | undefined;
}

/** What is looked at: all at one moment. */
export interface ShardsLook {
  readonly newest: ClusterMap;
  readonly members: readonly MemberLook[];
}

/** The map of the highest version; `undefined` if nobody runs. */
export function newestMapOf(views: readonly NodeView[]): ClusterMap | undefined {
  let newest: ClusterMap | undefined;
  for (const { topology } of views)
    if (newest === undefined || topology.map.version > newest.version) newest = topology.map;
  return newest;
}

/** The node that runs as what a map says of it: this very start. */
export function runningMember(map: ClusterMap, views: readonly NodeView[], id: string): NodeView | undefined {
  const record = map.nodes.find((node) => node.id === id);
  return views.find(({ node }) => node.facts.id === id && node.facts.runId === record?.start);
}

/** Whether a primary runs as the one that has the shard's data. */
export function runningPrimary(map: ClusterMap, views: readonly NodeView[], shard: ShardRecord): NodeView | undefined {
  const record = map.nodes.find((node) => node.id === shard.primary);
  return record?.incarnation === shard.primaryIncarnation ? runningMember(map, views, shard.primary) : undefined;
}

export function lookAt(views: readonly NodeView[]): ShardsLook | undefined {
  const newest = newestMapOf(views);
  if (newest === undefined) return undefined;
  const members = views.flatMap((view) => {
    const replication = view.node.service(replicationService);
    const keyspace = view.node.service(keyspaceService);
    if (replication === undefined || keyspace === undefined) return [];
    return [{ view, replication, keyspace, shard: view.topology.selfShard }];
  });
  return { newest, members };
}

/** What a member holds is what its position says: it writes or follows a log, and nothing is under way that no entry has yet. */
function settledPosition({ view, replication, shard }: MemberLook): LogPosition | undefined {
  const { role, position } = replication;
  // A primary that nobody follows writes no log.
  if (role === "none" || (role === "primary" && shard?.replicas.length === 0)) return undefined;
  // An entry that is being written is in its keys, and not in its position.
  return position !== undefined && view.node.replyGate.last <= position.sequence ? position : undefined;
}

/** Members of a shard that are at the same place of its log hold the same, whenever they were there. */
export class EqualAtEqualPositions {
  readonly #digests = new Map<string, { readonly digest: string; readonly by: string }>();
  /** What each was when its digest was made. */
  readonly #last = new Map<string, { readonly place: string; readonly changes: number }>();
  readonly #slots: readonly number[];

  /** @param slots Those in which there are keys. */
  constructor(slots: readonly number[]) {
    this.#slots = slots;
  }

  /** Digests that were compared with another member's. */
  compared = 0;

  look({ newest, members }: ShardsLook): void {
    const heldBy = new Map<string, readonly number[]>();
    for (const member of members) {
      const position = settledPosition(member);
      if (position === undefined || member.shard === undefined) continue;
      const { id } = member.shard;
      const held = heldBy.get(id) ?? this.#slotsHeldBy(newest, id);
      heldBy.set(id, held);
      const place = `${id} ${position.epoch}/${position.sequence} ${held.join(",")}`;
      const { name, node } = member.view;
      const own = `${name} ${node.facts.runId}`;
      const { changes } = member.keyspace;
      const last = this.#last.get(own);
      // Nothing has happened to it.
      if (last?.place === place && last.changes === changes) continue;
      this.#last.set(own, { place, changes });
      const digest = this.#digestOf(member, held);
      const before = this.#digests.get(place);
      if (before === undefined) {
        this.#digests.set(place, { digest, by: name });
        continue;
      }
      if (before.by !== name) this.compared += 1;
      if (before.digest !== digest) {
        throw new Violation(`${name} is at ${place} and holds ${digest}; ${before.by} held ${before.digest} there`);
      }
    }
  }

  /** What has left the shard some members still hold, and those that were filled since do not. */
  #slotsHeldBy({ shards, migrations, openSlots }: ClusterMap, shard: string): readonly number[] {
    const ranges = [
      ...(shards.find(({ id }) => id === shard)?.slots ?? []),
      ...migrations.flatMap(({ target, slots }) => (target === shard ? slots : [])),
    ];
    const opened = openSlots.filter(({ importing }) => importing.some((each) => each.shard === shard));
    return this.#slots.filter(
      (slot) =>
        ranges.some(({ first, last }) => first <= slot && slot <= last) || opened.some((each) => each.slot === slot),
    );
  }

  #digestOf({ keyspace }: MemberLook, held: readonly number[]): string {
    // What is hidden depends on the map that a member has; what it holds does not.
    let text = "";
    for (const slot of held) {
      const count = keyspace.slotSize(slot);
      if (count === 0) continue;
      // Expiry times by themselves, too: the nodes rely on digests, and this must not rely on what they rely on.
      const expiries: number[] = [];
      keyspace.scanSlot(slot, 0, count, (record) => void expiries.push(keyspace.expiresAtMs(record)));
      text += ` ${slot}:${keyspace.digestSlot(slot)}/${expiries.toSorted((one, other) => one - other).join("/")}`;
    }
    return text;
  }
}

/** A node's place in its shard's log never goes back. */
export class PositionsGoForward {
  readonly #seen = new Map<string, LogPosition>();

  look({ members }: ShardsLook): void {
    for (const { view, replication, shard } of members) {
      const { position } = replication;
      if (position === undefined || shard === undefined) continue;
      const key = `${view.name} ${view.node.facts.runId} ${shard.id}`;
      const before = this.#seen.get(key);
      if (before !== undefined && isBefore(position, before)) {
        throw new Violation(
          `${view.name} went back in the log of ${shard.id}: from ${formatPosition(before)} to ${formatPosition(position)}`,
        );
      }
      this.#seen.set(key, position);
    }
  }
}

/**
 * What a primary takes for committed, and lets replies leave by, is held by every member that may be the next primary: those in the sets of the newest map. So is what a
 * replica takes for committed, and lets reads leave by.
 */
export class CommittedIsHeld {
  look({ newest, members }: ShardsLook): void {
    for (const member of members) {
      const { view, replication, shard } = member;
      const { role, position: own } = replication;
      if (shard === undefined || role === "none" || shard.replicas.length === 0) continue;
      // It is being filled: nobody reads from it.
      if (role === "replica" && own === undefined) continue;
      const { committed: gate, last } = view.node.replyGate;
      const { epoch } = own ?? { epoch: 0 };
      // An open gate: all that there is.
      const sequence = Math.max(replication.committed, gate === Number.POSITIVE_INFINITY ? last : gate);
      for (const id of this.#heirs(newest, shard)) {
        const heir = members.find((each) => each.view === runningMember(newest, [each.view], id));
        if (heir === undefined || heir === member) continue;
        // By its own map it is not there yet: it was added, and may not be in the sets.
        if (heir.shard?.id !== shard.id)
          throw new Violation(`${heir.view.name} is in the sets of shard ${shard.id}, and does not know it`);
        const { position } = heir.replication;
        const isHeld = position !== undefined && (position.epoch > epoch || position.sequence >= sequence);
        if (!isHeld) {
          throw new Violation(
            `${view.name} takes ${sequence} of epoch ${epoch} for committed, and ${heir.view.name} of its sets is at ${formatPosition(position)}`,
          );
        }
      }
    }
  }

  #heirs(newest: ClusterMap, own: ShardRecord): ReadonlySet<string> {
    const agreed = newest.shards.find(({ id }) => id === own.id);
    // By a map in which another leads, the members' logs are another's.
    if (agreed?.primary !== own.primary || agreed.primaryEpoch !== own.primaryEpoch) return new Set();
    // Its primary is none of them: it has what it wrote; and one that has restarted without it is replaced by them.
    return new Set([...agreed.inSync, ...agreed.eligible].filter((id) => id !== agreed.primary));
  }
}

/** Members in the sets of the newest map, which may be the next primary, have everything whole. */
export class HeirsAreWhole {
  look({ newest, members }: ShardsLook): void {
    for (const { view, replication, shard } of members) {
      const agreed = newest.shards.find(({ id }) => id === shard?.id);
      if (agreed === undefined || runningMember(newest, [view], view.node.facts.id) === undefined) continue;
      if (replication.role !== "replica" || replication.position !== undefined) continue;
      const { id } = view.node.facts;
      if (agreed.inSync.includes(id) || agreed.eligible.includes(id)) {
        throw new Violation(`${view.name} is in the sets of shard ${agreed.id}, and has nothing whole`);
      }
    }
  }
}

/** A replica removes no key because it has expired. Between two looks it may have led, and removed some: in an epoch of its own. */
export class ReplicasRemoveNothing {
  readonly #expired = new Map<string, { readonly epoch: number; readonly count: number }>();

  look({ members }: ShardsLook): void {
    for (const { view, replication, keyspace, shard } of members) {
      const key = `${view.name} ${view.node.facts.runId}`;
      if (replication.role !== "replica" || shard === undefined) {
        this.#expired.delete(key);
        continue;
      }
      const count = keyspace.expiredCount;
      const before = this.#expired.get(key);
      if (before?.epoch === shard.primaryEpoch && count !== before.count) {
        throw new Violation(`${view.name} is a replica, and has removed ${count - before.count} expired keys`);
      }
      this.#expired.set(key, { epoch: shard.primaryEpoch, count });
    }
  }
}

/** The log takes up what the settings say, and little more. */
export class LogsAreBounded {
  readonly #maxBytes: number;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  look({ members }: ShardsLook): void {
    for (const { view, replication } of members) {
      if (replication.logBytes > this.#maxBytes) {
        throw new Violation(`${view.name}'s log takes up ${replication.logBytes} bytes, more than ${this.#maxBytes}`);
      }
    }
  }
}

/** Nobody holds keys of slots that its shard does not own. */
export class KeysAreInTheirShard {
  readonly #slots: readonly number[];

  /** @param slots Those in which there are keys. */
  constructor(slots: readonly number[]) {
    this.#slots = slots;
  }

  look({ newest, members }: ShardsLook): void {
    for (const { view, replication, keyspace, shard } of members) {
      if (replication.position === undefined || keyspace.size === 0) continue;
      // What a replica follows may be ahead of its map: its primary knows already that a slot has come.
      const agreed = newest.shards.find(({ id }) => id === shard?.id);
      const owned = [...(shard?.slots ?? []), ...(agreed?.slots ?? [])];
      let size = 0;
      for (const slot of this.#slots) {
        if (keyspace.isHidden(slot)) continue;
        if (owned.some(({ first, last }) => slot >= first && slot <= last)) size += keyspace.slotSize(slot);
      }
      if (size !== keyspace.size) {
        throw new Violation(`${view.name} holds ${keyspace.size} keys, of which ${size} are in its shard's slots`);
      }
    }
  }
}

/** Why the shards are not whole yet: each replica is in sync, follows, and is where its primary is. `undefined` if they are. */
export function problemOfShards({ newest, members }: ShardsLook): string | undefined {
  for (const shard of newest.shards) {
    if (shard.replicas.length === 0) continue;
    const find = (id: string): MemberLook | undefined => members.find(({ view }) => view.node.facts.id === id);
    const primary = find(shard.primary);
    const name = `shard ${shard.id.slice(0, 8)}`;
    if (primary?.replication.role !== "primary") return `${name}: nobody leads`;
    if (shard.inSync.length !== shard.replicas.length + 1) return `${name}: ${shard.inSync.length} in sync`;
    if (primary.replication.isChangingSets) return `${name}: its sets may change`;
    const position = settledPosition(primary);
    if (position === undefined) return `${name}: its primary writes`;
    if (primary.replication.committed < position.sequence) return `${name}: not all is committed`;
    for (const id of shard.replicas) {
      const replica = find(id);
      if (replica?.replication.role !== "replica") return `${name}: a replica is missing`;
      if (replica.replication.waitingFor !== undefined)
        return `${replica.view.name}: ${replica.replication.waitingFor}`;
      const reached = settledPosition(replica);
      if (reached === undefined || isBefore(reached, position)) return `${replica.view.name} is behind`;
      if (replica.replication.committed < position.sequence) return `${replica.view.name} waits for what is committed`;
      if (replica.keyspace.size !== primary.keyspace.size) return `${replica.view.name} holds other keys`;
    }
  }
  return undefined;
}

function isBefore(one: LogPosition, other: LogPosition): boolean {
  return one.epoch < other.epoch || (one.epoch === other.epoch && one.sequence < other.sequence);
}

function formatPosition(position: LogPosition | undefined): string {
  return position === undefined ? "no place" : `${position.epoch}/${position.sequence}`;
}

/** A member, for people. */
export function describeMember({ view, replication, keyspace, shard }: MemberLook): string {
  const { role, position, committed, waitingFor, replicas } = replication;
  const { replyGate } = view.node;
  const followers = replicas.map(
    ({ nodeId, state, isInSync, acknowledged }) =>
      `${nodeId.slice(0, 4)} ${state} ${isInSync ? "in sync" : ""} ${acknowledged}`,
  );
  return `${view.name} ${view.node.facts.id.slice(0, 4)} ${role} of ${shard?.id.slice(0, 4) ?? "-"} v${shard?.version ?? 0} at ${formatPosition(position)}, committed ${committed}, gate ${replyGate.committed} of ${replyGate.last} (${replyGate.waitingCount} wait), ${keyspace.size} keys, in sync ${shard?.inSync.map((id) => id.slice(0, 4)).join(",") ?? ""} eligible ${shard?.eligible.map((id) => id.slice(0, 4)).join(",") ?? ""}; ${followers.join("; ")} ${waitingFor ?? ""}`;
}

/**
 * Two primaries of a shard that both have a lease at this moment, each by its own clock and its own map, are a violation. A lease begins, and a map changes, in an
 * event of the node's own: looked at is the node whose event it was, beside all others.
 */
export function checkLease(world: ClusterWorld, host: string): void {
  const view = world.running.get(host);
  const shard = view === undefined ? undefined : leasedShard(world, view);
  if (view === undefined || shard === undefined) return;
  for (const other of world.views) {
    if (other === view || leasedShard(world, other) !== shard) continue;
    throw new Violation(`one primary of a shard has a lease: ${other.name} and ${view.name} have`);
  }
}

/** The shard that a node has a lease for. */
function leasedShard({ simulation }: ClusterWorld, { name, node, topology }: NodeView): string | undefined {
  const { leaseState, leaseEndsAtMs } = node.service(failoverService) ?? { leaseState: "none", leaseEndsAtMs: 0 };
  if (leaseState !== "held") return undefined;
  const shard = topology.selfShard;
  if (shard?.primary !== node.facts.id) return undefined;
  const nowMs = simulation.host(name).clock.localUs(simulation.scheduler.nowUs) / 1000;
  return nowMs < leaseEndsAtMs ? shard.id : undefined;
}
