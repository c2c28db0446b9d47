/**
 * Commands on keys, their expiry and their dumps, beside redis-server: random sequences over few keys and nasty arguments, the same replies to the byte.
 * What is known to differ by right is compared as what it means: lists of keys have no order, and time passes between the two servers.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Node } from "../../src/node.ts";
import { startNode } from "../support/bunch-server.ts";
import { type Pair, connectPair } from "../support/compare.ts";
import { type CommandLine, partsOf } from "../support/raw-client.ts";
import { type RedisServer, needsRedisServer, startRedisServer } from "../support/redis-server.ts";
import { type TestRandom, makeRandom } from "../support/test-random.ts";

const PORT = 21_451;
const COMMANDS = 6000;
/** What the clocks of both servers may be apart in an answer, a slow machine included. In the unit of the answer: seconds, or milliseconds. */
const TOLERANCE = { s: 3, ms: 3000 } as const;
/** The end of time: 2^53 ms here, 2^63 ms there. Answers beyond it, by centuries less, say the same: never. */
const END_OF_TIME = { s: 9e12, ms: 9e15 } as const;

const KEYS: readonly (string | Uint8Array)[] = [
  "{t}a",
  "{t}b",
  "{t}c",
  "{t}",
  Uint8Array.of(0, 255, 123, 116, 125, 13, 10),
];
const VALUES: readonly (string | Uint8Array)[] = [
  "",
  "0",
  "-7",
  "007",
  "3.5",
  "hello",
  "9223372036854775807",
  "9223372036854775808",
  "x".repeat(44),
  "x".repeat(45),
  "ab".repeat(2000),
  Uint8Array.from({ length: 256 }, (_, byte) => byte),
];
/** For where a whole number is due. */
const NUMBERS = [
  "",
  "abc",
  " 1",
  "+1",
  "01",
  "1.5",
  "-0",
  "0",
  "-1",
  "100",
  "5000000",
  "2147483648",
  "-2147483649",
  "9223372036854775",
  "9223372036854776",
  "-9223372036854776",
  "9223372036854775807",
  "-9223372036854775808",
  "9223372036854775808",
  "99999999999999999999",
];
/** Moments long from now, in seconds: for conditions, which a millisecond between the servers must not decide. */
const MOMENTS = ["4102444800", "4102444801", "5000000000", "1", "0", "-1"];
/** For RESTORE: long from now, past, or no time. */
const RELATIVE_MS = ["100000000", "-1", "", "abc", "9223372036854775808", "-9223372036854775808"];
const ABSOLUTE_MS = ["4102444800000", "1", "1000", "-1", "1.5"];
const CONDITIONS = ["nx", "xx", "gt", "lt", "NX", "foo", ""];
const PATTERNS = ["*", "{t}*", "{t}?", "{t}[ab]", "[^{]*", "nope*", "", "\\*", "[", "*[a-b", "{t}\\a"];
const CURSORS = [
  "0",
  "00",
  "",
  "+0",
  "-0",
  "+",
  "-",
  "abc",
  "0x",
  " 0",
  "0 ",
  "99999999999999999999",
  "18446744073709551616",
  "1.5",
];

/** How the two answers to a command are compared. */
type Comparison = "exact" | "unordered" | keyof typeof TOLERANCE;

interface Drawn {
  readonly line: CommandLine;
  readonly as: Comparison;
}

