#!/usr/bin/env bun
/** The command line: `bun run node`, `bun start`, `bun run bunch recover` ... Each subcommand is a file in `cli/`. */
import { Command } from "commander";
import { applyCommand, moveCommand } from "./cli/apply-command.ts";
import { eventsCommand } from "./cli/events-command.ts";
import { explainCommand } from "./cli/explain-command.ts";
import { exportCommand } from "./cli/export-command.ts";
import { EXIT_UNKNOWN, healthCommand } from "./cli/health-command.ts";
import { importCommand } from "./cli/import-command.ts";
import { migrationsCommand, taskCommands } from "./cli/migrations-command.ts";
import { nodeCommand } from "./cli/node-command.ts";
import { planCommand } from "./cli/plan-command.ts";
import { recoverCommand } from "./cli/recover-command.ts";
import { EXIT_USAGE } from "./cli/report.ts";
import { startCommand } from "./cli/start-command.ts";
import { nodesCommand, slotsCommand, statusCommand } from "./cli/status-command.ts";
import { topCommand } from "./cli/top-command.ts";
import { BUNCH_VERSION } from "./node.ts";

const program = new Command("bunch")
  .description("A clustered in-memory key-value store that any Redis Cluster client talks to.")
  .version(BUNCH_VERSION);
for (const command of [
  nodeCommand(),
  startCommand(),
  statusCommand(),
  healthCommand(),
  nodesCommand(),
  slotsCommand(),
  explainCommand(),
  topCommand(),
  eventsCommand(),
  planCommand(),
  applyCommand(),
  moveCommand(),
  migrationsCommand(),
  ...taskCommands(),
  recoverCommand(),
  exportCommand(),
  importCommand(),
]) {
  program.addCommand(command);
}

for (const command of [program, ...program.commands.flatMap((each) => [each, ...each.commands])]) {
  command.exitOverride((error) => {
    // Help and version are answers, all else is a mistake, which commander has explained on standard error.
    const mistake = ["health", "status"].includes(command.name()) ? EXIT_UNKNOWN : EXIT_USAGE;
    process.exit(error.exitCode === 0 ? 0 : mistake);
  });
  command.showSuggestionAfterError(true);
}
await program.parseAsync(process.argv);
