/**
 * The real world: clock, chance, sockets, files and log on Bun. The one module of the core that names Bun, Node's I/O or timers; all that it
 * does is to hand calls on, so that what is worth testing lies elsewhere.
 */
import { lookup } from "node:dns/promises";
import { constants, readFileSync } from "node:fs";
import { type FileHandle, mkdir, open, readFile, readdir, rename, statfs, truncate, unlink } from "node:fs/promises";
import { arch, platform, release, totalmem } from "node:os";
import { dirname, join } from "node:path";
import type { Socket as BunSocket, TCPSocketListener } from "bun";
import { messageOf } from "./errors.ts";
import { listenError } from "./listen-error.ts";
import { Metronome } from "./metronome.ts";
import { BunHttpClient, BunHttpDoor, BunPageMaker } from "./world-bun-http.ts";
import {
  type BindOptions,
  type Clock,
  type ConnectOptions,
  type DatagramSocket,
  type Disk,
  type DiskSpace,
  type ListenOptions,
  type Listener,
  type Log,
  type LogFields,
  type Machine,
  NO_SUCH_HOST,
  type Network,
  type Random,
  type Stream,
  type StreamHandler,
  type Timer,
  type World,
} from "./world.ts";

export interface BunWorldOptions {
  /** Directory of the node's files. Without one there is no disk: any use of it is an error. */
  readonly dataDirectory?: string;
  /** The least level that is logged. Default: `info`. */
  readonly logLevel?: LogLevel;
  /** Where log lines go. Default: standard error. */
  readonly writeLine?: (line: string) => void;
}

/** A host name is looked up anew after so long, by whatever is sent there next. */
const RESOLVE_AGAIN_MS = 10_000;
/** More host names than a cluster has nodes. */
const MAX_RESOLVED = 4096;

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";

/** Opens the doors on the real machine. */
export function createBunWorld(options: BunWorldOptions = {}): World {
  return {
    clock: new BunClock(),
    random: new BunRandom(),
    network: new BunNetwork(),
    http: new BunHttpClient(),
    disk: options.dataDirectory === undefined ? new NoDisk() : new BunDisk(options.dataDirectory),
    log: new LineLog(options.logLevel ?? "info", options.writeLine ?? ((line) => process.stderr.write(`${line}\n`))),
    machine: new BunMachine(),
    httpServer: new BunHttpDoor(),
    pages: new BunPageMaker(),
  };
}

class BunClock implements Clock {
  readonly #metronome = new Metronome(
    () => this.monotonicMs(),
    (delayMs, callback) => this.after(delayMs, callback),
  );

  monotonicMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  after(delayMs: number, callback: () => void): Timer {
    // Timers count whole milliseconds: one that came a part of one early would be set anew, and the process woken twice.
    const timer = setTimeout(callback, Math.ceil(delayMs));
    return { cancel: () => clearTimeout(timer) };
  }

  every(periodMs: number, callback: () => void): Timer {
    return this.#metronome.every(periodMs, callback);
  }

  soon(callback: () => void): void {
    setImmediate(callback);
  }
}

class BunRandom implements Random {
  below(bound: number): number {
    return Math.floor(Math.random() * bound);
  }

  fraction(): number {
    return Math.random();
  }

  bytes(count: number): Uint8Array {
    return crypto.getRandomValues(new Uint8Array(count));
  }
}

/** One socket: the handler that it answers to, and the stream that the handler sees. */
class BunStream implements Stream {
  readonly remoteAddress: string;
  readonly localAddress: string;
  handler: StreamHandler | undefined;
  isClosed = false;
  readonly #socket: BunSocket<BunStream | undefined>;
  // While one of the stream's own methods runs, Bun may report the end from within it; the contract says that nobody is called then.
  #isInCall = false;

  constructor(socket: BunSocket<BunStream | undefined>) {
    this.#socket = socket;
    this.remoteAddress = formatAddress(socket.remoteAddress, socket.remotePort);
    this.localAddress = formatAddress(socket.localAddress, socket.localPort);
  }

