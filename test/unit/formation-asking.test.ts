/** Whom a node asks that has no group: a few at a time, and all in turn, if it only looks for one; all of them, if it would found one. */
import { expect, test } from "bun:test";
import type { ConsensusFrame } from "../../src/codec/consensus-codec.ts";
import { FEW, Formation } from "../../src/consensus/formation.ts";
import type { BusAddress } from "../../src/contracts/bus.ts";
import type { FormationPlan, Founder } from "../../src/contracts/consensus.ts";
import type { Log } from "../../src/world.ts";
import { SimRandom } from "../support/sim-random.ts";

const nothing = (): void => {};
const LOG: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing };
const JOIN = { type: "leave", group: "g", peer: "p", hops: 0 } as const satisfies ConsensusFrame;

function placeOf(at: number): BusAddress {
  return { host: `10.0.0.${at}`, port: 16_379 };
}

function founderOf(at: number): Founder {
  return { nodeId: String(at).padStart(40, "0"), address: placeOf(at), zone: "", isWitness: false, card: "{}" };
}

/** Node 1, which may know nodes 2, 3 ... @param asked Gets where each frame goes. */
function make(plan: FormationPlan, asked: string[], seed = "1"): Formation {
  const random = new SimRandom(seed);
  const founder = founderOf(1);
  return new Formation(
    plan,
    3,
    () => ({
      peer: `${founder.nodeId}/1`,
      founder,
      group: "",
      foundingPeers: [],
      voters: [],
      isEstablished: false,
      isBound: false,
      members: [],
    }),
    {
      send: ({ host }) => void asked.push(host),
      nodeAt: () => undefined,
      isCard: () => true,
      found: () => Promise.resolve(),
      join: () => Promise.resolve(),
      abandon: () => Promise.resolve(),
      fault: (error) => {
        throw error;
      },
      fraction: () => random.fraction(),
    },
    LOG,
  );
}

/** @param expected How many found a cluster; 0: it looks for one. */
function seeds(count: number, expected = 0): FormationPlan {
  return { type: "seeds", seeds: hosts(count).map((host) => ({ host, port: 16_379 })), expect: expected, terms: "" };
}

function hosts(count: number): readonly string[] {
  return Array.from({ length: count }, (_, at) => placeOf(at + 2).host);
}

test.each([1, 2, FEW])("of %d others all are asked each time", (count) => {
  const asked: string[] = [];
  const formation = make(seeds(count), asked);
  for (const ask of [() => formation.ask(0), () => formation.tellFew(JOIN), () => formation.ask(1000)]) {
    asked.length = 0;
    ask();
    expect(asked).toEqual([...hosts(count)]);
  }
});

test.each([FEW + 1, 3 * FEW, 10 * FEW + 2])("of %d others a few are asked each time, and all in turn", (count) => {
  const asked: string[] = [];
  const formation = make(seeds(count), asked);
  for (let lap = 0; lap < 3; lap += 1) {
    asked.length = 0;
    for (let round = 0; round < Math.ceil(count / FEW); round += 1) {
      const before = asked.length;
      formation.ask(round);
      expect(asked.length - before).toBeLessThanOrEqual(FEW);
    }
    expect(asked.toSorted()).toEqual([...hosts(count)].toSorted());
  }
});

test("the order is drawn, so that those who come at once do not all ask the same", () => {
  const firsts = ["1", "2", "3"].map((seed) => {
    const asked: string[] = [];
    make(seeds(50), asked, seed).ask(0);
    return asked.join();
  });
  expect(new Set(firsts).size).toBe(3);
});

test("whoever is new is asked before those who had their turn", () => {
  const asked: string[] = [];
  const formation = make(seeds(2 * FEW), asked);
  formation.ask(0);
  formation.learn([placeOf(200)]);
  formation.ask(1);
  formation.ask(2);
  expect(asked).toContain(placeOf(200).host);
});

test.each<[string, FormationPlan]>([
  ["that are expected", seeds(4 * FEW, 4 * FEW + 1)],
  ["of a list", { type: "list", founders: Array.from({ length: 4 * FEW + 1 }, (_, at) => founderOf(at + 1)) }],
])("who would found a group asks all %s", (_, plan) => {
  const asked: string[] = [];
  make(plan, asked).ask(0);
  expect(asked).toEqual([...hosts(4 * FEW)]);
});
