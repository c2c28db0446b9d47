/**
 * `bun run sim`: runs the simulation from seeds. Also runs on Deno: `deno run -A test/simulation/sim.ts --seed 1`.
 *
 * Prints each seed with what it has drawn before it runs, so that a run which hangs or crashes can be repeated all the same.
 */
import { randomInt } from "node:crypto";
import process from "node:process";
import { Command } from "commander";
import { drawSwarm, formatSwarm } from "../support/swarm.ts";
import { runCluster } from "./cluster-run.ts";
import { runFormation } from "./formation-run.ts";
import { runMeeting } from "./meeting-run.ts";
import { runForget } from "./forget-run.ts";
import { runRecover } from "./recover-run.ts";
import { runRedirects } from "./redirect-run.ts";
import { runReplication } from "./replication-run.ts";
import { runReset } from "./reset-run.ts";
import { runScale } from "./scale-run.ts";

/** Seeds that are drawn are below this: short enough to type. */
const SEED_LIMIT = 1_000_000_000;

const program = new Command("sim")
  .description("Simulates clusters from seeds: faults as the seed draws them, checkers on the outside.")
  .option("--seed <number>", "the first seed (default: a fresh one)")
  .option("--seeds <count>", "how many seeds, from the first one on", "1")
  .option(
    "--run <kinds...>",
    "what is simulated: redirects, cluster, forget, reset, recover, formation, meeting, replication, failover, migration, rebalance, slots (default: all of these), scale",
    [
      "redirects",
      "cluster",
      "forget",
      "reset",
      "recover",
      "formation",
      "meeting",
      "replication",
      "failover",
      "migration",
      "rebalance",
      "slots",
    ],
  )
  .option("--nodes <count>", "how many nodes a cluster run has (default: as the seed draws it)")
  .option("--ask-every <ms>", "how often a cluster run asks for a change (default: as the seed draws it)")
  .option("--learners <count>", "how many learners a scale run has", "200")
  .option("--trace", "prints every event", false)
  .option("--without <plugin...>", "turns plugins of the nodes off, to see the checkers find it", []);
program.parse(process.argv);
const flags = program.opts<{
  seed?: string;
  seeds: string;
  run: string[];
  nodes?: string;
  askEvery?: string;
  learners: string;
  trace: boolean;
  without: string[];
}>();

function wholeNumber(flag: string, text: string): number {
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  process.stderr.write(`error: ${flag} is "${text}", but it must be a whole number\n`);
  return process.exit(2);
}

/** What came of a run. */
interface Told {
  readonly told: string;
  readonly traceHash: string;
  readonly events: number;
}

