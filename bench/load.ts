/**
 * The benches' own load generator, run as a process of its own so that it shares no event loop with what measures.
 * redis-benchmark makes most of the load; this does what it cannot: write every key of a range exactly once, draw sizes
 * that change, and hold a rate.
 *
 * `bun bench/load.ts '<LoadOptions as JSON>'` prints one line, LoadReport as JSON. `runLoad` starts it.
 */

import type { Socket } from "bun";
import { present } from "../src/assert.ts";
import { runHelper } from "./child.ts";
import { CommandWriter, Draws, ReplyCounter, scattered } from "./wire.ts";

/** What is to be written. */
interface Target {
  readonly port: number;
  readonly keyPrefix: string;
  readonly keys: number;
  /** Sizes are drawn evenly from here ... */
  readonly lowestValueBytes: number;
  /** ... to here. */
  readonly highestValueBytes: number;
  /** Draws sizes, and for a paced load keys. */
  readonly seed: number;
}

/** Once over all keys, as fast as the server takes it. */
export interface FillOptions extends Target {
  readonly kind: "fill" | "delete";
  /** Neighbours in memory are seldom written one after the other in a real load. */
  readonly order: "ascending" | "scattered";
}

/** Random keys at a fixed rate. */
export interface PacedOptions extends Target {
  readonly kind: "paced";
  readonly perSecond: number;
  readonly seconds: number;
}

export type LoadOptions = FillOptions | PacedOptions;

export interface LoadReport {
  readonly commands: number;
  readonly seconds: number;
  /** Commands that a paced load left out because the server (or this process) had stood still. */
  readonly skipped: number;
}

/** Enough that one connection's batch is always being worked on while others are on their way. */
const CONNECTIONS = 4;

/** Commands that a connection sends at once when it fills. */
const FILL_BATCH = 500;

/** How often a paced load sends, in milliseconds. */
const PACE_PERIOD_MS = 2;

/** A paced load never makes up for more than this many periods, so that a stop is not followed by a burst. */
const PACE_CATCH_UP_PERIODS = 5;

/** One connection: a batch goes out, its replies come back. */
class Connection {
  readonly writer: CommandWriter;
  #outstanding = 0;
  #sent = 0;
  #socket: Socket | undefined;
  readonly #replies = new ReplyCounter();
  readonly #idle: (connection: Connection) => void;

  /** @param idle Called when all replies to the batch are there. */
  constructor(writer: CommandWriter, idle: (connection: Connection) => void) {
    this.writer = writer;
    this.#idle = idle;
  }

  async open(port: number, fail: (error: Error) => void): Promise<void> {
    this.#socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, bytes) => {
          try {
            this.#outstanding -= this.#replies.count(bytes);
          } catch (error) {
            fail(error as Error);
            return;
          }
          if (this.#outstanding === 0) this.#idle(this);
        },
        drain: () => this.#flush(),
        close: () => fail(new Error("The server closed the connection")),
        error: (_, error) => fail(error),
      },
    });
  }

  get isIdle(): boolean {
    return this.#outstanding === 0;
  }

  /** Sends what was written to `writer`. */
  send(commands: number): void {
    this.#outstanding = commands;
    this.#sent = 0;
    this.#flush();
  }

  #flush(): void {
    const { buffer, length } = this.writer;
    if (this.#sent === length) return;
    const taken = present(this.#socket, "the connection is open").write(buffer, this.#sent, length - this.#sent);
    this.#sent += Math.max(0, taken);
  }
}

/**
 * Runs the load generator in a process of its own.
 *
 * @param options What to write.
 * @returns What it did, once it has ended.
 * @throws {Error} If the server answered with an error or went away.
 */
export async function runLoad(options: LoadOptions): Promise<LoadReport> {
  return (await runHelper(import.meta.path, options)) as LoadReport;
}

async function openConnections(
  options: LoadOptions,
  batch: number,
  idle: (connection: Connection) => void,
  fail: (error: Error) => void,
): Promise<readonly Connection[]> {
  const capacityBytes = batch * (options.highestValueBytes + options.keyPrefix.length + 128);
  const connections = Array.from(
    { length: CONNECTIONS },
    () => new Connection(new CommandWriter(options.keyPrefix, capacityBytes, options.highestValueBytes), idle),
  );
  await Promise.all(connections.map((connection) => connection.open(options.port, fail)));
  return connections;
}

async function fill(options: FillOptions): Promise<LoadReport> {
  const draws = new Draws(options.seed);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let next = 0;
  const sendBatch = (connection: Connection) => {
    const { writer } = connection;
    const end = Math.min(options.keys, next + FILL_BATCH);
    const count = end - next;
    writer.clear();
    for (; next < end; next++) {
      const key = options.order === "ascending" ? next : scattered(next, options.keys);
      if (options.kind === "delete") writer.delete(key);
      else writer.set(key, draws.between(options.lowestValueBytes, options.highestValueBytes));
    }
    if (count > 0) connection.send(count);
    else if (connections.every((each) => each.isIdle)) resolve();
  };
  const connections = await openConnections(options, FILL_BATCH, sendBatch, reject);
  const startedMs = performance.now();
  for (const connection of connections) sendBatch(connection);
  await promise;
  return { commands: options.keys, seconds: (performance.now() - startedMs) / 1000, skipped: 0 };
}

async function paced(options: PacedOptions): Promise<LoadReport> {
  const draws = new Draws(options.seed);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const largestBatch = Math.ceil((options.perSecond / 1000) * PACE_PERIOD_MS * PACE_CATCH_UP_PERIODS);
  const connections = await openConnections(options, largestBatch, () => undefined, reject);
  const startedMs = performance.now();
  let sent = 0;
  let skipped = 0;
  const timer = setInterval(() => {
    const elapsedMs = performance.now() - startedMs;
    if (elapsedMs >= options.seconds * 1000) {
      clearInterval(timer);
      resolve();
      return;
    }
    const due = Math.floor((elapsedMs * options.perSecond) / 1000) - sent - skipped;
    if (due > largestBatch) skipped += due - largestBatch;
    const connection = connections.find((each) => each.isIdle);
    if (connection === undefined || due <= 0) return;
    const count = Math.min(due, largestBatch);
    connection.writer.clear();
    for (let index = 0; index < count; index++) {
      connection.writer.set(
        draws.between(0, options.keys - 1),
        draws.between(options.lowestValueBytes, options.highestValueBytes),
      );
    }
    connection.send(count);
    sent += count;
  }, PACE_PERIOD_MS);
  await promise;
  return { commands: sent, seconds: (performance.now() - startedMs) / 1000, skipped };
}

if (import.meta.main) {
  const options = JSON.parse(present(process.argv[2], "the options come as JSON")) as LoadOptions;
  const report = options.kind === "paced" ? await paced(options) : await fill(options);
  process.stdout.write(`${JSON.stringify(report)}\n`);
  process.exit(0);
}
