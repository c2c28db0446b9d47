/** MULTI, EXEC, DISCARD, WATCH: what is remembered of a client, until when, and how much. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ArgumentList, ParseStatus, RequestParser } from "../../src/codec/resp-parser.ts";
import { encodeCommand } from "../../src/codec/resp-reader.ts";
import { keySlot } from "../../src/codec/slot.ts";
import { ReplyWriter } from "../../src/codec/resp-writer.ts";
import { keyspaceService } from "../../src/contracts/keyspace.ts";
import type { Node } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import type { Clock, World } from "../../src/world.ts";
import { localClient, showReply, startLocalNode } from "../support/local-node.ts";

/** The time by the test's hand; timers are the machine's. */
function handWorld(): { readonly world: World; readonly advance: (byMs: number) => void } {
  const world = createBunWorld({ logLevel: "silent" });
  let passedMs = 0;
  const { clock } = world;
  const byHand: Clock = {
    monotonicMs: () => 1000 + passedMs,
    wallMs: () => 1_800_000_000_000 + passedMs,
    after: (delayMs, callback) => clock.after(delayMs, callback),
    every: (periodMs, callback) => clock.every(periodMs, callback),
    soon: (callback) => clock.soon(callback),
  };
  return { world: { ...world, clock: byHand }, advance: (byMs) => void (passedMs += byMs) };
}

let node: Node;
let advance: (byMs: number) => void;
let a: ReturnType<typeof localClient>;
let b: ReturnType<typeof localClient>;

beforeEach(async () => {
  const hand = handWorld();
  advance = hand.advance;
  node = await startLocalNode({}, { world: hand.world });
  a = localClient(node);
  b = localClient(node);
  // Expired keys stay until somebody asks for them: the tests say when that is.
  await b.run("config set active-expire no");
});
afterEach(() => node.stop());

const watchers = (): number => node.service(keyspaceService)?.slotWatchers.reduce((sum, each) => sum + each, 0) ?? -1;

async function runAll(client: ReturnType<typeof localClient>, ...lines: readonly string[]): Promise<readonly string[]> {
  const replies: string[] = [];
  for (const line of lines) replies.push(await client.run(line));
  return replies;
}

/** Runs a command on a client's behalf, as a connection does, which uses one list of arguments again and again. */
function send(connection: ReturnType<Node["connect"]>, args: ArgumentList): string {
  const reply = new ReplyWriter();
  node.dispatcher.dispatch(connection.client, args, reply);
  return new TextDecoder().decode(reply.bytes.subarray(0, reply.length)).trim();
}

function argumentsOf(...parts: readonly string[]): ArgumentList {
  const parser = new RequestParser({ maxBulkBytes: 1_000_000 });
  const args = new ArgumentList();
  parser.feed(encodeCommand(parts));
  expect(parser.next(args)).toBe(ParseStatus.command);
  return args.clone();
}

