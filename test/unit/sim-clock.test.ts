/** Simulated clocks: they drift, are set, stand still, and their timers follow them. */

import { describe, expect, test } from "bun:test";
import { Simulation, type SimHost } from "../support/sim-world.ts";

function setup(): { simulation: Simulation; host: SimHost } {
  const simulation = new Simulation("clock");
  return { simulation, host: simulation.addHost("10.0.0.1") };
}

describe("SimClock", () => {
  test("monotonicMs and wallMs go on with virtual time", async () => {
    const { simulation, host } = setup();
    const { clock } = host.world;
    const [monotonic, wall] = [clock.monotonicMs(), clock.wallMs()];
    await simulation.runFor(1234.5);
    expect(clock.monotonicMs() - monotonic).toBeCloseTo(1234.5, 3);
    expect(clock.wallMs() - wall).toBeGreaterThanOrEqual(1234);
    expect(clock.wallMs() - wall).toBeLessThanOrEqual(1235);
    expect(Number.isInteger(clock.wallMs())).toBe(true);
  });

  test("two hosts' monotonic clocks start apart", () => {
    const { simulation, host } = setup();
    expect(simulation.addHost("10.0.0.2").world.clock.monotonicMs()).not.toBe(host.world.clock.monotonicMs());
  });

  test.each([2000, -2000, 0])("after fires by the machine's clock, which runs %d ppm fast", async (ppm) => {
    const { simulation, host } = setup();
    const { clock } = host.world;
    host.clock.setDrift(ppm);
    const [startMs, start] = [simulation.nowMs, clock.monotonicMs()];
    let firedMs = 0;
    clock.after(10_000, () => {
      firedMs = simulation.nowMs - startMs;
      expect(clock.monotonicMs() - start).toBeGreaterThanOrEqual(10_000);
      expect(clock.monotonicMs() - start).toBeLessThan(10_000.01);
    });
    await simulation.runFor(11_000);
    expect(firedMs).toBeCloseTo(10_000 / (1 + ppm / 1e6), 1);
  });

  test("after never fires early, though the clock is slowed down meanwhile", async () => {
    const { simulation, host } = setup();
    const { clock } = host.world;
    const start = clock.monotonicMs();
    let waited = 0;
    clock.after(1000, () => (waited = clock.monotonicMs() - start));
    await simulation.runFor(500);
    host.clock.setDrift(-100_000);
    await simulation.runFor(600);
    expect(waited).toBeGreaterThanOrEqual(1000);
  });

  test("the monotonic clock never goes back, whatever is done to it", async () => {
    const { simulation, host } = setup();
    let last = host.world.clock.monotonicMs();
    for (const change of [
      () => host.clock.setDrift(900),
      () => host.clock.jumpWall(-5000),
      () => simulation.suspend(host, 50),
      () => host.clock.setDrift(-900),
      () => simulation.suspend(host, 50),
      () => simulation.suspend(host, 10),
    ]) {
      change();
      await simulation.runFor(33.3);
      expect(host.world.clock.monotonicMs()).toBeGreaterThanOrEqual(last);
      last = host.world.clock.monotonicMs();
    }
  });

  test("jumpWall moves the date and no timer", async () => {
    const { simulation, host } = setup();
    const { clock } = host.world;
    const [wall, monotonic] = [clock.wallMs(), clock.monotonicMs()];
    host.clock.jumpWall(-60_000);
    expect(clock.wallMs() - wall).toBe(-60_000);
    expect(clock.monotonicMs()).toBe(monotonic);
    let hasFired = false;
    clock.after(100, () => (hasFired = true));
    await simulation.runFor(101);
    expect(hasFired).toBe(true);
  });

  test("a suspended machine runs nothing, its monotonic clock stands still, its date goes on", async () => {
    const { simulation, host } = setup();
    const { clock } = host.world;
    let fired = 0;
    let firedMs = 0;
    clock.after(100, () => {
      fired++;
      firedMs = simulation.nowMs;
    });
    await simulation.runFor(50);
    const [monotonic, wall] = [clock.monotonicMs(), clock.wallMs()];
    simulation.suspend(host, 10_000);
    await simulation.runFor(5000);
    expect(clock.monotonicMs()).toBe(monotonic);
    await simulation.runFor(5010);
    expect(clock.monotonicMs() - monotonic).toBeCloseTo(10, 1);
    expect(clock.wallMs() - wall).toBeGreaterThanOrEqual(10_009);
    expect(fired).toBe(0);
    await simulation.runFor(100);
    expect(fired).toBe(1);
    expect(firedMs).toBeCloseTo(10_100, 1);
  });

  test("every repeats, once after a stall, until it is cancelled from within", async () => {
    const { simulation, host } = setup();
    const times: number[] = [];
    const timer = host.world.clock.every(10, () => {
      times.push(Math.round(simulation.nowMs));
      if (times.length === 5) timer.cancel();
    });
    await simulation.runFor(25);
    simulation.stall(host, 100);
    await simulation.runFor(1000);
    expect(times).toEqual([10, 20, 125, 135, 145]);
  });

  test("a cancelled timer does not fire", async () => {
    const { simulation, host } = setup();
    let fired = 0;
    const timer = host.world.clock.after(10, () => fired++);
    timer.cancel();
    timer.cancel();
    await simulation.runFor(100);
    expect(fired).toBe(0);
  });

  test("soon comes in another turn, after what has arrived, before later timers", async () => {
    const { simulation, host } = setup();
    const { clock } = host.world;
    const seen: string[] = [];
    clock.after(5, () => {
      clock.soon(() => seen.push("soon"));
      seen.push("turn");
    });
    clock.after(5, () => seen.push("arrived"));
    clock.after(5.001, () => seen.push("later"));
    await simulation.runFor(10);
    expect(seen).toEqual(["turn", "arrived", "soon", "later"]);
  });

  test("timers are late by up to the slack", async () => {
    const simulation = new Simulation(1, { timerSlackMs: 4 });
    const host = simulation.addHost("10.0.0.1");
    const late: number[] = [];
    for (let i = 0; i < 50; i++) host.world.clock.after(10, () => late.push(simulation.nowMs - 10));
    await simulation.runFor(20);
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...late)).toBeLessThanOrEqual(4.01);
    expect(Math.max(...late)).toBeGreaterThan(2);
  });

  test("a crashed process' timers never fire, those of its successor do", async () => {
    const simulation = new Simulation(1);
    const seen: number[] = [];
    const host = simulation.addHost("10.0.0.1", (world, self) => {
      const start = self.starts;
      world.clock.every(10, () => seen.push(start));
    });
    await simulation.runFor(25);
    simulation.crash(host);
    await simulation.runFor(25);
    simulation.restart(host);
    await simulation.runFor(25);
    expect(seen).toEqual([1, 1, 2, 2]);
  });
});
