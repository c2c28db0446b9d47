/** What is held back while the keys of some slots must stay as they are, and what is not. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import type { Node } from "../../src/node.ts";
import { definePlugin } from "../../src/plugin.ts";
import { SlotHold } from "../../src/slot-hold.ts";
import { localClient, startLocalNode } from "../support/local-node.ts";

// foo is in slot 12182, bar in 5061.
const FOO = 12_182;
const BAR = 5061;

let node: Node;
let hold: SlotHold;

beforeEach(async () => {
  const holder = definePlugin({
    name: "holder",
    summary: "Has a hold on slots.",
    setup(context) {
      hold = new SlotHold(context);
    },
  });
  node = await startLocalNode({}, { plugins: [holder] });
});
afterEach(() => node.stop());

/** A reply that may not have come yet. */
function pending(line: string, client = localClient(node)): { readonly said: () => string } {
  let said = "nothing yet";
  void client.run(line).then((text) => (said = text));
  return { said: () => said };
}

/** Lets turns of the event loop pass, so that all that could be answered is. */
async function pass(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) {
    await new Promise<void>((resolve) => {
      node.world.clock.soon(resolve);
    });
  }
}

test("commands on keys of the slot wait, and writes of all keys; others are answered", async () => {
  hold.hold([FOO]);
  const held = ["set foo 1", "get foo", "get {foo}other", "flushall"].map((line) => pending(line));
  for (const [line, reply] of [
    ["set bar 1", "OK"],
    ["get bar", "1"],
    ["dbsize", "1"],
    ["ping", "PONG"],
  ] as const) {
    expect(await localClient(node).run(line)).toBe(reply);
  }
  await pass();
  expect(held.map(({ said }) => said())).toEqual(Array.from({ length: 4 }, () => "nothing yet"));
  expect([hold.isHeld(FOO), hold.isHeld(BAR)]).toEqual([true, false]);
  hold.release([FOO]);
  await pass();
  expect(held.map(({ said }) => said())).toEqual(["OK", "1", "nil", "OK"]);
  expect(hold.isHeld(FOO)).toBe(false);
});

test("a slot that two hold is let go by the second; what waits for another one goes on waiting", async () => {
  hold.hold([FOO, BAR]);
  hold.hold([FOO]);
  const [foo, bar] = [pending("set foo 1"), pending("set bar 1")];
  hold.release([FOO, BAR]);
  await pass();
  expect([foo.said(), bar.said()]).toEqual(["nothing yet", "OK"]);
  hold.release([FOO]);
  await pass();
  expect(foo.said()).toBe("OK");
});

test("EXEC waits for the slot of what is queued, and for none if nothing of it has keys", async () => {
  const [foo, bar, none, all] = [localClient(node), localClient(node), localClient(node), localClient(node)];
  for (const client of [foo, bar, none, all]) expect(await client.run("multi")).toBe("OK");
  hold.hold([FOO]);
  for (const [client, line] of [
    [foo, "ping"],
    [foo, "set foo 1"],
    [bar, "set bar 1"],
    [none, "ping"],
    [all, "flushall"],
  ] as const) {
    expect(await client.run(line)).toBe("QUEUED");
  }
  const [held, free, keyless, flush] = [
    pending("exec", foo),
    pending("exec", bar),
    pending("exec", none),
    pending("exec", all),
  ];
  await pass();
  expect([held.said(), free.said(), keyless.said(), flush.said()]).toEqual([
    "nothing yet",
    "[OK]",
    "[PONG]",
    "nothing yet",
  ]);
  hold.release([FOO]);
  await pass();
  expect([held.said(), flush.said()]).toEqual(["[PONG OK]", "[OK]"]);
});

test("work that fails holds nothing afterwards, and its error is its caller's", async () => {
  const failed = hold.during([FOO], () => Promise.reject(new Error("it failed")));
  expect(await failed.catch((thrown: unknown) => String(thrown))).toBe("Error: it failed");
  expect(await localClient(node).run("get foo")).toBe("nil");
});

test("a client that goes while it is held is not thought of any more", async () => {
  hold.hold([FOO]);
  const connection = node.connect();
  let releases = 0;
  connection.client.transport.release = () => {
    releases += 1;
  };
  const set = connection.execute("set", "foo", "1").catch((thrown: unknown) => String(thrown));
  connection.close();
  expect(await set).toBe("Error: The connection was closed");
  hold.release([FOO]);
  await pass();
  expect(releases).toBe(0);
});
