/**
 * Plans that spread slots evenly over shards (`planRebalance`), or take all of them from one (`planDrain`).
 *
 * What holds of every plan:
 * - no slot moves twice, and none that a migration moves already: those count as the target's;
 * - slots go to shards with at least as many members in sync as they come from: there are never fewer copies of them than before. Where such shards are wanting,
 *   the plan leaves slots where they are, and says so. Only by its maker's word (`allowsFewerCopies`) it moves them nevertheless, and says that;
 * - as far as that lets it, a shard of weight 0 is left with nothing, whatever that weighs; all others are within the threshold of their part, but for less than a slot.
 *   Where single slots are too large for that, less is beyond the thresholds than before, and the plan names who stays there;
 * - a plan of what it leads to is empty;
 * - a shard that was emptied gets nothing unless it has a weight, or nobody else could take what another shard is to give: it is about to be taken out;
 * - no more is moved than the threshold wants: who has too much gives what is beyond it, who has too little gets what it lacks of it. Of a shard's slots those go
 *   that have the fewest bytes for that, in few ranges (for a range less, a tenth more bytes are moved).
 *
 * How: the parts that shards should end with (`desiredAmounts`), then pairs of who has most to give and who lacks most, then ranges for each pair
 * (`pick.ts`). Each step lowers what is beyond the thresholds in all, and they are repeated until none does.
 */
import { SLOT_COUNT } from "../../codec/slot.ts";
import type { ClusterMap, ShardId, ShardRecord, SlotRange } from "../../contracts/topology.ts";
import { canonicalRanges, formatSlotRange } from "../slot-ranges.ts";
import { pickSlots } from "./pick.ts";
import { type Evenness, type Plan, type PlanLoads, type PlanMeasure, type PlannedMove, planId } from "./plan.ts";

export interface PlanOptions {
  /** What is to be even. Default: slots. */
  readonly by?: PlanMeasure;
  /** How far from its part a shard may be: default 0.02, two in a hundred. */
  readonly threshold?: number;
  /** Parts of shards beside each other: default 1. A shard of weight 0 is to have nothing. */
  readonly weights?: ReadonlyMap<ShardId, number>;
  /** Shards that have no slots and no weight of their own get none. By default they get their part: that is what they were added for. */
  readonly leavesEmpty?: boolean;
  /** Shards that neither give nor get: their primary is not there. */
  readonly leftOut?: ReadonlySet<ShardId>;
  /** Where no shard with as many members in sync lacks any, move slots to one with fewer. By default they stay. */
  readonly allowsFewerCopies?: boolean;
}

export type PlanOutcome = Plan | { readonly problem: string };

const DEFAULT_THRESHOLD = 0.02;
/** Of the average of a slot, what one that holds nothing counts for when a shard is emptied: so that those are divided too. */
const EMPTY_SLOT_PART = 0.001;
/** Differences below this part of the whole are errors of floating-point sums. */
const NOISE = 1e-9;

/** Of how far all shards are from their parts, what another look must take away for its moves to be worth it, where nobody comes within a threshold by it. */
const LEAST_GAIN = 0.01;

/** A shard that takes part. */
interface Member {
  readonly shard: ShardRecord;
  readonly index: number;
  readonly weight: number;
  /** What it has of what is to be even. */
  has: number;
  /** What it should have, and how much less or more it may. */
  part: number;
  least: number;
  most: number;
}

/** Makes slots even over the shards. */
export function planRebalance(map: ClusterMap, loads: PlanLoads, options: PlanOptions = {}): PlanOutcome {
  const planner = new Planner(map, loads, "rebalance", options);
  if (planner.receivers.length === 0) {
    const hint = planner.emptied.length === 0 ? "" : ": those that were emptied get some if they are given a weight";
    return { problem: `there is no shard that slots could go to${hint}` };
  }
  for (const member of planner.members) if (member.weight === 0) planner.empty(member);
  planner.even();
  return planner.finish();
}

