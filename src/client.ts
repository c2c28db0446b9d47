/**
 * A client: who sends commands, and what a node remembers of it between them.
 *
 * Connections (of the `resp` plugin), programs that embed a node, and later REST calls and links of other nodes each have one. The
 * transport behind it is only known by the few things that commands ask of it.
 */
import type { Call } from "./call.ts";
import type { Verdict } from "./contracts/commands.ts";

/** What commands can ask of whatever carries a client's bytes. */
export interface ClientTransport {
  /** The other side, `address:port`. */
  readonly remoteAddress: string;
  /** This side, `address:port`. */
  readonly localAddress: string;
  /** Bytes that came and were not yet run. */
  queryBytes(): number;
  /** Bytes of replies that the other side has not taken. */
  outputBytes(): number;
  /** Sends what was replied so far (the reply to the present command included), then closes. */
  closeAfterReply(): void;
  /** Closes at once. */
  kill(): void;
  /** A command that was held may be tried again, in a later turn. */
  release(): void;
  /** The reply of a deferred command is ready: `write` puts it in its place. */
  settle(write: (reply: Call["reply"]) => void): void;
}

/** For a place where a slot stands: keys of none. */
export const NO_SLOT = -1;
/** Likewise: keys of any slot. */
export const ALL_SLOTS = -2;

/** Whether replies are sent (`CLIENT REPLY`): all, none, or none for the next command only. */
export type ReplyMode = "on" | "off" | "skip-next" | "skip";

/** One client of a node. */
export class Client {
  /** Grows with every client of the node; never used again. */
  readonly id: number;
  readonly transport: ClientTransport;
  /** `monotonicMs` when it came. */
  readonly createdAtMs: number;
  /** `monotonicMs` of its last command. */
  lastCommandAtMs: number;
  /** 2 or 3. */
  protocol: 2 | 3 = 2;
  /** Whether it may do more than `AUTH`. True from the start where no password is set. */
  isAuthenticated: boolean;
  user = "default";
  name = "";
  libraryName = "";
  libraryVersion = "";
  /** It reads from replicas (`READONLY`). */
  isReadOnly = false;
  /** Its next command may reach a slot that is being imported (`ASKING`); falls after that command. */
  isAsking = false;
  /** Its commands do not count as access to keys, for eviction (`CLIENT NO-TOUCH`). */
  isNoTouch = false;
  /** It is not closed when the memory of all clients is over its limit (`CLIENT NO-EVICT`). */
  isNoEvict = false;
  /** It does here what was done at another node: limits of what clients may do were looked at there. */
  isReplaying = false;
  replyMode: ReplyMode = "on";
  /** What its replies wait for, if not what the cluster's setting says (`CLIENT ACKS`): the in-sync set, or nothing but the primary. */
  acks: "in-sync" | "primary" | undefined;
  /** The place in the shard log that its last replies depend on: they wait at the gate for it (`ReplyGate`). 0: they depend on nothing. */
  replyAfter = 0;
  /** How often the gate had been broken when the first of these replies was noted. */
  replyBreaks = 0;
  /** Full name of its last command, such as `client|list`, for `CLIENT LIST`. */
  lastCommandName = "";
  /** Commands it sent so far. */
  commandCount = 0;
  /**
   * Looks at each of its commands after all checks and before it runs; `MULTI` queues through it. `undefined` runs the command.
   * One at a time, so that the path of everybody else's commands carries nothing of it.
   */
  intercept: ((call: Call) => Verdict | undefined) | undefined;
  /** Between MULTI and EXEC: the slot of the keys that are queued, or `NO_SLOT`, or `ALL_SLOTS` where there are several, or a write of all keys. */
  queuedSlot = NO_SLOT;
  /** Told when one of its commands is refused before it ran (unknown, wrong arity, MOVED ...): such a `MULTI` must not be executed. */
  onRejected: (() => void) | undefined;
  /** Extra flags of `CLIENT LIST` by letter, such as `x` (in MULTI) and `d` (dirty by WATCH), and numbers such as `multi`. */
  readonly listFields = new Map<string, string>();

  constructor(id: number, transport: ClientTransport, nowMs: number, isAuthenticated: boolean) {
    this.id = id;
    this.transport = transport;
    this.createdAtMs = nowMs;
    this.lastCommandAtMs = nowMs;
    this.isAuthenticated = isAuthenticated;
  }

  /** Back to how it came, but for its id and transport (`RESET`). @param isAuthenticated What a new client would be. */
  reset(isAuthenticated: boolean): void {
    this.protocol = 2;
    this.isAuthenticated = isAuthenticated;
    this.user = "default";
    this.name = "";
    this.isReadOnly = false;
    this.isAsking = false;
    this.isNoTouch = false;
    this.isNoEvict = false;
    this.replyMode = "on";
    this.acks = undefined;
    this.intercept = undefined;
    this.queuedSlot = NO_SLOT;
    this.onRejected = undefined;
    this.listFields.clear();
  }
}

/** The clients of a node, in the order in which they came. */
export class ClientTable {
  readonly #clients = new Map<number, Client>();
  #lastId = 0;
  /** Clients that have come since the start. */
  get totalCount(): number {
    return this.#lastId;
  }
  get count(): number {
    return this.#clients.size;
  }

  /** @param isListed False for those that are not connections (programs that embed the node): they have an id, and are not counted. */
  add(transport: ClientTransport, nowMs: number, isAuthenticated: boolean, isListed = true): Client {
    this.#lastId += 1;
    const client = new Client(this.#lastId, transport, nowMs, isAuthenticated);
    if (isListed) this.#clients.set(client.id, client);
    return client;
  }

  remove(client: Client): void {
    this.#clients.delete(client.id);
  }

  get(id: number): Client | undefined {
    return this.#clients.get(id);
  }

  [Symbol.iterator](): MapIterator<Client> {
    return this.#clients.values();
  }
}
