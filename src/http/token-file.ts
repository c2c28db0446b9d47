/**
 * Tokens in a file of the operator's: a line for each role, with the tokens behind it.
 *
 * The file is looked at now and then. What it says counts once it has been the same at two looks: a file that somebody writes at this moment may lack half of its lines.
 */
import { StartError, messageOf } from "../errors.ts";
import type { Machine } from "../world.ts";
import { TOKEN_ROLES, type TokenRole } from "./roles.ts";

/** The tokens of each role that a file has any for, with a blank between them. */
export type FileTokens = Readonly<Partial<Record<TokenRole, string>>>;

/** What a look has shown. */
export type TokenNews =
  | { readonly type: "changed"; readonly tokens: FileTokens }
  /** What the file says is of no use, in a sentence that tells no token. Told once for each reason. */
  | { readonly type: "wrong"; readonly reason: string };

export class TokenFile {
  readonly #path: string;
  readonly #machine: Pick<Machine, "readOperatorFile">;
  #tokens: FileTokens;
  /** What the last look has seen: tokens, or why there are none. */
  #seen = "";
  #isLooking = false;

  private constructor(path: string, machine: Pick<Machine, "readOperatorFile">, tokens: FileTokens) {
    this.#path = path;
    this.#machine = machine;
    this.#tokens = tokens;
  }

  /** @throws {StartError} If it cannot be read, or makes no sense. */
  static async open(path: string, machine: Pick<Machine, "readOperatorFile">): Promise<TokenFile> {
    return new TokenFile(path, machine, await readTokenFile(path, machine));
  }

  get tokens(): FileTokens {
    return this.#tokens;
  }

  /** Looks whether it has changed. @returns What is new, if anything is. */
  async look(): Promise<TokenNews | undefined> {
    if (this.#isLooking) return undefined;
    this.#isLooking = true;
    let found: FileTokens | string;
    try {
      found = await readTokenFile(this.#path, this.#machine);
    } catch (thrown) {
      found = messageOf(thrown);
    } finally {
      this.#isLooking = false;
    }
    const seen = JSON.stringify(found);
    const isTheSame = seen === this.#seen;
    this.#seen = seen;
    if (typeof found === "string") return isTheSame ? undefined : { type: "wrong", reason: found };
    if (!isTheSame || seen === JSON.stringify(this.#tokens)) return undefined;
    this.#tokens = found;
    return { type: "changed", tokens: found };
  }
}

/**
 * @returns The tokens of each role that the file has, with a blank between them.
 * @throws {StartError} If it cannot be read, or a line begins with no role. No message tells a token.
 */
async function readTokenFile(path: string, machine: Pick<Machine, "readOperatorFile">): Promise<FileTokens> {
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
