/** Three processes that `bun start` runs: what one of them changes of the cluster map, all have; and redis-cli mends what is amiss. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BunchProcess, endLeftovers, runBunch } from "../support/bunch-server.ts";
import { RawClient } from "../support/raw-client.ts";
import { needsRedisServer } from "../support/redis-server.ts";

const PORTS = [22_010, 22_011, 22_012] as const;
const PATIENCE_MS = 10_000;

describe("a cluster of three processes", () => {
  let cluster: BunchProcess;
  const clients: RawClient[] = [];
  beforeAll(async () => {
    cluster = runBunch(["start", "--port", String(PORTS[0])]);
    await cluster.until("all 16384 slots served");
    for (const port of PORTS) clients.push(await RawClient.connect(port));
  });
  afterAll(async () => {
    for (const client of clients) client.close();
    await endLeftovers();
  });

  const client = (at: number): RawClient => {
    const found = clients[at];
    if (found === undefined) throw new Error(`there is no node ${at}`);
    return found;
  };
  const run = async (at: number, line: string): Promise<string> => (await client(at).run(line)) ?? "closed";
  /** Slots of all nodes by id, as each node tells them, when they agree. */
  const agreed = async (): Promise<string> => {
    const endAtMs = performance.now() + PATIENCE_MS;
    for (;;) {
      const tables = await Promise.all(
        PORTS.map(async (_, at) =>
          (await run(at, "cluster nodes"))
            .split("\n")
            .filter((line) => line.includes(" connected"))
            .map((line) => line.replaceAll(/^(\S+) (\S+) .* connected/g, "$2"))
            .join("\n"),
        ),
      );
      if (new Set(tables).size === 1) return tables[0] ?? "";
      if (performance.now() > endAtMs) throw new Error(`the nodes do not agree: ${JSON.stringify(tables)}`);
    }
  };
  const slotsOf = async (at: number): Promise<string> =>
    (await agreed())
      .split("\n")
      .find((line) => line.startsWith(`127.0.0.1:${PORTS[at] ?? 0}@`))
      ?.replace(/^\S+ ?/, "") ?? "not there";

  test("slots that a node is told to take away, or to take, are so on all, whoever leads", async () => {
    for (const at of [0, 1, 2]) {
      expect(await run(at, "cluster delslotsrange 100 110 6000 6010")).toBe("+OK\r\n");
      expect(await agreed()).toContain("0-99 111-5460");
      expect(await run(at, "cluster addslots 102 6002")).toBe("+OK\r\n");
      expect((await slotsOf(at)).split(" ")).toContain("6002");
      const next = (at + 1) % 3;
      expect(await run(next, "cluster addslots 105 6002 102")).toBe("-ERR Slot 6002 is already busy\r\n");
      expect(await run(next, "cluster delslots 6002 105")).toBe("-ERR Slot 105 is already unassigned\r\n");
      expect(await run(next, "cluster delslots 102 6002")).toBe("+OK\r\n");
      expect(await run(0, "cluster addslotsrange 100 110")).toBe("+OK\r\n");
      expect(await run(1, "cluster addslotsrange 6000 6010")).toBe("+OK\r\n");
      expect(await slotsOf(0)).toBe("0-5460");
      expect(await slotsOf(1)).toBe("5461-10922");
    }
  });

  test("epochs grow, and the highest one stays", async () => {
    const bumped = await run(0, "cluster bumpepoch");
    expect(bumped).toMatch(/^\+(BUMPED|STILL) [0-9]+\r\n$/);
    expect(await run(0, "cluster bumpepoch")).toBe(bumped.replace("BUMPED", "STILL"));
    expect(await run(1, "cluster set-config-epoch 99")).toBe(
      "-ERR The user can assign a config epoch only when the node does not know any other node.\r\n",
    );
  });

  test("a transaction takes a slot away and gives it, from two clients at once: each has all of its own, and the owner is one", async () => {
    const sent = [0, 1].map(async (at) => {
      const own = client(at);
      own.write("MULTI\r\nCLUSTER DELSLOTS 16000\r\nCLUSTER ADDSLOTS 16000\r\nCLUSTER BUMPEPOCH\r\nEXEC\r\nPING\r\n");
      const replies: string[] = [];
      for (let count = 0; count < 6; count += 1) replies.push((await own.reply()) ?? "closed");
      return replies;
    });
    for (const replies of await Promise.all(sent)) {
      expect(replies.slice(0, 4)).toEqual(["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "+QUEUED\r\n"]);
      expect(replies[4]).toMatch(
        /^\*3\r\n(\+OK|-ERR Slot 16000 is already unassigned)\r\n(\+OK|-ERR Slot 16000 is already busy)\r\n\+(BUMPED|STILL) [0-9]+\r\n$/,
      );
      expect(replies[5]).toBe("+PONG\r\n");
    }
    const owners = (await agreed()).split("\n").filter((line) => / (16000|[0-9-]*-16000|16000-16383)( |$)/.test(line));
    expect(owners.length).toBeLessThanOrEqual(1);
    await run(2, "cluster delslots 16000");
    expect(await run(2, "cluster addslots 16000")).toBe("+OK\r\n");
    expect(await slotsOf(2)).toBe("10923-16383");
  });

  test.skipIf(!needsRedisServer())("redis-cli --cluster fix covers slots that nobody owns", async () => {
    // Slot 12539 keeps a key on the third node, which is the one that gets it back.
    expect(await run(2, "set key kept")).toBe("+OK\r\n");
    expect(await run(1, "cluster delslots 12345 12539 100 101")).toBe("+OK\r\n");
    await agreed();
    expect(await run(2, "get key")).toStartWith("-CLUSTERDOWN");
    expect(await redisCli("check", PORTS[0])).toContain("Not all 16384 slots are covered");
    expect(await redisCli("fix", PORTS[0])).toContain("Covering slot 12345");
    expect(await redisCli("check", PORTS[0])).toContain("All 16384 slots covered");
    expect(await run(0, "cluster info")).toContain("cluster_state:ok\r\ncluster_slots_assigned:16384\r\n");
    expect(await run(2, "get key")).toBe("$4\r\nkept\r\n");
    expect(await run(2, "del key")).toBe(":1\r\n");
  });
});

