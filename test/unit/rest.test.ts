/** The plugin rest over a door without sockets: what each operation answers, and what it refuses. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { topologyService } from "../../src/contracts/topology.ts";
import { defaultPlugins } from "../../src/default-plugins.ts";
import type { Node } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { hasty } from "../support/hasty-clock.ts";
import { type FakeHttpDoor, TOKENS, startHttpNode } from "../support/http-door.ts";
import { holdToDocument } from "../support/openapi-document.ts";

const token = TOKENS.readToken;
let node: Node;
let door: FakeHttpDoor;
beforeAll(async () => {
  ({ node, door } = await startHttpNode({ name: "a" }));
  await holdToDocument(door);
});
afterAll(async () => {
  await node.stop();
});

describe("GET /cluster/info", () => {
  test("tells how the cluster is", async () => {
    const { map } = present(node.service(topologyService), "there is a map");
    const answer = await door.ask("/cluster/info", { token });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toStartWith("application/json");
    expect(answer.json()).toEqual({
      cluster_enabled: true,
      cluster_id: map.clusterId,
      state: "ok",
      reasons: [],
      slot_assignment: "complete",
      slots: { assigned: 16_384, total: 16_384, coverage: 100 },
      nodes: { count: 1, my_node_id: node.facts.id },
      shards: { count: 1, with_slots: 1 },
      leader: node.facts.id,
      term: 1,
      map_version: map.version,
    });
  });

  test("wants a token from elsewhere", async () => {
    const answer = await door.ask("/cluster/info", { from: "10.0.0.9:1" });
    expect(answer.status).toBe(401);
    expect(answer.headers.get("www-authenticate")).toBe("Bearer");
    expect(answer.json()).toMatchObject({ type: "urn:bunch:problem:unauthorized" });
  });

  test("takes no parameter that it does not know, no other method, and no other path", async () => {
    const unknown = await door.ask("/cluster/info?verbose=1", { token });
    expect(unknown.status).toBe(422);
    expect(unknown.json()).toMatchObject({
      type: "urn:bunch:problem:invalid",
      errors: [{ in: "query", field: "/verbose" }],
    });
    const method = await door.ask("/cluster/info", { token, method: "DELETE" });
    expect(method.status).toBe(405);
    expect(method.headers.get("allow")).toBe("GET");
    expect((await door.ask("/cluster/info/", { token })).status).toBe(404);
    expect((await door.ask("/cluster/infos", { token })).status).toBe(404);
    expect((await door.ask("/cluster/info", { token, method: "HEAD" })).status).toBe(200);
  });
});

describe("GET /cluster/explain", () => {
  interface Explanation {
    readonly slot: number | null;
    readonly owner: string | null;
    readonly shard_id: string | null;
    readonly since_founding: number | null;
    readonly since: { readonly version: number; readonly cause: string; readonly changes: string[] } | null;
    readonly obstacles: readonly string[];
    readonly history: readonly { readonly version: number; readonly cause: string; readonly changes: string[] }[];
  }
  const explain = async (query: string): Promise<Explanation> => {
    const answer = await door.ask(`/cluster/explain?${query}`, { token });
    expect(answer.status, answer.text).toBe(200);
    return answer.json() as Explanation;
  };
  const assign = (cause: string, slot: number) =>
    present(node.service(topologyService), "there is a map").request(
      { type: "assign-slots", node: node.facts.id, slots: [{ first: slot, last: slot }] },
      cause,
    );
  const release = (cause: string, first: number, last: number) =>
    present(node.service(topologyService), "there is a map").request(
      { type: "release-slots", slots: [{ first, last }] },
      cause,
    );

  test("of a slot, or of a key, tells who has it, since which decision, and what was decided before", async () => {
    await release("the first test", 12_180, 12_185);
    const nobodys = await explain("slot=12182");
    expect(nobodys).toMatchObject({ slot: 12_182, owner: null, shard_id: null });
    expect(nobodys.obstacles.join()).toContain("nobody owns the slot");
    expect(nobodys.history[0]).toMatchObject({ cause: "the first test", changes: ["slots 12180-12185 released"] });
    await assign("the second test", 12_182);
    const owned = await explain("key=foo");
    expect(owned).toMatchObject({ slot: 12_182, owner: node.facts.id });
    expect(owned.since?.cause).toBe("the second test");
    expect(owned.history.map(({ cause }) => cause).slice(0, 2)).toEqual(["the second test", "the first test"]);
    // Its neighbours have another history.
    expect((await explain("slot=12181")).history[0]?.cause).toBe("the first test");
    // One that was never touched is as the cluster was founded.
    const topology = present(node.service(topologyService), "there is a map");
    expect(await explain("slot=12187")).toMatchObject({
      since: null,
      since_founding: present(topology.history[0], "the node was admitted").version - 1,
    });
    expect([owned.since_founding, nobodys.since_founding]).toEqual([null, null]);
    expect((await explain("slot=12187")).history.some(({ cause }) => cause === "the first test")).toBe(false);
    expect((await explain("slot=12182&limit=1")).history).toHaveLength(1);
    for (const slot of [12_180, 12_181, 12_183, 12_184, 12_185]) await assign("the third test", slot);
  });

  test("and GET /cluster/slots go by the present map, whatever was told before", async () => {
    const slots = async (): Promise<readonly [number, number | undefined]> => {
      const answer = await door.ask("/cluster/slots", { token });
      expect(answer.headers.get("content-type")).toStartWith("application/json");
      const told = answer.json() as { readonly assigned: number; readonly slots: readonly { readonly slot: number }[] };
      expect(told.slots).toHaveLength(told.assigned);
      return [told.assigned, told.slots[12_190]?.slot];
    };
    expect([await slots(), await slots()]).toEqual([
      [16_384, 12_190],
      [16_384, 12_190],
    ]);
    await release("a test", 12_190, 12_190);
    expect(await slots()).toEqual([16_383, 12_191]);
    expect((await explain("slot=12190")).owner).toBeNull();
    await assign("the third test", 12_190);
    expect(await slots()).toEqual([16_384, 12_190]);
  });

  test("of a node and of a shard tells what keeps them", async () => {
    const ofNode = await explain(`node=${node.facts.id}`);
    expect(ofNode.obstacles).toEqual(["it owns slots: it cannot be taken out before they are moved"]);
    expect(ofNode.history.at(-1)?.changes.join()).toContain(`node ${node.facts.id}`);
    const ofShard = await explain(`shard=${ofNode.shard_id ?? ""}`);
    expect(ofShard.obstacles).toEqual([]);
    expect(ofShard.since?.cause).toBe("the third test");
  });

  test("is about one thing that is there", async () => {
    for (const [query, status] of [
      ["", 422],
      ["slot=1&key=a", 422],
      ["slot=16384", 422],
      ["slot=x", 422],
      ["limit=5", 422],
      ["slot=1&limit=0", 422],
      [`node=${"0".repeat(40)}`, 404],
      ["shard=none", 404],
    ] as const)
      expect((await door.ask(`/cluster/explain?${query}`, { token })).status, query).toBe(status);
  });
});

test("GET /cluster/history tells the last acts, the newest first, and those after a version", async () => {
  const topology = present(node.service(topologyService), "there is a map");
  const before = topology.map.version;
  await topology.request({ type: "change-setting", name: "on-loss", value: "accept" }, "a test of the history");
  const all = (await door.ask("/cluster/history?limit=2", { token })).json() as {
    history: { version: number; cause: string }[];
  };
  expect(all.history.map(({ cause }) => cause)).toEqual(["a test of the history", "the third test"]);
  const after = (await door.ask(`/cluster/history?since=${before}`, { token })).json() as {
    history: { version: number }[];
  };
  expect(after.history.map(({ version }) => version)).toEqual([topology.map.version]);
});

test("GET /cluster/health tells what the checks say, and /cluster/plugins what the node is made of", async () => {
  const health = (await door.ask("/cluster/health", { token })).json() as {
    state: string;
    node_id: string;
    checks: { name: string; state: string }[];
  };
  expect(health.node_id).toBe(node.facts.id);
  expect(health.checks.find(({ name }) => name === "slots")?.state).toBe("ok");
  const { plugins } = (await door.ask("/cluster/plugins", { token })).json() as {
    plugins: { name: string; commands: string[]; hooks: unknown[] }[];
  };
  expect(plugins.map(({ name }) => name)).toEqual(node.bootTree().map(({ plugin }) => plugin));
  expect(plugins.find(({ name }) => name === "strings")?.commands).toContain("getset");
});

describe("REST answers", () => {
  /** Others cannot do without these, or nobody comes without them. */
  const needed = new Set(["keyspace", "bus", "topology", "http", "rest"]);
  for (const { name } of defaultPlugins.filter((plugin) => !needed.has(plugin.name))) {
    test(`without ${name}`, async () => {
      const bare = await startHttpNode({ plugins: { [name]: false } });
      await holdToDocument(bare.door);
      for (const path of [
        "/cluster/info",
        "/cluster/nodes",
        `/cluster/nodes/${bare.node.facts.id}`,
        "/cluster/shards",
        "/cluster/slots?format=ranges",
        "/cluster/migrations",
        "/cluster/migration/7",
        "/cluster/plans",
        "/cluster/settings",
        "/cluster/history",
        "/cluster/explain?slot=7",
        "/cluster/plugins",
        "/openapi/json",
        "/health/ready",
      ])
        expect((await bare.door.ask(path, { token })).status, path).toBe(200);
      expect((await bare.door.ask("/cluster/health", { token })).status).toBe(name === "health" ? 503 : 200);
      const write = { method: "PUT", body: "1", token: TOKENS.operateToken };
      expect((await bare.door.ask("/kv/key", write)).status).toBe(name === "strings" ? 503 : 204);
      await bare.node.stop();
    });
  }
});

