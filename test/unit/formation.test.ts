/** Whom a node asks that belongs to no group. */
import { describe, expect, test } from "bun:test";
import type { ConsensusFrame } from "../../src/codec/consensus-codec.ts";
import { Formation } from "../../src/consensus/formation.ts";

const VOTERS = 5;

/** Asks so many times. @returns For each time, the places on the list of those that were asked. */
function asked(founders: number, self: number, times: number): readonly (readonly number[])[] {
  let places: number[] = [];
  const list = Array.from({ length: founders }, (_, at) => ({
    nodeId: `node-${at}`,
    address: { host: "10.0.0.1", port: at },
    zone: "",
    isWitness: false,
  }));
  const silent = (): void => {};
  const formation = new Formation(
    "list",
    list,
    VOTERS,
    () => ({
      nodeId: `node-${self}`,
      peer: `node-${self}/1`,
      group: "",
      foundingPeers: [],
      voters: [],
      isEstablished: false,
    }),
    {
      send: ({ port }, frame: ConsensusFrame) => {
        expect(frame.type).toBe("who");
        places.push(port);
      },
      found: () => Promise.resolve(),
      join: () => Promise.resolve(),
      abandon: () => Promise.resolve(),
      fault: silent,
    },
    { debug: silent, info: silent, warn: silent, error: silent },
  );
  return Array.from({ length: times }, () => {
    places = [];
    formation.ask();
    return places;
  });
}

/** All places but one. */
function others(count: number, self: number): number[] {
  return Array.from({ length: count }, (_, at) => at).filter((at) => at !== self);
}

describe("a node that belongs to no group", () => {
  test("asks everybody on a short list", () => {
    for (const self of [0, 15]) expect(asked(16, self, 1)).toEqual([others(16, self)]);
  });

  test("asks everybody on a long list if it founds, as a voter", () => {
    for (const self of [0, VOTERS - 1]) expect(asked(200, self, 1)).toEqual([others(200, self)]);
  });

  test("asks the voters and a few in turn on a long list if it does not vote, and everybody in the end", () => {
    const rounds = asked(200, 100, 40);
    for (const round of rounds) {
      expect(round.slice(0, VOTERS)).toEqual(others(VOTERS, -1));
      expect(round.length).toBeLessThanOrEqual(2 * VOTERS);
    }
    expect([...new Set(rounds.flat())].toSorted((a, b) => a - b)).toEqual(others(200, 100));
  });
});
