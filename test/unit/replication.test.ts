/** Replication, on whole nodes in a simulated world: what a replica holds, when a reply leaves, and what becomes of a member that is away. */
import { describe, expect, spyOn, test } from "bun:test";
import { present } from "../../src/assert.ts";
import type { Config } from "../../src/config.ts";
import { SLOT_COUNT } from "../../src/codec/slot.ts";
import { type Keyspace, keyspaceService } from "../../src/contracts/keyspace.ts";
import { type Replication, replicationService } from "../../src/contracts/replication.ts";
import { EffectRunner } from "../../src/replication/effect-runner.ts";
import { ShardLog } from "../../src/replication/shard-log.ts";
import { localClient } from "../support/local-node.ts";
import { SimNodes, hostOf } from "../support/sim-nodes.ts";

const JOIN = [0, 1, 2].map((at) => `${hostOf(at)}:16379`).join(",");

/** One shard of several members, formed by themselves. */
class Shard {
  readonly nodes: SimNodes;
  readonly #count: number;
  primary = 0;

  private constructor(count: number, more: Config, seed: number) {
    this.#count = count;
    const config = { join: JOIN, bootstrapExpect: count, replicas: count - 1, ...more };
    this.nodes = new SimNodes(
      Array.from({ length: count }, (_, at) => ({ ...config, name: `node-${at}` })),
      seed,
    );
  }

  static async of(count: number, more: Config = {}, seed = 1): Promise<Shard> {
    const shard = new Shard(count, more, seed);
    await shard.nodes.up(count);
    await shard.nodes.until("one cluster", () => shard.nodes.isOne(...shard.all));
    shard.primary = present(
      shard.all.find((at) => shard.replication(at).role === "primary"),
      "one is primary",
    );
    await shard.inSync(count);
    return shard;
  }

