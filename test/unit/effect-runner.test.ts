/** What was done elsewhere, and what it may come to. */
import { expect, test } from "bun:test";
import { isOfMissingKeys } from "../../src/replication/effect-runner.ts";

test("an effect may fail for keys that have not come yet, and for nothing else", () => {
  for (const problem of [
    "ERR no such key",
    "ERR value is not an integer or out of range",
    "ERR value is not a valid float",
    "ERR increment or decrement would overflow",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    // Of a long value that comes from another shard, at a replica of the one that takes it.
    "a part of a value that is not there",
  ])
    expect([problem, isOfMissingKeys(problem)]).toEqual([problem, true]);
  for (const problem of [
    "ERR unknown command 'thing', with args beginning with: 'a'",
    "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "ERR syntax error",
    "a part that makes no sense",
    "",
  ])
    expect([problem, isOfMissingKeys(problem)]).toEqual([problem, false]);
});
