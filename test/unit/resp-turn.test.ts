/** A turn of a connection that breaks off half-way: what it had replied is nobody else's, and the others are served on. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { Fault } from "../../src/assert.ts";
import type { DeferredReply } from "../../src/call.ts";
import { ReplyReader, encodeCommand } from "../../src/codec/resp-reader.ts";
import { Verdict } from "../../src/contracts/commands.ts";
import { type Node, createNode } from "../../src/node.ts";
import { definePlugin } from "../../src/plugin.ts";
import type { Stream } from "../../src/world.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { RawClient } from "../support/raw-client.ts";
import { Simulation } from "../support/sim-world.ts";

const PORT = 21_751;

let node: Node;
let stopped: PromiseWithResolvers<Error | undefined>;
let log: string;
let clients: RawClient[];
/** What a client's next refused command throws from beyond the dispatcher's reach. */
let thrown: Error;
let isHolding: boolean;
let deferred: DeferredReply[];

const breaker = definePlugin({
  name: "breaker",
  summary: "Throws where nobody expects it.",
  setup(context) {
    const shared = {
      flags: [],
      group: "module",
      summary: "For tests.",
      complexity: "O(1)",
      since: "bunch 0.1.0",
    } as const;
    context.on(context.hooks.clientOpened, (client) => {
      client.onRejected = () => {
        throw thrown;
      };
    });
    context.on(context.hooks.commandBefore, (call) => {
      if (call.command.fullName !== "get") return undefined;
      if (isHolding) return Verdict.held;
      call.reply.error("ERR not this one");
      return Verdict.rejected;
    });
    context.command({ ...shared, name: "later", arity: 1, run: (call) => void deferred.push(call.defer()) });
    context.command({
      ...shared,
      name: "settle",
      arity: 1,
      run: (call) => {
        for (const each of deferred.splice(0)) each.resolve((reply) => reply.nullBulk());
        call.reply.nullBulk();
      },
    });
  },
});

beforeEach(async () => {
  log = "";
  clients = [];
  thrown = new Error("no luck");
  isHolding = false;
  deferred = [];
  stopped = Promise.withResolvers();
  node = await createNode({
    world: createBunWorld({ logLevel: "warn", writeLine: (line) => (log += `${line}\n`) }),
    config: { port: PORT },
    plugins: [breaker],
    onStopped: stopped.resolve,
  });
  await node.start();
});
afterEach(async () => {
  for (const client of clients) client.close();
  await node.stop();
});

async function connect(): Promise<RawClient> {
  const client = await RawClient.connect(PORT);
  clients.push(client);
  expect(await client.run("echo here")).toBe("$4\r\nhere\r\n");
  return client;
}

test("a turn that throws closes its connection, and leaves nothing of its replies to others", async () => {
  const other = await connect();
  const culprit = await connect();
  culprit.write("ECHO secret\r\nNONSENSE\r\nECHO never\r\n");
  expect(await culprit.rest()).not.toContain("never");
  for (const client of [other, await connect()]) expect(await client.run("ping")).toBe("+PONG\r\n");
  expect(log).toContain("client closed: its turn failed");
  expect(log).toContain("no luck");
  expect(node.state).toBe("started");
  // Neither is it a client any more.
  expect((await other.run("client list"))?.match(/id=/g)).toHaveLength(2);
});

test("so does one that goes on in a later turn", async () => {
  const other = await connect();
  const culprit = await connect();
  isHolding = true;
  culprit.write("ECHO first\r\nGET k\r\n");
  expect(await culprit.reply()).toBe("$5\r\nfirst\r\n");
  isHolding = false;
  for (const client of node.clients) client.transport.release();
  expect(await culprit.rest()).toBe("");
  expect(await other.run("ping")).toBe("+PONG\r\n");
  expect(log).toContain("client closed: its turn failed");
});

test("a reply that comes later, and throws half-way, closes its connection, and leaves nothing of it to others", async () => {
  const other = await connect();
  const culprit = await connect();
  culprit.write(encodeCommand(["later"]));
  while (deferred.length === 0) expect(await other.run("ping")).toBe("+PONG\r\n");
  deferred[0]?.resolve((reply) => {
    reply.bulkText("secret");
    throw thrown;
  });
  expect(await culprit.rest()).toBe("");
  expect(await other.run("ping")).toBe("+PONG\r\n");
  expect(log).toContain("client closed: its turn failed");
});

