/** Slots that are moved key by key, by whole nodes on virtual time: two shards with a replica each, and a node without slots. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { keySlot } from "../../src/codec/slot.ts";
import { keyspaceService } from "../../src/contracts/keyspace.ts";
import { FailoverWorld } from "../support/failover-world.ts";
import { localClient } from "../support/local-node.ts";

// Slot 866, one of a's.
const TAG = "{hello}";
const SLOT = keySlot(new TextEncoder().encode("hello"), 0, 5);
/** A tag of another slot of a's: 5061. */
const LOCAL = "bar";
const KEYS = ["one", "two", "three"].map((name) => TAG + name);
const [ONE = "", TWO = "", THREE = ""] = KEYS;

class SlotWorld extends FailoverWorld {
  constructor(seed: number) {
    super({
      seed,
      count: 5,
      isReal: true,
      slots: { a: ["0-8191"], b: ["8192-16383"] },
      // A replica that is cut off is waited for: that is looked at.
      settingsOf: () => ({ plugins: { resp: {}, replication: { lostMs: 3000, lagMs: 3000 } } }),
    });
  }

  /** a is followed by c, b by d; e has no slots. */
  static async start(seed = 1): Promise<SlotWorld> {
    const world = new SlotWorld(seed);
    await world.whole();
    for (const [primary, replica] of [
      ["a", "c"],
      ["b", "d"],
    ] as const) {
      expect(await world.run(replica, `cluster replicate ${world.idOf(primary)}`)).toBe("OK");
      await world.until("a replica in sync", () => world.shardOf(primary).inSync.length === 2);
    }
    await world.whole();
    for (const [at, key] of KEYS.entries()) expect(await world.run("a", `set ${key} ${at}`)).toBe("OK");
    return world;
  }

  /** The shard that a node is in, by the newest map. */
  shardOf(name: string): ReturnType<FailoverWorld["shard"]> {
    const id = this.idOf(name);
    const { shards } = this.topology(this.maybeLeader ?? "e").map;
    return present(
      shards.find(({ primary, replicas }) => primary === id || replicas.includes(id)),
      "a node is in a shard",
    );
  }

  keysAt(name: string): number {
    return present(this.node(name).service(keyspaceService), "there is a keyspace").slotSize(SLOT);
  }

  /** Begins a command; the test makes time pass. */
  pending(name: string, line: string): { readonly reply: () => string; readonly done: () => Promise<string> } {
    let said = "";
    const running = localClient(this.node(name))
      .run(line)
      .then((reply) => (said = reply));
    return { reply: () => said, done: () => this.simulation.settle(`a reply of ${name}`, running, 20_000) };
  }

  /** A command after ASKING. */
  async asking(name: string, line: string): Promise<string> {
    const client = localClient(this.node(name));
    await this.simulation.settle("ASKING", client.run("asking"), 20_000);
    return this.simulation.settle(`a reply of ${name}`, client.run(line), 20_000);
  }

  setSlot(name: string, what: string, of?: string): Promise<string> {
    return this.run(name, `cluster setslot ${SLOT} ${what}${of === undefined ? "" : ` ${this.idOf(of)}`}`);
  }

  /** Both marks. */
  async open(from: string, to: string): Promise<void> {
    expect(await this.setSlot(to, "importing", from)).toBe("OK");
    expect(await this.setSlot(from, "migrating", to)).toBe("OK");
  }

  migrate(from: string, to: string, keys: readonly string[], more = "", limitMs = 1000): Promise<string> {
    const [key = ""] = keys;
    const rest = keys.length === 1 ? `${key} 0 ${limitMs}${more}` : ` 0 ${limitMs}${more} KEYS ${keys.join(" ")}`;
    return this.run(from, `migrate ${this.hostOf(to)} 6379 ${rest}`);
  }

  /** The marks and the owner of the slot, as a node's own line of CLUSTER NODES shows them. */
  async lineOf(name: string): Promise<string> {
    const line = (await this.run(name, "cluster nodes")).split("\n").find((each) => each.includes("myself"));
    let text = line?.split(" connected")[1]?.trim() ?? "";
    for (const { id, name: letter } of this.topology(name).map.nodes) text = text.replaceAll(id, letter);
    return text;
  }
}

