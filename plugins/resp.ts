/**
 * resp: clients over TCP, in Redis' protocol.
 *
 * Promises: any chunking of the stream gives the same commands and replies; replies come in the order of the commands; whatever one client
 * sends, or does not read, costs bounded memory and keeps no other client from being served.
 *
 * How: bytes that arrive are parsed where they lie, each command runs to its end, and all replies of a piece of input leave in one write.
 * A connection stops reading, and its sender's machine fills up and waits, while
 * - a command of it is held (CLIENT PAUSE) or its reply is yet to come;
 * - more than `OUTPUT_HIGH_WATER_BYTES` of its replies have not been taken by the other side;
 * - it has used up its share of a turn and others are due: it goes on in the next turn of the event loop.
 *
 * Talks to the rest through the dispatcher (commands in, replies out) and the hooks `connectionBefore`, `clientOpened`, `clientClosed`, `info`.
 */
import { Type } from "@sinclair/typebox";
import { Fault } from "../src/assert.ts";
import type { Client, ClientTransport } from "../src/client.ts";
import { ArgumentList, ParseStatus, type RequestLimits, RequestParser } from "../src/codec/resp-parser.ts";
import { ReplyWriter } from "../src/codec/resp-writer.ts";
import { byteSize, parseByteSize } from "../src/config.ts";
import { Verdict } from "../src/contracts/commands.ts";
import { StartError, messageOf } from "../src/errors.ts";
import { isLoopback } from "../src/loopback.ts";
import { type NodeContext, definePlugin } from "../src/plugin.ts";
import type { ReplyWaiter } from "../src/reply-gate.ts";
import type { Listener, Stream, StreamHandler } from "../src/world.ts";

/**
 * Commands that one connection runs before others get their turn. At about a microsecond each this is half a millisecond: long enough that
 * the change of turns costs nothing, short enough that nobody feels it.
 */
const TURN_COMMANDS = 512;
/** Milliseconds after which a connection's turn ends, whatever it has run: slow commands count by their time. */
const TURN_MS = 2;
/** Replies are handed to the machine when so many bytes have gathered, though the turn goes on: the buffer that all connections share stays small. */
const FLUSH_BYTES = 256 * 1024;
/** Bytes of replies that may wait for a client that does not read before its next command waits, too. */
const OUTPUT_HIGH_WATER_BYTES = 1024 * 1024;

/**
 * Files that are kept for what are no clients: the runtime's own (about 20), the listener, the data directory, and connections that are on
 * their way out. Where the machine has none left for a connection that comes, the runtime asks it again and again, and takes a whole core.
 */
const RESERVED_FILES = 64;

const settingsSchema = Type.Object({
  maxClients: Type.Integer({
    description:
      "Connections at the same time; one more is refused with Redis' error. Lowered, with a warning, to what the machine's limit of open files allows.",
    default: 10_000,
    minimum: 1,
  }),
  idleTimeoutS: Type.Integer({
    description: "A connection that sends nothing for so many seconds is closed; 0: never.",
    default: 0,
    minimum: 0,
  }),
  maxBulkBytes: byteSize({
    description: "The longest argument (proto-max-bulk-len in Redis).",
    default: 536_870_912,
  }),
  queryBufferBytes: byteSize({
    description: "What may be buffered of a command that has not come whole (client-query-buffer-limit in Redis).",
    default: 1_073_741_824,
  }),
  outputLimit: Type.String({
    description:
      "When a client that does not read is closed: hard limit, soft limit in bytes, and seconds over the soft limit; 0: no limit (client-output-buffer-limit normal in Redis). Without a limit such a client only stops being served.",
    default: "0 0 0",
    pattern: "^[0-9]+[kKmMgGbB]* [0-9]+[kKmMgGbB]* [0-9]+$",
    examples: ["hard limit, soft limit and seconds, such as '64mb 16mb 60'"],
  }),
  maxReplyBytes: byteSize({
    description:
      "What one client's waiting replies may take up in any case: a command whose reply is larger answers with an error, and a client that is owed more is closed.",
    default: "2gb",
  }),
});

/** Limits that can be changed while the node runs. */
interface Limits {
  maxClients: number;
  idleTimeoutMs: number;
  queryBufferBytes: number;
  outputHardBytes: number;
  outputSoftBytes: number;
  outputSoftMs: number;
  readonly maxReplyBytes: number;
  readonly request: RequestLimits;
}

