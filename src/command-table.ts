/**
 * The command table: every command that a node knows, found by the bytes of its name.
 *
 * Names come from the network as bytes in any case. They are hashed as they are, and compared only with the one candidate: no string is
 * made on the command path. Statistics live with the command, as plain numbers.
 */
import { StartError } from "./errors.ts";
import type { ArgumentList } from "./codec/resp-parser.ts";
import type { CommandFlag, CommandSpecification } from "./contracts/commands.ts";
import { LatencyCounts } from "./latency-counts.ts";

/** Flags that the dispatcher tests on each command, as bits. */
export const CommandBits = {
  write: 1,
  readonly: 2,
  denyOom: 4,
  noAuth: 8,
  noMulti: 16,
  skipSlowlog: 32,
  quick: 64,
  aboutKeys: 128,
  asking: 256,
} as const;

const BIT_OF_FLAG: Partial<Readonly<Record<CommandFlag, number>>> = {
  write: CommandBits.write,
  readonly: CommandBits.readonly,
  denyoom: CommandBits.denyOom,
  no_auth: CommandBits.noAuth,
  no_multi: CommandBits.noMulti,
  skip_slowlog: CommandBits.skipSlowlog,
  asking: CommandBits.asking,
};

/** A command in the table. */
export class Command {
  readonly specification: CommandSpecification;
  /** The plugin that added it. */
  readonly plugin: string;
  /** As in statistics: `get`, `client|list`. */
  readonly fullName: string;
  readonly arity: number;
  readonly bits: number;
  /** Index of the first key, 0 if there is none, or if it must be looked for (`findKeys`). */
  readonly firstKey: number;
  /** Of the last key: negative counts from the end. */
  readonly lastKey: number;
  readonly keyStep: number;
  readonly run: CommandSpecification["run"];
  readonly subcommands: CommandIndex | undefined;
  /** Of a subcommand: the command that it belongs to. */
  readonly container: Command | undefined;

  /** Times it ran. */
  callCount = 0;
  /** How often its time was taken: of quick commands only now and then. */
  timedCount = 0;
  /** Microseconds that those runs took. */
  timedMicroseconds = 0;
  /** How long its runs took, each that was timed counted for those that it stands for. There are some once a run was timed. */
  latency: LatencyCounts | undefined;
  /** Times it was refused before it ran (arity, MOVED, OOM ...). */
  rejectedCount = 0;
  /** Times it ran and answered with an error. */
  failedCount = 0;
  /**
   * Times it ran, deferred its reply, and has not answered yet, or never will: the client is gone. Below 0 where the count began anew in between: a reply that comes
   * after that belongs to a run that is counted no more.
   */
  unansweredCount = 0;

  constructor(specification: CommandSpecification, plugin: string, container?: Command) {
    this.specification = specification;
    this.plugin = plugin;
    this.container = container;
    this.fullName =
      container === undefined ? specification.name : `${container.specification.name}|${specification.name}`;
    this.arity = specification.arity;
    const isQuick = specification.isQuick ?? specification.flags.includes("fast");
    const isAboutKeys =
      specification.isAboutKeys ?? specification.flags.some((flag) => flag === "write" || flag === "readonly");
    this.bits = specification.flags.reduce(
      (bits, flag) => bits | (BIT_OF_FLAG[flag] ?? 0),
      (isQuick ? CommandBits.quick : 0) | (isAboutKeys ? CommandBits.aboutKeys : 0),
    );
    const keys = specification.findKeys === undefined ? (specification.keys ?? []) : [];
    this.firstKey = keys[0]?.first ?? 0;
    this.lastKey = keys.at(-1)?.last ?? 0;
    this.keyStep = keys.length === 0 ? 0 : Math.max(...keys.map((key) => key.step));
    this.run = specification.run;
    if (specification.subcommands !== undefined) {
      this.subcommands = new CommandIndex();
      for (const subcommand of specification.subcommands) {
        this.subcommands.add(new Command(subcommand, plugin, this));
      }
    }
  }

  /** The time of a run was taken. @param standsFor How many runs it is counted for. */
  timed(microseconds: number, standsFor: number): void {
    this.timedCount += 1;
    this.timedMicroseconds += microseconds;
    this.latency ??= new LatencyCounts();
    this.latency.note(microseconds, standsFor);
  }

  /** Microseconds that all runs took, as far as those that were timed stand for the others. */
  get totalMicroseconds(): number {
    return this.timedCount === 0 ? 0 : (this.timedMicroseconds * this.callCount) / this.timedCount;
  }

