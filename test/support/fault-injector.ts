/**
 * Breaks things in a simulation at random virtual times, and heals them again.
 *
 * A run has two phases. First safety: faults come and go as the swarm options say, and no answer may be wrong. Then
 * `stopAndHeal` ends all faults at once, and the test looks whether the healed world gets where it should (liveness).
 *
 * Each kind of fault draws from a stream of its own, so that fewer crashes leave the partitions of a seed where they are.
 */

import type { CrashKind } from "./sim-disk.ts";
import type { Healable } from "./sim-network.ts";
import type { SimRandom } from "./sim-random.ts";
import type { ScheduledEvent } from "./sim-scheduler.ts";
import type { SimHost, Simulation } from "./sim-world.ts";
import { CALM, swarmNetwork, type SwarmOptions } from "./swarm.ts";

export interface FaultInjectorOptions {
  /** The hosts that may crash, stall, and have slow disks and wrong dates: the nodes. */
  readonly hosts: readonly (SimHost | string)[];
  /** Hosts that meet the network's faults only: the clients. */
  readonly bystanders?: readonly (SimHost | string)[];
  /** At most so many hosts are down at once. By default all may be. */
  readonly maxDown?: number;
  /** Whether this host may crash at this moment. By default each may. */
  readonly mayCrash?: (host: SimHost, kind: CrashKind) => boolean;
}

/** How many calls a host makes to its world at most before it is stalled midway: some turns' worth. */
const MOST_CALLS_BEFORE_STALL = 40;

/** The driver of faults. */
export class FaultInjector {
  /** How many faults of each kind there were. */
  readonly counts = new Map<string, number>();
  readonly #simulation: Simulation;
  readonly #swarm: SwarmOptions;
  readonly #hosts: readonly SimHost[];
  readonly #everyone: readonly SimHost[];
  readonly #maxDown: number;
  readonly #mayCrash: (host: SimHost, kind: CrashKind) => boolean;
  readonly #next = new Map<string, ScheduledEvent>();
  #isRunning = false;

  constructor(simulation: Simulation, swarm: SwarmOptions, options: FaultInjectorOptions) {
    const find = (which: SimHost | string): SimHost => (typeof which === "string" ? simulation.host(which) : which);
    this.#simulation = simulation;
    this.#swarm = swarm;
    this.#hosts = options.hosts.map(find);
    this.#everyone = [...this.#hosts, ...(options.bystanders ?? []).map(find)];
    this.#maxDown = options.maxDown ?? this.#hosts.length;
    this.#mayCrash = options.mayCrash ?? (() => true);
  }

