/**
 * server: commands about the process: TIME, MEMORY, DEBUG, SHUTDOWN, and SCRIPT FLUSH, which has nothing to flush.
 *
 * `DEBUG` is off unless the setting `debugCommands` turns it on: it can stop the node from answering. DEBUG SLEEP does so as a stalled process
 * would, for all clients, but by the node's own clock, so that it works in simulation too.
 */
import { Type } from "@sinclair/typebox";
import { integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import type { Client } from "../src/client.ts";
import { splitUsage } from "../src/command-syntax.ts";
import { type CommandSpecification, Verdict } from "../src/contracts/commands.ts";
import { NO_EXPIRY, keyspaceService } from "../src/contracts/keyspace.ts";
import { definePlugin } from "../src/plugin.ts";
import { NOT_AN_INTEGER, NO_SUCH_KEY, SYNTAX_ERROR } from "../src/replies.ts";
import { helpSubcommand, wantsSubcommand } from "../src/subcommand-help.ts";

const settingsSchema = Type.Object({
  debugCommands: Type.Boolean({ description: "Allows DEBUG (enable-debug-command in Redis).", default: false }),
});

const DEBUG_OFF =
  'ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.';

/** What SHUTDOWN takes. Nothing is saved, so all but ABORT change nothing. */
const SHUTDOWN_WORDS: ReadonlySet<string> = new Set(["SAVE", "NOSAVE", "NOW", "FORCE", "ABORT"]);

export default definePlugin({
  name: "server",
  summary: "Commands about the process: TIME, MEMORY, DEBUG, SHUTDOWN.",
  requires: { keyspace: keyspaceService },
  settings: settingsSchema,
  setup(context) {
    const { keyspace } = context.requires;
    const { clients, hooks, settings, world } = context;

    const subcommand = (
      usage: string,
      arity: number,
      since: string,
      summary: string,
      run: (call: Call) => void,
      more: Partial<CommandSpecification> = {},
    ): CommandSpecification => ({
      ...splitUsage(usage),
      arity,
      flags: [],
      group: "server",
      summary,
      complexity: "O(1)",
      since,
      run,
      ...more,
    });

    context.command({
      name: "time",
      arity: 1,
      flags: ["loading", "stale", "fast"],
      group: "server",
      summary: "Tells the time: seconds since 1970, and microseconds.",
      complexity: "O(1)",
      since: "2.6.0",
      tips: ["nondeterministic_output"],
      run(call) {
        const nowMs = world.clock.wallMs();
        call.reply.array(2);
        call.reply.bulkText(String(Math.floor(nowMs / 1000)));
        call.reply.bulkText(String((nowMs % 1000) * 1000));
      },
    });

    const memory = [
      subcommand(
        "usage key [SAMPLES count:integer]",
        -3,
        "4.0.0",
        "Tells how many bytes a key takes.",
        (call) => {
          if (call.count !== 3 && !(call.count === 5 && call.is(3, "SAMPLES"))) {
            call.reply.error(SYNTAX_ERROR);
            return;
          }
          const samples = call.count === 5 ? integerArgument(call, 4) : 0;
          if (Number.isNaN(samples)) {
            call.reply.error(NOT_AN_INTEGER);
            return;
          }
          if (samples < 0) {
            call.reply.error(SYNTAX_ERROR);
            return;
          }
          const record = keyspace.peek(call.key);
          if (record === 0) call.reply.nullBulk();
          else call.reply.integer(keyspace.recordBytes(record));
        },
        { flags: ["readonly"], keys: [{ first: 2, last: 2, step: 1, flags: ["RO"] }] },
      ),
    ];
    context.command({
      name: "memory",
      arity: -2,
      flags: [],
      group: "server",
      summary: "Commands about memory.",
      complexity: "Depends on the subcommand.",
      since: "4.0.0",
      subcommands: [...memory, helpSubcommand("MEMORY", "server", "4.0.0", memory)],
      run: wantsSubcommand,
    });

    const script = [
      subcommand(
        "flush [async:(ASYNC | SYNC)@6.2.0]",
        -2,
        "2.6.0",
        "Removes them all: there are none.",
        (call) => {
          if (call.count === 2 || (call.count === 3 && (call.is(2, "ASYNC") || call.is(2, "SYNC")))) call.reply.ok();
          else call.reply.error("ERR SCRIPT FLUSH only support SYNC|ASYNC option");
        },
        {
          group: "scripting",
          flags: ["noscript"],
          categories: ["scripting"],
          tips: ["request_policy:all_nodes", "response_policy:all_succeeded"],
        },
      ),
    ];
    context.command({
      name: "script",
      arity: -2,
      flags: [],
      group: "scripting",
      summary: "Commands about scripts: there are none here.",
      complexity: "Depends on the subcommand.",
      since: "2.6.0",
      subcommands: [...script, helpSubcommand("SCRIPT", "scripting", "5.0.0", script)],
      run: wantsSubcommand,
    });

    // DEBUG SLEEP: until it is over, every client's next command is held, as if the process stood still.
    const held = new Set<Client>();
    const sleep = (call: Call): void => {
      const seconds = Number(call.text(2));
      if (!Number.isFinite(seconds) || seconds < 0) {
        call.reply.error("ERR value is not a valid float");
        return;
      }
      const deferred = call.defer();
      const unhook = context.on(
        hooks.commandBefore,
        ({ client }) => {
          held.add(client);
          return Verdict.held;
        },
        { order: "pre" },
      );
      world.clock.after(seconds * 1000, () => {
        unhook();
        deferred.resolve((reply) => reply.ok());
        const released = [...held];
        held.clear();
        for (const client of released) client.transport.release();
      });
    };
    const ifAllowed = (run: (call: Call) => void) => (call: Call) => {
      if (settings.debugCommands) run(call);
      else call.reply.error(DEBUG_OFF);
    };
    const debugFlags: Partial<CommandSpecification> = {
      flags: ["admin", "noscript", "loading", "stale", "no_multi"],
      categories: ["dangerous"],
    };
    const debug = [
      subcommand("sleep seconds:double", 3, "1.0.0", "Answers nobody for a while.", ifAllowed(sleep), debugFlags),
      subcommand(
        "object key",
        -3,
        "1.0.0",
        "Tells how a key is kept.",
        ifAllowed((call) => {
          const record = keyspace.peek(call.key);
          if (record === 0) {
            call.reply.error(NO_SUCH_KEY);
            return;
          }
          const expiry = keyspace.expiresAtMs(record);
          const ttl = expiry === NO_EXPIRY ? "" : ` expires_at:${expiry}`;
          call.reply.simple(
            `Value at:0x${(record >>> 0).toString(16)} refcount:1 type:string serializedlength:${keyspace.valueLength(record)} lru_seconds_idle:${keyspace.idleSeconds(record)} bytes:${keyspace.recordBytes(record)} slot:${call.key.slot}${ttl}`,
          );
        }),
        { ...debugFlags, keys: [{ first: 2, last: 2, step: 1, flags: ["RO"] }] },
      ),
      subcommand(
        "set-active-expire value:integer",
        3,
        "1.0.0",
        "Turns the search for expired keys off (0) or on (1).",
        ifAllowed((call) => {
          const error = context.parameters.get("active-expire")?.set?.(call.text(2) === "0" ? "no" : "yes");
          if (error === undefined) call.reply.ok();
          else call.reply.error(`ERR ${error}`);
        }),
        debugFlags,
      ),
    ];
    context.command({
      name: "debug",
      isSystemCommand: true,
      arity: -2,
      flags: ["admin", "noscript", "loading", "stale"],
      group: "server",
      summary: "Commands for testing the node.",
      complexity: "Depends on the subcommand.",
      since: "1.0.0",
      subcommands: [...debug, helpSubcommand("DEBUG", "server", "1.0.0", debug)],
      run: wantsSubcommand,
    });

    context.command({
      name: "shutdown",
      syntax: "[NOSAVE | SAVE] [NOW@7.0.0] [FORCE@7.0.0] [ABORT@7.0.0]",
      arity: -1,
      flags: ["admin", "noscript", "loading", "stale", "no_multi", "allow_busy"],
      group: "server",
      summary: "Stops the node in order.",
      complexity: "O(1)",
      since: "1.0.0",
      run(call) {
        const given = new Set<string>();
        for (let index = 1; index < call.count; index += 1) given.add(call.text(index).toUpperCase());
        const isKnown = [...given].every((word) => SHUTDOWN_WORDS.has(word));
        if (!isKnown || (given.has("SAVE") && given.has("NOSAVE")) || (given.has("ABORT") && given.size > 1)) {
          call.reply.error(SYNTAX_ERROR);
          return;
        }
        if (given.has("ABORT")) {
          call.reply.error("ERR No shutdown in progress.");
          return;
        }
        // Like Redis, it answers by closing the connection.
        call.defer();
        world.log.info("shutdown asked for by a client", { client: call.client.id, clients: clients.count });
        world.clock.soon(() => context.shutdown());
      },
    });
  },
});
