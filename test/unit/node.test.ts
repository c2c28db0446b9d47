/** A node's life: start, stop, faults, connections from within the process. */
import { describe, expect, test } from "bun:test";
import { Fault } from "../../src/assert.ts";
import { keyspaceService } from "../../src/contracts/keyspace.ts";
import { createNode } from "../../src/node.ts";
import { type Plugin, definePlugin } from "../../src/plugin.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { RawClient } from "../support/raw-client.ts";
import { localClient, startLocalNode } from "../support/local-node.ts";

/** Adds BREAK, which finds an invariant broken. */
const breaker = definePlugin({
  name: "breaker",
  summary: "",
  setup(context) {
    context.command({
      name: "break",
      arity: 1,
      flags: [],
      group: "module",
      summary: "Breaks.",
      complexity: "O(1)",
      since: "bunch 0.1.0",
      run: () => {
        throw new Fault("two and two make five");
      },
    });
  },
});

describe("a node", () => {
  test("starts once, stops once, and then is stopped", async () => {
    const node = await startLocalNode();
    expect(node.state).toBe("started");
    expect(node.start()).rejects.toThrow("Cannot start a node that is started");
    const stopping = node.stop();
    expect(node.stop()).toBe(stopping);
    await stopping;
    expect(node.state).toBe("stopped");
  });

  test("that cannot start stops what had started, in reverse", async () => {
    const told: string[] = [];
    const make = (name: string, start: () => void): Plugin =>
      definePlugin({
        name,
        summary: "",
        setup(context) {
          context.on(context.hooks.start, start);
          context.on(context.hooks.stop, () => void told.push(`${name} stopped`));
        },
      });
    const plugins = [
      make("one", () => void told.push("one started")),
      make("two", () => {
        throw new Error("no luck");
      }),
    ];
    const node = await createNode({
      world: createBunWorld({ logLevel: "silent" }),
      config: { port: 0, plugins: { resp: false } },
      plugins,
    });
    expect(node.start()).rejects.toThrow('Plugin "two" failed in hook "start": no luck');
    expect(told).toEqual(["one started", "two stopped", "one stopped"]);
    expect(node.state).toBe("stopped");
  });

  test("stops at a fault, tells why, and closes every connection", async () => {
    const stopped = Promise.withResolvers<Error | undefined>();
    const node = await createNode({
      world: createBunWorld({ logLevel: "silent" }),
      config: { port: 0 },
      plugins: [breaker],
      onStopped: stopped.resolve,
    });
    await node.start();
    const port = Number(node.parameters.get("port")?.get());
    const culprit = await RawClient.connect(port);
    const other = await RawClient.connect(port);
    expect(await other.run("ping")).toBe("+PONG\r\n");
    culprit.write("BREAK\r\n");
    const fault = await stopped.promise;
    expect(fault).toBeInstanceOf(Fault);
    expect(fault?.message).toContain("two and two make five");
    expect([await culprit.rest(), await other.rest()]).toEqual(["", ""]);
    expect(node.state).toBe("stopped");
  });

  test("serves nothing any more from a fault on, however long it takes to stop: what it holds is broken", async () => {
    const stopped = Promise.withResolvers<Error | undefined>();
    const mayStop = Promise.withResolvers<void>();
    let wasFaulty = false;
    const slow = definePlugin({
      name: "slow",
      summary: "",
      setup: (context) =>
        void context.on(context.hooks.stop, async () => {
          wasFaulty = context.isFaulty();
          await mayStop.promise;
        }),
    });
    const node = await createNode({
      world: createBunWorld({ logLevel: "silent" }),
      config: { port: 0 },
      plugins: [breaker, slow],
      onStopped: stopped.resolve,
    });
    await node.start();
    const port = Number(node.parameters.get("port")?.get());
    const culprit = await RawClient.connect(port);
    const other = await RawClient.connect(port);
    const within = node.connect();
    expect(await other.run("set key value")).toBe("+OK\r\n");
    culprit.write("BREAK\r\n");
    expect([await culprit.rest(), await other.rest()]).toEqual(["", ""]);
    expect(node.state).toBe("stopping");
    expect(await within.execute("get", "key").catch(() => "closed")).toBe("closed");
    expect(
      await node
        .connect()
        .execute("get", "key")
        .catch(() => "closed"),
    ).toBe("closed");
    expect(node.replyGate.mayLeave(1)).toBe(false);
    mayStop.resolve();
    expect((await stopped.promise)?.message).toContain("two and two make five");
    expect(wasFaulty).toBe(true);
  });

  test("serves nothing any more from a fault on, either, while it stops for another reason", async () => {
    const mayStop = Promise.withResolvers<void>();
    const slow = definePlugin({
      name: "slow",
      summary: "",
      setup: (context) => void context.on(context.hooks.stop, () => mayStop.promise),
    });
    const node = await startLocalNode({}, { plugins: [breaker, slow] });
    const stopping = node.stop();
    expect(await node.connect().execute("get", "key")).toBeNull();
    expect(node.connect().execute("break")).rejects.toThrow();
    expect(
      await node
        .connect()
        .execute("get", "key")
        .catch(() => "closed"),
    ).toBe("closed");
    mayStop.resolve();
    await stopping;
    expect(node.state).toBe("stopped");
  });

  test("tells its plugins of a fault at once, and does all that ends with it, whatever of that fails", async () => {
    const stopped = Promise.withResolvers<Error | undefined>();
    const mayStop = Promise.withResolvers<void>();
    const told: string[] = [];
    const plugin = definePlugin({
      name: "told",
      summary: "",
      setup(context) {
        context.onFault(() => {
          told.push(`fault ${context.isFaulty()}`);
          throw new Error("no luck");
        });
        context.onFault(() => void told.push("another"));
        context.on(context.hooks.stop, async () => {
          told.push("stop");
          await mayStop.promise;
        });
      },
    });
    const node = await startLocalNode({}, { plugins: [breaker, plugin], onStopped: stopped.resolve });
    const broken: string[] = [];
    node.replyGate.setCommitted(0);
    node.replyGate.wait(1, {
      released: () => void broken.push("released"),
      broken: () => {
        broken.push("broken");
        throw new Error("no luck");
      },
    });
    expect(node.connect().execute("break")).rejects.toThrow();
    expect(told.slice(0, 2)).toEqual(["fault true", "another"]);
    expect(broken).toEqual(["broken"]);
    mayStop.resolve();
    expect((await stopped.promise)?.message).toContain("two and two make five");
    expect(told).toEqual(["fault true", "another", "stop"]);
  });

  test("stops where a handler fails that must not fail by half, whatever it throws", async () => {
    const stopped = Promise.withResolvers<Error | undefined>();
    const plugin = definePlugin({
      name: "bad",
      summary: "",
      setup(context) {
        const fail = (): never => {
          throw new TypeError("no luck");
        };
        context.on(context.hooks.statisticsReset, context.vital(fail));
      },
    });
    const node = await startLocalNode({}, { plugins: [plugin], onStopped: stopped.resolve });
    await node.connect().execute("config", "resetstat");
    expect((await stopped.promise)?.message).toContain("no luck");
  });

  test("stops at a fault in a listener of a notify hook, and in a timer", async () => {
    for (const where of ["hook", "timer"] as const) {
      const stopped = Promise.withResolvers<Error | undefined>();
      const plugin = definePlugin({
        name: "bad",
        summary: "",
        setup(context) {
          const fail = (): never => {
            throw new Fault("broken");
          };
          if (where === "hook") context.on(context.hooks.statisticsReset, fail);
          else context.on(context.hooks.start, () => void context.every(1, fail));
        },
      });
      const node = await startLocalNode({}, { plugins: [plugin], onStopped: stopped.resolve });
      if (where === "hook") await node.connect().execute("config", "resetstat");
      expect((await stopped.promise)?.message).toContain("broken");
    }
  });
});

