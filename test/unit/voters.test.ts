/** Who votes: one change at a time, until an odd number of members that answer do, in as many zones as there are. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { type VoterCandidate, type VoterPolicy, foundingVoters, nextVoterChange } from "../../src/protocol/voters.ts";
import type { ConfigurationChange } from "../../src/protocol/raft/types.ts";

const POLICY: VoterPolicy = { maxVoters: 3, replaceAfterMs: 1000 };

/**
 * A group in a few letters a member: its node, `+` a voter, `-` a learner, `~` a learner that lacks much of the log; then `*` if it is a witness, `!` if it is
 * away or `?` if it has just said nothing, and `@` with its zone. The first is the leader; two of one node are two starts of it.
 */
function group(text: string): readonly VoterCandidate[] {
  return text.split(" ").map((word, at) => {
    const [, node = "", kind, witness, away, zone = ""] =
      /^([a-z]+)([-+~])(\*?)([!?]?)(?:@([a-z]+))?$/.exec(word) ?? [];
    return {
      member: { id: `${node}/${at}`, isVoter: kind === "+", host: node, port: 1, zone, isWitness: witness === "*" },
      nodeId: node,
      silentMs: away === "!" ? 1000 : 999,
      isAnswering: away === "",
      isCaughtUp: kind !== "~",
    };
  });
}

function next(text: string, policy: Partial<VoterPolicy> = {}): string {
  const candidates = group(text);
  const change = nextVoterChange(candidates, candidates[0]?.member.id ?? "", { ...POLICY, ...policy });
  return change === undefined ? "nothing" : `${change.type} ${"id" in change ? change.id : ""}`;
}

describe("nextVoterChange", () => {
  for (const [what, members, change] of [
    ["one alone votes", "a+", "nothing"],
    ["two: one votes", "a+ b-", "nothing"],
    ["two that vote are one too many", "a+ b+", "demote b/1"],
    ["three: all vote, one after the other", "a+ b- c-", "promote b/1"],
    ["the third follows", "a+ b+ c-", "promote c/2"],
    ["three are enough", "a+ b+ c+ d- e-", "nothing"],
    ["a fourth voter loses its vote", "a+ b+ c+ d+", "demote d/3"],
    ["but one of two would be needed as well: the step to two waits for both", "a+ b- c~", "nothing"],
    ["one of three goes on to five with two that are ready", "a+ b+ c+ d- e- f-", "promote d/3"],
    ["and not with one", "a+ b+ c+ d- e~ f-!", "nothing"],
    ["a learner that lacks much of the log waits", "a+ b~ c~", "nothing"],
    ["and meanwhile nobody loses a vote that would be needed again", "a+ b+ c~", "nothing"],
    ["a learner that is away gets no vote", "a+ b-! c-", "nothing"],
    ["a voter that is away loses its vote first", "a+ b+! c+ d-", "demote b/1"],
    ["and then the other one gets it: it may die at once, and two of three are left", "a+ b-! c+ d-", "promote d/3"],
    ["and then loses its vote", "a+ b+! c+ d+", "demote b/1"],
    ["a voter that is away stays if nobody can take its place", "a+ b+! c+", "nothing"],
    ["nor can a learner that is away as well, or behind", "a+ b+! c+ d-! e~", "nothing"],
    ["an identity that another start of its node followed goes", "a+ b+! c+ b-", "remove b/1"],
    ["whether it votes or not", "a+ b-! b+ c+", "remove b/1"],
    ["the leader stays, whoever followed it", "a+ b+ c+ a-", "nothing"],
    ["a zone without a voter comes first", "a+@x b-@x c-@y", "promote c/2"],
    ["a zone with fewer voters comes first", "a+@x b+@x c+@y d+@y e-@x f-@z", "promote f/5"],
    ["of too many voters one of the fullest zone goes", "a+@x b+@y c+@y d+@z", "demote c/2"],
    ["one that is away goes before that", "a+@x b+@y c+@y d+!@z", "demote d/3"],
    ["voters that all stand in one zone make room", "a+@x b+@x c+@x d-@y", "promote d/3"],
    ["and one of them goes", "a+@x b+@x c+@x d+@y", "demote c/2"],
    [
      "but not while one of them says nothing: the new one would be needed, and may be lost",
      "a+@x b+@x c+?@x d-@y",
      "nothing",
    ],
    ["nor while the leader has just begun, and has heard nobody", "a+ b+? c+? w-*", "nothing"],
    ["a zone that is fuller by one is no reason", "a+@x b+@x c+@y d-@y", "nothing"],
    ["nor is the leader's, which it fills alone", "a+@x b+@y c+@z d-@w", "nothing"],
    ["a witness is there to vote", "a+ b+ c+ w-*", "promote w/3"],
    ["in the place of a node with data", "a+ b+ c+ w+*", "demote c/2"],
    ["it comes before a zone without a voter", "a+@x b-@y w-*@x", "promote w/2"],
    ["and does not make room for one", "a+@x w+*@y v+*@y d-@z", "nothing"],
    ["but for another witness", "a+@x w+*@y v+*@y u-*@z", "promote u/3"],
    ["witnesses beyond the voters that are wanted wait", "a+ v+* w+* u-*", "nothing"],
    ["one that lacks much of the log waits as well", "a+ b+ c+ w~*", "nothing"],
    ["one that is away is not counted on", "a+ b+ w+*! d-", "demote w/2"],
  ] as const) {
    test(`${what}: ${members}`, () => {
      const maxVoters = members.includes("f-") ? 5 : 3;
      expect(next(members, { maxVoters })).toBe(change);
    });
  }

  test("an even bound counts as one less", () => {
    for (const maxVoters of [3, 4]) expect(next("a+ b+ c+ d-", { maxVoters })).toBe("nothing");
    expect(next("a+ b+ c+ d- e-", { maxVoters: 5 })).toBe("promote d/3");
  });

  test("of five voters those that are away go until three that answer are left", () => {
    expect(next("a+ b+! c+! d+ e+", { maxVoters: 5 })).toMatch(/^demote [bc]/);
    expect(next("a+ b+! d+ e+", { maxVoters: 5 })).toMatch(/^demote b/);
    expect(next("a+ d+ e+ b-! c-!", { maxVoters: 5 })).toBe("nothing");
  });
});

