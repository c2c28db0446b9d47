/**
 * Commands that this node runs as if a client had sent them: what is refused to clients is refused here, in the same words.
 *
 * Each request has a connection for itself while it is answered, since a command that waits keeps back those behind it. Connections that are done with are kept for the
 * next ones.
 */
import type { ReplyValue } from "../codec/resp-reader.ts";
import type { LocalConnection } from "../local-connection.ts";
import type { Clock } from "../world.ts";

/** Connections that are kept while nobody needs them. */
const MAX_IDLE = 16;

/** What came of commands. */
export type LocalAnswer =
  | { readonly type: "answered"; readonly replies: readonly ReplyValue[] }
  /** Nobody knows what became of those that have no reply. */
  | { readonly type: "lost" };

type Command = readonly (string | Uint8Array)[];

export class LocalCommands {
  readonly #connect: () => LocalConnection;
  readonly #clock: Clock;
  readonly #idle: LocalConnection[] = [];
  #isClosed = false;

  /** @param connect Opens a connection to this node. */
  constructor(connect: () => LocalConnection, clock: Clock) {
    this.#connect = connect;
    this.#clock = clock;
  }

  /**
   * Runs commands one after another.
   *
   * @param limitMs How long they may take, in all; beyond that nobody waits for them.
   */
  async run(commands: readonly Command[], limitMs: number): Promise<LocalAnswer> {
    if (this.#isClosed) return { type: "lost" };
    const connection = this.#idle.pop() ?? this.#connect();
    // Closed, it lets go of what waits; what was logged is.
    const timer = this.#clock.after(limitMs, () => connection.close());
    try {
      const replies = await Promise.all(commands.map((command) => connection.execute(...command)));
      if (this.#idle.length < MAX_IDLE && !this.#isClosed) this.#idle.push(connection);
      else connection.close();
      return { type: "answered", replies };
    } catch {
      connection.close();
      return { type: "lost" };
    } finally {
      timer.cancel();
    }
  }

  /** Closes what is kept. */
  close(): void {
    this.#isClosed = true;
    for (const connection of this.#idle.splice(0)) connection.close();
  }
}
