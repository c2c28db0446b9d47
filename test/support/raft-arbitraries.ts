/** Raft's words as fast-check draws them: every message, with the extremes that its fields may have. */
import * as fc from "fast-check";
import type { ConsensusFrame } from "../../src/codec/consensus-codec.ts";
import type { Configuration, Entry, Member, Message } from "../../src/protocol/raft/types.ts";

const number = fc.oneof(fc.nat(300), fc.maxSafeNat());
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

const contentAt = (index: fc.Arbitrary<number>): fc.Arbitrary<Entry> =>
  fc.tuple(index, number, content).map(([at, term, { data, configuration }]) => ({
    index: at,
    term,
    data,
    configuration,
  }));

/** One entry, wherever in a log. */
export const entry: fc.Arbitrary<Entry> = contentAt(number);

/** Its entries follow each other: only such an append is read. */
const append: fc.Arbitrary<Message> = fc.tuple(fc.nat({ max: 2 ** 50 }), fc.nat(4)).chain(([previousIndex, count]) =>
  fc.record({
    type: fc.constant("append"),
    term: number,
    previousIndex: fc.constant(previousIndex),
    previousTerm: number,
    commitIndex: number,
    entries: fc.tuple(...Array.from({ length: count }, (_, at) => contentAt(fc.constant(previousIndex + 1 + at)))),
  }),
);

/** Each of Raft's messages. */
export const messages: { readonly [Type in Message["type"]]: fc.Arbitrary<Message> } = {
  "vote-request": fc.record({
    type: fc.constant("vote-request"),
    term: number,
    isPreVote: fc.boolean(),
    isTransfer: fc.boolean(),
    lastIndex: number,
    lastTerm: number,
  }),
  "vote-response": fc.record({
    type: fc.constant("vote-response"),
    term: number,
    isPreVote: fc.boolean(),
    isGranted: fc.boolean(),
    leaderHeardTicksAgo: number,
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
  snapshot: fc.record({
    type: fc.constant("snapshot"),
    term: number,
    snapshotIndex: number,
    snapshotTerm: number,
    configuration,
    totalBytes: number,
    offset: number,
    bytes,
  }),
  "snapshot-response": fc.record({
    type: fc.constant("snapshot-response"),
    term: number,
    snapshotIndex: number,
    nextOffset: number,
  }),
  "timeout-now": fc.record({ type: fc.constant("timeout-now"), term: number }),
  "read-request": fc.record({ type: fc.constant("read-request"), term: number, id: number }),
  "read-response": fc.record({ type: fc.constant("read-response"), term: number, id: number, index: number }),
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
