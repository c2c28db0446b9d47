/** REST on a cluster of two shards with a replica each, over real sockets: what any node tells and changes, whoever has it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { keySlot } from "../../src/codec/slot.ts";
import { topologyService } from "../../src/contracts/topology.ts";
import { type Node, createNode } from "../../src/node.ts";
import type { ShardView } from "../../src/rest/schemas.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { TOKENS } from "../support/http-door.ts";
import type { Schema } from "../support/json-schema.ts";
import { OpenApiDocument } from "../support/openapi-document.ts";

const PORTS = [21_980, 21_981, 21_982, 21_983] as const;
const HTTP_PORT = 26_980;
const nodes: Node[] = [];
/** What all answers are held to. */
let openApi: OpenApiDocument | undefined;

interface Reply<Body> {
  readonly status: number;
  readonly body: Body;
  readonly headers: Headers;
}

/** Asks a node as an administrator. */
async function ask<Body = Record<string, unknown>>(
  at: number,
  method: string,
  path: string,
  json?: unknown,
): Promise<Reply<Body>> {
  const response = await fetch(`http://127.0.0.1:${HTTP_PORT + at}${path}`, {
    method,
    redirect: "manual",
    headers: { authorization: `Bearer ${TOKENS.adminToken}`, "content-type": "application/json" },
    ...(json === undefined ? {} : { body: JSON.stringify(json) }),
  });
  const { status, headers } = response;
  const text = await response.text();
  openApi ??= new OpenApiDocument((await (await fetch(`http://127.0.0.1:${HTTP_PORT}/openapi/json`)).json()) as Schema);
  expect(openApi.misfitsAt(method, path, { status, headers, text }), `${method} ${path}`).toEqual([]);
  return { status, body: JSON.parse(text) as Body, headers };
}

