/** Posts to HTTP servers, on the real machine. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { HttpClient } from "../../src/world.ts";
import { createBunWorld } from "../../src/world-bun.ts";

interface Seen {
  readonly path: string;
  readonly method: string;
  readonly type: string | null;
  readonly authorization: string | null;
  readonly body: string;
}

const seen: Seen[] = [];
let server: ReturnType<typeof Bun.serve>;
let http: HttpClient;

beforeAll(() => {
  ({ http } = createBunWorld({ logLevel: "silent" }));
  server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const path = new URL(request.url).pathname;
      const { method, headers } = request;
      const body = await request.text();
      seen.push({ path, method, type: headers.get("content-type"), authorization: headers.get("authorization"), body });
      if (path === "/moved") return Response.redirect("/taken", 307);
      if (path === "/endless")
        return new Response(new ReadableStream({ pull: (to) => to.enqueue(new Uint8Array(1024)) }));
      if (path === "/silent") return new Promise<Response>(() => undefined);
      return new Response("whatever it says", { status: path === "/refused" ? 403 : 202 });
    },
  });
});

afterAll(() => server.stop(true));

const post = (path: string, timeoutMs = 5000, authorization?: string): Promise<number> =>
  http.post({ url: `http://127.0.0.1:${server.port}${path}`, body: '{"a":"ä"}', authorization, timeoutMs });

test("a post arrives as it is, and its status comes back", async () => {
  expect(await post("/taken", 5000, "Bearer abc")).toBe(202);
  expect(seen.at(-1)).toEqual({
    path: "/taken",
    method: "POST",
    type: "application/json",
    authorization: "Bearer abc",
    body: '{"a":"ä"}',
  });
  expect(await post("/refused")).toBe(403);
  expect(seen.at(-1)?.authorization).toBeNull();
});

test("nobody is sent elsewhere, where a token would be read", async () => {
  seen.length = 0;
  expect(await post("/moved", 5000, "Bearer abc")).toBe(307);
  expect(seen.map(({ path }) => path)).toEqual(["/moved"]);
});

test("an answer without an end is not read", async () => {
  expect(await post("/endless")).toBe(200);
});

test("silence ends with the time, and a closed door at once, as an error", async () => {
  expect(post("/silent", 50)).rejects.toThrow();
  expect(
    http.post({ url: "http://127.0.0.1:1/", body: "", authorization: undefined, timeoutMs: 5000 }),
  ).rejects.toThrow();
});
