/**
 * The world: the only doors from a node to the outside.
 *
 * Everything that a node cannot compute by itself (the time, chance, other machines, disks, the log) comes through one of
 * the interfaces below. There are two worlds: `world-bun.ts` opens the doors on the real machine; the simulated one
 * (`test/support/`) runs many nodes in one process on virtual time, from a seed. Code that takes its world as a parameter
 * behaves the same in both, and a run in the simulated one can be repeated byte for byte.
 *
 * No call here blocks; what takes time answers through a callback or a promise, always in a later turn of the event loop.
 */

/** Everything outside of a node. */
export interface World {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: Network;
  readonly http: HttpClient;
  readonly disk: Disk;
  readonly log: Log;
  readonly machine: Machine;
  /** Missing where nobody comes by HTTP: in simulation. */
  readonly httpServer?: HttpDoor;
  /** Missing where nobody looks at pages: in simulation. */
  readonly pages?: PageMaker;
}

/** Time and timers. */
export interface Clock {
  /** Milliseconds since some moment before the start, with fractions. Never goes back; stands still while the machine is suspended. */
  monotonicMs(): number;
  /** Milliseconds since 1970 as the machine believes them, whole. May jump either way. */
  wallMs(): number;
  /** Calls `callback` once, no earlier than `delayMs` from here. */
  after(delayMs: number, callback: () => void): Timer;
  /** Calls `callback` again and again, `periodMs` apart; for the first time after one to two of them, so that periods can share their wake-ups. */
  every(periodMs: number, callback: () => void): Timer;
  /** Calls `callback` in the next turn of the event loop, after what has already arrived was handled. */
  soon(callback: () => void): void;
}

/** Something that `Clock` will call. */
export interface Timer {
  /** Stops it. Once this returns the callback is not called again. Harmless when repeated. */
  cancel(): void;
}

/** Chance. Seeded in simulation; never used for secrets (`bytes` is the one exception). */
export interface Random {
  /** A whole number, evenly from 0 to `bound - 1`. `bound` is 1 to 2^31. */
  below(bound: number): number;
  /** A number, evenly from 0 up to, but not including, 1. */
  fraction(): number;
  /** `count` bytes fit for ids and secrets: from the operating system in the real world. */
  bytes(count: number): Uint8Array;
}

/** Other machines, and clients. */
export interface Network {
  /**
   * Listens for streams.
   *
   * @returns The listener, once the port is open.
   * @throws {NetworkError} `address-in-use`, `address-not-available` or `not-permitted`, naming host and port.
   */
  listen(options: ListenOptions): Promise<Listener>;
  /**
   * Opens a stream. The handler's `opened` is called when the other side took it, or `closed` when it did not.
   *
   * @returns The stream, which takes no bytes before it is open.
   */
  connect(options: ConnectOptions): Stream;
  /**
   * Opens a datagram socket. Datagrams may vanish, come twice, late, or in another order; never cut or damaged.
   *
   * @throws {NetworkError} As `listen`.
   */
  bind(options: BindOptions): Promise<DatagramSocket>;
}

export interface ListenOptions {
  readonly host: string;
  /** 0 lets the machine choose. */
  readonly port: number;
  /** Called for each stream that a peer opens; answers with what handles it. The stream is open already. */
  readonly accept: (stream: Stream) => StreamHandler;
}

export interface Listener {
  /** The port that is listened on (the chosen one, if 0 was asked for). */
  readonly port: number;
  /** Takes no more streams. Open ones stay. */
  close(): void;
}

export interface ConnectOptions {
  readonly host: string;
  readonly port: number;
  readonly handler: StreamHandler;
}

/** An ordered, reliable stream of bytes, until it is closed. Nothing says whether bytes that were written have arrived. */
export interface Stream {
  /** The other side, as `address:port`. */
  readonly remoteAddress: string;
  /** This side, as `address:port`. */
  readonly localAddress: string;
  /**
   * Hands bytes to the machine, which copies them.
   *
   * @returns How many of them it took, from the first on. Fewer than asked: its buffer is full; offer the rest again after
   * `writable`. 0 once the stream is closed.
   */
  write(bytes: Uint8Array, start: number, end: number): number;
  /** Takes no more bytes from the other side until `resume`; the sender's machine fills up and waits. */
  pause(): void;
  resume(): void;
  /** Sends what was taken, then closes. `closed` follows. */
  end(): void;
  /** Closes at once; bytes on their way may be lost. `closed` follows. Harmless when repeated. */
  destroy(): void;
}

/** What a stream was to is no address, and no name that leads to one. */
export const NO_SUCH_HOST = "no such host";

/** What happens on a stream. No call comes after `closed`, and none from within a call to the stream's own methods. */
export interface StreamHandler {
  /** The stream that `connect` gave is open. Not called for accepted ones. */
  opened?(stream: Stream): void;
  /** Bytes came. The array belongs to the handler from here on. */
  data(stream: Stream, bytes: Uint8Array): void;
  /** After a write that was not taken whole: there is room again. */
  writable(stream: Stream): void;
  /**
   * The end. Called once, whoever closed it.
   *
   * @param reason `undefined` after an orderly end, else what happened (`refused`, `reset`, `unreachable` ...); it begins with `NO_SUCH_HOST` where there was nobody to ask.
   */
  closed(stream: Stream, reason: string | undefined): void;
}

export interface BindOptions {
  readonly host: string;
  readonly port: number;
  /** A datagram came. The array belongs to the callee. */
  readonly received: (bytes: Uint8Array, fromHost: string, fromPort: number) => void;
}

