/** How long things have stayed as they are, how old what a follower lacks is, and clocks that are compared. */
import { describe, expect, test } from "bun:test";
import type { HealthMessage, ShardLoad } from "../../src/codec/health-codec.ts";
import { HealthReports } from "../../src/health/reports.ts";
import { LagClock, Standstills } from "../../src/protocol/health/trackers.ts";

describe("a standstill", () => {
  test("lasts from the first look at which a thing was as it is, and ends with its next change", () => {
    const standstills = new Standstills();
    const look = (nowMs: number, marks: Readonly<Record<string, string>>) =>
      Object.fromEntries(standstills.look(new Map(Object.entries(marks)), nowMs));
    expect(look(0, { a: "1" })).toEqual({ a: 0 });
    expect(look(1000, { a: "1", b: "1" })).toEqual({ a: 1000, b: 0 });
    expect(look(2000, { a: "2", b: "1" })).toEqual({ a: 0, b: 1000 });
    expect(look(3000, { b: "1" })).toEqual({ b: 2000 });
    // It was away, and begins anew.
    expect(look(4000, { a: "2", b: "1" })).toEqual({ a: 0, b: 3000 });
  });
});

describe("the age of what a follower lacks", () => {
  test("is that of the first moment at which the log had more than the follower has", () => {
    const clock = new LagClock();
    for (const [last, atMs] of [
      [10, 0],
      [20, 1000],
      [20, 2000],
      [30, 3000],
    ] as const)
      clock.note(last, atMs);
    expect([30, 29, 20, 19, 10, 9, 0].map((acknowledged) => clock.behindMs(acknowledged, 4000))).toEqual([
      0, 1000, 1000, 3000, 3000, 4000, 4000,
    ]);
  });

  test("is that of the log that there is: one that begins anew forgets the other", () => {
    const clock = new LagClock();
    clock.note(100, 0);
    clock.note(5, 1000);
    expect(clock.behindMs(4, 3000)).toBe(2000);
    expect(clock.behindMs(5, 3000)).toBe(0);
  });

  test("is right to a small part over days, in a bounded memory", () => {
    const clock = new LagClock();
    const seconds = 100_000;
    for (let at = 1; at <= seconds; at += 1) clock.note(at, 1000 * at);
    // Nobody is told to be behind who has it all, and who is behind is told less than it is by no more than a few looks.
    expect(clock.behindMs(seconds, 1000 * seconds)).toBe(0);
    for (const behind of [1, 5, 30, 60]) {
      const toldMs = clock.behindMs(seconds - behind, 1000 * seconds);
      expect(toldMs).toBeLessThan(1000 * behind);
      expect(toldMs).toBeGreaterThanOrEqual(1000 * (behind - 1) * 0.5);
    }
  });
});

/** Two nodes, of which the first leads, with clocks of their own; messages wait until they are carried. */
class Pair {
  leader: string | undefined = "a";
  nowMs = 0;
  readonly aheadMs: Record<string, number> = { a: 0, b: 0 };
  readonly queue: { readonly from: string; readonly to: string; readonly message: HealthMessage }[] = [];
  readonly a = this.#reports("a", undefined);
  readonly b = this.#reports("b", { microseconds: 5, bytes: 6, hottestSlot: 7, hottestMicroseconds: 4 });

  #reports(nodeId: string, load: ShardLoad | undefined): HealthReports {
    return new HealthReports(
      {
        nodeId,
        nowMs: () => this.nowMs,
        wallMs: () => 1_000_000 + this.nowMs + (this.aheadMs[nodeId] ?? 0),
        leader: () => this.leader,
        load: () => load,
        send: (to, message) => void this.queue.push({ from: nodeId, to, message }),
      },
      10_000,
    );
  }

  /** Carries the next message, which takes a while. */
  carry(ms: number): void {
    this.nowMs += ms;
    const next = this.queue.shift();
    if (next !== undefined) (next.to === "a" ? this.a : this.b).received(next.from, next.message);
  }
}

describe("reports", () => {
  test("tell the leader what a shard has to do, and tell a node how far its clock is from the leader's, give or take half of the way", () => {
    const pair = new Pair();
    pair.aheadMs["b"] = 700;
    pair.b.tell();
    pair.carry(20);
    expect(pair.a.known.get("b")).toMatchObject({ clock: undefined, load: { microseconds: 5, hottestSlot: 7 } });
    pair.carry(60);
    // 20 ms there and 60 back: the answer was taken to be 40 ms old, and was 60.
    expect(pair.b.clock).toEqual({ aheadMs: 720, errorMs: 42 });
    pair.b.tell();
    pair.carry(1);
    expect(pair.a.known.get("b")?.clock).toEqual({ aheadMs: 720, errorMs: 42 });
    expect(pair.a.clock).toBeUndefined();
  });

  test("are nothing to somebody who does not lead, and answers count only for the last question, to the present leader", () => {
    const pair = new Pair();
    pair.b.tell();
    pair.leader = "b";
    pair.carry(1);
    expect(pair.a.known.size).toBe(0);
    expect(pair.queue).toEqual([]);
    pair.leader = "a";
    pair.b.tell();
    pair.b.tell();
    pair.carry(1);
    pair.carry(1);
    const [old, last] = pair.queue.splice(0);
    if (old === undefined || last === undefined) throw new Error("both are answered");
    pair.b.received("a", old.message);
    expect(pair.b.clock).toBeUndefined();
    pair.b.received("c", last.message);
    expect(pair.b.clock).toBeUndefined();
    pair.b.received("a", last.message);
    expect(pair.b.clock).toBeDefined();
    // An election that the same node wins is none.
    pair.leader = undefined;
    pair.b.tell();
    expect(pair.queue).toEqual([]);
    expect(pair.b.clock).toBeDefined();
    pair.leader = "c";
    expect(pair.b.clock).toBeUndefined();
  });

  test("are forgotten when none has come for a while", () => {
    const pair = new Pair();
    pair.b.tell();
    pair.carry(0);
    pair.nowMs = 30_000;
    expect(pair.a.known.size).toBe(1);
    pair.nowMs = 30_001;
    expect(pair.a.known.size).toBe(0);
  });
});
