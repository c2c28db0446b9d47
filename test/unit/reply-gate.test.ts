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