  write(bytes: Uint8Array, start: number, end: number): number {
    if (this.isClosed || end === start) return 0;
    this.#isInCall = true;
    const taken = this.#socket.write(bytes, start, end - start);
    this.#isInCall = false;
    return taken < 0 ? 0 : taken;
  }

  pause(): void {
    if (!this.isClosed) this.#socket.pause();
  }

  resume(): void {
    if (!this.isClosed) this.#socket.resume();
  }

  end(): void {
    if (this.isClosed) return;
    this.#isInCall = true;
    this.#socket.end();
    this.#isInCall = false;
  }

  destroy(): void {
    if (this.isClosed) return;
    this.#isInCall = true;
    this.#socket.terminate();
    this.#isInCall = false;
  }

  /** The socket is gone. */
  closed(reason: string | undefined): void {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.#isInCall) setImmediate(() => this.handler?.closed(this, reason));
    else this.handler?.closed(this, reason);
  }
}

function formatAddress(host: string | undefined, port: number | undefined): string {
  const name = host ?? "";
  return name.includes(":") ? `[${name}]:${port ?? 0}` : `${name}:${port ?? 0}`;
}

class BunNetwork implements Network {
  listen(options: ListenOptions): Promise<Listener> {
    let listener: TCPSocketListener<BunStream | undefined>;
    try {
      listener = Bun.listen<BunStream | undefined>({
        hostname: options.host,
        port: options.port,
        // A second process on the port must fail, and not share it.
        exclusive: true,
        socket: {
          // What a handler gets is its own for good, and slices of it are copies: of a Buffer they would be views.
          binaryType: "uint8array",
          open(socket) {
            const stream = new BunStream(socket);
            socket.data = stream;
            stream.handler = options.accept(stream);
          },
          data(socket, bytes) {
            const stream = socket.data;
            stream?.handler?.data(stream, bytes);
          },
          drain(socket) {
            const stream = socket.data;
            stream?.handler?.writable(stream);
          },
          close: (socket, error) => socket.data?.closed(error === undefined ? undefined : error.message),
          // Also what a handler threw. Bun leaves the socket open then: the other side would wait for ever.
          error(socket, error) {
            socket.data?.closed(error.message);
            socket.terminate();
          },
          // The other side sends no more: what it is owed was written, so this side closes too.
          end(socket) {
            socket.end();
          },
        },
      });
    } catch (thrown) {
      return Promise.reject(listenError(thrown, options.host, options.port));
    }
    return Promise.resolve({ port: listener.port, close: () => listener.stop() });
  }

  connect(options: ConnectOptions): Stream {
    const stream = new OutgoingStream(options.handler);
    // What is no address it throws at once, and that may be a client's word: it is a stream that does not come about, like any other.
    const connect = async (): Promise<unknown> =>
      Bun.connect<BunStream | undefined>({
        hostname: options.host,
        port: options.port,
        socket: {
          binaryType: "uint8array",
          open(socket) {
            const inner = new BunStream(socket);
            socket.data = inner;
            stream.opened(inner);
          },
          data: (_socket, bytes) => options.handler.data(stream, bytes),
          drain: () => options.handler.writable(stream),
          // By way of the inner one, which knows whether the end comes from within a call of it.
          close: (socket, error) => (socket.data ?? stream).closed(error === undefined ? undefined : error.message),
          error(socket, error) {
            (socket.data ?? stream).closed(error.message);
            socket.terminate();
          },
          connectError: (_socket, error) => stream.closed(whyNotConnected(options, error)),
          end(socket) {
            socket.end();
          },
        },
      });
    connect().catch((thrown: unknown) => stream.closed(whyNotConnected(options, thrown)));
    return stream;
  }

