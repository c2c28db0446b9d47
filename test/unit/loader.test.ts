/** The loader: order by need, refusals with a sentence, limits of time, stop in reverse. */
import { describe, expect, test } from "bun:test";
import { orderPlugins } from "../../src/loader.ts";
import { type Node, createNode } from "../../src/node.ts";
import { type Plugin, definePlugin } from "../../src/plugin.ts";
import { service } from "../../src/service.ts";
import { Simulation } from "../support/sim-world.ts";

const a = service<object>("a");
const b = service<object>("b");

const providerOfA = definePlugin({ name: "gives-a", summary: "", provides: { a }, setup: () => ({ a: {} }) });
const needsA = definePlugin({
  name: "needs-a",
  summary: "",
  requires: { a },
  provides: { b },
  setup: () => ({ b: {} }),
});
const usesB = definePlugin({ name: "uses-b", summary: "", uses: { b }, setup: () => undefined });

describe("orderPlugins", () => {
  test("puts providers before those that require or use them, and keeps the order otherwise", () => {
    const free = definePlugin({ name: "free", summary: "", setup: () => undefined });
    expect(orderPlugins([usesB, free, needsA, providerOfA]).map(({ name }) => name)).toEqual([
      "free",
      "gives-a",
      "needs-a",
      "uses-b",
    ]);
    expect(orderPlugins([usesB, free]).map(({ name }) => name)).toEqual(["uses-b", "free"]);
  });

  test("refuses what nobody provides, and says who would", () => {
    expect(() => orderPlugins([needsA])).toThrow('Cannot load plugin "needs-a": no loaded plugin provides service "a"');
    expect(() => orderPlugins([needsA], [providerOfA])).toThrow(
      '(plugin "gives-a" does, but it is off: turn "needs-a" off as well, or load another provider)',
    );
  });

  test("refuses two providers of one service", () => {
    const another = definePlugin({ name: "gives-a-too", summary: "", provides: { a }, setup: () => ({ a: {} }) });
    expect(() => orderPlugins([providerOfA, another])).toThrow(
      'Cannot load plugin "gives-a-too": plugin "gives-a" provides service "a" too; turn one of them off (--disable gives-a)',
    );
  });

  test("refuses a circle, and shows it", () => {
    const backwards = definePlugin({
      name: "backwards",
      summary: "",
      requires: { b },
      provides: { a },
      setup: () => ({ a: {} }),
    });
    expect(() => orderPlugins([needsA, backwards])).toThrow(
      'they need each other in a circle ("needs-a" needs "backwards" needs "needs-a")',
    );
  });
});

/** Runs a node in a simulated world, so that time limits take no time. */
async function inSimulation(
  plugins: readonly Plugin[],
  use: (node: Node) => Promise<void> | void,
  disabled: readonly string[] = ["resp"],
): Promise<{ error: string; log: string }> {
  let log = "";
  const simulation = new Simulation("loader", { sink: (line) => (log += `${line}\n`) });
  let error = "";
  let isDone = false;
  simulation.addHost("10.0.0.1", async (world) => {
    try {
      const node = await createNode({
        world,
        plugins,
        config: { pluginTimeoutMs: 1000, plugins: Object.fromEntries(disabled.map((name) => [name, false])) },
      });
      await use(node);
    } catch (thrown) {
      error = thrown instanceof Error ? thrown.message : String(thrown);
    }
    isDone = true;
  });
  await simulation.runUntil("the node to be done", () => isDone, 60_000);
  return { error, log };
}

const never = new Promise<void>(() => undefined);

describe("a plugin that fails is named", () => {
  for (const [what, plugin, message] of [
    [
      "throws in setup",
      definePlugin({ name: "bad", summary: "", setup: () => Promise.reject(new Error("no luck")) }),
      'Plugin "bad" failed to set up: no luck',
    ],
    [
      "never finishes setup",
      definePlugin({ name: "bad", summary: "", setup: () => never }),
      'Plugin "bad" did not set up within 1000 ms (setting "pluginTimeoutMs")',
    ],
    [
      "throws at start",
      definePlugin({
        name: "bad",
        summary: "",
        setup: (context) => void context.on(context.hooks.start, () => Promise.reject(new Error("no luck"))),
      }),
      'Plugin "bad" failed in hook "start": no luck',
    ],
    [
      "never starts",
      definePlugin({ name: "bad", summary: "", setup: (context) => void context.on(context.hooks.start, () => never) }),
      'Plugin "bad" did not start within 1000 ms',
    ],
  ] as const) {
    test(`when it ${what}`, async () => {
      const { error } = await inSimulation([plugin], (node) => node.start());
      expect(error).toContain(message);
    });
  }

  test("when it throws at stop, and all others are stopped all the same, the last one first", async () => {
    const stopped: string[] = [];
    const make = (name: string, run: () => Promise<void> | void): Plugin =>
      definePlugin({ name, summary: "", setup: (context) => void context.on(context.hooks.stop, run) });
    const { error, log } = await inSimulation(
      [
        make("first", () => void stopped.push("first")),
        make("bad", () => Promise.reject(new Error("no luck"))),
        make("stuck", () => never),
        make("last", () => void stopped.push("last")),
      ],
      async (node) => {
        await node.start();
        await node.stop();
        expect(node.state).toBe("stopped");
      },
    );
    expect(error).toBe("");
    expect(stopped).toEqual(["last", "first"]);
    const errors = log.split("\n").filter((line) => line.includes("plugin failed to stop"));
    expect(errors.join("\n").replaceAll("\\", "")).toContain('Plugin "bad" failed in hook "stop": no luck');
    expect(errors.join("\n").replaceAll("\\", "")).toContain('Plugin "stuck" did not stop within 1000 ms');
  });

  test("when its command or its hook throws: that command is refused, and the node serves on", async () => {
    const bad = definePlugin({
      name: "bad",
      summary: "",
      setup(context) {
        context.command({
          name: "fail",
          arity: 1,
          flags: [],
          group: "module",
          summary: "Fails.",
          complexity: "O(1)",
          since: "bunch 0.1.0",
          run: () => {
            throw new Error("no luck");
          },
        });
        context.on(context.hooks.commandBefore, (call) => {
          if (call.command.fullName === "echo") throw new Error("not this one");
          return undefined;
        });
      },
    });
    const { error } = await inSimulation([bad], async (node) => {
      await node.start();
      const connection = node.connect();
      expect(Bun.inspect(await connection.execute("fail"))).toContain(
        `ERR command 'fail' of plugin "bad" failed: no luck`,
      );
      expect(Bun.inspect(await connection.execute("echo", "x"))).toContain(
        'Plugin "bad" failed in hook "commandBefore": not this one',
      );
      expect(await connection.execute("ping")).toBe("PONG");
    });
    expect(error).toBe("");
  });
});

test("the boot tree tells what each plugin provides, requires, uses, and where it listens", async () => {
  const { error } = await inSimulation([providerOfA, needsA, usesB], (node) => {
    const tree = node.bootTree();
    expect(tree.find(({ plugin }) => plugin === "needs-a")).toMatchObject({ requires: ["a"], provides: ["b"] });
    expect(tree.find(({ plugin }) => plugin === "uses-b")?.uses).toEqual([{ service: "b", isThere: true }]);
    expect(tree.find(({ plugin }) => plugin === "hash-slot-router")?.hooks).toContainEqual({
      hook: "commandBefore",
      order: "pre",
    });
    expect(tree.find(({ plugin }) => plugin === "strings")?.commands).toContain("get");
  });
  expect(error).toBe("");
});
