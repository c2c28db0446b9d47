/**
 * What a peer can say to a machine: whatever the bytes, it is refused at the door, or left, or believed; never a throw, since a node whose machine throws
 * stops. The same for what it makes a machine keep and send.
 */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { ByteReader } from "../../src/codec/byte-reader.ts";
import { ByteWriter } from "../../src/codec/byte-writer.ts";
import { readMessage, writeMessage } from "../../src/codec/raft-codec.ts";
import { snapshotDigest } from "../../src/codec/snapshot-digest.ts";
import { Raft } from "../../src/protocol/raft/machine.ts";
import { MAX_SNAPSHOT_BYTES, NUMBER_LIMIT, isSane } from "../../src/protocol/raft/sanity.ts";
import {
  type Configuration,
  type DurableState,
  type Effect,
  type Entry,
  type Input,
  type Member,
  type Message,
  RAFT_DEFAULTS,
} from "../../src/protocol/raft/types.ts";
import { SimRandom } from "../support/sim-random.ts";

const SELF = "n1";
/** Members, a learner, members that a forged entry may bring in, and strangers. */
const PEERS = ["n1", "n2", "n3", "n4", "stranger-1", "stranger-2"] as const;
const MAX_ENTRIES = 3;
const MAX_BYTES = 40;

function member(id: string, isVoter: boolean): Member {
  return { id, isVoter, host: id, port: 1, zone: "", isWitness: false };
}

// Numbers around those that a small group has, and those that are too large to count on from.
const number = fc.oneof(
  { weight: 8, arbitrary: fc.nat(14) },
  { weight: 1, arbitrary: fc.constantFrom(NUMBER_LIMIT - 1, NUMBER_LIMIT, Number.MAX_SAFE_INTEGER) },
  { weight: 1, arbitrary: fc.maxSafeNat() },
);
// Mostly the victim's own: any other ends what it is, or is left.
const term = fc.oneof({ weight: 6, arbitrary: fc.constantFrom(3, 4) }, { weight: 1, arbitrary: number });
const bytes = fc.uint8Array({ maxLength: MAX_BYTES });
const configuration: fc.Arbitrary<Configuration> = fc
  .array(fc.tuple(fc.constantFrom(...PEERS), fc.boolean()), { maxLength: 4 })
  .map((all) => ({ members: all.map(([id, isVoter]) => member(id, isVoter)) }));
const entry = (index: fc.Arbitrary<number>): fc.Arbitrary<Entry> =>
  fc.oneof(
    fc.record({ index, term: number, data: bytes, configuration: fc.constant(undefined) }),
    fc.record({ index, term: number, data: fc.constant(undefined), configuration }),
    fc.record({ index, term: number, data: fc.constant(undefined), configuration: fc.constant(undefined) }),
  );
/** Mostly one that a member could send. */
const append: fc.Arbitrary<Extract<Message, { readonly type: "append" }>> = fc
  .tuple(number, number, fc.boolean(), fc.array(entry(number), { maxLength: MAX_ENTRIES }))
  .chain(([previousIndex, previousTerm, isForged, entries]) =>
    fc.record({
      type: fc.constant("append"),
      term,
      previousIndex: fc.constant(previousIndex),
      previousTerm: fc.constant(previousTerm),
      commitIndex: number,
      entries: fc.constant(
        isForged
          ? entries
          : entries.map((each, at) => ({
              ...each,
              index: Math.min(previousIndex + 1 + at, Number.MAX_SAFE_INTEGER),
              term: Math.min(previousTerm + at, Number.MAX_SAFE_INTEGER),
            })),
      ),
    }),
  );

const digest = fc.constantFrom("0", "a").map((digit) => digit.repeat(64));
const part = fc.option(fc.record({ index: number, term: number, digest, offset: number }), { nil: undefined });
/** Whole, and what its digest says; or of something that never becomes whole, or not that. */
const piece: fc.Arbitrary<Extract<Message, { readonly type: "fetch-snapshot" }>> = fc
  .record({
    type: fc.constant("fetch-snapshot"),
    term,
    snapshotIndex: number,
    snapshotTerm: number,
    configuration,
    totalBytes: number,
    digest,
    offset: fc.nat(4),
    bytes,
    isWhole: fc.boolean(),
  })
  .map(({ isWhole, ...each }) => {
    const { snapshotIndex: index, snapshotTerm: at, configuration: members, bytes: data } = each;
    if (!isWhole) return Object.assign(each, { configuration: each.offset === 0 ? members : undefined });
    const right = snapshotDigest({ index, term: at, configuration: members, data });
    return Object.assign(each, { offset: 0, totalBytes: data.length, digest: right });
  });

