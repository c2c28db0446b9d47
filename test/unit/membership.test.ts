/** The machine of membership, rule by rule: one node, told what happens to it. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { claimBytes } from "../../src/codec/gossip-codec.ts";
import { isLater } from "../../src/protocol/membership/claims.ts";
import { GossipQueue } from "../../src/protocol/membership/gossip-queue.ts";
import { LocalHealth } from "../../src/protocol/membership/local-health.ts";
import { Membership } from "../../src/protocol/membership/machine.ts";
import { MEMBERSHIP_PRESETS, digits, leastSuspicionMs } from "../../src/protocol/membership/options.ts";
import { ProbeRing } from "../../src/protocol/membership/probe-ring.ts";
import { Suspicion } from "../../src/protocol/membership/suspicion.ts";
import type { Claim, Datagram, Effect, Exchange, Input, MemberState } from "../../src/protocol/membership/types.ts";
import { SimRandom } from "../support/sim-random.ts";

const OPTIONS = MEMBERSHIP_PRESETS.lan;
const idOf = (index: number): string => index.toString(16).padStart(40, "0");
const SELF = idOf(0);
const sender = { start: 1, refutation: 0, mapVersion: 1, lagMs: 0, offset: 0 };

/** A machine with members 1 to `count - 1`, and what it does. */
class Bench {
  nowMs = 0;
  readonly effects: Effect[] = [];
  readonly machine: Membership;

  constructor(count: number, seed = 1) {
    this.machine = new Membership({
      id: SELF,
      start: 1,
      random: new SimRandom(seed),
      options: OPTIONS,
      maxDatagramBytes: 1320,
      nowMs: 0,
    });
    for (let index = 1; index < count; index += 1) this.step({ type: "introduce", id: idOf(index), start: 1 });
    this.step({ type: "map", version: 1 });
  }

  step(input: Input): readonly Effect[] {
    const effects = this.machine.step(input, this.nowMs);
    this.effects.push(...effects);
    return effects;
  }

  /** Lets time go on, waking the machine when it wants it. */
  advance(byMs: number, onEffect: (effect: Effect) => void = () => undefined): void {
    const endMs = this.nowMs + byMs;
    while (this.machine.wakeAtMs <= endMs) {
      this.nowMs = Math.max(this.nowMs, this.machine.wakeAtMs);
      for (const effect of this.step({ type: "time" })) onEffect(effect);
    }
    this.nowMs = endMs;
  }

  hear(from: number, message: Datagram): readonly Effect[] {
    return this.step({ type: "datagram", from: idOf(from), message });
  }

  gossip(from: number, ...claims: readonly Claim[]): readonly Effect[] {
    return this.hear(from, { type: "gossip", sender, claims });
  }

  state(index: number): MemberState | undefined {
    return this.machine.members.get(idOf(index))?.state;
  }

  sent<Type extends Datagram["type"]>(
    type: Type,
    effects: readonly Effect[] = this.effects,
  ): { readonly to: string; readonly message: Datagram & { readonly type: Type } }[] {
    return effects.flatMap((effect) =>
      effect.type === "send" && effect.message.type === type
        ? { to: effect.to, message: effect.message as Datagram & { readonly type: Type } }
        : [],
    );
  }

  /** Probes members until one of them is asked for, and tells which. */
  probed(): { readonly index: number; readonly sequence: number } {
    for (let tries = 0; tries < 100; tries += 1) {
      const before = this.effects.length;
      this.advance(10);
      const [ping] = this.sent("ping", this.effects.slice(before));
      if (ping !== undefined) return { index: Number.parseInt(ping.to, 16), sequence: ping.message.sequence };
    }
    throw new Error("nobody was probed");
  }
}

function claim(about: number, state: MemberState, refutation = 0, accuser?: number): Claim {
  return {
    id: idOf(about),
    start: 1,
    refutation,
    state,
    accuser: state === "suspect" ? idOf(accuser ?? 1) : undefined,
  };
}

