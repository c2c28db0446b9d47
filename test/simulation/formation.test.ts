/** Nodes that find each other, and clusters that meet, under faults: fixed seeds, and seeds that once failed. */
import { describe, expect, test } from "bun:test";
import { runFormation } from "./formation-run.ts";
import { runMeeting } from "./meeting-run.ts";

/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = 240_000;

/** Seeds that found something. Each stays. */
const FOUNDINGS_THAT_FAILED: Readonly<Record<number, string>> = {
  127: "a node that had found the way by itself was moved there once more",
  900151: "founders promised past each other for ever on a slow network, which their questions filled",
  900280: "five founders did the same",
};
/** In all but the first ten the founder starts again while its cluster lives on, and founds a second one if it asks nobody. */
const SOLE_FOUNDINGS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 27, 47, 95, 128, 216, 217, 259, 268, 291, 333];
const MEETINGS_THAT_FAILED: Readonly<Record<number, string>> = {
  2: "a node moved to the cluster that took it in again and again, and its map went back",
  123: "a node that had just joined took itself for one that was taken out",
  135: "a node left the cluster that had taken it in for another that lived",
  900175: "a map that came by a snapshot had another version than the same one that came by the log",
  910111: "a node that was still reading its disk said that it belongs to nothing, and joined without its slots",
};

describe("nodes that find each other", () => {
  test(
    "found one cluster, whatever goes wrong, with its slots divided evenly (seeds 1 to 25)",
    async () => {
      const seen = { formedUnderFaults: 0, joiners: 0, replicas: 0 };
      for (let seed = 1; seed <= 25; seed += 1) {
        const { isFormedUnderFaults, joiners, replicas } = await runFormation(seed);
        seen.formedUnderFaults += isFormedUnderFaults ? 1 : 0;
        seen.joiners += joiners;
        seen.replicas += replicas;
      }
      // Some are done before the faults end, and some are not; both kinds of nodes were there.
      expect(seen.formedUnderFaults).toBeGreaterThan(5);
      expect(seen.formedUnderFaults).toBeLessThan(25);
      expect(seen.joiners).toBeGreaterThan(5);
      expect(seen.replicas).toBeGreaterThan(2);
    },
    LIMIT_MS,
  );

  test(
    "hold where one founds alone and asks all others first",
    async () => {
      let formedUnderFaults = 0;
      for (const seed of SOLE_FOUNDINGS) {
        const { isFormedUnderFaults, founders } = await runFormation(seed, { isSole: true });
        expect(founders).toBe(1);
        formedUnderFaults += isFormedUnderFaults ? 1 : 0;
      }
      expect(formedUnderFaults).toBeGreaterThan(5);
    },
    LIMIT_MS,
  );

  for (const [seed, why] of Object.entries(FOUNDINGS_THAT_FAILED)) {
    test(
      `hold with seed ${seed}: ${why}`,
      async () => {
        expect((await runFormation(Number(seed))).founders).toBeGreaterThan(1);
      },
      LIMIT_MS,
    );
  }
});

describe("clusters that meet", () => {
  test(
    "become one, with their slots and what was written, whatever goes wrong (seeds 1 to 25)",
    async () => {
      const sum = { commands: 0, writes: 0 };
      for (let seed = 1; seed <= 25; seed += 1) {
        const { commands, writes } = await runMeeting(seed);
        sum.commands += commands;
        sum.writes += writes;
      }
      expect(sum.commands).toBeGreaterThan(100);
      expect(sum.writes).toBeGreaterThan(500);
    },
    LIMIT_MS,
  );

  for (const [seed, why] of Object.entries(MEETINGS_THAT_FAILED)) {
    test(
      `hold with seed ${seed}: ${why}`,
      async () => {
        expect((await runMeeting(Number(seed))).nodes).toBeGreaterThan(1);
      },
      LIMIT_MS,
    );
  }
});
