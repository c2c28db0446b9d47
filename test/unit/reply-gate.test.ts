/** The gate that replies leave through: what they wait for, and what becomes of those that nobody will ever know of. */
import { describe, expect, test } from "bun:test";
import { ReplyGate, type ReplyWaiter } from "../../src/reply-gate.ts";
import { createBunWorld } from "../../src/world-bun.ts";

const SLOT = 5;
const OTHER_SLOT = 6;

class Waiter implements ReplyWaiter {
  readonly told: string[] = [];

  released(position: number): void {
    this.told.push(`released ${position}`);
  }

  broken(reason: string): void {
    this.told.push(`broken: ${reason}`);
  }
}

const makeGate = (): ReplyGate => new ReplyGate(createBunWorld().clock);

describe("the gate", () => {
  test("is guarded while anything may wait: a log, or a lease", () => {
    const gate = makeGate();
    expect(gate.isGuarded).toBe(false);
    gate.setCommitted(0);
    expect(gate.isGuarded).toBe(true);
    gate.setCommitted(Number.POSITIVE_INFINITY);
    expect(gate.isGuarded).toBe(false);
    gate.setLease(1);
    expect(gate.isGuarded).toBe(true);
    gate.setCommitted(7);
    gate.setLease(Number.POSITIVE_INFINITY);
    expect(gate.isGuarded).toBe(true);
  });

  test("lets replies go in order, once what they depend on is committed", () => {
    const gate = makeGate();
    gate.setCommitted(1);
    gate.logged(SLOT, 2);
    gate.logged(OTHER_SLOT, 3);
    expect([gate.positionOf(SLOT), gate.positionOf(OTHER_SLOT), gate.positionOf(7), gate.positionOfAll]).toStrictEqual([
      2, 3, 1, 3,
    ]);
    const waiter = new Waiter();
    gate.wait(3, waiter);
    gate.wait(2, waiter);
    gate.setCommitted(2);
    expect(waiter.told).toStrictEqual([]);
    gate.setCommitted(3);
    expect(waiter.told).toStrictEqual(["released 3", "released 3"]);
  });

  test("keeps nobody who waits for the lease alone behind those who wait for others to have something, too", () => {
    const gate = makeGate();
    gate.setCommitted(5);
    gate.setLease(Number.NEGATIVE_INFINITY);
    const [slow, quick] = [new Waiter(), new Waiter()];
    gate.wait(6, slow);
    gate.wait(1, quick);
    gate.wait(5, quick);
    expect(gate.waitingCount).toBe(3);
    gate.setCommitted(5);
    expect(quick.told).toStrictEqual([]);
    gate.setLease(Number.POSITIVE_INFINITY);
    expect([quick.told, slow.told]).toStrictEqual([["released 1", "released 5"], []]);
    gate.setCommitted(6);
    expect([gate.waitingCount, slow.told]).toStrictEqual([0, ["released 6"]]);
    // Nobody is forgotten when all that wait are ended.
    gate.setLease(Number.NEGATIVE_INFINITY);
    gate.wait(7, slow);
    gate.wait(6, quick);
    gate.break("over");
    expect([gate.waitingCount, slow.told.at(-1), quick.told.at(-1)]).toStrictEqual([0, "broken: over", "broken: over"]);
  });

  test("depends on nothing that was in a log which was cut", () => {
    const gate = makeGate();
    gate.logged(SLOT, 100);
    // This node was filled from another's log, which is shorter.
    gate.logged(-1, 10);
    expect([gate.positionOf(SLOT), gate.positionOfAll]).toStrictEqual([10, 10]);
    gate.logged(SLOT, 11);
    expect([gate.positionOf(SLOT), gate.positionOf(OTHER_SLOT)]).toStrictEqual([11, 10]);
  });
});
