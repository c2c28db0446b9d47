/** Commands run one after another at one node, this one or another: what comes next may depend on what came before. */
import type { ReplyValue } from "../codec/resp-reader.ts";

export type Command = readonly (string | Uint8Array)[];

/** Runs commands in order. @returns A reply for each. @throws {SessionLost} If there are none. */
export type Run = (...commands: readonly Command[]) => Promise<readonly ReplyValue[]>;

/** Commands that have no reply. */
export class SessionLost extends Error {
  override readonly name = "SessionLost";
  /** Nothing of them has reached the node: else nobody knows what became of them. */
  readonly isUnsent: boolean;

  /** @param reason In words. */
  constructor(reason: string, isUnsent: boolean) {
    super(reason);
    this.isUnsent = isUnsent;
  }
}
