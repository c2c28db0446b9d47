/** `HELP` of containers of subcommands, made from the command table. */
import type { Call } from "./call.ts";
import type { CommandGroup, CommandSpecification } from "./contracts/commands.ts";

/**
 * Makes the `HELP` subcommand of a container.
 *
 * @param container The container's name, in upper case.
 * @param subcommands The others; `usage` of each stands in the summary's stead where it has arguments.
 * @returns The specification to put beside them.
 */
export function helpSubcommand(
  container: string,
  group: CommandGroup,
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
    since: "5.0.0",
    run(call: Call) {
      const lines = [`${container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:`];
      for (const { name, summary } of subcommands) lines.push(name.toUpperCase(), `    ${summary}`);
      lines.push("HELP", "    Prints this help.");
      call.reply.array(lines.length);
      for (const line of lines) call.reply.simple(line);
    },
  };
}

/** What a container of subcommands does when none was named. */
export function wantsSubcommand(call: Call): void {
  call.reply.error(`ERR wrong number of arguments for '${call.command.fullName}' command`);
}
