/**
 * A toy program for tests of the simulated world itself: it uses every door that there is.
 *
 * Each node echoes what comes on its streams, gossips a counter by datagrams, and keeps a journal on disk that it reads
 * back at its start. Each client sends numbered bytes to nodes and checks the echo. The promises that it checks are the
 * world's: streams keep order and content, what was synced is there after a crash.
 *
 * It also runs by itself, on any engine: `deno run test/support/toy-cluster.ts SEED` prints the trace hash.
 */

import { Buffer } from "node:buffer";
import { assert } from "../../src/assert.ts";
import type { Stream, World } from "../../src/world.ts";
import { FaultInjector } from "./fault-injector.ts";
import { Simulation, type SimHost, type SimulationOptions } from "./sim-world.ts";
import { drawSwarm, swarmSimulation, type SwarmOptions } from "./swarm.ts";

const PORT = 7000;
const GOSSIP_PORT = 7001;
const JOURNAL = "journal/log";
/** Each record of the journal is its number, four times, so that a torn one is seen. */
const RECORD_BYTES = 16;

/** What the toy world did, as far as the tests ask. */
export interface ToyResult {
  readonly traceHash: string;
  readonly events: number;
  readonly echoedBytes: number;
  readonly gossipReceived: number;
  readonly recordsSynced: number;
  readonly starts: number;
  readonly faults: string;
}

/** A run of the toy cluster that can be looked at. */
export class ToyCluster {
  readonly simulation: Simulation;
  readonly injector: FaultInjector;
  readonly nodes: SimHost[] = [];
  readonly clients: SimHost[] = [];
  echoedBytes = 0;
  gossipReceived = 0;
  recordsSynced = 0;
  /** For each node, the number of the last record that was synced. */
  readonly #synced = new Map<string, number>();
  readonly #names: string[] = [];