test("a broken invariant stops the node, and what was replied before it goes to nobody else", async () => {
  const other = await connect();
  const culprit = await connect();
  thrown = new Fault("two and two make five");
  culprit.write("ECHO secret\r\nNONSENSE\r\n");
  expect((await stopped.promise)?.message).toBe("two and two make five");
  expect(await other.rest()).toBe("");
  expect(await culprit.rest()).toBe("");
});

test("a command that gives another client's reply goes on in its own client's protocol", async () => {
  const waiting = await connect();
  const settler = await connect();
  expect(await waiting.run("hello 3")).toStartWith("%7\r\n");
  waiting.write(encodeCommand(["later"]));
  while (deferred.length === 0) expect(await settler.run("ping")).toBe("+PONG\r\n");
  expect(await settler.run("settle")).toBe("$-1\r\n");
  expect(await waiting.reply()).toBe("_\r\n");
  expect(await waiting.run("ping")).toBe("+PONG\r\n");
});

test("a transaction that waited for a command, while the log that it had written to ended, ends in a closed connection (SAFETY 9)", async () => {
  const other = await connect();
  // Replies are guarded, and what they tell of is committed.
  node.replyGate.setCommitted(1_000_000);
  for (const isBroken of [false, true]) {
    const client = await connect();
    for (const line of ["multi", "set k v", "later"]) await client.run(line);
    client.write(encodeCommand(["exec"]));
    while (deferred.length === 0) expect(await other.run("ping")).toBe("+PONG\r\n");
    if (isBroken) node.replyGate.break("another leads");
    expect(await other.run("settle")).toBe("$-1\r\n");
    expect(await client.reply()).toBe(isBroken ? undefined : "*2\r\n+OK\r\n$-1\r\n");
  }
});

test("a command that is released while the client has much to read goes on when that was read", async () => {
  const simulation = new Simulation(1);
  const nodes: Node[] = [];
  simulation.addHost("10.0.0.1", async (world) => {
    const made = await createNode({
      world,
      config: { port: 6379, insecure: true, host: "10.0.0.1" },
      plugins: [breaker],
    });
    await made.start();
    nodes.push(made);
  });
  await simulation.runUntil("the node to be up", () => nodes.length === 1, 1000);
  const streams: Stream[] = [];
  const reader = new ReplyReader();
  let replies = 0;
  let isClosed = false;
  simulation.addHost("10.0.9.9", ({ network }) => {
    network.connect({
      host: "10.0.0.1",
      port: 6379,
      handler: {
        opened: (stream) => void streams.push(stream),
        data: (_stream, bytes) => {
          reader.feed(bytes.slice());
          while (reader.next() !== undefined) replies += 1;
        },
        writable: () => undefined,
        closed: () => void (isClosed = true),
      },
    });
    return Promise.resolve();
  });
  await simulation.runUntil("a connection", () => streams.length === 1, 1000);
  const [stream] = streams;
  const write = (...commands: readonly (readonly string[])[]): void => {
    const bytes = Buffer.concat(commands.map((words) => encodeCommand(words)));
    expect(stream?.write(bytes, 0, bytes.length)).toBe(bytes.length);
  };
  write(["setrange", "big", "299999", "x"]);
  await simulation.runUntil("the value", () => replies === 1, 1000);
  stream?.pause();
  isHolding = true;
  // The last reply is not handed on before the turn ends, with the command that is held: only then it is too much.
  const whole = ["getrange", "big", "0", "-1"];
  write(whole, whole, whole, whole, ["getrange", "big", "0", "199999"], ["get", "k"]);
  await simulation.runFor(100);
  isHolding = false;
  for (const client of nodes[0]?.clients ?? []) client.transport.release();
  await simulation.runFor(100);
  expect(replies).toBe(1);
  stream?.resume();
  // It is decided on, which ends its connection here.
  await simulation.runUntil("the end", () => isClosed, 5000);
});
