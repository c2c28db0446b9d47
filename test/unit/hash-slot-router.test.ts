/** The router, behind a topology that the test changes as it likes. */
import { describe, expect, test } from "bun:test";
import { keySlot } from "../../src/codec/slot.ts";
import { type ClusterMap, type NodeRecord, type SlotRange, topologyService } from "../../src/contracts/topology.ts";
import type { LocalConnection } from "../../src/local-connection.ts";
import { routerService } from "../../src/contracts/routing.ts";
import { type Plugin, definePlugin } from "../../src/plugin.ts";
import { MOVED as MOVED_ACTION, makeRoutes } from "../../plugins/hash-slot-router.ts";
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

const CROSS_SLOT = "CROSSSLOT Keys in request don't hash to the same slot";

// 12182, 5061 and 866: one for each third of the slots.
const [HIGH, MIDDLE, LOW] = ["foo", "bar", "hello"] as const;
const THIRDS = mapOf(1, { self: upTo(0, 3999), left: upTo(4000, 7999), right: upTo(8000, 16_383) });

/** A node whose map is what the test says. */
async function startRouted(
  first: ClusterMap,
  settings: Readonly<Record<string, unknown>> = {},
): Promise<{
  run: (line: string) => Promise<string>;
  /** As another client. */
  begin: (line: string) => Promise<string>;
  connect: () => LocalConnection;
  change: (map: ClusterMap) => void;
  movedCount: () => number;
  parameter: (name: string) => string | undefined;
  isRouted: boolean;
  stop: () => Promise<void>;
  /** Why it has stopped by itself. */
  fault: Promise<Error | undefined>;
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
  const stopped = Promise.withResolvers<Error | undefined>();
  const node = await startLocalNode(
    { plugins: { topology: false, "hash-slot-router": settings } },
    { plugins: [standIn], onStopped: stopped.resolve },
  );
  const client = localClient(node);
  const router = node.service(routerService);
  return {
    run: (line) => client.run(line),
    begin: (line) => localClient(node).run(line),
    connect: () => node.connect(),
    change: (next) => changes.tell?.(next),
    movedCount: () => router?.movedCount ?? -1,
    parameter: (name) => node.parameters.get(name)?.get(),
    isRouted: router !== undefined,
    stop: () => node.stop(),
    fault: stopped.promise,
  };
}

test("the keys of these tests are in the slots that they are meant to be in", () => {
  expect([HIGH, MIDDLE, LOW].map(slotOf)).toStrictEqual([12_182, 5061, 866]);
});

