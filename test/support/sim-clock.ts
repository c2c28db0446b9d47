/**
 * The clocks of simulated machines.
 *
 * Each machine has a clock of its own, which runs a little fast or slow, starts anywhere, believes some date, may have its
 * date set while it runs, and stands still while the machine is suspended. Timers follow that clock: a timer of one second
 * on a fast clock fires early by everybody else's.
 */

import { assert } from "../../src/assert.ts";
import type { Clock, Timer } from "../../src/world.ts";
import type { SimRandom } from "./sim-random.ts";
import type { ScheduledEvent, Scheduler, SimProcess } from "./sim-scheduler.ts";

/** 2026-01-01, 00:00 UTC: any date would do, as long as it is the same in each run. */
export const EPOCH_WALL_MS = 1_767_225_600_000;

const MILLION = 1_000_000;

/** The clock in a machine, which survives restarts of its process. */
export class MachineClock {
  readonly #scheduler: Scheduler;
  // Local time is `anchorLocalUs` at `anchorUs` of virtual time, and goes on from there with the drift.
  #anchorUs: number;
  #anchorLocalUs: number;
  #driftPpm = 0;
  /** Wall time minus local time, in microseconds. */
  #wallOffsetUs: number;

  /**
   * @param scheduler Virtual time.
   * @param startUs What the monotonic clock shows at first, in microseconds.
   * @param wallErrorMs How wrong the machine's date is, in milliseconds.
   */
  constructor(scheduler: Scheduler, startUs: number, wallErrorMs: number) {
    this.#scheduler = scheduler;
    this.#anchorUs = scheduler.nowUs;
    this.#anchorLocalUs = startUs;
    this.#wallOffsetUs = (EPOCH_WALL_MS + wallErrorMs) * 1000 + scheduler.nowUs - startUs;
  }

  /** How much faster than virtual time it runs, in parts per million. */
  get driftPpm(): number {
    return this.#driftPpm;
  }

  /** Sets how much faster (above 0) or slower than virtual time it runs from here on, in whole parts per million. */
  setDrift(driftPpm: number): void {
    this.#anchor(this.#scheduler.nowUs);
    this.#driftPpm = driftPpm;
  }

  /** Sets the date forward (or back, below 0), in milliseconds. The monotonic clock takes no notice. */
  jumpWall(byMs: number): void {
    this.#wallOffsetUs += byMs * 1000;
  }

  /** Stands still from here on for `durationUs`; the date goes on. */
  suspend(durationUs: number): void {
    const nowUs = this.#scheduler.nowUs;
    // Suspended already: it sleeps on for as long as both say together.
    const startUs = Math.max(nowUs, this.#anchorUs);
    this.#anchor(nowUs);
    this.#anchorUs = startUs + durationUs;
    this.#wallOffsetUs += durationUs;
  }

  /** What the monotonic clock shows at a virtual time that is not past, in whole microseconds. */
  localUs(atUs: number): number {
    const elapsedUs = Math.max(0, atUs - this.#anchorUs);
    return this.#anchorLocalUs + elapsedUs + Math.floor((elapsedUs * this.#driftPpm) / MILLION);
  }

  /** The date that it shows at a virtual time that is not past, in microseconds since 1970. */
  wallUs(atUs: number): number {
    return this.localUs(atUs) + this.#wallOffsetUs;
  }

  /** The first virtual time at which the monotonic clock shows `localUs`, if nobody turns it before. */
  virtualUs(localUs: number): number {
    const elapsedUs = Math.max(0, localUs - this.#anchorLocalUs);
    let atUs = this.#anchorUs + Math.floor((elapsedUs * MILLION) / (MILLION + this.#driftPpm)) - 1;
    while (this.localUs(atUs) < localUs) atUs++;
    return Math.max(atUs, this.#scheduler.nowUs);
  }

  #anchor(nowUs: number): void {
    const localUs = this.localUs(nowUs);
    this.#anchorUs = Math.max(nowUs, this.#anchorUs);
    this.#anchorLocalUs = localUs;
  }
}

/** A process' door to its machine's clock. */
export class SimClock implements Clock {
  readonly #scheduler: Scheduler;
  readonly #process: SimProcess;
  readonly #machine: MachineClock;
  readonly #random: SimRandom;
  readonly #slackUs: number;

  /**
   * @param scheduler Virtual time.
   * @param process Whose timers these are.
   * @param machine The machine's clock.
   * @param random Draws how late timers are.
   * @param slackUs How late a timer is at most in an event loop that has nothing else to do, in microseconds.
   */
  constructor(scheduler: Scheduler, process: SimProcess, machine: MachineClock, random: SimRandom, slackUs: number) {
    this.#scheduler = scheduler;
    this.#process = process;
    this.#machine = machine;
    this.#random = random;
    this.#slackUs = slackUs;
  }

  monotonicMs(): number {
    this.#scheduler.called(this.#process);
    return this.#machine.localUs(this.#scheduler.nowFor(this.#process)) / 1000;
  }

  wallMs(): number {
    this.#scheduler.called(this.#process);
    return Math.floor(this.#machine.wallUs(this.#scheduler.nowFor(this.#process)) / 1000);
  }

  after(delayMs: number, callback: () => void): Timer {
    const timer = new SimTimer();
    this.#arm(timer, "timer", delayMs, callback);
    return timer;
  }

  every(periodMs: number, callback: () => void): Timer {
    const timer = new SimTimer();
    const fire = (): void => {
      this.#arm(timer, "periodic timer", periodMs, fire);
      callback();
    };
    this.#arm(timer, "periodic timer", periodMs, fire);
    return timer;
  }

  soon(callback: () => void): void {
    this.#scheduler.called(this.#process);
    this.#scheduler.at(this.#scheduler.nowUs, this.#process, "soon", callback);
  }

  #arm(timer: SimTimer, label: string, delayMs: number, callback: () => void): void {
    assert(!Number.isNaN(delayMs) && delayMs < Infinity, "a timer's delay is a finite number");
    this.#scheduler.called(this.#process);
    const delayUs = Math.ceil(Math.max(0, delayMs) * 1000);
    const dueUs = this.#machine.localUs(this.#scheduler.nowFor(this.#process)) + delayUs;
    const slackUs = this.#slackUs > 0 ? this.#random.below(this.#slackUs + 1) : 0;
    const fire = (): void => {
      // The clock may have been slowed or suspended since: never early by the machine's own clock.
      if (this.#machine.localUs(this.#scheduler.nowUs) < dueUs) {
        timer.event = this.#scheduler.at(this.#machine.virtualUs(dueUs), this.#process, label, fire);
      } else {
        callback();
      }
    };
    timer.event = this.#scheduler.at(this.#machine.virtualUs(dueUs) + slackUs, this.#process, label, fire);
  }
}

class SimTimer implements Timer {
  event: ScheduledEvent | undefined = undefined;

  cancel(): void {
    this.event?.cancel();
  }
}