describe("a node that is forgotten", () => {
  afterAll(endLeftovers);

  test("leaves the map and the vote to the others, also where it alone led and voted", async () => {
    const port = 22_015;
    const cluster = runBunch(["start", "--nodes", "2", "--port", String(port)]);
    await cluster.until("all 16384 slots served");
    const clients = [await RawClient.connect(port), await RawClient.connect(port + 1)];
    const run = async (at: number, line: string): Promise<string> => (await clients[at]?.run(line)) ?? "closed";
    const until = async (at: number, line: string, wanted: string): Promise<void> => {
      const endAtMs = performance.now() + PATIENCE_MS;
      for (let reply = ""; !reply.includes(wanted);) {
        reply = await run(at, line);
        if (performance.now() > endAtMs) throw new Error(`${line} never said ${wanted}, but ${reply}`);
      }
    };
    const roles = await Promise.all([run(0, "info cluster"), run(1, "info cluster")]);
    const leader = roles.findIndex((info) => info.includes("raft_role:leader"));
    const heir = 1 - leader;
    expect(roles[leader]).toContain("raft_voters:1\r\n");
    const id = /[0-9a-f]{40}/.exec(await run(leader, "cluster myid"))?.[0] ?? "none";

    expect(await run(heir, `cluster forget ${id}`)).toContain("owns slots");
    expect(await run(leader, "cluster flushslots")).toBe("+OK\r\n");
    expect(await run(heir, `cluster forget ${id}`)).toBe("+OK\r\n");
    // redis-cli says it to every node: one that has gone is no error.
    expect(await run(heir, `cluster forget ${id}`)).toBe("+OK\r\n");
    await until(heir, "info cluster", "raft_members:1\r\n");
    expect(await run(heir, "cluster nodes")).not.toContain(id);
    expect(await run(heir, "cluster bumpepoch")).toMatch(/^\+(BUMPED|STILL)/);
    await until(leader, "info cluster", "raft_role:out\r\n");
    for (const client of clients) client.close();
  });
});

