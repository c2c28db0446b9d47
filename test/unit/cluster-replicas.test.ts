/** What CLUSTER tells of replicas, and how one becomes another's or none: whole nodes on virtual time. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import { BUS_PORT_OFFSET, type Config } from "../../src/config.ts";
import { keyspaceService } from "../../src/contracts/keyspace.ts";
import { localClient } from "../support/local-node.ts";
import { PORT, SimNodes, hostOf } from "../support/sim-nodes.ts";

const SEEDS = [0, 1, 2].map((at) => `${hostOf(at)}:${PORT + BUS_PORT_OFFSET}`).join(",");
const LIMIT_MS = 60_000;

/** Three primaries, node-0 to node-2, and nodes that join them, with what each is to be a replica of. */
async function cluster(...joiners: readonly (string | undefined)[]): Promise<SimNodes> {
  const configs = [0, 1, 2].map((at): Config => ({ name: `node-${at}`, join: SEEDS, bootstrapExpect: 3 }));
  const others = joiners.map((replicaOf, at): Config => {
    const config = { name: `node-${at + 3}`, join: SEEDS };
    return replicaOf === undefined ? config : { ...config, replicaOf };
  });
  const nodes = new SimNodes([...configs, ...others]);
  const all = [...configs, ...others].map((_, at) => at);
  await nodes.up(all.length);
  await nodes.until("one cluster", () => nodes.isOne(...all));
  for (const [at, wanted] of joiners.entries()) {
    if (wanted !== undefined) await nodes.until("a replica in sync", () => isInSync(nodes, at + 3), LIMIT_MS);
  }
  return nodes;
}

const idOf = (nodes: SimNodes, at: number): string => nodes.topology(at).self.id;

function isInSync(nodes: SimNodes, at: number): boolean {
  const { selfShard, self } = nodes.topology(at);
  return selfShard?.primary !== self.id && selfShard?.inSync.includes(self.id) === true;
}

const keysOf = (nodes: SimNodes, at: number): number =>
  present(nodes.node(at).service(keyspaceService), "there is a keyspace").size;

/** Writes keys to whoever owns them. @returns How many a primary has. */
async function write(nodes: SimNodes, primary: number): Promise<number> {
  for (let key = 0; key < 20; key += 1) for (const at of [0, 1, 2]) await nodes.run(at, `SET key-${key} ${key}`);
  return keysOf(nodes, primary);
}

/** What CLUSTER NODES says of a node: flags, the primary's id or -, link. */
async function lineOf(nodes: SimNodes, teller: number, id: string): Promise<string> {
  const lines = (await nodes.run(teller, "CLUSTER NODES")).split("\n").map((line) => line.split(" "));
  const [, , flags, primary, , , , link] = lines.find((line) => line[0] === id) ?? [];
  return `${flags} ${primary} ${link}`;
}

/** What CLUSTER SHARDS says of a node: role, offset, health. */
async function shardsLineOf(nodes: SimNodes, teller: number, id: string): Promise<string> {
  const client = localClient(nodes.node(teller));
  await nodes.simulation.settle("lists instead of maps", client.run("HELLO 2"), LIMIT_MS);
  const told = await nodes.simulation.settle("shards", client.run("CLUSTER SHARDS"), LIMIT_MS);
  client.close();
  const [, role, offset, health] =
    new RegExp(`id ${id} [^\\]]*role ([a-z]+) replication-offset ([0-9]+) health ([a-z]+)`).exec(told) ?? [];
  return `${role} ${offset} ${health}`;
}

const hasSlotsOf = async (nodes: SimNodes, teller: number, id: string): Promise<boolean> =>
  (await nodes.run(teller, "CLUSTER SLOTS")).includes(id);

