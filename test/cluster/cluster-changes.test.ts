/** Three processes that `bun start` runs: what one of them changes of the cluster map, all have; and redis-cli mends what is amiss. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type BunchProcess, endLeftovers, runBunch } from "../support/bunch-server.ts";
import { RawClient } from "../support/raw-client.ts";
import { needsRedisServer } from "../support/redis-server.ts";

const PORTS = [22_010, 22_011, 22_012];
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
    expect(await redisCli("check")).toContain("Not all 16384 slots are covered");
    expect(await redisCli("fix")).toContain("Covering slot 12345");
    expect(await redisCli("check")).toContain("All 16384 slots covered");
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

async function redisCli(subcommand: string): Promise<string> {
  const child = Bun.spawn(["redis-cli", "--cluster", subcommand, `127.0.0.1:${PORTS[0] ?? 0}`, "--cluster-yes"], {
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
