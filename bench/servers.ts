/**
 * The servers that are compared: each a process of its own, started, waited for, asked, stopped.
 *
 * Both serve all 16384 slots in cluster mode, keep nothing on disk, and listen on loopback. Nothing here looks into a
 * server: what benches want to know comes from /proc, from redis-cli, or from replies.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { present } from "../src/assert.ts";
import { runChild } from "./child.ts";

/** A kind of server. */
export interface Subject {
  /** What it is called in tables. */
  readonly name: string;
  /** The command that starts one on a port; it may use the directory, which exists and is empty. */
  readonly command: (port: number, directory: string) => readonly string[];
  /** Whether someone has to give it its slots. */
  readonly needsSlots: boolean;
}

/** A server that runs. */
export interface Server {
  readonly name: string;
  readonly port: number;
  readonly processId: number;
}

/** How long a server may take to answer its first PING. */
const START_TIMEOUT_MS = 15_000;

/** How long the cluster may take to call itself whole. Redis waits for 2 s after a start before it does. */
const CLUSTER_TIMEOUT_MS = 10_000;

/** How long a server may take to stop when it is asked to; then it is killed. */
const STOP_TIMEOUT_MS = 5000;

/** Pause between two attempts at connecting to a server that starts: also how exact a start's time is. */
const CONNECT_PERIOD_MS = 1;

/**
 * Redis, in cluster mode, with nothing on disk.
 *
 * @param name What to call it.
 */
export function redisSubject(name: string): Subject {
  return {
    name,
    needsSlots: true,
    command: (port, directory) => [
      "redis-server",
      ..."--bind 127.0.0.1 --cluster-enabled yes --appendonly no --save".split(" "),
      "",
      "--port",
      String(port),
      "--dir",
      directory,
    ],
  };
}

/**
 * The node of this repository.
 *
 * @param flags Further flags, as `--disable metrics`.
 */
export function bunchSubject(flags: readonly string[]): Subject {
  const entry = join(import.meta.dir, "..", "src", "main.ts");
  return {
    name: "bunch",
    needsSlots: false,
    command: (port) => [process.execPath, entry, "node", "--port", String(port), ...flags],
  };
}

/** Starts servers, and sees to it that all of them are stopped in the end. */
export class Servers {
  readonly #running = new Map<number, { readonly child: Bun.Subprocess; readonly directory: string }>();

  /**
   * Starts a server and waits until it answers.
   *
   * @param subject Which kind.
   * @param port A free port; the one 10,000 above it is taken as well.
   * @returns The server, and the milliseconds from the start of its process to its reply to the first PING.
   * @throws {Error} If it ends or stays silent, with the end of what it printed.
   */
  async launch(subject: Subject, port: number): Promise<{ readonly server: Server; readonly startMs: number }> {
    if (await answersPing(port)) throw new Error(`Cannot start ${subject.name}: something answers on port ${port}`);
    const directory = await mkdtemp(join(tmpdir(), "bunch-bench-"));
    // Files, for nobody would read a pipe, and one that is full stops the server.
    const output = Bun.file(join(directory, "output"));
    const errors = Bun.file(join(directory, "errors"));
    const startedMs = performance.now();
    const child = Bun.spawn([...subject.command(port, directory)], {
      stdin: "ignore",
      stdout: output,
      stderr: errors,
      cwd: directory,
    });
    this.#running.set(child.pid, { child, directory });
    while (!(await answersPing(port))) {
      const hasEnded = child.exitCode !== null || child.signalCode !== null;
      if (hasEnded || performance.now() - startedMs > START_TIMEOUT_MS) {
        const said = `${await output.text()}${await errors.text()}`.slice(-2000).trim();
        const server = { name: subject.name, port, processId: child.pid };
        await this.stop(server);
        throw new Error(`${subject.name} ${hasEnded ? "ended while starting" : "did not answer"}. It said:\n${said}`);
      }
      await Bun.sleep(CONNECT_PERIOD_MS);
    }
    const startMs = performance.now() - startedMs;
    return { server: { name: subject.name, port, processId: child.pid }, startMs };
  }

