/**
 * http: listens for operators, their tools, and the health checks of orchestrators. What is served is other plugins' (`rest` and its like), which mount it.
 *
 * Promises: nothing reaches what is mounted before the node is ready, or without being within the bounds on bodies, requests at a time (of all, and of each address), and
 * requests a second for each address; no token is in a log, in a reply or in INFO; every error is a problem document (RFC 9457), and none has the text of an exception in it.
 *
 * Who may do what, the first of these that fits:
 * 1. Who shows a bearer token (`Authorization: Bearer ...`) has its role: `read`, `operate` or `admin`. A wrong one is refused, wherever it comes from.
 * 2. Without any token in the settings, and with --insecure: everything.
 * 3. Who is on this machine reads. A request that came through a proxy, or that a page of another site has a browser make (also by a name of its own that leads here),
 *    counts as from elsewhere.
 * 4. Anybody else may ask for `/health/live` and `/health/ready`, and nothing more.
 *
 * To change a token while the node runs: `CONFIG SET http-admin-token "new old"`, have everybody use the new one, then `CONFIG SET http-admin-token new`; empty is none.
 * `http-operate-token` and `http-read-token` go the same way. What was set so is over with the process, or when the file with tokens (`tokenFile`) says something else of that
 * role. Tokens in the file are changed by writing the file.
 *
 * The runtime counts no connections: one that never sends a request is closed after about twelve seconds, one that has sent some when it was silent for `idleTimeoutS`.
 */
import { Type } from "@sinclair/typebox";
import { Fault } from "../src/assert.ts";
import { HOST_PATTERN, HTTP_PORT_OFFSET, byteSize, parseByteSize } from "../src/config.ts";
import { type HttpCaller, type HttpMount, type HttpRole, httpService } from "../src/contracts/http.ts";
import { StartError, messageOf } from "../src/errors.ts";
import { FirstHook } from "../src/hook.ts";
import { boundedBody } from "../src/http/bounded-body.ts";
import { originSigns } from "../src/http/origin.ts";
import { Problem } from "../src/http/problem.ts";
import { RateLimit } from "../src/http/rate-limit.ts";
import {
  TOKENS_PATTERN,
  TOKENS_WANTS,
  TOKEN_ROLES,
  type TokenRole,
  TokenTable,
  mustInclude,
} from "../src/http/roles.ts";
import { type FileTokens, TokenFile } from "../src/http/token-file.ts";
import { UnderWay } from "../src/http/under-way.ts";
import { type LongAnswer, SHORT_BYTES, UnreadAnswers } from "../src/http/unread-answers.ts";
import { isLoopback } from "../src/loopback.ts";
import { isEveryAddress } from "../src/net-address.ts";
import { definePlugin } from "../src/plugin.ts";
import { type HttpListener, type HttpPeer, NetworkError } from "../src/world.ts";

/** A wrong token counts as so many requests: to try them out is slow. */
const WRONG_TOKEN_COST = 50;
/** What is refused for want of room may be asked again after so many seconds. */
const RETRY_S = 1;
/** How long requests that are being answered may go on when the node stops, in milliseconds. */
const FINISH_MS = 1000;
const FINISH_STEP_MS = 5;

/** What anybody may ask, at any time. */
const HEALTH_PATHS: ReadonlySet<string> = new Set(["/health/live", "/health/ready"]);

/** How often the file with tokens is looked at, in seconds. A small file is read in less than a millisecond, beside the event loop. */
const LOOK_S = 5;

function tokenSetting(what: string): ReturnType<typeof Type.String> {
  return Type.String({
    description: `Bearer tokens with which ${what}; several, with a blank between them, while one is being changed. A command line is seen by everybody on the machine: better in the environment, or in tokenFile. Default: none.`,
    pattern: TOKENS_PATTERN,
    wants: TOKENS_WANTS,
    isSecret: true,
  });
}

