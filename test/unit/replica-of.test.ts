/** Nodes that join as replicas: whole nodes on virtual time. */
import { describe, expect, test } from "bun:test";
import { BUS_PORT_OFFSET, type Config } from "../../src/config.ts";
import { startLocalNode } from "../support/local-node.ts";
import { PORT, SimNodes, hostOf } from "../support/sim-nodes.ts";

const bus = (...which: readonly number[]): string =>
  which.map((at) => `${hostOf(at)}:${PORT + BUS_PORT_OFFSET}`).join(",");

const SEEDS = bus(0, 1, 2);
const founder = (at: number, more: Config = {}): Config => ({
  name: `node-${at}`,
  join: SEEDS,
  bootstrapExpect: 3,
  ...more,
});
const joiner = (at: number, replicaOf: string, more: Config = {}): Config => ({
  name: `node-${at}`,
  join: SEEDS,
  replicaOf,
  ...more,
});

const PLACE_MS = 20_000;

/** Of whom a node is a replica: the primary's name; itself, if it is a primary. */
function primaryOf(nodes: SimNodes, at: number): string {
  const { selfShard } = nodes.topology(at);
  return nodes.topology(at).node(selfShard?.primary ?? "")?.name ?? "nobody";
}

function isInSync(nodes: SimNodes, at: number): boolean {
  const { selfShard, self } = nodes.topology(at);
  return selfShard?.primary !== self.id && selfShard?.inSync.includes(self.id) === true;
}

const waitsFor = async (nodes: SimNodes, at: number): Promise<string> =>
  /replica_of_waits_for:(.*)\r/.exec(await nodes.run(at, "INFO replication"))?.[1] ?? "nothing known";

describe("--replica-of auto", () => {
  test("spreads nodes that come in at once: each shard gets one, which holds its data", async () => {
    const configs = [0, 1, 2].map((at) => founder(at));
    const nodes = new SimNodes([...configs, ...[3, 4, 5].map((at) => joiner(at, "auto"))]);
    await nodes.up(6);
    await nodes.until("three replicas in sync", () => [3, 4, 5].every((at) => isInSync(nodes, at)), PLACE_MS);
    expect([3, 4, 5].map((at) => primaryOf(nodes, at)).toSorted()).toEqual(["node-0", "node-1", "node-2"]);
    // The leader's own word for it is in the map's history.
    const causes = nodes.topology(0).history.map(({ cause }) => cause);
    expect(causes.filter((cause) => cause === "it joined with --replica-of auto")).toHaveLength(3);
    expect(await waitsFor(nodes, 3)).toBe("");
    expect(nodes.topology(0).map.shards).toHaveLength(3);
  });

  test("stays away from its own zone, if there is another one, and waits, saying why, while nobody has slots", async () => {
    const nodes = new SimNodes([
      { name: "node-0", empty: true, zone: "x" },
      { name: "node-1", join: bus(0), zone: "y" },
      { name: "node-2", join: bus(0), zone: "x", replicaOf: "auto" },
    ]);
    await nodes.until("one cluster", () => nodes.count === 3 && nodes.isOne(0, 1, 2));
    await nodes.simulation.runFor(1000);
    expect(await waitsFor(nodes, 2)).toBe("there is no shard with slots that it could be a replica of");
    expect(nodes.logged(2, "replica-of: not a replica yet")).toHaveLength(1);
    // Both at once: else the first would be the only one.
    const shards = [0, 1].map((at) => nodes.topology(at).self.id);
    const request = {
      type: "all",
      requests: shards.map((node, at) => ({
        type: "assign-slots" as const,
        node,
        slots: [{ first: at * 8192, last: at * 8192 + 8191 }],
      })),
    } as const;
    await nodes.simulation.settle("slots", nodes.topology(0).request(request, "a test"), PLACE_MS);
    await nodes.until("a replica in sync", () => isInSync(nodes, 2), PLACE_MS);
    expect(primaryOf(nodes, 2)).toBe("node-1");
  });
});

describe("--replica-of SHARD", () => {
  test("is a shard's id, or the name of a node of it, and waits for one that is not there yet", async () => {
    const nodes = new SimNodes([
      ...[0, 1, 2].map((at) => founder(at)),
      joiner(3, "node-1"),
      joiner(4, "node-3"),
      joiner(5, "node-9"),
    ]);
    await nodes.up(6);
    await nodes.until("two replicas in sync", () => isInSync(nodes, 3) && isInSync(nodes, 4), PLACE_MS);
    expect([primaryOf(nodes, 3), primaryOf(nodes, 4)]).toEqual(["node-1", "node-1"]);
    expect(await waitsFor(nodes, 5)).toBe('no shard has the id "node-9", and no node that id or name');
    expect(primaryOf(nodes, 5)).toBe("node-5");
    expect(nodes.waitsFor(5)).toBe("nothing");
  });

  test("of a node that comes back as another's replica, or with slots, changes nothing", async () => {
    const nodes = new SimNodes([
      ...[0, 1, 2].map((at) => founder(at)),
      joiner(3, "node-1", { dataDir: "data" }),
      joiner(4, "node-1", { dataDir: "data" }),
    ]);
    await nodes.up(5);
    await nodes.until("replicas in sync", () => isInSync(nodes, 3) && isInSync(nodes, 4), PLACE_MS);
    const id = nodes.topology(2).self.id;
    expect(await nodes.run(3, `CLUSTER REPLICATE ${id}`)).toBe("OK");
    await nodes.until("it to be in sync there", () => primaryOf(nodes, 3) === "node-2" && isInSync(nodes, 3));
    expect(await nodes.run(4, "CLUSTER FAILOVER")).toBe("OK");
    await nodes.until("the other to be a primary", () => primaryOf(nodes, 4) === "node-4");
    // Else it would be the only one that has anything.
    await nodes.until("the one before to be in sync", () => isInSync(nodes, 1));
    for (const at of [3, 4]) {
      nodes.simulation.crash(hostOf(at));
      nodes.simulation.restart(hostOf(at));
    }
    await nodes.until("both to be back", () => nodes.count === 5 && nodes.isOne(0, 1, 2, 3, 4));
    await nodes.until("it to be in sync again", () => isInSync(nodes, 3));
    await nodes.simulation.runFor(3000);
    expect(primaryOf(nodes, 3)).toBe("node-2");
    // Its shard goes on with whoever took over, and it is a member as before.
    expect(["node-1", "node-4"]).toContain(primaryOf(nodes, 4));
  });

  test("goes with --join alone, and not for a witness", async () => {
    for (const config of [{}, { join: SEEDS, bootstrapExpect: 3 }, { join: SEEDS, witness: true }]) {
      await startLocalNode({ replicaOf: "auto", ...config }).then(
        () => expect.unreachable(),
        (thrown: unknown) =>
          expect(String(thrown)).toContain("Flag --replica-of auto is for a node that joins a cluster by --join; "),
      );
    }
  });
});
