/** Makes a mutated copy of the sources, and hunts it. */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Mutant } from "./mutant.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/** How a mutant was found. */
export interface Caught {
  readonly seed: number;
  /** What the checkers said. */
  readonly what: string;
}

/** Whether the piece that a mutant replaces is there, exactly once. */
export async function isApplicable(mutant: Mutant): Promise<boolean> {
  const source = await readFile(join(ROOT, mutant.file), "utf8");
  return source.split(mutant.find).length === 2;
}

/** A hunt is over before the engine's last compiler has paid for itself: without it, it takes a fifth less of processor time. */
const ENGINE = { BUN_JSC_useFTLJIT: "0" };

/** Runs seeds with the sources of a directory. @returns `undefined` if none fails. */
async function firstFailure(
  directory: string,
  run: Mutant["run"],
  first: number,
  count: number,
): Promise<Caught | undefined> {
  const child = Bun.spawn([process.execPath, "test/simulation/mutants/hunt.ts", run, String(first), String(count)], {
    cwd: directory,
    env: { ...process.env, ...ENGINE },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  const code = await child.exited;
  // A mutant that does not even run was found by the compiler, which proves nothing.
  if (code !== 0 && errors !== "") throw new Error(`${directory} does not run: ${errors.slice(0, 500)}`);
  if (code !== 0) return undefined;
  const [seed, ...what] = output.trim().split(" ");
  return { seed: Number(seed), what: what.join(" ") };
}

/** What came of seeds without any mutant: several mutants are found by the same. */
const unmutated = new Map<string, Promise<Caught | undefined>>();

function withoutIt(run: Mutant["run"], seed: number): Promise<Caught | undefined> {
  const key = `${run} ${seed}`;
  let caught = unmutated.get(key);
  if (caught === undefined) {
    caught = firstFailure(ROOT, run, seed, 1);
    unmutated.set(key, caught);
  }
  return caught;
}

/**
 * Hunts one mutant.
 *
 * @param first The first seed.
 * @throws If what finds it fails without it as well.
 * @returns `undefined` if it lives.
 */
export async function hunt(mutant: Mutant, first = mutant.seed ?? 1): Promise<Caught | undefined> {
  const directory = await mkdtemp(join(tmpdir(), `bunch-mutant-${mutant.name}-`));
  try {
    for (const part of ["src", "plugins", "test", "package.json", "tsconfig.json"]) {
      await cp(join(ROOT, part), join(directory, part), { recursive: true });
    }
    await symlink(join(ROOT, "node_modules"), join(directory, "node_modules"));
    const file = join(directory, mutant.file);
    const source = await readFile(file, "utf8");
    await writeFile(
      file,
      source.replace(mutant.find, () => mutant.replace),
    );
    const caught = await firstFailure(directory, mutant.run, first, mutant.withinSeeds);
    if (caught === undefined) return undefined;
    // What fails without it as well was not found because of it.
    const alone = await withoutIt(mutant.run, caught.seed);
    if (alone !== undefined)
      throw new Error(`Seed ${alone.seed} fails without mutant ${mutant.name} too: ${alone.what}`);
    return caught;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

// `bun breed.ts [--from SEED] [NAME...]`: rows of the table in docs/simulation.md. Hunts from each mutant's own seed; from 1 to see which one is the first.
if (import.meta.main) {
  const { MUTANTS } = await import("./mutants.ts");
  const { values, positionals } = parseArgs({
    args: process.argv.slice(2),
    options: { from: { type: "string" } },
    allowPositionals: true,
  });
  const names = new Set(positionals);
  for (const mutant of MUTANTS) {
    if (names.size > 0 && !names.has(mutant.name)) continue;
    const beganAtMs = performance.now();
    const first = values.from === undefined ? mutant.seed : Number(values.from);
    const caught = (await isApplicable(mutant)) ? await hunt(mutant, first) : undefined;
    const seconds = ((performance.now() - beganAtMs) / 1000).toFixed(1);
    const told = caught === undefined ? "LIVES" : `seed ${caught.seed}: ${caught.what}`;
    process.stdout.write(`| ${mutant.name} | ${mutant.run} | ${told} | ${seconds} s |\n`);
  }
}
