/** The OpenAPI document says exactly what the server does: every operation is called with input that it says is good, and with bad; every answer is one that it names. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { present } from "../../src/assert.ts";
import { httpService } from "../../src/contracts/http.ts";
import { topologyService } from "../../src/contracts/topology.ts";
import type { Node } from "../../src/node.ts";
import { tagOf } from "../../src/rest/key-operations.ts";
import { type Failover, failoverService } from "../../src/contracts/failover.ts";
import { definePlugin } from "../../src/plugin.ts";
import { FakeMigrations, FixedTopology, fakeTask } from "../support/fake-migrations.ts";
import { planMap, shardIdAt } from "../support/plan-map.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { hasty } from "../support/hasty-clock.ts";
import { type Answer, type AskOptions, type FakeHttpDoor, TOKENS, startHttpNode } from "../support/http-door.ts";
import { type Described, OpenApiDocument, type Operation, bodyOf } from "../support/openapi-document.ts";
import { type Json, type Schema, KINDS, findMisfits, fitting, spoiled } from "../support/json-schema.ts";

let node: Node;
let door: FakeHttpDoor;
let openApi: OpenApiDocument;
let document: Schema;
let operations: readonly Described[];

beforeAll(async () => {
  ({ node, door } = await startHttpNode(
    {
      name: "a",
      plugins: {
        http: { ...TOKENS, requestsPerSecond: 0, maxBodyBytes: MAX_BODY_BYTES, bodyTimeoutS: 20, corsOrigins: ORIGIN },
      },
    },
    // Who meets nobody is told so after ten seconds.
    { clock: hasty(createBunWorld().clock) },
  ));
  openApi = await OpenApiDocument.of(door);
  ({ document, operations } = openApi);
});
afterAll(async () => {
  await node.stop();
});

/** What is asked of an operation, part by part. */
interface Asked {
  readonly path: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  readonly header: Readonly<Record<string, string>>;
  readonly body: Json | undefined;
  /** What else is behind the query. */
  readonly more?: string;
}

/** Whether a text of a path, a query or a header says what a schema wants. */
function isGoodText(schema: Schema, text: string): boolean {
  const isNumber = schema["type"] === "integer" && /^(0|[1-9][0-9]*)$/.test(text);
  return findMisfits(schema, isNumber ? Number(text) : text, document).length === 0;
}

/** A value as a path, a query or a header has it. */
const textOf = (value: Json): string => (typeof value === "string" ? value : JSON.stringify(value));
/** What means nothing in a path, or another path, is no part of one. */
const isPart = (text: string): boolean => !["", ".", ".."].includes(text);

/** Names and ids that are there, so that more than the look for them is tried: the node's id, where nothing else is said. */
const KNOWN: Readonly<Record<string, Json | undefined>> = {
  node_id: undefined,
  master_id: undefined,
  from_node: undefined,
  to_node: undefined,
  node: undefined,
  key: "b",
  "If-Match": tagOf(new TextEncoder().encode("c")),
  "If-None-Match": tagOf(new TextEncoder().encode("c")),
  drains: "a",
  weights: { a: 1 },
  operations: [
    { op: "get", key: "b" },
    { op: "put", key: "b", value: "c" },
  ],
  // Nobody else is to be met: nothing listens here.
  address: "127.0.0.1:31999",
  bus_port: 31_998,
  // There are no replicas here: with more nothing would be written any more.
  "min-in-sync": "1",
};
/** What is never drawn. The machine at such an address is somebody's. */
const FIXED = new Set(["address", "bus_port", "min-in-sync"]);

function knownOr(name: string, good: fc.Arbitrary<Json>): fc.Arbitrary<Json> {
  if (!(name in KNOWN)) return good;
  const known = fc.constant(KNOWN[name] ?? node.facts.id);
  return FIXED.has(name) ? known : fc.oneof(known, good);
}

