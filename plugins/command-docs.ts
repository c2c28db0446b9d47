/**
 * command-docs: `COMMAND`: the command table, as clients ask for it.
 *
 * Everything is read from the table itself, so that what is documented is what is there. Replies have Redis' form: arrays of positional fields for
 * COMMAND and COMMAND INFO, maps for COMMAND DOCS.
 */
import type { Call } from "../src/call.ts";
import { ArgumentList } from "../src/codec/resp-parser.ts";
import type { ReplyWriter } from "../src/codec/resp-writer.ts";
import { globMatch } from "../src/codec/glob.ts";
import { type CommandArgument, argumentsOf, splitUsage } from "../src/command-syntax.ts";
import type { Command, CommandIndex } from "../src/command-table.ts";
import type { CommandSpecification, KeySpecification } from "../src/contracts/commands.ts";
import { definePlugin } from "../src/plugin.ts";
import { SYNTAX_ERROR } from "../src/replies.ts";
import { helpSubcommand, wantsSubcommand } from "../src/subcommand-help.ts";

/**
 * The access-control categories of a command: those that its flags imply, and those that it names.
 *
 * @returns Without the `@`, as Redis orders them.
 */
export function categoriesOf({ specification }: Command): readonly string[] {
  const flags = new Set<string>(specification.flags);
  const categories = new Set<string>(specification.categories);
  if (flags.has("write")) categories.add("write");
  if (flags.has("readonly") && !categories.has("scripting")) categories.add("read");
  if (flags.has("admin")) {
    categories.add("admin");
    categories.add("dangerous");
  }
  if (flags.has("pubsub")) categories.add("pubsub");
  if (flags.has("blocking")) categories.add("blocking");
  categories.add(flags.has("fast") ? "fast" : "slow");
  return CATEGORY_ORDER.filter((category) => categories.has(category));
}

const CATEGORY_ORDER = [
  "keyspace",
  "read",
  "write",
  "set",
  "sortedset",
  "list",
  "hash",
  "string",
  "bitmap",
  "hyperloglog",
  "geo",
  "stream",
  "pubsub",
  "admin",
  "fast",
  "slow",
  "blocking",
  "dangerous",
  "connection",
  "transaction",
  "scripting",
];

/** A flag of a key as Redis writes it: what is done to the key in two capitals, all else in small letters. */
function keyFlag(flag: string): string {
  return flag.length === 2 ? flag : flag.toLowerCase();
}

/** Key specifications that follow the flags, as Redis writes them: a place to begin, and how to find the others. */
function writeKeySpecification(reply: ReplyWriter, key: KeySpecification): void {
  reply.map(3);
  reply.bulkText("flags");
  reply.set(key.flags.length);
  for (const flag of key.flags) reply.simple(keyFlag(flag));
  reply.bulkText("begin_search");
  reply.map(2);
  reply.bulkText("type");
  reply.bulkText(key.after === undefined ? "index" : "keyword");
  reply.bulkText("spec");
  reply.map(key.after === undefined ? 1 : 2);
  if (key.after === undefined) {
    reply.bulkText("index");
    reply.integer(key.first);
  } else {
    reply.bulkText("keyword");
    reply.bulkText(key.after.word);
    reply.bulkText("startfrom");
    reply.integer(key.after.from);
  }
  reply.bulkText("find_keys");
  reply.map(2);
  reply.bulkText("type");
  reply.bulkText("range");
  reply.bulkText("spec");
  reply.map(3);
  reply.bulkText("lastkey");
  // Relative to the first key, or from the end.
  reply.integer(key.last >= 0 ? key.last - key.first : key.last);
  reply.bulkText("keystep");
  reply.integer(key.step);
  reply.bulkText("limit");
  reply.integer(0);
}

/** One command as COMMAND INFO tells it. */
function writeInfo(reply: ReplyWriter, command: Command): void {
  const { specification } = command;
  const subcommands = [...(command.subcommands ?? [])];
  reply.array(10);
  reply.bulkText(command.fullName);
  reply.integer(command.arity);
  reply.set(specification.flags.length);
  for (const flag of specification.flags) reply.simple(flag);
  // Of keys that must be looked for, those that are easily found.
  const [sure] = specification.findKeys === undefined ? [] : (specification.keys ?? []);
  reply.integer(sure?.first ?? command.firstKey);
  reply.integer(sure?.last ?? command.lastKey);
  reply.integer(sure?.step ?? command.keyStep);
  const categories = categoriesOf(command);
  reply.set(categories.length);
  for (const category of categories) reply.simple(`@${category}`);
  const tips = specification.tips ?? [];
  reply.set(tips.length);
  for (const tip of tips) reply.bulkText(tip);
  const keys = specification.keys ?? [];
  reply.set(keys.length);
  for (const key of keys) writeKeySpecification(reply, key);
  // Redis tells that there are none as an empty set.
  if (subcommands.length === 0) reply.set(0);
  else reply.array(subcommands.length);
  for (const subcommand of subcommands) writeInfo(reply, subcommand);
}

