/** What the commands that ask by REST have in common: they print what was told, for people or for programs, or say why nothing was. */
import { StartError } from "../errors.ts";
import { EXIT_UNKNOWN } from "./health-command.ts";
import { failStart, sayError } from "./report.ts";
import { RestAccess, type RestFlags } from "./rest-access.ts";
import { jsonText } from "./terminal.ts";

export type JsonFlags = RestFlags & { readonly json: boolean };

/** Says why a command could not be done. The exit code says that nobody can tell. */
export function sayUnknown(thrown: unknown): void {
  if (!(thrown instanceof StartError)) failStart(thrown);
  sayError(thrown);
  process.exitCode = EXIT_UNKNOWN;
}

/** What ends a command that goes on by itself: somebody interrupts it, or nobody reads what it prints any more. */
export interface Ending {
  readonly signal: AbortSignal;
  end(): void;
  /** It has ended: nothing is listened for any more. */
  release(): void;
}

export function untilInterrupted(): Ending {
  const controller = new AbortController();
  const end = (): void => controller.abort();
  process.once("SIGINT", end);
  process.once("SIGTERM", end);
  // What is written to a pipe that nobody reads from fails later: it is listened for until the process ends.
  process.stdout.on("error", end);
  return {
    signal: controller.signal,
    end,
    release() {
      process.removeListener("SIGINT", end);
      process.removeListener("SIGTERM", end);
    },
  };
}

/** Prints what a command tells, as JSON or for people. */
export async function tell<Told>(
  flags: JsonFlags,
  ask: (access: RestAccess) => Promise<Told>,
  describe: (told: Told) => string,
): Promise<Told | undefined> {
  try {
    const told = await ask(new RestAccess(flags));
    process.stdout.write(`${flags.json ? jsonText(told, 2) : describe(told)}\n`);
    return told;
  } catch (thrown) {
    sayUnknown(thrown);
    return undefined;
  }
}
