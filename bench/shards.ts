/**
 * Clusters of six nodes, three shards with a replica each, of bunch or of Redis, which benches kill and start again; and the clients that write to them meanwhile.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Cluster as IoredisCluster } from "ioredis";
import { createCluster, ErrorReply } from "redis";
import { assert, present } from "../src/assert.ts";
import { keySlot } from "../src/codec/slot.ts";
import { runChild } from "./child.ts";
import { Connection, until } from "./cluster.ts";
import { bunchSubject, redisSubject, type Server, type Servers, type Subject } from "./servers.ts";

const NODE_COUNT = 6;
const SHARD_COUNT = 3;
/** Pause between two looks at something that takes seconds. */
const LOOK_MS = 50;
/** Of a killed Redis' timeout, until another has taken over, and more. */
const PATIENCE_MS = 60_000;

/** A kind of cluster. */
export interface ShardsSubject {
  readonly name: string;
  /** The node of a port. @param directory Of that node, through all its starts. */
  readonly node: (port: number, ports: readonly number[], directory: string) => Subject;
  /** Whether redis-cli has to make a cluster of them. */
  readonly isCreated: boolean;
  /** Whether one of the nodes leads the others. */
  readonly hasLeader: boolean;
}

/** Nodes of this repository, in memory. @param flags Further flags of each. */
export function bunchShards(flags: readonly string[]): ShardsSubject {
  return {
    name: "bunch",
    isCreated: false,
    hasLeader: true,
    node: (port, ports) =>
      bunchSubject([
        "--name",
        `node-${port}`,
        "--log-level",
        "warn",
        "--join",
        ports.map((each) => `127.0.0.1:${each + 10_000}`).join(","),
        "--bootstrap-expect",
        String(ports.length),
        "--replicas",
        "1",
        ...flags,
      ]),
  };
}

/** Redis, in memory. @param timeoutMs After how long a node that does not answer is taken for lost. */
export function redisShards(timeoutMs: number): ShardsSubject {
  const name = `redis (${timeoutMs / 1000} s)`;
  return {
    name,
    isCreated: true,
    hasLeader: false,
    node: (port, _, directory) => ({
      name,
      needsSlots: false,
      command: () => [...redisSubject(name).command(port, directory), "--cluster-node-timeout", String(timeoutMs)],
    }),
  };
}

/** A shard, by the ports of its nodes. */
export interface Shard {
  readonly primary: number;
  readonly replica: number;
  /** A key in one of its slots. */
  readonly key: string;
}

export class Shards {
  readonly subject: ShardsSubject;
  readonly ports: readonly number[];
  readonly #servers: Servers;
  readonly #directory: string;
  readonly #running = new Map<number, Server>();

  private constructor(servers: Servers, subject: ShardsSubject, first: number, directory: string) {
    this.subject = subject;
    this.#servers = servers;
    this.#directory = directory;
    this.ports = Array.from({ length: NODE_COUNT }, (_, index) => first + index);
  }