describe("a slot that is moved key by key", () => {
  test("goes over key by key, and then as a whole; nobody loses sight of a key", async () => {
    const world = await SlotWorld.start();
    expect(await world.run("a", `pexpire ${TWO} 60000`)).toBe("1");
    await world.open("a", "b");
    expect(await world.lineOf("a")).toBe(`0-8191 [${SLOT}->-b]`);
    expect(await world.lineOf("b")).toBe(`8192-16383 [${SLOT}-<-a]`);
    expect(await world.migrate("a", "b", [ONE])).toBe("OK");
    expect(await world.run("a", `get ${ONE}`)).toBe(`ASK ${SLOT} 10.0.0.2:6379`);
    expect(await world.run("b", `get ${ONE}`)).toBe(`MOVED ${SLOT} 10.0.0.1:6379`);
    expect(await world.asking("b", `get ${ONE}`)).toBe("0");
    expect(await world.run("a", `get ${TWO}`)).toBe("1");
    expect(await world.asking("b", `set ${TAG}new 3`)).toBe("OK");
    expect(await world.run("a", `cluster getkeysinslot ${SLOT} 10`)).not.toContain(ONE);
    expect(await world.run("b", `cluster countkeysinslot ${SLOT}`)).toBe("2");
    expect(await world.run("b", "dbsize")).toBe("2");

    const { version } = world.topology("e").map;
    for (const name of ["b", "a", "e"]) {
      expect(await world.setSlot(name, "node", "b")).toBe(
        `ERR Can't assign hashslot ${SLOT} to a different node while I still hold keys for this hash slot.`,
      );
    }
    expect(world.topology("e").map.version).toBe(version);
    expect(await world.migrate("a", "b", [TWO, THREE, `${TAG}none`])).toBe("OK");
    expect(await world.migrate("a", "b", [TWO, THREE])).toBe("NOKEY");
    for (const name of ["b", "a", "e"]) expect(await world.setSlot(name, "node", "b")).toBe("OK");

    expect(await world.run("b", `mget ${KEYS.join(" ")} ${TAG}new`)).toBe("[0 1 2 3]");
    expect(Number(await world.run("b", `pttl ${TWO}`))).toBeWithin(50_000, 60_000);
    expect(await world.run("a", `get ${ONE}`)).toBe(`MOVED ${SLOT} 10.0.0.2:6379`);
    await world.whole();
    expect(["a", "c", "b", "d"].map((name) => world.keysAt(name))).toEqual([0, 0, 4, 4]);
    expect(world.topology("a").map).toMatchObject({ openSlots: [], releases: [] });
    expect(await world.lineOf("b")).toBe(`${SLOT} 8192-16383`);
  });

  test("to a node without slots, which takes keys in before it owns any; back again, and without marks", async () => {
    const world = await SlotWorld.start();
    await world.open("a", "e");
    expect(await world.migrate("a", "e", KEYS)).toBe("OK");
    expect(await world.setSlot("e", "node", "e")).toBe("OK");
    expect(await world.run("e", `get ${ONE}`)).toBe("0");
    await world.open("e", "a");
    expect(await world.migrate("e", "a", KEYS)).toBe("OK");
    expect(await world.setSlot("e", "node", "a")).toBe("OK");
    expect(await world.run("a", `get ${ONE}`)).toBe("0");
    expect(await world.run("a", `del ${KEYS.join(" ")}`)).toBe("3");
    expect(await world.setSlot("b", "node", "b")).toBe("OK");
    expect(await world.run("b", `set ${ONE} again`)).toBe("OK");
  });

  test("is refused in Redis' words", async () => {
    const world = await SlotWorld.start();
    for (const [name, line, reply] of [
      ["c", `${SLOT} stable`, "ERR Please use SETSLOT only with masters."],
      ["a", "16384 stable", "ERR Invalid or out of range slot"],
      ["a", "x stable", "ERR Invalid or out of range slot"],
      ["b", `${SLOT} migrating ${world.idOf("a")}`, `ERR I'm not the owner of hash slot ${SLOT}`],
      ["a", `${SLOT} importing ${world.idOf("b")}`, `ERR I'm already the owner of hash slot ${SLOT}`],
      ["a", `${SLOT} migrating ${"f".repeat(40)}`, `ERR I don't know about node ${"f".repeat(40)}`],
      ["a", `${SLOT} node ${"f".repeat(40)}`, `ERR Unknown node ${"f".repeat(40)}`],
      ["a", `${SLOT} node ${world.idOf("d")}`, "ERR Target node is not a master"],
      ["a", `${SLOT} migrating ${world.idOf("d")}`, "ERR Target node is not a master"],
      ["a", `${SLOT} node`, "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"],
      ["a", `${SLOT} stable now`, "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"],
      ["a", `${SLOT} nope`, "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"],
    ] as const) {
      expect(`${line}: ${await world.run(name, `cluster setslot ${line}`)}`).toBe(`${line}: ${reply}`);
    }
  });

  test("is closed when nobody has taken a key in, for one shard or for all; else by force alone", async () => {
    const world = await SlotWorld.start();
    await world.open("a", "b");
    expect(await world.setSlot("b", "stable")).toBe("OK");
    expect(await world.lineOf("a")).toBe(`0-8191 [${SLOT}->-b]`);
    expect(await world.setSlot("a", "stable")).toBe("OK");
    expect(world.topology("a").map.openSlots).toEqual([]);
    await world.open("a", "b");
    expect(await world.setSlot("e", "stable")).toBe("OK");
    expect(await world.setSlot("a", "stable")).toBe("OK");
    expect(world.topology("a").map.openSlots).toEqual([]);

    await world.open("a", "b");
    expect(await world.migrate("a", "b", [ONE])).toBe("OK");
    expect(await world.setSlot("e", "node", "e")).toStartWith(
      `ERR Can't close hash slot ${SLOT}: node ${world.idOf("b")} has taken in 1 of its keys`,
    );
    expect(await world.setSlot("a", "stable force")).toBe("OK");
    expect(await world.run("a", `get ${ONE}`)).toBe("nil");
  });

  test.each(["a", "b"])("with keys at both sides is gathered at %s, if that is told to end it", async (name) => {
    const world = await SlotWorld.start();
    await world.open("a", "b");
    expect(await world.migrate("a", "b", [ONE])).toBe("OK");
    expect(await world.asking("b", `set ${TAG}new 3`)).toBe("OK");
    // Clients go on meanwhile, wherever they are sent.
    const client = follow(world, name === "a" ? "b" : "a");
    expect(await world.setSlot(name, "stable")).toBe("OK");
    expect(await client.end()).toBeGreaterThan(0);
    await world.whole();
    expect(world.topology("e").map).toMatchObject({ openSlots: [] });
    expect(await world.run(name, `mget ${KEYS.join(" ")} ${TAG}new`)).toBe("[0 1 2 3]");
    const [all, none] =
      name === "a"
        ? [
            ["a", "c"],
            ["b", "d"],
          ]
        : [
            ["b", "d"],
            ["a", "c"],
          ];
    // The client's counter is one more.
    expect(all.map((each) => world.keysAt(each))).toEqual([5, 5]);
    expect(none.map((each) => world.keysAt(each))).toEqual([0, 0]);
    expect(await world.setSlot(name === "a" ? "b" : "a", "stable")).toBe("OK");
  });

  test("that one takes in, and nobody sends, is gathered there with what its owner has: that is what counts", async () => {
    const world = await SlotWorld.start();
    expect(await world.setSlot("b", "importing", "a")).toBe("OK");
    expect(await world.asking("b", `set ${ONE} stray`)).toBe("OK");
    expect(await world.asking("b", `set ${TAG}stray 1`)).toBe("OK");
    expect(await world.setSlot("a", "stable")).toBe("OK");
    expect(await world.setSlot("b", "stable")).toBe("OK");
    expect(await world.run("b", `mget ${KEYS.join(" ")} ${TAG}stray`)).toBe("[0 1 2 1]");
    expect(world.keysAt("a")).toBe(0);
  });

  test("has nobody's word while the one who must give it is away: it is asked for until it comes", async () => {
    const world = await SlotWorld.start();
    await world.open("a", "e");
    expect(await world.migrate("a", "e", KEYS)).toBe("OK");
    // The one that is asked has no link to the owner for a while.
    const cut = world.simulation.partition([world.hostOf("a")], [world.hostOf("e")]);
    const node = world.pending("e", `cluster setslot ${SLOT} node ${world.idOf("e")}`);
    await world.simulation.runFor(700);
    expect([node.reply(), world.topology("e").map.openSlots.length]).toEqual(["", 1]);
    cut.heal();
    expect(await node.done()).toBe("OK");
    expect(await world.run("e", `get ${ONE}`)).toBe("0");
  });

  test("is given away only when its last removal is committed: a replica that lacks it would still have the key", async () => {
    const world = await SlotWorld.start();
    await world.open("a", "b");
    expect(await world.migrate("a", "b", [ONE, TWO])).toBe("OK");
    const cut = world.simulation.partition([world.hostOf("a")], [world.hostOf("c")]);
    const migrate = world.pending("a", `migrate ${world.hostOf("b")} 6379 ${THREE} 0 5000`);
    await world.until("the key to be gone from the primary", () => world.keysAt("a") === 0);
    // It waits, and so does whoever asks for the key.
    const node = world.pending("b", `cluster setslot ${SLOT} node ${world.idOf("b")}`);
    const get = world.pending("a", `get ${THREE}`);
    await world.simulation.runFor(500);
    expect([migrate.reply(), node.reply(), get.reply(), world.keysAt("c")]).toEqual(["", "", "", 1]);
    expect(world.topology("b").map.openSlots).toHaveLength(1);
    cut.heal();
    expect(await migrate.done()).toBe("OK");
    expect(await node.done()).toBe("OK");
    expect(await get.done()).toMatch(/^(ASK|MOVED) /);
    await world.until("the replica to follow", () => world.keysAt("c") === 0);
  });
});

