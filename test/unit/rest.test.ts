/** The plugin rest over a door without sockets: what each operation answers, and what it refuses. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { topologyService } from "../../src/contracts/topology.ts";
import type { Node } from "../../src/node.ts";
import { type FakeHttpDoor, TOKENS, startHttpNode } from "../support/http-door.ts";

const token = TOKENS.readToken;
let node: Node;
let door: FakeHttpDoor;
beforeAll(async () => {
  ({ node, door } = await startHttpNode({ name: "a" }));
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
