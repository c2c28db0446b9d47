/** What is held back while something rests on keys staying as they are, and what becomes of it afterwards. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import type { HoldRoom } from "../../src/held-commands.ts";
import { KeyHold } from "../../src/key-hold.ts";
import type { Node } from "../../src/node.ts";
import { definePlugin } from "../../src/plugin.ts";
import { SlotHold } from "../../src/slot-hold.ts";
import { localClient, startLocalNode } from "../support/local-node.ts";

let node: Node;
let hold: KeyHold | undefined;
let slots: SlotHold;
let room: HoldRoom;

beforeEach(async () => {
  const holder = definePlugin({
    name: "holder",
    summary: "Has a hold on keys.",
    setup(context) {
      hold = new KeyHold(context);
      slots = new SlotHold(context);
      room = context.holdRoom;
    },
  });
  node = await startLocalNode({}, { plugins: [holder] });
});
afterEach(() => node.stop());

/** Work that goes on until it is ended. */
function beginHold(): { readonly done: Promise<string>; end(result?: string): void; fail(): void } {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  if (hold === undefined) throw new Error("the plugin was set up");
  return {
    done: hold.during(() => promise),
    end: (result = "") => resolve(result),
    fail: () => reject(new Error("it failed")),
  };
}

/** A reply that may not have come yet. */
function pending(reply: Promise<string>): { readonly said: () => string } {
  let said = "nothing yet";
  void reply.then((text) => (said = text));
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

test("commands with keys and writes without any wait; others are answered", async () => {
  const work = beginHold();
  const held = ["set k 1", "get k", "flushall"].map((line) => pending(localClient(node).run(line)));
  expect(await localClient(node).run("ping")).toBe("PONG");
  expect(await localClient(node).run("dbsize")).toBe("0");
  await pass();
  expect(held.map(({ said }) => said())).toEqual(["nothing yet", "nothing yet", "nothing yet"]);
  work.end("its result");
  expect(await work.done).toBe("its result");
  await pass();
  expect(held.map(({ said }) => said())).toEqual(["OK", "1", "OK"]);
});

test("within MULTI commands are queued, and EXEC waits", async () => {
  const work = beginHold();
  const client = localClient(node);
  expect(await client.run("multi")).toBe("OK");
  expect(await client.run("set k 1")).toBe("QUEUED");
  const exec = pending(client.run("exec"));
  await pass();
  expect(exec.said()).toBe("nothing yet");
  work.end();
  await work.done;
  await pass();
  expect(exec.said()).toBe("[OK]");
});

test("what was held is run in its client's order, and decided anew: a second hold holds it again", async () => {
  const first = beginHold();
  const client = localClient(node);
  const replies = ["set k 1", "incr k", "get k"].map((line) => pending(client.run(line)));
  const second = beginHold();
  first.end();
  await first.done;
  await pass();
  expect(replies.map(({ said }) => said())).toEqual(["nothing yet", "nothing yet", "nothing yet"]);
  second.end();
  await second.done;
  await pass();
  expect(replies.map(({ said }) => said())).toEqual(["OK", "2", "2"]);
});

test("work that fails holds nothing afterwards, and its error is its caller's", async () => {
  const work = beginHold();
  const get = pending(localClient(node).run("get k"));
  work.fail();
  expect(await work.done.catch((thrown: unknown) => String(thrown))).toBe("Error: it failed");
  await pass();
  expect(get.said()).toBe("nil");
  expect(await localClient(node).run("set k 1")).toBe("OK");
});

test("a client that goes while it is held is not thought of any more", async () => {
  const work = beginHold();
  const connection = node.connect();
  let releases = 0;
  const { transport } = connection.client;
  const release = transport.release.bind(transport);
  transport.release = () => {
    releases += 1;
    release();
  };
  const set = connection.execute("set", "k", "1").then(
    () => "an answer",
    (thrown: unknown) => String(thrown),
  );
  connection.close();
  expect(await set).toBe("Error: The connection was closed");
  work.end();
  await work.done;
  await pass();
  expect(releases).toBe(0);
  expect(await localClient(node).run("get k")).toBe("nil");
});

const TOO_MANY = "TRYAGAIN Too many commands wait at this node";
const DOWN = "CLUSTERDOWN The cluster is down: the keys wait until something is agreed on, and this node has no lease";
/** Of the slot of foo. */
const FOO = 12_182;

/** What a transaction of one command is answered with. */
async function transaction(line: string): Promise<string> {
  const client = localClient(node);
  for (const each of ["multi", line]) await client.run(each);
  const reply = await client.run("exec");
  expect(await client.run("exec")).toBe("ERR EXEC without MULTI");
  return reply;
}

test("no more commands wait at a node than it has room for, whatever they wait for; of others nothing is done", async () => {
  room.maxCommands = 3;
  const work = beginHold();
  slots.hold([FOO]);
  const held = ["set foo 1", "incr k", "incr k"].map((line) => pending(localClient(node).run(line)));
  await pass();
  expect(room.commands).toBe(3);
  for (const line of ["incr k", "flushall", "get foo"]) expect(await localClient(node).run(line)).toBe(TOO_MANY);
  for (const line of ["incr k", "flushall", "incr foo"]) expect(await transaction(line)).toBe(TOO_MANY);
  // It touches no key.
  expect(await transaction("ping")).toBe("[PONG]");
  slots.release([FOO]);
  work.end();
  await work.done;
  await pass();
  expect(held.map(({ said }) => said()).toSorted()).toEqual(["1", "2", "OK"]);
  expect(await localClient(node).run("get k")).toBe("2");
  expect(await localClient(node).run("get foo")).toBe("1");
  expect([room.commands, room.bytes]).toEqual([0, 0]);
});

test("what waits has no more bytes than there is room for, but for one command by itself", async () => {
  room.maxBytes = 1000;
  const work = beginHold();
  const held = pending(localClient(node).run(`set k ${"x".repeat(2000)}`));
  await pass();
  expect(room.bytes).toBeGreaterThan(2000);
  expect(await localClient(node).run("get k")).toBe(TOO_MANY);
  work.end();
  await work.done;
  await pass();
  expect([held.said(), room.bytes]).toEqual(["OK", 0]);
});

test.each([
  ["", 0, false],
  [", though stale replies may leave", Number.POSITIVE_INFINITY, true],
])(
  "nothing waits at a node that has lost its lease: nobody knows how long that would be%s",
  async (_, endsAtMs, isStale) => {
    const work = beginHold();
    slots.hold([FOO]);
    const held = ["set k 1", "get k", "flushall", "set foo 1"].map((line) => pending(localClient(node).run(line)));
    await pass();
    expect(held.map(({ said }) => said())).toEqual(Array.from({ length: 4 }, () => "nothing yet"));
    node.replyGate.setLease(endsAtMs, isStale);
    await pass();
    expect(held.map(({ said }) => said())).toEqual(Array.from({ length: 4 }, () => DOWN));
    for (const line of ["set k 1", "get foo"]) expect(await localClient(node).run(line)).toBe(DOWN);
    // Without one that lets it leave, the reply of EXEC waits at the gate.
    for (const line of isStale ? ["set k 1", "get foo"] : []) expect(await transaction(line)).toBe(DOWN);
    // With one it does.
    node.replyGate.setLease(Number.POSITIVE_INFINITY);
    const later = [pending(localClient(node).run("get k")), pending(localClient(node).run("get foo"))];
    await pass();
    expect(later.map(({ said }) => said())).toEqual(["nothing yet", "nothing yet"]);
    slots.release([FOO]);
    work.end();
    await work.done;
    await pass();
    expect(later.map(({ said }) => said())).toEqual(["nil", "nil"]);
    expect(room.commands).toBe(0);
  },
);
