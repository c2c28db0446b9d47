/**
 * clients: `CLIENT` and its subcommands: who is connected, under which name, and what is done to all of them (LIST, KILL, PAUSE ...).
 *
 * Promises: CLIENT PAUSE holds commands, in order, and answers each of them once it is over; nothing of a pause is on the path of commands while
 * there is none. Talks to the rest through the table of clients and the hook `commandBefore`.
 */
import { integerArgument } from "../src/arguments.ts";
import type { Call } from "../src/call.ts";
import type { Client } from "../src/client.ts";
import { splitUsage } from "../src/command-syntax.ts";
import { CommandBits } from "../src/command-table.ts";
import { type CommandSpecification, Verdict } from "../src/contracts/commands.ts";
import { definePlugin } from "../src/plugin.ts";
import { helpSubcommand, wantsSubcommand } from "../src/subcommand-help.ts";
import type { Timer } from "../src/world.ts";

const SYNTAX_ERROR = "ERR syntax error";
/** Names and library names: what does not break a line of CLIENT LIST. */
const PRINTABLE = /^[!-~]*$/;
/** The longest pause, so that a sum with the time stays exact. */
const MAX_PAUSE_MS = 2 ** 50;

/** Kinds of clients, as CLIENT LIST TYPE and CLIENT KILL TYPE take them. Connections are all `normal`. */
const CLIENT_TYPES = new Set(["normal", "master", "replica", "slave", "pubsub"]);

/** Which clients a command means. */
interface ClientFilter {
  id?: number;
  address?: string;
  localAddress?: string;
  type?: string;
  user?: string;
  skipsSelf: boolean;
}

/**
 * A line of CLIENT LIST. Fields that mean nothing here (file descriptors, subscriptions, Redis' own memory) have the values that Redis shows
 * for a client which has none, since clients parse the line.
 */
export function describeClient(client: Client, nowMs: number): string {
  const { transport } = client;
  const ageS = Math.floor((nowMs - client.createdAtMs) / 1000);
  const idleS = Math.floor((nowMs - client.lastCommandAtMs) / 1000);
  const flags = `${client.isReadOnly ? "r" : ""}${client.listFields.get("flags") ?? ""}${client.isNoEvict ? "e" : ""}${client.isNoTouch ? "T" : ""}`;
  const queryBytes = transport.queryBytes();
  const outputBytes = transport.outputBytes();
  const fields: readonly (readonly [string, string | number])[] = [
    ["id", client.id],
    ["addr", transport.remoteAddress],
    ["laddr", transport.localAddress],
    ["fd", client.id],
    ["name", client.name],
    ["age", ageS],
    ["idle", idleS],
    ["flags", flags === "" ? "N" : flags],
    ["db", 0],
    ["sub", 0],
    ["psub", 0],
    ["ssub", 0],
    ["multi", client.listFields.get("multi") ?? -1],
    ["qbuf", queryBytes],
    ["qbuf-free", 0],
    ["argv-mem", 0],
    ["multi-mem", 0],
    ["rbs", 0],
    ["rbp", 0],
    ["obl", 0],
    ["oll", outputBytes === 0 ? 0 : 1],
    ["omem", outputBytes],
    ["tot-mem", queryBytes + outputBytes],
    ["events", "r"],
    ["cmd", client.lastCommandName === "" ? "NULL" : client.lastCommandName],
    ["user", client.user],
    ["redir", -1],
    ["resp", client.protocol],
    ["lib-name", client.libraryName],
    ["lib-ver", client.libraryVersion],
  ];
  return fields.map(([name, value]) => `${name}=${value}`).join(" ");
}

function matches(client: Client, filter: ClientFilter, self: Client): boolean {
  const { transport } = client;
  if (filter.id !== undefined && client.id !== filter.id) return false;
  if (filter.address !== undefined && transport.remoteAddress !== filter.address) return false;
  if (filter.localAddress !== undefined && transport.localAddress !== filter.localAddress) return false;
  if (filter.type !== undefined && filter.type !== "normal") return false;
  if (filter.user !== undefined && client.user !== filter.user) return false;
  return !(filter.skipsSelf && client === self);
}

/** Whether a call may change keys: EXEC may, whatever it has queued. */
function mayWrite({ command }: Call): boolean {
  return (command.bits & CommandBits.write) !== 0 || command.fullName === "exec";
}

