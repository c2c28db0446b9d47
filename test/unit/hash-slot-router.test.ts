/** The router, behind a topology that the test changes as it likes. */
import { describe, expect, test } from "bun:test";
import { keySlot } from "../../src/codec/slot.ts";
import { type ClusterMap, type NodeRecord, type SlotRange, topologyService } from "../../src/contracts/topology.ts";
import { routerService } from "../../src/contracts/routing.ts";
import { type Plugin, definePlugin } from "../../src/plugin.ts";
import { makeRoutes } from "../../plugins/hash-slot-router.ts";
import { localClient, startLocalNode } from "../support/local-node.ts";
import { makeMap, makeNode } from "../support/make-map.ts";

const idOf = (name: string): string => Buffer.from(name.padEnd(20, "-")).toString("hex");

const nodeOf = (name: string, port: number): NodeRecord =>
  makeNode({ id: idOf(name), name, host: `${name}.example`, port });
const NODES = { self: nodeOf("self", 7001), left: nodeOf("left", 7002), right: nodeOf("right", 7003) };

/** A map in which each node has some slots. */
function mapOf(version: number, slots: Readonly<Record<keyof typeof NODES, readonly SlotRange[]>>): ClusterMap {
  return makeMap(
    version,
    Object.values(NODES).map((node) => ({
      node,
      shardId: idOf(`shard ${node.name}`),
      slots: slots[node.name as keyof typeof NODES],
    })),
  );
}

const slotOf = (key: string): number => {
  const bytes = new TextEncoder().encode(key);
  return keySlot(bytes, 0, bytes.length);
};
const upTo = (first: number, last: number): readonly SlotRange[] => [{ first, last }];

// 12182, 5061 and 866: one for each third of the slots.
const [HIGH, MIDDLE, LOW] = ["foo", "bar", "hello"] as const;
const THIRDS = mapOf(1, { self: upTo(0, 3999), left: upTo(4000, 7999), right: upTo(8000, 16_383) });

/** A node whose map is what the test says. */
async function startRouted(first: ClusterMap): Promise<{
  run: (line: string) => Promise<string>;
  change: (map: ClusterMap) => void;
  movedCount: () => number;
  parameter: (name: string) => string | undefined;
  isRouted: boolean;
  stop: () => Promise<void>;
}> {
  let map = first;
  const changes: { tell?: (next: ClusterMap) => void } = {};
  const standIn: Plugin = definePlugin({
    name: "stand-in-topology",
    summary: "A map that the test changes.",
    provides: { topology: topologyService },
    setup(context) {
      // A node serves only as the start that the map has admitted.
      const admitted = (next: ClusterMap): ClusterMap => ({
        ...next,
        nodes: next.nodes.map((each) => (each.id === NODES.self.id ? { ...each, start: context.node.runId } : each)),
      });
      map = admitted(map);
      changes.tell = (next) => {
        const previous = map;
        map = admitted(next);
        context.hooks.mapChanged.notify({ map, previous, delta: undefined });
      };
      return {
        topology: {
          get map() {
            return map;
          },
          self: NODES.self,
          selfShard: undefined,
          node: (id) => map.nodes.find((each) => each.id === id),
          request: () => Promise.resolve({ type: "refused", reason: "the test changes it" }),
          isMember: true,
          beginAlone: () => Promise.resolve(undefined),
          moveTo: () => Promise.resolve(undefined),
          introduction: NODES.self,
          history: [],
          waitingFor: undefined,
          exportState: () => "",
        },
      };
    },
  });
  const node = await startLocalNode({ plugins: { topology: false } }, { plugins: [standIn] });
  const client = localClient(node);
  const router = node.service(routerService);
  return {
    run: (line) => client.run(line),
    change: (next) => changes.tell?.(next),
    movedCount: () => router?.movedCount ?? -1,
    parameter: (name) => node.parameters.get(name)?.get(),
    isRouted: router !== undefined,
    stop: () => node.stop(),
  };
}

test("the keys of these tests are in the slots that they are meant to be in", () => {
  expect([HIGH, MIDDLE, LOW].map(slotOf)).toStrictEqual([12_182, 5061, 866]);
});

