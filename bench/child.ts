/** Runs another program to its end. */

/** How it ended. */
export interface Ended {
  readonly output: string;
  readonly errors: string;
  readonly code: number;
}

/**
 * Runs a program and waits for it.
 *
 * @param command The program and its arguments.
 * @returns Everything it printed, and its exit code.
 * @throws {Error} If there is no such program.
 */
export async function runChild(command: readonly string[]): Promise<Ended> {
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [output, errors, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { output, errors, code };
}

/**
 * Runs a file of this directory in a process of its own.
 *
 * @param path The file. It takes its options as JSON in its one argument, and prints its answer as JSON.
 * @param options What it is to do.
 * @returns Its answer, which the caller knows the type of.
 * @throws {Error} If it fails, with what it said.
 */
export async function runHelper(path: string, options: unknown): Promise<unknown> {
  const { output, errors, code } = await runChild([process.execPath, path, JSON.stringify(options)]);
  if (code !== 0) throw new Error(`${path.replace(/^.*\//, "")} ended with ${code}: ${errors.trim()}`);
  return JSON.parse(output);
}
