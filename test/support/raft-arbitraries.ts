/** Raft's words as fast-check draws them: every message, with the extremes that its fields may have. */
import { Buffer } from "node:buffer";
import * as fc from "fast-check";
import type { ConsensusFrame } from "../../src/codec/consensus-codec.ts";
import { MAX_SNAPSHOT_BYTES, NUMBER_LIMIT } from "../../src/protocol/raft/sanity.ts";
import type { Configuration, Entry, Member, Message } from "../../src/protocol/raft/types.ts";

/** Any number that can be written, and those that a member may say. */
const anyNumber = fc.oneof(fc.nat(300), fc.maxSafeNat());
const number = anyNumber.map((value) => value % NUMBER_LIMIT);
/** Any characters, those that decoders like to swallow among them. */
const text = fc.oneof(fc.string({ unit: "binary", maxLength: 20 }), fc.constantFrom("", "\uFEFF", "\uFEFFa", "\u0000"));
const bytes = fc.uint8Array({ maxLength: 100 });

export const member: fc.Arbitrary<Member> = fc.record({
  id: text,
  isVoter: fc.boolean(),
  host: text,
  port: fc.nat(65_535),
  zone: text,
  isWitness: fc.boolean(),
});

export const configuration: fc.Arbitrary<Configuration> = fc.record({ members: fc.array(member, { maxLength: 4 }) });

const content: fc.Arbitrary<Pick<Entry, "data" | "configuration">> = fc.oneof(
  fc.record({ data: bytes, configuration: fc.constant(undefined) }),
  fc.record({ data: fc.constant(undefined), configuration }),
  fc.constant({ data: undefined, configuration: undefined }),
);

/** Members with different ids, of whom somebody votes. */
const saneConfiguration: fc.Arbitrary<Configuration> = fc
  .tuple(member, fc.array(member, { maxLength: 3 }))
  .map(([first, rest]) => ({
    members: [{ ...first, isVoter: true }, ...rest].filter(
      ({ id }, at, all) => all.findIndex((each) => each.id === id) === at,
    ),
  }));

const saneContent: fc.Arbitrary<Pick<Entry, "data" | "configuration">> = content.chain((each) =>
  each.configuration === undefined
    ? fc.constant(each)
    : saneConfiguration.map((members) => ({ data: undefined, configuration: members })),
);

const contentAt = (index: fc.Arbitrary<number>): fc.Arbitrary<Entry> =>
  fc.tuple(index, number, content).map(([at, term, { data, configuration }]) => ({
    index: at,
    term,
    data,
    configuration,
  }));

/** One entry, wherever in a log. */
export const entry: fc.Arbitrary<Entry> = contentAt(anyNumber);

/** Its entries follow each other, in terms that do not fall. */
const append: fc.Arbitrary<Extract<Message, { readonly type: "append" }>> = fc
  .record({
    term: number,
    previousIndex: number.map((index) => Math.max(0, index - 10)),
    previousTerm: number,
    commitIndex: number,
    terms: fc.array(number, { maxLength: 4 }),
    contents: fc.array(saneContent, { minLength: 4, maxLength: 4 }),
  })
  .map(({ term, previousIndex, previousTerm, commitIndex, terms, contents }) => {
    const [first = 0, ...rest] = [previousTerm, ...terms, term].toSorted((a, b) => a - b);
    const entries = rest.slice(0, -1).map((each, at): Entry => ({
      data: contents[at]?.data,
      configuration: contents[at]?.configuration,
      index: previousIndex + 1 + at,
      term: each,
    }));
    return { type: "append", term: rest.at(-1) ?? 0, previousIndex, previousTerm: first, commitIndex, entries };
  });

const digest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("hex"));
const part = fc.option(fc.record({ index: number, term: number, digest, offset: number }), { nil: undefined });

/** A piece that lies in its snapshot. */
const snapshot: fc.Arbitrary<Extract<Message, { readonly type: "snapshot" }>> = fc
  .record({
    terms: fc.tuple(number, number),
    snapshotIndex: number,
    configuration: saneConfiguration,
    offset: fc.oneof(fc.constant(0), fc.nat(300)),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 100 }),
    rest: fc.oneof(fc.constant(0), fc.nat(MAX_SNAPSHOT_BYTES - 400)),
  })
  .map(({ terms, snapshotIndex, configuration: members, offset, bytes: piece, rest }) => ({
    type: "snapshot",
    term: Math.max(...terms),
    snapshotIndex,
    snapshotTerm: Math.min(...terms),
    configuration: members,
    totalBytes: offset + piece.length + rest,
    offset,
    bytes: piece,
  }));