  /** Starts the nodes, and waits until they are whole. */
  static async start(servers: Servers, subject: ShardsSubject, first: number): Promise<Shards> {
    const shards = new Shards(servers, subject, first, await mkdtemp(join(tmpdir(), "bunch-bench-shards-")));
    for (const port of shards.ports) await Bun.write(join(shards.#directory, String(port), "here"), "");
    await Promise.all(shards.ports.map((port) => shards.launch(port)));
    if (subject.isCreated) {
      const addresses = shards.ports.map((port) => `127.0.0.1:${port}`);
      const flags = ["--cluster-replicas", "1", "--cluster-yes"];
      const { code, output, errors } = await runChild(["redis-cli", "--cluster", "create", ...addresses, ...flags]);
      if (code !== 0) throw new Error(`redis-cli made no cluster: ${output}${errors}`);
    }
    await shards.whole();
    return shards;
  }

  /** Starts a node, for the first time or again. */
  async launch(port: number): Promise<void> {
    const former = this.#running.get(port);
    if (former !== undefined) await this.#servers.stop(former);
    const subject = this.subject.node(port, this.ports, join(this.#directory, String(port)));
    const { server } = await this.#servers.launch(subject, port);
    this.#running.set(port, server);
  }

  signal(port: number, signal: NodeJS.Signals): void {
    process.kill(this.processId(port), signal);
  }

  processId(port: number): number {
    return present(this.#running.get(port), "each port has a node").processId;
  }

  /** Waits until all nodes agree and are alive, and each replica follows. @returns The shards. */
  async whole(): Promise<readonly Shard[]> {
    return until(
      `${this.subject.name} to be whole`,
      LOOK_MS,
      async () => {
        const views = await Promise.all(this.ports.map(shardsAt));
        const [view] = views;
        if (view === undefined || view.length !== SHARD_COUNT) return undefined;
        if (views.some((each) => JSON.stringify(each) !== JSON.stringify(view))) return undefined;
        const infos = await Promise.all(view.map(({ replica }) => askOnce(replica, "INFO", "replication")));
        const sets = await Promise.all(view.map(({ primary }) => askOnce(primary, "INFO", "replication")));
        const isLevel =
          infos.every((info) => info?.includes("master_link_status:up")) &&
          sets.every((info) => /slave0:.*state=online/.test(info ?? "") && info?.includes("in_sync=0") === false);
        return isLevel ? view : undefined;
      },
      PATIENCE_MS,
    );
  }

  /** The port of the node that leads the others. */
  async leader(): Promise<number> {
    return until("a leader", LOOK_MS, async () => {
      const infos = await Promise.all(this.ports.map((port) => askOnce(port, "INFO", "cluster")));
      const leaders = this.ports.filter((_, index) => infos[index]?.includes("raft_role:leader"));
      return leaders.length === 1 ? leaders[0] : undefined;
    });
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#running.values()].map((server) => this.#servers.stop(server)));
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Asks a node on a connection of its own. @returns `undefined` if it does not answer, or with an error. */
export async function askOnce(port: number, ...words: readonly string[]): Promise<string | undefined> {
  try {
    const connection = await Connection.open(port);
    try {
      return await connection.run(...words);
    } finally {
      connection.close();
    }
  } catch {
    return undefined;
  }
}

/** The shards that have both their nodes, by a node's map; none while a node fails. */
async function shardsAt(port: number): Promise<readonly Shard[]> {
  const lines = ((await askOnce(port, "CLUSTER", "NODES")) ?? "")
    .split("\n")
    .map((line) => line.trim().split(" "))
    .filter(({ length }) => length >= 8);
  if (lines.length !== NODE_COUNT || lines.some(([, , flags]) => /fail|handshake|noaddr/.test(flags ?? ""))) return [];
  const portOf = (line: readonly string[]): number => Number(/:(\d+)@/.exec(line[1] ?? "")?.[1]);
  const shards = lines.flatMap((line) => {
    const replica = lines.find(([, , , primary]) => primary === line[0]);
    const [first] = line[8]?.split("-") ?? [];
    if (first === undefined || replica === undefined) return [];
    return [{ primary: portOf(line), replica: portOf(replica), key: keyAt(line.slice(8)) }];
  });
  return shards.toSorted((one, other) => one.primary - other.primary);
}

function keyAt(ranges: readonly string[]): string {
  for (let count = 0; ; count += 1) {
    const slot = slotOf(`probe-${count}`);
    const isThere = ranges.some((range) => {
      const [first = 0, last = first] = range.split("-").map(Number);
      return slot >= first && slot <= last;
    });
    if (isThere) return `probe-${count}`;
  }
}

function slotOf(key: string): number {
  const bytes = Buffer.from(key);
  return keySlot(bytes, 0, bytes.length);
}

/** Half of them ioredis, half node-redis; each waits for a reply before it writes again. */
const WRITERS = 50;
/** What each waits between two writes: the machine is not full, so that what is measured is not the load. */
const PAUSE_MS = 20;
/** Each reads somebody's key after so many writes. */
const READ_EVERY = 2;
/** Keys of each writer, which it writes in turns: what was acknowledged stays to be looked at for so long as it takes to come round. */
const KEYS = 3000;

/** A client of a cluster, whoever made it. */
interface WritingClient {
  set(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<string | null>;
  /** Whether an error is a node's answer, and not about a connection. */
  isAnswer(error: unknown): boolean;
  close(): void;
}

/** Writers and readers by two clients, who remember what they were told. */
export class WriteLoad {
  readonly client: IoredisCluster;
  /** Errors that were answers: a command that nobody may have done ends in them. */
  readonly errors = new Map<string, number>();
  /** Commands whose connection ended before their answer came. */
  brokenCount = 0;
  /** Reads that told something older than what had been acknowledged before they were asked. */
  staleCount = 0;
  acknowledgedCount = 0;
  readonly #loops: readonly Promise<void>[];
  readonly #clients: readonly WritingClient[];
  /** What was acknowledged last, by key. */
  readonly #acknowledged = new Map<string, number>();
  /** The same since it was looked for. */
  #fresh = new Map<string, number>();
  #isEnding = false;
  #latencies: number[] = [];

  private constructor(client: IoredisCluster, second: WritingClient) {
    this.client = client;
    const first: WritingClient = {
      set: (key, value) => client.set(key, value),
      get: (key) => client.get(key),
      isAnswer: (error) => error instanceof Error && error.name === "ReplyError",
      close: () => client.disconnect(),
    };
    this.#clients = [first, second];
    this.#loops = Array.from({ length: WRITERS }, (_, writer) =>
      this.#work(writer, writer % 2 === 0 ? first : second, writer % 2 === 0),
    );
  }

  static async start(ports: readonly number[]): Promise<WriteLoad> {
    return new WriteLoad(ioredis(ports), await nodeRedis(ports));
  }

  /** @param isTimed How long its commands take counts. */
  async #work(writer: number, client: WritingClient, isTimed: boolean): Promise<void> {
    await Bun.sleep(Math.random() * PAUSE_MS);
    for (let count = 0; !this.#isEnding; count += 1) {
      const key = `load-${writer}-${count % KEYS}`;
      const beganMs = performance.now();
      try {
        await client.set(key, String(count));
        this.#acknowledged.set(key, count);
        this.#fresh.set(key, count);
        this.acknowledgedCount += 1;
        if (isTimed) this.#latencies.push(performance.now() - beganMs);
        if (count % READ_EVERY === 0) await this.#read(client, (writer + 7) % WRITERS, count);
      } catch (error) {
        this.#failed(client, error);
      }
      await Bun.sleep(PAUSE_MS);
    }
  }

  async #read(client: WritingClient, writer: number, count: number): Promise<void> {
    const key = `load-${writer}-${Math.max(0, count - 1) % KEYS}`;
    const known = this.#acknowledged.get(key);
    const told = await client.get(key);
    if (known !== undefined && Number(told ?? -1) < known) this.staleCount += 1;
  }

  #failed(client: WritingClient, error: unknown): void {
    if (!client.isAnswer(error)) {
      this.brokenCount += 1;
      return;
    }
    const text = error instanceof Error ? error.message : String(error);
    this.errors.set(text, (this.errors.get(text) ?? 0) + 1);
  }

  /** The longest that a command of ioredis took since this was asked last, in milliseconds. */
  takeLongestMs(): number {
    return Math.max(0, ...this.takeLatencies());
  }

  /** How long each command of ioredis took since this was asked last, in milliseconds. */
  takeLatencies(): readonly number[] {
    const latencies = this.#latencies;
    this.#latencies = [];
    return latencies;
  }

  /** Errors that were answers, all together. */
  get errorCount(): number {
    return [...this.errors.values()].reduce((sum, count) => sum + count, 0);
  }

  /**
   * Looks for what was acknowledged, while writing goes on.
   *
   * @param isAll Of each key what was acknowledged last; else only since this was asked before.
   * @returns How many are gone; each counts once.
   */
  async countLost(isAll: boolean): Promise<number> {
    let lost = 0;
    const wanted = [...(isAll ? this.#acknowledged : this.#fresh)];
    this.#fresh = new Map();
    for (let start = 0; start < wanted.length; start += 1000) {
      await Promise.all(
        wanted.slice(start, start + 1000).map(async ([key, count]) => {
          if (Number((await this.client.get(key)) ?? -1) >= count) return;
          lost += 1;
          if (this.#acknowledged.get(key) === count) this.#acknowledged.delete(key);
        }),
      );
    }
    return lost;
  }

  async end(): Promise<void> {
    this.#isEnding = true;
    await Promise.all(this.#loops);
    for (const client of this.#clients) client.close();
  }
}

/** node-redis, which by default asks who is there only 5 s after a node that it knows is gone. */
async function nodeRedis(ports: readonly number[]): Promise<WritingClient> {
  const cluster = createCluster({
    rootNodes: ports.map((port) => ({ url: `redis://127.0.0.1:${port}` })),
    maxCommandRedirections: 1_000_000,
    topologyRefreshOnReconnectionAttemptStrategy: 100,
    defaults: { socket: { reconnectStrategy: () => 20 } },
  });
  cluster.on("error", () => undefined);
  await cluster.connect();
  return {
    set: (key, value) => cluster.set(key, value),
    get: (key) => cluster.get(key),
    isAnswer: (error) => error instanceof ErrorReply,
    close: () => cluster.destroy(),
  };
}

/** A client that goes on until the cluster answers: as it comes it gives up after 16 redirects, which a node that is gone uses up within a second. */
export function ioredis(ports: readonly number[]): IoredisCluster {
  assert(ports.length > 0, "a client knows a node");
  const client = new IoredisCluster(
    ports.map((port) => ({ host: "127.0.0.1", port })),
    {
      maxRedirections: 1_000_000,
      clusterRetryStrategy: () => 50,
      retryDelayOnFailover: 20,
      retryDelayOnClusterDown: 20,
      redisOptions: { maxRetriesPerRequest: null },
    },
  );
  client.on("error", () => undefined);
  return client;
}
