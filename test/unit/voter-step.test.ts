/** What a leader does so that the right members vote, where the map has removed some of them. What it does for all others is in `voters.test.ts`. */
import { describe, expect, test } from "bun:test";
import { voterStep } from "../../src/consensus/voter-step.ts";
import type { Raft } from "../../src/protocol/raft/machine.ts";

/**
 * A group in a few letters a member: its node, `+` a voter or `-` a learner, then `x` if the map does not admit it, `*` if it is a witness, `!` if it was never heard, `~` if it is silent for long, `?` for an election timeout, `,` for a part of one. The first
 * one leads.
 */
function step(text: string): string {
  const members = text.split(" ").map((word) => {
    const [, id = "", kind, unwanted, star, silence = ""] = /^([a-z])([-+])(x?)(\*?)([!~?,]?)$/.exec(word) ?? [];
    const silentMs = { "~": 10_000, "?": 600, ",": 200 }[silence] ?? 0;
    const [isUnwanted, isWitness, isAway] = [unwanted === "x", star === "*", silence === "!"];
    return { id, isVoter: kind === "+", isUnwanted, isWitness, isAway, silentMs, zone: "" };
  });
  const find = (id: string): (typeof members)[number] | undefined => members.find((member) => member.id === id);
  const raft = {
    configuration: { members },
    voters: members.filter(({ isVoter }) => isVoter).map(({ id }) => id),
    leadership: {
      progress: new Map(members.map(({ id, isAway }) => [id, { silentTicks: isAway ? Number.POSITIVE_INFINITY : 0 }])),
      isCaughtUp: (id: string) => find(id)?.isAway === false,
    },
  } as unknown as Raft;
  const next = voterStep(
    raft,
    {
      peer: members[0]?.id ?? "",
      nodeOf: (id) => id,
      admits: (id) => find(id)?.isUnwanted === false,
      // One that was never heard since the leader began is silent from the first question on.
      silentMs: (id) => find(id)?.silentMs ?? 0,
    },
    { maxVoters: 5, replaceAfterMs: 10_000, electionMs: 500 },
  );
  if (next === undefined) return "nothing";
  if (next.type === "transfer") return `transfer ${next.target}`;
  return `${next.change.type} ${"id" in next.change ? next.change.id : ""}`;
}

describe("voterStep", () => {
  for (const [what, members, wanted] of [
    ["a voter that the map does not admit goes", "a+ b+x c+", "remove b"],
    ["a learner too, whoever answers", "a+ b-x! c+!", "remove b"],
    ["a voter stays while another one is away: the two left need it", "a+ b+x c+!", "nothing"],
    ["the one that is away goes first, where it is to go as well", "a+ b+x c+x!", "remove c"],
    ["of five, one of the four others may be away", "a+ b+x c+ d+ e+!", "remove b"],
    ["a leader that is to go hands over", "a+x b+ c+", "transfer b"],
    ["to one that may stay, and answers", "a+x b+! c+x d+ e+", "remove c"],
    ["to nobody while none does", "a+x b+!", "nothing"],
    ["and not to one that is to go as well", "a+x b+x c+!", "nothing"],
    ["where nobody who may stay votes, one is given a vote", "a+x b-", "promote b"],
    ["a voter that is away for long loses its vote to one that is there", "a+ b+ c+~ d-", "demote c"],
    ["unless the leader would then need another that may be gone as well", "a+ b+? c+~ d-", "nothing"],
    ["or that it has not heard this very moment", "a+ b+, c+~ d-", "nothing"],
    ["of five three are needed of the four that are left", "a+ b+, c+ d+ e+~ f-", "demote e"],
    ["a witness gets a vote in the place of another", "a+ b+ c+ d-*", "promote d"],
    ["unless one says nothing: until the other has lost its vote all are needed", "a+ b+ c+? d-*", "nothing"],
    ["or was never heard", "a+ b+ c+! d-*", "nothing"],
  ] as const) {
    test(`${what}: ${members}`, () => expect(step(members)).toBe(wanted));
  }
});
