/** Periodic callbacks share their wake-ups, come neither early nor twice, and end when they are told to. */
import { describe, expect, test } from "bun:test";
import { Metronome } from "../../src/metronome.ts";

/** A clock that goes on when it is told to, and counts how often it woke somebody. */
class HandClock {
  nowMs = 1003.7;
  wakeUps = 0;
  readonly #timers = new Set<{ atMs: number; callback: () => void }>();
  readonly metronome = new Metronome(
    () => this.nowMs,
    (delayMs, callback) => {
      const timer = { atMs: this.nowMs + delayMs, callback };
      this.#timers.add(timer);
      return { cancel: () => void this.#timers.delete(timer) };
    },
  );

  get waiting(): number {
    return this.#timers.size;
  }

  runFor(ms: number): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      const [next] = [...this.#timers].sort((one, other) => one.atMs - other.atMs);
      if (next === undefined || next.atMs > endMs) break;
      this.#timers.delete(next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      this.wakeUps += 1;
      next.callback();
    }
    this.nowMs = endMs;
  }
}

describe("Metronome", () => {
  test("calls once a period, for the first time after one to two of them", () => {
    const clock = new HandClock();
    const calledMs: number[] = [];
    clock.metronome.every(50, () => calledMs.push(clock.nowMs));
    clock.runFor(1000);
    const [first = 0] = calledMs;
    expect(first - 1003.7).toBeGreaterThanOrEqual(50);
    expect(first - 1003.7).toBeLessThanOrEqual(100);
    expect(calledMs).toEqual(Array.from({ length: calledMs.length }, (_, at) => first + at * 50));
    expect(calledMs.length).toBeGreaterThanOrEqual(18);
  });

  test("periods that are multiples of another cost no wake-ups of their own", () => {
    const clock = new HandClock();
    const calls = { fast: 0, slow: 0, slower: 0 };
    clock.metronome.every(50, () => (calls.fast += 1));
    clock.runFor(13);
    clock.metronome.every(200, () => (calls.slow += 1));
    clock.runFor(29);
    clock.metronome.every(250, () => (calls.slower += 1));
    clock.runFor(10_000);
    expect(calls.fast).toBeGreaterThan(198);
    expect(clock.wakeUps).toBe(calls.fast);
    expect(calls.slow).toBe(49);
    expect(calls.slower).toBe(39);
  });

  test("of beats that were missed one comes late, and the grid stays", () => {
    const clock = new HandClock();
    const calledMs: number[] = [];
    clock.metronome.every(100, () => {
      calledMs.push(clock.nowMs);
      if (calledMs.length === 2) clock.nowMs += 730;
    });
    clock.runFor(2000);
    expect(calledMs.slice(0, 4)).toEqual([1200, 1300, 2030, 2100]);
  });

  test("a cancelled one is not called again, even when it was due at the same moment", () => {
    const clock = new HandClock();
    const called: string[] = [];
    const first = clock.metronome.every(50, () => {
      called.push("first");
      second.cancel();
    });
    const second = clock.metronome.every(50, () => called.push("second"));
    clock.runFor(100);
    expect(called).toEqual(["first"]);
    first.cancel();
    expect(clock.waiting).toBe(0);
    clock.runFor(1000);
    expect(called).toEqual(["first"]);
  });

  test("one that throws does not end the others", () => {
    const clock = new HandClock();
    let calls = 0;
    clock.metronome.every(50, () => {
      throw new Error("broken");
    });
    clock.metronome.every(70, () => (calls += 1));
    for (let beat = 0; beat < 20; beat += 1) {
      try {
        clock.runFor(50);
      } catch {
        // What it threw goes to whoever owns the timer.
      }
    }
    expect(calls).toBeGreaterThan(10);
  });

  test("one that starts another in its own call does not make it due at once", () => {
    const clock = new HandClock();
    let inner = 0;
    const outer = clock.metronome.every(50, () => {
      outer.cancel();
      clock.metronome.every(50, () => (inner += 1));
    });
    clock.runFor(100);
    expect(inner).toBe(0);
    clock.runFor(100);
    expect(inner).toBeGreaterThan(0);
  });
});
