/**
 * A connection to a server that speaks RESP: commands go out one after another, and the reply to each comes back in their order. For one user at a time.
 *
 * Commands are made when there is room for them, so that what is on its way is all that is in memory.
 */
import { ReplyReader, type ReplyValue } from "./codec/resp-reader.ts";
import { type Clock, NO_SUCH_HOST, type Network, type Stream, type StreamHandler, type Timer } from "./world.ts";

/** Where an exchange ended before its time. */
export type LinkFailure = "connecting" | "writing" | "reading";

/** Bytes that are made before the machine has taken them. */
const AHEAD_BYTES = 256 * 1024;

export class RespLink implements StreamHandler {
  readonly host: string;
  readonly port: number;
  /** The connection is gone. Nothing more is sent or comes. */
  isClosed = false;
  readonly #clock: Clock;
  readonly #stream: Stream;
  readonly #reader = new ReplyReader();
  #isOpen = false;
  #next: () => Uint8Array | undefined = () => undefined;
  #onReply: (reply: ReplyValue) => void = () => undefined;
  #onEnd: ((failure: LinkFailure | undefined) => void) | undefined;
  /** Commands whose replies are to come. */
  #pending = 0;
  /** What the machine has not taken, from `#taken` on. */
  #waiting: Uint8Array[] = [];
  #taken = 0;
  #isExhausted = true;
  #idleMs = 0;
  #timer: Timer | undefined;

  constructor(network: Network, clock: Clock, host: string, port: number) {
    this.host = host;
    this.port = port;
    this.#clock = clock;
    this.#stream = network.connect({ host, port, handler: this });
  }

  /**
   * Sends commands, and hands their replies on.
   *
   * @param next The next command as bytes; `undefined`: there is none.
   * @param idleMs If nothing happens for so long, it is over.
   * @returns Where it ended, if not with the last reply. The link is closed then, and nobody knows what became of commands without a reply.
   */
  exchange(
    next: () => Uint8Array | undefined,
    onReply: (reply: ReplyValue) => void,
    idleMs: number,
  ): Promise<LinkFailure | undefined> {
    const { promise, resolve } = Promise.withResolvers<LinkFailure | undefined>();
    if (this.isClosed) return Promise.resolve("connecting");
    this.#next = next;
    this.#onReply = onReply;
    this.#onEnd = resolve;
    this.#isExhausted = false;
    this.#idleMs = idleMs;
    this.#progressed();
    this.#pump();
    return promise;
  }

  /** Closes it: what was sent may arrive yet. */
  close(): void {
    this.#stream.destroy();
    this.closed();
  }

  opened(): void {
    this.#isOpen = true;
    this.#progressed();
    this.#pump();
  }

  data(_stream: Stream, bytes: Uint8Array): void {
    if (this.isClosed) return;
    this.#progressed();
    try {
      this.#reader.feed(bytes);
      for (let reply = this.#reader.next(); reply !== undefined; reply = this.#reader.next()) {
        // What nobody has asked for is no reply.
        if (this.#pending === 0) return this.close();
        this.#pending -= 1;
        this.#onReply(reply);
      }
    } catch {
      return this.close();
    }
    this.#settleIfDone();
    return undefined;
  }

  writable(): void {
    this.#progressed();
    this.#pump();
  }

  /** @param stream None: it was closed here, since nothing happened. */
  closed(stream?: Stream, reason?: string): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const isSent = this.#isExhausted && this.#waiting.length === 0;
    // Redis finds out that a connection was refused when it writes, and that a name leads nowhere before.
    const wasAsked = stream !== undefined && reason?.startsWith(NO_SUCH_HOST) !== true;
    if (this.#isOpen || wasAsked) this.#end(isSent ? "reading" : "writing");
    else this.#end("connecting");
  }

  #pump(): void {
    if (!this.#isOpen || this.isClosed) return;
    for (;;) {
      if (!this.#write()) return;
      for (let ahead = 0; ahead < AHEAD_BYTES && !this.#isExhausted;) {
        const command = this.#next();
        if (command === undefined) {
          this.#isExhausted = true;
          break;
        }
        this.#pending += 1;
        this.#waiting.push(command);
        ahead += command.length;
      }
      if (this.#waiting.length === 0) break;
    }
    this.#settleIfDone();
  }

  /** @returns Whether all that was made is taken. */
  #write(): boolean {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      this.#taken += this.#stream.write(first, this.#taken, first.length);
      if (this.#taken < first.length) return false;
      this.#waiting.shift();
      this.#taken = 0;
    }
    return true;
  }

  #settleIfDone(): void {
    if (this.#isExhausted && this.#waiting.length === 0 && this.#pending === 0) this.#end(undefined);
  }

  #end(failure: LinkFailure | undefined): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const end = this.#onEnd;
    this.#onEnd = undefined;
    end?.(failure);
  }

  /** Something has happened: the time begins anew. */
  #progressed(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#onEnd !== undefined) this.#timer = this.#clock.after(this.#idleMs, () => this.close());
  }
}
