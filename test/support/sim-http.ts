/** HTTP servers of a simulated world, as functions: what is posted to them, and what they answer. */
import type { HttpClient, HttpPost } from "../../src/world.ts";
import type { Scheduler, SimProcess } from "./sim-scheduler.ts";

/** What a server makes of a request: a status, after a while; `undefined`: it never answers. */
export type SimHttpServer = (request: HttpPost) => { readonly status: number; readonly afterMs: number } | undefined;

/** A process' door to them. They are told when something is sent; the network between is not simulated. */
export class SimHttp implements HttpClient {
  readonly #scheduler: Scheduler;
  readonly #process: SimProcess;
  readonly #servers: ReadonlyMap<string, SimHttpServer>;

  /** @param servers By what their URLs begin with: `http://hooks.example`. */
  constructor(scheduler: Scheduler, process: SimProcess, servers: ReadonlyMap<string, SimHttpServer>) {
    this.#scheduler = scheduler;
    this.#process = process;
    this.#servers = servers;
  }

  post(request: HttpPost): Promise<number> {
    const scheduler = this.#scheduler;
    scheduler.called(this.#process);
    const { origin } = new URL(request.url);
    const server = this.#servers.get(origin);
    const answer = server === undefined ? { status: 0, afterMs: 1 } : server(request);
    const isInTime = answer !== undefined && answer.afterMs < request.timeoutMs;
    const afterMs = isInTime ? answer.afterMs : request.timeoutMs;
    const atUs = scheduler.nowFor(this.#process) + Math.round(afterMs * 1000);
    return scheduler.promise(this.#process, atUs, "http answer", () => {
      if (server === undefined) throw new Error(`nobody listens at ${origin}`);
      if (!isInTime) throw new Error(`${origin} has not answered within ${request.timeoutMs} ms`);
      return answer.status;
    });
  }
}
