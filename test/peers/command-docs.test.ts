/** command-docs: what COMMAND INFO says of each command, beside redis-server 7.0: arity, flags, keys, categories. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Command } from "../../src/command-table.ts";
import { type Node, createNode } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import { ReplyReader, type ReplyValue } from "../../src/codec/resp-reader.ts";
import { RawClient } from "../support/raw-client.ts";
import { type RedisServer, needsRedisServer, startRedisServer } from "../support/redis-server.ts";

/** Not in 7.0. */
const LATER = new Set(["cluster|myshardid", "cluster|slot-stats", "client|setinfo", "client|no-touch"]);
/** Flags that say how Redis runs a command, and mean nothing here. */
const IGNORED_FLAGS = new Set([
  "noscript",
  "no_async_loading",
  "loading",
  "stale",
  "skip_monitor",
  "allow_busy",
  "movablekeys",
  // Redis blanks passwords out of its slow log instead.
  "skip_slowlog",
]);

function textOf(value: ReplyValue | undefined): string {
  return value instanceof Uint8Array
    ? new TextDecoder().decode(value)
    : JSON.stringify(value ?? null).replaceAll('"', "");
}

function listOf(value: ReplyValue | undefined): readonly ReplyValue[] {
  return Array.isArray(value) ? (value as readonly ReplyValue[]) : [];
}

/** What is compared of a command. */
function essence(info: readonly ReplyValue[]) {
  return {
    name: textOf(info[0]),
    arity: info[1],
    flags: listOf(info[2])
      .map(textOf)
      .filter((flag) => !IGNORED_FLAGS.has(flag))
      .toSorted(),
    keys: [info[3], info[4], info[5]],
    categories: listOf(info[6]).map(textOf).toSorted(),
  };
}

describe.skipIf(!needsRedisServer())("COMMAND INFO, beside redis-server", () => {
  let redis: RedisServer;
  let node: Node;
  beforeAll(async () => {
    redis = await startRedisServer({ port: 21_460 });
    node = await createNode({ world: createBunWorld({ logLevel: "silent" }), config: { plugins: { resp: false } } });
  });
  afterAll(async () => {
    await redis.stop();
    await node.stop();
  });

  const namesOf = (commands: Iterable<Command>): readonly string[] => {
    const names: string[] = [];
    for (const command of commands) names.push(command.fullName, ...namesOf(command.subcommands ?? []));
    return names;
  };

  test("arity, flags, keys and categories are Redis'", async () => {
    const client = await RawClient.connect(redis.port);
    const local = node.connect();
    await local.execute("hello", "2");
    const differences: string[] = [];
    for (const name of namesOf(node.dispatcher.commands)) {
      // To Redis DEBUG is one command.
      if (LATER.has(name) || name.startsWith("debug|")) continue;
      const reader = new ReplyReader();
      reader.feed(Buffer.from((await client.run(["command", "info", name])) ?? "", "latin1"));
      const expected = listOf(listOf(reader.next())[0]);
      const actual = listOf(listOf(await local.execute("command", "info", name))[0]);
      if (expected.length === 0) differences.push(`${name}: redis-server has none`);
      else if (JSON.stringify(essence(actual)) !== JSON.stringify(essence(expected)))
        differences.push(`${name}: ${JSON.stringify(essence(actual))} is ${JSON.stringify(essence(expected))}`);
    }
    client.close();
    expect(differences).toEqual([]);
  });

  test("every command documents itself", async () => {
    const docs = await node.connect().execute("command", "docs");
    expect(docs).toBeInstanceOf(Map);
    expect((docs as ReadonlyMap<string, unknown>).size).toBe(node.dispatcher.commands.size);
  });
});
