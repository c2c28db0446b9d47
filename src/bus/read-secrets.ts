/** The cluster's secrets as a node is started with them: from a setting, or from a file. */
import type { CoreSettings } from "../config.ts";
import { StartError, messageOf } from "../errors.ts";
import { parseSecrets } from "../protocol/link/secrets.ts";
import type { Machine } from "../world.ts";

/**
 * @returns The one to use, and maybe one more to accept; none if none was given.
 * @throws {StartError} If a file cannot be read, or what there is makes no secret. No message tells a secret.
 */
export async function readSecrets(
  core: Pick<CoreSettings, "secret" | "secretFile">,
  machine: Pick<Machine, "readOperatorFile">,
): Promise<readonly string[]> {
  const { secret, secretFile } = core;
  if (secretFile === undefined) return secret === undefined ? [] : [secret];
  if (secret !== undefined) {
    throw new StartError('Settings "secret" and "secretFile" are both set: which of the two counts? Leave one out.');
  }
  let text: string;
  try {
    text = await machine.readOperatorFile(secretFile);
  } catch (thrown) {
    throw new StartError(`Cannot read the cluster secret from "${secretFile}": ${messageOf(thrown)}`, {
      cause: thrown,
    });
  }
  const parsed = parseSecrets(text);
  const problem =
    "problem" in parsed ? parsed.problem : parsed.secrets[0] === "" ? "its first secret is none" : undefined;
  if (problem !== undefined || "problem" in parsed) {
    throw new StartError(
      `Cannot use the cluster secret in "${secretFile}": ${problem ?? ""}. Its first line is the secret; a second one may hold another that is accepted.`,
    );
  }
  return parsed.secrets;
}
