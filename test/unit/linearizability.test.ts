/** The checker accepts what one order explains, rejects what none does, and says so when it does not know. */

import { describe, expect, test } from "bun:test";
import { check as checkProperty, integer, property } from "fast-check";
import { History } from "../support/history.ts";
import { checkHistory, checkKey, formatReport, type Operation } from "../support/linearizability.ts";
import {
  registerModel,
  type RegisterInput,
  type RegisterOutput,
  type RegisterState,
} from "../support/register-model.ts";
import { SimRandom } from "../support/sim-random.ts";

type RegisterOperation = Operation<RegisterInput, RegisterOutput>;

/**
 * A history, a line an operation: `c1 1-4 SET x -> OK`; `c1 1-? INCR` has an unknown outcome. Answers: a number, `nil`,
 * `ERR` or a text.
 */
function historyOf(lines: string): RegisterOperation[] {
  return lines
    .trim()
    .split("\n")
    .map((line) => {
      const [what = "", answer] = line.trim().split(" -> ");
      const [client = "", times = "", command = "", value = ""] = what.split(" ");
      const [from, to] = times.split("-");
      const isUnknown = to === "?";
      return {
        client,
        key: "k",
        input: inputOf(command, value),
        output: isUnknown ? undefined : outputOf(command, answer ?? ""),
        invokedAt: Number(from),
        returnedAt: isUnknown ? Infinity : Number(to),
      };
    });
}

function inputOf(command: string, value: string): RegisterInput {
  if (command === "SET" || command === "APPEND" || command === "SETNX") return { command, value };
  if (command === "GET" || command === "DEL" || command === "INCR" || command === "LOST") return { command };
  throw new Error(`no command ${command}`);
}

function outputOf(command: string, answer: string): RegisterOutput {
  if (answer === "nil") return null;
  if (answer === "ERR") return { error: "ERR value is not an integer or out of range" };
  return command === "GET" || command === "SET" ? answer : Number(answer);
}

function verdictOf(operations: readonly RegisterOperation[]): string {
  return checkKey("k", operations, registerModel).verdict;
}

/** Another way to decide, for tiny histories: all orders of all choices of unknown operations. */
function bruteForce(operations: readonly RegisterOperation[]): boolean {
  const known = operations.filter((operation) => operation.returnedAt !== Infinity);
  const place = (state: RegisterState, left: readonly RegisterOperation[], knownLeft: number): boolean => {
    if (knownLeft === 0) return true;
    return left.some((operation, index) => {
      // An operation may come next if no other one that is left ended before it began.
      if (left.some((other) => other.returnedAt < operation.invokedAt)) return false;
      const next = registerModel.step(state, operation.input, operation.output);
      if (next === undefined) return false;
      return place(next, left.toSpliced(index, 1), knownLeft - (operation.returnedAt === Infinity ? 0 : 1));
    });
  };
  return place(registerModel.initial, operations, known.length);
}

const SMALL_INPUTS: readonly RegisterInput[] = [
  { command: "GET" },
  { command: "GET" },
  { command: "GET" },
  { command: "SET", value: "1" },
  { command: "SET", value: "x" },
  { command: "DEL" },
  { command: "INCR" },
  { command: "APPEND", value: "2" },
  { command: "SETNX", value: "5" },
  { command: "LOST" },
];

/** What the model answers. */
function answerOf(state: RegisterState, input: RegisterInput): { output: RegisterOutput; next: RegisterState } {
  const guesses: RegisterOutput[] = [state, "OK", 0, 1, { error: "ERR" }];
  if (input.command === "APPEND") guesses.push((state ?? "").length + input.value.length);
  // As a text, since a number may be too large to be one here.
  if (input.command === "INCR" && /^[0-9]+$/.test(state ?? "0")) guesses.push(String(BigInt(state ?? "0") + 1n));
  for (const output of guesses) {
    const next = registerModel.step(state, input, output);
    if (next !== undefined) return { output, next };
  }
  throw new Error("the model has no answer");
}

interface HistoryOptions {
  readonly clients: number;
  readonly operations: number;
  readonly unknownChance: number;
  readonly inputs: readonly RegisterInput[];
}

/**
 * A history that is linearizable by its making: each operation takes effect at a moment of its own, and its call and
 * answer lie at random around that. Clients do one thing after another, but those whose outcome is unknown: as after a time
 * limit, their effect may come long after the client went on, or never.
 */