/** Each kind of run, with the line that tells what came of it. */
const KINDS: Readonly<Record<string, (seed: number) => Promise<Told>>> = {
  async redirects(seed) {
    const result = await runRedirects(seed, { disabled: flags.without, sink });
    const { events, virtualMs, answered, redirected, unknown, faults, traceHash } = result;
    const told = `${events} events in ${seconds(virtualMs)}, ${answered} answers, ${redirected} redirects, ${unknown} of unknown outcome; ${faults}`;
    return { told, traceHash, events };
  },
  async cluster(seed) {
    const result = await runCluster(seed, { nodes, askEveryMs, sink });
    const {
      events,
      virtualMs,
      done,
      rejected,
      refused,
      unknown,
      reads,
      terms,
      snapshots,
      fetchedSnapshots,
      faults,
      traceHash,
    } = result;
    const told = `${events} events in ${seconds(virtualMs)}, ${done} changes, ${rejected} rejected, ${refused} refused, ${unknown} of unknown outcome, ${reads} reads, ${terms} terms, ${snapshots} snapshots, ${fetchedSnapshots} of them asked for; ${faults}`;
    return { told, traceHash, events };
  },
  async scale(seed) {
    const tell = (sentence: string): void => say(`  ${sentence}`);
    const result = await runScale(seed, { learners: wholeNumber("--learners", flags.learners), sink, tell });
    const { events, virtualMs, done, terms, snapshots, traceHash } = result;
    const told = `${events} events in ${seconds(virtualMs)}, ${done} changes, ${terms} terms, ${snapshots} snapshots`;
    return { told, traceHash, events };
  },
  async forget(seed) {
    const { events, virtualMs, fates, refused, terms, faults, traceHash } = await runForget(seed, { sink });
    const told = `${events} events in ${seconds(virtualMs)}, forgotten: one that ${fates.join(", one that ")}; they refused ${refused} commands; ${terms} terms; ${faults}`;
    return { told, traceHash, events };
  },
  async reset(seed) {
    const { events, virtualMs, kinds, commands, crashesMidway, terms, faults, traceHash } = await runReset(seed, {
      sink,
    });
    const told = `${events} events in ${seconds(virtualMs)}, reset: ${kinds.join(", ")}, by ${commands} commands; ${crashesMidway} crashes midway; ${terms} terms; ${faults}`;
    return { told, traceHash, events };
  },
  async recover(seed) {
    const { events, virtualMs, lost, attempts, finished, kept, changes, terms, faults, traceHash } = await runRecover(
      seed,
      { sink },
    );
    const told = `${events} events in ${seconds(virtualMs)}, ${lost} disks lost; recovered in ${attempts} attempts, ${finished} of them to end another; ${kept} acts kept; ${changes} changes; ${terms} terms; ${faults}`;
    return { told, traceHash, events };
  },
  async formation(seed) {
    const { events, virtualMs, founders, joiners, replicas, isFormedUnderFaults, terms, faults, traceHash } =
      await runFormation(seed, { sink });
    const when = isFormedUnderFaults ? "under faults" : "after them";
    const told = `${events} events in ${seconds(virtualMs)}, ${founders} founders, ${joiners} joiners, ${replicas} replicas, formed ${when}; ${terms} terms; ${faults}`;
    return { told, traceHash, events };
  },
  async replication(seed) {
    const result = await runReplication(seed, { sink });
    const {
      events,
      virtualMs,
      nodes: count,
      shards,
      answered,
      redirected,
      refused,
      unknown,
      faults,
      traceHash,
    } = result;
    const { promoted, killed, cutOff, planned, moved, lost, compared, lostWrites, replicaReads } = result;
    const told = `${events} events in ${seconds(virtualMs)}, ${count} nodes, ${shards} shards, ${answered} answers, ${redirected} redirects, ${refused} refused, ${unknown} of unknown outcome; ${killed} killed, ${promoted} promoted, ${cutOff} cut off, ${planned} planned, ${moved} moved, ${lost} shards lost; ${compared} digests compared; ${lostWrites} writes lost that a primary alone had, ${replicaReads} reads anywhere;${undecided(result)} ${faults}`;
    return { told, traceHash, events };
  },
  async failover(seed) {
    const result = await runReplication(seed, { sink, hasFailover: true });
    const { events, virtualMs, nodes: count, shards, answered, redirected, refused, unknown, traceHash } = result;
    const { primaries, cutOff, planned, lost, faults, lostWrites, replicaReads } = result;
    const told = `${events} events in ${seconds(virtualMs)}, ${count} nodes, ${shards} shards, ${answered} answers, ${redirected} redirects, ${refused} refused, ${unknown} of unknown outcome; ${primaries} changes of primaries, ${cutOff} cut off, ${planned} asked for, ${lost} shards lost; ${lostWrites} writes lost that a primary alone had, ${replicaReads} reads anywhere;${undecided(result)} ${faults}`;
    return { told, traceHash, events };
  },
  async migration(seed) {
    const result = await runReplication(seed, { sink, hasFailover: true, hasMigrations: true });
    const { events, virtualMs, nodes: count, shards, answered, redirected, refused, unknown, traceHash } = result;
    const { primaries, lost, migrations, completed, aborted, faults } = result;
    const told = `${events} events in ${seconds(virtualMs)}, ${count} nodes, ${shards} shards, ${answered} answers, ${redirected} redirects, ${refused} refused, ${unknown} of unknown outcome; ${migrations} migrations started, ${completed} completed, ${aborted} aborted; ${primaries} changes of primaries, ${lost} shards lost;${undecided(result)} ${faults}`;
    return { told, traceHash, events };
  },
  async rebalance(seed) {
    const result = await runReplication(seed, { sink, hasFailover: true, isRebalancing: true });
    const { events, virtualMs, nodes: count, shards, answered, redirected, refused, unknown, traceHash } = result;
    const { primaries, lost, automatic, migrations, completed, faults } = result;
    const told = `${events} events in ${seconds(virtualMs)}, ${count} nodes, ${shards} shards, ${answered} answers, ${redirected} redirects, ${refused} refused, ${unknown} of unknown outcome; ${migrations} migrations started, ${automatic} by themselves, ${completed} completed; ${primaries} changes of primaries, ${lost} shards lost;${undecided(result)} ${faults}`;
    return { told, traceHash, events };
  },
  async slots(seed) {
    const result = await runReplication(seed, { sink, hasFailover: true, isMovingSlots: true });
    const { events, virtualMs, nodes: count, shards, answered, redirected, refused, unknown, traceHash } = result;
    const { primaries, slotsGiven, keysMoved, lost, faults } = result;
    const told = `${events} events in ${seconds(virtualMs)}, ${count} nodes, ${shards} shards, ${answered} answers, ${redirected} redirects, ${refused} refused, ${unknown} of unknown outcome; ${keysMoved} keys and ${slotsGiven} slots moved, ${primaries} changes of primaries, ${lost} shards lost;${undecided(result)} ${faults}`;
    return { told, traceHash, events };
  },
  async meeting(seed) {
    const { events, virtualMs, nodes, commands, writes, faults, traceHash } = await runMeeting(seed, { sink });
    const told = `${events} events in ${seconds(virtualMs)}, ${nodes} nodes met by ${commands} commands, ${writes} writes; ${faults}`;
    return { told, traceHash, events };
  },
};