function exchanges(effects: readonly Effect[]): readonly Exchange[] {
  return effects.flatMap((effect) => (effect.type === "exchange" ? effect.message : []));
}

describe("a claim counts", () => {
  test.each([
    ["alive", 1, "alive", 0, true],
    ["alive", 1, "suspect", 0, true],
    ["alive", 1, "down", 0, true],
    ["alive", 1, "left", 0, true],
    ["alive", 0, "suspect", 0, false],
    ["suspect", 0, "alive", 0, true],
    ["suspect", 0, "alive", 1, false],
    ["suspect", 1, "down", 0, true],
    ["down", 0, "suspect", 0, true],
    ["down", 0, "alive", 1, false],
    ["left", 0, "down", 0, true],
    ["down", 0, "left", 0, false],
    ["down", 0, "down", 0, false],
  ] as const)(
    "%s of refutation %d against %s of refutation %d: %p",
    (state, refutation, held, heldRefutation, counts) => {
      expect(isLater({ state, refutation }, { state: held, refutation: heldRefutation })).toBe(counts);
    },
  );
});

describe("a probe", () => {
  test("goes to each member once in a round, in an order of its own", () => {
    const bench = new Bench(9);
    const rounds: string[][] = [];
    const probed: string[] = [];
    while (rounds.length < 3) {
      const { index, sequence } = bench.probed();
      probed.push(idOf(index));
      bench.hear(index, { type: "pong", sender, sequence, claims: [] });
      if (probed.length === 8) rounds.push(probed.splice(0));
    }
    for (const round of rounds) expect(new Set(round).size).toBe(8);
    expect(rounds[1]).not.toEqual(rounds[2]);
  });

  test("that is answered tells the round trip, smoothed", () => {
    const bench = new Bench(2);
    for (const [waitMs, smoothedMs] of [
      [10, 10],
      [18, 11],
    ] as const) {
      const { sequence } = bench.probed();
      const sentAtMs = present(bench.machine.members.get(idOf(1))?.pingedAtMs, "a ping is out");
      bench.nowMs = sentAtMs + waitMs;
      bench.hear(1, { type: "pong", sender, sequence, claims: [] });
      expect(bench.machine.members.get(idOf(1))?.roundTripMs).toBe(smoothedMs);
      expect(bench.machine.members.get(idOf(1))?.pingedAtMs).toBeUndefined();
    }
  });

  test("without an answer asks three others, then suspects, then asks once more, then gives up", () => {
    const bench = new Bench(6);
    const { index } = bench.probed();
    bench.advance(OPTIONS.probeTimeoutMs + 10);
    const asked = bench.sent("ping-req");
    expect(asked).toHaveLength(3);
    expect(new Set(asked.map(({ to }) => to)).size).toBe(3);
    for (const { to, message } of asked) {
      expect(message.target).toBe(idOf(index));
      expect(to).not.toBe(idOf(index));
      bench.hear(Number.parseInt(to, 16), { ...message, type: "ping-req-nack", sender, claims: [] });
    }
    expect(bench.state(index)).toBe("alive");
    bench.advance(OPTIONS.probeMs);
    expect(bench.state(index)).toBe("suspect");
    // Everybody whom it asked has said that it is there: nothing speaks against this node.
    expect(bench.machine.health.score).toBe(0);
    const other = index === 1 ? 2 : 1;
    const third = [1, 2, 3, 4].find((each) => each !== index && each !== other) ?? 0;
    const fourth = [1, 2, 3, 4, 5].find((each) => ![index, other, third].includes(each)) ?? 0;
    for (const accuser of [other, third, fourth]) bench.gossip(accuser, claim(index, "suspect", 0, accuser));
    const before = bench.effects.length;
    bench.advance(leastSuspicionMs(OPTIONS, 6));
    expect(bench.sent("ping", bench.effects.slice(before)).some(({ to }) => to === idOf(index))).toBe(true);
    bench.advance(OPTIONS.probeTimeoutMs * 9);
    expect(bench.state(index)).toBe("down");
    expect(bench.machine.members.get(idOf(index))?.reason).toContain("it did not answer for");
  });

  test("that a helper brings an answer for ends well", () => {
    const bench = new Bench(6);
    const { index } = bench.probed();
    bench.advance(OPTIONS.probeTimeoutMs + 10);
    const [asked] = bench.sent("ping-req");
    if (asked === undefined) throw new Error("nobody was asked");
    bench.hear(Number.parseInt(asked.to, 16), { ...asked.message, type: "ping-req-pong", sender, claims: [] });
    bench.advance(OPTIONS.probeMs);
    expect(bench.state(index)).toBe("alive");
  });

  test("goes at once to a member whose link broke, once at a time", () => {
    const bench = new Bench(4);
    const first = bench.step({ type: "link-lost", id: idOf(2) });
    expect(bench.sent("ping", first).map(({ to }) => to)).toEqual([idOf(2)]);
    expect(bench.step({ type: "link-lost", id: idOf(2) })).toEqual([]);
    expect(bench.step({ type: "link-lost", id: idOf(9) })).toEqual([]);
  });

  test("for another one is answered with a pong, or, in time for that to help, with a nack", () => {
    const bench = new Bench(4);
    const relay = (sequence: number): { readonly sequence: number } => {
      const request: Datagram = { type: "ping-req", sender, sequence, target: idOf(2), claims: [] };
      return present(bench.sent("ping", bench.hear(1, request))[0]?.message, "it asks");
    };
    const { sequence } = relay(77);
    const answer = bench.hear(2, { type: "pong", sender, sequence, claims: [] });
    expect(bench.sent("ping-req-pong", answer)).toMatchObject([
      { to: idOf(1), message: { sequence: 77, target: idOf(2) } },
    ]);
    relay(78);
    bench.advance(OPTIONS.probeTimeoutMs + 1);
    expect(bench.sent("ping-req-nack")).toMatchObject([{ to: idOf(1), message: { sequence: 78, target: idOf(2) } }]);
  });

  test("for another one is refused where too many are under way", () => {
    const bench = new Bench(4);
    for (let sequence = 0; sequence < 300; sequence += 1)
      bench.hear(1, { type: "ping-req", sender, sequence, target: idOf(2), claims: [] });
    expect(bench.machine.counters.refusedRequests).toBe(300 - 256);
  });
});