/**
 * Takes all slots from shards; the others get them, so that those with the least come up first. Nothing else moves.
 *
 * Who takes nodes out empties one after the other: those that were emptied before get nothing, unless nobody else can take what there is.
 *
 * @param shards Their ids.
 */
export function planDrain(
  map: ClusterMap,
  loads: PlanLoads,
  shards: readonly ShardId[],
  options: PlanOptions = {},
): PlanOutcome {
  const weights = new Map([...(options.weights ?? []), ...shards.map((shard) => [shard, 0] as const)]);
  const drain = (refillsEmptied: boolean): { readonly plan: PlanOutcome; readonly isWhole: boolean } => {
    const planner = new Planner(map, loads, "drain", { ...options, weights }, refillsEmptied);
    const drained = planner.members.filter(({ shard }) => shards.includes(shard.id));
    const missing = shards.find((id) => !drained.some(({ shard }) => shard.id === id));
    if (missing !== undefined) {
      return { plan: { problem: `shard ${missing} cannot be emptied: its primary is not there` }, isWhole: false };
    }
    if (planner.receivers.length === 0) {
      return { plan: { problem: "there is no other shard that slots could go to" }, isWhole: false };
    }
    for (const member of drained) planner.empty(member);
    return { plan: planner.finish(), isWhole: !drained.some((member) => planner.keepsSlots(member)) };
  };
  const usual = drain(false);
  if (usual.isWhole) return usual.plan;
  const other = drain(true);
  return other.isWhole ? other.plan : usual.plan;
}

class Planner {
  readonly members: readonly Member[];
  /** Those that may have slots. */
  readonly receivers: readonly Member[];
  /** Shards without slots, since somebody took them or is about to: whoever did that wants them out. They take no part unless they have a weight. */
  readonly emptied: readonly ShardRecord[];
  readonly #map: ClusterMap;
  readonly #loads: PlanLoads;
  readonly #kind: Plan["kind"];
  readonly #by: PlanMeasure;
  readonly #threshold: number;
  readonly #keepsCopies: boolean;
  readonly #refillsEmptied: boolean;
  /** The shard of each slot, as the plan has it so far; those that a migration moves have their target. */
  readonly #owner: Int16Array;
  readonly #before: Int16Array;
  readonly #isMoving = new Uint8Array(SLOT_COUNT);
  readonly #amount: Float64Array;
  readonly #total: number;
  readonly #memberOf: ReadonlyMap<number, Member>;
  /** Receivers that can still be brought nearer to their part. */
  #free: readonly Member[];

  /** @param refillsEmptied Whether shards that were emptied take part as the others. */
  constructor(
    map: ClusterMap,
    loads: PlanLoads,
    kind: Plan["kind"],
    options: PlanOptions,
    refillsEmptied: boolean = false,
  ) {
    const { by = "slots", threshold = DEFAULT_THRESHOLD, weights, leavesEmpty = false, leftOut } = options;
    this.#map = map;
    this.#loads = loads;
    this.#kind = kind;
    this.#by = by;
    this.#threshold = threshold;
    this.#keepsCopies = options.allowsFewerCopies !== true;
    this.#owner = map.shardOfSlot.slice();
    for (const { target, slots } of map.migrations) {
      const index = map.shards.findIndex(({ id }) => id === target);
      for (const slot of slotsIn(slots)) {
        this.#owner[slot] = index;
        this.#isMoving[slot] = 1;
      }
    }
    this.#before = this.#owner.slice();
    this.#amount = by === "slots" ? new Float64Array(SLOT_COUNT).fill(1) : loads[by];
    this.emptied = map.shards.filter(
      (shard, index) =>
        !leavesEmpty &&
        !this.#owner.includes(index) &&
        (shard.wasEmptied === true || shard.slots.length > 0) &&
        weights?.has(shard.id) !== true &&
        leftOut?.has(shard.id) !== true,
    );
    this.#refillsEmptied = refillsEmptied;
    this.members = map.shards.flatMap((shard, index) => {
      const isEmpty = !this.#owner.includes(index);
      const staysEmpty = isEmpty && (leavesEmpty || (!refillsEmptied && this.emptied.includes(shard)));
      const weight = weights?.get(shard.id) ?? (staysEmpty ? undefined : 1);
      if (weight === undefined || leftOut?.has(shard.id) === true) return [];
      return [{ shard, index, weight, has: 0, part: 0, least: 0, most: 0 }];
    });
    this.receivers = this.members.filter(({ weight }) => weight > 0);
    this.#memberOf = new Map(this.members.map((member) => [member.index, member]));
    this.#count();
    this.#total = this.members.reduce((sum, { has }) => sum + has, 0);
    this.#free = this.receivers;
    this.#divide(this.#total);
  }

