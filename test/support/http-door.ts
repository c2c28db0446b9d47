/** HTTP without sockets: requests are handed to whoever listens, on any world. */
import { present } from "../../src/assert.ts";
import type { Config } from "../../src/config.ts";
import { type Node, createNode } from "../../src/node.ts";
import type { HttpDoor, HttpListenOptions, HttpListener, World } from "../../src/world.ts";
import { createBunWorld } from "../../src/world-bun.ts";

/** Where requests go that say nothing else. */
const LOCAL = "http://localhost:15500";

export interface AskOptions {
  readonly method?: string;
  readonly token?: string;
  /** Sent as JSON. */
  readonly json?: unknown;
  readonly body?: string | Uint8Array<ArrayBuffer> | ReadableStream;
  readonly headers?: Readonly<Record<string, string>>;
  /** Where it comes from. */
  readonly from?: string;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** As JSON. */
  json(): unknown;
}

export class FakeHttpDoor implements HttpDoor {
  #options: HttpListenOptions | undefined;
  /** Told of each answer that is read to its end. */
  onAnswer: (method: string, path: string, answer: Answer) => void = () => undefined;
  /** Requests whose connection is kept open. */
  kept = 0;

  listen(options: HttpListenOptions): HttpListener {
    this.#options = options;
    return { port: options.port === 0 ? 15_500 : options.port, close: () => undefined, destroy: () => this.#close() };
  }

  #close(): void {
    this.#options = undefined;
  }

  /** What was listened with. */
  get options(): HttpListenOptions {
    return present(this.#options, "somebody listens");
  }

  /** Sends a request. */
  async send(path: string, options: AskOptions = {}): Promise<Response> {
    const { method = "GET", token, json, from = "127.0.0.1:40000" } = options;
    const body = json === undefined ? options.body : JSON.stringify(json);
    const headers = new Headers({ host: "localhost:15500", ...options.headers });
    if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
    if (json !== undefined) headers.set("content-type", "application/json");
    // As the other side's machine does.
    if (body !== undefined && !(body instanceof ReadableStream)) {
      const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
      headers.set("content-length", String(bytes.length));
    }
    const request = new Request(`${LOCAL}${path}`, { method, headers, ...(body === undefined ? {} : { body }) });
    return await this.options.handle(request, { remoteAddress: from, keepOpen: () => void (this.kept += 1) });
  }

  /** Sends a request, and reads the answer to its end. */
  async ask(path: string, options: AskOptions = {}): Promise<Answer> {
    const response = await this.send(path, options);
    const text = await response.text();
    const { status, headers } = response;
    const answer = { status, headers, text, json: () => JSON.parse(text) as unknown };
    this.onAnswer(options.method ?? "GET", path, answer);
    return answer;
  }
}

/** Tokens, one for each role. */
export const TOKENS = {
  readToken: "reading-0123456789",
  operateToken: "operating-0123456789",
  adminToken: "administering-0123456789",
} as const;

/** Starts a node that listens to nobody but a door. @param world Parts that differ from the real one. */
export async function startHttpNode(
  config: Config = {},
  world: Partial<World> = {},
): Promise<{ readonly node: Node; readonly door: FakeHttpDoor }> {
  const door = new FakeHttpDoor();
  const node = await createNode({
    world: { ...createBunWorld({ logLevel: "silent" }), httpServer: door, ...world },
    config: { port: 0, ...config, plugins: { resp: false, http: TOKENS, ...config.plugins } },
  });
  await node.start();
  return { node, door };
}