  async bind(options: BindOptions): Promise<DatagramSocket> {
    try {
      const socket = await Bun.udpSocket({
        hostname: options.host,
        port: options.port,
        socket: {
          data: (_socket, bytes, port, host) => options.received(bytes, host, port),
          // That nobody listens where a datagram went: it is lost, as datagrams may be.
          error: () => undefined,
        },
      });
      const sendTo = (bytes: Uint8Array, host: string, port: number): void => {
        try {
          socket.send(bytes, port, host);
        } catch {
          // No way there, or the socket was closed meanwhile: lost as well.
        }
      };
      const addresses = new HostAddresses(options.host.includes(":") ? 0 : 4);
      return {
        port: socket.port,
        send: (bytes, host, port) => {
          const address = addresses.of(host);
          if (address !== undefined) sendTo(bytes, address, port);
        },
        close: () => socket.close(),
      };
    } catch (thrown) {
      throw listenError(thrown, options.host, options.port);
    }
  }
}

/** Why a stream has not come about. */
function whyNotConnected({ host, port }: ConnectOptions, thrown: unknown): string {
  const isUnknown = thrown instanceof Error && "syscall" in thrown && thrown.syscall === "getaddrinfo";
  const message = messageOf(thrown);
  return isUnknown || host === "" || port < 0 ? `${NO_SUCH_HOST}: ${message}` : message;
}

/** Where host names lead, asked for anew now and then, since machines move. */
class HostAddresses {
  readonly #family: 0 | 4;
  readonly #known = new Map<string, { readonly address: string | undefined; readonly askedAtMs: number }>();

  /** @param family Of the addresses that are of use: 4, or 0 for any. */
  constructor(family: 0 | 4) {
    this.#family = family;
  }