describe("a node that is reset", () => {
  const base = 22_020;
  let cluster: BunchProcess;
  beforeAll(async () => {
    cluster = runBunch(["start", "--port", String(base)]);
    await cluster.until("all 16384 slots served");
  });
  afterAll(endLeftovers);
  /** A connection of its own for each command: what is said to a node that changes is not about the connection. */
  const run = async (at: number, line: string): Promise<string> => {
    const client = await RawClient.connect(base + at);
    const reply = (await client.run(line)) ?? "closed";
    client.close();
    return reply;
  };
  const until = async (at: number, line: string, wanted: string): Promise<void> => {
    const endAtMs = performance.now() + PATIENCE_MS;
    for (let reply = ""; !reply.includes(wanted);) {
      reply = await run(at, line);
      if (performance.now() > endAtMs) throw new Error(`${line} never said ${wanted}, but ${reply}`);
    }
  };
  const idOf = async (at: number): Promise<string> => /[0-9a-f]{40}/.exec(await run(at, "cluster myid"))?.[0] ?? "none";

  test("must be empty, leaves the cluster able to go on, and is one by itself", async () => {
    const info = await Promise.all([0, 1, 2].map((at) => run(at, "info cluster")));
    // The leader is the hardest to lose.
    const leader = info.findIndex((each) => each.includes("raft_role:leader"));
    const [one = 0, other = 0] = [0, 1, 2].filter((at) => at !== leader);
    const id = await idOf(leader);
    const key = Array.from({ length: 1000 }, (_, at) => `key${at}`);
    const owned = await firstOf(key, async (name) => (await run(leader, `set ${name} 1`)) === "+OK\r\n");
    expect(await run(leader, "cluster reset")).toBe(
      "-ERR CLUSTER RESET can't be called with master nodes containing keys\r\n",
    );
    expect(await run(leader, `del ${owned}`)).toBe(":1\r\n");
    expect(await run(leader, "cluster reset")).toBe("+OK\r\n");

    expect(await run(leader, "cluster nodes")).toMatch(
      new RegExp(`${id} \\S+ myself,master - 0 0 \\d+ connected\n\r\n$`),
    );
    expect(await run(leader, "cluster info")).toContain("cluster_slots_assigned:0\r\n");
    expect(await run(leader, "get x")).toStartWith("-CLUSTERDOWN");
    for (const at of [one, other]) await until(at, "cluster info", "cluster_known_nodes:2\r\n");
    expect(await run(one, "cluster nodes")).not.toContain(id);
    await until(one, "info cluster", "raft_members:2\r\n");
    const missing = ["0-5460", "5461-10922", "10923-16383"][leader]?.replace("-", " ") ?? "";
    expect(await run(other, `cluster addslotsrange ${missing}`)).toBe("+OK\r\n");
    await until(one, "cluster info", "cluster_state:ok");
    // Two clusters: what one of them does is nothing to the other.
    expect(await run(leader, "cluster addslotsrange 0 16383")).toBe("+OK\r\n");
    expect(await run(leader, "set x alone")).toBe("+OK\r\n");
    expect(await run(leader, "del x")).toBe(":1\r\n");
    const before = await idOf(leader);
    expect(await run(leader, "cluster reset hard")).toBe("+OK\r\n");
    expect(await idOf(leader)).not.toBe(before);

    // redis-cli: FORGET on all others, RESET SOFT on the node itself; here of two, of which one is left.
    expect(await run(one, "cluster flushslots")).toBe("+OK\r\n");
    const forgotten = await idOf(one);
    const said = await redisCli("del-node", base + other, forgotten);
    expect(said).toContain("Sending CLUSTER RESET SOFT to the deleted node");
    expect(said).not.toContain("ERR");
    expect(await idOf(one)).toBe(forgotten);
    await until(one, "cluster info", "cluster_known_nodes:1\r\n");
    await until(other, "info cluster", "raft_members:1\r\n");
    expect(await run(other, "cluster nodes")).not.toContain(forgotten);
    expect(await run(other, "cluster bumpepoch")).toMatch(/^\+(BUMPED|STILL)/);
  }, 30_000);

  test("keeps what it became in its data directory, whatever list of nodes it is started with", async () => {
    const directory = mkdtempSync(join(tmpdir(), "bunch-reset-"));
    const port = base + 5;
    const nodes = JSON.stringify([{ name: "a", host: "127.0.0.1", port, slots: ["0-16383"] }]);
    const start = async (): Promise<BunchProcess> => {
      const node = runBunch(["node", "--name", "a", "--port", String(port), "--data-dir", directory], {
        BUNCH_TOPOLOGY_NODES: nodes,
      });
      await node.until("takes part");
      return node;
    };
    const stop = async (node: BunchProcess): Promise<void> => {
      node.kill("SIGTERM");
      await node.exited;
    };
    try {
      let node = await start();
      const first = await idOf(5);
      expect(await run(5, "cluster reset soft")).toBe("+OK\r\n");
      expect(await run(5, "cluster addslots 7")).toBe("+OK\r\n");
      await stop(node);
      // Another start is of another epoch: it has nothing of what the one before had.
      node = await start();
      expect(await run(5, "cluster nodes")).toMatch(
        new RegExp(`${first} \\S+ myself,master - 0 0 2 connected 7\n\r\n$`),
      );
      expect(await run(5, "cluster reset hard")).toBe("+OK\r\n");
      const second = await idOf(5);
      expect(second).not.toBe(first);
      expect(await run(5, "cluster addslots 8")).toBe("+OK\r\n");
      await stop(node);
      node = await start();
      expect(await run(5, "cluster nodes")).toMatch(
        new RegExp(`${second} \\S+ myself,master - 0 0 2 connected 8\n\r\n$`),
      );
      await stop(node);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }, 30_000);
});

/** The first that passes. */
async function firstOf(names: readonly string[], isRight: (name: string) => Promise<boolean>): Promise<string> {
  for (const name of names) if (await isRight(name)) return name;
  throw new Error("none is right");
}

async function redisCli(subcommand: string, port: number, ...more: readonly string[]): Promise<string> {
  const child = Bun.spawn(["redis-cli", "--cluster", subcommand, `127.0.0.1:${port}`, ...more], {
    // It asks before it gives slots to a node.
    stdin: new TextEncoder().encode("yes\nyes\n"),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return output + errors;
}
