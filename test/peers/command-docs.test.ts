/** command-docs: what COMMAND tells of each command, beside redis-server 7.0: arity, flags, keys, categories, arguments. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Command } from "../../src/command-table.ts";
import { ReplyReader, type ReplyValue } from "../../src/codec/resp-reader.ts";
import type { Node } from "../../src/node.ts";
import { startNode } from "../support/bunch-server.ts";
import { compare, connectPair } from "../support/compare.ts";
import { RawClient, replyEnd } from "../support/raw-client.ts";
import { type RedisServer, needsRedisServer, startRedisServer } from "../support/redis-server.ts";

/** Not in 7.0, or not in Redis at all. */
const LATER = new Set([
  "cluster|map",
  "cluster|keysource",
  "client|acks",
  "cluster|abandonjoin",
  "cluster|accept-loss",
  "cluster|myshardid",
  "cluster|setting",
  "cluster|slot-stats",
  "cluster|slotloads",
  "cluster|move",
  "cluster|plan",
  "cluster|health",
  "cluster|migrations",
  "cluster|cancelmigration",
  "cluster|pausemigration",
  "cluster|resumemigration",
  "cluster|migration",
  "cluster|migrateslots",
  "cluster|getslotmigrations",
  "cluster|cancelslotmigrations",
  "client|setinfo",
  "client|no-touch",
]);
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

/** What COMMAND INFO tells beyond the fields of old: tips, and where keys are. Redis adds notes, which are not compared. */
async function infoOf(client: RawClient, name: string): Promise<{ readonly tips: string; readonly keys: string }> {
  const items = itemsOf(itemsOf(await client.run(["command", "info", name]))[0]);
  const keys = (items[8] ?? "").replaceAll(
    /(?:%4|\*8)\r\n\$5\r\nnotes\r\n\$\d+\r\n[^\r]*\r\n/g,
    (found) => `${found.startsWith("%") ? "%3" : "*6"}\r\n`,
  );
  return { tips: items[7] ?? "", keys };
}

/** Calls whose keys are asked for. */
const CALLS = [
  "set k v",
  "set k v get",
  "set k v ex GET",
  "set k get",
  "set get v nx xx",
  "set k v nx GeT xx",
  "set k v gett",
  "set k",
  "setnx k v",
  "bitfield k",
  "bitfield k get u8 0",
  "bitfield k get u8",
  "bitfield k GET u8 0 get u8 1 set u8 0 1",
  "bitfield k get u8 0 set u8 0",
  "bitfield k overflow sat get u8 0",
  "bitfield k get u8 0 overflow",
  "bitfield k overflow incrby",
  "bitfield k incrby u8 0 1",
  "bitfield k nope",
  "bitfield_ro k get u8 0",
  "getex k ex 1",
  "getdel k",
  "mget a b c",
  "mset k v l w",
  "mset k v l",
  "bitop and d a b",
  "rename a b",
  "copy a b replace",
  "lcs a b",
  "restore k 0 x",
  "restore-asking k 0 x",
  "migrate h 1 k 0 1",
  "migrate h 1 k 0 1 COPY REPLACE AUTH keys",
  "migrate h 1 k 0 1 keys a b",
  'migrate h 1 "" 0 1 keys a b',
  'migrate h 1 "" 0 1 copy KEYS a',
  'migrate h 1 "" 0 1 auth2 keys keys KEYS a',
  'migrate h 1 "" 0 1 keys',
  'migrate h 1 "" 0 1',
  "memory usage k",
  "object encoding k",
  "object help",
  "object nope k",
  "config get k",
  "nope k",
  "echo k",
  "ping",
];

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

/** What a list or map of either protocol holds, as it came: one character a byte. */
function itemsOf(reply: string | undefined): readonly string[] {
  const bytes = Buffer.from(reply ?? "", "latin1");
  const items: string[] = [];
  for (let at = bytes.indexOf(0x0a) + 1; at < bytes.length;) {
    const end = replyEnd(bytes, at);
    items.push(bytes.toString("latin1", at, end));
    at = end;
  }
  return items;
}

/** A bulk or a simple string as text. */
function plain(item: string): string {
  return item.replace(/^\$\d+\r\n|^\+/, "").slice(0, -2);
}

/** Fields of COMMAND DOCS that are facts: `summary`, `complexity` and `replaced_by` are in our own words, and there is no `history`. */
const FACTS = new Set(["since", "group", "doc_flags", "deprecated_since", "arguments"]);

