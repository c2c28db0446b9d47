/**
 * functions: `FUNCTION` of a server that has no functions.
 *
 * `redis-cli --cluster add-node` copies functions from a node of the cluster to the new one, by FUNCTION DUMP, LIST and RESTORE, and adds nothing when LIST or
 * RESTORE fails. So what asks for functions or removes them is answered as by a Redis server that has none, in Redis' words, and what would bring one in is
 * refused with a sentence that says so. Payloads are those of `src/codec/dump.ts`, with nothing in them. Nothing here changes anything, so there are no effects.
 */
import type { Call } from "../src/call.ts";
import { bodyEnd, encodeNothing } from "../src/codec/dump.ts";
import { splitUsage } from "../src/command-syntax.ts";
import type { CommandFlag, CommandSpecification } from "../src/contracts/commands.ts";
import { definePlugin } from "../src/plugin.ts";
import { helpSubcommand, refuseExtraArguments, wantsSubcommand } from "../src/subcommand-help.ts";

/** What a payload has before each library, and what it had in Redis' last trial versions before 7.0. */
const LIBRARY_TYPES: ReadonlySet<number | undefined> = new Set([245, 246]);

const READ: readonly CommandFlag[] = ["noscript"];
const WHILE_BUSY: readonly CommandFlag[] = ["noscript", "allow_busy"];
const REMOVE: readonly CommandFlag[] = ["write", "noscript"];
const ADD: readonly CommandFlag[] = ["write", "denyoom", "noscript"];

const ALL_MUST_SUCCEED = ["request_policy:all_shards", "response_policy:all_succeeded"];

/** FUNCTION LIST [LIBRARYNAME library-name-pattern] [WITHCODE] */
function list(call: Call): void {
  let hasPattern = false;
  let hasCode = false;
  for (let index = 2; index < call.count; index += 1) {
    if (!hasCode && call.is(index, "WITHCODE")) hasCode = true;
    else if (!hasPattern && call.is(index, "LIBRARYNAME")) {
      hasPattern = true;
      index += 1;
      if (index === call.count) {
        call.reply.error("ERR library name argument was not given");
        return;
      }
    } else {
      call.reply.error(`ERR Unknown argument ${call.shown(index)}`);
      return;
    }
  }
  call.reply.array(0);
}

function dump(call: Call): void {
  const payload = encodeNothing();
  call.reply.bulk(payload, 0, payload.length);
}

/** FUNCTION RESTORE serialized-value [FLUSH | APPEND | REPLACE] */
function restore(call: Call): void {
  const { reply } = call;
  if (call.count > 4) {
    refuseExtraArguments(call);
    return;
  }
  if (call.count === 4 && !call.is(3, "FLUSH") && !call.is(3, "APPEND") && !call.is(3, "REPLACE")) {
    reply.error("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.");
    return;
  }
  const start = call.start(2);
  const end = bodyEnd(call.bytes, start, call.end(2));
  if (end < start) reply.error("ERR DUMP payload version or checksum are wrong");
  else if (end === start) reply.ok();
  else if (!LIBRARY_TYPES.has(call.bytes[start])) reply.error("ERR given type is not a function");
  else reply.error("ERR the payload holds functions, which are not supported here");
}

function flush(call: Call): void {
  if (call.count > 3) refuseExtraArguments(call);
  else if (call.count === 3 && !call.is(2, "ASYNC") && !call.is(2, "SYNC")) {
    call.reply.error("ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
  } else call.reply.ok();
}

function stats({ reply }: Call): void {
  reply.map(2);
  reply.bulkText("running_script");
  reply.nullBulk();
  reply.bulkText("engines");
  reply.map(1);
  // Redis' only engine. Clients look for its counts, so it is named, with nothing in it.
  reply.bulkText("LUA");
  reply.map(2);
  reply.bulkText("libraries_count");
  reply.integer(0);
  reply.bulkText("functions_count");
  reply.integer(0);
}

/** FUNCTION LOAD [REPLACE] function-code */
function load(call: Call): void {
  for (let index = 2; index < call.count - 1; index += 1) {
    if (call.is(index, "REPLACE")) continue;
    call.reply.error(`ERR Unknown option given: ${call.shown(index)}`);
    return;
  }
  call.reply.error("ERR functions are not supported here");
}

export default definePlugin({
  name: "functions",
  summary: "FUNCTION, answered for a server that has no functions.",
  setup(context) {
    const subcommand = (
      usage: string,
      arity: number,
      flags: readonly CommandFlag[],
      summary: string,
      run: (call: Call) => void,
      tips: readonly string[] = [],
    ): CommandSpecification => ({
      ...splitUsage(usage),
      arity,
      flags,
      categories: ["scripting"],
      group: "scripting",
      summary,
      complexity: usage.startsWith("restore") ? "O(N), N being the payload's length" : "O(1)",
      since: "7.0.0",
      tips,
      run,
    });
    const subcommands = [
      subcommand("list [LIBRARYNAME library-name-pattern] [WITHCODE]", -2, READ, "Lists libraries: none.", list, [
        "nondeterministic_output_order",
      ]),
      subcommand("dump", 2, READ, "Tells all libraries as bytes that RESTORE takes: none.", dump),
      subcommand(
        "restore serialized-value [policy:(FLUSH | APPEND | REPLACE)]",
        -3,
        ADD,
        "Takes what DUMP told, if it holds no libraries.",
        restore,
        ALL_MUST_SUCCEED,
      ),
      subcommand(
        "flush [async:(ASYNC | SYNC)]",
        -2,
        REMOVE,
        "Removes them all: there are none.",
        flush,
        ALL_MUST_SUCCEED,
      ),
      subcommand("stats", 2, WHILE_BUSY, "Tells what runs and how many there are: nothing, and none.", stats, [
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
      ]),
      subcommand(
        "delete library-name",
        3,
        REMOVE,
        "Removes a library: it is not found.",
        (call) => call.reply.error("ERR Library not found"),
        ALL_MUST_SUCCEED,
      ),
      subcommand(
        "kill",
        2,
        WHILE_BUSY,
        "Stops the function that runs: none does.",
        (call) => call.reply.error("NOTBUSY No scripts in execution right now."),
        ["request_policy:all_shards", "response_policy:one_succeeded"],
      ),
      subcommand(
        "load [REPLACE] function-code",
        -3,
        ADD,
        "Is refused: functions are not supported.",
        load,
        ALL_MUST_SUCCEED,
      ),
    ];
    context.command({
      name: "function",
      arity: -2,
      flags: [],
      group: "scripting",
      summary: "Commands about functions: there are none here.",
      complexity: "Depends on the subcommand.",
      since: "7.0.0",
      subcommands: [...subcommands, helpSubcommand("FUNCTION", "scripting", "7.0.0", subcommands)],
      run: wantsSubcommand,
    });
  },
});