describe("MULTI", () => {
  test("queues what follows, and EXEC runs it in order, each with its reply", async () => {
    expect(await runAll(a, "multi", "set k 1", "incr k", "get k")).toStrictEqual(["OK", "QUEUED", "QUEUED", "QUEUED"]);
    expect(await b.run("get k")).toBe("nil");
    expect(await a.run("exec")).toBe("[OK 2 2]");
    // The client is as it was before.
    expect(await a.run("get k")).toBe("2");
    expect(await a.run("exec")).toBe("ERR EXEC without MULTI");
  });

  test("of nothing gives an empty list", async () => {
    expect(await runAll(a, "multi", "exec")).toStrictEqual(["OK", "[]"]);
  });

  test("within MULTI is an error that spoils nothing, and so is WATCH", async () => {
    expect(await runAll(a, "multi", "multi", "watch k", "set k 1", "exec")).toStrictEqual([
      "OK",
      "ERR MULTI calls can not be nested",
      "ERR WATCH inside MULTI is not allowed",
      "QUEUED",
      "[OK]",
    ]);
    expect(watchers()).toBe(0);
  });

  test("keeps the arguments that it was given, whatever comes after them in the same buffer", async () => {
    const connection = node.connect();
    const args = argumentsOf("set", "key", "first");
    await connection.execute("multi");
    expect(send(connection, args)).toBe("+QUEUED");
    args.bytes.set(new TextEncoder().encode("setkeyother"));
    expect(await connection.execute("exec")).toStrictEqual(["OK"]);
    expect(await a.run("get key")).toBe("first");
  });

  test("of one client queues nothing of another's", async () => {
    await a.run("multi");
    expect(await b.run("set k 1")).toBe("OK");
    expect(await a.run("exec")).toBe("[]");
  });

  for (const [what, line, reply] of [
    ["is unknown", "nonsense", "ERR unknown command 'nonsense', with args beginning with: "],
    ["has the wrong arity", "get", "ERR wrong number of arguments for 'get' command"],
    ["has an unknown subcommand", "config nonsense", "ERR unknown subcommand 'nonsense'. Try CONFIG HELP."],
    ["has keys of two slots", "mget a b", "CROSSSLOT Keys in request don't hash to the same slot"],
    ["may not be in a transaction", "shutdown", "ERR Command not allowed inside a transaction"],
  ] as const) {
    test(`makes EXEC run nothing when a command ${what}`, async () => {
      expect(await runAll(a, "multi", "set k 1", line, "set k 2")).toStrictEqual(["OK", "QUEUED", reply, "QUEUED"]);
      expect(await a.run("exec")).toBe("EXECABORT Transaction discarded because of previous errors.");
      expect(await a.run("get k")).toBe("nil");
      // The next one is another one.
      expect(await runAll(a, "multi", "set k 3", "exec")).toStrictEqual(["OK", "QUEUED", "[OK]"]);
    });
  }

  test("runs the others when one fails as it runs", async () => {
    expect(await runAll(a, "set k text", "multi", "incr k", "set k 1", "exec")).toStrictEqual([
      "OK",
      "OK",
      "QUEUED",
      "QUEUED",
      "[ERR value is not an integer or out of range OK]",
    ]);
  });

  test("over keys of two slots is refused at EXEC, and nothing runs", async () => {
    expect(await runAll(a, "multi", "set a 1", "set b 1", "exec")).toStrictEqual([
      "OK",
      "QUEUED",
      "QUEUED",
      "CROSSSLOT Keys in request don't hash to the same slot",
    ]);
    expect(await a.run("dbsize")).toBe("0");
  });

  test("is shown by CLIENT INFO, with how much is queued", async () => {
    expect(await runAll(a, "multi", "client info", "ping")).toStrictEqual(["OK", "QUEUED", "QUEUED"]);
    const replies = await a.run("exec");
    // By then it is over.
    expect(replies).toContain("flags=N ");
    expect(replies).toContain(" multi=-1 ");
  });
});

describe("DISCARD", () => {
  test("ends a transaction, running none of it", async () => {
    expect(await runAll(a, "multi", "set k 1", "discard", "get k")).toStrictEqual(["OK", "QUEUED", "OK", "nil"]);
    expect(await a.run("discard")).toBe("ERR DISCARD without MULTI");
    expect(await a.run("exec")).toBe("ERR EXEC without MULTI");
  });

  test("forgets a refused command, too", async () => {
    await runAll(a, "multi", "nonsense", "discard");
    expect(await runAll(a, "multi", "set k 1", "exec")).toStrictEqual(["OK", "QUEUED", "[OK]"]);
  });
});