/** What all connections of a node share. */
interface Server {
  readonly context: NodeContext;
  readonly limits: Limits;
  /** One argument list and one reply buffer serve all: a connection uses them from the first byte of a turn to its flush, and nobody else runs meanwhile. */
  readonly args: ArgumentList;
  readonly reply: ReplyWriter;
  readonly connections: Set<Connection>;
  inputBytes: number;
  outputBytes: number;
  rejectedCount: number;
  isStopping: boolean;
}

/** One client's stream: parses, dispatches, writes, and says no to what is too much. */
class Connection implements StreamHandler, ClientTransport, ReplyWaiter {
  readonly remoteAddress: string;
  readonly localAddress: string;
  readonly client: Client;
  readonly #stream: Stream;
  readonly #server: Server;
  readonly #parser: RequestParser;

  /** A command that `commandBefore` holds: its arguments, copied. */
  #held: ArgumentList | undefined;
  /** The one that is held may be decided anew: as soon as nothing else must come first. */
  #isReleased = false;
  /** The last command's reply comes later. */
  #isDeferred = false;
  /** The rest of the input waits for the next turn of the event loop. */
  #isScheduled = false;
  #isPaused = false;
  /** Within `#process`: what is settled or released meanwhile must not start it again. */
  #isProcessing = false;
  /** No more commands; closes when the replies are gone. */
  #isClosing = false;
  #isGone = false;
  /** Replies that the machine has not taken, in order. */
  #output: Uint8Array[] = [];
  #outputBytes = 0;
  /** Bytes of the first of them that were taken. */
  #outputOffset = 0;
  /** Replies that wait at the gate, in order, each with what it depends on; 0 for those that only wait behind others. */
  #gated: { readonly position: number; readonly bytes: Uint8Array }[] = [];
  #gatedBytes = 0;
  /** `monotonicMs` since when the output is over the soft limit, or 0. */
  #overSoftSinceMs = 0;

  constructor(stream: Stream, server: Server) {
    this.#stream = stream;
    this.#server = server;
    this.remoteAddress = stream.remoteAddress;
    this.localAddress = stream.localAddress;
    this.#parser = new RequestParser(server.limits.request);
    const { context } = server;
    this.client = context.clients.add(this, context.world.clock.monotonicMs(), !context.passwords.isNeeded);
    this.#parser.isAuthenticated = this.client.isAuthenticated;
  }

  queryBytes(): number {
    return this.#parser.bufferedBytes;
  }

  outputBytes(): number {
    return this.#outputBytes + this.#gatedBytes;
  }

  /** Answers with an error and closes, before the first command. */
  refuse(error: string): void {
    const { reply } = this.#server;
    reply.error(error);
    this.#flush();
    this.closeAfterReply();
  }

