/** What the commands that ask by REST have in common: they print what was told, for people or for programs, or say why nothing was. */
import { StartError } from "../errors.ts";
import { EXIT_UNKNOWN } from "./health-command.ts";
import { EXIT_USAGE, failStart, sayError } from "./report.ts";
import { terminalColumns } from "./fitted-table.ts";
import { RestAccess, RestError, type RestFlags } from "./rest-access.ts";
import { jsonText } from "./terminal.ts";

export type JsonFlags = RestFlags & { readonly json: boolean };

/**
 * Says why a command could not be done. The exit code says whether nobody can tell, or the question is to blame: there is no such thing, or a flag makes no sense.
 *
 * @param usage The exit code for the latter.
 */
export function sayUnknown(thrown: unknown, usage = EXIT_USAGE): void {
  if (!(thrown instanceof StartError)) failStart(thrown);
  sayError(thrown);
  process.exitCode = exitCodeFor(thrown, usage);
}

export function exitCodeFor(thrown: StartError, usage = EXIT_USAGE): number {
  return thrown instanceof RestError && !thrown.isAboutQuestion ? EXIT_UNKNOWN : usage;
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

/**
 * Prints what a command tells, as JSON or for people.
 *
 * @param describe What people get, where the terminal has so many columns (0: without bound).
 * @param usage The exit code where the question is to blame.
 */
export async function tell<Told>(
  flags: JsonFlags,
  ask: (access: RestAccess) => Promise<Told>,
  describe: (told: Told, room: number) => string,
  usage?: number,
): Promise<Told | undefined> {
  try {
    const told = await ask(new RestAccess(flags));
    process.stdout.write(`${flags.json ? jsonText(told, 2) : describe(told, terminalColumns())}\n`);
    return told;
  } catch (thrown) {
    sayUnknown(thrown, usage);
    return undefined;
  }
}
