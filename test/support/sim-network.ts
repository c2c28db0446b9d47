/**
 * The simulated network between machines, and the doors that processes have to it.
 *
 * Machines are known by their addresses (`10.0.0.1`). Between each two, in each direction, lies a path (`sim-path.ts`)
 * that takes time, may be clogged, and may be cut. Streams (`sim-stream.ts`) get over a cut once it is healed; datagrams
 * that meet one are lost.
 */

import { assert } from "../../src/assert.ts";
import {
  NetworkError,
  type BindOptions,
  type ConnectOptions,
  type DatagramSocket,
  type Listener,
  type ListenOptions,
  type Network,
  type Stream,
} from "../../src/world.ts";
import { Path, type NetworkSettings } from "./sim-path.ts";
import type { SimRandom } from "./sim-random.ts";
import type { SimProcess } from "./sim-scheduler.ts";
import { SimStream, type StreamContext, type StreamMachine } from "./sim-stream.ts";

/** Where the operating system starts to choose ports, as Linux does. */
const FIRST_CHOSEN_PORT = 32_768;

/** UDP's own limit. */
const LARGEST_DATAGRAM_BYTES = 65_507;

/** What fits into one packet; a larger datagram is lost as soon as one of its fragments is. */
const FRAGMENT_BYTES = 1400;

/** The pause before the second attempt to open a stream, in microseconds; it doubles with each one. As Linux does. */
const FIRST_RETRY_US = 1_000_000;

/** How long opening a port takes, in microseconds. */
const OPEN_PORT_US = 50;

/** Something that can be ended. */
export interface Healable {
  heal(): void;
}

/** A machine, as the network sees it. */
export class NetworkMachine implements StreamMachine {
  readonly name: string;
  isPowered = true;
  readonly streams = new Set<SimStream>();
  readonly listeners = new Map<number, OpenListener>();
  readonly sockets = new Map<number, OpenSocket>();
  #nextPort = FIRST_CHOSEN_PORT;

  constructor(name: string) {
    this.name = name;
  }

