/** A cluster that runs, by way of one of its nodes: its map, what its slots hold, and the tasks that move them. */
import type { Command } from "commander";
import type { ReplyValue } from "../codec/resp-reader.ts";
import type { MigrationStatus } from "../contracts/migration.ts";
import type { ClusterMap, NodeId } from "../contracts/topology.ts";
import { StartError } from "../errors.ts";
import { LOADS_COMMAND, type Measured, measureSlots } from "../migration/measure-slots.ts";
import { readTasks } from "../migration/read-tasks.ts";
import { isEveryAddress } from "../net-address.ts";
import { imageOf } from "../protocol/topology/state.ts";
import { PATIENCE_MS, askNode, askNodeAnything, askedByFlags } from "./ask-node.ts";
import { readMapFile } from "./map-file.ts";
import { harmlessReply, parseHarmless } from "./terminal.ts";

export interface AccessFlags {
  readonly node: string;
  readonly password?: string;
  /** What is told goes to a program, as it is; else to a terminal. */
  readonly json?: boolean;
}

/** Adds the flags that say which cluster is meant. */
export function withAccess(command: Command): Command {
  return command
    .option("--node <host:port>", "a node of the cluster, by the address of its clients", DEFAULT_ADDRESS)
    .option("--password <password>", "the nodes' password (default: the environment's BUNCH_PASSWORD)");
}

/** Where a node is asked that nobody has named. */
const DEFAULT_ADDRESS = "127.0.0.1:6379";

export class ClusterAccess {
  readonly address: string;
  readonly #flags: AccessFlags;
  readonly #password: string | undefined;
  readonly #isForPrograms: boolean;
  readonly #patienceMs: number;

  /** @param patienceMs How long an answer may take. */
  constructor(flags: AccessFlags, patienceMs = PATIENCE_MS) {
    const { node, password, json } = flags;
    this.address = node;
    this.#flags = flags;
    this.#isForPrograms = json === true;
    this.#password = password ?? process.env["BUNCH_PASSWORD"];
    this.#patienceMs = patienceMs;
  }

  /** The same cluster, whose nodes may take so long for an answer, in milliseconds. */
  within(patienceMs: number): ClusterAccess {
    return new ClusterAccess(this.#flags, patienceMs);
  }

  /** The flag that names it, for commands that are told to people; nothing where they need none. */
  get nodeFlag(): string {
    return this.address === DEFAULT_ADDRESS ? "" : ` --node ${this.address}`;
  }

  /** Asks the node that was named. @throws {StartError} Why there is no answer, or what it said instead. */
  ask(...command: readonly string[]): Promise<ReplyValue> {
    return askedByFlags(this.#ask(this.address, command));
  }

  async #ask(address: string, command: readonly string[]): Promise<ReplyValue> {
    const reply = await askNodeAnything(address, this.#password, this.#patienceMs, ...command);
    return this.#isForPrograms ? reply : harmlessReply(reply);
  }

  async map(): Promise<ClusterMap> {
    const text = await askedByFlags(askNode(this.address, this.#password, "CLUSTER", "MAP"));
    return imageOf(readMapFile(this.#isForPrograms ? text : withHarmlessTexts(text), this.address), undefined);
  }

  /** Asks every primary what its slots hold and cost. */
  measure(map: ClusterMap): Promise<Measured> {
    return measureSlots(map, ({ primary }) => this.askAt(map, primary, ...LOADS_COMMAND));
  }

  /**
   * Tasks, each as the primary of its source sees it, or else as the named node does.
   *
   * @param followed Ids of tasks that have gone on until just now: how far they came is asked as well if they have ended. Of others the source may be long gone.
   */
  async tasks(followed: ReadonlySet<string> = new Set()): Promise<readonly MigrationStatus[]> {
    const tasks = readTasks(await this.ask("CLUSTER", "MIGRATIONS"));
    const senders = new Set(
      tasks
        .filter(
          ({ id, endedAtMs, progress }) => progress === undefined && (endedAtMs === undefined || followed.has(id)),
        )
        .flatMap(({ sourceNode }) => sourceNode ?? []),
    );
    if (senders.size === 0) return tasks;
    const map = await this.map();
    const known = new Map<string, MigrationStatus>();
    await Promise.all(
      [...senders].map(async (node) => {
        // Without its word the rest is still true.
        const told = await this.askAt(map, node, "CLUSTER", "MIGRATIONS").catch(() => null);
        for (const task of readTasks(told)) if (task.progress !== undefined) known.set(task.id, task);
      }),
    );
    return tasks.map((task) => (task.progress === undefined ? merged(task, known.get(task.id)) : task));
  }

  /** Asks a node of the map. @throws {StartError} As `ask`. */
  async askAt(map: ClusterMap, id: NodeId, ...command: readonly string[]): Promise<ReplyValue> {
    const node = map.nodes.find((each) => each.id === id);
    if (node === undefined || node.port === 0) throw new StartError(`Node ${id} has no address.`);
    // Who listens everywhere is reached where the others are.
    const host = isEveryAddress(node.host) ? this.address.replace(/:[0-9]+$/, "") : node.host;
    const address = `${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${node.port}`;
    return await this.#ask(address, command);
  }
}

/** A task as its source tells it, if it does. The source may learn a moment later that it has ended. */
function merged(task: MigrationStatus, told: MigrationStatus | undefined): MigrationStatus {
  if (told === undefined) return task;
  return task.endedAtMs !== undefined && told.endedAtMs === undefined ? { ...task, progress: told.progress } : told;
}

/** JSON with harmless texts; what is none stays as it is, for who reads it to refuse. */
function withHarmlessTexts(json: string): string {
  let parsed: unknown;
  try {
    parsed = parseHarmless(json);
  } catch {
    return json;
  }
  return JSON.stringify(parsed);
}
