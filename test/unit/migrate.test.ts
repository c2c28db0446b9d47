/** MIGRATE to where nobody is, on a real network: the errors are Redis' own, which finds out about each at its own moment. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { ReplyError } from "../../src/codec/resp-reader.ts";
import type { LocalConnection } from "../../src/local-connection.ts";
import type { Node } from "../../src/node.ts";
import { startLocalNode } from "../support/local-node.ts";

let node: Node;
let client: LocalConnection;
beforeAll(async () => {
  node = await startLocalNode();
  client = node.connect();
});
afterAll(() => node.stop());

test.each([
  ["a name that leads nowhere", "no-such-host.invalid", "6379", "connecting to the client"],
  ["what is no address", "999.1.1.1", "6379", "connecting to the client"],
  ["no name", "", "6379", "connecting to the client"],
  ["a port below all", "127.0.0.1", "-5", "connecting to the client"],
  ["a port that nobody listens on", "127.0.0.1", "1", "writing to target instance"],
  ["a port above all", "127.0.0.1", "99999", "writing to target instance"],
])("a key stays where it is if it is sent to %s", async (_, host, port, where) => {
  expect(await client.execute("set", "k", "v")).toBe("OK");
  const reply = await client.execute("migrate", host, port, "k", "0", "5000");
  expect(reply instanceof ReplyError ? reply.message : reply).toBe(`IOERR error or timeout ${where}`);
  expect(await client.execute("exists", "k")).toBe(1);
});
