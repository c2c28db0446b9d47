/** Who becomes part of whose cluster: every pair of standings, seen from both sides. */
import { describe, expect, test } from "bun:test";
import { type ClusterStanding, type MeetingStep, meetingStep } from "../../src/protocol/meeting.ts";

function standing(clusterId: string, nodeCount = 1, more: Partial<ClusterStanding> = {}): ClusterStanding {
  return { clusterId, nodeCount, isKeyless: true, isSealed: false, isOut: false, ...more };
}

const NONE = standing("", 0);
const OUT = standing("a", 3, { isOut: true });

/** What each side does: this node, and the other one. */
const STEPS: readonly (readonly [
  string,
  ClusterStanding,
  ClusterStanding,
  MeetingStep["type"],
  MeetingStep["type"],
])[] = [
  ["two nodes without a cluster wait for one", NONE, NONE, "wait", "wait"],
  ["a node without a cluster joins one of one node", NONE, standing("a"), "join", "invite"],
  ["a node without a cluster joins one of several", NONE, standing("a", 9), "join", "invite"],
  ["two that were taken out wait", OUT, standing("b", 3, { isOut: true }), "wait", "wait"],
  ["one that was taken out joins a cluster", OUT, standing("b"), "join", "invite"],
  ["one that was taken out of a cluster comes back to it", OUT, standing("a", 2), "join", "invite"],
  ["one that was taken out waits for one without a cluster", OUT, NONE, "wait", "wait"],
  ["members of one cluster have met", standing("a", 2), standing("a", 2), "met", "met"],
  ["members of one cluster have met, whoever knows more", standing("a", 2), standing("a", 3), "met", "met"],
  [
    "members of one cluster have met, though one is sealed",
    standing("a", 1, { isSealed: true }),
    standing("a", 2),
    "met",
    "met",
  ],
  ["of two that are alone the higher id joins", standing("a"), standing("b"), "invite", "join"],
  ["one that is alone joins the larger one, also from below", standing("a"), standing("b", 2), "join", "invite"],
  ["one that is alone joins the larger one, also from above", standing("b"), standing("a", 2), "join", "invite"],
  [
    "one that is on its way elsewhere is waited for",
    standing("b", 1, { isSealed: true }),
    standing("a"),
    "wait",
    "wait",
  ],
  ["a sealed one takes nobody in", standing("a", 1, { isSealed: true }), NONE, "wait", "wait"],
  ["two of several nodes each do not become one", standing("a", 2), standing("b", 2), "refuse", "refuse"],
];

describe("meetingStep", () => {
  for (const [what, self, other, own, others] of STEPS) {
    test(what, () => {
      expect(meetingStep(self, other).type).toBe(own);
      expect(meetingStep(other, self).type).toBe(others);
    });
  }

  test("refuses with the sizes and the names of both", () => {
    expect(meetingStep(standing("a", 2), standing("b", 3))).toEqual({
      type: "refuse",
      reason:
        "two clusters of several nodes do not become one (2 nodes in a, 3 in b); CLUSTER RESET takes a node out of its own",
    });
  });

  test("never has both join, or both invite, and does not depend on keys", () => {
    const all: ClusterStanding[] = [];
    for (const clusterId of ["", "a", "b"]) {
      for (const nodeCount of [0, 1, 2]) {
        for (let bits = 0; bits < 8; bits += 1) {
          const more = { isKeyless: (bits & 1) !== 0, isSealed: (bits & 2) !== 0, isOut: (bits & 4) !== 0 };
          all.push(standing(clusterId, nodeCount, more));
        }
      }
    }
    const opposite: Readonly<Record<MeetingStep["type"], MeetingStep["type"]>> = {
      met: "met",
      join: "invite",
      invite: "join",
      wait: "wait",
      refuse: "refuse",
    };
    for (const self of all) {
      for (const other of all) {
        const step = meetingStep(self, other);
        expect(meetingStep(other, self).type).toBe(opposite[step.type]);
        expect(meetingStep({ ...self, isKeyless: !self.isKeyless }, other)).toEqual(step);
      }
    }
  });
});
