/** How the command line says no: one sentence, exit code 2; and what to do with an error that nobody foresaw. */
import pc from "picocolors";
import { StartError, messageOf } from "../errors.ts";
import { harmlessLines } from "./terminal.ts";

/** What was asked for cannot be: a bad flag, a bad setting, a taken port. Where the code says how well a cluster is, 2 means something else. */
export const EXIT_USAGE = 2;

/** Prints what was thrown for the person who typed the command; it may name what others have said. */
export function sayError(thrown: StartError): void {
  process.stderr.write(`${pc.red("error:")} ${harmlessLines(messageOf(thrown))}\n`);
}

/**
 * Prints why it cannot go on, and exits.
 *
 * @param thrown What was thrown: a `StartError` is a sentence for the person who typed the command; anything else is a bug, shown with its stack.
 */
export function failStart(thrown: unknown): never {
  if (thrown instanceof StartError) {
    sayError(thrown);
    process.exit(EXIT_USAGE);
  }
  process.stderr.write(
    `${pc.red("fault:")} ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}\n`,
  );
  process.exit(1);
}
