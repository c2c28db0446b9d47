/**
 * A simulated world: machines, the network between them, virtual time, all from one seed.
 *
 * A test adds hosts, each with a program (a function that gets a `World` and does what it likes with it), lets time pass,
 * breaks things, and looks at what came of it. The same seed and the same calls give the same run, event by event, on any
 * engine; `traceHash` is what two runs are compared by.
 *
 * Hosts are machines. A *process* is one run of the program on one; a crash ends the process, a restart begins another,
 * with a `World` of its own, on the same machine with the same disk. The `World` of a process that is dead does nothing:
 * its timers never fire, its promises are never settled, its streams take no bytes.
 *
 * Clients are hosts as well. Code outside of all hosts (checkers, fault injectors) uses `at` and `check`.
 *
 * @example
 * ```ts
 * const simulation = new Simulation(42);
 * simulation.addHost("10.0.0.1", (world) => {
 *   world.clock.every(100, () => world.log.info("tick"));
 * });
 * await simulation.runFor(1000);
 * simulation.crash("10.0.0.1", "power");
 * ```
 */

import { assert, present } from "../../src/assert.ts";
import type { Machine, World } from "../../src/world.ts";
import { MachineClock, SimClock } from "./sim-clock.ts";
import { SimHttp, type SimHttpServer } from "./sim-http.ts";
import { DEFAULT_DISK, DiskStore, SimDisk, type CrashKind, type DiskSettings } from "./sim-disk.ts";
import { formatMs, SimLog, Trace } from "./sim-log.ts";
import { SimNetwork, SimNetworkDoor, type Healable, type NetworkMachine } from "./sim-network.ts";
import { DEFAULT_NETWORK, type NetworkSettings } from "./sim-path.ts";
import { SimRandom } from "./sim-random.ts";
import { Scheduler, SimProcess, type RunEnd, type ScheduledEvent } from "./sim-scheduler.ts";

/** Events that a run may take, if the test names no bound: about a minute of real time. */
const DEFAULT_MAX_EVENTS = 20_000_000;

/** How long starting a process takes, in microseconds. */
const START_US = 100;

/** After so many events for each host every one is looked at, whosever they were. */
const EVERYBODY_EVERY = 16;

export interface SimulationOptions {
  readonly network: Partial<NetworkSettings>;
  readonly disk: Partial<DiskSettings>;
  /** Each machine's clock runs fast or slow by up to this, in parts per million. */
  readonly driftPpm: number;
  /** Each machine's date is wrong by up to this, in milliseconds. */
  readonly wallErrorMs: number;
  /** How late timers are at most on an idle machine, in milliseconds. */
  readonly timerSlackMs: number;
  /** A bound on all events of the simulation: a run that passes it fails. */
  readonly maxEvents: number;
  /** Gets each line of the trace, e.g. `console.log`. Slow. */
  readonly sink: ((line: string) => void) | undefined;
  /**
   * Gets what a host's code throws in a callback. Without it, that ends the run with a `SimulationError`. With it, the host
   * goes on, unless it is crashed here, which is what a real process would do.
   */
  readonly onUncaught: ((host: SimHost, error: unknown) => void) | undefined;
}

const DEFAULT_OPTIONS: SimulationOptions = {
  network: {},
  disk: {},
  driftPpm: 0,
  wallErrorMs: 0,
  timerSlackMs: 0,
  maxEvents: DEFAULT_MAX_EVENTS,
  sink: undefined,
  onUncaught: undefined,
};

/** What a process does when it starts. What it returns is waited for by nobody, but a rejection counts as uncaught. */
export type Program = (world: World, host: SimHost) => unknown;

/** Something that happened to a host. */
export type HostEvent =
  | { readonly type: "started"; readonly host: SimHost; readonly timeMs: number }
  | { readonly type: "crashed"; readonly host: SimHost; readonly timeMs: number; readonly kind: CrashKind };

/** The run cannot go on, or did not get where it should. The message says who waits for what, and how to repeat it. */
export class SimulationError extends Error {
  override readonly name = "SimulationError";
}

