/** Requests over real sockets: what the runtime does with them before and after the node has a say. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Socket, connect } from "node:net";
import type { Node } from "../../src/node.ts";
import { startNode } from "../support/bunch-server.ts";
import { TOKENS } from "../support/http-door.ts";
import { localClient } from "../support/local-node.ts";

const MAX_BODY = 1000;
let node: Node;
let port: number;
let url: string;
beforeAll(async () => {
  ({ node } = await startNode({
    plugins: {
      resp: false,
      http: { ...TOKENS, port: 0, maxBodyBytes: MAX_BODY, bodyTimeoutS: 1, requestsPerSecond: 0 },
      rest: { maxEventStreamsPerAddress: 64 },
    },
  }));
  port = Number(node.parameters.get("http-port")?.get());
  url = `http://127.0.0.1:${port}`;
});
afterAll(async () => {
  await node.stop();
});

const authorization = `Bearer ${TOKENS.adminToken}`;

/** Sends text as it is, and reads until the other side closes, or nothing comes for a while. */
function raw(text: string, untilText: string, encoding: "utf8" | "latin1" = "utf8"): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(text, encoding));
    socket.on("data", (bytes) => {
      answer += bytes.toString();
      if (answer.includes(untilText)) socket.destroy();
    });
    socket.on("close", () => resolve(answer));
    socket.on("error", reject);
  });
}

test("a HEAD is answered as a GET without its body", async () => {
  const [get, head] = await Promise.all([
    fetch(`${url}/cluster/info`),
    fetch(`${url}/cluster/info`, { method: "HEAD" }),
  ]);
  expect([get.status, head.status]).toEqual([200, 200]);
  expect(head.headers.get("content-type")).toBe(get.headers.get("content-type"));
  expect(await head.text()).toBe("");
});

test("a body that is too long is refused, in whichever way it comes", async () => {
  const put = (body: string, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`${url}/kv/key`, { method: "PUT", body, headers: { authorization, ...headers } });
  expect((await put("x".repeat(MAX_BODY))).status).toBe(204);
  const long = await put("x".repeat(MAX_BODY + 1));
  expect([long.status, long.headers.get("content-type")]).toEqual([413, "application/problem+json"]);
  const chunked = `PUT /kv/key HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: ${authorization}\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n${"x".repeat(1001)}\r\n0\r\n\r\n`;
  const answer = await raw(chunked, "maxBodyBytes");
  expect(answer).toStartWith("HTTP/1.1 413");
  expect(answer).toContain("urn:bunch:problem:too-large");
  // So long that nobody wants to hear of it.
  expect(await raw(`PUT /kv/key HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n`, "413")).toContain("413");
  expect((await fetch(`${url}/kv/key`)).status).toBe(200);
});

test("a key is the one that was sent, or is refused", async () => {
  const asked = (key: string): Promise<string> =>
    raw(
      `GET /kv/${key} HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nConnection: close\r\n\r\n`,
      "a text that does not come",
      "latin1",
    );
  for (const key of ["\xff\xfe", "\xff", "a#b"]) expect(await asked(key), key).toStartWith("HTTP/1.1 400");
  for (const key of ["%ff%fe", "%ef%bf%bd"]) expect(await asked(key), key).toStartWith("HTTP/1.1 404");
});

test("a GET that says that it has a body is refused", async () => {
  const asked = (more: string): Promise<string> =>
    raw(
      `GET /cluster/info HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nConnection: close\r\n${more}`,
      "a text that does not come",
    );
  for (const more of [
    "Content-Length: 3\r\n\r\nabc",
    "Content-Length: 900\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
  ]) {
    const answer = await asked(more);
    expect(answer, more).toStartWith("HTTP/1.1 422");
    expect(answer).toContain("must not be there");
  }
  for (const more of ["Content-Length: 0\r\n\r\n", "\r\n"]) expect(await asked(more), more).toStartWith("HTTP/1.1 200");
});

test("a path may be as long as the manual says", async () => {
  const asked = (length: number): Promise<string> =>
    raw(
      `GET /kv/${"a".repeat(length)} HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nConnection: close\r\n\r\n`,
      "a text that does not come",
    );
  expect(await asked(15_000)).toStartWith("HTTP/1.1 404");
  expect(await asked(17_000)).toStartWith("HTTP/1.1 431");
});

test("a body that does not come is given up, with its connection", async () => {
  const begun = `PUT /kv/late HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: ${authorization}\r\n`;
  for (const rest of ["Content-Length: 100\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"]) {
    const answer = await raw(`${begun}${rest}`, "a text that does not come");
    expect(answer, rest).toStartWith("HTTP/1.1 408");
    expect(answer).toContain("urn:bunch:problem:request-timeout");
  }
  expect((await fetch(`${url}/kv/late`)).status).toBe(404);
});

