/** Where a key is asked for, and what is told of what has no answer: a redirect means that nothing was done, and who does not know says so. */
import { expect, test } from "bun:test";
import { ReplyError, type ReplyValue } from "../../src/codec/resp-reader.ts";
import type { NodeRecord } from "../../src/contracts/topology.ts";
import { Problem } from "../../src/http/problem.ts";
import { type KeyOperation, tagOf } from "../../src/rest/key-operations.ts";
import { type Elsewhere, locationOf, routeKey } from "../../src/rest/key-routes.ts";
import { type Command, type Run, SessionLost } from "../../src/rest/sessions.ts";

const encoder = new TextEncoder();
const key = encoder.encode("k");
const GET: KeyOperation = { type: "get", key };
const PUT: KeyOperation = { type: "put", key, value: encoder.encode("v"), ttl: undefined, condition: { type: "none" } };
const CAS: KeyOperation = {
  type: "put",
  key,
  value: encoder.encode("v"),
  ttl: undefined,
  condition: { type: "tags", tags: ['"x"'] },
};
const DELETE: KeyOperation = { type: "delete", key, condition: { type: "none" } };

/** Nodes that answer as a test says, by their ids; what they were asked. */
class Nodes {
  readonly asked: string[] = [];
  readonly #answers: Readonly<Record<string, (command: Command) => ReplyValue>>;

  constructor(answers: Readonly<Record<string, (command: Command) => ReplyValue>>) {
    this.#answers = answers;
  }

  async with<Result>(
    { id }: { readonly id: string },
    _limitMs: number,
    work: (run: Run) => Promise<Result>,
  ): Promise<Result> {
    const answer = this.#answers[id];
    if (answer === undefined) throw new SessionLost(`node ${id.slice(0, 1)} does not answer`, true);
    return await work((...commands) => {
      this.asked.push(
        `${id.slice(0, 1)}: ${commands.map((command) => command.map((part) => (typeof part === "string" ? part : "~")).join(" ")).join(", ")}`,
      );
      return Promise.resolve(commands.map(answer));
    });
  }
}

function record(letter: string, port: number, httpPort: number): NodeRecord {
  const host = letter === "c" ? "::1" : "127.0.0.1";
  return {
    id: letter.repeat(40),
    name: letter,
    host,
    port,
    busHost: host,
    busPort: port + 10_000,
    httpHost: host,
    httpPort,
    zone: "",
    role: "data",
    start: "",
    incarnation: 1,
  };
}
const [a, b, c] = [record("a", 7001, 8001), record("b", 7002, 8002), record("c", 7003, 8003)];
const topology = { self: a, map: { nodes: [a, b, c] } };
const id = (letter: string): string => letter.repeat(40);
const moved = (address: string) => (): ReplyValue => new ReplyError(`MOVED 7629 ${address}`);
const ok = (command: Command): ReplyValue =>
  command[0] === "SET" || command[0] === "ASKING" ? "OK" : command[0] === "DEL" ? 1 : null;

/** What is told of what is thrown. */
async function problemOf(nodes: Nodes, operation: KeyOperation, isProxied = false): Promise<string> {
  const outcome = await routeKey({ topology, nodes }, operation, isProxied, false).catch((thrown: unknown) => thrown);
  return outcome instanceof Problem ? `${outcome.status} ${outcome.kind}` : Bun.inspect(outcome);
}

test("who asks a node that does not have the key is told who has, and where", async () => {
  for (const [address, letter, place] of [
    ["127.0.0.1:7002", "b", "http://127.0.0.1:8002/kv/k?route=redirect"],
    ["::1:7003", "c", "http://[::1]:8003/kv/k?route=redirect"],
  ] as const) {
    const nodes = new Nodes({ [id("a")]: moved(address) });
    const outcome = (await routeKey({ topology, nodes }, GET, false, false)) as Elsewhere;
    expect([outcome.kind, outcome.slot, outcome.node?.name]).toEqual(["MOVED", 7629, letter]);
    expect(locationOf(outcome, key, "?route=redirect&asking=true")).toBe(place);
    expect(nodes.asked).toEqual(["a: GET ~"]);
  }
  const ask = new Nodes({ [id("a")]: () => new ReplyError("ASK 7629 127.0.0.1:7002") });
  const outcome = (await routeKey({ topology, nodes: ask }, PUT, false, false)) as Elsewhere;
  expect(locationOf(outcome, Uint8Array.of(0, 255), "?ttl_ms=5")).toBe(
    "http://127.0.0.1:8002/kv/%00%FF?ttl_ms=5&asking=true",
  );
  expect(() => locationOf({ ...outcome, node: record("d", 7004, 0) }, key, "")).toThrow("does not listen for HTTP");
  expect(() => locationOf({ ...outcome, node: undefined }, key, "")).toThrow("route=proxy");
});

