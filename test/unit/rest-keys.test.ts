/** Keys over HTTP at one node: values as bytes and as JSON, expiry, conditions, and what is told where something is in the way. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { keySlot } from "../../src/codec/slot.ts";
import type { LocalConnection } from "../../src/local-connection.ts";
import { LocalCommands } from "../../src/rest/local-commands.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { readKey, writeKey } from "../../src/rest/key-text.ts";
import type { Node } from "../../src/node.ts";
import { type Answer, type AskOptions, type FakeHttpDoor, TOKENS, startHttpNode } from "../support/http-door.ts";
import { holdToDocument } from "../support/openapi-document.ts";
import { hasty } from "../support/hasty-clock.ts";
import { localClient } from "../support/local-node.ts";
import { tagInTurns, tagOf } from "../../src/rest/key-operations.ts";

let node: Node;
let door: FakeHttpDoor;
beforeAll(async () => {
  ({ node, door } = await startHttpNode({ name: "a", plugins: { http: { ...TOKENS, requestsPerSecond: 0 } } }));
  await holdToDocument(door);
});
afterAll(async () => {
  await node.stop();
});

const ask = (method: string, key: string, options: AskOptions = {}): Promise<Answer> =>
  door.ask(`/kv/${key}`, { method, token: TOKENS.operateToken, ...options });
const put = (key: string, body: string, headers: Record<string, string> = {}, query = ""): Promise<Answer> =>
  ask("PUT", `${key}${query}`, { body, headers });

describe("a value", () => {
  test("is what was stored, byte for byte, whatever its type was said to be", async () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, at) => at);
    for (const type of ["application/json", "text/plain", ""]) {
      expect((await ask("PUT", "bytes", { body: bytes, headers: { "content-type": type } })).status).toBe(204);
      const response = await door.send("/kv/bytes", { token: TOKENS.readToken });
      expect(response.headers.get("content-type")).toBe("application/octet-stream");
      expect(new Uint8Array(await response.arrayBuffer())).toEqual(bytes);
    }
    await put("empty", "");
    expect(await ask("GET", "empty")).toMatchObject({ status: 200, text: "" });
  });

  test("is told as JSON to who wants that, as base64 if it is no text", async () => {
    const headers = { accept: "application/json" };
    await put("text", "grün");
    const text = await ask("GET", "text", { headers });
    expect(text.json()).toEqual({
      key: "text",
      key_encoding: "utf8",
      value: "grün",
      encoding: "utf8",
      ttl_ms: null,
      etag: text.headers.get("etag"),
    });
    await ask("PUT", "%FF", { body: Uint8Array.of(0xff, 0) });
    expect((await ask("GET", "%FF", { headers })).json()).toMatchObject({
      key: "/w==",
      key_encoding: "base64",
      value: "/wA=",
      encoding: "base64",
    });
  });

  test("has a key of any bytes; clients see the same one", async () => {
    const client = localClient(node);
    await put("a%2Fb%20%C3%A9", "1");
    expect(await client.run("get a/b é".replace(" é", ""))).toBe("nil");
    const connection = node.connect();
    expect(await connection.execute("GET", "a/b é")).toEqual(new TextEncoder().encode("1"));
    for (const key of [Uint8Array.of(0, 37, 255), new TextEncoder().encode("a/b?c#d é")])
      expect(readKey(writeKey(key))).toEqual(key);
    expect((await ask("GET", "%2")).status).toBe(400);
    connection.close();
    client.close();
  });

  test("has a key that is the one that was sent, or is refused: nothing of it is replaced or cut off", async () => {
    // The runtime makes this of raw bytes that are no UTF-8.
    for (const method of ["GET", "PUT", "DELETE"]) {
      const more = method === "PUT" ? { body: "1" } : {};
      for (const key of ["%EF%BF%BD", "a%EF%BF%BDb", "a#b", "a#b?ttl_ms=5"]) {
        const answer = await ask(method, key, more);
        expect([answer.status, answer.json()], `${method} ${key}`).toMatchObject([
          400,
          { type: "urn:bunch:problem:bad-request" },
        ]);
      }
    }
    // The character itself can be written, and is so where a caller is sent on.
    expect((await put("%ef%bf%bd", "1")).status).toBe(204);
    expect(writeKey(new TextEncoder().encode("\uFFFD"))).toBe("%ef%bf%bd");
    const connection = node.connect();
    expect(await connection.execute("EXISTS", "\uFFFD")).toBe(1);
    expect(await connection.execute("EXISTS", "a")).toBe(0);
    connection.close();
    const slotOf = async (key: string): Promise<unknown> =>
      (await door.ask(`/cluster/explain?key=${key}`, { token: TOKENS.readToken })).json();
    for (const [key, bytes] of [
      ["%ff", Uint8Array.of(0xff)],
      ["a+b%20c", new TextEncoder().encode("a b c")],
      ["%00%c3%bc&limit=3", new TextEncoder().encode("\0ü")],
    ] as const)
      expect(await slotOf(key), key).toMatchObject({ slot: keySlot(bytes, 0, bytes.length) });
    const spelled = await door.ask("/cluster/explain?limit=3&k%65y=%ff", { token: TOKENS.readToken });
    expect(spelled.json()).toMatchObject({ slot: keySlot(Uint8Array.of(0xff), 0, 1) });
    for (const key of ["%EF%BF%BD", "a#b", "%f"]) expect(await slotOf(key), key).toMatchObject({ status: 400 });
  });

  test("that is not there is not found", async () => {
    expect((await ask("GET", "absent")).json()).toMatchObject({ type: "urn:bunch:problem:not-found" });
    expect((await ask("DELETE", "absent")).status).toBe(404);
    await put("present", "1");
    expect((await ask("DELETE", "present")).status).toBe(204);
    expect((await ask("GET", "present")).status).toBe(404);
  });

  test("expires when it was said to, keeps that if it is to, and else stays for good", async () => {
    const ttlOf = async (): Promise<number> =>
      Number((await ask("GET", "brief")).headers.get("x-ttl-ms") ?? Number.NaN);
    await put("brief", "1", {}, "?ttl_ms=100000");
    expect(await ttlOf()).toBeWithin(90_000, 100_001);
    await put("brief", "2", {}, "?keep_ttl=true");
    expect(await ttlOf()).toBeWithin(90_000, 100_001);
    await put("brief", "3");
    expect(await ttlOf()).toBeNaN();
    for (const query of ["?ttl_ms=0", "?ttl_ms=x", "?ttl_ms=5&keep_ttl=true", "?ttl_ms=9999999999999", "?ttl=5"])
      expect((await put("brief", "4", {}, query)).status, query).toBe(422);
  });
});

describe("a condition", () => {
  test("on whether there is a key", async () => {
    expect((await put("once", "1", { "if-none-match": "*" })).status).toBe(204);
    expect((await put("once", "2", { "if-none-match": "*" })).json()).toMatchObject({
      type: "urn:bunch:problem:precondition-failed",
    });
    expect((await put("once", "2", {}, "?condition=absent")).status).toBe(412);
    expect((await put("once", "2", {}, "?condition=present")).status).toBe(204);
    expect((await put("once", "3", { "if-match": "*" })).status).toBe(204);
    expect((await put("never", "3", { "if-match": "*" })).status).toBe(412);
    expect((await ask("DELETE", "never", { headers: { "if-match": "*" } })).status).toBe(412);
    expect((await ask("GET", "once")).text).toBe("3");
  });

  test("on its value is a compare-and-set", async () => {
    const first = await put("counter", "1");
    const tag = first.headers.get("etag") ?? "";
    expect((await ask("GET", "counter")).headers.get("etag")).toBe(tag);
    const second = await put("counter", "2", { "if-match": `"other", ${tag}` });
    expect(second.status).toBe(204);
    expect((await put("counter", "3", { "if-match": tag })).status).toBe(412);
    expect((await put("nothing", "3", { "if-match": tag })).status).toBe(412);
    expect((await ask("DELETE", "counter", { headers: { "if-match": tag } })).status).toBe(412);
    expect((await ask("DELETE", "counter", { headers: { "if-match": second.headers.get("etag") ?? "" } })).status).toBe(
      204,
    );
    // Many at a time: each sees what the one before it has stored.
    await put("sum", "0");
    const add = async (): Promise<void> => {
      for (;;) {
        const seen = await ask("GET", "sum");
        const { status } = await put("sum", String(Number(seen.text) + 1), {
          "if-match": seen.headers.get("etag") ?? "",
        });
        if (status === 204) return;
        expect(status).toBe(412);
      }
    };
    await Promise.all(Array.from({ length: 12 }, add));
    expect((await ask("GET", "sum")).text).toBe("12");
  });

  test("is compared strongly where something is changed: a weak tag fits no value; a reader's may be weak", async () => {
    const { headers } = await put("weak", "1");
    const tag = headers.get("etag") ?? "";
    expect((await put("weak", "2", { "if-match": `W/${tag}` })).status).toBe(412);
    expect((await ask("DELETE", "weak", { headers: { "if-match": `W/${tag}` } })).status).toBe(412);
    const operations = [{ op: "put", key: "weak", value: "2", if_match: `W/${tag}` }];
    const batch = await door.ask("/kv/batch", { method: "POST", token: TOKENS.operateToken, json: { operations } });
    expect(batch.json()).toMatchObject({ results: [{ status: 412 }] });
    expect((await ask("GET", "weak", { headers: { "if-none-match": `W/${tag}` } })).status).toBe(304);
    expect((await put("weak", "2", { "if-match": `W/"other", ${tag}` })).status).toBe(204);
  });

  test("of a reader who has the value already", async () => {
    await put("known", "1");
    const tag = (await ask("GET", "known")).headers.get("etag") ?? "";
    const same = await ask("GET", "known", { headers: { "if-none-match": tag } });
    expect([same.status, same.text, same.headers.get("etag")]).toEqual([304, "", tag]);
    await put("known", "2");
    expect((await ask("GET", "known", { headers: { "if-none-match": tag } })).status).toBe(200);
  });

  test("that makes no sense is refused", async () => {
    for (const headers of [
      { "if-match": "unquoted" },
      { "if-none-match": '"a"' },
      { "if-match": "*", "if-none-match": "*" },
    ] as Record<string, string>[])
      expect((await put("known", "3", headers)).status, JSON.stringify(headers)).toBe(422);
    expect((await ask("DELETE", "known", { headers: { "if-none-match": "*" } })).status).toBe(422);
    expect((await ask("GET", "known")).text).toBe("2");
  });
});

describe("several operations at once", () => {
  const batch = (operations: unknown, token: string = TOKENS.operateToken): Promise<Answer> =>
    door.ask("/kv/batch", { method: "POST", token, json: { operations } });

  test("are each done for itself, and answered in order", async () => {
    await put("b1", "one");
    const answer = await batch([
      { op: "get", key: "b1" },
      { op: "put", key: "b2", value: "/wA=", encoding: "base64", ttl_ms: 100_000 },
      { op: "put", key: "b1", value: "two", condition: "absent" },
      { op: "delete", key: "b3" },
      { op: "delete", key: "b1", if_match: '"other"' },
      { op: "get", key: "YjI=", key_encoding: "base64" },
    ]);
    expect(answer.status).toBe(200);
    const { results } = answer.json() as { results: Record<string, unknown>[] };
    expect(results.map((result) => result["status"])).toEqual([200, 204, 412, 404, 412, 200]);
    expect(results[0]).toMatchObject({ value: "one", encoding: "utf8", ttl_ms: null });
    expect(results[3]).toMatchObject({ type: "urn:bunch:problem:not-found" });
    // What strings are made of is no part of the body's shape.
    const odd = '\\"[{,'.repeat(100_000);
    const told = (
      await batch([
        { op: "put", key: "odd", value: odd },
        { op: "get", key: "odd" },
      ])
    ).json() as { results: { value?: string }[] };
    expect(told.results[1]?.value === odd).toBe(true);
    const many = await batch(
      Array.from({ length: 1000 }, (_, at) => ({ op: "put", key: `many-${at}`, value: String(at) })),
    );
    expect((many.json() as { results: { status: number }[] }).results.every(({ status }) => status === 204)).toBe(true);
  });

  test("have an answer of so many bytes: what finds no room is told so, and is not read", async () => {
    const { node: small, door: other } = await startHttpNode({
      plugins: { http: { ...TOKENS, requestsPerSecond: 0 }, rest: { maxBatchBytes: "100kb" } },
    });
    await holdToDocument(other);
    const options = { token: TOKENS.operateToken };
    for (const key of ["one", "two", "three"])
      await other.ask(`/kv/${key}`, { ...options, method: "PUT", body: "x".repeat(40 * 1024) });
    await other.ask("/kv/huge", { ...options, method: "PUT", body: "x".repeat(200 * 1024) });
    const client = localClient(small);
    const calls = async (): Promise<number> =>
      Number(/cmdstat_get:calls=([0-9]+)/.exec(await client.run("info commandstats"))?.[1] ?? 0);
    const before = await calls();
    const operations = ["one", "huge", "two", "none", "three"].map((key) => ({ op: "get", key }));
    const answer = await other.ask("/kv/batch", { ...options, method: "POST", json: { operations } });
    const { results } = answer.json() as { results: { status: number; type?: string; detail?: string }[] };
    expect(results.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 200, 404, 413, 413]);
    expect(results[1]).toEqual({
      status: 413,
      type: "urn:bunch:problem:too-large",
      detail:
        "The values of one answer may have 102400 bytes here (rest.maxBatchBytes): ask for this one again, by itself if need be.",
    });
    expect(answer.text.length).toBeLessThan(100 * 1024);
    expect((await calls()) - before).toBe(3);
    // By itself each is there.
    expect((await other.ask("/kv/huge", options)).text).toHaveLength(200 * 1024);
    // What is written takes none of the room.
    const writes = Array.from({ length: 4 }, (_, at) => ({ op: "put", key: `w${at}`, value: "y".repeat(60 * 1024) }));
    const written = await other.ask("/kv/batch", { ...options, method: "POST", json: { operations: writes } });
    expect((written.json() as { results: { status: number }[] }).results.map(({ status }) => status)).toEqual([
      204, 204, 204, 204,
    ]);
    client.close();
    await small.stop();
  });

  test("tell only values that there is room for beside answers that nobody has read; writes are done and told all the same", async () => {
    const { node: full, door: other } = await startHttpNode({
      plugins: { http: { ...TOKENS, maxUnreadBytes: "100kb", requestsPerSecond: 0 } },
    });
    await holdToDocument(other);
    const options = { token: TOKENS.operateToken };
    for (const key of ["a", "b"])
      await other.ask(`/kv/${key}`, { ...options, method: "PUT", body: "x".repeat(90 * 1024) });
    const waits = await other.send("/kv/a", options);
    expect((await other.ask("/kv/b", options)).status).toBe(503);
    const operations = [
      { op: "get", key: "b" },
      ...Array.from({ length: 9 }, (_, at) => ({ op: "put", key: `w${at}`, value: "y" })),
    ];
    const answer = await other.ask("/kv/batch", { ...options, method: "POST", json: { operations } });
    const { results } = answer.json() as { results: { status: number; detail?: string }[] };
    expect(results[0]).toMatchObject({
      status: 413,
      detail: `The values may have ${10 * 1024} bytes beside answers that nobody has read yet (http.maxUnreadBytes): ask for this one again, by itself if need be.`,
    });
    expect(results.slice(1).every(({ status }) => status === 204)).toBe(true);
    expect((await waits.text()).length).toBe(90 * 1024);
    expect((await other.ask("/kv/b", options)).status).toBe(200);
    await full.stop();
  });

  test("and values by themselves count as requests by their length", async () => {
    const { clock } = createBunWorld();
    const frozen = { ...hasty(clock), monotonicMs: () => 1e9 };
    const { node: other, door: strict } = await startHttpNode(
      { plugins: { http: { ...TOKENS, requestsPerSecond: 100 } } },
      { clock: frozen },
    );
    const put = await strict.ask("/kv/long", {
      token: TOKENS.operateToken,
      method: "PUT",
      body: "x".repeat(10 * 256 * 1024),
      from: "10.0.0.9:1",
    });
    expect(put.status).toBe(204);
    for (const [at, ask] of [
      (from: string) => strict.ask("/kv/long", { token: TOKENS.readToken, from }),
      (from: string) =>
        strict.ask("/kv/batch", {
          token: TOKENS.readToken,
          from,
          method: "POST",
          json: { operations: [{ op: "get", key: "long" }] },
        }),
    ].entries()) {
      const statuses: number[] = [];
      // 1 and 10 each.
      for (let count = 0; count < 11; count += 1) statuses.push((await ask(`10.0.0.${at}:1`)).status);
      expect(statuses).toEqual([...Array.from({ length: 10 }, () => 200), 429]);
    }
    await other.stop();
  });

  test("are refused whole if one of them makes no sense, or is not allowed", async () => {
    for (const operation of [
      { op: "put", key: "c1" },
      { op: "get", key: "c1", value: "1" },
      { op: "get", key: "c1", if_match: '"a"' },
      { op: "delete", key: "c1", ttl_ms: 5 },
      { op: "put", key: "c1", value: "1", condition: "absent", if_match: '"a"' },
      { op: "put", key: "c1", value: "!", encoding: "base64" },
      { op: "put", key: "c1", value: "1", more: 1 },
      { op: "incr", key: "c1" },
    ])
      expect((await batch([{ op: "put", key: "c0", value: "1" }, operation])).status, JSON.stringify(operation)).toBe(
        422,
      );
    expect((await batch([])).status).toBe(422);
    expect(
      (
        await batch(
          [
            { op: "get", key: "b2" },
            { op: "put", key: "c0", value: "1" },
          ],
          TOKENS.readToken,
        )
      ).status,
    ).toBe(403);
    expect((await ask("GET", "c0")).status).toBe(404);
    expect((await batch([{ op: "get", key: "b2" }], TOKENS.readToken)).status).toBe(200);
  });
});

describe("who may", () => {
  test("read keys, and who may change them", async () => {
    expect((await ask("GET", "b2", { token: TOKENS.readToken })).status).toBe(200);
    expect((await put("d", "1")).status).toBe(204);
    expect((await ask("PUT", "d", { body: "1", token: TOKENS.readToken })).status).toBe(403);
    expect((await door.ask("/kv/d")).status).toBe(200);
    expect((await door.ask("/kv/d", { method: "DELETE" })).status).toBe(401);
  });

  test("where clients need a password nobody sees a key without a token, on the same machine either", async () => {
    const other = await startHttpNode({ password: "a password" });
    await holdToDocument(other.door);
    const write = { method: "PUT", body: "1", token: TOKENS.adminToken };
    expect((await other.door.ask("/kv/d", write)).status).toBe(204);
    expect((await other.door.ask("/kv/d")).status).toBe(401);
    expect((await other.door.ask("/cluster/info")).status).toBe(200);
    expect((await other.door.ask("/kv/d", { token: TOKENS.readToken })).text).toBe("1");
    await other.node.stop();
  });
});

test("a connection that was closed while nobody needed it is not used again", async () => {
  const opened: LocalConnection[] = [];
  const connect = (): LocalConnection => {
    const connection = node.connect();
    opened.push(connection);
    return connection;
  };
  const local = new LocalCommands(connect, createBunWorld().clock);
  const ping = (): Promise<unknown> => local.with(1000, (run) => run(["PING"]));
  expect([await ping(), await ping(), opened.length]).toEqual([["PONG"], ["PONG"], 1]);
  opened[0]?.kill();
  expect([await ping(), opened.length]).toEqual([["PONG"], 2]);
  // In between of two commands: of the second one nothing was done. While one waits nobody knows.
  const [unsent, sent] = await Promise.all([
    local
      .with(1000, async (run) => {
        await run(["PING"]);
        opened[1]?.kill();
        return await run(["PING"]);
      })
      .catch((thrown: unknown) => thrown),
    local
      .with(1000, async (run) => {
        const waiting = run(["WAIT", "9", "0"]);
        opened[2]?.kill();
        return await waiting;
      })
      .catch((thrown: unknown) => thrown),
  ]);
  expect([unsent, sent]).toMatchObject([
    { message: "this node's connection was closed", isUnsent: true },
    { message: "this node's connection was closed", isUnsent: false },
  ]);
  local.close();
});

test("a slot that nobody serves is told so, and when to ask again", async () => {
  const { node: empty, door: other } = await startHttpNode({ empty: true });
  await holdToDocument(other);
  const answer = await other.ask("/kv/x", { token: TOKENS.readToken });
  expect(answer.status).toBe(503);
  expect(answer.headers.get("retry-after")).toBe("1");
  expect(answer.json()).toMatchObject({
    type: "urn:bunch:problem:cluster-down",
    code: "CLUSTERDOWN",
    detail: "Hash slot not served.",
  });
  await empty.stop();
});

test("without the plugins that bring the commands there is no answer, and it is said why", async () => {
  const { node: bare, door: other } = await startHttpNode({ plugins: { strings: false, http: TOKENS } });
  await holdToDocument(other);
  expect((await other.ask("/kv/x", { token: TOKENS.readToken })).json()).toMatchObject({
    status: 503,
    detail: "No plugin of this node does that.",
  });
  await bare.stop();
});

test("half of a surrogate pair is no text: neither a key nor a value of a batch", async () => {
  for (const [operation, field] of [
    [{ op: "put", key: "half", value: "a\ud800" }, "/operations/0/value"],
    [{ op: "put", key: "\udc00", value: "a" }, "/operations/0/key"],
    [{ op: "get", key: "\ud800" }, "/operations/0/key"],
  ] as const) {
    const answer = await door.ask("/kv/batch", {
      method: "POST",
      token: TOKENS.operateToken,
      json: { operations: [operation] },
    });
    expect([answer.status, answer.json()]).toMatchObject([422, { errors: [{ in: "body", field }] }]);
  }
  expect((await ask("GET", "half")).status).toBe(404);
});

test("tagInTurns makes the same tag as tagOf, and lets others have their turn with long values", async () => {
  for (const [length, turns] of [
    [0, 0],
    [5, 0],
    [4 * 1024 * 1024, 0],
    [9 * 1024 * 1024, 2],
  ] as const) {
    const value = new Uint8Array(length).fill(7);
    let taken = 0;
    const soon = (callback: () => void): void => {
      taken += 1;
      setImmediate(callback);
    };
    expect(await tagInTurns(value, { soon })).toBe(tagOf(value));
    expect(taken).toBe(turns);
  }
});
