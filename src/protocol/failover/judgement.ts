/**
 * What a leader does about one shard: nothing, wait for something, promote a member, go on without what is lost. Pure: facts in, a judgement with its reason out.
 *
 * A primary is replaced when
 * 1. something is wrong with it: it is not heard, it has restarted without its data, it has surrendered, an operator wants it so; a primary that renews its lease is
 *    alive, whatever others say of it;
 * 2. its lease is over, as far as this leader may have promised it, or one before it;
 * 3. a member that holds every acknowledged write is alive: in sync, else eligible. Of several the one with the most of the log; of equals one on another host than
 *    the primary's, then in another zone: what took the primary may take what is near it next. A leader that has just begun waits a moment for those that it has
 *    not heard yet.
 */
import type { LogPosition } from "../../contracts/replication.ts";
import type { NodeId, ShardRecord } from "../../contracts/topology.ts";
import { type Place, compareRanks, isInZoneOf, isOnHostOf } from "../topology/placement.ts";

/** A member of a shard, as the leader knows it. */
export interface MemberFacts {
  /** Its name, or its id. */
  readonly name: string;
  /** The start of it that the map has was heard not long ago. */
  readonly isAlive: boolean;
  /** It was not, but this leader is so new that it may be yet. */
  readonly isExpected: boolean;
  /** Of its copy of the log; `undefined`: it has none that is whole. */
  readonly position: LogPosition | undefined;
  /** What is wrong with it, in words, if it is not alive. */
  readonly trouble: string;
  /** Where it stands; `undefined`: nobody knows it any more. */
  readonly place: Place | undefined;
}

export interface ShardFacts {
  /** Of the leader's clock. */
  readonly nowMs: number;
  readonly shard: ShardRecord;
  /** What is wrong with the primary, in words. `undefined`: nothing, or nothing that one could tell yet. */
  readonly problem: string | undefined;
  /** The primary has started again since it had the shard's data. */
  readonly hasLostData: boolean;
  /** Until then the primary may serve. */
  readonly leaseEndsAtMs: number;
  /** The replica that the primary has handed the shard to, as it is in this version. */
  readonly surrenderedTo: NodeId | undefined;
  /** The replica that is to take over without the primary's word. */
  readonly forcedTo: NodeId | undefined;
  /** It is agreed that acknowledged writes may be lost. */
  readonly acceptsLoss: boolean;
  readonly member: (id: NodeId) => MemberFacts;
}

export type Judgement =
  | { readonly type: "fine" }
  /** `kind` is the same as long as it waits for the same: `reason` may name a time that is left. */
  | { readonly type: "wait"; readonly kind: string; readonly reason: string }
  | { readonly type: "promote"; readonly node: NodeId; readonly cause: string }
  | { readonly type: "accept-loss"; readonly node: NodeId; readonly cause: string }
  /** The primary stays, though it surrendered. */
  | { readonly type: "keep"; readonly cause: string };

const FINE: Judgement = { type: "fine" };

export function judgeShard(facts: ShardFacts): Judgement {
  const { nowMs, shard, problem, leaseEndsAtMs, surrenderedTo } = facts;
  if (surrenderedTo !== undefined) return judgeSurrender(facts, surrenderedTo);
  if (problem === undefined) return FINE;
  // It has nothing that anybody could miss.
  if (shard.slots.length === 0 && shard.replicas.length === 0) return FINE;
  const primary = `primary ${facts.member(shard.primary).name}: ${problem}`;
  if (leaseEndsAtMs > nowMs) {
    const leftMs = Math.ceil(leaseEndsAtMs - nowMs);
    return wait("lease", shard.primary, `${primary}; its lease may run for another ${leftMs} ms`);
  }
  if (shard.replicas.length === 0 && !facts.acceptsLoss) {
    return wait("alone", shard.primary, `${primary}; the shard has no replica`);
  }
  return judgeHolders(facts, primary);
}

/** The primary has given up its lease, and its word is that this replica has all that it has. */
function judgeSurrender({ shard, member }: ShardFacts, to: NodeId): Judgement {
  const primary = member(shard.primary).name;
  const heir = member(to);
  if (![...shard.inSync, ...shard.eligible].includes(to) || to === shard.primary) {
    return { type: "keep", cause: `primary ${primary} would hand over to ${heir.name}, which is not in sync` };
  }
  if (heir.isAlive) return { type: "promote", node: to, cause: `primary ${primary} handed over to ${heir.name}` };
  if (heir.isExpected)
    return wait("heir", to, `primary ${primary} handed over to ${heir.name}, which is not heard yet`);
  return { type: "keep", cause: `primary ${primary} would hand over to ${heir.name}: ${heir.trouble}` };
}

