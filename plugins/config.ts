/**
 * config: `CONFIG`: reads and changes parameters while the node runs.
 *
 * The parameters themselves belong to the plugins that offer them (`context.parameter`), under Redis' names. A CONFIG SET of several is all or
 * nothing: if one value is refused, those before it are set back.
 */
import type { Call } from "../src/call.ts";
import { globMatch } from "../src/codec/glob.ts";
import { splitUsage } from "../src/command-syntax.ts";
import type { CommandSpecification } from "../src/contracts/commands.ts";
import { routerService } from "../src/contracts/routing.ts";
import { definePlugin } from "../src/plugin.ts";
import { helpSubcommand, wantsSubcommand } from "../src/subcommand-help.ts";

/** What clients ask for and nobody owns: features that do not exist here, told as Redis tells that they are off. */
const FIXED: Readonly<Record<string, string>> = {
  appendonly: "no",
  save: "",
  databases: "1",
  "cluster-enabled": "no",
};

export default definePlugin({
  name: "config",
  summary: "CONFIG: reads and changes parameters.",
  uses: { router: routerService },
  setup(context) {
    const { parameters, dispatcher, hooks } = context;
    for (const [name, value] of Object.entries(FIXED)) {
      // A router says that this is a cluster; without one it is none.
      if (parameters.get(name) === undefined) context.parameter({ name, get: () => value });
    }

    const get = (call: Call): void => {
      const found = new Map<string, string>();
      for (let index = 2; index < call.count; index += 1) {
        for (const parameter of parameters.list()) {
          const name = encoder.encode(parameter.name);
          if (globMatch(call.bytes, call.start(index), call.end(index), name, 0, name.length, true)) {
            found.set(parameter.name, parameter.get());
          }
        }
      }
      call.reply.map(found.size);
      for (const [name, value] of found) {
        call.reply.bulkText(name);
        call.reply.bulkText(value);
      }
    };

    const set = (call: Call): void => {
      if (call.count % 2 !== 0) {
        call.reply.error("ERR wrong number of arguments for 'config|set' command");
        return;
      }
      const changes: { readonly name: string; readonly value: string }[] = [];
      for (let index = 2; index < call.count; index += 2) {
        const name = call.text(index).toLowerCase();
        const parameter = parameters.get(name);
        if (parameter === undefined) {
          call.reply.error(`ERR Unknown option or number of arguments for CONFIG SET - '${call.shown(index)}'`);
          return;
        }
        if (changes.some((change) => change.name === name)) {
          call.reply.error(`ERR CONFIG SET failed (possibly related to argument '${name}') - duplicate parameter`);
          return;
        }
        if (parameter.set === undefined) {
          call.reply.error(
            `ERR CONFIG SET failed (possibly related to argument '${name}') - can't set immutable config`,
          );
          return;
        }
        changes.push({ name, value: call.text(index + 1) });
      }
      const undo: (() => void)[] = [];
      for (const { name, value } of changes) {
        const parameter = parameters.get(name);
        const before = parameter?.get() ?? "";
        const setBack = parameter?.keep?.() ?? (() => void parameter?.set?.(before));
        const error = parameter?.set?.(value);
        if (error !== undefined) {
          for (const step of undo.toReversed()) step();
          call.reply.error(`ERR CONFIG SET failed (possibly related to argument '${name}') - ${error}`);
          return;
        }
        undo.push(setBack);
      }
      call.reply.ok();
    };

    const subcommand = (
      usage: string,
      arity: number,
      since: string,
      summary: string,
      run: (call: Call) => void,
      tips: readonly string[] = [],
    ): CommandSpecification => ({
      ...splitUsage(usage),
      arity,
      flags: ["admin", "noscript", "loading", "stale"],
      categories: ["dangerous"],
      group: "server",
      summary,
      complexity: usage === "resetstat" ? "O(1)" : "O(N), N being the parameters",
      since,
      tips,
      run,
    });
    const subcommands = [
      subcommand("get (parameter)...", -3, "2.0.0", "Reads parameters whose names match patterns.", get),
      subcommand("set (parameter value)...", -4, "2.0.0", "Changes parameters, all or none.", set, [
        "request_policy:all_nodes",
        "response_policy:all_succeeded",
      ]),
      subcommand("resetstat", 2, "2.0.0", "Sets statistics back to zero.", (call) => {
        dispatcher.resetStatistics();
        hooks.statisticsReset.notify();
        call.reply.ok();
      }),
      subcommand(
        "rewrite",
        2,
        "2.8.0",
        "Writes parameters to the configuration file: refused, the file is a program.",
        (call) => {
          call.reply.error("ERR The server is running without a config file");
        },
      ),
    ];
    context.command({
      name: "config",
      arity: -2,
      flags: [],
      group: "server",
      summary: "Commands about parameters.",
      complexity: "Depends on the subcommand.",
      since: "2.0.0",
      subcommands: [...subcommands, helpSubcommand("CONFIG", "server", "5.0.0", subcommands)],
      run: wantsSubcommand,
    });
  },
});

const encoder = new TextEncoder();
