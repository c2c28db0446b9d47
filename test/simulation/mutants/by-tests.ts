/** Runs tests against mutated copies of the sources. One copy is enough for all: each mutant is taken back before the next. `bun by-tests.ts` prints the table. */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { TestedMutant } from "./tested-mutants.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
/** Nothing here is timed: a machine that is busy takes longer. */
const LIMIT_MS = "120000";

export class MutatedCopy {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async make(): Promise<MutatedCopy> {
    const directory = await mkdtemp(join(tmpdir(), "bunch-tested-mutants-"));
    for (const part of ["src", "plugins", "test", "package.json", "tsconfig.json", "bunfig.toml"])
      await cp(join(ROOT, part), join(directory, part), { recursive: true });
    await symlink(join(ROOT, "node_modules"), join(directory, "node_modules"));
    return new MutatedCopy(directory);
  }

  async remove(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** Runs the tests that mutants name, without any of these. @returns What they printed, if not all passed. */
  async problemWithout(mutants: readonly TestedMutant[]): Promise<string | undefined> {
    const { output, isGreen } = await this.#test(
      mutants.map(({ by }) => by),
      mutants.map(({ named }) => named),
    );
    return isGreen ? undefined : output;
  }

  /** Runs the tests that find a mutant. @returns The first that failed; `undefined` if it lives. @throws If the mutant has to follow the sources. */
  async hunt({ name, file, find, replace, by, named }: TestedMutant): Promise<string | undefined> {
    const path = join(this.#directory, file);
    const source = await readFile(path, "utf8");
    if (source.split(find).length !== 2) throw new Error(`${file} has not got once what mutant ${name} replaces`);
    await writeFile(
      path,
      source.replace(find, () => replace),
    );
    try {
      const { output } = await this.#test([by], [named]);
      // A mutant that does not even run was found by the compiler, which proves nothing.
      return /^\(fail\) (.*?)( \[.*)?$/m.exec(output)?.[1];
    } finally {
      await writeFile(path, source);
    }
  }

  async #test(
    files: readonly string[],
    names: readonly string[],
  ): Promise<{ readonly output: string; readonly isGreen: boolean }> {
    const pattern = names.map((name) => name.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`)).join("|");
    const child = Bun.spawn(
      [process.execPath, "test", "--timeout", LIMIT_MS, "-t", pattern, ...new Set(files.map((file) => `./${file}`))],
      { cwd: this.#directory, stdin: "ignore", stdout: "pipe", stderr: "pipe" },
    );
    const [out, errors, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { output: out + errors, isGreen: code === 0 };
  }
}

if (import.meta.main) {
  const { TESTED_MUTANTS } = await import("./tested-mutants.ts");
  const names = new Set(process.argv.slice(2));
  const copy = await MutatedCopy.make();
  try {
    for (const mutant of TESTED_MUTANTS) {
      if (names.size > 0 && !names.has(mutant.name)) continue;
      const beganAtMs = performance.now();
      const found = await copy.hunt(mutant).catch((thrown: unknown) => `CANNOT BE MADE: ${String(thrown)}`);
      const seconds = ((performance.now() - beganAtMs) / 1000).toFixed(1);
      process.stdout.write(`| ${mutant.name} | ${found ?? "LIVES"} | ${seconds} s |\n`);
    }
  } finally {
    await copy.remove();
  }
}
