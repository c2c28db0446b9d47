/**
 * The way from one simulated machine to another: how long it takes, and whether it is cut.
 *
 * Each direction is a path of its own, so that a cut or a clog may be in one direction alone. Each draws from a stream of
 * chance of its own: traffic elsewhere does not change what happens here.
 */

import type { SimRandom } from "./sim-random.ts";
import type { Pipe } from "./sim-stream.ts";

/** The time to the machine itself: shortest, and the range above that. In microseconds, as on any Linux machine. */
const LOOPBACK_MIN_US = 20;
const LOOPBACK_RANGE_US = 30;

/** How the network behaves. May be changed while the simulation runs. */
export interface NetworkSettings {
  /** The shortest way from machine to machine, in milliseconds. */
  latencyMinMs: number;
  /** What chance adds to that, on average, in milliseconds. */
  latencyMeanMs: number;
  /** How likely a packet takes much longer (which also brings datagrams out of order). */
  spikeChance: number;
  /** How much longer, on average, in milliseconds. */
  spikeMeanMs: number;
  /** How likely a datagram (or a fragment of a large one) is lost. */
  lossChance: number;
  /** How likely a datagram comes twice. */
  duplicateChance: number;
  /** How likely bytes that came together are handed over in two pieces. */
  splitChance: number;
  /** How likely a stream takes less of a write than it has room for. */
  shortWriteChance: number;
  /** Bytes that a stream takes before the other side has read any. */
  sendBufferBytes: number;
  /** How long a kibibyte takes on a stream, in microseconds. 8 is a gigabit a second. */
  microsecondsPerKib: number;
  /** How likely the other side refuses a stream for no reason. */
  refuseChance: number;
  /** How likely a stream that is being opened hangs until it times out. */
  hangChance: number;
  /** How long opening a stream is tried, in milliseconds. */
  connectTimeoutMs: number;
  /** How long an open stream lives while nothing that it sends gets through, in milliseconds. */
  streamTimeoutMs: number;
  /** After a cut, streams go on this much later at most, in milliseconds: the pause between two retransmissions. */
  retransmitMaxMs: number;
}

export const DEFAULT_NETWORK: Readonly<NetworkSettings> = {
  latencyMinMs: 0.1,
  latencyMeanMs: 0.1,
  spikeChance: 0,
  spikeMeanMs: 0,
  lossChance: 0,
  duplicateChance: 0,
  splitChance: 0,
  shortWriteChance: 0,
  sendBufferBytes: 256 * 1024,
  microsecondsPerKib: 8,
  refuseChance: 0,
  hangChance: 0,
  // Linux gives up after about two minutes, and on an open stream after a quarter of an hour.
  connectTimeoutMs: 127_000,
  streamTimeoutMs: 900_000,
  retransmitMaxMs: 3000,
};

/** One direction between two machines. */
export class Path {
  readonly from: string;
  readonly to: string;
  readonly settings: NetworkSettings;
  readonly random: SimRandom;
  /** What streams send along here. */
  readonly pipes = new Set<Pipe>();
  /** How many cuts lie across it: two partitions may overlap. */
  cuts = 0;
  /** What clogs add to the time at present, in microseconds. */
  clogUs = 0;

  constructor(from: string, to: string, settings: NetworkSettings, random: SimRandom) {
    this.from = from;
    this.to = to;
    this.settings = settings;
    this.random = random;
  }

  get isCut(): boolean {
    return this.cuts > 0;
  }

  /** How long a packet takes, in whole microseconds. */
  latencyUs(): number {
    const random = this.random;
    if (this.from === this.to) return LOOPBACK_MIN_US + random.below(LOOPBACK_RANGE_US);
    const settings = this.settings;
    let ms = settings.latencyMinMs + random.exponential(settings.latencyMeanMs);
    if (random.chance(settings.spikeChance)) ms += random.exponential(settings.spikeMeanMs);
    return Math.ceil(ms * 1000) + this.clogUs;
  }
}
