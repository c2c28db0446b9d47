/**
 * The rules of the Raft paper (extended version) and of Ongaro's dissertation, one test each, named by where the rule stands: "paper 5.4.1",
 * "dissertation 3.10". The founding of a group is index 1, so its first entry has index 2.
 */
import { describe, expect, test } from "bun:test";
import { Fault, present } from "../../src/assert.ts";
import type { Effect, Message } from "../../src/protocol/raft/types.ts";
import { RaftScript, bytesOf, entriesOf, founding, member } from "../support/raft-script.ts";

const THREE = ["n1", "n2", "n3"];
const FIVE = ["n1", "n2", "n3", "n4", "n5"];

type MessageOf<Type extends Message["type"]> = Extract<Message, { readonly type: Type }>;

function isOf<Type extends Message["type"]>(message: Message, type: Type): message is MessageOf<Type> {
  return message.type === type;
}

/** The messages of one type that were sent, with whom to. */
function sent<Type extends Message["type"]>(
  effects: readonly Effect[],
  type: Type,
): readonly (MessageOf<Type> & { to: string })[] {
  return effects.flatMap((effect) =>
    effect.type === "send" && isOf(effect.message, type) ? [{ ...effect.message, to: effect.to }] : [],
  );
}

function only<T>(values: readonly T[]): T {
  expect(values).toHaveLength(1);
  return present(values[0], "there is one");
}

/** What was applied, by index. */
function applied(effects: readonly Effect[]): readonly number[] {
  return effects.flatMap((effect) => (effect.type === "apply" ? effect.entries.map((entry) => entry.index) : []));
}

function refusals(effects: readonly Effect[]): readonly string[] {
  return effects.flatMap((effect) => (effect.type === "refused" ? [effect.reason] : []));
}

/** One member of a group of three, n1 if nothing is said, whose log after the founding has entries of these terms. */
function withLog(terms: readonly number[], term = Math.max(0, ...terms), voters = THREE): RaftScript {
  const script = new RaftScript();
  script.add("n1", { term, snapshot: founding(voters), entries: entriesOf(...terms) });
  return script;
}

function append(fields: Partial<MessageOf<"append">> & { readonly term: number }): Message {
  return { type: "append", previousIndex: 1, previousTerm: 0, commitIndex: 1, entries: [], ...fields };
}

function voteRequest(fields: Partial<MessageOf<"vote-request">> & { readonly term: number }): Message {
  return { type: "vote-request", isPreVote: false, isTransfer: false, lastIndex: 1, lastTerm: 0, ...fields };
}

function vote(term: number, isGranted = true, isPreVote = false): Message {
  return { type: "vote-response", term, isPreVote, isGranted, leaderHeardTicksAgo: 100 };
}

function accepted(term: number, index: number): Message {
  return { type: "append-response", term, isRejected: false, index, hintIndex: 0, hintTerm: 0 };
}

function heartbeat(term: number, commitIndex = 0): Message {
  return { type: "heartbeat", term, commitIndex, round: 1 };
}

/** n1 of a group stands for election in the term after its own; the others are the test's. */
function standing(script: RaftScript): readonly Effect[] {
  script.tick("n1", 10);
  const term = script.machine("n1").term + 1;
  const voters = script.machine("n1").voters.length;
  return Array.from({ length: Math.floor(voters / 2) }, (_, at) =>
    script.hear("n1", `n${at + 2}`, vote(term, true, true)),
  ).flat();
}

/** n1 of a group is elected in the term after its own. */
function leading(script: RaftScript): readonly Effect[] {
  standing(script);
  const { term, voters } = script.machine("n1");
  const effects = Array.from({ length: Math.floor(voters.length / 2) }, (_, at) =>
    script.hear("n1", `n${at + 2}`, vote(term)),
  ).flat();
  expect(script.machine("n1").role).toBe("leader");
  return effects;
}

describe("terms", () => {
  test("paper 5.1: a leader that hears of a higher term is a follower in it", () => {
    const script = withLog([]);
    leading(script);
    script.hear("n1", "n2", { type: "heartbeat-response", term: 7, round: 0 });
    expect(script.machine("n1")).toMatchObject({ role: "follower", term: 7, leader: undefined });
  });

  test("paper 5.1: so is a candidate", () => {
    const script = withLog([]);
    standing(script);
    script.hear("n1", "n2", vote(7, false));
    expect(script.machine("n1")).toMatchObject({ role: "follower", term: 7 });
  });

  test("paper figure 2, AppendEntries 1: what a leader of an older term sends is refused, with the term", () => {
    const script = withLog([1], 5);
    const effects = script.hear("n1", "n2", append({ term: 4, entries: entriesOf(4) }));
    expect(only(sent(effects, "heartbeat-response"))).toMatchObject({ to: "n2", term: 5 });
    expect(script.terms("n1")).toEqual([1]);
    expect(script.machine("n1").leader).toBeUndefined();
  });

  test("paper figure 2, RequestVote 1: a candidate of an older term is refused, with the term", () => {
    const script = withLog([], 5);
    const effects = script.hear("n1", "n2", voteRequest({ term: 4 }));
    expect(only(sent(effects, "vote-response"))).toMatchObject({ isGranted: false, term: 5 });
  });

  test("paper 5.1: answers to what was asked in an older term mean nothing", () => {
    const script = withLog([], 3);
    standing(script);
    script.hear("n1", "n2", vote(3));
    script.hear("n1", "n3", vote(3));
    expect(script.machine("n1")).toMatchObject({ role: "candidate", term: 4 });
  });

  test("paper figure 2, persistent state: a term is remembered after a crash", () => {
    const script = withLog([]);
    script.hear("n1", "n2", heartbeat(7));
    script.crash("n1");
    expect(script.restart("n1").term).toBe(7);
  });
});

