/** One stream of a simulated client to one node. Whatever becomes of a request, its caller is told what a real client can know of it. */
import { ReplyError, ReplyReader, type ReplyValue, encodeCommand } from "../../src/codec/resp-reader.ts";
import type { Stream, World } from "../../src/world.ts";

/** How long a client waits for an answer before it gives the connection up. */
const PATIENCE_MS = 1500;

/** What became of a request. Unsent: not a byte of it was handed to the machine. Unknown: it may have been run, or may still be. */
export type Attempt = { readonly replies: readonly ReplyValue[] } | { readonly failure: "unsent" | "unknown" };

export class SimConnection {
  isClosed = false;
  readonly #world: World;
  readonly #stream: Stream;
  readonly #reader = new ReplyReader();
  #isOpen = false;
  #unsent: Uint8Array = new Uint8Array(0);
  /** Whether any byte of the present request was handed over. */
  #hasSent = false;
  #replies: ReplyValue[] = [];
  #wanted = 0;
  /** Commands that go before the first request, and what they are answered before its replies. */
  #greeting: readonly (readonly string[])[];
  #greeted = 0;
  #resolve: ((attempt: Attempt) => void) | undefined;

  /**
   * @param address `host:port`.
   * @param greeting Commands that it begins with.
   */
  constructor(world: World, address: string, greeting: readonly (readonly string[])[] = []) {
    this.#world = world;
    this.#greeting = greeting;
    const [host = "", port = "0"] = address.split(":");
    this.#stream = world.network.connect({
      host,
      port: Number(port),
      handler: {
        opened: () => {
          this.#isOpen = true;
          this.#send();
        },
        data: (_stream, bytes) => {
          this.#reader.feed(bytes);
          for (let reply = this.#reader.next(); reply !== undefined; reply = this.#reader.next()) {
            if (this.#greeted > 0) {
              this.#greeted -= 1;
              if (reply instanceof ReplyError) throw new Error(`A client's greeting was answered ${reply.message}`);
              continue;
            }
            this.#replies.push(reply);
            if (this.#replies.length === this.#wanted) this.#finish({ replies: this.#replies });
          }
        },
        writable: () => this.#send(),
        closed: () => this.#end(),
      },
    });
  }

  /**
   * Sends commands, and waits for their replies. One request at a time.
   *
   * @param bytes The commands, encoded.
   * @param count How many they are.
   */
  request(bytes: Uint8Array, count: number): Promise<Attempt> {
    return new Promise((resolve) => {
      // Patience: whatever comes after it was given up is not an answer any more.
      const timer = this.#world.clock.after(PATIENCE_MS, () => {
        this.#stream.destroy();
        this.#end();
      });
      this.#resolve = (attempt) => {
        timer.cancel();
        resolve(attempt);
      };
      this.#replies = [];
      this.#wanted = count;
      this.#greeted += this.#greeting.length;
      const pieces = [...this.#greeting.map((each) => encodeCommand(each)), bytes];
      this.#greeting = [];
      this.#unsent = pieces.length === 1 ? bytes : concat(pieces);
      this.#hasSent = false;
      this.#send();
    });
  }

  #send(): void {
    if (!this.#isOpen || this.isClosed || this.#unsent.length === 0) return;
    const taken = this.#stream.write(this.#unsent, 0, this.#unsent.length);
    if (taken > 0) this.#hasSent = true;
    this.#unsent = this.#unsent.subarray(taken);
  }

  #end(): void {
    this.isClosed = true;
    this.#finish({ failure: this.#hasSent ? "unknown" : "unsent" });
  }

  #finish(attempt: Attempt): void {
    const resolve = this.#resolve;
    this.#resolve = undefined;
    resolve?.(attempt);
  }
}

/** Pieces as one. */
export function concat(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