const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({
    type: fc.constant("vote-request"),
    term,
    isPreVote: fc.boolean(),
    isTransfer: fc.boolean(),
    lastIndex: number,
    lastTerm: number,
  }),
  fc.record({
    type: fc.constant("vote-response"),
    term,
    isPreVote: fc.boolean(),
    isGranted: fc.boolean(),
    leaderHeardTicksAgo: fc.option(
      number.map((ticks) => Math.min(ticks, NUMBER_LIMIT)),
      { nil: undefined },
    ),
  }),
  append,
  append,
  fc.record({
    type: fc.constant("append-response"),
    term,
    isRejected: fc.boolean(),
    index: number,
    hintIndex: number,
    hintTerm: number,
  }),
  fc.record({ type: fc.constant("heartbeat"), term, commitIndex: number, round: number }),
  fc.record({ type: fc.constant("heartbeat-response"), term, round: number }),
  fc.record({
    type: fc.constant("snapshot"),
    term,
    snapshotIndex: number,
    snapshotTerm: number,
    configuration,
    totalBytes: number,
    offset: number,
    bytes,
  }),
  fc.record({ type: fc.constant("snapshot-response"), term, snapshotIndex: number, nextOffset: number }),
  fc.record({ type: fc.constant("timeout-now"), term }),
  fc.record({ type: fc.constant("read-request"), term, id: number }),
  fc.record({ type: fc.constant("read-response"), term, id: number, index: number }),
  fc.record({ type: fc.constant("fetch"), term, index: number, indexTerm: number, part }),
  piece,
  piece,
  append.map(({ term: said, previousIndex, previousTerm, entries }) => ({
    type: "fetch-response" as const,
    term: said,
    previousIndex,
    previousTerm,
    entries,
  })),
);

/** As it gets to a node: by its bytes. */
function heard(sent: Message): Message | undefined {
  const writer = new ByteWriter(1);
  writeMessage(writer, sent);
  return readMessage(new ByteReader(writer.finish()));
}

/** A machine whose disk is prompt. What it sends can be written, and is what a member says. */
class Victim {
  readonly machine: Raft;
  sent = 0;

  constructor(state: DurableState) {
    this.machine = new Raft({ ...RAFT_DEFAULTS, id: SELF, state, random: new SimRandom("victim") });
  }

  step(input: Input): void {
    for (const effect of this.machine.step(input)) this.#carryOut(effect);
  }

  #carryOut(effect: Effect): void {
    if (effect.type === "persist") this.step({ type: "persisted", ticket: effect.ticket });
    if (effect.type !== "send") return;
    this.sent += 1;
    heard(effect.message);
  }
}

/** In each role, in the third term, with a log of a few entries. */
function victim(role: "follower" | "pre-candidate" | "candidate" | "leader" | "learner" | "empty"): Victim {
  const members = [member("n1", role !== "learner"), member("n2", true), member("n3", true), member("n4", false)];
  const snapshot = { index: 1, term: 0, configuration: { members }, data: new Uint8Array(8) };
  const entries = [2, 3, 4].map((index) => ({
    index,
    term: index - 1,
    data: new Uint8Array(4),
    configuration: undefined,
  }));
  const made = new Victim(
    role === "empty"
      ? {
          term: 0,
          votedFor: undefined,
          snapshot: { ...snapshot, index: 0, configuration: { members: [] } },
          entries: [],
        }
      : { term: 3, votedFor: undefined, snapshot, entries },
  );
  if (role === "follower" || role === "learner" || role === "empty") return made;
  made.step({ type: "campaign" });
  const yes = (term: number, isPreVote: boolean): Input => ({
    type: "message",
    from: "n2",
    message: { type: "vote-response", term, isPreVote, isGranted: true, leaderHeardTicksAgo: 5 },
  });
  if (role !== "pre-candidate") made.step(yes(4, true));
  if (role === "leader") made.step(yes(4, false));
  expect(made.machine.role).toBe(role);
  return made;
}

