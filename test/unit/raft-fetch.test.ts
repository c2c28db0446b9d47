/** Members that ask others than their leader for what is committed: what is answered, what is taken of it, and what does not follow from it. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { CatchUp } from "../../src/consensus/catch-up.ts";
import type { Entry, Input, Message } from "../../src/protocol/raft/types.ts";
import { RaftScript, bytesOf, entriesOf, founding, member } from "../support/raft-script.ts";

const FOUR = ["n1", "n2", "n3", "n4"] as const;
const ELECTION_TICKS = 10;

type Response = Extract<Message, { readonly type: "fetch-response" }>;

/** n1 leads, and n4 is a learner that n1 has not reached since; three words are committed. */
function behind(): RaftScript {
  const script = RaftScript.led(["n1", "n2", "n3"]);
  script.add("n4");
  script.step("n1", { type: "change", id: 1, change: { type: "add-learners", members: [member("n4", false)] } });
  script.settle();
  script.tick("n1", 2);
  script.settle();
  script.cut("n1", "n4");
  script.cut("n4", "n1");
  for (const word of ["alpha", "beta", "gamma"]) script.propose("n1", word);
  script.settle();
  return script;
}

/** A voter in term 4 that has committed the founding, whose log goes on with entries of these terms, and which has asked n2. */
function asking(terms: readonly number[], term = 4): RaftScript {
  const script = new RaftScript();
  script.add("n1", { term, votedFor: "n3", snapshot: founding(FOUR), entries: entriesOf(...terms) });
  script.step("n1", { type: "fetch", from: "n2" });
  return script;
}

function response(entries: readonly Entry[], fields: Partial<Response> = {}): Response {
  return { type: "fetch-response", term: 4, previousIndex: 1, previousTerm: 0, entries, ...fields };
}

/** The indexes that a member answers to another with; `undefined` if it does not answer. */
function answered(
  script: RaftScript,
  id: string,
  to: string,
  fetch: Partial<Message> = {},
): readonly number[] | undefined {
  const { log, term } = script.machine(to);
  const index = log.commitIndex;
  const asked = { type: "fetch", term, index, indexTerm: log.term(index) ?? 0, ...fetch } as Message;
  const [answer] = script
    .hear(id, to, asked)
    .flatMap((effect) => (effect.type === "send" && effect.message.type === "fetch-response" ? [effect.message] : []));
  return answer?.entries.map((entry) => entry.index);
}

describe("whoever is asked", () => {
  test.each(["n1", "n2", "n3"])("answers with what is committed after the asker's last committed entry: %s", (id) => {
    const script = behind();
    expect(script.machine("n4").log.commitIndex).toBe(3);
    expect(answered(script, id, "n4")).toEqual([4, 5, 6]);
  });

  test("a learner answers as voters do", () => {
    const script = behind();
    script.step("n4", { type: "fetch", from: "n2" });
    script.settle();
    script.heal();
    script.tick("n1", 2);
    script.settle();
    expect(answered(script, "n4", "n2", { index: 3 })).toEqual([4, 5, 6]);
  });

  test("says nothing of what it does not know to be committed, wherever that ends in its log", () => {
    const script = behind();
    script.propose("n1", "delta");
    script.deliver(({ to, message }) => to === "n2" && message.type === "append");
    expect(script.machine("n2").log.lastIndex).toBe(7);
    expect(answered(script, "n2", "n4")).toEqual([4, 5, 6]);
    expect(answered(script, "n1", "n4")).toEqual([4, 5, 6]);
  });

  test("sends no more than fits into a message, and one entry at least", () => {
    const script = RaftScript.led(["n1", "n2", "n3"], { maxMessageBytes: 200 });
    script.cut("n3");
    for (const word of ["alpha", "beta", "x".repeat(500), "gamma"]) script.propose("n1", word);
    script.settle();
    expect(answered(script, "n2", "n3")).toEqual([3, 4]);
    expect(answered(script, "n2", "n3", { index: 4 })).toEqual([5]);
  });

  test("has nothing to give where its log no longer goes back so far, or where the asker's is another", () => {
    const script = RaftScript.led(["n1", "n2", "n3"], { trailingEntries: 0 });
    script.cut("n3");
    script.propose("n1", "alpha");
    script.settle();
    expect(answered(script, "n2", "n3", { indexTerm: 0 })).toEqual([]);
    // Nor has it anything for who has more.
    expect(answered(script, "n2", "n1")).toEqual([]);
    expect(answered(script, "n2", "n1", { index: 100 })).toEqual([]);
  });

  test("does not answer strangers, nor while it hears no leader", () => {
    const script = behind();
    script.add("n5");
    expect(answered(script, "n2", "n5", { index: 3, indexTerm: 1 })).toBeUndefined();
    script.tick("n2", ELECTION_TICKS);
    expect(answered(script, "n2", "n4")).toBeUndefined();
  });

  test("stays as it is, whatever term the asker is in", () => {
    const script = behind();
    for (const id of ["n1", "n2"]) {
      const { role, leader } = script.machine(id);
      for (const term of [0, 1, 9]) expect(answered(script, id, "n4", { term })).toEqual([4, 5, 6]);
      expect(script.machine(id)).toMatchObject({ term: 1, role, leader });
    }
  });
});