describe("CLUSTER", () => {
  test("tells of a replica where it is in the log, as far as a node knows, and that it is gone when it is", async () => {
    const nodes = await cluster("node-0");
    const [primary, replica] = [idOf(nodes, 0), idOf(nodes, 3)];
    const written = await write(nodes, 0);
    expect(written).toBeGreaterThan(0);
    await nodes.until("it to have all", () => keysOf(nodes, 3) === written);
    await nodes.simulation.runFor(500);
    const offset = /master_repl_offset:([0-9]+)/.exec(await nodes.run(0, "INFO replication"))?.[1] ?? "none";
    expect(Number(offset)).toBeGreaterThanOrEqual(written);
    for (const teller of [0, 3]) {
      expect(await shardsLineOf(nodes, teller, primary)).toBe(`master ${offset} online`);
      expect(await shardsLineOf(nodes, teller, replica)).toBe(`replica ${offset} online`);
    }
    // Who is in another shard has it from them, by and by.
    await untilSo(nodes, async () => (await shardsLineOf(nodes, 1, replica)) === `replica ${offset} online`);
    await untilSo(nodes, async () => (await shardsLineOf(nodes, 1, primary)) === `master ${offset} online`);
    expect(await lineOf(nodes, 1, replica)).toBe(`slave ${primary} connected`);
    expect(await lineOf(nodes, 3, replica)).toBe(`myself,slave ${primary} connected`);
    expect(await hasSlotsOf(nodes, 1, replica)).toBe(true);

    nodes.simulation.crash(hostOf(3));
    const tells = async (flags: string): Promise<boolean> =>
      (await lineOf(nodes, 1, replica)).startsWith(`slave,${flags} `);
    await untilSo(nodes, () => tells("fail?"));
    expect(await shardsLineOf(nodes, 1, replica)).not.toContain("fail");
    await untilSo(nodes, () => tells("fail"));
    expect(await lineOf(nodes, 1, replica)).toBe(`slave,fail ${primary} disconnected`);
    expect(await shardsLineOf(nodes, 1, replica)).toBe("replica 0 fail");
    expect(await hasSlotsOf(nodes, 1, replica)).toBe(false);
    expect(await nodes.run(1, "CLUSTER INFO")).toContain("cluster_state:ok");
  });

  test("tells clients of a replica once it has everything, and that it is loading before", async () => {
    const nodes = await cluster(undefined);
    await write(nodes, 0);
    const id = idOf(nodes, 3);
    // It cannot get anything of its primary.
    const cut = nodes.simulation.partition([hostOf(3)], [hostOf(0)]);
    expect(await nodes.run(3, `CLUSTER REPLICATE ${idOf(nodes, 0)}`)).toBe("OK");
    for (const teller of [1, 3]) {
      expect(await shardsLineOf(nodes, teller, id)).toBe("replica 0 loading");
      expect(await hasSlotsOf(nodes, teller, id)).toBe(false);
    }
    cut.heal();
    await nodes.until("it to be in sync", () => isInSync(nodes, 3), LIMIT_MS);
    await nodes.until("the others to know", () =>
      [0, 1].every((at) => nodes.topology(at).map.shards.some(({ inSync }) => inSync.includes(id))),
    );
    for (const teller of [0, 1, 3]) {
      expect(await shardsLineOf(nodes, teller, id)).toMatch(/^replica [0-9]+ online$/);
      expect(await hasSlotsOf(nodes, teller, id)).toBe(true);
    }
  });

  test("cluster_state is fail while nobody serves a shard with slots, with the reason, and ok once somebody does", async () => {
    const nodes = await cluster("node-0", undefined);
    const shard = nodes.topology(1).map.shards.find(({ primary }) => primary === idOf(nodes, 1))?.id ?? "";
    // Its only member.
    nodes.simulation.crash(hostOf(1));
    // Each node finds that out by itself, and first that the link is broken.
    await untilSo(nodes, async () => (await nodes.run(2, "CLUSTER INFO")).includes("primary node-1 is down"));
    expect(await nodes.run(2, "CLUSTER INFO")).toMatch(
      new RegExp(
        `\\r\\ncluster_slots_fail:546[12]\\r\\n[^]*\\r\\ncluster_fail_shard_${shard}:primary node-1 is down: `,
      ),
    );
    nodes.simulation.restart(hostOf(1));
    for (const at of [0, 1, 2, 3]) {
      await untilSo(
        nodes,
        async () => nodes.isUp(1) && (await nodes.run(at, "CLUSTER INFO")).includes("cluster_state:ok"),
      );
    }
    expect(await nodes.run(0, "CLUSTER INFO")).not.toContain("cluster_fail_");
    // A shard with a replica is served again before anybody is sure that its primary is gone; one without slots is nobody's loss.
    nodes.simulation.crash(hostOf(4));
    nodes.simulation.crash(hostOf(0));
    await nodes.until("the replica to take over", () => nodes.topology(3).selfShard?.primary === idOf(nodes, 3));
    await untilSo(nodes, async () => (await nodes.run(2, "CLUSTER INFO")).includes("cluster_state:ok"));
    await untilSo(nodes, async () => (await nodes.run(2, "CLUSTER NODES")).split(",fail ").length === 3);
    expect(await nodes.run(2, "CLUSTER INFO")).toContain("cluster_state:ok");
  });

  test("a primary that is cut off says that it serves nothing", async () => {
    const nodes = await cluster();
    const cut = nodes.simulation.isolate([hostOf(2)]);
    await untilSo(nodes, async () =>
      (await nodes.run(2, "CLUSTER INFO")).includes("primary node-2, this node, has no lease"),
    );
    expect(await nodes.run(2, "CLUSTER INFO")).toContain("cluster_state:fail");
    cut.heal();
    await untilSo(nodes, async () => (await nodes.run(2, "CLUSTER INFO")).includes("cluster_state:ok"));
  });
});