describe("elections", () => {
  test("paper 5.2: a member begins as a follower", () => {
    expect(withLog([1], 1).machine("n1").role).toBe("follower");
  });

  test("paper 5.2: it stays one as long as it hears a leader", () => {
    const script = withLog([]);
    for (let round = 0; round < 10; round += 1) {
      script.tick("n1", 9);
      expect(script.machine("n1").role).toBe("follower");
      script.hear("n1", "n2", round % 2 === 0 ? heartbeat(1) : append({ term: 1 }));
    }
    script.tick("n1", 10);
    expect(script.machine("n1").role).toBe("pre-candidate");
  });

  test("paper figure 2, followers: giving a vote puts off the own election, refusing one does not", () => {
    const giving = withLog([], 1);
    giving.tick("n1", 9);
    giving.hear("n1", "n2", voteRequest({ term: 1 }));
    giving.tick("n1", 9);
    expect(giving.machine("n1").role).toBe("follower");
    const refusing = withLog([1], 1);
    refusing.tick("n1", 9);
    refusing.hear("n1", "n2", voteRequest({ term: 1 }));
    refusing.tick("n1");
    expect(refusing.machine("n1").role).toBe("pre-candidate");
  });

  test("paper 5.2: the election timeout is drawn anew for each election, from the least to twice as much", () => {
    const script = withLog([]);
    script.draw("n1", 0, 10, 3);
    const waits: number[] = [];
    for (let election = 0; election < 4; election += 1) {
      let ticks = 1;
      while (sent(script.tick("n1"), "vote-request").length === 0) ticks += 1;
      waits.push(ticks);
    }
    expect(waits).toEqual([10, 10, 20, 13]);
  });

  test("paper 5.2: a candidate raises its term, votes for itself, and asks all others", () => {
    const script = withLog([2, 2], 4);
    const effects = standing(script);
    expect(script.machine("n1")).toMatchObject({ role: "candidate", term: 5, votedFor: "n1" });
    expect(script.durable("n1")).toMatchObject({ term: 5, votedFor: "n1" });
    const requests = sent(effects, "vote-request");
    expect(requests.map(({ to }) => to)).toEqual(["n2", "n3"]);
    expect(requests[0]).toMatchObject({ term: 5, isPreVote: false, lastIndex: 3, lastTerm: 2 });
  });

  test("paper 5.2: a candidate with the votes of a majority leads, with fewer it does not", () => {
    const script = withLog([], 0, FIVE);
    standing(script);
    script.hear("n1", "n2", vote(1));
    expect(script.machine("n1").role).toBe("candidate");
    script.hear("n1", "n2", vote(1));
    expect(script.machine("n1").role).toBe("candidate");
    script.hear("n1", "n4", vote(1));
    expect(script.machine("n1")).toMatchObject({ role: "leader", leader: "n1" });
  });

  test("paper figure 2, persistent state: a candidate's own vote counts once it is durable", () => {
    const script = withLog([]);
    script.slowDisk("n1");
    script.hear("n1", "n3", append({ term: 1, entries: entriesOf(1) }));
    standing(script);
    script.hear("n1", "n2", vote(2));
    expect(script.machine("n1").role).toBe("candidate");
    // The write of before says nothing of the vote.
    script.persist("n1");
    expect(script.machine("n1").role).toBe("candidate");
    script.persist("n1");
    expect(script.machine("n1").role).toBe("leader");
  });

  test("paper 5.2: votes of those who do not belong to the group are not counted", () => {
    const script = withLog([]);
    standing(script);
    script.hear("n1", "n8", vote(1));
    script.hear("n1", "n9", vote(1));
    expect(script.machine("n1").role).toBe("candidate");
  });

  test("paper 5.2: a member votes once a term, first come, first served", () => {
    const script = withLog([]);
    expect(only(sent(script.hear("n1", "n2", voteRequest({ term: 1 })), "vote-response")).isGranted).toBe(true);
    expect(only(sent(script.hear("n1", "n3", voteRequest({ term: 1 })), "vote-response")).isGranted).toBe(false);
  });

  test("paper figure 2, RequestVote 2: the same candidate that asks again gets the same answer", () => {
    const script = withLog([]);
    script.hear("n1", "n2", voteRequest({ term: 1 }));
    expect(only(sent(script.hear("n1", "n2", voteRequest({ term: 1 })), "vote-response")).isGranted).toBe(true);
  });

  test("paper figure 2, persistent state: a crash does not make it vote twice", () => {
    const script = withLog([], 1);
    script.hear("n1", "n2", voteRequest({ term: 1 }));
    script.crash("n1");
    script.restart("n1");
    expect(only(sent(script.hear("n1", "n3", voteRequest({ term: 1 })), "vote-response")).isGranted).toBe(false);
  });

  test("paper figure 2, persistent state: a vote leaves when it is durable", () => {
    const script = withLog([], 1);
    script.slowDisk("n1");
    script.hear("n1", "n2", voteRequest({ term: 1 }));
    expect(script.inFlight).toEqual([]);
    script.persist("n1");
    expect(only(script.inFlight).message).toMatchObject({ type: "vote-response", isGranted: true });
  });

  test("paper 5.2: a candidate that hears a leader of its term follows it", () => {
    const script = withLog([]);
    standing(script);
    script.hear("n1", "n3", append({ term: 1 }));
    expect(script.machine("n1")).toMatchObject({ role: "follower", term: 1, leader: "n3" });
  });

  test("paper 5.2: a candidate that hears a leader of an older term stands on", () => {
    const script = withLog([], 3);
    standing(script);
    script.hear("n1", "n3", append({ term: 3 }));
    expect(script.machine("n1")).toMatchObject({ role: "candidate", term: 4 });
  });

  test("paper 5.2: an election that nobody wins is followed by another", () => {
    const script = withLog([]);
    standing(script);
    const again = script.tick("n1", 10);
    expect(only(sent(again, "vote-request").filter(({ to }) => to === "n2"))).toMatchObject({ term: 2 });
  });

  test("paper figure 3, election safety: a leader leaves what another says as leader of its term, and counts it", () => {
    const script = withLog([]);
    leading(script);
    const pieces = { totalBytes: 1, offset: 0, bytes: bytesOf("x"), configuration: founding(THREE).configuration };
    const claims: readonly Message[] = [
      heartbeat(1),
      append({ term: 1, entries: entriesOf(1) }),
      { type: "snapshot", term: 1, snapshotIndex: 9, snapshotTerm: 1, ...pieces },
    ];
    for (const claim of claims) expect(script.hear("n1", "n2", claim)).toEqual([]);
    expect(script.machine("n1")).toMatchObject({ role: "leader", term: 1, contradictions: claims.length });
  });

  test.each([
    ["a later last term, though shorter", 2, 4, true],
    ["the same end", 4, 3, true],
    ["the same last term, and longer", 5, 3, true],
    ["the same last term, and shorter", 3, 3, false],
    ["an earlier last term, though longer", 9, 2, false],
  ])("paper 5.4.1: whether a log that ends with %s gets a vote", (_, lastIndex, lastTerm, isGranted) => {
    const script = withLog([1, 3, 3]);
    const effects = script.hear("n1", "n2", voteRequest({ term: 4, lastIndex, lastTerm }));
    expect(only(sent(effects, "vote-response")).isGranted).toBe(isGranted);
    expect(script.machine("n1").votedFor).toBe(isGranted ? "n2" : undefined);
  });

  test("paper figure 3, leader completeness: who lacks a committed entry is not elected", () => {
    const script = RaftScript.led(THREE);
    script.cut("n3");
    script.propose("n1", "kept");
    script.settle();
    script.crash("n1");
    script.heal();
    script.elect("n3", "n2");
    expect(script.machine("n3").role).not.toBe("leader");
    script.elect("n2", "n3");
    expect(script.machine("n2").role).toBe("leader");
    expect(script.applied("n3")).toEqual(["kept"]);
  });

  test("safety: a vote tells how long ago the voter heard a leader, and who led until now has heard one until now", () => {
    const script = withLog([]);
    script.hear("n1", "n2", heartbeat(1));
    script.tick("n1", 8);
    const asFollower = script.hear("n1", "n3", voteRequest({ term: 2, isTransfer: true }));
    expect(only(sent(asFollower, "vote-response")).leaderHeardTicksAgo).toBe(8);
    const once = withLog([]);
    leading(once);
    once.tick("n1", 6);
    const asLeader = once.hear("n1", "n3", voteRequest({ term: 2, isTransfer: true, lastIndex: 2, lastTerm: 1 }));
    expect(only(sent(asLeader, "vote-response"))).toMatchObject({ isGranted: true, leaderHeardTicksAgo: 0 });
  });

  test("safety: a vote of one that has never heard a leader says so, and one that has restarted says that it was just now", () => {
    const fresh = withLog([]);
    fresh.tick("n1", 8);
    const never = fresh.hear("n1", "n3", voteRequest({ term: 1 }));
    expect(only(sent(never, "vote-response")).leaderHeardTicksAgo).toBeUndefined();
    // It voted, and heard nobody: somebody else may have, and it has forgotten what it heard itself.
    fresh.crash("n1");
    fresh.restart("n1");
    fresh.tick("n1", 3);
    const after = fresh.hear("n1", "n2", voteRequest({ term: 2 }));
    expect(only(sent(after, "vote-response")).leaderHeardTicksAgo).toBe(3);
  });

  test("safety: a leader knows how long ago anybody who made it one heard another", () => {
    const votes = (script: RaftScript, mine: number | undefined, theirs: number | undefined): number | undefined => {
      if (mine !== undefined) {
        script.hear("n1", "n3", heartbeat(script.machine("n1").term));
        script.tick("n1", mine);
      } else script.tick("n1", 10);
      const term = script.machine("n1").term + 1;
      expect(script.machine("n1").role).toBe("pre-candidate");
      script.hear("n1", "n2", { ...vote(term, true, true), leaderHeardTicksAgo: theirs } as Message);
      script.hear("n1", "n2", { ...vote(term), leaderHeardTicksAgo: theirs } as Message);
      return present(script.machine("n1").leadership, "it leads").predecessorHeardTicksAgo;
    };
    // The founding.
    expect(votes(withLog([]), undefined, undefined)).toBeUndefined();
    // Another founder has heard a leader of which word never came here.
    expect(votes(withLog([]), undefined, 7)).toBe(7);
    // The youngest counts, whoever heard it.
    expect(votes(withLog([1]), 12, 30)).toBe(12);
    expect(votes(withLog([1]), 12, 4)).toBe(4);
    expect(votes(withLog([1]), 12, undefined)).toBe(12);
    // Who has restarted may have heard one until then.
    expect(votes(withLog([1]), undefined, 30)).toBe(10);
  });

  test("safety: a candidate does not add the tick in which it was told to what another counted, of which a part had passed", () => {
    const script = withLog([1]);
    script.hear("n1", "n3", heartbeat(1));
    script.tick("n1", 12);
    script.hear("n1", "n2", { ...vote(1, false, true), leaderHeardTicksAgo: 4 } as Message);
    const ago = (): number | undefined => script.machine("n1").leaderHeardTicksAgo;
    expect(ago()).toBe(4);
    script.tick("n1");
    expect(ago()).toBe(4);
    script.tick("n1", 2);
    expect(ago()).toBe(6);
    // Its own count is not made less by one that is as large.
    script.hear("n1", "n2", { ...vote(1, false, true), leaderHeardTicksAgo: 6 } as Message);
    script.tick("n1");
    expect(ago()).toBe(7);
  });

  test("safety: who led itself until its majority was away was the last to be heard, and so it is for a group of one", () => {
    const script = withLog([]);
    leading(script);
    script.tick("n1", 20);
    expect(script.machine("n1").role).not.toBe("leader");
    const since = present(script.machine("n1").leaderHeardTicksAgo, "it led");
    leading(script);
    expect(script.machine("n1").leadership?.predecessorHeardTicksAgo).toBeGreaterThanOrEqual(since);
    expect(script.machine("n1").leadership?.predecessorHeardTicksAgo).toBeLessThan(50);
    const alone = withLog([1], 1, ["n1"]);
    alone.step("n1", { type: "campaign" });
    expect(alone.machine("n1").leadership?.predecessorHeardTicksAgo).toBe(0);
  });

  test("safety: only voters are asked for their vote: what others answer counts for nothing, and is not kept", () => {
    const script = withLog([1]);
    script.hear("n1", "n2", heartbeat(1));
    script.tick("n1", 12);
    expect(script.machine("n1").role).toBe("pre-candidate");
    for (let stranger = 0; stranger < 10; stranger += 1) {
      script.hear("n1", `stranger-${stranger}`, { ...vote(2, true, true), leaderHeardTicksAgo: 0 } as Message);
    }
    expect(script.machine("n1")).toMatchObject({ role: "pre-candidate", leaderHeardTicksAgo: 12 });
  });
});

