/**
 * When slots move by themselves, which, and why: what the leader decides for a cluster whose setting `auto-rebalance` says so.
 *
 * There are two occasions. A shard has come that never had slots (or one is to have none, by its weight): once nobody has come or gone for `settleMs`. Or what is
 * to be even has been more than `threshold` from it for `lastsMs`, all the time. Then it goes on step by step until all is within a fourth of the threshold, and
 * rests until there is another occasion: what lies between the two thresholds is neither worth beginning nor worth going on for, so slots do not go back and
 * forth. Each step takes what `planRebalance` would move first, and no more than the limits let it; it lessens the unevenness by itself (`chooseStep`), so
 * whatever interrupts the steps leaves it better than it was.
 *
 * What others do goes first: when they move slots, the steps end and every time begins anew. A task of a step that was ended before its time is an answer, too:
 * nothing is begun for `lastsMs`. A shard that had slots and was emptied stays so, until somebody gives it slots or a weight.
 *
 * Pure: told what there is to be seen, and the time.
 */
import { SLOT_COUNT } from "../../codec/slot.ts";
import type { ClusterMap, HistoryEntry, NodeId, ShardId, ShardRecord } from "../../contracts/topology.ts";
import { canonicalRanges, subtractRanges } from "../slot-ranges.ts";
import { type PlanLoads, type PlanMeasure, type PlannedMove, findShard } from "./plan.ts";
import { planRebalance } from "./rebalance.ts";

/** The causes of its tasks begin with this: so that every leader knows them. */
export const AUTO_CAUSE = "auto-rebalance: ";

export interface AutoRebalanceOptions {
  /** How far from its part a shard may be for as long as it likes: 0.2 is a fifth of it. */
  readonly threshold: number;
  /** How long it must be farther from it, in milliseconds. */
  readonly lastsMs: number;
  /** How long after the last shard has come, or got the weight 0, in milliseconds. */
  readonly settleMs: number;
  readonly tasksAtOnce: number;
  readonly slotsPerTask: number;
  readonly bytesPerTask: number;
  /** On average over the steps; 0: as many as there are. */
  readonly bytesPerSecond: number;
  /** From the end of a step to the next one, in milliseconds. */
  readonly pauseMs: number;
  /** A cluster with fewer bytes is even by keys and bytes, whatever it has where. */
  readonly leastBytes: number;
  /** A cluster with fewer commands a second is even by load. */
  readonly leastOperations: number;
}

/** What slots hold and cost, as their primaries said. */
export interface MeasuredSlots {
  readonly loads: PlanLoads;
  /** Commands a minute, by slot. */
  readonly operations: Float64Array;
}

/** What the leader sees. */
export interface Sight {
  readonly map: ClusterMap;
  readonly measured: MeasuredSlots;
  readonly by: PlanMeasure;
  /** Parts of shards beside each other; who is not in it has 1, if it was not emptied. */
  readonly weights: ReadonlyMap<ShardId, number>;
  /** Whether a primary without slots is there, and has come to have some. */
  readonly takesSlots: (node: NodeId) => boolean;
  /** Why nothing may move at this moment, in words. Times go on. */
  readonly obstacle: string | undefined;
}

export type Verdict =
  /** There is nothing to do, or it must last. */
  | { readonly type: "rest"; readonly reason: string }
  /** Something is to be done, and it is not time yet. */
  | { readonly type: "wait"; readonly reason: string }
  /** Something is to be done, and this stands in the way: the obstacle, or that no move would help. */
  | { readonly type: "stuck"; readonly reason: string }
  | { readonly type: "move"; readonly moves: readonly PlannedMove[]; readonly cause: string };

/** All is brought within so much of the threshold. */
const REST_PART = 0.25;
/** For so long after slots have moved, what they cost is not told in full where they went: averages over a minute begin at nothing there. */
const LOAD_SETTLE_MS = 180_000;
/** Differences below this part of the whole are errors of floating-point sums. */
const NOISE = 1e-9;

