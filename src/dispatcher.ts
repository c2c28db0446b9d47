/**
 * The dispatcher: takes a command from a client's arguments to its reply.
 *
 * What is checked, in Redis' order, before a command runs:
 * 1. it is known, and so is its subcommand;
 * 2. it has as many arguments as it takes;
 * 3. the client has given the password, or the command is one of those that need none;
 * 4. the hook `commandBefore`: where the key lives (router), whether there is memory (eviction), whether all clients wait (CLIENT PAUSE);
 * 5. the client's own interceptor, which queues commands after MULTI.
 *
 * On the path of every command: no allocation, hardly a reading of the clock (see `TIMED_EVERY`).
 */
import { Fault, assert } from "./assert.ts";
import { Call } from "./call.ts";
import type { Client } from "./client.ts";
import { ArgumentList } from "./codec/resp-parser.ts";
import { ReplyTooLargeError, type ReplyWriter } from "./codec/resp-writer.ts";
import { type Command, CommandBits, CommandIndex } from "./command-table.ts";
import { Verdict } from "./contracts/commands.ts";
import type { Keyspace } from "./contracts/keyspace.ts";
import { messageOf } from "./errors.ts";
import type { Hooks } from "./hooks.ts";
import { stateOperation } from "./replication/log-operations.ts";
import type { ReplyGate } from "./reply-gate.ts";
import { KeyReference } from "./store/key-reference.ts";
import type { Clock, Log } from "./world.ts";

const MINUS = 0x2d;
const ASKING = "asking";

/**
 * Of quick commands one in so many is timed: of each sixteen that run in a row one, drawn. Reading the clock costs 27 ns, a fortieth of a pipelined GET; a
 * command that is quick by nature is slow only when it has many arguments, long ones or a large reply, and is timed then. That a reply is large is known only
 * when it is there: such a command is charged the quick ones since the last reading too, which are fewer than twice as many, some microseconds in all.
 *
 * It is not always the same of the sixteen: of clients that go round (GET and SET in turn, a pipeline over sixteen slots) only some commands would ever be seen.
 */
const TIMED_EVERY = 16;
const QUICK_ARGUMENTS = 32;
const QUICK_BYTES = 16 * 1024;
/** When even this counts as slow, every command is timed. */
const QUICK_MICROSECONDS = 1000;

/** How long the date is good for. Reading it costs as much as a tenth of a pipelined command. */
const DATE_GOOD_FOR_MS = 0.5;

/** Commands of commands, such as EXEC over its queue; nothing nests deeper than that. */
const MAX_DEPTH = 4;

export class Dispatcher {
  readonly commands = new CommandIndex();
  /** The store, if a plugin provides one: expiry and effects follow its clock and its count of changes. */
  keyspace: Keyspace | undefined;
  /** A command that takes at least so long is told to `commandSlow`; negative: none is. */
  slowThresholdMicroseconds = -1;
  /** Commands that ran since the start, or since `CONFIG RESETSTAT`. */
  commandCount = 0;
  /** Error replies by their first word, such as `WRONGTYPE`. Bounded: words beyond `MAX_ERROR_WORDS` count as `OTHER`. */
  readonly errorCounts = new Map<string, number>();
  /** Error replies in all. */
  errorCount = 0;

  readonly #hooks: Hooks;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #fault: (error: unknown) => void;
  readonly #gate: ReplyGate;
  readonly #calls: Call[] = [];
  #depth = 0;
  // A client's command is under way; and how many effects it has told of, those of its transaction among them.
  #isInCommand = false;
  #effectCount = 0;
  readonly #effect = { slot: -1, args: new ArgumentList(0), isContinued: false };
  // When the present command began: monotonic milliseconds.
  #beganAtMs = 0;
  // Commands have run since that moment.
  #isClockStale = false;
  // How many runs from here the next quick one is timed; which of its sixteen it is; and where the row of draws has got to (the same on every node and run).
  #untilTimed = 8;
  #timedOfSixteen = 8;
  #drawn = 1;
  readonly #timed = { slot: -1, microseconds: 0, standsFor: 1, bytesIn: 0, bytesOut: 0 };
  // When the date was read last: monotonic milliseconds.
  #dateReadAtMs = Number.NEGATIVE_INFINITY;

  /** @param fault Stops the node. Gets broken invariants. */
  constructor(hooks: Hooks, gate: ReplyGate, clock: Clock, log: Log, fault: (error: unknown) => void) {
    this.#hooks = hooks;
    this.#gate = gate;
    this.#clock = clock;
    this.#log = log;
    this.#fault = fault;
  }

