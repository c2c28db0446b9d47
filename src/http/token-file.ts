/** Tokens in a file of the operator's: a line for each role, with the tokens behind it. */
import { StartError, messageOf } from "../errors.ts";
import type { Machine } from "../world.ts";
import { TOKEN_ROLES, type TokenRole } from "./roles.ts";

/**
 * @returns The tokens of each role that the file has, with a blank between them.
 * @throws {StartError} If it cannot be read, or a line begins with no role. No message tells a token.
 */
export async function readTokenFile(
  path: string,
  machine: Pick<Machine, "readOperatorFile">,
): Promise<Readonly<Partial<Record<TokenRole, string>>>> {
  let text: string;
  try {
    text = await machine.readOperatorFile(path);
  } catch (thrown) {
    throw new StartError(`Cannot read tokens from "${path}": ${messageOf(thrown)}`, { cause: thrown });
  }
  const found: Partial<Record<TokenRole, string>> = {};
  for (const [index, line] of text.split("\n").entries()) {
    const [word = "", ...tokens] = line.trim().split(/\s+/);
    if (word === "") continue;
    const role = TOKEN_ROLES.find((each) => each === word);
    if (role === undefined) {
      throw new StartError(
        `Cannot use the tokens in "${path}": line ${index + 1} begins with none of ${TOKEN_ROLES.join(", ")}.`,
      );
    }
    found[role] = [found[role], ...tokens].filter((each) => each !== undefined).join(" ");
  }
  return found;
}
