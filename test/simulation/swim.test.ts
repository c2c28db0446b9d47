/** Membership in many kinds of weather, and what it promises in figures. Machines alone: see `test/support/swim-world.ts`. */
import { describe, expect, test } from "bun:test";
import { MEMBERSHIP_PRESETS, leastSuspicionMs } from "../../src/protocol/membership/options.ts";
import { SwimWorld } from "../support/swim-world.ts";
import { makeRandom } from "../support/test-random.ts";
import { runSwim } from "./swim-run.ts";

/** Each found a bug once. */
const KEPT: readonly (readonly [seed: number, what: string])[] = [
  [
    9,
    "a member that started anew had compared nothing; a death that was found during a partition was believed after its end",
  ],
  [39, "a suspect that nobody had told of it was given up right after a partition"],
  [1178, "the news that a member left had missed one, and nobody put it right"],
  [5618, "a stop that ended just after a probe's deadline made the probe fail"],
  [10_569, "the news that a suspect is there missed the one node that does not reach it"],
];

function expectAlive(world: SwimWorld): string[] {
  const wrong: string[] = [];
  world.heard = ({ atMs, observer, about, state, isThere, reason }) => {
    if (state === "down" && isThere) wrong.push(`${atMs}: ${observer.index} holds ${about.index} for down: ${reason}`);
  };
  return wrong;
}