  /**
   * Begins a turn: a run of commands that see the same time. Call it once for what came in one piece, before `dispatch`.
   *
   * @returns Monotonic milliseconds.
   */
  beginTurn(): number {
    const nowMs = this.#clock.monotonicMs();
    this.#beganAtMs = nowMs;
    this.#isClockStale = false;
    // Expiry is told in whole milliseconds: under load, when many turns begin within one, the date is read once for all of them.
    if (nowMs - this.#dateReadAtMs >= DATE_GOOD_FOR_MS) {
      this.#dateReadAtMs = nowMs;
      if (this.keyspace !== undefined) this.keyspace.nowMs = this.#clock.wallMs();
    }
    return nowMs;
  }

  /** Monotonic milliseconds at the end of the last command that was timed, or at the start of the turn. */
  get nowMs(): number {
    return this.#beganAtMs;
  }

  /**
   * Runs one command, or refuses it.
   *
   * @returns `undefined`, `rejected` or `answered` when a reply was written; `held` or `deferred` when it was not: see `Verdict`.
   */
  dispatch(client: Client, args: ArgumentList, reply: ReplyWriter): Verdict | undefined {
    const wasAsking = client.isAsking;
    const command = this.#examine(client, args, reply);
    if (command === undefined) {
      if (wasAsking && client.intercept === undefined) client.isAsking = false;
      return Verdict.rejected;
    }
    const call = this.#prepare(command, client, args, reply);
    client.lastCommandName = command.fullName;
    client.commandCount += 1;
    this.#isInCommand = true;
    this.#effectCount = 0;
    const mark = reply.length;
    let verdict: Verdict | undefined;
    try {
      verdict = this.#hooks.commandBefore.ask(call);
      if (verdict === undefined && client.intercept !== undefined) verdict = client.intercept(call);
    } catch (thrown) {
      this.#failed(command, thrown, reply, mark);
      verdict = Verdict.rejected;
    }
    if (verdict === undefined) verdict = this.#run(call, command);
    else if (verdict === Verdict.rejected) this.#rejected(command, client, reply, mark);
    // ASKING is for one command, whatever became of it, or one transaction; one that is held is still to come.
    if (wasAsking && verdict !== Verdict.held && client.intercept === undefined && command.fullName !== ASKING)
      client.isAsking = false;
    this.#isInCommand = false;
    return verdict;
  }

  /**
   * Runs one command within another (EXEC over its queue). The hook and the interceptor are not asked: see `ask`.
   *
   * @param settle Gets the reply of a command that defers it, once and later. Without it none may.
   * @returns `deferred`, if it does; else a reply was written.
   */
  dispatchNested(client: Client, args: ArgumentList, reply: ReplyWriter, settle?: Call["settle"]): Verdict | undefined {
    const command = this.#examine(client, args, reply);
    if (command === undefined) return Verdict.rejected;
    const call = this.#prepare(command, client, args, reply);
    call.isNested = true;
    call.settle = settle;
    return this.#run(call, command);
  }

  /** Runs what belongs together, outside of any command of a client's (the rest of a transaction): what it changes is not parted. */
  asOne<Result>(run: () => Result): Result {
    this.#isInCommand = true;
    this.#effectCount = 0;
    try {
      return run();
    } finally {
      this.#isInCommand = false;
    }
  }

  /**
   * Asks what would keep a command from running, without running it: EXEC asks for all of its queue before it runs any.
   *
   * @returns `undefined` if nothing would; else the verdict, with the error written to `reply`.
   */
  ask(client: Client, args: ArgumentList, reply: ReplyWriter): Verdict | undefined {
    const command = this.#examine(client, args, reply);
    if (command === undefined) return Verdict.rejected;
    const call = this.#prepare(command, client, args, reply);
    call.isNested = true;
    return this.#hooks.commandBefore.ask(call);
  }

  /** Finds the command that arguments name, or its container's subcommand. */
  lookUp(args: ArgumentList): Command | undefined {
    const command = this.commands.find(args.bytes, args.start(0), args.end(0));
    if (command?.subcommands === undefined || args.count < 2) return command;
    return command.subcommands.find(args.bytes, args.start(1), args.end(1)) ?? command;
  }

  /** Sets all statistics of commands back to zero. */
  resetStatistics(): void {
    this.commandCount = 0;
    this.errorCount = 0;
    this.errorCounts.clear();
    for (const command of this.commands) command.resetStatistics();
  }

