/** Plans of moves of slots, made and begun on this node. */
import type { ShardId } from "../contracts/topology.ts";
import { Problem } from "../http/problem.ts";
import { LOADS_COMMAND, measureSlots } from "../migration/measure-slots.ts";
import { type Plan, type PlanLoads, whyStale } from "../protocol/plan/plan.ts";
import { type PlanOptions, type PlanOutcome, planDrain, planRebalance } from "../protocol/plan/rebalance.ts";
import { problemOf } from "./resp-problem.ts";
import type { RestSources } from "./sources.ts";

/** How long a node may take to tell what its slots hold. */
const PATIENCE_MS = 5000;

/** What the slots of the cluster hold and cost, and the shards of which nobody could be asked. */
async function measure({ topology, nodes }: RestSources): Promise<{
  readonly loads: PlanLoads;
  readonly leftOut: ReadonlySet<ShardId>;
}> {
  const { loads, silent } = await measureSlots(topology.map, async ({ primary }) => {
    const node = topology.node(primary);
    return node === undefined ? undefined : await nodes.ask(node, LOADS_COMMAND, PATIENCE_MS);
  });
  return { loads, leftOut: new Set(silent.keys()) };
}

function planOf(outcome: PlanOutcome): Plan {
  if ("problem" in outcome) throw new Problem("conflict", `No plan can be made: ${outcome.problem}.`);
  return outcome;
}

/** @throws {Problem} If none can be made. */
export async function makeDrainPlan(sources: RestSources, shard: ShardId, options: PlanOptions = {}): Promise<Plan> {
  const { loads, leftOut } = await measure(sources);
  return planOf(planDrain(sources.topology.map, loads, [shard], { ...options, leftOut }));
}

/** @throws {Problem} If none can be made. */
export async function makeRebalancePlan(sources: RestSources, options: PlanOptions): Promise<Plan> {
  const { loads, leftOut } = await measure(sources);
  return planOf(planRebalance(sources.topology.map, loads, { ...options, leftOut }));
}

/**
 * Starts the moves of a plan: all of them, or none.
 *
 * @returns The tasks, in the order of the moves.
 * @throws {Problem} If one of them cannot be started.
 */
export async function startMoves({ topology, migrations }: RestSources, plan: Plan, cause: string): Promise<string[]> {
  if (migrations === undefined) throw new Problem("unavailable", "No plugin of this node moves slots.");
  const stale = whyStale(plan, topology.map);
  if (stale !== undefined) throw new Problem("stale", `The plan is not for this map any more: ${stale}.`);
  const outcome = await migrations.start(plan.moves, cause, { mapVersion: plan.mapVersion });
  if (outcome.type === "refused") throw problemOf(outcome.reason);
  return [...outcome.ids];
}
