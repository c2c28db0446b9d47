/** The OpenAPI document says exactly what the server does: every operation is called with input that it says is good, and with bad; every answer is one that it names. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { present } from "../../src/assert.ts";
import { topologyService } from "../../src/contracts/topology.ts";
import type { Node } from "../../src/node.ts";
import { type Answer, type AskOptions, type FakeHttpDoor, TOKENS, startHttpNode } from "../support/http-door.ts";
import { type Json, type Schema, findMisfits, fitting, misfitting } from "../support/json-schema.ts";

interface Operation {
  readonly operationId: string;
  readonly security: readonly unknown[];
  readonly parameters: readonly { name: string; in: string; required: boolean; schema: Schema }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema?: Schema }>> };
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema?: Schema }>> }>
  >;
}

let node: Node;
let door: FakeHttpDoor;
let document: Schema;
let operations: readonly { readonly path: string; readonly method: string; readonly operation: Operation }[];

beforeAll(async () => {
  ({ node, door } = await startHttpNode({ name: "a", plugins: { http: { ...TOKENS, requestsPerSecond: 0 } } }));
  document = (await door.ask("/openapi/json")).json() as Schema;
  operations = Object.entries(document["paths"] as Record<string, Record<string, unknown>>).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      path,
      method: method.toUpperCase(),
      operation: operation as Operation,
    })),
  );
});
afterAll(async () => {
  await node.stop();
});

/** What is wrong with an answer, by the document. */
function misfitsOf(operation: Operation, { status, headers, text }: Answer): readonly string[] {
  const told = operation.responses[String(status)];
  if (told === undefined) return [`status ${status} is not in the document: ${text.slice(0, 300)}`];
  const type = (headers.get("content-type") ?? "").split(";")[0] ?? "";
  const content = told.content?.[type];
  if (content === undefined) return text === "" ? [] : [`${status} answers with ${type}, which is not in the document`];
  if (content.schema === undefined || !type.endsWith("json")) return [];
  return findMisfits(content.schema, JSON.parse(text) as Json, document).map((misfit) => `${status} ${misfit}`);
}

/** A request that an operation takes, as far as the document tells; or one in which something is wrong. */
function requestsTo(
  path: string,
  method: string,
  operation: Operation,
  isGood: boolean,
): fc.Arbitrary<{ path: string; options: AskOptions }> {
  const self = node.facts.id;
  const valueOf = (name: string, schema: Schema): fc.Arbitrary<Json> => {
    const good = fitting(schema, document);
    return name in KNOWN ? fc.oneof(fc.constant(self), good) : good;
  };
  const parts = operation.parameters.map(({ name, in: where, required, schema }) => {
    const value = isGood ? valueOf(name, schema) : fc.oneof(valueOf(name, schema), fc.string());
    return fc.tuple(fc.constant({ name, where }), required ? value : fc.option(value, { freq: 2 }));
  });
  const [body] = Object.values(operation.requestBody?.content ?? {});
  const bodies: fc.Arbitrary<Json | undefined> =
    body?.schema === undefined
      ? fc.constant(undefined)
      : (isGood ? fitting(body.schema, document) : misfitting(body.schema, document)).map((value) => {
          if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
          return Object.fromEntries(
            Object.entries(value).map(([name, each]) => [name, isGood && name in KNOWN ? (KNOWN[name] ?? self) : each]),
          );
        });
  const extra = isGood ? fc.constant(false) : fc.boolean();
  return fc.tuple(fc.tuple(...parts), bodies, extra).map(([values, json, hasExtra]) => {
    let filled = path;
    const query = new URLSearchParams();
    for (const [{ name, where }, value] of values) {
      const text = typeof value === "string" ? value : JSON.stringify(value);
      // What means nothing in a path, or another path, is no part of one.
      const part = ["", ".", ".."].includes(text) ? "-" : encodeURIComponent(text);
      if (where === "path") filled = filled.replace(`{${name}}`, () => part);
      else if (where === "query" && value !== null) query.set(name, text);
    }
    if (hasExtra) query.set("unknown", "1");
    const search = query.toString();
    return {
      path: search === "" ? filled : `${filled}?${search}`,
      options: {
        method,
        token: TOKENS.adminToken,
        ...(json === undefined ? {} : { json }),
        ...(body !== undefined && body.schema === undefined ? { body: "some bytes" } : {}),
      },
    };
  });
}

/** Names and ids that are there, so that more than the look for them is tried: the node's id, where nothing else is said. */
const KNOWN: Readonly<Record<string, Json | undefined>> = {
  node_id: undefined,
  master_id: undefined,
  from_node: undefined,
  to_node: undefined,
  drains: "a",
  weights: { a: 1 },
  operations: [
    { op: "get", key: "b" },
    { op: "put", key: "b", value: "c" },
  ],
};
/** What takes long, or does not end: tried by tests of their own. */
const LEFT_OUT = new Set(["postClusterNodes", "getClusterEvents"]);
const RUNS = 25;

