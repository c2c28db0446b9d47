/**
 * A call: one command of one client while it runs.
 *
 * There is one object per depth of nesting (a command, and those that EXEC runs), filled anew for each command: nothing of it may be
 * kept beyond the command. Arguments stay what they came as, ranges of the input buffer; text is made of them only when asked.
 */
import { assert } from "./assert.ts";
import type { Client } from "./client.ts";
import type { ArgumentList } from "./codec/resp-parser.ts";
import type { ReplyWriter } from "./codec/resp-writer.ts";
import type { Command } from "./command-table.ts";
import type { Handle, Keyspace } from "./contracts/keyspace.ts";
import { KeyReference } from "./store/key-reference.ts";

/** A reply that comes later. See `Call.defer`. */
export interface DeferredReply {
  /**
   * Gives the reply, once. Harmless when the client has gone meanwhile.
   *
   * @param write Writes exactly one reply.
   */
  resolve(write: (reply: ReplyWriter) => void): void;
}

/** More than anybody reads; an argument can have half a gigabyte, and would be in memory twice more. */
const SHOWN_BYTES_MAX = 65_536;

export class Call {
  /** The command that runs. */
  command: Command;
  client: Client;
  args: ArgumentList;
  /** The bytes that the arguments lie in. */
  bytes: Uint8Array;
  /** Arguments, the command's name (and a subcommand's) included. */
  count: number;
  reply: ReplyWriter;
  /** The command's first key, with slot and hash; its `end` is 0 and `start` 0 where there is none (see `hasKey`). */
  readonly key = new KeyReference();
  /** Whether the command names at least one key. */
  hasKey = false;
  /** Whether it runs within EXEC. */
  isNested = false;
  /** Who gets the deferred reply, if it is not the client's transport: EXEC, of its commands. */
  settle: ((write: (reply: ReplyWriter) => void) => void) | undefined;
  /** Told of each deferred reply that was written, and where it begins. The dispatcher's. */
  replied: ((command: Command, reply: ReplyWriter, mark: number) => void) | undefined;
  /** The deferred reply that the command took, if it did. */
  deferred: DeferredReply | undefined;
  /** What replicas and journals apply instead of the command itself; `undefined`: the command itself. See `effectIs`. */
  effects: (readonly Uint8Array[])[] | undefined;

  #keyIndex = 0;

  constructor(command: Command, client: Client, args: ArgumentList, reply: ReplyWriter) {
    this.command = command;
    this.client = client;
    this.args = args;
    this.bytes = args.bytes;
    this.count = args.count;
    this.reply = reply;
  }

  /** Fills it for the next command. The dispatcher's. */
  prepare(command: Command, client: Client, args: ArgumentList, reply: ReplyWriter): void {
    this.command = command;
    this.client = client;
    this.args = args;
    this.bytes = args.bytes;
    this.count = args.count;
    this.reply = reply;
    this.settle = undefined;
    this.deferred = undefined;
    this.effects = undefined;
    this.hasKey = false;
    this.#keyIndex = 0;
  }

  /** Names the first key. The dispatcher's. */
  locate(keyspace: Keyspace, index: number): void {
    keyspace.refer(this.key, this.bytes, this.args.start(index), this.args.end(index));
    this.hasKey = true;
    this.#keyIndex = index;
  }

  /** First byte of an argument in `bytes`. */
  start(index: number): number {
    return this.args.start(index);
  }

  /** One past the last byte of an argument in `bytes`. */
  end(index: number): number {
    return this.args.end(index);
  }

  length(index: number): number {
    return this.args.end(index) - this.args.start(index);
  }

  /** An argument as text, one character a byte (so that nothing is lost, and no byte is refused). For options, numbers and messages, not for values. */
  text(index: number): string {
    const end = this.args.end(index);
    let text = "";
    for (let at = this.args.start(index); at < end; at += 1) text += String.fromCharCode(this.bytes[at] as number);
    return text;
  }

  /** An argument as errors show it: as `text`, but to its first zero byte, as C prints it, and of a monstrous one the beginning. */
  shown(index: number): string {
    const end = Math.min(this.args.end(index), this.args.start(index) + SHOWN_BYTES_MAX);
    let text = "";
    for (let at = this.args.start(index); at < end && this.bytes[at] !== 0; at += 1) {
      text += String.fromCharCode(this.bytes[at] as number);
    }
    return text;
  }

  /** An argument's bytes, copied. */
  copy(index: number): Uint8Array {
    return this.bytes.slice(this.args.start(index), this.args.end(index));
  }

  /**
   * Whether an argument is a word, upper or lower case.
   *
   * @param word In upper-case letters, digits and hyphens.
   */
  is(index: number, word: string): boolean {
    const start = this.args.start(index);
    if (this.args.end(index) - start !== word.length) return false;
    for (let at = 0; at < word.length; at += 1) {
      const byte = this.bytes[start + at] as number;
      if ((byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte) !== word.charCodeAt(at)) return false;
    }
    return true;
  }

  /** Fills `target` with the key that an argument is. Costs nothing for the first key, which the dispatcher has hashed. */
  keyAt(keyspace: Keyspace, index: number, target: KeyReference): KeyReference {
    if (index === this.#keyIndex && this.hasKey) return this.key;
    keyspace.refer(target, this.bytes, this.args.start(index), this.args.end(index));
    return target;
  }

  /** Looks up the first key as `find` or, for clients that asked for it (`CLIENT NO-TOUCH`), as `peek`. */
  find(keyspace: Keyspace): Handle {
    return this.client.isNoTouch ? keyspace.peek(this.key) : keyspace.find(this.key);
  }

  /** Looks up any key likewise. */
  findKey(keyspace: Keyspace, key: KeyReference): Handle {
    return this.client.isNoTouch ? keyspace.peek(key) : keyspace.find(key);
  }

  /**
   * Says what replicas and journals apply in place of this command: for commands whose outcome depends on the time, on chance or on where
   * they run. Call it as often as there are effects, in order; `noEffect` for none. Without it a command that changed something is its
   * own effect.
   *
   * @param parts The command's name, and its arguments; text becomes UTF-8. Kept.
   */
  effectIs(...parts: readonly (Uint8Array | string)[]): void {
    this.effects ??= [];
    this.effects.push(parts.map((part) => (typeof part === "string" ? encoder.encode(part) : part)));
  }

  /**
   * The reply comes later; until then the client's next commands wait, those of the same transaction too.
   *
   * @returns Where to put the reply.
   */
  defer(): DeferredReply {
    assert(
      !this.isNested || this.settle !== undefined,
      "a command within EXEC answers at once, or to who takes it later",
    );
    const { transport } = this.client;
    const settle = this.settle ?? ((write) => transport.settle(write));
    const { command, replied } = this;
    let isSettled = false;
    this.deferred = {
      resolve: (write) => {
        if (isSettled) return;
        isSettled = true;
        settle((reply) => {
          const mark = reply.length;
          write(reply);
          replied?.(command, reply, mark);
        });
      },
    };
    return this.deferred;
  }
}

const encoder = new TextEncoder();