function judgeHolders(facts: ShardFacts, primary: string): Judgement {
  const { shard, forcedTo, member } = facts;
  const isOther = (id: NodeId): boolean => id !== shard.primary;
  const holders = [...shard.inSync, ...shard.eligible].filter(isOther);
  const late = holders.find((id) => member(id).isExpected);
  if (late !== undefined) return wait("late", late, `${primary}; waits to hear of ${member(late).name}`);
  for (const set of [shard.inSync, shard.eligible]) {
    const able = set.filter((id) => isOther(id) && member(id).isAlive && (forcedTo ?? id) === id);
    const best = bestOf(able, shard.primary, member);
    if (best === undefined) continue;
    const { name, position } = best;
    const where = `${name} has the best position (${position.epoch}, ${position.sequence})`;
    return { type: "promote", node: best.id, cause: `${primary}; its lease is over; ${where}` };
  }
  if (forcedTo !== undefined) {
    return wait("forced", forcedTo, `${primary}; ${member(forcedTo).name} is not able to take over`);
  }
  // A holder that is alive and has no whole copy contradicts itself: it is not promoted, and nothing is given up for it either.
  const odd = holders.find((id) => member(id).isAlive);
  if (odd !== undefined) return wait("odd", odd, `${primary}; ${member(odd).name} says that its copy is not whole`);
  if (member(shard.primary).isAlive && !facts.hasLostData) {
    return wait("odd", shard.primary, `${primary}; it is alive, and nobody else has all of its data`);
  }
  if (!facts.acceptsLoss) return wait("holders", shard.primary, reasonOfLoss(facts, primary));
  // Who is heard in a moment may have more than those that are heard already.
  const unheard = shard.replicas.find((id) => member(id).isExpected);
  if (unheard !== undefined) return wait("late", unheard, `${primary}; waits to hear of ${member(unheard).name}`);
  return goOn(facts, primary);
}

/** Without what is lost: with the survivor that has the most, else with the primary that begins again, else with any that has nothing. */
function goOn({ shard, member }: ShardFacts, primary: string): Judgement {
  const survivors = shard.replicas.filter((id) => member(id).isAlive);
  const best = bestOf(survivors, shard.primary, member);
  if (best !== undefined) {
    const { epoch, sequence } = best.position;
    const cause = `${primary}; nobody is left who holds every acknowledged write, which is accepted; ${best.name} has got to (${epoch}, ${sequence})`;
    return { type: "accept-loss", node: best.id, cause };
  }
  const empty = [shard.primary, ...survivors].find((id) => member(id).isAlive);
  if (empty === undefined) {
    const what = `no member of shard ${shard.id} is alive: start one again, or let its slots go (CLUSTER DELSLOTS) and give them to others`;
    return wait("nobody", shard.primary, `${primary}; ${what}`);
  }
  const cause = `${primary}; nobody is left who holds its data, which is accepted; ${member(empty).name} begins with nothing`;
  return { type: "accept-loss", node: empty, cause };
}

function reasonOfLoss({ shard, member }: ShardFacts, primary: string): string {
  const shown = [
    ...shard.inSync.map((id) => [id, "in sync"] as const),
    ...shard.eligible.map((id) => [id, "eligible"] as const),
  ].filter(([id]) => id !== shard.primary);
  const holders = shown.map(([id, set]) => `${member(id).name} (${set}) ${member(id).trouble}`).join(", ");
  return `${primary}; no member in sync or eligible is alive: ${holders || "there is none beside it"}; CLUSTER ACCEPT-LOSS ${shard.id} goes on without`;
}

interface Best {
  readonly id: NodeId;
  readonly name: string;
  readonly position: LogPosition;
}

/** Who has the most of the log; of equals who is farthest from the primary, then the first. Nobody without a whole copy. */
function bestOf(ids: readonly NodeId[], primary: NodeId, member: ShardFacts["member"]): Best | undefined {
  const home = member(primary).place;
  const ranked = ids.flatMap((id) => {
    const { name, position, place } = member(id);
    if (position === undefined) return [];
    const rank = [
      -position.epoch,
      -position.sequence,
      Number(isOnHostOf(place, home)),
      Number(isInZoneOf(place, home)),
    ];
    return [{ id, name, position, rank }];
  });
  return ranked.toSorted((one, other) => compareRanks(one.rank, other.rank))[0];
}

function wait(kind: string, about: string, reason: string): Judgement {
  return { type: "wait", kind: `${kind} ${about}`, reason };
}