describe("the document", () => {
  test("has every operation once, with a summary, a role and what it answers", () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.toSorted()).toEqual([
      "deleteClusterNodesNodeId",
      "deleteKvKey",
      "getClusterEvents",
      "getClusterExplain",
      "getClusterHealth",
      "getClusterHistory",
      "getClusterInfo",
      "getClusterMigrationSlot",
      "getClusterMigrations",
      "getClusterNodes",
      "getClusterNodesNodeId",
      "getClusterPlans",
      "getClusterPlansPlanId",
      "getClusterPlugins",
      "getClusterSettings",
      "getClusterShards",
      "getClusterSlots",
      "getClusterStats",
      "getKvKey",
      "getOpenapi",
      "getOpenapiJson",
      "postClusterAcceptLoss",
      "postClusterFailover",
      "postClusterMigrationCancel",
      "postClusterMigrationComplete",
      "postClusterMigrationPause",
      "postClusterMigrationResume",
      "postClusterMigrationStart",
      "postClusterNodes",
      "postClusterPlans",
      "postClusterPlansPlanIdApply",
      "postClusterReplicate",
      "postClusterSlotsAssign",
      "postKvBatch",
      "putClusterSettings",
      "putKvKey",
    ]);
    for (const { path, operation } of operations) {
      expect(
        Object.keys(operation.responses).some((status) => status < "400"),
        path,
      ).toBe(true);
      expect(operation.responses["422"], path).toBeDefined();
    }
  });

  test("has nothing that the manual does not have, and the other way round", async () => {
    const manual = await Bun.file(new URL("../../docs/rest.md", import.meta.url)).text();
    const listed = [...manual.matchAll(/^\| `((?:GET|POST|PUT|DELETE) \S+)` +\| (?:`([a-z]+)`)? +\|/gm)].map(
      ([, operation = "", role = "none"]) => `${operation} ${role}`,
    );
    const roles = new Map([
      [0, ["none"]],
      [2, ["read"]],
      [1, ["operate", "admin"]],
    ]);
    for (const { path, method, operation } of operations) {
      const wanted = (roles.get(operation.security.length) ?? []).map((role) => `${method} ${path} ${role}`);
      expect(
        wanted.filter((each) => listed.includes(each)),
        `${method} ${path}`,
      ).toHaveLength(1);
    }
    expect(listed.filter((each) => !each.includes(" /health/"))).toHaveLength(operations.length);
  });

  test("says who may use what, and so it is", async () => {
    for (const { path, method, operation } of operations) {
      const filled = path.replaceAll(/\{[^}]+\}/g, "0");
      const stranger = await door.ask(filled, { method, from: "10.0.0.9:1" });
      const isForAll = operation.security.length === 0;
      expect(stranger.status === 401, `${method} ${path}`).toBe(!isForAll);
      const isForReaders = isForAll || operation.security.length === 2;
      if (LEFT_OUT.has(operation.operationId)) continue;
      const reader = await door.ask(filled, { method, token: TOKENS.readToken });
      expect(reader.status === 403, `${method} ${path}`).toBe(!isForReaders);
    }
  });

  for (const isGood of [true, false]) {
    test(`names every answer to ${isGood ? "good" : "bad"} input`, async () => {
      const tried = operations.filter(({ operation: { operationId } }) => !LEFT_OUT.has(operationId));
      for (const { path, method, operation } of tried) {
        let taken = 0;
        await fc.assert(
          fc.asyncProperty(requestsTo(path, method, operation, isGood), async (request) => {
            const answer = await door.ask(request.path, request.options);
            expect(misfitsOf(operation, answer), `${method} ${request.path}`).toEqual([]);
            expect(answer.status, `${method} ${request.path}: ${answer.text}`).not.toBe(500);
            if (answer.status !== 422) taken += 1;
          }),
          { numRuns: RUNS },
        );
        // What no schema says, such as that of two fields one must be there, is found by the operation itself.
        if (isGood) expect(taken, `${method} ${path} takes what the document says`).toBeGreaterThan(0);
      }
      expect(present(node.service(topologyService), "there is a map").isMember).toBe(true);
    });
  }

  test("is a page, too, that needs nothing from elsewhere", async () => {
    const page = await door.ask("/openapi", { from: "10.0.0.9:1" });
    expect(page.headers.get("content-type")).toStartWith("text/html");
    expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(page.text).not.toMatch(/https?:\/\//);
  });
});