describe("the log of a follower", () => {
  test("paper figure 2, AppendEntries 2: it refuses what follows an entry that it has not", () => {
    const script = withLog([1]);
    const effects = script.hear("n1", "n2", append({ term: 1, previousIndex: 5, previousTerm: 1, entries: [] }));
    expect(only(sent(effects, "append-response"))).toMatchObject({ isRejected: true, index: 5, hintIndex: 2 });
  });

  test("paper figure 2, AppendEntries 2: and what follows an entry of another term", () => {
    const script = withLog([1, 1]);
    const effects = script.hear("n1", "n2", append({ term: 3, previousIndex: 3, previousTerm: 2, entries: [] }));
    expect(only(sent(effects, "append-response")).isRejected).toBe(true);
  });

  test("paper figure 2, AppendEntries 3: an entry that conflicts goes, with all that follow it", () => {
    const script = withLog([1, 1, 1, 1]);
    const [, second] = entriesOf(1, 2);
    script.hear(
      "n1",
      "n2",
      append({ term: 2, previousIndex: 2, previousTerm: 1, entries: [present(second, "two were made")] }),
    );
    expect(script.terms("n1")).toEqual([1, 2]);
    expect(script.durable("n1").entries.map(({ term }) => term)).toEqual([1, 2]);
  });

  test("paper 5.3: entries that match stay, though a message that was late ends before them", () => {
    const script = withLog([1, 1, 1]);
    script.hear("n1", "n2", append({ term: 1, entries: entriesOf(1) }));
    expect(script.terms("n1")).toEqual([1, 1, 1]);
  });

  test("paper figure 2, AppendEntries 4: what is not there is added", () => {
    const script = withLog([1]);
    const effects = script.hear("n1", "n2", append({ term: 1, entries: entriesOf(1, 1, 1) }));
    expect(script.terms("n1")).toEqual([1, 1, 1]);
    expect(only(sent(effects, "append-response"))).toMatchObject({ isRejected: false, index: 4 });
  });

  test("paper 5.5: the same message twice does what it does once", () => {
    const script = withLog([]);
    const message = append({ term: 1, entries: entriesOf(1, 1) });
    script.hear("n1", "n2", message);
    const again = script.hear("n1", "n2", message);
    expect(script.terms("n1")).toEqual([1, 1]);
    expect(again.map(({ type }) => type)).toEqual(["send"]);
    expect(only(sent(again, "append-response"))).toMatchObject({ isRejected: false, index: 3 });
  });

  test("paper figure 2, AppendEntries 5: it commits what the leader has committed, as far as the message reaches", () => {
    const script = withLog([1, 1, 1]);
    const effects = script.hear("n1", "n2", append({ term: 2, commitIndex: 4, previousIndex: 2, previousTerm: 1 }));
    expect(applied(effects)).toEqual([2]);
    expect(script.machine("n1").log.commitIndex).toBe(2);
  });

  test("paper figure 2, AppendEntries 5: and no further than the leader has", () => {
    const script = withLog([]);
    const effects = script.hear("n1", "n2", append({ term: 1, commitIndex: 2, entries: entriesOf(1, 1, 1) }));
    expect(applied(effects)).toEqual([2]);
  });

  test("paper 5.3: what is not committed is not applied; what is, once and in order", () => {
    const script = withLog([]);
    expect(applied(script.hear("n1", "n2", append({ term: 1, entries: entriesOf(1, 1, 1) })))).toEqual([]);
    expect(applied(script.hear("n1", "n2", heartbeat(1, 3)))).toEqual([2, 3]);
    expect(applied(script.hear("n1", "n2", heartbeat(1, 4)))).toEqual([4]);
    expect(applied(script.hear("n1", "n2", heartbeat(1, 2)))).toEqual([]);
    expect(script.applied("n1")).toEqual(["1.2", "1.3", "1.4"]);
  });

  test("paper figure 2, persistent state: that it has an entry is said when it is durable", () => {
    const script = withLog([]);
    script.slowDisk("n1");
    script.hear("n1", "n2", append({ term: 1, entries: entriesOf(1) }));
    expect(script.inFlight).toEqual([]);
    script.persist("n1");
    expect(only(script.inFlight).message).toMatchObject({ type: "append-response", index: 2 });
  });

  test("paper figure 3, state machine safety: a committed entry that another would replace is a fault, or an old message", () => {
    const script = withLog([]);
    script.hear("n1", "n2", append({ term: 1, entries: entriesOf(1, 1), commitIndex: 3 }));
    const old = script.hear("n1", "n2", append({ term: 1, entries: entriesOf(1) }));
    expect(only(sent(old, "append-response"))).toMatchObject({ isRejected: false, index: 3 });
    expect(script.terms("n1")).toEqual([1, 1]);
  });

  test("paper 5.3: a refusal names the last place whose term is not later, so that terms are skipped whole", () => {
    const script = withLog([1, 1, 4, 4, 4]);
    const effects = script.hear("n1", "n2", append({ term: 5, previousIndex: 6, previousTerm: 3 }));
    expect(only(sent(effects, "append-response"))).toMatchObject({ isRejected: true, hintIndex: 3, hintTerm: 1 });
  });
});

