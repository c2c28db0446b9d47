/** `HELP` of containers of subcommands, made from the command table. */
import type { Call } from "./call.ts";
import { argumentsOf, showSyntax } from "./command-syntax.ts";
import type { CommandGroup, CommandSpecification } from "./contracts/commands.ts";

/**
 * Makes the `HELP` subcommand of a container.
 *
 * @param container The container's name, in upper case.
 * @param since The version of Redis that has had it since.
 * @param subcommands The others that its plugin has.
 * @returns The specification to put beside them.
 */
export function helpSubcommand(
  container: string,
  group: CommandGroup,
  since: string,
  subcommands: readonly CommandSpecification[],
): CommandSpecification {
  return {
    name: "help",
    arity: 2,
    flags: ["loading", "stale"],
    // Those of its neighbours, but help is no danger.
    categories: (subcommands[0]?.categories ?? []).filter((category) => category !== "dangerous"),
    group,
    summary: `Tells what ${container} can do.`,
    complexity: "O(1)",
    since,
    run(call: Call) {
      const lines = [`${container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:`];
      // Read from the table, since other plugins may have added some.
      for (const { specification: subcommand } of call.command.container?.subcommands ?? []) {
        if (subcommand.name === "help") continue;
        const usage = `${subcommand.name.toUpperCase()} ${showSyntax(argumentsOf(subcommand))}`;
        lines.push(usage.trimEnd(), `    ${subcommand.summary}`);
      }
      lines.push("HELP", "    Prints this help.");
      call.reply.array(lines.length);
      for (const line of lines) call.reply.simple(line);
    },
  };
}

/** What a subcommand does that got more arguments than it takes, where its arity sets no limit. */
export function refuseExtraArguments(call: Call): void {
  const container = call.command.container?.fullName.toUpperCase() ?? "";
  // As the client wrote it.
  const name = call.text(1);
  call.reply.error(`ERR unknown subcommand or wrong number of arguments for '${name}'. Try ${container} HELP.`);
}

/** What a container of subcommands does when none was named. */
export function wantsSubcommand(call: Call): void {
  call.reply.error(`ERR wrong number of arguments for '${call.command.fullName}' command`);
}
