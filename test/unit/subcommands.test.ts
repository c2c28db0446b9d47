/** Containers of subcommands: each tells what it has, and no more, and says no to others as Redis does. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Command } from "../../src/command-table.ts";
import type { Node } from "../../src/node.ts";
import { showReply, startLocalNode } from "../support/local-node.ts";
import { RawClient } from "../support/raw-client.ts";
import { type RedisServer, needsRedisServer, startRedisServer } from "../support/redis-server.ts";

const REDIS_PORT = 21_756;

/** Every container there is: one that is added must be added here, too. */
const CONTAINERS = [
  "client",
  "cluster",
  "command",
  "config",
  "debug",
  "function",
  "latency",
  "memory",
  "object",
  "script",
  "slowlog",
] as const;
/** In Redis it is no container: it reads its first argument by itself, and says no in other words. */
const NO_CONTAINER_IN_REDIS = new Set<string>(["debug"]);

let node: Node;
let connection: ReturnType<Node["connect"]>;
beforeAll(async () => {
  node = await startLocalNode();
  connection = node.connect();
});
afterAll(() => node.stop());

const run = async (...parts: readonly string[]): Promise<string> => showReply(await connection.execute(...parts));
const subcommandsOf = (container: string): readonly Command[] => [
  ...(node.dispatcher.commands.get(container)?.subcommands ?? []),
];

test("the containers are these", () => {
  const containers = [...node.dispatcher.commands].filter(({ subcommands }) => subcommands !== undefined);
  expect(containers.map(({ fullName }) => fullName).toSorted()).toStrictEqual([...CONTAINERS]);
});

for (const container of CONTAINERS) {
  const upper = container.toUpperCase();

  describe(upper, () => {
    test("HELP lists exactly its subcommands, each with a line of its own", async () => {
      const lines = await connection.execute(container, "help");
      if (!Array.isArray(lines)) throw new Error(`HELP gave ${showReply(lines)}`);
      // Simple strings, as Redis gives them.
      expect(lines.map((line) => typeof line)).toStrictEqual(lines.map(() => "string"));
      const [head, ...rest] = lines.map(showReply);
      expect(head).toBe(`${upper} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:`);
      // The name, and what it takes.
      const names = rest.filter((line) => !line.startsWith(" ")).map((line) => line.split(" ", 1)[0] ?? "");
      expect(names.map((name) => name.toLowerCase()).toSorted()).toStrictEqual(
        subcommandsOf(container)
          .map(({ specification }) => specification.name)
          .toSorted(),
      );
      expect(names.at(-1)).toBe("HELP");
      expect(subcommandsOf(container).length).toBeGreaterThan(1);
      // Name and explanation in turn; the explanation is the table's own.
      expect(rest.map((line) => line.startsWith("    "))).toStrictEqual(rest.map((_, index) => index % 2 === 1));
      for (const { specification } of subcommandsOf(container)) {
        if (specification.name === "help") continue;
        const at = rest.findIndex((line) => line.split(" ", 1)[0] === specification.name.toUpperCase());
        expect(rest[at + 1]).toBe(`    ${specification.summary}`);
      }
    });

    test("HELP takes no arguments", async () => {
      expect(await run(container, "help", "x")).toBe(`ERR wrong number of arguments for '${container}|help' command`);
    });

    test("runs every subcommand that HELP lists, in any case of letters", async () => {
      for (const { specification } of subcommandsOf(container)) {
        const { name } = specification;
        // With one argument too few each says so by its own name: it was found.
        const isOpen = specification.arity === 2 || specification.arity === -2;
        const mixed = name.slice(0, 1).toUpperCase() + name.slice(1);
        if (isOpen) continue;
        expect(await run(upper, mixed)).toBe(`ERR wrong number of arguments for '${container}|${name}' command`);
      }
      expect(await run(upper, "hElP")).toContain("Subcommands are:");
    });

    test("refuses a subcommand that it does not have, and asks for one", async () => {
      expect(await run(container, "nonsense")).toBe(`ERR unknown subcommand 'nonsense'. Try ${upper} HELP.`);
      expect(await run(upper, "NonSense", "a", "b")).toBe(`ERR unknown subcommand 'NonSense'. Try ${upper} HELP.`);
      expect(await run(container, "x".repeat(500))).toBe(
        `ERR unknown subcommand '${"x".repeat(128)}'. Try ${upper} HELP.`,
      );
      if (container !== "command") {
        expect(await run(container)).toBe(`ERR wrong number of arguments for '${container}' command`);
      }
    });
  });
}

describe.skipIf(!needsRedisServer())("beside redis-server", () => {
  let redis: RedisServer;
  let client: RawClient;
  beforeAll(async () => {
    redis = await startRedisServer({ port: REDIS_PORT, cluster: true });
    client = await RawClient.connect(redis.port);
  });
  afterAll(async () => {
    client.close();
    await redis.stop();
  });

  for (const container of CONTAINERS.filter((name) => !NO_CONTAINER_IN_REDIS.has(name))) {
    test(`${container} says no in the same words`, async () => {
      const long = "x".repeat(500);
      const lines = [
        `${container} nonsense`,
        `${container} NonSense a b`,
        `${container} help x`,
        `${container} ${long}`,
      ];
      // COMMAND alone lists all commands.
      if (container !== "command") lines.push(container);
      for (const line of lines) {
        expect(`-${await run(...line.split(" "))}\r\n`).toBe((await client.run(line)) ?? "nothing");
      }
    });

    test(`${container} HELP begins and ends in the same words`, async () => {
      const theirs = [...((await client.run(`${container} help`)) ?? "").matchAll(/^\+(.*)\r$/gm)].map(
        (match) => match[1] ?? "",
      );
      const ours = await connection.execute(container, "help");
      if (!Array.isArray(ours)) throw new Error(`HELP gave ${showReply(ours)}`);
      const lines = ours.map(showReply);
      expect([lines[0], ...lines.slice(-2)]).toStrictEqual([theirs[0] ?? "", ...theirs.slice(-2)]);
    });
  }
});