/** Requests that an operation takes, as far as the document tells. @param isBare Without parameters that need not be there: two of them may exclude each other. */
function goodRequests(operation: Operation, isBare = false): fc.Arbitrary<Asked> {
  const partsIn = (where: string): fc.Arbitrary<Record<string, string>> => {
    const own = operation.parameters.filter((each) => each.in === where);
    const texts = own.map(({ name, schema }): [string, fc.Arbitrary<string>] => [
      name,
      knownOr(name, fitting(schema, document))
        .map(textOf)
        .filter((text) => where !== "path" || isPart(text)),
    ]);
    const optional = isBare ? [] : own.filter(({ required }) => !required).map(({ name }) => name);
    return fc
      .tuple(fc.record(Object.fromEntries(texts)), fc.subarray(optional))
      .map(([all, chosen]) =>
        Object.fromEntries(
          own
            .filter(({ name, required }) => required || chosen.includes(name))
            .map(({ name }) => [name, (all as Record<string, string>)[name] ?? ""]),
        ),
      );
  };
  const { schema } = bodyOf(operation) ?? {};
  const body: fc.Arbitrary<Json | undefined> =
    schema === undefined
      ? fc.constant(undefined)
      : fitting(schema, document).chain((value) =>
          fc.record(
            Object.fromEntries(
              Object.entries(value ?? {}).map(([name, each]) => [name, knownOr(name, fc.constant(each as Json))]),
            ),
          ),
        );
  return fc.record({ path: partsIn("path"), query: partsIn("query"), header: partsIn("header"), body });
}

/** A way to spoil a request, and where the problem has to say it is. */
interface Spoiling {
  readonly what: string;
  readonly in: "path" | "query" | "header" | "body";
  readonly field: string;
  readonly requests: fc.Arbitrary<Asked>;
}

/** Every way in which a request misses what the document says by one thing. */
function spoilings(operation: Operation): readonly Spoiling[] {
  const good = goodRequests(operation, true);
  const found: Spoiling[] = [];
  for (const { name, in: where, schema } of operation.parameters) {
    if (where !== "path" && where !== "query" && where !== "header")
      throw new Error(`nothing is known of a part in ${where}`);
    const add = (what: string, texts: fc.Arbitrary<string>): void =>
      void found.push({
        what: `${name} of ${what}`,
        in: where,
        field: `/${where === "header" ? name.toLowerCase() : name}`,
        requests: fc
          .tuple(good, texts)
          .map(([asked, text]) => Object.assign({}, asked, { [where]: { ...asked[where], [name]: text } })),
      });
    const isSent = (text: string): boolean =>
      where === "path" ? isPart(text) : where !== "header" || /^[!-~]([ -~]*[!-~])?$/.test(text);
    // All is text here: another kind may be none.
    const kinds = KINDS.map(textOf).filter((text) => isSent(text) && !isGoodText(schema, text));
    if (kinds.length > 0) add("another kind", fc.constantFrom(...kinds));
    for (const { what, values } of spoiled(schema, document)) {
      if (what !== "another kind") add(what, values.map(textOf).filter(isSent));
    }
  }
  found.push({
    what: "unknown parameter",
    in: "query",
    field: "/unknown",
    requests: good.map((asked) => ({ ...asked, query: { ...asked.query, unknown: "1" } })),
  });
  for (const name of operation.parameters.filter((each) => each.in === "query").map((each) => each.name))
    found.push({
      what: `${name} twice`,
      in: "query",
      field: `/${name}`,
      requests: goodRequests(operation)
        .filter(({ query }) => name in query)
        .map((asked) => Object.assign({}, asked, { more: `&${name}=${encodeURIComponent(asked.query[name] ?? "")}` })),
    });
  const { schema } = bodyOf(operation) ?? {};
  for (const { what, field, values } of schema === undefined ? [] : spoiled(schema, document))
    found.push({
      what,
      in: "body",
      field,
      requests: fc.tuple(good, values).map(([asked, body]) => Object.assign({}, asked, { body })),
    });
  return found;
}

/** The parts of a request that a problem names. */
function fieldsOf(answer: Answer): readonly string[] {
  const { errors = [] } = answer.json() as {
    readonly errors?: readonly { in: string; field: string; detail: string }[];
  };
  return errors.map((error) => `${error.in} ${error.field}`);
}

