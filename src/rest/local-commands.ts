/**
 * Commands that this node runs as if a client had sent them: what is refused to clients is refused here, in the same words.
 *
 * Each request has a connection for itself while it is answered, since a command that waits keeps back those behind it. Connections that are done with are kept for the
 * next ones.
 */
import type { LocalConnection } from "../local-connection.ts";
import type { Clock } from "../world.ts";
import { type Run, SessionLost } from "./sessions.ts";

/** Connections that are kept while nobody needs them. */
const MAX_IDLE = 16;

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
   * Lends a connection.
   *
   * @param limitMs How long it is lent: beyond that, what waits has no reply.
   * @throws {SessionLost} If commands have none.
   */
  async with<Result>(limitMs: number, work: (run: Run) => Promise<Result>): Promise<Result> {
    if (this.#isClosed) throw new SessionLost("this node stops", true);
    const connection = this.#take();
    // Closed, it lets go of what waits; what was logged is.
    let isLate = false;
    const timer = this.#clock.after(limitMs, () => {
      isLate = true;
      connection.close();
    });
    let isClean = false;
    const reason = (): string => (isLate ? "this node has not answered in time" : "this node's connection was closed");
    try {
      const result = await work(async (...commands) => {
        if (connection.isClosed) throw new SessionLost(reason(), true);
        const replies = commands.map((command) => connection.execute(...command));
        return await Promise.all(replies).catch(() => {
          throw new SessionLost(reason(), false);
        });
      });
      isClean = true;
      return result;
    } finally {
      timer.cancel();
      if (isClean && this.#idle.length < MAX_IDLE && !this.#isClosed) this.#idle.push(connection);
      else connection.close();
    }
  }

  /** One that is kept, if it was not closed while nobody needed it, or a new one. */
  #take(): LocalConnection {
    for (let kept = this.#idle.pop(); kept !== undefined; kept = this.#idle.pop()) if (!kept.isClosed) return kept;
    return this.#connect();
  }

  /** Closes what is kept. */
  close(): void {
    this.#isClosed = true;
    for (const connection of this.#idle.splice(0)) connection.close();
  }
}
