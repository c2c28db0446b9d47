/**
 * Commands are data.
 *
 * One table says what commands there are: their names, arity, keys, flags, what they are for and what they do. Routing, access control,
 * `COMMAND`, `COMMAND DOCS`, `COMMAND GETKEYS`, the statistics and the written documentation all read it. A plugin adds to it with
 * `context.command`. The words are those of Redis' own `COMMAND` reply, so that clients which read it are served.
 */
import type { Call } from "../call.ts";
import type { Client } from "../client.ts";
import type { ArgumentList } from "../codec/resp-parser.ts";

/** What `COMMAND INFO` says of a command. Those that steer the dispatcher are explained; the others only inform clients. */
export type CommandFlag =
  /** May change keys. */
  | "write"
  /** Reads keys, changes none. */
  | "readonly"
  /** Refused when memory has run out (`maxmemory`) and nothing can be evicted. */
  | "denyoom"
  /** Allowed before the password was given. */
  | "no_auth"
  /** Not allowed within MULTI. */
  | "no_multi"
  /** Left out of the slow log: it may carry passwords, or is slow by nature. */
  | "skip_slowlog"
  | "admin"
  | "noscript"
  | "loading"
  | "stale"
  | "fast"
  | "skip_monitor"
  | "asking"
  | "blocking"
  | "pubsub"
  | "no_async_loading"
  | "no_mandatory_keys"
  | "allow_busy"
  | "may_replicate"
  | "movablekeys";

/** The access-control categories of Redis, without their `@`. `fast`, `slow`, `read`, `write`, `admin`, `dangerous` follow from the flags and are not named here. */
export type CommandCategory =
  | "bitmap"
  | "connection"
  | "keyspace"
  | "string"
  | "transaction"
  | "scripting"
  | "admin"
  | "dangerous"
  | "hash"
  | "list"
  | "set"
  | "sortedset"
  | "pubsub"
  | "stream"
  | "geo"
  | "hyperloglog"
  | "blocking";

/** The groups of `COMMAND DOCS`. */
export type CommandGroup =
  | "bitmap"
  | "cluster"
  | "connection"
  | "generic"
  | "scripting"
  | "server"
  | "string"
  | "transactions"
  | "hash"
  | "list"
  | "set"
  | "sorted-set"
  | "module";

/** Where some of a command's keys are, and what it does to them (as Redis' key specifications: RO, RW, OW, RM; ACCESS, UPDATE, INSERT, DELETE ...). */
export interface KeySpecification {
  /** Index of the first key; the command's name is 0. */
  readonly first: number;
  /** Index of the last key. Negative counts from the end: -1 is the last argument. */
  readonly last: number;
  /** From one key to the next: 1, or 2 where values stand between. */
  readonly step: number;
  readonly flags: readonly string[];
  /** Of a specification with `VARIABLE_FLAGS`: those of one call, for `COMMAND GETKEYSANDFLAGS`. @param words Its arguments in upper case. */
  readonly flagsOf?: (words: readonly string[]) => readonly string[];
  /** The keys stand behind a word, which is looked for from an argument on (negative: from the end, backwards): `first` says nothing then. See `findKeys`. */
  readonly after?: { readonly word: string; readonly from: number };
}

export interface CommandSpecification {
  /** Lower case. Of a subcommand: its own name alone. */
  readonly name: string;
  /** What follows the name, as `src/command-syntax.ts` explains: `key seconds:integer`. Default: nothing, or nothing that is told. */
  readonly syntax?: string;
  /** Number of arguments, the name (and subcommand) included; negative: at least so many. */
  readonly arity: number;
  readonly flags: readonly CommandFlag[];
  readonly keys?: readonly KeySpecification[];
  /** Indexes of the keys of a call, for a command of which `keys` does not say them. */
  readonly findKeys?: (args: ArgumentList) => readonly number[];
  readonly categories?: readonly CommandCategory[];
  readonly group: CommandGroup;
  /** One sentence. */
  readonly summary: string;
  /** In big O. */
  readonly complexity: string;
  /** The version of Redis that has had it since; of commands that Redis does not have, `bunch` and our version. */
  readonly since: string;
  /** Of a command that is better not used any more. */
  readonly deprecated?: {
    /** The version of Redis that discouraged it first. */
    readonly since: string;
    readonly replacedBy: string;
  };
  /** For those who look after the server, no command for applications. Default: false. */
  readonly isSystemCommand?: boolean;
  /** Redis' command tips, such as `nondeterministic_output`. */
  readonly tips?: readonly string[];
  /**
   * It takes a microsecond or so, but for what its arguments and its reply weigh: its time is taken now and then, since reading the clock each
   * time would cost a part of what it does. Default: those with the flag `fast`.
   */
  readonly isQuick?: boolean;
  /** Its reply depends on keys, though it names none and changes none itself, such as that of EXEC. Default: false. */
  readonly isAboutKeys?: boolean;
  /**
   * Does it, and writes one reply to `call.reply`. Runs to its end without interruption. A command that cannot answer at once takes
   * `call.defer()`. Of a container of subcommands: called when no subcommand was named or known.
   */
  readonly run: (call: Call) => void;
  /**
   * Called when it is refused before it could run (arguments too few or too many, no password).
   *
   * @param error The reason, as it would be replied.
   * @returns What to reply instead.
   */
  readonly onRefused?: (client: Client, error: string) => string;
  readonly subcommands?: readonly CommandSpecification[];
}

/** What is decided of a command before it runs, by a handler of `commandBefore` that has written the reply, or not. */
export const Verdict = {
  /** The handler wrote an error reply: the command was refused, and nothing was applied. */
  rejected: 1,
  /** The handler wrote the reply in the command's stead (`QUEUED`). */
  answered: 2,
  /** Not yet: whoever holds it calls `client.release()` later, and it is decided anew. Nothing was written. */
  held: 3,
  /** The command took `call.defer()`: its reply comes later, and the client's next command waits for it. */
  deferred: 4,
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/**
 * What a write did, as the command that does the same on any node at any time: absolute expiry, no chance. The same object for each: nothing of it is kept
 * beyond the call.
 */
export interface Effect {
  /** -1: all slots. */
  readonly slot: number;
  /** The command's name first. */
  readonly args: ArgumentList;
  /** It comes from the same command as the effect before it, or the same transaction: the two are never parted. */
  readonly isContinued: boolean;
}

/** Commands that run at once even between MULTI and EXEC; all others are queued there. By full name. */
export const RUN_WITHIN_MULTI: ReadonlySet<string> = new Set(["exec", "discard", "multi", "watch", "quit", "reset"]);
