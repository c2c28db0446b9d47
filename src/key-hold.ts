/**
 * Holds back what would touch keys, while something is settled that rests on there being none (or on none changing): a node that gives all its slots away
 * must stay empty until that is agreed.
 */
import type { Client } from "./client.ts";
import { CommandBits } from "./command-table.ts";
import { Verdict } from "./contracts/commands.ts";
import type { NodeContext } from "./plugin.ts";

export class KeyHold {
  readonly #context: NodeContext;
  readonly #held = new Set<Client>();
  #unhook: (() => void) | undefined;
  #holds = 0;
  #areKeysFree = false;

  constructor(context: NodeContext) {
    this.#context = context;
    context.on(context.hooks.clientClosed, (client) => void this.#held.delete(client));
  }

  get isHolding(): boolean {
    return this.#unhook !== undefined;
  }

  /** Holds from here on, until as many `release`s. */
  hold(): void {
    this.#holds += 1;
    this.#unhook ??= this.#context.on(
      this.#context.hooks.commandBefore,
      (call) => {
        // Between MULTI and EXEC commands are only queued: it is EXEC that waits.
        const isQueued = call.client.intercept !== undefined;
        const touchesKeys = call.hasKey || (call.command.bits & CommandBits.write) !== 0;
        const isFree = isQueued || !touchesKeys || (this.#areKeysFree && call.hasKey);
        if (call.command.fullName !== "exec" && isFree) return undefined;
        this.#held.add(call.client);
        return Verdict.held;
      },
      { order: "pre" },
    );
  }

  /** While it holds: commands that name keys, each by itself, are let go, as somebody else has an answer for them; or are held again. */
  letKeysGo(areFree: boolean): void {
    if (areFree === this.#areKeysFree || !this.isHolding) return;
    this.#areKeysFree = areFree;
    if (areFree) this.#decideAnew();
  }

  /** While it holds: also a command that touches no key of this node's (yet), until the last `release`. */
  add(client: Client): void {
    this.#held.add(client);
  }

  /** Ends one `hold`. After the last one, what was held is decided anew. */
  release(): void {
    this.#holds -= 1;
    if (this.#holds > 0) return;
    this.#unhook?.();
    this.#unhook = undefined;
    this.#areKeysFree = false;
    this.#decideAnew();
  }

  #decideAnew(): void {
    const released = [...this.#held];
    this.#held.clear();
    for (const client of released) client.transport.release();
  }

  /** Holds while the work is under way. */
  async during<Result>(work: () => Promise<Result>): Promise<Result> {
    this.hold();
    try {
      return await work();
    } finally {
      this.release();
    }
  }
}