/** @param payloads What DUMP has answered so far. */
function draw(random: TestRandom, payloads: readonly Uint8Array[]): Drawn {
  const key = () => random.pick(KEYS);
  const value = () => random.pick(VALUES);
  const number = () => random.pick(NUMBERS);
  const some = (words: readonly string[]): readonly string[] =>
    Array.from({ length: random.below(3) }, () => random.pick(words)).filter((word) => word !== "");
  const payload = (): Uint8Array => {
    const sound = payloads.length === 0 ? new Uint8Array(12) : random.pick(payloads);
    if (random.below(5) > 0) return sound;
    const damaged = sound.slice(0, random.below(sound.length + 1));
    if (damaged.length > 0) damaged[random.below(damaged.length)] = random.below(256);
    return damaged;
  };
  const options = (replace: string): readonly string[] => {
    const chosen = random.below(2) === 0 ? [replace] : [];
    if (random.below(3) === 0) chosen.push(random.pick(["idletime", "freq", "foo", "IDLETIME"]));
    if (random.below(3) === 0) chosen.push(random.pick(["0", "-1", "255", "256", "abc", "9223372036854775808"]));
    if (random.below(8) === 0) chosen.push("freq", "7");
    return chosen;
  };
  const exact = (...line: readonly (string | Uint8Array)[]): Drawn => ({ line, as: "exact" });
  const all: readonly (() => Drawn)[] = [
    () => exact("set", key(), value()),
    () => exact("set", key(), value(), "ex", "10000"),
    () => exact("append", key(), value()),
    () => exact("setrange", key(), "1", value()),
    () => exact("incr", key()),
    () => exact("getset", key(), value()),
    () => exact("get", key()),
    () => exact("del", key(), key()),
    () => exact("unlink", key(), key(), key()),
    () => exact("exists", key(), key()),
    () => exact("touch", key(), key()),
    () => exact("type", key()),
    () => exact("dbsize"),
    () => ({ line: ["keys", random.pick(PATTERNS)], as: "unordered" }),
    () => ({ line: ["scan", "0", "count", "10000", "match", random.pick(PATTERNS)], as: "unordered" }),
    () => ({
      line: ["scan", "0", "type", random.pick(["string", "STRING", "list", "nope", ""]), "count", "99999"],
      as: "unordered",
    }),
    () => ({ line: ["scan", random.pick(CURSORS), "count", "10000"], as: "unordered" }),
    () => ({ line: ["scan", "0", ...some(["match", "count", "type", "*", "abc", "10000"])], as: "unordered" }),
    () => exact("rename", key(), key()),
    () => exact("renamenx", key(), key()),
    () => exact("copy", key(), key(), ...some(["replace", "REPLACE", "foo", "db"])),
    () => exact("copy", key(), key(), "db", number(), ...some(["replace"])),
    () => exact("rename", key(), "{u}a"),
    () => exact("object", "encoding", key()),
    () => exact("object", "freq", key()),
    () => exact("expire", key(), number(), ...some(["nx", "xx", "foo"])),
    () => exact("pexpire", key(), number(), ...some(["nx", "xx", "foo"])),
    () => exact("expireat", key(), random.pick(MOMENTS), ...some(CONDITIONS)),
    () => exact("pexpireat", key(), `${random.pick(MOMENTS)}000`, ...some(CONDITIONS)),
    () => exact("expireat", key(), number(), ...some(["nx", "xx", "foo"])),
    () => exact("pexpireat", key(), number(), ...some(["nx", "xx", "foo"])),
    () => exact("persist", key()),
    () => ({ line: ["ttl", key()], as: "s" }),
    () => ({ line: ["pttl", key()], as: "ms" }),
    () => ({ line: ["expiretime", key()], as: "s" }),
    () => ({ line: ["pexpiretime", key()], as: "ms" }),
    () => exact("dump", key()),
    () => exact("restore", key(), "0", payload(), ...options("replace")),
    () => exact("restore", key(), "0", payload(), ...options("REPLACE")),
    () => exact("restore", key(), random.pick(RELATIVE_MS), payload(), ...options("replace")),
    () => exact("restore", key(), random.pick(ABSOLUTE_MS), payload(), "absttl", ...options("replace")),
    () => exact("flushall", ...some(["sync", "async", "foo"])),
  ];
  // Everything is gone now and then only.
  return present(all[random.below(random.below(200) === 0 ? all.length : all.length - 1)])();
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("a value is there");
  return value;
}

function isSame(expected: string | undefined, actual: string | undefined, as: Comparison): boolean {
  if (expected === actual) return expected !== undefined;
  if (expected === undefined || actual === undefined) return false;
  if (as === "unordered") return sorted(expected) === sorted(actual);
  if (as === "exact" || !expected.startsWith(":") || !actual.startsWith(":")) return false;
  const [one, another] = [expected, actual].map((reply) => Math.min(Number(reply.slice(1)), END_OF_TIME[as]));
  if (one === undefined || another === undefined) return false;
  // -1 and -2 are no times.
  return one >= 0 && another >= 0 && Math.abs(one - another) <= TOLERANCE[as];
}

/** A reply's lines in a fixed order: as good as the reply, for lists of keys that are told apart by their lines. */
function sorted(reply: string): string {
  return reply.split("\r\n").toSorted().join("\r\n");
}

function show(line: CommandLine): string {
  return partsOf(line)
    .map((part) => JSON.stringify(typeof part === "string" ? part : Buffer.from(part).toString("latin1")).slice(0, 50))
    .join(" ");
}

describe.skipIf(!needsRedisServer())("keys, beside redis-server", () => {
  let redis: RedisServer;
  let node: Node;
  let pair: Pair;

  beforeAll(async () => {
    redis = await startRedisServer({ port: PORT, cluster: true });
    const started = await startNode();
    node = started.node;
    pair = await connectPair(redis.port, started.port);
    await pair.redis.run("cluster addslotsrange 0 16383");
    while (!(await pair.redis.run("cluster info"))?.includes("cluster_state:ok")) await Bun.sleep(20);
  });

  afterAll(async () => {
    pair.redis.close();
    pair.bunch.close();
    await redis.stop();
    await node.stop();
  });

  for (const protocol of [2, 3] as const) {
    test(`${COMMANDS} random commands have the same replies (RESP${protocol})`, async () => {
      const random = makeRandom(`keys ${protocol}`);
      for (const client of [pair.redis, pair.bunch]) {
        await client.run("flushall");
        await client.run(`hello ${protocol}`);
      }
      const told: string[] = [];
      const payloads: Uint8Array[] = [];
      for (let step = 0; step < COMMANDS; step += 1) {
        const { line, as } = draw(random, payloads);
        const [expected, actual] = await Promise.all([pair.redis.run(line), pair.bunch.run(line)]);
        told.push(`${show(line)} -> ${JSON.stringify(expected)?.slice(0, 200)}`);
        if (isSame(expected, actual, as)) {
          if (line[0] === "dump" && actual?.startsWith("$") === true && !actual.startsWith("$-")) {
            payloads.push(Buffer.from(actual.slice(actual.indexOf("\n") + 1, -2), "latin1"));
          }
          continue;
        }
        expect(JSON.stringify(actual)?.slice(0, 200), `${told.slice(-8).join("\n")}\n${random.repeat}`).toBe(
          JSON.stringify(expected)?.slice(0, 200),
        );
        throw new Error(`The replies differ after their first bytes: ${show(line)}, ${random.repeat}`);
      }
    });
  }
});