/** What goes on until all is even. */
interface Episode {
  /** Shards have come, or are to have nothing; it is uneven; another leader has begun it. */
  readonly kind: "shards" | "uneven" | "taken over";
  readonly why: string;
  readonly by: PlanMeasure;
  /** Of its beginning: what slots cost does not change by where they are, and is not told in full for a while after they have moved. */
  readonly load: Float64Array | undefined;
}

/** How uneven the shards are that have slots: the one that is farthest from its part, and how far it is. */
export interface Unevenness {
  readonly shard: ShardRecord;
  /** 0.1 is a tenth of its part more, -0.1 a tenth less. */
  readonly off: number;
}

export class AutoRebalancer {
  readonly #options: AutoRebalanceOptions;
  #episode: Episode | undefined;
  /** Why another leader has moved slots, until this one has seen what they hold. */
  #takenOver: string | undefined;
  #unevenness: Unevenness | undefined;
  /** Since when it has been beyond the threshold. */
  #unevenSinceMs: number | undefined;
  /** Shards that are to get their first slots, or to give their last, and since when these ones. */
  #settling = { key: "", sinceMs: 0 };
  #heldUntilMs = 0;
  #nextStepAtMs = 0;
  #loadCountsFromMs = 0;
  #step: { readonly beganAtMs: number; readonly bytes: number } | undefined;
  /** What is left of the plan that it follows: to make one takes longer than clients should wait each time. */
  #left: readonly PlannedMove[] = [];
  /** Why the last plan had no moves; until there is another occasion of its kind. */
  #fruitless: { readonly kind: Episode["kind"]; readonly reason: string } | undefined;

  constructor(options: AutoRebalanceOptions) {
    this.#options = options;
  }

  /** What was found at the last look; `undefined` where nothing can be said. */
  get unevenness(): Unevenness | undefined {
    return this.#unevenness;
  }

  /** Why it goes on; `undefined` while it rests. */
  get why(): string | undefined {
    return this.#episode?.why ?? this.#takenOver;
  }

  /** Before this the rate lets nothing begin, in monotonic milliseconds. */
  get nextStepAtMs(): number {
    return this.#nextStepAtMs;
  }

  /** How long it has been uneven, in milliseconds. */
  unevenMs(nowMs: number): number {
    return this.#unevenSinceMs === undefined ? 0 : nowMs - this.#unevenSinceMs;
  }

  /** Goes on with what another leader has begun. */
  goOn(why: string, nowMs: number): void {
    this.#takenOver = why;
    this.#loadCountsFromMs = nowMs + LOAD_SETTLE_MS;
  }

  /** Somebody else moved slots. */
  disturbed(nowMs: number): void {
    this.#episode = undefined;
    this.#takenOver = undefined;
    this.#left = [];
    this.#unevenSinceMs = undefined;
    this.#settling = { ...this.#settling, sinceMs: nowMs };
    this.#loadCountsFromMs = nowMs + LOAD_SETTLE_MS;
    this.#fruitless = undefined;
  }

  /** A step that `look` gave has been begun. */
  began(moves: readonly PlannedMove[], nowMs: number): void {
    this.#step = { beganAtMs: nowMs, bytes: moves.reduce((sum, { bytes }) => sum + bytes, 0) };
  }

  /** Nothing of it moves any more. @param isCutShort A task of it was ended before its time. */
  ended(isCutShort: boolean, nowMs: number): void {
    const { pauseMs, bytesPerSecond, lastsMs } = this.#options;
    const { beganAtMs, bytes } = this.#step ?? { beganAtMs: nowMs, bytes: 0 };
    const spentMs = bytesPerSecond === 0 ? 0 : (bytes / bytesPerSecond) * 1000;
    this.#step = undefined;
    this.#nextStepAtMs = Math.max(nowMs + pauseMs, beganAtMs + spentMs);
    this.#loadCountsFromMs = nowMs + LOAD_SETTLE_MS;
    if (isCutShort) this.hold(nowMs, nowMs + lastsMs);
  }

  /** Begins nothing before this. */
  hold(nowMs: number, untilMs: number): void {
    this.disturbed(nowMs);
    this.#heldUntilMs = untilMs;
  }

