/** The simulated world as a whole: repeatable on any engine, loud when something is wrong, and broken on purpose. */

import { describe, expect, test } from "bun:test";
import { FaultInjector } from "../support/fault-injector.ts";
import { Simulation, SimulationError, type SimHost } from "../support/sim-world.ts";
import { CALM, drawSwarm, formatSwarm, swarmSimulation, type SwarmOptions } from "../support/swarm.ts";
import { runToy, ToyCluster } from "../support/toy-cluster.ts";

const A = "10.0.0.1";
const B = "10.0.0.2";

/** Everything at once. */
const HARSH: SwarmOptions = {
  ...CALM,
  latencyMeanMs: 3,
  spikeChance: 0.02,
  spikeMeanMs: 100,
  datagramLossChance: 0.1,
  datagramDuplicateChance: 0.1,
  streamSplitChance: 0.3,
  streamShortWriteChance: 0.1,
  sendBufferBytes: 8192,
  connectRefuseChance: 0.1,
  connectHangChance: 0.05,
  resetEveryMs: 1000,
  partitionEveryMs: 1500,
  partitionForMs: 800,
  partitionOneWayChance: 0.5,
  clogEveryMs: 2000,
  clogForMs: 500,
  clogExtraMs: 200,
  crashEveryMs: 1000,
  crashDownForMs: 300,
  crashPowerChance: 0.5,
  stallEveryMs: 800,
  stallForMs: 200,
  stallMidwayChance: 0.5,
  suspendEveryMs: 5000,
  suspendForMs: 500,
  driftPpm: 2000,
  wallJumpEveryMs: 1000,
  wallJumpMs: 60_000,
  timerSlackMs: 4,
  diskLatencyMeanMs: 2,
  diskSlowEveryMs: 2000,
  diskSlowForMs: 500,
  diskSlowFactor: 50,
  diskTornSectorChance: 0.5,
};

async function failureOf(run: Promise<unknown>): Promise<SimulationError> {
  const error: unknown = await run.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof SimulationError)) throw new Error(`expected a SimulationError, got ${String(error)}`);
  return error;
}

describe("a seed", () => {
  test("gives the same trace on Bun, again on Bun, and on Deno", async () => {
    const seeds = ["1", "2", "3", "5", "8", "all at once"];
    const lines: string[] = [];
    for (const seed of seeds) {
      const first = await runToy(seed);
      const second = await runToy(seed);
      expect(second).toEqual(first);
      lines.push(`${seed} ${first.traceHash} ${first.events} ${first.faults}`);
    }
    expect(new Set(lines.map((line) => line.split(" ").at(-3))).size).toBeGreaterThan(1);
    const toy = new URL("../support/toy-cluster.ts", import.meta.url).pathname;
    const deno = new URL("../../node_modules/deno/bin.cjs", import.meta.url).pathname;
    const child = Bun.spawn([process.execPath, deno, "run", "--no-check", toy, ...seeds], { stderr: "pipe" });
    const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    expect({ code: await child.exited, errors }).toMatchObject({ code: 0 });
    expect(output.trim().split("\n")).toEqual(lines);
  });

  test("decides the trace: another one gives another", async () => {
    const hashes = new Set<string>();
    for (let seed = 0; seed < 5; seed++) hashes.add((await new ToyCluster(seed, CALM).run(300, 0)).traceHash);
    expect(hashes.size).toBe(5);
  });
});

describe("the toy cluster", () => {
  test.each([1, 2, 3, 4, 5, 6])("keeps its promises under all faults at once, seed %d", async (seed) => {
    const result = await new ToyCluster(seed, HARSH).run(10_000, 2000);
    expect(result.starts).toBeGreaterThan(6);
    expect(result.echoedBytes).toBeGreaterThan(1000);
    expect(result.gossipReceived).toBeGreaterThan(100);
    expect(result.recordsSynced).toBeGreaterThan(20);
    for (const kind of ["crash", "partition", "clog", "stall", "reset", "slow disk", "suspension", "date change"]) {
      expect(result.faults).toContain(kind);
    }
  });

  test("gets further without faults", async () => {
    const calm = await new ToyCluster(1, CALM).run(10_000, 2000);
    const harsh = await new ToyCluster(1, HARSH).run(10_000, 2000);
    expect(calm.starts).toBe(4);
    expect(calm.faults).toBe("no faults");
    expect(calm.echoedBytes).toBeGreaterThan(harsh.echoedBytes);
    expect(calm.recordsSynced).toBeGreaterThan(harsh.recordsSynced);
  });
});

