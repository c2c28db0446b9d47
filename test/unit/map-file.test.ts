/** A cluster map in a file: what is bad is named before anything is made of it, and what is made of it waits for nobody. */
import { describe, expect, test } from "bun:test";
import { begunAnew, readMapFile } from "../../src/cli/map-file.ts";
import { encodeMapFile } from "../../src/protocol/topology/topology-json.ts";
import { TopologyModel, idOf, range } from "../support/topology-model.ts";

/** The map of a model, as a file. */
function fileOf({ state }: TopologyModel): string {
  // Starts have readable names in tests.
  return encodeMapFile(state).replaceAll(/"start": "[^"]*"/g, '"start": ""');
}

/** The problem that is told of a map with these settings; empty: none is. */
function problemOf(...settings: readonly (readonly [name: string, value: string])[]): string {
  const map = JSON.parse(fileOf(TopologyModel.of("a"))) as object;
  try {
    readMapFile(JSON.stringify({ ...map, settings }), "map.json");
    return "";
  } catch (thrown) {
    return String(thrown);
  }
}

describe("a setting in a file", () => {
  test("is one that there is, with a value that it takes", () => {
    expect(problemOf(["min-in-sync", "2"], ["acks", "primary"])).toBe("");
  });

  test.each([
    ["that nobody knows", "colour", "red", 'there is no cluster setting "colour"'],
    ["with a value that is none", "min-in-sync", "many", 'cluster setting "min-in-sync" wants'],
    ["of a later version", "feature-level", "99", 'cluster setting "feature-level" wants'],
  ])("%s is named", (_, name, value, words) => {
    const problem = problemOf(["acks", "in-sync"], [name, value]);
    expect(problem).toContain('Map "map.json" cannot be read: settings[1]: ');
    expect(problem).toContain(words);
  });
});

test("a map that begins anew waits for nobody who has lost slots in another cluster", () => {
  const model = TopologyModel.of("ab");
  model.grant({ type: "assign-slots", node: idOf("a"), slots: [range(0, 9)] });
  model.grant({ type: "release-slots", slots: [range(0, 9)] });
  model.grant({ type: "assign-slots", node: idOf("b"), slots: [range(0, 9)] });
  const state = readMapFile(fileOf(model), "map.json");
  expect(state.releases).toHaveLength(1);
  expect(begunAnew(state).releases).toEqual([]);
});