export interface DatagramSocket {
  readonly port: number;
  /** Sends one datagram, or drops it: nothing tells. At most 65,507 bytes; those under 1,400 travel well. */
  send(bytes: Uint8Array, host: string, port: number): void;
  close(): void;
}

/** Requests over HTTP. */
export interface HttpDoor {
  /**
   * Listens for requests.
   *
   * @returns The listener, once the port is open.
   * @throws {NetworkError} As `Network.listen`.
   */
  listen(options: HttpListenOptions): HttpListener;
}

export interface HttpListenOptions {
  readonly host: string;
  /** 0 lets the machine choose. */
  readonly port: number;
  /** A connection on which nothing comes or goes for so many seconds is closed; 1 to 255. */
  readonly idleTimeoutS: number;
  /** A request with a longer body is refused by the machine itself, with a bare 413. */
  readonly maxBodyBytes: number;
  /** Answers each request. Never rejects. */
  readonly handle: (request: Request, peer: HttpPeer) => Promise<Response>;
}

/** Where a request came from. */
export interface HttpPeer {
  /** The other side, as `address:port`. */
  readonly remoteAddress: string;
  /** The connection of this request is not closed for being silent. */
  keepOpen(): void;
}

export interface HttpListener {
  /** The port that is listened on (the chosen one, if 0 was asked for). */
  readonly port: number;
  /** Takes no more connections. Requests that are being answered go on. */
  close(): void;
  /** Closes all connections at once. */
  destroy(): void;
}

/**
 * Other people's HTTP servers, to which a node has something to say. That is all of it: what comes back is a number.
 *
 * It is a door of its own, and not made of streams, since most of them want TLS, which the machine's own client has.
 */
export interface HttpClient {
  /**
   * Posts a text, as JSON. Redirects are not followed.
   *
   * @returns The status of the answer.
   * @throws In words, if there is no answer within the time.
   */
  post(request: HttpPost): Promise<number>;
}

export interface HttpPost {
  /** `http:` or `https:`. */
  readonly url: string;
  readonly body: string;
  /** Of the header `Authorization`; `undefined`: there is none. */
  readonly authorization: string | undefined;
  readonly timeoutMs: number;
}

/** Makes pages for browsers of their sources, which the machine has. */
export interface PageMaker {
  /**
   * Makes a page: its sources are put together, without what only people need.
   *
   * @param name Of the file in `web/`, without `.html`.
   * @param base The path under which its files are asked for; begins and ends with a slash.
   * @returns The page itself first, then what it refers to.
   * @throws {Error} If that cannot be done.
   */
  make(name: string, base: string): Promise<readonly PageFile[]>;
}

/** A file of a page. */
export interface PageFile {
  /** Below the base. Of all but the page itself it has the sum of what is in it, so that what is asked for by it never changes. */
  readonly name: string;
  /** Its media type. */
  readonly type: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/**
 * A tree of files under one directory, the node's own. Paths are relative, with `/`.
 *
 * Nothing is durable before `sync` of that file has returned: a crash may lose any part of what was not synced, and may
 * tear the last write. The creation, renaming and removal of a file is durable when its promise is fulfilled.
 */
export interface Disk {
  /** Reads a whole file; `undefined` if there is none. */
  read(path: string): Promise<Uint8Array | undefined>;
  /** Adds bytes at the end of a file, which is made if there is none. */
  append(path: string, bytes: Uint8Array): Promise<void>;
  /** Returns when everything appended to the file before is durable. */
  sync(path: string): Promise<void>;
  /** Cuts a file to `length` bytes, durably. */
  truncate(path: string, length: number): Promise<void>;
  /** Renames a file over another, durably and in one step. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; nothing happens if there is none. */
  remove(path: string): Promise<void>;
  /** The names in a directory, sorted; empty if there is none. */
  list(directory: string): Promise<readonly string[]>;
}

/** What the node tells about itself: events with fields, one line each. Levels: `debug` is off by default. */
export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
}

export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** What the process and the machine are and have. Zero, fixed or missing in simulation. */
export interface Machine {
  /** The process' id. */
  readonly processId: number;
  /** Operating system and architecture, in words. */
  readonly system: string;
  /** The runtime and its version. */
  readonly runtime: string;
  /** CPU seconds that the process has used so far. */
  cpuSeconds(): { readonly user: number; readonly system: number };
  /** Bytes that the process holds in memory. */
  residentBytes(): number;
  /** Bytes of the JavaScript heap: those that live things take up, and those that are held for it. */
  heapBytes(): { readonly used: number; readonly held: number };
  /** Garbage collections, since this was asked for the first time: the runtime does not count them. */
  collections(): number;
  /** Bytes of memory that the machine has. */
  totalMemoryBytes(): number;
  /** How much room there is where a directory is; `undefined` if the machine does not tell. */
  diskSpace(directory: string): Promise<DiskSpace | undefined>;
  /** How many files and sockets the process may have open at a time; `Infinity` if the machine does not tell. */
  maxOpenFiles(): number;
  /** Reads a file of the operator's as text, such as one that holds a secret. @throws What the machine says, if it cannot be read. */
  readOperatorFile(path: string): Promise<string>;
}

/** In bytes. */
export interface DiskSpace {
  /** For this process. */
  readonly free: number;
  readonly total: number;
}

export type NetworkErrorCode = "address-in-use" | "address-not-available" | "not-permitted" | "failed";

/** The network said no. The message names host and port. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";
  readonly code: NetworkErrorCode;

  constructor(code: NetworkErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
