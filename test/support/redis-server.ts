/**
 * A real redis-server for the tests that compare with it.
 *
 * Each test file starts one of its own on a port of its own, with no disk and an empty directory under the system's
 * temporary one, and stops it by its process. Machines without redis-server skip those tests, unless `BUNCH_STRICT=1`:
 * then a missing binary is a failure, so that CI cannot lose them unseen.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

export interface RedisServerOptions {
  /** A port on 127.0.0.1 that nothing else uses. */
  readonly port: number;
  /** Starts it in cluster mode; with no slots assigned. Off by default. */
  readonly cluster?: boolean;
  /** More arguments for its command line, as in `["--proto-max-bulk-len", "1mb"]`. */
  readonly args?: readonly string[];
}

export interface RedisServer {
  readonly port: number;
  /** Its process id, for figures from /proc. */
  readonly processId: number;
  /** Stops it and removes its directory. Harmless when repeated. */
  stop(): Promise<void>;
}

/** Generous: an idle machine needs 20 ms, a CI machine under load has taken seconds. */
const START_DEADLINE_MS = 15_000;
const POLL_PERIOD_MS = 10;

/**
 * Finds redis-server on the path; `BUNCH_REDIS_SERVER` names another binary.
 *
 * @returns The file, or `undefined` if there is none.
 */
export function findRedisServer(): string | undefined {
  const named = process.env["BUNCH_REDIS_SERVER"];
  if (named !== undefined && named !== "") return named;
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    const file = join(directory, "redis-server");
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not in this directory; the next one may have it.
    }
  }
  return undefined;
}

/**
 * Says whether tests that need redis-server are to run: it is there, or `BUNCH_STRICT=1` asks for it.
 *
 * @example
 * ```ts
 * describe.skipIf(!needsRedisServer())("glob, beside redis-server", () => { ... });
 * ```
 */
export function needsRedisServer(): boolean {
  return process.env["BUNCH_STRICT"] === "1" || findRedisServer() !== undefined;
}

/**
 * Starts redis-server and waits until it answers.
 *
 * @throws {Error} If there is no binary, or it ends or stays silent, with what it printed.
 */
export async function startRedisServer(options: RedisServerOptions): Promise<RedisServer> {
  const binary = findRedisServer();
  if (binary === undefined) throw new Error("Cannot start redis-server: none is on the path");
  const directory = mkdtempSync(join(tmpdir(), "bunch-redis-"));
  const args = ["--port", String(options.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  args.push("--dir", directory, "--daemonize", "no");
  if (options.cluster === true) args.push("--cluster-enabled", "yes");
  args.push(...(options.args ?? []));

  const child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] });
  let printed = "";
  const keep = (chunk: Buffer): void => {
    if (printed.length < 10_000) printed += chunk.toString();
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  let ended = false;
  const exited = new Promise<void>((resolve) => {
    const finish = (): void => {
      ended = true;
      resolve();
    };
    child.once("exit", finish);
    child.once("error", (error) => {
      printed += String(error);
      finish();
    });
  });

  // A test run that is broken off would leave its server behind.
  const kill = (): void => {
    child.kill("SIGKILL");
  };
  process.once("exit", kill);

  const stop = async (): Promise<void> => {
    process.off("exit", kill);
    await end(child, exited, () => ended);
    rmSync(directory, { recursive: true, force: true });
  };

  const deadline = performance.now() + START_DEADLINE_MS;
  for (;;) {
    // The child is looked at after each answer: when the port belongs to another server, it is that one which answers.
    const hasAnswered = await answersPing(options.port);
    await pause(POLL_PERIOD_MS);
    if (ended || performance.now() > deadline) {
      await stop();
      throw new Error(`Cannot start redis-server on port ${options.port}: ${printed}`);
    }
    if (hasAnswered && printed.includes("Ready to accept connections")) break;
  }
  return { port: options.port, processId: child.pid ?? 0, stop };
}

/** Asks the process to end, and makes it after a while. */
async function end(child: ChildProcess, exited: Promise<void>, hasEnded: () => boolean): Promise<void> {
  if (hasEnded()) return;
  child.kill("SIGTERM");
  const force = setTimeout(() => child.kill("SIGKILL"), 3_000);
  await exited;
  clearTimeout(force);
}

function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    const finish = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => finish(false));
    socket.once("connect", () => socket.write("PING\r\n"));
    socket.once("data", (chunk) => finish(chunk.toString().startsWith("+PONG")));
    socket.once("error", () => finish(false));
  });
}

function pause(durationMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, durationMs);
  });
}