/** Asks, as an administrator if nothing else is said. What does not end is read as far as it says that it has begun. */
async function send(
  path: string,
  method: string,
  operation: Operation,
  asked: Asked,
  options: AskOptions = { token: TOKENS.adminToken },
): Promise<{ readonly answer: Answer; readonly what: string }> {
  const filled = path.replaceAll(/\{([^}]+)\}/g, (_, name: string) => encodeURIComponent(asked.path[name] ?? ""));
  const search = new URLSearchParams(asked.query).toString();
  const target = search === "" ? filled : `${filled}?${search}${asked.more ?? ""}`;
  const body = bodyOf(operation);
  const isOwnBody = options.body !== undefined || options.headers?.["content-type"] !== undefined;
  const response = await door.send(target, {
    method,
    ...(body === undefined || isOwnBody
      ? {}
      : body.schema === undefined
        ? { body: "some bytes" }
        : { body: JSON.stringify(asked.body) }),
    ...options,
    headers: {
      ...(body === undefined || isOwnBody || options.body !== undefined ? {} : { "content-type": body.type }),
      ...asked.header,
      ...options.headers,
    },
  });
  const isEndless = response.headers.get("content-type") === "text/event-stream";
  const text = isEndless ? await beginningOf(response) : await response.text();
  const { status, headers } = response;
  const what = `${method} ${target} ${JSON.stringify(asked.header)} ${(JSON.stringify(asked.body) ?? "").slice(0, 500)}`;
  return { answer: { status, headers, text, json: () => JSON.parse(text) as unknown }, what };
}

/** The first event of a stream, which is let go. */
async function beginningOf(response: Response): Promise<string> {
  const reader = present(response.body, "a stream has a body").getReader();
  const first: { readonly value?: unknown } = await reader.read();
  await reader.cancel();
  const text = new TextDecoder().decode(first.value as Uint8Array);
  expect(text).toStartWith("event: start\n");
  return text;
}

/** Asks at a door, and holds the answer to the document and to the status that is to be. @param what `METHOD path`. */
function heldTo(at: FakeHttpDoor): (what: string, status: number, options: AskOptions) => Promise<Answer> {
  return async (what, status, options) => {
    const [method = "", path = ""] = what.split(" ");
    const answer = await at.ask(path, { ...options, method });
    expect(openApi.misfitsAt(method, path, answer), what).toEqual([]);
    expect(answer.status, `${what}: ${answer.text}`).toBe(status);
    return answer;
  };
}

async function keysOf(): Promise<unknown> {
  const connection = node.connect();
  const count = await connection.execute("DBSIZE");
  connection.close();
  return count;
}