describe("Simulation", () => {
  test("runUntil that waits in vain says who waits for what, what happened, and the seed", async () => {
    const simulation = new Simulation("a seed");
    const handler = { data: () => undefined, writable: () => undefined, closed: () => undefined };
    simulation.addHost(A, (world) => world.network.listen({ host: A, port: 80, accept: () => handler }));
    const b = simulation.addHost(B, (world) => {
      world.clock.after(60_000, () => undefined);
      world.log.info("client ready", { attempt: 1 });
    });
    await simulation.runFor(10);
    simulation.partition([A], [B]);
    b.world.network.connect({ host: A, port: 80, handler });
    simulation.explain(() => "client 1 waits for GET a");
    const { message } = await failureOf(simulation.runUntil("an answer", () => false, 5000));
    expect(message).toStartWith("Waited 5000 ms of virtual time for an answer, in vain\nseed a seed, at 5010.000 ms");
    expect(message).toContain(`${B}: up; to come: 1 connect times out, 1 timer`);
    expect(message).toContain(`stream ${B}:32768 -> ${A}:80 is being opened since 10.000 ms`);
    expect(message).toContain(`cut: ${A} -> ${B}, ${B} -> ${A}`);
    expect(message).toContain("client 1 waits for GET a");
    expect(message).toContain(`0.100  ${B}        info  client ready                 attempt=1`);
  });

  test("a run that passes its bound of events fails, and names the busy one", async () => {
    const simulation = new Simulation(1, { maxEvents: 1000 });
    simulation.addHost(A, (world) => {
      const spin = (): void => world.clock.soon(spin);
      spin();
    });
    const { message } = await failureOf(simulation.runFor(100));
    expect(message).toStartWith("Gave up after 1000 events");
    expect(message).toContain(`${A}: up; to come: 1 soon`);
  });

  test.each([
    [
      "a callback",
      (host: SimHost) => void host.world.clock.after(5, () => fail()),
      `Uncaught on ${A} (timer): Error: broken`,
    ],
    ["a program", (host: SimHost) => void host, `Uncaught on ${A} (program starts): Error: broken`],
  ])("what %s throws ends the run", async (where, prepare, message) => {
    const simulation = new Simulation(1);
    const host = simulation.addHost(A, where === "a program" ? fail : () => undefined);
    prepare(host);
    const error = await failureOf(simulation.runFor(100));
    expect(error.message).toStartWith(message);
    expect(error.cause).toBeInstanceOf(Error);
    // It stays failed.
    expect(await failureOf(simulation.runFor(1))).toBe(error);
  });

  test("what an async program rejects with ends the run", async () => {
    const simulation = new Simulation(1);
    simulation.addHost(A, async (world) => {
      await world.disk.read("x");
      fail();
    });
    expect((await failureOf(simulation.runFor(100))).message).toStartWith(`Uncaught on ${A} (program): Error: broken`);
  });

  test("onUncaught decides what becomes of a host", async () => {
    const simulation: Simulation = new Simulation(1, { onUncaught: (host) => simulation.crash(host, "process") });
    const host = simulation.addHost(A, fail);
    await simulation.runFor(100);
    expect(host.isUp).toBe(false);
  });

  test("check is asked while the simulation runs, and ends it with its name", async () => {
    const simulation = new Simulation(1);
    let count = 0;
    simulation.addHost(A, (world) => world.clock.every(1, () => count++));
    simulation.check("the count stays small", () => {
      if (count > 10) throw new Error(`it is ${count}`);
    });
    const { message } = await failureOf(simulation.runFor(100));
    expect(message).toStartWith("Broken: the count stays small: Error: it is 11");
  });

  test("step runs one event", async () => {
    const simulation = new Simulation(1);
    simulation.at(5, "test", () => undefined);
    expect(await simulation.step()).toBe(true);
    expect(simulation.nowMs).toBe(5);
    expect(await simulation.step()).toBe(false);
  });

  test("settle gives what a promise gives, and what it throws", async () => {
    const simulation = new Simulation(1);
    const host = simulation.addHost(A);
    expect(await simulation.settle("a list", host.world.disk.list(""), 100)).toEqual([]);
    const sync = simulation.settle("a sync", host.world.disk.sync("none"), 100);
    expect(String(await sync.catch((error: unknown) => error))).toContain("there is no such file");
    const never = new Promise<void>(() => undefined);
    expect((await failureOf(simulation.settle("the end", never, 100))).message).toContain("for the end, in vain");
  });

  test("observers hear of starts and crashes", async () => {
    const simulation = new Simulation(1);
    const seen: string[] = [];
    simulation.observe((event) => void seen.push(`${event.type} ${event.host.name} ${event.timeMs}`));
    simulation.addHost(A);
    await simulation.runFor(10);
    simulation.crash(A, "power");
    simulation.crash(A, "power");
    simulation.restart(A);
    expect(seen).toEqual([`started ${A} 0`, `crashed ${A} 10`, `started ${A} 10`]);
  });

  test("a dead process' world does nothing", async () => {
    const simulation = new Simulation(1);
    const host = simulation.addHost(A);
    const { world } = host;
    simulation.crash(host);
    const calls: string[] = [];
    const note = (what: string) => (): void => void calls.push(what);
    world.clock.after(1, note("after"));
    world.clock.every(1, note("every"));
    world.clock.soon(note("soon"));
    const before = simulation.trace.count;
    world.log.error("a ghost");
    expect(simulation.trace.count).toBe(before);
    void world.network.listen({ host: A, port: 80, accept: () => handler }).then(note("listen"));
    const handler = { opened: note("opened"), data: note("data"), writable: note("writable"), closed: note("closed") };
    world.network.connect({ host: A, port: 80, handler });
    simulation.restart(host);
    await simulation.settle(
      "a port that is free",
      host.world.network.listen({ host: A, port: 80, accept: () => handler }),
      10,
    );
    await simulation.runFor(1000);
    expect(calls).toEqual([]);
  });

  test("sink gets every line, in columns", async () => {
    const lines: string[] = [];
    const simulation = new Simulation(1, { sink: (line) => void lines.push(line) });
    simulation.addHost(A, (world) => world.log.warn("disk full", { path: "a b", left: 0, last: undefined }));
    await simulation.runFor(1);
    expect(lines).toEqual([
      "         0.000  10.0.0.1        .     host started",
      "         0.100  10.0.0.1        .     program starts",
      '         0.100  10.0.0.1        warn  disk full                    path="a b" left=0',
    ]);
  });
});

