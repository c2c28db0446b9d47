/** Routing: which node serves a command. Provided by a router (`hash-slot-router`); without one a node is a plain single-node store. */
import { service } from "../service.ts";

export interface Router {
  /** The errors of the router in clients' words, for those that check keys by themselves (EXEC, which sees the keys of many commands). */
  readonly crossSlotError: string;
  /** Commands answered with MOVED since the start. */
  readonly movedCount: number;
  /** How often commands had to wait until it was agreed whose a slot is, since the start. */
  readonly heldCount: number;
  /** Decides anew on those that wait at this moment. */
  retryHeld(): void;
}

export const routerService = service<Router>("router");
