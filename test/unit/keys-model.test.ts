/** Keys as the checker of histories sees them: transactions are one step, what has expired is gone for good. */
import { describe, expect, test } from "bun:test";
import { type KeyCommand, type KeyOutput, type KeysInput, keysModel } from "../support/keys-model.ts";
import { type Operation, checkHistory } from "../support/linearizability.ts";

type KeysOperation = Operation<KeysInput, readonly KeyOutput[]>;

let moment = 0;
/** An operation after all before it. @param outputs `undefined`: unknown. */
const did = (input: KeysInput, outputs?: readonly KeyOutput[]): KeysOperation => {
  moment += 2;
  const returnedAt = outputs === undefined ? Infinity : moment + 1;
  return { client: "c", key: "{t}", input, output: outputs, invokedAt: moment, returnedAt };
};
const run = (...commands: readonly KeyCommand[]): KeysInput => ({ commands });
const verdictOf = (...operations: readonly KeysOperation[]): string => checkHistory(operations, keysModel).verdict;
const get = (key: string): KeyCommand => ({ name: "GET", key });
const set = (key: string, value: string): KeyCommand => ({ name: "SET", key, value });

describe("keys of one tag", () => {
  test("are written together by a transaction, or not at all", () => {
    const written = did(run(set("1", "x"), set("2", "y")));
    expect(verdictOf(written, did(run(get("1"), get("2")), ["x", "y"]))).toBe("linearizable");
    expect(verdictOf(written, did(run(get("1"), get("2")), [null, null]))).toBe("linearizable");
    expect(verdictOf(written, did(run(get("1"), get("2")), ["x", null]))).toBe("violation");
  });

  test("do what Redis' commands do", () => {
    const all = [
      did(run({ name: "SETNX", key: "1", value: "5" }), ["OK"]),
      did(run({ name: "SETNX", key: "1", value: "6" }), [null]),
      did(run({ name: "INCR", key: "1" }), [6]),
      did(run({ name: "APPEND", key: "1", value: "+" }), [2]),
      did(run({ name: "INCR", key: "1" }), [{ error: "ERR value is not an integer or out of range" }]),
      did(run({ name: "DEL", key: "1" }), [1]),
      did(run({ name: "PEXPIRE", key: "1", expiry: "@1" }), [0]),
    ];
    expect(verdictOf(...all)).toBe("linearizable");
    expect(verdictOf(...all, did(run({ name: "DEL", key: "1" }), [1]))).toBe("violation");
    expect(verdictOf(...all, did(run(get("1")), [{ error: "ERR something else" }]))).toBe("violation");
  });

  test("take each other's names with all that they have, and go all at once", () => {
    const rename: KeyCommand = { name: "RENAME", key: "1", to: "2" };
    const before = [
      did(run(rename), [{ error: "ERR no such key" }]),
      did(run({ name: "SETPX", key: "1", value: "x", expiry: "@1" }), ["OK"]),
      did(run(set("2", "y")), ["OK"]),
    ];
    const expires: KeysOperation = { ...did({ expiry: "@1" }), invokedAt: 0 };
    const renamed = [...before, did(run(rename), ["OK"])];
    expect(verdictOf(...renamed, did(run(get("1"), get("2")), [null, "x"]))).toBe("linearizable");
    expect(verdictOf(...renamed, did(run(get("1"), get("2")), ["x", "y"]))).toBe("violation");
    expect(verdictOf(...renamed, did(run(get("2")), [null]))).toBe("violation");
    expect(verdictOf(...renamed, expires, did(run(get("2")), [null]))).toBe("linearizable");
    const flushed = [...renamed, did({ flush: true }, [])];
    expect(verdictOf(...flushed, did(run(get("2")), [null]))).toBe("linearizable");
    expect(verdictOf(...flushed, did(run(get("2")), ["x"]))).toBe("violation");
  });

  test("vanish when they expire, and stay away", () => {
    const given = did(run({ name: "SETPX", key: "1", value: "x", expiry: "@1" }), ["OK"]);
    const expires: KeysOperation = {
      ...given,
      input: { expiry: "@1" },
      output: undefined,
      returnedAt: Infinity,
    };
    const seen = did(run(get("1")), ["x"]);
    const gone = did(run(get("1")), [null]);
    expect(verdictOf(given, expires, seen, gone)).toBe("linearizable");
    const seenAgain = did(run(get("1")), ["x"]);
    expect(verdictOf(given, expires, gone, seenAgain)).toBe("violation");
    // Without an expiry nothing vanishes, nor with one that the key has no more.
    expect(verdictOf(given, gone)).toBe("violation");
  });

  test("keep what has no expiry any more", () => {
    const given = did(run({ name: "SETPX", key: "1", value: "x", expiry: "@1" }), ["OK"]);
    const expires: KeysOperation = {
      ...given,
      input: { expiry: "@1" },
      output: undefined,
      returnedAt: Infinity,
    };
    const kept = did(run({ name: "PERSIST", key: "1" }), [1]);
    const gone = did(run(get("1")), [null]);
    expect(verdictOf(given, expires, kept, gone)).toBe("violation");
  });
});