describe("a suspect", () => {
  test("has the most time at first, half as much above the least with each independent confirmation, and then the least", () => {
    const suspicion = new Suspicion(0, idOf(1), 3, 1000, 5000);
    expect(suspicion.deadlineMs).toBe(5000);
    expect(suspicion.confirm(idOf(1), 1)).toBe(false);
    expect(suspicion.deadlineMs).toBe(5000);
    for (const [accuser, deadlineMs] of [
      [2, 3000],
      [3, 2000],
      [4, 1000],
    ] as const) {
      expect(suspicion.confirm(idOf(accuser), 1)).toBe(true);
      expect(suspicion.deadlineMs).toBe(deadlineMs);
    }
    expect(suspicion.confirm(idOf(5), 1)).toBe(false);
    expect(suspicion.accusers.size).toBe(4);
  });

  test("has the least time from the start where nobody could confirm it", () => {
    const bench = new Bench(2);
    bench.probed();
    bench.advance(OPTIONS.probeMs + leastSuspicionMs(OPTIONS, 2) + OPTIONS.probeTimeoutMs * 3 + 100);
    expect(bench.state(1)).toBe("down");
  });

  test("is alive with a higher refutation number, and with no other", () => {
    const bench = new Bench(4);
    bench.gossip(1, claim(2, "suspect", 3, 1));
    expect(bench.state(2)).toBe("suspect");
    bench.gossip(3, claim(2, "alive", 3));
    expect(bench.state(2)).toBe("suspect");
    bench.gossip(3, claim(2, "alive", 4));
    expect(bench.state(2)).toBe("alive");
  });

  test("is told so with whatever is sent to it", () => {
    const bench = new Bench(4);
    bench.gossip(1, claim(2, "suspect", 0, 1));
    const answer = bench.hear(2, { type: "ping", sender, sequence: 1, claims: [] });
    expect(bench.sent("pong", answer)[0]?.message.claims[0]).toMatchObject({
      id: idOf(2),
      state: "suspect",
      accuser: idOf(1),
    });
  });

  test("has its accusers named for as long as it is down", () => {
    const bench = new Bench(3);
    bench.gossip(1, claim(2, "suspect", 0, 1));
    bench.advance(60_000);
    expect(bench.state(2)).toBe("down");
    expect([...(bench.machine.members.get(idOf(2))?.suspicion?.accusers.keys() ?? [])]).toContain(idOf(1));
  });
});

