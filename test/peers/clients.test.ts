/** The clients that people use, against three real nodes: keys on all of them, redirects, long pipelines, large binary values, expiry, MULTI. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Cluster } from "ioredis";
import { RESP_TYPES, createCluster } from "redis";
import { type BunchProcess, endLeftovers, runBunch, startNode } from "../support/bunch-server.ts";
import { RawClient } from "../support/raw-client.ts";
import { needsRedisServer } from "../support/redis-server.ts";

const FIRST_PORT = 21_700;
const PORTS = [FIRST_PORT, FIRST_PORT + 1, FIRST_PORT + 2];
/** Every byte there is, 4096 times. */
const MEBIBYTE = Buffer.from(Uint8Array.from({ length: 1024 * 1024 }, (_, at) => at % 256));
const PIPELINE = 10_000;

let cluster: BunchProcess;

beforeAll(async () => {
  cluster = runBunch(["start", "--nodes", "3", "--port", String(FIRST_PORT)]);
  await cluster.until("all 16384 slots served");
});

afterAll(async () => {
  await endLeftovers();
});

async function onEach(command: string): Promise<readonly (string | undefined)[]> {
  return Promise.all(
    PORTS.map(async (port) => {
      const client = await RawClient.connect(port);
      const reply = await client.run(command);
      client.close();
      return reply;
    }),
  );
}

/** Runs a program and returns what it printed. */
async function run(...command: readonly string[]): Promise<string> {
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  await child.exited;
  return output + errors;
}

describe.skipIf(!needsRedisServer())("redis-cli and redis-benchmark", () => {
  const port = String(FIRST_PORT);

  test("redis-cli -c follows redirects", async () => {
    expect(await run("redis-cli", "-c", "-p", port, "set", "foo", "bar")).toBe("OK\n");
    for (const each of PORTS) expect(await run("redis-cli", "-c", "-p", String(each), "get", "foo")).toBe("bar\n");
    expect(await run("redis-cli", "-p", port, "get", "foo")).toContain(`MOVED 12182 127.0.0.1:${FIRST_PORT + 2}`);
    expect(await run("redis-cli", "-3", "-c", "-p", port, "get", "foo")).toBe("bar\n");
  });

  test("redis-cli --cluster check, info and call see one whole cluster", async () => {
    const check = await run("redis-cli", "--cluster", "check", `127.0.0.1:${port}`);
    expect(check).toContain("[OK] All nodes agree about slots configuration.");
    expect(check).toContain("[OK] All 16384 slots covered.");
    expect(await run("redis-cli", "--cluster", "info", `127.0.0.1:${port}`)).toContain("5462 slots");
    const call = await run("redis-cli", "--cluster", "call", `127.0.0.1:${port}`, "ping");
    expect(call.match(/PONG/g)).toHaveLength(3);
  });

  test("redis-benchmark --cluster runs over all nodes", async () => {
    const output = await run(
      "redis-benchmark",
      "--cluster",
      "-p",
      port,
      "-n",
      "30000",
      "-P",
      "16",
      "-r",
      "1000",
      "-t",
      "set,get,incr,mset",
      "-q",
    );
    expect(output).toContain("Cluster has 3 master nodes");
    expect(output).toMatch(/SET: [0-9.]+ requests per second/);
    expect(output).toMatch(/GET: [0-9.]+ requests per second/);
    expect(output).not.toContain("Error");
  });
});

