/**
 * Clients that write and read while nodes of a cluster are killed, stopped and started again, and who watch from outside what the cluster promises.
 *
 * Each key has one writer, which writes 1, 2, 3 ... and waits for each reply. So there is an order that everybody can check:
 * - a value that was acknowledged, or read by anybody, is never followed by an older one: a reader notes the newest such value before it asks;
 * - in the end each key holds what was acknowledged last, or something newer of which nobody knew what became of it.
 */
import { Cluster } from "ioredis";
import { createCluster, ErrorReply } from "redis";
import { keySlot } from "../../src/codec/slot.ts";
import { until } from "./ask-nodes.ts";
import { hostOf } from "./places.ts";

/** A client of a cluster, whoever made it. */
export interface LoadClient {
  readonly name: string;
  set(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<string | null>;
  /** Whether an error is a node's answer, and not about a connection. */
  isAnswer(error: unknown): boolean;
  close(): void;
}

/** A client that follows redirects until a failover is over: of its own accord it gives up after 16, which a dead node's place uses up in less than its lease. */
const MANY_REDIRECTS = 100_000;

/** ioredis in cluster mode. */
export function ioredisClient(ports: readonly number[]): LoadClient {
  const cluster = new Cluster(
    ports.map((port) => ({ host: hostOf(port), port })),
    {
      maxRedirections: MANY_REDIRECTS,
      clusterRetryStrategy: () => 50,
      retryDelayOnFailover: 20,
      retryDelayOnClusterDown: 20,
      redisOptions: { maxRetriesPerRequest: null },
    },
  );
  // Links that break are its own business.
  cluster.on("error", () => undefined);
  return {
    name: "ioredis",
    set: (key, value) => cluster.set(key, value),
    get: (key) => cluster.get(key),
    isAnswer: (error) => error instanceof Error && error.name === "ReplyError",
    close: () => cluster.disconnect(),
  };
}

/** node-redis in cluster mode. */
export async function nodeRedisClient(ports: readonly number[]): Promise<LoadClient> {
  const cluster = createCluster({
    rootNodes: ports.map((port) => ({ url: `redis://${hostOf(port)}:${port}` })),
    maxCommandRedirections: MANY_REDIRECTS,
    // By default it waits 5 s until it asks who is there, while a node that it knows is gone.
    topologyRefreshOnReconnectionAttemptStrategy: 100,
    defaults: { socket: { reconnectStrategy: () => 20 } },
  });
  cluster.on("error", () => undefined);
  await cluster.connect();
  return {
    name: "node-redis",
    set: (key, value) => cluster.set(key, value),
    get: (key) => cluster.get(key),
    isAnswer: (error) => error instanceof ErrorReply,
    close: () => cluster.destroy(),
  };
}

interface Key {
  readonly name: string;
  readonly slot: number;
  /** The newest value that anybody tried to write. */
  tried: number;
  acknowledged: number;
  /** The newest value that was acknowledged or read. */
  known: number;
}

export interface LoadOptions {
  /** Of each client. */
  readonly writers: number;
  /** Of each client. */
  readonly readers: number;
  /** Of each writer. */
  readonly keys: number;
  /** Begins the names of its keys: two loads share none. */
  readonly prefix: string;
  /** Slots that its keys are in; by default any. */
  readonly isMeant?: (slot: number) => boolean;
}

export class ClusterLoad {
  /** Errors that commands ended with, as "client: answered: error", or "client: error" for those of connections; with how often. */
  readonly errors = new Map<string, number>();
  /** What no cluster may do, in words. */
  readonly breaches: string[] = [];
  /** Commands that were answered. */
  answered = 0;
  readonly #keys: Key[] = [];
  readonly #loops: Promise<void>[] = [];
  #isEnding = false;

  constructor(clients: readonly LoadClient[], { writers, readers, keys, prefix, isMeant }: LoadOptions) {
    for (const [place, client] of clients.entries()) {
      for (let writer = 0; writer < writers; writer += 1) {
        const own = Array.from({ length: keys }, (_, at) => newKey(`${prefix}:${place}:${writer}:${at}`, isMeant));
        this.#keys.push(...own);
        this.#loops.push(this.#write(client, own));
      }
    }
    for (const client of clients) {
      for (let reader = 0; reader < readers; reader += 1) {
        this.#loops.push(this.#read(client, Math.floor((reader * this.#keys.length) / readers)));
      }
    }
  }

