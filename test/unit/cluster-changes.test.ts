/** cluster-changes: what becomes of a change, in the reply; and what a plugin may add to another's container. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { RequestOutcome } from "../../src/contracts/consensus.ts";
import type { TopologyRequest } from "../../src/contracts/topology.ts";
import { SETTING_DEFAULTS } from "../../src/protocol/topology/decide.ts";
import { STALE } from "../../src/protocol/topology/decision.ts";
import { type Node, createNode } from "../../src/node.ts";
import { definePlugin } from "../../src/plugin.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { FakeTopology } from "../support/fake-topology.ts";
import { SimNodes } from "../support/sim-nodes.ts";
import { localClient, startLocalNode } from "../support/local-node.ts";

describe("a change of the map", () => {
  const topology = new FakeTopology();
  let node: Node;
  beforeAll(async () => {
    node = await startLocalNode(
      { plugins: { topology: false, raft: false, bus: false, "hash-slot-router": false } },
      { plugins: [topology.plugin] },
    );
  });
  afterAll(() => node.stop());

  const outcomes: readonly (readonly [string, RequestOutcome<readonly string[]>, string])[] = [
    ["cluster delslots 1", { type: "done", index: 2, outcome: ["OK"] }, "OK"],
    ["cluster bumpepoch", { type: "done", index: 2, outcome: ["BUMPED 5"] }, "BUMPED 5"],
    ["cluster bumpepoch", { type: "done", index: 2, outcome: ["STILL 5"] }, "STILL 5"],
    ["cluster addslots 1", { type: "rejected", reason: "ERR Slot 1 is already busy" }, "ERR Slot 1 is already busy"],
    [
      "cluster addslots 1",
      { type: "refused", reason: "no leader is known" },
      "CLUSTERDOWN The change was not made: no leader is known",
    ],
    [
      "cluster addslots 1",
      { type: "unknown", reason: "word was lost" },
      "UNKNOWN The change may or may not have been made: word was lost",
    ],
  ];
  test.each(outcomes)("%s, %j: %s", async (line, outcome, reply) => {
    const client = localClient(node);
    const answered = client.run(line);
    const next = client.run("ping");
    expect(await Promise.race([answered, next, localClient(node).run("echo others-go-on")])).toBe("others-go-on");
    topology.requests.pop()?.settle(outcome);
    expect([await answered, await next]).toEqual([reply, "PONG"]);
    client.close();
  });

  test("that takes all of a node's slots holds what would touch keys, until it is settled", async () => {
    const client = localClient(node);
    const [writer, transaction, other] = [localClient(node), localClient(node), localClient(node)];
    const flushed = client.run("cluster flushslots");
    const written = writer.run("set a 1");
    await transaction.run("multi");
    await transaction.run("set a 2");
    const executed = transaction.run("exec");
    expect(await Promise.race([written, executed, other.run("echo others-go-on")])).toBe("others-go-on");
    expect(await other.run("dbsize")).toBe("0");
    topology.requests.pop()?.settle({ type: "done", index: 2, outcome: ["OK"] });
    expect([await flushed, await written, await executed]).toEqual(["OK", "OK", "[OK]"]);
    expect(await client.run("cluster flushslots")).toBe("ERR DB must be empty to perform CLUSTER FLUSHSLOTS.");
    expect(await client.run("del a")).toBe("1");
    for (const each of [client, writer, transaction, other]) each.close();
  });

  test("names slots in the order in which they were given, in as few ranges as that allows", async () => {
    const client = localClient(node);
    const answered = client.run("cluster delslots 7 8 9 3 1 2 4 5");
    const asked = topology.requests.pop();
    expect(asked?.request).toEqual({
      type: "release-slots",
      slots: [
        { first: 7, last: 9 },
        { first: 3, last: 3 },
        { first: 1, last: 2 },
        { first: 4, last: 5 },
      ],
      decidedOn: { ["5".repeat(40)]: 1 },
    });
    expect(asked?.cause).toBe("CLUSTER DELSLOTS from local:0");
    asked?.settle({ type: "done", index: 2, outcome: ["OK"] });
    expect(await answered).toBe("OK");
    client.close();
  });

  test("decides anew when a shard has changed meanwhile, and gives up when that goes on", async () => {
    const client = localClient(node);
    const stale = { type: "rejected", reason: `${STALE}shard x is at version 3, and this was decided on 2` } as const;
    const answer = async (times: number, last: RequestOutcome<readonly string[]>): Promise<void> => {
      for (let time = 0; time <= times;) {
        const [asked] = topology.requests.splice(0, 1);
        if (asked === undefined) {
          await Bun.sleep(0);
          continue;
        }
        asked.settle(time < times ? stale : last);
        time += 1;
      }
    };
    const second = client.run("cluster addslots 7");
    await answer(1, { type: "done", index: 2, outcome: ["OK"] });
    expect(await second).toBe("OK");
    const never = client.run("cluster addslots 7");
    await answer(9, stale);
    expect(await never).toBe(stale.reason);
    client.close();
  });
});

describe("EXEC with commands whose replies come later", () => {
  const topology = new FakeTopology();
  let node: Node;
  beforeAll(async () => {
    node = await startLocalNode(
      { plugins: { topology: false, raft: false, bus: false, "hash-slot-router": false } },
      { plugins: [topology.plugin] },
    );
  });
  afterAll(() => node.stop());
  const isAsked = async (type: TopologyRequest["type"]): Promise<(typeof topology.requests)[number]> => {
    for (;;) {
      const [asked] = topology.requests.splice(0, 1);
      if (asked !== undefined) {
        expect(asked.request.type).toBe(type);
        return asked;
      }
      await Bun.sleep(0);
    }
  };
  const done = (...outcome: readonly string[]): RequestOutcome<readonly string[]> => ({
    type: "done",
    index: 2,
    outcome,
  });

  test("answers when all are settled, replies in order, errors among them; the client's other commands wait", async () => {
    const client = localClient(node);
    const other = localClient(node);
    for (const line of [
      "multi",
      "set a 1",
      "cluster delslots 1",
      "incr a",
      "cluster addslots 1",
      "cluster bumpepoch",
      "get a",
    ])
      await client.run(line);
    let order = "";
    const exec = client.run("exec").then((reply) => {
      order += "exec ";
      return reply;
    });
    const next = client.run("incr a").then((reply) => {
      order += "next";
      return reply;
    });
    const release = await isAsked("release-slots");
    // The second command of the transaction waits, and so do those after it: other clients see what is between.
    expect(await other.run("get a")).toBe("1");
    release.settle({ type: "rejected", reason: "ERR Slot 1 is already unassigned" });
    const assign = await isAsked("assign-slots");
    expect(await other.run("get a")).toBe("2");
    assign.settle(done("OK"));
    (await isAsked("bump-epoch")).settle(done("BUMPED 3"));
    expect(await exec).toBe("[OK ERR Slot 1 is already unassigned 2 OK BUMPED 3 2]");
    expect(await next).toBe("3");
    expect(order).toBe("exec next");
    client.close();
    other.close();
  });

  test("runs to its end when the client leaves meanwhile", async () => {
    const client = localClient(node);
    const other = localClient(node);
    for (const line of ["multi", "cluster delslots 1", "set left yes"]) await client.run(line);
    const exec = client.run("exec");
    const release = await isAsked("release-slots");
    client.close();
    expect(exec).rejects.toThrow("The connection was closed");
    release.settle(done("OK"));
    while ((await other.run("get left")) === "nil") await Bun.sleep(0);
    expect(await other.run("get left")).toBe("yes");
    other.close();
  });
});

describe("EXEC that gives slots away", () => {
  test("does not touch keys that the node has ceased to own: their commands are refused, each by itself", async () => {
    const node = await startLocalNode();
    const client = localClient(node);
    expect(await client.run("cluster keyslot key")).toBe("12539");
    for (const line of [
      "multi",
      "set key 1",
      "cluster delslots 12539",
      "set key 2",
      "cluster addslots 12539",
      "get key",
      "cluster bumpepoch",
    ])
      await client.run(line);
    expect(await client.run("exec")).toBe("[OK OK CLUSTERDOWN Hash slot not served OK 1 STILL 1]");
    client.close();
    await node.stop();
  });
});

describe("on a node that is alone", () => {
  test("slots and epochs change, and CLUSTER NODES shows it", async () => {
    const node = await startLocalNode();
    const client = localClient(node);
    expect(await client.run("cluster delslotsrange 10 20 30 40")).toBe("OK");
    expect(await client.run("cluster addslots 12 15 13")).toBe("OK");
    expect(await client.run("cluster nodes")).toEndWith(" 1 connected 0-9 12-13 15 21-29 41-16383\n");
    expect(await client.run("cluster bumpepoch")).toBe("STILL 1");
    expect(await client.run("cluster set-config-epoch 7")).toBe("ERR Node config epoch is already non-zero");
    expect(await client.run("set key value")).toBe("OK");
    expect(await client.run("cluster flushslots")).toBe("ERR DB must be empty to perform CLUSTER FLUSHSLOTS.");
    expect(await client.run("del key")).toBe("1");
    expect(await client.run("cluster flushslots")).toBe("OK");
    expect(await client.run("get key")).toBe("CLUSTERDOWN Hash slot not served");
    expect(await client.run(`cluster count-failure-reports ${node.facts.id}`)).toBe("0");
    client.close();
    await node.stop();
  });
});

describe("a subcommand that a plugin adds to another's container", () => {
  const extra = definePlugin({
    name: "extra",
    summary: "Adds CLUSTER GREET.",
    setup: (context) =>
      context.subcommand("cluster", {
        name: "greet",
        arity: 2,
        flags: [],
        group: "cluster",
        summary: "Greets.",
        complexity: "O(1)",
        since: "bunch 0.1.0",
        run: (call) => call.reply.simple("hello"),
      }),
  });

  test("is one of it: in HELP, in COMMAND, in the boot tree under its own plugin", async () => {
    const node = await startLocalNode({}, { plugins: [extra] });
    const client = localClient(node);
    expect(await client.run("cluster greet")).toBe("hello");
    expect(await client.run("cluster help")).toContain(" GREET     Greets. HELP ");
    expect(await client.run("command info cluster|greet")).toContain("cluster|greet 2");
    expect(node.bootTree().find(({ plugin }) => plugin === "extra")?.commands).toEqual(["cluster|greet"]);
    client.close();
    await node.stop();
  });

  test("is not there when nobody has the container", async () => {
    const node = await startLocalNode({ plugins: { "cluster-commands": false } }, { plugins: [extra] });
    const client = localClient(node);
    expect(await client.run("cluster greet")).toStartWith("ERR unknown command 'cluster'");
    client.close();
    await node.stop();
  });

  test("may come before the container", async () => {
    const late = definePlugin({
      name: "late",
      summary: "Adds LATE.",
      setup: (context) =>
        context.command({
          name: "late",
          arity: -2,
          flags: [],
          group: "server",
          summary: "Has subcommands.",
          complexity: "O(1)",
          since: "bunch 0.1.0",
          subcommands: [],
          run: (call) => call.reply.ok(),
        }),
    });
    const early = definePlugin({
      name: "early",
      summary: "Adds LATE GREET.",
      setup: (context) =>
        context.subcommand("late", {
          name: "greet",
          arity: 2,
          flags: [],
          group: "server",
          summary: "Greets.",
          complexity: "O(1)",
          since: "bunch 0.1.0",
          run: (call) => call.reply.simple("hello"),
        }),
    });
    const node = await startLocalNode({}, { plugins: [early, late] });
    const client = localClient(node);
    expect(await client.run("late greet")).toBe("hello");
    client.close();
    await node.stop();
  });

  test("is refused where the name is taken, or the command has no subcommands", async () => {
    const wrong = (container: string, name: string): Promise<Node> =>
      createNode({
        world: createBunWorld({ logLevel: "silent" }),
        plugins: [
          definePlugin({
            name: "wrong",
            summary: "Adds what cannot be.",
            setup: (context) =>
              context.subcommand(container, {
                name,
                arity: 2,
                flags: [],
                group: "server",
                summary: "Is refused.",
                complexity: "O(1)",
                since: "bunch 0.1.0",
                run: (call) => call.reply.ok(),
              }),
          }),
        ],
      });
    expect(wrong("cluster", "nodes")).rejects.toThrow(
      'Cannot add command "cluster|nodes" of plugin "wrong": plugin "cluster-commands" has one of that name',
    );
    expect(wrong("get", "x")).rejects.toThrow(
      'Cannot add command "get|x" of plugin "wrong": "get" of plugin "strings" has no subcommands',
    );
  });
});

describe("CLUSTER SETTING", () => {
  test("tells all settings of the cluster, and one; and changes one, for all nodes", async () => {
    const nodes = new SimNodes([{ name: "a" }]);
    await nodes.up(1);
    const run = (line: string): Promise<string> => nodes.run(0, `CLUSTER SETTING ${line}`.trim());
    expect(await run("min-in-sync")).toBe("1");
    expect(await run("min-in-sync 2")).toBe("OK");
    expect(await run("min-in-sync")).toBe("2");
    expect(nodes.topology(0).map.settings.get("min-in-sync")).toBe("2");
    expect(await run("")).toContain("acks");
    expect(await run("min-in-sync none")).toBe('ERR cluster setting "min-in-sync" wants a whole number from 1 to 99');
    for (const line of ["nothing", "nothing 1"])
      expect(await run(line)).toBe(
        'ERR there is no cluster setting "nothing"; there are min-in-sync, acks, on-loss, replica-migration, partition-policy, auto-rebalance, auto-rebalance-weights, feature-level',
      );
    expect(await run("acks primary now")).toStartWith("ERR unknown subcommand or wrong number of arguments");
    // Every setting that can be changed is told, too.
    for (const name of SETTING_DEFAULTS.keys())
      expect(await run(`${name} ${SETTING_DEFAULTS.get(name) ?? ""}`)).toBe("OK");
  });
});
