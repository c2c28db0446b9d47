/** `bunch migrations`: the tasks that move slots; `bunch cancel`, `bunch pause`, `bunch resume`: ends one, stops it for a while, has it go on. */
import { Command } from "commander";
import type { MigrationStatus } from "../contracts/migration.ts";
import type { ClusterMap } from "../contracts/topology.ts";
import { StartError } from "../errors.ts";
import { type AccessFlags, ClusterAccess, withAccess } from "./cluster-access.ts";
import { type TableColumn, fittedTable, terminalColumns } from "./fitted-table.ts";
import { Follower, onInterrupt } from "./follow.ts";
import { rangesText, shardName, withNames } from "./plan-tables.ts";
import { failStart } from "./report.ts";
import { TaskBoard, hasEnded, processScreen } from "./task-board.ts";
import { formatCount, formatDuration } from "./units.ts";

/** Makes the subcommand. */
export function migrationsCommand(): Command {
  return withAccess(new Command("migrations"))
    .description("Tells of the tasks that move slots: those that go on, and those that ended of late.")
    .option("--watch", "watches those that go on until they have ended", false)
    .action(async (flags: AccessFlags & { readonly watch: boolean }) => {
      try {
        const access = new ClusterAccess(flags);
        const tasks = await access.tasks();
        const running = tasks.filter((task) => !hasEnded(task)).map(({ id }) => id);
        if (!flags.watch) {
          process.stdout.write(
            `${tasks.length === 0 ? "No slots are being moved." : tasksTable(await access.map(), tasks, terminalColumns())}\n`,
          );
          return;
        }
        if (running.length === 0) process.stdout.write("No slots are being moved.\n");
        const board = new TaskBoard(processScreen());
        const follower = new Follower(access, board, [], running, { atOnce: 0, cause: "" });
        onInterrupt(board, access, () => follower.left);
        const ended = await follower.run();
        if (ended.some(({ isDone }) => !isDone)) process.exitCode = 1;
      } catch (thrown) {
        failStart(thrown);
      }
    });
}

const TASK_COLUMNS: readonly TableColumn[] = [
  { head: "task" },
  { head: "from" },
  { head: "to" },
  { head: "slots", least: 11 },
  { head: "state", least: 10 },
  { head: "keys", isNumber: true },
  { head: "since", isNumber: true, spare: 1 },
  { head: "cause", least: 16, spare: 2 },
];

/** @param room Columns of the terminal; 0: without bound. */
function tasksTable(map: ClusterMap, tasks: readonly MigrationStatus[], room: number): string {
  const rows = tasks.map((task) => {
    const { progress, endedAtMs, startedAtMs } = task;
    const waits = task.waitingFor === undefined ? "" : `: ${withNames(map, task.waitingFor)}`;
    return [
      task.id.slice(0, 12),
      shardName(map, task.source),
      shardName(map, task.target),
      rangesText(task.slots),
      `${task.phase}${task.isPaused ? ", paused" : ""}${hasEnded(task) ? "" : waits}`,
      progress === undefined ? "" : `${formatCount(progress.keysMoved)} / ${formatCount(progress.keysTotal)}`,
      formatDuration((endedAtMs ?? Date.now()) - startedAtMs),
      withNames(map, task.phase === "completed" ? task.startedFor : task.cause),
    ];
  });
  return fittedTable(TASK_COLUMNS, rows, room, true);
}

/** Makes the subcommands that do something with one task. */
export function taskCommands(): readonly Command[] {
  return [
    taskCommand("cancel", "Ends a task that moves slots: they stay where they were.", "is ended"),
    taskCommand("pause", "Has a task that moves slots send nothing until it is resumed.", "is paused"),
    taskCommand("resume", "Has a task that was paused go on.", "goes on"),
  ];
}

function taskCommand(word: string, description: string, outcome: string): Command {
  return withAccess(new Command(word))
    .argument("<id>", "the task's id, or the beginning of it, as bunch migrations shows it")
    .description(description)
    .action(async (text: string, flags: AccessFlags) => {
      try {
        const access = new ClusterAccess(flags);
        const task = taskCalled(await access.tasks(), text);
        await access.ask("CLUSTER", `${word.toUpperCase()}MIGRATION`, task.id);
        const map = await access.map();
        process.stdout.write(
          `Task ${task.id} ${outcome}: slots ${rangesText(task.slots)} from ${shardName(map, task.source)} to ${shardName(map, task.target)}.\n`,
        );
      } catch (thrown) {
        failStart(thrown);
      }
    });
}

function taskCalled(tasks: readonly MigrationStatus[], text: string): MigrationStatus {
  const found = tasks.filter(({ id }) => id.startsWith(text));
  const [first, ...others] = found.some(({ id }) => id === text)
    ? found.filter(({ id }) => id === text)
    : found.filter((task) => !hasEnded(task));
  if (first === undefined) throw new StartError(`There is no task ${text} that goes on; bunch migrations shows them.`);
  if (others.length > 0) throw new StartError(`Several tasks have ids that begin with ${text}.`);
  if (hasEnded(first)) throw new StartError(`Task ${first.id} has ended already: it is ${first.phase}.`);
  return first;
}
