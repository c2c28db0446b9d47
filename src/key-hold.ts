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

  constructor(context: NodeContext) {
    this.#context = context;
    context.on(context.hooks.clientClosed, (client) => void this.#held.delete(client));
  }

  /** Holds while the work is under way. What was held is decided anew afterwards. */
  async during<Result>(work: () => Promise<Result>): Promise<Result> {
    const unhook = this.#context.on(
      this.#context.hooks.commandBefore,
      (call) => {
        // Between MULTI and EXEC commands are only queued: it is EXEC that waits.
        const isQueued = call.client.intercept !== undefined;
        const touchesKeys = call.hasKey || (call.command.bits & CommandBits.write) !== 0;
        if (call.command.fullName !== "exec" && (isQueued || !touchesKeys)) return undefined;
        this.#held.add(call.client);
        return Verdict.held;
      },
      { order: "pre" },
    );
    try {
      return await work();
    } finally {
      unhook();
      const released = [...this.#held];
      this.#held.clear();
      for (const client of released) client.transport.release();
    }
  }
}
