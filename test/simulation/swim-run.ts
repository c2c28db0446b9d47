/**
 * A run of membership from a seed: machines alone (`swim-world.ts`), one kind of weather after another, and what must hold in each. Which kinds there are, and how
 * many members, the seed says.
 *
 * 1. Two paths are broken and members stand still for a moment, one at a time: nobody is suspected but those that stood still, and everybody probes everybody in turn.
 * 2. Loss, deaths, new starts, joins and leaves: nobody who is there is held for down, who left has left, and nothing that is held goes back.
 * 3. One member loses most of what it sends and gets: it accuses few.
 * 4. A partition, and its end: nobody is lost by it, and all are found again.
 * 5. Calm: one dies, one leaves; all know it within a bound, and then nobody has any news to tell.
 */
import { leastSuspicionMs } from "../../src/protocol/membership/options.ts";
import { Violation } from "../support/raft-checkers.ts";
import { type Heard, type SwimHost, SwimWorld } from "../support/swim-world.ts";

/** What is held of a member so long after it stood still or came up may have to do with that. */
const TROUBLE_MS = 4000;
/** A partition lasts for long enough that both sides hold each other for down. */
const PARTITION_MS = 25_000;
/** All members have found each other after it: one of them tries another within 5 seconds, and the rest is gossip. */
const HEALED_MS = 20_000;
/** Suspicions across a partition that are over so soon after its end had no time to be disproved. */
const JUST_HEALED_MS = 1500;
/** News of a change has reached all and is passed on no more. */
const QUIET_MS = 10_000;
/** How many probes of a member that loses nearly everything may fail in a minute. Without doubt of itself it would be about 80. */
const MOST_ACCUSATIONS = 40;

export interface SwimResult {
  readonly members: number;
  readonly suspicions: number;
  readonly deaths: number;
}

export function runSwim(seed: number): SwimResult {
  return new SwimRun(seed).run();
}

class SwimRun {
  readonly #world: SwimWorld;
  #suspicions = 0;
  #deaths = 0;
  #mayBeSuspected: (what: Heard) => boolean = () => true;
  #mayBeDown: (what: Heard) => boolean = () => false;
  /** What each holds of each, as it was last looked at: start, refutation number, rank of the state. */
  readonly #held = new Map<string, readonly number[]>();

  constructor(seed: number) {
    this.#world = new SwimWorld({ seed, count: 6 + (seed % 13) });
    this.#world.heard = (what) => this.#hear(what);
  }

  run(): SwimResult {
    this.#brokenPaths();
    if (this.#world.random.chance(0.6)) this.#storm();
    if (this.#world.random.chance(0.5)) this.#badMember();
    if (this.#world.random.chance(0.6)) this.#partition();
    this.#calm();
    return { members: this.#world.hosts.length, suspicions: this.#suspicions, deaths: this.#deaths };
  }

  #hear(what: Heard): void {
    const { about, observer, state, isThere, atMs } = what;
    const told = `at ${atMs}: ${observer.index} holds ${about.index} for ${state} (${what.reason})`;
    if (state === "suspect") {
      this.#suspicions += 1;
      if (!this.#mayBeSuspected(what)) throw new Violation(`nobody is suspected without a cause: ${told}`);
    }
    // What is said of an earlier start of it is over as soon as the map has arrived.
    if (what.start !== about.start) return;
    if (state === "left" && !about.hasLeft) throw new Violation(`only who left has left: ${told}`);
    if (state !== "down") return;
    if (about.hasLeft) throw new Violation(`who left is not down: ${told}`);
    if (isThere && atMs - about.troubledAtMs > TROUBLE_MS && !this.#mayBeDown(what))
      throw new Violation(`nobody who is there is down: ${told}`);
  }

  /** Looks at everything that is held, every second. */
  #advance(seconds: number, each: () => void = () => undefined): void {
    const ranks = ["alive", "suspect", "down", "left"];
    for (let second = 0; second < seconds; second += 1) {
      each();
      this.#world.run(1000);
      for (const observer of this.#world.running) {
        for (const member of observer.machine?.members.all() ?? []) {
          const key = `${observer.index}/${observer.start}/${member.id}`;
          const present = [member.start, member.refutation, ranks.indexOf(member.state)];
          const before = this.#held.get(key);
          this.#held.set(key, present);
          const at = before?.findIndex((value, index) => value !== present[index]) ?? -1;
          if (at >= 0 && (present[at] ?? 0) < (before?.[at] ?? 0))
            throw new Violation(
              `what is held does not go back: ${observer.index} of ${member.id}: ${before?.join()} -> ${present.join()}`,
            );
        }
      }
    }
  }

  #pick(): SwimHost | undefined {
    return this.#world.random.pick(this.#world.running.filter((host) => this.#world.isUp(host)));
  }

  #brokenPaths(): void {
    const world = this.#world;
    const [a, b, c, d] = world.random.shuffle(world.hosts);
    if (a !== undefined && b !== undefined) world.cut(a, b);
    if (c !== undefined && d !== undefined) world.cut(c, d);
    this.#mayBeSuspected = ({ about, atMs }) => !world.isUp(about) || atMs - about.troubledAtMs < TROUBLE_MS;
    const lastPings = new Map<string, number>();
    const periodMs = world.options.probeMs;
    world.pinged = (from, to) => void lastPings.set(`${from.index}>${to.index}`, world.nowMs);
    const rounds = 2 * world.hosts.length + 8;
    this.#advance((2 * rounds * periodMs) / 1000, () => {
      const host = this.#pick();
      if (host !== undefined && world.random.chance(0.3)) world.stall(host, world.random.between(200, 900));
    });
    world.pinged = () => undefined;
    // Doubt of itself makes those that stood still slower, which the stalls above do for a moment only.
    for (const from of world.hosts) {
      for (const to of world.hosts) {
        const ageMs = world.nowMs - (lastPings.get(`${from.index}>${to.index}`) ?? 0);
        if (from !== to && ageMs > rounds * periodMs)
          throw new Violation(`everybody is probed in turn: ${from.index} has not probed ${to.index} for ${ageMs} ms`);
      }
    }
    world.cuts.clear();
    this.#mayBeSuspected = () => true;
  }

