/** A witness: it votes, holds no data, and is told so by the list of nodes. */
import { expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { type ConsensusStatus, consensusService } from "../../src/contracts/consensus.ts";
import { topologyService } from "../../src/contracts/topology.ts";
import { type Node, createNode } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { Simulation } from "../support/sim-world.ts";

const DATA = { name: "a", host: "127.0.0.1", port: 7001, slots: ["0-16383"] };
const WITNESS = { name: "w", host: "127.0.0.1", port: 7002, slots: [], witness: true };

function start(name: string, nodes: readonly object[]): ReturnType<typeof createNode> {
  const config = { name, plugins: { resp: false, raft: false, bus: false, topology: { nodes } } };
  return createNode({ world: createBunWorld({ logLevel: "silent" }), config });
}

test("a witness is a node of the map and has no shard", async () => {
  const node = await start("a", [DATA, WITNESS]);
  await node.start();
  const map = node.service(topologyService)?.map;
  expect(map?.nodes.map(({ name, role }) => `${name} ${role}`).toSorted()).toEqual(["a data", "w witness"]);
  expect(map?.shards).toHaveLength(1);
  await node.stop();
});

test("a witness without a data directory, or with slots, is refused in a sentence", async () => {
  const without = await start("w", [DATA, WITNESS]).catch((thrown: unknown) => String(thrown));
  expect(without).toContain("This node is a witness: it needs a data directory (--data-dir)");
  const withSlots = await start("a", [
    { ...DATA, slots: [] },
    { ...WITNESS, slots: ["5"] },
  ]).catch(String);
  expect(withSlots).toContain('node "w" is a witness, and has slots');
});

test("a witness that joins gets a vote, though enough others vote, and holds no data", async () => {
  const simulation = new Simulation(1);
  const nodes = new Map<string, Node>();
  const seeds = "10.0.0.1:16379";
  const names = ["a", "b", "c", "w"] as const;
  for (const [at, name] of names.entries()) {
    const host = `10.0.0.${at + 1}`;
    simulation.addHost(host, async (world) => {
      const place = { name, host, port: 6379, insecure: true, plugins: { resp: false } } as const;
      const config = {
        ...place,
        ...(name === "a" ? {} : { join: seeds }),
        ...(name === "w" ? { witness: true, dataDir: "data" } : {}),
      };
      const node = await createNode({ world, config });
      await node.start();
      nodes.set(name, node);
    });
  }
  const status = (name: string): ConsensusStatus | undefined => nodes.get(name)?.service(consensusService)?.status;
  const voters = (name: string): readonly (string | undefined)[] => {
    const ids = new Map([...nodes].map(([each, { facts }]) => [facts.id, each]));
    return (status(name)?.members ?? []).flatMap(({ nodeId, isVoter }) => (isVoter ? [ids.get(nodeId)] : []));
  };
  await simulation.runUntil("the witness to vote", () => voters("w").includes("w"), 30_000);
  // And somebody else, who held data, not to vote any more.
  await simulation.runFor(5000);
  const leader = names.find((name) => status(name)?.role === "leader") ?? "w";
  expect(voters("w")).toHaveLength(3);
  expect(voters("w")).toContain(leader);
  const map = present(nodes.get("w")?.service(topologyService), "there is a topology").map;
  expect(map.nodes).toHaveLength(4);
  expect(map.shards).toHaveLength(3);
  // Two of the three votes are left, and the witness' is one of them.
  simulation.crash(`10.0.0.${names.indexOf(leader) + 1}`);
  nodes.delete(leader);
  await simulation.runUntil(
    "another leader",
    () => [...nodes.keys()].some((name) => status(name)?.role === "leader"),
    10_000,
  );
});
