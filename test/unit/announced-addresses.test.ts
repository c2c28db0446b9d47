/** A node that is reached under several addresses: what clients are told, and how other nodes reach it when one of them fails. */
import { describe, expect, test } from "bun:test";
import { readMapFile } from "../../src/cli/map-file.ts";
import { BusChannel } from "../../src/contracts/bus.ts";
import { topologyService } from "../../src/contracts/topology.ts";
import { readNodeCard } from "../../src/node-card.ts";
import { BusWorld, addressOf } from "../support/bus-world.ts";
import { localClient, startLocalNode } from "../support/local-node.ts";

describe("a node that announces an address and a name to clients, and addresses to nodes", () => {
  const config = {
    port: 7001,
    announceHost: "10.1.1.1,node-a.example",
    announcePort: 17_001,
    announceBusHost: "10.2.2.2,10.3.3.3",
    announceBusPort: 27_001,
    plugins: { raft: false, bus: false, discovery: false },
  };

  test("tells clients the address, with the name beside it, and the ports", async () => {
    const node = await startLocalNode(config);
    const client = localClient(node);
    const { id } = node.facts;
    expect(await client.run("cluster nodes")).toContain(`${id} 10.1.1.1:17001@27001,node-a.example myself,master`);
    expect(await client.run("cluster slots")).toContain(`[10.1.1.1 17001 ${id} [hostname node-a.example]]`);
    await client.run("hello 2");
    expect(await client.run("cluster shards")).toContain("ip 10.1.1.1 endpoint 10.1.1.1 hostname node-a.example");
    client.close();
    await node.stop();
  });

  test("has all of them in the map, in its file, and in what it tells of itself", async () => {
    const node = await startLocalNode(config);
    const topology = node.service(topologyService);
    const wanted = {
      host: "10.1.1.1",
      otherHosts: ["node-a.example"],
      busHost: "10.2.2.2",
      otherBusHosts: ["10.3.3.3"],
      busPort: 27_001,
    };
    expect(topology?.self).toMatchObject(wanted);
    const file = readMapFile(topology?.exportState() ?? "", "its map");
    expect(file.nodes.get(node.facts.id)).toMatchObject(wanted);
    expect(readNodeCard(JSON.stringify(topology?.introduction))).toMatchObject(wanted);
    await node.stop();
  });
});

test("the next address is tried when one fails, in turn, until one answers", async () => {
  const world = new BusWorld();
  const bus = await world.add("10.0.0.1");
  await world.add("10.0.0.2");
  const dead = addressOf("10.0.0.77");
  bus.setCluster({
    ...world.cluster("c"),
    otherPlaces: ({ host }) => (host === dead.host ? [addressOf("10.0.0.2")] : []),
  });
  const frame = Uint8Array.from([0, 0, 0, 7]);
  await world.simulation.runUntil(
    "a frame to arrive where the node is",
    () => {
      bus.send(dead, BusChannel.consensus, frame);
      return world.numbers("10.0.0.2").length > 0;
    },
    10_000,
  );
  expect(world.numbers("10.0.0.2")[0]).toBe(7);
});