describe("a machine that hears anything", () => {
  for (const role of ["follower", "pre-candidate", "candidate", "leader", "learner", "empty"] as const) {
    test(`does not throw, keeps no more than it was sent, and answers with little: ${role}`, () => {
      const inputs = fc.array(
        fc.oneof(
          { weight: 8, arbitrary: fc.record({ from: fc.constantFrom(...PEERS.slice(1)), message }) },
          { weight: 1, arbitrary: fc.constant("tick" as const) },
          { weight: 1, arbitrary: fc.constant("propose" as const) },
          { weight: 1, arbitrary: fc.constant("compact" as const) },
          { weight: 1, arbitrary: fc.constant("read" as const) },
          { weight: 2, arbitrary: fc.constant("fetch" as const) },
        ),
        { maxLength: 60 },
      );
      fc.assert(
        fc.property(inputs, (all) => {
          const it = victim(role);
          for (const input of all) {
            if (input === "tick") it.step({ type: "tick" });
            else if (input === "propose") it.step({ type: "propose", id: 1, data: new Uint8Array(8) });
            else if (input === "fetch") it.step({ type: "fetch", from: "n2" });
            else if (input === "read") it.step({ type: "read", id: 1 });
            else if (input === "compact")
              it.step({ type: "compact", index: it.machine.log.appliedIndex, data: new Uint8Array(8) });
            else {
              const known = heard(input.message);
              if (known !== undefined) it.step({ type: "message", from: input.from, message: known });
            }
          }
          const { log, leadership } = it.machine;
          expect(log.snapshot.index).toBeLessThanOrEqual(log.appliedIndex);
          expect(log.commitIndex).toBeLessThanOrEqual(log.lastIndex);
          expect(log.bytes).toBeLessThan(10_000 + all.length * MAX_ENTRIES * (MAX_BYTES + 64 + 4 * 160));
          expect(
            [...(leadership?.progress.keys() ?? [])].every((id) => (PEERS as readonly string[]).includes(id)),
          ).toBe(true);
          // An append to each of a few members for each thing that is heard, and a window of entries at most.
          expect(it.sent).toBeLessThan(100 + all.length * 2 * RAFT_DEFAULTS.maxInflight);
        }),
        { numRuns: 300 },
      );
    });
  }
});

