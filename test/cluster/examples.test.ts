/** The examples, as a newcomer runs them: a real node with a plugin of one's own. */
import { afterAll, expect, test } from "bun:test";
import { fileURLToPath } from "node:url";
import { endLeftovers, runBunch } from "../support/bunch-server.ts";
import { RawClient } from "../support/raw-client.ts";

const EXAMPLES = fileURLToPath(new URL("../../examples/", import.meta.url));

afterAll(endLeftovers);

for (const [how, port, args] of [
  ["--plugin", 21_800, ["--plugin", `${EXAMPLES}rate-limit.ts`, "--rate-limit-max-window-ms", "3600000"]],
  ["--config", 21_801, ["--config", `${EXAMPLES}bunch.config.ts`]],
] as const) {
  test(`the rate limiter works in a node started with ${how}`, async () => {
    const node = runBunch(["node", "--port", String(port), ...args]);
    await node.until("listens on");
    const client = await RawClient.connect(port);
    const replies = [];
    for (let call = 0; call < 4; call += 1)
      replies.push((await client.run("ratelimit user:1 3 600000"))?.split("\r\n").slice(1, 3).join(" "));
    expect(replies).toEqual([":1 :2", ":1 :1", ":1 :0", ":0 :0"]);
    expect(await client.run("ratelimit user:1 3 3600001")).toBe(
      "-ERR limit must be at least 1, and window-ms from 1 to 3600000\r\n",
    );
    expect(await client.run("info ratelimit")).toContain("ratelimit_refused:1");
    expect(Number((await client.run("pttl user:1"))?.slice(1))).toBeGreaterThan(500_000);
    expect(await client.run("command info ratelimit")).toContain("ratelimit");
    client.close();
    node.kill("SIGTERM");
    expect(await node.exited).toBe(0);
  });
}

test("the client asks a cluster over HTTP, and makes a plan if it has a token", async () => {
  const [port, token] = [21_802, "of-the-example-0123456789"];
  const node = runBunch(["node", "--port", String(port), "--name", "a"], { BUNCH_HTTP_ADMIN_TOKEN: token });
  await node.until("serving");
  const run = (...args: readonly string[]): Promise<string> =>
    new Response(
      Bun.spawn([process.execPath, `${EXAMPLES}rest-client.ts`, `http://127.0.0.1:${port + 9121}`, ...args], {
        stdin: "ignore",
        stderr: "inherit",
      }).stdout,
    ).text();
  const told = await run();
  expect(told).toContain("state ok, 100 % of the slots are owned");
  expect(told).toContain(`a at 127.0.0.1:${port}: primary, 16384 slots`);
  expect(told).not.toContain("rebalancing");
  expect(await run(token)).toContain("rebalancing would move 0 slots");
  node.kill("SIGTERM");
  expect(await node.exited).toBe(0);
});