describe("a body of JSON", () => {
  test("has no field twice: of two one would be left out", async () => {
    const sent = async (body: string): Promise<unknown> => {
      const headers = { "content-type": "application/json" };
      const answer = await door.ask("/kv/batch", { method: "POST", token: TOKENS.adminToken, headers, body });
      return [answer.status, (answer.json() as { readonly errors?: unknown }).errors];
    };
    const twice = [422, [{ in: "body", field: "", detail: "must have no field twice" }]];
    const read = '{"op":"get","key":"a:b"}';
    expect(await sent(`{"operations":[],"operations":[${read}]}`)).toEqual(twice);
    expect(await sent(`{"operations":[${read},{"op":"get","key":"a","key":"b"}]}`)).toEqual(twice);
    // Written in another way it is the same name.
    expect(await sent(String.raw`{"operations":[{"op":"get","key":"a","k\u0065y":"b"}]}`)).toEqual(twice);
    expect(await sent(`{"operations":[${read},${read}]}`)).toEqual([200, undefined]);
  });
});

describe("POST /cluster/nodes", () => {
  test("tells no stranger this cluster's password, whoever it is said to be", async () => {
    const [port, bus_port] = [23_310, 23_311];
    let heard = "";
    const callers: number[] = [];
    const strangers = [port, bus_port].map((at) =>
      Bun.listen({
        hostname: "127.0.0.1",
        port: at,
        socket: {
          open: () => void callers.push(at),
          data: (_, bytes) => void (heard += bytes.toString("latin1")),
        },
      }),
    );
    const { node: own, door: other } = await startHttpNode(
      { name: "a", password: "what-clients-show" },
      { clock: hasty(createBunWorld().clock) },
    );
    const json = { address: `127.0.0.1:${port}`, bus_port, node_id: "0".repeat(40) };
    const answer = await other.ask("/cluster/nodes", { method: "POST", token: TOKENS.adminToken, json });
    expect([answer.status, answer.json()]).toMatchObject([
      503,
      {
        type: "urn:bunch:problem:unavailable",
        detail: `Nothing was done: no node with this cluster's secret answers at 127.0.0.1:${bus_port}, where other nodes would reach it.`,
      },
    ]);
    // Nor is a meeting said to go on with somebody who is none of us.
    const nameless = await other.ask("/cluster/nodes", {
      method: "POST",
      token: TOKENS.adminToken,
      json: { address: json.address, bus_port },
    });
    expect([nameless.status, nameless.json()]).toEqual([answer.status, answer.json()]);
    // It was asked, and at the bus alone.
    expect(new Set(callers)).toEqual(new Set([bus_port]));
    expect(heard).not.toContain("what-clients-show");
    await own.stop();
    for (const stranger of strangers) stranger.stop(true);
  });
});