  #run(call: Call, command: Command): Verdict | undefined {
    const { reply } = call;
    const mark = reply.length;
    const changesBefore = this.#changes();
    const { args } = call;
    this.#untilTimed -= 1;
    const isDrawn = this.#untilTimed === 0;
    if (isDrawn) this.#drawNext();
    const isAlwaysTimed =
      (command.bits & CommandBits.quick) === 0 ||
      args.count > QUICK_ARGUMENTS ||
      args.end(args.count - 1) - args.start(0) > QUICK_BYTES ||
      (this.slowThresholdMicroseconds >= 0 && this.slowThresholdMicroseconds < QUICK_MICROSECONDS);
    const isTimed = isDrawn || isAlwaysTimed;
    if (isTimed && this.#isClockStale) this.#beganAtMs = this.#clock.monotonicMs();
    // Kept here: commands that this one runs (EXEC) read the clock too.
    const beganAtMs = this.#beganAtMs;
    this.#depth += 1;
    try {
      command.run(call);
    } catch (thrown) {
      if (!(thrown instanceof Fault) && this.#changes() !== changesBefore) this.#leftHalfDone(call, changesBefore);
      // For a command within another there may be no room left even for its error: the outer one fails then.
      this.#failed(command, thrown, reply, mark);
    } finally {
      this.#depth -= 1;
    }
    this.commandCount += 1;
    command.callCount += 1;
    let microseconds = 0;
    const isLarge = reply.length - mark > QUICK_BYTES;
    if (isTimed || isLarge) {
      const nowMs = this.#clock.monotonicMs();
      microseconds = (nowMs - beganAtMs) * 1000;
      this.#beganAtMs = nowMs;
      this.#isClockStale = false;
      const standsFor = isAlwaysTimed || isLarge ? 1 : TIMED_EVERY;
      command.timed(microseconds, standsFor);
      if (call.hasKey && this.#hooks.commandTimed.isHeard) {
        this.#tellTimed(call, microseconds, standsFor, reply.length - mark);
      }
    } else {
      this.#isClockStale = true;
    }
    if (call.deferred !== undefined) command.unansweredCount += 1;
    else if (reply.bytes[mark] === MINUS && reply.length > mark) {
      command.failedCount += 1;
      this.#countError(reply, mark);
    }
    if (microseconds > 0 && this.slowThresholdMicroseconds >= 0 && microseconds >= this.slowThresholdMicroseconds) {
      this.#hooks.commandSlow.notify({ call, microseconds });
    }
    if ((command.bits & CommandBits.write) !== 0 && this.#hooks.effect.isHeard) this.#tellEffects(call, changesBefore);
    this.guard(call);
    return call.deferred === undefined ? undefined : Verdict.deferred;
  }

  /** A deferred reply was written: it is known what came of the command. */
  readonly #replied = (command: Command, reply: ReplyWriter, mark: number): void => {
    command.unansweredCount -= 1;
    if (reply.bytes[mark] !== MINUS || reply.length === mark) return;
    command.failedCount += 1;
    this.#countError(reply, mark);
  };

  /** One of the next sixteen runs. */
  #drawNext(): void {
    this.#drawn = (Math.imul(this.#drawn, 1_103_515_245) + 12_345) | 0;
    const next = (this.#drawn >>> 16) % TIMED_EVERY;
    this.#untilTimed = TIMED_EVERY - this.#timedOfSixteen + next + 1;
    this.#timedOfSixteen = next + 1;
  }

  #tellTimed(call: Call, microseconds: number, standsFor: number, bytesOut: number): void {
    const timed = this.#timed;
    timed.slot = call.key.slot;
    timed.microseconds = microseconds;
    timed.standsFor = standsFor;
    timed.bytesIn = wireLength(call.args);
    timed.bytesOut = bytesOut;
    this.#hooks.commandTimed.notify(timed);
  }

