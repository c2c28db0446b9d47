/** The sweep of the plugin keyspace: memory of expired keys comes back by itself, and a store with nothing to do is left alone. */
import { describe, expect, test } from "bun:test";
import { Simulation } from "../support/sim-world.ts";
import { localClient, startLocalNode } from "../support/local-node.ts";

/** A store without anything to do is looked at every 250 ms; then it is swept every 25 ms. */
const SWEPT_WITHIN_MS = 300;

async function setUp() {
  const simulation = new Simulation(1);
  const { world } = simulation.addHost("10.0.0.1");
  let wakes = 0;
  const clock = new Proxy(world.clock, {
    get(target, name) {
      if (name === "every") {
        return (periodMs: number, callback: () => void) =>
          target.every(periodMs, () => {
            if (periodMs === 25) wakes += 1;
            callback();
          });
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
  const starting = startLocalNode(
    { plugins: { raft: false, bus: false, "hash-slot-router": false } },
    { world: { ...world, clock } },
  );
  const node = await simulation.settle("the start", starting, 1000);
  const client = localClient(node);
  return {
    run: (line: string) => simulation.settle(line, client.run(line), 1000),
    pass: (ms: number) => simulation.runFor(ms),
    wakes: () => wakes,
  };
}

describe("the sweep", () => {
  test("gives back the memory of expired keys that nobody asks for", async () => {
    const { run, pass } = await setUp();
    await run("SET short 1 PX 1000");
    await run("SET long 1 PX 100000");
    await run("SET kept 1");
    await pass(900);
    expect(await run("DBSIZE")).toBe("3");
    await pass(100 + SWEPT_WITHIN_MS);
    expect(await run("DBSIZE")).toBe("2");
  });

  test("takes its short steps only while there are keys that expire", async () => {
    const { run, pass, wakes } = await setUp();
    await run("SET kept 1");
    await pass(5000);
    expect(wakes()).toBe(0);
    await run("SET short 1 PX 1000");
    await pass(1000);
    expect(wakes()).toBeGreaterThan(25);
    await pass(SWEPT_WITHIN_MS);
    const before = wakes();
    await pass(5000);
    expect(wakes() - before).toBeLessThan(3);
  });
});
