/**
 * Holds back what would touch keys, while something is settled that rests on there being none (or on none changing): a node that gives all its slots away
 * must stay empty until that is agreed. What waits has the bounds of `HeldCommands`.
 */
import type { Call } from "./call.ts";
import { CommandBits } from "./command-table.ts";
import type { Verdict } from "./contracts/commands.ts";
import { HeldCommands, type HoldTerms } from "./held-commands.ts";
import type { NodeContext } from "./plugin.ts";

export class KeyHold {
  readonly #context: NodeContext;
  readonly #held: HeldCommands;
  #unhook: (() => void) | undefined;
  #holds = 0;
  #areKeysFree = false;

  /** @param withoutLease What becomes of commands that it holds while this node has no lease: see `HoldTerms`. */
  constructor(context: NodeContext, withoutLease: HoldTerms["withoutLease"] = () => "refuse") {
    this.#context = context;
    this.#held = new HeldCommands(context, { withoutLease });
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
        return call.command.fullName !== "exec" && isFree ? undefined : this.#held.hold(call);
      },
      { order: "pre" },
    );
  }

  /** While it holds: commands that name keys, each by itself, are let go, as somebody else has an answer for them; or are held again. */
  letKeysGo(areFree: boolean): void {
    if (areFree === this.#areKeysFree || !this.isHolding) return;
    this.#areKeysFree = areFree;
    if (areFree) this.#held.release();
  }

  /** While it holds: also a command that touches no key of this node's (yet), until the last `release`. */
  add(call: Call): Verdict | undefined {
    return this.#held.hold(call);
  }

  /** Ends one `hold`. After the last one, what was held is decided anew. */
  release(): void {
    this.#holds -= 1;
    if (this.#holds > 0) return;
    this.#unhook?.();
    this.#unhook = undefined;
    this.#areKeysFree = false;
    this.#held.release();
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
