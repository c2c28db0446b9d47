/** The password of clients, and how it is changed while the node runs. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ClientPasswords } from "../../src/client-passwords.ts";
import type { LocalConnection } from "../../src/local-connection.ts";
import type { Node } from "../../src/node.ts";
import { startNode } from "../support/bunch-server.ts";
import { RawClient } from "../support/raw-client.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("a password is accepted, and another one beside it; without one anything is", () => {
  const passwords = new ClientPasswords("first");
  expect([passwords.isNeeded, passwords.accepts(bytes("first")), passwords.accepts(bytes("second"))]).toEqual([
    true,
    true,
    false,
  ]);
  passwords.replace("first", "second");
  expect(["first", "second", "", "firstsecond"].map((given) => passwords.accepts(bytes(given)))).toEqual([
    true,
    true,
    false,
    false,
  ]);
  passwords.replace("second", undefined);
  expect(["first", "second"].map((given) => passwords.accepts(bytes(given)))).toEqual([false, true]);
  passwords.replace(undefined, undefined);
  expect([passwords.isNeeded, passwords.accepts(bytes("whatever"))]).toEqual([false, true]);
});

describe("while a node runs", () => {
  let node: Node;
  let port: number;
  let operator: LocalConnection;
  beforeEach(async () => {
    ({ node, port } = await startNode({ password: "old one" }));
    operator = node.connect();
  });
  afterEach(async () => {
    operator.close();
    await node.stop();
  });

  const said = async (client: RawClient, line: string): Promise<string | undefined> =>
    (await client.run(line))?.trimEnd();
  const logIn = async (password: string): Promise<string | undefined> => {
    const client = await RawClient.connect(port);
    const reply = await said(client, `auth "${password}"`);
    client.close();
    return reply;
  };

  test("the password is changed in two steps, and clients that are let in stay", async () => {
    const client = await RawClient.connect(port);
    expect(await said(client, 'auth "old one"')).toBe("+OK");
    expect(await operator.execute("config", "set", "requirepass-also", "new one")).toBe("OK");
    expect([await logIn("old one"), await logIn("new one")]).toEqual(["+OK", "+OK"]);
    expect(await operator.execute("config", "set", "requirepass", "new one", "requirepass-also", "")).toBe("OK");
    expect(await logIn("old one")).toStartWith("-WRONGPASS");
    expect(await logIn("new one")).toBe("+OK");
    expect(await said(client, "ping")).toBe("+PONG");
    client.close();
  });

  test("it is told to nobody", async () => {
    const shown = Bun.inspect(await operator.execute("config", "get", "requirepass*"));
    expect(shown).not.toContain("old one");
    expect(
      new TextDecoder().decode(
        ((await operator.execute("config", "get", "requirepass")) as Map<string, Uint8Array>).get("requirepass"),
      ),
    ).toBe("(set)");
  });

  test("it may be taken away on loopback, and set again", async () => {
    const closed = await RawClient.connect(port);
    expect(await said(closed, "ping")).toStartWith("-NOAUTH");
    expect(await operator.execute("config", "set", "requirepass", "")).toBe("OK");
    const open = await RawClient.connect(port);
    expect(await said(open, "ping")).toBe("+PONG");
    expect(await said(open, "auth x")).toStartWith("-ERR AUTH <password> called without any password configured");
    expect(await operator.execute("config", "set", "requirepass", "again")).toBe("OK");
    const late = await RawClient.connect(port);
    expect(await said(late, "ping")).toStartWith("-NOAUTH");
    expect(await said(open, "ping")).toBe("+PONG");
    for (const client of [closed, open, late]) client.close();
  });

  test("one that is too long is refused, and with it what stands beside it", async () => {
    const set = await operator.execute("config", "set", "requirepass", "next", "requirepass-also", "x".repeat(513));
    expect(Bun.inspect(set)).toContain("512 characters at most");
    expect([await logIn("old one"), await logIn("next")].map((reply) => reply?.slice(0, 3))).toEqual(["+OK", "-WR"]);
  });
});

test("off loopback it is not taken away, unless the node is insecure", async () => {
  for (const insecure of [false, true]) {
    const { node } = await startNode({ host: "127.0.0.1", password: "a password", secret: "known-to-all", insecure });
    const operator = node.connect();
    expect(await operator.execute("config", "set", "requirepass", "")).toBe("OK");
    operator.close();
    await node.stop();
  }
  const { node } = await startNode({
    host: "0.0.0.0",
    password: "a password",
    secret: "known-to-all",
    plugins: { http: false },
  });
  const operator = node.connect();
  expect(Bun.inspect(await operator.execute("config", "set", "requirepass", ""))).toContain(
    "clients on 0.0.0.0 need a password",
  );
  operator.close();
  await node.stop();
});