describe("swarm options", () => {
  test("are the same for a seed, and leave each kind of fault out in many runs", () => {
    expect(drawSwarm(5)).toEqual(drawSwarm(5));
    const drawn = Array.from({ length: 200 }, (_, seed) => drawSwarm(seed));
    for (const name of Object.keys(CALM) as (keyof SwarmOptions)[]) {
      const off = drawn.filter((options) => options[name] === CALM[name]).length;
      expect({ name, off: off > 40, on: off < 180 }).toEqual({ name, off: true, on: true });
    }
  });

  test("formatSwarm shows what differs from a calm world", () => {
    expect(formatSwarm(CALM)).toBe("(calm)");
    expect(formatSwarm({ ...CALM, crashEveryMs: 5000, datagramLossChance: 0.1 })).toBe(
      "datagramLossChance       0.1\ncrashEveryMs             5000",
    );
  });
});

describe("FaultInjector", () => {
  test("stopAndHeal ends all faults: hosts up, paths open, nothing lost, disks fast", async () => {
    for (let seed = 0; seed < 10; seed++) {
      const { simulation, injector, nodes } = new ToyCluster(seed, HARSH);
      injector.start();
      await simulation.runFor(5000);
      injector.stopAndHeal();
      const faults = injector.summary();
      expect(nodes.every((node) => node.isUp && node.disk.slowness === 1)).toBe(true);
      expect(simulation.network.cutPaths()).toEqual([]);
      expect(simulation.network.settings).toMatchObject({ lossChance: 0, hangChance: 0, refuseChance: 0 });
      await simulation.runFor(5000);
      expect(injector.summary()).toBe(faults);
      expect(nodes.every((node) => node.isUp)).toBe(true);
      expect(simulation.network.cutPaths()).toEqual([]);
    }
  });

  test("keeps to maxDown and mayCrash, and leaves bystanders alive", async () => {
    const swarm = { ...CALM, crashEveryMs: 50, crashDownForMs: 200, crashPowerChance: 0.5 };
    const simulation = new Simulation(3, swarmSimulation(swarm));
    const names = [1, 2, 3, 4, 5].map((number) => `10.0.0.${number}`);
    for (const name of [...names, "10.0.1.1"]) simulation.addHost(name, () => undefined);
    const injector = new FaultInjector(simulation, swarm, {
      hosts: names,
      bystanders: ["10.0.1.1"],
      maxDown: 2,
      mayCrash: (host) => host.name !== A,
    });
    injector.start();
    let mostDown = 0;
    simulation.check("no more are down than allowed", () => {
      const down = simulation.hosts.filter((host) => !host.isUp);
      mostDown = Math.max(mostDown, down.length);
      expect(down.some((host) => host.name === A || host.name === "10.0.1.1")).toBe(false);
    });
    await simulation.runFor(20_000);
    expect(mostDown).toBe(2);
    expect(simulation.hosts.filter((host) => host.starts > 1)).toHaveLength(4);
  });

  test("turning one kind of fault off leaves the others where they are", async () => {
    const stallsOf = async (swarm: SwarmOptions): Promise<string[]> => {
      const lines: string[] = [];
      const sink = (line: string): void => {
        if (line.includes(" stalled ") && !line.includes("midway")) lines.push(line);
      };
      await new ToyCluster(4, { ...swarm, stallMidwayChance: 0 }, { sink }).run(5000, 0);
      return lines;
    };
    const swarm = { ...CALM, stallEveryMs: 300, stallForMs: 50, resetEveryMs: 200, clogEveryMs: 500, clogForMs: 100 };
    const both = await stallsOf(swarm);
    expect(both.length).toBeGreaterThan(5);
    expect(await stallsOf({ ...swarm, resetEveryMs: 0, clogEveryMs: 0 })).toEqual(both);
  });
});

function fail(): never {
  throw new Error("broken");
}
