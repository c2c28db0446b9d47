/** `bunch plan`: what would have to move for slots to be even, or for a node to be empty. Shows it, and keeps it in a file for `bunch apply`; changes nothing. */
import { writeFile } from "node:fs/promises";
import { Command, Option } from "commander";
import pc from "picocolors";
import type { ClusterMap, ShardId } from "../contracts/topology.ts";
import { StartError } from "../errors.ts";
import { PLAN_MEASURES, type Plan, type PlanMeasure, findShard, twiceWeighed } from "../protocol/plan/plan.ts";
import { type PlanOptions, type PlanOutcome, planDrain, planRebalance } from "../protocol/plan/rebalance.ts";
import type { Measured } from "../migration/measure-slots.ts";
import { type AccessFlags, ClusterAccess, withAccess } from "./cluster-access.ts";
import { encodePlanFile } from "./plan-file.ts";
import { terminalColumns } from "./fitted-table.ts";
import { describePlan, shardName } from "./plan-tables.ts";
import { failStart } from "./report.ts";

interface PlanFlags extends AccessFlags {
  readonly by: PlanMeasure;
  readonly out?: string;
  readonly weights?: string;
  readonly threshold?: string;
  readonly skipEmpty?: boolean;
  readonly allowFewerCopies?: boolean;
}

/** Makes the subcommand. */
export function planCommand(): Command {
  const rebalance = withPlanFlags(
    new Command("rebalance").description("What moves slots so that each shard has its part."),
  )
    .option("--weights <list>", "parts of shards beside each other, such as a=2,b=1; 0 empties one; default: 1 each")
    .option("--threshold <percent>", "how far from its part a shard may be", "2")
    .option("--skip-empty", "gives nothing to shards that have no slots (default: they get their part)")
    .action((flags: PlanFlags) =>
      plan(flags, (map, measured, options) =>
        planRebalance(map, measured.loads, {
          ...options,
          threshold: readThreshold(flags.threshold ?? "2"),
          weights: readWeights(map, flags.weights),
          leavesEmpty: flags.skipEmpty === true,
        }),
      ),
    );
  const drain = withPlanFlags(
    new Command("drain")
      .argument("<nodes...>", "a node of each shard, or the shards: names, ids, or the beginnings of some")
      .description("What moves all slots of shards to the others."),
  ).action((names: readonly string[], flags: PlanFlags) =>
    plan(flags, (map, measured, options) => {
      const shards = new Set(names.map((name) => shardCalled(map, name)));
      return planDrain(map, measured.loads, [...shards], options);
    }),
  );
  return new Command("plan")
    .description("Plans moves of slots: what would move, what it weighs, how long it takes. Changes nothing.")
    .addCommand(rebalance)
    .addCommand(drain);
}

function withPlanFlags(command: Command): Command {
  return withAccess(command)
    .addOption(
      new Option(
        "--by <measure>",
        "what is to be even: slots, keys, bytes, or load (processor time of the last minute)",
      )
        .choices(PLAN_MEASURES)
        .default("slots"),
    )
    .option(
      "--allow-fewer-copies",
      "moves slots to shards with fewer members in sync, too, where no others lack any (default: they stay where they are)",
    )
    .option("--out <file>", "keeps the plan in a file, for bunch apply");
}

/** The shard that somebody means. @throws {StartError} If there is none. */
export function shardCalled(map: ClusterMap, text: string): ShardId {
  const shard = findShard(map, text);
  if ("problem" in shard) {
    const names = map.shards.map(({ id }) => shardName(map, id)).join(", ");
    throw new StartError(`In this cluster ${shard.problem}; the shards' primaries are ${names}.`);
  }
  return shard.id;
}

/** `a=2,b=0.5` */
function readWeights(map: ClusterMap, text: string | undefined): ReadonlyMap<ShardId, number> {
  const weights = new Map<ShardId, number>();
  for (const part of text === undefined ? [] : text.split(",")) {
    const [, name, value] = /^(.+)=([0-9]+(?:\.[0-9]+)?)$/.exec(part.trim()) ?? [];
    if (name === undefined || value === undefined) {
      throw new StartError(`Flag --weights has "${part}", but each part must be SHARD=NUMBER, such as a=2.`);
    }
    const shard = shardCalled(map, name);
    if (weights.has(shard)) throw new StartError(`Flag --weights is "${text}", but ${twiceWeighed(name)}.`);
    weights.set(shard, Number(value));
  }
  return weights;
}

function readThreshold(text: string): number {
  const percent = Number(text);
  if (/^[0-9]+(\.[0-9]+)?$/.test(text) && percent < 100) return percent / 100;
  throw new StartError(`Flag --threshold is "${text}", but it must be a number of percent from 0 to 100.`);
}

async function plan(
  flags: PlanFlags,
  make: (map: ClusterMap, measured: Measured, options: PlanOptions) => PlanOutcome,
): Promise<void> {
  try {
    const access = new ClusterAccess(flags);
    const map = await access.map();
    const measured = await access.measure(map);
    const leftOut = new Set(measured.silent.keys());
    const made = make(map, measured, { by: flags.by, allowsFewerCopies: flags.allowFewerCopies === true, leftOut });
    if ("problem" in made) throw new StartError(`There is no such plan: ${made.problem}.`);
    process.stdout.write(`${describePlan(map, made, terminalColumns())}\n`);
    for (const [shard, reason] of measured.silent) {
      process.stdout.write(`${pc.yellow("warning:")} ${shardName(map, shard)} is left out: ${reason}\n`);
    }
    await keep(made, flags.out, access);
  } catch (thrown) {
    failStart(thrown);
  }
}

async function keep(made: Plan, file: string | undefined, { nodeFlag }: ClusterAccess): Promise<void> {
  if (made.moves.length === 0) process.stdout.write("There is nothing to move.\n");
  else if (file === undefined) {
    process.stdout.write(
      `Nothing has changed. With --out FILE the plan is kept, and bunch apply FILE${nodeFlag} does it.\n`,
    );
  }
  if (file === undefined) return;
  await writeFile(file, encodePlanFile(made));
  if (made.moves.length > 0)
    process.stdout.write(`The plan is in "${file}": bunch apply ${file}${nodeFlag} does it.\n`);
}