describe("a connection from within the process", () => {
  test("runs commands in order, and gives errors as values", async () => {
    const node = await startLocalNode();
    const connection = node.connect();
    const replies = await Promise.all([
      connection.execute("set", "a", "1"),
      connection.execute("incr", "a"),
      connection.execute("nonsense"),
    ]);
    expect(replies.slice(0, 2)).toEqual(["OK", 2]);
    expect(Bun.inspect(replies[2])).toContain("unknown command 'nonsense'");
    await node.stop();
  });

  test("waits for commands that are held, in order, and is rejected when it is closed meanwhile", async () => {
    const node = await startLocalNode();
    const admin = node.connect();
    const client = node.connect();
    await admin.execute("client", "pause", "100000", "write");
    const order: string[] = [];
    const writing = client.execute("set", "a", "1").then(() => order.push("set"));
    const reading = client.execute("get", "a").then(() => order.push("get"));
    const closed = node.connect();
    const lost = closed.execute("set", "a", "2");
    closed.close();
    expect(lost).rejects.toThrow("The connection was closed");
    expect(closed.execute("ping")).rejects.toThrow("The connection is closed");
    expect(order).toEqual([]);
    await admin.execute("client", "unpause");
    await Promise.all([writing, reading]);
    expect(order).toEqual(["set", "get"]);
    expect(await client.execute("get", "a")).toEqual(new TextEncoder().encode("1"));
    await node.stop();
  });

  test("gives up what it watched when it closes", async () => {
    const node = await startLocalNode();
    const watchers = (): number => node.service(keyspaceService)?.slotWatchers.reduce((a, b) => a + b, 0) ?? -1;
    const client = localClient(node);
    await client.run("watch {k}1 {k}2");
    expect(watchers()).toBe(2);
    client.close();
    expect(watchers()).toBe(0);
    await node.stop();
  });

  test("answers CLIENT REPLY OFF with nothing, and goes on", async () => {
    const node = await startLocalNode();
    const connection = node.connect();
    expect(await connection.execute("client", "reply", "off")).toBeNull();
    expect(await connection.execute("client", "reply", "skip")).toBeNull();
    expect(await connection.execute("ping")).toBe("PONG");
    await node.stop();
  });
});