/** A machine of the simulation. */
export class SimHost {
  /** Its address, which is its name. */
  readonly name: string;
  readonly disk: DiskStore;
  readonly clock: MachineClock;
  readonly network: NetworkMachine;
  /** What runs on it: replace it to restart the host with something else. */
  program: Program | undefined;
  /** How often a process was started here. */
  starts = 0;
  #process: SimProcess | undefined = undefined;
  #world: World | undefined = undefined;

  constructor(
    name: string,
    program: Program | undefined,
    parts: { disk: DiskStore; clock: MachineClock; network: NetworkMachine },
  ) {
    this.name = name;
    this.program = program;
    this.disk = parts.disk;
    this.clock = parts.clock;
    this.network = parts.network;
  }

  get isUp(): boolean {
    return this.#process?.isAlive === true;
  }

  /** The doors of the process that runs (or ran last). */
  get world(): World {
    return present(this.#world, "a host has a world once it was started");
  }

  get process(): SimProcess {
    return present(this.#process, "a host has a process once it was started");
  }

  /** For `Simulation`: another process begins. */
  begin(process: SimProcess, world: World): void {
    this.starts++;
    this.#process = process;
    this.#world = world;
  }
}

/** The simulated world. */
export class Simulation {
  readonly seed: number | string;
  readonly options: SimulationOptions;
  readonly trace = new Trace();
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  /** Servers that all hosts reach, by what their URLs begin with: `https://hooks.example`. */
  readonly httpServers = new Map<string, SimHttpServer>();
  /** The root of all chance. Fork from it; drawing from it directly would tie unrelated parts together. */
  readonly random: SimRandom;
  readonly #hosts = new Map<string, SimHost>();
  /** Code of the test itself: never stalled, never dead. */
  readonly #test = new SimProcess("(test)");
  readonly #checks: { name: string; every: number; check: () => void }[] = [];
  readonly #explanations: (() => string | undefined)[] = [];
  readonly #observers: ((event: HostEvent) => void)[] = [];
  #failure: Error | undefined = undefined;
  /** No event ran since the test's code did. */
  #isAnybodysTurn = true;

  /**
   * @param seed Decides everything that is left to chance.
   * @param options What differs from a calm world with a fast network.
   */
  constructor(seed: number | string, options: Partial<SimulationOptions> = {}) {
    this.seed = seed;
    this.options = { ...DEFAULT_OPTIONS, ...options };
    this.random = new SimRandom(seed);
    this.trace.sink = this.options.sink;
    this.scheduler = new Scheduler(this.trace);
    this.scheduler.onError = (event, error) => this.#uncaught(event, error);
    this.network = new SimNetwork(
      { scheduler: this.scheduler, trace: this.trace },
      { ...DEFAULT_NETWORK, ...this.options.network },
      this.random.fork("network"),
    );
  }

  /** Virtual milliseconds since the start, with fractions. */
  get nowMs(): number {
    return this.scheduler.nowUs / 1000;
  }

  /** Sixteen hexadecimal digits that depend on everything that happened so far. */
  get traceHash(): string {
    return this.trace.hash;
  }

  /** All hosts, in the order in which they were added. */
  get hosts(): readonly SimHost[] {
    return [...this.#hosts.values()];
  }

  host(name: string): SimHost {
    return present(this.#hosts.get(name), `there is a host ${name}`);
  }

  /**
   * Adds a machine and starts it.
   *
   * @param name Its address, e.g. `10.0.0.1`.
   * @param program What runs on it, at each start. Without one, the test uses `host.world` itself.
   */
  addHost(name: string, program?: Program): SimHost {
    const random = this.random.fork(`host ${name}`);
    const { driftPpm, wallErrorMs, disk } = this.options;
    const clock = new MachineClock(
      this.scheduler,
      random.below(1_000_000_000),
      wallErrorMs > 0 ? random.between(-wallErrorMs, wallErrorMs) : 0,
    );
    if (driftPpm > 0) clock.setDrift(random.between(-driftPpm, driftPpm));
    const host = new SimHost(name, program, {
      clock,
      disk: new DiskStore({ ...DEFAULT_DISK, ...disk }, random.fork("disk")),
      network: this.network.addMachine(name),
    });
    this.#hosts.set(name, host);
    this.restart(host);
    return host;
  }

  /** Starts a process on a host that has none running. Its program runs a moment later. */
  restart(which: SimHost | string): void {
    const host = this.#find(which);
    assert(!host.isUp, "a host that is up is not started again");
    const process = new SimProcess(host.name);
    const random = this.random.fork(`host ${host.name} start ${host.starts}`);
    const { scheduler } = this;
    if (!host.network.isPowered) this.network.powerRestored(host.network);
    host.begin(process, {
      clock: new SimClock(
        scheduler,
        process,
        host.clock,
        random.fork("timers"),
        Math.round(this.options.timerSlackMs * 1000),
      ),
      random: random.fork("program"),
      network: new SimNetworkDoor(this.network, host.network, process),
      http: new SimHttp(scheduler, process, this.httpServers),
      disk: new SimDisk(scheduler, process, host.disk),
      log: new SimLog(this.trace, host.name, () => (process.isAlive ? scheduler.nowFor(process) : undefined)),
      machine: simMachine(host.starts),
    });
    this.#note(host, "host started");
    this.#observed({ type: "started", host, timeMs: this.nowMs });
    const { world } = host;
    scheduler.at(scheduler.nowUs + START_US, process, "program starts", () => {
      const result = host.program?.(world, host);
      if (result instanceof Promise) {
        result.then(undefined, (error: unknown) => {
          if (process.isAlive) this.#report(host, "program", error);
        });
      }
    });
  }

  /**
   * Ends the process on a host.
   *
   * @param which The host; nothing happens if it is down already.
   * @param kind `process`: it was killed, the machine goes on: its kernel closes the streams, and what was written to disk
   * stays even if it was not synced. `power`: the machine is off: streams are silent, what was not synced may be lost.
   */
  crash(which: SimHost | string, kind: CrashKind = "process"): void {
    const host = this.#find(which);
    if (!host.isUp) return;
    const { process } = host;
    process.isAlive = false;
    process.spentUs = 0;
    this.#note(host, kind === "power" ? "power lost" : "process killed");
    if (kind === "power") this.network.powerLost(host.network);
    else this.network.processKilled(host.network);
    host.disk.crash(kind);
    this.#observed({ type: "crashed", host, timeMs: this.nowMs, kind });
  }

  /** Stops a host's event loop for a while. What should have run in that time runs after it, in order, all at once. */
  stall(which: SimHost | string, durationMs: number): void {
    const host = this.#find(which);
    if (!host.isUp) return;
    const untilUs = this.scheduler.nowUs + Math.round(durationMs * 1000);
    host.process.readyAtUs = Math.max(host.process.readyAtUs, untilUs);
    this.#note(host, "stalled", durationMs);
  }

  /**
   * Stops a host's event loop in the middle of an event: after `calls` more calls to its world, time passes before the
   * next line of its code runs. A lease that was checked before is not valid any more after.
   */
  stallMidway(which: SimHost | string, calls: number, durationMs: number): void {
    const host = this.#find(which);
    if (!host.isUp) return;
    host.process.callsUntilStall = calls;
    host.process.stallUs = Math.round(durationMs * 1000);
  }

  /** Suspends a machine for a while: as a stall, but its monotonic clock stands still too. */
  suspend(which: SimHost | string, durationMs: number): void {
    const host = this.#find(which);
    if (!host.isUp) return;
    this.stall(host, durationMs);
    host.clock.suspend(Math.round(durationMs * 1000));
  }

  /** Cuts everything between the hosts of one side and those of the other, both ways, until healed. */
  partition(oneSide: readonly (SimHost | string)[], otherSide: readonly (SimHost | string)[]): Healable {
    return this.network.cut([...pairs(oneSide, otherSide), ...pairs(otherSide, oneSide)]);
  }

  /** Cuts everything that the hosts `from` send to the hosts `to`, until healed. The other way stays open. */
  cutOneWay(from: readonly (SimHost | string)[], to: readonly (SimHost | string)[]): Healable {
    return this.network.cut(pairs(from, to));
  }

  /** Cuts some hosts off from all others, those added later excepted, until healed. */
  isolate(which: readonly (SimHost | string)[]): Healable {
    const inside = new Set(which.map(nameOf));
    return this.partition(
      which,
      this.hosts.filter((host) => !inside.has(host.name)),
    );
  }

  /** Makes what the hosts `from` send to the hosts `to` take longer by `extraMs`, until healed. */
  clog(from: readonly (SimHost | string)[], to: readonly (SimHost | string)[], extraMs: number): Healable {
    return this.network.clog(pairs(from, to), extraMs);
  }

  /** Heals all cuts and clogs. */
  heal(): void {
    this.network.heal();
  }

  /** Runs code of the test at a virtual time. */
  at(timeMs: number, label: string, action: () => void): ScheduledEvent {
    return this.scheduler.at(Math.round(timeMs * 1000), this.#test, label, action);
  }

  /** Runs code of the test `delayMs` from here. */
  after(delayMs: number, label: string, action: () => void): ScheduledEvent {
    return this.at(this.nowMs + delayMs, label, action);
  }

  /**
   * Adds an invariant, which is looked at while the simulation runs.
   *
   * @param name What must hold; stands in the error.
   * @param check Throws if it does not.
   * @param every After how many events it is looked at.
   */
  check(name: string, check: () => void, every = 1): void {
    this.#checks.push({ name, every, check });
  }

  /**
   * Adds an invariant of each host. A host to which nothing happened is as it was: looked at is the one whose event ran; and all of them after the test's
   * own code ran, which may call any, and now and then, for chains of promises that went on in another's event.
   *
   * @param name What must hold; stands in the error.
   * @param check Throws if it does not hold for the host of this name.
   */
  checkHosts(name: string, check: (host: string) => void): void {
    this.check(name, () => {
      const { lastProcess, executed } = this.scheduler;
      if (this.#isAnybodysTurn || lastProcess === this.#test || executed % (EVERYBODY_EVERY * this.#hosts.size) === 0) {
        for (const host of this.#hosts.keys()) check(host);
      } else if (lastProcess !== undefined) {
        check(lastProcess.host);
      }
    });
  }

  /** Adds a source of facts for the message of a run that got stuck: who waits for what. */
  explain(explanation: () => string | undefined): void {
    this.#explanations.push(explanation);
  }

  /** Tells of starts and crashes of hosts. */
  observe(observer: (event: HostEvent) => void): void {
    this.#observers.push(observer);
  }

  /** Lets `durationMs` of virtual time pass. */
  async runFor(durationMs: number): Promise<void> {
    await this.#run(this.scheduler.nowUs + Math.round(durationMs * 1000), undefined, Infinity);
  }

  /**
   * Runs until a condition holds.
   *
   * @param what What is waited for, in words that fit after "waited for".
   * @param condition Asked after each event.
   * @param withinMs Virtual time that it may take.
   * @throws {SimulationError} If it does not come true in time; the message says who waits for what.
   */
  async runUntil(what: string, condition: () => boolean, withinMs: number): Promise<void> {
    const end = await this.#run(this.scheduler.nowUs + Math.round(withinMs * 1000), condition, Infinity);
    if (end !== "stopped") throw this.error(`Waited ${withinMs} ms of virtual time for ${what}, in vain`);
  }

  /**
   * Runs until a promise is settled.
   *
   * @returns What it is fulfilled with.
   * @throws What it is rejected with; {SimulationError} if it is not settled in time.
   */
  async settle<T>(what: string, promise: Promise<T>, withinMs: number): Promise<T> {
    let isSettled = false;
    const note = (): void => {
      isSettled = true;
    };
    promise.then(note, note);
    await this.runUntil(what, () => isSettled, withinMs);
    return await promise;
  }

  /** Runs one event. @returns Whether there was one. */
  async step(): Promise<boolean> {
    const before = this.scheduler.executed;
    await this.#run(Infinity, undefined, 1);
    return this.scheduler.executed > before;
  }

  /** An error that says where the simulation stands, who waits for what, and how to repeat the run. */
  error(sentence: string, cause?: unknown): SimulationError {
    const lines = [
      sentence,
      `seed ${this.seed}, at ${formatMs(this.scheduler.nowUs)} ms, after ${this.scheduler.executed} events`,
      "",
      "Who waits for what:",
      ...this.describe().map((line) => `  ${line}`),
      "",
      "What happened last:",
      ...this.trace.recent().map((line) => `  ${line}`),
    ];
    return new SimulationError(lines.join("\n"), cause === undefined ? undefined : { cause });
  }

  /** What each host is waiting for, a line each. */
  describe(): string[] {
    const lines: string[] = [];
    const { nowUs } = this.scheduler;
    const summary = this.scheduler.summary();
    for (const host of this.#hosts.values()) {
      let state = host.isUp ? "up" : host.network.isPowered ? "process killed" : "no power";
      if (host.isUp && host.process.readyAtUs > nowUs) state = `stalled until ${formatMs(host.process.readyAtUs)} ms`;
      const labels = [...(summary.get(host.name) ?? [])].toSorted(([one], [other]) => (one < other ? -1 : 1));
      const events = labels.map(([label, count]) => `${count} ${label}`);
      lines.push(`${host.name}: ${state}; to come: ${events.length === 0 ? "nothing" : events.join(", ")}`);
      for (const stream of host.network.streams) {
        const explanation = stream.explain();
        if (explanation !== undefined) lines.push(`  stream ${explanation}`);
      }
    }
    const cut = this.network.cutPaths();
    if (cut.length > 0) lines.push(`cut: ${cut.join(", ")}`);
    for (const explanation of this.#explanations) {
      const text = explanation();
      if (text !== undefined) lines.push(...text.split("\n"));
    }
    return lines;
  }

  async #run(untilUs: number, condition: (() => boolean) | undefined, maxEvents: number): Promise<RunEnd> {
    const left = this.options.maxEvents - this.scheduler.executed;
    this.#isAnybodysTurn = true;
    const end = await this.scheduler.run({
      untilUs,
      maxEvents: Math.min(maxEvents, left),
      stop: () => {
        if (this.#failure !== undefined) return true;
        this.#runChecks();
        return this.#failure !== undefined || condition?.() === true;
      },
    });
    if (this.#failure !== undefined) throw this.#failure;
    if (end === "events" && left <= maxEvents) throw this.error(`Gave up after ${this.options.maxEvents} events`);
    return end;
  }

  #runChecks(): void {
    for (const { name, every, check } of this.#checks) {
      if (every > 1 && this.scheduler.executed % every !== 0) continue;
      try {
        check();
      } catch (error) {
        this.#failure ??= this.error(`Broken: ${name}: ${messageOf(error)}`, error);
      }
    }
    this.#isAnybodysTurn = false;
  }

  #uncaught(event: ScheduledEvent, error: unknown): void {
    const host = event.process === undefined ? undefined : this.#hosts.get(event.process.host);
    if (host !== undefined) this.#report(host, event.label, error);
    else this.#failure ??= this.error(`The test's own code failed (${event.label}): ${messageOf(error)}`, error);
  }

  #report(host: SimHost, label: string, error: unknown): void {
    // Its message stays out of the trace: engines word their errors differently.
    this.#note(host, "uncaught error");
    if (this.options.onUncaught !== undefined) this.options.onUncaught(host, error);
    else this.#failure ??= this.error(`Uncaught on ${host.name} (${label}): ${messageOf(error)}`, error);
  }

  #observed(event: HostEvent): void {
    for (const observer of this.#observers) observer(event);
  }

  #find(which: SimHost | string): SimHost {
    return typeof which === "string" ? this.host(which) : which;
  }

  #note(host: SimHost, event: string, detail: string | number = ""): void {
    this.trace.event(this.scheduler.nowUs, host.name, event, detail);
  }
}

function nameOf(which: SimHost | string): string {
  return typeof which === "string" ? which : which.name;
}

function pairs(
  from: readonly (SimHost | string)[],
  to: readonly (SimHost | string)[],
): (readonly [from: string, to: string])[] {
  return from.flatMap((one) => to.map((other) => [nameOf(one), nameOf(other)] as const));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

function simMachine(starts: number): Machine {
  return {
    processId: 1000 + starts,
    system: "Simulated",
    runtime: "simulation",
    cpuSeconds: () => ({ user: 0, system: 0 }),
    residentBytes: () => 0,
    heapBytes: () => ({ used: 0, held: 0 }),
    collections: () => 0,
    totalMemoryBytes: () => 0,
    diskSpace: () => Promise.resolve(undefined),
    maxOpenFiles: () => Number.POSITIVE_INFINITY,
    readOperatorFile: (path) => Promise.reject(new Error(`there is no file ${path} on a simulated machine`)),
  };
}