  data(_stream: Stream, bytes: Uint8Array): void {
    const server = this.#server;
    server.inputBytes += bytes.length;
    if (this.#isClosing || this.#isGone) return;
    this.#parser.feed(bytes);
    if (this.#isWaiting()) {
      // Input that was on its way when the stream was paused.
      if (this.#parser.bufferedBytes > server.limits.queryBufferBytes) this.#overQueryLimit();
      return;
    }
    this.#process();
  }

  writable(): void {
    this.#drain();
    if (this.#outputBytes === 0) this.#goOn();
  }

  /** Replies up to a position may leave. */
  released(position: number): void {
    if (this.#isGone) return;
    let count = 0;
    for (const { position: own, bytes } of this.#gated) {
      if (own > position) break;
      count += 1;
      this.#gatedBytes -= bytes.length;
      this.#output.push(bytes);
      this.#outputBytes += bytes.length;
    }
    if (count === 0) return;
    this.#gated.splice(0, count);
    this.#drain();
    this.#goOn();
  }

  /** What waits at the gate will never be known to be safe. */
  broken(reason: string): void {
    if (this.#isGone || this.#gated.length === 0) return;
    this.#server.context.world.log.info("client closed: nobody knows what became of its last commands", {
      client: this.client.id,
      remote: this.remoteAddress,
      reason,
    });
    this.kill();
  }

  closed(): void {
    this.#leave();
  }

  closeAfterReply(): void {
    this.#isClosing = true;
    if (!this.#isProcessing && this.outputBytes() === 0) this.#stream.end();
  }

  kill(): void {
    this.#leave();
    this.#stream.destroy();
  }

  release(): void {
    if (this.#held === undefined || this.#isGone) return;
    this.#isReleased = true;
    this.#later();
  }

  settle(write: (reply: ReplyWriter) => void): void {
    if (!this.#isDeferred) return;
    this.#isDeferred = false;
    if (this.#isGone) return;
    const { reply } = this.#server;
    // A command may settle its own deferred reply, or another client's, while a turn is under way and the shared buffer is in use.
    if (reply.length > 0 || this.#isProcessing) {
      this.#isDeferred = true;
      this.#server.context.world.clock.soon(() => this.settle(write));
      return;
    }
    // Whoever settles it may be another client's command, which has yet to write its own reply.
    const { protocol } = reply;
    reply.protocol = this.client.protocol;
    try {
      write(reply);
      this.#heedReplyMode(0);
      this.#flush();
    } catch (thrown) {
      this.#broke(thrown);
      return;
    } finally {
      reply.protocol = protocol;
    }
    this.#later();
  }

  /** Closes if it has been idle, or unread, for too long. Called now and then. */
  checkTimes(nowMs: number): void {
    const { limits, context } = this.#server;
    const isIdle = limits.idleTimeoutMs > 0 && nowMs - this.client.lastCommandAtMs > limits.idleTimeoutMs;
    if (isIdle && !this.#isDeferred && this.#held === undefined) {
      this.#stream.end();
      this.#leave();
      return;
    }
    if (limits.outputSoftBytes > 0 && this.outputBytes() > limits.outputSoftBytes) {
      if (this.#overSoftSinceMs === 0) this.#overSoftSinceMs = nowMs;
      else if (nowMs - this.#overSoftSinceMs > limits.outputSoftMs) this.#overOutputLimit("soft");
    } else {
      this.#overSoftSinceMs = 0;
    }
    if (this.#isGone) context.world.log.debug("client closed by its limits", { client: this.client.id });
  }

  /** The node stops: what was replied is sent, then the stream ends. */
  finish(): void {
    this.closeAfterReply();
  }

  /** Whether something other than input must come first. */
  #isWaiting(): boolean {
    const isHeld = this.#held !== undefined && !this.#isReleased;
    return isHeld || this.#isDeferred || this.#isScheduled || this.outputBytes() > OUTPUT_HIGH_WATER_BYTES;
  }

  /** Takes up what has come meanwhile, if nothing must come first. */
  #goOn(): void {
    if (!this.#isProcessing && !this.#isWaiting() && !this.#isGone && !this.#isClosing) this.#process();
  }

  /** Runs what has come, until there is nothing whole left, or something must come first, or the turn is over. */
  #process(): void {
    try {
      this.#runCommands();
    } catch (thrown) {
      this.#broke(thrown);
    }
  }

  /**
   * A turn threw: a broken invariant, or a mistake or a lack of memory where no command's reply could tell of it. What is left in the shared buffer
   * is this connection's; the next one to use it would send it to its own client.
   */
  #broke(thrown: unknown): void {
    const { reply, context } = this.#server;
    this.#isProcessing = false;
    reply.reset();
    if (thrown instanceof Fault) {
      context.fault(thrown);
    } else {
      context.world.log.error("client closed: its turn failed", {
        client: this.client.id,
        remote: this.remoteAddress,
        reason: messageOf(thrown),
      });
    }
    this.kill();
    if (thrown instanceof Fault) throw thrown;
  }

  #runCommands(): void {
    const server = this.#server;
    const { dispatcher } = server.context;
    const { args, reply } = server;
    const { client } = this;
    const parser = this.#parser;
    this.#isProcessing = true;
    reply.protocol = client.protocol;
    const startedAtMs = dispatcher.beginTurn();
    client.lastCommandAtMs = startedAtMs;
    let mustYield = false;
    for (let commands = 0; !this.#isClosing && !this.#isGone; commands += 1) {
      if (commands >= TURN_COMMANDS || dispatcher.nowMs - startedAtMs > TURN_MS) {
        mustYield = parser.bufferedBytes > 0 || this.#held !== undefined;
        break;
      }
      let current = args;
      if (this.#held === undefined) {
        const status = parser.next(args);
        if (status === ParseStatus.incomplete) break;
        if (status === ParseStatus.error) {
          reply.error(`ERR ${parser.error}`);
          this.#isClosing = true;
          break;
        }
      } else {
        current = this.#held;
      }
      const mark = reply.length;
      const verdict = dispatcher.dispatch(client, current, reply);
      if (verdict === Verdict.held) {
        this.#held ??= current.clone();
        this.#isReleased = false;
        break;
      }
      this.#held = undefined;
      if (verdict === Verdict.deferred) {
        this.#isDeferred = true;
        break;
      }
      if (client.replyMode !== "on") this.#heedReplyMode(mark);
      // HELLO, AUTH and RESET change these, for what comes after them in the same piece too.
      reply.protocol = client.protocol;
      parser.isAuthenticated = client.isAuthenticated;
      if (reply.length > FLUSH_BYTES) {
        this.#flush();
        if (this.outputBytes() > OUTPUT_HIGH_WATER_BYTES) break;
      }
    }
    this.#isProcessing = false;
    this.#flush();
    if (this.#isGone) return;
    if (this.#isClosing) {
      if (this.outputBytes() === 0) this.#stream.end();
      return;
    }
    if (mustYield) this.#later();
    else if (parser.bufferedBytes > server.limits.queryBufferBytes) {
      this.#overQueryLimit();
      return;
    }
    this.#pauseIf(this.#isWaiting());
  }

  /** Goes on in the next turn of the event loop. */
  #later(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#server.context.world.clock.soon(() => {
      this.#isScheduled = false;
      if (this.#isGone || this.#isDeferred || this.outputBytes() > OUTPUT_HIGH_WATER_BYTES) return;
      this.#process();
    });
  }

  #pauseIf(isPaused: boolean): void {
    if (this.#isPaused === isPaused || this.#isGone) return;
    this.#isPaused = isPaused;
    if (isPaused) this.#stream.pause();
    else this.#stream.resume();
  }

  /** Takes the reply to the last command back, if the client wants none. */
  #heedReplyMode(mark: number): void {
    const { client } = this;
    if (client.replyMode === "on") return;
    this.#server.reply.rewind(mark);
    if (client.replyMode === "skip-next") client.replyMode = "skip";
    else if (client.replyMode === "skip") client.replyMode = "on";
  }

  /** Hands the reply buffer on: to the gate's waiting room, if what it tells of is not safe yet, else to the machine. */
  #flush(): void {
    const { reply, limits, context } = this.#server;
    const { client } = this;
    const { length } = reply;
    if (length === 0) return;
    this.#server.outputBytes += length;
    const position = client.replyAfter;
    client.replyAfter = 0;
    if (!this.#isGone && position > 0 && client.replyBreaks !== context.replyGate.breaks) {
      // What it tells of was logged, and nobody knows what became of that.
      this.kill();
    } else if (!this.#isGone) {
      const isSafe = position === 0 || context.replyGate.mayLeave(position);
      // Replies keep their order: behind one that waits all do.
      if (isSafe && this.#gated.length === 0) {
        this.#send(reply.bytes, length);
      } else {
        // A copy: the buffer is everybody's. Slices of typed arrays copy.
        this.#gated.push({ position, bytes: reply.bytes.slice(0, length) });
        this.#gatedBytes += length;
        if (!isSafe) context.replyGate.wait(position, this);
      }
    }
    reply.reset();
    if (limits.outputHardBytes > 0 && this.outputBytes() > limits.outputHardBytes) this.#overOutputLimit("hard");
    else if (this.outputBytes() > limits.maxReplyBytes) this.#overOutputLimit("maxReplyBytes");
  }

  /** Hands bytes to the machine; what it does not take is kept, after what was kept before. */
  #send(bytes: Uint8Array, length: number): void {
    const taken = this.#outputBytes === 0 ? this.#stream.write(bytes, 0, length) : 0;
    if (taken === length) return;
    this.#output.push(bytes.slice(taken, length));
    this.#outputBytes += length - taken;
  }

  /** Offers what was kept again. */
  #drain(): void {
    while (this.#outputBytes > 0) {
      const first = this.#output[0];
      if (first === undefined) return;
      const taken = this.#stream.write(first, this.#outputOffset, first.length);
      this.#outputOffset += taken;
      this.#outputBytes -= taken;
      if (this.#outputOffset < first.length) return;
      this.#output.shift();
      this.#outputOffset = 0;
    }
    if (this.#isClosing && this.#gated.length === 0) this.#stream.end();
  }

  #overQueryLimit(): void {
    this.#server.context.world.log.warn("client closed: its query buffer is over the limit", {
      client: this.client.id,
      remote: this.remoteAddress,
      bytes: this.#parser.bufferedBytes,
    });
    this.kill();
  }