export default definePlugin({
  name: "clients",
  summary: "CLIENT: lists, names, pauses and closes connections.",
  setup(context) {
    const { clients, hooks, world } = context;

    const kill = (client: Client, self: Client): void => {
      // Whoever closes itself gets its answer first.
      if (client === self) client.transport.closeAfterReply();
      else client.transport.kill();
    };

    // CLIENT PAUSE. The handler hangs in the hook only while there is a pause.
    const held = new Set<Client>();
    let pause: { endsAtMs: number; isAll: boolean; timer: Timer; unhook: () => void } | undefined;
    const endPause = (): void => {
      if (pause === undefined) return;
      pause.timer.cancel();
      pause.unhook();
      pause = undefined;
      const released = [...held];
      held.clear();
      for (const client of released) client.transport.release();
    };
    const startPause = (durationMs: number, isAll: boolean): void => {
      const nowMs = world.clock.monotonicMs();
      // A pause within a pause makes it longer and stricter, never shorter or laxer.
      const endsAtMs = Math.max(nowMs + durationMs, pause?.endsAtMs ?? 0);
      const isForAll = isAll || pause?.isAll === true;
      pause?.timer.cancel();
      pause?.unhook();
      const unhook = context.on(
        hooks.commandBefore,
        (call) => {
          if (call.isNested || (!isForAll && !mayWrite(call))) return undefined;
          held.add(call.client);
          return Verdict.held;
        },
        { order: "post" },
      );
      pause = { endsAtMs, isAll: isForAll, timer: world.clock.after(endsAtMs - nowMs, endPause), unhook };
    };
    context.on(hooks.clientClosed, (client) => void held.delete(client));
    context.on(hooks.stop, endPause);
    context.on(hooks.info, () => ({
      section: "clients",
      fields: { blocked_clients: held.size, tracking_clients: 0, clients_in_timeout_table: 0 },
    }));

    const subcommand = (
      usage: string,
      arity: number,
      since: string,
      summary: string,
      run: (call: Call) => void,
      isAdmin = false,
      tips: readonly string[] = [],
    ): CommandSpecification => ({
      ...splitUsage(usage),
      arity,
      flags: isAdmin ? ["admin", "noscript", "loading", "stale"] : ["noscript", "loading", "stale"],
      categories: isAdmin ? ["connection", "dangerous"] : ["connection"],
      group: "connection",
      summary,
      complexity: isAdmin ? "O(N), N being the clients" : "O(1)",
      since,
      tips,
      run,
    });

    const onOff = (call: Call, apply: (isOn: boolean) => void): void => {
      if (call.is(2, "ON")) apply(true);
      else if (call.is(2, "OFF")) apply(false);
      else {
        call.reply.error(SYNTAX_ERROR);
        return;
      }
      call.reply.ok();
    };

    const subcommands: CommandSpecification[] = [
      subcommand("id", 2, "5.0.0", "Tells the connection's id.", (call) => call.reply.integer(call.client.id)),
      subcommand(
        "info",
        2,
        "6.2.0",
        "Tells about the connection.",
        (call) => call.reply.verbatim("txt", `${describeClient(call.client, world.clock.monotonicMs())}\n`),
        false,
        ["nondeterministic_output"],
      ),
      subcommand(
        "list [TYPE (NORMAL | MASTER | REPLICA | PUBSUB)@5.0.0] [ID id:(client-id:integer...)@6.2.0]",
        -2,
        "2.4.0",
        "Lists connections.",
        (call) => {
          const listed = listOf(call, [...clients]);
          if (listed === undefined) return;
          const nowMs = world.clock.monotonicMs();
          call.reply.verbatim("txt", listed.map((client) => `${describeClient(client, nowMs)}\n`).join(""));
        },
        true,
        ["nondeterministic_output"],
      ),
      subcommand(
        "kill filter:(ip:port:string@..2.8.12 | new-format:([ID client-id:integer@2.8.12] | " +
          "[TYPE normal_master_slave_pubsub:(NORMAL | MASTER@3.2.0 | SLAVE | REPLICA@5.0.0 | PUBSUB)@2.8.12] | [USER username] | " +
          "[ADDR ip:port:string] | [LADDR ip:port:string@6.2.0] | [SKIPME yes/no])...)",
        -3,
        "2.4.0",
        "Closes connections.",
        (call) => killCommand(call, [...clients], kill),
        true,
      ),
      subcommand("getname", 2, "2.6.9", "Tells the connection's name.", (call) => {
        if (call.client.name === "") call.reply.nullBulk();
        else call.reply.bulkText(call.client.name);
      }),
      subcommand("setname connection-name", 3, "2.6.9", "Names the connection.", (call) => {
        const name = call.text(2);
        if (PRINTABLE.test(name)) {
          call.client.name = name;
          call.reply.ok();
        } else call.reply.error("ERR Client names cannot contain spaces, newlines or special characters.");
      }),
      subcommand(
        "setinfo attr:(LIB-NAME libname | LIB-VER libver)",
        4,
        "7.2.0",
        "Tells which library the client uses.",
        (call) => {
          const isName = call.is(2, "LIB-NAME");
          const value = call.text(3);
          if (!isName && !call.is(2, "LIB-VER")) {
            call.reply.error(`ERR Unrecognized option '${call.shown(2)}'`);
          } else if (!PRINTABLE.test(value)) {
            call.reply.error(
              `ERR ${isName ? "lib-name" : "lib-ver"} cannot contain spaces, newlines or special characters.`,
            );
          } else {
            if (isName) call.client.libraryName = value;
            else call.client.libraryVersion = value;
            call.reply.ok();
          }
        },
      ),
      subcommand(
        "no-evict enabled:(ON | OFF)",
        3,
        "7.0.0",
        "Spares the connection when memory for clients runs out.",
        (call) => onOff(call, (isOn) => (call.client.isNoEvict = isOn)),
        true,
      ),
      subcommand(
        "no-touch enabled:(ON | OFF)",
        3,
        "7.2.0",
        "Keeps commands of the connection from counting as use of keys.",
        (call) => onOff(call, (isOn) => (call.client.isNoTouch = isOn)),
      ),
      subcommand("reply (ON | OFF | SKIP)", 3, "3.2.0", "Says which replies the connection wants.", (call) => {
        if (call.is(2, "ON")) {
          call.client.replyMode = "on";
          call.reply.ok();
        } else if (call.is(2, "OFF")) call.client.replyMode = "off";
        else if (call.is(2, "SKIP")) {
          if (call.client.replyMode !== "off") call.client.replyMode = "skip-next";
        } else call.reply.error(SYNTAX_ERROR);
      }),
      subcommand(
        "pause timeout:integer [mode:(WRITE | ALL)@6.2.0]",
        -3,
        "2.9.50",
        "Holds the commands of all connections for some milliseconds.",
        (call) => {
          const isAll = call.count === 3 || call.is(3, "ALL");
          if (call.count > 4) {
            call.reply.error(SYNTAX_ERROR);
            return;
          }
          const durationMs = integerArgument(call, 2);
          if (Number.isNaN(durationMs) || durationMs > MAX_PAUSE_MS)
            call.reply.error("ERR timeout is not an integer or out of range");
          else if (durationMs < 0) call.reply.error("ERR timeout is negative");
          else if (!isAll && !call.is(3, "WRITE")) call.reply.error("ERR CLIENT PAUSE mode must be WRITE or ALL");
          else {
            startPause(durationMs, isAll);
            call.reply.ok();
          }
        },
        true,
      ),
      subcommand(
        "unpause",
        2,
        "6.2.0",
        "Ends a pause.",
        (call) => {
          endPause();
          call.reply.ok();
        },
        true,
      ),
    ];
    subcommands.push(helpSubcommand("CLIENT", "connection", "5.0.0", subcommands));
    context.command({
      name: "client",
      arity: -2,
      flags: [],
      group: "connection",
      summary: "Commands about connections.",
      complexity: "Depends on the subcommand.",
      since: "2.4.0",
      subcommands,
      run: wantsSubcommand,
    });
  },
});