describe("WATCH of a key that expires", () => {
  test("aborts when it expires before EXEC, though nobody has removed it", async () => {
    await runAll(a, "set k 1 px 1000", "watch k", "multi", "get k");
    advance(999);
    expect(await a.run("exec")).toBe("[1]");
    await runAll(a, "set k 1 px 1000", "watch k", "multi", "get k");
    advance(1000);
    expect(await a.run("exec")).toBe("nil");
    expect(watchers()).toBe(0);
  });

  test("aborts when it expires and is removed before EXEC", async () => {
    await runAll(a, "set k 1 px 1000", "watch k", "multi", "ping");
    advance(1000);
    expect(await b.run("get k")).toBe("nil");
    expect(await a.run("exec")).toBe("nil");
  });

  test("runs when it had expired before WATCH saw it", async () => {
    await a.run("set k 1 px 1000");
    advance(1000);
    await runAll(a, "watch k", "multi", "ping");
    expect(await b.run("exists k")).toBe("0");
    expect(await a.run("exec")).toBe("[PONG]");
  });

  test("aborts when it had expired before, and was set again since", async () => {
    await a.run("set k 1 px 1000");
    advance(1000);
    await runAll(a, "watch k", "multi", "ping");
    await b.run("set k 2");
    expect(await a.run("exec")).toBe("nil");
  });

  test("aborts when a key that was not there came and went", async () => {
    await runAll(a, "watch k", "multi", "ping");
    await b.run("set k 1 px 10");
    advance(10);
    expect(await b.run("get k")).toBe("nil");
    expect(await a.run("exec")).toBe("nil");
  });

  test("aborts when its slot has gone to another shard, though it is still to be removed here", async () => {
    await a.run("set {k}1 v");
    await a.run("watch {k}1");
    node.service(keyspaceService)?.setHidden(keySlot(new TextEncoder().encode("k"), 0, 1), true);
    await a.run("multi");
    await a.run("set other 1");
    expect(await a.run("exec")).toBe("nil");
  });

  test("looks at each of several keys", async () => {
    await runAll(a, "set {k}1 1", "set {k}2 1 px 1000", "set {k}3 1", "watch {k}1 {k}2 {k}3", "multi", "ping");
    advance(1000);
    expect(await a.run("exec")).toBe("nil");
  });
});

describe("what is kept for those who watch", () => {
  // Each slot's number is the keys that are watched in it: while it is not 0, every change of the slot costs.
  const ends: Readonly<Record<string, readonly string[]>> = {
    EXEC: ["multi", "exec"],
    "an EXEC that is refused": ["multi", "nonsense", "exec"],
    "an EXEC over two slots": ["multi", "set {k}1 1", "set other 1", "exec"],
    DISCARD: ["multi", "discard"],
    UNWATCH: ["unwatch"],
    "UNWATCH within a transaction": ["multi", "unwatch", "exec"],
    RESET: ["reset"],
    "RESET within a transaction": ["multi", "ping", "reset"],
  };
  for (const [how, lines] of Object.entries(ends)) {
    test(`is given up by ${how}, and what another watches stays`, async () => {
      await runAll(a, "watch {k}1 {k}2", "watch {k}2", "watch other", "watch {k}1");
      await runAll(b, "watch {k}2");
      expect(watchers()).toBe(4);
      await runAll(a, ...lines);
      expect(watchers()).toBe(1);
      expect(await runAll(a, "set {k}2 1")).toStrictEqual(["OK"]);
      await runAll(b, "multi", "ping");
      expect(await b.run("exec")).toBe("nil");
      expect(watchers()).toBe(0);
    });
  }

  test("is given up by an EXEC that a change has made stale", async () => {
    await a.run("watch k");
    await b.run("set k 1");
    expect(await runAll(a, "multi", "get k", "exec")).toStrictEqual(["OK", "QUEUED", "nil"]);
    expect(watchers()).toBe(0);
  });

  test("is no longer changed by a key that was given up, though others watch in its slot", async () => {
    await runAll(a, "watch {k}1", "unwatch", "watch {k}2");
    await b.run("watch {k}1");
    await b.run("set {k}1 1");
    expect(await runAll(a, "multi", "ping", "exec")).toStrictEqual(["OK", "QUEUED", "[PONG]"]);
    expect(await runAll(b, "multi", "ping", "exec")).toStrictEqual(["OK", "QUEUED", "nil"]);
  });

  test("is counted in the slot of each key, once for each client and key", async () => {
    await runAll(a, "watch foo foo", "watch foo");
    await b.run("watch foo");
    const counts = node.service(keyspaceService)?.slotWatchers;
    expect(counts?.[12_182]).toBe(2);
    a.close();
    expect(counts?.[12_182]).toBe(1);
    b.close();
    expect(counts?.[12_182]).toBe(0);
  });

  test("does not go on when the client is gone: a change of what it watched tells nobody", async () => {
    await runAll(a, "watch k", "multi", "set k 1");
    a.close();
    expect(watchers()).toBe(0);
    // Neither does what it had queued run.
    expect(await runAll(b, "set k 2", "get k")).toStrictEqual(["OK", "2"]);
    // Another one of the same place in the process starts from nothing.
    const c = localClient(node);
    expect(await runAll(c, "exec", "multi", "exec")).toStrictEqual(["ERR EXEC without MULTI", "OK", "[]"]);
  });
});

