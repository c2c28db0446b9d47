/** CLIENT: who is meant by KILL and LIST, what a pause holds and until when, and what replies a connection gets. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { Node } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import type { Clock, World } from "../../src/world.ts";
import { startNode } from "../support/bunch-server.ts";
import { localClient, showReply, startLocalNode } from "../support/local-node.ts";
import { RawClient } from "../support/raw-client.ts";

const PORT = 21_750;

/** A world whose time, and whose single timers, go by the test's hand. */
function handWorld(): { readonly world: World; readonly advance: (byMs: number) => void } {
  const world = createBunWorld({ logLevel: "silent" });
  const { clock } = world;
  let nowMs = 0;
  const timers = new Set<{ readonly atMs: number; readonly callback: () => void }>();
  const byHand: Clock = {
    monotonicMs: () => nowMs,
    wallMs: () => 1_800_000_000_000 + nowMs,
    after: (delayMs, callback) => {
      const timer = { atMs: nowMs + delayMs, callback };
      timers.add(timer);
      return { cancel: () => void timers.delete(timer) };
    },
    every: (periodMs, callback) => clock.every(periodMs, callback),
    soon: (callback) => clock.soon(callback),
  };
  return {
    world: { ...world, clock: byHand },
    advance: (byMs) => {
      nowMs += byMs;
      for (const timer of [...timers].toSorted((a, b) => a.atMs - b.atMs)) {
        if (timer.atMs <= nowMs && timers.delete(timer)) timer.callback();
      }
    },
  };
}

/** Of a reply such as `:12`. */
const numberOf = (reply: string | undefined): number => Number(reply?.slice(1));

