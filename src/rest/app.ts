/**
 * The operations of REST, put together: one application of Elysia. Elysia takes a tenth of a second to load, so whoever needs this imports it when the first
 * request comes.
 *
 * What a request lacks or has too much is found by the schemas; what went wrong is thrown, and one handler makes what is told of it. The text of what others throw
 * is not for callers: it leaves through `failed`.
 */
import { Elysia, ParseError, ValidationError } from "elysia";
import type { HttpCaller, HttpRole } from "../contracts/http.ts";
import { Problem } from "../http/problem.ts";
import { includes } from "../http/roles.ts";
import { Callers, type Detail, invalid, invalidField, shown } from "./api.ts";
import { clusterReads } from "./cluster-reads.ts";
import { documentation } from "./documentation.ts";
import { nodeChanges } from "./node-changes.ts";
import { eventStream } from "./event-stream.ts";
import type { EventStreams } from "./events.ts";
import { explanations } from "./explanations.ts";
import { healthReads } from "./health.ts";
import { keyOperations } from "./keys.ts";
import { type DescribedRoute, openApiOf } from "./openapi.ts";
import { planOperations } from "./plans.ts";
import { shardChanges } from "./shard-changes.ts";
import { slotChanges } from "./slot-changes.ts";
import type { RestSources } from "./sources.ts";
import { statsReads } from "./stats.ts";

/** How long a change waits until this node knows what was agreed before; without it the leader decides all the same, and may refuse. */
const FRESH_MS = 1000;

/** In characters, with the port. */
const SHORTEST_HOST = 4;

/** Answers requests. */
export interface RestHandler {
  /** @throws {Problem} What is said to the caller; or anything else, which is not. */
  handle(request: Request, caller: HttpCaller): Promise<Response>;
}

/** The application itself: its type is what clients are typed by. */
export function createApp(
  sources: RestSources,
  events: EventStreams,
  callers: Callers,
  failures: WeakMap<Request, unknown>,
  document: () => string,
) {
  return (
    // Unknown fields are refused by the schemas: without this they would be dropped instead.
    new Elysia({ normalize: false, strictPath: true })
      .onError(({ error, request }) => {
        failures.set(request, error);
        // It is made where all are made.
        return new Response(null, { status: 500 });
      })
      .use(clusterReads(sources, callers))
      .use(healthReads(sources, callers))
      .use(statsReads(sources, callers))
      .use(nodeChanges(sources, callers))
      .use(slotChanges(sources, callers))
      .use(shardChanges(sources, callers))
      .use(planOperations(sources, callers))
      .use(keyOperations(sources, callers))
      .use(explanations(sources, callers))
      .use(eventStream(events, callers))
      .use(documentation(callers, document))
  );
}

