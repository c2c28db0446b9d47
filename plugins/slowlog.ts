/**
 * slowlog: `SLOWLOG`: the commands that took long, the latest first.
 *
 * Bounded in number (`slowlog-max-len`) and in what is kept of each: 32 arguments of 128 bytes, as in Redis. Commands that carry passwords are left out
 * (the flag `skip_slowlog`). Talks to the rest through the hook `commandSlow`.
 */
import { Type } from "@sinclair/typebox";
import { integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import { splitUsage } from "../src/command-syntax.ts";
import { CommandBits } from "../src/command-table.ts";
import type { CommandSpecification } from "../src/contracts/commands.ts";
import { definePlugin } from "../src/plugin.ts";
import { helpSubcommand, wantsSubcommand } from "../src/subcommand-help.ts";

const settingsSchema = Type.Object({
  slowerThanUs: Type.Integer({
    description:
      "A command that takes at least so many microseconds is noted; 0: every command, -1: none (slowlog-log-slower-than in Redis).",
    default: 10_000,
    minimum: -1,
  }),
  maxLength: Type.Integer({
    description: "How many are kept (slowlog-max-len in Redis).",
    default: 128,
    minimum: 0,
    maximum: 1_000_000,
  }),
});

/** What is kept of a command: enough to recognize it. Redis' numbers. */
const MAX_ARGUMENTS = 32;
const MAX_ARGUMENT_BYTES = 128;

interface Entry {
  readonly id: number;
  readonly atS: number;
  readonly microseconds: number;
  readonly args: readonly string[];
  readonly address: string;
  readonly name: string;
}

/** A command's arguments, shortened. One character a byte. */
export function shortenArguments(call: Call): readonly string[] {
  const kept: string[] = [];
  const shown = Math.min(call.count, MAX_ARGUMENTS);
  for (let index = 0; index < shown; index += 1) {
    if (index === MAX_ARGUMENTS - 1 && call.count > MAX_ARGUMENTS) {
      kept.push(`... (${call.count - MAX_ARGUMENTS + 1} more arguments)`);
      break;
    }
    const length = call.length(index);
    if (length <= MAX_ARGUMENT_BYTES) kept.push(call.text(index));
    else {
      const start = call.start(index);
      const text = String.fromCharCode(...call.bytes.subarray(start, start + MAX_ARGUMENT_BYTES));
      kept.push(`${text}... (${length - MAX_ARGUMENT_BYTES} more bytes)`);
    }
  }
  return kept;
}

export default definePlugin({
  name: "slowlog",
  summary: "SLOWLOG: keeps the commands that took long.",
  settings: settingsSchema,
  setup(context) {
    const { dispatcher, hooks, parameters, world, settings } = context;
    /** Values of parameters that nobody may read are left out, as Redis does. */
    const withoutSecrets = (call: Call): readonly string[] =>
      shortenArguments(call).map((argument, index) =>
        index >= 3 && index % 2 === 1 && parameters.get(call.text(index - 1))?.isSecret === true
          ? "(redacted)"
          : argument,
      );
    let entries: Entry[] = [];
    let nextId = 0;
    let maxLength = settings.maxLength;
    dispatcher.slowThresholdMicroseconds = settings.slowerThanUs;

    context.on(hooks.commandSlow, ({ call, microseconds }) => {
      if ((call.command.bits & CommandBits.skipSlowlog) !== 0 || maxLength === 0) return;
      entries.unshift({
        id: nextId,
        atS: Math.floor(world.clock.wallMs() / 1000),
        microseconds: Math.round(microseconds),
        args: call.command.fullName === "config|set" ? withoutSecrets(call) : shortenArguments(call),
        address: call.client.transport.remoteAddress,
        name: call.client.name,
      });
      nextId += 1;
      if (entries.length > maxLength) entries.length = maxLength;
    });
    const number = (least: number, apply: (value: number) => void) => (text: string) => {
      const value = Number(text);
      if (!/^-?[0-9]{1,15}$/.test(text)) return "argument couldn't be parsed into an integer";
      if (value < least) return `argument must be between ${least} and 9223372036854775807 inclusive`;
      apply(value);
      return undefined;
    };
    context.parameter({
      name: "slowlog-log-slower-than",
      get: () => String(dispatcher.slowThresholdMicroseconds),
      set: number(-1, (value) => (dispatcher.slowThresholdMicroseconds = value)),
    });
    context.parameter({
      name: "slowlog-max-len",
      get: () => String(maxLength),
      set: number(0, (value) => {
        maxLength = value;
        if (entries.length > maxLength) entries.length = maxLength;
      }),
    });

    const subcommand = (
      usage: string,
      arity: number,
      summary: string,
      run: (call: Call) => void,
      tips: readonly string[] = [],
    ): CommandSpecification => ({
      ...splitUsage(usage),
      arity,
      flags: ["admin", "loading", "stale"],
      categories: ["dangerous"],
      group: "server",
      summary,
      complexity: usage === "len" ? "O(1)" : "O(N), N being the entries",
      since: "2.2.12",
      tips,
      run,
    });
    const subcommands = [
      subcommand(
        "get [count:integer]",
        -2,
        "Lists the latest entries: ten, or count, -1 for all.",
        (call) => {
          if (call.count > 3) {
            call.reply.error("ERR wrong number of arguments for 'slowlog|get' command");
            return;
          }
          const count = call.count === 3 ? integerArgument(call, 2) : 10;
          if (!(count >= -1)) {
            call.reply.error("ERR count should be greater than or equal to -1");
            return;
          }
          const listed = count === -1 ? entries : entries.slice(0, count);
          call.reply.array(listed.length);
          for (const entry of listed) {
            call.reply.array(6);
            call.reply.integer(entry.id);
            call.reply.integer(entry.atS);
            call.reply.integer(entry.microseconds);
            call.reply.array(entry.args.length);
            for (const text of entry.args) {
              const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
              call.reply.bulk(bytes, 0, bytes.length);
            }
            call.reply.bulkText(entry.address);
            call.reply.bulkText(entry.name);
          }
        },
        ["request_policy:all_nodes", "nondeterministic_output"],
      ),
      subcommand("len", 2, "Tells how many entries there are.", (call) => call.reply.integer(entries.length), [
        "request_policy:all_nodes",
        "response_policy:agg_sum",
        "nondeterministic_output",
      ]),
      subcommand(
        "reset",
        2,
        "Removes all entries.",
        (call) => {
          entries = [];
          call.reply.ok();
        },
        ["request_policy:all_nodes", "response_policy:all_succeeded"],
      ),
    ];
    context.command({
      name: "slowlog",
      arity: -2,
      flags: [],
      group: "server",
      summary: "Commands about slow commands.",
      complexity: "Depends on the subcommand.",
      since: "2.2.12",
      subcommands: [...subcommands, helpSubcommand("SLOWLOG", "server", "6.2.0", subcommands)],
      run: wantsSubcommand,
    });
  },
});
