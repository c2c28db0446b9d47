/** Connections from within the process, on a node that asks others for a password. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { Node } from "../../src/node.ts";
import { startNode } from "../support/bunch-server.ts";
import { showReply } from "../support/local-node.ts";
import { RawClient } from "../support/raw-client.ts";

const PORT = 21_752;

let node: Node;
beforeEach(async () => {
  ({ node } = await startNode({ port: PORT, password: "secret" }));
});
afterEach(() => node.stop());

describe("a connection from within the process", () => {
  test("needs no password, neither at first nor after RESET", async () => {
    const connection = node.connect();
    expect(await connection.execute("set", "k", "1")).toBe("OK");
    expect(await connection.execute("reset")).toBe("RESET");
    expect(showReply(await connection.execute("get", "k"))).toBe("1");
    // Within a transaction, and between commands that are waiting for their turn.
    const replies = await Promise.all(
      [["multi"], ["reset"], ["incr", "k"], ["exec"]].map((parts) => connection.execute(...parts)),
    );
    expect(replies.map(showReply)).toStrictEqual(["OK", "RESET", "2", "ERR EXEC without MULTI"]);
  });

  test("needs none after a RESET that was held", async () => {
    const connection = node.connect();
    await connection.execute("client", "pause", "20", "all");
    expect(await connection.execute("reset")).toBe("RESET");
    expect(await connection.execute("ping")).toBe("PONG");
  });

  test("is answered in RESP3, at first and after RESET, and in RESP2 while it asked for that", async () => {
    const connection = node.connect();
    const isMap = async (): Promise<boolean> => (await connection.execute("config", "get", "port")) instanceof Map;
    expect(await isMap()).toBe(true);
    await connection.execute("hello", "2");
    expect(await isMap()).toBe(false);
    await connection.execute("reset");
    expect(await isMap()).toBe(true);
  });

  test("loses all else with RESET", async () => {
    const connection = node.connect();
    const { client } = connection;
    for (const line of ["client setname me", "readonly", "client no-touch on", "watch k"])
      expect(await connection.execute(...line.split(" "))).toBe("OK");
    await connection.execute("reset");
    expect([client.name, client.isReadOnly, client.isNoTouch]).toStrictEqual(["", false, false]);
  });
});

test("a client from outside must give the password again after RESET", async () => {
  const client = await RawClient.connect(PORT);
  expect(await client.run("ping")).toStartWith("-NOAUTH");
  expect(await client.run("auth secret")).toBe("+OK\r\n");
  expect(await client.run("ping")).toBe("+PONG\r\n");
  expect(await client.run("reset")).toBe("+RESET\r\n");
  expect(await client.run("ping")).toStartWith("-NOAUTH");
  client.close();
});
