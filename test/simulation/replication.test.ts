/**
 * Shards with replicas under faults: fixed seeds, and the same run on two engines. What the first runs found has tests of its own (`reply-gate.test.ts`,
 * `shard-primary.test.ts`, `topology-state.test.ts`): their seeds draw other runs by now.
 */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { runReplication } from "./replication-run.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const DENO = `${ROOT}node_modules/.bin/deno`;

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 240_000;

describe("shards with replicas", () => {
  test(
    "lose nothing that a client was told of, and their members are equal at equal places (seeds 1 to 25, 500557 and 700177)",
    async () => {
      const sum = {
        answered: 0,
        killed: 0,
        promoted: 0,
        cutOff: 0,
        planned: 0,
        moved: 0,
        lost: 0,
        compared: 0,
        lostWrites: 0,
        replicaReads: 0,
      };
      // 500,557: word that a link had been given up came after the next one, and ended a session that rested on that. 700,177: so did a hello of an earlier start.
      for (const seed of [...Array.from({ length: 25 }, (_, at) => at + 1), 500_557, 700_177]) {
        const result = await runReplication(seed);
        // What is run each time is decided each time: a search that ends without a word proves nothing.
        expect(result.isUndecided).toBe(false);
        for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += result[name];
      }
      // A run in which nothing was written, lost or compared has tested nothing.
      expect(sum.answered).toBeGreaterThan(5000);
      expect(sum.killed).toBeGreaterThan(5);
      expect(sum.promoted).toBeGreaterThan(10);
      expect(sum.cutOff).toBeGreaterThan(3);
      expect(sum.planned).toBeGreaterThan(5);
      expect(sum.moved).toBeGreaterThan(3);
      expect(sum.compared).toBeGreaterThan(500);
      expect(sum.lost).toBe(0);
      // What a primary alone had acknowledged was lost with it, and in no other way.
      expect(sum.lostWrites).toBeGreaterThan(0);
      expect(sum.replicaReads).toBeGreaterThan(500);
    },
    LIMIT_MS,
  );

  test(
    "do the same when they fail over by themselves (seeds 1 to 16 but 15, and 601641)",
    async () => {
      const sum = { answered: 0, primaries: 0, lost: 0, compared: 0, lostWrites: 0, replicaReads: 0 };
      // 15: of too many commands nobody knows what became, and the search for an order of all gives up. 601641: the minimum was lowered while the primary was lost.
      for (const seed of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 601_641]) {
        const result = await runReplication(seed, { hasFailover: true });
        // What is run each time is decided each time: a search that ends without a word proves nothing.
        expect(result.isUndecided).toBe(false);
        for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += result[name];
      }
      expect(sum.answered).toBeGreaterThan(3000);
      expect(sum.primaries).toBeGreaterThan(5);
      expect(sum.compared).toBeGreaterThan(300);
      expect(sum.lostWrites).toBeGreaterThan(0);
      expect(sum.replicaReads).toBeGreaterThan(500);
      expect(sum.lost).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "do so while slots are moved key by key, by somebody who gives up midway (seeds 1 to 16 but 4, and 46)",
    async () => {
      const sum = { answered: 0, redirected: 0, primaries: 0, slotsGiven: 0, keysMoved: 0, lost: 0, compared: 0 };
      // 46: hellos that came late ended a session that went on, and a member that was level again was asked out and in.
      // Of 4 the checker cannot decide.
      for (const seed of [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 46]) {
        const result = await runReplication(seed, { hasFailover: true, isMovingSlots: true });
        // What is run each time is decided each time: a search that ends without a word proves nothing.
        expect(result.isUndecided).toBe(false);
        for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += result[name];
      }
      expect(sum.answered).toBeGreaterThan(3000);
      expect(sum.primaries).toBeGreaterThan(5);
      expect(sum.slotsGiven).toBeGreaterThan(30);
      expect(sum.keysMoved).toBeGreaterThan(30);
      expect(sum.compared).toBeGreaterThan(300);
    },
    LIMIT_MS,
  );

  test(
    "do so while slots move as a whole, keys are renamed, all keys of nodes are removed, and replicas are read (seeds 1 to 11, 13 and 49)",
    async () => {
      const sum = { answered: 0, primaries: 0, completed: 0, aborted: 0, flushed: 0, counterReads: 0 };
      const others = { oldReads: 0, lost: 0 };
      // Of 12 the checker cannot decide. 49 was the first in which a replica that had not heard of a move showed what it brought.
      for (const seed of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 49]) {
        const result = await runReplication(seed, { hasFailover: true, hasMigrations: true });
        expect(result.isUndecided).toBe(false);
        for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += result[name];
        for (const name of Object.keys(others) as (keyof typeof others)[]) others[name] += result[name];
      }
      expect(sum.answered).toBeGreaterThan(2000);
      expect(sum.primaries).toBeGreaterThan(3);
      expect(sum.completed).toBeGreaterThan(30);
      expect(sum.aborted).toBeGreaterThan(0);
      expect(sum.flushed).toBeGreaterThan(5);
      expect(sum.counterReads).toBeGreaterThan(1000);
      expect(others.oldReads).toBeGreaterThan(0);
      expect(others.lost).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "do so while slots move by themselves, to a shard that came without any (seeds 1 to 5, 7 to 10 and 12)",
    async () => {
      const sum = { answered: 0, redirected: 0, primaries: 0, automatic: 0, completed: 0, lost: 0 };
      // With seed 6 a primary that is alone in its set loses its power: all of its shard is gone, as may be. The history of seed 11 is too much for its checker.
      for (const seed of [1, 2, 3, 4, 5, 7, 8, 9, 10, 12]) {
        const result = await runReplication(seed, { hasFailover: true, isRebalancing: true });
        expect(result.isUndecided).toBe(false);
        for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += result[name];
      }
      expect(sum.answered).toBeGreaterThan(2000);
      expect(sum.primaries).toBeGreaterThan(3);
      expect(sum.automatic).toBeGreaterThan(20);
      expect(sum.completed).toBeGreaterThan(20);
      expect(sum.lost).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "give the same trace for the same seed, and another one for another",
    async () => {
      const first = await runReplication(7);
      expect((await runReplication(7)).traceHash).toBe(first.traceHash);
      expect((await runReplication(8)).traceHash).not.toBe(first.traceHash);
    },
    LIMIT_MS,
  );

  test.skipIf(!existsSync(DENO) && process.env["BUNCH_STRICT"] !== "1")(
    "give the same trace on Deno",
    async () => {
      const script = [
        "run",
        "--allow-all",
        "--no-check",
        "test/simulation/sim.ts",
        "--run",
        "replication",
        "--seed",
        "7",
      ];
      const child = Bun.spawn([DENO, ...script], { cwd: ROOT, stdout: "pipe", stderr: "pipe" });
      const output = (await new Response(child.stdout).text()) + (await new Response(child.stderr).text());
      expect(output).toContain(`trace ${(await runReplication(7)).traceHash}`);
    },
    LIMIT_MS,
  );
});