  /** Whether as many arguments are right. @param count The name included. */
  takes(count: number): boolean {
    return this.arity >= 0 ? count === this.arity : count >= -this.arity;
  }

  /**
   * Index of the last key of a call with `count` arguments, or 0 if it has no keys. The keys are `firstKey`, `firstKey + keyStep` ... up to it.
   */
  lastKeyOf(count: number): number {
    if (this.firstKey === 0 || this.firstKey >= count) return 0;
    return this.lastKey >= 0 ? Math.min(this.lastKey, count - 1) : count + this.lastKey;
  }

  /** Indexes of all keys of a call. */
  keysOf(args: ArgumentList): readonly number[] {
    const { findKeys } = this.specification;
    if (findKeys !== undefined) return findKeys(args);
    const indexes: number[] = [];
    const last = this.lastKeyOf(args.count);
    for (let index = this.firstKey; index > 0 && index <= last; index += this.keyStep) indexes.push(index);
    return indexes;
  }

  resetStatistics(): void {
    this.callCount = 0;
    this.timedCount = 0;
    this.timedMicroseconds = 0;
    this.latency?.reset();
    this.rejectedCount = 0;
    this.failedCount = 0;
    this.unansweredCount = 0;
    for (const subcommand of this.subcommands ?? []) subcommand.resetStatistics();
  }
}

/** FNV-1a over a name's bytes in lower case, as far as a hash cares ("|32" maps other bytes too: the comparison decides). */
function hashName(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = start; at < end; at += 1) hash = Math.imul(hash ^ ((bytes[at] as number) | 0x20), 0x01000193);
  return hash ^ (hash >>> 15);
}

/** Commands found by name. */
export class CommandIndex {
  readonly #byName = new Map<string, Command>();
  // Open addressing, always less than a quarter full: a lookup is one hash, and nearly always one comparison.
  #buckets: (Command | undefined)[] = Array.from({ length: 16 }, () => undefined);
  #names: (Uint8Array | undefined)[] = Array.from({ length: 16 }, () => undefined);

  get size(): number {
    return this.#byName.size;
  }

  [Symbol.iterator](): MapIterator<Command> {
    return this.#byName.values();
  }

  /** @returns The command of that name, in lower case. */
  get(name: string): Command | undefined {
    return this.#byName.get(name);
  }

  /**
   * @throws {StartError} If the name is taken or is not a name.
   */
  add(command: Command): void {
    const { name } = command.specification;
    if (!/^[a-z][a-z0-9_.-]*$/.test(name)) {
      throw new StartError(
        `Cannot add command "${name}" of plugin "${command.plugin}": a name is lower-case letters, digits, "-", "_" and "."`,
      );
    }
    const taken = this.#byName.get(name);
    if (taken !== undefined) {
      throw new StartError(
        `Cannot add command "${command.fullName}" of plugin "${command.plugin}": plugin "${taken.plugin}" has one of that name`,
      );
    }
    this.#byName.set(name, command);
    if (this.#byName.size * 4 > this.#buckets.length) this.#rebuild(this.#buckets.length * 4);
    else this.#place(command);
  }

  /** Finds a command by the bytes of its name, in any case. */
  find(bytes: Uint8Array, start: number, end: number): Command | undefined {
    const mask = this.#buckets.length - 1;
    for (let bucket = hashName(bytes, start, end) & mask; ; bucket = (bucket + 1) & mask) {
      const name = this.#names[bucket];
      if (name === undefined) return undefined;
      if (isSameName(name, bytes, start, end)) return this.#buckets[bucket];
    }
  }

  #rebuild(length: number): void {
    this.#buckets = Array.from({ length }, () => undefined);
    this.#names = Array.from({ length }, () => undefined);
    for (const command of this.#byName.values()) this.#place(command);
  }

  #place(command: Command): void {
    const name = new TextEncoder().encode(command.specification.name);
    const mask = this.#buckets.length - 1;
    let bucket = hashName(name, 0, name.length) & mask;
    while (this.#names[bucket] !== undefined) bucket = (bucket + 1) & mask;
    this.#names[bucket] = name;
    this.#buckets[bucket] = command;
  }
}

function isSameName(name: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start !== name.length) return false;
  for (let index = 0; index < name.length; index += 1) {
    const byte = bytes[start + index] as number;
    if ((byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte) !== name[index]) return false;
  }
  return true;
}
