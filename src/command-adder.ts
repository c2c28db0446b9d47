/** For plugins that add many commands of one group: what they share is said once. */
import { splitUsage } from "./command-syntax.ts";
import type { CommandFlag, CommandSpecification, KeySpecification } from "./contracts/commands.ts";
import type { NodeContext } from "./plugin.ts";

/**
 * Adds one command of a group, its parts in the order in which they read best in a row. `usage` is its name and what follows it, as
 * `command-syntax.ts` explains.
 */
export type AddCommand = (
  usage: string,
  arity: number,
  flags: readonly CommandFlag[],
  keys: readonly KeySpecification[],
  since: string,
  complexity: string,
  summary: string,
  run: CommandSpecification["run"],
  more?: Partial<CommandSpecification>,
) => void;

/**
 * Makes a function that adds commands to a node.
 *
 * @param shared What all of them have, unless one says otherwise in `more`.
 */
export function commandAdder(
  context: Pick<NodeContext, "command">,
  shared: Pick<CommandSpecification, "group" | "categories">,
): AddCommand {
  return (usage, arity, flags, keys, since, complexity, summary, run, more = {}) => {
    context.command({ ...shared, ...splitUsage(usage), arity, flags, keys, since, complexity, summary, run, ...more });
  };
}

/** The keys of a command that has one, its first argument. @param flags What is done to it, as Redis writes it. */
export function oneKey(...flags: readonly string[]): readonly KeySpecification[] {
  return [{ first: 1, last: 1, step: 1, flags }];
}