const settingsSchema = Type.Object({
  port: Type.Optional(
    Type.Integer({
      description: `The port. 0 lets the machine choose. Default: the client port + ${HTTP_PORT_OFFSET}, which is 15500 for 6379; where there is no such port, or the machine chooses that one, it chooses this one too.`,
      minimum: 0,
      maximum: 65535,
    }),
  ),
  host: Type.Optional(
    Type.String({
      description: "The address that it listens on. Default: the one for clients.",
      pattern: HOST_PATTERN,
      examples: ["an address or a host name, such as 127.0.0.1, ::1 or localhost"],
    }),
  ),
  announceHost: Type.Optional(
    Type.String({
      description:
        "The address or host name that operators are told. Default: the one that it listens on, if that is its own; else what clients are told.",
      pattern: HOST_PATTERN,
      examples: ["an address or a host name"],
    }),
  ),
  announcePort: Type.Optional(
    Type.Integer({
      description: "The port that operators are told. Default: the one that it listens on.",
      minimum: 1,
      maximum: 65535,
    }),
  ),
  readToken: Type.Optional(tokenSetting("one may read")),
  operateToken: Type.Optional(tokenSetting("one may also change keys, move slots, and say who leads a shard")),
  adminToken: Type.Optional(tokenSetting("one may do everything")),
  tokenFile: Type.Optional(
    Type.String({
      description: `A file with tokens beside those of the other settings: a line for each role, such as \`admin TOKEN\`, with a blank between several tokens. It is looked at every ${LOOK_S} seconds: what is changed there counts within ${2 * LOOK_S}, once it has been the same at two looks. What makes no sense, or cannot be read, changes nothing, and is told to the log.`,
      minLength: 1,
    }),
  ),
  maxBodyBytes: byteSize({
    description: "The longest body of a request. A value that is set over HTTP is no longer than this.",
    default: "16mb",
  }),
  bodyTimeoutS: Type.Integer({
    description:
      "A request whose body is not there as a whole within so many seconds is given up (408), and its connection closed. Until then it is one of maxRequests, however slowly it comes: raise it for long values over slow lines.",
    default: 30,
    minimum: 1,
    maximum: 3600,
  }),
  maxRequests: Type.Integer({
    description:
      "Requests that are answered at the same time; one more is told to come again (503). A long answer (more than 64 KiB) is one of them until it was read, or its connection is closed. Streams that have begun count by themselves.",
    default: 256,
    minimum: 1,
  }),
  maxRequestsPerAddress: Type.Optional(
    Type.Integer({
      description:
        "Of maxRequests, those that one address may have: one more from it is told to come later (429), while others are served. Behind a proxy all come from one address: raise it there to what maxRequests is. Default: half of that.",
      minimum: 1,
    }),
  ),
  maxUnreadBytes: byteSize({
    description:
      "What long answers (more than 64 KiB) may have together that those who asked have not read yet; a read for whose answer there is no room is told to come again (503). An answer by itself may be longer. Each of the requests that are answered at a time may need memory of its own until its answer is there.",
    default: "64mb",
  }),
  requestsPerSecond: Type.Integer({
    description:
      "Requests a second from one address, of which a second's worth may come at once; 0: without limit. One more is told to come later (429). What is much work counts as several: the OpenAPI document says as how many.",
    default: 1000,
    minimum: 0,
  }),
  idleTimeoutS: Type.Integer({
    description: "A connection on which nothing comes or goes for so many seconds is closed.",
    default: 60,
    minimum: 1,
    maximum: 255,
  }),
  corsOrigins: Type.Optional(
    Type.String({
      description:
        "Origins whose pages a browser lets read what is answered here, separated by commas. They need a token all the same. Default: none.",
      pattern: "^https?://[^,/ ]+(,https?://[^,/ ]+){0,31}$",
      examples: ["origins, such as https://ops.example.com"],
    }),
  ),
});