describe("RESET within MULTI", () => {
  test("runs at once, and nothing that was queued does", async () => {
    expect(await runAll(a, "multi", "set k 1", "reset")).toStrictEqual(["OK", "QUEUED", "RESET"]);
    expect(await runAll(a, "get k", "exec", "discard")).toStrictEqual([
      "nil",
      "ERR EXEC without MULTI",
      "ERR DISCARD without MULTI",
    ]);
  });

  test("forgets that a command was refused", async () => {
    await runAll(a, "multi", "nonsense", "reset");
    expect(await runAll(a, "multi", "set k 1", "exec")).toStrictEqual(["OK", "QUEUED", "[OK]"]);
    expect(await a.run("client info")).toContain(" flags=N ");
  });
});

describe("a client that goes in MULTI", () => {
  test("leaves nothing of its transaction", async () => {
    const connection = node.connect();
    await connection.execute("multi");
    await connection.execute("set", "k", "1");
    expect(connection.client.intercept).toBeDefined();
    connection.close();
    expect(connection.client.intercept).toBeUndefined();
    expect(connection.client.onRejected).toBeUndefined();
    expect([...connection.client.listFields]).toStrictEqual([]);
    expect(connection.execute("exec")).rejects.toThrow("The connection is closed");
    expect(await b.run("get k")).toBe("nil");
  });

  test("while its EXEC is held has not run it", async () => {
    const connection = node.connect();
    await connection.execute("multi");
    await connection.execute("set", "k", "1");
    await b.run("client pause 100000 write");
    const exec = connection.execute("exec");
    connection.close();
    expect(exec).rejects.toThrow("The connection was closed");
    await b.run("client unpause");
    expect(await b.run("get k")).toBe("nil");
  });
});

describe("the queue", () => {
  /** A command whose copy is as large as the test says, without being it: what is queued is told by its length. */
  class LargeArguments extends ArgumentList {
    override clone(): ArgumentList {
      return this;
    }
  }

  test("of one client is bounded: what is beyond a gigabyte is refused, and the transaction with it", async () => {
    const parsed = argumentsOf("set", "k", "v");
    const large = new LargeArguments();
    // Memory that is never written to takes up none.
    large.bytes = new Uint8Array(400 * 1024 * 1024);
    large.bytes.set(parsed.bytes);
    large.offsets = parsed.offsets;
    large.count = parsed.count;
    const connection = node.connect();
    await connection.execute("multi");
    expect(send(connection, large)).toBe("+QUEUED");
    expect(send(connection, large)).toBe("+QUEUED");
    expect(send(connection, large)).toBe(`-ERR the transaction is larger than ${1024 ** 3} bytes`);
    // Another client has a queue of its own.
    await a.run("multi");
    expect(await a.run("set k 1")).toBe("QUEUED");
    expect(showReply(await connection.execute("exec"))).toStartWith("EXECABORT ");
    expect(await a.run("exec")).toBe("[OK]");
    // The next transaction starts from nothing.
    await connection.execute("multi");
    expect(send(connection, large)).toBe("+QUEUED");
    expect(send(connection, large)).toBe("+QUEUED");
    expect(await connection.execute("discard")).toBe("OK");
  });

  test("is shown as it grows, with the flag of a client in MULTI", async () => {
    const connection = node.connect();
    const fields = connection.client.listFields;
    await connection.execute("multi");
    expect([fields.get("flags"), fields.get("multi")]).toStrictEqual(["x", "0"]);
    await connection.execute("ping");
    await connection.execute("ping");
    await connection.execute("nonsense");
    expect(fields.get("multi")).toBe("2");
    await connection.execute("exec");
    expect(fields.size).toBe(0);
  });
});

test("HELLO within a transaction changes the protocol of the replies that follow it", async () => {
  const connection = node.connect();
  await connection.execute("hello", "2");
  await connection.execute("multi");
  await connection.execute("hello", "3");
  const replies = await connection.execute("exec");
  // In the protocol before, it would be a list.
  expect(Array.isArray(replies) ? replies[0] : undefined).toBeInstanceOf(Map);
});