describe("this node", () => {
  test("disproves what is said against it with a higher number, in the answer to whoever said it", () => {
    const bench = new Bench(4);
    const answer = bench.hear(1, { type: "ping", sender, sequence: 5, claims: [claim(0, "suspect", 0, 1)] });
    expect(bench.machine.self).toMatchObject({ state: "alive", refutation: 1 });
    expect(bench.sent("pong", answer)[0]?.message.sender.refutation).toBe(1);
    expect(bench.machine.health.score).toBe(1);
    bench.gossip(1, claim(0, "down", 7));
    expect(bench.machine.self.refutation).toBe(8);
    bench.gossip(1, claim(0, "suspect", 6, 2));
    expect(bench.machine.self.refutation).toBe(8);
  });

  test("takes up its own number again, which it has forgotten", () => {
    const bench = new Bench(4);
    bench.gossip(1, claim(0, "alive", 12));
    expect(bench.machine.self).toMatchObject({ state: "alive", refutation: 12 });
    expect(bench.machine.counters.refutations).toBe(0);
  });

  test("answers pings of nodes that its map does not name, and takes nothing else from them", () => {
    const bench = new Bench(3);
    const stranger = bench.hear(9, { type: "ping", sender, sequence: 4, claims: [claim(1, "down")] });
    expect(bench.sent("pong", stranger)).toMatchObject([{ to: idOf(9), message: { sequence: 4 } }]);
    expect(bench.state(1)).toBe("alive");
    expect(bench.machine.counters.unknownSenders).toBe(1);
    expect(bench.hear(9, { type: "gossip", sender, claims: [claim(1, "left")] })).toEqual([]);
    expect(bench.state(1)).toBe("alive");
  });

  test("ignores and counts what is said of unknown nodes, and keeps nothing of it", () => {
    const bench = new Bench(3);
    for (let about = 100; about < 1100; about += 1) bench.gossip(1, claim(about, "suspect", 0, 1));
    expect(bench.machine.counters.unknownClaims).toBe(1000);
    expect(bench.machine.members.size).toBe(3);
    expect(bench.machine.newsCount).toBe(0);
  });

  test("says that somebody has a newer map, again after a while, and not what is no news", () => {
    const bench = new Bench(3);
    const newer = (): readonly Effect[] =>
      bench.hear(1, { type: "gossip", sender: { ...sender, mapVersion: 9 }, claims: [] });
    expect(newer()).toContainEqual({ type: "newer-map", version: 9, from: idOf(1) });
    expect(newer()).toEqual([]);
    bench.advance(1500);
    expect(newer()).toContainEqual({ type: "newer-map", version: 9, from: idOf(1) });
    bench.step({ type: "map", version: 9 });
    bench.advance(1500);
    expect(newer()).toEqual([]);
  });

  test("says that it leaves to several at once, and nothing after that", () => {
    const bench = new Bench(20);
    const leaving = bench.step({ type: "leave" });
    const told = bench.sent("gossip", leaving);
    expect(told.length).toBe(OPTIONS.gossipFanout * digits(20));
    for (const { message } of told) expect(message.claims).toContainEqual(claim(0, "left"));
    expect(bench.step({ type: "time" })).toEqual([]);
    expect(bench.hear(1, { type: "ping", sender, sequence: 1, claims: [] })).toEqual([]);
  });

  test("says that it is there until somebody has compared all with it", () => {
    const bench = new Bench(6);
    bench.advance(2 * OPTIONS.probeMs);
    expect(bench.sent("meet").length).toBeGreaterThanOrEqual(6);
    bench.step({
      type: "exchange",
      from: idOf(1),
      message: { type: "digest", sender, digest: bench.machine.members.digest },
    });
    bench.advance(OPTIONS.probeMs);
    const before = bench.sent("meet").length;
    bench.advance(3 * OPTIONS.probeMs);
    expect(bench.sent("meet").length).toBe(before);
  });
});