function apply(candidates: readonly VoterCandidate[], change: ConfigurationChange): readonly VoterCandidate[] {
  if (change.type === "remove") return candidates.filter(({ member }) => member.id !== change.id);
  const id = "id" in change ? change.id : "";
  const isVoter = change.type === "promote";
  return candidates.map((each) => (each.member.id === id ? { ...each, member: { ...each.member, isVoter } } : each));
}

test("changes made one after another come to rest, with an odd number of voters that answer, spread over zones", () => {
  const candidate = fc.record({
    nodeId: fc.constantFrom("a", "b", "c", "d", "e", "f", "g", "h"),
    zone: fc.constantFrom("x", "y", "z"),
    isVoter: fc.boolean(),
    isWitness: fc.boolean(),
    isAway: fc.boolean(),
    isCaughtUp: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(candidate, { maxLength: 9 }), fc.integer({ min: 1, max: 5 }), (drawn, maxVoters) => {
      const leader = { nodeId: "leader", zone: "x", isVoter: true, isWitness: false, isAway: false, isCaughtUp: true };
      let candidates: readonly VoterCandidate[] = [leader, ...drawn].map((each, at) => ({
        member: {
          id: `${each.nodeId}/${at}`,
          isVoter: each.isVoter,
          host: "",
          port: 1,
          zone: each.zone,
          isWitness: each.isWitness,
        },
        nodeId: each.nodeId,
        silentMs: each.isAway ? 5000 : 0,
        isAnswering: !each.isAway,
        isCaughtUp: each.isCaughtUp || each.isVoter,
      }));
      const policy = { maxVoters, replaceAfterMs: 1000 };
      let changes = 0;
      const settle = (): void => {
        for (
          let change = nextVoterChange(candidates, "leader/0", policy);
          change !== undefined;
          change = nextVoterChange(candidates, "leader/0", policy)
        ) {
          changes += 1;
          if (changes > 40) throw new Error("it goes on for ever");
          candidates = apply(candidates, change);
        }
      };
      settle();
      // In time, those that answer have the whole log.
      candidates = candidates.map((each) => (each.silentMs > 0 ? each : { ...each, isCaughtUp: true }));
      settle();
      const isAway = ({ silentMs }: VoterCandidate): boolean => silentMs >= policy.replaceAfterMs;
      const voters = candidates.filter(({ member }) => member.isVoter);
      const ready = candidates.filter((each) => !each.member.isVoter && each.isCaughtUp && !isAway(each));
      const answering = voters.filter((each) => !isAway(each)).length + ready.length;
      expect(voters.map(({ member }) => member.id)).toContain("leader/0");
      expect(new Set(candidates.map(({ nodeId }) => nodeId)).size).toBe(candidates.length);
      expect(voters.length % 2).toBe(1);
      expect(voters.length).toBeLessThanOrEqual(maxVoters);
      if (answering >= 3 || maxVoters < 3) {
        expect(voters.some(isAway)).toBe(false);
        expect(voters.length).toBe(foundingVoters(answering, maxVoters));
      }
      const votersIn = (zone: string): number => voters.filter(({ member }) => member.zone === zone).length;
      for (const { member } of voters.filter((each) => each.member.id !== "leader/0")) {
        for (const { member: other } of ready) {
          // Who waits is no witness while somebody else votes, and stands nowhere better than one of its kind.
          expect(other.isWitness && !member.isWitness).toBe(false);
          if (other.isWitness === member.isWitness)
            expect(votersIn(member.zone) - votersIn(other.zone)).toBeLessThan(2);
        }
      }
    }),
    { numRuns: 3000 },
  );
});

test("foundingVoters is the largest odd number of founders within the bound", () => {
  const rows = [1, 2, 3, 4, 5, 6, 7].map((count) => [1, 3, 4, 5].map((most) => foundingVoters(count, most)));
  expect(rows).toEqual([
    [1, 1, 1, 1],
    [1, 1, 1, 1],
    [1, 3, 3, 3],
    [1, 3, 3, 3],
    [1, 3, 3, 5],
    [1, 3, 3, 5],
    [1, 3, 3, 5],
  ]);
});