test("nobody is sent to a node, or asked there, that is known not to serve the slot: the reason is told", async () => {
  const reason = "primary b is down: it has not answered";
  const whyNotServed = (slot: number): string | undefined => (slot === 7629 ? reason : undefined);
  for (const [operation, isProxied] of [
    [GET, false],
    [PUT, false],
    [PUT, true],
  ] as const) {
    const nodes = new Nodes({ [id("a")]: moved("127.0.0.1:7002"), [id("b")]: ok });
    const problem = await routeKey({ topology, nodes, whyNotServed }, operation, isProxied, false).catch(
      (thrown: unknown) => thrown,
    );
    expect(problem).toBeInstanceOf(Problem);
    expect(problem).toMatchObject({
      kind: "cluster-down",
      message: `Nobody serves slot 7629: ${reason}.`,
      more: { retryAfterS: 1, members: { code: "CLUSTERDOWN", slot: 7629 } },
    });
    expect(nodes.asked).toHaveLength(1);
  }
});

test("a node that asks in the caller's stead follows, after ASK with ASKING, and ends in no circle", async () => {
  const asking = new Nodes({ [id("a")]: () => new ReplyError("ASK 7629 127.0.0.1:7002"), [id("b")]: ok });
  expect(await routeKey({ topology, nodes: asking }, PUT, true, false)).toMatchObject({ type: "stored" });
  expect(asking.asked).toEqual(["a: SET ~ ~", "b: ASKING, SET ~ ~"]);
  const circle = new Nodes({ [id("a")]: moved("127.0.0.1:7002"), [id("b")]: moved("127.0.0.1:7001") });
  expect(await problemOf(circle, PUT, true)).toBe("503 unavailable");
  expect(circle.asked).toHaveLength(6);
  expect(await problemOf(new Nodes({ [id("a")]: moved("10.0.0.1:1") }), GET, true)).toBe("503 unavailable");
});

test("of what has no answer a read is not there, a write that was not sent was not done, and of all others nobody knows", async () => {
  const lose = (): ReplyValue => {
    throw new SessionLost("this node has not answered in time", false);
  };
  const lost = new Nodes({ [id("a")]: lose });
  expect(await problemOf(lost, GET)).toBe("503 unavailable");
  for (const operation of [PUT, CAS, DELETE]) {
    expect(await problemOf(lost, operation)).toBe("504 outcome-unknown");
    expect(await problemOf(new Nodes({}), operation)).toBe("503 unavailable");
    // Also where another node was asked.
    expect(await problemOf(new Nodes({ [id("a")]: moved("127.0.0.1:7002"), [id("b")]: lose }), operation, true)).toBe(
      "504 outcome-unknown",
    );
    expect(await problemOf(new Nodes({ [id("a")]: moved("127.0.0.1:7002") }), operation, true)).toBe("503 unavailable");
  }
});

test("errors are told by what they mean", async () => {
  for (const [error, told] of [
    ["CLUSTERDOWN Hash slot not served", "503 cluster-down"],
    ["TRYAGAIN Multiple keys request during rehashing of slot", "503 unavailable"],
    ["NOREPLICAS Not enough good replicas to write.", "503 unavailable"],
    ["OOM command not allowed when used memory > 'maxmemory'.", "503 unavailable"],
    ["WRONGTYPE Operation against a key holding the wrong kind of value", "409 conflict"],
    ["ERR unknown command 'GET', with args beginning with: 'k' ", "503 unavailable"],
    ["ERR string exceeds maximum allowed size (proto-max-bulk-len)", "409 conflict"],
    ["UNKNOWN The change may or may not have been made: no word", "504 outcome-unknown"],
  ] as const)
    expect(await problemOf(new Nodes({ [id("a")]: () => new ReplyError(error) }), PUT), error).toBe(told);
});

test("a condition on a value takes hold of nothing that another one has touched", async () => {
  const seen = encoder.encode("x");
  const answers =
    (exec: ReplyValue) =>
    (command: Command): ReplyValue => {
      switch (command[0]) {
        case "GET":
          return seen;
        case "SET":
          return "QUEUED";
        case "EXEC":
          return exec;
        default:
          return "OK";
      }
    };
  const condition = { type: "tags", tags: [tagOf(seen)] } as const;
  const touched = new Nodes({ [id("a")]: answers(null) });
  expect(await routeKey({ topology, nodes: touched }, { ...CAS, condition }, false, false)).toEqual({ type: "failed" });
  expect(touched.asked).toEqual(["a: WATCH ~, GET ~", "a: MULTI, SET ~ ~, EXEC"]);
  const done = new Nodes({ [id("a")]: answers(["OK"]) });
  expect(await routeKey({ topology, nodes: done }, { ...CAS, condition }, false, false)).toMatchObject({
    type: "stored",
  });
  const other = new Nodes({ [id("a")]: answers(["OK"]) });
  expect(await routeKey({ topology, nodes: other }, CAS, false, false)).toEqual({ type: "failed" });
  expect(other.asked).toEqual(["a: WATCH ~, GET ~", "a: UNWATCH"]);
});
