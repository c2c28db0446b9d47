/** A witness: it votes, holds no data, and is told so by the list of nodes. */
import { expect, test } from "bun:test";
import { topologyService } from "../../src/contracts/topology.ts";
import { createNode } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";

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
