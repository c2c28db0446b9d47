/** A question before something that cannot be taken back. */
import { createInterface } from "node:readline/promises";
import { StartError } from "../errors.ts";

/**
 * Asks on the terminal, and wants the word `yes`.
 *
 * @param isSaid It was said by a flag.
 * @throws {StartError} If it was not said, or there is nobody to ask.
 */
export async function confirm(question: string, isSaid: boolean): Promise<void> {
  if (isSaid) return;
  if (!process.stdin.isTTY) throw new StartError("Nothing was done: say --yes if that is what you want.");
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await terminal.question(`${question} Type yes: `);
  terminal.close();
  if (answer.trim().toLowerCase() !== "yes") throw new StartError("Nothing was done.");
}