function sequentialHistory(random: SimRandom, options: HistoryOptions): RegisterOperation[] {
  const { clients, operations, unknownChance, inputs } = options;
  const planned: { client: string; input: RegisterInput; from: number; effect: number; to: number }[] = [];
  const freeAt = Array.from({ length: clients }, () => 0);
  for (let i = 0; i < operations; i++) {
    const client = random.below(clients);
    const from = (freeAt[client] ?? 0) + random.fraction() * 4;
    const input = random.pick(inputs) ?? { command: "GET" };
    if (random.chance(unknownChance)) {
      const effect = random.chance(0.4) ? Infinity : from + random.fraction() * 40;
      planned.push({ client: `c${client}`, input, from, effect, to: Infinity });
      freeAt[client] = from + 5;
    } else {
      const effect = from + random.fraction() * 5;
      const to = effect + random.fraction() * 5;
      planned.push({ client: `c${client}`, input, from, effect, to });
      freeAt[client] = to + 0.001;
    }
  }
  let state = registerModel.initial;
  const history: RegisterOperation[] = [];
  for (const { client, input, from, effect, to } of planned.toSorted((one, other) => one.effect - other.effect)) {
    const answer = answerOf(state, input);
    if (effect !== Infinity) state = answer.next;
    const output = to === Infinity ? undefined : answer.output;
    history.push({ client, key: "k", input, output, invokedAt: from, returnedAt: to });
  }
  return history;
}

/** The same history, with the answer of one operation changed to another one that this command may give. */
function mutated(random: SimRandom, history: readonly RegisterOperation[]): RegisterOperation[] | undefined {
  const candidates = history.filter((one) => one.output !== undefined && typeof one.output !== "object");
  const victim = random.pick(candidates.filter((one) => ["GET", "INCR", "APPEND", "DEL"].includes(one.input.command)));
  if (victim === undefined) return undefined;
  const { output } = victim;
  let wrong: RegisterOutput = `${typeof output === "string" ? output : ""}0`;
  if (typeof output === "number") wrong = victim.input.command === "DEL" ? 1 - output : output + 1;
  return history.map((one) => (one === victim ? Object.assign({}, one, { output: wrong }) : one));
}