describe("isSane", () => {
  const members = [member("a", true), member("b", false)];
  const saneAppend: Extract<Message, { type: "append" }> = {
    type: "append",
    term: 3,
    previousIndex: 4,
    previousTerm: 2,
    commitIndex: 4,
    entries: [
      { index: 5, term: 2, data: new Uint8Array(1), configuration: undefined },
      { index: 6, term: 3, data: undefined, configuration: { members } },
    ],
  };
  const saneSnapshot: Extract<Message, { type: "snapshot" }> = {
    type: "snapshot",
    term: 3,
    snapshotIndex: 9,
    snapshotTerm: 3,
    configuration: { members },
    totalBytes: 10,
    offset: 4,
    bytes: new Uint8Array(6),
  };
  const sanePiece: Extract<Message, { type: "fetch-snapshot" }> = {
    ...saneSnapshot,
    type: "fetch-snapshot",
    configuration: undefined,
    digest: "0123456789abcdef".repeat(4),
  };
  const saneFetch: Extract<Message, { type: "fetch" }> = {
    type: "fetch",
    term: 3,
    index: 9,
    indexTerm: 3,
    part: { index: 12, term: 9, digest: sanePiece.digest, offset: 4 },
  };
  const withEntry = (at: number, change: Partial<Entry>): Message => ({
    ...saneAppend,
    entries: saneAppend.entries.map((each, index) => (index === at ? { ...each, ...change } : each)),
  });

  test("takes what members say", () => {
    for (const each of [
      saneAppend,
      { ...saneAppend, entries: [] },
      // What is committed may lie beyond what this message brings.
      { ...saneAppend, commitIndex: 100 },
      saneSnapshot,
      { ...saneSnapshot, totalBytes: 0, offset: 0, bytes: new Uint8Array(0) },
      { ...saneSnapshot, totalBytes: MAX_SNAPSHOT_BYTES },
      sanePiece,
      { ...sanePiece, configuration: { members }, offset: 0 },
      saneFetch,
      { ...saneFetch, part: undefined },
    ]) {
      expect(isSane(each)).toBe(true);
      expect(heard(each)).toEqual(each);
    }
  });

  for (const [what, insane] of [
    ["entries that do not follow each other", withEntry(1, { index: 7 })],
    ["an entry that does not follow what is before it", withEntry(0, { index: 4 })],
    ["terms that fall from one entry to the next", withEntry(0, { term: 4 })],
    ["an entry of a term before that of the entry before it", withEntry(0, { term: 1 })],
    ["an entry of a term that the sender has not reached", withEntry(1, { term: 4 })],
    ["an entry before in such a term", { ...saneAppend, entries: [], previousTerm: 4 }],
    ["a configuration in which nobody votes", withEntry(1, { configuration: { members: [member("a", false)] } })],
    ["a configuration of nobody", withEntry(1, { configuration: { members: [] } })],
    [
      "a configuration with a member twice",
      withEntry(1, { configuration: { members: [...members, member("b", true)] } }),
    ],
    ["indexes that cannot be counted on from", { ...saneAppend, previousIndex: NUMBER_LIMIT - 2 }],
    ["a commit index that no log has", { ...saneAppend, commitIndex: NUMBER_LIMIT }],
    ["a term after which there may be no other", { type: "timeout-now", term: NUMBER_LIMIT }],
    [
      "a log that ends in a term to come",
      { type: "vote-request", term: 3, isPreVote: false, isTransfer: false, lastIndex: 9, lastTerm: 4 },
    ],
    [
      "a heartbeat of a round that nobody comes to",
      { type: "heartbeat", term: 3, commitIndex: 0, round: NUMBER_LIMIT },
    ],
    ["a question after an entry of a term to come", { ...saneFetch, indexTerm: 4 }],
    ["a question after no index", { ...saneFetch, index: NUMBER_LIMIT }],
    [
      "an answer whose entries do not follow each other",
      { type: "fetch-response", term: 3, previousIndex: 3, previousTerm: 2, entries: saneAppend.entries },
    ],
    [
      "an answer with an entry of a term that the sender has not reached",
      { type: "fetch-response", term: 2, previousIndex: 4, previousTerm: 2, entries: saneAppend.entries },
    ],
    ["a piece that goes beyond its snapshot", { ...saneSnapshot, offset: 5 }],
    ["a later piece that names members", { ...sanePiece, configuration: { members } }],
    ["a first piece that names none", { ...sanePiece, offset: 0 }],
    ["a piece with half a digest", { ...sanePiece, digest: sanePiece.digest.slice(32) }],
    ["a piece that was asked for and is of nothing", { ...sanePiece, bytes: new Uint8Array(0) }],
    ["a part with no digest", { ...saneFetch, part: { index: 12, term: 3, digest: "", offset: 4 } }],
    [
      "a part of no index",
      { ...saneFetch, part: { index: NUMBER_LIMIT, term: 3, digest: sanePiece.digest, offset: 4 } },
    ],
    ["a piece of nothing", { ...saneSnapshot, bytes: new Uint8Array(0) }],
    ["a snapshot that is too large to be gathered", { ...saneSnapshot, totalBytes: MAX_SNAPSHOT_BYTES + 1 }],
    ["a snapshot of a term to come", { ...saneSnapshot, snapshotTerm: 4 }],
    ["a snapshot of a group in which nobody votes", { ...saneSnapshot, configuration: { members: [] } }],
  ] as const satisfies readonly (readonly [string, Message])[]) {
    test(`refuses ${what}`, () => {
      expect(isSane(insane)).toBe(false);
      expect(heard(insane)).toBeUndefined();
    });
  }

  test("refuses fractions and what is below nothing", () => {
    for (const term of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])
      expect(isSane({ type: "timeout-now", term })).toBe(false);
  });
});

describe("a leader", () => {
  test("leaves answers that cannot be true, and counts them", () => {
    const { machine } = victim("leader");
    const hear = (told: Message): readonly Effect[] => machine.step({ type: "message", from: "n2", message: told });
    const { commitIndex, lastIndex } = machine.log;
    const more = lastIndex + 1;
    expect(
      hear({ type: "append-response", term: 4, isRejected: false, index: more, hintIndex: 0, hintTerm: 0 }),
    ).toEqual([]);
    expect(hear({ type: "heartbeat-response", term: 4, round: 1000 })).toEqual([]);
    expect(machine.contradictions).toBe(2);
    expect(machine.log.commitIndex).toBe(commitIndex);
    hear({ type: "append-response", term: 4, isRejected: false, index: lastIndex, hintIndex: 0, hintTerm: 0 });
    expect(machine.log.commitIndex).toBe(lastIndex);
    expect(machine.contradictions).toBe(2);
  });
});