/** Each of Raft's messages, as a member may say it. */
export const messages: { readonly [Type in Message["type"]]: fc.Arbitrary<Message> } = {
  "vote-request": fc
    .record({ terms: fc.tuple(number, number), isPreVote: fc.boolean(), isTransfer: fc.boolean(), lastIndex: number })
    .map(({ terms, isPreVote, isTransfer, lastIndex }) => ({
      type: "vote-request",
      isPreVote,
      isTransfer,
      lastIndex,
      term: Math.max(...terms),
      lastTerm: Math.min(...terms),
    })),
  "vote-response": fc.record({
    type: fc.constant("vote-response"),
    term: number,
    isPreVote: fc.boolean(),
    isGranted: fc.boolean(),
    leaderHeardTicksAgo: fc.option(number, { nil: undefined }),
  }),
  append,
  "append-response": fc.record({
    type: fc.constant("append-response"),
    term: number,
    isRejected: fc.boolean(),
    index: number,
    hintIndex: number,
    hintTerm: number,
  }),
  heartbeat: fc.record({ type: fc.constant("heartbeat"), term: number, commitIndex: number, round: number }),
  "heartbeat-response": fc.record({ type: fc.constant("heartbeat-response"), term: number, round: number }),
  snapshot,
  "snapshot-response": fc.record({
    type: fc.constant("snapshot-response"),
    term: number,
    snapshotIndex: number,
    nextOffset: number,
  }),
  "timeout-now": fc.record({ type: fc.constant("timeout-now"), term: number }),
  "read-request": fc.record({ type: fc.constant("read-request"), term: number, id: number }),
  "read-response": fc.record({ type: fc.constant("read-response"), term: number, id: number, index: number }),
  fetch: fc.record({ terms: fc.tuple(number, number), index: number, part }).map(({ terms, index, part: has }) => ({
    type: "fetch",
    index,
    part: has,
    term: Math.max(...terms),
    indexTerm: Math.min(...terms),
  })),
  // What an append says, but for what it says of the rest of the log.
  "fetch-response": append.map(({ term, previousIndex, previousTerm, entries }) => ({
    type: "fetch-response",
    term,
    previousIndex,
    previousTerm,
    entries,
  })),
  // What a leader's piece says, with the digest; and the members in the first one alone.
  "fetch-snapshot": fc.tuple(snapshot, digest).map(([piece, of]) =>
    Object.assign(piece, {
      type: "fetch-snapshot" as const,
      configuration: piece.offset === 0 ? piece.configuration : undefined,
      digest: of,
    }),
  ),
};

const address = fc.record({ host: text, port: number });
const standing = fc.record({
  peer: text,
  founder: fc.record({ nodeId: text, address, zone: text, isWitness: fc.boolean(), card: text }),
  list: text,
  promise: text,
  group: text,
  founders: fc.array(text, { maxLength: 5 }),
  isEstablished: fc.boolean(),
  known: fc.array(address, { maxLength: 5 }),
});

/** Each of the frames on the consensus channel. */
export const frames: { readonly [Type in ConsensusFrame["type"]]: fc.Arbitrary<ConsensusFrame> } = {
  raft: fc.record({
    type: fc.constant("raft"),
    group: text,
    from: text,
    to: text,
    message: fc.oneof(...Object.values(messages)),
  }),
  who: fc.record({ type: fc.constant("who"), standing }),
  here: fc.record({ type: fc.constant("here"), standing }),
  join: fc.record({ type: fc.constant("join"), group: text, member, card: text, hops: number }),
  leave: fc.record({ type: fc.constant("leave"), group: text, peer: text, hops: number }),
  removed: fc.record({ type: fc.constant("removed"), group: text, peer: text, isBarred: fc.boolean() }),
  request: fc.record({ type: fc.constant("request"), group: text, id: text, isRetry: fc.boolean(), request: bytes }),
  refused: fc.record({ type: fc.constant("refused"), group: text, peer: text, reason: text }),
  verdict: fc.record({ type: fc.constant("verdict"), id: text, isRejected: fc.boolean(), reason: text }),
};