describe("CLUSTER REPLICATE", () => {
  test("of another shard's replica has it drop one copy and get the other", async () => {
    const nodes = await cluster("node-0");
    await write(nodes, 0);
    expect(keysOf(nodes, 3)).toBeGreaterThan(0);
    expect(await nodes.run(3, `CLUSTER REPLICATE ${idOf(nodes, 1)}`)).toBe("OK");
    await nodes.until("it to be in sync", () => isInSync(nodes, 3), LIMIT_MS);
    expect(nodes.topology(3).selfShard?.primary).toBe(idOf(nodes, 1));
    expect(keysOf(nodes, 3)).toBe(keysOf(nodes, 1));
    // It serves readers of the one, and of the other no more.
    const client = localClient(nodes.node(3));
    const read = (line: string): Promise<string> => nodes.simulation.settle(line, client.run(line), LIMIT_MS);
    await read("READONLY");
    const replies: string[] = [];
    for (let key = 0; key < 20; key += 1) replies.push(await read(`GET key-${key}`));
    client.close();
    expect(replies.filter((reply) => !reply.startsWith("MOVED"))).toHaveLength(keysOf(nodes, 1));
    expect(nodes.topology(0).map.shards.filter(({ replicas }) => replicas.length > 0)).toHaveLength(1);
    // The same again is so already.
    expect(await nodes.run(3, `CLUSTER REPLICATE ${idOf(nodes, 1)}`)).toBe("OK");
  });

  test("of a replica is refused while its primary is gone: its copy may be all that there is", async () => {
    const nodes = await cluster("node-0");
    const written = await write(nodes, 0);
    nodes.simulation.crash(hostOf(0));
    await nodes.simulation.runFor(300);
    const refused = await nodes.run(3, `CLUSTER REPLICATE ${idOf(nodes, 1)}`);
    expect(refused).toMatch(
      /^ERR this node holds data of shard [0-9a-f]{40}, and does not hear its primary \(.+\): wait/,
    );
    await nodes.until("it to lead", () => nodes.topology(3).selfShard?.primary === idOf(nodes, 3));
    expect(keysOf(nodes, 3)).toBe(written);
  });

  test("of a primary with slots or keys is refused, of one without is done, and so are replicas, itself and strangers", async () => {
    const nodes = await cluster("node-0", undefined);
    const written = await write(nodes, 1);
    expect(written).toBeGreaterThan(0);
    const occupied = "ERR To set a master the node must be empty and without assigned slots.";
    expect(await nodes.run(1, `CLUSTER REPLICATE ${idOf(nodes, 0)}`)).toBe(occupied);
    // Without slots, but with keys that they have left.
    for (const at of [1, 2]) expect(await nodes.run(at, "FLUSHALL")).toBe("OK");
    expect(await nodes.run(1, `CLUSTER REPLICATE ${idOf(nodes, 0)}`)).toBe(occupied);
    expect(await nodes.run(2, "SET foo 1")).toBe("OK");
    const { first, last } = nodes.topology(2).selfShard?.slots[0] ?? { first: 0, last: 0 };
    expect(await nodes.run(0, `CLUSTER DELSLOTSRANGE ${first} ${last}`)).toBe("OK");
    await nodes.until("it to know", () => nodes.slotsOf(2) === 0);
    expect(await nodes.run(2, `CLUSTER REPLICATE ${idOf(nodes, 0)}`)).toBe(occupied);
    expect(await nodes.run(4, `CLUSTER REPLICATE ${idOf(nodes, 3)}`)).toBe(
      "ERR I can only replicate a master, not a replica.",
    );
    expect(await nodes.run(4, `CLUSTER REPLICATE ${idOf(nodes, 4)}`)).toBe("ERR Can't replicate myself");
    expect(await nodes.run(4, `CLUSTER REPLICATE ${"f".repeat(40)}`)).toBe(`ERR Unknown node ${"f".repeat(40)}`);
    expect(await nodes.run(4, `CLUSTER REPLICATE ${idOf(nodes, 1)}`)).toBe("OK");
    await nodes.until("it to be in sync", () => isInSync(nodes, 4), LIMIT_MS);
  });
});

