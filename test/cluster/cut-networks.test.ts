/**
 * Real processes on networks that are cut between them, without a word to anybody, while clients still reach all: no acknowledged write is lost, nobody reads an
 * older value after a newer one, from a primary that does not know of its successor neither.
 *
 * Six nodes in memory, three shards with a replica each, each on a network of its own (`test/support/networks.ts`): machines without these skip the tests. Nothing is
 * timed but what the nodes' own clocks time; how long a cut takes a shard's writes away is in docs/performance.md.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { ask, until } from "../support/ask-nodes.ts";
import { endLeftovers } from "../support/bunch-server.ts";
import { ClusterLoad, complaintsOf, ioredisClient, type LoadClient } from "../support/cluster-load.ts";
import { hasNetworks, Networks } from "../support/networks.ts";
import { RawClient } from "../support/raw-client.ts";
import { portsFrom, type Shard, SixNodes } from "../support/six-nodes.ts";

const FIRST_PORT = 21_960;
const LIMIT_MS = 60_000;
const CLIENTS = 5;
const WRITERS = 10;
/** A container mostly may not make any, whoever it runs as: that is no failure, also where peers that are missing are one. */
const isAble = hasNetworks();

let networks: Networks;
let nodes: SixNodes;
let clients: readonly LoadClient[] = [];
let load: ClusterLoad;
let loads = 0;

async function begin(): Promise<readonly Shard[]> {
  const shards = await nodes.whole();
  clients = Array.from({ length: CLIENTS }, () => ioredisClient(nodes.ports));
  loads += 1;
  load = new ClusterLoad(clients, { writers: WRITERS, readers: 1, keys: 3, prefix: `load-${loads}` });
  await load.goesOn();
  return shards;
}

/** Ends the load, and holds it against what is promised. */
async function endLoad(): Promise<void> {
  expect(await complaintsOf(load, nodes.ports)).toEqual([]);
}

/** A node that is in another shard, and that the test cuts off from nobody. */
function other(shard: Shard): number {
  return nodes.ports.find((port) => port !== shard.primary && port !== shard.replica) ?? 0;
}

describe.skipIf(!isAble)("a network that is cut", () => {
  beforeAll(async () => {
    networks = new Networks(portsFrom(FIRST_PORT));
    nodes = await SixNodes.start(FIRST_PORT, ["--raft-max-voters", "5"], networks);
  }, LIMIT_MS);

  afterEach(() => {
    load.stop();
    for (const client of clients) client.close();
    networks.heal();
  });

  afterAll(async () => {
    await endLeftovers();
    networks.remove();
  }, LIMIT_MS);

  test(
    "between a primary and all other nodes: its replica takes over, the clients that still reach both are told nothing old",
    async () => {
      const shards = await begin();
      const leader = await nodes.leader();
      const shard = shards.find(({ primary }) => primary !== leader);
      if (shard === undefined) throw new Error("two shards are not the leader's");
      const { primary, replica, has } = shard;
      networks.cutOff(primary);
      await load.goesOn(has);
      expect(await nodes.successor(shard, other(shard))).toBe(replica);
      // It knows nothing of that, and serves nothing.
      const former = await RawClient.connect(primary);
      expect(await ask(primary, "role")).toContain("master");
      for (const line of ["get any", "set any older"]) expect(await former.run(line)).toMatch(/^-(CLUSTERDOWN|MOVED)/);
      former.close();
      networks.heal();
      await nodes.whole();
      expect((await nodes.shardOf(primary, replica)).primary).toBe(replica);
      await endLoad();
    },
    LIMIT_MS,
  );

  test(
    "between a replica and all other nodes, just before its primary is killed: all that was acknowledged is there when it comes back",
    async () => {
      const [shard] = await begin();
      if (shard === undefined) throw new Error("there are three shards");
      const { primary, replica, has } = shard;
      networks.cutOff(replica);
      // Writes wait for it, and it is in sync still: nobody has missed it for so long that it would be dropped.
      await Bun.sleep(300);
      await nodes.end(primary, "SIGKILL");
      networks.heal();
      await load.goesOn(has);
      expect(await nodes.successor(shard, other(shard))).toBe(replica);
      nodes.start(primary);
      await nodes.whole();
      await endLoad();
    },
    LIMIT_MS,
  );

  test(
    "between the node that leads the log and all others: another one leads",
    async () => {
      await begin();
      const leader = await nodes.leader();
      networks.cutOff(leader);
      const others = nodes.ports.filter((port) => port !== leader);
      await until(
        () => Promise.all(others.map((port) => ask(port, "info cluster"))),
        (infos) => infos.filter((info) => info.includes("raft_role:leader")).length === 1,
        "another leader",
      );
      await load.goesOn();
      networks.heal();
      await nodes.whole();
      await endLoad();
    },
    LIMIT_MS,
  );
});