describe("whoever asked", () => {
  test("writes down and applies what it lacks, and keeps term, vote and leader", () => {
    const script = asking([]);
    const effects = script.hear("n1", "n2", response(entriesOf(2, 4)));
    expect(effects.map(({ type }) => type)).toEqual(["persist", "apply"]);
    expect(script.applied("n1")).toEqual(["2.2", "4.3"]);
    expect(script.durable("n1").entries).toEqual(entriesOf(2, 4));
    expect(script.machine("n1")).toMatchObject({ term: 4, votedFor: "n3", role: "follower", fetching: { entries: 2 } });
  });

  test("waits for the leader no longer than without it", () => {
    const script = asking([]);
    script.tick("n1", ELECTION_TICKS - 1);
    script.hear("n1", "n2", response(entriesOf(2)));
    script.tick("n1");
    expect(script.machine("n1").role).toBe("pre-candidate");
  });

  test.each([
    { what: "entries that contradict what is committed go, with all that follows them", own: [2, 3, 3], terms: [2, 4] },
    { what: "entries that match stay, with what follows them", own: [2, 2, 3], terms: [2, 2], left: [2, 2, 3] },
    { what: "entries beyond its own are added", own: [2], terms: [2, 2, 4] },
  ])("$what", ({ own, terms, left = terms }) => {
    const script = asking(own);
    script.hear("n1", "n2", response(entriesOf(...terms)));
    expect(script.terms("n1")).toEqual(left);
    expect(script.machine("n1").log.commitIndex).toBe(1 + terms.length);
    expect(script.durable("n1").entries).toEqual(entriesOf(...left));
  });

  test.each([
    ["from somebody else", "n3", response(entriesOf(2))],
    ["of an earlier term", "n2", response(entriesOf(2), { term: 3 })],
    ["to another question", "n2", response(entriesOf(2, 2).slice(1), { previousIndex: 2, previousTerm: 2 })],
  ])("leaves an answer %s", (_, from, message) => {
    const script = asking([2]);
    expect(script.hear("n1", from, message)).toEqual([]);
    expect(script.machine("n1").log.commitIndex).toBe(1);
    expect(script.machine("n1").contradictions).toBe(0);
  });

  test("takes one answer, and none that it did not ask for", () => {
    const script = asking([]);
    script.hear("n1", "n2", response(entriesOf(2)));
    const more = response(entriesOf(2, 2).slice(1), { previousIndex: 2, previousTerm: 2 });
    expect(script.hear("n1", "n2", more)).toEqual([]);
    expect(script.machine("n1").log.commitIndex).toBe(2);
  });

  test("leaves an answer that comes when it has committed more", () => {
    const script = asking([2]);
    const effects = script.hear("n1", "n3", {
      type: "append",
      term: 4,
      previousIndex: 2,
      previousTerm: 2,
      commitIndex: 2,
      entries: [],
    });
    expect(effects.some(({ type }) => type === "apply")).toBe(true);
    expect(script.hear("n1", "n2", response(entriesOf(2, 2)))).toEqual([]);
  });

  test("counts an answer that contradicts what it has committed, and takes nothing of it", () => {
    const script = asking([]);
    expect(script.hear("n1", "n2", response(entriesOf(3), { previousTerm: 2 }))).toEqual([]);
    expect(script.machine("n1").contradictions).toBe(1);
    expect(script.terms("n1")).toEqual([]);
  });

  test("follows a later term as from any message: what it then has, the leaders before that term need not have", () => {
    const script = asking([2], 3);
    script.hear("n1", "n2", response(entriesOf(2, 2)));
    expect(script.machine("n1")).toMatchObject({ term: 4, votedFor: undefined, leader: undefined });
    expect(script.durable("n1").term).toBe(4);
    // The leader of the term before counts nothing of it.
    const [answer] = script.hear("n1", "n3", {
      type: "append",
      term: 3,
      previousIndex: 1,
      previousTerm: 0,
      commitIndex: 1,
      entries: [],
    });
    expect(answer).toMatchObject({ type: "send", message: { type: "heartbeat-response", term: 4 } });
  });

  test("tells its leader that it has them when the disk does", () => {
    const script = asking([]);
    script.slowDisk("n1");
    script.hear("n1", "n2", response(entriesOf(2)));
    script.hear("n1", "n3", {
      type: "append",
      term: 4,
      previousIndex: 2,
      previousTerm: 2,
      commitIndex: 2,
      entries: [],
    });
    const isSaid = (): boolean => script.inFlight.some(({ message }) => message.type === "append-response");
    expect(isSaid()).toBe(false);
    script.promptDisk("n1");
    expect(isSaid()).toBe(true);
  });

  test("does not lead: a leader asks nobody, and takes no answer that comes when it does", () => {
    const script = RaftScript.led(["n1", "n2", "n3"]);
    expect(script.step("n1", { type: "fetch", from: "n2" })).toEqual([]);
    const late = asking([], 0);
    late.step("n1", { type: "campaign" });
    for (const isPreVote of [true, false]) {
      for (const from of ["n2", "n3"]) {
        late.hear("n1", from, {
          type: "vote-response",
          term: 1,
          isPreVote,
          isGranted: true,
          leaderHeardTicksAgo: undefined,
        });
      }
    }
    expect(late.machine("n1").role).toBe("leader");
    late.hear("n1", "n2", response(late.machine("n1").log.slice(2, 1000), { term: 1 }));
    expect(late.machine("n1").log.commitIndex).toBe(1);
  });
});