async function until(what: string, isSo: () => Promise<boolean> | boolean, withinMs = 20_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`It did not come about: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

interface NodeView {
  readonly id: string;
  readonly name: string;
  readonly is_master: boolean;
  readonly is_replica: boolean;
  readonly slot_count: number;
  readonly master_id: string | null;
  readonly shard_id: string;
  readonly state: string;
}

const nodesOf = async (at = 0): Promise<readonly NodeView[]> =>
  (await ask<{ nodes: NodeView[] }>(at, "GET", "/cluster/nodes")).body.nodes;
const keySlotOf = (key: string): number => {
  const bytes = new TextEncoder().encode(key);
  return keySlot(bytes, 0, bytes.length);
};
const named = async (name: string): Promise<NodeView> =>
  present(
    (await nodesOf()).find((node) => node.name === name),
    `there is a node ${name}`,
  );
const stateAt = async (at: number): Promise<unknown> => (await ask(at, "GET", "/cluster/info")).body["state"];

beforeAll(async () => {
  for (const [at, port] of PORTS.entries()) {
    const node = await createNode({
      world: createBunWorld({ logLevel: "silent" }),
      config: {
        name: `n${at}`,
        port,
        busPort: port + 500,
        password: "a password",
        join: PORTS.map((each) => `127.0.0.1:${each + 500}`).join(","),
        bootstrapExpect: PORTS.length,
        replicas: 1,
        plugins: { http: { ...TOKENS, port: HTTP_PORT + at, requestsPerSecond: 0 }, discovery: { preset: "local" } },
      },
    });
    nodes.push(node);
  }
  await Promise.all(nodes.map((node) => node.start()));
  await until("all to be well", async () =>
    (await Promise.all(PORTS.map((_, at) => stateAt(at)))).every((state) => state === "ok"),
  );
});
afterAll(async () => {
  await Promise.all(nodes.map((node) => node.stop()));
});

describe("what is told", () => {
  test("is the same at every node", async () => {
    for (const path of ["/cluster/slots", "/cluster/slots?format=ranges", "/cluster/settings"]) {
      const all = await Promise.all(PORTS.map((_, at) => ask(at, "GET", path)));
      for (const each of all) expect(each.body).toEqual(all[0]?.body ?? {});
    }
    const slots = await ask<{ slots: unknown[]; total: number; assigned: number; coverage: number }>(
      2,
      "GET",
      "/cluster/slots",
    );
    expect(slots.body.slots).toHaveLength(16_384);
    expect(slots.body).toMatchObject({ total: 16_384, assigned: 16_384, coverage: 100 });
    for (const [at] of PORTS.entries()) {
      const seen = await nodesOf(at);
      expect(seen.filter((node) => node.is_master).map((node) => node.slot_count)).toEqual([8192, 8192]);
      expect(seen.filter((node) => node.is_replica)).toHaveLength(2);
      expect(seen.every((node) => node.state === "alive")).toBe(true);
    }
  });

  test("of a node is everything, and of none there is nothing", async () => {
    const replica = present(
      (await nodesOf()).find((node) => node.is_replica),
      "there is a replica",
    );
    const { status, body } = await ask(1, "GET", `/cluster/nodes/${replica.id}`);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      id: replica.id,
      is_replica: true,
      in_sync: true,
      slots: [],
      replica_ids: [],
      master_id: replica.master_id,
      addresses: { http: [expect.stringMatching(/^127\.0\.0\.1:2698[0-3]$/)] },
    });
    const primary = await ask<{ replica_ids: string[]; slots: unknown[] }>(
      1,
      "GET",
      `/cluster/nodes/${replica.master_id ?? ""}`,
    );
    expect(primary.body.replica_ids).toEqual([replica.id]);
    expect(primary.body.slots).toHaveLength(1);
    const none = await ask(1, "GET", `/cluster/nodes/${"0".repeat(40)}`);
    expect(none.status).toBe(404);
    expect(none.headers.get("content-type")).toBe("application/problem+json");
  });
});

describe("a key", () => {
  const at = (
    path: string,
    { headers, ...init }: Omit<RequestInit, "headers"> & { readonly headers?: Record<string, string> } = {},
  ): Promise<Response> =>
    fetch(path, {
      redirect: "manual",
      ...init,
      headers: { authorization: `Bearer ${TOKENS.operateToken}`, ...headers },
    });
  const url = (node: number, path: string): string => `http://127.0.0.1:${HTTP_PORT + node}/kv/${path}`;

  test("that another node has is asked for there, or by the node that is asked", async () => {
    const primaries = (await nodesOf()).filter((node) => node.is_master).map((node) => node.id);
    for (const [node] of PORTS.entries()) {
      for (const key of ["one", "two", "three", "a%2Fb%FF"]) {
        const value = `${key} by ${node}`;
        const first = await at(url(node, `${key}?ttl_ms=100000`), { method: "PUT", body: value });
        if (first.status === 307) {
          const moved = (await first.json()) as { code: string; slot: number; node_id: string; location: string };
          expect(moved).toMatchObject({ code: "MOVED", location: first.headers.get("location") ?? "" });
          expect(primaries).toContain(moved.node_id);
          expect(moved.location).toEndWith(`/kv/${key}?ttl_ms=100000`);
          expect((await at(moved.location, { method: "PUT", body: value })).status).toBe(204);
        } else expect(first.status).toBe(204);
        const read = await at(url(node, `${key}?route=proxy`));
        expect([read.status, await read.text()]).toEqual([200, value]);
        const tag = read.headers.get("etag") ?? "";
        const set = await at(url(node, `${key}?route=proxy`), {
          method: "PUT",
          body: `${value}!`,
          headers: { "if-match": tag },
        });
        expect(set.status).toBe(204);
        const stale = await at(url(node, `${key}?route=proxy`), { method: "DELETE", headers: { "if-match": tag } });
        expect(stale.status).toBe(412);
      }
    }
    const replica = nodes.findIndex((node) => !primaries.includes(node.facts.id));
    expect((await at(url(replica, "one"))).status).toBe(307);
    const operations = ["one", "two", "three"].map((key) => ({ op: "get", key }));
    const told = await ask<{ results: { status: number; value?: string; location?: string }[] }>(
      replica,
      "POST",
      "/kv/batch",
      { operations },
    );
    expect(told.body.results.map(({ status }) => status)).toEqual([307, 307, 307]);
    expect(told.body.results[0]?.location).toEndWith("/kv/one");
    const proxied = await ask<{ results: { status: number; value?: string }[] }>(
      replica,
      "POST",
      "/kv/batch?route=proxy",
      { operations },
    );
    expect(proxied.body.results.map(({ value }) => value)).toEqual(["one by 3!", "two by 3!", "three by 3!"]);
  });

  test("of a slot that is moved key by key is asked for where it is", async () => {
    const [from, to] = (await nodesOf()).filter((node) => node.is_master);
    const [source, target] = [present(from, "there is one"), present(to, "and another one")];
    const sourceAt = nodes.findIndex((node) => node.facts.id === source.id);
    const { slots } = (await ask<{ slots: { slot: number; owner: string }[] }>(0, "GET", "/cluster/slots")).body;
    const key = present(
      Array.from({ length: 100 }, (_, each) => `moving-${each}`).find(
        (each) => slots[keySlotOf(each)]?.owner === source.id,
      ),
      "one of a hundred keys is there",
    );
    const slot = keySlotOf(key);
    const source1 = present(nodes[sourceAt], "there is one").connect();
    const target1 = present(
      nodes.find((node) => node.facts.id === target.id),
      "and another one",
    ).connect();
    expect(await target1.execute("cluster", "setslot", String(slot), "importing", source.id)).toBe("OK");
    expect(await source1.execute("cluster", "setslot", String(slot), "migrating", target.id)).toBe("OK");
    expect((await ask(0, "GET", `/cluster/migration/${slot}`)).body).toMatchObject({
      state: "key-by-key",
      from_node: source.id,
      to_node: target.id,
    });
    const sent = await at(url(sourceAt, key));
    expect(sent.status).toBe(307);
    expect(await sent.json()).toMatchObject({ code: "ASK", slot, node_id: target.id });
    const location = sent.headers.get("location") ?? "";
    expect(location).toEndWith(`/kv/${key}?asking=true`);
    expect((await at(location, { method: "PUT", body: "there" })).status).toBe(204);
    expect(await (await at(url(sourceAt, `${key}?route=proxy`))).text()).toBe("there");
    const conditional = await at(url(sourceAt, `${key}?route=proxy`), {
      method: "PUT",
      body: "x",
      headers: { "if-match": '"a"' },
    });
    expect(conditional.status).toBe(503);
    expect(await source1.execute("cluster", "setslot", String(slot), "node", target.id)).toBe("OK");
    expect(await (await at(url(sourceAt, `${key}?route=proxy`))).text()).toBe("there");
    const back = await ask(0, "POST", "/cluster/migration/start", { slot, from_node: target.id, to_node: source.id });
    expect((await ask(0, "POST", "/cluster/migration/complete", { id: back.body["id"] })).body["state"]).toBe(
      "completed",
    );
    for (const connection of [source1, target1]) connection.close();
  });
});

