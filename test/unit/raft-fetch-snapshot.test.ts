/** Members that ask others than their leader where the entries are gone: a snapshot in pieces, from one member or several, and never a wrong one. */
import { describe, expect, test } from "bun:test";
import { snapshotDigest } from "../../src/codec/snapshot-digest.ts";
import { MAX_SNAPSHOT_ASKERS, OutgoingSnapshots } from "../../src/protocol/raft/outgoing-snapshots.ts";
import type { Message, Snapshot } from "../../src/protocol/raft/types.ts";
import { RaftScript, bytesOf, entriesOf, founding, member } from "../support/raft-script.ts";

const FOUR = ["n1", "n2", "n3", "n4"] as const;
const CHUNK_BYTES = 5;
const WORDS = ["alpha", "beta", "gamma"] as const;

type Piece = Extract<Message, { readonly type: "fetch-snapshot" }>;

/** n1 leads and does not reach n4, who is a learner; the others have committed three words, and have cut them off. */
function behind(): RaftScript {
  const script = RaftScript.led(["n1", "n2", "n3"], { trailingEntries: 0, snapshotChunkBytes: CHUNK_BYTES });
  script.add("n4");
  script.step("n1", { type: "change", id: 1, change: { type: "add-learners", members: [member("n4", false)] } });
  script.settle();
  script.tick("n1", 2);
  script.settle();
  script.cut("n1", "n4");
  script.cut("n4", "n1");
  for (const word of WORDS) script.propose("n1", word);
  script.settle();
  script.tick("n1", 2);
  script.settle();
  for (const id of ["n2", "n3"]) script.compact(id);
  return script;
}

/** n4 asks a member as long as that brings something. @returns How often. */
function askOn(script: RaftScript, from: string, most = Number.POSITIVE_INFINITY): number {
  const { fetching } = script.machine("n4");
  let asked = 0;
  for (let before = -1; asked < most && fetching.progress > before; asked += 1) {
    before = fetching.progress;
    script.step("n4", { type: "fetch", from });
    script.settle();
  }
  return asked;
}

const SNAPSHOT: Snapshot = {
  index: 4,
  term: 3,
  configuration: { members: FOUR.map((id) => member(id)) },
  data: bytesOf("one two three"),
};

/** A piece of a snapshot, as it is sent. */
function pieceOf(snapshot: Snapshot, from: number, to: number, fields: Partial<Piece> = {}): Piece {
  return {
    type: "fetch-snapshot",
    term: 4,
    snapshotIndex: snapshot.index,
    snapshotTerm: snapshot.term,
    configuration: from === 0 ? snapshot.configuration : undefined,
    totalBytes: snapshot.data.length,
    digest: snapshotDigest(snapshot),
    offset: from,
    bytes: snapshot.data.slice(from, to),
    ...fields,
  };
}

const WHOLE = SNAPSHOT.data.length;

/** A voter in term 4 that has committed the founding, whose log goes on with entries of these terms. */
function voter(...terms: readonly number[]): RaftScript {
  const script = new RaftScript();
  script.add("n1", { term: 4, votedFor: "n3", snapshot: founding(FOUR), entries: entriesOf(...terms) });
  return script;
}

/** It asks a member, and gets this. @returns The types of what it does. */
function gets(script: RaftScript, from: string, message: Message): readonly string[] {
  script.step("n1", { type: "fetch", from });
  return script.hear("n1", from, message).map(({ type }) => type);
}

/** What a member says that it has of a snapshot, when it asks. */
function partOf(script: RaftScript): unknown {
  const [effect] = script.step("n1", { type: "fetch", from: "n4" });
  return effect?.type === "send" && effect.message.type === "fetch" ? effect.message.part : "it asked nothing";
}