function undecided({ isUndecided }: { readonly isUndecided: boolean }): string {
  return isUndecided ? " the history was too much to find an order for;" : "";
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} virtual seconds`;
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const sink = flags.trace ? say : undefined;
const first = flags.seed === undefined ? randomInt(SEED_LIMIT) : wholeNumber("--seed", flags.seed);
const count = wholeNumber("--seeds", flags.seeds);
const nodes = flags.nodes === undefined ? undefined : wholeNumber("--nodes", flags.nodes);
const kinds = flags.run.map((name) => {
  const run = KINDS[name];
  if (run !== undefined) return { name, run };
  process.stderr.write(`error: --run is "${name}", but it must be one of ${Object.keys(KINDS).join(", ")}\n`);
  return process.exit(2);
});
const askEveryMs = flags.askEvery === undefined ? undefined : wholeNumber("--ask-every", flags.askEvery);
let failures = 0;
let allEvents = 0;
const startedAtMs = performance.now();
const startedAt = process.cpuUsage();
for (let seed = first; seed < first + count; seed += 1) {
  say(`seed ${seed}`);
  for (const line of formatSwarm(drawSwarm(seed)).split("\n")) say(`  ${line}`);
  for (const { name, run } of kinds) {
    try {
      const { told, traceHash, events } = await run(seed);
      allEvents += events;
      say(`  ${name} ok: ${told}`);
      say(`  trace ${traceHash}`);
    } catch (thrown) {
      failures += 1;
      say(`  ${name} FAILED: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
      const without = flags.without.length === 0 ? "" : ` --without ${flags.without.join(" ")}`;
      say(`  repeat it with: bun run sim --run ${name} --seed ${seed}${without} (--trace prints every event)`);
    }
  }
}
const { user, system } = process.cpuUsage(startedAt);
const perSecond = Math.round((allEvents * 1000) / (performance.now() - startedAtMs));
// Of all threads, those that compile and collect garbage too: what a busy machine changes least.
const perProcessorSecond = Math.round((allEvents * 1_000_000) / (user + system));
say(`${allEvents} events, ${perSecond} a second, ${perProcessorSecond} a second of processor time`);
say(
  failures === 0
    ? `${count} ${count === 1 ? "seed" : "seeds"}, all clean`
    : `${failures} runs of ${count} seeds failed`,
);
process.exit(failures === 0 ? 0 : 1);