describe("a change", () => {
  test("of slots moves them with their keys; any node may be asked how far it is", async () => {
    const [from, to] = (await nodesOf()).filter((node) => node.is_master);
    const first = present(from, "there is one primary");
    const second = present(to, "and another one");
    const own =
      (await ask<{ slots: { start: number }[] }>(0, "GET", `/cluster/nodes/${first.id}`)).body.slots[0]?.start ?? 0;
    expect((await ask(0, "GET", `/cluster/migration/${own}`)).body).toEqual({ slot: own, migration: null });
    const wrong = await ask(3, "POST", "/cluster/migration/start", {
      slot: own,
      from_node: second.id,
      to_node: first.id,
    });
    expect(wrong.status).toBe(409);
    const started = await ask(3, "POST", "/cluster/migration/start", {
      slots: [{ start: own, end: own + 9 }],
      from_node: first.id,
      to_node: second.id,
      cause: "a test",
    });
    expect(started.status).toBe(202);
    expect(started.body).toMatchObject({
      from_node: first.id,
      to_node: second.id,
      slots: [{ start: own, end: own + 9, count: 10 }],
    });
    expect(started.body["cause"]).toStartWith("a test (POST /cluster/migration/start from 127.0.0.1:");
    const done = await ask(2, "POST", "/cluster/migration/complete", { slot: own + 3 });
    expect(done.status).toBe(200);
    expect(done.body).toMatchObject({ state: "completed", id: started.body["id"] ?? "" });
    for (const [at] of PORTS.entries()) {
      await until("the map to be there", async () => {
        const { body } = await ask<{ slots: { slot: number; owner: string }[] }>(at, "GET", "/cluster/slots");
        return body.slots[own]?.owner === second.id;
      });
      expect((await ask(at, "GET", `/cluster/migration/${own}`)).body).toMatchObject({ slot: own, state: "completed" });
    }
    expect((await ask(0, "POST", "/cluster/migration/cancel", { slot: own })).status).toBe(409);
    expect((await ask(0, "POST", "/cluster/migration/cancel", { slot: own + 100 })).status).toBe(404);
  });

  test("of slots waits for the word to be completed, if that is wanted; or is taken back", async () => {
    const [from, to] = (await nodesOf()).filter((node) => node.is_master);
    const [first, second] = [present(from, "there is one primary"), present(to, "and another one")];
    const own = (await ask<{ slots: { start: number }[] }>(0, "GET", `/cluster/nodes/${first.id}`)).body.slots[0]
      ?.start;
    const wish = { slot: own, from_node: first.id, to_node: second.id, auto_complete: false };
    for (const isCancelled of [true, false]) {
      const { status, body } = await ask(2, "POST", "/cluster/migration/start", wish);
      expect([status, body["auto_complete"]]).toEqual([202, false]);
      await until("it to be level, as any node tells", async () => {
        const seen = await Promise.all(PORTS.map((_, at) => ask(at, "GET", `/cluster/migration/${own}`)));
        return seen.every((each) => each.body["state"] === "level" && each.body["total_keys"] !== null);
      });
      expect((await ask(0, "GET", `/cluster/migration/${own}`)).body["waiting_for"]).toBe("the word to be completed");
      expect((await ask(3, "POST", "/cluster/migration/pause", { slot: own })).body["is_paused"]).toBe(true);
      expect((await ask(2, "POST", "/cluster/migration/resume", { slot: own })).body["is_paused"]).toBe(false);
      if (isCancelled) {
        expect((await ask(1, "POST", "/cluster/migration/cancel", { slot: own })).body["state"]).toBe("aborted");
        continue;
      }
      const done = await ask(1, "POST", "/cluster/migration/complete", { slot: own });
      expect([done.status, done.body["state"]]).toEqual([200, "completed"]);
    }
    const back = await ask(0, "POST", "/cluster/migration/start", {
      slot: own,
      from_node: second.id,
      to_node: first.id,
    });
    expect((await ask(0, "POST", "/cluster/migration/complete", { id: back.body["id"] })).body["state"]).toBe(
      "completed",
    );
  });

  test("of who leads a shard is a replica's to take over, by whoever is asked", async () => {
    const replica = present(
      (await nodesOf()).find((node) => node.is_replica),
      "there is a replica",
    );
    const primary = await ask(0, "POST", "/cluster/failover", { node_id: replica.master_id });
    expect(primary.status).toBe(409);
    for (const [at] of PORTS.entries()) {
      const now = await named(replica.name);
      const wanted = now.is_replica
        ? now.id
        : present(
            (await nodesOf()).find((node) => node.master_id === now.id),
            "the other one",
          ).id;
      const { status, body } = await ask(at, "POST", "/cluster/failover", { node_id: wanted });
      expect([status, body["primary"]]).toEqual([200, wanted]);
      await until("all to be well again", async () =>
        (await Promise.all(PORTS.map((_, each) => stateAt(each)))).every((state) => state === "ok"),
      );
    }
  });

  test("of settings is all or none", async () => {
    const { status, body } = await ask<{ settings: Record<string, string> }>(1, "PUT", "/cluster/settings", {
      acks: "primary",
      "on-loss": "accept",
    });
    expect(status).toBe(200);
    expect(body.settings).toMatchObject({ acks: "primary", "on-loss": "accept" });
    const refused = await ask(1, "PUT", "/cluster/settings", { acks: "in-sync", "on-loss": "perhaps" });
    expect(refused.status).toBe(422);
    expect((await ask<{ settings: Record<string, string> }>(1, "GET", "/cluster/settings")).body.settings["acks"]).toBe(
      "primary",
    );
    await ask(1, "PUT", "/cluster/settings", { acks: "in-sync", "on-loss": "stop" });
  });

  test("by a plan: it is shown, applied once, and stale then", async () => {
    const made = await ask<{ id: string; slot_count: number; moves: unknown[] }>(0, "POST", "/cluster/plans", {
      kind: "rebalance",
      threshold_percent: 0,
    });
    expect(made.status).toBe(201);
    expect(made.body.slot_count).toBe(10);
    expect((await ask(0, "GET", `/cluster/plans/${made.body.id}`)).body).toMatchObject({
      id: made.body.id,
      stale: null,
    });
    expect((await ask(1, "GET", `/cluster/plans/${made.body.id}`)).status).toBe(404);
    const applied = await ask<{ migrations: string[] }>(0, "POST", `/cluster/plans/${made.body.id}/apply`);
    expect(applied.status).toBe(202);
    for (const id of applied.body.migrations) {
      const { status, body } = await ask(0, "POST", "/cluster/migration/complete", { id });
      expect([status, body["state"]]).toEqual([200, "completed"]);
    }
    const again = await ask(0, "POST", `/cluster/plans/${made.body.id}/apply`);
    expect(again.status).toBe(409);
    expect(again.body).toMatchObject({ type: "urn:bunch:problem:stale" });
  });

  test("of which nodes there are takes one in, the one that is meant and no other, and out again", async () => {
    const port = 21_984;
    const added = await createNode({
      world: createBunWorld({ logLevel: "silent" }),
      config: {
        name: "added",
        port,
        busPort: port + 500,
        password: "a password",
        empty: true,
        plugins: { http: false },
      },
    });
    await added.start();
    const address = `127.0.0.1:${port}`;
    const meet = (more: Record<string, unknown>): Promise<Reply<Record<string, unknown>>> =>
      ask(1, "POST", "/cluster/nodes", { address, bus_port: port + 500, ...more });
    const known = (await nodesOf())[0]?.id;
    expect((await meet({ node_id: known })).status).toBe(409);
    expect((await meet({ node_id: "0".repeat(40) })).body).toMatchObject({
      status: 409,
      detail: "Another node than that is at this address.",
    });
    expect((await meet({ node_id: "0".repeat(40), bus_port: 21_986 })).status).toBe(503);
    expect((await meet({ address: "nowhere" })).status).toBe(422);
    expect((await meet({ address: "127.0.0.1:99999" })).status).toBe(422);
    const { status, body } = await meet({ node_id: added.facts.id });
    expect([status, body["id"], body["slot_count"]]).toEqual([201, added.facts.id, 0]);
    expect((await meet({})).status).toBe(409);
    expect((await ask(2, "POST", "/cluster/failover", { node_id: added.facts.id })).status).toBe(409);
    const shard = body["shard_id"];
    expect((await ask(2, "POST", "/cluster/accept-loss", { shard_id: shard })).status).toBe(409);
    expect((await ask(2, "POST", "/cluster/accept-loss", { shard_id: "0".repeat(40) })).status).toBe(404);
    expect((await ask(2, "DELETE", `/cluster/nodes/${added.facts.id}`)).body).toEqual({
      node_id: added.facts.id,
      state: "removed",
    });
    await added.stop();
    await until("it to be gone", async () =>
      (await Promise.all(PORTS.map((_, at) => nodesOf(at)))).every((seen) => seen.length === 4),
    );
  });

  test("of a primary that is drained takes its slots away, and then itself", async () => {
    const primary = present(
      (await nodesOf()).find((node) => node.is_master),
      "there is a primary",
    );
    const other = present(
      (await nodesOf()).find((node) => node.is_master && node.id !== primary.id),
      "and another one",
    );
    const at = nodes.findIndex((node) => node.facts.id === other.id);
    const refused = await ask(at, "DELETE", `/cluster/nodes/${primary.id}`);
    expect(refused.status).toBe(409);
    expect(refused.body["detail"]).toContain("owns slots");
    // Any node may be asked, its own replica too.
    const own = (await nodesOf()).find((node) => node.master_id === primary.id);
    const atReplica = nodes.findIndex((node) => node.facts.id === own?.id);
    const path = `/cluster/nodes/${primary.id}?drain=true`;
    // One of its slots goes by somebody else's move, which waits for a word: that is waited for, however fast the others are.
    const { shards } = (await ask<{ shards: ShardView[] }>(at, "GET", "/cluster/shards")).body;
    const slot = present(shards.find(({ id }) => id === primary.shard_id)?.slots[0], "it has slots").start;
    const wish = { slot, from_node: primary.id, to_node: other.id, auto_complete: false };
    const held = await ask<{ id: string }>(at, "POST", "/cluster/migration/start", wish);
    expect(held.status).toBe(202);
    const begun = await ask<{ migrations: string[] }>(atReplica, "DELETE", `${path}&wait_ms=0`);
    expect([begun.status, begun.body]).toMatchObject([202, { state: "draining" }]);
    expect(begun.body.migrations).toContain(held.body.id);
    await until("the others to be gone", async () => {
      const going = await ask<{ slots_left: number }>(atReplica, "DELETE", `${path}&wait_ms=0`);
      return going.status === 202 && going.body.slots_left === 1;
    });
    expect((await ask(at, "POST", "/cluster/migration/complete", { slot })).status).toBe(200);
    const removed = await ask(atReplica, "DELETE", path);
    expect([removed.status, removed.body]).toEqual([200, { node_id: primary.id, state: "removed" }]);
    expect((await nodesOf(at)).map((node) => node.id)).not.toContain(primary.id);
    expect((await ask(at, "DELETE", path)).status).toBe(404);
    // What is left of its shard holds nothing: it becomes another replica.
    const left = present(
      (await nodesOf(at)).find((node) => node.is_master && node.slot_count === 0),
      "one is left over",
    );
    const made = await ask(at, "POST", "/cluster/replicate", { node_id: left.id, master_id: other.id });
    expect([made.status, made.body["master_id"]]).toEqual([200, other.id]);
    const self = present(nodes[at]?.service(topologyService), "there is a map").self.id;
    expect((await ask(at, "DELETE", `/cluster/nodes/${self}`)).status).toBe(409);
  });
});