describe("a node serves", () => {
  test("keys of its own slots, and sends those of others to whom they belong", async () => {
    const node = await startRouted(THIRDS);
    expect(node.isRouted).toBe(true);
    expect(await node.run(`set ${LOW} 1`)).toBe("OK");
    expect(await node.run(`get ${LOW}`)).toBe("1");
    expect(await node.run(`set ${MIDDLE} 1`)).toBe("MOVED 5061 left.example:7002");
    expect(await node.run(`get ${HIGH}`)).toBe("MOVED 12182 right.example:7003");
    expect(await node.run(`get {${HIGH}}tagged`)).toBe("MOVED 12182 right.example:7003");
    // Nothing was stored for others.
    expect(await node.run("dbsize")).toBe("1");
    await node.stop();
  });

  test("the first and the last slot of a range, and not those beside it", async () => {
    const around = (first: number, last: number): ClusterMap =>
      mapOf(1, { self: upTo(first, last), left: upTo(0, first - 1), right: upTo(last + 1, 16_383) });
    for (const [first, last, reply] of [
      [5061, 5061, "nil"],
      [5000, 5061, "nil"],
      [5061, 6000, "nil"],
      [5062, 6000, "MOVED 5061 left.example:7002"],
      [5000, 5060, "MOVED 5061 right.example:7003"],
    ] as const) {
      const node = await startRouted(around(first, last));
      expect(await node.run(`get ${MIDDLE}`)).toBe(reply);
      await node.stop();
    }
  });

  test("commands without keys, also when no slot is its own", async () => {
    const node = await startRouted(mapOf(1, { self: [], left: upTo(0, 16_383), right: [] }));
    expect(await node.run("ping")).toBe("PONG");
    expect(await node.run("dbsize")).toBe("0");
    expect(await node.run("randomkey")).toBe("nil");
    expect(node.parameter("cluster-enabled")).toBe("yes");
    expect(await node.run(`get ${LOW}`)).toBe("MOVED 866 left.example:7002");
    await node.stop();
  });

  test("nothing of a shard in which it is only a replica", () => {
    const map = mapOf(1, { self: [], left: upTo(0, 16_383), right: [] });
    const [first] = map.shards;
    if (first === undefined) throw new Error("there is no shard");
    const routes = makeRoutes({ ...map, shards: [{ ...first, replicas: [NODES.self.id] }] }, NODES.self);
    expect(routes.servesAll).toBe(false);
    expect(routes.addresses).toStrictEqual(["left.example:7002"]);
    expect(new Set(routes.actionOfSlot).size).toBe(1);
  });
});

describe("a node refuses", () => {
  test("keys of several slots, whoever has them, and before it sends anybody away", async () => {
    const node = await startRouted(THIRDS);
    const crossSlot = "CROSSSLOT Keys in request don't hash to the same slot";
    expect(await node.run(`mget ${LOW} ${MIDDLE}`)).toBe(crossSlot);
    expect(await node.run(`mget ${MIDDLE} ${HIGH}`)).toBe(crossSlot);
    expect(await node.run(`mget {${LOW}}1 {${LOW}}2 ${HIGH}`)).toBe(crossSlot);
    expect(await node.run(`mset {${LOW}}1 a ${MIDDLE} b`)).toBe(crossSlot);
    expect(node.movedCount()).toBe(0);
    // Values are no keys, wherever they would be.
    expect(await node.run(`mset {${LOW}}1 ${MIDDLE} {${LOW}}2 ${HIGH}`)).toBe("OK");
    expect(await node.run(`mget {${LOW}}1 {${LOW}}2`)).toBe(`[${MIDDLE} ${HIGH}]`);
    expect(await node.run(`mget {${MIDDLE}}1 {${MIDDLE}}2`)).toBe("MOVED 5061 left.example:7002");
    await node.stop();
  });

  test("keys of several slots also when all of them are its own", async () => {
    const node = await startRouted(mapOf(1, { self: upTo(0, 16_383), left: [], right: [] }));
    expect(await node.run(`mget ${LOW} ${HIGH}`)).toStartWith("CROSSSLOT ");
    expect(await node.run(`set ${HIGH} 1`)).toBe("OK");
    await node.stop();
  });

  test("keys of a slot that is nobody's", async () => {
    const node = await startRouted(mapOf(1, { self: upTo(0, 3999), left: upTo(4000, 7999), right: [] }));
    expect(await node.run(`set ${HIGH} 1`)).toBe("CLUSTERDOWN Hash slot not served");
    expect(await node.run(`set ${LOW} 1`)).toBe("OK");
    expect(node.movedCount()).toBe(0);
    await node.stop();
  });
});

describe("another map", () => {
  test("is what all commands after it see, and none before it", async () => {
    const node = await startRouted(THIRDS);
    const swapped = mapOf(2, { self: upTo(4000, 16_383), left: upTo(0, 3999), right: [] });
    const replies = async (): Promise<readonly string[]> => {
      const all: string[] = [];
      for (const key of [LOW, MIDDLE, HIGH]) all.push(await node.run(`get ${key}`));
      return all;
    };
    expect(await replies()).toStrictEqual(["nil", "MOVED 5061 left.example:7002", "MOVED 12182 right.example:7003"]);
    node.change(swapped);
    expect(await replies()).toStrictEqual(["MOVED 866 left.example:7002", "nil", "nil"]);
    node.change(mapOf(3, { self: upTo(0, 16_383), left: [], right: [] }));
    expect(await replies()).toStrictEqual(["nil", "nil", "nil"]);
    node.change(mapOf(4, { self: [], left: [], right: upTo(0, 16_383) }));
    expect(await replies()).toStrictEqual([
      "MOVED 866 right.example:7003",
      "MOVED 5061 right.example:7003",
      "MOVED 12182 right.example:7003",
    ]);
    node.change(mapOf(5, { self: [], left: [], right: [] }));
    expect(new Set(await replies())).toStrictEqual(new Set(["CLUSTERDOWN Hash slot not served"]));
    await node.stop();
  });

  test("between MULTI and EXEC refuses the whole transaction", async () => {
    const node = await startRouted(THIRDS);
    expect(await node.run("multi")).toBe("OK");
    expect(await node.run(`set {${LOW}}1 a`)).toBe("QUEUED");
    expect(await node.run(`set {${LOW}}2 b`)).toBe("QUEUED");
    node.change(mapOf(2, { self: upTo(4000, 16_383), left: upTo(0, 3999), right: [] }));
    expect(await node.run("exec")).toBe("MOVED 866 left.example:7002");
    expect(await node.run("dbsize")).toBe("0");
    await node.stop();
  });

  test("refuses a command when it is queued, and then EXEC", async () => {
    const node = await startRouted(THIRDS);
    await node.run("multi");
    expect(await node.run(`set ${LOW} a`)).toBe("QUEUED");
    expect(await node.run(`set ${HIGH} a`)).toBe("MOVED 12182 right.example:7003");
    expect(await node.run("exec")).toStartWith("EXECABORT ");
    expect(await node.run("dbsize")).toBe("0");
    await node.stop();
  });
});