describe("a node serves", () => {
  test("nothing any more by the table of another map than it has", async () => {
    const node = await startRouted(THIRDS);
    const key = slotOf(LOW) < 4000 ? LOW : MIDDLE;
    expect(await node.run(`get ${key}`)).toBe("nil");
    const moved = mapOf(2, { self: [], left: upTo(0, 7999), right: upTo(8000, 16_383) });
    const release = {
      get node(): never {
        throw new RangeError("Out of memory");
      },
      incarnation: 1,
      version: 2,
      slots: [],
    };
    node.change({ ...moved, releases: [release] });
    expect(await node.run(`get ${key}`).catch(() => "closed")).toBe("closed");
    expect((await node.fault)?.message).toContain("Out of memory");
  });

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
    return action === 0 ? "self" : (routes.addresses[action - MOVED_ACTION] ?? "nobody");
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

describe("a slot that is moved key by key", () => {
  const SLOT = slotOf(LOW);
  const [SELF, LEFT] = [idOf("shard self"), idOf("shard left")];
  /** `{hello}a` and so on: all in the slot. */
  const key = (name: string): string => `{${LOW}}${name}`;
  const ASK = `ASK ${SLOT} left.example:7002`;
  const TRY_AGAIN = "TRYAGAIN Multiple keys request during rehashing of slot";
  const MOVED = `MOVED ${SLOT} left.example:7002`;
  const moving: ClusterMap = { ...THIRDS, openSlots: [{ slot: SLOT, migratingTo: LEFT, importing: [] }] };
  const taking: ClusterMap = {
    ...mapOf(1, { self: upTo(4000, 7999), left: upTo(0, 3999), right: upTo(8000, 16_383) }),
    openSlots: [{ slot: SLOT, migratingTo: SELF, importing: [{ shard: SELF, from: LEFT }] }],
  };

  /** A node with this map, which has some of the keys. */
  async function startWith(map: ClusterMap, ...names: readonly string[]): ReturnType<typeof startRouted> {
    const node = await startRouted(THIRDS);
    for (const name of names) expect(await node.run(`set ${key(name)} ${name}`)).toBe("OK");
    node.change(map);
    return node;
  }

  // What redis-server 7.0 answers is compared in test/peers/setslot.test.ts.
  const asked = [
    [`get ${key("here")}`, "here", "here", MOVED],
    [`get ${key("gone")}`, ASK, "nil", MOVED],
    [`mget ${key("here")} ${key("too")}`, "[here too]", "[here too]", MOVED],
    [`mget ${key("here")} ${key("gone")}`, TRY_AGAIN, TRY_AGAIN, MOVED],
    [`mget ${key("gone")} ${key("lost")}`, ASK, TRY_AGAIN, MOVED],
    [`mget ${key("gone")} ${key("gone")}`, ASK, "[nil nil]", MOVED],
    [`exists ${key("here")} ${key("here")}`, "2", "2", MOVED],
    [`mset ${key("here")} here ${key("new")} 1`, TRY_AGAIN, TRY_AGAIN, MOVED],
    [`rename ${key("here")} ${key("new")}`, TRY_AGAIN, TRY_AGAIN, MOVED],
    [`mget ${key("here")} ${MIDDLE}`, CROSS_SLOT, CROSS_SLOT, CROSS_SLOT],
    [
      `restore-asking ${key("here")} 0 x`,
      "BUSYKEY Target key name already exists.",
      "BUSYKEY Target key name already exists.",
      "BUSYKEY Target key name already exists.",
    ],
    [
      `restore-asking ${key("gone")} 0 x`,
      ASK,
      "ERR DUMP payload version or checksum are wrong",
      "ERR DUMP payload version or checksum are wrong",
    ],
    ["dbsize", "2", "2", "2"],
    [`set ${key("gone")} 1 get`, ASK, "nil", MOVED],
  ] as const;

  test("is served by its owner as far as the keys are there; for others it asks, or to try again", async () => {
    const node = await startWith(moving, "here", "too");
    for (const [line, answer] of asked) expect(`${line} -> ${await node.run(line)}`).toBe(`${line} -> ${answer}`);
    // Others of its slots are as ever, and so is this one afterwards.
    expect(await node.run(`get ${key("")}x`)).toBe(ASK);
    node.change(THIRDS);
    expect(await node.run(`get ${key("gone")}`)).toBe("nil");
    await node.stop();
  });

  test("asks for a key that has expired", async () => {
    const node = await startWith(moving, "here");
    expect(await node.run(`pexpireat ${key("here")} 1`)).toBe("1");
    expect(await node.run(`get ${key("here")}`)).toBe(ASK);
    await node.stop();
  });

  test("is served by the one that takes it in after ASKING, for one command", async () => {
    const node = await startWith(taking, "here", "too");
    for (const [line, , answer, without] of asked) {
      expect(`${line} -> ${await node.run(line)}`).toBe(`${line} -> ${without}`);
      expect(await node.run("asking")).toBe("OK");
      expect(`${line} -> ${await node.run(line)}`).toBe(`${line} -> ${answer}`);
    }
    expect(await node.run("asking")).toBe("OK");
    expect(await node.run("asking")).toBe("OK");
    expect(await node.run(`get ${key("here")}`)).toBe("here");
    expect(await node.run(`get ${key("here")}`)).toBe(MOVED);
    // Whatever came after ASKING, it was that.
    for (const line of ["ping", "nope", "get", `get ${HIGH}`]) {
      expect(await node.run("asking")).toBe("OK");
      await node.run(line);
      expect(await node.run(`get ${key("here")}`)).toBe(MOVED);
    }
    await node.stop();
  });

  test("in transactions: ASKING is for the whole of it, and all keys count", async () => {
    const taker = await startWith(taking, "here", "too");
    for (const line of ["asking", "multi"]) expect(await taker.run(line)).toBe("OK");
    for (const name of ["here", "too"]) expect(await taker.run(`get ${key(name)}`)).toBe("QUEUED");
    expect(await taker.run("exec")).toBe("[here too]");
    expect(await taker.run(`get ${key("here")}`)).toBe(MOVED);
    for (const line of ["asking", "multi"]) expect(await taker.run(line)).toBe("OK");
    for (const name of ["here", "gone"]) expect(await taker.run(`get ${key(name)}`)).toBe("QUEUED");
    expect(await taker.run("exec")).toBe(TRY_AGAIN);
    await taker.stop();

    const owner = await startWith(moving, "here", "too");
    expect(await owner.run("multi")).toBe("OK");
    expect(await owner.run(`get ${key("gone")}`)).toBe(ASK);
    expect(await owner.run("exec")).toBe("EXECABORT Transaction discarded because of previous errors.");
    // A key that was there when it was queued, and has gone meanwhile.
    owner.change(THIRDS);
    expect(await owner.run("multi")).toBe("OK");
    for (const name of ["here", "gone"]) expect(await owner.run(`get ${key(name)}`)).toBe("QUEUED");
    owner.change(moving);
    expect(await owner.run("exec")).toBe(TRY_AGAIN);
    owner.change(THIRDS);
    expect(await owner.run("multi")).toBe("OK");
    for (const name of ["lost", "gone"]) expect(await owner.run(`get ${key(name)}`)).toBe("QUEUED");
    owner.change(moving);
    expect(await owner.run("exec")).toBe(ASK);
    expect(await owner.run("dbsize")).toBe("2");
    await owner.stop();
  });

  test("at the owner's replica: what is there for those who read there, else it is the owner's", async () => {
    const node = await startWith(THIRDS, "here");
    const [own, left, right] = [SELF, LEFT, idOf("shard right")].map((id) =>
      THIRDS.shards.find((each) => each.id === id),
    );
    if (own === undefined || left === undefined || right === undefined) throw new Error("three shards");
    const owner = { ...own, primary: NODES.left.id, replicas: [NODES.self.id], inSync: [NODES.left.id, NODES.self.id] };
    node.change({
      ...THIRDS,
      shards: [owner, { ...left, slots: [], primary: NODES.right.id }, { ...right, primary: NODES.right.id }],
      openSlots: [{ slot: SLOT, migratingTo: LEFT, importing: [] }],
    });
    expect(await node.run(`get ${key("here")}`)).toBe(MOVED);
    await node.stop();
  });

  test("is nobody's to take in for a node that lost what it held, or that nobody admitted, or if it is nobody's", () => {
    const self = { id: NODES.self.id, start: NODES.self.start };
    const partOf = (map: ClusterMap): string | undefined => makeRoutes(map, self).open.get(SLOT)?.part;
    expect(partOf(taking)).toBe("taker");
    expect(partOf(moving)).toBe("owner");
    expect(makeRoutes(taking, { ...self, start: "another" }).open.size).toBe(0);
    const restarted = taking.nodes.map((node) => (node.id === self.id ? { ...node, incarnation: 2 } : node));
    expect(partOf({ ...taking, nodes: restarted })).toBeUndefined();
    const free = makeMap(
      1,
      Object.values(NODES).map((node) => ({ node, shardId: idOf(`shard ${node.name}`), slots: [] })),
    );
    expect(partOf({ ...free, openSlots: taking.openSlots })).toBeUndefined();
    // Neither is it served before its last owner knows that it lost it.
    const release = { node: NODES.right.id, incarnation: 1, version: 1, slots: [{ first: SLOT, last: SLOT }] };
    expect(partOf({ ...moving, releases: [release] })).toBeUndefined();
  });
});

test("commands on a fenced slot wait until it is known whose it is, with transactions on it and writes of all keys; others do not", async () => {
  const node = await startRouted(THIRDS);
  const [other, { slot }] = ["k2", { slot: slotOf(LOW) }];
  expect(slotOf(other)).toBeLessThan(4000);
  expect(slotOf(other)).not.toBe(slot);
  await node.run(`set ${LOW} before`);
  const [self, left] = ["self", "left"].map((name) => idOf(`shard ${name}`));
  const task = {
    id: "m",
    source: self ?? "",
    target: left ?? "",
    slots: upTo(slot, slot),
    isPaused: false,
    cause: "",
    startedAtMs: 0,
  };
  const fence = { version: 2, sourceEpoch: 1, targetEpoch: 1 };
  node.change({ ...THIRDS, version: 2, migrations: [{ ...task, fence }] });
  const told: string[] = [];
  const waiting = [`get ${LOW}`, `set ${LOW} after`, "flushall"].map((line) =>
    node.begin(line).then((reply) => told.push(`${line}: ${reply}`)),
  );
  for (const line of ["multi", `set ${other} 1`]) await node.run(line);
  expect(await node.run("exec")).toBe("[OK]");
  expect(await node.run("dbsize")).toBe("2");
  await node.run("multi");
  expect(await node.run(`get ${LOW}`)).toBe("QUEUED");
  const transaction = node.run("exec").then((reply) => told.push(`exec: ${reply}`));
  expect(await node.begin(`get ${other}`)).toBe("1");
  expect(told).toEqual([]);
  const owned: readonly SlotRange[] = [
    { first: 0, last: slot - 1 },
    { first: slot + 1, last: 3999 },
  ];
  node.change(mapOf(3, { self: owned, left: [...upTo(slot, slot), ...upTo(4000, 7999)], right: upTo(8000, 16_383) }));
  await Promise.all([...waiting, transaction]);
  const moved = `MOVED ${slot} left.example:7002`;
  expect(told.toSorted()).toEqual([
    `exec: ${moved}`,
    "flushall: OK",
    `get ${LOW}: ${moved}`,
    `set ${LOW} after: ${moved}`,
  ]);
  await node.stop();
});

/** A fence on one slot of the node that is tested. */
function fencedMap(slot: number): ClusterMap {
  const [source = "", target = ""] = ["self", "left"].map((name) => idOf(`shard ${name}`));
  const fence = { version: 2, sourceEpoch: 1, targetEpoch: 1 };
  const task = { id: "m", source, target, slots: upTo(slot, slot), isPaused: false, cause: "", startedAtMs: 0, fence };
  return { ...THIRDS, version: 2, migrations: [task] };
}

/** What INFO says of the commands that wait: how many, in bytes, and how many did not. */
async function waitingAt(node: { run: (line: string) => Promise<string> }): Promise<readonly number[]> {
  const info = await node.run("info stats");
  return ["waiting_commands", "waiting_bytes", "refused_commands", "waited_commands"].map((name) =>
    Number(new RegExp(`fence_${name}:([0-9]+)`).exec(info)?.[1]),
  );
}

test("no more commands wait for a fence than may: others are told to try again, and nothing of them is done", async () => {
  const node = await startRouted(THIRDS, { maxHeldCommands: 3 });
  const slot = slotOf(LOW);
  await node.run(`set ${LOW} 1`);
  node.change(fencedMap(slot));
  const waiting = Array.from({ length: 3 }, () => node.begin(`incr ${LOW}`));
  expect((await waitingAt(node))[0]).toBe(3);
  const tryAgain = "TRYAGAIN Too many commands wait until it is agreed whose the slot is";
  expect(await node.begin(`incr ${LOW}`)).toBe(tryAgain);
  expect(await node.begin("flushall")).toBe(tryAgain);
  for (const line of ["multi", `incr ${LOW}`]) await node.run(line);
  expect(await node.run("exec")).toBe(tryAgain);
  // The transaction is over.
  expect(await node.run("exec")).toBe("ERR EXEC without MULTI");
  for (const line of ["multi", "flushall"]) await node.run(line);
  expect(await node.run("exec")).toBe(tryAgain);
  expect((await waitingAt(node))[2]).toBe(4);
  node.change({ ...THIRDS, version: 3 });
  expect((await Promise.all(waiting)).toSorted()).toEqual(["2", "3", "4"]);
  expect(await node.run(`get ${LOW}`)).toBe("4");
  expect((await waitingAt(node)).slice(0, 2)).toEqual([0, 0]);
  await node.stop();
});

test("a command that waits counts once, however often the map changes meanwhile", async () => {
  const node = await startRouted(THIRDS);
  const slot = slotOf(LOW);
  node.change(fencedMap(slot));
  const client = node.connect();
  const first = client.execute("incr", LOW);
  for (let version = 3; version < 6; version += 1) {
    node.change({ ...fencedMap(slot), version });
    expect((await waitingAt(node))[0]).toBe(1);
  }
  expect((await waitingAt(node))[3]).toBe(1);
  node.change({ ...THIRDS, version: 6 });
  expect(await first).toBe(1);
  node.change({ ...fencedMap(slot), version: 7 });
  const second = node.connect().execute("incr", LOW);
  expect((await waitingAt(node))[3]).toBe(2);
  node.change({ ...THIRDS, version: 8 });
  expect(await second).toBe(2);
  await node.stop();
});

test("commands that wait for a fence have no more bytes than they may, but for one by itself; and count until their client goes", async () => {
  const node = await startRouted(THIRDS, { maxHeldBytes: "10kb" });
  const slot = slotOf(LOW);
  node.change(fencedMap(slot));
  const long = "x".repeat(20_000);
  const gone = node.connect();
  const first = gone.execute("set", LOW, long).catch(() => "closed");
  expect((await waitingAt(node))[1]).toBeGreaterThan(20_000);
  expect(await node.begin(`get ${LOW}`)).toStartWith("TRYAGAIN ");
  gone.close();
  expect(await first).toBe("closed");
  expect((await waitingAt(node)).slice(0, 2)).toEqual([0, 0]);
  const second = node.begin(`set ${LOW} ${"y".repeat(9000)}`);
  expect(await node.begin(`set ${LOW} ${"z".repeat(2000)}`)).toStartWith("TRYAGAIN ");
  const third = node.begin(`strlen ${LOW}`);
  expect((await waitingAt(node))[0]).toBe(2);
  node.change({ ...THIRDS, version: 3 });
  expect(await Promise.all([second, third])).toEqual(["OK", "9000"]);
  await node.stop();
});