/** Good requests to each operation, and bad ones of each kind. */
const RUNS = 25;
const BAD_RUNS = 3;
/** Its pages are let in. */
const ORIGIN = "https://ops.example";
const MAX_BODY_BYTES = 2 * 1024 * 1024;
/** Where the other node is that there seems to be. */
const PEER_PORT = 23_312;
/** What would decide really, or stand in the way of what a test says. */
const WITHOUT = Object.fromEntries(
  ["topology", "raft", "bus", "migrator", "failover", "auto-rebalance", "meet"].map((name) => [name, false]),
);

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
      const nothing = { path: {}, query: {}, header: {}, body: undefined };
      const { answer: reader } = await send(filled, method, operation, nothing, { token: TOKENS.readToken });
      for (const answer of [stranger, reader])
        expect(openApi.misfitsOf(operation, answer), `${method} ${path}`).toEqual([]);
      expect(reader.status === 403, `${method} ${path}`).toBe(!isForReaders);
    }
  });

  test("names every answer to good input", async () => {
    for (const { path, method, operation } of operations) {
      let taken = 0;
      const hold = async (asked: Asked): Promise<void> => {
        const { answer, what } = await send(path, method, operation, asked);
        expect(openApi.misfitsOf(operation, answer), what).toEqual([]);
        expect(answer.status, `${what}: ${answer.text}`).not.toBe(500);
        if (answer.status === 422) expect(fieldsOf(answer), what).not.toEqual([]);
        else taken += 1;
      };
      await fc.assert(fc.asyncProperty(goodRequests(operation), hold), { numRuns: RUNS });
      // What no schema says, such as that of two fields one must be there, is found by the operation itself: it may
      // refuse nine in ten, and now and then all of so few.
      const more = taken > 0 ? [] : fc.sample(goodRequests(operation), 40 * RUNS);
      for (const asked of more) {
        if (taken > 0) break;
        await hold(asked);
      }
      expect(taken, `${method} ${path} takes what the document says`).toBeGreaterThan(0);
    }
    expect(present(node.service(topologyService), "there is a map").isMember).toBe(true);
  });

  test("says what input is bad: that is refused, by the name of what is wrong with it, and changes nothing", async () => {
    const { map } = present(node.service(topologyService), "there is a map");
    const { version } = map;
    const keys = await keysOf();
    for (const { path, method, operation } of operations) {
      for (const { what, in: where, field, requests } of spoilings(operation)) {
        await fc.assert(
          fc.asyncProperty(requests, async (asked) => {
            const { answer, what: said } = await send(path, method, operation, asked);
            expect(openApi.misfitsOf(operation, answer), said).toEqual([]);
            expect(answer.status, `${what}: ${said}: ${answer.text}`).toBe(422);
            expect(fieldsOf(answer), `${what}: ${said}: ${answer.text}`).toContain(`${where} ${field}`);
          }),
          { numRuns: BAD_RUNS },
        );
      }
    }
    expect(present(node.service(topologyService), "there is a map").map.version).toBe(version);
    expect(await keysOf()).toBe(keys);
  });

  test("says what is told of a token that is none, a body of another type, none, one that is no JSON, or too long", async () => {
    for (const { path, method, operation } of operations) {
      const [asked] = fc.sample(goodRequests(operation), 1);
      if (path === "/kv/{key}")
        expect(
          openApi.misfitsOf(
            operation,
            await door.ask("/kv/%2", { method, token: TOKENS.adminToken, ...(method === "PUT" ? { body: "" } : {}) }),
          ),
        ).toEqual([]);
      const tried: [status: number, kind: string, options: AskOptions][] = [];
      for (const authorization of ["Bearer wrong-0123456789abcdef", "Bearer", "Basic YTpi"])
        tried.push([401, "unauthorized", { headers: { authorization } }]);
      const body = bodyOf(operation);
      const token = TOKENS.adminToken;
      if (method !== "GET")
        tried.push([
          413,
          "too-large",
          {
            token,
            body: new Uint8Array(MAX_BODY_BYTES + 1),
            headers: { "content-type": body?.type ?? "text/plain" },
          },
        ]);
      if (body?.schema !== undefined) {
        const text = JSON.stringify(asked?.body);
        for (const type of ["text/plain", "application/jsonx", "application/x-www-form-urlencoded", ""])
          tried.push([
            415,
            "unsupported-media-type",
            { token, body: text, headers: type === "" ? {} : { "content-type": type } },
          ]);
        for (const broken of ["{", `${text}}`, "nothing"])
          tried.push([400, "bad-request", { token, body: broken, headers: { "content-type": "application/json" } }]);
        const deep = `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
        const long = `{"a":[0${",0".repeat(100_000)}]}`;
        for (const odd of [undefined, deep, long])
          tried.push([
            422,
            "invalid",
            { token, ...(odd === undefined ? {} : { body: odd }), headers: { "content-type": "application/json" } },
          ]);
      }
      // Where none is taken there must be none; nothing of any type is none.
      if (body === undefined && method !== "GET") tried.push([422, "invalid", { token, body: '{"a":1}' }]);
      if (body === undefined && method !== "GET") {
        const options = { token, body: "{}", headers: { "content-type": "text/plain" } };
        const { answer, what } = await send(path, method, operation, present(asked, "there is one"), options);
        expect(openApi.misfitsOf(operation, answer), what).toEqual([]);
        expect(answer.status, what).not.toBe(422);
      }
      for (const [status, kind, options] of tried) {
        const { answer, what } = await send(path, method, operation, present(asked, "there is one"), options);
        expect(openApi.misfitsOf(operation, answer), what).toEqual([]);
        expect(
          [answer.status, (answer.json() as { type: string }).type],
          `${what} ${JSON.stringify(options.headers)}`,
        ).toEqual([status, `urn:bunch:problem:${kind}`]);
        if (status === 422) expect(fieldsOf(answer), what).toContain("body ");
      }
    }
  });

  test("says what is told of a body that does not come", async () => {
    const drop = (): ReadableStream => new ReadableStream({ start: (stream) => stream.enqueue(Uint8Array.of(0x7b)) });
    const taking = operations.filter(({ method }) => method !== "GET");
    expect(taking.length).toBeGreaterThan(0);
    await Promise.all(
      taking.map(async ({ path, method, operation }) => {
        const filled = path.replaceAll(/\{[^}]+\}/g, "0");
        const answer = await door.ask(filled, { method, token: TOKENS.adminToken, body: drop() });
        expect(openApi.misfitsOf(operation, answer), `${method} ${path}`).toEqual([]);
        expect(answer.status, `${method} ${path}`).toBe(408);
      }),
    );
  });

  test("says what is told of too many requests, of an address and at a time", async () => {
    const { node: busy, door: other } = await startHttpNode({
      plugins: { http: { ...TOKENS, requestsPerSecond: 1, maxRequests: 1 } },
    });
    const gate = Promise.withResolvers<void>();
    const http = present(busy.service(httpService), "there is HTTP");
    http.mount({ prefix: "/wait", handle: () => gate.promise.then(() => new Response()) });
    const tried = async (from: (at: number) => string, status: number): Promise<void> => {
      for (const [at, { path, method, operation }] of operations.entries()) {
        const filled = path.replaceAll(/\{[^}]+\}/g, "0");
        const answer = await other.ask(filled, { method, token: TOKENS.adminToken, from: from(at) });
        expect(openApi.misfitsOf(operation, answer), `${method} ${path}`).toEqual([]);
        expect(answer.status, `${method} ${path}`).toBe(status);
        expect(answer.headers.has("retry-after"), `${method} ${path}`).toBe(true);
      }
    };
    const waiting = other.ask("/wait", { token: TOKENS.adminToken, from: "10.0.1.1:1" });
    await tried((at) => `10.0.2.${at}:1`, 503);
    gate.resolve();
    await waiting;
    // Some guesses, and this address has asked for as much as it may in a long while.
    for (let guess = 0; guess < 100; guess += 1)
      await other.ask("/cluster/info", { token: "wrong-0123456789abcdef", from: "10.0.3.1:1" });
    await tried(() => "10.0.3.1:1", 429);
    await busy.stop();
  });

  test("is what pages of an origin that is let in can use: each header that is looked at, and each that is told", async () => {
    const headers = { origin: ORIGIN };
    const listed = (answer: Answer, name: string): readonly string[] =>
      (answer.headers.get(`access-control-${name}`) ?? "").split(", ");
    const sent = operations.flatMap(({ operation }) =>
      operation.parameters.filter((each) => each.in === "header").map((each) => each.name.toLowerCase()),
    );
    const preflight = await door.ask("/cluster/events", { method: "OPTIONS", headers });
    expect(sent).toContain("last-event-id");
    const mayBeSent = listed(preflight, "allow-headers");
    expect([...sent, "authorization", "content-type"].filter((name) => !mayBeSent.includes(name))).toEqual([]);
    const mayBeUsed = listed(preflight, "allow-methods");
    expect(operations.filter(({ method }) => !mayBeUsed.includes(method))).toEqual([]);
    // These are for those between a page and the node.
    const forOthers = new Set(["connection", "content-security-policy", "x-accel-buffering"]);
    const told = operations
      .flatMap(({ operation }) => Object.values(operation.responses).flatMap((each) => Object.keys(each.headers ?? {})))
      .map((name) => name.toLowerCase())
      .filter((name) => !forOthers.has(name));
    expect(told).toContain("x-ttl-ms");
    const mayBeRead = listed(await door.ask("/cluster/info", { headers }), "expose-headers");
    expect([...told, "allow"].filter((name) => !mayBeRead.includes(name))).toEqual([]);
  });

  test("is a page, too, that needs nothing from elsewhere", async () => {
    const page = await door.ask("/openapi", { from: "10.0.0.9:1" });
    expect(page.headers.get("content-type")).toStartWith("text/html");
    expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(page.text).not.toMatch(/https?:\/\//);
  });

  test("names what is answered of keys: what is there, what the caller has, what only writers may do, and what is no key", async () => {
    const ask = heldTo(door);
    const { adminToken: token, readToken } = TOKENS;
    await ask("PUT /cluster/settings", 200, { token, json: { acks: "primary" } });
    const stored = await ask("PUT /kv/there", 204, { token, body: "x" });
    const known = { "if-none-match": stored.headers.get("etag") ?? "" };
    await ask("GET /kv/there", 200, { token });
    await ask("GET /kv/there", 304, { token, headers: known });
    await ask("POST /kv/batch", 403, {
      token: readToken,
      json: { operations: [{ op: "delete", key: "there" }] },
    });
    await ask("PUT /kv/there", 412, { token, body: "y", headers: { "if-none-match": "*" } });
    await ask("DELETE /kv/there", 412, { token, headers: { "if-match": '"other"' } });
    await ask("DELETE /kv/there", 204, { token });
    await ask("DELETE /kv/there", 404, { token });
    await ask("GET /kv/there", 404, { token });
    await ask("GET /cluster/explain?key=%f", 400, { token });
    await ask(`GET /cluster/explain?node=${"0".repeat(40)}`, 404, { token });
  });

  test("names what is answered of what is not there, and of what is not to be", async () => {
    const ask = heldTo(door);
    const { adminToken: token } = TOKENS;
    const [self, nobody] = [node.facts.id, "0".repeat(40)];
    const post = (path: string, status: number, json: unknown): Promise<Answer> =>
      ask(`POST ${path}`, status, { token, json });
    await ask(`GET /cluster/nodes/${nobody}`, 404, { token });
    await ask(`DELETE /cluster/nodes/${nobody}`, 404, { token });
    await ask(`DELETE /cluster/nodes/${self}`, 409, { token });
    await ask("GET /cluster/explain?slot=7", 200, { token });
    await post("/cluster/accept-loss", 404, { shard_id: nobody });
    await post("/cluster/failover", 404, { node_id: nobody });
    await post("/cluster/failover", 409, { node_id: self });
    await post("/cluster/replicate", 404, { node_id: nobody, master_id: self });
    await post("/cluster/replicate", 409, { node_id: self, master_id: self });
    await post("/cluster/slots/assign", 404, { node_id: nobody, slots: [{ start: 7, end: 7 }] });
    await post("/cluster/slots/assign", 409, { node_id: self, slots: [{ start: 7, end: 7 }] });
    await post("/cluster/migration/start", 404, { slot: 7, from_node: nobody, to_node: self });
    for (const word of ["complete", "cancel", "pause", "resume"])
      await post(`/cluster/migration/${word}`, 404, { id: "none" });
    await post("/cluster/plans", 409, { kind: "drain", drains: "a" });
    await ask("GET /cluster/plans/none", 404, { token });
    await ask("POST /cluster/plans/none/apply", 404, { token });
    // Nobody is there, and so nobody is said to be met.
    await post("/cluster/nodes", 503, { address: KNOWN["address"], bus_port: KNOWN["bus_port"] });
    await post("/kv/batch", 200, { operations: [{ op: "get", key: "none" }] });
  });

  test("names what is answered to whatever comes of a change: made, begun, decided against, or nobody knows", async () => {
    const made = planMap([{ slots: [{ first: 0, last: 8191 }] }, { slots: [{ first: 8192, last: 16_382 }] }]);
    const [a = "", b = ""] = made.nodes.map(({ id }) => id);
    const place = { host: "127.0.0.1", port: PEER_PORT, httpHost: "127.0.0.1", httpPort: PEER_PORT + 1 };
    const map = { ...made, nodes: made.nodes.map((each) => (each.id === b ? Object.assign({}, each, place) : each)) };
    const topology = new FixedTopology(map);
    const migrations = new FakeMigrations();
    /** What comes of a change of who leads: an error, or what is done to the map. */
    let led: string | (() => void) = "";
    const change = (): Promise<string | undefined> => {
      if (typeof led === "string") return Promise.resolve(led === "" ? undefined : led);
      led();
      return Promise.resolve(undefined);
    };
    const failover: Failover = {
      leaseState: "none",
      isHeir: false,
      holdForHeir: () => undefined,
      leaseEndsAtMs: Number.POSITIVE_INFINITY,
      reasons: new Map(),
      handOver: change,
      acceptLoss: change,
      promisedUntilMs: () => undefined,
    };
    const leads = definePlugin({
      name: "fake-failover",
      summary: "Does what a test says.",
      provides: { failover: failoverService },
      setup: () => ({ failover }),
    });
    const meeting: { end?: () => void } = {};
    const meet = definePlugin({
      name: "fake-meet",
      summary: "Does what a test says, or never answers.",
      setup(context) {
        context.subcommand("cluster", {
          name: "meet",
          syntax: "ip port",
          arity: 4,
          flags: ["admin"],
          group: "cluster",
          summary: "Meets whom a test says.",
          complexity: "O(1)",
          since: "bunch 0.1.0",
          run(call) {
            if (meeting.end === undefined) {
              call.defer();
              return;
            }
            meeting.end();
            call.reply.ok();
          },
        });
      },
    });
    /** What the other node says; nothing: it closes the connection. */
    let told = "";
    const peer = Bun.listen({
      hostname: "127.0.0.1",
      port: PEER_PORT,
      socket: { data: (socket) => void (told === "" ? socket.end() : socket.write(told)) },
    });
    const { node: fake, door: other } = await startHttpNode(
      { use: [topology.plugin, migrations.plugin, leads, meet], plugins: WITHOUT },
      { clock: hasty(createBunWorld().clock) },
    );
    const ask = heldTo(other);
    const { adminToken: token } = TOKENS;
    const post = (path: string, status: number, json?: unknown): Promise<Answer> =>
      ask(`POST ${path}`, status, json === undefined ? { token } : { token, json });
    const unknown = { type: "unknown", reason: "no word came back" } as const;
    const done = { type: "done", index: 1, outcome: [] } as const;
    const nobodyKnows = { type: "refused", reason: "nobody knows what came of it: ask again (no word)" } as const;

    // Changes of the map.
    const assign = { node_id: b, slots: [{ start: 16_383, end: 16_383 }] };
    topology.outcome = done;
    await post("/cluster/slots/assign", 200, assign);
    await ask(`DELETE /cluster/nodes/${b}`, 200, { token });
    topology.outcome = unknown;
    await post("/cluster/slots/assign", 504, assign);
    await ask(`DELETE /cluster/nodes/${b}`, 504, { token });
    await ask("PUT /cluster/settings", 504, { token, json: { acks: "primary" } });
    topology.outcome = { type: "rejected", reason: "ERR not in this state" };
    await ask("PUT /cluster/settings", 409, { token, json: { acks: "primary" } });

    // Moves of slots.
    const task = fakeTask({ id: "id-9", source: shardIdAt(1), target: shardIdAt(0), sourceNode: b, targetNode: a });
    const moved = fakeTask({ ...task, slots: [{ first: 8192, last: 16_382 }] });
    told = "*0\r\n";
    migrations.onAsked = () => {
      migrations.tasks = [{ ...moved, id: `id-${migrations.started}` }];
      topology.map = {
        ...map,
        migrations: migrations.tasks.map(({ id, source, target, slots }) => ({
          id,
          source,
          target,
          slots,
          isPaused: false,
          cause: "a test",
          startedAtMs: 0,
        })),
      };
    };
    await ask(`DELETE /cluster/nodes/${b}?drain=true&wait_ms=0`, 202, { token });
    const back = (): void => {
      migrations.tasks = [];
      topology.map = map;
    };
    back();
    const wish = { slot: 8192, from_node: b, to_node: a };
    await post("/cluster/migration/start", 202, wish);
    back();
    migrations.outcomes.push(nobodyKnows);
    await post("/cluster/migration/start", 504, wish);
    await post("/cluster/migration/start", 409, { ...wish, slot: 7 });
    migrations.onAsked = () => undefined;
    migrations.tasks = [{ ...moved, awaitsWord: true }];
    await post("/cluster/migration/complete", 202, { slot: 8192, wait_ms: 0 });
    const refused = { type: "refused", reason: "ERR it has just been cancelled" } as const;
    for (const [outcome, status] of [
      [refused, 409],
      [nobodyKnows, 504],
    ] as const) {
      for (const word of ["complete", "cancel", "pause", "resume"]) {
        migrations.outcomes.push(outcome);
        await post(`/cluster/migration/${word}`, status, { slot: 8192 });
      }
    }
    for (const word of ["cancel", "pause", "resume"]) await post(`/cluster/migration/${word}`, 200, { slot: 8192 });
    migrations.completeAll();
    await post("/cluster/migration/complete", 200, { slot: 8192 });
    back();
    const plan = await post("/cluster/plans", 201, { kind: "drain", drains: "n1" });
    const path = `/cluster/plans/${(plan.json() as { id: string }).id}`;
    await ask(`GET ${path}`, 200, { token });
    for (const [outcome, status] of [
      [nobodyKnows, 504],
      [refused, 409],
      [{ type: "done", id: "" } as const, 202],
    ] as const) {
      migrations.outcomes.push(outcome);
      await post(`${path}/apply`, status);
    }

    // Who leads a shard, and who is the replica of whom.
    const [first, second] = map.shards;
    if (first === undefined || second === undefined) throw new Error("there are two shards");
    const following = { ...map, shards: [{ ...first, replicas: [b] }] };
    const shard = { shard_id: first.id };
    topology.map = following;
    for (const [result, status] of [
      ["UNKNOWN no word came back", 504],
      ["ERR not in this state", 409],
      ["", 202],
    ] as const) {
      led = result;
      await post("/cluster/failover", status, { node_id: b });
      await post("/cluster/accept-loss", status, shard);
    }
    led = () => void (topology.map = { ...map, shards: [{ ...first, primary: b, replicas: [a] }] });
    await post("/cluster/failover", 200, { node_id: b });
    topology.map = following;
    led = () => void (topology.map = { ...map, shards: [{ ...first, primaryEpoch: 2 }] });
    await post("/cluster/accept-loss", 200, shard);
    const replicate = { node_id: b, master_id: a };
    told = "+OK\r\n";
    topology.map = following;
    await post("/cluster/replicate", 200, replicate);
    topology.map = map;
    await post("/cluster/replicate", 202, replicate);
    told = "";
    await post("/cluster/replicate", 504, replicate);

    // Nodes that come in.
    const stranger = { address: `127.0.0.1:${PEER_PORT + 2}` };
    await post("/cluster/nodes", 504, stranger);
    const [, known] = map.nodes;
    if (known === undefined) throw new Error("there are two nodes");
    const newcomer = { ...known, id: "f".repeat(40), port: PEER_PORT + 2 };
    meeting.end = () => undefined;
    await post("/cluster/nodes", 202, stranger);
    meeting.end = () => void (topology.map = { ...map, nodes: [...map.nodes, newcomer] });
    await post("/cluster/nodes", 201, stranger);
    topology.map = map;

    // Keys that another node has: foo is in slot 12182.
    for (const method of ["GET", "PUT", "DELETE"]) {
      const more = method === "PUT" ? { token, body: "x" } : { token };
      await ask(`${method} /kv/foo`, 307, more);
      told = "";
      await ask(`${method} /kv/foo?route=proxy`, method === "GET" ? 503 : 504, more);
      told = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
      await ask(`${method} /kv/foo?route=proxy`, 409, more);
    }
    await fake.stop();
    peer.stop(true);
  });

  // Here and not in each test: an operation that can answer less than it says, or a test that went, is found.
  test("says of no operation that it may answer what it never does", () => {
    // What nobody foresaw can be met nowhere on purpose.
    expect(openApi.unanswered.filter((each) => !each.endsWith(" 500"))).toEqual([]);
  });
});