describe("PUT /cluster/settings", () => {
  test("names each field that is no setting, or has a value that is none of its own, in words", async () => {
    const { version } = present(node.service(topologyService), "there is a map").map;
    const json = { acks: "banana", nope: "x", "min-in-sync": "0", "auto-rebalance-weights": "a", "on-loss": "stop" };
    const answer = await door.ask("/cluster/settings", { method: "PUT", token: TOKENS.adminToken, json });
    expect(answer.status).toBe(422);
    const { errors } = answer.json() as { errors: { in: string; field: string; detail: string }[] };
    const told = Object.fromEntries(errors.map((error) => [`${error.in} ${error.field}`, error.detail]));
    expect(told).toMatchObject({
      "body /acks": "must be in-sync or primary",
      "body /min-in-sync": "must be a whole number from 1 to 99",
      "body /auto-rebalance-weights": "must be none, or shards by a name or an id, each with its part, such as a=2,b=0",
    });
    expect(Object.keys(told).toSorted()).toEqual([
      "body /acks",
      "body /auto-rebalance-weights",
      "body /min-in-sync",
      "body /nope",
    ]);
    expect(present(node.service(topologyService), "there is a map").map.version).toBe(version);
  });

  test("takes weights that are longer than other values are", async () => {
    const weights = Array.from({ length: 20 }, (_, at) => `${"a".repeat(35)}${at}=1.5`).join(",");
    const answer = await door.ask("/cluster/settings", {
      method: "PUT",
      token: TOKENS.adminToken,
      json: { "auto-rebalance-weights": weights },
    });
    expect(answer.json()).toMatchObject({ settings: { "auto-rebalance-weights": weights } });
  });
});
