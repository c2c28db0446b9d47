/**
 * A connection from within the process: for programs that embed a node, for tests, and for whatever speaks another protocol than RESP.
 *
 * It goes the same way as every other client's commands (bytes in, dispatcher, bytes out), so that nothing is possible through it which
 * would not be through a socket, and nothing behaves differently.
 */
import { Fault, assert } from "./assert.ts";
import type { Client, ClientTable, ClientTransport } from "./client.ts";
import { ArgumentList, ParseStatus, RequestParser } from "./codec/resp-parser.ts";
import { type ReplyValue, ReplyReader, encodeCommand } from "./codec/resp-reader.ts";
import { ReplyWriter } from "./codec/resp-writer.ts";
import { Verdict } from "./contracts/commands.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { Hooks } from "./hooks.ts";
import type { ReplyGate, ReplyWaiter } from "./reply-gate.ts";
import type { Clock } from "./world.ts";

const RESET = "reset";

/** A command that waits for its turn, and for its reply. */
interface Waiting {
  readonly parts: readonly (string | Uint8Array)[];
  readonly resolve: (reply: ReplyValue) => void;
  readonly reject: (reason: Error) => void;
}

export class LocalConnection implements ClientTransport, ReplyWaiter {
  readonly remoteAddress = "local:0";
  readonly localAddress = "local:0";
  readonly client: Client;
  readonly #dispatcher: Dispatcher;
  readonly #clients: ClientTable;
  readonly #clock: Clock;
  readonly #hooks: Hooks;
  readonly #gate: ReplyGate;
  readonly #parser = new RequestParser({ maxBulkBytes: 536_870_912 });
  readonly #args = new ArgumentList();
  readonly #writer = new ReplyWriter();
  readonly #queue: Waiting[] = [];
  /** The arguments of the queue's first command, once they are parsed: it is held, or its reply is yet to come. */
  #current: ArgumentList | undefined;
  #isDeferred = false;
  /** The first command's reply is there, and waits at the gate. */
  #isGated = false;
  #isClosed = false;

  constructor(dispatcher: Dispatcher, clients: ClientTable, clock: Clock, hooks: Hooks, gate: ReplyGate) {
    this.#dispatcher = dispatcher;
    this.#clients = clients;
    this.#clock = clock;
    this.#hooks = hooks;
    this.#gate = gate;
    this.client = clients.add(this, clock.monotonicMs(), true, false);
    this.#welcome();
    this.#parser.isAuthenticated = true;
    hooks.clientOpened.notify(this.client);
  }

  /**
   * Runs a command. Commands run in the order in which they were given, also when earlier ones wait.
   *
   * @param parts The command's name and its arguments; text becomes UTF-8.
   * @returns Its reply, as RESP3 has it. An error reply is a value too (`ReplyError`), not a rejection.
   * @throws {Error} Rejects if the connection was closed before the reply came.
   */
  execute(...parts: readonly (string | Uint8Array)[]): Promise<ReplyValue> {
    if (this.#isClosed) return Promise.reject(new Error("The connection is closed"));
    return new Promise((resolve, reject) => {
      this.#queue.push({ parts, resolve, reject });
      if (this.#queue.length === 1) this.#run();
    });
  }

  /** Nothing more runs: it was closed here, or by `CLIENT KILL`. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  close(): void {
    this.kill();
  }

  queryBytes(): number {
    return 0;
  }

  outputBytes(): number {
    return 0;
  }

  closeAfterReply(): void {
    this.#clock.soon(() => this.kill());
  }

  kill(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#clients.remove(this.client);
    // What commands keep for a client (watched keys, a transaction) goes with it.
    this.#hooks.clientClosed.notify(this.client);
    for (const waiting of this.#queue.splice(0)) waiting.reject(new Error("The connection was closed"));
  }

  release(): void {
    if (this.#current !== undefined && !this.#isDeferred && !this.#isGated) this.#clock.soon(() => this.#run());
  }

  settle(write: (reply: ReplyWriter) => void): void {
    if (!this.#isDeferred || this.#isClosed) return;
    this.#isDeferred = false;
    this.#writer.reset();
    this.#writer.protocol = this.client.protocol;
    write(this.#writer);
    this.#answer();
    this.#clock.soon(() => this.#run());
  }

  released(): void {
    if (!this.#isGated || this.#isClosed) return;
    this.#isGated = false;
    this.#answer();
    this.#clock.soon(() => this.#run());
  }

  broken(): void {
    if (this.#isGated) this.kill();
  }

  /** Runs what is queued, until something has to wait. */
  #run(): void {
    while (!this.#isClosed && !this.#isDeferred && !this.#isGated) {
      const [first] = this.#queue;
      if (first === undefined) return;
      if (this.#current === undefined) {
        this.#parser.feed(encodeCommand(first.parts));
        const status = this.#parser.next(this.#args);
        assert(status === ParseStatus.command, "an encoded command parses");
        this.#current = this.#args.clone();
      }
      this.#dispatcher.beginTurn();
      this.#writer.reset();
      this.#writer.protocol = this.client.protocol;
      const verdict = this.#dispatcher.dispatch(this.client, this.#current, this.#writer);
      if (verdict === Verdict.held) return;
      if (verdict === Verdict.deferred) {
        this.#isDeferred = true;
        return;
      }
      // RESET makes of it what a client from outside would be.
      if (this.client.lastCommandName === RESET) this.#welcome();
      this.#answer();
    }
  }

  /** How it comes, and comes back with RESET: whoever is in the process needs no password, and is answered in RESP3. */
  #welcome(): void {
    this.client.isAuthenticated = true;
    this.client.protocol = 3;
  }

  #answer(): void {
    const position = this.client.replyAfter;
    this.client.replyAfter = 0;
    if (position > 0 && this.client.replyBreaks !== this.#gate.breaks) return this.kill();
    if (position > 0 && !this.#gate.mayLeave(position)) {
      this.#isGated = true;
      this.#gate.wait(position, this);
      return;
    }
    this.#current = undefined;
    const waiting = this.#queue.shift();
    if (waiting === undefined) return;
    if (this.#writer.length === 0 && this.client.replyMode !== "on") {
      // CLIENT REPLY OFF or SKIP. Here each reply is a promise that somebody waits for: there is none to leave out.
      this.client.replyMode = "on";
      waiting.resolve(null);
      return;
    }
    const reader = new ReplyReader();
    reader.feed(this.#writer.bytes.slice(0, this.#writer.length));
    const value = reader.next();
    if (value === undefined) throw new Fault("every command writes one reply");
    waiting.resolve(value);
  }
}
