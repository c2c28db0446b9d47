/** eviction: each policy takes what it should, and memory stays within its limit. */
import { describe, expect, test } from "bun:test";
import { keyspaceService } from "../../src/contracts/keyspace.ts";
import { ReplyError } from "../../src/codec/resp-reader.ts";
import { type Node, createNode } from "../../src/node.ts";
import { SimRandom } from "../support/sim-random.ts";
import { Simulation } from "../support/sim-world.ts";

const KEYS = 2000;
const VALUE = "x".repeat(200);

/** Runs a node with a policy on virtual time. */
async function withNode(
  policy: string,
  run: (
    node: Node,
    execute: (...parts: readonly string[]) => Promise<unknown>,
    pass: (ms: number) => Promise<void>,
  ) => Promise<void>,
): Promise<void> {
  const simulation = new Simulation(policy);
  const program = async (): Promise<void> => {
    const node = await createNode({
      world: simulation.host("10.0.0.1").world,
      config: { plugins: { resp: false, eviction: { policy, samples: 10 } } },
    });
    await node.start();
    const connection = node.connect();
    const { clock } = node.world;
    await run(
      node,
      (...parts) => connection.execute(...parts),
      (ms) => new Promise((resolve) => void clock.after(ms, resolve)),
    );
    await node.stop();
  };
  simulation.addHost("10.0.0.1");
  await simulation.runFor(1);
  await simulation.settle("the test", program(), 10_000_000);
}

/** Fills, uses half of the keys, then writes more until about half must have gone; tells how many of each half are left. */
async function survivors(
  policy: string,
  use: "once" | "often",
): Promise<{ used: number; unused: number; stable: number }> {
  let result = { used: 0, unused: 0, stable: 0 };
  await withNode(policy, async (node, execute, pass) => {
    const isVolatile = policy.startsWith("volatile");
    for (let index = 0; index < KEYS; index += 1)
      await execute("set", `key:${index}`, VALUE, ...(isVolatile ? ["ex", "100000"] : []));
    for (let index = 0; index < 100; index += 1) await execute("set", `stable:${index}`, VALUE);
    await pass(60_000);
    for (let round = 0; round < (use === "often" ? 30 : 1); round += 1) {
      for (let index = 0; index < KEYS; index += 2) await execute("get", `key:${index}`);
      for (let index = 0; index < 100; index += 1) await execute("get", `stable:${index}`);
    }
    const used = Number(/used_memory:([0-9]+)/.exec(new TextDecoder().decode(await infoOf(execute)))?.[1]);
    await execute("config", "set", "maxmemory", String(Math.floor(used * 0.6)));
    await execute("set", "last", VALUE);
    await pass(5000);
    const count = async (first: number): Promise<number> => {
      let left = 0;
      for (let index = first; index < KEYS; index += 2) left += Number(await execute("exists", `key:${index}`));
      return left;
    };
    let stable = 0;
    for (let index = 0; index < 100; index += 1) stable += Number(await execute("exists", `stable:${index}`));
    result = { used: await count(0), unused: await count(1), stable };
    expect(node.service(keyspaceService)?.usedBytes).toBeLessThanOrEqual(Math.floor(used * 0.6));
  });
  return result;
}

async function infoOf(execute: (...parts: readonly string[]) => Promise<unknown>): Promise<Uint8Array> {
  const info = await execute("info", "memory");
  return new TextEncoder().encode(typeof info === "string" ? info : "");
}

