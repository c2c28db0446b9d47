/** The server of RESP over real sockets: limits, backpressure, fairness, and what one client's nonsense does to others. */
import { describe, expect, test } from "bun:test";
import { encodeCommand } from "../../src/codec/resp-reader.ts";
import type { Config } from "../../src/config.ts";
import { createNode } from "../../src/node.ts";
import type { Machine } from "../../src/world.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { startNode } from "../support/bunch-server.ts";
import { RawClient } from "../support/raw-client.ts";

/** Runs a test on a node of its own. */
async function withNode(config: Config, run: (connect: () => Promise<RawClient>) => Promise<void>): Promise<void> {
  const { node, port } = await startNode(config);
  const clients: RawClient[] = [];
  try {
    await run(async () => {
      const client = await RawClient.connect(port);
      clients.push(client);
      return client;
    });
  } finally {
    for (const client of clients) client.close();
    await node.stop();
  }
}

/** Waits for something that comes by itself, asking again and again. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!(await condition())) if (performance.now() > deadline) throw new Error("it did not come true within 20 s");
}

describe("limits", () => {
  test("one client too many gets Redis' error, and is closed; the others are served", () =>
    withNode({ plugins: { resp: { maxClients: 2 } } }, async (connect) => {
      const first = await connect();
      await connect();
      const third = await connect();
      expect(await third.rest()).toBe("-ERR max number of clients reached\r\n");
      expect(await first.run("ping")).toBe("+PONG\r\n");
      expect(await first.run("info stats")).toContain("rejected_connections:1");
      // Room again: the next one is let in.
      expect(await first.run("config set maxclients 3")).toBe("+OK\r\n");
      expect(await (await connect()).run("ping")).toBe("+PONG\r\n");
    }));

  test("a reply larger than may wait for one client is an error that tells the bound, and nobody is closed for it", () =>
    withNode({ plugins: { resp: { maxReplyBytes: "1mb" } } }, async (connect) => {
      const client = await connect();
      client.write(encodeCommand(["set", "k", new Uint8Array(300 * 1024)]));
      expect(await client.reply()).toBe("+OK\r\n");
      // Three fit, four do not; what comes before and after in one piece is answered.
      client.write("ping\r\nmget k k k k\r\nping\r\n");
      for (const expected of ["+PONG\r\n", "-ERR the reply is larger than 1048576 bytes\r\n", "+PONG\r\n"])
        expect(await client.reply()).toBe(expected);
      expect((await client.run("mget k k k"))?.length).toBeGreaterThan(900 * 1024);
      client.write("multi\r\nmget k k k k\r\nping\r\nexec\r\n");
      for (const expected of ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n"]) expect(await client.reply()).toBe(expected);
      expect(await client.reply()).toBe("*2\r\n-ERR the reply is larger than 1048576 bytes\r\n+PONG\r\n");
    }));

  test("a transaction whose replies leave no room for an error fails as a whole, again and again", () =>
    withNode({ plugins: { resp: { maxReplyBytes: "1mb" } } }, async (connect) => {
      const client = await connect();
      client.write(encodeCommand(["set", "k", new Uint8Array(300 * 1024)]));
      expect(await client.reply()).toBe("+OK\r\n");
      const pings = 20_000;
      for (let round = 0; round < 6; round += 1) {
        client.write(`multi\r\nmget k k k\r\n${"ping\r\n".repeat(pings)}exec\r\n`);
        for (let reply = 0; reply < pings + 2; reply += 1) expect(await client.reply()).toMatch(/^\+(OK|QUEUED)\r\n$/);
        expect(await client.reply()).toBe("-ERR the reply is larger than 1048576 bytes\r\n");
      }
      expect(await client.run("ping")).toBe("+PONG\r\n");
    }));

  test("no more clients are allowed than the machine has files for", async () => {
    const world = createBunWorld({ logLevel: "silent" });
    const machine: Machine = {
      processId: 1,
      system: "test",
      runtime: "test",
      cpuSeconds: () => ({ user: 0, system: 0 }),
      residentBytes: () => 0,
      heapBytes: () => ({ used: 0, held: 0 }),
      collections: () => 0,
      totalMemoryBytes: () => 0,
      diskSpace: () => Promise.resolve(undefined),
      maxOpenFiles: () => 66,
      readOperatorFile: () => Promise.reject(new Error("there is none")),
    };
    const node = await createNode({ world: { ...world, machine }, config: { port: 0 } });
    await node.start();
    const port = Number(node.parameters.get("port")?.get());
    const [first, second, third] = [
      await RawClient.connect(port),
      await RawClient.connect(port),
      await RawClient.connect(port),
    ];
    expect(await third.rest()).toBe("-ERR max number of clients reached\r\n");
    expect(await first.run("config get maxclients")).toBe("*2\r\n$10\r\nmaxclients\r\n$1\r\n2\r\n");
    expect(await first.run("config set maxclients 3")).toBe(
      "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating system is not able to handle the specified number of clients, try with 2\r\n",
    );
    expect(await first.run("config set maxclients 1")).toBe("+OK\r\n");
    first.close();
    second.close();
    await node.stop();
  });

  test("a connection that sends nothing is closed after the idle timeout, and one that does is not", () =>
    withNode({ plugins: { resp: { idleTimeoutS: 1 } } }, async (connect) => {
      const idle = await connect();
      const busy = await connect();
      expect(await idle.run("ping")).toBe("+PONG\r\n");
      await until(async () => {
        expect(await busy.run("ping")).toBe("+PONG\r\n");
        return idle.isClosed;
      });
      expect(await busy.run("ping")).toBe("+PONG\r\n");
    }));

  test("an argument longer than proto-max-bulk-len is refused, and can be allowed", () =>
    withNode({ plugins: { resp: { maxBulkBytes: "2mb" } } }, async (connect) => {
      const client = await connect();
      client.write(`*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$${2 * 1024 * 1024 + 1}\r\n`);
      expect(await client.rest()).toBe("-ERR Protocol error: invalid bulk length\r\n");
      const other = await connect();
      expect(await other.run("config set proto-max-bulk-len 4mb")).toBe("+OK\r\n");
      expect(await other.run(["set", "k", "x".repeat(3 * 1024 * 1024)])).toBe("+OK\r\n");
      expect(await other.run("append k x")).toBe(`:${3 * 1024 * 1024 + 1}\r\n`);
      expect(await other.run("setrange k 4194304 x")).toContain("string exceeds maximum allowed size");
    }));

  test("a command that never ends is cut off at the query buffer's limit", () =>
    withNode({ plugins: { resp: { queryBufferBytes: "1mb" } } }, async (connect) => {
      const client = await connect();
      const other = await connect();
      client.write(`*2\r\n$4\r\nECHO\r\n$100000000\r\n`);
      const piece = "x".repeat(256 * 1024);
      await until(async () => {
        if (!client.isClosed) client.write(piece);
        await other.run("ping");
        return client.isClosed;
      });
      expect(await other.run("ping")).toBe("+PONG\r\n");
    }));

  test("a client that does not read is closed at the output limit", () =>
    withNode({ plugins: { resp: { outputLimit: "256kb 0 0" } } }, async (connect) => {
      const other = await connect();
      expect(await other.run(["set", "large", "x".repeat(32 * 1024 * 1024)])).toBe("+OK\r\n");
      const client = await connect();
      client.write(encodeCommand(["get", "large"]));
      await until(async () => (await other.run("client list"))?.match(/id=/g)?.length === 1);
      expect(await other.run("ping")).toBe("+PONG\r\n");
    }));
});

test("a client that does not read its replies stops being served, and costs bounded memory", () =>
  withNode({}, async (connect) => {
    const other = await connect();
    await other.run(["set", "page", "x".repeat(64 * 1024)]);
    // A socket that nobody reads from: the machine's buffers fill, then the node's.
    const address = (await other.run("config get port"))?.split("\r\n").at(-2);
    const silent = await Bun.connect({
      hostname: "127.0.0.1",
      port: Number(address),
      socket: { data: () => undefined },
    });
    silent.pause();
    // 4000 replies of 64 KiB: 256 MiB that nobody takes.
    const request = encodeCommand(["get", "page"]);
    const requests = Buffer.concat(Array.from({ length: 4000 }, () => Buffer.from(request)));
    silent.write(requests);
    const owed = async (): Promise<number> =>
      Math.max(
        ...[...((await other.run("client list")) ?? "").matchAll(/omem=([0-9]+)/g)].map((match) => Number(match[1])),
      );
    await until(async () => (await owed()) > 1024 * 1024);
    // Given all the time in the world, it does not grow beyond the mark and one turn's replies.
    for (let round = 0; round < 200; round += 1) expect(await owed()).toBeLessThan(4 * 1024 * 1024);
    const calls = Number(/cmdstat_get:calls=([0-9]+)/.exec((await other.run("info commandstats")) ?? "")?.[1]);
    expect(calls).toBeLessThan(2000);
    // Once it reads, it gets the rest.
    silent.resume();
    await until(
      async () => Number(/cmdstat_get:calls=([0-9]+)/.exec((await other.run("info commandstats")) ?? "")?.[1]) === 4000,
    );
    silent.end();
  }));

test("one huge pipeline does not starve other clients", () =>
  withNode({}, async (connect) => {
    const greedy = await connect();
    const modest = await connect();
    const pipeline = "INCR counter\r\n".repeat(400_000);
    greedy.write(pipeline);
    // While it runs, others are answered: they see the counter on its way.
    const seen = new Set<string | undefined>();
    await until(async () => {
      const value = await modest.run("get counter");
      seen.add(value);
      return value?.includes("400000") === true;
    });
    expect(seen.size).toBeGreaterThan(20);
    for (let count = 1; count <= 400_000; count += 1)
      if ((await greedy.reply()) !== `:${count}\r\n`) throw new Error(`reply ${count} is wrong`);
  }));

describe("nonsense", () => {
  for (const [input, reply] of [
    ["*abc\r\n", "-ERR Protocol error: invalid multibulk length\r\n"],
    ["*1\r\n+PING\r\n", "-ERR Protocol error: expected '$', got '+'\r\n"],
    ["*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"],
    ['set a "b\r\n', "-ERR Protocol error: unbalanced quotes in request\r\n"],
    ["x".repeat(70_000), "-ERR Protocol error: too big inline request\r\n"],
    ["POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nFLUSHALL\r\n", ""],
    ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\nFLUSHALL\r\n", ""],
  ] as const) {
    test(`${JSON.stringify(input.slice(0, 30))} closes its own connection, and no other`, () =>
      withNode({}, async (connect) => {
        const good = await connect();
        await good.run("set kept 1");
        const bad = await connect();
        bad.write(input);
        expect(await bad.rest()).toBe(reply);
        expect(await good.run("get kept")).toBe("$1\r\n1\r\n");
      }));
  }

  test("garbage from many connections hurts nobody", () =>
    withNode({}, async (connect) => {
      const good = await connect();
      let state = 12_345;
      for (let round = 0; round < 50; round += 1) {
        const bad = await connect();
        const bytes = Uint8Array.from({ length: 2000 }, () => {
          state = (Math.imul(state, 1_103_515_245) + 12_345) | 0;
          return (state >>> 16) & 0xff;
        });
        bad.write(bytes);
        bad.close();
        expect(await good.run("ping")).toBe("+PONG\r\n");
      }
    }));
});

describe("commands about connections", () => {
  test("inline commands, in one piece with others", () =>
    withNode({}, async (connect) => {
      const client = await connect();
      client.write('SET "a b" \'c d\'\r\n\r\nGET "a b"\n*1\r\n$4\r\nPING\r\n');
      expect([await client.reply(), await client.reply(), await client.reply()]).toEqual([
        "+OK\r\n",
        "$3\r\nc d\r\n",
        "+PONG\r\n",
      ]);
    }));

  test("CLIENT REPLY OFF and SKIP leave replies out", () =>
    withNode({}, async (connect) => {
      const client = await connect();
      client.write(
        "CLIENT REPLY SKIP\r\nPING\r\nECHO one\r\nCLIENT REPLY OFF\r\nPING\r\nPING\r\nCLIENT REPLY ON\r\nECHO two\r\n",
      );
      expect([await client.reply(), await client.reply(), await client.reply()]).toEqual([
        "$3\r\none\r\n",
        "+OK\r\n",
        "$3\r\ntwo\r\n",
      ]);
    }));

  test("CLIENT PAUSE holds commands, and runs them in order when it is over", () =>
    withNode({}, async (connect) => {
      const admin = await connect();
      const client = await connect();
      expect(await admin.run("client pause 100000 write")).toBe("+OK\r\n");
      client.write("GET a\r\nSET a 1\r\nGET a\r\n");
      expect(await client.reply()).toBe("$-1\r\n");
      await until(async () => (await admin.run("info clients"))?.includes("blocked_clients:1") === true);
      expect(await admin.run("get a")).toBe("$-1\r\n");
      expect(await admin.run("client unpause")).toBe("+OK\r\n");
      expect([await client.reply(), await client.reply()]).toEqual(["+OK\r\n", "$1\r\n1\r\n"]);
      // What a transaction does is held with its EXEC.
      expect(await admin.run("client pause 100000 write")).toBe("+OK\r\n");
      client.write("MULTI\r\nSET a 2\r\nEXEC\r\n");
      expect(await client.reply()).toBe("+OK\r\n");
      await until(async () => (await admin.run("info clients"))?.includes("blocked_clients:1") === true);
      expect(await admin.run("get a")).toBe("$1\r\n1\r\n");
      expect(await admin.run("client unpause")).toBe("+OK\r\n");
      expect(await client.reply()).toBe("+QUEUED\r\n");
      expect(await client.reply()).toBe("*1\r\n+OK\r\n");
      expect(await admin.run("client pause 50")).toBe("+OK\r\n");
      expect(await client.run("ping")).toBe("+PONG\r\n");
    }));

  test("CLIENT KILL closes another at once, and oneself after the answer", () =>
    withNode({}, async (connect) => {
      const admin = await connect();
      const client = await connect();
      const id = (await client.run("client id"))?.slice(1).trim() ?? "";
      expect(await admin.run(`client kill id ${id}`)).toBe(":1\r\n");
      expect(await client.rest()).toBe("");
      expect(await admin.run("client list")).not.toContain(`id=${id} `);
      const own = (await admin.run("client id"))?.slice(1).trim() ?? "";
      expect(await admin.run(`client kill id ${own} skipme no`)).toBe(":1\r\n");
      expect(await admin.rest()).toBe("");
    }));

  test("HELLO changes the protocol of the replies that follow, and RESET brings it back", () =>
    withNode({}, async (connect) => {
      const client = await connect();
      client.write(
        "GET nothing\r\nHELLO 3 SETNAME me\r\nGET nothing\r\nCLIENT GETNAME\r\nRESET\r\nGET nothing\r\nCLIENT GETNAME\r\n",
      );
      const replies = [];
      for (let count = 0; count < 7; count += 1) replies.push(await client.reply());
      expect(replies[0]).toBe("$-1\r\n");
      expect(replies[1]).toStartWith("%7\r\n");
      expect(replies.slice(2)).toEqual(["_\r\n", "$2\r\nme\r\n", "+RESET\r\n", "$-1\r\n", "$-1\r\n"]);
    }));

  test("DEBUG SLEEP answers nobody for its time, then everybody", () =>
    withNode({ plugins: { server: { debugCommands: true } } }, async (connect) => {
      const sleeper = await connect();
      const other = await connect();
      const order: string[] = [];
      const slept = sleeper.run("debug sleep 0.2").then(() => order.push("slept"));
      await Promise.all([slept, other.run("debug sleep 0").then(() => order.push("other"))]);
      expect(order).toContain("slept");
      expect(await other.run("ping")).toBe("+PONG\r\n");
    }));
});