  /** Gives those that can be helped their parts of an amount. */
  #divide(amount: number): void {
    const weightTotal = this.#free.reduce((sum, { weight }) => sum + weight, 0);
    for (const member of this.#free) {
      member.part = (amount * member.weight) / weightTotal;
      member.least = member.part * (1 - this.#threshold);
      member.most = member.part * (1 + this.#threshold);
      if (this.#by !== "slots") continue;
      // Slots are whole.
      member.least = Math.floor(member.least + NOISE);
      member.most = Math.ceil(member.most - NOISE);
    }
  }

  /** Gives all slots of a shard to the others: those with the least for their part come up first. */
  empty(source: Member): void {
    const others = this.receivers.filter((member) => member !== source);
    const enough = others.filter((member) => hasCopiesOf(member, source));
    const targets = enough.length > 0 || this.#keepsCopies ? enough : others;
    const slots = this.#runsOf(source).flatMap((run) => slotsIn([run]));
    if (targets.length === 0 || slots.length === 0) return;
    // Where slots are counted, none is empty: what each would count for beside itself would bring others a few that they do not lack.
    const nothing = this.#by === "slots" ? 0 : (this.#total / SLOT_COUNT) * EMPTY_SLOT_PART;
    const empty = this.#total === 0 ? 1 : nothing;
    const worth = (slot: number): number => (this.#amount[slot] ?? 0) + empty;
    const parts = fillUp(
      targets.map(({ has, weight }) => ({ has, weight })),
      slots.reduce((sum, slot) => sum + worth(slot), 0),
    );
    // In the order of the slots, so that each target gets what lies together.
    let at = 0;
    let filled = 0;
    for (const slot of slots) {
      while (at < targets.length - 1 && filled + worth(slot) / 2 > (parts[at] ?? 0)) {
        filled -= parts[at] ?? 0;
        at += 1;
      }
      filled += worth(slot);
      const target = targets[at];
      if (target !== undefined) this.#move([{ first: slot, last: slot }], source, target);
    }
  }

  /**
   * Brings every shard within its threshold, as far as whole slots let it. What does not make it better is not done: so a plan of what this leads to, which begins
   * where this ends, does nothing.
   */
  even(): void {
    for (;;) {
      const before = { owner: this.#owner.slice(), ...this.#distance() };
      if (before.beyond > 0) this.#evenOnce();
      this.#count();
      const after = this.#distance();
      const isNearer = after.beyond < before.beyond - this.#total * NOISE;
      const isNoFarther = after.beyond <= before.beyond + this.#total * NOISE;
      if (isNearer || (isNoFarther && after.spread < before.spread * (1 - LEAST_GAIN))) continue;
      this.#owner.set(before.owner);
      this.#count();
      return;
    }
  }

  /** One that nothing can be done for is left as it is, and the others divide the rest: it has too much in one slot, or nobody may give it anything. */
  #evenOnce(): void {
    while (this.#free.length > 1) {
      while (this.#evenByRanges() || this.#evenByNeed() || this.#evenByOneSlot()) {
        // Each time less is beyond the thresholds.
      }
      const stuck = this.#findStuck();
      if (stuck === undefined) break;
      this.#free = this.#free.filter((member) => member !== stuck);
      this.#divide(this.#free.reduce((sum, { has }) => sum + has, 0));
    }
    this.#free = this.receivers;
    this.#divide(this.#total);
  }

  /** What is beyond the thresholds in all, and how far all are from their parts. */
  #distance(): { readonly beyond: number; readonly spread: number } {
    let beyond = 0;
    let spread = 0;
    for (const member of this.receivers) {
      beyond += this.#beyond(member);
      if (member.part > 0) spread += (member.has - member.part) ** 2 / member.part;
    }
    return { beyond, spread };
  }

  /** What each has, anew: sums that many moves have gone through are not the same to the last digit. */
  #count(): void {
    for (const member of this.members) member.has = 0;
    for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
      const member = this.#memberOf.get(this.#owner[slot] ?? -1);
      if (member !== undefined) member.has += this.#amount[slot] ?? 0;
    }
  }