  constructor(
    seed: number | string,
    swarm: SwarmOptions = drawSwarm(seed),
    options: Partial<SimulationOptions> = {},
    nodeCount = 4,
  ) {
    this.simulation = new Simulation(seed, { ...swarmSimulation(swarm), ...options });
    for (let i = 1; i <= nodeCount; i++) this.#names.push(`10.0.0.${i}`);
    for (const name of this.#names) {
      this.nodes.push(this.simulation.addHost(name, (world, host) => this.#runNode(world, host)));
    }
    for (let i = 1; i <= 2; i++) {
      this.clients.push(this.simulation.addHost(`10.0.1.${i}`, (world) => this.#runClient(world)));
    }
    this.injector = new FaultInjector(this.simulation, swarm, { hosts: this.nodes, bystanders: this.clients });
  }

  /** Faults for a while, then none. */
  async run(faultsMs: number, calmMs: number): Promise<ToyResult> {
    this.injector.start();
    await this.simulation.runFor(faultsMs);
    this.injector.stopAndHeal();
    await this.simulation.runFor(calmMs);
    return {
      traceHash: this.simulation.traceHash,
      events: this.simulation.scheduler.executed,
      echoedBytes: this.echoedBytes,
      gossipReceived: this.gossipReceived,
      recordsSynced: this.recordsSynced,
      starts: this.nodes.reduce((sum, node) => sum + node.starts, 0),
      faults: this.injector.summary(),
    };
  }

  async #runNode(world: World, host: SimHost): Promise<void> {
    let next = await this.#recover(world, host);
    world.log.info("node recovered", { records: next, start: host.starts });
    await world.network.listen({ host: host.name, port: PORT, accept: () => echoHandler(world) });
    let heard = 0;
    const socket = await world.network.bind({
      host: "0.0.0.0",
      port: GOSSIP_PORT,
      received: (bytes, fromHost) => {
        this.gossipReceived++;
        const value = Buffer.from(bytes).readUInt32LE(0);
        if (value > heard) {
          heard = value;
          world.log.debug("heard more", { value, from: fromHost });
        }
      },
    });
    world.clock.every(50, () => {
      heard++;
      const message = Buffer.alloc(4);
      message.writeUInt32LE(heard);
      for (let i = 0; i < 2; i++) {
        const target = this.#names[world.random.below(this.#names.length)] ?? host.name;
        socket.send(message, target, GOSSIP_PORT);
      }
    });
    for (;;) {
      await world.disk.append(JOURNAL, record(next));
      if (world.random.below(3) === 0) {
        await world.disk.sync(JOURNAL);
        this.#synced.set(host.name, next);
        this.recordsSynced++;
      }
      next++;
      const pauseMs = 5 + world.random.fraction() * 20;
      await new Promise<void>((resolve) => {
        world.clock.after(pauseMs, resolve);
      });
    }
  }

  /** Reads the journal, cuts what is torn, and checks that nothing that was synced is missing. */
  async #recover(world: World, host: SimHost): Promise<number> {
    const bytes = await world.disk.read(JOURNAL);
    let count = 0;
    if (bytes !== undefined) {
      const journal = Buffer.from(bytes);
      while ((count + 1) * RECORD_BYTES <= journal.length && isRecord(journal, count)) count++;
      await world.disk.truncate(JOURNAL, count * RECORD_BYTES);
    }
    const synced = this.#synced.get(host.name);
    assert(synced === undefined || synced < count, "what was synced is there after a restart");
    return count;
  }

  #runClient(world: World): void {
    const connect = (): void => {
      let sent = 0;
      let echoed = 0;
      let isOver = false;
      const pump = (stream: Stream): void => {
        // Byte number n is n modulo 251, which shows any byte that is lost, doubled or moved.
        const limit = echoed + 20_000;
        while (sent < limit) {
          const size = Math.min(limit - sent, 1 + world.random.below(4000));
          const bytes = new Uint8Array(size);
          for (let i = 0; i < size; i++) bytes[i] = (sent + i) % 251;
          const taken = stream.write(bytes, 0, size);
          sent += taken;
          if (taken < size) break;
        }
      };
      const target = this.#names[world.random.below(this.#names.length)] ?? "";
      const lost = world.clock.after(2000, () => stream.destroy());
      const stream = world.network.connect({
        host: target,
        port: PORT,
        handler: {
          opened: pump,
          data: (from, bytes) => {
            assert(!isOver, "nothing comes after the end of a stream");
            for (const byte of bytes) assert(byte === echoed++ % 251, "a stream keeps its bytes in order");
            assert(echoed <= sent, "only what was sent comes back");
            this.echoedBytes += bytes.length;
            if (echoed > 30_000) from.end();
            else if (world.random.below(20) === 0) {
              from.pause();
              world.clock.after(5, () => from.resume());
            }
            world.clock.soon(() => pump(from));
          },
          writable: pump,
          closed: (_stream, reason) => {
            assert(!isOver, "a stream ends once");
            isOver = true;
            lost.cancel();
            world.log.info("stream over", { target, reason: reason ?? "orderly", echoed });
            world.clock.after(30 + world.random.below(50), connect);
          },
        },
      });
    };
    connect();
  }
}

/** Runs the toy cluster of a seed, with the faults that this seed draws. */
export function runToy(seed: number | string): Promise<ToyResult> {
  return new ToyCluster(seed).run(8000, 2000);
}

function echoHandler(world: World): {
  data(stream: Stream, bytes: Uint8Array): void;
  writable(stream: Stream): void;
  closed(stream: Stream, reason: string | undefined): void;
} {
  let backlog = Buffer.alloc(0);
  const flush = (stream: Stream): void => {
    const taken = stream.write(backlog, 0, backlog.length);
    backlog = backlog.subarray(taken);
    if (backlog.length > 0) stream.pause();
    else stream.resume();
  };
  return {
    data: (stream, bytes) => {
      backlog = Buffer.concat([backlog, bytes]);
      flush(stream);
    },
    writable: flush,
    closed: (stream, reason) => {
      world.log.debug("echo over", { peer: stream.remoteAddress, reason: reason ?? "orderly" });
    },
  };
}

function record(number: number): Uint8Array {
  const bytes = Buffer.alloc(RECORD_BYTES);
  for (let at = 0; at < RECORD_BYTES; at += 4) bytes.writeUInt32LE(number + 1, at);
  return bytes;
}

function isRecord(journal: Buffer, number: number): boolean {
  return journal.subarray(number * RECORD_BYTES, (number + 1) * RECORD_BYTES).equals(record(number));
}

if (import.meta.main) {
  const { argv, stdout } = await import("node:process");
  for (const seed of argv.slice(2)) {
    const result = await runToy(seed);
    stdout.write(`${seed} ${result.traceHash} ${result.events} ${result.faults}\n`);
  }
}
