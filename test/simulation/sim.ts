/**
 * `bun run sim`: runs the simulation from seeds. Also runs on Deno: `deno run -A test/simulation/sim.ts --seed 1`.
 *
 * Prints each seed with what it has drawn before it runs, so that a run which hangs or crashes can be repeated all the same.
 */
import { randomInt } from "node:crypto";
import process from "node:process";
import { Command } from "commander";
import { drawSwarm, formatSwarm } from "../support/swarm.ts";
import { runRedirects } from "./redirect-run.ts";

/** Seeds that are drawn are below this: short enough to type. */
const SEED_LIMIT = 1_000_000_000;

const program = new Command("sim")
  .description("Simulates clusters from seeds: faults as the seed draws them, checkers on the outside.")
  .option("--seed <number>", "the first seed (default: a fresh one)")
  .option("--seeds <count>", "how many seeds, from the first one on", "1")
  .option("--trace", "prints every event", false)
  .option("--without <plugin...>", "turns plugins of the nodes off, to see the checkers find it", []);
program.parse(process.argv);
const flags = program.opts<{ seed?: string; seeds: string; trace: boolean; without: string[] }>();

function wholeNumber(flag: string, text: string): number {
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  process.stderr.write(`error: ${flag} is "${text}", but it must be a whole number\n`);
  return process.exit(2);
}

const first = flags.seed === undefined ? randomInt(SEED_LIMIT) : wholeNumber("--seed", flags.seed);
const count = wholeNumber("--seeds", flags.seeds);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
let failures = 0;
for (let seed = first; seed < first + count; seed += 1) {
  say(`seed ${seed}`);
  for (const line of formatSwarm(drawSwarm(seed)).split("\n")) say(`  ${line}`);
  try {
    const result = await runRedirects(seed, { disabled: flags.without, sink: flags.trace ? say : undefined });
    say(
      `  ok: ${result.events} events in ${(result.virtualMs / 1000).toFixed(1)} virtual seconds, ${result.answered} answers, ${result.redirected} redirects, ${result.unknown} of unknown outcome; ${result.faults}`,
    );
    say(`  trace ${result.traceHash}`);
  } catch (thrown) {
    failures += 1;
    say(`  FAILED: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    const without = flags.without.length === 0 ? "" : ` --without ${flags.without.join(" ")}`;
    say(`  repeat it with: bun run sim --seed ${seed}${without} (--trace prints every event)`);
  }
}
say(failures === 0 ? `${count} ${count === 1 ? "seed" : "seeds"}, all clean` : `${failures} of ${count} seeds failed`);
process.exit(failures === 0 ? 0 : 1);