describe("membership", () => {
  test("keeps its promises in the weather of fresh seeds", () => {
    const random = makeRandom("swim");
    const first = random.below(1_000_000_000);
    let suspicions = 0;
    let deaths = 0;
    for (let seed = first; seed < first + 30; seed += 1) {
      try {
        const result = runSwim(seed);
        suspicions += result.suspicions;
        deaths += result.deaths;
      } catch (thrown) {
        throw new Error(`seed ${seed}; ${random.repeat}`, { cause: thrown });
      }
    }
    // The runs are worth something: they did things.
    expect(suspicions).toBeGreaterThan(1000);
    expect(deaths).toBeGreaterThan(40);
  }, 60_000);

  test.each(KEPT)("seed %d: %s", (seed) => {
    expect(runSwim(seed).deaths).toBeGreaterThan(0);
  });

  test.each([
    [5, 300],
    [20, 300],
  ])("holds nobody of %d for down with %d in a thousand lost, for three minutes", (count, loss) => {
    const world = new SwimWorld({ seed: count, count, loss });
    const wrong = expectAlive(world);
    world.run(180_000);
    expect(wrong).toEqual([]);
    world.loss = 0;
    expect(world.runUntil(() => world.isSettled, 20_000)).toBeNumber();
  });

  test("holds nobody for down that stands still for less than a suspect has, and nobody that it was judging", () => {
    const world = new SwimWorld({ seed: 4, count: 20 });
    const wrong = expectAlive(world);
    const limitMs = leastSuspicionMs(world.options, 20) / 2;
    for (let round = 0; round < 100; round += 1) {
      const host = world.random.pick(world.hosts);
      if (host !== undefined && world.isUp(host)) world.stall(host, world.random.between(100, limitMs));
      world.run(1000);
    }
    expect(wrong).toEqual([]);
    const [sleeper] = world.hosts;
    if (sleeper === undefined) throw new Error("there are hosts");
    // However long it stands still itself.
    const judged: string[] = [];
    world.heard = ({ observer, about, state }) => {
      if (observer === sleeper && state !== "alive") judged.push(`${about.index} ${state}`);
    };
    world.stall(sleeper, 60_000);
    world.run(70_000);
    expect(judged).toEqual([]);
    expect(world.isSettled).toBe(true);
  });

  test.each([
    [3, 3000],
    [20, 5500],
    [100, 7000],
  ])("of %d members a death is known to all within %d ms, and each says why", (count, boundMs) => {
    const world = new SwimWorld({ seed: 3, count });
    world.run(5000);
    for (let round = 0; round < 10; round += 1) {
      const host = world.random.pick(world.running);
      if (host === undefined) throw new Error("somebody runs");
      world.kill(host);
      expect(world.runUntil(() => world.isSettled, boundMs)).toBeNumber();
      for (const { machine } of world.running) {
        const member = machine?.members.get(host.id);
        expect(member?.reason).toMatch(/did not answer|told so/);
      }
      world.restart(host);
      expect(world.runUntil(() => world.isSettled, 2000)).toBeNumber();
    }
  });

  test("five of twenty that die at once are known to all within three seconds, where one node's links to them break", () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      const world = new SwimWorld({ seed, count: 20 });
      world.run(5000);
      const [leader, ...others] = world.random.shuffle(world.hosts);
      if (leader === undefined) throw new Error("there are hosts");
      const dead = others.slice(0, 5);
      for (const host of dead) world.kill(host);
      for (const host of dead) world.linkLost(leader, host);
      expect(
        world.runUntil(() => world.isSettled, 3000),
        `seed ${seed}`,
      ).toBeNumber();
    }
  });

  test("both sides of a partition find each other again within ten seconds of its end", () => {
    for (const [seed, inside] of [
      [1, 1],
      [2, 10],
      [3, 25],
    ] as const) {
      const world = new SwimWorld({ seed, count: 50 });
      world.run(3000);
      world.partition((host) => (host.index < inside ? 1 : 0));
      world.run(60_000);
      const [a, b] = [world.hosts[0], world.hosts[49]];
      if (a === undefined || b === undefined) throw new Error("there are hosts");
      expect(world.stateOf(b, a)).toBe("down");
      world.partition(() => 0);
      expect(
        world.runUntil(() => world.isSettled, 10_000),
        `${inside} of 50`,
      ).toBeNumber();
    }
  });

  test("a storm of joins and leaves ends in what is true, and every message fits", () => {
    const world = new SwimWorld({ seed: 6, count: 20, loss: 20 });
    const wrong = expectAlive(world);
    for (let round = 0; round < 60; round += 1) {
      world.join();
      world.run(100);
      const leaves = world.random.pick(world.running);
      if (leaves !== undefined && round % 2 === 0) world.leave(leaves);
      const gone = world.hosts.find((host) => host.hasLeft);
      if (gone !== undefined && round % 4 === 0) world.forget(gone);
    }
    expect(wrong).toEqual([]);
    expect(world.runUntil(() => world.isSettled, 15_000)).toBeNumber();
    expect(world.traffic.largestDatagram).toBeWithin(200, 1321);
  });

  test("a new version of the map is known to all of 200 within two seconds", () => {
    const world = new SwimWorld({ seed: 7, count: 200, isOnWire: false });
    world.run(30_000);
    const [first] = world.hosts;
    if (first === undefined) throw new Error("there are hosts");
    const version = world.changeMap(first);
    expect(world.runUntil(() => world.running.every((host) => host.mapVersion === version), 2000)).toBeNumber();
  });

  test("what an idle member says does not grow with the cluster", () => {
    const bytes = [10, 40, 160].map((count) => {
      const world = new SwimWorld({ seed: 8, count });
      world.run(20_000);
      const before = world.traffic.datagramBytes + world.traffic.exchangeBytes;
      world.run(30_000);
      return (world.traffic.datagramBytes + world.traffic.exchangeBytes - before) / count / 30;
    });
    expect(Math.max(...bytes) / Math.min(...bytes)).toBeLessThan(1.1);
  });

  test.each(["local", "lan", "wan"] as const)("preset %s leaves others time to try within a period", (preset) => {
    const options = MEMBERSHIP_PRESETS[preset];
    expect(2 * options.probeTimeoutMs).toBeLessThanOrEqual(options.probeMs);
    // A suspicion and its answer reach all within it, at the least.
    expect(options.suspicionMultiplier).toBeGreaterThanOrEqual(2);
  });
});