  choosePort(taken: ReadonlyMap<number, unknown>): number {
    while (taken.has(this.#nextPort)) this.#nextPort++;
    return this.#nextPort++;
  }
}

interface OpenListener {
  readonly process: SimProcess;
  readonly isLocalOnly: boolean;
  readonly accept: ListenOptions["accept"];
}

interface OpenSocket {
  readonly process: SimProcess;
  readonly received: BindOptions["received"];
}

/** What the network did so far. */
export interface NetworkCounts {
  datagramsSent: number;
  datagramsLost: number;
  datagramsDuplicated: number;
  datagramBytes: number;
  streamsOpened: number;
}

/** All machines and the paths between them. */
export class SimNetwork {
  readonly settings: NetworkSettings;
  readonly counts: NetworkCounts = {
    datagramsSent: 0,
    datagramsLost: 0,
    datagramsDuplicated: 0,
    datagramBytes: 0,
    streamsOpened: 0,
  };
  readonly context: StreamContext;
  readonly #random: SimRandom;
  readonly #machines = new Map<string, NetworkMachine>();
  readonly #paths = new Map<string, Path>();
  readonly #cuts = new Set<Healable>();
  readonly #clogs = new Set<Healable>();

  constructor(context: StreamContext, settings: NetworkSettings, random: SimRandom) {
    this.context = context;
    this.settings = settings;
    this.#random = random;
  }

  addMachine(name: string): NetworkMachine {
    assert(!this.#machines.has(name), "each machine has an address of its own");
    const machine = new NetworkMachine(name);
    this.#machines.set(name, machine);
    return machine;
  }

  machine(name: string): NetworkMachine | undefined {
    return this.#machines.get(name);
  }

  /** The path from one machine to another. */
  path(from: string, to: string): Path {
    const key = `${from}>${to}`;
    let path = this.#paths.get(key);
    if (path === undefined) {
      path = new Path(from, to, this.settings, this.#random.fork(key));
      this.#paths.set(key, path);
    }
    return path;
  }

  /** Paths that are cut at present, as `from -> to`. */
  cutPaths(): string[] {
    const cut: string[] = [];
    for (const path of this.#paths.values()) if (path.isCut) cut.push(`${path.from} -> ${path.to}`);
    return cut;
  }

  /** Cuts one direction between two machines, until what this returns is healed. */
  cut(pairs: readonly (readonly [from: string, to: string])[]): Healable {
    const paths = pairs.map(([from, to]) => this.path(from, to));
    for (const path of paths) {
      path.cuts++;
      this.#note(path, "cut");
      if (path.cuts === 1) for (const pipe of path.pipes) pipe.pathCut();
    }
    return this.#once(this.#cuts, () => {
      for (const path of paths) {
        path.cuts--;
        this.#note(path, "cut healed");
        if (!path.isCut) this.#opened(path);
      }
    });
  }

  /** Makes everything that is sent between these machines from here on take longer, until what this returns is healed. */
  clog(pairs: readonly (readonly [from: string, to: string])[], extraMs: number): Healable {
    const paths = pairs.map(([from, to]) => this.path(from, to));
    const extraUs = Math.round(extraMs * 1000);
    for (const path of paths) {
      path.clogUs += extraUs;
      this.#note(path, "clogged");
    }
    return this.#once(this.#clogs, () => {
      for (const path of paths) {
        path.clogUs -= extraUs;
        this.#note(path, "clog healed");
      }
    });
  }

  /** Heals all cuts and clogs. */
  heal(): void {
    for (const fault of [...this.#cuts, ...this.#clogs]) fault.heal();
  }

  /** All open streams, each once (by its connecting or its accepting side). */
  openStreams(): SimStream[] {
    const streams: SimStream[] = [];
    const seen = new Set<SimStream>();
    for (const machine of this.#machines.values()) {
      for (const stream of machine.streams) {
        if (stream.phase !== "open" || seen.has(stream)) continue;
        streams.push(stream);
        seen.add(stream.out.receiver);
      }
    }
    return streams;
  }

  /** The process on a machine was killed; it must be dead already. */
  processKilled(machine: NetworkMachine): void {
    for (const stream of machine.streams) stream.processKilled();
    machine.listeners.clear();
    machine.sockets.clear();
  }

  /** The power of a machine went; its process must be dead already. */
  powerLost(machine: NetworkMachine): void {
    machine.isPowered = false;
    for (const stream of machine.streams) stream.powerLost();
    machine.listeners.clear();
    machine.sockets.clear();
  }

  /** The power is back: whoever still tries to reach a stream of the past is told by the new kernel that there is none. */
  powerRestored(machine: NetworkMachine): void {
    machine.isPowered = true;
    for (const path of this.#paths.values()) {
      if (path.to === machine.name) for (const pipe of path.pipes) pipe.pathOpened();
    }
  }

  /** Opens a stream for a process. */
  connect(process: SimProcess, machine: NetworkMachine, options: ConnectOptions): Stream {
    const target = resolve(machine, options.host);
    const port = machine.choosePort(machine.listeners);
    const { scheduler } = this.context;
    const stream = new SimStream(
      this.context,
      process,
      machine,
      `${machine.name}:${port}`,
      `${target}:${options.port}`,
    );
    stream.handler = options.handler;
    if (!process.isAlive) {
      stream.powerLost();
      return stream;
    }
    const forward = this.path(machine.name, target);
    const departureUs = scheduler.nowFor(process);
    const timeoutUs = departureUs + this.settings.connectTimeoutMs * 1000;
    scheduler.at(timeoutUs, process, "connect times out", () => {
      if (stream.phase === "connecting") stream.finish("timed-out");
    });
    if (forward.random.chance(this.settings.hangChance)) {
      this.#note(forward, "connect hangs");
    } else if (forward.random.chance(this.settings.refuseChance)) {
      this.#refuse(stream, departureUs + forward.latencyUs());
    } else {
      this.#tryToConnect(stream, target, options.port, departureUs, FIRST_RETRY_US);
    }
    return stream;
  }

  /** Sends a datagram, or loses it. */
  send(
    process: SimProcess,
    machine: NetworkMachine,
    fromPort: number,
    bytes: Uint8Array,
    host: string,
    port: number,
  ): void {
    const to = resolve(machine, host);
    const path = this.path(machine.name, to);
    this.counts.datagramsSent++;
    this.counts.datagramBytes += bytes.length;
    const { settings } = this;
    const isLoopback = machine.name === to;
    const lossChance = isLoopback ? 0 : settings.lossChance;
    let isLost = bytes.length > LARGEST_DATAGRAM_BYTES || path.isCut;
    for (let sent = 0; sent < bytes.length && !isLost; sent += FRAGMENT_BYTES) {
      isLost = path.random.chance(lossChance);
    }
    if (isLost) {
      this.counts.datagramsLost++;
      return;
    }
    this.#deliverDatagram(process, path, fromPort, bytes.slice(), port);
    if (!isLoopback && path.random.chance(settings.duplicateChance)) {
      this.counts.datagramsDuplicated++;
      this.#deliverDatagram(process, path, fromPort, bytes.slice(), port);
    }
  }

  #deliverDatagram(sender: SimProcess, path: Path, fromPort: number, bytes: Uint8Array, port: number): void {
    const { scheduler, trace } = this.context;
    const socket = this.#machines.get(path.to)?.sockets.get(port);
    if (socket === undefined) {
      this.counts.datagramsLost++;
      return;
    }
    scheduler.at(scheduler.nowFor(sender) + path.latencyUs(), socket.process, "datagram", () => {
      // The cut may have come while it was on its way, and the socket may have been closed.
      if (path.isCut || this.#machines.get(path.to)?.sockets.get(port) !== socket) {
        this.counts.datagramsLost++;
        return;
      }
      trace.mixBytes(bytes);
      socket.received(bytes, path.from, fromPort);
    });
  }

  #tryToConnect(stream: SimStream, target: string, port: number, departureUs: number, retryUs: number): void {
    const { scheduler } = this.context;
    const forward = this.path(stream.machine.name, target);
    const backward = this.path(target, stream.machine.name);
    const retry = (): void => {
      scheduler.at(departureUs + retryUs, undefined, "connect again", () => {
        if (stream.isGone || stream.phase !== "connecting") return;
        this.#tryToConnect(stream, target, port, scheduler.nowUs, retryUs * 2);
      });
    };
    if (forward.isCut) {
      retry();
      return;
    }
    scheduler.at(departureUs + forward.latencyUs(), undefined, "connect arrives", () => {
      if (stream.isGone || stream.phase !== "connecting") return;
      const machine = this.#machines.get(target);
      if (machine === undefined) {
        scheduler.at(scheduler.nowUs + backward.latencyUs(), stream.process, "connect fails", () =>
          stream.finish("unreachable"),
        );
        return;
      }
      const listener = machine.listeners.get(port);
      const isOpenToIt = listener !== undefined && (!listener.isLocalOnly || machine === stream.machine);
      if (!machine.isPowered || forward.isCut) retry();
      else if (isOpenToIt) this.#accept(stream, machine, listener, forward, backward);
      else if (backward.isCut) retry();
      else this.#refuse(stream, scheduler.nowUs);
    });
  }

  #refuse(stream: SimStream, atUs: number): void {
    const backward = this.path(
      stream.remoteAddress.slice(0, stream.remoteAddress.lastIndexOf(":")),
      stream.machine.name,
    );
    this.context.scheduler.at(atUs + backward.latencyUs(), stream.process, "connect refused", () =>
      stream.finish("refused"),
    );
  }

