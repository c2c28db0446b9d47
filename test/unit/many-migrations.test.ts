/** What a change of the map costs while many tasks move slots: it comes three times for each of them. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { MigrationRecord } from "../../src/contracts/topology.ts";
import { defaultPlugins } from "../../src/default-plugins.ts";
import type { Node } from "../../src/node.ts";
import { FixedTopology } from "../support/fake-migrations.ts";
import { startLocalNode } from "../support/local-node.ts";
import { planMap, shardIdAt } from "../support/plan-map.ts";

const COUNT = 1000;
const WITHOUT = new Set(["topology", "raft", "bus"]);
const MAP = planMap([{ slots: [{ first: 0, last: 16_383 }] }, { slots: [] }]);

let node: Node;
beforeAll(async () => {
  const plugins = Object.fromEntries(
    defaultPlugins
      .map(({ name }): string => name)
      .filter((name) => WITHOUT.has(name))
      .map((name) => [name, false]),
  );
  node = await startLocalNode({ plugins }, { plugins: [new FixedTopology(MAP).plugin] });
});
afterAll(() => node.stop());

test("each task is looked at some times when the map changes, however many there are", () => {
  let reads = 0;
  const tasks = Array.from({ length: COUNT }, (_, at): MigrationRecord => {
    const record = {
      get id() {
        reads += 1;
        return `task ${at}`;
      },
      source: shardIdAt(0),
      target: shardIdAt(1),
      slots: [{ first: at, last: at }],
      isPaused: false,
      cause: "a test",
      startedAtMs: 0,
    };
    return record;
  });
  // One in the middle is over.
  const map = { ...MAP, version: 8, migrations: tasks.toSpliced(COUNT / 2, 1) };
  node.hooks.mapChanged.notify({ map, previous: { ...MAP, migrations: tasks }, delta: undefined });
  expect(reads).toBeGreaterThanOrEqual(COUNT);
  expect(reads).toBeLessThan(10 * COUNT);
});
