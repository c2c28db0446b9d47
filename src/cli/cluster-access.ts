/** A cluster that runs, by way of one of its nodes: its map, what its slots hold, and the tasks that move them. */
import type { Command } from "commander";
import type { ReplyValue } from "../codec/resp-reader.ts";
import type { MigrationStatus } from "../contracts/migration.ts";
import type { ClusterMap, NodeId, NodeRecord } from "../contracts/topology.ts";
import { StartError, Unanswered } from "../errors.ts";
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
  #address: string;
  /** Where the nodes of the map are that was read last. */
  #known: readonly string[] = [];
  readonly #flags: AccessFlags;
  readonly #password: string | undefined;
  readonly #isForPrograms: boolean;
  readonly #patienceMs: number;

  /** @param patienceMs How long an answer may take. */
  constructor(flags: AccessFlags, patienceMs = PATIENCE_MS) {
    const { node, password, json } = flags;
    this.#address = node;
    this.#flags = flags;
    this.#isForPrograms = json === true;
    this.#password = password ?? process.env["BUNCH_PASSWORD"];
    this.#patienceMs = patienceMs;
  }

  /** The same cluster, whose nodes may take so long for an answer, in milliseconds. */
  within(patienceMs: number): ClusterAccess {
    return new ClusterAccess(this.#flags, patienceMs);
  }

  /** The node that is asked: the one that was named, or another of its cluster since that one gave no answer. */
  get address(): string {
    return this.#address;
  }

  /** The flag that names it, for commands that are told to people; nothing where they need none. */
  get nodeFlag(): string {
    return this.address === DEFAULT_ADDRESS ? "" : ` --node ${this.address}`;
  }

  /**
   * Asks the node. If it gives no answer, which is told, the next question goes to another one of the cluster, as far as one is known.
   *
   * @throws {StartError} Why there is no answer, or what it said instead.
   */
  ask(...command: readonly string[]): Promise<ReplyValue> {
    return this.#orAnother(this.#ask(this.#address, command));
  }

  async #orAnother<Answer>(answer: Promise<Answer>): Promise<Answer> {
    const asked = this.#address;
    return await askedByFlags(
      answer.catch((thrown: unknown): never => {
        // Several questions may be under way.
        if (thrown instanceof Unanswered && asked === this.#address) {
          this.#address = this.#known[(this.#known.indexOf(asked) + 1) % this.#known.length] ?? asked;
        }
        throw thrown;
      }),
    );
  }

  async #ask(address: string, command: readonly string[]): Promise<ReplyValue> {
    const reply = await askNodeAnything(address, this.#password, this.#patienceMs, ...command);
    return this.#isForPrograms ? reply : harmlessReply(reply);
  }

  async map(): Promise<ClusterMap> {
    const address = this.#address;
    const text = await this.#orAnother(askNode(address, this.#password, "CLUSTER", "MAP"));
    const map = imageOf(readMapFile(this.#isForPrograms ? text : withHarmlessTexts(text), address), undefined);
    this.#known = map.nodes.filter(({ port }) => port > 0).map((node) => this.#addressOf(node));
    return map;
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
    return await this.#ask(this.#addressOf(node), command);
  }

  #addressOf({ host: told, port }: NodeRecord): string {
    // Who listens everywhere is reached where the others are.
    const host = isEveryAddress(told) ? this.#address.replace(/:[0-9]+$/, "") : told;
    return `${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${port}`;
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
