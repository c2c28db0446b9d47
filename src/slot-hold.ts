/**
 * Holds back commands on the keys of some slots, and those alone, while something is settled that rests on these keys staying as they are: a key on its way to
 * another node, a slot that is about to be another shard's.
 *
 * A held command is decided anew, from the beginning, when its slot is let go: it may find that the slot is somebody else's by then. Nobody decides on it before, so that it is not
 * sent to a node that does not know yet that it has the slot. Commands that touch keys of every slot (FLUSHALL) wait while any is held.
 *
 * What waits has the bounds of `HeldCommands`.
 */
import type { Call } from "./call.ts";
import { ALL_SLOTS, NO_SLOT } from "./client.ts";
import { SLOT_COUNT } from "./codec/slot.ts";
import { CommandBits } from "./command-table.ts";
import type { Verdict } from "./contracts/commands.ts";
import { HeldCommands, type HoldTerms } from "./held-commands.ts";
import type { NodeContext } from "./plugin.ts";

export class SlotHold {
  readonly #context: NodeContext;
  /** How many hold each slot. */
  readonly #holds = new Uint16Array(SLOT_COUNT);
  /** Slots that are held. Another list whenever others are. */
  held: readonly number[] = [];
  readonly #held: HeldCommands;
  #unhook: (() => void) | undefined;

  /** @param withoutLease What becomes of commands that it holds while this node has no lease: see `HoldTerms`. */
  constructor(context: NodeContext, withoutLease: HoldTerms["withoutLease"] = () => "refuse") {
    this.#context = context;
    this.#held = new HeldCommands(context, { withoutLease });
  }

  isHeld(slot: number): boolean {
    return this.#holds[slot] !== 0;
  }

  /** Holds these slots from here on, each until as many `release`s. */
  hold(slots: readonly number[]): void {
    for (const slot of slots) {
      if (this.#holds[slot] === 0) this.held = [...this.held, slot];
      this.#holds[slot] = (this.#holds[slot] as number) + 1;
    }
    if (this.held.length === 0) return;
    this.#unhook ??= this.#context.on(this.#context.hooks.commandBefore, (call) => this.#decide(call), {
      order: "first",
    });
  }

  /** Ends one `hold` of each. What waited for a slot that nobody holds any more is decided anew. */
  release(slots: readonly number[]): void {
    for (const slot of slots) {
      this.#holds[slot] = (this.#holds[slot] as number) - 1;
      if (this.#holds[slot] === 0) this.held = this.held.filter((each) => each !== slot);
    }
    if (this.held.length === 0) {
      this.#unhook?.();
      this.#unhook = undefined;
    }
    this.#held.release((slot) => !this.#holdsBack(slot));
  }

  /** Holds while the work is under way. */
  async during<Result>(slots: readonly number[], work: () => Promise<Result>): Promise<Result> {
    this.hold(slots);
    try {
      return await work();
    } finally {
      this.release(slots);
    }
  }

  #decide(call: Call): Verdict | undefined {
    const slot = slotOf(call);
    return this.#holdsBack(slot) ? this.#held.hold(call, slot) : undefined;
  }

  #holdsBack(slot: number): boolean {
    return slot === ALL_SLOTS ? this.held.length > 0 : slot !== NO_SLOT && this.#holds[slot] !== 0;
  }
}

/** The slot whose keys a command touches when it runs now. */
function slotOf({ client, command, hasKey, key }: Call): number {
  if (command.fullName === "exec") return client.queuedSlot;
  // Between MULTI and EXEC commands are only queued: it is EXEC that waits.
  if (client.intercept !== undefined) return NO_SLOT;
  if (hasKey) return key.slot;
  return (command.bits & CommandBits.write) === 0 ? NO_SLOT : ALL_SLOTS;
}