describe("doubt of itself", () => {
  test("stays within its bounds", () => {
    const health = new LocalHealth(8);
    for (const [by, score] of [
      [-1, 0],
      [3, 3],
      [20, 8],
      [-1, 7],
    ] as const) {
      health.change(by);
      expect(health.score).toBe(score);
      expect(health.factor).toBe(1 + score);
    }
  });

  test("grows with probes that fail without a word from those that were asked, and slows down the next ones", () => {
    const bench = new Bench(60);
    bench.advance(10_000);
    expect(bench.machine.health.score).toBe(8);
    const before = bench.machine.counters.probes;
    bench.advance(10 * OPTIONS.probeMs);
    expect(bench.machine.counters.probes - before).toBeLessThanOrEqual(3);
  });

  test("grows with stops of the event loop that are longer than a probe waits", () => {
    const bench = new Bench(4);
    bench.step({ type: "lag", lagMs: OPTIONS.probeTimeoutMs - 1 });
    expect(bench.machine.health.score).toBe(0);
    bench.step({ type: "lag", lagMs: OPTIONS.probeTimeoutMs });
    expect(bench.machine.health.score).toBe(1);
    expect(bench.machine.self.lagMs).toBe(OPTIONS.probeTimeoutMs);
  });

  test("gives back the time that this node stood still to those that it was judging", () => {
    const bench = new Bench(4);
    const { index, sequence } = bench.probed();
    bench.nowMs += 30_000;
    bench.step({ type: "time" });
    expect(bench.state(index)).toBe("alive");
    bench.hear(index, { type: "pong", sender, sequence, claims: [] });
    bench.advance(50);
    expect(bench.state(index)).toBe("alive");
  });

  test("reads what has come before it calls a probe failed, however late it wakes up", () => {
    const bench = new Bench(2);
    const { sequence } = bench.probed();
    bench.advance(OPTIONS.probeMs - 50);
    // A stop that ends just after the deadline: hardly late at all.
    bench.nowMs = bench.machine.wakeAtMs + 15;
    bench.step({ type: "time" });
    expect(bench.state(1)).toBe("alive");
    bench.hear(1, { type: "pong", sender, sequence, claims: [] });
    bench.advance(100);
    expect(bench.state(1)).toBe("alive");
  });
});

