/**
 * Commands that wait until something is agreed on: whose a slot is, where a key is, who leads. Everything that holds commands back holds them here.
 *
 * A command that is held is decided anew, from the beginning, when it is released. Its client sends nothing meanwhile, so one reference for each is kept.
 *
 * What waits has two bounds, whatever is agreed on and however long that takes:
 *
 * - Room: no more commands, and bytes of them and of what was read behind them, than one node may hold (`HoldRoom`). Others are answered with TRYAGAIN: nothing of them was
 *   done, and clients ask again. One command may wait whatever its length.
 * - The lease: without one nobody knows how long it may take, so what waits, and what comes, is answered with CLUSTERDOWN. Who hands the shard over has none either: there
 *   the next primary is waited for, and whoever holds commands says what becomes of its own (`withoutLease`).
 *
 * EXEC is not answered with either: it ends its transaction, with that error of one of its commands.
 */
import type { Call } from "./call.ts";
import { type Client, NO_SLOT } from "./client.ts";
import { Verdict } from "./contracts/commands.ts";
import type { NodeContext } from "./plugin.ts";

/** What a node has room for. Its router's settings say how much that is. */
export class HoldRoom {
  maxCommands = 10_000;
  maxBytes = 64 * 1024 * 1024;
  /** That wait now. */
  commands = 0;
  bytes = 0;
}

export interface HoldTerms {
  /** What is answered when there is no room. */
  readonly tooManyError: string;
  /** What is answered when this node has no lease. */
  readonly downError: string;
  /** What is done without a lease: answer, leave the decision to others, or hold as with one. By default: answer. */
  readonly withoutLease: () => "refuse" | "pass" | "hold";
}

const TERMS: HoldTerms = {
  tooManyError: "TRYAGAIN Too many commands wait at this node",
  downError: "CLUSTERDOWN The cluster is down: the keys wait until something is agreed on, and this node has no lease",
  withoutLease: () => "refuse",
};

/** What is known of one that waits. */
interface Held {
  readonly bytes: number;
  readonly slot: number;
}

export class HeldCommands {
  /** How many were answered for want of room. */
  refusedCount = 0;
  bytes = 0;
  readonly #context: NodeContext;
  readonly #terms: HoldTerms;
  readonly #held = new Map<Client, Held>();

  /** @param terms Where they are not as for all. */
  constructor(context: NodeContext, terms: Partial<HoldTerms> = {}) {
    this.#context = context;
    this.#terms = { ...TERMS, ...terms };
    const { hooks, replyGate, world } = context;
    context.on(hooks.clientClosed, (client) => this.#forget(client));
    // After whoever says so has done all that it does then.
    replyGate.onLapse(() => {
      if (this.size > 0) world.clock.soon(() => this.#lapsed());
    });
  }

  get size(): number {
    return this.#held.size;
  }

  get clients(): IterableIterator<Client> {
    return this.#held.keys();
  }

  /**
   * Holds a command back, or writes why it may not wait.
   *
   * @param slot What it waits for, where that makes a difference for `release`.
   * @returns The verdict; `undefined` for what others decide on.
   */
  hold(call: Call, slot = NO_SLOT): Verdict | undefined {
    const { client, command } = call;
    const { replyGate, holdRoom } = this.#context;
    const { tooManyError, downError, withoutLease } = this.#terms;
    const isExec = command.fullName === "exec";
    const withoutIt = replyGate.hasLapsed() ? withoutLease() : "hold";
    if (withoutIt === "pass" || (withoutIt === "refuse" && isExec)) return undefined;
    if (withoutIt === "refuse") {
      call.reply.error(downError);
      return Verdict.rejected;
    }
    this.#forget(client);
    const bytes = call.end(call.count - 1) - call.start(0) + client.transport.queryBytes();
    const isTooMuch =
      holdRoom.commands >= holdRoom.maxCommands ||
      (holdRoom.commands > 0 && holdRoom.bytes + bytes > holdRoom.maxBytes);
    // One of a transaction's is asked about only when its EXEC found no room, or did not have to wait.
    if (isTooMuch || call.isNested) {
      if (isExec) return undefined;
      this.refusedCount += 1;
      call.reply.error(tooManyError);
      return Verdict.rejected;
    }
    this.#held.set(client, { bytes, slot });
    this.bytes += bytes;
    holdRoom.commands += 1;
    holdRoom.bytes += bytes;
    return Verdict.held;
  }

  /** Has what waits decided anew. @param isFree Of which slots; by default all. */
  release(isFree: (slot: number) => boolean = () => true): void {
    const released = [...this.#held].filter(([, { slot }]) => isFree(slot)).map(([client]) => client);
    for (const client of released) this.#forget(client);
    for (const client of released) client.transport.release();
  }

  #lapsed(): void {
    if (this.#context.replyGate.hasLapsed() && this.#terms.withoutLease() !== "hold") this.release();
  }

  #forget(client: Client): void {
    const held = this.#held.get(client);
    if (held === undefined) return;
    this.#held.delete(client);
    const { holdRoom } = this.#context;
    this.bytes -= held.bytes;
    holdRoom.commands -= 1;
    holdRoom.bytes -= held.bytes;
  }
}