describe("a replica that is taken out", () => {
  test("by CLUSTER RESET drops its copy and is a cluster by itself", async () => {
    const nodes = await cluster("node-0");
    await write(nodes, 0);
    expect(keysOf(nodes, 3)).toBeGreaterThan(0);
    expect(await nodes.run(0, "CLUSTER RESET")).toBe(
      "ERR CLUSTER RESET can't be called with master nodes containing keys",
    );
    expect(await nodes.run(3, "CLUSTER RESET SOFT")).toBe("OK");
    expect([keysOf(nodes, 3), nodes.topology(3).map.nodes.length, nodes.slotsOf(3)]).toEqual([0, 1, 0]);
    // It was asked for, and nothing went wrong.
    expect(nodes.logged(3, "does not admit")).toEqual([]);
    await nodes.until("the others to be without it", () => nodes.isOne(0, 1, 2));
    expect(nodes.topology(0).selfShard?.replicas).toEqual([]);
  });

  test("by CLUSTER FORGET drops its copy, and comes back as nobody's when it is met", async () => {
    const nodes = await cluster("node-0");
    await write(nodes, 0);
    expect(await nodes.run(0, `CLUSTER FORGET ${idOf(nodes, 3)}`)).toBe("OK");
    await nodes.until("it to know", () => nodes.isOut(3), LIMIT_MS);
    expect(keysOf(nodes, 3)).toBe(0);
    await nodes.meet(0, 3);
    await nodes.until("one cluster", () => nodes.isOne(0, 1, 2, 3), LIMIT_MS);
    expect([nodes.topology(3).selfShard?.primary, nodes.slotsOf(3)]).toEqual([idOf(nodes, 3), 0]);
  });
});

/** Asks again until it is so. */
async function untilSo(nodes: SimNodes, look: () => Promise<boolean>): Promise<void> {
  const endAtMs = nodes.simulation.nowMs + LIMIT_MS;
  while (!(await look())) {
    if (nodes.simulation.nowMs > endAtMs) throw nodes.simulation.error("It did not come to be so");
    await nodes.simulation.runFor(20);
  }
}