for (const protocol of [2, 3] as const) {
  describe(`ioredis Cluster (RESP${protocol})`, () => {
    let client: Cluster;
    beforeAll(() => {
      client = new Cluster([{ host: "127.0.0.1", port: FIRST_PORT }], { redisOptions: { protocol } });
    });
    afterAll(() => {
      client.disconnect();
    });

    test(`speaks RESP${protocol}`, async () => {
      await client.ping();
      const nodes = client.nodes("master");
      expect(nodes).toHaveLength(3);
      for (const node of nodes) expect(await node.client("INFO")).toContain(` resp=${protocol} `);
    });

    test("spreads keys over all nodes and reads them back", async () => {
      await onEach("flushall");
      const names = Array.from({ length: 2000 }, (_, index) => `key:${index}`);
      await Promise.all(names.map((name) => client.set(name, `value of ${name}`)));
      const values = await Promise.all(names.map((name) => client.get(name)));
      expect(values).toEqual(names.map((name) => `value of ${name}`));
      const sizes = (await onEach("dbsize")).map((reply) => Number(reply?.slice(1)));
      expect(Math.min(...sizes)).toBeGreaterThan(400);
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(2000);
    });

    test(`takes a pipeline of ${PIPELINE}`, async () => {
      const pipeline = client.pipeline();
      for (let index = 0; index < PIPELINE; index += 1) pipeline.incr("{pipe}counter");
      const results = await pipeline.exec();
      expect(results?.length).toBe(PIPELINE);
      expect(results?.at(-1)?.[1]).toBe(await client.get("{pipe}counter").then(Number));
      await client.del("{pipe}counter");
    });

    test("carries 1 MiB of all byte values, both ways", async () => {
      await client.set("large", MEBIBYTE);
      expect(Buffer.compare((await client.getBuffer("large")) ?? Buffer.alloc(0), MEBIBYTE)).toBe(0);
    });

    test("sees keys expire", async () => {
      await client.set("short", "lived", "PX", 100_000);
      expect(await client.pttl("short")).toBeGreaterThan(90_000);
      await client.pexpire("short", 1);
      while ((await client.get("short")) !== null);
      expect(await client.ttl("short")).toBe(-2);
    });

    test("runs MULTI in one slot", async () => {
      await client.del("{m}a");
      expect(await client.multi().set("{m}a", "1").incr("{m}a").get("{m}a").exec()).toEqual([
        [null, "OK"],
        [null, 2],
        [null, "2"],
      ]);
    });
  });

  describe(`node-redis createCluster (RESP${protocol})`, () => {
    const client = createCluster({
      rootNodes: [{ url: `redis://127.0.0.1:${FIRST_PORT}` }],
      RESP: protocol,
    });
    beforeAll(async () => {
      await client.connect();
    });
    afterAll(async () => {
      await client.close();
    });

    test("spreads keys over all nodes and reads them back", async () => {
      await onEach("flushall");
      const names = Array.from({ length: 2000 }, (_, index) => `key:${index}`);
      await Promise.all(names.map((name) => client.set(name, `value of ${name}`)));
      const values = await Promise.all(names.map((name) => client.get(name)));
      expect(values).toEqual(names.map((name) => `value of ${name}`));
      const sizes = (await onEach("dbsize")).map((reply) => Number(reply?.slice(1)));
      expect(Math.min(...sizes)).toBeGreaterThan(400);
    });

    test(`takes ${PIPELINE} commands at once`, async () => {
      await client.del("{pipe}counter");
      const replies = await Promise.all(Array.from({ length: PIPELINE }, () => client.incr("{pipe}counter")));
      expect(replies.at(-1)).toBe(PIPELINE);
    });

    test("carries 1 MiB of all byte values", async () => {
      await client.set("large", MEBIBYTE);
      expect(await client.strLen("large")).toBe(MEBIBYTE.length);
      const binary = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
      expect(Buffer.compare((await binary.get("large")) ?? Buffer.alloc(0), MEBIBYTE)).toBe(0);
    });

    test(`speaks RESP${protocol}`, async () => {
      const nodes = await Promise.all(client.masters.map((master) => client.nodeClient(master)));
      expect(nodes).toHaveLength(3);
      for (const node of nodes)
        expect(await node.clientInfo()).toMatchObject({ resp: protocol, libName: "node-redis" });
    });

    test("runs MULTI in one slot, and expiry", async () => {
      const replies = await client.multi().set("{m}b", "1", { EX: 100 }).incr("{m}b").ttl("{m}b").exec();
      expect(replies.map(String)).toEqual(["OK", "2", "100"]);
    });
  });
}

describe("Bun's RedisClient against one node", () => {
  test("reads and writes, also values of 1 MiB, and pipelines by itself", async () => {
    const { node, port } = await startNode();
    const client = new Bun.RedisClient(`redis://127.0.0.1:${port}`);
    await client.set("greeting", "hello");
    expect(await client.get("greeting")).toBe("hello");
    const counts = await Promise.all(Array.from({ length: PIPELINE }, () => client.incr("counter")));
    expect(counts.at(-1)).toBe(PIPELINE);
    await client.send("SET", ["large", MEBIBYTE.toString("latin1")]);
    expect(await client.send("STRLEN", ["large"])).toBe(Buffer.from(MEBIBYTE.toString("latin1")).length);
    await client.expire("greeting", 100);
    expect(await client.ttl("greeting")).toBe(100);
    expect(await client.exists("nothing")).toBe(false);
    client.close();
    await node.stop();
  });
});