  /** Steps 1 to 3. @returns The command, or `undefined` with the error written. */
  #examine(client: Client, args: ArgumentList, reply: ReplyWriter): Command | undefined {
    const { bytes } = args;
    const mark = reply.length;
    let command = this.commands.find(bytes, args.start(0), args.end(0));
    if (command === undefined) {
      this.#unknown(client, args, reply);
      this.#countError(reply, mark);
      client.onRejected?.();
      return undefined;
    }
    if (command.subcommands !== undefined && args.count > 1) {
      const subcommand = command.subcommands.find(bytes, args.start(1), args.end(1));
      if (subcommand === undefined) {
        const name = shownText(bytes, args.start(1), Math.min(args.end(1), args.start(1) + 128));
        reply.error(`ERR unknown subcommand '${name}'. Try ${command.specification.name.toUpperCase()} HELP.`);
        this.#rejected(command, client, reply, mark);
        return undefined;
      }
      command = subcommand;
    }
    if (!command.takes(args.count)) {
      this.#refuse(command, client, reply, `ERR wrong number of arguments for '${command.fullName}' command`);
      return undefined;
    }
    if (!client.isAuthenticated && (command.bits & CommandBits.noAuth) === 0) {
      this.#refuse(command, client, reply, "NOAUTH Authentication required.");
      return undefined;
    }
    return command;
  }

  #prepare(command: Command, client: Client, args: ArgumentList, reply: ReplyWriter): Call {
    assert(this.#depth < MAX_DEPTH, "commands do not nest without end");
    let call = this.#calls[this.#depth];
    if (call === undefined) {
      call = new Call(command, client, args, reply);
      call.replied = this.#replied;
      this.#calls.push(call);
    } else {
      call.prepare(command, client, args, reply);
    }
    call.isNested = false;
    if (command.firstKey !== 0 && command.firstKey < args.count && this.keyspace !== undefined) {
      call.locate(this.keyspace, command.firstKey);
    } else if (command.specification.findKeys !== undefined && this.keyspace !== undefined) {
      const [first] = command.keysOf(args);
      if (first !== undefined) call.locate(this.keyspace, first);
    }
    return call;
  }

  /** Changes of keys, without those that had expired and were removed as they were found: each of these has been told as an effect of its own. */
  #changes(): number {
    const { keyspace } = this;
    return keyspace === undefined ? 0 : keyspace.changes - keyspace.expiredCount;
  }

  #tellEffects(call: Call, changesBefore: number): void {
    if (this.#changes() === changesBefore) return;
    const slot = call.hasKey ? call.key.slot : -1;
    if (call.effects === undefined) this.tellEffect(slot, call.args);
    else for (const parts of call.effects) this.tellEffect(slot, ArgumentList.of(parts));
  }

  /**
   * A command threw when it had changed something. An error would say that nothing was done: the connection ends, and the client knows that it does not know. What
   * was done is told as the states of the command's keys, since whoever ran the command might come farther, or less far.
   */
  #leftHalfDone(call: Call, changesBefore: number): void {
    const { args, client, command } = call;
    client.transport.kill();
    const { keyspace } = this;
    if (keyspace === undefined || (command.bits & CommandBits.write) === 0 || !this.#hooks.effect.isHeard) return;
    try {
      const keys = command.keysOf(args);
      if (keys.length === 0) this.#tellEffects(call, changesBefore);
      const key = new KeyReference();
      for (const index of keys) {
        keyspace.refer(key, args.bytes, args.start(index), args.end(index));
        this.tellEffect(key.slot, stateOperation(keyspace, key));
      }
    } catch (thrown) {
      const fault = new Fault(`what command '${command.fullName}' left half done cannot be told: ${messageOf(thrown)}`);
      this.#fault(fault);
      throw fault;
    }
    // Here, since whoever runs it within another may not come as far as to tell.
    call.effects = [];
  }

  /**
   * Tells what a change of keys comes to, while a command runs or between commands.
   *
   * @param slot -1: all slots.
   * @param args Are read before this returns.
   */
  tellEffect(slot: number, args: ArgumentList): void {
    const effect = this.#effect;
    effect.slot = slot;
    effect.args = args;
    effect.isContinued = this.#isInCommand && this.#effectCount > 0;
    this.#effectCount += 1;
    this.#hooks.effect.notify(effect);
  }

  /**
   * Notes on the client what the reply depends on: also that of a write which changed nothing, and that of a failed one. A wrong type is as much a
   * state of the key as its value. Whoever decides before a command runs, and looks at keys for that, calls it too.
   */
  guard(call: Call): void {
    if (!this.#gate.isGuarded) return;
    const { client, command } = call;
    if (call.hasKey) this.guardSlot(client, call.key.slot);
    else if ((command.bits & CommandBits.aboutKeys) !== 0) this.#dependsOn(client, this.#gate.positionOfAll);
  }

  /** Notes on a client that its next reply depends on a slot's keys as they are now: for replies that come later. */
  guardSlot(client: Client, slot: number): void {
    if (this.#gate.isGuarded) this.#dependsOn(client, this.#gate.positionOf(slot));
  }

  #dependsOn(client: Client, at: number): void {
    let position = at;
    // Nothing but the lease: see `ReplyGate`.
    if (position > 0 && (client.acks ?? this.#gate.acks) === "primary") position = 1;
    // The first of them counts: a transaction that waits in the middle may end under another log than it began.
    if (client.replyAfter === 0) client.replyBreaks = this.#gate.breaks;
    if (position > client.replyAfter) client.replyAfter = position;
  }

  #refuse(command: Command, client: Client, reply: ReplyWriter, error: string): void {
    const mark = reply.length;
    reply.error(command.specification.onRefused?.(client, error) ?? error);
    this.#rejected(command, client, reply, mark);
  }

  #rejected(command: Command, client: Client, reply: ReplyWriter, mark: number): void {
    command.rejectedCount += 1;
    this.#countError(reply, mark);
    client.onRejected?.();
  }

  #countError(reply: ReplyWriter, mark: number): void {
    if (reply.length === mark) return;
    this.errorCount += 1;
    let end = mark + 1;
    while (end < reply.length && (reply.bytes[end] as number) > 0x20 && end - mark < MAX_ERROR_WORD_LENGTH) end += 1;
    let word = textOf(reply.bytes, mark + 1, end);
    if (!this.errorCounts.has(word) && this.errorCounts.size >= MAX_ERROR_WORDS) word = "OTHER";
    this.errorCounts.set(word, (this.errorCounts.get(word) ?? 0) + 1);
  }

  /** A command threw. A broken invariant stops the node; memory that could not be had, or a mistake in a plugin, is that command's error. */
  #failed(command: Command, thrown: unknown, reply: ReplyWriter, mark: number): void {
    if (thrown instanceof Fault) {
      this.#fault(thrown);
      throw thrown;
    }
    reply.rewind(mark);
    if (thrown instanceof ReplyTooLargeError) {
      reply.error(`ERR ${thrown.message}`);
      return;
    }
    if (thrown instanceof RangeError) {
      reply.error("OOM the machine has no memory left for this command");
      this.#log.error("command out of memory", { command: command.fullName, reason: thrown.message });
      return;
    }
    reply.error(`ERR command '${command.fullName}' of plugin "${command.plugin}" failed: ${messageOf(thrown)}`);
    this.#log.error("command failed", { command: command.fullName, plugin: command.plugin, reason: messageOf(thrown) });
  }

  #unknown(client: Client, args: ArgumentList, reply: ReplyWriter): void {
    const name = shownText(args.bytes, args.start(0), Math.min(args.end(0), args.start(0) + 128));
    // What a browser sends when a page makes it talk to a Redis port. Going on would run the lines of its body as commands.
    if (/^(post|host:)$/i.test(name)) {
      this.#log.warn("possible cross-protocol attack: the connection was closed", {
        remote: client.transport.remoteAddress,
        line: name,
      });
      client.transport.kill();
      return;
    }
    let shown = "";
    for (let index = 1; index < args.count && shown.length < 128; index += 1) {
      const start = args.start(index);
      shown += `'${shownText(args.bytes, start, Math.min(args.end(index), start + 128 - shown.length))}' `;
    }
    reply.error(`ERR unknown command '${name}', with args beginning with: ${shown}`);
  }
}

/** Bytes of a command as clients send it, whichever way it came. */
function wireLength(args: ArgumentList): number {
  let length = headerLength(args.count);
  for (let index = 0; index < args.count; index += 1) {
    const bytes = args.end(index) - args.start(index);
    length += headerLength(bytes) + bytes + 2;
  }
  return length;
}

/** Of a sign, a whole number and a line's end. */
function headerLength(value: number): number {
  let length = 4;
  for (let least = 10; value >= least; least *= 10) length += 1;
  return length;
}

/** Distinct first words of errors that are counted: scripts and plugins can make up words without end. */
const MAX_ERROR_WORDS = 128;
const MAX_ERROR_WORD_LENGTH = 32;

function textOf(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let at = start; at < end; at += 1) text += String.fromCharCode(bytes[at] as number);
  return text;
}

/** A text as messages show it: to its first zero byte, as C prints it. */
function shownText(bytes: Uint8Array, start: number, end: number): string {
  const zero = bytes.indexOf(0, start);
  return textOf(bytes, start, zero < 0 ? end : Math.min(zero, end));
}
