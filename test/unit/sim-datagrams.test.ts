/** Simulated datagrams: lost, doubled, late, in another order; never cut or damaged. */

import { describe, expect, test } from "bun:test";
import type { NetworkSettings } from "../support/sim-path.ts";
import { Simulation } from "../support/sim-world.ts";

const A = "10.0.0.1";
const B = "10.0.0.2";

describe("datagrams", () => {
  async function gossip(
    network: Partial<NetworkSettings>,
  ): Promise<{ simulation: Simulation; heard: number[]; sendMany: (count: number, size?: number) => void }> {
    const simulation = new Simulation(7, { network });
    const a = simulation.addHost(A);
    const b = simulation.addHost(B);
    const heard: number[] = [];
    const received = (bytes: Uint8Array, fromHost: string, fromPort: number): void => {
      expect([fromHost, fromPort]).toEqual([A, 5000]);
      heard.push((bytes[0] ?? 0) * 256 + (bytes[1] ?? 0));
    };
    const bind = b.world.network.bind({ host: B, port: 6000, received });
    const socket = await simulation.settle(
      "a socket",
      a.world.network.bind({ host: A, port: 5000, received: () => undefined }),
      10,
    );
    await simulation.settle("a socket", bind, 10);
    const sendMany = (count: number, size = 2): void => {
      for (let i = 0; i < count; i++) {
        const bytes = new Uint8Array(size);
        bytes[0] = i >> 8;
        bytes[1] = i & 0xff;
        socket.send(bytes, B, 6000);
        // The bytes are the socket's no longer than the call.
        bytes.fill(0xff);
      }
    };
    return { simulation, heard, sendMany };
  }

  test("arrive, in a calm network", async () => {
    const { simulation, heard, sendMany } = await gossip({});
    sendMany(500);
    await simulation.runFor(100);
    expect(heard.toSorted((one, other) => one - other)).toEqual(Array.from({ length: 500 }, (_, i) => i));
  });

  test("are lost as often as the settings say, large ones more often", async () => {
    const { simulation, heard, sendMany } = await gossip({ lossChance: 0.2 });
    sendMany(2000);
    await simulation.runFor(100);
    expect(Math.abs(heard.length - 1600)).toBeLessThan(80);
    const small = heard.length;
    sendMany(2000, 4000);
    await simulation.runFor(100);
    expect(Math.abs(heard.length - small - 2000 * 0.8 ** 3)).toBeLessThan(100);
    expect(simulation.network.counts.datagramsLost).toBe(4000 - heard.length);
  });

  test("come twice and in another order", async () => {
    const { simulation, heard, sendMany } = await gossip({ duplicateChance: 0.3, spikeChance: 0.2, spikeMeanMs: 50 });
    sendMany(1000);
    await simulation.runFor(1000);
    expect(Math.abs(heard.length - 1300)).toBeLessThan(80);
    expect(new Set(heard).size).toBe(1000);
    expect(heard).not.toEqual(heard.toSorted((one, other) => one - other));
  });

  test("that meet a cut are lost for good, those in flight too", async () => {
    const { simulation, heard, sendMany } = await gossip({ latencyMinMs: 10 });
    sendMany(10);
    await simulation.runFor(5);
    const cut = simulation.cutOneWay([A], [B]);
    sendMany(10);
    await simulation.runFor(100);
    cut.heal();
    await simulation.runFor(5000);
    expect(heard).toEqual([]);
    sendMany(1);
    await simulation.runFor(100);
    expect(heard).toEqual([0]);
  });

  test("to nobody, to a closed socket or a crashed process vanish", async () => {
    const { simulation, heard, sendMany } = await gossip({});
    sendMany(5);
    simulation.crash(B, "process");
    await simulation.runFor(100);
    simulation.restart(B);
    sendMany(5);
    await simulation.runFor(100);
    expect(heard).toEqual([]);
  });

  test("larger than the limit vanish", async () => {
    const { simulation, heard, sendMany } = await gossip({});
    sendMany(1, 65_507);
    sendMany(1, 65_508);
    await simulation.runFor(100);
    expect(heard).toEqual([0]);
  });
});