/** Fields of a map of which some may be missing: text, a set of flags, or what writes the value. */
type Fields = Readonly<Record<string, string | number | readonly string[] | (() => void) | undefined>>;

/** A map of those fields that are there. */
function writeFields(reply: ReplyWriter, fields: Fields): void {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  reply.map(given.length);
  for (const [name, value] of given) {
    reply.bulkText(name);
    if (typeof value === "string") reply.bulkText(value);
    else if (typeof value === "number") reply.integer(value);
    else if (typeof value === "function") value();
    else if (value !== undefined) {
      reply.set(value.length);
      for (const flag of value) reply.simple(flag);
    }
  }
}

function writeArguments(reply: ReplyWriter, members: readonly CommandArgument[]): void {
  reply.array(members.length);
  for (const argument of members) {
    const { arguments: inner } = argument;
    const flags = [
      ...(argument.isOptional === true ? ["optional"] : []),
      ...(argument.isMultiple === true ? ["multiple"] : []),
      ...(argument.isTokenMultiple === true ? ["multiple_token"] : []),
    ];
    writeFields(reply, {
      name: argument.name,
      type: argument.type,
      key_spec_index: argument.keySpecificationIndex,
      token: argument.token,
      since: argument.since,
      deprecated_since: argument.deprecatedSince,
      flags: flags.length === 0 ? undefined : flags,
      arguments: inner === undefined ? undefined : () => writeArguments(reply, inner),
    });
  }
}

/** One command as COMMAND DOCS tells it, without its name. */
function writeDocs(reply: ReplyWriter, { specification, subcommands }: Command): void {
  const { summary, since, group, complexity, deprecated, isSystemCommand = false } = specification;
  const flags = [...(deprecated === undefined ? [] : ["deprecated"]), ...(isSystemCommand ? ["syscmd"] : [])];
  const members = argumentsOf(specification);
  writeFields(reply, {
    summary,
    since,
    group,
    complexity,
    doc_flags: flags.length === 0 ? undefined : flags,
    deprecated_since: deprecated?.since,
    replaced_by: deprecated?.replacedBy,
    arguments: members.length === 0 ? undefined : () => writeArguments(reply, members),
    subcommands:
      subcommands === undefined
        ? undefined
        : () => {
            reply.map(subcommands.size);
            for (const subcommand of subcommands) {
              reply.bulkText(subcommand.fullName);
              writeDocs(reply, subcommand);
            }
          },
  });
}

/** A command by its name, or `container|subcommand`. */
function byName(commands: CommandIndex, name: string): Command | undefined {
  const [head = "", tail, ...more] = name.toLowerCase().split("|");
  const command = commands.get(head);
  if (tail === undefined) return command;
  return more.length === 0 ? command?.subcommands?.get(tail) : undefined;
}

const UNORDERED = ["nondeterministic_output_order"];