describe("a key on its way", () => {
  test("is at one side when an answer was lost: the owner keeps it, and holds the slot until the other has no copy", async () => {
    const world = await SlotWorld.start();
    await world.open("a", "b");
    // For a moment, so that nobody takes b for lost.
    const cut = world.simulation.cutOneWay([world.hostOf("b")], [world.hostOf("a")]);
    // The connection cannot open: nothing was sent.
    expect(await world.migrate("a", "b", [ONE], "", 100)).toBe("IOERR error or timeout connecting to the client");
    cut.heal();
    expect(await world.migrate("a", "b", [ONE])).toBe("OK");
    // With one that is open, the key arrives, and word of it does not come back.
    const lost = world.simulation.cutOneWay([world.hostOf("b")], [world.hostOf("a")]);
    const migrate = world.migrate("a", "b", [TWO], "", 100);
    await world.until("the key to arrive", () => world.keysAt("b") === 2);
    expect(await migrate).toBe("IOERR error or timeout reading to target instance");
    const deletion = world.run("a", `del ${TWO}`);
    expect(await world.run("a", "set {other}key 1")).toBe(`MOVED ${slotOf("other")} 10.0.0.2:6379`);
    expect(await world.run("a", `get {${LOCAL}}key`)).toBe("nil");
    await world.simulation.runFor(100);
    expect([world.keysAt("a"), world.keysAt("b")]).toEqual([2, 2]);
    lost.heal();
    expect(await deletion).toBe("1");
    // b may have been taken for lost all the same.
    const taker = world.shardOf("b").primary === world.idOf("b") ? "b" : "d";
    expect(await world.run("a", `get ${TWO}`)).toBe(`ASK ${SLOT} ${world.hostOf(taker)}:6379`);
    expect(await world.asking(taker, `get ${TWO}`)).toBe("nil");
    expect(await world.migrate("a", taker, [THREE])).toBe("OK");
    expect(await world.setSlot(taker, "node", taker)).toBe("OK");
    expect(await world.run(taker, `mget ${KEYS.join(" ")}`)).toBe("[0 nil 2]");
  });

  test("is at one side when its owner dies: the new one has the copy deleted before it serves the slot", async () => {
    const world = await SlotWorld.start();
    await world.open("a", "b");
    expect(await world.migrate("a", "b", [ONE])).toBe("OK");
    // The replica does not hear of the removal; the primary dies.
    const cut = world.simulation.partition([world.hostOf("a")], [world.hostOf("c")]);
    void world.migrate("a", "b", [TWO]).catch(() => "gone");
    await world.until("the key to be at both sides", () => world.keysAt("b") === 2 && world.keysAt("a") === 1);
    world.crash("a", "power");
    cut.heal();
    await world.until("c to be the primary", () => world.shardOf("c").primary === world.idOf("c"), 30_000);
    await world.until("c to serve", () => world.isRunning("c"));
    expect(await world.run("c", `del ${TWO}`)).toBe("1");
    expect(await world.run("c", `get ${TWO}`)).toBe(`ASK ${SLOT} 10.0.0.2:6379`);
    expect(await world.asking("b", `get ${TWO}`)).toBe("nil");
    expect(await world.asking("b", `get ${ONE}`)).toBe("0");
    expect(await world.lineOf("c")).toBe(`0-8191 [${SLOT}->-b]`);
    expect(await world.migrate("c", "b", [THREE])).toBe("OK");
    expect(await world.setSlot("c", "node", "b")).toBe("OK");
    expect(await world.run("b", `mget ${KEYS.join(" ")}`)).toBe("[0 nil 2]");
  });

  test("is where it was when the one who takes it in dies, and what had arrived is with its replica", async () => {
    const world = await SlotWorld.start();
    await world.open("a", "b");
    expect(await world.migrate("a", "b", [ONE])).toBe("OK");
    world.crash("b", "power");
    expect(await world.migrate("a", "b", [TWO])).toStartWith("IOERR ");
    await world.until(
      "d to serve",
      () => world.shardOf("d").primary === world.idOf("d") && world.isRunning("d"),
      30_000,
    );
    expect(await world.lineOf("d")).toBe(`8192-16383 [${SLOT}-<-a]`);
    expect(await world.run("a", `get ${ONE}`)).toBe(`ASK ${SLOT} 10.0.0.4:6379`);
    expect(await world.asking("d", `get ${ONE}`)).toBe("0");
    expect(await world.migrate("a", "d", [TWO, THREE])).toBe("OK");
    expect(await world.setSlot("d", "node", "d")).toBe("OK");
    expect(await world.run("d", `mget ${KEYS.join(" ")}`)).toBe("[0 1 2]");
  });

  test("that an earlier primary sends does nothing: connections say whose keys they bring", async () => {
    const world = await SlotWorld.start();
    await world.open("a", "b");
    const { id, primaryEpoch } = world.shardOf("a");
    const [old, young] = [localClient(world.node("b")), localClient(world.node("b"))];
    const say = (client: typeof old, line: string): Promise<string> =>
      world.simulation.settle(line, client.run(line), 20_000).catch(String);
    expect(await say(old, `cluster keysource ${id} ${primaryEpoch} 1`)).toBe("OK");
    expect(await say(young, `cluster keysource ${id} ${primaryEpoch} 2`)).toBe("OK");
    // It is closed, with whatever it has sent.
    expect(await say(old, "ping")).toBe("Error: The connection is closed");
    const late = localClient(world.node("b"));
    expect(await say(late, `cluster keysource ${id} ${primaryEpoch} 1`)).toStartWith("ERR stale: ");
    for (const [line, reply] of [
      [`cluster keysource ${id} ${primaryEpoch + 9} 1`, `ERR this node does not know of epoch ${primaryEpoch + 9}`],
      [`cluster keysource ${id} ${primaryEpoch - 1} 9`, "ERR stale: "],
      [`cluster keysource ${"f".repeat(40)} 1 1`, "ERR there is no shard "],
      [`cluster keysource ${id} x 1`, "ERR value is not an integer or out of range"],
    ] as const) {
      expect(await say(localClient(world.node("b")), line)).toStartWith(reply);
    }
    expect(await say(young, "ping")).toBe("PONG");
  });

  test("is not copied within a slot that is moved: it would be at both sides", async () => {
    const world = await SlotWorld.start();
    await world.open("a", "b");
    expect(await world.migrate("a", "b", [ONE], " COPY")).toBe(
      "ERR MIGRATE COPY of a key whose slot is being moved there would leave it at both sides",
    );
    expect(await world.migrate("a", "b", [ONE])).toBe("OK");
  });

  test("that was deleted is not looked for elsewhere before that is committed: it may come back", async () => {
    const world = await SlotWorld.start();
    await world.open("a", "b");
    const cut = world.simulation.partition([world.hostOf("a")], [world.hostOf("c")]);
    const deletion = world.pending("a", `del ${ONE}`);
    await world.until("the key to be gone", () => world.keysAt("a") === 2);
    const reads = [`get ${ONE}`, `mget ${ONE} ${TWO}`].map((line) => world.pending("a", line));
    await world.simulation.runFor(500);
    expect(reads.map(({ reply }) => reply())).toEqual(["", ""]);
    cut.heal();
    expect(await deletion.done()).toBe("1");
    expect(await reads[0]?.done()).toBe(`ASK ${SLOT} 10.0.0.2:6379`);
    expect(await reads[1]?.done()).toBe("TRYAGAIN Multiple keys request during rehashing of slot");
  });

  test("makes commands on its slot wait, and those alone", async () => {
    const world = await SlotWorld.start();
    await world.open("a", "b");
    const slow = world.simulation.partition([world.hostOf("b")], [world.hostOf("d")]);
    const migrate = world.pending("a", `migrate ${world.hostOf("b")} 6379 ${ONE} 0 5000`);
    await world.until("the key to be there, uncommitted", () => world.keysAt("b") === 1);
    const append = world.pending("a", `append ${ONE} x`);
    expect(await world.run("a", `get {${LOCAL}}key`)).toBe("nil");
    await world.simulation.runFor(500);
    expect([append.reply(), world.keysAt("a")]).toEqual(["", 3]);
    slow.heal();
    expect(await migrate.done()).toBe("OK");
    expect(await append.done()).toBe(`ASK ${SLOT} 10.0.0.2:6379`);
    expect(await world.asking("b", `append ${ONE} x`)).toBe("2");
  });

  test("is waited for while its node has a lease, and no longer: others may know better by then", async () => {
    const world = await SlotWorld.start();
    await world.open("a", "b");
    world.simulation.partition([world.hostOf("b")], [world.hostOf("d")]);
    void world.migrate("a", "b", [ONE], "", 60_000).catch(() => "gone");
    await world.until("the key to be there, uncommitted", () => world.keysAt("b") === 1);
    const append = world.pending("a", `append ${ONE} x`);
    world.simulation.isolate([world.hostOf("a")]);
    await world.until("an answer", () => append.reply() !== "", 3000);
    const down =
      "CLUSTERDOWN The cluster is down: the keys wait until something is agreed on, and this node has no lease";
    expect(append.reply()).toBe(down);
    expect(await world.run("a", `get ${ONE}`)).toBe(down);
  });

  test("of a slot that a replica is filled with is there as well: those that its shard takes in count", async () => {
    const world = await SlotWorld.start();
    await world.open("a", "b");
    expect(await world.migrate("a", "b", [ONE])).toBe("OK");
    expect(await world.run("e", `cluster replicate ${world.idOf("b")}`)).toBe("OK");
    await world.until("e to be in sync", () => world.shardOf("b").inSync.includes(world.idOf("e")));
    expect(world.keysAt("e")).toBe(1);
    expect(await world.migrate("a", "b", [TWO])).toBe("OK");
    await world.until("e to have it", () => world.keysAt("e") === 2);
  });
});

