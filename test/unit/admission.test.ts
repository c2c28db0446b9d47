/** How a leader takes in those that ask: many by one change, and only who is wanted still. */
import { describe, expect, test } from "bun:test";
import type { ConsensusFrame } from "../../src/codec/consensus-codec.ts";
import { Admission } from "../../src/consensus/admission.ts";
import { KnownPeers } from "../../src/consensus/known-peers.ts";
import type { ReplicatedState } from "../../src/contracts/consensus.ts";
import type { Raft } from "../../src/protocol/raft/machine.ts";
import type { ConfigurationChange, Member } from "../../src/protocol/raft/types.ts";
import { Simulation } from "../support/sim-world.ts";

type Standing = ReturnType<ReplicatedState["standingOf"]>;

/** A leader as its admission sees it. Changes are noted and, like the machine's, in force at once. */
class Leader {
  readonly changes: ConfigurationChange[] = [];
  readonly sent: ConsensusFrame[] = [];
  readonly standings = new Map<string, Standing>();
  readonly introduced: string[] = [];
  isReady = true;
  term = 1;
  members: readonly Member[] = [];
  log = { configurationIndex: 0, commitIndex: 0 };
  readonly admission: Admission;

  constructor() {
    const machine = (): Raft =>
      ({
        term: this.term,
        log: this.log,
        configuration: { members: this.members },
        leader: "other/1",
      }) as unknown as Raft;
    const state = {
      standingOf: (id: string) => this.standings.get(id) ?? "member",
      introduce: (id: string) => {
        this.introduced.push(id);
        // The map says so once it is agreed, not at once.
        return Promise.resolve().then(() => void this.standings.set(id, "member"));
      },
    } as unknown as ReplicatedState;
    this.admission = new Admission({
      group: () => "g",
      peer: () => "self/1",
      machine,
      isReady: () => this.isReady,
      state: () => state,
      known: new KnownPeers(),
      clock: new Simulation(1).addHost("10.0.0.1").world.clock,
      sendTo: (_, frame) => void this.sent.push(frame),
      sendToPeer: (_, frame) => void this.sent.push(frame),
      change: (change) => {
        this.changes.push(change);
        this.log = { ...this.log, configurationIndex: this.log.commitIndex + 1 };
        if (change.type === "add-learners") this.members = [...this.members, ...change.members];
      },
      manageVoters: () => undefined,
    });
  }

  join(...ids: readonly string[]): void {
    for (const id of ids) {
      const member = { id: `${id}/1`, isVoter: false, host: id, port: 1, zone: "", isWitness: false };
      this.admission.admit({ type: "join", group: "g", member, card: "", hops: 0 });
    }
  }

  /** What was changed last is committed. */
  commit(): void {
    this.log = { ...this.log, commitIndex: this.log.configurationIndex };
    this.admission.takeIn();
  }

  /** Whom each change has added. */
  get added(): readonly string[] {
    return this.changes.map((change) =>
      change.type === "add-learners" ? change.members.map(({ host }) => host).join(" ") : change.type,
    );
  }
}

describe("a leader", () => {
  test("takes one in at once, and those that come meanwhile together when that is committed", () => {
    const leader = new Leader();
    leader.join("a", "b", "c", "b", "a");
    expect(leader.added).toEqual(["a"]);
    leader.commit();
    expect(leader.added).toEqual(["a", "b c"]);
    leader.join("d", "c");
    leader.commit();
    leader.commit();
    expect(leader.added).toEqual(["a", "b c", "d"]);
  });

  test("has those that the map does not know introduced first, each once", async () => {
    const leader = new Leader();
    for (const id of ["a", "b", "c"]) leader.standings.set(id, "unknown");
    leader.join("a", "b", "c", "a", "b", "c");
    expect(leader.changes).toEqual([]);
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
    leader.commit();
    expect(leader.introduced).toEqual(["a", "b", "c"]);
    expect(leader.added).toEqual(["a", "b c"]);
  });

  test("does not take in who was taken out of the map while it waited, and tells who asks then", () => {
    const leader = new Leader();
    leader.join("a", "b", "c");
    leader.standings.set("b", "removed");
    leader.commit();
    expect(leader.added).toEqual(["a", "c"]);
    leader.commit();
    leader.join("b");
    expect(leader.sent).toEqual([{ type: "removed", group: "g", peer: "b/1", isBarred: true }]);
  });

  test("forgets those that asked it in an earlier term: they ask again, if they are there", () => {
    const leader = new Leader();
    leader.join("a", "b");
    leader.isReady = false;
    leader.term = 3;
    leader.commit();
    expect(leader.added).toEqual(["a"]);
    leader.isReady = true;
    leader.join("b");
    expect(leader.added).toEqual(["a", "b"]);
  });

  test("remembers no more than a thousand that wait", () => {
    const leader = new Leader();
    leader.join("a", ...Array.from({ length: 1500 }, (_, at) => `n${at}`));
    leader.commit();
    const [, change] = leader.changes;
    expect(change?.type === "add-learners" ? change.members.length : 0).toBe(1000);
  });
});

test("a member that does not lead passes a join on, three times at most", () => {
  const leader = new Leader();
  leader.isReady = false;
  leader.join("a");
  expect(leader.sent).toMatchObject([{ type: "join", hops: 1 }]);
  const [passed] = leader.sent;
  if (passed?.type !== "join") throw new Error("a join was passed on");
  leader.admission.admit({ ...passed, hops: 3 });
  expect(leader.sent).toHaveLength(1);
});