describe("the leader", () => {
  test("paper 5.2: it makes itself known to all at once", () => {
    const script = withLog([], 0, FIVE);
    const effects = leading(script);
    expect(sent(effects, "append").map(({ to }) => to)).toEqual(["n2", "n3", "n4", "n5"]);
  });

  test("paper 5.2: it goes on to do so while nothing happens", () => {
    const script = withLog([]);
    leading(script);
    expect(sent(script.tick("n1", 2), "heartbeat").map(({ to }) => to)).toEqual(["n2", "n3"]);
    expect(sent(script.tick("n1", 2), "heartbeat").map(({ to }) => to)).toEqual(["n2", "n3"]);
  });

  test("paper 8: it begins its term with an entry that holds nothing", () => {
    const script = withLog([1, 1]);
    leading(script);
    expect(script.machine("n1").log.entry(4)).toMatchObject({ term: 2, data: undefined, configuration: undefined });
  });

  test("paper 5.3: it adds a proposal to its log, sends it to all, and applies it when a majority has it", () => {
    const script = RaftScript.led(FIVE);
    const proposed = script.propose("n1", "apple");
    expect(sent(proposed, "append").map(({ to, entries }) => [to, entries.length])).toEqual(
      FIVE.slice(1).map((id) => [id, 1]),
    );
    expect(applied(script.hear("n1", "n2", accepted(1, 3)))).toEqual([]);
    expect(applied(script.hear("n1", "n2", accepted(1, 3)))).toEqual([]);
    expect(applied(script.hear("n1", "n3", accepted(1, 3)))).toEqual([3]);
  });

  test("paper 5.3: only a leader takes proposals", () => {
    const script = RaftScript.led(THREE);
    expect(refusals(script.propose("n2", "apple"))).toEqual(["not-leader"]);
  });

  test("paper figure 2, leaders: it begins by assuming that logs match at its own end", () => {
    const script = withLog([1, 1, 2]);
    expect(sent(leading(script), "append")[0]).toMatchObject({ previousIndex: 4, previousTerm: 2, term: 3 });
  });

  test("paper figure 2, leaders: a refusal makes it go back and try again", () => {
    const script = withLog([1, 1, 2]);
    leading(script);
    const refusal: Message = {
      type: "append-response",
      term: 3,
      isRejected: true,
      index: 4,
      hintIndex: 2,
      hintTerm: 1,
    };
    const retry = only(sent(script.hear("n1", "n2", refusal), "append"));
    expect(retry).toMatchObject({ previousIndex: 2, previousTerm: 1 });
    expect(retry.entries.map(({ index }) => index)).toEqual([3, 4, 5]);
  });

  test("paper 5.3: it skips its own entries of terms that the follower cannot have there", () => {
    const script = withLog([1, 3, 3, 3]);
    leading(script);
    const refusal: Message = {
      type: "append-response",
      term: 4,
      isRejected: true,
      index: 5,
      hintIndex: 5,
      hintTerm: 2,
    };
    expect(only(sent(script.hear("n1", "n2", refusal), "append"))).toMatchObject({ previousIndex: 2, previousTerm: 1 });
  });

  test("paper 5.3: an old refusal does not make it go back", () => {
    const script = RaftScript.led(THREE);
    const refusal: Message = {
      type: "append-response",
      term: 1,
      isRejected: true,
      index: 1,
      hintIndex: 0,
      hintTerm: 0,
    };
    expect(sent(script.hear("n1", "n2", refusal), "append")).toEqual([]);
    expect(script.machine("n1").leadership?.progress.get("n2")).toMatchObject({ match: 2, next: 3 });
  });

  test("paper 5.3: it sends what was lost again, for as long as it takes", () => {
    const script = RaftScript.led(THREE);
    script.cut("n3");
    script.propose("n1", "lost");
    script.settle();
    script.tick("n1", 2);
    script.settle();
    expect(script.applied("n3")).toEqual([]);
    script.heal();
    script.tick("n1", 2);
    script.settle();
    expect(script.applied("n3")).toEqual(["lost"]);
  });

  test("paper figure 3, log matching: logs that differed are the leader's in the end", () => {
    const script = new RaftScript();
    const logs: readonly (readonly [string, readonly number[]])[] = [
      // Figure 7 of the paper: the leader of term 8, and followers in every possible state.
      ["n1", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]],
      ["n2", [1, 1, 1, 4, 4, 5, 5, 6, 6]],
      ["n3", [1, 1, 1, 4]],
      ["n4", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
      ["n5", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
      ["n6", [1, 1, 1, 4, 4, 4, 4]],
      ["n7", [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]],
    ];
    const voters = logs.map(([id]) => id);
    for (const [id, terms] of logs) {
      script.add(id, { term: 7, snapshot: founding(voters), entries: entriesOf(...terms) });
    }
    script.elect("n1");
    expect(script.machine("n1")).toMatchObject({ role: "leader", term: 8 });
    script.tick("n1", 2);
    script.settle();
    for (const id of voters) expect([id, ...script.terms(id)]).toEqual(["n1", ...script.terms("n1")].with(0, id));
    expect(new Set(voters.map((id) => script.applied(id).join())).size).toBe(1);
  });

  test("paper figure 3, leader append-only: nothing that it hears changes or shortens its log", () => {
    const script = withLog([1, 1]);
    leading(script);
    script.hear("n1", "n2", append({ term: 1, entries: [] }));
    script.hear("n1", "n2", {
      type: "append-response",
      term: 2,
      isRejected: true,
      index: 3,
      hintIndex: 0,
      hintTerm: 0,
    });
    expect(script.terms("n1")).toEqual([1, 1, 2]);
  });

  test("paper 5.4.2: entries of older terms are not committed by counting", () => {
    const script = withLog([1, 1], 2, FIVE);
    leading(script);
    for (const id of FIVE.slice(1)) script.hear("n1", id, accepted(3, 3));
    expect(script.machine("n1").log.commitIndex).toBe(1);
  });

  test("paper 5.4.2: they are committed with one of the leader's own term", () => {
    const script = withLog([1, 1], 2, FIVE);
    leading(script);
    script.hear("n1", "n2", accepted(3, 4));
    expect(applied(script.hear("n1", "n3", accepted(3, 4)))).toEqual([2, 3, 4]);
  });

  test("paper 5.3: followers learn what is committed, also those that have not answered yet", () => {
    const script = RaftScript.led(FIVE);
    script.propose("n1", "apple");
    expect(sent(script.hear("n1", "n2", accepted(1, 3)), "append")).toEqual([]);
    const told = sent(script.hear("n1", "n3", accepted(1, 3)), "append");
    expect(told.map(({ to, commitIndex }) => [to, commitIndex])).toEqual([
      ["n2", 3],
      ["n3", 3],
      ["n4", 3],
      ["n5", 3],
    ]);
    script.settle();
    expect(script.applied("n3")).toEqual(["apple"]);
  });

  test("paper 5.3: a heartbeat commits nothing that the follower is not known to have", () => {
    const script = RaftScript.led(THREE);
    script.cut("n3");
    script.propose("n1", "apple");
    script.settle();
    const beats = sent(script.tick("n1", 2), "heartbeat");
    expect(beats.map(({ to, commitIndex }) => [to, commitIndex])).toEqual([
      ["n2", 3],
      ["n3", 2],
    ]);
  });

  test("dissertation 10.2.1: it sends before it has written, and counts itself when it has", () => {
    const script = RaftScript.led(THREE);
    script.slowDisk("n1");
    expect(sent(script.propose("n1", "apple"), "append")).toHaveLength(2);
    expect(applied(script.hear("n1", "n2", accepted(1, 3)))).toEqual([]);
    script.persist("n1");
    expect(script.applied("n1")).toEqual(["apple"]);
  });

  test("dissertation 10.2.1: a majority of others commits without the leader's disk", () => {
    const script = RaftScript.led(THREE);
    script.slowDisk("n1");
    script.propose("n1", "apple");
    script.hear("n1", "n2", accepted(1, 3));
    expect(applied(script.hear("n1", "n3", accepted(1, 3)))).toEqual([3]);
  });

  test("dissertation 10.2.1: what took the place of an entry is not durable by word of that one", () => {
    const script = withLog([1]);
    script.slowDisk("n1");
    const following = (term: number): Message =>
      append({ term, previousIndex: 2, previousTerm: 1, entries: entriesOf(1, term, term).slice(1) });
    script.hear("n1", "n2", following(1));
    script.hear("n1", "n3", following(2));
    const durable = [script.machine("n1").persistedIndex];
    while (script.persist("n1")) durable.push(script.machine("n1").persistedIndex);
    expect(durable).toEqual([2, 2, 4]);
    script.hear("n1", "n2", following(3));
    expect(script.machine("n1").persistedIndex).toBe(2);
  });

  test("bounds: an entry that is too large is refused, and so is what comes while too much waits to be committed", () => {
    const script = RaftScript.led(THREE, { maxEntryBytes: 100, maxUncommittedBytes: 1000 });
    script.settle();
    script.cut("n1");
    expect(refusals(script.propose("n1", "x".repeat(101)))).toEqual(["too-large"]);
    let taken = 0;
    let refused: readonly string[] = [];
    while (refused.length === 0 && taken < 100) {
      refused = refusals(script.propose("n1", "x".repeat(100)));
      taken += 1 - refused.length;
    }
    expect(refused).toEqual(["overloaded"]);
    expect(taken).toBeGreaterThan(0);
    // What they take beside their data counts as well: nothing at all is not free.
    expect(taken).toBeLessThanOrEqual(10);
    const { bytes } = script.machine("n1").log;
    for (let flood = 0; flood < 1000; flood += 1) script.propose("n1", "x".repeat(100));
    expect(script.machine("n1").log.bytes).toBe(bytes);
    // When it is committed there is room again.
    script.heal();
    script.tick("n1", 2);
    script.settle();
    expect(refusals(script.propose("n1", "x"))).toEqual([]);
  });

  test("bounds: a message takes as many entries as fit, and one alone that does not", () => {
    const script = RaftScript.led(THREE, { maxMessageBytes: 400 });
    script.settle();
    script.cut("n1");
    for (let count = 0; count < 20; count += 1) script.propose("n1", "x".repeat(100));
    script.propose("n1", "x".repeat(1000));
    script.take();
    script.heal();
    const sizes: number[] = [];
    for (let rounds = 0; rounds < 100 && script.applied("n2").length < 21; rounds += 1) {
      if (script.inFlight.length === 0) script.tick("n1");
      for (const { message } of script.inFlight) {
        if (isOf(message, "append") && message.entries.length > 0) {
          const bytes = message.entries.reduce((sum, entry) => sum + (entry.data?.length ?? 0), 0);
          sizes.push(bytes);
          if (message.entries.length > 1) expect(bytes).toBeLessThanOrEqual(400);
        }
      }
      script.deliver();
    }
    expect(script.applied("n2")).toHaveLength(21);
    expect(Math.max(...sizes)).toBe(1000);
    expect(sizes.some((size) => size > 100 && size <= 400)).toBe(true);
  });

  test("dissertation 10.2.2: messages follow each other without waiting, up to a bound", () => {
    const script = RaftScript.led(THREE, { maxInflight: 2 });
    const counts = ["a", "b", "c"].map((text) => sent(script.propose("n1", text), "append").length);
    expect(counts).toEqual([2, 2, 0]);
    const next = only(
      sent(script.hear("n1", "n2", accepted(1, 3)), "append").filter(({ entries }) => entries.length > 0),
    );
    expect(next.entries.map(({ index }) => index)).toEqual([5]);
  });
});

describe("members", () => {
  const change = (script: RaftScript, what: Extract<Parameters<RaftScript["step"]>[1], { type: "change" }>["change"]) =>
    script.step("n1", { type: "change", id: 1, change: what });

  test("dissertation 4.1: a configuration is in force once it is in the log, committed or not", () => {
    const script = RaftScript.led(THREE);
    change(script, { type: "remove", id: "n3" });
    expect(script.machine("n1").voters).toEqual(["n1", "n2"]);
    script.deliver(({ to }) => to === "n2");
    expect(script.machine("n2").log.commitIndex).toBe(2);
    expect(script.machine("n2").voters).toEqual(["n1", "n2"]);
  });

  test("dissertation 4.1: one whose entry is dropped from the log is in force no more", () => {
    const script = withLog([1]);
    const configuration = { members: [member("n1"), member("n2")] };
    script.hear(
      "n1",
      "n2",
      append({
        term: 1,
        previousIndex: 2,
        previousTerm: 1,
        entries: [{ index: 3, term: 1, data: undefined, configuration }],
      }),
    );
    expect(script.machine("n1").voters).toEqual(["n1", "n2"]);
    const instead = { index: 3, term: 2, data: bytesOf("x"), configuration: undefined };
    script.hear("n1", "n3", append({ term: 2, previousIndex: 2, previousTerm: 1, entries: [instead] }));
    expect(script.machine("n1").voters).toEqual(THREE);
  });

  test("dissertation 4.1: a change waits until the one before is committed", () => {
    const script = RaftScript.led(THREE);
    change(script, { type: "add-learners", members: [member("n4")] });
    expect(refusals(change(script, { type: "remove", id: "n3" }))).toEqual(["change-pending"]);
    script.settle();
    expect(refusals(change(script, { type: "remove", id: "n3" }))).toEqual([]);
  });

  test("dissertation 4.1, as mended in 2015: a change waits until the leader has committed in its term", () => {
    const script = withLog([]);
    leading(script);
    expect(refusals(change(script, { type: "remove", id: "n3" }))).toEqual(["change-pending"]);
    script.hear("n1", "n2", accepted(1, 2));
    expect(refusals(change(script, { type: "remove", id: "n3" }))).toEqual([]);
  });

  test("dissertation 4.1: a majority is one of the configuration in force", () => {
    const script = RaftScript.led(THREE);
    change(script, { type: "remove", id: "n3" });
    expect(applied(script.hear("n1", "n3", accepted(1, 3)))).toEqual([]);
    expect(applied(script.hear("n1", "n2", accepted(1, 3)))).toEqual([3]);
  });

  test("dissertation 4.2.1: who is new is sent the log, and does not count", () => {
    const script = RaftScript.led(THREE);
    script.add("n4");
    change(script, { type: "add-learners", members: [member("n4")] });
    script.settle();
    expect(script.machine("n4").log.commitIndex).toBe(3);
    expect(script.machine("n1").voters).toEqual(THREE);
    script.cut("n2");
    script.cut("n3");
    script.propose("n1", "apple");
    script.settle();
    expect(script.machine("n4").log.lastIndex).toBe(4);
    expect(script.applied("n1")).toEqual([]);
  });

  test("dissertation 4.2.1: a learner does not stand for election", () => {
    const script = RaftScript.led(THREE);
    script.add("n4");
    change(script, { type: "add-learners", members: [member("n4")] });
    script.settle();
    expect(sent(script.tick("n4", 50), "vote-request")).toEqual([]);
    expect(script.machine("n4").role).toBe("follower");
  });

  test("dissertation 4.2.1: any number of them comes by one entry, since majorities stay what they are", () => {
    const script = RaftScript.led(THREE);
    script.add("n4");
    script.add("n5");
    const come = [member("n4"), { ...member("n5"), isVoter: true }, member("n4"), member("n2")];
    change(script, { type: "add-learners", members: come });
    script.settle();
    expect(script.machine("n1").log.configurationIndex).toBe(3);
    for (const id of [...THREE, "n4", "n5"]) {
      const { voters, configuration, log } = script.machine(id);
      expect(voters).toEqual(THREE);
      expect(configuration.members.map((each) => each.id)).toEqual([...THREE, "n4", "n5"]);
      expect(log.commitIndex).toBe(3);
    }
    expect(refusals(change(script, { type: "add-learners", members: [member("n4"), member("n5")] }))).toEqual([
      "no-change",
    ]);
    expect(refusals(change(script, { type: "add-learners", members: [] }))).toEqual(["no-change"]);
    expect(refusals(change(script, { type: "add-learners", members: [member("n4"), member("n6")] }))).toEqual([]);
    expect(script.machine("n1").configuration.members).toHaveLength(6);
  });

  test("dissertation 4.2.1: it becomes a voter when it has caught up, not before", () => {
    const script = RaftScript.led(THREE, { promotionLagEntries: 0 });
    script.add("n4");
    script.cut("n4");
    change(script, { type: "add-learners", members: [member("n4")] });
    script.settle();
    expect(refusals(change(script, { type: "promote", id: "n4" }))).toEqual(["not-caught-up"]);
    script.heal();
    script.tick("n1", 2);
    script.settle();
    expect(refusals(change(script, { type: "promote", id: "n4" }))).toEqual([]);
    expect(script.machine("n1").voters).toEqual([...THREE, "n4"]);
  });

  test("dissertation 4.2.1: one that had caught up and lags again does not become a voter", () => {
    const script = RaftScript.led(THREE, { promotionLagEntries: 1 });
    script.add("n4");
    change(script, { type: "add-learners", members: [member("n4")] });
    script.settle();
    script.cut("n4");
    script.propose("n1", "a");
    script.propose("n1", "b");
    script.settle();
    expect(refusals(change(script, { type: "promote", id: "n4" }))).toEqual(["not-caught-up"]);
  });

  test("dissertation 4.2.2: a leader does not take itself out", () => {
    const script = RaftScript.led(THREE);
    expect(refusals(change(script, { type: "remove", id: "n1" }))).toEqual(["is-leader"]);
    expect(refusals(change(script, { type: "demote", id: "n1" }))).toEqual(["is-leader"]);
  });

  test("dissertation 4.2.2: one that is elected though its log takes it out leads until that is committed, and does not count itself", () => {
    const script = new RaftScript();
    const configuration = { members: [member("n1", false), member("n2"), member("n3")] };
    const entries = [{ index: 2, term: 1, data: undefined, configuration }];
    script.add("n1", { term: 1, snapshot: founding(THREE), entries });
    script.tick("n1", 10);
    for (const isPreVote of [true, false]) {
      for (const id of ["n2", "n3"]) script.hear("n1", id, vote(2, true, isPreVote));
    }
    expect(script.machine("n1").role).toBe("leader");
    script.hear("n1", "n2", accepted(2, 3));
    expect(script.machine("n1")).toMatchObject({ role: "leader" });
    expect(script.machine("n1").log.commitIndex).toBe(1);
    script.hear("n1", "n3", accepted(2, 3));
    expect(script.machine("n1").log.commitIndex).toBe(3);
    expect(script.machine("n1").role).toBe("follower");
  });

  test("dissertation 4.2.3: who hears a leader does not vote, so that a removed member disturbs nobody", () => {
    const script = RaftScript.led(THREE);
    for (const id of ["n1", "n2"]) {
      expect(script.hear(id, "n3", voteRequest({ term: 9, lastIndex: 9, lastTerm: 1 }))).toEqual([]);
      expect(script.machine(id).term).toBe(1);
    }
    script.tick("n2", 10);
    script.hear("n2", "n3", voteRequest({ term: 9, lastIndex: 9, lastTerm: 1 }));
    expect(script.machine("n2")).toMatchObject({ term: 9, votedFor: "n3" });
  });

  test("dissertation 4.2.2: members that do not belong to the group, as far as one knows, get votes", () => {
    const script = withLog([]);
    const effects = script.hear("n1", "n9", voteRequest({ term: 1 }));
    expect(only(sent(effects, "vote-response")).isGranted).toBe(true);
  });
});

describe("snapshots", () => {
  const piece = (fields: Partial<MessageOf<"snapshot">>): Message => ({
    type: "snapshot",
    term: 2,
    snapshotIndex: 4,
    snapshotTerm: 2,
    configuration: { members: [member("n1"), member("n2")] },
    totalBytes: 6,
    offset: 0,
    bytes: bytesOf("a b"),
    ...fields,
  });
  const rest = { offset: 3, bytes: bytesOf(" cd") };

  test("paper 7: each member makes its own snapshots, of what it has applied; the log goes on after them", () => {
    const script = RaftScript.led(THREE, { trailingEntries: 0 });
    script.propose("n1", "a");
    script.settle();
    script.propose("n1", "b");
    script.compact("n1");
    const { log } = script.machine("n1");
    expect(log.snapshot).toMatchObject({ index: 3, term: 1 });
    expect([log.firstIndex, log.lastIndex]).toEqual([4, 4]);
    expect(script.durable("n1").snapshot.index).toBe(3);
    expect(() => script.step("n1", { type: "compact", index: 4, data: bytesOf("") })).toThrow(Fault);
  });

  test("paper 7: a restart begins with the snapshot and applies what follows anew", () => {
    const script = RaftScript.led(THREE);
    script.propose("n1", "a");
    script.settle();
    script.compact("n2");
    script.propose("n1", "b");
    script.settle();
    script.crash("n2");
    script.restart("n2");
    expect(script.applied("n2")).toEqual(["a"]);
    script.tick("n1", 2);
    script.settle();
    expect(script.applied("n2")).toEqual(["a", "b"]);
  });

  test("paper 7: a leader sends a snapshot to who needs entries that are gone", () => {
    const script = RaftScript.led(THREE, { trailingEntries: 0 });
    script.cut("n3");
    script.propose("n1", "a");
    script.settle();
    script.compact("n1");
    script.heal();
    script.tick("n1", 2);
    script.settle();
    expect(script.machine("n3").log.snapshot.index).toBe(3);
    expect(script.applied("n3")).toEqual(["a"]);
    script.propose("n1", "b");
    script.settle();
    expect(script.applied("n3")).toEqual(["a", "b"]);
  });

  test("paper figure 13, 1: one of an older term is refused, with the term", () => {
    const script = withLog([], 3);
    const effects = script.hear("n1", "n2", piece({}));
    expect(only(sent(effects, "heartbeat-response")).term).toBe(3);
    expect(sent(effects, "snapshot-response")).toEqual([]);
  });

  test("paper figure 13, 2 to 4: pieces are put together, and each is answered with what comes next", () => {
    const script = withLog([]);
    expect(only(sent(script.hear("n1", "n2", piece({})), "snapshot-response")).nextOffset).toBe(3);
    expect(script.applied("n1")).toEqual([]);
    const whole = script.hear("n1", "n2", piece(rest));
    expect(only(sent(whole, "append-response"))).toMatchObject({ isRejected: false, index: 4 });
    expect(script.applied("n1")).toEqual(["a", "b", "cd"]);
  });

  test("paper figure 13, 3: a piece that is not the next one is left, and the next one asked for", () => {
    const script = withLog([]);
    expect(only(sent(script.hear("n1", "n2", piece(rest)), "snapshot-response")).nextOffset).toBe(0);
    script.hear("n1", "n2", piece({}));
    expect(only(sent(script.hear("n1", "n2", piece({})), "snapshot-response")).nextOffset).toBe(3);
  });

  test("paper figure 13, 5: pieces of a snapshot that another has overtaken are dropped", () => {
    const script = withLog([]);
    script.hear("n1", "n2", piece({}));
    const newer = script.hear("n1", "n2", piece({ snapshotIndex: 5, bytes: bytesOf("x y z ") }));
    expect(only(sent(newer, "append-response")).index).toBe(5);
    expect(script.applied("n1")).toEqual(["x", "y", "z"]);
  });

  test("paper figure 13: pieces of two leaders, or of two terms of one, are not mixed", () => {
    for (const from of ["n2", "n3"]) {
      const script = withLog([]);
      script.hear("n1", "n2", piece({}));
      const effects = script.hear("n1", from, piece({ term: 3, ...rest }));
      expect(only(sent(effects, "snapshot-response")).nextOffset).toBe(0);
      expect(script.machine("n1").log.snapshot.index).toBe(1);
    }
  });

  test("paper figure 13, 6: what follows the snapshot's last entry is kept, if that entry is there", () => {
    const script = withLog([1, 1, 2, 2]);
    const effects = script.hear("n1", "n2", piece({}));
    expect(script.terms("n1")).toEqual([1, 1, 2, 2]);
    expect(applied(effects)).toEqual([2, 3, 4]);
    expect(only(sent(effects, "append-response")).index).toBe(4);
  });

  test("paper figure 13, 7: else the whole log goes", () => {
    const script = withLog([1, 1, 1, 1, 1]);
    script.hear("n1", "n2", piece({}));
    script.hear("n1", "n2", piece(rest));
    expect(script.machine("n1").log).toMatchObject({ firstIndex: 5, lastIndex: 4, lastTerm: 2, commitIndex: 4 });
    expect(script.durable("n1")).toMatchObject({ entries: [], snapshot: { index: 4, term: 2 } });
  });

  test("paper figure 13, 8: the application and the configuration are the snapshot's", () => {
    const script = withLog([]);
    script.hear("n1", "n2", piece({}));
    const effects = script.hear("n1", "n2", piece(rest));
    expect(effects.map(({ type }) => type)).toContain("restore");
    expect(script.machine("n1").voters).toEqual(["n1", "n2"]);
  });

  test("paper 7: one of what is committed here already changes nothing", () => {
    const script = withLog([]);
    script.hear("n1", "n2", append({ term: 2, entries: entriesOf(1, 1, 2, 2), commitIndex: 5 }));
    const effects = script.hear("n1", "n2", piece({}));
    expect(effects.map(({ type }) => type)).toEqual(["send"]);
    expect(only(sent(effects, "append-response")).index).toBe(5);
  });

  test("paper 7: a member says that it has the snapshot when that is durable", () => {
    const script = withLog([], 2);
    script.slowDisk("n1");
    script.hear("n1", "n2", piece({ totalBytes: 3 }));
    expect(script.inFlight).toEqual([]);
    script.persist("n1");
    expect(only(script.inFlight).message).toMatchObject({ type: "append-response", index: 4 });
  });

  test("paper 7: one piece is under way at a time, and one that is lost is sent again", () => {
    const script = RaftScript.led(THREE, { trailingEntries: 0, snapshotChunkBytes: 2 });
    script.cut("n3");
    script.propose("n1", "abc");
    script.settle();
    script.compact("n1");
    script.heal();
    script.tick("n1", 2);
    const pieces = (): number => script.inFlight.filter(({ message }) => message.type === "snapshot").length;
    while (pieces() === 0) script.deliver(({ message }) => message.type !== "snapshot");
    script.deliver(({ message }) => message.type !== "snapshot");
    script.propose("n1", "more");
    expect(pieces()).toBe(1);
    script.take(({ message }) => message.type === "snapshot");
    script.settle();
    expect(script.applied("n3")).toEqual([]);
    script.tick("n1", 2);
    script.settle();
    expect(script.applied("n3")).toEqual(["abc", "more"]);
  });
});

describe("handing over", () => {
  const transfer = (script: RaftScript, target = "n2"): readonly Effect[] =>
    script.step("n1", { type: "transfer", target });

  test("dissertation 3.10: the leader takes no proposals and no changes meanwhile", () => {
    const script = RaftScript.led(THREE);
    transfer(script);
    expect(refusals(script.propose("n1", "late"))).toEqual(["transferring"]);
    const removal = script.step("n1", { type: "change", id: 1, change: { type: "remove", id: "n3" } });
    expect(refusals(removal)).toEqual(["transferring"]);
  });

  test("dissertation 3.10: who has the whole log is told to stand at once", () => {
    const script = RaftScript.led(THREE);
    expect(only(sent(transfer(script), "timeout-now")).to).toBe("n2");
  });

  test("dissertation 3.10: who lacks something is sent that first", () => {
    const script = RaftScript.led(THREE);
    script.propose("n1", "last");
    script.take();
    expect(sent(transfer(script), "timeout-now")).toEqual([]);
    expect(only(sent(script.hear("n1", "n2", accepted(1, 3)), "timeout-now")).to).toBe("n2");
  });

  test("dissertation 3.10: only a voter is handed over to", () => {
    const script = RaftScript.led(THREE);
    script.add("n4");
    script.step("n1", { type: "change", id: 1, change: { type: "add-learners", members: [member("n4")] } });
    script.settle();
    expect(transfer(script, "n4")).toEqual([]);
    expect(transfer(script, "n9")).toEqual([]);
    expect(refusals(script.propose("n1", "next"))).toEqual([]);
  });

  test("dissertation 3.10: who is told stands without waiting and without asking first", () => {
    const script = RaftScript.led(THREE);
    const effects = script.hear("n2", "n1", { type: "timeout-now", term: 1 });
    expect(script.machine("n2")).toMatchObject({ role: "candidate", term: 2 });
    expect(sent(effects, "vote-request").map(({ isPreVote, isTransfer }) => [isPreVote, isTransfer])).toEqual([
      [false, true],
      [false, true],
    ]);
  });

  test("dissertation 3.10: voters that hear a leader vote all the same, since that leader wants it", () => {
    const script = RaftScript.led(THREE);
    transfer(script);
    script.settle();
    expect(script.machine("n2")).toMatchObject({ role: "leader", term: 2 });
    expect(script.machine("n1")).toMatchObject({ role: "follower", leader: "n2" });
  });

  test("dissertation 3.10: a handover that does not come about is given up after an election timeout", () => {
    const script = RaftScript.led(THREE);
    script.cut("n2");
    transfer(script);
    for (let tick = 0; tick < 9; tick += 1) {
      script.tick("n1");
      script.settle();
    }
    expect(refusals(script.propose("n1", "early"))).toEqual(["transferring"]);
    script.tick("n1");
    expect(refusals(script.propose("n1", "later"))).toEqual([]);
  });

  test("dissertation 3.10: the word of a leader of the past makes nobody stand", () => {
    const script = withLog([], 3);
    script.hear("n1", "n2", { type: "timeout-now", term: 2 });
    expect(script.machine("n1")).toMatchObject({ role: "follower", term: 3 });
  });
});

describe("check-quorum", () => {
  test("dissertation 6.2: a leader that no majority has answered for an election timeout steps down", () => {
    const script = RaftScript.led(FIVE);
    script.cut("n1");
    script.tick("n1", 20);
    expect(script.machine("n1")).toMatchObject({ role: "follower", leader: undefined, term: 1 });
  });

  test("dissertation 6.2: one that a majority answers leads on, whoever else is away", () => {
    const script = RaftScript.led(FIVE);
    script.add("n6");
    script.step("n1", { type: "change", id: 1, change: { type: "add-learners", members: [member("n6")] } });
    script.settle();
    for (const id of ["n4", "n5", "n6"]) script.cut(id);
    for (let tick = 0; tick < 60; tick += 1) {
      script.tick("n1");
      script.settle();
    }
    expect(script.machine("n1")).toMatchObject({ role: "leader", term: 1 });
  });

  test("dissertation 6.2: a minority's answers do not suffice, nor do a learner's", () => {
    const script = RaftScript.led(FIVE);
    script.add("n6");
    script.step("n1", { type: "change", id: 1, change: { type: "add-learners", members: [member("n6")] } });
    script.settle();
    for (const id of ["n3", "n4", "n5"]) script.cut(id);
    for (let tick = 0; tick < 20; tick += 1) {
      script.tick("n1");
      script.settle();
    }
    expect(script.machine("n1").role).toBe("follower");
  });
});

describe("reads", () => {
  const read = (script: RaftScript, id: string, read = 1): readonly Effect[] =>
    script.step(id, { type: "read", id: read });
  const ready = (effects: readonly Effect[]): readonly number[] =>
    effects.flatMap((effect) => (effect.type === "read-ready" ? [effect.index] : []));
  const failed = (effects: readonly Effect[]): readonly number[] =>
    effects.flatMap((effect) => (effect.type === "read-failed" ? [effect.id] : []));
  const answer = (term: number, round: number): Message => ({ type: "heartbeat-response", term, round });

  test("dissertation 6.4, 1: before it has committed in its term a leader does not know, and a read waits", () => {
    const script = withLog([1, 1]);
    leading(script);
    read(script, "n1");
    script.tick("n1", 2);
    expect(ready([...script.hear("n1", "n2", answer(2, 1)), ...script.hear("n1", "n3", answer(2, 1))])).toEqual([]);
    expect(ready(script.hear("n1", "n2", accepted(2, 4)))).toEqual([]);
    expect(ready(script.hear("n1", "n2", answer(2, 2)))).toEqual([4]);
  });

  test("dissertation 6.4, 2: a read is made at what was committed when it was asked for", () => {
    const script = RaftScript.led(THREE);
    read(script, "n1");
    script.propose("n1", "later");
    script.hear("n1", "n2", accepted(1, 3));
    expect(ready(script.hear("n1", "n2", answer(1, 1)))).toEqual([2]);
  });

  test("dissertation 6.4, 3: once a majority has answered a heartbeat", () => {
    const script = RaftScript.led(FIVE);
    expect(sent(read(script, "n1"), "heartbeat").map(({ round }) => round)).toEqual([1, 1, 1, 1]);
    expect(ready(script.hear("n1", "n2", answer(1, 1)))).toEqual([]);
    expect(ready(script.hear("n1", "n2", answer(1, 1)))).toEqual([]);
    expect(ready(script.hear("n1", "n3", answer(1, 1)))).toEqual([2]);
  });

  test("dissertation 6.4, 3: and that one was sent after the read was asked for", () => {
    const script = RaftScript.led(THREE);
    script.tick("n1", 2);
    read(script, "n1");
    expect(ready(script.hear("n1", "n2", answer(1, 1)))).toEqual([]);
    expect(ready(script.hear("n1", "n2", answer(1, 2)))).toEqual([2]);
  });

  test("dissertation 6.4: a learner's answer does not count", () => {
    const script = RaftScript.led(THREE);
    script.add("n4");
    script.step("n1", { type: "change", id: 1, change: { type: "add-learners", members: [member("n4")] } });
    script.settle();
    read(script, "n1");
    expect(ready(script.hear("n1", "n4", answer(1, 1)))).toEqual([]);
  });

  test("dissertation 6.4: a leader that was deposed meanwhile makes no read", () => {
    const script = RaftScript.led(THREE);
    script.cut("n1");
    script.elect("n2", "n3");
    expect(ready(read(script, "n1"))).toEqual([]);
    script.heal();
    script.tick("n1", 2);
    script.settle();
    expect(script.machine("n1").role).toBe("follower");
    expect(script.takeLines()).toContain("n1 read 1 has failed");
  });

  test("dissertation 6.4: a follower asks the leader", () => {
    const script = RaftScript.led(THREE);
    expect(only(sent(read(script, "n2"), "read-request")).to).toBe("n1");
    script.settle();
    expect(script.takeLines()).toContain("n2 read 1 may be made once 2 is applied");
  });

  test("dissertation 6.4: without a leader a read fails at once, and one that nobody answers fails in time", () => {
    expect(failed(read(withLog([]), "n1"))).toEqual([1]);
    const script = RaftScript.led(THREE);
    read(script, "n2", 5);
    script.take();
    expect(failed(script.hear("n2", "n3", heartbeat(2)))).toEqual([5]);
    const lost = RaftScript.led(THREE);
    read(lost, "n2", 6);
    const effects = Array.from({ length: 20 }, () => [
      ...lost.tick("n2"),
      ...lost.hear("n2", "n1", heartbeat(1)),
    ]).flat();
    expect(failed(effects)).toEqual([6]);
  });
});

describe("pre-vote", () => {
  const ask = (fields: Partial<MessageOf<"vote-request">> & { readonly term: number }): Message =>
    voteRequest({ isPreVote: true, ...fields });

  test("dissertation 9.6: who wants to stand asks first, and its term stays", () => {
    const script = withLog([], 4);
    const effects = script.tick("n1", 10);
    expect(sent(effects, "vote-request").map(({ to, term, isPreVote }) => [to, term, isPreVote])).toEqual([
      ["n2", 5, true],
      ["n3", 5, true],
    ]);
    script.tick("n1", 100);
    expect(script.machine("n1")).toMatchObject({ role: "pre-candidate", term: 4, votedFor: undefined });
  });

  test("dissertation 9.6: it stands when a majority would vote for it, not before", () => {
    const script = withLog([], 0, FIVE);
    script.tick("n1", 10);
    script.hear("n1", "n2", vote(1, true, true));
    script.hear("n1", "n3", vote(0, false, true));
    expect(script.machine("n1")).toMatchObject({ role: "pre-candidate", term: 0 });
    script.hear("n1", "n4", vote(1, true, true));
    expect(script.machine("n1")).toMatchObject({ role: "candidate", term: 1 });
  });

  test("dissertation 9.6: an answer changes nothing at who gives it, and binds nobody", () => {
    const script = withLog([]);
    const effects = [...script.hear("n1", "n2", ask({ term: 1 })), ...script.hear("n1", "n3", ask({ term: 1 }))];
    expect(sent(effects, "vote-response").map(({ isGranted }) => isGranted)).toEqual([true, true]);
    expect(script.machine("n1")).toMatchObject({ term: 0, votedFor: undefined });
    expect(effects.map(({ type }) => type)).not.toContain("persist");
  });

  test("dissertation 9.6: it is yes only to a log that is as up to date", () => {
    const script = withLog([1, 2]);
    const no = script.hear("n1", "n2", ask({ term: 3, lastIndex: 9, lastTerm: 1 }));
    expect(only(sent(no, "vote-response")).isGranted).toBe(false);
    const yes = script.hear("n1", "n2", ask({ term: 3, lastIndex: 3, lastTerm: 2 }));
    expect(only(sent(yes, "vote-response")).isGranted).toBe(true);
  });

  test("dissertation 9.6: it is yes only to a term that has not begun", () => {
    const script = withLog([], 3);
    expect(only(sent(script.hear("n1", "n2", ask({ term: 3 })), "vote-response"))).toMatchObject({
      isGranted: false,
      term: 3,
    });
  });

  test("dissertation 9.6: who hears a leader does not say yes", () => {
    const script = RaftScript.led(THREE);
    const question = ask({ term: 2, lastIndex: 9, lastTerm: 1 });
    expect(script.hear("n2", "n3", question)).toEqual([]);
    expect(script.hear("n1", "n3", question)).toEqual([]);
    script.tick("n2", 10);
    expect(only(sent(script.hear("n2", "n3", question), "vote-response")).isGranted).toBe(true);
  });

  test("dissertation 9.6: a yes to an older question is not one to this", () => {
    const script = withLog([], 3);
    script.tick("n1", 10);
    script.hear("n1", "n2", vote(3, true, true));
    script.hear("n1", "n3", vote(5, true, true));
    expect(script.machine("n1")).toMatchObject({ role: "pre-candidate", term: 3 });
  });

  test("dissertation 9.6: a member that comes back from a partition does not depose the leader", () => {
    const script = RaftScript.led(THREE);
    script.cut("n3");
    script.tick("n3", 100);
    script.settle();
    script.heal();
    script.tick("n3", 20);
    script.settle();
    script.tick("n1", 2);
    script.settle();
    expect(script.machine("n1")).toMatchObject({ role: "leader", term: 1 });
    expect(script.machine("n3")).toMatchObject({ role: "follower", term: 1, leader: "n1" });
  });
});