export default definePlugin({
  name: "command-docs",
  summary: "COMMAND: tells which commands there are.",
  setup(context) {
    const { dispatcher } = context;
    const { commands } = dispatcher;

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
      flags: ["loading", "stale"],
      categories: ["connection"],
      group: "server",
      summary,
      complexity: "O(N), N being the commands",
      since,
      tips,
      run,
    });

    const writeSome = (call: Call, write: (command: Command) => void, missing: () => void): void => {
      for (let index = 2; index < call.count; index += 1) {
        const command = byName(commands, call.text(index));
        if (command === undefined) missing();
        else write(command);
      }
    };
    const list = (call: Call): void => {
      let isWanted = (_command: Command): boolean => true;
      if (call.count > 2) {
        if (call.count !== 5 || !call.is(2, "FILTERBY")) {
          call.reply.error(SYNTAX_ERROR);
          return;
        }
        const filter = call.text(4);
        if (call.is(3, "ACLCAT")) isWanted = (command) => categoriesOf(command).includes(filter.toLowerCase());
        else if (call.is(3, "MODULE")) isWanted = () => false;
        else if (call.is(3, "PATTERN")) {
          const { bytes } = call;
          isWanted = (command) => {
            const name = encoder.encode(command.fullName);
            return globMatch(bytes, call.start(4), call.end(4), name, 0, name.length, true);
          };
        } else {
          call.reply.error(SYNTAX_ERROR);
          return;
        }
      }
      const names: string[] = [];
      for (const command of commands) {
        if (isWanted(command)) names.push(command.fullName);
        for (const each of command.subcommands ?? []) if (isWanted(each)) names.push(each.fullName);
      }
      call.reply.set(names.length);
      for (const name of names) call.reply.bulkText(name);
    };

    const getKeys = (call: Call, withFlags: boolean): void => {
      const args = new ArgumentList();
      args.bytes = call.bytes;
      args.count = call.count - 2;
      args.offsets = Int32Array.from({ length: 2 * args.count }, (_, at) =>
        at % 2 === 0 ? call.start(2 + at / 2) : call.end(2 + (at - 1) / 2),
      );
      const command = dispatcher.lookUp(args);
      // Of a container, no subcommand of that name was found.
      if (command === undefined || command.subcommands !== undefined) {
        call.reply.error("ERR Invalid command specified");
        return;
      }
      const { findKeys } = command.specification;
      if (command.firstKey === 0 && findKeys === undefined) {
        call.reply.error("ERR The command has no key arguments");
        return;
      }
      if (!command.takes(args.count)) {
        call.reply.error("ERR Invalid number of arguments specified for command");
        return;
      }
      const words = Array.from({ length: args.count }, (_, index) => call.text(2 + index).toUpperCase());
      const keys: { readonly index: number; readonly flags: readonly string[] }[] = [];
      const specifications = command.specification.keys ?? [];
      for (const index of findKeys?.(args) ?? []) keys.push({ index, flags: specifications[0]?.flags ?? [] });
      for (const { first, last, step, flags: anyFlags, flagsOf } of findKeys === undefined ? specifications : []) {
        const flags = flagsOf?.(words) ?? anyFlags;
        const end = last >= 0 ? Math.min(last, args.count - 1) : args.count + last;
        for (let index = first; index <= end; index += step) keys.push({ index, flags });
      }
      if (keys.length === 0 && findKeys !== undefined) {
        call.reply.error("ERR Invalid arguments specified for command");
        return;
      }
      call.reply.array(keys.length);
      for (const { index, flags } of keys) {
        if (withFlags) call.reply.array(2);
        call.reply.bulk(args.bytes, args.start(index), args.end(index));
        if (withFlags) {
          call.reply.set(flags.length);
          for (const flag of flags) call.reply.simple(keyFlag(flag));
        }
      }
    };

    const subcommands = [
      subcommand("count", 2, "2.8.13", "Tells how many commands there are.", (call) =>
        call.reply.integer(commands.size),
      ),
      subcommand(
        "list [FILTERBY filterby:(MODULE module-name | ACLCAT category | PATTERN pattern)]",
        -2,
        "7.0.0",
        "Lists commands.",
        list,
        UNORDERED,
      ),
      subcommand(
        "info [command-name...]",
        -2,
        "2.8.13",
        "Tells about commands.",
        (call) => {
          if (call.count === 2) {
            writeAll(call);
            return;
          }
          call.reply.array(call.count - 2);
          writeSome(
            call,
            (command) => writeInfo(call.reply, command),
            () => call.reply.nullBulk(),
          );
        },
        UNORDERED,
      ),
      subcommand(
        "docs [command-name...]",
        -2,
        "7.0.0",
        "Documents commands.",
        (call) => {
          const found: Command[] = [];
          if (call.count === 2) found.push(...commands);
          else
            writeSome(
              call,
              (command) => found.push(command),
              () => undefined,
            );
          call.reply.map(found.length);
          for (const command of found) {
            call.reply.bulkText(command.fullName);
            writeDocs(call.reply, command);
          }
        },
        UNORDERED,
      ),
      subcommand("getkeys", -4, "2.8.13", "Tells the keys of a full command, which follows.", (call) =>
        getKeys(call, false),
      ),
      subcommand(
        "getkeysandflags",
        -4,
        "7.0.0",
        "Tells the keys of a full command, which follows, and what it does to them.",
        (call) => getKeys(call, true),
      ),
    ];
    const writeAll = (call: Call): void => {
      call.reply.array(commands.size);
      for (const command of commands) writeInfo(call.reply, command);
    };
    context.command({
      name: "command",
      arity: -1,
      flags: ["loading", "stale"],
      categories: ["connection"],
      group: "server",
      summary: "Tells about all commands.",
      complexity: "O(N), N being the commands",
      since: "2.8.13",
      tips: UNORDERED,
      subcommands: [...subcommands, helpSubcommand("COMMAND", "server", "5.0.0", subcommands)],
      run(call) {
        if (call.count === 1) writeAll(call);
        else wantsSubcommand(call);
      },
    });
  },
});

const encoder = new TextEncoder();
