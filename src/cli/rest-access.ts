/** A cluster that runs, by way of the address that one of its nodes has for operators: what REST tells, or why it tells nothing. */
import { Option, type Command } from "commander";
import { HTTP_PORT_OFFSET } from "../config.ts";
import { StartError, messageOf } from "../errors.ts";
import { PROBLEM_MEDIA_TYPE } from "../http/problem.ts";
import { formatAddress, isEveryAddress, parseAddress } from "../net-address.ts";
import { harmless, parseHarmless } from "./terminal.ts";

export interface RestFlags {
  readonly http?: string;
  readonly node: string;
  readonly token?: string;
  /** What is told goes to a program, as it is; else to a terminal. */
  readonly json?: boolean;
}

/** How long a node may take, for connecting and for the whole of its answer. */
const PATIENCE_MS = 10_000;

/** What the runtime's codes mean. */
const WHY_SILENT: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nobody listens there",
  ConnectionRefused: "nobody listens there",
  ECONNRESET: "the connection was closed without an answer",
  ConnectionClosed: "the connection was closed without an answer",
  ENOTFOUND: "there is no such host",
  DNSResolveFailed: "there is no such host",
};

/** Adds the flags that say which node is asked, and who asks. */
export function withRest(command: Command): Command {
  return withOperatorsDoor(
    command.option("--node <host:port>", "a node of the cluster, by the address of its clients", "127.0.0.1:6379"),
    `default: the port of --node + ${HTTP_PORT_OFFSET}`,
  );
}

/** The flags for the port for operators alone. @param more What its address means to the command. */
export function withOperatorsDoor(command: Command, more: string): Command {
  return command
    .option("--http <address>", `where it listens for operators, such as 127.0.0.1:15500 or https://proxy (${more})`)
    .addOption(
      new Option("--token <token>", "a bearer token that may read; better in the environment").env("BUNCH_TOKEN"),
    );
}

/** A node that said no, or nothing. */
export class RestError extends StartError {
  /** 0: it did not answer. */
  readonly status: number;
  /** It said that the question makes no sense. */
  readonly isAboutQuestion: boolean;

  constructor(status: number, message: string, isAboutQuestion = false) {
    super(message);
    this.status = status;
    this.isAboutQuestion = isAboutQuestion;
  }
}

/** @returns The URL that everything is asked under, without a slash at its end. @throws {StartError} If the flags name none. */
function baseOf({ http, node }: RestFlags): string {
  if (http !== undefined) {
    const url = URL.parse(/^https?:\/\//.test(http) ? http : `http://${http}`);
    if (url === null || url.hostname === "" || url.search !== "" || url.username !== "")
      throw new StartError(`"${http}" is no address: it must be HOST:PORT, or a URL such as https://proxy.`);
    return url.href.replace(/\/$/, "");
  }
  const address = parseAddress(node);
  if (address === undefined)
    throw new StartError(`"${node}" is no address of a node: it must be HOST:PORT, such as 127.0.0.1:6379.`);
  const port = address.port + HTTP_PORT_OFFSET;
  if (port > 65_535)
    throw new StartError(`A node at port ${address.port} has no usual port for operators: name it with --http.`);
  return `http://${formatAddress({ host: address.host, port })}`;
}

/** What a node says of a path that every node has that tells of the cluster. */
const NO_PATH = /^(Nothing is served at this|There is no such) path/;

export class RestAccess {
  readonly base: string;
  readonly #token: string | undefined;
  readonly #isForPrograms: boolean;

  /** @throws {StartError} If the flags name no address. */
  constructor(flags: RestFlags) {
    this.base = baseOf(flags);
    this.#token = flags.token === "" ? undefined : flags.token;
    this.#isForPrograms = flags.json === true;
  }

  /** The same caller at another node. @param address `host:port`, where it listens for operators. */
  at(address: string): RestAccess {
    const there = parseAddress(address);
    // Who listens everywhere is reached where the others are.
    const isEverywhere = there !== undefined && isEveryAddress(there.host);
    return new RestAccess({
      node: "",
      http: isEverywhere ? `${new URL(this.base).hostname}:${there.port}` : address,
      json: this.#isForPrograms,
      ...(this.#token === undefined ? {} : { token: this.#token }),
    });
  }

  /** @returns What a node tells at a path, as JSON. @throws {RestError} Why it does not. */
  async get<Body>(path: string): Promise<Body> {
    const text = await this.text(path);
    try {
      return (this.#isForPrograms ? JSON.parse(text) : parseHarmless(text)) as Body;
    } catch {
      throw this.#noNode();
    }
  }

  /** @returns What it tells as text. @throws {RestError} Why it does not. */
  async text(path: string, patienceMs = PATIENCE_MS): Promise<string> {
    const response = await this.open(path, AbortSignal.timeout(patienceMs));
    return await response.text().catch((thrown: unknown) => {
      throw this.#silent(thrown);
    });
  }

  /** @returns An answer that is to be read. @throws {RestError} Why there is none. */
  async open(path: string, signal: AbortSignal, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
    const authorization: Record<string, string> =
      this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` };
    let response: Response;
    try {
      response = await fetch(`${this.base}${path}`, {
        headers: { ...authorization, ...headers },
        redirect: "manual",
        signal,
      });
    } catch (thrown) {
      throw this.#silent(thrown);
    }
    if (!response.ok) throw await this.#refusal(response);
    // A web server that answers everything with a page is none.
    if (response.headers.get("content-type")?.startsWith("text/html") === true) throw this.#noNode();
    return response;
  }

  async #refusal(response: Response): Promise<RestError> {
    const isProblem = response.headers.get("content-type")?.startsWith(PROBLEM_MEDIA_TYPE) === true;
    const body = isProblem ? ((await response.json().catch(() => undefined)) as { detail?: unknown } | undefined) : {};
    const { status } = response;
    const said = typeof body?.detail === "string" ? body.detail : undefined;
    if (said === undefined) return this.#noNode(status);
    const hint =
      status === 401
        ? this.#token === undefined
          ? " Give one with --token, or in the environment's BUNCH_TOKEN."
          : " Look at --token, and at the environment's BUNCH_TOKEN."
        : status === 404 && NO_PATH.test(said)
          ? " Its plugin rest is off, or it is of another version: ask another node."
          : "";
    return new RestError(status, `The node at ${this.base} says: ${harmless(said)}${hint}`, status === 422);
  }

  #noNode(status = 0): RestError {
    const told = status === 0 ? "" : ` (it says ${status})`;
    return new RestError(
      status,
      `What answers at ${this.base} is no node of bunch, or not its port for operators${told}.`,
    );
  }

  #silent(thrown: unknown): RestError {
    const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : "";
    const isLate = thrown instanceof Error && thrown.name === "TimeoutError";
    const why = isLate ? "it has not answered in time" : (WHY_SILENT[code] ?? messageOf(thrown).replace(/[. ]+$/, ""));
    return new RestError(
      0,
      `Cannot ask the node at ${this.base}: ${why}. If it is somewhere else: --node names it by the address of its clients (the first one of bun start: --node 127.0.0.1:7001), --http by the one for operators, by default the clients' port + ${HTTP_PORT_OFFSET}. If it is there, it may be down: ask another one.`,
    );
  }
}
