/** `bunch apply`: does what a plan says; `bunch move`: moves slots without one. Both show the moves first, and watch them until they have ended. */
import { readFile } from "node:fs/promises";
import { Command } from "commander";
import pc from "picocolors";
import type { ClusterMap, ShardId } from "../contracts/topology.ts";
import { StartError, messageOf } from "../errors.ts";
import { type PlanLoads, type PlannedMove, whyStale } from "../protocol/plan/plan.ts";
import { canonicalRanges, parseSlotRange } from "../protocol/slot-ranges.ts";
import { type AccessFlags, ClusterAccess, withAccess } from "./cluster-access.ts";
import { confirm } from "./confirm.ts";
import { type Ended, Follower, describeMove, onInterrupt } from "./follow.ts";
import { shardCalled } from "./plan-command.ts";
import { readPlanFile } from "./plan-file.ts";
import { terminalColumns } from "./fitted-table.ts";
import { describePlan, movesTable, nodeName, shardName } from "./plan-tables.ts";
import { failStart } from "./report.ts";
import { TaskBoard, processScreen } from "./task-board.ts";
import { formatDuration } from "./units.ts";

interface ApplyFlags extends AccessFlags {
  readonly yes: boolean;
  readonly atOnce?: string;
}

/** Makes the subcommand. */
export function applyCommand(): Command {
  return withMoveFlags(new Command("apply"))
    .argument("<file>", "the plan that bunch plan --out has written")
    .description("Does what a plan says, if no shard of it has changed since. Watches until all of it has ended.")
    .action(async (file: string, flags: ApplyFlags) => {
      try {
        const plan = readPlanFile(await readText(file), file);
        const access = new ClusterAccess(flags);
        const map = await access.map();
        const refuseStale = (present: ClusterMap): void => {
          const stale = whyStale(plan, present);
          if (stale === undefined) return;
          throw new StartError(
            `Plan "${file}" cannot be applied: ${stale}. Nothing was done; make a new one with bunch plan.`,
          );
        };
        refuseStale(map);
        process.stdout.write(`${describePlan(map, plan, terminalColumns())}\n`);
        if (plan.moves.length === 0) process.stdout.write("There is nothing to move.\n");
        else {
          await moveAll(access, map, plan.moves, `plan ${plan.id.slice(0, 12)}`, flags, refuseStale);
          const drained = plan.after.shares.filter(({ weight }) => weight === 0).map(({ shard }) => shard);
          tellEmpty(await access.map(), drained);
        }
      } catch (thrown) {
        failStart(thrown);
      }
    });
}

/** Makes the subcommand. */
export function moveCommand(): Command {
  return withMoveFlags(new Command("move"))
    .argument("<slots...>", "slots and ranges of slots, such as 7 100-200")
    .requiredOption(
      "--to <node>",
      "a node of the shard that gets them, or the shard: a name, an id, or the beginning of one",
    )
    .description("Moves slots to a shard, with their keys, while clients go on. Watches until all of it has ended.")
    .action(async (slots: readonly string[], flags: ApplyFlags & { readonly to: string }) => {
      try {
        const access = new ClusterAccess(flags);
        const map = await access.map();
        const target = shardCalled(map, flags.to);
        const { loads } = await access.measure(map);
        const moves = movesOf(map, loads, readSlots(slots), target);
        if (moves.length === 0) {
          process.stdout.write(`${shardName(map, target)} has these slots already.\n`);
          return;
        }
        process.stdout.write(`${movesTable(map, moves, terminalColumns())}\n`);
        await moveAll(access, map, moves, "bunch move", flags);
      } catch (thrown) {
        failStart(thrown);
      }
    });
}

function withMoveFlags(command: Command): Command {
  return withAccess(command)
    .option("--yes", "does it without asking", false)
    .option("--at-once <count>", "how many tasks run at a time (default: one for each pair of shards)");
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (thrown) {
    throw new StartError(`Cannot read plan "${file}": ${messageOf(thrown)}.`);
  }
}

function readSlots(texts: readonly string[]): readonly number[] {
  const ranges = texts
    .flatMap((text) => text.split(","))
    .map((text) => {
      const range = parseSlotRange(text);
      if (range === undefined) {
        throw new StartError(
          `"${text}" is no slot and no range of slots: it must be such as 7 or 0-5460, below 16384.`,
        );
      }
      return range;
    });
  return canonicalRanges(ranges).flatMap(({ first, last }) =>
    Array.from({ length: last - first + 1 }, (_, at) => first + at),
  );
}