/** The clients that CLIENT LIST is asked for, or `undefined` with the error written. */
function listOf(call: Call, all: readonly Client[]): readonly Client[] | undefined {
  if (call.count === 2) return all;
  if (call.is(2, "TYPE") && call.count === 4) {
    const type = call.text(3).toLowerCase();
    if (CLIENT_TYPES.has(type)) return type === "normal" ? all : [];
    call.reply.error(`ERR Unknown client type '${call.shown(3)}'`);
    return undefined;
  }
  if (call.is(2, "ID") && call.count > 3) {
    const ids: number[] = [];
    for (let index = 3; index < call.count; index += 1) {
      const id = integerArgument(call, index);
      if (Number.isNaN(id)) {
        call.reply.error("ERR Invalid client ID");
        return undefined;
      }
      ids.push(id);
    }
    return ids.flatMap((id) => all.find((client) => client.id === id) ?? []);
  }
  call.reply.error(SYNTAX_ERROR);
  return undefined;
}

function killCommand(call: Call, all: readonly Client[], kill: (client: Client, self: Client) => void): void {
  const self = call.client;
  if (call.count === 3) {
    // The old form: one address, the caller's own not excepted.
    const victim = all.find((client) => client.transport.remoteAddress === call.text(2));
    if (victim === undefined) {
      call.reply.error("ERR No such client");
      return;
    }
    kill(victim, self);
    call.reply.ok();
    return;
  }
  const filter: ClientFilter = { skipsSelf: true };
  const error = readFilter(call, filter);
  if (error !== undefined) {
    call.reply.error(error);
    return;
  }
  const victims = all.filter((client) => matches(client, filter, self));
  for (const victim of victims) kill(victim, self);
  call.reply.integer(victims.length);
}

function readFilter(call: Call, filter: ClientFilter): string | undefined {
  for (let index = 2; index < call.count; index += 2) {
    if (index + 1 >= call.count) return SYNTAX_ERROR;
    const value = call.text(index + 1);
    if (call.is(index, "ID")) {
      const id = integerArgument(call, index + 1);
      if (!(id >= 1)) return "ERR client-id should be greater than 0";
      filter.id = id;
    } else if (call.is(index, "TYPE")) {
      if (!CLIENT_TYPES.has(value.toLowerCase())) return `ERR Unknown client type '${call.shown(index + 1)}'`;
      filter.type = value.toLowerCase();
    } else if (call.is(index, "ADDR")) filter.address = value;
    else if (call.is(index, "LADDR")) filter.localAddress = value;
    else if (call.is(index, "USER")) {
      if (value !== "default") return `ERR No such user '${call.shown(index + 1)}'`;
      filter.user = value;
    } else if (call.is(index, "SKIPME")) {
      if (!/^(yes|no)$/i.test(value)) return SYNTAX_ERROR;
      filter.skipsSelf = /^yes$/i.test(value);
    } else return SYNTAX_ERROR;
  }
  return undefined;
}