test("what is no HTTP, and headers without end, are refused by the runtime", async () => {
  expect(await raw("hello\r\n\r\n", "400")).toMatch(/^(HTTP\/1\.1 400|$)/);
  const answer = await raw(`GET / HTTP/1.1\r\nHost: x\r\nA: ${"a".repeat(200_000)}\r\n\r\n`, "431");
  expect(answer).toContain("431");
});

test("whatever host a request names, it is answered by its path; what is no host is refused", async () => {
  const asked = (host: string, path = "/cluster/info", method = "GET"): Promise<string> =>
    raw(
      `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${authorization}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
      "a text that does not come",
    );
  for (const host of ["x", "n1", "localhost", "a.rather.long.name.example:15500", "[::1]:5"])
    expect(await asked(host), host).toContain('"cluster_enabled":true');
  expect(await asked("x", "/cluster/info#y")).toContain('"cluster_enabled":true');
  // With its body.
  expect(await asked("x", "/cluster/failover", "POST")).toContain("/node_id of the body");
  for (const host of ["a b", '"><', "[::1", "localhost:99999", "%00", ""])
    expect(await asked(host), host).toStartWith("HTTP/1.1 400");
});

test("a health check in HTTP/1.0 names no host, and is answered; nothing else is", async () => {
  for (const path of ["/health/live", "/health/ready"])
    expect(await raw(`GET ${path} HTTP/1.0\r\n\r\n`, "}"), path).toStartWith("HTTP/1.1 200 OK");
  for (const path of ["/cluster/info", "/health", "/"])
    expect(await raw(`GET ${path} HTTP/1.0\r\n\r\n`, "}"), path).toStartWith("HTTP/1.1 400");
});

test("a long answer that nobody reads is under way until its connection is closed, by whoever", async () => {
  const { node: other } = await startNode({
    plugins: {
      resp: false,
      http: { ...TOKENS, port: 0, idleTimeoutS: 1, maxUnreadBytes: "24mb", requestsPerSecond: 0 },
    },
  });
  const at = Number(other.parameters.get("http-port")?.get());
  const length = 16 * 1024 * 1024;
  await fetch(`http://127.0.0.1:${at}/kv/long`, {
    method: "PUT",
    body: new Uint8Array(length).fill(65),
    headers: { authorization },
  });
  const client = localClient(other);
  const info = async (name: string): Promise<number> =>
    Number(new RegExp(`http_${name}:([0-9]+)`).exec(await client.run("INFO http"))?.[1]);
  const get = `GET /kv/long HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\n\r\n`;
  const askAndWait = (): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = connect(at, "127.0.0.1", () => {
        socket.pause();
        socket.write(get, () => resolve(socket));
      });
      socket.on("error", reject);
    });
  const isSo = async (what: () => Promise<boolean>): Promise<void> => {
    const deadline = performance.now() + 20_000;
    while (!(await what())) {
      if (performance.now() > deadline) throw new Error("it never came to be so");
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const none = async (): Promise<boolean> => (await info("requests_under_way")) + (await info("unread_bytes")) === 0;
  const left = await askAndWait();
  await isSo(async () => (await info("requests_under_way")) === 1 && (await info("unread_bytes")) > 0);
  expect(await info("unread_bytes")).toBeLessThanOrEqual(length);
  left.destroy();
  await isSo(none);
  // Silent for as long as a connection may be.
  const silent = await askAndWait();
  await isSo(async () => (await info("unread_bytes")) > 0);
  await isSo(none);
  silent.destroy();
  // Meanwhile, and after: whoever reads gets all of it.
  const whole = await fetch(`http://127.0.0.1:${at}/kv/long`, { headers: { authorization } });
  expect((await whole.arrayBuffer()).byteLength).toBe(length);
  await isSo(none);
  const head = await fetch(`http://127.0.0.1:${at}/kv/long`, { method: "HEAD", headers: { authorization } });
  expect([head.status, await none()]).toEqual([200, true]);
  client.close();
  await other.stop();
});

test("who leaves an event stream is noticed, and the stream is over", async () => {
  const follow = async (): Promise<AbortController> => {
    const abort = new AbortController();
    const response = await fetch(`${url}/cluster/events`, { signal: abort.signal, headers: { authorization } });
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    for await (const bytes of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      expect(new TextDecoder().decode(bytes)).toStartWith("event: start\n");
      break;
    }
    return abort;
  };
  // More than there may be at a time: each has left before the next ones come.
  for (let round = 0; round < 3; round += 1) {
    const streams = await Promise.all(Array.from({ length: 60 }, follow));
    for (const stream of streams) stream.abort();
    const deadline = performance.now() + 10_000;
    for (;;) {
      const abort = new AbortController();
      const next = await fetch(`${url}/cluster/events`, { signal: abort.signal, headers: { authorization } });
      abort.abort();
      if (next.status === 200) break;
      if (performance.now() > deadline) throw new Error("streams that were left are still there");
    }
  }
});
