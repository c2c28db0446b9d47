/** What the bus writes between two nodes: frames of a turn together, all in order, and counted the same on both sides. */
import { describe, expect, test } from "bun:test";
import { type Bus, BusChannel, busService } from "../../src/contracts/bus.ts";
import { createNode } from "../../src/node.ts";
import { definePlugin } from "../../src/plugin.ts";
import { localClient } from "../support/local-node.ts";
import { Simulation } from "../support/sim-world.ts";

const A = "10.0.0.1";
const B = "10.0.0.2";

async function twoNodes(seed: number) {
  const simulation = new Simulation(seed, {
    network: { splitChance: 0.3, shortWriteChance: 0.3, sendBufferBytes: 8192, latencyMeanMs: 1 },
  });
  const start = async (host: string) => {
    const { world } = simulation.addHost(host);
    const holder: { bus?: Bus } = {};
    const tap = definePlugin({
      name: "tap",
      summary: "Gives the bus to the test.",
      requires: { bus: busService },
      setup(context) {
        holder.bus = context.requires.bus;
      },
    });
    const node = await createNode({
      world,
      plugins: [tap],
      config: { host, secret: "known-to-both", port: 7000, plugins: { raft: false, resp: false } },
    });
    await node.start();
    if (holder.bus === undefined) throw new Error("the tap was set up");
    holder.bus.setCluster({ id: "c", member: () => undefined });
    const client = localClient(node);
    const counts = async (): Promise<ReadonlyMap<string, number>> => {
      const text = await client.run("INFO cluster");
      const fields = [...text.matchAll(/^bus_([a-z_]+):([0-9]+)/gm)];
      return new Map(fields.map(([, name = "", value]): [string, number] => [name, Number(value)]));
    };
    return { bus: holder.bus, counts };
  };
  const a = await simulation.settle("a", start(A), 1000);
  const b = await simulation.settle("b", start(B), 1000);
  return { simulation, a, b };
}

describe("the bus", () => {
  test("brings all frames in order, those of one turn and those of many, and counts the same on both sides", async () => {
    for (let seed = 1; seed <= 10; seed += 1) {
      const { simulation, a, b } = await twoNodes(seed);
      const received: string[] = [];
      b.bus.receive(BusChannel.consensus, (_from, bytes) => void received.push(`${bytes[0] ?? 0}/${bytes.length}`));
      const sent: string[] = [];
      for (let burst = 0; burst < 20; burst += 1) {
        for (let frame = 0; frame < 1 + ((burst * 7) % 40); frame += 1) {
          const bytes = new Uint8Array(1 + ((frame * burst * 131) % (burst === 7 ? 90_000 : 3000))).fill(
            sent.length % 256,
          );
          if (!a.bus.send(b.bus.address, BusChannel.consensus, bytes)) throw new Error("nothing is dropped here");
          sent.push(`${bytes[0] ?? 0}/${bytes.length}`);
        }
        await simulation.runFor(burst % 3);
      }
      await simulation.runUntil("the last frame", () => received.length >= sent.length, 20_000);
      expect(received).toEqual(sent);
      const [out, into] = [
        await simulation.settle("a", a.counts(), 100),
        await simulation.settle("b", b.counts(), 100),
      ];
      // Hello and proof are two more, and an answer goes the other way.
      expect([out.get("sent_frames"), into.get("received_frames")]).toEqual([sent.length + 2, sent.length + 2]);
      expect([into.get("sent_frames"), out.get("received_frames")]).toEqual([1, 1]);
      expect(out.get("sent_bytes")).toBe(into.get("received_bytes") ?? -1);
      expect(into.get("sent_bytes")).toBe(out.get("received_bytes") ?? -1);
      expect([out.get("links_out"), out.get("links_in"), into.get("links_out"), into.get("links_in")]).toEqual([
        1, 0, 0, 1,
      ]);
    }
  });
});