export default definePlugin({
  name: "http",
  summary: "Listens for operators: bounds, tokens and roles of what is served over HTTP.",
  provides: { http: httpService },
  settings: settingsSchema,
  async setup(context) {
    const { core, settings, world } = context;
    const { clock, log } = world;
    const host = settings.host ?? core.host;
    const derived = core.port === 0 || core.port + HTTP_PORT_OFFSET > 65535 ? 0 : core.port + HTTP_PORT_OFFSET;
    const maxBodyBytes = parseByteSize(settings.maxBodyBytes) ?? 0;
    const bodyBounds = { maxBytes: maxBodyBytes, limitMs: settings.bodyTimeoutS * 1000, clock };
    const origins = new Set(settings.corsOrigins?.split(","));
    const limit = new RateLimit(settings.requestsPerSecond);
    const mounts = new Map<string, HttpMount>();
    const notReady = new FirstHook<void, string>("notReady");
    const counts = { requests: 0, wrongTokens: 0, rateLimited: 0, overloaded: 0, crowded: 0, unread: 0, failed: 0 };
    const unread = new UnreadAnswers(parseByteSize(settings.maxUnreadBytes) ?? 0, clock);
    let listener: HttpListener | undefined;
    const underWay = new UnderWay();
    const maxPerAddress = settings.maxRequestsPerAddress ?? Math.ceil(settings.maxRequests / 2);
    let phase: "starting" | "ready" | "stopping" = "starting";

    // --- tokens ---

    const tokens = new TokenTable();
    const tokenFile =
      settings.tokenFile === undefined ? undefined : await TokenFile.open(settings.tokenFile, world.machine);
    let fromFile: FileTokens = tokenFile?.tokens ?? {};
    /** What the settings and the file give a role. */
    const givenTo = (role: TokenRole): string =>
      [settings[`${role}Token`], fromFile[role]].filter((text) => text !== undefined).join(" ");
    for (const role of TOKEN_ROLES) {
      const given = givenTo(role);
      const problem = tokens.replace(role, given);
      if (problem !== undefined) throw new StartError(`Cannot use the tokens for role "${role}": ${problem}.`);
      const name = `http-${role}-token`;
      context.parameter({
        name,
        isSecret: true,
        get: () => tokens.describe(role),
        keep: () => tokens.keep(role),
        set: (value) => {
          const wrong = tokens.replace(role, value);
          if (wrong === undefined) log.info("http tokens changed", { role, present: tokens.describe(role) });
          return wrong;
        },
      });
    }

    /** Roles of which the file says something else than it did have what it says, beside what the settings say. */
    const lookAtFile = async (file: TokenFile): Promise<void> => {
      const before = fromFile;
      const news = await file.look();
      if (news === undefined) return;
      let reason = news.type === "wrong" ? news.reason : undefined;
      if (news.type === "changed") {
        fromFile = news.tokens;
        const changed = TOKEN_ROLES.filter((role) => fromFile[role] !== before[role]);
        const problem = tokens.replaceAll(new Map(changed.map((role) => [role, givenTo(role)])));
        if (problem === undefined) {
          for (const role of changed) log.info("http tokens changed", { role, present: tokens.describe(role) });
        } else {
          fromFile = before;
          reason = `Cannot use the tokens in "${settings.tokenFile ?? ""}": ${problem}.`;
        }
      }
      if (reason !== undefined) log.warn("http tokens not changed", { reason });
    };

    /** Who asks. @throws {Problem} If it shows a token that is none. */
    const callerOf = (request: Request, peer: HttpPeer, from: string, exchange: Exchange): HttpCaller => {
      const caller = {
        bodyOf: (bytes: Uint8Array) => (bytes.length <= SHORT_BYTES ? bytes : longBody(bytes, exchange)),
        get roomBytes() {
          return unread.roomBytes;
        },
        remoteAddress: peer.remoteAddress,
        remoteHost: from,
        keepOpen: () => peer.keepOpen(),
        isStillAllowed: () => true,
        charge: (requests: number) => limit.charge(from, clock.monotonicMs(), requests - 1),
      };
      const shown = request.headers.get("authorization");
      if (shown !== null) {
        const token = /^bearer +([^ ]+)$/i.exec(shown)?.[1];
        const role = token === undefined ? undefined : tokens.roleOf(token);
        if (token !== undefined && role !== undefined)
          return Object.assign(caller, { role, hasToken: true, isStillAllowed: () => tokens.roleOf(token) === role });
        counts.wrongTokens += 1;
        limit.charge(from, clock.monotonicMs(), WRONG_TOKEN_COST);
        log.warn("http: wrong token", { remote: peer.remoteAddress });
        throw new Problem("unauthorized", "The token that was shown is none of this node's.", {
          headers: { "www-authenticate": 'Bearer error="invalid_token"' },
        });
      }
      const signs = originSigns(request);
      const role: HttpRole =
        core.insecure && !tokens.hasTokens
          ? // A page of another site may have been led here by its own name.
            signs.isOfThisSite && (signs.isByLoopbackName || !isLoopback(from))
            ? "admin"
            : "none"
          : signs.isOfThisSite && signs.isDirect && signs.isByLoopbackName && isLoopback(from)
            ? "read"
            : "none";
      return Object.assign(caller, { role, hasToken: false });
    };

    // --- long answers ---

    /** The body of a long answer, after which the request is over. @throws {Problem} If there is no room for it. */
    const longBody = (bytes: Uint8Array, exchange: Exchange, mayRefuse = true): ReadableStream<Uint8Array> => {
      if (mayRefuse && !unread.hasRoomFor(bytes.length)) {
        counts.unread += 1;
        throw new Problem(
          "unavailable",
          `Nobody has read ${unread.bytes} bytes of other answers yet, and ${settings.maxUnreadBytes} may wait together (http.maxUnreadBytes).`,
          { retryAfterS: RETRY_S },
        );
      }
      exchange.long = unread.begin(bytes, () => underWay.end(exchange.from));
      return exchange.long.body;
    };
    /** An answer as it is sent: if it is long, piece by piece. @throws {Problem} If there is no room for it. */
    const asSent = async (request: Request, response: Response, exchange: Exchange): Promise<Response> => {
      const { status, headers } = response;
      if (request.method === "HEAD") {
        // Nobody will ever read it.
        if (exchange.long === undefined) return response;
        letGo(exchange);
        return new Response(null, { status, headers });
      }
      const isEndless = headers.get("content-type")?.startsWith("text/event-stream") === true;
      if (exchange.long !== undefined || isEndless || response.body === null) return response;
      const bytes = await response.bytes();
      // What was changed is told, whoever reads nothing.
      const isRead = request.method === "GET";
      return new Response(bytes.length <= SHORT_BYTES ? bytes : longBody(bytes, exchange, isRead), { status, headers });
    };
    const letGo = (exchange: Exchange): void => {
      if (exchange.long === undefined) return;
      // The request goes on.
      underWay.begin(exchange.from);
      exchange.long.letGo();
      exchange.long = undefined;
    };

    // --- requests ---

    const refuseIfBusy = (from: string): void => {
      const waitMs = limit.take(from, clock.monotonicMs());
      if (waitMs > 0) {
        counts.rateLimited += 1;
        throw new Problem("rate-limited", `One address may ask ${limit.perSecond} times a second here.`, {
          retryAfterS: Math.ceil(waitMs / 1000),
        });
      }
      if (underWay.count > settings.maxRequests) {
        counts.overloaded += 1;
        throw new Problem(
          "unavailable",
          `${settings.maxRequests} requests are being answered already (http.maxRequests).`,
          { retryAfterS: RETRY_S },
        );
      }
      if (underWay.countOf(from) > maxPerAddress) {
        counts.crowded += 1;
        throw new Problem(
          "rate-limited",
          `${maxPerAddress} requests of this address are being answered already (http.maxRequestsPerAddress).`,
          { retryAfterS: RETRY_S },
        );
      }
    };
    const health = (path: string): Response => {
      if (path === "/health/live") return Response.json({ status: "live" });
      const reason = phase === "ready" ? notReady.ask() : phase === "starting" ? "its start" : "its end";
      if (reason === undefined) return Response.json({ status: "ready" });
      throw new Problem("unavailable", `This node waits for ${reason}.`, { retryAfterS: RETRY_S });
    };
    const mountOf = (path: string): HttpMount | undefined => {
      let found: HttpMount | undefined;
      for (const mount of mounts.values()) {
        const isIn = mount.prefix === "/" || path === mount.prefix || path.startsWith(`${mount.prefix}/`);
        if (isIn && mount.prefix.length > (found?.prefix.length ?? 0)) found = mount;
      }
      return found;
    };
    const answer = async (request: Request, peer: HttpPeer, exchange: Exchange): Promise<Response> => {
      const pathname = pathOf(request);
      if (HEALTH_PATHS.has(pathname)) return health(pathname);
      const { from } = exchange;
      refuseIfBusy(from);
      if (phase !== "ready") {
        const reason = phase === "starting" ? "is starting" : "stops";
        throw new Problem("unavailable", `This node ${reason}.`, { retryAfterS: RETRY_S });
      }
      const caller = callerOf(request, peer, from, exchange);
      const mount = mountOf(pathname);
      if (mount === undefined) throw new Problem("not-found", "Nothing is served at this path.");
      // Whoever may do nothing costs no memory: its body is not read.
      if (request.body !== null) mustInclude(caller, "read");
      return await asSent(request, await mount.handle(await boundedBody(request, bodyBounds), caller), exchange);
    };
    /** What a caller is told when something was thrown. */
    const responseOf = (thrown: unknown): Response => {
      if (thrown instanceof Problem) return thrown.response();
      counts.failed += 1;
      if (thrown instanceof Fault) context.fault(thrown);
      else log.error("http: a request failed", { reason: messageOf(thrown) });
      return new Problem("internal", "This node could not answer; its log says why.").response();
    };
    const handle = async (request: Request, peer: HttpPeer): Promise<Response> => {
      counts.requests += 1;
      const exchange: Exchange = { from: hostOf(peer.remoteAddress), long: undefined };
      underWay.begin(exchange.from);
      try {
        const origin = request.headers.get("origin");
        const isAllowed = origin !== null && origins.has(origin);
        const response =
          isAllowed && request.method === "OPTIONS"
            ? new Response(null, { status: 204, headers: PREFLIGHT_HEADERS })
            : await answer(request, peer, exchange).catch((thrown: unknown) => {
                letGo(exchange);
                return responseOf(thrown);
              });
        if (isAllowed) {
          response.headers.set("access-control-allow-origin", origin);
          response.headers.set("access-control-expose-headers", EXPOSED_HEADERS);
        }
        if (origins.size > 0) response.headers.append("vary", "origin");
        response.headers.set("x-content-type-options", "nosniff");
        if (!response.headers.has("cache-control")) response.headers.set("cache-control", "no-store");
        return response;
      } finally {
        // A long answer is under way until it was read.
        if (exchange.long === undefined) underWay.end(exchange.from);
      }
    };

    // --- life ---

    const listen = (): void => {
      if (world.httpServer === undefined) return;
      try {
        listener = world.httpServer.listen({
          host,
          port: settings.port ?? derived,
          idleTimeoutS: settings.idleTimeoutS,
          // What is longer than may be is told so by a problem, until it is so long that nobody wants to read it.
          maxBodyBytes: 4 * maxBodyBytes,
          handle,
        });
      } catch (thrown) {
        if (!(thrown instanceof NetworkError)) throw thrown;
        const from = settings.port === undefined ? `: the client port ${core.port} + ${HTTP_PORT_OFFSET}` : "";
        throw new StartError(`${thrown.message} (the port is for HTTP${from}; --http-port names another)`);
      }
      if (core.insecure && !tokens.hasTokens && !isLoopback(host))
        log.warn("http: without a token anybody may change everything here (--insecure)", { host });
    };
    if (tokenFile !== undefined) {
      context.on(context.hooks.start, () => void context.every(LOOK_S * 1000, () => void lookAtFile(tokenFile)));
    }
    // Before the map tells where this node is reached.
    context.on(context.hooks.start, listen, { order: "pre" });
    context.on(context.hooks.ready, () => void (phase = "ready"), { order: "post" });
    context.on(
      context.hooks.stop,
      async () => {
        phase = "stopping";
        const deadlineMs = clock.monotonicMs() + FINISH_MS;
        const isBusy = (): boolean => underWay.count > 0;
        while (isBusy() && clock.monotonicMs() < deadlineMs)
          await new Promise<void>((resolve) => void clock.after(FINISH_STEP_MS, resolve));
      },
      { order: "post" },
    );
    // Until then an orchestrator hears that this node is on its way out.
    context.on(context.hooks.stop, () => listener?.destroy(), { order: "pre" });

    context.parameter({ name: "http-port", get: () => String(listener?.port ?? 0) });
    context.on(context.hooks.info, () => ({
      section: "http",
      fields: {
        http_port: listener?.port ?? 0,
        http_requests: counts.requests,
        http_requests_under_way: underWay.count,
        http_refused_wrong_token: counts.wrongTokens,
        http_refused_rate: counts.rateLimited,
        http_refused_overload: counts.overloaded,
        http_refused_overload_address: counts.crowded,
        http_unread_bytes: unread.bytes,
        http_refused_unread: counts.unread,
        http_failed: counts.failed,
        http_callers: limit.size,
      },
    }));

    return {
      http: {
        get address() {
          const port = listener === undefined ? 0 : (settings.announcePort ?? listener.port);
          const own = settings.host === undefined || isEveryAddress(settings.host) ? undefined : settings.host;
          const told = settings.announceHost ?? own ?? core.announceHost?.split(",")[0] ?? core.host;
          return { host: told, port };
        },
        get isExpectingCallers() {
          return listener !== undefined && tokens.hasTokens;
        },
        notReady,
        mount(mount) {
          if (mounts.has(mount.prefix)) throw new StartError(`Cannot serve at "${mount.prefix}": something is there`);
          mounts.set(mount.prefix, mount);
          return () => {
            if (mounts.get(mount.prefix) === mount) mounts.delete(mount.prefix);
          };
        },
      },
    };
  },
});

