/** What a leader knows of its followers, at any moment that somebody asks. */
import { expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { Raft } from "../../src/protocol/raft/machine.ts";
import { type DurableState, type Input, type Member, RAFT_DEFAULTS } from "../../src/protocol/raft/types.ts";
import { SimRandom } from "../support/sim-random.ts";

/** A voter and a learner, between which everything arrives at once, unless the learner is cut off. */
class Pair {
  readonly machines: ReadonlyMap<string, Raft>;
  isCutOff = false;

  constructor() {
    const members = ["voter", "learner"].map((id): Member => ({
      id,
      isVoter: id === "voter",
      host: id,
      port: 1,
      zone: "",
      isWitness: false,
    }));
    const state: DurableState = {
      term: 0,
      votedFor: undefined,
      snapshot: { index: 1, term: 0, configuration: { members }, data: Uint8Array.of(1) },
      entries: [],
    };
    const random = new SimRandom("pair");
    this.machines = new Map(members.map(({ id }) => [id, new Raft({ ...RAFT_DEFAULTS, id, state, random })]));
  }

  get knowsThatItIsCaughtUp(): boolean {
    return present(this.machines.get("voter")?.leadership, "it leads").isCaughtUp("learner");
  }

  step(id: string, input: Input): void {
    for (const effect of present(this.machines.get(id), "it is a member").step(input)) {
      if (effect.type === "persist") this.step(id, { type: "persisted", ticket: effect.ticket });
      else if (effect.type === "send" && !this.isCutOff) {
        this.step(effect.to, { type: "message", from: id, message: effect.message });
      }
    }
  }

  tick(): void {
    for (const id of this.machines.keys()) this.step(id, { type: "tick" });
  }
}

test("a learner that answers is known to be caught up at every moment, and one that has gone is not for long", () => {
  const pair = new Pair();
  pair.step("voter", { type: "campaign" });
  pair.tick();
  pair.tick();
  // Whoever asks in step with the leader's own counting must not always come just after it.
  for (let tick = 0; tick < 5 * RAFT_DEFAULTS.electionTicks; tick += 1) {
    pair.tick();
    expect(pair.knowsThatItIsCaughtUp, `tick ${tick}`).toBe(true);
  }
  pair.isCutOff = true;
  // Two heartbeats later, at most: it must not be given a vote that a group of one would hang on.
  for (let tick = 0; tick <= 2 * RAFT_DEFAULTS.heartbeatTicks; tick += 1) pair.tick();
  expect(pair.knowsThatItIsCaughtUp).toBe(false);
  pair.step("voter", { type: "change", id: 1, change: { type: "promote", id: "learner" } });
  expect(pair.machines.get("voter")?.voters).toEqual(["voter"]);
  pair.isCutOff = false;
  for (let tick = 0; tick <= RAFT_DEFAULTS.heartbeatTicks; tick += 1) pair.tick();
  expect(pair.knowsThatItIsCaughtUp).toBe(true);
  pair.step("voter", { type: "change", id: 2, change: { type: "promote", id: "learner" } });
  expect(pair.machines.get("voter")?.voters).toEqual(["voter", "learner"]);
});