describe("over sockets", () => {
  let node: Node;
  let admin: RawClient;
  let others: RawClient[];
  let ids: number[];

  beforeEach(async () => {
    ({ node } = await startNode({ port: PORT }));
    admin = await RawClient.connect(PORT);
    others = [];
    ids = [];
    for (const name of ["one", "two", "three"]) {
      const client = await RawClient.connect(PORT);
      others.push(client);
      ids.push(numberOf(await client.run("client id")));
      await client.run(`client setname ${name}`);
    }
  });
  afterEach(async () => {
    for (const client of [admin, ...others]) client.close();
    await node.stop();
  });

  /** The names of those that CLIENT LIST has, by a line of it. */
  const namesOf = (listed: string | undefined): readonly string[] =>
    [...(listed ?? "").matchAll(/ name=(\S*) /g)].map((match) => match[1] ?? "");
  const addressOf = async (client: RawClient): Promise<string> =>
    / addr=(\S+) /.exec((await client.run("client info")) ?? "")?.[1] ?? "";

  describe("CLIENT KILL", () => {
    test("by id closes that one and no other", async () => {
      expect(await admin.run(`client kill id ${ids[1]}`)).toBe(":1\r\n");
      expect(await others[1]?.rest()).toBe("");
      expect(namesOf(await admin.run("client list"))).toStrictEqual(["", "one", "three"]);
      expect(await admin.run(`client kill id ${ids[1]}`)).toBe(":0\r\n");
    });

    test("by address closes that one, in the old form and the new", async () => {
      const [first, second, third] = await Promise.all(others.map(addressOf));
      expect(await admin.run(`client kill ${first}`)).toBe("+OK\r\n");
      expect(await admin.run(`client kill addr ${second}`)).toBe(":1\r\n");
      expect(namesOf(await admin.run("client list"))).toStrictEqual(["", "three"]);
      expect(await admin.run(`client kill ${first}`)).toBe("-ERR No such client\r\n");
      expect(await admin.run(`client kill addr ${first}`)).toBe(":0\r\n");
      // An address that another's begins with is another address.
      expect(await admin.run(`client kill addr ${third?.slice(0, -1)}`)).toBe(":0\r\n");
      expect(await others[2]?.run("ping")).toBe("+PONG\r\n");
    });

    test("by this side's address, by user and by type spares oneself, unless told otherwise", async () => {
      for (const filter of [`laddr 127.0.0.1:${PORT}`, "user default", "type normal"]) {
        const extra = await RawClient.connect(PORT);
        await extra.run("client setname extra");
        // All at once but the caller: those of the test, as far as they are left, and the new one.
        const before = namesOf(await admin.run("client list")).length;
        expect(await admin.run(`client kill ${filter}`)).toBe(`:${before - 1}\r\n`);
        expect(await extra.rest()).toBe("");
        expect(namesOf(await admin.run("client list"))).toStrictEqual([""]);
      }
      expect(await admin.run("client kill type normal skipme no")).toBe(":1\r\n");
      expect(await admin.rest()).toBe("");
    });

    test("of types that nobody is, and of an address that nobody has, closes nobody", async () => {
      for (const filter of ["type replica", "type master", "type pubsub", "laddr 127.0.0.1:1", "TYPE Slave"])
        expect(await admin.run(`client kill ${filter}`)).toBe(":0\r\n");
      expect(namesOf(await admin.run("client list"))).toHaveLength(4);
    });

    test("by several filters closes those that all of them mean", async () => {
      const address = await addressOf(others[0] ?? admin);
      expect(await admin.run(`client kill id ${ids[1]} addr ${address}`)).toBe(":0\r\n");
      expect(await admin.run(`client kill id ${ids[0]} type pubsub`)).toBe(":0\r\n");
      expect(await admin.run(`client kill id ${ids[0]} addr ${address} user default type normal skipme yes`)).toBe(
        ":1\r\n",
      );
      expect(namesOf(await admin.run("client list"))).toStrictEqual(["", "two", "three"]);
    });

    for (const [filter, error] of [
      ["id 0", "ERR client-id should be greater than 0"],
      ["id x", "ERR client-id should be greater than 0"],
      ["type strange", "ERR Unknown client type 'strange'"],
      ["user somebody", "ERR No such user 'somebody'"],
      ["skipme maybe", "ERR syntax error"],
      ["colour red", "ERR syntax error"],
      ["id 1 addr", "ERR syntax error"],
    ] as const) {
      test(`${filter} is refused, and closes nobody`, async () => {
        expect(await admin.run(`client kill ${filter}`)).toBe(`-${error}\r\n`);
        // What stands before a mistake is not done either.
        expect(await admin.run(`client kill type normal ${filter}`)).toBe(`-${error}\r\n`);
        expect(namesOf(await admin.run("client list"))).toHaveLength(4);
      });
    }

    test("of a client in MULTI drops what it had queued", async () => {
      await others[0]?.run("multi");
      await others[0]?.run("set k 1");
      expect(await admin.run(`client kill id ${ids[0]}`)).toBe(":1\r\n");
      expect(await admin.run("get k")).toBe("$-1\r\n");
    });
  });

  describe("CLIENT LIST", () => {
    test("by ids lists those that are there, in the order that was asked for", async () => {
      const [one, two, three] = ids;
      expect(namesOf(await admin.run(`client list id ${three} ${one}`))).toStrictEqual(["three", "one"]);
      expect(namesOf(await admin.run(`client list id ${two} 999999 ${two}`))).toStrictEqual(["two", "two"]);
      expect(await admin.run("client list id 999999")).toBe("$0\r\n\r\n");
      expect(await admin.run(`client list id ${one} x`)).toBe("-ERR Invalid client ID\r\n");
      expect(await admin.run("client list id")).toBe("-ERR syntax error\r\n");
    });

    test("by type lists connections as normal ones", async () => {
      expect(namesOf(await admin.run("client list type normal"))).toHaveLength(4);
      expect(await admin.run("client list type pubsub")).toBe("$0\r\n\r\n");
      expect(await admin.run("client list type strange")).toBe("-ERR Unknown client type 'strange'\r\n");
    });

    test("shows what clients have said of themselves, and what they did last", async () => {
      const [client = admin] = others;
      await client.run("client setinfo lib-name mine");
      await client.run("client setinfo lib-ver 1.2");
      await client.run("client no-evict on");
      await client.run("client no-touch on");
      await client.run("readonly");
      await client.run("multi");
      await client.run("ping");
      const fields = (await admin.run(`client list id ${ids[0]}`))?.trim().split(/\s+/);
      for (const field of ["name=one", "lib-name=mine", "lib-ver=1.2", "flags=rxeT", "multi=1", "cmd=ping", "resp=2"])
        expect(fields).toContain(field);
      await client.run("discard");
      await client.run("client no-evict off");
      await client.run("client no-touch off");
      await client.run("readwrite");
      expect(await admin.run(`client list id ${ids[0]}`)).toContain(" flags=N ");
    });
  });

  describe("CLIENT REPLY", () => {
    test("OFF silences everything until ON, errors too, in one piece or many", async () => {
      const [client = admin, other = admin] = others;
      client.write("CLIENT REPLY OFF\r\nPING\r\nNONSENSE\r\nSET k 1\r\nCLIENT REPLY ON\r\nGET k\r\n");
      expect([await client.reply(), await client.reply()]).toStrictEqual(["+OK\r\n", "$1\r\n1\r\n"]);
      other.write("CLIENT REPLY OFF\r\n");
      other.write("SET k 2\r\n");
      other.write("CLIENT REPLY SKIP\r\nPING\r\nPING\r\nCLIENT REPLY ON\r\n");
      expect(await other.reply()).toBe("+OK\r\n");
      expect(await other.run("get k")).toBe("$1\r\n2\r\n");
    });

    test("SKIP silences itself and one command more", async () => {
      const [client = admin] = others;
      client.write("CLIENT REPLY SKIP\r\nPING\r\nECHO a\r\n");
      expect(await client.reply()).toBe("$1\r\na\r\n");
      client.write("CLIENT REPLY SKIP\r\nNONSENSE\r\nECHO b\r\n");
      expect(await client.reply()).toBe("$1\r\nb\r\n");
      client.write("CLIENT REPLY SKIP\r\n");
      client.write("SET k 1\r\n");
      expect(await client.run("get k")).toBe("$1\r\n1\r\n");
    });

    test("ON answers, a wrong word is an error, and RESET turns replies on", async () => {
      const [client = admin] = others;
      expect(await client.run("client reply on")).toBe("+OK\r\n");
      expect(await client.run("client reply perhaps")).toBe("-ERR syntax error\r\n");
      client.write("CLIENT REPLY OFF\r\nPING\r\nRESET\r\nPING\r\n");
      expect([await client.reply(), await client.reply()]).toStrictEqual(["+RESET\r\n", "+PONG\r\n"]);
    });

    test("OFF of one client silences no other", async () => {
      const [client = admin] = others;
      client.write("CLIENT REPLY OFF\r\nSET k 1\r\n");
      while ((await admin.run("get k")) !== "$1\r\n1\r\n");
      expect(await admin.run("ping")).toBe("+PONG\r\n");
      expect(await client.run("client reply on")).toBe("+OK\r\n");
    });
  });
});

