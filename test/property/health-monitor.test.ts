/** States of checks that do not flap: whatever is read, a state follows slowly, and gets where the readings stay. */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { present } from "../../src/assert.ts";
import type { HealthState } from "../../src/contracts/health.ts";
import { Monitor, type StateChange } from "../../src/protocol/health/monitor.ts";
import { type Finding, STATES } from "../../src/protocol/health/types.ts";

const [RAISE_MS, CLEAR_MS, BEGIN_MS] = [3000, 5000, 10_000];
const rank = (state: HealthState): number => STATES.indexOf(state);

const finding = (state: HealthState): Finding => ({ name: "slots", state, summary: `it is ${state}`, values: {} });

/** Readings of a check, and how long after the one before each came. */
const readings = fc.array(
  fc.record({ state: fc.constantFrom(...STATES), afterMs: fc.integer({ min: 1, max: 4000 }) }),
  { minLength: 1, maxLength: 60 },
);
type Readings = readonly { readonly state: HealthState; readonly afterMs: number }[];

interface Step {
  readonly atMs: number;
  readonly reading: HealthState;
  readonly state: HealthState;
  readonly summary: string;
  readonly changes: readonly StateChange[];
}

/** All that a monitor makes of them. The first reading is `ok`, so that the check is none that has just begun. */
function follow(given: Readings): readonly Step[] {
  const monitor = new Monitor(() => ({ raiseMs: RAISE_MS, clearMs: CLEAR_MS, beginMs: BEGIN_MS }));
  let atMs = 0;
  return [{ state: "ok" as const, afterMs: 1 }, ...given].map(({ state: reading, afterMs }) => {
    atMs += afterMs;
    const changes = monitor.look([finding(reading)], atMs);
    const watched = present(monitor.watched.get("slots"), "it is watched");
    return { atMs, reading, state: watched.state, summary: watched.finding.summary, changes };
  });
}

test("a state gets worse only after all readings of a while were as bad, and better only after all of a while were as good", () => {
  fc.assert(
    fc.property(readings, (given) => {
      const steps = follow(given);
      for (const [at, { atMs, state, changes }] of steps.entries()) {
        const before = steps[at - 1]?.state ?? "ok";
        expect(changes.map(({ state: to, previous }) => [to, previous])).toEqual(
          state === before ? [] : [[state, before]],
        );
        if (state === before) continue;
        const isWorse = rank(state) > rank(before);
        const patienceMs = isWorse ? RAISE_MS : CLEAR_MS;
        const since = present(changes[0], "it has changed").sinceMs;
        expect(atMs - since).toBeGreaterThanOrEqual(patienceMs);
        // From the moment on that it names, all readings were so, and the one before was not.
        for (const { atMs: thenMs, reading } of steps.slice(0, at + 1)) {
          if (thenMs < since) continue;
          if (isWorse) expect(rank(reading)).toBeGreaterThanOrEqual(rank(state));
          else expect(rank(reading)).toBeLessThanOrEqual(rank(state));
        }
      }
    }),
  );
});

test("a state is what the readings are, once they have stayed as they are for long enough", () => {
  fc.assert(
    fc.property(readings, fc.constantFrom(...STATES), (given, last) => {
      const calm = Array.from({ length: 10 }, () => ({ state: last, afterMs: 1000 }));
      expect(follow([...given, ...calm]).at(-1)?.state).toBe(last);
    }),
  );
});

test("between two changes there are as many as patience allows, however fast readings change", () => {
  fc.assert(
    fc.property(readings, (given) => {
      const changes = follow(given).flatMap((step) => step.changes.map((change) => ({ ...change, atMs: step.atMs })));
      for (const [at, change] of changes.entries()) {
        const after = changes[at + 1];
        // What gets better after it got worse has been better for a while in between, and the other way round.
        if (
          after === undefined ||
          rank(after.state) > rank(change.state) === rank(change.state) > rank(change.previous)
        )
          continue;
        const leastMs = rank(after.state) > rank(change.state) ? RAISE_MS : CLEAR_MS;
        expect(after.atMs - change.atMs).toBeGreaterThanOrEqual(leastMs);
      }
    }),
  );
});

test("what is told belongs to the state that is told", () => {
  fc.assert(
    fc.property(readings, (given) => {
      let told = "ok";
      for (const { reading, state, summary, changes } of follow(given)) {
        // At a change it is what was read then, which may be worse by now, and is never better.
        if (changes.length > 0) told = reading;
        else if (reading === state) told = state;
        expect(summary).toBe(`it is ${told}`);
      }
    }),
  );
});

test("a check that begins is what it reads, and is told only if it stays so", () => {
  const begin = (...given: Readings): readonly string[] => {
    const monitor = new Monitor(() => ({ raiseMs: RAISE_MS, clearMs: CLEAR_MS, beginMs: BEGIN_MS }));
    let atMs = 0;
    return given.map(({ state: reading, afterMs }) => {
      atMs += afterMs;
      const changes = monitor.look([finding(reading)], atMs);
      return [
        monitor.watched.get("slots")?.state,
        ...changes.map(({ state, previous }) => `${previous} to ${state}`),
      ].join(", ");
    });
  };
  const read = (state: HealthState, afterMs: number) => ({ state, afterMs });
  expect(begin(read("critical", 0), read("warn", 1000), read("ok", 1000), read("critical", 1000))).toEqual([
    "critical",
    "warn",
    "ok",
    "ok",
  ]);
  expect(begin(read("critical", 0), read("critical", 9999), read("critical", 1), read("ok", 1000))).toEqual([
    "critical",
    "critical",
    "critical, ok to critical",
    "critical",
  ]);
});

test("a check that begins and goes to and fro between what is bad and what is worse is told, too", () => {
  const monitor = new Monitor(() => ({ raiseMs: RAISE_MS, clearMs: CLEAR_MS, beginMs: BEGIN_MS }));
  const told = Array.from({ length: 11 }, (_, at) =>
    monitor
      .look([finding(at % 2 === 0 ? "warn" : "critical")], 1000 * at)
      .map(({ state, previous }) => [at, previous, state]),
  );
  expect(told.flat()).toEqual([[10, "ok", "warn"]]);
});

test("a check that nobody can judge any more is over: told if it was not well", () => {
  const monitor = new Monitor(() => ({ raiseMs: 0, clearMs: CLEAR_MS, beginMs: 0 }));
  monitor.look([finding("ok"), { ...finding("ok"), name: "lag" }], 0);
  monitor.look([finding("warn"), { ...finding("ok"), name: "lag" }], 1000);
  expect(
    monitor.look([], 2000).map(({ state, previous, finding: { name, summary } }) => [name, previous, state, summary]),
  ).toEqual([["slots", "warn", "ok", "This node cannot judge it any more."]]);
  expect(monitor.watched.size).toBe(0);
});
