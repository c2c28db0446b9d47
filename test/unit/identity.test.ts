/** Who a node is: an id that outlives addresses, crashes and names. */
import { expect, test } from "bun:test";
import { identify, identifyAnew, idOfName } from "../../src/identity.ts";
import { messageOf } from "../../src/errors.ts";
import type { World } from "../../src/world.ts";
import { Simulation } from "../support/sim-world.ts";

/** Runs on a simulated machine that crashes between the parts, and gives back what each came to. */
async function onOneMachine(
  seed: number,
  parts: readonly ((world: World) => Promise<string | void>)[],
  crashAfterMs: number,
): Promise<readonly string[]> {
  const simulation = new Simulation(seed);
  const told: string[] = [];
  let next = 0;
  let isIdle = false;
  simulation.addHost("10.0.0.1", async (world) => {
    const part = parts[next];
    try {
      told.push((await part?.(world)) ?? "done");
    } catch (thrown) {
      told.push(messageOf(thrown));
    }
    isIdle = true;
  });
  for (; next < parts.length; next += 1) {
    isIdle = false;
    if (next > 0) simulation.restart("10.0.0.1");
    if (next < parts.length - 1) await simulation.runFor(crashAfterMs);
    else await simulation.runUntil("the last part", () => isIdle, 10_000);
    if (next < parts.length - 1) simulation.crash("10.0.0.1", "power");
  }
  return told;
}

const claim =
  (name?: string) =>
  (world: World): Promise<string> =>
    identify(world.disk, world.random, "data", name).then(({ id }) => id);

test("without a directory the id is the name's, or new each time", async () => {
  const [told] = await onOneMachine(
    1,
    [
      async (world) => {
        expect((await identify(world.disk, world.random, undefined, "a")).id).toBe(idOfName("a"));
        const { id: first } = await identify(world.disk, world.random, undefined, undefined);
        expect(first).toMatch(/^[0-9a-f]{40}$/);
        expect((await identify(world.disk, world.random, undefined, undefined)).id).not.toBe(first);
      },
    ],
    0,
  );
  expect(told).toBe("done");
});

test("the id in a directory survives loss of power, and is the same without the name", async () => {
  const told = await onOneMachine(2, [claim("a"), claim("a"), claim(), claim("b")], 1000);
  expect(told.slice(0, 3)).toEqual([idOfName("a"), idOfName("a"), idOfName("a")]);
  expect(told[3]).toContain('it belongs to node "a", and this node is named "b"');
});

test("loss of power at any moment of the claim leaves a directory that can be claimed again", async () => {
  for (let seed = 0; seed < 60; seed += 1) {
    const told = await onOneMachine(seed, [claim("a"), claim("a")], seed / 40);
    expect(told.at(-1), `seed ${seed}`).toBe(idOfName("a"));
  }
});

test("a node that was reset, or moved to another cluster, keeps its new id and where it went, whenever power is lost; before that it has the old one", async () => {
  const joining = { group: "f".repeat(40), members: [{ host: "::1", port: 17_000 }], former: ["e".repeat(40)] };
  const reset = async (world: World): Promise<string> =>
    (await identifyAnew(world.disk, true, "b".repeat(40), { leftPeer: "a/1", joining })).id;
  const who = async (world: World): Promise<string> => {
    const { id, isReset, leftPeer, joining: to } = await identify(world.disk, world.random, "data", "a");
    expect(to).toEqual(isReset ? joining : undefined);
    return `${id} ${isReset ? "reset" : "as it began"}, left ${leftPeer ?? "nothing"}`;
  };
  const seen = new Set<string>();
  for (let seed = 0; seed < 60; seed += 1) {
    const told = await onOneMachine(seed, [claim("a"), reset, who], 1000);
    expect(told.at(-1), `seed ${seed}`).toBe(`${"b".repeat(40)} reset, left a/1`);
    const cut = await onOneMachine(
      seed,
      [async (world) => void (await claim("a")(world)).concat(await reset(world)), who],
      seed / 15,
    );
    seen.add(cut.at(-1) ?? "none");
  }
  expect([...seen].toSorted()).toEqual(
    [`${idOfName("a")} as it began, left nothing`, `${"b".repeat(40)} reset, left a/1`].toSorted(),
  );
});