describe("CLIENT PAUSE", () => {
  let node: Node;
  let advance: (byMs: number) => void;
  let admin: ReturnType<typeof localClient>;

  beforeEach(async () => {
    const hand = handWorld();
    advance = hand.advance;
    node = await startLocalNode({}, { world: hand.world });
    admin = localClient(node);
  });
  afterEach(() => node.stop());

  /** Lets what is released, or what answers at once, come to its end: in the next turn of the event loop. */
  const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
  const pass = async (byMs: number): Promise<void> => {
    advance(byMs);
    await turn();
  };
  /** Which of some replies have not come. */
  const waiting = async (...replies: readonly Promise<string>[]): Promise<readonly boolean[]> => {
    await turn();
    return replies.map((reply) => Bun.peek.status(reply) === "pending");
  };
  const isHooked = (): boolean => node.hooks.commandBefore.handlers.some(({ plugin }) => plugin === "clients");
  /** A client of its own for each command: one that waits holds up those behind it. */
  const run = (line: string): Promise<string> => localClient(node).run(line);

  test("WRITE holds what may change keys, and nothing else", async () => {
    await admin.run("set k 1");
    const transaction = localClient(node);
    for (const line of ["multi", "get k"]) await transaction.run(line);
    expect(await admin.run("client pause 1000 write")).toBe("OK");
    const held = [run("set k 2"), run("del k"), run("expire k 10"), run("flushall"), transaction.run("exec")];
    expect(await Promise.all(["get k", "ping", "exists k", "ttl k", "multi"].map(run))).toStrictEqual([
      "1",
      "PONG",
      "1",
      "-1",
      "OK",
    ]);
    expect(await waiting(...held)).toStrictEqual([true, true, true, true, true]);
    expect(await run("info clients")).toContain("blocked_clients:5\r\n");
    expect(await run("get k")).toBe("1");
    await pass(1000);
    expect(await Promise.all(held)).toStrictEqual(["OK", "1", "0", "OK", "[nil]"]);
    expect(await run("info clients")).toContain("blocked_clients:0\r\n");
  });

  for (const line of ["client pause 1000 all", "client pause 1000"]) {
    test(`${line} holds everything, until its time is over`, async () => {
      expect(await admin.run(line)).toBe("OK");
      const held = [run("get k"), run("ping"), run("set k 1"), run("client unpause"), admin.run("echo me")];
      await pass(999);
      expect(await waiting(...held)).toStrictEqual([true, true, true, true, true]);
      await pass(1);
      expect(await Promise.all(held)).toStrictEqual(["nil", "PONG", "OK", "OK", "me"]);
    });
  }

  test("refuses what it would refuse anyway, at once", async () => {
    await admin.run("client pause 1000 all");
    expect(await run("nonsense")).toStartWith("ERR unknown command 'nonsense'");
    expect(await run("get")).toStartWith("ERR wrong number of arguments");
    await pass(1000);
  });

  test("UNPAUSE ends it at once, and does no harm when there is none", async () => {
    await admin.run("client pause 100000 write");
    const writing = run("set k 1");
    expect(await waiting(writing)).toStrictEqual([true]);
    expect(await admin.run("client unpause")).toBe("OK");
    expect(await writing).toBe("OK");
    expect(await admin.run("client unpause")).toBe("OK");
    // The timer of the pause that was ended ends no other.
    await admin.run("client pause 200000 write");
    await pass(100_000);
    const held = run("set k 2");
    expect(await waiting(held)).toStrictEqual([true]);
    await pass(100_000);
    expect(await held).toBe("OK");
  });

  test("within a pause makes it longer and stricter, never shorter or laxer", async () => {
    await admin.run("client pause 1000 write");
    await admin.run("client pause 10 write");
    const writing = run("set k 1");
    await pass(10);
    expect(await waiting(writing)).toStrictEqual([true]);
    await admin.run("client pause 2000 all");
    const reading = run("get k");
    await pass(990);
    expect(await waiting(writing, reading)).toStrictEqual([true, true]);
    await pass(1010);
    expect(await Promise.all([writing, reading])).toStrictEqual(["OK", "1"]);
  });

  test("set within a transaction does the same, though the first holds everything already", async () => {
    for (const line of ["multi", "client pause 1000 all", "client pause 2000 write"]) await admin.run(line);
    expect(await admin.run("exec")).toBe("[OK OK]");
    const reading = run("get k");
    await pass(1999);
    expect(await waiting(reading)).toStrictEqual([true]);
    await pass(1);
    expect(await reading).toBe("nil");
  });

  test("keeps the order of one client's commands", async () => {
    const client = localClient(node);
    await admin.run("client pause 1000 write");
    const replies = ["set k 1", "incr k", "get k"].map((line) => client.run(line));
    expect(await waiting(...replies)).toStrictEqual([true, true, true]);
    await pass(1000);
    expect(await Promise.all(replies)).toStrictEqual(["OK", "2", "2"]);
  });

  test("forgets a client that went while it waited", async () => {
    await admin.run("client pause 1000 write");
    const client = localClient(node);
    const writing = client.run("set k 1");
    expect(await admin.run("info clients")).toContain("blocked_clients:1\r\n");
    client.close();
    expect(writing).rejects.toThrow("The connection was closed");
    expect(await admin.run("info clients")).toContain("blocked_clients:0\r\n");
    await pass(1000);
    expect(await admin.run("get k")).toBe("nil");
  });

  test("is on the way of commands only while it lasts", async () => {
    expect(isHooked()).toBe(false);
    await admin.run("client pause 1000 write");
    await admin.run("client pause 1000 write");
    expect(isHooked()).toBe(true);
    await pass(1000);
    expect(isHooked()).toBe(false);
    await admin.run("client pause 1000 write");
    await admin.run("client unpause");
    expect(isHooked()).toBe(false);
  });

  for (const [args, error] of [
    ["x", "ERR timeout is not an integer or out of range"],
    ["1.5", "ERR timeout is not an integer or out of range"],
    ["99999999999999999999", "ERR timeout is not an integer or out of range"],
    ["9223372036854775807", "ERR timeout is not an integer or out of range"],
    ["-1", "ERR timeout is negative"],
    ["1 some", "ERR CLIENT PAUSE mode must be WRITE or ALL"],
    ["1 write now", "ERR syntax error"],
  ] as const) {
    test(`${args} is refused, and pauses nothing`, async () => {
      expect(await admin.run(`client pause ${args}`)).toBe(error);
      expect(isHooked()).toBe(false);
    });
  }
});

