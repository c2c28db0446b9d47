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