describe("a learner whose leader does not reach it", () => {
  test("gets a snapshot from another member, piece by piece, and then the entries that follow it", () => {
    const script = behind();
    for (const word of ["delta", "epsilon"]) script.propose("n1", word);
    script.settle();
    script.tick("n1", 2);
    script.settle();
    const { snapshot } = script.machine("n2").log;
    const asked = askOn(script, "n2");
    expect(asked).toBe(Math.ceil(snapshot.data.length / CHUNK_BYTES) + 2);
    expect(script.applied("n4")).toEqual([...WORDS, "delta", "epsilon"]);
    expect(script.machine("n4")).toMatchObject({ contradictions: 0, fetching: { snapshots: 1, entries: 2 } });
    expect(script.durable("n4").snapshot).toEqual(snapshot);
    // The leader goes on from there.
    script.heal();
    script.tick("n1", 4);
    script.settle();
    script.propose("n1", "zeta");
    script.settle();
    script.tick("n1", 2);
    script.settle();
    expect(script.applied("n4").at(-1)).toBe("zeta");
    expect(script.machine("n1").leadership?.progress.get("n4")?.state).toBe("replicate");
  });

  test("goes on at another member with the same snapshot when the first one is lost", () => {
    const script = behind();
    askOn(script, "n2", 2);
    script.crash("n2");
    const pieces = Math.ceil(script.machine("n3").log.snapshot.data.length / CHUNK_BYTES);
    // And once more, for what follows.
    expect(askOn(script, "n3")).toBe(pieces - 2 + 1);
    expect(script.applied("n4")).toEqual([...WORDS]);
  });

  test("begins again at another member whose snapshot is another", () => {
    const script = behind();
    askOn(script, "n2", 2);
    script.crash("n2");
    script.propose("n1", "delta");
    script.settle();
    script.tick("n1", 2);
    script.settle();
    script.compact("n3");
    const pieces = Math.ceil(script.machine("n3").log.snapshot.data.length / CHUNK_BYTES);
    expect(askOn(script, "n3")).toBe(pieces + 1);
    expect(script.applied("n4")).toEqual([...WORDS, "delta"]);
  });

  test("is sent one to its end, though its sender makes another one meanwhile", () => {
    const script = behind();
    askOn(script, "n2", 1);
    script.propose("n1", "delta");
    script.settle();
    script.tick("n1", 2);
    script.settle();
    const before = script.machine("n2").log.snapshot;
    script.compact("n2");
    askOn(script, "n2", Math.ceil(before.data.length / CHUNK_BYTES) - 1);
    expect(script.machine("n4").log.snapshot).toEqual(before);
  });

  test("prefers entries, and no longer keeps a part of what it has", () => {
    const script = behind();
    askOn(script, "n2", 1);
    askOn(script, "n1", 1);
    script.heal();
    askOn(script, "n1");
    expect(script.machine("n4").fetching).toMatchObject({ pieces: 1, snapshots: 0, entries: 3 });
    const [asks] = script.step("n4", { type: "fetch", from: "n2" });
    expect(asks).toMatchObject({ message: { index: 6, part: undefined } });
  });
});

describe("whoever is asked", () => {
  /** What n2 answers to a member that lacks all that is cut off. */
  function answerTo(script: RaftScript, to: string): readonly Message[] {
    const fetch: Message = { type: "fetch", term: 1, index: 3, indexTerm: 1, part: undefined };
    return script.hear("n2", to, fetch).flatMap((effect) => (effect.type === "send" ? [effect.message] : []));
  }

  test("sends what it has applied, and nothing of what is not committed", () => {
    const script = behind();
    script.propose("n1", "delta");
    script.deliver(({ to, message }) => to === "n2" && message.type === "append");
    const [piece] = answerTo(script, "n4");
    expect(script.machine("n2").log).toMatchObject({ lastIndex: 7, commitIndex: 6 });
    expect(piece).toMatchObject({ type: "fetch-snapshot", snapshotIndex: 6, offset: 0 });
  });

  test("does not answer strangers, nor while it hears no leader", () => {
    const script = behind();
    script.add("n5");
    expect(answerTo(script, "n5")).toEqual([]);
    script.tick("n2", 10);
    expect(answerTo(script, "n4")).toEqual([]);
  });

  test("says which term it is in when the disk has that", () => {
    const script = behind();
    script.slowDisk("n2");
    script.hear("n2", "n1", { type: "heartbeat", term: 2, commitIndex: 6, round: 1 });
    script.take();
    script.hear("n2", "n4", { type: "fetch", term: 1, index: 3, indexTerm: 1, part: undefined });
    const isSaid = (): boolean => script.inFlight.some(({ message }) => message.type === "fetch-snapshot");
    expect(isSaid()).toBe(false);
    script.promptDisk("n2");
    expect(isSaid()).toBe(true);
  });
});

