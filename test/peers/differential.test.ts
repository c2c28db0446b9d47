/**
 * Random commands of every kind beside redis-server, no slots involved: the same replies to the byte, on RESP2 and RESP3.
 *
 * The seeds are fixed, so that a change is what makes it fail; `BUNCH_TEST_SEED` adds one more. `BUNCH_TEST_SEED=7 bun test test/peers/differential.test.ts`
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Node } from "../../src/node.ts";
import { startNode } from "../support/bunch-server.ts";
import { MAX_BYTES, type Step } from "../support/command-generator.ts";
import { Differential, drawSteps } from "../support/differential.ts";
import { RawClient } from "../support/raw-client.ts";
import { type RedisServer, needsRedisServer, startRedisServer } from "../support/redis-server.ts";

const PORT = 21_650;
/** Commands of a list. */
const COMMANDS = 300;
const SEEDS = Array.from({ length: 40 }, (_, index) => index + 1);
const given = process.env["BUNCH_TEST_SEED"];
if (given !== undefined) SEEDS.push(Number(given));

/** What needs servers that remove nothing by themselves, or strings at the limit. */
const LISTS: Readonly<Record<string, readonly string[]>> = {
  "SCAN removes what it finds expired, of the keys that match": [
    "set a 1 exat 1",
    "set b 1 exat 1",
    "set c 1",
    "dbsize",
    "scan 0 count 1000 match a",
    "dbsize",
    "scan 0 count 1000 type list",
    "dbsize",
  ],
  "a value that a field has made longer than the limit can be restored": [
    `bitfield a set u64 ${MAX_BYTES * 8 - 1} 1`,
    `bitfield a set i64 ${MAX_BYTES * 8 - 1} 1`,
    "strlen a",
    "dump a",
    "restore b 0 <dump>",
    "strlen b",
  ],
};

function stepOf(line: string): Step {
  return { connection: 0, parts: line.split(" ").map((part) => (part === "<dump>" ? {} : part)), as: "exact" };
}

describe.skipIf(!needsRedisServer())("random commands, beside redis-server", () => {
  let redis: RedisServer;
  let node: Node;
  let differential: Differential;

  beforeAll(async () => {
    redis = await startRedisServer({
      port: PORT,
      args: ["--databases", "1", "--proto-max-bulk-len", String(MAX_BYTES), "--enable-debug-command", "local"],
    });
    const started = await startNode({
      plugins: { "hash-slot-router": false, resp: { maxBulkBytes: String(MAX_BYTES) } },
    });
    node = started.node;
    differential = await Differential.open(redis.port, started.port);
    // DBSIZE counts expired keys until something finds them: nothing but commands may.
    node.parameters.get("active-expire")?.set?.("no");
    const client = await RawClient.connect(redis.port);
    expect(await client.run("debug set-active-expire 0")).toBe("+OK\r\n");
    client.close();
  });

  afterAll(async () => {
    await redis.stop();
    await node.stop();
  });

  for (const protocol of [2, 3] as const) {
    test(`have the same replies (RESP${protocol})`, async () => {
      for (const seed of SEEDS) expect((await differential.search(seed, COMMANDS, protocol)) ?? "").toBe("");
    });
  }

  for (const [name, lines] of Object.entries(LISTS)) {
    test(name, async () => {
      expect((await differential.report(lines.map(stepOf), 2)) ?? "").toBe("");
    });
  }

  test("a difference is reported with nothing but what makes it", async () => {
    const steps = drawSteps(1, 100);
    // What is known to differ: redis-server has more commands.
    const report = await differential.report([...steps.slice(0, 60), stepOf("command count"), ...steps.slice(60)], 2);
    expect(report?.split("\n").slice(0, 3)).toEqual([
      "The replies differ on RESP2, on connections a and b:",
      'a> "command" "count"',
      expect.stringContaining("redis-server: "),
    ]);
  });
});