  /** Starts a server and waits until it serves all slots; else as `launch`. */
  async start(subject: Subject, port: number): Promise<Server> {
    const { server } = await this.launch(subject, port);
    if (subject.needsSlots) await ask(server, ["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    const deadlineMs = performance.now() + CLUSTER_TIMEOUT_MS;
    while (!(await ask(server, ["CLUSTER", "INFO"])).includes("cluster_state:ok")) {
      if (performance.now() > deadlineMs) throw new Error(`${server.name} does not say cluster_state:ok`);
      await Bun.sleep(100);
    }
    return server;
  }

  /** Stops a server and removes what it left on disk. Harmless when repeated. */
  async stop(server: Server): Promise<void> {
    const running = this.#running.get(server.processId);
    if (running === undefined) return;
    this.#running.delete(server.processId);
    running.child.kill("SIGTERM");
    const timer = setTimeout(() => running.child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await running.child.exited;
    clearTimeout(timer);
    await rm(running.directory, { recursive: true, force: true });
  }

  /** Stops all that still run. */
  async stopAll(): Promise<void> {
    const all = [...this.#running.keys()].map((processId) => this.stop({ name: "", port: 0, processId }));
    await Promise.all(all);
  }
}

/**
 * Sends one command with redis-cli.
 *
 * @returns The reply as redis-cli writes it where nobody looks: raw text.
 * @throws {Error} If the server answers with an error or not at all.
 */
export async function ask(server: Server, command: readonly string[]): Promise<string> {
  const { output, errors, code } = await runChild(["redis-cli", "-e", "-p", String(server.port), ...command]);
  if (code !== 0) throw new Error(`${server.name} answered ${command.join(" ")} with: ${(errors + output).trim()}`);
  return output;
}

/**
 * Reads one number of INFO.
 *
 * @returns The number; undefined if the server has no such field.
 */
export async function infoNumber(server: Server, field: string): Promise<number | undefined> {
  return parseInfoNumber(await ask(server, ["INFO", "everything"]), field);
}

/** Finds a field in the text of INFO; undefined if it is not there or is no number. */
export function parseInfoNumber(info: string, field: string): number | undefined {
  const line = info.split(/\r?\n/).find((each) => each.startsWith(`${field}:`));
  if (line === undefined) return undefined;
  const value = Number(line.slice(field.length + 1).trim());
  return Number.isFinite(value) ? value : undefined;
}

/** Connects, sends PING, and says whether a PONG came. */
async function answersPing(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  try {
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, bytes) => resolve(bytes.toString().startsWith("+PONG")),
        close: () => resolve(false),
        error: () => resolve(false),
        connectError: () => resolve(false),
      },
    });
    socket.write("*1\r\n$4\r\nPING\r\n");
    const answer = await promise;
    socket.end();
    return answer;
  } catch {
    return false; // Nobody listens there yet.
  }
}

/** What the figures were measured on, in a line: they mean nothing without it. */
export async function describeMachine(): Promise<string> {
  const cpuInfo = await Bun.file("/proc/cpuinfo").text();
  const model = /^model name\s*:\s*(.+)$/m.exec(cpuInfo)?.[1] ?? "unknown processor";
  const megahertz = /^cpu MHz\s*:\s*([\d.]+)$/m.exec(cpuInfo)?.[1];
  const cores = cpuInfo.match(/^processor\s*:/gm)?.length ?? 0;
  const memoryKibibytes = Number(/^MemTotal:\s+(\d+)/m.exec(await Bun.file("/proc/meminfo").text())?.[1] ?? 0);
  const kernel = (await Bun.file("/proc/sys/kernel/osrelease").text()).trim().replace(/-.*$/, "");
  const load = present((await Bun.file("/proc/loadavg").text()).split(" ")[0], "loadavg begins with a number");
  const redis = /v=([\d.]+)/.exec((await runChild(["redis-server", "--version"])).output)?.[1];
  const clock = megahertz === undefined ? "" : ` at ${(Number(megahertz) / 1000).toFixed(1)} GHz`;
  return [
    `${model}${clock}, ${cores} cores`,
    `${Math.round(memoryKibibytes / 1024 / 1024)} GiB`,
    `Linux ${kernel}`,
    `Bun ${Bun.version}`,
    `redis-server ${redis ?? "?"}`,
    `load average ${load} at the beginning`,
  ].join(", ");
}