describe("OutgoingSnapshots", () => {
  const part = { index: SNAPSHOT.index, term: SNAPSHOT.term, digest: snapshotDigest(SNAPSHOT), offset: CHUNK_BYTES };

  test("are sent to a few at once, and to the next when one has all of it, or asks no more", () => {
    const outgoing = new OutgoingSnapshots(CHUNK_BYTES, 3);
    for (let at = 0; at < MAX_SNAPSHOT_ASKERS; at += 1)
      expect(outgoing.next(`n${at}`, SNAPSHOT, undefined, 1)).toBeDefined();
    expect(outgoing.next("late", SNAPSHOT, undefined, 1)).toBeUndefined();
    // Whoever is being sent one goes on.
    expect(outgoing.next("n0", SNAPSHOT, part, 1)?.offset).toBe(CHUNK_BYTES);
    expect(outgoing.next("n0", SNAPSHOT, { ...part, offset: 2 * CHUNK_BYTES }, 1)?.bytes.length).toBe(3);
    expect(outgoing.count).toBe(MAX_SNAPSHOT_ASKERS - 1);
    expect(outgoing.next("late", SNAPSHOT, undefined, 1)).toBeDefined();
    for (let ticks = 0; ticks < 3; ticks += 1) outgoing.tick();
    expect(outgoing.next("late", SNAPSHOT, part, 1)).toBeDefined();
    outgoing.tick();
    expect(outgoing.count).toBe(1);
  });

  test.each([
    ["another index", { index: 5 }],
    ["another term", { term: 4 }],
    ["other bytes", { digest: "0".repeat(64) }],
    ["all of it", { offset: WHOLE }],
  ])("begin anew for who has a part of %s", (_, fields) => {
    const outgoing = new OutgoingSnapshots(CHUNK_BYTES, 3);
    expect(outgoing.next("n1", SNAPSHOT, { ...part, ...fields }, 1)).toMatchObject({
      offset: 0,
      configuration: SNAPSHOT.configuration,
    });
  });
});

