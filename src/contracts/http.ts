/**
 * HTTP: what listens for operators, their tools and the health checks of orchestrators. Provided by the plugin `http`.
 *
 * Whoever has something to serve mounts it under a prefix, and gets requests that are within their bounds, with what the caller may do. Errors are problems
 * (`src/http/problem.ts`): `handle` may throw them.
 */
import type { FirstHook } from "../hook.ts";
import type { NetAddress } from "../net-address.ts";
import { service } from "../service.ts";

/** What a caller may do; each includes those before it. */
export type HttpRole =
  /** Nothing: it has shown no token, and is not on this machine. */
  | "none"
  /** Reads. */
  | "read"
  /** Changes what can be taken back: keys, moves of slots, who leads a shard. */
  | "operate"
  /** Changes what the cluster consists of, its settings, and what may lose data. */
  | "admin";

/** Who asks. */
export interface HttpCaller {
  readonly role: HttpRole;
  /** It has shown a token. Without one, only what is told to anybody on this machine is its to see. */
  readonly hasToken: boolean;
  /** `host:port`. */
  readonly remoteAddress: string;
  /** The host of that: what one address may have is counted by it. */
  readonly remoteHost: string;
  /** Whether it may still do what it may: its token has not been replaced. For what goes on after the request was let pass. */
  isStillAllowed(): boolean;
  /** What is asked is as much work as so many requests, of which one was counted already: the caller's next ones wait for it. */
  charge(requests: number): void;
  /** The connection is one that is silent for long, and is not closed for that. */
  keepOpen(): void;
  /**
   * The body of an answer of bytes that do not change any more, without a copy of them. Who answers otherwise need not care: any long answer is sent this way.
   *
   * @throws {Problem} If there is no room for it beside those that others have not read yet. Where something was changed, nobody may be told that.
   */
  bodyOf(bytes: Uint8Array): Uint8Array | ReadableStream<Uint8Array>;
  /** How long an answer may be for which there is room at this moment. */
  readonly roomBytes: number;
}

/** Something that is served under a prefix. */
export interface HttpMount {
  /** Begins with a slash and ends with none, such as `/cluster`: the path itself, and all below it. Of several that fit the longest counts. */
  readonly prefix: string;
  /**
   * Answers. What goes on for as long as somebody listens has the type `text/event-stream`: any other answer is there as a whole before it is sent.
   *
   * @throws {Problem} What is said to the caller. Anything else that is thrown is told to the log alone.
   */
  handle(request: Request, caller: HttpCaller): Response | Promise<Response>;
}

export interface Http {
  /** Where operators are told to come; port 0: nowhere, or not yet. */
  readonly address: NetAddress;
  /** Somebody has a token, and so may be expected to come. */
  readonly isExpectingCallers: boolean;
  /** First. `GET /health/ready`, each time it is asked: an answer is why this node does not serve yet, or no more, in words. */
  readonly notReady: FirstHook<void, string>;
  /**
   * Serves something. Until the node is ready nothing that is mounted is asked.
   *
   * @returns A function that takes it away again.
   * @throws {StartError} If something is mounted there.
   */
  mount(mount: HttpMount): () => void;
}

export const httpService = service<Http>("http");
