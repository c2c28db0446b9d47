/**
 * Virtual time: one queue of events for the whole simulated world.
 *
 * Nothing waits. The scheduler takes the earliest event, sets the time to its time, runs it, and goes on; a minute of
 * virtual time takes as long as its events need. Events of the same microsecond run in the order in which they were
 * scheduled, so that a run depends on its seed alone.
 *
 * **Processes.** An event may belong to a process (one run of a program on a host). Its events vanish when it dies. While
 * its event loop is stalled they wait, and then run late, in order, all at once, just as in a real one that was kept busy.
 *
 * **Promises.** A real event loop empties the queue of microtasks after each callback, so the scheduler has to do so after
 * each event, on any engine, and cheaply: there is no portable call for it.
 * 1. A turn of the macrotask queue (`setImmediate`) empties the microtask queue whole, and costs about 1 us.
 * 2. An `await` of a settled promise runs what was in the queue at that moment, and costs about 25 ns.
 * 3. So after each event that runs a process' code, eight of those follow; and if in this event or during those a
 *    promise of the world was handed out or settled, or code that runs from a microtask called the world at all, a whole
 *    turn follows too. Code with callbacks alone, which is nearly everything, pays 0.2 us.
 * 4. What slips through is a chain of more than eight promises that touches nothing of the world. It goes on after the next
 *    event. That is still the same in every run on every engine, because the language counts the steps of such a chain.
 */

import { setImmediate } from "node:timers";
import type { Trace } from "./sim-log.ts";

/** Short turns after each event: most chains of async functions between a callback and its effect are shorter. */
const MICROTASK_TURNS = 8;

/** Awaiting it lets run what is in the queue of microtasks, and nothing else. */
const SETTLED = Promise.resolve();

/** Sequence numbers from here to 0 are for events that were late already when they were put into the queue (again). */
const FIRST_LATE_SEQUENCE = -(2 ** 52);

/** One run of a program on a host: born with its start, gone with its end or crash. */
export class SimProcess {
  /** The host's name. */
  readonly host: string;
  isAlive = true;
  /** Its event loop runs nothing before this time, in microseconds. */
  readyAtUs = 0;
  /** How long the event that is running has taken so far, in microseconds: more than 0 only if it was stalled midway. */
  spentUs = 0;
  /** A stall midway: after this many more calls to the world `stallUs` pass within the event. 0: none is set. */
  callsUntilStall = 0;
  stallUs = 0;

  constructor(host: string) {
    this.host = host;
  }
}

/** An event that was scheduled. */
export class ScheduledEvent {
  timeUs: number;
  sequence: number;
  readonly process: SimProcess | undefined;
  readonly label: string;
  /** `undefined` once it ran or was cancelled. */
  action: (() => void) | undefined;

  constructor(timeUs: number, sequence: number, process: SimProcess | undefined, label: string, action: () => void) {
    this.timeUs = timeUs;
    this.sequence = sequence;
    this.process = process;
    this.label = label;
    this.action = action;
  }

  /** Whether it is still to come (unless its process dies before). */
  get isPending(): boolean {
    return this.action !== undefined;
  }

  cancel(): void {
    this.action = undefined;
  }
}

/** Why `Scheduler.run` came back. */
export type RunEnd = "stopped" | "time" | "events" | "empty";

export interface RunLimits {
  /** Runs events up to this virtual time, included, in microseconds. */
  readonly untilUs: number;
  /** Runs no more events than this. */
  readonly maxEvents: number;
  /** Asked after each event; `true` ends the run. */
  readonly stop?: (() => boolean) | undefined;
}

export class Scheduler {
  /** The present, in microseconds since the start of the simulation. Whole, and never goes back. */
  nowUs = 0;
  /** Events that ran. */
  executed = 0;
  /** Whose event ran last; `undefined` if it was nobody's. */
  lastProcess: SimProcess | undefined = undefined;
  /** Gets what an event's action throws. It may throw on, which ends the run. */
  onError: (event: ScheduledEvent, error: unknown) => void = (_event, error) => {
    throw error;
  };

  readonly #trace: Trace;
  // A binary heap, ordered by time, then sequence.
  readonly #heap: ScheduledEvent[] = [];
  #sequence = 0;
  #lateSequence = 0;
  /** Calls to the world by processes. */
  #worldCalls = 0;
  /** Promises of the world that were handed out or settled. */
  #promises = 0;

  constructor(trace: Trace) {
    this.#trace = trace;
  }

  /** Events in the queue, cancelled ones and those of dead processes included. */
  get pending(): number {
    return this.#heap.length;
  }

  /** The present as a process sees it: later than `nowUs` if its event was stalled midway. */
  nowFor(process: SimProcess): number {
    return this.nowUs + process.spentUs;
  }