  async #write(client: LoadClient, own: readonly Key[]): Promise<void> {
    for (let at = 0; !this.#isEnding; at = (at + 1) % own.length) {
      const key = own[at];
      if (key === undefined) return;
      key.tried += 1;
      const value = key.tried;
      try {
        await client.set(key.name, String(value));
        key.acknowledged = value;
        key.known = Math.max(key.known, value);
        this.answered += 1;
      } catch (error) {
        this.#failed(client, error);
      }
    }
  }

  async #read(client: LoadClient, first: number): Promise<void> {
    for (let at = first; !this.#isEnding; at += 1) {
      const key = this.#keys[at % this.#keys.length];
      if (key === undefined) return;
      try {
        await this.#look(client, key, "was read");
        this.answered += 1;
      } catch (error) {
        this.#failed(client, error);
      }
    }
  }

  async #look(client: LoadClient, key: Key, what: string): Promise<void> {
    const floor = key.known;
    const value = Number(await client.get(key.name));
    if (value < floor) this.breaches.push(`${client.name}: ${key.name} ${what} as ${value} after it was ${floor}`);
    else if (!(value <= key.tried))
      this.breaches.push(`${client.name}: ${key.name} ${what} as ${value}, of ${key.tried}`);
    else key.known = Math.max(key.known, value);
  }

  #failed(client: LoadClient, error: unknown): void {
    const answered = client.isAnswer(error) ? "answered: " : "";
    const text = `${client.name}: ${answered}${error instanceof Error ? error.message || error.name : String(error)}`;
    this.errors.set(text, (this.errors.get(text) ?? 0) + 1);
  }

  /** Waits until each key whose slot is meant was written again, by a command that began after this. */
  async goesOn(isMeant: (slot: number) => boolean = () => true): Promise<void> {
    // The next but one began later: the one that is under way did not.
    const meant = this.#keys.filter(({ slot }) => isMeant(slot)).map((key) => ({ key, from: key.tried }));
    await until(
      () => Promise.resolve(meant.filter(({ key, from }) => key.acknowledged <= from).map(({ key }) => key.name)),
      (left) => left.length === 0,
      "keys to be written",
    );
  }

  /** Begins nothing more: a client that is closed refuses at once, and would be asked for ever. */
  stop(): void {
    this.#isEnding = true;
  }

  /** Lets what is under way end, and looks at what each key holds. */
  async end(witness: LoadClient): Promise<void> {
    this.stop();
    await Promise.all(this.#loops);
    await Promise.all(this.#keys.map((key) => this.#look(witness, key, "was found in the end")));
  }
}

/**
 * Ends a load, and tells what it has against the cluster: nothing, if all is well.
 *
 * ioredis sees no error at all: what it has no answer to it sends again. node-redis sees none that a node answered with; where a connection broke, or it let one go
 * by itself when it saw other roles, it leaves what was under way to whoever called it.
 */
export async function complaintsOf(load: ClusterLoad, ports: readonly number[]): Promise<readonly string[]> {
  await load.goesOn();
  const witness = ioredisClient(ports);
  await load.end(witness);
  witness.close();
  const errors = [...load.errors].filter(([text]) => !text.startsWith("node-redis: ") || text.includes("answered"));
  return [...load.breaches, ...errors.map(([text, count]) => `${count} times ${text}`)];
}

/** The slot of a key. */
export function slotOf(name: string): number {
  const bytes = Buffer.from(name);
  return keySlot(bytes, 0, bytes.length);
}

function newKey(prefix: string, isMeant: (slot: number) => boolean = () => true): Key {
  let name = prefix;
  for (let more = 1; !isMeant(slotOf(name)); more += 1) name = `${prefix}:${more}`;
  return { name, slot: slotOf(name), tried: 0, acknowledged: 0, known: 0 };
}
