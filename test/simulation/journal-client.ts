/**
 * Clients of the simulation that append tokens to keys, and read what has become of them (`journals.ts`): with acknowledgements of either kind, or on replicas.
 */
import { type ReplyValue, encodeCommand } from "../../src/codec/resp-reader.ts";
import type { World } from "../../src/world.ts";
import type { Acks, Journals } from "../support/journals.ts";
import { ClusterCaller } from "./cluster-caller.ts";
import { concat } from "./sim-connection.ts";

const RETRY_MS = 50;

export interface JournalClientOptions {
  readonly name: string;
  readonly world: World;
  /** `host:port` of the nodes. */
  readonly addresses: readonly string[];
  /** Keys; those of one entry are written together. */
  readonly objects: readonly (readonly string[])[];
  readonly journals: Journals;
  readonly acks: Acks;
  /** Commands that each connection begins with. */
  readonly greeting: readonly (readonly string[])[];
  /** It only reads, by whatever node has the key. */
  readonly isReader: boolean;
  /** Milliseconds between two operations at most. */
  readonly pauseMs: number;
}

export class JournalClient {
  isDone = false;
  readonly #options: JournalClientOptions;
  readonly #caller: ClusterCaller;
  #isStopped = false;
  #counter = 0;

  constructor(options: JournalClientOptions) {
    this.#options = options;
    this.#caller = new ClusterCaller(options.world, options.addresses, options.greeting);
  }

  /** It reads whole objects from primaries, as all in sync have them. */
  get isWhole(): boolean {
    return !this.#options.isReader && this.#options.acks === "in-sync";
  }

  async run(): Promise<void> {
    const { world, objects, isReader, name, pauseMs } = this.#options;
    while (!this.#isStopped) {
      const keys = objects[world.random.below(objects.length)] ?? [];
      this.#counter += 1;
      const isAppend = !isReader && world.random.below(4) > 0;
      const isDone = await this.#operate(keys, isAppend ? `${name}.${this.#counter}` : undefined);
      await this.#pause(isDone ? world.random.below(pauseMs) : RETRY_MS);
    }
    this.isDone = true;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Reads keys of an object, until that is answered. Once it is done. */
  async read(keys: readonly string[]): Promise<void> {
    while (!(await this.#operate(keys, undefined))) await this.#pause(RETRY_MS);
  }

  /** @returns Whether it was answered. */
  #operate(keys: readonly string[], token: string | undefined): Promise<boolean> {
    const [key = ""] = keys;
    return this.#options.isReader ? this.#readAnywhere(key) : this.#transact(keys, token);
  }

  /** One step on all keys, which tells of which epoch the primary was that did it. */
  async #transact(keys: readonly string[], token: string | undefined): Promise<boolean> {
    const { journals, name, acks } = this.#options;
    const operation = journals.begin(name, acks, keys, token);
    const appends = token === undefined ? [] : keys.map((key) => ["APPEND", key, `${token};`]);
    const reads = keys.map((key) => ["GET", key]);
    const commands = [["MULTI"], ...appends, ...reads, ["INFO", "replication"], ["EXEC"]];
    const bytes = concat(commands.map((each) => encodeCommand(each)));
    const outcome = await this.#caller.call(this.#caller.drawAddress(), bytes, commands.length);
    if (outcome.type === "not done") operation.refused();
    if (outcome.type !== "answered") return false;
    const results = outcome.replies.at(-1);
    if (!Array.isArray(results)) throw new Error(`A transaction of ${name} has ended in ${wordsOf(results)}`);
    const told = (results as readonly ReplyValue[]).slice(appends.length).map(textOf);
    const epoch = /repl_epoch:([0-9]+)/.exec(told.at(-1) ?? "")?.[1];
    if (epoch === undefined) throw new Error("INFO tells of no epoch");
    operation.told(told.slice(0, keys.length), outcome.address, Number(epoch));
    return true;
  }

  async #readAnywhere(key: string): Promise<boolean> {
    const { journals, name, acks } = this.#options;
    const operation = journals.begin(name, acks, [key], undefined);
    const outcome = await this.#caller.call(this.#caller.drawAddress(), encodeCommand(["GET", key]), 1);
    if (outcome.type !== "answered") return false;
    operation.told([textOf(outcome.replies[0])], outcome.address, undefined);
    return true;
  }

  #pause(ms: number): Promise<void> {
    return new Promise<void>((resolve) => void this.#options.world.clock.after(ms, resolve));
  }
}

function textOf(reply: ReplyValue | undefined): string {
  if (reply instanceof Uint8Array) return new TextDecoder().decode(reply);
  if (reply === null) return "";
  throw new Error(`A journal's command was answered ${wordsOf(reply)}`);
}

function wordsOf(reply: ReplyValue | undefined): string {
  return reply instanceof Error ? reply.message : typeof reply;
}
