/** transactions: what one client can make a node keep between MULTI and EXEC, and by WATCH, is bounded, and the error tells the bound. */
import { afterEach, expect, test } from "bun:test";
import type { Node } from "../../src/node.ts";
import { localClient, startLocalNode } from "../support/local-node.ts";

let node: Node | undefined;
afterEach(() => node?.stop());

test("a queued command counts for what it takes, and not for its bytes alone", async () => {
  node = await startLocalNode({ plugins: { transactions: { maxQueueBytes: "100kb" } } });
  const client = localClient(node);
  await client.run("multi");
  let queued = 0;
  let reply = "QUEUED";
  // By its bytes alone, a PING would fit 25,000 times.
  while (reply === "QUEUED" && queued < 25_000) {
    reply = await client.run("ping");
    queued += 1;
  }
  expect(reply).toBe("ERR the transaction is larger than 102400 bytes");
  expect(queued).toBeLessThan(500);
  expect(await client.run("exec")).toBe("EXECABORT Transaction discarded because of previous errors.");
  expect(await client.run("ping")).toBe("PONG");
});

test("watched keys are bounded in all, and UNWATCH makes room", async () => {
  node = await startLocalNode({ plugins: { transactions: { maxWatchedBytes: "100kb" } } });
  const client = localClient(node);
  const watch = (from: number): Promise<string> =>
    client.run(`watch ${Array.from({ length: 100 }, (_, at) => `{a}${from + at}`).join(" ")}`);
  expect(await watch(0)).toBe("OK");
  // The same ones again take nothing more.
  expect(await watch(0)).toBe("OK");
  expect(await watch(100)).toBe("ERR the watched keys take more than 102400 bytes");
  expect(await client.run("unwatch")).toBe("OK");
  expect(await watch(100)).toBe("OK");
});
