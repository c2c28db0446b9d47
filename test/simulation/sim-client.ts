/**
 * A cluster client of the simulation: one connection a node, one command at a time, follows redirects, notes what it did.
 *
 * What it knows of an operation's outcome is all that a real client can know:
 * - an answer came: that is the outcome;
 * - nothing of the command was handed to the machine, or the node refused it: certainly nothing was done;
 * - else unknown: the connection ended, or patience did, and the command may have been run, or may still be.
 */
import { ReplyError, type ReplyValue, encodeCommand } from "../../src/codec/resp-reader.ts";
import type { World } from "../../src/world.ts";
import type { History } from "../support/history.ts";
import type { RegisterInput, RegisterOutput } from "../support/register-model.ts";
import { type Attempt, SimConnection } from "./sim-connection.ts";

/** How long it waits before it tries again after a failure, so that it does not spin on a dead node. */
const RETRY_MS = 50;
/** Redirects that one operation follows. A map that is the same on all nodes needs one. */
const MAX_REDIRECTS = 5;

export interface SimClientOptions {
  readonly name: string;
  readonly world: World;
  /** `host:port` of the nodes. */
  readonly addresses: readonly string[];
  readonly keys: readonly string[];
  readonly history: History<RegisterInput, RegisterOutput>;
  /** Told of every answer that is no error, with the node that gave it. */
  readonly onServed: (key: string, address: string) => void;
}

export class SimClient {
  /** Operations that were answered. */
  answered = 0;
  /** Redirects that were followed. */
  redirected = 0;
  /** Operations whose outcome it does not know. */
  unknown = 0;
  readonly #options: SimClientOptions;
  readonly #connections = new Map<string, SimConnection>();
  #isStopped = false;
  #counter = 0;

  constructor(options: SimClientOptions) {
    this.#options = options;
  }

  /** Does operations at random until it is stopped. */
  async run(): Promise<void> {
    const { world } = this.#options;
    while (!this.#isStopped) {
      const isDone = await this.operate(this.#draw());
      const pauseMs = isDone ? world.random.below(40) : RETRY_MS;
      await new Promise<void>((resolve) => void world.clock.after(pauseMs, resolve));
    }
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** @returns Whether it was answered. */
  async operate([key, input]: readonly [string, RegisterInput]): Promise<boolean> {
    const { history, name, world, addresses, onServed } = this.#options;
    const pending = history.invoke(name, key, input);
    let address = addresses[world.random.below(addresses.length)] ?? "";
    const parts = "value" in input ? [input.command, key, input.value] : [input.command, key];
    for (let redirects = 0; redirects < MAX_REDIRECTS; redirects += 1) {
      const attempt = await this.#attempt(address, parts);
      if ("failure" in attempt) {
        // An unsent command did nothing; of an unknown one nothing is said, which is what the history wants.
        if (attempt.failure === "unsent") pending.failed();
        else this.unknown += 1;
        return false;
      }
      const [reply = null] = attempt.replies;
      if (reply instanceof ReplyError && reply.code === "MOVED") {
        address = reply.message.split(" ")[2] ?? "";
        this.redirected += 1;
        continue;
      }
      if (reply instanceof ReplyError && ["CLUSTERDOWN", "LOADING", "OOM"].includes(reply.code)) {
        pending.failed();
        return false;
      }
      onServed(key, address);
      this.answered += 1;
      pending.returned(outputOf(reply));
      return true;
    }
    throw new Error(`${name} was sent from node to node ${MAX_REDIRECTS} times for key ${key}`);
  }

  #draw(): readonly [string, RegisterInput] {
    const { world, keys, name } = this.#options;
    const key = keys[world.random.below(keys.length)] ?? "";
    this.#counter += 1;
    const value = `${name}.${this.#counter}`;
    switch (world.random.below(10)) {
      case 0:
      case 1:
        return [key, { command: "SET", value }];
      case 2:
        return [key, { command: "SET", value: String(this.#counter) }];
      case 3:
        return [key, { command: "DEL" }];
      case 4:
        return [key, { command: "INCR" }];
      case 5:
        return [key, { command: "APPEND", value: "+" }];
      case 6:
        return [key, { command: "SETNX", value }];
      default:
        return [key, { command: "GET" }];
    }
  }

  #attempt(address: string, parts: readonly string[]): Promise<Attempt> {
    let connection = this.#connections.get(address);
    if (connection === undefined || connection.isClosed) {
      connection = new SimConnection(this.#options.world, address);
      this.#connections.set(address, connection);
    }
    return connection.request(encodeCommand(parts), 1);
  }
}

function outputOf(reply: ReplyValue): RegisterOutput {
  if (reply instanceof Uint8Array) return new TextDecoder().decode(reply);
  if (reply instanceof ReplyError) return { error: reply.message };
  if (typeof reply === "bigint") return String(reply);
  if (typeof reply === "string" || typeof reply === "number" || reply === null) return reply;
  throw new Error("A reply of a kind that no command of the simulation has");
}