  #overOutputLimit(which: string): void {
    this.#server.context.world.log.warn("client closed: it does not read its replies", {
      client: this.client.id,
      remote: this.remoteAddress,
      bytes: this.outputBytes(),
      limit: which,
    });
    this.kill();
  }

  /** Forgets everything. Whatever comes after this is ignored. */
  #leave(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#output = [];
    this.#outputBytes = 0;
    this.#gated = [];
    this.#gatedBytes = 0;
    this.#held = undefined;
    this.#server.connections.delete(this);
    const { context } = this.#server;
    context.clients.remove(this.client);
    context.hooks.clientClosed.notify(this.client);
  }
}

function parseOutputLimit(text: string): { hard: number; soft: number; seconds: number } | undefined {
  const [hardText, softText, secondsText] = text.trim().split(/\s+/);
  const hard = parseByteSize(hardText ?? "");
  const soft = parseByteSize(softText ?? "");
  const seconds = parseByteSize(secondsText ?? "");
  return hard === undefined || soft === undefined || seconds === undefined ? undefined : { hard, soft, seconds };
}

export default definePlugin({
  name: "resp",
  summary: "Serves clients over TCP in Redis' protocol.",
  settings: settingsSchema,
  setup(context) {
    const { settings, core, world, clients } = context;
    if (core.password === undefined && !core.insecure && !isLoopback(core.host)) {
      throw new StartError(
        `Cannot listen on ${core.host} without a password: set one (--password, BUNCH_PASSWORD), listen on 127.0.0.1, or allow it with --insecure`,
      );
    }
    const output = parseOutputLimit(settings.outputLimit);
    if (output === undefined)
      throw new StartError(`Setting "plugins.resp.outputLimit" is "${settings.outputLimit}", which is no limit`);
    const limits: Limits = {
      maxClients: settings.maxClients,
      idleTimeoutMs: settings.idleTimeoutS * 1000,
      queryBufferBytes: parseByteSize(settings.queryBufferBytes) ?? 0,
      outputHardBytes: output.hard,
      outputSoftBytes: output.soft,
      outputSoftMs: output.seconds * 1000,
      maxReplyBytes: parseByteSize(settings.maxReplyBytes) ?? 0,
      request: { maxBulkBytes: parseByteSize(settings.maxBulkBytes) ?? 0 },
    };
    const server: Server = {
      context,
      limits,
      args: new ArgumentList(),
      reply: new ReplyWriter(),
      connections: new Set(),
      inputBytes: 0,
      outputBytes: 0,
      rejectedCount: 0,
      isStopping: false,
    };
    // A floor, so that there is always room for the replies that gather before they are handed on, and for an error after them.
    server.reply.maxBytes = Math.max(limits.maxReplyBytes, 2 * FLUSH_BYTES);
    let listener: Listener | undefined;
    const possibleClients = Math.max(1, world.machine.maxOpenFiles() - RESERVED_FILES);
    if (limits.maxClients > possibleClients) {
      world.log.warn("fewer clients than maxClients: the machine limits open files (ulimit -n)", {
        maxClients: limits.maxClients,
        possible: possibleClients,
      });
      limits.maxClients = possibleClients;
    }

    const accept = (stream: Stream): StreamHandler => {
      const isFull = server.connections.size >= limits.maxClients;
      const connection = new Connection(stream, server);
      server.connections.add(connection);
      const refusal = isFull
        ? "ERR max number of clients reached"
        : context.hooks.connectionBefore.ask(connection.client);
      if (refusal !== undefined) {
        server.rejectedCount += 1;
        connection.refuse(refusal);
      } else {
        context.hooks.clientOpened.notify(connection.client);
      }
      return connection;
    };

    context.on(context.hooks.start, async () => {
      try {
        listener = await world.network.listen({ host: core.host, port: core.port, accept });
      } catch (thrown) {
        throw new StartError(messageOf(thrown), { cause: thrown });
      }
      // Twice a second: idle timeouts are whole seconds, and a check of thousands of clients costs little.
      context.every(500, () => {
        const nowMs = world.clock.monotonicMs();
        for (const connection of server.connections) connection.checkTimes(nowMs);
      });
    });
    context.on(
      context.hooks.stop,
      async () => {
        server.isStopping = true;
        listener?.close();
        for (const connection of server.connections) connection.finish();
        // Replies that a slow reader has not taken get a moment; then the node goes.
        const deadlineMs = world.clock.monotonicMs() + 1000;
        while (server.connections.size > 0 && world.clock.monotonicMs() < deadlineMs) {
          await new Promise<void>((resolve) => void world.clock.after(5, resolve));
        }
        for (const connection of server.connections) connection.kill();
      },
      { order: "post" },
    );

    context.on(context.hooks.info, () => ({
      section: "clients",
      fields: {
        connected_clients: clients.count,
        maxclients: limits.maxClients,
        client_recent_max_input_buffer: Math.max(0, ...[...clients].map((client) => client.transport.queryBytes())),
        client_recent_max_output_buffer: Math.max(0, ...[...clients].map((client) => client.transport.outputBytes())),
      },
    }));
    context.on(context.hooks.info, () => ({
      section: "stats",
      fields: {
        total_connections_received: clients.totalCount,
        total_net_input_bytes: server.inputBytes,
        total_net_output_bytes: server.outputBytes,
        rejected_connections: server.rejectedCount,
      },
    }));
    context.on(context.hooks.statisticsReset, () => {
      server.inputBytes = 0;
      server.outputBytes = 0;
      server.rejectedCount = 0;
    });

    context.parameter({ name: "bind", get: () => core.host });
    context.parameter({ name: "port", get: () => String(listener?.port ?? core.port) });
    context.parameter({
      name: "maxclients",
      get: () => String(limits.maxClients),
      set: wholeNumber(1, 1e6, (value) => {
        if (value > possibleClients)
          return `The operating system is not able to handle the specified number of clients, try with ${possibleClients}`;
        limits.maxClients = value;
        return undefined;
      }),
    });
    context.parameter({
      name: "timeout",
      get: () => String(limits.idleTimeoutMs / 1000),
      set: wholeNumber(0, 2 ** 31 - 1, (value) => {
        limits.idleTimeoutMs = value * 1000;
        return undefined;
      }),
    });
    context.parameter({
      name: "proto-max-bulk-len",
      get: () => String(limits.request.maxBulkBytes),
      set: size(1024 * 1024, (value) => (limits.request.maxBulkBytes = value)),
    });
    context.parameter({
      name: "client-query-buffer-limit",
      get: () => String(limits.queryBufferBytes),
      set: size(1024 * 1024, (value) => (limits.queryBufferBytes = value)),
    });
    context.parameter({
      name: "client-output-buffer-limit",
      get: () => `normal ${limits.outputHardBytes} ${limits.outputSoftBytes} ${limits.outputSoftMs / 1000}`,
      set: (value) => {
        const [kind, ...rest] = value.trim().split(/\s+/);
        const parsed = rest.length === 3 ? parseOutputLimit(rest.join(" ")) : undefined;
        if (kind !== "normal" || parsed === undefined) return "the form is: normal <hard limit> <soft limit> <seconds>";
        limits.outputHardBytes = parsed.hard;
        limits.outputSoftBytes = parsed.soft;
        limits.outputSoftMs = parsed.seconds * 1000;
        return undefined;
      },
    });
  },
});

function wholeNumber(
  least: number,
  most: number,
  apply: (value: number) => string | undefined,
): (text: string) => string | undefined {
  return (text) => {
    const value = Number(text);
    if (!/^-?[0-9]+$/.test(text)) return "argument couldn't be parsed into an integer";
    if (value < least || value > most) return `argument must be between ${least} and ${most} inclusive`;
    return apply(value);
  };
}

function size(least: number, apply: (value: number) => void): (text: string) => string | undefined {
  return (text) => {
    const value = parseByteSize(text);
    if (value === undefined) return "argument must be a memory value";
    if (value < least) return `argument must be at least ${least}`;
    apply(value);
    return undefined;
  };
}