  #storm(): void {
    const world = this.#world;
    world.loss = world.random.chance(0.5) ? world.random.below(200) : 0;
    this.#advance(30, () => {
      const host = this.#pick();
      if (host === undefined || !world.random.chance(0.4)) return;
      const dead = world.hosts.find((each) => each.machine === undefined || each.hasLeft);
      const isPlenty = world.running.length > 5;
      switch (world.random.below(4)) {
        case 0:
          if (dead !== undefined) world.restart(dead);
          break;
        case 1:
          if (world.hosts.length < 24) world.join();
          break;
        case 2:
          if (isPlenty) world.leave(host);
          break;
        default:
          if (!isPlenty) return;
          this.#deaths += 1;
          world.kill(host);
      }
    });
    world.loss = 0;
    this.#settles(QUIET_MS + this.#deathMs, "after the storm all hold what is true");
  }

  #badMember(): void {
    const bad = this.#pick();
    if (bad?.machine === undefined) return;
    bad.loss = 700;
    this.#mayBeDown = ({ about, observer }) => about === bad || observer === bad;
    const before = bad.machine.counters.failedProbes;
    this.#advance(60);
    const failed = bad.machine.counters.failedProbes - before;
    if (failed > MOST_ACCUSATIONS)
      throw new Violation(`a member that gets no answers doubts itself: ${failed} of its probes failed in a minute`);
    bad.loss = 0;
    this.#settles(HEALED_MS, "after the loss all hold what is true");
    this.#mayBeDown = () => false;
  }

  #partition(): void {
    const world = this.#world;
    const first = world.random.chance(0.3) ? 1 : 1 + world.random.below(world.hosts.length - 1);
    const inside = new Set(world.random.shuffle(world.hosts).slice(0, first));
    world.partition((host) => (inside.has(host) ? 1 : 0));
    this.#advance(PARTITION_MS / 1000);
    for (const host of world.hosts) host.side = 0;
    const healedAtMs = world.nowMs;
    // Those of the other side find so, and may tell those of this one, who have just heard of the suspicion. A table that is compared is never believed so far.
    this.#mayBeDown = ({ atMs, about, observer, reason }) =>
      (inside.has(about) !== inside.has(observer) || reason.endsWith("told so")) && atMs - healedAtMs < JUST_HEALED_MS;
    this.#settles(HEALED_MS, "after a partition all find each other");
    this.#mayBeDown = () => false;
  }

  #calm(): void {
    const world = this.#world;
    const dies = this.#pick();
    if (dies !== undefined) world.kill(dies);
    this.#deaths += 1;
    const leaves = this.#pick();
    if (leaves !== undefined) world.leave(leaves);
    this.#settles(this.#deathMs, "a death and a leave are known in time");
    world.run(QUIET_MS);
    const newsy = world.running.find((host) => host.machine?.newsCount !== 0);
    if (newsy !== undefined)
      throw new Violation(`news ends: ${newsy.index} still tells ${newsy.machine?.newsCount ?? 0} pieces`);
  }

  /** Until all know of a death: it is probed within a few periods, the probe fails, nobody disproves the suspicion, and that gets around. */
  get #deathMs(): number {
    const { options, hosts } = this.#world;
    return 8 * options.probeMs + options.suspicionMaxMultiplier * leastSuspicionMs(options, hosts.length) + 2000;
  }

  #settles(withinMs: number, promise: string): void {
    const endMs = this.#world.nowMs + withinMs;
    while (!this.#world.isSettled) {
      if (this.#world.nowMs >= endMs)
        throw new Violation(`${promise}: not within ${withinMs} ms:\n${this.#world.explain()}`);
      this.#world.run(100);
    }
  }
}
