/** Six real nodes, three shards with a replica each: whom to kill, and when they are whole again. */
import type { BunchProcess } from "./bunch-server.ts";
import { agreed, ask, type NodeLine, nodesOf, until } from "./ask-nodes.ts";
import type { Networks } from "./networks.ts";
import { busAddresses, runNodeWithin } from "./node-processes.ts";
import { hostOf } from "./places.ts";

/** A shard, by the ports of its nodes. */
export interface Shard {
  readonly primary: number;
  readonly replica: number;
  /** The first of its slots. */
  readonly slot: number;
  /** Of a slot: whether it is this shard's. */
  readonly has: (slot: number) => boolean;
}

const NODES = 6;

/** The ports of nodes that are started with the first of these. */
export function portsFrom(first: number): readonly number[] {
  return Array.from({ length: NODES }, (_, index) => first + index);
}

export class SixNodes {
  readonly ports: readonly number[];
  readonly #flags: readonly string[];
  readonly #networks: Networks | undefined;
  readonly #processes = new Map<number, BunchProcess>();

  private constructor(first: number, flags: readonly string[], networks: Networks | undefined) {
    this.ports = portsFrom(first);
    this.#flags = flags;
    this.#networks = networks;
  }

  /**
   * Starts them, and waits until they are whole.
   *
   * @param flags Of each, beside those that make a cluster of them.
   * @param networks On which they are; else on this machine's loopback.
   */
  static async start(first: number, flags: readonly string[], networks?: Networks): Promise<SixNodes> {
    const nodes = new SixNodes(first, flags, networks);
    for (const port of nodes.ports) nodes.start(port);
    await nodes.whole();
    return nodes;
  }

  start(port: number): void {
    const founding = ["--join", busAddresses(...this.ports), "--bootstrap-expect", String(NODES), "--replicas", "1"];
    const place = this.#networks === undefined ? [] : ["--host", hostOf(port), "--insecure"];
    const within = this.#networks?.within(port) ?? [];
    this.#processes.set(port, runNodeWithin(within, port, ...founding, ...place, ...this.#flags));
  }

  signal(port: number, signal: NodeJS.Signals): void {
    this.#process(port).kill(signal);
  }

  /** Ends a node's process, at once or in order. @returns Its exit code, once it is gone. */
  async end(port: number, signal: "SIGKILL" | "SIGTERM"): Promise<number> {
    this.signal(port, signal);
    return this.#process(port).exited;
  }

  output(port: number): string {
    return this.#process(port).output();
  }

  #process(port: number): BunchProcess {
    const process = this.#processes.get(port);
    if (process === undefined) throw new Error(`no node has port ${port}`);
    return process;
  }

  /** The shards as a node that is there has them. */
  async shards(asked: number): Promise<readonly Shard[]> {
    return shardsOf(await nodesOf(asked));
  }

  /** The shard that a port is a member of, as another node has it. */
  async shardOf(port: number, asked: number): Promise<Shard> {
    const shard = (await this.shards(asked)).find(({ primary, replica }) => primary === port || replica === port);
    if (shard === undefined) throw new Error(`port ${port} is in no shard`);
    return shard;
  }

  /** Waits until all agree on three shards, with all nodes alive and every replica in sync. */
  async whole(): Promise<readonly Shard[]> {
    const lines = await agreed(
      this.ports,
      (nodes) =>
        nodes.length === NODES && shardsOf(nodes).length === 3 && nodes.every(({ flags }) => !flags.includes("fail")),
    );
    const shards = shardsOf(lines);
    for (const { primary } of shards) {
      await until(
        () => ask(primary, "info replication"),
        (info) => /slave0:.*state=online.*in_sync=1/.test(info),
        `the replica of port ${primary} to be in sync`,
      );
    }
    return shards;
  }

  /** Waits until a node has another primary in the place of a shard's. @returns Its port. */
  async successor({ primary, slot }: Shard, asked: number): Promise<number> {
    const present = async (): Promise<number> => {
      return (await this.shards(asked)).find(({ has }) => has(slot))?.primary ?? primary;
    };
    return until(present, (port) => port !== primary, `another primary than port ${primary}`);
  }

  /** The port of the node that leads the log. */
  async leader(): Promise<number> {
    const leaders = async (): Promise<readonly number[]> => {
      const views = await Promise.all(this.ports.map((port) => ask(port, "info cluster")));
      return this.ports.filter((_, index) => views[index]?.includes("raft_role:leader") === true);
    };
    const [leader = 0] = await until(leaders, ({ length }) => length === 1, "one leader");
    return leader;
  }
}

function shardsOf(lines: readonly NodeLine[]): readonly Shard[] {
  const portOf = (line: NodeLine): number => Number(/:(\d+)@/.exec(line.address)?.[1]);
  return lines.flatMap((line) => {
    if (line.slots === "") return [];
    const replica = lines.find(({ primary }) => primary === line.id);
    if (replica === undefined) return [];
    const ranges = line.slots.split(" ").map((range) => range.split("-").map(Number));
    const has = (slot: number): boolean => ranges.some(([from = 0, to = from]) => slot >= from && slot <= to);
    return [{ primary: portOf(line), replica: portOf(replica), slot: ranges[0]?.[0] ?? 0, has }];
  });
}