test("redirects are counted, told by INFO, and set back by CONFIG RESETSTAT", async () => {
  const node = await startRouted(THIRDS);
  for (const key of [HIGH, MIDDLE, HIGH, LOW]) await node.run(`get ${key}`);
  expect(node.movedCount()).toBe(3);
  expect(await node.run("info stats")).toContain("moved_redirects:3\r\n");
  await node.run("config resetstat");
  expect(node.movedCount()).toBe(0);
  await node.stop();
});

test("each of very many shards has an address of its own", () => {
  // More than fit the table that is used for fewer.
  const nodes = Array.from({ length: 1000 }, (_, index) => nodeOf(`n${index}`, 7000 + index));
  const map = makeMap(
    1,
    nodes.map((node, index) => ({ node, shardId: idOf(`s${index}`), slots: upTo(index, index) })),
  );
  const routes = makeRoutes(map, nodes[500] ?? NODES.self);
  const seen = nodes.map((_, index) => {
    const action = routes.actionOfSlot[index] ?? 0;
    return action === 0 ? "self" : (routes.addresses[action - 5] ?? "nobody");
  });
  expect(seen).toStrictEqual(nodes.map(({ host, port }, index) => (index === 500 ? "self" : `${host}:${port}`)));
  // 0 is to serve, 1 is nobody's: a slot without an owner is neither the first shard's nor this node's.
  expect(routes.actionOfSlot[1000]).toBe(1);
  expect(routes.servesAll).toBe(false);
});

test("a start of a node that the map has not admitted serves nothing, and sends nobody away", () => {
  const [action] = makeRoutes(THIRDS, { id: NODES.self.id, start: "another start" }).actionOfSlot;
  const [served] = makeRoutes(THIRDS, NODES.self).actionOfSlot;
  expect([served, action]).toStrictEqual([0, 2]);
});

test("a start of a primary that is not the one which held the data serves nothing, and says what it waits for", async () => {
  const own = THIRDS.shards.find(({ primary }) => primary === NODES.self.id);
  const shards = THIRDS.shards.map((shard) => (shard === own ? { ...shard, primaryIncarnation: 0 } : shard));
  const { actionOfSlot } = makeRoutes({ ...THIRDS, shards }, NODES.self);
  const slots = own?.slots ?? [];
  expect(slots.length).toBeGreaterThan(0);
  for (const { first, last } of slots) expect([actionOfSlot[first], actionOfSlot[last]]).toStrictEqual([3, 3]);
  const node = await startRouted({ ...THIRDS, shards });
  expect(await node.run(`get ${LOW}`)).toContain(
    "CLUSTERDOWN The cluster is down: this node has restarted without the slot's data",
  );
  await node.stop();
});

test("a node that is out of the cluster serves nothing, also where the map never admitted any start of it", () => {
  const never = { ...THIRDS, nodes: THIRDS.nodes.map((node) => ({ ...node, start: "" })) };
  for (const map of [THIRDS, never]) {
    const { actionOfSlot, servesAll } = makeRoutes(map, { id: NODES.self.id, start: undefined });
    expect([servesAll, actionOfSlot.includes(0)]).toStrictEqual([false, false]);
  }
});

test("a slot whose last owner may not know that it lost it is not served, by the node that gained it", () => {
  const release = { node: NODES.left.id, incarnation: 1, version: 2, slots: upTo(10, 19) };
  const { actionOfSlot } = makeRoutes({ ...THIRDS, releases: [release] }, NODES.self);
  expect([9, 10, 19, 20].map((slot) => actionOfSlot[slot])).toStrictEqual([0, 2, 2, 0]);
  // The loser itself, when it gets them back, has nobody to wait for.
  const back = makeRoutes({ ...THIRDS, releases: [{ ...release, node: NODES.self.id }] }, NODES.self);
  expect(back.actionOfSlot[10]).toBe(0);
});