describe("whoever asked", () => {
  test("installs what is whole, writes it down, and keeps term, vote and leader", () => {
    const script = voter(2, 2);
    expect(gets(script, "n2", pieceOf(SNAPSHOT, 0, 5))).toEqual([]);
    expect(gets(script, "n3", pieceOf(SNAPSHOT, 5, 10))).toEqual([]);
    expect(gets(script, "n4", pieceOf(SNAPSHOT, 10, WHOLE))).toEqual(["persist", "restore"]);
    expect(script.applied("n1")).toEqual(["one", "two", "three"]);
    expect(script.durable("n1")).toMatchObject({ term: 4, votedFor: "n3", snapshot: SNAPSHOT, entries: [] });
    expect(script.machine("n1")).toMatchObject({ role: "follower", fetching: { snapshots: 1, pieces: 3 } });
    expect(script.machine("n1").configuration).toEqual(SNAPSHOT.configuration);
  });

  test("keeps its log if that has the snapshot's last entry", () => {
    const script = voter(2, 2, 3, 3);
    expect(gets(script, "n2", pieceOf(SNAPSHOT, 0, 5))).toEqual(["apply"]);
    expect(script.terms("n1")).toEqual([2, 2, 3, 3]);
    expect(script.machine("n1").log.commitIndex).toBe(SNAPSHOT.index);
  });

  test("drops a log that the snapshot contradicts", () => {
    const script = voter(2, 2, 2, 2);
    gets(script, "n2", pieceOf(SNAPSHOT, 0, WHOLE));
    expect(script.machine("n1").log).toMatchObject({ commitIndex: 4, lastIndex: 4, lastTerm: 3 });
  });

  test.each([
    ["a byte", { data: bytesOf("one two thre!") }],
    ["the members", { configuration: { members: [member("n1"), member("n4")] } }],
    ["the index", { index: 5 }],
    ["the term", { term: 4 }],
  ])("never installs a snapshot that is not what its digest says: %s", (_, fields) => {
    const script = voter();
    const wrong = { ...SNAPSHOT, ...fields };
    expect(gets(script, "n2", pieceOf(wrong, 0, WHOLE, { digest: snapshotDigest(SNAPSHOT) }))).toEqual([]);
    expect(script.machine("n1")).toMatchObject({ contradictions: 1, fetching: { snapshots: 0, progress: 0 } });
    expect(script.machine("n1").log.commitIndex).toBe(1);
    // And nothing of it is left.
    expect(partOf(script)).toBeUndefined();
  });

  test("does not put pieces of two snapshots together", () => {
    const script = voter();
    const other = { ...SNAPSHOT, data: bytesOf("one and three") };
    gets(script, "n2", pieceOf(SNAPSHOT, 0, 5));
    expect(gets(script, "n3", pieceOf(other, 5, WHOLE))).toEqual([]);
    expect(partOf(script)).toBeUndefined();
    gets(script, "n2", pieceOf(SNAPSHOT, 0, 5));
    gets(script, "n3", pieceOf(other, 0, 5));
    expect(partOf(script)).toEqual({ index: 4, term: 3, digest: snapshotDigest(other), offset: 5 });
    expect(gets(script, "n3", pieceOf(other, 5, WHOLE))).toEqual(["persist", "restore"]);
    expect(script.applied("n1")).toEqual(["one", "and", "three"]);
  });

  test.each([
    ["twice", pieceOf(SNAPSHOT, 0, 5)],
    ["that leaves some out", pieceOf(SNAPSHOT, 6, 10)],
  ])("leaves a piece %s, and asks for the next one", (_, message) => {
    const script = voter();
    gets(script, "n2", pieceOf(SNAPSHOT, 0, 5));
    const { progress } = script.machine("n1").fetching;
    expect(gets(script, "n2", message)).toEqual([]);
    expect(script.machine("n1").fetching.progress).toBe(progress);
    expect(partOf(script)).toMatchObject({ offset: 5 });
  });

  test.each([
    ["from whom it did not ask", "n3", pieceOf(SNAPSHOT, 0, WHOLE)],
    ["of an earlier term", "n2", pieceOf(SNAPSHOT, 0, WHOLE, { term: 3 })],
    ["of what it has committed", "n2", pieceOf({ ...SNAPSHOT, index: 1, term: 0 }, 0, WHOLE)],
  ])("leaves a snapshot %s", (_, from, message) => {
    const script = voter();
    script.step("n1", { type: "fetch", from: "n2" });
    expect(script.hear("n1", from, message)).toEqual([]);
    expect(script.machine("n1")).toMatchObject({ contradictions: 0, fetching: { pieces: 0 } });
  });

  test("counts a snapshot whose term is before that of what it has committed, and leaves it", () => {
    const script = new RaftScript();
    const snapshot = { ...founding(FOUR), index: 3, term: 3 };
    script.add("n1", { term: 4, snapshot });
    expect(gets(script, "n2", pieceOf({ ...SNAPSHOT, term: 2 }, 0, WHOLE))).toEqual([]);
    expect(script.machine("n1").contradictions).toBe(1);
  });

  test("takes one answer for one question", () => {
    const script = voter();
    gets(script, "n2", pieceOf(SNAPSHOT, 0, 5));
    expect(script.hear("n1", "n2", pieceOf(SNAPSHOT, 5, WHOLE))).toEqual([]);
    expect(script.machine("n1").fetching.pieces).toBe(1);
  });

  test("follows a later term: what it then has, the leaders before that term need not have", () => {
    const script = voter();
    gets(script, "n2", pieceOf(SNAPSHOT, 0, WHOLE, { term: 6 }));
    expect(script.machine("n1")).toMatchObject({ term: 6, votedFor: undefined, leader: undefined });
    expect(script.durable("n1")).toMatchObject({ term: 6, snapshot: { index: 4 } });
  });

  test("tells its leader that it has it when the disk does, and comes back without it if that did not", () => {
    const script = voter();
    script.slowDisk("n1");
    gets(script, "n2", pieceOf(SNAPSHOT, 0, WHOLE));
    const heartbeat: Message = {
      type: "append",
      term: 4,
      previousIndex: 4,
      previousTerm: 3,
      commitIndex: 4,
      entries: [],
    };
    script.hear("n1", "n3", heartbeat);
    const isSaid = (): boolean => script.inFlight.some(({ message }) => message.type === "append-response");
    expect(isSaid()).toBe(false);
    script.crash("n1");
    expect(script.restart("n1").log.commitIndex).toBe(1);
    script.promptDisk("n1");
    gets(script, "n2", pieceOf(SNAPSHOT, 0, WHOLE));
    script.hear("n1", "n3", heartbeat);
    expect(isSaid()).toBe(true);
  });

  test("is sent the leader's snapshot beside it, and neither holds the other one up", () => {
    const script = voter();
    const leaders = (offset: number, to: number): Message => {
      const { digest: _, ...piece } = pieceOf(SNAPSHOT, offset, to);
      return { ...piece, type: "snapshot", configuration: SNAPSHOT.configuration };
    };
    script.hear("n1", "n3", leaders(0, 5));
    gets(script, "n2", pieceOf(SNAPSHOT, 0, 5));
    script.hear("n1", "n3", leaders(5, 10));
    gets(script, "n2", pieceOf(SNAPSHOT, 5, 10));
    expect(script.hear("n1", "n3", leaders(10, WHOLE)).map(({ type }) => type)).toEqual(["persist", "restore", "send"]);
    expect(gets(script, "n2", pieceOf(SNAPSHOT, 10, WHOLE))).toEqual([]);
    expect(partOf(script)).toBeUndefined();
  });
});
