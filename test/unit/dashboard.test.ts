/** The plugin `dashboard`: what it serves, to whom, and that the page needs nothing from elsewhere. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import type { Node } from "../../src/node.ts";
import type { PageFile, PageMaker } from "../../src/world.ts";
import { BunPageMaker } from "../../src/world-bun-http.ts";
import { type FakeHttpDoor, TOKENS, startHttpNode } from "../support/http-door.ts";

const AWAY = "192.0.2.1:4000";

let node: Node;
let door: FakeHttpDoor;
beforeAll(async () => {
  ({ node, door } = await startHttpNode());
});
afterAll(async () => {
  await node.stop();
});

/** The files that the page asks for. */
async function filesOf(path = "/dashboard"): Promise<readonly string[]> {
  const { text } = await door.ask(path);
  return [...text.matchAll(/(?:src|href)="([^"#]+)"/g)].map(([, address]) => present(address, "it has an address"));
}

describe("the page", () => {
  test("is for anybody who reaches the port: there is nothing secret in it", async () => {
    for (const path of ["/dashboard", "/dashboard/"]) {
      const page = await door.ask(path, { from: AWAY });
      expect([page.status, page.headers.get("content-type")]).toEqual([200, "text/html;charset=utf-8"]);
      expect(page.headers.get("cache-control")).toBe("no-store");
    }
  });

  test("has the browser take no script or style from elsewhere, and none that stands in the page", async () => {
    const { headers, text } = await door.ask("/dashboard");
    const policy = headers.get("content-security-policy") ?? "";
    expect(policy).toStartWith("default-src 'none'; script-src 'self'; style-src 'self';");
    expect(policy).not.toContain("unsafe");
    expect(policy).toContain("connect-src 'self'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(headers.get("referrer-policy")).toBe("no-referrer");
    expect(text).not.toMatch(/<style|style=|<script(?![^>]* src=)| on[a-z]+=/);
  });

  test("refers to files of this node, which are there, and never change under their names", async () => {
    const files = await filesOf();
    expect(new Set(files.map((file) => file.split(".").at(-1)))).toEqual(new Set(["css", "js", "svg"]));
    for (const file of files) {
      expect(file).toStartWith("/dashboard/");
      const answer = await door.ask(file, { from: AWAY });
      expect([answer.status, answer.headers.get("cache-control")]).toEqual([
        200,
        "public, max-age=31536000, immutable",
      ]);
      // The names of the languages of pictures are addresses, and are not asked.
      const addresses = answer.text.match(/https?:\/\/[a-z0-9./-]+/g) ?? [];
      expect(addresses.filter((address) => address !== "http://www.w3.org/2000/svg")).toEqual([]);
    }
  });

  test("is where the root leads", async () => {
    const root = await door.ask("/");
    expect([root.status, root.headers.get("location")]).toEqual([302, "/dashboard"]);
  });

  test("takes nothing but to be read", async () => {
    for (const path of ["/", "/dashboard", "/dashboard/caller"]) {
      const answer = await door.ask(path, { method: "POST", json: {}, token: TOKENS.adminToken });
      expect([answer.status, answer.headers.get("allow")], path).toEqual([405, "GET, HEAD"]);
    }
  });

  test("is not at other paths", async () => {
    for (const path of ["/dashboard/nothing", "/dashboard/../src/main.ts", "/dashboards", "/nothing"]) {
      expect((await door.ask(path)).status, path).toBe(404);
    }
  });
});

describe("who asks", () => {
  test("is told what it may do", async () => {
    const told = async (options: Parameters<FakeHttpDoor["ask"]>[1]): Promise<unknown> =>
      (await door.ask("/dashboard/caller", options)).json();
    const { version } = (await told({})) as { version: string };
    expect(await told({})).toEqual({ role: "read", has_token: false, version });
    expect(await told({ from: AWAY })).toEqual({ role: "none", has_token: false, version });
    expect(await told({ from: AWAY, token: TOKENS.operateToken })).toEqual({
      role: "operate",
      has_token: true,
      version,
    });
  });

  test("with a wrong token gets nothing", async () => {
    expect((await door.ask("/dashboard/caller", { token: "wrong-0123456789abc" })).status).toBe(401);
  });
});

describe("the page is made", () => {
  test("when it is asked for, once; what went wrong is tried again", async () => {
    const file: PageFile = { name: "page.html", type: "text/html", bytes: new TextEncoder().encode("<p>") };
    const asked: string[] = [];
    const pages: PageMaker = {
      make(name, base) {
        asked.push(`${name} ${base}`);
        return asked.length === 1 ? Promise.reject(new Error("no room")) : Promise.resolve([file]);
      },
    };
    const own = await startHttpNode({}, { pages });
    try {
      expect(asked).toEqual([]);
      const failed = await own.door.ask("/dashboard");
      expect([failed.status, failed.headers.get("retry-after")]).toEqual([503, "10"]);
      expect(failed.text).not.toContain("no room");
      const both = await Promise.all([own.door.ask("/dashboard"), own.door.ask("/dashboard")]);
      expect(both.map(({ text }) => text)).toEqual(["<p>", "<p>"]);
      expect(asked).toEqual(["dashboard /dashboard/", "dashboard /dashboard/"]);
      // The page goes by its address, and by no name.
      expect((await own.door.ask("/dashboard/page.html")).status).toBe(404);
    } finally {
      await own.node.stop();
    }
  });

  test("the same each time, so that all nodes of a version serve the same files", async () => {
    const maker = new BunPageMaker();
    const [one, other] = await Promise.all([
      maker.make("dashboard", "/dashboard/"),
      maker.make("dashboard", "/dashboard/"),
    ]);
    expect(one.map(({ name }) => name)).toEqual(other.map(({ name }) => name));
    expect(one[0]?.name).toBe("dashboard.html");
  });

  test("not at all where it is off: all else goes on", async () => {
    const own = await startHttpNode({ plugins: { dashboard: false, http: TOKENS } });
    try {
      for (const path of ["/", "/dashboard"]) expect((await own.door.ask(path)).status, path).toBe(404);
      expect((await own.door.ask("/cluster/info")).status).toBe(200);
    } finally {
      await own.node.stop();
    }
  });
});
