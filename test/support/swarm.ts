/**
 * What goes wrong in a run, drawn from its seed.
 *
 * Swarm style: each kind of fault is off in about half of the runs, and as strong as the seed says in the others. Faults
 * hide one another (a node that crashes each second never lives to see a slow disk), so that many different mixes find more
 * than one mix of everything.
 *
 * All options are plain numbers in one flat record: they are printed first, a run can be repeated with one of them changed,
 * and 0 always means "off".
 */

import type { DiskSettings } from "./sim-disk.ts";
import type { NetworkSettings } from "./sim-path.ts";
import { SimRandom } from "./sim-random.ts";
import type { SimulationOptions } from "./sim-world.ts";

/** All that may go wrong. Durations and periods are averages; a period of 0 means never. */
export interface SwarmOptions {
  readonly latencyMinMs: number;
  readonly latencyMeanMs: number;
  /** How likely a packet takes much longer, and how much. */
  readonly spikeChance: number;
  readonly spikeMeanMs: number;
  readonly datagramLossChance: number;
  readonly datagramDuplicateChance: number;
  readonly streamSplitChance: number;
  readonly streamShortWriteChance: number;
  readonly sendBufferBytes: number;
  readonly connectRefuseChance: number;
  readonly connectHangChance: number;
  /** One open stream is broken off. */
  readonly resetEveryMs: number;
  /** Some hosts are cut off from the others; how likely in one direction only. */
  readonly partitionEveryMs: number;
  readonly partitionForMs: number;
  readonly partitionOneWayChance: number;
  /** Some paths take much longer. */
  readonly clogEveryMs: number;
  readonly clogForMs: number;
  readonly clogExtraMs: number;
  /** A node goes down; how likely because its power goes, else its process is killed. */
  readonly crashEveryMs: number;
  readonly crashDownForMs: number;
  readonly crashPowerChance: number;
  /** A node's event loop stands still; how likely in the middle of an event. */
  readonly stallEveryMs: number;
  readonly stallForMs: number;
  readonly stallMidwayChance: number;
  /** A machine is suspended. */
  readonly suspendEveryMs: number;
  readonly suspendForMs: number;
  /** Clocks run fast or slow by up to this, in parts per million. */
  readonly driftPpm: number;
  /** Somebody sets a machine's date, by up to this. */
  readonly wallJumpEveryMs: number;
  readonly wallJumpMs: number;
  readonly timerSlackMs: number;
  readonly diskLatencyMeanMs: number;
  /** A disk is so many times slower for a while. */
  readonly diskSlowEveryMs: number;
  readonly diskSlowForMs: number;
  readonly diskSlowFactor: number;
  readonly diskTornSectorChance: number;
}

/** A world in which nothing goes wrong. */
export const CALM: SwarmOptions = {
  latencyMinMs: 0.1,
  latencyMeanMs: 0.1,
  spikeChance: 0,
  spikeMeanMs: 0,
  datagramLossChance: 0,
  datagramDuplicateChance: 0,
  streamSplitChance: 0,
  streamShortWriteChance: 0,
  sendBufferBytes: 262_144,
  connectRefuseChance: 0,
  connectHangChance: 0,
  resetEveryMs: 0,
  partitionEveryMs: 0,
  partitionForMs: 0,
  partitionOneWayChance: 0,
  clogEveryMs: 0,
  clogForMs: 0,
  clogExtraMs: 0,
  crashEveryMs: 0,
  crashDownForMs: 0,
  crashPowerChance: 0,
  stallEveryMs: 0,
  stallForMs: 0,
  stallMidwayChance: 0,
  suspendEveryMs: 0,
  suspendForMs: 0,
  driftPpm: 0,
  wallJumpEveryMs: 0,
  wallJumpMs: 0,
  timerSlackMs: 0,
  diskLatencyMeanMs: 0.2,
  diskSlowEveryMs: 0,
  diskSlowForMs: 0,
  diskSlowFactor: 1,
  diskTornSectorChance: 0,
};

/**
 * Draws what goes wrong.
 *
 * Each fault draws from a stream of its own: that one more is added leaves the others of a seed as they are.
 *
 * @param seed The run's seed.
 */
