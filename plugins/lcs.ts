/**
 * lcs: `LCS`: the longest common subsequence of two values, or where it lies in them.
 *
 * Promises: replies, errors and limits are those of Redis 7.0. What is found, and what finding it may take, is in `src/codec/lcs.ts`. Talks to the rest
 * through the service `keyspace`.
 */
import { integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import { longestCommonSubsequence } from "../src/codec/lcs.ts";
import { type Keyspace, ValueType, keyspaceService } from "../src/contracts/keyspace.ts";
import { definePlugin } from "../src/plugin.ts";
import { NOT_AN_INTEGER, SYNTAX_ERROR } from "../src/replies.ts";
import { KeyReference } from "../src/store/key-reference.ts";
import { maxValueBytes } from "../src/value-limit.ts";

/** LCS key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN] */
function lcs(call: Call, keyspace: Keyspace, other: KeyReference, maxBytes: number): void {
  const { reply } = call;
  const valueOf = (index: number): Uint8Array | undefined => {
    const record = call.findKey(keyspace, call.keyAt(keyspace, index, other));
    if (record === 0) return new Uint8Array(0);
    if (keyspace.type(record) !== ValueType.string) return undefined;
    const start = keyspace.valueStart(record);
    return keyspace.bytes(record).subarray(start, start + keyspace.valueLength(record));
  };
  const first = valueOf(1);
  const second = valueOf(2);
  if (first === undefined || second === undefined) {
    reply.error("ERR The specified keys must contain string values");
    return;
  }
  let isLength = false;
  let isIndexes = false;
  let isWithLength = false;
  let minLength = 0;
  for (let index = 3; index < call.count; index += 1) {
    if (call.is(index, "IDX")) isIndexes = true;
    else if (call.is(index, "LEN")) isLength = true;
    else if (call.is(index, "WITHMATCHLEN")) isWithLength = true;
    else if (call.is(index, "MINMATCHLEN") && index + 1 < call.count) {
      const length = integerArgument(call, index + 1);
      if (Number.isNaN(length)) {
        reply.error(NOT_AN_INTEGER);
        return;
      }
      minLength = Math.max(0, length);
      index += 1;
    } else {
      reply.error(SYNTAX_ERROR);
      return;
    }
  }
  if (isIndexes && isLength) {
    reply.error("ERR If you want both the length and indexes, please just use IDX.");
    return;
  }
  const result = longestCommonSubsequence(first, second, maxBytes);
  if (result === undefined) {
    reply.error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    return;
  }
  if (isLength) {
    reply.integer(result.length);
    return;
  }
  if (!isIndexes) {
    reply.bulk(result.subsequence, 0, result.subsequence.length);
    return;
  }
  const matches = result.matches.filter((match) => match.firstEnd - match.firstStart + 1 >= minLength);
  reply.map(2);
  reply.bulkText("matches");
  reply.array(matches.length);
  for (const match of matches) {
    reply.array(isWithLength ? 3 : 2);
    reply.array(2);
    reply.integer(match.firstStart);
    reply.integer(match.firstEnd);
    reply.array(2);
    reply.integer(match.secondStart);
    reply.integer(match.secondEnd);
    if (isWithLength) reply.integer(match.firstEnd - match.firstStart + 1);
  }
  reply.bulkText("len");
  reply.integer(result.length);
}

export default definePlugin({
  name: "lcs",
  summary: "LCS: what two values have in common.",
  requires: { keyspace: keyspaceService },
  setup(context) {
    const { keyspace } = context.requires;
    const other = new KeyReference();
    context.command({
      name: "lcs",
      syntax: "key1:key key2:key [LEN] [IDX] [MINMATCHLEN len:integer] [WITHMATCHLEN]",
      arity: -3,
      flags: ["readonly"],
      keys: [{ first: 1, last: 2, step: 1, flags: ["RO", "ACCESS"] }],
      group: "string",
      categories: ["string"],
      summary: "Answers the longest common subsequence of two values.",
      complexity: "O(N*M), N and M being the lengths",
      since: "7.0.0",
      run(call) {
        const maxBytes = maxValueBytes(context, call.client);
        lcs(call, keyspace, other, maxBytes);
      },
    });
  },
});