  get all(): readonly number[] {
    return Array.from({ length: this.#count }, (_, at) => at);
  }

  get replicas(): readonly number[] {
    return this.all.filter((at) => at !== this.primary);
  }

  replication(at: number): Replication {
    return present(this.nodes.node(at).service(replicationService), "there is replication");
  }

  keyspace(at: number): Keyspace {
    return present(this.nodes.node(at).service(keyspaceService), "there is a keyspace");
  }

  get set(): readonly string[] {
    return this.nodes.topology(this.primary).selfShard?.inSync ?? [];
  }

  async inSync(count: number): Promise<void> {
    await this.nodes.until(
      `${count} in sync`,
      () =>
        this.set.length === count &&
        this.replication(this.primary).replicas.filter(({ state, lag }) => state === "following" && lag === 0)
          .length ===
          count - 1,
    );
  }

  digest(at: number): string {
    const keyspace = this.keyspace(at);
    return Array.from({ length: SLOT_COUNT }, (_, slot) => keyspace.digestSlot(slot)).join("");
  }

  async expectEqual(): Promise<void> {
    await this.inSync(this.#count);
    for (const at of this.replicas) expect(this.digest(at) === this.digest(this.primary), `node ${at}`).toBe(true);
  }

  write(line: string): Promise<string> {
    return this.nodes.run(this.primary, line);
  }
}

describe("a replica", () => {
  test("ends as its primary, whatever commands ran", async () => {
    const shard = await Shard.of(3);
    for (const line of [
      "SET a 1",
      "INCR a",
      "APPEND a x",
      "SET b 1 PX 100000",
      "SETRANGE c 10 hello",
      "MSET {t}1 a {t}2 b",
      "RENAME {t}1 {t}3",
      "COPY {t}3 {t}4",
      "SETBIT bits 77 1",
      "BITFIELD bits INCRBY u8 3 200",
      "DEL b",
      "EXPIRE c 1000",
      "INCRBYFLOAT f 1.5",
      "GETEX c PERSIST",
      "SET d 1 EX 5",
    ])
      await shard.write(line);
    await shard.expectEqual();
    expect(shard.keyspace(shard.primary).size).toBe(8);
    expect(await shard.write("FLUSHALL")).toBe("OK");
    await shard.expectEqual();
    expect(shard.replicas.map((at) => shard.keyspace(at).size)).toEqual([0, 0]);
  });

  test("runs no FLUSHALL of its own: it would hold something else than its primary", async () => {
    const shard = await Shard.of(3);
    const [replica = 0] = shard.replicas;
    await shard.write("SET k v");
    await shard.expectEqual();
    const refusal = "READONLY You can't write against a read only replica.";
    for (const line of ["FLUSHALL", "FLUSHDB ASYNC"]) expect(await shard.nodes.run(replica, line)).toBe(refusal);
    const client = localClient(shard.nodes.node(replica));
    const run = (line: string): Promise<string> => shard.nodes.simulation.settle(line, client.run(line), 1000);
    await run("MULTI");
    expect(await run("FLUSHALL")).toBe(refusal);
    expect(await run("EXEC")).toBe("EXECABORT Transaction discarded because of previous errors.");
    await shard.expectEqual();
    expect(shard.keyspace(replica).size).toBe(1);
  });

  test("removes no key by itself, and shows none that has expired", async () => {
    const shard = await Shard.of(3);
    const [replica = 0] = shard.replicas;
    await shard.write("SET k v PX 500");
    await shard.expectEqual();
    const client = localClient(shard.nodes.node(replica));
    const { simulation } = shard.nodes;
    await simulation.settle("readonly", client.run("READONLY"), 1000);
    expect(await simulation.settle("get", client.run("GET k"), 1000)).toBe("v");
    // The primary stands still: its sweep does not come, and the replica is on its own.
    simulation.stall(hostOf(shard.primary), 700);
    await simulation.runFor(600);
    expect(shard.keyspace(replica).size).toBe(1);
    expect(await simulation.settle("get", client.run("GET k"), 1000)).toBe("nil");
    await shard.nodes.until("its primary's word that the key is gone", () => shard.keyspace(replica).size === 0);
  });

  test("evicts nothing by itself, however little it may take up, and loses what its primary evicts", async () => {
    const shard = await Shard.of(3);
    const [replica = 0] = shard.replicas;
    const { simulation } = shard.nodes;
    for (let count = 0; count < 200; count += 1) await shard.write(`SET key:${count} ${"x".repeat(1000)}`);
    await shard.expectEqual();
    for (const line of ["CONFIG SET maxmemory-policy allkeys-lru", "CONFIG SET maxmemory 1"])
      expect(await shard.nodes.run(replica, line)).toBe("OK");
    await simulation.runFor(2000);
    expect(shard.keyspace(replica).size).toBe(200);
    expect(await shard.write("SET one more")).toBe("OK");
    await shard.expectEqual();
    for (const line of [
      "CONFIG SET maxmemory-policy allkeys-lru",
      `CONFIG SET maxmemory ${shard.keyspace(shard.primary).usedBytes >> 1}`,
    ])
      expect(await shard.write(line)).toBe("OK");
    await shard.nodes.until("evictions", () => shard.keyspace(shard.primary).size < 150);
    await simulation.runFor(1000);
    await shard.expectEqual();
    expect(shard.keyspace(replica).size).toBe(shard.keyspace(shard.primary).size);
  });

  test("goes on when a command fails because its key had expired: that it is gone is all that is told", async () => {
    const shard = await Shard.of(3);
    expect(await shard.write("CONFIG SET active-expire no")).toBe("OK");
    await shard.write("SET {t}a v PX 100");
    await shard.nodes.simulation.runFor(200);
    expect(await shard.write("RENAME {t}a {t}b")).toBe("ERR no such key");
    expect(shard.keyspace(shard.primary).size).toBe(0);
    await shard.expectEqual();
  });

  test("answers reads of clients that said READONLY, and sends all others to its primary", async () => {
    const shard = await Shard.of(3);
    const [replica = 0] = shard.replicas;
    await shard.write("SET k v");
    const client = localClient(shard.nodes.node(replica));
    const run = (line: string): Promise<string> => shard.nodes.simulation.settle(line, client.run(line), 1000);
    expect(await run("GET k")).toBe(`MOVED 7629 ${hostOf(shard.primary)}:6379`);
    await run("READONLY");
    expect(await run("GET k")).toBe("v");
    expect(await run("SET k w")).toBe(`MOVED 7629 ${hostOf(shard.primary)}:6379`);
    await run("READWRITE");
    expect(await run("GET k")).toBe(`MOVED 7629 ${hostOf(shard.primary)}:6379`);
  });

  test("that was away for a moment goes on from where it was, without being filled", async () => {
    const shard = await Shard.of(3);
    const [replica = 0] = shard.replicas;
    await shard.write("SET k v");
    await shard.expectEqual();
    const { simulation, lines } = shard.nodes;
    const before = lines.filter((line) => line.includes("this node is being filled")).length;
    simulation.stall(hostOf(replica), 3000);
    // Waits until the set is known to be without it.
    expect(await shard.write("SET k w")).toBe("OK");
    expect(shard.set.length).toBe(2);
    for (let count = 0; count < 50; count += 1) await shard.write(`SET key:${count} ${count}`);
    await shard.expectEqual();
    expect(lines.filter((line) => line.includes("this node is being filled")).length).toBe(before);
  });

  test("that restarts is filled, and has nothing to say until it is", async () => {
    const shard = await Shard.of(3);
    const [replica = 0] = shard.replicas;
    for (let count = 0; count < 500; count += 1) await shard.write(`SET key:${count} ${count}`);
    const { simulation } = shard.nodes;
    simulation.crash(hostOf(replica));
    await shard.nodes.until("the set without it", () => shard.set.length === 2);
    await shard.write("SET k v");
    simulation.restart(hostOf(replica));
    await shard.nodes.until("it to be back", () => shard.nodes.count === 3);
    expect(shard.replication(replica).position).toBeUndefined();
    await shard.nodes.until("some of it to be there", () => shard.keyspace(replica).size > 0);
    expect(shard.replication(replica).position).toBeUndefined();
    const asked = ["DBSIZE", "KEYS *", "SCAN 0", "RANDOMKEY", "CLUSTER COUNTKEYSINSLOT 7629"];
    const client = localClient(shard.nodes.node(replica));
    const replies = asked.map((line) => client.run(line));
    for (const reply of replies) expect(await simulation.settle("a reply", reply, 1)).toStartWith("LOADING ");
    await shard.expectEqual();
    expect(shard.keyspace(replica).size).toBe(501);
    expect(await shard.nodes.run(replica, "DBSIZE")).toBe("501");
    const counted = await shard.write("CLUSTER COUNTKEYSINSLOT 7629");
    expect(await shard.nodes.run(replica, "CLUSTER COUNTKEYSINSLOT 7629")).toBe(counted);
  });
});

test("a replica that is far away comes back into the set while clients write all the time", async () => {
  const shard = await Shard.of(3);
  const [replica = 0] = shard.replicas;
  const { simulation } = shard.nodes;
  const far = shard.all.filter((at) => at !== replica).map((at) => [hostOf(at), hostOf(replica)] as const);
  simulation.network.clog([...far, ...far.map(([one, other]) => [other, one] as const)], 200);
  const clients = Array.from({ length: 40 }, () => localClient(shard.nodes.node(shard.primary)));
  let count = 0;
  const write = (client: { run(line: string): Promise<string> }): void =>
    void client.run(`SET key:${(count += 1)} ${count}`).then(() => simulation.after(20, "write", () => write(client)));
  for (const client of clients) write(client);
  simulation.stall(hostOf(replica), 3000);
  await shard.nodes.until("the set without it", () => shard.set.length === 2);
  await shard.nodes.until("it to be in sync again", () => shard.set.length === 3);
  const { length } = shard.set;
  await simulation.runFor(2000);
  expect([length, shard.set.length]).toEqual([3, 3]);
});

describe("a reply", () => {
  test("to a write, or to a read of it, waits until the in-sync set has it, or is known to be smaller", async () => {
    const shard = await Shard.of(3);
    const [replica = 0] = shard.replicas;
    const { simulation } = shard.nodes;
    await shard.write("SET k old");
    simulation.stall(hostOf(replica), 5000);
    const writer = localClient(shard.nodes.node(shard.primary));
    const reader = localClient(shard.nodes.node(shard.primary));
    let told = "";
    void writer.run("SET k new").then((reply) => (told += `write ${reply} `));
    void reader.run("GET k").then((reply) => (told += `read ${reply} `));
    void reader.run("SETNX k other").then((reply) => (told += `nothing ${reply}`));
    await simulation.runFor(500);
    expect(told).toBe("");
    expect(shard.set.length).toBe(3);
    await shard.nodes.until("the set without it", () => shard.set.length === 2);
    await simulation.runFor(10);
    expect(told).toBe("write OK read new nothing 0");
  });

  test("waits whatever it tells: an error that a value makes, that nothing was there, a transaction that a watched key ended, a count of keys (SAFETY 8)", async () => {
    const shard = await Shard.of(3);
    const [replica = 0] = shard.replicas;
    const { simulation } = shard.nodes;
    const connect = (): ReturnType<typeof localClient> => localClient(shard.nodes.node(shard.primary));
    const watcher = connect();
    await shard.write("SET k 1");
    for (const line of ["WATCH k", "MULTI", "GET other"]) await simulation.settle(line, watcher.run(line), 1000);
    simulation.stall(hostOf(replica), 5000);
    const told: string[] = [];
    const run = (client: ReturnType<typeof localClient>, line: string): void =>
      void client.run(line).then((reply) => told.push(`${line}: ${reply}`));
    run(connect(), "SET k word");
    run(connect(), "SET {k}2 gone");
    run(connect(), "DEL {k}2");
    const lines = ["INCR k", "DEL {k}3", "DBSIZE", "SCAN 0", "KEYS *", "RANDOMKEY"];
    for (const line of lines) run(connect(), line);
    run(watcher, "EXEC");
    await simulation.runFor(500);
    expect(told).toStrictEqual([]);
    await shard.nodes.until("the set without it", () => shard.set.length === 2);
    await simulation.runFor(10);
    expect(told.slice(3)).toStrictEqual([
      "INCR k: ERR value is not an integer or out of range",
      "DEL {k}3: 0",
      "DBSIZE: 1",
      "SCAN 0: [0 [k]]",
      "KEYS *: [k]",
      "RANDOMKEY: k",
      "EXEC: nil",
    ]);
  });

  test("of a replica waits until that knows that what it tells of is committed", async () => {
    const shard = await Shard.of(3);
    const [replica = 0, slow = 0] = shard.replicas;
    const { simulation } = shard.nodes;
    await shard.write("SET k old");
    await shard.expectEqual();
    const reader = localClient(shard.nodes.node(replica));
    await simulation.settle("readonly", reader.run("READONLY"), 1000);
    simulation.stall(hostOf(slow), 5000);
    void localClient(shard.nodes.node(shard.primary)).run("SET k new");
    await simulation.runFor(20);
    let told = "";
    void reader.run("GET k").then((reply) => (told += reply));
    await simulation.runFor(500);
    expect(told).toBe("");
    await shard.nodes.until("the set without it", () => shard.set.length === 2);
    await simulation.runFor(20);
    expect(told).toBe("new");
  });

  test("to a read of another slot does not wait", async () => {
    const shard = await Shard.of(3);
    const [replica = 0] = shard.replicas;
    await shard.write("SET other 1");
    await shard.expectEqual();
    shard.nodes.simulation.stall(hostOf(replica), 5000);
    const client = localClient(shard.nodes.node(shard.primary));
    void client.run("SET k new");
    expect(await shard.nodes.run(shard.primary, "GET other")).toBe("1");
    expect(shard.set.length).toBe(3);
  });

  test("to a write is an error, before anything is written, while the set is below its minimum", async () => {
    const shard = await Shard.of(3);
    const [replica = 0] = shard.replicas;
    const topology = shard.nodes.topology(shard.primary);
    const { simulation } = shard.nodes;
    await simulation.settle(
      "the minimum",
      topology.request({ type: "change-setting", name: "min-in-sync", value: "3" }, "a test"),
      5000,
    );
    expect(await shard.write("SET k v")).toBe("OK");
    simulation.crash(hostOf(replica));
    await shard.nodes.until("the set without it", () => shard.set.length === 2);
    expect(await shard.write("SET k w")).toStartWith("NOREPLICAS shard ");
    expect(await shard.write("GET k")).toBe("v");
    simulation.restart(hostOf(replica));
    await shard.nodes.until("it to be back", () => shard.nodes.count === 3);
    await shard.inSync(3);
    expect(await shard.write("SET k w")).toBe("OK");
  });

  test("to a write is an error below the minimum where there is no replica, too; one that was logged before is not acknowledged when the last is taken out (SAFETY 4)", async () => {
    const shard = await Shard.of(3);
    const [replica = 0] = shard.replicas;
    const { simulation } = shard.nodes;
    const setMinimum = async (value: string): Promise<void> => {
      expect(await shard.write(`CLUSTER SETTING min-in-sync ${value}`)).toBe("OK");
    };
    const ids = shard.replicas.map((at) => shard.nodes.topology(at).self.id);
    await setMinimum("3");
    expect(await shard.write("SET k v")).toBe("OK");
    simulation.stall(hostOf(replica), 60_000);
    let told = "";
    void localClient(shard.nodes.node(shard.primary))
      .run("SET k logged")
      .then((reply) => (told = reply));
    await shard.nodes.until("the set without it", () => shard.set.length === 2);
    for (const id of ids) expect(await shard.write(`CLUSTER FORGET ${id}`)).toBe("OK");
    expect(shard.nodes.topology(shard.primary).selfShard?.replicas).toEqual([]);
    await simulation.runFor(1000);
    expect(told).toBe("");
    expect(await shard.write("SET j w")).toStartWith("NOREPLICAS shard ");
    await setMinimum("1");
    await shard.nodes.until("the write to be acknowledged", () => told === "OK");
    expect(await shard.write("SET j w")).toBe("OK");
    // One that has written by itself until now is read on.
    await setMinimum("2");
    expect(await shard.write("SET j x")).toStartWith("NOREPLICAS shard ");
    expect(await shard.write("GET j")).toBe("w");
  });
});

test("a primary that has too few in sync for long lets nobody wait for ever: it refuses what is not committed, and reads the rest", async () => {
  const shard = await Shard.of(3);
  const [replica = 0] = shard.replicas;
  const { simulation } = shard.nodes;
  await shard.write("CLUSTER SETTING min-in-sync 3");
  await shard.write("SET {k}1 v");
  await shard.write("SET {k}2 v PX 3000");
  await shard.write("SET other 1");
  simulation.crash(hostOf(replica));
  await shard.nodes.until("the set without it", () => shard.set.length === 2);
  const client = localClient(shard.nodes.node(shard.primary));
  const beganAtMs = simulation.nowMs;
  await simulation.runFor(3000);
  // That a key has expired is not committed, and whoever asks for another one of its slot waits for that.
  expect(
    await simulation.settle(
      "GET",
      client.run("GET {k}1").catch(() => "closed"),
      20_000,
    ),
  ).toBe("closed");
  expect(simulation.nowMs - beganAtMs).toBeWithin(4500, 8000);
  expect(await shard.write("GET {k}1")).toStartWith("NOREPLICAS shard ");
  expect(await shard.write("DBSIZE")).toStartWith("NOREPLICAS shard ");
  expect(await shard.write("GET other")).toBe("1");
  simulation.restart(hostOf(replica));
  await shard.nodes.until("it to be back", () => shard.nodes.count === 3);
  await shard.inSync(3);
  expect(await shard.write("GET {k}1")).toBe("v");
  expect(await shard.write("GET {k}2")).toBe("nil");
});

test("a replica whose primary cannot commit for long lets nobody wait for ever, either: it refuses what is not committed, and reads the rest", async () => {
  const shard = await Shard.of(3);
  const [replica = 0, other = 0] = shard.replicas;
  const { simulation } = shard.nodes;
  await shard.write("CLUSTER SETTING min-in-sync 3");
  await shard.write("SET k old");
  await shard.write("SET known 1");
  await shard.expectEqual();
  const client = localClient(shard.nodes.node(replica));
  const run = (line: string): Promise<string> => simulation.settle(line, client.run(line), 20_000);
  await run("READONLY");
  // Two of the three have it, and that is not enough.
  simulation.crash(hostOf(other));
  localClient(shard.nodes.node(shard.primary))
    .run("SET k new")
    .catch(() => "closed");
  await shard.nodes.until("the set without it", () => shard.set.length === 2);
  const beganAtMs = simulation.nowMs;
  expect(await run("GET k").catch(() => "closed")).toBe("closed");
  expect(simulation.nowMs - beganAtMs).toBeWithin(4000, 8000);
  const later = localClient(shard.nodes.node(replica));
  const ask = (line: string): Promise<string> => simulation.settle(line, later.run(line), 1000);
  await ask("READONLY");
  expect(await ask("GET k")).toStartWith("CLUSTERDOWN The cluster is down: this replica's primary has not been able");
  expect(await ask("GET known")).toBe("1");
  // Who waits for nobody is told whatever is here.
  await ask("CLIENT ACKS primary");
  expect(await ask("GET k")).toBe("new");
  await ask("CLIENT ACKS default");
  simulation.restart(hostOf(other));
  await shard.nodes.until("it to be back", () => shard.nodes.count === 3);
  await shard.inSync(3);
  await simulation.runFor(200);
  expect(await ask("GET k")).toBe("new");
});

test("a replica of a shard that nobody leads any more lets nobody wait for ever: it refuses what may not be committed, and reads the rest", async () => {
  const shard = await Shard.of(3, { plugins: { failover: false } });
  const [replica = 0, other = 0] = shard.replicas;
  const { simulation } = shard.nodes;
  await shard.write("SET known 1");
  await shard.expectEqual();
  const client = localClient(shard.nodes.node(replica));
  const run = (line: string): Promise<string> => simulation.settle(line, client.run(line), 20_000);
  await run("READONLY");
  // One of two replicas has it: it is not committed when the primary is lost.
  simulation.stall(hostOf(other), 400);
  void localClient(shard.nodes.node(shard.primary)).run("SET k unknown");
  await shard.nodes.until("the replica to have it", () => shard.keyspace(replica).size === 2, 300);
  simulation.crash(hostOf(shard.primary));
  const beganAtMs = simulation.nowMs;
  expect(await run("GET k").catch(() => "closed")).toBe("closed");
  expect(simulation.nowMs - beganAtMs).toBeWithin(4500, 8000);
  const later = localClient(shard.nodes.node(replica));
  const ask = (line: string): Promise<string> => simulation.settle(line, later.run(line), 1000);
  await ask("READONLY");
  expect(await ask("GET k")).toStartWith("CLUSTERDOWN The cluster is down: nobody leads this replica's shard");
  expect(await ask("DBSIZE")).toStartWith("CLUSTERDOWN");
  expect(await ask("GET known")).toBe("1");
  expect(await ask("PING")).toBe("PONG");
});

describe("a client that wants other acknowledgements than the cluster's", () => {
  test("has them, and nobody else", async () => {
    const shard = await Shard.of(3);
    const [replica = 0] = shard.replicas;
    const { simulation } = shard.nodes;
    const topology = shard.nodes.topology(shard.primary);
    const [hasty, careful, usual] = [0, 1, 2].map(() => localClient(shard.nodes.node(shard.primary)));
    const run = (client: ReturnType<typeof localClient> | undefined, line: string): Promise<string> =>
      simulation.settle(line, present(client, "a client").run(line), 2000);
    expect(await run(usual, "CLIENT ACKS")).toBe("in-sync");
    expect(await run(hasty, "CLIENT ACKS primary")).toBe("OK");
    expect(await run(careful, "CLIENT ACKS IN-SYNC")).toBe("OK");
    expect(await run(usual, "CLIENT ACKS all")).toBe('ERR acks are in-sync, primary or default, not "all"');
    simulation.stall(hostOf(replica), 300);
    let told = "";
    for (const [name, client] of [
      ["careful", careful],
      ["usual", usual],
      ["hasty", hasty],
    ] as const)
      void client?.run(`SET ${name} 1`).then(() => (told += `${name} `));
    await simulation.runFor(20);
    expect(told).toBe("hasty ");
    await simulation.runFor(500);
    expect(told).toBe("hasty careful usual ");
    const change = { type: "change-setting", name: "acks", value: "primary" } as const;
    await simulation.settle("the setting", topology.request(change, "a test"), 5000);
    simulation.stall(hostOf(replica), 300);
    told = "";
    for (const [name, client] of [
      ["careful", careful],
      ["usual", usual],
    ] as const)
      void client?.run(`SET ${name} 1`).then(() => (told += `${name} `));
    await simulation.runFor(20);
    expect(told).toBe("usual ");
  });
});

describe("replication-commands", () => {
  test("WAIT counts the replicas that have it, at once, in time, or when the time is over", async () => {
    const shard = await Shard.of(3);
    const [replica = 0] = shard.replicas;
    const { simulation } = shard.nodes;
    await shard.write("SET k v");
    await shard.expectEqual();
    expect(await shard.write("WAIT 2 100")).toBe("2");
    simulation.stall(hostOf(replica), 400);
    expect(await shard.write("CLIENT ACKS")).toBe("in-sync");
    const client = localClient(shard.nodes.node(shard.primary));
    const run = (line: string): Promise<string> => simulation.settle(line, client.run(line), 5000);
    await run("CLIENT ACKS primary");
    await run("SET k w");
    expect(await run("WAIT 1 0")).toBe("1");
    expect(await run("WAIT 2 50")).toBe("1");
    expect(await run("WAIT 2 0")).toBe("2");
    // Nobody has what is not whole, and it is not parted.
    for (const line of ["MULTI", "SET {k}1 a", "WAIT 1 0", "SET {k}2 b"]) await run(line);
    const before = shard.replication(shard.primary).last;
    expect(await run("EXEC")).toBe("[OK 0 OK]");
    expect(shard.replication(shard.primary).last).toBe(before + 1);
    expect(await run("WAIT 2 -1")).toBe("ERR timeout is negative");
    expect(await run("WAIT 2 x")).toBe("ERR timeout is not an integer or out of range");
    expect(await shard.nodes.run(replica, "WAIT 1 0")).toStartWith("ERR WAIT cannot be used with replica instances.");
  });

  test("WAIT without an end ends with its client: those who come again and again, for what does not come, leave nothing behind", async () => {
    const shard = await Shard.of(2);
    await shard.write("SET k v");
    const waiting = async (): Promise<string> =>
      /repl_waiting_clients:(\d+)/.exec(await shard.write("INFO replication"))?.[1] ?? "";
    for (let count = 0; count < 10; count += 1) {
      const client = localClient(shard.nodes.node(shard.primary));
      const ended = client.run("WAIT 2 0").catch(() => "closed");
      expect(await waiting()).toBe("1");
      client.close();
      expect(await ended).toBe("closed");
      expect(await waiting()).toBe("0");
    }
  });

  test("ROLE and INFO name the primary and its replicas, and where they are", async () => {
    const shard = await Shard.of(3);
    const [replica = 0, other = 0] = shard.replicas;
    await shard.write("SET k v");
    await shard.expectEqual();
    const at = shard.replication(shard.primary).position?.sequence ?? 0;
    expect(await shard.write("ROLE")).toBe(
      `[master ${at} [${[replica, other]
        .map((each) => [shard.nodes.topology(each).self.id, `[${hostOf(each)} 6379 ${at}]`])
        .toSorted(([one = ""], [another = ""]) => (one < another ? -1 : 1))
        .map(([, text]) => text)
        .join(" ")}]]`,
    );
    expect(await shard.nodes.run(replica, "ROLE")).toBe(`[slave ${hostOf(shard.primary)} 6379 connected ${at}]`);
    const info = await shard.nodes.run(replica, "INFO replication");
    expect(info).toContain("role:slave\r\n");
    expect(info).toContain("master_link_status:up\r\n");
    const told = await shard.write("INFO replication");
    expect(told).toContain("role:master\r\nconnected_slaves:2\r\n");
    expect(told).toContain(`,state=online,offset=${at},lag=0,in_sync=1,behind=0`);
    // Whoever reads as many as are connected finds these.
    for (const gone of shard.replicas) {
      shard.nodes.simulation.crash(hostOf(gone));
      await shard.nodes.until("it to be missed", () => shard.set.length === 2);
      const there = shard.replicas.find((each) => each !== gone) ?? 0;
      const less = await shard.write("INFO replication");
      expect(less).toContain("connected_slaves:1\r\n");
      expect(less).toContain(`slave0:ip=${hostOf(there)},port=6379,state=online`);
      shard.nodes.simulation.restart(hostOf(gone));
      await shard.nodes.until("it to be back", () => shard.nodes.count === 3);
      await shard.inSync(3);
    }
  });
});

test("a replica that cannot do what its primary did stops, and acknowledges nothing behind that", async () => {
  const shard = await Shard.of(3);
  const { simulation } = shard.nodes;
  await shard.write("SET k old");
  await shard.expectEqual();
  const run = spyOn(EffectRunner.prototype, "run").mockImplementationOnce(() => {
    throw new RangeError("Out of memory");
  });
  const clients = [1, 2].map(() => localClient(shard.nodes.node(shard.primary)));
  const replies = ["SET k new", "SET j 1"].map(async (line, at) => {
    await simulation.runFor(5 * at);
    return (await clients[at]?.run(line)) ?? "";
  });
  expect(await simulation.settle("the first reply", present(replies[0], "it was asked"), 20_000)).toBe("OK");
  // Whoever is in sync at this moment has what was acknowledged.
  const holders = shard.all.filter((at) => shard.set.includes(shard.nodes.topology(at).self.id));
  expect(new Set(holders.map((at) => shard.keyspace(at).digestSlot(7629))).size).toBe(1);
  expect(await simulation.settle("both", Promise.all(replies), 20_000)).toEqual(["OK", "OK"]);
  run.mockRestore();
  expect(shard.set).toHaveLength(2);
});

test("a transaction of which the log has half when a primary stops is told to nobody: whoever takes over has nothing of it", async () => {
  const shard = await Shard.of(3);
  const { simulation } = shard.nodes;
  for (const key of ["{k}a", "{k}b"]) await shard.write(`SET ${key} old`);
  await shard.expectEqual();
  const node = shard.nodes.node(shard.primary);
  // Something else has to end first.
  node.hooks.stop.add("slow", () => new Promise(() => undefined), "post");
  const client = localClient(node);
  for (const line of ["MULTI", "SET {k}a new", "SET {k}b new"]) await simulation.settle(line, client.run(line), 20_000);
  const whole = Reflect.get<ShardLog, "append">(ShardLog.prototype, "append");
  const append = spyOn(ShardLog.prototype, "append").mockImplementation(function (this: ShardLog, ...told) {
    const [, args] = told;
    if (args.count > 1 && new TextDecoder().decode(args.copy(1)) === "{k}b") throw new RangeError("Out of memory");
    return whole.apply(this, told);
  });
  const exec = client.run("EXEC").catch(() => "closed");
  try {
    expect(await simulation.settle("EXEC", exec, 20_000)).toBe("closed");
  } finally {
    append.mockRestore();
  }
  const leads = (at: number): boolean => shard.nodes.isUp(at) && shard.replication(at).role === "primary";
  await shard.nodes.until("another primary", () => shard.replicas.some(leads));
  shard.primary = present(shard.replicas.find(leads), "one is primary");
  for (const key of ["{k}a", "{k}b"]) expect(await shard.write(`GET ${key}`)).toBe("old");
});

test("a primary that cannot log what it has done stops, and acknowledges it to nobody: whoever takes over has nothing of it", async () => {
  const shard = await Shard.of(3);
  const { simulation } = shard.nodes;
  await shard.write("SET k old");
  const former = shard.primary;
  const client = localClient(shard.nodes.node(former));
  const append = spyOn(ShardLog.prototype, "append").mockImplementation(() => {
    throw new RangeError("Out of memory");
  });
  try {
    expect(
      await simulation.settle(
        "SET",
        client.run("SET k new").catch(() => "closed"),
        20_000,
      ),
    ).toBe("closed");
  } finally {
    append.mockRestore();
  }
  await shard.nodes.until("another primary", () =>
    shard.replicas.some((at) => shard.replication(at).role === "primary"),
  );
  shard.primary = present(
    shard.replicas.find((at) => shard.replication(at).role === "primary"),
    "one is primary",
  );
  expect(await shard.write("GET k")).toBe("old");
  // Nobody was handed what is broken.
  expect(shard.nodes.topology(shard.primary).history.at(-1)?.cause).toContain("its lease is over");
});

test("a primary that is deposed closes the connections whose last commands it does not know the end of, and answers them nothing (SAFETY 9)", async () => {
  const shard = await Shard.of(3);
  const old = shard.primary;
  const { simulation } = shard.nodes;
  await shard.write("SET n 1");
  const others = shard.replicas.map((at) => [hostOf(at), hostOf(old)] as const);
  const cut = simulation.network.cut([...others, ...others.map(([one, other]) => [other, one] as const)]);
  const clients = [localClient(shard.nodes.node(old)), localClient(shard.nodes.node(old))] as const;
  const told: string[] = [];
  for (const [at, line] of ["INCR n", "GET n"].entries())
    void clients[at]?.run(line).then(
      (reply) => told.push(reply),
      (thrown: unknown) => told.push(String(thrown)),
    );
  await shard.nodes.until("another primary", () =>
    shard.replicas.some((at) => shard.replication(at).role === "primary"),
  );
  expect(told).toEqual([]);
  cut.heal();
  await shard.nodes.until("it to know", () => shard.replication(old).role === "replica");
  await simulation.runFor(100);
  expect(told).toEqual(["Error: The connection was closed", "Error: The connection was closed"]);
});

test("a transaction that waits for a command in the middle, and ends under another primary, ends in a closed connection: what it wrote is lost (SAFETY 9)", async () => {
  const shard = await Shard.of(3);
  const old = shard.primary;
  const { simulation } = shard.nodes;
  await shard.write("SET k before");
  const client = localClient(shard.nodes.node(old));
  for (const line of ["MULTI", "SET k lost", "CLUSTER SETTING replica-migration yes"])
    await simulation.settle(line, client.run(line), 1000);
  const others = shard.replicas.map((at) => [hostOf(at), hostOf(old)] as const);
  const cut = simulation.network.cut([...others, ...others.map(([one, other]) => [other, one] as const)]);
  const told = client.run("EXEC").catch((thrown: unknown) => String(thrown));
  const next = (): number | undefined => shard.replicas.find((at) => shard.replication(at).role === "primary");
  await shard.nodes.until("another primary", () => next() !== undefined);
  shard.primary = next() ?? 0;
  cut.heal();
  // The log that it follows goes on beyond the place that the transaction had in its own.
  for (let count = 0; count < 20; count += 1) await shard.write(`SET other ${count}`);
  expect(await simulation.settle("EXEC", told, 20_000)).toBe("Error: The connection was closed");
  expect(await shard.write("GET k")).toBe("before");
});

test("what is behind a command that a transaction waited for is not parted, as little as what is before it", async () => {
  const shard = await Shard.of(2);
  const client = localClient(shard.nodes.node(shard.primary));
  const run = (line: string): Promise<string> => shard.nodes.simulation.settle(line, client.run(line), 5000);
  const before = shard.replication(shard.primary).last;
  const long = "x".repeat(20_000);
  const lines = [`SET {k}1 ${long}`, `SET {k}2 ${long}`];
  for (const line of ["MULTI", ...lines, "CLUSTER SETTING on-loss stop", ...lines, "SET {k}3 v"]) await run(line);
  expect(await run("EXEC")).toBe("[OK OK OK OK OK OK]");
  expect(shard.replication(shard.primary).last).toBe(before + 2);
  await shard.expectEqual();
});

describe("a shard whose data are given up", () => {
  test("begins empty where the one that goes on had half a copy", async () => {
    // With Raft's state on disk two of three may restart.
    const shard = await Shard.of(3, { dataDir: "data" });
    const [filled = 0, other = 0] = shard.replicas;
    const { simulation } = shard.nodes;
    const value = "x".repeat(2000);
    for (let count = 0; count < 3000; count += 1) await shard.write(`SET key:${count} ${value}`);
    simulation.crash(hostOf(filled));
    await shard.nodes.until("the set without it", () => shard.set.length === 2);
    simulation.restart(hostOf(filled));
    await shard.nodes.until("half of it to be there", () => {
      const size = shard.nodes.count === 3 ? shard.keyspace(filled).size : 0;
      return size > 100 && size < 2900;
    });
    expect(shard.replication(filled).position).toBeUndefined();
    const { id } = present(shard.nodes.topology(filled).selfShard, "it is in the shard");
    for (const at of [shard.primary, other]) simulation.crash(hostOf(at));
    for (const at of [shard.primary, other]) simulation.restart(hostOf(at));
    await shard.nodes.until("all to be back", () => shard.nodes.count === 3);
    // Until somebody says so, nobody serves it.
    await simulation.runFor(5000);
    expect(shard.all.map((at) => shard.replication(at).role)).not.toContain("primary");
    let reply = "";
    while (reply !== "OK" && simulation.nowMs < 100_000) {
      await simulation.runFor(500);
      reply = await shard.nodes.run(filled, `CLUSTER ACCEPT-LOSS ${id}`);
    }
    expect(reply).toBe("OK");
    await shard.nodes.until("it to go on", () => shard.all.some((at) => shard.replication(at).role === "primary"));
    shard.primary = present(
      shard.all.find((at) => shard.replication(at).role === "primary"),
      "one is primary",
    );
    while ((await shard.write("SET k v")) !== "OK" && simulation.nowMs < 100_000) await simulation.runFor(100);
    expect(await shard.write("DBSIZE")).toBe("1");
    await shard.expectEqual();
  });
});