describe("a start of a node", () => {
  test("that the map names begins anew, whatever was held of the one before", () => {
    const bench = new Bench(4);
    bench.gossip(1, claim(2, "suspect", 5, 1));
    bench.gossip(1, claim(2, "down", 5));
    expect(bench.state(2)).toBe("down");
    const changed = bench.step({ type: "introduce", id: idOf(2), start: 8 });
    expect(changed).toContainEqual({
      type: "member",
      id: idOf(2),
      start: 8,
      state: "alive",
      previous: "down",
      reason: "it has started anew",
    });
    // Word of the earlier start is late.
    bench.gossip(1, claim(2, "down", 99));
    expect(bench.state(2)).toBe("alive");
  });

  test("is not heard by what another one sends", () => {
    const bench = new Bench(4);
    bench.step({ type: "introduce", id: idOf(2), start: 8 });
    const { sequence } = present(
      bench.sent("ping", bench.step({ type: "link-lost", id: idOf(2) }))[0]?.message,
      "it asks",
    );
    bench.hear(2, { type: "pong", sender, sequence, claims: [] });
    expect(bench.machine.members.get(idOf(2))?.heardAtMs).toBeUndefined();
    bench.hear(2, { type: "pong", sender: { ...sender, start: 8 }, sequence, claims: [] });
    expect(bench.machine.members.get(idOf(2))?.heardAtMs).toBe(bench.nowMs);
  });

  test("of this node begins without a refutation number", () => {
    const bench = new Bench(4);
    bench.gossip(1, claim(0, "down", 5));
    bench.step({ type: "introduce", id: SELF, start: 3 });
    expect(bench.machine.self).toMatchObject({ start: 3, refutation: 0, mapVersion: 1 });
  });

  test("is forgotten with the node", () => {
    const bench = new Bench(4);
    bench.gossip(1, claim(2, "suspect", 0, 1));
    bench.step({ type: "forget", id: idOf(2) });
    expect(bench.state(2)).toBeUndefined();
    expect(bench.machine.newsCount).toBe(0);
    const digestOf = (count: number): number => new Bench(count).machine.members.digest;
    expect(bench.machine.members.digest).toBe((digestOf(2) ^ digestOf(3) ^ digestOf(4)) >>> 0);
  });
});

describe("a member that is down", () => {
  test("is tried now and then, and is back when it answers with a higher number", () => {
    const bench = new Bench(3);
    bench.gossip(1, claim(2, "suspect", 0, 1));
    bench.gossip(1, claim(2, "down", 0));
    expect(bench.state(2)).toBe("down");
    const before = bench.effects.length;
    bench.advance(OPTIONS.retryDownMs);
    const tried = bench.sent("ping", bench.effects.slice(before)).find(({ to }) => to === idOf(2));
    expect(tried?.message.claims[0]).toMatchObject({ id: idOf(2), state: "down" });
    const back = bench.hear(2, { type: "pong", sender: { ...sender, refutation: 1 }, sequence: 0, claims: [] });
    expect(bench.state(2)).toBe("alive");
    // It may come from the other side of a partition: all that is held is compared.
    expect(exchanges(back)).toMatchObject([{ type: "digest" }]);
  });

  test("for somebody else alone is a suspect here", () => {
    const bench = new Bench(4);
    bench.gossip(1, claim(2, "down"));
    expect(bench.state(2)).toBe("suspect");
    bench.step({
      type: "exchange",
      from: idOf(1),
      message: { type: "table", sender, isAnswerWanted: false, claims: [claim(3, "down")] },
    });
    expect(bench.state(3)).toBe("suspect");
    bench.gossip(1, claim(2, "down"));
    expect(bench.state(2)).toBe("down");
  });

  test("is not looked for when it has left, and who suspects it is told", () => {
    const bench = new Bench(3);
    bench.gossip(1, claim(2, "left"));
    const before = bench.effects.length;
    bench.advance(60_000);
    expect(bench.sent("ping", bench.effects.slice(before)).some(({ to }) => to === idOf(2))).toBe(false);
    const answer = bench.gossip(1, claim(2, "suspect", 0, 1));
    expect(bench.sent("gossip", answer)).toMatchObject([{ to: idOf(1) }]);
    expect(bench.sent("gossip", answer)[0]?.message.claims).toContainEqual(claim(2, "left"));
  });
});