  /** The kernel there takes the stream at once; its program is told in its next turn. */
  #accept(client: SimStream, machine: NetworkMachine, listener: OpenListener, forward: Path, backward: Path): void {
    const server = new SimStream(this.context, listener.process, machine, client.remoteAddress, client.localAddress);
    SimStream.join(this.context, client, server, forward, backward);
    this.counts.streamsOpened++;
    server.out.send("open");
    this.context.scheduler.at(this.context.scheduler.nowUs, listener.process, "stream accepted", () => {
      if (server.isGone) return;
      // Closed in between: the kernel resets what nobody took.
      if (listener !== machine.listeners.get(portOf(server.localAddress))) server.processKilled();
      else server.handler = listener.accept(server);
    });
  }

  #opened(path: Path): void {
    for (const pipe of path.pipes) pipe.pathOpened();
    for (const pipe of this.path(path.to, path.from).pipes) pipe.wayBackOpened();
  }

  #once(among: Set<Healable>, end: () => void): Healable {
    const fault: Healable = {
      heal: () => {
        if (among.delete(fault)) end();
      },
    };
    among.add(fault);
    return fault;
  }

  #note(path: Path, event: string): void {
    this.context.trace.event(this.context.scheduler.nowUs, path.from, event, `-> ${path.to}`);
  }
}

