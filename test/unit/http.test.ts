/** The plugin http: who may do what, the bounds on requests, and what is told of what goes wrong. */
import { afterEach, describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import type { Config } from "../../src/config.ts";
import { type Http, type HttpCaller, httpService } from "../../src/contracts/http.ts";
import { topologyService } from "../../src/contracts/topology.ts";
import { messageOf } from "../../src/errors.ts";
import { PROBLEMS, Problem } from "../../src/http/problem.ts";
import { RateLimit } from "../../src/http/rate-limit.ts";
import { type Node, createNode } from "../../src/node.ts";
import type { LogFields, World } from "../../src/world.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { FakeHttpDoor, TOKENS, startHttpNode } from "../support/http-door.ts";
import { hasty } from "../support/hasty-clock.ts";
import { localClient } from "../support/local-node.ts";

const BUS_PORT = 21_970;
const started: Node[] = [];
afterEach(async () => {
  for (const node of started.splice(0)) await node.stop();
});

/** A node that serves who asks at `/who`, and what a test mounts. */
async function start(
  config: Config = {},
  world: Partial<World> = {},
): Promise<{ door: FakeHttpDoor; http: Http; node: Node }> {
  const { node, door } = await startHttpNode(config, world);
  started.push(node);
  const http = present(node.service(httpService), "there is HTTP");
  http.mount({
    prefix: "/who",
    handle: (_, { role, hasToken, remoteAddress }: HttpCaller) => Response.json({ role, hasToken, remoteAddress }),
  });
  return { door, http, node };
}

const roleOf = async (door: FakeHttpDoor, options: Parameters<FakeHttpDoor["ask"]>[1]): Promise<unknown> => {
  const answer = await door.ask("/who", options);
  return answer.status === 200 ? (answer.json() as { role: string }).role : answer.status;
};

describe("who may do what", () => {
  test("a token has its role, wherever it comes from", async () => {
    const { door } = await start();
    for (const [token, role] of [
      [TOKENS.readToken, "read"],
      [TOKENS.operateToken, "operate"],
      [TOKENS.adminToken, "admin"],
    ] as const)
      expect(await roleOf(door, { token, from: "10.1.1.1:5" })).toBe(role);
  });

  test("a wrong token is refused, on this machine too, and is in no log", async () => {
    const lines: string[] = [];
    const note = (event: string, fields: LogFields = {}): void => void lines.push(`${event} ${JSON.stringify(fields)}`);
    const { door } = await start({}, { log: { debug: note, info: note, warn: note, error: note } });
    for (const shown of ["Bearer wrong-0123456789abc", "Basic YTpi", "Bearer", `Bearer ${TOKENS.readToken}x`]) {
      const answer = await door.ask("/who", { headers: { authorization: shown } });
      expect(answer.status, shown).toBe(401);
      expect(answer.headers.get("www-authenticate")).toBe('Bearer error="invalid_token"');
      expect(answer.json()).toMatchObject({ type: "urn:bunch:problem:unauthorized", status: 401 });
    }
    expect(lines.filter((line) => line.includes("wrong token"))).toHaveLength(4);
    expect(lines.join("\n")).not.toContain("0123456789");
  });

  test("without a token who is on this machine reads, and others nothing", async () => {
    const { door } = await start();
    for (const [what, options, role] of [
      ["loopback", {}, "read"],
      ["loopback of IPv6", { from: "[::1]:9", headers: { host: "[::1]:15500" } }, "read"],
      ["loopback by a socket of IPv6", { from: "[::ffff:127.0.0.1]:9" }, "read"],
      ["another machine", { from: "10.0.0.9:1" }, "none"],
      ["a name of somebody else's that leads here", { headers: { host: "evil.example" } }, "none"],
      ["a page of another site", { headers: { origin: "https://evil.example" } }, "none"],
      ["an image on a page of another site", { headers: { "sec-fetch-site": "cross-site" } }, "none"],
      ["the same page", { headers: { origin: "http://localhost:15500", "sec-fetch-site": "same-origin" } }, "read"],
      ["a proxy on this machine", { headers: { "x-forwarded-for": "10.0.0.9" } }, "none"],
    ] as const)
      expect(await roleOf(door, options), what).toBe(role);
  });

  test("with --insecure and no token everybody does everything, but for pages of other sites", async () => {
    const { door } = await start({ insecure: true, plugins: { http: {} } });
    expect(await roleOf(door, { from: "10.0.0.9:1" })).toBe("admin");
    expect(await roleOf(door, { headers: { origin: "https://evil.example" } })).toBe("none");
    // Its page was led here by its own name: to the browser that is the same site.
    const rebound = { host: "evil.example", origin: "http://evil.example", "sec-fetch-site": "same-origin" };
    expect(await roleOf(door, { headers: rebound })).toBe("none");
    expect(await roleOf(door, { headers: { host: "127.0.0.1:15500" } })).toBe("admin");
    const withTokens = await start({ insecure: true });
    expect(await roleOf(withTokens.door, { from: "10.0.0.9:1" })).toBe("none");
  });

  test("the body of who may do nothing is not read", async () => {
    const { door, http } = await start();
    http.mount({ prefix: "/body", handle: async (request) => new Response(await request.text()) });
    let chunks = 0;
    const endless = (): ReadableStream =>
      new ReadableStream(
        {
          pull: (controller) => {
            chunks += 1;
            controller.enqueue(new Uint8Array(1024));
            if (chunks === 5) controller.close();
          },
        },
        { highWaterMark: 0 },
      );
    const stranger = { method: "POST", from: "10.0.0.9:1", body: endless() };
    expect((await door.ask("/body", stranger)).status).toBe(401);
    expect(chunks).toBe(0);
    const known = { method: "POST", token: TOKENS.readToken, body: endless() };
    expect((await door.ask("/body", known)).text).toHaveLength(5 * 1024);
  });

  test("who shows one wrong token after another is soon not asked for any", async () => {
    const { door } = await start({ plugins: { http: { ...TOKENS, requestsPerSecond: 100 } } });
    const statuses: number[] = [];
    for (let guess = 0; guess < 20; guess += 1) {
      const { status } = await door.ask("/who", { token: `guess-${guess}-0123456789abcdef`, from: "10.0.0.9:1" });
      statuses.push(status);
    }
    expect(statuses.filter((status) => status === 401).length).toBeWithin(1, 4);
    expect(statuses.at(-1)).toBe(429);
    // Others are not to blame.
    expect((await door.ask("/who", { token: TOKENS.readToken, from: "10.0.0.8:1" })).status).not.toBe(429);
  });

  test("tokens are changed while the node runs: two of them, then the new one", async () => {
    const { door, node } = await start();
    const client = localClient(node);
    const [old, next] = [TOKENS.adminToken, "next-0123456789abcdef"];
    const described = (): string | undefined => node.parameters.get("http-admin-token")?.get();
    expect(described()).toBe("a token");
    expect(await roleOf(door, { token: next })).toBe(401);
    const connection = node.connect();
    expect(await connection.execute("config", "set", "http-admin-token", `${next} ${old}`)).toBe("OK");
    expect(await roleOf(door, { token: next })).toBe("admin");
    expect(await roleOf(door, { token: old })).toBe("admin");
    expect(described()).toBe("2 tokens");
    expect(await client.run(`config set http-admin-token ${next}`)).toBe("OK");
    expect(await roleOf(door, { token: old })).toBe(401);
    for (const bad of ["brief", TOKENS.readToken, "a".repeat(15), `${"b".repeat(20)}!`])
      expect(await client.run(`config set http-admin-token ${bad}`), bad).toContain("ERR CONFIG SET failed");
    // All or none: the second one is refused.
    await client.run(`config set http-read-token other-0123456789ab http-admin-token ${"c".repeat(15)}`);
    expect(await roleOf(door, { token: TOKENS.readToken })).toBe("read");
    expect(await roleOf(door, { token: next })).toBe("admin");
    expect(await connection.execute("config", "set", "http-admin-token", "")).toBe("OK");
    expect(await roleOf(door, { token: next })).toBe(401);
    client.close();
    connection.close();
  });

  test("tokens in a file are changed by writing it; what makes no sense changes nothing, and is told", async () => {
    const { machine, clock } = createBunWorld();
    const [old, next, reading] = ["old-0123456789abcdef", "next-0123456789abcdef", "reading-0123456789"];
    let text = `admin ${old}`;
    let look = (): void => undefined;
    const lines: string[] = [];
    const note = (event: string, fields: LogFields = {}): void => void lines.push(`${event} ${JSON.stringify(fields)}`);
    const readOperatorFile = (): Promise<string> =>
      text === "" ? Promise.reject(new Error("there is no such file")) : Promise.resolve(text);
    const { door, node } = await start(
      { plugins: { http: { tokenFile: "tokens", operateToken: TOKENS.operateToken, requestsPerSecond: 0 } } },
      {
        machine: Object.assign(Object.create(machine) as World["machine"], { readOperatorFile }),
        log: { debug: note, info: note, warn: note, error: note },
        clock: {
          monotonicMs: () => clock.monotonicMs(),
          wallMs: () => clock.wallMs(),
          after: (delayMs, callback) => clock.after(delayMs, callback),
          every: (periodMs, callback) => {
            if (periodMs === 5000) look = callback;
            return clock.every(periodMs, callback);
          },
          soon: (callback) => clock.soon(callback),
        },
      },
    );
    const role = (token: string): Promise<unknown> => roleOf(door, { token });
    const looked = async (times: number): Promise<void> => {
      for (let time = 0; time < times; time += 1) {
        look();
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    expect(await role(old)).toBe("admin");
    for (const [wrong, reason] of [
      ["", "there is no such file"],
      ["root of-0123456789abcdef", "begins with none of"],
      ["admin brief", "a token is 16 to 256"],
      [`admin ${TOKENS.operateToken}`, "a token is that of another role already"],
    ] as const) {
      text = wrong;
      await looked(3);
      expect([await role(old), await role(TOKENS.operateToken)], reason).toEqual(["admin", "operate"]);
      expect(
        lines.filter((line) => line.startsWith("http tokens not changed") && line.includes(reason)),
        reason,
      ).toHaveLength(1);
    }
    // It is being written: one look is not enough.
    text = `admin ${next}`;
    await looked(1);
    text = `admin ${next} ${old}\nread ${reading}`;
    await looked(1);
    expect(await role(next)).toBe(401);
    await looked(1);
    expect([await role(old), await role(next), await role(reading)]).toEqual(["admin", "admin", "read"]);
    // What was set since is over where the file says something else, and only there.
    const client = localClient(node);
    expect(await client.run("config set http-operate-token set-0123456789abcdef")).toBe("OK");
    text = `read ${next}`;
    await looked(2);
    expect([await role(old), await role(reading), await role(next), await role("set-0123456789abcdef")]).toEqual([
      401,
      401,
      "read",
      "operate",
    ]);
    expect(lines.filter((line) => line.startsWith("http tokens not changed"))).toHaveLength(4);
    expect(lines.join("\n")).not.toContain("0123456789");
    client.close();
  });

  test("tokens come from a file, and one that makes no sense stops the start without telling it", async () => {
    const machineOf = (text: string): World["machine"] => {
      const { machine } = createBunWorld();
      return Object.assign(Object.create(machine) as World["machine"], {
        readOperatorFile: () => Promise.resolve(text),
      });
    };
    const plugins = { http: { tokenFile: "tokens" } };
    const { door } = await start(
      { plugins },
      { machine: machineOf("admin file-0123456789abcdef\n\n read r-0123456789abcdef s-0123456789abcdef\n") },
    );
    expect(await roleOf(door, { token: "file-0123456789abcdef" })).toBe("admin");
    expect(await roleOf(door, { token: "s-0123456789abcdef" })).toBe("read");
    for (const [text, problem] of [
      [
        "root file-0123456789abcdef",
        'Cannot use the tokens in "tokens": line 1 begins with none of read, operate, admin',
      ],
      ["admin brief", 'Cannot use the tokens for role "admin": a token is 16 to 256 letters'],
      ["read same-0123456789abcdef\nadmin same-0123456789abcdef", "a token is that of another role already"],
    ] as const) {
      const world = { ...createBunWorld({ logLevel: "silent" }), machine: machineOf(text) };
      const outcome = await createNode({ world, config: { port: 0, plugins } }).catch((thrown: unknown) =>
        messageOf(thrown),
      );
      expect(outcome).toContain(problem);
      expect(outcome).not.toContain("0123456789");
    }
  });
});

describe("bounds", () => {
  test("a body that is too long is refused, whether it says so or not", async () => {
    const { door, http } = await start({ plugins: { http: { maxBodyBytes: 10 } } });
    http.mount({
      prefix: "/length",
      handle: async (request) => Response.json((await request.arrayBuffer()).byteLength),
    });
    const stream = (count: number): ReadableStream =>
      new ReadableStream({
        start(controller) {
          for (let at = 0; at < count; at += 1) controller.enqueue(new Uint8Array(3));
          controller.close();
        },
      });
    for (const [body, status] of [
      ["0123456789", 200],
      ["0123456789a", 413],
      [stream(3), 200],
      [stream(4), 413],
    ] as const) {
      const answer = await door.ask("/length", { method: "POST", body });
      expect(answer.status).toBe(status);
      if (status === 413) expect(answer.json()).toMatchObject({ type: "urn:bunch:problem:too-large", status });
    }
  });

  test("a body is there in time, or is given up, and so is its place", async () => {
    const settings = { ...TOKENS, bodyTimeoutS: 10, maxRequests: 1 };
    const { door, http } = await start({ plugins: { http: settings } }, { clock: hasty(createBunWorld().clock) });
    http.mount({ prefix: "/length", handle: async (request) => Response.json((await request.text()).length) });
    let isLetGo = false;
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(Uint8Array.of(1)),
      cancel: () => void (isLetGo = true),
    });
    for (const headers of [{}, { "content-length": "100" }] as Record<string, string>[]) {
      const stream = isLetGo ? new ReadableStream() : body;
      const answer = await door.ask("/length", { method: "POST", body: stream, headers });
      expect([answer.status, answer.json()]).toMatchObject([
        408,
        {
          type: "urn:bunch:problem:request-timeout",
          detail: "The body of a request has to be here within 10 seconds (http.bodyTimeoutS).",
        },
      ]);
      expect(answer.headers.get("connection")).toBe("close");
    }
    expect(isLetGo).toBe(true);
    const broken = new ReadableStream({ start: (controller) => controller.error(new Error("cut off")) });
    expect((await door.ask("/length", { method: "POST", body: broken })).json()).toMatchObject({
      status: 400,
      detail: "The body ended before its end.",
    });
    expect((await door.ask("/length", { method: "POST", body: "four" })).text).toBe("4");
  });

  test("one address may ask so often a second, others go on; a wrong token counts as many requests", async () => {
    let nowMs = 1000;
    const { clock } = createBunWorld();
    const world = {
      clock: {
        monotonicMs: () => nowMs,
        wallMs: () => clock.wallMs(),
        after: (delayMs: number, callback: () => void) => clock.after(delayMs, callback),
        every: (periodMs: number, callback: () => void) => clock.every(periodMs, callback),
        soon: (callback: () => void) => clock.soon(callback),
      },
    };
    const { door } = await start({ plugins: { http: { requestsPerSecond: 60 } } }, world);
    for (let count = 0; count < 60; count += 1) expect((await door.ask("/who")).status).toBe(200);
    const refused = await door.ask("/who");
    expect(refused.status).toBe(429);
    expect(refused.headers.get("retry-after")).toBe("1");
    expect(refused.json()).toMatchObject({ type: "urn:bunch:problem:rate-limited" });
    expect((await door.ask("/who", { from: "10.0.0.1:1" })).status).toBe(200);
    expect((await door.ask("/health/live")).status).toBe(200);
    nowMs += 1000;
    expect((await door.ask("/who", { token: "wrong-0123456789abc" })).status).toBe(401);
    for (let count = 0; count < 9; count += 1) expect((await door.ask("/who")).status).toBe(200);
    expect((await door.ask("/who")).status).toBe(429);
  });

  test("what is much work counts as several requests: as many as the OpenAPI document says", async () => {
    const { clock } = createBunWorld();
    let isFrozen = false;
    const world = {
      clock: {
        monotonicMs: () => (isFrozen ? 1e9 : clock.monotonicMs()),
        wallMs: () => clock.wallMs(),
        after: (delayMs: number, callback: () => void) => clock.after(delayMs, callback),
        every: (periodMs: number, callback: () => void) => clock.every(periodMs, callback),
        soon: (callback: () => void) => clock.soon(callback),
      },
    };
    const { door } = await start({ plugins: { http: { ...TOKENS, requestsPerSecond: 100 } } }, world);
    const { paths } = (await door.ask("/openapi/json")).json() as {
      paths: Record<string, Record<string, { description: string }>>;
    };
    isFrozen = true;
    const operations = Array.from({ length: 250 }, (_, at) => ({ op: "get", key: `k${at}` }));
    for (const [at, [method, path, query, json]] of (
      [
        ["get", "/cluster/info", ""],
        ["get", "/cluster/explain", "?slot=7"],
        ["get", "/cluster/slots", ""],
        ["get", "/cluster/stats", ""],
        ["get", "/cluster/plugins", ""],
        ["get", "/metrics", ""],
        ["post", "/cluster/plans", "", { kind: "rebalance" }],
        ["post", "/kv/batch", "", { operations }],
      ] as const
    ).entries()) {
      const told = /Counts as ([0-9]+) requests/.exec(paths[path]?.[method]?.description ?? "")?.[1];
      // Metrics are none of the document's.
      const cost = path === "/kv/batch" ? 25 : path === "/metrics" ? 20 : Number(told ?? 1);
      expect(cost > 1, path).toBe(path !== "/cluster/info");
      const ask = (): Promise<number> =>
        door
          .ask(`${path}${query}`, {
            method: method.toUpperCase(),
            token: TOKENS.adminToken,
            from: `10.0.0.${at}:1`,
            json,
          })
          .then(({ status }) => status);
      for (let count = 0; count < 100 / cost; count += 1) expect(await ask(), path).not.toBe(429);
      expect(await ask(), path).toBe(429);
    }
  });

  test("so many requests are answered at a time, and one more is told to come again", async () => {
    const { door, http } = await start({ plugins: { http: { maxRequests: 2, maxRequestsPerAddress: 2 } } });
    const gate = Promise.withResolvers<void>();
    http.mount({ prefix: "/wait", handle: () => gate.promise.then(() => new Response("done")) });
    const waiting = [door.ask("/wait"), door.ask("/wait")];
    const refused = await door.ask("/wait");
    expect(refused.status).toBe(503);
    expect(refused.headers.get("retry-after")).toBe("1");
    gate.resolve();
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([200, 200]);
    expect((await door.ask("/who")).status).toBe(200);
  });

  test("one address has its part of them, and others are served meanwhile", async () => {
    const { door, http, node } = await start({
      // Half of them, if nothing else is said.
      plugins: { http: { ...TOKENS, maxRequests: 3 } },
    });
    const gate = Promise.withResolvers<void>();
    http.mount({ prefix: "/wait", handle: () => gate.promise.then(() => new Response("done")) });
    const ask = (from: string, path = "/wait"): ReturnType<FakeHttpDoor["ask"]> =>
      door.ask(path, { token: TOKENS.readToken, from });
    // An address is one, whichever socket it came in by.
    const waiting = [ask("10.0.0.1:1"), ask("[::ffff:10.0.0.1]:2")];
    const refused = await ask("10.0.0.1:3");
    expect([refused.status, refused.headers.get("retry-after"), refused.json()]).toMatchObject([
      429,
      "1",
      { detail: "2 requests of this address are being answered already (http.maxRequestsPerAddress)." },
    ]);
    expect((await ask("10.0.0.1:3", "/health/live")).status).toBe(200);
    waiting.push(ask("10.0.0.2:1"));
    // With that there are as many as there may be of all.
    expect((await ask("10.0.0.3:1")).status).toBe(503);
    gate.resolve();
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(await Promise.all([ask("10.0.0.1:1"), ask("10.0.0.1:2")])).toMatchObject([{ status: 200 }, { status: 200 }]);
    const client = localClient(node);
    const info = await client.run("INFO http");
    client.close();
    expect(info).toContain("http_refused_overload:1\r\nhttp_refused_overload_address:1\r\n");
  });

  test("a long answer is under way until it was read or let go, and those that wait to be read are so long together", async () => {
    const length = 1024 * 1024;
    const long = Uint8Array.from({ length }, (_, at) => at % 251);
    const { door, http, node } = await start({
      plugins: { http: { ...TOKENS, maxUnreadBytes: "2mb", maxRequests: 3, maxRequestsPerAddress: 3 } },
    });
    http.mount({ prefix: "/long", handle: () => new Response(long) });
    http.mount({
      prefix: "/copied-by-nobody",
      handle: (_, caller) => new Response(caller.bodyOf(long)),
    });
    http.mount({ prefix: "/too-long", handle: () => new Response(new Uint8Array(3 * length)) });
    const info = async (name: string): Promise<number> => {
      const client = localClient(node);
      const text = await client.run("INFO http");
      client.close();
      return Number(new RegExp(`http_${name}:([0-9]+)`).exec(text)?.[1]);
    };
    const send = (path: string, method = "GET"): Promise<Response> =>
      door.send(path, { token: TOKENS.adminToken, method });
    const first = await send("/long");
    const second = await send("/copied-by-nobody");
    expect([await info("requests_under_way"), await info("unread_bytes")]).toEqual([2, 2 * length]);
    for (const path of ["/long", "/copied-by-nobody"]) {
      const third = await send(path);
      expect([third.status, third.headers.get("retry-after"), await third.json()]).toMatchObject([
        503,
        "1",
        { type: "urn:bunch:problem:unavailable" },
      ]);
    }
    expect(await info("refused_unread")).toBe(2);
    // What is short has room, and so has the answer to what was changed.
    expect((await send("/who")).status).toBe(200);
    const changed = await send("/long", "POST");
    expect([changed.status, await info("requests_under_way")]).toEqual([200, 3]);
    expect((await send("/who")).status).toBe(503);
    await changed.body?.cancel();
    expect(await info("requests_under_way")).toBe(2);
    // Read in part, it has that much less to wait.
    const reader = present(second.body, "a long answer has a body").getReader() as ReadableStreamDefaultReader;
    await reader.read();
    await reader.read();
    expect(await info("unread_bytes")).toBeLessThan(2 * length);
    await reader.cancel();
    expect([await info("requests_under_way"), await info("unread_bytes")]).toEqual([1, length]);
    expect(new Uint8Array(await first.arrayBuffer())).toEqual(long);
    expect([await info("requests_under_way"), await info("unread_bytes")]).toEqual([0, 0]);
    // Of a HEAD nobody reads anything.
    for (const path of ["/long", "/copied-by-nobody"]) expect((await send(path, "HEAD")).status).toBe(200);
    expect([await info("requests_under_way"), await info("unread_bytes")]).toEqual([0, 0]);
    // By itself any answer may be read.
    expect((await (await send("/too-long")).arrayBuffer()).byteLength).toBe(3 * length);
    expect([await info("requests_under_way"), await info("unread_bytes")]).toEqual([0, 0]);
  });

  test("callers that are remembered are so many, the one that was heard longest ago goes", () => {
    const limit = new RateLimit(1);
    expect(limit.take("first", 0)).toBe(0);
    expect(limit.take("first", 0)).toBe(1000);
    for (let caller = 0; caller < 10_000; caller += 1) limit.take(`c${caller}`, 0);
    expect(limit.size).toBe(10_000);
    expect(limit.take("first", 0)).toBe(0);
    expect(limit.take("c9999", 0)).toBe(1000);
    expect(limit.take("c9999", 1000)).toBe(0);
    limit.perSecond = 0;
    expect(limit.take("c9999", 1000)).toBe(0);
  });
});

describe("what is served", () => {
  test("the longest prefix counts, whole names at a time; what was taken away is gone", async () => {
    // The root is the dashboard's, where there is one.
    const { door, http } = await start({ plugins: { dashboard: false } });
    const unmount = http.mount({ prefix: "/who/else", handle: () => new Response("else") });
    http.mount({ prefix: "/", handle: () => new Response("root") });
    const textAt = async (path: string): Promise<string> => (await door.ask(path)).text;
    expect(await textAt("/who/else/x?y=1")).toBe("else");
    expect(await textAt("/who/elsewhere")).toContain("read");
    expect(await textAt("/whoever")).toBe("root");
    unmount();
    expect(await textAt("/who/else/x")).toContain("read");
    expect(() => http.mount({ prefix: "/who", handle: () => new Response() })).toThrow('Cannot serve at "/who"');
  });

  test("what is thrown is told if it is for the caller, and else to the log", async () => {
    const lines: string[] = [];
    const note = (event: string, fields: LogFields = {}): void => void lines.push(`${event} ${JSON.stringify(fields)}`);
    const { door, http, node } = await start({}, { log: { debug: note, info: note, warn: note, error: note } });
    http.mount({
      prefix: "/throws",
      handle(request) {
        if (request.url.endsWith("problem")) throw new Problem("conflict", "It is so.", { members: { reason: "so" } });
        throw new Error("a secret text");
      },
    });
    const problem = await door.ask("/throws/problem");
    expect(problem.headers.get("content-type")).toBe("application/problem+json");
    expect(problem.status).toBe(409);
    expect(problem.json()).toEqual({
      type: "urn:bunch:problem:conflict",
      title: "The present state does not allow this",
      status: 409,
      detail: "It is so.",
      reason: "so",
    });
    const failed = await door.ask("/throws/error");
    expect(failed.status).toBe(500);
    expect(failed.text).not.toContain("secret");
    expect(lines.join("\n")).toContain("a secret text");
    expect((await door.ask("/nowhere")).status).toBe(404);
    const client = localClient(node);
    expect(await client.run("info http")).toMatch(/http_port:15500\r\nhttp_requests:3\r\n(.*\r\n)*http_failed:1\r\n/);
    client.close();
  });

  test("no page of another site is let read, but for those that the settings name", async () => {
    const headers = { origin: "https://ops.example" };
    const { door } = await start();
    const none = await door.ask("/who", { headers, token: TOKENS.readToken });
    expect(none.headers.get("access-control-allow-origin")).toBeNull();
    expect(none.headers.get("x-content-type-options")).toBe("nosniff");
    expect(none.headers.get("cache-control")).toBe("no-store");
    const { door: open } = await start({
      plugins: { http: { ...TOKENS, corsOrigins: "https://ops.example,http://two.example:8080" } },
    });
    const allowed = await open.ask("/who", { headers, token: TOKENS.readToken });
    expect(allowed.status).toBe(200);
    expect(allowed.headers.get("access-control-allow-origin")).toBe("https://ops.example");
    expect(allowed.headers.get("vary")).toBe("origin");
    const preflight = await open.ask("/who", { method: "OPTIONS", headers });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-headers")).toContain("authorization");
    const other = await open.ask("/who", { headers: { origin: "https://evil.example" }, token: TOKENS.readToken });
    expect(other.headers.get("access-control-allow-origin")).toBeNull();
  });

  test("health tells whether the node is there and whether it serves, to anybody; until then nothing else is served", async () => {
    const door = new FakeHttpDoor();
    const node = await createNode({
      world: { ...createBunWorld({ logLevel: "silent" }), httpServer: door },
      config: { port: 0, plugins: { resp: false, http: TOKENS } },
    });
    const http = present(node.service(httpService), "there is HTTP");
    http.mount({ prefix: "/who", handle: () => new Response("here") });
    const from = "10.0.0.9:1";
    const early = Promise.withResolvers<readonly number[]>();
    node.hooks.ready.add("a test", () => {
      const asked = ["/health/live", "/health/ready", "/who"].map(
        async (path) => (await door.ask(path, { from })).status,
      );
      early.resolve(Promise.all(asked));
    });
    await node.start();
    expect(await early.promise).toEqual([200, 503, 503]);
    expect((await door.ask("/health/ready", { from })).json()).toEqual({ status: "ready" });
    let reason: string | undefined = "its turn";
    http.notReady.add("a test", () => reason);
    const waiting = await door.ask("/health/ready", { from });
    expect(waiting.status).toBe(503);
    expect(waiting.json()).toMatchObject({
      type: "urn:bunch:problem:unavailable",
      detail: "This node waits for its turn.",
    });
    reason = undefined;
    const late = Promise.withResolvers<readonly number[]>();
    node.hooks.stop.add("a test", () => {
      const asked = ["/health/live", "/health/ready", "/who"].map(async (path) => (await door.ask(path)).status);
      late.resolve(Promise.all(asked));
    });
    await node.stop();
    expect(await late.promise).toEqual([200, 503, 503]);
  });
});

test("the map tells where operators come: the port for clients + 9121, or what the settings say", async () => {
  for (const [config, host, port] of [
    [{ port: 6379 }, "127.0.0.1", 15_500],
    [{ port: 60_000 }, "127.0.0.1", 15_500],
    [{ port: 7001, announceHost: "10.1.1.1,name.example" }, "10.1.1.1", 16_122],
    [
      { port: 7001, plugins: { http: { port: 8080, announceHost: "ops.example", announcePort: 443 } } },
      "ops.example",
      443,
    ],
  ] as const) {
    for (const raft of [true, false]) {
      const { node } = await startHttpNode({
        ...config,
        busPort: BUS_PORT,
        plugins: { ...("plugins" in config ? config.plugins : {}), raft, ...(raft ? {} : { bus: false }) },
      });
      started.push(node);
      const { self } = present(node.service(topologyService), "a map");
      expect([self.httpHost, self.httpPort]).toEqual([host, port]);
      await node.stop();
    }
  }
});

test("every kind of problem is documented, with its status and its meaning", async () => {
  const page = await Bun.file(new URL("../../docs/rest.md", import.meta.url)).text();
  for (const [kind, { status, title }] of Object.entries(PROBLEMS))
    expect(page).toMatch(new RegExp(`\\| \`urn:bunch:problem:${kind}\` +\\| ${status} +\\| ${title} +\\|`));
});