describe("checkKey", () => {
  test.each([
    ["nothing at all", "c1 1-2 GET -> nil"],
    ["one after another", "c1 1-2 SET x -> OK\nc2 3-4 GET -> x\nc1 5-6 DEL -> 1\nc2 7-8 GET -> nil"],
    ["a read that overlaps a write, before it", "c1 1-5 SET x -> OK\nc2 2-3 GET -> nil"],
    ["a read that overlaps a write, after it", "c1 1-5 SET x -> OK\nc2 2-3 GET -> x\nc3 4-6 GET -> x"],
    [
      "two writes that overlap, in the order of their answers",
      "c1 1-4 SET x -> OK\nc2 2-3 SET y -> OK\nc3 5-6 GET -> x",
    ],
    ["two writes that overlap, in the other order", "c1 1-4 SET x -> OK\nc2 2-3 SET y -> OK\nc3 5-6 GET -> y"],
    ["counters that overlap", "c1 1-9 INCR -> 3\nc2 1-9 INCR -> 1\nc3 1-9 INCR -> 2\nc1 10-11 GET -> 3"],
    ["an unknown write that took effect", "c1 1-? SET x\nc2 3-4 GET -> x"],
    ["an unknown write that never took effect", "c1 1-? SET x\nc2 3-4 GET -> nil\nc2 5-6 GET -> nil"],
    ["an unknown write that takes effect late", "c1 1-? SET x\nc2 3-4 SET y -> OK\nc2 5-6 GET -> y\nc2 90-91 GET -> x"],
    ["an unknown INCR between two known ones", "c1 1-? INCR\nc2 3-4 INCR -> 1\nc2 5-6 INCR -> 3"],
    ["SETNX, APPEND and INCR", "c1 1-2 SETNX 1 -> 1\nc1 3-4 SETNX 9 -> 0\nc1 5-6 APPEND 2 -> 2\nc1 7-8 INCR -> 13"],
    ["INCR of what is no number", "c1 1-2 SET x -> OK\nc1 3-4 INCR -> ERR\nc1 5-6 GET -> x"],
    ["data lost in a crash", "c1 1-2 SET x -> OK\nnode 3-6 LOST -> 0\nc1 4-5 GET -> x\nc1 7-8 GET -> nil"],
    ["data that may have been lost, and was not", "c1 1-2 SET x -> OK\nnode 3-? LOST\nc1 7-8 GET -> x"],
  ])("accepts %s", (_name, lines) => {
    expect(bruteForce(historyOf(lines))).toBe(true);
    expect(verdictOf(historyOf(lines))).toBe("linearizable");
  });

  test.each([
    ["a stale read", "c1 1-2 SET x -> OK\nc1 3-4 SET y -> OK\nc2 5-6 GET -> x"],
    ["a value that nobody wrote", "c1 1-2 SET x -> OK\nc2 3-4 GET -> z"],
    ["a read that goes back", "c1 1-9 SET x -> OK\nc2 2-3 GET -> x\nc2 4-5 GET -> nil"],
    ["two readers that disagree", "c1 1-9 SET x -> OK\nc2 2-3 GET -> x\nc3 4-5 GET -> nil"],
    ["a lost update", "c1 1-4 INCR -> 1\nc2 2-3 INCR -> 1"],
    ["an acknowledged write that is lost", "c1 1-2 SET x -> OK\nc2 3-4 GET -> nil"],
    ["a write seen before it was called", "c2 1-2 GET -> x\nc1 3-4 SET x -> OK"],
    ["an unknown write that took effect twice", "c1 1-? INCR\nc2 3-4 GET -> 1\nc2 5-6 GET -> 2"],
    ["an unknown write undone", "c1 1-? SET x\nc2 3-4 GET -> x\nc2 5-6 GET -> nil"],
    ["an unknown write seen before its call", "c2 1-2 GET -> x\nc1 3-? SET x"],
    ["two winners of SETNX", "c1 1-4 SETNX a -> 1\nc2 2-3 SETNX b -> 1"],
    ["data lost before the crash", "c1 1-2 SET x -> OK\nc1 3-4 GET -> nil\nnode 5-6 LOST -> 0"],
    ["data that came back after the crash", "c1 1-2 SET x -> OK\nnode 3-4 LOST -> 0\nc1 5-6 GET -> x"],
    ["INCR that succeeded on a text", "c1 1-2 SET x -> OK\nc1 3-4 INCR -> 1"],
  ])("rejects %s", (_name, lines) => {
    expect(bruteForce(historyOf(lines))).toBe(false);
    expect(verdictOf(historyOf(lines))).toBe("violation");
  });

  test("operations that touch at a moment overlap", () => {
    expect(verdictOf(historyOf("c1 1-2 SET x -> OK\nc2 2-3 GET -> nil"))).toBe("linearizable");
  });

  test("agrees with trying all orders, on tiny histories of all kinds", () => {
    let accepted = 0;
    let rejected = 0;
    const run = property(integer(), (seed) => {
      const random = new SimRandom(seed);
      const history: RegisterOperation[] = [];
      const size = random.between(1, 6);
      for (let i = 0; i < size; i++) {
        const input = random.pick(SMALL_INPUTS) ?? { command: "GET" };
        const invokedAt = random.below(12);
        const isUnknown = random.chance(0.3);
        const answers: RegisterOutput[] = ["OK", 0, 1, 2, null, "1", "x", "12", { error: "ERR" }];
        // Half of the answers fit the command at least.
        const fitting = answers.filter((answer) =>
          [null, "1", "x", "12", "2"].some((state) => registerModel.step(state, input, answer) !== undefined),
        );
        const output = random.pick(random.chance(0.8) && fitting.length > 0 ? fitting : answers) ?? null;
        history.push({
          client: `c${i}`,
          key: "k",
          input,
          output: isUnknown ? undefined : output,
          invokedAt,
          returnedAt: isUnknown ? Infinity : invokedAt + random.below(8),
        });
      }
      const expected = bruteForce(history);
      if (expected) accepted++;
      else rejected++;
      expect(verdictOf(history)).toBe(expected ? "linearizable" : "violation");
    });
    expectHolds(checkProperty(run, { numRuns: 4000 }));
    expect(accepted).toBeGreaterThan(400);
    expect(rejected).toBeGreaterThan(400);
  });

  test("agrees with trying all orders, on tiny histories with one wrong answer", () => {
    let rejected = 0;
    const run = property(integer(), (seed) => {
      const random = new SimRandom(seed);
      const options = { clients: 3, operations: 6, unknownChance: 0.2, inputs: SMALL_INPUTS };
      const history = mutated(random, sequentialHistory(random, options));
      if (history === undefined) return;
      const expected = bruteForce(history);
      if (!expected) rejected++;
      expect(verdictOf(history)).toBe(expected ? "linearizable" : "violation");
    });
    expectHolds(checkProperty(run, { numRuns: 1000 }));
    expect(rejected).toBeGreaterThan(300);
  });

  test("accepts every history that was made from a sequential one, of hundreds of operations", () => {
    const inputs: RegisterInput[] = [{ command: "GET" }, { command: "INCR" }, { command: "DEL" }];
    for (let i = 0; i < 20; i++) inputs.push({ command: "GET" }, { command: "SET", value: `v${i}` });
    const run = property(integer(), (seed) => {
      const random = new SimRandom(seed);
      const options = { clients: random.between(1, 10), operations: 300, unknownChance: 0.05, inputs };
      expect(verdictOf(sequentialHistory(random, options))).toBe("linearizable");
    });
    expectHolds(checkProperty(run, { numRuns: 60 }));
  });

  test("rejects most of them once an answer is changed, and never says undecided", () => {
    const inputs: RegisterInput[] = [{ command: "INCR" }, { command: "DEL" }];
    for (let i = 0; i < 10; i++) inputs.push({ command: "GET" }, { command: "APPEND", value: `${i}` });
    let rejected = 0;
    for (let seed = 0; seed < 60; seed++) {
      const random = new SimRandom(seed);
      const options = { clients: 5, operations: 200, unknownChance: 0.03, inputs };
      const history = mutated(random, sequentialHistory(random, options));
      const verdict = verdictOf(history ?? []);
      expect({ seed, verdict }).not.toEqual({ seed, verdict: "undecided" });
      if (verdict === "violation") rejected++;
    }
    expect(rejected).toBeGreaterThan(50);
  });

  test("many unknown writes cost little, where the answer is yes and where it is no", () => {
    const lines: string[] = [];
    for (let i = 0; i < 60; i++) lines.push(`u${i} ${i + 1}-? SET u${i}`);
    for (let i = 0; i < 100; i++) {
      lines.push(`c1 ${i * 4 + 100}-${i * 4 + 101} SET v${i} -> OK`, `c2 ${i * 4 + 102}-${i * 4 + 103} GET -> v${i}`);
    }
    const fine = checkKey("k", historyOf(lines.join("\n")), registerModel);
    expect(fine.verdict).toBe("linearizable");
    expect(fine.work).toBeLessThan(10_000);
    const wrong = checkKey("k", historyOf([...lines, "c3 900-901 GET -> v5"].join("\n")), registerModel);
    expect(wrong.verdict).toBe("violation");
  });

  test("says undecided, and not that all is well, when the bound on its work is reached", () => {
    const lines: string[] = [];
    for (let i = 0; i < 14; i++) lines.push(`c${i} 1-100 SET v${i} -> OK`);
    lines.push("r 1-100 GET -> nobody wrote this");
    const history = historyOf(lines.join("\n"));
    const verdict = checkKey("k", history, registerModel, 1000);
    expect(verdict).toEqual({ verdict: "undecided", key: "k", work: 1001 });
    const report = checkHistory(history, registerModel, 1000);
    expect(report.verdict).toBe("undecided");
    expect(formatReport(report)).toContain("Key k: undecided after 1001 steps");
  });

  test("shows the shortest part that is wrong, the culprit, the longest order, and what is left", () => {
    const lines = ["c1 1-2 SET x -> OK", "c1 3-4 SET y -> OK", "c2 5-6 GET -> x", "c3 7-? DEL", "c1 8-9 SET z -> OK"];
    const verdict = checkKey("k", historyOf(lines.join("\n")), registerModel);
    if (verdict.verdict !== "violation") throw new Error("a stale read was accepted");
    expect(verdict.culprit).toMatchObject({ client: "c2", invokedAt: 5 });
    expect(verdict.evidence.split("\n")).toEqual([
      "Key k is not linearizable: no order explains this history once c2 has its answer (marked >).",
      "",
      "     client  called  answered  operation",
      '     c1      1       2         SET "x" -> "OK"',
      '     c1      3       4         SET "y" -> "OK"',
      '  >  c2      5       6         GET -> "x"',
      "",
      "The longest order that fits:",
      '  1.  c1  SET "x" -> "OK"  state "x"',
      '  2.  c1  SET "y" -> "OK"  state "y"',
      "",
      'In state "y" these are left, and no order fits them:',
      '  c2  GET -> "x"',
    ]);
  });
});