describe("CLIENT NO-TOUCH", () => {
  let node: Node;
  let advance: (byMs: number) => void;

  beforeEach(async () => {
    const hand = handWorld();
    advance = hand.advance;
    node = await startLocalNode({}, { world: hand.world });
  });
  afterEach(() => node.stop());

  test("keeps a client's commands from counting as use of keys, and those of no other", async () => {
    const quiet = localClient(node);
    const loud = localClient(node);
    await loud.run("set k value");
    expect(await quiet.run("client no-touch on")).toBe("OK");
    advance(100_000);
    for (const line of ["get k", "strlen k", "getrange k 0 1", "exists k", "mget k", "type k"]) await quiet.run(line);
    expect(await quiet.run("object idletime k")).toBe("100");
    await loud.run("get k");
    expect(await quiet.run("object idletime k")).toBe("0");
    advance(50_000);
    await quiet.run("get k");
    expect(await quiet.run("object idletime k")).toBe("50");
    expect(await quiet.run("client no-touch off")).toBe("OK");
    await quiet.run("get k");
    expect(await loud.run("object idletime k")).toBe("0");
    expect(await loud.run("client no-touch perhaps")).toBe("ERR syntax error");
  });

  test("ends with RESET", async () => {
    const quiet = localClient(node);
    await quiet.run("set k value");
    await quiet.run("client no-touch on");
    advance(100_000);
    await quiet.run("get k");
    expect(await quiet.run("object idletime k")).toBe("100");
    await quiet.run("reset");
    await quiet.run("get k");
    expect(await quiet.run("object idletime k")).toBe("0");
  });
});

describe("a connection from within the process", () => {
  test("is nobody that CLIENT LIST shows, or KILL closes", async () => {
    const node = await startLocalNode();
    const client = localClient(node);
    const other = localClient(node);
    expect(await client.run("client list")).toBe("");
    expect(await client.run("client kill type normal skipme no")).toBe("0");
    expect(await client.run("client kill local:0")).toBe("ERR No such client");
    expect(await other.run("ping")).toBe("PONG");
    await node.stop();
  });

  test("has an id of its own, and a name", async () => {
    const node = await startLocalNode();
    const [first, second] = [node.connect(), node.connect()];
    expect(await first.execute("client", "id")).not.toBe(await second.execute("client", "id"));
    expect(await first.execute("client", "getname")).toBeNull();
    expect(showReply(await first.execute("client", "setname", "two words"))).toStartWith("ERR Client names cannot");
    expect(await first.execute("client", "setname", "me")).toBe("OK");
    expect(showReply(await first.execute("client", "getname"))).toBe("me");
    expect(await second.execute("client", "getname")).toBeNull();
    await node.stop();
  });
});
