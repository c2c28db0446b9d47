/**
 * A cluster client of the simulation for shards with replicas: commands and transactions, one at a time; follows redirects, connects again, notes what it did.
 */
import { ReplyError, type ReplyValue, encodeCommand } from "../../src/codec/resp-reader.ts";
import type { World } from "../../src/world.ts";
import type { History } from "../support/history.ts";
import type { KeyCommand, KeyOutput, KeysInput } from "../support/keys-model.ts";
import { ClusterCaller } from "./cluster-caller.ts";
import { concat } from "./sim-connection.ts";

/** How long it waits before it tries again after a failure, so that it does not spin on a dead node. */
const RETRY_MS = 50;
/** What expiries are drawn up to. */
const MAX_EXPIRY_MS = 3000;
/** Operations on several keys of which one is RENAME. */
const RENAME_ONE_IN = 5;

/** Keys that a transaction may touch together: one object of the history. */
export interface KeysObject {
  readonly name: string;
  readonly keys: readonly [string, ...string[]];
}

export interface KeysClientOptions {
  readonly name: string;
  readonly world: World;
  /** `host:port` of the nodes. */
  readonly addresses: readonly string[];
  readonly objects: readonly [KeysObject, ...KeysObject[]];
  readonly history: History<KeysInput, readonly KeyOutput[]>;
  /** Milliseconds between two operations at most. */
  readonly pauseMs: number;
  /** It gives keys of one object each other's names, too. */
  readonly isRenaming?: boolean;
  /** Commands that each connection begins with. */
  readonly greeting?: readonly (readonly string[])[];
}

export class KeysClient {
  readonly #options: KeysClientOptions;
  readonly #caller: ClusterCaller;
  /** It has stopped, and its last operation has ended. */
  isDone = false;
  #isStopped = false;
  #counter = 0;

  constructor(options: KeysClientOptions) {
    this.#options = options;
    this.#caller = new ClusterCaller(options.world, options.addresses, options.greeting);
  }

  /** What became of its requests. */
  get counts(): Pick<ClusterCaller, "answered" | "redirected" | "refused" | "unknown"> {
    return this.#caller;
  }

  /** Does operations at random until it is stopped. */
  async run(): Promise<void> {
    const { world, pauseMs } = this.#options;
    while (!this.#isStopped) {
      const isDone = await this.operate(...this.#draw());
      await this.#pause(isDone ? world.random.below(pauseMs) : RETRY_MS);
    }
    this.isDone = true;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Reads all keys of an object, until that is answered. Once it is done. */
  async read({ name, keys }: KeysObject): Promise<void> {
    const commands = keys.map((key) => ({ name: "GET", key }) as const);
    while (!(await this.operate(name, commands))) await this.#pause(RETRY_MS);
  }

  /** @returns Whether it was answered. */
  async operate(object: string, commands: readonly KeyCommand[]): Promise<boolean> {
    const { history, name, world } = this.#options;
    const pending = history.invoke(name, object, { commands });
    const expiries = commands.flatMap((command) =>
      "expiry" in command ? [history.invoke(name, object, { expiry: command.expiry })] : [],
    );
    const address = this.#caller.drawAddress();
    const isOne = commands.length === 1;
    const parts = commands.map((command) => partsOf(command, MAX_EXPIRY_MS - world.random.below(MAX_EXPIRY_MS)));
    const all = isOne ? parts : [["MULTI"], ...parts, ["EXEC"]];
    const outcome = await this.#caller.call(address, concat(all.map((each) => encodeCommand(each))), all.length);
    // Of what is unknown nothing is said, which is what the history wants.
    if (outcome.type === "not done") for (const each of [pending, ...expiries]) each.failed();
    if (outcome.type !== "answered") return false;
    const last = outcome.replies.at(-1);
    pending.returned(isOne ? [outputOf(last)] : listOf(last).map(outputOf));
    return true;
  }

  #draw(): readonly [object: string, commands: readonly KeyCommand[]] {
    const { world, objects } = this.#options;
    const { name, keys } = objects[world.random.below(objects.length)] ?? objects[0];
    const [key] = keys;
    const any = keys[world.random.below(keys.length)] ?? key;
    const to = keys.find((each) => each !== any);
    if (this.#options.isRenaming === true && to !== undefined && world.random.below(RENAME_ONE_IN) === 0)
      return [name, [{ name: "RENAME", key: any, to }]];
    if (keys.length === 1 || world.random.below(2) === 0) return [name, [this.#command(any)]];
    return [name, keys.map((each) => this.#command(each))];
  }

  #command(key: string): KeyCommand {
    const { world, name } = this.#options;
    this.#counter += 1;
    const value = `${name}.${this.#counter}`;
    const expiry = `@${name}.${this.#counter}`;
    switch (world.random.below(20)) {
      case 0:
      case 1:
      case 2:
        return { name: "SET", key, value };
      case 3:
      case 4:
        return { name: "SET", key, value: String(this.#counter) };
      case 5:
      case 6:
        return { name: "DEL", key };
      case 7:
      case 8:
        return { name: "INCR", key };
      case 9:
      case 10:
        return { name: "APPEND", key, value: "+" };
      case 11:
      case 12:
        return { name: "SETNX", key, value };
      case 13:
        return { name: "SETPX", key, value, expiry };
      case 14:
        return { name: "PEXPIRE", key, expiry };
      case 15:
        return { name: "PERSIST", key };
      default:
        return { name: "GET", key };
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise<void>((resolve) => void this.#options.world.clock.after(ms, resolve));
  }
}

/** @param expiryMs For commands that give an expiry. */
function partsOf(command: KeyCommand, expiryMs: number): readonly string[] {
  const { name, key } = command;
  switch (name) {
    case "SET":
    case "APPEND":
      return [name, key, command.value];
    case "SETNX":
      return ["SET", key, command.value, "NX"];
    case "SETPX":
      return ["SET", key, command.value, "PX", String(expiryMs)];
    case "PEXPIRE":
      return [name, key, String(expiryMs)];
    case "RENAME":
      return [name, key, command.to];
    default:
      return [name, key];
  }
}

function listOf(reply: ReplyValue | undefined): readonly ReplyValue[] {
  if (Array.isArray(reply)) return reply as readonly ReplyValue[];
  throw new Error(`EXEC has answered ${reply instanceof ReplyError ? reply.message : typeof reply}`);
}

function outputOf(reply: ReplyValue | undefined): KeyOutput {
  if (reply instanceof Uint8Array) return new TextDecoder().decode(reply);
  if (reply instanceof ReplyError) return { error: reply.message };
  if (typeof reply === "bigint") return String(reply);
  if (typeof reply === "string" || typeof reply === "number" || reply === null) return reply;
  throw new Error("A reply of a kind that no command of the simulation has");
}