/** A client that counts up in the slot, and follows whoever sends it on. */
function follow(world: SlotWorld, first: string): { end(): Promise<number> } {
  const key = `${TAG}counter`;
  let isOver = false;
  let count = 0;
  const loop = async (): Promise<void> => {
    let [name, isAsking] = [first, false];
    let redirects = 0;
    for (;;) {
      if (isOver) return;
      const client = localClient(world.node(name));
      if (isAsking) await client.run("asking");
      const reply = await client.run(`incr ${key}`);
      const [code, , address] = reply.split(" ");
      if (code === "ASK" || code === "MOVED") {
        name = present(
          world.names.find((each) => `${world.hostOf(each)}:6379` === address),
          "an address is a node's",
        );
        isAsking = code === "ASK";
        redirects += 1;
        expect(redirects).toBeLessThan(10);
        continue;
      }
      redirects = 0;
      isAsking = false;
      count += 1;
      expect(reply).toBe(String(count));
    }
  };
  const running = loop();
  return {
    async end() {
      const before = count;
      await world.until("the client to go on", () => count > before + 1);
      isOver = true;
      await world.simulation.settle("the client's last reply", running, 20_000);
      return count;
    },
  };
}

function slotOf(tag: string): number {
  const bytes = new TextEncoder().encode(tag);
  return keySlot(bytes, 0, bytes.length);
}
