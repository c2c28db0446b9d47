/**
 * Effects of strings, bitmaps, keys, expiry and dump: whoever applies them, whenever and in order, ends with the same keys, values and expiry times. So a
 * replica, or a journal that is read back, has what the node has.
 */
import { expect, test } from "bun:test";
import { keyspaceService } from "../../src/contracts/keyspace.ts";
import { type Node, createNode } from "../../src/node.ts";
import { createBunWorld } from "../../src/world-bun.ts";
import type { Clock, World } from "../../src/world.ts";
import { Simulation } from "../support/sim-world.ts";
import { SimRandom } from "../support/sim-random.ts";

const SEEDS = [1, 2, 3, 4, 5, 6];
const COMMANDS = 4000;
/** Of all keys: the tag is "t". */
const SLOT = 15_891;
const KEYS = ["{t}a", "{t}b", "{t}c", "{t}d"];
const VALUES = ["", "1", "-7", "3.5", "hello", "9223372036854775807", "x".repeat(100), "\u0000\u00ff"];

/** A command at random, valid more often than not. */
function draw(random: SimRandom): readonly string[] {
  const key = () => KEYS[random.below(KEYS.length)] ?? "";
  const value = () => VALUES[random.below(VALUES.length)] ?? "";
  const number = () => String(random.below(40) - 10);
  const milliseconds = () => String(random.below(3000));
  const all: readonly (() => readonly string[])[] = [
    () => ["set", key(), value()],
    () => ["set", key(), value(), "px", milliseconds()],
    () => ["set", key(), value(), "ex", String(random.below(3)), "nx"],
    () => ["set", key(), value(), "xx", "get"],
    () => ["set", key(), value(), "keepttl"],
    () => ["setex", key(), "1", value()],
    () => ["psetex", key(), milliseconds(), value()],
    () => ["setnx", key(), value()],
    () => ["mset", key(), value(), key(), value()],
    () => ["msetnx", key(), value(), key(), value()],
    () => ["getset", key(), value()],
    () => ["getdel", key()],
    () => ["getex", key(), "px", milliseconds()],
    () => ["getex", key(), "persist"],
    () => ["append", key(), value()],
    () => ["setrange", key(), String(random.below(20)), value()],
    () => ["incr", key()],
    () => ["decrby", key(), number()],
    () => ["incrbyfloat", key(), "0.1"],
    () => ["setbit", key(), String(random.below(100)), String(random.below(2))],
    () => ["bitop", "xor", key(), key(), key()],
    () => ["bitfield", key(), "incrby", "u5", String(random.below(30)), number()],
    () => ["del", key(), key()],
    () => ["unlink", key()],
    () => ["rename", key(), key()],
    () => ["renamenx", key(), key()],
    () => ["copy", key(), key(), "replace"],
    () => ["expire", key(), String(random.below(4) - 1)],
    () => ["pexpire", key(), milliseconds(), "gt"],
    () => ["pexpireat", key(), "99999999999999", "nx"],
    () => ["persist", key()],
    () => ["get", key()],
    () => ["flushall"],
  ];
  // Everything is gone now and then only.
  const chosen = all[random.below(random.chance(0.01) ? all.length : all.length - 1)];
  return chosen?.() ?? ["ping"];
}

for (const seed of SEEDS) {
  test(`applied to another node, the effects of ${COMMANDS} random commands give the same digests (seed ${seed})`, async () => {
    const simulation = new Simulation(seed);
    const random = new SimRandom(seed);
    const differences: string[] = [];
    let isDone = false;
    simulation.addHost("10.0.0.1", async (world) => {
      const make = (itsWorld: World): Promise<Node> =>
        createNode({
          world: itsWorld,
          config: { plugins: { resp: false, raft: false, bus: false, "hash-slot-router": false } },
        });
      const primary = await make(world);
      // Applying never looks at the receiver's clock: on this one it is always 1970, and nothing expires but by a DEL that it is told.
      const { clock } = world;
      const timeless: Clock = {
        monotonicMs: () => clock.monotonicMs(),
        wallMs: () => 0,
        after: (delayMs, callback) => clock.after(delayMs, callback),
        every: (periodMs, callback) => clock.every(periodMs, callback),
        soon: (callback) => clock.soon(callback),
      };
      const replica = await make({ ...world, clock: timeless });
      await primary.start();
      const pending: (readonly Uint8Array[])[] = [];
      primary.hooks.effect.add("test", ({ args }) => void pending.push(args.copies()));
      const [source, target] = [primary.service(keyspaceService), replica.service(keyspaceService)];
      if (source === undefined || target === undefined) throw new Error("a node has a keyspace");
      const client = primary.connect();
      const applier = replica.connect();
      const recent: string[] = [];
      for (let step = 0; step < COMMANDS; step += 1) {
        const command = draw(random);
        await client.execute(...command);
        if (random.chance(0.1))
          await new Promise<void>((resolve) => void world.clock.after(random.below(400), resolve));
        // A DUMP goes over as a RESTORE, now and then.
        if (random.chance(0.02)) {
          const payload = await client.execute("dump", KEYS[0] ?? "");
          if (payload instanceof Uint8Array) await client.execute("restore", KEYS[1] ?? "", "500", payload, "replace");
        }
        recent.push(command.join(" "));
        for (const parts of pending.splice(0)) await applier.execute(...parts);
        const slot = SLOT;
        if (source.digestSlot(slot) !== target.digestSlot(slot) || source.size !== target.size) {
          differences.push(`after step ${step}: ${recent.slice(-5).join("; ")}`);
          break;
        }
      }
      await primary.stop();
      isDone = true;
    });
    await simulation.runUntil("all commands", () => isDone, 10_000_000);
    expect(differences).toEqual([]);
  });
}

test("the keys of this test are in the slot that it looks at", async () => {
  const node = await createNode({
    world: createBunWorld({ logLevel: "silent" }),
    config: { plugins: { resp: false } },
  });
  for (const key of KEYS) expect(await node.connect().execute("cluster", "keyslot", key)).toBe(SLOT);
});
