/** What REST answers of a key that another node has, by what that one says, and by what this one knows of it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Node } from "../../src/node.ts";
import { FixedTopology } from "../support/fake-migrations.ts";
import { type Answer, type FakeHttpDoor, TOKENS, startHttpNode } from "../support/http-door.ts";
import { holdToDocument } from "../support/openapi-document.ts";
import { planMap } from "../support/plan-map.ts";
import { HALVES, WITHOUT, listenAs } from "../support/rest-scene.ts";

const token = TOKENS.adminToken;

describe("a key that another node has", () => {
  const made = planMap(HALVES);
  const nodes = made.nodes.map((each, at) =>
    at === 0 ? each : { ...each, host: "127.0.0.1", port: 31_012, httpHost: "127.0.0.1", httpPort: 31_013 },
  );
  const topology = new FixedTopology({ ...made, nodes });
  let told = "";
  let peer: Bun.TCPSocketListener<undefined>;
  let node: Node;
  let door: FakeHttpDoor;
  beforeAll(async () => {
    peer = listenAs(31_012, () => told);
    const plugins = { ...WITHOUT, "hash-slot-router": true };
    ({ node, door } = await startHttpNode({ use: [topology.plugin], plugins }));
    await holdToDocument(door);
  });
  afterAll(async () => {
    await node.stop();
    peer.stop(true);
  });

  test("is asked for there, or by this one: what that node says is told, and what nobody knows as that", async () => {
    // foo is in slot 12182.
    for (const [method, unknown] of [
      ["GET", 503],
      ["PUT", 504],
      ["DELETE", 504],
    ] as const) {
      const ask = (query: string): Promise<Answer> =>
        door.ask(`/kv/foo${query}`, { method, token, ...(method === "PUT" ? { body: "x" } : {}) });
      const moved = await ask("");
      expect([moved.status, moved.headers.get("location"), moved.json()], method).toMatchObject([
        307,
        "http://127.0.0.1:31013/kv/foo",
        { code: "MOVED", slot: 12_182, node: "127.0.0.1:31012" },
      ]);
      told = "";
      expect((await ask("?route=proxy")).status, method).toBe(unknown);
      told = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
      const wrong = await ask("?route=proxy");
      expect([wrong.status, wrong.json()], method).toMatchObject([409, { code: "WRONGTYPE" }]);
    }
  });

  test("is nowhere to be sent to, or asked, where this node knows that nobody serves it: it says why", async () => {
    const { map } = topology;
    topology.map = {
      ...map,
      nodes: map.nodes.map((each) => (each.port === 31_012 ? { ...each, incarnation: 0 } : each)),
    };
    for (const query of ["", "?route=proxy"]) {
      const answer = await door.ask(`/kv/foo${query}`, { token });
      expect([answer.status, answer.json()], query).toMatchObject([
        503,
        {
          type: "urn:bunch:problem:cluster-down",
          detail: "Nobody serves slot 12182: primary n1 has not started yet.",
          code: "CLUSTERDOWN",
          slot: 12_182,
        },
      ]);
      expect(answer.headers.get("retry-after")).toBe("1");
    }
    const json = { operations: [{ op: "get", key: "foo" }] };
    const batch = await door.ask("/kv/batch", { token, method: "POST", json });
    expect(batch.json()).toMatchObject({ results: [{ status: 503, type: "urn:bunch:problem:cluster-down" }] });
    topology.map = map;
  });
});