export function drawSwarm(seed: number | string): SwarmOptions {
  const root = new SimRandom(seed).fork("swarm");
  /** Draws the options of one kind of fault, or leaves them calm. */
  const maybe = (kind: string, draw: (random: SimRandom) => Partial<SwarmOptions>): Partial<SwarmOptions> => {
    const random = root.fork(kind);
    return random.chance(0.5) ? draw(random) : {};
  };
  const drawn = {
    ...CALM,
    // From one rack to two continents, nearer ones more often.
    ...maybe("latency", (random) => ({
      latencyMinMs: random.pick([0.05, 0.2, 1, 5, 20]),
      latencyMeanMs: random.pick([0.05, 0.5, 2, 10]),
    })),
    ...maybe("spikes", (random) => ({
      spikeChance: random.pick([0.001, 0.01, 0.05]),
      spikeMeanMs: random.pick([5, 50, 300]),
    })),
    ...maybe("datagram loss", (random) => ({ datagramLossChance: random.pick([0.001, 0.02, 0.1, 0.3]) })),
    ...maybe("datagram duplicates", (random) => ({ datagramDuplicateChance: random.pick([0.01, 0.1, 0.4]) })),
    ...maybe("splits", (random) => ({ streamSplitChance: random.pick([0.05, 0.3, 0.9]) })),
    ...maybe("full buffers", (random) => ({
      streamShortWriteChance: random.pick([0.01, 0.2]),
      sendBufferBytes: random.pick([512, 4096, 65_536]),
    })),
    ...maybe("refusals", (random) => ({ connectRefuseChance: random.pick([0.02, 0.3]) })),
    ...maybe("hanging connects", (random) => ({ connectHangChance: random.pick([0.01, 0.1]) })),
    ...maybe("resets", (random) => ({ resetEveryMs: random.pick([200, 1000, 10_000]) })),
    ...maybe("partitions", (random) => ({
      partitionEveryMs: random.pick([2000, 5000, 15_000]),
      partitionForMs: random.pick([200, 1500, 6000]),
      partitionOneWayChance: random.pick([0, 0.3, 1]),
    })),
    ...maybe("clogs", (random) => ({
      clogEveryMs: random.pick([1000, 5000]),
      clogForMs: random.pick([300, 3000]),
      clogExtraMs: random.pick([20, 200, 2000]),
    })),
    ...maybe("crashes", (random) => ({
      crashEveryMs: random.pick([1500, 5000, 20_000]),
      crashDownForMs: random.pick([50, 1000, 5000]),
      crashPowerChance: random.pick([0, 0.5, 1]),
    })),
    ...maybe("stalls", (random) => ({
      stallEveryMs: random.pick([500, 3000]),
      stallForMs: random.pick([20, 300, 2500]),
      stallMidwayChance: random.pick([0, 0.5, 1]),
    })),
    ...maybe("suspensions", (random) => ({ suspendEveryMs: 10_000, suspendForMs: random.pick([500, 5000]) })),
    // A quartz is good to 100 ppm; 2000 is beyond what a time service may slew a clock by (500).
    ...maybe("drift", (random) => ({ driftPpm: random.pick([50, 500, 2000]) })),
    ...maybe("wall jumps", (random) => ({
      wallJumpEveryMs: random.pick([1000, 10_000]),
      wallJumpMs: random.pick([100, 5000, 3_600_000]),
    })),
    ...maybe("late timers", (random) => ({ timerSlackMs: random.pick([1, 4, 15]) })),
    ...maybe("disk latency", (random) => ({ diskLatencyMeanMs: random.pick([0.05, 2, 10]) })),
    ...maybe("slow disks", (random) => ({
      diskSlowEveryMs: random.pick([2000, 10_000]),
      diskSlowForMs: random.pick([200, 3000]),
      diskSlowFactor: random.pick([10, 200]),
    })),
    ...maybe("torn sectors", (random) => ({ diskTornSectorChance: random.pick([0.1, 0.5]) })),
  };
  return isTooNarrow(drawn) ? { ...drawn, sendBufferBytes: 4096 } : drawn;
}

/** A stream's pieces keep their order, so each waits for the slowest before it: this one would carry less than heartbeats alone need. */
function isTooNarrow({ sendBufferBytes, streamSplitChance, spikeChance, spikeMeanMs }: SwarmOptions): boolean {
  return sendBufferBytes < 4096 && streamSplitChance >= 0.9 && spikeChance >= 0.05 && spikeMeanMs >= 300;
}

/** Options as lines, in a fixed order, only what differs from `CALM`; `(calm)` if nothing does. */
export function formatSwarm(options: SwarmOptions): string {
  const lines: string[] = [];
  for (const name of Object.keys(CALM) as (keyof SwarmOptions)[]) {
    if (options[name] !== CALM[name]) lines.push(`${name.padEnd(24)} ${options[name]}`);
  }
  return lines.length === 0 ? "(calm)" : lines.join("\n");
}

/** The network of these options. */
export function swarmNetwork(options: SwarmOptions): Partial<NetworkSettings> {
  return {
    latencyMinMs: options.latencyMinMs,
    latencyMeanMs: options.latencyMeanMs,
    spikeChance: options.spikeChance,
    spikeMeanMs: options.spikeMeanMs,
    lossChance: options.datagramLossChance,
    duplicateChance: options.datagramDuplicateChance,
    splitChance: options.streamSplitChance,
    shortWriteChance: options.streamShortWriteChance,
    sendBufferBytes: options.sendBufferBytes,
    refuseChance: options.connectRefuseChance,
    hangChance: options.connectHangChance,
  };
}

/** What a `Simulation` with these options is made with. The faults that come and go are `FaultInjector`'s. */
export function swarmSimulation(options: SwarmOptions): Partial<SimulationOptions> {
  const disk: Partial<DiskSettings> = {
    latencyMeanMs: options.diskLatencyMeanMs,
    tornSectorChance: options.diskTornSectorChance,
  };
  return {
    network: swarmNetwork(options),
    disk,
    driftPpm: options.driftPpm,
    wallErrorMs: options.wallJumpMs,
    timerSlackMs: options.timerSlackMs,
  };
}