/** A process' door to the network. */
export class SimNetworkDoor implements Network {
  readonly #network: SimNetwork;
  readonly #machine: NetworkMachine;
  readonly #process: SimProcess;

  constructor(network: SimNetwork, machine: NetworkMachine, process: SimProcess) {
    this.#network = network;
    this.#machine = machine;
    this.#process = process;
  }

  listen(options: ListenOptions): Promise<Listener> {
    const process = this.#process;
    const { listeners } = this.#machine;
    return this.#open(() => {
      const port = this.#checkPort(options.host, options.port, listeners, "listen on");
      const open: OpenListener = { process, isLocalOnly: isLoopback(options.host), accept: options.accept };
      listeners.set(port, open);
      return { port, close: () => closePort(listeners, port, open) };
    });
  }

  connect(options: ConnectOptions): Stream {
    this.#network.context.scheduler.called(this.#process);
    return this.#network.connect(this.#process, this.#machine, options);
  }

  bind(options: BindOptions): Promise<DatagramSocket> {
    const process = this.#process;
    const { sockets } = this.#machine;
    const { scheduler } = this.#network.context;
    return this.#open(() => {
      const port = this.#checkPort(options.host, options.port, sockets, "bind");
      const open: OpenSocket = { process, received: options.received };
      sockets.set(port, open);
      return {
        port,
        send: (bytes, host, toPort) => {
          if (!process.isAlive || sockets.get(port) !== open) return;
          scheduler.called(process);
          this.#network.send(process, this.#machine, port, bytes, host, toPort);
        },
        close: () => closePort(sockets, port, open),
      };
    });
  }

  #open<T>(produce: () => T): Promise<T> {
    const { scheduler } = this.#network.context;
    scheduler.called(this.#process);
    return scheduler.promise(this.#process, scheduler.nowFor(this.#process) + OPEN_PORT_US, "open port", produce);
  }

  #checkPort(host: string, port: number, taken: ReadonlyMap<number, unknown>, verb: string): number {
    const where = `${host}:${port} on ${this.#machine.name}`;
    if (host !== this.#machine.name && !isAnyHost(host) && !isLoopback(host)) {
      throw new NetworkError("address-not-available", `Cannot ${verb} ${where}: the machine has no such address`);
    }
    if (port === 0) return this.#machine.choosePort(taken);
    if (taken.has(port)) throw new NetworkError("address-in-use", `Cannot ${verb} ${where}: the port is in use`);
    return port;
  }
}

function closePort<T>(among: Map<number, T>, port: number, open: T): void {
  if (among.get(port) === open) among.delete(port);
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}

function isAnyHost(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}

function isLoopback(host: string): boolean {
  return host === "127.0.0.1" || host === "localhost" || host === "::1";
}

/** The machine that an address means, seen from `machine`. */
function resolve(machine: NetworkMachine, host: string): string {
  return isLoopback(host) || isAnyHost(host) ? machine.name : host;
}