describe("CatchUp", () => {
  const nodeId = (name: string): string => name.padEnd(40, "0");

  function setup(): { script: RaftScript; catchUp: CatchUp; asked: string[]; readonly pass: (ms: number) => void } {
    const ids = ["a", "b", "c"].map((name) => `${nodeId(name)}/1`);
    const script = RaftScript.led(ids);
    const asked: string[] = [];
    let nowMs = 10_000;
    const machine = script.machine(present(ids[2], "there are three"));
    const catchUp = new CatchUp({ monotonicMs: () => nowMs }, () => ({
      machine,
      input: (input: Input) => {
        if (input.type === "fetch") asked.push(input.from.slice(0, 1));
        machine.step(input);
      },
    }));
    return { script, catchUp, asked, pass: (ms) => (nowMs += ms) };
  }

  test("asks one at a time, and another when that one has not answered in time", () => {
    const { catchUp, asked, pass } = setup();
    catchUp.from(nodeId("b"));
    catchUp.from(nodeId("b"));
    pass(2999);
    catchUp.from(nodeId("b"));
    expect(asked).toEqual(["b"]);
    pass(1);
    catchUp.from(nodeId("b"));
    expect(asked).toEqual(["b", "b"]);
    expect(catchUp.fetches).toBe(2);
  });

  test("asks on at once while answers bring something, and pauses when one does not", () => {
    const { script, catchUp, asked, pass } = setup();
    const [, b = "", c = ""] = script.ids;
    const { log } = script.machine(c);
    catchUp.from(nodeId("b"));
    const entries = [{ index: 3, term: 1, data: bytesOf("x"), configuration: undefined }];
    const more: Message = { type: "fetch-response", term: 1, previousIndex: 2, previousTerm: 1, entries };
    expect(log.commitIndex).toBe(2);
    script.machine(c).step({ type: "message", from: b, message: more });
    catchUp.answered(b);
    expect(asked).toEqual(["b", "b"]);
    catchUp.answered(b);
    catchUp.answered(b);
    catchUp.from(nodeId("b"));
    pass(499);
    catchUp.from(nodeId("b"));
    expect(asked).toEqual(["b", "b"]);
    pass(1);
    catchUp.from(nodeId("b"));
    expect(asked).toEqual(["b", "b", "b"]);
  });

  test("asks neither who is no member, nor the leader while that is heard", () => {
    const { script, catchUp, asked } = setup();
    catchUp.from(nodeId("x"));
    catchUp.from(nodeId("a"));
    expect(asked).toEqual([]);
    script.tick(script.ids[2] ?? "", ELECTION_TICKS);
    catchUp.from(nodeId("a"));
    expect(asked).toEqual(["a"]);
  });
});