  look(sight: Sight, nowMs: number): Verdict {
    const { by, obstacle } = sight;
    const newcomers = newcomersOf(sight);
    const leavers = sight.map.shards.filter(({ id, slots }) => slots.length > 0 && sight.weights.get(id) === 0);
    const key = [...newcomers, ...leavers].map(({ id }) => id).join(" ");
    if (key !== this.#settling.key) {
      this.#settling = { key, sinceMs: nowMs };
      if (this.#fruitless?.kind === "shards") this.#fruitless = undefined;
    }
    const countsFromMs = by === "load" ? this.#loadCountsFromMs : 0;
    const isCounted = nowMs >= countsFromMs && this.#isSubstantial(sight);
    this.#unevenness = isCounted ? unevennessOf(sight) : undefined;
    const isUneven = Math.abs(this.#unevenness?.off ?? 0) > this.#options.threshold;
    this.#unevenSinceMs = isUneven ? (this.#unevenSinceMs ?? nowMs) : undefined;
    if (!isUneven && this.#fruitless?.kind === "uneven") this.#fruitless = undefined;

    const occasion = this.#episode ?? this.#occasion(sight, newcomers, leavers, nowMs);
    if (typeof occasion === "string") {
      const { reason } = this.#fruitless ?? {};
      return reason === undefined ? { type: "rest", reason: occasion } : { type: "stuck", reason };
    }
    if (nowMs < this.#heldUntilMs) {
      return waits(`a task of its own was ended before its time; it begins nothing`, this.#heldUntilMs - nowMs);
    }
    if (obstacle !== undefined) return { type: "stuck", reason: obstacle };
    if (nowMs < this.#nextStepAtMs) return waits("the rate is limited: the next step", this.#nextStepAtMs - nowMs);
    if (occasion.by === "load" && occasion.kind !== "uneven" && this.#episode === undefined && nowMs < countsFromMs) {
      return waits("slots have moved, and what they cost is not known yet: it begins nothing", countsFromMs - nowMs);
    }
    return this.#stepOf(sight, occasion, nowMs);
  }

  /** What there is to begin, or why nothing. */
  #occasion(
    sight: Sight,
    newcomers: readonly ShardRecord[],
    leavers: readonly ShardRecord[],
    nowMs: number,
  ): Episode | string {
    const { settleMs, lastsMs, threshold } = this.#options;
    const { by, map, measured } = sight;
    const isSubstantial = this.#isSubstantial(sight);
    // What holds next to nothing is divided by slots: by what is in them a shard that comes would get none.
    const measure = isSubstantial ? by : "slots";
    const load = measure === "load" ? measured.loads.load : undefined;
    if (this.#takenOver !== undefined) return { kind: "taken over", why: this.#takenOver, by: measure, load };
    const words: string[] = [];
    if (newcomers.length + leavers.length > 0) {
      const why = [
        { shards: newcomers.filter(({ wasEmptied }) => wasEmptied !== true), what: "joined without slots" },
        { shards: newcomers.filter(({ wasEmptied }) => wasEmptied === true), what: "is to have slots, by its weight" },
        { shards: leavers, what: "is to have none, by its weight" },
      ]
        .flatMap(({ shards, what }) => (shards.length === 0 ? [] : [`${listed(map, shards)} ${what}`]))
        .join("; ");
      const leftMs = this.#settling.sinceMs + settleMs - nowMs;
      if (leftMs <= 0) return { kind: "shards", why, by: measure, load };
      words.push(`${why}; it begins in ${seconds(leftMs)}`);
    }
    const { shard, off } = this.#unevenness ?? {};
    if (this.#unevenSinceMs !== undefined && shard !== undefined && off !== undefined) {
      const lastedMs = nowMs - this.#unevenSinceMs;
      const why = `${by} of ${named(map, shard)} ${percent(off)} its part for ${seconds(lastedMs)}`;
      if (lastedMs >= lastsMs) return { kind: "uneven", why, by, load };
      words.push(`${why}, of ${seconds(lastsMs)}`);
    } else if (!isSubstantial) {
      words.push(
        by === "load"
          ? `there are fewer than ${this.#options.leastOperations} commands a second`
          : `there are fewer than ${this.#options.leastBytes} bytes`,
      );
    } else if (off !== undefined && shard !== undefined) {
      words.push(`even: ${by} of ${named(map, shard)} ${percent(off)} its part, of ${(threshold * 100).toFixed(0)} %`);
    }
    return words.join("; ");
  }

  #stepOf(sight: Sight, episode: Episode, nowMs: number): Verdict {
    const { map, measured, weights } = sight;
    const { why, by } = episode;
    const loads = { ...measured.loads, load: episode.load ?? measured.loads.load };
    // Who comes while it goes on waits as long as others do.
    const hasSettled = nowMs >= this.#settling.sinceMs + this.#options.settleMs;
    const newcomers = new Set(hasSettled ? newcomersOf(sight) : []);
    const facts = { map, loads, by, weights };
    let step = chooseStep(this.#left, facts, this.#options);
    let problem = "";
    if (step.chosen.length === 0) {
      const plan = planRebalance(asWhole(map), loads, {
        by,
        weights,
        threshold: this.#options.threshold * REST_PART,
        leftOut: new Set(
          map.shards.filter((shard) => shard.slots.length === 0 && !newcomers.has(shard)).map(({ id }) => id),
        ),
      });
      problem = "problem" in plan ? plan.problem : (plan.warnings[0] ?? "");
      step = chooseStep("problem" in plan ? [] : plan.moves, facts, this.#options);
    }
    const { chosen: moves } = step;
    this.#left = step.left;
    if (moves.length > 0) {
      this.#episode = episode;
      this.#takenOver = undefined;
      this.#fruitless = undefined;
      return { type: "move", moves, cause: `${AUTO_CAUSE}${why}` };
    }
    // What it has come to is looked at as if it had just come about.
    const isOver = this.#episode !== undefined || episode.kind === "taken over";
    const reason = `${why}: no move makes it more even and leaves as many copies${problem === "" ? "" : ` (${problem})`}`;
    this.#fruitless = isOver ? undefined : { kind: episode.kind, reason };
    this.#episode = undefined;
    this.#takenOver = undefined;
    this.#left = [];
    if (isOver || episode.kind === "uneven") this.#unevenSinceMs = undefined;
    if (isOver || episode.kind === "shards") this.#settling = { ...this.#settling, sinceMs: nowMs };
    return isOver ? { type: "rest", reason: "it has become as even as it goes" } : { type: "stuck", reason };
  }

  #isSubstantial({ by, measured }: Sight): boolean {
    if (by === "slots") return true;
    const { leastBytes, leastOperations } = this.#options;
    return by === "load"
      ? sumOf(measured.operations) / 60 >= leastOperations
      : sumOf(measured.loads.bytes) >= leastBytes;
  }
}

/**
 * The map as if all replicas were in sync: a shard whose replica is away for a moment is not one of fewer copies, and must not give its slots for good to one that is.
 * Whether those that get slots have as many at this moment is looked at with each step.
 */
function asWhole(map: ClusterMap): ClusterMap {
  return { ...map, shards: map.shards.map((shard) => ({ ...shard, inSync: [shard.primary, ...shard.replicas] })) };
}

/** What steps are chosen by. */
export interface StepFacts {
  readonly map: ClusterMap;
  readonly loads: PlanLoads;
  readonly by: PlanMeasure;
  readonly weights: ReadonlyMap<ShardId, number>;
}

type StepLimits = Pick<AutoRebalanceOptions, "tasksAtOnce" | "slotsPerTask" | "bytesPerTask">;

/**
 * Of what a plan moves, what goes first: moves with the most to even out, as many as there are to be tasks at once, each cut to its limits. Each lessens the
 * unevenness, whether or not anything follows it: the sum over all shards of how far they are from their parts, squared, and in relation to these; slots that leave
 * a shard of weight 0 are always right. None goes to a shard with fewer members, or fewer in sync.
 *
 * @returns Them, and what is left of the others.
 */
export function chooseStep(
  moves: readonly PlannedMove[],
  facts: StepFacts,
  limits: StepLimits,
): { readonly chosen: readonly PlannedMove[]; readonly left: readonly PlannedMove[] } {
  const { map, loads, by, weights } = facts;
  const amountOf = amountsBy(by, loads);
  const has = new Map(amountsOfShards(map, amountOf).map((amount, at) => [map.shards[at]?.id ?? "", amount]));
  const total = [...has.values()].reduce((sum, amount) => sum + amount, 0);
  const weightOf = (shard: ShardId): number => weights.get(shard) ?? 1;
  /** How much it has for its weight. */
  const fill = (shard: ShardId): number =>
    weightOf(shard) === 0 ? Number.POSITIVE_INFINITY : (has.get(shard) ?? 0) / weightOf(shard);
  const shards = new Map(map.shards.map((shard) => [shard.id, shard]));
  // The plan may be of a while ago: members may have gone for good, which those that are away now hide.
  const hasFewer = (target: ShardId, source: ShardId): boolean => {
    const [to, from] = [shards.get(target), shards.get(source)];
    if (to === undefined || from === undefined) return true;
    return to.inSync.length < from.inSync.length || to.replicas.length < from.replicas.length;
  };
  const chosen: PlannedMove[] = [];
  const left: PlannedMove[] = [];
  const waiting = new Set(moves);
  while (chosen.length < limits.tasksAtOnce) {
    let first: PlannedMove | undefined;
    let most = Number.NEGATIVE_INFINITY;
    for (const move of waiting) {
      const gap = fill(move.source) - fill(move.target);
      if (gap > most) [first, most] = [move, gap];
    }
    if (first === undefined) break;
    waiting.delete(first);
    const { source, target } = first;
    const isLeaving = weightOf(source) === 0;
    const cut = hasFewer(target, source) ? undefined : cutMove(first, facts, amountOf, isLeaving, limits);
    if (cut === undefined || weightOf(target) === 0) continue;
    const amount = amountIn(cut, amountOf);
    // (s - m)² / ws + (t + m)² / wt is less than it was as long as m is less than twice what would bring both to one level.
    const perLevel = 1 / weightOf(source) + 1 / weightOf(target);
    if (!isLeaving && !(amount > total * NOISE && amount * perLevel < 2 * most - total * NOISE)) continue;
    has.set(source, (has.get(source) ?? 0) - amount);
    has.set(target, (has.get(target) ?? 0) + amount);
    chosen.push(cut);
    const rest = subtractRanges(first.slots, cut.slots);
    if (rest.length > 0) left.push({ ...first, slots: rest });
  }
  left.push(...waiting);
  return { chosen, left };
}

/** The first slots of a move, as many as may go at once, but one that counts at least. */
function cutMove(
  move: PlannedMove,
  { map, loads: { keys, bytes } }: StepFacts,
  amountOf: AmountOf,
  isLeaving: boolean,
  { slotsPerTask, bytesPerTask }: StepLimits,
): PlannedMove | undefined {
  const index = map.shards.findIndex(({ id }) => id === move.source);
  let slots: number[] = [];
  let counted = 0;
  let amount = 0;
  let sum = 0;
  for (const slot of slotsOf(move)) {
    if (map.shardOfSlot[slot] !== index) continue;
    const [worth, weight] = [amountOf(slot), bytes[slot] ?? 0];
    // Where slots are not to be even, empty ones go along for nothing.
    const counts = worth > 0 || weight > 0 ? 1 : 0;
    if (slots.length > 0 && (counted + counts > slotsPerTask || sum + weight > bytesPerTask)) {
      if (amount > 0 || isLeaving) break;
      // Nothing has been found yet that makes it more even, and what has must not be in the way.
      if (worth === 0) continue;
      slots = [];
      [counted, sum] = [0, 0];
    }
    slots.push(slot);
    counted += counts;
    amount += worth;
    sum += weight;
  }
  if (slots.length === 0) return undefined;
  return {
    ...move,
    slots: canonicalRanges(slots.map((slot) => ({ first: slot, last: slot }))),
    slotCount: slots.length,
    keys: slots.reduce((all, slot) => all + (keys[slot] ?? 0), 0),
    bytes: sum,
  };
}

function* slotsOf({ slots }: PlannedMove): Generator<number> {
  for (const { first, last } of slots) for (let slot = first; slot <= last; slot += 1) yield slot;
}

function amountIn(move: PlannedMove, amountOf: AmountOf): number {
  let sum = 0;
  for (const slot of slotsOf(move)) sum += amountOf(slot);
  return sum;
}

/** What a slot counts for. */
type AmountOf = (slot: number) => number;

function amountsBy(by: PlanMeasure, loads: PlanLoads): AmountOf {
  return by === "slots" ? () => 1 : (slot) => loads[by][slot] ?? 0;
}

/** What each shard has, in the map's order. */
function amountsOfShards(map: ClusterMap, amountOf: AmountOf): readonly number[] {
  const has = map.shards.map(() => 0);
  for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
    const index = map.shardOfSlot[slot] ?? -1;
    if (index >= 0) has[index] = (has[index] ?? 0) + amountOf(slot);
  }
  return has;
}

/** Shards that are there, may have slots, and never had any. One that was emptied counts if somebody gave it a weight. */
function newcomersOf({ map, weights, takesSlots }: Sight): readonly ShardRecord[] {
  return map.shards.filter(
    ({ id, slots, primary, wasEmptied }) =>
      slots.length === 0 &&
      takesSlots(primary) &&
      (weights.get(id) ?? (wasEmptied === true ? 0 : 1)) > 0 &&
      !map.migrations.some(({ target }) => target === id),
  );
}

/** How far the shard is from its part that is farthest, of those that have slots and may have them. `undefined`: nobody can be. */
export function unevennessOf({
  map,
  measured,
  by,
  weights,
}: Pick<Sight, "map" | "measured" | "by" | "weights">): Unevenness | undefined {
  const has = amountsOfShards(map, amountsBy(by, measured.loads));
  const members = map.shards.flatMap((shard, index) => {
    const weight = weights.get(shard.id) ?? 1;
    return shard.slots.length === 0 || weight === 0 ? [] : [{ shard, weight, has: has[index] ?? 0 }];
  });
  const total = members.reduce((sum, member) => sum + member.has, 0);
  const weightTotal = members.reduce((sum, { weight }) => sum + weight, 0);
  if (total === 0) return undefined;
  const [worst] = members
    .map(({ shard, weight, has: own }) => ({ shard, off: (own * weightTotal) / (total * weight) - 1 }))
    .toSorted((a, b) => Math.abs(b.off) - Math.abs(a.off));
  return worst;
}

/** What is seen of a cluster's health. */
export interface Health {
  /** Whether a node is there, as the start that the map knows. */
  readonly isThere: (node: NodeId) => boolean;
  /** Shards whose primary is being replaced, with why it is not done yet. */
  readonly failing: ReadonlyMap<ShardId, string>;
}

/** What stands in the way of moving anything, in words: the cluster is not whole, or others move slots. */
export function obstacleIn(map: ClusterMap, { isThere, failing }: Health): string | undefined {
  if (map.seal !== undefined) return "this cluster is about to be part of another one";
  const nobodys = map.shardOfSlot.indexOf(-1);
  if (nobodys >= 0) return `slot ${nobodys} is nobody's`;
  const minInSync = Number(map.settings.get("min-in-sync") ?? 1);
  for (const shard of map.shards) {
    if (shard.slots.length === 0) continue;
    const failure = failing.get(shard.id);
    if (failure !== undefined) return `the primary of ${named(map, shard)} is being replaced: ${failure}`;
    const start = map.nodes.find(({ id }) => id === shard.primary)?.incarnation;
    if (start !== shard.primaryIncarnation) return `the primary of ${named(map, shard)} has lost its data`;
    if (!isThere(shard.primary)) return `the primary of ${named(map, shard)} is not there`;
    if (shard.inSync.length < minInSync) {
      return `${named(map, shard)} has ${shard.inSync.length} members in sync, and min-in-sync is ${minInSync}`;
    }
  }
  const [release] = map.releases;
  if (release !== undefined) return `node ${release.node} has not said yet that it knows what it lost`;
  const [open] = map.openSlots;
  if (open !== undefined) return `slot ${open.slot} is being moved key by key`;
  const task = map.migrations.find(({ cause }) => !cause.startsWith(AUTO_CAUSE)) ?? map.migrations[0];
  if (task === undefined) return undefined;
  const whose = task.cause.startsWith(AUTO_CAUSE) ? "of its own" : "of somebody else";
  return `a task ${whose} ${task.isPaused ? "is paused" : "moves slots"}: ${task.id}`;
}

/** What was begun last, by the map's history. */
export interface Begun {
  readonly why: string;
  /** A task of it was ended before its time. */
  readonly isCutShort: boolean;
  /** Wall time of the last of it at the node that decided, in milliseconds. */
  readonly atMs: number;
}

/**
 * Reads what another leader may have begun.
 *
 * @returns `undefined` if there is nothing, or somebody else has moved slots since, or wants it otherwise.
 */
export function lastBegun(history: readonly HistoryEntry[]): Begun | undefined {
  const ended = new Map<string, { readonly how: string; readonly atMs: number }>();
  for (const { cause, changes, timeMs } of history.slice(-LOOK_BACK).toReversed()) {
    for (const change of changes) {
      const [, id = "", how = ""] = /^migration (\S+) (?:of slots .* )?(started|completed|aborted)/.exec(change) ?? [];
      if (how === "started") {
        if (!cause.startsWith(AUTO_CAUSE)) return undefined;
        const end = ended.get(id);
        return {
          why: cause.slice(AUTO_CAUSE.length),
          isCutShort: end?.how === "aborted",
          atMs: Math.max(timeMs, end?.atMs ?? 0),
        };
      }
      if (how !== "") ended.set(id, { how, atMs: timeMs });
      else if (/^(?:slots? .* (?:assigned|released|given)|setting auto-rebalance)/.test(change)) return undefined;
    }
  }
  return undefined;
}

/** What is older is over. */
const LOOK_BACK = 1000;

/**
 * Reads the cluster setting `auto-rebalance-weights`: `a=2,b=0`, shards as people call them.
 *
 * @returns The weights, and the names that are nobody's.
 */
export function readWeights(
  map: ClusterMap,
  text: string,
): { readonly weights: ReadonlyMap<ShardId, number>; readonly unknown: readonly string[] } {
  const weights = new Map<ShardId, number>();
  const unknown: string[] = [];
  for (const part of text === "none" ? [] : text.split(",")) {
    const [name = "", value = ""] = part.split("=");
    const shard = findShard(map, name);
    if ("problem" in shard) unknown.push(name);
    else weights.set(shard.id, Number(value));
  }
  return { weights, unknown };
}

// --- words ---

function named(map: ClusterMap, { id, primary }: ShardRecord): string {
  return `shard ${id} (primary ${map.nodes.find((node) => node.id === primary)?.name || primary})`;
}

function listed(map: ClusterMap, shards: readonly ShardRecord[]): string {
  // A cause is to be read.
  const shown = shards.slice(0, 3).map((shard) => named(map, shard));
  return [...shown, ...(shards.length > 3 ? [`${shards.length - 3} more`] : [])].join(", ");
}

function percent(off: number): string {
  return `${Math.abs(off * 100).toFixed(0)} % ${off < 0 ? "below" : "above"}`;
}

function seconds(ms: number): string {
  return `${Math.ceil(ms / 1000)} s`;
}

function waits(what: string, ms: number): Verdict {
  return { type: "wait", reason: `${what} for another ${seconds(ms)}` };
}

function sumOf(amounts: Float64Array): number {
  let sum = 0;
  for (const amount of amounts) sum += amount;
  return sum;
}