  /** Begins to break things. */
  start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    const swarm = this.#swarm;
    this.#repeat("reset", swarm.resetEveryMs, (random) => this.#reset(random));
    this.#repeat("partition", swarm.partitionEveryMs, (random) => this.#partition(random));
    this.#repeat("clog", swarm.clogEveryMs, (random) => this.#clog(random));
    this.#repeat("crash", swarm.crashEveryMs, (random) => this.#crash(random));
    this.#repeat("stall", swarm.stallEveryMs, (random) => this.#stall(random));
    this.#repeat("suspension", swarm.suspendEveryMs, (random) => {
      this.#simulation.suspend(this.#anyHost(random), random.exponential(swarm.suspendForMs));
    });
    this.#repeat("date change", swarm.wallJumpEveryMs, (random) => {
      this.#anyHost(random).clock.jumpWall(random.between(-swarm.wallJumpMs, swarm.wallJumpMs));
    });
    this.#repeat("slow disk", swarm.diskSlowEveryMs, (random) => this.#slowDisk(random));
  }

  /** Begins no new fault. Those under way go on until they heal by themselves. */
  stop(): void {
    this.#isRunning = false;
    for (const event of this.#next.values()) event.cancel();
    this.#next.clear();
  }

  /**
   * Ends all faults: heals the network, speeds the disks up, starts what is down, and lets no more packet be lost. Clocks
   * keep their drift, and latency stays what it is: they are the world's nature. A stall that has begun ends by itself.
   */
  stopAndHeal(): void {
    this.stop();
    const calm: SwarmOptions = {
      ...CALM,
      latencyMinMs: this.#swarm.latencyMinMs,
      latencyMeanMs: this.#swarm.latencyMeanMs,
      sendBufferBytes: this.#swarm.sendBufferBytes,
      streamSplitChance: this.#swarm.streamSplitChance,
    };
    Object.assign(this.#simulation.network.settings, swarmNetwork(calm));
    this.#simulation.heal();
    for (const host of this.#hosts) {
      host.disk.slowness = 1;
      if (host.isUp) host.process.callsUntilStall = 0;
      else this.#simulation.restart(host);
    }
  }

  /** What was done, for the end of a run: `crash 3, stall 12`. */
  summary(): string {
    const kinds = [...this.counts].map(([kind, count]) => `${kind} ${count}`);
    return kinds.length === 0 ? "no faults" : kinds.toSorted().join(", ");
  }

  /** Does something again and again, `everyMs` apart on average. */
  #repeat(kind: string, everyMs: number, fault: (random: SimRandom) => void): void {
    if (everyMs <= 0) return;
    const random = this.#simulation.random.fork(`fault ${kind}`);
    const arm = (): void => {
      const event = this.#simulation.after(random.exponential(everyMs), `fault: ${kind}`, () => {
        this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
        fault(random);
        if (this.#isRunning) arm();
      });
      this.#next.set(kind, event);
    };
    arm();
  }

  #healAfter(what: Healable, meanMs: number, random: SimRandom): void {
    this.#simulation.after(random.exponential(meanMs), "fault heals", () => what.heal());
  }

  #reset(random: SimRandom): void {
    random.pick(this.#simulation.network.openStreams())?.breakOff();
  }

  #partition(random: SimRandom): void {
    const [inside, outside] = this.#split(random);
    const cut = random.chance(this.#swarm.partitionOneWayChance)
      ? this.#simulation.cutOneWay(inside, outside)
      : this.#simulation.partition(inside, outside);
    this.#healAfter(cut, this.#swarm.partitionForMs, random);
  }

  #clog(random: SimRandom): void {
    const [from, to] = this.#split(random);
    const extraMs = random.exponential(this.#swarm.clogExtraMs);
    this.#healAfter(this.#simulation.clog(from, to, extraMs), this.#swarm.clogForMs, random);
  }

  #crash(random: SimRandom): void {
    // Everything is drawn before it is known whether it may happen: a refusal shifts nothing.
    const host = this.#anyHost(random);
    const kind: CrashKind = random.chance(this.#swarm.crashPowerChance) ? "power" : "process";
    const downForMs = random.exponential(this.#swarm.crashDownForMs);
    const down = this.#hosts.filter((other) => !other.isUp).length;
    if (!host.isUp || down >= this.#maxDown || !this.#mayCrash(host, kind)) return;
    this.#simulation.crash(host, kind);
    this.#simulation.after(downForMs, "fault heals", () => {
      if (!host.isUp) this.#simulation.restart(host);
    });
  }

  #stall(random: SimRandom): void {
    const host = this.#anyHost(random);
    const durationMs = random.exponential(this.#swarm.stallForMs);
    const calls = random.between(1, MOST_CALLS_BEFORE_STALL);
    if (random.chance(this.#swarm.stallMidwayChance)) this.#simulation.stallMidway(host, calls, durationMs);
    else this.#simulation.stall(host, durationMs);
  }

  #slowDisk(random: SimRandom): void {
    const { disk } = this.#anyHost(random);
    disk.slowness = this.#swarm.diskSlowFactor;
    this.#healAfter({ heal: () => (disk.slowness = 1) }, this.#swarm.diskSlowForMs, random);
  }

  #anyHost(random: SimRandom): SimHost {
    const [first, ...rest] = this.#hosts;
    if (first === undefined) throw new Error("Cannot break anything: the fault injector was given no hosts");
    return random.pick([first, ...rest]);
  }

  /** Divides all hosts into two sides, neither empty unless there is one host only. */
  #split(random: SimRandom): [SimHost[], SimHost[]] {
    const shuffled = random.shuffle(this.#everyone);
    const size = 1 + random.below(Math.max(1, shuffled.length - 1));
    return [shuffled.slice(0, size), shuffled.slice(size)];
  }
}
