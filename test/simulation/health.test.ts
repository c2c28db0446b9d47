/**
 * Health under faults that are drawn: whatever goes wrong, and however often it comes and goes, no state flaps; who is cut off from the majority knows it; and once all
 * is healed, every node says that all is well.
 */
import { describe, expect, test } from "bun:test";
import { CHECKS } from "../../src/protocol/health/catalog.ts";
import { STATES } from "../../src/protocol/health/types.ts";
import { type HealthWorld, startShard } from "../support/health-world.ts";

const EPISODES = 6;
/** The default of the setting `clearMs`. */
const CLEAR_MS = 5000;
/** So long a node may believe in a leader that it has lost: an election's time, what has to last before it is told, and two looks. */
const KNOWS_MS = 6000;
/** Clocks of machines run apart by 0.2 %. */
const DRIFT = 0.995;

/** One fault, for a while. */
async function fault(world: HealthWorld, kind: string, victim: string, forMs: number): Promise<void> {
  const { simulation } = world;
  const host = world.hostOf(victim);
  const others = world.names.filter((name) => name !== victim).map((name) => world.hostOf(name));
  switch (kind) {
    case "crash":
      world.crash(victim);
      await simulation.runFor(forMs);
      simulation.restart(host);
      return;
    case "stall":
      simulation.stall(host, forMs / 4);
      await simulation.runFor(forMs);
      return;
    case "deaf":
    case "dumb": {
      const cut = kind === "deaf" ? simulation.cutOneWay(others, [host]) : simulation.cutOneWay([host], others);
      await simulation.runFor(forMs);
      cut.heal();
      return;
    }
    case "flaps":
      for (let at = 0; at < 10; at += 1) {
        const cut = simulation.isolate([host]);
        await simulation.runFor(forMs / 20);
        cut.heal();
        await simulation.runFor(forMs / 20);
      }
      return;
    default: {
      const cut = simulation.isolate([host]);
      await simulation.runFor(forMs);
      if (forMs > KNOWS_MS) expect(world.check(victim, "quorum").state, `seed ${simulation.seed}`).toBe("critical");
      cut.heal();
    }
  }
}

/** A state lasts as long as it promises to. */
function expectNoFlapping(world: HealthWorld): void {
  for (const name of world.names) {
    const changes = world.changesOf(name);
    for (const [at, change] of changes.entries()) {
      const next = changes.slice(at + 1).find((each) => each.name === change.name);
      const isWorse = STATES.indexOf(change.state) > STATES.indexOf(change.previous);
      // A node that was killed in between begins anew.
      if (next === undefined || !isWorse || next.previous !== change.state || next.state !== "ok") continue;
      const leastMs = Math.max(CLEAR_MS, CHECKS[change.name].clearMs ?? 0) * DRIFT;
      expect(next.atMs - change.atMs, `seed ${world.simulation.seed}: ${change.name} on ${name}`).toBeGreaterThan(
        leastMs,
      );
    }
  }
}

describe("health, with faults that are drawn", () => {
  for (const seed of [1, 2, 3]) {
    test(`seed ${seed}`, async () => {
      const world = await startShard({ seed });
      const random = world.simulation.random.fork("faults");
      for (let episode = 0; episode < EPISODES; episode += 1) {
        const kind = random.pick(["crash", "stall", "deaf", "dumb", "flaps", "cut"]);
        await fault(world, kind, random.pick(["a", "b", "c"]), random.between(500, 15_000));
        // Another one may be lost only when all copies are there again.
        await world.well();
      }
      expectNoFlapping(world);
      const last = new Map<string, string>();
      for (const name of world.names)
        for (const each of world.changesOf(name)) last.set(`${name} ${each.name}`, each.state);
      expect(new Set(last.values()), `seed ${seed}`).toEqual(new Set(["ok"]));
    });
  }
});
