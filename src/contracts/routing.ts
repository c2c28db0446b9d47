/** Routing: which node serves a command. Provided by a router (`hash-slot-router`); without one a node is a plain single-node store. */
import type { Call } from "../call.ts";
import type { ArgumentList } from "../codec/resp-parser.ts";
import { service } from "../service.ts";

export interface Router {
  /**
   * Whether a transaction may not run as a whole: its keys are in several slots, or some of them are here and others not. Of each command by itself
   * `commandBefore` is asked.
   *
   * @param call EXEC, whose reply is the error then.
   */
  refusesTransaction(call: Call, queue: readonly ArgumentList[]): boolean;
  /** Commands answered with MOVED since the start. */
  readonly movedCount: number;
  /** Commands answered with ASK since the start. */
  readonly askedCount: number;
  /** How often commands had to wait until it was agreed whose a slot is, since the start. */
  readonly heldCount: number;
}

export const routerService = service<Router>("router");
