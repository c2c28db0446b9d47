/** Plans of moves of slots, made and begun on this node. */
import type { ReplyValue } from "../codec/resp-reader.ts";
import { SLOT_COUNT } from "../codec/slot.ts";
import type { ShardId } from "../contracts/topology.ts";
import { Problem } from "../http/problem.ts";
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
  const numbers = (): Float64Array => new Float64Array(SLOT_COUNT);
  const loads = { keys: numbers(), bytes: numbers(), load: numbers() };
  const operations = numbers();
  const leftOut = new Set<ShardId>();
  await Promise.all(
    topology.map.shards.map(async ({ id, primary }) => {
      const node = topology.node(primary);
      const told = node === undefined ? undefined : await nodes.ask(node, ["CLUSTER", "SLOTLOADS"], PATIENCE_MS);
      if (!Array.isArray(told)) {
        leftOut.add(id);
        return;
      }
      const values = (told as readonly ReplyValue[]).map(Number);
      for (let at = 0; at + 4 < values.length; at += 5) {
        const [slot = 0, keys = 0, bytes = 0, commandCount = 0, microseconds = 0] = values.slice(at, at + 5);
        loads.keys[slot] = keys;
        loads.bytes[slot] = bytes;
        loads.load[slot] = microseconds;
        operations[slot] = commandCount;
      }
    }),
  );
  // Where nobody measured time, commands say as much.
  return { loads: loads.load.some((each) => each > 0) ? loads : { ...loads, load: operations }, leftOut };
}

function planOf(outcome: PlanOutcome): Plan {
  if ("problem" in outcome) throw new Problem("conflict", `There is no such plan: ${outcome.problem}.`);
  return outcome;
}

/** @throws {Problem} If there is no such plan. */
export async function makeDrainPlan(sources: RestSources, shard: ShardId, options: PlanOptions = {}): Promise<Plan> {
  const { loads, leftOut } = await measure(sources);
  return planOf(planDrain(sources.topology.map, loads, shard, { ...options, leftOut }));
}

/** @throws {Problem} If there is no such plan. */
export async function makeRebalancePlan(sources: RestSources, options: PlanOptions): Promise<Plan> {
  const { loads, leftOut } = await measure(sources);
  return planOf(planRebalance(sources.topology.map, loads, { ...options, leftOut }));
}

/**
 * Starts the moves of a plan.
 *
 * @returns The tasks, in the order of the moves.
 * @throws {Problem} If one cannot be started; those before it are cancelled.
 */
export async function startMoves({ topology, migrations }: RestSources, plan: Plan, cause: string): Promise<string[]> {
  if (migrations === undefined) throw new Problem("unavailable", "No plugin of this node moves slots.");
  const stale = whyStale(plan, topology.map);
  if (stale !== undefined) throw new Problem("stale", `The plan is not for this map any more: ${stale}.`);
  const ids: string[] = [];
  for (const { slots, target } of plan.moves) {
    const outcome = await migrations.start(slots, target, cause, plan.mapVersion);
    if (outcome.type === "done") {
      ids.push(outcome.id);
      continue;
    }
    for (const id of ids) await migrations.cancel(id, `${cause}: another move of the plan could not be started`);
    throw problemOf(outcome.reason);
  }
  return ids;
}