  /** Of those beyond a threshold one that stays there, whatever the others do. */
  #findStuck(): Member | undefined {
    const isStarved = (member: Member): boolean =>
      this.#keepsCopies && !this.#free.some((each) => each !== member && hasCopiesOf(member, each));
    const beyond = this.#free.filter((member) => this.#beyond(member) > 0);
    return (
      beyond.find((member) => member.has < member.least && isStarved(member)) ??
      beyond.filter(({ has, most }) => has > most).toSorted((a, b) => b.has / b.part - a.has / a.part)[0]
    );
  }

  /** One round of pairs. @returns Whether anything moves by it. */
  #evenByRanges(): boolean {
    const isEven = (): boolean => this.#free.every((member) => this.#beyond(member) === 0);
    if (isEven()) return false;
    const desired = desiredAmounts(this.#free);
    const lacks = (member: Member): number => (desired.get(member) ?? 0) - member.has;
    const noise = this.#total * NOISE;
    const tried = new Set<string>();
    let hasMoved = false;
    for (;;) {
      const pair = this.#nextPair(lacks, noise, tried);
      if (pair === undefined) return hasMoved;
      const { source, target } = pair;
      tried.add(`${source.index} ${target.index}`);
      // What it has come to may be a slot beside what was desired: that is no reason for another move, but for less of one that there is.
      if (isEven() && !tried.has(`${target.index} ${source.index}`)) continue;
      // A slot more than the one lacks, or the other is to give, rather than a rest that goes elsewhere, or comes from there: a move of one slot costs what others do.
      const [surplus, lack] = [-lacks(source), lacks(target)];
      const slot = this.#total / SLOT_COUNT;
      const wanted = Math.abs(surplus - lack) <= slot ? Math.max(surplus, lack) : Math.min(surplus, lack);
      hasMoved = this.#give(source, target, wanted) || hasMoved;
    }
  }

  /**
   * Who is to give most may have nothing that can be moved (a slot that is too large), or nobody who may get it: then whoever is beyond a threshold is helped by
   * whoever can.
   *
   * @returns Whether anything moves by it.
   */
  #evenByNeed(): boolean {
    const byFill = this.#free.toSorted((a, b) => b.has / b.part - a.has / a.part);
    let hasMoved = false;
    for (const keeps of this.#keepsCopies ? [true] : [true, false]) {
      for (const source of byFill) {
        for (const target of byFill.toReversed()) {
          if (source === target || (keeps && !hasCopiesOf(target, source))) continue;
          const need = Math.max(source.has - source.most, target.least - target.has);
          hasMoved = this.#give(source, target, need) || hasMoved;
        }
      }
    }
    return hasMoved;
  }

  /** Moves so much from one to another, or as much less as keeps both within their thresholds. @returns Whether that is anything. */
  #give(source: Member, target: Member, wanted: number): boolean {
    const noise = this.#total * NOISE;
    const most = Math.min(source.has - source.least, target.most - target.has);
    const least = Math.min(wanted, most);
    if (least <= noise) return false;
    const hadBefore = source.has;
    this.#move(this.#pick(source, target, least - noise, most + noise), source, target);
    return hadBefore - source.has > noise;
  }

  /** Who has most to give, and of those who may get it who lacks most; no pair twice. */
  #nextPair(
    lacks: (member: Member) => number,
    noise: number,
    tried: ReadonlySet<string>,
  ): { readonly source: Member; readonly target: Member } | undefined {
    const sources = this.#free.filter((member) => -lacks(member) > noise).toSorted((a, b) => lacks(a) - lacks(b));
    const targets = this.#free.filter((member) => lacks(member) > noise).toSorted((a, b) => lacks(b) - lacks(a));
    for (const keeps of this.#keepsCopies ? [true] : [true, false]) {
      for (const source of sources) {
        const target = targets.find(
          (each) => (!keeps || hasCopiesOf(each, source)) && !tried.has(`${source.index} ${each.index}`),
        );
        if (target !== undefined) return { source, target };
      }
    }
    return undefined;
  }

  /** Where ranges do not fit any more: the one slot that lowers most what is beyond the thresholds. @returns Whether there is one. */
  #evenByOneSlot(): boolean {
    const byFill = this.#free.toSorted((a, b) => b.has / b.part - a.has / a.part);
    const noise = this.#total * NOISE;
    for (const source of byFill) {
      for (const keeps of this.#keepsCopies ? [true] : [true, false]) {
        const target = byFill.findLast((each) => each !== source && (!keeps || hasCopiesOf(each, source)));
        if (target === undefined) continue;
        const before = this.#beyond(source) + this.#beyond(target);
        let best: { readonly slot: number; readonly after: number } | undefined;
        if (before === 0) continue;
        for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
          if (this.#owner[slot] !== source.index || this.#isMoving[slot] === 1) continue;
          const amount = this.#amount[slot] ?? 0;
          const after =
            beyondOf(source, source.has - amount, this.#total) + beyondOf(target, target.has + amount, this.#total);
          if (after < (best?.after ?? before - noise)) best = { slot, after };
        }
        if (best === undefined) continue;
        this.#move([{ first: best.slot, last: best.slot }], source, target);
        return true;
      }
    }
    return false;
  }

  #beyond(member: Member): number {
    return beyondOf(member, member.has, this.#total);
  }

  #pick(source: Member, target: Member, least: number, most: number): readonly SlotRange[] {
    return pickSlots(
      {
        runs: this.#runsOf(source),
        amount: this.#amount,
        bytes: this.#loads.bytes,
        isTargets: (slot) => this.#owner[slot] === target.index,
      },
      least,
      most,
    );
  }

  /** The slots of a shard that may be moved. */
  #runsOf({ index }: Member): readonly SlotRange[] {
    return runsWhere((slot) => this.#owner[slot] === index && this.#isMoving[slot] === 0);
  }

  #move(slots: readonly SlotRange[], source: Member, target: Member): void {
    for (const slot of slotsIn(slots)) {
      this.#owner[slot] = target.index;
      source.has -= this.#amount[slot] ?? 0;
      target.has += this.#amount[slot] ?? 0;
    }
  }

  /** Whether a shard has slots that could be moved, and are not. */
  keepsSlots(member: Member): boolean {
    return this.#runsOf(member).length > 0;
  }

  finish(): Plan {
    const moves = this.#moves();
    const sum = (of: (move: PlannedMove) => number): number => moves.reduce((total, move) => total + of(move), 0);
    const { clusterId, version: mapVersion } = this.#map;
    const content: Omit<Plan, "id"> = {
      kind: this.#kind,
      clusterId,
      mapVersion,
      by: this.#by,
      threshold: this.#threshold,
      moves,
      slotCount: sum(({ slotCount }) => slotCount),
      keys: sum(({ keys }) => keys),
      bytes: sum(({ bytes }) => bytes),
      before: this.#evenness(this.#before),
      after: this.#evenness(this.#owner),
      warnings: [
        ...this.#measureWarnings(),
        ...this.#copyWarnings(moves),
        ...this.#unevenWarnings(),
        ...this.#emptiedWarnings(moves),
      ],
    };
    return { id: planId(content), ...content };
  }

  /** What is where it was not, from shard to shard in the map's order. */
  #moves(): readonly PlannedMove[] {
    const found = new Map<string, number[]>();
    for (const source of this.members)
      for (const target of this.members) found.set(`${source.index} ${target.index}`, []);
    for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
      const [from, to] = [this.#before[slot], this.#owner[slot]];
      if (from !== to) found.get(`${from} ${to}`)?.push(slot);
    }
    const sumOf = (slots: readonly number[], of: Float64Array): number =>
      slots.reduce((total, slot) => total + (of[slot] ?? 0), 0);
    return this.members.flatMap(({ index: from, shard: source }) =>
      this.members.flatMap(({ index: to, shard: target }) => {
        const slots = found.get(`${from} ${to}`) ?? [];
        if (slots.length === 0) return [];
        return {
          source: source.id,
          target: target.id,
          sourceVersion: source.version,
          targetVersion: target.version,
          slots: canonicalRanges(slots.map((slot) => ({ first: slot, last: slot }))),
          slotCount: slots.length,
          keys: sumOf(slots, this.#loads.keys),
          bytes: sumOf(slots, this.#loads.bytes),
        };
      }),
    );
  }

  #evenness(owner: Int16Array): Evenness {
    const shares = this.members.map(({ shard, weight, index }) => {
      const share = { shard: shard.id, weight, slots: 0, keys: 0, bytes: 0, load: 0 };
      for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
        if (owner[slot] !== index) continue;
        share.slots += 1;
        share.keys += this.#loads.keys[slot] ?? 0;
        share.bytes += this.#loads.bytes[slot] ?? 0;
        share.load += this.#loads.load[slot] ?? 0;
      }
      return share;
    });
    const worst = Math.max(
      0,
      ...this.receivers.map((member) => {
        const has = shares.find(({ shard }) => shard === member.shard.id)?.[this.#by] ?? 0;
        return member.part === 0 ? 0 : Math.abs(has / member.part - 1);
      }),
    );
    return { shares, worst };
  }

  #measureWarnings(): readonly string[] {
    if (this.#total > 0 || this.#kind === "drain") return [];
    return [
      this.#by === "load"
        ? "nothing is known of any load: there were no commands in the last minute, or too few to be seen"
        : "there are no keys yet: nothing can be uneven but the slots",
    ];
  }

  #copyWarnings(moves: readonly PlannedMove[]): readonly string[] {
    const copies = (id: ShardId): number => this.#map.shards.find((shard) => shard.id === id)?.inSync.length ?? 0;
    const fewer = moves
      .filter(({ source, target }) => copies(target) < copies(source))
      .map(
        ({ source, target, slots }) =>
          `slots ${slots.map(formatSlotRange).join(" ")} go from shard ${source}, which has ${copies(source)} members in sync, to shard ${target}, which has ${copies(target)}: there will be fewer copies of them`,
      );
    const kept = this.members
      .filter((member) => member.weight === 0 && this.keepsSlots(member))
      .map(
        ({ shard }) =>
          `shard ${shard.id} keeps its slots: no other has as many members in sync; give others replicas, or allow fewer copies`,
      );
    return [...fewer, ...kept];
  }

  #emptiedWarnings(moves: readonly PlannedMove[]): readonly string[] {
    if (this.#refillsEmptied) {
      return this.emptied
        .filter(({ id }) => moves.some(({ target }) => target === id))
        .map(({ id }) => `shard ${id} was emptied, and gets slots again: there is no other that could take them`);
    }
    const hint = this.#kind === "drain" ? "" : "; it gets its part if it is given a weight";
    return this.emptied.map(({ id }) => `shard ${id} was emptied, and stays so${hint}`);
  }

  /** Shards that stay beyond their thresholds, and the slot that is too large, if it is that. */
  #unevenWarnings(): readonly string[] {
    if (this.#kind === "drain" || this.#total === 0) return [];
    return this.receivers
      .filter((member) => this.#beyond(member) > this.#total * NOISE)
      .map((member) => {
        const { shard, has, part } = member;
        const percent = Math.abs((has / part - 1) * 100).toFixed(1);
        const [largest] = this.#runsOf(member)
          .flatMap((run) => slotsIn([run]))
          .toSorted((a, b) => (this.#amount[b] ?? 0) - (this.#amount[a] ?? 0));
        const share = (((this.#amount[largest ?? -1] ?? 0) / has) * 100).toFixed(0);
        const isStarved =
          has < part &&
          this.#keepsCopies &&
          !this.members.some(
            (each) => each.has > Math.max(each.least, 0) && each !== member && hasCopiesOf(member, each),
          );
        if (isStarved)
          return `shard ${shard.id} stays ${percent} % below its part: it has fewer members in sync than those that could give it any`;
        const why =
          has > part && largest !== undefined && this.#by !== "slots"
            ? `: slots are moved whole, and slot ${largest} alone has ${share} % of what it has`
            : "";
        return `shard ${shard.id} stays ${percent} % ${has > part ? "above" : "below"} its part${why}`;
      });
  }
}

/** How much a shard that has this has beyond its threshold. */
function beyondOf({ least, most }: Member, has: number, total: number): number {
  const beyond = Math.max(0, has - most, least - has);
  return beyond <= total * NOISE ? 0 : beyond;
}

/**
 * What each should end with: who is beyond a threshold comes to it. If more is lacking than that gives, those who have most for their part give more, down to it; if
 * less, those who have least get it.
 */
function desiredAmounts(members: readonly Member[]): ReadonlyMap<Member, number> {
  const desired = new Map(
    members.map((member) => [member, Math.min(member.most, Math.max(member.least, member.has))] as const),
  );
  let left = members.reduce((sum, member) => sum + member.has - (desired.get(member) ?? 0), 0);
  const byFill = members.toSorted((a, b) => a.has / a.part - b.has / b.part);
  for (const member of left > 0 ? byFill : byFill.toReversed()) {
    const now = desired.get(member) ?? 0;
    const room = member.part - now;
    // Towards its part, and no farther.
    const step = left > 0 ? Math.min(left, Math.max(0, room)) : Math.max(left, Math.min(0, room));
    desired.set(member, now + step);
    left -= step;
  }
  return desired;
}

/** Divides an amount so that those who have least for their weight come up first, all to one level: what each gets. */
function fillUp(
  members: readonly { readonly has: number; readonly weight: number }[],
  amount: number,
): readonly number[] {
  const byFill = members.toSorted((a, b) => a.has / a.weight - b.has / b.weight);
  let has = 0;
  let weight = 0;
  let level = 0;
  for (const [at, member] of byFill.entries()) {
    has += member.has;
    weight += member.weight;
    level = (amount + has) / weight;
    const next = byFill[at + 1];
    if (next === undefined || level <= next.has / next.weight) break;
  }
  return members.map((member) => Math.max(0, level * member.weight - member.has));
}

function hasCopiesOf(target: Member, source: Member): boolean {
  return target.shard.inSync.length >= source.shard.inSync.length;
}

function slotsIn(ranges: readonly SlotRange[]): readonly number[] {
  return ranges.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, at) => first + at));
}

/** Slots for which something holds, as ranges. */
function runsWhere(holds: (slot: number) => boolean): readonly SlotRange[] {
  const runs: { first: number; last: number }[] = [];
  for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
    if (!holds(slot)) continue;
    const previous = runs.at(-1);
    if (previous?.last === slot - 1) previous.last = slot;
    else runs.push({ first: slot, last: slot });
  }
  return runs;
}
