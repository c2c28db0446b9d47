/** functions: what would bring a function in is refused, and nothing is told to replicas. What is Redis' own is compared in test/peers/. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Node } from "../../src/node.ts";
import { sealed } from "../support/dump-payload.ts";
import { showReply, startLocalNode } from "../support/local-node.ts";

let node: Node;
let connection: ReturnType<Node["connect"]>;
beforeAll(async () => {
  node = await startLocalNode();
  connection = node.connect();
});
afterAll(() => node.stop());

const run = async (...parts: readonly (string | Uint8Array)[]): Promise<string> =>
  showReply(await connection.execute(...parts));

test("LOAD says that functions are not supported, whatever the code", async () => {
  for (const code of ["", "x", "#!lua name=mylib\n", "replace"]) {
    expect(await run("function", "load", code)).toBe("ERR functions are not supported here");
    expect(await run("function", "load", "replace", code)).toBe("ERR functions are not supported here");
  }
});

test.each([245, 246])("RESTORE refuses libraries of type %d with what they are", async (type) => {
  for (const body of [[type], [type, 3, 65, 66, 67]]) {
    expect(await run("function", "restore", sealed(Uint8Array.from(body)))).toBe(
      "ERR the payload holds functions, which are not supported here",
    );
  }
});

test("none of its writes is told to replicas", async () => {
  const told: string[] = [];
  const unhook = node.hooks.effect.add("test", ({ args }) => void told.push(Buffer.from(args.copy(0)).toString()));
  await run("set", "key", "value");
  expect(await run("function", "restore", sealed(new Uint8Array(0)), "replace")).toBe("OK");
  expect(await run("function", "flush")).toBe("OK");
  await run("function", "delete", "mylib");
  await run("function", "load", "x");
  expect(told).toEqual(["set"]);
  unhook();
});