describe("comparing all", () => {
  test("ends with a digest where both hold the same", () => {
    const [a, b] = [new Bench(50, 1), new Bench(50, 2)];
    expect(a.machine.members.digest).toBe(b.machine.members.digest);
    expect(
      b.step({
        type: "exchange",
        from: idOf(1),
        message: { type: "digest", sender, digest: a.machine.members.digest },
      }),
    ).toEqual([]);
  });

  test("sends tables in pieces, both ways, where they do not", () => {
    const bench = new Bench(2500);
    const pieces = exchanges(
      bench.step({ type: "exchange", from: idOf(1), message: { type: "digest", sender, digest: 1 } }),
    );
    expect(pieces.map((piece) => (piece.type === "table" ? [piece.claims.length, piece.isAnswerWanted] : []))).toEqual([
      [1000, false],
      [1000, false],
      [500, true],
    ]);
    const answer = exchanges(
      bench.step({
        type: "exchange",
        from: idOf(1),
        message: { type: "table", sender, isAnswerWanted: true, claims: [] },
      }),
    );
    expect(answer.every((piece) => piece.type === "table" && !piece.isAnswerWanted)).toBe(true);
  });

  test("happens with another member once in pushPullMs", () => {
    const bench = new Bench(5);
    bench.advance(10 * OPTIONS.pushPullMs, (effect) => {
      // All answer, so that they stay.
      if (effect.type !== "send" || effect.message.type !== "ping") return;
      bench.hear(Number.parseInt(effect.to, 16), {
        type: "pong",
        sender,
        sequence: effect.message.sequence,
        claims: [],
      });
    });
    const digests = exchanges(bench.effects).filter(({ type }) => type === "digest");
    expect(digests.length).toBeWithin(9, 12);
  });
});

describe("news", () => {
  test("that was sent least goes first, a bounded number of times, and later news of a member replaces earlier", () => {
    const queue = new GossipQueue();
    queue.add(claim(1, "suspect", 0, 9));
    queue.add(claim(1, "alive", 1));
    queue.add(claim(2, "alive", 1));
    expect(queue.size).toBe(2);
    const room = claimBytes(claim(1, "alive", 1));
    const order = Array.from({ length: 6 }, () => queue.take(room, 3)[0]?.id);
    expect(order).toEqual([1, 2, 1, 2, 1, 2].map(idOf));
    expect(queue.size).toBe(0);
    expect(queue.take(1000, 3)).toEqual([]);
  });

  test("goes along with as much as there is room for", () => {
    const queue = new GossipQueue();
    for (let index = 0; index < 200; index += 1) queue.add(claim(index, "suspect", 0, 9));
    const taken = queue.take(1000, 3);
    expect(taken.length).toBe(Math.floor(1000 / claimBytes(claim(1, "suspect", 0, 9))));
    expect(new Set(taken.map(({ id }) => id)).size).toBe(taken.length);
  });

  test("is passed on at once, then every gossipMs, and nothing is sent when there is none", () => {
    const calm = new Bench(40);
    // The map's version is news at first.
    calm.advance(20_000, (effect) => {
      if (effect.type !== "send" || effect.message.type !== "ping") return;
      calm.hear(Number.parseInt(effect.to, 16), {
        type: "pong",
        sender,
        sequence: effect.message.sequence,
        claims: [],
      });
    });
    const settled = calm.sent("gossip").length;
    calm.gossip(1, claim(2, "alive", 1));
    calm.nowMs += 1;
    calm.advance(1);
    expect(calm.sent("gossip").length).toBe(settled + OPTIONS.gossipFanout);
    calm.advance(OPTIONS.gossipMs);
    expect(calm.sent("gossip").length).toBe(settled + 2 * OPTIONS.gossipFanout);
  });
});

describe("the ring", () => {
  test("gives each once in a round, whoever comes and goes", () => {
    const ring = new ProbeRing<number>(new SimRandom(3));
    for (let each = 0; each < 10; each += 1) ring.add(each);
    const round = (): readonly (number | undefined)[] => Array.from({ length: ring.size }, () => ring.next(() => true));
    expect(new Set(round()).size).toBe(10);
    ring.remove(4);
    expect(new Set([...round(), ...round()]).size).toBe(9);
    expect(ring.next(() => false)).toBeUndefined();
    expect(new Set(ring.some(20, () => true)).size).toBe(9);
    expect(new Set(ring.some(3, (each) => each > 7))).toEqual(new Set([8, 9]));
  });
});

test.each([
  [1, 1],
  [2, 2],
  [3, 2],
  [20, 5],
  [2000, 11],
])("%d members have %d binary digits", (count, expected) => {
  expect(digits(count)).toBe(expected);
});