/** Moves of slots to a shard, one for each shard that has some of them. @throws {StartError} If a slot is nobody's. */
function movesOf(
  map: ClusterMap,
  { keys, bytes }: PlanLoads,
  slots: readonly number[],
  target: ShardId,
): readonly PlannedMove[] {
  const sumOf = (own: readonly number[], of: Float64Array): number =>
    own.reduce((total, slot) => total + (of[slot] ?? 0), 0);
  const nobodys = slots.find((slot) => (map.shardOfSlot[slot] ?? -1) < 0);
  if (nobodys !== undefined) throw new StartError(`Slot ${nobodys} is nobody's: CLUSTER ADDSLOTS gives it to a node.`);
  return map.shards.flatMap((shard, index) => {
    const own = slots.filter((slot) => map.shardOfSlot[slot] === index);
    if (own.length === 0 || shard.id === target) return [];
    return {
      source: shard.id,
      target,
      sourceVersion: shard.version,
      targetVersion: map.shards.find(({ id }) => id === target)?.version ?? 0,
      slots: canonicalRanges(own.map((slot) => ({ first: slot, last: slot }))),
      slotCount: own.length,
      keys: sumOf(own, keys),
      bytes: sumOf(own, bytes),
    };
  });
}

async function moveAll(
  access: ClusterAccess,
  map: ClusterMap,
  moves: readonly PlannedMove[],
  cause: string,
  flags: ApplyFlags,
  refuseStale: (present: ClusterMap) => void = () => undefined,
): Promise<void> {
  const atOnce = Number(flags.atOnce ?? moves.length);
  if (!Number.isInteger(atOnce) || atOnce < 1) {
    throw new StartError(`Flag --at-once is "${flags.atOnce}", but it must be a whole number from 1 on.`);
  }
  await confirm("Do this?", flags.yes);
  // Somebody may have thought about it for long.
  refuseStale(await access.map());
  const board = new TaskBoard(processScreen());
  const follower = new Follower(access, board, moves, [], { atOnce, cause });
  onInterrupt(board, access, () => follower.left);
  const ended = await follower.run();
  report(map, ended);
}

function report(map: ClusterMap, ended: readonly Ended[]): void {
  const failed = ended.filter(({ isDone }) => !isDone);
  const done = ended.length - failed.length;
  if (done > 0) {
    const moves = `${done} of ${ended.length} ${ended.length === 1 ? "move" : "moves"}`;
    process.stdout.write(`${pc.green("done:")} ${moves}${timeOf(ended)}.\n`);
  }
  if (failed.length === 0) return;
  for (const { move, id, reason } of failed) {
    const what = move === undefined ? `task ${id ?? ""}` : describeMove(map, move);
    process.stdout.write(`${pc.red("not done:")} ${what}: ${reason}\n`);
  }
  process.stdout.write(
    "Slots of moves that were not done are where they were, and served. bunch plan makes a new plan of what is left.\n",
  );
  process.exitCode = 1;
}

/** How long it took from the first beginning to the last end, by the cluster's clock. */
function timeOf(ended: readonly Ended[]): string {
  const tasks = ended.flatMap(({ task }) => (task?.endedAtMs === undefined ? [] : [task]));
  if (tasks.length === 0) return "";
  const lastMs = Math.max(...tasks.map(({ startedAtMs, endedAtMs }) => endedAtMs ?? startedAtMs));
  return ` in ${formatDuration(lastMs - Math.min(...tasks.map(({ startedAtMs }) => startedAtMs)))}`;
}

/** Of shards that a plan was to empty, and that are: what comes next. */
function tellEmpty(map: ClusterMap, drained: readonly ShardId[]): void {
  for (const { id, slots, primary, replicas } of map.shards) {
    if (!drained.includes(id) || slots.length > 0) continue;
    const copies =
      replicas.length === 0 ? "" : ` and its replicas (${replicas.map((each) => nodeName(map, each)).join(", ")})`;
    const forget = [primary, ...replicas].map((each) => `CLUSTER FORGET ${each}`).join(", ");
    process.stdout.write(
      `${shardName(map, id)} has no slots any more: it${copies} can be stopped, and then taken out: ${forget}.\n`,
    );
  }
}