/** @param version Of the program. */
export function createRest(sources: RestSources, events: EventStreams, version: string): RestHandler {
  const callers = new Callers();
  const failures = new WeakMap<Request, unknown>();
  let document = "";
  const app = createApp(sources, events, callers, failures, () => document);
  const described: readonly DescribedRoute[] = app.routes;
  document = JSON.stringify(openApiOf(described, version));
  const routes = described.map(({ method, path, hooks }): KnownRoute => {
    // Each route has it: `needs` makes it.
    const detail = hooks.detail as Detail;
    return {
      method,
      pattern: patternOf(path),
      role: detail.role,
      cost: detail.cost ?? 1,
      namesKey: detail.namesKey === true,
      takesBody: hooks.body !== undefined || detail.bodyType !== undefined,
    };
  });

  /** What is said of a path and method that no route has. */
  const unknownRoute = (request: Request): Problem => {
    const { pathname } = new URL(request.url);
    const methods = routes.filter(({ pattern }) => pattern.test(pathname)).map(({ method }) => method);
    if (methods.length === 0) return new Problem("not-found", "There is no such path.");
    return new Problem("method-not-allowed", `This path takes ${methods.join(", ")}.`, {
      headers: { allow: methods.join(", ") },
    });
  };
  const problemOf = (thrown: unknown, request: Request): unknown => {
    if (thrown instanceof ValidationError) {
      if (thrown.type === "response") return new Error(`an answer does not fit its schema: ${thrown.message}`);
      return invalid(thrown.type, thrown.all);
    }
    if (thrown instanceof ParseError) {
      return thrown.cause instanceof Problem ? thrown.cause : new Problem("bad-request", "The body cannot be read.");
    }
    const isUnknown = thrown instanceof Error && "code" in thrown && thrown.code === "NOT_FOUND";
    return isUnknown ? unknownRoute(request) : thrown;
  };

  return {
    async handle(request, caller) {
      const { pathname, search, host } = new URL(request.url);
      // Elysia looks for the path behind the shortest host that it knows of. What the path is said to be part of does not matter here.
      const isPlain = host.length >= SHORTEST_HOST && !request.url.includes("#");
      const url = isPlain ? request.url : `http://localhost${pathname}${search}`;
      // Of a HEAD the runtime leaves the body out by itself.
      let asked =
        request.method === "HEAD"
          ? new Request(url, { headers: request.headers })
          : isPlain
            ? request
            : new Request(url, request);
      callers.set(asked, caller);
      const route = routes.find(({ method, pattern }) => method === asked.method && pattern.test(pathname));
      if (route !== undefined) {
        callers.allow(asked, route.role);
        if (route.cost > 1) caller.charge(route.cost);
        refuseTwice(asked);
        if (route.namesKey && request.url.includes("#"))
          throw new Problem(
            "bad-request",
            "A # of a key is written %23: what is behind one that stands there is lost.",
          );
        if (!route.takesBody && asked.body === null) refuseUnreadBody(request);
        if (!route.takesBody && asked.body !== null) asked = await withoutBody(asked);
        callers.set(asked, caller);
      }
      const isChange = asked.method !== "GET" && pathname.startsWith("/cluster/");
      // Somebody may have been told by another node what this one has not applied yet, and act on it here.
      if (isChange && includes(caller.role, "operate")) await sources.consensus?.barrier(FRESH_MS);
      const response = await app.handle(asked);
      if (failures.has(asked)) throw problemOf(failures.get(asked), asked);
      if (request.method !== "HEAD" || response.headers.get("content-type") !== "text/event-stream") return response;
      // Nobody would ever read it.
      await response.body?.cancel();
      return new Response(null, { status: response.status, headers: response.headers });
    },
  };
}

interface KnownRoute {
  readonly method: string;
  readonly pattern: RegExp;
  readonly role: HttpRole;
  readonly cost: number;
  readonly takesBody: boolean;
  readonly namesKey: boolean;
}

/** Refuses a parameter that is there twice: one of them would be left out. @throws {Problem} */
function refuseTwice({ url }: Request): void {
  const seen = new Set<string>();
  for (const name of new URL(url).searchParams.keys()) {
    if (seen.has(name)) throw invalidField("query", `/${shown(name)}`, "must not be there twice");
    seen.add(name);
  }
}

/** In bytes: an object without fields. */
const EMPTY_OBJECT_BYTES = 2;

/** Refuses a GET that says that it has a body: the runtime lets nobody read it, and what may say nothing is let pass. @throws {Problem} */
function refuseUnreadBody({ headers }: Request): void {
  const isChunked = headers.has("transfer-encoding");
  if (isChunked || Number(headers.get("content-length") ?? 0) > EMPTY_OBJECT_BYTES)
    throw invalidField("body", "", "must not be there");
}

/** A request whose body says nothing, without it: some programs send an object without fields where none is taken. @throws {Problem} If it says something. */
async function withoutBody(request: Request): Promise<Request> {
  const text = (await request.text()).trim();
  if (text !== "" && text !== "{}") throw invalidField("body", "", "must not be there");
  return new Request(request.url, { method: request.method, headers: request.headers });
}

/** `/cluster/nodes/:node_id` -> what such paths look like. */
function patternOf(path: string): RegExp {
  return new RegExp(`^${path.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&").replaceAll(/:[A-Za-z_]+/g, "[^/]+")}$`);
}