describe("what goes", () => {
  for (const [policy, use] of [
    ["allkeys-lru", "once"],
    ["volatile-lru", "once"],
    ["allkeys-lfu", "often"],
    ["volatile-lfu", "often"],
  ] as const) {
    test(`${policy}: what is used stays, what is not goes`, async () => {
      const { used, unused, stable } = await survivors(policy, use);
      expect(used).toBeGreaterThan(950);
      expect(unused).toBeLessThan(300);
      // Used as well, and under volatile-* without an expiry.
      expect(stable).toBe(100);
    });
  }

  for (const policy of ["allkeys-random", "volatile-random"] as const) {
    test(`${policy}: used or not, about as many go`, async () => {
      const { used, unused, stable } = await survivors(policy, "once");
      expect(Math.abs(used - unused)).toBeLessThan(120);
      if (policy === "volatile-random") expect(stable).toBe(100);
      else expect(stable).toBeLessThan(85);
    });
  }

  test("volatile-ttl: what expires first goes first", () =>
    withNode("volatile-ttl", async (_node, execute, pass) => {
      for (let index = 0; index < KEYS; index += 1)
        await execute("set", `key:${index}`, VALUE, "ex", String(10_000 + index));
      const used = Number(/used_memory:([0-9]+)/.exec(new TextDecoder().decode(await infoOf(execute)))?.[1]);
      await execute("config", "set", "maxmemory", String(Math.floor(used * 0.5)));
      await execute("get", "key:0");
      await pass(5000);
      let early = 0;
      let late = 0;
      for (let index = 0; index < KEYS; index += 1) {
        const isThere = Number(await execute("exists", `key:${index}`));
        if (index < KEYS / 2) early += isThere;
        else late += isThere;
      }
      expect(late).toBeGreaterThan(850);
      expect(early).toBeLessThan(150);
    }));
});

test("keys of a slot that is hidden stay, though they were to go next when it was not", () =>
  withNode("volatile-ttl", async (node, execute) => {
    const keyspace = node.service(keyspaceService);
    if (keyspace === undefined) throw new Error("there is a keyspace");
    for (let index = 0; index < 300; index += 1) {
      await execute("set", `{near}${index}`, VALUE, "ex", String(1000 + index));
      await execute("set", `far:${index}`, VALUE, "ex", "100000");
    }
    const limit = async (bytes: number): Promise<void> => {
      await execute("config", "set", "maxmemory", String(Math.floor(keyspace.usedBytes - bytes)));
      await execute("get", "nothing");
    };
    await limit(5 * VALUE.length);
    const slot = Number(await execute("cluster", "keyslot", "near"));
    const left = keyspace.slotSize(slot);
    expect(left).toBeLessThan(300);
    keyspace.setHidden(slot, true);
    await limit(50 * VALUE.length);
    expect(keyspace.slotSize(slot)).toBe(left);
  }));

test("noeviction refuses what takes memory, and lets reading and removing be", () =>
  withNode("noeviction", async (_node, execute) => {
    for (let index = 0; index < 100; index += 1) await execute("set", `key:${index}`, VALUE);
    expect(await execute("config", "set", "maxmemory", "10kb")).toBe("OK");
    const refused = await execute("set", "more", VALUE);
    expect(refused).toBeInstanceOf(ReplyError);
    expect((refused as ReplyError).message).toBe("OOM command not allowed when used memory > 'maxmemory'.");
    expect(await execute("get", "key:1")).toEqual(new TextEncoder().encode(VALUE));
    expect(await execute("del", "key:1")).toBe(1);
    expect(await execute("config", "set", "maxmemory", "0")).toBe("OK");
    expect(await execute("set", "more", VALUE)).toBe("OK");
  }));

test("memory stays within the limit while ten times as much is written, and every eviction is an effect", () =>
  withNode("allkeys-lru", async (node, execute) => {
    const keyspace = node.service(keyspaceService);
    const random = new SimRandom("sizes");
    let evicted = 0;
    node.hooks.effect.add("test", ({ args }) => {
      if (new TextDecoder().decode(args.copy(0)) === "DEL") evicted += 1;
    });
    const limit = 1024 * 1024;
    await execute("config", "set", "maxmemory", String(limit));
    let written = 0;
    for (let index = 0; written < 10 * limit; index += 1) {
      const value = "x".repeat(random.below(2000));
      written += value.length;
      expect(await execute("set", `key:${index}`, value)).toBe("OK");
      // One command's worth above, at the most: it is made room for before the next.
      expect(keyspace?.usedBytes).toBeLessThan(limit + 8192);
    }
    expect(evicted).toBeGreaterThan(1000);
    const stats = await execute("info", "stats");
    expect(String(stats)).toContain(`evicted_keys:${evicted}`);
  }));