/** A request that is being answered. */
interface Exchange {
  /** The address that it comes from, without the port. */
  readonly from: string;
  /** Its answer, if that is long. */
  long: LongAnswer | undefined;
}

/** Headers of answers that a page of a named origin may read, beside those that any may. */
const EXPOSED_HEADERS = "allow, etag, location, retry-after, www-authenticate, x-ttl-ms";

/** For an hour. */
const PREFLIGHT_HEADERS = {
  "access-control-allow-methods": "GET, HEAD, POST, PUT, DELETE",
  "access-control-allow-headers": "authorization, content-type, if-match, if-none-match, last-event-id",
  "access-control-max-age": "3600",
};

/** @throws {Problem} If the request names a host that is none, or none at all: where it was sent to makes no address then. */
function pathOf({ url }: Request): string {
  // Load balancers may look in HTTP/1.0, which need not name a host.
  if (HEALTH_PATHS.has(url)) return url;
  try {
    return new URL(url).pathname;
  } catch {
    throw new Problem("bad-request", "The header Host names no host, or the path is none.");
  }
}

/** The host of an address and port; of one of IPv4 that came in by a socket of IPv6, what it is. */
function hostOf(address: string): string {
  const host = /^\[?(.*?)\]?:[0-9]+$/.exec(address)?.[1] ?? address;
  return host.replace(/^::ffff:(?=[0-9.]+$)/, "");
}
