/** Posts to a URL: in order, again until they are taken, bounded, and in nobody's way. */
import { describe, expect, test } from "bun:test";
import { Webhook } from "../../src/health/webhook.ts";
import type { HttpPost } from "../../src/world.ts";
import type { SimHttpServer } from "../support/sim-http.ts";
import { Simulation } from "../support/sim-world.ts";

const URL = "https://hooks.example/token-1234";

/** A webhook on a host of its own, and a server that answers as a test says. */
class Posts {
  readonly lines: string[] = [];
  readonly simulation = new Simulation(1, { sink: (line) => void this.lines.push(line) });
  /** What the server got, each with when. */
  readonly got: { readonly body: string; readonly atMs: number; readonly post: HttpPost }[] = [];
  readonly webhook: Webhook;
  answer: SimHttpServer = () => ({ status: 204, afterMs: 10 });

  constructor(url = URL) {
    this.simulation.httpServers.set("https://hooks.example", (post) => {
      this.got.push({ body: post.body, atMs: this.simulation.nowMs, post });
      return this.answer(post);
    });
    this.webhook = new Webhook(this.simulation.addHost("10.0.0.1").world, url, "Bearer abc");
  }

  get bodies(): readonly string[] {
    return this.got.map(({ body }) => body);
  }
}

describe("a webhook", () => {
  test("posts in order, one at a time, with the header", async () => {
    const posts = new Posts();
    for (const body of ["1", "2", "3"]) posts.webhook.post(body);
    await posts.simulation.runUntil("all to be sent", () => posts.webhook.sent === 3, 1000);
    expect(posts.bodies).toEqual(["1", "2", "3"]);
    const [first, second] = posts.got;
    expect(first?.post).toEqual({ url: URL, body: "1", authorization: "Bearer abc", timeoutMs: 5000 });
    expect((second?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThanOrEqual(10);
    expect(posts.webhook.waiting).toBe(0);
  });

  test("tries again, later each time, until it is taken; what comes meanwhile waits its turn", async () => {
    const posts = new Posts();
    posts.answer = () => ({ status: 503, afterMs: 0 });
    posts.webhook.post("1");
    await posts.simulation.runUntil("five tries", () => posts.got.length === 5, 60_000);
    posts.webhook.post("2");
    const pauses = posts.got.slice(1).map(({ atMs }, at) => Math.round((atMs - (posts.got[at]?.atMs ?? 0)) / 1000));
    expect(pauses).toEqual([1, 2, 4, 8]);
    posts.answer = () => ({ status: 200, afterMs: 0 });
    await posts.simulation.runUntil("both to be sent", () => posts.webhook.sent === 2, 60_000);
    expect(posts.bodies).toEqual(["1", "1", "1", "1", "1", "1", "2"]);
    expect(posts.webhook.retried).toBe(5);
    expect(posts.webhook.failed).toBe(0);
  });

  test("takes silence and a closed door for failures, and says so once, without the URL", async () => {
    const posts = new Posts();
    posts.answer = () => undefined;
    posts.webhook.post("1");
    await posts.simulation.runUntil("two tries", () => posts.got.length === 2, 60_000);
    expect((posts.got[1]?.atMs ?? 0) - (posts.got[0]?.atMs ?? 0)).toBeWithin(6000, 6100);
    posts.simulation.httpServers.clear();
    await posts.simulation.runFor(30_000);
    expect(posts.webhook.waiting).toBe(1);
    const told = posts.lines.filter((line) => line.includes("webhook"));
    expect(told.filter((line) => line.includes("warn")).length).toBe(1);
    expect(told.join("\n")).not.toContain("token-1234");
  });

  test("gives up what the server does not want, and what was tried for ten minutes, and goes on with the next", async () => {
    const posts = new Posts();
    posts.answer = ({ body }) => ({ status: body === "bad" ? 400 : body === "busy" ? 429 : 200, afterMs: 0 });
    for (const body of ["bad", "busy", "good"]) posts.webhook.post(body);
    await posts.simulation.runUntil("the good one to be sent", () => posts.webhook.sent === 1, 1_000_000);
    expect(posts.bodies).toEqual(["bad", ...Array.from({ length: 15 }, () => "busy"), "good"]);
    expect(posts.webhook.failed).toBe(2);
    // Fourteen after the first of "busy"; what is not wanted is not tried again.
    expect(posts.webhook.retried).toBe(14);
    expect(posts.simulation.nowMs).toBeWithin(500_000, 700_000);
  });

  test("drops the oldest of too many, but for the one that is on its way", async () => {
    const posts = new Posts();
    posts.answer = () => ({ status: 200, afterMs: 1000 });
    for (let at = 0; at < 70; at += 1) posts.webhook.post(String(at));
    expect([posts.webhook.waiting, posts.webhook.dropped]).toEqual([64, 6]);
    await posts.simulation.runUntil("all to be sent", () => posts.webhook.waiting === 0, 100_000);
    expect(posts.bodies).toEqual(["0", ...Array.from({ length: 63 }, (_, at) => String(at + 7))]);
  });

  test("gives each its own tries, also where one was dropped between two of its", async () => {
    const posts = new Posts();
    posts.answer = () => ({ status: 503, afterMs: 0 });
    posts.webhook.post("0");
    await posts.simulation.runUntil("all tries but one", () => posts.webhook.retried === 14, 3_600_000);
    for (let at = 1; at <= 64; at += 1) posts.webhook.post(String(at));
    await posts.simulation.runUntil("the next one to be tried", () => posts.bodies.includes("1"), 120_000);
    await posts.simulation.runUntil("it to be tried again", () => posts.bodies.at(-2) === "1", 120_000);
    expect([posts.webhook.dropped, posts.webhook.failed, posts.webhook.waiting]).toEqual([1, 0, 64]);
    posts.answer = () => ({ status: 200, afterMs: 0 });
    await posts.simulation.runUntil("all to be sent", () => posts.webhook.sent === 64, 120_000);
  });

  test("sends nothing once it is stopped", async () => {
    const posts = new Posts();
    posts.answer = () => ({ status: 500, afterMs: 10 });
    posts.webhook.post("1");
    await posts.simulation.runUntil("a try", () => posts.got.length === 1, 1000);
    posts.webhook.stop();
    posts.webhook.post("2");
    await posts.simulation.runFor(100_000);
    expect(posts.bodies).toEqual(["1"]);
  });
});