  /** @returns `undefined` while it is not known. */
  of(host: string): string | undefined {
    if (/^[0-9.]+$|:/.test(host)) return host;
    const known = this.#known.get(host);
    const nowMs = performance.now();
    if (known === undefined || nowMs - known.askedAtMs > RESOLVE_AGAIN_MS) {
      if (this.#known.size >= MAX_RESOLVED) this.#known.clear();
      this.#known.set(host, { address: known?.address, askedAtMs: nowMs });
      void lookup(host, { family: this.#family }).then(
        ({ address }) => this.#known.set(host, { address, askedAtMs: nowMs }),
        () => undefined,
      );
    }
    return known?.address;
  }
}

/** A stream that is there before its socket is. */
class OutgoingStream implements Stream {
  readonly #handler: StreamHandler;
  #inner: BunStream | undefined;
  #isClosed = false;

  constructor(handler: StreamHandler) {
    this.#handler = handler;
  }

  get remoteAddress(): string {
    return this.#inner?.remoteAddress ?? "";
  }

  get localAddress(): string {
    return this.#inner?.localAddress ?? "";
  }

  opened(inner: BunStream): void {
    if (this.#isClosed) {
      inner.destroy();
      return;
    }
    this.#inner = inner;
    inner.handler = {
      data: () => undefined,
      writable: () => undefined,
      closed: (_stream, reason) => this.closed(reason),
    };
    this.#handler.opened?.(this);
  }

  write(bytes: Uint8Array, start: number, end: number): number {
    return this.#inner?.write(bytes, start, end) ?? 0;
  }

  pause(): void {
    this.#inner?.pause();
  }

  resume(): void {
    this.#inner?.resume();
  }

  end(): void {
    if (this.#inner === undefined) this.destroy();
    else this.#inner.end();
  }

  destroy(): void {
    if (this.#inner !== undefined) this.#inner.destroy();
    else setImmediate(() => this.closed(undefined));
  }

  closed(reason: string | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#inner !== undefined) this.#inner.isClosed = true;
    this.#handler.closed(this, reason);
  }
}

/** A file that was not used for so long is closed: whoever stops using a disk does not say so. */
const UNUSED_MS = 1000;

/** A file that is open for appending. */
interface OpenFile {
  readonly handle: Promise<FileHandle>;
  users: number;
  usedAtMs: number;
}

/**
 * Files under one directory.
 *
 * A log is appended to and synced thousands of times a second. So files that are appended to stay open, and a directory is made durable only when a name
 * in it is new: opening both each time would cost as much as the write.
 */
class BunDisk implements Disk {
  readonly #directory: string;
  readonly #open = new Map<string, OpenFile>();
  // Files whose names are durable.
  readonly #named = new Set<string>();
  #isLooking = false;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async read(path: string): Promise<Uint8Array | undefined> {
    try {
      return await readFile(join(this.#directory, path));
    } catch (thrown) {
      if (isMissing(thrown)) return undefined;
      throw thrown;
    }
  }

  append(path: string, bytes: Uint8Array): Promise<void> {
    return this.#use(path, true, (file) => file.appendFile(bytes));
  }

  sync(path: string): Promise<void> {
    return this.#use(path, false, async (file) => {
      // The length of a file is made durable with its content; the times of its last changes need not be.
      await file.datasync();
      if (this.#named.has(path)) return;
      await syncDirectory(dirname(join(this.#directory, path)));
      this.#named.add(path);
    });
  }

  async truncate(path: string, length: number): Promise<void> {
    await truncate(join(this.#directory, path), length);
    await this.sync(path);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#forget(from);
    await this.#forget(to);
    const [source, target] = [join(this.#directory, from), join(this.#directory, to)];
    await rename(source, target);
    await syncDirectory(dirname(target));
    if (dirname(source) !== dirname(target)) await syncDirectory(dirname(source));
    this.#named.add(to);
  }

  async remove(path: string): Promise<void> {
    await this.#forget(path);
    try {
      await unlink(join(this.#directory, path));
    } catch (thrown) {
      if (isMissing(thrown)) return;
      throw thrown;
    }
    await syncDirectory(dirname(join(this.#directory, path)));
  }

  async list(directory: string): Promise<readonly string[]> {
    try {
      return (await readdir(join(this.#directory, directory))).toSorted();
    } catch (thrown) {
      if (isMissing(thrown)) return [];
      throw thrown;
    }
  }

  /** Does something with a file that is open for appending. @param mayMake It is made if there is none. */
  async #use(path: string, mayMake: boolean, work: (file: FileHandle) => Promise<void>): Promise<void> {
    const file = this.#open.get(path) ?? { handle: this.#openFile(path, mayMake), users: 0, usedAtMs: 0 };
    this.#open.set(path, file);
    file.users += 1;
    try {
      await work(await file.handle);
    } catch (thrown) {
      // One that could not be opened is tried again the next time.
      if (isMissing(thrown) && this.#open.get(path) === file) this.#open.delete(path);
      throw thrown;
    } finally {
      file.users -= 1;
      file.usedAtMs = performance.now();
      this.#closeUnusedLater();
    }
  }

  #closeUnusedLater(): void {
    if (this.#isLooking || this.#open.size === 0) return;
    this.#isLooking = true;
    const timer = setTimeout(() => {
      this.#isLooking = false;
      const oldestMs = performance.now() - UNUSED_MS;
      for (const [path, { users, usedAtMs }] of this.#open) {
        if (users === 0 && usedAtMs < oldestMs) void this.#close(path);
      }
      this.#closeUnusedLater();
    }, UNUSED_MS);
    timer.unref();
  }

  async #openFile(path: string, mayMake: boolean): Promise<FileHandle> {
    const target = join(this.#directory, path);
    try {
      return await open(target, constants.O_WRONLY | constants.O_APPEND);
    } catch (thrown) {
      if (!isMissing(thrown) || !mayMake) throw thrown;
    }
    const firstMade = await mkdir(dirname(target), { recursive: true });
    // New directories are names too, each in the one above it.
    if (firstMade !== undefined) {
      for (let made = dirname(target); made.startsWith(firstMade); made = dirname(made)) {
        await syncDirectory(dirname(made));
      }
    }
    return open(target, "a");
  }

  /** The name is about to be another file's or nobody's. */
  #forget(path: string): Promise<void> {
    this.#named.delete(path);
    return this.#close(path);
  }

  async #close(path: string): Promise<void> {
    const file = this.#open.get(path);
    this.#open.delete(path);
    await file?.handle.then(
      (handle) => handle.close(),
      // Whoever wanted it open was told.
      () => undefined,
    );
  }
}

/** A name is durable only when the directory that holds it is. */
async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await open(path, "r");
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch (thrown) {
    if (!isMissing(thrown)) throw thrown;
  }
}

function isMissing(thrown: unknown): boolean {
  return thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT";
}

/** The disk of a node without a data directory. Whoever keeps files asks for the setting first. */
class NoDisk implements Disk {
  read(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  list(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  append(path: string): Promise<void> {
    return this.#refuse(path);
  }

  sync(path: string): Promise<void> {
    return this.#refuse(path);
  }

  truncate(path: string): Promise<void> {
    return this.#refuse(path);
  }

  rename(path: string): Promise<void> {
    return this.#refuse(path);
  }

  remove(path: string): Promise<void> {
    return this.#refuse(path);
  }

  #refuse(path: string): Promise<void> {
    return Promise.reject(new Error(`Cannot keep "${path}": the node has no data directory (setting "dataDir")`));
  }
}

const LEVELS: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3, silent: 4 };

/** One line an event: time, level, event, fields as name=value. */
class LineLog implements Log {
  readonly #least: number;
  readonly #writeLine: (line: string) => void;

  constructor(level: LogLevel, writeLine: (line: string) => void) {
    this.#least = LEVELS[level];
    this.#writeLine = writeLine;
  }

  debug(event: string, fields?: LogFields): void {
    this.#line("debug", event, fields);
  }

  info(event: string, fields?: LogFields): void {
    this.#line("info", event, fields);
  }

  warn(event: string, fields?: LogFields): void {
    this.#line("warn", event, fields);
  }

  error(event: string, fields?: LogFields): void {
    this.#line("error", event, fields);
  }

  #line(level: LogLevel, event: string, fields: LogFields = {}): void {
    if (LEVELS[level] < this.#least) return;
    const shown = Object.entries(fields).flatMap(([name, value]) =>
      value === undefined ? [] : [`${name}=${typeof value === "string" ? JSON.stringify(value) : String(value)}`],
    );
    this.#writeLine([new Date().toISOString(), level.padEnd(5), event, ...shown].join(" "));
  }
}

class BunMachine implements Machine {
  readonly processId = process.pid;
  readonly system = `${platform()} ${release()} ${arch()}`;
  readonly runtime = `bun ${Bun.version}`;
  #collections = 0;
  #fallen: FinalizationRegistry<undefined> | undefined;

  cpuSeconds(): { user: number; system: number } {
    const { user, system } = process.cpuUsage();
    return { user: user / 1e6, system: system / 1e6 };
  }

  residentBytes(): number {
    return process.memoryUsage.rss();
  }

  heapBytes(): { used: number; held: number } {
    const { heapUsed, heapTotal } = process.memoryUsage();
    return { used: heapUsed, held: heapTotal };
  }

  collections(): number {
    if (this.#fallen === undefined) {
      // Something that nobody holds is gone with the next collection, whose sign it is: then there is another one.
      const fallen = new FinalizationRegistry(() => {
        this.#collections += 1;
        fallen.register({}, undefined);
      });
      fallen.register({}, undefined);
      this.#fallen = fallen;
    }
    return this.#collections;
  }

  totalMemoryBytes(): number {
    return totalmem();
  }

  maxOpenFiles(): number {
    try {
      // Linux tells it here; Bun has raised the limit as far as it may by then.
      const told = /^Max open files +([0-9]+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
      return told === undefined ? Number.POSITIVE_INFINITY : Number(told);
    } catch {
      return Number.POSITIVE_INFINITY;
    }
  }

  async diskSpace(directory: string): Promise<DiskSpace | undefined> {
    try {
      const { bavail, blocks, bsize } = await statfs(directory);
      return { free: bavail * bsize, total: blocks * bsize };
    } catch {
      return undefined;
    }
  }

  readOperatorFile(path: string): Promise<string> {
    return readFile(path, "utf8");
  }
}