/** The facts that COMMAND DOCS tells of one command, as they came; nothing if it tells none. */
function factsOf(reply: string | undefined): Readonly<Record<string, string>> {
  const fields = itemsOf(itemsOf(reply)[1]);
  const facts: Record<string, string> = {};
  for (let at = 0; at < fields.length; at += 2) {
    const name = plain(fields[at] ?? "");
    if (FACTS.has(name)) facts[name] = fields[at + 1] ?? "";
  }
  return facts;
}

describe.skipIf(!needsRedisServer())("COMMAND, beside redis-server", () => {
  let redis: RedisServer;
  let node: Node;
  let port: number;
  beforeAll(async () => {
    redis = await startRedisServer({ port: 21_460 });
    ({ node, port } = await startNode());
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

  /** Names that both servers could know. */
  const sharedNames = (): readonly string[] =>
    namesOf(node.dispatcher.commands).filter((name) => !LATER.has(name) && !name.startsWith("debug|"));

  test.each(["2", "3"])(
    "RESP%s: arguments, keys, versions and what is discouraged are Redis', to the byte",
    async (protocol) => {
      const pair = await connectPair(redis.port, port);
      for (const client of [pair.redis, pair.bunch]) await client.run(["hello", protocol]);
      for (const name of sharedNames()) {
        const [expected, actual] = await Promise.all([
          pair.redis.run(["command", "docs", name]),
          pair.bunch.run(["command", "docs", name]),
        ]);
        const facts = factsOf(expected);
        expect(Object.keys(facts).length, name).toBeGreaterThanOrEqual(2);
        expect({ name, ...factsOf(actual) }).toEqual({ name, ...facts });
        const [expectedInfo, actualInfo] = await Promise.all([infoOf(pair.redis, name), infoOf(pair.bunch, name)]);
        expect({ name, ...actualInfo }).toEqual({ name, ...expectedInfo });
      }
      pair.redis.close();
      pair.bunch.close();
    },
  );

  test.each(["2", "3"])("RESP%s: keys and what is done to them depend on the arguments", async (protocol) => {
    const pair = await connectPair(redis.port, port);
    for (const client of [pair.redis, pair.bunch]) await client.run(["hello", protocol]);
    await compare(
      pair,
      CALLS.map((line) => `command getkeysandflags ${line}`),
    );
    await compare(
      pair,
      CALLS.map((line) => `command getkeys ${line}`),
    );
    pair.redis.close();
    pair.bunch.close();
  });

  test.each(["2", "3"])("RESP%s: unknown names are nil to INFO and nothing to DOCS", async (protocol) => {
    const pair = await connectPair(redis.port, port);
    for (const client of [pair.redis, pair.bunch]) await client.run(["hello", protocol]);
    await compare(pair, [
      "command info nope GET|x object|encoding|x |get get| nope",
      "command info nope GET OBJECT|Encoding nope",
      "command docs nope get|x object|encoding|x |get",
      'command docs ""',
      'command info ""',
      "command docs nope",
    ]);
    pair.redis.close();
    pair.bunch.close();
  });

  test("LIST names commands and subcommands, and filters them as Redis does", async () => {
    const pair = await connectPair(redis.port, port);
    const shared = new Set(sharedNames());
    const listOn = async (client: RawClient, filter: string): Promise<readonly string[]> => {
      const names = itemsOf(await client.run(`command list ${filter}`)).map(plain);
      return names.filter((name) => shared.has(name)).toSorted();
    };
    expect(await listOn(pair.bunch, "")).toEqual([...shared].toSorted());
    for (const filter of [
      "",
      "filterby aclcat string",
      "filterby ACLCAT Keyspace",
      "filterby aclcat dangerous",
      "filterby aclcat admin",
      "filterby aclcat @string",
      "filterby aclcat nope",
      "filterby pattern *",
      "filterby pattern [G]ET*",
      "filterby pattern *|get",
      "filterby pattern GET",
      "filterby module nope",
    ])
      expect({ filter, names: await listOn(pair.bunch, filter) }).toEqual({
        filter,
        names: await listOn(pair.redis, filter),
      });
    await compare(pair, [
      "command list filterby",
      "command list filterby pattern",
      "command list filterby nope x",
      "command list nope pattern x",
      "command list filterby pattern a b",
      "command list filterby module nope",
      "command list filterby aclcat nope",
      "command list filterby pattern nope",
    ]);
    pair.redis.close();
    pair.bunch.close();
  });

  test("every command documents itself", async () => {
    const docs = await node.connect().execute("command", "docs");
    expect(docs).toBeInstanceOf(Map);
    expect((docs as ReadonlyMap<string, unknown>).size).toBe(node.dispatcher.commands.size);
  });
});
