/** With each default plugin off, what remains works: or the loader says why it cannot. */
import { describe, expect, test } from "bun:test";
import { defaultPlugins } from "../../src/default-plugins.ts";
import { createNode } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { runRedirects } from "../simulation/redirect-run.ts";
import { CALM } from "../support/swarm.ts";

/** Those that others cannot do without: turning one off alone is refused, with the sentence that names who needs it. */
const REFUSED: Readonly<Record<string, string>> = {
  bus: 'Cannot load plugin "raft": no loaded plugin provides service "bus" (plugin "bus" does, but it is off: turn "raft" off as well',
  keyspace:
    'Cannot load plugin "strings": no loaded plugin provides service "keyspace" (plugin "keyspace" does, but it is off: turn "strings" off as well',
  topology:
    'Cannot load plugin "hash-slot-router": no loaded plugin provides service "topology" (plugin "topology" does, but it is off: turn "hash-slot-router" off as well',
};
/** Without these no client can come, or nothing can be set: no cluster to speak of. */
const NO_CLUSTER = new Set(["keyspace", "topology", "strings", "keys", "resp", "hash-slot-router"]);

describe("a node", () => {
  for (const { name } of defaultPlugins) {
    test(`without ${name} ${name in REFUSED ? "is refused, with the reason" : "serves what the others bring"}`, async () => {
      const config = { port: 0, plugins: { [name]: false } };
      const world = createBunWorld({ logLevel: "silent" });
      if (name in REFUSED) {
        expect(createNode({ world, config })).rejects.toThrow(REFUSED[name]);
        return;
      }
      const node = await createNode({ world, config });
      await node.start();
      const connection = node.connect();
      if (name !== "connection") expect(await connection.execute("ping")).toBe("PONG");
      if (name !== "strings") {
        expect(await connection.execute("set", "key", "value")).toBe("OK");
        expect(await connection.execute("get", "key")).toEqual(new TextEncoder().encode("value"));
        if (name !== "keys") expect(await connection.execute("del", "key")).toBe(1);
      }
      if (name !== "info") expect(Bun.inspect(await connection.execute("info"))).toContain("redis_version:7.0.15");
      // What the plugin brought is gone, by name.
      const gone = (await createNode({ world, config: { port: 0 } })).bootTree().find(({ plugin }) => plugin === name)
        ?.commands[0];
      if (gone !== undefined)
        expect(Bun.inspect(await connection.execute(gone, "x"))).toContain(`unknown command '${gone}'`);
      await node.stop();
    });
  }

  test("without the router is a single-node store: keys of several slots go together", async () => {
    const node = await createNode({
      world: createBunWorld({ logLevel: "silent" }),
      config: { plugins: { resp: false, "hash-slot-router": false } },
    });
    const connection = node.connect();
    expect(await connection.execute("mset", "a", "1", "b", "2")).toBe("OK");
    expect(Bun.inspect(await connection.execute("info", "cluster"))).toContain("cluster_enabled:0");
    await node.stop();
  });
});

describe("a simulated cluster of three", () => {
  for (const { name } of defaultPlugins.filter((plugin) => !NO_CLUSTER.has(plugin.name))) {
    test(`serves and redirects without ${name}`, async () => {
      const result = await runRedirects(11, { disabled: [name], swarm: CALM, safetyMs: 1000 });
      expect(result.answered).toBeGreaterThan(50);
      expect(result.redirected).toBeGreaterThan(10);
    });
  }
});