describe("checkHistory", () => {
  test("checks each key by itself, and reports all that are wrong", () => {
    const good = historyOf("c1 1-2 SET x -> OK\nc2 3-4 GET -> x");
    const bad = historyOf("c1 1-2 SET x -> OK\nc2 3-4 GET -> nil");
    const onKey = (operations: RegisterOperation[], key: string): RegisterOperation[] =>
      operations.map((operation) => Object.assign({}, operation, { key }));
    const report = checkHistory([...onKey(good, "a"), ...onKey(bad, "b"), ...onKey(bad, "c")], registerModel);
    expect(report).toMatchObject({ verdict: "violation", keys: 3, operations: 6 });
    expect(report.failures.map((failure) => failure.key)).toEqual(["b", "c"]);
    expect(formatReport(report)).toStartWith("violation: 6 operations on 3 keys");
    expect(checkHistory(onKey(good, "a"), registerModel).verdict).toBe("linearizable");
    expect(checkHistory([], registerModel)).toMatchObject({ verdict: "linearizable", keys: 0 });
  });
});

describe("History", () => {
  test("orders by what came first, even within one moment of time", () => {
    const history = new History<RegisterInput, RegisterOutput>(() => 5);
    history.invoke("c1", "a", { command: "SET", value: "x" }).returned("OK");
    history.invoke("c1", "a", { command: "GET" }).returned(null);
    expect(checkHistory(history.operations(), registerModel).verdict).toBe("violation");
  });

  test("leaves out what certainly did nothing, and keeps what may have", () => {
    const history = new History<RegisterInput, RegisterOutput>(() => 0);
    history.invoke("c1", "a", { command: "INCR" }).failed();
    history.invoke("c2", "a", { command: "INCR" });
    const operations = history.operations();
    expect(operations).toHaveLength(1);
    expect(operations[0]).toMatchObject({ client: "c2", returnedAt: Infinity, output: undefined });
    expect(history.count).toBe(2);
  });

  test("puts what happens to many keys into the history of each, of those that come later too", () => {
    const history = new History<RegisterInput, RegisterOutput>(() => 0);
    history.invoke("c1", "a1", { command: "SET", value: "x" }).returned("OK");
    history.invoke("c1", "b1", { command: "SET", value: "x" }).returned("OK");
    const lost = history.invokeOnMany("node a", (key) => key.startsWith("a"), { command: "LOST" });
    lost.returned(null);
    history.invoke("c1", "a1", { command: "GET" }).returned(null);
    history.invoke("c1", "a2", { command: "GET" }).returned(null);
    expect(checkHistory(history.operations(), registerModel).verdict).toBe("linearizable");
    expect(history.operations().filter((operation) => operation.input.command === "LOST")).toHaveLength(2);
    history.invoke("c1", "b1", { command: "GET" }).returned(null);
    expect(checkHistory(history.operations(), registerModel).failures.map((failure) => failure.key)).toEqual(["b1"]);
  });

  test("refuses a second end", () => {
    const history = new History<RegisterInput, RegisterOutput>(() => 0);
    const pending = history.invoke("c1", "a", { command: "GET" });
    pending.returned(null);
    expect(() => pending.returned(null)).toThrow("twice");
    expect(() => pending.failed()).toThrow("twice");
  });
});

/** Fails with the seed that fast-check found, so that the run can be repeated. */
function expectHolds(details: { failed: boolean; seed: number; counterexample: unknown; error?: string | null }): void {
  const { failed, seed, counterexample } = details;
  expect({ failed, seed, counterexample: failed ? counterexample : null }).toEqual({
    failed: false,
    seed,
    counterexample: null,
  });
}
