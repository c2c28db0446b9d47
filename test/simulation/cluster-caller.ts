/** How a simulated cluster client gets a request done: one connection a node, redirects followed. What it is told of the outcome is all that a real client can know. */
import { ReplyError, type ReplyValue } from "../../src/codec/resp-reader.ts";
import type { World } from "../../src/world.ts";
import { SimConnection } from "./sim-connection.ts";

/** Redirects that one operation follows. While a primary changes, two nodes may send it to each other for a while. */
const MAX_REDIRECTS = 5;
/** Errors that promise that nothing was done. It is a rule of the cluster that these promises hold (SAFETY 9), so histories count on them. */
const REFUSALS: ReadonlySet<string> = new Set(["CLUSTERDOWN", "LOADING", "NOREPLICAS", "TRYAGAIN", "EXECABORT", "OOM"]);

/** Not done: certainly nothing was; refused, or not a byte of it left. Unknown: it may have been run, or may still be. */
export type CallOutcome =
  | { readonly type: "answered"; readonly replies: readonly ReplyValue[]; readonly address: string }
  | { readonly type: "not done" }
  | { readonly type: "unknown" };

export class ClusterCaller {
  /** Requests that were answered, refused, and of which it is not known what became of them; redirects that were followed. */
  answered = 0;
  refused = 0;
  unknown = 0;
  redirected = 0;
  readonly #world: World;
  readonly #addresses: readonly string[];
  readonly #greeting: readonly (readonly string[])[];
  readonly #connections = new Map<string, SimConnection>();

  /**
   * @param addresses `host:port` of the nodes.
   * @param greeting Commands that each connection begins with.
   */
  constructor(world: World, addresses: readonly string[], greeting: readonly (readonly string[])[] = []) {
    this.#world = world;
    this.#addresses = addresses;
    this.#greeting = greeting;
  }

  /** Any node. */
  drawAddress(): string {
    return this.#addresses[this.#world.random.below(this.#addresses.length)] ?? "";
  }

  /**
   * Asks a node, and then those that it is sent to.
   *
   * @param bytes Commands, encoded; a transaction's are aborted as one.
   * @param count How many they are.
   */
  async call(first: string, bytes: Uint8Array, count: number): Promise<CallOutcome> {
    let address = first;
    for (let redirects = 0; redirects < MAX_REDIRECTS; redirects += 1) {
      const attempt = await this.#connectionTo(address).request(bytes, count);
      if ("failure" in attempt) {
        if (attempt.failure === "unsent") return { type: "not done" };
        this.unknown += 1;
        return { type: "unknown" };
      }
      const { replies } = attempt;
      const last = replies.at(-1);
      if (last instanceof ReplyError) {
        // A transaction is aborted since one of its commands was sent elsewhere.
        const moved = replies.find((reply) => reply instanceof ReplyError && reply.code === "MOVED");
        if (moved instanceof ReplyError) {
          address = moved.message.split(" ")[2] ?? "";
          this.redirected += 1;
          continue;
        }
        if (REFUSALS.has(last.code)) {
          this.refused += 1;
          return { type: "not done" };
        }
      }
      this.answered += 1;
      return { type: "answered", replies, address };
    }
    return { type: "not done" };
  }

  #connectionTo(address: string): SimConnection {
    let connection = this.#connections.get(address);
    if (connection === undefined || connection.isClosed) {
      connection = new SimConnection(this.#world, address, this.#greeting);
      this.#connections.set(address, connection);
    }
    return connection;
  }
}