  /**
   * Schedules an event.
   *
   * @param timeUs When, in microseconds; the past means the present.
   * @param process Whose event loop runs it; `undefined` for what happens outside of all (networks, kernels).
   * @param label What it is, in constant words; goes into the trace.
   * @param action What happens.
   */
  at(timeUs: number, process: SimProcess | undefined, label: string, action: () => void): ScheduledEvent {
    const event = new ScheduledEvent(Math.max(timeUs, this.nowUs), this.#sequence++, process, label, action);
    this.#push(event);
    return event;
  }

  /** A promise that is settled in an event of `process`, by what `produce` returns or throws then. */
  promise<T>(process: SimProcess, timeUs: number, label: string, produce: () => T): Promise<T> {
    this.#promises++;
    return new Promise<T>((resolve, reject) => {
      this.at(timeUs, process, label, () => {
        this.#promises++;
        try {
          resolve(produce());
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
    });
  }

  /** To be told of each call that a process makes to its world. */
  called(process: SimProcess): void {
    this.#worldCalls++;
    if (process.callsUntilStall > 0 && --process.callsUntilStall === 0) {
      process.spentUs += process.stallUs;
      this.#trace.event(this.nowUs, process.host, "stalled midway", process.stallUs);
    }
  }

  /** Who has events in the queue, and which: for a run that does not end. */
  summary(): Map<string, Map<string, number>> {
    const byHost = new Map<string, Map<string, number>>();
    for (const event of this.#heap) {
      if (event.action === undefined || event.process?.isAlive === false) continue;
      const host = event.process?.host ?? "(outside)";
      const labels = byHost.get(host) ?? new Map<string, number>();
      labels.set(event.label, (labels.get(event.label) ?? 0) + 1);
      byHost.set(host, labels);
    }
    return byHost;
  }

  /**
   * Runs events.
   *
   * @returns Why it ended. After `time`, the present is `untilUs`.
   */
  async run(limits: RunLimits): Promise<RunEnd> {
    // Whoever called may have left promises behind.
    await macrotask();
    const lastEvent = this.executed + limits.maxEvents;
    for (;;) {
      if (limits.stop?.() === true) return "stopped";
      if (this.executed >= lastEvent) return "events";
      const event = this.#next(limits.untilUs);
      if (event === undefined) {
        if (this.#heap.length === 0 && limits.untilUs === Infinity) return "empty";
        this.nowUs = Math.max(this.nowUs, limits.untilUs);
        return "time";
      }
      this.nowUs = event.timeUs;
      this.executed++;
      const process = event.process;
      this.lastProcess = process;
      this.#trace.event(event.timeUs, process?.host ?? "-", event.label);
      const promises = this.#promises;
      this.#perform(event);
      if (process === undefined) continue;
      const calls = this.#worldCalls;
      for (let turn = 0; turn < MICROTASK_TURNS; turn++) await SETTLED;
      if (this.#worldCalls !== calls || this.#promises !== promises) await macrotask();
      if (process.spentUs > 0) {
        process.readyAtUs = Math.max(process.readyAtUs, this.nowUs + process.spentUs);
        process.spentUs = 0;
      }
    }
  }

  #perform(event: ScheduledEvent): void {
    const action = event.action;
    event.action = undefined;
    try {
      action?.();
    } catch (error) {
      this.onError(event, error);
    }
  }

  /** Takes the next event that is due by `untilUs` and may run. */
  #next(untilUs: number): ScheduledEvent | undefined {
    for (;;) {
      const event = this.#heap[0];
      if (event === undefined) return undefined;
      const process = event.process;
      if (event.action === undefined || process?.isAlive === false) {
        this.#pop();
        continue;
      }
      if (event.timeUs > untilUs) return undefined;
      this.#pop();
      if (process === undefined || process.readyAtUs <= event.timeUs) return event;
      // The process is stalled. Events come here in the order of their time, and keep it by the order of these sequence
      // numbers, which are below all others: what is due at that very moment comes after what waited for it.
      event.timeUs = process.readyAtUs;
      event.sequence = FIRST_LATE_SEQUENCE + this.#lateSequence++;
      this.#push(event);
    }
  }

  #push(event: ScheduledEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = heap[parentAt] as ScheduledEvent;
      if (!isBefore(event, parent)) break;
      heap[at] = parent;
      at = parentAt;
    }
    heap[at] = event;
  }

  /** Removes the first event. */
  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    const length = heap.length;
    let at = 0;
    for (;;) {
      let childAt = at * 2 + 1;
      if (childAt >= length) break;
      let child = heap[childAt] as ScheduledEvent;
      if (childAt + 1 < length) {
        const right = heap[childAt + 1] as ScheduledEvent;
        if (isBefore(right, child)) {
          child = right;
          childAt++;
        }
      }
      if (!isBefore(child, last)) break;
      heap[at] = child;
      at = childAt;
    }
    heap[at] = last;
  }
}

function isBefore(one: ScheduledEvent, other: ScheduledEvent): boolean {
  return one.timeUs < other.timeUs || (one.timeUs === other.timeUs && one.sequence < other.sequence);
}

/** Lets everything in the queue of microtasks run, and what that adds to it. */
function macrotask(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
